"""Covariances seen from a point among them: their logarithms there, and what a move of the point does to these."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from neurosig.preprocessing.made_matrices import MadeMatrices, blocks_of, pack, unpack
from neurosig.preprocessing.spd_logarithm import congruence

__all__ = ["LogMaps", "as_vectors", "blocks_of", "inverse_square_root", "moved", "size_of", "solve"]


def moved(whitening: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whitening of the point that a step leads to.

    With ``whitening @ point @ whitening.T`` the identity, a step S leads to the point ``exp(S)`` in these coordinates.
    The new whitening, ``exp(-S / 2) @ whitening``, is parallel transport along the geodesic: steps and logarithms at
    all points are symmetric matrices in one and the same frame.

    Parameters
    ----------
    whitening : array of shape (n, n)
        At the point that is left.
    step : array of shape (n, n)
        Symmetric.

    Returns
    -------
    whitening : array of shape (n, n)
        At the new point.
    values : array of shape (n,)
        Eigenvalues of the step, ascending.
    """
    values, vectors = np.linalg.eigh(step)
    return (vectors * np.exp(-values / 2)) @ vectors.T @ whitening, values


def size_of(gradient: np.ndarray) -> float:
    """Frobenius norm of a symmetric matrix, divided by the square root of its size."""
    return float(np.linalg.norm(gradient) / np.sqrt(len(gradient)))


def solve(gradient: np.ndarray, curvature: Callable[[np.ndarray], np.ndarray], goal: float, most: int) -> np.ndarray:
    """Step whose curvature is the gradient, by conjugate gradients.

    Parameters
    ----------
    gradient : array of shape (n, n)
        Symmetric.
    curvature : callable
        Linear, symmetric and positive definite; a multiple of the identity is its own curvature.
    goal : float
        Relative error at which to stop, extrapolated.
    most : int
        Largest number of conjugate gradients.

    Returns
    -------
    array of shape (n, n)
        The step.
    """
    step = np.trace(gradient) / len(gradient) * np.eye(len(gradient))
    residual = gradient - step
    direction, size = residual, np.vdot(residual, residual)
    enough = goal**2 * np.vdot(gradient, gradient)
    length, rate = 0.0, 1.0
    for _ in range(most):
        if size * rate <= enough:
            break
        curved = curvature(direction)
        length = size / np.vdot(direction, curved)
        step = step + length * direction
        residual = residual - length * curved
        before, size = size, np.vdot(residual, residual)
        rate = size / before
        direction = residual + rate * direction
    # one more, without asking for its curvature: the mean of many matrices' hardly differs between directions
    return step + length * residual


def inverse_square_root(matrix: np.ndarray) -> np.ndarray:
    """Symmetric inverse square root of a symmetric positive definite matrix.

    Parameters
    ----------
    matrix : array of shape (n, n)
        Symmetric positive definite matrix.

    Returns
    -------
    array of shape (n, n)
        The square root of its inverse.
    """
    values, vectors = np.linalg.eigh(matrix)
    return (vectors / np.sqrt(values)) @ vectors.T


