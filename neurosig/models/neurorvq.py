"""`NeuroRVQClassifier`: NeuroRVQ's foundation model fine-tuned to tell classes of trials apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from neurosig.core.all_or_nothing import all_or_nothing
from neurosig.core.channel_names import listed
from neurosig.core.errors import StorageError, UsageError
from neurosig.core.hub import local_folder
from neurosig.core.nested_options import NestedOptions
from neurosig.core.pretrained import PretrainedFormat
from neurosig.core.registry import register
from neurosig.core.signals import SignalSpec
from neurosig.core.trained_on import note_source
from neurosig.models.classifier_storage import ClassifierStorage
from neurosig.models.dataset_input import as_fitted_on, opened
from neurosig.models.net_classifier import NetClassifier
from neurosig.models.neurorvq_embedder import ENCODER_OPTIONS, NOT_OF_ENCODER, NeuroRVQEmbedder, encoder_sizes
from neurosig.models.neurorvq_encoder import NeuroRVQEncoder
from neurosig.models.stored_estimator import estimator_in
from neurosig.tokenizers.neurorvq import CONDITIONS, conditioning_of, settled
from neurosig.tokenizers.neurorvq_windows import Conditioned, Conditioning
from neurosig.training.trial_data import check_names, check_trials, known_spec

__all__ = ["NeuroRVQClassifier"]

_SIZES = ("kind", "patch_size", "depth", "n_heads", "options")
_MODES = ("full", "probe", "layer_decay")
_TRAINING = (
    "max_epochs", "batch_size", "lr", "weight_decay", "class_weight", "validation", "patience", "device",
    "random_state", "verbose",
)  # fmt: skip
_OWN = {
    "module", "module_params", "optimizer", "schedule", "warmup", "scale", "pretrained", "trainable", "sfreq",
    "ch_names", "info", "warm_start", "window", "window_step", *_TRAINING,
}  # fmt: skip


@register(kind="model")
class NeuroRVQClassifier(NestedOptions, ClassifierStorage, ClassifierMixin, BaseEstimator):
    """Fine-tune NeuroRVQ's foundation model to tell classes of trials apart, or train it from scratch.

    Parameters
    ----------
    pretrained : NeuroRVQEmbedder or path-like, optional
        Whose encoder is the start, and whose sizes hold: a fitted embedder (wrapped in `sklearn.frozen.FrozenEstimator`
        where scikit-learn clones this estimator), or the folder of one saved with `save_pretrained` (or its
        "owner/name" on the Hugging Face Hub). None begins with random weights.
    mode : {"full", "probe", "layer_decay"}
        What learns: all weights at one rate; the classifier alone; or all, at rates that fall towards the input, as
        published.
    layer_decay : float
        Factor on the rate from one layer to that before it, in that mode.
    decay_per : {"tensor", "block"}
        What a layer is, see `NeuroRVQEncoder.learning_rates`; "tensor" is published.
    readout : {"mean", "flatten"}
        What the classifier reads: the mean over patches, as first published, or all patches side by side, as later
        versions do.
    kind, patch_size, depth, n_heads : object
        Sizes of a network that begins with random weights, as in `NeuroRVQEmbedder`.
    options : dict, optional
        Its other sizes, likewise.
    unit, filter, resample, remainder, on_unknown, on_short : object
        What is done to signals, as in `NeuroRVQTokenizer`. None does what `pretrained` does, where it is given.
    clip : "auto", float or None
        Likewise; "auto" is that of `pretrained`.
    max_epochs, batch_size, lr, weight_decay : object
        As in `NetClassifier`; the defaults, and AdamW, are published.
    warmup : float or None
        Epochs in which the rate rises from a tenth of `lr`; it then falls straight back. None takes a fifth of
        `max_epochs`: 4 of 20, as published.
    class_weight : {None, "balanced"} or dict
        Weights of the classes in the loss; "balanced" is published.
    validation, patience : object
        As in `NetClassifier`; None, the default, trains on all trials for all epochs.
    training : dict, optional
        Further parameters of `NetClassifier`, such as ``{"precision": "bfloat16"}``. Each can be set by a name of its
        own (``training__precision``).
    sfreq, ch_names, info : object
        What is known of the signals, as in `NetClassifier`; names are needed for EEG.
    device, random_state, verbose : object
        As in `NetClassifier`.

    Attributes
    ----------
    net_ : NetClassifier
        The fitted network, which takes signals as they are after conditioning: whole patches at the module's rate.
    classes_ : array of shape (n_classes,)
        Classes.
    n_features_in_ : int
        Number of channels.
    spec_ : SignalSpec or None
        What is known of the signals fitted on.
    sfreq_ : float or None
        Their sampling rate in Hz.

    See Also
    --------
    NeuroRVQEmbedder : Pretrains the encoder.
    neurosig.tokenizers.NeuroRVQTokenizer : Gives the tokens that it is pretrained on.

    Notes
    -----
    The published fine-tuning gives two classes one output; here they have two, as all networks. The published layer
    decay counts every tensor as a layer, so that the first ones hardly learn: it is made for pretrained weights.

    References
    ----------
    .. [1] "NeuroRVQ: Multi-scale EEG tokenization for generative large brainwave models",
       https://arxiv.org/abs/2510.13068; KonstantinosBarmpas/NeuroRVQ

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.models import NeuroRVQClassifier
    >>> X, y = np.random.default_rng(0).standard_normal((20, 2, 200)) * 1e-5, np.arange(20) % 2
    >>> classifier = NeuroRVQClassifier(
    ...     unit="V", sfreq=200.0, ch_names=["C3", "C4"], patch_size=40, depth=1, max_epochs=2, random_state=0,
    ... ).fit(X, y)
    >>> classifier.predict_proba(X).shape
    (20, 2)
    """

    _channel_order_matters = True
    _nested: ClassVar[Mapping[str, str]] = {"options": "options", "training": "training"}
    _format: ClassVar[PretrainedFormat] = PretrainedFormat("neurosig-neurorvq-classifier", 1, "NeuroRVQ classifier")
    _plain: ClassVar[tuple[str, ...]] = ("n_features_in_", "sfreq_", "_conditions", "_divisor", "_settled")

    def __init__(
        self, pretrained: Any = None, *, mode: str = "full", layer_decay: float = 0.975, decay_per: str = "tensor",
        readout: str = "mean", kind: str = "eeg", patch_size: int | None = None, depth: int = 12, n_heads: int = 10,
        options: Mapping[str, Any] | None = None, unit: str | None = None, filter: bool | None = None,
        resample: bool | None = None, remainder: str | None = None, on_unknown: str | None = None,
        on_short: str | None = None, clip: Any = "auto",
        max_epochs: int = 20, batch_size: int = 32, lr: float = 5e-4, weight_decay: float = 1e-2,
        warmup: float | None = None, class_weight: Any = "balanced", validation: float | None = None,
        patience: int | None = None, training: Mapping[str, Any] | None = None, sfreq: float | None = None,
        ch_names: Any = None, info: Any = None, device: str = "auto", random_state: Any = None, verbose: Any = None,
    ):  # fmt: skip
        self.pretrained = pretrained
        self.mode = mode
        self.layer_decay = layer_decay
        self.decay_per = decay_per
        self.readout = readout
        self.kind = kind
        self.patch_size = patch_size
        self.depth = depth
        self.n_heads = n_heads
        self.options = options
        self.unit = unit
        self.filter = filter
        self.clip = clip
        self.resample = resample
        self.remainder = remainder
        self.on_unknown = on_unknown
        self.on_short = on_short
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.class_weight = class_weight
        self.validation = validation
        self.patience = patience
        self.training = training
        self.sfreq = sfreq
        self.ch_names = ch_names
        self.info = info
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _known_options(self, holder: str) -> Mapping[str, Any] | None:
        if holder == "options":
            return dict.fromkeys(ENCODER_OPTIONS)
        return {name: value for name, value in NetClassifier().get_params(deep=False).items() if name not in _OWN}

    @all_or_nothing
    def fit(self, X: Any, y: Any = None, *, groups: Any = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), mne.Epochs or SignalDataset
            Trials; memory maps and Zarr arrays stay on disk.
        y : array of shape (n_trials,)
            Labels; of a `SignalDataset` its own, if not given.
        groups : array of shape (n_trials,), optional
            Trials of one group stay on one side of the validation split. Of a `SignalDataset` these are its subjects,
            if not given and there are several.

        Returns
        -------
        NeuroRVQClassifier
            Itself.

        Raises
        ------
        UsageError
            If a parameter is wrong, or something must be known that is not (sampling rate, channels, unit).
        ChannelError
            If channels are unknown.
        InputError
            If the trials cannot be learned from.
        StorageError
            If the folder holds no embedder.
        """
        given = opened(X, y, groups, self.info, type(self).__name__)
        X, y, groups = given.X, given.y, given.groups
        if self.mode not in _MODES:
            raise UsageError(f"mode must be one of {', '.join(map(repr, _MODES))}, got {self.mode!r}")
        source = self._source()
        if source is None and self.mode == "probe":
            raise UsageError("mode='probe' trains the classifier of a pretrained network; pass pretrained=...")
        known = self._known_options("training") or {}
        if unknown := sorted(set(self.training or {}) - set(known)):
            raise UsageError(f"training may set {', '.join(sorted(known))}, got {listed(unknown)}")
        self.__dict__.pop("trained_on_", None)  # not known of arrays
        if given.trained_on is not None:
            self.trained_on_ = given.trained_on
        trials = check_trials(self, X, reset=True)
        spec, sfreq = known_spec(X, given.info, self.ch_names, self.sfreq)
        theirs = None if source is None else source._in_force()
        own = self.get_params(deep=False)
        if source is None:
            sizes = encoder_sizes(own, int(trials.shape[1]))
        else:
            sizes = {name: value for name, value in source._config.items() if name not in NOT_OF_ENCODER}
        chosen, conditions = own if theirs is None else theirs, settled(self, CONDITIONS, theirs)
        self._settled = {name: chosen[name] for name in _SIZES} | conditions
        self._conditions = asdict(conditioning_of(self, chosen, conditions))
        done = self._conditioned(trials, spec, sfreq)
        self.spec_, self.sfreq_, self._divisor = spec, sfreq, done.divisor
        kept = self._kept_facts(spec, done)
        training = {name: getattr(self, name) for name in _TRAINING}
        net = NetClassifier(
            "NeuroRVQEncoder",
            {
                **sizes, "ch_names": list(done.channels.positions), "readout": self.readout,
                "layer_decay": self.layer_decay if self.mode == "layer_decay" else None, "decay_per": self.decay_per,
            },
            optimizer="AdamW", schedule="warmup_linear",
            warmup=self.max_epochs / 5 if self.warmup is None else self.warmup,
            stopping=None if self.validation is None else "loss", scale=done.divisor,
            info=kept, sfreq=None if kept is not None else self._conditions["sfreq"],
            pretrained=None if source is None else FrozenEstimator(_as_network(source, sizes, done, kept)),
            trainable="head" if self.mode == "probe" else "all", **training, **(self.training or {}),
        )  # fmt: skip
        net.fit(done.X, y, groups=groups)
        self.net_ = net.set_params(pretrained=None, trainable="all")  # its weights are those of the network now
        self.classes_ = self.net_.classes_
        note_source(self, source)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Give the most probable class of each trial: array of shape (n_trials,)."""
        windows = self._windows(X)
        return self.net_.predict(windows)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Give the probabilities of the classes: array of shape (n_trials, n_classes)."""
        windows = self._windows(X)
        return self.net_.predict_proba(windows)

    def decision_function(self, X: Any) -> np.ndarray:
        """Give the logits, (n_trials, n_classes); with two classes their difference, (n_trials,)."""
        windows = self._windows(X)
        return self.net_.decision_function(windows)

    def _windows(self, X: Any) -> Any:
        """Trials as the network takes them, in the unit that it divides."""
        check_is_fitted(self)
        own = None if self.spec_ is None else self.spec_.replace(sfreq=None, unit="a.u.")  # both are converted
        X, spec, sfreq = as_fitted_on(X, own, type(self).__name__)
        check_names(own, X, type(self).__name__)
        trials = check_trials(self, X, reset=False)
        if spec is None:  # arrays are as those fitted on
            spec, sfreq = self.spec_, self.sfreq_
        done = self._conditioned(trials, spec, sfreq)
        return done.X if done.divisor == self._divisor else done.X * np.float32(self._divisor / done.divisor)

    def _conditioned(self, trials: Any, spec: SignalSpec | None, sfreq: float | None) -> Conditioned:
        return Conditioning(**self._conditions)(trials, spec, sfreq)

    def _source(self) -> NeuroRVQEmbedder | None:
        """The pretrained embedder, read from its folder where it is one."""
        given = self.pretrained.estimator if isinstance(self.pretrained, FrozenEstimator) else self.pretrained
        if given is None:
            return None
        if isinstance(given, str | PathLike):
            return _read(given)
        if not isinstance(given, NeuroRVQEmbedder):
            raise UsageError(
                f"pretrained must be a fitted NeuroRVQEmbedder or the folder of one, got {type(given).__name__}"
            )
        if not given.__sklearn_is_fitted__():
            raise UsageError(
                "the pretrained embedder is not fitted; scikit-learn's clone unfits estimators among the parameters: "
                "wrap it in sklearn.frozen.FrozenEstimator, or give the folder that save_pretrained wrote"
            )
        return given

    def _kept_facts(self, spec: SignalSpec | None, done: Conditioned) -> SignalSpec | None:
        """What is known of the signals after conditioning."""
        if spec is None or self._conditions["kind"] != "eeg":
            return None
        picked = list(done.channels.kept)
        return spec.replace(
            ch_names=tuple(spec.ch_names[i] for i in picked), ch_types=tuple(spec.ch_types[i] for i in picked),
            positions=None if spec.positions is None else tuple(spec.positions[i] for i in picked),
            sfreq=self._conditions["sfreq"], n_times=None, processing=None,
        )  # fmt: skip

    def _storable_params(self) -> dict[str, Any]:
        # what was the pretrained one's is the classifier's own now, and a probe is nothing without it
        mode = "full" if self.mode == "probe" else self.mode
        return super()._storable_params() | self._settled | {"mode": mode}

    def _card(self, config: Mapping[str, Any]) -> str:
        done = config["fitted"]["_conditions"]
        auto = 500.0 if done["kind"] == "eeg" else None
        clip = auto if done["clip"] == "auto" else done["clip"]
        lines = [
            "# What is done to signals before", "",
            f"- {'filtered as published, ' if done['filter'] else ''}"
            f"{'resampled to' if done['resample'] else 'refused unless at'} {done['sfreq']:g} Hz",
            "- not cut off" if clip is None else f"- cut off at {clip:g} microvolts",
            f"- whole patches of {done['patch_size']} samples; unit, where signals do not tell: {done['unit']}", "",
        ]  # fmt: skip
        return "\n".join([super()._card(config), *lines])

    @staticmethod
    def _get_test_params() -> dict[str, Any]:
        return {
            "kind": "ecg", "unit": "V", "sfreq": 128.0, "resample": True, "on_short": "pad", "depth": 1, "n_heads": 2,
            "options": {"n_filters": 4, "n_groups": 1}, "max_epochs": 8, "batch_size": 32, "lr": 0.05,
            "random_state": 0, "device": "cpu",
        }  # fmt: skip


