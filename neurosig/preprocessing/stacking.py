"""Signals stacked with delayed copies of themselves, for what needs the signals rather than their covariances."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from neurosig.core.registry import register
from neurosig.core.validation import check_signals
from neurosig.preprocessing.lagged_products import stacked_length

__all__ = ["AugmentedDataset"]


@register
class AugmentedDataset(TransformerMixin, BaseEstimator):
    """Stack delayed copies of signals as further channels (a delay embedding).

    Parameters
    ----------
    order : int
        Number of copies; 1 gives the signals.
    lag : int
        Samples from one copy to the next: of a time in seconds, ``round(time * sfreq)``.
    trim : {"moabb", "edge"} or int
        How many samples are kept, as in `AugmentedCovariances`: those that MOABB's class of this name keeps, all there
        are, or a number.

    Attributes
    ----------
    n_features_in_ : int
        Number of channels.

    See Also
    --------
    AugmentedCovariances : The covariances of such signals, without stacking them: faster, and of less memory.

    Notes
    -----
    Copy p, of channels ``p * n_channels`` and following, is the signal `p` lags later. In place of MOABB's class of the
    same name [1]_ it gives the same numbers under the same parameters; it can be fitted without labels, and refuses
    trials that are too short.

    References
    ----------
    .. [1] Carrara and Papadopoulo, "Classification of BCI-EEG based on augmented covariance matrix", 2023,
       https://arxiv.org/abs/2302.04508

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.preprocessing.stacking import AugmentedDataset
    >>> X = np.arange(6.0).reshape(1, 1, 6)
    >>> AugmentedDataset(order=2, lag=1, trim="edge").fit_transform(X)
    array([[[0., 1., 2., 3., 4.],
            [1., 2., 3., 4., 5.]]])
    """

    _channel_order_matters = True

    def __init__(self, order: int = 1, lag: int = 1, trim: str | int = "moabb"):
        self.order = order
        self.lag = lag
        self.trim = trim

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the options against the signals; nothing is learned.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Signals.
        y : None
            Ignored.

        Returns
        -------
        AugmentedDataset
            Itself.

        Raises
        ------
        UsageError
            If an option is not what it must be.
        InputError
            If the trials are too short for `order` and `lag`.
        """
        X = check_signals(X, estimator=self)
        stacked_length(X.shape[2], self.order, self.lag, self.trim)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Stack.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Signals.

        Returns
        -------
        array of shape (n_trials, order * n_channels, n_kept)
            Signals with their copies; float32 stays float32.

        Raises
        ------
        InputError
            If the trials are too short for `order` and `lag`.
        """
        check_is_fitted(self)
        X = check_signals(X, estimator=self, reset=False)
        length = stacked_length(X.shape[2], self.order, self.lag, self.trim)
        return np.concatenate([X[:, :, p * self.lag : p * self.lag + length] for p in range(self.order)], axis=1)

    @staticmethod
    def _get_test_params() -> list[dict[str, Any]]:
        return [{}]
