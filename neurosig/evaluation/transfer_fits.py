"""The fits of a transfer study: which there are, what each depends on, and how one is run.

A record is kept for each fit, under a digest of all that it depends on: data, trials, pipeline, seed, code, versions,
and the weights that it starts from. Weights of pretrained networks are kept in a folder of the same name.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from neurosig.core.errors import LeakageError, NeurosigError, StorageError
from neurosig.core.files import digest
from neurosig.core.signals import SignalSpec
from neurosig.evaluation.fold import collected, one_line
from neurosig.evaluation.measure import count_parameters
from neurosig.evaluation.signal_facts import facts_digest, with_signal_facts
from neurosig.evaluation.store import FoldStore
from neurosig.evaluation.transfer_data import Cohort, Windows, clean
from neurosig.evaluation.transfer_network import (
    check_unseen,
    fit,
    is_network,
    is_saved,
    last_step,
    load_pretrained,
    save_pretrained,
    seeded,
    start_from,
    told,
)

__all__ = ["Fit", "Plan", "is_done", "run_fit"]

_FORMAT = "neurosig transfer 1"


@dataclass(frozen=True)
class Plan:
    """What all fits of a study share.

    Parameters
    ----------
    cohort : Cohort
        The people.
    pipelines : dict of str to estimator
        Not fitted.
    digests : dict of str to str
        Content of each.
    groups : list of tuple of int
        Who is left out together, as positions in ``cohort.people``.
    windows : Windows or None
        How trials are cut.
    faster : dict or None
        Options of FASTER, where it is fitted in the folds.
    weights : Path
        Folder of pretrained networks.
    software : dict
        Versions that scores depend on.
    cleaned : frozenset of str or None
        Pipelines that `faster` is for; None is all.
    """

    cohort: Cohort
    pipelines: Mapping[str, Any]
    digests: Mapping[str, str]
    groups: list[tuple[int, ...]]
    windows: Windows | None
    faster: Mapping[str, Any] | None
    weights: Path
    software: Mapping[str, str]
    cleaned: frozenset[str] | None = None

    def faster_for(self, name: str) -> Mapping[str, Any] | None:
        """Options of FASTER for a pipeline, None where its trials are not cleaned."""
        return self.faster if self.cleaned is None or name in self.cleaned else None

    def fits(self, seeds: Mapping[str, Sequence[int]], fine_tune: Sequence[str], direct: bool) -> Iterator[Fit]:
        """All fits, those that others start from before these; `seeds` are those of each pipeline."""
        people = self.cohort.people
        for name, pipeline in self.pipelines.items():
            for seed, place in itertools.product(seeds[name], range(len(people))):
                for fold in range(len(people[place].folds)):
                    yield self._fit("within", name, seed, (place,), fold=fold)
            if not is_network(pipeline):
                continue
            for seed, group in itertools.product(seeds[name], self.groups):
                yield self._fit("pretrain", name, seed, group)
        for name, pipeline in self.pipelines.items():
            network = is_network(pipeline)
            for seed, group in itertools.product(seeds[name], self.groups):
                weights = self._fit("pretrain", name, seed, group).key if network else None
                if direct:
                    yield self._fit("direct", name, seed, group, weights=weights)
                if not network:
                    continue
                for way, place in itertools.product(fine_tune, group):
                    for fold in range(len(people[place].folds)):
                        yield self._fit(f"transfer_{way}", name, seed, (place,), fold=fold, weights=weights)

    @property
    def signals(self) -> SignalSpec | float | None:
        """What pipelines are told of the signals: what is known, or the rate alone."""
        return self.cohort.sfreq if self.cohort.signals is None else self.cohort.signals

    @functools.cached_property
    def _told(self) -> dict[str, str | None]:
        """Digest of what each pipeline is told."""
        return {name: facts_digest(pipeline, self.signals) for name, pipeline in self.pipelines.items()}

    @functools.cached_property
    def _told_cleaning(self) -> str | None:
        """Digest of what FASTER is told of each person."""
        if self.faster is None:
            return None
        from neurosig.preprocessing.faster import FASTER

        cleaning = FASTER(**self.faster)
        told = [facts_digest(cleaning, person.signals) for person in self.cohort.people]
        return digest(told) if any(told) else None

    def others(self, group: Sequence[int]) -> list[int]:
        """Everyone who is not in a group."""
        return [place for place in range(len(self.cohort.people)) if place not in group]

    def _fit(
        self,
        kind: str,
        name: str,
        seed: int,
        tested: tuple[int, ...],
        *,
        fold: int | None = None,
        weights: str | None = None,
    ) -> Fit:
        people = self.cohort.people
        about: list[Any] = [_FORMAT, dict(self.software), self.digests[name], seed, list(self.cohort.classes)]
        about.append(self.cohort.sfreq)
        faster = self.faster_for(name)
        about += [told for told in (self._told[name], faster and self._told_cleaning) if told is not None]
        about += [kind if kind in ("pretrain", "direct") else "fold", weights]
        about += [None if self.windows is None else [self.windows.length, self.windows.step]]
        about += [None if faster is None else dict(faster)]
        if kind in ("pretrain", "direct"):
            about.append([people[place].identity for place in self.others(tested)])
        if kind != "pretrain":
            for place in tested:
                chosen = people[place].folds if fold is None else (people[place].folds[fold],)
                about.append([people[place].identity, [[t.tolist() for t in part] for part in chosen]])
        if kind.startswith("transfer"):
            about.append(kind)
        return Fit(kind, name, seed, tested, fold, digest(*about, length=24), weights)


@dataclass(frozen=True)
class Fit:
    """One fit.

    Parameters
    ----------
    kind : {"within", "pretrain", "direct", "transfer_all", "transfer_head"}
        What it learns from: a person's training trials; all trials of everyone outside a group (stored; or tested on
        each of the group); a person's training trials, from pretrained weights.
    pipeline : str
        Its name.
    seed : int
        For every ``random_state``.
    tested : tuple of int
        Places of the people who are tested, or left out.
    fold : int or None
        Fold within the person.
    key : str
        Digest of all that it depends on.
    weights : str or None
        Key of the pretraining that it starts from.
    """

    kind: str
    pipeline: str
    seed: int
    tested: tuple[int, ...]
    fold: int | None
    key: str
    weights: str | None = None


def run_fit(plan: Plan, job: Fit, store: FoldStore | None) -> dict[str, Any]:
    """Run one fit and store its record; runs in a worker.

    Whatever the pipeline raises becomes the record's ``error``. A failed fit is not stored: it runs again next time.

    Returns
    -------
    dict
        ``key, error, warnings, seconds`` (of fitting), ``seconds_all`` (with cleaning and testing), ``n_train,
        n_epochs, best_epoch, n_parameters``, and ``tested``: for each person and fold, the decision for every tested
        trial and every window of it, as positions in the classes.
    """
    record: dict[str, Any] = {"key": job.key, "error": None, "tested": [], "warnings": []}
    with collected() as caught:
        started = perf_counter()
        try:
            record |= _run(plan, job)
        except (LeakageError, StorageError):  # no flaw of one pipeline: nothing more is worth running
            raise
        except NeurosigError as problem:
            record["error"] = one_line(problem, name=False)
        except Exception as problem:  # a pipeline is foreign code, and one that fails must not stop the others
            record["error"] = one_line(problem)
        record["seconds_all"] = perf_counter() - started
        record.setdefault("seconds", record["seconds_all"])
    record["warnings"] = caught
    if store is not None and record["error"] is None:
        store.put(record)
    return record


def _run(plan: Plan, job: Fit) -> dict[str, Any]:
    people = plan.cohort.people
    pipeline = with_signal_facts(seeded(plan.pipelines[job.pipeline], job.seed), plan.signals)
    folder = plan.weights / (job.weights or job.key)
    if job.weights is not None:
        left_out = [people[place] for place in job.tested]
        check_unseen(folder, [p.subject for p in left_out], [p.identity for p in left_out])
    if job.kind == "direct" and job.weights is not None:
        fitted, record = load_pretrained(pipeline, folder), {"seconds": 0.0}
        n_train = sum(len(people[place].y) for place in plan.others(job.tested))
    else:
        X, y = _training(plan, job)
        n_train = len(y)
        if job.kind.startswith("transfer"):
            pipeline = start_from(pipeline, folder, job.kind.removeprefix("transfer_"))
        started = perf_counter()
        fitted = _fitted(pipeline, X, y, plan.windows)
        record = {"seconds": perf_counter() - started}
        del X
    if job.kind == "pretrain":
        others = [people[place] for place in plan.others(job.tested)]
        save_pretrained(fitted, folder, {
            "pipeline": job.pipeline, "seed": job.seed, "subjects": [p.subject for p in others],
            "data": [p.identity for p in others], "left_out": [people[place].subject for place in job.tested],
            "dataset": plan.cohort.dataset,
        })  # fmt: skip
        tested = []
    else:
        tested = [
            {"person": place, "fold": fold, **_decide(fitted, plan, place, fold, plan.faster_for(job.pipeline))}
            for place in job.tested
            for fold in (range(len(people[place].folds)) if job.fold is None else [job.fold])
        ]
    network = told(last_step(fitted))
    network["n_parameters"] = network["n_parameters"] or count_parameters(fitted)
    return {**record, **network, "n_train": n_train, "tested": tested}


def _training(plan: Plan, job: Fit) -> tuple[np.ndarray, np.ndarray]:
    people = plan.cohort.people
    if job.fold is not None:
        (place,) = job.tested
        train = people[place].folds[job.fold][0]
        return clean(people[place], train, job.fold, plan.faster_for(job.pipeline)), people[place].y[train]
    others = [people[place] for place in plan.others(job.tested)]
    faster = plan.faster_for(job.pipeline)
    signals = [clean(person, np.arange(len(person.y)), None, faster) for person in others]
    return np.concatenate(signals), np.concatenate([person.y for person in others])


def _fitted(pipeline: Any, X: np.ndarray, y: np.ndarray, windows: Windows | None) -> Any:
    if windows is None:
        return fit(pipeline, X, y, None)
    cut, trial = windows.cut_for(pipeline, X)
    return fit(pipeline, cut, y[trial], trial)


def _decide(fitted: Any, plan: Plan, place: int, fold: int, faster: Mapping[str, Any] | None) -> dict[str, Any]:
    """The class of each tested trial, and of each window: a trial's is that of the mean over its windows."""
    person = plan.cohort.people[place]
    X = clean(person, person.folds[fold][1], fold, faster)
    if plan.windows is None:
        return {"trials": np.asarray(fitted.predict(X), dtype=int).tolist(), "windows": None}
    cut, trial = plan.windows.cut_for(fitted, X)
    single = np.asarray(fitted.predict(cut), dtype=int)
    n_windows = len(cut) // len(X)
    if hasattr(fitted, "predict_proba"):
        mean = np.asarray(fitted.predict_proba(cut), dtype=float).reshape(len(X), n_windows, -1).mean(axis=1)
        decided = np.asarray(fitted.classes_)[mean.argmax(axis=1)]
    else:  # most votes; of equally many the first class
        votes = np.zeros((len(X), len(plan.cohort.classes)), dtype=int)
        np.add.at(votes, (trial, single), 1)
        decided = votes.argmax(axis=1)
    return {"trials": np.asarray(decided, dtype=int).tolist(), "windows": single.reshape(len(X), -1).tolist()}


def is_done(plan: Plan, job: Fit, record: Mapping[str, Any] | None) -> bool:
    """Whether a stored record stands for a fit; a pretraining also needs its weights."""
    return record is not None and (job.kind != "pretrain" or is_saved(plan.weights / job.key))
