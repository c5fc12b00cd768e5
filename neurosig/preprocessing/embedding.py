"""Order and lag of a delay embedding from the signals alone: no labels, no search."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurosig.core.errors import InputError, UsageError
from neurosig.core.validation import check_signals
from neurosig.preprocessing.lagged_products import augmented_covariances, stacked_length

__all__ = ["Embedding", "mutual_information", "select_embedding"]

# a neighbour is false if the next coordinate is further off than this many times the distance; and how many may be
_FALSE_NEIGHBOUR, _FEW = 2.0, 0.05
_SAME = 1e-8  # of a standard deviation: how far such neighbours move apart is rounding

METHODS = ("mdop", "mdop_multivariate", "ami_cao", "autocorrelation", "ar_order")


@dataclass(frozen=True)
class Embedding:
    """Order and lag, and what they were chosen by.

    Parameters
    ----------
    order, lag : int
        As `AugmentedCovariances` takes them.
    method : str
        The method of `select_embedding`.
    curve : dict of str to array
        What the choice was read from, by method: mutual information and Cao's ratio, autocorrelation and the ratio, the
        criterion of each order and lag, or order and lag of each signal.
    """

    order: int
    lag: int
    method: str
    curve: dict[str, np.ndarray] = field(default_factory=dict, repr=False)


def select_embedding(
    X: Any,
    method: str = "mdop",
    *,
    max_order: int = 10,
    max_lag: int = 10,
    lag: int | None = None,
    max_signals: int | None = 100,
    criterion: str = "bic",
    random_state: int | None = 0,
) -> Embedding:
    """Choose order and lag from training signals.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
        Training signals: of a test trial nothing may be used.
    method : {"mdop", "mdop_multivariate", "ami_cao", "autocorrelation", "ar_order"}
        "mdop" adds to a signal the delays that maximise derivatives on projection [1]_ until few nearest neighbours
        are false; order is the number of delays (with the present) and lag their mean spacing, both averaged over
        signals. "mdop_multivariate" does so in all channels of a trial at once. "ami_cao" takes the first minimum of
        the average mutual information [2]_ for the lag, and Cao's averaged distance ratio [3]_ for the order.
        "autocorrelation" takes the first zero of the autocorrelation for the lag, or its fall below 1/e where it has
        none, and Cao's ratio for the order. "ar_order" fits vector autoregressions to every lag and order and takes the
        best by `criterion`.
    max_order, max_lag : int
        Largest values considered; smaller ones where trials are short.
    lag : int, optional
        Keep to this lag and choose the order alone; not for "mdop" and "mdop_multivariate". At most a quarter of a
        trial.
    max_signals : int or None
        As many signals, each one channel of one trial, are drawn to look at; None looks at all. "ar_order" always does,
        and "mdop_multivariate" draws whole trials of about as many signals.
    criterion : {"aic", "bic", "hq"}
        Of "ar_order": Akaike's, Schwarz's, or Hannan and Quinn's.
    random_state : int or None
        Of the drawing of signals.

    Returns
    -------
    Embedding
        With `order` and `lag`.

    Raises
    ------
    UsageError
        If an option is not what it must be.
    InputError
        If trials are too short or constant, or too short for `lag`.

    See Also
    --------
    AugmentedCovarianceSearch : Chooses by cross-validation with labels, which takes longer.

    Notes
    -----
    A lag beyond the mutual information's first minimum is that of another cycle of an oscillation; band-limited signals
    at a low rate may have no minimum within `max_lag`, and `max_lag` is taken. Of signals filtered to a band an
    autoregression predicts nearly all from the samples just before, so that "ar_order" takes a high order at lag 1,
    where covariances are nearly singular; with a `lag` near a quarter of the period it does not.

    The authors of the method embed all channels of a trial at once [4]_, as "mdop_multivariate" does: from the signals
    as they are, with one window for temporal neighbours (the longest of the channels' first minima of the mutual
    information), that channel and that delay, of all up to `max_lag`, are added whose derivative is largest, until 5 %
    of the neighbours, or fewer, come to lie more than twice as far apart. It differs from theirs in that channels have
    unit variance, order counts different delays with the present, since covariances take all channels at each, and lag
    is their mean spacing rather than their mean. In many channels hardly a neighbour is false from the start, as a
    trial has too few samples to fill their space: the order is 1 then, and the lag that window.

    So "mdop" embeds each channel by itself and takes the first local maximum, which keeps to the fastest oscillation; a
    neighbour is false there where the added coordinate is further off than twice the distance. Order and lag of both
    may differ from published ones.

    References
    ----------
    .. [1] Nichkawde, "Optimal state-space reconstruction using derivatives on projected manifold", Physical Review E
       87, 2013, https://doi.org/10.1103/PhysRevE.87.022905
    .. [2] Fraser and Swinney, "Independent coordinates for strange attractors from mutual information", Physical
       Review A 33, 1986, https://doi.org/10.1103/PhysRevA.33.1134
    .. [3] Cao, "Practical method for determining the minimum embedding dimension of a scalar time series", Physica D
       110, 1997, https://doi.org/10.1016/S0167-2789(97)00118-8
    .. [4] Carrara and Papadopoulo, "Classification of BCI-EEG based on augmented covariance matrix", 2023,
       https://arxiv.org/abs/2302.04508

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.preprocessing.embedding import select_embedding
    >>> X = np.sin(2 * np.pi * 0.05 * np.arange(400))[None, None] + np.zeros((2, 1, 1))
    >>> select_embedding(X, "autocorrelation").lag  # a quarter of the period of 20 samples
    5
    """
    if method not in METHODS:
        raise UsageError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    if criterion not in ("aic", "bic", "hq"):
        raise UsageError(f"criterion must be 'aic', 'bic' or 'hq', got {criterion!r}")
    for name, value in (("max_order", max_order), ("max_lag", max_lag)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise UsageError(f"{name} must be a whole number of at least 1, got {value!r}")
    if lag is not None and (isinstance(lag, bool) or not isinstance(lag, int | np.integer) or lag < 1):
        raise UsageError(f"lag must be a whole number of at least 1, or None, got {lag!r}")
    if lag is not None and method in ("mdop", "mdop_multivariate"):
        raise UsageError(f"method {method!r} finds the lag together with the order: leave lag out")
    X = check_signals(X, ensure_min_times=20, dtype=np.float64)
    if lag is not None and lag > X.shape[2] // 4:
        raise InputError(
            f"lag {lag} is too long for trials of {X.shape[2]} samples: a quarter of them at most; use a smaller lag "
            "or longer trials"
        )
    max_lag = min(lag or max_lag, X.shape[2] // 4)
    max_order = min(max_order, max(1, X.shape[2] // (4 * max_lag) + 1))
    X = X - X.mean(axis=-1, keepdims=True)
    spread = X.std(axis=-1)
    moving = spread > 1e-12 * np.max(spread, initial=0.0)
    if not moving.any():
        raise InputError("expected signals that vary, got only constant channels; check the recording")
    if method == "ar_order":
        return _by_autoregression(X[:, moving.all(axis=0)], max_order, max_lag, criterion, lag)
    if method == "mdop_multivariate":
        trials = _drawn(
            np.flatnonzero(moving.any(axis=1)), max_signals and max(1, max_signals // X.shape[1]), random_state
        )
        parts = [X[i, moving[i]] / spread[i, moving[i], None] for i in trials]
        return _averaged([_mdop_multivariate(part, max_order, max_lag) for part in parts], method)
    signals = X[moving] / spread[moving][:, None]
    signals = signals[_drawn(np.arange(len(signals)), max_signals, random_state)]
    if method == "mdop":
        return _averaged([_mdop(x, max_order, max_lag) for x in signals], method)
    if method == "ami_cao":
        name, curve = "mutual_information", np.stack([mutual_information(x, max_lag) for x in signals])
        each, together = [_first_minimum(c) for c in curve], _first_minimum(curve.mean(axis=0))
    else:
        name, curve = "autocorrelation", np.stack([_autocorrelation(x, max_lag) for x in signals])
        together = _first_zero(curve.mean(axis=0))
        each = [together] * len(signals)
    if lag is not None:
        each, together = [max_lag] * len(signals), max_lag
    ratio = np.mean([_cao_ratio(x, t, max_order) for x, t in zip(signals, each, strict=True)], axis=0)
    return Embedding(_first_maximum(ratio), together, method, {name: curve.mean(axis=0), "cao_ratio": ratio})


def _drawn(items: np.ndarray, most: int | None, random_state: int | None) -> np.ndarray:
    """Some of the items at random, in their order."""
    if most is None or len(items) <= most:
        return items
    return np.sort(np.random.default_rng(random_state).choice(items, most, replace=False))


def _averaged(found: list[tuple[int, float]], method: str) -> Embedding:
    table = np.array(found, dtype=float)
    order, lag = (int(np.floor(value + 0.5)) for value in table.mean(axis=0))
    return Embedding(order, lag, method, {"order": table[:, 0], "lag": table[:, 1]})


def mutual_information(x: np.ndarray, max_lag: int, n_bins: int | None = None) -> np.ndarray:
    """Average mutual information of a signal and itself later.

    Parameters
    ----------
    x : array of shape (n_times,)
        Signal.
    max_lag : int
        Largest delay.
    n_bins : int, optional
        Number of equally filled bins; None is the cube root of the number of samples, rounded up.

    Returns
    -------
    array of shape (max_lag + 1,)
        Nats, for delays 0 to `max_lag`.
    """
    n = len(x)
    n_bins = n_bins or int(np.ceil(n ** (1 / 3)))
    ranks = np.empty(n, dtype=int)
    ranks[np.argsort(x, kind="stable")] = np.arange(n)
    bins = ranks * n_bins // n
    information = np.empty(max_lag + 1)
    for lag in range(max_lag + 1):
        pairs = bins[: n - lag] * n_bins + bins[lag:]
        joint = np.bincount(pairs, minlength=n_bins**2).reshape(n_bins, n_bins) / (n - lag)
        expected = np.outer(joint.sum(axis=1), joint.sum(axis=0))
        some = joint > 0
        information[lag] = np.sum(joint[some] * np.log(joint[some] / expected[some]))
    return information


def _autocorrelation(x: np.ndarray, max_lag: int) -> np.ndarray:
    return np.array([np.dot(x[: len(x) - k], x[k:]) for k in range(max_lag + 1)]) / np.dot(x, x)


def _first_minimum(curve: np.ndarray) -> int:
    """First inner local minimum at a delay of at least 1, or the last delay."""
    inner = np.flatnonzero((curve[1:-1] < curve[:-2]) & (curve[1:-1] <= curve[2:])) + 1
    return int(inner[0]) if len(inner) else len(curve) - 1


def _first_maximum(ratio: np.ndarray) -> int:
    """Order of the first inner local maximum, or where the curve first comes within 5 % of its end."""
    inner = np.flatnonzero((ratio[1:-1] > ratio[:-2]) & (ratio[1:-1] >= ratio[2:])) + 1
    return int(inner[0] if len(inner) else np.argmax(ratio >= 0.95 * ratio[-1])) + 1


def _first_zero(curve: np.ndarray) -> int:
    """Delay nearest to where the curve first falls to zero, else to 1/e, else the last."""
    for level in (0.0, np.exp(-1)):
        below = np.flatnonzero(curve <= level)
        if len(below):
            k = int(below[0])
            return k - 1 if k > 1 and abs(curve[k - 1] - level) < abs(curve[k] - level) else k
    return len(curve) - 1


def _delayed(x: np.ndarray, order: int, lag: int, length: int) -> np.ndarray:
    return np.stack([x[d * lag : d * lag + length] for d in range(order)], axis=1)


def _cao_ratio(x: np.ndarray, lag: int, max_order: int) -> np.ndarray:
    """Cao's E1 for orders from 1: how distances of nearest neighbours grow from one order to the next."""
    from scipy.spatial import cKDTree

    growth = []
    for order in range(1, max_order + 2):
        length = len(x) - order * lag
        points = _delayed(x, order, lag, length)
        distance, neighbour = cKDTree(points).query(points, k=2, p=np.inf)
        distance, neighbour = distance[:, 1], neighbour[:, 1]
        added = np.abs(x[order * lag :][:length] - x[order * lag + neighbour])
        some = distance > 0
        growth.append(np.mean(np.maximum(distance, added)[some] / distance[some]) if some.any() else 1.0)
    return np.array(growth[1:]) / np.array(growth[:-1])


