"""What `benchmark` was asked for, checked: options, datasets and pipelines. Nothing heavy is imported."""

from __future__ import annotations

import difflib
import importlib.util
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import UsageError
from neurosig.core.files import digest
from neurosig.core.log import logger
from neurosig.core.signals import SignalDataset
from neurosig.evaluation.identity import array_digest, content_digest, software

if TYPE_CHECKING:
    from neurosig.evaluation.pipelines import PipelineSpec
    from neurosig.loaders.manifest import Manifest

__all__ = [
    "EVALUATIONS",
    "FILTER_BANKS",
    "Entry",
    "Options",
    "check_n_jobs",
    "check_objects",
    "check_options",
    "open_datasets",
    "pipeline_digest",
    "read_specs",
    "run_key",
]

EVALUATIONS = {
    "within_session": ("run", "chronological", "shuffled"),
    "cross_session": ("session",),
    "cross_subject": ("subject",),
    "cross_site": ("site",),
}
FOLDS = ("auto", "run", "chronological", "shuffled", "session", "subject", "site")
CS_MODES = (
    "train", "train_trialwise", "train_and_target_unlabeled_20p", "train_and_target_unlabeled_50p",
    "train_and_target_unlabeled_full", "train_and_target_labeled_20p", "train_and_target_labeled_50p",
)  # fmt: skip
METRICS = ("roc_auc", "accuracy", "balanced_accuracy", "r2", "pearson", "neg_mean_absolute_error")
# MOABB paradigms that filter in one band, and those that hand the same trials on in several
FILTER_BANKS = {
    "LeftRightImagery": "FilterBankLeftRightImagery",
    "MotorImagery": "FilterBankMotorImagery",
    "SSVEP": "FilterBankSSVEP",
    "CVEP": "FilterBankCVEP",
}
_FORMAT = "neurosig benchmark 2"
_IMAGINED = {"left_hand", "right_hand", "hands", "left", "right", "feet", "tongue", "rest"}  # names that need no remark


@dataclass(frozen=True)
class Options:
    """What is asked for, checked; everything here that changes scores is part of the keys."""

    evaluation: str
    folds: str
    n_splits: int | None
    cs_mode: str | None
    random_state: int | None
    metric: str | None


@dataclass
class Entry:
    """One dataset as it was given, and the pipelines that fit it.

    Parameters
    ----------
    name : str
        Its name in tables.
    given : Manifest, SignalDataset or moabb dataset
        The dataset.
    manifest : Manifest or None
        With the chosen subjects, events and processing.
    identity : str or None
        Digest of its content; None where only reading the data tells.
    paradigm : str or None
        The MOABB paradigm, or kind of paradigm, whose pipelines from files fit; None fits all.
    specs : list of PipelineSpec
        Pipelines from files.
    by_default : bool
        Whether nobody asked for any of these, so that what does not fit is left out without a word.
    told : list of str
        What was left out of what was asked for, and why.
    """

    name: str
    given: Any
    manifest: Manifest | None = None
    identity: str | None = None
    paradigm: str | None = None
    specs: list[PipelineSpec] = field(default_factory=list)
    by_default: bool = False
    told: list[str] = field(default_factory=list)

    @property
    def own_name(self) -> str:
        """The dataset's name, whatever else it is called beside others of that name."""
        for holder in (self.manifest, self.given):
            for name in ("name", "code"):
                if isinstance(found := getattr(holder, name, None), str):
                    return found
        return self.name

    def in_bands(self, spec: PipelineSpec) -> bool:
        """Whether a pipeline wants the trials of this dataset in the bands of a filter bank."""
        bank = FILTER_BANKS.get(self.paradigm or "")
        return bank in spec.paradigms and self.paradigm not in spec.paradigms


def check_options(
    evaluation: str,
    folds: str,
    n_splits: Any,
    cs_mode: Any,
    random_state: Any,
    metric: Any,
    backend: str,
    n_jobs: int = 1,
) -> Options:
    """The options as one object.

    Raises
    ------
    UsageError
        Options that do not exist or do not fit together.
    """
    _one_of("evaluation", evaluation, EVALUATIONS)
    _one_of("folds", folds, FOLDS)
    _one_of("backend", backend, ("joblib", "dask"))
    if metric is not None:
        metric = "neg_mean_absolute_error" if metric == "mae" else metric
        _one_of("metric", metric, METRICS)
    if folds in ("session", "subject", "site") and evaluation == "within_session":
        evaluation = f"cross_{folds}"
    if folds not in ("auto", *EVALUATIONS[evaluation]):
        raise UsageError(f"{evaluation} takes folds={' or '.join(EVALUATIONS[evaluation])} (or auto), got {folds!r}")
    if cs_mode is not None:
        _one_of("cs_mode", cs_mode, CS_MODES)
        if evaluation != "cross_subject":
            raise UsageError(f"cs_mode belongs to evaluation='cross_subject', got it with {evaluation!r}")
    if n_splits is not None and (not isinstance(n_splits, int) or n_splits < 2):
        raise UsageError(f"n_splits must be a whole number of folds, 2 or more, got {n_splits!r}")
    if n_splits is not None and folds == "run":
        raise UsageError("run-wise folds are one a run; leave n_splits out, or use folds='chronological'")
    if n_splits is not None and evaluation == "cross_site":
        raise UsageError("folds over sites are one a site; leave n_splits out, or use folds='subject'")
    if random_state is not None and not isinstance(random_state, int):
        raise UsageError(f"random_state must be a whole number or None, got {random_state!r}")
    check_n_jobs(n_jobs)
    if backend == "dask":
        _check_dask()
    return Options(evaluation, folds, n_splits, cs_mode, random_state, metric)


