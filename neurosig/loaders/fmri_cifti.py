"""CIFTI-2 series: parcels (.ptseries.nii) as they are, grayordinates (.dtseries.nii) by the means of a .dlabel.nii."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, NeurosigError, UsageError
from neurosig.core.log import logger
from neurosig.loaders.fmri_clean import check_t_r, cleaned_run, settled_t_r
from neurosig.loaders.fmri_run import Run

if TYPE_CHECKING:
    import numpy as np
    from nibabel import Cifti2Image

__all__ = ["is_cifti", "open_cifti", "parcel_means", "period_of", "read_cifti", "reading_values"]

_BLOCK = 32e6  # bytes of grayordinates that are in memory at a time
_KINDS = ("dtseries", "ptseries", "dlabel", "dscalar", "pscalar", "dconn", "pconn")


def is_cifti(path: str | Path) -> bool:
    """Whether a file is CIFTI-2 by its name."""
    return Path(path).name.lower().endswith(tuple(f".{kind}.nii" for kind in _KINDS))


def read_cifti(
    source: str | Path | Cifti2Image,
    *,
    atlas: str | Path | Cifti2Image | None = None,
    t_r: float | None = None,
    confounds: Any = None,
    sample_mask: Any = None,
    standardize: str | None = "zscore_sample",
    detrend: bool = False,
    low_pass: float | None = None,
    high_pass: float | None = None,
) -> Run:
    """Read region series from a CIFTI-2 file.

    Parameters
    ----------
    source : str, Path or nibabel.Cifti2Image
        ``.ptseries.nii`` (parcels) or ``.dtseries.nii`` (grayordinates; read in pieces).
    atlas : str, Path or nibabel.Cifti2Image, optional
        For grayordinates: the ``.dlabel.nii`` whose regions are averaged (its first map). For parcels: a name to keep.
    t_r : float, optional
        Repetition time in seconds, where the file has none, or not the right one.
    confounds : str, Path, DataFrame or array of shape (n_volumes, n_confounds), optional
        Regressed out.
    sample_mask : array of bool of shape (n_volumes,) or of int, optional
        Volumes to keep.
    standardize : {"zscore_sample", "psc", None}
        Scaling of each region.
    detrend : bool
        Whether a straight line is removed from each region.
    low_pass, high_pass : float, optional
        Edges in Hz of a Butterworth filter.

    Returns
    -------
    Run
        Regions of the atlas that the series do not reach are kept as missing. Values that are not finite are left out
        of their region's mean, and counted in ``provenance["not_finite"]``.

    Raises
    ------
    InputError
        If the file cannot be read, is another kind of CIFTI, or lies on another mesh or grid than the atlas.
    UsageError
        If an atlas or the repetition time is missing.
    """
    from nibabel.cifti2 import BrainModelAxis, ParcelsAxis, SeriesAxis

    image, label = open_cifti(source)
    axes = [image.header.get_axis(i) for i in range(image.ndim)]
    if len(axes) != 2 or not isinstance(axes[0], SeriesAxis):
        kinds = " × ".join(type(axis).__name__.removesuffix("Axis") for axis in axes)
        raise InputError(f"{label} holds {kinds}, no series; expected .dtseries.nii or .ptseries.nii")
    period = period_of(axes[0], t_r, label)
    told: dict[str, Any] = {"reader": "cifti"}
    if isinstance(axes[1], ParcelsAxis):
        with reading_values(label):
            series, names = _all(image), [str(name) for name in axes[1].name]
        name = None if atlas is None else _atlas_name(atlas)
    elif isinstance(axes[1], BrainModelAxis):
        if atlas is None:
            raise UsageError(
                f"{label} holds {len(axes[1])} grayordinates; pass atlas=, a .dlabel.nii file, to average them by "
                "region, or read the .ptseries.nii"
            )
        regions, names = _regions(axes[1], atlas, label)
        with reading_values(label):
            series, lost = parcel_means(image.dataobj, regions, len(names))
        name = _atlas_name(atlas)
        told |= _tell_lost(lost, names, label)
    else:
        raise InputError(
            f"{label} holds series of {type(axes[1]).__name__.removesuffix('Axis')}, expected brain models"
        )
    return cleaned_run(
        series, period, names, file=label, atlas=name, confounds=confounds, sample_mask=sample_mask,
        standardize=standardize, detrend=detrend, low_pass=low_pass, high_pass=high_pass, provenance=told,
    )  # fmt: skip


def open_cifti(source: str | Path | Cifti2Image) -> tuple[Cifti2Image, str]:
    """Open a CIFTI-2 file; its values are read later.

    Parameters
    ----------
    source : str, Path or nibabel.Cifti2Image
        The file, or the image.

    Returns
    -------
    image : nibabel.Cifti2Image
        The image.
    label : str
        Its name, for messages.

    Raises
    ------
    InputError
        If there is no such file, or it is damaged or of another kind.
    """
    import nibabel

    if isinstance(source, nibabel.Cifti2Image):
        return source, Path(source.get_filename() or "CIFTI image").name
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        image = nibabel.load(path)
    except Exception as error:  # nibabel, zlib and the XML parser fail in a dozen ways on damaged files
        raise InputError(f"{path.name} cannot be read as CIFTI-2: {' '.join(str(error).split())}") from error
    if not isinstance(image, nibabel.Cifti2Image):
        raise InputError(f"{path.name} is {type(image).__name__}, not CIFTI-2")
    return image, path.name


@contextlib.contextmanager
def reading_values(label: str) -> Iterator[None]:
    """Turn what fails in reading the values of a file, whose header was sound, into one line.

    Raises
    ------
    InputError
        The file is damaged or cut short.
    """
    try:
        yield
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, NeurosigError):
            raise
        raise InputError(f"{label} is damaged or cut short: {' '.join(str(error).split())}") from error


def period_of(axis: Any, t_r: float | None, label: str) -> float:
    """Seconds from one volume to the next: as the user says, or else the file's series axis.

    Parameters
    ----------
    axis : nibabel.cifti2.SeriesAxis
        Of the file.
    t_r : float or None
        What the user says; a warning tells where the file says otherwise.
    label : str
        Name of the file, for messages.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    UsageError
        If neither tells, or the header's is none that a scanner has.
    """
    given = None if t_r is None else check_t_r(t_r, label)
    stated = float(axis.step) if str(axis.unit).upper() == "SECOND" else 0.0
    if stated <= 0:
        if given is None:
            raise UsageError(f"{label} does not say its repetition time; pass t_r=seconds")
        return given
    if given is None:
        return check_t_r(stated, f"{label} (its header)")
    settled_t_r(given, stated, label, "its header")
    return given


def _all(image: Cifti2Image) -> np.ndarray:
    """All series of a file of parcels: (n_regions, n_volumes), NaN where a parcel is not finite throughout."""
    import numpy as np

    return np.asarray(image.dataobj, dtype=float).T


def _atlas_name(atlas: Any) -> str:
    name = Path(str(atlas)).name if isinstance(atlas, str | Path) else getattr(atlas, "name", None)
    if name is None:
        name = Path(atlas.get_filename() or "dlabel").name if hasattr(atlas, "get_filename") else "atlas"
    return name.removesuffix(".nii").removesuffix(".dlabel")


def _regions(axis: Any, atlas: Any, label: str) -> tuple[np.ndarray, list[str]]:
    """For each grayordinate of the series the place of its region in the atlas, or -1; and the regions' names."""
    import numpy as np
    from nibabel.cifti2 import BrainModelAxis, LabelAxis

    if not is_cifti(atlas) if isinstance(atlas, str | Path) else not hasattr(atlas, "header"):
        raise UsageError(f"the atlas of {label} is a .dlabel.nii file, which labels grayordinates; got {atlas!r}")
    image, atlas_label = open_cifti(atlas)
    axes = [image.header.get_axis(i) for i in range(image.ndim)]
    if len(axes) != 2 or not isinstance(axes[0], LabelAxis) or not isinstance(axes[1], BrainModelAxis):
        raise InputError(f"{atlas_label} is no atlas of grayordinates; expected a .dlabel.nii file")
    if len(axes[0]) > 1:
        logger.warning("%s holds %d maps, the first (%s) is taken", atlas_label, len(axes[0]), axes[0].name[0])
    keys = np.asarray(image.dataobj[0]).astype(int)
    table = {int(key): str(text) for key, (text, _) in axes[0].label[0].items() if int(key) > 0 and text != "???"}
    for key in np.unique(keys[keys > 0]).tolist():
        table.setdefault(key, str(key))
    if not table:
        raise InputError(f"{atlas_label} names no region")
    ordered = sorted(table)
    place = np.full(max(ordered) + 1, -1)
    place[ordered] = np.arange(len(ordered))
    texts = [table[key] for key in ordered]
    names = [text if texts.count(text) == 1 else f"{text}_{key}" for text, key in zip(texts, ordered, strict=True)]

    regions = np.full(len(axis), -1)
    have = {str(name): (where, model) for name, where, model in axes[1].iter_structures()}
    for name, where, model in axis.iter_structures():
        if str(name) not in have:
            continue
        there, known = have[str(name)]
        found = _keys_at(model, known, keys[there], str(name), label, atlas_label)
        regions[where] = np.where((found > 0) & (found < len(place)), place[np.clip(found, 0, len(place) - 1)], -1)
    if (regions < 0).all():
        raise InputError(f"{label} and {atlas_label} have no grayordinate in common; are they of one space?")
    return regions, names


