"""Runs of different lengths in one Zarr array: one after the other along time, read back run by run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import InputError
from neurosig.core.lazy_runs import LazyRuns

if TYPE_CHECKING:
    import numpy as np

__all__ = ["stored_runs", "write_runs"]

_CHUNK = 16e6  # bytes; the most that a chunk holds


def write_runs(group: Any, runs: Sequence[np.ndarray], n_regions: int) -> list[int]:
    """Write runs into the array ``runs`` of a Zarr group, one after the other along time.

    Memory holds one run and one chunk. A chunk is about as long as the first run, so that a run is read from one or two
    files.

    Parameters
    ----------
    group : zarr.Group
        Where to; open for writing.
    runs : sequence of array of shape (n_regions, n_times)
        The runs; `LazyRuns` are read one by one.
    n_regions : int
        Regions that each run must have.

    Returns
    -------
    list of int
        Volumes of each run, which `stored_runs` needs.

    Raises
    ------
    InputError
        If there is no run, or a run is of another shape.
    """
    import numpy as np

    if not len(runs):
        raise InputError("expected at least one run to store, got none")
    store: Any = None
    buffer = np.empty((n_regions, 0))
    lengths: list[int] = []
    for place in range(len(runs)):
        run = np.asarray(runs[place])
        if run.ndim != 2 or run.shape[0] != n_regions or not run.shape[1]:
            raise InputError(f"run {place} has shape {run.shape}, expected ({n_regions}, n_times)")
        if store is None:
            # runs that are read one by one come from one reader, and have its type
            dtype = np.result_type(*runs) if isinstance(runs, list) else run.dtype
            widest = max(1, int(_CHUNK // (n_regions * dtype.itemsize)))
            chunk = min(run.shape[1], widest)
            store = group.create_array("runs", shape=(n_regions, 0), dtype=dtype, chunks=(n_regions, chunk))
            buffer = buffer.astype(dtype)
        lengths.append(run.shape[1])
        buffer = np.concatenate([buffer, run.astype(dtype, copy=False)], axis=1)
        whole = buffer.shape[1] // chunk * chunk
        if whole:  # chunks are written once, when they are full
            store.append(buffer[:, :whole], axis=1)
            buffer = buffer[:, whole:]
    if buffer.shape[1]:
        store.append(buffer, axis=1)
    return lengths


def stored_runs(group: Any, lengths: Sequence[int]) -> LazyRuns:
    """The runs that `write_runs` wrote, each read when it is asked for.

    Parameters
    ----------
    group : zarr.Group
        The group.
    lengths : sequence of int
        As `write_runs` gave them.

    Returns
    -------
    LazyRuns

    Raises
    ------
    ValueError
        If the array is not as long as the runs together.
    """
    import numpy as np

    store = group["runs"]
    ends = np.cumsum(lengths).tolist()
    if store.shape[1] != ends[-1]:
        raise ValueError(f"its runs are {ends[-1]} volumes, the array has {store.shape[1]}")
    return LazyRuns(_Read(store), list(zip([0, *ends[:-1]], ends, strict=True)))


@dataclass(frozen=True)
class _Read:
    """Reads a span of volumes; an object, so that it can be sent to other processes."""

    store: Any

    def __call__(self, span: tuple[int, int]) -> np.ndarray:
        return self.store[:, span[0] : span[1]]
