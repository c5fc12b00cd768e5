"""Filtering in time, batch norm, filtering in space: the same in the cheap order.

EEGNet filters every channel with F1 long kernels, normalises, and sums the channels of each of the F1 maps with D sets
of weights. Both filters are linear and act on different axes, so they commute: summing the channels first leaves F1 x D
signals to filter in place of F1 x C. The batch norm between them is an affine map whose two numbers for each kernel are
the mean and the variance of the filtered channels. In training these follow, without filtering, from the mean and the
covariance of the K samples under the kernel, which are an autocorrelation of the batch with corrections for its ends.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.nn import functional

from neurosig.nn.padding import padding_of
from neurosig.nn.toeplitz import filter_groups

__all__ = ["LagMoments", "can_project", "lag_moments", "project_and_filter"]


class LagMoments(NamedTuple):
    """Moments of the samples under a kernel, over all its places, channels and windows of a batch.

    ``mean`` (length,) and ``covariance`` (length, length), biased, in double precision, over ``n_places``; ``before``:
    the zeros before the first sample.
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    n_places: int
    before: int

    def of(self, length: int, padding: str) -> LagMoments:
        """Those of a kernel that is not longer, with outputs of the same number."""
        before = padding_of(length, padding)[0]
        start = self.before - before
        part = slice(start, start + length)
        return LagMoments(self.mean[part], self.covariance[part, part], self.n_places, before)


def can_project(x: torch.Tensor, bnorm: nn.BatchNorm2d) -> bool:
    """Whether `project_and_filter` does the same as the plain order, gradients included, and is the faster way.

    Not where a gradient must reach the windows through the statistics of the batch, nor on graphics processors and in
    reduced precision, where long convolutions are no burden.
    """
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu") or x.dtype not in (torch.float32, torch.float64):
        return False
    return not (bnorm.training and (x.requires_grad or torch.compiler.is_compiling()))


