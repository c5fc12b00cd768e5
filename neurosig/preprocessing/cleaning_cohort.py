"""All that lies in a folder of cleaned recordings: that it was made one way, what was there before, who stands out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import UsageError
from neurosig.preprocessing.cleaning_options import CleaningOptions
from neurosig.preprocessing.cleaning_records import ENDINGS, Outcome, all_there, how_read, versions
from neurosig.preprocessing.cleaning_sources import Source
from neurosig.preprocessing.faster_signals import DATA_TYPES

if TYPE_CHECKING:
    import mne

    from neurosig.preprocessing.faster_outliers import Outliers

__all__ = [
    "earlier_outcomes", "find_cohort_outliers", "made_by_other_software", "refuse_other_options", "whole_cohort",
]  # fmt: skip


def refuse_other_options(out: Path, sources: Sequence[Source], options: CleaningOptions) -> None:
    """Refuse a folder whose recordings were cleaned in another way.

    Parameters
    ----------
    out : Path
        The folder of the results.
    sources : sequence of Source
        What is to be cleaned.
    options : CleaningOptions
        How.

    Raises
    ------
    UsageError
        With the options that differ.
    """
    readings = [how_read(source) for source in sources]
    wanted = _plain(options.to_dict())
    differing: dict[str, tuple[Any, Any]] = {}
    n_other = 0
    for _, record in _records(out):
        there = _plain(CleaningOptions().to_dict()) | record["options"]  # an older record may lack an option
        found = {name: (there[name], now) for name, now in wanted.items() if there.get(name) != now}
        reading = record.get("reading")
        if reading is not None and reading not in readings:
            now = readings[0]
            found |= {name: (reading.get(name), now[name]) for name in now if reading.get(name) != now[name]}
        differing |= found
        n_other += bool(found)
    if not differing:
        return
    told = [f"{name} {_say(there)} there, {_say(now)} now" for name, (there, now) in differing.items()]
    whose = "a recording that was" if n_other == 1 else f"{n_other} recordings that were"
    raise UsageError(
        f"{out} holds {whose} cleaned with other options ({'; '.join(told)}), and trials made in two ways "
        "are not comparable: give the same options, use another folder, or say overwrite (--overwrite) to clean anew "
        "what is given"
    )


def whole_cohort(
    out: str | Path, outcomes: Sequence[Outcome], options: CleaningOptions
) -> tuple[list[Outcome], list[str]]:
    """All recordings in a folder that were cleaned in one way, for a page about them.

    Parameters
    ----------
    out : path
        The folder of the results.
    outcomes : sequence of Outcome
        Of the last call.
    options : CleaningOptions
        How it cleaned.

    Returns
    -------
    list of Outcome
        These and what earlier calls left, by subject, session and run.
    list of str
        What is not alike in the folder.
    """
    earlier, others, renamed = earlier_outcomes(out, outcomes, options)
    every = sorted([*outcomes, *earlier], key=lambda outcome: _place(outcome.source))
    remarks = []
    if others:
        remarks.append(f"{_were(others)} in the folder made with other options, and not on this page")
    if renamed:
        remarks.append(
            f"{_were(renamed)} in the folder under another name too: it counts once, take the other one away"
        )
    if old := made_by_other_software(every):
        remarks.append(
            f"{_were(old)} made by another version, or other source, of the software: clean again to have all alike"
        )
    return every, remarks


def earlier_outcomes(
    out: str | Path, outcomes: Sequence[Outcome], options: CleaningOptions
) -> tuple[list[Outcome], int, int]:
    """What earlier calls with the same options left in a folder.

    Parameters
    ----------
    out : path
        The folder of the results.
    outcomes : sequence of Outcome
        Of the last call: what it cleaned or found done does not count again.
    options : CleaningOptions
        How it cleaned.

    Returns
    -------
    list of Outcome
        One for each recording whose files are all there, by subject, session and run; their state is "skipped".
    int
        Recordings in the folder that were made with other options.
    int
        Those of the last call that are there under another name as well; they do not count again.
    """
    known = {outcome.files["record"].resolve() for outcome in outcomes if outcome.record}
    same = {outcome.record["recording"] for outcome in outcomes if outcome.record}
    wanted = _plain(options.to_dict())
    found, others, renamed = [], 0, 0
    for path, record in _records(Path(out)):
        if path.resolve() in known:
            continue
        if record["options"] != wanted:
            others += 1
            continue
        if record.get("recording") in same:
            renamed += 1
            continue
        stem = path.name.removesuffix(ENDINGS["record"])
        files = {name: path.with_name(stem + ending) for name, ending in ENDINGS.items()}
        files = {name: place for name, place in files.items() if name == "record" or place.name in record["files"]}
        if {"epochs", "average"} <= set(files) and all_there(record, files):
            source = Source(str(record["subject"]), str(record["session"]), str(record["run"]), task=record.get("task"))
            found.append(Outcome(source, "skipped", files, record))
    return found, others, renamed


def made_by_other_software(outcomes: Sequence[Outcome]) -> int:
    """How many of the cleaned recordings another version, or other source, of the software made."""
    now = versions()
    return sum(outcome.record["versions"] != now for outcome in outcomes if outcome.record)


def find_cohort_outliers(outcomes: Sequence[Outcome], options: CleaningOptions) -> tuple[Outliers | None, str]:
    """Stage 5: subjects whose average is an outlier.

    Parameters
    ----------
    outcomes : sequence of Outcome
        From `preprocess`; those without results do not count.
    options : CleaningOptions
        Variant, threshold and rounds.

    Returns
    -------
    Outliers or None
        The subjects, by the average over all their cleaned trials and the channels that stay bad in no recording.
    str
        Why there is no answer, or what to know about it; empty where there is nothing to say.
    """
    import warnings

    import mne

    from neurosig.preprocessing.faster import find_outlier_subjects

    tasks = sorted({outcome.source.task or "none" for outcome in outcomes if outcome.record})
    if len(tasks) > 1:
        return None, (
            f"recordings of several tasks ({listed(tasks)}): what differs may be the task; to compare subjects, clean "
            "each task into a folder of its own"
        )
    averages: dict[str, list[mne.Evoked]] = {}
    for outcome in outcomes:
        if not outcome.record:
            continue
        for evoked in mne.read_evokeds(outcome.files["average"], verbose="error"):
            averages.setdefault(outcome.source.subject, []).append(evoked)
    if len(averages) < 2:
        return None, "one subject has no others to be compared with"
    every = [evoked for found in averages.values() for evoked in found]
    shared = set(every[0].ch_names).intersection(*(evoked.ch_names for evoked in every))
    bads = dict.fromkeys(name for evoked in every for name in evoked.info["bads"] if name in shared)
    common = [name for name in every[0].ch_names if name in shared and name not in bads]
    if len({(len(evoked.times), evoked.info["sfreq"]) for evoked in every}) > 1 or not shared:
        return None, "the subjects' averages differ in rate, length or channels: they cannot be compared"
    kinds = zip(every[0].ch_names, every[0].get_channel_types(), strict=True)
    if not any(kind in DATA_TYPES and name in common for name, kind in kinds):
        return None, "every channel is marked bad in a recording: the subjects cannot be compared"
    subjects = []
    for found in averages.values():
        for evoked in found:
            evoked.pick(common, verbose="error")
        subjects.append(mne.combine_evoked(found, "nave") if len(found) > 1 else found[0])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        outliers = find_outlier_subjects(
            subjects, names=list(averages), variant=options.variant, threshold=options.threshold,
            max_iter=options.max_iter or 1,
        )  # fmt: skip
    notes = [str(warning.message) for warning in said]
    if bads:
        notes.insert(0, f"marked bad in a recording and left out of the comparison: {listed(bads)}")
    return outliers, "; ".join(dict.fromkeys(notes))


def _records(out: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The records in a folder of results; damaged ones are passed over, as that work is done again."""
    for path in sorted(out.glob(f"sub-*/ses-*/eeg/*{ENDINGS['record']}")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(record["options"], dict) and isinstance(record["files"], dict):
                yield path, record
        except (OSError, ValueError, KeyError, TypeError):
            continue


def _place(source: Source) -> list[tuple[int, int, str]]:
    """Places in the order that people expect: run 10 after run 9."""
    place = (source.subject, source.session, source.task or "", source.run)
    return [(0, int(text), "") if text.isdigit() else (1, 0, text) for text in place]


def _were(n: int) -> str:
    return "1 recording was" if n == 1 else f"{n} recordings were"


def _plain(stated: Any) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(stated, default=str))


def _say(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
