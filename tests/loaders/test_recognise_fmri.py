"""Paths that hold fMRI are told from those that hold EEG, and whose runs they are from names and tables."""

import nibabel
import numpy as np
import pytest
import surfaces

from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.manifest import open_dataset
from neurosig.loaders.recognise_fmri import holds_fmri


def write_series(path, seed=0, n_volumes=30, n_regions=3):
    data = np.random.default_rng(seed).standard_normal((n_volumes, n_regions))
    np.savetxt(path, data, header="\t".join(f"#{i}" for i in range(1, n_regions + 1)), comments="", delimiter="\t")
    return data


def write_image(path, seed=0, shape=(2, 2, 2, 12), t_r=2.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.random.default_rng(seed).normal(50, 4, shape).astype(np.float32), np.eye(4) * 3)
    if len(shape) == 4:
        image.header.set_zooms((3, 3, 3, t_r))
        image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)


def test_one_table(tmp_path):
    data = write_series(tmp_path / "rest.1D")
    manifest = open_dataset(tmp_path / "rest.1D", fmri={"t_r": 2.0})
    assert (manifest.modality, manifest.adhoc, manifest.name) == ("fmri", True, "rest")
    dataset = manifest.load()
    z = (data - data.mean(axis=0)) / data.std(axis=0, ddof=1)
    np.testing.assert_allclose(dataset.X[0], z.T, atol=1e-4)
    assert dataset.metadata["t_r"].tolist() == [2.0]


def test_people_of_a_table_are_found_in_the_names_of_files(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    for seed, name in enumerate(("NYU_051_rois_cc.1D", "NYU_0519_rois_cc.1D", "UM_7_rois_cc.1D")):
        write_series(folder / name, seed)
    (tmp_path / "people.csv").write_text("id,dx\nNYU_051,1\nNYU_0519,2\nUM_7,1\n")
    asked = {"t_r": 2.0, "table": str(tmp_path / "people.csv"), "key": "id", "labels": "dx"}
    dataset = open_dataset(folder, fmri=asked, events={"case": 1, "control": 2}).load()
    said = dict(zip(dataset.metadata["subject"], dataset.y, strict=True))
    assert said == {"NYU_051": "case", "NYU_0519": "control", "UM_7": "case"}


def test_files_that_name_nobody_are_runs_of_one_person(tmp_path):
    for seed, name in enumerate(("a.1D", "b.1D")):
        write_series(tmp_path / name, seed)
    with pytest.warns(UserWarning, match="taken as runs of one subject"):
        manifest = open_dataset(tmp_path, fmri={"t_r": 2.0})
    assert manifest.load().metadata[["subject", "run"]].to_numpy().tolist() == [["1", "0"], ["1", "1"]]


def test_trials_of_events_beside_an_image(tmp_path):
    write_image(tmp_path / "sub-01_task-look_bold.nii.gz", shape=(2, 2, 2, 30))
    (tmp_path / "sub-01_task-look_events.tsv").write_text(
        "onset\tduration\ttrial_type\n4\t2\tface\n20\t2\thouse\n40\t2\tface\n"
    )
    path = tmp_path / "sub-01_task-look_bold.nii.gz"
    dataset = open_dataset(path, fmri={"atlas": "voxels"}, events=["face", "house"], tmin=2.0, tmax=6.0).load()
    assert dataset.y.tolist() == ["face", "house", "face"]
    assert dataset.X.shape == (3, 8, 3)
    assert open_dataset(path, fmri={"atlas": "voxels"}).load().X.shape == (1, 8, 30)


@pytest.fixture
def derivatives(tmp_path):
    """Three people of a BIDS derivatives folder; participants.tsv does not know the last one's diagnosis."""
    for seed, name in enumerate(("01", "02", "03")):
        write_image(tmp_path / f"sub-{name}" / "func" / f"sub-{name}_task-rest_desc-preproc_bold.nii.gz", seed)
    (tmp_path / "dataset_description.json").write_text(
        '{"Name": "x", "BIDSVersion": "1.8.0", "DatasetType": "derivative"}'
    )
    (tmp_path / "participants.tsv").write_text("participant_id\tdx\nsub-01\tcase\nsub-02\tcontrol\nsub-03\tn/a\n")
    labels = np.zeros((2, 2, 2), np.int16)
    labels[0], labels[1] = 3, 5
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4) * 3), tmp_path.parent / f"{tmp_path.name}_atlas.nii.gz")
    return tmp_path


