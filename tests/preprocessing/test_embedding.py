"""Order and lag from signals whose right answer is known: oscillations, autoregressions, the Lorenz attractor."""

import numpy as np
import pytest
from scipy.signal import butter, lfilter, sosfiltfilt

from neurosig.core.errors import InputError, UsageError
from neurosig.preprocessing.augmented_covariance import AugmentedCovariances
from neurosig.preprocessing.embedding import METHODS, _distant_neighbours, mutual_information, select_embedding


def sines(period, n_times=600, n_trials=3):
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, (n_trials, 2, 1))
    return np.sin(2 * np.pi * np.arange(n_times) / period + phases)


@pytest.fixture(scope="module")
def lorenz():
    """First coordinate, by Runge and Kutta's steps in plain numbers: the flow is chaotic, and the last bit of a product
    of matrices, which differs between processors, would make another trajectory of it."""

    def flow(x, y, z):
        return 10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z

    def ahead(state, slope, time):
        return [value + time * change for value, change in zip(state, slope, strict=True)]

    state, step, first = [1.0, 1.0, 20.0], 0.004, []
    for i in range(2500 * 5):
        if i % 5 == 0:
            first.append(state[0])
        a = flow(*state)
        b = flow(*ahead(state, a, step / 2))
        c = flow(*ahead(state, b, step / 2))
        d = flow(*ahead(state, c, step))
        state = ahead(state, [(k + 2 * m + 2 * n + o) / 6 for k, m, n, o in zip(a, b, c, d, strict=True)], step)
    return np.array(first[500:]).reshape(1, 1, -1)


@pytest.mark.parametrize("period", [12, 20, 36])
def test_lag_of_an_oscillation_is_a_quarter_of_its_period(period):
    X = sines(period)
    assert select_embedding(X, "autocorrelation", max_lag=20).lag == period // 4


@pytest.mark.parametrize("period", [12, 20, 36])
def test_lag_of_a_noisy_oscillation(period):
    """Where the autocorrelation of a Gaussian process is zero, its mutual information is least."""
    pole = 0.97 * np.exp(2j * np.pi / period)
    noise = np.random.default_rng(0).standard_normal((4, 2, 4200))
    X = lfilter([1.0], [1.0, -2 * pole.real, abs(pole) ** 2], noise)[..., 200:]
    for method in ("ami_cao", "autocorrelation"):
        assert abs(select_embedding(X, method, max_order=2, max_lag=20).lag - period / 4) <= 1


def test_one_value_of_an_oscillation_does_not_tell_the_next():
    noise = 1e-3 * np.random.default_rng(0).standard_normal((3, 2, 600))
    ratio = select_embedding(sines(25.3) + noise, "autocorrelation", max_order=6).curve["cao_ratio"]
    assert ratio[0] < 0.01  # neighbours at the same height, one rising, one falling
    np.testing.assert_array_less(0.75, ratio[1:])


def test_derivatives_on_projection_unfold_an_oscillation_with_one_delay():
    found = select_embedding(sines(40.7), "mdop", max_lag=20)
    assert found.order == 2
    assert 5 <= found.lag <= 15


def dense_neighbours(points, theiler):
    squared = ((points[:, None] - points) ** 2).sum(axis=-1)
    squared[np.abs(np.subtract.outer(np.arange(len(points)), np.arange(len(points)))) <= theiler] = np.inf
    return np.sqrt(squared.min(axis=1)), squared.argmin(axis=1)


@pytest.mark.parametrize(("n", "theiler"), [(200, 1), (200, 12), (30, 14), (30, 20), (10, 30)])
def test_neighbours_that_are_not_near_in_time(n, theiler):
    points = np.random.default_rng(0).standard_normal((n, 3)).cumsum(axis=0)
    distance, neighbour = _distant_neighbours(points, theiler)
    expected, position = dense_neighbours(points, theiler)
    np.testing.assert_allclose(distance, expected)
    some = np.isfinite(expected)
    np.testing.assert_array_equal(neighbour[some], position[some])


