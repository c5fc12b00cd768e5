"""A study: one dataset, one paradigm and the pipelines made for it, under one evaluation with settled folds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from neurosig.core.errors import InputError, LeakageError, NeurosigError, UsageError
from neurosig.core.files import digest
from neurosig.core.log import logger
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.evaluation.arrays import ArraysDataset, ArraysParadigm, told_name
from neurosig.evaluation.cohort_folds import bears_one_label
from neurosig.evaluation.fold import collected, one_line
from neurosig.evaluation.identity import software
from neurosig.evaluation.label_kinds import pipelines_for
from neurosig.evaluation.metrics import REGRESSION
from neurosig.evaluation.moabb import MoabbRunner, select_subjects
from neurosig.evaluation.paradigms import make_paradigm, paradigm_content, trial_window
from neurosig.evaluation.pooled import PooledRunner, is_pooled, is_ragged
from neurosig.evaluation.request import EVALUATIONS, Entry, Options, pipeline_digest
from neurosig.evaluation.seen import Part
from neurosig.evaluation.splits import choose_folds, recommended_folds
from neurosig.evaluation.store import FoldStore

__all__ = ["Study", "load_unit", "make_studies"]

_KEPT_BYTES = 2**28  # signals read to choose the folds that are kept for making them


@dataclass
class Study:
    """One dataset under one evaluation with the pipelines that fit it.

    Parameters
    ----------
    runner : MoabbRunner or PooledRunner
        The evaluation.
    pipelines : dict of str to estimator
        Not fitted.
    digests : dict of str to str
        Content of each pipeline, its search included.
    param_grid : dict
        Searches by pipeline name.
    identity : str or None
        Content of the data; None where only reading them tells, which is then done at each call.
    options : dict
        What else scores depend on, JSON-like.
    window : (float, float) or None
        First and last second of a trial, for the proof that folds share no sample.
    by_name : bool
        Whether these folds were asked for by name, which excuses shuffled ones.
    preloaded : dict
        Data of units that were read already, by the unit's number.
    chosen : str or None
        Key under which the store keeps the kind of folds that these data led to.
    pretrained : dict of str to list of Part
        What of each pipeline is trained already, see `neurosig.evaluation.seen`.
    tested : dict
        For the proof that such parts have seen nobody who is tested: the dataset's name, and whether they may have.
    """

    runner: MoabbRunner | PooledRunner
    pipelines: Mapping[str, Any]
    digests: Mapping[str, str]
    param_grid: Mapping[str, Any]
    identity: str | None
    options: Mapping[str, Any]
    window: tuple[float, float] | None = None
    by_name: bool = True
    warnings: list[str] = field(default_factory=list)
    unproven: bool = False
    preloaded: dict[int, Any] = field(default_factory=dict)
    chosen: str | None = None
    pretrained: dict[str, list[Part]] = field(default_factory=dict)
    tested: Mapping[str, Any] = field(default_factory=dict)

    def caution(self, text: str) -> None:
        """Keep a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)


def make_studies(
    entry: Entry,
    options: Options,
    objects: Mapping[str, Any] | None,
    param_grid: Mapping[str, Any],
    subjects: Any,
    processing: Mapping[str, Any],
    store: FoldStore | None = None,
) -> list[Study]:
    """The studies of one dataset: one, and another where pipelines want its trials in the bands of a filter bank.

    Parameters
    ----------
    entry : Entry
        The dataset.
    options : Options
        What is asked for.
    objects : dict of str to estimator, or None
        Pipelines; None takes those of ``entry.specs``.
    param_grid : dict
        Searches of `objects`.
    subjects : list or None
        Only these.
    processing : dict
        Changes of the processing, for MOABB's own datasets.
    store : FoldStore or None
        Where it is kept what "auto" folds were found to be.

    Returns
    -------
    list of Study
    """
    evaluation, folds, told = _decide_folds(options, entry)
    told = [*told, *entry.told]
    preloaded: dict[int, Any] = {}
    chosen = None
    studies = []
    for in_bands, pipelines, grids in _by_bands(entry, objects, param_grid):
        if isinstance(entry.given, SignalDataset):
            pipelines, unfit = pipelines_for(entry.given.y, pipelines, entry.name, chosen=objects is not None)
            grids = {name: grid for name, grid in grids.items() if name in pipelines}
            told += [] if entry.by_default else unfit
        dataset, paradigm, window = _data(entry, options, subjects, processing, in_bands)
        if folds == "auto" and options.n_splits is not None:
            folds = "chronological"  # runs are as many as they are
        if folds == "auto":
            about = {"paradigm": paradigm_content(paradigm)}
            runner = MoabbRunner(dataset, paradigm, evaluation, "chronological")
            probe = Study(runner, pipelines, {}, {}, entry.identity, about)
            folds, preloaded, chosen = _choose_from_data(probe, store)
            told += probe.warnings
        seeds: dict[str, Any] = {
            "n_splits": options.n_splits,
            "cs_mode": options.cs_mode,
            "random_state": options.random_state,
        }
        content = paradigm_content(paradigm)
        study = Study(
            runner=_runner(entry, dataset, paradigm, evaluation, folds, seeds),
            pipelines=pipelines,
            digests={name: pipeline_digest(name, pipelines, grids) for name in pipelines},
            param_grid=grids,
            identity=entry.identity,
            options={"evaluation": evaluation, "folds": folds, "paradigm": content, **seeds},
            window=window,
            by_name=options.folds != "auto",
            preloaded=preloaded,
            chosen=chosen,
        )
        preloaded = {}
        for line in [*told, *_remarks(study.runner)]:
            study.caution(line)
        if in_bands and {"fmin", "fmax"} & {name for name, value in processing.items() if value is not None}:
            study.caution(
                f"{', '.join(pipelines)}: the bands are those of {type(paradigm).__name__}, not fmin and fmax"
            )
        studies.append(study)
    return studies


