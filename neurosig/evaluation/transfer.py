"""`TransferStudy`: what training on other people brings, for networks and for classical pipelines, on the same trials.

The protocol of [1]_: k folds within each person; groups of people left out in turn, a network trained on all others,
and then trained on with each left-out person's own folds. Every condition is tested on the same trials:

==================  =============================================================================
condition           what is learned from
==================  =============================================================================
``within``          the person's training trials of the fold
``transfer_all``    everyone outside the person's group, then all layers on the person's training trials
``transfer_head``   the same, but only the last layer on the person's training trials
``direct``          everyone outside the person's group; no label of the person
==================  =============================================================================

A pipeline without a network has ``within`` and ``direct``. With `faster`, the trials tested in every condition,
``direct`` included, are cleaned by FASTER fitted on the signals of the person's own training trials of the fold.

References
----------
.. [1] Köllőd, Adolf, Iván, Márton & Ulbert (2023), Deep comparisons of Neural Networks from the EEGNet family,
   Electronics 12(12), 2743, doi:10.3390/electronics12122743; protocol from its authors' program.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import UsageError
from neurosig.evaluation.folders import folder_for_results
from neurosig.evaluation.progress import progress_bar
from neurosig.evaluation.request import Options, check_n_jobs, check_objects, open_datasets, read_specs
from neurosig.evaluation.store import FoldStore

if TYPE_CHECKING:
    from neurosig.evaluation.request import Entry
    from neurosig.evaluation.transfer_fits import Fit, Plan
    from neurosig.evaluation.transfer_results import TransferResults

__all__ = ["TransferStudy"]

FOLDS = ("auto", "run", "chronological", "session", "shuffled")
METRICS = ("accuracy", "balanced_accuracy")
# As the shipped pipelines that clean use it: of the signals alone, with no reference taken
FASTER_OPTIONS = {"variant": "mended", "interpolation": "auto", "output_reference": None, "few": "ignore"}
CLEANED = " (FASTER)"  # after the name of a pipeline that is studied without cleaning as well
_UNTOLD = ("pandas", "joblib")  # packages that no score depends on


class TransferStudy:
    """Compare learning within a person, transfer from others with fine-tuning, and direct transfer.

    Parameters
    ----------
    pipelines : dict of str to estimator, or path or name or list of these
        scikit-learn estimators by name, or pipelines from files as `neurosig.benchmark` takes them. Those whose last
        step is a network (parameters ``pretrained`` and ``trainable``, as `NetClassifier`) have all conditions, the
        others ``within`` and ``direct``.
    n_splits : int
        Number of chronological or shuffled folds; run-wise folds are one a run.
    leave_subjects : int, optional
        How many people are left out of pretraining at a time, in order. None takes the published ten, and a third of
        the people where these are fewer than thirty.
    folds : {"auto", "run", "chronological", "session", "shuffled"}
        Folds within a person, see `neurosig.evaluation.splits`. "auto" is what the dataset's manifest asks for; else
        runs where every run of everyone holds every class; else the published protocol's, shuffled class by class.
    seeds : sequence of int
        Every ``random_state`` of the pipelines, one study each; the folds stay the same.
    fine_tune : sequence of {"all", "head"}
        What is trained on after pretraining.
    direct : bool
        Whether to test without fine-tuning.
    window, window_step : float, optional
        Length and step in seconds of windows that trials are cut into, for every pipeline; without `window` trials
        stay whole, without `window_step` windows touch. The windows of a trial stay together everywhere.
    faster : bool or "both" or dict
        Clean by `FASTER`, fitted on training trials in each fold; a dictionary gives its options. Of people who are
        learned from, each is cleaned by what their own trials tell. Bad channels are made of good ones by splines where
        positions are known, by the signals or by names of the 10-05 system; elsewhere they become the mean of the good
        ones, and a warning of the results says so. "both" studies every pipeline without and with cleaning, side by
        side, but for dummies; the latter are named as "EEGNet (FASTER)".
    max_epochs : int, optional
        At most so many epochs for every network, whatever its pipeline says: how long a study takes.
    metric : {"accuracy", "balanced_accuracy"}
        The score.
    random_state : int
        Seed of shuffled folds.
    n_jobs : int
        Fits at once; -1 uses all cores.
    out : path, optional
        Folder for tables, for the ``store/`` of finished fits and for ``pretrained/`` networks. A call that was killed
        is repeated as it was and goes on where it stopped.
    groups : str or list of str, optional
        Named groups of pipelines from files.

    Raises
    ------
    UsageError
        Options that do not exist or do not fit together.
    LeakageError
        A pipeline that brings pretrained weights.

    Notes
    -----
    Differences from the published protocol: shuffled folds are balanced by class but no trials are dropped for that;
    FASTER is fitted in the folds, not before them; sessions of one person stay one person; the main score is that of
    trials (the mean over a trial's windows decides), the published one, of single windows, stands beside it. How long
    networks are trained is up to the pipelines; a validation part is a `NetClassifier`'s own, made of whole trials.

    Examples
    --------
    >>> from neurosig import load_pipelines, simulate_eeg
    >>> from neurosig.evaluation import TransferStudy
    >>> signals = simulate_eeg(n_subjects=3, n_sessions=1, n_runs=2, n_trials=10)
    >>> study = TransferStudy(load_pipelines(names="CSP+LDA"), leave_subjects=1, seeds=(0,))
    >>> study.run(signals).table.groupby("condition").size().to_dict()
    {'direct': 6, 'within': 6}
    """

    def __init__(
        self,
        pipelines: Any,
        *,
        n_splits: int = 5,
        leave_subjects: int | None = None,
        folds: str = "auto",
        seeds: Sequence[int] = (0, 1, 2),
        fine_tune: Sequence[str] = ("all", "head"),
        direct: bool = True,
        window: float | None = None,
        window_step: float | None = None,
        faster: bool | str | Mapping[str, Any] = False,
        max_epochs: int | None = None,
        metric: str = "accuracy",
        random_state: int = 42,
        n_jobs: int = 1,
        out: str | os.PathLike | None = None,
        groups: str | Sequence[str] | None = None,
    ):
        from neurosig.evaluation.transfer_network import check_fine_tune, check_not_pretrained

        self.pipelines = dict(pipelines) if isinstance(pipelines, Mapping) else pipelines
        if isinstance(self.pipelines, dict):
            check_objects(self.pipelines, {})
            for name, pipeline in self.pipelines.items():
                check_not_pretrained(name, pipeline)
        for what, value, allowed in (("folds", folds, FOLDS), ("metric", metric, METRICS)):
            if value not in allowed:
                raise UsageError(f"{what} must be one of {', '.join(allowed)}, got {value!r}")
        whole = {"n_splits": (n_splits, 2), "leave_subjects": (1 if leave_subjects is None else leave_subjects, 1),
                 "max_epochs": (1 if max_epochs is None else max_epochs, 1)}  # fmt: skip
        for what, (number, least) in whole.items():
            if not isinstance(number, int) or isinstance(number, bool) or number < least:
                raise UsageError(f"{what} must be a whole number, {least} or more, got {number!r}")
        for what, seconds in (("window", window), ("window_step", window_step)):
            if seconds is not None and not seconds > 0:
                raise UsageError(f"{what} must be a positive number of seconds, got {seconds!r}")
        if window_step is not None and window is None:
            raise UsageError("window_step is the step between windows; give window, their length in seconds, as well")
        check_n_jobs(n_jobs)
        self.seeds = _checked_seeds(seeds)
        self.fine_tune = check_fine_tune(fine_tune)
        self.n_splits, self.leave_subjects, self.folds = n_splits, leave_subjects, folds
        self.direct, self.window, self.window_step = bool(direct), window, window_step
        if not (isinstance(faster, bool | Mapping) or faster == "both"):
            raise UsageError(f'faster must be True, False, "both" or a dictionary of options of FASTER, got {faster!r}')
        self.faster = None if faster is False else {**FASTER_OPTIONS, **(faster if isinstance(faster, Mapping) else {})}
        self.both, self.max_epochs = faster == "both", max_epochs
        self.metric, self.random_state, self.n_jobs, self.out = metric, random_state, n_jobs, out
        self.groups = groups

    def run(
        self,
        dataset: Any,
        *,
        subjects: Iterable[str | int] | None = None,
        events: Any = None,
        data: str | os.PathLike | None = None,
        overwrite: bool = False,
        progress: bool | None = None,
        command: str | None = None,
        **processing: Any,
    ) -> TransferResults:
        """Run the study on one dataset.

        Parameters
        ----------
        dataset : str or path or Manifest or SignalDataset or moabb dataset
            As `neurosig.benchmark` takes it.
        subjects : list of str, optional
            Only these.
        events : list of str or dict, optional
            Events to decode, see `neurosig.open_dataset`.
        data : path, optional
            Folder that holds the files of named datasets.
        overwrite : bool
            Compute everything again.
        progress : bool, optional
            Show how far it is: True by a bar on terminals and by lines elsewhere, None by a bar on terminals only.
        command : str, optional
            How the report says that the results are made again.
        **processing
            Changes of the dataset's processing: ``tmin, tmax, fmin, fmax, resample, baseline, picks``.

        Returns
        -------
        TransferResults
            One row a person, fold, pipeline, seed and condition.

        Raises
        ------
        UsageError, InputError
            No such dataset or pipeline; data that cannot be studied so.
        LeakageError
            Folds or weights that would test on what was learned from.
        StorageError
            `out` cannot be written, or the disk is full; finished fits are kept.
        """
        (entry,) = open_datasets([dataset], data=data, events=events, subjects=subjects, processing=processing)
        objects = self.pipelines if isinstance(self.pipelines, dict) else None
        if objects is None:
            read_specs([entry], self.pipelines, self.groups)
        started = time.time()

        def study(folder: Path, store: FoldStore | None) -> TransferResults:
            plan, warnings = self._plan(entry, objects, subjects, processing, folder)
            records, kept = self._run_fits(plan, store, progress, overwrite)
            spent = {
                "created": time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(started)),
                "seconds": round(time.time() - started, 1),
                "seconds_fits": round(sum(record.get("seconds_all") or 0.0 for _, record in records), 1),
                "n_fits": len(records),
                "n_fits_kept": kept,
            }
            return self._results(entry, plan, records, warnings, spent, command)

        if self.out is None:
            with tempfile.TemporaryDirectory(prefix="neurosig-") as temporary:
                return study(Path(temporary), None)
        with folder_for_results(self.out, "store") as folder:
            results = study(folder, FoldStore(folder / "store").open())
            results.save(folder)
            return results

    def _plan(
        self, entry: Entry, objects: Any, subjects: Any, processing: Mapping[str, Any], folder: Path
    ) -> tuple[Plan, list[str]]:
        from neurosig.evaluation.identity import software
        from neurosig.evaluation.request import pipeline_digest
        from neurosig.evaluation.seen import check_parts, pretrained_parts
        from neurosig.evaluation.study import make_studies
        from neurosig.evaluation.transfer_data import Windows, leave_out, read_cohort
        from neurosig.evaluation.transfer_fits import Plan
        from neurosig.evaluation.transfer_network import check_not_pretrained

        # how trials are read is the benchmark's business; the folds are made from what was read
        options = Options("within_session", "chronological", None, None, self.random_state, "accuracy")
        studies = make_studies(entry, options, objects, {}, subjects, processing)
        if len(studies) > 1 or any(entry.in_bands(spec) for spec in entry.specs):
            raise UsageError("filter-bank pipelines are not part of a transfer study; leave them out")
        reader = studies[0]
        if reader.param_grid:
            raise UsageError(f"searches are not part of a transfer study; leave out {', '.join(reader.param_grid)}")
        for name, pipeline in reader.pipelines.items():
            check_not_pretrained(name, pipeline)
        cohort = read_cohort(entry, reader, self.folds, self.n_splits, self.random_state)
        people: dict[str, str | None] = {person.subject: person.identity for person in cohort.people}
        for name, pipeline in reader.pipelines.items():  # tokenizers, which may be pretrained
            way = "fit it in the folds: name its class, not its folder"
            parts = pretrained_parts(pipeline)
            cohort.warnings.extend(check_parts(name, parts, people, cohort.dataset, False, way))
        pipelines, cleaned = self._chosen(reader.pipelines)
        plan = Plan(
            cohort=cohort,
            pipelines=pipelines,
            digests={name: pipeline_digest(name, pipelines, {}) for name in pipelines},
            cleaned=cleaned,
            groups=leave_out(len(cohort.people), self.leave_subjects or min(10, max(1, len(cohort.people) // 3))),
            windows=Windows.of(self.window, self.window_step, cohort.sfreq, cohort.people[0].X.shape[2]),
            faster=self.faster,
            weights=folder / "pretrained",
            software={name: version for name, version in software().items() if name not in _UNTOLD},
        )
        return plan, [*reader.warnings, *cohort.warnings]

    def _chosen(self, pipelines: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str] | None]:
        """Pipelines with the epochs that were asked for, and which of them are cleaned (None: all or none)."""
        from neurosig.evaluation.transfer_network import kind_of, with_epochs

        chosen = {name: with_epochs(pipeline, self.max_epochs) for name, pipeline in pipelines.items()}
        if not self.both:
            return chosen, None
        both: dict[str, Any] = {}
        cleaned = set()
        for name, pipeline in chosen.items():
            both[name] = pipeline
            if kind_of(pipeline) == "chance":  # which sees no signals
                continue
            if f"{name}{CLEANED}" in chosen:
                raise UsageError(f'faster="both" names a pipeline "{name}{CLEANED}", but there is one; rename that')
            both[f"{name}{CLEANED}"] = pipeline
            cleaned.add(f"{name}{CLEANED}")
        return both, frozenset(cleaned)

    def _seeds_of(self, plan: Plan) -> dict[str, tuple[int, ...]]:
        """What has no ``random_state`` is fitted once, and stands for every seed."""
        from neurosig.evaluation.transfer_network import takes_seed

        return {name: self.seeds if takes_seed(p) else self.seeds[:1] for name, p in plan.pipelines.items()}

    def _run_fits(
        self, plan: Plan, store: FoldStore | None, progress: bool | None, overwrite: bool
    ) -> tuple[list[tuple[Fit, dict[str, Any]]], int]:
        """Every fit with its record, and how many were finished by an earlier call."""
        from neurosig.evaluation.transfer_fits import is_done

        fits = list(plan.fits(self._seeds_of(plan), self.fine_tune, self.direct))
        records: dict[str, dict[str, Any]] = {}
        kept = 0
        with progress_bar("transfer", progress, unit="fit") as report:
            for first in (True, False):  # fits that others start from, and those that start from nothing; then the rest
                waiting = []
                for job in (job for job in fits if (job.weights is None) is first):
                    record = None if store is None or overwrite else store.get(job.key)
                    broken = records.get(job.weights or "", {}).get("error")
                    if record is not None and is_done(plan, job, record):
                        records[job.key] = record
                        kept += 1
                    elif broken:
                        records[job.key] = _failed(job, f"pretraining failed: {broken}")
                    else:
                        waiting.append(job)
                        continue
                    report(1, len(fits))
                for record in _run(plan, waiting, store, self.n_jobs):
                    records[record["key"]] = record
                    report(1, len(fits))
        return [(job, records[job.key]) for job in fits], kept

    def _results(
        self,
        entry: Entry,
        plan: Plan,
        records: list[tuple[Fit, dict[str, Any]]],
        warnings: list[str],
        spent: Mapping[str, Any],
        command: str | None,
    ) -> TransferResults:
        from neurosig.evaluation.cards import pipeline_card
        from neurosig.evaluation.covariances import cells_caution
        from neurosig.evaluation.identity import versions
        from neurosig.evaluation.transfer_cards import pretrained_networks, write_cards
        from neurosig.evaluation.transfer_data import described
        from neurosig.evaluation.transfer_network import kind_of, settings
        from neurosig.evaluation.transfer_results import TransferResults
        from neurosig.evaluation.transfer_rows import make_table, told_by_fits

        specs = {spec.name: spec for spec in entry.specs}
        card: dict[str, Any] = {"name": entry.name}
        if entry.manifest is not None:
            stated = ("title", "description", "modality", "licence", "citation", "doi")
            card |= {name: getattr(entry.manifest, name) for name in stated}
            card["warnings"] = list(entry.manifest.warnings)
            if entry.manifest.processing is not None:
                card["processing"] = entry.manifest.processing.to_dict()
            if entry.manifest.adhoc:  # nobody has read what was found out just now
                told = [*entry.manifest.warnings, *cells_caution(entry.manifest, plan.pipelines)]
                warnings = [*(f"{entry.name}: {text}" for text in told), *warnings]
        people = plan.cohort.people
        meta = {
            "dataset": card | described(plan.cohort),
            "pipelines": [
                {
                    **pipeline_card(name, pipeline, None, specs.get(name.removesuffix(CLEANED) if self.both else name)),
                    "kind": kind_of(pipeline), "settings": settings(pipeline),
                    "cleaned": "FASTER, in each fold" if plan.faster_for(name) is not None else None,
                }
                for name, pipeline in plan.pipelines.items()
            ],
            "protocol": {
                "folds": plan.cohort.folds, "n_splits": self.n_splits, "leave_subjects": len(plan.groups[0]),
                "groups": [[people[place].subject for place in group] for group in plan.groups],
                "seeds": list(self.seeds), "fine_tune": list(self.fine_tune), "direct": self.direct,
                "window": self.window, "window_step": self.window_step, "metric": self.metric, "faster": self.faster,
                "faster_both": self.both, "max_epochs": self.max_epochs,
                "random_state": self.random_state,
            },
            "command": command or "",
            "versions": versions(),
            **spent,
            "n_jobs": self.n_jobs,
            "warnings": list(dict.fromkeys([*warnings, *told_by_fits(records)])),
        }  # fmt: skip
        table = make_table(entry.name, plan, records, self.seeds, self.metric)
        meta["pretrained"] = pretrained_networks(plan, records, table)
        if self.out is not None:
            write_cards(plan.weights, meta["pretrained"], meta)
        return TransferResults(table, meta)


def _run(plan: Plan, jobs: list[Fit], store: FoldStore | None, n_jobs: int) -> Iterator[dict[str, Any]]:
    from joblib import Parallel, delayed, effective_n_jobs

    from neurosig.evaluation.transfer_fits import run_fit

    run: Callable[..., dict[str, Any]] = run_fit
    if not jobs or effective_n_jobs(n_jobs) == 1:
        for job in jobs:
            yield run(plan, job, store)
        return
    parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    with contextlib.closing(parallel(delayed(run)(plan, job, store) for job in jobs)) as records:
        yield from records


def _failed(job: Fit, error: str) -> dict[str, Any]:
    return {"key": job.key, "error": error, "tested": [], "warnings": [], "seconds": None, "seconds_all": None}


def _checked_seeds(seeds: Any) -> tuple[int, ...]:
    listed = tuple(range(seeds)) if isinstance(seeds, int) and not isinstance(seeds, bool) else tuple(seeds)
    if not listed or not all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in listed):
        raise UsageError(f"seeds must be whole numbers, 0 or more, or how many there are, got {seeds!r}")
    return tuple(dict.fromkeys(listed))
