"""Scaling of signals: by statistics of the training data with clipping, or by a quantile of the amplitude."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from neurosig.core.errors import UsageError
from neurosig.core.registry import register
from neurosig.core.validation import check_signals

__all__ = ["ClipScale", "QuantileScale", "amplitude_quantile", "location_and_scale"]

_SCALES = ("robust", "std", "mad", None)
_MAD_TO_SD = 1.4826022185056018  # 1 / (third quartile of the standard normal distribution)


def location_and_scale(X: np.ndarray, scale: str, axis: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Location and spread of signals.

    Parameters
    ----------
    X : array
        Signals.
    scale : {"robust", "std", "mad"}
        Median and interquartile range; mean and standard deviation; or median and 1.4826 times the median absolute
        deviation, which is the standard deviation where the signals are normally distributed.
    axis : tuple of int
        Axes to summarise.

    Returns
    -------
    location, spread : array
        With `axis` kept at length one; a spread of zero (a flat channel) is given as one.
    """
    if scale == "std":
        location = X.mean(axis=axis, keepdims=True, dtype=np.float64)
        spread = X.std(axis=axis, keepdims=True, dtype=np.float64)
        # rounding leaves a flat channel with an offset a spread of about 1e-16 times the offset
        spread = np.where(spread <= 10 * np.finfo(X.dtype).eps * np.abs(location), 0.0, spread)
    elif scale == "mad":
        location = np.median(X, axis=axis, keepdims=True)
        spread = _MAD_TO_SD * np.median(np.abs(X - location), axis=axis, keepdims=True)
    else:
        low, location, high = np.quantile(X, [0.25, 0.5, 0.75], axis=axis, keepdims=True)
        spread = high - low
    return location, np.where(spread == 0, 1.0, spread)


def amplitude_quantile(X: np.ndarray, q: float, axis: tuple[int, ...]) -> np.ndarray:
    """Quantile of the absolute amplitude.

    Parameters
    ----------
    X : array
        Signals.
    q : float
        Between 0 and 1; linear interpolation between samples.
    axis : tuple of int
        Axes to summarise, kept at length one.

    Returns
    -------
    array
        The quantile, zero for signals that are zero.
    """
    return np.quantile(np.abs(X), q, axis=axis, keepdims=True)


