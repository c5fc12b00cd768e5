"""Sliding windows over whole recordings, each labelled with the task that it lies in, or idle."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.log import progress
from neurosig.core.signals import Processing, SignalDataset, SignalSpec
from neurosig.core.windows import tell_of_gaps

if TYPE_CHECKING:
    import mne

__all__ = ["is_number", "open_recordings", "sliding_windows"]

_IDLE_TEXT = "{!r} is the name of an event; give the idle class another name (idle=...)"


def is_number(value: Any) -> bool:
    """Whether an option is a finite number."""
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return real and bool(np.isfinite(value))


def sliding_windows(
    recordings: Iterable[Any],
    *,
    processing: Processing,
    window: float,
    step: float,
    events: Sequence[str] | None = None,
    min_overlap: float = 0.5,
    causal: bool = True,
    idle: str = "idle",
    name: str = "windows",
    show_progress: bool | None = None,
) -> SignalDataset:
    """Cut whole recordings into labelled sliding windows.

    Parameters
    ----------
    recordings : iterable of Recording, or of SimulatedRecording
        What to cut.
    processing : Processing
        When a task lasts relative to its event (``tmin``, ``tmax``), and the filter; see `pseudo_online`.
    window, step : float
        Length of a window, and time from one to the next, in seconds; a step longer than the window is told in the log.
    events : sequence of str, optional
        Names of the events; None takes all that occur.
    min_overlap : float
        Part of a window that must lie in a task for the window to have its label.
    causal : bool
        Filter forward only.
    idle : str
        Name of the class of windows in no task.
    name : str
        Name of the dataset.
    show_progress : bool, optional
        None shows a bar on terminals only.

    Returns
    -------
    SignalDataset
        X in microvolts (or tesla); metadata has subject, session, run, file, ``onset`` (of the window, in seconds),
        ``overlap``, the part of the window that lies in any task, and of the task that a window is labelled with
        ``task`` (its number in the recording; -1 for idle windows), ``task_start`` and ``task_stop`` in seconds.
        Windows that touch bad spans are not among them.

    Raises
    ------
    InputError
        A recording is shorter than a window, or recordings have different channels or rates.
    UsageError
        An option is not what it must be, an event is in no recording, or `idle` is the name of one that is.
    """
    from neurosig.loaders.events import is_span

    if not (is_number(window) and is_number(step) and window > 0 and step > 0):
        raise UsageError(f"window and step must be positive seconds, got {window!r} and {step!r}")
    tell_of_gaps(window, step, step_name="step")
    if not (is_number(min_overlap) and 0 < min_overlap <= 1):
        raise UsageError(f"min_overlap must lie above 0 and not above 1, got {min_overlap!r}")
    if isinstance(events, str):
        raise UsageError(f"events must be a list of names, got {events!r}; write [{events!r}]")
    if events is not None and idle in events:
        raise UsageError(_IDLE_TEXT.format(idle))
    seen: set[str] = set()
    blocks, labels, tables = [], [], []
    spec: SignalSpec | None = None
    for recording in progress(list(recordings), desc="cutting", unit="recording", show=show_progress):
        raw, file = _continuous(recording, processing, causal)
        seen.update(str(text) for text in raw.annotations.description if not is_span(str(text)))
        if idle in seen:
            raise UsageError(f"{file}: {_IDLE_TEXT.format(idle)}")
        X, y, table = _cut(raw, file, processing, window, step, events, min_overlap, idle)
        found = SignalSpec.from_mne(raw.info, tmin=0.0, n_times=X.shape[2], processing=processing)
        if processing.resample is not None:
            found = found.replace(sfreq=processing.resample)
        if spec is not None and (found.ch_names, found.sfreq) != (spec.ch_names, spec.sfreq):
            raise InputError(
                f"{file}: expected the {spec.n_channels} channels and {spec.sfreq:g} Hz of the recordings before, got "
                f"{found.n_channels} channels at {found.sfreq:g} Hz; pass picks and resample"
            )
        if spec is not None and found.positions != spec.positions:
            found = found.replace(positions=None)  # each head has its own
        spec = found if spec is None else spec.replace(positions=found.positions)
        blocks.append(X)
        labels.append(y)
        who = {key: str(getattr(recording, key)) for key in ("subject", "session", "run")}
        tables.append(pd.DataFrame({**who, "file": file, **table}))
    if spec is None:
        raise InputError("no recordings to cut into windows: the list is empty")
    if absent := [event for event in events or () if event not in seen]:
        raise UsageError(f"events: {listed(absent)} not in the recordings, which have {listed(sorted(seen)) or 'none'}")
    X = np.concatenate(blocks)
    if spec.unit == "V":
        X *= 1e6
        spec = spec.replace(unit="uV")
    return SignalDataset(X, np.concatenate(labels), pd.concat(tables, ignore_index=True), spec, name=name)


def open_recordings(
    recordings: Any,
    events: Sequence[str] | None,
    processing: Processing | None,
    subjects: Iterable[str | int] | None,
    name: str | None,
) -> tuple[str, list[Any], Sequence[str] | None, Processing]:
    """Name, recordings, events and processing of what `pseudo_online` takes; a manifest fills in what is None.

    Raises
    ------
    UsageError
        If nothing says how long a task lasts.
    """
    if isinstance(recordings, str | Path):
        from neurosig.loaders.manifest import open_dataset

        recordings = open_dataset(recordings)
    if hasattr(recordings, "describe"):
        manifest = recordings
        processing = processing or manifest.processing
        events = manifest.event_names if events is None else events
        name = name or manifest.name
        simulated = manifest.kind == "simulated"
        recordings = manifest.simulations(subjects) if simulated else manifest.recordings(subjects)
    else:
        recordings = list(recordings)
        if subjects is not None:
            wanted = set(map(str, subjects))
            recordings = [recording for recording in recordings if str(recording.subject) in wanted]
    if processing is None:
        raise UsageError("processing says how long a task lasts after its event: pass Processing(tmin=..., tmax=...)")
    return name or "recordings", recordings, events, processing


def _continuous(recording: Any, processing: Processing, causal: bool) -> tuple[mne.io.BaseRaw, str]:
    """The wanted channels of a whole recording, filtered."""
    from neurosig.loaders.epochs import process_raw
    from neurosig.loaders.recordings import read_recording

    path = getattr(recording, "path", None)
    file = f"sub-{recording.subject}" if path is None else path.name
    if getattr(recording, "select", None) is not None:
        raise InputError(
            f"{file} holds trials that were cut out, not a continuous recording: of the time between them nothing is "
            "known, so that nothing can be decoded all the time; use the recordings themselves, or benchmark()"
        )
    raw = recording.raw.copy() if path is None else read_recording(recording)
    on_nan = "raise" if path is None else recording.options.on_nan
    if not causal:
        return process_raw(raw, processing, on_nan=on_nan, path=Path(file)), file
    raw = process_raw(raw, dataclasses.replace(processing, fmin=None, fmax=None), on_nan=on_nan, path=Path(file))
    nyquist = raw.info["sfreq"] / 2
    if max(processing.fmin or 0.0, processing.fmax or 0.0) >= nyquist:
        raise InputError(f"{file}: the band must end below {nyquist:g} Hz, got fmax={processing.fmax}")
    if processing.fmin is not None or processing.fmax is not None:
        raw.filter(processing.fmin, processing.fmax, method="iir", phase="forward", picks="data", verbose="error")
    return raw, file


def _cut(
    raw: mne.io.BaseRaw,
    file: str,
    processing: Processing,
    window: float,
    step: float,
    events: Sequence[str] | None,
    min_overlap: float,
    idle: str,
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Windows, labels, and where each lies."""
    from neurosig.loaders.events import is_span

    sfreq = float(raw.info["sfreq"])
    length = round(window * sfreq)
    if length < 1 or length > raw.n_times:
        raise InputError(
            f"{file} lasts {raw.n_times / sfreq:.2f} s, too short for a window of {window:g} s; use shorter windows"
        )
    starts = np.arange(0, raw.n_times - length + 1, max(1, round(step * sfreq)))
    marks = raw.annotations
    shift = raw.first_time if marks.orig_time is not None else 0.0
    onset, duration = marks.onset - shift, marks.duration
    span = np.array([is_span(str(text)) for text in marks.description], dtype=bool)
    for i in np.flatnonzero(span):
        first, last = onset[i] * sfreq, (onset[i] + duration[i]) * sfreq
        starts = starts[(starts + length <= first) | (starts > last)]
    if not len(starts):
        raise InputError(f"{file}: every window of {window:g} s touches a bad span; use shorter windows")
    tasks = np.flatnonzero(~span if events is None else ~span & np.isin(marks.description, list(events)))
    y = np.full(len(starts), idle, dtype=object)
    overlap = np.zeros(len(starts))
    task = np.full(len(starts), -1)
    task_start, task_stop = np.full((2, len(starts)), np.nan)
    for number, i in enumerate(tasks[np.argsort(onset[tasks], kind="stable")]):
        first, last = onset[i] + processing.tmin, onset[i] + processing.tmax
        shared = np.minimum(starts + length, last * sfreq) - np.maximum(starts, first * sfreq)
        share = np.clip(shared, 0, None) / length
        its = (share >= min_overlap - 1e-9) & (share > overlap)
        y[its], task[its], task_start[its], task_stop[its] = str(marks.description[i]), number, first, last
        overlap = np.maximum(overlap, share)
    data = raw.get_data(picks="data")
    X = np.lib.stride_tricks.sliding_window_view(data, length, axis=1)[:, starts].swapaxes(0, 1).copy()
    if processing.resample is not None:
        import mne

        X = mne.filter.resample(X, processing.resample, sfreq, axis=2, verbose="error")
    where = {
        "onset": starts / sfreq,
        "overlap": overlap,
        "task": task,
        "task_start": task_start,
        "task_stop": task_stop,
    }
    return X, y.astype(str), where
