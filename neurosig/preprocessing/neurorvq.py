"""The signals that NeuroRVQ was trained on: notches, band-pass, clipping, 200 Hz, whole patches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import signal

from neurosig.core.errors import InputError, UsageError

__all__ = ["condition", "filter_signals", "whole_patches"]


def filter_signals(
    X: np.ndarray,
    sfreq: float,
    *,
    notches: Sequence[float] = (50.0, 60.0, 100.0),
    band: tuple[float, float] | None = None,
) -> np.ndarray:
    """Notch filters and a band-pass, each run forwards and backwards.

    Parameters
    ----------
    X : array of shape (..., n_times)
        Signals.
    sfreq : float
        Sampling rate in Hz.
    notches : sequence of float
        Frequencies in Hz that are taken out, each over 2 Hz; those from half the rate on are left out.
    band : tuple of float, optional
        Edges in Hz of the band-pass, a Butterworth filter of order 3. None is 0.5 Hz to half a hertz below 45 Hz, or
        below half the rate where that is less.

    Returns
    -------
    float64 array of the same shape

    Raises
    ------
    InputError
        If the signals are too short for the filters, or not finite.
    UsageError
        If the band is not within 0 and half the rate.
    """
    X = _checked(X)
    low, high = (0.5, min(45.0, sfreq / 2) - 0.5) if band is None else band
    if not 0 < low < high < sfreq / 2:
        raise UsageError(f"band must lie between 0 and {sfreq / 2:g} Hz, got {low:g} to {high:g}")
    filters = [signal.iirnotch(f, f / 2, sfreq) for f in notches if f < sfreq / 2]
    filters.append(signal.butter(3, (low, high), "bandpass", fs=sfreq))
    shortest = 3 * max(len(a) for _, a in filters) + 1
    if X.shape[-1] < shortest:
        raise InputError(f"the filters need at least {shortest} samples, got {X.shape[-1]}")
    for b, a in filters:
        X = signal.filtfilt(b, a, X, axis=-1)
    return X


def condition(
    X: np.ndarray,
    sfreq: float,
    *,
    clip: float | None = 500.0,
    to_sfreq: float = 200.0,
    notches: Sequence[float] = (50.0, 60.0, 100.0),
    band: tuple[float, float] | None = None,
    dtype: str = "float32",
) -> np.ndarray:
    """Filter, clip and resample, as the published example does.

    Parameters
    ----------
    X : array of shape (..., n_times)
        EEG in microvolts.
    sfreq : float
        Its sampling rate in Hz.
    clip : float or None
        Values beyond plus or minus this are set to it, in microvolts.
    to_sfreq : float
        Sampling rate of the result.
    notches, band
        See `filter_signals`.
    dtype : {"float32", "float64", "float16"}
        Of the result. The published example stores "float16", which costs all but three digits.

    Returns
    -------
    array of shape (..., round(n_times * to_sfreq / sfreq))

    Notes
    -----
    Resampling goes by way of the Fourier transform of the whole recording, which is taken as periodic: cut recordings
    into windows afterwards.
    """
    if dtype not in ("float16", "float32", "float64"):
        raise UsageError(f"dtype must be 'float16', 'float32' or 'float64', got {dtype!r}")
    X = filter_signals(X, sfreq, notches=notches, band=band)
    if clip is not None:
        if not clip > 0:
            raise UsageError(f"clip must be a positive number or None, got {clip!r}")
        X = np.clip(X, -clip, clip)
    if to_sfreq != sfreq:
        X = signal.resample(X, round(X.shape[-1] * to_sfreq / sfreq), axis=-1)
    return X.astype(dtype)


def whole_patches(X: np.ndarray, patch_size: int = 200, *, policy: str = "trim") -> np.ndarray:
    """Make the last axis a multiple of a patch.

    Parameters
    ----------
    X : array of shape (..., n_times)
        Signals.
    patch_size : int
        Samples of a patch.
    policy : {"trim", "pad", "raise"}
        Leave samples at the start out, so that the newest patch stays whole; put zeros before the start; or refuse.

    Returns
    -------
    array of shape (..., n)

    Raises
    ------
    InputError
        If there is less than a patch and `policy` is not "pad", or samples are left over and it is "raise".
    """
    if policy not in ("trim", "pad", "raise"):
        raise UsageError(f"policy must be 'trim', 'pad' or 'raise', got {policy!r}")
    X = np.asarray(X)
    n_times = X.shape[-1]
    rest = n_times % patch_size
    if n_times == 0 or (n_times < patch_size and policy != "pad") or (rest and policy == "raise"):
        raise InputError(f"expected whole patches of {patch_size} samples, got {n_times}")
    if not rest:
        return X
    if policy == "trim":
        return X[..., rest:]
    return np.pad(X, [(0, 0)] * (X.ndim - 1) + [(patch_size - rest, 0)])


def _checked(X: np.ndarray) -> np.ndarray:
    X = np.asarray(X)
    if X.dtype.kind not in "fiu":
        raise InputError(f"expected signals as numbers, got {X.dtype}")
    if not np.isfinite(X).all():
        raise InputError("the signals hold NaN or infinity; interpolate or leave out what is missing")
    return X.astype(np.float64)
