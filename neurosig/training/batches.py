"""Batches of windows, sliced from trials in memory or read in blocks from disk; no trial is copied into windows."""

from __future__ import annotations

import contextlib
import mmap
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from neurosig.core.errors import UsageError

__all__ = [
    "BLOCK_BYTES",
    "BUFFER_BYTES",
    "Batches",
    "OfCollection",
    "SeveralBatches",
    "Target",
    "Trials",
    "is_stream",
    "signals_of",
]

# Streamed trials are read in blocks of about this size; so many bytes of them are shuffled together, if not told
BLOCK_BYTES = 8 << 20
BUFFER_BYTES = 64 << 20
_READ_BYTES = 1 << 20  # asked of a file at once


class Target(NamedTuple):
    """What a batch should come out as.

    Parameters
    ----------
    y : tensor of shape (n_windows,), or MixedTarget
        Class numbers or values.
    weight : tensor of shape (n_windows,), or None
        Weights of the windows.
    """

    y: Any
    weight: torch.Tensor | None


class OfCollection(NamedTuple):
    """Signals of a batch, and which of several collections they are of.

    Parameters
    ----------
    signals : tensor of shape (n_windows, n_channels, n_times)
        Windows.
    number : int64 tensor of shape (n_windows,)
        The collection, the same for all.
    """

    signals: torch.Tensor
    number: torch.Tensor


def signals_of(X: torch.Tensor | OfCollection) -> torch.Tensor:
    """Signals of a batch, of whatever kind it is."""
    return X.signals if isinstance(X, OfCollection) else X


def is_stream(X: Any) -> bool:
    """Whether trials lie on disk and are to be read piece by piece: memory maps, Zarr arrays and `StoredTrials`."""
    return isinstance(X, np.memmap) or (hasattr(X, "chunks") and hasattr(X, "oindex"))


