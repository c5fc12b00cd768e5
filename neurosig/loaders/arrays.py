"""Where the trials of many recordings are gathered: one array in memory, or a file that grows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from neurosig.core.files import atomic_path

if TYPE_CHECKING:
    import numpy as np

__all__ = ["GrowingFile", "MemoryArray", "room_for"]


class MemoryArray:
    """X in memory, allocated once for all events; trials that fall out leave the end unused, which costs nothing."""

    def __init__(self, shape: tuple[int, int, int]):
        import numpy as np

        self.data, self.used = np.empty(shape), 0

    def append(self, block: np.ndarray) -> None:
        """Add trials at the end."""
        self.data[self.used : self.used + len(block)] = block
        self.used += len(block)

    def finish(self) -> np.ndarray:
        """The trials that were added."""
        return self.data[: self.used]


class GrowingFile:
    """A ``.npy`` file that grows by appending: no mapped pages pile up in memory while it is written."""

    def __init__(self, path: Path, shape: tuple[int, int, int]):
        self.shape, self.used = shape, 0
        self.stream = path.open("wb")
        self._header(shape[0])

    def _header(self, count: int) -> None:
        from numpy.lib import format as npy

        self.stream.seek(0)  # numpy pads the header for a growing first axis: a later header fits in the same place
        header = {"descr": "<f8", "fortran_order": False, "shape": (count, *self.shape[1:])}
        npy.write_array_header_1_0(self.stream, header)

    def append(self, block: np.ndarray) -> None:
        """Add trials at the end."""
        import numpy as np

        self.stream.write(np.ascontiguousarray(block, "<f8").data)
        self.used += len(block)

    def finish(self) -> None:
        """Write the number of trials that were added, and everything to disk."""
        self._header(self.used)
        self.stream.flush()
        os.fsync(self.stream.fileno())


@contextlib.contextmanager
def room_for(shape: tuple[int, int, int], path: str | Path | None) -> Iterator[MemoryArray | GrowingFile]:
    """Room for at most ``shape[0]`` trials: in memory, or in a ``.npy`` file that appears at `path` when whole."""
    if path is None:
        yield MemoryArray(shape)
        return
    with atomic_path(path) as temporary:
        room = GrowingFile(temporary, shape)
        try:
            yield room
        finally:
            room.stream.close()
