"""Epochs files: trials that mne, EEGLAB or ``neurosig preprocess`` has cut and stored, read as recordings made of them.

A file of epochs stands where a recording does: its trials are laid end to end, each an island that filters and windows
do not leave. So everything that takes recordings takes it, with two limits that follow from what it is: a trial can be
cropped, not lengthened, and what was dropped before it was stored is not there.
"""

from __future__ import annotations

import gzip
import json
import re
import struct
import warnings
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import InputError
from neurosig.loaders.recordings import Opened, ReadOptions, Recording

if TYPE_CHECKING:
    import mne

__all__ = [
    "EPOCHS_NAME", "cleaned_before", "cleaned_by_step", "expand_epochs", "holds_epochs", "is_one_trial_only",
    "open_epochs", "provenance", "reference_of", "set_provenance", "trial_span", "trials_in",
]  # fmt: skip

EPOCHS_NAME = re.compile(r"[-_]epo(-\d+)?\.fif(\.gz)?$", re.IGNORECASE)  # mne's names, the later parts of one included
_PLACE = ("subject", "session", "run")
_BLOCK_START, _RAW_BLOCKS, _EPOCHS_BLOCK = 104, (102, 112, 119), 373  # tags of FIF: the constants of its format


def holds_epochs(path: Path) -> bool:
    """Whether a file holds cut trials: by its name (``*-epo.fif``, ``*_epo.fif``), else by what is in it."""
    name = path.name.lower()
    if EPOCHS_NAME.search(name):
        return True
    if not name.endswith((".fif", ".fif.gz", ".set")) or not path.is_file():
        return False
    stat = path.stat()
    return (_set_has_epochs if name.endswith(".set") else _fif_has_epochs)(path, stat.st_mtime_ns, stat.st_size)


def is_one_trial_only(error: BaseException | None) -> bool:
    """Whether a reader refused an EEGLAB file because it holds several trials."""
    return isinstance(error, TypeError) and "number of trials" in str(error)


