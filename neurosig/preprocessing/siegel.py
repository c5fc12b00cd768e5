"""Siegel-disk geometry of block-Toeplitz covariances: partial autocorrelations instead of one large matrix."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.registry import register
from neurosig.core.validation import check_signals
from neurosig.preprocessing.augmented_covariance import check_one_of, check_positive, covariance_matrices, trim_of
from neurosig.preprocessing.lagged_products import stacked_length
from neurosig.preprocessing.riemann import mean_riemann, tangent_space
from neurosig.preprocessing.tangent import as_covariances

__all__ = [
    "BlockToeplitzSiegel",
    "siegel_coefficients",
    "siegel_distance",
    "siegel_exp",
    "siegel_log",
    "siegel_mean",
]


def siegel_coefficients(matrices: Any, order: int) -> np.ndarray:
    """Power matrix and partial autocorrelations of block-Toeplitz covariances.

    Parameters
    ----------
    matrices : array of shape (n_matrices, order * d, order * d)
        Positive definite block-Toeplitz matrices with blocks of d x d; only the first row of blocks is read.
    order : int
        Number of blocks in a row.

    Returns
    -------
    array of shape (n_matrices, order, d, d)
        The first block, symmetric positive definite, then ``order - 1`` matrices in the Siegel disk: all their
        singular values are below one. The map is one to one.

    Raises
    ------
    InputError
        If a matrix is not positive definite, or its size no multiple of `order`.

    Notes
    -----
    Block l is the covariance of what is left of the signal and of its copy l lags away, once both are predicted from
    the copies in between, whitened on both sides: a matrix reflection coefficient, as of the multivariate
    Levinson recursion of Whittle [1]_, by which they are found in ``order ** 2`` products of d x d matrices.

    References
    ----------
    .. [1] Whittle, "On the fitting of multivariate autoregressions, and the approximate canonical factorization of a
       spectral density matrix", Biometrika 50, 1963, https://doi.org/10.1093/biomet/50.1-2.129
    """
    matrices = np.asarray(matrices, dtype=np.float64)
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or order < 1 or matrices.shape[1] % order:
        raise InputError(
            f"expected matrices of shape (n_matrices, order * d, order * d) with order {order}, got {matrices.shape}"
        )
    d = matrices.shape[1] // order
    R = [matrices[:, :d, k * d : (k + 1) * d] for k in range(order)]
    coefficients = np.empty((len(matrices), order, d, d))
    coefficients[:, 0] = R[0]
    # what is left of the first block and of the next one ahead, predicted from the blocks in between
    left, right = R[0], R[0]
    forward: list[np.ndarray] = []
    backward: list[np.ndarray] = []
    for k in range(order):
        root_left, root_right = _inverse_root(left), _inverse_root(right)
        if k + 1 == order:
            break
        common = R[k + 1].copy()
        for i, weight in enumerate(forward):
            common -= weight @ R[k - i]
        coefficients[:, k + 1] = root_left @ common @ root_right
        ahead = common @ root_right @ root_right
        behind = _t(common) @ root_left @ root_left
        forward, backward = (
            [f - ahead @ b for f, b in zip(forward, backward, strict=True)] + [ahead],
            [behind] + [b - behind @ f for f, b in zip(forward, backward, strict=True)],
        )
        left, right = left - ahead @ _t(common), right - behind @ common
    return coefficients


def siegel_distance(a: Any, b: Any) -> np.ndarray:
    """Distance in the Siegel disk.

    Parameters
    ----------
    a, b : array of shape (..., d, d)
        Matrices whose singular values are below one.

    Returns
    -------
    array of shape (...)
        Root of the sum of squared inverse hyperbolic tangents of the singular values of `b` seen from `a`.
    """
    values = np.linalg.svd(_seen_from(np.asarray(a, float), np.asarray(b, float)), compute_uv=False)
    return np.linalg.norm(np.arctanh(np.minimum(values, _INSIDE)), axis=-1)


def siegel_log(points: Any, reference: Any, *, whiten: bool = False) -> np.ndarray:
    """Logarithmic map of the Siegel disk.

    Parameters
    ----------
    points : array of shape (..., d, d)
        Matrices whose singular values are below one.
    reference : array of shape (..., d, d)
        Where the tangent space touches.
    whiten : bool
        Whether to give the tangent vector moved to the centre of the disk, where its Frobenius norm is the distance.

    Returns
    -------
    array of shape (..., d, d)
        Tangent vectors.
    """
    reference = np.asarray(reference, float)
    vectors = _singular(np.arctanh, _seen_from(reference, np.asarray(points, float)))
    if whiten:
        return vectors
    left, right = _defects(reference, 0.5)
    return left @ vectors @ right


def siegel_exp(vectors: Any, reference: Any, *, whitened: bool = False) -> np.ndarray:
    """Exponential map of the Siegel disk: undoes `siegel_log`.

    Parameters
    ----------
    vectors : array of shape (..., d, d)
        Tangent vectors.
    reference : array of shape (..., d, d)
        Where the tangent space touches.
    whitened : bool
        Whether the vectors are those of ``siegel_log(..., whiten=True)``.

    Returns
    -------
    array of shape (..., d, d)
        Matrices whose singular values are below one.
    """
    reference = np.asarray(reference, float)
    vectors = np.asarray(vectors, float)
    if not whitened:
        left, right = _defects(reference, -0.5)
        vectors = left @ vectors @ right
    point = _singular(np.tanh, vectors)
    moved = _defects(reference, 0.5)[0] @ point @ _defects(reference, -0.5)[1]
    return np.linalg.solve(np.eye(reference.shape[-1]) + moved @ _t(reference), reference + moved)


def siegel_mean(points: Any, *, tol: float = 1e-9, max_iter: int = 100, sample_weight: Any = None) -> np.ndarray:
    """Mean in the Siegel disk.

    Parameters
    ----------
    points : array of shape (n_points, ..., d, d)
        Matrices whose singular values are below one. Means are taken over the first axis.
    tol : float
        Largest Frobenius norm of the mean whitened logarithm, which is zero at the exact mean.
    max_iter : int
        Largest number of steps.
    sample_weight : array of shape (n_points,), optional
        Weights, which need not sum to one.

    Returns
    -------
    array of shape (..., d, d)
        The matrix that minimises the sum of squared distances.

    Raises
    ------
    InputError
        If a matrix does not lie in the disk.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` steps do not suffice.
    """
    points = np.asarray(points, dtype=np.float64)
    largest = np.linalg.norm(points, ord=2, axis=(-2, -1))
    if not (largest < 1).all():
        bad = np.unique(np.argwhere(~(largest < 1))[:, 0])
        raise InputError(
            f"expected matrices with singular values below one, got {largest.max():.4g} in {len(bad)} of {len(points)} "
            f"(positions {listed(map(str, bad))})"
        )
    weights = np.ones(len(points)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (len(points),) or not (weights >= 0).all() or not weights.sum() > 0:
        raise UsageError(f"expected one weight of zero or more a point ({len(points)}), got {sample_weight!r}")
    weights = weights / weights.sum()
    mean = np.tensordot(weights, points, 1)
    size = np.ones(mean.shape[:-2])
    last = np.full(mean.shape[:-2], np.inf)
    for _ in range(max_iter):
        gradient = np.tensordot(weights, siegel_log(points, mean, whiten=True), 1)
        norm = np.linalg.norm(gradient, axis=(-2, -1))
        if (norm <= tol).all():
            return mean
        # the disk is curved: where a full step overshoots, shorter ones converge
        size = np.where(norm > 0.5 * last, 0.7 * size, size)
        last = norm
        mean = siegel_exp(size[..., None, None] * gradient, mean, whitened=True)
    warnings.warn(
        f"the Siegel mean is exact to {norm.max():.1g} only after {max_iter} steps, wanted {tol:g}; raise max_iter or "
        "tol",
        ConvergenceWarning,
        stacklevel=2,
    )
    return mean


@register
class BlockToeplitzSiegel(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Tangent features of block-Toeplitz augmented covariances in the Siegel geometry.

    Parameters
    ----------
    order : int
        Number of delayed copies; 1 gives ordinary covariances.
    lag : int
        Samples from one copy to the next: of a time in seconds, ``round(time * sfreq)``.
    estimator : {"cov", "scm", "oas"}
        How covariances are estimated; "oas" shrinks the block-Toeplitz matrix.
    method : {"block_average", "block_toeplitz"}
        "block_average" averages the covariance of the stacked signal along its block diagonals, as the authors do;
        the result may be indefinite. "block_toeplitz" has autocovariances of whole trials, which never are.
    alpha : float
        Weight of the part of the first block against the others.
    tol : float
        Accuracy of the means.

    Attributes
    ----------
    power_ : array of shape (n_channels, n_channels)
        Riemannian mean of the first blocks.
    reflections_ : array of shape (order - 1, n_channels, n_channels)
        Siegel means of the partial autocorrelations.
    n_features_in_ : int
        Number of channels.

    See Also
    --------
    AugmentedCovariances : The same matrices as matrices, for any classifier of covariances.

    Notes
    -----
    Carrara et al. [1]_ found the accuracy of the augmented covariance method at a part of its cost: with C channels a
    mean takes logarithms of ``order`` matrices of C x C instead of one of ``order * C`` squared, and there are
    ``C * (C + 1) / 2 + (order - 1) * C ** 2`` features. Here logarithms of the partial autocorrelations are moved to
    the centre of the disk, so that Euclidean distances of features are, to first order, Siegel distances.

    References
    ----------
    .. [1] Carrara et al., "Enhancing computational efficiency of motor imagery BCI classification with block-Toeplitz
       augmented covariance matrices and Siegel metric", 2024, https://arxiv.org/abs/2406.16909
    .. [2] Jeuris and Vandebril, "The Kähler mean of block-Toeplitz matrices with Toeplitz structured blocks", SIAM
       Journal on Matrix Analysis and Applications 37, 2016, https://doi.org/10.1137/15M102112X

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.preprocessing.siegel import BlockToeplitzSiegel
    >>> X = np.random.default_rng(0).standard_normal((10, 3, 200))
    >>> BlockToeplitzSiegel(order=4, lag=2).fit_transform(X).shape
    (10, 33)
    """

    _channel_order_matters = True

    def __init__(
        self,
        order: int = 1,
        lag: int = 1,
        estimator: str = "oas",
        method: str = "block_toeplitz",
        alpha: float = 1.0,
        tol: float = 1e-8,
    ):
        self.order = order
        self.lag = lag
        self.estimator = estimator
        self.method = method
        self.alpha = alpha
        self.tol = tol

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the means.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Training signals.
        y : None
            Ignored.

        Returns
        -------
        BlockToeplitzSiegel
            Itself.

        Raises
        ------
        InputError
            If trials are too short, or a block-Toeplitz matrix is not positive definite.
        UsageError
            If an option is not what it must be.
        """
        check_one_of("estimator", self.estimator, ("cov", "scm", "oas"))
        check_one_of("method", self.method, ("block_average", "block_toeplitz"))
        check_positive("alpha", self.alpha)
        check_positive("tol", self.tol)
        X = check_signals(X, estimator=self)
        stacked_length(X.shape[2], self.order, self.lag, trim_of(self.method, "moabb"))
        coefficients = self._coefficients(X)
        self.power_ = mean_riemann(coefficients[:, 0], tol=self.tol)
        self.reflections_ = siegel_mean(coefficients[:, 1:], tol=self.tol)
        n_channels = X.shape[1]
        self._n_features_out = n_channels * (n_channels + 1) // 2 + (self.order - 1) * n_channels**2
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Tangent features.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Signals.

        Returns
        -------
        array of shape (n_trials, n_features)
            Tangent vectors of the first blocks, then those of the partial autocorrelations, row by row.
        """
        check_is_fitted(self)
        X = check_signals(X, estimator=self, reset=False)
        coefficients = self._coefficients(X)
        power = self.alpha * tangent_space(coefficients[:, 0], self.power_)
        reflections = siegel_log(coefficients[:, 1:], self.reflections_, whiten=True)
        return np.hstack([power, reflections.reshape(len(X), -1)])

    def _coefficients(self, X: np.ndarray) -> np.ndarray:
        if X.shape[2] == 1:
            return as_covariances(X, self.estimator)[:, np.newaxis]
        matrices = covariance_matrices(X, self.order, self.lag, self.estimator, self.method, "moabb")
        return siegel_coefficients(matrices, self.order)


_INSIDE = 1 - 1e-15  # rounding may put a singular value on the border of the disk


def _t(matrices: np.ndarray) -> np.ndarray:
    return np.swapaxes(matrices, -1, -2)


def _seen_from(reference: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The isometry of the disk that takes `reference` to zero."""
    left, right = _defects(reference, -0.5)[0], _defects(reference, 0.5)[1]
    identity = np.eye(reference.shape[-1])
    quotient = _t(np.linalg.solve(_t(identity - _t(reference) @ points), _t(points - reference)))
    return left @ quotient @ right


def _defects(reference: np.ndarray, power: float) -> tuple[np.ndarray, np.ndarray]:
    """Powers of ``I - A A'`` and of ``I - A' A``."""
    u, values, vt = np.linalg.svd(reference)
    scale = ((1 - values) * (1 + values)) ** power
    return (u * scale[..., None, :]) @ _t(u), (_t(vt) * scale[..., None, :]) @ vt


def _singular(function: Any, matrices: np.ndarray) -> np.ndarray:
    u, values, vt = np.linalg.svd(matrices)
    values = function(np.minimum(values, _INSIDE) if function is np.arctanh else values)
    return (u * values[..., None, :]) @ vt


def _inverse_root(matrices: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrices)
    bad = np.flatnonzero(~(values[:, 0] > 4 * np.finfo(float).eps * values.shape[1] * np.abs(values[:, -1])))
    if len(bad):
        zero = [str(i) for i in bad if not matrices[i].any()]
        constant = f"drop the constant trials ({listed(zero)}); else " if zero else ""
        raise InputError(
            f"expected positive definite block-Toeplitz matrices, got {len(bad)} of {len(matrices)} that are not "
            f"(positions {listed(map(str, bad))}); {constant}use a smaller order, 'oas' and 'block_toeplitz'"
        )
    return (vectors / np.sqrt(values)[:, None]) @ _t(vectors)
