"""Filters learned from signals whose sources are known."""

import numpy as np
import pytest

from neurosig.core.errors import InputError, UsageError
from neurosig.preprocessing.spatial_reduction import SpatialReduction


def mixed(n_classes=2, n_channels=6, seed=0):
    """Sources of which each class has one that is stronger, mixed into channels."""
    rng = np.random.default_rng(seed)
    y = np.arange(30) % n_classes
    sources = rng.standard_normal((30, n_channels, 400))
    for label in range(n_classes):
        sources[y == label, label] *= 3
    mixing = rng.standard_normal((n_channels, n_channels))
    return 1e-5 * (mixing @ sources), y, mixing


def test_rank_keeps_all_that_there_is():
    X, _, _ = mixed()
    reduction = SpatialReduction("rank").fit(X)
    assert reduction.filters_.shape == (6, 6)
    referenced = X - X.mean(axis=1, keepdims=True)
    reduction = SpatialReduction("rank").fit(referenced)
    assert reduction.filters_.shape == (5, 6)
    np.testing.assert_allclose(reduction.filters_.T @ reduction.transform(referenced), referenced, atol=1e-15)


def test_principal_components_are_strongest_first():
    X, _, _ = mixed()
    variance = SpatialReduction("pca", 3).fit_transform(X).var(axis=-1).mean(axis=0)
    values = np.linalg.eigvalsh(np.mean([np.cov(x, bias=True) for x in X], axis=0))[::-1]
    np.testing.assert_allclose(variance, values[:3], rtol=1e-10)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_common_spatial_patterns_find_the_sources(n_classes):
    X, y, mixing = mixed(n_classes)
    filters = SpatialReduction("csp", n_classes).fit(X, y).filters_
    assert filters.shape == (n_classes, 6)
    # what reaches the components of the sources that tell nothing is little
    reach = filters @ mixing
    reach /= np.linalg.norm(reach, axis=1, keepdims=True)
    assert np.linalg.norm(reach[:, n_classes:], axis=1).max() < 0.2
    assert np.linalg.matrix_rank(reach[:, :n_classes], tol=0.3) == n_classes


def test_common_spatial_patterns_beside_pyriemann():
    from pyriemann.spatialfilters import CSP

    X, y, _ = mixed()
    ours = SpatialReduction("csp", 2).fit(X, y).filters_
    normed = np.stack([np.cov(x, bias=True) / np.trace(np.cov(x, bias=True)) for x in X])
    theirs = CSP(2, log=False).fit(normed, y).filters_
    ours, theirs = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in (ours, theirs))
    # pyriemann takes the Riemannian means of the classes: near the arithmetic ones for so many samples
    overlap = np.abs(ours @ theirs.T)
    np.testing.assert_allclose(np.sort(overlap.max(axis=1)), [1, 1], atol=1e-4)


def test_average_reference_before_common_spatial_patterns():
    X, y, _ = mixed()
    X -= X.mean(axis=1, keepdims=True)
    out = SpatialReduction("csp", 6).fit(X, y).transform(X)
    assert out.shape == (30, 5, 400)
    assert np.linalg.matrix_rank(np.cov(out[0])) == 5


def test_selected_channels_are_channels():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = rng.standard_normal((40, 8, 200))
    X[y == 1, 2] *= 1.5
    X[y == 1, 5] *= 0.7
    X[:, 7] = 0.0
    reduction = SpatialReduction("select", 2).fit(X, y)
    np.testing.assert_array_equal(reduction.transform(X), X[:, [2, 5]])


def test_only_training_trials_matter():
    X, y, _ = mixed()
    reduction = SpatialReduction("csp", 2).fit(X[:20], y[:20])
    before = reduction.filters_.copy()
    reduction.transform(X[20:] * 100)
    np.testing.assert_array_equal(reduction.filters_, before)


def test_bad_input():
    X, y, _ = mixed()
    with pytest.raises(UsageError, match="method must be one of 'rank', 'pca', 'select', 'csp', got 'ica'"):
        SpatialReduction("ica").fit(X)
    with pytest.raises(UsageError, match="n_components must be a whole number of at least 1, got 0"):
        SpatialReduction("pca", 0).fit(X)
    with pytest.raises(UsageError, match="method 'csp' learns from labels: pass y"):
        SpatialReduction("csp").fit(X)
    with pytest.raises(UsageError, match="expected as many labels as trials, got 29 labels for 30 trials"):
        SpatialReduction("csp").fit(X, y[1:])
    for method in ("csp", "select"):
        with pytest.raises(UsageError, match="labels of at least two classes, got one class: 1"):
            SpatialReduction(method).fit(X, np.ones(len(X), int))
    with pytest.raises(InputError, match="got only constant channels"):
        SpatialReduction("pca").fit(np.ones((4, 3, 50)))
