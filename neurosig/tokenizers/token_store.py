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
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neurosig._version import __version__
from neurosig.core.errors import StorageError, UsageError
from neurosig.core.files import atomic_path, atomic_write, check_writable
from neurosig.tokenizers.token_facts import (
    FORMAT,
    HEAD,
    VERSION,
    RecordingFacts,
    StoreFacts,
    as_facts,
    damaged,
    read_head,
)
from neurosig.tokenizers.token_files import what_is_wrong
from neurosig.tokenizers.token_writer import TokenWriter

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RecordingFacts", "StoreFacts", "TokenStore", "TokenWriter"]

_WORDS = {"window": "window", "step": "step"}


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
        self.facts = as_facts(StoreFacts, read_head(self.path), self.path)

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
        if place.is_dir() and (place / HEAD).is_file():
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
        attributes = {"neurosig": {"format": FORMAT, "version": VERSION, "by": __version__, **asdict(facts)}}
        head = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        atomic_write(place / HEAD, json.dumps(head, indent=1) + "\n")
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
        return as_facts(RecordingFacts, read_head(self.path / name), self.path / name)

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
            raise damaged(self.path / name, "some of its tokens are gone or none of the vocabulary")
        return found.astype(np.int64)

    def starts(self, name: str) -> np.ndarray:
        """First second of each window, float64 array of shape (n_windows,)."""
        found = self._read(name, "starts")
        if not np.isfinite(found).all():
            raise damaged(self.path / name, "the times of its windows are gone")
        return found

    def labels(self, name: str) -> np.ndarray | None:
        """Label of each window, array of str of shape (n_windows,), empty text for none; None without labels."""
        classes = np.array([*self.info(name).classes, ""])
        if len(classes) == 1:
            return None
        codes = self._read(name, "labels")
        if codes.size and (codes.min() < -1 or codes.max() > len(classes) - 2):
            raise damaged(self.path / name, "the labels of its windows are gone")
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
                raise damaged(place, f"{n_windows} windows are told of, there are {stored.shape[0]}")
            return np.asarray(stored[slice(None) if windows is None else windows])
        except (KeyError, TypeError, ValueError, OSError, RuntimeError) as error:
            if isinstance(error, StorageError):
                raise
            raise damaged(place, f"{type(error).__name__}: {error}") from error

    # -- writing ------------------------------------------------------------------------------------------------------

    def has(self, name: str, key: str) -> bool:
        """Whether the work `key` is finished under this name; what is damaged or of other work is not."""
        try:
            return name in self and self.info(name).key == key and self.damage(name) is None
        except StorageError:
            return False

    def damage(self, name: str) -> str | None:
        """What is wrong with the files of a recording.

        Parameters
        ----------
        name : str
            One of `recordings`.

        Returns
        -------
        str or None
            Which file is gone or was cut, or what its head lacks; None where all are as long as they were written.
            Nothing is read but the head: bytes that were altered are told by `tokens`, `starts` and `labels`.
        """
        try:
            self.info(name)
            return what_is_wrong(self.path / name, read_head(self.path / name))
        except StorageError as error:
            return str(error)

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
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name) or name == HEAD:
            raise UsageError(f"names of recordings are letters, digits, '_', '-', '+' and '.', got {name!r}")
        with atomic_path(self.path / name) as place:
            writer = TokenWriter(place, self.facts, n_windows)
            yield writer
            writer.finish(facts)


def _natural(text: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text)]
