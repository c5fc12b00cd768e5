"""The gate for signals: what passes, what comes out, and what each refusal says."""

import mne
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.validation import check_plausible_units, check_signals


@pytest.fixture
def X():
    return np.random.default_rng(0).standard_normal((6, 4, 50)) * 1e-5


def test_good_signals_pass_without_a_copy(X):
    X.flags.writeable = False
    assert np.shares_memory(check_signals(X, modality="eeg", unit="V", sfreq=100.0), X)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("float32", "float32"), ("float64", "float64"), ("int16", "float64"), ("float16", "float64"), ("bool", "float64")],
)
def test_dtypes(given, kept):
    assert check_signals(np.ones((2, 3, 4), dtype=given)).dtype == kept


def test_memory_maps_stay_on_disk(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert np.shares_memory(check_signals(mapped), mapped)


def test_two_axes_get_a_third():
    X = np.arange(6.0).reshape(3, 2)
    assert check_signals(X).shape == (3, 2, 1)
    assert check_signals(X, ensure_3d=False).shape == (3, 2)
    assert check_signals([[1, 2], [3, 4]]).shape == (2, 2, 1)


def test_epochs_are_taken_as_their_data(X):
    epochs = mne.EpochsArray(X, mne.create_info(4, 100.0, "eeg"), verbose=False)
    np.testing.assert_array_equal(check_signals(epochs, sfreq=100.0), X)
    with pytest.raises(InputError, match="expected epochs at 128 Hz, got 100 Hz; resample them"):
        check_signals(epochs, sfreq=128.0)


def test_epochs_can_be_cross_validated(X):
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    from neurosig.preprocessing.scaling import ClipScale

    X = np.concatenate([X] * 4) * np.arange(1, 4 * len(X) + 1)[:, None, None]
    y = np.arange(len(X)) % 2
    epochs = mne.EpochsArray(X, mne.create_info(X.shape[1], 100.0, "eeg"), verbose=False)
    pipeline = make_pipeline(ClipScale("std"), FunctionTransformer(lambda Z: Z.std(axis=2)), LogisticRegression())
    found = [cross_val_predict(pipeline, signals, y, cv=2, method="predict_proba") for signals in (epochs, X)]
    np.testing.assert_array_equal(*found)


def test_the_estimator_remembers_and_compares_channels(X):
    estimator = BaseEstimator()
    check_signals(X, estimator=estimator)
    assert estimator.n_features_in_ == 4
    check_signals(X[..., :10], estimator=estimator, reset=False)
    with pytest.raises(ChannelError, match="expected 4 channels, as BaseEstimator was fitted on, got 3; map_channels"):
        check_signals(X[:, :3], estimator=estimator, reset=False)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros(5), r"n_times\), got shape \(5,\). Reshape your data: one trial is X\[None\]"),
        (np.zeros((2, 2, 2, 2)), r"got shape \(2, 2, 2, 2\). Reshape your data"),
        (np.zeros((0, 3, 4)), "0 sample"),
        (np.zeros((2, 3, 4), complex), "Complex data not supported"),
        (np.array([["a", "b"]]), "could not convert|string"),
        ([[1.0, 2.0], [3.0]], "inhomogeneous|sequence"),
        (np.zeros((2, 3, 0)), "at least 1 samples, got 0"),
    ],
)
def test_wrong_arrays_are_refused_in_one_line(bad, message):
    with pytest.raises(InputError, match=message) as raised:
        check_signals(bad)
    assert "\n" not in str(raised.value)


def test_short_windows_and_few_trials(X):
    with pytest.raises(InputError, match="windows of at least 100 samples, got 50"):
        check_signals(X, ensure_min_times=100)
    with pytest.raises(InputError, match="minimum of 10 is required"):
        check_signals(X, ensure_min_trials=10)


def test_not_finite_values_are_located(X):
    X[1, 2, 5] = np.nan
    X[4, 0] = np.inf
    with pytest.raises(
        InputError, match=r"got NaN and inf in 2 of 6 trials \(positions 1, 4; channels 0, 2\); drop or"
    ):
        check_signals(X)
    with pytest.raises(InputError, match=r"inf in 1 of 2 trials \(positions 1; channels 0\)"):
        check_signals(np.array([[1.0, 2.0], [np.inf, 3.0]]))


def test_a_sum_that_overflows_is_no_infinity():
    X = np.full((2, 2, 10), 3e38, dtype=np.float32)
    assert check_signals(X).dtype == np.float32


def eeg(amplitude, n=4):
    return amplitude * np.random.default_rng(0).standard_normal((n, 3, 200))


@pytest.mark.parametrize(
    ("amplitude", "unit", "modality"),
    [
        (1e-5, "V", "eeg"), (10, "uV", "eeg"), (0.01, "mV", "eeg"), (1e-4, "V", "seeg"), (500, "uV", "seeg"),
        (3e-3, "V", "seeg"), (1e-12, "T", "meg"), (5e-12, "T", "meg"), (1000, "fT", "meg"), (1.0, "z", "eeg"),
        (1e3, "a.u.", "eeg"), (800, "V", "fmri"),
    ],
)  # fmt: skip
def test_plausible_amplitudes_pass(amplitude, unit, modality):
    check_plausible_units(eeg(amplitude), unit, modality)
    check_plausible_units(eeg(amplitude) + 500 * amplitude, unit, modality)  # an offset is no amplitude


@pytest.mark.parametrize(
    ("amplitude", "unit", "modality", "message"),
    [
        (10, "V", "eeg", "looks like microvolts stored as volts: pass unit='uV'"),
        (1e-5, "uV", "eeg", "looks like volts taken for microvolts: pass unit='V'"),
        (100, "V", "seeg", "looks like microvolts stored as volts: pass unit='uV'"),
        (1000, "T", "meg", "looks like femtotesla stored as tesla: pass unit='fT'"),
        (1e-12, "fT", "meg", "looks like tesla taken for femtotesla: pass unit='T'"),
        (1e-12, "V", "eeg", r"typical amplitude of .*e-13 V; check the unit of the data \(it was given as 'V'\)"),
    ],
)
def test_mixed_up_units_are_named(amplitude, unit, modality, message):
    with pytest.raises(InputError, match=message):
        check_plausible_units(eeg(amplitude), unit, modality)
    with pytest.raises(InputError, match=message):
        check_signals(eeg(amplitude), unit=unit, modality=modality)


def test_flat_channels_and_artefacts_do_not_decide():
    X = eeg(1e-5)
    X[:, 0] = 0
    X[0, 1, :20] = 1.0
    check_plausible_units(X, "V", "eeg")
    check_plausible_units(np.zeros((2, 2, 10)), "V", "eeg")


def test_a_unit_of_something_else_is_wrong_use():
    with pytest.raises(UsageError, match="unit must be that of eeg, 'V' or a part of it, got 'T'"):
        check_plausible_units(eeg(1), "T", "eeg")


def test_real_eeg_is_plausible_and_its_microvolts_are_not_volts(data_dir):
    file = sorted((data_dir / "eegmmidb" / "edf").rglob("*.edf"))[0]
    raw = mne.io.read_raw_edf(file, verbose="error")
    X = raw.get_data(stop=16_000).reshape(1, len(raw.ch_names), -1)
    check_plausible_units(X, "V", "eeg")
    with pytest.raises(InputError, match="pass unit='uV'"):
        check_plausible_units(X * 1e6, "V", "eeg")
