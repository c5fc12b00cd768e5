"""Long filters along time as matrix products, for processors on which a grouped convolution is slow."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

__all__ = ["filter_groups"]


def filter_groups(z: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Each group of signals with the filter of its group (a correlation, as in every convolution layer).

    Parameters
    ----------
    z : Tensor, shape (batch, n_groups, n_signals, n_times)
        Padded already.
    weight : Tensor, shape (n_groups, length)

    Returns
    -------
    Tensor, shape (batch, n_groups, n_signals, n_times - length + 1)

    Notes
    -----
    The output is cut into blocks, and a block is a product with the (length + block - 1, block) Toeplitz matrix of the
    filter. It has one and a half times the products of the plain sum, but they run as one matrix product.
    """
    return _FilterGroups.apply(z, weight)


class _FilterGroups(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(z, weight)
        return _correlate(z, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        z, weight = ctx.saved_tensors
        length = weight.shape[1]
        grad_z = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_z = _correlate(functional.pad(grad, (length - 1, length - 1)), weight.flip(1))
        if ctx.needs_input_grad[1]:
            grad_weight = _correlate_filters(z, grad, length)
        return grad_z, grad_weight


def _block(length: int) -> int:
    return max(32, min(128, length))


def _blocks(z: torch.Tensor, length: int, block: int, n_out: int) -> tuple[torch.Tensor, int]:
    """Overlapping pieces, (n_groups, batch x n_signals x n_blocks, length + block - 1)."""
    n_blocks = -(-n_out // block)
    wanted = n_blocks * block + length - 1
    if wanted > z.shape[-1]:
        z = functional.pad(z, (0, wanted - z.shape[-1]))
    pieces = z.unfold(-1, length + block - 1, block)  # batch, group, signal, block, time
    return pieces.transpose(0, 1).reshape(z.shape[1], -1, length + block - 1), n_blocks


def _correlate(z: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    batch, n_groups, n_signals, n_times = z.shape
    length = weight.shape[1]
    n_out, block = n_times - length + 1, _block(length)
    pieces, n_blocks = _blocks(z, length, block, n_out)
    # row i holds the filter beginning at i
    rows = functional.pad(weight, (block - 1, block - 1)).unfold(1, length + block - 1, 1).flip(1)
    out = torch.bmm(pieces, rows.transpose(1, 2))
    out = out.view(n_groups, batch, n_signals, n_blocks * block)[..., :n_out]
    return out.transpose(0, 1).contiguous()


def _correlate_filters(z: torch.Tensor, grad: torch.Tensor, length: int) -> torch.Tensor:
    n_groups, n_out = grad.shape[1], grad.shape[-1]
    block = _block(length)
    pieces, n_blocks = _blocks(z, length, block, n_out)
    grads = functional.pad(grad, (0, n_blocks * block - n_out)).transpose(0, 1).reshape(n_groups, -1, block)
    matrix = torch.bmm(grads.transpose(1, 2), pieces)  # of row i, the part that begins at i belongs to the filter
    width = length + block - 1
    skewed = matrix.as_strided((n_groups, block, length), (block * width, width + 1, 1))
    return skewed.sum(1)
