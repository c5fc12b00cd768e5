"""Losses that torch does not have, on logits and without logarithms of numbers that may be zero."""

from __future__ import annotations

import torch
from torch.nn import functional

from neurosig.core.errors import InputError, UsageError

__all__ = ["CLASSIFICATION_LOSSES", "classification_loss", "focal_loss"]

CLASSIFICATION_LOSSES = ("label_smoothing", "bce", "focal")


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


def classification_loss(
    logits: torch.Tensor,
    y: torch.Tensor,
    kind: str,
    *,
    smoothing: float = 0.1,
    alpha: float = 0.8,
    gamma: float = 0.7,
) -> torch.Tensor:
    """One of the three losses that TFM-Tokenizer's encoder is fine-tuned by.

    Parameters
    ----------
    logits : tensor of shape (n, n_outputs)
        One output for a binary task with "bce" or "focal".
    y : tensor of shape (n,)
        Class numbers.
    kind : {"label_smoothing", "bce", "focal"}
        Cross-entropy with smoothed labels; binary cross-entropy; `focal_loss`.
    smoothing : float
        Share of the target that goes to all classes alike.
    alpha, gamma : float
        See `focal_loss`.

    Returns
    -------
    tensor of shape ()
        Mean over the examples.

    Raises
    ------
    UsageError
        If `kind` is unknown.
    InputError
        If a binary loss gets logits of several outputs, or shapes do not fit.
    """
    if kind not in CLASSIFICATION_LOSSES:
        raise UsageError(f"the loss is one of {', '.join(map(repr, CLASSIFICATION_LOSSES))}, got {kind!r}")
    if logits.ndim != 2 or y.shape != logits.shape[:1]:
        raise InputError(f"expected logits (n, n_outputs) and y (n,), got {tuple(logits.shape)} and {tuple(y.shape)}")
    if kind == "label_smoothing":
        return functional.cross_entropy(logits, y.long(), label_smoothing=smoothing)
    if logits.shape[1] != 1:
        raise InputError(f"the loss {kind!r} takes one output for two classes, got {logits.shape[1]}: set n_outputs=1")
    if kind == "bce":
        return functional.binary_cross_entropy_with_logits(logits[:, 0], y.to(logits.dtype))
    return focal_loss(logits[:, 0], y, alpha, gamma)
