"""Logarithms of many symmetric positive definite matrices: by matrix products where the spectra are narrow."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

__all__ = ["congruence", "log_spd", "spectral_bounds"]

_LANCZOS_STEPS = 16
_MARGIN = 1.25  # the estimated spectrum is widened by this factor at both ends
_CACHE_BYTES = 1 << 19  # what matrices and their powers may take at a time, to stay in a core's second-level cache


def log_spd(
    matrices: np.ndarray,
    log_det: np.ndarray,
    error: float | None = None,
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Logarithms of symmetric positive definite matrices whose determinants are known.

    Parameters
    ----------
    matrices : array of shape (n_matrices, n, n)
        Symmetric positive definite matrices, float32 or float64.
    log_det : array of shape (n_matrices,)
        Logarithms of their determinants, by which each result is checked: the trace of a logarithm is the logarithm of
        the determinant.
    error : float, optional
        Largest error of a logarithm in the spectral norm. None is near the rounding error of the type.
    bounds : tuple of two arrays of shape (n_matrices,), optional
        Bounds of the eigenvalues of each matrix, as `spectral_bounds` gives them. None finds them.

    Returns
    -------
    array of shape (n_matrices, n, n)
        Logarithms, in the type of `matrices`.

    Notes
    -----
    A matrix whose eigenvalues span a factor of a few dozens, as covariances whitened by their mean do, has a
    logarithm that a Chebyshev polynomial of low degree gives to rounding error. Evaluated as by Paterson and
    Stockmeyer [1]_, a polynomial of degree ``s * s - 1`` takes ``2 * s - 2`` matrix products, and for small matrices
    an eigendecomposition takes as long as thirty products. The spectrum is bounded by a few Lanczos steps; where the
    trace tells that a bound was too narrow, and where the spectrum is wide or the matrices large, the logarithm is
    computed from the eigendecomposition.

    References
    ----------
    .. [1] Paterson and Stockmeyer, "On the number of nonscalar multiplications necessary to evaluate polynomials",
       SIAM Journal on Computing 2, 1973, https://doi.org/10.1137/0202007
    """
    n_matrices, n, _ = matrices.shape
    error = max(error or 0.0, 1e-12 if matrices.dtype == np.float64 else 3e-8)
    logs = np.empty_like(matrices)
    done = np.zeros(n_matrices, bool)
    orders = np.arange(3, _largest_order(n, matrices.dtype) + 1)
    if len(orders) and n_matrices:
        low, high = spectral_bounds(matrices) if bounds is None else bounds
        widest = np.array([_polynomial(order, error).condition for order in orders])
        choice = np.searchsorted(widest, np.where(low > 0, high / np.where(low > 0, low, 1.0), np.inf))
        for number in np.unique(choice[choice < len(orders)]):
            some = np.flatnonzero(choice == number)
            centre = np.sqrt(low[some] * high[some])
            logs[some] = _chebyshev(matrices[some], centre, _polynomial(orders[number], error))
            off = np.abs(np.trace(logs[some], axis1=1, axis2=2) - log_det[some])
            rounding = n * np.finfo(matrices.dtype).eps
            done[some] = off <= 10 * n * (error + rounding)  # false for NaN, too
    if not done.all():
        rest = ~done
        values, vectors = np.linalg.eigh(matrices[rest])
        # rounding may leave the smallest eigenvalue of a very wide spectrum at or below zero
        values = np.maximum(values, np.finfo(values.dtype).eps * values[:, -1:])
        logs[rest] = (vectors * np.log(values)[:, None]) @ vectors.swapaxes(1, 2)
    return logs


