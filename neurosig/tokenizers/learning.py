"""What estimators share that train a module without labels: its training, and its batches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurosig.core.all_or_nothing import all_or_nothing
from neurosig.core.errors import ChannelError, InputError
from neurosig.core.files import digest
from neurosig.core.joined_epochs import is_fold, joined_epochs
from neurosig.core.log import asks_for_progress, logger
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.core.trained_on import as_trained_on
from neurosig.tokenizers.learned_storage import LearnedStorage
from neurosig.training.batches import BUFFER_BYTES, Batches, SeveralBatches
from neurosig.training.checkpoint import checkpoint_seed, software
from neurosig.training.cut_batches import trials_of
from neurosig.training.device import draw_seed, resolve_device, seeded
from neurosig.training.distributed import processes
from neurosig.training.nets import full_precision, products_in, train_network
from neurosig.training.self_supervised import SelfSupervised, own_loss
from neurosig.training.settings import TrainingSettings
from neurosig.training.trial_data import (
    check_names,
    check_trials,
    compare_specs,
    content_digest,
    known_spec,
    validation_split,
)

__all__ = ["SelfSupervisedEstimator", "Windows", "brings_facts"]


@dataclass(frozen=True)
class Windows:
    """Signals as the module of a tokenizer takes them.

    Parameters
    ----------
    X : array of shape (n, n_channels, n_times), float32, memory map or Zarr array
        At the module's rate, of a length that it takes.
    divisor : float
        What they are divided by to be in the module's unit.
    channels : object
        What the module is told of the channels; None where it needs to know nothing.
    """

    X: Any
    divisor: float = 1.0
    channels: Any = None


class SelfSupervisedEstimator(LearnedStorage, TransformerMixin, BaseEstimator):
    """Base of tokenizers, and of what is pretrained on their tokens.

    Parameters
    ----------
    max_epochs : int
        Passes over the training windows at most.
    batch_size : int
        Windows in a batch, in training and after.
    lr : float
        Learning rate.
    weight_decay : float
        Handed to the optimizer, AdamW.
    betas : tuple of float
        Likewise.
    warmup : float or None
        Epochs in which the learning rate rises from zero to `lr`; None takes a tenth of `max_epochs`.
    final_lr : float
        Rate to which it goes over after that, along half a cosine.
    clip_norm : float or None
        Largest norm of the gradient.
    validation : float or None
        Share of the windows on which the training is judged after each epoch, whole `groups` where these are given. The
        weights of the best epoch are kept. None judges nothing and keeps the last.
    patience : int or None
        Epochs without improvement after which the training stops; None trains for `max_epochs`.
    precision : {"float32", "bfloat16", "float16"}
        Type in which products are computed, in training and after.
    checkpoint : path-like, optional
        Folder that keeps the state after each epoch: a training that was killed goes on there when it is called again,
        with the same parameters and signals.
    buffer_bytes : int
        Bytes of signals on disk (memory maps, Zarr arrays) that are held at once to be shuffled.
    compile : bool
        Whether the module is trained through `torch.compile`.
    any_channels : bool
        Whether a fitted tokenizer takes windows with other channels than those it was fitted on. One that was fitted on
        several collections always does.
    on_short : {"raise", "pad"}
        What becomes of windows that are too short for a token: refused, or filled up with zeros.
    sfreq : float, optional
        Sampling rate in Hz; read from Epochs where these are given.
    ch_names : list of str, optional
        Channel names, likewise.
    info : SignalSpec or mne.Info, optional
        All that is known about the signals, likewise.
    device : str
        "auto", "cpu", "cuda", "cuda:1", "mps", or "accelerate" for several devices.
    random_state : int, RandomState or None
        Seeds all that is drawn; the same number gives the same bits.
    verbose : bool, str or None
        As in mne: at "INFO" a progress bar is shown. None follows neurosig's log level.

    Attributes
    ----------
    module_ : nn.Module
        The trained module, frozen.
    history_ : list of dict
        A row an epoch: epoch, train_loss and valid_loss, the parts of both, lr, seconds.
    best_epoch_ : int
        The epoch whose weights are kept, from 1; 0 where nothing was trained.
    stopped_ : str
        Why the training ended.
    seconds_ : float
        Duration of the training.
    n_parameters_ : int
        Weights of the module, its codes not among them.
    n_windows_ : int
        Windows that were there to learn from.
    n_features_in_ : int
        Channels of the windows fitted on, where it was one collection.
    n_times_ : int
        Samples of such a window, likewise.
    sfreq_ : float or None
        Sampling rate of the signals fitted on, in Hz.
    spec_ : SignalSpec or None
        What is known about them.
    seed_ : int
        The seed that was drawn from `random_state`.
    trained_on_ : dict
        Whose signals it has seen (`neurosig.core.trained_on`), where that is known.
    """

    _channel_order_matters = True  # a training sums over channels in their order
    _module_class: ClassVar[type[nn.Module]]
    #: Parts of the module's training loss, "total" left out.
    _loss_parts: ClassVar[tuple[str, ...]]

    n_features_in_: int

    def __init__(
        self, *, max_epochs: int = 100, batch_size: int = 64, lr: float = 1e-3, weight_decay: float = 1e-5,
        betas: Sequence[float] = (0.9, 0.99), warmup: float | None = 0.0, final_lr: float = 0.0,
        clip_norm: float | None = None, validation: float | None = None, patience: int | None = None,
        precision: str = "float32", checkpoint: Any = None, buffer_bytes: int = BUFFER_BYTES, compile: bool = False,
        any_channels: bool = False, on_short: str = "raise", sfreq: float | None = None, ch_names: Any = None,
        info: Any = None, device: str = "auto", random_state: Any = None, verbose: Any = None,
    ):  # fmt: skip
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.betas = betas
        self.warmup = warmup
        self.final_lr = final_lr
        self.clip_norm = clip_norm
        self.validation = validation
        self.patience = patience
        self.precision = precision
        self.checkpoint = checkpoint
        self.buffer_bytes = buffer_bytes
        self.compile = compile
        self.any_channels = any_channels
        self.on_short = on_short
        self.sfreq = sfreq
        self.ch_names = ch_names
        self.info = info
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # -- what each estimator gives ------------------------------------------------------------------------------------

    def _windows(self, X: Any, spec: SignalSpec | None, sfreq: float | None) -> Windows:
        """Checked signals in their own rate and unit, as the module takes them."""
        raise NotImplementedError

    def _channels_kept(self, ch_names: Sequence[str]) -> Sequence[int]:
        """Places of the channels that it makes use of, among these."""
        return range(len(ch_names))

    def _shortest(self) -> float | None:
        """Seconds that a window must last, where that is known."""
        return None

    def _module_config(self, collections: Sequence[Windows]) -> dict[str, Any]:
        """Keyword arguments of the module for these windows, JSON-like."""
        raise NotImplementedError

    def _build(self, config: Mapping[str, Any]) -> nn.Module:
        """The module of this configuration."""
        return self._module_class(**config)

    # -- learning -----------------------------------------------------------------------------------------------------

    @all_or_nothing
    def fit(self, X: Any, y: Any = None, *, groups: Any = None) -> Self:
        """Learn without labels.

        Parameters
        ----------
        X : array of shape (n, n_channels, n_times), mne.Epochs, SignalDataset, or list of Epochs or SignalDatasets
            Windows; memory maps and Zarr arrays stay on disk. The collections of a list may differ in channels, rate
            and length; each batch is of one of them.
        y : None
            Ignored.
        groups : array of shape (n,), or list of such, optional
            What each window belongs to (a person): windows of one group never both train and validate. Of a
            `SignalDataset` it is the subject, if not given.

        Returns
        -------
        estimator
            Itself.

        Raises
        ------
        InputError
            If the signals cannot be learned from: not finite, empty, too short.
        UsageError
            If a parameter is wrong, or something must be known that is not (sampling rate, channels, unit).
        StorageError
            If the checkpoint is of another training.
        """
        if is_fold(X):
            X = joined_epochs(X)
        several = isinstance(X, list | tuple) and bool(X) and all(map(brings_facts, X))
        given = list(X) if several else [X]
        owners = _owners(given, groups, several)
        known = [self._known(one, reset=True, several=several) for one in given]
        self._learn(given, known, owners)
        if several:  # they may differ in all of this
            self.spec_ = self.sfreq_ = None
            for name in ("n_features_in_", "n_times_"):
                self.__dict__.pop(name, None)
        return self

    def _learn(
        self, given: Sequence[Any], known: Sequence[tuple[Any, SignalSpec | None, float | None]], owners: Sequence[Any]
    ) -> Self:
        """Train on collections whose signals, specs and rates are known, and keep what was learned."""
        process = processes(self.device)
        seed = process.agreed(draw_seed(self.random_state))
        collections = []
        for (signals, spec, sfreq), its_owners in zip(known, owners, strict=True):
            n = int(signals.shape[0])
            if its_owners is not None and its_owners.shape != (n,):
                raise InputError(f"expected one group a window, got {n} windows and groups of shape {its_owners.shape}")
            collections.append(self._windows(signals, spec, sfreq))
        config = self._module_config(collections)
        identity: dict[str, Any] | None = None
        folder: Path | None = None
        if self.checkpoint is not None:
            identity = self._identity(config, collections, owners, seed)
            folder = Path(self.checkpoint) / digest(identity)
            if self.random_state is None:
                seed = process.agreed(checkpoint_seed(folder) or seed)
        device = process.device if process.world > 1 or self.device == "accelerate" else resolve_device(self.device)
        settings = self._settings(seed, folder)
        with seeded(seed, device):
            module = self._build(config)
            learner = SelfSupervised(
                module, seed, self._loss_parts,
                None if collections[0].channels is None else [one.channels for one in collections],
            )  # fmt: skip
            train, valid = self._batches(collections, owners, seed, device, process)
            record = train_network(
                learner, train, valid, settings, loss=own_loss, device=device, identity=identity, process=process,
                parts=self._loss_parts,
            )  # fmt: skip
        self._keep(module, config, device)
        self.__dict__.pop("trained_on_", None)
        if any(isinstance(one, SignalDataset) for one in given):
            self.trained_on_ = _whom(given)
        signals, spec, self.sfreq_ = known[0]
        self.n_times_ = int(signals.shape[2])
        self.spec_ = None if spec is None else spec.replace(n_times=self.n_times_)
        self.n_windows_ = sum(int(one.X.shape[0]) for one in collections)
        self.seed_, self.seconds_ = seed, record.seconds
        self.history_, self.best_epoch_, self.stopped_ = record.history, record.best_epoch, record.stopped
        logger.info("%s: %s; weights of epoch %d", type(self).__name__, record.stopped, record.best_epoch)
        return self

    def _settings(self, seed: int, checkpoint: Path | None) -> TrainingSettings:
        return TrainingSettings(
            max_epochs=self.max_epochs, batch_size=self.batch_size, lr=self.lr, weight_decay=self.weight_decay,
            schedule="warmup_cosine", warmup=self.max_epochs / 10 if self.warmup is None else self.warmup,
            final_lr=self.final_lr, betas=tuple(self.betas),  # type: ignore[arg-type]
            stopping=None if self.validation is None else "loss", patience=self.patience, clip_norm=self.clip_norm,
            precision=self.precision, compile=bool(self.compile),
            checkpoint=None if checkpoint is None else str(checkpoint), seed=seed,
            show_progress=asks_for_progress(self.verbose),
        )  # fmt: skip

    def _batches(
        self, collections: Sequence[Windows], owners: Sequence[Any], seed: int, device: torch.device, process: Any
    ) -> tuple[Any, Any]:
        generator = torch.Generator().manual_seed(seed)
        sizes = [int(one.X.shape[0]) for one in collections]
        learned, judged = validation_split(
            np.zeros(sum(sizes)), np.arange(sum(sizes)), _people(owners, sizes), self.validation, classes=False,
            random_state=seed,
        )  # fmt: skip
        people = _people(owners, sizes)
        self._held_back = (
            [] if judged is None or people is None else sorted(set(people[judged].tolist()), key=_in_order)
        )
        train, valid = [], []
        first = 0
        for one, n in zip(collections, sizes, strict=True):
            trials = trials_of(one.X, None, None, device)
            options: dict[str, Any] = {
                "batch_size": self.batch_size, "scale": one.divisor, "device": device, "buffer_bytes": self.buffer_bytes
            }  # fmt: skip
            shared = {"generator": generator, "rank": process.rank, "world": process.world}
            train.append(Batches(trials, torch.zeros(n), _within(learned, first, n), **options, **shared))
            if judged is not None:
                valid.append(Batches(trials, torch.zeros(n), _within(judged, first, n), **options))
            first += n
        if len(collections) == 1:
            return train[0], valid[0] if valid else None
        return SeveralBatches(train), SeveralBatches(valid) if valid else None

    def _identity(
        self, config: Mapping[str, Any], collections: Sequence[Windows], owners: Sequence[Any], seed: int
    ) -> dict[str, Any]:
        """What makes a training the one that it is, for its checkpoint."""
        left_out = ("checkpoint", "verbose", "random_state", "info", "ch_names", "device")
        params = {name: value for name, value in self.get_params(deep=False).items() if name not in left_out}
        return {
            **json.loads(json.dumps(params, default=repr)),
            "module": json.loads(json.dumps(dict(config))),
            "data": [content_digest(one.X, groups) for one, groups in zip(collections, owners, strict=True)],
            "divisors": [one.divisor for one in collections],
            "channels": [repr(one.channels) for one in collections],
            "software": software(self._module_class),
            "seed": None if self.random_state is None else seed,
        }

    def _run(self, X: Any, known: tuple[Any, SignalSpec | None, float | None] | None = None) -> Iterator[Any]:
        """Batches of checked windows in the module's unit, and what it is told of their channels."""
        check_is_fitted(self)
        _ = self.module_
        signals, spec, sfreq = self._known(X, reset=False) if known is None else known
        windows = self._windows(signals, spec, sfreq)
        n = int(windows.X.shape[0])
        trials = trials_of(windows.X, None, None, self._device)
        batches = Batches(
            trials, torch.zeros(n), np.arange(n), batch_size=self.batch_size, scale=windows.divisor,
            device=self._device, buffer_bytes=self.buffer_bytes,
        )  # fmt: skip
        for signals, _ in batches:
            yield signals, windows.channels

    def _over_batches(self, X: Any, method: str, dtype: Any, known: Any = None) -> np.ndarray:
        """What a method of the module makes of windows, of which a caller may know signals, spec and rate already."""
        return np.concatenate(list(self._each_batch(X, method, dtype, known)))

    def _each_batch(self, X: Any, method: str, dtype: Any, known: Any = None) -> Iterator[np.ndarray]:
        """The same a batch at a time."""
        for signals, channels in self._run(X, known):
            told = {} if channels is None else {"channels": channels}
            with products_in(self.precision, self._device):
                found = getattr(self.module_, method)(signals, **told)
            yield full_precision(found).cpu().numpy().astype(dtype, copy=False)

    def _known(self, X: Any, *, reset: bool, several: bool = False) -> tuple[Any, SignalSpec | None, float | None]:
        """Checked signals, and what is known about them: what they bring along, else what they were said to be."""
        fitted = None if reset else self
        spec: SignalSpec | None
        X = joined_epochs(X)
        if isinstance(X, SignalDataset):
            spec, sfreq, signals = X.info, X.info.sfreq, X.X
        elif brings_facts(X):
            said = reset and not several  # Epochs that come after the fit, or beside others, tell of themselves
            spec, sfreq = known_spec(X, self.info if said else None, self.ch_names if said else None, None)
            signals = X
        else:
            spec, sfreq = known_spec(X, self.info, self.ch_names, self.sfreq) if reset else (self.spec_, self.sfreq_)
            if not reset and self.n_windows_ and not hasattr(self, "n_features_in_"):
                sfreq = None  # fitted on several collections: at whatever rate they were cut, arrays may be at another
            sfreq = self.sfreq if sfreq is None else sfreq
            signals = X
        free = several or (fitted is not None and (self.any_channels or not hasattr(self, "n_features_in_")))
        if fitted is not None and not free:
            own = _channels_only(self.spec_)
            check_names(own, X, type(self).__name__)
            if own is not None and isinstance(X, SignalDataset):
                compare_specs(own, X.info, type(self).__name__)
        signals = check_trials(_Anyone(type(self).__name__) if free else self, signals, reset=reset or free)
        if spec is not None and spec.n_channels != signals.shape[1]:
            raise ChannelError(f"{spec.n_channels} channels are named, the signals have {signals.shape[1]}")
        return signals, spec, sfreq


