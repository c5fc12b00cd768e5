"""One recording: which file (or part of a file) it is, how it is to be read, and `read_recording`, which reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import InputError, UsageError
from neurosig.core.log import logger

if TYPE_CHECKING:
    import mne

__all__ = ["UNKNOWN_UNIT", "Opened", "ReadOptions", "Recording", "open_recording", "read_recording"]

_UNITS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "µV": 1e-6, "0.1uV": 1e-7, "nV": 1e-9}
UNKNOWN_UNIT = "no unit in the file: numbers taken as uV; state it with unit='uV', or what it is"


@dataclass(frozen=True)
class ReadOptions:
    """How the files of a collection are read; every field has a default that suits files which describe themselves.

    Parameters
    ----------
    events : dict of str to (str, int or list of them), optional
        Event name to annotation description, stimulus code or marker value. None takes every annotation (or, in a file
        without annotations, every code of the stimulus channel) under its own name.
    montage : str, optional
        Name of a standard montage of mne, such as "standard_1005".
    rename : dict of str to str
        Channel renames, applied first; names as in the file.
    ch_types : dict of str to str
        Channel to mne's channel type ("misc", "eog", ...); names before or after renaming.
    drop : tuple of str
        Channels to leave out; names before or after renaming.
    unit : str, optional
        Unit of the numbers where the file does not say: "V", "mV", "uV", "0.1uV" or "nV".
    sfreq : float, optional
        Sampling rate in Hz where the file does not say.
    stim_channel : str, optional
        Stimulus channel to take events from, instead of annotations.
    marker_column : str or list of str, optional
        Column of a CSV stream that holds the markers; of a list, the first that is there.
    time_column : str, optional
        Column of a CSV stream that holds the time in seconds.
    window : (float, float), optional
        Length and step in seconds: the recording is one state, cut into windows that all carry `label`.
    label : str, optional
        The label of such windows; `Recording.label` goes before it.
    line_freq : float, optional
        Mains frequency in Hz where the file does not say.
    on_nan : {"raise", "annotate"}
        What to do with NaN or infinite samples: refuse the recording, or mark those spans so that filters skip them
        and no trial contains them.
    reject_uv : float, optional
        Drop trials near which an EEG channel swings more than this many microvolts within a second, see
        `neurosig.loaders.rejection`.
    """

    events: Mapping[str, Any] | None = None
    montage: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    ch_types: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    unit: str | None = None
    sfreq: float | None = None
    stim_channel: str | None = None
    marker_column: str | list[str] | None = None
    time_column: str | None = None
    window: tuple[float, float] | None = None
    label: str | None = None
    line_freq: float | None = None
    on_nan: str = "raise"
    reject_uv: float | None = None

    def __post_init__(self):
        if self.unit is not None and self.unit not in _UNITS:
            raise UsageError(f"unit must be one of {', '.join(_UNITS)}, got {self.unit!r}")
        if self.on_nan not in ("raise", "annotate"):
            raise UsageError(f"on_nan must be 'raise' or 'annotate', got {self.on_nan!r}")
        if self.reject_uv is not None and not self.reject_uv > 0:
            raise UsageError(f"reject_uv must be a positive number of microvolts, got {self.reject_uv}")
        if self.sfreq is not None and not self.sfreq > 0:
            raise UsageError(f"sfreq must be a positive number of Hz, got {self.sfreq}")
        if self.window is not None:
            window = tuple(float(value) for value in self.window)
            if len(window) != 2 or not min(window) > 0:
                raise UsageError(f"window must be (length, step), both positive seconds, got {self.window}")
            object.__setattr__(self, "window", window)
        object.__setattr__(self, "drop", tuple(self.drop))

    def volts(self, default: str) -> float:
        """Volts in one unit of the file's numbers: of `unit` where it is given, else of `default`."""
        return _UNITS[self.unit or default]


