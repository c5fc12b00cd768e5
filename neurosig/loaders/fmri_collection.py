"""Several runs of region series in one file: an ``.npz`` that also holds whose they are, and their labels."""

from __future__ import annotations

import dataclasses
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.fmri_clean import check_t_r, settled_t_r
from neurosig.loaders.fmri_orientation import ORIENTATIONS, smoothness

if TYPE_CHECKING:
    import numpy as np

__all__ = ["RunCollection", "is_collection", "read_collection"]

_SUBJECTS = ("subject", "subjects", "file_id")
_TIMES = ("t_r", "tr", "TR")
_LENGTHS = ("length", "lengths", "n_volumes")
_NAMES = ("region_names", "ch_names", "names")
_USED = (*_SUBJECTS, *_TIMES, *_LENGTHS, *_NAMES, "X", "y", "class_names", "scale", "mean", "std", "session", "run")


@dataclass(frozen=True)
class RunCollection:
    """Runs of one file.

    Parameters
    ----------
    X : list of array of shape (n_regions, n_times), float32
        The series.
    y : array of shape (n_runs,), or None
        Labels: class names, or numbers.
    subjects, sessions, runs : list of str
        Whose they are.
    t_r : array of shape (n_runs,), or None
        Repetition time of each in seconds; None where the file does not say.
    names : list of str
        Region names.
    columns : dict of str to list
        What else the file tells of each run, such as its site.
    """

    X: list[np.ndarray]
    y: np.ndarray | None
    subjects: list[str]
    sessions: list[str]
    runs: list[str]
    t_r: np.ndarray | None
    names: list[str]
    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.X)

    def take(self, rows: Any) -> RunCollection:
        """Some of the runs, by position."""
        rows = list(rows)
        lists = {name: [getattr(self, name)[i] for i in rows] for name in ("X", "subjects", "sessions", "runs")}
        return dataclasses.replace(
            self, **lists,
            y=None if self.y is None else self.y[rows], t_r=None if self.t_r is None else self.t_r[rows],
            columns={name: [values[i] for i in rows] for name, values in self.columns.items()},
        )  # fmt: skip


def is_collection(path: Path) -> bool:
    """Whether an ``.npz`` holds several runs of region series: stacked along time with lengths, or three axes.

    Trials of EEG, which name a sampling rate, are none.
    """
    if path.suffix != ".npz":
        return False
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive:
            inside = {name.removesuffix(".npy") for name in archive.namelist()}
            if "X" not in inside or "sfreq" in inside:
                return False
            if inside & set(_LENGTHS):
                return True
            with archive.open("X.npy") as stream:
                version = np.lib.format.read_magic(stream)
                reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                shape = reader[version](stream)[0] if version in reader else ()
                return len(shape) == 3
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, zlib.error, EOFError):
        return False  # whoever reads it says what is wrong with it


