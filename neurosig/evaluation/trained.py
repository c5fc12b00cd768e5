"""Pipelines trained to be used: fitted on a dataset, stored with what they expect and what score to expect of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from neurosig.core.errors import ChecksumError, InputError, StorageError, UsageError
from neurosig.core.files import digest
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.evaluation.cards import run_lengths
from neurosig.evaluation.estimates import estimate_scores, scoring_of
from neurosig.evaluation.request import check_n_jobs
from neurosig.evaluation.seen import check_parts, note_trained_on, people_of, pretrained_parts
from neurosig.evaluation.signal_facts import with_signal_facts
from neurosig.evaluation.trained_runs import (
    as_trained_runs,
    estimate_runs,
    fit_runs,
    reading_of,
    training_times,
    whole_people,
)

if TYPE_CHECKING:
    from neurosig.evaluation.decoded import Decoded
    from neurosig.loaders.recordings import ReadOptions

__all__ = ["TrainedPipeline", "find_pipeline", "train"]


@dataclass(frozen=True)
class TrainedPipeline:
    """A fitted pipeline with everything that is needed to use it on other recordings.

    Parameters
    ----------
    pipeline : sklearn.pipeline.Pipeline
        Fitted on X in ``spec.unit``; its labels are positions in `classes`.
    spec : SignalSpec
        The channels, unit, rate and window that it expects, and how trials were cut (``spec.processing``).
    classes : tuple of str
        Names of the classes, in the order of the probabilities.
    card : dict
        What the model is: data, pipeline, estimated scores, versions, seed; JSON-like.
    """

    pipeline: Any
    spec: SignalSpec
    classes: tuple[str, ...]
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What `predict_proba` gives: "probability", uncalibrated "score", or a mere "label" (0 or 1)."""
        for method, kind in (("predict_proba", "probability"), ("decision_function", "score")):
            if hasattr(self.pipeline, method):
                return kind
        return "label"

    def predict_proba(self, X: Any, **metadata: Any) -> np.ndarray:
        """One number a class for each trial; the largest is the predicted class.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or sequence of (n_regions, n_times)
            Signals that fit `spec` (see `neurosig.map_channels`); of fMRI, runs.
        **metadata
            What steps of the pipeline ask for by metadata routing.

        Returns
        -------
        array of shape (n_trials, n_classes)
            Probabilities where the classifier has them. Otherwise see `kind`: decision scores, which are not
            calibrated and do not sum to one, or 1 for the predicted class and 0 for the others.
        """
        if self.kind == "probability":
            return np.asarray(self.pipeline.predict_proba(X, **metadata), dtype=float)
        if self.kind == "score":
            scores = np.asarray(self.pipeline.decision_function(X, **metadata), dtype=float)
            return np.column_stack([-scores, scores]) if scores.ndim == 1 else scores
        labels = np.asarray(self.pipeline.predict(X, **metadata), dtype=int)
        return (labels[:, None] == np.arange(len(self.classes))).astype(float)

    def predict(self, X: Any) -> np.ndarray:
        """Name of the predicted class of each trial: array of shape (n_trials,)."""
        return np.asarray(self.classes)[self.predict_proba(X).argmax(axis=1)]

    def decode(
        self,
        recordings: Any,
        *,
        events: str | Sequence[str] | Mapping[str, Any] | None = None,
        windows: tuple[float, float] | None = None,
        read: ReadOptions | Mapping[str, Any] | None = None,
        on_missing: str = "raise",
        on_sfreq: str = "raise",
        batch_bytes: float = 64e6,
        show_progress: bool | None = None,
    ) -> Decoded:
        """Apply the pipeline to new recordings, filtered and cut as in training.

        Parameters
        ----------
        recordings : path, Recording, or list of them
            What to decode; anything that `neurosig.loaders.discover` takes. Of fMRI what `open_dataset` takes: whole
            runs give one answer each, where the training was on whole runs.
        events : list of str, dict of str to annotation or code, or "training", optional
            Decode the trials at these events; "training" are the events of the training data.
        windows : (float, float), optional
            Decode sliding windows: length and step in seconds. Without `events`, the default is windows of the trained
            length, each overlapping the next by half.
        read : ReadOptions or dict of its fields, optional
            How the files are read (unit, sfreq, channel renames ...; of fMRI atlas, t_r, confounds ...). What a dict
            leaves out is as in training.
        on_missing : {"raise", "interpolate", "drop"}
            What to do when a channel of the training data is not there; a region of fMRI that is dropped is NaN.
        on_sfreq : {"raise", "resample"}
            What to do when the sampling rate (of fMRI, the repetition time) differs from the training data's.
        batch_bytes : float
            Memory that the windows decoded in one go may take; it bounds the memory on long recordings.
        show_progress : bool, optional
            None shows a bar on terminals only.

        Returns
        -------
        Decoded
            One row a trial or window, and how each recording was brought to what the pipeline expects.

        Raises
        ------
        ChannelError
            Channels, rate or window do not fit, naming them.
        InputError
            A recording cannot be read, holds NaN or implausible units, or has no such event.
        """
        from neurosig.evaluation.decoded import decode_recordings

        return decode_recordings(
            self,
            recordings,
            events=events,
            windows=windows,
            read=read,
            on_missing=on_missing,
            on_sfreq=on_sfreq,
            batch_bytes=batch_bytes,
            show_progress=show_progress,
        )

    def save(self, folder: str | Path) -> Path:
        """Store the pipeline (skops), its specification and a model card in `folder`, in one step.

        Parameters
        ----------
        folder : str or Path
            New, empty, or a model that is to be replaced.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        StorageError
            If the folder is in use for something else, or cannot be written.
        InputError
            If a part of the pipeline cannot be stored safely (torch networks, own classes).
        """
        from neurosig.core.persistence import save_pipeline
        from neurosig.evaluation.model_card import model_card

        extra = {"classes": list(self.classes), "card": dict(self.card)}
        extra["sha256"] = self._fingerprint(self.spec, extra["classes"], extra["card"])
        return save_pipeline(
            self.pipeline, folder, spec=self.spec, card=model_card(self.card, self.spec, self.classes), extra=extra
        )

    @classmethod
    def load(cls, folder: str | Path) -> TrainedPipeline:
        """Read what `save` stored; nothing is unpickled.

        Parameters
        ----------
        folder : str or Path
            What `save` wrote.

        Returns
        -------
        TrainedPipeline
            Ready to `decode`.

        Raises
        ------
        StorageError
            If the folder is not there or not a trained pipeline.
        ChecksumError
            If the pipeline, or what ``config.json`` says about it, was altered after it was saved.
        InputError
            If the file holds types that are not trusted.
        """
        from neurosig.core.persistence import load_pipeline

        pipeline, spec, config = load_pipeline(folder, with_spec=True)
        extra = config.get("extra") or {}
        if spec is None or not isinstance(extra.get("classes"), list):
            raise StorageError(
                f"{folder} holds a pipeline that does not say what it was trained on; store one with neurosig train"
            )
        if extra.get("sha256") != cls._fingerprint(spec, extra["classes"], extra.get("card")):
            raise ChecksumError(
                f"{folder}/config.json was altered after the model was saved; get the folder again from where it came"
            )
        return cls(pipeline, spec, tuple(extra["classes"]), extra.get("card") or {})

    @staticmethod
    def _fingerprint(spec: SignalSpec, classes: Any, card: Any) -> str:
        return digest(spec.to_dict(), classes, card, length=64)


