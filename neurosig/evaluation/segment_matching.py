"""Time-segment matching: do two groups who went through the same story show the same pattern at the same moment?

No labels are needed. Each segment of one group is compared with all segments of the other, and counts as found where
the most similar one is that of the same time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurosig.core.errors import InputError, UsageError
from neurosig.core.runs import check_runs
from neurosig.core.signals import SignalDataset

__all__ = ["SegmentMatching", "matched_segments", "segment_matching"]

_DESIGNS = ("halves", "one_vs_rest")


@dataclass(frozen=True, eq=False)
class SegmentMatching:
    """How well segments are found in other people.

    Parameters
    ----------
    accuracy : float
        Share of segments found, averaged over both directions and all splits.
    ci_low, ci_high : float
        Interval: of "halves" the percentiles over splits of the same people, which says how much the split matters, not
        how other people would do; of "one_vs_rest" Student's t over people.
    chance : float
        What guessing gives: one over the number of candidates, averaged over segments.
    chance_upper : float
        Guessing finds more in one split and direction with a probability of at most 5 %, taking as many segments as do
        not overlap for independent (binomial).
    scores : array of shape (n_splits,)
        Share found in each split ("halves"), or of each person ("one_vs_rest").
    by_segment : array of shape (n_segments,)
        How often each segment was found.
    starts : array of shape (n_segments,)
        First volume of each segment.
    length : int
        Volumes in a segment.
    n_runs : int
        People.
    design : str
        "halves" or "one_vs_rest".
    """

    accuracy: float
    ci_low: float
    ci_high: float
    chance: float
    chance_upper: float
    scores: np.ndarray
    by_segment: np.ndarray
    starts: np.ndarray
    length: int
    n_runs: int
    design: str

    def __repr__(self) -> str:
        return (
            f"<SegmentMatching: {self.accuracy:.3f} of {len(self.starts)} segments found ({self.ci_low:.3f} to "
            f"{self.ci_high:.3f}), chance {self.chance:.3f}>"
        )


def segment_matching(
    X: Any,
    *,
    segment: float | None = None,
    step: float | None = None,
    t_r: float | None = None,
    design: str = "halves",
    n_splits: int = 100,
    standardize: bool = True,
    confidence: float = 0.95,
    random_state: int | None = 0,
) -> SegmentMatching:
    """Find segments of one group's mean in another's, for series or for embeddings.

    Parameters
    ----------
    X : array of shape (n_runs, n_features, n_times), sequence of arrays (n_features, n_times), or SignalDataset
        One run a person, all through the same stimulus and in step. Series of regions; or embeddings, one column a
        segment, with ``segment=None``. A region that a run lacks is NaN throughout.
    segment : float, optional
        Length of a segment: in volumes, or in seconds where `t_r` is known. None takes each column for a segment.
    step : float, optional
        From one segment to the next, in the same unit; the length of a segment by default. With less they overlap, and
        a segment's own neighbours that share volumes with it are no candidates.
    t_r : float, optional
        Seconds a volume. A `SignalDataset` tells its own.
    design : {"halves", "one_vs_rest"}
        Whether means of two halves of the people are compared, in `n_splits` random splits, or each person with the
        mean of all others.
    n_splits : int
        Random splits, for "halves".
    standardize : bool
        Whether each person's series are z-scored over the run first, so that nobody outweighs the mean.
    confidence : float
        Of the interval.
    random_state : int, optional
        Seed of the splits.

    Returns
    -------
    SegmentMatching

    Raises
    ------
    InputError
        If there are fewer than two people (four for "halves"), runs differ in length, or there are fewer than two
        segments.
    UsageError
        If an option is not what it must be.

    Notes
    -----
    Patterns are compared by Pearson correlation over all features and volumes of a segment, as in [1]_ and [2]_.

    References
    ----------
    .. [1] Haxby et al., "A common, high-dimensional model of the representational space in human ventral temporal
       cortex", Neuron 72, 2011, https://doi.org/10.1016/j.neuron.2011.08.026
    .. [2] Chen et al., "A reduced-dimension fMRI shared response model", NeurIPS 2015

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.evaluation.segment_matching import segment_matching
    >>> rng = np.random.default_rng(0)
    >>> story = rng.standard_normal((10, 120))
    >>> X = story + 2 * rng.standard_normal((8, 10, 120))
    >>> found = segment_matching(X, segment=10, n_splits=20)
    >>> found.accuracy > 0.9, round(found.chance, 3)
    (True, 0.083)
    """
    if design not in _DESIGNS:
        raise UsageError(f"design must be one of {', '.join(map(repr, _DESIGNS))}, got {design!r}")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1, got {confidence}")
    if n_splits < 1:
        raise UsageError(f"n_splits must be 1 or more, got {n_splits}")
    if t_r is None and isinstance(X, SignalDataset):
        t_r = X.info.t_r
    together = _together(X, standardize, 4 if design == "halves" else 2)
    length, hop = _volumes(segment, step, t_r)
    starts = np.arange(0, together.shape[2] - length + 1, hop)
    if len(starts) < 2:
        raise InputError(
            f"expected two segments or more, runs of {together.shape[2]} volumes hold {len(starts)} of {length}; take "
            "shorter ones"
        )
    found = np.array(
        [
            matched_segments(one, other, starts, length)
            for one, other in _pairs(together, design, n_splits, random_state)
        ]
    )  # of shape (splits, directions, segments)
    scores = found.mean(axis=(1, 2))
    low, high = _interval(scores, design, confidence)
    candidates = (~_overlaps(starts, length)).sum(axis=1)
    chance = float(np.mean(1 / candidates))
    return SegmentMatching(
        accuracy=float(scores.mean()),
        ci_low=low,
        ci_high=high,
        chance=chance,
        chance_upper=_upper(chance, together.shape[2] // length),
        scores=scores,
        by_segment=found.mean(axis=(0, 1)),
        starts=starts,
        length=length,
        n_runs=len(together),
        design=design,
    )


def matched_segments(one: np.ndarray, other: np.ndarray, starts: Sequence[int] | np.ndarray, length: int) -> np.ndarray:
    """Which segments of two series find each other.

    Parameters
    ----------
    one, other : array of shape (n_features, n_times)
        Mean series of two groups. Features that are NaN in either are left out.
    starts : sequence of int
        First volume of each segment.
    length : int
        Volumes in a segment.

    Returns
    -------
    bool array of shape (2, n_segments)
        Whether each segment of `one` was found in `other`, and of `other` in `one`. Ties find nothing.
    """
    starts = np.asarray(starts)
    there = ~(np.isnan(one).any(axis=1) | np.isnan(other).any(axis=1))
    rows = starts[:, None] + np.arange(length)
    patterns = [np.moveaxis(series[there][:, rows], 1, 0).reshape(len(starts), -1) for series in (one, other)]
    similarity = _unit_rows(patterns[0]) @ _unit_rows(patterns[1]).T
    own = similarity.diagonal().copy()
    rivals = np.where(_overlaps(starts, length) | np.eye(len(starts), dtype=bool), -np.inf, similarity)
    return np.stack([own > rivals.max(axis=1), own > rivals.max(axis=0)])


def _together(X: Any, standardize: bool, fewest: int) -> np.ndarray:
    """All runs as one array of float64, NaN where a region is missing."""
    runs = check_runs(X, allow_missing=True)
    if len(runs) < fewest:
        raise InputError(f"expected {fewest} people or more, got {len(runs)}")
    lengths = sorted({run.shape[1] for run in runs})
    if len(lengths) > 1:
        raise InputError(
            f"expected runs of one length, in step with the stimulus, got {lengths[0]} to {lengths[-1]} volumes; cut "
            "them to what all have heard or seen, and take no volumes out (scrubbing)"
        )
    together = np.stack(runs).astype(np.float64)
    if standardize and together.shape[2] > 1:
        together -= together.mean(axis=2, keepdims=True)
        spread = together.std(axis=2, keepdims=True)
        together /= np.where(spread > 0, spread, 1.0)
    return together


def _volumes(segment: float | None, step: float | None, t_r: float | None) -> tuple[int, int]:
    unit = 1.0 if t_r is None else float(t_r)
    if not unit > 0:
        raise UsageError(f"t_r must be a positive number of seconds, got {t_r}")
    if segment is None:
        return 1, 1
    lengths = []
    for name, value in (("segment", segment), ("step", segment if step is None else step)):
        volumes = int(np.floor(value / unit + 0.5))
        if volumes < 1:
            raise UsageError(f"{name} must be one volume or more, got {value}{'' if t_r is None else ' s'}")
        lengths.append(volumes)
    return lengths[0], lengths[1]


def _pairs(
    together: np.ndarray, design: str, n_splits: int, random_state: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    n = len(together)
    if design == "halves":
        rng = np.random.default_rng(random_state)
        for _ in range(n_splits):
            order = rng.permutation(n)
            yield _mean(together[order[: n // 2]]), _mean(together[order[n // 2 :]])
    else:
        for i in range(n):
            yield together[i], _mean(np.delete(together, i, axis=0))


def _mean(runs: np.ndarray) -> np.ndarray:
    """Mean over the runs that have a region."""
    there = ~np.isnan(runs)
    n = there.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(there, runs, 0.0).sum(axis=0) / n


def _unit_rows(patterns: np.ndarray) -> np.ndarray:
    if patterns.shape[1] < 2:
        raise InputError("expected patterns of two numbers or more that both groups have; a correlation needs them")
    centred = patterns - patterns.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(norm > 0, norm, 1.0)


def _overlaps(starts: np.ndarray, length: int) -> np.ndarray:
    """Pairs of segments that share volumes; a segment is not paired with itself."""
    apart = np.abs(starts[:, None] - starts)
    return (apart > 0) & (apart < length)


def _interval(scores: np.ndarray, design: str, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    if design == "halves":
        low, high = np.quantile(scores, [tail, 1 - tail])
        return float(low), float(high)
    from scipy import stats

    half = stats.t.ppf(1 - tail, len(scores) - 1) * scores.std(ddof=1) / np.sqrt(len(scores))
    return float(max(0.0, scores.mean() - half)), float(min(1.0, scores.mean() + half))


def _upper(chance: float, n_segments: int) -> float:
    from scipy import stats

    return float(stats.binom.ppf(0.95, n_segments, chance) / n_segments)
