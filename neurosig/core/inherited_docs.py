"""Documentation of what classes share, written once: in the docstring of their base."""

from __future__ import annotations

import inspect
import re
from typing import TypeVar

__all__ = ["inherits_documentation"]

C = TypeVar("C", bound=type)
_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)


def inherits_documentation(cls: C) -> C:
    """Class decorator: complete the docstring's "Parameters" and "Attributes" by those of the base classes.

    Entries of the class itself take the place of the base's of the same name. Parameters stand in the order of the
    signature, attributes as they come, the class's own first.

    Parameters
    ----------
    cls : type
        With a docstring in numpydoc's form.

    Returns
    -------
    type
        The class itself.
    """
    if cls.__doc__ is None:  # python -OO
        return cls
    text = inspect.cleandoc(cls.__doc__)
    order = list(inspect.signature(cls).parameters)
    for title in ("Parameters", "Attributes"):
        entries = _entries(text, title)
        taken = {name for names in entries for name in names}
        for base in cls.__mro__[1:]:
            inherited = _entries(inspect.cleandoc(base.__doc__), title) if base.__doc__ else {}
            entries |= {names: entry for names, entry in inherited.items() if not taken & set(names)}
            taken = {name for names in entries for name in names}
        if title == "Parameters":  # a class may leave parameters of its base out
            entries = {names: entry for names, entry in entries.items() if names[0] in order}
            entries = {names: entries[names] for names in sorted(entries, key=lambda names: order.index(names[0]))}
        text = _replaced(text, title, "\n".join(entries.values()))
    cls.__doc__ = text + "\n"
    return cls


def _entries(text: str, title: str) -> dict[tuple[str, ...], str]:
    """Entries of a section, by the names that they describe."""
    found: dict[tuple[str, ...], str] = {}
    start, end = _span(text, title)
    for part in re.split(r"\n(?=\S)", text[start:end].strip("\n")) if end > start else []:
        names = tuple(name.strip() for name in part.partition(" :")[0].split(","))
        found[names] = part
    return found


def _span(text: str, title: str) -> tuple[int, int]:
    """Where the body of a section begins and ends; an empty span where there is none."""
    heads = list(_SECTION.finditer(text))
    ends = [*(head.start() for head in heads[1:]), len(text)]
    return next(((head.end(), end) for head, end in zip(heads, ends, strict=False) if head[1] == title), (0, 0))


def _replaced(text: str, title: str, body: str) -> str:
    start, end = _span(text, title)
    if not body or (start, end) == (0, 0):
        return text
    return f"{text[:start]}{body}\n\n{text[end:]}".rstrip("\n")
