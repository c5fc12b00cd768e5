"""What the estimators that train a network share: from parameters and signals to a trained module, and its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sklearn.utils.validation import _check_sample_weight, _num_samples, check_is_fitted
from torch import nn

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.files import digest
from neurosig.core.log import asks_for_progress, logger
from neurosig.core.windows import tell_of_gaps
from neurosig.models.net_chance import guessing_loss, tell_of_chance
from neurosig.models.net_module import (
    build_module,
    check_module_params,
    head_of,
    module_path,
    normalisation_layers,
    resolve_module,
)
from neurosig.models.net_norms import tell_unsettled
from neurosig.models.net_parameters import NetParameters
from neurosig.models.net_pretrained import Start, check_source, copy_weights, fitted_network, inherited_facts
from neurosig.models.net_storage import NetStorage
from neurosig.training.augmentation import check_augmentation, make_augmentation
from neurosig.training.batches import BUFFER_BYTES, Batches, Trials
from neurosig.training.checkpoint import checkpoint_seed, software
from neurosig.training.cut_batches import trials_of
from neurosig.training.device import draw_seed, resolve_device, seeded
from neurosig.training.distributed import processes
from neurosig.training.nets import run_network, train_network
from neurosig.training.prepared import prepare_trials
from neurosig.training.settings import TrainingSettings
from neurosig.training.trial_data import (
    check_amplitude,
    check_like_fitted,
    check_trials,
    content_digest,
    known_spec,
    samples_of,
    signal_sd,
    some_sd,
    validation_split,
)

__all__ = ["NetEstimator", "Task", "squared_error"]


class Task(NamedTuple):
    """What is learned: made by the classifier or the regressor, trained by what they share.

    Parameters
    ----------
    y : array of shape (n_trials,)
        Class numbers, or values.
    n_outputs : int
        Outputs of the network.
    loss : callable or None
        See `train_network`.
    classes : array of shape (n_classes,), or None
        Labels that the class numbers stand for.
    """

    y: np.ndarray
    n_outputs: int
    loss: Callable[..., torch.Tensor] | None
    classes: np.ndarray | None = None


def squared_error(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared error of each trial, as a loss of `train_network`."""
    return nn.functional.mse_loss(output, target, reduction="none").squeeze(1)


