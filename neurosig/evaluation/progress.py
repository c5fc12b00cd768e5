"""How far long evaluations are: a bar on terminals and in notebooks, now and then a line in logs and pipes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from neurosig.core.progress_lines import ProgressLines, duration, wants_lines

__all__ = ["duration", "progress_bar"]


@contextlib.contextmanager
def progress_bar(
    name: str, show: bool | None, unit: str = "fold", *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """A bar, or lines, whose total may still grow.

    Parameters
    ----------
    name : str
        What stands before it.
    show : bool or None
        True shows a bar on terminals and in notebooks, and writes lines to any other standard error, such as a log:
        the first after three seconds, then at least ten seconds apart and rarer the longer it takes. None shows the
        bar only, False nothing.
    unit : str
        What is counted.
    clock : callable
        Seconds of a clock that only goes forward.

    Yields
    ------
    callable
        To be called with the number done since the last call, and the number expected in all.
    """
    from tqdm.auto import tqdm

    if wants_lines(show):
        yield ProgressLines(name, unit, clock).report
        return
    disable = None if show is None else not show  # None: tqdm disables itself when not on a terminal
    bar = tqdm(total=0, desc=name, unit=unit, disable=disable, leave=False, dynamic_ncols=True)

    def report(done: int, expected: int) -> None:
        bar.total = max(expected, bar.n + done)
        bar.update(done)

    try:
        yield report
    finally:
        bar.close()
