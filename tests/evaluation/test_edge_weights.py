"""Weights of a linear model, edge by edge."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosig.evaluation.edge_weights import edge_weights, mean_edges
from neurosig.preprocessing.connectivity import FunctionalConnectivity


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    runs = rng.standard_normal((40, 5, 60))
    runs[y == 1, 3] += runs[y == 1, 1]  # regions 1 and 3 go together in the second class alone
    return runs, y


def model(*steps):
    return make_pipeline(FunctionalConnectivity(ch_names=list("abcde")), *steps)


def test_the_weight_of_an_edge_stands_at_its_place(data):
    X, y = data
    fitted = model(StandardScaler(), LogisticRegression(C=0.01)).fit(X, y)
    told = edge_weights(fitted)
    assert told["regions"] == list("abcde")
    matrix = np.zeros((5, 5))
    matrix[np.tril_indices(5)] = told["weights"]
    assert np.unravel_index(np.argmax(np.abs(matrix)), (5, 5)) == (3, 1) and matrix[3, 1] > 0
    names = fitted[0].get_feature_names_out()
    for name, weight in zip(names, fitted[-1].coef_[0], strict=True):
        row, column = sorted(("abcde".index(part) for part in name.split("~")), reverse=True)
        assert matrix[row, column] == pytest.approx(weight, rel=1e-3)
    assert not np.diag(matrix).any()


def test_searches_and_regressions_have_weights_too(data):
    X, y = data
    search = GridSearchCV(model(LogisticRegression()), {"logisticregression__C": [0.1, 1.0]}, cv=2).fit(X, y)
    assert edge_weights(search) == edge_weights(search.best_estimator_) is not None
    assert edge_weights(model(Ridge()).fit(X, y.astype(float))) is not None


class Doubled(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return np.hstack([X, X])


def test_other_pipelines_have_none(data):
    X, y = data
    assert edge_weights(model(PCA(3), LogisticRegression()).fit(X, y)) is None
    assert edge_weights(model(Doubled(), LogisticRegression()).fit(X, y)) is None
    assert edge_weights(model(LogisticRegression()).fit(X, np.arange(40) % 3)) is None
    assert edge_weights(make_pipeline(StandardScaler(), LogisticRegression()).fit(X[:, :, 0], y)) is None
    assert edge_weights(LogisticRegression().fit(X[:, :, 0], y)) is None
    assert edge_weights(None) is None


def test_folds_are_averaged_and_their_agreement_is_told():
    first, second = [0.0, 1.0, 0.0, 2.0, -1.0, 0.0], [0.0, 3.0, 0.0, 2.0, -3.0, 0.0]  # rows of a triangle
    records = [{"pipeline": "FC", "edges": {"regions": ["a", "b", "c"], "weights": its}} for its in (first, second)]
    told = mean_edges([*records, {"pipeline": "other"}])
    assert list(told) == ["FC"] and told["FC"]["weights"] == [0.0, 2.0, 0.0, 2.0, -2.0, 0.0]
    edges = [1, 3, 4]  # off the diagonal
    expected = np.corrcoef(np.take(first, edges), np.take(second, edges))[0, 1]
    assert told["FC"]["agreement"] == pytest.approx(expected, abs=1e-3) and told["FC"]["n_folds"] == 2
    assert mean_edges(records[:1])["FC"]["agreement"] is None
    assert mean_edges([{"pipeline": "other"}]) == {}
