"""Harmonisation of features between sites: ComBat, learned from training runs and applied to others."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.registry import register
from neurosig.core.validation import check_signals

__all__ = ["SiteHarmonizer"]

_UNSEEN = ("raise", "keep", "batch")
_MAX_ITER, _TOL = 200, 1e-6


@register(kind="preprocessor")
class SiteHarmonizer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Take differences in mean and spread between sites out of features, by ComBat.

    Parameters
    ----------
    scale : bool
        Whether sites are given the same spread too, not the same mean only.
    shrink : bool
        Whether a site's estimates are drawn towards those of its other features (the empirical Bayes of ComBat), which
        helps sites of few runs.
    protect_label : bool
        Whether `fit` estimates the sites' effects beside that of y, so that sites with unlike shares of the classes do
        not lose part of it. Labels are used in `fit` only: training runs and others are changed by one formula that
        knows no label.
    unseen : {"raise", "keep", "batch"}
        What becomes of runs from sites that were not in training: they are refused, left as they are, or adjusted by
        the mean and spread of all runs of that site which one call of `transform` gets. The latter uses no label, but
        the result depends on which runs come together, and it is right only if the site's people are like the others'.

    Attributes
    ----------
    sites_ : list of str
        Names of the training sites; empty where `fit` was told none.
    grand_mean_ : array of shape (n_features,)
        Mean of each feature over sites, weighted by their runs.
    pooled_sd_ : array of shape (n_features,)
        Spread of each feature within sites, given the covariates.
    shift_ : array of shape (n_sites, n_features)
        Each site's departure from the mean, in units of `pooled_sd_`.
    spread_ : array of shape (n_sites, n_features)
        Each site's standard deviation, in units of `pooled_sd_`.
    coef_ : array of shape (n_covariates, n_features)
        Effects of the covariates, which are kept; text columns have one row for each value but the first.
    n_features_in_ : int
        Number of features.

    See Also
    --------
    Recentering : The same idea for covariances, without labels or covariates.

    Notes
    -----
    Johnson's model with parametric priors [1]_, as Fortin took it to brain images [2]_ and functional connectivity
    [3]_: ``Y = mean + covariates @ coef + sd * (shift + spread * noise)``; what is returned is the same without shift
    and with a spread of one.

    ``sites`` and ``covariates`` are metadata, which `fit` and `transform` ask for by themselves: give them as `params`
    to `cross_val_score` under ``config_context(enable_metadata_routing=True)`` (last example). scikit-learn hands them
    to an estimator's own ``score``, not to scorers by name ("roc_auc"); neurosig's `benchmark` serves these too, from
    the metadata's column ``site``. Told no sites, `fit` learns nothing and warns.

    References
    ----------
    .. [1] Johnson, Li & Rabinovic, "Adjusting batch effects in microarray expression data using empirical Bayes
       methods", Biostatistics 8, 2007, https://doi.org/10.1093/biostatistics/kxj037
    .. [2] Fortin et al., "Harmonization of cortical thickness measurements across scanners and sites", NeuroImage 167,
       2018, https://doi.org/10.1016/j.neuroimage.2017.11.024
    .. [3] Yu et al., "Statistical harmonization corrects site effects in functional connectivity measurements from
       multi-site fMRI data", Human Brain Mapping 39, 2018, https://doi.org/10.1002/hbm.24241

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.preprocessing.harmonisation import SiteHarmonizer
    >>> rng = np.random.default_rng(0)
    >>> site = np.repeat(["NYU", "UM"], 50)
    >>> X = rng.standard_normal((100, 20)) + np.where(site == "UM", 3.0, 0.0)[:, None]
    >>> harmonized = SiteHarmonizer().fit_transform(X, sites=site)
    >>> gap = harmonized[site == "UM"].mean(axis=0) - harmonized[site == "NYU"].mean(axis=0)
    >>> bool(np.abs(gap).mean() < 0.1)
    True

    In folds, every run's site is routed to both methods:

    >>> from sklearn import config_context
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.pipeline import make_pipeline
    >>> y = rng.integers(0, 2, 100)
    >>> decoder = make_pipeline(SiteHarmonizer(), LogisticRegression())
    >>> with config_context(enable_metadata_routing=True):
    ...     scores = cross_val_score(decoder, X, y, cv=4, params={"sites": site})
    >>> len(scores)
    4
    """

    # scikit-learn's way to ask for metadata by default: a YAML pipeline has no room for set_fit_request
    __metadata_request__fit: ClassVar = {"sites": True, "covariates": True}
    __metadata_request__transform: ClassVar = {"sites": True, "covariates": True}

    def __init__(self, *, scale: bool = True, shrink: bool = True, protect_label: bool = False, unseen: str = "raise"):
        self.scale = scale
        self.shrink = shrink
        self.protect_label = protect_label
        self.unseen = unseen

    def check_options(self) -> None:
        """Refuse an unknown option with a UsageError."""
        if self.unseen not in _UNSEEN:
            raise UsageError(f"unseen must be one of {', '.join(map(repr, _UNSEEN))}, got {self.unseen!r}")

    def fit(self, X: Any, y: Any = None, *, sites: Any = None, covariates: Any = None) -> Self:
        """Learn what distinguishes the sites.

        Parameters
        ----------
        X : array of shape (n_runs, n_features)
            Features of the training runs; arrays of more axes are taken as features too, each number one.
        y : array of shape (n_runs,), optional
            Labels (text or integers) or targets, used with ``protect_label=True`` only.
        sites : array-like of shape (n_runs,), optional
            Where each run was recorded.
        covariates : array or data frame of shape (n_runs, n_covariates), optional
            What else changes the features and shall stay (age, say): numbers, or text for kinds.

        Returns
        -------
        SiteHarmonizer
            Itself.

        Raises
        ------
        InputError
            If a site has one run only, or a covariate cannot be told from the sites.
        UsageError
            If there is not one site or row of covariates a run, or `protect_label` is asked for without y.
        """
        self.check_options()
        X = check_signals(X, estimator=self, ensure_3d=False)
        self._columns = None if covariates is None else _learn_columns(covariates)
        if sites is None:
            warnings.warn(
                "SiteHarmonizer was told no sites and changes nothing; pass sites=, through pipelines by "
                "scikit-learn's metadata routing",
                stacklevel=2,
            )
            self.sites_: list[str] = []
            return self
        names, number = np.unique(_names(sites, len(X)), return_inverse=True)
        self.sites_ = names.tolist()
        counts = np.bincount(number)
        if alone := [name for name, n in zip(self.sites_, counts, strict=True) if n < 2]:
            raise InputError(
                f"expected two runs or more of every site, got one of {listed(alone)}; leave them out, or join them "
                "with a site of the same scanner"
            )
        self._learn(X.reshape(len(X), -1).astype(np.float64), y, number, counts, covariates)
        return self

    def fit_transform(self, X: Any, y: Any = None, *, sites: Any = None, covariates: Any = None) -> np.ndarray:
        """Fit, then harmonise the same runs, as `transform` does.

        Parameters
        ----------
        X : array of shape (n_runs, n_features)
            Features of the training runs.
        y : array of shape (n_runs,), optional
            Labels, used with ``protect_label=True`` only, and in `fit` only.
        sites : array-like of shape (n_runs,), optional
            Where each run was recorded.
        covariates : array or data frame of shape (n_runs, n_covariates), optional
            What else changes the features and shall stay.

        Returns
        -------
        array of the shape of X
            Harmonised features.
        """
        return self.fit(X, y, sites=sites, covariates=covariates).transform(X, sites=sites, covariates=covariates)

    def transform(self, X: Any, sites: Any = None, covariates: Any = None) -> np.ndarray:
        """Harmonise runs; no label is used.

        Parameters
        ----------
        X : array of shape (n_runs, n_features)
            Features.
        sites : array-like of shape (n_runs,), optional
            Where each run was recorded; None is a site that was not in training.
        covariates : array or data frame of shape (n_runs, n_covariates), optional
            The columns that `fit` was given.

        Returns
        -------
        array of the shape of X
            Harmonised features; float32 stays float32.

        Raises
        ------
        InputError
            If a site was not in training and `unseen` is "raise"; with "batch", if there is one run of it only.
        UsageError
            If covariates are not those that `fit` was given.
        """
        check_is_fitted(self)
        X = check_signals(X, estimator=self, reset=False, ensure_3d=False)
        if not self.sites_:
            return X.copy()
        names = np.full(len(X), "") if sites is None else _names(sites, len(X))
        new = sorted(set(names.tolist()) - set(self.sites_))
        if new and self.unseen == "raise":
            what = "was told no sites" if sites is None else f"does not know the sites {listed(new)}"
            raise InputError(
                f"SiteHarmonizer {what}; it learned {listed(self.sites_)}. Pass sites= (through pipelines by metadata "
                "routing), or choose unseen='keep' or unseen='batch'"
            )
        given = self._covariates(covariates, len(X))
        flat = X.reshape(len(X), -1).astype(np.float64)
        expected = self.grand_mean_ + given @ self.coef_
        relative = (flat - expected) / self.pooled_sd_
        for name in np.unique(names):
            its = names == name
            if name in self.sites_:
                shift, spread = (learned[self.sites_.index(name)] for learned in (self.shift_, self.spread_))
            elif self.unseen == "keep":
                continue
            else:
                shift, spread = self._estimate_unseen(relative[its], name)
            relative[its] = (relative[its] - shift) / spread
        moved = np.where(self._moves, relative * self.pooled_sd_ + expected, flat)
        return moved.reshape(X.shape).astype(X.dtype)

    def _learn(self, Y: np.ndarray, y: Any, number: np.ndarray, counts: np.ndarray, covariates: Any) -> None:
        sites = np.eye(len(counts))[number]
        known = self._covariates(covariates, len(Y))
        label = _label_columns(y, len(Y)) if self.protect_label else np.empty((len(Y), 0))
        design = np.hstack([sites, known, label])
        if np.linalg.matrix_rank(design) < design.shape[1]:
            raise InputError(
                "covariates (or labels) cannot be told from the sites or from one another: a site's runs all have one "
                "value that no other has, say; drop them or join sites"
            )
        weights = np.linalg.lstsq(design, Y, rcond=None)[0]
        self.grand_mean_ = counts @ weights[: len(counts)] / len(Y)
        self.coef_ = weights[len(counts) : len(counts) + known.shape[1]]
        residuals = Y - design @ weights
        sd = np.sqrt(np.mean(residuals**2, axis=0))
        self._moves = sd > 1e-10 * np.abs(Y).max(axis=0)  # features that are constant within sites stay as they are
        self.pooled_sd_ = np.where(self._moves, sd, 1.0)
        effect_of_label = label @ weights[len(counts) + known.shape[1] :]
        relative = (Y - self.grand_mean_ - known @ self.coef_ - effect_of_label) / self.pooled_sd_
        both = [self._estimate(relative[number == i]) for i in range(len(counts))]
        self.shift_ = np.stack([shift for shift, _ in both])
        self.spread_ = np.stack([spread for _, spread in both])

    def _estimate(self, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shift, spread = np.zeros(Z.shape[1]), np.ones(Z.shape[1])
        if not self._moves.any():
            return shift, spread
        mean, variance = site_effects(Z[:, self._moves], shrink=self.shrink, scale=self.scale)
        shift[self._moves], spread[self._moves] = mean, np.sqrt(variance)
        return shift, spread

    def _estimate_unseen(self, Z: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        if len(Z) < 2:
            raise InputError(
                f"expected two runs or more of site {str(name)!r}, which was not in training, to adjust it by their "
                "mean and spread, got one; transform a site's runs together, or choose unseen='keep'"
            )
        return self._estimate(Z)

    def _covariates(self, covariates: Any, n_runs: int) -> np.ndarray:
        """Columns of numbers, as they were learned."""
        if (covariates is None) != (self._columns is None):
            told = "none" if covariates is None else "some"
            raise UsageError(
                f"SiteHarmonizer was fitted {'without' if told == 'some' else 'with'} covariates, got {told}"
            )
        if covariates is None or self._columns is None:
            return np.empty((n_runs, 0))
        table = _as_table(covariates)
        if list(table.columns) != [name for name, _ in self._columns] or len(table) != n_runs:
            raise UsageError(
                f"expected covariates {listed(str(name) for name, _ in self._columns)} of {n_runs} runs, got "
                f"{listed(map(str, table.columns))} of {len(table)}"
            )
        return np.hstack([_encoded(table[name], kinds) for name, kinds in self._columns])


def site_effects(Z: np.ndarray, *, shrink: bool = True, scale: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each feature at one site, drawn towards the site's other features.

    Parameters
    ----------
    Z : array of shape (n_runs, n_features)
        Standardised features of the site's runs, two or more, none constant.
    shrink : bool
        Whether to draw them; with one feature there is nothing to draw them to.
    scale : bool
        Whether the site's variance is its own; else it is one.

    Returns
    -------
    mean, variance : arrays of shape (n_features,)
        Means of the conditional posteriors: a normal prior of the means, an inverse gamma prior of the variances, both
        fitted to the features by moments.
    """
    n = len(Z)
    mean = Z.mean(axis=0)
    variance = np.maximum(Z.var(axis=0, ddof=1), np.finfo(float).tiny) if scale else np.ones(Z.shape[1])
    if not shrink or Z.shape[1] < 2:
        return mean, variance
    center, width = mean.mean(), mean.var(ddof=1)
    if not scale:
        return (n * width * mean + center) / (n * width + 1), variance
    m, v = variance.mean(), variance.var(ddof=1)
    if width == 0 or v == 0:
        return mean, variance
    shape, rate = 2 + m**2 / v, m + m**3 / v
    shift, spread = mean, variance
    for _ in range(_MAX_ITER):
        new_shift = (n * width * mean + spread * center) / (n * width + spread)
        squares = (n - 1) * variance + n * (mean - new_shift) ** 2
        new_spread = (rate + squares / 2) / (n / 2 + shape - 1)
        step = max(np.abs(new_shift - shift).max(), np.abs(new_spread - spread).max())
        shift, spread = new_shift, new_spread
        if step < _TOL:
            break
    return shift, spread


def _names(sites: Any, n_runs: int) -> np.ndarray:
    names = np.asarray(sites, dtype=object)  # an array of text would turn what is missing into a name
    if names.shape != (n_runs,):
        raise UsageError(f"expected sites to hold one name a run ({n_runs}), got shape {names.shape}")
    if lacking := [place for place, name in enumerate(names.tolist()) if name is None or name != name]:
        raise InputError(
            f"expected the site of every run, {len(lacking)} have none (None or NaN; the first is run {lacking[0]}, "
            "counted from 0); fill them in, or leave those runs out"
        )
    return names.astype(str)


def _as_table(covariates: Any) -> Any:
    import pandas as pd

    table = covariates if isinstance(covariates, pd.DataFrame) else pd.DataFrame(np.asarray(covariates))
    if table.isna().to_numpy().any():
        lacking = [str(name) for name in table.columns if table[name].isna().any()]
        raise InputError(f"expected covariates without gaps, {listed(lacking)} have some; fill or drop them")
    return table


def _learn_columns(covariates: Any) -> list[tuple[Any, list[str] | None]]:
    """Name of each column, and its kinds where it is text."""
    table = _as_table(covariates)
    columns: list[tuple[Any, list[str] | None]] = []
    for name in table.columns:
        is_number = table[name].dtype.kind in "fiub"
        columns.append((name, None if is_number else sorted(set(table[name].astype(str)))))
    return columns


def _encoded(column: Any, kinds: list[str] | None) -> np.ndarray:
    if kinds is None:
        return np.asarray(column, dtype=np.float64)[:, None]
    text = column.astype(str).to_numpy()
    if new := sorted(set(text.tolist()) - set(kinds)):
        raise InputError(f"covariate {column.name} has values that were not in training: {listed(new)}")
    return (text[:, None] == np.array(kinds[1:], dtype=object)).astype(np.float64).reshape(len(text), len(kinds) - 1)


def _label_columns(y: Any, n_runs: int) -> np.ndarray:
    """Centred columns of labels or targets, so that the grand mean stays what it is."""
    if y is None:
        raise UsageError("protect_label=True needs the labels y in fit")
    y = np.asarray(y)
    if y.dtype.kind == "f" and not np.array_equal(y, np.round(y)):
        columns = y[:, None]
    else:
        columns = (y[:, None] == np.unique(y)[1:]).astype(np.float64)
    if columns.shape[0] != n_runs:
        raise UsageError(f"expected one label a run ({n_runs}), got {columns.shape[0]}")
    return columns - columns.mean(axis=0)
