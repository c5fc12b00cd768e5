"""Augmented covariances: covariances of signals together with delayed copies of themselves."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.joined_epochs import epochs_in
from neurosig.core.registry import register
from neurosig.core.validation import check_signals
from neurosig.preprocessing.embedding import select_embedding
from neurosig.preprocessing.lagged_products import (
    LaggedProducts,
    augmented_covariances,
    average_blocks,
    block_toeplitz,
    check_estimator,
    stacked_length,
)
from neurosig.preprocessing.lagged_shrinkage import shrink_oas
from neurosig.preprocessing.made_matrices import MadeMatrices, blocks_of

__all__ = ["AugmentedCovariances", "covariance_matrices", "find_singular", "floor_eigenvalues"]

METHODS = ("exact", "block_toeplitz", "block_average")


@register
class AugmentedCovariances(TransformerMixin, BaseEstimator):
    """Covariances of delay-embedded signals (the augmented covariance method), without building the embedding.

    Parameters
    ----------
    order : int
        Number of copies of the signal; 1 gives ordinary covariances. Not looked at where `select` is given.
    lag : int
        Samples from one copy to the next. Not looked at where `lag_seconds` or `select` is given.
    estimator : {"auto", "scm", "cov", "oas", "lwf", "sch"}
        How a covariance is estimated. "cov" divides by one less than the number of samples and "scm" by the number;
        "oas" (oracle approximating), "lwf" (Ledoit-Wolf) and "sch" (Schaefer-Strimmer) shrink. "auto" is "oas" where
        there are at most twice as many stacked samples as stacked channels, else "cov".
    method : {"exact", "block_toeplitz", "block_average"}
        "exact" is the covariance of the stacked signal. "block_toeplitz" has in each block the autocovariance of the
        whole trial at that delay, divided by all its samples (with "auto", "scm", "cov" and "oas"). "block_average"
        averages the exact matrix along its block diagonals.
    trim : {"moabb", "edge"} or int
        Samples of the stacked signal: "moabb" takes `order` times `lag` less than the trial has (and all for order 1),
        as MOABB's ``AugmentedDataset`` does; "edge" takes ``(order - 1) * lag`` less, that is all there are; a number
        takes that many, so that matrices of several orders and lags rest on equally many samples. With
        "block_toeplitz", which cuts nothing, it is "edge" whatever is said.
    floor : float or None
        Eigenvalues below this fraction of the largest are raised to it; those of a trial that is constant in every
        channel to this fraction of the training signals' mean variance. None leaves them.
    on_singular : {"raise", "ignore"}
        What to do with matrices that are singular to working precision.
    select : {"mdop", "mdop_multivariate", "ami_cao", "autocorrelation", "ar_order"} or None
        Choose `order` and `lag` from the training signals, up to 10 each unless `select_options` say otherwise, by this
        method of `select_embedding`. None takes them as given.
    select_options : dict or None
        Further options of `select_embedding`, such as ``{"criterion": "aic"}``, or ``{"max_order": 4}`` where larger
        orders would give more stacked channels than samples.
    lag_seconds : float or None
        The lag in seconds, instead of `lag`; rounded to whole samples. Not with `select`, which finds the lag.
    sfreq : float or None
        Sampling rate in Hz, for `lag_seconds`; read from ``mne.Epochs`` when these are fitted. Epochs of another rate
        are refused: a lag in samples would be another time in them.

    Attributes
    ----------
    order_, lag_ : int
        Number of copies, and the lag in samples.
    best_params_ : dict
        "order" and "lag" that were chosen; empty without `select`.
    estimator_ : str
        The estimator that "auto" stands for.
    variance_ : float
        Mean variance of the training signals.
    sfreq_ : float or None
        Sampling rate of the training signals in Hz, where it is known.
    n_features_in_ : int
        Number of channels.

    See Also
    --------
    AugmentedCovarianceSearch : Chooses order and lag by cross-validation.
    select_embedding : Chooses them from the signals alone.

    Notes
    -----
    With ``method="exact"`` the matrices equal those of MOABB's ``AugmentedDataset`` followed by pyriemann's
    ``Covariances`` up to rounding, for every estimator. They come from lagged products [2]_: no copy is stacked, and
    an order of 10 costs about a tenth of the multiplications.

    Average-referenced, interpolated or ICA-cleaned signals are linearly dependent, and `order` times the number of
    channels may reach the number of samples: plain covariances are singular then, and refused. A shrinking estimator, a
    `floor`, fewer channels (`SpatialReduction`) or a smaller order mend that.

    References
    ----------
    .. [1] Carrara and Papadopoulo, "Classification of BCI-EEG based on augmented covariance matrix", 2023,
       https://arxiv.org/abs/2302.04508
    .. [2] Lütkepohl, "New Introduction to Multiple Time Series Analysis", Springer 2005, chapter 3.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.preprocessing.augmented_covariance import AugmentedCovariances
    >>> X = np.random.default_rng(0).standard_normal((10, 3, 200))
    >>> AugmentedCovariances(order=4, lag=2).fit_transform(X).shape
    (10, 12, 12)
    """

    _channel_order_matters = True

    def __init__(
        self,
        order: int = 1,
        lag: int = 1,
        estimator: str = "auto",
        method: str = "exact",
        trim: str | int = "moabb",
        floor: float | None = None,
        on_singular: str = "raise",
        select: str | None = None,
        select_options: Mapping[str, Any] | None = None,
        lag_seconds: float | None = None,
        sfreq: float | None = None,
    ):
        self.order = order
        self.lag = lag
        self.estimator = estimator
        self.method = method
        self.trim = trim
        self.floor = floor
        self.on_singular = on_singular
        self.select = select
        self.select_options = select_options
        self.lag_seconds = lag_seconds
        self.sfreq = sfreq

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the options against the signals; nothing else is learned.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Signals.
        y : None
            Ignored.

        Returns
        -------
        AugmentedCovariances
            Itself.

        Raises
        ------
        UsageError
            If an option is not what it must be.
        InputError
            If the trials are too short for `order` and `lag`, or epochs are not at `sfreq`.
        """
        check_estimator(self.estimator, ("auto",))
        check_one_of("method", self.method, METHODS)
        if self.select is None and self.select_options:
            raise UsageError("select_options are those of select: name a method, or leave them out")
        if self.select is not None and self.lag_seconds is not None:
            raise UsageError("select finds the lag: leave lag_seconds out, or name a lag in samples in select_options")
        check_one_of("on_singular", self.on_singular, ("raise", "ignore"))
        check_floor(self.floor)
        for name in ("lag_seconds", "sfreq"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        self.sfreq_ = self._sampling_rate(X)
        X = check_signals(X, sfreq=self.sfreq, estimator=self)
        self.order_, self.lag_ = self.order, self.lag
        self.best_params_: dict[str, int] = {}
        if self.select is not None:
            chosen = select_embedding(X, self.select, **self._select_options())
            self.order_, self.lag_ = chosen.order, chosen.lag
            self.best_params_ = {"order": chosen.order, "lag": chosen.lag}
        elif self.lag_seconds is not None:
            if self.sfreq_ is None:
                raise UsageError("lag_seconds needs the sampling rate: pass sfreq=, or fit mne.Epochs")
            self.lag_ = round(self.lag_seconds * self.sfreq_)
            if self.lag_ < 1:
                raise UsageError(f"lag_seconds={self.lag_seconds:g} is less than half a sample at {self.sfreq_:g} Hz")
        self.variance_ = mean_variance(X)
        length = stacked_length(X.shape[2], self.order_, self.lag_, trim_of(self.method, self.trim))
        self.estimator_ = resolve_estimator(self.estimator, length, self.order_ * X.shape[1])
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Compute covariances of signals.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Signals.

        Returns
        -------
        array of shape (n_trials, order * n_channels, order * n_channels)
            Symmetric positive-definite matrices, float64.

        Raises
        ------
        InputError
            If the trials are too short, epochs have another sampling rate, or a matrix is singular and
            ``on_singular="raise"``.
        """
        check_is_fitted(self)
        X = check_signals(X, sfreq=self.sfreq_, estimator=self, reset=False)
        matrices = covariance_matrices(X, self.order_, self.lag_, self.estimator_, self.method, self.trim)
        if self.floor is not None:
            return floor_eigenvalues(matrices, self.floor, self.variance_)
        if self.on_singular == "raise":
            length = stacked_length(X.shape[2], self.order_, self.lag_, trim_of(self.method, self.trim))
            if reason := why_singular(matrices, length, self.order_, X.shape[1], self.estimator_):
                raise InputError(reason)
        return matrices

    def _select_options(self) -> dict[str, Any]:
        options = dict(self.select_options or {})
        known = [name for name in inspect.signature(select_embedding).parameters if name not in ("X", "method")]
        if unknown := [name for name in options if name not in known]:
            raise UsageError(f"select_options takes {', '.join(known)}, got {', '.join(map(str, unknown))}")
        return options

    def _sampling_rate(self, X: Any) -> float | None:
        epochs = epochs_in(X)
        return self.sfreq if epochs is None else float(epochs.info["sfreq"])

    @staticmethod
    def _get_test_params() -> list[dict[str, Any]]:
        return [{"floor": 1e-6}, {"estimator": "oas", "method": "block_toeplitz", "on_singular": "ignore"}]


def trim_of(method: str, trim: str | int) -> str | int:
    """The trimming that goes with a method: autocovariances of whole trials need no more than the last delay."""
    return "edge" if method == "block_toeplitz" else trim


def resolve_estimator(estimator: str, length: int, size: int) -> str:
    """The estimator that "auto" stands for: shrinkage where samples are few for the size of the matrix."""
    if estimator != "auto":
        return estimator
    return "oas" if length <= 2 * size else "cov"


def covariance_matrices(
    X: np.ndarray | LaggedProducts, order: int, lag: int, estimator: str, method: str, trim: str | int
) -> np.ndarray:
    """Matrices as `AugmentedCovariances` defines them, not checked for rank.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels, n_times), or LaggedProducts
        Signals.
    order, lag : int
        Number of copies, and samples from one copy to the next.
    estimator, method, trim : str
        As in `AugmentedCovariances`; `estimator` is not "auto".

    Returns
    -------
    array of shape (n_trials, order * n_channels, order * n_channels)
        Covariances.

    Raises
    ------
    UsageError
        If the method does not go with the estimator.
    """
    if method == "block_toeplitz":
        signals = X.X if isinstance(X, LaggedProducts) else np.asarray(X, dtype=np.float64)
        if estimator in ("lwf", "sch"):
            raise UsageError(f"method 'block_toeplitz' goes with 'scm', 'cov' and 'oas', got estimator {estimator!r}")
        matrices = block_toeplitz(signals, order, lag)
        return shrink_oas(matrices, signals.shape[-1]) if estimator == "oas" else matrices
    matrices = augmented_covariances(X, order, lag, estimator, trim=trim)
    return average_blocks(matrices, order) if method == "block_average" else matrices


def find_singular(matrices: np.ndarray) -> np.ndarray:
    """Positions of matrices that are singular, or indefinite, to working precision.

    Parameters
    ----------
    matrices : array of shape (n_matrices, size, size)
        Symmetric matrices.

    Returns
    -------
    array of int
        Those where a row is, to within rounding errors, a combination of the rows before it.
    """
    from scipy.linalg.lapack import dpotrf

    size = matrices.shape[1]
    tolerance = max(size, 100) * np.finfo(np.float64).eps
    singular = []
    for i, matrix in enumerate(matrices):
        factor, failed = dpotrf(matrix, lower=1, clean=0)
        # the squared pivot is what is left of a row's variance once the rows above have explained their part
        if failed or np.any(np.diagonal(factor) ** 2 <= tolerance * np.diagonal(matrix)):
            singular.append(i)
    return np.array(singular, dtype=int)


def why_singular(
    matrices: np.ndarray | MadeMatrices, length: int, order: int, n_channels: int, estimator: str
) -> str | None:
    """One line on matrices that are singular and what to do, or None where there are none."""
    singular, constant = [], []
    for block in blocks_of(matrices):
        some = matrices[block]
        for i in find_singular(some).tolist():
            singular.append(block.start + i)
            if not some[i].any():
                constant.append(block.start + i)
    if not singular:
        return None
    size = order * n_channels
    found = f"{len(singular)} of {len(matrices)} singular (first: trial {singular[0]})"
    if constant:
        return (
            f"expected positive-definite covariances, got {found}: of trials that are constant in every channel "
            f"(positions {listed(map(str, constant))}); drop these trials, or set a floor"
        )
    if length <= size:
        cause = f"{length} stacked samples are too few for order {order} x {n_channels} channels"
    else:
        cause = (
            "channels are flat or linearly dependent (average reference, interpolation, ICA) or nearly so at this lag"
        )
    shrink = "" if estimator in ("oas", "lwf") else "estimator='oas', "
    return (
        f"expected positive-definite covariances, got {found}: {cause}; use {shrink}a floor, fewer channels "
        "(SpatialReduction) or a smaller order"
    )


def mean_variance(X: np.ndarray) -> float:
    """Mean variance of the channels within trials; of trials of one sample the mean square."""
    return float(np.mean(np.square(X, dtype=np.float64) if X.shape[-1] == 1 else X.var(axis=-1, dtype=np.float64)))


def floor_eigenvalues(matrices: np.ndarray, floor: float, variance: float) -> np.ndarray:
    """Raise small eigenvalues, so that no matrix is singular.

    Parameters
    ----------
    matrices : array of shape (n_matrices, size, size)
        Symmetric matrices.
    floor : float
        Fraction of each matrix's largest eigenvalue.
    variance : float
        Stands for the largest eigenvalue where that is zero.

    Returns
    -------
    array of the shape of matrices
        The matrices; those without a smaller eigenvalue unchanged.

    Raises
    ------
    InputError
        If a matrix has no positive eigenvalue, and neither is `variance` positive: all signals are constant.
    """
    values, vectors = np.linalg.eigh(matrices)
    largest = np.where(values[:, -1:] > 0, values[:, -1:], variance)
    if not np.all(largest > 0):
        raise InputError("expected signals that vary, got only constant channels; check the recording")
    raised = np.maximum(values, floor * largest)
    low = np.any(raised > values, axis=1)
    result = matrices.copy()
    result[low] = (vectors[low] * raised[low, None]) @ vectors[low].swapaxes(1, 2)
    return result


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def check_floor(floor: Any) -> None:
    """Refuse what is no fraction of an eigenvalue."""
    if floor is not None and not (_is_real(floor) and 0 < floor < 1):
        raise UsageError(f"floor must lie between 0 and 1, a fraction of the largest eigenvalue, got {floor!r}")


def check_positive(name: str, value: Any) -> None:
    """Refuse what is no positive number."""
    if not _is_real(value) or not 0 < value < np.inf:
        raise UsageError(f"{name} must be a positive number, got {value!r}")


def check_one_of(name: str, value: Any, options: tuple[str, ...]) -> None:
    """Refuse an option that is not known."""
    if value not in options:
        raise UsageError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}")
