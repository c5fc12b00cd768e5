"""Shrinkage of augmented covariances, from lagged products: oracle approximating, Ledoit-Wolf, Schaefer-Strimmer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from neurosig.preprocessing.lagged_products import LaggedProducts

__all__ = ["diagonal_of", "fourth_moments", "schaefer_strimmer", "shrink", "shrink_oas"]


def shrink_oas(matrices: np.ndarray, n_samples: int) -> np.ndarray:
    """Oracle approximating shrinkage of covariances that were divided by `n_samples`, in place."""
    shrink(matrices, n_samples, None)
    return matrices


def diagonal_of(matrices: np.ndarray) -> np.ndarray:
    """Diagonals of matrices, to be read and written."""
    return np.einsum("nii->ni", matrices)  # a view


def shrink(matrices: np.ndarray, length: int, fourth: np.ndarray | None) -> None:
    """Shrink biased covariances towards a multiple of the identity, in place.

    Oracle approximating shrinkage (Chen et al. 2010) in the form that scikit-learn uses, or, where the sums over time
    of the fourth power of the norm are given, Ledoit and Wolf's (2004).
    """
    n, size = len(matrices), matrices.shape[1]
    flat = matrices.reshape(n, -1)
    squares = np.vecdot(flat, flat)
    mu = diagonal_of(matrices).sum(axis=1) / size
    if fourth is None:
        gain = squares / size**2 + mu**2
        loss = (length + 1) * (squares / size**2 - mu**2 / size)
        shrinkage = np.divide(gain, loss, out=np.ones(n), where=loss != 0)
        shrinkage = np.where(loss == 0, 1.0, np.minimum(shrinkage, 1.0))
    else:
        beta = (fourth / length - squares) / (size * length)
        delta = (squares - size * mu**2) / size
        beta = np.minimum(beta, delta)
        shrinkage = np.divide(beta, delta, out=np.zeros(n), where=beta != 0)
    matrices *= (1 - shrinkage)[:, None, None]
    diagonal_of(matrices)[:] += (shrinkage * mu)[:, None]


def fourth_moments(products: LaggedProducts, order: int, lag: int, length: int) -> np.ndarray:
    """Sum over time of the fourth power of the norm of the centred stacked signal, trial by trial."""
    means = products.block_means(order, lag, length)
    sums = np.empty(len(products.X))
    for i, (x, mean) in enumerate(zip(products.X, means, strict=True)):
        squares = np.vecdot(x.T, x.T)[None] - 2 * (mean @ x) + np.vecdot(mean, mean)[:, None]
        norms = sum(squares[p, p * lag : p * lag + length] for p in range(order))
        sums[i] = np.dot(norms, norms)
    return sums


def schaefer_strimmer(powers: LaggedProducts, order: int, lag: int, length: int) -> np.ndarray:
    """Schaefer and Strimmer's (2005) shrinkage, from lagged products of centred signals followed by their squares."""
    n_trials, n_channels = len(powers.X), powers.X.shape[1] // 2
    gamma = np.empty(n_trials)
    all_sums = powers.block_means(order, lag, length).reshape(n_trials, order, 2, n_channels)
    for part, matrices in powers.moments(order, lag, length, centered=False):
        for i, matrix in zip(range(n_trials)[part], matrices, strict=True):
            blocks = matrix.reshape(order, 2, n_channels, order, 2, n_channels).transpose(1, 4, 0, 2, 3, 5)
            m = blocks.reshape(2, 2, order * n_channels, -1)  # mean of x^(1 + j) y^(1 + k)
            a, s = all_sums[i].transpose(1, 0, 2).reshape(2, -1)
            A, S, b, t = a[:, None], s[:, None], a[None], s[None]
            # mean of (x - a)^2 (y - b)^2, multiplied out
            fourth = m[1, 1] - 2 * b * m[1, 0] + b**2 * S - 2 * A * m[0, 1] + 4 * A * b * m[0, 0]
            fourth += A**2 * t - 3 * A**2 * b**2
            covariance = m[0, 0] - A * b
            variance = np.diagonal(covariance)
            scale = np.outer(variance, variance)
            with np.errstate(divide="ignore", invalid="ignore"):
                spread = (fourth - covariance**2) / scale * (length / (length - 1)) ** 3 / length
                squared = covariance**2 / scale * (length / (length - 1)) ** 2
            np.fill_diagonal(spread, 0.0)
            np.fill_diagonal(squared, 0.0)
            total = np.nansum(squared)
            gamma[i] = 0.0 if total == 0 else np.clip(np.nansum(spread) / total, 0, 1)
    return gamma
