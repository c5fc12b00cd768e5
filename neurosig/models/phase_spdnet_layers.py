"""What Phase-SPDNet does before it learns anything: picked channels, delays, standardised trials, covariances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from neurosig.core.channel_names import listed, match_channels
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.preprocessing.lagged_products import stacked_length

__all__ = ["STANDARDISATIONS", "check_length", "delay_covariances", "find_picks"]

STANDARDISATIONS = ("channel", "reference", None)


def delay_covariances(x: torch.Tensor, order: int, lag: int, standardise: str | None = "channel") -> torch.Tensor:
    """Covariances of standardised trials stacked with delayed copies of themselves.

    Parameters
    ----------
    x : tensor of shape (batch, n_chans, n_times)
        Signals, float64.
    order, lag : int
        Number of copies, and samples from one to the next.
    standardise : {"channel", "reference", None}
        See `PhaseSPDNet`.

    Returns
    -------
    tensor of shape (batch, order * n_chans, order * n_chans)
        Covariances. Of one sample a trial: diagonal matrices, whose logarithm is that sample.
    """
    if x.shape[-1] == 1 and order == 1:
        return torch.diag_embed(x[..., 0].clamp(-50, 50).exp())
    length = check_length(x.shape[-1], order, lag)
    if standardise == "channel":
        x = _standard(x, dim=-1)
    x = torch.cat([x[..., p * lag : p * lag + length] for p in range(order)], dim=-2)
    if standardise == "reference":
        x = _standard(x, dim=-2)
    x = x - x.mean(dim=-1, keepdim=True)
    return x @ x.mT / (length - 1)


def check_length(n_times: int, order: int, lag: int) -> int:
    """Samples of a stacked trial; InputError where there are fewer than two, of which no covariance can be had."""
    length = stacked_length(n_times, order, lag)
    if length == 1 and n_times > 1:
        raise InputError(
            f"order {order} x lag {lag} leaves 1 sample of {n_times} to stack, and a covariance needs 2; use a smaller "
            "order or lag, or longer trials"
        )
    return length


def find_picks(picks: Any, n_chans: int, names: Sequence[str] | None) -> list[int]:
    """Positions of the picked channels.

    Parameters
    ----------
    picks : sequence of str or of int, or None
        Names or positions; None is all.
    n_chans : int
        Channels of the data.
    names : sequence of str, optional
        Their names.

    Returns
    -------
    list of int
        Positions, in the order of `picks`.

    Raises
    ------
    UsageError
        If `picks` is empty or mixed, or names channels and `names` is not given.
    ChannelError
        If a channel is not there.
    """
    if picks is None:
        return list(range(n_chans))
    picks = [picks] if isinstance(picks, str) else list(picks)
    if picks and all(isinstance(pick, str) for pick in picks):
        if names is None:
            raise UsageError(f"picks={picks} need the names of the channels: pass ch_names=, info=, or fit mne.Epochs")
        match = match_channels(names, picks)
        if match.missing:
            raise ChannelError(f"expected the picked channels {listed(match.missing)}, the data have {listed(names)}")
        return [int(i) for i in match.index if i is not None]
    if not picks or not all(hasattr(pick, "__index__") and not isinstance(pick, bool) for pick in picks):
        raise UsageError(f"picks must be names or positions of channels, got {picks!r}")
    if len(set(picks)) < len(picks) or min(picks) < 0 or max(picks) >= n_chans:
        raise ChannelError(f"expected different positions from 0 to {n_chans - 1} in picks, got {picks!r}")
    return [int(pick) for pick in picks]


def _standard(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Mean 0 and variance 1 along an axis; what is constant becomes 0."""
    mean = x.mean(dim=dim, keepdim=True)
    centred = x - mean
    variance = centred.square().mean(dim=dim, keepdim=True)
    varies = variance > 1e-24 * mean.square() + torch.finfo(x.dtype).tiny
    return torch.where(varies, centred, 0.0) / torch.where(varies, variance, 1.0).sqrt()