def test_bids_derivatives(derivatives, caplog):
    atlas = derivatives.parent / f"{derivatives.name}_atlas.nii.gz"
    asked = {"atlas": str(atlas), "confounds": "none", "labels": "dx", "standardize": "none"}
    manifest = open_dataset(derivatives, fmri=asked)
    assert manifest.subject_list == ["01", "02", "03"]
    with caplog.at_level("WARNING", "neurosig"):
        dataset = manifest.load()
    assert dataset.metadata["subject"].tolist() == ["01", "02"]
    assert dataset.y.tolist() == ["case", "control"]
    assert "1 runs have no label and are left out: 03" in caplog.text
    voxels = nibabel.load(derivatives / "sub-02" / "func" / "sub-02_task-rest_desc-preproc_bold.nii.gz").get_fdata()
    np.testing.assert_allclose(dataset.X[1], voxels.reshape(2, 4, 12).mean(axis=1), rtol=1e-5)
    assert manifest.load(subjects=["02"]).metadata["subject"].tolist() == ["02"]
    assert manifest.replace(events=["case"]).load().y.tolist() == ["case"]


def test_a_changed_atlas_is_another_identity(derivatives):
    atlas = derivatives.parent / f"{derivatives.name}_atlas.nii.gz"
    first = open_dataset(derivatives, fmri={"atlas": str(atlas)}).identity()
    moved = derivatives.parent / "moved"
    moved.mkdir()
    same = moved / atlas.name
    same.write_bytes(atlas.read_bytes())
    assert open_dataset(derivatives, fmri={"atlas": str(same)}).identity() == first
    other = nibabel.load(atlas)
    nibabel.save(nibabel.Nifti1Image(np.asarray(other.dataobj)[::-1].copy(), other.affine), same)
    assert open_dataset(derivatives, fmri={"atlas": str(same)}).identity() != first


def test_a_stored_dataset(tmp_path):
    from neurosig.loaders.simulated import simulate_fmri

    made = simulate_fmri(n_subjects=4, n_times=[20, 25], n_sites=2, n_regions=10, n_networks=2)
    made.to_zarr(tmp_path / "rest.zarr")
    dataset = open_dataset(tmp_path / "rest.zarr").load(subjects=made.metadata["subject"].tolist()[1:3])
    for run, expected in zip(dataset.X, (made.X[1], made.X[2]), strict=True):
        np.testing.assert_array_equal(run, expected)
    assert dataset.y.tolist() == made.y.tolist()[1:3]
    assert dataset.info.ch_names == made.info.ch_names
    assert dataset.metadata["site"].tolist() == made.metadata["site"].tolist()[1:3]


def test_both_hemispheres_are_one_run(tmp_path):
    rng = np.random.default_rng(0)
    series = {side: rng.normal(size=(6, 5)).astype(np.float32) for side in "LR"}
    for side, data in series.items():
        surfaces.gifti_series(tmp_path / f"sub-01_task-rest_hemi-{side}_bold.func.gii", data)
        surfaces.gifti_labels(tmp_path / f"{side}.label.gii", [1, 1, 2, 2, 2, 0], {1: f"{side}1", 2: f"{side}2"})
    atlas = f"{tmp_path / 'L.label.gii'},{tmp_path / 'R.label.gii'}"
    asked = {"atlas": atlas, "t_r": 2.0, "standardize": "none", "confounds": "none"}
    dataset = open_dataset(tmp_path, fmri=asked).load()
    assert dataset.metadata["subject"].tolist() == ["01"]
    expected = [series[side][rows].mean(axis=0) for side in "LR" for rows in (slice(0, 2), slice(2, 5))]
    np.testing.assert_allclose(dataset.X[0], expected, rtol=1e-5)


def test_a_mask_alone_is_the_atlas_and_beside_one_bounds_it(tmp_path):
    write_image(tmp_path / "bold.nii.gz")
    voxels = nibabel.load(tmp_path / "bold.nii.gz").get_fdata()
    mask, labels = np.zeros((2, 2, 2), np.uint8), np.ones((2, 2, 2), np.uint8)
    mask[0], labels[:, 0] = 1, 2
    for name, data in (("mask", mask), ("atlas", labels)):
        nibabel.save(nibabel.Nifti1Image(data, np.eye(4) * 3), tmp_path / f"{name}.nii.gz")
    asked = {"mask": str(tmp_path / "mask.nii.gz"), "standardize": "none"}
    single = open_dataset(tmp_path / "bold.nii.gz", fmri=asked).load()
    np.testing.assert_allclose(single.X[0], voxels[0].reshape(4, 12), rtol=1e-5)
    regions = open_dataset(tmp_path / "bold.nii.gz", fmri={**asked, "atlas": str(tmp_path / "atlas.nii.gz")}).load()
    np.testing.assert_allclose(regions.X[0], [voxels[0, 1].mean(axis=0), voxels[0, 0].mean(axis=0)], rtol=1e-5)


