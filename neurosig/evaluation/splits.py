"""Folds that keep together what belongs together, and the proof that they do.

Trials of one run share electrode impedance, arousal and slow drifts, so that folds shuffled over them measure something
else than decoding. The kinds of folds offered here:

===============  =====================================================  =======================================
kind             test part of a fold                                    made within
===============  =====================================================  =======================================
run              all trials of one run                                  each session of each subject
chronological    a contiguous block of trials                           each session of each subject
shuffled         every class' trials drawn at random (MOABB's default)  each session of each subject
session          all trials of one session                              each subject
subject          all trials of one subject (or of several)              the whole data set
===============  =====================================================  =======================================

Folds over sites, and over people who bear one label each, are made by `neurosig.evaluation.cohort_folds`.

"auto" is "run" where every session of every subject has at least two runs that all hold every class, else
"chronological"; it never shuffles. `cv_arguments` gives the same folds as arguments of MOABB's evaluation classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator, GroupKFold, LeaveOneGroupOut, StratifiedKFold

from neurosig.core.errors import InputError, UsageError
from neurosig.evaluation.leakage import check_no_leakage

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FOLDS",
    "ChronologicalFolds",
    "GroupFolds",
    "RunFolds",
    "check_no_leakage",
    "choose_folds",
    "cv_arguments",
    "make_folds",
    "overlapping",
    "recommended_folds",
]

FOLDS = ("run", "chronological", "shuffled", "session", "subject")
_WITHIN = {
    "run": ["subject", "session"],
    "chronological": ["subject", "session"],
    "shuffled": ["subject", "session"],
    "session": ["subject"],
    "subject": [],
}
_DEFAULT_SPLITS = 5

Fold = tuple[np.ndarray, np.ndarray]


class RunFolds(LeaveOneGroupOut):
    """Leave one run out; every run must hold every class.

    A scikit-learn splitter; in MOABB pass ``cv_class=RunFolds, groups="run"``.
    """

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """Yield (train, test) positions.

        Parameters
        ----------
        X : array-like of length n_trials
            Only its length is used.
        y : array-like of shape (n_trials,), optional
            Labels; every run must hold every class.
        groups : array-like of shape (n_trials,)
            The run of each trial.

        Raises
        ------
        InputError
            If there is one run only, or a run lacks a class.
        UsageError
            If `groups` is missing.
        """
        if groups is None:
            raise UsageError('run-wise folds need the run of each trial, got no groups; pass groups="run" to MOABB')
        groups = np.asarray(groups)
        y = np.zeros(len(groups)) if y is None else _check_classes(y)
        runs = np.unique(groups)
        if len(runs) < 2:
            raise InputError(
                f'run-wise folds need at least two runs in a session, got one ({runs[0]}); use folds="chronological"'
            )
        for run in runs:
            _check_part(y, groups == run, f"run {run}", 'use folds="chronological" or fewer runs')
        yield from super().split(X, y, groups)


class ChronologicalFolds(BaseCrossValidator):
    """Test on contiguous blocks of trials, train on all the others.

    Trials must come in the order of recording, which is how MOABB and neurosig's loaders give them.

    Parameters
    ----------
    n_splits : int
        Number of blocks.
    gap : int
        Trials left out of training on each side of the test block, so that windows which overlap, or slow drifts, do
        not connect the two.
    """

    def __init__(self, n_splits: int = _DEFAULT_SPLITS, gap: int = 0):
        self.n_splits = n_splits
        self.gap = gap

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds."""
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """Yield (train, test) positions.

        Parameters
        ----------
        X : array-like of length n_trials
            Only its length is used.
        y : array-like of shape (n_trials,), optional
            Labels; every block must hold every class.
        groups : object
            Ignored.

        Raises
        ------
        InputError
            If there are fewer trials than folds, one class only, or a block lacks a class.
        """
        n_trials = len(X)
        y = np.zeros(n_trials) if y is None else _check_classes(y)
        _check_n_splits(self.n_splits)
        if self.gap < 0:
            raise UsageError(f"gap must be a number of trials, 0 or more, got {self.gap}")
        _check_enough(n_trials, self.n_splits)
        positions = np.arange(n_trials)
        edges = np.linspace(0, n_trials, self.n_splits + 1).round().astype(int)
        advice = (
            'use fewer folds (n_splits), folds="run", or folds that leave out sessions or subjects; where classes come '
            "in blocks no folds within a session are fair"
        )
        for number, (start, stop) in enumerate(pairwise(edges), 1):
            test = (positions >= start) & (positions < stop)
            train = (positions < start - self.gap) | (positions >= stop + self.gap)
            _check_part(y, test, f"block {number} of {self.n_splits} (trials {start + 1} to {stop})", advice)
            _check_part(y, train, f"the training part of block {number}", "use a smaller gap or more trials")
            yield positions[train], positions[test]


