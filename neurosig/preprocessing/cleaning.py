"""Cleaning one recording: filter, cut, FASTER stage by stage, re-reference, with a record of what was removed and why.

The order is that of the authors' program, with three of its options settled: channels are judged on the trials that are
kept (as mne-faster does), bad channels stay out of the components, and bad channels and bad channels of single epochs
are interpolated together, so that neither is made of the other.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.channel_names import canonical_name, listed
from neurosig.core.errors import ChannelError, InputError
from neurosig.preprocessing.cleaning_autoreject import check_autoreject, run_autoreject
from neurosig.preprocessing.cleaning_filling import fill_bad_channels
from neurosig.preprocessing.cleaning_notes import (
    average_note,
    near_reference,
    nothing_to_compare,
    skipped_notes,
    without_places,
)
from neurosig.preprocessing.cleaning_options import CleaningOptions
from neurosig.preprocessing.faster_course import STEPS, take_steps
from neurosig.preprocessing.faster_ica import Decomposition
from neurosig.preprocessing.faster_outliers import Outliers
from neurosig.preprocessing.faster_signals import DATA_TYPES, Recorded, located

if TYPE_CHECKING:
    import mne

__all__ = ["STEPS", "Cleaned", "CleaningOptions", "clean_epochs", "clean_raw"]


@dataclass
class Cleaned:
    """A cleaned recording and the record of its cleaning.

    Parameters
    ----------
    epochs : mne.Epochs
        Trials that were kept, cleaned; in `metadata` the column ``trial`` is their number among all that were cut. The
        others are not in it, and stand in `drop_log` with the reason FASTER or AUTOREJECT.
    before : array of shape (n_trials, n_channels, n_times)
        All trials of the data channels before the cleaning, to the same reference (over good channels), for comparison.
    found : dict of str to Outliers
        What each stage saw. Numbers of epochs are of all trials; ``channels_in_epochs`` runs over the kept ones.
    decomposition : Decomposition or None
        The components, where they were looked for.
    kept : array of int
        Numbers of the trials that were kept.
    cells : array of bool of shape (n_kept, n_channels)
        Channels interpolated in single epochs (bad channels not counted).
    interpolated : tuple of str
        Channels interpolated everywhere.
    not_interpolated : tuple of str
        Bad channels that could not be, and stay marked as bad.
    event_counts : dict of str to (int, int)
        Trials of each event: cut and kept.
    autoreject : dict or None
        What autoreject did.
    notes : list of str
        What a reader should know: metrics that could not be computed, thresholds that can never be passed.
    marked : tuple of str
        Data channels that were marked bad before any stage, by the recording or as they held no numbers.
    lost : int
        Trials that were not looked at, as they touch a span marked bad, not-a-number among them.
    averaged : bool
        Whether the EEG is in average reference.
    dropped : dict of int to (str, float or None)
        Event and onset in seconds of each trial that was not kept.
    """

    epochs: mne.Epochs
    before: np.ndarray
    found: dict[str, Outliers]
    decomposition: Decomposition | None
    kept: np.ndarray
    cells: np.ndarray
    interpolated: tuple[str, ...]
    not_interpolated: tuple[str, ...]
    event_counts: dict[str, tuple[int, int]]
    autoreject: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    marked: tuple[str, ...] = ()
    lost: int = 0
    averaged: bool = False
    dropped: dict[int, tuple[str, float | None]] = field(default_factory=dict)

    @property
    def ch_names(self) -> list[str]:
        """Names of the data channels, the order of `before` and `cells`."""
        return _names(self.epochs.info)


def clean_raw(
    raw: mne.io.BaseRaw, options: CleaningOptions, on_nan: str = "raise", montage: str | None = None
) -> Cleaned:
    """Filter, cut and clean a recording.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        As `read_recording` gives it: events as annotations. Changed in place.
    options : CleaningOptions
        How.
    on_nan : {"raise", "annotate"}
        What to do where a part of a channel is NaN or infinite: refuse the recording, or leave those spans out and
        drop the trials that touch them, see `ReadOptions`.
    montage : str, optional
        The montage that the recording was read with, to say so where no channel is in it.

    Returns
    -------
    Cleaned
        Cleaned trials and what was removed.

    Raises
    ------
    NoEventsError
        There is no event, or none of those asked for.
    InputError, ChannelError
        The file is damaged, no trial fits, the band does not fit the rate, the data hold NaN, or nothing is left.
    """
    from neurosig.loaders.epoch_files import provenance
    from neurosig.loaders.epochs import cut_epochs
    from neurosig.loaders.formats import reading

    before = provenance(raw.info).get("cleaned_by")
    kinds = raw.get_channel_types()
    for name in options.eog:
        if name not in raw.ch_names:
            raise ChannelError(f"the EOG channel {name!r} is not there; the channels are {listed(raw.ch_names)}")
    _check_reference(raw.info, options)
    _proxies(raw.info, options)
    wanted = [
        name
        for name, kind in zip(raw.ch_names, kinds, strict=True)
        if kind in (*DATA_TYPES, "eog") or name in options.eog
    ]
    if not any(kind in DATA_TYPES for kind in kinds):
        raise ChannelError(
            f"the recording has no channel of type {', '.join(DATA_TYPES)}; its types are "
            f"{', '.join(sorted(set(kinds)))}"
        )
    others = [f"{name} ({kind})" for name, kind in zip(raw.ch_names, kinds, strict=True) if name not in wanted]
    raw.pick(wanted, verbose="error")
    if options.eog:
        raw.set_channel_types(dict.fromkeys(options.eog, "eog"), verbose="error")
    placeless = _locate(raw, options)
    check_autoreject(raw.info, options)
    with reading(Path(next((str(name) for name in raw.filenames if name), "the recording")), "signals"):
        raw.load_data(verbose="error")
    silent = _silence_empty(raw, on_nan)
    _filter(raw, options)
    epochs = cut_epochs(raw, options.events, options.processing)
    cleaned = clean_epochs(epochs, options)
    cleaned.lost = sum(any(why.upper().startswith("BAD") for why in log) for log in epochs.drop_log)
    cleaned.notes = without_places(cleaned.notes, cleaned.epochs.info, montage)
    if before:
        cleaned.notes.append(f"the trials were cleaned before, by {before}: a second cleaning takes more away")
    if placeless:
        cleaned.notes.append(f"{listed(placeless)} filtered and cut, not cleaned (misc): no place in the montage")
    if others:
        cleaned.notes.append(f"not in the result, as neither brain nor eyes: {', '.join(others)}")
    if silent:
        cleaned.notes.append(f"{', '.join(silent)} held no numbers (NaN) and counted as marked bad")
    return cleaned


def clean_epochs(epochs: mne.BaseEpochs, options: CleaningOptions) -> Cleaned:
    """Clean trials that were cut.

    Parameters
    ----------
    epochs : mne.BaseEpochs
        Trials of data and EOG channels; channels in ``info["bads"]`` are interpolated. Not changed.
    options : CleaningOptions
        How; band and window are not looked at.

    Returns
    -------
    Cleaned
        Cleaned trials and what was removed.

    Raises
    ------
    InputError
        No channel or no trial is left.
    """
    _check_reference(epochs.info, options)
    check_autoreject(located(epochs.info), options, len(epochs))
    work = epochs.copy().load_data()
    work.set_annotations(None)
    _place_by_name(work)
    all_codes = work.events[:, 2].copy()
    notes: list[str] = []
    with _noting(notes):
        signals = Recorded.read(work, eog=options.eog)
        course = take_steps(
            signals,
            {step: options.rule(step) for step in options.steps},
            average_first=options.average_first,
            decompose={"method": options.ica, "random_state": options.random_state},
            eog_proxy=_proxies(work.info, options),
            judge_in=options.judge_in,
            reference=options.reference_position,
        )
        work.info["bads"] = course.bads
        before = _before(work, options)
        work.drop(np.setdiff1d(np.arange(len(work)), course.kept), reason="FASTER", verbose="error")
        work._data[...] = course.clean
        cells = course.cells[:, _data(work.info)]
        interpolated, left = fill_bad_channels(work, cells, notes)
        kept = course.kept
        auto = None
        if options.autoreject:
            work, chosen, auto = run_autoreject(work, options)
            kept, cells = kept[chosen], cells[chosen]
        averaged = _output_reference(work, options, notes)
        if options.baseline is not None:
            work.apply_baseline(options.baseline, verbose="error")
    _number(work, kept)
    codes = {code: name for name, code in epochs.event_id.items()}
    onsets = None if epochs.metadata is None else epochs.metadata.get("onset")
    dropped = {
        int(i): (codes[all_codes[i]], None if onsets is None else float(onsets.iloc[i]))
        for i in np.setdiff1d(np.arange(len(all_codes)), kept)
    }
    counts = {
        name: (int((all_codes == code).sum()), int((all_codes[kept] == code).sum())) for code, name in codes.items()
    }
    notes += skipped_notes(course.found, epochs.info, options.eog_proxy)
    notes += nothing_to_compare(course, work.get_channel_types(), len(epochs))
    if told := near_reference(course.found.get("channels"), work.info):
        notes.append(told)
    return Cleaned(
        work, before, course.found, course.decomposition, kept, cells, interpolated, left, counts, auto,
        list(dict.fromkeys([*notes, *course.notes])),
        tuple(name for name in course.marked if name in _names(work.info)), averaged=averaged,
        dropped=dropped,
    )  # fmt: skip


def _proxies(info: mne.Info, options: CleaningOptions) -> list[str]:
    """The channels that stand in for EOG, as the recording spells them."""
    there = {canonical_name(name): name for name in info["ch_names"]} | {name: name for name in info["ch_names"]}
    found = [there.get(name, there.get(canonical_name(name))) for name in options.eog_proxy]
    for name, match in zip(options.eog_proxy, found, strict=True):
        if match is None:
            raise ChannelError(
                f"the channel {name!r} that is to stand in for EOG is not there; the channels are "
                f"{listed(info['ch_names'])}"
            )
    return [name for name in found if name is not None]


def _place_by_name(inst: mne.io.BaseRaw | mne.BaseEpochs) -> None:
    """Positions of the 10-05 system, where there are none but the names are known."""
    info = located(inst.info)
    if info is not inst.info:
        inst.set_montage(info.get_montage(), on_missing="ignore", verbose="error")


def _locate(raw: mne.io.BaseRaw, options: CleaningOptions) -> list[str]:
    """Place channels by name; where most have places, those without (bipolar pairs and the like) become misc."""
    _place_by_name(raw)
    info = raw.info
    eeg = _eeg(info)
    places = np.array([info["chs"][i]["loc"][:3] for i in eeg]).reshape(-1, 3)
    without = ~np.isfinite(places).all(axis=1) | (places == 0).all(axis=1)
    if not without.any() or without.sum() * 2 >= len(eeg) or (~without).sum() < 4:
        return []
    needed = {*_proxies(info, options), *(options.reference or () if options.reference != "average" else ())}
    names = [info["ch_names"][i] for i, alone in zip(eeg, without, strict=True) if alone]
    names = [name for name in names if name not in needed]
    raw.set_channel_types(dict.fromkeys(names, "misc"), on_unit_change="ignore", verbose="error")
    return names


def _silence_empty(raw: mne.io.BaseRaw, on_nan: str) -> list[str]:
    """Channels that hold NaN only are marked bad, whatever steps are taken; NaN in part of a channel is `on_nan`."""
    from neurosig.loaders.sensors import check_data

    empty = [name for name, row in zip(raw.ch_names, raw.get_data(), strict=True) if np.isnan(row).all()]
    if len(empty) == len(raw.ch_names):
        raise InputError("the recording holds no numbers: every sample is NaN; export it again")
    if empty:
        # filters take no NaN; the zeros stand in until the channel is interpolated, and count nowhere
        raw.apply_function(lambda row: np.zeros(len(row)), picks=empty, verbose="error")
        raw.info["bads"] = list(dict.fromkeys([*raw.info["bads"], *empty]))
    check_data(raw, on_nan, Path("the recording"))
    return empty


def _filter(raw: mne.io.BaseRaw, options: CleaningOptions) -> None:
    nyquist = raw.info["sfreq"] / 2
    if max(options.fmin or 0.0, options.fmax or 0.0) >= nyquist:
        raise InputError(
            f"the recording is sampled at {raw.info['sfreq']:g} Hz, so the band must end below {nyquist:g} Hz, got "
            f"fmin={options.fmin}, fmax={options.fmax}; choose a lower fmax"
        )
    if options.notch is not None and options.notch < nyquist:
        raw.notch_filter(
            np.arange(options.notch, nyquist, options.notch), picks="all", method="iir", verbose="error"
        )  # fmt: skip
    if options.fmin is not None or options.fmax is not None:
        raw.filter(options.fmin, options.fmax, method="iir", picks="all", verbose="error")


def _data(info: mne.Info) -> list[int]:
    return [i for i, kind in enumerate(info.get_channel_types()) if kind in DATA_TYPES]


def _names(info: mne.Info) -> list[str]:
    return [info["ch_names"][i] for i in _data(info)]


def _eeg(info: mne.Info) -> list[int]:
    return [i for i, kind in enumerate(info.get_channel_types()) if kind == "eeg"]


def _before(epochs: mne.BaseEpochs, options: CleaningOptions) -> np.ndarray:
    """A copy of the data channels as they came, to the reference of the result: that shows what the cleaning did."""
    X, info = epochs.get_data(copy=True), epochs.info
    eeg, bads = _eeg(info), info["bads"]
    everyone = options.reference == "average" or (options.reference is None and options.average_first)
    named = info["ch_names"] if everyone else options.reference or ()
    counted = [i for i in eeg if info["ch_names"][i] in named]
    # a bad channel would spread over all; a bad one that was named as reference stays what was asked for
    counted = [i for i in counted if info["ch_names"][i] not in bads] or counted
    if counted and not (everyone and len(counted) < 2):
        X[:, eeg] -= X[:, counted].mean(axis=1, keepdims=True)
    return X[:, _data(info)]


def _check_reference(info: mne.Info, options: CleaningOptions) -> None:
    """Before any work: whether the reference is there."""
    eeg = [info["ch_names"][i] for i in _eeg(info)]
    if options.reference is None or isinstance(options.reference, str) or not eeg:
        return
    if missing := [name for name in options.reference if name not in eeg or name in options.eog]:
        raise ChannelError(f"the reference {missing[0]!r} is not among the EEG channels {listed(eeg)}; name others")


def _output_reference(epochs: mne.BaseEpochs, options: CleaningOptions, notes: list[str]) -> bool:
    """Re-reference what came out; whether it is in average reference."""
    eeg = [name for name in (epochs.ch_names[i] for i in _eeg(epochs.info)) if name not in epochs.info["bads"]]
    names = options.reference
    if names is None or not _eeg(epochs.info):
        return options.average_first and len(eeg) > 1
    if names == "average":
        if told := average_note(len(eeg)):
            notes.append(told)
        if len(eeg) < 2:  # of one channel nothing would be left
            return False
    epochs.set_eeg_reference(names if isinstance(names, str) else list(names), projection=False, verbose="error")
    return names == "average"


def _number(epochs: mne.BaseEpochs, kept: np.ndarray) -> None:
    """The number of each trial among all that were cut, in the metadata."""
    import mne
    import pandas as pd

    table = pd.DataFrame(index=range(len(epochs))) if epochs.metadata is None else epochs.metadata
    with mne.use_log_level("error"):
        epochs.metadata = table.reset_index(drop=True).assign(trial=kept)


@contextmanager
def _noting(notes: list[str]) -> Iterator[None]:
    """What the stages warn of belongs into the record, once, rather than on the screen of each worker."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        yield
    notes[:0] = [" ".join(str(warning.message).split()) for warning in said if warning.category is UserWarning]
