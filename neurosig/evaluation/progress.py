"""The progress bar of long evaluations."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

__all__ = ["progress_bar"]


@contextlib.contextmanager
def progress_bar(name: str, show: bool | None, unit: str = "fold") -> Iterator[Callable[[int, int], None]]:
    """A bar whose total may still grow.

    Parameters
    ----------
    name : str
        What stands before it.
    show : bool or None
        None shows it on a terminal only.
    unit : str
        What is counted.

    Yields
    ------
    callable
        To be called with the number done since the last call, and the number expected in all.
    """
    from tqdm.auto import tqdm

    disable = None if show is None else not show  # None: tqdm disables itself when not on a terminal
    bar = tqdm(total=0, desc=name, unit=unit, disable=disable, leave=False, dynamic_ncols=True)

    def report(done: int, expected: int) -> None:
        bar.total = max(expected, bar.n + done)
        bar.update(done)

    try:
        yield report
    finally:
        bar.close()
