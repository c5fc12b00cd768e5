"""Tokens of recordings of any length: read and tokenized a block at a time, taken up where it stopped."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from neurosig.core.channel_names import listed, match_channels
from neurosig.core.errors import ChannelError, InputError, NeurosigError, StorageError, UsageError
from neurosig.core.files import digest
from neurosig.core.hub import local_folder
from neurosig.core.locks import exclusive
from neurosig.core.log import logger
from neurosig.core.log import progress as progress_bar
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.nn.state_dicts import weights_digest
from neurosig.tokenizers.base import FORMAT, Tokenizer
from neurosig.tokenizers.quality import count_flat
from neurosig.tokenizers.token_sources import named_sources, whose_content
from neurosig.tokenizers.token_store import RecordingFacts, StoreFacts, TokenStore
from neurosig.tokenizers.window_grid import BLOCK_BYTES, window_blocks, window_grid, window_labels

if TYPE_CHECKING:
    import mne

__all__ = [
    "TokenizedRecording", "block_dataset", "channels_of", "dropped_channels", "finite_blocks",
    "load_tokenizer", "tokenize_recordings", "tokenizer_digest",
]  # fmt: skip

_WINDOW = 10.0  # seconds, where the tokenizer was fitted on nothing of one length
# what neither the weights nor these parameters change
_NOT_TOKENS = (
    "max_epochs", "batch_size", "lr", "weight_decay", "betas", "warmup", "final_lr", "clip_norm", "validation",
    "patience", "checkpoint", "buffer_bytes", "compile", "sfreq", "ch_names", "info", "device",
    "random_state", "verbose", "resample",
)  # fmt: skip


@dataclass(frozen=True)
class TokenizedRecording:
    """What became of one recording.

    Parameters
    ----------
    name : str
        Name in the store.
    state : {"tokenized", "skipped", "failed"}
        Tokenized now; found from an earlier call; or not possible.
    n_windows, n_bad, n_flat, n_incomplete : int
        Windows that became tokens, that were left out as bad, channels of windows that are constant, and stretches
        whose last window is incomplete.
    seconds_left : float
        Signal in no window, in seconds.
    error : str
        Why it failed, in one line.
    repaired : str
        What was wrong with the tokens stored before, which were made again.
    dropped : tuple of str
        Data channels that were left out, as the tokenizer does not know them; told of what is tokenized now.
    """

    name: str
    state: str
    n_windows: int = 0
    n_bad: int = 0
    n_flat: int = 0
    n_incomplete: int = 0
    seconds_left: float = 0.0
    error: str = ""
    repaired: str = ""
    dropped: tuple[str, ...] = ()


def tokenize_recordings(
    tokenizer: Tokenizer,
    recordings: Any,
    out: str | PathLike,
    *,
    window: float | None = None,
    step: float | None = None,
    picks: Sequence[str] | None = None,
    skip_bad: bool = True,
    on_nan: str = "raise",
    n_jobs: int = 1,
    overwrite: bool = False,
    block_bytes: int = BLOCK_BYTES,
    progress: bool | None = None,
) -> list[TokenizedRecording]:
    """Tokenize recordings into a `TokenStore`.

    Recordings are read in blocks: memory does not grow with their length, and every sample is read once. Each window
    gets the tokens that ``tokenizer.transform`` gives it alone.

    Parameters
    ----------
    tokenizer : Tokenizer
        Fitted; nothing of it changes.
    recordings : str, path, list of them, dict of str to mne.io.BaseRaw, ...
        Files of every format that `neurosig.load_eeg` reads, folders, datasets by name, or open recordings; see
        `neurosig.tokenizers.token_sources.named_sources`.
    out : path-like
        Folder of the store: new, empty, or one with tokens of the same tokenizer, window and step. Recordings that are
        in it already are skipped.
    window : float, optional
        Length of a window in seconds; by default that of the windows fitted on, else 10. The last window of a recording
        is left out where it is incomplete.
    step : float, optional
        Time from one window to the next in seconds; a window by default.
    picks : sequence of str, optional
        Channels to keep, in this order; by default those fitted on, or, where the tokenizer takes any, all data
        channels that are not marked bad.
    skip_bad : bool
        Whether windows that touch spans called ``BAD...`` are left out.
    on_nan : {"raise", "skip"}
        What becomes of recordings with samples that are no numbers: refused, or the windows that hold them left out.
    n_jobs : int
        Recordings tokenized at once, each by a process of its own; -1 takes all cores.
    overwrite : bool
        Replace what is stored of other content, or read otherwise, under the same name.
    block_bytes : int
        Size of the blocks that are read at once, about.
    progress : bool, optional
        Show a progress bar; None shows it on a terminal.

    Returns
    -------
    list of TokenizedRecording
        One that fails does not stop the others.

    Raises
    ------
    UsageError
        If there is nothing to tokenize, an option is wrong, or the store is of another tokenizer, window or step.
    StorageError
        If the folder holds something else, cannot be written, or another call is writing to it.
    NeurosigError
        If a worker was killed, most often for want of memory.

    Warns
    -----
    UserWarning
        If `window` is not that of the windows fitted on, or channels are constant in some windows.

    Examples
    --------
    >>> from neurosig.tokenizers import TFMTokenizer, TokenStore, tokenize_recordings
    >>> tokenizer = TFMTokenizer.from_pretrained("tokenizer/")  # doctest: +SKIP
    >>> done = tokenize_recordings(tokenizer, "recordings/", "tokens/", window=10)  # doctest: +SKIP
    >>> TokenStore("tokens/").to_frame()  # doctest: +SKIP
    """
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    check_is_fitted(tokenizer)
    if on_nan not in ("raise", "skip"):
        raise UsageError(f"on_nan must be 'raise' or 'skip', got {on_nan!r}")
    if n_jobs == 0:
        raise UsageError("n_jobs must be the number of processes, or -1 for all cores, got 0")
    for name, seconds in (("window", window), ("step", step)):
        if seconds is not None and not 0 < seconds < float("inf"):
            raise UsageError(f"{name} must be a time above 0 in seconds, got {seconds!r}")
    sources = named_sources(recordings)
    window = _own_window(tokenizer) if window is None else float(window)
    facts = StoreFacts(
        type(tokenizer).__name__, tokenizer_digest(tokenizer), int(tokenizer.vocabulary_size_), tokenizer.token_axes,
        window, float(window if step is None else step),
    )  # fmt: skip
    _refuse_own_folder(sources, Path(out))
    store = TokenStore.create(out, facts)
    tokenizer._warn_of_length(round(window * 1000), 1000.0)
    options = {
        "picks": None if picks is None else [str(name) for name in picks], "skip_bad": bool(skip_bad), "on_nan": on_nan,
    }  # fmt: skip
    alone = len(sources) == 1
    work = (
        delayed(_tokenize_one)(tokenizer, name, source, store, options, overwrite, block_bytes, alone and progress)
        for name, source in sources.items()
    )
    pool = Parallel(n_jobs=1 if alone else n_jobs, return_as="generator_unordered", pre_dispatch="n_jobs")
    try:
        with exclusive(store.path, "neurosig tokenize"):
            store.sweep()
            done = {
                one.name: one
                for one in progress_bar(
                    pool(work), total=len(sources), desc="tokenizing", unit="recording",
                    show=False if alone else progress,
                )
            }  # fmt: skip
    except TerminatedWorkerError as error:
        raise NeurosigError(
            "a worker was stopped from outside, most often for want of memory; what is finished is stored: call again "
            "with fewer jobs to go on"
        ) from error
    if flat := {name: done[name].n_flat for name in sources if done[name].n_flat}:
        warnings.warn(
            f"channels are constant in some windows, whose tokens stand for no signal: {sum(flat.values())} in "
            f"{listed(flat)}; n_flat tells of each recording how many",
            stacklevel=2,
        )
    if repaired := {name: done[name].repaired for name in sources if done[name].repaired}:
        first = next(iter(repaired))
        logger.warning("stored tokens of %s were damaged, and made again (%s)", listed(repaired), repaired[first])
    if dropped := list(dict.fromkeys(channel for name in sources for channel in done[name].dropped)):
        logger.warning(
            "channels that the tokenizer does not know are left out, in %d of %d recordings: %s",
            sum(bool(done[name].dropped) for name in sources), len(sources), ", ".join(dropped),
        )  # fmt: skip
    return [done[name] for name in sources]


def load_tokenizer(folder: str | PathLike, **params: Any) -> Tokenizer:
    """Read a stored tokenizer of whatever class.

    Parameters
    ----------
    folder : path-like
        What `Tokenizer.save_pretrained` or ``neurosig pretrain`` wrote; or "owner/name" on the Hugging Face Hub.
    **params
        Parameters to set otherwise than they were stored.

    Returns
    -------
    Tokenizer
        Fitted.

    Raises
    ------
    StorageError
        If the folder is something else, or damaged.
    """
    import neurosig.tokenizers as tokenizers

    place = local_folder(folder, None)
    name = str(FORMAT.read_config(place).get("estimator"))
    found = getattr(tokenizers, name, None) if name in tokenizers.__all__ else None
    if not (isinstance(found, type) and issubclass(found, Tokenizer)):
        raise StorageError(f"{folder} holds a {name}, which is no tokenizer of this version of neurosig")
    return found.from_pretrained(place, **params)


def tokenizer_digest(tokenizer: Tokenizer) -> str:
    """Digest of all that decides the tokens: class, sizes, parameters, channels and weights; not how it was trained."""
    params = {name: value for name, value in tokenizer.get_params(deep=False).items() if name not in _NOT_TOKENS}
    told = json.loads(json.dumps({"params": params, "config": tokenizer._config}, default=repr))
    weights = weights_digest(tokenizer.module_)
    return digest(type(tokenizer).__name__, told, _fitted_channels(tokenizer), weights, length=32)


def channels_of(raw: mne.io.BaseRaw, picks: Sequence[str] | None, tokenizer: Any = None) -> list[int]:
    """Channels of a recording that are tokenized, in order.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording.
    picks : sequence of str, optional
        Wanted channels; other spellings of a name are the same channel.
    tokenizer : SelfSupervisedEstimator, optional
        Wants those that it was fitted on, where `picks` is None and it does not take any.

    Returns
    -------
    list of int
        Positions.

    Raises
    ------
    ChannelError
        If wanted channels are missing.
    """
    import mne

    wanted = list(picks) if picks is not None else None if tokenizer is None else _fitted_channels(tokenizer)
    if wanted is None:
        found = mne.pick_types(raw.info, meg=True, ref_meg=False, eeg=True, seeg=True, ecog=True, dbs=True)
        if not len(found):
            raise ChannelError(f"none of {len(raw.ch_names)} channels is of EEG, MEG or iEEG and not marked bad")
        if tokenizer is not None:
            found = found[list(tokenizer._channels_kept([raw.ch_names[pick] for pick in found]))]
        return [int(pick) for pick in found]
    match = match_channels(raw.ch_names, wanted)
    if match.missing:
        raise ChannelError(
            f"the recording lacks {listed(match.missing)}, it has {listed(raw.ch_names)}"
            + ("" if picks is not None else "; a tokenizer that takes others says any_channels=True")
        )
    return [int(index) for index in match.index if index is not None]


def block_dataset(X: np.ndarray, raw: mne.io.BaseRaw, picks: Sequence[int]) -> SignalDataset:
    """A block of windows with all that is known about its channels."""
    import mne
    import pandas as pd

    info = mne.pick_info(raw.info, list(picks))
    table = pd.DataFrame({name: ["0"] * len(X) for name in ("subject", "session", "run")})
    return SignalDataset(X, None, table, SignalSpec.from_mne(info, n_times=X.shape[2], tmin=0.0))


def finite_blocks(
    raw: mne.io.BaseRaw, grid: Any, picks: Sequence[int], on_nan: str, block_bytes: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers and signals of the windows that are all numbers, a block at a time.

    Raises
    ------
    InputError
        If one is not, and `on_nan` is "raise".
    """
    for which, X in window_blocks(raw, grid, picks, block_bytes=block_bytes):
        numbers = np.arange(which.start, which.stop)
        if not np.isfinite(X.sum(dtype=np.float64)):  # one pass without a mask
            good = np.isfinite(X).all(axis=(1, 2))
            if not good.all() and on_nan == "raise":
                first = grid.starts[numbers[~good][0]] / grid.sfreq
                raise InputError(
                    f"samples that are NaN or infinite in the window at {first:.2f} s; on_nan='skip' (--on-nan skip) "
                    "leaves such windows out"
                )
            numbers, X = numbers[good], X[good]
        if len(X):
            yield numbers, X


