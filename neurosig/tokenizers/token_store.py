"""A Zarr store of the tokens of many recordings, and of what they were made of and by.

::

    store/              one Zarr (v3) group; its attributes tell the tokenizer, the window and the format
        sub-1_ses-0_run-0/   a group a recording; its attributes tell channels, rate and source
            tokens           whole numbers of the smallest type that holds the vocabulary, in chunks of windows
            starts           first second of each window
            labels           number of each window's label, -1 where it has none; where there are labels

A recording is written under another name and renamed when it is whole: what has its name is finished.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig._version import __version__
from neurosig.core.errors import InputError, StorageError, UsageError
from neurosig.core.files import atomic_path, atomic_write, check_writable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RecordingFacts", "StoreFacts", "TokenStore", "TokenWriter"]

_FORMAT, _VERSION = "neurosig-tokens", 1
_CHUNK = 1 << 18  # tokens in a chunk, about
_MISSING = -1  # what Zarr gives where a chunk's file is gone
_HEAD = "zarr.json"


@dataclass(frozen=True)
class StoreFacts:
    """What all tokens of a store have in common.

    Parameters
    ----------
    tokenizer : str
        Class of the tokenizer.
    digest : str
        Of its weights and of all that decides its tokens.
    vocabulary_size : int
        Codes that a token chooses among.
    token_axes : tuple of str
        Names of the axes of tokens, the first for the windows.
    window, step : float
        Length of a window, and time from one to the next, in seconds.
    """

    tokenizer: str
    digest: str
    vocabulary_size: int
    token_axes: tuple[str, ...]
    window: float
    step: float

    def __post_init__(self):
        object.__setattr__(self, "token_axes", tuple(self.token_axes))


@dataclass(frozen=True)
class RecordingFacts:
    """What is known of one recording of a store.

    Parameters
    ----------
    subject, session, run : str
        Whose it is.
    ch_names : tuple of str
        Channels, in the order of the tokens.
    sfreq : float
        Sampling rate of the recording, in Hz.
    source : dict
        What it was read from: ``file``, ``size`` in bytes and ``digest`` of the content, as far as there is a file.
    key : str
        Tells this work from any other: the recording's content and how it was read.
    n_windows : int
        Windows that became tokens.
    n_bad : int
        Windows that were left out, for bad spans or samples that are no numbers.
    n_incomplete : int
        Times that the signal ended within a window, which was left out.
    seconds_left : float
        Signal at these ends that is in no window, in seconds.
    classes : tuple of str
        Names of the labels; empty where windows have none.
    """

    subject: str
    session: str
    run: str
    ch_names: tuple[str, ...]
    sfreq: float
    source: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    n_windows: int = 0
    n_bad: int = 0
    n_incomplete: int = 0
    seconds_left: float = 0.0
    classes: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "ch_names", tuple(self.ch_names))
        object.__setattr__(self, "classes", tuple(self.classes))


class TokenStore:
    """Tokens of recordings on disk; a recording's are read when they are asked for.

    Parameters
    ----------
    path : path-like
        The folder that `neurosig.tokenizers.tokenize_recordings` or ``neurosig tokenize`` wrote.

    Attributes
    ----------
    path : Path
        The folder.
    facts : StoreFacts
        Tokenizer, vocabulary, axes, window and step.

    Raises
    ------
    StorageError
        If the folder is not there, is something else, or is damaged.

    Examples
    --------
    >>> from neurosig.tokenizers import TokenStore
    >>> store = TokenStore("tokens/")  # doctest: +SKIP
    >>> for name in store:  # doctest: +SKIP
    ...     tokens, starts = store.tokens(name), store.starts(name)
    """

    def __init__(self, path: str | PathLike):
        self.path = Path(path)
        self.facts = _facts(StoreFacts, _head(self.path), self.path)

    @classmethod
    def create(cls, path: str | PathLike, facts: StoreFacts) -> TokenStore:
        """Open a store to write into it, a new one where there is none.

        Parameters
        ----------
        path : path-like
            A folder that is new, empty, or a store.
        facts : StoreFacts
            What its tokens have in common.

        Returns
        -------
        TokenStore
            The store.

        Raises
        ------
        UsageError
            If the store holds tokens of another tokenizer, window or step.
        StorageError
            If the folder holds something else, or cannot be written.
        """
        place = Path(path)
        if place.is_dir() and (place / _HEAD).is_file():
            store = cls(place)
            there, wanted = asdict(store.facts), asdict(facts)
            if differing := [name for name in wanted if there[name] != wanted[name]]:
                name = differing[0]
                raise UsageError(
                    f"{place} holds tokens of another {_WORDS.get(name, 'tokenizer')} ({there[name]}, this is "
                    f"{wanted[name]}): tokens of the two do not mix; choose another folder"
                )
            return store
        if place.exists() and (not place.is_dir() or any(not item.name.startswith(".") for item in place.iterdir())):
            raise StorageError(f"{place} holds other files, not a token store; choose a new or empty folder")
        check_writable(place)
        attributes = {"neurosig": {"format": _FORMAT, "version": _VERSION, "by": __version__, **asdict(facts)}}
        head = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        atomic_write(place / _HEAD, json.dumps(head, indent=1) + "\n")
        return cls(place)

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def recordings(self) -> list[str]:
        """Names of the recordings, sorted, numbers by their size."""
        try:
            found = [item.name for item in self.path.iterdir() if item.is_dir() and not item.name.startswith(".")]
        except OSError as error:
            raise StorageError(f"cannot read {self.path}: {error.strerror}") from error
        return sorted(found, key=_natural)

    def __iter__(self) -> Iterator[str]:
        return iter(self.recordings)

    def __len__(self) -> int:
        return len(self.recordings)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.recordings

    def __repr__(self) -> str:
        return f"TokenStore({str(self.path)!r}): {len(self)} recordings, tokens of {self.facts.tokenizer}"

    def info(self, name: str) -> RecordingFacts:
        """What is known of a recording.

        Parameters
        ----------
        name : str
            One of `recordings`.

        Returns
        -------
        RecordingFacts
            The facts.

        Raises
        ------
        UsageError
            If there is no recording of that name.
        StorageError
            If it is damaged.
        """
        if name not in self:
            there = ", ".join(self.recordings[:6]) or "none"
            raise UsageError(f"{self.path} has no recording {name!r}; it has {there}{' ...' * (len(self) > 6)}")
        return _facts(RecordingFacts, _head(self.path / name), self.path / name)

    def tokens(self, name: str, windows: slice | None = None) -> np.ndarray:
        """Tokens of a recording.

        Parameters
        ----------
        name : str
            One of `recordings`.
        windows : slice, optional
            Only these windows; only their chunks are read.

        Returns
        -------
        int64 array
            Its axes are those of the store, windows first.

        Raises
        ------
        StorageError
            If the files are damaged, or some are gone.
        """
        found = self._read(name, "tokens", windows)
        if found.size and (found.min() < 0 or found.max() >= self.facts.vocabulary_size):
            raise _damaged(self.path / name, "some of its tokens are gone or none of the vocabulary")
        return found.astype(np.int64)

    def starts(self, name: str) -> np.ndarray:
        """First second of each window, float64 array of shape (n_windows,)."""
        found = self._read(name, "starts")
        if not np.isfinite(found).all():
            raise _damaged(self.path / name, "the times of its windows are gone")
        return found

    def labels(self, name: str) -> np.ndarray | None:
        """Label of each window, array of str of shape (n_windows,), empty text for none; None without labels."""
        classes = np.array([*self.info(name).classes, ""])
        if len(classes) == 1:
            return None
        codes = self._read(name, "labels")
        if codes.size and (codes.min() < -1 or codes.max() > len(classes) - 2):
            raise _damaged(self.path / name, "the labels of its windows are gone")
        return classes[codes]

    def to_frame(self, names: Sequence[str] | None = None) -> pd.DataFrame:
        """Windows as a table.

        Parameters
        ----------
        names : sequence of str, optional
            Only these recordings.

        Returns
        -------
        DataFrame
            A row a window: recording, subject, session, run, window (its number in the recording), start and stop in
            seconds, label (None where there is none).
        """
        import pandas as pd

        columns = ["recording", "subject", "session", "run", "window", "start", "stop", "label"]
        parts = []
        for name in self.recordings if names is None else names:
            facts, starts, labels = self.info(name), self.starts(name), self.labels(name)
            told = [None] * len(starts) if labels is None else [label or None for label in labels]
            parts.append(
                pd.DataFrame(
                    {
                        "recording": name, "subject": facts.subject, "session": facts.session, "run": facts.run,
                        "window": np.arange(len(starts)), "start": starts, "stop": starts + self.facts.window,
                        "label": pd.Series(told, dtype=object),
                    }
                )
            )  # fmt: skip
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)

    def _read(self, name: str, what: str, windows: slice | None = None) -> np.ndarray:
        import zarr

        n_windows = self.info(name).n_windows
        place = self.path / name
        try:
            stored = zarr.open_array(place / what, mode="r")
            if stored.shape[0] != n_windows:
                raise _damaged(place, f"{n_windows} windows are told of, there are {stored.shape[0]}")
            return np.asarray(stored[slice(None) if windows is None else windows])
        except (KeyError, TypeError, ValueError, OSError, RuntimeError) as error:
            if isinstance(error, StorageError):
                raise
            raise _damaged(place, f"{type(error).__name__}: {error}") from error

    # -- writing ------------------------------------------------------------------------------------------------------

    def has(self, name: str, key: str) -> bool:
        """Whether the work `key` is finished under this name; what is damaged or of other work is not."""
        try:
            return name in self and self.info(name).key == key
        except StorageError:
            return False

    def sweep(self) -> None:
        """Take away what killed runs left half written; for the one process that writes."""
        for box in self.path.glob(".*.partial"):
            name = box.name[1:].removesuffix(".partial").rpartition(".")[0]
            if (self.path / name).exists() or not (box / "previous").exists():  # else the next write puts it back
                shutil.rmtree(box, ignore_errors=True)

    @contextlib.contextmanager
    def write(self, name: str, facts: RecordingFacts, n_windows: int) -> Iterator[TokenWriter]:
        """Write a recording, which appears in the store when the block ends, and not at all if it fails.

        Parameters
        ----------
        name : str
            Name of the recording; one of that name is replaced.
        facts : RecordingFacts
            What is known before.
        n_windows : int
            Windows that are to come at most.

        Yields
        ------
        TokenWriter
            Takes the tokens, in order.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name) or name == _HEAD:
            raise UsageError(f"names of recordings are letters, digits, '_', '-', '+' and '.', got {name!r}")
        with atomic_path(self.path / name) as place:
            writer = TokenWriter(place, self.facts, n_windows)
            yield writer
            writer._finish(facts)


