"""Region series from NIfTI runs: nilearn's maskers, fitted once for each grid and used for all its runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.log import logger
from neurosig.loaders.atlas import Atlas
from neurosig.loaders.fmri_clean import cleaned_run, kept_volumes
from neurosig.loaders.fmri_images import image_data, load_image, repetition_time, run_image
from neurosig.loaders.fmri_run import Run
from neurosig.loaders.fmri_spheres import sphere_means, sphere_voxels

if TYPE_CHECKING:
    import numpy as np

__all__ = ["VolumeReader", "read_nifti"]

_SPACE = re.compile(r"_space-([A-Za-z0-9]+)_")
_STRATEGIES = ("mean", "median", "sum", "minimum", "maximum", "standard_deviation", "variance")


def read_nifti(
    source: Any,
    atlas: Any,
    *,
    t_r: float | None = None,
    confounds: Any = None,
    sample_mask: Any = None,
    standardize: str | None = "zscore_sample",
    detrend: bool = False,
    low_pass: float | None = None,
    high_pass: float | None = None,
    smoothing_fwhm: float | None = None,
    mask: Any = None,
    strategy: str = "mean",
    min_coverage: float = 0.5,
) -> Run:
    """Read the region series of one NIfTI run.

    Parameters
    ----------
    source : str, Path or nibabel image
        The run, four axes.
    atlas : Atlas, or what `Atlas.resolve` takes
        The regions. Labels and maps on another grid are brought to the run's.
    t_r : float, optional
        Repetition time in seconds, where the header and the JSON file beside the image don't say it, or not rightly.
    confounds : str, Path, DataFrame or array of shape (n_volumes, n_confounds), optional
        Regressed out; to choose columns of fMRIPrep's table see `load_fmri`.
    sample_mask : int array, or bool array of shape (n_volumes,), optional
        Volumes to keep.
    standardize, detrend, low_pass, high_pass
        As `neurosig.loaders.fmri_clean.clean_series` takes them: nilearn's cleaning of the region series.
    smoothing_fwhm, mask, strategy, min_coverage
        See `VolumeReader`.

    Returns
    -------
    Run
        All regions of the atlas in its order; NaN where a region has no voxel in the run.

    Raises
    ------
    InputError
        The image is damaged, has no or an implausible repetition time, or lies in another space than the atlas.
    """
    reader = VolumeReader(
        Atlas.resolve(atlas), smoothing_fwhm=smoothing_fwhm, mask=mask, strategy=strategy, min_coverage=min_coverage
    )
    return reader.read(
        source, t_r=t_r, confounds=confounds, sample_mask=sample_mask, standardize=standardize, detrend=detrend,
        low_pass=low_pass, high_pass=high_pass,
    )  # fmt: skip


@dataclass
class _Grid:
    """What an atlas is on one grid of voxels."""

    atlas: Any  # label, map or mask image on the grid; list of voxels of each sphere
    present: Any  # bool array: which regions have a voxel here
    affine: Any
    masker: Any = None
    box: tuple[slice, ...] = ()  # the part of the grid that the masker sees


class VolumeReader:
    """Reads NIfTI runs with one atlas; what depends on the grid of voxels only is made once.

    Parameters
    ----------
    atlas : Atlas
        The regions.
    smoothing_fwhm : float, optional
        Width in mm of a Gaussian that smooths the volumes first.
    mask : str, Path or nibabel image, optional
        Voxels outside of it count for no region (a brain mask, or a grey matter mask).
    strategy : {"mean", "median", "sum", "minimum", "maximum", "standard_deviation", "variance"}
        What a region's value is made of, for label images.
    min_coverage : float
        Part of the atlas that must lie inside the image, and part of its regions that must have been measured; below
        it, atlas and image are taken to be in different spaces.
    """

    def __init__(
        self,
        atlas: Atlas,
        *,
        smoothing_fwhm: float | None = None,
        mask: Any = None,
        strategy: str = "mean",
        min_coverage: float = 0.5,
    ):
        if strategy not in _STRATEGIES:
            raise UsageError(f"strategy must be one of {', '.join(_STRATEGIES)}, got {strategy!r}")
        if strategy != "mean" and atlas.kind != "labels":
            raise UsageError(f"strategy={strategy!r} is for label images, {atlas.name} is an atlas of {atlas.kind}")
        if not 0 <= min_coverage <= 1:
            raise UsageError(f"min_coverage must lie between 0 and 1, got {min_coverage}")
        if smoothing_fwhm is not None and not smoothing_fwhm > 0:
            raise UsageError(f"smoothing_fwhm must be a positive number of millimetres, got {smoothing_fwhm}")
        self.atlas = atlas
        self.smoothing_fwhm = smoothing_fwhm
        self.mask = None if mask is None else load_image(mask)
        self.strategy = strategy
        self.min_coverage = min_coverage
        self._grids: dict[Any, _Grid] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_grids": {}}  # other processes make their own

    def read(self, source: Any, *, t_r: float | None = None, sample_mask: Any = None, **cleaning: Any) -> Run:
        """Read one run; parameters as of `read_nifti`."""
        image, path, shape = run_image(source)
        name = "image" if path is None else path.name
        period = repetition_time(image, path, t_r)
        kept = kept_volumes(sample_mask, shape[3], f"sample_mask of {name}")
        self._check_space(path)
        series, notes = self.series(image, path, kept)
        missing = [region for region, row in zip(self.atlas.names, series, strict=True) if row[0] != row[0]]
        if len(missing) > (1 - self.min_coverage) * len(series) or len(missing) == len(series):
            raise InputError(
                f"{name}: {len(missing)} of {len(series)} regions of {self.atlas.name} hold no signal; are atlas "
                "and image in one space? If so, say how many must: "
                f"min_coverage={max(0.99 * (1 - len(missing) / len(series)), 0):.2f}"
            )
        told = {
            "reader": "nifti",
            "masker": {
                "kind": self.atlas.kind,
                "smoothing_fwhm": self.smoothing_fwhm,
                "mask": None if self.mask is None else str((self.mask[1] or Path("image")).name),
                **({"strategy": self.strategy} if self.atlas.kind == "labels" else {}),
                **({"radius": self.atlas.radius} if self.atlas.kind == "coords" else {}),
            },
            **notes,
        }
        return cleaned_run(
            series, period, self.atlas.names, file=name, atlas=self.atlas.name, positions=self.atlas.positions,
            sample_mask=kept, provenance=told, **cleaning,
        )  # fmt: skip

    def series(
        self, image: Any, path: Path | None = None, kept: Sequence[int] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Uncleaned region series.

        Parameters
        ----------
        image : nibabel image of four axes
            The run.
        path : Path, optional
            Its file.
        kept : sequence of int, optional
            Volumes that will be kept; what is not finite in others does no harm.

        Returns
        -------
        series : array of shape (n_regions, n_volumes)
            NaN throughout where a region has no voxel.
        notes : dict
            JSON-like: voxels that are not finite, by region.
        """
        import nibabel
        import numpy as np

        name = "image" if path is None else path.name
        grid = self._grid(image, name)
        data = image_data(image, path)
        data, bad = _finite(data, kept, name)
        lost: dict[str, int] = {}
        if bad is not None:
            grid, lost = self._without(grid, bad)
            if not grid.present.any():
                raise InputError(f"{name}: NaN or inf in all voxels of the regions of {self.atlas.name}")
        if self.smoothing_fwhm is not None:
            data = _smoothed(nibabel.Nifti1Image(data, image.affine), self.smoothing_fwhm)
        if self.atlas.kind == "coords":
            series = sphere_means(data, grid.atlas)
        else:
            if grid.masker is None:
                self._fit(grid)
            inside = nibabel.Nifti1Image(data[grid.box], _moved(image.affine, grid.box))
            columns = grid.masker.transform(inside)
            series = np.full((len(self.atlas.names), data.shape[3]), np.nan)
            series[grid.present] = np.asarray(columns).T
        del data
        # outside of what was scanned, programs write zeros: a region of nothing else was not measured
        series[~series.any(axis=1)] = np.nan
        if lost:
            logger.info(
                "%s: %d voxels that are NaN or inf in some volume are left out of regions %s", name, sum(lost.values()),
                listed(lost),
            )  # fmt: skip
        return series, {"not_finite": lost} if lost else {}

    def _check_space(self, path: Path | None) -> None:
        found = None if path is None else _SPACE.search(path.name)
        if found is None or self.atlas.space is None:
            return
        here, there = found[1].lower(), self.atlas.space.lower()
        if here != there and not (here.startswith("mni") and there.startswith("mni")):
            raise InputError(
                f"{path.name if path else 'image'} is in space {found[1]}, the atlas {self.atlas.name} in "
                f"{self.atlas.space}; take the run in the atlas's space, or an atlas in the run's"
            )

    def _grid(self, image: Any, name: str) -> _Grid:
        import numpy as np

        key = (tuple(image.shape[:3]), np.asarray(image.affine, dtype=float).round(4).tobytes())
        if key not in self._grids:
            if len(self._grids) > 7:  # runs of many people in their own spaces
                self._grids.clear()
            self._grids[key] = self._made(image, name)
        return self._grids[key]

    def _made(self, image: Any, name: str) -> _Grid:
        """The atlas on the grid of an image."""
        import numpy as np

        atlas = self.atlas
        self._check_coverage(image, name)
        inside = None if self.mask is None else _resampled(self.mask[0], image, "nearest") != 0
        if inside is not None and not inside.any():
            raise InputError(f"{name}: no voxel of the image lies inside the mask; are they in one space?")
        if atlas.kind == "coords":
            assert atlas.positions is not None  # for the type checker: spheres have centres
            voxels = sphere_voxels(atlas.positions * 1000, atlas.radius, image, inside)
            return _Grid(voxels, np.array([len(numbers) > 0 for numbers in voxels]), image.affine)
        if atlas.kind == "mask":
            if not _same_grid(atlas.image, image):
                raise InputError(
                    f"{name} has other voxels than the mask {atlas.name}, whose voxels are to be the regions; resample "
                    "the mask to the image (nilearn.image.resample_to_img, interpolation='nearest')"
                )
            chosen = np.asanyarray(atlas.image.dataobj) != 0
            inside = np.ones_like(chosen) if inside is None else inside
            grid = _Grid((chosen & inside).astype(np.uint8), inside[chosen], image.affine)
        elif atlas.kind == "maps":
            maps = _resampled(atlas.image, image, "continuous")
            if inside is not None:
                maps = np.where(inside[..., np.newaxis], maps, 0)
            grid = _Grid(maps, np.abs(maps).reshape(-1, maps.shape[3]).any(axis=0), image.affine)
        else:
            labels = _resampled(atlas.image, image, "nearest").astype(np.int32)
            if inside is not None:
                labels[~inside] = 0
            grid = _Grid(labels, np.isin(np.asarray(atlas.values), labels), image.affine)
        if not grid.present.any():
            raise InputError(f"{name}: no region of {atlas.name} has a voxel in the image; are they in one space?")
        self._fit(grid)
        return grid

    def _fit(self, grid: _Grid) -> None:
        """Make the nilearn masker of the regions that have a voxel on the grid, and of the part that they lie in."""
        import nibabel
        import numpy as np
        from nilearn import maskers

        options: dict[str, Any] = {"standardize": None, "detrend": False, "reports": False}
        grid.box = _bounds(grid.atlas)
        atlas, affine = grid.atlas[grid.box], _moved(grid.affine, grid.box)
        if self.atlas.kind == "mask":
            grid.masker = maskers.NiftiMasker(nibabel.Nifti1Image(atlas, affine), **options).fit()
            return
        if self.atlas.kind == "maps":
            maps = nibabel.Nifti1Image(np.ascontiguousarray(atlas[..., grid.present]), affine)
            grid.masker = maskers.NiftiMapsMasker(maps, resampling_target=None, **options).fit()
            return
        # 1, 2, ... in our order, and nothing else: nilearn's columns are then our regions
        values = np.asarray(self.atlas.values)[grid.present]
        place, known = _places(atlas, values)
        labels = nibabel.Nifti1Image(np.where(known, place + 1, 0).astype(np.int32), affine)
        options |= {"resampling_target": None, "strategy": self.strategy}
        grid.masker = maskers.NiftiLabelsMasker(labels, **options).fit()

    def _without(self, grid: _Grid, bad: np.ndarray) -> tuple[_Grid, dict[str, int]]:
        """A grid without some voxels, and how many each region loses."""
        import numpy as np

        names = self.atlas.names
        counts: Any
        if self.atlas.kind == "coords":
            flat = bad.reshape(-1)
            voxels = [numbers[~flat[numbers]] for numbers in grid.atlas]
            counts = [len(before) - len(after) for before, after in zip(grid.atlas, voxels, strict=True)]
            less = _Grid(voxels, np.array([len(numbers) > 0 for numbers in voxels]), grid.affine)
        elif self.atlas.kind == "maps":
            counts = (grid.atlas[bad] != 0).sum(axis=0)
            maps = np.where(bad[..., np.newaxis], 0, grid.atlas)
            less = _Grid(maps, np.abs(maps).reshape(-1, maps.shape[3]).any(axis=0), grid.affine)
        elif self.atlas.kind == "mask":
            chosen = np.asarray(self.atlas.image.dataobj) != 0
            gone: np.ndarray = (bad & (grid.atlas != 0))[chosen]
            counts = gone.astype(int)
            rest = np.where(bad, 0, grid.atlas).astype(np.uint8)
            less = _Grid(rest, np.logical_and(grid.present, ~gone), grid.affine)
        else:
            values = np.asarray(self.atlas.values)
            place, known = _places(grid.atlas[bad], values)
            counts = np.bincount(place[known], minlength=len(values))
            labels = np.where(bad, 0, grid.atlas).astype(np.int32)
            less = _Grid(labels, np.asarray(np.isin(values, labels)), grid.affine)
        lost = {region: int(count) for region, count in zip(names, counts, strict=True) if count}
        return (less if lost else grid), lost

    def _check_coverage(self, image: Any, name: str) -> None:
        """Refuse an atlas that lies elsewhere than the image."""
        import numpy as np

        atlas = self.atlas
        if atlas.kind == "coords":
            assert atlas.positions is not None  # for the type checker
            points = atlas.positions * 1000
        else:
            data = np.asanyarray(atlas.image.dataobj)
            places = np.argwhere((data != 0) if data.ndim == 3 else (data != 0).any(axis=-1))
            points = places @ atlas.image.affine[:3, :3].T + atlas.image.affine[:3, 3]
        inverse = np.linalg.inv(image.affine)
        voxels = points @ inverse[:3, :3].T + inverse[:3, 3]
        within = ((voxels >= -0.5) & (voxels <= np.array(image.shape[:3]) - 0.5)).all(axis=1).mean()
        if within < self.min_coverage or within == 0:
            corners = np.array(np.meshgrid(*[(0, n - 1) for n in image.shape[:3]])).reshape(3, -1).T
            world = corners @ image.affine[:3, :3].T + image.affine[:3, 3]
            part = f", or the image is a part of the brain (then say how much: min_coverage={within * 0.95:.2f})"
            raise InputError(
                f"{name}: {within:.0%} of the atlas {atlas.name} lie inside the image, which spans {_box(world)} mm, "
                f"the atlas {_box(points)} mm; they are in different spaces" + (part if within else "")
            )


