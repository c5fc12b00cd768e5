"""What the headers of many recordings tell before any data is read: what all share, and what cannot go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import ChannelError, InputError
from neurosig.core.log import logger
from neurosig.core.signals import Processing
from neurosig.loaders.events import is_span, resembling
from neurosig.loaders.formats import reading
from neurosig.loaders.recordings import Recording, read_recording

if TYPE_CHECKING:
    import mne
    import numpy as np

__all__ = [
    "Survey",
    "check_band",
    "data_channels",
    "headers_of",
    "no_codes",
    "no_events",
    "no_trials",
    "survey",
    "survey_files",
]

_KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("eeg", {"eeg": True}),
    ("meg", {"meg": True, "ref_meg": False}),
    ("seeg", {"seeg": True, "ecog": True, "dbs": True}),
    ("fnirs", {"fnirs": True}),
    ("csd", {"csd": True}),
)


@dataclass(frozen=True)
class Survey:
    """What recordings share: enough to refuse early, to bring all to one form, and to make room for X once.

    Parameters
    ----------
    channels : list of str
        The channels to take from each, in this order.
    events : list of str
        Names of the events.
    n_trials : int
        Trials there can be at most.
    n_times : int
        Samples of a trial; of different rates brought to one, the fewest that any gives.
    rates : tuple of float
        Sampling rates in Hz that occur.
    """

    channels: list[str]
    events: list[str]
    n_trials: int
    n_times: int
    rates: tuple[float, ...]


def headers_of(recordings: Iterable[Recording]) -> Iterator[tuple[str, mne.io.BaseRaw]]:
    """File name and header of each recording; no data is read where the format allows."""
    for recording in recordings:
        options = dataclasses.replace(recording.options, reject_uv=None)  # needs the data, and tells nothing here
        yield recording.path.name, read_recording(dataclasses.replace(recording, options=options), quiet=True)


def survey_files(recordings: Sequence[Recording], events: Sequence[str] | None, processing: Processing) -> Survey:
    """Survey recordings in files; in addition to `survey`, each event must be in one of them.

    Raises
    ------
    InputError
        See `survey`.
    """
    found: dict[str, int] = {}
    surveyed = survey(headers_of(recordings), events, processing, found=found)
    if events is not None and (absent := [event for event in events if event not in found]):
        if recordings[0].options.events is not None and recordings[0].options.window is None:
            raise InputError(no_codes(recordings, absent))
        raise InputError(no_events(listed(sorted({r.path.name for r in recordings}), 3), absent, sorted(found)))
    return surveyed


def survey(
    headers: Iterable[tuple[str, mne.io.BaseRaw]],
    events: Sequence[str] | None,
    processing: Processing,
    *,
    modality: str | None = None,
    found: dict[str, int] | None = None,
) -> Survey:
    """Look at headers and refuse what cannot be cut into one array.

    Parameters
    ----------
    headers : iterable of (str, mne.io.BaseRaw)
        Name and recording; one is held at a time.
    events : sequence of str or None
        Names of the events; None takes all.
    processing : Processing
        How trials are to be cut.
    modality : str, optional
        See `data_channels`.
    found : dict, optional
        Filled with how often each event occurs.

    Raises
    ------
    InputError
        Sampling rates differ and there is no `resample`, the band does not fit a rate, or no trial fits anywhere.
    ChannelError
        Channels differ, or none is left.
    """
    found = {} if found is None else found
    rates: dict[float, str] = {}
    infos: list[tuple[str, mne.Info]] = []
    n_trials, n_times = 0, []
    fits, misfit = False, None  # the first recording that has events, and its name and onsets
    for name, raw in headers:
        sfreq = float(raw.info["sfreq"])
        rates.setdefault(sfreq, name)
        if len(rates) > 1 and processing.resample is None:
            (first, file), (second, other) = list(rates.items())[:2]
            raise InputError(
                f"sampling rates differ: {file} has {first:g} Hz, {other} has {second:g} Hz; pass resample to bring "
                "all to one rate"
            )
        check_band(name, sfreq, processing)
        onsets = []
        start = raw.first_time if raw.annotations.orig_time is not None else 0.0
        for onset, text in zip(raw.annotations.onset, map(str, raw.annotations.description), strict=True):
            if not is_span(text):
                found[text] = found.get(text, 0) + 1
                if events is None or text in events:
                    onsets.append(round((onset - start) * sfreq))
        n_trials += len(onsets)
        if onsets and not fits:
            fits = _any_fits(raw, onsets, processing)
            misfit = misfit or (name, raw, onsets)
        n_times.append(_length(processing, sfreq))
        infos.append((name, raw.info))
    channels = _common_channels(infos, processing, modality)
    if misfit is not None and not fits:
        name, raw, onsets = misfit
        with reading(Path(name), "a recording"):  # a truncated file is to be told as that
            raw.load_data(verbose="error")
        raise InputError(no_trials(name, raw, onsets, processing.tmin, processing.tmax))
    return Survey(channels, list(events or sorted(found)), n_trials, min(n_times), tuple(rates))


def check_band(name: str, sfreq: float, processing: Processing) -> None:
    """Refuse a band that reaches beyond half of the sampling rate."""
    fmin, fmax = processing.fmin, processing.fmax
    if max(fmin or 0.0, fmax or 0.0) >= sfreq / 2:
        raise InputError(
            f"{name} is sampled at {sfreq:g} Hz, so the band must end below {sfreq / 2:g} Hz, got "
            f"fmin={fmin}, fmax={fmax}; choose a lower fmax"
        )


def data_channels(info: mne.Info, picks: Sequence[str] | None = None, modality: str | None = None) -> list[str]:
    """Names of the channels that carry the signal.

    Parameters
    ----------
    info : mne.Info
        What is there.
    picks : sequence of str, optional
        Names that are wanted, in this order, in any spelling that `neurosig.core.channels` knows. None takes the
        EEG channels that are not marked bad; where there are none, the MEG channels, or those inside the head.
    modality : {"eeg", "meg", "seeg"}, optional
        Take these, rather than the first kind that is there, where no picks are given.

    Raises
    ------
    ChannelError
        A picked name is not there, or there is no signal channel at all.
    """
    import mne

    if picks is not None:
        from neurosig.core.channels import match_channels

        exact = set(info["ch_names"])
        match = match_channels(info["ch_names"], picks)
        index = [
            info["ch_names"].index(name) if name in exact else at for name, at in zip(picks, match.index, strict=True)
        ]
        if missing := [name for name, at in zip(picks, index, strict=True) if at is None]:
            near = get_close_matches(missing[0], info["ch_names"], 1, 0.0)
            raise ChannelError(
                f"picks names channels that the recording does not have: {', '.join(missing)} (nearest: {near[0]}); "
                f"it has {listed(info['ch_names'], 12)}"
            )
        return [info["ch_names"][at] for at in index]
    for name, kinds in _KINDS:
        if modality in ("eeg", "meg", "seeg") and name != modality:
            continue
        if len(found := mne.pick_types(info, **kinds)):
            return [info["ch_names"][i] for i in found]
    raise ChannelError(
        f"the recording has no EEG, MEG or intracranial channel that is not marked bad; its types are "
        f"{', '.join(sorted(set(info.get_channel_types())))}; set them with ch_types"
    )


def no_events(name: str, events: Sequence[str] | None, there: list[str]) -> str:
    """That none of the events is there, and which are."""
    if events is None or not there:
        return (
            f"{name} has no events: expected annotations or codes in a stimulus channel; name them with events, or cut "
            "windows"
        )
    return f"{name} has none of the events {listed(events, 12)}; it has {listed(there, 12)}{resembling(events, there)}"


def no_codes(recordings: Sequence[Recording], absent: Sequence[str]) -> str:
    """That the codes behind event names are in no recording, and which are."""
    there: set[str] = set()
    for recording in recordings:
        options = dataclasses.replace(recording.options, events=None, reject_uv=None)
        raw = read_recording(dataclasses.replace(recording, options=options), quiet=True)
        there.update(text for text in map(str, raw.annotations.description) if not is_span(text))
    asked = recordings[0].options.events or {}
    values = [asked.get(name, name) for name in absent]
    codes = [repr(code) for value in values for code in (value if isinstance(value, list | tuple) else [value])]
    files = list(dict.fromkeys(recording.path.name for recording in recordings))
    where = ", ".join(files[:3]) + (f" or the other {len(files) - 3} files" if len(files) > 3 else "")
    return (
        f"no annotation {' or '.join(codes)} (event {', '.join(absent)}) in {where}; "
        f"there are {listed(sorted(there), 12) or 'none at all'}"
    )


def no_trials(name: str, raw: mne.io.BaseRaw, onsets: Collection[int], tmin: float, tmax: float) -> str:
    """Why not one trial could be cut: what lies around each event, against what was asked for."""
    import numpy as np

    sfreq = raw.info["sfreq"]
    clean = np.append(_clean(raw), False)
    pieces = np.flatnonzero(np.diff(np.concatenate([[False], clean]).astype(np.int8))).reshape(-1, 2)
    best = (0.0, 0.0)
    for onset in onsets:
        for start, stop in pieces:
            inside = ((start - onset) / sfreq, (stop - 1 - onset) / sfreq)
            overlap = min(inside[1], tmax) - max(inside[0], tmin)
            if overlap > min(best[1], tmax) - max(best[0], tmin):
                best = inside
    return (
        f"{name}: no trial from tmin={tmin:g} to tmax={tmax:g} s fits, the data around its {len(onsets)} events reach "
        f"from {best[0]:.4g} to {best[1]:.4g} s at best; choose tmin and tmax inside that"
    )


def _clean(raw: mne.io.BaseRaw) -> np.ndarray:
    """Samples outside bad spans and edges."""
    import numpy as np

    sfreq = raw.info["sfreq"]
    clean = np.ones(raw.n_times, bool)
    first = raw.first_time if raw.annotations.orig_time is not None else 0.0
    for onset, duration, text in zip(
        raw.annotations.onset, raw.annotations.duration, raw.annotations.description, strict=True
    ):
        if is_span(text):
            start, stop = round((onset - first) * sfreq), round((onset + duration - first) * sfreq)
            clean[max(start, 0) : max(stop, 0)] = False
    return clean


def _any_fits(raw: mne.io.BaseRaw, onsets: Sequence[int], processing: Processing) -> bool:
    """Whether at least one trial has room between bad spans; one sample of doubt on each side is granted."""
    import numpy as np

    sfreq = raw.info["sfreq"]
    dirty = np.concatenate([[0], np.cumsum(~_clean(raw))])
    starts = np.asarray(onsets) + round(processing.tmin * sfreq) + 1
    stops = np.asarray(onsets) + round(processing.tmax * sfreq)
    inside = (starts >= 0) & (stops <= raw.n_times)
    return bool(np.any((dirty[stops[inside]] - dirty[np.minimum(starts, stops)[inside]]) == 0))


def _length(processing: Processing, sfreq: float) -> int:
    count = round(processing.tmax * sfreq) - round(processing.tmin * sfreq) + 1
    return count if processing.resample is None else max(1, round(count * processing.resample / sfreq))


def _common_channels(headers: list[tuple[str, mne.Info]], processing: Processing, modality: str | None) -> list[str]:
    """The channels of the first file, which all must have; channels marked bad in any file are left out of all."""
    bads = set().union(*(info["bads"] for _, info in headers)) if processing.picks is None else set()
    reference: list[str] | None = None
    for file, info in headers:
        names = [name for name in data_channels(info, processing.picks, modality) if name not in bads]
        if reference is None:
            first, reference = file, names
        elif set(names) != set(reference):
            missing, extra = sorted(set(reference) - set(names)), sorted(set(names) - set(reference))
            told = [f"lacks {', '.join(missing[:6])}"] if missing else []
            told += [f"has {', '.join(extra[:6])} besides"] if extra else []
            raise ChannelError(
                f"channels differ: {file} {' and '.join(told)}, compared with {first}; pass picks with the channels "
                "that all have"
            )
    if not reference:
        raise ChannelError(f"every channel is marked bad in one of the files: {', '.join(sorted(bads))}; pass picks")
    if bads:
        logger.info("left out, as marked bad: %s", ", ".join(sorted(bads)))
    return reference
