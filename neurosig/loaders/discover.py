"""Which recordings a path stands for: a file, a list, a folder or a BIDS dataset, and whose they are."""

from __future__ import annotations

import dataclasses
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.log import logger
from neurosig.loaders.epoch_files import EPOCHS_NAME, expand_epochs, holds_epochs
from neurosig.loaders.formats import OF_FMRI, SUFFIXES
from neurosig.loaders.recordings import ReadOptions, Recording
from neurosig.loaders.tasks import apart_by_task, task_of
from neurosig.loaders.trials import expand_trials

__all__ = ["bids_root_of", "discover", "entities", "natural", "told_as"]

_PATTERNS = (
    re.compile(
        r"(?:^|_)sub-(?P<subject>[A-Za-z0-9]+)(?:_ses-(?P<session>[A-Za-z0-9]+))?(?:_.*?run-(?P<run>[A-Za-z0-9]+))?"
    ),
    re.compile(r"^S(?P<subject>\d{3})R(?P<run>\d{2})\b"),
    re.compile(
        r"(?<![A-Za-z])(?:subject|subj|sub|proband|participant|patient|vp|s)[-_]?(?P<subject>\d+)(?:[-_]?(?:session|sess|ses)[-_]?(?P<session>\d+))?"
        r"(?:[-_]?(?:run|r)?[-_]?(?P<run>\d+))?(?![A-Za-z0-9])",
        re.IGNORECASE,
    ),
)
# what may stand anywhere in a name, or be the name of a folder
_TOKENS = {
    "session": re.compile(r"(?<![A-Za-z])(?:session|sess|ses)[-_]?(\d+)(?!\d)", re.IGNORECASE),
    "run": re.compile(r"(?<![A-Za-z])(?:run|r)[-_]?(\d+)(?![A-Za-z0-9])", re.IGNORECASE),
}
_FOLDER = re.compile(
    r"(?:[-_]?(?:subject|subj|sub|proband|participant|patient|vp|s|session|sess|ses|run|r)[-_]?[A-Za-z]*\d+)+",
    re.IGNORECASE,
)
_NOT_RAW = re.compile(r"[-_](ave|cov|eve|fwd|inv|src|trans|ica|proj|annot)\.fif(\.gz)?$", re.IGNORECASE)
_PART = re.compile(r"(?P<stem>.+)-\d+(?P<suffix>\.fif(\.gz)?)", re.IGNORECASE)
_BIDS_PART = re.compile(r"(?P<before>.+)_split-(?P<part>\d+)(?P<after>_.+\.fif(\.gz)?)", re.IGNORECASE)
_BIDS_SUFFIXES = ("eeg", "meg", "ieeg")


def discover(
    path: str | Path | Iterable[str | Path],
    *,
    options: ReadOptions | None = None,
    bids: Mapping[str, Any] | None = None,
    by_task: bool = False,
) -> list[Recording]:
    """List the recordings that a path stands for.

    Parameters
    ----------
    path : str, Path, or iterable of them
        A file, several files, a folder, or a BIDS root. In a folder without BIDS, all files of one kind are taken (of
        the kind there is most of, and a log line says what was left aside); epochs files (``*_epo.fif``) where there
        are no recordings, as in what ``neurosig preprocess`` writes.
    options : ReadOptions, optional
        Given to each recording.
    bids : dict, optional
        Entities that choose from a BIDS dataset, such as ``dict(task="rest", subject=["01", "02"])``.
    by_task : bool
        Tell files of the same subject, session and run apart by their task instead of refusing them: by the entity of
        BIDS names, else by the words beside subject, session and run, such as ``visual_p300_subject1_session1_run1``
        and ``visual_n170_subject1_session1_run1``. A log line says so.

    Returns
    -------
    list of Recording
        Sorted by subject, session, task and run. They come from BIDS entities, from names like ``S001R04``,
        ``subject1_session2_run3``, or from the arrays of a trial file; files whose name tells nothing are the runs of
        one subject, in the order of their names (of a list: in its order).

    Raises
    ------
    InputError
        Nothing is there, or two files would be the same subject, session and run.
    """
    options = options or ReadOptions()
    if isinstance(path, str | os.PathLike):
        place = Path(path)
        if not place.exists():
            raise InputError(f"no such file or folder: {place}; check the path")
        if place.is_dir() and (place / "dataset_description.json").is_file():
            found = _from_bids(place, options, dict(bids or {}))
        elif bids:
            raise UsageError(f"bids selects from a BIDS root, {place} is none: it has no dataset_description.json")
        else:
            files = [place] if place.is_file() or _is_recording(place) else _of_one_kind(place)
            found = _from_files(_without_continuations(files), options)
            _warn_of_numbers(found)
    else:
        files = [Path(item) for item in path]
        if not files:
            raise InputError("no recordings: the list of files is empty")
        if absent := [str(file) for file in files if not file.exists()]:
            raise InputError(f"no such file: {listed(absent, 3)}; check the paths")
        found = [recording for file in _without_continuations(files) for recording in _from_files([file], options)]
        found = _number_unnamed(found)
    found = [item if item.task else dataclasses.replace(item, task=task_of(item.path)) for item in found]
    if by_task:
        found = apart_by_task(found, _words)
    _refuse_duplicates(found, by_task)
    return sorted(found, key=lambda item: tuple(map(natural, (item.subject, item.session, item.task or "", item.run))))