class _Anyone:
    """Whoever takes any number of channels: what `check_trials` sets or compares is kept nowhere."""

    def __init__(self, name: str):
        self._name = name

    def __sklearn_tags__(self) -> Any:
        return BaseEstimator().__sklearn_tags__()


def brings_facts(X: Any) -> bool:
    """Whether signals tell their own channels and rate."""
    return isinstance(X, SignalDataset) or (hasattr(X, "info") and hasattr(X, "times"))


def _whom(given: Sequence[Any]) -> dict[str, Any] | None:
    """Whose signals these are: subjects of datasets, by name."""
    told = [
        {"subjects": sorted(set(map(str, one.metadata["subject"]))), "dataset": one.name}
        if isinstance(one, SignalDataset) else None for one in given
    ]  # fmt: skip
    return as_trained_on(told[0] if len(told) == 1 else {"subjects": [], "before": told})


def _people(owners: Sequence[Any], sizes: Sequence[int]) -> np.ndarray | None:
    """Groups of all windows: one name is one person in whichever collection, a nameless window is its own group."""
    if all(one is None for one in owners):
        return None
    return np.concatenate(
        [
            [f"window {i} of {k}" for i in range(n)] if one is None else np.asarray(one).astype(str)
            for k, (one, n) in enumerate(zip(owners, sizes, strict=True))
        ]
    )


def _in_order(name: str) -> tuple[bool, int, str]:
    """Numbers by their size, before other names."""
    return (not name.isdigit(), int(name) if name.isdigit() else 0, name)


def _within(rows: np.ndarray, first: int, n: int) -> np.ndarray:
    """Those of all windows that are of one collection, by their place in it."""
    return rows[(rows >= first) & (rows < first + n)] - first


def _owners(given: Sequence[Any], groups: Any, several: bool) -> list[Any]:
    """Groups of each collection."""
    if groups is None:
        found = [one.metadata["subject"].to_numpy() if isinstance(one, SignalDataset) else None for one in given]
    elif several:
        found = [None if one is None else np.asarray(one) for one in groups]
    else:
        found = [np.asarray(groups)]
    if len(found) != len(given):
        raise InputError(f"expected groups for each of {len(given)} collections, got {len(found)}")
    return found


def _channels_only(spec: SignalSpec | None) -> SignalSpec | None:
    """What a fitted estimator asks of other signals: their channels. Rate and unit are converted."""
    return None if spec is None else spec.replace(sfreq=None, unit="a.u.")
