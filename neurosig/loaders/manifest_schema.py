"""What a dataset manifest may say: a typed schema, read from YAML that may come from anywhere.

Nothing in a manifest is trusted: every field is known by name and type, and a file name can never lead out of the
folder that it belongs to.
"""

from __future__ import annotations

import functools
import re
import string
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal, cast
from urllib.parse import urljoin, urlsplit

from pydantic import AfterValidator as After
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from neurosig.core.errors import ManifestError
from neurosig.core.signals import BANDS, Processing

__all__ = [
    "Archive",
    "FileEntry",
    "FilePattern",
    "FilesSource",
    "FmriFields",
    "FmriSimulation",
    "ManifestFields",
    "MoabbSource",
    "ReadFields",
    "SimulatedSource",
    "Simulation",
    "safe_join",
]

MAX_FILES = 100_000  # of one manifest: far more than any dataset has, few enough to list
_MAX_PATH = 1000  # characters of a path or address
_MAX_FIELDS = 9  # of a file name's rule


def _relative(name: str) -> str:
    """Refuse a file name that could lead out of its folder on any operating system."""
    parts = PurePosixPath(name).parts
    windows = PureWindowsPath(name)
    if not parts or name.startswith(("/", "~")) or windows.drive or windows.root or "\\" in name or "\0" in name:
        raise ValueError(f"must be a path inside the dataset's folder, written with '/', got {name!r}")
    if ".." in parts:
        raise ValueError(f"must not contain '..', got {name!r}")
    return name


def safe_join(folder: Path, name: str, links: bool = False) -> Path:
    """Path of `name` inside `folder`, with links followed and still inside it, unless `links` may lead anywhere.

    Raises
    ------
    ManifestError
        If the name, or a symbolic link on its way, leads out of the folder.
    """
    try:
        path = folder / _relative(name)
    except ValueError as error:
        raise ManifestError(f"unsafe file name: {error}") from None
    if not links and not path.resolve().is_relative_to(folder.resolve()):
        raise ManifestError(f"{path} is a link that leads out of {folder}: name the folder that really holds the files")
    return path


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _expand_ranges(value: Any) -> Any:
    """``"1-3"`` and ``[1-3, 7]`` as lists of names."""
    if value is None:
        return value
    names: list[Any] = []
    total = 0
    for item in value if isinstance(value, list | tuple) else [value]:
        span = re.fullmatch(r"([0-9]{1,5})\s*-\s*([0-9]{1,5})", item) if isinstance(item, str) else None
        total += 1 if span is None else int(span[2]) - int(span[1]) + 1
        if total > MAX_FILES:
            raise ValueError(f"names more than {MAX_FILES:,}; no dataset has that many")
        if span is None:
            names.append(_text(item))
        elif (first := int(span[1])) > (last := int(span[2])):
            raise ValueError(f"range {item!r} runs backwards")
        else:
            names += [str(number) for number in range(first, last + 1)]
    return tuple(names)


def _count(value: Any) -> Any:
    if isinstance(value, int) and not 1 <= value <= MAX_FILES:
        raise ValueError(f"expected a number from 1 to {MAX_FILES:,}, or names, got {value}")
    return value


def _http(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"must be an http or https address, got {url!r}")
    return url


def _one_line(text: str) -> str:
    return " ".join(text.split())


