"""Datasets in MOABB's form: a manifest's recordings, under a code that changes with every option and their content."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from moabb.datasets.base import BaseDataset

from neurosig.core.errors import InputError, UsageError
from neurosig.core.log import logger
from neurosig.loaders.epochs import count_trials
from neurosig.loaders.sensors import check_flat
from neurosig.loaders.survey import Survey, data_channels, headers_of, survey

if TYPE_CHECKING:
    import mne

    from neurosig.loaders.manifest import Manifest

__all__ = ["RecordingsDataset", "moabb_class", "moabb_dataset", "moabb_names", "register"]

_ORDERED_NAME = re.compile(r"([0-9]+)(|[a-zA-Z]+[a-zA-Z0-9]*)")  # MOABB's rule for session and run names
# MOABB multiplies by one factor: microvolts for electrodes, femtotesla for magnetometers
_UNIT_FACTOR = {"eeg": 1e6, "seeg": 1e6, "meg": 1e15}
_MODALITIES: dict[str, Any] = {"eeg": False, "seeg": {"seeg": True, "ecog": True, "dbs": True}, "meg": {"meg": True}}


class RecordingsDataset(BaseDataset):
    """A manifest's recordings as a MOABB dataset; `moabb_dataset` makes one.

    MOABB's caches and result stores know a dataset by its ``code`` alone. Here the code ends in a digest of every
    option and of the files' content, so that none of them can hand out what belongs to other options or older files.
    ``interval`` is the span of the manifest's trials: a paradigm with ``tmin=0, tmax=None`` cuts exactly those.

    Attributes
    ----------
    manifest : Manifest
        What the dataset was made from.
    subject_names : dict
        MOABB's subject (an integer where possible) to the manifest's.
    trial_counts : dict of subject to (int, int)
        Events found and trials kept of each subject that was loaded by this object; the others touch bad spans (also
        those of ``reject_uv``) or stick out of their recording. A dataset sent to another process counts there.
    """

    manifest: Manifest
    stem: str  # of the code

    def __init__(self):
        manifest = self.manifest
        names = manifest.event_names
        subjects = manifest.subject_list
        if not names or not subjects:
            raise InputError(f"{manifest.name} has {len(subjects)} subjects and {len(names)} events; MOABB needs both")
        if manifest.kind == "files":
            manifest.recordings()  # says what to do where no file is there
        self.subject_names = dict(zip(_moabb_subjects(subjects), subjects, strict=True))
        self.trial_counts: dict[Any, tuple[int, int]] = {}
        self._surveyed: Survey | None = None
        super().__init__(
            subjects=list(self.subject_names),
            sessions_per_subject=_n_sessions(manifest),
            events=_event_codes(names),
            code=f"{self.stem}-{manifest.identity()[:8]}",
            interval=[manifest.processing.tmin, manifest.processing.tmax],
            paradigm=manifest.paradigm or "imagery",
            doi=manifest.doi,
            unit_factor=_UNIT_FACTOR.get(manifest.modality, 1e6),
            return_all_modalities=_MODALITIES.get(manifest.modality, True),
        )

    def __reduce__(self):
        # the class is made on the fly: a worker process makes it again from the manifest
        return _rebuild, (self.manifest, self.__dict__)

    def data_path(
        self, subject: Any, path: Any = None, force_update: bool = False, update_path: Any = None, verbose: Any = None
    ) -> list[str | Path]:
        """Files of one subject; empty for simulated recordings."""
        if self.manifest.kind != "files":
            return []
        recordings = self.manifest.recordings([self.subject_names[subject]])
        return list(dict.fromkeys(recording.path for recording in recordings))

    def survey(self) -> Survey:
        """What all recordings share, from their headers: looked at once, before any work begins.

        A file that cannot be read is passed over here: it costs its own subject only, when that one is loaded.

        Raises
        ------
        InputError
            Channels or sampling rates differ, the band does not fit a rate, or no trial fits in any recording.
        """
        if self._surveyed is None:
            manifest = self.manifest
            self._surveyed = survey(
                _headers(manifest), manifest.event_names, manifest.processing, modality=manifest.modality
            )
        return self._surveyed

    def get_data(
        self, subjects: Any = None, cache_config: Any = None, process_pipeline: Any = None, n_jobs: int = 1
    ) -> dict[Any, Any]:
        """MOABB's `get_data`, with trials of equal length where recordings of several rates are brought to one."""
        data = super().get_data(subjects, cache_config, process_pipeline, n_jobs)
        if len(self.survey().rates) > 1:
            for runs in (runs for sessions in data.values() for runs in sessions.values()):
                for run, trials in runs.items():
                    runs[run] = _crop(trials, self.survey().n_times)
        return data

    def _get_single_subject_data(self, subject: Any) -> dict[str, dict[str, Any]]:
        sessions: dict[str, dict[str, Any]] = {}
        n_found = n_kept = 0
        for _, session, run, raw in self.manifest.raws([self.subject_names[subject]]):
            if not set(raw.annotations.description) & set(self.event_id):
                logger.warning(
                    "%s: no events in subject %s, session %s, run %s; left out", self.code, subject, session, run
                )
                continue
            self._take_channels(raw, f"subject {subject}, session {session}, run {run}")
            found, kept = count_trials(raw, list(self.event_id), self.manifest.processing)
            n_found, n_kept = n_found + found, n_kept + kept
            if not kept:
                logger.warning(
                    "%s: none of %d trials in subject %s, session %s, run %s fits between bad spans; left out",
                    self.code, found, subject, session, run,
                )  # fmt: skip
                continue
            _drop_unfinished(raw, manifest=self.manifest)
            sessions.setdefault(session, {})[run] = raw
        self.trial_counts[subject] = (n_found, n_kept)
        if not sessions:
            lost = f"none of its {n_found} trials fits in its recordings, outside bad spans; choose other tmin and tmax"
            none = f"has none of the events {', '.join(self.event_id)}"
            raise InputError(f"{self.manifest.name}: subject {subject} {none if not n_found else lost}")
        if n_kept < n_found:
            logger.warning("%s: %d of %d trials of subject %s kept", self.code, n_kept, n_found, subject)
        session_names = moabb_names(list(sessions))
        return {
            session_names[session]: {moabb_names(list(runs))[run]: raw for run, raw in runs.items()}
            for session, runs in sessions.items()
        }

    def _take_channels(self, raw: mne.io.BaseRaw, place: str) -> None:
        """Bring a recording to the channels of all: MOABB stacks trials by the channels' places, not by their names."""
        names = data_channels(raw.info, self.survey().channels)
        raw.pick(names, verbose="error")
        check_flat(raw, Path(next((str(name) for name in raw.filenames if name), place)))
        asked = self.manifest.processing.picks or ()
        # MOABB looks channels up by exactly what was asked for
        raw.rename_channels({have: want for have, want in zip(names, asked, strict=False) if have != want})


