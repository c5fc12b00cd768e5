"""Datasets by name: a manifest says where the recordings are, whose they are, and how they become labelled trials."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from neurosig.core.errors import InputError, UsageError
from neurosig.core.files import digest, resource_dir
from neurosig.core.log import logger
from neurosig.core.signals import Processing
from neurosig.core.yaml import load_yaml
from neurosig.loaders.content import cache_dir, companions, content_sums, find_file
from neurosig.loaders.manifest_files import FileStatus, choose, places_in, refuse_copies, relative_names
from neurosig.loaders.manifest_schema import (
    FileEntry,
    FilesSource,
    ManifestFields,
    MoabbSource,
    SimulatedSource,
    safe_join,
)
from neurosig.loaders.manifest_yaml import validate

if TYPE_CHECKING:
    import mne

    from neurosig.core.signals import SignalDataset
    from neurosig.loaders.recordings import ReadOptions, Recording
    from neurosig.loaders.simulated import SimulatedRecording

__all__ = ["FileStatus", "Manifest", "list_manifests", "open_dataset", "read_manifest"]

_PROSE = {
    "title", "description", "licence", "local_evaluation_only", "citation", "doi", "warnings", "notes", "folds",
    "same_people",
}  # fmt: skip


class Manifest(ManifestFields):
    """A dataset: made by `read_manifest` and `open_dataset`, never changed afterwards.

    The fields are those of `neurosig.loaders.manifest_schema.ManifestFields`.
    """

    _data: Path | None = PrivateAttr(None)
    _subjects: tuple[str, ...] | None = PrivateAttr(None)
    _found: tuple[Any, ...] | None = PrivateAttr(None)  # recordings of an ad-hoc dataset, as discover() gave them
    _beside: list[Path] = PrivateAttr(default_factory=list)  # files that series also depend on, of an ad-hoc dataset
    _given: dict[str, Path] = PrivateAttr(default_factory=dict)  # files from elsewhere that options of fMRI name
    _unlabelled: bool = PrivateAttr(False)  # of fMRI: labels are not wanted
    _derivatives: Path | None = PrivateAttr(None)  # root of a BIDS derivatives folder, read as a whole
    _stored: Path | None = PrivateAttr(None)  # a stored `SignalDataset` of fMRI
    _pairs: dict[Path, tuple[Any, ...]] = PrivateAttr(default_factory=dict)  # both hemispheres' files, by the first
    _events_tables: dict[str, Path] = PrivateAttr(default_factory=dict)  # of an ad-hoc dataset of fMRI, by file name
    _links: bool = PrivateAttr(False)  # the files were found by their content, in a folder that may hold links to them

    # ------------------------------------------------------------------ what is in it

    @property
    def kind(self) -> str:
        """Where the recordings come from: "files", "moabb" or "simulated"."""
        return {MoabbSource: "moabb", SimulatedSource: "simulated"}.get(type(self.source), "files")

    @property
    def entries(self) -> tuple[FileEntry, ...]:
        """The files of the selected subjects; empty for other kinds of source."""
        if not isinstance(self.source, FilesSource):
            return ()
        wanted = self._subjects
        every = self.source.entries
        # a file of several subjects ("*") is needed for each of them
        return every if wanted is None else tuple(entry for entry in every if entry.subject in (*wanted, "*"))

    @property
    def folder(self) -> Path:
        """Folder of the files: the given or the local one if any file is there, else where `fetch` puts them."""
        for folder in self._places():
            if any(find_file(safe_join(folder, entry.path, self._links)) for entry in self._sample()):
                return folder
        return self._data or cache_dir() / self.name

    @property
    def subject_list(self) -> list[str]:
        """Names of the subjects whose recordings are there (of all, where none is there yet)."""
        if self._subjects is not None and self.kind != "files":
            return list(self._subjects)
        if isinstance(self.source, SimulatedSource):
            return [str(number + 1) for number in range(self.source.simulated.n_subjects)]
        if isinstance(self.source, MoabbSource):
            if isinstance(self.subjects, int):
                return [str(number + 1) for number in range(self.subjects)]
            return list(self.subjects) if self.subjects else self._moabb_subjects()
        present = list(dict.fromkeys(recording.subject for recording in self._recordings))
        return present or list(dict.fromkeys(entry.subject for entry in self.entries if entry.subject != "*"))

    @property
    def event_names(self) -> list[str]:
        """Names of the events, in the manifest's order."""
        if self.events is not None:
            return list(self.events)
        if self.modality == "fmri":  # labels of people: told by their table when the runs are loaded
            return []
        if isinstance(self.source, MoabbSource):
            return list(self.as_moabb().event_id)
        return self._events_there

    @functools.cached_property
    def _events_there(self) -> list[str]:
        names: dict[str, None] = {}
        for _, _, _, raw in self.raws(preload=False):
            from neurosig.loaders.events import is_span

            names.update(dict.fromkeys(str(text) for text in raw.annotations.description if not is_span(str(text))))
        if not names:
            raise InputError(
                f"{self.name}: no events in any recording; expected annotations or stimulus codes, see neurosig inspect"
            )
        return sorted(names)

    @property
    def read_options(self) -> ReadOptions:
        """How the files are read."""
        from neurosig.loaders.recordings import ReadOptions

        fields = self.read.model_dump()
        fields["marker_column"] = list(column) if isinstance(column := fields["marker_column"], tuple) else column
        return ReadOptions(events=self.events, montage=self.montage, line_freq=self.line_freq, **fields)

    def describe(self) -> str:
        """The manifest for people: what it is, whose, how much of it is there, how it is cut."""
        from neurosig.loaders.manifest_text import describe

        return describe(self)

    def replace(
        self,
        *,
        subjects: Iterable[str | int] | str | int | None = None,
        events: Mapping[str, Any] | Iterable[str] | None = None,
        fmri: Mapping[str, Any] | None = None,
        **processing: Any,
    ) -> Manifest:
        """A copy with other subjects, events or processing; None leaves things as they are.

        Parameters
        ----------
        subjects : list of str, optional
            Names of the subjects to keep.
        events : list of str or dict, optional
            Names of the events to keep, or a new mapping as in `ReadOptions.events`.
        fmri : dict, optional
            Fields of `neurosig.loaders.manifest_schema.FmriFields`: how region series are made.
        **processing
            Fields of `Processing`: ``tmin, tmax, fmin, fmax, resample, baseline, picks``. Of fMRI, ``fmin`` and
            ``fmax`` are the edges of its filter, ``tmin`` and ``tmax`` cut trials, and the others mean nothing.

        Raises
        ------
        UsageError
            A name or option that is not there; the message lists those that are.
        """
        known = [field.name for field in dataclasses.fields(Processing)]
        if unknown := sorted(set(processing) - set(known)):
            raise UsageError(f"unknown option {unknown[0]!r}; processing takes {', '.join(known)}")
        update: dict[str, Any]
        files: dict[str, Path] = {}
        if self.modality == "fmri":
            from neurosig.loaders.manifest_fmri import changed_fmri

            update, files = changed_fmri(self, fmri or {}, processing)
        elif given := [name for name, value in (fmri or {}).items() if value is not None]:
            raise UsageError(f"{given[0]} belongs to fMRI, {self.name} is {self.modality}; leave it out")
        else:
            update = {"processing": self.processing.replace(**processing)}
        if events is not None:
            # of fMRI another column of labels may have been named, with classes of its own
            update["events"] = (self._with(update) if "events" in update else self)._choose_events(events)
        copy = self._with(update)
        copy._given = {**self._given, **files}
        if subjects is not None:
            copy._subjects = choose(subjects, self.subject_list, "subject", self.name)
        return copy

    def unlabelled(self) -> Manifest:
        """A copy of a manifest of fMRI whose runs are taken whole, all of them, and without labels."""
        fmri = None if self.fmri is None else self.fmri.model_copy(update={"labels": None, "events_table": None})
        copy = self._with({"events": None, "processing": None, "fmri": fmri})
        copy._unlabelled = True
        return copy

    def _with(self, update: Mapping[str, Any]) -> Manifest:
        """A copy with some fields changed, of the same files."""
        fields = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        copy = Manifest.model_validate(
            {name: value for name, value in {**fields, **update}.items() if value is not None}
        )
        copy._data, copy._subjects, copy._found = self._data, self._subjects, self._found
        copy._links, copy._beside = self._links, self._beside
        copy._given, copy._unlabelled = self._given, self._unlabelled
        copy._stored = self._stored
        copy._derivatives, copy._pairs, copy._events_tables = self._derivatives, self._pairs, self._events_tables
        return copy

    # ------------------------------------------------------------------ files

    def fetch(
        self, dest: str | Path | None = None, *, progress: bool | None = True, subjects: Iterable[str] | None = None
    ) -> Path:
        """Download what is missing, check every sum, go on where an earlier call stopped.

        Parameters
        ----------
        dest : path, optional
            Folder for the files; default the dataset's folder in the cache.
        progress : bool or None
            Show a progress bar; None shows it on a terminal only.
        subjects : list of str, optional
            Only these subjects.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        DownloadError, ChecksumError, StorageError
            See `neurosig.loaders.download`.
        """
        from neurosig.loaders.download import fetch_manifest

        return fetch_manifest(self, dest, progress=progress, subjects=subjects)

    def verify(self, folder: str | Path | None = None, *, subjects: Iterable[str] | None = None) -> list[FileStatus]:
        """Compare every file with the sum that the manifest promises.

        Parameters
        ----------
        folder : path, optional
            Folder of the files; default `Manifest.folder`.
        subjects : list of str, optional
            Only these subjects, here or not.
        """
        from neurosig.loaders.manifest_files import verify_files

        return verify_files(self, folder, subjects)

    def recordings(self, subjects: Iterable[str | int] | None = None) -> list[Recording]:
        """The recordings that are there, one for each subject, session and run.

        Raises
        ------
        InputError
            None is there, or two subjects share a file.
        UsageError
            An unknown subject, or a source that has no files.
        """
        if self.kind != "files":
            raise UsageError(f"{self.name} has no recording files ({self.kind}); use .load() or .as_moabb()")
        if not self._recordings:
            wanted = ", ".join(entry.path for entry in self.entries[:3])
            places = self._places()
            where = " or ".join(map(str, [place for place in places if place.is_dir()] or places))
            raise InputError(
                f"no file of {self.name} is in {where}: expected {wanted}, ...; "
                + (
                    f"run: neurosig datasets fetch {self.name}"
                    if self.fetchable
                    else "pass --data FOLDER that holds them"
                )
            )
        if subjects is None:
            return list(self._recordings)
        chosen = choose(subjects, self.subject_list, "subject", self.name)
        return [recording for recording in self._recordings if recording.subject in chosen]

    @property
    def present(self) -> bool:
        """Whether recordings are there; datasets that MOABB downloads or that are simulated always are."""
        if self.kind != "files":
            return True
        folder = self.folder
        return any(find_file(safe_join(folder, entry.path, self._links)) for entry in self.entries)

    @property
    def subjects_present(self) -> list[str]:
        """Subjects that have a file here, by the files' names alone."""
        folder = self.folder
        there = [entry for entry in self.entries if find_file(safe_join(folder, entry.path, self._links)) is not None]
        return list(dict.fromkeys(entry.subject for entry in there))

    @property
    def adhoc(self) -> bool:
        """Whether the manifest was made for recordings that belong to no known dataset."""
        return self._found is not None

    @property
    def fetchable(self) -> bool:
        """Whether `fetch` can get the dataset."""
        if isinstance(self.source, FilesSource):
            return bool(self.source.archives) or any(entry.url for entry in self.source.entries)
        return isinstance(self.source, MoabbSource)

    @functools.cached_property
    def _recordings(self) -> tuple[Recording, ...]:
        options = self.read_options
        if self._found is not None:
            found = [dataclasses.replace(recording, options=options) for recording in self._found]
            chosen = found if self._subjects is None else [item for item in found if item.subject in self._subjects]
        else:
            chosen = list(self._expand(options))
        refuse_copies(chosen, self.name)
        return tuple(chosen)

    def _expand(self, options: ReadOptions) -> Iterator[Recording]:
        from neurosig.loaders.recordings import Recording

        folder = self.folder
        for entry in self.entries:
            path = find_file(safe_join(folder, entry.path, self._links))
            if path is None:
                continue
            if self.modality == "fmri":
                from neurosig.loaders.manifest_fmri import expand_runs

                yield from expand_runs(path, entry, self._subjects)
            elif path.suffix == ".npz":
                from neurosig.loaders.trials import expand_trials

                for part in expand_trials(path, options):
                    subject = part.subject if entry.subject == "*" else entry.subject
                    if self._subjects is None or subject in self._subjects:
                        yield dataclasses.replace(part, subject=subject)
            else:
                yield Recording(path, entry.subject, entry.session, entry.run, entry.label, options=options)

    def _places(self) -> list[Path]:
        """Folders that may hold the files, most specific first."""
        if self._data is not None:
            return places_in(self._data, self)
        places = places_in(Path(root), self)[:-1] if (root := os.environ.get("NEUROSIG_DATA")) else []
        return [*places, cache_dir() / self.name]

    def _sample(self) -> tuple[FileEntry, ...]:
        return self.entries or (self.source.entries if isinstance(self.source, FilesSource) else ())

    # ------------------------------------------------------------------ signals

    def raws(
        self, subjects: Iterable[str | int] | None = None, *, preload: bool = True
    ) -> Iterator[tuple[str, str, str, mne.io.BaseRaw]]:
        """Subject, session, run and recording, one at a time; files and simulated sources only."""
        self._refuse_fmri("raws")
        if self.kind == "simulated":
            for item in self.simulations(subjects):
                yield item.subject, item.session, item.run, item.raw
            return
        from neurosig.loaders.recordings import read_recording

        for recording in self.recordings(subjects):
            yield recording.subject, recording.session, recording.run, read_recording(recording, preload=preload)

    def simulations(self, subjects: Iterable[str | int] | None = None) -> Iterator[SimulatedRecording]:
        """Simulated recordings with their truth, one at a time.

        Raises
        ------
        UsageError
            An unknown subject, or a source that is not simulated.
        """
        from neurosig.loaders.simulated import simulate_recordings

        self._refuse_fmri("simulations")
        if not isinstance(self.source, SimulatedSource):
            raise UsageError(f"{self.name} is not simulated ({self.kind}); use .raws()")
        chosen = self.subject_list if subjects is None else choose(subjects, self.subject_list, "subject", self.name)
        return simulate_recordings(**self.source.simulated.model_dump(), subjects=list(chosen))

    def load(
        self,
        subjects: Iterable[str | int] | None = None,
        *,
        memmap: str | Path | None = None,
        progress: bool | None = None,
        **processing: Any,
    ) -> SignalDataset:
        """Cut all recordings into trials, one recording in memory at a time; of fMRI, make region series of all runs.

        Parameters
        ----------
        subjects : list of str, optional
            Only these subjects.
        memmap : path, optional
            Keep X in this ``.npy`` file instead of memory.
        progress : bool, optional
            Show a progress bar; None shows it on a terminal only.
        **processing
            Changes of the manifest's `Processing`.

        Returns
        -------
        SignalDataset
            X in volts (tesla for MEG), labels are event names. Of fMRI, X is a sequence of runs (n_regions, n_times) as
            `load_fmri` gives them, or trials where the manifest names tables of events.
        """
        manifest = self.replace(subjects=subjects, **processing)
        from neurosig.loaders.manifest_load import load_manifest

        return load_manifest(manifest, memmap=memmap, progress=progress)

    def as_moabb(self, *, subjects: Iterable[str | int] | None = None, **changes: Any) -> Any:
        """The dataset as MOABB's evaluations take it.

        Parameters
        ----------
        subjects : list of str, optional
            Only these subjects.
        **changes
            ``events`` and fields of `Processing`.

        Returns
        -------
        moabb.datasets.base.BaseDataset
            Its ``code`` changes with every option and with the files' content (see `identity`).
        """
        self._refuse_fmri("as_moabb")
        from neurosig.loaders.moabb_dataset import moabb_dataset

        return moabb_dataset(self.replace(subjects=subjects, **changes))

    def identity(self) -> str:
        """Digest of all that the trials depend on: options, selection, the files' content, neurosig's version."""
        from neurosig._version import __version__

        stated = self.model_dump(mode="json", exclude={*_PROSE, "source", *(() if self.fmri else ("fmri",))})
        if stated.get("fmri", {}).get("min_coverage", 0) is None:  # unknown to manifests before it was an option
            del stated["fmri"]["min_coverage"]
        content: Any = None
        if isinstance(self.source, FilesSource):
            paths = companions(recording.path for recording in self._recordings)
            given = [self._given[name] for name in sorted(self._given)]  # wherever these lie
            if paths:
                beside = (find_file(safe_join(self.folder, entry.path, self._links)) for entry in self.source.also)
                paths += [path for path in beside if path is not None]
                paths += self._beside
            whose = [
                [
                    item.subject,
                    item.session,
                    item.run,
                    item.label,
                    item.path.name.removesuffix(".gz"),
                    list(item.select or ()),
                ]
                for item in self._recordings
            ]
            content = (
                [whose, relative_names(paths), content_sums(paths), *([content_sums(given)] if given else [])]
                if paths
                else [entry.sha256 for entry in self.entries]
            )
        else:
            content = self.source.model_dump(mode="json")
        return digest(__version__, stated, list(self._subjects or ()), content)

    def _refuse_fmri(self, method: str) -> None:
        if self.modality == "fmri":
            raise UsageError(
                f"{self.name} is fMRI, of which .{method}() gives nothing; .load() gives its region series"
            )

    def _moabb_subjects(self) -> list[str]:
        from neurosig.loaders.moabb_dataset import moabb_class

        return [str(subject) for subject in moabb_class(self)().subject_list]

    def _choose_events(self, events: Mapping[str, Any] | Iterable[str]) -> Mapping[str, Any]:
        if isinstance(events, Mapping):
            return dict(events)
        names = [events] if isinstance(events, str) else list(events)
        if self.modality == "fmri" and self.events is None:
            return {name: name for name in names}  # whether there are such labels is told when the runs are loaded
        chosen = choose(names, self.event_names, "event", self.name)
        return {name: (self.events or {}).get(name, name) for name in chosen}


