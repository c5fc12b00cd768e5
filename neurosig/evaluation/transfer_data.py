"""What a transfer study learns from and is tested on: people, their folds, who is left out together, windows, cleaning.

Everything here is settled before anything is fitted, and proven to leak nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.cut_trials import CutTrials
from neurosig.core.errors import InputError, LeakageError, UsageError
from neurosig.core.files import digest
from neurosig.core.signals import SignalSpec
from neurosig.core.windows import tell_of_gaps
from neurosig.evaluation.identity import array_digest
from neurosig.evaluation.leakage import check_no_leakage
from neurosig.evaluation.seen import person_digest
from neurosig.evaluation.signal_facts import common_facts, facts_digest, with_signal_facts
from neurosig.evaluation.splits import choose_folds, make_folds, overlapping, recommended_folds
from neurosig.evaluation.windows import is_number

if TYPE_CHECKING:
    import pandas as pd

    from neurosig.evaluation.request import Entry
    from neurosig.evaluation.study import Study

__all__ = ["Cohort", "Person", "Windows", "clean", "described", "leave_out", "read_cohort"]

Fold = tuple[np.ndarray, np.ndarray]
# FASTER by what it learned from and how: every pipeline and seed asks for the same
_LEARNED: dict[str, Any] = {}
_KEPT = 256


@dataclass(frozen=True)
class Person:
    """One subject's trials and the folds that they are tested in.

    Parameters
    ----------
    subject : str
        The subject.
    X : array of shape (n_trials, n_channels, n_times)
        Signals, microvolts for EEG.
    y : array of int of shape (n_trials,)
        Positions in `Cohort.classes`.
    metadata : DataFrame
        Subject, session, run and, where known, onset of each trial.
    folds : tuple of (train, test)
        Positions of trials; each trial is tested at most once.
    identity : str
        Digest of what was recorded: signals, labels and times, not the name.
    signals : SignalSpec or None
        Channels, rate and unit of `X`, where known.
    """

    subject: str
    X: np.ndarray
    y: np.ndarray
    metadata: pd.DataFrame
    folds: tuple[Fold, ...]
    identity: str
    signals: SignalSpec | None = None


@dataclass(frozen=True)
class Cohort:
    """The people of a study.

    Parameters
    ----------
    people : tuple of Person
        In the order of the dataset.
    classes : tuple of str
        Names of the classes.
    folds : str
        Kind of folds within a person.
    sfreq : float or None
        Sampling rate in Hz, where known.
    window : (float, float) or None
        First and last second of a trial.
    warnings : list of str
        What to keep in mind.
    signals : SignalSpec or None
        What is known of everyone's signals.
    dataset : str or None
        The name of the dataset.
    """

    people: tuple[Person, ...]
    classes: tuple[str, ...]
    folds: str
    sfreq: float | None
    window: tuple[float, float] | None
    warnings: list[str] = field(default_factory=list)
    signals: SignalSpec | None = None
    dataset: str | None = None


@dataclass(frozen=True)
class Windows:
    """How trials are cut into windows; all windows of a trial stay together.

    Parameters
    ----------
    length, step : int
        Samples.
    """

    length: int
    step: int

    @classmethod
    def of(cls, seconds: float | None, step: float | None, sfreq: float | None, n_times: int) -> Windows | None:
        """From seconds; None where trials are not cut.

        Raises
        ------
        UsageError
            If the rate is not known, the lengths are no numbers, or no window fits into a trial.
        """
        if seconds is None:
            return None
        if sfreq is None:
            raise UsageError("windows are given in seconds, but the sampling rate of these trials is not known")
        for name, value in (("window", seconds), ("window_step", step)):
            if value is not None and not is_number(value):
                raise UsageError(f"{name} must be a number of seconds, or None, got {value!r}")
        length = round(seconds * sfreq)
        stride = round((seconds if step is None else step) * sfreq)
        if length < 1 or stride < 1:
            raise UsageError(f"window and window_step must be at least one sample ({1 / sfreq:g} s)")
        tell_of_gaps(seconds, step, sfreq=sfreq)
        if length > n_times:
            raise UsageError(
                f"a window of {seconds:g} s ({length} samples) is longer than a trial ({n_times} samples, "
                f"{n_times / sfreq:g} s); use shorter windows or longer trials (tmin, tmax)"
            )
        return cls(length, stride)

    def cut(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Windows of all trials, (n_trials * n_windows, n_channels, length), and the trial of each."""
        view = np.lib.stride_tricks.sliding_window_view(X, self.length, axis=2)[:, :, :: self.step]
        n_trials, n_channels, n_windows = view.shape[:3]
        windows = np.ascontiguousarray(view.transpose(0, 2, 1, 3)).reshape(-1, n_channels, self.length)
        return windows, np.repeat(np.arange(n_trials), n_windows)

    def cut_for(self, pipeline: Any, X: np.ndarray) -> tuple[np.ndarray | CutTrials, np.ndarray]:
        """The same windows as `cut`, for a pipeline: a network with no step before it copies them batch by batch.

        Overlapping windows hold each sample many times. A network computes in float32, which these windows are.
        """
        steps = getattr(pipeline, "steps", [("", pipeline)])
        if len(steps) > 1 or not getattr(steps[-1][1], "_takes_cut_trials", False):
            return self.cut(X)
        windows = CutTrials(X, self.length, self.step)
        return windows, np.repeat(np.arange(len(X)), windows.n_windows)


