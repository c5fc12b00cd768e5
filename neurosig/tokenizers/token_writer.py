"""The tokens of one recording on their way to disk: gathered into whole chunks, each written once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from neurosig.core.errors import InputError
from neurosig.tokenizers.token_facts import FORMAT, VERSION, RecordingFacts, StoreFacts
from neurosig.tokenizers.token_files import file_sizes

__all__ = ["TokenWriter"]

_CHUNK = 1 << 18  # tokens in a chunk, about
_MISSING = -1  # what Zarr gives where a chunk's file is gone


class TokenWriter:
    """Takes the tokens of one recording, in order; `TokenStore.write` gives it.

    Parameters
    ----------
    place : Path
        Folder of the recording's group, which is made.
    facts : StoreFacts
        Of the store.
    n_windows : int
        Windows that are to come at most.

    Attributes
    ----------
    counts : dict
        Fields of `RecordingFacts` that are known at the end only.
    """

    def __init__(self, place: Path, facts: StoreFacts, n_windows: int):
        self._place, self._facts, self._most = place, facts, n_windows
        self._waiting: list[np.ndarray] = []
        self._starts: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []
        self._array: Any = None
        self._written = 0
        self.counts: dict[str, Any] = {}

    def append(self, tokens: np.ndarray, starts: np.ndarray, labels: Sequence[str] | None = None) -> None:
        """Take the tokens of some windows.

        Parameters
        ----------
        tokens : int array of shape (n, ...)
            With the axes of the store.
        starts : array of shape (n,)
            First second of each window.
        labels : sequence of str, optional
            Label of each window, empty for none; for all windows of a recording or for none.

        Raises
        ------
        InputError
            If tokens are none of the vocabulary, or of another shape than those before.
        """
        tokens = np.asarray(tokens)
        if tokens.ndim != len(self._facts.token_axes) or tokens.shape[0] != len(starts):
            raise InputError(
                f"expected tokens with the axes ({', '.join(self._facts.token_axes)}) of {len(starts)} windows, got "
                f"shape {tokens.shape}"
            )
        if tokens.size and (tokens.min() < 0 or tokens.max() >= self._facts.vocabulary_size):
            raise InputError(f"expected tokens from 0 to {self._facts.vocabulary_size - 1}, got {tokens.max()}")
        if self._array is None:
            self._open(tokens.shape[1:])
        if tokens.shape[1:] != self._array.shape[1:]:
            raise InputError(f"expected tokens of shape {self._array.shape[1:]} a window, got {tokens.shape[1:]}")
        self._waiting.append(tokens.astype(self._array.dtype))
        self._starts.append(np.asarray(starts, dtype=float))
        if labels is not None:
            self._labels.append(np.asarray(labels, dtype=object))
        self._flush(self._array.chunks[0])

    def _open(self, shape: tuple[int, ...]) -> None:
        import zarr
        from zarr.codecs import ZstdCodec

        dtype = np.int16 if self._facts.vocabulary_size <= np.iinfo(np.int16).max + 1 else np.int32
        rows = max(1, min(self._most, _CHUNK // max(1, int(np.prod(shape)))))
        self._codec = ZstdCodec(level=3, checksum=True)
        self._group = zarr.open_group(self._place, mode="w")
        self._array = self._group.create_array(
            "tokens", shape=(self._most, *shape), chunks=(rows, *shape), dtype=dtype, fill_value=_MISSING,
            compressors=[self._codec], dimension_names=self._facts.token_axes,
        )  # fmt: skip

    def _flush(self, least: int) -> None:
        """Write whole chunks, as many as there are."""
        waiting = sum(map(len, self._waiting))
        if waiting < least or not waiting:
            return
        block = np.concatenate(self._waiting)
        n = waiting // least * least
        self._array[self._written : self._written + n] = block[:n]
        self._written += n
        self._waiting = [block[n:]]

    def finish(self, facts: RecordingFacts) -> None:
        """Write what is left, and what is known of the recording.

        Raises
        ------
        InputError
            If there was no window.
        """
        if self._array is None:
            raise InputError("no window was left to make tokens of")
        self._flush(1)
        if self._written < self._most:
            self._array.resize((self._written, *self._array.shape[1:]))
        starts = np.concatenate(self._starts)
        self._small("starts", starts, np.nan)
        classes: list[str] = []
        if self._labels:
            names = np.concatenate(self._labels).astype(str)
            classes = sorted(set(names.tolist()) - {""})
            number = {name: place for place, name in enumerate(classes)} | {"": -1}
            self._small("labels", np.array([number[name] for name in names.tolist()], dtype=np.int32), -2)
        told = {**asdict(facts), **self.counts, "n_windows": len(starts), "classes": classes}
        told["files"] = file_sizes(self._place)
        self._group.attrs["neurosig"] = {"format": FORMAT, "version": VERSION, **told}

    def _small(self, name: str, values: np.ndarray, missing: float) -> None:
        array = self._group.create_array(
            name, shape=values.shape, chunks=values.shape, dtype=values.dtype, fill_value=missing,
            compressors=[self._codec],
        )  # fmt: skip
        array[:] = values
