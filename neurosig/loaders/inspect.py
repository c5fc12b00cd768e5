"""What is in a recording, and what is wrong with it: `inspect_recording` reads any file in pieces and tells."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import InputError
from neurosig.loaders.recordings import Opened, ReadOptions, Recording, open_recording

if TYPE_CHECKING:
    import mne
    from matplotlib.figure import Figure

    from neurosig.loaders.scan import Scan

__all__ = ["SCALES", "Inspection", "inspect_figure", "inspect_recording", "look_into"]

SCALES = {
    "eeg": ("uV", 1e6),
    "eog": ("uV", 1e6),
    "ecg": ("uV", 1e6),
    "emg": ("uV", 1e6),
    "seeg": ("uV", 1e6),
    "ecog": ("uV", 1e6),
    "dbs": ("uV", 1e6),
    "mag": ("fT", 1e15),
    "ref_meg": ("fT", 1e15),
    "grad": ("fT/cm", 1e13),
}
_DATA = ("eeg", "seeg", "ecog", "dbs", "mag", "grad")
_LINE_DECIBEL = 15.0  # a mains peak this far above its neighbourhood is worth a notch filter
_STUCK = 10  # repeats at an extreme; noise reaches its extreme once or twice
_UNEVEN = 10.0


@dataclass(frozen=True)
class Inspection:
    """A recording looked into: the open file, what one pass over it found, and the report on both."""

    raw: mne.io.BaseRaw
    scan: Scan
    report: dict[str, Any]


def inspect_recording(path: str | Path, *, options: ReadOptions | None = None) -> dict[str, Any]:
    """Tell what is in a recording.

    The file is read in pieces, so that memory stays bounded. Nothing that identifies a person (name, birthday, age,
    dates) is in the answer.

    Parameters
    ----------
    path : str or Path
        One recording of any format that neurosig reads.
    options : ReadOptions, optional
        How to read it, where the file does not say.

    Returns
    -------
    dict
        JSON-like: file, format, size_bytes, sfreq (Hz), duration (s), n_channels, types, stim_channels, channels (name,
        type, unit, sd, min, max, flags), filters (Hz, None where
        the file states none), events (counts), event_source, spans, trials, montage,
        line_noise (dB), notes and problems (kind, message, channels).

    Raises
    ------
    InputError
        The file cannot be read.
    """
    return look_into(path, options=options).report


def inspect_figure(path: str | Path, *, options: ReadOptions | None = None) -> Figure:
    """Draw a recording: traces, events, spectrum, and a map of the sensors where their places are known.

    Parameters
    ----------
    path : str or Path
        One recording of any format that neurosig reads.
    options : ReadOptions, optional
        How to read it, where the file does not say.

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot; ``figure.savefig("look.png")`` writes it.
    """
    from neurosig.loaders.inspect_figure import draw

    return draw(look_into(path, options=options))


def look_into(path: str | Path, *, options: ReadOptions | None = None) -> Inspection:
    """Open, scan and judge a recording; what `inspect_recording` and `inspect_figure` share."""
    from neurosig.loaders.formats import collect_notes, reading
    from neurosig.loaders.scan import scan

    recording = _one_recording(Path(path), options or ReadOptions())
    opened = _open(recording)
    raw = opened.raw
    warned = list(opened.warnings)
    stim = [name for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind == "stim"]
    with collect_notes(warned), reading(recording.path, opened.format):
        events, source = _events(raw, recording)
        montage = _arrange(raw, recording.options)
        found = scan(raw)
    problems = [{"kind": "reader", "message": text, "channels": []} for text in warned]
    problems += _problems(raw, found, events, montage)
    report = _report(recording, opened, found, events, source, montage, problems)
    report["stim_channels"] = stim
    return Inspection(raw, found, report)


def _one_recording(path: Path, options: ReadOptions) -> Recording:
    from neurosig.loaders.discover import bids_root_of, discover

    if path.is_dir() and not path.name.lower().endswith((".ds", ".mff", ".mefd")):
        inside = sorted({item.path for item in discover(path, options=options)})
        raise InputError(f"{path} is a folder of {len(inside)} recording(s): give one of them, for example {inside[0]}")
    return Recording(path, bids_root=bids_root_of(path), options=options)


def _open(recording: Recording) -> Opened:
    """Open the file; where that fails on a file that is sound, but no recording, say what it is."""
    try:
        return open_recording(recording)
    except InputError as error:
        path = recording.path
        if not path.is_file() or not path.stat().st_size:
            raise
        name = path.name.lower()
        if name.endswith((".fif", ".fif.gz")) and (held := _held_by_fif(path)):
            raise InputError(
                f"{path.name} holds {held}: neurosig reads recordings and epochs; give the .fif file it was made from"
            ) from error
        if name.endswith(".txt"):
            raise InputError(
                f"{path.name} is a text file of unknown layout; CSV with a header or a format mne reads is expected"
            ) from error
        raise


def _held_by_fif(path: Path) -> str | None:
    """What a FIF file without a recording or epochs holds, told by its blocks; None where nothing known is in it."""
    import mne

    kinds = {  # the first that is there: averages and epochs may carry a list of events
        "FIFFB_EVOKED": "evoked responses (averages)",
        "FIFFB_MNE_COV": "a covariance matrix",
        "FIFFB_MNE_EVENTS": "a list of events",
    }
    try:
        blocks = set(re.findall(r"= (FIFFB_\w+)", mne.io.show_fiff(path, verbose="error")))
    except Exception:  # a damaged file fails in every way; the error of the reader tells of that
        return None
    if blocks & {"FIFFB_RAW_DATA", "FIFFB_CONTINUOUS_DATA", "FIFFB_IAS_RAW_DATA"}:
        return None
    return next((text for block, text in kinds.items() if block in blocks), None)


def _events(raw: mne.io.BaseRaw, recording: Recording) -> tuple[dict[str, int], str | None]:
    from neurosig.loaders.events import apply_events, event_counts, is_span

    counts = event_counts(raw)
    annotated = any(not is_span(text) for text in raw.annotations.description)
    if recording.options.events is not None or recording.options.window is not None or not annotated:
        apply_events(raw, recording)
        counts = event_counts(raw)
    if not counts:
        return {}, None
    return counts, "annotations" if annotated else "stimulus channel"


def _arrange(raw: mne.io.BaseRaw, options: ReadOptions) -> dict[str, Any]:
    """Apply names and types; match the EEG channels with the asked-for montage, or try the 10-05 system."""
    import dataclasses

    import mne

    from neurosig.loaders.sensors import apply_sensors, missing_positions, standard_montage

    apply_sensors(raw, dataclasses.replace(options, montage=None))
    located = len(
        mne.pick_types(raw.info, meg=True, ref_meg=False, eeg=True, seeg=True, ecog=True, dbs=True, exclude=())
    )
    without = missing_positions(raw)
    eeg = [raw.ch_names[i] for i in mne.pick_types(raw.info, eeg=True, exclude=())]
    name = options.montage or "standard_1005"
    known = {label.lower() for label in standard_montage(name).ch_names}
    unmatched = [label for label in eeg if label.lower() not in known]
    if eeg and len(unmatched) < len(eeg) and (options.montage is not None or any(label in without for label in eeg)):
        raw.set_montage(standard_montage(name), match_case=False, on_missing="ignore", verbose="error")
    return {
        "name": name if eeg else None,
        "matched": len(eeg) - len(unmatched),
        "unmatched": unmatched,
        "positions_in_file": located - len(without),
        "without_position": missing_positions(raw),
    }


def _problems(
    raw: mne.io.BaseRaw, found: Scan, events: dict[str, int], montage: dict[str, Any]
) -> list[dict[str, Any]]:
    """Everything that would surprise someone who analysed the recording unseen."""
    problems: list[dict[str, Any]] = []

    def add(kind: str, message: str, channels: list[str] | None = None) -> None:
        problems.append({"kind": kind, "message": message, "channels": channels or []})

    types = raw.get_channel_types()
    data = [i for i, kind in enumerate(types) if kind in _DATA]
    names = raw.ch_names
    if not data:
        add("no signal", f"no EEG, MEG or intracranial channel; types are {', '.join(sorted(set(types)))}")
    if found.bad_spans:
        first, last = found.bad_spans[0]
        holders = [names[i] for i in range(len(names)) if found.n_bad[i]]
        add(
            "nan",
            f"NaN or infinite samples in {len(found.bad_spans)} span(s), the first at {first:.3f}-{last:.3f} s",
            holders,
        )
    flat = _flat(found, data, types)
    if flat:
        add("flat", f"{len(flat)} flat channel(s): no signal at all", [names[i] for i in flat])
    clipped = [i for i in data if i not in flat and found.stuck[i] >= max(_STUCK, 1e-4 * found.n_samples)]
    if clipped:
        add(
            "clipped",
            f"{len(clipped)} channel(s) stay at their largest or smallest value: the amplifier was saturated",
            [names[i] for i in clipped],
        )
    groups = defaultdict(list)
    for i in data:
        if i not in flat:
            groups[found.digests[i]].append(names[i])
    for copies in (group for group in groups.values() if len(group) > 1):
        add("duplicate", f"channels with equal samples: {', '.join(copies)}", copies)
    problems += _unit_problems(raw, found, [i for i in data if i not in flat])
    for line, decibel in _line_noise(raw, found, data).items():
        if decibel > _LINE_DECIBEL:
            add("line noise", f"mains at {line} Hz, {decibel:.0f} dB above the neighbouring frequencies")
    if montage["unmatched"] and montage["without_position"]:
        add("unknown names", f"EEG channels that {montage['name']} does not know", montage["unmatched"])
    if montage["without_position"]:
        add("positions", f"{len(montage['without_position'])} channel(s) without position", montage["without_position"])
    if raw.info["bads"]:
        add("marked bad", f"{len(raw.info['bads'])} channel(s) are marked bad in the file", list(raw.info["bads"]))
    if not events:
        add("no events", "no annotations and no codes in a stimulus channel; cut windows, or name the stimulus channel")
    elif len(events) > 1 and max(events.values()) > _UNEVEN * min(events.values()):
        rare = min(events, key=lambda name: events[name])
        common = max(events, key=lambda name: events[name])
        add("uneven", f"very uneven events: {events[common]} {common!r} to {events[rare]} {rare!r}")
    return problems


def _flat(found: Scan, data: list[int], types: list[str]) -> list[int]:
    """Channels that never change, or stay under 10 nV (0.01 fT) where others of the recording do not."""
    import numpy as np

    height = {i: float(found.high[i] - found.low[i]) for i in data if np.isfinite(found.low[i])}
    tiny = [i for i in height if height[i] <= (1e-17 if types[i] in ("mag", "grad") else 1e-8)]
    return tiny if len(tiny) < len(height) else [i for i in tiny if height[i] == 0]


def _unit_problems(raw: mne.io.BaseRaw, found: Scan, alive: list[int]) -> list[dict[str, Any]]:
    import numpy as np

    from neurosig.core.validation import check_plausible_units

    problems = []
    types = raw.get_channel_types()
    for modality, kinds, unit in (
        ("eeg", ("eeg",), "V"),
        ("meg", ("mag",), "T"),
        ("seeg", ("seeg", "ecog", "dbs"), "V"),
    ):
        sd = np.array([found.sd[i] for i in alive if types[i] in kinds])
        if len(sd):
            try:
                # a square wave of height sd deviates from its median by sd: the check then sees the typical amplitude
                check_plausible_units(sd[:, None] * np.array([[-1.0, 1.0]]), unit, modality)
            except InputError as error:
                problems.append({"kind": "units", "message": str(error), "channels": []})
    return problems


def _line_noise(raw: mne.io.BaseRaw, found: Scan, data: list[int]) -> dict[int, float]:
    """Height of the peak at 50 and 60 Hz over its neighbourhood (3 to 8 Hz away), median over channels, in dB."""
    import numpy as np

    levels = {}
    for line in (50, 60):
        if line + 8 < raw.info["sfreq"] / 2 and data and np.isfinite(found.spectrum[data]).all():
            away = np.abs(found.frequencies - line)
            peak = found.spectrum[data][:, away <= 1].max(axis=1)
            around = np.median(found.spectrum[data][:, (away >= 3) & (away <= 8)], axis=1)
            usable = (peak > 0) & (around > 0)
            if usable.any():
                levels[line] = float(np.median(10 * np.log10(peak[usable] / around[usable])))
    return levels


def _report(
    recording: Recording,
    opened: Opened,
    found: Scan,
    events: dict[str, int],
    source: str | None,
    montage: dict[str, Any],
    problems: list[dict[str, Any]],
) -> dict[str, Any]:
    from neurosig.loaders.events import is_span

    raw, path = opened.raw, recording.path
    types = raw.get_channel_types()
    data = [i for i, kind in enumerate(types) if kind in _DATA]
    flags = defaultdict(list)
    for problem in problems:
        for name in problem["channels"]:
            flags[name].append(problem["kind"])
    channels = []
    for i, (name, kind) in enumerate(zip(raw.ch_names, types, strict=True)):
        unit, scale = SCALES.get(kind, ("as in file", 1.0))
        channels.append(
            {
                "name": name,
                "type": kind,
                "unit": unit,
                "sd": _number(found.sd[i] * scale),
                "min": _number(found.low[i] * scale),
                "max": _number(found.high[i] * scale),
                "flags": flags[name],
            }
        )
    spans = Counter(str(text) for text in raw.annotations.description if is_span(text))
    trials = _trials(recording) if opened.format.startswith(("trial", "epochs")) else None
    if opened.format.startswith("epochs") and source is not None:
        source = "event_id"
    return {
        "file": path.name,
        "format": opened.format,
        "size_bytes": path.stat().st_size
        if path.is_file()
        else sum(f.stat().st_size for f in path.rglob("*") if f.is_file()),
        "sfreq": float(raw.info["sfreq"]),
        "duration": found.n_samples / float(raw.info["sfreq"]),
        "n_samples": found.n_samples,
        "n_channels": len(types),
        "types": dict(Counter(types)),
        "filters": _filters(raw),
        "events": events,
        "event_source": source,
        "spans": {} if trials else dict(spans),
        "trials": trials,
        "montage": montage,
        "line_noise": {str(line): round(level, 1) for line, level in _line_noise(raw, found, data).items()},
        "channels": channels,
        "notes": [*opened.notes, *opened.assumed],
        "problems": problems,
    }


def _filters(raw: mne.io.BaseRaw) -> dict[str, float | None]:
    """Filters that the file states: readers put 0 Hz and half the sampling rate where it states none."""
    low, high = float(raw.info["highpass"]), float(raw.info["lowpass"])
    return {
        "highpass": low if low > 0 else None,
        "lowpass": high if high < 0.999 * float(raw.info["sfreq"]) / 2 else None,
    }


def _trials(recording: Recording) -> dict[str, Any]:
    import numpy as np

    from neurosig.loaders.epoch_files import expand_epochs, holds_epochs, trial_span, trials_in
    from neurosig.loaders.trials import expand_trials, read_trials

    if holds_epochs(recording.path):
        epochs, (first, last) = trials_in(recording.path), trial_span(recording.path)
        places = expand_epochs(recording.path, (recording.subject, recording.session, recording.run))
        return {
            "n_trials": len(epochs),
            "tmin": first,
            "tmax": last,
            "n_times": len(epochs.times),
            "n_subjects": len({part.subject for part in places}),
            "n_runs": len(places),
        }
    content, parts = read_trials(recording.path), expand_trials(recording.path)
    tmin = float(np.asarray(content.get("tmin", 0.0)))
    return {
        "n_trials": len(content["X"]),
        "tmin": tmin,
        "tmax": tmin + (content["X"].shape[2] - 1) / content["rate"],
        "n_times": content["X"].shape[2],
        "n_subjects": len({part.subject for part in parts}),
        "n_runs": len(parts),
    }


def _number(value: float) -> float | None:
    import math

    return float(f"{value:.6g}") if math.isfinite(value) else None
