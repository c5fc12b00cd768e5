"""What is in an fMRI file, and what is wrong with it: NIfTI, CIFTI-2, GIFTI, tables of region series."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, NeurosigError
from neurosig.loaders.fmri_cifti import reading_values
from neurosig.loaders.fmri_clean import check_t_r
from neurosig.loaders.inspect_fmri_scan import (
    Content,
    measures_of,
    problem,
    problems_of,
    scan_series,
    spikes_of,
    told_beside,
    values_of,
)

if TYPE_CHECKING:
    import numpy as np

    from neurosig.loaders.fmri_run import Run

__all__ = ["FmriInspection", "inspect_fmri", "look_into_fmri"]

_BLOCK = 32e6  # bytes of grayordinates read at a time


@dataclass(frozen=True)
class FmriInspection:
    """An fMRI file looked into.

    Parameters
    ----------
    report : dict
        JSON-like; what `inspect_fmri` gives.
    rows : array of shape (n_shown, n_volumes)
        Series of regions, or of some voxels or vertices.
    names : list of str
        Of the regions; empty for voxels and vertices.
    image : array of shape (x, y, z), or None
        Mean volume.
    measures : dict of str to array of shape (n_volumes,)
        ``global`` (mean over rows), ``dvars`` (their change from the volume before, root mean square; 0 at the first),
        and ``fd`` (mm) where a table of confounds tells it.
    """

    report: dict[str, Any]
    rows: np.ndarray
    names: list[str] = field(default_factory=list)
    image: Any = None
    measures: Mapping[str, np.ndarray] = field(default_factory=dict)


def inspect_fmri(path: str | Path, *, t_r: float | None = None, atlas: Any = None, **options: Any) -> dict[str, Any]:
    """Tell what is in an fMRI file.

    Parameters
    ----------
    path : str or Path
        NIfTI, CIFTI-2 (``.dtseries.nii``, ``.ptseries.nii``), functional GIFTI of one hemisphere, a table of region
        series, or an ``.npz`` of several runs.
    t_r : float, optional
        Repetition time in seconds, where the file does not say.
    atlas : Atlas, str or Path, optional
        Look at its regions instead of voxels (NIfTI) or grayordinates (a ``.dlabel.nii``). "voxels" are those that
        vary, by their indices.
    **options
        Of tables: orientation, variable, names, as `neurosig.loaders.fmri_tables.read_table` takes them. Of NIfTI with
        an atlas: min_coverage, as `neurosig.load_fmri` takes it.

    Returns
    -------
    dict
        JSON-like: file, format, size_bytes, modality, kind (of the rows), n_rows, names (of regions), n_volumes, t_r
        and duration (s, None where unknown), values (median, sd, min, max; tsnr: mean over standard deviation),
        details (of the format), events (counts), confounds (of fMRIPrep), spikes (numbers of far-out volumes), notes,
        problems (kind, message, regions).

    Raises
    ------
    InputError
        The file cannot be read, or holds no series.
    """
    return look_into_fmri(path, t_r=t_r, atlas=atlas, **options).report


def look_into_fmri(path: str | Path, *, t_r: float | None = None, atlas: Any = None, **options: Any) -> FmriInspection:
    """Open, scan and judge an fMRI file; arguments as of `inspect_fmri`."""
    from neurosig.loaders.fmri_files import KINDS, kind_of

    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such file: {path}" if not path.exists() else f"{path} is a folder: give one of its files")
    kind = kind_of(path)
    if kind is None:
        raise InputError(f"{path.name} is no fMRI series by its name; expected {'; '.join(KINDS.values())}")
    if t_r is not None:
        t_r = check_t_r(t_r, "t_r")
    opened = {"nifti": _nifti, "cifti": _cifti, "gifti": _gifti, "table": _table, "collection": _collection}[kind]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        content = opened(path, t_r, atlas, options)
        with reading_values(path.name):  # of grayordinates pieces are read here
            rows, found = scan_series(content.blocks, content.n_rows)
    for entry in caught:
        if issubclass(entry.category, UserWarning) and not issubclass(entry.category, DeprecationWarning):
            content.notes.append(" ".join(str(entry.message).split()))
    measures = measures_of(rows)
    events, confounds, displacement = told_beside(path, content)
    if displacement is not None and len(displacement) == rows.shape[1]:
        measures["fd"] = displacement
    spikes = spikes_of(measures["dvars"])
    problems = content.problems + problems_of(content, found, rows, measures, spikes, confounds)
    report = {
        "file": path.name,
        "format": content.format,
        "size_bytes": path.stat().st_size,
        "modality": "fmri",
        "kind": content.kind,
        "n_rows": content.n_rows,
        "names": content.names,
        "n_volumes": int(rows.shape[1]),
        "t_r": content.t_r,
        "duration": None if content.t_r is None else content.t_r * rows.shape[1],
        "values": values_of(rows),
        "details": content.details,
        "events": events,
        "confounds": confounds,
        "spikes": spikes,
        "notes": list(dict.fromkeys(content.notes)),
        "problems": problems,
    }
    return FmriInspection(report, rows, content.names, content.image, measures)


# --------------------------------------------------------------------------------------------------------- the readers


def _nifti(path: Path, t_r: float | None, atlas: Any, options: Mapping[str, Any]) -> Content:
    import nibabel
    import numpy as np

    from neurosig.loaders.fmri_images import image_data, repetition_time, run_image

    _no_options({name: value for name, value in options.items() if name != "min_coverage"}, "NIfTI images")
    image, _, shape = run_image(path)
    problems = []
    period = None
    try:
        period = repetition_time(image, path, t_r)
    except NeurosigError as error:
        problems.append(problem("t_r", str(error)))
    header = image.header
    code = int(header["sform_code"]) or int(header["qform_code"]) if "sform_code" in header else 0
    zooms = [round(float(zoom), 4) for zoom in header.get_zooms()[:3]]
    details = {
        "shape": list(shape[:3]),
        "voxel_mm": zooms,
        "orientation": "".join(nibabel.aff2axcodes(image.affine)),
        "space": {0: "unknown", 1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI152"}.get(code, "other template"),
        "stored_as": str(header.get_data_dtype()),
    }
    if code == 0:
        problems.append(problem("space", "the header names no space (sform and qform code 0): is the affine real?"))
    if atlas is not None:
        from neurosig.loaders.fmri_volumes import read_nifti
        from neurosig.loaders.fmri_voxels import voxels_of

        with _untold():
            regions = voxels_of([path]) if atlas == "voxels" else atlas
            covered = {"min_coverage": options["min_coverage"]} if "min_coverage" in options else {}
            run = read_nifti(image, regions, t_r=period or 1.0, standardize=None, **covered)
        details["atlas"] = run.atlas
        return _of_regions("NIfTI", run, period, details=details, problems=problems)
    data = image_data(image, path)
    finite = np.isfinite(data) if data.dtype.kind == "f" else None
    mean = np.asarray(
        np.nanmean(np.where(finite, data, np.nan), axis=3)
        if finite is not None and not finite.all()
        else data.mean(axis=3, dtype=np.float32)
    )
    mask, way = _brain(mean, data, image.affine)
    details["voxels_in_mask"] = int(mask.sum())
    details["mask"] = way
    if finite is not None and (outside := int((~finite[~mask]).sum())):
        details["not_finite_outside_mask"] = outside
    content = Content("NIfTI", "voxels", [data[mask]], int(mask.sum()), period, image=np.nan_to_num(mean),
                       details=details, problems=problems)  # fmt: skip
    return content


def _brain(mean: np.ndarray, data: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, str]:
    """Voxels of the brain, by nilearn; where it finds none (a slice, say), those that change at all."""
    import nibabel
    import numpy as np
    from nilearn.masking import compute_epi_mask

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = nibabel.Nifti1Image(np.nan_to_num(mean).astype(np.float32), affine)
            mask = np.asarray(compute_epi_mask(image).dataobj).astype(bool)
        if mask.sum() >= 50:
            return mask, "brain, by nilearn.masking.compute_epi_mask"
    except (ValueError, TypeError, IndexError):  # too few voxels for its opening and largest component
        pass
    mask = data.max(axis=3) != data.min(axis=3)
    if not mask.any():
        mask = np.ones(mean.shape, dtype=bool)
    return mask, "all voxels that change"


def _cifti(path: Path, t_r: float | None, atlas: Any, options: Mapping[str, Any]) -> Content:
    from nibabel.cifti2 import BrainModelAxis, SeriesAxis

    from neurosig.loaders.fmri_cifti import open_cifti, period_of, read_cifti

    _no_options(options, "CIFTI files")
    image, _ = open_cifti(path)
    axes = [image.header.get_axis(i) for i in range(image.ndim)]
    problems = []
    period = None
    if not isinstance(axes[0], SeriesAxis):
        raise InputError(f"{path.name} holds no series; expected .dtseries.nii or .ptseries.nii")
    try:
        period = period_of(axes[0], t_r, path.name)
    except NeurosigError as error:
        problems.append(problem("t_r", str(error)))
    if isinstance(axes[1], BrainModelAxis) and atlas is None:
        structures = {
            str(name).removeprefix("CIFTI_STRUCTURE_").lower(): len(model)
            for name, _, model in axes[1].iter_structures()
        }
        size = int(image.shape[1])
        step = max(1, int(_BLOCK // (4 * int(image.shape[0]))))
        blocks = (_grayordinates(image, start, start + step) for start in range(0, size, step))
        return Content("CIFTI-2", "grayordinates", blocks, size, period, details={"structures": structures},
                        problems=problems)  # fmt: skip
    with _untold():
        run = read_cifti(path, atlas=atlas, t_r=period or 1.0, standardize=None)
    details = {"atlas": run.atlas} if run.atlas else {}
    return _of_regions("CIFTI-2", run, period, details=details, problems=problems)


def _grayordinates(image: Any, start: int, stop: int) -> np.ndarray:
    import numpy as np

    return np.asarray(image.dataobj[:, start:stop], dtype=np.float32).T


@contextlib.contextmanager
def _untold() -> Iterator[None]:
    """Read with a repetition time that nobody gave: nothing that is looked at depends on it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is used as you said.*")
        yield