def leave_out(n_subjects: int, size: int) -> list[tuple[int, ...]]:
    """Who is left out together: `size` subjects at a time, in order; the last group may be smaller.

    Raises
    ------
    InputError
        If no one is left to learn from.
    """
    if size >= n_subjects:
        raise InputError(
            f"leaving out {size} of {n_subjects} subjects at a time leaves no one to pretrain on; use leave_subjects "
            f"of at most {max(1, n_subjects // 2)}" + ("" if n_subjects > 1 else ", and more subjects")
        )
    return [tuple(range(start, min(start + size, n_subjects))) for start in range(0, n_subjects, size)]


def read_cohort(entry: Entry, study: Study, folds: str, n_splits: int, random_state: int | None) -> Cohort:
    """Read every person's trials and make their folds.

    Parameters
    ----------
    entry : Entry
        The dataset.
    study : Study
        How its trials are read.
    folds : {"auto", "run", "chronological", "session", "shuffled"}
        Kind of folds within a person.
    n_splits : int
        Number of chronological or shuffled folds.
    random_state : int or None
        Seed of shuffled folds.

    Returns
    -------
    Cohort
        People whose trials cannot be used are left out, and named in its warnings.

    Raises
    ------
    InputError
        If fewer than two people are left.
    LeakageError
        If a tested trial shares samples with a training trial.
    """
    from neurosig.evaluation.study import load_unit

    read, warnings = [], []
    for unit in study.runner.units:
        try:
            read.append((str(unit[0]), *load_unit(study, unit)))
        except LeakageError:
            raise
        except InputError as error:
            warnings.append(f"left out: {error}")
    if not read:
        raise InputError(warnings[0].removeprefix("left out: "))
    classes = tuple(sorted({str(label) for _, _, y, _, _ in read for label in np.unique(y)}))
    kind, told = _kind_of_folds(entry, folds, read)
    people: list[Person] = []
    for subject, X, y, metadata, signals in read:
        try:
            person = _person(subject, X, y, metadata, classes, kind, n_splits, random_state, study.window)
            people.append(dataclasses.replace(person, signals=signals))
        except LeakageError:
            raise
        except InputError as error:
            warnings.append(f"left out: {error}")
    if len(people) < 2:
        raise InputError(
            f"transfer needs at least two people with folds, {entry.name} has {len(people)}"
            + (f"; {warnings[0]}" if warnings else "")
        )
    _check_different(people)
    shapes = {person.X.shape[1:] for person in people}
    if len(shapes) > 1:
        raise InputError(
            "all people must have the same channels and samples to learn from one another, got "
            + " and ".join(f"{c} × {t}" for c, t in sorted(shapes))
            + "; choose common channels (picks) and one rate (resample)"
        )
    known = [person.signals for person in people if person.signals is not None]
    signals = common_facts(known) if len(known) == len(people) else None
    rate = _rate(entry, study, people[0])
    if signals is not None and signals.sfreq is None:
        signals = signals.replace(sfreq=rate)
    return Cohort(tuple(people), classes, kind, rate, study.window, told + warnings, signals, entry.own_name)


def clean(person: Person, trials: np.ndarray, fold: int | None, faster: Mapping[str, Any] | None) -> np.ndarray:
    """Some trials of a person, cleaned by FASTER where it is asked for.

    FASTER learns, without labels, from the person's training trials of the fold; where the person is one of those that
    are learned from (`fold` is None), from all of their trials.
    """
    if faster is None:
        return person.X[trials]
    from neurosig.preprocessing.faster import FASTER

    learn = np.arange(len(person.y)) if fold is None else person.folds[fold][0]
    cleaning = with_signal_facts(FASTER(**faster), person.signals)
    key = digest(person.identity, learn.tolist(), dict(faster), facts_digest(FASTER(**faster), person.signals))
    if key not in _LEARNED:
        while len(_LEARNED) >= _KEPT:
            _LEARNED.pop(next(iter(_LEARNED)))
        _LEARNED[key] = cleaning.fit(person.X[learn])
    return np.asarray(_LEARNED[key].transform(person.X[trials]))


