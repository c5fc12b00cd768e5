"""Tokenizers learned from recordings: windows of many files on disk, one collection for each set of channels."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurosig.core.errors import StorageError, UsageError
from neurosig.core.files import check_writable, sweep_unfinished
from neurosig.core.locks import exclusive
from neurosig.core.signals import SignalDataset
from neurosig.core.trained_on import trained_further
from neurosig.tokenizers.quality import usage_table
from neurosig.tokenizers.token_sources import named_sources, whom
from neurosig.tokenizers.window_collections import collect_windows

__all__ = [
    "SYSTEMS", "Pretrained", "PretrainedTokenizer", "PretrainingSystem", "check_free", "check_request",
    "learn_from_recordings", "pretrain_tokenizer",
]  # fmt: skip

_JUDGED = 256  # windows of a collection that usage and reconstruction are told of, at most


@dataclass(frozen=True)
class PretrainingSystem:
    """What can be named to ``neurosig pretrain``: an estimator that learns without labels.

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
    tokenizer : str, optional
        "module:class" of the tokenizers whose tokens it learns from; none where it learns from signals.
    """

    name: str
    estimator: str
    sfreq: float
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"base": {}})
    tokenizer: str | None = None

    def load(self) -> Any:
        """The estimator's class."""
        return _named(self.estimator)

    def load_tokenizer_class(self) -> Any:
        """The class of the tokenizers that it learns from; None where there is none."""
        return None if self.tokenizer is None else _named(self.tokenizer)


def _named(place: str) -> Any:
    module, _, name = place.partition(":")
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
    """What was learned from recordings, and what is to be known of it.

    Parameters
    ----------
    estimator : SelfSupervisedEstimator
        Fitted.
    folder : Path
        Where it is stored.
    collections : DataFrame
        A row a collection: channels, windows, recordings, subjects.
    failed : dict of str to str
        Recordings that could not be used, and why.
    held_back : sequence of str
        Subjects on whose windows it was judged, and from whom it did not learn.
    """

    estimator: Any
    folder: Path
    collections: pd.DataFrame
    failed: Mapping[str, str]
    held_back: Sequence[str]


@dataclass(frozen=True)
class PretrainedTokenizer(Pretrained):
    """A tokenizer that was learned, and what is to be known of it.

    Parameters
    ----------
    estimator, folder, collections, failed, held_back : object
        As of `Pretrained`.
    usage : DataFrame
        `codebook_usage` of some windows.
    bands : DataFrame
        `reconstruction_report` of them, for each collection.
    n_judged : int
        How many windows these are.
    """

    usage: pd.DataFrame
    bands: pd.DataFrame
    n_judged: int

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, fitted."""
        return self.estimator


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
) -> PretrainedTokenizer:
    """Learn a tokenizer from recordings, without labels, and store it.

    Recordings are looked at first, and what the tokenizer would refuse is left out. Windows are then cut at its rate
    and kept in memory maps beside `out`, in ``<out>.unfinished``, along with the checkpoint: a call that was killed
    goes on when it is made again, after the recording or the epoch that was finished last. That folder is removed at
    the end. As windows are resampled each by itself, the tokenizer is told to do so too (``resample=True``).

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
    skip_bad : bool
        Whether windows that touch spans called ``BAD...`` are left out.
    on_nan : {"raise", "skip"}
        What becomes of recordings with samples that are no numbers: left out whole, or the windows that hold them.
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
    PretrainedTokenizer
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
    estimator, chosen = _estimator(SYSTEMS, system, size, params)
    judged: list[Any] = []

    def judge(tokenizer: Any, found: Sequence[SignalDataset]) -> dict[str, str]:
        judged.extend(_judged(tokenizer, found))
        some, _, bands = judged
        told = bands[bands["band"] == "all"]
        name = f"squared error of spectra over their power, {some} windows learned from"
        return {name: ", ".join(f"{value:.3g}" for value in told["nmse"])}

    made = learn_from_recordings(
        estimator, chosen.sfreq, recordings, out, judge, window=window, step=step, picks=picks, skip_bad=skip_bad,
        on_nan=on_nan, subjects=subjects, data=data, overwrite=overwrite, progress=progress, licence=licence,
    )  # fmt: skip
    some, usage, bands = judged
    return PretrainedTokenizer(**vars(made), usage=usage, bands=bands, n_judged=some)