class LogMaps:
    """Logarithms of covariances at a point, with their exact derivative.

    Parameters
    ----------
    matrices : array of shape (n_matrices, n, n), or MadeMatrices
        Symmetric positive definite matrices.
    whitening : array of shape (n, n)
        ``whitening @ point @ whitening.T`` is the identity.

    Attributes
    ----------
    vectors : array of shape (n_matrices, n * (n + 1) / 2)
        Logarithms of the whitened matrices as `as_vectors` gives them, float64. One and the same memory at all points.
    log_det : array of shape (n_matrices,)
        Logarithms of the whitened matrices' determinants, as their eigenvalues have it.

    Notes
    -----
    Where the point moves by a step S, the logarithm of a whitened matrix changes, in the matrix's eigenvectors, by
    minus S times d coth d, with d half the difference of two log-eigenvalues. The mean of that over matrices is the
    second derivative of half the mean squared distance to the point: both Newton's step and the logarithms at its end
    come from one eigendecomposition of each matrix, these with an error of the order of the step squared.

    Memory holds the triangles of the logarithms and the eigenvectors in single precision, together as much as the
    matrices would take, and beyond that what belongs to a few matrices at a time.
    """

    def __init__(self, matrices: np.ndarray | MadeMatrices, whitening: np.ndarray):
        self._matrices = matrices
        n_matrices, n, _ = matrices.shape
        self.vectors = np.empty((n_matrices, n * (n + 1) // 2))
        self.log_det = np.empty(n_matrices)
        self._frames: np.ndarray | None = None
        self._halves = np.empty((n_matrices, n), np.float32)
        self.move(whitening)

    def move(self, whitening: np.ndarray) -> None:
        """Decompose all matrices at another point, in the memory of what was found at this one."""
        self.whitening = whitening
        if self._frames is None:
            self._frames = np.empty(self._matrices.shape, np.float32)
        for block in blocks_of(self._matrices):
            values, vectors = np.linalg.eigh(congruence(whitening, self._matrices[block]))
            # rounding may leave the smallest eigenvalue of a very wide spectrum at or below zero
            values = np.log(np.maximum(values, np.finfo(np.float64).eps * values[:, -1:]))
            self.log_det[block] = values.sum(axis=1)
            self.vectors[block] = as_vectors((vectors * values[:, None]) @ vectors.swapaxes(1, 2))
            self._frames[block] = vectors
            self._halves[block] = values / 2

    def gradient(self, weights: np.ndarray) -> np.ndarray:
        """Weighted sum of the logarithms: zero at the mean, where the weights sum to one."""
        return self._as_logs((weights @ self.vectors)[None])[0]

    def newton(self, gradient: np.ndarray, weights: np.ndarray, goal: float, most: int = 8) -> np.ndarray:
        """Newton's step, by conjugate gradients.

        Parameters
        ----------
        gradient : array of shape (n, n)
            What the step shall take off the weighted sum of the logarithms, to first order.
        weights : array of shape (n_matrices,)
            Zero leaves a matrix out.
        goal : float
            Relative error at which to stop.
        most : int
            Largest number of conjugate gradients.

        Returns
        -------
        array of shape (n, n)
            The step.
        """
        used = np.flatnonzero(weights)
        return solve(gradient, lambda step: self._curvature(step, weights, used), goal, most)

    def follow(self, step: np.ndarray) -> None:
        """Move the point by a small step, the logarithms with it to first order."""
        step32 = step.astype(np.float32)
        for block in blocks_of(self._matrices):
            vectors, turned = self._turned(step32, block)
            self.vectors[block] -= as_vectors(vectors @ turned @ vectors.swapaxes(1, 2))
        self.log_det -= np.trace(step)
        self.whitening = moved(self.whitening, step)[0]

    def forget_frames(self) -> None:
        """Give back the memory of what `newton` and `follow` need; `move` comes before these then."""
        self._frames = None

    def point(self) -> np.ndarray:
        """The point as a matrix of shape (n, n)."""
        root = np.linalg.inv(self.whitening)
        return root @ root.T

    def in_symmetric_frame(self) -> np.ndarray:
        """Turn `vectors` in place to what they are after whitening by the point's symmetric inverse square root.

        What `newton` and `follow` need is not turned with them: `move` comes first.
        """
        turn = np.linalg.solve(self.whitening.T, inverse_square_root(self.point())).T
        for block in blocks_of(self._matrices):
            self.vectors[block] = as_vectors(congruence(turn, self._as_logs(self.vectors[block])))
        return self.vectors

    def _as_logs(self, vectors: np.ndarray) -> np.ndarray:
        n = self._matrices.shape[1]
        return unpack(vectors / _scales(n), n)

    def _turned(self, step: np.ndarray, some: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvectors of some matrices, and in them what a step takes off their logarithms, single precision."""
        assert self._frames is not None  # for the type checker: `move` comes first
        vectors, half = self._frames[some], self._halves[some]
        turned = vectors.swapaxes(1, 2) @ (step @ vectors)
        half = np.abs(half[:, :, None] - half[:, None, :])
        np.maximum(half, np.float32(1e-4), out=half)  # below, d coth d is one
        turned *= half
        turned /= np.tanh(half, out=half)
        return vectors, turned

    def _curvature(self, step: np.ndarray, weights: np.ndarray, used: np.ndarray) -> np.ndarray:
        """What a step takes off the weighted sum of the logarithms."""
        step32, weights = step.astype(np.float32), weights.astype(np.float32)
        change = np.zeros_like(step)
        for block in blocks_of(self._matrices):
            some = used[(used >= block.start) & (used < block.stop)]
            if not len(some):
                continue
            some = block if len(some) == block.stop - block.start else some
            vectors, turned = self._turned(step32, some)
            turned *= weights[some, None, None]
            change += np.tensordot(vectors, turned @ vectors.swapaxes(1, 2), axes=([0, 2], [0, 1]))
        return (change + change.T) / 2


def as_vectors(logs: np.ndarray) -> np.ndarray:
    """Upper triangles of symmetric matrices, row by row, what is off the diagonal times the square root of two.

    Parameters
    ----------
    logs : array of shape (n_matrices, n, n)
        Symmetric matrices.

    Returns
    -------
    array of shape (n_matrices, n * (n + 1) / 2)
        Vectors with the inner products of the matrices, in their type.
    """
    vectors = pack(logs)
    vectors *= _scales(logs.shape[1]).astype(logs.dtype, copy=False)
    return vectors


@lru_cache(maxsize=8)
def _scales(n: int) -> np.ndarray:
    rows, columns = np.triu_indices(n)
    scales = np.where(rows == columns, 1.0, np.sqrt(2))
    scales.flags.writeable = False
    return scales
