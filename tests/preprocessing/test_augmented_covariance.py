"""Augmented covariances beside MOABB and pyriemann, closed forms, golden arrays and what cannot be estimated."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from moabb.pipelines.features import AugmentedDataset
from pyriemann.estimation import Covariances

from neurosig.core.errors import InputError, UsageError
from neurosig.preprocessing.augmented_covariance import (
    AugmentedCovariances,
    find_singular,
    floor_eigenvalues,
    why_singular,
)
from neurosig.preprocessing.embedding import select_embedding
from neurosig.preprocessing.lagged_products import (
    ESTIMATORS,
    LaggedProducts,
    augmented_covariance_grid,
    augmented_covariances,
    block_toeplitz,
    stacked_length,
)

# pyriemann 0.12's "sch" calls something that a newer array-api-extra deprecates
_PYRIEMANN = pytest.mark.filterwarnings("ignore:.*xpx.expand_dims.*:DeprecationWarning")
PAIRS = [(1, 1), (1, 4), (2, 1), (3, 2), (4, 5), (7, 3), (10, 10)]

_spec = importlib.util.spec_from_file_location("common_checks", Path(__file__).parents[1] / "common" / "checks.py")
checks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(checks)


def signals(n_trials=6, n_channels=4, n_times=150, seed=0):
    """Walks with an offset: the means of the copies differ, and are far from zero."""
    rng = np.random.default_rng(seed)
    return (3 + rng.standard_normal((n_trials, n_channels, n_times)).cumsum(axis=-1)) * 1e-5


def relative(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@_PYRIEMANN
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("order", "lag"), PAIRS)
def test_equals_moabb_and_pyriemann(order, lag, estimator):
    X = signals()
    theirs = Covariances(estimator).fit_transform(AugmentedDataset(order, lag).transform(X))
    ours = AugmentedCovariances(order, lag, estimator, on_singular="ignore").fit_transform(X)
    assert relative(ours, theirs) < 1e-12


@_PYRIEMANN
@pytest.mark.parametrize("estimator", ["scm", "oas", "lwf", "sch"])
def test_of_one_length_for_all(estimator):
    X, length = signals(), 80
    for order, lag in [(1, 1), (3, 4), (5, 10)]:
        stacked = np.concatenate([X[..., p * lag : p * lag + length] for p in range(order)], axis=1)
        theirs = Covariances(estimator).fit_transform(stacked)
        assert relative(augmented_covariances(X, order, lag, estimator, trim=length), theirs) < 1e-12


def test_edge_trim_uses_all_samples():
    X = signals(n_channels=1)
    last = np.stack([np.cov(x[0, :-7], x[0, 7:]) for x in X])
    np.testing.assert_allclose(augmented_covariances(X, 2, 7, "cov", trim="edge"), last, rtol=1e-11)
    assert stacked_length(150, 2, 7, "edge") == 143
    assert stacked_length(150, 2, 7) == 136


@pytest.mark.parametrize("estimator", ["scm", "oas", "lwf", "sch"])
def test_grid_equals_pair_by_pair(estimator):
    X = signals(n_trials=5)
    orders, lags = [1, 2, 5], [1, 3]
    seen = []
    for order, lag, matrices in augmented_covariance_grid(X, orders, lags, estimator, reuse=True):
        seen.append((order, lag))
        assert relative(matrices, augmented_covariances(X, order, lag, estimator)) < 1e-12
    assert seen == [(order, lag) for order in orders for lag in lags]
    kept = [matrices for _, _, matrices in augmented_covariance_grid(X, orders, lags, estimator)]
    assert len({matrices.ctypes.data for matrices in kept}) == len(kept)


def test_grid_that_is_reused_has_one_place_for_all_pairs():
    X = signals()
    expected = {(order, lag): matrices for order, lag, matrices in augmented_covariance_grid(X, [1, 3, 2], [2, 4])}
    places = []
    for order, lag, matrices in augmented_covariance_grid(X, [1, 3, 2], [2, 4], reuse=True):
        np.testing.assert_array_equal(matrices, expected[order, lag])
        places.append(matrices)
    assert all(np.shares_memory(places[0], place) for place in places)


def test_in_the_grid_of_one_length_lower_orders_are_leading_blocks():
    X = signals()
    found = {(o, g): m.copy() for o, g, m in augmented_covariance_grid(X, [1, 2, 4], [3], "scm", trim="common")}
    assert relative(found[4, 3][:, :8, :8], found[2, 3]) < 1e-12
    assert relative(found[4, 3][:, :4, :4], found[1, 3]) < 1e-12


def test_many_trials_are_worked_on_in_several_parts():
    X = signals(n_trials=30, n_channels=16)
    ours = augmented_covariances(X, 6, 2, "lwf")  # a part holds 14 matrices of this size
    assert relative(ours, Covariances("lwf").fit_transform(AugmentedDataset(6, 2).transform(X))) < 1e-12


def test_golden(golden_dir):
    for name in ("acm_c6", "acm_c3_long"):
        golden = np.load(golden_dir / "augmented_covariance" / f"{name}.npz")
        X = golden["X"].astype(float)
        for order, lag in golden["combos"].tolist():
            tag = f"o{order}_l{lag}"
            for estimator in ("cov", "scm", "oas", "lwf"):
                theirs = golden[f"{estimator}_{tag}"]
                ours = AugmentedCovariances(order, lag, estimator, on_singular="ignore").fit_transform(X)[: len(theirs)]
                assert relative(ours, theirs) < 1e-12
                np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12 * np.abs(theirs).max())
            theirs = golden[f"bt_{tag}"]
            ours = AugmentedCovariances(order, lag, "cov", "block_toeplitz", on_singular="ignore").fit_transform(X)
            np.testing.assert_allclose(ours[: len(theirs)], theirs, rtol=1e-10, atol=1e-12 * np.abs(theirs).max())
            smallest = golden[f"bt_mineig_{tag}"]
            np.testing.assert_allclose(np.linalg.eigvalsh(ours)[:, 0], smallest, rtol=1e-6, atol=1e-14 * ours.max())


def test_golden_block_averages(golden_dir):
    golden = np.load(golden_dir / "augmented_covariance" / "siegel_c3.npz")
    X = np.load(golden_dir / "augmented_covariance" / "acm_c3_long.npz")["X"].astype(float)
    for order, lag in golden["combos"].tolist():
        theirs = golden[f"bt_avg_o{order}_l{lag}"]
        ours = AugmentedCovariances(order, lag, "cov", "block_average", on_singular="ignore").fit_transform(X)
        np.testing.assert_allclose(ours[: len(theirs)], theirs, rtol=1e-10, atol=1e-12 * np.abs(theirs).max())


def test_golden_decisions(golden_dir):
    from pyriemann.tangentspace import TangentSpace
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    golden = np.load(golden_dir / "augmented_covariance" / "acm_c3_long.npz")
    X, y = golden["X"], golden["y"]
    half = len(X) // 2
    model = make_pipeline(AugmentedCovariances(4, 5, "oas"), TangentSpace(), SVC(C=1.0, kernel="linear"))
    decisions = model.fit(X[:half], y[:half]).decision_function(X[half:])
    np.testing.assert_allclose(decisions, golden["svm_dec_o4_l5"], rtol=1e-4, atol=1e-6)


def test_sine_has_its_autocovariance():
    n, period = 4000, 40
    x = np.sin(2 * np.pi * np.arange(n) / period)[None, None]
    matrix = block_toeplitz(x, 3, 10)[0]  # a quarter of the period: cos(0), cos(90), cos(180) degrees
    np.testing.assert_allclose(matrix, [[0.5, 0, -0.5], [0, 0.5, 0], [-0.5, 0, 0.5]], atol=0.005)


def test_solves_yule_walker():
    """The parameters of an autoregression come out of the matrix that the method is named after."""
    from scipy.signal import lfilter

    noise = np.random.default_rng(0).standard_normal((1, 1, 200_000))
    x = lfilter([1.0], [1.0, -0.6, 0.3], noise)
    matrix = augmented_covariances(x, 3, 1, "cov")[0]  # from the past to the present
    weights = np.linalg.solve(matrix[:2, :2], matrix[:2, 2])
    np.testing.assert_allclose(weights, [-0.3, 0.6], atol=0.01)


@pytest.mark.parametrize("estimator", ["scm", "cov"])
def test_filters_of_channels_go_through(estimator):
    X, filters = signals(), np.random.default_rng(1).standard_normal((2, 4))
    wide = np.kron(np.eye(3), filters)
    expected = wide @ augmented_covariances(X, 3, 2, estimator) @ wide.T
    assert relative(augmented_covariances(filters @ X, 3, 2, estimator), expected) < 1e-12


def test_offset_and_scale():
    X = signals()
    plain = augmented_covariances(X, 3, 2, "lwf")
    assert relative(augmented_covariances(X + 1.0, 3, 2, "lwf"), plain) < 1e-9  # an offset of 100 000 times the signal
    assert relative(augmented_covariances(X * 1e6, 3, 2, "lwf"), plain * 1e12) < 1e-12


def test_matrices_are_symmetric():
    matrices = augmented_covariances(signals(), 5, 3, "cov")
    np.testing.assert_allclose(matrices, matrices.swapaxes(1, 2), rtol=0, atol=1e-14 * matrices.max())


def test_some_trials_of_lagged_products():
    X = signals()
    products = LaggedProducts(X, [0, 2, 4]).select(np.array([3, 1]))
    assert relative(augmented_covariances(products, 3, 2, "oas"), augmented_covariances(X[[3, 1]], 3, 2, "oas")) < 1e-13


def test_fit_transform_needs_no_labels():
    assert AugmentedCovariances(2, 3).fit_transform(signals()).shape == (6, 8, 8)


def test_auto_shrinks_where_samples_are_few():
    X = signals()
    assert AugmentedCovariances(2, 2).fit(X).estimator_ == "cov"
    assert AugmentedCovariances(10, 7).fit(X).estimator_ == "oas"


@pytest.mark.parametrize("method", ["mdop", "ami_cao", "autocorrelation", "ar_order"])
def test_order_and_lag_chosen_from_training_signals(method):
    X = signals()
    chosen = select_embedding(X, method)
    fitted = AugmentedCovariances(select=method, estimator="oas").fit(X)
    assert (fitted.order_, fitted.lag_) == (chosen.order, chosen.lag)
    expected = augmented_covariances(X, chosen.order, chosen.lag, "oas")
    np.testing.assert_array_equal(fitted.transform(X), expected)


def test_lag_in_seconds():
    import mne

    X = signals()
    epochs = mne.EpochsArray(X, mne.create_info(4, 250.0, "eeg"), verbose=False)
    expected = AugmentedCovariances(3, 5).fit_transform(X)
    np.testing.assert_array_equal(AugmentedCovariances(3, lag_seconds=0.02).fit_transform(epochs), expected)
    np.testing.assert_array_equal(AugmentedCovariances(3, lag_seconds=0.02, sfreq=250).fit_transform(X), expected)
    with pytest.raises(UsageError, match="lag_seconds needs the sampling rate"):
        AugmentedCovariances(3, lag_seconds=0.02).fit(X)
    with pytest.raises(UsageError, match="less than half a sample at 250 Hz"):
        AugmentedCovariances(3, lag_seconds=0.001).fit(epochs)
    with pytest.raises(UsageError, match="select finds the lag: leave lag_seconds out"):
        AugmentedCovariances(select="mdop", lag_seconds=0.02).fit(epochs)


def test_a_lag_is_of_one_sampling_rate():
    import mne

    at_250, at_500 = (mne.EpochsArray(signals(), mne.create_info(4, rate, "eeg"), verbose=False) for rate in (250, 500))
    for options in ({"lag": 5}, {"lag_seconds": 0.02}, {"lag_seconds": 0.02, "sfreq": 250}):
        fitted = AugmentedCovariances(3, **options).fit(at_250)
        assert fitted.sfreq_ == 250
        np.testing.assert_array_equal(fitted.transform(at_250), fitted.transform(signals()))
        with pytest.raises(InputError, match="expected epochs at 250 Hz, got 500 Hz; resample them"):
            fitted.transform(at_500)
    with pytest.raises(InputError, match="expected epochs at 1000 Hz, got 250 Hz"):
        AugmentedCovariances(3, lag_seconds=0.02, sfreq=1000).fit(at_250)
    AugmentedCovariances(3, 5).fit(signals()).transform(at_500)  # of arrays nothing is known


def test_too_long_an_embedding_is_refused():
    X = signals()
    with pytest.raises(InputError, match="order 10 x lag 20 is too long for trials of 150 samples: 0 samples are left"):
        AugmentedCovariances(10, 20).fit(X)
    said = "MOABB's trimming leaves 0 to stack, and trim='edge' leaves 10"
    with pytest.raises(InputError, match=said):
        AugmentedCovariances(10, 10).fit(X[..., :100])
    assert AugmentedCovariances(10, 10, "oas", trim="edge").fit_transform(X[..., :100]).shape == (len(X), 40, 40)
    with pytest.raises(InputError, match="105 samples are left to stack, and 120 are asked for"):
        AugmentedCovariances(10, 5, trim=120).fit(X)
    with pytest.raises(InputError, match="too long for trials of 8 samples"):
        AugmentedCovariances(5, 2).fit(X).transform(X[..., :8])


@pytest.mark.parametrize("trim", ["moabb", "edge", 120])
def test_whole_trials_are_refused_as_exact_ones_are_that_keep_all_samples(trim):
    X = signals(n_times=100)
    exact = AugmentedCovariances(10, 10, "oas", trim="edge").fit(X)
    whole = AugmentedCovariances(10, 10, "oas", "block_toeplitz", trim)  # MOABB's trimming would leave none
    size = 10 * X.shape[1]
    centred = np.pad(X - X.mean(axis=2, keepdims=True), ((0, 0), (0, 0), (0, 90)))
    blocks = np.concatenate([np.roll(centred, p * 10, axis=2) for p in range(10)], axis=1)  # zeros around, by hand
    plain = AugmentedCovariances(10, 10, "scm", "block_toeplitz", trim, on_singular="ignore").fit_transform(X)
    # the block of delay d has x(s) x(s + d)': of copies shifted the other way that is the transpose
    truth = (blocks @ blocks.swapaxes(1, 2) / 100).reshape(len(X), 10, -1, 10, X.shape[1])[:, ::-1, :, ::-1]
    np.testing.assert_allclose(plain, truth.reshape(len(X), size, size), atol=1e-12)
    assert whole.fit_transform(X).shape == (len(X), size, size)
    with pytest.raises(InputError) as told:
        exact.transform(X[..., :90])
    for refused in (whole.fit, whole.fit(X).transform):
        with pytest.raises(InputError, match="too long for trials of 90 samples: 0 samples are left") as here:
            refused(X[..., :90])
        assert str(here.value) == str(told.value)


def test_average_reference_is_named():
    X = signals()
    X -= X.mean(axis=1, keepdims=True)
    for order in (1, 3):
        with pytest.raises(InputError, match=r"6 of 6 singular .*: channels are flat or linearly dependent"):
            AugmentedCovariances(order, 2, "cov").fit_transform(X)
        for mended in ({"estimator": "oas"}, {"estimator": "cov", "floor": 1e-8}):
            matrices = AugmentedCovariances(order, 2, **mended).fit_transform(X)
            assert find_singular(matrices).size == 0


def test_too_few_samples_are_named():
    with pytest.raises(InputError, match="30 stacked samples are too few for order 10 x 4 channels"):
        AugmentedCovariances(10, 12, "cov").fit_transform(signals())


def test_advice_is_not_what_was_done_already():
    matrices = np.ones((1, 4, 4))
    for estimator in ("scm", "cov", "sch"):
        assert "use estimator='oas', a floor, fewer channels" in why_singular(matrices, 100, 2, 2, estimator)
    for estimator in ("oas", "lwf"):
        assert "use a floor, fewer channels" in why_singular(matrices, 100, 2, 2, estimator)


def test_dead_channel_and_dead_trial():
    X = signals()
    X[:, 1] = 7.0
    with pytest.raises(InputError, match="flat or linearly dependent"):
        AugmentedCovariances(2, 2, "cov").fit_transform(X)
    X = signals()
    X[2] = 0.0
    for estimator in ("oas", "cov"):
        with pytest.raises(InputError, match=r"constant in every channel \(positions 2\); drop these trials, or set a"):
            AugmentedCovariances(2, 2, estimator).fit_transform(X)
    floored = AugmentedCovariances(2, 2, "cov", floor=1e-6).fit(X)
    np.testing.assert_allclose(floored.transform(X)[2], 1e-6 * floored.variance_ * np.eye(8), rtol=1e-9)
    with pytest.raises(InputError, match="only constant channels"):
        AugmentedCovariances(2, 2, "cov", floor=1e-6).fit_transform(np.zeros((3, 4, 50)))


def test_floor_leaves_larger_eigenvalues():
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    matrix = (rotation * [4.0, 1.0, 1e-9]) @ rotation.T
    floored = floor_eigenvalues(matrix[None], 0.01, 1.0)[0]
    np.testing.assert_allclose(np.linalg.eigvalsh(floored), [0.04, 1.0, 4.0], rtol=1e-9)
    np.testing.assert_array_equal(floor_eigenvalues(matrix[None], 1e-12, 1.0)[0], matrix)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 0}, "order must be a whole number of at least 1, got 0"),
        ({"order": 2, "lag": 1.5}, "lag must be a whole number of at least 1, got 1.5"),
        ({"estimator": "mcd"}, "estimator must be one of .*'auto', got 'mcd'"),
        ({"method": "toeplitz"}, "method must be one of 'exact', 'block_toeplitz', 'block_average', got 'toeplitz'"),
        ({"trim": "all"}, "trim must be 'moabb', 'edge' or a number of samples, got 'all'"),
        ({"floor": 2.0}, "floor must lie between 0 and 1"),
        ({"floor": "a"}, "floor must lie between 0 and 1, .* got 'a'"),
        ({"lag_seconds": "a", "sfreq": 100}, "lag_seconds must be a positive number, got 'a'"),
        ({"lag_seconds": 0.1, "sfreq": -1}, "sfreq must be a positive number, got -1"),
        ({"on_singular": "warn"}, "on_singular must be one of 'raise', 'ignore'"),
        ({"estimator": "lwf", "method": "block_toeplitz"}, "'block_toeplitz' goes with 'scm', 'cov' and 'oas'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(UsageError, match=message):
        AugmentedCovariances(**options).fit_transform(signals())


@pytest.mark.parametrize("method", ["exact", "block_toeplitz", "block_average"])
@pytest.mark.parametrize("check", [c for c in checks.CHECKS if "jobs" not in c.__name__], ids=lambda c: c.__name__)
def test_signal_checks_beyond_order_one(check, method, tmp_path):
    import inspect

    estimator = AugmentedCovariances(3, 4, "oas", method)
    check(estimator, tmp_path) if "tmp_path" in inspect.signature(check).parameters else check(estimator)
