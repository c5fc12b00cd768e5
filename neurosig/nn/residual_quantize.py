"""Residual vector quantization: level upon level, by direction with codes of length one, or by difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from neurosig.core.errors import InputError, UsageError
from neurosig.nn.quantize import VectorQuantizer
from neurosig.nn.unit_quantize import UnitVectorQuantizer, spherical_kmeans

__all__ = ["ResidualQuantized", "ResidualQuantizer", "UnitVectorQuantizer", "spherical_kmeans"]

MODES = ("direction", "classical")


@dataclass(frozen=True)
class ResidualQuantized:
    """What a residual quantizer makes of vectors.

    Parameters
    ----------
    values : tensor of shape (..., dim)
        Sum of the codes of all levels, through which gradients pass to the vectors.
    indices : int64 tensor of shape (n_levels, ...)
        Which codes.
    level_losses : tensor of shape (n_levels,)
        Loss of each level.
    loss : tensor of shape ()
        Their mean.
    usage : tensor of shape (n_levels,)
        Share of the codes that this call chose at least once.
    residual : tensor of shape (..., dim)
        What the last level left over.
    """

    values: torch.Tensor
    indices: torch.Tensor
    level_losses: torch.Tensor
    loss: torch.Tensor
    usage: torch.Tensor
    residual: torch.Tensor


class ResidualQuantizer(nn.Module):
    """Quantizers in a row: each codes what those before it left over.

    Parameters
    ----------
    n_levels, n_codes, dim : int
        Number of quantizers and size of each.
    mode : {"direction", "classical"}
        "direction", NeuroRVQ's: a level codes the direction of the residual by a code of length one, which is then
        subtracted at full length. The sum of eight such codes stands for a vector of any length; the first residual
        keeps the vector's scale. "classical": a level codes the residual itself (`VectorQuantizer`).
    decay, beta : float
        See `UnitVectorQuantizer`, `VectorQuantizer`.
    residual_weight : float
        Direction mode: weight of the mean squared difference between a level's code and the residual that it leaves,
        part of the published loss. Only the code is moved by it.
    kmeans_init : bool
        Start each level from k-means of the residuals of the first training batch.
    restart_dead_codes : float or None
        See `UnitVectorQuantizer`.

    Attributes
    ----------
    levels : nn.ModuleList of UnitVectorQuantizer or VectorQuantizer

    Notes
    -----
    In direction mode the gradient reaches the vectors through every level, each time through the normalisation. In
    classical mode it passes straight through the sum of the codes.
    """

    levels: Any

    def __init__(
        self,
        n_levels: int,
        n_codes: int,
        dim: int,
        *,
        mode: str = "direction",
        decay: float = 0.99,
        beta: float = 1.0,
        residual_weight: float = 0.4,
        kmeans_init: bool = True,
        restart_dead_codes: float | None = None,
    ):
        super().__init__()
        if mode not in MODES:
            raise UsageError(f"mode must be 'direction' or 'classical', got {mode!r}")
        if n_levels < 1:
            raise UsageError(f"n_levels must be at least 1, got {n_levels!r}")
        if not residual_weight >= 0:
            raise UsageError(f"residual_weight must not be negative, got {residual_weight!r}")
        self.n_levels, self.n_codes, self.dim = n_levels, n_codes, dim
        self.mode, self.residual_weight = mode, residual_weight
        kind = UnitVectorQuantizer if mode == "direction" else VectorQuantizer
        options: dict[str, Any] = {
            "decay": decay,
            "beta": beta,
            "kmeans_init": kmeans_init,
            "restart_dead_codes": restart_dead_codes,
        }
        self.levels = nn.ModuleList(kind(n_codes, dim, **options) for _ in range(n_levels))

    def forward(self, x: torch.Tensor) -> ResidualQuantized:
        """Quantize vectors level by level; in training mode each level moves its codes.

        Parameters
        ----------
        x : tensor of shape (..., dim)
            Vectors.

        Returns
        -------
        ResidualQuantized
        """
        residual, values = x, torch.zeros_like(x)
        indices, losses = [], []
        for level in self.levels:
            quantized = level(residual)
            loss = quantized.loss
            if self.mode == "direction":
                residual = residual - quantized.values
                loss = loss + self.residual_weight * functional.mse_loss(quantized.values, residual.detach())
            else:
                residual = residual - quantized.values.detach()
            values = values + quantized.values
            indices.append(quantized.indices)
            losses.append(loss)
        if self.mode == "classical":
            values = x + (values - x).detach()
        level_losses = torch.stack(losses)
        stacked = torch.stack(indices)
        return ResidualQuantized(values, stacked, level_losses, level_losses.mean(), self._usage(stacked), residual)

    @torch.no_grad()
    def encode(self, x: torch.Tensor, n_levels: int | None = None) -> torch.Tensor:
        """Indices of the codes.

        Parameters
        ----------
        x : tensor of shape (..., dim)
            Vectors.
        n_levels : int, optional
            How many levels, from the first; None takes all.

        Returns
        -------
        int64 tensor of shape (n_levels, ...)
        """
        residual, indices = x, []
        for level in self.levels[:n_levels]:
            found = level.encode(residual)
            residual = residual - functional.embedding(found, level.codebook)
            indices.append(found)
        return torch.stack(indices)

    def decode(self, indices: torch.Tensor) -> torch.Tensor:
        """Sum of the codes.

        Parameters
        ----------
        indices : int64 tensor of shape (n, ...)
            Codes of the first n levels, at most `n_levels`.

        Returns
        -------
        tensor of shape (..., dim)

        Raises
        ------
        InputError
            If there are more levels than quantizers, or an index lies outside the codebook.
        """
        if indices.ndim < 1 or not 1 <= len(indices) <= self.n_levels:
            raise InputError(f"expected tokens of 1 to {self.n_levels} levels first, got shape {tuple(indices.shape)}")
        return torch.stack([level.decode(chosen) for level, chosen in zip(self.levels, indices, strict=False)]).sum(
            dim=0
        )

    @torch.no_grad()
    def initialise(self, x: torch.Tensor) -> None:
        """Direction mode: set the codes of every level by k-means of the residuals, in any mode; x is (..., dim)."""
        if self.mode != "direction":
            raise UsageError("initialise() is for mode='direction'; classical levels start at the first training batch")
        residual = x
        for level in self.levels:
            level.initialise(residual)
            residual = residual - level.decode(level.encode(residual))

    def _usage(self, indices: torch.Tensor) -> torch.Tensor:
        rows = indices.reshape(len(indices), -1)
        chosen = torch.zeros(len(rows), self.n_codes, device=rows.device)
        return chosen.scatter_(1, rows, 1.0).mean(dim=1)
