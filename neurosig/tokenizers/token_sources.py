"""Recordings to tokenize, or to learn a tokenizer from: files, folders, datasets, or what is held in memory."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import InputError, UsageError
from neurosig.core.trained_on import joined
from neurosig.preprocessing.cleaning_sources import Source, sources_of, sources_of_dataset

if TYPE_CHECKING:
    import mne

    from neurosig.loaders.recordings import ReadOptions

__all__ = ["HeldRecording", "named_sources", "person_of", "whom", "whose_content"]

_PIECE = 1 << 20  # samples hashed at once
_ADVICE = "give their names instead, {names} --data {folder}, or a folder for each, or the files themselves"


@dataclass(frozen=True)
class HeldRecording:
    """A recording that is open already.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording, in volts or tesla.
    name : str
        What it is called, and its subject.
    """

    raw: mne.io.BaseRaw
    name: str
    session: str = "0"
    run: str = "0"
    recording: None = None
    dataset: None = None

    @property
    def subject(self) -> str:
        """Whose it is: nothing else is known."""
        return self.name

    def identity(self) -> Any:
        """JSON-like content by which it is known again: the sum of its samples."""
        hasher = hashlib.sha256()
        step = max(1, _PIECE // max(1, len(self.raw.ch_names)))
        for start in range(0, self.raw.n_times, step):
            stop = min(start + step, self.raw.n_times)
            hasher.update(self.raw.get_data(start=start, stop=stop, verbose="error").tobytes())
        marks = [[float(onset), float(duration), str(text)] for onset, duration, text in zip(
            self.raw.annotations.onset, self.raw.annotations.duration, self.raw.annotations.description, strict=True
        )]  # fmt: skip
        return {
            "content": hasher.hexdigest(), "channels": list(self.raw.ch_names),
            "sfreq": float(self.raw.info["sfreq"]), "marks": marks,
        }  # fmt: skip

    def reading(self) -> Any:
        """How it is read: as it is."""
        return {}

    def read(self) -> mne.io.BaseRaw:
        """The recording itself."""
        return self.raw


def named_sources(
    recordings: Any,
    *,
    data: str | Path | None = None,
    subjects: Sequence[str] | None = None,
    read: ReadOptions | None = None,
) -> dict[str, Source | HeldRecording]:
    """Recordings by the names that their tokens are stored under.

    Parameters
    ----------
    recordings : str, path, Recording, Source, Manifest, or list of them; or dict of str to mne.io.BaseRaw or Source
        A file, a folder, a BIDS root; the name or manifest of a dataset, as `neurosig.loaders.manifest.open_dataset`
        takes it; or what is to be called so: recordings that are open, or sources.
    data : path-like, optional
        Folder that holds the files of datasets.
    subjects : sequence of str, optional
        Only these.
    read : ReadOptions, optional
        How files are read that are of no dataset.

    Returns
    -------
    dict of str to Source or HeldRecording
        Files are named after subject, session and run (``sub-1_ses-0_run-2``), or, where their names tell none of
        them, after the file; before those of a dataset stands its name. What else is given along with them changes no
        name.

    Raises
    ------
    UsageError
        If two would have one name, a subject is not there, or a dataset has no files to read in blocks.
    InputError
        If there is nothing.
    """
    if isinstance(recordings, Mapping):
        return {
            str(name): HeldRecording(item, str(name)) if hasattr(item, "get_data") else item
            for name, item in recordings.items()
        }
    single = isinstance(recordings, str | PathLike) or not isinstance(recordings, Iterable)
    given = [recordings] if single else list(recordings)
    if not given:
        raise InputError("no recordings: the list is empty")
    found: list[tuple[str, Source]] = []
    loose: list[Any] = []
    for item in given:
        if isinstance(item, Source):
            found.append((item.label, item))
        elif hasattr(item, "get_data") and hasattr(item, "annotations"):
            raise UsageError('recordings that are open are given by name: {"name": raw}')
        elif isinstance(item, str | PathLike) and (manifest := _dataset(item, data)) is None:
            loose.append(Path(item))
        elif isinstance(item, str | PathLike) or hasattr(item, "describe"):
            its = manifest if isinstance(item, str | PathLike) else item
            found += [(f"{its.name}_{source.label}", source) for source in _of_dataset(its)]
        else:
            loose.append(item)
    found += [(source.label, source) for source in _of_files(loose, read)]
    if subjects is not None:
        there = {source.subject for _, source in found}
        if absent := [name for name in subjects if name not in there]:
            raise UsageError(f"no recording of subject {absent[0]}; there are {', '.join(sorted(there)[:12])}")
        found = [(name, source) for name, source in found if source.subject in set(subjects)]
    named: dict[str, Source | HeldRecording] = {}
    for name, source in found:
        if (other := named.setdefault(name, source)) is not source:
            files = [told.file or f"subject {told.subject}" for told in (other, source)]  # type: ignore[union-attr]
            raise UsageError(
                f"two recordings would be called {name}: {files[0]} and {files[1]}; rename one (sub-01_run-1), or give "
                "them in two calls with a result each"
            )
    return named


def whose_content(source: Source | HeldRecording) -> dict[str, Any]:
    """What a recording was read from: name and size of the file, and digest of the content."""
    from neurosig.core.files import digest

    told: dict[str, Any] = {"digest": digest(source.identity(), length=64)}
    if source.recording is not None:
        path = source.recording.path
        told |= {"file": path.name, "size": path.stat().st_size if path.is_file() else None}
    return told


def person_of(name: str, source: Source | HeldRecording) -> str:
    """Whose a recording is that is called so: subject 1 of two datasets is two people, unless they share theirs."""
    from neurosig.loaders.same_people import same_people

    label = getattr(source, "label", None)
    prefix = name.removesuffix(label) if label else ""
    if prefix and source.dataset is not None:
        prefix = f"{min(same_people(source.dataset))}_"
    return f"{prefix}{source.subject}"


def whom(sources: Iterable[Source | HeldRecording]) -> dict[str, Any] | None:
    """Whose recordings these are: a layer of `neurosig.core.trained_on` for each dataset."""
    layers: dict[str | None, set[str]] = {}
    for source in sources:
        layers.setdefault(source.dataset, set()).add(str(source.subject))
    return joined([{"subjects": sorted(people), "dataset": dataset} for dataset, people in layers.items()])


def _dataset(item: str | PathLike, data: str | Path | None) -> Any:
    """The dataset that a name, a manifest or a folder is; None for files and folders that belong to none."""
    from neurosig.loaders.manifest import list_manifests, open_dataset, read_manifest
    from neurosig.loaders.recognise import known_dataset

    text, path = str(item), Path(item)
    if text in list_manifests() or path.suffix.lower() in (".yml", ".yaml"):
        return read_manifest(text, data=data)
    if path.is_dir() and path.suffix != ".zarr":
        return known_dataset(path, _ADVICE)
    return None if path.exists() else open_dataset(text, data=data)  # which says what is wrong with it


def _of_dataset(manifest: Any) -> list[Source]:
    if manifest.kind == "moabb":
        raise UsageError(
            f"{manifest.name} is read by MOABB, which keeps its files in a place of its own: give the downloaded files"
        )
    return sources_of_dataset(manifest)


def _of_files(items: list[Any], read: ReadOptions | None) -> list[Source]:
    from neurosig.loaders.discover import discover

    paths = [item for item in items if isinstance(item, Path)]
    made = [item for item in items if not isinstance(item, Path)]
    if wrong := [item for item in made if not hasattr(item, "options")]:
        raise UsageError(
            f"recordings are paths, names of datasets, or Recording objects, got {type(wrong[0]).__name__}"
        )
    files: list[Path] = []
    for path in paths:
        files += [item.path for item in discover(path, by_task=True)] if path.is_dir() and len(paths) > 1 else [path]
    if paths:
        made += discover(files[0] if len(paths) == 1 else list(dict.fromkeys(files)), options=read, by_task=True)
    return [dataclasses.replace(source, dataset=_given_as(source, paths)) for source in sources_of(made)]


def _given_as(source: Source, paths: Sequence[Path]) -> str | None:
    """What a benchmark of the file or folder that was given calls it."""
    from neurosig.loaders.recognise import adhoc_name

    own = source.recording.path.resolve()  # type: ignore[union-attr]
    for path in paths:
        place = path.resolve()
        if place == own or place in own.parents:
            return adhoc_name(path)
    return None