def _person(
    subject: str,
    X: Any,
    y: np.ndarray,
    metadata: pd.DataFrame,
    classes: Sequence[str],
    kind: str,
    n_splits: int,
    random_state: int | None,
    window: tuple[float, float] | None,
) -> Person:
    X = np.asarray(X.get_data(copy=False) if hasattr(X, "get_data") else X)
    metadata = metadata.reset_index(drop=True)
    labels = np.asarray([str(label) for label in y])
    if lacking := sorted(set(classes) - set(labels.tolist())):
        raise InputError(f"subject {subject} has no trial of class {', '.join(lacking)}")
    gap = overlapping(metadata, window) if kind == "chronological" else 0
    several = {"chronological": n_splits, "shuffled": n_splits}.get(kind)
    folds = make_folds(labels, metadata, kind, several, random_state, gap=gap)
    for train, test in folds:
        if window is not None and ("onset" in metadata or kind in ("run", "session")):
            check_no_leakage(metadata, train, test, window)
    codes = np.searchsorted(np.asarray(classes), labels)
    return Person(subject, X, codes, metadata, tuple(folds), person_digest(X, labels.tolist(), metadata))


def _check_different(people: Sequence[Person]) -> None:
    """Refuse one person under two names: left out under one, learned from under the other."""
    seen: dict[str, str] = {}
    for person in people:
        content = array_digest(person.X)
        if content in seen:
            raise LeakageError(
                f"subjects {seen[content]} and {person.subject} have the same signals; one person under two names "
                "would be learned from and tested on: leave one of them out (subjects=...)"
            )
        seen[content] = person.subject


def _kind_of_folds(entry: Entry, folds: str, read: Sequence[tuple]) -> tuple[str, list[str]]:
    """What "auto" stands for: the manifest's word, else runs where all can be left out, else the paper's folds."""
    if folds != "auto":
        return folds, []
    stated = getattr(entry.manifest, "folds", None)
    recommended = recommended_folds(entry.manifest)
    if recommended == "subject":
        raise InputError(
            f"{entry.name}: only folds that keep each subject together mean anything here, so that there is nothing "
            "to learn within a person; use evaluation='cross_subject' of neurosig.benchmark"
        )
    if recommended != "auto":
        return recommended, []
    if all(choose_folds(y, metadata) == "run" for _, _, y, metadata, _ in read if len(np.unique(y)) > 1):
        return "run", []
    told = f"{entry.name}: folds are shuffled over trials, class by class, as in the published comparison"
    if stated == "run":
        told += ", because not every run holds every class"
    return "shuffled", [f"{told}; neighbouring trials share slow drifts, so that scores come out high"]


def _rate(entry: Entry, study: Study, person: Person) -> float | None:
    info = getattr(entry.given, "info", None)
    if info is not None:
        return None if info.sfreq is None else float(info.sfreq)
    resample = getattr(study.runner.paradigm, "resample", None)
    if resample is not None:
        return float(resample)
    if study.window is None:
        return None
    # MOABB includes both ends of a trial; a whole number of Hz is taken where it explains the samples
    rate = (person.X.shape[2] - 1) / (study.window[1] - study.window[0])
    return float(round(rate)) if abs(rate - round(rate)) < 0.02 * rate else float(rate)


def described(cohort: Cohort) -> dict[str, Any]:
    """What a report says about the people, JSON-like."""
    n_folds = [len(person.folds) for person in cohort.people]
    classes = {name: int(sum((p.y == code).sum() for p in cohort.people)) for code, name in enumerate(cohort.classes)}
    shape = cohort.people[0].X.shape
    return {
        "subjects": len(cohort.people),
        "trials": sum(len(person.y) for person in cohort.people),
        "classes": classes,
        "channels": int(shape[1]),
        "samples": int(shape[2]),
        "sfreq": cohort.sfreq,
        "folds": cohort.folds,
        "n_folds": max(n_folds) if len(set(n_folds)) == 1 else f"{min(n_folds)} to {max(n_folds)}",
        "window": None if cohort.window is None else list(cohort.window),
    }
