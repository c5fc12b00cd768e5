"""The one training loop of the house: skorch's, fed with whole batches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from torch import nn

from neurosig.core.errors import UsageError
from neurosig.training.augmentation import mixed_loss
from neurosig.training.batches import Batches, SeveralBatches, Target
from neurosig.training.callbacks import (
    BestWeights,
    FiniteLoss,
    Halt,
    Progress,
    Projection,
    Schedule,
    Scores,
    StopTraining,
    WeightAverage,
    state_copy,
)
from neurosig.training.checkpoint import Checkpoint
from neurosig.training.distributed import SingleProcess
from neurosig.training.prepared import LearningPart, PreparedTrials
from neurosig.training.settings import PRECISIONS, TrainingSettings
from neurosig.training.stopping import make_rule

__all__ = ["TrainingRecord", "WeightedLoss", "full_precision", "products_in", "run_network", "train_network"]


@dataclass(frozen=True)
class TrainingRecord:
    """What a training did.

    Parameters
    ----------
    history : list of dict
        A row an epoch: epoch, train_loss, valid_loss and valid_accuracy where something validated, lr, seconds.
    best_epoch : int
        The epoch whose weights the module has now, from 1.
    stopped : str
        Why the training ended.
    seconds : float
        Wall-clock time of this call.
    """

    history: list[dict[str, Any]]
    best_epoch: int
    stopped: str
    seconds: float = field(compare=False)


class WeightedLoss(nn.Module):
    """Mean of the losses of single windows, weighted by window and by class: sum(w l) / sum(w).

    Parameters
    ----------
    loss : callable
        From outputs and targets to one loss a window.
    class_weight : tensor of shape (n_classes,), optional
        Weights of the classes.
    """

    class_weight: torch.Tensor | None

    def __init__(self, loss: Callable[..., torch.Tensor], class_weight: torch.Tensor | None = None):
        super().__init__()
        self.loss = loss
        self.register_buffer("class_weight", class_weight)

    def forward(self, output: torch.Tensor, target: Target) -> torch.Tensor:
        """The loss of a batch."""
        if target.weight is None and self.class_weight is None:
            return mixed_loss(self.loss, output, target.y).mean()
        weighted = mixed_loss(lambda o, y: self._weights(y, target) * self.loss(o, y), output, target.y)
        total = mixed_loss(lambda _, y: self._weights(y, target), output, target.y).sum()
        # a batch may hold nothing but classes of weight zero
        return weighted.sum() / total.clamp_min(torch.finfo(total.dtype).tiny)

    def total_weight(self, target: Target, n_windows: int) -> float:
        """What `forward` divides by, for a batch of so many windows."""
        if target.weight is None and self.class_weight is None:
            return float(n_windows)
        return float(mixed_loss(lambda _, y: self._weights(y, target), torch.empty(0), target.y).sum())

    def _weights(self, y: torch.Tensor, target: Target) -> Any:
        weight = 1.0 if self.class_weight is None else self.class_weight[y]
        return weight if target.weight is None else weight * target.weight


class _Net(NeuralNet):
    """skorch's net on batches that come ready made, with mixed precision and validation by averaged weights.

    Parameters
    ----------
    batches_valid : Batches or None
        What validates.
    precision : str
        See `TrainingSettings`.
    frozen : tuple of nn.Module
        Normalisation layers that keep their statistics.
    average : WeightAverage or None
        Whose module validates.
    raw : nn.Module
        The network itself, not compiled and not wrapped.
    stepped : callable
        From the network, or its average, to what takes the batches.
    process : SingleProcess
        Which of several devices this is.
    first_epoch : int
        Epochs done before this call.
    """

    def __init__(
        self, *args, batches_valid=None, precision="float32", frozen=(), average=None, raw=None, stepped=None,
        process=None, first_epoch=0, **kwargs,
    ):  # fmt: skip
        self.batches_valid = batches_valid
        self.precision = precision
        self.frozen = frozen
        self.average = average
        self.raw = raw
        self.stepped = stepped
        self.process = process
        self.first_epoch = first_epoch
        super().__init__(*args, **kwargs)

    module_: Any

    @property
    def _default_callbacks(self):
        return []

    @property
    def deciding_module(self) -> nn.Module:
        """The module that validates and will predict."""
        return self.raw if self.average is None else self.average.average

    def agreed(self, row: dict[str, Any]) -> dict[str, Any]:
        """The same row on all devices, so that all decide alike."""
        return self.process.agreed(row)

    def get_split_datasets(self, X, y=None, **params):
        return X, self.batches_valid

    def get_iterator(self, dataset, training=False):
        return dataset

    def initialize_module(self):
        super().initialize_module()
        self.module_ = self.process.prepare(self.module_)
        return self

    def torch_compile(self, module, name):
        """Compile the network and not the loss, for which it takes long and gains nothing."""
        return super().torch_compile(module, name) if name == "module" else module

    def initialize_optimizer(self, *args, **kwargs):
        super().initialize_optimizer(*args, **kwargs)
        device = torch.device(self.device).type
        self.scaler_ = torch.amp.GradScaler(device, enabled=self.precision == "float16")
        return self

    def _set_training(self, training=True):
        super()._set_training(training)
        for module in self.frozen:
            module.eval()

    def _autocast(self):
        return products_in(self.precision, torch.device(self.device))

    def train_step(self, batch, **params):
        """One step without a closure, which mixed precision does not allow."""
        X, target = batch
        self._set_training(True)
        self._zero_grad_optimizer()
        with self._autocast():
            output = self.module_(X)
        loss = self.criterion_(full_precision(output), target)
        self.process.backward(self.scaler_.scale(loss))
        self.scaler_.unscale_(self.optimizer_)
        self.notify("on_grad_computed", named_parameters=self.module_.named_parameters(), batch=batch, training=True)
        self.scaler_.step(self.optimizer_)
        self.scaler_.update()
        return {"loss": loss.detach(), "y_pred": output.detach()}

    def validation_step(self, batch, **params):
        """The loss of a batch of the validation part."""
        X, target = batch
        module = self.module_ if self.average is None else self.stepped(self.deciding_module)
        module.eval()
        with torch.no_grad(), self._autocast():
            output = full_precision(module(X))
        return {"loss": self.criterion_(output, target), "y_pred": output}


def _as_it_is(module: nn.Module) -> nn.Module:
    return module


def products_in(precision: str, device: torch.device) -> Any:
    """A context in which products are computed in a type of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise UsageError(f"precision must be one of {', '.join(map(repr, PRECISIONS))}, got {precision!r}")
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=PRECISIONS[precision])