def moabb_names(names: Sequence[str]) -> dict[str, str]:
    """Session or run names as MOABB wants them: beginning with an integer, each with another.

    Names that obey the rule stay; otherwise all are numbered in their order ("rest", "task" become "0rest", "1task").
    """
    matches = [_ORDERED_NAME.fullmatch(name) for name in names]
    if all(matches) and len({int(match[1]) for match in matches if match}) == len(names):
        return {name: name for name in names}
    cleaned = [re.sub(r"^[0-9]+", "", re.sub(r"[^a-zA-Z0-9]", "", name)) for name in names]
    return {name: f"{number}{text}" for number, (name, text) in enumerate(zip(names, cleaned, strict=True))}


def moabb_class(manifest: Manifest) -> Any:
    """The MOABB class of a manifest: MOABB's own where the manifest names one, else a subclass of `RecordingsDataset`.

    The class takes no arguments, which is what ``moabb.benchmark`` builds datasets with.
    """
    import moabb.datasets

    if manifest.kind == "moabb":
        found = getattr(moabb.datasets, manifest.source.moabb, None)  # type: ignore[union-attr]
        if not isinstance(found, type) or not issubclass(found, BaseDataset):
            raise UsageError(f"the installed moabb has no dataset {manifest.source.moabb!r}")  # type: ignore[union-attr]
        return found
    name = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", manifest.name))
    if not name[0].isalpha() or (
        hasattr(moabb.datasets, name) and not issubclass(getattr(moabb.datasets, name), RecordingsDataset)
    ):
        name = f"Local{name}"
    # MOABB wants the class name to abbreviate the code, and by its rule an abbreviation does not end in a digit
    short = name.rstrip("0123456789")
    return type(
        short,
        (RecordingsDataset,),
        {"manifest": manifest, "stem": name, "__doc__": manifest.title, "__module__": __name__},
    )


def moabb_dataset(manifest: Manifest) -> BaseDataset:
    """The manifest as a MOABB dataset (see `Manifest.as_moabb`)."""
    dataset = moabb_class(manifest)()
    if isinstance(dataset, RecordingsDataset):
        dataset.survey()
    if manifest.kind == "moabb":
        # MOABB finds downloads by the code, so that stays; its caches know events and interval of each step anyway
        wanted = set(manifest.subject_list)
        dataset.subject_list = [subject for subject in dataset.subject_list if str(subject) in wanted]
        if manifest.events is not None:
            dataset.event_id = {name: code for name, code in dataset.event_id.items() if name in manifest.events}
    return dataset


