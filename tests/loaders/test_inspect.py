import datetime
import json

import mne
import numpy as np
import pytest

from neurosig.core.errors import InputError
from neurosig.loaders.inspect import inspect_figure, inspect_recording, look_into
from neurosig.loaders.recordings import ReadOptions
from neurosig.loaders.scan import scan

REAL = (
    "formats/mne_python/test.edf",
    "formats/mne_python/test.bdf",
    "formats/mne_python/test.vhdr",
    "formats/mne_python/test.sqd",
    "formats/mne_python/test_ctf_comp_raw.fif",
    "formats/mne_python/test_pdf_linux",
    "formats/mne_testing/test_raw.set",
    "formats/mne_testing/test_elekta_3ch_raw.fif",
    "formats/mne_testing/neuromag122_test_file-raw.fif",
    "formats/mne_testing/sample_audvis_trunc_raw_sss.fif",
    "eegmmidb/edf/S001R04.edf",
    "eegmat/edf/Subject01_2.edf",
    "eegmat/eegmat_125hz.npz",
    "bci2_selfpaced/sp1s_aa.npz",
    "muse/visual_ssvep_subject1_session1_run1.csv.gz",
    "ieeg_hfo/sub-01/ses-interictalsleep/ieeg/sub-01_ses-interictalsleep_run-01_ieeg.vhdr",
)


def problems(path, **keywords):
    """Kind of problem to (message, channels)."""
    return {
        item["kind"]: (item["message"], item["channels"]) for item in inspect_recording(path, **keywords)["problems"]
    }


@pytest.fixture
def clean(make_raw):
    return make_raw(events={"left": [1, 5, 9], "right": [3, 7, 11]})


@pytest.mark.parametrize("file", REAL)
def test_real_recordings_can_be_told_and_drawn(data_dir, file):
    found = look_into(data_dir / file)
    json.dumps(found.report, allow_nan=False)
    assert found.report["n_channels"] == len(found.report["channels"])
    assert found.report["duration"] > 0
    figure = inspect_figure(data_dir / file)
    figure.canvas.draw()
    assert len(figure.axes) == 4


def test_a_clean_recording_has_no_problems(clean, save):
    report = inspect_recording(save(clean))
    assert report["problems"] == []
    assert report["format"] == "FIF"
    assert report["types"] == {"eeg": 4}
    assert (report["sfreq"], report["duration"], report["n_samples"]) == (128.0, 20.0, 2560)
    assert report["events"] == {"left": 3, "right": 3}
    assert report["event_source"] == "annotations"
    assert report["montage"]["matched"] == 4


def test_statistics_are_those_of_numpy(clean, save, monkeypatch):
    monkeypatch.setattr("neurosig.loaders.scan._PIECE", 4 * 700)  # several pieces, the last a short one
    clean._data[0] += 1.0  # an offset a hundred thousand times the signal
    found, data = scan(mne.io.read_raw(save(clean), verbose="error")), clean.get_data()
    np.testing.assert_allclose(found.sd, data.std(axis=1), rtol=1e-9)
    np.testing.assert_array_equal(found.low, data.min(axis=1))
    np.testing.assert_array_equal(found.high, data.max(axis=1))
    area = found.spectrum[1].sum() * (found.frequencies[1] - found.frequencies[0])
    assert area == pytest.approx(data[1].var(), rel=0.05)  # Parseval


def test_memory_does_not_grow_with_the_recording(make_raw, save, monkeypatch):
    largest = []
    monkeypatch.setattr("neurosig.loaders.scan._PIECE", 4 * 512)
    path = save(make_raw(200.0))
    read = mne.io.BaseRaw.get_data

    def watched(self, *args, **keywords):
        piece = read(self, *args, **keywords)
        largest.append(piece.shape[1])
        return piece

    monkeypatch.setattr(mne.io.BaseRaw, "get_data", watched)
    inspect_recording(path)
    assert max(largest) == 512 < 200 * 128


def test_flat_copied_and_clipped_channels(clean, save):
    clean._data[0] = 3e-6
    clean._data[2] = clean._data[1]
    clean._data[3] = np.clip(clean._data[3], -1e-5, 1e-5)
    found = problems(save(clean))
    assert found["flat"][1] == ["Fz"]
    assert sorted(found["duplicate"][1]) == ["Cz", "Pz"]
    assert found["clipped"][1] == ["Oz"]


def test_nan_is_placed(clean, save, monkeypatch):
    monkeypatch.setattr("neurosig.loaders.scan._PIECE", 4 * 700)
    clean._data[2, 1280:1408] = np.nan
    message, channels = problems(save(clean))["nan"]
    assert "10.000-11.000 s" in message
    assert channels == ["Pz"]


def test_mains_are_measured(make_raw, save):
    raw = make_raw(seconds=60, events={"left": [1], "right": [3]}, sfreq=256.0)
    raw._data += 1e-5 * np.sin(2 * np.pi * 50 * raw.times)
    report = inspect_recording(save(raw))
    assert report["line_noise"]["50"] > 15 > report["line_noise"]["60"]
    assert [item["kind"] for item in report["problems"]] == ["line noise"]


@pytest.mark.parametrize(("scale", "text"), [(20.0, "pass unit='uV'"), (1e-11, "got a typical amplitude of 1e-11 V")])
def test_implausible_units(make_raw, save, scale, text):
    raw = make_raw(events={"left": [1], "right": [3]}, scale=scale)
    found = problems(save(raw))
    assert list(found) == ["units"]
    assert text in found["units"][0]