def train(
    dataset: Any,
    pipeline: Any,
    *,
    subjects: Sequence[str | int] | None = None,
    folds: str | None = "auto",
    n_splits: int | None = None,
    random_state: int = 42,
    n_jobs: int = 1,
    allow_seen: bool = False,
    show_progress: bool | None = None,
    **processing: Any,
) -> TrainedPipeline:
    """Estimate how well a pipeline does on a dataset, then fit it on all trials.

    Parameters
    ----------
    dataset : Manifest, SignalDataset, str or Path
        What to train on; a name or path is opened with `neurosig.open_dataset`.
    pipeline : PipelineSpec, scikit-learn estimator, or str
        What to train; a string is the name of a shipped pipeline or the path of a YAML file. A parameter grid is
        searched inside every fold, as MOABB does (three stratified inner folds).
    subjects : list, optional
        Use these subjects only.
    folds : {"auto", "run", "chronological", "session", "subject", "shuffled"} or None
        Folds of the estimate. "auto" is the rule of `neurosig.benchmark`: folds over subjects or sessions where the
        manifest says so, else runs where every session of every subject has several that hold every class, else blocks
        of time; it never shuffles. With several subjects, folds over subjects are added, since they alone say what to
        expect of a new person. None makes no estimate.
    n_splits : int, optional
        Number of folds where the kind leaves it open.
    random_state : int
        Seed of whatever is drawn: shuffled folds, and every ``random_state`` of the pipeline that is None.
    n_jobs : int
        Folds evaluated at once.
    allow_seen : bool
        Also make an estimate where something in the pipeline was pretrained on people whom it would test; the card says
        so.
    show_progress : bool, optional
        None shows a bar on terminals only.
    **processing
        Changes to the dataset's processing: fmin, fmax, tmin, tmax, resample ...

    Returns
    -------
    TrainedPipeline
        Fitted on all trials in microvolts (as MOABB hands them to a pipeline), with its card.

    Raises
    ------
    LeakageError
        If the estimate would test something pretrained on people whom it has seen.
    """
    check_n_jobs(n_jobs)
    manifest, dataset = _open(dataset, subjects, processing)
    fmri = dataset.info.modality == "fmri"
    classes, labels = _classes_of(dataset)
    about, estimator = _pipeline_of(pipeline, random_state, scoring_of(classes))
    X, spec = as_trained_runs(dataset) if fmri else _as_trained(dataset)
    estimator = with_signal_facts(estimator, spec)
    scores: list[dict[str, Any]] = []
    told: list[str] = []
    parts = pretrained_parts(estimator)
    if folds is not None:
        if parts:
            way = "fit without an estimate (folds=None, or --no-cv), or allow it (allow_seen=True, or --allow-seen)"
            people = people_of(X, np.asarray(dataset.y).astype(str), dataset.metadata)
            told = check_parts(about["name"], parts, people, dataset.name, allow_seen, way)
        from neurosig.evaluation.splits import recommended_folds

        kind = folds if folds != "auto" else recommended_folds(manifest)
        seeds: dict[str, Any] = {"n_splits": n_splits, "random_state": random_state, "n_jobs": n_jobs}
        if fmri and whole_people(dataset):
            scores = estimate_runs(
                estimator, dataset, about["name"], kind=kind, allow_seen=allow_seen, show_progress=show_progress,
                **seeds,
            )  # fmt: skip
        else:
            scores = estimate_scores(
                estimator,
                X,
                labels,
                dataset.metadata,
                kind=kind,
                classes=classes,
                window=_window_of(spec),
                show_progress=show_progress,
                **seeds,
            )
    fitted = fit_runs(estimator, X, labels, dataset.metadata) if fmri else clone(estimator).fit(X, labels)
    fitted = getattr(fitted, "best_estimator_", fitted)
    note_trained_on(fitted, {"dataset": dataset.name, "subjects": sorted(set(dataset.metadata["subject"].astype(str)))})
    card = {
        "dataset": _dataset_card(dataset, manifest),
        "pipeline": about,
        **({"pretrained": {part.parameter: part.name for part in parts}} if parts else {}),
        **({"networks": networks} if (networks := _networks_card(fitted)) else {}),
        "scores": scores,
        "warnings": told,
        "read": _read_options(manifest, dataset),
        "seed": random_state,
        "versions": _versions(bool(networks)),
    }
    return TrainedPipeline(fitted, spec, classes, card)


