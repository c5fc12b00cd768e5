"""Modules that learn from signals alone, as networks that `train_network` can train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import nn

from neurosig.training.batches import OfCollection

__all__ = ["SelfSupervised", "own_loss"]


class SelfSupervised(nn.Module):
    """A module with a loss of its own: batches go in, the loss and its parts come out.

    Parameters
    ----------
    module : nn.Module
        With ``training_loss(batch, generator) -> dict`` of "total" and its parts, the same ones each time; with
        `channels` also ``training_loss(batch, generator, channels=...)``.
    seed : int
        Of what the loss draws (masks).
    names : sequence of str
        Names of the parts, "total" left out.
    channels : sequence, optional
        What the module is told of the channels of each collection.

    Notes
    -----
    In training the draws go on from batch to batch, and their state is kept with the weights, so that a training that
    was interrupted goes on with the same draws. Each pass in evaluation mode begins with the same ones: losses of
    epochs can be compared.
    """

    def __init__(self, module: nn.Module, seed: int, names: Sequence[str], channels: Sequence[Any] | None = None):
        super().__init__()
        self.module = module
        self.seed = seed
        self.names = tuple(names)
        self.channels = channels
        self.generator = torch.Generator().manual_seed(seed)
        self._judging = torch.Generator().manual_seed(seed)

    def forward(self, X: torch.Tensor | OfCollection) -> torch.Tensor:
        """Windows to the loss and its parts, (1, 1 + n_parts)."""
        signals, number = (X.signals, int(X.number[0])) if isinstance(X, OfCollection) else (X, 0)
        told = {} if self.channels is None else {"channels": self.channels[number]}
        generator = self.generator if self.training else self._judging
        losses: dict[str, torch.Tensor] = self.module.training_loss(signals, generator, **told)  # type: ignore[operator]
        return torch.stack([losses["total"], *(losses[name].detach() for name in self.names)])[None]

    def undecayed(self) -> list[str]:
        """Patterns of the names of parameters without weight decay, as the module tells them."""
        told = getattr(self.module, "undecayed", None)
        return [] if told is None else [f"module.{pattern}" for pattern in told()]

    def train(self, mode: bool = True) -> Self:
        """Set the mode; judging begins with the same draws each time."""
        if not mode and self.training:
            self._judging.manual_seed(self.seed)
        return super().train(mode)

    def get_extra_state(self) -> torch.Tensor:
        """State of the draws."""
        return self.generator.get_state()

    def set_extra_state(self, state: Any) -> None:
        """Go on from `get_extra_state`."""
        self.generator.set_state(state.to(device="cpu", dtype=torch.uint8))


def own_loss(output: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """The loss that a `SelfSupervised` module gave: what `train_network` takes as `loss`."""
    return output[:, 0]