def _tokenize_one(
    tokenizer: Tokenizer, name: str, source: Any, store: TokenStore, options: dict[str, Any], overwrite: bool,
    block_bytes: int, show: bool | None,
) -> TokenizedRecording:  # fmt: skip
    try:
        told = whose_content(source)
        key = digest(told["digest"], source.reading(), getattr(source.recording, "label", None), options, length=32)
        if not overwrite and store.has(name, key):
            return _outcome(name, "skipped", store)
        repaired = ""
        if not overwrite and name in store:
            repaired = _damage_of(store, name, key)
            if not repaired:
                _refuse_another(store, name, told["digest"])
        raw = source.read()
        picks = channels_of(raw, options["picks"], tokenizer)
        dropped = dropped_channels(raw, options["picks"], tokenizer)
        grid = window_grid(raw, store.facts.window, store.facts.step, skip_bad=options["skip_bad"])
        if not len(grid.starts):
            why = "every window touches a bad span" if grid.n_bad else f"it lasts {raw.n_times / grid.sfreq:.2f} s"
            raise InputError(f"no window of {store.facts.window:g} s is in the recording: {why}")
        labels = window_labels(raw, grid, getattr(source.recording, "label", None))
        ch_names = tuple(raw.ch_names[pick] for pick in picks if raw.ch_names[pick] not in dropped)
        facts = RecordingFacts(
            source.subject, source.session, source.run, ch_names, grid.sfreq, told, key,
            n_incomplete=grid.n_incomplete, seconds_left=grid.seconds_left,
        )  # fmt: skip
        blocks = finite_blocks(raw, grid, picks, options["on_nan"], block_bytes)
        n_windows = n_flat = 0
        with store.write(name, facts, len(grid.starts)) as writer:
            for numbers, X in _counted(blocks, name, len(grid.starts), show):
                tokens = tokenizer._tokens(block_dataset(X, raw, picks))
                n_flat += count_flat(X)
                writer.append(tokens, grid.starts[numbers] / grid.sfreq, None if labels is None else labels[numbers])
                n_windows += len(numbers)
            writer.counts |= {"n_bad": grid.n_bad + len(grid.starts) - n_windows, "n_flat": n_flat}
        return _outcome(name, "tokenized", store, repaired=repaired, dropped=dropped)
    except MemoryError:
        return TokenizedRecording(name, "failed", error="not enough memory; use fewer jobs or a smaller batch_size")
    except NeurosigError as error:
        return TokenizedRecording(name, "failed", error=" ".join(str(error).split()))
    except Exception as error:  # one recording that meets a defect must not stop the others
        return TokenizedRecording(name, "failed", error=f"internal error: {type(error).__name__}: {error}")