class GroupFolds(GroupKFold):
    """Several subjects (or sessions) a fold: `sklearn.model_selection.GroupKFold` without shuffling.

    MOABB hands its seed to every splitter whose signature takes one, and GroupKFold then refuses it.

    Parameters
    ----------
    n_splits : int
        Number of folds.
    """

    def __init__(self, n_splits: int = _DEFAULT_SPLITS):
        super().__init__(n_splits)


def choose_folds(y: Any, metadata: pd.DataFrame) -> str:
    """What "auto" stands for on these trials.

    Parameters
    ----------
    y : array-like of shape (n_trials,)
        Labels.
    metadata : pandas.DataFrame
        With the columns subject, session and run.

    Returns
    -------
    {"run", "chronological"}
        "run" if every session of every subject has at least two runs that all hold every class, else "chronological".
        Subjects with one class only do not count: no folds can be made of their trials. Numbers as labels need no
        classes, only the runs.
    """
    y = np.asarray(y)
    numbers = y.dtype.kind == "f"
    if not numbers:
        _check_classes(y)
    for person in _parts(metadata, ["subject"]):
        n_classes = 1 if numbers else len(np.unique(y[person]))
        if n_classes < 2 and not numbers:
            continue
        for session in _parts(metadata.iloc[person], ["session"]):
            positions = person[session]
            runs = metadata["run"].to_numpy()[positions]
            names = np.unique(runs)
            if len(names) < 2 or any(len(np.unique(y[positions][runs == run])) < n_classes for run in names):
                return "chronological"
    return "run"


def recommended_folds(manifest: Any) -> str:
    """The folds that a dataset's manifest asks for: "session", "subject", "chronological", or else "auto".

    "auto" also stands where no manifest is, and for the runs that a manifest promises: the chosen events and subjects
    may not leave every class in each of them. Shuffled folds are never made unless they are asked for by name.
    """
    folds = getattr(manifest, "folds", None)
    return folds if folds in ("session", "subject", "chronological") else "auto"


def overlapping(metadata: pd.DataFrame, window: tuple[float, float] | float | None) -> int:
    """How many trials begin before an earlier one of their run has ended: the gap that chronological blocks need.

    Parameters
    ----------
    metadata : pandas.DataFrame
        With the columns subject, session and run; without ``onset`` nothing is known, and the gap is 0.
    window : float or (float, float) or None
        Length of a trial in seconds, or its span around the onset.

    Returns
    -------
    int
        Number of trials.
    """
    if window is None or "onset" not in metadata:
        return 0
    length = window[1] - window[0] if isinstance(window, tuple) else float(window)
    gap = 0
    for _, onsets in metadata.groupby(["subject", "session", "run"], sort=False)["onset"]:
        times = np.sort(onsets.to_numpy(dtype=float))
        begun = np.searchsorted(times, times + length - 1e-9)  # trials that begin before this one ends
        gap = max(gap, int((begun - np.arange(len(times)) - 1).max()))
    return gap


