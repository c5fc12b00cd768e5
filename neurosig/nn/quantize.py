"""Vector quantization: the nearest code of a codebook, and a codebook that follows its vectors by moving averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional

from neurosig.core.errors import InputError, UsageError
from neurosig.nn.nearest import KeptRounding, nearest_codes

__all__ = ["Quantized", "VectorQuantizer", "codebook_losses", "kmeans", "look_up", "sync_sum"]


@dataclass(frozen=True)
class Quantized:
    """What a quantizer makes of vectors.

    Parameters
    ----------
    values : tensor of shape (..., dim)
        The codes, through which gradients pass straight to the vectors.
    indices : int64 tensor of shape (...)
        Which codes.
    codebook_loss, commitment_loss : tensor of shape ()
        Mean squared distance between vectors and codes, as seen from the codes and from the vectors.
    loss : tensor of shape ()
        Codebook loss plus `beta` times commitment loss.
    """

    values: torch.Tensor
    indices: torch.Tensor
    codebook_loss: torch.Tensor
    commitment_loss: torch.Tensor
    loss: torch.Tensor


def look_up(indices: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Codes by index, refusing those outside the codebook.

    Parameters
    ----------
    indices : int64 tensor of shape (...)
        Which codes.
    codebook : tensor of shape (n_codes, dim)
        Codes.

    Returns
    -------
    tensor of shape (..., dim)
        The codes.

    Raises
    ------
    InputError
        If an index is not an integer, or lies outside 0 to n_codes - 1.
    """
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise InputError(f"expected tokens as integers, got {indices.dtype}")
    if indices.numel():
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= len(codebook):
            raise InputError(f"expected tokens between 0 and {len(codebook) - 1}, got {low if low < 0 else high}")
    return functional.embedding(indices.long(), codebook)


