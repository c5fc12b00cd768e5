"""What a forward pass of NeuroRVQ's tokenizer gives, and its losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from neurosig.tokenizers.neurorvq_spectrum import SpectrumTargets, phase_loss

__all__ = ["NeuroRVQLosses", "NeuroRVQOutput", "reconstruction_losses"]


@dataclass(frozen=True)
class NeuroRVQLosses:
    """Losses of the tokenizer, each a tensor of shape (); the published code computes them and gives none back.

    Parameters
    ----------
    code : tensor
        Sum over scales of the mean loss of a scale's levels.
    amplitude : tensor
        Mean squared error of the standardised logarithmic amplitude.
    phase : tensor
        See `phase_loss`.
    signal : tensor
        Mean squared error of the z-scored signal.
    """

    code: torch.Tensor
    amplitude: torch.Tensor
    phase: torch.Tensor
    signal: torch.Tensor

    @property
    def total(self) -> torch.Tensor:
        """Their sum, with equal weights as published."""
        return self.code + self.amplitude + self.phase + self.signal


@dataclass(frozen=True)
class NeuroRVQOutput:
    """Every stage of a forward pass.

    Parameters
    ----------
    convolved, encoded : tensor of shape (n_scales, n, channels * n_patches, embed_dim)
        After the convolutions, and after the transformer and its norms; channel after channel.
    projected, quantized : tensor of shape (n_scales, n, channels * n_patches, code_dim)
        Before and after the residual quantizers.
    tokens : int64 tensor of shape (n, n_scales, n_levels, channels, n_patches)
    usage : tensor of shape (n_scales, n_levels)
        Share of the codes that this batch chose at least once.
    amplitude, sine, cosine : tensor of shape (n, channels * n_patches, size)
        Predicted.
    targets : SpectrumTargets
        What they should be.
    patches : tensor of shape (n, channels * n_patches, size)
        The reconstruction, in the unit of the input.
    signal : tensor of shape (n, channels, times)
        The same, uncut.
    scores, target_scores : tensor of shape (n, channels * n_patches, size)
        Reconstruction and input, each z-scored over the window.
    losses : NeuroRVQLosses
    """

    convolved: torch.Tensor
    encoded: torch.Tensor
    projected: torch.Tensor
    quantized: torch.Tensor
    tokens: torch.Tensor
    usage: torch.Tensor
    amplitude: torch.Tensor
    sine: torch.Tensor
    cosine: torch.Tensor
    targets: SpectrumTargets
    patches: torch.Tensor
    signal: torch.Tensor
    scores: torch.Tensor
    target_scores: torch.Tensor
    losses: NeuroRVQLosses


def reconstruction_losses(
    code: torch.Tensor,
    predicted: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    targets: SpectrumTargets,
    scores: torch.Tensor,
    target_scores: torch.Tensor,
) -> NeuroRVQLosses:
    """Losses of a prediction.

    Parameters
    ----------
    code : tensor of shape ()
        Loss of the quantizers.
    predicted : tuple of tensor of shape (n, n_patches, size)
        Amplitude, sine, cosine.
    targets : SpectrumTargets
        What they should be.
    scores, target_scores : tensor of shape (n, n_patches, size)
        Z-scored reconstruction and input.

    Returns
    -------
    NeuroRVQLosses
    """
    amplitude, sine, cosine = predicted
    return NeuroRVQLosses(
        code=code,
        amplitude=functional.mse_loss(amplitude, targets.amplitude),
        phase=phase_loss(sine, cosine, targets),
        signal=functional.mse_loss(scores, target_scores),
    )
