"""Tokenizers learned from recordings: windows of many files on disk, one collection for each set of channels."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurosig.core.errors import InputError, StorageError, UsageError
from neurosig.core.files import check_writable, sweep_unfinished
from neurosig.core.locks import exclusive
from neurosig.core.log import logger
from neurosig.core.log import progress as progress_bar
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.core.trained_on import as_trained_on
from neurosig.preprocessing.resampling import fourier_resample
from neurosig.tokenizers.base import FORMAT
from neurosig.tokenizers.quality import usage_table
from neurosig.tokenizers.token_sources import named_sources
from neurosig.tokenizers.tokenize import channels_of, finite_blocks
from neurosig.tokenizers.window_grid import BLOCK_BYTES, window_grid

__all__ = ["SYSTEMS", "Pretrained", "PretrainingSystem", "check_request", "collect_windows", "pretrain_tokenizer"]

_IN_MEMORY = 64 << 20  # bytes of a collection that are read into memory at once
_JUDGED = 256  # windows of a collection that usage and reconstruction are told of, at most


@dataclass(frozen=True)
class PretrainingSystem:
    """A tokenizer that can be named to ``neurosig pretrain``.

    Parameters
    ----------
    name : str
        Its name there.
    estimator : str
        "module:class".
    sfreq : float
        Rate of the windows that it learns from, in Hz.
    sizes : dict of str to dict
        Name of a size to the parameters that make it.
    """

    name: str
    estimator: str
    sfreq: float
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"base": {}})

    def load(self) -> Any:
        """The estimator's class."""
        module, _, name = self.estimator.partition(":")
        return getattr(importlib.import_module(module), name)


