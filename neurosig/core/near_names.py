"""Names as people type them: found whatever their capitals and hyphens, and the nearest ones where none is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = ["did_you_mean", "find_name", "near_names"]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def find_name(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` is, but for capitals, hyphens, underscores and spaces.

    Parameters
    ----------
    word : str
        What was typed.
    known : iterable of str
        Names.

    Returns
    -------
    str or None
        `word` itself where it is known, else the only name that reads alike; None where none or several do.

    Examples
    --------
    >>> find_name("MI-EEGNet", ["EEGNet", "MIEEGNet"])
    'MIEEGNet'
    """
    known = list(known)
    if word in known:
        return word
    alike = [name for name in known if _plain(name) == _plain(word)]
    return alike[0] if len(alike) == 1 else None


def near_names(word: str, known: Iterable[str], n: int = 3, cutoff: float = 0.6) -> list[str]:
    """Known names that resemble `word`, capitals aside, best first."""
    spelled: dict[str, list[str]] = {}
    for name in known:
        spelled.setdefault(_plain(name), []).append(name)
    found = difflib.get_close_matches(_plain(word), list(spelled), n=n, cutoff=cutoff)
    return [name for plain in found for name in spelled[plain]][:n]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean X or Y?``, or nothing."""
    near = near_names(word, known)
    return f"; did you mean {' or '.join(near)}?" if near else ""
