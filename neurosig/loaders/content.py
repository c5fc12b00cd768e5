"""The content of files: SHA-256 sums of what is inside, remembered as long as a file does not change."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable
from pathlib import Path

from neurosig.core.errors import InputError, StorageError
from neurosig.core.files import atomic_write, cache_dir
from neurosig.loaders.companions import companions

__all__ = ["cache_dir", "companions", "content_sums", "find_file"]

_MEMORY: dict[str, str] = {}
_LOADED: set[Path] = set()


def find_file(path: Path) -> Path | None:
    """The file at `path`, or its gzip; None where neither is there."""
    if path.exists():
        return path
    other = path.with_name(path.name + ".gz")
    return other if other.exists() else None


def content_sums(paths: Iterable[Path], *, reread: bool = False) -> list[str]:
    """SHA-256 of each file's content; of ``.gz`` files the uncompressed content, of folders all files inside.

    A sum is remembered, in this process and in the cache folder, under the file's path, size and time of change to the
    nanosecond, so that asking again costs one look at the file.

    Parameters
    ----------
    paths : iterable of Path
        Files and folders.
    reread : bool
        Read the bytes even where a sum is remembered: a disk that rots changes neither size nor time.

    Raises
    ------
    InputError
        A file cannot be read.
    """
    store = cache_dir() / "sums.json"
    _load(store)
    sums, fresh = [], False
    for path in paths:
        try:
            key = _key(path)
            if reread or key not in _MEMORY:
                found = _sum(path)
                fresh = fresh or _MEMORY.get(key) != found
                _MEMORY[key] = found
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                f"cannot read {path}: {getattr(error, 'strerror', None) or error}; fetch it again"
            ) from error
        sums.append(_MEMORY[key])
    if fresh:
        _save(store)
    return sums


def _key(path: Path) -> str:
    if path.is_dir():
        files = sorted(item for item in path.rglob("*") if item.is_file())
        return "|".join(_key(item) for item in files) or f"{path.resolve()}:empty"
    state = path.stat()
    return f"{path.resolve()}:{state.st_size}:{state.st_mtime_ns}"


def _sum(path: Path) -> str:
    hasher = hashlib.sha256()
    if path.is_dir():
        for item in sorted(path.rglob("*")):
            if item.is_file():
                hasher.update(f"{item.relative_to(path).as_posix()}={_sum(item)}\n".encode())
        return hasher.hexdigest()
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as stream:
        while block := stream.read(1 << 20):
            hasher.update(block)
    return hasher.hexdigest()


def _load(store: Path) -> None:
    if store in _LOADED:
        return
    _LOADED.add(store)
    try:
        stored = json.loads(store.read_text())
    except (OSError, ValueError):
        return  # no store yet, or a damaged one: the sums are made again
    if isinstance(stored, dict):
        _MEMORY.update({key: value for key, value in stored.items() if isinstance(value, str)})


def _save(store: Path) -> None:
    try:
        recent = dict(list(_MEMORY.items())[-20_000:])
        atomic_write(store, json.dumps({key: value for key, value in recent.items() if len(key) < 4000}))
    except StorageError:
        pass  # remembering is a convenience: a read-only cache folder must not stop the work
