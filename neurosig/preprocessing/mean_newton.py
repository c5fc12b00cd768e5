"""The way to a Riemannian mean: from the middle of two other means, by Newton's steps."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from neurosig.preprocessing.log_maps import LogMaps, moved, size_of
from neurosig.preprocessing.made_matrices import MadeMatrices, blocks_of

__all__ = ["middle", "newton_maps", "whitening_of"]

_SMALLEST_DAMPING = 1e-2  # halved whenever a step overshoots; below this, rounding is what is left


def whitening_of(matrix: np.ndarray) -> np.ndarray:
    """Inverse of the Cholesky factor of a symmetric positive definite matrix of shape (n, n)."""
    return scipy.linalg.solve_triangular(np.linalg.cholesky(matrix), np.eye(len(matrix)), lower=True)


def middle(covs: np.ndarray | MadeMatrices, log_det: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Whitening of the point half way between the arithmetic and the harmonic mean.

    Parameters
    ----------
    covs : array of shape (n_matrices, n, n), or MadeMatrices
        Symmetric positive definite matrices.
    log_det : array of shape (n_matrices,)
        Logarithms of their determinants, whose mean is that of the Riemannian mean's.
    weights : array of shape (n_matrices,)
        Weights; sum to one.

    Returns
    -------
    array of shape (n, n)
        The arithmetic mean's where matrices are too nearly singular to be inverted.
    """
    arithmetic, inverse = np.zeros((2, *covs.shape[1:]))
    for block in blocks_of(covs):
        some = covs[block]
        arithmetic += np.tensordot(weights[block], some, 1)
        inverse += np.tensordot(weights[block], np.linalg.inv(some), 1)
    root = np.linalg.cholesky(arithmetic)
    values, vectors = np.linalg.eigh(root.T @ ((inverse + inverse.T) / 2) @ root)
    whitening = whitening_of(arithmetic)
    if not values[0] > 0:
        return whitening
    whitening = (vectors * values**0.25) @ vectors.T @ whitening
    common = weights @ log_det + 2 * np.linalg.slogdet(whitening)[1]
    return whitening * np.exp(-0.5 * common / len(arithmetic))


def newton_maps(maps: LogMaps, log_det: np.ndarray, weights: np.ndarray, tol: float, max_iter: int) -> float:
    """Move logarithms to the mean.

    Parameters
    ----------
    maps : LogMaps
        Of the matrices, at the point to start from; afterwards at the mean.
    log_det : array of shape (n_matrices,)
        Logarithms of their determinants.
    weights : array of shape (n_matrices,)
        Weights in the mean; sum to one.
    tol : float
        Relative error of the mean at which to stop.
    max_iter : int
        Largest number of steps, each of which decomposes every matrix.

    Returns
    -------
    float
        Relative error of the mean that is left, as far as that can be told.
    """
    damping, last, origin, step = 1.0, np.inf, maps.whitening, np.zeros_like(maps.whitening)
    whitening = origin
    for _ in range(max_iter):
        if maps.whitening is not whitening:
            maps.move(whitening)
        gradient = maps.gradient(weights)
        norm = size_of(gradient)
        if not norm < last:
            damping /= 2
            if damping < _SMALLEST_DAMPING:
                break
            whitening = moved(origin, damping * step)[0]
            continue
        # a step leaves an error of the order of its square, often a hundredth: to be exact beyond that is wasted
        left = max(0.1 * tol, min(norm**2, max(0.01 * norm**2, 0.3 * np.sqrt(tol))))
        damping, last, origin = 1.0, norm, whitening
        step = maps.newton(gradient, weights, min(0.1, left / max(norm, tol)))
        if (error := max(norm**2, left)) <= tol:
            return _at_the_end(maps, step, log_det, weights, error)
        whitening = moved(origin, step)[0]
    maps.move(origin)
    return last


def _at_the_end(maps: LogMaps, step: np.ndarray, log_det: np.ndarray, weights: np.ndarray, error: float) -> float:
    # the determinant is known from Cholesky factors; what the eigenvalues make of it tells their rounding errors
    off = maps.log_det - log_det - 2 * np.linalg.slogdet(maps.whitening)[1]
    maps.follow(step)
    return max(error, abs(float(weights @ off)) / np.sqrt(len(step)))