class Trials:
    """Trials in memory or on disk, and how they are cut into windows.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels, n_times)
        Signals: an array, a memory map or a Zarr array; the last two are read in blocks.
    window, step : int or None
        Samples of a window and between the starts of two; None takes whole trials.
    device : torch.device, optional
        Signals in memory are kept on this device, if they take less than a quarter of what is free there.

    Attributes
    ----------
    n_windows : int
        Windows in a trial.
    shape : tuple of int
        Of a window, (n_channels, n_times).
    """

    def __init__(self, X: Any, window: int | None = None, step: int | None = None, device: torch.device | None = None):
        self.X = X
        self.n_trials, n_channels, n_times = map(int, X.shape)
        self.window = n_times if window is None else window
        self.step = self.window if step is None else step
        self.n_windows = 1 + (n_times - self.window) // self.step
        self.shape = (n_channels, self.window)
        self.whole = self.window == n_times
        self.in_memory: torch.Tensor | None = None
        if not is_stream(X):
            self.in_memory = as_tensor(X)
            if device is not None and device.type == "cuda":
                free, _ = torch.cuda.mem_get_info(device)
                if self.in_memory.nbytes < free / 4:
                    self.in_memory = self.in_memory.to(device)

    def __len__(self) -> int:
        return self.n_trials * self.n_windows

    def cut(self, block: torch.Tensor, rows: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
        """Windows of a block of trials, given by trial and by window, as one new tensor."""
        rows = rows.to(block.device)
        if self.whole:
            return block.index_select(0, rows)
        views = block.unfold(2, self.window, self.step)  # a view: (n_trials, n_channels, n_windows, window)
        return views[rows, :, windows.to(block.device)]

    def blocks(self, trials: np.ndarray, at_most: int = BLOCK_BYTES) -> list[np.ndarray]:
        """Positions that are best read together, in order: one block where the signals are in memory.

        A block takes `at_most` bytes, or one chunk of a Zarr array or one trial where these take more.
        """
        if self.in_memory is not None:
            return [trials]
        per_trial = max(1, 4 * self.shape[0] * int(self.X.shape[2]))
        chunk = int(self.X.chunks[0]) if hasattr(self.X, "chunks") else 1
        n = max(1, at_most // (per_trial * chunk)) * chunk  # whole chunks, so that none is unpacked twice
        edges = np.flatnonzero(np.diff(trials // n)) + 1
        return np.split(trials, edges)


class Batches(Dataset):
    """The batches of one epoch, ready made: ``for X, target in batches``.

    Parameters
    ----------
    trials : Trials
        The signals.
    y : tensor of shape (n_trials,)
        Targets of all trials.
    index : array of int
        Positions of the trials that belong here.
    batch_size : int
        Windows in a batch. A last batch of a single window joins the one before, because batch norm needs two.
    scale : float
        What the signals are divided by.
    weight : tensor of shape (n_trials,), optional
        Weights of all trials.
    generator : torch.Generator, optional
        Shuffles the windows, anew for each epoch; None keeps their order.
    augment : callable, optional
        ``augment(X, y) -> (X, y)`` on scaled batches.
    device : torch.device, optional
        Where the batches are put.
    rank, world : int
        Of each batch only every `world`-th window, from `rank` on, is given: the share of one of several devices.
    buffer_bytes : int
        Bytes of the one buffer where trials from disk are shuffled; they are read in blocks of an eighth of it, 8 MiB
        at most. It holds one block at least, see `Trials.blocks`. Where the order is kept it holds no more than that.

    Raises
    ------
    UsageError
        If `buffer_bytes` is no number of bytes.

    Notes
    -----
    Trials on disk are shuffled in two steps, as no memory holds them all: blocks of neighbouring trials come in random
    order, and the windows of so many blocks as fill the buffer are shuffled together. With all trials in one block the
    order is the one that trials in memory get.
    """

    def __init__(
        self,
        trials: Trials,
        y: torch.Tensor,
        index: np.ndarray,
        *,
        batch_size: int,
        scale: float = 1.0,
        weight: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
        augment: Any = None,
        device: torch.device | None = None,
        rank: int = 0,
        world: int = 1,
        buffer_bytes: int = BUFFER_BYTES,
    ):
        if isinstance(buffer_bytes, bool) or not hasattr(buffer_bytes, "__index__") or buffer_bytes < 1:
            raise UsageError(f"buffer_bytes must be a whole number of bytes above 0, got {buffer_bytes!r}")
        self.buffer_bytes = int(buffer_bytes)
        self.trials = trials
        self.y = y
        self.index = np.sort(np.asarray(index, dtype=np.int64))
        self.batch_size = batch_size
        self.scale = scale
        self.weight = weight
        self.generator = generator
        self.augment = augment
        self.device = torch.device("cpu") if device is None else device
        self.rank, self.world = rank, world

    @property
    def n_items(self) -> int:
        """Windows of an epoch."""
        return len(self.index) * self.trials.n_windows

    def __len__(self) -> int:
        return len(self._sizes())

    def _sizes(self) -> list[int]:
        full, rest = divmod(self.n_items, self.batch_size)
        sizes = [self.batch_size] * full
        if rest == 1 and full:
            sizes[-1] += 1
        elif rest:
            sizes.append(rest)
        return sizes

    def __iter__(self) -> Iterator[tuple[torch.Tensor, Target]]:
        sizes = self._sizes()
        parts: list[tuple[torch.Tensor, torch.Tensor]] = []  # windows and their trials, not yet enough for a batch
        have = 0
        for index, block in self._groups():
            owners, order = torch.from_numpy(index), self._order(len(index) * self.trials.n_windows)
            at = 0
            while at < len(order):
                items = order[at : at + sizes[0] - have]
                at += len(items)
                have += len(items)
                position = torch.div(items, self.trials.n_windows, rounding_mode="floor")
                window = items - position * self.trials.n_windows
                # a block from disk holds the trials of `index` and no others; memory holds all trials there are
                row = owners[position] if self.trials.in_memory is not None else position
                parts.append((self.trials.cut(block, row, window), owners[position]))
                if have == sizes[0]:
                    X, owner = (group[0] if len(parts) == 1 else torch.cat(group) for group in zip(*parts, strict=True))
                    yield self._batch(X, owner)
                    parts, have = [], 0
                    sizes.pop(0)

    def _groups(self) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Positions of trials and the trials themselves, so many as are shuffled together."""
        blocks = self.trials.blocks(self.index, min(BLOCK_BYTES, max(1, self.buffer_bytes // 8)))
        if self.trials.in_memory is not None:
            yield self.index, self.trials.in_memory
            return
        if self.generator is not None and len(blocks) > 1:
            blocks = [blocks[i] for i in torch.randperm(len(blocks), generator=self.generator).tolist()]
        n_channels, n_times = self.trials.shape[0], int(self.trials.X.shape[2])
        groups = self._together(blocks, 4 * n_channels * n_times)
        # one buffer for all: batches are cut out of it as copies
        buffer = torch.empty(max((sum(map(len, group)) for group in groups), default=0), n_channels, n_times)
        for group in groups:
            at = 0
            for part in group:
                read_stream(self.trials.X, part, out=buffer[at : at + len(part)].numpy())
                at += len(part)
            yield np.concatenate(group), buffer[:at]

    def _together(self, blocks: list[np.ndarray], per_trial: int) -> list[list[np.ndarray]]:
        """Blocks that are in the buffer together; one at a time where nothing is shuffled."""
        groups: list[list[np.ndarray]] = []
        size = 0
        for block in blocks:
            if not groups or self.generator is None or size + len(block) * per_trial > self.buffer_bytes:
                groups.append([])
                size = 0
            groups[-1].append(block)
            size += len(block) * per_trial
        return groups

    def _order(self, n: int) -> torch.Tensor:
        return torch.arange(n) if self.generator is None else torch.randperm(n, generator=self.generator)

    def _batch(self, X: torch.Tensor, owner: torch.Tensor) -> tuple[torch.Tensor, Target]:
        if self.world > 1:
            mine = torch.arange(min(self.rank, len(owner) - 1), len(owner), self.world)
            X, owner = X[mine.to(X.device)], owner[mine]
        X = X.to(self.device, non_blocking=True)
        if self.scale != 1.0:
            X = X.div_(self.scale)  # a batch is always a copy of its own
        y: Any = self.y[owner].to(self.device)
        weight = None if self.weight is None else self.weight[owner].to(self.device)
        if self.augment is not None:
            X, y = self.augment(X, y)
        return X, Target(y, weight)


class SeveralBatches(Dataset):
    """Batches of several collections, whose windows differ in channels or length; each batch is of one of them.

    Parameters
    ----------
    parts : list of Batches
        One a collection. They share one generator, or none of them has one.

    Attributes
    ----------
    trials : list of Trials
        Of the collections.
    generator : torch.Generator or None
        Draws whose batch comes next, anew for each epoch; without one the collections come one after the other.
    """

    augment = None

    def __init__(self, parts: list[Batches]):
        self.parts = parts
        self.trials = [part.trials for part in parts]
        self.generator = parts[0].generator

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __iter__(self) -> Iterator[tuple[OfCollection, Target]]:
        owner = torch.repeat_interleave(torch.arange(len(self.parts)), torch.tensor([len(part) for part in self.parts]))
        if self.generator is not None:
            owner = owner[torch.randperm(len(owner), generator=self.generator)]
        running = [iter(part) for part in self.parts]
        for number in owner.tolist():
            X, target = next(running[number])
            yield OfCollection(X, torch.full((len(X),), number)), target


def as_tensor(X: np.ndarray) -> torch.Tensor:
    """A float32 tensor of an array, without a copy where the array is float32 already. Never written to."""
    array = np.ascontiguousarray(X, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


def read_stream(X: Any, trials: np.ndarray, out: np.ndarray | None = None) -> torch.Tensor:
    """Trials of a memory map or a Zarr array (ascending) as a float32 tensor, of its own or of the memory of `out`.

    They are read a few at a time: a Zarr array unpacks all the chunks that it is asked for side by side, and the pages
    of a memory map, which come with their neighbours, are let go only when they are copied.

    What Zarr's own threads unpack comes on top: a chunk, packed and unpacked, in each of a few threads, whose memory
    glibc keeps for them. Chunks of 1 MB cost little; with large ones ``MALLOC_ARENA_MAX=1`` in the environment, set
    before Python starts, gives it back.
    """
    found = np.empty((len(trials), *X.shape[1:]), dtype=np.float32) if out is None else out
    chunk = int(X.chunks[0]) if hasattr(X, "chunks") else 1
    n = max(1, _READ_BYTES // (4 * int(np.prod(X.shape[1:])) * chunk)) * chunk
    at = 0
    for part in np.split(trials, np.flatnonzero(np.diff(trials // n)) + 1):
        first, last = int(part[0]), int(part[-1]) + 1
        if last - first == len(part):
            found[at : at + len(part)] = X[first:last]
        else:
            found[at : at + len(part)] = X.oindex[part] if hasattr(X, "oindex") else X[part]
        at += len(part)
        _let_go(getattr(X, "stored", X))
    return torch.from_numpy(found)


def _let_go(X: Any) -> None:
    """Drop the pages of a memory map that were just read: they would count as this process's memory until it ends."""
    base = X
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and getattr(X, "mode", None) in ("r", "r+", "w+"):  # not "c": changes would be lost
        with contextlib.suppress(AttributeError, OSError, ValueError):
            base.madvise(mmap.MADV_DONTNEED)
