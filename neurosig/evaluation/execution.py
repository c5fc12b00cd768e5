"""Running folds: which are stored already, which are left, and in what order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neurosig.core.errors import InputError, LeakageError
from neurosig.core.files import digest
from neurosig.evaluation.fold import failed_unit, run_fold
from neurosig.evaluation.identity import array_digest, software
from neurosig.evaluation.pooled import PooledRunner, is_ragged
from neurosig.evaluation.proof import check_folds, needed_gap
from neurosig.evaluation.seen import check_recorded
from neurosig.evaluation.signal_facts import facts_digest, with_signal_facts
from neurosig.evaluation.store import FoldStore
from neurosig.evaluation.study import Study, load_unit

__all__ = ["run_study"]

_FORMAT = "neurosig fold 2"
_PROBES = 32  # with several jobs the first folds may be those that were in flight when a run was killed


@dataclass(frozen=True)
class _Job:
    """A fold to run: MOABB's task, and what its record says beside the scores."""

    data: tuple[Any, np.ndarray, pd.DataFrame]
    task: Mapping[str, Any]
    label: Mapping[str, Any]


def run_study(
    study: Study, store: FoldStore | None, n_jobs: int, report: Callable[[int, int], None], overwrite: bool = False
) -> list[dict[str, Any]]:
    """All records of a study, from the store or newly run.

    Parameters
    ----------
    study : Study
        What is run.
    store : FoldStore or None
        Where finished folds are kept and looked up.
    n_jobs : int
        Processes, as in joblib.
    report : callable
        Called with the number of folds done since the last call, and the number of folds expected in all.
    overwrite : bool
        Run all folds again.

    Returns
    -------
    list of dict
        See `neurosig.evaluation.tables.make_tables`.

    Raises
    ------
    InputError
        If no unit of the data can be split into folds; the message is the first one's.
    LeakageError
        If the folds of any unit would test on what was trained on.
    """
    from joblib import effective_n_jobs

    units = study.runner.units
    records: list[dict[str, Any]] = []
    failures: list[InputError] = []
    waiting: list[_Job] = []
    counts = _Counts(len(units), report)
    enough = 1 if effective_n_jobs(n_jobs) == 1 else 4 * effective_n_jobs(n_jobs)
    for number, unit in enumerate(units):
        try:
            found, jobs = _plan_unit(study, number, None if overwrite else store)
        except LeakageError:  # no flaw of one subject's data: folds that leak are worth nothing anywhere
            raise
        except InputError as error:
            failures.append(error)
            records += [failed_unit(unit, name, error) for name in study.pipelines]
            study.caution(f"left out: {error}")
            counts.unit(0, 0)
            continue
        if study.chosen is not None and store is not None:
            store.keep_kind_of_folds(study.chosen, study.options["folds"])
            study.chosen = None
        records += found
        counts.unit(len(found) + len(jobs), len(found))
        waiting += jobs
        if len(waiting) >= enough or number == len(units) - 1:
            for record in _run(waiting, store, n_jobs):
                records.append(record)
                counts.done(1)
            waiting = []
    for record in _run(waiting, store, n_jobs):  # jobs that wait because the last unit could not be split
        records.append(record)
        counts.done(1)
    if len(failures) == len(units):
        raise failures[0]
    order = {name: place for place, name in enumerate(study.pipelines)}
    return [{**record, "pipeline_order": order[record["pipeline"]]} for record in records]


class _Counts:
    """Folds done and expected: those of units not looked at yet are taken to be as many as in the others."""

    def __init__(self, n_units: int, report: Callable[[int, int], None]):
        self.n_units, self.report = n_units, report
        self.units = self.known = 0

    def unit(self, folds: int, stored: int) -> None:
        self.units += 1
        self.known += folds
        self.report(stored, round(self.known * self.n_units / self.units))

    def done(self, n: int) -> None:
        self.report(n, round(self.known * self.n_units / max(1, self.units)))


