"""What happens beside the steps of a training: scores, stopping, averaging, projection, schedules, progress."""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import torch
from skorch.callbacks import Callback
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from neurosig.core.errors import InputError
from neurosig.core.progress_lines import ProgressLines, wants_lines
from neurosig.training.batches import signals_of
from neurosig.training.schedules import follow_rates, warmup_cosine, warmup_linear
from neurosig.training.settings import TrainingSettings
from neurosig.training.stopping import StoppingRule

__all__ = [
    "BestWeights", "FiniteLoss", "Halt", "Progress", "Projection", "Schedule", "Scores", "StopTraining",
    "WeightAverage", "state_copy",
]  # fmt: skip


class StopTraining(Exception):  # noqa: N818 - not an error
    """Raised at the end of the epoch after which a training stops early."""


def state_copy(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of a module's weights and buffers, which later training leaves alone."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


class FiniteLoss(Callback):
    """Stops a training whose loss is no number, and says where and what to try."""

    def on_batch_end(self, net, batch=None, training=False, loss=None, **kwargs):
        """Look at the loss of the step just done."""
        if math.isfinite(net.history[-1, "batches", -1, "train_loss" if training else "valid_loss"]):
            return
        epoch, number = net.first_epoch + len(net.history), len(net.history[-1, "batches"])
        where = f"epoch {epoch}, {'training' if training else 'validation'} batch {number}"
        if not torch.isfinite(signals_of(batch[0])).all():
            raise InputError(
                f"the signals hold NaN or inf in {where}: drop or repair those trials, or look at the augmentation"
            )
        raise InputError(
            f"the loss is not finite in {where}: try a smaller lr, clip_norm=1.0, precision='float32' or scale='std', "
            "and look for trials of extreme amplitude"
        )


class Scores(Callback):
    """One row of the history an epoch: losses, validation accuracy, learning rate, seconds.

    Parameters
    ----------
    rows : list of dict
        Where the rows are added.
    classes : bool
        Whether targets are class numbers, so that there is an accuracy.
    parts : tuple of str
        Names of what the module gives beside the loss, if it gives losses, see `SelfSupervised`.
    """

    def __init__(self, rows: list[dict[str, Any]], classes: bool, parts: tuple[str, ...] = ()):
        self.rows = rows
        self.classes = classes
        self.parts = parts

    def on_epoch_begin(self, net, **kwargs):
        """Start the clock and the sums."""
        self.started = time.perf_counter()
        self.sums = {"train": 0.0, "valid": 0.0}
        self.weights = {"train": 0.0, "valid": 0.0}
        self.right = self.judged = 0.0
        self.part_sums = {(part, name): 0.0 for part in ("train", "valid") for name in self.parts}

    def on_batch_end(self, net, batch=None, training=False, loss=None, y_pred=None, **kwargs):
        """Add a batch to the sums."""
        part = "train" if training else "valid"
        target = batch[1]
        # what the loss of the batch was divided by, so that the sums do not depend on how trials fell into batches
        n = len(signals_of(batch[0]))
        weight = net.criterion_.total_weight(target, n)
        self.sums[part] += net.history[-1, "batches", -1, f"{part}_loss"] * weight
        self.weights[part] += weight
        for i, name in enumerate(self.parts, start=1):
            self.part_sums[part, name] += float(y_pred[0, i]) * weight
        if not training and self.classes:
            right = (y_pred.argmax(dim=1) == target.y).to(torch.float32)
            self.right += float((right if target.weight is None else right * target.weight).sum())
            self.judged += float(n if target.weight is None else target.weight.sum())

    def on_epoch_end(self, net, **kwargs):
        """Write the row."""
        row = {"epoch": len(self.rows) + 1, "train_loss": self.sums["train"] / (self.weights["train"] or 1.0)}
        if self.weights["valid"]:
            row["valid_loss"] = self.sums["valid"] / self.weights["valid"]
            if self.classes:
                row["valid_accuracy"] = self.right / self.judged
        for (part, name), total in self.part_sums.items():
            if self.weights[part]:
                row[f"{part}_{name}"] = total / self.weights[part]
        row["lr"] = float(net.optimizer_.param_groups[0]["lr"])
        row["seconds"] = time.perf_counter() - self.started
        self.rows.append(net.agreed(row))


class BestWeights(Callback):
    """Keeps the weights of the best epoch by a rule, and asks for the end of the training when the rule does.

    Parameters
    ----------
    rule : StoppingRule
        Hears of each epoch.
    rows : list of dict
        The history.
    """

    def __init__(self, rule: StoppingRule, rows: list[dict[str, Any]]):
        self.rule = rule
        self.rows = rows
        self.weights: dict[str, torch.Tensor] | None = None

    def on_epoch_end(self, net, **kwargs):
        """Judge the epoch."""
        row = self.rows[-1]
        if self.rule.update(row["valid_loss"], row.get("valid_accuracy")):
            self.weights = state_copy(net.deciding_module)

    def state_dict(self) -> dict[str, Any]:
        """The rule's memory and the best weights."""
        return {"rule": self.rule.state_dict(), "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.rule.load_state_dict(state["rule"])
        self.weights = state["weights"]


class WeightAverage(Callback):
    """Exponential moving average of weights and buffers, batch norm's statistics among them (torch's own).

    Parameters
    ----------
    module : nn.Module
        Whose weights.
    decay : float
        Largest share of the old average that stays at a step.

    Notes
    -----
    After the n-th step, counted from 0, the share that stays is ``min(decay, (1 + n) / (10 + n))``: the average forgets
    the weights of the beginning however short the training is, and has its full length of 1 / (1 - decay) steps once
    as many as 9 / (1 - decay) are done. The very first step is taken over whole.
    """

    def __init__(self, module: torch.nn.Module, decay: float):
        self.model = AveragedModel(module, multi_avg_fn=self._average, use_buffers=True)
        self.decay = decay

    def share_kept(self, n: int) -> float:
        """Share of the old average that stays at the n-th step, from 0."""
        return min(self.decay, (1 + n) / (10 + n))

    def _average(self, averages: Any, weights: Any, n: Any) -> None:
        # the count is read where it is kept, on the processor: `n` is a copy of it on the weights' device
        get_ema_multi_avg_fn(self.share_kept(int(self.model.n_averaged)))(averages, weights, n)

    @property
    def average(self) -> torch.nn.Module:
        """The module with averaged weights."""
        return self.model.module

    def update(self, module: torch.nn.Module, project: bool) -> None:
        """Take in the weights after a step."""
        self.model.update_parameters(module)
        if project and hasattr(self.average, "project_"):
            _project(self.average)


def _project(module: torch.nn.Module) -> None:
    """Call the module's ``project_()``; weights that are not trained stay as they are."""
    kept = [(p, p.detach().clone()) for p in module.parameters() if not p.requires_grad]
    with torch.no_grad():
        module.project_()  # type: ignore[operator]
        for parameter, value in kept:
            parameter.copy_(value)


class Projection(Callback):
    """After each step: the module's own constraint on its weights (max-norm, say), then the average.

    Parameters
    ----------
    module : nn.Module
        The module; its ``project_()`` is called if there is one.
    project : bool
        Whether to call it.
    average : WeightAverage, optional
        Hears of the weights after the projection.
    """

    def __init__(self, module: torch.nn.Module, project: bool, average: WeightAverage | None = None):
        self.module = module
        self.project = project and hasattr(module, "project_")
        self.average = average

    def on_batch_end(self, net, training=False, **kwargs):
        """Project and average."""
        if not training:
            return
        if self.project:
            _project(self.module)
        if self.average is not None:
            self.average.update(self.module, self.project)


class Schedule(Callback):
    """The course of the learning rate, by torch's schedulers.

    Parameters
    ----------
    settings : TrainingSettings
        ``schedule``, ``lr``, ``max_epochs``.
    n_batches : int
        Batches in an epoch.
    rows : list of dict
        The history, for "plateau".
    """

    def __init__(self, settings: TrainingSettings, n_batches: int, rows: list[dict[str, Any]]):
        self.settings = settings
        self.n_batches = n_batches
        self.rows = rows
        self.scheduler: Any = None

    def start(self, optimizer: torch.optim.Optimizer) -> None:
        """Build the scheduler; to be called once the optimizer is there."""
        schedulers = torch.optim.lr_scheduler
        if self.settings.schedule == "cosine":
            self.scheduler = schedulers.CosineAnnealingLR(optimizer, self.settings.max_epochs)
        elif self.settings.schedule == "warmup_cosine":
            n, rise = self.settings.max_epochs * self.n_batches, round(self.settings.warmup * self.n_batches)
            rates = warmup_cosine(n, self.settings.lr, self.settings.final_lr, rise)
            self.scheduler = follow_rates(optimizer, rates, self.settings.lr)
        elif self.settings.schedule == "warmup_linear":
            epochs, warmup = self.settings.max_epochs, self.settings.warmup
            self.scheduler = schedulers.LambdaLR(optimizer, lambda epoch: warmup_linear(epoch, epochs, warmup))
        elif self.settings.schedule == "one_cycle":
            steps = self.settings.max_epochs * self.n_batches
            self.scheduler = schedulers.OneCycleLR(optimizer, self.settings.lr, total_steps=steps)
        else:
            self.scheduler = schedulers.ReduceLROnPlateau(optimizer, factor=0.1, patience=5)

    def on_batch_end(self, net, training=False, **kwargs):
        """Step, where the schedule goes by batches."""
        if training and self.settings.schedule == "warmup_cosine":
            self.scheduler.step()
        # the scheduler would warn of a step that it has not seen the optimizer take, which one skipped for fp16 is
        if training and self.settings.schedule == "one_cycle":
            state = self.scheduler.last_epoch + 1
            if state < self.scheduler.total_steps:
                self.scheduler.step()

    def on_epoch_end(self, net, **kwargs):
        """Step, where the schedule goes by epochs."""
        if self.settings.schedule in ("cosine", "warmup_linear"):
            self.scheduler.step()
        elif self.settings.schedule == "plateau":
            self.scheduler.step(self.rows[-1].get("valid_loss", self.rows[-1]["train_loss"]))

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's state."""
        # the rules of LambdaLR are functions, made anew
        return copy.deepcopy({k: v for k, v in self.scheduler.state_dict().items() if k != "lr_lambdas"})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        rules = {"lr_lambdas": [None] * len(self.scheduler.base_lrs)} if hasattr(self.scheduler, "lr_lambdas") else {}
        self.scheduler.load_state_dict({**state, **rules})


class Progress(Callback):
    """A bar over the epochs, with the last scores; in logs and pipes a line now and then.

    Parameters
    ----------
    rows : list of dict
        The history.
    max_epochs : int
        Epochs at most.
    """

    def __init__(self, rows: list[dict[str, Any]], max_epochs: int):
        self.rows = rows
        self.max_epochs = max_epochs
        self.bar: Any = None
        self.lines: ProgressLines | None = None

    def on_train_begin(self, net, **kwargs):
        """Open the bar where it is seen: on a terminal or in a notebook."""
        from tqdm.auto import tqdm

        if wants_lines(True):
            self.lines = ProgressLines("training", "epoch")
            self.lines.done = len(self.rows)  # of a training that goes on
            return
        self.bar = tqdm(
            total=self.max_epochs, initial=len(self.rows), desc="training", unit="epoch", disable=None, leave=False,
            dynamic_ncols=True,
        )  # fmt: skip

    def on_epoch_end(self, net, **kwargs):
        """Show the epoch's scores."""
        names = ("train_loss", "valid_loss", "valid_accuracy")
        scores = {name: f"{self.rows[-1][name]:.4f}" for name in names if name in self.rows[-1]}
        if self.lines is not None:
            self.lines.report(1, self.max_epochs, ", ".join(f"{name} {value}" for name, value in scores.items()))
        if self.bar is not None:
            self.bar.set_postfix(scores)
            self.bar.update()

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()


class Halt(Callback):
    """Ends the training when the rule of `BestWeights` asks for it; stands last, so that all others have had the epoch.

    Parameters
    ----------
    rule : StoppingRule
        The rule.
    """

    def __init__(self, rule: StoppingRule):
        self.rule = rule

    def on_epoch_end(self, net, **kwargs):
        """Raise `StopTraining` if there is a reason."""
        if self.rule.reason is not None:
            raise StopTraining(self.rule.reason)
