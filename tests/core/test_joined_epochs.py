"""Lists of Epochs, as scikit-learn's folds make them: joined, they are the Epochs that they came from."""

import mne
import numpy as np
import pandas as pd
import pytest
from sklearn.utils import _safe_indexing

from neurosig.core.errors import ChannelError, InputError
from neurosig.core.joined_epochs import epochs_in, is_fold, joined_epochs
from neurosig.core.validation import check_signals

NAMES = ["Fp1", "C3", "Cz", "C4"]


@pytest.fixture
def epochs():
    X = 1e-5 * np.random.default_rng(0).standard_normal((6, 4, 50))
    info = mne.create_info(NAMES, 100.0, "eeg")
    info.set_montage("biosemi64")
    info["bads"] = ["Cz"]
    events = np.column_stack([np.arange(6) * 200, np.zeros(6, int), [1, 2, 1, 2, 1, 2]])
    table = pd.DataFrame({"run": list("aabbcc")})
    return mne.EpochsArray(X, info, events, -0.2, {"left": 1, "right": 2}, metadata=table, verbose="error")


def test_a_fold_keeps_what_is_known_of_the_epochs(epochs):
    order = [4, 0, 3]
    fold = _safe_indexing(epochs, np.array(order))
    assert isinstance(fold, list)
    joined = joined_epochs(fold)
    np.testing.assert_array_equal(joined.get_data(), epochs.get_data()[order])
    assert (joined.ch_names, joined.info["sfreq"], joined.tmin) == (NAMES, 100.0, -0.2)
    assert joined.info["bads"] == ["Cz"]
    assert joined.get_montage().get_positions()["ch_pos"].keys() == set(NAMES)
    np.testing.assert_array_equal(joined.events, epochs.events[order])
    assert joined.event_id == epochs.event_id
    assert list(joined.metadata["run"]) == ["c", "a", "b"]
    assert epochs_in(fold) is fold[0] and is_fold(fold)


def test_a_trial_may_be_drawn_twice(epochs):
    parts = [epochs[1], epochs[1], epochs[2:4]]
    joined = joined_epochs(parts)
    assert not is_fold(parts) and not is_fold(epochs)
    np.testing.assert_array_equal(joined.get_data(), epochs.get_data()[[1, 1, 2, 3]])
    np.testing.assert_array_equal(joined.events[:, 2], [2, 2, 1, 2])


@pytest.mark.parametrize("X", [np.ones((2, 3, 4)), [[1.0, 2.0]], [], None, "text"])
def test_anything_else_is_given_back(X):
    assert epochs_in(X) is None
    assert joined_epochs(X) is X


def test_epochs_are_given_back(epochs):
    assert epochs_in(epochs) is joined_epochs(epochs) is epochs


def test_epochs_that_do_not_fit_together_are_refused(epochs):
    other = epochs.copy().pick(["C3", "C4"])
    with pytest.raises(ChannelError, match="number 2 of the list has others; reorder"):
        joined_epochs([epochs[0], epochs[1], other])
    with pytest.raises(InputError, match="the same rate and times, number 1 of the list"):
        joined_epochs([epochs[0], epochs[1].copy().crop(0.0, None)])


def test_the_gate_of_signals_takes_them(epochs):
    fold = [epochs[i] for i in (5, 2)]
    np.testing.assert_array_equal(check_signals(fold, sfreq=100.0), epochs.get_data()[[5, 2]])
    with pytest.raises(InputError, match="expected epochs at 128 Hz, got 100 Hz; resample them"):
        check_signals(fold, sfreq=128.0)