def _gifti(path: Path, t_r: float | None, atlas: Any, options: Mapping[str, Any]) -> Content:
    from neurosig.loaders.fmri_images import sidecar
    from neurosig.loaders.fmri_surface import surface_series

    _no_options(options, "GIFTI files")
    if atlas is not None:
        raise InputError(f"{path.name} is one hemisphere; load_fmri takes both with the labels of both")
    series = surface_series(path)
    problems = []
    period = t_r
    if period is None:
        stated = sidecar(path).get("RepetitionTime")
        period = None if stated is None else check_t_r(stated, f"{path.name} (its JSON file)")
    if period is None:
        problems.append(
            problem(
                "t_r",
                "a functional GIFTI does not hold the repetition time, and no JSON file beside "
                "it says it; pass it when loading",
            )
        )
    return Content("GIFTI", "vertices", [series], len(series), period, problems=problems)


def _table(path: Path, t_r: float | None, atlas: Any, options: Mapping[str, Any]) -> Content:
    from neurosig.loaders.fmri_tables import RegionTable, is_stored_run, open_table, read_table

    if path.suffix.lower() == ".npz" and is_stored_run(path):
        run = read_table(path, t_r=t_r, standardize=None)
        table = RegionTable(run.data, list(run.names or ()), run.t_r)
    else:  # not cleaned: values that are missing in part are a finding here, not an error
        table = open_table(path, t_r=t_r, atlas=atlas, **options)
    problems = []
    if table.t_r is None:
        problems.append(problem("t_r", "the table does not say the repetition time; pass it when loading"))
    turned = table.notes.get("orientation")
    if turned and turned["against"]:
        problems.append(problem("orientation", turned["told"]))
    suffix = "".join(path.suffixes[-2:] if path.suffix == ".gz" else [path.suffix])
    notes = [turned["told"]] if turned and not turned["against"] else []
    if left := table.notes.get("columns_left_out"):
        notes.append(
            f"columns that count volumes are left out: {listed(name or 'one without a name' for name in left)}"
        )
    if others := table.notes.get("not_taken"):
        notes.append(f"{table.notes['variable']} is taken, {listed(others)} not")
    names = table.names or [f"region_{i}" for i in range(1, len(table.series) + 1)]
    return Content(
        f"table ({suffix})", "regions", [table.series], len(table.series), table.t_r, names, notes=notes,
        problems=problems,
    )  # fmt: skip


