"""The losses that TFM-Tokenizer's encoders are fine-tuned by, one value a window."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

from neurosig.core.errors import UsageError
from neurosig.nn.losses import focal_loss

__all__ = ["LOSSES", "TokenClassLoss"]

LOSSES = ("cross_entropy", "bce", "focal")


class TokenClassLoss:
    """From outputs and class numbers to losses: a network's ``class_loss``.

    Parameters
    ----------
    kind : {"cross_entropy", "bce", "focal"}
        Which.
    smoothing : float
        Share of the target that goes to all classes alike, of "cross_entropy".
    alpha, gamma : float
        See `neurosig.nn.losses.focal_loss`.

    Raises
    ------
    UsageError
        If an option is not what it must be.

    Notes
    -----
    Published are two outputs and more for "cross_entropy", and one for the others. Here two classes always have two
    outputs, whose difference takes the place of that one: the losses are the same functions of it.
    """

    def __init__(self, kind: str, smoothing: float = 0.1, alpha: float = 0.8, gamma: float = 0.7):
        if kind not in LOSSES:
            raise UsageError(f"loss must be one of {', '.join(map(repr, LOSSES))}, got {kind!r}")
        for name, value in (("label_smoothing", smoothing), ("focal_alpha", alpha)):
            if not _is_number(value) or not 0 <= value <= 1:
                raise UsageError(f"{name} must lie between 0 and 1, got {value!r}")
        if not _is_number(gamma) or gamma < 0:
            raise UsageError(f"focal_gamma must be a number not below 0, got {gamma!r}")
        self.kind, self.smoothing, self.alpha, self.gamma = kind, float(smoothing), float(alpha), float(gamma)

    def __call__(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Outputs (n, n_classes) and class numbers (n,) to losses (n,)."""
        if self.kind == "cross_entropy":
            return functional.cross_entropy(outputs, y, label_smoothing=self.smoothing, reduction="none")
        if outputs.shape[1] != 2:
            raise UsageError(
                f"loss={self.kind!r} tells two classes apart, here are {outputs.shape[1]}; use 'cross_entropy'"
            )
        logits = outputs[:, 1] - outputs[:, 0]
        if self.kind == "focal":
            return focal_loss(logits, y, self.alpha, self.gamma, reduction="none")
        return functional.binary_cross_entropy_with_logits(logits, y.to(logits.dtype), reduction="none")


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool | str) and math.isfinite(value)
    except TypeError:
        return False
