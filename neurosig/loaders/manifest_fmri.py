"""From a manifest of fMRI to region series: runs of files or of collections, their people's table, labels, trials."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.log import logger
from neurosig.core.signals import Processing, SignalDataset, SignalSpec
from neurosig.loaders.content import find_file
from neurosig.loaders.fmri_collection import is_collection, read_collection
from neurosig.loaders.fmri_people import labels_of, read_people
from neurosig.loaders.fmri_voxels import voxels_of
from neurosig.loaders.manifest_schema import FileEntry, FmriFields, safe_join
from neurosig.loaders.recordings import Recording

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from neurosig.loaders.manifest import Manifest

__all__ = ["changed_fmri", "expand_runs", "load_runs", "reading_options"]

_FILES = ("atlas", "mask", "table")  # options that may name one
_MEANINGLESS = ("resample", "baseline", "picks")


def changed_fmri(
    manifest: Manifest, fmri: Mapping[str, Any], processing: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Fields of a manifest of fMRI after changes of how it is read, and files from elsewhere that these name.

    Raises
    ------
    UsageError
        An option that fMRI, or runs taken whole, do not have.
    """
    from pydantic import ValidationError

    given = {name: value for name, value in processing.items() if value is not None}
    if wrong := [name for name in _MEANINGLESS if name in given]:
        raise UsageError(
            f"{wrong[0]} is for EEG and MEG; region series of {manifest.name} keep their volumes and regions"
        )
    changes = {name: value for name, value in fmri.items() if value is not None}
    for name, edge in (("fmin", "high_pass"), ("fmax", "low_pass")):
        if name in given:
            changes[edge] = given.pop(name)
    if manifest.kind == "simulated" and (fixed := sorted(set(changes) - {"labels"})):
        raise UsageError(f"{fixed[0]} says how files are read, and {manifest.name} is simulated; leave it out")
    files: dict[str, Path] = {}
    for name in _FILES:
        # of surfaces, the atlas is a file for each hemisphere: left.label.gii,right.label.gii
        paths = [Path(part) for part in str(changes.get(name, "")).split(",")]
        if all(path.is_file() for path in paths):
            files |= {path.name: path.absolute() for path in paths}
            changes[name] = ",".join(path.name for path in paths)
    if unknown := sorted(set(changes) - set(FmriFields.model_fields)):
        raise UsageError(f"unknown option {unknown[0]!r} of fMRI; there are {', '.join(FmriFields.model_fields)}")
    before = manifest.fmri or FmriFields()
    try:
        after = FmriFields.model_validate({**before.model_dump(exclude_none=True), **changes})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"{first['loc'][0]}: {first['msg']}, got {first['input']!r}") from None
    update: dict[str, Any] = {"fmri": after}
    if "labels" in changes and changes["labels"] != before.labels:
        update["events"] = None  # those were of other labels
    if given:
        if after.events_table is None:
            raise UsageError(
                f"{next(iter(given))} cuts trials, and runs of {manifest.name} are taken whole: it names no tables of "
                "events (events_table)"
            )
        cut = manifest.processing
        update["processing"] = Processing(**given) if cut is None else cut.replace(**given)
    return update, files


def expand_runs(path: Path, entry: FileEntry, subjects: Sequence[str] | None) -> Iterator[Recording]:
    """The runs of a file: one, or as many as a collection holds."""
    if not is_collection(path):
        if subjects is None or entry.subject in subjects:
            yield Recording(path, entry.subject, entry.session, entry.run, entry.label)
        return
    held = read_collection(path, series=False)
    labels = [None] * len(held) if held.y is None else [str(label) for label in held.y.tolist()]
    for row, subject in enumerate(held.subjects):
        if subjects is None or subject in subjects:
            yield Recording(path, subject, held.sessions[row], held.runs[row], labels[row], select=(row,))