def _keys_at(model: Any, known: Any, keys: np.ndarray, name: str, label: str, atlas_label: str) -> np.ndarray:
    """Label keys of one structure's grayordinates: by vertex number on a surface, by voxel in the volume."""
    import numpy as np

    if name in model.nvertices:
        here, there = model.nvertices[name], known.nvertices.get(name)
        if here != there:
            raise InputError(
                f"{label} has {here} vertices in {name}, {atlas_label} {there}: they lie on different meshes; resample "
                "one to the other's"
            )
        at = np.zeros(here, dtype=int)
        at[known.vertex] = keys
        return at[model.vertex]
    if not np.allclose(model.affine, known.affine, atol=1e-3) or tuple(model.volume_shape) != tuple(known.volume_shape):
        raise InputError(f"{label} and {atlas_label} have different voxel grids in {name}; resample one to the other's")
    shape = tuple(model.volume_shape)
    grid = np.zeros(shape, dtype=int)
    grid[tuple(known.voxel.T)] = keys
    return grid[tuple(model.voxel.T)]


def parcel_means(values: Any, regions: np.ndarray, n_regions: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over the grayordinates of each region, read in pieces.

    Parameters
    ----------
    values : array or array proxy of shape (n_volumes, n_grayordinates)
        The series.
    regions : array of int of shape (n_grayordinates,)
        The region of each, -1 for none.
    n_regions : int
        How many there are.

    Returns
    -------
    series : array of shape (n_regions, n_volumes)
        NaN throughout for a region without a grayordinate.
    lost : array of int of shape (n_regions,)
        Grayordinates of each region that are not finite in some volume; they do not count there.
    """
    import numpy as np
    from scipy.sparse import csr_array

    n_volumes, size = values.shape
    used = np.flatnonzero(regions >= 0)
    sums = csr_array((np.ones(len(used)), (regions[used], used)), shape=(n_regions, size)).tocsc()
    counts = np.bincount(regions[used], minlength=n_regions)
    total = np.zeros((n_regions, n_volumes))
    gone = np.zeros((n_regions, n_volumes), dtype=int)
    lost = np.zeros(n_regions, dtype=int)
    # the series of a grayordinate lie together in the file, so that pieces are of grayordinates
    step = max(1, int(_BLOCK // (8 * n_volumes)))
    for start in range(0, size, step):
        part = sums[:, start : start + step]
        block = np.asarray(values[:, start : start + step], dtype=float).T
        bad = ~np.isfinite(block)
        if bad.any():
            block[bad] = 0.0
            gone += (part @ bad.astype(float)).astype(int)
            lost += (part @ bad.any(axis=1).astype(float)).astype(int)
        total += part @ block
    held = counts[:, np.newaxis] - gone
    return np.divide(total, held, out=np.full(total.shape, np.nan), where=held > 0), lost


def _tell_lost(lost: np.ndarray, names: list[str], label: str) -> dict[str, Any]:
    """Warn of values that are not finite; gives their counts by region for the provenance."""
    counts = {name: int(count) for name, count in zip(names, lost, strict=True) if count}
    if counts:
        logger.info(
            "%s: %d grayordinates are NaN or inf and left out of the means of %s", label, sum(counts.values()),
            listed(counts),
        )  # fmt: skip
    return {"not_finite": counts} if counts else {}
