"""Manifests of fMRI: runs and their people, labels under other names, trials, and what fMRI does not have."""

import hashlib
import shutil

import nibabel
import numpy as np
import pytest

from neurosig.core.errors import InputError, ManifestError, UsageError
from neurosig.loaders.fmri_collection import read_collection
from neurosig.loaders.manifest import read_manifest

CLINIC = """\
name: clinic
title: Patients and controls
modality: fmri
source:
  files:
    - {path: runs.npz, subject: "*"}
  extra:
    - {path: people.csv}
fmri: {unit: z, table: people.csv, key: who, missing: [-9999], labels: group}
events: {control: [HC, healthy], patient: P}
folds: subject
"""
PEOPLE = "who,group,age\np1,HC,20.5\np2,P,31.5\np3,healthy,-9999\np4,P,44.5\n"


@pytest.fixture
def clinic(tmp_path):
    """Four people with runs of 8, 9, 10 and 8 volumes of three regions."""
    lengths = np.array([8, 9, 10, 8])
    np.savez(
        tmp_path / "runs.npz", X=np.random.default_rng(0).standard_normal((35, 3)).astype(np.float32), length=lengths,
        subject=np.array(["p1", "p2", "p3", "p4"]), tr=np.array([2.0, 2.0, 2.5, 2.0]),
    )  # fmt: skip
    (tmp_path / "people.csv").write_text(PEOPLE)
    (tmp_path / "clinic.yml").write_text(CLINIC)
    return tmp_path


def opened(folder):
    return read_manifest(folder / "clinic.yml", data=folder)


def test_runs_keep_what_the_file_holds(clinic):
    dataset = opened(clinic).load()
    held = read_collection(clinic / "runs.npz")
    for run, expected in zip(dataset.X, held.X, strict=True):
        np.testing.assert_array_equal(run, expected)
    assert dataset.y.tolist() == ["control", "patient", "control", "patient"]
    table = dataset.metadata
    assert table["t_r"].tolist() == [2.0, 2.0, 2.5, 2.0]
    assert table["file"].tolist() == [f"runs.npz[{i}]" for i in range(4)]
    assert table["age"].tolist()[:2] == [20.5, 31.5]
    assert np.isnan(table["age"].iloc[2])
    assert (dataset.info.modality, dataset.info.unit, dataset.info.t_r) == ("fmri", "z", None)


def test_a_part_of_the_people_and_of_the_classes(clinic):
    manifest = opened(clinic)
    assert manifest.subject_list == ["p1", "p2", "p3", "p4"]
    assert manifest.load(subjects=["p4", "p1"]).metadata["subject"].tolist() == ["p1", "p4"]
    assert manifest.replace(events=["patient"]).load().metadata["subject"].tolist() == ["p2", "p4"]
    with pytest.raises(UsageError, match="no event 'patients'"):
        manifest.replace(events=["patients"])
    with pytest.raises(UsageError, match="no subject 'p9'"):
        manifest.load(subjects=["p9"])


def test_people_without_a_label_are_left_out_and_told(clinic, caplog):
    (clinic / "people.csv").write_text(PEOPLE.replace("p2,P,", "p2,n/a,"))
    with caplog.at_level("WARNING", "neurosig"):
        dataset = opened(clinic).load()
    assert dataset.metadata["subject"].tolist() == ["p1", "p3", "p4"]
    assert "1 runs have no label and are left out: p2" in caplog.text


def test_another_column_and_none(clinic):
    ages = opened(clinic).replace(fmri={"labels": "age"})
    assert ages.events is None  # those were of the groups
    assert ages.load().y.tolist() == [20.5, 31.5, 44.5]
    named = opened(clinic).replace(fmri={"labels": "subject"}, events={"first": "p1", "other": ["p2", "p3"]})
    assert named.load().y.tolist() == ["first", "other", "other"]
    every = opened(clinic).unlabelled().load()
    assert (len(every), every.y) == (4, None)
    with pytest.raises(UsageError, match="no column 'grp': did you mean group"):
        opened(clinic).replace(fmri={"labels": "grp"}).load()