def _mdop(x: np.ndarray, max_order: int, max_lag: int) -> tuple[int, float]:
    """Number of delays that maximise derivatives on projection, with the present, and their mean spacing."""
    theiler = max(1, _first_minimum(mutual_information(x, max_lag)))
    reach = min((max_order - 1) * max_lag, len(x) // 3)
    length = len(x) - reach
    delays = [0]
    while len(delays) < max_order:
        distance, neighbour = _distant_neighbours(np.stack([x[d : d + length] for d in delays], axis=1), theiler)
        some = np.flatnonzero(np.isfinite(distance) & (distance > 0))
        candidates = np.arange(delays[-1] + 1, min(delays[-1] + max_lag, reach) + 1)
        if some.size == 0 or candidates.size == 0:
            break
        change = np.abs(x[candidates[:, None] + some] - x[candidates[:, None] + neighbour[some]])
        beta = np.mean(np.log10(np.maximum(change, 1e-12) / distance[some]), axis=1)
        best = _first_peak(beta)
        if np.mean(change[best] > _FALSE_NEIGHBOUR * distance[some]) <= _FEW:
            break
        delays.append(int(candidates[best]))
    spacing = float(np.mean(np.diff(delays))) if len(delays) > 1 else float(theiler)
    return len(delays), spacing


def _mdop_multivariate(X: np.ndarray, max_order: int, max_lag: int) -> tuple[int, float]:
    """Number of different delays, with the present, that unfold all channels of a trial, and their mean spacing."""
    theiler = max(1, *(_first_minimum(mutual_information(x, max_lag)) for x in X))
    length = X.shape[1] - max_lag
    points, delays = X[:, :length].T, {0}
    taken = np.zeros((len(X), max_lag), dtype=bool)
    while len(delays) < max_order:
        distance, neighbour = _distant_neighbours(points, theiler)
        some = np.flatnonzero(np.isfinite(distance) & (distance > _SAME))
        if some.size == 0 or taken.all():
            break
        distance, neighbour = distance[some], neighbour[some]
        beta = np.empty((len(X), max_lag))
        for k in range(1, max_lag + 1):
            change = np.abs(X[:, k + some] - X[:, k + neighbour])
            beta[:, k - 1] = np.mean(np.log10(np.maximum(change, 1e-12) / distance), axis=1)
        beta[taken] = -np.inf
        channel, k = divmod(int(beta.argmax()), max_lag)
        added = X[channel, k + 1 : k + 1 + length]
        farther = np.hypot(distance, added[some] - added[neighbour])
        if np.mean(farther > _FALSE_NEIGHBOUR * distance) <= _FEW:
            break
        taken[channel, k] = True
        delays.add(k + 1)
        points = np.column_stack([points, added])
    return len(delays), max(delays) / (len(delays) - 1) if len(delays) > 1 else float(theiler)


def _distant_neighbours(points: np.ndarray, theiler: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance and position of each point's nearest neighbour more than `theiler` samples away; inf if there is none.

    Of the ``2 * theiler + 2`` nearest points, the point among them, one at least is not that near in time.
    """
    from scipy.spatial import cKDTree

    distance, neighbour = cKDTree(points).query(points, k=min(2 * theiler + 2, len(points)))
    distance = np.where(np.abs(neighbour - np.arange(len(points))[:, None]) <= theiler, np.inf, distance)
    first = distance.argmin(axis=1)[:, None]
    return np.take_along_axis(distance, first, 1)[:, 0], np.take_along_axis(neighbour, first, 1)[:, 0]


def _first_peak(curve: np.ndarray) -> int:
    """First inner local maximum, else the largest value."""
    inner = np.flatnonzero((curve[1:-1] > curve[:-2]) & (curve[1:-1] >= curve[2:])) + 1
    return int(inner[0]) if len(inner) else int(curve.argmax())


def _by_autoregression(X: np.ndarray, max_order: int, max_lag: int, criterion: str, fixed: int | None) -> Embedding:
    """Best vector autoregression on `order - 1` past values at multiples of the lag."""
    if X.shape[1] == 0:
        raise InputError("expected a channel that varies in every trial, got none; drop trials with dead channels")
    X = _independent_channels(X) @ X
    n_trials, n_channels, n_times = X.shape
    length = stacked_length(n_times, max_order, max_lag, "edge")
    n_samples = length * n_trials
    weight = {"aic": 2.0, "bic": np.log(n_samples), "hq": 2 * np.log(np.log(n_samples))}[criterion]
    table = np.full((max_order, max_lag), np.nan)
    for lag in range(1, max_lag + 1) if fixed is None else [max_lag]:
        # what is predicted is the last block: the last `length` samples of the trials, whatever the order and lag
        used = X[..., n_times - length - (max_order - 1) * lag :]
        matrix = augmented_covariances(used, max_order, lag, "scm", trim=length).mean(axis=0)
        for order in range(1, max_order + 1):
            size = order * n_channels
            if size >= n_samples:
                break
            # determinants with and without the last block: their ratio is that of the residuals' covariance
            past = matrix[-size:-n_channels, -size:-n_channels]
            log_det = np.linalg.slogdet(matrix[-size:, -size:])[1] - (np.linalg.slogdet(past)[1] if past.size else 0.0)
            table[order - 1, lag - 1] = log_det + weight * (order - 1) * n_channels**2 / n_samples
    best = np.unravel_index(np.nanargmin(table), table.shape)
    return Embedding(int(best[0]) + 1, int(best[1]) + 1, "ar_order", {criterion: table})


def _independent_channels(X: np.ndarray) -> np.ndarray:
    """Filters to the directions that the signals fill: an average reference would make every determinant zero."""
    values, vectors = np.linalg.eigh(augmented_covariances(X, 1, 1, "scm").mean(axis=0))
    return vectors[:, values > 1e-7 * values[-1]].T
