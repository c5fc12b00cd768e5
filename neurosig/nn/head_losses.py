"""The cross-entropy of many large linear heads, of which one at a time is held in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

__all__ = ["mean_cross_entropy"]


def mean_cross_entropy(
    x: torch.Tensor, weights: torch.Tensor, biases: torch.Tensor, wanted: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy over linear heads and vectors.

    Parameters
    ----------
    x : tensor of shape (n_groups, n, dim)
        Vectors, at least one.
    weights : tensor of shape (n_groups, n_heads, n_codes, dim)
        Heads; those of a group read its vectors.
    biases : tensor of shape (n_groups, n_heads, n_codes)
        Of the heads.
    wanted : int64 tensor of shape (n_groups * n_heads, n)
        What each head is to predict for each vector.

    Returns
    -------
    tensor of shape ()
        The mean.

    Notes
    -----
    The gradients are computed together with the value, head by head, so that logits, which are many times larger than
    all that goes in, are neither kept for the backward pass nor computed twice. There is no second derivative.
    """
    product = torch.float32
    if torch.is_autocast_enabled(x.device.type):  # within an autograd function it would not be applied
        product = torch.get_autocast_dtype(x.device.type)
    elif x.dtype == torch.float64:
        product = torch.float64
    needs = torch.is_grad_enabled() and any(value.requires_grad for value in (x, weights, biases))
    with torch.autocast(x.device.type, enabled=False):
        return _MeanCrossEntropy.apply(x, weights, biases, wanted, product, needs)


class _MeanCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Any, weights: Any, biases: Any, wanted: Any, product: torch.dtype, needs: bool
    ) -> torch.Tensor:
        n_groups, n_heads = biases.shape[:2]
        grads = [torch.zeros_like(value) for value in (x, weights, biases)] if needs else []
        total = torch.zeros((), dtype=biases.dtype, device=x.device)
        share = 1 / (n_groups * n_heads * x.shape[1])
        rows = torch.arange(x.shape[1], device=x.device)
        for group in range(n_groups):
            vectors = x[group].to(product)
            for head in range(n_heads):
                weight, target = weights[group, head].to(product), wanted[group * n_heads + head]
                logits = (vectors @ weight.T).to(biases.dtype) + biases[group, head]
                log_p = functional.log_softmax(logits, dim=1)
                total -= log_p[rows, target].sum() * share
                if needs:
                    off = log_p.exp_()  # of the logits; divided by their number only after the products of few digits
                    off[rows, target] -= 1
                    grads[2][group, head] = off.sum(dim=0) * share
                    off = off.to(product)
                    grads[1][group, head] = (off.T @ vectors).to(weights.dtype) * share
                    grads[0][group] += (off @ weight).to(x.dtype) * share
        ctx.save_for_backward(*grads)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> Any:
        return (*(grad * grad_outputs[0] for grad in ctx.saved_tensors), None, None, None)
