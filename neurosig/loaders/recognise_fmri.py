"""Paths that hold fMRI: images, tables of region series, folders of them and BIDS derivatives, as ad-hoc datasets."""

from __future__ import annotations

import dataclasses
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, NoEventsError
from neurosig.core.log import logger
from neurosig.core.signals import Processing, SignalDataset
from neurosig.loaders.fmri_files import RunFile, find_runs, is_series, kind_of
from neurosig.loaders.recordings import Recording

if TYPE_CHECKING:
    from neurosig.loaders.manifest import Manifest

__all__ = ["describe_fmri", "holds_fmri", "inside"]

_SURE = (".nii", ".nii.gz", ".func.gii", ".1d")
_MAYBE = (".tsv", ".tsv.gz", ".npy", ".mat", ".txt")  # tables, which no reader of EEG takes
_TABLES = (".tsv", ".tsv.gz", ".npy")  # of these, what a folder of series is made of
_RECORDINGS_OF_FILES = (".ds", ".mff", ".mefd")  # folders
_LOOKED_AT = 20_000  # files of a folder, before it is given up to tell what it holds
_TRIAL = (0.0, 10.0)  # seconds, where events are asked for and no span


def holds_fmri(path: Path, asked: bool = False) -> bool:
    """Whether a file or folder is to be read as fMRI rather than as EEG or MEG.

    Parameters
    ----------
    path : Path
        The file or folder.
    asked : bool
        Whether options of fMRI were given: then tables that may be anything (``.csv``, ``.npz``) are taken as such.
    """
    if path.suffix == ".zarr":
        return _stored(path) is not None
    if path.is_file():
        name = path.name.lower()
        kind = kind_of(path)
        return kind is not None and (asked or kind != "table" or name.endswith((*_SURE, *_MAYBE)) or _is_run(path))
    from neurosig.loaders.fmri_bids import is_bids
    from neurosig.loaders.formats import SUFFIXES

    if not path.is_dir():
        return False
    # images and .1D are fMRI, and tables that only fMRI comes in, unless there are recordings too, or files that may be
    # some; a folder of other tables may be anything
    either = (".npz", ".csv", ".csv.gz")
    recordings = tuple(suffix for suffix in SUFFIXES if suffix not in either)
    found, tables, mixed = asked and not is_bids(path), False, False
    for file in islice(_below(path), _LOOKED_AT):
        name = file.name.lower()
        if not asked and (name.endswith(recordings) or file.parent.suffix.lower() in _RECORDINGS_OF_FILES):
            return False
        found = found or name.endswith(_SURE)
        tables = tables or (name.endswith(_TABLES) and is_series(file))
        mixed = mixed or name.endswith(either)
    return found or (tables and not mixed)


def describe_fmri(
    path: Path,
    events: Mapping[str, Any] | Iterable[str] | None,
    changes: Mapping[str, Any],
    fmri: Mapping[str, Any] | None,
) -> Manifest:
    """A dataset of what lies there, as `neurosig.loaders.recognise.recognise` makes one of EEG.

    Raises
    ------
    InputError
        No runs are there.
    """
    from neurosig.loaders.manifest import Manifest
    from neurosig.loaders.recognise import adhoc_name

    options = {name: value for name, value in (fmri or {}).items() if value is not None}
    root = path if path.is_dir() and path.suffix != ".zarr" else path.parent
    stored = _stored(path) if path.suffix == ".zarr" else None
    derivatives, runs = (None, []) if stored else _runs(path, options)
    found = _stored_runs(path, stored) if stored else _recordings(runs, options)
    if len(found) > 1:
        logger.warning("%s: %s", path.name, _told_as(found))
    names = [events] if isinstance(events, str) else events
    mapping = dict(names) if isinstance(names, Mapping) else None if names is None else {name: name for name in names}
    cut = {name: value for name, value in changes.items() if name in ("tmin", "tmax") and value is not None}
    fields: dict[str, Any] = {
        "name": adhoc_name(path),
        "title": f"fMRI in {path.name}",
        "modality": "fmri",
        "source": {"files": [{"path": inside(file, root), "subject": "*"} for file in _files(runs) or [path]]},
        "fmri": {},
        "licence": "your own recordings",
    }
    # classes are those of people where a column of theirs is named, else kinds of events
    tables = _events_tables(runs, root) if (cut or mapping) and "labels" not in options else {}
    if tables and mapping:
        _refuse_unknown_events(mapping, tables, path.name)
    if tables:
        fields["fmri"] = {"events_table": "auto"}
        fields["processing"] = Processing(**{"tmin": _TRIAL[0], "tmax": _TRIAL[1], **cut})
        changes = {name: value for name, value in changes.items() if name not in cut}
    if mapping:
        fields["events"] = mapping
    people = root / "participants.tsv"
    if people.is_file() and derivatives is None:
        fields["fmri"] |= {"table": people.name}
    manifest = Manifest.model_validate(fields)
    manifest._data, manifest._found, manifest._derivatives = root, found, derivatives
    manifest._stored = path if stored else None
    manifest._pairs = {_first(run): run.files for run in runs if len(run.files) > 1}  # the two hemispheres of a surface
    manifest._events_tables = tables
    manifest._beside = [*tables.values(), *([people] if people.is_file() else [])]
    changed = manifest.replace(fmri=options, **changes)
    # labels that were named along with their classes keep these
    return changed if changed.events == manifest.events else changed._with({"events": mapping})


