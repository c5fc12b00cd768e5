"""Covariances of delay-embedded signals from lagged products, without stacking delayed copies.

Stacking `order` copies of a signal, each `lag` samples further on, and taking the covariance multiplies the same
samples again and again: block (p + 1, q + 1) of the product is block (p, q) without the `lag` products at the head of
its window and with `lag` products after its end. So only the first row of blocks is summed over the whole window, and
the rest slides down from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from neurosig.core.errors import InputError, UsageError
from neurosig.core.validation import check_signals
from neurosig.preprocessing.lagged_shrinkage import diagonal_of, fourth_moments, schaefer_strimmer, shrink

__all__ = [
    "ESTIMATORS",
    "LaggedProducts",
    "augmented_covariance_grid",
    "augmented_covariances",
    "block_toeplitz",
    "stacked_length",
]

ESTIMATORS = ("scm", "cov", "oas", "lwf", "sch")
_CHUNK = 1 << 17  # numbers in the matrices worked on at once: they stay in a core's cache


def stacked_length(n_times: int, order: int, lag: int, trim: str | int = "moabb") -> int:
    """Number of samples of a stacked signal.

    Parameters
    ----------
    n_times : int
        Samples of the signal.
    order, lag : int
        Number of copies, and samples from one copy to the next.
    trim : {"moabb", "edge"} or int
        As in `AugmentedCovariances`.

    Returns
    -------
    int
        The length, at least 1.

    Raises
    ------
    UsageError
        If `order`, `lag` or `trim` is not what it must be.
    InputError
        If the signal is too short.
    """
    for name, value in (("order", order), ("lag", lag)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise UsageError(f"{name} must be a whole number of at least 1, got {value!r}")
    longest = n_times - (order - 1) * lag
    if trim == "edge":
        length = longest
    elif trim == "moabb":
        length = n_times if order == 1 else n_times - order * lag
    elif isinstance(trim, int | np.integer) and not isinstance(trim, bool) and trim >= 1:
        length = int(trim)
    else:
        raise UsageError(f"trim must be 'moabb', 'edge' or a number of samples, got {trim!r}")
    if length < 1 and trim == "moabb" and longest >= 1:
        raise InputError(
            f"order {order} x lag {lag} is too long for trials of {n_times} samples: MOABB's trimming leaves 0 to "
            f"stack, and trim='edge' leaves {longest}; use that where it is an option, a smaller order or "
            "lag, or longer trials"
        )
    if length < 1 or length > longest:
        asked = f", and {length} are asked for" if 1 <= longest < length else ""
        raise InputError(
            f"order {order} x lag {lag} is too long for trials of {n_times} samples: {max(longest, 0)} samples are "
            f"left to stack{asked}; use a smaller order or lag, or longer trials"
        )
    return int(length)


class LaggedProducts:
    """Signals with the sums of their lagged products, from which every (order, lag) is put together.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels, n_times)
        Signals; computed with as float64.
    delays : iterable of int
        Delays whose products over the whole trial are summed once and kept; of any other delay they are summed when
        needed.
    center : bool
        Whether each trial's mean is removed first. It changes no centred covariance, and keeps rounding errors of
        signals with an offset small.

    Attributes
    ----------
    X : array of shape (n_trials, n_channels, n_times)
        Signals, float64.
    products : dict of int to array of shape (n_trials, n_channels, n_channels)
        For each delay k, the sum over s of x(s) x(s + k)' over all samples of the trial.
    """

    def __init__(self, X: np.ndarray, delays: Iterable[int] = (), *, center: bool = True):
        X = np.asarray(X, dtype=np.float64)
        center = center and X.shape[-1] > 1  # one sample is all mean
        self.X = np.ascontiguousarray(X - X.mean(axis=-1, keepdims=True) if center else X)
        self.totals = self.X.sum(axis=-1)
        n_times = self.X.shape[-1]
        self.products = {
            k: self.X[..., : n_times - k] @ self.X[..., k:].swapaxes(1, 2)
            for k in sorted(set(delays)) if k < n_times
        }  # fmt: skip

    def select(self, trials: np.ndarray | slice) -> LaggedProducts:
        """The same for some of the trials; of a slice without a copy."""
        chosen = object.__new__(LaggedProducts)
        chosen.X, chosen.totals = self.X[trials], self.totals[trials]
        chosen.products = {k: product[trials] for k, product in self.products.items()}
        return chosen

    def block_means(self, order: int, lag: int, length: int) -> np.ndarray:
        """Mean of every stacked copy, of shape (n_trials, order, n_channels)."""
        X, sums = self.X, np.empty((len(self.X), order, self.X.shape[1]))
        sums[:, 0] = self.totals - X[..., length:].sum(axis=-1)
        for p in range(1, order):
            gone, come = (p - 1) * lag, (p - 1) * lag + length
            sums[:, p] = sums[:, p - 1] - X[..., gone : gone + lag].sum(-1) + X[..., come : come + lag].sum(-1)
        return sums / length

    def first_blocks(self, order: int, lag: int, length: int) -> np.ndarray:
        """First row of blocks of the stacked signal's product, of shape (n_trials, n_channels, order * n_channels)."""
        X, n_times = self.X, self.X.shape[-1]
        row = np.empty((len(X), X.shape[1], order, X.shape[1]))
        for d in range(order):
            k = d * lag
            if k in self.products:
                tail = X[..., length : n_times - k] @ X[..., length + k :].swapaxes(1, 2)
                np.subtract(self.products[k], tail, out=row[:, :, d])
            else:
                np.matmul(X[..., :length], X[..., k : k + length].swapaxes(1, 2), out=row[:, :, d])
        return row.reshape(len(X), X.shape[1], -1)

    def moments(
        self, order: int, lag: int, length: int, *, centered: bool, out: np.ndarray | None = None
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Second moments of the stacked signals, a few trials at a time.

        Parameters
        ----------
        order, lag : int
            Number of copies, and samples from one copy to the next.
        length : int
            Samples of each copy.
        centered : bool
            Whether each copy's mean is taken off.
        out : array of shape (n_trials, order * n_channels, order * n_channels), optional
            Where they are written.

        Yields
        ------
        trials : slice
            Which trials.
        moments : array of shape (n, order * n_channels, order * n_channels)
            Sum of products divided by `length`, a view of `out`.
        """
        X, n_channels = self.X, self.X.shape[1]
        size = order * n_channels
        if out is None:
            out = np.empty((len(X), size, size))
        row = self.first_blocks(order, lag, length)
        row /= length
        means = self.block_means(order, lag, length) if centered else None
        if means is not None:
            row -= means[:, 0, :, None] * means.reshape(len(X), 1, size)
        step = max(1, _CHUNK // size**2)
        for start in range(0, len(X), step):
            part = slice(start, start + step)
            matrices = out[part]
            matrices[:, :n_channels] = row[part]
            if order > 1:
                _slide(matrices, X[part], lag, length, None if means is None else means[part])
            yield part, matrices


def _slide(matrices: np.ndarray, X: np.ndarray, lag: int, length: int, means: np.ndarray | None) -> None:
    """Fill the rows of blocks below the first, which is given."""
    n_trials, n_channels = X.shape[:2]
    order = matrices.shape[1] // n_channels
    size = (order - 1) * n_channels

    def pieces(start: int) -> np.ndarray:
        cut = X[..., start : start + (order - 1) * lag].reshape(n_trials, n_channels, order - 1, lag)
        return cut.swapaxes(1, 2).reshape(n_trials, size, lag)

    factors = [pieces(length), pieces(0)]  # what comes into the window, what goes
    weights = np.repeat([1.0 / length, -1.0 / length], lag)
    if means is not None:  # what the products of the means change by is two more columns of the same product
        factors += [means[:, 1:].reshape(n_trials, size, 1), means[:, :-1].reshape(n_trials, size, 1)]
        weights = np.append(weights, [-1.0, 1.0])
    factor = np.concatenate(factors, axis=-1)
    change = (factor * weights) @ factor.swapaxes(1, 2)
    for p in range(1, order):
        above, here = slice((p - 1) * n_channels, p * n_channels), slice(p * n_channels, (p + 1) * n_channels)
        np.add(matrices[:, above, :size], change[:, above], out=matrices[:, here, n_channels:])
        matrices[:, here, :n_channels] = matrices[:, :n_channels, here].swapaxes(1, 2)


def augmented_covariances(
    X: np.ndarray | LaggedProducts,
    order: int = 1,
    lag: int = 1,
    estimator: str = "cov",
    *,
    trim: str | int = "moabb",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Covariances of signals stacked with delayed copies of themselves.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels, n_times), or LaggedProducts
        Signals, or signals with products that were summed before.
    order, lag : int
        Number of copies, and samples from one copy to the next.
    estimator : {"scm", "cov", "oas", "lwf", "sch"}
        As in `AugmentedCovariances`.
    trim : {"moabb", "edge"} or int
        As in `AugmentedCovariances`.
    out : array of shape (n_trials, order * n_channels, order * n_channels), optional
        Where the matrices are written.

    Returns
    -------
    array of shape (n_trials, order * n_channels, order * n_channels)
        Covariances, float64; nothing is checked of their rank. Trials of one single sample, which have no variance,
        give its product with itself.

    Raises
    ------
    UsageError
        If an option is not what it must be.
    InputError
        If the trials are too short.

    See Also
    --------
    AugmentedCovariances : The same as an estimator, which refuses singular matrices.
    """
    if estimator not in ESTIMATORS:
        raise UsageError(f"estimator must be one of {', '.join(map(repr, ESTIMATORS))}, got {estimator!r}")
    if not isinstance(X, LaggedProducts):
        X = LaggedProducts(check_signals(X))
    length = stacked_length(X.X.shape[-1], order, lag, trim)
    if length == 1 and estimator in ("cov", "sch"):
        raise InputError(f"estimator {estimator!r} needs at least 2 stacked samples, got 1; use longer trials")
    size = order * X.X.shape[1]
    if out is None:
        out = np.empty((len(X.X), size, size))
    elif out.shape != (len(X.X), size, size):
        raise UsageError(f"out must be of shape {(len(X.X), size, size)}, got {out.shape}")
    gamma = None
    if estimator == "sch":
        gamma = schaefer_strimmer(LaggedProducts(np.concatenate([X.X, X.X**2], 1), center=False), order, lag, length)
    fourth = fourth_moments(X, order, lag, length) if estimator == "lwf" else None
    for part, matrices in X.moments(order, lag, length, centered=X.X.shape[-1] > 1, out=out):
        if estimator == "cov":
            matrices *= length / (length - 1)
        elif gamma is not None:
            diagonal = diagonal_of(matrices) * (length / (length - 1))
            matrices *= ((1 - gamma[part]) * (length / (length - 1)))[:, None, None]
            diagonal_of(matrices)[:] = diagonal
        elif estimator in ("oas", "lwf"):
            shrink(matrices, length, None if fourth is None else fourth[part])
    return out


def augmented_covariance_grid(
    X: np.ndarray,
    orders: Iterable[int],
    lags: Iterable[int],
    estimator: str = "cov",
    *,
    trim: str | int = "moabb",
    reuse: bool = False,
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Covariances for every order and lag, the lagged products summed once for all of them.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels, n_times)
        Signals.
    orders, lags : iterable of int
        The grid. Order 1 is the same for every lag and computed once.
    estimator : {"scm", "cov", "oas", "lwf", "sch"}
        As in `AugmentedCovariances`.
    trim : {"moabb", "edge", "common"} or int
        As in `AugmentedCovariances`; "common" uses for all the length of the largest order and lag.
    reuse : bool
        Whether the matrices of one pair are written over those of the one before: to be used before the next is asked
        for, or copied.

    Yields
    ------
    order, lag : int
        The pair: order by order, each with its lags.
    covariances : array of shape (n_trials, order * n_channels, order * n_channels)
        As from `augmented_covariances`.
    """
    orders, lags = list(orders), list(lags)
    X = check_signals(X)
    if trim == "common":
        trim = stacked_length(X.shape[-1], max(orders), max(lags))
    products = LaggedProducts(X, grid_delays(orders, lags))
    # one place for all orders: whoever still holds the last pair holds no more by it
    place = np.empty(len(X) * (max(orders) * X.shape[1]) ** 2) if reuse else None
    for order in orders:
        size, out = order * X.shape[1], None
        for i, lag in enumerate(lags):
            if order == 1 and i > 0 and out is not None:
                yield order, lag, out if reuse else out.copy()
                continue
            if place is None:
                out = np.empty((len(X), size, size))
            elif out is None:
                out = place[: len(X) * size**2].reshape(len(X), size, size)
            yield order, lag, augmented_covariances(products, order, lag, estimator, trim=trim, out=out)


def grid_delays(orders: Iterable[int], lags: Iterable[int]) -> list[int]:
    """Delays whose products are needed for every order and lag: a lag's multiples below its order."""
    largest = max(orders)
    return sorted({d * lag for lag in lags for d in range(largest)})


def block_toeplitz(X: np.ndarray, order: int = 1, lag: int = 1, *, centered: bool = True) -> np.ndarray:
    """Block-Toeplitz matrix of the autocovariances of whole trials.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels, n_times)
        Signals.
    order, lag : int
        Number of blocks, and samples from one delay to the next.
    centered : bool
        Whether each trial's mean is removed.

    Returns
    -------
    array of shape (n_trials, order * n_channels, order * n_channels)
        Block (p, q) is the sum over s of x(s) x(s + (q - p) lag)' divided by the number of all samples, whatever the
        delay: so the matrix is never indefinite.
    """
    stacked_length(X.shape[-1], order, lag, "edge")
    products = LaggedProducts(X, center=centered)
    n_trials, n_channels, n_times = products.X.shape
    blocks = np.empty((n_trials, order, n_channels, order, n_channels))
    for d in range(order):
        block = products.X[..., : n_times - d * lag] @ products.X[..., d * lag :].swapaxes(1, 2) / n_times
        for p in range(order - d):
            blocks[:, p, :, p + d] = block
            blocks[:, p + d, :, p] = block.swapaxes(1, 2)
    return blocks.reshape(n_trials, order * n_channels, -1)


def average_blocks(matrices: np.ndarray, order: int) -> np.ndarray:
    """Replace every block by the mean along its block diagonal, in place: the nearest block-Toeplitz matrices."""
    n_trials, size, _ = matrices.shape
    blocks = matrices.reshape(n_trials, order, size // order, order, size // order)
    for d in range(order):
        block = np.mean([blocks[:, p, :, p + d] for p in range(order - d)], axis=0)
        for p in range(order - d):
            blocks[:, p, :, p + d] = block
            blocks[:, p + d, :, p] = block.swapaxes(1, 2)
    return matrices


def check_estimator(estimator: Any, more: tuple[str, ...] = ()) -> None:
    """Refuse estimators that are not known."""
    if estimator not in ESTIMATORS + more:
        raise UsageError(f"estimator must be one of {', '.join(map(repr, ESTIMATORS + more))}, got {estimator!r}")