def test_labels_that_nobody_has(clinic):
    (clinic / "people.csv").write_text(PEOPLE.replace("HC", "x").replace("healthy", "x").replace(",P,", ",y,"))
    with pytest.raises(InputError, match="no runs of control, patient; its labels are x, y"):
        opened(clinic).load()


def test_series_are_cleaned_where_no_unit_is_stated(clinic):
    path = clinic / "clinic.yml"
    path.write_text(CLINIC.replace("unit: z, ", "detrend: true, "))
    dataset = opened(clinic).load()
    assert dataset.info.unit == "z"
    for run in dataset.X:
        steps = np.arange(run.shape[1])
        np.testing.assert_allclose(run.std(axis=1, ddof=1), 1, rtol=1e-4)
        assert np.abs([np.polyfit(steps, row, 1)[0] for row in run]).max() < 1e-6


def test_the_identity_changes_with_all_that_series_and_labels_depend_on(clinic):
    first = opened(clinic).identity()
    assert opened(clinic).identity() == first
    assert opened(clinic).replace(fmri={"labels": "age"}).identity() != first
    (clinic / "people.csv").write_text(PEOPLE.replace("44.5", "45.5"))
    assert opened(clinic).identity() != first


def test_all_files_are_verified(clinic):
    total = hashlib.sha256(PEOPLE.encode()).hexdigest()
    text = CLINIC.replace("{path: people.csv}", f"{{path: people.csv, sha256: {total}}}")
    (clinic / "clinic.yml").write_text(text)
    assert [(row.path, row.status) for row in opened(clinic).verify()] == [
        ("runs.npz", "unverified"), ("people.csv", "ok"),
    ]  # fmt: skip
    (clinic / "people.csv").unlink()
    assert [row.status for row in opened(clinic).verify()] == ["unverified", "missing"]
    with pytest.raises(InputError, match=r"people\.csv of clinic is not in"):
        opened(clinic).load()


def test_what_fmri_does_not_have(clinic):
    manifest = opened(clinic)
    with pytest.raises(UsageError, match=r"\.load\(\) gives its region series"):
        list(manifest.raws())
    with pytest.raises(UsageError, match=r"clinic is fMRI, of which \.as_moabb\(\) gives nothing"):
        manifest.as_moabb()
    for name, value in {"resample": 50.0, "picks": ["C3"], "tmax": 3.0}.items():
        with pytest.raises(UsageError, match=name):
            manifest.replace(**{name: value})
    assert manifest.replace(fmin=0.01, fmax=0.1).fmri.high_pass == 0.01
    with pytest.raises(UsageError, match="unknown option 'atals' of fMRI"):
        manifest.replace(fmri={"atals": "power"})
    with pytest.raises(UsageError, match="t_r: Input should be greater than 0"):
        manifest.replace(fmri={"t_r": -2})
    with pytest.raises(UsageError, match="t_r belongs to fMRI, eegmat is eeg"):
        read_manifest("eegmat").replace(fmri={"t_r": 2.0})
    assert "none: each run is taken whole" in manifest.describe()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("folds: subject", "processing: {tmin: 0, tmax: 3}", "whole runs are not cut"),
        ("folds: subject", "paradigm: imagery", "has files and no 'paradigm'"),
        ("modality: fmri", "modality: eeg\nprocessing: {tmin: 0, tmax: 1}", "'fmri' belongs to modality fmri"),
        ("labels: group", "lables: group", "did you mean labels"),
        ("{path: people.csv}", "{path: ../people.csv}", "must not contain"),
    ],
)
def test_manifests_that_make_no_sense(clinic, old, new, message):
    (clinic / "clinic.yml").write_text(CLINIC.replace(old, new))
    with pytest.raises(ManifestError, match=message):
        opened(clinic)


def test_eeg_still_needs_to_say_how_it_is_cut(tmp_path):
    (tmp_path / "eeg.yml").write_text("name: e\ntitle: E\nsource: {files: [{path: a.edf}]}\n")
    with pytest.raises(ManifestError, match="'processing' says how trials are cut"):
        read_manifest(tmp_path / "eeg.yml")


