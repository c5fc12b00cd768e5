"""Where windows lie, that every sample is read once, and what windows are called."""

import mne
import numpy as np
import pytest

from neurosig.core.errors import UsageError
from neurosig.loaders.trials import lay_end_to_end
from neurosig.tokenizers.window_grid import window_blocks, window_grid, window_labels


def recording(seconds=20.0, sfreq=100.0, marks=(), n_channels=3):
    rng = np.random.default_rng(0)
    info = mne.create_info([f"E{i}" for i in range(n_channels)], sfreq, "eeg", verbose="error")
    raw = mne.io.RawArray(rng.standard_normal((n_channels, round(seconds * sfreq))), info, verbose="error")
    onset, duration, text = zip(*marks, strict=True) if marks else ((), (), ())
    raw.set_annotations(mne.Annotations(onset, duration, text), verbose="error")
    return raw


def test_a_window_follows_the_other_and_the_last_is_whole():
    grid = window_grid(recording(20.5), 3.0, 3.0)
    assert grid.starts.tolist() == [0, 300, 600, 900, 1200, 1500]
    assert (grid.length, grid.sfreq, grid.n_bad, grid.n_incomplete) == (300, 100.0, 0, 1)
    assert grid.seconds_left == pytest.approx(2.5)
    whole = window_grid(recording(21.0), 3.0, 3.0)
    assert (len(whole.starts), whole.n_incomplete, whole.seconds_left) == (7, 0, 0.0)
    short = window_grid(recording(2.0), 3.0, 3.0)
    assert (len(short.starts), short.n_incomplete, short.seconds_left) == (0, 1, 2.0)


def test_steps_that_are_no_whole_samples_do_not_drift():
    grid = window_grid(recording(1000.0, sfreq=128.0), 1.0, 0.3)
    np.testing.assert_array_equal(grid.starts, np.rint(np.arange(len(grid.starts)) * 0.3 * 128))
    assert grid.starts[-1] + 128 <= 128000 < grid.starts[-1] + 128 + 0.3 * 128 + 1


def test_bad_spans_take_the_windows_they_touch():
    raw = recording(20.0, marks=[(4.2, 1.0, "BAD_jump"), (10.0, 0.0, "bad point"), (15.0, 1.0, "left")])
    grid = window_grid(raw, 2.0, 2.0)
    assert grid.starts.tolist() == [0, 200, 600, 800, 1000, 1200, 1400, 1600, 1800]
    assert grid.n_bad == 1  # of no length and between two windows: it is in none
    inside = window_grid(recording(20.0, marks=[(11.0, 0.0, "bad point")]), 2.0, 2.0)
    assert 1000 not in inside.starts and inside.n_bad == 1
    assert len(window_grid(raw, 2.0, 2.0, skip_bad=False).starts) == 10


def test_no_window_reaches_over_gaps_and_edges():
    raw = recording(20.0, marks=[(5.0, 2.0, "BAD_ACQ_SKIP"), (13.0, 0.0, "EDGE boundary")])
    for skip_bad in (True, False):
        grid = window_grid(raw, 2.0, 2.0, skip_bad=skip_bad)
        assert grid.segments.tolist() == [[0, 500], [700, 1300], [1300, 2000]]
        assert grid.starts.tolist() == [0, 200, 700, 900, 1100, 1300, 1500, 1700]
        assert (grid.n_incomplete, grid.seconds_left) == (2, 2.0)


def test_marks_count_from_the_first_sample_of_a_cropped_recording():
    raw = recording(20.0, marks=[(12.0, 1.0, "BAD_a")])
    raw.set_meas_date(1)
    raw.set_annotations(mne.Annotations([12.0], [1.0], ["BAD_a"], orig_time=raw.info["meas_date"]))
    grid = window_grid(raw.crop(8.0), 2.0, 2.0)
    assert grid.starts.tolist() == [0, 200, 600, 800, 1000] and grid.n_bad == 1


@pytest.mark.parametrize("step", [0.25, 1.0, 1.7, 5.0])
@pytest.mark.parametrize("block_bytes", [1, 9000, 10**9])
def test_blocks_are_the_windows_and_no_sample_is_read_twice(step, block_bytes, monkeypatch):
    raw = recording(30.0, marks=[(5.0, 2.0, "BAD_ACQ_SKIP"), (20.0, 1.0, "BAD_x")])
    data, grid = raw.get_data(), window_grid(raw, 1.5, step)
    read = np.zeros(raw.n_times, dtype=int)
    get_data = raw.get_data

    def counted(picks, start, stop, verbose):
        read[start:stop] += 1
        assert stop - start <= max(grid.length, block_bytes // 16)
        return get_data(picks=picks, start=start, stop=stop, verbose=verbose)

    monkeypatch.setattr(raw, "get_data", counted)
    found = [(which, X) for which, X in window_blocks(raw, grid, [2, 0], block_bytes=block_bytes)]
    assert read.max() == 1  # so that the cost is that of the samples, whatever the overlap and the length
    assert [i for which, _ in found for i in range(which.start, which.stop)] == list(range(len(grid.starts)))
    together = np.concatenate([X for _, X in found])
    assert together.dtype == np.float32
    expected = [data[[2, 0], start : start + grid.length] for start in grid.starts]
    np.testing.assert_array_equal(together, np.array(expected, dtype=np.float32))
    if block_bytes == 9000:
        assert max(X.nbytes for _, X in found) <= 9000


def test_labels_of_states_of_events_and_of_trials():
    raw = recording(20.0, marks=[(2.0, 4.0, "left"), (5.0, 4.0, "right"), (3.0, 4.0, "BAD_x"), (15.0, 0.0, "cue")])
    grid = window_grid(raw, 2.0, 2.0, skip_bad=False)
    assert window_labels(raw, grid).tolist() == ["", "left", "left", "right", "right", *[""] * 5]
    assert window_labels(raw, grid, "rest").tolist() == ["rest"] * 10
    assert window_labels(recording(), window_grid(recording(), 2.0, 2.0)) is None
    info = mne.create_info(["C3", "C4"], 100.0, "eeg", verbose="error")
    X = np.random.default_rng(0).standard_normal((3, 2, 450))
    trials = lay_end_to_end(X, np.array(["a", "b", "a"]), 100, info)
    grid = window_grid(trials, 2.0, 2.0)
    assert window_labels(trials, grid).tolist() == ["a", "a", "b", "b", "a", "a"]
    blocks = np.concatenate([X for _, X in window_blocks(trials, grid, [0, 1])])
    np.testing.assert_array_equal(blocks[0::2], X[:, :, :200].astype(np.float32))
    np.testing.assert_array_equal(blocks[1::2], X[:, :, 200:400].astype(np.float32))


@pytest.mark.parametrize(("window", "step"), [(0.001, 1.0), (1.0, 0.0), (np.nan, 1.0), (1.0, -1.0), (np.inf, 1.0)])
def test_windows_and_steps_are_times(window, step):
    with pytest.raises(UsageError, match="must be a time of at least one sample"):
        window_grid(recording(), window, step)
