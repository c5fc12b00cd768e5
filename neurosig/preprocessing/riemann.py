"""Affine-invariant geometry of covariance matrices: Riemannian mean, tangent space, distance."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.linalg
from sklearn.exceptions import ConvergenceWarning

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.preprocessing.log_maps import LogMaps, as_vectors, inverse_square_root
from neurosig.preprocessing.made_matrices import MadeMatrices, blocks_of
from neurosig.preprocessing.mean_newton import middle, newton_maps, whitening_of
from neurosig.preprocessing.spd_logarithm import congruence, log_spd

__all__ = [
    "check_spd",
    "distance_riemann",
    "inverse_square_root",
    "mean_and_tangent_vectors",
    "mean_riemann",
    "tangent_space",
]

_MAX_ITER = 50


def mean_riemann(
    covs: Any,
    *,
    init: Any = None,
    tol: float = 1e-8,
    max_iter: int = _MAX_ITER,
    sample_weight: Any = None,
) -> np.ndarray:
    """Mean of symmetric positive definite matrices in the affine-invariant metric.

    Parameters
    ----------
    covs : array of shape (n_matrices, n, n)
        Symmetric positive definite matrices, in any unit.
    init : array of shape (n, n), optional
        Where to start: the mean of similar matrices saves iterations. None is half way from the arithmetic
        to the harmonic mean.
    tol : float
        Relative error of the mean at which to stop: the Frobenius norm of the mean of the logarithms of the whitened
        matrices, which is zero at the exact mean, divided by the square root of n. Its value after the last step is
        taken to be the square of that before.
    max_iter : int
        Largest number of iterations, each of which takes the logarithm of every matrix.
    sample_weight : array of shape (n_matrices,), optional
        Weights, which need not sum to one. None weights all alike.

    Returns
    -------
    array of shape (n, n)
        The matrix that minimises the sum of squared affine-invariant distances, float64.

    Raises
    ------
    InputError
        If a matrix is not symmetric positive definite.
    UsageError
        If `init`, the weights or the numbers do not fit.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` iterations do not suffice.

    See Also
    --------
    tangent_space : Vectors of matrices around such a mean.

    Notes
    -----
    The same mean as ``pyriemann``'s, whose damped gradient descent [1]_ takes 9 to 25 eigendecompositions of every
    matrix. Half way from the arithmetic to the harmonic mean one is so near already that two of Newton's steps, whose
    curvature is exact, mostly do: that takes two eigendecompositions and some matrix products in float32.

    References
    ----------
    .. [1] Congedo et al., "Approximate joint diagonalization and geometric mean of symmetric positive definite
       matrices", PLOS ONE 10(4), 2015, https://doi.org/10.1371/journal.pone.0121423

    Examples
    --------
    The mean of matrices that commute is their geometric mean.

    >>> import numpy as np
    >>> from neurosig.preprocessing.riemann import mean_riemann
    >>> mean_riemann([np.diag([1.0, 4.0]), np.diag([4.0, 9.0])]).round(6)
    array([[2., 0.],
           [0., 6.]])
    """
    if not tol > 0 or max_iter < 1:
        raise UsageError(f"tol and max_iter must be positive, got tol={tol!r}, max_iter={max_iter!r}")
    covs, log_det = check_spd(covs)
    weights = _check_weights(sample_weight, len(covs))
    start = None if init is None else _check_matrix(init, covs.shape[1], "init")
    if len(covs) == 1:
        return covs[0].copy()
    return _maps_at_mean(covs, log_det, weights, start, tol, max_iter).point()


def mean_and_tangent_vectors(
    covs: Any, *, init: Any = None, tol: float = 1e-8, sample_weight: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of matrices and their tangent vectors there, quicker than one after the other.

    Parameters
    ----------
    covs, init, tol, sample_weight : object
        As in `mean_riemann`; the matrices may be `MadeMatrices`.

    Returns
    -------
    mean : array of shape (n, n)
        As from `mean_riemann`.
    vectors : array of shape (n_matrices, n * (n + 1) / 2)
        As from `tangent_space`.
    """
    covs, log_det = check_spd(covs)
    weights = _check_weights(sample_weight, len(covs))
    start = None if init is None else _check_matrix(init, covs.shape[1], "init")
    maps = _maps_at_mean(covs, log_det, weights, start, tol, _MAX_ITER)
    maps.forget_frames()
    return maps.point(), maps.in_symmetric_frame()


def _maps_at_mean(
    covs: np.ndarray | MadeMatrices,
    log_det: np.ndarray,
    weights: np.ndarray,
    start: np.ndarray | None,
    tol: float,
    max_iter: int,
) -> LogMaps:
    whitening = middle(covs, log_det, weights) if start is None else whitening_of(start)
    maps = LogMaps(covs, whitening)
    error = newton_maps(maps, log_det, weights, tol, max_iter)
    if not error <= tol:
        warnings.warn(
            f"the Riemannian mean is exact to {error:.1g} only, wanted {tol:g}; shrink the covariances (estimator "
            "'oas' or 'lwf') if they are nearly singular, or raise tol or max_iter",
            ConvergenceWarning,
            stacklevel=3,
        )
    return maps


def tangent_space(covs: Any, reference: Any) -> np.ndarray:
    """Tangent vectors of symmetric positive definite matrices at a reference.

    Parameters
    ----------
    covs : array of shape (n_matrices, n, n)
        Symmetric positive definite matrices.
    reference : array of shape (n, n)
        Symmetric positive definite matrix, usually the Riemannian mean of training matrices.

    Returns
    -------
    array of shape (n_matrices, n * (n + 1) / 2)
        Upper triangle, row by row, of the logarithm of the matrix whitened by the reference's inverse square root;
        what lies off the diagonal times the square root of two, so that norms are kept. float64.

    Raises
    ------
    InputError
        If a matrix is not symmetric positive definite, or the reference has another size.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.preprocessing.riemann import tangent_space
    >>> tangent_space([np.diag([np.e, 1.0])], np.eye(2)).round(6) + 0.0
    array([[1., 0., 0.]])
    """
    covs, log_det = check_spd(covs)
    n = covs.shape[1]
    reference = _check_matrix(reference, n, "reference")
    whitening = inverse_square_root(reference)
    log_det = log_det - np.linalg.slogdet(reference)[1]
    vectors = np.empty((len(covs), n * (n + 1) // 2))
    for block in blocks_of(covs):
        vectors[block] = as_vectors(log_spd(congruence(whitening, covs[block]), log_det[block]))
    return vectors


def distance_riemann(a: Any, b: Any) -> float:
    """Affine-invariant distance of two symmetric positive definite matrices.

    Parameters
    ----------
    a, b : array of shape (n, n)
        Symmetric positive definite matrices.

    Returns
    -------
    float
        Root of the sum of squared logarithms of the generalised eigenvalues.
    """
    a = _check_matrix(a, np.shape(a)[-1], "the first matrix")
    b = _check_matrix(b, len(a), "the second matrix")
    return float(np.linalg.norm(np.log(scipy.linalg.eigh(a, b, eigvals_only=True))))


def check_spd(covs: Any) -> tuple[Any, np.ndarray]:
    """Check that matrices are symmetric positive definite.

    Parameters
    ----------
    covs : array-like of shape (n_matrices, n, n), or MadeMatrices
        Matrices.

    Returns
    -------
    covs : array of shape (n_matrices, n, n), or MadeMatrices
        As float64.
    log_det : array of shape (n_matrices,)
        Logarithms of their determinants.

    Raises
    ------
    InputError
        Naming the matrices that are not finite, not symmetric or not positive definite to within rounding.
    """
    if isinstance(covs, MadeMatrices):
        return covs, _log_det_of_made(covs)
    covs = np.asarray(covs)
    if covs.ndim != 3 or covs.shape[1] != covs.shape[2] or 0 in covs.shape:
        raise InputError(f"expected covariance matrices of shape (n_matrices, n, n), got shape {covs.shape}")
    if covs.dtype.kind not in "fiu":
        raise InputError(f"expected covariance matrices of real numbers, got {covs.dtype}")
    eps = np.finfo(covs.dtype).eps if covs.dtype.kind == "f" else 0.0
    covs = covs.astype(np.float64, copy=False)
    n = covs.shape[1]
    if not np.isfinite(covs.sum()):
        bad = np.flatnonzero(~np.isfinite(covs).all(axis=(1, 2)))
        raise InputError(
            f"expected finite matrices, got NaN or inf in {_which(bad, covs)}; drop or repair these trials"
        )
    log_det = np.empty(len(covs))
    rest = np.empty((len(covs), n))  # variance of each variable that those before it leave, relative to its own
    for block in blocks_of(covs):
        some = covs[block]
        off = np.abs(some - some.swapaxes(1, 2)).max(axis=(1, 2)) > max(1e-10, 10 * eps) * np.abs(some).max(axis=(1, 2))
        if off.any():
            bad = block.start + np.flatnonzero(off)
            raise InputError(f"expected symmetric matrices, got asymmetric ones: {_which(bad, covs)}")
        try:
            diagonal = np.diagonal(np.linalg.cholesky(some), axis1=1, axis2=2) ** 2
        except np.linalg.LinAlgError:
            raise InputError(_singular_text(covs)) from None
        log_det[block] = np.log(diagonal).sum(axis=1)
        rest[block] = diagonal / np.diagonal(some, axis1=1, axis2=2)
    if rest.min() <= n * np.finfo(np.float64).eps:
        raise InputError(_singular_text(covs))
    return covs, log_det


def _log_det_of_made(covs: MadeMatrices) -> np.ndarray:
    try:
        return np.concatenate([check_spd(covs[block])[1] for block in blocks_of(covs)])
    except InputError:
        check_spd(covs[slice(0, len(covs))])  # of all, so that what it says of positions is true of all
        raise


def _singular_text(covs: np.ndarray) -> str:
    if len(zero := np.flatnonzero(~covs.any(axis=(1, 2)))):
        return f"expected positive definite matrices, got zeros in {_which(zero, covs)}: drop these constant trials"
    values = np.linalg.eigvalsh(covs)
    bad = np.flatnonzero(values[:, 0] <= 4 * covs.shape[1] * np.finfo(np.float64).eps * np.abs(values).max(axis=1))
    bad = bad if len(bad) else np.array([int(np.argmin(values[:, 0] / values[:, -1]))])
    low, high = values[bad[0], [0, -1]]
    return (
        f"expected positive definite matrices, got eigenvalues from {low:.2g} to {high:.2g} in {_which(bad, covs)}; "
        "shrink the covariances (estimator 'oas' or 'lwf') if they are not yet, use fewer channels, a lower order or "
        "longer trials, or first take out the directions that an average reference or ICA removed"
    )


def _which(bad: np.ndarray, covs: np.ndarray) -> str:
    return f"{len(bad)} of {len(covs)} matrices (positions {listed(map(str, bad))})"


def _check_matrix(matrix: Any, n: int, name: str) -> np.ndarray:
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != (n, n):
        raise InputError(f"expected {name} of shape ({n}, {n}), got shape {matrix.shape}")
    return check_spd(matrix[None])[0][0]


def _check_weights(sample_weight: Any, n_matrices: int) -> np.ndarray:
    if sample_weight is None:
        return np.full(n_matrices, 1 / n_matrices)
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (n_matrices,):
        raise UsageError(f"expected one weight a matrix ({n_matrices}), got shape {weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise UsageError("expected weights of zero or more, not all zero and all finite, got others")
    return weights / weights.sum()
