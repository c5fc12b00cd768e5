"""How much each sample contributed to an output: integrated gradients and occlusion, as functions of tensors.

`network` is any callable from (n_trials, n_channels, n_times) to (n_trials, n_outputs) that treats trials one by one.
No more than `batch_size` trials are in it at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from neurosig.core.errors import UsageError

__all__ = ["QUADRATURES", "integrated_gradients", "occlude", "occlusion_regions", "selected_outputs"]

QUADRATURES = ("gauss_legendre", "midpoint")

Network = Callable[[torch.Tensor], torch.Tensor]
Region = tuple[slice, slice]


def selected_outputs(network: Network, X: torch.Tensor, target: torch.Tensor, *, batch_size: int = 64) -> torch.Tensor:
    """Output number ``target[i]`` of trial i.

    Parameters
    ----------
    network : callable
        See the module.
    X : tensor of shape (n_trials, n_channels, n_times)
        Trials.
    target : integer tensor of shape (n_trials,)
        Which output of each.
    batch_size : int
        Trials in the network at a time.

    Returns
    -------
    tensor of shape (n_trials,)
        Without gradients.
    """
    with torch.no_grad():
        chunks = torch.arange(len(X), device=X.device).split(batch_size)
        return torch.cat([_select(network(X[rows]), target[rows]) for rows in chunks])


def integrated_gradients(
    network: Network,
    X: torch.Tensor,
    target: torch.Tensor,
    baseline: torch.Tensor,
    *,
    n_steps: int = 50,
    quadrature: str = "gauss_legendre",
    batch_size: int = 64,
) -> torch.Tensor:
    """Integrated gradients along the straight line from the baseline to each trial.

    The attribution of a sample is ``(x - b) * ∫ ∂f/∂x (b + a (x - b)) da`` over a in [0, 1].

    Parameters
    ----------
    network : callable
        See the module; differentiable.
    X : tensor of shape (n_trials, n_channels, n_times)
        Trials.
    target : integer tensor of shape (n_trials,)
        Which output is explained.
    baseline : tensor that broadcasts to X
        Where the line begins.
    n_steps : int
        Points at which the gradient is taken.
    quadrature : {"gauss_legendre", "midpoint"}
        How they are placed and weighted.
    batch_size : int
        Points in the network at a time.

    Returns
    -------
    tensor of shape (n_trials, n_channels, n_times)
        Attributions. Their sum is ``f(x) - f(b)`` up to the error of the quadrature (completeness).

    Raises
    ------
    UsageError
        If an option is unknown, or the network has no gradient with respect to its input.

    References
    ----------
    Sundararajan, Taly, Yan: Axiomatic attribution for deep networks. ICML 2017, equations 1 and 3.
    """
    positions, weights = _quadrature(quadrature, n_steps)
    baseline = baseline.expand_as(X)
    total = torch.zeros_like(X)
    for rows in torch.arange(len(X), device=X.device).split(batch_size):
        x, b, wanted = X[rows], baseline[rows], target[rows]
        # a few trials are taken at many steps at once, many trials at one
        together = max(1, batch_size // len(rows))
        for first in range(0, n_steps, together):
            a = torch.as_tensor(positions[first : first + together], dtype=X.dtype, device=X.device)
            w = torch.as_tensor(weights[first : first + together], dtype=X.dtype, device=X.device)
            points = b[None] + a[:, None, None, None] * (x - b)[None]
            gradient = _gradient(network, points.flatten(0, 1), wanted.repeat(len(a)))
            total[rows] += torch.einsum("s,snct->nct", w, gradient.reshape(points.shape))
    return total * (X - baseline)


def occlusion_regions(
    n_channels: int, n_times: int, *, by: str = "channel", window: int | None = None, step: int | None = None
) -> list[Region]:
    """Regions of a trial to be covered one at a time; together they cover it all.

    Parameters
    ----------
    n_channels, n_times : int
        Size of a trial.
    by : {"channel", "time", "channel_time"}
        A channel over the whole trial, all channels over a window, or a channel over a window.
    window, step : int, optional
        Samples of a window and between the starts of two (`window` if not given). The last windows end with the trial.

    Returns
    -------
    list of (slice, slice)
        Channels and samples of each region.

    Raises
    ------
    UsageError
        If `by` is unknown, or the window is missing, longer than the trial, or shorter than the step.
    """
    if by not in ("channel", "time", "channel_time"):
        raise UsageError(f"by must be 'channel', 'time' or 'channel_time', got {by!r}")
    times = [slice(0, n_times)]
    if by != "channel":
        if window is None:
            raise UsageError(f"occlusion by {by!r} needs the length of the windows; pass window=... in seconds")
        step = window if step is None else step
        if not 1 <= window <= n_times:
            raise UsageError(f"expected a window of 1 to {n_times} samples to cover, got {window}")
        if not 1 <= step <= window:
            raise UsageError(f"expected a step of 1 to {window} samples, so that windows leave no gap, got {step}")
        starts = range(0, max(n_times - window + step, 1), step)
        times = [slice(start, min(start + window, n_times)) for start in starts]
    channels = [slice(0, n_channels)] if by == "time" else [slice(i, i + 1) for i in range(n_channels)]
    return [(channel, time) for channel in channels for time in times]


def occlude(
    network: Network,
    X: torch.Tensor,
    target: torch.Tensor,
    baseline: torch.Tensor,
    regions: Sequence[Region],
    *,
    batch_size: int = 64,
) -> torch.Tensor:
    """By how much the output falls when a region of the trial is replaced by the baseline.

    Parameters
    ----------
    network : callable
        See the module.
    X : tensor of shape (n_trials, n_channels, n_times)
        Trials.
    target : integer tensor of shape (n_trials,)
        Which output is explained.
    baseline : tensor that broadcasts to X
        What a region is replaced by.
    regions : list of (slice, slice)
        Channels and samples of each region, see `occlusion_regions`.
    batch_size : int
        Covered trials in the network at a time.

    Returns
    -------
    tensor of shape (n_trials, n_channels, n_times)
        The fall, spread evenly over the samples of its region; where regions overlap, their mean. For a network that
        is a sum over samples, and regions that do not overlap, the sum is ``f(x) - f(b)``; else it need not be.

    References
    ----------
    Zeiler, Fergus: Visualizing and understanding convolutional networks. ECCV 2014, section 4.2.
    """
    baseline = baseline.expand_as(X)
    whole = selected_outputs(network, X, target, batch_size=batch_size)
    total, cover = torch.zeros_like(X), torch.zeros_like(X[0])
    for channels, times in regions:
        cover[channels, times] += 1
    for pairs in _chunks(len(X), len(regions), batch_size):
        rows = torch.tensor([trial for trial, _ in pairs], device=X.device)
        covered = X[rows]
        for i, (trial, region) in enumerate(pairs):
            covered[i][regions[region]] = baseline[trial][regions[region]]
        falls = whole[rows] - selected_outputs(network, covered, target[rows], batch_size=batch_size)
        for fall, (trial, region) in zip(falls, pairs, strict=True):
            part = total[trial][regions[region]]
            part += fall / part.numel()
    return total / cover.clamp(min=1)


def _chunks(n_trials: int, n_regions: int, size: int) -> Iterator[list[tuple[int, int]]]:
    n = n_trials * n_regions
    for first in range(0, n, size):
        yield [divmod(i, n_regions) for i in range(first, min(first + size, n))]


def _quadrature(name: str, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in [0, 1] and their weights, which sum to one."""
    if isinstance(n_steps, bool) or not isinstance(n_steps, int | np.integer) or n_steps < 1:
        raise UsageError(f"n_steps must be a whole number from 1, got {n_steps!r}")
    if name == "gauss_legendre":
        points, weights = np.polynomial.legendre.leggauss(int(n_steps))
        return (1 + points) / 2, weights / 2
    if name == "midpoint":
        return (np.arange(n_steps) + 0.5) / n_steps, np.full(n_steps, 1 / n_steps)
    raise UsageError(f"quadrature must be one of {', '.join(QUADRATURES)}, got {name!r}")


def _gradient(network: Network, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    x = x.detach().requires_grad_(True)
    # cuDNN has no backward pass for recurrent layers in evaluation mode; PyTorch's own has
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        output = _select(network(x), target).sum()
        if not output.requires_grad:
            raise UsageError("the network has no gradient with respect to its input; explain it by method='occlusion'")
        (gradient,) = torch.autograd.grad(output, x)
    return gradient


def _select(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if output.ndim != 2:
        raise UsageError(
            f"expected a network with outputs of shape (n_trials, n_outputs), got {tuple(output.shape)}; "
            "a network that answers for every moment cannot be explained trial by trial"
        )
    return output.gather(1, target[:, None])[:, 0]
