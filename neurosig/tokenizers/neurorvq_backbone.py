"""The multi-scale encoder of NeuroRVQ: convolutions of four lengths, then one transformer for all scales at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from neurosig.core.errors import ChannelError, InputError
from neurosig.tokenizers.neurorvq_channels import spatial_positions, temporal_positions
from neurosig.tokenizers.neurorvq_config import BackboneConfig

__all__ = ["Block", "MultiScaleEncoder", "MultiScaleTransformer", "channel_rows", "initialise_weights", "patches"]

_ROWS_IN_CACHE = 640  # vectors that pass the blocks together, on a CPU, so that what they make stays in a core's cache


def patches(x: torch.Tensor, size: int) -> torch.Tensor:
    """Cut windows into patches.

    Parameters
    ----------
    x : tensor of shape (n, channels, times)
        Windows, of whole patches.
    size : int
        Samples of a patch.

    Returns
    -------
    tensor of shape (n, channels * n_patches, size)
        Channel after channel.
    """
    if x.ndim != 3:
        raise InputError(f"expected windows of shape (n, channels, times), got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise InputError(f"expected windows as floating-point numbers, got {x.dtype}")
    n_times = x.shape[2]
    if n_times < size:
        raise InputError(f"expected at least one patch of {size} samples, got windows of {n_times}")
    if n_times % size:
        raise InputError(f"expected whole patches of {size} samples, got windows of {n_times}; cut or pad them")
    return x.reshape(len(x), -1, size)


def channel_rows(channels: Sequence[str] | Sequence[int] | torch.Tensor, n_channels: int, n_rows: int) -> torch.Tensor:
    """Rows of channels in the spatial table, checked.

    Parameters
    ----------
    channels : sequence of str, or of int
        Names, looked up by `spatial_positions`, or rows.
    n_channels, n_rows : int
        Channels of the data, and rows of the table.

    Returns
    -------
    int64 tensor of shape (n_channels,)

    Raises
    ------
    ChannelError
        If a name is unknown, a row is outside the table, or their number is not that of the channels.
    """
    if not isinstance(channels, torch.Tensor):
        named = any(isinstance(channel, str) for channel in channels)
        rows = spatial_positions([str(channel) for channel in channels]) if named else list(channels)
        channels = torch.as_tensor(rows, device="cpu")  # also where a module is built without memory for its weights
    if channels.shape != (n_channels,):
        raise ChannelError(f"expected {n_channels} channels, as the windows have, got {tuple(channels.shape)} of them")
    if channels.is_floating_point() or bool(((channels < 0) | (channels >= n_rows)).any()):
        raise ChannelError(f"expected rows of the spatial table, 0 to {n_rows - 1}, got {channels.tolist()}")
    return channels.long()


def initialise_weights(module: nn.Module, blocks: Sequence[Block], generator: torch.Generator | None = None) -> None:
    """Published start: truncated normal of spread 0.02, biases zero, what block l adds divided by sqrt(2 (l + 1))."""
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            nn.init.trunc_normal_(parameter, std=0.02, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    with torch.no_grad():
        for i, block in enumerate(blocks):
            block.attn.proj.weight.div_(math.sqrt(2 * (i + 1)))
            block.mlp.fc2.weight.div_(math.sqrt(2 * (i + 1)))


def _mean_pool(x: torch.Tensor, size: int) -> torch.Tensor:
    """Means of `size` neighbours of the last axis, what is left over dropped: avg_pool2d for a tenth of its time."""
    end = x.shape[-1] // size * size
    total = x[..., 0:end:size]
    for i in range(1, size):
        total = total + x[..., i:end:size]
    return total / size


class Branch(nn.Module):
    """One scale: two convolutions in time, each normalised, gated and pooled; patches to features of the same order."""

    def __init__(self, config: BackboneConfig, scale: int):
        super().__init__()
        n, groups = config.n_filters, config.n_groups
        first, second = config.kernels_1[scale], config.kernels_2[scale]
        self.conv1 = nn.Conv2d(1, n, (1, first), padding=(0, first // 2))
        self.norm1 = nn.GroupNorm(groups, n)
        self.conv2 = nn.Conv2d(n, n, (1, second), padding=(0, second // 2))
        self.norm2 = nn.GroupNorm(groups, n)
        self.pool_1, self.pool_2 = config.pool_1, config.pool_2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, n_patches, size) -> (n, n_patches, embed_dim); the normalisation runs over all patches of a window."""
        x = functional.gelu(self.norm1(self.conv1(x[:, None])))
        x = _mean_pool(x, self.pool_1)
        x = functional.gelu(self.norm2(self.conv2(x)))
        x = _mean_pool(x, self.pool_2)
        return x.permute(0, 2, 3, 1).flatten(2)  # sample after sample, in each all filters