@lru_cache(maxsize=4096)
def _fif_has_epochs(path: Path, mtime: int, size: int) -> bool:
    """A walk over the heads of the tags, which ends where the first samples begin."""
    place = 0
    try:
        with (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as stream:
            while True:
                stream.seek(place)
                kind, _, length, following = struct.unpack(">iIii", stream.read(16))
                if kind == _BLOCK_START:
                    (block,) = struct.unpack(">i", stream.read(4))
                    if block in _RAW_BLOCKS or block == _EPOCHS_BLOCK:
                        return block == _EPOCHS_BLOCK
                if length < 0 or following < 0 or 0 < following <= place:
                    return False
                place = following or place + 16 + length
    except (struct.error, OSError, EOFError, zlib.error):  # its end, or a damaged file: reading it will tell
        return False


@lru_cache(maxsize=4096)
def _set_has_epochs(path: Path, mtime: int, size: int) -> bool:
    import mne

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mne.io.read_raw_eeglab(path, preload=False, verbose="error")
    except Exception as error:  # readers fail on broken files in every way: reading it will tell
        return is_one_trial_only(error)
    return False


@lru_cache(maxsize=1)  # the recordings of one file are read one after the other; more than one file is never held
def _read(path: Path, mtime: int, size: int) -> mne.BaseEpochs:
    import mne

    from neurosig.loaders.formats import check_content, reading

    check_content(path)
    with warnings.catch_warnings(), reading(path, "epochs"):
        warnings.simplefilter("ignore")  # of names that mne likes better, and pandas' about mne
        if path.name.lower().endswith(".set"):
            epochs = mne.read_epochs_eeglab(path, verbose="error")
        else:
            epochs = mne.read_epochs(path, preload=False, verbose="error")
    if len(epochs) == 0:
        raise InputError(f"{path.name} holds no trial: all were dropped before it was stored; export it again")
    if spans := [name for name in epochs.event_id if name.lower().startswith(("bad", "edge"))]:
        raise InputError(
            f"{path.name}: events called {', '.join(spans)} cannot be told from marks of bad spans, which begin so; "
            "rename them in event_id"
        )
    return epochs


def trials_in(path: Path) -> mne.BaseEpochs:
    """The file as mne reads it, not to be changed: it is kept for the next who asks.

    Raises
    ------
    InputError
        The file cannot be read, holds no trial, or has events that are named like bad spans.
    """
    if not path.exists():
        raise InputError(f"no such file: {path}; check the path")
    stat = path.stat()
    return _read(path, stat.st_mtime_ns, stat.st_size)


def trial_span(path: Path) -> tuple[float, float]:
    """First and last second of the trials, on the grid of their samples."""
    epochs = trials_in(path)
    sfreq, zero = float(epochs.info["sfreq"]), _zero(epochs)
    return -zero / sfreq, (len(epochs.times) - 1 - zero) / sfreq


def _zero(epochs: mne.BaseEpochs) -> int:
    """Samples from the first of a trial to its event."""
    return round(-float(epochs.times[0]) * float(epochs.info["sfreq"]))


def expand_epochs(path: Path, place: tuple[str, str, str], options: ReadOptions | None = None) -> list[Recording]:
    """The recordings in an epochs file: one, or one a subject, session and run where its metadata tell them apart.

    Parameters
    ----------
    path : Path
        The file.
    place : (str, str, str)
        Subject, session and run, as the name tells. Columns ``subject``, ``session`` and ``run`` of the trials'
        metadata go before it.
    options : ReadOptions, optional
        Given to each recording.

    Returns
    -------
    list of Recording
        In order of first appearance; `Recording.select` holds each one's trials, None where there is one only.
    """
    options = options or ReadOptions()
    table = trials_in(path).metadata
    columns = [] if table is None else [name for name in _PLACE if name in table and table[name].notna().all()]
    if not columns:
        return [Recording(path, *place, options=options)]
    named = dict(zip(_PLACE, place, strict=True))
    rows: dict[tuple[str, str, str], list[int]] = {}
    for row, values in enumerate(zip(*(table[name].map(_text) for name in columns), strict=True)):
        whose = named | dict(zip(columns, values, strict=True))
        rows.setdefault((whose["subject"], whose["session"], whose["run"]), []).append(row)
    if len(rows) == 1:
        return [Recording(path, *next(iter(rows)), options=options)]
    return [Recording(path, *key, select=tuple(chosen), options=options) for key, chosen in rows.items()]


def _text(value: Any) -> str:
    """A subject's name; whole numbers that pandas keeps as floats lose their point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def open_epochs(recording: Recording) -> Opened:
    """The trials as one `mne.io.RawArray`, each an island between spans that filters and epochs leave out.

    Labels are the names of `event_id`. Names, types and places of channels, bad channels, filters and the state of the
    reference are the file's; projections are applied, as `mne.read_epochs` does.
    """
    import numpy as np

    from neurosig.loaders.formats import reading
    from neurosig.loaders.trials import lay_end_to_end

    path = recording.path
    epochs = trials_in(path)
    rows = np.arange(len(epochs)) if recording.select is None else np.asarray(recording.select)
    if len(rows) == 0 or rows.min() < 0 or rows.max() >= len(epochs):
        raise InputError(
            f"{path.name} holds trials 0 to {len(epochs) - 1}, rows {rows.min(initial=0)} to {rows.max(initial=0)} "
            "were asked for"
        )
    with reading(path, "epochs"):
        X = epochs[rows].get_data(copy=False, verbose="error")
    names = {code: name for name, code in reversed(epochs.event_id.items())}
    labels = np.array([names[code] for code in epochs.events[rows, 2]])
    info = epochs.info.copy()
    info.set_meas_date(None)
    raw = lay_end_to_end(X, labels, _zero(epochs), info)
    volts = recording.options.volts("V")
    if volts != 1.0:
        raw.apply_function(lambda x: x * volts, picks="data", channel_wise=False, verbose="error")
    what = "EEGLAB" if path.name.lower().endswith(".set") else "FIF"
    return Opened(raw, f"epochs ({what})", tuple(_notes(epochs)))


def _notes(epochs: mne.BaseEpochs) -> list[str]:
    notes = []
    n_dropped = sum(any(reason != "IGNORED" for reason in dropped) for dropped in epochs.drop_log)
    if n_dropped:
        notes.append(f"{n_dropped} of {n_dropped + len(epochs)} trials were dropped before, and are not in the file")
    if (reference := reference_of(epochs.info)) is not None:
        notes.append(f"reference: {reference}")
    if epochs.baseline is not None:
        low, high = epochs.baseline
        notes.append(f"baseline removed, {low:g} to {high:g} s")
    if stated := provenance(epochs.info):
        notes.append(f"cleaned by {stated['cleaned_by']}, learning from the whole recording")
    return notes


# what a header can tell of the past ----------------------------------------------------------------------------------


def set_provenance(info: mne.Info, cleaned_by: str, reference: str | None, steps: Sequence[str] = ()) -> None:
    """Write into the header what cleaned the trials, by which steps, and what they refer to: FIF has a text field."""
    info["description"] = json.dumps({"cleaned_by": cleaned_by, "reference": reference, "steps": list(steps)})


def provenance(info: mne.Info) -> Mapping[str, Any]:
    """What `set_provenance` wrote; empty for files of other programs."""
    try:
        stated = json.loads(info.get("description") or "")
    except ValueError:
        return {}
    return stated if isinstance(stated, dict) and isinstance(stated.get("cleaned_by"), str) else {}


def reference_of(info: mne.Info) -> str | None:
    """Reference of the EEG as far as the header tells: a name, "custom" where it only says that it was changed."""
    from mne.io.constants import FIFF

    if stated := provenance(info).get("reference"):
        return str(stated)
    if any(proj["active"] and proj["kind"] == FIFF.FIFFV_PROJ_ITEM_EEG_AVREF for proj in info["projs"]):
        return "average"
    return "custom" if info["custom_ref_applied"] == FIFF.FIFFV_MNE_CUSTOM_REF_ON else None


def cleaned_by_step(recordings: Sequence[Recording], step: str) -> bool:
    """Whether a step of FASTER cleaned the trials of any of the recordings, as their files say."""
    paths = dict.fromkeys(item.path for item in recordings if holds_epochs(item.path))
    return any(step in (provenance(trials_in(path).info).get("steps") or ()) for path in paths)


def cleaned_before(recordings: Sequence[Recording]) -> list[str]:
    """What a reader of scores must know where trials were cut and cleaned before they came here."""
    paths = list(dict.fromkeys(item.path for item in recordings if holds_epochs(item.path)))
    makers = [provenance(trials_in(path).info).get("cleaned_by") for path in paths]
    ours = [maker for maker in makers if maker is not None]
    if ours:
        return [
            f"trials were cleaned before the folds were made ({', '.join(dict.fromkeys(ours))}): the cleaning learned "
            "from whole recordings, test trials included, though from no labels, and trials that it rejected are not "
            "tested; to clean within the folds, put FASTER into the pipelines"
        ]
    if paths:
        return [
            "trials were cut, and perhaps cleaned, by another program before the folds were made: whatever it learned "
            "from the test trials is not known here, and trials that it rejected are not tested"
        ]
    return []
