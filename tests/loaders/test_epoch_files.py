"""Epochs files of any program stand where recordings do: mne's own reader is the truth that X is compared with."""

import logging
import warnings

import mne
import numpy as np
import pandas as pd
import pytest
import scipy.io

from neurosig.core.errors import ChannelError, InputError
from neurosig.core.signals import Processing
from neurosig.loaders.discover import discover
from neurosig.loaders.eeg import load_eeg
from neurosig.loaders.epoch_files import holds_epochs, provenance, reference_of, set_provenance, trial_span
from neurosig.loaders.epochs import cut_epochs, process_raw
from neurosig.loaders.inspect import inspect_recording
from neurosig.loaders.manifest import open_dataset
from neurosig.loaders.recordings import Recording, read_recording

# mne's own reader and writer of metadata, with the next pandas
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.set_index")
NAMES = ["Fz", "Cz", "Pz", "Oz"]
SFREQ = 128.0


def make_epochs(n=12, tmin=-0.25, names=NAMES, sfreq=SFREQ, seed=0, metadata=None, bads=(), n_times=129):
    rng = np.random.default_rng(seed)
    info = mne.create_info(list(names), sfreq, "eeg", verbose="error")
    info["bads"] = list(bads)
    events = np.column_stack([np.arange(n) * 500, np.zeros(n, int), np.tile([7, 3], n)[:n]])
    return mne.EpochsArray(
        1e-5 * rng.standard_normal((n, len(names), n_times)), info, events, tmin, {"left": 7, "right/hard": 3},
        metadata=metadata, verbose="error",
    )  # fmt: skip