def _plan_unit(study: Study, number: int, store: FoldStore | None) -> tuple[list[dict[str, Any]], list[_Job]]:
    """Records that are stored, and jobs for the folds that are not."""
    unit = study.runner.units[number]
    found: dict[str, list[dict[str, Any]]] = {}
    if study.identity is not None and store is not None:
        base = _unit_key(study, unit, study.identity)
        found = {name: _stored(study, name, base, store) for name in study.pipelines}
        if all(_is_complete(records) for records in found.values()):
            return [record for records in found.values() for record in records], []
    *arrays, signals = study.preloaded.pop(number, None) or load_unit(study, unit)
    data: Any = tuple(arrays)
    check_recorded(study, data)
    identity = study.identity or digest(array_digest(_numbers(data[0])), array_digest(data[1]), _table_content(data[2]))
    bases = dict.fromkeys(study.pipelines, _unit_key(study, unit, identity))
    if study.identity is None:  # of the arrays alone: what else pipelines are told of them counts too
        told = {name: facts_digest(pipeline, signals) for name, pipeline in study.pipelines.items()}
        bases |= {name: digest(bases[name], facts) for name, facts in told.items() if facts is not None}
    if study.identity is None and store is not None:
        found = {name: _stored(study, name, bases[name], store) for name in study.pipelines}
    complete = {name: records for name, records in found.items() if _is_complete(records)}
    left = {
        name: with_signal_facts(pipeline, signals) for name, pipeline in study.pipelines.items() if name not in complete
    }
    done = [record for records in complete.values() for record in records]
    if not left:
        return done, []
    grids = {name: study.param_grid[name] for name in left if name in study.param_grid}
    tasks = study.runner.tasks(unit, data, left, grids, needed_gap(study, data[2]))
    check_folds(study, data[2], tasks)
    columns = [name for name in ("subject", "session", "site", "t_r") if name in data[2]]
    slim = (data[0], data[1], data[2][columns])
    n_folds = 1 + max((task["cv_ind"] for task in tasks), default=-1)
    stored = {(record["pipeline"], record["fold"]): record for name in left for record in found.get(name, ())}
    jobs = []
    weighed: set[tuple[str, Any]] = set()
    for task in tasks:
        # emptying the allocator slows a fold down, so that memory is measured once a row of the table
        row = (task["pipeline_name"], task["session"] if study.runner.averages_folds else task["cv_ind"])
        label = _label(study, task, data, bases[task["pipeline_name"]], n_folds) | {"weigh": row not in weighed}
        weighed.add(row)
        record = stored.get((label["pipeline"], label["fold"]))
        if record is not None and record["indices"] == label["indices"]:
            done.append(record)
        else:
            jobs.append(_Job(slim, task, label))
    return done, jobs


def _unit_key(study: Study, unit: list[Any], identity: str) -> str:
    used = {name: version for name, version in software().items() if name not in ("pandas", "joblib")}
    return digest(_FORMAT, identity, [str(subject) for subject in unit], dict(study.options), used)


def _fold_key(study: Study, pipeline: str, base: str, fold: int) -> str:
    return digest(base, study.digests[pipeline], fold, length=24)


def _stored(study: Study, pipeline: str, base: str, store: FoldStore) -> list[dict[str, Any]]:
    found = []
    fold, n_folds = 0, None
    while n_folds is None or fold < n_folds:
        record = store.get(_fold_key(study, pipeline, base, fold))
        if record is not None:
            found.append({**record, "pipeline": pipeline})
            n_folds = record["n_folds"]
        elif n_folds is None and fold >= _PROBES:
            break
        fold += 1
    return found


def _is_complete(records: list[dict[str, Any]]) -> bool:
    return bool(records) and len(records) == records[0]["n_folds"]


