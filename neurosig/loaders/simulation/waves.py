"""Random and fixed waveforms: coloured noise, narrow-band rhythms, muscle bursts, blinks."""

from __future__ import annotations

import numpy as np

__all__ = ["band_noise", "blink", "coloured_noise", "rhythm", "smooth_step"]


def coloured_noise(
    rng: np.random.Generator, n_signals: int, n_times: int, sfreq: float, exponent: float, knee: float = 0.5
) -> np.ndarray:
    """Gaussian noise whose power falls as ``1 / f ** exponent``.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    n_signals, n_times : int
        Shape of the result.
    sfreq : float
        Sampling rate in Hz.
    exponent : float
        Exponent of the power spectrum.
    knee : float
        Frequency in Hz below which the spectrum is flat, as behind an amplifier's high-pass.

    Returns
    -------
    array of shape (n_signals, n_times)
        Noise of expected variance 1.
    """
    return _shaped(rng, n_signals, n_times, sfreq, lambda f: np.maximum(f, knee) ** (-exponent / 2))


def band_noise(
    rng: np.random.Generator, n_signals: int, n_times: int, sfreq: float, low: float, high: float
) -> np.ndarray:
    """Gaussian noise of variance 1 between two frequencies in Hz, with soft edges: (n_signals, n_times)."""
    edge = 0.1 * (high - low)
    return _shaped(
        rng, n_signals, n_times, sfreq, lambda f: smooth_step(f, low, edge / 4) * smooth_step(-f, -high, edge / 4)
    )


def rhythm(
    rng: np.random.Generator, n_signals: int, n_times: int, sfreq: float, peak: float, width: float
) -> np.ndarray:
    """Analytic signal of a waxing and waning rhythm.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    n_signals, n_times : int
        Shape of the result.
    sfreq, peak : float
        Sampling rate and centre frequency in Hz.
    width : float
        Standard deviation of the Gaussian spectral peak (of amplitude) in Hz.

    Returns
    -------
    complex array of shape (n_signals, n_times)
        Its real part has expected variance 1.
    """
    return _shaped(rng, n_signals, n_times, sfreq, lambda f: np.exp(-0.5 * ((f - peak) / width) ** 2), analytic=True)


def blink(n_times: int, sfreq: float, duration: float) -> np.ndarray:
    """One eye blink of peak 1: the lid falls in a third of the time and opens in the rest, (n_times,)."""
    time = np.arange(n_times) / sfreq / duration
    peak = 0.35
    closing = np.sin(0.5 * np.pi * np.clip(time / peak, 0, 1)) ** 2
    opening = np.cos(0.5 * np.pi * np.clip((time - peak) / (1 - peak), 0, 1)) ** 2
    return closing * opening


def smooth_step(time: np.ndarray, onset: float, scale: float) -> np.ndarray:
    """Logistic step from 0 to 1 around `onset`, same shape as `time`."""
    return 1.0 / (1.0 + np.exp(-np.clip((time - onset) / scale, -60, 60)))


def _shaped(rng, n_signals, n_times, sfreq, amplitude, analytic=False):
    """Filter white Gaussian noise by an amplitude spectrum, in the frequency domain."""
    from scipy.fft import ifft, irfft, next_fast_len, rfftfreq

    # noise made by an inverse Fourier transform is periodic: make it longer and cut, so that the ends do not meet
    length = next_fast_len(n_times + int(2 * sfreq), real=True)
    frequencies = rfftfreq(length, 1 / sfreq)
    weights = np.zeros(len(frequencies))
    weights[1:-1] = amplitude(frequencies[1:-1])
    weights /= np.sqrt(np.sum(weights**2))
    draws = rng.standard_normal((n_signals, len(frequencies), 2)).view(complex)[..., 0] * weights
    if analytic:
        return ifft(draws, n=length, axis=-1)[:, :n_times] * length
    return irfft(draws, n=length, axis=-1)[:, :n_times] * (length / 2)
