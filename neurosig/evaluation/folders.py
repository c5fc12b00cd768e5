"""A folder for results: proven to be writable before the work, and not left behind empty where the work is refused."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from neurosig.core.files import check_writable

__all__ = ["folder_for_results"]


@contextlib.contextmanager
def folder_for_results(folder: str | os.PathLike, *inside: str) -> Iterator[Path]:
    """Make a folder, prove that it can be written, and take it away again if nothing comes to lie in it.

    Parameters
    ----------
    folder : path
        Made with its parents where missing.
    *inside : str
        Folders in it that the work makes, which are not left behind empty either.

    Yields
    ------
    Path
        The folder.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    folder = Path(folder)
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    kept = [folder / name for name in inside if (folder / name).exists()]
    check_writable(folder)
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):  # not empty: something was finished
            for place in [path for path in map(folder.joinpath, inside) if path not in kept and path.exists()] + made:
                place.rmdir()
        raise
