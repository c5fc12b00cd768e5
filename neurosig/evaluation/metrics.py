"""What a score is worth: chance level with its bound, improvement over chance, effect of transfer.

A decoder that ignores the signals does not score exactly at chance on a finite number of trials. `chance_level` gives
the score that it exceeds with a probability of at most `alpha`: from the binomial distribution for accuracy [1]_ and
from the null distribution of the Mann-Whitney statistic for the area under the ROC curve [2]_.

References
----------
.. [1] Combrisson & Jerbi (2015), Exceeding chance level by chance, J. Neurosci. Methods 250,
   doi:10.1016/j.jneumeth.2015.01.010
.. [2] Mann & Whitney (1947), On a test of whether one of two random variables is stochastically larger than the other,
   Ann. Math. Statist. 18, doi:10.1214/aoms/1177730491
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurosig.core.errors import InputError, UsageError

__all__ = [
    "ChanceLevel",
    "TransferEffect",
    "chance_level",
    "improvement_over_chance",
    "mean_chance_level",
    "transfer_effect",
]

METRICS = ("accuracy", "balanced_accuracy", "roc_auc")
REGRESSION = ("r2", "pearson", "neg_mean_absolute_error")  # of numbers as labels

# Up to this many pairs of trials (50 a class, say) the Mann-Whitney distribution is computed exactly; beyond it the
# normal approximation differs by less than 0.001 in AUC.
_EXACT_PAIRS = 2500


@dataclass(frozen=True)
class ChanceLevel:
    """What can be scored without looking at the signals.

    Parameters
    ----------
    level : float
        Expected score of the best decoder that ignores the signals: the share of the largest class for accuracy,
        1 / n_classes for balanced accuracy, 0.5 for the area under the ROC curve.
    upper : float
        Such a decoder scores above this with a probability of at most `alpha`.
    uniform : float
        1 / n_classes: the score of guessing all classes equally often (0.5 for the area under the ROC curve).
    sd : float
        Standard deviation of the score of such a decoder.
    n_trials : int
        Test trials that the bound rests on.
    alpha : float
        Probability of exceeding `upper` by chance.
    method : str
        "binomial", "Mann-Whitney, exact", or "normal".
    """

    level: float
    upper: float
    uniform: float
    sd: float
    n_trials: int
    alpha: float
    method: str


def chance_level(y: Any, metric: str = "accuracy", alpha: float = 0.05) -> ChanceLevel:
    """Chance level of a score and the bound that chance rarely exceeds.

    Parameters
    ----------
    y : array-like of shape (n_trials,) or mapping of class to count
        Labels of the tested trials, or how many there are of each class.
    metric : {"accuracy", "balanced_accuracy", "roc_auc"}
        The score.
    alpha : float
        Probability of exceeding the bound by chance (one-sided).

    Returns
    -------
    ChanceLevel
        Level and bound. The bound holds for trials that are scored independently, by a decoder trained on other trials.

    Raises
    ------
    InputError
        Fewer than two classes; not exactly two for "roc_auc".
    UsageError
        Unknown metric, or alpha outside (0, 1).
    """
    from scipy import stats

    _check(metric, alpha)
    counts = _counts(y)
    n_trials, n_classes = int(counts.sum()), len(counts)
    if metric == "roc_auc":
        if n_classes != 2:
            raise InputError(f"the area under the ROC curve is for two classes, got {n_classes}; use metric='accuracy'")
        first, second = int(counts[0]), int(counts[1])
        sd = float(np.sqrt((first + second + 1) / (12 * first * second)))
        if first * second <= _EXACT_PAIRS:
            below = np.cumsum(_mann_whitney(min(first, second), max(first, second)))
            # the smallest U with P(U' > U) <= alpha; the tolerance keeps rounding from skipping an exact quantile
            statistic = int(np.searchsorted(below, 1 - alpha - 1e-12))
            return ChanceLevel(0.5, statistic / (first * second), 0.5, sd, n_trials, alpha, "Mann-Whitney, exact")
        return ChanceLevel(0.5, _normal_bound(0.5, sd, alpha), 0.5, sd, n_trials, alpha, "normal")
    uniform = 1 / n_classes
    if metric == "accuracy":
        level = float(counts.max() / n_trials)
        upper = float(stats.binom.ppf(1 - alpha, n_trials, level)) / n_trials
        sd = float(np.sqrt(level * (1 - level) / n_trials))
        return ChanceLevel(level, upper, uniform, sd, n_trials, alpha, "binomial")
    # recalls of the classes are independent binomials under uniform guessing, their mean is close to normal
    sd = float(np.sqrt(np.sum(uniform * (1 - uniform) / counts)) / n_classes)
    return ChanceLevel(uniform, _normal_bound(uniform, sd, alpha), uniform, sd, n_trials, alpha, "normal")


def mean_chance_level(parts: Sequence[Any], metric: str = "accuracy", alpha: float = 0.05) -> ChanceLevel:
    """Chance level of a mean of scores: over subjects, or over the folds of one subject.

    Parameters
    ----------
    parts : sequence
        One entry a score: its test labels or class counts, as for `chance_level`.
    metric : {"accuracy", "balanced_accuracy", "roc_auc"}
        The score.
    alpha : float
        Probability of exceeding the bound by chance (one-sided).

    Returns
    -------
    ChanceLevel
        The normal bound for the mean of independent scores. Scores of folds that share training trials are not quite
        independent: take the bound over folds as an approximation. With one part, that part's own bound.

    Raises
    ------
    InputError
        No parts, or a part that `chance_level` refuses.
    """
    levels = [chance_level(part, metric, alpha) for part in parts]
    if not levels:
        raise InputError("the chance level of a mean needs at least one set of labels, got none")
    if len(levels) == 1:
        return levels[0]
    level = float(np.mean([one.level for one in levels]))
    sd = float(np.sqrt(np.sum([one.sd**2 for one in levels])) / len(levels))
    uniform = float(np.mean([one.uniform for one in levels]))
    n_trials = sum(one.n_trials for one in levels)
    return ChanceLevel(level, _normal_bound(level, sd, alpha), uniform, sd, n_trials, alpha, "normal")


def improvement_over_chance(score: Any, chance: Any, kind: str = "relative") -> Any:
    """How far a score lies above chance, comparable between data sets with different numbers of classes.

    Parameters
    ----------
    score : float or array-like
        Score or scores.
    chance : float, array-like or ChanceLevel
        Chance level, 1 / n_classes for balanced classes.
    kind : {"relative", "absolute", "normalised"}
        ``(score - chance) / chance``, ``score - chance``, or ``(score - chance) / (1 - chance)``: 0 at chance and 1
        for a perfect score.

    Returns
    -------
    float or array
        Of `score`'s shape.

    Raises
    ------
    UsageError
        Unknown kind, or a chance level outside (0, 1).
    """
    level = np.asarray(chance.level if isinstance(chance, ChanceLevel) else chance, dtype=float)
    if not np.all((level > 0) & (level < 1)):
        raise UsageError(f"a chance level lies between 0 and 1, got {np.array2string(level, threshold=5)}")
    scale = {"relative": level, "absolute": np.ones_like(level), "normalised": 1 - level}
    if kind not in scale:
        raise UsageError(f"kind must be one of {', '.join(scale)}, got {kind!r}")
    improvement = (np.asarray(score, dtype=float) - level) / scale[kind]
    return float(improvement) if improvement.ndim == 0 else improvement


@dataclass(frozen=True)
class TransferEffect:
    """What training on others brought each subject.

    Parameters
    ----------
    absolute : array of shape (n_subjects,)
        ``transfer - within``.
    relative : array of shape (n_subjects,)
        ``(transfer - within) / within``.
    mean, sd : float
        Of `absolute` over subjects; sd is NaN for a single subject.
    share_improved : float
        Share of subjects with a positive effect.
    n : int
        Number of subjects.
    """

    absolute: np.ndarray
    relative: np.ndarray
    mean: float
    sd: float
    share_improved: float
    n: int


def transfer_effect(within: Any, transfer: Any) -> TransferEffect:
    """Effect of transfer learning: a subject's score with pretraining on others minus that without.

    Parameters
    ----------
    within : array-like of shape (n_subjects,) or mapping or pandas.Series
        Scores of decoders trained on the subject alone.
    transfer : the same
        Scores of decoders pretrained on other subjects. Mappings and Series are matched by subject, arrays by position.

    Returns
    -------
    TransferEffect
        The effect for each subject, in the order of `within`, and its summary.

    Raises
    ------
    InputError
        Different subjects, no subject, or scores that are not finite numbers.
    """
    if hasattr(within, "keys") and hasattr(transfer, "keys"):
        subjects = list(within.keys())
        if different := set(subjects) ^ set(transfer.keys()):
            names = ", ".join(sorted(map(str, different))[:5])
            raise InputError(f"both sets of scores must be of the same subjects, only one of them has: {names}")
        within, transfer = [within[key] for key in subjects], [transfer[key] for key in subjects]
    before, after = np.asarray(within, dtype=float), np.asarray(transfer, dtype=float)
    if before.ndim != 1 or before.shape != after.shape or not len(before):
        raise InputError(f"expected one score a subject in both, got shapes {before.shape} and {after.shape}")
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise InputError("scores must be finite numbers, got NaN or infinity; leave failed subjects out of both")
    effect = after - before
    relative = np.divide(effect, before, out=np.full(len(effect), np.nan), where=before != 0)
    sd = float(effect.std(ddof=1)) if len(effect) > 1 else float("nan")
    improved = float((effect.round(12) > 0).mean())  # rounding of means over folds is no improvement
    return TransferEffect(effect, relative, float(effect.mean()), sd, improved, len(effect))


def _check(metric: str, alpha: float) -> None:
    if metric not in METRICS:
        raise UsageError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    if not 0 < alpha < 1:
        raise UsageError(f"alpha must lie between 0 and 1, got {alpha}")


def _counts(y: Any) -> np.ndarray:
    if isinstance(y, Mapping):
        counts = np.array([int(count) for count in y.values()])
        if (counts < 0).any():
            raise InputError(f"counts of trials must not be negative, got {counts.tolist()}")
        counts = counts[counts > 0]
    else:
        counts = np.unique(np.asarray(y), return_counts=True)[1]
    if len(counts) < 2:
        raise InputError(f"a chance level needs trials of at least two classes, got {len(counts)}")
    return counts


def _normal_bound(level: float, sd: float, alpha: float) -> float:
    from scipy import stats

    return float(min(1.0, level + stats.norm.ppf(1 - alpha) * sd))


@functools.lru_cache(maxsize=256)
def _mann_whitney(first: int, second: int) -> np.ndarray:
    """Probabilities of U = 0 .. first * second when the two samples do not differ.

    By Mann and Whitney's recursion on whether the largest of all values belongs to the first sample (it then exceeds
    all of the second, adding `second` to U) or to the second.
    """
    rows = [np.ones(1) for _ in range(second + 1)]  # no trial of the first class: U is 0
    for m in range(1, first + 1):
        new = [np.ones(1)]
        for n in range(1, second + 1):
            probability = np.zeros(m * n + 1)
            probability[n:] += rows[n] * (m / (m + n))
            probability[: m * (n - 1) + 1] += new[n - 1] * (n / (m + n))
            new.append(probability)
        rows = new
    return rows[second]
