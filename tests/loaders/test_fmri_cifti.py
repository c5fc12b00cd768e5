"""CIFTI-2 series, held against means taken by hand."""

import logging

import nibabel
import numpy as np
import pytest
import surfaces
from nibabel.cifti2 import BrainModelAxis, ScalarAxis
from scipy.stats import zscore

from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.fmri_cifti import is_cifti, parcel_means, read_cifti
from neurosig.loaders.inspect_fmri import inspect_fmri

TABLE = {1: "L_V1", 2: "L_M1", 4: "R_V1", 7: "Thalamus", 9: "Elsewhere"}
RAW = {"standardize": None, "detrend": False}


@pytest.fixture
def series():
    """Twenty volumes of 15 left and 10 right vertices and 3 voxels."""
    return np.random.default_rng(0).normal(100, 5, (20, 28)).astype(np.float32)


@pytest.fixture
def atlas(tmp_path):
    """Labels of all vertices, of which the series have only some, and of four voxels in another order of structures."""
    axis = surfaces.brain_models(range(30), range(30), ((0, 0, 0), (1, 2, 3), (2, 2, 2), (3, 3, 3)))
    left = np.repeat([1, 2, 0], 10)
    right = np.where(np.arange(30) < 20, 4, 0)
    return surfaces.dlabel(tmp_path / "two.dlabel.nii", [*left, *right, 7, 7, 7, 0], TABLE, axis)


def by_hand(series):
    """Means over what the fixture's labels say, grayordinate by grayordinate."""
    labels = {}
    for column, vertex in enumerate(range(0, 30, 2)):
        labels.setdefault("L_V1" if vertex < 10 else "L_M1" if vertex < 20 else None, []).append(column)
    for column, vertex in enumerate(range(0, 30, 3), start=15):
        labels.setdefault("R_V1" if vertex < 20 else None, []).append(column)
    labels["Thalamus"] = [25, 26]
    return {name: np.asarray(series, float)[:, columns].mean(axis=1) for name, columns in labels.items() if name}


def test_grayordinates_are_averaged_by_label(tmp_path, series, atlas):
    path = surfaces.dtseries(tmp_path / "rest.dtseries.nii", series, surfaces.brain_models())
    run = read_cifti(path, atlas=atlas, **RAW)
    assert (run.names, run.t_r, run.unit, run.atlas) == (tuple(TABLE.values()), pytest.approx(0.72), "a.u.", "two")
    assert run.missing == ("Elsewhere",)
    expected = by_hand(series)
    for name, row in zip(run.names, run.data, strict=True):
        if name != "Elsewhere":
            np.testing.assert_allclose(row, expected[name], rtol=1e-6)


def test_series_are_standardised_as_scipy_does(tmp_path, series, atlas):
    path = surfaces.dtseries(tmp_path / "rest.dtseries.nii", series, surfaces.brain_models())
    run = read_cifti(path, atlas=atlas, detrend=False)
    np.testing.assert_allclose(run.data[1], zscore(by_hand(series)["L_M1"], ddof=1), atol=1e-5)
    assert run.unit == "z"


def test_objects_and_files_give_the_same(tmp_path, series, atlas):
    path = surfaces.dtseries(tmp_path / "rest.dtseries.nii", series, surfaces.brain_models())
    one, two = read_cifti(path, atlas=atlas), read_cifti(nibabel.load(path), atlas=nibabel.load(atlas))
    np.testing.assert_array_equal(one.data, two.data)
    assert two.names == one.names


def test_parcels_come_with_their_names(tmp_path):
    data = np.random.default_rng(1).normal(size=(30, 4))
    path = surfaces.ptseries(tmp_path / "rest.ptseries.nii", data, ["A", "B", "C", "D"], t_r=2.0)
    run = read_cifti(path, atlas="mine", **RAW)
    assert run.names == ("A", "B", "C", "D")
    assert run.atlas == "mine"
    np.testing.assert_allclose(run.data, data.T, rtol=1e-6)


def test_values_that_are_not_finite_do_not_reach_the_means(tmp_path, series, atlas, caplog):
    series[3, 0] = np.nan
    series[5, 26] = np.inf
    path = surfaces.dtseries(tmp_path / "rest.dtseries.nii", series, surfaces.brain_models())
    with caplog.at_level(logging.INFO, "neurosig"):
        run = read_cifti(path, atlas=atlas, **RAW)
    assert run.provenance["not_finite"] == {"L_V1": 1, "Thalamus": 1}
    assert "2 grayordinates are NaN or inf" in caplog.text
    np.testing.assert_allclose(run.data[0, 3], series[3, 1:5].mean(), rtol=1e-6)
    np.testing.assert_allclose(run.data[3, 5], series[5, 25], rtol=1e-6)


def test_a_sample_mask_and_confounds(tmp_path, series, atlas):
    path = surfaces.dtseries(tmp_path / "rest.dtseries.nii", series, surfaces.brain_models())
    confound = np.random.default_rng(2).normal(size=20)
    mask = np.ones(20, bool)
    mask[[4, 11]] = False
    run = read_cifti(path, atlas=atlas, confounds=confound, sample_mask=mask, detrend=False)
    assert run.data.shape == (5, 18)
    assert run.kept == tuple(i for i in range(20) if i not in (4, 11))
    assert run.n_volumes == 20
    assert abs(np.corrcoef(run.data[0], confound[mask])[0, 1]) < 1e-6


