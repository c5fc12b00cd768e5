"""Surfaces and grayordinates through `load_fmri`: confounds, dropped volumes and pairs of files."""

import json
import pickle

import nibabel
import numpy as np
import pytest
import surfaces

from neurosig import load_fmri
from neurosig.core.errors import UsageError
from neurosig.loaders.fmri_confounds import run_confounds
from neurosig.loaders.fmri_read import RunLoader

KEYS = np.repeat([1, 2, 0], 10)
MOTION = {"strategy": ["motion", "scrub"], "motion": "basic", "scrub": 0}


@pytest.fixture
def tree(fmriprep, tmp_path):
    """A run of fMRIPrep as volumes, grayordinates and surfaces, with labels for each."""
    root = fmriprep({"01": {"spikes": (20,), "n_times": 28}})
    folder = root / "sub-01" / "func"
    rng = np.random.default_rng(0)
    axis = surfaces.brain_models(range(30), range(30), ())
    grays = rng.normal(100, 5, (28, 60))
    surfaces.dtseries(folder / "sub-01_task-rest_space-fsLR_den-91k_bold.dtseries.nii", grays, axis, t_r=2.0)
    label = surfaces.dlabel(tmp_path / "two.dlabel.nii", [*KEYS, *(KEYS * 3)], {1: "a", 2: "b", 3: "c", 6: "d"}, axis)
    sides = []
    for side, data in (("L", grays[:, :30]), ("R", grays[:, 30:])):
        name = f"sub-01_task-rest_hemi-{side}_space-fsaverage5_bold"
        surfaces.gifti_series(folder / f"{name}.func.gii", data.T)
        (folder / f"{name}.json").write_text(json.dumps({"RepetitionTime": 2.0}))
        sides.append(surfaces.gifti_labels(tmp_path / f"{side}.label.gii", KEYS, {1: f"{side}_one", 2: f"{side}_two"}))
    return root, grays, label, sides


def _cleaned(series, root):
    """What nilearn makes of the means with fMRIPrep's confounds."""
    from nilearn import signal

    found = run_confounds(MOTION, next(root.rglob("*preproc_bold.nii.gz")), 28)
    done = signal.clean(
        series, detrend=False, standardize="zscore_sample", confounds=found.table, sample_mask=np.array(found.kept)
    )  # fmt: skip
    return done.T


def test_the_atlas_chooses_the_files_of_derivatives(tree, three):
    root, grays, label, sides = tree
    volumes = load_fmri(root, atlas=three, confounds=MOTION)
    cifti = load_fmri(root, atlas=label, confounds=MOTION)
    gifti = load_fmri(root, atlas=sides, confounds=MOTION)
    assert volumes.metadata["kept"][0] == cifti.metadata["kept"][0] == gifti.metadata["kept"][0]
    assert cifti.info.ch_names == ("a", "b", "c", "d") and gifti.info.ch_names == ("L_one", "L_two", "R_one", "R_two")
    means = np.column_stack([grays[:, i : i + 10].mean(axis=1) for i in (0, 10, 30, 40)])
    np.testing.assert_allclose(cifti.X[0], _cleaned(means, root), atol=1e-4)
    np.testing.assert_allclose(gifti.X[0], cifti.X[0], atol=1e-4)
    assert cifti.metadata["n_volumes"].tolist() == [28] and gifti.info.t_r == 2.0
    assert "trans_x" in gifti.info.extra["fmri"]["runs"][0]["confounds"]["columns"]


def test_pairs_and_lists_of_hemispheres(tree):
    root, _, _, sides = tree
    left, right = sorted(root.rglob("*.func.gii"))
    pair = load_fmri([(left, right)], atlas=sides, confounds=None)
    listed = load_fmri([right, left], atlas=sides, confounds=None)
    np.testing.assert_array_equal(pair.X, listed.X)
    assert pair.metadata["subject"].tolist() == ["01"]
    with pytest.raises(UsageError, match=r"surfaces need atlas=\(left, right\)"):
        load_fmri([(left, right)], atlas="power")


def test_objects_in_memory(tree, volumes, three):
    root, _, label, _ = tree
    path = next(root.rglob("*.dtseries.nii"))
    one = load_fmri(nibabel.load(path), atlas=nibabel.load(label))
    np.testing.assert_array_equal(one.X, load_fmri(path, atlas=label, confounds=None).X)
    two = load_fmri([volumes(20), volumes(20, seed=1)], atlas=three)
    assert two.X.shape == (2, 3, 20) and two.metadata["run"].tolist() == ["0", "1"]
    with pytest.raises(UsageError, match="memory keeps runs by their files"):
        load_fmri(volumes(20), atlas=three, memory="kept")


def test_loaders_travel_to_other_processes(runs_of_loader):
    loader, item = runs_of_loader
    again = pickle.loads(pickle.dumps((loader, item)))
    np.testing.assert_array_equal(again[0].array(again[1]), loader.array(item))


@pytest.fixture
def runs_of_loader(volumes, three, tmp_path):
    from neurosig.loaders.fmri_files import find_runs
    from neurosig.loaders.fmri_read import RunItem

    path = tmp_path / "sub-01_bold.nii"
    nibabel.save(volumes(20), path)
    loader, item = RunLoader("nifti", atlas=three), RunItem(find_runs(path)[0])
    loader.load(item)
    return loader, item
