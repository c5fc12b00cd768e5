"""`load_fmri`: region series of fMRI runs in one call, from volumes, surfaces, grayordinates or tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import ChannelError, InputError, NeurosigError, UsageError
from neurosig.core.lazy_runs import LazyRuns
from neurosig.core.log import progress as progress_bar
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.loaders.fmri_bids import find_derivatives, is_bids
from neurosig.loaders.fmri_confounds import split_by_run
from neurosig.loaders.fmri_files import RunFile, find_runs
from neurosig.loaders.fmri_metadata import (
    column_of,
    labelled,
    run_labels,
    run_table,
    run_times,
    times_among,
    with_columns,
)
from neurosig.loaders.fmri_read import RunItem, RunLoader
from neurosig.loaders.fmri_remarks import tell, with_files

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from neurosig.loaders.fmri_run import Run

__all__ = ["load_fmri"]


def load_fmri(
    path: Any,
    *,
    atlas: Any = None,
    confounds: Any = "auto",
    t_r: float | Sequence[float | None] | None = None,
    standardize: str | bool | None = "zscore_sample",
    detrend: bool = False,
    low_pass: float | None = None,
    high_pass: float | None = None,
    smoothing_fwhm: float | None = None,
    sample_mask: Any = None,
    mask: Any = None,
    strategy: str = "mean",
    min_coverage: float = 0.5,
    min_volumes: int = 2,
    task: str | Sequence[str] | None = None,
    space: str | None = None,
    subjects: str | Sequence[str] | None = None,
    sessions: str | Sequence[str] | None = None,
    labels: Any = None,
    events: Mapping[str, Any] | Sequence[str] | None = None,
    tmin: float | None = None,
    tmax: float | None = None,
    event_files: Any = None,
    metadata: Any = None,
    names: Sequence[str] | None = None,
    orientation: str | None = None,
    variable: str | None = None,
    mesh: Any = None,
    on_error: str | None = None,
    lazy: bool = False,
    memory: str | Path | None = None,
    n_jobs: int = 1,
    name: str | None = None,
    progress: bool | None = None,
) -> SignalDataset:
    """Load region series of fMRI runs.

    Parameters
    ----------
    path : str, Path, image, table, or list of them
        NIfTI runs; ``.dtseries.nii`` and ``.ptseries.nii``; functional GIFTI of two hemispheres; tables of region
        series (``.1D .tsv .csv .npy .npz .mat``); a folder of one of these; or the root of BIDS derivatives (fMRIPrep),
        also a dataset that has them under ``derivatives/``.
    atlas : Atlas, str, Path, image, (image, names), array, or (left, right)
        The regions. Of volumes: an `Atlas`, or what `Atlas.resolve` takes: "power", "dosenbach", "seitzman" (no network
        needed), "schaefer200" and other atlases of nilearn by name, "voxels" for every voxel that varies (or that
        `mask` holds), a file of labels or probabilistic maps, coordinates in mm. Of ``.dtseries.nii``: a
        ``.dlabel.nii``. Of surfaces: a pair of label files. Tables and ``.ptseries.nii`` need none.
    confounds : "auto", None, str, dict, table, or list of one a run
        What is regressed out. "auto": motion, white matter, cerebrospinal fluid and slow drifts (nilearn's "simple")
        where fMRIPrep's table lies beside a run, nothing elsewhere. "simple", "scrubbing", "compcor", "ica_aroma"; or a
        dict of what `nilearn.interfaces.fmriprep.load_confounds` takes. Else tables, or their files.
    t_r : float, or sequence of float, optional
        Repetition time in seconds, for all runs or one a run, where files don't say it, or not rightly. Files say it in
        their header, or under ``RepetitionTime`` of the JSON file beside them (tables too); a column ``t_r`` of
        `metadata` or participants.tsv says it for each run.
    standardize : {"zscore_sample", "psc", None}
        Each region to mean 0 and standard deviation 1 (ddof 1), to percent of its mean, or left as it is.
    detrend : bool
        Whether a straight line is removed from each region.
    low_pass, high_pass : float, optional
        Edges in Hz of nilearn's Butterworth filter. Where confounds hold slow cosines too, `high_pass` is refused; with
        "auto" it takes their place.
    smoothing_fwhm : float, optional
        Width in mm of a Gaussian that smooths volumes first.
    sample_mask : int or bool array, or list of one (or None) a run, optional
        Volumes to keep; those that scrubbing drops are dropped too.
    mask : str, Path or nibabel image, optional
        Voxels outside of it count for no region.
    strategy : str
        What a region of a label image is made of: "mean", "median", "standard_deviation", ...
    min_coverage : float
        Part of the atlas that must lie in the image, and part of its regions that must have been measured; below it,
        atlas and image are taken to be in different spaces.
    min_volumes : int
        Fewest volumes of a run, after dropping.
    task, space, subjects, sessions : str or sequence of str, optional
        What to take of a BIDS dataset.
    labels : str, dict, or sequence, optional
        What becomes `y`: a column of participants.tsv (or of `metadata`), a dict of subject to label, or one label a
        run. Runs without a label are left out, and a warning names them.
    events : dict or sequence of str, optional
        Cut trials: class name to trial type (or a list of them), or the types. With `tmin` and `tmax`.
    tmin, tmax : float, optional
        First and last second of a trial after its onset, both included. Without `events`, all types are taken.
    event_files : list of str, Path or DataFrame, optional
        The events of each run; by default the ``*_events.tsv`` beside it, or in the raw dataset.
    metadata : DataFrame or dict of sequences, optional
        Columns of the runs, one row a run in the order of `path`; ``subject``, ``session`` and ``run`` go before what
        names tell, ``t_r`` (s) before what files tell.
    names : sequence of str, optional
        Region names of tables that have none.
    orientation : {"rows_are_volumes", "rows_are_regions"}, optional
        Which way tables lie. Else their names tell, or the axis along which the numbers are smooth, which is time (see
        `neurosig.loaders.fmri_tables.read_table`).
    variable : str, optional
        Name of the array in ``.npz`` and ``.mat`` tables.
    mesh : object, optional
        Mesh of surfaces, for the regions' positions (see `neurosig.loaders.fmri_surface.read_gifti`).
    on_error : {"skip", "raise"}, optional
        What to do with a run that cannot be used: leave it out, and warn with the reasons (which
        ``info.extra["fmri"]["skipped"]`` keeps), or stop. By default runs of a BIDS dataset are left out, others stop.
    lazy : bool
        Leave the series on disk: X is `LazyRuns`, which reads a run when it is asked for; ``.load()`` reads all. Which
        regions a run of volumes lacks is then not told beforehand.
    memory : str or Path, optional
        Folder in which read series are kept, by the content of files and all settings; nothing is kept without it.
    n_jobs : int
        Processes that read at the same time; each holds one run.
    name : str, optional
        Name of the dataset; by default the file's or folder's.
    progress : bool, optional
        Show a progress bar; None shows it on a terminal.

    Returns
    -------
    SignalDataset
        X float32: an array (n_runs, n_regions, n_times) where runs are of one length, else a list of arrays (n_regions,
        n_times); (n_trials, n_regions, n_times) of trials. Every region of the atlas is there in its order; one that a
        run lacks is NaN throughout. Metadata: subject, session, run, task, file, t_r (s), n_volumes (as recorded), kept
        (numbers of the kept volumes; None: all) and the columns of participants.tsv. ``info.t_r`` is None where runs
        differ. ``info.extra["fmri"]`` tells for each run how it came about, and what was skipped.

    Raises
    ------
    InputError
        Files cannot be used as they are: damaged, images without repetition time, another space than the atlas's,
        confounds of another length, too few volumes; the message says what to do. Tables may lack the repetition time:
        a warning tells so, and ``t_r`` is None.
    UsageError
        The call is wrong.

    Notes
    -----
    Memory holds the volumes of one run at a time (of `n_jobs`), and the region series of all. What is regressed out and
    filtered is nilearn's `signal.clean`, on region series. Volume i is taken to stand for the time i · t_r.

    Examples
    --------
    >>> from neurosig import load_fmri
    >>> rest = load_fmri("derivatives/fmriprep", atlas="power", task="rest", labels="diagnosis")  # doctest: +SKIP
    >>> load_fmri("sub-01_task-rest_bold.nii.gz", atlas="schaefer200", t_r=2.0)  # doctest: +SKIP
    """
    if isinstance(standardize, bool):
        standardize = "zscore_sample" if standardize else None
    if standardize not in ("zscore_sample", "psc", None):
        raise UsageError(f"standardize must be 'zscore_sample', 'psc' or None, got {standardize!r}")
    if on_error not in (None, "skip", "raise"):
        raise UsageError(f"on_error must be 'skip' or 'raise', got {on_error!r}")
    cuts = events is not None or tmin is not None or tmax is not None
    if cuts and (tmin is None or tmax is None):
        raise UsageError("trials need tmin and tmax: first and last second after the event's onset")
    for option, value in (("low_pass", low_pass), ("high_pass", high_pass), ("smoothing_fwhm", smoothing_fwhm)):
        if value is not None and not (isinstance(value, Real) and not isinstance(value, bool)):
            raise UsageError(f"{option} must be a number, got {value!r}")
    if not isinstance(n_jobs, int) or n_jobs == 0:
        raise UsageError(f"n_jobs must be 1 or more, or -1 for all processors; got {n_jobs!r}")
    if min_volumes < 2:
        raise UsageError(f"min_volumes must be at least 2, got {min_volumes}")
    root = Path(path) if isinstance(path, str | Path) and is_bids(Path(path)) else None
    if root is None:
        found = find_runs(path, named=metadata is not None and "subject" in metadata)
        found = _chosen(found, task=task, space=space, subject=subjects, session=sessions)
    else:
        found = find_derivatives(
            root, task=task, space=space, subjects=subjects, sessions=sessions, kind=_kind_for(atlas)
        )
    title = name or (Path(path).name if isinstance(path, str | Path) else "fmri")
    if len(kinds := {item.kind for item in found}) > 1:
        raise UsageError(f"files of one kind are loaded at a time, these are {listed(sorted(kinds))}")
    if isinstance(atlas, str) and atlas == "voxels" and found[0].kind == "nifti":
        atlas, mask = _voxels(found, mask), None
    elif found[0].kind == "nifti":
        _refuse_run_as_atlas(atlas, found)
    loader = RunLoader(
        kind=found[0].kind, atlas=atlas, t_r=None, standardize=standardize, detrend=detrend, low_pass=low_pass,
        high_pass=high_pass, smoothing_fwhm=smoothing_fwhm, mask=mask, strategy=strategy, min_coverage=min_coverage,
        min_volumes=min_volumes, names=None if names is None else tuple(names), orientation=orientation,
        variable=variable, mesh=mesh, needs_confounds=root is not None,
        memory=None if memory is None else Path(memory),
    )  # fmt: skip
    if found[0].kind == "collection":
        loader.t_r = _times_of_collection(t_r, metadata)
        runs, table, stored = loader.collection(found, confounds, sample_mask)
        items: list[RunItem] = []
    else:
        items = [
            RunItem(item, given, keep)
            for item, given, keep in zip(
                found,
                split_by_run(confounds, len(found), "confounds"),
                split_by_run(sample_mask, len(found), "sample_mask"),
                strict=True,
            )
        ]
        table, stored, runs = run_table(found), None, []
    table = with_columns(table, metadata, root or _people_beside(path, table))
    y = stored if labels is None else run_labels(labels, table)
    table["file"] = [item.file.name for item in items] if items else [run.file for run in runs]
    if items:
        told = run_times(t_r, table, table["file"].tolist())
        items = [dataclasses.replace(item, t_r=seconds) for item, seconds in zip(items, told, strict=True)]
    keep = labelled(y, table) if y is not None else list(range(len(table)))
    skipped = [
        {"subject": str(table["subject"].iloc[i]), "file": str(table["file"].iloc[i]), "reason": "no label"}
        for i in sorted(set(range(len(table))) - set(keep))
    ]
    if items:
        skip = on_error == "skip" or (on_error is None and root is not None)
        runs, done, failed = _read(loader, [items[i] for i in keep], skip, lazy, n_jobs, progress, table.iloc[keep])
        keep, items = [keep[i] for i in done], [items[keep[i]] for i in done]
        skipped += failed
    else:
        runs = [runs[i] for i in keep]
    table = table.iloc[keep].reset_index(drop=True)
    y = None if y is None else y[keep]
    if y is not None and y.dtype == object:
        y = y.astype(str)
    if not lazy or not items:
        runs = _same_regions(runs)
    tell(runs, skipped)
    for column in ("t_r", "n_volumes", "kept"):
        table[column] = column_of([getattr(run, column) for run in runs])
    X: Any = LazyRuns(loader.array, items) if lazy and items else _stacked([run.data for run in runs])
    info = _info(runs, skipped, X, low_pass, high_pass)
    dataset = SignalDataset(X, y, table, info, name=title)
    if not cuts:
        return dataset
    from neurosig.loaders.fmri_events import cut_trials

    assert tmin is not None and tmax is not None  # for the type checker: checked above
    return cut_trials(dataset, _event_tables(event_files, items, found, keep, root), events, tmin, tmax, every=True)


def _people_beside(path: Any, table: pd.DataFrame) -> Path | None:
    """A plain folder whose participants.tsv names its people."""
    from neurosig.loaders.fmri_bids import participants

    if not isinstance(path, str | Path) or not (Path(path) / "participants.tsv").is_file():
        return None
    people = participants(path)
    return Path(path) if people is not None and set(table["subject"].astype(str)) & set(people.index) else None


def _times_of_collection(t_r: Any, metadata: Any) -> Any:
    """The repetition times that the runs of a collection are told: one, one a run, or None."""
    import pandas as pd

    if t_r is not None or metadata is None:
        return t_r
    told = times_among(pd.DataFrame(metadata), "metadata")
    return None if told is None or None in told else told


def _voxels(found: Sequence[RunFile], mask: Any) -> Any:
    """Voxels as regions: those of the mask, else all that vary in every run."""
    from neurosig.loaders.atlas import Atlas
    from neurosig.loaders.fmri_voxels import voxels_of

    return voxels_of([item.files[0] for item in found]) if mask is None else Atlas.from_mask(mask, name="voxels")


def _refuse_run_as_atlas(atlas: Any, found: Sequence[RunFile]) -> None:
    """A run in the atlas's place would pass for probabilistic maps, a region a volume."""
    if isinstance(atlas, str | Path) and Path(atlas).is_file():
        runs = [item.path for item in found if item.path is not None and item.path.is_file()]
        if same := [path.name for path in runs if path.samefile(atlas)]:
            raise UsageError(f"atlas: {same[0]} is one of the runs; pass an image of labels, or a name such as 'power'")


def _kind_for(atlas: Any) -> str | None:
    """The kind of files that an atlas is for, where only one is."""
    if isinstance(atlas, str | Path):
        return "cifti" if str(atlas).endswith(".dlabel.nii") else None
    pair = isinstance(atlas, tuple | list) and len(atlas) == 2 and all(isinstance(side, str | Path) for side in atlas)
    if pair and all(str(side).endswith((".gii", ".annot")) for side in atlas):
        return "gifti"
    return "cifti" if type(atlas).__name__ == "Cifti2Image" else None


def _chosen(found: list[RunFile], **wanted: Any) -> list[RunFile]:
    """Runs of files whose names tell task, space, subject or session."""
    for what, value in wanted.items():
        if value is None:
            continue
        names = [str(item) for item in ([value] if isinstance(value, str | int) else value)]
        there = sorted({str(getattr(item, what)) for item in found if getattr(item, what) is not None})
        found = [item for item in found if getattr(item, what) in names]
        if not found:
            raise InputError(f"no run of {what} {listed(names)}; the names tell {listed(there) or 'none'}")
    return found


def _read(
    loader: RunLoader,
    items: Sequence[RunItem],
    skip: bool,
    lazy: bool,
    n_jobs: int,
    progress: bool | None,
    table: pd.DataFrame,
) -> tuple[list[Run], list[int], list[dict[str, str]]]:
    """Runs (of lazy ones their heads), which of the items they are, and those that could not be read, with reasons."""
    catch: Any = NeurosigError if skip else ()
    work = loader.head if lazy else loader.load
    if n_jobs == 1 or lazy:
        loaded: Any = (_tried(work, item, catch) for item in items)
    else:
        import joblib

        loaded = joblib.Parallel(n_jobs, return_as="generator")(
            joblib.delayed(_tried)(work, item, catch) for item in items
        )
    runs: list[Run] = []
    done: list[int] = []
    failed = []
    for place, result in enumerate(progress_bar(loaded, total=len(items), desc="reading", unit="run", show=progress)):
        if isinstance(result, str):
            subject = str(table["subject"].iloc[place])
            failed.append({"subject": subject, "file": items[place].file.name, "reason": result})
        else:
            runs.append(result)
            done.append(place)
    if not runs:
        reasons = listed(with_files(failed), 3) or "none has a label"
        raise InputError(f"none of {len(items)} runs can be used: {reasons}")
    return runs, done, failed


def _tried(work: Any, item: RunItem, catch: Any) -> Run | str:
    try:
        return work(item)
    except catch as error:
        if isinstance(error, UsageError):  # the call is wrong for all runs
            raise
        return str(error)


def _same_regions(runs: list[Run]) -> list[Run]:
    """Runs with the same regions in the same order; regions that some tables lack are missing there."""
    import numpy as np

    first = runs[0].names or ()
    if all(run.names == first for run in runs):
        return runs
    widest = max(runs, key=lambda run: len(run.names or ()))
    names = tuple(widest.names or ())
    place = {name: i for i, name in enumerate(names)}
    same = []
    for run in runs:
        if unknown := [name for name in run.names or () if name not in place]:
            raise ChannelError(
                f"{run.file} has regions that {widest.file} lacks ({listed(unknown)}); load runs of one atlas"
            )
        data = np.full((len(names), run.data.shape[1]), np.nan, dtype=np.float32)
        data[[place[name] for name in run.names or ()]] = run.data
        same.append(run.replace(data=data, names=names, positions=widest.positions))
    return same


def _stacked(series: list[np.ndarray]) -> Any:
    import numpy as np

    return np.stack(series) if len({one.shape for one in series}) == 1 else series


def _info(
    runs: Sequence[Run], skipped: list[dict[str, str]], X: Any, low: float | None, high: float | None
) -> SignalSpec:
    import nilearn

    times = {None if run.t_r is None else round(run.t_r, 4) for run in runs}
    t_r = runs[0].t_r if len(times) == 1 else None
    told = {
        "nilearn": nilearn.__version__,
        "runs": [{"file": run.file, **run.provenance} for run in runs],
        "skipped": skipped,
    }
    return runs[0].spec.replace(
        t_r=t_r,
        sfreq=None if t_r is None else 1 / t_r,
        n_times=int(X.shape[2]) if hasattr(X, "shape") else None,
        lowpass=low,
        highpass=high,
        extra={"fmri": told},
    )


def _event_tables(
    given: Any, items: Sequence[RunItem], found: Sequence[RunFile], keep: Sequence[int], root: Path | None
) -> list[Any]:
    """The events of each run that was read."""
    from neurosig.loaders.fmri_events import events_beside

    if given is not None:
        tables = [given] if isinstance(given, str | Path) or hasattr(given, "columns") else list(given)
        if len(tables) != len(found):
            raise UsageError(f"event_files must be one for each of {len(found)} runs, got {len(tables)}")
        return [tables[i] for i in keep]
    tables = []
    for item in items:
        path = item.file.path
        table = None if path is None else events_beside(path, root)
        if table is None:
            raise InputError(f"{item.file.name}: no table of events (*_events.tsv) beside it; pass event_files=[...]")
        tables.append(table)
    return tables
