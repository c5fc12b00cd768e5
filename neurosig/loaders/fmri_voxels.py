"""Every voxel that varies as a region of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError
from neurosig.loaders.atlas import Atlas

__all__ = ["voxels_of"]


def voxels_of(images: Sequence[Any]) -> Atlas:
    """The voxels that vary in every run, as an atlas.

    Parameters
    ----------
    images : sequence of path or nibabel image
        The runs, on one grid; one is held in memory at a time.

    Returns
    -------
    Atlas
        Called "voxels".

    Raises
    ------
    InputError
        Runs lie on different grids, or no voxel varies in all of them.
    """
    import nibabel
    import numpy as np

    from neurosig.loaders.fmri_images import image_data, load_image

    names = [Path(image).name if isinstance(image, str | Path) else "an image in memory" for image in images]
    mask, affine = None, None
    for name, one in zip(names, images, strict=True):
        image, path = load_image(one)
        data = image_data(image, path)
        if data.ndim != 4:
            raise InputError(f"{name}: expected an image of four axes, the last of them time, got {data.shape}")
        varies = np.isfinite(data).all(axis=-1) & (np.ptp(data, axis=-1) > 0)
        if mask is not None and mask.shape != varies.shape:
            raise InputError(
                f"{name} has voxels {varies.shape}, {names[0]} {mask.shape}: voxels of runs are compared one "
                "by one only on one grid; use an atlas"
            )
        mask, affine = varies if mask is None else mask & varies, image.affine
    if mask is None or not mask.any():
        raise InputError(f"no voxel varies in all of {listed(names, 3)}")
    return Atlas.from_mask(nibabel.Nifti1Image(mask.astype(np.uint8), affine), name="voxels")
