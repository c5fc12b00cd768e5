"""Siegel geometry beside its defining formulas and published coefficients, means and logarithms."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from neurosig.core.errors import InputError, UsageError
from neurosig.preprocessing.augmented_covariance import covariance_matrices
from neurosig.preprocessing.siegel import (
    BlockToeplitzSiegel,
    siegel_coefficients,
    siegel_distance,
    siegel_exp,
    siegel_log,
    siegel_mean,
)


def points(shape, size=0.6, seed=0):
    matrices = np.random.default_rng(seed).standard_normal(shape)
    return size * matrices / np.linalg.norm(matrices, ord=2, axis=(-2, -1), keepdims=True)


def distance_by_definition(a, b):
    identity = np.eye(len(a))
    ratio = (b - a) @ np.linalg.inv(identity - a.T @ b) @ (b - a).T @ np.linalg.inv(identity - a @ b.T)
    values = np.linalg.eigvals(ratio).real  # the trace of a function of a matrix is the sum of that of its eigenvalues
    return np.sqrt(np.sum(np.arctanh(np.sqrt(np.maximum(values, 0))) ** 2))


def test_coefficients_by_definition():
    X = np.random.default_rng(0).standard_normal((4, 3, 300))
    order, d = 4, 3
    matrices = covariance_matrices(X, order, 2, "cov", "block_toeplitz", "moabb")
    found = siegel_coefficients(matrices, order)
    for matrix, coefficients in zip(matrices, found, strict=True):
        R = [matrix[:d, k * d : (k + 1) * d] for k in range(order)]
        np.testing.assert_allclose(coefficients[0], R[0])
        for k in range(order - 1):
            if k == 0:
                left, right, common = R[0], R[0], R[1]
            else:
                between = np.linalg.inv(matrix[: k * d, : k * d])
                r, s = np.hstack(R[1 : k + 1]), np.hstack([R[i].T for i in range(k, 0, -1)])
                left, right = R[0] - r @ between @ r.T, R[0] - s @ between @ s.T
                common = R[k + 1] - r @ between @ s.T
            expected = np.linalg.inv(sqrtm(left)) @ common @ np.linalg.inv(sqrtm(right))
            np.testing.assert_allclose(coefficients[k + 1], expected, atol=1e-10)


def test_scalar_coefficients_are_partial_autocorrelations():
    phi = 0.7  # an autoregression of order one: autocorrelation phi ** k, partial autocorrelation zero after the first
    lags = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    coefficients = siegel_coefficients((2.0 * phi**lags)[None], 5)[0, :, 0, 0]
    np.testing.assert_allclose(coefficients, [2, phi, 0, 0, 0], atol=1e-12)


def test_distance():
    a, b = points((2, 4, 4))
    assert siegel_distance(a, b) == pytest.approx(distance_by_definition(a, b))
    assert siegel_distance(a, b) == pytest.approx(siegel_distance(b, a))
    assert siegel_distance(a, a) == pytest.approx(0, abs=1e-12)
    # one dimension: the Poincaré disk
    x, y = 0.3, -0.5
    assert siegel_distance([[x]], [[y]]) == pytest.approx(np.arctanh((x - y) / (1 - x * y)))
    # rotations keep it
    u, v = np.linalg.qr(points((2, 4, 4), seed=5))[0]
    assert siegel_distance(u @ a @ v, u @ b @ v) == pytest.approx(siegel_distance(a, b))


def test_logarithm_and_exponential():
    a, b = points((3, 4, 4)), points((3, 4, 4), 0.9, seed=1)
    for whiten in (False, True):
        back = siegel_exp(siegel_log(b, a, whiten=whiten), a, whitened=whiten)
        np.testing.assert_allclose(back, b, atol=1e-12)
    norms = np.linalg.norm(siegel_log(b, a, whiten=True), axis=(1, 2))
    np.testing.assert_allclose(norms, siegel_distance(a, b))


def test_mean_minimises_the_squared_distances():
    cloud = points((20, 3, 3), 0.8)
    cloud *= np.random.default_rng(1).random((20, 1, 1))
    weights = np.random.default_rng(2).random(20)
    mean = siegel_mean(cloud, sample_weight=weights)
    least = weights @ siegel_distance(cloud, mean) ** 2
    for direction in points((10, 3, 3), 1e-3, seed=3):
        assert weights @ siegel_distance(cloud, mean + direction) ** 2 > least
    # real numbers: the mean of the inverse hyperbolic tangents
    x = np.array([0.9, -0.3, 0.5])
    assert siegel_mean(x[:, None, None])[0, 0] == pytest.approx(np.tanh(np.arctanh(x).mean()))


def test_published_coefficients_means_and_logarithms(golden_dir):
    folder = golden_dir / "augmented_covariance"
    with np.load(folder / "siegel_c3.npz") as golden, np.load(folder / "acm_c3_long.npz") as signals:
        X = signals["X"][: int(golden["n_trials_used"])].astype(float)
        for order, lag in golden["combos"]:
            tag = f"o{order}_l{lag}"
            matrices = covariance_matrices(X, order, lag, "cov", "block_average", "moabb")
            expected = golden[f"bt_avg_{tag}"]
            np.testing.assert_allclose(matrices, expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())
            coefficients = siegel_coefficients(expected, order)
            np.testing.assert_allclose(coefficients, golden[f"coef_{tag}"], atol=1e-10)
            means = siegel_mean(coefficients[:, 1:])
            for k in range(1, order):
                # the published descent stops at 1e-8
                reference = golden[f"mean_{tag}_{k}"]
                np.testing.assert_allclose(means[k - 1], reference, atol=1e-7)
                logs = siegel_log(coefficients[:, k], reference)
                np.testing.assert_allclose(logs, golden[f"log_{tag}_{k}"], atol=1e-10)
                # not beside the published distances, which are not those of the published formula
                some = coefficients[:, k]
                pairs = [(i, j) for i in range(len(some)) for j in range(len(some)) if i != j]
                ours = siegel_distance(some[:, None], some[None])
                expected = [distance_by_definition(some[i], some[j]) for i, j in pairs]
                np.testing.assert_allclose([ours[pair] for pair in pairs], expected, rtol=1e-6)
                np.testing.assert_allclose(np.diagonal(ours), 0, atol=1e-12)


def autoregressions(n_trials=60, seed=0):
    """Two classes that differ in the sign of a lagged influence only, not in covariance."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_trials) % 2
    noise = rng.standard_normal((n_trials, 2, 400))
    X = noise.copy()
    for t in range(3, 400):
        X[:, 1, t] += np.where(y, 0.4, -0.4) * noise[:, 0, t - 3]
    return X, y


