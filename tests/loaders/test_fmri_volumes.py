import logging
import pickle

import nibabel
import numpy as np
import pytest
from nilearn.maskers import NiftiLabelsMasker, NiftiMapsMasker

from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.atlas import Atlas
from neurosig.loaders.fmri_volumes import VolumeReader, read_nifti

LABELS = {"left": 3, "right": 7, "middle": 9}


def _means(image, labels_image):
    data, labels = image.get_fdata(), np.asarray(labels_image.dataobj)
    return {name: data[labels == value].mean(axis=0) for name, value in LABELS.items()}


def test_regions_are_means_and_a_vanished_one_keeps_its_name(volumes, labels_image, atlas, no_network):
    image = volumes(30)
    run = read_nifti(image, atlas, standardize=None)
    assert run.names == ("left", "right", "middle", "gone") and run.missing == ("gone",)
    for name, expected in _means(image, labels_image).items():
        np.testing.assert_allclose(run.data[run.names.index(name)], expected, rtol=1e-5)
    assert (run.unit, run.t_r, run.n_volumes, run.kept, run.atlas) == ("a.u.", 2.0, 30, None, "four")
    assert run.data.dtype == np.float32 and np.isnan(run.data[3]).all()


@pytest.mark.parametrize(("strategy", "function"), [("median", np.median), ("standard_deviation", np.std)])
def test_other_strategies(volumes, labels_image, three, strategy, function):
    image = volumes(10)
    run = read_nifti(image, three, standardize=None, strategy=strategy)
    for row, value in zip(run.data, LABELS.values(), strict=True):
        expected = function(image.get_fdata()[np.asarray(labels_image.dataobj) == value], axis=0)
        np.testing.assert_allclose(row, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"standardize": "zscore_sample"},
        {"standardize": "psc"},
        {"standardize": "zscore_sample", "detrend": True, "low_pass": 0.1, "high_pass": 0.02},
        {"standardize": None, "smoothing_fwhm": 6},
    ],
)
def test_cleaning_is_nilearn_s_masker_s(volumes, labels_image, three, options):
    image = volumes(60, dtype=np.float64)
    masker = NiftiLabelsMasker(labels_image, reports=False, t_r=2.0, **options)
    expected = masker.fit_transform(image).T
    found = read_nifti(image, three, **options)
    np.testing.assert_allclose(found.data, expected, rtol=1e-6, atol=1e-5)
    assert found.unit == {"zscore_sample": "z", "psc": "psc", None: "a.u."}[options["standardize"]]


def test_confounds_and_dropped_volumes_are_nilearn_s(volumes, labels_image, three):
    image = volumes(60, dtype=np.float64)
    confounds = np.random.default_rng(1).standard_normal((60, 4))
    kept = np.r_[2:20, 23:60]
    masker = NiftiLabelsMasker(labels_image, standardize="zscore_sample", reports=False, t_r=2.0, low_pass=0.1)
    expected = masker.fit_transform(image, confounds=confounds, sample_mask=kept).T
    run = read_nifti(image, three, confounds=confounds, sample_mask=kept, low_pass=0.1)
    np.testing.assert_allclose(run.data, expected, atol=1e-5)
    assert run.kept == tuple(kept) and run.n_volumes == 60


def test_a_planted_confound_is_gone(volumes, three):
    rng = np.random.default_rng(2)
    nuisance = rng.standard_normal(50)
    data = 100 + rng.standard_normal((10, 11, 9, 50)) + 5 * nuisance
    before = read_nifti(volumes(data=data), three)
    after = read_nifti(volumes(data=data), three, confounds=nuisance[:, None])
    assert np.abs([np.corrcoef(row, nuisance)[0, 1] for row in before.data]).min() > 0.9
    assert np.abs([np.corrcoef(row, nuisance)[0, 1] for row in after.data.astype(float)]).max() < 1e-6


