"""Max-norm: no filter longer than a bound, kept by projection after each step or by scaling in the forward pass."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.utils import parametrize

__all__ = ["MaxNorm", "constrain", "limit_norm", "project"]


def limit_norm(weight: torch.Tensor, max_norm: float) -> torch.Tensor:
    """The weight with every filter (entry of the first axis) of Euclidean norm at most `max_norm`.

    Parameters
    ----------
    weight : Tensor, shape (n_filters, ...)
        In torch's order. Keras constrains the kernel (height, width, in, out) of a convolution along its first three
        axes, that of a dense layer along the first and that of a depthwise (height, 1, in, multiplier) along the first:
        in torch's order all three are the norm of one entry of the first axis.
    max_norm : float

    Returns
    -------
    Tensor
        A filter within the bound comes back as it is, to the bit.
    """
    norms = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    # 1e-7 as in Keras and torch.renorm: the result lies within the bound also after rounding
    factors = torch.where(norms > max_norm, max_norm / (norms + 1e-7), torch.ones_like(norms))
    return weight * factors.view(-1, *[1] * (weight.dim() - 1))


class MaxNorm(nn.Module):
    """`limit_norm` as a parametrization: the stored weight is free, the one that is used is within the bound."""

    def __init__(self, max_norm: float):
        super().__init__()
        self.max_norm = max_norm

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The stored weight to the one that is used."""
        return limit_norm(weight, self.max_norm)

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight that is set to the one that is stored: itself."""
        return weight


@torch.no_grad()
def project(limits: Iterable[tuple[torch.Tensor, float]]) -> None:
    """Bring weights back within their bounds, in place; to be called after a step of the optimizer.

    Parameters
    ----------
    limits : iterable of (Tensor, float)
        Weights and their bounds.
    """
    for weight, max_norm in limits:
        weight.copy_(limit_norm(weight, max_norm))


def constrain(layer: nn.Module, max_norm: float | None) -> None:
    """Make a layer use its weight within a bound in every forward pass, or free it (None)."""
    if parametrize.is_parametrized(layer, "weight"):
        with torch.no_grad():
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    if max_norm is not None:
        parametrize.register_parametrization(layer, "weight", MaxNorm(max_norm))