def test_long_trials_take_little_memory():
    import tracemalloc

    X = np.random.default_rng(0).standard_normal((1, 1, 6000)).cumsum(axis=-1)
    tracemalloc.start()
    try:
        select_embedding(X, "mdop", max_order=3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 500 * X.nbytes  # distances of all pairs are 6000 times the signal


def test_lorenz_attractor(lorenz):
    """It unfolds in three dimensions; usual delays are 0.12 to 0.3 units of time, 6 to 16 samples."""
    found = select_embedding(lorenz, "ami_cao", max_lag=20)
    assert 6 <= found.lag <= 16
    ratio = found.curve["cao_ratio"]
    assert ratio[0] < 0.5
    assert 3 <= found.order <= 7
    assert ratio[found.order - 1] > 0.9


@pytest.mark.parametrize("criterion", ["bic", "hq"])
def test_order_and_lag_of_an_autoregression(criterion):
    noise = np.random.default_rng(0).standard_normal((20, 2, 700))
    X = lfilter([1.0], [1.0, 0, 0, -0.5, 0, 0, 0.7], noise)[..., 100:]
    found = select_embedding(X, "ar_order", criterion=criterion)
    assert (found.order, found.lag) == (3, 3)  # the present and two past values
    assert select_embedding(X, "ar_order", criterion=criterion, lag=3).order == 3
    assert found.curve[criterion].shape == (10, 10)


def test_residuals_of_an_autoregression():
    """Without penalty the criterion is the logarithm of the residual variance."""
    noise = np.random.default_rng(1).standard_normal((30, 1, 1000)) * 3
    X = lfilter([1.0], [1.0, -0.8], noise)[..., 100:]
    table = select_embedding(X, "ar_order", criterion="aic", max_order=3, max_lag=2).curve["aic"]
    np.testing.assert_allclose(np.exp(table[1, 0]), 9, rtol=0.02)
    np.testing.assert_allclose(np.exp(table[0, 0]), 9 / (1 - 0.64), rtol=0.05)


def test_noise_needs_no_past():
    X = np.random.default_rng(0).standard_normal((10, 2, 400))
    assert select_embedding(X, "ar_order").order == 1
    assert select_embedding(X, "autocorrelation").lag in (1, 2)


def test_mutual_information():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(8000)
    information = mutual_information(x, 3, n_bins=8)
    np.testing.assert_allclose(information[0], np.log(8), atol=1e-3)  # a signal tells all about itself
    np.testing.assert_allclose(information[1:], 49 / (2 * 8000), atol=0.003)  # bias of 7 x 7 degrees of freedom
    walk = mutual_information(np.cumsum(x), 3, n_bins=8)
    np.testing.assert_array_less(information[1:], walk[1:])
    np.testing.assert_array_equal(mutual_information(np.exp(x), 3, n_bins=8), information)


@pytest.mark.parametrize("method", METHODS)
def test_invariances_and_repeatability(method):
    rng = np.random.default_rng(0)
    X = sosfiltfilt(butter(4, [8, 32], btype="band", fs=160, output="sos"), rng.standard_normal((6, 3, 320)))
    first, again = select_embedding(X, method), select_embedding(X * 1e-6 + 2e-5, method)
    assert (first.order, first.lag) == (again.order, again.lag)
    assert 1 <= first.order <= 10
    assert 1 <= first.lag <= 10
    few = select_embedding(np.repeat(X, 10, axis=0), method, max_signals=20, max_order=4, max_lag=3)
    assert few.order <= 4
    assert few.lag <= 3


def test_average_reference_and_dead_channels():
    rng = np.random.default_rng(0)
    X = lfilter([1.0], [1.0, -0.5], rng.standard_normal((8, 4, 300)))
    X -= X.mean(axis=1, keepdims=True)
    X = np.concatenate([X, np.full((8, 1, 300), 5.0)], axis=1)
    assert (select_embedding(X, "ar_order").order, select_embedding(X, "ar_order").lag) == (2, 1)
    for method in ("mdop", "mdop_multivariate", "ami_cao", "autocorrelation"):
        alone, beside = (select_embedding(some, method, max_order=4) for some in (X[:, :4], X))
        assert (alone.order, alone.lag) == (beside.order, beside.lag)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "grid"},
            "method must be one of 'mdop', 'mdop_multivariate', 'ami_cao', 'autocorrelation', 'ar_order', got 'grid'",
        ),
        ({"criterion": "dic"}, "criterion must be 'aic', 'bic' or 'hq', got 'dic'"),
        ({"max_order": 0}, "max_order must be a whole number of at least 1, got 0"),
        ({"max_lag": 2.5}, "max_lag must be a whole number of at least 1, got 2.5"),
        ({"method": "autocorrelation", "lag": 0}, "lag must be a whole number of at least 1, or None, got 0"),
        ({"method": "mdop", "lag": 2}, "finds the lag together with the order"),
        ({"method": "mdop_multivariate", "lag": 2}, "'mdop_multivariate' finds the lag together with the order"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(UsageError, match=message):
        select_embedding(sines(20), **options)


def test_bad_signals():
    with pytest.raises(InputError, match="at least 20 samples, got 10"):
        select_embedding(sines(20)[..., :10])
    with pytest.raises(InputError, match="lag 60 is too long for trials of 200 samples: a quarter of them at most"):
        select_embedding(sines(20, n_times=200), "autocorrelation", lag=60)
    with pytest.raises(InputError, match="got only constant channels"):
        select_embedding(np.ones((3, 2, 100)))


def state(flow, start, step, n_times, skip):
    """All coordinates of a flow, by Runge and Kutta's steps in plain numbers: (3, n_times)."""

    def ahead(point, slope, time):
        return [value + time * change for value, change in zip(point, slope, strict=True)]

    point, kept = list(start), []
    for i in range(skip + n_times):
        if i >= skip:
            kept.append(point)
        a = flow(*point)
        b = flow(*ahead(point, a, step / 2))
        c = flow(*ahead(point, b, step / 2))
        d = flow(*ahead(point, c, step))
        point = ahead(point, [(k + 2 * m + 2 * n + o) / 6 for k, m, n, o in zip(a, b, c, d, strict=True)], step)
    return np.array(kept).T


@pytest.fixture(scope="module")
def roessler():
    """a = b = 0.2, c = 5.7; a turn takes 5.9 units of time, 59 samples."""
    return state(lambda x, y, z: (-y - z, x + 0.2 * y, 0.2 + z * (x - 5.7)), (1.0, 1.0, 1.0), 0.1, 1500, 500)


def multivariate(X, **options):
    return select_embedding(np.atleast_2d(X)[None], "mdop_multivariate", **options)


def test_all_coordinates_of_a_system_need_no_delay(roessler):
    assert multivariate(roessler).order == 1
    t = 2 * np.pi * np.arange(600) / 40.7
    assert multivariate([np.sin(t), np.cos(t)]).order == 1  # a circle as it is
    both = [np.sin(t), np.cos(t), np.sin(np.sqrt(2) * t), np.cos(np.sqrt(2) * t)]
    assert multivariate(both).order == 1  # and a torus


def test_one_coordinate_of_a_system_needs_delays_about_a_quarter_of_a_turn(roessler):
    """Roessler's attractor unfolds in three dimensions; published delays are 1.2 to 2 units of time or so."""
    for coordinate in roessler[:2]:
        found = multivariate(coordinate, max_lag=25)
        assert found.order == 3
        assert 8 <= found.lag <= 20
    assert multivariate(roessler[:2], max_lag=25).order == 2  # a third coordinate is what two lack
    t = 2 * np.pi * np.arange(600) / 40.7
    one = multivariate(np.sin(t), max_lag=20)
    assert (one.order, one.lag) == (2, 10)  # a quarter of the period: neighbours rise and fall the most apart


def test_lorenz_attractor_from_one_coordinate(lorenz):
    found = select_embedding(lorenz[..., :1500], "mdop_multivariate", max_lag=20)
    assert found.order == 3
    assert 6 <= found.lag <= 16


def test_what_one_oscillator_lacks_another_may_have():
    """Two sines of one phase are as good as one, and the derivative is largest a quarter of the period later."""
    t = 2 * np.pi * np.arange(600) / 40.7
    alike = multivariate([np.sin(t), 3 * np.sin(t)], max_lag=20)
    assert (alike.order, alike.lag) == (2, 10)
    # the second oscillator is told by one coordinate alone: one delay, of a quarter of its period, unfolds both
    mixed = multivariate([np.sin(t), np.cos(t), np.sin(np.sqrt(2) * t)], max_lag=20)
    assert mixed.order == 2
    assert abs(mixed.lag - 40.7 / np.sqrt(2) / 4) <= 2


def test_order_and_lag_of_trials_are_averaged():
    t = 2 * np.pi * np.arange(600) / 40.7
    X = np.stack([[np.sin(t), np.cos(t)], [np.sin(t), np.sin(t)], [np.sin(t), np.sin(t)]])
    found = select_embedding(X, "mdop_multivariate", max_lag=20)
    np.testing.assert_array_equal(found.curve["order"], [1, 2, 2])
    assert found.order == 2
    assert found.lag == round(found.curve["lag"].mean())
    one = select_embedding(X, "mdop_multivariate", max_lag=20, max_signals=2)  # one trial of two signals
    assert len(one.curve["order"]) == 1


def test_options_reach_the_choice_inside_covariances():
    X = np.random.default_rng(3).standard_normal((8, 2, 300)).cumsum(axis=-1)
    free = AugmentedCovariances(select="ar_order", estimator="oas").fit(X)
    assert free.best_params_ == {"order": free.order_, "lag": free.lag_}
    for criterion in ("aic", "bic", "hq"):
        how = {"criterion": criterion, "max_order": 4, "lag": 3}
        fitted = AugmentedCovariances(select="ar_order", select_options=how, estimator="oas").fit(X)
        chosen = select_embedding(X, "ar_order", **how)
        assert (fitted.order_, fitted.lag_) == (chosen.order, chosen.lag) == (chosen.order, 3)
        assert fitted.order_ <= 4
    assert AugmentedCovariances(2, 3).fit(X).best_params_ == {}
    with pytest.raises(UsageError, match="select_options takes max_order"):
        AugmentedCovariances(select="mdop", select_options={"orders": 3}).fit(X)
    with pytest.raises(UsageError, match="name a method"):
        AugmentedCovariances(select_options={"max_order": 3}).fit(X)
