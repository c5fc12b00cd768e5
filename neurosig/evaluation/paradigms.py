"""MOABB's paradigms: which one fits a dataset, what it scores, and what its trials span."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from moabb.datasets.base import BaseDataset
from moabb.paradigms import (
    CVEP,
    P300,
    SSVEP,
    FilterBankCVEP,
    FilterBankLeftRightImagery,
    FilterBankMotorImagery,
    FilterBankSSVEP,
    LeftRightImagery,
    MotorImagery,
)
from moabb.paradigms.base import BaseParadigm

from neurosig.core.errors import UsageError
from neurosig.evaluation.identity import content_digest

__all__ = ["Classification", "make_paradigm", "metric_name", "paradigm_content", "pearson", "scorer", "trial_window"]


class Classification(MotorImagery):
    """MOABB's processing for events of any kind, where none of MOABB's paradigms is meant."""

    def is_valid(self, dataset: BaseDataset) -> bool:
        """Whether the dataset has the events asked for."""
        return set(self.events or ()) <= set(dataset.event_id)


def make_paradigm(
    dataset: BaseDataset,
    *,
    fmin: float | None = None,
    fmax: float | None = None,
    tmin: float | None = None,
    tmax: float | None = None,
    resample: float | None = None,
    baseline: Sequence[float] | None = None,
    picks: Sequence[str] | None = None,
    events: Sequence[str] | None = None,
    metric: str | None = None,
    filter_bank: bool = False,
) -> BaseParadigm:
    """The MOABB paradigm that fits a dataset.

    Parameters
    ----------
    dataset : moabb dataset
        Its ``paradigm`` and ``event_id`` decide: `LeftRightImagery` for exactly those two events, `MotorImagery` for
        other imagery, `P300`, `SSVEP`, `CVEP`, else `Classification`.
    fmin, fmax : float, optional
        Band in Hz; the paradigm's own if both are None.
    tmin, tmax : float, optional
        First and last second of a trial relative to its event; the dataset's interval by default.
    resample : float, optional
        New sampling rate in Hz.
    baseline : (float, float), optional
        Span in seconds relative to the event.
    picks : sequence of str, optional
        Channels to keep.
    events : sequence of str, optional
        Events to decode; all by default.
    metric : str, optional
        scikit-learn's name of a score; MOABB's rule by default: ROC AUC for two classes, else accuracy.
    filter_bank : bool
        MOABB's filter-bank form of the paradigm, in its own bands (for flicker, one around each frequency) instead of
        `fmin` to `fmax`.

    Returns
    -------
    moabb paradigm

    Raises
    ------
    UsageError
        An event that the dataset does not have, or no filter-bank form for it.
    """
    start = float(dataset.interval[0])
    names = list(events) if events is not None else list(dataset.event_id)
    if unknown := [name for name in names if name not in dataset.event_id]:
        raise UsageError(f"{dataset.code} has no event {unknown[0]!r}; it has {', '.join(dataset.event_id)}")
    options: dict[str, Any] = {
        "tmin": 0.0 if tmin is None else float(tmin) - start,
        "tmax": None if tmax is None or float(tmax) == float(dataset.interval[1]) else float(tmax) - start,
        "baseline": None if baseline is None else tuple(float(edge) - start for edge in baseline),
        "channels": None if picks is None else list(picks),
        "resample": resample,
        "scorer": scorer(metric),
    }
    if filter_bank:
        return _filter_bank(dataset, names, options)
    if fmin is not None or fmax is not None:
        options |= {"fmin": fmin, "fmax": fmax}
    if _is_left_right(dataset, names):
        return LeftRightImagery(**options)
    if dataset.paradigm == "p300":
        return P300(events=names, ignore_relabelling=set(names) != {"Target", "NonTarget"}, **options)
    kind = {"ssvep": SSVEP, "cvep": CVEP, "imagery": MotorImagery}.get(dataset.paradigm, Classification)
    return kind(events=names, n_classes=len(names), **options)


def _filter_bank(dataset: BaseDataset, names: list[str], options: dict[str, Any]) -> BaseParadigm:
    if _is_left_right(dataset, names):
        return FilterBankLeftRightImagery(**options)
    banks = {"ssvep": FilterBankSSVEP, "cvep": FilterBankCVEP, "imagery": FilterBankMotorImagery}
    if dataset.paradigm not in banks:
        raise UsageError(f"{dataset.code}: MOABB has no filter bank for the paradigm {dataset.paradigm!r}")
    paradigm = banks[dataset.paradigm](events=names, n_classes=len(names), **options)
    paradigm.prepare_process(dataset)  # for flicker the bands are made here, from the events' names
    if not paradigm.filters:
        raise UsageError(
            f"{dataset.code}: bands are made around stimulation frequencies, but its events ({', '.join(names)}) are "
            "not named by them; name the events by their frequency in Hz, or leave filter-bank pipelines out"
        )
    return paradigm


def _is_left_right(dataset: BaseDataset, names: list[str]) -> bool:
    return dataset.paradigm == "imagery" and set(names) == {"left_hand", "right_hand"}


def trial_window(paradigm: BaseParadigm, dataset: BaseDataset) -> tuple[float, float]:
    """First and last second of a trial relative to its event."""
    start, stop = (float(edge) for edge in dataset.interval)
    return start + paradigm.tmin, stop if paradigm.tmax is None else start + paradigm.tmax


def metric_name(paradigm: BaseParadigm) -> str:
    """Short name of the score that a paradigm asks for."""
    scoring = paradigm.scoring
    return scoring if isinstance(scoring, str) else scoring.__name__


def paradigm_content(paradigm: BaseParadigm) -> str:
    """Digest of how a paradigm cuts and scores."""
    settings = {name: value for name, value in vars(paradigm).items() if name not in ("scorer", "metric")}
    return content_digest([type(paradigm).__name__, settings, metric_name(paradigm)], "paradigm")


def pearson(estimator: Any, X: Any, y: Any) -> float:
    """Correlation of predicted and true values, a scikit-learn scorer; NaN where either is constant."""
    predicted = np.ravel(estimator.predict(X))
    if np.ptp(predicted) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(predicted, y)[0, 1])


def scorer(metric: str | None) -> Any:
    """What MOABB takes as a score: a name or a function, or None for its own rule."""
    return pearson if metric == "pearson" else metric
