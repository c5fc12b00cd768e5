"""Fewer channels before an embedding: principal components, the best channels, or common spatial patterns."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from neurosig.core.errors import InputError, UsageError
from neurosig.core.registry import register
from neurosig.core.validation import check_signals
from neurosig.preprocessing.lagged_products import augmented_covariances

__all__ = ["SpatialReduction"]

METHODS = ("rank", "pca", "select", "csp")


@register
class SpatialReduction(TransformerMixin, BaseEstimator):
    """Project signals to fewer channels, by filters learned on training trials.

    Parameters
    ----------
    method : {"rank", "pca", "select", "csp"}
        "rank" keeps as many principal components as the signals have dimensions, which takes out what an average
        reference, interpolation or ICA removed and loses nothing. "pca" keeps the `n_components` strongest. "select"
        keeps the `n_components` channels whose log-variances differ most between the classes (largest F value). "csp"
        keeps the `n_components` common spatial patterns with the variance ratios furthest from even, one class
        against the others.
    n_components : int
        How many are kept, at most; not used by "rank".
    tol : float
        Components whose variance is below this fraction of the strongest are never kept.

    Attributes
    ----------
    filters_ : array of shape (n_kept, n_channels)
        The filters, one a row.
    n_features_in_ : int
        Number of channels.

    Notes
    -----
    The size of an augmented covariance is its order times the number of channels: with 64 channels and trials of a few
    seconds little of the grid of orders and lags is left that a covariance can be estimated for.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.preprocessing.spatial_reduction import SpatialReduction
    >>> X = np.random.default_rng(0).standard_normal((10, 4, 100))
    >>> X -= X.mean(axis=1, keepdims=True)  # an average reference
    >>> SpatialReduction("rank").fit_transform(X).shape
    (10, 3, 100)
    """

    _channel_order_matters = True  # of principal components only the signs do

    def __init__(self, method: str = "rank", n_components: int = 16, tol: float = 1e-7):
        self.method = method
        self.n_components = n_components
        self.tol = tol

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the filters.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Training signals.
        y : array of shape (n_trials,), optional
            Labels; needed by "select" and "csp".

        Returns
        -------
        SpatialReduction
            Itself.

        Raises
        ------
        UsageError
            If an option is not what it must be, or labels are missing or all the same.
        InputError
            If all signals are constant.
        """
        if self.method not in METHODS:
            raise UsageError(f"method must be one of {', '.join(map(repr, METHODS))}, got {self.method!r}")
        if isinstance(self.n_components, bool) or not isinstance(self.n_components, int) or self.n_components < 1:
            raise UsageError(f"n_components must be a whole number of at least 1, got {self.n_components!r}")
        if y is None and self.method in ("select", "csp"):
            raise UsageError(f"method {self.method!r} learns from labels: pass y")
        X = check_signals(X, estimator=self)
        matrices = augmented_covariances(X, 1, 1, "scm")
        basis = self._components(matrices.mean(axis=0))
        if self.method == "rank":
            self.filters_ = basis
        elif self.method == "pca":
            self.filters_ = basis[: self.n_components]
        else:
            labels = np.asarray(y)
            if len(labels) != len(X):
                raise UsageError(f"expected as many labels as trials, got {len(labels)} labels for {len(X)} trials")
            check_classification_targets(labels)
            if len(classes := np.unique(labels)) < 2:
                raise UsageError(
                    f"method {self.method!r} expected labels of at least two classes, got one class: {classes[0]}"
                )
            choose = self._select if self.method == "select" else self._patterns
            self.filters_ = choose(matrices, labels, basis)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Apply the filters.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Signals.

        Returns
        -------
        array of shape (n_trials, n_kept, n_times)
            Filtered signals; float32 stays float32.
        """
        check_is_fitted(self)
        X = check_signals(X, estimator=self, reset=False)
        return self.filters_.astype(X.dtype) @ X

    def _components(self, matrix: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(matrix)
        if values[-1] <= 0:
            raise InputError("expected signals that vary, got only constant channels; check the recording")
        keep = values > self.tol * values[-1]
        vectors = vectors[:, keep][:, ::-1]
        # the sign of an eigenvector is arbitrary: fixed here, so that equal signals give equal filters
        largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
        return np.ascontiguousarray((vectors * np.sign(largest)).T)

    def _select(self, matrices: np.ndarray, y: np.ndarray, basis: np.ndarray) -> np.ndarray:
        from sklearn.feature_selection import f_classif

        variance = np.einsum("nii->ni", matrices)
        alive = np.flatnonzero(np.all(variance > 0, axis=0))
        separation = f_classif(np.log(variance[:, alive]), y)[0]
        best = alive[np.argsort(-separation, kind="stable")[: min(self.n_components, len(basis))]]
        return np.eye(matrices.shape[1])[np.sort(best)]

    def _patterns(self, matrices: np.ndarray, y: np.ndarray, basis: np.ndarray) -> np.ndarray:
        import scipy.linalg

        # in the space that the signals fill, whitened: elsewhere the ratio of variances is of two zeros
        basis = basis / np.sqrt(np.einsum("ci,nij,cj->c", basis, matrices, basis) / len(matrices))[:, None]
        inside = basis @ matrices @ basis.T
        inside /= np.trace(inside, axis1=1, axis2=2)[:, None, None]
        classes = np.unique(y)
        found = []
        for label in classes[:1] if len(classes) == 2 else classes:
            one, others = inside[y == label].mean(axis=0), inside[y != label].mean(axis=0)
            values, vectors = scipy.linalg.eigh(one, one + others)
            uneven = np.argsort(-np.abs(values - 0.5), kind="stable")
            found += [(rank, vectors[:, i]) for rank, i in enumerate(uneven)]
        found.sort(key=lambda pair: pair[0])  # the best of every class before the second best of any
        chosen = np.stack([vector for _, vector in found[: min(self.n_components, len(basis))]])
        if len(classes) > 2:  # patterns of several classes overlap: span the same space without repetition
            chosen = _independent(chosen)
        return chosen @ basis

    @staticmethod
    def _get_test_params() -> list[dict[str, Any]]:
        return [{"method": "rank"}, {"method": "pca", "n_components": 2}]


def _independent(vectors: np.ndarray) -> np.ndarray:
    """Orthonormal vectors that span the space of some, without directions that are nearly double."""
    _, strength, rows = np.linalg.svd(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), full_matrices=False)
    return rows[strength > 0.1]
