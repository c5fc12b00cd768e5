"""How a network is trained, as one checked record."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch

from neurosig.core.errors import UsageError
from neurosig.core.near_names import did_you_mean, find_name

__all__ = ["PRECISIONS", "SCHEDULES", "STOPPINGS", "TrainingSettings", "optimizer_names"]

SCHEDULES = (None, "cosine", "one_cycle", "plateau", "warmup_cosine", "warmup_linear")
STOPPINGS = (None, "loss", "comparison")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# these need several evaluations a step, gradients or weights of another kind, or take no weight_decay
_NOT_OFFERED = frozenset({"LBFGS", "Muon", "Optimizer", "Rprop", "SparseAdam"})


def optimizer_names() -> list[str]:
    """Optimizers of `torch.optim` that can be named, sorted."""
    found = {name: getattr(torch.optim, name) for name in dir(torch.optim) if name[:1].isupper()}
    return sorted(
        name
        for name, kind in found.items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and name not in _NOT_OFFERED
    )


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one training.

    Parameters
    ----------
    max_epochs, batch_size : int
        Passes over the training part at most, and windows in a batch.
    lr : float
        Learning rate; for "one_cycle" its peak.
    optimizer : str
        Name in `torch.optim`; capitals do not matter.
    weight_decay : float
        Handed to the optimizer.
    schedule : {None, "cosine", "one_cycle", "plateau", "warmup_cosine", "warmup_linear"}
        Course of the learning rate: constant; half a cosine to zero over `max_epochs`; up and down once, batch by
        batch; a tenth after 5 epochs without a lower validation loss (training loss where nothing validates); from zero
        to `lr` over `warmup` epochs and along half a cosine to `final_lr`, batch by batch; from a tenth to `lr` over
        `warmup` epochs and straight down to a tenth, epoch by epoch.
    warmup : float
        Epochs that the last two schedules rise.
    final_lr : float
        Where "warmup_cosine" ends.
    stopping : {None, "loss", "comparison"}
        Which rule stops the training and picks the best weights, see `neurosig.training.stopping`.
    patience : int or None
        Epochs without improvement that the rule allows; None never stops before `max_epochs`, the best weights are
        still taken.
    betas : tuple of float, or None
        Handed to optimizers of Adam's family; None leaves torch's.
    clip_norm : float or None
        Largest norm of the gradient of all parameters together.
    precision : {"float32", "bfloat16", "float16"}
        Type of the network's products (automatic mixed precision); weights, losses and updates stay float32.
    ema : float or None
        Decay of the exponential moving average of weights and buffers, which then validates and predicts.
    max_norm : bool
        Whether ``module.project_()``, where the module has it, is called after each step.
    compile : bool
        Whether the network runs through `torch.compile`.
    checkpoint : str or None
        Folder that keeps the state after each epoch.
    seed : int
        Seed of the order of trials, dropout and all else that is drawn.
    show_progress : bool
        Whether progress is shown: a bar where someone can see it, elsewhere a line of losses now and then.

    Raises
    ------
    UsageError
        If a value is outside what is said here.
    """

    max_epochs: int = 100
    batch_size: int = 64
    lr: float = 1e-3
    optimizer: str = "AdamW"
    weight_decay: float = 0.0
    schedule: str | None = None
    stopping: str | None = "loss"
    patience: int | None = 15
    warmup: float = 0.0
    final_lr: float = 0.0
    betas: tuple[float, float] | None = None
    clip_norm: float | None = None
    precision: str = "float32"
    ema: float | None = None
    max_norm: bool = True
    compile: bool = False
    checkpoint: str | None = None
    seed: int = 0
    show_progress: bool = False

    def __post_init__(self):
        for name in ("max_epochs", "batch_size"):
            _check(_is_whole(getattr(self, name)) and getattr(self, name) >= 1, name, "a whole number above 0", self)
        _check(self.patience is None or (_is_whole(self.patience) and self.patience >= 1), "patience",
               "a whole number above 0, or None", self)  # fmt: skip
        _check(_is_number(self.lr) and self.lr > 0, "lr", "a number above 0", self)
        _check(_is_number(self.weight_decay) and self.weight_decay >= 0, "weight_decay", "a number not below 0", self)
        for name in ("warmup", "final_lr"):
            _check(_is_number(getattr(self, name)) and getattr(self, name) >= 0, name, "a number not below 0", self)
        _check(self.warmup <= self.max_epochs, "warmup", f"at most max_epochs={self.max_epochs}", self)
        _check(self.clip_norm is None or (_is_number(self.clip_norm) and self.clip_norm > 0), "clip_norm",
               "a number above 0, or None", self)  # fmt: skip
        _check(self.ema is None or (_is_number(self.ema) and 0 < self.ema < 1), "ema",
               "a number between 0 and 1, or None", self)  # fmt: skip
        _check_option("schedule", self.schedule, SCHEDULES)
        _check_option("stopping", self.stopping, STOPPINGS)
        _check_option("precision", self.precision, tuple(PRECISIONS))
        if isinstance(self.optimizer, str) and (known := find_name(self.optimizer, optimizer_names())) is not None:
            object.__setattr__(self, "optimizer", known)
        _check_option("optimizer", self.optimizer, tuple(optimizer_names()))
        if self.betas is not None:
            object.__setattr__(self, "betas", tuple(self.betas))
            _check(len(self.betas) == 2 and all(_is_number(b) and 0 <= b < 1 for b in self.betas), "betas",
                   "two numbers not below 0 and below 1, or None", self)  # fmt: skip
            _check("betas" in inspect.signature(getattr(torch.optim, self.optimizer)).parameters, "betas",
                   f"None for {self.optimizer}, which has none", self)  # fmt: skip


def _check(fine: bool, name: str, expected: str, settings: TrainingSettings) -> None:
    if not fine:
        raise UsageError(f"{name} must be {expected}, got {getattr(settings, name)!r}")


def _check_option(name: str, value: Any, options: tuple[Any, ...]) -> None:
    if value not in options:
        near = did_you_mean(value, filter(None, options)) if isinstance(value, str) else ""
        raise UsageError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}{near}")


def _is_whole(value: Any) -> bool:
    return not isinstance(value, bool) and hasattr(value, "__index__")


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool | str) and math.isfinite(value)
    except TypeError:
        return False
