"""Trials on disk in a form that scikit-learn's folds can pick from without reading them."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurosig.core.errors import InputError

__all__ = ["StoredTrials"]


class StoredTrials:
    """Trials of a Zarr array or a memory map, of which a selection is again one on disk: nothing is read by picking.

    scikit-learn picks the trials of a fold by ``X[numbers, ...]``. A Zarr array refuses that, and a memory map copies
    the fold to memory. This takes it, and hands on which trials are meant.

    Parameters
    ----------
    X : Zarr array or memory map of shape (n_trials, n_channels, n_times)
        The signals.
    rows : array of int, optional
        Which of its trials; all by default.

    Attributes
    ----------
    stored : Zarr array or memory map
        `X`.
    rows : array of shape (n_trials,), int
        Positions in `stored`.
    shape : tuple of int
        Of the trials that are meant.
    chunks : tuple of int
        Trials that are best read together, then channels and samples.

    Raises
    ------
    InputError
        If X has not three axes.

    Examples
    --------
    Cross-validate a network on trials that do not fit in memory:

    >>> import zarr
    >>> from sklearn.model_selection import cross_val_score
    >>> from neurosig import NetClassifier
    >>> from neurosig.core import StoredTrials
    >>> rng = np.random.default_rng(0)
    >>> y = np.tile([0, 1], 20)
    >>> store = zarr.create_array({}, data=rng.standard_normal((40, 2, 16)).astype("float32"), chunks=(10, 2, 16))
    >>> network = NetClassifier("LinearNet", max_epochs=2, validation=None, random_state=0, device="cpu")
    >>> cross_val_score(network, StoredTrials(store), y, cv=2).shape
    (2,)
    """

    ndim = 3

    def __init__(self, X: Any, rows: np.ndarray | None = None):
        shape = tuple(map(int, X.shape))
        if len(shape) != 3:
            raise InputError(f"expected stored trials of shape (n_trials, n_channels, n_times), got shape {shape}")
        self.stored = X
        self.rows = np.arange(shape[0]) if rows is None else np.asarray(rows, dtype=np.int64)
        self.shape = (len(self.rows), *shape[1:])
        self.dtype = np.dtype(X.dtype)
        self.chunks = (int(X.chunks[0]) if hasattr(X, "chunks") else 1, *shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<StoredTrials: {' × '.join(map(str, self.shape))} of {int(self.stored.shape[0])} on disk>"

    @property
    def oindex(self) -> _Read:
        """``oindex[numbers]`` reads these trials, as of a Zarr array."""
        return _Read(self)

    def __getitem__(self, index: Any) -> Any:
        """One trial as an array; of a slice, a mask or an array of numbers, `StoredTrials`."""
        index, rest = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        if any(part is not Ellipsis and part != slice(None) for part in rest):
            return self.read(self.rows)[(index, *rest)]
        picked = self.rows[index]
        return self.read(picked[np.newaxis])[0] if picked.ndim == 0 else StoredTrials(self.stored, picked)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("trials on disk cannot be given without reading a copy of them")
        return np.asarray(self.read(self.rows), dtype=dtype)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Trials at positions of `stored`, in that order, as an array in memory."""
        where, back = np.unique(rows, return_inverse=True)
        if len(where) and where[-1] - where[0] + 1 == len(where):
            found = self.stored[int(where[0]) : int(where[-1]) + 1]
        else:
            found = self.stored.oindex[where] if hasattr(self.stored, "oindex") else self.stored[where]
        found = np.asarray(found)
        return found if np.array_equal(where, rows) else found[back]


class _Read:
    """What ``oindex`` gives."""

    def __init__(self, trials: StoredTrials):
        self._trials = trials

    def __getitem__(self, index: Any) -> np.ndarray:
        return self._trials.read(np.atleast_1d(self._trials.rows[index]))