@torch.no_grad()
def lag_moments(x: torch.Tensor, length: int, padding: str) -> LagMoments:
    """Mean and covariance of the samples under a kernel as it slides over zero-padded windows.

    Parameters
    ----------
    x : Tensor, shape (batch, n_chans, n_times)
    length : int
        Of the kernel.
    padding : {"keras", "symmetric"}

    Returns
    -------
    LagMoments
    """
    before, after = padding_of(length, padding)
    n_times = x.shape[-1]
    n_out = n_times + before + after - length + 1
    rows = x.reshape(-1, n_times)
    n_fft = _fast_size(n_times + length)
    power = torch.zeros(n_fft // 2 + 1, dtype=torch.float64, device=x.device)
    for part in rows.split(max(1, (1 << 21) // n_fft)):  # bounded memory
        power += torch.view_as_real(torch.fft.rfft(part.double(), n_fft)).square_().sum((0, 2))
    lags = torch.fft.irfft(power, n_fft)[:length]  # sum of x[t] x[t + lag] over all t

    # Over places t = 0 ... n_out - 1 only: take away what lies before and after. Under the kernel's sample i at place t
    # is padded sample t + i, so sums for (i, j) run over the padded samples i ... i + n_out - 1
    total = n_out + length - 1  # padded samples
    head = _padded(rows, 0, length - 1, before)
    tail = _padded(rows, n_out, total, before)
    index = torch.arange(length, device=x.device)
    second = lags[(index[:, None] - index[None, :]).abs()]
    second = second - _running(head.T @ head, length) - _running((tail.T @ tail).flip(0, 1), length).flip(0, 1)
    sums = torch.full((length,), 0.0, dtype=torch.float64, device=x.device) + rows.double().sum()
    sums[1:] -= head.sum(0).cumsum(0)
    sums[:-1] -= tail.sum(0).flip(0).cumsum(0).flip(0)
    count = rows.shape[0] * n_out
    mean = sums / count
    return LagMoments(mean, second / count - torch.outer(mean, mean), count, before)


def project_and_filter(
    x: torch.Tensor,
    conv_temporal: nn.Conv2d,
    bnorm: nn.BatchNorm2d,
    conv_spatial: nn.Conv2d,
    padding: str,
    moments: LagMoments | None = None,
) -> torch.Tensor:
    """``conv_spatial(bnorm(conv_temporal(x)))`` in the cheap order.

    Parameters
    ----------
    x : Tensor, shape (batch, n_chans, n_times)
    conv_temporal : torch.nn.Conv2d
        Kernel (F1, 1, 1, K), no bias.
    bnorm : torch.nn.BatchNorm2d
        Of F1 maps. In training its running statistics are brought forward as it does itself.
    conv_spatial : torch.nn.Conv2d
        Kernel (F1 x D, 1, n_chans, 1) in F1 groups, no bias.
    padding : {"keras", "symmetric"}
        Of the temporal convolution.
    moments : LagMoments or None
        Of this batch and kernel length, where they are known; only used in training.

    Returns
    -------
    Tensor, shape (batch, F1 x D, 1, n_out)

    Notes
    -----
    Exact up to rounding, for outputs, gradients of all parameters and running statistics. Statistics are computed in
    double precision: a filter that passes a thousandth of the power would otherwise lose three digits.
    """
    kernel, space = conv_temporal.weight[:, 0, 0], conv_spatial.weight[:, 0, :, 0]
    n_filters, length = kernel.shape
    if bnorm.training:
        moments = moments or lag_moments(x, length, padding)
        mean, variance = _batch_statistics(kernel, moments)
        _bring_forward(bnorm, mean, variance, moments.n_places)
        scale = torch.rsqrt(variance + bnorm.eps)
        scale, mean = scale.to(x.dtype), mean.to(x.dtype)
    else:
        mean, variance = cast(torch.Tensor, bnorm.running_mean), cast(torch.Tensor, bnorm.running_var)
        scale = torch.rsqrt(variance + bnorm.eps)
    if bnorm.affine:
        scale = scale * bnorm.weight
        shift = bnorm.bias - mean * scale
    else:
        shift = -mean * scale
    n_signals = space.shape[0] // n_filters
    sums = space.sum(1).view(n_filters, n_signals)
    scaled = (space.view(n_filters, n_signals, -1) * scale[:, None, None]).flatten(0, 1)
    z = functional.pad(functional.conv1d(x, scaled[:, :, None]), padding_of(length, padding))
    if torch.compiler.is_compiling():  # a plain graph for export
        y = functional.conv1d(z, kernel.repeat_interleave(n_signals, 0)[:, None], groups=space.shape[0])
        return (y + (shift[:, None] * sums).view(-1, 1)).unsqueeze(2)
    y = filter_groups(z.view(z.shape[0], n_filters, n_signals, -1), kernel)
    return (y + (shift[:, None] * sums)[:, :, None]).view(y.shape[0], -1, 1, y.shape[-1])


def _batch_statistics(kernel: torch.Tensor, moments: LagMoments) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and biased variance of each filter's output, differentiable in the kernels."""
    kernel = kernel.double()
    return kernel @ moments.mean, ((kernel @ moments.covariance) * kernel).sum(1)


@torch.no_grad()
def _bring_forward(bnorm: nn.BatchNorm2d, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
    """Running statistics after a batch, as in `torch.nn.BatchNorm2d`: the variance there is the unbiased one."""
    if not bnorm.track_running_stats:
        return
    running: Any = bnorm
    running.num_batches_tracked.add_(1)
    momentum = 1.0 / float(running.num_batches_tracked) if bnorm.momentum is None else bnorm.momentum
    unbiased = variance * (count / max(1, count - 1))
    running.running_mean.lerp_(mean.to(running.running_mean.dtype), momentum)
    running.running_var.lerp_(unbiased.to(running.running_var.dtype), momentum)


def _padded(rows: torch.Tensor, start: int, stop: int, before: int) -> torch.Tensor:
    """Samples start ... stop of the zero-padded rows, in double precision."""
    n_times = rows.shape[1]
    low, high = max(start - before, 0), min(stop - before, n_times)
    if high <= low:
        return rows.new_zeros((rows.shape[0], stop - start), dtype=torch.float64)
    return functional.pad(rows[:, low:high].double(), (low + before - start, stop - before - high))


def _running(gram: torch.Tensor, length: int) -> torch.Tensor:
    """Sums along the diagonals: entry (i, j) is the sum over s >= 1 of gram[i - s, j - s], for the first samples."""
    out = functional.pad(gram, (1, 0, 1, 0))
    for i in range(1, length):
        out[i, 1:] += out[i - 1, :-1]
    return out


def _fast_size(n: int) -> int:
    """Smallest even size from n on that has no prime factor above 5."""
    size = n + n % 2
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2
