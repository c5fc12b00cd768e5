"""One linear layer on the flattened window: the least that is a network, and the baseline of the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from neurosig.core.errors import UsageError

__all__ = ["LinearNet"]


class LinearNet(nn.Module):
    """Flatten the window, then one linear layer: multinomial logistic regression, or linear regression.

    Parameters
    ----------
    n_chans, n_outputs, n_times : int
        Channels, outputs (classes), samples of a window.
    sfreq, chs_info, input_window_seconds : optional
        Not used; there for the common signature of networks.

    Notes
    -----
    Whatever the number of channels and samples, it can be trained: what a deeper network gains is seen against it.
    It computes in double precision, and in training also gives it. The weights start at zero: no seed is needed.

    Examples
    --------
    >>> import torch
    >>> from neurosig.models import LinearNet
    >>> LinearNet(n_chans=3, n_outputs=2, n_times=50)(torch.zeros(4, 3, 50)).shape
    torch.Size([4, 2])
    """

    def __init__(
        self,
        n_chans: int | None = None,
        n_outputs: int | None = None,
        n_times: int | None = None,
        sfreq: float | None = None,
        chs_info: Any = None,
        input_window_seconds: float | None = None,
    ):
        super().__init__()
        if n_chans is None or n_outputs is None or n_times is None:
            raise UsageError("LinearNet needs n_chans, n_outputs and n_times")
        self.flatten = nn.Flatten()
        self.head = nn.Linear(n_chans * n_times, n_outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, n_chans, n_times) -> (batch, n_outputs)."""
        x = self.flatten(x)
        if x.device.type == "mps":  # has no double precision
            return self.head(x)
        # sums of thousands of products: in double precision they do not depend on how many windows come at once
        output = nn.functional.linear(x.double(), self.head.weight.double(), self.head.bias.double())
        return output if self.training else output.to(self.head.weight.dtype)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the only layer."""
        return self.head.parameters()
