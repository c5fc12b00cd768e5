import json

import numpy as np
import pytest


@pytest.fixture
def trials(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "trials.npz",
        X=rng.normal(0, 10, (6, 3, 200)),
        y=np.array([0, 1] * 3),
        ch_names=np.array(["C3", "Cz", "C4"]),
        sfreq=100.0,
        class_names=np.array(["left", "right"]),
        unit_uV=1.0,
    )
    return tmp_path / "trials.npz"


def test_text_and_figure(cli, trials, tmp_path):
    done = cli("inspect", trials, "--figure", tmp_path / "look.png")
    assert done.returncode == 0, done.stderr
    assert "3 (3 eeg): C3, Cz, C4" in done.stdout
    assert "left × 3, right × 3" in done.stdout
    assert "No problems found." in done.stdout
    assert (tmp_path / "look.png").read_bytes().startswith(b"\x89PNG")


def test_json_stands_alone_on_standard_output(cli, trials):
    done = cli("inspect", trials, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["events"] == {"left": 3, "right": 3}
    assert report["sfreq"] == 100


def test_every_channel_is_listed_when_asked(cli, trials):
    done = cli("inspect", trials, "--channels")
    assert sum(line.strip().startswith(("C3 ", "Cz ", "C4 ")) for line in done.stdout.splitlines()) == 3


def test_real_recording(cli, data_dir):
    done = cli("inspect", data_dir / "formats/mne_python/test_ctf_comp_raw.fif")
    assert done.returncode == 0, done.stderr
    assert "274 mag" in done.stdout
    assert "mains at 50 Hz" in done.stdout


def test_a_broken_file_is_one_line_and_exit_1(cli, tmp_path):
    (tmp_path / "a.edf").write_text("hello")
    done = cli("inspect", tmp_path / "a.edf")
    assert done.returncode == 1
    assert "a.edf is not EDF: its first bytes are b'hello'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_wrong_figure_name_is_exit_2_and_writes_nothing(cli, trials, tmp_path):
    done = cli("inspect", trials, "--figure", tmp_path / "look.docx")
    assert done.returncode == 2
    assert "--figure takes a file name that ends in .png, .pdf or .svg, got 'look.docx'" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["trials.npz"]