def full_precision(output: torch.Tensor) -> torch.Tensor:
    """Numbers of half precision as float32; those of float64, integers and complex numbers as they are."""
    return output.float() if output.dtype in (torch.bfloat16, torch.float16) else output


def train_network(
    module: nn.Module,
    train: Batches | SeveralBatches,
    valid: Batches | SeveralBatches | None,
    settings: TrainingSettings,
    *,
    loss: Callable[..., torch.Tensor] | None = None,
    class_weight: torch.Tensor | None = None,
    device: torch.device | None = None,
    frozen: tuple[nn.Module, ...] = (),
    identity: dict[str, Any] | None = None,
    process: Any = None,
    parts: tuple[str, ...] = (),
) -> TrainingRecord:
    """Train a module in place.

    Parameters
    ----------
    module : nn.Module
        The network, (n_windows, n_channels, n_times) -> (n_windows, n_outputs). Afterwards it holds the best weights
        (the last ones where nothing validates) and is in evaluation mode. Where it has ``learning_rates()``, a mapping
        of the names of parameters to factors on the learning rate, these hold; else, where it has ``undecayed()``, the
        parameters whose names fit one of these patterns have no weight decay. Where it has ``class_loss(outputs, y)``,
        one loss a window from class numbers, that is what the training of classes goes by.
    train, valid : Batches or SeveralBatches
        What is trained on, and what validates; None validates nothing, and no rule stops the training.
    settings : TrainingSettings
        How.
    loss : callable, optional
        From outputs and targets to one loss a window; by default the module's own for classes, else the cross-entropy
        of class numbers.
    class_weight : tensor of shape (n_classes,), optional
        Weights of the classes.
    device : torch.device, optional
        Where; by default the processor.
    frozen : tuple of nn.Module
        Normalisation layers that keep their statistics.
    identity : dict, optional
        What makes this training the one that it is, JSON-like, for `settings.checkpoint`.
    process : SingleProcess or Accelerated, optional
        Which of several devices this is.
    parts : tuple of str
        Names of the parts of the loss that the module gives beside it, see `SelfSupervised`; they stand in the history.

    Returns
    -------
    TrainingRecord
        History and outcome.

    Raises
    ------
    InputError
        If the loss is no number.
    StorageError
        If the checkpoint is of another training, or cannot be written.
    UsageError
        If `torch.compile` is asked for and fails.
    """
    device = torch.device("cpu") if device is None else device
    process = SingleProcess() if process is None else process
    classes = loss is None
    if loss is None:
        loss = getattr(module, "class_loss", None) or nn.CrossEntropyLoss(reduction="none")
    criterion = WeightedLoss(loss, class_weight)
    module.to(device)
    rows: list[dict[str, Any]] = []
    average = None if settings.ema is None else WeightAverage(module, settings.ema)
    rule = make_rule(settings.stopping, settings.patience) if valid is not None else None
    schedule = None if settings.schedule is None else Schedule(settings, len(train), rows)
    best = None if rule is None else BestWeights(rule, rows)
    progress = Progress(rows, settings.max_epochs) if settings.show_progress and process.is_main else None
    # batches of what the network's first part gives need the rest of it only
    stepped = LearningPart if isinstance(train.trials, PreparedTrials) else _as_it_is
    options: dict[str, Any] = {"optimizer__weight_decay": settings.weight_decay}
    if settings.betas is not None:
        options["optimizer__betas"] = settings.betas
    groups: dict[str, dict[str, float]] = {}
    if hasattr(module, "learning_rates"):
        groups = {name: {"lr": settings.lr * rate} for name, rate in module.learning_rates().items()}  # type: ignore[operator]
    elif hasattr(module, "undecayed"):
        groups = {pattern: {"weight_decay": 0.0} for pattern in module.undecayed()}  # type: ignore[operator]
    if groups:
        options["optimizer__param_groups"] = list(groups.items())
    net = _Net(
        stepped(module),
        criterion=criterion,
        optimizer=getattr(torch.optim, settings.optimizer),
        **options,
        lr=settings.lr,
        max_epochs=settings.max_epochs,
        callbacks=None,
        train_split=None,
        verbose=0,
        device=device,
        compile=settings.compile,
        batches_valid=valid,
        precision=settings.precision,
        frozen=frozen,
        average=average,
        raw=module,
        stepped=stepped,
        process=process,
    )
    checkpoint = None
    if settings.checkpoint is not None:
        checkpoint = Checkpoint(settings.checkpoint, identity or {}, rows, train, best, schedule, average, process)
    wanted: list[tuple[str, Any]] = [("finite", FiniteLoss()), ("scores", Scores(rows, classes, parts))]
    if settings.clip_norm is not None:
        from skorch.callbacks import GradientNormClipping

        wanted.append(("clip", GradientNormClipping(settings.clip_norm)))
    wanted.append(("projection", Projection(module, settings.max_norm, average)))
    named = (("best", best), ("schedule", schedule), ("checkpoint", checkpoint), ("progress", progress),
             ("halt", None if rule is None else Halt(rule)))  # fmt: skip
    wanted += [(name, callback) for name, callback in named if callback is not None]
    net.callbacks = wanted
    started = time.perf_counter()
    net.initialize()
    if schedule is not None:
        schedule.start(net.optimizer_)
    stopped = f"max_epochs={settings.max_epochs} reached"
    if checkpoint is not None:
        checkpoint.resume(net)
        net.first_epoch = len(rows)
    try:
        if rule is None or rule.reason is None:
            net.notify("on_train_begin", X=train, y=None)
            net.fit_loop(train, epochs=settings.max_epochs - len(rows))
        else:
            stopped = rule.reason
    except StopTraining as reason:
        stopped = str(reason)
    except Exception as error:
        if settings.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            said = " ".join(str(error).split())[:200]
            raise UsageError(
                f"torch.compile cannot compile {type(module).__name__} here ({said}); a C++ compiler must be "
                "installed, and the network one that it understands; compile=False does without"
            ) from error
        raise
    finally:
        if progress is not None:
            progress.close()
    if best is not None and best.weights is not None:
        module.load_state_dict(best.weights)
    elif average is not None:
        module.load_state_dict(state_copy(average.average))
    process.share(module)
    module.eval()
    kept = rule.best_epoch if rule is not None and rule.best_epoch else len(rows)
    return TrainingRecord(rows, kept, stopped, time.perf_counter() - started)


def run_network(
    module: nn.Module, batches: Batches, *, device: torch.device | None = None, precision: str = "float32"
) -> np.ndarray:
    """Outputs of a module, batch by batch.

    Parameters
    ----------
    module : nn.Module
        The network, in evaluation mode.
    batches : Batches
        In order, on the device of the module.
    device : torch.device, optional
        That device.
    precision : {"float32", "bfloat16", "float16"}
        Type of the products.

    Returns
    -------
    array of shape (n_windows, n_outputs), float32
        Outputs.
    """
    device = torch.device("cpu") if device is None else device
    outputs = []
    with torch.inference_mode(), products_in(precision, device):
        for X, _ in batches:
            outputs.append(full_precision(module(X)).cpu())
    return torch.cat(outputs).numpy()