def list_manifests() -> list[str]:
    """Names of the manifests that travel with neurosig, sorted."""
    return sorted(path.stem for path in resource_dir("data_manifests").glob("*.yml"))


def read_manifest(name_or_path: str | Path, *, data: str | Path | None = None) -> Manifest:
    """Read a dataset manifest.

    Parameters
    ----------
    name_or_path : str or path
        A name of `list_manifests`, or a YAML file.
    data : path, optional
        Folder that holds the files (or a folder of collections). Default: the environment variable ``NEUROSIG_DATA``,
        else neurosig's cache folder.

    Returns
    -------
    Manifest
        The dataset: described, not yet read.

    Raises
    ------
    ManifestError
        The file is malformed or unsafe; the message names file, line, field and reason.
    UsageError
        No such name, no such folder.
    """
    path = Path(name_or_path)
    if path.suffix.lower() not in (".yml", ".yaml"):
        names = list_manifests()
        if str(name_or_path) not in names:
            import difflib

            near = difflib.get_close_matches(str(name_or_path), names, 1, 0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UsageError(
                f"no dataset is called {str(name_or_path)!r}: {hint}see neurosig datasets list, or give a .yml file"
            )
        path = resource_dir("data_manifests") / f"{name_or_path}.yml"
    content, lines = load_yaml(path)
    manifest: Manifest = validate(Manifest, content, lines, path)
    if data is not None:
        if not Path(data).is_dir():
            raise UsageError(f"no such folder: {data}; expected the folder that holds the files of {manifest.name}")
        manifest._data = Path(data)
    return manifest


def open_dataset(
    name_or_path: str | Path,
    *,
    data: str | Path | None = None,
    events: Mapping[str, Any] | Iterable[str] | None = None,
    fmri: Mapping[str, Any] | None = None,
    **processing: Any,
) -> Manifest:
    """Open a dataset, whatever it is: the one gate of the command line.

    Parameters
    ----------
    name_or_path : str or path
        A name of `list_manifests`, a manifest's YAML, a recording, a trial file (``.npz``), a folder of recordings
        (taken as a known dataset if names and content match its manifest), a BIDS root, or a stored `SignalDataset`
        (``.zarr``). Of fMRI: images (NIfTI, CIFTI, GIFTI), tables of region series, folders of them, or a BIDS
        derivatives folder.
    data : path, optional
        Folder that holds the files, for names and YAML.
    events : list of str or dict, optional
        Events to decode: names, or a mapping of names to descriptions or codes (see `ReadOptions`). Of fMRI, the labels
        of people or of a table of events.
    fmri : dict, optional
        How region series are made, see `neurosig.loaders.manifest_schema.FmriFields`; tables whose names tell nothing
        (``.csv``, ``.npz``) are taken as fMRI if this is given.
    **processing
        Changes of the dataset's `Processing`.

    Returns
    -------
    Manifest
        The dataset: described, not yet read.

    Raises
    ------
    UsageError
        Nothing of that name.
    InputError
        The recordings cannot be used.
    """
    text = str(name_or_path)
    path = Path(name_or_path)
    known = text in list_manifests()
    if known and path.exists():
        logger.info("%s: the dataset of that name is taken, not the path; write ./%s for the path", text, text)
    if known or path.suffix.lower() in (".yml", ".yaml"):
        manifest = read_manifest(name_or_path, data=data)
    elif path.exists():
        from neurosig.loaders.recognise import recognise

        return recognise(path, events=events, processing=processing, fmri=fmri)
    elif path.name == text and not path.suffix:
        manifest = read_manifest(text, data=data)  # raises, and names the nearest dataset
    else:
        raise UsageError(
            f"no such file or folder: {path}; give a recording, a folder, or a name of neurosig datasets list"
        )
    return manifest.replace(events=events, fmri=fmri, **processing)
