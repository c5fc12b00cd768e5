"""The scalers against scikit-learn's, closed forms, and a published implementation's arrays."""

import mne
import numpy as np
import pytest
from scipy import stats
from sklearn.preprocessing import RobustScaler, StandardScaler

from neurosig.core.errors import UsageError
from neurosig.preprocessing.scaling import ClipScale, QuantileScale


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((20, 4, 300)) * np.array([1, 5, 20, 100])[:, None] + 30) * 1e-6


def samples(X):
    """Channels as columns, samples of all trials as rows."""
    return X.transpose(0, 2, 1).reshape(-1, X.shape[1])


@pytest.mark.parametrize(("scale", "peer"), [("robust", RobustScaler()), ("std", StandardScaler())])
def test_scales_like_sklearn_over_trials_and_time(X, scale, peer):
    expected = peer.fit_transform(samples(X)).reshape(20, 300, 4).transpose(0, 2, 1)
    ours = ClipScale(scale, clip=None).fit(X)
    np.testing.assert_allclose(ours.transform(X), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.scale_, peer.scale_)


def test_std_agrees_with_mne(X):
    expected = mne.decoding.Scaler(scalings="mean").fit_transform(X)
    np.testing.assert_allclose(ClipScale("std", clip=None).fit_transform(X), expected, rtol=1e-9, atol=1e-9)


def test_mad_is_scipys_normal_scaled(X):
    ours = ClipScale("mad").fit(X)
    np.testing.assert_allclose(ours.scale_, stats.median_abs_deviation(samples(X), axis=0, scale="normal"))
    np.testing.assert_allclose(ours.location_, np.median(samples(X), axis=0))


def test_one_statistic_for_all_keeps_the_ratios_of_channels(X):
    ours = ClipScale("std", clip=None, per="dataset").fit(X)
    np.testing.assert_allclose(ours.transform(X), (X - X.mean()) / X.std(), rtol=1e-9)


def test_clips_in_units_of_the_spread(X):
    X[0, 0, 0], X[1, 1, 1] = 1.0, -1.0
    plain, clipped = (ClipScale("robust", clip=clip).fit_transform(X) for clip in (None, 3.0))
    np.testing.assert_array_equal(clipped, np.clip(plain, -3, 3))
    assert clipped[0, 0, 0] == 3.0
    assert clipped[1, 1, 1] == -3.0


def test_without_scale_it_clips_in_the_signals_unit():
    X = np.array([[[-600.0, -100.0, 0.0, 499.0, 900.0]]])
    np.testing.assert_array_equal(ClipScale(None, clip=500).fit_transform(X), [[[-500, -100, 0, 499, 500]]])


def test_one_outlier_moves_the_robust_scales_little(X):
    before = {scale: ClipScale(scale).fit(X).scale_ for scale in ("robust", "mad", "std")}
    X[0, :, 0] = 1.0
    change = {scale: np.max(ClipScale(scale).fit(X).scale_ / before[scale]) for scale in before}
    assert change["robust"] < 1.01
    assert change["mad"] < 1.01
    assert change["std"] > 10


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scale", ["robust", "std", "mad"])
def test_a_flat_channel_becomes_zero(X, scale, dtype):
    X[:, 2] = 0.1  # whose mean is not exactly 0.1
    X = X.astype(dtype)
    np.testing.assert_allclose(ClipScale(scale).fit_transform(X)[:, 2], 0, atol=1e-6)


def test_new_signals_get_the_statistics_of_the_training_signals(X):
    ours = ClipScale("std", clip=None).fit(X)
    change = ours.transform(X + 1) - ours.transform(X)
    np.testing.assert_allclose(change, np.broadcast_to(1 / ours.scale_[:, None], X.shape))


@pytest.mark.parametrize(
    ("per", "axis"), [("trial_channel", 2), ("trial", (1, 2)), ("channel", (0, 2)), ("dataset", (0, 1, 2))]
)
def test_quantile_over_the_stated_axes(X, per, axis):
    expected = X / np.quantile(np.abs(X), 0.95, axis=axis, keepdims=True)
    ours = QuantileScale(per=per).fit(X)
    np.testing.assert_allclose(ours.transform(X), expected, rtol=1e-12)
    if per.startswith("trial"):
        np.testing.assert_allclose(ours.transform(X[:3] * 7), expected[:3], rtol=1e-12)  # units do not matter
    else:
        np.testing.assert_allclose(ours.transform(X[:3] * 7), expected[:3] * 7, rtol=1e-12)


def test_quantile_is_that_of_torch_with_the_published_eps(X):
    torch = pytest.importorskip("torch")
    signals = torch.from_numpy(X * 1e6)
    quantile = torch.quantile(signals.abs(), q=0.95, dim=-1, keepdim=True, interpolation="linear")
    np.testing.assert_allclose(
        QuantileScale(eps=1e-8).fit_transform(X * 1e6), (signals / (quantile + 1e-8)).numpy(), rtol=1e-12
    )  # fmt: skip


def test_tesla_survive_and_silence_stays_silent(X):
    X = X * 1e-9
    X[0, 0] = 0
    scaled = QuantileScale().fit_transform(X)
    np.testing.assert_allclose(np.quantile(np.abs(scaled), 0.95, axis=2)[1:], 1)
    np.testing.assert_array_equal(scaled[0, 0], 0)


def test_as_steps_of_a_pipeline_with_a_grid(X):
    from pyriemann.estimation import Covariances
    from pyriemann.tangentspace import TangentSpace
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    y = np.repeat([0, 1], 10)
    X[y == 1, 0] *= 3
    pipeline = make_pipeline(ClipScale(), Covariances("oas"), TangentSpace(), LogisticRegression())
    search = GridSearchCV(pipeline, {"clipscale__scale": ["robust", "std"], "clipscale__clip": [4.0, None]}, cv=2)
    assert search.fit(X, y).best_score_ > 0.9


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (ClipScale(scale="iqr"), "scale must be one of 'robust', 'std', 'mad', None, got 'iqr'"),
        (ClipScale(per="trial"), "per must be one of 'channel', 'dataset', got 'trial'"),
        (ClipScale(clip=0), "clip must be a positive number or None, got 0"),
        (ClipScale(clip=-1), "clip must be a positive number or None, got -1"),
        (QuantileScale(q=0), "q must lie above 0 and not above 1, got 0"),
        (QuantileScale(q=95), "q must lie above 0 and not above 1, got 95"),
        (QuantileScale(per="epoch"), "per must be one of 'trial_channel'"),
        (QuantileScale(eps=-1e-8), "eps must not be negative"),
    ],
)
def test_wrong_parameters_are_named_at_fit(X, estimator, message):
    with pytest.raises(UsageError, match=message):
        estimator.fit(X)