# A later system is one more entry; "base" is its published size
SYSTEMS: dict[str, PretrainingSystem] = {
    one.name: one
    for one in (
        PretrainingSystem(
            "tfm", "neurosig.tokenizers.tfm:TFMTokenizer", 200.0,
            {
                "base": {},
                "small": {
                    "n_codes": 512, "emb_size": 32, "freq_depth": 1, "temporal_depth": 1, "decoder_depth": 2,
                    "n_heads": 4,
                },
            },
        ),
        PretrainingSystem(
            "neurorvq", "neurosig.tokenizers.neurorvq:NeuroRVQTokenizer", 200.0,
            {
                "base": {},
                "small": {"n_codes": 512, "code_dim": 32, "depth": 2, "decoder_depth": 1, "n_levels": 4},
            },
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Pretrained:
    """A tokenizer that was learned, and what is to be known of it.

    Parameters
    ----------
    tokenizer : Tokenizer
        Fitted.
    folder : Path
        Where it is stored.
    collections : DataFrame
        A row a collection: channels, windows, recordings, subjects.
    failed : dict of str to str
        Recordings that could not be used, and why.
    usage : DataFrame
        `codebook_usage` of some windows.
    bands : DataFrame
        `reconstruction_report` of them, for each collection.
    n_judged : int
        How many windows these are.
    """

    tokenizer: Any
    folder: Path
    collections: pd.DataFrame
    failed: Mapping[str, str]
    usage: pd.DataFrame
    bands: pd.DataFrame
    n_judged: int


def pretrain_tokenizer(
    system: str,
    recordings: Any,
    out: str | PathLike,
    *,
    size: str = "base",
    window: float = 5.0,
    step: float | None = None,
    picks: Sequence[str] | None = None,
    skip_bad: bool = True,
    on_nan: str = "raise",
    subjects: Sequence[str] | None = None,
    data: str | Path | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    licence: str | None = None,
    **params: Any,
) -> Pretrained:
    """Learn a tokenizer from recordings, without labels, and store it.

    Windows are cut at the tokenizer's rate and kept in memory maps beside `out`, in ``<out>.unfinished``, along with
    the checkpoint: a training that was killed goes on when it is called again. That folder is removed at the end.

    Parameters
    ----------
    system : {"tfm", "neurorvq"}
        Which tokenizer, of `SYSTEMS`.
    recordings : str, path, list of them, or dict of str to mne.io.BaseRaw
        Files, folders, or datasets by name; their channels and rates may differ.
    out : path-like
        Folder for the tokenizer: `Tokenizer.save_pretrained` writes it.
    size : str
        One of the system's sizes; "base" is the published one.
    window, step : float
        Length of a window, and time from one to the next, in seconds; a window by default.
    picks : sequence of str, optional
        Channels to keep; by default all data channels that are not marked bad.
    skip_bad, on_nan
        As in `neurosig.tokenizers.tokenize_recordings`.
    subjects : sequence of str, optional
        Only these.
    data : path-like, optional
        Folder that holds the files of datasets.
    overwrite : bool
        Replace the tokenizer that lies there.
    progress : bool, optional
        Show progress; None shows it on a terminal, True elsewhere too, by lines.
    licence : str, optional
        Licence of the weights, for the card.
    **params
        Parameters of the estimator (``max_epochs=20``). `validation` holds whole subjects back.

    Returns
    -------
    Pretrained
        The tokenizer, and tables of its collections, usage and reconstruction. These are of windows of the recordings
        that it learned from, spread evenly; history and card tell the loss of the subjects held back.

    Raises
    ------
    UsageError
        If the system, its size or a parameter is unknown.
    InputError
        If no recording can be used.
    StorageError
        If `out` holds something else, or a tokenizer and `overwrite` is not said.

    Examples
    --------
    >>> from neurosig.tokenizers import pretrain_tokenizer
    >>> made = pretrain_tokenizer(  # doctest: +SKIP
    ...     "tfm", ["eegmmidb", "recordings/"], "tokenizer/", size="small", max_epochs=20, validation=0.2
    ... )
    """
    estimator, chosen = _estimator(system, size, params)
    for name, seconds in (("window", window), ("step", step)):
        if seconds is not None and not 0 < seconds < float("inf"):
            raise UsageError(f"{name} must be a time above 0 in seconds, got {seconds!r}")
    target = Path(out)
    _check_free(target, overwrite)
    work = check_writable(target.with_name(f"{target.name}.unfinished"))
    with exclusive(work, "neurosig pretrain"):
        sweep_unfinished(target)  # one that was killed while it stored
        _check_free(target, overwrite)
        found, failed = collect_windows(
            named_sources(recordings, data=data, subjects=subjects), work / "windows", window=window,
            step=window if step is None else step, sfreq=chosen.sfreq, picks=picks, skip_bad=skip_bad, on_nan=on_nan,
            tokenizer=estimator, progress=progress,
        )  # fmt: skip
        estimator.set_params(checkpoint=work / "checkpoint")
        estimator.fit(found[0] if len(found) == 1 else found)
        # a fit of several collections knows neither, but here all are cut alike
        estimator.sfreq_, estimator.n_times_ = chosen.sfreq, int(found[0].X.shape[2])
        # names of files are of no dataset; before those of a dataset stands its name
        estimator.trained_on_ = as_trained_on(sorted({str(who) for one in found for who in one.metadata["subject"]}))
        estimator.set_params(checkpoint=None, verbose=None)
        some, usage, bands = _judged(estimator, found)
        told = bands[bands["band"] == "all"]
        name = f"squared error of spectra over their power, {some} windows learned from"
        scores = {name: ", ".join(f"{value:.3g}" for value in told["nmse"])}
        estimator.save_pretrained(target, scores=scores, licence=licence)
        tables = pd.DataFrame([_described(one) for one in found])
    shutil.rmtree(work, ignore_errors=True)
    return Pretrained(estimator, target, tables, failed, usage, bands, some)


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

    Parameters
    ----------
    sources : dict of str to Source
        What `neurosig.tokenizers.token_sources.named_sources` gives.
    folder : path-like
        Where the windows are written; what is there is removed.
    window, step : float
        In seconds.
    sfreq : float
        Rate of the windows in Hz: each is resampled by itself, by its Fourier transform.
    picks, skip_bad, on_nan
        As in `neurosig.tokenizers.tokenize_recordings`.
    tokenizer : Tokenizer, optional
        Whose windows they will be: it may leave channels out.
    progress : bool, optional
        Show a progress bar.

    Returns
    -------
    collections : list of SignalDataset
        One for each set of channels, in the order of the recordings; X is a float32 memory map.
    failed : dict of str to str
        Recordings that could not be read, or have no window, and why.

    Raises
    ------
    InputError
        If no recording can be used.
    """
    place = Path(folder)
    shutil.rmtree(place, ignore_errors=True)
    plans: dict[Any, list[tuple[str, Any, int]]] = {}
    specs: dict[Any, SignalSpec] = {}
    failed: dict[str, str] = {}
    for name, source in progress_bar(list(sources.items()), desc="looking", unit="recording", show=progress):
        try:
            raw = source.read()
            chosen = channels_of(raw, picks, tokenizer)
            grid = _grid(raw, window, step, skip_bad)
            if not len(grid.starts):
                raise InputError(f"no window of {window:g} s in {raw.n_times / grid.sfreq:.2f} s that is not bad")
        except (InputError, StorageError) as error:
            failed[name] = " ".join(str(error).split())
            logger.warning("%s: %s", name, failed[name])
            continue
        spec = _spec(raw, chosen)
        key = (spec.modality, spec.ch_names)
        specs.setdefault(key, spec)
        plans.setdefault(key, []).append((name, source, len(grid.starts)))
    if not plans:
        first = next(iter(failed.items()), ("", "there is none"))
        raise InputError(f"no recording can be learned from; {first[0]}: {first[1]}")
    check_writable(place)
    n_times = round(window * sfreq)
    collections = []
    bar = progress_bar(range(sum(map(len, plans.values()))), desc="cutting", unit="recording", show=progress)
    for number, (key, plan) in enumerate(plans.items()):
        path = place / f"{number}.npy"
        shape = (sum(n for _, _, n in plan), len(key[1]), n_times)
        X = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        filled, tables = 0, []
        for name, source, _ in plan:
            raw = source.read()
            chosen = channels_of(raw, picks, tokenizer)
            grid = _grid(raw, window, step, skip_bad)
            before = filled
            starts = []
            for numbers, block in finite_blocks(raw, grid, chosen, on_nan, BLOCK_BYTES):
                if abs(grid.sfreq - sfreq) > 1e-4 * sfreq:
                    block = fourier_resample(block, grid.sfreq, sfreq)
                X[filled : filled + len(block)] = block[:, :, :n_times]
                filled += len(block)
                starts.append(grid.starts[numbers] / grid.sfreq)
            if filled > before:
                who = {key: str(getattr(source, key)) for key in ("session", "run")}
                tables.append(
                    pd.DataFrame(
                        {"subject": _person(name, source), **who, "recording": name, "start": np.concatenate(starts)}
                    )
                )
            next(bar, None)
        X.flush()
        if not filled:
            continue
        del X
        stored = np.load(path, mmap_mode="r")[:filled]
        if stored.nbytes <= _IN_MEMORY:
            stored = np.array(stored)
        spec = specs[key].replace(sfreq=sfreq, n_times=n_times, tmin=0.0)
        collections.append(SignalDataset(stored, None, pd.concat(tables, ignore_index=True), spec, name=f"{number}"))
    if not collections:
        raise InputError("every window holds samples that are NaN or infinite: there is nothing to learn from")
    return collections, failed


def _grid(raw: Any, window: float, step: float, skip_bad: bool) -> Any:
    """Windows of so many samples that none is missing once they are resampled."""
    sfreq = raw.info["sfreq"]
    return window_grid(raw, max(1, ceil(window * sfreq - 1e-6)) / sfreq, step, skip_bad=skip_bad)


def check_request(
    system: str, out: str | PathLike, params: Mapping[str, Any], *, size: str = "base", overwrite: bool = False
) -> None:
    """Refuse what `pretrain_tokenizer` would refuse whatever the recordings: a wrong name, a folder that is taken.

    Raises
    ------
    UsageError, StorageError
        As there.
    """
    _estimator(system, size, params)
    _check_free(Path(out), overwrite)


def _estimator(system: str, size: str, params: Mapping[str, Any]) -> tuple[Any, PretrainingSystem]:
    if system not in SYSTEMS:
        raise UsageError(f"there is no tokenizer {system!r} to pretrain; there are {', '.join(SYSTEMS)}")
    chosen = SYSTEMS[system]
    if size not in chosen.sizes:
        raise UsageError(f"{system} has no size {size!r}; it has {', '.join(chosen.sizes)}")
    kind = chosen.load()
    estimator = kind(any_channels=True)
    known = set(estimator.get_params(deep=True)) - {"sfreq", "ch_names", "info", "checkpoint"}
    if unknown := [name for name in params if name not in known and name.partition("__")[0] not in known]:
        raise UsageError(f"{kind.__name__} has no parameter {unknown[0]!r}; it has {', '.join(sorted(known))}")
    return estimator.set_params(**{**chosen.sizes[size], **params}), chosen


def _check_free(target: Path, overwrite: bool) -> None:
    """Fail before the work, not after it, where the tokenizer cannot be stored."""
    if target.is_file():
        raise StorageError(f"cannot store a tokenizer in {target}: it is a file; choose a folder")
    if target.is_dir() and any(target.iterdir()):
        try:
            FORMAT.read_config(target)
        except StorageError as error:
            raise StorageError(f"{target} holds other files; choose a new or empty folder") from error
        if not overwrite:
            raise StorageError(f"{target} holds a tokenizer already; choose another folder, or say overwrite")


def _spec(raw: Any, picks: Sequence[int]) -> SignalSpec:
    import mne

    return SignalSpec.from_mne(mne.pick_info(raw.info, list(picks)))


def _person(name: str, source: Any) -> str:
    """Whose a recording is; subject 1 of two datasets is two people."""
    label = getattr(source, "label", None)
    prefix = name.removesuffix(label) if label else ""
    return f"{prefix}{source.subject}"


def _judged(tokenizer: Any, collections: Sequence[SignalDataset]) -> tuple[int, pd.DataFrame, pd.DataFrame]:
    """Usage over all collections, and reconstruction in each, of windows spread evenly over them."""
    books: dict[tuple, list[np.ndarray]] = {}
    bands, judged = [], 0
    for number, one in enumerate(collections):
        rows = np.unique(np.linspace(0, len(one) - 1, _JUDGED).astype(int))
        part = SignalDataset(np.asarray(one.X[rows]), None, one.metadata.iloc[rows], one.info, name=one.name)
        for where, tokens in tokenizer._codebooks(tokenizer.transform(part)):
            books.setdefault(tuple(where.items()), []).append(np.ravel(tokens))
        table = tokenizer.reconstruction_report(part).reset_index()
        table.insert(0, "collection", number)
        bands.append(table)
        judged += len(rows)
    levels = ((dict(where), np.concatenate(parts)) for where, parts in books.items())
    return judged, usage_table(levels, tokenizer.vocabulary_size_), pd.concat(bands, ignore_index=True)


def _described(one: SignalDataset) -> dict[str, Any]:
    table = one.metadata
    return {
        "channels": one.info.n_channels, "windows": len(one), "recordings": table["recording"].nunique(),
        "subjects": table["subject"].nunique(),
    }  # fmt: skip
