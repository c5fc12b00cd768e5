"""A fitted network as one function of trials in the unit it was trained on: scaling, windows and all.

This is what is explained and what is exported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurosig.core.errors import UsageError
from neurosig.training.trial_data import check_like_fitted

__all__ = ["TrialNetwork", "checked_trials", "trial_network"]


class TrialNetwork(nn.Module):
    """Trials in the training unit to outputs.

    Parameters
    ----------
    module : nn.Module
        The network, (n_windows, n_chans, n_times) -> (n_windows, n_outputs).
    scale : float
        What the signals are divided by before the network sees them.
    window, step : int or None
        Samples of a window and between the starts of two; None where the network takes whole trials.
    vote : {"outputs", "mean", "majority"}
        How windows become a trial: mean of the outputs; or the logarithm of the probabilities that `NetClassifier`
        gives for these votes, so that the softmax of what comes out is these probabilities.
    gain, offset : float
        From outputs to the unit of the target, of a regression.
    """

    def __init__(
        self,
        module: nn.Module,
        scale: float = 1.0,
        *,
        window: int | None = None,
        step: int | None = None,
        vote: str = "outputs",
        gain: float = 1.0,
        offset: float = 0.0,
    ):
        super().__init__()
        self.module = module
        self.scale = float(scale)
        self.window = window
        self.step = (window or 0) if step is None else step
        self.vote = vote
        self.gain = float(gain)
        self.offset = float(offset)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n_trials, n_channels, n_times) in the training unit -> (n_trials, n_outputs)."""
        x = x / self.scale
        if self.window is None:
            return self._in_unit(self.module(x))
        n_channels = x.shape[1]
        windows = x.unfold(-1, self.window, self.step).transpose(1, 2)
        n_windows = windows.shape[1]
        out = self.module(windows.reshape(-1, n_channels, self.window))
        out = out.reshape(-1, n_windows, out.shape[-1])
        if self.vote == "outputs" or n_windows == 1:
            return self._in_unit(out.mean(dim=1))
        mean = out.softmax(dim=-1).mean(dim=1)
        if self.vote == "mean":
            return mean.log()
        votes = torch.nn.functional.one_hot(out.argmax(dim=-1), out.shape[-1]).sum(dim=1)
        return ((votes + mean) / (n_windows + 1)).log()

    def _in_unit(self, out: torch.Tensor) -> torch.Tensor:
        return out if (self.gain, self.offset) == (1.0, 0.0) else out * self.gain + self.offset


def trial_network(estimator: Any, *, voting: bool = False) -> TrialNetwork:
    """The function that a fitted estimator applies to a trial.

    Parameters
    ----------
    estimator : NetClassifier or NetRegressor
        Fitted.
    voting : bool
        Whether windows vote as the estimator's ``vote`` says, or their outputs are averaged.

    Returns
    -------
    TrialNetwork
        In evaluation mode; it shares the weights of ``estimator.module_``.

    Raises
    ------
    UsageError
        If the estimator holds no network.
    """
    check_is_fitted(estimator)
    module = getattr(estimator, "module_", None)
    if not isinstance(module, nn.Module):
        raise UsageError(f"expected a fitted NetClassifier or NetRegressor, got {type(estimator).__name__}")
    return TrialNetwork(
        getattr(module, "_orig_mod", module),  # what torch.compile wraps
        estimator.scale_,
        window=getattr(estimator, "window_", None),
        step=getattr(estimator, "window_step_", None),
        vote=getattr(estimator, "vote", "outputs") if voting else "outputs",
        gain=getattr(estimator, "target_sd_", 1.0),
        offset=getattr(estimator, "target_mean_", 0.0),
    ).eval()


def checked_trials(estimator: Any, X: Any) -> np.ndarray:
    """Trials as the fitted estimator takes them, (n_trials, n_channels, n_times) of float32, in memory."""
    check_is_fitted(estimator)
    return np.asarray(check_like_fitted(estimator, X)[:], dtype=np.float32)
