"""Weights of classes in a loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from neurosig.core.errors import UsageError

__all__ = ["class_weights"]


def class_weights(
    wanted: Any, classes: np.ndarray, codes: np.ndarray, weights: np.ndarray | None = None
) -> torch.Tensor | None:
    """Weights of the classes among the trials trained on.

    Parameters
    ----------
    wanted : {None, "balanced"} or dict
        As `NetClassifier` has it: none, such that classes count alike, or by label (1 where a label is left out).
    classes : array of shape (n_classes,)
        The labels.
    codes : int array of shape (n_trials,)
        Which of them the trials have.
    weights : array of shape (n_trials,), optional
        Weights of the trials.

    Returns
    -------
    float32 tensor of shape (n_classes,), or None

    Raises
    ------
    UsageError
        If `wanted` is none of these, names no label, or holds a number below 0.
    """
    if wanted is None:
        return None
    if isinstance(wanted, str):
        if wanted != "balanced":
            raise UsageError(f"class_weight must be None, 'balanced' or a dict, got {wanted!r}")
        counts = np.bincount(codes, weights=weights, minlength=len(classes))
        found = counts.sum() / (len(classes) * np.where(counts == 0, np.inf, counts))
        return torch.as_tensor(found, dtype=torch.float32)
    if isinstance(wanted, dict) and (unknown := set(wanted) - set(classes.tolist())):
        raise UsageError(f"class_weight names {unknown}, which is no label; the labels are {classes.tolist()}")
    try:
        given = [float(wanted.get(label, 1.0)) for label in classes.tolist()]
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"class_weight must be None, 'balanced' or a dict of numbers, got {wanted!r}") from error
    if not (np.isfinite(given).all() and min(given) >= 0 and max(given) > 0):
        raise UsageError(f"class_weight must not be below 0, and some above 0, got {wanted!r}")
    return torch.tensor(given)