def reading_options(fmri: FmriFields) -> dict[str, Any]:
    """What `load_fmri` is told: options that are not stated are left to it."""
    plain = (
        "t_r",
        "detrend",
        "smoothing_fwhm",
        "min_coverage",
        "low_pass",
        "high_pass",
        "task",
        "space",
        "orientation",
    )
    options = {name: value for name in plain if (value := getattr(fmri, name)) is not None}
    if fmri.standardize is not None:
        options["standardize"] = None if fmri.standardize == "none" else fmri.standardize
    options["confounds"] = None if fmri.confounds == "none" else fmri.confounds
    return options


def _image_options(manifest: Manifest, fmri: FmriFields) -> dict[str, Any]:
    """The mask that bounds the regions of an atlas; alone, or with "voxels", it is the atlas itself."""
    bounds = fmri.mask is not None and fmri.atlas not in (None, "voxels")
    return {"mask": _beside(manifest, str(fmri.mask))} if bounds else {}


@dataclasses.dataclass
class _Part:
    """Runs that came out of one file, or of one call of `load_fmri`."""

    X: Sequence[np.ndarray]
    y: list[Any] | None
    metadata: pd.DataFrame
    info: SignalSpec


def load_runs(manifest: Manifest, *, progress: bool | None = None) -> SignalDataset:
    """Region series of all runs of a manifest (see `Manifest.load`)."""
    fmri = manifest.fmri or FmriFields()
    if manifest.kind == "simulated":
        return _simulated(manifest, fmri)
    recordings = manifest.recordings()
    parts = []
    if manifest._stored is not None:
        parts.append(_of_store(manifest._stored, recordings))
    elif manifest._derivatives is not None:
        parts.append(_of_derivatives(manifest, fmri, recordings, progress))
    else:
        stacked = [item for item in recordings if item.select is not None]
        parts += [
            _of_collection(manifest, path, [item for item in stacked if item.path == path], fmri)
            for path in dict.fromkeys(item.path for item in stacked)
        ]
        if single := [item for item in recordings if item.select is None]:
            parts.append(_of_files(manifest, fmri, single, progress))
    X, stored, table, info = _joined(parts, manifest.name)
    if all(item.select is not None for item in recordings):
        _tell_untimed(manifest, table)  # of files of one run each, load_fmri tells it
    table, y = _with_people(manifest, fmri, table, stored)
    dataset = SignalDataset(X, None, table, info, name=manifest.name)
    if manifest.processing is not None:
        return _trials(manifest, fmri, dataset)
    if manifest._unlabelled:
        return dataset
    return _labelled(manifest, dataset, y)


def _tell_untimed(manifest: Manifest, table: pd.DataFrame) -> None:
    import pandas as pd

    if untimed := int(pd.to_numeric(table["t_r"], errors="coerce").isna().sum()):
        warnings.warn(
            f"{manifest.name}: {untimed} of {len(table)} runs do not say the repetition time, which filters, windows "
            "and networks need; pass t_r=seconds",
            stacklevel=3,
        )


def _simulated(manifest: Manifest, fmri: FmriFields) -> SignalDataset:
    """Runs made on demand; what is known of the people, such as their score, may be the label."""
    from neurosig.loaders.simulated import simulate_fmri

    how = manifest.source.simulated.model_dump(exclude={"kind"})  # type: ignore[union-attr]
    made = simulate_fmri(**how, subjects=manifest.subject_list)
    made = dataclasses.replace(made, name=manifest.name)
    bare = dataclasses.replace(made, y=None)
    if manifest._unlabelled:
        return bare
    y = made.y if fmri.labels is None else labels_of(made.metadata, fmri.labels, f"the people of {manifest.name}")
    return _labelled(manifest, bare, y)


