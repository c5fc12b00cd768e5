"""What ``neurosig preprocess`` answers: lines for a terminal, one JSON object for machines, in its own words."""

from __future__ import annotations

import logging
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["answer", "show", "told_once"]

_SHOWN_FAILURES, _SHOWN_FILES = 10, 10
_PYTHON = re.compile(r"\b(unit|sfreq|montage|on_nan)=(?:'([^']+)'|([\w.]+))")


def _in_options(text: str) -> str:
    """A message of the library with its arguments as options: ``unit='uV'`` is ``--unit uV``."""
    return _PYTHON.sub(lambda found: f"--{found[1].replace('_', '-')} {found[2] or found[3]}", text)


class _Once(logging.Filter):
    """Lets a message through once, however often a file is opened, and in the words of the command line."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = _in_options(record.getMessage())
        if text in self._told:
            return False
        self._told.add(text)
        record.msg, record.args = text, ()
        return True


@contextmanager
def told_once() -> Iterator[None]:
    """While work is done, say each message of the library once."""
    from neurosig.core.log import logger

    once = _Once()
    logger.addFilter(once)
    try:
        yield
    finally:
        logger.removeFilter(once)


def answer(outcomes: list[Any], files: dict[str, Path]) -> dict[str, Any]:
    """The whole answer, JSON-like.

    Parameters
    ----------
    outcomes : list of Outcome
        Of the recordings that were given.
    files : dict of str to Path
        From `write_cohort_report`.

    Returns
    -------
    dict
        ``recordings``, and the files by name.
    """
    from neurosig.reports.cleaning_words import STATES

    return {
        "recordings": [
            {
                "subject": outcome.source.subject,
                "session": outcome.source.session,
                "task": outcome.source.task,
                "run": outcome.source.run,
                "label": outcome.source.label,
                "file": outcome.source.file,
                "replaced": outcome.replaced,
                "state": STATES.get(outcome.state, outcome.state),
                "error": _in_options(outcome.error) or None,
                "files": outcome.files,
                **{"summary": outcome.record.get("summary"), "notes": outcome.record.get("notes")},
            }
            for outcome in outcomes
        ],
        **files,
    }


def _named(outcome: Any) -> str:
    """The results' name and the file they are of; pages and records, which are passed on, hold only the first."""
    label, file = outcome.source.label, outcome.source.file
    return f"{label} ({Path(file).name})" if file else label


def show(outcomes: list[Any], cohort: dict[str, Any], files: dict[str, Path], everything: bool = False) -> None:
    """Say what came out.

    Parameters
    ----------
    outcomes : list of Outcome
        Of the recordings that were given.
    cohort : dict
        ``earlier``, how many recordings were in the folder before, and ``remarks`` on the folder.
    files : dict of str to Path
        From `write_cohort_report`.
    everything : bool
        Whether trials were cut around all events, as none were named.
    """
    from neurosig.cli import console
    from neurosig.reports.cleaning_words import lost_in_words, serious_notes

    states = Counter(outcome.state for outcome in outcomes)
    told = [f"{states['cleaned']} cleaned"]
    told += [f"{states['skipped']} found done"] if states["skipped"] else []
    told += [f"{states['left out']} left out (no events)"] if states["left out"] else []
    told += [f"{states['failed']} failed"] if states["failed"] else []
    console.say(f"{len(outcomes)} recording{'' if len(outcomes) == 1 else 's'}: {', '.join(told)}", style="bold")
    good = [outcome for outcome in outcomes if outcome.record and outcome.source.file]
    for outcome in good[:_SHOWN_FILES]:
        console.say(f"  {_named(outcome)}")
    if len(good) > _SHOWN_FILES:
        console.say(f"  ... and {len(good) - _SHOWN_FILES} more: --json names all files")
    if replaced := sum(outcome.replaced for outcome in outcomes):
        console.warn(f"{replaced} replaced an earlier cleaning in the folder (by other software, or by --overwrite)")
    done = [outcome.record["summary"] for outcome in outcomes if outcome.record]
    if done:
        kept, cut = sum(one["trials_kept"] for one in done), sum(one["trials"] for one in done)
        filled, left = (sum(len(one[f"channels_{what}"]) for one in done) for what in ("interpolated", "left_bad"))
        records = [outcome.record for outcome in outcomes if outcome.record]
        names = list(dict.fromkeys(name for record in records for name in record["events"]))
        first, last = records[0]["options"]["tmin"], records[0]["options"]["tmax"]
        why = " (all events: --events was not given)" if everything else ""
        console.say(f"  cut around            {', '.join(names[:8])}, {first:g} to {last:g} s{why}")
        lost = lost_in_words(sum(one.get("trials_lost", 0) for one in done))
        console.say(f"  trials kept           {kept} of {cut}{lost}")
        console.say(f"  channels interpolated {filled} of {sum(one['channels'] for one in done)}")
        if left:
            console.say(f"  channels left bad     {left}: as recorded, in info['bads']")
        console.say(f"  components removed    {sum(len(one['components_removed']) for one in done)}")
    held = [outcome for outcome in outcomes if outcome.record]
    for note in serious_notes([one.record["notes"] for one in held], [one.source.label for one in held]):
        console.warn(note)
    for remark in cohort["remarks"]:
        console.warn(remark)
    for state in ("left out", "failed"):
        those = [outcome for outcome in outcomes if outcome.state == state]
        for outcome in those[:_SHOWN_FAILURES]:
            console.warn(f"{state}: {_named(outcome)}: {_in_options(outcome.error)}")
        if len(those) > _SHOWN_FAILURES:
            console.warn(f"{len(those) - _SHOWN_FAILURES} more {state}: see {files['record']}")
    earlier = f" (with {cohort['earlier']} of earlier calls)" if cohort["earlier"] else ""
    console.say(f"report: {files['report']}{earlier}")
    console.say(f"table:  {files['table']}")
    if states["left out"] and everything:
        console.note("recordings at rest are cut into windows: a call of their own, with --window 2 and another --out")
    if states["failed"]:
        console.note("next: mend what failed and give the same command again; what is done is skipped")
    elif len({outcome.source.task for outcome in outcomes if outcome.record}) > 1:
        console.note("next: a benchmark is of one task: clean the files of each into a folder of its own (--out)")
    elif done and len(names) > 1:
        console.note(f"next: {console.program()} benchmark --dataset {shlex.quote(str(files['report'].parent))}")