def _box(points: np.ndarray) -> str:
    low, high = points.min(axis=0), points.max(axis=0)
    return ", ".join(f"{axis} {a:.0f} to {b:.0f}" for axis, a, b in zip("xyz", low, high, strict=True))


def _same_grid(one: Any, other: Any) -> bool:
    import numpy as np

    return tuple(one.shape[:3]) == tuple(other.shape[:3]) and np.allclose(one.affine, other.affine, atol=1e-3)


def _bounds(atlas: np.ndarray) -> tuple[slice, ...]:
    """The smallest box of voxels that holds all regions: nilearn goes through all voxels it is given, each volume."""
    import numpy as np

    used = atlas != 0 if atlas.ndim == 3 else (atlas != 0).any(axis=-1)
    box = []
    for axis in range(3):
        places = np.flatnonzero(used.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(int(places[0]), int(places[-1]) + 1))
    return tuple(box)


def _moved(affine: Any, box: tuple[slice, ...]) -> np.ndarray:
    """Affine of a part of a grid."""
    import numpy as np

    moved = np.array(affine, dtype=float)
    moved[:3, 3] += moved[:3, :3] @ [side.start for side in box]
    return moved


def _places(labels: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each voxel the place of its label among `values`, and whether it is one of them."""
    import numpy as np

    order = np.argsort(values)
    found = np.searchsorted(values[order], labels).clip(0, len(values) - 1)
    return order[found], values[order][found] == labels


def _resampled(image: Any, grid: Any, interpolation: str) -> np.ndarray:
    """Voxels of an image on another's grid."""
    import numpy as np

    if not _same_grid(image, grid):
        from nilearn.image import resample_img

        image = resample_img(image, target_affine=grid.affine, target_shape=grid.shape[:3], interpolation=interpolation)
    data = np.asanyarray(image.dataobj)
    return data[..., 0] if data.ndim == 4 and data.shape[3] == 1 else data


def _smoothed(image: Any, fwhm: float) -> np.ndarray:
    import numpy as np
    from nilearn.image import smooth_img

    return np.asanyarray(smooth_img(image, fwhm).dataobj)


def _finite(data: np.ndarray, kept: Sequence[int] | None, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Data with zeros where they are not finite, and which voxels are so in a volume that counts (None where none)."""
    import numpy as np

    if data.dtype.kind != "f":
        return data, None
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(data)):  # one pass without a mask as large as the data settles nearly all runs
            return data, None
    broken = ~np.isfinite(data)
    if not broken.any():
        return data, None
    counting = broken if kept is None else broken[..., list(kept)]
    always = counting.all(axis=-1)
    rest = (~always).sum()
    part = (counting & ~always[..., np.newaxis]).sum(axis=(0, 1, 2)) / max(rest, 1)
    if rest == 0 or (part > 0.5).any():
        numbers = np.flatnonzero(part > 0.5) if kept is None else np.asarray(kept)[part > 0.5]
        which = "all volumes" if rest == 0 else f"volumes {listed(map(str, numbers))}"
        raise InputError(f"{name}: NaN or inf in most voxels of {which}; leave these volumes out with sample_mask")
    return np.where(broken, 0, data), counting.any(axis=-1)