def cv_arguments(kind: str, n_splits: int | None = None, *, gap: int = 0) -> dict[str, Any]:
    """The same folds as arguments of a MOABB evaluation: ``WithinSessionEvaluation(..., **cv_arguments("run"))``.

    Parameters
    ----------
    kind : {"run", "chronological", "shuffled", "session", "subject"}
        Kind of folds; "auto" is resolved by `choose_folds` first. "run", "chronological" and "shuffled" belong to
        within-session, "session" to cross-session and "subject" to cross-subject evaluation.
    n_splits : int, optional
        Number of folds. None is 5 for "chronological" and "shuffled", and one a session or subject for the last two;
        run-wise folds are always one a run.
    gap : int
        Trials left out around a chronological test block.

    Returns
    -------
    dict
        ``cv_class``, ``cv_kwargs`` and ``groups``; an entry that would repeat MOABB's own default is left out.
    """
    _check_kind(kind, n_splits, gap)
    if kind == "run":
        return {"cv_class": RunFolds, "groups": "run"}
    if kind == "chronological":
        return {"cv_class": ChronologicalFolds, "cv_kwargs": {"n_splits": n_splits or _DEFAULT_SPLITS, "gap": gap}}
    if n_splits is None:
        return {}
    if kind == "shuffled":
        return {"cv_class": StratifiedKFold, "cv_kwargs": {"n_splits": n_splits}}
    return {"cv_class": GroupFolds, "cv_kwargs": {"n_splits": n_splits}}


def make_folds(
    y: Any,
    metadata: pd.DataFrame,
    kind: str = "auto",
    n_splits: int | None = None,
    random_state: int | None = 42,
    *,
    gap: int = 0,
    window: float | tuple[float, float] | None = None,
) -> list[Fold]:
    """Folds from the metadata.

    Parameters
    ----------
    y : array-like of shape (n_trials,)
        Labels.
    metadata : pandas.DataFrame of n_trials rows
        With the columns subject, session and run, in the order of recording; with ``onset`` (seconds) chronological
        blocks follow the onset within a run, and `window` can be checked.
    kind : {"auto", "run", "chronological", "shuffled", "session", "subject"}
        Kind of folds, see the module's table.
    n_splits : int, optional
        Number of folds; see `cv_arguments`.
    random_state : int or None
        Seed of the shuffled folds, which then are MOABB's to the last trial.
    gap : int
        Trials left out around a chronological test block.
    window : float or (float, float), optional
        Length of a trial in seconds, or its span around the onset. If given, the folds are proven to share no sample
        (see `check_no_leakage`), except shuffled ones, which were asked for by name.

    Returns
    -------
    list of (train, test)
        Positions (not index labels) of the trials; test parts of one kind never overlap.

    Raises
    ------
    InputError
        One class only, fewer trials than folds, a run or block without every class, one session or subject only.
    LeakageError
        If `window` is given and a test trial lies within a training trial.
    UsageError
        Unknown kind or impossible number.
    """
    y = np.asarray(y)
    if missing := [name for name in ("subject", "session", "run") if name not in metadata]:
        raise InputError(f"metadata must have the columns subject, session and run; missing: {', '.join(missing)}")
    if len(y) != len(metadata):
        raise InputError(f"expected one label a metadata row, got {len(y)} labels and {len(metadata)} rows")
    _check_classes(y)
    if kind == "auto":
        kind = choose_folds(y, metadata)
    _check_kind(kind, n_splits, gap)
    folds: list[Fold] = []
    for part in _parts(metadata, _WITHIN[kind]):
        for train, test in _split_part(kind, y[part], metadata.iloc[part], n_splits, random_state, gap):
            folds.append((part[train], part[test]))
    if window is not None and kind != "shuffled":
        for train, test in folds:
            check_no_leakage(metadata, train, test, window, disjoint="subject" if kind == "subject" else ())
    return folds


def _split_part(
    kind: str, y: np.ndarray, metadata: pd.DataFrame, n_splits: int | None, random_state: int | None, gap: int
) -> Iterator[Fold]:
    who = ", ".join(f"{name} {metadata[name].iloc[0]}" for name in _WITHIN[kind])
    try:
        if kind == "run":
            yield from RunFolds().split(y, y, metadata["run"].to_numpy())
        elif kind == "chronological":
            order = _recording_order(metadata)
            for train, test in ChronologicalFolds(n_splits or _DEFAULT_SPLITS, gap).split(order, y[order]):
                yield np.sort(order[train]), np.sort(order[test])
        elif kind == "shuffled":
            yield from _shuffled(y, n_splits or _DEFAULT_SPLITS, random_state)
        else:
            yield from _grouped(kind, y, metadata[kind].to_numpy(), n_splits)
    except InputError as error:
        if not who:
            raise
        raise InputError(f"{who}: {error}") from error