def _of_collection(manifest: Manifest, path: Path, recordings: Sequence[Recording], fmri: FmriFields) -> _Part:
    import numpy as np
    import pandas as pd

    held = read_collection(path, t_r=fmri.t_r, names=fmri.regions, orientation=fmri.orientation)
    held = held.take([item.select[0] for item in recordings])  # type: ignore[index]
    if held.t_r is None and (times := _times_of_people(manifest, fmri, held.subjects)):
        held = dataclasses.replace(held, t_r=np.array(times["t_r"], dtype=float))
    X, unit = (held.X, fmri.unit) if fmri.unit is not None else _cleaned(path, held, fmri)
    table = pd.DataFrame(
        {
            "subject": held.subjects, "session": held.sessions, "run": held.runs, **held.columns,
            "file": [f"{path.name}[{item.select[0]}]" for item in recordings],  # type: ignore[index]
            "t_r": float("nan") if held.t_r is None else held.t_r, "n_volumes": [run.shape[1] for run in X],
            "kept": None,
        }
    )  # fmt: skip
    info = SignalSpec(modality="fmri", ch_names=tuple(held.names), unit=unit, atlas=fmri.atlas)
    return _Part(X, None if held.y is None else held.y.tolist(), table, info)


def _cleaned(path: Path, held: Any, fmri: FmriFields) -> tuple[list[np.ndarray], str]:
    """Runs cleaned as `load_fmri` cleans them, and their unit."""
    from neurosig.loaders.fmri_clean import UNITS, clean_series

    standardize = {None: "zscore_sample", "none": None}.get(fmri.standardize, fmri.standardize)
    times = [None] * len(held) if held.t_r is None else held.t_r.tolist()
    X = [
        clean_series(
            run, t_r, standardize=standardize, detrend=bool(fmri.detrend), low_pass=fmri.low_pass,
            high_pass=fmri.high_pass, source=f"{path.name}, {subject}",
        )
        for run, t_r, subject in zip(held.X, times, held.subjects, strict=True)
    ]  # fmt: skip
    return X, UNITS[standardize]


def _of_store(path: Path, recordings: Sequence[Recording]) -> _Part:
    """Runs of a stored `SignalDataset`, as they are."""
    import numpy as np

    part = SignalDataset.from_zarr(path).subset(np.array([item.select[0] for item in recordings]))  # type: ignore[index]
    y = None if part.y is None else np.asarray(part.y).tolist()
    return _Part([np.asarray(part.X[place]) for place in range(len(part))], y, part.metadata, part.info)


def _of_files(manifest: Manifest, fmri: FmriFields, recordings: Sequence[Recording], progress: bool | None) -> _Part:
    """Runs of one file each; whose they are the manifest says."""
    from neurosig.loaders.fmri import load_fmri

    paths = [item.path for item in recordings]
    options = {**reading_options(fmri), **_image_options(manifest, fmri)}
    if fmri.regions is not None:
        options["names"] = list(fmri.regions)
    with warnings.catch_warnings():  # names of files need not tell what the manifest says
        warnings.filterwarnings("ignore", message=".*names tell no subject or run")
        loaded = load_fmri(
            [manifest._pairs.get(path, path) for path in paths], atlas=_atlas_of(manifest, fmri, paths),
            metadata={
                **{name: [getattr(item, name) for item in recordings] for name in ("subject", "session", "run")},
                **_times_of_people(manifest, fmri, [item.subject for item in recordings]),
            },
            progress=progress, **options,
        )  # fmt: skip
    labels = [item.label for item in recordings]
    info = loaded.info if fmri.unit is None else loaded.info.replace(unit=fmri.unit)
    return _Part(loaded.X, labels if any(labels) else None, loaded.metadata.reset_index(drop=True), info)


def _times_of_people(manifest: Manifest, fmri: FmriFields, subjects: Sequence[str]) -> dict[str, Any]:
    """A column of the repetition times of runs, where the table of people holds one."""
    from neurosig.loaders.fmri_metadata import times_among

    if fmri.table is None:
        return {}
    people = read_people(_beside(manifest, fmri.table), fmri.key, fmri.missing)
    times = times_among(people.reindex(list(subjects)), fmri.table)
    return {} if times is None else {"t_r": times}