def _runs(path: Path, options: Mapping[str, Any]) -> tuple[Path | None, list[RunFile]]:
    """Root of BIDS derivatives, where it is one, and its runs."""
    from neurosig.loaders.fmri_bids import find_derivatives, is_bids

    if is_bids(path):
        return path, find_derivatives(path, task=options.get("task"), space=options.get("space"))
    with warnings.catch_warnings():
        if "table" in options:  # which names the people
            warnings.filterwarnings("ignore", message=".*names tell no subject or run")
        return None, find_runs(path)


def _stored(path: Path) -> SignalDataset | None:
    """A stored dataset, where it is of fMRI."""
    dataset = SignalDataset.from_zarr(path)
    return dataset if dataset.info.modality == "fmri" else None


def _stored_runs(path: Path, dataset: SignalDataset) -> tuple[Recording, ...]:
    columns = [dataset.metadata[name].astype(str) for name in ("subject", "session", "run")]
    rows = enumerate(zip(*columns, strict=True))
    return tuple(Recording(path, subject, session, run, select=(i,)) for i, (subject, session, run) in rows)


def _recordings(runs: Sequence[RunFile], options: Mapping[str, Any]) -> tuple[Recording, ...]:
    """The runs with their people; those of a table of people are found in the names of files."""
    from neurosig.loaders.manifest_fmri import expand_runs
    from neurosig.loaders.manifest_schema import FileEntry

    found: list[Recording] = []
    for run in runs:
        path = _first(run)
        if run.kind == "collection":
            found += expand_runs(path, FileEntry(path=path.name, subject="*"), None)
        else:
            found.append(Recording(path, run.subject, run.session, run.run, task=run.task))
    if "table" not in options or not Path(str(options["table"])).is_file():
        return tuple(found)
    from neurosig.loaders.fmri_people import read_people

    people = sorted(read_people(options["table"], options.get("key", "participant_id")).index, key=len, reverse=True)
    named = [_person(item, people) for item in found]
    places = [(item.subject, item.session) for item in named]
    return tuple(
        dataclasses.replace(item, run=str(places[:number].count(place)))
        if places.count(place) > 1 and named[number].subject != found[number].subject
        else item
        for number, (item, place) in enumerate(zip(named, places, strict=True))
    )


def _person(item: Recording, people: Sequence[str]) -> Recording:
    """A recording as that of the person of the table whose name stands in the file's, if one's does."""
    if item.select is not None or item.subject in people:
        return item
    whose = next(
        (name for name in people if re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", item.path.name)),
        None,
    )
    return item if whose is None else dataclasses.replace(item, subject=whose, run="0")


def _events_tables(runs: Sequence[RunFile], root: Path) -> dict[str, Path]:
    """Tables of events beside runs, by the run's file name; empty where no run has one.

    Raises
    ------
    InputError
        Some runs have one and some have none.
    """
    from neurosig.loaders.fmri_events import events_beside

    tables, bare = {}, []
    for run in runs:
        path = _first(run)
        table = None if run.kind == "collection" else events_beside(path, root)
        if table is None:
            bare.append(path)
        else:
            tables[path.name] = table
    if tables and bare:
        damaged = _damage(bare[0]) if len(bare) == 1 else ""
        raise InputError(
            f"{listed([path.name for path in bare], 3)}: no table of events (*_events.tsv) beside it, which "
            f"{len(tables)} other runs have; add it, or take the run away{damaged}"
        )
    return tables


def _damage(path: Path) -> str:
    """What else is wrong with an image, in parentheses; nothing where it can be read."""
    from neurosig.loaders.fmri_images import image_data, run_image

    if kind_of(path) != "nifti":
        return ""
    try:
        image_data(run_image(path)[0], path)
    except InputError as error:
        return f" ({error})"
    return ""


def _refuse_unknown_events(mapping: Mapping[str, Any], tables: Mapping[str, Path], name: str) -> None:
    from neurosig.loaders.fmri_events import refuse_unknown
    from neurosig.loaders.fmri_trials import read_events_table

    there = {kind for table in set(tables.values()) for kind in read_events_table(table)["trial_type"]}
    try:
        refuse_unknown(mapping, there)
    except NoEventsError as error:
        raise NoEventsError(f"{name}: {error}") from None


def _files(runs: Sequence[RunFile]) -> list[Path]:
    return list(dict.fromkeys(Path(file) for run in runs for file in run.files if file is not None))


def _first(run: RunFile) -> Path:
    return next(Path(file) for file in run.files if file is not None)


def inside(file: Path, root: Path) -> str:
    """Path of a file as a manifest of a folder states it; its name where it lies elsewhere."""
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name


def _is_run(path: Path) -> bool:
    from neurosig.loaders.fmri_tables import is_stored_run

    return path.suffix == ".npz" and is_stored_run(path)


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            yield Path(place) / name


def _told_as(found: Sequence[Recording]) -> str:
    """How files were taken, for the log."""
    people = list(dict.fromkeys(item.subject for item in found))
    told = f"{len(found)} runs of {len(people)} subject{'' if len(people) == 1 else 's'}"
    return f"taken as fMRI, {told}: {listed(people, 4)}"
