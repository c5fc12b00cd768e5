"""What `BrainMAEClassifier` and `BrainMAERegressor` share: where they start, what is trained, what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import _num_samples, check_is_fitted
from torch import nn

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, StorageError, UsageError
from neurosig.core.files import digest
from neurosig.core.log import asks_for_progress, logger
from neurosig.core.signals import SignalDataset
from neurosig.core.trained_on import note_source
from neurosig.models.brainmae_base import FACTS, SIZES, LearnedBrainMAE, TakesRuns, collections_of
from neurosig.models.brainmae_card import brainmae_card
from neurosig.models.brainmae_embedder import BrainMAEEmbedder
from neurosig.models.brainmae_insight import Insight
from neurosig.models.brainmae_start import Head, RegionDropout, pretrained_embedder, start_from
from neurosig.models.net_base import Task
from neurosig.models.net_chance import guessing_loss, tell_of_chance
from neurosig.tokenizers.learned_storage import LearnedStorage
from neurosig.tokenizers.learning import _whom
from neurosig.training.batches import BUFFER_BYTES, Batches, is_stream
from neurosig.training.checkpoint import checkpoint_seed, software
from neurosig.training.cut_batches import trials_of
from neurosig.training.device import draw_seed, resolve_device, seeded
from neurosig.training.distributed import processes
from neurosig.training.nets import train_network
from neurosig.training.settings import TrainingSettings
from neurosig.training.trial_data import content_digest, validation_split

__all__ = ["BrainMAEPredictor"]

_MODES = ("full", "probe", "frozen_embedding")
_POLICIES = ("resample", "reinit", "error")
# options of the network that a fine-tuning may change: they shape no weights
_FREE = ("drop_prob", "init_std")
_LEFT_OUT = ("checkpoint", "verbose", "random_state", "info", "ch_names", "pretrained", "device")


class BrainMAEPredictor(Insight, TakesRuns, LearnedStorage, TransformerMixin, BaseEstimator):
    """Base of `BrainMAEClassifier` and `BrainMAERegressor`.

    Parameters
    ----------
    pretrained : BrainMAEEmbedder, path-like or None
        Where the training starts: a fitted embedder (wrapped in `sklearn.frozen.FrozenEstimator` where scikit-learn
        clones this estimator), or the folder of one saved with `save_pretrained` (or its "owner/name" on the Hugging
        Face Hub). Its sizes, regions and standardisation hold. None begins with random weights.
    mode : {"full", "probe", "frozen_embedding"}
        What is trained: everything; the head alone, on the states of a network that stays as it is; or everything but
        the embeddings of the regions.
    on_tr_mismatch : {"resample", "reinit", "error"}
        What becomes of runs with another repetition time than the pretrained network has learned: they are resampled
        along straight lines; the layer that reads segments is new, of as many volumes as a segment has now; or they are
        refused. Where nothing is pretrained, runs that differ from each other are resampled, or refused.
    emb_size, n_heads, depth, temporal_depth, mlp_ratio, drop_prob : object
        Sizes, as of `BrainMAE`; all but `drop_prob` and `init_std` are those of the pretrained network, where there
        is one.
    region_dropout : float
        Share of the regions that each run lacks in a training step, drawn anew: below 1.
    max_epochs : int
        Passes over the runs at most; each shows one window of `n_segments` segments of each run, which begins anywhere.
    batch_size : int
        Runs in a batch, in training and after.
    lr, weight_decay, betas : object
        Of AdamW; biases, norms and embeddings have no weight decay.
    warmup : float or None
        Epochs in which the learning rate rises from zero to `lr`; None takes a tenth of `max_epochs`.
    final_lr : float
        Rate to which it goes over after that, along half a cosine.
    clip_norm : float or None
        Largest norm of the gradient.
    validation : float or None
        Share of the runs on which the training is judged after each epoch, whole `groups` (subjects) where these are
        known. The weights of the best epoch are kept. None trains on all runs for `max_epochs`.
    patience : int or None
        Epochs without improvement after which the training stops; None trains for `max_epochs`.
    precision : {"float32", "bfloat16", "float16"}
        Type in which products are computed, in training and after.
    checkpoint : path-like, optional
        Folder that keeps the state after each epoch: a training that was killed goes on there when it is called again.
    buffer_bytes : int
        Bytes of runs that are held at once where they are read one by one.
    compile : bool
        Whether the network is trained through `torch.compile`.
    device : str
        "auto", "cpu", "cuda", "cuda:1", "mps", or "accelerate" for several devices.
    random_state : int, RandomState or None
        Seeds all that is drawn; the same number gives the same bits.
    verbose : bool, str or None
        As in mne: at "INFO" a progress bar is shown. None follows neurosig's log level.

    Attributes
    ----------
    module_ : nn.Module
        The trained network, frozen.
    spec_ : SignalSpec or None
        What is known of the network's input, where regions have names.
    sfreq_ : float
        ``1 / t_r_``.
    history_ : list of dict
        A row an epoch: epoch, train_loss and valid_loss, lr, seconds.
    best_epoch_ : int
        The epoch whose weights are kept, from 1.
    stopped_ : str
        Why the training ended.
    seconds_ : float
        Duration of the training.
    n_parameters_ : int
        Weights of the network.
    n_windows_ : int
        Runs that were there to learn from.
    guessing_loss_ : float or None
        Validation loss of the best answer that is the same for every run; None where nothing validates.
    seed_ : int
        The seed that was drawn from `random_state`.
    trained_on_ : dict
        Whom it has seen (`neurosig.core.trained_on`), where that is known.
    """

    _channel_order_matters = True  # an embedding belongs to a region, and begins where its place is
    _module_class: ClassVar[type[nn.Module]] = LearnedBrainMAE
    # scikit-learn's way to ask for metadata by default: a YAML pipeline has no room for set_fit_request
    __metadata_request__fit: ClassVar = {"groups": True, "t_r": True}
    __metadata_request__predict: ClassVar = {"t_r": True}
    __metadata_request__predict_proba: ClassVar = {"t_r": True}
    __metadata_request__decision_function: ClassVar = {"t_r": True}
    __metadata_request__transform: ClassVar = {"t_r": True}

    guessing_loss_: float | None
    n_times_: int
    n_windows_: int
    trained_on_: dict[str, Any]

    def __init__(
        self, pretrained: Any = None, mode: str = "full", *, variant: str = "sg", segment: float = 15.0,
        n_segments: int = 20, emb_size: int = 256, n_heads: int = 8, depth: int = 3, temporal_depth: int = 2,
        mlp_ratio: float = 4.0, drop_prob: float = 0.1, region_embedding: str = "learned", self_loops: bool = False,
        init_std: float | None = None, standardize: str | None = "run", resample_to: float | None = None,
        on_tr_mismatch: str = "resample",
        on_missing: str = "raise", on_unknown: str = "raise", region_dropout: float = 0.0, max_epochs: int = 100,
        batch_size: int = 32, lr: float = 1e-4, weight_decay: float = 0.05, betas: Sequence[float] = (0.9, 0.999),
        warmup: float | None = None, final_lr: float = 0.0, clip_norm: float | None = 1.0,
        validation: float | None = 0.2, patience: int | None = 15, precision: str = "float32", checkpoint: Any = None,
        buffer_bytes: int = BUFFER_BYTES, compile: bool = False, t_r: float | None = None, sfreq: float | None = None,
        ch_names: Any = None, info: Any = None, device: str = "auto", random_state: Any = None, verbose: Any = None,
    ):  # fmt: skip
        self.pretrained = pretrained
        self.mode = mode
        self.variant = variant
        self.segment = segment
        self.n_segments = n_segments
        self.emb_size = emb_size
        self.n_heads = n_heads
        self.depth = depth
        self.temporal_depth = temporal_depth
        self.mlp_ratio = mlp_ratio
        self.drop_prob = drop_prob
        self.region_embedding = region_embedding
        self.self_loops = self_loops
        self.init_std = init_std
        self.standardize = standardize
        self.resample_to = resample_to
        self.on_tr_mismatch = on_tr_mismatch
        self.on_missing = on_missing
        self.on_unknown = on_unknown
        self.region_dropout = region_dropout
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
        self.t_r = t_r
        self.sfreq = sfreq
        self.ch_names = ch_names
        self.info = info
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # -- what goes in -------------------------------------------------------------------------------------------------

    def _given(self, X: Any, y: Any, groups: Any) -> tuple[list[Any], Any, np.ndarray | None]:
        """Collections, targets and groups, the last two of the datasets where they are not given."""
        given = collections_of(X)
        datasets = all(isinstance(one, SignalDataset) for one in given)
        if y is None and datasets and all(one.y is not None for one in given):
            y = np.concatenate([np.asarray(one.y) for one in given])
        if y is None:
            raise InputError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        if groups is None and datasets:
            groups = np.concatenate([one.metadata["subject"].to_numpy().astype(str) for one in given])
        labels = np.asarray(y)
        objects = labels.ndim == 1 and labels.dtype.kind == "O"
        if lacking := [i for i, value in enumerate(labels) if value is None or value != value] if objects else []:
            raise InputError(
                f"{len(lacking)} of {len(labels)} runs have no label (runs {listed(map(str, lacking))}); leave "
                "them out, as dataset.subset(mask) does"
            )
        return given, y, None if groups is None else np.asarray(groups)

    def _padded_runs(self, given: Sequence[Any], y: Any, groups: Any, t_r: Any, source: Any) -> Any:
        """All runs as one array; what is known of them is kept."""
        found = self._runs_to_fit(given, t_r, source)
        n = sum(len(lengths) for _, lengths, _ in found)
        if _num_samples(y) != n:
            raise InputError(f"expected one target a run, got {n} runs and {_num_samples(y)} targets")
        if groups is not None and groups.shape != (n,):
            raise InputError(f"expected one group a run, got {n} runs and groups of shape {groups.shape}")
        self.spec_ = found[0][2]
        if len(found) == 1:
            return found[0][0]
        if any(is_stream(runs) for runs, _, _ in found):
            raise UsageError("several collections are held in memory together: raise buffer_bytes, or load() them")
        longest = max(runs.shape[2] for runs, _, _ in found)
        return np.concatenate(
            [np.pad(runs, [(0, 0), (0, 0), (0, longest - runs.shape[2])], constant_values=np.nan)
             for runs, _, _ in found]
        )  # fmt: skip

    def _segment(self) -> float:
        source = vars(self).get("_source_config")  # while it is fitted
        return super()._segment() if source is None else float(source["segment"])

    # -- learning -----------------------------------------------------------------------------------------------------

    def check_options(self) -> None:
        """Refuse options that make no sense, with a UsageError; pipeline files are checked by this as they are read."""
        self._check_run_options()
        for name, known in (("mode", _MODES), ("on_tr_mismatch", _POLICIES)):
            if (value := getattr(self, name)) not in known:
                raise UsageError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")
        share = self.region_dropout
        if isinstance(share, bool | str) or not 0 <= share < 1:
            raise UsageError(f"region_dropout must be a share from 0 to below 1, got {share!r}")
        if self.mode == "probe" and self.pretrained is None:
            raise UsageError("mode='probe' trains the head of a pretrained network; pass pretrained=...")

    def _begin(self) -> BrainMAEEmbedder | None:
        """The pretrained embedder, whose sizes and standardisation hold from here on."""
        self.check_options()
        self.__dict__.pop("trained_on_", None)  # not known of arrays
        source = pretrained_embedder(self.pretrained)
        self.__dict__.pop("_config", None)
        self._source_config = None if source is None else dict(source._config)
        if source is not None and source.standardize != self.standardize:
            raise UsageError(
                f"the pretrained network has learned from runs with standardize={source.standardize!r}, this one has "
                f"standardize={self.standardize!r}; give it the same"
            )
        return source

    def _train(
        self, X: Any, task: Task, groups: np.ndarray | None, source: BrainMAEEmbedder | None, given: Sequence[Any],
        class_weight: Callable[[np.ndarray], torch.Tensor | None] | None = None,
    ) -> Self:  # fmt: skip
        """Build, start, split, train, keep."""
        process = processes(self.device)
        seed = process.agreed(draw_seed(self.random_state))
        config = self._config_for(task.n_outputs, source)
        identity: dict[str, Any] | None = None
        folder: Path | None = None
        if self.checkpoint is not None:
            identity = self._identity(config, content_digest(X, task.y, groups), source, seed)
            folder = Path(self.checkpoint) / digest(identity)
            if self.random_state is None:
                seed = process.agreed(checkpoint_seed(folder) or seed)
        settings = self._settings(seed, folder)
        device = process.device if process.world > 1 or self.device == "accelerate" else resolve_device(self.device)
        n = int(X.shape[0])
        learned, judged = validation_split(
            task.y, np.arange(n), groups, self.validation, classes=task.loss is None, random_state=seed
        )
        with seeded(seed, device):
            module = self._build(config)
            if source is not None:
                start_from(module, source, self.mode)
            target = torch.as_tensor(self._prepare_target(task.y, learned))
            learner, signals = self._learner(module, X, device)
            trials = trials_of(signals, None, None, device)
            options: dict[str, Any] = {
                "batch_size": self.batch_size, "device": device, "buffer_bytes": self.buffer_bytes
            }  # fmt: skip
            augment = RegionDropout(self.region_dropout) if self.region_dropout and learner is module else None
            batches = Batches(
                trials, target, learned, **options, generator=torch.Generator().manual_seed(seed), augment=augment,
                rank=process.rank, world=process.world,
            )  # fmt: skip
            valid = None if judged is None else Batches(trials, target, judged, **options)
            weights = None if class_weight is None else class_weight(learned)
            record = train_network(
                learner, batches, valid, settings, loss=task.loss, class_weight=weights, device=device,
                identity=identity, process=process,
            )  # fmt: skip
        module.to(device).eval()
        self._source_config = None
        self._keep(module, config, device)
        if any(isinstance(one, SignalDataset) for one in given):
            self.trained_on_ = _whom(given)  # type: ignore[assignment]
        note_source(self, source)
        self.n_times_, self.n_windows_ = int(X.shape[2]), n
        self.seed_, self.seconds_ = seed, record.seconds
        self.history_, self.best_epoch_, self.stopped_ = record.history, record.best_epoch, record.stopped
        self.guessing_loss_ = None
        if judged is not None:
            shares = None if weights is None else weights.cpu().double().numpy()
            self.guessing_loss_ = guessing_loss(target.numpy(), judged, None, shares, classes=task.loss is None)
            if record.best_epoch:
                tell_of_chance("BrainMAE", record.history[record.best_epoch - 1], self.guessing_loss_)
        logger.info("%s: %s; weights of epoch %d", type(self).__name__, record.stopped, record.best_epoch)
        return self

    def _prepare_target(self, y: np.ndarray, train: np.ndarray) -> np.ndarray:
        """What the network is to give, from class numbers or values."""
        return y

    def _config_for(self, n_outputs: int, source: BrainMAEEmbedder | None) -> dict[str, Any]:
        """Options of the network: its own, or those of the pretrained one."""
        own = self._network_config(n_outputs)
        if source is None:
            return own
        theirs = {name: source._config[name] for name in SIZES if name not in _FREE}
        return own | theirs

    def _build(self, config: Mapping[str, Any]) -> nn.Module:
        return self._module_class(**config)

    def _learner(self, module: nn.Module, X: Any, device: torch.device) -> tuple[nn.Module, Any]:
        """What is trained, and on what: the network on runs, or its head on what the frozen network makes of them."""
        if self.mode != "probe":
            if self.mode == "frozen_embedding" and self.pretrained is None:
                module.region_embedding.requires_grad_(False)
            return module, X
        module.to(device).eval()
        found: list[np.ndarray] = []
        with torch.no_grad():
            for start in range(0, int(X.shape[0]), self.batch_size):
                batch = torch.from_numpy(np.array(X[start : start + self.batch_size])).to(device)
                found.append(module.window_means(batch).float().cpu().numpy())  # type: ignore[operator]
        return Head(module), np.concatenate(found)

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

    def _identity(
        self, config: Mapping[str, Any], content: str, source: BrainMAEEmbedder | None, seed: int
    ) -> dict[str, Any]:
        """What makes a training the one that it is, for its checkpoint."""
        params = {name: value for name, value in self.get_params(deep=False).items() if name not in _LEFT_OUT}
        start = None
        if source is not None:
            values = [value.detach().cpu().double().ravel().numpy() for value in source.module_.state_dict().values()]
            start = content_digest(np.concatenate(values)[:, np.newaxis, np.newaxis])
        return {
            **json.loads(json.dumps(params, default=repr)),
            "module": json.loads(json.dumps(dict(config))),
            "regions": self.region_names_,
            "start": start,
            "data": content,
            "software": software(self._module_class),
            "seed": None if self.random_state is None else seed,
        }

    # -- what comes out -----------------------------------------------------------------------------------------------

    def transform(self, X: Any, t_r: Any = None) -> np.ndarray:
        """Give the embedding of each run in the trained network: the mean of its contextual states.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of (n_regions, n_times), or SignalDataset
            Runs.
        t_r : float or array of shape (n_runs,), optional
            Repetition time of arrays, where it is not that of the fit.

        Returns
        -------
        float32 array of shape (n_runs, emb_size)
            Embeddings.
        """
        check_is_fitted(self)
        return self._over_runs(X, lambda batch: self.module_.embed(batch), t_r)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the parts of an embedding.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        array of str
            Names.
        """
        check_is_fitted(self)
        name = type(self).__name__.lower()
        return np.asarray([f"{name}{i}" for i in range(self._config["emb_size"])], dtype=object)

    def _outputs(self, X: Any, t_r: Any) -> np.ndarray:
        """Outputs of all runs, (n_runs, n_outputs)."""
        check_is_fitted(self)
        return self._over_runs(X, lambda batch: self.module_(batch), t_r)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # embeddings are float32
        return tags

    # -- on disk ------------------------------------------------------------------------------------------------------

    def _storable_params(self) -> dict[str, Any]:
        # what was the pretrained one's is its own now, and a probe is nothing without it
        params = super()._storable_params()
        config = {name: self._config[name] for name in SIZES if name in params and name in self._config}
        mode = "full" if self.mode == "probe" else self.mode
        stands_in_spec = {} if self.spec_ is None else {"t_r": None, "sfreq": None}
        return params | config | stands_in_spec | {"pretrained": None, "mode": mode}

    def _stored_facts(self) -> dict[str, Any]:
        return {"runs": {name: vars(self)[name] for name in FACTS} | {"guessing_loss_": self.guessing_loss_}}

    @classmethod
    def _restored(cls, config: Mapping[str, Any], arrays: dict[str, np.ndarray], place: Path, **params: Any) -> Self:
        estimator = super()._restored(config, arrays, place, **params)
        try:
            estimator.__dict__.update({name: config["runs"][name] for name in (*FACTS, "guessing_loss_")})
            estimator._restore_task(config)
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{place / 'config.json'} is damaged or of another version: {error}") from error
        return estimator

    def _restore_task(self, config: Mapping[str, Any]) -> None:
        """Take up what was learned of the targets."""
        raise NotImplementedError

    def _card(self, config: Mapping[str, Any]) -> str:
        return brainmae_card(config, self._about(), self._config)

    def _about(self) -> str:
        """What comes out, for the card."""
        raise NotImplementedError

    @staticmethod
    def _get_test_params() -> dict[str, Any]:
        return {
            "variant": "vanilla", "segment": 1 / 128, "n_segments": 4, "emb_size": 16, "n_heads": 2, "depth": 1,
            "temporal_depth": 1, "drop_prob": 0.0, "standardize": None, "max_epochs": 40, "batch_size": 512,
            "lr": 0.02, "validation": None, "sfreq": 128.0, "random_state": 0, "device": "cpu",
        }  # fmt: skip
