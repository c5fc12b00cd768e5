"""How far long work is, in logs and pipes: a line now and then, where a bar would be a heap of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

__all__ = ["ProgressLines", "duration", "wants_lines"]

_FIRST, _LEAST, _SHARE, _MOST = 3.0, 10.0, 0.1, 600.0  # seconds; lines get rarer with the length of the run


def wants_lines(show: bool | None) -> bool:
    """Whether progress is asked for where there is neither a terminal nor a notebook."""
    from tqdm.auto import tqdm

    notebook = any(kind.__module__ == "tqdm.notebook" for kind in tqdm.__mro__)
    return bool(show) and not notebook and not sys.stderr.isatty()


class ProgressLines:
    """Lines on standard error; none for what is done before the first is due.

    Parameters
    ----------
    name, unit : str
        What is done, and what is counted.
    clock : callable
        Seconds of a clock that only goes forward.
    """

    def __init__(self, name: str, unit: str, clock: Callable[[], float] = time.monotonic):
        self.name, self.unit, self.clock = name, unit, clock
        self.started = clock()
        self.due = _FIRST
        self.done = 0
        self.said = False

    def report(self, done: int, expected: int, note: str = "") -> None:
        """Take note of what was done since the last call, and of the number expected in all; say it if it is time.

        Parameters
        ----------
        done, expected : int
            Since the last call, and in all.
        note : str
            What else the line tells.
        """
        self.done += done
        total = max(expected, self.done)
        elapsed = self.clock() - self.started
        ended = self.said and done > 0 and self.done == total
        if elapsed < self.due and not ended:
            return
        self.said = True
        self.due = elapsed + min(_MOST, max(_LEAST, _SHARE * elapsed))
        text = f"{self.name}: {self.done} of {total} {self.unit}{'' if total == 1 else 's'}, {duration(elapsed)}"
        sys.stderr.write(f"{text}; {note}\n" if note else f"{text}\n")
        sys.stderr.flush()


def duration(seconds: float) -> str:
    """Seconds as people read them: "0.4 s", "12 s", "3 min 05 s", "2 h 10 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
