"""Region series in tables: text (.1D, .tsv, .csv, .txt), NumPy (.npy, .npz) and MATLAB (.mat)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, StorageError, UsageError
from neurosig.core.log import logger
from neurosig.core.near_names import did_you_mean
from neurosig.loaders.fmri_clean import UNITS, check_t_r, clean_series, cleaned_run, settled_t_r
from neurosig.loaders.fmri_images import sidecar
from neurosig.loaders.fmri_orientation import ORIENTATIONS, is_connectivity, oriented
from neurosig.loaders.fmri_run import Run

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["ORIENTATIONS", "TABLES", "RegionTable", "is_stored_run", "open_table", "read_table"]

TABLES = (".1d", ".tsv", ".csv", ".txt", ".tsv.gz", ".csv.gz", ".npy", ".npz", ".mat")  # names in small letters

_SERIES = ("data", "X", "series", "timeseries", "time_series", "roi_timeseries", "ROISignals", "ts")
_NAMES = ("names", "ch_names", "region_names", "roi_names", "labels")
_PERIODS = ("t_r", "tr", "TR", "repetition_time", "RepetitionTime")
# columns that count volumes or say where they come from, as exports and AFNI's 3dROIstats write them
_COUNTERS = re.compile(
    r"unnamed: 0|index|time|times|volume|volumes|frame|frames|scan|tr|timepoint|sub-?brick|file", re.I
)
_SAME_TIME = 1e-3  # seconds that two sources of one repetition time may differ by
_MISSING = {"", "na", "n/a", "nan", "null", "none", "."}


@dataclass
class RegionTable:
    """Series of a table, before anything is done to them.

    Parameters
    ----------
    series : array of shape (n_regions, n_volumes)
        As measured; NaN where a value is missing.
    names : list of str, or None
        Region names, where they are known.
    t_r : float or None
        Repetition time in seconds, where it is known.
    positions : array of shape (n_regions, 3), optional
        Region centres in metres, of an atlas.
    notes : dict
        How the table was taken; JSON-like.
    """

    series: np.ndarray
    names: list[str] | None = None
    t_r: float | None = None
    positions: np.ndarray | None = None
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Table:
    """What a file held: numbers, and what it said about them."""

    values: np.ndarray
    names: list[str] | None = None  # of the columns
    t_r: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)


def read_table(
    source: str | Path | np.ndarray | pd.DataFrame,
    *,
    t_r: float | None = None,
    names: Sequence[str] | None = None,
    orientation: str | None = None,
    variable: str | None = None,
    atlas: Any = None,
    confounds: Any = None,
    sample_mask: Any = None,
    standardize: str | None = "zscore_sample",
    detrend: bool = False,
    low_pass: float | None = None,
    high_pass: float | None = None,
) -> Run:
    """Read region series from a table.

    Parameters
    ----------
    source : str, Path, array or DataFrame
        One run. Text: ``.1D`` (ABIDE's and ADHD-200's with a header, AFNI's, plain numbers as HCP's node time series),
        ``.tsv``, ``.csv``, ``.txt``; ``.npy``; ``.npz`` (also what `Run.save` stored); ``.mat`` (MATLAB 5 to 7.3).
    t_r : float, optional
        Repetition time in seconds, where neither the file nor ``RepetitionTime`` of a JSON file beside it says it, or
        not rightly. Filters need it, networks do later.
    names : sequence of str, optional
        Region names, where the file has none.
    orientation : {"rows_are_volumes", "rows_are_regions"}, optional
        Which way the table lies. Without it a header or `names` tell. Without these the axis along which the numbers
        are clearly smoother is time (see `neurosig.loaders.fmri_orientation`); where neither is, there must be more
        rows than columns, which are then volumes. ``provenance["orientation"]`` tells where smoothness decided against
        that rule, or speaks against what was said.
    variable : str, optional
        Name of the array in an ``.npz`` or ``.mat`` file that holds several.
    atlas : str or Atlas, optional
        The parcellation, or its name. With an `Atlas` the series are brought into its order by name, and regions that
        the table lacks are kept as missing.
    confounds : str, Path, DataFrame or array of shape (n_volumes, n_confounds), optional
        Regressed out.
    sample_mask : array of bool of shape (n_volumes,) or of int, optional
        Volumes to keep.
    standardize : {"zscore_sample", "psc", None}
        Scaling of each region.
    detrend : bool
        Whether a straight line is removed from each region.
    low_pass, high_pass : float, optional
        Edges in Hz of a Butterworth filter.

    Returns
    -------
    Run
        A column that is empty (NaN throughout) is a missing region, kept by its name.

    Raises
    ------
    InputError
        If the file cannot be read, holds no numbers or no series, may lie either way, or lacks values in part.
    UsageError
        If options are wrong.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.loaders.fmri_tables import read_table
    >>> table = np.random.default_rng(0).standard_normal((100, 3))
    >>> read_table(table, t_r=2.0, names=["V1", "V2", "M1"])
    <Run table: 3 regions, 100 volumes, TR 2 s, in z>
    """
    label = _label(source)
    if isinstance(source, str | Path) and label.lower().endswith(".npz") and is_stored_run(Path(source)):
        if confounds is not None or sample_mask is not None:
            raise UsageError(
                f"{label} is a stored run, which may lack volumes; regress confounds out, drop volumes before storing"
            )
        cleaning = {"standardize": standardize, "detrend": detrend, "low_pass": low_pass, "high_pass": high_pass}
        return _stored_run(Path(source), t_r, cleaning)
    table = open_table(source, t_r=t_r, names=names, orientation=orientation, variable=variable, atlas=atlas)
    return cleaned_run(
        table.series, table.t_r, table.names, file=label, atlas=getattr(atlas, "name", atlas),
        positions=table.positions, confounds=confounds, sample_mask=sample_mask, standardize=standardize,
        detrend=detrend, low_pass=low_pass, high_pass=high_pass, provenance={"reader": "table", **table.notes},
    )  # fmt: skip


def open_table(
    source: str | Path | np.ndarray | pd.DataFrame,
    *,
    t_r: float | None = None,
    names: Sequence[str] | None = None,
    orientation: str | None = None,
    variable: str | None = None,
    atlas: Any = None,
) -> RegionTable:
    """Open a table of region series without cleaning them, with the parameters of `read_table`.

    Parameters
    ----------
    source, t_r, names, orientation, variable, atlas
        As `read_table` takes them; `source` is no stored run.

    Returns
    -------
    RegionTable

    Raises
    ------
    InputError, UsageError
        As there.
    """
    if orientation not in (None, *ORIENTATIONS):
        raise UsageError(f"orientation must be one of {', '.join(ORIENTATIONS)}, or None, got {orientation!r}")
    label = _label(source)
    table = _open(source, label, variable)
    series, found = oriented(table, label, None if names is None else list(map(str, names)), orientation)
    period = _period(None if t_r is None else check_t_r(t_r, label), table.t_r, source, label)
    series, found, positions = _in_order_of(atlas, series, found, label)
    return RegionTable(series, found, period, positions, table.notes)


def _label(source: Any) -> str:
    return Path(source).name if isinstance(source, str | Path) else "table"


def _period(given: float | None, stated: float | None, source: Any, label: str) -> float | None:
    """The repetition time: the caller's word, else that of the file or of the JSON file beside it."""
    beside = sidecar(Path(source)).get("RepetitionTime") if isinstance(source, str | Path) else None
    if given is not None:
        settled_t_r(given, stated, label, "the file")
        return settled_t_r(given, beside, label, "its JSON file")
    known = {"the file": stated, "RepetitionTime of its JSON file": beside}
    times = {}
    for where, value in known.items():
        if value is not None:
            try:
                times[where] = check_t_r(value, f"{label} ({where})")
            except UsageError as error:
                raise InputError(f"{error}; mend it there, or pass t_r=seconds") from None
    if len(times) > 1 and abs(times["the file"] - times["RepetitionTime of its JSON file"]) > _SAME_TIME:
        first, second = times.values()
        raise InputError(
            f"{label}: the file says a repetition time of {first:g} s, its JSON file {second:g} s; pass t_r=seconds"
        )
    return next(iter(times.values()), None)


