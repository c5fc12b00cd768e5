"""A folder for one process at a time; the lock goes with the process, however that ends."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from neurosig.core.errors import StorageError
from neurosig.core.log import logger

__all__ = ["exclusive"]

_HELD = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)


@contextlib.contextmanager
def exclusive(folder: str | os.PathLike, doing: str) -> Iterator[None]:
    """Hold a folder for this process; a second one is refused at once.

    The operating system gives the lock back when the process ends, also where it is killed: no stale file ever blocks.
    Where a file system knows no locks (some network ones), the work goes on without.

    Parameters
    ----------
    folder : path
        The folder, which exists.
    doing : str
        What the folder is held for, such as "neurosig preprocess".

    Raises
    ------
    StorageError
        If another process holds it.
    """
    path = Path(folder) / ".lock"
    descriptor = _take(path, doing)
    try:
        yield
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):  # Windows does not remove what is open
                path.unlink()
            os.close(descriptor)


def _take(path: Path, doing: str) -> int | None:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}; choose another folder") from error
        try:
            _lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno in _HELD:
                raise StorageError(
                    f"another {doing} is writing to {path.parent}: wait until it is done, or choose another folder"
                ) from error
            logger.debug("no locks on %s: %s", path.parent, error)
            return None
        # who held it before may have removed the file after it was opened here
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
