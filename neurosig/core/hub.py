"""What was trained and saved, on the Hugging Face Hub: its few files, fetched once, by huggingface_hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from neurosig.core.errors import StorageError, UsageError
from neurosig.core.pretrained import CARD, CONFIG, WEIGHTS
from neurosig.core.trained_on import SEEN

__all__ = ["FILES", "local_folder"]

FILES = (CONFIG, WEIGHTS, CARD, SEEN)
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def local_folder(name: str | os.PathLike, revision: str | None = None) -> Path:
    """The folder of what `save_pretrained` wrote, fetched from the Hub where there is none of that name here.

    Parameters
    ----------
    name : path-like
        A folder, or "owner/name" of a model on the Hub. A folder of that name goes first.
    revision : str, optional
        Branch, tag or commit on the Hub.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UsageError
        If huggingface_hub is not installed, or `revision` is given for a folder.
    StorageError
        If the Hub cannot be reached and nothing was kept of an earlier call, or it has no such model.
    """
    folder = Path(name)
    if folder.exists() or not isinstance(name, str) or not _HUB_NAME.fullmatch(name):
        if revision is not None:
            raise UsageError(
                f"revision={revision!r} goes with a model on the Hub ('owner/name'), got {os.fspath(name)!r}"
            )
        return folder
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise UsageError(
            f"there is no folder {name!r} here; to fetch the model of that name from the Hugging Face Hub, install "
            "huggingface_hub: pip install 'neurosig[hub]'"
        ) from error
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
    except (HfHubHTTPError, OSError, ValueError) as error:  # what it raises when offline is one of the last two
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise StorageError(
            f"there is no folder {name!r} here, and the model of that name cannot be fetched from the Hugging Face "
            f"Hub: {reason}"
        ) from error
