"""Folds of a search, and the table of its candidates, ordered and ranked as by scikit-learn's ``GridSearchCV``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold, check_cv
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from neurosig.core.errors import InputError, UsageError
from neurosig.core.log import logger
from neurosig.preprocessing.augmented_scores import PairScores

__all__ = ["check_labels", "inner_folds", "results_table", "shuffles_anew"]


def check_labels(y: Any, n_trials: int) -> np.ndarray:
    """Labels as an array of shape (n_trials,), of two classes or more."""
    if y is None:
        raise UsageError("this search requires y to be passed, but the target y is None")
    y = column_or_1d(y, warn=True)
    if len(y) != n_trials:
        raise UsageError(f"expected as many labels as trials, got {len(y)} labels for {n_trials} trials")
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    if len(classes := np.unique(y)) < 2:
        raise UsageError(f"expected labels of at least two classes, got one class: {classes[0]}")
    return y


def inner_folds(
    cv: Any, X: np.ndarray, y: np.ndarray, groups: Any, random_state: int | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and test trials of each inner fold.

    Parameters
    ----------
    cv : int, splitter or iterable
        As in `AugmentedCovarianceSearch`.
    X, y, groups : array
        As in its `fit`.
    random_state : int or None
        Of the shuffling, where `cv` is an integer.

    Returns
    -------
    list of (array, array)
        At least one.

    Raises
    ------
    UsageError
        If there are no folds, or more than trials of a class.
    """
    if isinstance(cv, int | np.integer):
        fewest = int(np.unique(y, return_counts=True)[1].min())
        if cv < 2 or fewest < cv:
            raise UsageError(f"cv={cv} folds need at least that many trials of each class, and two; got {fewest}")
        cv = StratifiedKFold(int(cv), shuffle=True, random_state=random_state)
    splits = check_cv(cv, y, classifier=True).split(X, y, groups)
    folds = [(np.asarray(train), np.asarray(test)) for train, test in splits]
    if not folds:
        raise UsageError("cv gave no folds")
    return folds


def shuffles_anew(cv: Any, random_state: Any) -> bool:
    """Whether the folds of `inner_folds` are others each time."""
    whole = isinstance(cv, int | np.integer)
    seed = random_state if whole else getattr(cv, "random_state", 0)
    return (whole or getattr(cv, "shuffle", True)) and not isinstance(seed, int | np.integer)


def results_table(
    orders: Sequence[int],
    lags: Sequence[int],
    found: Mapping[tuple[int, int], PairScores],
    problems: Mapping[tuple[int, int], str],
    estimators: Sequence[str],
    settings: Sequence[dict],
    n_folds: int,
) -> dict[str, Any]:
    """Scores of all candidates.

    Parameters
    ----------
    orders, lags : sequence of int
        The grid; order 1 has the scores of the first lag at every lag.
    found : dict of (int, int) to PairScores
        Scores of pairs of order and lag.
    problems : dict of (int, int) to str
        Why other pairs could not be scored.
    estimators : sequence of str
        Estimators of the covariance.
    settings : sequence of dict
        Parameters of the classifier.
    n_folds : int
        Number of folds.

    Returns
    -------
    dict of str to list or array
        As ``cv_results_`` of `AugmentedCovarianceSearch`.

    Raises
    ------
    InputError
        If no candidate has a score.
    """
    from scipy.stats import rankdata

    params, scores, reasons = [], [], []
    for lag in lags:
        for order in orders:
            key = (order, lags[0] if order == 1 else lag)
            for i, estimator in enumerate(estimators):
                for j, setting in enumerate(settings):
                    whole = {"order": order, "lag": lag, "estimator": estimator, **setting}
                    params.append({name: _native(value) for name, value in whole.items()})
                    result = found.get(key)
                    scores.append(np.full(n_folds, np.nan) if result is None else result.scores[i, j])
                    reasons.append(problems.get(key, "") if result is None else result.problems[i])
    table = np.array(scores)
    means = np.average(table, axis=1)
    if np.isnan(means).all():
        reason = next(filter(None, reasons), "the metric is not defined")
        raise InputError(f"no pair of order and lag can be scored; the first: {reason}")
    skipped = sorted({(p["order"], p["lag"]) for p, mean in zip(params, means, strict=True) if np.isnan(mean)})
    if skipped:
        first = next(filter(None, reasons), "the metric is not defined")
        logger.info("%d pairs of order and lag have no score, the first: %s", len(skipped), first)
    # as GridSearchCV does it: candidates without a score come last, and the first of equals is chosen
    filled = np.nan_to_num(means, nan=np.nanmin(means) - 1)
    return {
        "params": params,
        **{f"split{k}_test_score": table[:, k] for k in range(n_folds)},
        "mean_test_score": means,
        "std_test_score": table.std(axis=1),
        "rank_test_score": rankdata(-filled, method="min").astype(np.int32),
        "problem": reasons,
    }


def _native(value: Any) -> Any:
    """A number of numpy as Python's, which JSON can write."""
    return value.item() if isinstance(value, np.generic) else value
