"""Ranks of pipelines over subjects: Friedman's test, and the difference of mean ranks that it takes (Nemenyi).

References
----------
Demšar (2006), Statistical comparisons of classifiers over multiple data sets, J. Mach. Learn. Res. 7, 1-30.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neurosig.core.errors import InputError, UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Ranking", "rank_pipelines"]


@dataclass(frozen=True)
class Ranking:
    """How pipelines rank over subjects.

    Parameters
    ----------
    mean_ranks : pandas.Series
        By pipeline, best first; 1 is the best rank, equal scores share the mean of their ranks.
    n : int
        Subjects with a score of every pipeline.
    statistic, p : float
        Friedman's chi-squared, corrected for ties, and its p; NaN for fewer than three pipelines or two subjects.
    critical_difference : float
        Mean ranks further apart differ by Nemenyi's test; NaN for one pipeline or fewer than two subjects.
    alpha : float
        Of that difference.
    """

    mean_ranks: pd.Series
    n: int
    statistic: float
    p: float
    critical_difference: float
    alpha: float


def rank_pipelines(scores: pd.DataFrame, alpha: float = 0.05) -> Ranking:
    """Rank pipelines over subjects.

    Parameters
    ----------
    scores : DataFrame of shape (n_subjects, n_pipelines)
        One score each; subjects that lack one are left out.
    alpha : float
        Of the critical difference.

    Returns
    -------
    Ranking
        Friedman's p is the chi-squared approximation, which is coarse for fewer than about ten subjects.

    Raises
    ------
    InputError
        If no subject has a score of every pipeline.
    """
    from scipy import stats

    if not 0 < alpha < 1:
        raise UsageError(f"alpha must lie between 0 and 1, got {alpha}")
    # rounding joins scores that differ only by the order of summation: they are ties
    complete = scores.dropna().round(12)
    n, k = complete.shape
    if n == 0 or k == 0:
        raise InputError("ranks need at least one subject with a score of every pipeline")
    ranks = complete.rank(axis=1, ascending=False).mean().sort_values(kind="stable")
    statistic = p = np.nan
    if k >= 3 and n >= 2:
        if (complete.nunique(axis=1) == 1).all():  # nothing but ties: no difference, and 0 / 0 in the formula
            statistic, p = 0.0, 1.0
        else:
            statistic, p = map(float, stats.friedmanchisquare(*complete.to_numpy().T))
    critical = np.nan
    if k >= 2 and n >= 2:
        studentized = float(stats.studentized_range.ppf(1 - alpha, k, np.inf)) / np.sqrt(2)
        critical = studentized * np.sqrt(k * (k + 1) / (6 * n))
    return Ranking(ranks, n, statistic, p, critical, alpha)
