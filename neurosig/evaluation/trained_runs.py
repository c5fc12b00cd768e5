"""Training on runs of region series: scores to expect in folds of whole people, and the fit that knows whose runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import config_context
from sklearn.base import clone

from neurosig.core.errors import InputError, UsageError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.evaluation.cohort_folds import bears_one_label, repetition_times
from neurosig.evaluation.pooled import asked, is_ragged, routed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_trained_runs", "estimate_runs", "fit_runs", "reading_of", "training_times", "whole_people"]

_QUESTIONS = {"subject": "new people", "site": "new sites"}


def whole_people(dataset: SignalDataset) -> bool:
    """Whether folds can only be made of whole people: runs of several lengths, or people who bear one label each."""
    return is_ragged(dataset.X) or bears_one_label(np.asarray(dataset.y), dataset.metadata)


def as_trained_runs(dataset: SignalDataset) -> tuple[Any, SignalSpec]:
    """Runs as a pipeline gets them, and what is kept of their description."""
    X = dataset.X if is_ragged(dataset.X) else np.asarray(dataset.X)
    spec = dataset.info.replace(extra={}, n_times=None if is_ragged(X) else int(X.shape[-1]))
    return X, spec


def fit_runs(estimator: Any, X: Any, labels: np.ndarray, metadata: pd.DataFrame) -> Any:
    """Fit a clone on all runs; steps that ask for people, sites or repetition times are told them."""
    model = clone(estimator)
    known = routed(metadata)
    with config_context(enable_metadata_routing=True):
        return model.fit(X, labels, **asked(model, "fit", known, slice(None)))


def estimate_runs(
    estimator: Any,
    dataset: SignalDataset,
    name: str,
    *,
    kind: str,
    n_splits: int | None = None,
    random_state: int = 42,
    n_jobs: int = 1,
    allow_seen: bool = False,
    show_progress: bool | None = None,
) -> list[dict[str, Any]]:
    """Scores to expect of new people or sites, from a benchmark of the one pipeline.

    Parameters
    ----------
    estimator : estimator
        Not fitted.
    dataset : SignalDataset
        Labelled runs.
    name : str
        What the pipeline is called.
    kind : {"auto", "subject", "site"}
        Folds.
    n_splits, random_state, n_jobs, allow_seen : object
        See `neurosig.evaluation.benchmark.benchmark`.
    show_progress : bool, optional
        None shows a bar on terminals only.

    Returns
    -------
    list of dict
        As of `neurosig.evaluation.estimates.estimate_scores`; each fold is one score of all who are tested in it.

    Raises
    ------
    UsageError
        If folds are asked for that these runs cannot have.
    InputError
        If a fold fails.
    """
    from neurosig.evaluation.benchmark import benchmark

    kind = "subject" if kind == "auto" else kind
    if kind not in _QUESTIONS:
        raise UsageError(
            f"people of {dataset.name} are left out whole: folds are subject or site (or auto), got {kind!r}"
        )
    results = benchmark(
        {name: estimator}, dataset, folds=kind, n_splits=n_splits, random_state=random_state, n_jobs=n_jobs,
        allow_seen=allow_seen, progress=show_progress,
    )  # fmt: skip
    if not results.failed.empty:
        raise InputError(f"{name} failed in a fold of {dataset.name}: {results.failed.iloc[0]['error']}")
    rows, said = results.table, results.summary().iloc[0]
    scores = rows["score"].to_numpy(dtype=float)
    return [{
        "question": _QUESTIONS[kind], "folds": kind, "metric": str(rows["metric"].iloc[0]),
        "mean": float(said["mean"]), "sd": float(said["sd"]) if len(scores) > 1 else None, "n_scores": len(scores),
        "n_folds": len(scores), "n_trials": int(rows["samples_test"].sum()), "chance": float(said["chance"]),
        "chance_upper": _bound_of_mean(rows), "ci_low": _or_none(said["ci_low"]), "ci_high": _or_none(said["ci_high"]),
        "scores": scores.tolist(),
    }]  # fmt: skip


def _or_none(value: float) -> float | None:
    return float(value) if value == value else None


def _bound_of_mean(rows: pd.DataFrame) -> float:
    """Bound that the mean over folds rarely exceeds by chance: lower than that of one fold, whose people are fewer."""
    above = (rows["chance_upper"] - rows["chance"]).to_numpy(dtype=float)
    return float(rows["chance"].mean() + (above @ above) ** 0.5 / len(above))


def training_times(dataset: SignalDataset) -> list[float]:
    """Repetition times of the runs in seconds, each once; none where one of the runs does not say it."""
    times = repetition_times(dataset.metadata)
    return [] if np.isnan(times).any() else sorted({round(float(value), 4) for value in times})


def reading_of(manifest: Any) -> dict[str, Any]:
    """How the training runs were read, for new runs of the same kind; JSON-like."""
    from neurosig.loaders.fmri_files import kind_of

    fmri = manifest.fmri
    told = {} if fmri is None else fmri.model_dump(mode="json", exclude_none=True)
    left_out = {"labels", "table", "key", "missing", "events_table", "regions", "unit", "task", "space"}
    if {kind_of(recording.path) for recording in manifest.recordings()} <= {"table", "collection"}:
        left_out.add("atlas")  # there a mere name
    kept = {"fmri": {key: value for key, value in told.items() if key not in left_out}}
    return {**kept, "labels": told["labels"]} if told.get("labels") else kept
