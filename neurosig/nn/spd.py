"""Layers on symmetric positive definite matrices: bilinear map, rectified eigenvalues, logarithm.

Every layer computes in float64. Functions of the eigenvalues are differentiated by divided differences written without
cancellation, so that gradients are exact to rounding also where eigenvalues repeat, and where they nearly do: the
derivative of an eigenvector, which would be infinite there, is never formed.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from neurosig.core.errors import InputError, UsageError

__all__ = ["BiMap", "LogEig", "ReEig", "log_spd", "rectify_eigenvalues", "upper_vector"]


class BiMap(nn.Module):
    """Congruence with a learned orthonormal frame, ``W' X W``.

    Parameters
    ----------
    n_in, n_out : int
        Size of the matrices that come and go; `n_out` at most `n_in`.

    Notes
    -----
    The frame W is a point of the Stiefel manifold. It is written ``B C(A)``: a fixed orthogonal matrix B, drawn at the
    start, times the first columns of the Cayley transform ``C(A) = (I - A / 2)^-1 (I + A / 2)`` of a skew-symmetric
    matrix. Its free entries, as many as the manifold has dimensions, are the parameters [2]_. So any optimizer of
    torch moves along the manifold, and W is orthonormal to rounding after every step, in averages of weights and in
    weights that were stored and loaded. At the start the gradient with respect to A is the Riemannian one of the
    canonical metric.

    ``torch.nn.utils.parametrizations.orthogonal`` is the same map but makes modules that cannot be pickled, and
    geoopt's Riemannian Adam [1]_ would want an optimizer of its own.

    References
    ----------
    .. [1] Huang and Van Gool, "A Riemannian network for SPD matrix learning", AAAI 2017,
       https://arxiv.org/abs/1608.04233
    .. [2] Lezcano-Casado, "Trivializations for gradient-based optimization on manifolds", NeurIPS 2019,
       https://arxiv.org/abs/1909.09501
    """

    base: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        if not 1 <= n_out <= n_in:
            raise UsageError(f"n_out must lie between 1 and n_in={n_in}, got {n_out!r}")
        self.n_in, self.n_out = n_in, n_out
        self.register_buffer("base", nn.init.orthogonal_(torch.empty(n_in, n_in, dtype=torch.float64)))
        rows, columns = torch.tril_indices(n_in, n_out, offset=-1)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)
        self.skew = nn.Parameter(torch.zeros(len(rows), dtype=torch.float64))

    @property
    def weight(self) -> torch.Tensor:
        """The frame W, of shape (n_in, n_out), float64."""
        half = self.skew.new_zeros(self.n_in, self.n_in, dtype=torch.float64)
        half = half.index_put((self.rows, self.columns), self.skew.double() / 2)
        half = half - half.mT
        identity = torch.eye(self.n_in, dtype=half.dtype, device=half.device)
        return self.base.double() @ torch.linalg.solve(identity - half, identity + half)[:, : self.n_out]

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """(..., n_in, n_in) -> (..., n_out, n_out), float64."""
        weight = self.weight
        return weight.mT @ X.double() @ weight

    def set_frame(self, weight: torch.Tensor) -> None:
        """Start from this frame.

        Parameters
        ----------
        weight : tensor of shape (n_in, n_out)
            Orthonormal columns.

        Raises
        ------
        InputError
            If the columns are not orthonormal to 1e-4.
        """
        weight = weight.to(self.base)
        if weight.shape != (self.n_in, self.n_out):
            raise InputError(f"expected a frame of shape {(self.n_in, self.n_out)}, got {tuple(weight.shape)}")
        off = (weight.mT @ weight - torch.eye(self.n_out).to(weight)).abs().max().item()
        if not off < 1e-4:
            raise InputError(f"expected orthonormal columns, their products differ from the identity by {off:.2g}")
        left, _, right = torch.linalg.svd(weight)  # left holds a basis of the complement, too
        with torch.no_grad():
            self.base.copy_(torch.cat([left[:, : self.n_out] @ right, left[:, self.n_out :]], dim=1))
            self.skew.zero_()

    def extra_repr(self) -> str:
        """Sizes."""
        return f"n_in={self.n_in}, n_out={self.n_out}"


class ReEig(nn.Module):
    """Eigenvalues below a floor are raised to it: the rectifier of this kind of network.

    Parameters
    ----------
    floor : float
        Smallest eigenvalue that comes out, in the unit of the matrices.
    """

    def __init__(self, floor: float = 1e-4):
        super().__init__()
        self.floor = _checked_floor(floor)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """(..., n, n) -> (..., n, n), float64."""
        return rectify_eigenvalues(X, self.floor)

    def extra_repr(self) -> str:
        """The floor."""
        return f"floor={self.floor:g}"


class LogEig(nn.Module):
    """Matrix logarithm, and its upper triangle as a vector.

    Parameters
    ----------
    floor : float
        Eigenvalues below are raised to it first: `ReEig` and this layer from one eigendecomposition.
    """

    def __init__(self, floor: float = 1e-4):
        super().__init__()
        self.floor = _checked_floor(floor)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """(..., n, n) -> (..., n * (n + 1) / 2), float64."""
        return upper_vector(log_spd(X, self.floor))

    def extra_repr(self) -> str:
        """The floor."""
        return f"floor={self.floor:g}"


def rectify_eigenvalues(X: torch.Tensor, floor: float) -> torch.Tensor:
    """Raise eigenvalues below `floor` to it.

    Parameters
    ----------
    X : tensor of shape (..., n, n)
        Symmetric matrices; of others the symmetric part is taken.
    floor : float
        Smallest eigenvalue.

    Returns
    -------
    tensor of shape (..., n, n)
        Symmetric matrices, float64. They can be differentiated once.
    """
    return _Spectral.apply(_symmetric(X), floor, False)


def log_spd(X: torch.Tensor, floor: float) -> torch.Tensor:
    """Logarithm of symmetric positive definite matrices, eigenvalues below `floor` raised to it first.

    Parameters
    ----------
    X : tensor of shape (..., n, n)
        Symmetric matrices; of others the symmetric part is taken.
    floor : float
        Smallest eigenvalue of which the logarithm is taken, above 0.

    Returns
    -------
    tensor of shape (..., n, n)
        Symmetric matrices, float64. They can be differentiated once.
    """
    return _Spectral.apply(_symmetric(X), floor, True)


def upper_vector(X: torch.Tensor) -> torch.Tensor:
    """Symmetric matrices as vectors of the same norm.

    Parameters
    ----------
    X : tensor of shape (..., n, n)
        Symmetric matrices.

    Returns
    -------
    tensor of shape (..., n * (n + 1) / 2)
        The diagonal, then the entries above it times the square root of 2, row by row.
    """
    rows, columns = torch.triu_indices(X.shape[-1], X.shape[-1], offset=1, device=X.device)
    above = X[..., rows, columns] * math.sqrt(2)
    return torch.cat([torch.diagonal(X, dim1=-2, dim2=-1), above], dim=-1)


class _Spectral(torch.autograd.Function):
    """``U f(s) U'`` of symmetric ``U s U'``, where f(s) is max(s, floor) or its logarithm."""

    @staticmethod
    def forward(ctx: Any, X: torch.Tensor, floor: float, logarithm: bool) -> torch.Tensor:
        values, vectors = torch.linalg.eigh(X)
        raised = values.clamp(min=floor)
        ctx.save_for_backward(values, vectors)
        ctx.floor, ctx.logarithm = floor, logarithm
        return (vectors * (raised.log() if logarithm else raised).unsqueeze(-2)) @ vectors.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        # Daleckii and Krein: in the basis of eigenvectors the derivative is the product, entry by entry, with the
        # divided differences of f. Those of a composition are the product of those of its parts.
        values, vectors = ctx.saved_tensors
        slopes = _slopes_of_floor(values, ctx.floor)
        if ctx.logarithm:
            slopes = slopes * _slopes_of_log(values.clamp(min=ctx.floor))
        grad = (grad + grad.mT) / 2
        return vectors @ (slopes * (vectors.mT @ grad @ vectors)) @ vectors.mT, None, None


def _slopes_of_floor(values: torch.Tensor, floor: float) -> torch.Tensor:
    """Divided differences of max(s, floor) between all pairs: 1, 0, or the share of the way that lies above."""
    a, b = values.unsqueeze(-1), values.unsqueeze(-2)
    high, low = torch.maximum(a, b), torch.minimum(a, b)
    across = (high > floor) & (low <= floor)
    share = (high - floor) / torch.where(across, high - low, 1.0)
    return torch.where(across, share, (low > floor).to(values.dtype))


def _slopes_of_log(values: torch.Tensor) -> torch.Tensor:
    """Divided differences of the logarithm between all pairs, without cancellation where two are close."""
    a, b = values.unsqueeze(-1), values.unsqueeze(-2)
    z = (a - b) / (a + b)  # log(a / b) = 2 artanh(z)
    near, far = z.abs() < 1e-3, z.abs() > 0.5
    series = 1 + z**2 / 3 + z**4 / 5  # of artanh(z) / z; what is left out is below 2e-19
    between = torch.atanh(torch.where(near | far, 0.25, z)) / torch.where(near | far, 0.25, z)
    apart = (a.log() - b.log()) / torch.where(far, a - b, 1.0)
    return torch.where(far, apart, torch.where(near, series, between) * 2 / (a + b))


def _symmetric(X: torch.Tensor) -> torch.Tensor:
    X = X.double()
    return (X + X.mT) / 2


def _checked_floor(floor: float) -> float:
    if isinstance(floor, bool | str) or not (math.isfinite(floor) and floor > 0):
        raise UsageError(f"floor must be a number above 0, got {floor!r}")
    return float(floor)
