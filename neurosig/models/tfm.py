"""`TFMClassifier`: from signals to TFM tokens to classes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import _num_samples, check_is_fitted

from neurosig.core.all_or_nothing import all_or_nothing
from neurosig.core.channel_names import listed
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.joined_epochs import joined_epochs
from neurosig.core.log import asks_for_progress, logger
from neurosig.core.nested_options import NestedOptions
from neurosig.core.registry import register
from neurosig.core.signals import SignalDataset
from neurosig.core.trained_on import note_source
from neurosig.models.dataset_input import as_fitted_on, opened
from neurosig.models.net_classifier import NetClassifier
from neurosig.models.tfm_embedder import TFMEmbedder
from neurosig.models.tfm_encoder import TFMEncoder
from neurosig.models.tfm_losses import LOSSES
from neurosig.models.tfm_mtp import learn_masked_tokens
from neurosig.models.tfm_parts import as_fitted
from neurosig.models.tfm_plugin import known_to_labram
from neurosig.models.tfm_start import encoder_of, source_of
from neurosig.models.tfm_storage import TFMStorage
from neurosig.tokenizers.tfm import TFMTokenizer
from neurosig.training.device import draw_seed, resolve_device, seeded
from neurosig.training.trial_data import check_names, check_trials, known_spec

__all__ = ["TFMClassifier"]

ENCODERS = ("TFMEncoder", "TFMBIOT", "TFMLaBraM")

# handed to the training of the encoder, the tokenizer's having parameters of its own
_TRAINING = (
    "max_epochs", "batch_size", "lr", "weight_decay", "warmup", "final_lr", "validation", "patience", "checkpoint",
    "device", "verbose",
)  # fmt: skip
_SHARED = ("device", "verbose", "checkpoint", "sfreq", "ch_names", "info")


@register(kind="model")
class TFMClassifier(NestedOptions, TFMStorage, ClassifierMixin, BaseEstimator):
    """TFM-Tokenizer with its encoder: windows become tokens, tokens become decisions.

    Parameters
    ----------
    pretrained : TFMTokenizer, TFMEmbedder, TFMClassifier, path-like or None
        What was learned before: a fitted tokenizer; a fitted embedder or classifier, whose tokenizer and encoder are
        where the training starts; or the folder of one of them (or its "owner/name" on the Hugging Face Hub). Fitted
        estimators are wrapped in `sklearn.frozen.FrozenEstimator` where scikit-learn clones this one. None fits a
        tokenizer on the training windows, without their labels.
    mode : {"full", "probe"}
        Whether the whole encoder is trained, or its last layer alone. The tokenizer never is. A probe says something
        where the encoder has learned before: of an embedder or a classifier, or by `mtp_epochs`.
    encoder : {"TFMEncoder", "TFMBIOT", "TFMLaBraM"}
        The network on tokens: the system's own, or one of another system in front of which the tokens are put.
    tokenizer_params : dict or None
        Parameters of the `TFMTokenizer` that is fitted where nothing is pretrained: ``{"max_epochs": 20}``.
    encoder_params : dict or None
        Options of the encoder: ``{"depth": 4}``. Its `max_chans` grows to the channels there are.
    mtp_epochs : int
        Epochs in which the encoder first learns to predict masked tokens of the training windows, without labels;
        published with 50, on much more data, from which `TFMEmbedder` learns the same.
    loss : {"cross_entropy", "bce", "focal"}
        Of the encoder, see `TFMEncoder`: published are the first for several classes, with smoothed labels, and the
        others for two.
    max_epochs, batch_size, lr, weight_decay, warmup, final_lr, validation, patience : object
        Of the training on labels, as in `NetClassifier`; the rate rises over `warmup` epochs (None: a tenth of them)
        and falls along half a cosine. Published: 50 epochs, batches of 512, and a rate that goes on rising to 5e-3.
    checkpoint : path-like, optional
        Folder of states, from which a training that was killed goes on: tokenizer, masked tokens and classes each.
    options : dict or None
        Further parameters of `NetClassifier`, such as ``{"class_weight": "balanced"}``. Those of all four dictionaries
        can be set and searched by names of their own (``tokenizer__n_codes``, ``encoder__depth``,
        ``options__class_weight``).
    sfreq, ch_names, info : object
        What is known of the signals, as in `NetClassifier`. The sampling rate must be.
    device, random_state, verbose : object
        As in `NetClassifier`.

    Attributes
    ----------
    tokenizer_ : TFMTokenizer
        Fitted; the one that was given, where one was.
    net_ : NetClassifier
        The encoder with its training, on tokens.
    classes_ : array of shape (n_classes,)
        Classes.
    mtp_history_ : list of dict
        Epochs of masked token prediction.
    n_features_in_, n_frames_ : int
        Channels, and tokens of each in a window.
    spec_ : SignalSpec or None
        What is known of the signals fitted on.
    sfreq_ : float or None
        Their sampling rate in Hz.
    seed_ : int
        The seed that was drawn from `random_state`.

    See Also
    --------
    TFMEncoder : The network.
    TFMEmbedder : Learns without labels.

    Notes
    -----
    Source: Pradeepkumar et al. [1]_. Windows are tokenized once; all training is on tokens. The weights kept are those
    of the lowest validation loss, where the published code keeps the best kappa or AUROC.

    Tokens do not know channels by name: their order is what the encoder learns, and must not change.

    References
    ----------
    .. [1] Pradeepkumar et al., "Tokenizing single-channel EEG with time-frequency motif learning", ICLR 2026,
       https://arxiv.org/abs/2502.16060

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.models import TFMClassifier
    >>> X, y = np.random.default_rng(0).standard_normal((20, 2, 400)), np.arange(20) % 2
    >>> tiny = {"n_codes": 16, "emb_size": 16, "max_epochs": 1}
    >>> net = TFMClassifier(tokenizer_params=tiny, max_epochs=2, sfreq=200, random_state=0).fit(X, y)
    >>> net.predict_proba(X).shape
    (20, 2)
    """

    _channel_order_matters = True
    _nested: ClassVar[Mapping[str, str]] = {
        "options": "options", "tokenizer": "tokenizer_params", "encoder": "encoder_params"
    }  # fmt: skip

    def __init__(
        self,
        pretrained: Any = None,
        mode: str = "full",
        *,
        encoder: str = "TFMEncoder",
        tokenizer_params: Mapping[str, Any] | None = None,
        encoder_params: Mapping[str, Any] | None = None,
        mtp_epochs: int = 0,
        loss: str = "cross_entropy",
        max_epochs: int = 50,
        batch_size: int = 64,
        lr: float = 1e-3,
        weight_decay: float = 1e-5,
        warmup: float | None = None,
        final_lr: float = 0.0,
        validation: float | None = 0.2,
        patience: int | None = None,
        checkpoint: Any = None,
        options: Mapping[str, Any] | None = None,
        sfreq: float | None = None,
        ch_names: Sequence[str] | None = None,
        info: Any = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: Any = None,
    ):
        self.pretrained = pretrained
        self.mode = mode
        self.encoder = encoder
        self.tokenizer_params = tokenizer_params
        self.encoder_params = encoder_params
        self.mtp_epochs = mtp_epochs
        self.loss = loss
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.final_lr = final_lr
        self.validation = validation
        self.patience = patience
        self.checkpoint = checkpoint
        self.options = options
        self.sfreq = sfreq
        self.ch_names = ch_names
        self.info = info
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # -- learning -----------------------------------------------------------------------------------------------------

    @all_or_nothing
    def fit(self, X: Any, y: Any = None, *, groups: Any = None) -> Self:
        """Fit the tokenizer where there is none yet, and train the encoder on tokens.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), mne.Epochs or SignalDataset
            Trials, in any unit; memory maps and Zarr arrays at 200 Hz are read in blocks.
        y : array of shape (n_trials,)
            Their classes; of a `SignalDataset` its own, if not given.
        groups : array of shape (n_trials,), optional
            Trials of one group stay on one side of the validation split. Of a `SignalDataset` these are its subjects,
            if not given and there are several.

        Returns
        -------
        TFMClassifier
            Itself.

        Raises
        ------
        UsageError
            If an option is not what it must be, or the sampling rate is not known.
        InputError
            If X or y are not fit to learn from.
        ChannelError
            If there are more channels than a pretrained encoder knows.
        """
        given = opened(X, y, groups, self.info, type(self).__name__)
        self._check_params()
        self.__dict__.pop("trained_on_", None)  # not known of arrays
        if given.trained_on is not None:
            self.trained_on_ = given.trained_on
        source = source_of(self.pretrained, TFMClassifier)
        y, groups = given.y, given.groups
        trials = joined_epochs(given.X)
        signals = check_trials(self, trials, reset=True)
        spec, sfreq = known_spec(trials, given.info, self.ch_names, self.sfreq)
        if spec is not None and spec.n_channels != signals.shape[1]:
            raise ChannelError(f"{spec.n_channels} channels are named, the signals have {signals.shape[1]}")
        if _num_samples(y) != signals.shape[0]:
            raise InputError(
                f"expected one target a trial, got {signals.shape[0]} trials and {_num_samples(y)} targets"
            )
        self.seed_ = draw_seed(self.random_state)
        if source is None:
            params = {name: getattr(self, name) for name in _SHARED} | {"random_state": self.seed_}
            self.tokenizer_ = TFMTokenizer(**{**params, **(self.tokenizer_params or {})})
            self.tokenizer_.fit(X if isinstance(X, SignalDataset) else trials, groups=groups)
        else:
            self.tokenizer_ = source if isinstance(source, TFMTokenizer) else source.tokenizer_
            by_name = isinstance(self.pretrained, str | os.PathLike)
            bare = by_name and isinstance(source, TFMTokenizer) and self.encoder == "TFMEncoder"
            if bare and not self.mtp_epochs:
                logger.warning(
                    "TFMClassifier: %s holds a tokenizer alone: the encoder starts at random and learns from these "
                    "trials only; a TFMEmbedder (neurosig pretrain tfm-encoder) has learned before, and "
                    "mtp_epochs learns from the trials without labels first",
                    self.pretrained,
                )
            if sfreq is None:  # not that of the tokenizer's training, which these signals need not have
                raise UsageError(
                    "TFMClassifier needs the sampling rate of the signals: pass sfreq=... (Hz), or mne.Epochs"
                )
        self.spec_, self.sfreq_ = spec, sfreq
        tokens = self.tokenizer_._over_batches(trials, "encode", np.int64, (signals, spec, sfreq))
        self.n_frames_ = int(tokens.shape[2])
        start = self._start(None if isinstance(source, TFMTokenizer) else source, tokens)
        training = {name: getattr(self, name) for name in _TRAINING}
        if training["warmup"] is None:
            training["warmup"] = self.max_epochs / 10
        self.net_ = NetClassifier(
            self.encoder, self._encoder_options(start, tokens.shape[1]), schedule="warmup_cosine", scale=None,
            pretrained=start, trainable="head" if self.mode == "probe" else "all", random_state=self.seed_,
            **training, **(self.options or {}),
        )  # fmt: skip
        self.net_.fit(tokens, y, groups=groups)
        self.net_.pretrained = None
        self.classes_ = self.net_.classes_
        note_source(self, source)
        return self

    def _check_params(self) -> None:
        for name, value, known in (
            ("mode", self.mode, ("full", "probe")), ("encoder", self.encoder, ENCODERS), ("loss", self.loss, LOSSES)
        ):  # fmt: skip
            if value not in known:
                raise UsageError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")
        if isinstance(self.mtp_epochs, bool) or not hasattr(self.mtp_epochs, "__index__") or self.mtp_epochs < 0:
            raise UsageError(f"mtp_epochs must be a whole number not below 0, got {self.mtp_epochs!r}")
        own = self.encoder == "TFMEncoder"
        if not own and (self.mtp_epochs or self.mode == "probe"):
            raise UsageError(f"masked tokens and probes are for encoder='TFMEncoder', not {self.encoder!r}")
        fixed = {"schedule", "scale", "pretrained", "trainable", "random_state", "module", "module_params", *_TRAINING}
        for name, taken, allowed in (
            ("options", fixed, NetClassifier().get_params(deep=False)),
            ("tokenizer_params", set(), TFMTokenizer().get_params(deep=False)),
            ("encoder_params", {"n_codes", "tokenizer", "loss", *({"emb_size"} if own else ())}, None),
        ):
            given = getattr(self, name) or {}
            if clash := sorted(set(given) & taken):
                raise UsageError(f"{name} set {listed(clash)}, a parameter of its own or fixed; leave it out there")
            if allowed is not None and (unknown := sorted(set(given) - set(allowed))):
                raise UsageError(f"{name} has no {listed(unknown)}")
        if self.pretrained is not None and self.tokenizer_params:
            raise UsageError("tokenizer_params are of a tokenizer that is fitted here; leave them out with pretrained=")

    def _encoder_options(self, start: NetClassifier | None, n_channels: int) -> dict[str, Any]:
        """Options of the network on tokens."""
        if start is not None:
            return dict(start.module_params) | {"loss": self.loss}
        given = {"n_codes": self.tokenizer_.vocabulary_size_, "loss": self.loss, **(self.encoder_params or {})}
        if self.encoder == "TFMEncoder":
            given["emb_size"] = int(self.tokenizer_._config["emb_size"])
            given["max_chans"] = max(int(given.get("max_chans", 16)), n_channels)
        elif self.encoder == "TFMLaBraM" and self.spec_ is not None:
            given.setdefault("ch_names", known_to_labram(self.spec_.ch_names))
        return given

    def _start(self, source: TFMEmbedder | TFMClassifier | None, tokens: np.ndarray) -> NetClassifier | None:
        """The encoder as it is before it is told of classes."""
        self.mtp_history_: list[dict[str, Any]] = []
        if self.encoder != "TFMEncoder":
            if source is not None:
                raise UsageError(f"pretrained= gives encoder={self.encoder!r} its tokenizer only: pass a TFMTokenizer")
            return None
        if source is None:
            options = self._encoder_options(None, tokens.shape[1])
            with seeded(self.seed_):
                module = TFMEncoder(n_outputs=1, **options)
                module.start_from_codebook(self.tokenizer_.module_.quantizer.codebook.cpu())
        else:
            module, options = encoder_of(source, self.encoder_params)
            if tokens.shape[1] > module.max_chans:
                raise ChannelError(
                    f"the pretrained encoder knows {module.max_chans} channels, these trials have {tokens.shape[1]}; "
                    "choose channels, or give its tokenizer alone as pretrained and train a new encoder"
                )
        if self.mtp_epochs:
            device = resolve_device("auto" if self.device == "accelerate" else self.device)
            record = learn_masked_tokens(
                module, tokens, max_epochs=self.mtp_epochs, batch_size=self.batch_size, lr=self.lr, seed=self.seed_,
                weight_decay=self.weight_decay, device=device, checkpoint=self.checkpoint,
                show_progress=asks_for_progress(self.verbose),
            )  # fmt: skip
            self.mtp_history_ = record.history
        classes = None if self.mtp_epochs else getattr(source, "classes_", None)
        if classes is None:
            module.reset_head(1)  # none that could be kept
        return as_fitted(module, options, tokens.shape[1:], classes)

    # -- deciding -----------------------------------------------------------------------------------------------------

    def _tokens(self, X: Any) -> np.ndarray:
        """Tokens of trials that are like those fitted on."""
        check_is_fitted(self)
        own = None if self.spec_ is None else self.spec_.replace(sfreq=None, unit="a.u.")  # both are converted
        X, spec, sfreq = as_fitted_on(joined_epochs(X), own, type(self).__name__)
        check_names(own, X, type(self).__name__)
        signals = check_trials(self, X, reset=False)
        if spec is None:  # arrays are as those fitted on
            spec, sfreq = self.spec_, self.sfreq_
        tokens = self.tokenizer_._over_batches(X, "encode", np.int64, (signals, spec, sfreq))
        if tokens.shape[2] != self.n_frames_:
            raise ChannelError(
                f"expected trials of {self.n_frames_} tokens a channel, {(self.n_frames_ + 1) / 2:g} s, as "
                f"TFMClassifier was fitted on, got {tokens.shape[2]}; cut them alike"
            )
        return tokens

    def predict(self, X: Any) -> np.ndarray:
        """Give the most probable class of each trial: array of shape (n_trials,)."""
        tokens = self._tokens(X)
        return self.net_.predict(tokens)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Give the probabilities of the classes: array of shape (n_trials, n_classes)."""
        tokens = self._tokens(X)
        return self.net_.predict_proba(tokens)

    def decision_function(self, X: Any) -> np.ndarray:
        """Give the logits, (n_trials, n_classes); with two classes their difference, (n_trials,)."""
        tokens = self._tokens(X)
        return self.net_.decision_function(tokens)

    @staticmethod
    def _get_test_params() -> dict[str, Any]:
        tiny = {"n_codes": 64, "emb_size": 16, "freq_depth": 1, "temporal_depth": 1, "decoder_depth": 1, "n_heads": 2,
                "drop_prob": 0.0, "kmeans_init": True, "normalise": False, "on_short": "pad", "max_epochs": 1,
                "batch_size": 512}  # fmt: skip
        return {
            "tokenizer_params": tiny, "encoder_params": {"depth": 1, "n_heads": 2, "drop_prob": 0.0},
            "max_epochs": 30, "batch_size": 512, "lr": 0.05, "validation": None, "sfreq": 128.0, "random_state": 0,
            "device": "cpu",
        }  # fmt: skip
