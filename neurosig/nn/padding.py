"""Convolution along time that keeps the length, padded the way Keras pads."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from neurosig.core.errors import UsageError

__all__ = ["PADDINGS", "SameConv2d", "padding_of"]

PADDINGS = ("keras", "symmetric")


def padding_of(kernel: int, padding: str = "keras") -> tuple[int, int]:
    """Zeros before and after that go with a kernel.

    Parameters
    ----------
    kernel : int
        Length of the kernel, in samples.
    padding : {"keras", "symmetric"}
        "keras": (kernel - 1) // 2 before and kernel // 2 after, so that the output is as long as the input ("same" of
        Keras and TensorFlow). "symmetric": kernel // 2 on both sides, as braindecode pads: for an even kernel the
        output is one sample longer and shifted by one sample. For odd kernels both are the same.

    Returns
    -------
    before, after : int
    """
    if padding not in PADDINGS:
        raise UsageError(f"padding is one of {', '.join(map(repr, PADDINGS))}; got {padding!r}")
    after = kernel // 2
    return ((kernel - 1) // 2 if padding == "keras" else after), after


class SameConv2d(nn.Conv2d):
    """A `torch.nn.Conv2d` that pads as Keras does with ``padding="same"`` and stride 1, for even kernels too.

    torch's own ``padding="same"`` puts the odd zero on the same side, but copies the input for it and warns; this pads
    each axis by `padding_of`.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, in, space, time) -> (batch, out, space, time)."""
        space, time = self.kernel_size
        return super().forward(functional.pad(x, (*padding_of(time), *padding_of(space))))
