"""Cleaning many recordings: in parallel, one in memory a worker, taken up where it stopped, one failure alone.

Each recording becomes a group of files with names after BIDS derivatives::

    sub-1/ses-0/eeg/sub-1_ses-0_run-0_desc-faster_epo.fif      cleaned trials
                    sub-1_ses-0_run-0_desc-faster_ave.fif      their average for each event
                    sub-1_ses-0_run-0_desc-faster_report.html  what was removed and why
                    sub-1_ses-0_run-0_desc-faster_epo.json     the same for machines

Each file is written under another name and renamed, the JSON file last: where it is and carries the key of this work
(the recording's content, the options, the versions), the work is done. Where it tells of another recording, nothing is
touched: one person's results never take the place of another's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig._version import __version__
from neurosig.core.errors import NeurosigError, UsageError
from neurosig.core.files import atomic_write, check_writable, digest
from neurosig.core.locks import exclusive
from neurosig.core.log import progress as progress_bar
from neurosig.preprocessing.cleaning import CleaningOptions, clean_raw
from neurosig.preprocessing.cleaning_records import (
    Report,
    files_of,
    finished,
    held_by_another,
    record_of,
    store,
    sweep,
    versions,
)
from neurosig.preprocessing.cleaning_sources import Source, sources_of, sources_of_dataset

if TYPE_CHECKING:
    from neurosig.preprocessing.faster_outliers import Outliers

__all__ = ["Outcome", "Source", "find_cohort_outliers", "preprocess", "sources_of", "sources_of_dataset"]


@dataclass(frozen=True)
class Outcome:
    """What became of one recording.

    Parameters
    ----------
    source : Source
        The recording.
    state : {"cleaned", "skipped", "failed"}
        Cleaned now; found clean from an earlier call; or not possible.
    files : dict of str to Path
        ``epochs``, ``average``, ``record`` and, where one was written, ``report``.
    record : dict
        The content of the JSON file.
    error : str
        Why it failed, in one line, without the file's name (`Source.file` has it).
    replaced : bool
        Whether it took the place of an earlier cleaning: of the same recording with other options or versions, or, with
        `overwrite`, of whatever was there.
    """

    source: Source
    state: str
    files: Mapping[str, Path] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    replaced: bool = False


def preprocess(
    sources: Sequence[Source],
    options: CleaningOptions,
    out: str | Path,
    *,
    n_jobs: int = 1,
    overwrite: bool = False,
    report: Report | None = None,
    progress: bool | None = None,
) -> list[Outcome]:
    """Clean recordings and store them.

    Parameters
    ----------
    sources : sequence of Source
        Recordings.
    options : CleaningOptions
        How.
    out : path
        Folder of the results.
    n_jobs : int
        Recordings cleaned at once, each by a process that holds one in memory; -1 takes all cores.
    overwrite : bool
        Clean again what is there, and replace results of another recording under the same name.
    report : callable, optional
        Called with the cleaning, its record and the place of the page, where the signals still are in memory; such as
        `neurosig.reports.cleaning.write_recording_report`.
    progress : bool, optional
        Show a progress bar; None shows it on a terminal.

    Returns
    -------
    list of Outcome
        In the order of `sources`. One that fails does not stop the others. Where the folder holds another recording
        under the same name (by its content), this one fails, unless `overwrite`; what is there stays.

    Raises
    ------
    UsageError
        There is nothing to clean, two recordings would be stored under one name, or the folder is one that recordings
        lie in.
    StorageError
        The folder cannot be written, or another call is writing to it.
    NeurosigError
        A worker was killed, most often for want of memory.
    """
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    sources = list(sources)
    if not sources:
        raise UsageError("no recordings to clean")
    _refuse_collisions(sources)
    if n_jobs == 0:
        raise UsageError("n_jobs must be the number of processes, or -1 for all cores, got 0")
    _refuse_own_folder(sources, Path(out))
    out = check_writable(out)
    work = (delayed(_clean_one)(place, source, options, out, overwrite, report) for place, source in enumerate(sources))
    # handed out one by one: what waits is a path, what is worked on is one recording a process
    pool = Parallel(n_jobs=n_jobs, return_as="generator_unordered", pre_dispatch="n_jobs")
    try:
        with exclusive(out, "neurosig preprocess"):
            _describe(out)
            made = progress_bar(pool(work), total=len(sources), desc="cleaning", unit="recording", show=progress)
            done = dict(made)
    except TerminatedWorkerError as error:
        raise NeurosigError(
            "a worker was stopped from outside, most often for want of memory; what is finished is stored: give the "
            "same command with fewer jobs to go on"
        ) from error
    return [done[place] for place in range(len(sources))]


def find_cohort_outliers(outcomes: Sequence[Outcome], options: CleaningOptions) -> tuple[Outliers | None, str]:
    """Stage 5: subjects whose average is an outlier.

    Parameters
    ----------
    outcomes : sequence of Outcome
        From `preprocess`; those that failed do not count.
    options : CleaningOptions
        Variant, threshold and rounds.

    Returns
    -------
    Outliers or None
        The subjects, by the average over all their cleaned trials.
    str
        Why there is no answer, or what to know about it; empty where there is nothing to say.
    """
    import warnings

    import mne

    from neurosig.preprocessing.faster import find_outlier_subjects

    averages: dict[str, list[mne.Evoked]] = {}
    for outcome in outcomes:
        if outcome.state == "failed":
            continue
        for evoked in mne.read_evokeds(outcome.files["average"], verbose="error"):
            averages.setdefault(outcome.source.subject, []).append(evoked)
    if len(averages) < 2:
        return None, "one subject has no others to be compared with"
    every = [evoked for found in averages.values() for evoked in found]
    shared = set(every[0].ch_names).intersection(*(evoked.ch_names for evoked in every))
    common = [name for name in every[0].ch_names if name in shared]
    if len({(len(evoked.times), evoked.info["sfreq"]) for evoked in every}) > 1 or not common:
        return None, "the subjects' averages differ in rate, length or channels: they cannot be compared"
    subjects = []
    for found in averages.values():
        for evoked in found:
            evoked.info["bads"] = []
            evoked.pick(common, verbose="error")
        subjects.append(mne.combine_evoked(found, "nave") if len(found) > 1 else found[0])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        outliers = find_outlier_subjects(
            subjects, names=list(averages), variant=options.variant, threshold=options.threshold,
            max_iter=options.max_iter or 1,
        )  # fmt: skip
    return outliers, "; ".join(dict.fromkeys(str(warning.message) for warning in said))


def _clean_one(
    place: int, source: Source, options: CleaningOptions, out: Path, overwrite: bool, report: Report | None
) -> tuple[int, Outcome]:
    files = files_of(source, out, report is not None)
    try:
        whose = digest(source.identity(), length=64)
        content = digest(whose, source.reading(), length=64)
        key = digest(__version__, versions(), options.to_dict(), content, source.label, files["record"].name)
        if not overwrite and (record := finished(files, key)) is not None:
            return place, Outcome(source, "skipped", files, record)
        there = held_by_another(files, whose)
        if there and not overwrite:
            raise UsageError(
                f"what the output folder holds under this name {there}, and was left as it is: use another folder, "
                "name the files apart (sub-01_run-1), or say overwrite (--overwrite) to replace it"
            )
        replaced = files["record"].exists()
        sweep(files)
        cleaned = clean_raw(source.read(), options)
        record = {"recording": whose, "key": key, **record_of(source, cleaned, options, content)}
        store(cleaned, record, files, report)
        return place, Outcome(source, "cleaned", files, record, replaced=replaced)
    except MemoryError:
        return place, Outcome(source, "failed", error="not enough memory; use fewer jobs or a lower rate")
    except NeurosigError as error:
        return place, Outcome(source, "failed", error=_anonymous(str(error), source))
    except Exception as error:  # one recording that meets a defect must not stop the others
        return place, Outcome(
            source, "failed", error=_anonymous(f"internal error: {type(error).__name__}: {error}", source)
        )


def _describe(out: Path) -> None:
    """What BIDS asks of a folder of derivatives."""
    text = {
        "Name": "Cleaned recordings",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "neurosig preprocess", "Version": __version__}],
    }
    path = out / "dataset_description.json"
    content = json.dumps(text, indent=2) + "\n"
    if path.exists():
        if '"neurosig preprocess"' not in path.read_text(encoding="utf-8", errors="replace"):
            raise UsageError(f"{out} is a BIDS dataset of its own: choose another folder for the cleaned recordings")
        return
    atomic_write(path, content)


def _refuse_own_folder(sources: Sequence[Source], out: Path) -> None:
    """Results among the recordings would make a derivative of a folder of originals, and be read as recordings."""
    place = out.resolve()
    for source in sources:
        if source.recording is None:
            continue
        path = source.recording.path.resolve()
        if place == path or place in path.parents or (path.is_dir() and path in place.parents):
            raise UsageError(
                f"the recording {path.name} lies in the output folder {out}: choose a folder of its own for the "
                "cleaned recordings"
            )


def _refuse_collisions(sources: Sequence[Source]) -> None:
    seen: dict[str, Source] = {}
    for source in sources:
        other = seen.setdefault(source.label.lower(), source)
        if other is not source:
            raise UsageError(
                f"two recordings would be stored as {source.label}: {_told(other)} and {_told(source)}; rename one "
                "(sub-01_run-1), or write to two folders"
            )


def _told(source: Source) -> str:
    return source.file or f"subject {source.subject!r}"


def _anonymous(text: str, source: Source) -> str:
    """An error without the file's path, on one line: pages and records are passed on."""
    if source.recording is not None:
        path = source.recording.path
        for name in (str(path), str(path.parent), path.name, path.name.split(".")[0]):
            if len(name) > 3:
                text = text.replace(name, "the recording")
    return " ".join(text.split())