def _recording_order(metadata: pd.DataFrame) -> np.ndarray:
    """Runs as they come, trials of a run by onset where known."""
    if "onset" not in metadata:
        return np.arange(len(metadata))
    run = metadata.groupby("run", sort=False).ngroup().to_numpy()
    return np.lexsort((metadata["onset"].to_numpy(dtype=float), run))


def _shuffled(y: np.ndarray, n_splits: int, random_state: int | None) -> Iterator[Fold]:
    names, counts = np.unique(y, return_counts=True)
    _check_classes(y)
    _check_enough(len(y), n_splits)
    if counts.min() < n_splits:
        raise InputError(
            f"{n_splits} folds need {n_splits} trials of every class, got {counts.min()} of {names[counts.argmin()]}; "
            f"use at most {max(2, counts.min())} folds or more trials"
        )
    yield from StratifiedKFold(n_splits, shuffle=True, random_state=random_state).split(np.zeros(len(y)), y)


def _grouped(kind: str, y: np.ndarray, groups: np.ndarray, n_splits: int | None) -> Iterator[Fold]:
    names = np.unique(groups)
    if len(names) < 2:
        raise InputError(f"{kind}-wise folds need at least two {kind}s, got one ({names[0]}); use within-session folds")
    if n_splits is not None and n_splits > len(names):
        raise InputError(f"{n_splits} {kind}-wise folds need as many {kind}s, got {len(names)}; use fewer folds")
    splitter = LeaveOneGroupOut() if n_splits is None else GroupFolds(n_splits)
    for train, test in splitter.split(y, y, groups):
        advice = f"use fewer folds, so that each tests several {kind}s, or leave that {kind} out of the data"
        _check_part(y, test, f"{kind} {groups[test[0]]}", advice)
        _check_part(y, train, f"the training part for {kind} {groups[test[0]]}", f"add {kind}s")
        yield train, test


def _parts(metadata: pd.DataFrame, columns: list[str]) -> list[np.ndarray]:
    """Positions of the trials of each subject or session, in the order in which they come."""
    if not columns:
        return [np.arange(len(metadata))]
    number = metadata.groupby(columns, sort=False, dropna=False).ngroup().to_numpy()
    return [np.flatnonzero(number == value) for value in range(number.max() + 1)]


def _check_kind(kind: str, n_splits: int | None, gap: int) -> None:
    if kind not in FOLDS:
        raise UsageError(f"folds must be one of auto, {', '.join(FOLDS)}, got {kind!r}")
    if gap and kind != "chronological":
        raise UsageError(f'a gap belongs to folds="chronological", got folds={kind!r}')
    if n_splits is not None:
        _check_n_splits(n_splits)


def _check_n_splits(n_splits: int) -> None:
    if n_splits < 2:
        raise UsageError(f"the number of folds must be 2 or more, got {n_splits}")


def _check_classes(y: Any) -> np.ndarray:
    """The labels as an array."""
    y = np.asarray(y)
    names = np.unique(y)
    if len(names) < 2:
        found = f"one ({names[0]})" if len(names) else "no trials"
        raise InputError(f"decoding needs trials of at least two classes, got {found}; check the chosen events")
    return y


def _check_enough(n_trials: int, n_splits: int) -> None:
    if n_trials < 4:
        raise InputError(f"{n_trials} trials are too few for folds that hold every class; add runs or subjects")
    if n_trials < n_splits:
        raise InputError(f"{n_splits} folds need at least {n_splits} trials, got {n_trials}; use fewer folds")


def _check_part(y: np.ndarray, part: np.ndarray, what: str, advice: str) -> None:
    if lacking := sorted(set(y.tolist()) - set(y[part].tolist()), key=str):
        names = ", ".join(map(str, lacking))
        raise InputError(f"{what} has no trial of class {names}, but every fold needs every class; {advice}")