def entities(path: Path) -> dict[str, str]:
    """Subject, session and run as far as a file's name tells, and the folders it is in; numbers lose leading zeros."""
    found = _named(path.name) or _named(path.parent.name)
    for folder in (path.parent.name, path.parent.parent.name):
        if _FOLDER.fullmatch(folder):
            found = {**_named(folder), **found}  # what is nearer to the file goes before
    return found


def _named(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pattern in _PATTERNS:
        if match := pattern.search(text):
            bids = pattern is _PATTERNS[0]
            found = {key: value if bids else str(int(value)) for key, value in match.groupdict().items() if value}
            break
    for key, pattern in _TOKENS.items():
        if key not in found and (match := pattern.search(text)):
            found[key] = str(int(match[1]))
    return found


def told_as(recordings: list[Recording]) -> str:
    """How files were taken, ``6 files taken as 2 subjects, 3 runs each``."""
    subjects = {item.subject for item in recordings}
    sessions = {(item.subject, item.session) for item in recordings}
    runs = {(item.subject, item.session, item.run) for item in recordings}
    parts = [_count(len({item.path for item in recordings}), "file") + " taken as " + _count(len(subjects), "subject")]
    if len(sessions) > len(subjects):
        parts.append(_each(Counter(subject for subject, _ in sessions), "session"))
    parts.append(_each(Counter(place[:2] for place in runs), "run"))
    return ", ".join(parts)


def _each(counts: Counter[Any], what: str) -> str:
    low, high = min(counts.values()), max(counts.values())
    text = _count(low, what) if low == high else f"{low} to {high} {what}s"
    return f"{text} each" if len(counts) > 1 else text


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _warn_of_numbers(recordings: list[Recording]) -> None:
    """Numbers that tell files apart, and are neither subject, session nor run, may well be people."""
    alike: dict[str, list[Path]] = {}
    for path in dict.fromkeys(item.path for item in recordings if item.select is None):
        if "subject" not in entities(path):
            alike.setdefault(re.sub(r"\d+", "#", path.name), []).append(path)
    for files in alike.values():
        named = [entities(path) for path in files]
        for column in zip(*(re.findall(r"\d+", path.name) for path in files), strict=True):
            values = [str(int(number)) for number in column]
            if len(set(values)) > 1 and not any(values == [name.get(key) for name in named] for key in _TOKENS):
                warnings.warn(
                    f"the numbers in {files[0].name}, {files[1].name}{', ...' if len(files) > 2 else ''} were not "
                    f"understood: {told_as(recordings)}; if they are people, name the files subject1_run1, or write "
                    "a manifest",
                    stacklevel=3,
                )
                return


def bids_root_of(path: Path) -> Path | None:
    """The BIDS root above a file with a BIDS name, or None."""
    if not path.name.startswith("sub-"):
        return None
    return next((folder for folder in list(path.parents)[:4] if (folder / "dataset_description.json").is_file()), None)


def _is_recording(folder: Path) -> bool:
    return folder.name.lower().endswith((".ds", ".mff", ".mefd"))


def _suffix(path: Path) -> str | None:
    name = path.name.lower()
    if name.startswith(".") or _NOT_RAW.search(name):
        return None
    return next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(suffix)), None)


