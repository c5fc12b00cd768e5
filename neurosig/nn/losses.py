"""Losses that torch does not have, on logits and without logarithms of numbers that may be zero."""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = ["focal_loss"]


def focal_loss(
    logits: torch.Tensor, y: torch.Tensor, alpha: float = 0.8, gamma: float = 0.7, reduction: str = "mean"
) -> torch.Tensor:
    """Binary focal loss.

    Parameters
    ----------
    logits : tensor
        Any shape.
    y : tensor of the same shape
        0 or 1.
    alpha : float
        Weight of the positive class; the negative has ``1 - alpha``.
    gamma : float
        How much less easy examples count.
    reduction : {"mean", "none"}
        Whether the losses of the examples are averaged.

    Returns
    -------
    tensor of shape (), or of the shape of the logits
        Mean of ``-alpha (1 - p)^gamma log p`` for positives, and of ``-(1 - alpha) p^gamma log(1 - p)`` for negatives.

    Notes
    -----
    Source: Lin et al. [1]_. Powers and logarithms are taken of logits, so that value and gradient are finite for any.

    References
    ----------
    .. [1] Lin et al., "Focal loss for dense object detection", ICCV 2017, https://arxiv.org/abs/1708.02002
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    y = y.to(logits.dtype)
    log_p, log_q = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    positive = -alpha * y * (gamma * log_q).exp() * log_p
    negative = -(1 - alpha) * (1 - y) * (gamma * log_p).exp() * log_q
    return (positive + negative).mean() if reduction == "mean" else positive + negative
