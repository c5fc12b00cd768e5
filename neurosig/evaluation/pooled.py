"""Whole people left out together: folds over subjects or sites whose score is that of all who are tested in them.

It stands where MOABB's evaluations cannot: runs of different lengths, people who bear one label each, and sites. The
pieces are scikit-learn's, the columns of the results those of MOABB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.base import clone
from sklearn.metrics import accuracy_score, balanced_accuracy_score, mean_absolute_error, r2_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedGroupKFold
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.metadata_routing import get_routing_for_object

from neurosig.core.errors import InputError, LeakageError, UsageError
from neurosig.core.lazy_runs import LazyRuns
from neurosig.core.signals import SignalSpec
from neurosig.evaluation.arrays import ArraysDataset, handed_over, told_name
from neurosig.evaluation.cohort_folds import (
    USUAL_SPLITS,
    bears_one_label,
    default_splits,
    repetition_times,
    site_folds,
    site_names,
    subject_folds,
)
from neurosig.evaluation.identity import array_digest
from neurosig.evaluation.metrics import REGRESSION

__all__ = ["MetadataScorer", "PooledRunner", "asked", "is_pooled", "is_ragged", "routed", "taken"]

_NEEDS_ALL_CLASSES = ("roc_auc", "balanced_accuracy")


def is_ragged(X: Any) -> bool:
    """Whether X is a sequence of runs, which may differ in length, and not one array."""
    return not hasattr(X, "shape")


def is_pooled(signals: Any, evaluation: str) -> bool:
    """Whether a `SignalDataset` is evaluated here, and not by MOABB's evaluation of that name.

    Folds over sites are, and folds over subjects of fMRI, of runs of different lengths, and of people of one label
    each.
    """
    if evaluation == "cross_site":
        return True
    if evaluation != "cross_subject":
        return False
    return (
        signals.info.modality == "fmri"
        or is_ragged(signals.X)
        or (signals.y is not None and bears_one_label(signals.y, signals.metadata))
    )


class PooledRunner:
    """One evaluation of a `SignalDataset` in folds of whole people, fold by fold as `MoabbRunner` gives them.

    Parameters
    ----------
    dataset, paradigm : ArraysDataset, ArraysParadigm
        What is decoded, and how it is scored.
    evaluation : {"cross_subject", "cross_site"}
        What is left out: subjects, several in a fold, or sites.
    n_splits : int, optional
        Number of folds over subjects. By default 5 (fewer where a class has fewer people) where people bear one
        label each, else one a subject; one a site.
    cs_mode : None
        MOABB's target-access modes are not known here.
    random_state : int or None
        Seed by which subjects are dealt to folds, and of the folds inside of searches.
    """

    averages_folds = False
    scores_sessions = False

    def __init__(
        self,
        dataset: ArraysDataset,
        paradigm: Any,
        evaluation: str,
        *,
        n_splits: int | None = None,
        cs_mode: str | None = None,
        random_state: int | None = 42,
    ):
        if cs_mode not in (None, "train"):
            raise UsageError(
                f"cs_mode={cs_mode!r} is of MOABB's evaluation, which gives a pipeline trials of the one person who is "
                "tested; these folds test several people at once: leave it out"
            )
        self.dataset, self.paradigm, self.name = dataset, paradigm, evaluation
        self.random_state = random_state
        self.regression = paradigm.metric in REGRESSION
        table, y = self._people()
        alone = not bears_one_label(y, table)
        self.n_splits = n_splits or (table["subject"].nunique() if alone else default_splits(y, table))
        self._fewer = not alone and n_splits is None and evaluation == "cross_subject" and self.n_splits < USUAL_SPLITS
        one_each = alone and self.n_splits >= table["subject"].nunique()
        self.tested = "site" if evaluation == "cross_site" else "subject" if one_each else "fold"

    def _people(self) -> tuple[pd.DataFrame, np.ndarray]:
        """Metadata and labels of the subjects, without their signals."""
        signals = self.dataset.signals
        its = signals.metadata["subject"].isin(self.dataset.subject_list).to_numpy()
        return signals.metadata[its].reset_index(drop=True), np.asarray(signals.y)[its]

    def remarks(self) -> list[str]:
        """What is to be kept in mind with these folds: which are left out, and why.

        Raises
        ------
        InputError
            If the runs cannot be split so, or no fold can be scored.
        """
        table, y = self._people()
        classes = [] if self.regression else sorted({str(label) for label in y.tolist()})
        if len(classes) == 1:
            raise InputError(
                f"{told_name(self.dataset)}: all {len(y)} runs are of one class ({classes[0]}), decoding needs two or "
                "more; add people of another class, or take other labels (of fMRI another column, --labels)"
            )
        _, told = self._scored(self._folds(y, table), y)
        if self._fewer:
            name = told_name(self.dataset)
            told = [f"{name}: {self.n_splits} folds, as the rarest class has no more subjects", *told]
        return told

    @property
    def units(self) -> list[list[Any]]:
        """One group of all subjects: folds are made of everybody together."""
        return [list(self.dataset.subject_list)]

    def load(self, unit: Sequence[Any], pipelines: Mapping[str, Any]) -> tuple[Any, np.ndarray, pd.DataFrame]:
        """Runs in memory (an array, or a list where lengths differ), labels and metadata of the subjects."""
        X, y, metadata = self.paradigm.get_data(self.dataset, list(unit))
        return (X.load() if isinstance(X, LazyRuns) else X), y, metadata

    def signals(self) -> SignalSpec | None:
        """What is known about the signals."""
        return handed_over(self.dataset.signals)

    def tasks(
        self,
        unit: Sequence[Any],
        data: tuple[Any, np.ndarray, pd.DataFrame],
        pipelines: Mapping[str, Any],
        param_grid: Mapping[str, Mapping] | None,
        gap: int = 0,
    ) -> list[dict[str, Any]]:
        """One entry a fold and pipeline, to be given to `evaluate`.

        Sites that hold one class only are not tested where the score needs both (`remarks` says so); their people are
        trained on.

        Raises
        ------
        InputError
            If the runs cannot be split so, or no site can be tested.
        LeakageError
            If the very same run stands under two subjects' names, one of whom is tested.
        """
        X, y, metadata = data
        metric = self.paradigm.metric
        folds, _ = self._scored(self._folds(y, metadata), y)
        _check_same_runs(X, metadata, folds)
        plan = {name: self._searched(pipeline, (param_grid or {}).get(name)) for name, pipeline in pipelines.items()}
        tasks = []
        for number, (who, train, test) in enumerate(folds):
            for name, pipeline in plan.items():
                tasks.append({
                    "pipeline_name": name, "pipeline": pipeline, "train_idx": train, "test_idx": test,
                    "calib_idx": np.array([], dtype=int), "subject": who, "session": "", "cv_ind": number,
                    "split_metadata": {}, "metric": metric,
                })  # fmt: skip
        return tasks

    def _folds(self, y: np.ndarray, metadata: pd.DataFrame) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Folds with the name of what is tested."""
        try:
            return self._named_folds(y, metadata)
        except InputError as error:
            raise InputError(f"{told_name(self.dataset)}: {error}") from error

    def _named_folds(self, y: np.ndarray, metadata: pd.DataFrame) -> list[tuple[str, np.ndarray, np.ndarray]]:
        subjects = metadata["subject"].astype(str).to_numpy()
        if self.name == "cross_site":
            sites = site_names(metadata)
            named = [(str(sites[test[0]]), train, test) for train, test in site_folds(y, metadata)]  # type: ignore[index]
        elif self.tested == "subject":
            order = list(dict.fromkeys(subjects.tolist()))
            if len(order) < 2:
                raise InputError(f"folds over subjects need at least two subjects, got {len(order)}")
            named = [(who, np.flatnonzero(subjects != who), np.flatnonzero(subjects == who)) for who in order]
            for who, train, _ in () if self.regression else named:
                if lacking := sorted(set(y.tolist()) - set(y[train].tolist()), key=str):
                    raise InputError(
                        f"without subject {who} there is nobody of class {', '.join(map(str, lacking))} to learn "
                        "from; add subjects"
                    )
        else:
            made = subject_folds(y, metadata, self.n_splits, self.random_state)
            named = [(f"fold {place + 1}", train, test) for place, (train, test) in enumerate(made)]
        return named

    def _scored(
        self, named: list[tuple[str, np.ndarray, np.ndarray]], y: np.ndarray
    ) -> tuple[list[tuple[str, np.ndarray, np.ndarray]], list[str]]:
        """Folds in which the score is defined, and a line for each of the others."""
        metric = self.paradigm.metric
        if self.regression or metric not in _NEEDS_ALL_CLASSES:
            return named, []
        classes = set(y.tolist())
        scored, told = [], []
        for fold in named:
            here = set(y[fold[2]].tolist())
            if here == classes:
                scored.append(fold)
                continue
            told.append(
                f"{told_name(self.dataset)}: {self.tested} {fold[0]} holds {', '.join(sorted(map(str, here)))} only "
                f"({len(fold[2])} runs), where {metric} is not defined: it is trained on, but not tested, and counts "
                "in no mean (metric='accuracy' tests it too)"
            )
        if not scored:
            other = 'folds="subject", or ' if self.name == "cross_site" else ""
            raise InputError(
                f"{told_name(self.dataset)}: no {self.tested} holds runs of every class, so that {metric} is defined "
                f'in none; use {other}metric="accuracy"'
            )
        return scored, told

    def _searched(self, pipeline: Any, grid: Mapping | None) -> Any:
        if not grid:
            return pipeline
        seed = self.random_state
        inner: Any = GroupKFold(3) if self.regression else StratifiedGroupKFold(3, shuffle=True, random_state=seed)
        return GridSearchCV(pipeline, dict(grid), cv=inner, scoring=MetadataScorer(self.paradigm.metric))

    @staticmethod
    def evaluate(data: tuple[Any, np.ndarray, pd.DataFrame], task: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Fit on the training runs of a fold, score all tested runs together."""
        X, y, metadata = data
        train, test = task["train_idx"], task["test_idx"]
        if y.dtype.kind == "f":
            learned, wanted = y[train], y[test]
        else:
            codes = LabelEncoder().fit(y[train])  # of the training labels only, as MOABB does
            if strange := sorted(set(y[test].tolist()) - set(codes.classes_.tolist()), key=str):
                raise InputError(f"tested runs are of class {', '.join(map(str, strange))}, which training lacks")
            learned, wanted = codes.transform(y[train]), codes.transform(y[test])
        model = clone(task["pipeline"])
        known = routed(metadata)
        with config_context(enable_metadata_routing=True):
            given = asked(model, "fit", known, train)
            started = perf_counter()
            model.fit(taken(X, train), learned, **given)
            seconds = perf_counter() - started
            told = {name: values[test] for name, values in known.items() if name in MetadataScorer.takes}
            score = MetadataScorer(task["metric"])(model, taken(X, test), wanted, **told)
        return [{
            "score": score, "time": seconds, "session": task["session"], "n_samples": len(train),
            "n_samples_test": len(test), "n_samples_total": len(train) + len(test),
            "n_classes": len(np.unique(wanted)), "n_channels": n_regions(X),
        }]  # fmt: skip

    @staticmethod
    def average(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Nothing is averaged: each fold is a row."""
        return results


class MetadataScorer:
    """A scorer that hands the tested runs' subjects, sites and repetition times to the steps that ask for them.

    Scorers of scikit-learn route metadata to the score alone, so that a step such as `SiteHarmonizer` would not learn
    which site a run that it transforms is of.

    Parameters
    ----------
    metric : {"roc_auc", "accuracy", "balanced_accuracy", "r2", "pearson", "neg_mean_absolute_error"}
        The score; higher is better.
    """

    takes = ("subjects", "sites", "t_r")

    def __init__(self, metric: str):
        self.metric = metric

    def __repr__(self) -> str:
        return f"MetadataScorer({self.metric!r})"

    def get_metadata_routing(self) -> Any:
        """What it takes, for scikit-learn."""
        from sklearn.utils.metadata_routing import MetadataRequest

        request = MetadataRequest(owner=self)
        for name in self.takes:
            request.score.add_request(param=name, alias=True)
        return request

    def __call__(self, estimator: Any, X: Any, y: Any, **metadata: Any) -> float:
        """The score of a fitted estimator; NaN where it is not defined.

        Parameters
        ----------
        estimator : estimator
            Fitted.
        X : array or sequence of arrays
            Tested runs.
        y : array of shape (n_runs,)
            Their labels, coded as in the fit.
        **metadata : array of shape (n_runs,)
            ``subjects``, ``sites`` and ``t_r``.
        """
        method = "predict"
        if getattr(estimator, "refit", False):  # searches hand metadata on in their fit alone
            estimator = getattr(estimator, "best_estimator_", estimator)
        if self.metric == "roc_auc":
            method = "decision_function" if hasattr(estimator, "decision_function") else "predict_proba"
            if not hasattr(estimator, method):
                raise InputError(
                    f"roc_auc ranks decision values, which {type(estimator).__name__} does not give (neither "
                    "decision_function nor predict_proba); use metric='accuracy' or 'balanced_accuracy'"
                )
        given = asked(estimator, method, metadata, slice(None))
        said = np.asarray(getattr(estimator, method)(X, **given))
        if method == "predict_proba":
            said = said[:, 1]
        elif self.metric == "roc_auc" and said.ndim == 2:
            said = said[:, -1]
        return _score(self.metric, np.asarray(y), said)


def _score(metric: str, y: np.ndarray, said: np.ndarray) -> float:
    if metric in REGRESSION:
        said = np.ravel(said).astype(float)
        if metric == "pearson":
            constant = np.ptp(said) == 0 or np.ptp(y) == 0
            return float("nan") if constant else float(np.corrcoef(said, y)[0, 1])
        if metric == "r2":
            return float(r2_score(y, said)) if len(y) > 1 and np.ptp(y) > 0 else float("nan")
        return -float(mean_absolute_error(y, said))
    if metric == "roc_auc":
        return float(roc_auc_score(y, said)) if len(np.unique(y)) == 2 else float("nan")
    if metric == "balanced_accuracy":
        return float(balanced_accuracy_score(y, said))
    return float(accuracy_score(y, said))


def routed(metadata: pd.DataFrame) -> dict[str, np.ndarray]:
    """What steps of a pipeline may ask for by metadata routing, one entry a run.

    Parameters
    ----------
    metadata : DataFrame
        Of the runs.

    Returns
    -------
    dict of str to array of shape (n_runs,)
        ``subjects`` and, for splitters inside, the same as ``groups``; ``sites`` and ``t_r`` (seconds) where the
        metadata have the columns ``site`` and ``t_r`` and these are known for every run.
    """
    subjects = metadata["subject"].astype(str).to_numpy(dtype=object)
    known = {"subjects": subjects, "groups": subjects}
    sites = site_names(metadata)
    if sites is not None and all(sites):
        known["sites"] = sites.astype(object)
    times = repetition_times(metadata)
    if np.isfinite(times).all():
        known["t_r"] = times
    return known


def asked(estimator: Any, method: str, known: Mapping[str, np.ndarray], places: Any) -> dict[str, np.ndarray]:
    """Of what is known, that which a method of the estimator, or a step of it, asks for."""
    wanted = get_routing_for_object(estimator).consumes(method, set(known))
    return {name: known[name][places] for name in known if name in wanted}


def taken(X: Any, places: Any) -> Any:
    """Some of the runs, as what they come in: an array, a list, or runs on disk."""
    return [X[int(place)] for place in places] if isinstance(X, list) else X[places]


def n_regions(X: Any) -> int:
    """Number of channels or regions of runs."""
    return int(X[0].shape[0] if is_ragged(X) else X.shape[1])


def _check_same_runs(X: Any, metadata: pd.DataFrame, folds: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
    """Refuse a recording that stands under the names of two people, one trained on and one tested."""
    held: dict[str, list[int]] = {}
    for place in range(len(metadata)):
        held.setdefault(array_digest(X[place]), []).append(place)
    twice = [places for places in held.values() if len(places) > 1]
    for _, train, test in folds if twice else ():
        for places in twice:
            learned, tested = np.intersect1d(places, train), np.intersect1d(places, test)
            if len(learned) and len(tested):
                first, second = (metadata["subject"].iloc[int(found[0])] for found in (tested, learned))
                raise LeakageError(
                    f"subjects {first} and {second} hold the very same run, so that a tested one would be trained on; "
                    "leave one of them out"
                )