def _of_derivatives(
    manifest: Manifest, fmri: FmriFields, recordings: Sequence[Recording], progress: bool | None
) -> _Part:
    """Runs of a BIDS derivatives folder; participants.tsv has told their columns."""
    from neurosig.loaders.fmri import load_fmri

    people = list(manifest._subjects) if manifest._subjects else None
    loaded = load_fmri(
        manifest._derivatives, atlas=_atlas_of(manifest, fmri, [item.path for item in recordings]), progress=progress,
        subjects=people, **reading_options(fmri), **_image_options(manifest, fmri),
    )  # fmt: skip
    return _Part(loaded.X, None, loaded.metadata.reset_index(drop=True), loaded.info)


def _atlas_of(manifest: Manifest, fmri: FmriFields, paths: Sequence[Path]) -> Any:
    """What `load_fmri` is told of the regions: a file of the dataset, every voxel that varies, or the name."""
    from neurosig.loaders.atlas import Atlas

    if fmri.atlas in (None, "voxels") and fmri.mask is not None:
        return Atlas.from_mask(_beside(manifest, fmri.mask))
    if fmri.atlas == "voxels":
        return voxels_of(paths)
    if fmri.atlas is None:
        return None
    found = [_named_file(manifest, name) for name in fmri.atlas.split(",")]
    return tuple(found) if len(found) == 2 else found[0]


def _named_file(manifest: Manifest, name: str) -> Any:
    """A file by its name: one that was given, else one of the dataset; a name that is none stays a name."""
    if name in manifest._given or Path(name).is_absolute():
        return manifest._given.get(name, name)
    inside = find_file(safe_join(manifest.folder, name, manifest._links))
    return name if inside is None else inside


def _joined(parts: Sequence[_Part], name: str) -> tuple[Any, list[Any] | None, pd.DataFrame, SignalSpec]:
    """All runs as one sequence; regions must be the same everywhere."""
    import numpy as np
    import pandas as pd

    first = parts[0].info
    for part in parts[1:]:
        if part.info.ch_names != first.ch_names or part.info.unit != first.unit:
            raise ChannelError(
                f"{name}: its files differ in regions or unit: {part.info!r} and {first!r}; use one atlas"
            )
    if len(parts) == 1:
        X: Any = parts[0].X
        y, table = parts[0].y, parts[0].metadata
    else:
        X = [run for part in parts for run in part.X]
        every = [part.y or [None] * len(part.metadata) for part in parts]
        y = [label for labels in every for label in labels] if any(part.y for part in parts) else None
        table = pd.concat([part.metadata for part in parts], ignore_index=True)
    if isinstance(X, list) and len({run.shape for run in X}) == 1:
        X = np.stack(X)
    times = pd.to_numeric(table["t_r"]).unique()
    t_r = float(times[0]) if len(times) == 1 and np.isfinite(times[0]) else None
    info = first.replace(t_r=t_r, sfreq=None if t_r is None else 1 / t_r, n_times=getattr(X, "shape", (None,))[-1])
    return X, y, table, info


def _with_people(
    manifest: Manifest, fmri: FmriFields, table: pd.DataFrame, y: list[Any] | None
) -> tuple[pd.DataFrame, np.ndarray | None]:
    """Metadata with the columns of the people's table, and labels, None or NaN where a run has none."""
    import numpy as np

    people = None
    if fmri.table is not None:
        people = read_people(_beside(manifest, fmri.table), fmri.key, fmri.missing)
        found = people.reindex(table["subject"].astype(str))
        absent = sorted(set(table["subject"].astype(str)) - set(people.index))
        if absent:
            logger.warning(
                "%s: %d subjects are not in %s: %s", manifest.name, len(absent), fmri.table, listed(absent, 6)
            )
        for column in people.columns:
            if column not in table:
                table = table.assign(**{str(column): found[column].to_numpy()})
    if fmri.labels is not None:
        return table, labels_of(table, fmri.labels, f"the table of people of {manifest.name}")
    if y is None:
        return table, None
    numbers = all(isinstance(label, float) for label in y)
    return table, np.array(y, dtype=float if numbers else object)


