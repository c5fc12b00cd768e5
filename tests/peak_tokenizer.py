"""A tokenizer whose tokens are known: token k is a piece of half a second whose strongest frequency is 2 k Hz."""

import numpy as np
import torch
from sklearn.base import BaseEstimator

from neurosig.tokenizers.motifs import Frames
from neurosig.tokenizers.quality import band_errors, usage_table

SFREQ, LENGTH, HOP = 200.0, 100, 50


class PeakTokenizer(BaseEstimator):
    token_axes = ("window", "channel", "frame")
    vocabulary_size_ = 51
    n_windows_ = 12
    spec_ = None
    frames_ = Frames(LENGTH, HOP, SFREQ)

    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def _run(self, X):
        for start in range(0, len(X), 7):
            yield torch.as_tensor(np.asarray(X[start : start + 7], dtype=np.float32)), None

    def spectra(self, X):
        frames = np.lib.stride_tricks.sliding_window_view(np.asarray(X), LENGTH, axis=-1)[:, :, ::HOP]
        return np.abs(np.fft.rfft(frames - frames.mean(axis=-1, keepdims=True)))

    def transform(self, X):
        return self.spectra(X).argmax(axis=-1)

    def codebook_usage(self, tokens):
        return usage_table([({"level": 0}, tokens)], self.vocabulary_size_)

    def reconstruction_report(self, X):
        spectra = self.spectra(X)
        return band_errors([(spectra, 0.5 * spectra)], np.fft.rfftfreq(LENGTH, 1 / SFREQ))


def rhythms(frequencies, n_times=400, seed=0):
    """Windows (n, n_channels, n_times) of sines of the given frequencies (n, n_channels) in a little noise."""
    rng = np.random.default_rng(seed)
    frequencies = np.asarray(frequencies, dtype=float)[..., np.newaxis]
    phase = rng.uniform(0, 2 * np.pi, frequencies.shape)
    signals = np.sin(2 * np.pi * frequencies * np.arange(n_times) / SFREQ + phase)
    return signals + 0.05 * rng.standard_normal(signals.shape)
