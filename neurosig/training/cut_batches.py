"""Batches of windows that are trials of their own to a network: cut from longer trials when a batch is made."""

from __future__ import annotations

from typing import Any

import torch

from neurosig.core.cut_trials import CutTrials
from neurosig.training.batches import Trials

__all__ = ["TrialsOfWindows", "trials_of"]


class TrialsOfWindows(Trials):
    """`Trials` of which each is a window of a longer one; all are in memory, the longer ones and no more.

    Parameters
    ----------
    X : CutTrials
        The windows that count as trials.
    window, step : int or None
        Samples of a window of these, and between the starts of two; None takes them whole.
    device : torch.device, optional
        See `Trials`.
    """

    def __init__(
        self, X: CutTrials, window: int | None = None, step: int | None = None, device: torch.device | None = None
    ):
        super().__init__(X.trials, device=device)
        self.X, self.n_trials = X, len(X)
        self.window = X.length if window is None else window
        self.step = self.window if step is None else step
        self.n_windows = 1 + (X.length - self.window) // self.step
        self.shape = (X.shape[1], self.window)
        self.whole = self.window == X.length

    def cut(self, block: torch.Tensor, rows: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
        """Windows, given by what counts as a trial and by its window, as one new tensor."""
        rows, first = rows.to(block.device), windows.to(block.device) * self.step
        owner = torch.div(rows, self.X.n_windows, rounding_mode="floor")
        start = (rows - owner * self.X.n_windows) * self.X.step + first
        return block.unfold(2, self.window, 1)[owner, :, start]


def trials_of(X: Any, window: int | None, step: int | None, device: torch.device) -> Trials:
    """`Trials` of whatever holds them."""
    return (TrialsOfWindows if isinstance(X, CutTrials) else Trials)(X, window, step, device)
