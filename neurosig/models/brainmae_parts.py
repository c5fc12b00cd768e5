"""What `BrainMAE` gives back, checks and draws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from neurosig.core.errors import InputError, UsageError

__all__ = [
    "DECODER_TOKENS",
    "HEAD_STD",
    "REGION_EMBEDDINGS",
    "REGION_STD",
    "VARIANTS",
    "BrainMAEReconstruction",
    "BrainMAEStates",
    "check_options",
    "cropped",
    "initialise",
    "sinusoids",
    "too_short",
]

VARIANTS = ("sg", "ag", "vanilla")
REGION_EMBEDDINGS = ("learned", "sincos")
DECODER_TOKENS = ("product", "sum")
REGION_STD = 0.3  # of regions' embeddings: they differ, and what is learned of them is not lost in where they began
HEAD_STD = 0.02  # of a new head whatever the rest begins with: answers are even before anything is learned


@dataclass(frozen=True)
class BrainMAEStates:
    """What the encoders make of runs.

    Parameters
    ----------
    states : tensor of shape (n, n_segments, emb_size)
        Transient states: the class token of each segment.
    contextual : tensor of shape (n, n_segments, emb_size)
        The same after the temporal encoder.
    regions : tensor of shape (n, n_segments, n_regions, emb_size)
        Tokens of the regions, zeros where a region is hidden or was not measured.
    valid : bool tensor of shape (n, n_segments)
        Segments in which any region was measured; zeros stand for the others.
    present : bool tensor of shape (n, n_segments, n_regions)
        Regions that were measured throughout the segment.
    """

    states: torch.Tensor
    contextual: torch.Tensor
    regions: torch.Tensor
    valid: torch.Tensor
    present: torch.Tensor


@dataclass(frozen=True)
class BrainMAEReconstruction:
    """Series and what the decoder makes of them, segment by segment.

    Parameters
    ----------
    x_hat : tensor of shape (n, n_segments, n_regions, samples)
        The reconstruction of every region, hidden, missing or not; zeros in segments that are not valid.
    x : tensor of the same shape
        The series, NaN where they were not measured.
    mask : bool tensor of shape (n, n_segments, n_regions)
        Regions that were hidden.
    present : bool tensor of shape (n, n_segments, n_regions)
        Regions that were measured throughout the segment.
    """

    x_hat: torch.Tensor
    x: torch.Tensor
    mask: torch.Tensor
    present: torch.Tensor


def check_options(named: Mapping[str, str], sizes: Mapping[str, Any]) -> None:
    """Refuse a variant or a kind of part that is not known, and sizes that are not whole numbers from 1 on."""
    kinds = (("variant", VARIANTS), ("region_embedding", REGION_EMBEDDINGS), ("decoder_token", DECODER_TOKENS))
    for name, options in kinds:
        if named[name] not in options:
            raise UsageError(f"{name} must be one of {', '.join(options)}, got {named[name]!r}")
    for name, value in sizes.items():
        if isinstance(value, bool) or int(value) != value or value < 1:
            raise UsageError(f"{name} must be a whole number, at least 1, got {value!r}")
    if sizes["emb_size"] % 2:
        raise UsageError(f"emb_size must be even, got {sizes['emb_size']}")


def cropped(x: torch.Tensor, samples: int, n_segments: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """A window of whole segments of each run, which begins anywhere in it.

    Parameters
    ----------
    x : tensor of shape (n, n_regions, n_times)
        Runs, NaN after the end of those that are shorter than others.
    samples, n_segments : int
        Volumes of a segment, and most segments of a window.
    generator : torch.Generator, optional
        Draws the beginnings; of the CPU. None is torch's global one.

    Returns
    -------
    tensor of shape (n, n_regions, whole segments)
        NaN after the end of shorter runs.

    Raises
    ------
    InputError
        If no run has a segment.
    """
    after = torch.arange(1, x.shape[2] + 1, device=x.device)
    length = (~x.isnan().all(dim=1) * after).amax(dim=1)
    used = (length // samples).clamp(max=n_segments) * samples
    longest = int(used.max())
    if not longest:
        raise InputError(too_short(int(length.max()), samples))
    drawn = torch.rand(len(x), generator=generator, dtype=torch.float64).to(x.device)
    start = (drawn * (length - used + 1)).long()
    within = torch.arange(longest, device=x.device)
    place = (start[:, None] + within).clamp(max=x.shape[2] - 1)
    found = x.gather(2, place[:, None].expand(-1, x.shape[1], -1))
    if bool((used == longest).all()):
        return found
    return found.masked_fill((within >= used[:, None])[:, None], torch.nan)


def initialise(module: nn.Module, std: float | None) -> None:
    """Normal weights of a linear layer, of this standard deviation or by its width; biases zero."""
    if isinstance(module, nn.Linear):
        std = module.in_features**-0.5 if std is None else std
        nn.init.trunc_normal_(module.weight, std=std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def sinusoids(n: int, emb_size: int) -> torch.Tensor:
    """Sines and cosines of places 0 to n - 1, (n, emb_size), in turn."""
    rates = torch.exp(torch.arange(0, emb_size, 2) * (-math.log(10000.0) / emb_size))
    angles = torch.arange(n)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def too_short(n_times: int, samples: int) -> str:
    """Why a run has no segment."""
    return (
        f"a segment has {samples} volumes, the run {n_times}: give longer runs, or a shorter segment= (s); the axes "
        "are regions, then times"
    )