class _SignalScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """What the two scalers share: statistics of the training signals, applied as ``(X - location_) / scale_``."""

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit, then transform the same signals.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Signals.
        y : None
            Ignored.

        Returns
        -------
        array of the shape of X
            Scaled signals.
        """
        return self.fit(X, y).transform(X)

    def _shape_statistics(self, values: np.ndarray, n_channels: int) -> np.ndarray:
        return np.broadcast_to(values.reshape(-1), (n_channels,)).astype(np.float64)


@register
class ClipScale(_SignalScaler):
    """Scale each channel by its spread in the training data and clip outliers.

    Parameters
    ----------
    scale : {"robust", "std", "mad"} or None
        Spread by which signals are divided after their location was removed: interquartile range about the median;
        standard deviation about the mean; 1.4826 times the median absolute deviation about the median. None neither
        centres nor scales, so that `clip` is in the signals' own unit.
    clip : float or None
        Values beyond plus or minus `clip`, in units of `scale`, are set to it. None does not clip.
    per : {"channel", "dataset"}
        Whether each channel has its own statistics, or all share one (which keeps the ratios between channels).

    Attributes
    ----------
    location_, scale_ : array of shape (n_channels,)
        What is removed and what is divided by; a flat channel is divided by one.
    n_features_in_ : int
        Number of channels.

    See Also
    --------
    QuantileScale : Scales by a quantile of the amplitude, for each trial on its own.

    Notes
    -----
    The default, interquartile range and 20, is that of Défossez et al. [1]_ for M/EEG. MEG-GPT [2]_ standardises and
    clips at 4 standard deviations: ``scale="std", clip=4``. NeuroRVQ's example data are clipped at 500 microvolts:
    ``scale=None, clip=500`` for signals in microvolts.

    Statistics are learned from the training signals only and applied to new ones unchanged.

    References
    ----------
    .. [1] Défossez et al., "Decoding speech perception from non-invasive brain recordings", Nature Machine
       Intelligence 5, 2023, https://doi.org/10.1038/s42256-023-00714-5
    .. [2] "MEG-GPT: A transformer-based foundation model for magnetoencephalography data", 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.preprocessing.scaling import ClipScale
    >>> X = np.random.default_rng(0).standard_normal((10, 3, 100)) * 1e-5
    >>> float(np.abs(ClipScale("std", clip=2).fit_transform(X)).max())
    2.0
    """

    def __init__(self, scale: str | None = "robust", clip: float | None = 20.0, per: str = "channel"):
        self.scale = scale
        self.clip = clip
        self.per = per

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn location and spread.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Training signals.
        y : None
            Ignored.

        Returns
        -------
        ClipScale
            Itself.
        """
        _check_option("scale", self.scale, _SCALES)
        _check_option("per", self.per, ("channel", "dataset"))
        if self.clip is not None and not self.clip > 0:
            raise UsageError(f"clip must be a positive number or None, got {self.clip!r}")
        X = check_signals(X, estimator=self)
        if self.scale is None:
            location, spread = np.zeros(1), np.ones(1)
        else:
            location, spread = location_and_scale(X, self.scale, axis=(0, 2) if self.per == "channel" else (0, 1, 2))
        self.location_ = self._shape_statistics(location, X.shape[1])
        self.scale_ = self._shape_statistics(spread, X.shape[1])
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Scale and clip.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Signals.

        Returns
        -------
        array of the shape of X
            Scaled signals; float32 stays float32.
        """
        check_is_fitted(self)
        X = check_signals(X, estimator=self, reset=False, ensure_3d=False)
        shape = (-1,) + (1,) * (X.ndim - 2)
        scaled = X - self.location_.astype(X.dtype).reshape(shape)
        scaled /= self.scale_.astype(X.dtype).reshape(shape)
        return scaled if self.clip is None else np.clip(scaled, -self.clip, self.clip, out=scaled)


@register
class QuantileScale(_SignalScaler):
    """Divide signals by a quantile of their absolute amplitude.

    Parameters
    ----------
    q : float
        The quantile, above 0 and at most 1.
    per : {"trial_channel", "trial", "channel", "dataset"}
        What is summarised by one number: each channel of each trial; all channels of each trial; each channel over all
        training trials; all training signals. The first two learn nothing from the training data.
    eps : float
        Added to the quantile. The default 0 divides signals that are zero throughout by one.

    Attributes
    ----------
    scale_ : array of shape (n_channels,), or None
        The learned divisor, None where each trial has its own.
    n_features_in_ : int
        Number of channels.

    See Also
    --------
    ClipScale : Scales by statistics of the training data and clips.

    Notes
    -----
    Dividing each channel of each window by the 0.95 quantile of its absolute amplitude is how BIOT [1]_ and the
    TFM tokenizer [2]_ take recordings of any unit: no mean is removed and nothing is clipped. Their code adds 1e-8 to
    the quantile; in volts that is a few parts in ten thousand, but in tesla it would erase the signals, so that here
    it has to be asked for with ``eps=1e-8``.

    References
    ----------
    .. [1] Yang et al., "BIOT: Biosignal transformer for cross-data learning in the wild", NeurIPS 2023.
    .. [2] "Tokenizing Single-Channel EEG with Time-Frequency Motif Learning", https://arxiv.org/abs/2502.16060

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.preprocessing.scaling import QuantileScale
    >>> X = np.array([[[1.0, -2.0, 3.0, -4.0]]])
    >>> QuantileScale(q=0.5).fit_transform(X)
    array([[[ 0.4, -0.8,  1.2, -1.6]]])
    """

    def __init__(self, q: float = 0.95, per: str = "trial_channel", eps: float = 0.0):
        self.q = q
        self.per = per
        self.eps = eps

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the quantile, where it is not each trial's own.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Training signals.
        y : None
            Ignored.

        Returns
        -------
        QuantileScale
            Itself.
        """
        _check_option("per", self.per, ("trial_channel", "trial", "channel", "dataset"))
        if not 0 < self.q <= 1:
            raise UsageError(f"q must lie above 0 and not above 1, got {self.q!r}")
        if not self.eps >= 0:
            raise UsageError(f"eps must not be negative, got {self.eps!r}")
        X = check_signals(X, estimator=self)
        self.scale_ = None
        if not self.per.startswith("trial"):
            quantile = amplitude_quantile(X, self.q, axis=(0, 2) if self.per == "channel" else (0, 1, 2))
            self.scale_ = self._shape_statistics(self._divisor(quantile), X.shape[1])
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Divide by the quantile.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Signals.

        Returns
        -------
        array of the shape of X
            Scaled signals; float32 stays float32.
        """
        check_is_fitted(self)
        X = check_signals(X, estimator=self, reset=False, ensure_3d=False)
        signals = X if X.ndim == 3 else X[..., np.newaxis]
        if self.scale_ is None:
            axis = (2,) if self.per == "trial_channel" else (1, 2)
            divisor = self._divisor(amplitude_quantile(signals, self.q, axis))
        else:
            divisor = self.scale_[:, np.newaxis]
        return (signals / divisor.astype(X.dtype)).reshape(X.shape)

    def _divisor(self, quantile: np.ndarray) -> np.ndarray:
        divisor = quantile + self.eps
        return np.where(divisor == 0, 1.0, divisor)


def _check_option(name: str, value: Any, options: tuple[Any, ...]) -> None:
    if value not in options:
        raise UsageError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}")
