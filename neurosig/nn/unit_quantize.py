"""A codebook of directions: codes of length one that follow the mean direction of their vectors."""

from __future__ import annotations

from typing import Self

import torch
from torch import nn
from torch.nn import functional

from neurosig.core.errors import InputError, UsageError
from neurosig.nn.nearest import KeptRounding, nearest_directions
from neurosig.nn.quantize import Quantized, _draw, _from_first_process, _totals, look_up, sync_sum

__all__ = ["UnitVectorQuantizer", "spherical_kmeans"]


def spherical_kmeans(
    x: torch.Tensor,
    n_clusters: int,
    *,
    n_iter: int = 10,
    start: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean directions of Lloyd's algorithm with the cosine as similarity.

    Parameters
    ----------
    x : tensor of shape (n, dim)
        Vectors of length one.
    n_clusters : int
        Number of means.
    n_iter : int
        Rounds.
    start : int64 tensor of shape (n_clusters,), optional
        Rows of `x` to start from. None draws them, each once where there are enough, else with repetition.
    generator : torch.Generator, optional
        Draws the start.

    Returns
    -------
    means : tensor of shape (n_clusters, dim)
        Of length one; a mean that loses its last vector stays where it is.
    counts : tensor of shape (n_clusters,)
        Vectors of each mean in the last round.
    """
    if start is None:
        start = _draw(len(x), n_clusters, x.device, generator)
    means, counts = x[start].clone(), x.new_zeros(n_clusters)
    for _ in range(n_iter):
        counts, sums = _totals(x, nearest_directions(x, means), n_clusters)
        means = torch.where(counts[:, None] > 0, functional.normalize(sums, dim=1), means)
    return means, counts


class UnitVectorQuantizer(nn.Module):
    """Codebook of directions: codes of length one that follow the mean direction of their vectors.

    Parameters
    ----------
    n_codes, dim : int
        Size of the codebook.
    decay : float
        Of codes and usage, for each forward pass in training mode.
    beta : float
        Weight of the commitment loss.
    kmeans_init : bool
        Start from `spherical_kmeans` of the first training batch, instead of random directions.
    n_iter : int
        Rounds of k-means.
    restart_dead_codes : float or None
        Codes whose averaged count falls below this number are set to directions drawn from the batch. None, as
        published, never does.

    Attributes
    ----------
    codebook : buffer of shape (n_codes, dim)
        The codes; gradients do not reach them.
    usage : buffer of shape (n_codes,)
        Averaged count of vectors for each code: after each training step ``decay * usage + (1 - decay) * counts``.
        k-means starts it from its counts.
    started : bool buffer
        Whether the codes have been initialised: always, unless `kmeans_init` waits for a batch.
    generator : torch.Generator or None
        Draws vectors for restarts and for k-means; None is torch's global one.

    Notes
    -----
    In evaluation mode, and after `freeze` in any mode, calls change nothing: the published code runs k-means at the
    first call in any mode, moves its statistic in every one, and starts it from zero. In a distributed training counts
    and sums are those of all processes, and k-means is that of the first.

    References
    ----------
    .. [1] "NeuroRVQ: Multi-scale EEG tokenization for generative large brainwave models", https://arxiv.org/abs/2510.13068
    """

    codebook: torch.Tensor
    usage: torch.Tensor
    started: torch.Tensor

    def __init__(
        self,
        n_codes: int,
        dim: int,
        *,
        decay: float = 0.99,
        beta: float = 1.0,
        kmeans_init: bool = True,
        n_iter: int = 10,
        restart_dead_codes: float | None = None,
    ):
        super().__init__()
        if n_codes < 1 or dim < 1:
            raise UsageError(f"n_codes and dim must be at least 1, got {n_codes!r} and {dim!r}")
        if not 0 <= decay < 1:
            raise UsageError(f"decay must lie between 0 and 1, got {decay!r}")
        if not beta >= 0 or n_iter < 1:
            raise UsageError(f"beta must not be negative and n_iter must be at least 1, got {beta!r} and {n_iter!r}")
        if restart_dead_codes is not None and not restart_dead_codes > 0:
            raise UsageError(f"restart_dead_codes is None or a count above 0, got {restart_dead_codes!r}")
        self.n_codes, self.dim = n_codes, dim
        self.decay, self.beta, self.n_iter = decay, beta, n_iter
        self.kmeans_init, self.restart_dead_codes = kmeans_init, restart_dead_codes
        self.generator: torch.Generator | None = None
        self.frozen = False
        self._rounding = KeptRounding()
        self.register_buffer("codebook", functional.normalize(torch.randn(n_codes, dim), dim=1))
        self.register_buffer("usage", torch.zeros(n_codes))
        self.register_buffer("started", torch.tensor(not kmeans_init))

    def forward(self, x: torch.Tensor) -> Quantized:
        """Quantize the directions of vectors, then, in training mode, move the codes.

        Parameters
        ----------
        x : tensor of shape (..., dim)
            Vectors of any length.

        Returns
        -------
        Quantized
            With the codes before the update; `values` are of length one, and gradients pass to `x` through its
            direction. As no gradient reaches the codes, `loss` is `beta` times the commitment loss.
        """
        directions = functional.normalize(x, dim=-1)
        updates = self.training and not self.frozen
        if updates and not self.started:
            self.initialise(directions)
        rounded = None if updates else self._rounding.of(self.codebook, unit=True)
        indices = nearest_directions(directions.detach(), self.codebook, rounded)
        codes = functional.embedding(indices, self.codebook)
        commitment = functional.mse_loss(directions, codes)
        if updates:
            self.update(directions.detach(), indices)
        return Quantized(
            values=directions + (codes - directions).detach(),
            indices=indices,
            codebook_loss=commitment.detach(),
            commitment_loss=commitment,
            loss=self.beta * commitment,
        )

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Indices of the nearest directions: (..., dim) -> int64 (...)."""
        rounded = self._rounding.of(self.codebook, unit=True)
        return nearest_directions(functional.normalize(x, dim=-1), self.codebook, rounded)

    def decode(self, indices: torch.Tensor) -> torch.Tensor:
        """Codes: int64 (...) -> (..., dim); an index outside the codebook is an InputError."""
        return look_up(indices, self.codebook)

    @torch.no_grad()
    def initialise(self, x: torch.Tensor) -> None:
        """Set the codes by k-means, in any mode.

        Parameters
        ----------
        x : tensor of shape (..., dim)
            Vectors.
        """
        rows = functional.normalize(x.reshape(-1, self.dim).to(self.codebook.dtype), dim=1)
        if not len(rows):
            raise InputError("k-means of a codebook needs vectors, got none")
        means, counts = spherical_kmeans(rows, self.n_codes, n_iter=self.n_iter, generator=self.generator)
        self.codebook.copy_(means)
        self.usage.copy_(counts)  # from zero, each average would rise so slowly that all codes passed for dead
        for buffer in (self.codebook, self.usage):
            _from_first_process(buffer)
        self.started.fill_(True)

    @torch.no_grad()
    def update(self, directions: torch.Tensor, indices: torch.Tensor) -> None:
        """Move usage and codes by one step.

        Parameters
        ----------
        directions : tensor of shape (..., dim)
            Vectors of length one.
        indices : int64 tensor of shape (...)
            The code of each.
        """
        rows, indices = directions.reshape(-1, self.dim).to(self.codebook.dtype), indices.reshape(-1)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            totals = rows.new_zeros(self.n_codes, self.dim + 1)
            sync_sum(totals.index_add_(0, indices, torch.cat([torch.ones_like(rows[:, :1]), rows], dim=1)))
            hit = totals[:, 0].nonzero().squeeze(1)
            counts, sums = totals[hit, 0], totals[hit, 1:]
        else:  # a batch chooses few of the codes, and only those move
            hit, position, found = indices.unique(return_inverse=True, return_counts=True)
            counts = found.to(rows.dtype)
            sums = rows.new_zeros(len(hit), self.dim).index_add_(0, position, rows)
        self.usage.mul_(self.decay).index_add_(0, hit, counts, alpha=1 - self.decay)
        target = functional.normalize(sums, dim=1)
        moved = self.codebook[hit].mul_(self.decay).add_(target, alpha=1 - self.decay)
        self.codebook[hit] = functional.normalize(moved, dim=1)
        if self.restart_dead_codes is not None:
            self._restart(rows, self.restart_dead_codes)

    def freeze(self) -> Self:
        """Keep the codebook as it is, whatever mode the module is in; the module itself is returned, in evaluation."""
        self.frozen = True
        return self.eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode; once frozen it stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"n_codes={self.n_codes}, dim={self.dim}, decay={self.decay:g}, beta={self.beta:g}"

    def _restart(self, rows: torch.Tensor, threshold: float) -> None:
        dead = (self.usage < threshold).nonzero().squeeze(1)
        if not len(dead) or not len(rows):
            return
        drawn = rows[_draw(len(rows), len(dead), rows.device, self.generator)]
        _from_first_process(drawn)
        self.codebook[dead] = drawn
        self.usage[dead] = threshold
