"""Surface series, held against means taken by hand."""

import json
import logging

import nibabel.freesurfer
import numpy as np
import pytest
import surfaces
from nilearn.datasets import load_fsaverage
from nilearn.surface import PolyMesh

from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.fmri_surface import read_gifti, surface_labels

RAW = {"standardize": None, "detrend": False}
LEFT = np.repeat([1, 2, 0], 10)
RIGHT = np.repeat([0, 1, 5], 10)


@pytest.fixture
def data():
    return {side: np.random.default_rng(i).normal(50, 3, (30, 12)).astype(np.float32) for i, side in enumerate("LR")}


@pytest.fixture
def files(tmp_path, data):
    """Series and labels of both hemispheres; the labels say the same names left and right."""
    series = [surfaces.gifti_series(tmp_path / f"hemi-{side}_bold.func.gii", data[side]) for side in "LR"]
    labels = [
        surfaces.gifti_labels(tmp_path / "lh.atlas.label.gii", LEFT, {1: "V1", 2: "M1", 3: "none_here"}),
        surfaces.gifti_labels(tmp_path / "rh.atlas.label.gii", RIGHT, {1: "V1", 5: "M1"}),
    ]
    return series, labels


def test_both_hemispheres_are_averaged_by_label(files, data):
    (left, right), labels = files
    run = read_gifti(left, right, atlas=labels, t_r=2.0, **RAW)
    assert run.names == ("L_V1", "L_M1", "L_none_here", "R_V1", "R_M1")  # equal names and keys stay two regions
    assert run.missing == ("L_none_here",)
    expected = [data["L"][:10], data["L"][10:20], data["R"][10:20], data["R"][20:]]
    for place, part in zip((0, 1, 3, 4), expected, strict=True):
        np.testing.assert_allclose(run.data[place], part.mean(axis=0), rtol=1e-5)
    assert (run.t_r, run.unit) == (2.0, "a.u.")


def test_one_hemisphere_and_arrays(files, data):
    (left, _), labels = files
    run = read_gifti(left, atlas=(labels[0], None), t_r=2.0, **RAW)
    assert run.names == ("V1", "M1", "none_here")
    arrays = read_gifti(right=data["R"], atlas=(None, RIGHT), t_r=2.0, **RAW)
    assert arrays.names == ("1", "5")
    np.testing.assert_allclose(arrays.data[1], data["R"][20:].mean(axis=0), rtol=1e-5)


def test_one_data_array_may_hold_all_volumes(tmp_path, files, data):
    _, labels = files
    array = nibabel.gifti.GiftiDataArray(data["L"], intent="NIFTI_INTENT_TIME_SERIES")
    nibabel.save(nibabel.GiftiImage(darrays=[array]), tmp_path / "one.func.gii")
    run = read_gifti(tmp_path / "one.func.gii", atlas=(labels[0], None), t_r=1.0, **RAW)
    np.testing.assert_allclose(run.data[0], data["L"][:10].mean(axis=0), rtol=1e-5)


def test_vertices_that_are_not_finite_are_left_out(tmp_path, files, data, caplog):
    _, labels = files
    data["L"][2, 3] = np.nan
    left = surfaces.gifti_series(tmp_path / "broken.func.gii", data["L"])
    with caplog.at_level(logging.INFO, "neurosig"):
        run = read_gifti(left, atlas=(labels[0], None), t_r=2.0, **RAW)
    np.testing.assert_allclose(run.data[0], np.delete(data["L"][:10], 2, axis=0).mean(axis=0), rtol=1e-5)
    assert run.provenance["not_finite"] == {"V1": 1}
    assert "1 vertices are NaN" in caplog.text


