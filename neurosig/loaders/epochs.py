"""From recordings to trials: filter, cut, resample as MOABB does, with one recording in memory at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neurosig.core.errors import InputError, NoEventsError
from neurosig.core.log import logger
from neurosig.core.log import progress as progress_bar
from neurosig.core.signals import Processing, SignalDataset, SignalSpec
from neurosig.loaders.arrays import room_for
from neurosig.loaders.epoch_files import reference_of
from neurosig.loaders.events import is_span
from neurosig.loaders.formats import reading
from neurosig.loaders.recordings import Recording, read_recording
from neurosig.loaders.sensors import check_data, check_flat
from neurosig.loaders.survey import Survey, check_band, data_channels, no_events, no_trials, survey_files

if TYPE_CHECKING:
    import mne
    import pandas as pd

__all__ = ["count_trials", "cut_epochs", "data_channels", "iter_recordings", "load_recordings", "process_raw"]


def process_raw(
    raw: mne.io.BaseRaw, processing: Processing, *, on_nan: str = "raise", path: Path | None = None
) -> mne.io.BaseRaw:
    """Load the wanted channels and filter them, in place.

    The filter is ``raw.filter(fmin, fmax, method="iir", picks="data")``, MOABB's; spans called ``EDGE...`` or
    ``BAD_ACQ_SKIP`` part the recording into pieces that are filtered on their own.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        As `read_recording` gives it; loaded or not.
    processing : Processing
        `picks`, `fmin` and `fmax` are used.
    on_nan : {"raise", "annotate"}
        See `ReadOptions.on_nan`.
    path : Path, optional
        What to call the recording in errors.

    Returns
    -------
    mne.io.BaseRaw
        `raw`, with the wanted channels only.
    """
    path = path or Path(next((str(name) for name in raw.filenames if name), "recording"))
    check_band(path.name, raw.info["sfreq"], processing)
    raw.pick(data_channels(raw.info, processing.picks), verbose="error")
    with reading(path, "a recording"):
        raw.load_data(verbose="error")
    check_data(raw, on_nan, path)
    check_flat(raw, path)
    fmin, fmax = processing.fmin, processing.fmax
    if fmin is not None or fmax is not None:
        raw.filter(fmin, fmax, method="iir", picks="data", verbose="error")
    return raw


def cut_epochs(
    raw: mne.io.BaseRaw, events: Sequence[str] | None, processing: Processing, *, path: Path | None = None
) -> mne.Epochs:
    """Cut trials around events, subtract the baseline, resample.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        From `process_raw`.
    events : sequence of str or None
        Names of the events; None takes all.
    processing : Processing
        `tmin`, `tmax`, `baseline` and `resample` are used.
    path : Path, optional
        What to call the recording in errors.

    Returns
    -------
    mne.Epochs
        Loaded; `event_id` holds the names that occur, `metadata` the onsets in seconds from the recording's start.
        Trials that touch a bad span, or stick out of the recording, are not among them.

    Raises
    ------
    NoEventsError
        There is no event, or none of those asked for.
    InputError
        No trial is left; the message says why.
    """
    import mne
    import pandas as pd

    name = (path or Path(next((str(file) for file in raw.filenames if file), "recording"))).name
    there = sorted({str(text) for text in raw.annotations.description if not is_span(text)})
    chosen = there if events is None else [event for event in events if event in there]
    if not chosen:
        raise NoEventsError(no_events(name, events, there))
    codes = {event: code for code, event in enumerate(chosen, 1)}
    found, _ = mne.events_from_annotations(raw, event_id=codes, verbose="error")
    # in seconds, and kept with the trials: resampling leaves their sample numbers as they were
    onsets = pd.DataFrame({"onset": (found[:, 0] - raw.first_samp) / raw.info["sfreq"]})
    tmin, tmax, baseline = processing.tmin, processing.tmax, processing.baseline
    low, high = _span(processing)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All epochs were dropped", RuntimeWarning)  # told below, with the reason
        epochs = mne.Epochs(
            raw,
            found,
            codes,
            low,
            high,
            proj=False,
            baseline=baseline,
            preload=True,
            event_repeated="drop",
            on_missing="ignore",
            reject_by_annotation=True,
            metadata=onsets,
            verbose="error",
        )
    if len(epochs) == 0:
        raise InputError(no_trials(name, raw, found[:, 0] - raw.first_samp, low, high))
    if len(epochs) < len(found):
        logger.info(
            "%s: %d of %d trials left out (bad spans, or beyond the recording)",
            name,
            len(found) - len(epochs),
            len(found),
        )
    if (low, high) != (tmin, tmax):
        epochs.crop(tmin, tmax, verbose="error")
    if processing.resample is not None:
        epochs.resample(processing.resample, verbose="error")
    return epochs


def count_trials(raw: mne.io.BaseRaw, events: Sequence[str], processing: Processing) -> tuple[int, int]:
    """Events that are there, and how many of them `cut_epochs` makes trials of; no signal is cut.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Loaded.
    events : sequence of str
        Names of the events.
    processing : Processing
        How trials are cut.

    Returns
    -------
    (int, int)
        Events found, trials kept.
    """
    import mne

    codes = {event: code for code, event in enumerate(events, 1) if event in set(raw.annotations.description)}
    if not codes:
        return 0, 0
    found, _ = mne.events_from_annotations(raw, event_id=codes, verbose="error")
    low, high = _span(processing)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All epochs were dropped", RuntimeWarning)
        kept = mne.Epochs(
            raw, found, codes, low, high, picks=[0], proj=False, baseline=None, preload=True, event_repeated="drop",
            reject_by_annotation=True, verbose="error",
        )  # fmt: skip
    return len(found), len(kept)


def _span(processing: Processing) -> tuple[float, float]:
    """First and last second that must be there: the trial and its baseline."""
    tmin, tmax, baseline = processing.tmin, processing.tmax, processing.baseline
    low = tmin if baseline is None or baseline[0] is None else min(tmin, baseline[0])
    high = tmax if baseline is None or baseline[1] is None else max(tmax, baseline[1])
    return low, high


def iter_recordings(
    recordings: Sequence[Recording],
    events: Sequence[str] | None,
    processing: Processing,
    *,
    progress: bool | None = None,
) -> Iterator[tuple[Recording, mne.Epochs]]:
    """Read, filter and cut recordings one after the other; only one is in memory, as long as the caller keeps none.

    Parameters
    ----------
    recordings : sequence of Recording
        What to read.
    events : sequence of str or None
        Names of the events; None takes all that each recording has.
    processing : Processing
        How to cut.
    progress : bool, optional
        Show a progress bar; None shows it on a terminal.

    Yields
    ------
    Recording, mne.Epochs
        A recording, and its trials.
    """
    for recording in progress_bar(recordings, desc="reading", unit="file", show=progress):
        raw = process_raw(read_recording(recording), processing, on_nan=recording.options.on_nan, path=recording.path)
        epochs = cut_epochs(raw, events, processing, path=recording.path)
        del raw
        yield recording, epochs
        del epochs  # before the next recording is read


def load_recordings(
    recordings: Sequence[Recording],
    events: Sequence[str] | None,
    processing: Processing,
    *,
    memmap: str | Path | None = None,
    progress: bool | None = None,
    name: str = "recordings",
) -> SignalDataset:
    """Load the trials of many recordings into one `SignalDataset`.

    Headers are looked at first: channels that differ, mixed rates and missing events are refused before the long work.

    Parameters
    ----------
    recordings : sequence of Recording
        What to read; all with the same channels (in any order).
    events : sequence of str or None
        Names of the events that make the classes; None takes all.
    processing : Processing
        How to cut.
    memmap : str or Path, optional
        Write X to this ``.npy`` file, recording by recording, and map it; memory then holds one recording only.
    progress : bool, optional
        Show a progress bar; None shows it on a terminal.
    name : str
        Name of the dataset.

    Returns
    -------
    SignalDataset
        X in volts or tesla, float64; y holds the event names; metadata has subject, session, run, file and onset (s).

    Raises
    ------
    InputError
        Channels or rates differ between the files, an event is in none of them, or no trial is left.
    """
    import numpy as np
    import pandas as pd

    if not recordings:
        raise InputError("no recordings to load: the list is empty")
    survey = survey_files(recordings, events, processing)
    wanted = processing.replace(picks=tuple(survey.channels))
    shape = (survey.n_trials, len(survey.channels), survey.n_times)
    labels: list[str] = []
    tables: list[pd.DataFrame] = []
    spec: SignalSpec | None = None
    with room_for(shape, memmap) as room:
        for recording, epochs in iter_recordings(recordings, survey.events, wanted, progress=progress):
            room.append(epochs.get_data(copy=False)[..., : survey.n_times])
            names = {code: event for event, code in epochs.event_id.items()}
            labels += [names[code] for code in epochs.events[:, 2]]
            tables.append(_rows(recording, epochs))
            spec = spec or _spec(recording, epochs, processing, survey)
            del epochs
        data = room.finish()
    if memmap is not None:
        data = np.load(memmap, mmap_mode="r", allow_pickle=False)
    y = np.array(labels)
    if len(y) < survey.n_trials:
        logger.warning(
            "%d of %d trials kept: the others touch bad spans or stick out of their recording", len(y), survey.n_trials
        )
    if len(set(labels)) == 1:
        warnings.warn(
            f"all {len(y)} trials are {labels[0]!r}: a decoder needs two classes at least; name more events",
            stacklevel=2,
        )
    assert spec is not None  # for the type checker: there is at least one recording
    return SignalDataset(data, y, pd.concat(tables, ignore_index=True), spec, name=name)


def _rows(recording: Recording, epochs: mne.Epochs) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "subject": recording.subject,
            "session": recording.session,
            "run": recording.run,
            "file": recording.path.name,
            "onset": epochs.metadata["onset"].to_numpy(),
        }
    )


def _spec(recording: Recording, epochs: mne.Epochs, processing: Processing, survey: Survey) -> SignalSpec:
    return SignalSpec.from_mne(
        epochs.info,
        tmin=float(epochs.tmin),
        n_times=survey.n_times,
        processing=processing,
        montage=recording.options.montage,
        reference=reference_of(epochs.info),
    )
