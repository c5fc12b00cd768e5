"""Applying a trained pipeline to new recordings: filtered and cut as in training, channels mapped by the contract."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.files import atomic_write
from neurosig.core.log import progress
from neurosig.core.signals import Processing, SignalSpec

if TYPE_CHECKING:
    import mne
    import pandas as pd

    from neurosig.evaluation.trained import TrainedPipeline
    from neurosig.loaders.recordings import ReadOptions, Recording

__all__ = ["Decoded", "decode_recordings"]

_WINDOW = "window"  # name of the events that stand for sliding windows
_ENOUGH, _ONE_SIDED = 20, 0.95  # so many answers, and more than this share of them one class: worth a warning


@dataclass(frozen=True)
class Decoded:
    """What a trained pipeline says about recordings.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a trial or window: ``file``; ``onset`` (of the event, or of the window's first sample) and ``duration``
        of the signal used, in seconds; ``event`` and, where its name is one of the classes, ``correct``;
        ``predicted``; and one column a class, ``p_<class>`` for probabilities or ``score_<class>`` for uncalibrated
        decision scores.
    classes : tuple of str
        Names of the classes.
    kind : {"probability", "score", "label"}
        What the columns of the classes are.
    report : dict
        JSON-like: the model's card, the windows, and for each recording how its channels were mapped, how it differs
        from the training data and what was left out.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    kind: str
    report: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def accuracy(self) -> float | None:
        """Share of the trials decoded as their event says; None where the events are not the classes."""
        if "correct" not in self.table:
            return None
        known = self.table["correct"].dropna()
        return float(known.astype(float).mean()) if len(known) else None

    def to_dict(self) -> dict[str, Any]:
        """Everything as a JSON-like dictionary; the rows are under "windows"."""
        rows = json.loads(self.table.to_json(orient="records", double_precision=15))
        return {
            "classes": list(self.classes),
            "kind": self.kind,
            "accuracy": self.accuracy,
            **self.report,
            "windows": rows,
        }

    def save(self, folder: str | Path) -> dict[str, Path]:
        """Write ``decoded.csv`` and ``decoded.json`` into `folder`, each in one step; returns their paths."""
        folder = Path(folder)
        return {
            "csv": atomic_write(folder / "decoded.csv", self.table.to_csv(index=False)),
            "json": atomic_write(
                folder / "decoded.json", json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
            ),
        }


def decode_recordings(
    trained: TrainedPipeline,
    recordings: Any,
    *,
    events: str | Sequence[str] | Mapping[str, Any] | None = None,
    windows: tuple[float, float] | None = None,
    read: ReadOptions | Mapping[str, Any] | None = None,
    on_missing: str = "raise",
    on_sfreq: str = "raise",
    batch_bytes: float = 64e6,
    show_progress: bool | None = None,
) -> Decoded:
    """Do the work of `TrainedPipeline.decode`, where the parameters are explained."""
    import pandas as pd

    spec = trained.spec
    if events is not None and windows is not None:
        raise UsageError("events and windows exclude each other: decode the trials at events, or sliding windows")
    if spec.modality == "fmri":
        from neurosig.evaluation.decoded_runs import decode_runs

        table, about, told = decode_runs(
            trained, recordings, events=events, windows=windows, read=read, on_missing=on_missing, on_sfreq=on_sfreq
        )
        report = {
            "model": dict(trained.card),
            "mode": "runs" if spec.processing is None else "windows" if events is None else "events",
            "processing": None if spec.processing is None else spec.processing.to_dict(), "recordings": about,
            "warnings": [*told, *_one_sided(table)],
        }  # fmt: skip
        return Decoded(table, trained.classes, trained.kind, report)
    if spec.processing is None:
        raise InputError(
            "this model does not say how its trials were cut (no processing in its spec); train it with neurosig"
        )
    length = _trained_length(spec)
    if events is None and windows is None:
        windows = (length, length / 2)
    if windows is not None and not min(windows) > 0:
        raise UsageError(f"windows are (length, step), both positive seconds, got {windows}")
    settings = _Settings(windows, on_missing, on_sfreq, batch_bytes)
    tables, about = [], []
    listed = _recordings(trained, recordings, events, read)
    for recording in progress(listed, desc="decoding", unit="recording", show=show_progress):
        table, facts = _decode_one(trained, recording, settings)
        tables.append(table)
        about.append(facts)
    table = pd.concat(tables, ignore_index=True)
    table["file"] = _short_names(table["file"])
    report = {
        "model": dict(trained.card),
        "mode": "events" if windows is None else "windows",
        "window": {
            "length": length if windows is None else windows[0],
            "step": None if windows is None else windows[1],
        },
        "processing": spec.processing.to_dict(),
        "recordings": about,
        "warnings": [*_warnings(trained, windows, about), *_signal_warnings(spec, about), *_one_sided(table)],
    }
    return Decoded(table, trained.classes, trained.kind, report)


@dataclass(frozen=True)
class _Settings:
    windows: tuple[float, float] | None
    on_missing: str
    on_sfreq: str
    batch_bytes: float


def _recordings(trained: TrainedPipeline, recordings: Any, events: Any, read: Any) -> list[Recording]:
    """The recordings to decode, each with the options under which it is read."""
    from neurosig.loaders.discover import discover
    from neurosig.loaders.recordings import ReadOptions, Recording

    remembered = trained.card.get("read") or {}
    _refuse_fmri(read)
    if isinstance(events, str):
        if events != "training" or not remembered.get("events"):
            raise UsageError(f"events must be names, a dict, or 'training' where the model knows them, got {events!r}")
        events = remembered["events"]
    elif events is not None and not isinstance(events, Mapping):
        events = {name: name for name in events}
    fixed: dict[str, Any] = {"events": None if events is None else dict(events), "window": None, "label": None}
    items = [recordings] if isinstance(recordings, str | Path | Recording) else list(recordings)
    listed: list[Recording] = []
    for item in items:
        if isinstance(item, Recording):
            listed.append(dataclasses.replace(item, options=dataclasses.replace(item.options, **fixed)))
            continue
        for recording in discover(item):
            if isinstance(read, ReadOptions):
                options = dataclasses.replace(read, **fixed)
            else:
                alike = _kind_of_file(recording.path.name) in remembered.get("kinds", ())
                known = {key: remembered.get(key) for key in _PORTABLE} if alike else {}
                stated = {key: value for key, value in dict(read or {}).items() if value is not None}
                options = ReadOptions(**{**known, **stated, **fixed})
            listed.append(dataclasses.replace(recording, options=options))
    if not listed:
        raise UsageError("no recordings to decode were given")
    return listed


def _refuse_fmri(read: Any) -> None:
    from neurosig.loaders.recordings import ReadOptions

    known = {entry.name for entry in dataclasses.fields(ReadOptions)}
    if isinstance(read, Mapping) and (
        wrong := [name for name, value in read.items() if value is not None and name not in known]
    ):
        raise UsageError(
            f"{wrong[0]} is no option of reading EEG or MEG, which this model was trained on; leave it out"
        )


# what files of a kind do not say themselves: a new one is read as those of training; renames belong to the files
_PORTABLE = ("unit", "sfreq", "stim_channel", "marker_column", "time_column", "line_freq")


def _kind_of_file(name: str) -> str:
    return Path(name.lower().removesuffix(".gz")).suffix


def _decode_one(
    trained: TrainedPipeline, recording: Recording, settings: _Settings
) -> tuple[pd.DataFrame, dict[str, Any]]:
    import pandas as pd

    from neurosig.core.channels import map_channels
    from neurosig.core.validation import check_plausible_units
    from neurosig.loaders.epoch_files import reference_of
    from neurosig.loaders.recordings import read_recording

    spec = trained.spec
    raw = read_recording(recording)
    recorded, seconds = float(raw.info["sfreq"]), raw.n_times / float(raw.info["sfreq"])
    passed = float(raw.info["highpass"]), float(raw.info["lowpass"])
    reference = reference_of(raw.info)
    raw, processing = _as_in_training(raw, spec, recording, settings)
    if settings.windows is None:
        want, batches = spec, _trials(raw, recording, processing)
    else:
        want, processing = _windowed(spec, processing, settings.windows, float(raw.info["sfreq"]))
        batches = _windows(raw, recording, processing, settings, seconds)
    onsets, events, numbers, report, total = [], [], [], None, 0
    for epochs, n_asked in batches:
        total += n_asked
        if epochs is None:
            continue
        have = SignalSpec.from_mne(
            epochs.info, modality=spec.modality, tmin=float(epochs.tmin), n_times=len(epochs.times)
        )
        X = epochs.get_data(copy=False)
        try:
            check_plausible_units(X, have.unit, have.modality)
            X, report = map_channels(X, have, want, on_missing=settings.on_missing)
        except InputError as error:
            raise type(error)(f"{recording.path.name}: {error}") from error
        names = {code: text for text, code in epochs.event_id.items()}
        onsets.append(epochs.metadata["onset"].to_numpy(dtype=float))
        events += [names[code] for code in epochs.events[:, 2]]
        numbers.append(_probabilities(trained, X, report, settings))
    if report is None:
        raise InputError(
            f"{recording.path.name}: all {total} windows touch spans that are marked as bad; nothing is left to decode"
        )
    table = pd.DataFrame(
        {"file": str(recording.path), "onset": np.concatenate(onsets), "duration": processing.tmax - processing.tmin}
    )
    _fill(table, trained, np.vstack(numbers), events if settings.windows is None else None)
    return table, {
        "file": str(recording.path),
        "seconds": seconds,
        "sfreq": recorded,
        "n_windows": len(table),
        "n_left_out": total - len(table),
        "passed": list(passed),
        "reference": reference,
        "mapping": str(report),
        "channels": report.to_dict(),
    }


def _fill(table: pd.DataFrame, trained: TrainedPipeline, numbers: np.ndarray, events: list[str] | None) -> None:
    """Add the columns that hold the answer."""
    predicted = np.asarray(trained.classes)[numbers.argmax(axis=1)]
    if events is not None:
        table["event"] = events
        if set(events) <= set(trained.classes):
            table["correct"] = predicted == np.asarray(events)
    table["predicted"] = predicted
    if trained.kind != "label":
        prefix = "p_" if trained.kind == "probability" else "score_"
        for index, label in enumerate(trained.classes):
            table[f"{prefix}{label}"] = numbers[:, index]


def _as_in_training(
    raw: mne.io.BaseRaw, spec: SignalSpec, recording: Recording, settings: _Settings
) -> tuple[mne.io.BaseRaw, Processing]:
    """Refuse what does not fit while only the header has been read; then bring to the rate of training, and filter."""
    from neurosig.core.channels import match_channels
    from neurosig.loaders.epochs import data_channels, process_raw

    assert spec.processing is not None and spec.sfreq is not None  # for the type checker: checked on entry
    name, have = recording.path.name, float(raw.info["sfreq"])
    other_rate = spec.processing.resample is None and abs(have - spec.sfreq) > 1e-4 * spec.sfreq
    if other_rate and settings.on_sfreq == "raise":
        raise ChannelError(
            f"{name}: expected a sampling rate of {spec.sfreq:g} Hz, got {have:g} Hz; resample the recording or "
            "allow it (--resample, on_sfreq='resample')"
        )
    good = [channel for channel in raw.ch_names if channel not in raw.info["bads"]]
    match = match_channels(good, spec.ch_names, modality=spec.modality)
    if match.missing and (settings.on_missing == "raise" or len(match.missing) == spec.n_channels):
        _refuse_missing(raw, good, spec, name)
    # a wanted channel is a data channel, whatever the file calls it; names are matched later, so none is picked here
    wanted = {good[at]: kind for at, kind in zip(match.index, spec.ch_types, strict=True) if at is not None}
    kinds = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    raw.set_channel_types(
        {channel: kind for channel, kind in wanted.items() if kinds[channel] != kind}, verbose="error"
    )
    try:
        raw.load_data(verbose="error")
    except (ValueError, OSError, EOFError, RuntimeError) as error:  # headers may promise more than the file holds
        raise InputError(
            f"cannot read {recording.path}: {' '.join(str(error).split())}; it is damaged or truncated"
        ) from error
    # channels that the model does not use may help to interpolate one that is missing, unless they are dead
    others = [channel for channel in data_channels(raw.info) if channel in wanted or np.ptp(raw.get_data([channel]))]
    processing = dataclasses.replace(spec.processing, picks=tuple(dict.fromkeys([*others, *wanted])))
    if other_rate:  # before the filter, so that the filter and the windows are those of training
        raw.resample(spec.sfreq, verbose="error")
    return process_raw(raw, processing, on_nan=recording.options.on_nan, path=recording.path), processing


def _refuse_missing(raw: mne.io.BaseRaw, good: list[str], spec: SignalSpec, name: str) -> None:
    """Let the contract itself word the refusal."""
    from neurosig.core.channels import map_channels

    bad = f" (marked bad in the recording: {', '.join(raw.info['bads'])})" if raw.info["bads"] else ""
    try:
        map_channels(np.zeros((0, len(good), 1)), SignalSpec(spec.modality, tuple(good), unit=spec.unit), spec)
    except ChannelError as error:
        raise ChannelError(f"{name}: {error}{bad}") from error


def _windowed(
    spec: SignalSpec, processing: Processing, windows: tuple[float, float], sfreq: float
) -> tuple[SignalSpec, Processing]:
    """What the pipeline sees of a window, and how it is cut: from its first sample on, the baseline moved along."""
    as_trained = abs(windows[0] - _trained_length(spec)) < 1 / sfreq
    # as many samples as mne cuts between tmin and tmax in training, both ends included
    trained = round(processing.tmax * sfreq) - round(processing.tmin * sfreq)
    last = trained if as_trained else max(1, round(windows[0] * sfreq))
    baseline = processing.baseline
    if baseline is not None:
        start, stop = (None if edge is None else max(0.0, edge - processing.tmin) for edge in baseline)
        baseline = (start, stop)
    moved = dataclasses.replace(processing, tmin=0.0, tmax=last / sfreq, baseline=baseline)
    return spec.replace(tmin=0.0, n_times=spec.n_times if as_trained else None), moved


def _trained_length(spec: SignalSpec) -> float:
    assert spec.processing is not None
    return spec.processing.tmax - spec.processing.tmin


def _trials(raw: mne.io.BaseRaw, recording: Recording, processing: Processing) -> Iterator[tuple[mne.Epochs, int]]:
    """The trials at the events of a recording, and how many events there are."""
    from neurosig.loaders.epochs import cut_epochs

    names = list(recording.options.events or {})
    yield (
        cut_epochs(raw, names, processing, path=recording.path),
        sum(text in names for text in raw.annotations.description),
    )


def _windows(
    raw: mne.io.BaseRaw, recording: Recording, processing: Processing, settings: _Settings, seconds: float
) -> Iterator[tuple[mne.Epochs | None, int]]:
    """Sliding windows in batches of bounded size, cut as events would be, and how many there were to cut."""
    import mne

    from neurosig.loaders.epochs import cut_epochs
    from neurosig.loaders.events import is_span
    from neurosig.loaders.scan import outside_gaps

    assert settings.windows is not None  # for the type checker
    sfreq = float(raw.info["sfreq"])
    n_samples = round(processing.tmax * sfreq) + 1
    step = max(1, round(settings.windows[1] * sfreq))
    # trials that come cut are islands: windows are counted from the first sample of each
    inside = np.concatenate([[False], outside_gaps(raw), [False]])
    pieces = np.flatnonzero(np.diff(inside.astype(np.int8))).reshape(-1, 2)
    starts_in = [np.arange(first, stop - n_samples + 1, step) for first, stop in pieces]
    every = np.concatenate([np.zeros(0, int), *starts_in])
    if not len(every):
        raise InputError(
            f"{recording.path.name} lasts {seconds:.2f} s, too short for one window of {settings.windows[0]:g} s; "
            "a longer recording is needed"
        )
    marks = raw.annotations
    shift = raw.first_time if marks.orig_time is not None else 0.0
    spans = [i for i, text in enumerate(marks.description) if is_span(str(text))]
    usable = np.ones(len(every), bool)
    for onset, duration in zip(marks.onset[spans] - shift, marks.duration[spans], strict=True):
        first, last = onset * sfreq, (onset + duration) * sfreq
        usable &= (every + n_samples <= first) | (every > last)
    size = max(1, int(settings.batch_bytes // (len(raw.ch_names) * n_samples * 8)))
    yield None, int((~usable).sum())
    starts = every[usable]
    for begin in range(0, len(starts), size):
        batch = starts[begin : begin + size]
        raw.set_annotations(
            mne.Annotations(batch / sfreq + shift, 0.0, _WINDOW, orig_time=marks.orig_time), verbose="error"
        )
        yield cut_epochs(raw, [_WINDOW], processing, path=recording.path), len(batch)


def _probabilities(trained: TrainedPipeline, X: np.ndarray, report: Any, settings: _Settings) -> np.ndarray:
    try:
        return trained.predict_proba(X)
    except (ValueError, IndexError) as error:
        reason = " ".join(str(error).split())
        if report.dropped:
            raise ChannelError(
                f"this pipeline needs all of its {trained.spec.n_channels} channels, {', '.join(report.dropped)} are "
                f"missing; use on_missing='interpolate' ({reason})"
            ) from error
        if settings.windows is not None and X.shape[-1] != trained.spec.n_times:
            raise InputError(
                f"this pipeline takes windows of {_trained_length(trained.spec):g} s only, got "
                f"{settings.windows[0]:g} s; leave the window out ({reason})"
            ) from error
        raise InputError(f"the pipeline cannot take these signals: {reason}") from error


def _short_names(files: pd.Series) -> pd.Series:
    """File names alone, where they tell the recordings apart."""
    short = files.map(lambda text: Path(text).name)
    return short if short.nunique() == files.nunique() else files


def _warnings(trained: TrainedPipeline, windows: tuple[float, float] | None, about: list[dict[str, Any]]) -> list[str]:
    found = []
    length = _trained_length(trained.spec)
    seen = sorted({Path(entry["file"]).name for entry in about} & set(trained.card.get("dataset", {}).get("files", ())))
    if seen:
        found.append(
            f"a recording called {seen[0]} was trained on: if it is this one, its answers here are no test of the model"
        )
    if windows is not None and abs(windows[0] - length) > 1e-3:
        found.append(f"windows of {windows[0]:g} s, the model was trained on {length:g} s: its answers may be off")
    if trained.kind == "score":
        found.append("the classifier gives no probabilities: its scores are not calibrated")
    elif trained.kind == "label":
        found.append("the classifier gives neither probabilities nor scores: only the predicted class is known")
    if left := sum(entry["n_left_out"] for entry in about):
        total = left + sum(entry["n_windows"] for entry in about)
        found.append(f"{left} of {total} were left out: marked as bad, or past the end of the recording")
    for key, text in (("interpolated", "estimated from their neighbours"), ("dropped", "left out")):
        if names := sorted({name for entry in about for name in entry["channels"][key]}):
            found.append(f"channels {text}: {', '.join(names)}")
    return found


def _signal_warnings(spec: SignalSpec, about: list[dict[str, Any]]) -> list[str]:
    """Parts of the model's band that were filtered away before the recording came here, as its header says."""
    found = []
    assert spec.processing is not None  # for the type checker: checked on entry
    # the spec holds what was left after the training's own filter: recordings that were narrow then may be so now
    low, high = spec.processing.fmin, spec.processing.fmax
    low = None if low is None else max(low, spec.highpass or 0.0)
    high = min((edge for edge in (high, spec.lowpass) if edge is not None), default=None)
    for entry in about:
        name = Path(entry["file"]).name
        from_, to = entry["passed"]
        if spec.reference is not None and entry["reference"] != spec.reference:
            is_now = "as recorded" if entry["reference"] is None else entry["reference"]
            found.append(
                f"the reference of {name} is {is_now}, {spec.reference} in the trials that the model was trained on: "
                "prepare it in the same way first, for example by neurosig preprocess"
            )
        if high is not None and to < 0.999 * high:
            found.append(
                f"{name} was low-passed at {to:g} Hz before, the model uses frequencies up to {high:g} Hz: part of "
                "what it looks at is not in the recording"
            )
        if low is not None and from_ > 1.001 * low:
            found.append(
                f"{name} was high-passed at {from_:g} Hz before, the model uses frequencies from {low:g} Hz on: part "
                "of what it looks at is not in the recording"
            )
    return found


def _one_sided(table: pd.DataFrame) -> list[str]:
    """Recordings that got one class nearly throughout, where the events do not say the same."""
    found = []
    for file, rows in table.groupby("file", sort=False):
        counts = rows["predicted"].value_counts()
        name, most = counts.index[0], int(counts.iloc[0])
        labelled = "correct" in rows and (rows["event"] == name).mean() > _ONE_SIDED
        if len(rows) >= _ENOUGH and most > _ONE_SIDED * len(rows) and not labelled:
            found.append(
                f"{file}: {name} in {most} of {len(rows)}; a model that answers nearly always the same does not tell "
                "the classes apart here"
            )
    return found