PICTURES = """\
name: pictures
title: Faces and houses
modality: fmri
source:
  patterns:
    - {path: "run{run}.nii.gz", subjects: [1], runs: [1, 2]}
fmri: {atlas: voxels, standardize: none, confounds: none, events_table: "run{run}_events.tsv"}
events: {face: [face, cat], house: house}
processing: {tmin: 2.0, tmax: 6.0}
folds: run
"""


def write_pictures(folder):
    """Two runs of 2 x 2 x 1 voxels, one of which never changes, at 2 s; gives their voxels."""
    voxels = {}
    for run in (1, 2):
        data = np.random.default_rng(run).normal(100, 5, (2, 2, 1, 20)).astype(np.float32)
        data[1, 1] = 7.0
        image = nibabel.Nifti1Image(data, np.eye(4) * 3)
        image.header.set_zooms((3, 3, 3, 2.0))
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, folder / f"run{run}.nii.gz")
        voxels[run] = data
        (folder / f"run{run}_events.tsv").write_text(
            "onset\tduration\ttrial_type\n4\t4\tface\n12\t4\thouse\n20\t4\tcat\n26\t4\trest\n36\t4\thouse\n"
        )
    return voxels


def test_trials_around_events(tmp_path, caplog):
    voxels = write_pictures(tmp_path)
    (tmp_path / "pictures.yml").write_text(PICTURES)
    with caplog.at_level("WARNING", "neurosig"):
        dataset = read_manifest(tmp_path / "pictures.yml", data=tmp_path).load()
    assert dataset.y.tolist() == ["face", "house", "face"] * 2  # the last house reaches beyond the run
    assert "2 of 8 trials left out" in caplog.text
    assert dataset.info.ch_names == ("voxel_0_0_0", "voxel_0_1_0", "voxel_1_0_0")
    assert dataset.metadata["run"].tolist() == ["1"] * 3 + ["2"] * 3
    for place, (run, onset) in enumerate((run, onset) for run in (1, 2) for onset in (4, 12, 20)):
        first = onset // 2 + 1
        expected = voxels[run].reshape(4, 20)[:3, first : first + 3]
        np.testing.assert_allclose(dataset.X[place], expected, rtol=1e-5)
    longer = read_manifest(tmp_path / "pictures.yml", data=tmp_path).replace(tmax=8.0).load()
    assert longer.X.shape[2] == 4


def test_no_such_events(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "pictures.yml").write_text(PICTURES.replace("[face, cat]", "dog").replace(": house}", ": barn}"))
    with pytest.raises(InputError, match="pictures: no run has face, house; its events are cat, face, house, rest"):
        read_manifest(tmp_path / "pictures.yml", data=tmp_path).load()
    (tmp_path / "run2_events.tsv").unlink()
    with pytest.raises(InputError, match=r"run2_events\.tsv of pictures is not in"):
        read_manifest(tmp_path / "pictures.yml", data=tmp_path).load()


def test_voxels_of_runs_on_two_grids(tmp_path):
    write_pictures(tmp_path)
    nibabel.save(
        nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(3, 2, 1, 20)), np.eye(4)), tmp_path / "run2.nii.gz"
    )
    (tmp_path / "pictures.yml").write_text(PICTURES)
    with pytest.raises(InputError, match="compared one by one only on one grid; use an atlas"):
        read_manifest(tmp_path / "pictures.yml", data=tmp_path).load()


def test_abide_as_its_arrays_say(data_dir):
    dataset = read_manifest("abide", data=data_dir).load()
    with np.load(data_dir / "abide" / "abide_cc200_filt_global.npz") as stored:
        X, lengths, y = stored["X"], stored["length"], stored["y"]
    assert [run.shape for run in dataset.X] == [(200, length) for length in lengths]
    np.testing.assert_allclose(dataset.X[-1], X[-lengths[-1] :].T / 25, rtol=1e-5, atol=1e-6)
    assert (dataset.y == np.array(["control", "autism"])[y]).all()
    # the phenotypes are of the same people in the same order
    assert ((dataset.metadata["DX_GROUP"] == 1) == (y == 1)).all()
    assert not (dataset.metadata["FIQ"] < 0).any()
    assert dataset.metadata["site"].nunique() == 5