def _collection(path: Path, t_r: float | None, atlas: Any, options: Mapping[str, Any]) -> Content:
    import numpy as np

    from neurosig.loaders.fmri_collection import read_collection

    held = read_collection(path, t_r=t_r, **options)
    lengths = [run.shape[1] for run in held.X]
    periods = None if held.t_r is None else sorted(set(held.t_r.tolist()))
    details: dict[str, Any] = {
        "n_runs": len(held),
        "n_subjects": len(set(held.subjects)),
        "n_volumes": [min(lengths), max(lengths)],
        "t_r": periods,
        "labels": None,
    }
    if held.y is not None and held.y.dtype.kind in "US":
        values, counts = np.unique(held.y, return_counts=True)
        details["labels"] = dict(zip(values.tolist(), counts.tolist(), strict=True))
    for name in ("site", "sites"):
        if name in held.columns:
            details["sites"] = len(set(held.columns[name]))
    problems = []
    if periods is None:
        problems.append(problem("t_r", "the file does not say the repetition time; pass it when loading"))
    still = sum(bool((np.ptp(run, axis=1) == 0).any()) for run in held.X)
    if still:
        problems.append(problem("constant", f"{still} of {len(held)} runs have regions that never change"))
    return Content(f"{len(held)} runs (.npz)", "regions", [held.X[0]], len(held.names),
                    None if held.t_r is None else float(held.t_r[0]), list(held.names), details=details,
                    notes=["series, values and figure are of the first run"], problems=problems)  # fmt: skip


def _of_regions(format: str, run: Run, period: float | None, **more: Any) -> Content:
    """Content of a file that was read as regions."""
    return Content(format, "regions", [run.data], len(run.data), period, list(run.names or ()), **more)


def _no_options(options: Mapping[str, Any], what: str) -> None:
    if told := [name for name, value in options.items() if value is not None]:
        raise InputError(f"{listed(told)}: for tables of region series; {what} say it themselves")
