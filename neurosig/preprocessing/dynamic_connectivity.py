"""Connectivity that changes within a run: sliding windows, what varies over them, and states that recur."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.utils.validation import check_is_fitted

from neurosig.core.errors import InputError, UsageError
from neurosig.core.registry import register
from neurosig.core.signals import SignalDataset
from neurosig.preprocessing.connectivity import given_names
from neurosig.preprocessing.connectivity_matrices import (
    ESTIMATORS,
    check_choice,
    checked_series,
    connectivity_matrix,
    edge_names,
    edges,
    fisher_z,
    from_edges,
    region_names,
)

__all__ = ["DynamicConnectivity"]

_KINDS = ("correlation", "partial correlation")
_SUMMARIES = ("mean", "std", "states")
_SLOWEST, _FASTEST = 30.0, 0.001  # seconds between samples beyond which something was given in another unit


@register(kind="preprocessor")
class DynamicConnectivity(TransformerMixin, BaseEstimator):
    """Connectivity in sliding windows: each edge's mean and spread, and how long recurring states last.

    Parameters
    ----------
    window : float
        Length of a window in seconds. Much below the longest period in the series (100 s after a high-pass at 0.01 Hz)
        correlations vary by chance alone [1]_.
    step : float, optional
        Seconds from one window to the next; half a window by default.
    summary : sequence of {"mean", "std", "states"}
        What the features of a run are: the mean of each edge over its windows, its standard deviation, or the share of
        time, mean stay and number of changes of `n_states` states.
    n_states : int
        States that all windows of the training runs are grouped into by k-means [2]_.
    kind : {"correlation", "partial correlation"}
        Connectivity within a window.
    estimator : {"auto", "empirical", "ledoit_wolf", "oas"}
        Of the covariance; "auto" is the empirical one for correlations, Ledoit and Wolf's for partial correlations.
    fisher_z : bool
        Whether correlations are transformed by Fisher's z.
    missing : {"raise", "mean", "nan"}
        What becomes of runs that lack a region in a window (NaN throughout the run, or constant): they are refused, the
        region's features are the mean of the training runs', or they are NaN. States are found with the mean edge of
        the training windows in their place.
    sfreq : float, optional
        Volumes a second, one over the repetition time.
    ch_names : sequence of str, optional
        Names of the regions, as in `FunctionalConnectivity`.
    random_state : int, optional
        Seed of k-means.

    Attributes
    ----------
    states_ : array of shape (n_states, n_edges)
        Centres of the states, the first being the most frequent in training; with "states" only.
    window_means_ : array of shape (n_edges,)
        Mean of each edge over all training windows that have it; with "states" only.
    feature_means_ : array of shape (n_features,)
        Mean of each feature over the training runs that have it.
    region_names_ : list of str
        Names of the regions.
    n_features_in_ : int
        Number of regions.

    See Also
    --------
    FunctionalConnectivity : One matrix a run.

    Notes
    -----
    Runs may have repetition times of their own: pass them as the metadata ``t_r``, seconds a run, which both `fit` and
    `transform` ask for; it goes before `sfreq`. A `SignalDataset` tells its own. In folds, neurosig's `benchmark` hands
    it on from the metadata's column ``t_r``; of scikit-learn's scorers only an estimator's own ``score`` does.

    Windows are rectangular, and count the volumes that a run has: where motion was scrubbed they span more time.

    References
    ----------
    .. [1] Leonardi & Van De Ville, "On spurious and real fluctuations of dynamic functional connectivity during rest",
       NeuroImage 104, 2015, https://doi.org/10.1016/j.neuroimage.2014.09.007
    .. [2] Allen et al., "Tracking whole-brain connectivity dynamics in the resting state", Cerebral Cortex 24, 2014,
       https://doi.org/10.1093/cercor/bhs352

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.preprocessing.dynamic_connectivity import DynamicConnectivity
    >>> runs = np.random.default_rng(0).standard_normal((4, 3, 150))
    >>> dynamics = DynamicConnectivity(window=60, summary=["std", "states"], n_states=2, sfreq=0.5, random_state=0)
    >>> dynamics.fit_transform(runs).shape
    (4, 8)
    >>> dynamics.get_feature_names_out()[2:6].tolist()
    ['std region_2~region_3', 'share of state 1', 'share of state 2', 'stay in state 1']
    """

    # scikit-learn's way to ask for metadata by default: a YAML pipeline has no room for set_fit_request
    __metadata_request__fit: ClassVar = {"t_r": True}
    __metadata_request__transform: ClassVar = {"t_r": True}
    _channel_order_matters = True  # of the edges

    def __init__(
        self,
        window: float = 60.0,
        *,
        step: float | None = None,
        summary: Sequence[str] = ("mean", "std"),
        n_states: int = 4,
        kind: str = "correlation",
        estimator: str = "auto",
        fisher_z: bool = True,
        missing: str = "raise",
        sfreq: float | None = None,
        ch_names: Sequence[str] | None = None,
        random_state: int | None = None,
    ):
        self.window = window
        self.step = step
        self.summary = summary
        self.n_states = n_states
        self.kind = kind
        self.estimator = estimator
        self.fisher_z = fisher_z
        self.missing = missing
        self.sfreq = sfreq
        self.ch_names = ch_names
        self.random_state = random_state

    @classmethod
    def _get_test_params(cls) -> list[dict[str, Any]]:
        return [
            {"window": 20.0, "sfreq": 1.0},
            {"window": 20.0, "summary": ["states"], "n_states": 2, "sfreq": 1.0, "random_state": 0},
        ]

    def check_options(self) -> None:
        """Refuse options that are unknown or make no sense, with a UsageError."""
        check_choice("kind", self.kind, _KINDS)
        check_choice("estimator", self.estimator, ("auto", *ESTIMATORS))
        if isinstance(self.summary, str) or not len(self.summary):
            raise UsageError(f"summary must be a list of {', '.join(map(repr, _SUMMARIES))}, got {self.summary!r}")
        for name in self.summary:
            check_choice("summary", name, _SUMMARIES)
        for name in ("window", "step", "n_states", "sfreq"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name} must be positive, got {value!r}")

    def fit(self, X: Any, y: Any = None, *, t_r: Any = None) -> Self:
        """Learn the states, and the means that stand in for missing regions.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of arrays (n_regions, n_times), or SignalDataset
            Training runs.
        y : None
            Ignored.
        t_r : array-like of shape (n_runs,), optional
            Repetition time of each run in seconds.

        Returns
        -------
        DynamicConnectivity
            Itself.

        Raises
        ------
        InputError
            If a run is shorter than a window, or lacks regions (see `missing`).
        UsageError
            If neither `sfreq` nor `t_r` is known, or options are unknown.
        """
        self.fit_transform(X, t_r=t_r)
        return self

    def fit_transform(self, X: Any, y: Any = None, *, t_r: Any = None) -> np.ndarray:
        """Fit, then describe the same runs; each window is computed once.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of arrays (n_regions, n_times), or SignalDataset
            Training runs.
        y : None
            Ignored.
        t_r : array-like of shape (n_runs,), optional
            Repetition time of each run in seconds.

        Returns
        -------
        array of shape (n_runs, n_features)
            Features, float64.
        """
        self.check_options()
        windows = self._windows_of(X, t_r, reset=True)
        if "states" in self.summary:  # which are found in the windows of all runs; else one run at a time will do
            kept = list(windows)
            self.window_means_ = _mean_of_known([rows for rows, _ in kept])
            self.states_ = self._learn_states([rows for rows, _ in kept])
            windows = iter(kept)
        features = np.stack([self._describe(rows, its) for rows, its in windows])
        self.region_names_ = region_names(X, self.ch_names, self)
        self._knows_names = self.ch_names is not None or isinstance(X, SignalDataset)
        self.feature_means_ = _mean_of_known([features])
        if self.missing == "mean" and np.isnan(self.feature_means_).any():
            raise InputError(
                "no training run has some of the regions, so that their mean is not known; drop them, or take "
                "missing='nan'"
            )
        return self._filled(features)

    def transform(self, X: Any, t_r: Any = None) -> np.ndarray:
        """Describe runs.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of arrays (n_regions, n_times), or SignalDataset
            Runs of the regions that were fitted on.
        t_r : array-like of shape (n_runs,), optional
            Repetition time of each run in seconds.

        Returns
        -------
        array of shape (n_runs, n_features)
            Features in the order of `summary`, float64.

        Raises
        ------
        InputError, UsageError
            As `fit`.
        """
        check_is_fitted(self)
        windows = self._windows_of(X, t_r, reset=False)
        return self._filled(np.stack([self._describe(rows, its) for rows, its in windows]))

    def state_sequences(self, X: Any, t_r: Any = None) -> list[np.ndarray]:
        """Which state each window of each run is in.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of arrays (n_regions, n_times), or SignalDataset
            Runs.
        t_r : array-like of shape (n_runs,), optional
            Repetition time of each run in seconds.

        Returns
        -------
        list of int array of shape (n_windows,)
            Positions in ``states_``.

        Raises
        ------
        UsageError
            If no states were learned.
        """
        check_is_fitted(self)
        if "states" not in self.summary:
            raise UsageError("no states were learned; fit with summary=['states'] or more")
        return [self._assigned(rows) for rows, _ in self._windows_of(X, t_r, reset=False)]

    def state_matrices(self) -> np.ndarray:
        """The states as matrices of correlations, shape (n_states, n_regions, n_regions)."""
        check_is_fitted(self, "states_")
        values = np.tanh(self.states_) if self.fisher_z else self.states_
        return from_edges(values, len(self.region_names_), True, diagonal=1.0)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the features.

        Parameters
        ----------
        input_features : array-like of str, optional
            Names of the regions, instead of those learned in `fit`.

        Returns
        -------
        object array of shape (n_features,)
            "mean A~B", "std A~B", "share of state 1", "stay in state 1" (seconds), "changes of state" (a minute).
        """
        check_is_fitted(self)
        names = self.region_names_ if input_features is None else given_names(self, input_features)
        found: list[str] = []
        for what in self.summary:
            if what == "states":
                found += [f"{text} state {i + 1}" for text in ("share of", "stay in") for i in range(len(self.states_))]
                found.append("changes of state")
            else:
                found += [f"{what} {edge}" for edge in edge_names(names, True)]
        return np.array(found, dtype=object)

    def _windows_of(self, X: Any, t_r: Any, *, reset: bool) -> Iterator[tuple[np.ndarray, float]]:
        """Edges in each window of each run, and the run's seconds a volume."""
        if t_r is None and isinstance(X, SignalDataset):
            t_r = X.metadata.get("t_r", X.info.t_r)
        if t_r is None:
            if self.sfreq is None:
                raise UsageError(
                    "DynamicConnectivity needs to know the repetition time: pass sfreq=1/t_r, or t_r= of each run "
                    "(through pipelines by metadata routing)"
                )
            t_r = 1 / self.sfreq
        seconds = np.asarray(t_r, dtype=np.float64)
        if not (np.isfinite(seconds).all() and (seconds > 0).all()):
            raise UsageError("repetition times must be positive numbers of seconds")
        if (far := seconds[(seconds > _SLOWEST) | (seconds < _FASTEST)]).size:
            raise UsageError(
                f"{float(far.flat[0]):g} s is no repetition time: t_r is in seconds, and sfreq is 1 / t_r in hertz "
                "(milliseconds? divide by 1000)"
            )
        place = -1
        for place, run in enumerate(checked_series(X, self, reset=reset, missing=self.missing)):
            if seconds.ndim and place >= len(seconds):
                break
            its = float(seconds[place] if seconds.ndim else seconds)
            yield self._windows(run, its, place), its
        if seconds.ndim and (seconds.ndim > 1 or len(seconds) != len(X)):
            raise UsageError(f"expected t_r to hold one number a run ({len(X)}), got shape {seconds.shape}")

    def _windows(self, run: np.ndarray, t_r: float, place: int) -> np.ndarray:
        """Edges in each window, shape (n_windows, n_edges)."""
        estimator = self.estimator
        if estimator == "auto":
            estimator = "empirical" if self.kind == "correlation" else "ledoit_wolf"
        length, step = self._samples(t_r)
        n_times = run.shape[1]
        if n_times == 1:  # an array of two axes: see checked_series
            length = 1
        elif n_times < length:
            raise InputError(
                f"expected runs as long as a window ({self.window:g} s, {length} volumes), run {place} has {n_times} "
                f"volumes; take a shorter window, or drop the run"
            )
        matrices = [
            connectivity_matrix(run[:, start : start + length], self.kind, estimator)
            for start in range(0, n_times - length + 1, step)
        ]
        rows = edges(np.stack(matrices), True)
        if self.missing == "raise" and np.isnan(rows).any():
            raise InputError(
                f"run {place} has a region that is constant throughout a window, whose connectivity is not defined; "
                "take longer windows, drop the run, or take missing='mean'"
            )
        return (fisher_z(rows) if self.fisher_z else rows).astype(np.float32)

    def _samples(self, t_r: float) -> tuple[int, int]:
        length = int(np.floor(self.window / t_r + 0.5))
        if length < 3:
            raise UsageError(f"a window of {self.window:g} s holds {length} volumes of {t_r:g} s; take a longer one")
        step = self.window / 2 if self.step is None else self.step
        return length, max(1, int(np.floor(step / t_r + 0.5)))

    def _learn_states(self, windows: list[np.ndarray]) -> np.ndarray:
        rows = np.concatenate([self._without_gaps(its) for its in windows])
        if len(rows) < self.n_states:
            raise InputError(f"expected at least {self.n_states} windows for as many states, got n_samples={len(rows)}")
        if (rows == rows[0]).all():  # nothing varies: one state, and others that are never visited
            return np.repeat(rows[:1], self.n_states, axis=0).astype(np.float64)
        found = KMeans(self.n_states, n_init=5, random_state=self.random_state).fit(rows)
        order = np.argsort(-np.bincount(found.labels_, minlength=self.n_states), kind="stable")
        return found.cluster_centers_[order].astype(np.float64)

    def _without_gaps(self, rows: np.ndarray) -> np.ndarray:
        if not np.isnan(rows).any():
            return rows
        known = np.where(np.isnan(self.window_means_), 0.0, self.window_means_)  # of an edge that no window has
        return np.where(np.isnan(rows), known.astype(rows.dtype), rows)

    def _assigned(self, rows: np.ndarray) -> np.ndarray:
        rows = self._without_gaps(rows).astype(np.float64)
        # squared distances without the rows' own norms, which are the same for all states
        return np.argmin((self.states_**2).sum(axis=1) - 2 * rows @ self.states_.T, axis=1)

    def _describe(self, rows: np.ndarray, t_r: float) -> np.ndarray:
        parts = []
        for what in self.summary:
            if what == "mean":
                parts.append(_mean_of_known([rows]))
            elif what == "std":
                parts.append(np.sqrt(_mean_of_known([(rows - _mean_of_known([rows])) ** 2])))
            else:
                parts.append(_stays(self._assigned(rows), len(self.states_), self._samples(t_r)[1] * t_r))
        return np.concatenate(parts)

    def _filled(self, features: np.ndarray) -> np.ndarray:
        if self.missing != "mean":
            return features
        return np.where(np.isnan(features), self.feature_means_, features)


def _stays(sequence: np.ndarray, n_states: int, step: float) -> np.ndarray:
    """Share of windows in each state, mean seconds of a stay in it (0 if never), and changes a minute."""
    share = np.bincount(sequence, minlength=n_states) / len(sequence)
    begins = np.concatenate([[0], np.flatnonzero(np.diff(sequence)) + 1])
    lengths = np.diff(np.concatenate([begins, [len(sequence)]]))
    visited = sequence[begins]
    visits = np.bincount(visited, minlength=n_states)
    stay = np.bincount(visited, weights=lengths, minlength=n_states) * step / np.maximum(visits, 1)
    changes = (len(begins) - 1) * 60 / (step * max(len(sequence) - 1, 1))
    return np.concatenate([share, stay, [changes]])


def _mean_of_known(parts: list[np.ndarray]) -> np.ndarray:
    """Mean of columns over the rows that have them; NaN where none has."""
    total = np.zeros(parts[0].shape[1])
    n = np.zeros(parts[0].shape[1])
    for rows in parts:
        total += np.nansum(rows, axis=0, dtype=np.float64)
        n += (~np.isnan(rows)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return total / n
