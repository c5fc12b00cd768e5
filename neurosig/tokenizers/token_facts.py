"""What the groups of a token store say of themselves: the tokens' common facts, and those of each recording."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neurosig._version import __version__
from neurosig.core.errors import StorageError

__all__ = ["FORMAT", "HEAD", "VERSION", "RecordingFacts", "StoreFacts", "as_facts", "damaged", "read_head"]

FORMAT, VERSION = "neurosig-tokens", 1
HEAD = "zarr.json"


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
        axes = tuple(self.token_axes)
        # the first stores of NeuroRVQ called windows so
        object.__setattr__(self, "token_axes", ("window", *axes[1:]) if axes[:1] == ("n",) else axes)


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
    n_flat : int
        Channels of these windows that are constant: their tokens stand for no signal.
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
    n_flat: int = 0
    n_incomplete: int = 0
    seconds_left: float = 0.0
    classes: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "ch_names", tuple(self.ch_names))
        object.__setattr__(self, "classes", tuple(self.classes))


def read_head(place: Path) -> dict[str, Any]:
    """What a group of ours says of itself.

    Raises
    ------
    StorageError
        If it is not there, something else, damaged, or of another version.
    """
    try:
        stored = json.loads((place / HEAD).read_text(encoding="utf-8"))["attributes"]["neurosig"]
        if stored["format"] != FORMAT:
            raise KeyError("format")
    except FileNotFoundError as error:
        there = "is not there" if not place.exists() else f"is not a token store: it has no {HEAD}"
        raise StorageError(f"{place} {there}") from error
    except NotADirectoryError as error:
        raise StorageError(f"{place} is a file, not a token store") from error
    except (KeyError, TypeError) as error:
        raise StorageError(f"{place} is not a token store: its {HEAD} was written by something else") from error
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(place, f"{HEAD}: {error}") from error
    if stored.get("version") != VERSION:
        raise StorageError(
            f"{place} is a token store of version {stored.get('version')!r}, this neurosig {__version__} reads version "
            f"{VERSION}; install the neurosig that wrote it"
        )
    return stored


def as_facts(kind: Any, stored: Mapping[str, Any], place: Path) -> Any:
    """What a group says of itself, as `StoreFacts` or `RecordingFacts`; `place` is for the error."""
    stored = {"n_flat": 0, **stored}  # the first stores did not count these
    try:
        return kind(**{name: stored[name] for name in kind.__dataclass_fields__})
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(place, f"its attributes lack {error}") from error


def damaged(place: Path, reason: str) -> StorageError:
    """The error of a group that is not as it was written."""
    return StorageError(
        f"{place} is damaged: {' '.join(reason.split())[:200]}; remove it and tokenize the recording again"
    )
