"""Cleaning many recordings: in parallel, one in memory a worker, taken up where it stopped, one failure alone.

Each recording becomes a group of files with names after BIDS derivatives::

    sub-1/ses-0/eeg/sub-1_ses-0_run-0_desc-faster_epo.fif      cleaned trials
                    sub-1_ses-0_run-0_desc-faster_ave.fif      their average for each event
                    sub-1_ses-0_run-0_desc-faster_report.html  what was removed and why
                    sub-1_ses-0_run-0_desc-faster_epo.json     the same for machines

Each file is written under another name and renamed, the JSON file last: where it is and carries the key of this work
(the recording's content, the options, the software's versions and source), the work is done. Where it tells of another
recording, nothing is touched: one person's results never take the place of another's.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from neurosig._version import __version__
from neurosig.core.errors import NeurosigError, NoEventsError, UsageError
from neurosig.core.files import atomic_write, check_writable, digest
from neurosig.core.locks import exclusive
from neurosig.core.log import logger
from neurosig.core.log import progress as progress_bar
from neurosig.preprocessing.cleaning import CleaningOptions, clean_raw
from neurosig.preprocessing.cleaning_cohort import find_cohort_outliers, refuse_other_options
from neurosig.preprocessing.cleaning_records import (
    Outcome,
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

__all__ = ["Outcome", "Source", "find_cohort_outliers", "preprocess", "sources_of", "sources_of_dataset"]


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
        Clean again what is there, replace results of another recording under the same name, and write into a folder
        whose other recordings were cleaned with other options.
    report : callable, optional
        Called with the cleaning, its record and the place of the page, where the signals still are in memory; such as
        `neurosig.reports.cleaning.write_recording_report`.
    progress : bool, optional
        Show a progress bar; None shows it on a terminal.

    Returns
    -------
    list of Outcome
        In the order of `sources`. One that fails does not stop the others, nor one without events, which is left out.
        Where the folder holds another recording under the same name (by its content), this one fails, unless
        `overwrite`; what is there stays.

    Raises
    ------
    UsageError
        There is nothing to clean, two recordings would be stored under one name, the folder is one that recordings lie
        in, or what it holds was cleaned with other options and `overwrite` is not said.
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
    software = versions()  # once, so that all are made by the same, whatever happens to the files meanwhile
    work = (
        delayed(_clean_one)(place, source, options, out, overwrite, report, software)
        for place, source in enumerate(sources)
    )
    # handed out one by one: what waits is a path, what is worked on is one recording a process
    done: dict[int, Outcome] = {}
    pool = Parallel(n_jobs=n_jobs, return_as="generator_unordered", pre_dispatch="n_jobs")
    try:
        with exclusive(out, "neurosig preprocess"):
            _describe(out)
            if not overwrite:
                refuse_other_options(out, sources, options)
            made = progress_bar(pool(work), total=len(sources), desc="cleaning", unit="recording", show=progress)
            done.update(made)  # as they come: Ctrl-C leaves those that are there
    except KeyboardInterrupt:
        logger.warning("stopped after %d of %d recordings; what is done is stored", len(done), len(sources))
        raise
    except TerminatedWorkerError as error:
        raise NeurosigError(
            "a worker was stopped from outside, most often for want of memory; what is finished is stored: give the "
            "same command with fewer jobs to go on"
        ) from error
    return [done[place] for place in range(len(sources))]


def _clean_one(
    place: int,
    source: Source,
    options: CleaningOptions,
    out: Path,
    overwrite: bool,
    report: Report | None,
    software: Mapping[str, str],
) -> tuple[int, Outcome]:
    files = files_of(source, out, report is not None)
    try:
        whose = digest(source.identity(), length=64)
        content = digest(whose, source.reading(), length=64)
        key = digest(software, options.to_dict(), content, source.label, files["record"].name)
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
        cleaned = clean_raw(source.read(), options, source.on_nan, source.montage)
        record = {"recording": whose, "key": key, **record_of(source, cleaned, options, content, software)}
        written = store(cleaned, record, files, report)
        return place, Outcome(source, "cleaned", written, record, replaced=replaced)
    except MemoryError:
        return place, Outcome(source, "failed", error="not enough memory; use fewer jobs or a lower rate")
    except NoEventsError as error:
        return place, Outcome(source, "left out", error=_anonymous(str(error), source))
    except NeurosigError as error:
        return place, Outcome(source, "failed", error=_anonymous(str(error), source))
    except Exception as error:  # one recording that meets a defect must not stop the others
        told = _anonymous(f"internal error: {type(error).__name__}: {error}", source)
        return place, Outcome(source, "failed", error=told, trace=traceback.format_exc())


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