def test_abide_text_files_have_the_regions_of_the_arrays(data_dir):
    text, arrays = read_manifest("abide-1d", data=data_dir).load(), read_manifest("abide", data=data_dir)
    assert text.info.ch_names == arrays.load(subjects=["NYU_0050952"]).info.ch_names
    one = arrays.load(subjects=text.metadata["subject"].tolist())
    for series, rounded in zip(
        text.X, one.X, strict=True
    ):  # the arrays hold the same in steps of 0.04, up to 127 of them
        assert np.abs(np.clip(series, -5.08, 5.08) - rounded).max() < 0.04


def test_haxby_is_recognised_by_its_content(data_dir, tmp_path, caplog):
    from neurosig.loaders.manifest import open_dataset

    folder = data_dir / "haxby_mini"
    for name in (
        "run001_bold_1slice.nii.gz",
        "run001_bold_events.tsv",
        "run002_bold_1slice.nii.gz",
        "run002_bold_events.tsv",
    ):
        shutil.copy(folder / name, tmp_path / name)
    manifest = open_dataset(tmp_path)
    assert (manifest.name, manifest.adhoc) == ("haxby-mini", False)
    dataset = manifest.load()
    assert dataset.X.shape[::2] == (16, 8)
    assert sorted(set(dataset.y)) == manifest.event_names


def test_moabb_is_told_of_no_fmri(clinic, monkeypatch):
    from neurosig.loaders.moabb_dataset import register

    with pytest.raises(UsageError, match="clinic is fMRI"):
        register(opened(clinic))


SIMULATED = """\
name: made
title: made
modality: fmri
source: {simulated: {kind: fmri, n_subjects: 6, n_sites: 2, n_times: [20, 30], n_regions: 10, random_state: 3}}
events: [control, patient]
"""


def test_simulated_runs_by_name(tmp_path):
    from neurosig.loaders.simulated import simulate_fmri

    (tmp_path / "made.yml").write_text(SIMULATED)
    manifest = read_manifest(tmp_path / "made.yml")
    made, direct = manifest.load(), simulate_fmri(6, n_sites=2, n_times=[20, 30], n_regions=10, random_state=3)
    for run, expected in zip(made.X, direct.X, strict=True):
        np.testing.assert_array_equal(run, expected)
    assert (made.name, made.y.tolist()) == ("made", direct.y.tolist())
    assert set(made.truth["subjects"]) == set(manifest.subject_list)
    one = manifest.load(subjects=["2", "3"])
    np.testing.assert_array_equal(one.X[1], direct.X[2])
    scored = manifest.replace(fmri={"labels": "score"}).load()
    np.testing.assert_array_equal(scored.y, direct.metadata["score"])
    patients = manifest.replace(events=["patient"]).load()
    assert set(patients.y) == {"patient"} and len(patients) == 3
    assert manifest.unlabelled().load().y is None
    assert manifest.identity() != manifest.replace(subjects=["1"]).identity()


def test_of_simulated_runs_nothing_is_read(tmp_path):
    (tmp_path / "made.yml").write_text(SIMULATED)
    manifest = read_manifest(tmp_path / "made.yml")
    with pytest.raises(UsageError, match="high_pass says how files are read, and made is simulated"):
        manifest.replace(fmri={"high_pass": 0.01})
    with pytest.raises(UsageError, match=r"of which \.simulations\(\) gives nothing"):
        list(manifest.simulations())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_sites", "n_site", "n_site.*did you mean n_sites"),
        ("modality: fmri", "modality: eeg", "state modality: fmri"),
        ("kind: fmri", "kind: imagery", "n_sites|n_times"),
        ("events:", "processing: {tmin: 0, tmax: 1}\nevents:", "leave 'processing' out"),
    ],
)
def test_mistakes_in_a_simulated_manifest(tmp_path, old, new, message):
    (tmp_path / "made.yml").write_text(SIMULATED.replace(old, new))
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / "made.yml")
