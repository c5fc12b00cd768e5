"""`LazyRuns`: a sequence of runs that are read when they are asked for, and let go again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LazyRuns"]


class LazyRuns(Sequence):
    """Runs on disk, as a sequence of arrays (n_regions, n_times).

    Memory holds the run that was asked for last, and no other.

    Parameters
    ----------
    read : callable
        Gives the series of an item, ``read(item) -> array of shape (n_regions, n_times)``.
    items : sequence
        What stands for each run, a file and how to read it, say.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.core.lazy_runs import LazyRuns
    >>> runs = LazyRuns(lambda length: np.zeros((2, length)), [5, 7, 9])
    >>> runs[1].shape, runs[1:]
    ((2, 7), <LazyRuns: 2 runs>)
    >>> [run.shape for run in runs.load()]
    [(2, 5), (2, 7), (2, 9)]
    """

    def __init__(self, read: Callable[[Any], np.ndarray], items: Sequence[Any]):
        self._read = read
        self._items = list(items)
        self._last: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"<LazyRuns: {len(self)} runs>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def __getitem__(self, index: Any) -> Any:
        """One run as an array; of a slice, a mask or an array of positions, `LazyRuns`."""
        import numpy as np

        if isinstance(index, slice):
            return LazyRuns(self._read, self._items[index])
        if np.ndim(index) > 0:
            places = np.arange(len(self))[np.asarray(index)]
            return LazyRuns(self._read, [self._items[place] for place in places])
        place = range(len(self))[int(index)]
        if self._last is None or self._last[0] != place:
            self._last = None  # before the next is read
            self._last = (place, self._read(self._items[place]))
        return self._last[1]

    def load(self, n_jobs: int = 1) -> Any:
        """Read all runs.

        Parameters
        ----------
        n_jobs : int
            Processes that read at the same time, as in joblib; each holds one run.

        Returns
        -------
        array of shape (n_runs, n_regions, n_times), or list of arrays (n_regions, n_times) where lengths differ
        """
        import numpy as np

        if n_jobs == 0:
            raise UsageError("n_jobs must be 1 or more, or -1 for all processors; got 0")
        if n_jobs == 1:
            runs = [self._read(item) for item in self._items]
        else:
            import joblib

            runs = joblib.Parallel(n_jobs)(joblib.delayed(self._read)(item) for item in self._items)
        return np.stack(runs) if len({run.shape for run in runs}) == 1 else runs
