"""The Riemannian mean and tangent map beside closed forms, pyriemann and published matrices."""

import warnings

import numpy as np
import pytest
from pyriemann.estimation import Covariances
from pyriemann.geometry.distance import distance_riemann as their_distance
from pyriemann.geometry.mean import mean_riemann as their_mean
from pyriemann.geometry.tangentspace import tangent_space as their_tangent_space
from pyriemann.tangentspace import TangentSpace
from scipy.linalg import logm
from sklearn.exceptions import ConvergenceWarning

from neurosig.core.errors import InputError, UsageError
from neurosig.preprocessing.riemann import distance_riemann, mean_riemann, tangent_space
from neurosig.preprocessing.spd_logarithm import log_spd
from neurosig.preprocessing.tangent import FastTangentSpace


def wishart(n_matrices, n, freedom, seed=0):
    X = np.random.default_rng(seed).standard_normal((n_matrices, n, freedom))
    return X @ X.swapaxes(1, 2) / freedom


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize("n", [1, 2, 7, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logarithm_is_scipys(n, dtype):
    matrices = wishart(5, n, 3 * n + 4).astype(dtype)
    logs = log_spd(matrices, np.linalg.slogdet(matrices.astype(float))[1])
    expected = [logm(matrix.astype(float)) for matrix in matrices]
    np.testing.assert_allclose(logs, expected, atol=1e-10 if dtype == np.float64 else 2e-4)


def test_logarithm_of_spectra_of_any_width():
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((6, 12, 12)))[0]
    exponents = rng.uniform(-1, 1, (6, 1, 12)) * np.array([0, 0.1, 1, 3, 6, 10])[:, None, None]
    matrices = (rotation * np.exp(exponents)) @ rotation.swapaxes(1, 2)
    expected = (rotation * exponents) @ rotation.swapaxes(1, 2)
    np.testing.assert_allclose(log_spd(matrices, exponents.sum(axis=(1, 2))), expected, atol=1e-6)


def test_wrong_bounds_are_found_out():
    matrices = wishart(4, 10, 100)
    log_det = np.linalg.slogdet(matrices)[1]
    narrow = np.full(4, 0.95), np.full(4, 1.05)
    np.testing.assert_allclose(log_spd(matrices, log_det, bounds=narrow), log_spd(matrices, log_det), atol=1e-10)


def test_mean_of_commuting_matrices_is_their_geometric_mean():
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    logs = 2 * rng.standard_normal((20, 8))
    weights = rng.random(20)
    matrices = (rotation * np.exp(logs)[:, None]) @ rotation.T
    matrices = (matrices + matrices.swapaxes(1, 2)) / 2
    expected = (rotation * np.exp(weights @ logs / weights.sum())) @ rotation.T
    assert relative(mean_riemann(matrices, sample_weight=weights), expected) < 1e-8


def test_mean_of_two_is_the_middle_of_the_geodesic():
    a, b = wishart(2, 9, 30)
    lower = np.linalg.cholesky(a)
    inner = np.linalg.solve(lower, np.linalg.solve(lower, b).T)
    values, vectors = np.linalg.eigh((inner + inner.T) / 2)
    middle = lower @ (vectors * np.sqrt(values)) @ vectors.T @ lower.T
    assert relative(mean_riemann([a, b]), middle) < 1e-8


def test_mean_moves_with_congruence_inverse_and_scale():
    covs = wishart(30, 12, 40)
    mean = mean_riemann(covs)
    mix = np.random.default_rng(1).standard_normal((12, 12))
    mixed = mix @ covs @ mix.T
    assert relative(mean_riemann((mixed + mixed.swapaxes(1, 2)) / 2), mix @ mean @ mix.T) < 1e-6
    inverse = np.linalg.inv(covs)
    assert relative(mean_riemann((inverse + inverse.swapaxes(1, 2)) / 2), np.linalg.inv(mean)) < 1e-7
    for scale in (1e-24, 1e-12, 1e6):
        assert relative(mean_riemann(scale * covs), scale * mean) < 1e-7


@pytest.mark.parametrize(("n_matrices", "n", "freedom"), [(3, 3, 5), (60, 22, 200), (40, 22, 30), (50, 64, 90)])
def test_mean_and_tangent_vectors_are_pyriemanns(n_matrices, n, freedom):
    covs = wishart(n_matrices, n, freedom)
    mean = mean_riemann(covs)
    expected = their_mean(covs, tol=1e-10, maxiter=200)
    assert relative(mean, expected) < 1e-8
    np.testing.assert_allclose(tangent_space(covs, expected), their_tangent_space(covs, expected), atol=1e-9)
    # zero at the exact mean, measured by pyriemann
    gradient = their_tangent_space(covs, mean).mean(axis=0)
    assert np.linalg.norm(gradient) / np.sqrt(n) < 1e-8


def test_weights_count_like_repetitions():
    covs = wishart(6, 8, 30)
    often = np.array([1, 2, 3, 0, 1, 2])
    assert relative(mean_riemann(covs, sample_weight=often), mean_riemann(np.repeat(covs, often, axis=0))) < 1e-7


def test_very_different_matrices_and_scales():
    covs = wishart(40, 10, 11) * np.exp(2 * np.random.default_rng(2).standard_normal((40, 1, 1)))
    assert relative(mean_riemann(covs), their_mean(covs, tol=1e-10, maxiter=500)) < 1e-6


def test_warm_start_gives_the_same_mean():
    covs = wishart(40, 15, 40)
    assert relative(mean_riemann(covs[:30], init=mean_riemann(covs)), mean_riemann(covs[:30])) < 1e-7


def test_equal_matrices_and_single_ones():
    cov = wishart(1, 6, 20)
    assert relative(mean_riemann(np.repeat(cov, 5, axis=0)), cov[0]) < 1e-10
    np.testing.assert_array_equal(mean_riemann(cov), cov[0])


def test_distance_is_a_metric_and_pyriemanns():
    a, b = wishart(2, 7, 20)
    assert distance_riemann(a, b) == pytest.approx(distance_riemann(b, a))
    assert distance_riemann(a, b) == pytest.approx(float(their_distance(a, b)))
    assert distance_riemann(a, a) == pytest.approx(0, abs=1e-10)
    assert np.linalg.norm(tangent_space([b], a)) == pytest.approx(distance_riemann(a, b))


def test_published_means_and_tangent_vectors(golden_dir):
    for name in ("acm_c3_long", "acm_c6"):
        with np.load(golden_dir / "augmented_covariance" / f"{name}.npz") as golden:
            tags = [key.removeprefix("ts_oas_") for key in golden.files if key.startswith("ts_oas_")]
            assert tags
            for tag in tags:
                expected, vectors = golden[f"mean_riemann_oas_{tag}"], golden[f"ts_oas_{tag}"]
                if len(covs := golden[f"oas_{tag}"]) != len(vectors):
                    continue  # only the first two matrices are kept
                assert relative(mean_riemann(covs), expected) < 1e-6
                np.testing.assert_allclose(tangent_space(covs, expected), vectors, atol=1e-6)


def test_bad_matrices_are_named():
    covs = wishart(5, 4, 20)
    singular = covs.copy()
    singular[3, :, 0] = singular[3, :, 1]
    singular[3, 0] = singular[3, 1]
    with pytest.raises(InputError, match=r"positive definite.*1 of 5 matrices \(positions 3\).*shrink"):
        mean_riemann(singular)
    constant = np.random.default_rng(0).standard_normal((5, 4, 100))
    constant[2] = 0.0
    with pytest.raises(InputError, match=r"zeros in 1 of 5 matrices \(positions 2\): drop these constant trials$"):
        FastTangentSpace("oas").fit(constant)
    with pytest.raises(InputError, match="positive definite"):
        tangent_space(-covs, np.eye(4))
    with pytest.raises(InputError, match="NaN or inf in 1 of 5"):
        mean_riemann(np.where(np.arange(5)[:, None, None] == 2, np.nan, covs))
    with pytest.raises(InputError, match="symmetric"):
        mean_riemann(covs + np.triu(np.ones((4, 4)), 1))
    with pytest.raises(InputError, match=r"shape \(n_matrices, n, n\), got shape \(4, 4\)"):
        mean_riemann(covs[0])
    with pytest.raises(InputError, match=r"reference of shape \(4, 4\), got shape \(3, 3\)"):
        tangent_space(covs, np.eye(3))
    with pytest.raises(UsageError, match="one weight a matrix"):
        mean_riemann(covs, sample_weight=[1, 2])
    with pytest.raises(UsageError, match="not all zero"):
        mean_riemann(covs, sample_weight=np.zeros(5))
    with pytest.raises(UsageError, match="must be positive"):
        mean_riemann(covs, tol=0)


def test_too_few_iterations_are_told():
    with pytest.warns(ConvergenceWarning, match="Riemannian mean is exact to"):
        mean_riemann(wishart(40, 10, 11), max_iter=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mean_riemann(wishart(40, 10, 11))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_estimator_is_pyriemanns_pair(dtype):
    X = np.random.default_rng(0).standard_normal((30, 6, 200)).astype(dtype)
    covs = Covariances("oas").fit_transform(X.astype(float))
    theirs = TangentSpace(metric="riemann").fit(covs[:20])
    ours = FastTangentSpace().fit(X[:20])
    np.testing.assert_allclose(ours.transform(X), theirs.transform(covs), atol=1e-8)
    np.testing.assert_allclose(FastTangentSpace().fit(covs[:20]).transform(covs), theirs.transform(covs), atol=1e-8)
    np.testing.assert_allclose(FastTangentSpace().fit_transform(X[:20]), ours.transform(X[:20]), atol=1e-9)
    with pytest.raises(UsageError, match="estimator must be one of"):
        FastTangentSpace("shrunk").fit(X)
