import numpy as np
from nilearn.maskers import NiftiSpheresMasker

from neurosig.loaders.fmri_spheres import sphere_means, sphere_voxels

CENTRES = np.array([[-10.0, -5, 0], [0, 0, 0], [3, 2, 1], [-20, -24, -16]])  # the last is a corner of the grid


def test_means_are_those_of_nilearn(volumes):
    image = volumes(12)
    masker = NiftiSpheresMasker(CENTRES, radius=6.5, allow_overlap=True, standardize=None, reports=False)
    voxels = sphere_voxels(CENTRES, 6.5, image)
    np.testing.assert_allclose(
        sphere_means(image.get_fdata(), voxels), masker.fit_transform(image).T, rtol=1e-5
    )  # fmt: skip


def test_means_of_integers_keep_their_fractions(volumes):
    data = np.asarray(volumes(4, dtype=np.int16).dataobj)
    voxels = sphere_voxels(CENTRES, 6.5, volumes(4))
    for series, places in zip(sphere_means(data, voxels), voxels, strict=True):
        np.testing.assert_allclose(series, data.reshape(-1, 4)[places].mean(axis=0))


def test_turned_grids_too(volumes):
    import nibabel

    turn = np.eye(4)
    angle = 0.4
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    plain = volumes(5)
    image = nibabel.Nifti1Image(plain.get_fdata(), turn @ plain.affine)
    masker = NiftiSpheresMasker(CENTRES[:3], radius=7, allow_overlap=True, standardize=None, reports=False)
    found = sphere_means(image.get_fdata(), sphere_voxels(CENTRES[:3], 7, image))
    np.testing.assert_allclose(found, masker.fit_transform(image).T, rtol=1e-5)


def test_a_sphere_outside_has_no_voxel(volumes):
    image = volumes(3)
    voxels = sphere_voxels([[500.0, 0, 0], [0, 0, 0]], 5, image)
    assert len(voxels[0]) == 0 and len(voxels[1]) > 0
    series = sphere_means(image.get_fdata(), voxels)
    assert np.isnan(series[0]).all() and np.isfinite(series[1]).all()


def test_voxels_outside_the_mask_do_not_count(volumes):
    image = volumes(3)
    inside = np.zeros(image.shape[:3], bool)
    inside[5] = True
    (voxels,) = sphere_voxels([[0.0, 0, 0]], 9, image, inside)
    assert len(voxels) and inside.reshape(-1)[voxels].all()