def test_eeg_stays_eeg(recording, write_csv):
    assert not holds_fmri(recording)
    assert not holds_fmri(recording.parent)
    write_image(recording.parent / "sub-01" / "anat" / "sub-01_T1w.nii.gz", shape=(2, 2, 2))
    assert not holds_fmri(recording.parent)
    write_image(recording.parent / "ctf" / "anat" / "sub-01_T1w.nii.gz", shape=(2, 2, 2))
    (recording.parent / "ctf" / "meg" / "sub-01_meg.ds").mkdir(parents=True)
    (recording.parent / "ctf" / "meg" / "sub-01_meg.ds" / "sub-01_meg.meg4").write_bytes(b"MEG41CP")
    assert not holds_fmri(recording.parent / "ctf")
    stream = write_csv("timestamps,Cz,Marker\n0,1,0\n0.1,2,1\n")
    assert not holds_fmri(stream)
    assert holds_fmri(stream, asked=True)
    with pytest.raises(UsageError, match="t_r belongs to fMRI"):
        open_dataset("eegmat", fmri={"t_r": 2.0})


def test_nothing_of_fmri(tmp_path):
    write_image(tmp_path / "brain.nii.gz", shape=(2, 2, 2))  # one volume is anatomy
    with pytest.raises(InputError, match="no fMRI runs in"):
        open_dataset(tmp_path, fmri={"atlas": "voxels"})
    with pytest.raises(UsageError, match="volumes need an atlas"):
        open_dataset(tmp_path / "brain.nii.gz").load()


def test_images_need_an_atlas(tmp_path):
    write_image(tmp_path / "bold.nii.gz")
    with pytest.raises(UsageError, match="volumes need an atlas"):
        open_dataset(tmp_path / "bold.nii.gz").load()
    with pytest.raises(InputError, match="no such atlas file"):
        open_dataset(tmp_path / "bold.nii.gz", fmri={"atlas": str(tmp_path / "gone.nii.gz")}).load()
    (tmp_path / "torn.nii.gz").write_bytes((tmp_path / "bold.nii.gz").read_bytes()[:200])
    with pytest.raises(InputError, match=r"torn\.nii\.gz"):
        open_dataset(tmp_path / "torn.nii.gz", fmri={"atlas": "voxels"}).load()


def test_events_that_no_run_has_are_refused(tmp_path):
    rows = {"1": "4\t2\tface\n20\t2\thouse\n", "2": "4\t2\thouse\n20\t2\tface\n"}
    for run, text in rows.items():
        write_image(tmp_path / f"sub-01_task-look_run-{run}_bold.nii.gz", int(run), shape=(2, 2, 2, 30))
        (tmp_path / f"sub-01_task-look_run-{run}_events.tsv").write_text("onset\tduration\ttrial_type\n" + text)
    asked = {"fmri": {"atlas": "voxels"}, "tmin": 2.0, "tmax": 6.0}
    with pytest.raises(InputError, match=r"no run has the event cats; there are face, house"):
        open_dataset(tmp_path, events=["face", "house", "cats"], **asked)
    write_image(tmp_path / "sub-01_task-look_run-3_bold.nii.gz", 3, shape=(2, 2, 2, 30))
    image = tmp_path / "sub-01_task-look_run-3_bold.nii.gz"
    with pytest.raises(InputError, match=r"run-3_bold\.nii\.gz: no table of events .* which 2 other runs have"):
        open_dataset(tmp_path, events=["face", "house"], **asked)
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(InputError, match=r"no table of events .*it is damaged, cut short"):
        open_dataset(tmp_path, events=["face", "house"], **asked)


def test_classes_that_nobody_bears_are_refused(tmp_path):
    for seed, name in enumerate(("01", "02")):
        write_series(tmp_path / f"sub-{name}_rest.1D", seed)
    (tmp_path / "participants.tsv").write_text("participant_id\tdx\nsub-01\tcase\nsub-02\tcontrol\n")
    asked = {"t_r": 2.0, "labels": "dx"}
    with pytest.raises(UsageError, match="has no runs of controls; its labels are case, control"):
        open_dataset(tmp_path, fmri=asked, events=["case", "controls"]).load()
    manifest = open_dataset(tmp_path, fmri=asked, events=["case", "control"])
    assert manifest.load(subjects=["01"]).y.tolist() == ["case"]  # one person bears one class
    # columns of the runs are no near names of those of people
    with pytest.raises(UsageError, match="no column 'n_volume': it has subject, session, run, dx"):
        open_dataset(tmp_path, fmri={"t_r": 2.0, "labels": "n_volume"}).load()


def test_a_folder_of_tables_that_only_fmri_comes_in(tmp_path):
    for name in ("01", "02"):
        write_series(tmp_path / f"sub-{name}_task-rest_timeseries.tsv")
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\n")
    assert holds_fmri(tmp_path)
    (tmp_path / "stream.csv").write_text("timestamps,Cz\n0,1\n0.1,2\n")  # may be EEG
    assert not holds_fmri(tmp_path) and holds_fmri(tmp_path, asked=True)
    bare = tmp_path / "raw"
    bare.mkdir()
    for name in ("participants.tsv", "sub-01_task-rest_events.tsv", "sub-01_electrodes.tsv", "README.txt"):
        (bare / name).write_text("a\tb\n1\t2\n")
    assert not holds_fmri(bare)
    with pytest.raises(InputError, match=r"no recordings in .*of fMRI images .* or tables of region series"):
        open_dataset(bare)
