import mne
import numpy as np
import pytest

from neurosig.core.errors import InputError, UsageError
from neurosig.core.signals import Processing
from neurosig.loaders.epochs import cut_epochs
from neurosig.loaders.recordings import ReadOptions
from neurosig.loaders.rejection import mark_swings

SFREQ = 200.0


def recording(peak_uv=0.0, at=30.0):
    """A minute of two channels of 10-uV noise, with one half-sine of 0.2 s of a given height on the second."""
    rng = np.random.default_rng(0)
    data = 1e-5 * rng.standard_normal((2, int(60 * SFREQ)))
    start, length = int(at * SFREQ), int(0.2 * SFREQ)
    data[1, start : start + length] += 1e-6 * peak_uv * np.sin(np.pi * np.arange(length) / length)
    raw = mne.io.RawArray(data, mne.create_info(["C3", "C4"], SFREQ, "eeg"), verbose="error")
    raw.set_annotations(mne.Annotations(np.arange(5.0, 55.0, 5.0), 0.0, ["a"] * 10))
    return raw


def test_marks_the_swing_and_a_half_window_around_it():
    raw = recording(peak_uv=500)
    before = raw.get_data().copy()
    assert mark_swings(raw, 200.0) == 1
    [span] = [note for note in raw.annotations if note["description"] == "BAD_amplitude"]
    assert span["onset"] < 30.0 < 30.2 < span["onset"] + span["duration"]
    assert 0.5 < span["duration"] < 2.5  # the swing, and at most a window on both sides
    np.testing.assert_array_equal(raw.get_data(), before)


def test_only_trials_near_the_swing_are_dropped():
    raw = recording(peak_uv=500)
    mark_swings(raw, 200.0)
    epochs = cut_epochs(raw, ["a"], Processing(tmin=0.0, tmax=1.0))
    kept = set(np.round(epochs.metadata["onset"]).astype(int))
    assert kept == {5, 10, 15, 20, 25, 35, 40, 45, 50}


@pytest.mark.parametrize("peak", [0, 60])
def test_quiet_recordings_are_left_alone(peak):
    raw = recording(peak_uv=peak)
    assert mark_swings(raw, 200.0) == 0
    assert set(raw.annotations.description) == {"a"}


def test_a_swing_at_the_very_end_stays_inside_the_recording():
    raw = recording(peak_uv=500, at=59.7)
    mark_swings(raw, 200.0)
    raw.set_annotations(raw.annotations)  # warns, and so fails, if a span reaches past the end
    assert "BAD_amplitude" in raw.annotations.description


def test_onsets_are_absolute_where_the_recording_has_a_date():
    raw = recording(peak_uv=500)
    raw.set_meas_date(1_600_000_000)
    raw.crop(10.0)
    mark_swings(raw, 200.0)
    epochs = cut_epochs(raw, ["a"], Processing(tmin=0.0, tmax=1.0))
    assert 20 not in set(np.round(epochs.metadata["onset"]).astype(int))  # 30 s in the uncropped recording


def test_bad_input():
    info = mne.create_info(["M"], SFREQ, "misc")
    raw = mne.io.RawArray(np.zeros((1, 400)), info, verbose="error")
    with pytest.raises(InputError, match="needs EEG channels sampled above 80 Hz, got 0 channels"):
        mark_swings(raw, 200.0)
    with pytest.raises(UsageError, match="reject_uv must be a positive number"):
        ReadOptions(reject_uv=-1)
