"""Training on several devices, through accelerate: one process a device, all with the same weights."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from neurosig.core.errors import UsageError

__all__ = ["Accelerated", "SingleProcess", "launched", "processes"]


class SingleProcess:
    """One device: nothing to share.

    Attributes
    ----------
    rank, world : int
        Number of this process, and of how many.
    is_main : bool
        Whether this process writes files and shows progress.
    """

    device: Any = None  # whichever the caller chose
    rank = 0
    world = 1
    is_main = True

    def prepare(self, module: nn.Module) -> nn.Module:
        """The module as it is stepped."""
        return module

    def backward(self, loss: torch.Tensor) -> None:
        """Gradients."""
        loss.backward()

    def agreed(self, value: Any) -> Any:
        """The main process's value (a row of the history, a seed), in all processes."""
        return value

    def share(self, module: nn.Module) -> None:
        """The main process's weights, in all processes."""


class Accelerated(SingleProcess):
    """One of several processes under ``accelerate launch``; gradients are averaged over all.

    Raises
    ------
    UsageError
        If accelerate is not installed, or takes this process for one of another number than were started: each would
        train alone, on all trials.
    """

    def __init__(self) -> None:
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise UsageError(
                "training on several devices needs the package accelerate: pip install 'neurosig[distributed]'"
            ) from error
        self.accelerator = Accelerator()
        self.device = self.accelerator.device
        self.rank = self.accelerator.process_index
        self.world = self.accelerator.num_processes
        self.is_main = self.accelerator.is_main_process
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if started != self.world:
            raise UsageError(
                f"{started} processes were started, accelerate sees {self.world}: on processors start them with "
                f"`accelerate launch --cpu --num_processes {started}`, or set ACCELERATE_USE_CPU=true for torchrun; on "
                f"GPUs there must be one for each process, and torch must see them ({torch.cuda.device_count()} here)"
            )

    def prepare(self, module: nn.Module) -> nn.Module:
        """The module, wrapped so that gradients are shared."""
        return self.accelerator.prepare(module)

    def backward(self, loss: torch.Tensor) -> None:
        """Gradients, averaged over the processes."""
        self.accelerator.backward(loss)

    def agreed(self, value: Any) -> Any:
        """The main process's value (a row of the history, a seed), in all processes."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def share(self, module: nn.Module) -> None:
        """The main process's weights, in all processes."""
        from accelerate.utils import broadcast

        state = module.state_dict()
        module.load_state_dict({name: broadcast(value.to(self.device)) for name, value in state.items()})


def launched() -> bool:
    """Whether this process is one of several that ``accelerate launch`` or ``torchrun`` started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ


def processes(device: Any) -> SingleProcess:
    """What `device` asks for: "accelerate", or any device under ``accelerate launch``, shares the work."""
    return Accelerated() if device == "accelerate" or launched() else SingleProcess()