RelativePath = Annotated[str, Field(max_length=_MAX_PATH), After(_relative)]
Url = Annotated[str, Field(max_length=_MAX_PATH), After(_http)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Template = Annotated[str, Field(max_length=_MAX_PATH)]
Label = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=100)]
Names = Annotated[tuple[Label, ...], BeforeValidator(_expand_ranges)]
Prose = Annotated[str, After(_one_line)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class FileEntry(_Strict):
    """One recording: where it is, what its content must be, whose it is.

    ``sha256`` and ``size`` are those of the file as `path` names it; a ``.gz`` of it is accepted in its place.
    """

    path: RelativePath
    url: Template | None = None
    sha256: Sha256 | None = None
    size: Annotated[int, Field(ge=0)] | None = None
    subject: Label = "1"
    session: Label = "0"
    run: Label = "0"
    label: Label | None = None


class FilePattern(_Strict):
    """Many recordings named by one rule; ``{subject:03d}``, ``{session}`` and ``{run}`` stand for names and numbers."""

    path: Template
    url: Template | None = None
    subjects: Names
    sessions: Names = ("0",)
    runs: Names = ("0",)
    labels: dict[Label, Label] = {}

    @model_validator(mode="after")
    def _fields(self):
        for template in filter(None, (self.path, self.url)):
            fields = [(part[1], *part[2:]) for part in string.Formatter().parse(template) if part[1] is not None]
            if unknown := {name for name, _, _ in fields} - {"subject", "session", "run"}:
                raise ValueError(f"{template!r} may use {{subject}}, {{session}} and {{run}}, not {{{min(unknown)}}}")
            if len(fields) > _MAX_FIELDS:
                raise ValueError(f"{template[:80]!r} has {len(fields)} fields, expected {_MAX_FIELDS} at most")
            for name, form, conversion in fields:
                if conversion is not None or not re.fullmatch(r"(0?[0-9]{1,2}d)?", form or ""):
                    raise ValueError(f"{template!r}: expected {{{name}}} or a width such as {{{name}:03d}}")
        if self.size > MAX_FILES:
            raise ValueError(f"names {self.size:,} files, expected {MAX_FILES:,} at most")
        return self

    @property
    def size(self) -> int:
        """Number of recordings."""
        return len(self.subjects) * len(self.sessions) * len(self.runs)

    def expand(self) -> list[dict[str, Any]]:
        """One dictionary of `FileEntry` fields a recording."""
        entries = []
        for subject in self.subjects:
            for session in self.sessions:
                for run in self.runs:
                    texts = {"subject": subject, "session": session, "run": run}
                    values = {key: int(text) if text.isdecimal() else text for key, text in texts.items()}
                    try:
                        path = self.path.format(**values)
                        url = None if self.url is None else self.url.format(**values)
                    except ValueError as error:
                        raise ValueError(f"cannot fill {self.path!r} with {texts}: {error}") from None
                    entries.append({"path": path, "url": url, **texts, "label": self.labels.get(run)})
        return entries


class Archive(_Strict):
    """A zip or tar file that holds the recordings."""

    url: Url
    sha256: Sha256 | None = None


class FilesSource(_Strict):
    """Recordings in files, local or to be fetched.

    Parameters
    ----------
    local : str, optional
        Folder, relative to the folder of all collections (``NEUROSIG_DATA``).
    base_url : str, optional
        What relative addresses are relative to; without it, and without addresses, there is nothing to fetch.
    checksums_url : str, optional
        The publisher's own list of SHA-256 sums, for files whose sum is not given here.
    files, patterns : list
        The recordings, one by one or by rule.
    sha256 : dict of str to str
        Sums of files named by a pattern.
    extra : list
        Files that go with the recordings and are none: masks, atlases, tables of events and of people.
    archives : list
        Archives to fetch and unpack instead of single files.
    derived : str, optional
        How the files were made, where they are not the publisher's own: such a collection cannot be fetched.
    """

    local: RelativePath | None = None
    base_url: Url | None = None
    checksums_url: Url | None = None
    files: tuple[FileEntry, ...] = ()
    patterns: tuple[FilePattern, ...] = ()
    sha256: dict[RelativePath, Sha256] = {}
    extra: tuple[FileEntry, ...] = ()
    archives: tuple[Archive, ...] = ()
    derived: Prose | None = None

    @model_validator(mode="after")
    def _consistent(self):
        if not self.files and not self.patterns:
            raise ValueError("name the recordings under 'files' or 'patterns'")
        if (total := len(self.files) + sum(pattern.size for pattern in self.patterns)) > MAX_FILES:
            raise ValueError(f"names {total:,} files, expected {MAX_FILES:,} at most")
        seen: set[str] = set()
        for entry in (*self.entries, *self.also):
            if entry.path in seen:
                raise ValueError(f"{entry.path!r} is named twice")
            seen.add(entry.path)
        if unknown := set(self.sha256) - seen:
            raise ValueError(f"'sha256' names {min(unknown)!r}, which is not among the files")
        if self.derived and (self.base_url or self.archives):
            raise ValueError("a derived collection has no 'base_url': state its origin in 'derived' only")
        return self

    @functools.cached_property
    def entries(self) -> tuple[FileEntry, ...]:
        """Every recording, patterns expanded, addresses absolute, sums filled in."""
        listed = [entry.model_dump() for entry in self.files]
        for pattern in self.patterns:
            listed += pattern.expand()
        return self._complete(listed)

    @functools.cached_property
    def also(self) -> tuple[FileEntry, ...]:
        """Files beside the recordings, likewise; of all subjects where none is stated."""
        return self._complete(
            [{**entry.model_dump(), **({} if "subject" in entry.model_fields_set else {"subject": "*"})}
             for entry in self.extra]
        )  # fmt: skip

    def _complete(self, listed: list[dict[str, Any]]) -> tuple[FileEntry, ...]:
        for entry in listed:
            if self.base_url and not self.archives:
                entry["url"] = urljoin(self.base_url.rstrip("/") + "/", entry["url"] or entry["path"])
            if entry["url"] is not None:
                _http(entry["url"])
            entry["sha256"] = entry.get("sha256") or self.sha256.get(entry["path"])
        return tuple(FileEntry(**entry) for entry in listed)


class MoabbSource(_Strict):
    """A dataset that MOABB ships, by class name; MOABB downloads it."""

    moabb: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class Simulation(_Strict):
    """What `neurosig.loaders.simulated.simulate_recordings` makes."""

    kind: Literal["imagery", "p300", "ssvep"]
    n_subjects: Annotated[int, Field(ge=1, le=1000)] = 3
    n_sessions: Annotated[int, Field(ge=1, le=100)] = 2
    n_runs: Annotated[int, Field(ge=1, le=100)] = 2
    n_trials: Annotated[int, Field(ge=2, le=10000)] | None = None
    sfreq: Annotated[float, Field(gt=0)] = 128.0
    effect: Annotated[float, Field(ge=0)] = 1.0
    artifacts: bool = True
    random_state: Annotated[int, Field(ge=0)] = 0


class FmriSimulation(_Strict):
    """What `neurosig.loaders.simulated.simulate_fmri` makes; ``n_times`` and ``t_r`` are one for all, or one a site."""

    kind: Literal["fmri"]
    n_subjects: Annotated[int, Field(ge=1, le=1000)] = 20
    n_sessions: Annotated[int, Field(ge=1, le=100)] = 1
    n_runs: Annotated[int, Field(ge=1, le=100)] = 1
    n_times: int | tuple[int, ...] = 200
    t_r: float | tuple[float, ...] = 2.0
    n_sites: Annotated[int, Field(ge=1)] = 1
    n_regions: Annotated[int, Field(ge=2, le=2000)] = 40
    n_networks: Annotated[int, Field(ge=2)] = 5
    label: Literal["connectivity", "autocorrelation", "both"] = "connectivity"
    effect: Annotated[float, Field(ge=0)] = 1.0
    noise: Annotated[float, Field(ge=0)] = 0.4
    motion: Annotated[float, Field(ge=0)] = 1.0
    site_effect: Annotated[float, Field(ge=0)] = 1.0
    missing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    random_state: Annotated[int, Field(ge=0)] = 0


class SimulatedSource(_Strict):
    """Recordings made on demand, the same on every machine."""

    simulated: Annotated[Simulation | FmriSimulation, Field(discriminator="kind")]


def _source_kind(value: Any) -> str:
    have = value if isinstance(value, dict) else getattr(value, "model_fields_set", ())
    return next((kind for kind in ("moabb", "simulated") if kind in have), "files")


Source = Annotated[
    Annotated[FilesSource, Tag("files")]
    | Annotated[MoabbSource, Tag("moabb")]
    | Annotated[SimulatedSource, Tag("simulated")],
    Discriminator(_source_kind),
]


class ReadFields(_Strict):
    """How the files are read: fields of `neurosig.loaders.recordings.ReadOptions` not given elsewhere in a manifest."""

    rename: dict[str, str] = {}
    ch_types: dict[str, str] = {}
    drop: tuple[str, ...] = ()
    unit: str | None = None
    sfreq: Annotated[float, Field(gt=0)] | None = None
    stim_channel: str | None = None
    marker_column: str | tuple[str, ...] | None = None
    time_column: str | None = None
    window: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None = None
    on_nan: Literal["raise", "annotate"] = "raise"
    reject_uv: Annotated[float, Field(gt=0)] | None = None


class FmriFields(_Strict):
    """How the region series of an fMRI dataset are made.

    Parameters
    ----------
    atlas : str, optional
        For images: a coordinate atlas by name (power, dosenbach, seitzman), a label image among the files, or "voxels"
        for every voxel that varies. For files that hold region series: what their atlas is called.
    mask : str, optional
        Image of the voxels to keep, for "voxels".
    t_r : float, optional
        Repetition time in seconds, where neither the files nor the JSON files beside them nor a column ``t_r`` of
        `table` say it, or not rightly.
    confounds : str
        Of fMRIPrep: "auto", "simple", "scrubbing", "compcor", "ica_aroma" or "none".
    standardize, detrend, smoothing_fwhm, min_coverage, low_pass, high_pass : object
        As in `load_fmri`; the band is in Hz.
    regions : list of str, optional
        Region names, where the files have none. To `decode`, "training" means those of the model.
    unit : {"z", "psc", "a.u."}, optional
        Unit of series that are taken as they are; an ``.npz`` of several runs is cleaned only where none is stated.
    orientation : {"rows_are_volumes", "rows_are_regions"}, optional
        Of tables that may lie either way, where their numbers do not tell it.
    task, space : str, optional
        Which images of a BIDS derivatives folder.
    table : str, optional
        Table of the people (CSV, TSV) among the files: its columns become metadata.
    key : str
        Its column that holds the names of the subjects.
    missing : list of number or str
        Values in it that stand for missing ones, beside n/a and empty cells.
    labels : str, optional
        Its column, or that of participants.tsv, that is to be decoded.
    events_table : str, optional
        Name of a run's table of events (onset, duration, trial_type), with ``{run}``, ``{subject}``, ``{session}``.
    """

    atlas: Annotated[str, Field(max_length=_MAX_PATH)] | None = None
    mask: RelativePath | None = None
    t_r: Annotated[float, Field(gt=0)] | None = None
    confounds: Literal["auto", "simple", "scrubbing", "compcor", "ica_aroma", "none"] = "auto"
    standardize: Literal["zscore_sample", "psc", "none"] | None = None
    detrend: bool | None = None
    smoothing_fwhm: Annotated[float, Field(gt=0)] | None = None
    min_coverage: Annotated[float, Field(ge=0, le=1)] | None = None
    low_pass: Annotated[float, Field(gt=0)] | None = None
    high_pass: Annotated[float, Field(gt=0)] | None = None
    regions: Names | None = None
    unit: Literal["z", "psc", "a.u."] | None = None
    orientation: Literal["rows_are_volumes", "rows_are_regions"] | None = None
    task: str | None = None
    space: str | None = None
    table: RelativePath | None = None
    key: str = "participant_id"
    missing: tuple[int | float | str, ...] = ()
    labels: str | None = None
    events_table: Template | None = None


EventValue = str | int | tuple[str | int, ...]


def _event_map(value: Any) -> Any:
    """``[left_hand, right_hand]`` stands for events that carry their own names in the file."""
    if isinstance(value, list | tuple):
        return {_text(name): _text(name) for name in value}
    if isinstance(value, dict):
        return {_text(name): code for name, code in value.items()}
    return value


class ManifestFields(_Strict):
    """Everything a manifest states; `neurosig.loaders.manifest.Manifest` adds what can be done with it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    title: Prose
    modality: Literal["eeg", "meg", "seeg", "fmri"] = "eeg"
    paradigm: Literal["imagery", "p300", "ssvep"] | None = None
    description: Prose = ""
    source: Source
    licence: Prose = "see publisher"
    local_evaluation_only: bool = False
    citation: Prose = ""
    doi: str | None = None
    montage: str | None = None
    events: Annotated[dict[Label, EventValue] | None, BeforeValidator(_event_map)] = None
    subjects: Annotated[int | Names | None, BeforeValidator(_count)] = None
    sessions: Annotated[int, Field(ge=1)] | None = None
    read: ReadFields = ReadFields()
    fmri: FmriFields | None = None
    # not given only of fMRI, where runs are taken whole
    processing: Processing = cast(Processing, None)
    folds: Literal["auto", "run", "subject", "session", "chronological"] = "auto"  # shuffled: only who evaluates may
    line_freq: Annotated[float, Field(gt=0)] | None = None
    same_people: tuple[Prose, ...] = ()  # datasets in which they have the same names
    warnings: tuple[Prose, ...] = ()
    notes: Prose = ""

    @model_validator(mode="after")
    def _kind_of_signal(self):
        if self.modality == "fmri":
            made = isinstance(self.source, SimulatedSource) and isinstance(self.source.simulated, FmriSimulation)
            if self.paradigm is not None or not (made or isinstance(self.source, FilesSource)):
                raise ValueError("an fMRI manifest has files and no 'paradigm', or is simulated (kind: fmri)")
            if made and self.processing is not None:
                raise ValueError("simulated runs are taken whole: leave 'processing' out")
            if self.processing is not None and (self.fmri is None or self.fmri.events_table is None):
                raise ValueError("whole runs are not cut: leave 'processing' out, or name 'events_table' under 'fmri'")
            if self.processing is not None and {self.processing.fmin, self.processing.fmax} != {None}:
                raise ValueError("the band of fMRI is 'high_pass' and 'low_pass' (Hz) under 'fmri', not fmin and fmax")
        elif isinstance(self.source, SimulatedSource) and isinstance(self.source.simulated, FmriSimulation):
            raise ValueError(f"'kind: fmri' makes fMRI, and this is {self.modality}; state modality: fmri")
        elif self.processing is None:
            raise ValueError("'processing' says how trials are cut: processing: {tmin: 0.0, tmax: 3.0}")
        elif self.fmri is not None:
            raise ValueError(f"'fmri' belongs to modality fmri, this is {self.modality}")
        return self

    @model_validator(mode="after")
    def _band(self):
        """A manifest that states no band means its paradigm's: one for benchmark, train and load, and on record."""
        if self.modality == "fmri":
            return self
        if self.processing.fmin is None and self.processing.fmax is None:
            fmin, fmax = BANDS[self.paradigm or "imagery"]
            object.__setattr__(self, "processing", self.processing.replace(fmin=fmin, fmax=fmax))
        return self

    @model_validator(mode="after")
    def _paradigm_events(self):
        names = set(self.events or ())
        if self.paradigm == "p300" and names and names != {"Target", "NonTarget"}:
            raise ValueError(f"a p300 manifest names its events Target and NonTarget, got {', '.join(sorted(names))}")
        if self.paradigm == "ssvep" and not all(_is_number(name) for name in names - {"rest"}):
            raise ValueError(f"an ssvep manifest names its events by frequency in Hz, got {', '.join(sorted(names))}")
        return self


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None
