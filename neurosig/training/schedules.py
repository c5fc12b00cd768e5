"""Courses of the learning rate that are published with a system, step by step."""

from __future__ import annotations

import math

import numpy as np
import torch

from neurosig.core.errors import UsageError

__all__ = ["follow_rates", "warmup_cosine"]


def warmup_cosine(n_steps: int, lr: float, final_lr: float = 0.0, warmup: int = 0) -> np.ndarray:
    """Learning rates that rise from zero, then go over to the final one along half a cosine.

    Parameters
    ----------
    n_steps : int
        Steps of the optimizer in the whole training.
    lr : float
        Rate at the end of the warm-up.
    final_lr : float
        Rate that the last steps come near. The published TFM-Tokenizer has 5e-3 after an `lr` of 1e-3: its "decay"
        rises.
    warmup : int
        Steps of the warm-up, from 0 to `lr`, both included.

    Returns
    -------
    array of shape (n_steps,)
        Rate of each step.

    Raises
    ------
    UsageError
        If a rate is negative, or the warm-up is longer than the training.
    """
    if not (lr >= 0 and final_lr >= 0 and math.isfinite(lr) and math.isfinite(final_lr)):
        raise UsageError(f"learning rates must not be negative, got {lr!r} and {final_lr!r}")
    if not 0 <= warmup <= n_steps:
        raise UsageError(f"warmup must lie between 0 and the {n_steps} steps of the training, got {warmup!r}")
    rest = n_steps - warmup
    share = (1 + np.cos(np.pi * np.arange(rest) / max(rest, 1))) / 2
    return np.concatenate([np.linspace(0, lr, warmup), final_lr + (lr - final_lr) * share])


def follow_rates(optimizer: torch.optim.Optimizer, rates: np.ndarray) -> torch.optim.lr_scheduler.LambdaLR:
    """A torch scheduler that sets these rates one after the other and keeps the last.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Its groups keep their ratios: each gets its own rate times `rates` over the largest of `rates`. So build it with
        that largest rate.
    rates : array of shape (n_steps,)
        From `warmup_cosine`.

    Returns
    -------
    torch.optim.lr_scheduler.LambdaLR
        To be stepped after each step of the optimizer.

    Raises
    ------
    UsageError
        If there is no rate above zero.
    """
    if not len(rates) or not np.max(rates) > 0:
        raise UsageError("expected at least one learning rate above zero")
    factors = (np.asarray(rates, dtype=float) / np.max(rates)).tolist()
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factors[min(step, len(factors) - 1)])
