"""Files: where neurosig's own resources are, content digests, and writes that are never seen half done."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neurosig.core.errors import StorageError

__all__ = [
    "atomic_path", "atomic_write", "cache_dir", "check_writable", "digest", "resource_dir", "sha256_file",
    "sweep_unfinished",
]  # fmt: skip

_PACKAGE = Path(__file__).resolve().parents[1]


def cache_dir() -> Path:
    """Folder for downloads and what is remembered: ``NEUROSIG_CACHE``, else the operating system's cache folder."""
    if place := os.environ.get("NEUROSIG_CACHE"):
        return Path(place)
    import pooch

    return Path(pooch.os_cache("neurosig"))


def resource_dir(name: str) -> Path:
    """Folder of files that travel with neurosig.

    Parameters
    ----------
    name : {"pipelines", "data_manifests"}
        Which folder.

    Returns
    -------
    Path
        Inside the installed package, or at the top of the checkout when neurosig runs from one.
    """
    for folder in (_PACKAGE / "_resources" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise StorageError(f"neurosig's own folder {name!r} is missing from this installation; reinstall neurosig")


def sha256_file(path: str | os.PathLike, chunk: int = 1 << 20) -> str:
    """Hexadecimal SHA-256 of a file's content, read in pieces of `chunk` bytes."""
    hasher = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(chunk):
            hasher.update(block)
    return hasher.hexdigest()


def digest(*parts: Any, length: int = 16) -> str:
    """Short digest of JSON-like content: equal content gives equal digests, in every process and on every machine.

    Parameters
    ----------
    *parts : dict, list, str, number, bool or None
        Content; tuples count as lists and paths as their text. Anything else raises ``TypeError``: a ``repr`` is
        never hashed, because it may be elided or hold an address.
    length : int
        Number of hexadecimal digits.
    """

    def default(value):
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
            return value.item()
        raise TypeError(f"digest() takes JSON-like content, got {type(value).__name__}")

    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=default)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it replaces `path`, on any failure it is removed.

    Works for a file and for a folder. A reader never sees a half-written result, not even after a kill or a full disk.
    A file is replaced in one step. A folder that exists is replaced in two: killed between them, its old content lies
    in a hidden folder beside it, and the next write to the same place puts it back first.

    Raises
    ------
    StorageError
        If the place cannot be written, or the disk is full.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _recover(target)
        box = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    except OSError as error:
        raise _storage_error(target, error) from error
    temporary = box / target.name
    try:
        yield temporary
        if temporary.is_dir():
            _replace_folder(temporary, target, box)
        else:
            with open(temporary, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(temporary, target)
    except OSError as error:
        if isinstance(error, StorageError) or error.errno is None:
            raise
        raise _storage_error(target, error) from error
    finally:
        _remove(box)


def atomic_write(path: str | os.PathLike, content: str | bytes) -> Path:
    """Write `content` to `path` in one step (see `atomic_path`); text is UTF-8. Returns the path."""
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def sweep_unfinished(path: str | os.PathLike) -> None:
    """Take away what killed writes to `path` left beside it; a folder that was moved aside is put back first.

    Parameters
    ----------
    path : path-like
        What `atomic_path` writes. Nobody else may be writing it now: only who holds a lock on the work knows that.
    """
    target = Path(path)
    _recover(target)
    for box in _boxes(target):
        _remove(box)


def check_writable(folder: str | os.PathLike) -> Path:
    """Create `folder` if need be and prove that a file can be written there, before any long work begins.

    Raises
    ------
    StorageError
        With the reason and what to do.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"neurosig")
    except OSError as error:
        raise _storage_error(folder, error) from error
    return folder


def _recover(target: Path) -> None:
    """Put back a folder that a killed process had moved aside and not yet replaced."""
    if target.exists():
        return
    for box in _boxes(target):
        if (box / "previous").exists():
            os.replace(box / "previous", target)
            _remove(box)
            return


def _boxes(target: Path) -> list[Path]:
    """Where `target` was or is being written, and no sibling of it whose name begins alike."""
    name = re.compile(rf"\.{re.escape(target.name)}\.[^.]+\.partial")
    return [place for place in target.parent.iterdir() if name.fullmatch(place.name)] if target.parent.is_dir() else []


def _replace_folder(temporary: Path, target: Path, box: Path) -> None:
    # os.replace cannot overwrite a filled folder: move the old one aside first, put it back if the swap fails
    aside = box / "previous"
    if target.exists():
        os.replace(target, aside)
    try:
        os.replace(temporary, target)
    except OSError:
        if aside.exists():
            os.replace(aside, target)
        raise


def _remove(path: Path) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def _storage_error(path: Path, error: OSError) -> StorageError:
    advice = {
        errno.ENOSPC: "the disk is full: free space or choose another folder",
        errno.EDQUOT: "the disk quota is used up: free space or choose another folder",
        errno.EACCES: "no permission to write there: choose another folder",
        errno.EPERM: "no permission to write there: choose another folder",
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.ENOTDIR: "a part of that path is a file, not a folder: choose another folder",
        errno.EEXIST: "a file of that name is in the way: choose another name",
    }.get(error.errno or 0, f"{error.strerror or error}")
    return StorageError(f"cannot write {path}: {advice}")
