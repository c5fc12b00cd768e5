"""`Atlas`: which voxels make a region, and what the region is called."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.files import digest
from neurosig.loaders.atlas_fetch import OFFLINE, fetched, names_of_nilearn
from neurosig.loaders.atlas_geometry import centres_of_labels, centres_of_maps, labels_filled, world
from neurosig.loaders.atlas_names import names_beside, names_by_label, read_names, unique_names

if TYPE_CHECKING:
    import nibabel
    import numpy as np

__all__ = ["Atlas"]

_SPACE = re.compile(r"(?:^|_)(?:tpl|space)-([A-Za-z0-9]+)")
_SCHAEFER = re.compile(r"schaefer[-_]?(\d+)")


@dataclass(frozen=True, eq=False)
class Atlas:
    """Regions of the brain. Made by its ``from_...`` methods rather than by its fields.

    Parameters
    ----------
    kind : {"labels", "maps", "coords", "mask"}
        A label image (one number a region), probabilistic maps (one volume a region), spheres around coordinates, or a
        mask each of whose voxels is a region of its own.
    names : sequence of str
        Unique region names; the order of the regions everywhere.
    name : str
        Name of the atlas.
    image : nibabel image, optional
        Labels, maps or mask.
    values : sequence of int, optional
        The label of each region, of label images. A region whose label the image lacks keeps its name and is missing.
    positions : array of shape (n_regions, 3), optional
        Region centres in metres.
    radius : float
        Radius of the spheres, mm.
    space : str, optional
        Space that the atlas is in, such as "MNI152NLin6Asym"; None where it is not known.
    networks : sequence of str, optional
        The network that each region belongs to.

    Examples
    --------
    >>> from neurosig import Atlas
    >>> Atlas.from_power(radius=5)  # doctest: +SKIP
    <Atlas power: 264 regions (coords) in MNI152>
    """

    kind: str
    names: Sequence[str]
    name: str
    image: Any = None
    values: Sequence[int] | None = None
    positions: Any = None
    radius: float = 5.0
    space: str | None = None
    networks: Sequence[str] | None = None

    def __post_init__(self):
        import numpy as np

        names = tuple(map(str, self.names))
        object.__setattr__(self, "names", names)
        if not names:
            raise InputError(f"atlas {self.name}: it has no region")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"atlas {self.name}: region names must be unique, {listed(twice)} occur more than once")
        for field in ("values", "positions", "networks"):
            value = getattr(self, field)
            if value is not None and len(value) != len(names):
                raise InputError(f"atlas {self.name}: expected {field} of {len(names)} regions, got {len(value)}")
        if self.positions is not None:
            object.__setattr__(self, "positions", np.asarray(self.positions, dtype=float))
        if not self.radius > 0:
            raise UsageError(f"radius must be a positive number of millimetres, got {self.radius}")

    def __repr__(self) -> str:
        space = "" if self.space is None else f" in {self.space}"
        return f"<Atlas {self.name}: {len(self.names)} regions ({self.kind}){space}>"

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def from_files(
        cls,
        image: Any,
        names: Any = None,
        *,
        kind: str | None = None,
        name: str | None = None,
        space: str | None = None,
        networks: Sequence[str] | None = None,
    ) -> Atlas:
        """An atlas from an image and a table of names.

        Parameters
        ----------
        image : str, Path or nibabel image
            Labels (three axes), or probabilistic maps (four).
        names : str, Path, sequence of str or dict of int to str, optional
            Names in the order of the labels (or maps), or label to name. A file is a table with a header (``.tsv`` or
            ``.csv`` with the columns index and name, as in BIDS) or text of lines ``name`` or ``label name ...``.
            "Background" is left out. By default the labels themselves.
        kind : {"labels", "maps", "mask"}, optional
            What the image is; by default labels or maps, by its axes.
        name, space : str, optional
            What the atlas is called and the space it is in; by default what the file's name tells (``tpl-``,
            ``space-``).
        networks : sequence of str, optional
            The network of each region.

        Returns
        -------
        Atlas

        Raises
        ------
        InputError
            The image cannot be read, holds no label, or the names do not fit it.
        """
        import numpy as np

        from neurosig.loaders.fmri_images import image_data, load_image

        image, path = load_image(image)
        name = name or ("atlas" if path is None else path.name.split(".")[0])
        space = space or (match[1] if path is not None and (match := _SPACE.search(path.name)) else None)
        if kind not in (None, "labels", "maps", "mask"):
            raise UsageError(f"kind must be 'labels', 'maps' or 'mask', got {kind!r}")
        shape = image.shape[:3] if len(image.shape) == 4 and image.shape[3] == 1 and kind != "maps" else image.shape
        kind = kind or ("maps" if len(shape) == 4 else "labels")
        if len(shape) != (4 if kind == "maps" else 3):
            raise InputError(f"atlas {name}: expected an image of {4 if kind == 'maps' else 3} axes, got {image.shape}")
        if kind == "mask":
            return cls.from_mask(image, name=name, space=space)
        if isinstance(names, str | Path):
            names = read_names(Path(names))
        data = image_data(image, path).reshape(shape)
        if not np.isfinite(data).all():
            raise InputError(f"atlas {name}: its image holds NaN or inf; outside regions it should hold 0")
        if kind == "maps":
            called = names_by_label(names, range(1, shape[3] + 1), name)
            centres = centres_of_maps(data, image.affine)
            return cls(
                "maps", list(called.values()), name, image, positions=centres, space=space, networks=networks
            )  # fmt: skip
        if not np.array_equal(data, np.round(data)):
            raise InputError(
                f"atlas {name}: labels must be whole numbers, this image holds others; probabilistic maps have four "
                "axes, one volume a region"
            )
        labels = data.astype(np.int32)
        there = [int(value) for value in np.unique(labels) if value != 0]
        if not there:
            raise InputError(f"atlas {name}: the image holds no label, all its voxels are 0")
        called = names_by_label(names, there, name)
        values = list(called)
        import nibabel

        whole = nibabel.Nifti1Image(labels, image.affine)
        return cls(
            "labels", list(called.values()), name, whole, values, centres_of_labels(labels, image.affine, values),
            space=space, networks=networks,
        )  # fmt: skip

    @classmethod
    def from_mask(cls, mask: Any, *, name: str | None = None, space: str | None = None) -> Atlas:
        """Every voxel of a mask as a region, named ``voxel_x_y_z`` by its indices; images must have the mask's grid.

        Parameters
        ----------
        mask : str, Path or nibabel image of three axes
            Non-zero inside.
        name, space : str, optional
            As in `from_files`.
        """
        import numpy as np

        from neurosig.loaders.fmri_images import image_data, load_image

        image, path = load_image(mask)
        name = name or ("mask" if path is None else path.name.split(".")[0])
        data = image_data(image, path)
        data = data[..., 0] if data.ndim == 4 and data.shape[3] == 1 else data
        if data.ndim != 3:
            raise InputError(f"mask {name}: expected an image of 3 axes, got shape {data.shape}")
        import nibabel

        inside = np.nan_to_num(data) != 0
        indices = np.argwhere(inside)
        names = [f"voxel_{x}_{y}_{z}" for x, y, z in indices]
        image = nibabel.Nifti1Image(inside.astype(np.uint8), image.affine)
        return cls("mask", names, name, image, positions=world(indices, image.affine), space=space)

    @classmethod
    def from_coords(
        cls,
        coords: Any,
        names: Sequence[str] | None = None,
        *,
        radius: float | None = None,
        name: str = "coordinates",
        space: str | None = "MNI152",
        networks: Sequence[str] | None = None,
    ) -> Atlas:
        """Spheres around coordinates; they may overlap.

        Parameters
        ----------
        coords : array-like of shape (n_regions, 3), or str
            Centres in millimetres (of `space`), or "power", "dosenbach" or "seitzman".
        names : sequence of str, optional
            Region names; numbers by default.
        radius : float, optional
            Radius in mm; 5 by default.
        name, space : str, optional
            Name of the atlas and the space of the coordinates.
        networks : sequence of str, optional
            The network of each region.
        """
        import numpy as np

        radius = 5.0 if radius is None else float(radius)
        if isinstance(coords, str):
            return _offline(coords)(radius=radius)
        try:
            places = np.asarray(coords, dtype=float)
        except (TypeError, ValueError) as error:
            raise InputError(f"coordinates must be numbers in millimetres: {error}") from error
        if places.ndim > 2:
            raise InputError(
                f"an array of shape {places.shape} does not say where it lies; make an image of it, "
                "nibabel.Nifti1Image(labels, affine)"
            )
        if places.ndim != 2 or places.shape[1] != 3 or not np.isfinite(places).all():
            raise InputError(
                f"expected finite coordinates of shape (n_regions, 3) in mm, got an array of shape {places.shape}"
            )
        names = [f"region_{i}" for i in range(1, len(places) + 1)] if names is None else names
        return cls("coords", names, name, positions=places / 1000, radius=radius, space=space, networks=networks)

    @classmethod
    def from_power(cls, radius: float = 5.0) -> Atlas:
        """The 264 coordinates of Power et al. 2011 (doi 10.1016/j.neuron.2011.09.006); needs no network."""
        from nilearn import datasets

        rois = datasets.fetch_coords_power_2011().rois
        names = [f"power_{int(i)}" for i in rois["roi"]]
        return cls.from_coords(rois[["x", "y", "z"]].to_numpy(), names, radius=radius, name="power")

    @classmethod
    def from_dosenbach(cls, radius: float = 5.0) -> Atlas:
        """The 160 coordinates of Dosenbach et al. 2010 (doi 10.1126/science.1194144); needs no network."""
        from nilearn import datasets

        found = datasets.fetch_coords_dosenbach_2010()
        names = unique_names([str(label) for label in found.labels])
        networks = [str(network) for network in found.networks]
        return cls.from_coords(_xyz(found.rois), names, radius=radius, name="dosenbach", networks=networks)

    @classmethod
    def from_seitzman(cls, radius: float = 5.0) -> Atlas:
        """The 300 coordinates of Seitzman et al. 2020 (doi 10.1016/j.neuroimage.2019.116290); needs no network."""
        from nilearn import datasets

        found = datasets.fetch_coords_seitzman_2018(ordered_regions=False)
        names = [f"seitzman_{i}" for i in range(1, len(found.rois) + 1)]
        networks = [str(network) for network in found.networks]
        return cls.from_coords(_xyz(found.rois), names, radius=radius, name="seitzman", networks=networks)

    @classmethod
    def from_schaefer(
        cls,
        data_dir: str | Path | None = None,
        *,
        n_regions: int = 100,
        yeo_networks: int = 7,
        resolution_mm: int = 2,
    ) -> Atlas:
        """The parcellation of Schaefer et al. 2018 (doi 10.1093/cercor/bhx179), through nilearn's cache.

        Parameters
        ----------
        data_dir : str or Path, optional
            nilearn's data folder; where ``schaefer_2018/`` in it holds the two files, no network is needed.
        n_regions : {100, 200, ..., 1000}
            Number of regions.
        yeo_networks : {7, 17}
            The networks that name the regions.
        resolution_mm : {1, 2}
            Voxel size.

        Raises
        ------
        DownloadError
            The files are not there and cannot be fetched; the message names them.
        """
        found = fetched(
            "schaefer_2018",
            {"n_rois": n_regions, "yeo_networks": yeo_networks, "resolution_mm": resolution_mm, "data_dir": data_dir},
            f"Schaefer2018_{n_regions}Parcels_{yeo_networks}Networks_order_FSLMNI152_{resolution_mm}mm.nii.gz and "
            f"Schaefer2018_{n_regions}Parcels_{yeo_networks}Networks_order.txt in schaefer_2018/ of nilearn's data "
            "folder",
        )
        atlas = cls.from_files(
            found["maps"], names_of_nilearn(found), name=f"schaefer{n_regions}", space="MNI152NLin6Asym"
        )
        parts = [name.split("_") for name in atlas.names]
        if all(len(part) > 2 for part in parts):
            atlas = dataclasses.replace(atlas, networks=[part[2] for part in parts])
        return atlas

    @classmethod
    def from_nilearn(cls, fetcher: str, **options: Any) -> Atlas:
        """Any deterministic or probabilistic atlas of `nilearn.datasets`, fetched once and then cached by nilearn.

        Parameters
        ----------
        fetcher : str
            What follows ``fetch_atlas_`` in nilearn: "msdl", "aal", "harvard_oxford", "difumo", ...
        **options
            Of that function, ``data_dir`` among them.

        Raises
        ------
        DownloadError
            It is not in nilearn's data folder, and there is no network.
        UsageError
            nilearn has no such function.
        """
        found = fetched(fetcher, options, "its files in nilearn's data folder")
        if not isinstance(found.get("maps"), str | Path) and not hasattr(found.get("maps"), "dataobj"):
            raise UsageError(f"atlas {fetcher!r} of nilearn is no image of voxels; surfaces take a pair of label files")
        kind = "maps" if "probabilistic" in str(found.get("atlas_type", "")) else None
        return cls.from_files(found["maps"], names_of_nilearn(found), kind=kind, name=fetcher, space="MNI152")

    @classmethod
    def resolve(cls, atlas: Any) -> Atlas:
        """An `Atlas` from whatever stands for one.

        Parameters
        ----------
        atlas : Atlas, str, Path, nibabel image, (image, names), or array of shape (n_regions, 3)
            A name ("power", "dosenbach", "seitzman", "schaefer200", or one of nilearn's fetchers), a file of labels or
            maps (names are taken from the table beside it, where there is one), such a file and its names, or
            coordinates in mm.
        """
        if isinstance(atlas, cls):
            return atlas
        if isinstance(atlas, str) and atlas.lower() in OFFLINE:
            return _offline(atlas.lower())()
        if isinstance(atlas, str) and (match := _SCHAEFER.fullmatch(atlas.lower())):
            return cls.from_schaefer(n_regions=int(match[1]))
        if isinstance(atlas, str | Path):
            path = Path(atlas)
            if path.is_file():
                return cls.from_files(path, names_beside(path))
            if "." not in path.name and path.name == str(atlas):
                return cls.from_nilearn(str(atlas))
            raise InputError(f"no such atlas file: {path}; check the path")
        if hasattr(atlas, "get_fdata"):
            return cls.from_files(atlas)
        if isinstance(atlas, tuple | list) and len(atlas) == 2 and (
            isinstance(atlas[0], str | Path) or hasattr(atlas[0], "get_fdata")
        ):  # fmt: skip
            return cls.from_files(*atlas)
        if isinstance(atlas, Mapping) and "maps" in atlas:  # what nilearn's fetchers return
            return cls.from_files(atlas["maps"], names_of_nilearn(atlas))
        return cls.from_coords(atlas)

    def digest(self) -> str:
        """Short digest of the regions: of their voxels or places, and names."""
        import numpy as np

        parts: list[Any] = [
            self.kind,
            list(self.names),
            self.radius,
            None if self.values is None else list(self.values),
        ]
        if self.image is not None:
            import hashlib

            data = np.ascontiguousarray(np.asanyarray(self.image.dataobj))
            parts += [hashlib.sha256(data.tobytes()).hexdigest(), str(data.dtype), list(data.shape)]
            parts.append(np.asarray(self.image.affine, dtype=float).tolist())
        elif self.positions is not None:
            parts.append(self.positions.tolist())
        return digest(*parts)

    def to_image(self, values: Any) -> nibabel.Nifti1Image:
        """Make an image of values of regions in the atlas's own grid, such as a map of weights.

        Parameters
        ----------
        values : array-like of shape (n_regions,) or (n_maps, n_regions)
            One value a region; several rows make a fourth axis.

        Returns
        -------
        nibabel.Nifti1Image
            With the affine of the atlas; spheres are put on the usual MNI152 grid of 2 mm (91 × 109 × 91 voxels).
            Zero outside regions, and in regions that are NaN.
        """
        import nibabel
        import numpy as np

        values = np.nan_to_num(np.atleast_2d(np.asarray(values, dtype=np.float32)))
        if values.ndim != 2 or values.shape[1] != len(self.names):
            raise InputError(f"expected one value for each of {len(self.names)} regions, got shape {values.shape}")
        if self.kind == "coords":
            from neurosig.loaders.fmri_spheres import sphere_voxels

            affine = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
            data = np.zeros((91, 109, 91, len(values)), dtype=np.float32)
            grid = nibabel.Nifti1Image(data, affine)
            flat = data.reshape(-1, len(values))
            for value, voxels in zip(values.T, sphere_voxels(self.positions * 1000, self.radius, grid), strict=True):
                flat[voxels] = value
        else:
            affine = self.image.affine
            source = np.asanyarray(self.image.dataobj)
            if self.kind == "maps":
                data = source.astype(np.float32) @ values.T
            elif self.kind == "mask":
                data = np.zeros((*source.shape, len(values)), dtype=np.float32)
                data[source != 0] = values.T
            else:
                assert self.values is not None  # for the type checker: label images have them
                data = labels_filled(source, self.values, values)
        return nibabel.Nifti1Image(data[..., 0] if len(values) == 1 else data, affine)


def _offline(name: str) -> Any:
    known = {"power": Atlas.from_power, "dosenbach": Atlas.from_dosenbach, "seitzman": Atlas.from_seitzman}
    if name not in known:
        raise UsageError(f"coordinates that need no network are {', '.join(OFFLINE)}, got {name!r}")
    return known[name]


def _xyz(rois: Any) -> np.ndarray:
    import numpy as np

    if hasattr(rois, "columns"):
        return rois[["x", "y", "z"]].to_numpy(dtype=float)
    return np.array([[row["x"], row["y"], row["z"]] for row in rois], dtype=float)