def _labelled(manifest: Manifest, dataset: SignalDataset, y: np.ndarray | None) -> SignalDataset:
    """Runs of the classes that are asked for; runs without a label are left out, and told."""
    import numpy as np

    if y is None:
        if manifest.events:
            raise InputError(
                f"{manifest.name} has no labels for {', '.join(manifest.events)}: name a column of the table of people "
                "(labels, --labels)"
            )
        return dataset
    known = np.array([label is not None and label == label for label in y])
    if not known.all():
        who = dataset.metadata["subject"][~known].astype(str).tolist()
        logger.warning("%s: %d runs have no label and are left out: %s", manifest.name, len(who), listed(who, 6))
    if y.dtype.kind == "f":
        if manifest.events:
            raise InputError(f"{manifest.name}: its labels are numbers, so no classes can be chosen; leave events out")
        return dataclasses.replace(_taken(dataset, known), y=y[known])
    _refuse_unknown_classes(manifest, y[known])
    named = _named(manifest, y[known])
    keep = np.flatnonzero(known)[[label is not None for label in named]]
    if not len(keep):
        there = sorted({str(label) for label in y[known]})
        raise InputError(
            f"{manifest.name} has no runs of {listed(manifest.events or (), 8)}; its labels are {listed(there, 12)}"
        )
    return dataclasses.replace(
        _taken(dataset, keep), y=np.array([label for label in named if label is not None]).astype(str)
    )


def _refuse_unknown_classes(manifest: Manifest, labels: np.ndarray) -> None:
    """A class that nobody bears is a slip of the pen, where all people of someone's own files are there."""
    if not manifest.adhoc or manifest._subjects is not None or not manifest.events:
        return
    there = {str(label) for label in labels}
    if unknown := [name for name, values in manifest.events.items() if not _values(values) & there]:
        raise UsageError(
            f"{manifest.name} has no runs of {listed(unknown, 8)}; its labels are {listed(sorted(there), 12)}"
        )


def _values(values: Any) -> set[str]:
    return {str(value) for value in (values if isinstance(values, list | tuple | set) else [values])}


def _named(manifest: Manifest, labels: np.ndarray) -> list[str | None]:
    """Labels under the names that the manifest gives them; None for classes that are not asked for."""
    if not manifest.events:
        return [str(label) for label in labels]
    names: dict[str, str] = {}
    for name, values in manifest.events.items():
        for value in values if isinstance(values, list | tuple) else [values]:
            names[str(value)] = name
    return [names.get(str(label)) for label in labels]


def _taken(dataset: SignalDataset, rows: np.ndarray) -> SignalDataset:
    import numpy as np

    every = len(rows) == len(dataset) and (rows.dtype != bool or bool(rows.all()))
    return dataset if every else dataset.subset(np.asarray(rows))


def _trials(manifest: Manifest, fmri: FmriFields, dataset: SignalDataset) -> SignalDataset:
    """Trials around the events of each run's table."""
    from neurosig.loaders.fmri_events import cut_trials

    cut = manifest.processing
    tables = [_events_of(manifest, fmri, about) for about in dataset.metadata.to_dict(orient="records")]
    try:
        return cut_trials(dataset, tables, manifest.events or None, cut.tmin, cut.tmax)
    except InputError as error:
        raise type(error)(f"{manifest.name}: {error}") from error


def _events_of(manifest: Manifest, fmri: FmriFields, about: Mapping[str, Any]) -> Path:
    """The table of events of a run, by the manifest's rule."""
    template = str(fmri.events_table)
    if template == "auto":
        return manifest._events_tables[str(about["file"])]
    values = {
        key: int(text) if (text := str(about[key])).isdecimal() else text for key in ("subject", "session", "run")
    }
    try:
        name = template.format(**values)
    except (KeyError, ValueError, IndexError) as error:
        raise UsageError(f"events_table {template!r} cannot be filled with {values}: {error}") from None
    return _beside(manifest, name)


def _beside(manifest: Manifest, name: str) -> Path:
    """A file of the dataset that is no recording."""
    path = manifest._given.get(name) or find_file(safe_join(manifest.folder, name, manifest._links))
    if path is None:
        raise InputError(f"{name} of {manifest.name} is not in {manifest.folder}; put it beside the recordings")
    return path