class Attention(nn.Module):
    """Self-attention with biases on queries and values only, and normalised queries and keys."""

    def __init__(self, dim: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_norm = nn.LayerNorm(dim // n_heads, eps=1e-6)
        self.k_norm = nn.LayerNorm(dim // n_heads, eps=1e-6)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, length, dim) -> the same."""
        n, length, dim = x.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        q, k, v = functional.linear(x, self.qkv.weight, bias).view(n, length, 3, self.n_heads, -1).unbind(2)
        q, k = self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2)
        x = functional.scaled_dot_product_attention(q, k, v.transpose(1, 2))
        return self.proj(x.transpose(1, 2).reshape(n, length, dim))


class Perceptron(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., dim) -> (..., dim)."""
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block; with `layer_scale` above 0, factors on what attention and perceptron add."""

    def __init__(self, dim: int, n_heads: int, mlp_ratio: float, layer_scale: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, n_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Perceptron(dim, int(dim * mlp_ratio))
        self.gamma_1 = nn.Parameter(torch.full((dim,), layer_scale)) if layer_scale > 0 else None
        self.gamma_2 = nn.Parameter(torch.full((dim,), layer_scale)) if layer_scale > 0 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, length, dim) -> the same."""
        attended = self.attn(self.norm1(x))
        x = x + (attended if self.gamma_1 is None else self.gamma_1 * attended)
        added = self.mlp(self.norm2(x))
        return x + (added if self.gamma_2 is None else self.gamma_2 * added)


class MultiScaleTransformer(nn.Module):
    """Tables of space and time, a class token, and blocks shared by all scales, which pass as one batch.

    Parameters
    ----------
    config : BackboneConfig
        Sizes.
    depth : int
        Blocks.
    """

    def __init__(self, config: BackboneConfig, depth: int):
        super().__init__()
        dim = config.embed_dim
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(config.n_positions, dim))
        self.time_embed = nn.Parameter(torch.zeros(config.n_slots, dim))
        self.blocks = nn.ModuleList(
            Block(dim, config.n_heads, config.mlp_ratio, config.layer_scale) for _ in range(depth)
        )
        self.fc_norm = nn.ModuleList(nn.LayerNorm(dim) for _ in range(config.n_scales))

    def transform(self, features: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Attend, each scale for itself.

        Parameters
        ----------
        features : tensor of shape (n_scales, n, channels * n_patches, dim)
            Patches, channel after channel.
        rows : int64 tensor of shape (channels,)
            Rows of the spatial table. The class token uses row 0, as the channel a1 does.

        Returns
        -------
        tensor of the same shape
            Without the class token, before `fc_norm`.
        """
        n_scales, n, length, dim = features.shape
        slots = temporal_positions(length // len(rows), len(self.time_embed)).to(rows.device)
        places = (self.pos_embed[rows][:, None] + self.time_embed[slots]).reshape(length, dim)
        first = (self.cls_token + self.pos_embed[0]).expand(n_scales * n, 1, dim)
        x = torch.cat([first, features.reshape(n_scales * n, length, dim) + places], dim=1)
        in_cache = x.device.type == "cpu" and not torch.is_grad_enabled()
        parts = x.chunk(max(1, math.ceil(len(x) * (length + 1) / _ROWS_IN_CACHE))) if in_cache else (x,)
        return torch.cat([self._attend(part)[:, 1:] for part in parts]).reshape(features.shape)

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x

    def normalise(self, x: torch.Tensor) -> torch.Tensor:
        """LayerNorm of each scale: (n_scales, ...) -> the same."""
        return torch.stack([norm(scale) for norm, scale in zip(self.fc_norm, x, strict=True)])


class MultiScaleEncoder(MultiScaleTransformer):
    """Patches to features at several scales.

    Parameters
    ----------
    config : BackboneConfig
        Sizes.

    References
    ----------
    .. [1] "NeuroRVQ: Multi-scale EEG tokenization for generative large brainwave models", https://arxiv.org/abs/2510.13068
    """

    def __init__(self, config: BackboneConfig):
        super().__init__(config, config.depth)
        self.config = config
        self.branches = nn.ModuleList(Branch(config, scale) for scale in range(config.n_scales))

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        """Windows (n, channels, times) -> features (n_scales, n, channels * n_patches, embed_dim)."""
        cut = patches(x, self.config.patch_size).to(self.cls_token.dtype)
        return torch.stack([branch(cut) for branch in self.branches])

    def forward(self, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Windows to normalised features.

        Parameters
        ----------
        x : tensor of shape (n, channels, times)
            Windows, of whole patches.
        rows : int64 tensor of shape (channels,)
            Rows of the spatial table.

        Returns
        -------
        tensor of shape (n_scales, n, channels * n_patches, embed_dim)
        """
        return self.normalise(self.transform(self.convolve(x), rows))