def _open(dataset: Any, subjects: Sequence[Any] | None, processing: Mapping[str, Any]) -> tuple[Any, SignalDataset]:
    if isinstance(dataset, SignalDataset):
        if changed := [name for name, value in processing.items() if value is not None]:
            raise UsageError(
                f"a loaded SignalDataset is cut already, {', '.join(changed)} cannot change; pass a manifest"
            )
        if subjects is None:
            return None, dataset
        wanted = {str(name) for name in subjects}
        if unknown := sorted(wanted - set(dataset.metadata["subject"])):
            raise UsageError(f"no such subject: {', '.join(unknown)}")
        return None, dataset.subset(dataset.metadata["subject"].isin(wanted).to_numpy())
    if isinstance(dataset, str | Path):
        from neurosig.loaders.manifest import open_dataset

        dataset = open_dataset(dataset)
    if not hasattr(dataset, "load"):
        raise UsageError(
            f"expected the dataset first (a name, path, Manifest or SignalDataset), got {type(dataset).__name__}; "
            "call train(dataset, pipeline)"
        )
    return dataset, dataset.load(subjects=subjects, **processing)


def _pipeline_of(pipeline: Any, random_state: int, metric: str) -> tuple[dict[str, Any], Any]:
    """The estimator to fit, and what its card says about it."""
    about: dict[str, Any]
    if hasattr(pipeline, "fit"):
        estimator = clone(pipeline)
        about = {"name": type(pipeline).__name__, "steps": " > ".join(str(step) for step in _steps(estimator))}
        grid = None
    else:
        spec = find_pipeline(pipeline) if isinstance(pipeline, str | Path) else pipeline
        estimator, grid = spec.build(), spec.param_grid
        about = {
            "name": spec.name,
            "description": spec.description,
            "steps": spec.steps_text,
            "citations": list(spec.citations),
            "digest": spec.digest,
        }
    unseeded = [
        name
        for name, value in estimator.get_params(deep=True).items()
        if (name == "random_state" or name.endswith("__random_state")) and value is None
    ]
    estimator.set_params(**dict.fromkeys(unseeded, random_state))
    if grid:
        from sklearn.model_selection import GridSearchCV, StratifiedKFold

        inner = StratifiedKFold(3, shuffle=True, random_state=random_state)
        estimator = GridSearchCV(estimator, grid, cv=inner, scoring=metric)
        about["param_grid"] = grid
    return about, estimator


