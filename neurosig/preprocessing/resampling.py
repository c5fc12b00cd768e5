"""Another sampling rate, by the Fourier transform of each window."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from neurosig.core.errors import UsageError
from neurosig.core.joined_epochs import epochs_in
from neurosig.core.registry import register
from neurosig.core.validation import check_signals

__all__ = ["FourierResample", "fourier_resample"]


def fourier_resample(X: np.ndarray, sfreq: float, target: float) -> np.ndarray:
    """Signals at another rate.

    Parameters
    ----------
    X : array of shape (..., n_times)
        Signals.
    sfreq, target : float
        Their rate and the wanted one, in Hz.

    Returns
    -------
    array of shape (..., round(n_times * target / sfreq))
        At least one sample. Frequencies above half the lower rate are gone; windows are taken as periodic, so that a
        step between their end and their beginning rings at both.
    """
    import scipy.signal

    n_times = X.shape[-1]
    wanted = max(1, round(n_times * target / sfreq))
    return X.copy() if wanted == n_times else scipy.signal.resample(X, wanted, axis=-1)


@register
class FourierResample(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Bring windows to another sampling rate by their Fourier transform.

    Parameters
    ----------
    target : float
        Wanted rate, in Hz.
    sfreq : float or None
        Rate of the signals, in Hz; None takes it from `mne.Epochs`.

    Attributes
    ----------
    sfreq_ : float
        Rate of the signals that come.
    n_features_in_ : int
        Number of channels.

    See Also
    --------
    QuantileScale : What the TFM-Tokenizer and BIOT do next.

    Notes
    -----
    This is how the TFM-Tokenizer [1]_ and BIOT bring windows to 200 Hz. Continuous recordings are better resampled
    before windows are cut from them (``load_eeg(resample=...)``), where nothing rings at the edges of windows.

    References
    ----------
    .. [1] "Tokenizing Single-Channel EEG with Time-Frequency Motif Learning", https://arxiv.org/abs/2502.16060

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.preprocessing import FourierResample
    >>> X = np.sin(2 * np.pi * 5 * np.arange(256) / 256)[None, None]
    >>> resampled = FourierResample(200.0, sfreq=256.0).fit_transform(X)
    >>> bool(np.allclose(resampled, np.sin(2 * np.pi * 5 * np.arange(200) / 200)))
    True
    """

    keeps_signal_facts = ("channels", "unit")

    def __init__(self, target: float = 200.0, sfreq: float | None = None):
        self.target = target
        self.sfreq = sfreq

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find out the rate of the signals.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Signals.
        y : None
            Ignored.

        Returns
        -------
        FourierResample
            Itself.

        Raises
        ------
        UsageError
            If a rate is not above zero, or the rate of the signals is not known.
        """
        _check_rate("target", self.target)
        epochs = epochs_in(X)
        known = None if epochs is None else float(epochs.info["sfreq"])
        if self.sfreq is None and known is None:
            raise UsageError("FourierResample needs the rate of the signals: pass sfreq=, or mne.Epochs")
        if self.sfreq is not None:
            _check_rate("sfreq", self.sfreq)
        check_signals(X, sfreq=self.sfreq, estimator=self)
        self.sfreq_ = float(self.sfreq if self.sfreq is not None else known)  # type: ignore[arg-type]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Resample.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Signals at the rate that it was fitted on.

        Returns
        -------
        array of shape (n_trials, n_channels, n_new_times)
            Signals at the wanted rate; float32 stays float32.
        """
        check_is_fitted(self)
        X = check_signals(X, sfreq=self.sfreq_, estimator=self, reset=False, ensure_3d=False)
        return fourier_resample(X, self.sfreq_, self.target) if X.ndim == 3 else X.copy()

    @staticmethod
    def _get_test_params() -> list[dict[str, Any]]:
        return [{"target": 100.0, "sfreq": 128.0}, {"target": 128.0, "sfreq": 128.0}]


def _check_rate(name: str, value: Any) -> None:
    if isinstance(value, bool | str) or not (math.isfinite(value) and value > 0):
        raise UsageError(f"{name} must be a rate above 0 Hz, got {value!r}")