def _read(folder: str | PathLike) -> NeuroRVQEmbedder:
    """The embedder of a folder; a refusal of any other says what the folder holds."""
    place = local_folder(folder)
    holds = estimator_in(place)
    if holds not in (None, "NeuroRVQEmbedder"):
        how = " (with --tokenizer and this folder)" if holds == "NeuroRVQTokenizer" else ""
        raise StorageError(
            f"{folder} holds a {holds}; NeuroRVQClassifier starts from a NeuroRVQEmbedder, which neurosig pretrain "
            f"neurorvq-embedder{how} or NeuroRVQEmbedder.fit learns"
        )
    return NeuroRVQEmbedder.from_pretrained(place, device="cpu")


def _as_network(source: NeuroRVQEmbedder, sizes: Mapping[str, Any], done: Conditioned, spec: Any) -> NetClassifier:
    """The pretrained encoder as a network without a classifier, which `NetClassifier` starts from."""
    encoder = NeuroRVQEncoder(**sizes)
    encoder.load_state_dict(source.module_.encoder.state_dict())
    network = NetClassifier("NeuroRVQEncoder")
    network._network, network.spec_, network.sfreq_ = encoder, spec, None
    network.n_features_in_, network.n_times_, network.window_ = done.X.shape[1], done.X.shape[2], None
    network.scale_ = done.divisor
    return network
