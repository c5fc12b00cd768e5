"""Events of a recording: from annotations, stimulus channels or windows, under the names that the options give."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, NoEventsError, UsageError
from neurosig.loaders.formats import reading
from neurosig.loaders.recordings import ReadOptions, Recording

if TYPE_CHECKING:
    import mne
    import numpy as np

__all__ = ["apply_events", "event_counts", "is_span", "resembling", "stim_events"]


def is_span(description: str) -> bool:
    """Whether an annotation marks a bad span or an edge, rather than an event."""
    return description.lower().startswith(("bad", "edge"))


def apply_events(raw: mne.io.BaseRaw, recording: Recording) -> None:
    """Leave in `raw` the annotations that carry event names (beside bad spans and edges).

    Raises
    ------
    NoEventsError
        Events were asked for and none is there; the message tells which are.
    """
    import mne
    import numpy as np

    options = recording.options
    spans = [i for i, text in enumerate(raw.annotations.description) if is_span(text)]
    kept = raw.annotations[spans] if spans else None
    windows = options.window is not None
    events = _window_events(raw, recording) if windows else _named_events(raw, options, recording)
    if kept is not None:
        raw.set_annotations(events, verbose="error")
        events = raw.annotations + kept
    raw.set_annotations(
        events if events is not None else mne.Annotations(np.array([]), np.array([]), []), verbose="error"
    )


def stim_events(raw: mne.io.BaseRaw, stim_channel: str | None = None) -> np.ndarray:
    """Onsets of codes in the stimulus channel, as mne's event array; empty where there is no such channel."""
    import mne
    import numpy as np

    if stim_channel is not None and stim_channel not in raw.ch_names:
        near = get_close_matches(stim_channel, raw.ch_names, 1, 0.0)
        raise InputError(f"no stimulus channel {stim_channel!r} in the recording (nearest: {near[0]})")
    names = [stim_channel] if stim_channel else _stim_channels(raw)
    if not names:
        return np.zeros((0, 3), int)
    path = Path(next((str(name) for name in raw.filenames if name), "recording"))
    with reading(path, f"a recording with stimulus channel {', '.join(names)}"):
        return mne.find_events(raw, names, shortest_event=0, initial_event=False, verbose="error")


