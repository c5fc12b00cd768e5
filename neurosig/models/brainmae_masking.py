"""Which regions BrainMAE hides in which segment, and what it is told about its reconstruction."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from neurosig.core.errors import InputError, UsageError

__all__ = ["draw_masks", "reconstruction_loss", "steps_of"]

_STEP = 0.05


def steps_of(mask_ratio: Sequence[float]) -> tuple[float, ...]:
    """The ratios between two, both among them, in steps of 0.05.

    Parameters
    ----------
    mask_ratio : pair of float
        Lowest and highest share of regions that is hidden, from 0 to below 1.

    Returns
    -------
    tuple of float

    Raises
    ------
    UsageError
        If it is no such pair.
    """
    try:
        low, high = map(float, mask_ratio)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0 <= low <= high < 1:
        raise UsageError(f"mask_ratio is a pair of shares, 0 <= lowest <= highest < 1, or None, got {mask_ratio!r}")
    n_steps = math.floor((high - low) / _STEP + 1e-9)
    return tuple(round(low + step * _STEP, 9) for step in range(n_steps + 1))


def draw_masks(
    present: torch.Tensor, ratios: Sequence[float], generator: torch.Generator | None = None
) -> torch.Tensor:
    """Draw for each segment a ratio, then the regions that are hidden in it.

    Parameters
    ----------
    present : bool tensor of shape (..., n_regions)
        Regions that were measured; others are not hidden, they are not there.
    ratios : sequence of float
        Each as likely as the others.
    generator : torch.Generator, optional
        Of the CPU; None is torch's global one.

    Returns
    -------
    bool tensor of shape (..., n_regions)
        True where a region is hidden: ``floor(ratio * n_present)`` of each segment.
    """
    drawn = torch.randint(len(ratios), present.shape[:-1], generator=generator)
    scores = torch.rand(present.shape, generator=generator).to(present.device)
    # a share of 0.15 of 20 regions is 3, though 0.15 is a little less than it says
    share = torch.tensor(ratios, dtype=torch.float64)[drawn].to(present.device)
    n_hidden = (share * present.sum(dim=-1) + 1e-6).floor()
    order = scores.masked_fill(~present, 2.0).argsort(dim=-1)
    first = torch.arange(present.shape[-1], device=present.device) < n_hidden[..., None]
    return torch.zeros_like(present).scatter(-1, order, first)


def reconstruction_loss(
    x_hat: torch.Tensor,
    x: torch.Tensor,
    mask: torch.Tensor,
    present: torch.Tensor | None = None,
    masked_weight: float = 0.75,
) -> dict[str, torch.Tensor]:
    """Mean squared errors of hidden and of visible regions, weighted.

    Parameters
    ----------
    x_hat, x : tensor of shape (..., n_regions, n_samples)
        Reconstruction, and what it is compared with; `x` is not read where it is not present.
    mask : bool tensor of shape (..., n_regions)
        True where a region was hidden.
    present : bool tensor of shape (..., n_regions), optional
        What was measured; all, by default. Other entries count nowhere.
    masked_weight : float
        Of the error of hidden regions, from 0 to 1; the other has what is left.

    Returns
    -------
    dict of str to tensor of shape ()
        "total", and its parts "masked" and "unmasked", each a mean over its own entries, zero where it has none.
    """
    if x_hat.shape != x.shape or mask.shape != x.shape[:-1]:
        raise InputError(
            f"expected a reconstruction and a mask for values of shape {tuple(x.shape)}, got {tuple(x_hat.shape)} and "
            f"{tuple(mask.shape)}"
        )
    x_hat = x_hat.to(torch.promote_types(x_hat.dtype, torch.float32))
    if present is not None:
        x = torch.where(present[..., None], x, 0)
    errors = (x_hat - x.to(x_hat.dtype)).square().mean(dim=-1)
    parts = []
    for entries in (mask, ~mask):
        counted = entries if present is None else entries & present
        parts.append(torch.where(counted, errors, 0).sum() / counted.sum().clamp(min=1))
    masked, unmasked = parts
    return {"total": masked_weight * masked + (1 - masked_weight) * unmasked, "masked": masked, "unmasked": unmasked}
