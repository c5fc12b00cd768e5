"""Signals from magnitudes of their short-time Fourier transform alone."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from neurosig.core.errors import UsageError
from neurosig.tokenizers.tfm_signal import FRAME, HOP, N_FREQS, cut_frames

__all__ = ["griffin_lim"]

_LEAST = 0.05  # of the squared windows' sum; below it, in the first and last 70 ms, signals fade out


def griffin_lim(magnitudes: np.ndarray, *, n_iter: int = 50, random_state: int = 0) -> np.ndarray:
    """Find signals whose spectra have given magnitudes, by alternating projections.

    Parameters
    ----------
    magnitudes : array of shape (..., 100, n_frames)
        As of `magnitude_spectrum`; below zero counts as zero.
    n_iter : int
        Rounds: phases of the signals, then signals of these phases.
    random_state : int
        Seeds the phases of the beginning.

    Returns
    -------
    float32 array of shape (..., 100 * (n_frames + 1))
        Signals at 200 Hz.

    Raises
    ------
    UsageError
        If `n_iter` is no number of rounds.

    Notes
    -----
    Source: D. Griffin and J. Lim, "Signal estimation from modified short-time Fourier transform", IEEE Transactions on
    Acoustics, Speech, and Signal Processing 32, 236-243, 1984, DOI 10.1109/TASSP.1984.1164317. The distance between
    the given magnitudes and those of the signals never grows from round to round, edges apart, and rarely reaches zero.
    """
    if isinstance(n_iter, bool) or not hasattr(n_iter, "__index__") or n_iter < 0:
        raise UsageError(f"n_iter must be a whole number not below 0, got {n_iter!r}")
    wanted = torch.from_numpy(np.ascontiguousarray(np.swapaxes(magnitudes, -1, -2), dtype=np.float32)).clamp_min(0)
    shape = wanted.shape[:-2]
    wanted = functional.pad(wanted.flatten(0, -3), (0, FRAME // 2 + 1 - N_FREQS))
    window = torch.hann_window(FRAME, periodic=True)
    n_times = HOP * (wanted.shape[1] - 1) + FRAME
    power = _overlap_add((window**2).expand(1, wanted.shape[1], -1), n_times).clamp_min(_LEAST)

    def signals(spectra: torch.Tensor) -> torch.Tensor:
        return _overlap_add(torch.fft.irfft(spectra, n=FRAME) * window, n_times) / power

    # all signals begin with the same phases, so that none depends on how many others there are
    drawn = torch.rand(wanted.shape[1:], generator=torch.Generator().manual_seed(random_state))
    found = []
    for block in wanted.split(256):
        phases = torch.polar(torch.ones(()), 2 * torch.pi * drawn).expand(block.shape)
        for _ in range(n_iter):
            spectra = torch.fft.rfft(cut_frames(signals(block * phases)) * window)
            phases = spectra / spectra.abs().clamp_min(1e-12)
        found.append(signals(block * phases))
    return torch.cat(found).reshape(*shape, n_times).numpy()


def _overlap_add(frames: torch.Tensor, n_times: int) -> torch.Tensor:
    """(n, n_frames, 200) -> (n, n_times)."""
    return functional.fold(frames.mT, (1, n_times), (1, FRAME), stride=(1, HOP)).flatten(1)
