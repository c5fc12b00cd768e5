"""The axes of tokens: which codebook a token is of, which channel and which samples it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurosig.core.errors import InputError, UsageError

__all__ = [
    "Frames",
    "check_parts",
    "check_tokens_of_one",
    "codebook_axes",
    "codebook_name",
    "split_codebooks",
    "take_codebook",
]

_KNOWN = {
    3: ("window", "channel", "frame"),  # the TFM-Tokenizer
    5: ("window", "scale", "level", "channel", "patch"),  # NeuroRVQ
}


@dataclass(frozen=True)
class Frames:
    """Which samples a token stands for.

    Parameters
    ----------
    length, hop : int
        Samples of a piece, and from one to the next.
    sfreq : float
        Rate of the samples in Hz, which is the tokenizer's own.
    """

    length: int
    hop: int
    sfreq: float


def codebook_axes(axes: Sequence[str]) -> tuple[str, ...]:
    """Axes along which codebooks differ: all but windows (the first), "channel" and time (the last)."""
    return tuple(name for name in axes[1:-1] if name != "channel")


def take_codebook(tokens: Any, axes: Any = None, **codebook: int) -> np.ndarray:
    """Take the tokens of one codebook.

    Parameters
    ----------
    tokens : array of integers
        From a tokenizer's `transform`.
    axes : Tokenizer, sequence of str, or None
        The tokenizer, or its `token_axes`; None takes three axes for those of the TFM-Tokenizer and five for those of
        NeuroRVQ.
    **codebook : int
        Which, by the names of the axes: ``scale=0, level=0``. An axis of length one need not be named.

    Returns
    -------
    int64 array of shape (n, n_channels, n_frames)
        A view where that is possible.

    Raises
    ------
    InputError
        If the tokens have other axes, are no integers, or lie outside the vocabulary, as far as `axes` tell it.
    UsageError
        If no codebook is chosen where there are several, or one that is not there.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.tokenizers.analysis import take_codebook
    >>> tokens = np.arange(2 * 4 * 8 * 3 * 5).reshape(2, 4, 8, 3, 5)
    >>> take_codebook(tokens, scale=1, level=0).shape
    (2, 3, 5)
    """
    found, axes = _named(tokens, axes)
    own = codebook_axes(axes)
    if unknown := sorted(set(codebook) - set(own)):
        raise UsageError(f"these tokens have no axis {unknown[0]!r}; axes that name codebooks: {', '.join(own) or '-'}")
    place: list[Any] = []
    for name, size in zip(axes, found.shape, strict=True):
        if name not in own:
            place.append(slice(None))
            continue
        if name not in codebook and size != 1:
            raise UsageError(f"these tokens are of {size} codebooks along {name!r}: choose one, such as {name}=0")
        number = codebook.get(name, 0)
        if not 0 <= number < size:
            raise UsageError(f"{name} must lie between 0 and {size - 1}, got {number!r}")
        place.append(number)
    chosen = found[tuple(place)]
    return chosen if "channel" in axes else chosen[:, np.newaxis]


def split_codebooks(tokens: Any, axes: Any = None) -> Iterator[tuple[dict[str, int], np.ndarray]]:
    """All codebooks in turn: what names one, and its tokens.

    Parameters
    ----------
    tokens : array of integers
        From a tokenizer's `transform`.
    axes : Tokenizer, sequence of str, or None
        As in `take_codebook`.

    Yields
    ------
    name : dict of str to int
        ``{"scale": 0, "level": 3}``; empty where there is one codebook.
    tokens : int64 array of shape (n, n_channels, n_frames)
        Its tokens.
    """
    found, axes = _named(tokens, axes)
    own = codebook_axes(axes)
    for index in np.ndindex(*(found.shape[axes.index(name)] for name in own)):
        name = {axis: int(number) for axis, number in zip(own, index, strict=True)}
        yield name, take_codebook(found, axes, **name)


def codebook_name(codebook: Mapping[str, int]) -> str:
    """A codebook in words: "scale 0, level 3"; nothing where there is only one."""
    return ", ".join(f"{axis} {number}" for axis, number in codebook.items())


def check_tokens_of_one(tokens: Any) -> np.ndarray:
    """Tokens of one codebook as an int64 array (n, n_channels, n_frames), or a refusal."""
    found = np.asarray(tokens)
    if found.dtype.kind not in "iu":
        raise InputError(f"expected tokens as integers, got {found.dtype}; a tokenizer's transform gives them")
    _refuse_negative(found)
    if found.ndim != 3 or not found.size:
        more = "; take_codebook(tokens, scale=0, level=0) chooses a codebook" if found.ndim > 3 else ""
        raise InputError(f"expected tokens of shape (n, n_channels, n_frames), got {found.shape}{more}")
    return found.astype(np.int64, copy=False)


def check_parts(tokens: Any, y: Any, groups: Any) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Tokens of one codebook with the class and the owner of each window.

    Raises
    ------
    InputError
        If lengths differ or a class or an owner is missing.
    """
    found = check_tokens_of_one(tokens)
    rest = []
    for name, values in (("y", y), ("groups", groups)):
        array = None if values is None else np.asarray(values)
        if array is not None:
            if array.shape != (len(found),):
                raise InputError(f"expected one value of {name} a window, got {len(found)} windows and {array.shape}")
            if any(value is None or value != value for value in array.tolist()):
                raise InputError(f"{name} has missing values; leave those windows out")
        rest.append(array)
    return found, rest[0], rest[1]


def _refuse_negative(tokens: np.ndarray) -> None:
    if tokens.size and tokens.min() < 0:
        raise InputError(f"expected tokens from 0 on, got {int(tokens.min())}: a tokenizer gives no such number")


def _named(tokens: Any, axes: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    found = np.asarray(tokens)
    if found.dtype.kind not in "iu":
        raise InputError(f"expected tokens as integers, got {found.dtype}; a tokenizer's transform gives them")
    _refuse_negative(found)
    size = getattr(axes, "vocabulary_size_", None)
    if size is not None and found.size and found.max() >= size:
        raise InputError(f"expected tokens from 0 to {size - 1}, got {int(found.max())}: they are another tokenizer's")
    if axes is None:
        if found.ndim not in _KNOWN:
            raise InputError(f"expected tokens of three or five axes, got shape {found.shape}; name others by axes=...")
        names = _KNOWN[found.ndim]
    else:
        names = tuple(getattr(axes, "token_axes", axes))
    if len(names) != found.ndim:
        raise InputError(f"expected tokens with the axes ({', '.join(names)}), got shape {found.shape}")
    return found.astype(np.int64, copy=False), names
