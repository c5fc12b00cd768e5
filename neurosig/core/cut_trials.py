"""Windows of trials that look like an array and take no memory of their own: each is copied when it is read."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["CutTrials"]


class CutTrials:
    """Windows cut from trials in memory, (n_trials * n_windows, n_channels, length), for what reads them in pieces.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels, n_times)
        The trials; kept as float32.
    length, step : int
        Samples of a window, and from the start of one to that of the next.

    Attributes
    ----------
    trials : array of shape (n_trials, n_channels, n_times), float32
        The trials.
    n_windows : int
        Windows of a trial; window `i` of trial `k` is number ``k * n_windows + i``.
    shape : tuple of int
        Of all windows.
    """

    dtype = np.dtype(np.float32)
    ndim = 3

    def __init__(self, X: np.ndarray, length: int, step: int):
        self.trials = np.ascontiguousarray(X, dtype=np.float32)
        self.length, self.step = length, step
        view = np.lib.stride_tricks.sliding_window_view(self.trials, length, axis=2)[:, :, ::step]
        self._windows = view.transpose(0, 2, 1, 3)
        n_trials, self.n_windows, n_channels, _ = self._windows.shape
        self.shape = (n_trials * self.n_windows, n_channels, length)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """Copy of one window, or of those that a slice, a mask or an array of numbers says."""
        rows = np.arange(len(self))[index]
        return self._windows[rows // self.n_windows, rows % self.n_windows].copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("windows that overlap cannot be given without a copy")
        return np.asarray(self[:], dtype=dtype)