def write(epochs, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of names that mne likes better
        epochs.save(path, fmt="double", verbose="error")
    return path


@pytest.mark.parametrize("name", ["x-epo.fif", "sub-1_epo.fif", "x-epo.fif.gz", "trials.fif", "trials.fif.gz"])
@pytest.mark.parametrize("tmin", [-0.25, 0.5, -3.0])
def test_x_is_what_mne_reads(tmp_path, name, tmin):
    path = write(make_epochs(tmin=tmin), tmp_path / name)
    truth = mne.read_epochs(path, verbose="error")
    loaded = load_eeg(path)
    np.testing.assert_allclose(loaded.X, truth.get_data(), rtol=1e-12)
    assert loaded.y.tolist() == ["left", "right/hard"] * 6
    assert (loaded.info.sfreq, loaded.info.tmin, loaded.info.n_times) == (SFREQ, tmin, 129)


def test_a_rate_that_does_not_fit_the_first_second_keeps_every_sample(tmp_path):
    path = write(make_epochs(tmin=-0.005, sfreq=100.0), tmp_path / "half-epo.fif")  # half a sample before the event
    assert load_eeg(path).X.shape == (12, 4, 129)


def test_part_of_the_window_a_new_rate_and_chosen_channels(tmp_path):
    path = write(make_epochs(), tmp_path / "x-epo.fif")
    truth = mne.read_epochs(path, verbose="error")
    part = load_eeg(path, tmin=0.0, tmax=0.5, picks=["Pz", "Fz"], resample=64.0)
    wanted = truth.copy().pick(["Pz", "Fz"]).crop(0.0, 0.5).resample(64.0)
    np.testing.assert_allclose(part.X, wanted.get_data(), atol=1e-15)
    assert part.info.ch_names == ("Pz", "Fz")
    with pytest.raises(ChannelError, match="picks names channels that the recording does not have: Fp1"):
        load_eeg(path, picks=["Fp1"])


def test_a_trial_cannot_be_lengthened(tmp_path):
    path = write(make_epochs(), tmp_path / "x-epo.fif")
    with pytest.raises(InputError, match=r"no trial from tmin=-0\.25 to tmax=2 s fits.* -0\.25 to 0\.75 s at best"):
        load_eeg(path, tmax=2.0)


def test_events_choose_and_rename(tmp_path):
    path = write(make_epochs(), tmp_path / "x-epo.fif")
    assert load_eeg(path, events={"L": "left", "R": "right/hard"}).y.tolist() == ["L", "R"] * 6
    with pytest.raises(InputError, match="no annotation 'up'"):
        load_eeg(path, events={"up": "up", "L": "left"})


def test_the_header_goes_with_the_trials(tmp_path):
    epochs = make_epochs(bads=["Oz"])
    epochs.set_montage("standard_1020", verbose="error")
    epochs.filter(2.0, 30.0, verbose="error")
    epochs.set_eeg_reference("average", projection=False, verbose="error")
    loaded = load_eeg(write(epochs, tmp_path / "x-epo.fif"))
    assert loaded.info.ch_names == ("Fz", "Cz", "Pz")  # the channel marked bad is left out
    assert (loaded.info.highpass, loaded.info.lowpass, loaded.info.reference) == (2.0, 30.0, "custom")
    assert loaded.info.positions is not None
    every = load_eeg(tmp_path / "x-epo.fif", picks=NAMES)
    assert every.info.ch_names == tuple(NAMES)


def test_an_active_average_reference_is_applied_and_told(tmp_path):
    epochs = make_epochs()
    epochs.set_eeg_reference("average", projection=True, verbose="error")
    path = write(epochs, tmp_path / "x-epo.fif")
    loaded = load_eeg(path)
    np.testing.assert_allclose(loaded.X, mne.read_epochs(path, verbose="error").get_data(), rtol=1e-12)
    np.testing.assert_allclose(loaded.X.mean(axis=1), 0.0, atol=1e-18)
    assert loaded.info.reference == "average"


def test_the_past_of_a_file_stands_in_its_header():
    info = mne.create_info(NAMES, SFREQ, "eeg", verbose="error")
    assert provenance(info) == {} and reference_of(info) is None
    info["description"] = "a recording like any other"
    assert provenance(info) == {}
    set_provenance(info, "a program", "M1, M2")
    assert provenance(info)["cleaned_by"] == "a program" and reference_of(info) == "M1, M2"


def test_metadata_say_whose_trials_are(tmp_path):
    table = pd.DataFrame({"subject": ["a", "b"] * 6, "run": [1.0, 1.0, 2.0, 2.0] * 3})
    path = write(make_epochs(metadata=table), tmp_path / "sub-9_ses-3_all-epo.fif")
    found = discover(path)
    assert [(item.subject, item.session, item.run, item.select) for item in found] == [
        ("a", "3", "1", (0, 4, 8)), ("a", "3", "2", (2, 6, 10)),
        ("b", "3", "1", (1, 5, 9)), ("b", "3", "2", (3, 7, 11)),
    ]  # fmt: skip
    loaded = load_eeg(path)
    truth = mne.read_epochs(path, verbose="error").get_data()
    np.testing.assert_allclose(loaded.X, truth[[0, 4, 8, 2, 6, 10, 1, 5, 9, 3, 7, 11]], rtol=1e-12)


def test_names_that_tell_nothing_leave_what_the_metadata_tell(tmp_path):
    for name in "ab":
        table = pd.DataFrame({"subject": [name] * 12, "run": ["7"] * 12})
        write(make_epochs(metadata=table), tmp_path / f"{name}-epo.fif")
    assert [(item.subject, item.run) for item in discover(tmp_path)] == [("a", "7"), ("b", "7")]
    write(make_epochs(), tmp_path / "plain" / "x-epo.fif")
    write(make_epochs(), tmp_path / "plain" / "y-epo.fif")
    assert [(item.subject, item.run) for item in discover(tmp_path / "plain")] == [("1", "0"), ("1", "1")]


def test_a_folder_of_epochs_and_a_folder_with_recordings_too(tmp_path, make_raw, save):
    for subject in (1, 2):
        write(make_epochs(seed=subject), tmp_path / "cut" / f"sub-{subject}_run-1-epo.fif")
    loaded = load_eeg(tmp_path / "cut")
    assert loaded.metadata["subject"].tolist() == ["1"] * 12 + ["2"] * 12
    raw = save(make_raw(events={"left": [1, 5], "right": [3]}), "cut/sub-1_run-1_raw.fif")
    assert [item.path for item in discover(tmp_path / "cut")] == [raw]


def test_derivatives_by_their_entities(tmp_path):
    root = tmp_path / "derivatives"
    for task in ("rest", "go"):
        write(make_epochs(), root / "sub-1" / "eeg" / f"sub-1_task-{task}_desc-clean_epo.fif")
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}')
    with pytest.raises(InputError, match="are both subject 1"):
        discover(root)
    assert [item.path.name for item in discover(root, bids={"task": "go"})] == ["sub-1_task-go_desc-clean_epo.fif"]
    assert len(load_eeg(root, bids={"task": "go", "description": "clean"})) == 12
    with pytest.raises(InputError, match="for task=stop"):
        discover(root, bids={"task": "stop"})


def test_a_file_in_parts_is_one(tmp_path):
    path = tmp_path / "cut" / "sub-1-epo.fif"
    path.parent.mkdir()
    make_epochs(n=60, n_times=1600).save(path, fmt="double", split_size="2MB", verbose="error")
    assert len(list(path.parent.iterdir())) > 1
    assert [item.path for item in discover(path.parent)] == [path]
    assert load_eeg(path.parent).X.shape == (60, 4, 1600)


def test_what_was_dropped_is_told(tmp_path, caplog):
    epochs = make_epochs()
    epochs.drop([1, 4], reason="BLINK", verbose="error")
    path = write(epochs[["left"]], tmp_path / "x-epo.fif")
    with caplog.at_level(logging.INFO, "neurosig"):
        read_recording(Recording(path))
    assert "2 of 7 trials were dropped before, and are not in the file" in caplog.text  # those not chosen do not count


