"""Flagging values by their z-scores, in rounds: what one round finds does not count in the next."""

from __future__ import annotations

import numpy as np

__all__ = ["flag_outliers", "largest_z", "last_round"]


def largest_z(n: int, ddof: int) -> float:
    """Largest z-score that one of n values can have: all the others are equal."""
    return float(np.sqrt(n - 1)) if ddof == 0 else (n - 1) / float(np.sqrt(n))


def flag_outliers(
    scores: np.ndarray,
    threshold: float = 3.0,
    *,
    ddof: int = 1,
    max_iter: int = 1,
    valid: np.ndarray | None = None,
    impute: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Flag values whose z-score lies beyond a threshold, along the last axis.

    Parameters
    ----------
    scores : array of shape (..., n_items)
        Scores.
    threshold : float
        Values with ``abs(z) > threshold`` are outliers.
    ddof : int
        Degrees of freedom taken off in the standard deviation.
    max_iter : int
        Rounds; items found in one do not count in the mean and standard deviation of the next.
    valid : array of bool, broadcastable to scores, optional
        Items that take part.
    impute : bool
        Whether scores that are not finite are replaced by the mean of the others. Else they make all z-scores of their
        row NaN, and nothing is found there.

    Returns
    -------
    z : array of shape (..., n_items)
        z-score in the round in which the item was found, else in the last; 0 where it is not defined.
    flags : array of bool of shape (..., n_items)
        The outliers.
    """
    scores = np.array(scores, dtype=np.float64)
    kept = np.ones(scores.shape, dtype=bool) if valid is None else np.array(np.broadcast_to(valid, scores.shape))
    if impute:
        finite = kept & np.isfinite(scores)
        number = finite.sum(axis=-1, keepdims=True)
        mean = np.where(finite, scores, 0.0).sum(axis=-1, keepdims=True) / np.maximum(number, 1)
        scores = np.where(kept & ~finite, mean, scores)
    z = np.zeros(scores.shape)
    flags = np.zeros(scores.shape, dtype=bool)
    for _ in range(max_iter):
        now = _z_scores(scores, kept, ddof)
        z = np.where(kept, now, z)
        with np.errstate(invalid="ignore"):
            found = kept & (np.abs(now) > threshold)
        if not found.any():
            break
        flags |= found
        kept &= ~found
    return z, flags


def last_round(scores: np.ndarray, threshold: float, *, ddof: int, max_iter: int) -> tuple[float, float]:
    """Mean and standard deviation by which `flag_outliers` judged in its last round.

    Parameters
    ----------
    scores : array of shape (n_items,)
        Scores, finite.
    threshold : float
        Values with ``abs(z) > threshold`` are outliers.
    ddof : int
        Degrees of freedom taken off in the standard deviation.
    max_iter : int
        Rounds.

    Returns
    -------
    mean, spread : float
        Of the items that no earlier round found; the spread is 0 where no z-score is defined.
    """
    earlier = np.zeros(len(scores), dtype=bool)
    if max_iter > 1:
        _, earlier = flag_outliers(scores, threshold, ddof=ddof, max_iter=max_iter - 1)
    left = scores[~earlier]
    if len(left) <= ddof or not _z_scores(left, np.ones(len(left), dtype=bool), ddof).any():
        return float(left.mean()), 0.0
    return float(left.mean()), float(left.std(ddof=ddof))


def _z_scores(scores: np.ndarray, kept: np.ndarray, ddof: int) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        number = kept.sum(axis=-1, keepdims=True)
        mean = np.where(kept, scores, 0.0).sum(axis=-1, keepdims=True) / number
        off = np.where(kept, scores - mean, 0.0)
        spread = np.sqrt((off * off).sum(axis=-1, keepdims=True) / np.maximum(number - ddof, 0))
        # equal scores differ by rounding only
        undefined = ~(spread > 10 * np.finfo(np.float64).eps * np.abs(mean)) & ~np.isnan(spread) | (number <= ddof)
        return np.where(undefined, 0.0, off / np.where(undefined, 1.0, spread))
