"""When each trial began, and what its channels are, heard while MOABB cuts it: MOABB's arrays and metadata say neither.

MOABB's steps see the recording's sampling rate, the samples of the events, and the epochs before they become arrays.
They are listened to and change nothing, so that signals, labels and folds stay MOABB's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from moabb.paradigms.base import BaseParadigm

from neurosig.core.signals import SignalSpec
from neurosig.evaluation.signal_facts import common_facts

__all__ = ["TrialOnsets"]

_UNITS = {1e6: "uV", 1e3: "mV", 1.0: "V"}


class TrialOnsets:
    """Listens to a paradigm while it makes trials.

    Parameters
    ----------
    paradigm : moabb paradigm
        It is copied; what the attribute ``paradigm`` reads is heard.
    """

    def __init__(self, paradigm: BaseParadigm):
        self.paradigm = copy.copy(paradigm)
        self._recordings: list[tuple[float, set[int]]] = []
        self._onsets: list[np.ndarray] = []
        self._specs: list[SignalSpec] = []
        find_events = getattr(paradigm, "_get_events_pipeline", None)
        if find_events is not None:
            self.paradigm._get_events_pipeline = lambda dataset: _Heard(find_events(dataset), self._hear_events)
            make_labels = self.paradigm.make_labels_pipeline
            self.paradigm.make_labels_pipeline = lambda *args: _Heard(make_labels(*args), self._hear_labels)
        cut = getattr(self.paradigm, "_get_epochs_pipeline", None)  # of the copy, whose events are heard
        if cut is not None:
            self.paradigm._get_epochs_pipeline = lambda *args: _heard_or_none(cut(*args), self._hear_epochs)

    def forget(self) -> None:
        """Begin anew, before trials are made."""
        self._recordings.clear()
        self._onsets.clear()
        self._specs.clear()

    def add_to(self, metadata: pd.DataFrame) -> pd.DataFrame:
        """Metadata of the trials made since, with ``onset`` in seconds of their recording if all were heard."""
        onsets = np.concatenate(self._onsets) if self._onsets else np.empty(0)
        return metadata.assign(onset=onsets) if len(onsets) == len(metadata) else metadata

    def spec(self, dataset: Any) -> SignalSpec | None:
        """The channels, rate and unit of the arrays made since, as far as they are those of all recordings."""
        found = common_facts(self._specs)
        if found is None:
            return None
        unit = _UNITS.get(dataset.unit_factor, "a.u.") if found.unit == "V" else "a.u."
        return found.replace(unit=unit)

    def _hear_epochs(self, _: Any, epochs: Any) -> None:
        if epochs is not None:  # a run without any of the events
            self._specs.append(SignalSpec.from_mne(epochs.info))

    def _hear_events(self, raw: Any, events: Any) -> None:
        if events is not None and len(events):
            self._recordings.append((float(raw.info["sfreq"]), set(events[:, 0].tolist())))

    def _hear_labels(self, trials: Any, _: Any) -> None:
        # a recording's labels are asked for in the order in which recordings were cut, those without trials left out
        samples = np.asarray(getattr(trials, "events", trials))[:, 0]
        while self._recordings:
            sfreq, cut = self._recordings.pop(0)
            if cut.issuperset(samples.tolist()):
                self._onsets.append(samples / sfreq)
                return


def _heard_or_none(step: Any, tell: Callable[[Any, Any], None]) -> _Heard | None:
    return None if step is None else _Heard(step, tell)


class _Heard:
    """A step of MOABB's processing that also tells what it was given and what it made."""

    def __init__(self, step: Any, tell: Callable[[Any, Any], None]):
        self.step = step
        self.tell = tell

    def __repr__(self) -> str:
        return repr(self.step)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Any, y: Any = None) -> _Heard:
        return self

    def transform(self, X: Any, y: Any = None) -> Any:
        made = self.step.transform(X)
        self.tell(X, made)
        return made
