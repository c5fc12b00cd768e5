"""Trial files: ``.npz`` archives that hold cut trials instead of a continuous recording."""

from __future__ import annotations

import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import InputError
from neurosig.loaders.recordings import UNKNOWN_UNIT, Opened, ReadOptions, Recording

if TYPE_CHECKING:
    import mne
    import numpy as np

__all__ = ["expand_trials", "lay_end_to_end", "open_trials", "read_trials"]

_LAYOUT = "X (trials, channels, times), y (trials,), ch_names (channels,) and sfreq"


def expand_trials(
    path: str | Path, options: ReadOptions | None = None, *, subject: str | None = None
) -> list[Recording]:
    """The recordings in a trial file: one a subject, session and run, by its arrays of those names.

    Parameters
    ----------
    path : str or Path
        The ``.npz`` file.
    options : ReadOptions, optional
        Given to each recording.
    subject : str, optional
        The subject, where the file has no array ``subject``.

    Returns
    -------
    list of Recording
        In order of first appearance; `Recording.select` holds each one's rows.
    """
    import numpy as np

    content = read_trials(Path(path))
    n_trials = len(content["X"])
    columns = []
    for name, default in (("subject", subject or "1"), ("session", "0"), ("run", "0")):
        values = np.asarray(content.get(name, default))
        if values.ndim and values.shape != (n_trials,):
            raise InputError(
                f"{Path(path).name}: {name} must be one value or one for each of {n_trials} trials, its shape is "
                f"{values.shape}"
            )
        columns.append(np.broadcast_to(values, (n_trials,)).astype(str).tolist())
    rows: dict[tuple[str, str, str], list[int]] = {}
    for index, key in enumerate(zip(*columns, strict=True)):
        rows.setdefault(key, []).append(index)
    return [
        Recording(Path(path), *key, select=tuple(index), options=options or ReadOptions())
        for key, index in rows.items()
    ]


def read_trials(path: Path) -> dict[str, Any]:
    """The arrays of a trial file, checked; nothing in it is ever unpickled.

    Returns
    -------
    dict
        The file's arrays, X as stored, and ``labels`` (names of the trials' classes).

    Raises
    ------
    InputError
        Not a trial file: pickled objects, missing arrays, shapes that do not fit.
    """
    stat = path.stat()
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1)  # the recordings of one file are read one after the other; more than one file is never held
def _read(path: Path, mtime: int, size: int) -> dict[str, Any]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"{path.name} is a single array, expected an archive with {_LAYOUT}")
            pickled = [name for name in archive.files if _is_pickled(archive, name)]
            if pickled:
                raise InputError(
                    f"{path.name}: {', '.join(pickled)} hold pickled objects, which can run any code and are never "
                    "read; save numbers and texts as plain arrays"
                )
            content = {name: archive[name] for name in archive.files}
    except InputError:
        raise
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise InputError(
            f"cannot read {path} as a trial file (npz): {error}; it is damaged or truncated, fetch it again"
        ) from error
    return _checked(path, content)


def _is_pickled(archive: Any, name: str) -> bool:
    from numpy.lib import format as npy

    with archive.zip.open(f"{name}.npy") as stream:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        return bool(read(stream)[2].hasobject)