def register(*datasets: Any) -> list[str]:
    """Make datasets visible to ``moabb.benchmark``.

    Parameters
    ----------
    *datasets : str, path or Manifest
        Anything `open_dataset` takes, or manifests; none registers all manifests that travel with neurosig and whose
        recordings are there.

    Returns
    -------
    list of str
        The datasets' codes, for ``moabb.benchmark(include_datasets=...)``. Registering a dataset of the same name again
        replaces it.
    """
    import moabb.datasets
    import moabb.datasets.utils

    from neurosig.loaders.manifest import Manifest, list_manifests, open_dataset, read_manifest

    if datasets:
        manifests = [item if isinstance(item, Manifest) else open_dataset(item) for item in datasets]
    else:
        manifests = [
            manifest
            for name in list_manifests()
            if (manifest := read_manifest(name)).present and manifest.kind != "moabb" and manifest.modality != "fmri"
        ]
    names = {manifest.name for manifest in manifests}
    for attribute, value in list(vars(moabb.datasets).items()):
        ours = isinstance(value, type) and issubclass(value, RecordingsDataset) and value is not RecordingsDataset
        if ours and value.manifest.name in names:
            delattr(moabb.datasets, attribute)
    codes = []
    for manifest in manifests:
        manifest._refuse_fmri("as_moabb")
        cls = moabb_class(manifest)
        code = cls().code
        if manifest.kind != "moabb":
            setattr(moabb.datasets, code.replace("-", "_"), cls)
        codes.append(code)
    # MOABB keeps a list of the classes that it found at import, and has no public way to renew it
    moabb.datasets.utils._init_dataset()
    return codes


def _rebuild(manifest: Manifest, state: dict[str, Any]) -> RecordingsDataset:
    cls = moabb_class(manifest)
    dataset = cls.__new__(cls)
    dataset.__dict__.update(state)
    return dataset


def _moabb_subjects(subjects: list[str]) -> list[Any]:
    """Integers where all names are, else letters and digits only: MOABB makes BIDS names of them."""
    if all(re.fullmatch(r"0|[1-9][0-9]*", subject) for subject in subjects):
        return [int(subject) for subject in subjects]
    cleaned = [re.sub(r"[^a-zA-Z0-9]", "", subject) for subject in subjects]
    return cleaned if all(cleaned) and len(set(cleaned)) == len(cleaned) else list(range(1, len(subjects) + 1))


def _headers(manifest: Manifest) -> Iterator[tuple[str, mne.io.BaseRaw]]:
    """Name and header of the recordings; one run stands for all simulated ones, which are made alike."""
    if manifest.kind == "simulated":
        subject, session, run, raw = next(iter(manifest.raws(manifest.subject_list[:1])))
        yield f"subject {subject}, session {session}, run {run}", raw
        return
    failure: InputError | None = None
    n_read = 0
    for recording in manifest.recordings():
        try:
            (header,) = headers_of([recording])
        except InputError as error:
            failure = failure or error
            continue
        n_read += 1
        yield header
    if failure is not None and not n_read:
        raise failure


def _crop(trials: Any, n_times: int) -> Any:
    """Trials as MOABB hands them on, without the last sample that a rounded rate may give beyond the others'."""
    if isinstance(trials, dict) and trials["X"].shape[-1] == n_times + 1:
        return {**trials, "X": trials["X"][..., :n_times]}
    if hasattr(trials, "crop") and hasattr(trials, "tmin") and len(trials.times) == n_times + 1:
        return trials.crop(tmax=trials.times[n_times - 1], verbose="error")
    return trials


def _drop_unfinished(raw: mne.io.BaseRaw, manifest: Manifest) -> None:
    """Leave out events whose trial sticks out of the recording: MOABB drops such a trial too, but warns of each."""
    sfreq, cut = raw.info["sfreq"], manifest.processing
    notes = raw.annotations
    start = raw.first_time if notes.orig_time is not None else 0.0
    samples = np.round((notes.onset - start) * sfreq)
    inside = (samples + round(cut.tmin * sfreq) >= 0) & (samples + round(cut.tmax * sfreq) < raw.n_times)
    spans = np.array([text.lower().startswith(("bad", "edge")) for text in notes.description], bool)
    if not (keep := inside | spans).all():
        raw.set_annotations(notes[np.flatnonzero(keep)], verbose="error")


def _event_codes(names: list[str]) -> dict[str, int]:
    if set(names) == {"Target", "NonTarget"}:
        return {"Target": 2, "NonTarget": 1}  # as in MOABB's own P300 datasets
    return {name: number + 1 for number, name in enumerate(names)}


def _n_sessions(manifest: Manifest) -> int:
    if manifest.kind == "simulated":
        return manifest.source.simulated.n_sessions  # type: ignore[union-attr]
    sessions: dict[str, set[str]] = {}
    for recording in manifest.recordings():
        sessions.setdefault(recording.subject, set()).add(recording.session)
    return min(len(found) for found in sessions.values())
