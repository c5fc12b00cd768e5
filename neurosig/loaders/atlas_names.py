"""Names of regions: read from the tables that come with atlases, and matched to labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError
from neurosig.core.log import logger

__all__ = ["names_beside", "names_by_label", "read_names", "unique_names"]

_NAME_COLUMNS = ("name", "label", "region", "roi", "names", "labels", "difumo_names")
_VALUE_COLUMNS = ("index", "value", "id", "label_id", "component", "intensity")


def read_names(path: Path) -> list[str] | dict[int, str]:
    """Region names from a file.

    Parameters
    ----------
    path : Path
        A table with a header (``.tsv``, ``.csv``), or text of lines ``name`` or ``label name ...`` (as of Schaefer's
        parcellation and FreeSurfer's colour table; lines that begin with ``#`` are passed over).

    Returns
    -------
    list of str or dict of int to str
        Names in order, or label to name.

    Raises
    ------
    InputError
        The file is missing, empty, or has no column of names.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no table of region names: {error}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise InputError(f"{path.name}: the table of region names is empty")
    mark = "," if path.suffix.lower() == ".csv" else "\t"
    header = [word.strip().strip('"').lower() for word in lines[0].split(mark)]
    # of several columns that might hold the names, the first in our order that is not numbers
    for column in [name for name in _NAME_COLUMNS if name in header]:
        names = [_cell(line, mark, header.index(column)) for line in lines[1:]]
        if not names or all(_whole(name) is not None for name in names):
            continue
        values = next((name for name in _VALUE_COLUMNS if name in header), None)
        if values is None:
            return names
        labels = [_whole(_cell(line, mark, header.index(values))) for line in lines[1:]]
        if None in labels:
            raise InputError(f"{path.name}: column {values!r} must hold whole numbers, the labels")
        return {int(label): name for label, name in zip(labels, names, strict=True) if label is not None}
    rows = [line.split(mark if mark in line else None) for line in lines]
    if all(len(row) > 1 and _whole(row[0]) is not None for row in rows):
        return {int(row[0]): row[1].strip() for row in rows}
    return lines


def names_by_label(names: Any, labels: Iterable[int], atlas: str) -> dict[int, str]:
    """A name for each label of an atlas.

    Parameters
    ----------
    names : sequence of str, dict of int to str, or None
        Names in the order of the labels (or of 1, 2, ..., where there are more names than labels in the image), or
        label to name; None names them by their labels.
    labels : iterable of int
        Labels that the image holds, rising, without the background.
    atlas : str
        For messages.

    Returns
    -------
    dict of int to str
        In the order of the labels. Labels that have a name and no voxel are in it.

    Raises
    ------
    InputError
        A label has no name, or there are fewer names than labels.
    """
    labels = list(labels)
    if names is None:
        width = len(str(max(labels)))
        return {label: f"region_{label:0{width}}" for label in labels}
    if isinstance(names, Mapping):
        called = {int(label): str(name) for label, name in names.items() if not _is_background(label, name)}
        if lacking := [label for label in labels if label not in called]:
            raise InputError(f"atlas {atlas}: no name for the labels {listed(map(str, lacking))} of its image")
        if len(called) > 2 * len(labels):  # a colour table of everything there is
            logger.info("atlas %s: %d names for %d labels, kept those in the image", atlas, len(called), len(labels))
            called = {label: called[label] for label in labels}
        return dict(sorted(called.items()))
    listing = [str(name) for name in names]
    if len(listing) > len(labels) and listing[0].strip().lower() in ("background", "unknown", "???"):
        listing = listing[1:]
    if len(listing) == len(labels):
        return dict(zip(labels, listing, strict=True))
    if len(listing) > len(labels) and labels[0] >= 1 and labels[-1] <= len(listing):
        return dict(enumerate(listing, 1))
    raise InputError(
        f"atlas {atlas}: expected one name for each of its {len(labels)} labels, got {len(listing)}; give a dict of "
        "label to name"
    )


def _is_background(label: Any, name: Any) -> bool:
    return int(label) == 0


def _cell(line: str, mark: str, column: int) -> str:
    cells = line.split(mark)
    return cells[column].strip().strip('"') if column < len(cells) else ""


def _whole(text: str) -> int | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


def names_beside(path: Path) -> Path | None:
    """A table of names with the image's own name."""
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name)
    return next((place for end in (".tsv", ".csv", ".txt") if (place := path.with_name(stem + end)).is_file()), None)


def unique_names(names: Sequence[str]) -> list[str]:
    """Names told apart by a number where several regions share one."""
    count: dict[str, int] = {}
    found = []
    for name in names:
        count[name] = count.get(name, 0) + 1
        found.append(name if list(names).count(name) == 1 else f"{name} {count[name]}")
    return found
