"""Series on the cortical surface (GIFTI), averaged by region with nilearn's `SurfaceLabelsMasker`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.log import logger
from neurosig.loaders.fmri_clean import check_t_r, cleaned_run, settled_t_r
from neurosig.loaders.fmri_images import sidecar
from neurosig.loaders.fmri_run import Run

if TYPE_CHECKING:
    import numpy as np

__all__ = ["read_gifti", "surface_labels", "surface_series"]

_SIDES = ("left", "right")


def read_gifti(
    left: str | Path | np.ndarray | None = None,
    right: str | Path | np.ndarray | None = None,
    *,
    atlas: Sequence[Any],
    t_r: float | None = None,
    mesh: Any = None,
    atlas_name: str | None = None,
    confounds: Any = None,
    sample_mask: Any = None,
    standardize: str | None = "zscore_sample",
    detrend: bool = False,
    low_pass: float | None = None,
    high_pass: float | None = None,
) -> Run:
    """Read region series from the surfaces of one or both hemispheres.

    Parameters
    ----------
    left, right : str, Path or array of shape (n_vertices, n_volumes), optional
        Functional GIFTI (``.func.gii``) of a hemisphere; at least one.
    atlas : (left, right) of str, Path, array of int of shape (n_vertices,), or None
        Labels of each hemisphere's vertices: ``.label.gii`` or FreeSurfer's ``.annot``. What is unlabelled (key 0,
        "???", "unknown", "medial wall") is no region.
    t_r : float, optional
        Repetition time in seconds. A functional GIFTI does not hold it; a JSON file beside it (``RepetitionTime``) may.
    mesh : str, nilearn.surface.PolyMesh, or (left, right) of files, optional
        Only for the regions' positions: "fsaverage5" or another mesh of nilearn's, or surface files in millimetres of
        MNI space. The means need none.
    atlas_name : str, optional
        Name of the parcellation; by default that of the first label file.
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
        Regions of the left, then of the right hemisphere, by key. Where both name a region alike, the names begin with
        "L_" and "R_". A vertex that is not finite throughout is left out of its region's mean, and counted in
        ``provenance["not_finite"]``; a region without a vertex is kept as missing.

    Raises
    ------
    UsageError
        If the repetition time or a hemisphere's labels are missing.
    InputError
        If files cannot be read, or series, labels and mesh differ in their vertices or volumes.
    """
    given = dict(zip(_SIDES, (left, right), strict=True))
    sides = [side for side in _SIDES if given[side] is not None]
    if not sides:
        raise UsageError("expected the series of at least one hemisphere: left=, right=")
    first = given[sides[0]]
    label = Path(first).name if isinstance(first, str | Path) else "surface"
    if isinstance(atlas, str | bytes | Path) or not isinstance(atlas, Sequence) or len(atlas) != 2:
        raise UsageError(f"{label}: atlas takes the labels of both hemispheres, (left, right), got {atlas!r}")
    labels = dict(zip(_SIDES, atlas, strict=True))
    if bare := [side for side in sides if labels[side] is None]:
        raise UsageError(f"{label}: atlas has no labels for the {bare[0]} hemisphere, whose series are given")
    period = _period(first, t_r, label)

    series = {side: surface_series(given[side], side) for side in sides}
    if len({part.shape[1] for part in series.values()}) > 1:
        raise InputError(
            f"{label}: expected hemispheres of one run, got {series['left'].shape[1]} volumes left and "
            f"{series['right'].shape[1]} right"
        )
    tables = {side: surface_labels(labels[side], side) for side in sides}
    for side in sides:
        if len(tables[side][0]) != len(series[side]):
            raise InputError(
                f"{label}: series of the {side} hemisphere have {len(series[side])} vertices, its labels "
                f"{len(tables[side][0])}; they lie on different meshes"
            )
    names, keys = _numbered({side: tables[side] for side in sides})
    surfaces = None if mesh is None else _meshes(mesh, sides, {side: len(part) for side, part in series.items()}, label)
    means, lost = _means(series, keys, len(names))
    told: dict[str, Any] = {"reader": "gifti", "masker": "SurfaceLabelsMasker", "hemispheres": sides}
    if counts := {name: int(count) for name, count in zip(names, lost, strict=True) if count}:
        told["not_finite"] = counts
        logger.info("%s: %d vertices are NaN or inf and left out of the means of %s", label, sum(counts.values()),
                       listed(counts))  # fmt: skip
    return cleaned_run(
        means, period, names, file=label, atlas=atlas_name or _name_of(labels[sides[0]]),
        positions=None if surfaces is None else _centres(surfaces, keys, len(names)), confounds=confounds,
        sample_mask=sample_mask, standardize=standardize, detrend=detrend, low_pass=low_pass, high_pass=high_pass,
        provenance=told,
    )  # fmt: skip


def surface_series(source: Any, side: str = "") -> np.ndarray:
    """Series of one hemisphere's vertices.

    Parameters
    ----------
    source : str, Path or array of shape (n_vertices, n_volumes)
        A functional GIFTI, one data array a volume or one in all.
    side : str
        The hemisphere, for messages.

    Returns
    -------
    float32 array of shape (n_vertices, n_volumes)

    Raises
    ------
    InputError
        If the file cannot be read or holds no series.
    """
    import numpy as np

    if isinstance(source, str | Path):
        image = _gifti(Path(source))
        parts = [np.asarray(array.data) for array in image.darrays]
        label = Path(source).name
        if not parts or len({part.shape for part in parts}) > 1:
            raise InputError(f"{label} holds no series: its data arrays are of {sorted({p.shape for p in parts})}")
        data = parts[0] if len(parts) == 1 else np.stack(parts, axis=-1)
    else:
        data, label = np.asarray(source), f"series of the {side} hemisphere"
    if data.ndim != 2 or data.shape[1] < 2 or data.dtype.kind not in "fiu":
        raise InputError(f"{label}: expected series of shape (n_vertices, n_volumes), got shape {data.shape}")
    if data.shape[0] < data.shape[1]:
        raise InputError(f"{label} has {data.shape[0]} vertices and {data.shape[1]} volumes; is it transposed?")
    return data.astype(np.float32, copy=False)


def surface_labels(source: Any, side: str = "") -> tuple[np.ndarray, dict[int, str]]:
    """Labels of one hemisphere's vertices.

    Parameters
    ----------
    source : str, Path or array of int of shape (n_vertices,)
        ``.label.gii``, ``.annot``, or the keys themselves (0 is none).
    side : str
        The hemisphere, for messages.

    Returns
    -------
    keys : array of int of shape (n_vertices,)
        0 where there is no region.
    names : dict of int to str
        Of each region, also of those without a vertex.

    Raises
    ------
    InputError
        If the file cannot be read, or is no label file.
    """
    import numpy as np

    if not isinstance(source, str | Path):
        keys = np.asarray(source)
        if keys.ndim != 1 or keys.dtype.kind not in "iu":
            raise InputError(f"labels of the {side} hemisphere: expected whole numbers of shape (n_vertices,), got "
                             f"{keys.dtype} of shape {keys.shape}")  # fmt: skip
        return np.maximum(keys, 0).astype(int), {int(key): str(key) for key in np.unique(keys) if key > 0}
    path = Path(source)
    if path.name.lower().endswith(".annot"):
        keys, table = _annotation(path)
    else:
        image = _gifti(path)
        if len(image.darrays) != 1 or not image.labeltable.labels:
            raise InputError(f"{path.name} is no label file: expected one data array and a table of labels")
        keys = np.asarray(image.darrays[0].data).astype(int)
        table = {int(entry.key): str(entry.label) for entry in image.labeltable.labels}
    nothing = [key for key, name in table.items() if _is_background(name)] + [0]
    keys = np.where(np.isin(keys, nothing) | (keys < 0), 0, keys)
    for key in np.unique(keys[keys > 0]).tolist():
        table.setdefault(key, str(key))
    return keys, {key: name for key, name in table.items() if key not in nothing and key > 0}


def _annotation(path: Path) -> tuple[np.ndarray, dict[int, str]]:
    import nibabel.freesurfer
    import numpy as np

    try:
        places, _, names = nibabel.freesurfer.read_annot(path)
    except Exception as error:  # whatever a damaged file makes nibabel's parser stumble over
        raise InputError(f"{path.name} cannot be read as .annot: {' '.join(str(error).split())}") from error
    # places count from 0, and the first may be a region
    return np.asarray(places) + 1, {i + 1: name.decode() for i, name in enumerate(names)}


def _is_background(name: str) -> bool:
    plain = name.lower().replace("_", " ").strip()
    return plain in {"", "???", "unknown", "background", "corpuscallosum"} or "medial wall" in plain


def _gifti(path: Path) -> Any:
    import nibabel

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        image = nibabel.load(path)
    except Exception as error:  # nibabel, zlib and the XML parser fail in a dozen ways on damaged files
        raise InputError(f"{path.name} cannot be read as GIFTI: {' '.join(str(error).split())}") from error
    if not isinstance(image, nibabel.GiftiImage):
        raise InputError(f"{path.name} is {type(image).__name__}, not GIFTI")
    return image


def _period(source: Any, t_r: float | None, label: str) -> float:
    """The repetition time as given, or as the JSON file beside a functional GIFTI says."""
    stated = sidecar(Path(source)).get("RepetitionTime") if isinstance(source, str | Path) else None
    if t_r is None and stated is None:
        raise UsageError(f"{label}: a functional GIFTI does not hold the repetition time; pass t_r=seconds")
    given = None if t_r is None else check_t_r(t_r, label)
    settled = settled_t_r(given, stated, label, "its JSON file")
    return check_t_r(settled, f"{label} (RepetitionTime of its JSON file)")


def _numbered(tables: Mapping[str, tuple[np.ndarray, dict[int, str]]]) -> tuple[list[str], dict[str, np.ndarray]]:
    """Regions of both sides in one numbering from 1, so that equal keys left and right stay two regions."""
    import numpy as np

    texts = {side: [names[key] for key in sorted(names)] for side, (_, names) in tables.items()}
    shared = len(tables) == 2 and bool(set(texts["left"]) & set(texts["right"]))
    names: list[str] = []
    keys = {}
    for side, (at, table) in tables.items():
        place = {key: len(names) + i for i, key in enumerate(sorted(table), start=1)}
        keys[side] = np.array([place.get(key, 0) for key in at.tolist()], dtype=np.int32)
        twice = {text for text in texts[side] if texts[side].count(text) > 1}
        for key in sorted(table):
            text = f"{table[key]}_{key}" if table[key] in twice else table[key]
            names.append(f"{side[0].upper()}_{text}" if shared else text)
    if not names:
        raise InputError("the labels hold no region: every vertex is unlabelled")
    return names, keys


def _means(
    series: Mapping[str, np.ndarray], keys: Mapping[str, np.ndarray], n_regions: int
) -> tuple[np.ndarray, np.ndarray]:
    """Region means by nilearn (n_regions, n_volumes), NaN where no vertex is usable; and the vertices left out."""
    import numpy as np
    from nilearn.maskers import SurfaceLabelsMasker
    from nilearn.surface import InMemoryMesh, PolyMesh, SurfaceImage

    # a SurfaceImage must have a mesh, but means do not depend on where vertices lie
    flat = {
        side: InMemoryMesh(np.zeros((len(part), 3)), np.array([[0, 1, 2]], dtype=int)) for side, part in series.items()
    }
    surface = PolyMesh(**flat)
    used, lost = {}, np.zeros(n_regions, dtype=int)
    for side, part in series.items():
        sound = np.isfinite(part).all(axis=1)
        lost += np.bincount(keys[side][~sound], minlength=n_regions + 1)[1:]
        used[side] = np.where(sound, keys[side], 0).astype(np.int32)
    if not any(part.any() for part in used.values()):
        raise InputError("no region has a vertex whose series are finite throughout")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*", category=UserWarning, module="nilearn")
        masker = SurfaceLabelsMasker(SurfaceImage(surface, used), standardize=None, reports=False).fit()
        found = masker.transform(SurfaceImage(surface, dict(series)))
    means = np.full((n_regions, len(found)), np.nan)
    present = np.unique(np.concatenate(list(used.values())))
    means[present[present > 0] - 1] = found.T
    return means, lost


def _meshes(mesh: Any, sides: list[str], sizes: Mapping[str, int], label: str) -> dict[str, np.ndarray]:
    """Coordinates of the vertices of each side in metres."""
    import numpy as np
    from nilearn.datasets import load_fsaverage
    from nilearn.surface import PolyMesh

    if isinstance(mesh, str):
        try:
            mesh = load_fsaverage(mesh)["pial"]
        except Exception as error:  # an unknown name, or a mesh that would have to be fetched
            raise UsageError(
                f"mesh must be 'fsaverage5', another of nilearn's meshes that is at hand, or surface files; {mesh!r}: "
                f"{' '.join(str(error).split())}"
            ) from error
    elif not isinstance(mesh, PolyMesh):
        mesh = PolyMesh(**{side: part for side, part in zip(_SIDES, mesh, strict=True) if part is not None})
    places = {}
    for side in sides:
        if side not in mesh.parts:
            raise UsageError(f"{label}: the mesh has no {side} hemisphere")
        at = np.asarray(mesh.parts[side].coordinates, dtype=float)
        if len(at) != sizes[side]:
            raise InputError(f"{label}: the {side} hemisphere has {sizes[side]} vertices, its mesh {len(at)}")
        places[side] = at / 1000
    return places


def _centres(places: Mapping[str, np.ndarray], keys: Mapping[str, np.ndarray], n_regions: int) -> np.ndarray | None:
    """Mean place of each region's vertices, (n_regions, 3) in metres; None where a region has none."""
    import numpy as np

    at = np.concatenate([places[side] for side in keys])
    region = np.concatenate(list(keys.values()))
    counts = np.bincount(region, minlength=n_regions + 1)[1:]
    if not counts.all():
        return None
    sums = np.stack([np.bincount(region, weights=at[:, i], minlength=n_regions + 1)[1:] for i in range(3)], axis=1)
    return sums / counts[:, np.newaxis]


def _name_of(labels: Any) -> str | None:
    return Path(labels).name.split(".")[0] if isinstance(labels, str | Path) else None
