"""Streams that were written down sample by sample: CSV tables with a marker column, and XDF files of LabRecorder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import InputError
from neurosig.loaders.formats import check_content, reading
from neurosig.loaders.recordings import UNKNOWN_UNIT, Opened, ReadOptions, Recording

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["marker_onsets", "nominal_rate", "open_csv", "open_xdf"]

_RATES = (
    64,
    100,
    125,
    128,
    160,
    200,
    220,
    250,
    256,
    300,
    400,
    500,
    512,
    600,
    1000,
    1024,
    1200,
    2000,
    2048,
    2400,
    4096,
    5000,
)
_TIME = re.compile(r"time(_?stamps?)?(\s*[\[(]?s[\])]?)?|t", re.IGNORECASE)
_MARKER = re.compile(r"(marker|event|trigger|stim)s?\s*_?\d*", re.IGNORECASE)


def nominal_rate(times: np.ndarray) -> tuple[float, str]:
    """Sampling rate behind jittered time stamps, and how it was found.

    Stamps are often rounded, so that their median step is off (4 ms for 256 Hz); the mean step over stretches without
    gaps is not. It is snapped to a usual rate within one per cent.
    """
    import numpy as np

    steps = np.diff(times)
    typical = float(np.median(steps)) if len(steps) else 0.0
    if not typical > 0:
        raise InputError(f"time stamps do not increase (median step {typical} s); name the time column or pass sfreq")
    mean = float(steps[(steps >= 0) & (steps < 5 * typical)].mean())
    near = min(_RATES, key=lambda rate: abs(rate * mean - 1))
    if abs(near * mean - 1) < 0.01:
        return float(near), f"sampling rate taken as {near} Hz: time stamps give {1 / mean:.2f} Hz"
    return 1 / mean, f"sampling rate taken from the time stamps: {1 / mean:.3f} Hz"


def marker_onsets(column: np.ndarray) -> np.ndarray:
    """Samples at which a marker column turns to a new non-zero value."""
    import numpy as np

    values = np.nan_to_num(column)
    return np.flatnonzero((values != 0) & (values != np.concatenate([[0], values[:-1]])))


def open_csv(recording: Recording) -> Opened:
    """Read a CSV stream (``.csv`` or ``.csv.gz``): one row a sample, columns for time, channels and markers."""
    import mne
    import numpy as np

    path, options = recording.path, recording.options
    table = _read_table(path)
    time = _column(table, path, options.time_column, _TIME, "time_column")
    marker = _marker(table, path, options)
    names = [name for name in _names(table) if name not in (time, marker)]
    if not names:
        raise InputError(
            f"{path.name} has no signal columns beside time and markers; its columns are {', '.join(_names(table))}"
        )
    notes = []
    stamps = None if time is None else table[time].to_numpy(dtype=float)
    if options.sfreq is not None:
        sfreq = float(options.sfreq)
    elif stamps is None:
        raise InputError(
            f"{path.name} has no time column, so its sampling rate is unknown; pass sfreq, or time_column as one of "
            f"{', '.join(_names(table))}"
        )
    else:
        sfreq, how = nominal_rate(stamps)
        notes.append(how)
    if stamps is not None and (gaps := int(np.sum(np.diff(stamps) > max(0.1, 10 / sfreq)))):
        notes.append(f"{gaps} gap(s) in the time stamps; samples are taken as evenly spaced")
    assumed = (UNKNOWN_UNIT,) if options.unit is None else ()
    data = table[names].to_numpy(dtype=float).T * options.volts("uV")
    types = ["misc" if re.search("aux|acc|gyro|battery|counter", name, re.IGNORECASE) else "eeg" for name in names]
    raw = mne.io.RawArray(data, mne.create_info(names, sfreq, types, verbose="error"), verbose="error")
    if marker is not None:
        values = table[marker].to_numpy(dtype=float)
        places = marker_onsets(values)
        texts = [f"{value:g}" for value in values[places]]
        raw.set_annotations(mne.Annotations(places / sfreq, 0.0, texts), verbose="error")
    return Opened(raw, "CSV stream", tuple(notes), assumed=assumed)


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    check_content(path)
    with path.open("rb") as stream:
        if not path.name.lower().endswith(".gz") and b"\x00" in stream.read(1024):
            raise InputError(f"{path.name} is not a CSV table: it holds binary data; it was renamed or damaged")
    try:
        table = pd.read_csv(path, skipinitialspace=True, encoding="utf-8-sig", low_memory=False)
    except (ValueError, OSError, EOFError, UnicodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"cannot read {path} as a CSV table: {reason}; expected a header line and rows with as many columns"
        ) from error
    except Exception as error:  # zlib.error of a damaged gzip stream derives from Exception alone
        raise InputError(f"cannot read {path}: {error}; the file is damaged or truncated, fetch it again") from error
    table.columns = [str(name).strip() for name in table.columns]
    if not isinstance(table.index, pd.RangeIndex):
        raise InputError(
            f"{path.name}: rows have more values than the header has columns ({len(table.columns)}); mend the table"
        )
    if len(table) < 2:
        raise InputError(f"{path.name} holds {len(table)} row(s): expected one row a sample, under a header line")
    for name in table:
        column = pd.to_numeric(table[name], errors="coerce")
        wrong = column.isna() & table[name].notna()
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise InputError(
                f"{path.name}: column {name!r} holds {str(table[name].iloc[row])!r} in line {row + 2}; expected "
                "numbers in every column"
            )
        table[name] = column
    short = table.isna().any(axis=1)
    if short.iloc[-1] and not short.iloc[:-1].any():
        raise InputError(
            f"{path.name} is truncated: its last line, {len(table) + 1}, has fewer values than the header; fetch it "
            "again"
        )
    return table


def _names(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in table.columns]


def _column(table: pd.DataFrame, path: Path, asked: str | None, pattern: re.Pattern, option: str) -> str | None:
    if asked is not None:
        if asked not in table:
            raise InputError(
                f"{path.name} has no column {asked!r} ({option}); its columns are {', '.join(_names(table))}"
            )
        return asked
    return next((name for name in _names(table) if pattern.fullmatch(name)), None)


def _marker(table: pd.DataFrame, path: Path, options: ReadOptions) -> str | None:
    asked = options.marker_column
    if isinstance(asked, list | tuple):
        found = [name for name in asked if name in table]
        if not found:
            raise InputError(
                f"{path.name} has none of the columns {', '.join(asked)} (marker_column); its columns are "
                f"{', '.join(_names(table))}"
            )
        return found[0]
    return _column(table, path, asked, _MARKER, "marker_column")


def open_xdf(recording: Recording) -> Opened:
    """Read an XDF file: the signal stream with most samples, markers from the streams without a rate."""
    path = recording.path
    try:
        import pyxdf
    except ImportError as error:
        raise InputError(f"reading {path.name} needs pyxdf: pip install 'neurosig[io]'") from error
    check_content(path)
    with reading(path, "XDF"):
        streams, _ = pyxdf.load_xdf(path, verbose=False)
        return _xdf_raw(path, recording.options, streams)


def _xdf_raw(path: Path, options: ReadOptions, streams: list[dict[str, Any]]) -> Opened:
    import mne
    import numpy as np

    def is_signal(stream):
        return float(stream["info"]["nominal_srate"][0]) > 0 and isinstance(stream["time_series"], np.ndarray)

    signals = [stream for stream in streams if is_signal(stream) and len(stream["time_series"])]
    if not signals:
        kinds = ", ".join(str(stream["info"]["type"][0]) for stream in streams) or "none"
        raise InputError(f"{path.name} holds no stream of samples with a sampling rate; its streams are: {kinds}")
    eeg = [stream for stream in signals if str(stream["info"]["type"][0]).lower() == "eeg"]
    stream = max(eeg or signals, key=lambda item: item["time_series"].size)
    names, unit = _xdf_channels(stream)
    sfreq = options.sfreq or float(stream["info"]["nominal_srate"][0])
    notes = [f"stream {stream['info']['name'][0]!r} taken, of {len(signals)} with samples"] if len(signals) > 1 else []
    assumed = (UNKNOWN_UNIT,) if unit is None and options.unit is None else ()
    data = np.asarray(stream["time_series"], dtype=float).T * options.volts(unit or "uV")
    raw = mne.io.RawArray(data, mne.create_info(names, sfreq, "eeg", verbose="error"), verbose="error")
    start = float(stream["time_stamps"][0])
    onsets, texts = [], []
    for other in streams:
        if float(other["info"]["nominal_srate"][0]) == 0:
            for stamp, value in zip(other["time_stamps"], other["time_series"], strict=True):
                first = np.atleast_1d(value)[0]
                onsets.append(float(stamp) - start)
                texts.append(str(first) if isinstance(first, str) else f"{float(first):g}")
    inside = [i for i, onset in enumerate(onsets) if 0 <= onset < raw.n_times / sfreq]
    if len(inside) < len(onsets):
        notes.append(f"{len(onsets) - len(inside)} marker(s) outside the recording left out")
    raw.set_annotations(mne.Annotations([onsets[i] for i in inside], 0.0, [texts[i] for i in inside]), verbose="error")
    return Opened(raw, "XDF", tuple(notes), assumed=assumed)


def _xdf_channels(stream: dict[str, Any]) -> tuple[list[str], str | None]:
    """Labels and unit out of the stream's description, which may be missing in part or whole."""
    count = stream["time_series"].shape[1]
    description = (stream["info"].get("desc") or [None])[0] or {}
    channels = ((description.get("channels") or [None])[0] or {}).get("channel") or []
    names = [str((channel.get("label") or [""])[0] or "") for channel in channels]
    if len(names) != count or len(set(names)) != count or not all(names):
        names = [f"CH{i + 1}" for i in range(count)]
    text = str((channels[0].get("unit") or [""])[0]).lower() if channels else ""
    unit = {
        "microvolts": "uV",
        "microvolt": "uV",
        "uv": "uV",
        "µv": "uV",
        "millivolts": "mV",
        "mv": "mV",
        "volts": "V",
        "v": "V",
    }
    return names, unit.get(text)