class NetEstimator(NetStorage, NetParameters):
    """Base of `NetClassifier` and `NetRegressor`."""

    # a network tells channels apart by their place
    _channel_order_matters = True
    # windows of trials may come as `CutTrials`, of which batches are copied and not the whole
    _takes_cut_trials = True

    @classmethod
    def _get_test_params(cls) -> dict[str, Any]:
        return {
            "module": "LinearNet",
            "max_epochs": 60,
            "batch_size": 512,
            "lr": 0.05,
            "validation": None,
            "random_state": 0,
            "device": "cpu",
        }

    def _settings(self, seed: int, checkpoint: Path | None) -> TrainingSettings:
        return TrainingSettings(
            max_epochs=self.max_epochs, batch_size=self.batch_size, lr=self.lr, optimizer=self.optimizer,
            weight_decay=self.weight_decay, schedule=self.schedule, warmup=self.warmup, final_lr=self.final_lr,
            betas=self.betas, stopping=self.stopping, patience=self.patience,  # type: ignore[arg-type]
            clip_norm=self.clip_norm, precision=self.precision, ema=self.ema, max_norm=bool(self.max_norm),
            compile=bool(self.compile), checkpoint=None if checkpoint is None else str(checkpoint), seed=seed,
            show_progress=asks_for_progress(self.verbose),
        )  # fmt: skip

    def check_options(self) -> None:
        """Check what can be checked without signals: the network's name and options, how it is trained, augmentation.

        `fit` checks the same, and more. Pipeline files are checked by this when they are read.

        Raises
        ------
        UsageError
            Naming what is wrong, and what resembles it.
        """
        if self.module_params is not None and not isinstance(self.module_params, Mapping):
            raise UsageError(f"module_params must be a dict or None, got {self.module_params!r}")
        check_module_params(resolve_module(self.module), self.module_params or {})
        self._settings(0, None)
        if self.augmentation is not None:
            check_augmentation(self.augmentation)
        if self.trainable not in ("all", "head"):
            raise UsageError(f"trainable must be 'all' or 'head', got {self.trainable!r}")

    def _signals(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> tuple[Any, np.ndarray | None, Any]:
        """Checked signals, weights, groups."""
        if y is None:
            raise InputError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        if self.warm_start and "_weights" in vars(self):
            _ = self.module_  # built from what was read, before the sizes of these trials take the place of its own
        self._spec, self._sfreq = known_spec(X, self.info, self.ch_names, self.sfreq)
        X = check_trials(self, X, reset=True)
        if self._spec is not None and self._spec.n_channels != X.shape[1]:
            raise ChannelError(f"{self._spec.n_channels} channels are named, the signals have {X.shape[1]}")
        n = int(X.shape[0])
        if _num_samples(y) != n:
            raise InputError(f"expected one target a trial, got {n} trials and {_num_samples(y)} targets")
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, np.empty((n, 1)), dtype=np.float64, ensure_non_negative=True)
            if not weight.any():
                raise InputError("expected some weight, got sample_weight of zeros only")
        if groups is not None:
            groups = np.asarray(groups)
            if groups.shape != (n,):
                raise InputError(f"expected one group a trial, got {n} trials and groups of shape {groups.shape}")
        return X, weight, groups

    def _train(
        self, X: Any, task: Task, groups: np.ndarray | None, weight: np.ndarray | None, class_weight: Any = None
    ) -> Self:
        """Build, split, train, keep."""
        process = processes(self.device)
        seed = process.agreed(draw_seed(self.random_state))  # all processes split, begin and shuffle alike
        cls = resolve_module(self.module)
        source = None if self.pretrained is None else fitted_network(self.pretrained, type(self), cls)
        if source is not None:
            self._spec, self._sfreq = inherited_facts(source, int(X.shape[1]), self._spec, self._sfreq)
        identity: dict[str, Any] | None = None
        folder: Path | None = None
        if self.checkpoint is not None:
            identity = self._identity(cls, task, seed, content_digest(X, task.y, groups, weight))
            folder = Path(self.checkpoint) / digest(identity)
            if self.random_state is None:
                seed = process.agreed(checkpoint_seed(folder) or seed)
        settings = self._settings(seed, folder)
        device = process.device if process.world > 1 or self.device == "accelerate" else resolve_device(self.device)
        trials = self._cut(X, device)
        index = np.arange(int(X.shape[0])) if weight is None else np.flatnonzero(weight)
        train, valid = validation_split(
            task.y, index, groups, self.validation, classes=task.loss is None, random_state=seed
        )
        with seeded(seed, device):
            module = build_module(
                cls, self.module_params, n_chans=trials.shape[0], n_outputs=task.n_outputs, n_times=trials.shape[1],
                sfreq=self._sfreq, chs_info=self._channels(), device=device,
            )  # fmt: skip
            classes = None if task.classes is None else task.classes.tolist()
            start = self._starting_point(module, classes, trials.shape, source)
            if source is not None:
                check_amplitude(source, X, "the pretrained network")
            if start is not None:
                copy_weights(module, start, classes)
            scale = start.scale if start is not None and self.scale == "std" else self._scale(X, train, weight)
            frozen = self._freeze(module)
            prepared = self._prepare_target(task.y, train, weight, start)
            facts = {name: vars(self)[name] for name in ("target_mean_", "target_sd_") if name in vars(self)}
            # sums may differ in their last bits from machine to machine
            scale, prepared, facts = process.agreed((scale, prepared, facts))
            for name, value in facts.items():
                setattr(self, name, value)
            target = torch.as_tensor(prepared)
            options: dict[str, Any] = {
                "batch_size": self.batch_size, "scale": scale, "device": device, "buffer_bytes": self.buffer_bytes,
                "weight": None if weight is None else torch.as_tensor(weight, dtype=torch.float32),
            }  # fmt: skip
            augment = self._augmentation(trials.shape[1], seed, weight)
            if augment is None:
                used = train if valid is None else np.union1d(train, valid)
                trials, options = prepare_trials(module.to(device), trials, used, **options) or (trials, options)
            batches = Batches(
                trials, target, train, **options, generator=torch.Generator().manual_seed(seed),
                augment=augment, rank=process.rank, world=process.world,
            )  # fmt: skip
            check = None if valid is None else Batches(trials, target, valid, **options)
            if identity is not None:
                identity |= {"seed": seed, "weights": {name: list(v.shape) for name, v in module.state_dict().items()}}
            weights = None if class_weight is None else class_weight(train, weight)
            record = train_network(
                module,
                batches,
                check,
                settings,
                loss=task.loss,
                class_weight=weights,
                device=device,
                frozen=frozen,
                identity=identity,
                process=process,
            )
        for parameter in module.parameters():
            parameter.requires_grad_(True)
            parameter.grad = None
        self._network, self._device, self._n_outputs = module, device, task.n_outputs
        self._note_built()
        self.signal_sd_ = some_sd(X, train)
        self.seed_, self.scale_, self.n_times_, self.sfreq_ = seed, scale, int(X.shape[2]), self._sfreq
        self.window_ = None if self.window is None else trials.window
        self.window_step_ = None if self.window is None else trials.step
        self.spec_ = None if self._spec is None else self._spec.replace(n_times=self.n_times_)
        self.history_, self.best_epoch_, self.stopped_ = record.history, record.best_epoch, record.stopped
        self.seconds_ = record.seconds
        self.n_parameters_ = sum(parameter.numel() for parameter in module.parameters())
        self.guessing_loss_ = None
        if valid is not None and not hasattr(module, "class_loss"):  # whose size is its own affair
            shares = None if weights is None else weights.cpu().double().numpy()
            self.guessing_loss_ = guessing_loss(prepared, valid, weight, shares, classes=task.loss is None)
            if record.best_epoch:
                tell_of_chance(cls.__name__, record.history[record.best_epoch - 1], self.guessing_loss_)
        logger.info("%s: %s; weights of epoch %d", cls.__name__, record.stopped, record.best_epoch)
        if start is None:  # the statistics of a network that was trained before are its own
            tell_unsettled(module, len(batches) * len(record.history))
        return self

    def _cut(self, X: Any, device: torch.device) -> Trials:
        """The trials, cut to windows."""
        n_times = int(X.shape[2])
        window = samples_of("window", self.window, self._sfreq, n_times)
        step = samples_of("window_step", self.window_step, self._sfreq, n_times)
        if step is not None and window is None:
            raise UsageError("window_step goes with window; give both in seconds")
        if self.window is not None:
            tell_of_gaps(self.window, self.window_step, sfreq=self._sfreq)
        return trials_of(X, window, step, device)

    def _prepare_target(
        self, y: np.ndarray, train: np.ndarray, weight: np.ndarray | None, start: Start | None
    ) -> np.ndarray:
        """What the network is to give, from class numbers or values."""
        return y

    def _scale(self, X: Any, train: np.ndarray, weight: np.ndarray | None) -> float:
        if self.scale is None:
            return 1.0
        if isinstance(self.scale, str):
            if self.scale != "std":
                raise UsageError(f"scale must be 'std', a positive number or None, got {self.scale!r}")
            return signal_sd(X, train, weight) or 1.0
        if isinstance(self.scale, bool) or not 0 < self.scale < np.inf:
            raise UsageError(f"scale must be 'std', a positive number or None, got {self.scale!r}")
        return float(self.scale)

    def _channels(self) -> Any:
        """The channels as mne describes them, where the sampling rate is known."""
        if self._spec is None or self._spec.sfreq is None:
            return None
        return self._spec.to_mne()["chs"]

    def _starting_point(
        self, module: nn.Module, classes: list[Any] | None, shape: tuple[int, int], source: Any
    ) -> Start | None:
        """The network that this training starts from: the one of the fit before, the pretrained one, or none."""
        if self.trainable not in ("all", "head"):
            raise UsageError(f"trainable must be 'all' or 'head', got {self.trainable!r}")
        if self.trainable == "head" and self.pretrained is None:
            raise UsageError("trainable='head' trains the last layer of a pretrained network; pass pretrained=...")
        if self.warm_start and "_network" in vars(self):
            previous = Start.of(self, "the fit before")
            forms = [[tuple(v.shape) for v in m.state_dict().values()] for m in (previous.module, module)]
            if type(previous.module) is type(module) and forms[0] == forms[1] and previous.classes == classes:
                return previous
            logger.info("warm_start: network, signals or classes are others than in the fit before; starting anew")
        if source is None:
            return None
        check_source(source, type(module), shape, self._spec, self._sfreq)
        return Start.of(source, "the pretrained network")

    def _freeze(self, module: nn.Module) -> tuple[nn.Module, ...]:
        """Freeze what is not trained; the layers that keep their statistics."""
        if self.trainable == "all":
            return ()
        head = head_of(module)
        own = set(map(id, head))
        for parameter in module.parameters():
            parameter.requires_grad_(id(parameter) in own)
        return tuple(normalisation_layers(module, head))

    def _augmentation(self, n_times: int, seed: int, weight: np.ndarray | None) -> Any:
        if self.augmentation is None:
            return None
        augment = make_augmentation(
            self.augmentation,
            sfreq=self._sfreq,
            ch_names=None if self._spec is None else self._spec.ch_names,
            positions=None if self._spec is None else self._spec.positions,
            n_times=n_times,
            random_state=seed,
        )
        if weight is not None and any(
            type(transform).__name__ in ("SegmentationReconstruction", "Mixup") for transform in augment.transforms
        ):
            raise UsageError("sample_weight does not go with augmentations that mix trials; leave one of them out")
        return augment

    def _identity(self, cls: type[nn.Module], task: Task, seed: int, content: str) -> dict[str, Any]:
        """What makes a training the one that it is, for its checkpoint: its digest names the folder of it.

        A seed that nobody asked for is none of it: a training that is called again takes the one it began with.
        """
        left_out = ("checkpoint", "verbose", "random_state", "info", "ch_names", "pretrained", "module", "device")
        params = {name: value for name, value in self.get_params(deep=False).items() if name not in left_out}
        start = self.module_ if self.warm_start and "_network" in vars(self) else None
        if start is None and self.pretrained is not None:
            start = fitted_network(self.pretrained, type(self), cls).module_
        return {
            **{name: value if _is_plain(value) else repr(value) for name, value in params.items()},
            "module": module_path(cls),
            "outputs": task.n_outputs,
            "signals": None if self._spec is None else self._spec.to_dict(),
            "sampling rate": self._sfreq,
            "start": None if start is None else content_digest(_weights_as_one(start)),
            # whether the last layer is kept goes by the labels
            **({} if start is None or task.classes is None else {"labels": task.classes.tolist()}),
            "data": content,
            "software": software(cls),
            "seed": None if self.random_state is None else seed,
        }

    def _outputs(self, X: Any) -> np.ndarray:
        """Outputs of all windows, (n_trials, n_windows, n_outputs)."""
        check_is_fitted(self)
        module = self.module_
        X = check_like_fitted(self, X)
        device = self._device
        trials = trials_of(X, self.window_, self.window_step_, device)
        n = int(X.shape[0])
        held = getattr(self, "buffer_bytes", BUFFER_BYTES)  # a network stored by an earlier version does not know it
        batches = Batches(
            trials, torch.zeros(n), np.arange(n), batch_size=self.batch_size, scale=self.scale_, device=device,
            buffer_bytes=held,
        )  # fmt: skip
        found = run_network(module, batches, device=device, precision=self.precision)
        if not np.isfinite(found).all():
            raise InputError(
                f"{type(module).__name__} answers {np.sum(~np.isfinite(found).all(axis=-1))} of {len(found)} windows "
                "with numbers that are not finite, though the signals are: its weights are damaged, or its training "
                "ran away, or precision='float16' is too coarse for it; get or train it anew"
            )
        return found.reshape(n, trials.n_windows, -1)

    def export(self, path: Any, format: str | None = None, check: bool = True, **options: Any) -> Any:
        """Write the fitted network as a program that runs without neurosig, see `neurosig.models.export`.

        Parameters
        ----------
        path : path-like
            Where; ends in ``.pt2`` or ``.onnx``.
        format : {"torch", "onnx"}, optional
            torch.export or ONNX; what the ending of the path says, if not given.
        check : bool
            Whether the program's answers are compared with the estimator's.
        **options
            Further options of `export_network`, as ``overwrite=True``.

        Returns
        -------
        Path
            What was written.
        """
        from neurosig.models.export import export_network

        return export_network(self, path, format=format, check=check, **options)

    def explain(
        self, X: Any, y: Any = None, method: str = "integrated_gradients", target: Any = None, **options: Any
    ) -> Any:
        """Attribute decisions to channels and samples, see `neurosig.models.explain`.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Trials.
        y : array of shape (n_trials,), optional
            True labels; they are kept, and are what is explained where `target` is not given.
        method : str
            "integrated_gradients", "occlusion", or one of captum's.
        target : label, array of labels of shape (n_trials,), or None
            The class that is explained. None explains the true class where `y` is given, else the predicted one. A
            regression has one output, and no target to choose.
        **options
            Further options of the method.

        Returns
        -------
        Explanation
            Attributions.
        """
        from neurosig.models.explain import explain

        return explain(self, X, y, method=method, target=target, **options)


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _weights_as_one(module: nn.Module) -> np.ndarray:
    values = [value.detach().cpu().double().ravel().numpy() for value in module.state_dict().values()]
    return np.concatenate(values)[:, np.newaxis, np.newaxis]
