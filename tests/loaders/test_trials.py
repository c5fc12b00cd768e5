import mne
import numpy as np
import pytest

from neurosig.core.signals import Processing
from neurosig.loaders.eeg import load_eeg
from neurosig.loaders.epochs import cut_epochs, process_raw
from neurosig.loaders.recordings import ReadOptions, Recording, read_recording
from neurosig.loaders.trials import expand_trials


def test_trials_come_back_sample_for_sample(write_trials):
    path, arrays = write_trials()
    loaded = load_eeg(path)
    np.testing.assert_allclose(loaded.X, arrays["X"] * 0.1e-6, rtol=1e-6)
    assert loaded.y.tolist() == ["left", "right"] * 4
    assert loaded.info.tmin == -0.5


@pytest.mark.parametrize("tmin", [-0.5, 0.0, 0.7, -2.5])
def test_no_trial_is_lost_wherever_time_zero_lies(write_trials, tmin):
    path, arrays = write_trials(tmin=np.float64(tmin), sfreq=np.float64(100.0))
    loaded = load_eeg(path)
    assert loaded.X.shape == arrays["X"].shape
    np.testing.assert_allclose(loaded.X, arrays["X"] * 0.1e-6, rtol=1e-6)


def test_each_trial_is_filtered_on_its_own(write_trials):
    path, arrays = write_trials()
    loaded = load_eeg(path, fmin=8, fmax=30)
    info = mne.create_info(4, 128.0, "eeg")
    for row in (0, 3, 7):
        alone = mne.io.RawArray(arrays["X"][row] * 0.1e-6, info, verbose="error")
        alone.filter(8, 30, method="iir", verbose="error")
        np.testing.assert_allclose(loaded.X[row], alone.get_data(), rtol=1e-5, atol=1e-12)


def test_part_of_the_window_is_that_part(write_trials):
    path, arrays = write_trials()
    loaded = load_eeg(path, tmin=0.0, tmax=1.0)
    np.testing.assert_allclose(loaded.X, arrays["X"][:, :, 64:193] * 0.1e-6, rtol=1e-6)


def test_one_recording_a_subject_and_run(write_trials):
    path, _ = write_trials(subject=np.repeat([3, 4], 4), run=np.tile([1, 1, 2, 2], 2))
    found = expand_trials(path)
    assert [(item.subject, item.run, item.select) for item in found] == [
        ("3", "1", (0, 1)),
        ("3", "2", (2, 3)),
        ("4", "1", (4, 5)),
        ("4", "2", (6, 7)),
    ]


def test_windows_inside_trials_carry_the_trials_class(write_trials):
    path, arrays = write_trials(tmin=None)
    raw = read_recording(Recording(path, options=ReadOptions(window=(1, 0.5))))
    epochs = cut_epochs(process_raw(raw, Processing(0, 1 - 1 / 128)), None, Processing(0, 1 - 1 / 128))
    assert len(epochs) == 8 * 3
    names = {code: name for name, code in epochs.event_id.items()}
    assert [names[code] for code in epochs.events[:, 2]] == (["left"] * 3 + ["right"] * 3) * 4
    np.testing.assert_allclose(epochs.get_data()[4], arrays["X"][1, :, 64:192] * 0.1e-6, rtol=1e-6)


def test_numbers_without_a_unit_are_microvolts_unless_said(write_trials):
    path, arrays = write_trials(unit_uV=None)
    np.testing.assert_allclose(load_eeg(path).X, arrays["X"] * 1e-6)
    np.testing.assert_allclose(load_eeg(path, unit="0.1uV").X, arrays["X"] * 1e-7)


def test_labels_may_be_texts(write_trials):
    path, _ = write_trials(y=np.array(["go", "stop"] * 4), class_names=None)
    assert load_eeg(path).y.tolist() == ["go", "stop"] * 4


def test_cut_imagery_trials_agree_with_the_continuous_recording(data_dir):
    cut = load_eeg(data_dir / "eegmmidb/epochs/S001_mi.npz", tmin=0.5, tmax=3.5, fmin=8, fmax=32)
    files = [data_dir / f"eegmmidb/edf/S001R{run:02d}.edf" for run in (4, 8, 12)]
    whole = load_eeg(files, events={"left_hand": "T1", "right_hand": "T2"}, tmin=0.5, tmax=3.5, fmin=8, fmax=32)
    assert cut.y.tolist() == whole.y.tolist()
    assert cut.metadata["run"].tolist() == whole.metadata["run"].tolist() == ["4"] * 15 + ["8"] * 15 + ["12"] * 15
    inner = slice(100, 380)  # filter transients live at the trials' own ends
    assert np.corrcoef(cut.X[..., inner].ravel(), whole.X[..., inner].ravel())[0, 1] > 0.999


def test_states_of_sixteen_subjects(data_dir):
    loaded = load_eeg(data_dir / "eegmat/eegmat_125hz.npz", window=(2, 2))
    assert loaded.X.shape == (16 * 2 * 30, 20, 250)
    assert loaded.metadata.groupby("subject").size().tolist() == [60] * 16


def test_self_paced_key_presses(data_dir):
    loaded = load_eeg(data_dir / "bci2_selfpaced/sp1s_aa.npz", fmax=30)
    assert loaded.X.shape == (211, 28, 50)
