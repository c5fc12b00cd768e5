"""FASTER's metrics: of channels over a whole recording, and of channels in single epochs.

Everything runs on one channel or one epoch at a time, so that what is read once from memory serves several metrics.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from neurosig.preprocessing.faster_signals import DRIFT_SECONDS
from neurosig.preprocessing.faster_spectrum import bin_powers, line_kernels

__all__ = [
    "cell_scores", "channel_scores", "dead_cells", "dead_channels", "dispersional_hurst", "finite_cells",
    "robust_log_variance", "series_scores",
]  # fmt: skip

_ROBUST_SAMPLES = 20000  # enough for a median to one percent
_TINY = 1e-12
# A channel whose standard deviation is below this part of its largest value carries rounding, no signal
_FLAT = 1e-12


def derivative_hurst(x: np.ndarray) -> np.ndarray:
    """Hurst exponent by second differences over one and two samples, as mne-faster estimates it.

    Parameters
    ----------
    x : array of shape (..., n_times)
        Series.

    Returns
    -------
    array of shape (...)
        The exponents; NaN for constant series.
    """
    if x.shape[-1] < 8:
        return np.full(x.shape[:-1], np.nan)
    # the published estimator filters differences and drops the filters' first outputs and the very last one
    d = np.diff(x[..., 1:-1], axis=-1)
    near = d[..., 1:] - d[..., :-1]
    wide = d[..., 1:] + d[..., :-1]
    wide = wide[..., 2:] - wide[..., :-2]
    with np.errstate(divide="ignore", invalid="ignore"):
        return 0.5 * np.log2(_mean_square(wide) / _mean_square(near))


def dispersional_hurst(x: np.ndarray) -> np.ndarray:
    """Hurst exponent by dispersional analysis: how the spread falls as neighbours are averaged.

    Parameters
    ----------
    x : array of shape (..., n_times)
        Series.

    Returns
    -------
    array of shape (...)
        The exponents; NaN for constant series and for fewer than ten samples.
    """
    sizes, spreads, size = [], [], 1
    while x.shape[-1] > 4:
        centred = x - x.mean(axis=-1, keepdims=True)
        spreads.append(size * np.sqrt(_mean_square(centred) * (x.shape[-1] / (x.shape[-1] - 1))))
        sizes.append(size)
        even = x[..., : x.shape[-1] // 2 * 2]
        x = 0.5 * (even[..., ::2] + even[..., 1::2])
        size *= 2
    if len(sizes) < 2:
        return np.full(x.shape[:-1], np.nan)
    bins = np.log(sizes)
    bins -= bins.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.tensordot(bins, np.log(np.array(spreads)), axes=(0, 0)) / (bins**2).sum()


def robust_log_variance(x: np.ndarray) -> np.ndarray:
    """Natural logarithm of the variance, as the median distance from the median tells it.

    What takes less than half of the time, such as blinks, does not count. Of long series a fixed random part is looked
    at: every n-th sample could fall on one phase of the mains.

    Parameters
    ----------
    x : array of shape (..., n_times)
        Series.

    Returns
    -------
    array of shape (...)
        Logarithm; of a series that stands still most of the time, that of a trillionth of its variance.
    """
    if x.shape[-1] > _ROBUST_SAMPLES:
        x = x[..., np.random.default_rng(0).integers(x.shape[-1], size=_ROBUST_SAMPLES)]
    off = np.abs(x - np.median(x, axis=-1, keepdims=True))
    with np.errstate(divide="ignore"):
        return np.log(np.maximum((1.4826 * np.median(off, axis=-1)) ** 2, _TINY * x.var(axis=-1)))


def series_scores(
    x: np.ndarray, wanted: Collection[str], *, variant: str, sfreq: float | None
) -> dict[str, np.ndarray]:
    """Metrics of series that are looked at one by one: channels over a whole recording, or sources.

    Parameters
    ----------
    x : array of shape (n_series, n_times)
        Series.
    wanted : collection of {"variance", "kurtosis", "hurst", "line_noise", "median_gradient"}
        Metrics to compute; others are ignored.
    variant : {"mended", "paper", "mne"}
        Whose formulas.
    sfreq : float or None
        Sampling rate in Hz, for the line noise.

    Returns
    -------
    dict of str to array of shape (n_series,)
        The metrics; NaN where they are not defined.
    """
    scores: dict[str, np.ndarray] = {}
    n_times = x.shape[-1]
    if "variance" in wanted or "kurtosis" in wanted:
        centred = x - x.mean(axis=-1, keepdims=True)
        square = np.multiply(centred, centred, out=centred)
        variance = square.mean(axis=-1)
        if "variance" in wanted:
            if variant == "mended":
                scores["variance"] = robust_log_variance(x)
            else:
                scores["variance"] = variance if variant == "mne" else variance * (n_times / max(n_times - 1, 1))
        if "kurtosis" in wanted:
            with np.errstate(divide="ignore", invalid="ignore"):
                scores["kurtosis"] = _mean_square(square) / variance**2 - 3
    if "hurst" in wanted:
        scores["hurst"] = derivative_hurst(x) if variant == "mne" else dispersional_hurst(x)
    if "median_gradient" in wanted:
        scores["median_gradient"] = _median_gradient(x, signed=variant == "paper")
    if "line_noise" in wanted and sfreq is not None:
        scores["line_noise"] = bin_powers(x, line_kernels(n_times, sfreq)).sum(axis=-1)
    return scores


def channel_scores(
    X: np.ndarray,
    picks: np.ndarray,
    wanted: Collection[str],
    *,
    variant: str,
    sfreq: float | None,
    groups: Collection[np.ndarray],
    alive: np.ndarray,
    reference: np.ndarray | None = None,
    referred: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Metrics of channels over all epochs laid end to end.

    Parameters
    ----------
    X : array of shape (n_epochs, n_channels, n_times)
        Signals.
    picks : array of int of shape (n_picks,)
        Channels.
    wanted : collection of {"variance", "correlation", "hurst", "drift", "kurtosis", "line_noise"}
        Metrics to compute; "drift" takes signals of known rate.
    variant : {"mended", "paper", "mne"}
        Whose formulas.
    sfreq : float or None
        Sampling rate in Hz.
    groups : collection of array of int
        Positions in `picks` of channels of one type, which are correlated with each other.
    alive : array of bool of shape (n_picks,)
        Channels with a signal; the others are left out and get NaN.
    reference : array of shape (n_epochs, n_times), optional
        What is taken off the channels `referred` before.
    referred : array of bool of shape (n_picks,), optional
        Those channels.

    Returns
    -------
    dict of str to array of shape (n_picks,)
        The metrics.
    """
    n_epochs, _, n_times = X.shape
    series = np.empty((len(picks), n_epochs * n_times))  # the one copy, centred, that all metrics share
    scores = {metric: np.full(len(picks), np.nan) for metric in wanted}
    silent = np.zeros(len(picks), dtype=bool)
    for i, channel in enumerate(picks):
        row = series[i]
        row.reshape(n_epochs, n_times)[...] = X[:, channel]
        if reference is not None and referred is not None and referred[i]:
            row.reshape(n_epochs, n_times)[...] -= reference
        silent[i] = not row.any()
        if not alive[i]:
            row[:] = 0.0
            continue
        row -= row.mean()
        for metric, value in series_scores(series[i : i + 1], wanted, variant=variant, sfreq=sfreq).items():
            scores[metric][i] = value[0]
        if "drift" in wanted and sfreq is not None:
            width = round(DRIFT_SECONDS * sfreq)
            slow = row.reshape(n_epochs, n_times)[:, : n_times // width * width].reshape(-1, width).mean(axis=-1)
            scores["drift"][i] = robust_log_variance(slow)
    if "correlation" in wanted:
        for group in groups:
            # mne-faster correlates dead channels too, and a NaN in a mean makes that mean NaN
            used = group if variant == "mne" else group[alive[group]]
            if variant == "paper":
                used = used[~silent[used]]  # the authors skip them: they take them for the reference
            scores["correlation"][used] = _mean_correlation(series, used, variant)
    return scores


def cell_scores(
    X: np.ndarray,
    picks: np.ndarray,
    wanted: Collection[str],
    *,
    signed_gradient: bool = False,
    sfreq: float | None = None,
) -> dict[str, np.ndarray]:
    """Statistics of every channel in every epoch, in one pass.

    Parameters
    ----------
    X : array of shape (n_epochs, n_channels, n_times)
        Signals.
    picks : array of int of shape (n_picks,)
        Channels.
    wanted : collection of {"mean", "squares", "amplitude", "median_gradient", "line_noise"}
        "squares" is the sum of squared deviations from the mean, "amplitude" the range.
    signed_gradient : bool
        Whether the median is that of first differences, not of their absolute values.
    sfreq : float or None
        Sampling rate in Hz, for the line noise.

    Returns
    -------
    dict of str to array of shape (n_epochs, n_picks)
        The statistics; the mean always.
    """
    n_epochs, n_channels, n_times = X.shape
    scores = {name: np.full((n_epochs, len(picks)), np.nan) for name in {"mean", *wanted}}
    every = len(picks) == n_channels and np.array_equal(picks, np.arange(n_channels))
    kernels = line_kernels(n_times, sfreq) if "line_noise" in wanted and sfreq is not None else None
    with np.errstate(invalid="ignore"):  # infinite samples give NaN, as NaN does
        for i in range(n_epochs):
            x = np.asarray(X[i] if every else X[i, picks], dtype=np.float64)
            mean = x.mean(axis=-1)
            scores["mean"][i] = mean
            if "amplitude" in wanted:
                scores["amplitude"][i] = x.max(axis=-1) - x.min(axis=-1)
            if "squares" in wanted:
                centred = x - mean[:, np.newaxis]
                scores["squares"][i] = np.einsum("ct,ct->c", centred, centred)
            if "median_gradient" in wanted:
                scores["median_gradient"][i] = _median_gradient(x, signed_gradient)
            if kernels is not None:
                scores["line_noise"][i] = bin_powers(x, kernels).sum(axis=-1)
    return scores


def dead_channels(X: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """Channels without a signal: constant over all epochs, or not finite somewhere.

    Parameters
    ----------
    X : array of shape (n_epochs, n_channels, n_times)
        Signals.
    picks : array of int
        Channels.

    Returns
    -------
    array of bool of shape (n_picks,)
        The dead ones; none where there is one sample only.
    """
    if X.shape[0] * X.shape[2] < 2:
        return np.zeros(len(picks), dtype=bool)
    dead = np.empty(len(picks), dtype=bool)
    for i, channel in enumerate(picks):
        low, high = float(X[:, channel].min()), float(X[:, channel].max())
        dead[i] = not high - low > _FLAT * max(abs(low), abs(high))  # NaN compares false: dead as well
        dead[i] |= not np.isfinite(high - low)
    return dead


def finite_cells(X: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """Which channels hold numbers throughout an epoch, neither NaN nor infinite.

    Parameters
    ----------
    X : array of shape (n_epochs, n_channels, n_times)
        Signals.
    picks : array of int
        Channels.

    Returns
    -------
    array of bool of shape (n_epochs, n_picks)
        True where all samples are finite.
    """
    with np.errstate(invalid="ignore"):  # a sum is finite where all its terms are, and needs no mask of them
        return np.array([np.isfinite(x.sum(axis=-1, dtype=np.float64)[picks]) for x in X])


def dead_cells(cells: Mapping[str, np.ndarray], n_times: int) -> np.ndarray:
    """Channels that carry no signal in an epoch.

    Parameters
    ----------
    cells : dict of str to array of shape (n_epochs, n_picks)
        From `cell_scores`, with "mean" and "squares".
    n_times : int
        Samples in an epoch.

    Returns
    -------
    array of bool of shape (n_epochs, n_picks)
        The dead ones; none where an epoch is one sample.
    """
    if n_times < 2:
        return np.zeros(cells["mean"].shape, dtype=bool)
    with np.errstate(invalid="ignore"):
        return ~(np.sqrt(cells["squares"] / n_times) > _FLAT * np.abs(cells["mean"])) | ~np.isfinite(cells["squares"])


def _mean_correlation(series: np.ndarray, used: np.ndarray, variant: str) -> np.ndarray:
    x = series if len(used) == len(series) else series[used]
    gram = x @ x.T
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.diag(gram))
        correlation = np.clip(gram / spread / spread[:, np.newaxis], -1.0, 1.0)
    if variant == "mne":
        np.fill_diagonal(correlation, 0.0)
        return correlation.sum(axis=0) / max(len(used) - 1, 1)
    return np.abs(correlation).mean(axis=0)


def _median_gradient(x: np.ndarray, signed: bool) -> np.ndarray:
    d = np.diff(x, axis=-1)
    n = d.shape[-1]
    if n == 0:
        return np.full(x.shape[:-1], np.nan)
    if not signed:
        np.abs(d, out=d)
    half = n // 2
    d.partition(half, axis=-1)
    upper = d[..., half]
    # the lower of the two middle values is the largest of those that went left: a second full partition is saved
    return upper if n % 2 else 0.5 * (upper + d[..., :half].max(axis=-1))


def _mean_square(x: np.ndarray) -> np.ndarray:
    return np.einsum("...t,...t->...", x, x) / x.shape[-1]