def test_delays_tell_what_covariances_cannot():
    X, y = autoregressions()
    test, test_y = autoregressions(seed=1)
    scores = [
        make_pipeline(BlockToeplitzSiegel(order=order, lag=3), SVC(kernel="linear")).fit(X, y).score(test, test_y)
        for order in (1, 2)
    ]
    assert scores[0] < 0.7
    assert scores[1] > 0.9


@pytest.mark.parametrize("method", ["block_toeplitz", "block_average"])
def test_features(method):
    X = np.random.default_rng(0).standard_normal((12, 3, 200)) * 1e-6
    features = BlockToeplitzSiegel(4, 2, method=method).fit(X)
    vectors = features.transform(X)
    assert vectors.shape == (12, 6 + 3 * 9)
    assert len(features.get_feature_names_out()) == 33
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-7)


def test_whole_trials_need_no_more_than_the_last_delay():
    X = np.random.default_rng(0).standard_normal((12, 3, 40))
    features = BlockToeplitzSiegel(order=8, lag=5, estimator="oas").fit(X)  # MOABB's trimming would leave none
    assert np.isfinite(features.transform(X)).all()
    with pytest.raises(InputError, match="order 8 x lag 5 is too long"):
        BlockToeplitzSiegel(order=8, lag=5, estimator="oas", method="block_average").fit(X)
    with pytest.raises(InputError, match="order 8 x lag 5 is too long for trials of 35 samples: 0 samples are left"):
        BlockToeplitzSiegel(order=8, lag=5, estimator="oas").fit(X[..., :35])


def test_bad_input():
    X = np.random.default_rng(0).standard_normal((6, 3, 30))
    with pytest.raises(InputError, match="order"):
        siegel_coefficients(np.eye(7)[None], 2)
    with pytest.raises(InputError, match="positive definite block-Toeplitz"):
        siegel_coefficients(-np.eye(6)[None], 2)
    with pytest.raises(InputError, match=r"below one, got 1.5 in 1 of 2 \(positions 1\)"):
        siegel_mean([0.1 * np.eye(2), 1.5 * np.eye(2)])
    with pytest.raises(UsageError, match="one weight"):
        siegel_mean(points((3, 2, 2)), sample_weight=[1, 1])
    with pytest.warns(ConvergenceWarning, match="Siegel mean is exact to"):
        siegel_mean(points((5, 2, 2), 0.9), max_iter=1)
    with pytest.raises(UsageError, match="method must be one of"):
        BlockToeplitzSiegel(method="toeplitz").fit(X)
    with pytest.raises(UsageError, match="estimator must be one of"):
        BlockToeplitzSiegel(estimator="lwf").fit(X)
    with pytest.raises(InputError, match="samples"):
        BlockToeplitzSiegel(order=10, lag=5).fit(X)
    with pytest.raises(UsageError, match="alpha must be a positive number, got 'a'"):
        BlockToeplitzSiegel(alpha="a").fit(X)
    with pytest.raises(UsageError, match="tol must be a positive number, got 0"):
        BlockToeplitzSiegel(tol=0).fit(X)


def test_constant_trials_are_named():
    X = np.random.default_rng(0).standard_normal((6, 3, 100))
    X[[1, 4]] = 0.0
    with pytest.raises(InputError, match=r"2 of 6 that are not .*drop the constant trials \(1, 4\)"):
        BlockToeplitzSiegel(2, 3).fit(X)