def read_collection(
    path: str | Path,
    *,
    t_r: float | Sequence[float] | None = None,
    names: Sequence[str] | None = None,
    orientation: str | None = None,
    series: bool = True,
) -> RunCollection:
    """Read a file of several runs.

    Arrays of the file: ``X``, either of shape (n_volumes of all runs, n_regions) with ``length`` (volumes of each), or
    of three axes, runs first; and where they are known ``y`` with ``class_names``, ``subject`` (or ``file_id``),
    ``session``, ``run``, ``t_r`` (or ``tr``; seconds, one or one a run), ``region_names``, ``scale`` (what one unit of
    X is worth). Every other array of one value a run, such as ``site``, is kept as a column.

    Parameters
    ----------
    path : path-like
        The ``.npz``.
    t_r : float, or one a run, optional
        Repetition time in seconds, where the file does not say.
    names : sequence of str, optional
        Region names, where the file has none; "region_1" and so on if nobody names them.
    orientation : {"rows_are_volumes", "rows_are_regions"}, optional
        Axes of each run. Without it rows are volumes, and runs with fewer volumes than regions are refused.
    series : bool
        Whether to read the series; otherwise `X` holds nothing but empty arrays.

    Returns
    -------
    RunCollection

    Raises
    ------
    InputError
        If the file is damaged, arrays do not go together, or the axes cannot be told.
    """
    import numpy as np

    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            there = {name: stored[name] for name in stored.files if series or name not in ("X", "mean", "std")}
            there.setdefault("X", _Header(*_shape_of(path)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"cannot read {path}: {' '.join(str(error).split())}; fetch or export it again") from error
    X = there["X"]
    if X.dtype.kind not in "fiu":
        raise InputError(f"{path.name}: expected numbers under 'X', got {X.dtype}")
    cuts, regions_first, n_regions = _axes(path, there, orientation)
    if series and X.ndim == 3:
        _tell_side(path, X, regions_first)
    n_runs = len(cuts)
    scale = np.float32(there.get("scale", 1.0))
    runs = []
    for place, (start, stop) in enumerate(cuts):
        if not series:
            runs.append(np.empty((n_regions, stop - start), np.float32)[:0])
            continue
        run = X[start:stop] if X.ndim == 2 else X[place]
        runs.append(np.multiply(run if regions_first else run.T, scale, dtype=np.float32, order="C"))
    names = next((there[name].astype(str).tolist() for name in _NAMES if name in there), names)
    if names is not None and len(names) != n_regions:
        raise InputError(f"{path.name}: expected one name for each of {n_regions} regions, got {len(names)}")
    columns = {
        name: values.tolist() for name, values in there.items() if name not in _USED and values.shape == (n_runs,)
    }
    return RunCollection(
        X=runs,
        y=_labels(path, there, n_runs),
        subjects=_column(path, there, _SUBJECTS, n_runs) or [str(place + 1) for place in range(n_runs)],
        sessions=_column(path, there, ("session",), n_runs) or ["0"] * n_runs,
        runs=_column(path, there, ("run",), n_runs) or ["0"] * n_runs,
        t_r=_times(path, there, n_runs, t_r),
        names=[f"region_{place + 1}" for place in range(n_regions)] if names is None else list(map(str, names)),
        columns=columns,
    )


@dataclass(frozen=True)
class _Header:
    """An array of which only the header was read."""

    shape: tuple[int, ...]
    dtype: Any

    @property
    def ndim(self) -> int:
        return len(self.shape)


def _shape_of(path: Path) -> tuple[tuple[int, ...], Any]:
    import numpy as np

    with zipfile.ZipFile(path) as archive, archive.open("X.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    return shape, dtype


def _axes(path: Path, there: dict[str, Any], orientation: str | None) -> tuple[list[tuple[int, int]], bool, int]:
    """First and last volume of each run (of stacked runs: in the stack), whether regions come first, how many."""
    import numpy as np

    shape = there["X"].shape
    lengths = next((there[name] for name in _LENGTHS if name in there), None)
    if len(shape) == 2 and lengths is not None:
        lengths = np.asarray(lengths, dtype=int).ravel()
        if orientation == "rows_are_regions":
            raise InputError(f"{path.name}: runs stacked along time are (volumes, regions), not regions first")
        if lengths.min(initial=1) < 1 or lengths.sum() != shape[0]:
            raise InputError(
                f"{path.name}: the lengths of its runs sum to {lengths.sum()} volumes, X has {shape[0]}; expected X of "
                "shape (volumes of all runs, regions)"
            )
        ends = np.cumsum(lengths)
        return list(zip((ends - lengths).tolist(), ends.tolist(), strict=True)), False, shape[1]
    if len(shape) != 3:
        raise InputError(
            f"{path.name}: expected X of shape (runs, volumes, regions), or runs stacked along time with their lengths "
            f"under 'length', got shape {shape}"
        )
    if orientation is None and shape[1] < shape[2]:
        raise InputError(
            f"{path.name}: runs of shape {shape[1:]} have fewer volumes than regions if time comes first; say which "
            "axis is which (orientation='rows_are_volumes' or 'rows_are_regions')"
        )
    regions_first = orientation == "rows_are_regions"
    n_times, n_regions = (shape[2], shape[1]) if regions_first else (shape[1], shape[2])
    return [(0, n_times)] * shape[0], regions_first, n_regions


def _tell_side(path: Path, X: np.ndarray, regions_first: bool) -> None:
    """Warn where the numbers say that time is the other axis of the runs; one run stands for all."""
    found = smoothness(X[0].T if regions_first else X[0])
    if found is not None and found.orientation == "rows_are_regions":
        now, other = ORIENTATIONS if not regions_first else ORIENTATIONS[::-1]
        warnings.warn(
            f"{path.name}: in its runs {now.replace('_', ' ')}, but the other axis is the smooth one, as time is: are "
            f"they transposed? Then say orientation='{other}'",
            stacklevel=4,
        )


def _labels(path: Path, there: dict[str, Any], n_runs: int) -> np.ndarray | None:
    import numpy as np

    if "y" not in there:
        return None
    y = there["y"]
    if y.shape != (n_runs,):
        raise InputError(f"{path.name}: expected one label for each of {n_runs} runs, got 'y' of shape {y.shape}")
    if "class_names" not in there:
        return y.astype(float) if y.dtype.kind == "f" else y.astype(str)
    classes = there["class_names"].astype(str)
    codes = y.astype(int)
    if (codes != y).any() or codes.min(initial=0) < 0 or codes.max(initial=0) >= len(classes):
        raise InputError(
            f"{path.name}: 'y' must hold positions in 'class_names' (0 to {len(classes) - 1}), got "
            f"{listed(map(str, np.unique(y)), 6)}"
        )
    return classes[codes]


def _column(path: Path, there: dict[str, Any], keys: tuple[str, ...], n_runs: int) -> list[str] | None:
    found = next((there[key] for key in keys if key in there), None)
    if found is None:
        return None
    if found.shape != (n_runs,):
        raise InputError(
            f"{path.name}: expected one {keys[0]} for each of {n_runs} runs, got an array of shape {found.shape}"
        )
    return [str(value) for value in found.tolist()]


def _times(path: Path, there: dict[str, Any], n_runs: int, t_r: Any) -> np.ndarray | None:
    import numpy as np

    stated = next((there[key] for key in _TIMES if key in there), None)
    if stated is None and t_r is None:
        return None
    found = _one_a_run(t_r if stated is None else stated, n_runs, path).round(6)
    try:
        for value in np.unique(found):
            check_t_r(value.item(), path.name)
    except UsageError as error:
        if stated is None:  # it is the caller's
            raise
        if t_r is None:
            raise InputError(f"{error}; pass t_r=seconds") from None
        given = np.array([check_t_r(value, path.name) for value in np.ravel(t_r).tolist()])
        settled_t_r(given.max(), found.max(), path.name, "the file")
        return _one_a_run(given, n_runs, path)
    if stated is not None and t_r is not None and np.abs(found - _one_a_run(t_r, n_runs, path)).max() > 1e-3:
        told = listed([f"{value:g}" for value in np.unique(np.ravel(t_r))], 6)
        raise InputError(
            f"{path.name} says repetition times of {listed([f'{value:g}' for value in np.unique(found)], 6)} s, not "
            f"{told} s; leave t_r out, or mend the file"
        )
    return found


def _one_a_run(times: Any, n_runs: int, path: Path) -> np.ndarray:
    import numpy as np

    times = np.asarray(times, dtype=float).ravel()
    if times.size not in (1, n_runs):
        raise InputError(
            f"{path.name}: expected one repetition time, or one for each of {n_runs} runs, got {times.size}"
        )
    return np.broadcast_to(times, n_runs)
