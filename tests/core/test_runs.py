"""The gate for runs: what is taken as runs, what is refused and in which words, filling up to one array."""

import mne
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from neurosig.core.errors import ChannelError, InputError
from neurosig.core.lazy_runs import LazyRuns
from neurosig.core.runs import check_runs, checked_runs, missing_regions, padded
from neurosig.core.signals import SignalDataset, SignalSpec


def runs(lengths=(20, 25, 30), n_regions=4, dtype=np.float32):
    rng = np.random.default_rng(0)
    return [rng.standard_normal((n_regions, length)).astype(dtype) for length in lengths]


def lacking(X, run=1, region=2):
    X = [its.copy() for its in X]
    X[run][region] = np.nan
    return X


def as_dataset(X):
    table = pd.DataFrame({"subject": list("abc"), "session": "0", "run": "0"})
    return SignalDataset(X, None, table, SignalSpec("fmri", list("wxyz"), unit="z"))


def object_array(X):
    together = np.empty(len(X), dtype=object)
    together[:] = X
    return together


@pytest.mark.parametrize(
    "wrap", [list, tuple, as_dataset, object_array, lambda X: LazyRuns(X.__getitem__, range(3))],
    ids=["list", "tuple", "SignalDataset", "object array", "LazyRuns"],
)  # fmt: skip
@pytest.mark.parametrize("allow_missing", [False, True])
def test_runs_of_different_lengths(wrap, allow_missing):
    X = runs()
    got = check_runs(wrap(X), allow_missing=allow_missing)
    assert [run.dtype for run in got] == [np.float32] * 3
    for run, its in zip(got, X, strict=True):
        assert np.shares_memory(run, its)
    if allow_missing:
        assert np.isnan(check_runs(wrap(lacking(X)), allow_missing=True)[1][2]).all()


@pytest.mark.parametrize("allow_missing", [False, True])
def test_arrays_nested_lists_tables_and_epochs(allow_missing):
    X = np.stack(runs((20, 20, 20), dtype=np.float64))
    np.testing.assert_array_equal(check_runs(X, allow_missing=allow_missing), X)
    np.testing.assert_array_equal(check_runs(X.tolist(), allow_missing=allow_missing), X)
    table = pd.DataFrame(X[..., 0], columns=list("wxyz"))
    estimator = BaseEstimator()
    np.testing.assert_array_equal(check_runs(table, estimator=estimator, allow_missing=allow_missing), X[..., :1])
    assert estimator.feature_names_in_.tolist() == list("wxyz")
    check_runs(runs(), estimator=estimator)  # which have no names
    assert not hasattr(estimator, "feature_names_in_")
    epochs = mne.EpochsArray(X, mne.create_info(4, 1.0, "misc"), verbose=False)
    np.testing.assert_array_equal(check_runs(epochs, allow_missing=allow_missing), X)
    fold = [epochs[i] for i in range(3)]
    np.testing.assert_array_equal(check_runs(fold, allow_missing=allow_missing), X)


def test_whole_numbers_become_float64():
    assert [run.dtype for run in check_runs([np.arange(6).reshape(2, 3)])] == [np.float64]
    assert [run.dtype for run in check_runs([np.ones((2, 3), dtype=">f4")])] == [np.float64]


def test_array_with_missing_regions():
    X = np.stack(lacking(runs((20, 20, 20))))
    estimator = BaseEstimator()
    got = check_runs(X, estimator=estimator, allow_missing=True)
    assert estimator.n_features_in_ == 4
    np.testing.assert_array_equal(np.stack(got), X)
    assert missing_regions(X).tolist() == [[False] * 4, [False, False, True, False], [False] * 4]
    with pytest.raises(InputError, match=r"NaN in 1 of 3 trials \(positions 1; channels 2\)"):
        check_runs(X)


def test_regions_are_compared_with_those_fitted_on():
    estimator = BaseEstimator()
    check_runs(runs(), estimator=estimator)
    assert estimator.n_features_in_ == 4
    with pytest.raises(ChannelError, match="expected 4 regions, as BaseEstimator was fitted on, got 3"):
        check_runs(runs(n_regions=3), estimator=estimator, reset=False)
    assert estimator.n_features_in_ == 4


@pytest.mark.parametrize(
    ("X", "options", "error", "message"),
    [
        ([], {}, InputError, "at least one run"),
        ([*runs(), runs(n_regions=3)[0]], {}, ChannelError, "run 0 has 4 and run 3 has 3; load them with one atlas"),
        ([*runs(), np.zeros(4)], {}, InputError, r"run 3 has shape \(4,\)"),
        ([*runs(), np.full((4, 3), "a")], {}, InputError, "expected numbers, run 3 holds <U1"),
        ([np.zeros((0, 3))], {}, InputError, "run 0 has no region"),
        (runs(), {"min_times": 25}, InputError, "at least 25 volumes, run 0 has 20"),
        (np.stack(runs((20, 20))), {"min_times": 25}, InputError, "at least 25 samples, got 20"),
        (lacking(runs()), {}, InputError, r"run 1 lacks regions 2 \(NaN throughout\)"),
        ([np.full((4, 9), np.nan)], {"allow_missing": True}, InputError, "run 0 lacks all regions: is its atlas"),
    ],
)
def test_what_is_refused(X, options, error, message):
    with pytest.raises(error, match=message):
        check_runs(X, **options)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_series_broken_in_part_are_refused_always(value):
    X = runs()
    X[2][1, 4] = value
    for allow_missing in (False, True):
        with pytest.raises(InputError, match="run 2 has NaN or inf in part of regions 1"):
            check_runs(X, allow_missing=allow_missing)
    X[2][1] = np.inf  # not missing: broken
    with pytest.raises(InputError, match="run 2 has NaN or inf in part of regions 1"):
        check_runs(X, allow_missing=True)


def test_input_is_not_written():
    X = lacking(runs())
    for run in X:
        run.flags.writeable = False
    before = [run.copy() for run in X]
    check_runs(X, allow_missing=True)
    padded(X)
    for run, its in zip(X, before, strict=True):
        np.testing.assert_array_equal(run, its)


def test_lazy_runs_are_read_one_by_one():
    read = []
    lazy = LazyRuns(lambda place: read.append(place) or runs()[place], range(3))
    checked = checked_runs(lazy)
    next(checked)
    assert set(read) == {0}
    next(checked)
    assert set(read) == {0, 1}


def test_filled_up_to_one_array():
    X = lacking(runs())
    together, lengths = padded(X)
    assert together.shape == (3, 4, 30)
    assert together.dtype == np.float32
    assert lengths.tolist() == [20, 25, 30]
    for row, its in zip(together, X, strict=True):
        np.testing.assert_array_equal(row[:, : its.shape[1]], its)
        assert np.isnan(row[:, its.shape[1] :]).all()
    assert padded(X, 40)[0].shape == (3, 4, 40)
    with pytest.raises(InputError, match="at most 25 volumes, run 2 has 30"):
        padded(X, 25)