def test_maps_are_nilearn_s_least_squares(volumes):
    image = volumes(12)
    maps = nibabel.Nifti1Image(np.random.default_rng(3).random((10, 11, 9, 3)).astype("f4"), image.affine)
    run = read_nifti(image, Atlas.from_files(maps, ["a", "b", "c"]), standardize=None)
    expected = NiftiMapsMasker(maps, standardize=None, reports=False).fit_transform(image)
    np.testing.assert_allclose(run.data, expected.T, rtol=1e-4)


def test_a_map_outside_the_image_is_missing(volumes):
    image = volumes(6)
    data = np.random.default_rng(3).random((10, 11, 9, 2)).astype("f4")
    data[..., 1] = 0
    run = read_nifti(image, Atlas.from_files(nibabel.Nifti1Image(data, image.affine)), standardize=None)
    assert run.missing == ("region_2",) and run.data.shape == (2, 6)


def test_voxels_of_a_mask(volumes, labels_image):
    image = volumes(8)
    chosen = np.asarray(labels_image.dataobj) == 3
    atlas = Atlas.from_mask(nibabel.Nifti1Image(chosen.astype("u1"), image.affine))
    run = read_nifti(image, atlas, standardize=None)
    np.testing.assert_allclose(run.data, image.get_fdata()[chosen], rtol=1e-6)
    other = nibabel.Nifti1Image(chosen[:-1].astype("u1"), image.affine)
    with pytest.raises(InputError, match="other voxels than the mask"):
        read_nifti(image, Atlas.from_mask(other))


def test_labels_of_another_grid_are_brought_to_the_run_s(volumes, labels_image, three):
    image = volumes(10)
    fine = np.kron(np.asarray(labels_image.dataobj), np.ones((2, 2, 2), int)).astype(np.int16)
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = image.affine[:3, 3] - 1
    run = read_nifti(image, Atlas.from_files(nibabel.Nifti1Image(fine, affine)), standardize=None)
    np.testing.assert_allclose(run.data, read_nifti(image, three, standardize=None).data, rtol=1e-6)


def test_a_parcel_that_resampling_loses_is_missing(volumes, labels_image):
    image = volumes(10)
    fine = np.kron(np.asarray(labels_image.dataobj), np.ones((2, 2, 2), int)).astype(np.int16)
    fine[9, 9, 9] = 20  # one voxel of 2 mm between the centres of those of 4 mm
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = image.affine[:3, 3] - 0.5
    run = read_nifti(image, Atlas.from_files(nibabel.Nifti1Image(fine, affine)), standardize=None)
    assert run.names[-1] == "region_20" and run.missing == ("region_20",)


def test_voxels_that_are_not_finite_are_counted_and_left_out(volumes, labels_image, three, caplog):
    image = volumes(20)
    data = image.get_fdata()
    data[1, 0, 0, 4] = np.nan  # middle
    data[2, :2, 0, 7] = np.inf  # middle
    data[4, 0, 0] = np.nan  # left, throughout
    data[0] = np.nan  # outside all regions: harmless
    with caplog.at_level(logging.INFO, "neurosig"):
        run = read_nifti(volumes(data=data), three, standardize=None)
    assert run.provenance["not_finite"] == {"left": 1, "middle": 3}
    assert "4 voxels that are NaN or inf" in caplog.text
    good = np.isfinite(data).all(axis=-1)
    labels = np.asarray(labels_image.dataobj)
    for name, value in LABELS.items():
        expected = data[(labels == value) & good].mean(axis=0)
        np.testing.assert_allclose(run.data[run.names.index(name)], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["coords", "maps", "mask"])