def sync_sum(tensor: torch.Tensor) -> torch.Tensor:
    """Sum over all processes of a distributed training, in place; the tensor itself in any other.

    Parameters
    ----------
    tensor : tensor
        Of the same shape in every process.

    Returns
    -------
    tensor
        The same one.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(tensor)
    return tensor


def codebook_losses(x: torch.Tensor, codes: torch.Tensor, variant: str = "fixed") -> tuple[torch.Tensor, torch.Tensor]:
    """Codebook loss and commitment loss.

    Parameters
    ----------
    x : tensor of shape (..., dim)
        Vectors.
    codes : tensor of shape (..., dim)
        Their codes.
    variant : {"fixed", "reference"}
        "fixed": the codebook loss reaches only the codes, the commitment loss only the vectors. "reference": both are
        taken on the straight-through codes, as in the published TFM-Tokenizer. Values are the same, but there the two
        gradients with respect to the vectors are opposite, and their sum is zero where they are weighted alike.

    Returns
    -------
    codebook_loss, commitment_loss : tensor of shape ()
        Mean squared differences.
    """
    if variant == "reference":
        through = x + (codes - x).detach()
        return functional.mse_loss(through, x.detach()), functional.mse_loss(through.detach(), x)
    return functional.mse_loss(codes, x.detach()), functional.mse_loss(x, codes.detach())


def kmeans(x: torch.Tensor, n_clusters: int, *, n_iter: int = 10, generator: Any = None) -> tuple[Any, Any]:
    """Means of Lloyd's algorithm, started at vectors drawn at random.

    Parameters
    ----------
    x : tensor of shape (n, dim)
        Vectors, at least `n_clusters` of them.
    n_clusters : int
        Number of means.
    n_iter : int
        Rounds.
    generator : torch.Generator or None
        Draws the start.

    Returns
    -------
    means : tensor of shape (n_clusters, dim)
        A mean that loses its last vector stays where it is.
    counts : tensor of shape (n_clusters,)
        Vectors nearest to each mean of the last round but one.

    Raises
    ------
    InputError
        If there are fewer vectors than means.
    """
    if len(x) < n_clusters:
        raise InputError(f"k-means of {n_clusters} codes needs as many vectors, got {len(x)}; pass a larger batch")
    means = x[_draw(len(x), n_clusters, x.device, generator)].clone()
    counts = x.new_zeros(n_clusters)
    for _ in range(n_iter):
        counts, sums = _totals(x, nearest_codes(x, means), n_clusters)
        means = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], means)
    return means, counts


class VectorQuantizer(nn.Module):
    """Codebook of Euclidean codes that follow the mean of their vectors by moving averages.

    Parameters
    ----------
    n_codes, dim : int
        Size of the codebook.
    decay : float
        Of the moving averages, for each forward pass in training mode.
    beta : float
        Weight of the commitment loss.
    eps : float
        Added to counts so that no code is divided by zero.
    straight_through_vq_loss : {"fixed", "reference"}
        See `codebook_losses`. With "reference" and ``beta=1`` the loss has no effect, as in the published code.
    restart_dead_codes : float or None
        Codes whose averaged count falls below this number are set to vectors drawn from the batch. None, as published,
        never does; codes that get no vector then drift away at the first update and stay unused.
    kmeans_init : bool
        Start from the means of the first training batch, instead of uniform random codes within 1 / n_codes.

    Attributes
    ----------
    codebook : buffer of shape (n_codes, dim)
        The codes; gradients do not reach them.
    cluster_size : buffer of shape (n_codes,)
        Averaged count of vectors for each code.
    ema_sum : buffer of shape (n_codes, dim)
        Averaged sum of vectors for each code.
    generator : torch.Generator or None
        Draws vectors for restarts and for k-means; None is torch's global one.

    Notes
    -----
    In evaluation mode, and after `freeze` in any mode, calls change nothing. In a distributed training the counts and
    sums are those of all processes. Source of the update: van den Oord et al. [1]_, appendix, with the counts smoothed.

    References
    ----------
    .. [1] van den Oord, Vinyals, Kavukcuoglu, "Neural discrete representation learning", NeurIPS 2017,
       https://arxiv.org/abs/1711.00937
    """

    codebook: torch.Tensor
    cluster_size: torch.Tensor
    ema_sum: torch.Tensor
    started: torch.Tensor

    def __init__(
        self,
        n_codes: int,
        dim: int,
        *,
        decay: float = 0.99,
        beta: float = 1.0,
        eps: float = 1e-5,
        straight_through_vq_loss: str = "fixed",
        restart_dead_codes: float | None = None,
        kmeans_init: bool = False,
    ):
        super().__init__()
        if n_codes < 1 or dim < 1:
            raise UsageError(f"n_codes and dim must be at least 1, got {n_codes!r} and {dim!r}")
        if not 0 <= decay < 1:
            raise UsageError(f"decay must lie between 0 and 1, got {decay!r}")
        if not beta >= 0 or not eps > 0:
            raise UsageError(f"beta must not be negative and eps must be above 0, got {beta!r} and {eps!r}")
        if straight_through_vq_loss not in ("fixed", "reference"):
            raise UsageError(f"straight_through_vq_loss is 'fixed' or 'reference', got {straight_through_vq_loss!r}")
        if restart_dead_codes is not None and not restart_dead_codes > 0:
            raise UsageError(f"restart_dead_codes is None or a count above 0, got {restart_dead_codes!r}")
        self.n_codes, self.dim = n_codes, dim
        self.decay, self.beta, self.eps = decay, beta, eps
        self.straight_through_vq_loss = straight_through_vq_loss
        self.restart_dead_codes = restart_dead_codes
        self.kmeans_init = kmeans_init
        self.generator: torch.Generator | None = None
        self.frozen = False
        self._rounding = KeptRounding()
        codebook = torch.empty(n_codes, dim).uniform_(-1 / n_codes, 1 / n_codes)
        self.register_buffer("codebook", codebook)
        self.register_buffer("cluster_size", torch.zeros(n_codes))
        self.register_buffer("ema_sum", codebook.clone())
        if kmeans_init:
            self.register_buffer("started", torch.tensor(False))

    def forward(self, x: torch.Tensor) -> Quantized:
        """Quantize vectors, then, in training mode, move the codes.

        Parameters
        ----------
        x : tensor of shape (..., dim)
            Vectors. Those of one call are one update.

        Returns
        -------
        Quantized
            With the codes before the update.
        """
        updates = self.training and not self.frozen
        if updates and self.kmeans_init and not self.started:
            self._start(x.detach())
        rounded = None if updates else self._rounding.of(self.codebook)
        indices = nearest_codes(x, self.codebook, rounded)
        codes = functional.embedding(indices, self.codebook)
        codebook_loss, commitment_loss = codebook_losses(x, codes, self.straight_through_vq_loss)
        if updates:
            self.update(x.detach(), indices)
        return Quantized(
            values=x + (codes - x).detach(),
            indices=indices,
            codebook_loss=codebook_loss,
            commitment_loss=commitment_loss,
            loss=codebook_loss + self.beta * commitment_loss,
        )

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Indices of the nearest codes: (..., dim) -> int64 (...)."""
        return nearest_codes(x, self.codebook, self._rounding.of(self.codebook))

    def decode(self, indices: torch.Tensor) -> torch.Tensor:
        """Codes: int64 (...) -> (..., dim); an index outside the codebook is an InputError."""
        return look_up(indices, self.codebook)

    @torch.no_grad()
    def update(self, x: torch.Tensor, indices: torch.Tensor) -> None:
        """Move the averages and the codes by one step.

        Parameters
        ----------
        x : tensor of shape (..., dim)
            Vectors.
        indices : int64 tensor of shape (...)
            The code of each.
        """
        rows = x.reshape(-1, self.dim).to(self.ema_sum.dtype)
        counts, sums = _totals(rows, indices.reshape(-1), self.n_codes)
        totals = sync_sum(torch.cat([counts[:, None], sums], dim=1))
        # the same buffers through the whole training, so that optimizers' and wrappers' references stay good
        self.cluster_size.mul_(self.decay).add_(totals[:, 0], alpha=1 - self.decay)
        self.ema_sum.mul_(self.decay).add_(totals[:, 1:], alpha=1 - self.decay)
        if self.restart_dead_codes is not None:
            self._restart(rows, self.restart_dead_codes)
        n = self.cluster_size.sum()
        smoothed = (self.cluster_size + self.eps) / (n + self.n_codes * self.eps) * n
        torch.div(self.ema_sum, smoothed[:, None], out=self.codebook)

    def freeze(self) -> Self:
        """Keep the codebook as it is, whatever mode the module is in.

        Returns
        -------
        VectorQuantizer
            Itself, in evaluation mode, where it stays.
        """
        self.frozen = True
        return self.eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode; once frozen it stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"n_codes={self.n_codes}, dim={self.dim}, decay={self.decay:g}, beta={self.beta:g}"

    @torch.no_grad()
    def _start(self, x: torch.Tensor) -> None:
        rows = x.reshape(-1, self.dim).to(self.codebook.dtype)
        n_means = min(self.n_codes, len(rows))  # where the batch is smaller, the other codes keep their random values
        means, counts = kmeans(rows, n_means, generator=self.generator)
        self.codebook[:n_means] = means
        self.cluster_size[:n_means] = counts
        for buffer in (self.codebook, self.cluster_size):
            _from_first_process(buffer)
        self.ema_sum.copy_(self.codebook * self.cluster_size.clamp(min=1)[:, None])
        self.started.fill_(True)

    def _restart(self, rows: torch.Tensor, threshold: float) -> None:
        dead = (self.cluster_size < threshold).nonzero().squeeze(1)
        if not len(dead) or not len(rows):
            return
        drawn = rows[_draw(len(rows), len(dead), rows.device, self.generator)]
        _from_first_process(drawn)
        self.cluster_size[dead] = threshold
        self.ema_sum[dead] = drawn * threshold


def _totals(rows: torch.Tensor, indices: torch.Tensor, n_codes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Number and sum of the vectors of each code."""
    counts = torch.bincount(indices, minlength=n_codes).to(rows.dtype)
    return counts, rows.new_zeros(n_codes, rows.shape[1]).index_add_(0, indices, rows)


def _draw(n: int, size: int, device: torch.device, generator: torch.Generator | None) -> torch.Tensor:
    """Positions drawn from n: without repetition where there are enough."""
    where = "cpu" if generator is None else generator.device
    if size <= n:
        drawn = torch.randperm(n, generator=generator, device=where)[:size]
    else:
        drawn = torch.randint(n, (size,), generator=generator, device=where)
    return drawn.to(device)


def _from_first_process(tensor: torch.Tensor) -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.broadcast(tensor, src=0)