@dataclass(frozen=True)
class Recording:
    """A file, or the rows of a trial file, that belong to one subject, session and run.

    Parameters
    ----------
    path : Path
        The file (for formats of several files: the one that mne opens).
    subject, session, run : str
        Where it belongs.
    label : str, optional
        The state that the whole recording is, for state-labelled collections.
    select : tuple of int, optional
        Rows of a trial file (``.npz``) or epochs file that make this recording; None takes all.
    bids_root : Path, optional
        Root of the BIDS dataset that the file is part of: events, channel types and bad channels are then read from
        its sidecar files.
    options : ReadOptions
        How to read it.
    task : str, optional
        What was done meanwhile, as a label of letters and digits: the entity of a BIDS name, or what tells files of the
        same subject, session and run apart.
    """

    path: Path
    subject: str = "1"
    session: str = "0"
    run: str = "0"
    label: str | None = None
    select: tuple[int, ...] | None = None
    bids_root: Path | None = None
    options: ReadOptions = field(default_factory=ReadOptions)
    task: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "path", Path(self.path))


@dataclass(frozen=True)
class Opened:
    """A recording as its file describes it, before names, types, montage and events are arranged.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Data in volts or tesla, not loaded where the format allows.
    format : str
        Name of the format, for people.
    notes : tuple of str
        What was assumed where the file does not say.
    warnings : tuple of str
        What the reader warned of.
    assumed : tuple of str
        What was guessed that changes the numbers, and how to state it.
    """

    raw: mne.io.BaseRaw
    format: str
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


def open_recording(recording: Recording) -> Opened:
    """Open a recording's file and leave everything in it as it is.

    Raises
    ------
    InputError
        The file is missing, empty, truncated, or not what its name says.
    """
    path = recording.path
    if not path.exists():
        raise InputError(f"no such file: {path}; check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes): expected a recording; fetch or export it again")
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz", ".gii", ".1d")):
        raise InputError(f"{path.name} is fMRI, and a recording of EEG or MEG is expected here; load_fmri reads it")
    if name.endswith(".npz"):
        from neurosig.loaders.trials import open_trials

        return open_trials(recording)
    if name.endswith((".csv", ".csv.gz")):
        from neurosig.loaders.streams import open_csv

        return open_csv(recording)
    if name.endswith((".xdf", ".xdfz")):
        from neurosig.loaders.streams import open_xdf

        return open_xdf(recording)
    from neurosig.loaders.epoch_files import holds_epochs, is_one_trial_only, open_epochs
    from neurosig.loaders.formats import open_mne

    if not name.endswith(".set") and holds_epochs(path):
        return open_epochs(recording)
    try:
        return open_mne(recording)
    except InputError as error:
        if not is_one_trial_only(error.__cause__):
            raise
    return open_epochs(recording)  # of EEGLAB's files, only reading tells


def read_recording(recording: Recording, *, preload: bool = False, quiet: bool = False) -> mne.io.BaseRaw:
    """Read a recording the way its options say.

    Parameters
    ----------
    recording : Recording
        Which file, and how to read it.
    preload : bool
        Load the data now (and look for NaN, see `ReadOptions.on_nan`, and for a mixed-up unit), or leave them in the
        file until they are needed.
    quiet : bool
        Only the header is looked at: what the reader assumed is told when the data are read.

    Returns
    -------
    mne.io.BaseRaw
        Data in volts or tesla; channels renamed, typed and located; stimulus channels left out. Annotations carry event
        names only, beside ``BAD_...`` and ``EDGE...`` spans.

    Raises
    ------
    InputError
        The file cannot be read, asked-for channels or events are not in it, or (with `preload`) it holds NaN or
        amplitudes that no head gives off.
    """
    from neurosig.loaders.events import apply_events
    from neurosig.loaders.formats import reading
    from neurosig.loaders.rejection import mark_swings
    from neurosig.loaders.sensors import apply_sensors, check_data

    opened = open_recording(recording)
    raw, notes = opened.raw, [*opened.notes, *opened.warnings]
    apply_events(raw, recording)
    notes += apply_sensors(raw, recording.options)
    if not quiet:
        for note in notes:
            logger.info("%s: %s", recording.path.name, note)
        for note in opened.assumed:
            logger.warning("%s: %s", recording.path.name, note)
    limit = recording.options.reject_uv
    if preload or limit is not None:
        with reading(recording.path, opened.format):
            raw.load_data(verbose="error")
        check_data(raw, recording.options.on_nan, recording.path)
    if limit is not None:
        mark_swings(raw, limit)
    return raw
