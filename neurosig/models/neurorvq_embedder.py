"""`NeuroRVQEmbedder`: NeuroRVQ's foundation model, pretrained to predict the tokens of hidden patches."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from os import PathLike
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurosig.core.all_or_nothing import all_or_nothing
from neurosig.core.errors import InputError, UsageError
from neurosig.core.inherited_docs import inherits_documentation
from neurosig.core.nested_options import NestedOptions
from neurosig.core.pretrained import PretrainedFormat
from neurosig.core.registry import register
from neurosig.core.signals import SignalSpec
from neurosig.core.trained_on import note_source
from neurosig.models.neurorvq_encoder import NeuroRVQEncoder
from neurosig.models.neurorvq_pretraining import NeuroRVQPretraining
from neurosig.nn.state_dicts import read_checkpoint, read_state, weights_digest
from neurosig.tokenizers.learned_storage import learned_card
from neurosig.tokenizers.learning import SelfSupervisedEstimator, Windows
from neurosig.tokenizers.neurorvq import (
    CONDITIONS,
    NeuroRVQTokenizer,
    backbone_options,
    chosen_sizes,
    conditioning_of,
    settled,
)
from neurosig.tokenizers.neurorvq_config import BackboneConfig, neurorvq_config
from neurosig.tokenizers.neurorvq_windows import Conditioning
from neurosig.training.batches import BUFFER_BYTES

__all__ = ["ENCODER_OPTIONS", "NOT_OF_ENCODER", "NeuroRVQEmbedder", "encoder_sizes"]

# Options of the encoder that have no parameter of their own
ENCODER_OPTIONS = (
    "sfreq", "kernels_1", "kernels_2", "pool_1", "pool_2", "n_filters", "n_groups", "mlp_ratio", "layer_scale",
    "n_positions", "n_slots",
)  # fmt: skip
# What else stands in the configuration of a pretrained module
NOT_OF_ENCODER = ("n_levels", "n_codes", "mask_ratio")
_SIZES: dict[str, Any] = {"kind": "eeg", "patch_size": None, "depth": 12, "n_heads": 10, "options": None}
# what a tokenizer that is made here shares beside sizes and conditions
_SHARED = (
    "max_epochs", "batch_size", "validation", "patience", "precision", "checkpoint", "buffer_bytes", "compile", "sfreq",
    "ch_names", "info", "device", "random_state", "verbose",
)  # fmt: skip


class _Pretrained(NeuroRVQPretraining):
    """Encoder and heads, built of plain sizes; in training beside the tokenizer whose tokens it predicts.

    Parameters
    ----------
    n_levels, n_codes : int
        Of the tokenizer; no levels build no heads, for published weights that have none.
    mask_ratio : float
        See `NeuroRVQPretraining`.
    **sizes
        Of the encoder.
    """

    def __init__(self, *, n_levels: int, n_codes: int, mask_ratio: float, **sizes: Any):
        super().__init__(NeuroRVQEncoder(**sizes), n_levels=n_levels, n_codes=n_codes, mask_ratio=mask_ratio)
        self._teacher: list[Any] = []  # in a list it is none of this module's parts

    def training_loss(self, batch: Any, generator: Any = None, channels: Any = None) -> dict[str, torch.Tensor]:
        """Losses of a batch of windows: their tokens are looked up here."""
        if next(self._teacher[0].parameters()).device != batch.device:  # the tokenizer itself stays where it is
            self._teacher = [copy.deepcopy(self._teacher[0]).to(batch.device)]
        tokens = self._teacher[0].encode(batch, channels)
        return super().training_loss((batch, tokens), generator, channels)

    def embed(self, x: torch.Tensor, channels: Any = None) -> torch.Tensor:
        """One vector a window."""
        with torch.no_grad():
            return self.encoder.embed(x, channels)

    def freeze(self) -> Self:
        """Keep all as it is, without the tokenizer."""
        self._teacher = []
        self._frozen = True
        return self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode; once frozen it stays in evaluation mode."""
        return super().train(mode and not getattr(self, "_frozen", False))


