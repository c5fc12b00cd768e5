"""Recordings to clean: files and simulations, whose they are, and what their results are called."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import UsageError

if TYPE_CHECKING:
    import mne

    from neurosig.loaders.manifest import Manifest
    from neurosig.loaders.recordings import Recording

__all__ = ["Source", "sources_of", "sources_of_dataset"]


@dataclass(frozen=True)
class Source:
    """One recording to clean: a file, or a simulation.

    Parameters
    ----------
    subject, session, run : str
        Whose it is.
    recording : Recording, optional
        The file.
    simulated : dict, optional
        Arguments of `simulate_recordings` that make it.
    task : str, optional
        What was done meanwhile, where that is known.
    dataset : str, optional
        Name of the dataset that the subject's name is of.
    """

    subject: str
    session: str
    run: str
    recording: Recording | None = None
    simulated: Mapping[str, Any] | None = None
    task: str | None = None
    dataset: str | None = None

    @property
    def label(self) -> str:
        """Name of its results, from whose it is: of a file with entities in its name, whatever is cleaned beside it."""
        task = f"_task-{_plain(self.task)}" if self.task else ""
        return f"sub-{_plain(self.subject)}_ses-{_plain(self.session)}{task}_run-{_plain(self.run)}"

    @property
    def folder(self) -> Path:
        """Folder of its results below the output folder."""
        return Path(f"sub-{_plain(self.subject)}", f"ses-{_plain(self.session)}", "eeg")

    @property
    def file(self) -> str | None:
        """Where it was read, for the person at the machine; no page or record holds it."""
        return None if self.recording is None else str(self.recording.path)

    @property
    def on_nan(self) -> str:
        """What to do with NaN in part of a channel, see `ReadOptions`."""
        return "raise" if self.recording is None else self.recording.options.on_nan

    @property
    def montage(self) -> str | None:
        """The standard montage that it is read with, where one was named."""
        return None if self.recording is None else self.recording.options.montage

    def identity(self) -> Any:
        """JSON-like content by which the recording is known again: the file's sum and which of its trials."""
        if self.recording is None:
            return {"simulated": dict(self.simulated or {}), "place": [self.subject, self.session, self.run]}
        from neurosig.loaders.content import companions, content_sums

        select = self.recording.select
        return {
            "sums": content_sums(companions([self.recording.path])),
            "select": None if select is None else [int(row) for row in select],
        }

    def reading(self) -> Any:
        """JSON-like content: how the file is read."""
        if self.recording is None:
            return {}
        stated = dataclasses.asdict(self.recording)
        return json.loads(json.dumps({name: stated[name] for name in ("label", "options")}, default=str))

    def read(self) -> mne.io.BaseRaw:
        """Read it; events are annotations."""
        if self.recording is not None:
            from neurosig.loaders.recordings import read_recording

            return read_recording(self.recording)
        from neurosig.loaders.simulated import simulate_recordings

        made = simulate_recordings(**dict(self.simulated or {}), subjects=[self.subject])
        return next(item.raw for item in made if (item.session, item.run) == (self.session, self.run))


def sources_of(recordings: Iterable[Recording]) -> list[Source]:
    """Recordings of `neurosig.loaders.discover` as sources.

    Parameters
    ----------
    recordings : iterable of Recording
        Files. One whose name and folders tell neither subject, session nor run, and that is subject 1 only because
        `discover` has no other, counts as a subject of its own, named after the file: its number in the list would
        change with the list. Make a `Source` to name it otherwise.

    Returns
    -------
    list of Source
        In the same order.
    """
    recordings = list(recordings)
    held = Counter(item.path for item in recordings)
    return [
        Source(
            *((_stem(item.path), "0", "0") if _is_nameless(item, held[item.path]) else _place(item)),
            item,
            task=item.task,
        )
        for item in recordings
    ]


def sources_of_dataset(manifest: Manifest, subjects: Sequence[str] | None = None) -> list[Source]:
    """Recordings of a dataset as sources.

    Parameters
    ----------
    manifest : Manifest
        The dataset: of files, or simulated.
    subjects : sequence of str, optional
        Only these.

    Raises
    ------
    UsageError
        A subject is not there, or MOABB reads the dataset.
    """
    if manifest.kind == "moabb":
        raise UsageError(
            f"{manifest.name} is read by MOABB, which keeps its files in a place of its own: clean it inside the folds "
            f"(neurosig benchmark --dataset {manifest.name} --group cleaning), or give the downloaded files instead of "
            "--dataset"
        )
    if manifest.modality == "fmri":
        raise UsageError(
            f"{manifest.name} is fMRI, and recordings of EEG or MEG are expected here; its region series are for "
            "neurosig benchmark, train, decode and pretrain brainmae"
        )
    if manifest.kind != "simulated":
        return [
            Source(*_place(item), item, task=item.task, dataset=manifest.name) for item in manifest.recordings(subjects)
        ]
    made = manifest.replace(subjects=subjects)
    how = made.source.simulated.model_dump()  # type: ignore[union-attr]
    return [
        Source(str(subject), str(session), str(run), simulated=how, dataset=manifest.name)
        for subject in made.subject_list
        for session in range(how["n_sessions"])
        for run in range(how["n_runs"])
    ]


def _plain(text: str) -> str:
    """A BIDS label: letters and digits; what other scripts hold beyond accents is told apart by a few digits."""
    bare = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    label = re.sub(r"[^A-Za-z0-9]", "", bare)
    if any(sign.isalnum() and not sign.isascii() for sign in bare):
        label += hashlib.sha256(unicodedata.normalize("NFC", text).encode()).hexdigest()[:8]
    return label or "x"


def _place(item: Recording) -> tuple[str, str, str]:
    return item.subject, item.session, item.run


def _is_nameless(item: Recording, held: int) -> bool:
    """Whether nothing tells whose the recording is: its place is a mere count; `held` recordings share its file."""
    from neurosig.loaders.discover import entities

    counted = item.subject == "1" and item.session == "0" and item.run.isdigit() and held == 1
    return counted and item.bids_root is None and not entities(item.path)


def _stem(path: Path) -> str:
    """A file's name as a label, without its ending and what kind it is: ``patientA_raw.fif`` is patientA."""
    from neurosig.loaders.formats import SUFFIXES

    ending = next((end for end in sorted(SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(end)), "")
    stem = path.name.removesuffix(path.suffix) if not ending else path.name[: -len(ending)]
    return _plain(re.sub(r"(?<=.)[-_](raw|epo|eeg|meg|ieeg)$", "", stem, flags=re.IGNORECASE))
