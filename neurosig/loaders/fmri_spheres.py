"""Spheres around coordinates: which voxels each holds, found once for all runs of a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["sphere_means", "sphere_voxels"]


def sphere_voxels(coords: np.ndarray, radius: float, grid: Any, inside: np.ndarray | None = None) -> list[np.ndarray]:
    """Voxels of each sphere: those whose centre lies within the radius, and the one that holds the coordinate.

    It is the rule of `nilearn.maskers.NiftiSpheresMasker`, which looks for the voxels anew in each run.

    Parameters
    ----------
    coords : array of shape (n_regions, 3)
        Centres, mm.
    radius : float
        mm.
    grid : image
        Whose ``shape`` and ``affine`` make the grid.
    inside : bool array of shape (x, y, z), optional
        Voxels that count.

    Returns
    -------
    list of int array
        Flat voxel numbers (C order), rising; empty where a sphere has no voxel.
    """
    import numpy as np

    shape, affine = tuple(grid.shape[:3]), np.asarray(grid.affine, dtype=float)
    inverse = np.linalg.inv(affine)
    # a box in voxels that holds a sphere whichever way the grid is turned
    reach = np.ceil(radius * np.linalg.norm(inverse[:3, :3], axis=1)).astype(int) + 1
    box = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), axis=-1).reshape(-1, 3)
    found = []
    for coordinate in np.asarray(coords, dtype=float):
        centre = np.round(inverse[:3, :3] @ coordinate + inverse[:3, 3]).astype(int)
        near = centre + box
        near = near[((near >= 0) & (near < shape)).all(axis=1)]
        away = np.linalg.norm(near @ affine[:3, :3].T + affine[:3, 3] - coordinate, axis=1)
        chosen = near[(away <= radius) | (near == centre).all(axis=1)]
        flat = np.sort(np.ravel_multi_index(tuple(chosen.T), shape)) if len(chosen) else np.empty(0, int)
        found.append(flat if inside is None else flat[inside.reshape(-1)[flat]])
    return found


def sphere_means(data: np.ndarray, voxels: list[np.ndarray]) -> np.ndarray:
    """Mean series over the voxels of each sphere.

    Means keep their fractions where the run is stored as integers, too; nilearn's masker (0.14) cuts them off there.

    Parameters
    ----------
    data : array of shape (x, y, z, n_volumes)
        A run.
    voxels : list of int array
        From `sphere_voxels`.

    Returns
    -------
    array of shape (n_regions, n_volumes)
        NaN where a sphere has no voxel.
    """
    import numpy as np

    series = np.full((len(voxels), data.shape[3]), np.nan)
    for row, numbers in enumerate(voxels):
        if len(numbers):
            places = np.unravel_index(numbers, data.shape[:3])
            series[row] = data[places].mean(axis=0, dtype=np.float64)
    return series
