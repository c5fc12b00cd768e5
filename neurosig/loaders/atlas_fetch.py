"""Atlases of nilearn, fetched through its cache, with a clear word where that cannot be."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

from neurosig.core.errors import DownloadError, UsageError
from neurosig.loaders.atlas_names import unique_names

__all__ = ["OFFLINE", "fetched", "names_of_nilearn"]

OFFLINE = ("power", "dosenbach", "seitzman")


def fetched(fetcher: str, options: Mapping[str, Any], needed: str) -> Mapping[str, Any]:
    """What ``nilearn.datasets.fetch_atlas_...`` gives.

    Parameters
    ----------
    fetcher : str
        What follows ``fetch_atlas_``.
    options : dict
        Of that function; those that are None are left out.
    needed : str
        What it needs without a network, for the message.

    Raises
    ------
    UsageError
        Nilearn has no such function, or refuses the options.
    DownloadError
        The atlas is not in nilearn's data folder and cannot be fetched.
    """
    from nilearn import datasets

    function = getattr(datasets, f"fetch_atlas_{fetcher}", None)
    if function is None:
        from difflib import get_close_matches

        known = [name.removeprefix("fetch_atlas_") for name in dir(datasets) if name.startswith("fetch_atlas_")]
        near = get_close_matches(fetcher, [*known, *OFFLINE, "schaefer100"], 1, 0.0)[0]
        raise UsageError(f"no atlas named {fetcher!r}, and no such file; nearest name: {near!r}")
    try:
        return function(**{key: value for key, value in options.items() if value is not None}, verbose=0)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        if isinstance(error, ValueError) and not re.search(r"http|url|download|fetch|resolve|connect", reason, re.I):
            raise UsageError(f"atlas {fetcher}: {reason}") from error
        folder = datasets.get_data_dirs(options.get("data_dir"))[0]
        raise DownloadError(
            f"atlas {fetcher} could not be fetched; without a network it needs {needed}, which is {folder} "
            f"(the environment variable NILEARN_DATA names another). {', '.join(OFFLINE)} come with nilearn and "
            f"need none. What happened: {textwrap.shorten(reason, 400, placeholder=' ...')}"
        ) from error


def names_of_nilearn(found: Mapping[str, Any]) -> dict[int, str] | list[str] | None:
    """Names of the regions of an atlas as nilearn hands it over.

    Parameters
    ----------
    found : dict
        What a ``fetch_atlas_...`` gave.

    Returns
    -------
    dict of int to str, list of str, or None
        Label to name of label images (from their look-up table), names in order of maps. Regions that share a name are
        numbered.
    """
    table, labels = found.get("lut"), found.get("labels")
    if table is not None and "probabilistic" not in str(found.get("atlas_type", "")):
        return dict(zip(map(int, table["index"]), unique_names([str(name) for name in table["name"]]), strict=True))
    if labels is None:
        return None
    if hasattr(labels, "columns"):  # DiFuMo's table has a row a map
        labels = labels[next((name for name in ("difumo_names", "name", "label") if name in labels), labels.columns[0])]
    return unique_names([name.decode() if isinstance(name, bytes) else str(name) for name in labels])
