"""The order of FASTER's stages: what each one finds decides what the next one looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.errors import InputError
from neurosig.preprocessing.faster_cells import bad_cells, cell_statistics, usual_cells
from neurosig.preprocessing.faster_components import bad_components
from neurosig.preprocessing.faster_ica import Decomposition, apply_matrix, fit_decomposition
from neurosig.preprocessing.faster_metrics import cell_scores
from neurosig.preprocessing.faster_outliers import Outliers, Rule
from neurosig.preprocessing.faster_signals import Recorded, channels_of, computable, spelled, stand_in
from neurosig.preprocessing.faster_stages import bad_channels, bad_epochs

if TYPE_CHECKING:
    import mne

__all__ = ["STEPS", "Course", "cleaned_epochs", "describe", "take_steps"]

STEPS = ("channels", "epochs", "components", "channels_in_epochs")


@dataclass
class Course:
    """What the stages found, one after the other.

    Parameters
    ----------
    found : dict of str to Outliers
        By stage. Channels in epochs run over the epochs that were kept.
    bads : list of str
        Bad channels: found, or marked before.
    good : array of int
        Positions of the others among the channels.
    kept : array of int
        Epochs that are not bad.
    epoch_levels : array of shape (n_good,)
        Usual mean of each good channel.
    clean : array of shape (n_kept, n_channels, n_times)
        Kept epochs without the bad components; bad channels are in it as they were.
    decomposition : Decomposition or None
        The components, where they were looked for.
    usual : dict of str to array of shape (n_good,)
        What is usual in single epochs of `clean`, see `usual_cells`.
    notes : list of str
        Stages that were left out, and why.
    marked : list of str
        Channels that were marked bad before any stage.
    """

    found: dict[str, Outliers]
    bads: list[str]
    good: np.ndarray
    kept: np.ndarray
    epoch_levels: np.ndarray
    clean: np.ndarray
    decomposition: Decomposition | None = None
    usual: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    marked: list[str] = field(default_factory=list)

    @property
    def removed(self) -> np.ndarray:
        """Numbers of the bad components."""
        found = self.found.get("components")
        return np.zeros(0, dtype=int) if found is None else np.flatnonzero(found.bad)

    @property
    def cells(self) -> np.ndarray:
        """Bad channels of single epochs, shape (n_kept, n_channels); bad channels do not count."""
        bad = np.zeros(self.clean.shape[:2], dtype=bool)
        if found := self.found.get("channels_in_epochs"):
            bad[:, found.picks] = found.bad
        return bad


def take_steps(
    signals: Recorded,
    rules: Mapping[str, Rule],
    *,
    reference: str | bool | None = None,
    average_first: bool = False,
    decompose: Mapping[str, Any] | None = None,
    eog_proxy: str | Sequence[str] = (),
    judge_in: str = "auto",
) -> Course:
    """Run the first four stages of FASTER in their order.

    Parameters
    ----------
    signals : Recorded
        Epochs; not changed.
    rules : dict of str to Rule
        Stages to run, by name.
    reference : str, True or None
        One electrode that all channels refer to, see `find_bad_channels`.
    average_first : bool
        Whether the average of the good EEG channels is taken off after the second stage, as the authors' program does,
        so that channels of single epochs are judged in average reference. By default the average serves the
        decomposition alone ("mne": not even that), and `clean` stays in the reference of the recording.
    decompose : dict, optional
        Options of `fit_decomposition`; its reference follows from `average_first`.
    eog_proxy : str or sequence of str
        EEG channels in place of an EOG; those that are bad are not used.
    judge_in : {"auto", "average", "recorded"}
        Reference in which the first stage judges, see `find_bad_channels`.

    Returns
    -------
    Course
        What was found, and the signals without the bad components.

    Raises
    ------
    InputError
        If no channel or no epoch is left.
    """
    found: dict[str, Outliers] = {}
    notes: list[str] = []
    bad = {*signals.bads, *signals.empty}
    if "channels" in rules:
        found["channels"] = bad_channels(signals, rules["channels"], reference, judge_in=judge_in)
        bad |= set(found["channels"].bads)
    bads = [name for name in signals.ch_names if name in bad]
    good = signals.picks(exclude=bads)
    if not len(good):
        raise InputError(
            f"all {len(bads)} channels are bad: nothing is left; raise the threshold of channels or check the recording"
        )
    single = rules.get("channels_in_epochs")
    # with nothing in between, one pass gives the statistics of the epochs and of the channels in them
    shared = "components" not in rules and not average_first
    wanted = {"squares", "amplitude"} if "epochs" in rules else set()
    if shared and single is not None:
        wanted |= cell_statistics(_metrics(single, signals))
    cells = _statistics(signals, signals.X, good, wanted, rules)
    if "epochs" in rules:
        found["epochs"] = bad_epochs(signals, rules["epochs"], bads, cells)
    kept = np.flatnonzero(~found["epochs"].bad) if "epochs" in found else np.arange(len(signals.X))
    if not len(kept):
        raise InputError(f"all {len(signals.X)} epochs are bad: nothing is left; raise the threshold of epochs")
    clean = signals.X[kept]
    if average_first:
        _average_reference(clean, signals, good)
    course = Course(found, bads, good, kept, cells["mean"].mean(axis=0), clean, notes=notes)
    course.marked = [name for name in signals.ch_names if name in signals.bads]
    if "components" in rules:
        if len(good) < 2 or len(kept) * signals.X.shape[2] < 2:
            notes.append("components need two channels and two samples at least; the step was left out")
        else:
            candidates = () if signals.eog() else channels_of(eog_proxy)
            named = [spelled(str(name), signals.ch_names, stand_in(name)) for name in candidates]
            proxies = [name for name in named if name not in bad]
            lost = [name for name in named if name in bad]
            rule = rules["components"]
            how = {**(decompose or {}), "reference": not average_first and rule.variant != "mne"}
            _take_components_out(course, signals, rule, how, proxies, lost)
    if single is not None:
        if shared:
            cells = {name: values[kept] for name, values in cells.items()}
        else:
            cells = _statistics(signals, clean, good, cell_statistics(_metrics(single, signals)), rules)
        course.usual = usual_cells(cells, single, _metrics(single, signals), clean.shape[2])
        found["channels_in_epochs"] = bad_cells(
            _with(signals, clean), single, reference, bads, cells, course.usual
        )  # fmt: skip
    return course


def describe(course: Course, n_epochs: int, n_channels: int) -> dict[str, Any]:
    """What was found, JSON-like.

    Parameters
    ----------
    course : Course
        What the stages found.
    n_epochs, n_channels : int
        What they looked at.

    Returns
    -------
    dict
        Bad items by step and metric, thresholds, what was skipped and why, channels marked before, notes.
    """
    steps = {
        step: {
            "n": len(found.items),
            "bad": found.bads,
            "by_metric": found.by_metric,
            "threshold": dict(found.threshold),
            "skipped": dict(found.skipped),
        }
        for step, found in course.found.items()
    }
    return {
        "n_epochs": n_epochs,
        "n_channels": n_channels,
        "marked_bad": course.marked,
        "steps": steps,
        "notes": course.notes,
    }


def cleaned_epochs(epochs: mne.BaseEpochs, clean: np.ndarray, bads: list[str], averaged: bool) -> mne.EpochsArray:
    """Clean signals as epochs, with everything else as the recorded ones have it.

    Parameters
    ----------
    epochs : mne.BaseEpochs
        As recorded.
    clean : array of shape (n_epochs, n_channels, n_times)
        Clean signals.
    bads : list of str
        Channels that stay marked as bad.
    averaged : bool
        Whether the EEG is in average reference, which is written down.

    Returns
    -------
    mne.EpochsArray
        The clean epochs.
    """
    import mne

    info = epochs.info.copy()
    info["bads"] = bads
    made = mne.EpochsArray(
        clean, info, epochs.events, epochs.tmin, epochs.event_id, proj=False, metadata=epochs.metadata,
        selection=epochs.selection, drop_log=epochs.drop_log, verbose="error",
    )  # fmt: skip
    if averaged:
        made.set_eeg_reference("average", ch_type="eeg", verbose="error")
    return made


def _take_components_out(
    course: Course,
    signals: Recorded,
    rule: Rule,
    decompose: dict[str, Any],
    eog_proxy: Sequence[str],
    lost: Sequence[str],
) -> None:
    kept = _with(signals, course.clean)
    decomposition = fit_decomposition(kept, bads=course.bads, **decompose)
    course.decomposition = decomposition
    course.found["components"] = bad_components(decomposition, kept, rule, eog_proxy=eog_proxy, lost=lost)
    if len(course.removed):
        matrix, offset = decomposition.removal(course.removed, [signals.ch_types[i] for i in course.good])
        course.clean[:, course.good] = apply_matrix(matrix, offset, course.clean[:, course.good])


def _with(signals: Recorded, X: np.ndarray) -> Recorded:
    return replace(signals, X=X)


def _metrics(rule: Rule, signals: Recorded) -> list[str]:
    return computable(rule, signals.sfreq, signals.X.shape[2])[0]


def _statistics(
    signals: Recorded, X: np.ndarray, good: np.ndarray, wanted: set[str], rules: Mapping[str, Rule]
) -> dict[str, np.ndarray]:
    signed = any(rule.variant == "paper" for rule in rules.values())
    return cell_scores(X, good, wanted, signed_gradient=signed, sfreq=signals.sfreq)


def _average_reference(X: np.ndarray, signals: Recorded, good: np.ndarray) -> None:
    """To the average of the good channels, in place: what all electrodes share is the reference's."""
    eeg = [i for i, kind in enumerate(signals.ch_types) if kind == "eeg"]
    counted = [i for i in good if signals.ch_types[i] == "eeg"]
    if len(counted) > 1:
        X[:, eeg] -= X[:, counted].mean(axis=1, keepdims=True)
