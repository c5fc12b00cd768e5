"""A convolution in time and one in space, one after the other or as one, and what follows on it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["ClippedLog", "TimeThenSpace", "convolve_time", "mean_pool_time", "space_time_convolution"]


class TimeThenSpace(nn.Module):
    """Temporal convolution of each channel, then a spatial one over all channels and filters, without padding.

    Parameters
    ----------
    conv_time : torch.nn.Conv2d
        Kernel (n_time, 1, length, 1).
    conv_spat : torch.nn.Conv2d
        Kernel (n_space, n_time, 1, n_chans).
    """

    def __init__(self, conv_time: nn.Conv2d, conv_spat: nn.Conv2d):
        super().__init__()
        self.conv_time = conv_time
        self.conv_spat = conv_spat

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 1, time, n_chans) -> (batch, n_space, time, 1), in the order of the paper."""
        return self.conv_spat(self.conv_time(x))

    def combined(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The one kernel (n_space, n_chans, length) and the bias that do the same."""
        time, space = self.conv_time.weight[:, 0, :, 0], self.conv_spat.weight[:, :, 0]
        bias = self.conv_spat.bias
        if self.conv_time.bias is not None:
            through = space.sum(-1) @ self.conv_time.bias
            bias = through if bias is None else through + bias
        return torch.einsum("ik,oic->ock", time, space), bias


def space_time_convolution(x: torch.Tensor, layer: TimeThenSpace) -> torch.Tensor:
    """Both convolutions as one, (batch, n_chans, time) -> (batch, n_space, 1, time).

    It takes n_space x n_chans x length products for each sample, in place of n_time x n_chans x (length + n_space), and
    what lies between the two steps is never stored. In memory the result has its channels last: oneDNN's best order.
    """
    kernel, bias = layer.combined()
    return functional.conv2d(x.unsqueeze(2).contiguous(memory_format=torch.channels_last), kernel.unsqueeze(2), bias)


def convolve_time(x: torch.Tensor, layer: nn.Conv2d) -> torch.Tensor:
    """A layer with kernel (out, in, length, 1), on (batch, in, 1, time); channels last in memory."""
    return functional.conv2d(x.contiguous(memory_format=torch.channels_last), layer.weight.transpose(2, 3), layer.bias)


def mean_pool_time(x: torch.Tensor, size: int, stride: int) -> torch.Tensor:
    """Means over windows of the last axis, in two steps where windows overlap by whole strides: fewer sums.

    Parameters
    ----------
    x : Tensor, shape (batch, maps, 1, time)
    size, stride : int
        Of the windows, in samples.
    """
    if size % stride or size == stride:
        return functional.avg_pool2d(x, (1, size), (1, stride))
    return functional.avg_pool2d(functional.avg_pool2d(x, (1, stride)), (1, size // stride), (1, 1))


class ClippedLog(nn.Module):
    """Logarithm of values kept within bounds.

    Parameters
    ----------
    floor : float
        Smaller values count as this.
    ceiling : float or None
        Larger values count as this.
    """

    def __init__(self, floor: float = 1e-6, ceiling: float | None = None):
        super().__init__()
        self.floor = floor
        self.ceiling = ceiling

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Elementwise."""
        return torch.log(x.clamp(self.floor, self.ceiling))
