"""When each trial began, heard while MOABB cuts it: MOABB's metadata do not say it.

MOABB's steps see the recording's sampling rate and the samples of the events. They are listened to and change nothing,
so that signals, labels and folds stay MOABB's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from moabb.paradigms.base import BaseParadigm

__all__ = ["TrialOnsets"]


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
        find_events = getattr(paradigm, "_get_events_pipeline", None)
        if find_events is not None:
            self.paradigm._get_events_pipeline = lambda dataset: _Heard(find_events(dataset), self._hear_events)
            make_labels = self.paradigm.make_labels_pipeline
            self.paradigm.make_labels_pipeline = lambda *args: _Heard(make_labels(*args), self._hear_labels)

    def forget(self) -> None:
        """Begin anew, before trials are made."""
        self._recordings.clear()
        self._onsets.clear()

    def add_to(self, metadata: pd.DataFrame) -> pd.DataFrame:
        """Metadata of the trials made since, with ``onset`` in seconds of their recording if all were heard."""
        onsets = np.concatenate(self._onsets) if self._onsets else np.empty(0)
        return metadata.assign(onset=onsets) if len(onsets) == len(metadata) else metadata

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