def _checked(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    missing = [name for name in ("X", "y", "ch_names", "sfreq") if name not in content]
    if missing:
        raise InputError(
            f"{path.name} lacks {', '.join(missing)}: a trial file holds {_LAYOUT}; this one has "
            f"{', '.join(content) or 'nothing'}"
        )
    X, y, names = content["X"], content["y"], [str(name) for name in np.atleast_1d(content["ch_names"])]
    if X.ndim != 3 or not np.issubdtype(X.dtype, np.number) or 0 in X.shape:
        raise InputError(
            f"{path.name}: X must be numbers of shape (trials, channels, times), it is {X.dtype} of shape {X.shape}"
        )
    if y.shape != X.shape[:1]:
        raise InputError(f"{path.name}: y must have one label for each of {len(X)} trials, its shape is {y.shape}")
    if len(names) != X.shape[1] or len(set(names)) != len(names):
        raise InputError(f"{path.name}: ch_names must be {X.shape[1]} different names, there are {len(set(names))}")
    sfreq = np.asarray(content["sfreq"])
    if sfreq.size != 1 or not np.issubdtype(sfreq.dtype, np.number) or not float(sfreq.ravel()[0]) > 0:
        raise InputError(f"{path.name}: sfreq must be one positive number of Hz, it is {sfreq.tolist()}")
    labels = y.astype(str)
    if "class_names" in content:
        classes = np.asarray(content["class_names"]).astype(str)
        if not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= len(classes):
            raise InputError(
                f"{path.name}: y must be whole numbers from 0 to {len(classes) - 1}, the places in class_names; it "
                f"holds {', '.join(sorted(set(labels))[:6])}"
            )
        labels = classes[y]
    return {**content, "labels": labels, "names": names, "rate": float(sfreq.ravel()[0])}


def open_trials(recording: Recording) -> Opened:
    """Trials laid end to end as one `mne.io.RawArray`, each an island between spans that filters and epochs leave out.

    Each trial carries its class name as an annotation at its time zero. The islands are parted by ``BAD_ACQ_SKIP``:
    mne filters each on its own, and (unlike ``EDGE`` marks) MOABB keeps these when it rebuilds the annotations.
    """
    import mne
    import numpy as np

    path = recording.path
    content = read_trials(path)
    rows = np.arange(len(content["X"])) if recording.select is None else np.asarray(recording.select)
    if len(rows) == 0 or rows.min() < 0 or rows.max() >= len(content["X"]):
        raise InputError(
            f"{path.name} holds trials 0 to {len(content['X']) - 1}, rows {rows.min(initial=0)} to "
            f"{rows.max(initial=0)} were asked for"
        )
    X, sfreq = content["X"], content["rate"]
    tmin = float(np.asarray(content.get("tmin", 0.0)))
    notes = [] if "tmin" in content else ["no tmin in the file: time zero taken as each trial's first sample"]
    assumed: tuple[str, ...] = ()
    if "unit_uV" in content:
        scale = float(content["unit_uV"]) * 1e-6
    else:
        scale = recording.options.volts("uV")
        assumed = (UNKNOWN_UNIT,) if recording.options.unit is None else ()
    info = mne.create_info(content["names"], sfreq, _types(content["names"]), verbose="error")
    raw = lay_end_to_end(X, content["labels"][rows], round(-tmin * sfreq), info, rows=rows, scale=scale)
    return Opened(raw, "trial file (npz)", tuple(notes), assumed=assumed)


def lay_end_to_end(
    X: np.ndarray,
    labels: np.ndarray,
    zero: int,
    info: mne.Info,
    *,
    rows: np.ndarray | None = None,
    scale: float = 1.0,
) -> mne.io.RawArray:
    """Trials as one recording, each an island between spans called ``BAD_ACQ_SKIP``.

    Parameters
    ----------
    X : array of shape (n_stored, n_channels, n_times)
        Trials.
    labels : array of str of shape (n_trials,)
        Class of each trial that is laid out.
    zero : int
        Sample of a trial at which its event stands; may lie outside of it.
    info : mne.Info
        Of the recording; kept as it is.
    rows : array of int of shape (n_trials,), optional
        Which of `X`; None takes all.
    scale : float
        What the numbers are multiplied by.

    Returns
    -------
    mne.io.RawArray
        With an annotation of the class name at each time zero.
    """
    import mne
    import numpy as np

    rows = np.arange(len(X)) if rows is None else rows
    sfreq, n_times = float(info["sfreq"]), X.shape[2]
    # a gap also holds a time zero that lies outside the trial
    before, after = max(2, -zero), max(2, zero - n_times + 2)
    length = before + n_times + after
    data = np.zeros((X.shape[1], len(rows) * length))
    for place, row in enumerate(rows):
        np.multiply(X[row], scale, out=data[:, place * length + before : place * length + before + n_times])
    raw = mne.io.RawArray(data, info, copy="info", verbose="error")
    starts = np.arange(len(rows)) * length
    gaps = np.concatenate([starts, starts + before + n_times])
    widths = np.repeat([before, after], len(rows))
    raw.set_annotations(
        mne.Annotations((starts + before + zero) / sfreq, 0.0, labels)
        # a quarter of a sample narrower on each side: rounds to the same samples, and no trial is lost to float error
        + mne.Annotations((gaps + 0.25) / sfreq, (widths - 0.5) / sfreq, "BAD_ACQ_SKIP"),
        verbose="error",
    )
    return raw


def _types(names: list[str]) -> list[str]:
    """Channel types by name, for files that do not tell: electrodes on the head unless the name says otherwise."""
    kinds = ("ecg", "eog", "emg")
    return [next((kind for kind in kinds if name.lower().startswith(kind)), "eeg") for name in names]
