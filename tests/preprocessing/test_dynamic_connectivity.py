"""Sliding windows by hand, states that were put in, repetition times of single runs, missing regions."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from neurosig.core.errors import InputError, UsageError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.preprocessing.connectivity import FunctionalConnectivity
from neurosig.preprocessing.dynamic_connectivity import DynamicConnectivity


def series(n=4, n_times=120, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 4, n_times))


def switching(sequence, n_times=40, seed=0):
    """A run that goes through blocks: regions 0 and 1 together in state 0, 2 and 3 in state 1."""
    rng = np.random.default_rng(seed)
    blocks = []
    for state in sequence:
        block = rng.standard_normal((4, n_times))
        one, other = (0, 1) if state == 0 else (2, 3)
        block[other] = block[one] + 0.3 * rng.standard_normal(n_times)
        blocks.append(block)
    return np.concatenate(blocks, axis=1)


def by_hand(run, length, step):
    starts = range(0, run.shape[1] - length + 1, step)
    lower = np.tril_indices(len(run), -1)
    return np.array([np.corrcoef(run[:, s : s + length])[lower] for s in starts])


def test_mean_and_spread_over_windows_are_those_by_hand():
    X = series()
    got = DynamicConnectivity(40.0, step=20.0, sfreq=0.5, fisher_z=False).fit_transform(X)
    for features, run in zip(got, X, strict=True):
        windows = by_hand(run, 20, 10)
        assert len(windows) == 11
        np.testing.assert_allclose(features, np.r_[windows.mean(axis=0), windows.std(axis=0)], atol=1e-6)
    z = DynamicConnectivity(40.0, step=20.0, sfreq=0.5, summary=["std"]).fit_transform(X)
    np.testing.assert_allclose(z[0], np.arctanh(by_hand(X[0], 20, 10)).std(axis=0), atol=1e-6)


def test_one_window_a_run_is_functional_connectivity():
    X = series()
    for kind in ("correlation", "partial correlation"):
        got = DynamicConnectivity(240.0, sfreq=0.5, summary=["mean"], kind=kind).fit_transform(X)
        whole = FunctionalConnectivity(kind, fisher_z=True).fit_transform(X)
        np.testing.assert_allclose(got, whole, atol=1e-6)


def test_windows_are_seconds_whatever_the_repetition_time():
    X = [series(1, 120)[0], series(1, 60, seed=1)[0]]
    dynamics = DynamicConnectivity(40.0, step=40.0, summary=["mean"], fisher_z=False)
    got = dynamics.fit_transform(X, t_r=[1.0, 2.0])
    expected = [by_hand(X[0], 40, 40).mean(axis=0), by_hand(X[1], 20, 20).mean(axis=0)]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_allclose(dynamics.transform(X[1:], t_r=[2.0]), expected[1:], atol=1e-6)
    table = pd.DataFrame({"subject": ["a", "b"], "session": "0", "run": "0", "t_r": [1.0, 2.0]})
    data = SignalDataset(X, None, table, SignalSpec("fmri", list("abcd"), unit="z"))
    np.testing.assert_array_equal(dynamics.fit_transform(data), got)
    assert dynamics.get_feature_names_out()[0] == "mean a~b"


def test_states_that_were_put_in_are_found():
    runs = [switching([0, 1, 0, 0], seed=0), switching([0, 0, 1, 0], seed=1), switching([0, 0, 0, 1], seed=2)]
    dynamics = DynamicConnectivity(40.0, step=40.0, summary=["states"], n_states=2, sfreq=1.0, random_state=0)
    features = dynamics.fit_transform(runs)
    assert [sequence.tolist() for sequence in dynamics.state_sequences(runs)] == [
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
    ]
    matrices = dynamics.state_matrices()
    assert matrices[0, 0, 1] > 0.9 > 0.3 > abs(matrices[0, 2, 3])
    assert matrices[1, 2, 3] > 0.9 > 0.3 > abs(matrices[1, 0, 1])
    names = dynamics.get_feature_names_out().tolist()
    table = pd.DataFrame(features, columns=names)
    np.testing.assert_allclose(table["share of state 1"], 0.75)
    np.testing.assert_allclose(table["stay in state 1"], [60, 60, 120])  # seconds: 1 and 2 windows, 2 and 1, 3
    np.testing.assert_allclose(table["stay in state 2"], 40)
    np.testing.assert_allclose(table["changes of state"], np.array([2, 2, 1]) / 3 * 60 / 40)  # a minute


def test_states_are_learned_from_training_runs_only():
    train, test = [switching([0, 1], seed=i) for i in range(3)], [switching([1, 0], seed=9)]
    dynamics = DynamicConnectivity(40.0, step=40.0, summary=["states"], n_states=2, sfreq=1.0, random_state=0).fit(
        train
    )
    before = dynamics.states_.copy()
    dynamics.transform(test)
    np.testing.assert_array_equal(dynamics.states_, before)


def test_missing_regions():
    X = list(series(5))
    X[2] = X[2].copy()
    X[2][1] = np.nan
    options = {"window": 40.0, "sfreq": 1.0, "summary": ["mean", "std", "states"], "n_states": 2, "random_state": 0}
    with pytest.raises(InputError, match="run 2 lacks regions 1"):
        DynamicConnectivity(**options).fit(X)
    lost = DynamicConnectivity(**options, missing="nan").fit(X)
    names = lost.get_feature_names_out()
    gone = np.isnan(lost.transform(X))
    assert not gone[[0, 1, 3, 4]].any()
    assert {name for name, its in zip(names, gone[2], strict=True) if its} == {n for n in names if "region_2" in n}
    filled = DynamicConnectivity(**options, missing="mean").fit(X).transform(X)
    others = lost.transform(X)[[0, 1, 3, 4]]
    np.testing.assert_allclose(filled[2][gone[2]], others.mean(axis=0)[gone[2]], rtol=1e-6)
    X[3] = X[3].copy()
    X[3][0, :60] = 2.0
    with pytest.raises(InputError, match="run 0 has a region that is constant throughout a window"):
        DynamicConnectivity(40.0, sfreq=1.0).fit([X[3]])
    half = DynamicConnectivity(40.0, step=40.0, sfreq=1.0, missing="nan", fisher_z=False, summary=["mean"])
    rest = [np.corrcoef(X[3][:, 40 * i : 40 * i + 40])[0, 1] for i in (1, 2)]  # of windows in which it moves
    assert half.fit_transform([X[3], X[0]])[0, 0] == pytest.approx(np.mean(rest), abs=1e-6)


def test_folds_hand_over_the_repetition_times():
    X = [switching([0, i % 2], seed=i) for i in range(12)]
    y = np.arange(12) % 2
    decoder = make_pipeline(DynamicConnectivity(40.0, step=40.0), LogisticRegression())
    with config_context(enable_metadata_routing=True):
        scores = cross_val_score(decoder, X, y, cv=3, params={"t_r": np.ones(12)})
    assert scores.mean() > 0.9


@pytest.mark.parametrize(
    ("options", "t_r", "error", "message"),
    [
        ({"sfreq": None}, None, UsageError, "needs to know the repetition time: pass sfreq=1/t_r"),
        ({}, [1.0, 2.0], UsageError, r"one number a run \(4\), got shape \(2,\)"),
        ({}, 0.0, UsageError, "repetition times must be positive"),
        ({"window": 121.0}, None, InputError, r"as long as a window \(121 s, 121 volumes\), run 0 has 120"),
        ({"window": 2.0}, None, UsageError, "holds 2 volumes of 1 s; take a longer one"),
        ({"sfreq": 0.0}, None, UsageError, "sfreq must be positive"),
        ({"window": -1.0}, None, UsageError, "window must be positive"),
        ({"summary": "mean"}, None, UsageError, "summary must be a list"),
        ({"summary": ["median"]}, None, UsageError, "summary must be one of 'mean'"),
        ({"kind": "tangent"}, None, UsageError, "kind must be one of"),
    ],
)
def test_wrong_use_is_told(options, t_r, error, message):
    with pytest.raises(error, match=message):
        DynamicConnectivity(**{"window": 40.0, "sfreq": 1.0, **options}).fit(series(), t_r=t_r)


def test_states_that_were_not_learned_are_told():
    dynamics = DynamicConnectivity(40.0, sfreq=1.0).fit(series())
    with pytest.raises(UsageError, match="no states were learned"):
        dynamics.state_sequences(series())


@pytest.mark.parametrize(("options", "given"), [({"sfreq": 2000.0}, None), ({}, 2000.0), ({}, [2.0, 2000.0])])
def test_milliseconds_are_told(options, given):
    runs = np.random.default_rng(0).standard_normal((2, 3, 60))
    with pytest.raises(UsageError, match=r"is no repetition time: t_r is in seconds, .* \(milliseconds\?"):
        DynamicConnectivity(**options).fit(runs, t_r=given)