def test_means_do_not_depend_on_how_much_is_read_at_a_time(monkeypatch, series):
    regions = np.random.default_rng(3).integers(-1, 4, 28)
    whole, lost = parcel_means(series, regions, 5)
    monkeypatch.setattr("neurosig.loaders.fmri_cifti._BLOCK", 1.0)
    pieces, _ = parcel_means(series, regions, 5)
    np.testing.assert_allclose(whole, pieces, rtol=1e-12)
    assert np.isnan(whole[4]).all()  # a region without grayordinates
    assert not lost.any()


@pytest.mark.parametrize(
    ("step", "unit", "t_r", "found"),
    [(0.72, "SECOND", None, 0.72), (0.72, "SECOND", 0.72, 0.72), (0.0, "SECOND", 2, 2), (1.0, "HERTZ", 1.5, 1.5)],
)  # fmt: skip
def test_the_repetition_time(tmp_path, step, unit, t_r, found):
    path = surfaces.ptseries(tmp_path / "a.ptseries.nii", np.eye(9, 2), ["A", "B"], t_r=step, unit=unit)
    assert read_cifti(path, t_r=t_r).t_r == pytest.approx(found)


@pytest.mark.parametrize("step", [720.0, 2.0])
def test_what_the_user_says_settles_the_repetition_time(tmp_path, step):
    path = surfaces.ptseries(tmp_path / "a.ptseries.nii", np.eye(9, 2), ["A", "B"], t_r=step)
    with pytest.warns(UserWarning, match=rf"t_r=0\.72 s is used as you said, its header says {step:g} s"):
        assert read_cifti(path, t_r=0.72).t_r == 0.72


@pytest.mark.parametrize(
    ("step", "t_r", "message"),
    [(0.0, None, "does not say its repetition time"), (720.0, None, "milliseconds"), (0.72, 2000.0, "milliseconds")],
)
def test_a_repetition_time_that_cannot_be(tmp_path, step, t_r, message):
    path = surfaces.ptseries(tmp_path / "a.ptseries.nii", np.eye(9, 2), ["A", "B"], t_r=step)
    with pytest.raises(UsageError, match=message):
        read_cifti(path, t_r=t_r)


def test_grayordinates_need_an_atlas_of_their_mesh(tmp_path, series):
    path = surfaces.dtseries(tmp_path / "rest.dtseries.nii", series, surfaces.brain_models())
    with pytest.raises(UsageError, match="28 grayordinates; pass atlas="):
        read_cifti(path)
    with pytest.raises(UsageError, match=r"is a \.dlabel\.nii file, which labels grayordinates; got 'power'"):
        read_cifti(path, atlas="power")
    other = BrainModelAxis.from_surface(range(40), 40, name="CortexLeft")
    wrong = surfaces.dlabel(tmp_path / "other.dlabel.nii", np.ones(40), TABLE, other)
    with pytest.raises(InputError, match=r"30 vertices in CIFTI_STRUCTURE_CORTEX_LEFT, other\.dlabel\.nii 40"):
        read_cifti(path, atlas=wrong)
    mask = np.ones((2, 2, 2), bool)
    grid = BrainModelAxis.from_mask(mask, name="thalamus_left", affine=surfaces.AFFINE)
    wrong = surfaces.dlabel(tmp_path / "grid.dlabel.nii", np.ones(8), TABLE, grid)
    with pytest.raises(InputError, match="different voxel grids"):
        read_cifti(path, atlas=wrong)
    right = BrainModelAxis.from_surface(range(30), 30, name="Cerebellum")
    wrong = surfaces.dlabel(tmp_path / "else.dlabel.nii", np.ones(30), TABLE, right)
    with pytest.raises(InputError, match="no grayordinate in common"):
        read_cifti(path, atlas=wrong)


def test_other_files_are_named_for_what_they_are(tmp_path, series):
    axis = surfaces.brain_models()
    scalar = surfaces.save_cifti(tmp_path / "map.dscalar.nii", series[:1], ScalarAxis(["z"]), axis)
    with pytest.raises(InputError, match="Scalar × BrainModel, no series"):
        read_cifti(scalar)
    nifti = tmp_path / "volume.dtseries.nii"
    nibabel.Nifti1Image(np.zeros((2, 2, 2, 3), np.float32), np.eye(4)).to_filename(nifti)
    with pytest.raises(InputError, match="not CIFTI-2"):
        read_cifti(nifti)
    path = surfaces.dtseries(tmp_path / "rest.dtseries.nii", series, axis)
    with pytest.raises(InputError, match="no atlas of grayordinates"):
        read_cifti(path, atlas=path)
    path.write_bytes(path.read_bytes()[:-100])
    label = surfaces.dlabel(tmp_path / "a.dlabel.nii", np.ones(28), TABLE, axis)
    for read in (lambda: read_cifti(path, atlas=label), lambda: inspect_fmri(path)):
        with pytest.raises(InputError, match=r"rest\.dtseries\.nii is damaged or cut short"):
            read()
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match="cannot be read as CIFTI-2"):
        read_cifti(path, atlas=path)
    with pytest.raises(InputError, match="no such file"):
        read_cifti(tmp_path / "none.ptseries.nii")


def test_names_tell_cifti_files():
    assert is_cifti("sub-01_bold.dtseries.nii")
    assert is_cifti("A.PTSERIES.NII")
    assert not is_cifti("sub-01_bold.nii.gz")