def test_freesurfer_annotations(tmp_path, data):
    table = np.column_stack([np.arange(3) * 10 + 5] * 3 + [np.zeros(3, int), np.arange(3)])
    nibabel.freesurfer.write_annot(
        tmp_path / "lh.aparc.annot", np.repeat([0, 1, 2], 10), table, ["unknown", "cuneus", "insula"], fill_ctab=True
    )
    keys, names = surface_labels(tmp_path / "lh.aparc.annot")
    np.testing.assert_array_equal(keys, np.repeat([0, 2, 3], 10))
    assert names == {2: "cuneus", 3: "insula"}
    run = read_gifti(data["L"], atlas=(tmp_path / "lh.aparc.annot", None), t_r=2.0, **RAW)
    np.testing.assert_allclose(run.data[1], data["L"][20:].mean(axis=0), rtol=1e-5)


def test_the_json_file_beside_says_the_repetition_time(files):
    (left, right), labels = files
    left.with_name("hemi-L_bold.json").write_text(json.dumps({"RepetitionTime": 0.8}))
    assert read_gifti(left, right, atlas=labels).t_r == 0.8
    with pytest.warns(UserWarning, match=r"t_r=2 s is used as you said, its JSON file says 0\.8 s"):
        assert read_gifti(left, right, atlas=labels, t_r=2.0).t_r == 2.0


def test_the_repetition_time_must_be_given(files):
    (left, right), labels = files
    with pytest.raises(UsageError, match="does not hold the repetition time; pass t_r"):
        read_gifti(left, right, atlas=labels)
    with pytest.raises(UsageError, match="milliseconds"):
        read_gifti(left, right, atlas=labels, t_r=2000)


def test_positions_come_from_a_mesh():
    mesh = load_fsaverage("fsaverage5")["pial"]
    places = mesh.parts["left"].coordinates.astype(float)
    keys = np.where(places[:, 1] < -60, 1, np.where(places[:, 1] > 30, 2, 0))
    series = np.random.default_rng(0).normal(size=(len(keys), 5)).astype(np.float32)
    run = read_gifti(series, atlas=(keys, None), t_r=2.0, mesh="fsaverage5")
    np.testing.assert_allclose(run.positions[0], places[keys == 1].mean(axis=0) / 1000)
    same = read_gifti(series, atlas=(keys, None), t_r=2.0, mesh=PolyMesh(left=mesh.parts["left"]))
    np.testing.assert_array_equal(same.positions, run.positions)


def test_series_and_labels_must_be_of_one_mesh_and_run(tmp_path, files, data):
    (left, right), labels = files
    with pytest.raises(InputError, match="30 vertices, its labels 40"):
        read_gifti(left, atlas=(np.ones(40, int), None), t_r=2.0)
    with pytest.raises(InputError, match="12 volumes left and 10 right"):
        read_gifti(left, data["R"][:, :10], atlas=labels, t_r=2.0)
    with pytest.raises(UsageError, match="no labels for the right hemisphere"):
        read_gifti(left, right, atlas=(labels[0], None), t_r=2.0)
    with pytest.raises(UsageError, match="at least one hemisphere"):
        read_gifti(atlas=labels, t_r=2.0)
    with pytest.raises(UsageError, match=r"\(left, right\)"):
        read_gifti(left, atlas=labels[0], t_r=2.0)
    with pytest.raises(InputError, match="no region"):
        read_gifti(left, atlas=(np.zeros(30, int), None), t_r=2.0)
    with pytest.raises(InputError, match="its mesh 10242"):
        read_gifti(left, atlas=(labels[0], None), t_r=2.0, mesh="fsaverage5")
    with pytest.raises(UsageError, match="mesh must be"):
        read_gifti(left, atlas=(labels[0], None), t_r=2.0, mesh="no_such_mesh")


def test_other_files_are_named_for_what_they_are(tmp_path, files):
    (left, _), labels = files
    with pytest.raises(InputError, match="no label file"):
        read_gifti(left, atlas=(left, None), t_r=2.0)
    with pytest.raises(InputError, match="expected series"):
        read_gifti(labels[0], atlas=(labels[0], None), t_r=2.0)
    left.write_bytes(left.read_bytes()[:300])
    with pytest.raises(InputError, match="cannot be read as GIFTI"):
        read_gifti(left, atlas=(labels[0], None), t_r=2.0)