def test_not_finite_voxels_in_other_atlases(volumes, labels_image, kind):
    image = volumes(10)
    data = image.get_fdata()
    data[5, 6, 4, 3] = np.nan  # at (0, 0, 0) mm
    if kind == "coords":
        atlas = Atlas.from_coords([[0, 0, 0], [0, 12, 0]], radius=5)
    elif kind == "maps":
        weights = np.random.default_rng(0).random((10, 11, 9, 2)).astype("f4")
        atlas = Atlas.from_files(nibabel.Nifti1Image(weights, image.affine))
    else:
        chosen = np.zeros((10, 11, 9), "u1")
        chosen[5, 5:8, 4] = 1
        atlas = Atlas.from_mask(nibabel.Nifti1Image(chosen, image.affine))
    run = read_nifti(volumes(data=data), atlas, standardize=None)
    assert sum(run.provenance["not_finite"].values()) == (2 if kind == "maps" else 1)
    assert run.missing == (("voxel_5_6_4",) if kind == "mask" else ())
    if kind == "coords":
        near = [(5, 6, 4), (4, 6, 4), (6, 6, 4), (5, 5, 4), (5, 7, 4), (5, 6, 3), (5, 6, 5)]
        expected = np.mean([data[place] for place in near[1:]], axis=0)
        np.testing.assert_allclose(run.data[0], expected, rtol=1e-5)


def test_volumes_that_are_not_finite(volumes, three):
    image = volumes(20)
    data = image.get_fdata()
    data[..., 3] = np.nan
    broken = volumes(data=data)
    with pytest.raises(InputError, match="volumes 3; leave these volumes out with sample_mask"):
        read_nifti(broken, three)
    kept = [i for i in range(20) if i != 3]
    run = read_nifti(broken, three, standardize=None, sample_mask=kept)
    np.testing.assert_allclose(run.data, read_nifti(image, three, standardize=None).data[:, kept], rtol=1e-6)
    data[:] = np.nan
    labels = np.asarray(three.image.dataobj)
    gone = volumes(20).get_fdata()
    gone[labels != 0] = np.nan
    with pytest.raises(InputError, match="all voxels of the regions of three"):
        read_nifti(volumes(data=gone), three)
    with pytest.raises(InputError, match="most voxels of all volumes"):
        read_nifti(volumes(data=data), three)


def test_a_region_of_zeros_was_not_measured_and_a_constant_one_is_zero(volumes, labels_image, three, caplog):
    data = volumes(20).get_fdata()
    labels = np.asarray(labels_image.dataobj)
    data[labels == 3] = 0
    data[labels == 7] = 50
    with caplog.at_level(logging.INFO, "neurosig"):
        run = read_nifti(volumes(data=data), three)
    assert run.missing == ("left",) and run.provenance["constant"] == ["right"]
    assert (run.data[1] == 0).all() and "one value throughout: right" in caplog.text


@pytest.mark.parametrize(
    "cleaning",
    [{"high_pass": 0.02}, {"low_pass": 0.1}, {"confounds": 3}, {"detrend": True, "sample_mask": np.arange(25)}],
)
@pytest.mark.parametrize("standardize", ["zscore_sample", "psc"])
def test_a_constant_region_stays_zero_whatever_is_cleaned(volumes, labels_image, three, cleaning, standardize):
    """Regression and filters leave rounding errors of it, which scaled to unit variance would pass for a signal."""
    data = volumes(30).get_fdata()
    data[np.asarray(labels_image.dataobj) == 7] = 1000.0
    if "confounds" in cleaning:
        cleaning = {"confounds": np.random.default_rng(0).standard_normal((30, cleaning["confounds"]))}
    run = read_nifti(volumes(data=data), three, standardize=standardize, **cleaning)
    assert run.provenance["constant"] == ["right"] and (run.data[1] == 0).all()
    assert run.data[0].std() > 0.1


def test_a_region_that_is_constant_in_the_kept_volumes_is_told(volumes, labels_image, three):
    data = volumes(20).get_fdata()
    data[np.asarray(labels_image.dataobj) == 7] = 50.0
    data[np.asarray(labels_image.dataobj) == 7, 3] = 60.0
    run = read_nifti(volumes(data=data), three, sample_mask=np.arange(20) != 3)
    assert run.provenance["constant"] == ["right"] and (run.data[1] == 0).all()


