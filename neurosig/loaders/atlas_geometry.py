"""Where the regions of an atlas are: centres of mass, and values put back into its grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["centres_of_labels", "centres_of_maps", "labels_filled", "world"]


def world(indices: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Voxel indices as metres."""
    return (indices @ affine[:3, :3].T + affine[:3, 3]) / 1000


def centres_of_labels(labels: np.ndarray, affine: np.ndarray, values: Sequence[int]) -> np.ndarray | None:
    """Centre of mass of each label; None where a region has no voxel, hence no place."""
    import numpy as np

    place = np.argwhere(labels)
    known, which = np.unique(labels[tuple(place.T)], return_inverse=True)
    if not np.isin(values, known).all():
        return None
    count = np.bincount(which)
    means = np.column_stack([np.bincount(which, place[:, axis]) / count for axis in range(3)])
    return world(means[np.searchsorted(known, values)], affine)


def centres_of_maps(maps: np.ndarray, affine: np.ndarray) -> np.ndarray | None:
    """Centre of mass of what is above 0 in each map; None where a map has nothing."""
    import numpy as np

    weights = np.clip(maps.reshape(-1, maps.shape[3]), 0, None).astype(float)
    total = weights.sum(axis=0)
    if not (total > 0).all():
        return None
    indices = np.indices(maps.shape[:3]).reshape(3, -1)
    return world((indices @ weights / total).T, affine)


def labels_filled(labels: np.ndarray, known: Sequence[int], values: np.ndarray) -> np.ndarray:
    """Values in the voxels of their labels.

    Parameters
    ----------
    labels : int array of shape (x, y, z)
        Label image.
    known : sequence of int
        The label of each region.
    values : array of shape (n_maps, n_regions)
        What to fill in.

    Returns
    -------
    float32 array of shape (x, y, z, n_maps)
        Zero where no region is.
    """
    import numpy as np

    order = np.argsort(known)
    sorted_labels = np.asarray(known)[order]
    place = np.searchsorted(sorted_labels, labels).clip(0, len(order) - 1)
    hit = sorted_labels[place] == labels
    return np.where(hit[..., np.newaxis], values.T[order][place], np.float32(0))