def congruence(frame: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """``frame @ matrix @ frame.T`` of each matrix.

    Parameters
    ----------
    frame : array of shape (n, n)
        Any matrix.
    matrices : array of shape (n_matrices, n, n)
        Symmetric matrices.

    Returns
    -------
    array of shape (n_matrices, n, n)
        Symmetric matrices.
    """
    right = np.matmul(matrices.reshape(-1, len(frame)), frame.T).reshape(matrices.shape)  # one large product
    return np.matmul(frame, right)


class _Polynomial:
    """Chebyshev series of the logarithm on [1 / r, r], as the coefficients of a product scheme of `order`."""

    def __init__(self, order: int, error: float):
        degree = order * order - 1
        # on an interval with condition number ((1 + q) / (1 - q)) ** 2 the coefficients are -2 (-q) ** k / k
        low, high = 0.0, 1.0 - 1e-9
        for _ in range(60):
            q = (low + high) / 2
            low, high = (low, q) if 2 * q ** (degree + 1) / ((degree + 1) * (1 - q)) > error else (q, high)
        q = low
        r = (1 + q) / (1 - q)
        self.condition = r * r
        self.middle, self.half_width = (r + 1 / r) / 2, (r - 1 / r) / 2
        k = np.arange(1, degree + 1)
        series = np.r_[np.log(self.half_width / (2 * q)), -2 * (-q) ** k / k]
        # sum of T_j(T_s(x)) * (sum of T_i(x)), from T_(js+i) = 2 T_(js) T_i - T_(js-i)
        self.table = np.zeros((order, order))
        for j in range(order - 1, 0, -1):
            self.table[j, 0] = series[j * order]
            for i in range(1, order):
                self.table[j, i] = 2 * series[j * order + i]
                series[j * order - i] -= series[j * order + i]
        self.table[0] = series[:order]


@lru_cache(maxsize=256)
def _polynomial(order: int, error: float) -> _Polynomial:
    return _Polynomial(order, error)


def _largest_order(n: int, dtype: np.dtype) -> int:
    """Largest order whose matrix products take no longer than an eigendecomposition (measured with OpenBLAS)."""
    products = 34 * (22 / n) ** (2 / 3) * (1 if dtype == np.float64 else 2)
    return int(min(products, 40) / 2)


def _chebyshev(matrices: np.ndarray, centre: np.ndarray, polynomial: _Polynomial) -> np.ndarray:
    n_matrices, n, _ = matrices.shape
    dtype = matrices.dtype
    order = len(polynomial.table)
    table = polynomial.table.astype(dtype)
    scale = (1 / (centre * polynomial.half_width)).astype(dtype)
    diagonal = np.arange(n)
    logs = np.empty_like(matrices)
    length = max(1, _CACHE_BYTES // (order * n * n * dtype.itemsize))
    powers = np.empty((order + 1, min(length, n_matrices), n, n), dtype)
    for start in range(0, n_matrices, length):
        block = slice(start, start + length)
        T = powers[:, : len(matrices[block])]
        T[0] = np.eye(n, dtype=dtype)
        np.multiply(matrices[block], scale[block, None, None], out=T[1])
        T[1, :, diagonal, diagonal] -= dtype.type(polynomial.middle / polynomial.half_width)
        for i in range(2, order + 1):
            np.matmul(T[1], T[i - 1], out=T[i])
            T[i] *= 2
            T[i] -= T[i - 2]
        parts = (table @ T[:order].reshape(order, -1)).reshape(T[:order].shape)
        twice = 2 * T[order]
        ahead, value = None, parts[-1]
        for part in parts[-2:0:-1]:
            product = np.matmul(twice, value)
            product += part
            if ahead is not None:
                product -= ahead
            ahead, value = value, product
        np.matmul(T[order], value, out=logs[block])
        logs[block] += parts[0]
        if ahead is not None:
            logs[block] -= ahead
    logs[:, diagonal, diagonal] += np.log(centre)[:, None].astype(dtype)
    return logs


def spectral_bounds(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Likely bounds of the eigenvalues of symmetric matrices.

    Parameters
    ----------
    matrices : array of shape (n_matrices, n, n)
        Symmetric matrices.

    Returns
    -------
    low, high : array of shape (n_matrices,)
        Smallest and largest eigenvalue after some Lanczos steps, moved outward by a quarter.
    """
    n_matrices, n, _ = matrices.shape
    steps = min(_LANCZOS_STEPS, n)
    start = np.random.default_rng(0).standard_normal(n)
    vector = np.broadcast_to((start / np.linalg.norm(start)).astype(matrices.dtype), (n_matrices, n))
    before, length = np.zeros_like(vector), np.zeros((n_matrices, 1), matrices.dtype)
    tridiagonal = np.zeros((n_matrices, steps, steps))
    for k in range(steps):
        image = np.matmul(matrices, vector[..., None])[..., 0]
        along = np.einsum("bi,bi->b", image, vector)
        # a Krylov space that is complete is filled up with a value that it holds already
        tridiagonal[:, k, k] = np.where(vector.any(axis=1), along, tridiagonal[:, 0, 0])
        if k + 1 < steps:
            image -= along[:, None] * vector + length * before
            length = np.linalg.norm(image, axis=1, keepdims=True)
            length[length <= 1e-5 * np.abs(along)[:, None]] = 0
            before, vector = vector, np.divide(image, length, out=np.zeros_like(image), where=length > 0)
            tridiagonal[:, k + 1, k] = length[:, 0]
    values = np.linalg.eigvalsh(tridiagonal)
    return values[:, 0] / _MARGIN, values[:, -1] * _MARGIN
