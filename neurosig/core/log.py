"""One logger and one progress bar for the whole package."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from neurosig.core.progress_lines import ProgressLines, wants_lines

__all__ = ["asks_for_progress", "logger", "progress", "set_log_level"]

logger = logging.getLogger("neurosig")
logger.addHandler(logging.NullHandler())

T = TypeVar("T")


def set_log_level(verbose: bool | str | int | None = None) -> None:
    """Set how much neurosig and mne say.

    Parameters
    ----------
    verbose : bool, str, int or None
        As in mne: True is "INFO", False is "WARNING", None reads ``MNE_LOGGING_LEVEL`` (default "WARNING").
    """
    if verbose is None:
        verbose = os.environ.get("MNE_LOGGING_LEVEL", "WARNING")
    level = ("INFO" if verbose else "WARNING") if isinstance(verbose, bool) else verbose
    logger.setLevel(level.upper() if isinstance(level, str) else level)
    if not any(isinstance(handler, logging.StreamHandler) for handler in logger.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    if "mne" in sys.modules:
        sys.modules["mne"].set_log_level(level)


def asks_for_progress(verbose: bool | str | int | None) -> bool:
    """Whether a parameter `verbose` asks to see how far work is.

    Parameters
    ----------
    verbose : bool, str, int or None
        As in mne; None follows neurosig's log level.

    Returns
    -------
    bool
        True at "INFO" and below.
    """
    if verbose is None:
        return logger.isEnabledFor(logging.INFO)
    return str(verbose).upper() in ("TRUE", "INFO", "DEBUG", "20", "10")


def progress(
    items: Iterable[T], *, total: int | None = None, desc: str = "", unit: str = "it", show: bool | None = None
) -> Iterator[T]:
    """Iterate with a progress bar on standard error.

    Parameters
    ----------
    items : iterable
        What to iterate over.
    total : int, optional
        Number of items, where `items` has no length.
    desc, unit : str
        What is done, and what is counted.
    show : bool, optional
        None shows the bar on a terminal and in notebooks only. True writes a line now and then elsewhere.
    """
    from tqdm.auto import tqdm

    if wants_lines(show):
        return _with_lines(items, total, ProgressLines(desc or "progress", unit))
    disable = None if show is None else not show  # None: tqdm disables itself when not on a terminal
    return iter(tqdm(items, total=total, desc=desc, unit=unit, disable=disable, leave=False, dynamic_ncols=True))


def _with_lines(items: Iterable[T], total: int | None, lines: ProgressLines) -> Iterator[T]:
    expected = len(items) if total is None and isinstance(items, Sized) else total
    for item in items:
        yield item
        lines.report(1, expected or 0)
