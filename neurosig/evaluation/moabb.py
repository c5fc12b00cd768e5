"""MOABB's evaluations, taken fold by fold.

MOABB loads the data, makes the splits and evaluates a fold; neurosig only decides when each fold runs and keeps its
result, so that scores are MOABB's own. Everything in MOABB that is not public and that neurosig relies on is named in
this file and in `neurosig.evaluation.onsets`: ``_create_splitter``, ``_load_data``, ``_build_task_list`` and
``_aggregate_fold_results`` of the evaluations, and ``moabb.evaluations.base._evaluate_fold``.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from moabb.datasets.base import BaseDataset
from moabb.evaluations import CrossSessionEvaluation, CrossSubjectEvaluation, WithinSessionEvaluation
from moabb.evaluations.base import _evaluate_fold
from moabb.evaluations.protocols import CrossSubjectMode
from moabb.paradigms.base import BaseParadigm
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, LeaveOneGroupOut

from neurosig.core.errors import InputError, UsageError
from neurosig.core.signals import SignalSpec
from neurosig.evaluation.arrays import ArraysDataset, handed_over, told_name
from neurosig.evaluation.metrics import REGRESSION
from neurosig.evaluation.onsets import TrialOnsets
from neurosig.evaluation.splits import cv_arguments

__all__ = ["MoabbRunner", "cross_subject_modes", "select_subjects"]

_EVALUATIONS = {
    "within_session": WithinSessionEvaluation,
    "cross_session": CrossSessionEvaluation,
    "cross_subject": CrossSubjectEvaluation,
}


class MoabbRunner:
    """One MOABB evaluation of one dataset: its units of work, their data, and their folds.

    Parameters
    ----------
    dataset, paradigm : MOABB objects
        What is decoded, and how it is cut.
    evaluation : {"within_session", "cross_session", "cross_subject"}
        MOABB's evaluation.
    folds : str
        Kind of folds, see `neurosig.evaluation.splits`; not "auto".
    n_splits : int, optional
        Number of folds.
    cs_mode : str, optional
        What of the target subject is seen in training (cross-subject only).
    random_state : int or None
        Seed of shuffled folds and of grid searches.
    """

    def __init__(
        self,
        dataset: BaseDataset,
        paradigm: BaseParadigm,
        evaluation: str,
        folds: str,
        *,
        n_splits: int | None = None,
        cs_mode: str | None = None,
        random_state: int | None = 42,
    ):
        self.dataset = dataset
        self.paradigm = paradigm
        self.name = evaluation
        self.random_state = random_state
        self.regression = getattr(paradigm, "metric", None) in REGRESSION
        self._check(n_splits)
        options = _regression_folds(folds, n_splits, random_state) if self.regression else cv_arguments(folds, n_splits)
        if evaluation == "cross_subject":
            options["cs_mode"] = cs_mode or "train"
        with _no_result_file() as folder:
            self._moabb = _EVALUATIONS[evaluation](
                paradigm=paradigm,
                datasets=[dataset],
                random_state=random_state,
                hdf5_path=folder,
                **options,
            )
        self._moabb.hdf5_path = None
        self._cv_kwargs = self._moabb.cv_kwargs
        self._onsets = TrialOnsets(paradigm)
        self._moabb.paradigm = self._onsets.paradigm

    def _check(self, n_splits: int | None) -> None:
        dataset, n_subjects = self.dataset, len(self.dataset.subject_list)
        if not self.paradigm.is_valid(dataset):
            events = ", ".join(dataset.event_id)
            raise InputError(
                f"{told_name(dataset)} ({dataset.paradigm}; events {events}) does not fit "
                f"MOABB's {type(self.paradigm).__name__}; "
                "choose other events or another paradigm"
            )
        if self.name == "cross_session" and dataset.n_sessions < 2:
            raise InputError(
                f"cross_session needs at least two sessions of each subject, {told_name(dataset)} has "
                f"{dataset.n_sessions}; use within_session or cross_subject"
            )
        if self.name == "cross_subject" and n_subjects < 2:
            raise InputError(
                f"cross_subject needs at least two subjects, {told_name(dataset)} gives {n_subjects}; "
                "use within_session, or more subjects"
            )
        if self.name == "cross_subject" and n_splits is not None and n_splits > n_subjects:
            raise InputError(
                f"{n_splits} folds need as many subjects, {told_name(dataset)} gives {n_subjects}; use fewer folds"
            )

    @property
    def units(self) -> list[list[Any]]:
        """Groups of subjects whose folds are made from the same data: one subject each, where the evaluation allows."""
        subjects = list(self.dataset.subject_list)
        return [subjects] if self.name == "cross_subject" else [[subject] for subject in subjects]

    def load(self, unit: Sequence[Any], pipelines: Mapping[str, Any]) -> tuple[Any, np.ndarray, pd.DataFrame]:
        """Signals (microvolts for EEG), labels and metadata of a unit, as MOABB gives them to pipelines.

        Metadata have the column ``onset`` in seconds wherever the trials' places in their recordings are known.
        """
        subjects = list(unit)
        if isinstance(self.dataset, ArraysDataset):
            return self._moabb._load_data(self.dataset, dict(pipelines), None, None, subjects=subjects)
        self._onsets.forget()
        if len(self.paradigm.filters) > 1:
            # MOABB 1.7's evaluations would hand pipelines the first band alone; its paradigms hand over all of them
            X, y, metadata = self._moabb.paradigm.get_data(self.dataset, subjects)
        else:
            process = self._moabb.paradigm.make_process_pipelines(self.dataset)[0]
            X, y, metadata = self._moabb._load_data(self.dataset, dict(pipelines), process, None, subjects=subjects)
        return X, y, self._onsets.add_to(metadata)

    def signals(self) -> SignalSpec | None:
        """What is known about the signals that `load` gave last: channels, rate and unit as handed over."""
        if isinstance(self.dataset, ArraysDataset):
            return handed_over(self.dataset.signals)
        return self._onsets.spec(self.dataset)

    def tasks(
        self,
        unit: Sequence[Any],
        data: tuple[Any, np.ndarray, pd.DataFrame],
        pipelines: Mapping[str, Any],
        param_grid: Mapping[str, Mapping] | None,
        gap: int = 0,
    ) -> list[dict[str, Any]]:
        """MOABB's list of folds, one entry a fold and pipeline, to be given to `evaluate`.

        `gap` is the number of trials left out of training on each side of a chronological test block.

        Raises
        ------
        InputError
            If the trials cannot be split, with the subject and the reason.
        """
        X, y, metadata = data
        who = f"{told_name(self.dataset)}, subject {unit[0]}" if len(unit) == 1 else told_name(self.dataset)
        if not self.regression and len(np.unique(y)) < 2:
            raise InputError(f"{who}: one class only ({y[0]}); decoding needs trials of at least two")
        pipelines, param_grid = dict(pipelines), {name: dict(grid) for name, grid in (param_grid or {}).items()}
        if self.regression:  # MOABB's search stratifies by class, so it is replaced by one that does not
            inner = KFold(3, shuffle=True, random_state=self.random_state)
            scoring = self.paradigm.scoring
            for name, grid in param_grid.items():
                pipelines[name] = GridSearchCV(pipelines[name], grid, cv=inner, scoring=scoring)
            param_grid = {}
        plan = dict.fromkeys(unit, pipelines)
        if gap:
            self._moabb.cv_kwargs = {**self._cv_kwargs, "gap": gap}
        splitter = self._moabb._create_splitter()
        self._moabb.cv_kwargs = self._cv_kwargs
        try:
            tasks = self._moabb._build_task_list(
                self.dataset, X, y, metadata, splitter, plan, pipelines, param_grid or None
            )
        except InputError as error:
            raise InputError(f"{who}: {error}") from error
        except ValueError as error:
            fewest = "" if self.regression else f" (trials a class: {_class_counts(y)})"
            raise InputError(
                f"{who}: cannot make these folds: {error}{fewest}; use fewer folds or another kind"
            ) from error
        for task in tasks:
            task["dataset"] = None  # only passed through; it need not travel to the workers
            task["config"]["mne_labels"] = self.regression  # no encoding of numbers
        return tasks

    @property
    def averages_folds(self) -> bool:
        """Whether a row of the table is the mean over the folds of a session."""
        return bool(self._moabb._aggregate_folds)

    @property
    def scores_sessions(self) -> bool:
        """Whether a fold is scored apart for each session it tests."""
        return bool(self._moabb._score_per_session)

    @staticmethod
    def evaluate(data: tuple[Any, np.ndarray, pd.DataFrame], task: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Fit and score one fold: MOABB's own function. One dictionary a scored session."""
        return _evaluate_fold(*data, **task)

    @staticmethod
    def average(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """MOABB's mean over folds, one dictionary a subject, session and pipeline."""
        return WithinSessionEvaluation._aggregate_fold_results(results)


def select_subjects(dataset: BaseDataset, subjects: Sequence[Any]) -> BaseDataset:
    """A shallow copy of a dataset with some of its subjects, compared by their text.

    Raises
    ------
    UsageError
        Naming a subject that the dataset does not have.
    """
    known = {str(subject): subject for subject in dataset.subject_list}
    if unknown := [str(subject) for subject in subjects if str(subject) not in known]:
        raise UsageError(f"{told_name(dataset)} has no subject {unknown[0]!r}; it has {', '.join(known)}")
    chosen = copy.copy(dataset)
    chosen.subject_list = [known[str(subject)] for subject in dict.fromkeys(subjects)]
    return chosen


def cross_subject_modes() -> list[str]:
    """Names of MOABB's target-access modes."""
    return [mode.value for mode in CrossSubjectMode]


class Blocks(KFold):
    """Contiguous blocks of trials whose labels are numbers.

    Parameters
    ----------
    n_splits : int
        Number of blocks.
    gap : int
        Trials left out of training on each side of the test block.
    """

    def __init__(self, n_splits: int = 5, gap: int = 0):
        super().__init__(n_splits)
        self.gap = gap

    def split(self, X, y=None, groups=None):
        """Yield (train, test) positions."""
        for train, test in super().split(X, y, groups):
            yield train[(train < test[0] - self.gap) | (train > test[-1] + self.gap)], test


def _regression_folds(folds: str, n_splits: int | None, random_state: int | None) -> dict[str, Any]:
    # the classifiers' splitters balance classes, which numbers do not have
    if folds == "run":
        return {"cv_class": LeaveOneGroupOut, "groups": "run"}
    if folds in ("session", "subject"):
        return {} if n_splits is None else {"cv_class": GroupKFold, "cv_kwargs": {"n_splits": n_splits}}
    if folds == "shuffled":
        return {
            "cv_class": KFold,
            "cv_kwargs": {"n_splits": n_splits or 5, "shuffle": True, "random_state": random_state},
        }
    return {"cv_class": Blocks, "cv_kwargs": {"n_splits": n_splits or 5}}


def _class_counts(y: np.ndarray) -> str:
    names, counts = np.unique(y, return_counts=True)
    return ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))


@contextmanager
def _no_result_file():
    """MOABB opens an HDF5 file for its results when an evaluation is made; ours are kept elsewhere."""
    with tempfile.TemporaryDirectory(prefix="neurosig-") as folder:
        yield folder
