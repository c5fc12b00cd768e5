"""How lists, events and windows are written on the command line."""

from __future__ import annotations

from neurosig.core.errors import UsageError

__all__ = ["choose_events", "parse_events", "parse_names", "too_short"]


def parse_names(text: str | None) -> list[str] | None:
    """``"1,3,7-9"`` as ["1", "3", "7", "8", "9"]; names that are no numbers are kept as they are."""
    if text is None:
        return None
    names: list[str] = []
    for part in (piece.strip() for piece in text.split(",")):
        first, dash, last = part.partition("-")
        if dash and first.isdigit() and last.isdigit():
            if int(last) < int(first) or int(last) - int(first) > 100_000:
                raise UsageError(f"a range goes upwards, such as 3-7, got {part!r}")
            width = len(first) if first.startswith("0") else 0
            names += [str(number).zfill(width) for number in range(int(first), int(last) + 1)]
        elif part:
            names.append(part)
    if not names:
        raise UsageError(f"expected names separated by commas, got {text!r}")
    return list(dict.fromkeys(names))


def parse_events(text: str | None) -> dict[str, str | list[str]] | None:
    """``"left=T1,right=T2"`` as a dictionary; ``"T1,T2"`` names events that keep their names.

    One event may stand for several annotations: ``"hands=T1+T2,rest=T0"``.
    """
    if text is None:
        return None
    events: dict[str, str | list[str]] = {}
    for part in (piece.strip() for piece in text.split(",")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not name or (equals and not value):
            raise UsageError(f"events are written name=annotation,name=annotation (left=T1,right=T2), got {text!r}")
        if name in events:
            raise UsageError(f"event {name!r} is given twice in {text!r}; join its annotations with +: {name}=A+B")
        values = [piece.strip() for piece in (value or name).split("+") if piece.strip()]
        events[name] = values[0] if len(values) == 1 else values
    return events


def choose_events(text: str | None) -> dict[str, str | list[str]] | list[str] | None:
    """``"left=T1,right=T2"`` as a dictionary; ``"left,right"`` as a list that chooses among a dataset's own events."""
    return parse_events(text) if text is not None and "=" in text else parse_names(text)


def too_short(window: float, shortest: float) -> str:
    """What is said of windows that hold no token."""
    return f"--window {window:g} is too short: a token takes {shortest:g} s; give --window {shortest:g} or more"