@register(kind="model")
@inherits_documentation
class NeuroRVQEmbedder(NestedOptions, SelfSupervisedEstimator):
    """Embed windows by NeuroRVQ's foundation model, which learns without labels to predict tokens of hidden patches.

    Parameters
    ----------
    tokenizer : NeuroRVQTokenizer or path-like, optional
        Whose tokens are predicted: a fitted tokenizer, or the folder of one saved with `save_pretrained` (or its
        "owner/name" on the Hugging Face Hub). One that is not fitted is fitted first, a copy of it, on the same
        windows; scikit-learn's clone, in folds and searches, unfits estimators among the parameters, unless they are
        wrapped in `sklearn.frozen.FrozenEstimator`. None fits one of the sizes of this encoder.
    tokenizer_params : dict, optional
        Parameters of that one, such as ``{"n_codes": 1024}``. Each can be set by a name of its own
        (``tokenizer_params__n_codes``).
    mask_ratio : float
        Share of the patches that the first view of a window hides; the second hides the others. The published one is
        not known.
    kind, patch_size, depth, n_heads : object
        Sizes of the encoder, as in `NeuroRVQTokenizer`. None takes those of the tokenizer, where one is given.
    options : dict, optional
        The encoder's other sizes: ``sfreq, kernels_1, kernels_2, pool_1, pool_2, n_filters, n_groups, mlp_ratio,
        layer_scale, n_positions, n_slots``. Each can be set by a name of its own (``options__n_slots``). None takes
        those of the tokenizer, all but `layer_scale`.
    unit, filter, resample, remainder, on_unknown, on_short : object
        What is done to signals, as in `NeuroRVQTokenizer`. None does what the tokenizer does, where one is given.
    clip : "auto", float or None
        Likewise; "auto" is the tokenizer's.
    any_channels : bool
        Whether a fitted model takes windows with other channels than those it was fitted on: Epochs and datasets,
        which bring their names. One that was fitted on several collections, or has published weights, always does.

    Attributes
    ----------
    tokenizer_ : NeuroRVQTokenizer
        Whose tokens were predicted; not kept by `save_pretrained`.

    See Also
    --------
    NeuroRVQClassifier : Fine-tunes it.

    Notes
    -----
    A window's embedding is the mean over its patches of the features of all scales, one scale after another: what the
    published classifier reads.

    References
    ----------
    .. [1] "NeuroRVQ: Multi-scale EEG tokenization for generative large brainwave models",
       https://arxiv.org/abs/2510.13068; KonstantinosBarmpas/NeuroRVQ

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.models import NeuroRVQEmbedder
    >>> from neurosig.tokenizers import NeuroRVQTokenizer
    >>> X = np.random.default_rng(0).standard_normal((8, 2, 400)) * 1e-5
    >>> signals = {"unit": "V", "sfreq": 200.0, "ch_names": ["C3", "C4"], "patch_size": 40, "device": "cpu"}
    >>> tokenizer = NeuroRVQTokenizer(n_codes=16, code_dim=8, depth=1, decoder_depth=1, max_epochs=1, **signals)
    >>> embedder = NeuroRVQEmbedder(tokenizer, depth=1, max_epochs=1, random_state=0, **signals).fit(X)
    >>> embedder.transform(X).shape
    (8, 160)
    """

    _module_class: ClassVar[type[nn.Module]] = _Pretrained
    _loss_parts: ClassVar[tuple[str, ...]] = ("masked", "complement")
    _nested: ClassVar[Mapping[str, str]] = {"options": "options", "tokenizer_params": "tokenizer_params"}
    _format: ClassVar[PretrainedFormat] = PretrainedFormat("neurosig-embedder", 1, "embedder")

    def __init__(
        self, tokenizer: Any = None, tokenizer_params: Mapping[str, Any] | None = None, *, mask_ratio: float = 0.5,
        kind: str | None = None, patch_size: int | None = None, depth: int | None = None, n_heads: int | None = None,
        options: Mapping[str, Any] | None = None, unit: str | None = None, filter: bool | None = None,
        resample: bool | None = None, remainder: str | None = None, on_unknown: str | None = None,
        on_short: str | None = None, clip: Any = "auto", max_epochs: int = 100, batch_size: int = 32, lr: float = 5e-4,
        weight_decay: float = 0.05, betas: Sequence[float] = (0.9, 0.98), warmup: float | None = None,
        final_lr: float = 0.0, clip_norm: float | None = 3.0, validation: float | None = None,
        patience: int | None = None, precision: str = "float32", checkpoint: Any = None,
        buffer_bytes: int = BUFFER_BYTES, compile: bool = False, any_channels: bool = False,
        sfreq: float | None = None, ch_names: Any = None, info: Any = None, device: str = "auto",
        random_state: Any = None, verbose: Any = None,
    ):  # fmt: skip
        super().__init__(
            max_epochs=max_epochs, batch_size=batch_size, lr=lr, weight_decay=weight_decay, betas=betas, warmup=warmup,
            final_lr=final_lr, clip_norm=clip_norm, validation=validation, patience=patience, precision=precision,
            checkpoint=checkpoint, buffer_bytes=buffer_bytes, compile=compile, any_channels=any_channels,
            on_short=on_short, sfreq=sfreq, ch_names=ch_names, info=info, device=device, random_state=random_state,  # type: ignore[arg-type]
            verbose=verbose,
        )  # fmt: skip
        self.tokenizer = tokenizer
        self.tokenizer_params = tokenizer_params
        self.mask_ratio = mask_ratio
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

    @all_or_nothing
    def fit(self, X: Any, y: Any = None, *, groups: Any = None) -> Self:
        """Pretrain the encoder without labels.

        Parameters
        ----------
        X : array of shape (n, n_channels, n_times), mne.Epochs, SignalDataset, or list of Epochs or SignalDatasets
            Windows, as for `NeuroRVQTokenizer`, of two patches at least.
        y : None
            Ignored.
        groups : array of shape (n,), or list of such, optional
            What each window belongs to (a person): windows of one group never both train and validate.

        Returns
        -------
        NeuroRVQEmbedder
            Itself.

        Raises
        ------
        InputError
            If the signals cannot be learned from.
        UsageError
            If a parameter is wrong, something must be known that is not, or the tokenizer is made for windows of
            another kind.
        StorageError
            If the checkpoint is of another training, or the folder holds no tokenizer.
        """
        self.__dict__.pop("_settled", None)
        self.tokenizer_, fitted_here = self._fitted_tokenizer(X, groups)
        self._settled = self._settle(self.tokenizer_)
        super().fit(X, groups=groups)
        if not fitted_here:  # whom the tokenizer has seen, this has seen too
            note_source(self, self.tokenizer_)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Give the embedding of each window.

        Parameters
        ----------
        X : array of shape (n, n_channels, n_times), mne.Epochs or SignalDataset
            Windows.

        Returns
        -------
        float32 array of shape (n, n_scales * embed_dim)
            Embeddings.
        """
        return self._over_batches(X, "embed", np.float32)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # embeddings are float32
        return tags

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
        config = self.module_.encoder.config
        name = type(self).__name__.lower()
        return np.asarray([f"{name}{i}" for i in range(config.n_scales * config.embed_dim)], dtype=object)

    @classmethod
    def from_reference(cls, source: Any, **params: Any) -> Self:
        """Make a fitted embedder of published weights.

        Parameters
        ----------
        source : mapping of str to array or tensor, or path-like
            The state dict, or the file that holds it; of a file only tensors are read. Heads of pretraining may be
            there; a classifier is left out.
        **params
            Parameters, as of the class: `ch_names` and `unit` where arrays are going to be embedded, and what shapes do
            not tell (``options={"sfreq": 1000.0}``). Sizes are read off the weights.

        Returns
        -------
        NeuroRVQEmbedder
            Fitted. It takes any channels that it knows.

        Raises
        ------
        InputError
            If tensors are missing, unknown or of another shape, or not finite.
        StorageError
            If the file cannot be read, or holds other things than tensors.
        """
        state = read_state(read_checkpoint(source), "NeuroRVQ")
        given = dict(params.get("options") or {})
        told = {name: given[name] for name in ("pool_1", "pool_2", "n_groups") if name in given}
        rate = neurorvq_config(params.get("kind") or "eeg", n_channels=1).get("sfreq", BackboneConfig.sfreq)
        told["config_sfreq"] = given.get("sfreq", rate)
        heads = {"n_levels": 0, "n_codes": 1, "mask_ratio": params.get("mask_ratio", 0.5)}
        if any(name.startswith("head_pre_") for name in state):
            read: Any = NeuroRVQPretraining.from_reference(state, **told)
            encoder = read.encoder
            heads |= {"n_levels": read.n_levels, "n_codes": read.n_codes}
        else:
            encoder = NeuroRVQEncoder.from_reference(state, **told, n_outputs=None)
            read = NeuroRVQPretraining(encoder, n_levels=0, n_codes=1)
        own = {name: getattr(encoder.config, name) for name in ("patch_size", "depth", "n_heads")}
        for name, value in own.items():
            if params.get(name) not in (value, None):
                raise UsageError(f"{name}={params[name]!r} was given, the weights have {value}; leave it out")
        options = given | backbone_options(encoder.config)
        embedder = cls(**({"any_channels": True} | params | own | {"options": options}))
        config = heads | encoder_sizes(embedder._in_force())
        module = _Pretrained(**config)
        module.load_state_dict(read.state_dict())
        return embedder._take(module, config)

    def to_reference(self) -> dict[str, torch.Tensor]:
        """Give the weights by their published names: what `from_reference` reads."""
        check_is_fitted(self)
        module = self.module_
        return module.to_reference() if module.n_levels else module.encoder.to_reference()

    # -- what the base asks for ---------------------------------------------------------------------------------------

    def _known_options(self, holder: str) -> Mapping[str, Any] | None:
        if holder == "options":
            return dict.fromkeys(ENCODER_OPTIONS)
        return NeuroRVQTokenizer().get_params(deep=False)

    def _settle(self, tokenizer: NeuroRVQTokenizer | None = None) -> dict[str, Any]:
        """Sizes and conditions; those left open are the tokenizer's."""
        theirs = None if tokenizer is None else tokenizer.get_params(deep=False)
        if theirs is not None:
            own = {name: value for name, value in (theirs["options"] or {}).items() if name in ENCODER_OPTIONS}
            own.pop("layer_scale", None)
            theirs["options"] = own or None
        return settled(self, {**_SIZES, **CONDITIONS}, theirs)

    def _in_force(self) -> dict[str, Any]:
        """Sizes and conditions that hold: plain values by the names of the parameters."""
        if "_settled" in vars(self):
            return self._settled
        given = self._given_tokenizer()
        known = isinstance(given, NeuroRVQTokenizer) and given.__sklearn_is_fitted__()
        return self._settle(given if known else None)

    def _conditioning(self) -> Conditioning:
        now = self._in_force()
        return conditioning_of(self, now, now)

    def _channels_kept(self, ch_names: Sequence[str]) -> Sequence[int]:
        return self._conditioning().kept(ch_names)

    def _windows(self, X: Any, spec: SignalSpec | None, sfreq: float | None) -> Windows:
        done = self._conditioning()(X, spec, sfreq)
        return Windows(done.X, done.divisor, list(done.channels.positions))

    def _module_config(self, collections: Sequence[Windows]) -> dict[str, Any]:
        own = self._conditioning()
        for one in collections:
            n_channels, n_patches = len(one.channels), int(one.X.shape[2]) // own.patch_size
            if n_channels * n_patches < 2:
                raise InputError(
                    f"{type(self).__name__} hides patches and shows others: expected at least 2 in a window, got "
                    f"n_features=1 channel of {n_patches}; give longer windows"
                )
        sizes = encoder_sizes(self._in_force(), max(len(one.channels) for one in collections))
        module = self.tokenizer_.module_
        theirs = (module.config.sfreq, module.config.patch_size)
        if theirs != (own.sfreq, own.patch_size):
            raise UsageError(
                f"the tokenizer has patches of {theirs[1]} samples at {theirs[0]:g} Hz, this encoder of "
                f"{own.patch_size} at {own.sfreq:g} Hz; give both the same kind and patch_size"
            )
        return {"n_levels": module.n_levels, "n_codes": module.n_codes, "mask_ratio": self.mask_ratio} | sizes

    def _build(self, config: Mapping[str, Any]) -> nn.Module:
        module = super()._build(config)
        if "tokenizer_" in vars(self):
            module._teacher = [self.tokenizer_.module_]  # type: ignore[assignment]
        return module

    def _identity(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return super()._identity(*args, **kwargs) | {"tokenizer": weights_digest(self.tokenizer_.module_)}

    def _storable_params(self) -> dict[str, Any]:
        # a tokenizer is kept by its own save_pretrained
        return super()._storable_params() | self._in_force() | {"tokenizer": None, "tokenizer_params": None}

    def _card(self, config: Mapping[str, Any]) -> str:
        width = len(self.get_feature_names_out())
        about = ["## Embeddings", "", f"- {width} numbers a window: the mean over its patches, of all scales"]
        return learned_card(config, "neurosig.models", "foundation-model", about)

    def _given_tokenizer(self) -> Any:
        return self.tokenizer.estimator if isinstance(self.tokenizer, FrozenEstimator) else self.tokenizer

    def _fitted_tokenizer(self, X: Any, groups: Any) -> tuple[NeuroRVQTokenizer, bool]:
        """The tokenizer, and whether it was fitted here."""
        given = self._given_tokenizer()
        if given is not None and self.tokenizer_params is not None:
            raise UsageError("tokenizer_params are those of a tokenizer that is made here; leave them or tokenizer out")
        if isinstance(given, str | PathLike):
            return NeuroRVQTokenizer.from_pretrained(given, device=self.device), False
        if given is None:
            shared = self._settle() | {name: getattr(self, name) for name in _SHARED}
            options = {name: value for name, value in (self.options or {}).items() if name != "layer_scale"}
            given = NeuroRVQTokenizer(**(shared | {"options": options or None} | dict(self.tokenizer_params or {})))
        if not isinstance(given, NeuroRVQTokenizer):
            raise UsageError(
                f"tokenizer must be a NeuroRVQTokenizer, the folder of one, or None, got {type(given).__name__}"
            )
        if given.__sklearn_is_fitted__():
            return given, False
        given = clone(given)
        facts = ("unit", "sfreq", "ch_names", "info", "random_state")
        given.set_params(**{name: getattr(self, name) for name in facts if getattr(given, name) is None})
        return given.fit(X, groups=groups), True

    @staticmethod
    def _get_test_params() -> dict[str, Any]:
        small = NeuroRVQTokenizer._get_test_params()
        own = {name: small[name] for name in small if name not in ("n_levels", "n_codes", "code_dim", "decoder_depth")}
        return own | {"tokenizer": NeuroRVQTokenizer(**small), "patch_size": 40}


def encoder_sizes(chosen: Mapping[str, Any], n_channels: int = 1) -> dict[str, Any]:
    """Sizes of `NeuroRVQEncoder` by kind and by parameters, JSON-like.

    Parameters
    ----------
    chosen : mapping
        `kind`, `patch_size`, `depth`, `n_heads` and `options`.
    n_channels : int
        Channels, which decide the size of the spatial table of ECG and PPG.

    Returns
    -------
    dict
    """
    sized = SimpleNamespace(**{name: chosen[name] for name in ("kind", "patch_size", "options")})
    sizes = chosen_sizes(sized, ENCODER_OPTIONS, n_channels)
    sizes.pop("n_levels", None)
    if "sfreq" in sizes:
        sizes["config_sfreq"] = sizes.pop("sfreq")
    return sizes | {"depth": chosen["depth"], "n_heads": chosen["n_heads"]}