def _of_one_kind(folder: Path) -> list[Path]:
    files = [path for path in sorted(_below(folder)) if _suffix(path) and (path.is_file() or _is_recording(path))]
    if not files:
        raise InputError(
            f"no recordings in {folder}: expected files named {', '.join(SUFFIXES)}, or a BIDS dataset; {OF_FMRI}"
        )
    # trials that were cut before are taken only where the recordings themselves are not
    files = [path for path in files if not EPOCHS_NAME.search(path.name)] or files
    kinds = Counter(_suffix(path) for path in files)
    kind = max(kinds, key=lambda suffix: kinds[suffix])
    if len(kinds) > 1:
        aside = ", ".join(f"{count} {suffix}" for suffix, count in kinds.items() if suffix != kind)
        logger.warning(
            "%s: took %d %s files, left aside %s; give the files themselves to choose", folder, kinds[kind], kind, aside
        )
    return [path for path in files if _suffix(path) == kind]


def _below(folder: Path) -> Iterator[Path]:
    """What is in a folder and below, through links too, each folder once; nothing hidden."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in [*folders, *files] if not name.startswith("."))


def _without_continuations(files: list[Path]) -> list[Path]:
    """Leave out the later parts of FIF recordings that were split at 2 GB: mne reads them with their first part."""
    places = {path.resolve(): path for path in files}
    later: set[Path] = set()
    for path in files:
        head = next((place for name in _heads(path.name) if (place := path.with_name(name)).resolve() in places), None)
        # a name with "-epo-1" is that of no first part, whereas a recording may well be called run-2
        if head is not None and (EPOCHS_NAME.search(path.name) or path.resolve() in _parts(head)):
            later.add(path)
    if later:
        logger.info("read with their first parts: %s", ", ".join(sorted(path.name for path in later)))
    return [path for path in files if path not in later]


def _heads(name: str) -> list[str]:
    """What the first part of a split FIF file would be called, if the file of this name is a later one."""
    if match := _PART.fullmatch(name):
        return [match["stem"] + match["suffix"]]
    if match := _BIDS_PART.fullmatch(name):
        width = len(match["part"])
        return [f"{match['before']}_split-{1:0{width}}{match['after']}"] if int(match["part"]) > 1 else []
    return []


def _parts(head: Path) -> set[Path]:
    """The files that a FIF recording goes on in, as it says itself; none where it cannot be read (told later)."""
    import mne

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = mne.io.read_raw_fif(head, on_split_missing="ignore", verbose="error")
    except Exception:  # readers fail on broken files with everything from KeyError to struct.error
        return set()
    return {Path(name).resolve() for name in raw.filenames[1:] if name}


def _from_files(files: list[Path], options: ReadOptions) -> list[Recording]:
    found = []
    for path in files:
        named = entities(path)
        if path.name.lower().endswith(".npz"):
            found += expand_trials(path, options, subject=named.get("subject"))
            continue
        place = (named.get("subject", "1"), named.get("session", "0"), named.get("run", "0"))
        if path.name.lower().endswith((".fif", ".fif.gz")) and holds_epochs(path):
            found += expand_epochs(path, place, options)
        else:
            found.append(Recording(path, *place, bids_root=bids_root_of(path), options=options))
    return _number_unnamed(found)


def _number_unnamed(found: list[Recording]) -> list[Recording]:
    """Give files whose names tell nothing the run numbers 0, 1, ... of one subject."""
    nowhere = ("1", "0", "0")  # what the metadata of epochs tell stays
    unnamed = [
        item
        for item in found
        if item.select is None and (item.subject, item.session, item.run) == nowhere and not entities(item.path)
    ]
    runs = {id(item): str(place) for place, item in enumerate(unnamed)}
    if len(unnamed) > 1:
        logger.info("%d files without subject or run in their names are taken as runs of one subject", len(unnamed))
    return [dataclasses.replace(item, run=runs[id(item)]) if id(item) in runs else item for item in found]


def _from_bids(root: Path, options: ReadOptions, chosen: dict[str, Any]) -> list[Recording]:
    import mne_bids

    known = {
        "subject",
        "session",
        "task",
        "acquisition",
        "run",
        "processing",
        "recording",
        "space",
        "split",
        "description",
        "datatype",
    }
    if unknown := sorted(set(chosen) - known):
        raise UsageError(f"bids takes {', '.join(sorted(known))}, got {', '.join(unknown)}")
    keys = {
        f"{key}s": [str(item) for item in (value if isinstance(value, list | tuple) else [value])]
        for key, value in chosen.items()
    }
    keys.setdefault("datatypes", list(_BIDS_SUFFIXES))
    paths = mne_bids.find_matching_paths(root, suffixes=list(_BIDS_SUFFIXES), **keys)
    paths = [place for place in paths if _suffix(Path(place.fpath)) or _is_recording(Path(place.fpath))]
    heads = set(_without_continuations([Path(place.fpath) for place in paths]))
    paths = [place for place in paths if Path(place.fpath) in heads]
    if not paths and (cut := _epochs_of_derivatives(root, chosen)):
        return _from_files(_without_continuations(cut), options)
    if not paths:
        wanted = ", ".join(f"{key}={value}" for key, value in chosen.items()) or "any EEG, MEG or iEEG"
        subjects = listed(mne_bids.get_entity_vals(root, "subject")) or "none"
        raise InputError(f"no recordings in the BIDS dataset {root} for {wanted}; its subjects are {subjects}")
    return [
        Recording(
            Path(place.fpath),
            place.subject or "1",
            place.session or "0",
            place.run or "0",
            bids_root=root,
            options=options,
        )
        for place in paths
    ]


def _epochs_of_derivatives(root: Path, chosen: dict[str, Any]) -> list[Path]:
    """Files of cut trials in a folder of derivatives, of the entities that were chosen."""
    import mne_bids

    found = []
    for path in sorted(root.rglob("sub-*.fif*")):
        if not EPOCHS_NAME.search(path.name) or "derivatives" in path.relative_to(root).parts:
            continue
        stated = mne_bids.get_entities_from_fname(path, on_error="ignore") | {"datatype": path.parent.name}
        wanted = {key: value if isinstance(value, list | tuple) else [value] for key, value in chosen.items()}
        if all(stated.get(key) in map(str, values) for key, values in wanted.items()):
            found.append(path)
    return found


def _refuse_duplicates(found: list[Recording], by_task: bool) -> None:
    seen: dict[tuple[str, str, str, str | None], Recording] = {}
    for item in found:
        key = (item.subject, item.session, item.run, item.task if by_task else None)
        if key in seen:
            raise InputError(
                f"{seen[key].path.name} and {item.path.name} are both subject {key[0]}, session {key[1]}, run "
                f"{key[2]}: they would be "
                "mixed up; give the files of one task only, or name them subject1_session1_run1"
            )
        seen[key] = item


def _words(path: Path) -> str:
    """Letters and digits of a name that tells a subject, without subject, session, run and endings."""
    if "subject" not in entities(path):  # who is who is not known: the words may well be people
        return ""
    text = path.name[: -len(suffix)] if (suffix := _suffix(path)) else path.stem
    for pattern in (*_PATTERNS, *_TOKENS.values()):
        text = pattern.sub("_", text)
    text = re.sub(r"[-_](raw|epo|eeg|meg|ieeg)(?=$|[-_])", "", text, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9]", "", text)


def natural(text: str) -> tuple[int, int, str]:
    """Key that sorts names, numbers as numbers and before words."""
    return (0, int(text), "") if text.isdigit() else (1, 0, text)