def _counted(
    blocks: Iterator[tuple[np.ndarray, np.ndarray]], name: str, total: int, show: bool | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of windows, with a progress bar of the windows."""
    bar = progress_bar(range(total), total=total, desc=name, unit="window", show=show)
    done = 0
    for numbers, X in blocks:
        yield numbers, X
        for _ in range(done, int(numbers[-1]) + 1):
            next(bar, None)
        done = int(numbers[-1]) + 1
    for _ in bar:
        pass


def _outcome(name: str, state: str, store: TokenStore, **more: Any) -> TokenizedRecording:
    facts = store.info(name)
    return TokenizedRecording(
        name, state, facts.n_windows, facts.n_bad, facts.n_flat, facts.n_incomplete, facts.seconds_left, **more
    )


def _damage_of(store: TokenStore, name: str, key: str) -> str:
    """What is wrong with what is stored of this very work; nothing of what is whole, or of other work."""
    with contextlib.suppress(StorageError):
        if store.info(name).key != key:
            return ""
    return store.damage(name) or ""


def dropped_channels(raw: mne.io.BaseRaw, picks: Sequence[str] | None, tokenizer: Any) -> tuple[str, ...]:
    """Channels of a recording that a tokenizer leaves out, as it does not know them; see `channels_of`."""
    wanted = _fitted_channels(tokenizer) if picks is None else picks
    names = [raw.ch_names[pick] for pick in channels_of(raw, wanted)]
    kept = set(tokenizer._channels_kept(names))
    return tuple(name for place, name in enumerate(names) if place not in kept)


def _refuse_another(store: TokenStore, name: str, content: str) -> None:
    """Refuse to replace what is stored of another recording, or of this one otherwise read."""
    try:
        there = store.info(name).source.get("digest")
    except StorageError:
        return  # damaged: it is made again
    what = "this recording, read or cut otherwise" if there == content else "another recording of this name"
    raise UsageError(f"the store holds {what}: use another folder, or say overwrite (--overwrite) to replace it")


def _own_window(tokenizer: Tokenizer) -> float:
    """Length of the windows fitted on in seconds, where it is known."""
    n_times, sfreq = getattr(tokenizer, "n_times_", None), getattr(tokenizer, "sfreq_", None)
    return float(n_times / sfreq) if n_times and sfreq else _WINDOW


def _fitted_channels(tokenizer: Any) -> list[str] | None:
    """Channels that it was fitted on, where it takes no others and their names are known."""
    spec = getattr(tokenizer, "spec_", None)
    if tokenizer.any_channels or spec is None or not hasattr(tokenizer, "n_features_in_"):
        return None
    return list(spec.ch_names)


def _refuse_own_folder(sources: dict[str, Any], out: Path) -> None:
    """Tokens among the recordings would be read as recordings, or hide them."""
    place = out.resolve()
    for source in sources.values():
        path = None if source.recording is None else source.recording.path.resolve()
        if path is not None and (place == path or place in path.parents or path in place.parents):
            raise UsageError(f"the recording {path.name} lies in {out}: choose a folder of its own for the tokens")