def test_a_mask_takes_voxels_away(volumes, labels_image, three):
    image = volumes(10)
    inside = np.zeros((10, 11, 9), "u1")
    inside[:6] = 1
    run = read_nifti(image, three, standardize=None, mask=nibabel.Nifti1Image(inside, image.affine))
    assert run.missing == ("right",)
    with pytest.raises(InputError, match="inside the mask"):
        read_nifti(image, three, mask=nibabel.Nifti1Image(inside * 0, image.affine))


def test_an_atlas_in_another_space_is_refused(volumes, labels_image, tmp_path):
    image = volumes(5)
    away = labels_image.affine.copy()
    away[0, 3] += 30
    with pytest.raises(InputError, match=r"of the atlas .* lie inside the image, which spans x -20 to 16"):
        read_nifti(image, Atlas.from_files(nibabel.Nifti1Image(np.asarray(labels_image.dataobj), away)))
    with pytest.raises(InputError, match=r"atlas power lie inside the image"):
        read_nifti(image, "power")
    native = tmp_path / "sub-01_task-rest_space-T1w_desc-preproc_bold.nii.gz"
    nibabel.save(image, native)
    atlas = Atlas.from_files(labels_image, space="MNI152NLin6Asym")
    with pytest.raises(InputError, match="in space T1w, the atlas atlas in MNI152NLin6Asym"):
        read_nifti(native, atlas)
    mni = native.with_name(native.name.replace("T1w", "MNI152NLin2009cAsym"))
    nibabel.save(image, mni)
    assert read_nifti(mni, atlas).data.shape == (3, 5)


def test_most_regions_without_signal_are_refused(volumes, labels_image, three):
    data = volumes(5).get_fdata()
    data[np.isin(np.asarray(labels_image.dataobj), (3, 7))] = 0
    with pytest.raises(InputError, match=r"2 of 3 regions of three hold no signal"):
        read_nifti(volumes(data=data), three)
    assert read_nifti(volumes(data=data), three, min_coverage=0.3).missing == ("left", "right")


def test_one_masker_serves_all_runs_of_a_grid(volumes, three, monkeypatch):
    made = []
    before = VolumeReader._fit
    monkeypatch.setattr(VolumeReader, "_fit", lambda self, grid: made.append(1) or before(self, grid))
    reader = VolumeReader(three)
    first = reader.read(volumes(5), standardize=None)
    reader.read(volumes(6, seed=1))
    assert len(made) == 1
    again = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(again.read(volumes(5), standardize=None).data, first.data)


def test_real_volumes(data_dir):
    image = nibabel.load(data_dir / "haxby_mini/run001_bold_25mm.nii.gz")
    brain = nibabel.load(data_dir / "haxby_mini/mask_25mm_brain.nii.gz")
    halves = np.asarray(brain.dataobj) * np.where(np.arange(6)[:, None, None] < 3, 1, 2)
    atlas = Atlas.from_files(nibabel.Nifti1Image(halves.astype("i2"), brain.affine), ["one", "two"])
    run = read_nifti(data_dir / "haxby_mini/run001_bold_25mm.nii.gz", atlas, standardize=None)
    assert run.t_r == 2.5 and run.n_volumes == 121
    for row, value in enumerate((1, 2)):
        np.testing.assert_allclose(run.data[row], image.get_fdata()[halves == value].mean(axis=0), rtol=1e-5)
    small = read_nifti(
        data_dir / "nifti_small/functional.nii", Atlas.from_coords([[0, 0, 8], [8, 4, 8]]), standardize=None
    )
    assert small.data.shape == (2, 20) and small.data.min() > 3000


def test_options_are_checked(three):
    with pytest.raises(UsageError, match="strategy must be one of"):
        VolumeReader(three, strategy="average")
    with pytest.raises(UsageError, match="for label images"):
        VolumeReader(Atlas.from_coords([[0, 0, 0]]), strategy="median")
    with pytest.raises(UsageError, match="smoothing_fwhm"):
        VolumeReader(three, smoothing_fwhm=-1)
    with pytest.raises(UsageError, match="min_coverage"):
        VolumeReader(three, min_coverage=2)
