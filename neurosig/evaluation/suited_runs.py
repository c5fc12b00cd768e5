"""Which pipelines have nothing to work with on given runs of fMRI: no sites, no repetition time, too few volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from neurosig.core.signals import SignalDataset
    from neurosig.evaluation.pipeline_spec import PipelineSpec

__all__ = ["FEW_VOLUMES", "not_meant", "unsuited"]

FEW_VOLUMES = 20  # of a trial: below, the standard error of a correlation (Fisher's z) is above 0.24


def unsuited(spec: PipelineSpec, signals: SignalDataset) -> str | None:
    """Why a pipeline from a file cannot tell anything about these runs; None where it may.

    Parameters
    ----------
    spec : PipelineSpec
        Nothing that it names is imported.
    signals : SignalDataset
        Runs of fMRI, or trials cut from them. No signals are read.

    Returns
    -------
    str or None
        The reason, to stand after "left out:".
    """
    steps = {step["name"]: step["parameters"] for step in spec.pipeline}
    trials = signals.info.processing is not None
    if "MeanPattern" in steps and not trials:
        return "it is for trials of a task (events), and these are whole runs"
    if "SiteHarmonizer" in steps and (reason := _without_sites(signals)):
        return reason
    fewest = _fewest_volumes(signals)
    if "DynamicConnectivity" in steps and (reason := _too_short(steps["DynamicConnectivity"], signals, fewest)):
        return reason
    if "FunctionalConnectivity" in steps and trials and fewest is not None and fewest < FEW_VOLUMES:
        return f"trials of {fewest} volumes are too short for correlations of regions (fewer than {FEW_VOLUMES})"
    return None


def not_meant(spec: PipelineSpec, signals: SignalDataset) -> bool:
    """Whether a pipeline is for another kind of task altogether, so that nobody misses it: trials, or numbers."""
    if any(step["name"] == "MeanPattern" for step in spec.pipeline) and signals.info.processing is None:
        return True
    last = str(spec.pipeline[-1]["name"])
    for_numbers = last.endswith("Regressor") or (last.startswith("Ridge") and not last.startswith("RidgeClassifier"))
    return for_numbers != (signals.y is not None and np.asarray(signals.y).dtype.kind == "f")


def _without_sites(signals: SignalDataset) -> str:
    from neurosig.evaluation.cohort_folds import site_names

    sites = site_names(signals.metadata)
    if sites is None or not all(sites):
        return "the table of people tells no site" + ("" if sites is None else " for some of them")
    return "all people are of one site" if len(set(sites.tolist())) < 2 else ""


def _too_short(parameters: Mapping[str, Any], signals: SignalDataset, fewest: int | None) -> str:
    times = _repetition_times(signals)
    if times is None:
        known = parameters.get("sfreq") is not None
        return "" if known else "the repetition time is not known (t_r, --t-r)"
    window = float(parameters.get("window", 60.0))
    if fewest is None or fewest * float(times.max()) >= window:
        return ""
    return f"its windows of {window:g} s are longer than {fewest} volumes of {times.max():g} s"


def _repetition_times(signals: SignalDataset) -> np.ndarray | None:
    from neurosig.evaluation.cohort_folds import repetition_times

    times = repetition_times(signals.metadata)
    if len(times) and np.isfinite(times).all():
        return times
    return None if signals.info.t_r is None else np.array([float(signals.info.t_r)])


def _fewest_volumes(signals: SignalDataset) -> int | None:
    from neurosig.evaluation.cards import run_lengths

    lengths = run_lengths(signals, signals.metadata)
    return min(lengths) if lengths else None
