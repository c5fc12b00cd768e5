import json

import nibabel
import numpy as np
import pytest


@pytest.fixture
def table(tmp_path):
    """A hundred volumes of four regions, one of which never changes."""
    data = np.random.default_rng(0).normal(100, 2, (100, 4))
    data[:, 2] = 7.0
    np.savetxt(tmp_path / "run.1D", data, header="#1\t#2\t#3\t#4", comments="", delimiter="\t")
    return tmp_path / "run.1D"


def test_a_table_as_text_with_a_figure(cli, table, tmp_path):
    done = cli("inspect", table, "--t-r", "2", "--figure", tmp_path / "look.png")
    assert done.returncode == 0, done.stderr
    assert "4: 1, 2, 3, 4" in done.stdout
    assert "100, one every 2 s, 200 s (3 min 20 s)" in done.stdout
    assert "! 1 of 4 regions never change: 3" in done.stdout
    assert (tmp_path / "look.png").read_bytes().startswith(b"\x89PNG")


def test_an_image_as_json(cli, tmp_path):
    data = np.random.default_rng(0).normal(100, 2, (5, 5, 4, 80)).astype(np.float32)
    image = nibabel.Nifti1Image(data, np.diag([3, 3, 3, 1]))
    image.header.set_zooms((3, 3, 3, 2.5))
    image.header.set_xyzt_units("mm", "sec")
    image.to_filename(tmp_path / "run.nii.gz")
    done = cli("inspect", tmp_path / "run.nii.gz", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["t_r"], report["n_volumes"], report["details"]["shape"]) == (2.5, 80, [5, 5, 4])


def test_a_csv_is_fmri_where_a_repetition_time_is_given(cli, tmp_path):
    np.savetxt(tmp_path / "run.csv", np.random.default_rng(0).normal(size=(100, 3)), delimiter=",", header="A,B,C",
               comments="")  # fmt: skip
    done = cli("inspect", tmp_path / "run.csv", "--t-r", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["names"] == ["A", "B", "C"]


def test_options_of_the_other_kind_of_recording_are_refused(cli, table, tmp_path):
    done = cli("inspect", table, "--sfreq", "0.5")
    assert done.returncode == 2
    assert "--sfreq: for EEG and MEG, run.1D is fMRI" in done.stderr
    (tmp_path / "a.edf").write_text("hello")
    done = cli("inspect", tmp_path / "a.edf", "--t-r", "2")
    assert done.returncode == 2
    assert "a.edf is none by its name" in done.stderr


def test_a_table_on_its_side_is_one_line_and_exit_1(cli, tmp_path):
    np.save(tmp_path / "side.npy", np.random.default_rng(0).normal(size=(4, 90)))
    done = cli("inspect", tmp_path / "side.npy", "--t-r", "2")
    assert done.returncode == 1
    assert "is it transposed?" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Say --orientation rows_are_volumes or --orientation rows_are_regions" in done.stderr
    done = cli("inspect", tmp_path / "side.npy", "--t-r", "2", "--fmri", "orientation=rows_are_regions")
    assert done.returncode == 0, done.stderr


def test_of_a_folder_of_runs_one_is_named(cli, table):
    done = cli("inspect", table.parent)
    assert done.returncode == 2
    assert f"is a folder of fMRI; inspect one run of it, such as {table}" in done.stderr