class TokenWriter:
    """Takes the tokens of one recording, in order; `TokenStore.write` gives it."""

    def __init__(self, place: Path, facts: StoreFacts, n_windows: int):
        self._place, self._facts, self._most = place, facts, n_windows
        self._waiting: list[np.ndarray] = []
        self._starts: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []
        self._array: Any = None
        self._written = 0
        self.counts: dict[str, Any] = {}  # facts that are known at the end only

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

    def _finish(self, facts: RecordingFacts) -> None:
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
        self._group.attrs["neurosig"] = {"format": _FORMAT, "version": _VERSION, **told}

    def _small(self, name: str, values: np.ndarray, missing: float) -> None:
        array = self._group.create_array(
            name, shape=values.shape, chunks=values.shape, dtype=values.dtype, fill_value=missing,
            compressors=[self._codec],
        )  # fmt: skip
        array[:] = values


_WORDS = {"window": "window", "step": "step"}


def _head(place: Path) -> dict[str, Any]:
    """What a group of ours says of itself."""
    try:
        stored = json.loads((place / _HEAD).read_text(encoding="utf-8"))["attributes"]["neurosig"]
        if stored["format"] != _FORMAT:
            raise KeyError("format")
    except FileNotFoundError as error:
        there = "is not there" if not place.exists() else f"is not a token store: it has no {_HEAD}"
        raise StorageError(f"{place} {there}") from error
    except NotADirectoryError as error:
        raise StorageError(f"{place} is a file, not a token store") from error
    except (KeyError, TypeError) as error:
        raise StorageError(f"{place} is not a token store: its {_HEAD} was written by something else") from error
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(place, f"{_HEAD}: {error}") from error
    if stored.get("version") != _VERSION:
        raise StorageError(
            f"{place} is a token store of version {stored.get('version')!r}, this neurosig {__version__} reads version "
            f"{_VERSION}; install the neurosig that wrote it"
        )
    return stored


def _facts(kind: Any, stored: Mapping[str, Any], place: Path) -> Any:
    try:
        return kind(**{name: stored[name] for name in kind.__dataclass_fields__})
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(place, f"its attributes lack {error}") from error


def _damaged(place: Path, reason: str) -> StorageError:
    return StorageError(
        f"{place} is damaged: {' '.join(reason.split())[:200]}; remove it and tokenize the recording again"
    )


def _natural(text: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text)]
