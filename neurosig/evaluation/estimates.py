"""What score to expect of one pipeline trained on everybody: folds of pooled data, scored person by person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from neurosig.core.log import progress

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["estimate_scores", "pooled_folds", "scoring_of"]

_NEW_PEOPLE_FOLDS = 5
_QUESTIONS = {
    "run": "new runs of the same people",
    "chronological": "other minutes of the same recordings",
    "shuffled": "trials drawn at random from the same recordings",
    "session": "new sessions of the same people",
    "subject": "new people",
}


def scoring_of(classes: Sequence[Any] | np.ndarray) -> str:
    """MOABB's choice: area under the ROC curve for two classes, accuracy for more."""
    return "roc_auc" if len(classes) == 2 else "accuracy"


def estimate_scores(
    estimator: Any,
    X: np.ndarray,
    y: np.ndarray,
    metadata: pd.DataFrame,
    *,
    kind: str = "auto",
    n_splits: int | None = None,
    classes: Sequence[str] | None = None,
    random_state: int = 42,
    n_jobs: int = 1,
    window: float | tuple[float, float] | None = None,
    show_progress: bool | None = None,
) -> list[dict[str, Any]]:
    """Scores to expect of `estimator` fitted on all of X: one entry a question, and "new people" where it can be asked.

    Parameters
    ----------
    estimator : scikit-learn estimator
        Fitted anew, on a clone, in every fold.
    X : array of shape (n_trials, n_channels, n_times)
        Signals.
    y : array of int of shape (n_trials,)
        Labels.
    metadata : pandas.DataFrame
        With the columns subject, session and run.
    kind, n_splits, random_state, window
        See `neurosig.evaluation.splits.make_folds`.
    classes : sequence of str, optional
        Names of the labels, for messages.
    n_jobs : int
        Folds evaluated at once.
    show_progress : bool, optional
        None shows a bar on terminals only.

    Returns
    -------
    list of dict
        ``question, folds, metric, mean, sd, n_scores, n_folds, n_trials, chance, chance_upper, scores``: one score for
        each fold and subject tested in it; area under the ROC curve for two classes, accuracy for more (as MOABB).
    """
    from neurosig.evaluation.splits import choose_folds

    kind = choose_folds(y, metadata) if kind == "auto" else kind
    named = y if classes is None else np.asarray(classes)[y]
    entries = []
    wanted = [(kind, n_splits)]
    n_subjects = metadata["subject"].nunique()
    if n_subjects > 1 and kind != "subject":
        wanted.append(("subject", min(_NEW_PEOPLE_FOLDS, n_subjects)))
    for name, splits in wanted:
        parts = pooled_folds(named, metadata, name, splits, random_state, window)
        entries.append(_score(estimator, X, y, metadata, parts, name, n_jobs, show_progress))
    return entries


def pooled_folds(
    y: np.ndarray,
    metadata: pd.DataFrame,
    kind: str,
    n_splits: int | None = None,
    random_state: int = 42,
    window: float | tuple[float, float] | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds for one model that is trained on everybody together.

    `make_folds` makes run-wise, chronological, shuffled and session-wise folds within each person. Here the first fold
    of every person makes the first pooled fold, and so on: what is tested is left out of all training.

    Parameters
    ----------
    y, metadata, kind, n_splits, random_state, window
        See `neurosig.evaluation.splits.make_folds`.

    Returns
    -------
    list of (train, test)
        Positions of the trials.
    """
    from neurosig.evaluation.splits import check_no_leakage, make_folds, overlapping

    if kind == "subject":
        return make_folds(y, metadata, kind, n_splits, random_state, window=window)
    columns = ["subject"] if kind == "session" else ["subject", "session"]
    part = metadata.groupby(columns, sort=False, dropna=False).ngroup().to_numpy()
    tests: list[list[tuple[np.ndarray, np.ndarray]]] = []
    for number in range(part.max() + 1):
        inside = np.flatnonzero(part == number)
        rows = metadata.iloc[inside]
        gap = overlapping(rows, window) if kind == "chronological" else 0
        for k, (train_, test) in enumerate(make_folds(y[inside], rows, kind, n_splits, random_state, gap=gap)):
            if k == len(tests):
                tests.append([])
            # beside what is tested, what the gap leaves out is not trained on
            tests[k].append((inside[test], np.delete(inside, train_)))
    folds = []
    for pieces in tests:
        test = np.sort(np.concatenate([tested for tested, _ in pieces]))
        train_ = np.setdiff1d(np.arange(len(y)), np.concatenate([left_out for _, left_out in pieces]))
        if window is not None and kind != "shuffled":
            check_no_leakage(metadata, train_, test, window)
        folds.append((train_, test))
    return folds


def _score(
    estimator: Any,
    X: np.ndarray,
    y: np.ndarray,
    metadata: pd.DataFrame,
    folds: list[tuple[np.ndarray, np.ndarray]],
    kind: str,
    n_jobs: int,
    show_progress: bool | None,
) -> dict[str, Any]:
    from joblib import Parallel, delayed

    from neurosig.evaluation.metrics import chance_level

    metric = scoring_of(np.unique(y))
    subjects = metadata["subject"].to_numpy()
    jobs = (delayed(_score_fold)(estimator, X, y, subjects, train_, test, metric) for train_, test in folds)
    done = progress(
        Parallel(n_jobs=n_jobs, return_as="generator")(jobs),
        total=len(folds),
        desc=f"{kind}-wise folds",
        unit="fold",
        show=show_progress,
    )
    scores = np.array([score for fold in done for score in fold])
    tested = np.concatenate([test for _, test in folds])
    chance = chance_level(y[tested], metric)
    return {
        "question": _QUESTIONS[kind],
        "folds": kind,
        "metric": metric,
        "mean": float(scores.mean()),
        "sd": float(scores.std(ddof=1)) if len(scores) > 1 else None,
        "n_scores": len(scores),
        "n_folds": len(folds),
        "n_trials": len(tested),
        "chance": float(chance.level),
        "chance_upper": float(chance.upper),
        "scores": scores.tolist(),
    }


def _score_fold(
    estimator: Any,
    X: np.ndarray,
    y: np.ndarray,
    subjects: np.ndarray,
    train_: np.ndarray,
    test: np.ndarray,
    metric: str,
) -> list[float]:
    """Score of each subject in the test part: pooling subjects would mix their different offsets into the ranking."""
    from sklearn.metrics import get_scorer

    fitted = clone(estimator).fit(X[train_], y[train_])
    scorer = get_scorer(metric)
    who = subjects[test]
    parts = [test[who == name] for name in dict.fromkeys(who)]
    return [float(scorer(fitted, X[part], y[part])) for part in parts]