def test_unknown_names_no_events_uneven_and_bads(make_raw, save):
    found = problems(save(make_raw(names=("Fz", "Foo", "Cz", "Oz"))))
    assert found["unknown names"][1] == ["Foo"]
    assert found["positions"][1] == ["Foo"]
    assert "no events" in found
    uneven = make_raw(events={"often": list(np.arange(1, 18, 0.5)), "rare": [2.2]})
    uneven.info["bads"] = ["Pz"]
    found = problems(save(uneven, "b_raw.fif"))
    assert "34 'often' to 1 'rare'" in found["uneven"][0]
    assert found["marked bad"][1] == ["Pz"]


def test_reader_warnings_become_problems(clean, save):
    path = save(clean)
    other = path.with_name("odd.fif")
    other.write_bytes(path.read_bytes())
    assert "naming conventions" in problems(other)["reader"][0]


def test_trial_file(write_trials):
    path, arrays = write_trials(subject=np.repeat([1, 2], 4))
    report = inspect_recording(path)
    assert report["trials"] == {
        "n_trials": 8, "tmin": -0.5, "tmax": -0.5 + 255 / 128, "n_times": 256, "n_subjects": 2, "n_runs": 2,
    }  # fmt: skip
    assert report["n_samples"] == 8 * 256  # what lies between the trials is not counted
    assert report["spans"] == {}
    np.testing.assert_allclose(report["channels"][0]["sd"], arrays["X"][:, 0].std() * 0.1, rtol=1e-4)


def test_nobody_is_named(clean, save):
    clean.set_meas_date(datetime.datetime(2001, 2, 3, tzinfo=datetime.UTC))
    clean.info["subject_info"] = {
        "his_id": "X17",
        "last_name": "Doe",
        "first_name": "Jane",
        "birthday": datetime.date(1970, 5, 6),
    }
    told = json.dumps(inspect_recording(save(clean)))
    assert not any(text in told for text in ("X17", "Doe", "Jane", "1970", "2001"))


def test_options_reach_the_reader(write_csv):
    path = write_csv("Fz,Cz\n" + "".join(f"{i % 9},{i % 4}\n" for i in range(500)))
    assert inspect_recording(path, options=ReadOptions(sfreq=50))["duration"] == 10.0


def test_a_folder_names_a_file_to_give(recording):
    with pytest.raises(InputError, match=r"is a folder of 1 recording.*give one of them, for example .*run_raw.fif"):
        inspect_recording(recording.parent)


def test_patient_columns_of_a_bids_dataset_are_not_told(data_dir):
    root = data_dir / "ieeg_hfo"
    report = inspect_recording(next(root.glob("sub-01/*/ieeg/*.vhdr")))
    told = json.dumps([report["problems"], report["notes"]]).lower()
    header, values = (line.split("\t") for line in (root / "participants.tsv").read_text("utf-8-sig").splitlines()[:2])
    private = [name for name in header if name != "participant_id"]
    assert len(values) == len(header)
    assert not any(f"{name}:" in told for name in private)
    assert any("electrodes.tsv" in item["message"] for item in report["problems"])  # what concerns the data is told


def test_filters_that_are_not_stated_are_not_told(clean, save):
    assert inspect_recording(save(clean))["filters"] == {"highpass": None, "lowpass": None}
    filtered = clean.copy().filter(1.0, 30.0, verbose="error")
    assert inspect_recording(save(filtered, "b_raw.fif"))["filters"] == {"highpass": 1.0, "lowpass": 30.0}


def test_an_event_at_the_start_is_seen(make_raw, save):
    figure = inspect_figure(save(make_raw(events={"left": [0.0, 4.0], "right": [3.0]})))
    timeline = next(ax for ax in figure.axes if ax.get_title(loc="left").startswith("Events"))
    traces = next(ax for ax in figure.axes if ax.get_title(loc="left").startswith("Traces"))
    assert timeline.get_xlim()[0] < 0 and traces.get_xlim()[0] < 0


def test_fif_files_of_other_kinds_are_told(clean, save, tmp_path):
    events, names = mne.events_from_annotations(clean, verbose="error")
    epochs = mne.Epochs(clean, events, names, 0.0, 0.5, baseline=None, preload=True, verbose="error")
    mne.write_events(tmp_path / "a-eve.fif", events, verbose="error")
    mne.write_evokeds(tmp_path / "a-ave.fif.gz", epochs.average(), verbose="error")
    mne.write_cov(tmp_path / "a-cov.fif", mne.compute_covariance(epochs, verbose="error"), verbose="error")
    for name, held in (
        ("a-eve.fif", "a list of events"),
        ("a-ave.fif.gz", "evoked responses"),
        ("a-cov.fif", "a covariance matrix"),
    ):
        with pytest.raises(InputError, match=f"{name} holds {held}.*reads recordings and epochs"):
            inspect_recording(tmp_path / name)


def test_a_text_file_of_any_layout(tmp_path):
    (tmp_path / "a.txt").write_text("1 2 3\n4 5 6\n")
    with pytest.raises(InputError, match="text file of unknown layout; CSV with a header or a format mne reads is"):
        inspect_recording(tmp_path / "a.txt")