def _steps(estimator: Any) -> list[Any]:
    return [step for _, step in getattr(estimator, "steps", [("", estimator)])]


def find_pipeline(name: str | Path) -> Any:
    """The one `PipelineSpec` that `name` means: a shipped pipeline's name, or the path of a YAML file."""
    from neurosig.evaluation.pipelines import read_pipeline_specs

    if Path(name).suffix.lower() in (".yml", ".yaml") or Path(name).exists():
        specs = read_pipeline_specs(name)
    else:
        specs = read_pipeline_specs(names=[str(name)])
    if len(specs) != 1:
        raise UsageError(f"expected one pipeline, {name} holds {len(specs)}; name one of them")
    return specs[0]


def _as_trained(dataset: SignalDataset) -> tuple[np.ndarray, SignalSpec]:
    """Signals in the unit in which MOABB hands them to pipelines, by the same code that maps new recordings."""
    from neurosig.core.channels import map_channels

    have = dataset.info
    X = np.asarray(dataset.X)
    have = have.replace(n_times=X.shape[-1])
    want = have.replace(unit="uV") if have.unit == "V" else have
    mapped, _ = map_channels(X, have, want)
    return mapped, want


def _classes_of(dataset: SignalDataset) -> tuple[tuple[str, ...], np.ndarray]:
    if dataset.y is None:
        hint = "; name a column of the people's table (labels, --labels)" if dataset.info.modality == "fmri" else ""
        raise InputError(f"{dataset.name} has no labels: a decoder needs events of at least two classes{hint}")
    if np.asarray(dataset.y).dtype.kind == "f":
        raise UsageError(
            f"labels of {dataset.name} are numbers, and only classifiers are stored here; take labels that are "
            "classes (of fMRI another column, --labels). neurosig benchmark scores regressions, and stores none (of "
            "fMRI: the same options and --pipelines FC+Ridge)"
        )
    names, labels, counts = np.unique(np.asarray(dataset.y).astype(str), return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise InputError(
            f"{dataset.name} holds one class only ({names[0]}): a decoder needs at least two; name other events"
        )
    if counts.min() < 2:
        raise InputError(
            f"{dataset.name} holds one trial of {names[counts.argmin()]} only: training needs more of each class"
        )
    return tuple(names.tolist()), labels


def _read_options(manifest: Any, dataset: SignalDataset) -> dict[str, Any]:
    """How the training files were read, for new files of the same kind."""
    if manifest is None or manifest.kind != "files":
        return {}
    if manifest.modality == "fmri":
        return reading_of(manifest)
    files = dataset.metadata.get("file", ())
    kinds = sorted({Path(str(name).lower().removesuffix(".gz")).suffix for name in files})
    return {**json.loads(json.dumps(dataclasses.asdict(manifest.read_options))), "kinds": kinds}


def _window_of(spec: SignalSpec) -> tuple[float, float] | None:
    return None if spec.processing is None else (spec.processing.tmin, spec.processing.tmax)


def _dataset_card(dataset: SignalDataset, manifest: Any) -> dict[str, Any]:
    names, counts = np.unique(np.asarray(dataset.y).astype(str), return_counts=True)
    card = {
        "name": dataset.name,
        "n_trials": len(dataset),
        "subjects": sorted(set(dataset.metadata["subject"])),
        "trials_per_class": dict(zip(names.tolist(), counts.tolist(), strict=True)),
    }
    if "file" in dataset.metadata:
        card["files"] = sorted(set(dataset.metadata["file"].astype(str)))
    if dataset.info.modality == "fmri" and (times := training_times(dataset)):
        card["t_r"] = times
    if dataset.info.modality == "fmri" and (lengths := run_lengths(dataset, dataset.metadata)):
        card["volumes"] = [min(lengths), max(lengths)]
    if manifest is not None:
        card |= {
            key: value for key in ("title", "licence", "citation", "doi") if (value := getattr(manifest, key, None))
        }
        card |= {"identity": manifest.identity(), "warnings": list(manifest.warnings)}
    return card


def _networks_card(fitted: Any) -> list[dict[str, Any]]:
    """How the networks of a pipeline were trained, as far as they say so."""
    found = []
    for step in _steps(fitted):
        for part in (step, getattr(step, "net_", None), getattr(step, "tokenizer_", None)):
            history, best = getattr(part, "history_", None), getattr(part, "best_epoch_", None)
            if not isinstance(history, list) or best is None:
                continue
            kept = history[best - 1] if history and best else {}
            module = getattr(part, "module", None)
            found.append({
                "name": module if isinstance(module, str) else getattr(module, "__name__", type(part).__name__),
                "weights": int(getattr(part, "n_parameters_", 0)),
                "epochs": len(history), "best_epoch": int(best), "stopped": str(getattr(part, "stopped_", "")),
                **{name: float(kept[name]) for name in ("train_loss", "valid_loss", "valid_accuracy") if name in kept},
            })  # fmt: skip
    return found


def _versions(networks: bool) -> dict[str, str]:
    import platform
    from importlib.metadata import version

    names = ["neurosig", "numpy", "scipy", "scikit-learn", "mne", "nilearn", "pyriemann", "moabb"]
    if networks:
        names += ["torch", "skorch", "braindecode"]
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
