"""A path that is not a manifest: recognise a known dataset by its files' content, else describe what is there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.files import atomic_path, digest, sha256_file
from neurosig.core.log import logger
from neurosig.core.signals import Processing, SignalDataset
from neurosig.loaders.content import cache_dir, content_sums, find_file
from neurosig.loaders.epoch_files import cleaned_before, holds_epochs, trial_span, trials_in
from neurosig.loaders.manifest_schema import FilesSource
from neurosig.loaders.recognise_fmri import describe_fmri, holds_fmri, inside

if TYPE_CHECKING:
    from neurosig.loaders.manifest import Manifest
    from neurosig.loaders.recordings import Recording

__all__ = ["adhoc_name", "known_dataset", "recognise"]

_ADVICE = "name one of them with this folder, such as --dataset {first} --data {folder}"


def recognise(
    path: Path,
    *,
    events: Mapping[str, Any] | Iterable[str] | None = None,
    processing: Mapping[str, Any] | None = None,
    fmri: Mapping[str, Any] | None = None,
) -> Manifest:
    """Open recordings by their path (see `neurosig.loaders.manifest.open_dataset`)."""
    changes = {name: value for name, value in (processing or {}).items() if value is not None}
    if path.is_dir() and path.suffix != ".zarr" and (known := known_dataset(path)) is not None:
        return known.replace(events=events, fmri=fmri, **changes)
    asked = {name: value for name, value in (fmri or {}).items() if value is not None}
    if holds_fmri(path, bool(asked)):
        return describe_fmri(path, events, changes, asked)
    if asked:
        raise UsageError(f"{next(iter(asked))} belongs to fMRI, {path} is a stored dataset or no fMRI; leave it out")
    return _describe_unknown(path, events, changes)


@dataclass(frozen=True)
class _Match:
    manifest: Manifest
    folder: Path
    good: int
    there: int


def adhoc_name(path: Path) -> str:
    """What recordings that belong to no known dataset are called as one: by their file or folder."""
    return re.sub(r"[^A-Za-z0-9]+", "-", path.name.split(".")[0]).strip("-")[:40] or "recordings"


def known_dataset(folder: Path, advice: str = _ADVICE) -> Manifest | None:
    """The dataset whose files, by names and content, lie in a folder; None where they belong to none that is known.

    Parameters
    ----------
    folder : Path
        The folder.
    advice : str
        What to do where it is of several datasets, with places for ``{first}``, ``{names}`` and ``{folder}``.

    Returns
    -------
    Manifest or None

    Raises
    ------
    UsageError
        If it holds files of several.
    """
    from neurosig.loaders.manifest import list_manifests, read_manifest

    matches: list[_Match] = []
    others: list[tuple[Path, str, list[str]]] = []
    for name in list_manifests():
        manifest = read_manifest(name)
        if isinstance(manifest.source, FilesSource) and (match := _compare(manifest, folder, others)) is not None:
            matches.append(match)
    if not matches:
        for place, name, files in others:
            logger.warning(
                "%s has the file names of %s, but the content of %s is another: taken as an unknown folder",
                place,
                name,
                listed(files, 3),
            )
        return None
    if len(direct := [match for match in matches if match.folder == folder]) == 1:
        matches = direct  # what lies in the folder itself goes before what lies below it
    if len(matches) > 1:
        names = [match.manifest.name for match in matches]
        told = advice.format(first=names[0], names=" ".join(names), folder=folder)
        raise UsageError(f"{folder} holds files of several datasets ({', '.join(names)}); {told}")
    (match,) = matches
    logger.warning(
        "%s: recognised as %s: %d of %d files match; its events, band and folds are taken",
        folder,
        match.manifest.name,
        match.good,
        match.there,
    )
    _tell_unused(match)
    match.manifest._data, match.manifest._links = match.folder, True
    return match.manifest


def _tell_unused(match: _Match) -> None:
    """Say which recordings of the folder are used, where the known dataset leaves others aside."""
    kinds = {suffix for entry in match.manifest.entries if (suffix := PurePosixPath(entry.path).suffix)}
    there = [path for path in match.folder.rglob("*") if path.name.removesuffix(".gz").endswith(tuple(kinds))]
    if len(there) <= match.there:
        return
    found = [entry for entry in match.manifest.entries if find_file(match.folder / entry.path) is not None]
    runs = sorted({entry.run.zfill(4) for entry in found})
    logger.warning(
        "recognised as %s: uses %d of %d files (runs %s)",
        match.manifest.name,
        match.there,
        len(there),
        ", ".join(run.lstrip("0") or "0" for run in runs),
    )


def _compare(manifest: Manifest, root: Path, others: list[tuple[Path, str, list[str]]]) -> _Match | None:
    """How many files of the manifest are in the folder, or where its collection usually lies below it.

    Files of these names and of another content are added to `others`.
    """
    local = PurePosixPath(manifest.source.local or "").parts  # type: ignore[union-attr]
    for folder in dict.fromkeys([root, *(root.joinpath(*local[i:]) for i in range(len(local)))]):
        pairs = [(entry, path) for entry in manifest.entries if (path := find_file(folder / entry.path)) is not None]
        sure = [(entry, path) for entry, path in pairs if entry.sha256 is not None]
        if not sure:
            continue
        sums = [sha256_file(path) if entry.path.endswith(".gz") else content_sums([path])[0] for entry, path in sure]
        other = [path.name for (entry, path), found in zip(sure, sums, strict=True) if found != entry.sha256]
        if other:
            others.append((folder, manifest.name, other))
            return None
        return _Match(manifest, folder, len(sure), len(pairs))
    return None


def _describe_unknown(
    path: Path, events: Mapping[str, Any] | Iterable[str] | None, changes: dict[str, Any]
) -> Manifest:
    from neurosig.loaders.discover import discover, told_as
    from neurosig.loaders.manifest import Manifest
    from neurosig.loaders.recordings import ReadOptions
    from neurosig.loaders.survey import no_codes

    mapping = dict(events) if isinstance(events, Mapping) else None
    if path.suffix == ".zarr":
        path = _stored_trials(path)
    found = tuple(discover(path, options=ReadOptions(events=mapping)))
    if not found:
        raise InputError(f"{path} holds no recordings; expected files that mne reads, a BIDS root, or trials in .npz")
    if len(found) > 1:
        logger.warning("%s: %s", path.name, told_as(list(found)))
    names, cut = _survey(found)
    if mapping and (absent := [name for name in mapping if name not in names]):
        raise InputError(no_codes(found, absent))
    if isinstance(events, str):
        events = [events]
    chosen = list(mapping or events or names)
    if not chosen:
        raise InputError(
            f"{path}: no events in any recording; expected annotations or stimulus codes, see neurosig inspect {path}"
        )
    if unknown := [name for name in chosen if mapping is None and name not in names]:
        raise UsageError(f"{path} has no event {unknown[0]!r}; it has {listed(names, 20)}")
    cut.update(changes)
    root = path if path.is_dir() else path.parent
    files = list(dict.fromkeys(recording.path for recording in found))
    manifest = Manifest.model_validate(
        {
            "name": adhoc_name(path),
            "title": f"Recordings in {path.name}",
            "paradigm": _paradigm(chosen),
            "processing": Processing(**cut),
            "source": {"files": [{"path": inside(file, root), "subject": "*"} for file in files]},
            "events": mapping or {name: name for name in chosen},
            "licence": "your own recordings",
            "warnings": cleaned_before(found),
            "folds": "run" if _several_runs(found) else "auto",
        }
    )
    manifest._data, manifest._found = root, found
    return manifest


def _survey(found: tuple[Recording, ...]) -> tuple[list[str], dict[str, Any]]:
    """Event names of all recordings, and a span that suits them: the trials' own, else the events' usual duration."""
    import numpy as np

    from neurosig.loaders.events import is_span
    from neurosig.loaders.recordings import read_recording

    renamed = found[0].options.events is not None
    if found[0].path.suffix == ".npz":
        from neurosig.loaders.trials import read_trials

        content = read_trials(found[0].path)
        tmin = float(np.asarray(content.get("tmin", 0.0)))
        span = {"tmin": round(tmin, 6), "tmax": round(tmin + (content["X"].shape[2] - 1) / content["rate"], 6)}
        if renamed:
            return _renamed(found), span
        names = [
            name
            for recording in dict.fromkeys(item.path for item in found)
            for name in set(read_trials(recording)["labels"])
        ]
        return sorted({str(name) for name in names}), span
    if holds_epochs(found[0].path):
        spans = [trial_span(path) for path in dict.fromkeys(item.path for item in found)]
        low, high = max(first for first, _ in spans), min(last for _, last in spans)
        if renamed:
            return _renamed(found), {"tmin": low, "tmax": high}
        return sorted({name for item in found for name in trials_in(item.path).event_id}), {"tmin": low, "tmax": high}
    names_there: set[str] = set()
    durations: list[float] = []
    gaps: list[float] = []
    for recording in found:
        notes = read_recording(recording).annotations
        keep = [i for i, text in enumerate(notes.description) if not is_span(str(text))]
        names_there.update(str(notes.description[i]) for i in keep)
        durations += [float(notes.duration[i]) for i in keep]
        gaps += np.diff(np.sort(notes.onset[keep])).tolist()
    usual = float(np.median(durations)) if durations else 0.0
    if usual < 0.2:  # markers without duration: up to the next one, at most a second
        usual = min(1.0, float(np.median(gaps))) if gaps else 1.0
    logger.info("trials are cut from 0 to %.2f s after each event; change that with tmin and tmax", min(usual, 4.0))
    return sorted(names_there), {"tmin": 0.0, "tmax": round(max(min(usual, 4.0), 0.1), 3)}


def _renamed(found: tuple[Recording, ...]) -> list[str]:
    """Names of the events of trials under the names that the options give them."""
    from neurosig.loaders.events import is_span
    from neurosig.loaders.recordings import read_recording

    names = {str(text) for item in found for text in read_recording(item).annotations.description}
    return sorted(name for name in names if not is_span(name))


def _paradigm(events: list[str]) -> str:
    if set(events) == {"Target", "NonTarget"}:
        return "p300"
    # small whole numbers are far more often trigger codes than frequencies
    return "ssvep" if all(re.fullmatch(r"\d+\.\d+", name) for name in events) else "imagery"


def _several_runs(found: tuple[Recording, ...]) -> bool:
    subjects = {recording.subject for recording in found}
    return len({(item.subject, item.session, item.run) for item in found}) >= 2 * len(subjects)


def _stored_trials(path: Path) -> Path:
    """A stored `SignalDataset` as a trial file in the cache, made once for its content."""
    import numpy as np

    dataset = SignalDataset.from_zarr(path)
    info = dataset.info
    if info.modality != "eeg" or dataset.y is None or info.sfreq is None or info.unit not in ("V", "uV"):
        raise InputError(
            f"{path}: expected a stored EEG dataset with labels and a sampling rate in V or uV, it is "
            f"{info.modality} in {info.unit}"
        )
    target = cache_dir() / "stored" / f"{path.stem}-{digest(content_sums([path]))}.npz"
    if not target.exists():
        classes, codes = np.unique(np.asarray(dataset.y).astype(str), return_inverse=True)
        columns = {
            name: dataset.metadata[name].astype(str).to_numpy().astype("U") for name in ("subject", "session", "run")
        }
        with atomic_path(target) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream,
                X=np.asarray(dataset.X),
                y=codes,
                ch_names=np.array(info.ch_names),
                sfreq=info.sfreq,
                tmin=info.tmin or 0.0,
                class_names=classes,
                unit_uV=1e6 if info.unit == "V" else 1.0,
                **columns,
            )
    return target
