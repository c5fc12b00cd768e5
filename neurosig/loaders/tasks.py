"""Which task a recording is of, as far as names tell: BIDS entities, or the words beside subject, session and run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

from neurosig.core.channel_names import listed
from neurosig.core.log import logger
from neurosig.loaders.recordings import Recording

__all__ = ["apart_by_task", "task_of"]

_BIDS = re.compile(r"^sub-[A-Za-z0-9]+_(?:.*_)?task-(?P<task>[A-Za-z0-9]+)(?=[_.])")


def task_of(path: Path) -> str | None:
    """The task that a BIDS name states, ``rest`` of ``sub-01_task-rest_eeg.vhdr``; None for other names."""
    match = _BIDS.search(path.name)
    return match["task"] if match else None


def apart_by_task(found: list[Recording], words: Callable[[Path], str]) -> list[Recording]:
    """Recordings that would be the same subject, session and run, told apart by their task.

    Parameters
    ----------
    found : list of Recording
        Those of BIDS names have their task already.
    words : callable
        What a file's name holds beside subject, session and run, as letters and digits.

    Returns
    -------
    list of Recording
        Where files stand in each other's way, and the words of their names differ in more than numbers (which may as
        well be parts, dates or people), all get these words as their task. Otherwise as they came.
    """
    alike: dict[tuple[str, str, str, str | None], list[Recording]] = {}
    for item in found:
        alike.setdefault((item.subject, item.session, item.run, item.task), []).append(item)
    clashes = [group for group in alike.values() if len(group) > 1]
    if not clashes:
        return found
    for group in clashes:
        kinds = {re.sub(r"\d+", "#", words(item.path)) for item in group}
        if len(kinds) < len(group) or "" in kinds:
            return found
    named = [dataclasses.replace(item, task=item.task or words(item.path) or None) for item in found]
    tasks = sorted({item.task for item in named if item.task})
    logger.warning(
        "files of the same subject, session and run are taken as tasks of one person: %s; if they are other people, "
        "name them subject1, subject2, and if they are copies of one recording, give one of each",
        listed(tasks),
    )
    return named
