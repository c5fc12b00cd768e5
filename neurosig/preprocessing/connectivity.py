"""Functional connectivity of runs as named features."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.registry import register
from neurosig.core.signals import SignalDataset
from neurosig.preprocessing.connectivity_matrices import (
    ESTIMATORS,
    INVERTED,
    KINDS,
    check_choice,
    checked_series,
    complete,
    connectivity_matrix,
    edge_names,
    edges,
    fisher_z,
    from_edges,
    region_names,
)
from neurosig.preprocessing.riemann import mean_riemann, tangent_space

__all__ = ["FunctionalConnectivity"]

_CORRELATIONS = ("correlation", "partial correlation")


@register(kind="preprocessor")
class FunctionalConnectivity(TransformerMixin, BaseEstimator):
    """How strongly the regions of a run go together, one number a pair of regions.

    Parameters
    ----------
    kind : {"correlation", "partial correlation", "tangent", "covariance", "precision"}
        "correlation" is Pearson's; "partial correlation" that of two regions without what all others explain; "tangent"
        how a run's covariance departs from the mean of the training runs [1]_.
    estimator : {"auto", "empirical", "ledoit_wolf", "oas"}
        Of the covariance. "auto" takes the empirical one for correlations and covariances, and Ledoit and Wolf's [2]_
        for kinds that invert it, as runs are often shorter than regions are many.
    fisher_z : bool
        Whether correlations are transformed by Fisher's z.
    standardize : bool
        Whether each region's series is z-scored within its run first, so that no kind depends on units; without,
        "covariance" is that of X as it comes.
    discard_diagonal : bool, optional
        Whether the features lack the diagonal. None leaves it out where it is always one, of correlations.
    missing : {"raise", "mean", "nan"}
        What becomes of runs that lack a region (NaN throughout, or constant): they are refused, the region's edges are
        the mean of the training runs' (for "tangent": its covariances are what the others' predict by the training
        mean), or they are NaN, for an imputer that follows. The other edges of such a run are those of the regions that
        are there.
    ch_names : sequence of str, optional
        Names of the regions; read off a `SignalDataset` or a data frame by default, else "region_1" and so on.

    Attributes
    ----------
    mean_ : array of shape (n_regions, n_regions)
        Mean connectivity of the training runs; for "tangent" the Riemannian mean of their covariances, of Fisher's z
        turned back into a correlation.
    edge_means_ : array of shape (n_edges,)
        Mean of each feature over the training runs that have it.
    region_names_ : list of str
        Names of the regions.
    n_features_in_ : int
        Number of regions.

    See Also
    --------
    DynamicConnectivity : Connectivity in sliding windows.
    SiteHarmonizer : Takes out what differs between scanners.

    Notes
    -----
    On nilearn's `ConnectivityMeasure`, whose results it gives where no region is missing; unlike that, it projects a
    single run to the tangent space also, and finds the mean by `mean_riemann`. Only the mean is learned: other kinds
    compute each run by itself, so that runs may be read from disk one after the other. They may have different lengths,
    which a correlation's precision depends on.

    A run of one volume (arrays of two axes) has no connectivity: its matrix is the identity.

    References
    ----------
    .. [1] Varoquaux et al., "Detection of brain functional-connectivity difference in post-stroke patients using
       group-level covariance modeling", MICCAI 2010, https://doi.org/10.1007/978-3-642-15705-9_25
    .. [2] Ledoit & Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of
       Multivariate Analysis 88, 2004, https://doi.org/10.1016/S0047-259X(03)00096-4

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.preprocessing.connectivity import FunctionalConnectivity
    >>> rng = np.random.default_rng(0)
    >>> runs = [rng.standard_normal((3, n_volumes)) for n_volumes in (120, 150)]
    >>> connectivity = FunctionalConnectivity(ch_names=["V1", "V2", "MT"])
    >>> features = connectivity.fit_transform(runs)
    >>> bool(np.isclose(features[0, 0], np.corrcoef(runs[0])[0, 1]))
    True
    >>> connectivity.get_feature_names_out().tolist()
    ['V1~V2', 'V1~MT', 'V2~MT']
    >>> connectivity.inverse_transform(features).shape
    (2, 3, 3)
    """

    _channel_order_matters = True  # of the edges

    def __init__(
        self,
        kind: str = "correlation",
        *,
        estimator: str = "auto",
        fisher_z: bool = False,
        standardize: bool = True,
        discard_diagonal: bool | None = None,
        missing: str = "raise",
        ch_names: Sequence[str] | None = None,
    ):
        self.kind = kind
        self.estimator = estimator
        self.fisher_z = fisher_z
        self.standardize = standardize
        self.discard_diagonal = discard_diagonal
        self.missing = missing
        self.ch_names = ch_names

    def check_options(self) -> None:
        """Refuse options that are unknown or do not go together, with a UsageError."""
        check_choice("kind", self.kind, KINDS)
        check_choice("estimator", self.estimator, ("auto", *ESTIMATORS))
        if self.fisher_z and self.kind not in _CORRELATIONS:
            raise UsageError(f"fisher_z is for kinds 'correlation' and 'partial correlation', not for {self.kind!r}")

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the mean connectivity.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of arrays (n_regions, n_times), or SignalDataset
            Training runs.
        y : None
            Ignored.

        Returns
        -------
        FunctionalConnectivity
            Itself.

        Raises
        ------
        InputError
            If runs are too short, are not finite, or lack regions (see `missing`); with "mean", also if no training run
            has a region, or for "tangent" if every training run lacks one.
        UsageError
            If options are unknown or do not go together.
        ChannelError
            If there is not one name a region.
        """
        self.fit_transform(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit, then give the connectivity of the same runs; each matrix is computed once.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of arrays (n_regions, n_times), or SignalDataset
            Training runs.
        y : None
            Ignored.

        Returns
        -------
        array of shape (n_runs, n_edges)
            Features, float64.
        """
        self.check_options()
        matrices = self._matrices(checked_series(X, self, reset=True, missing=self.missing))
        self.region_names_ = region_names(X, self.ch_names, self)
        self._knows_names = self.ch_names is not None or isinstance(X, SignalDataset)
        self._fitted_diagonal_gone = self._diagonal_gone()
        if self.kind == "tangent":
            whole = [matrix for matrix in matrices if not np.isnan(matrix).any()]
            if not whole:
                raise InputError(
                    "expected at least one training run that has all regions, to learn the mean of covariances; drop "
                    "the regions that are missing most, or take kind='correlation'"
                )
            self.mean_ = mean_riemann(np.stack(whole))
        features = self._features(matrices)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
            self.edge_means_ = np.nanmean(features, axis=0)
        if self.missing == "mean" and np.isnan(self.edge_means_).any():
            raise InputError(self._never_measured(matrices))
        if self.kind != "tangent":
            self.mean_ = self._as_matrices(self.edge_means_)
        return self._filled(features)

    def transform(self, X: Any) -> np.ndarray:
        """Connectivity of runs.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of arrays (n_regions, n_times), or SignalDataset
            Runs of the regions that were fitted on.

        Returns
        -------
        array of shape (n_runs, n_edges)
            Features in the order of nilearn's lower triangle, float64.

        Raises
        ------
        InputError
            As `fit`.
        ChannelError
            If the regions are others than those that were fitted on.
        """
        check_is_fitted(self)
        matrices = self._matrices(checked_series(X, self, reset=False, missing=self.missing))
        return self._filled(self._features(matrices))

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Turn features back into matrices.

        Parameters
        ----------
        X : array of shape (n_runs, n_edges)
            As `transform` gives.

        Returns
        -------
        array of shape (n_runs, n_regions, n_regions)
            Correlations for Fisher's z, covariances for "tangent".

        Raises
        ------
        InputError
            If there is another number of edges, or the kind's diagonal is not known.
        """
        check_is_fitted(self)
        X = np.asarray(X, dtype=np.float64)
        if X.ndim != 2:
            raise InputError(f"expected features of shape (n_runs, n_edges), got shape {X.shape}")
        if self._fitted_diagonal_gone and self.kind not in _CORRELATIONS:
            raise InputError(f"the diagonal of {self.kind} was discarded; fit with discard_diagonal=False")
        matrices = self._as_matrices(X)
        if self.kind != "tangent":
            return matrices
        values, vectors = np.linalg.eigh(self.mean_)
        root = (vectors * np.sqrt(values)) @ vectors.T
        values, vectors = np.linalg.eigh(matrices)
        moved = root @ ((vectors * np.exp(values)[:, None, :]) @ vectors.swapaxes(1, 2)) @ root
        return (moved + moved.swapaxes(1, 2)) / 2

    def edge_matrices(self, values: Any) -> np.ndarray:
        """Any numbers, one a feature, laid out as symmetric matrices: the weights of a linear model, say.

        Parameters
        ----------
        values : array of shape (..., n_edges)
            Numbers in the order of the features.

        Returns
        -------
        array of shape (..., n_regions, n_regions)
            Zero on the diagonal where that is no feature.
        """
        check_is_fitted(self)
        return from_edges(values, len(self.region_names_), self._fitted_diagonal_gone)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the features.

        Parameters
        ----------
        input_features : array-like of str, optional
            Names of the regions, instead of those learned in `fit`.

        Returns
        -------
        object array of shape (n_edges,)
            "A~B" for regions A and B.
        """
        check_is_fitted(self)
        names = self.region_names_ if input_features is None else given_names(self, input_features)
        return np.array(edge_names(names, self._fitted_diagonal_gone), dtype=object)

    def _matrices(self, runs: Iterable[np.ndarray]) -> list[np.ndarray]:
        estimator = self.estimator
        if estimator == "auto":
            estimator = "ledoit_wolf" if self.kind in INVERTED else "empirical"
        return [connectivity_matrix(run, self.kind, estimator, self.standardize) for run in runs]

    def _features(self, matrices: list[np.ndarray]) -> np.ndarray:
        """Features of each run, NaN where a region was not measured (but for tangent vectors with missing="mean")."""
        together = np.stack(matrices)
        if self.kind == "tangent":
            lacking = np.isnan(together)
            together = np.stack([complete(matrix, self.mean_) for matrix in matrices])
            flat = tangent_space(together, self.mean_)
            # pyriemann's scaling of the edges is the square root of 2 times nilearn's
            together = np.empty_like(together)
            upper = np.triu_indices(together.shape[1])
            scale = np.where(upper[0] == upper[1], 1.0, 1 / np.sqrt(2))
            together[:, upper[0], upper[1]] = together[:, upper[1], upper[0]] = flat * scale
            if self.missing == "nan":
                together[lacking] = np.nan
        features = edges(together, self._fitted_diagonal_gone)
        return fisher_z(features) if self.fisher_z else features

    def _filled(self, features: np.ndarray) -> np.ndarray:
        if self.missing != "mean":
            return features
        return np.where(np.isnan(features), self.edge_means_, features)

    def _as_matrices(self, features: np.ndarray) -> np.ndarray:
        values = np.tanh(features) if self.fisher_z else features
        return from_edges(values, len(self.region_names_), self._fitted_diagonal_gone, diagonal=1.0)

    def _diagonal_gone(self) -> bool:
        return self.kind in _CORRELATIONS if self.discard_diagonal is None else bool(self.discard_diagonal)

    def _never_measured(self, matrices: list[np.ndarray]) -> str:
        ever = np.any([~np.isnan(matrix.diagonal()) for matrix in matrices], axis=0)
        if ever.all():
            return (
                "some pairs of regions were never measured in one training run, so that their mean is not known; drop "
                "regions that are missing often, or take missing='nan'"
            )
        names = [name for name, seen in zip(self.region_names_, ever, strict=True) if not seen]
        return f"no training run has the regions {listed(names)}; drop them, or take missing='nan'"


def given_names(estimator: Any, input_features: Any) -> list[str]:
    """Region names that `get_feature_names_out` was given, checked as scikit-learn's estimators do."""
    names = [str(name) for name in np.asarray(input_features, dtype=object)]
    if hasattr(estimator, "feature_names_in_") and names != [str(name) for name in estimator.feature_names_in_]:
        raise UsageError("input_features is not equal to feature_names_in_, which was learned in fit")
    if len(names) != estimator.n_features_in_:
        raise UsageError(
            f"input_features should have length equal to number of features ({estimator.n_features_in_}), got "
            f"{len(names)}"
        )
    return names
