"""Trials in memory where MOABB expects a dataset and a paradigm."""

from __future__ import annotations

import logging
import re
import unicodedata
from contextlib import contextmanager
from typing import Any

import numpy as np
from moabb.datasets.base import BaseDataset
from moabb.paradigms.base import BaseParadigm

from neurosig.core.channels import unit_factor
from neurosig.core.errors import InputError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.evaluation.cohort_folds import check_labels
from neurosig.evaluation.paradigms import scorer

__all__ = ["ArraysDataset", "ArraysParadigm", "handed_over", "told_name"]


class ArraysDataset(BaseDataset):
    """A `SignalDataset` where MOABB expects a dataset: subjects, sessions and a code, no files.

    Parameters
    ----------
    signals : SignalDataset
        Labels are needed. EEG in volts is handed on in microvolts, as MOABB does.
    """

    def __init__(self, signals: SignalDataset):
        if signals.y is None:
            raise InputError(f"{signals.name} has no labels to decode; give SignalDataset(y=...)")
        check_labels(signals.y, signals.metadata, signals.name)
        table = signals.metadata
        sessions = table.groupby("subject")["session"].nunique()
        plain = unicodedata.normalize("NFKD", signals.name).encode("ascii", "ignore").decode()
        words = re.findall("[A-Za-z0-9]+", plain)
        labels = [] if signals.y.dtype.kind == "f" else np.unique(signals.y).tolist()
        with _no_advice():
            super().__init__(
                subjects=list(dict.fromkeys(table["subject"].tolist())),
                sessions_per_subject=int(sessions.min()),
                events={str(name): place + 1 for place, name in enumerate(labels)},
                code="".join(word[0].upper() + word[1:] for word in words) or "Signals",
                interval=[0.0, 1.0],
                paradigm="arrays",
            )
        self.signals = signals

    def _get_single_subject_data(self, subject):
        raise NotImplementedError("the signals are in memory; ArraysParadigm.get_data gives them")

    def data_path(self, subject, path=None, force_update=False, update_path=None, verbose=None):
        """No files: an empty list."""
        return []


class ArraysParadigm(BaseParadigm):
    """Hands the trials of an `ArraysDataset` to MOABB's evaluations.

    Parameters
    ----------
    metric : str
        scikit-learn's name of a score, or "pearson".
    """

    def __init__(self, metric: str):
        super().__init__(filters=[[None, None]])
        self.metric = metric

    @property
    def scoring(self) -> Any:
        """The score, as scikit-learn takes it."""
        return scorer(self.metric)

    @property
    def datasets(self) -> list:
        """No list of datasets."""
        return []

    def is_valid(self, dataset: BaseDataset) -> bool:
        """Whether the dataset is an `ArraysDataset`."""
        return isinstance(dataset, ArraysDataset)

    def used_events(self, dataset: BaseDataset) -> dict:
        """All of the dataset's events."""
        return dataset.event_id

    def get_data(self, dataset: ArraysDataset, subjects: list | None = None, **_: Any) -> tuple:
        """Signals, labels and metadata of some subjects; runs of different lengths stay a sequence."""
        wanted = dataset.signals.metadata["subject"].isin(dataset.subject_list if subjects is None else subjects)
        part = dataset.signals.subset(wanted.to_numpy())
        X, unit = part.X, handed_over(part).unit
        if hasattr(X, "shape"):
            X = np.asarray(X)
        if unit != part.info.unit:
            factor = unit_factor(part.info.unit, unit)
            X = X * factor if hasattr(X, "shape") else [np.asarray(run) * factor for run in X]
        return X, np.asarray(part.y), part.metadata.reset_index(drop=True)


def told_name(dataset: BaseDataset) -> str:
    """What a dataset is called in messages: signals in memory by their own name, not by the code that MOABB wants."""
    return dataset.signals.name if isinstance(dataset, ArraysDataset) else dataset.code


def handed_over(signals: SignalDataset) -> SignalSpec:
    """How the signals are when a pipeline gets them: EEG in microvolts, where it has a unit."""
    info = signals.info
    return info.replace(unit="uV") if info.modality == "eeg" and info.unit not in ("z", "a.u.", "uV") else info


@contextmanager
def _no_advice():
    """MOABB advises that a class be named after its dataset, which a class for any data cannot be."""
    log = logging.getLogger("moabb.datasets.base")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
