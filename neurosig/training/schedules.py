"""Courses of the learning rate that are published with a system, step by step."""

from __future__ import annotations

import math

import numpy as np
import torch

from neurosig.core.errors import UsageError

__all__ = ["follow_rates", "warmup_cosine", "warmup_linear"]


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


def follow_rates(optimizer: torch.optim.Optimizer, rates: np.ndarray, lr: float) -> torch.optim.lr_scheduler.LambdaLR:
    """A torch scheduler that sets these rates one after the other and keeps the last.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Its groups keep their ratios: each gets its own rate times `rates` over `lr`.
    rates : array of shape (n_steps,)
        From `warmup_cosine`.
    lr : float
        The rate that the optimizer was built with.

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
    factors = (np.asarray(rates, dtype=float) / lr).tolist()
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factors[min(step, len(factors) - 1)])


def warmup_linear(epoch: int, n_epochs: int = 20, warmup: float = 4, lowest: float = 0.1) -> float:
    """Factor on the learning rates in an epoch, counted from 0: straight up from `lowest`, then straight down to it.

    Parameters
    ----------
    epoch, n_epochs : int
        The epoch, and how many there are.
    warmup : float
        How many it takes to reach 1.
    lowest : float
        Factor at the start, and towards the end.

    Returns
    -------
    float
    """
    if epoch < warmup:
        return lowest + (1 - lowest) * epoch / warmup
    return 1 - (1 - lowest) * min(1.0, (epoch - warmup) / max(1, n_epochs - warmup))