def _open(source: Any, label: str, variable: str | None) -> _Table:
    import numpy as np
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return _from_columns(source.reset_index(drop=True), label, header=not isinstance(source.columns, pd.RangeIndex))
    if not isinstance(source, str | Path):
        return _Table(_numbers(np.asarray(source), label))
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if not path.stat().st_size:
        raise InputError(f"{label} is empty")
    small = label.lower()
    if not small.endswith(TABLES):
        raise InputError(f"{label}: expected a table of region series ({', '.join(TABLES)})")
    if small.endswith((".npy", ".npz", ".mat")):
        held = _arrays(path, small.rsplit(".", 1)[-1])
        return _pick(held, label, variable)
    return _text(path, label)


def is_stored_run(path: Path) -> bool:
    """Whether an archive holds one run, as `Run.save` writes it."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return {"run.npy", "data.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _stored_run(path: Path, t_r: float | None, cleaning: Mapping[str, Any]) -> Run:
    """A run that `Run.save` stored, as it is where nothing more is asked for."""
    run = Run.load(path)
    if t_r is not None:
        run = run.replace(t_r=check_t_r(t_r, path.name))
    asked = {name: value for name, value in cleaning.items() if value not in (None, False)}
    if not asked or (asked == {"standardize": "zscore_sample"} and run.unit == "z"):
        return run
    if run.kept is not None and ("low_pass" in asked or "high_pass" in asked):
        raise UsageError(f"{path.name} lacks volumes, which filters cannot do without; filter before storing it")
    data = clean_series(run.data, run.t_r, source=path.name, names=run.names, **cleaning)
    unit = run.unit if cleaning["standardize"] is None else UNITS[cleaning["standardize"]]
    return run.replace(data=data, unit=unit, provenance={**run.provenance, "after_storing": asked})


# ------------------------------------------------------------------------------------------------------------- text


def _text(path: Path, label: str) -> _Table:
    """A text table: comments from "#" on, a header where the first line is not numbers, any usual separator."""
    import gzip

    import pandas as pd

    opener = gzip.open if label.lower().endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as stream:
            lines = [line.rstrip("\r\n") for line in stream if line.strip()]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{label} cannot be read as text: {' '.join(str(error).split())}") from error
    comments = [line.lstrip("#").strip(" ") for line in lines if line.startswith("#")]
    body = [line for line in lines if not line.startswith("#")]
    if not body:
        raise InputError(f"{label} holds no numbers")
    separator = next((mark for line in (body[0], body[-1]) for mark in "\t,;" if mark in line.strip()), None)
    rows = [_split(line, separator) for line in body]
    header = None
    if not _is_numbers(rows[0]) or _counts_columns(rows):
        header, rows = rows[0], rows[1:]
    if not rows:
        raise InputError(f"{label} holds a header and no numbers")
    if len(rows[0]) > 1 and all(row[-1] == "" for row in rows) and (header is None or len(header) < len(rows[0])):
        rows = [row[:-1] for row in rows]  # a separator ends each line
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        uneven = next(i for i, row in enumerate(rows) if len(row) != len(rows[0]))
        raise InputError(
            f"{label}: expected {len(rows[0])} values in each row, row {uneven + 1} has {len(rows[uneven])}; the file "
            "is damaged or cut short"
        )
    if header is None:  # AFNI and C-PAC write names in a comment: the last that has one word a column
        told = [_split(line, separator, header=True) for line in comments]
        header = next((words for words in reversed(told) if len(words) == len(rows[0])), None)
        if header is not None:
            header = [word.lstrip("#") for word in header]
    if header is not None and len(header) == len(rows[0]) - 1:
        header = ["", *header]  # R leaves the row names' column without a header
    if header is not None and len(header) != len(rows[0]):
        raise InputError(f"{label}: the header names {len(header)} columns, rows have {len(rows[0])} values")
    frame = pd.DataFrame(rows, columns=header)
    return _from_columns(frame, label, header=header is not None)


def _split(line: str, separator: str | None, header: bool = False) -> list[str]:
    words = line.split() if separator is None or (header and separator not in line) else line.split(separator)
    words = [word.strip().strip('"') for word in words]
    return words[:-1] if separator is not None and len(words) > 1 and words[-1] == "" and header else words


def _is_numbers(words: list[str]) -> bool:
    return all(word.lower() in _MISSING or _number(word) is not None for word in words) and any(
        _number(word) is not None for word in words
    )


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _counts_columns(rows: list[list[str]]) -> bool:
    """Whether the first row numbers the columns, 0 or 1 up, as a DataFrame without names is written."""
    first = rows[0][1:] if rows[0][0] == "" else rows[0]
    numbers = [str(i) for i in range(len(first) + 1)]
    return len(first) > 1 and first in (numbers[:-1], numbers[1:])


def _from_columns(frame: pd.DataFrame, label: str, *, header: bool) -> _Table:
    """Columns of numbers; those that only count volumes are left out, and said so."""
    import numpy as np

    names = [str(name) for name in frame.columns]
    if header and {"onset", "trial_type"} <= set(names):
        raise InputError(
            f"{label} is a table of events (onset, trial_type), not of region series: give the run that it lies beside"
        )
    if header and "participant_id" in names:
        raise InputError(f"{label} is a table of people (participant_id), not of region series: give a run of them")
    dropped = []
    if header:
        for place, name in enumerate(names[:2]):
            plain = name.strip()
            if (plain == "" or _COUNTERS.fullmatch(plain)) and _counts(frame.iloc[:, place]):
                dropped.append(place)
    if len(dropped) == len(names):
        raise InputError(f"{label} holds no region series: its columns are {listed(names)}")
    rest = [place for place in range(len(names)) if place not in dropped]
    try:  # the usual case at once; a cell that is empty or text is looked at one by one
        values = frame.iloc[:, rest].to_numpy().astype(float)
        rest_to_read: list[tuple[int, int]] = []
    except (TypeError, ValueError):
        values = np.empty((len(frame), len(rest)))
        rest_to_read = list(enumerate(rest))
    wrong = []
    for column, place in rest_to_read:
        entries = frame.iloc[:, place].tolist()
        numbers = [_entry(entry) for entry in entries]
        if any(number is None for number in numbers):
            row = next(i for i, number in enumerate(numbers) if number is None)
            wrong.append(f"{names[place] if header else f'column {place + 1}'} ({entries[row]!r} in row {row + 1})")
        else:
            values[:, column] = numbers
    if wrong:
        raise InputError(
            f"{label}: expected numbers, one column a region, got text in {listed(wrong)}; drop these columns"
        )
    notes: dict[str, Any] = {}
    if dropped:
        notes["columns_left_out"] = [names[place] for place in dropped]
        told = [name or "one without a name" for name in notes["columns_left_out"]]
        logger.info("%s: columns that count volumes are left out: %s", label, listed(told))
    return _Table(values, [_region(names[place]) for place in rest] if header else None, notes=notes)


def _entry(entry: Any) -> float | None:
    """A cell as a number, NaN where it is empty, None where it is neither."""
    if entry is None or (isinstance(entry, str) and entry.strip().lower() in _MISSING):
        return float("nan")
    try:
        return float(entry)
    except (TypeError, ValueError):
        return None


def _counts(column: pd.Series) -> bool:
    """Whether a column goes up in equal steps, as indices and times do, or holds no numbers at all (file names)."""
    import numpy as np

    numbers = [_entry(entry) for entry in column.tolist()]
    if all(number is None for number in numbers):
        return True
    if any(number is None for number in numbers):  # AFNI numbers volumes "0[?]", "1[?]"
        plain = [re.match(r"\d+", str(entry)) for entry in column.tolist()]
        numbers = [float(found[0]) if found else None for found in plain]
        if any(number is None for number in numbers):
            return False
    steps = np.diff(np.array(numbers, dtype=float))
    return len(steps) == 0 or bool(steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-3))


def _region(name: str) -> str:
    """A region's name without what AFNI's 3dROIstats puts before it."""
    return re.sub(r"^(?:NZ)?Mean_", "", name.strip()).strip()


# --------------------------------------------------------------------------------------------------- NumPy and MATLAB


def _arrays(path: Path, kind: str) -> dict[str, Any]:
    """All arrays of a file by name; that of an ``.npy`` file is called "data"."""
    import zipfile

    import numpy as np

    try:
        if kind == "npy":
            return {"data": np.load(path, allow_pickle=False)}
        if kind == "npz":
            with np.load(path, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        return _matlab(path)
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError | StorageError):
            raise
        raise InputError(f"{path.name} cannot be read as .{kind}: {' '.join(str(error).split())}") from error


def _matlab(path: Path) -> dict[str, Any]:
    import numpy as np
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        held = loadmat(path, squeeze_me=False, chars_as_strings=True)
        return {name: value for name, value in held.items() if not name.startswith("__")}
    except MatReadError as error:
        raise InputError(f"{path.name} cannot be read as .mat: {error}") from error
    except NotImplementedError:  # MATLAB 7.3 is HDF5
        try:
            import h5py
        except ImportError as error:
            raise InputError(
                f"{path.name} is a MATLAB 7.3 file, which needs h5py: pip install h5py, or save it with -v7"
            ) from error
        with h5py.File(path, "r") as file:
            # MATLAB counts along columns first, so that its arrays lie transposed in HDF5
            return {name: np.asarray(entry).T for name, entry in file.items() if isinstance(entry, h5py.Dataset)}


def _pick(held: Mapping[str, Any], label: str, variable: str | None) -> _Table:
    """The series among the arrays of a file, and names and repetition time where they lie beside it."""
    import numpy as np

    arrays = {name: np.asarray(value) for name, value in held.items()}
    tables = [
        name for name, value in arrays.items() if value.ndim == 2 and value.dtype.kind in "fiu" and value.size > 1
    ]
    # a vector is a table of one row in MATLAB
    tables = [name for name in tables if min(arrays[name].shape) > 1] or tables
    if variable is not None:
        if variable not in arrays:
            raise UsageError(f"{label} has no variable {variable!r}{did_you_mean(variable, arrays)}")
        chosen = variable
    else:
        known = [name for name in _SERIES if name in tables]
        if not tables:
            shapes = [f"{name} of shape {value.shape}" for name, value in arrays.items()]
            raise InputError(f"{label}: expected one run, a table of numbers with two axes; it holds {listed(shapes)}")
        if len(tables) > 1 and not known:
            raise InputError(f"{label} holds several tables: {listed(tables)}; choose one by variable=")
        chosen = known[0] if known else tables[0]
    # of a table that was not named by the caller, those that could have been meant are told
    others = [] if variable is not None else [name for name in tables if name != chosen and _is_series(arrays, name)]
    return _Table(_numbers(arrays[chosen], f"{label}: {chosen}"), _stored_names(arrays), _stored_period(arrays),
                  {"variable": chosen, **({"not_taken": others} if others else {})})  # fmt: skip


def _is_series(arrays: Mapping[str, Any], name: str) -> bool:
    """Whether an array may be series, not a mask, a matrix of connectivity, or a table of places."""
    return min(arrays[name].shape) > 3 and not is_connectivity(arrays[name])


def _stored_names(arrays: Mapping[str, np.ndarray]) -> list[str] | None:
    for name in _NAMES:
        if name in arrays and arrays[name].dtype.kind in "UO" and arrays[name].size:
            # a MATLAB cell array holds arrays of one text each
            return [str(entry.item() if getattr(entry, "size", 0) == 1 else entry) for entry in arrays[name].ravel()]
    return None


def _stored_period(arrays: Mapping[str, np.ndarray]) -> float | None:
    for name in _PERIODS:
        if name in arrays and arrays[name].size == 1 and arrays[name].dtype.kind in "fiu":
            return float(arrays[name].item())
    return None


def _numbers(values: np.ndarray, label: str) -> np.ndarray:
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(
            f"{label}: expected one run, a table with two axes (volumes and regions), got shape {values.shape}"
        )
    if values.dtype.kind not in "fiub":
        raise InputError(f"{label}: expected numbers, got {values.dtype}")
    return values.astype(float)


# ------------------------------------------------------------------------------------------------- atlas


def _in_order_of(
    atlas: Any, series: np.ndarray, names: list[str] | None, label: str
) -> tuple[np.ndarray, list[str] | None, np.ndarray | None]:
    """Series in the order of an atlas' regions, NaN where the table has no region of that name."""
    import numpy as np

    if atlas is None or isinstance(atlas, str) or not hasattr(atlas, "names"):
        return series, names, None
    wanted, positions = list(atlas.names), getattr(atlas, "positions", None)
    if names is None:
        if len(series) != len(wanted):
            raise InputError(
                f"{label} has {len(series)} regions without names, the atlas {getattr(atlas, 'name', '')} "
                f"{len(wanted)}; pass names= so that they can be told apart"
            )
        return series, wanted, positions
    if unknown := [name for name in names if name not in set(wanted)]:
        raise InputError(f"{label}: the atlas {getattr(atlas, 'name', '')} has no region {listed(unknown)}")
    place = {name: i for i, name in enumerate(names)}
    ordered = np.full((len(wanted), series.shape[1]), np.nan)
    for row, name in enumerate(wanted):
        if name in place:
            ordered[row] = series[place[name]]
    return ordered, wanted, positions