def _runner(
    entry: Entry, dataset: Any, paradigm: Any, evaluation: str, folds: str, seeds: dict[str, Any]
) -> MoabbRunner | PooledRunner:
    """MOABB's evaluation, or ours where MOABB has none."""
    if not isinstance(entry.given, SignalDataset):
        if evaluation == "cross_site":
            raise UsageError(
                f"{entry.name}: folds over sites are for a SignalDataset whose metadata have the column 'site'"
            )
        return MoabbRunner(dataset, paradigm, evaluation, folds, **seeds)
    part = entry.given
    moabb_mode = seeds["cs_mode"] is not None and not is_ragged(part.X) and not bears_one_label(part.y, part.metadata)
    if is_pooled(part, evaluation) and not moabb_mode:
        return PooledRunner(dataset, paradigm, evaluation, **seeds)
    if is_ragged(part.X):
        raise InputError(
            f"{entry.name} holds runs of different lengths, which are evaluated in folds of whole people "
            '(folds="subject" or "site"); for others cut windows of one length first'
        )
    return MoabbRunner(dataset, paradigm, evaluation, folds, **seeds)


def _remarks(runner: MoabbRunner | PooledRunner) -> list[str]:
    """What is to be said about folds before they run; errors are raised here, before any long work."""
    return runner.remarks() if isinstance(runner, PooledRunner) else []


def _by_bands(
    entry: Entry, objects: Mapping[str, Any] | None, param_grid: Mapping[str, Any]
) -> list[tuple[bool, Mapping[str, Any], Mapping[str, Any]]]:
    """Pipelines and their searches: those that take one band, then those that take several."""
    if objects is not None:
        return [(False, objects, param_grid)]
    groups: list[tuple[bool, Mapping[str, Any], Mapping[str, Any]]] = []
    for in_bands in (False, True):
        if specs := [spec for spec in entry.specs if entry.in_bands(spec) is in_bands]:
            grids = {spec.name: spec.param_grid for spec in specs if spec.param_grid}
            groups.append((in_bands, {spec.name: spec.build() for spec in specs}, grids))
    return groups


def _data(
    entry: Entry, options: Options, subjects: Any, processing: Mapping[str, Any], in_bands: bool
) -> tuple[Any, Any, tuple[float, float] | None]:
    """Dataset and paradigm for MOABB, and the span of a trial."""
    window: tuple[float, float] | None
    if entry.manifest is not None and not isinstance(entry.given, SignalDataset):
        manifest = entry.manifest
        dataset = manifest.as_moabb()
        settings = {name: value for name, value in dataclasses.asdict(manifest.processing).items() if value is not None}
        paradigm = make_paradigm(
            dataset, events=manifest.event_names, metric=options.metric, filter_bank=in_bands, **settings
        )
        window = trial_window(paradigm, dataset)
    elif isinstance(entry.given, SignalDataset):
        dataset = ArraysDataset(entry.given)
        paradigm = ArraysParadigm(options.metric or _default_metric(entry.given))
        window = _window_of(entry.given)
        _check_metric(entry.given, paradigm.metric)
    else:
        dataset = entry.given
        paradigm = make_paradigm(dataset, metric=options.metric, filter_bank=in_bands, **processing)
        window = trial_window(paradigm, dataset)
    if subjects is not None and entry.manifest is None:
        dataset = select_subjects(dataset, list(subjects))
    return dataset, paradigm, window


