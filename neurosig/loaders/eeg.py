"""`load_eeg`: labelled trials from EEG recordings in one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import UsageError
from neurosig.core.signals import Processing, SignalDataset
from neurosig.loaders.discover import discover
from neurosig.loaders.epoch_files import holds_epochs, trial_span
from neurosig.loaders.recordings import ReadOptions, Recording

if TYPE_CHECKING:
    pass

__all__ = ["load_eeg"]


def load_eeg(
    path: str | Path | Iterable[str | Path],
    *,
    events: Mapping[str, Any] | Sequence[str] | None = None,
    tmin: float | None = None,
    tmax: float | None = None,
    fmin: float | None = None,
    fmax: float | None = None,
    picks: Sequence[str] | None = None,
    resample: float | None = None,
    baseline: tuple[float | None, float | None] | None = None,
    montage: str | None = None,
    bids: Mapping[str, Any] | None = None,
    memmap: str | Path | None = None,
    name: str | None = None,
    progress: bool | None = None,
    **read: Any,
) -> SignalDataset:
    """Load labelled trials from EEG recordings.

    Parameters
    ----------
    path : str, Path, or iterable of them
        A file, several files, a folder, or a BIDS root; every format that mne reads, trial files (``.npz``), CSV
        streams (``.csv``, ``.csv.gz``) and XDF; and epochs of any program (``*-epo.fif``, EEGLAB's epoched ``.set``),
        such as the folder that ``neurosig preprocess`` writes.
    events : dict or sequence of str, optional
        The classes. A dict maps class name to annotation description, stimulus code or marker value (or a list of
        them); a sequence takes annotations under their own names; None takes all there are.
    tmin, tmax : float, optional
        First and last second of a trial relative to its event, both included. May be left out for trial files and
        epochs (their whole window, which can be cropped and not lengthened) and with `window`.
    fmin, fmax : float, optional
        Band in Hz (zero-phase 4th-order Butterworth, mne's ``method="iir"``); None leaves that side open. Trials that
        come cut are filtered one by one, with the edges that this has.
    picks : sequence of str, optional
        Channels to keep, in this order; None keeps all EEG channels that are not marked bad.
    resample : float, optional
        New sampling rate in Hz, after cutting.
    baseline : (float or None, float or None), optional
        Span in seconds whose mean is removed from each trial.
    montage : str, optional
        Name of a standard montage of mne.
    bids : dict, optional
        Entities that choose from a BIDS root, such as ``dict(task="rest")``.
    memmap : str or Path, optional
        Write X to this ``.npy`` file and map it, so that memory holds one recording at a time.
    name : str, optional
        Name of the dataset; by default the file's or folder's.
    progress : bool, optional
        Show a progress bar; None shows it on a terminal.
    **read
        Other fields of `neurosig.loaders.recordings.ReadOptions`: rename, ch_types, drop, unit, sfreq, stim_channel,
        marker_column, time_column, window, label, line_freq, on_nan, reject_uv.

    Returns
    -------
    SignalDataset
        X in volts, float64, (trials, channels, times); y holds class names; metadata has subject, session, run, file
        and onset. Filtering, cutting and resampling are MOABB's, so X is what MOABB gives, times 1e-6.
        Of epochs, y holds the names of their ``event_id``; columns subject, session and run of their metadata go before
        the file's name; filters, reference and channels marked bad (which are left out, unless picked) are those that
        the file states; trials that were dropped before are not in it, and a log line says how many.

    Raises
    ------
    InputError
        The recordings cannot be used as they are; the message says what to do.
    UsageError
        The call is wrong.

    Examples
    --------
    >>> from neurosig import load_eeg
    >>> hands = load_eeg("S001R04.edf", events={"left": "T1", "right": "T2"}, tmin=0.5, tmax=3.5,
    ...                  fmin=8, fmax=32, montage="standard_1005")  # doctest: +SKIP
    """
    from neurosig.loaders.epochs import load_recordings

    options = _options(events, montage, read)
    recordings = discover(path, options=options, bids=bids)
    if tmin is None or tmax is None:
        tmin, tmax = _whole_window(recordings[0], tmin, tmax)
    processing = Processing(
        tmin,
        tmax,
        fmin,
        fmax,
        resample,
        None if baseline is None else (baseline[0], baseline[1]),
        None if picks is None else tuple(picks),
    )
    names = None if events is None else list(events)
    title = name or (Path(path).name if isinstance(path, str | Path) else recordings[0].path.parent.name)
    return load_recordings(recordings, names, processing, memmap=memmap, progress=progress, name=title)


def _options(
    events: Mapping[str, Any] | Sequence[str] | None, montage: str | None, read: dict[str, Any]
) -> ReadOptions:
    known = {field.name for field in dataclasses.fields(ReadOptions)} - {"events", "montage"}
    if unknown := [key for key in read if key not in known]:
        near = get_close_matches(unknown[0], known, 1, 0.0)
        raise UsageError(f"load_eeg() has no option {unknown[0]!r}; nearest: {near[0]!r}")
    if isinstance(events, str):
        raise UsageError(
            f"events must be a list of names or a dict of name to code, got the text {events!r}; write [{events!r}]"
        )
    if events is not None and len(events) == 0:
        raise UsageError("events is empty: name the classes, or pass None for all events")
    if isinstance(length := read.get("window"), int | float):
        raise UsageError(f"window must be (length, step) in seconds, got {length!r}; write window=({length}, {length})")
    mapping = events if isinstance(events, Mapping) else None
    return ReadOptions(events=mapping, montage=montage, **read)


def _whole_window(recording: Recording, tmin: float | None, tmax: float | None) -> tuple[float, float]:
    """Trial window where the call leaves it open: the windows', or the trial file's."""
    import numpy as np

    if recording.options.window is not None:
        from neurosig.loaders.recordings import open_recording

        length, sfreq = recording.options.window[0], open_recording(recording).raw.info["sfreq"]
        first, last = 0.0, length - 1 / sfreq
    elif recording.path.name.lower().endswith(".npz"):
        from neurosig.loaders.trials import read_trials

        content = read_trials(recording.path)
        first = float(np.asarray(content.get("tmin", 0.0)))
        last = first + (content["X"].shape[2] - 1) / content["rate"]
    elif holds_epochs(recording.path):
        first, last = trial_span(recording.path)
    else:
        raise UsageError("tmin and tmax are needed: first and last second of a trial, relative to its event")
    return (first if tmin is None else tmin), (last if tmax is None else tmax)