def event_counts(raw: mne.io.BaseRaw) -> dict[str, int]:
    """How often each event occurs: annotations, or the codes of the stimulus channel where there are none."""
    import numpy as np

    texts = [text for text in raw.annotations.description if not is_span(text)]
    values = np.array(texts) if texts else stim_events(raw)[:, 2]
    names, counts = np.unique(values, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def _stim_channels(raw: mne.io.BaseRaw) -> list[str]:
    """The channel that holds composite codes, where mne's conventions tell; else all of them."""
    import mne

    names = [raw.ch_names[i] for i in mne.pick_types(raw.info, meg=False, stim=True)]
    return next(([name] for name in ("STI101", "STI 014", "STI014", "Status") if name in names), names)


def _wanted(options: ReadOptions) -> dict[Any, str] | None:
    """Description or code to event name."""
    if options.events is None:
        return None
    wanted: dict[Any, str] = {}
    for name, values in options.events.items():
        for value in values if isinstance(values, list | tuple) else [values]:
            if wanted.setdefault(value, name) != name:
                raise UsageError(f"events: {value!r} is given two names, {wanted[value]!r} and {name!r}")
    return wanted


def _codes(description: str) -> tuple[Any, ...]:
    """What an annotation can be asked for by: its text, the text after BrainVision's "Stimulus/", and its number."""
    tail = description.rsplit("/", 1)[-1]
    number = re.fullmatch(r"[A-Za-z]?\s*(\d+)(\.0)?", tail.strip())
    return (description, tail, *((int(number.group(1)),) if number else ()))


def _refuse_two_types(names: dict[str, str], wanted: dict[Any, str], recording: Recording) -> None:
    """An integer may stand for one type of marker: a stimulus and a response of one number are not the same event."""
    types: dict[int, dict[str, str]] = {}
    for text in names:
        *exact, number = _codes(text)
        if isinstance(number, int) and number in wanted and not any(code in wanted for code in exact):
            types.setdefault(number, {}).setdefault(re.sub(r"\s*\d+(\.0)?\s*$", "", text), text)
    for number, found in types.items():
        if len(found) > 1:
            first = next(iter(sorted(found.values(), reverse=True)))
            raise InputError(
                f"{recording.path.name}: code {number} is that of {len(found)} types of marker, "
                f"{' and '.join(map(repr, sorted(found.values())))}; name the one that is meant by its text, for "
                f"example events={{{wanted[number]!r}: {first!r}}}"
            )


def _named_events(raw: mne.io.BaseRaw, options: ReadOptions, recording: Recording) -> mne.Annotations | None:
    import mne

    wanted = _wanted(options)
    texts = [str(text) for text in raw.annotations.description]
    if options.stim_channel is None:
        if wanted is None:
            names = {text: text for text in texts if not is_span(text)}
        else:
            names = {text: wanted[code] for text in texts for code in reversed(_codes(text)) if code in wanted}
            _refuse_two_types(names, wanted, recording)
        if names:
            events = raw.annotations[[i for i, text in enumerate(texts) if text in names]]
            return events.rename({old: new for old, new in names.items() if old != new})
    events = stim_events(raw, options.stim_channel)
    present = sorted({int(code) for code in events[:, 2]})
    by_code = {code: str(code) for code in present} if wanted is None else _integer_codes(wanted)
    hits = events[[int(code) in by_code for code in events[:, 2]]]
    if len(hits):
        return mne.annotations_from_events(hits, raw.info["sfreq"], by_code, first_samp=raw.first_samp, verbose="error")
    if wanted is not None:
        raise NoEventsError(
            _absent(recording, wanted, sorted({text for text in texts if not is_span(text)}), present, raw)
        )
    return None


def _integer_codes(wanted: dict[Any, str]) -> dict[int, str]:
    return {int(code): name for code, name in wanted.items() if isinstance(code, int) or str(code).isdigit()}


def _absent(
    recording: Recording, wanted: dict[Any, str], texts: list[str], codes: list[int], raw: mne.io.BaseRaw
) -> str:
    asked = ", ".join(f"{name} ({code!r})" for code, name in wanted.items())
    there = [f"annotations {listed(texts, 12)}"] if texts else []
    there += [f"stimulus codes {listed(map(str, codes), 12)} in {', '.join(_stim_channels(raw))}"] if codes else []
    return (
        f"{recording.path.name} has none of the events asked for: {asked}; "
        f"it has {' and '.join(there) or 'no events at all'}{resembling(wanted, [*texts, *map(str, codes)])}"
    )


def resembling(asked: Iterable[Any], known: Iterable[str]) -> str:
    """``"; nearest to 'rigt' is 'right'"``, where something that was asked for looks like a slip of something known.

    Names that differ in a number (T1 and T2) are other events, and names that share a word (left_hand and right_hand)
    the opposite ones: neither is offered.
    """
    plain = {name: "".join(re.findall(r"\w", name.casefold())) for name in known}
    for word in map(str, asked):
        text = "".join(re.findall(r"\w", word.casefold()))
        alike = [name for name, other in plain.items() if re.findall(r"\d+", other) == re.findall(r"\d+", text)]
        if text and (near := get_close_matches(text, [plain[name] for name in alike], 1, 0.75)):
            return f"; nearest to {word!r} is {next(name for name in alike if plain[name] == near[0])!r}"
    return ""


def _window_events(raw: mne.io.BaseRaw, recording: Recording) -> mne.Annotations:
    """One event at the start of each window that fits, for a recording (or the trials of a file) that is one state."""
    import mne
    import numpy as np

    options = recording.options
    length, step = options.window or (0.0, 0.0)
    sfreq = raw.info["sfreq"]
    onsets, names = [], []
    for start, stop, state in _pieces(raw):
        label = recording.label or options.label or state
        if label is None:
            raise InputError(
                f"{recording.path.name} is to be cut into windows and its state is not given: pass label, in the "
                "options or for the recording"
            )
        starts = np.arange(0.0, (stop - start) / sfreq - length + 0.5 / sfreq, step)
        onsets += (start / sfreq + starts).tolist()
        names += [label] * len(starts)
    if not onsets:
        raise InputError(
            f"{recording.path.name} lasts {raw.n_times / sfreq:.2f} s, too short for one window of {length} s; pass a "
            "shorter one"
        )
    return mne.Annotations(onsets, length, names)


def _pieces(raw: mne.io.BaseRaw) -> list[tuple[int, int, str | None]]:
    """Continuous pieces, (first sample, one past the last, state): the trials of a trial file, else the whole.

    The n-th event is the state of the n-th trial: where time zero lies outside the trials, its place does not tell.
    """
    skip = [i for i, text in enumerate(raw.annotations.description) if text == "BAD_ACQ_SKIP"]
    first = raw.first_time if raw.annotations.orig_time is not None else 0.0
    edges = [
        (
            round((raw.annotations.onset[i] - first) * raw.info["sfreq"]),
            round((raw.annotations.onset[i] + raw.annotations.duration[i] - first) * raw.info["sfreq"]),
        )
        for i in skip
    ]
    starts = [0, *(stop for _, stop in edges)]
    stops = [*(start for start, _ in edges), raw.n_times]
    marks = [str(text) for text in raw.annotations.description if not is_span(text)]
    pieces = [(start, stop) for start, stop in zip(starts, stops, strict=True) if stop > start]
    if len(marks) != len(pieces) or not skip:
        return [(start, stop, None) for start, stop in pieces]
    return [(start, stop, state) for (start, stop), state in zip(pieces, marks, strict=True)]
