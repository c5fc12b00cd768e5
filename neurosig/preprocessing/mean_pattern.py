"""The mean pattern of trials: what each region or voxel did on average."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError
from neurosig.core.registry import register
from neurosig.core.runs import checked_runs
from neurosig.preprocessing.connectivity import given_names
from neurosig.preprocessing.connectivity_matrices import check_choice, region_names

__all__ = ["MeanPattern"]


@register(kind="preprocessor")
class MeanPattern(TransformerMixin, BaseEstimator):
    """Mean of each region (or voxel, or channel) over a trial: the pattern that linear decoders of blocks read.

    Parameters
    ----------
    missing : {"raise", "mean", "nan"}
        What becomes of trials that lack a region (NaN throughout): they are refused, the region's mean over the
        training trials stands in, or it is NaN, for an imputer that follows.

    Attributes
    ----------
    region_means_ : array of shape (n_regions,)
        Mean of each region over the training trials that have it.
    region_names_ : list of str
        Names of the regions, read off a `SignalDataset` or a data frame, else "region_1" and so on.
    n_features_in_ : int
        Number of regions.

    See Also
    --------
    FunctionalConnectivity : For runs of many volumes, where regions go together.

    Notes
    -----
    Blocks of one kind of stimulus raise some voxels and not others, and this pattern tells the kinds apart [1]_. Trials
    should begin some 4 s after their stimulus, when the haemodynamic response has risen. A trial's mean carries what is
    left of slow drifts: take those out where series are made (``high_pass`` or ``detrend`` of `neurosig.load_fmri`).

    References
    ----------
    .. [1] Haxby et al., "Distributed and overlapping representations of faces and objects in ventral temporal cortex",
       Science 293, 2001, https://doi.org/10.1126/science.1063736

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.preprocessing import MeanPattern
    >>> trials = np.arange(12.0).reshape(2, 2, 3)  # two trials of two regions and three volumes
    >>> MeanPattern().fit_transform(trials).tolist()
    [[1.0, 4.0], [7.0, 10.0]]
    """

    _channel_order_matters = True  # of the features

    def __init__(self, *, missing: str = "raise"):
        self.missing = missing

    def check_options(self) -> None:
        """Refuse an unknown option with a UsageError."""
        check_choice("missing", self.missing, ("raise", "mean", "nan"))

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the mean of each region.

        Parameters
        ----------
        X : array of shape (n_trials, n_regions, n_times), sequence of arrays (n_regions, n_times), or SignalDataset
            Training trials.
        y : None
            Ignored.

        Returns
        -------
        MeanPattern
            Itself.

        Raises
        ------
        InputError
            If trials are not finite, or lack regions (see `missing`); with "mean", if no training trial has a region.
        """
        self.fit_transform(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit, then give the patterns of the same trials.

        Parameters
        ----------
        X : array of shape (n_trials, n_regions, n_times), sequence of arrays (n_regions, n_times), or SignalDataset
            Training trials.
        y : None
            Ignored.

        Returns
        -------
        array of shape (n_trials, n_regions)
            Means, float64.
        """
        self.check_options()
        patterns = self._patterns(X, reset=True)
        self.region_names_ = region_names(X, None, self)
        known = ~np.isnan(patterns)
        count = known.sum(axis=0)
        self.region_means_ = np.where(known, patterns, 0.0).sum(axis=0) / np.where(count, count, np.nan)
        if self.missing == "mean" and not count.all():
            never = [name for name, n in zip(self.region_names_, count, strict=True) if not n]
            raise InputError(f"no training trial has the regions {listed(never)}; drop them, or take missing='nan'")
        return self._filled(patterns)

    def transform(self, X: Any) -> np.ndarray:
        """Give the patterns of trials.

        Parameters
        ----------
        X : array of shape (n_trials, n_regions, n_times), sequence of arrays (n_regions, n_times), or SignalDataset
            Trials of the regions that were fitted on.

        Returns
        -------
        array of shape (n_trials, n_regions)
            Means, float64.

        Raises
        ------
        InputError
            As `fit`.
        ChannelError
            If there is another number of regions.
        """
        check_is_fitted(self)
        return self._filled(self._patterns(X, reset=False))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the features, which are the regions.

        Parameters
        ----------
        input_features : array-like of str, optional
            Names instead of those learned in `fit`.

        Returns
        -------
        object array of shape (n_regions,)
            Names.
        """
        check_is_fitted(self)
        names = self.region_names_ if input_features is None else given_names(self, input_features)
        return np.array(names, dtype=object)

    def _patterns(self, X: Any, *, reset: bool) -> np.ndarray:
        trials = checked_runs(X, estimator=self, reset=reset, allow_missing=self.missing != "raise")
        return np.stack([np.asarray(trial, dtype=np.float64).mean(axis=1) for trial in trials])

    def _filled(self, patterns: np.ndarray) -> np.ndarray:
        if self.missing != "mean":
            return patterns
        return np.where(np.isnan(patterns), self.region_means_, patterns)