def learn_from_recordings(
    estimator: Any,
    sfreq: float,
    recordings: Any,
    out: str | PathLike,
    judge: Callable[[Any, Sequence[SignalDataset]], Mapping[str, str]] | None = None,
    *,
    window: float,
    step: float | None,
    picks: Sequence[str] | None,
    skip_bad: bool,
    on_nan: str,
    subjects: Sequence[str] | None,
    data: str | Path | None,
    overwrite: bool,
    progress: bool | None,
    licence: str | None,
) -> Pretrained:
    """Fit an estimator on windows of recordings, and store it.

    Parameters
    ----------
    estimator : SelfSupervisedEstimator
        Not fitted; it is fitted here.
    sfreq : float
        Rate of the windows in Hz.
    recordings, out : object
        As in `pretrain_tokenizer`.
    judge : callable, optional
        From the fitted estimator and its windows to scores for the card.
    window, step, picks, skip_bad, on_nan, subjects, data, overwrite, progress, licence : object
        As in `pretrain_tokenizer`.

    Returns
    -------
    Pretrained

    Raises
    ------
    UsageError, InputError, StorageError
        As `pretrain_tokenizer`.
    """
    for name, seconds in (("window", window), ("step", step)):
        if seconds is not None and not 0 < seconds < float("inf"):
            raise UsageError(f"{name} must be a time above 0 in seconds, got {seconds!r}")
    target = Path(out)
    check_free(target, overwrite, estimator)
    work = check_writable(target.with_name(f"{target.name}.unfinished"))
    with exclusive(work, "neurosig pretrain"):
        sweep_unfinished(target)  # one that was killed while it stored
        check_free(target, overwrite, estimator)
        sources = named_sources(recordings, data=data, subjects=subjects)
        found, failed = collect_windows(
            sources, work / "windows", window=window, step=window if step is None else step, sfreq=sfreq, picks=picks,
            skip_bad=skip_bad, on_nan=on_nan, tokenizer=estimator, progress=progress,
        )  # fmt: skip
        estimator.set_params(checkpoint=work / "checkpoint")
        estimator.fit(found[0] if len(found) == 1 else found)
        held_back = estimator.__dict__.pop("_held_back", [])
        # a fit of several collections knows neither, but here all are cut alike
        estimator.sfreq_, estimator.n_times_ = sfreq, int(found[0].X.shape[2])
        estimator.trained_on_ = _whom(
            estimator, [sources[name] for one in found for name in one.metadata["recording"].unique()]
        )
        estimator.set_params(checkpoint=None, verbose=None)
        scores = None if judge is None else judge(estimator, found)
        estimator.save_pretrained(target, scores=scores, licence=licence)
        tables = pd.DataFrame([_described(one) for one in found])
    shutil.rmtree(work, ignore_errors=True)
    return Pretrained(estimator, target, tables, failed, held_back)


def check_request(
    system: str,
    out: str | PathLike,
    params: Mapping[str, Any],
    *,
    size: str = "base",
    overwrite: bool = False,
    systems: Mapping[str, PretrainingSystem] | None = None,
) -> tuple[Any, PretrainingSystem]:
    """Refuse what `pretrain_tokenizer` would refuse whatever the recordings: a wrong name, a folder that is taken.

    Returns
    -------
    estimator, PretrainingSystem
        What is going to be fitted, of `systems`, which are those of tokenizers if not given.

    Raises
    ------
    UsageError, StorageError
        As there.
    """
    estimator, chosen = _estimator(SYSTEMS if systems is None else systems, system, size, params)
    check_free(Path(out), overwrite, estimator)
    return estimator, chosen


def _estimator(
    systems: Mapping[str, PretrainingSystem], system: str, size: str, params: Mapping[str, Any]
) -> tuple[Any, PretrainingSystem]:
    if system not in systems:
        raise UsageError(f"there is no system {system!r} to pretrain; there are {', '.join(systems)}")
    chosen = systems[system]
    if size not in chosen.sizes:
        raise UsageError(f"{system} has no size {size!r}; it has {', '.join(chosen.sizes)}")
    kind = chosen.load()
    estimator = kind(any_channels=True)
    known = set(estimator.get_params(deep=True)) - {"sfreq", "ch_names", "info", "checkpoint", "tokenizer"}
    if unknown := [name for name in params if name not in known and name.partition("__")[0] not in known]:
        raise UsageError(f"{kind.__name__} has no parameter {unknown[0]!r}; it has {', '.join(sorted(known))}")
    # windows are resampled one by one, and so are those of recordings that come later
    also = {"resample": True} if "resample" in known else {}
    return estimator.set_params(**{**also, **chosen.sizes[size], **params}), chosen


def check_free(target: Path, overwrite: bool, estimator: Any) -> None:
    """Fail before the work, not after it, where the estimator cannot be stored."""
    what = estimator._format.what
    article = "an" if what[0] in "aeiou" else "a"
    if target.is_file():
        raise StorageError(f"cannot store {article} {what} in {target}: it is a file; choose a folder")
    if target.is_dir() and any(target.iterdir()):
        try:
            estimator._format.read_config(target)
        except StorageError as error:
            raise StorageError(f"{target} holds other files; choose a new or empty folder") from error
        if not overwrite:
            raise StorageError(f"{target} holds {article} {what} already; choose another folder, or say overwrite")


def _whom(estimator: Any, sources: Sequence[Any]) -> dict[str, Any] | None:
    """Whom it has seen, and whom the tokenizer has that it learned from."""
    own, tokenizer = whom(sources), getattr(estimator, "tokenizer_", None)
    return own if tokenizer is None else trained_further(own, [getattr(tokenizer, "trained_on_", None)])


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
