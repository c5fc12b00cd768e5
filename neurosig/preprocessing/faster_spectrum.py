"""Power of a series in single frequency bins, by a few dot products in place of a spectrum."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

__all__ = ["LINE_FREQS", "bin_at", "bin_powers", "line_kernels", "line_noise_problem", "power_kernels", "welch_segment"]

LINE_FREQS = (50.0, 60.0)


def welch_segment(n_times: int, sfreq: float) -> int:
    """Samples in a segment of the spectrum: the power of two above ten seconds, or all there are.

    Parameters
    ----------
    n_times : int
        Samples in the series.
    sfreq : float
        Sampling rate in Hz.

    Returns
    -------
    int
        Length of a segment in samples.
    """
    return min(n_times, 2 ** int(np.log2(10 * sfreq) + 1))


def line_noise_problem(sfreq: float | None) -> str | None:
    """Why the power at 50 and 60 Hz cannot be had, or None."""
    if sfreq is None:
        return "the sampling rate is not known; pass sfreq"
    if sfreq < 2 * max(LINE_FREQS):
        return f"{max(LINE_FREQS):g} Hz needs a sampling rate of at least {2 * max(LINE_FREQS):g} Hz, got {sfreq:g} Hz"
    return None


def bin_at(freq: float, segment: int, sfreq: float) -> int:
    """First bin of a segment's spectrum at or above a frequency; the last one where there is none.

    Parameters
    ----------
    freq : float
        Frequency in Hz.
    segment : int
        Samples in a segment.
    sfreq : float
        Sampling rate in Hz.

    Returns
    -------
    int
        The bin.
    """
    freqs = np.fft.rfftfreq(segment, 1 / sfreq)
    return min(int(np.searchsorted(freqs, freq)), len(freqs) - 1)


def power_kernels(segment: int, sfreq: float, bins: Collection[int]) -> np.ndarray:
    """Cosines and sines whose squared products with a segment add up to its power density in single bins.

    A Hann window, the removal of the segment's mean and the scale of a one-sided density are folded in, so that a few
    bins of Welch's spectrum cost one small matrix product.

    Parameters
    ----------
    segment : int
        Samples in a segment.
    sfreq : float
        Sampling rate in Hz.
    bins : collection of int
        Bins of the segment's spectrum.

    Returns
    -------
    array of shape (segment, 2 * n_bins)
        The kernels: cosine and sine of each bin.
    """
    time = np.arange(segment)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * time / segment) if segment > 1 else np.ones(1)
    kernels = np.empty((segment, 2 * len(bins)))
    for i, k in enumerate(bins):
        sides = 1 if k == 0 or 2 * k == segment else 2
        scale = np.sqrt(sides / (sfreq * (window**2).sum()))
        phase = 2 * np.pi * k * time / segment
        kernels[:, 2 * i] = scale * window * np.cos(phase)
        kernels[:, 2 * i + 1] = scale * window * np.sin(phase)
    return kernels - kernels.mean(axis=0)


def bin_powers(x: np.ndarray, kernels: np.ndarray, step: int | None = None) -> np.ndarray:
    """Welch's power density in the bins of `power_kernels`, averaged over segments.

    Parameters
    ----------
    x : array of shape (n_series, n_times)
        Series.
    kernels : array of shape (segment, 2 * n_bins)
        From `power_kernels`.
    step : int, optional
        Samples from one segment to the next; by default they follow each other without overlap.

    Returns
    -------
    array of shape (n_series, n_bins)
        Power densities.
    """
    segment = len(kernels)
    if step is None:
        pieces = x[:, : x.shape[1] // segment * segment].reshape(len(x), -1, segment)
    else:
        windows = np.lib.stride_tricks.sliding_window_view(x, segment, axis=1)
        pieces = np.ascontiguousarray(windows[:, ::step])
    parts = (pieces @ kernels).reshape(*pieces.shape[:2], -1, 2)
    return (parts**2).sum(axis=-1).mean(axis=1)


def line_kernels(n_times: int, sfreq: float) -> np.ndarray:
    """Kernels of the bins at 50 and 60 Hz, for series of `n_times` samples."""
    segment = welch_segment(n_times, sfreq)
    return power_kernels(segment, sfreq, [bin_at(freq, segment, sfreq) for freq in LINE_FREQS])
