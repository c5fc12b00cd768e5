"""Whether a network does better on its validation trials than a guess that ignores the signals."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from sklearn.exceptions import ConvergenceWarning

__all__ = ["guessing_loss", "is_chance", "tell_of_chance"]

_BETTER = 0.99  # of the loss of guessing; a network that has learned nothing comes out a little beside it


def guessing_loss(
    target: np.ndarray,
    trials: np.ndarray,
    weight: np.ndarray | None = None,
    class_weight: np.ndarray | None = None,
    *,
    classes: bool = True,
) -> float:
    """The lowest validation loss of an answer that is the same for every trial.

    Parameters
    ----------
    target : array of int of shape (n_trials,), or of float of shape (n_trials, n_outputs)
        Class numbers, or standardised values.
    trials : array of int
        Positions of the validation trials.
    weight : array of shape (n_trials,), optional
        Weights of the trials in the loss.
    class_weight : array of shape (n_classes,), optional
        Weights of the classes in the loss.
    classes : bool
        Whether the loss is the cross-entropy of classes, or the squared error.

    Returns
    -------
    float
        Entropy of the (weighted) shares of the classes, or variance of the values.
    """
    chosen = target[trials]
    share = np.ones(len(chosen)) if weight is None else np.asarray(weight, dtype=float)[trials]
    if not classes:
        values = chosen.reshape(len(chosen), -1).astype(float)
        spread = (values - np.average(values, axis=0, weights=share)) ** 2
        return float(np.average(spread, axis=0, weights=share).mean())
    if class_weight is not None:
        share = share * class_weight[chosen]
    counts = np.bincount(chosen, weights=share)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def is_chance(row: Mapping[str, float], guess: float) -> bool:
    """Whether the validation loss of an epoch, if there is one, is no better than that of guessing."""
    loss = row.get("valid_loss")
    return loss is not None and bool(np.isfinite(guess)) and guess > 0 and loss >= _BETTER * guess


def tell_of_chance(name: str, row: Mapping[str, float], guess: float) -> bool:
    """Warn of a network whose kept weights are no better than guessing on its validation trials.

    Parameters
    ----------
    name : str
        The network.
    row : dict
        The epoch whose weights are kept, with ``valid_loss``.
    guess : float
        What `guessing_loss` gives.

    Returns
    -------
    bool
        Whether it is so.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        In the same words for every training, so that many folds tell it once.
    """
    if not is_chance(row, guess):
        return False
    of = "runs" if name == "BrainMAE" else "trials"
    warnings.warn(
        f"{name} has learned nothing that carries over: its loss on the validation {of} is no better than that of "
        f"guessing; give it more steps (max_epochs, a smaller batch_size), another learning rate, or more {of}",
        ConvergenceWarning,
        stacklevel=4,
    )
    return True
