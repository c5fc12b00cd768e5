"""Small CIFTI-2 and GIFTI files with known content, made with nibabel."""

import nibabel
import numpy as np
from nibabel.cifti2 import BrainModelAxis, LabelAxis, ParcelsAxis, SeriesAxis

N_VERTICES = 30
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
SHAPE = (4, 4, 4)


def brain_models(left=range(0, 30, 2), right=range(0, 30, 3), voxels=((0, 0, 0), (1, 2, 3), (3, 3, 3))):
    """Grayordinates of two cortices of 30 vertices, some of them, and of voxels of the left thalamus."""
    axis = BrainModelAxis.from_surface(list(left), N_VERTICES, name="CortexLeft")
    axis += BrainModelAxis.from_surface(list(right), N_VERTICES, name="CortexRight")
    if len(voxels):
        mask = np.zeros(SHAPE, bool)
        mask[tuple(np.array(voxels).T)] = True
        axis += BrainModelAxis.from_mask(mask, name="thalamus_left", affine=AFFINE)
    return axis


def save_cifti(path, data, *axes):
    nibabel.Cifti2Image(np.asarray(data), nibabel.cifti2.Cifti2Header.from_axes(axes)).to_filename(path)
    return path


def dtseries(path, data, axis, t_r=0.72, unit="SECOND"):
    return save_cifti(path, np.float32(data), SeriesAxis(0, t_r, len(data), unit=unit), axis)


def ptseries(path, data, names, t_r=0.72, unit="SECOND"):
    voxels = np.array([[0, 0, 0]])
    parcels = ParcelsAxis(
        list(names), [voxels] * len(names), [{}] * len(names), affine=AFFINE, volume_shape=SHAPE, nvertices={}
    )
    return save_cifti(path, np.float32(data), SeriesAxis(0, t_r, len(data), unit=unit), parcels)


def dlabel(path, keys, table, axis):
    """`keys` one a grayordinate; `table` from key to name."""
    colours = {0: ("???", (0, 0, 0, 0))} | {key: (name, (1, 0, 0, 1)) for key, name in table.items()}
    return save_cifti(path, np.float32(keys)[None], LabelAxis(["atlas"], [colours]), axis)


def gifti_series(path, data):
    """`data` (n_vertices, n_volumes): one data array a volume, as fMRIPrep and the Workbench write."""
    intent = "NIFTI_INTENT_TIME_SERIES"
    arrays = [nibabel.gifti.GiftiDataArray(np.float32(column), intent=intent) for column in np.transpose(data)]
    nibabel.save(nibabel.GiftiImage(darrays=arrays), path)
    return path


def gifti_labels(path, keys, table):
    labels = nibabel.gifti.GiftiLabelTable()
    for key, name in {0: "???", **table}.items():
        entry = nibabel.gifti.GiftiLabel(key, 0.5, 0.5, 0.5, 1.0)
        entry.label = name
        labels.labels.append(entry)
    array = nibabel.gifti.GiftiDataArray(np.int32(keys), intent="NIFTI_INTENT_LABEL")
    nibabel.save(nibabel.GiftiImage(darrays=[array], labeltable=labels), path)
    return path