def _one_of(what: str, value: Any, allowed: Iterable[str]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(str(value), list(allowed), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{what} must be one of {', '.join(allowed)}, got {value!r}{hint}")


def check_n_jobs(n_jobs: Any) -> None:
    """Check a number of processes.

    Raises
    ------
    UsageError
        If it is no whole number, or 0.
    """
    if not isinstance(n_jobs, int) or n_jobs == 0:
        raise UsageError(f"n_jobs must be a number of processes, or -1 for all cores, got {n_jobs!r}")


def _check_dask() -> None:
    if importlib.util.find_spec("distributed") is None:
        raise UsageError("backend='dask' needs dask.distributed, which is not installed: pip install 'neurosig[dask]'")
    from distributed import default_client

    try:
        default_client()
    except ValueError:
        raise UsageError(
            "backend='dask' uses an existing cluster, and there is no Client: make one first, "
            "client = dask.distributed.Client(...)"
        ) from None


def _listed(value: Any, what: str) -> list[Any]:
    listed = list(value) if isinstance(value, list | tuple) else [value]
    if not listed:
        raise UsageError(f"no {what} given")
    return listed


def open_datasets(
    datasets: Any, *, data: Any, events: Any, subjects: Any, processing: Mapping[str, Any]
) -> list[Entry]:
    """Open what was given as datasets, each under a name of its own.

    Raises
    ------
    UsageError
        No such dataset, or options that it does not take.
    """
    entries = [
        _open(given, data=data, events=events, subjects=subjects, processing=processing)
        for given in _listed(datasets, "dataset")
    ]
    names = [entry.name for entry in entries]
    for place, entry in enumerate(entries):
        if names.count(entry.name) > 1:
            entry.name = f"{entry.name}-{entry.identity[:8] if entry.identity else place + 1}"
    return entries


def _open(given: Any, *, data: Any, events: Any, subjects: Any, processing: Mapping[str, Any]) -> Entry:
    from neurosig.loaders.manifest import Manifest, open_dataset

    if isinstance(given, str | os.PathLike):
        place = Path(given) if isinstance(given, os.PathLike) else given
        # with the events, whose names tell the paradigm of recordings that belong to no known dataset, and its band
        given = open_dataset(place, data=Path(data) if data else None, events=events, **processing)
        events, processing = None, {}
    if isinstance(given, Manifest):
        manifest = given.replace(subjects=subjects, events=events, **processing)
        _tell_missing(manifest)
        if manifest.modality == "fmri":  # no MOABB dataset: its runs are evaluated as they are loaded
            return Entry(manifest.name, manifest.load(), manifest, manifest.identity())
        return Entry(manifest.name, given, manifest, manifest.identity())
    if isinstance(given, SignalDataset):
        if processing or events is not None:
            what = next(iter(processing), "events")
            raise UsageError(
                f"the trials of a SignalDataset are cut already, got {what}=...; change it where they are loaded"
            )
        given = given.load()  # runs on disk are read once, for the digest and for all folds
        return Entry(given.name, given, identity=_signals_identity(given))
    if all(hasattr(given, name) for name in ("subject_list", "event_id", "get_data")):
        return Entry(given.code, given)
    raise UsageError(
        f"expected a dataset's name or path, a Manifest, a SignalDataset or a moabb dataset, got {type(given).__name__}"
    )


def _tell_missing(manifest: Manifest) -> None:
    if manifest.kind != "files" or manifest.adhoc or not manifest.present:
        return
    here = {recording.path for recording in manifest.recordings()}
    # of what can be fetched, people not fetched yet are no loss
    wanted = {*manifest.subjects_present, "*"} if manifest.fetchable else {entry.subject for entry in manifest.entries}
    stated = [entry for entry in manifest.entries if entry.subject in wanted]
    if len(here) < len(stated):
        logger.warning(
            "%s: %d of %d files missing in %s; the others are used",
            manifest.name,
            len(stated) - len(here),
            len(stated),
            manifest.folder,
        )


def _signals_identity(signals: SignalDataset) -> str:
    names = [name for name in ("subject", "session", "run", "site", "t_r") if name in signals.metadata]
    table = {name: [str(value) for value in signals.metadata[name]] for name in names}
    labels = None if signals.y is None else array_digest(signals.y)
    content = [
        array_digest(signals.X[i]) for i in range(len(signals.metadata))
    ]  # trial by trial: X may be larger than memory
    return digest(content, labels, table, signals.info.to_dict())


def _paradigm_of(entry: Entry) -> str | None:
    """The MOABB paradigm whose pipelines fit; None fits all."""
    if isinstance(entry.given, SignalDataset):
        return "fMRI" if entry.given.info.modality == "fmri" else None
    holder: Any = entry.manifest or entry.given
    if holder.paradigm in ("p300", "ssvep", "cvep"):
        return {"p300": "P300", "ssvep": "SSVEP", "cvep": "CVEP"}[holder.paradigm]
    if holder.paradigm == "imagery":
        names = holder.event_names if entry.manifest is not None else holder.event_id
        return "LeftRightImagery" if set(names) == {"left_hand", "right_hand"} else "MotorImagery"
    return "imagery"


def _tell_paradigm(entry: Entry) -> None:
    """Say what trials of no known dataset are taken as, where the names of their events may mean anything."""
    names = entry.manifest.event_names if entry.manifest is not None else []
    if entry.paradigm == "MotorImagery" and not {name.casefold() for name in names} & _IMAGINED:
        logger.warning(
            "%s: trials of %s are taken as motor imagery; names of events tell the paradigm: Target and NonTarget for "
            "P300 (--events Target=...,NonTarget=...), frequencies such as 15.0 for SSVEP",
            entry.name,
            listed(names),
        )


def read_specs(entries: list[Entry], pipelines: Any, groups: Any) -> None:
    """Give each dataset the pipelines from files that fit it; nothing that they name is imported.

    Raises
    ------
    UsageError
        No such pipeline, or none that fits.
    """
    specs, asked = _asked_specs(pipelines, groups)
    for entry in entries:
        entry.paradigm = _paradigm_of(entry)
        if pipelines is None and groups is None and entry.manifest is not None and entry.manifest.adhoc:
            _tell_paradigm(entry)
        entry.by_default = pipelines is None and groups is None
        try:
            entry.specs = _suited(entry, _fitting_specs(entry, _shipped_for(entry, specs, pipelines, groups)), asked)
        except UsageError as error:
            raise UsageError(f"{entry.name}: {error}{_other_names(entry, specs)}") from error
        twice = [spec.name for spec in entry.specs if sum(other.name == spec.name for other in entry.specs) > 1]
        if twice:
            raise UsageError(f"{entry.name}: two pipelines are called {twice[0]!r}; give one of them another name")
        for spec in specs:
            if spec.name in asked and spec.name not in [fit.name for fit in entry.specs]:
                logger.warning(
                    "%s: %s is left out, it is made for %s, not for %s%s",
                    entry.name,
                    spec.name,
                    ", ".join(spec.paradigms),
                    entry.paradigm,
                    _other_names(entry, [spec]),
                )


def _shipped_for(entry: Entry, specs: list[PipelineSpec], pipelines: Any, groups: Any) -> list[PipelineSpec]:
    """What runs where nothing is asked for: of fMRI its own group, but for the networks, which take hours."""
    from neurosig.evaluation.pipelines import FMRI, read_pipeline_specs

    if pipelines is not None or groups is not None or entry.paradigm != FMRI:
        return specs
    own = read_pipeline_specs(groups=["fmri", "baseline"], paradigm=FMRI)
    return [spec for spec in own if not any(step["from"].startswith("neurosig.models") for step in spec.pipeline)]


def _suited(entry: Entry, specs: list[PipelineSpec], asked: set[str]) -> list[PipelineSpec]:
    """Pipelines that these runs of fMRI give something to work with; those asked for by name stay, come what may."""
    if not isinstance(entry.given, SignalDataset) or entry.given.info.modality != "fmri":
        return specs
    from neurosig.evaluation.suited_runs import not_meant, unsuited

    reasons = {spec.name: unsuited(spec, entry.given) for spec in specs if spec.name not in asked}
    kept = [spec for spec in specs if not reasons.get(spec.name)]
    if not kept:
        return specs
    quiet = {spec.name for spec in specs if entry.by_default and not_meant(spec, entry.given)}
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        if reason and name not in quiet:
            by_reason.setdefault(reason, []).append(name)
    entry.told = [f"{entry.name}: {', '.join(names)} left out: {reason}" for reason, names in by_reason.items()]
    return kept


def _asked_specs(pipelines: Any, groups: Any) -> tuple[list[PipelineSpec], set[str]]:
    """All pipelines from the files, folders and names given, and which of them were asked for one by one."""
    from neurosig.evaluation.pipelines import read_pipeline_specs

    paths, names = _paths_and_names(pipelines)
    if not paths:
        return read_pipeline_specs(groups=groups, names=names or None), set(names)
    specs = read_pipeline_specs(paths, groups=groups)
    files = {Path(path) for path in paths if Path(path).is_file()}
    asked = {*names, *(spec.name for spec in specs if spec.file in files)}
    # a name may be that of a pipeline in the files; it is looked for among the shipped ones only if it is not
    if others := [name for name in names if name not in {spec.name for spec in specs}]:
        specs = [*specs, *read_pipeline_specs(groups=groups, names=others)]
    return specs, asked


def _fitting_specs(entry: Entry, specs: list[PipelineSpec]) -> list[PipelineSpec]:
    from neurosig.evaluation.pipelines import fitting

    bank = FILTER_BANKS.get(entry.paradigm or "")
    if found := [spec for spec in specs if bank is not None and {entry.paradigm, bank} & set(spec.paradigms)]:
        return found
    return fitting(specs, entry.paradigm)


def _other_names(entry: Entry, specs: list[PipelineSpec]) -> str:
    """That two hands under other names are no LeftRightImagery, where a pipeline is kept out by that alone."""
    wants = any({"LeftRightImagery", "FilterBankLeftRightImagery"} & set(spec.paradigms) for spec in specs)
    if entry.paradigm != "MotorImagery" or not wants:
        return ""
    holder: Any = entry.manifest or entry.given
    names = holder.event_names if entry.manifest is not None else holder.event_id
    return (
        f"; LeftRightImagery takes the events left_hand and right_hand, here they are {', '.join(names)}: name them so "
        "with events (left_hand=..., right_hand=...), or add MotorImagery to the paradigms in the pipeline's file"
    )


def _paths_and_names(pipelines: Any) -> tuple[list[Any], list[str]]:
    paths: list[Any] = []
    names: list[str] = []
    for item in [] if pipelines is None else _listed(pipelines, "pipeline"):
        if not isinstance(item, str | os.PathLike):
            raise UsageError(
                f"expected pipeline files, folders or names, or a dict of estimators, got {type(item).__name__}"
            )
        if isinstance(item, os.PathLike) or Path(item).exists() or os.sep in item or item.endswith((".yml", ".yaml")):
            paths.append(item)
        else:
            names.append(item)
    return paths, names


def check_objects(pipelines: Mapping[str, Any], param_grid: Mapping[str, Any]) -> None:
    """Check that pipelines given as objects are estimators, and that searches belong to them."""
    if not pipelines:
        raise UsageError("no pipeline given")
    for name, pipeline in pipelines.items():
        if not (hasattr(pipeline, "fit") and hasattr(pipeline, "get_params")) or isinstance(pipeline, type):
            raise UsageError(f"pipeline {name!r} must be a scikit-learn estimator, got {type(pipeline).__name__}")
    if unknown := sorted(set(param_grid) - set(pipelines)):
        raise UsageError(f"param_grid names {unknown[0]!r}, which is no pipeline; they are {', '.join(pipelines)}")


def run_key(
    options: Options,
    entries: list[Entry],
    objects: Mapping[str, Any] | None,
    param_grid: Any,
    subjects: Any,
    *,
    allow_seen: bool = False,
) -> str | None:
    """Digest of everything that the tables depend on; None where only reading the data tells."""
    from neurosig.evaluation.seen import file_contents, pretrained_parts

    if any(entry.identity is None for entry in entries):
        return None
    if objects is None:
        weights: list[str | None] = [
            found for entry in entries for spec in entry.specs for found in file_contents(spec)
        ]
    else:
        grids = param_grid or {}
        weights = [part.content for name in objects for part in pretrained_parts(objects[name], grids.get(name))]
    given = None if objects is None else [[name, pipeline_digest(name, objects, param_grid or {})] for name in objects]
    return digest(
        _FORMAT,
        vars(options),
        None if subjects is None else [str(subject) for subject in subjects],
        [[entry.name, entry.identity, [[spec.name, spec.digest] for spec in entry.specs]] for entry in entries],
        given,
        software(),
        *([weights, bool(allow_seen)] if weights else []),
    )


def pipeline_digest(name: str, pipelines: Mapping[str, Any], param_grid: Mapping[str, Any]) -> str:
    """Digest of a pipeline given as an object, its search included."""
    return content_digest([pipelines[name], param_grid.get(name)], name)
