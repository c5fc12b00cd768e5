"""``neurosig decode`` as a shell sees it."""

import csv
import json
import re

import mne
import numpy as np
import pytest

from neurosig.evaluation.trained import TrainedPipeline, train
from neurosig.loaders.manifest import open_dataset
from neurosig.loaders.simulated import simulate_recordings

CHANNELS = ["F3", "F4", "C3", "Cz", "C4", "P3", "P4"]
EVENTS = "left_hand,right_hand"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model trained on one run, and the run after it."""
    folder = tmp_path_factory.mktemp("place")
    for item in simulate_recordings("imagery", 1, 1, 2, 16, ch_names=CHANNELS):
        item.raw.save(folder / f"run{item.run}_raw.fif", fmt="double", verbose="error")
    data = open_dataset(folder / "run0_raw.fif", fmin=8.0, fmax=32.0, tmin=0.5, tmax=2.5)
    train(data, "LogVar+LDA", n_splits=2).save(folder / "model")
    return folder


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_events_give_the_numbers_of_this_process(cli, place, tmp_path):
    done = cli("decode", "--model", place / "model", place / "run1_raw.fif", "--events", EVENTS, "--out", "out")
    assert done.returncode == 0, done.stderr
    here = TrainedPipeline.load(place / "model").decode(place / "run1_raw.fif", events=EVENTS.split(",")).table
    table = rows(tmp_path / "out" / "decoded.csv")
    assert list(table[0]) == [
        "file",
        "onset",
        "duration",
        "event",
        "correct",
        "predicted",
        "p_left_hand",
        "p_right_hand",
    ]
    assert [float(row["p_left_hand"]) for row in table] == here["p_left_hand"].tolist()
    assert [row["predicted"] for row in table] == here["predicted"].tolist()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["decoded.csv", "decoded.json", "report.html"]
    assert re.search(r"16 decoded; \d+ channels; ", done.stdout)
    assert "as the events say:" in done.stdout
    assert "report:" in done.stdout


def test_windows_as_asked(cli, place, tmp_path):
    done = cli("decode", place / "run1_raw.fif", "-m", place / "model", "--window", "2", "--step", "0.5", "-o", "out")
    assert done.returncode == 0, done.stderr
    onsets = [float(row["onset"]) for row in rows(tmp_path / "out" / "decoded.csv")]
    np.testing.assert_allclose(np.diff(onsets), 0.5)
    raw = mne.io.read_raw_fif(place / "run1_raw.fif", verbose="error")
    assert len(onsets) == (raw.n_times - 257) // 64 + 1


def test_json_is_one_object_and_writes_nothing_unless_asked(cli, place, tmp_path):
    done = cli(
        "decode",
        "-m",
        place / "model",
        place / "run1_raw.fif",
        place / "run0_raw.fif",
        "--events",
        "left=left_hand",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["classes"] == ["left_hand", "right_hand"]
    assert {row["file"] for row in answer["windows"]} == {"run0_raw.fif", "run1_raw.fif"}
    assert len(answer["windows"]) == 16
    assert sum(row["p_left_hand"] + row["p_right_hand"] for row in answer["windows"]) == pytest.approx(16)
    assert answer["recordings"][0]["channels"]["unit"] == ["V", "uV"]
    assert list(tmp_path.iterdir()) == []


def test_events_of_training_and_the_warning_about_seen_recordings(cli, place):
    done = cli("decode", "-m", place / "model", place / "run0_raw.fif", "--events", "training")
    assert done.returncode == 0, done.stderr
    assert "as the events say:" in done.stdout
    assert "warning: a recording called run0_raw.fif was trained on" in done.stderr


def truncated(place, target):
    content = (place / "run1_raw.fif").read_bytes()
    target.write_bytes(content[: len(content) // 2])


def empty(place, target):
    target.write_bytes(b"")


def without_a_channel(place, target):
    mne.io.read_raw_fif(place / "run1_raw.fif", verbose="error").drop_channels(["C3"]).save(target, verbose="error")


def at_another_rate(place, target):
    raw = mne.io.read_raw_fif(place / "run1_raw.fif", preload=True, verbose="error")
    raw.resample(100, verbose="error").save(target, verbose="error")


def short(place, target):
    mne.io.read_raw_fif(place / "run1_raw.fif", preload=True, verbose="error").crop(0, 1.0).save(
        target, verbose="error"
    )


def in_microvolts(place, target):
    raw = mne.io.read_raw_fif(place / "run1_raw.fif", preload=True, verbose="error")
    raw.apply_function(lambda x: x * 1e6).save(target, verbose="error")


def not_a_number(place, target):
    raw = mne.io.read_raw_fif(place / "run1_raw.fif", preload=True, verbose="error")
    raw._data[2, 700:800] = np.nan
    raw.save(target, verbose="error")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (truncated, "truncated"),
        (empty, "is empty (0 bytes)"),
        (without_a_channel, "missing: C3"),
        (at_another_rate, "expected a sampling rate of 128 Hz, got 100 Hz"),
        (short, "too short for one window of 2 s"),
        (in_microvolts, "looks like microvolts stored as volts"),
        (not_a_number, "NaN"),
    ],
)
def test_a_bad_recording_is_one_line_and_nothing_is_written(cli, place, tmp_path, make, message):
    target = tmp_path / "new_raw.fif"
    make(place, target)
    done = cli("decode", "-m", place / "model", place / "run1_raw.fif", target, "-o", "out")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "new_raw.fif" in done.stderr
    assert message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["new_raw.fif"]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--step", "1"], 2, "--step belongs to --window"),
        (["--window", "2", "--events", EVENTS], 2, "exclude each other"),
        (["--window", "0"], 2, "both positive seconds"),
        (["--events", "squeeze"], 1, "squeeze"),
        (["--on-missing", "pad"], 2, "'pad' is not one of"),
        (["--unit", "lightyears"], 2, "unit must be one of"),
        (["--model", "nothing"], 1, "is not a saved pipeline"),
        (["gone.edf"], 1, "no such file"),
    ],
)
def test_wrong_calls_are_one_line(cli, place, tmp_path, args, code, message):
    model = [] if "--model" in args else ["-m", place / "model"]
    done = cli("decode", place / "run1_raw.fif", *model, *args)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_may_be_mended_on_request(cli, place, tmp_path):
    without_a_channel(place, tmp_path / "gap_raw.fif")
    done = cli("decode", "-m", place / "model", "gap_raw.fif", "--on-missing", "interpolate")
    assert done.returncode == 0, done.stderr
    assert "warning: channels estimated from their neighbours: C3" in done.stderr
    at_another_rate(place, tmp_path / "slow_raw.fif")
    assert cli("decode", "-m", place / "model", "slow_raw.fif", "--resample").returncode == 0
    in_microvolts(place, tmp_path / "micro_raw.fif")
    done = cli("decode", "-m", place / "model", "micro_raw.fif", "--unit", "uV")
    assert done.returncode == 0
    assert "decoded holds the answers of an earlier call, which are replaced; --out names another" in done.stderr


def test_an_altered_model_is_refused(cli, place, tmp_path):
    model = TrainedPipeline.load(place / "model").save(tmp_path / "model")
    config = model / "config.json"
    config.write_text(config.read_text().replace('"uV"', '"mV"'))
    done = cli("decode", "-m", "model", place / "run1_raw.fif")
    assert done.returncode == 1
    assert "config.json was altered after the model was saved" in done.stderr


def test_a_place_that_cannot_be_written_is_told_before_the_work(place, tmp_path, monkeypatch, capsys):
    from neurosig.cli.app import main

    def decode(*_args, **_options):
        raise AssertionError("decoded first")

    monkeypatch.setattr(TrainedPipeline, "decode", decode)
    (tmp_path / "file").touch()
    call = ["decode", str(place / "run1_raw.fif"), "--model", str(place / "model"), "--out"]
    with pytest.raises(SystemExit) as stopped:
        main([*call, str(tmp_path / "file")])
    assert stopped.value.code == 1
    assert capsys.readouterr().err.startswith("error: cannot write ")


def test_a_refused_recording_leaves_no_folder(cli, place, tmp_path):
    done = cli("decode", place / "run1_raw.fif", "--model", place / "model", "--events", "nothing", "--out", "a/out")
    assert done.returncode in (1, 2) and len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_narrow_recording_is_warned_of_and_a_dead_channel_refused(cli, place, tmp_path):
    raw = mne.io.read_raw_fif(place / "run1_raw.fif", preload=True, verbose="error").filter(None, 20, verbose="error")
    raw.save(tmp_path / "poor_raw.fif", fmt="double", verbose="error")
    done = cli("decode", "-m", place / "model", "poor_raw.fif", "-o", "out")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    text = "poor_raw.fif was low-passed at 20 Hz before, the model uses frequencies up to 32 Hz"
    assert f"warning: {text}" in told and text in page
    raw._data[raw.ch_names.index("C3")] = 2e-6
    raw.save(tmp_path / "dead_raw.fif", fmt="double", verbose="error")
    done = cli("decode", "-m", place / "model", "dead_raw.fif")
    assert done.returncode == 1 and "dead_raw.fif: C3 never change" in done.stderr


def test_one_class_for_nearly_all_is_warned_of():
    import pandas as pd

    from neurosig.evaluation.decoded import _one_sided

    def warned(n, other):
        return _one_sided(pd.DataFrame({"file": "a", "predicted": ["left"] * (n - other) + ["right"] * other}))

    assert "a: left in 239 of 240" in warned(240, 1)[0]
    assert warned(240, 12) == [] and warned(19, 0) == [] and len(warned(20, 0)) == 1
