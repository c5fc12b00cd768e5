"""Fourier targets of NeuroRVQ's reconstruction, the way back to the signal, and the losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

__all__ = ["AmplitudeStatistics", "SpectrumTargets", "phase_loss", "signal_of_spectrum", "spectrum_targets", "z_scored"]

_FLOOR = 1e-8  # of a variance


@dataclass(frozen=True)
class AmplitudeStatistics:
    """Mean and standard deviation of the logarithmic amplitudes of windows, which their tokens do not tell.

    Parameters
    ----------
    mean, std : tensor of shape (n,)
        One of each for a window.
    """

    mean: torch.Tensor
    std: torch.Tensor


@dataclass(frozen=True)
class SpectrumTargets:
    """What the decoder is to predict.

    Parameters
    ----------
    amplitude : tensor of shape (n, n_patches, size)
        log(1 + amplitude) of the Fourier transform of each patch, standardised over the window.
    sine, cosine : tensor of shape (n, n_patches, size)
        Of the phase.
    statistics : AmplitudeStatistics
        What the amplitude was standardised by.
    """

    amplitude: torch.Tensor
    sine: torch.Tensor
    cosine: torch.Tensor
    statistics: AmplitudeStatistics


def z_scored(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Standardise windows over all their patches and samples.

    Parameters
    ----------
    x : tensor of shape (n, n_patches, size)
        Windows; the variance is unbiased and at least 1e-8.

    Returns
    -------
    scores : tensor of the same shape
    mean, std : tensor of shape (n,)
    """
    var, mean = torch.var_mean(x, dim=(1, 2), keepdim=True)
    std = var.clamp(min=_FLOOR).sqrt()
    return (x - mean) / std, mean.reshape(-1), std.reshape(-1)


def spectrum_targets(x: torch.Tensor) -> SpectrumTargets:
    """Fourier targets of patches: tensor (n, n_patches, size) -> SpectrumTargets, without gradient."""
    with torch.no_grad():
        spectrum = torch.fft.fft(x)
        size = spectrum.abs()
        scores, mean, std = z_scored(torch.log1p(size))
        zero = size == 0  # phase 0
        safe = torch.where(zero, 1.0, size)
        sine = spectrum.imag / safe
        cosine = torch.where(zero, 1.0, spectrum.real / safe)
    return SpectrumTargets(scores, sine, cosine, AmplitudeStatistics(mean, std))


def signal_of_spectrum(
    amplitude: torch.Tensor, sine: torch.Tensor, cosine: torch.Tensor, statistics: AmplitudeStatistics
) -> torch.Tensor:
    """Patches from standardised logarithmic amplitude and phase.

    Parameters
    ----------
    amplitude, sine, cosine : tensor of shape (n, n_patches, size)
        As predicted; nothing makes them symmetric, so that the imaginary part of the inverse is dropped.
    statistics : AmplitudeStatistics
        Of each window.

    Returns
    -------
    tensor of shape (n, n_patches, size)
    """
    mean, std = (value.reshape(-1, 1, 1).to(amplitude) for value in (statistics.mean, statistics.std))
    size = torch.expm1(amplitude * std + mean)
    return torch.fft.ifft(torch.complex(size * cosine, size * sine)).real


def phase_loss(sine: torch.Tensor, cosine: torch.Tensor, targets: SpectrumTargets) -> torch.Tensor:
    """One minus the mean cosine of the phase error, plus a tenth of the mean squared distance from the unit circle.

    The first term does not depend on the radius of the predicted pairs; the second alone fixes it.
    """
    similarity = functional.cosine_similarity(
        torch.stack([cosine, sine], dim=-1), torch.stack([targets.cosine, targets.sine], dim=-1), dim=-1
    )
    circle = (sine.square() + cosine.square() - 1).square().mean()
    return 1 - similarity.mean() + 0.1 * circle
