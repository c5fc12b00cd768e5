"""Windows of many recordings, cut to disk: one collection for each set of channels, taken up where it stopped."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurosig._version import __version__
from neurosig.core.errors import InputError, StorageError, UsageError
from neurosig.core.files import atomic_write, check_writable, digest
from neurosig.core.log import logger
from neurosig.core.log import progress as progress_bar
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.preprocessing.resampling import fourier_resample
from neurosig.tokenizers.token_sources import person_of, whose_content
from neurosig.tokenizers.tokenize import channels_of, dropped_channels, finite_blocks
from neurosig.tokenizers.window_grid import BLOCK_BYTES, WindowGrid, window_grid

__all__ = ["collect_windows"]

_IN_MEMORY = 64 << 20  # bytes of windows, of all collections together, that are read into memory at once
_LOOKED_AT = 8  # windows of a recording that tell whether the estimator takes it
_LOG = "log.jsonl"


@dataclass(frozen=True)
class _Wanted:
    """How recordings are cut."""

    window: float
    step: float
    sfreq: float
    picks: Sequence[str] | None
    skip_bad: bool
    on_nan: str
    estimator: Any

    @property
    def n_times(self) -> int:
        return round(self.window * self.sfreq)

    def channels(self, raw: Any) -> list[int]:
        return channels_of(raw, self.picks, self.estimator)

    def grid(self, raw: Any) -> WindowGrid:
        """Windows that still last as long as is wanted when they are resampled."""
        sfreq = raw.info["sfreq"]
        length = max(1, ceil(self.window * sfreq - 1e-6)) / sfreq
        return window_grid(raw, length, self.step, skip_bad=self.skip_bad)

    def resampled(self, X: np.ndarray, sfreq: float) -> np.ndarray:
        if abs(sfreq - self.sfreq) > 1e-4 * self.sfreq:
            X = fourier_resample(X, sfreq, self.sfreq)
        return X[:, :, : self.n_times]


@dataclass(frozen=True)
class _Planned:
    """One recording of a collection."""

    name: str
    source: Any
    n_windows: int
    content: str


def collect_windows(
    sources: Mapping[str, Any],
    folder: str | PathLike,
    *,
    window: float,
    step: float,
    sfreq: float,
    picks: Sequence[str] | None = None,
    skip_bad: bool = True,
    on_nan: str = "raise",
    tokenizer: Any = None,
    progress: bool | None = None,
) -> tuple[list[SignalDataset], dict[str, str]]:
    """Cut recordings into windows on disk; memory holds a block of one recording.

    All recordings are looked at before any is cut: what the estimator would refuse is left out then.

    Parameters
    ----------
    sources : dict of str to Source
        What `neurosig.tokenizers.token_sources.named_sources` gives.
    folder : path-like
        Where the windows are written. Recordings that an earlier call of the same kind has cut there are not cut again;
        anything else that is there is removed.
    window, step : float
        In seconds.
    sfreq : float
        Rate of the windows in Hz: each is resampled by itself, by its Fourier transform.
    picks, skip_bad : object
        As in `neurosig.tokenizers.tokenize_recordings`.
    on_nan : {"raise", "skip"}
        What becomes of recordings with samples that are no numbers: left out whole, or the windows that hold them.
    tokenizer : SelfSupervisedEstimator, optional
        Whose windows they will be: it may leave channels out, and refuse recordings.
    progress : bool, optional
        Show a progress bar.

    Returns
    -------
    collections : list of SignalDataset
        One for each set of channels, in the order of the recordings; X is float32, a memory map where they do not fit
        into memory.
    failed : dict of str to str
        Recordings that were left out, and why.

    Raises
    ------
    UsageError
        If an option is wrong.
    InputError
        If no recording can be used.
    """
    if on_nan not in ("raise", "skip"):
        raise UsageError(f"on_nan must be 'raise' or 'skip', got {on_nan!r}")
    wanted = _Wanted(window, step, sfreq, picks, skip_bad, on_nan, tokenizer)
    place = Path(folder)
    plans, specs, failed = _look(sources, wanted, progress)
    shapes = [(sum(one.n_windows for one in plan), len(key[1]), wanted.n_times) for key, plan in plans.items()]
    done = _begin(place, _plan_digest(plans, wanted), shapes)
    collections: list[SignalDataset] = []
    bar = progress_bar(range(sum(map(len, plans.values()))), desc="cutting", unit="recording", show=progress)
    room = _IN_MEMORY
    for number, (key, plan) in enumerate(plans.items()):
        path = place / f"{number}.npy"
        X = np.lib.format.open_memmap(path, mode="r+")
        filled, tables = 0, []
        for one in plan:
            row = done.get(one.name)
            if row is None:
                row = _cut(one, X, filled, wanted)
                X.flush()  # before it is said to be there
                _append(place / _LOG, row)
            if row["error"]:
                failed[one.name] = row["error"]
                logger.warning("%s: %s", one.name, row["error"])
            elif row["starts"]:
                filled += len(row["starts"])
                tables.append(_table(one, row["starts"]))
            next(bar, None)
        del X
        if not filled:
            continue
        stored = np.load(path, mmap_mode="r")[:filled]
        if stored.nbytes <= room:
            room -= stored.nbytes
            stored = np.array(stored)
        spec = specs[key].replace(sfreq=sfreq, n_times=wanted.n_times, tmin=0.0)
        collections.append(SignalDataset(stored, None, pd.concat(tables, ignore_index=True), spec, name=f"{number}"))
    if not collections:
        raise InputError(_nothing(failed))
    return collections, failed


def _look(
    sources: Mapping[str, Any], wanted: _Wanted, progress: bool | None
) -> tuple[dict[Any, list[_Planned]], dict[Any, SignalSpec], dict[str, str]]:
    """Which recordings are cut, by their channels; what these are; which are left out, and why."""
    plans: dict[Any, list[_Planned]] = {}
    specs: dict[Any, SignalSpec] = {}
    failed: dict[str, str] = {}
    errors: list[Exception] = []
    dropped: dict[str, None] = {}
    for name, source in progress_bar(list(sources.items()), desc="looking", unit="recording", show=progress):
        try:
            raw = source.read()
            chosen, grid = wanted.channels(raw), wanted.grid(raw)
            if not len(grid.starts):
                raise InputError(
                    f"no window of {wanted.window:g} s in {raw.n_times / grid.sfreq:.2f} s that is not bad"
                )
            spec = _spec(raw, chosen)
            if wanted.estimator is not None:
                _try(raw, chosen, grid, spec, wanted)
                dropped |= dict.fromkeys(dropped_channels(raw, wanted.picks, wanted.estimator))
            content = digest(whose_content(source)["digest"], source.reading())
        except (InputError, StorageError, UsageError) as error:
            failed[name] = " ".join(str(error).split())
            errors.append(error)
            logger.warning("%s: %s", name, failed[name])
            continue
        key = (spec.modality, spec.ch_names)
        specs.setdefault(key, spec)
        plans.setdefault(key, []).append(_Planned(name, source, len(grid.starts), content))
    if dropped:
        logger.warning("channels that it does not know are left out: %s", ", ".join(dropped))
    if not plans:
        if errors and all(isinstance(error, UsageError) for error in errors):
            raise errors[0]  # a wrong option, not wrong recordings
        raise InputError(_nothing(failed))
    return plans, specs, failed


def _try(raw: Any, picks: Sequence[int], grid: WindowGrid, spec: SignalSpec, wanted: _Wanted) -> None:
    """Have some windows refused that the estimator would refuse once all are cut."""
    rows = np.unique(np.linspace(0, len(grid.starts) - 1, _LOOKED_AT).astype(int))
    X = np.stack(
        [
            raw.get_data(picks=list(picks), start=first, stop=first + grid.length)
            for first in map(int, grid.starts[rows])
        ]
    ).astype(np.float32)
    X = X[np.isfinite(X).all(axis=(1, 2))]
    if len(X):
        X = np.asarray(wanted.resampled(X, grid.sfreq), dtype=np.float32)
        wanted.estimator._windows(X, spec.replace(sfreq=wanted.sfreq, n_times=X.shape[2], tmin=0.0), wanted.sfreq)


def _cut(one: _Planned, X: np.ndarray, first: int, wanted: _Wanted) -> dict[str, Any]:
    """Write the windows of a recording from row `first` on; what the log keeps of it."""
    starts: list[float] = []
    try:
        raw = one.source.read()
        grid = wanted.grid(raw)
        for numbers, block in finite_blocks(raw, grid, wanted.channels(raw), wanted.on_nan, BLOCK_BYTES):
            begin = first + len(starts)
            X[begin : begin + len(block)] = wanted.resampled(block, grid.sfreq)
            starts += (grid.starts[numbers] / grid.sfreq).tolist()
    except (InputError, StorageError) as error:
        return {"name": one.name, "starts": [], "error": " ".join(str(error).split())}
    told = "" if starts else "every window holds samples that are NaN or infinite"
    return {"name": one.name, "starts": starts, "error": told}


def _plan_digest(plans: Mapping[Any, list[_Planned]], wanted: _Wanted) -> str:
    """What decides all windows and where they lie."""
    told = [
        [list(map(str, key[1])), [[one.name, one.n_windows, one.content] for one in plan]]
        for key, plan in plans.items()
    ]
    cut = [wanted.window, wanted.step, wanted.sfreq, bool(wanted.skip_bad), wanted.on_nan]
    return digest("windows", __version__, cut, told, length=32)


def _begin(place: Path, plan: str, shapes: Sequence[tuple[int, ...]]) -> dict[str, dict[str, Any]]:
    """Make the files of the windows, or find those of an earlier call: what it has cut, by name."""
    log, files = place / _LOG, [place / f"{number}.npy" for number in range(len(shapes))]
    rows = _read_log(log)
    if rows[:1] == [{"plan": plan}] and all(file.is_file() for file in files):
        atomic_write(log, "".join(f"{json.dumps(row)}\n" for row in rows))  # without a line that was half written
        return {row["name"]: row for row in rows[1:]}
    shutil.rmtree(place, ignore_errors=True)
    check_writable(place)
    for file, shape in zip(files, shapes, strict=True):
        np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape).flush()
    atomic_write(log, f"{json.dumps({'plan': plan})}\n")
    return {}


def _read_log(path: Path) -> list[dict[str, Any]]:
    """Lines of a log, up to the first that is not whole."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, ValueError):
        return []
    rows: list[dict[str, Any]] = []
    for line in lines:
        try:
            row = json.loads(line) if line.endswith("\n") else None
        except ValueError:
            row = None
        if not isinstance(row, dict):
            break
        rows.append(row)
    return rows


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(f"{json.dumps(row)}\n")
        stream.flush()
        os.fsync(stream.fileno())


def _nothing(failed: Mapping[str, str]) -> str:
    name, why = next(iter(failed.items()), ("", "there is none"))
    return f"no recording can be learned from; {name}: {why}"


def _table(one: _Planned, starts: Sequence[float]) -> pd.DataFrame:
    who = {key: str(getattr(one.source, key)) for key in ("session", "run")}
    return pd.DataFrame({"subject": person_of(one.name, one.source), **who, "recording": one.name, "start": starts})


def _spec(raw: Any, picks: Sequence[int]) -> SignalSpec:
    import mne

    return SignalSpec.from_mne(mne.pick_info(raw.info, list(picks)))