def _decide_folds(options: Options, entry: Entry) -> tuple[str, str, list[str]]:
    """Evaluation and kind of folds of one dataset, "auto" where its data decide, and what is to be said about it."""
    recommended = recommended_folds(entry.manifest)
    if options.evaluation != "within_session":
        return options.evaluation, EVALUATIONS[options.evaluation][0], []
    if options.folds != "auto":
        return options.evaluation, options.folds, []
    signals = entry.given
    if isinstance(signals, SignalDataset) and signals.y is not None:
        reason = (
            "runs of different lengths are"
            if is_ragged(signals.X)
            else "people who bear one label each are"
            if bears_one_label(signals.y, signals.metadata)
            else ""
        )
        if reason:
            line = f"{entry.name}: {reason} evaluated in folds of whole people, so the evaluation is cross_subject"
            logger.info(line)
            return "cross_subject", "subject", [line]
    if recommended in ("subject", "session"):
        line = (
            f"{entry.name}: only folds that keep each {recommended} together mean anything here, "
            f"so the evaluation is cross_{recommended}"
        )
        logger.info(line)
        return f"cross_{recommended}", recommended, [line]
    return options.evaluation, recommended, []


def _choose_from_data(study: Study, store: FoldStore | None) -> tuple[str, dict[int, Any], str | None]:
    """Runs where those of every subject can be left out, else blocks; the data read, as far as they are few; a key.

    Nothing but the labels tells, so all subjects are read. What was found is kept in the store under the key, so that
    a repeated run need not read subjects whose folds are all stored.
    """
    runner = study.runner
    key = None
    if study.identity is not None and store is not None and not isinstance(runner.dataset, ArraysDataset):
        about = [study.identity, [str(unit) for unit in runner.units], dict(study.options), software()]
        key = digest("neurosig kind of folds", about, length=24)
        if stored := store.kind_of_folds(key):
            return stored, {}, key
    kind, unusable = None, None
    kept: dict[int, Any] = {}
    room = _KEPT_BYTES
    for number, unit in enumerate(runner.units):
        try:
            data = load_unit(study, unit)
            if not runner.regression and len(set(data[1].tolist())) < 2:
                raise InputError(
                    f"{told_name(runner.dataset)}, subject {unit[0]}: one class only ({data[1][0]}); "
                    "decoding needs trials of at least two"
                )
        except LeakageError:
            raise
        except InputError as error:  # said, and left out, when its turn comes
            unusable = unusable or error
            continue
        kind = choose_folds(data[1], data[2])
        size = getattr(data[0], "nbytes", room + 1)
        if size <= room:
            kept[number], room = data, room - size
        if kind != "run":
            break
    if kind is None:
        raise unusable or InputError(f"{told_name(runner.dataset)}: no subjects")
    return kind, kept, key


def _default_metric(signals: SignalDataset) -> str:
    if signals.y is not None and signals.y.dtype.kind == "f":
        return "r2"
    return "roc_auc" if signals.y is not None and len(set(signals.y.tolist())) == 2 else "accuracy"


def _check_metric(signals: SignalDataset, metric: str) -> None:
    numbers = signals.y is not None and signals.y.dtype.kind == "f"
    if numbers != (metric in REGRESSION):
        kind, fits = (
            ("numbers", "r2, pearson or neg_mean_absolute_error")
            if numbers
            else ("class names", "roc_auc, accuracy or balanced_accuracy")
        )
        whole = not numbers and signals.y is not None and signals.y.dtype.kind in "iu"
        hint = "; if these whole numbers are values to predict, give them as y.astype(float)" if whole else ""
        raise UsageError(
            f"the labels of {signals.name} are {kind}, for which the metric is {fits}, got {metric!r}{hint}"
        )
    if metric == "roc_auc" and signals.y is not None and len(set(signals.y.tolist())) > 2:
        raise UsageError(
            f"roc_auc is for two classes, {signals.name} has {len(set(signals.y.tolist()))}; use balanced_accuracy"
        )


def _window_of(signals: SignalDataset) -> tuple[float, float] | None:
    if signals.info.sfreq is None or "onset" not in signals.metadata:
        return None
    start = signals.info.tmin or 0.0
    return start, start + signals.X.shape[-1] / signals.info.sfreq


def load_unit(study: Study, unit: list[Any]) -> tuple[Any, np.ndarray, pd.DataFrame, SignalSpec | None]:
    """Signals, labels and metadata of a unit, and what is known of its signals; what goes wrong is said in one line.

    Raises
    ------
    InputError
        Naming the subject and the reason.
    """
    runner = study.runner
    who = f"{told_name(runner.dataset)}, subject {unit[0]}" if len(unit) == 1 else told_name(runner.dataset)
    try:
        with collected() as caught:
            X, y, metadata = runner.load(unit, study.pipelines)
    except (NeurosigError, MemoryError):
        raise
    except Exception as error:  # MOABB and mne raise a dozen kinds for unusable recordings
        raise InputError(f"{who}: cannot be read as trials: {one_line(error)}") from error
    for text in caught:
        study.caution(f"{told_name(runner.dataset)}, while reading: {text}")
    if len(y) == 0:
        raise InputError(
            f"{who}: no trials of {', '.join(runner.dataset.event_id)}; see neurosig inspect for the events"
        )
    return X, y, metadata, runner.signals()