def _label(study: Study, task: Mapping[str, Any], data: tuple, base: str, n_folds: int) -> dict[str, Any]:
    """What a record says beside its scores."""
    X, y, metadata = data
    test = task["test_idx"]
    tested = metadata["session"].to_numpy()[test]
    sessions = np.unique(tested).tolist() if study.runner.scores_sessions else [task["session"]]
    groups = {str(name): test[tested == name] if study.runner.scores_sessions else test for name in sessions}
    counts = {name: _counts(y[positions], study.runner.regression) for name, positions in groups.items()}
    return {
        "key": _fold_key(study, task["pipeline_name"], base, task["cv_ind"]),
        "pipeline": task["pipeline_name"],
        "subject": str(task["subject"]),
        "fold": int(task["cv_ind"]),
        "n_folds": n_folds,
        "indices": [array_digest(np.asarray(task[name])) for name in ("train_idx", "calib_idx", "test_idx")],
        "test_counts": counts,
        "trial_counts": _trial_counts(study, metadata["subject"].to_numpy()[test]),
        "n_subjects": metadata["subject"].iloc[test].nunique(),
        **_independent(study, y, metadata, task),
        "n_train": len(task["train_idx"]),
        "n_channels": _shape(X)[0],
        "runner": type(study.runner),
    }


def _independent(study: Study, y: np.ndarray, metadata: pd.DataFrame, task: Mapping[str, Any]) -> dict[str, Any]:
    """What chance is reckoned by, where that is not the trials alone: people, and what predicting one number scores."""
    runner, test = study.runner, task["test_idx"]
    if not isinstance(runner, PooledRunner):
        return {}
    if not runner.regression:
        people = metadata["subject"].astype(str).to_numpy()[test]
        pairs = dict.fromkeys(zip(people.tolist(), y[test].tolist(), strict=True))
        if len(pairs) > len(set(people.tolist())):  # people of several labels: each run is a trial of its own
            return {}
        counts: dict[str, int] = {}
        for _, name in pairs:
            counts[str(name)] = counts.get(str(name), 0) + 1
        return {"people_counts": counts}
    if study.runner.paradigm.metric == "neg_mean_absolute_error":
        return {"chance": -float(np.abs(y[test] - np.median(y[task["train_idx"]])).mean())}
    return {}


def _trial_counts(study: Study, tested: np.ndarray) -> dict[str, list[int]]:
    """Trials found in the recordings of the tested subjects and trials kept of them, where the dataset counts them."""
    counts = getattr(study.runner.dataset, "trial_counts", None) or {}
    known = {str(subject): [int(n) for n in pair] for subject, pair in counts.items()}
    return {name: known[name] for name in map(str, dict.fromkeys(tested.tolist())) if name in known}


def _counts(y: np.ndarray, regression: bool) -> dict[str, int]:
    if regression:
        return {"trials": len(y)}
    names, counts = np.unique(y, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def _run(jobs: list[_Job], store: FoldStore | None, n_jobs: int) -> Iterator[dict[str, Any]]:
    """Run jobs; records come as they are finished."""
    from joblib import Parallel, delayed, effective_n_jobs

    if len(jobs) == 0:
        return
    if effective_n_jobs(n_jobs) == 1:
        for job in jobs:
            yield run_fold(*job.data, job.task, job.label, store)
        return
    parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    # the signals are arguments of their own, so that joblib maps them into the workers' memory instead of copying
    yield from parallel(delayed(run_fold)(*job.data, job.task, job.label, store) for job in jobs)


def _numbers(X: Any) -> np.ndarray:
    return X.get_data(copy=False) if hasattr(X, "get_data") else np.asarray(X)


def _shape(X: Any) -> tuple[int, int]:
    if is_ragged(X) and not hasattr(X, "get_data"):
        return tuple(map(int, X[0].shape))  # type: ignore[return-value]
    shape = X.shape if hasattr(X, "shape") else (len(X), X.info["nchan"], len(X.times))
    return int(shape[1]), int(shape[2])


def _table_content(metadata: pd.DataFrame) -> list:
    return [[str(value) for value in metadata[name]] for name in ("subject", "session", "run")]
