"""Delay embedding: the published class's numbers, without its faults."""

import moabb.pipelines.features
import numpy as np
import pytest
from pyriemann.estimation import Covariances
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from neurosig.core.errors import InputError, UsageError
from neurosig.preprocessing import AugmentedCovariances, AugmentedDataset, FastTangentSpace


@pytest.fixture
def X():
    return np.random.default_rng(0).standard_normal((6, 3, 60))


@pytest.mark.parametrize(("order", "lag"), [(1, 1), (1, 7), (2, 1), (3, 5), (10, 4)])
def test_equals_the_published_class(X, order, lag):
    theirs = moabb.pipelines.features.AugmentedDataset(order, lag).transform(X)
    np.testing.assert_array_equal(AugmentedDataset(order, lag).fit_transform(X), theirs)
    assert AugmentedDataset(order, lag).fit_transform(X.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("trim", ["moabb", "edge", 20])
def test_covariances_of_it_are_the_augmented_ones(X, trim):
    stacked = AugmentedDataset(3, 4, trim).fit_transform(X)
    expected = AugmentedCovariances(3, 4, "cov", trim=trim).fit_transform(X)
    np.testing.assert_allclose(Covariances("cov").fit_transform(stacked), expected, rtol=1e-10, atol=1e-12)


def test_takes_the_place_of_the_published_class_in_a_grid(X):
    y = np.arange(6) % 2
    pipeline = make_pipeline(AugmentedDataset(), FastTangentSpace(), LogisticRegression())
    grid = {"augmenteddataset__order": [1, 2], "augmenteddataset__lag": [1, 3]}
    search = GridSearchCV(clone(pipeline), grid, cv=2).fit(X, y)
    assert set(search.best_params_) == set(grid)


def test_bad_input(X):
    with pytest.raises(InputError, match="order 10 x lag 6 is too long for trials of 60 samples"):
        AugmentedDataset(10, 6).fit(X)
    with pytest.raises(InputError, match="too long"):
        AugmentedDataset(4, 6).fit(X).transform(X[..., :20])
    with pytest.raises(UsageError, match="order must be a whole number"):
        AugmentedDataset(0).fit(X)
    with pytest.raises(UsageError, match="trim must be"):
        AugmentedDataset(trim="all").fit(X)