def write_eeglab(path, n_trials=4):
    """A file as EEGLAB writes it: a structure with one event a trial."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((4, 128, n_trials)) * 10
    kinds = np.array(["left", "right"] * n_trials)[:n_trials]
    event = np.array(
        [(kind, 33.0 + 128 * i, i + 1.0) for i, kind in enumerate(kinds)],
        dtype=[("type", object), ("latency", object), ("epoch", object)],
    )
    epoch = np.array(
        [(i + 1.0, kind, 0.0) for i, kind in enumerate(kinds)],
        dtype=[("event", object), ("eventtype", object), ("eventlatency", object)],
    )
    eeg = {
        "setname": "x", "nbchan": 4.0, "trials": float(n_trials), "pnts": 128.0, "srate": SFREQ, "xmin": -0.25,
        "xmax": -0.25 + 127 / SFREQ, "data": data, "event": event, "epoch": epoch, "icawinv": [], "icasphere": [],
        "icaweights": [], "icaact": [], "history": "", "ref": "common",
        "chanlocs": np.array([(name,) for name in NAMES], dtype=[("labels", object)]),
    }  # fmt: skip
    scipy.io.savemat(path, {"EEG": eeg}, appendmat=False)
    return data


def test_epochs_of_eeglab(tmp_path):
    path = tmp_path / "sub-2.set"
    data = write_eeglab(path)
    loaded = load_eeg(path)
    np.testing.assert_allclose(loaded.X, data.transpose(2, 0, 1) * 1e-6, rtol=1e-9)
    assert loaded.y.tolist() == ["left", "right"] * 2
    assert loaded.info.tmin == pytest.approx(-0.25)
    assert holds_epochs(path) and inspect_recording(path)["trials"]["n_trials"] == 4


def test_inspect_shows_trials_classes_and_sizes(tmp_path):
    path = write(make_epochs(bads=["Oz"]), tmp_path / "sub-4-epo.fif")
    report = inspect_recording(path)
    assert report["format"] == "epochs (FIF)" and report["event_source"] == "event_id"
    assert report["trials"] == {
        "n_trials": 12, "tmin": -0.25, "tmax": 0.75, "n_times": 129, "n_subjects": 1, "n_runs": 1,
    }  # fmt: skip
    assert report["events"] == {"left": 6, "right/hard": 6} and report["n_channels"] == 4
    assert report["n_samples"] == 12 * 129
    assert "marked bad" in {problem["kind"] for problem in report["problems"]}


def test_a_dataset_of_epochs_has_their_window_and_says_that_they_were_cut_before(tmp_path):
    write(make_epochs(seed=1), tmp_path / "sub-1-epo.fif")
    write(make_epochs(seed=2, tmin=0.0, n_times=65), tmp_path / "sub-2-epo.fif")
    manifest = open_dataset(tmp_path)
    assert (manifest.processing.tmin, manifest.processing.tmax) == (0.0, 0.5)  # what both have
    assert manifest.event_names == ["left", "right/hard"]
    assert "perhaps cleaned, by another program" in manifest.warnings[0]
    with pytest.raises(InputError, match="no trial from tmin=0"):
        open_dataset(tmp_path, tmax=9.0).load(progress=False)


def test_recordings_are_no_epochs(recording, tmp_path):
    assert not holds_epochs(recording)
    assert not holds_epochs(tmp_path / "nothing.fif")
    (tmp_path / "broken.fif").write_bytes(b"\x00\x00\x00\x64\x00\x00")
    assert not holds_epochs(tmp_path / "broken.fif")


def test_what_cannot_be_read_is_one_line(tmp_path):
    path = write(make_epochs(), tmp_path / "x-epo.fif")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(InputError, match=r"cannot read .*x-epo\.fif as epochs"):
        load_eeg(path)
    path.write_bytes(b"subject,score\n1,2\n" * 9)
    with pytest.raises(InputError, match="is not FIF"):
        load_eeg(path)
    none = make_epochs()
    none.drop(np.arange(12), verbose="error")
    with pytest.raises(InputError, match="holds no trial"):
        load_eeg(write(none, tmp_path / "none-epo.fif"))
    odd = make_epochs()
    odd.event_id = {"bad hand": 7, "right": 3}
    with pytest.raises(InputError, match="events called bad hand cannot be told from marks of bad spans"):
        load_eeg(write(odd, tmp_path / "odd-epo.fif"))


def test_cutting_the_whole_window_gives_every_trial_once(tmp_path):
    """The islands do not touch: neither filter nor window reaches from one trial into the next."""
    path = write(make_epochs(), tmp_path / "x-epo.fif")
    low, high = trial_span(path)
    cut = cut_epochs(process_raw(read_recording(Recording(path)), Processing(low, high, 8, 30)), None,
                     Processing(low, high))  # fmt: skip
    truth = mne.read_epochs(path, verbose="error").get_data()
    for row in (0, 11):
        alone = mne.io.RawArray(truth[row], mne.create_info(NAMES, SFREQ, "eeg"), verbose="error")
        alone.filter(8, 30, method="iir", verbose="error")
        np.testing.assert_allclose(cut.get_data()[row], alone.get_data(), atol=1e-15)
