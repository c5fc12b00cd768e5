"""`TFMEmbedder`: the encoder of TFM tokens, pretrained on signals without labels to predict hidden tokens."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurosig.core.all_or_nothing import all_or_nothing
from neurosig.core.errors import StorageError, UsageError
from neurosig.core.inherited_docs import inherits_documentation
from neurosig.core.pretrained import PretrainedFormat
from neurosig.core.registry import register
from neurosig.core.signals import SignalSpec
from neurosig.core.trained_on import note_source
from neurosig.models.tfm_encoder import TFMEncoder
from neurosig.tokenizers.learned_storage import learned_card
from neurosig.tokenizers.learning import SelfSupervisedEstimator, Windows
from neurosig.tokenizers.tfm import TFMTokenizer
from neurosig.tokenizers.tokenize import tokenizer_digest
from neurosig.training.batches import BUFFER_BYTES

__all__ = ["TFMEmbedder"]

_SIZES = ("depth", "n_heads", "drop_prob")
_PART = "tokenizer"  # under which it stands in the folder
# what a tokenizer that is made here shares
_SHARED = (
    "max_epochs", "batch_size", "validation", "patience", "precision", "checkpoint", "buffer_bytes", "compile",
    "on_short", "sfreq", "ch_names", "info", "device", "random_state", "verbose",
)  # fmt: skip


class _MaskedTokens(nn.Module):
    """The encoder in training, beside the tokenizer whose tokens it predicts.

    Parameters
    ----------
    **sizes
        Of `TFMEncoder`.
    """

    def __init__(self, **sizes: Any):
        super().__init__()
        self.encoder = TFMEncoder(n_outputs=sizes["n_codes"], **sizes)
        self._teacher: list[Any] = []  # in a list it is none of this module's parts

    def training_loss(self, batch: torch.Tensor, generator: Any = None) -> dict[str, torch.Tensor]:
        """Losses of a batch of windows, whose tokens are looked up here."""
        if next(self._teacher[0].parameters()).device != batch.device:  # the tokenizer itself stays where it is
            self._teacher = [copy.deepcopy(self._teacher[0]).to(batch.device)]
        return self.encoder.training_loss(self._teacher[0].encode(batch), generator)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Mean over the tokens of what the last block makes of them: (n, emb_size)."""
        with torch.no_grad():
            stages = self.encoder.stages(tokens)
            return (stages.blocks[-1] if stages.blocks else stages.sequence)[:, 1:].mean(dim=1)

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
class TFMEmbedder(SelfSupervisedEstimator):
    """Embed windows by the encoder of TFM tokens, which learns without labels to predict hidden ones.

    Parameters
    ----------
    tokenizer : TFMTokenizer or path-like, optional
        Whose tokens are predicted: a fitted tokenizer, or the folder of one saved with `save_pretrained` (or its
        "owner/name" on the Hugging Face Hub). One that is not fitted is fitted first, a copy of it, on the same
        windows; scikit-learn's clone, in folds and searches, unfits estimators among the parameters, unless they are
        wrapped in `sklearn.frozen.FrozenEstimator`. None fits one of the published size.
    depth, n_heads : int
        Blocks of the encoder, and heads of each.
    max_chans : int
        Most channels of a window; grows to those that there are.
    drop_prob : float
        Dropout in the blocks.
    max_epochs : int
        Passes over the training windows at most; published with 50.
    batch_size : int
        Windows in a batch; published with 512.
    warmup : float or None
        Epochs in which the learning rate rises from zero to `lr`; None takes a tenth of `max_epochs`, as published.
    final_lr : float
        Rate at the end. Published with 5e-3, above `lr`, so that it rises for the whole training; that is not the
        default.
    any_channels : bool
        Whether a fitted model takes windows with other channels than those it was fitted on. It knows channels by
        their place, not by their names: other ones in the same places mean something else to it.
    on_short : {"raise", "pad"}
        Of a tokenizer that is made here.

    Attributes
    ----------
    tokenizer_ : TFMTokenizer
        Whose tokens are predicted; stored along with the encoder.

    See Also
    --------
    TFMClassifier : Starts from it: ``TFMClassifier(pretrained=embedder)``.

    Notes
    -----
    Source: Pradeepkumar et al. [1]_. Half of the tokens are hidden in one view of a window and the other half in
    another. The token for classes learns nothing from this; a window's embedding is the mean over its tokens of what
    the last block makes of them.

    References
    ----------
    .. [1] Pradeepkumar et al., "Tokenizing single-channel EEG with time-frequency motif learning", ICLR 2026,
       https://arxiv.org/abs/2502.16060

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.models import TFMEmbedder
    >>> from neurosig.tokenizers import TFMTokenizer
    >>> X = np.random.default_rng(0).standard_normal((8, 2, 400))
    >>> tokenizer = TFMTokenizer(n_codes=16, emb_size=16, decoder_depth=1, max_epochs=1)
    >>> embedder = TFMEmbedder(tokenizer, depth=1, max_epochs=1, sfreq=200, random_state=0).fit(X)
    >>> embedder.transform(X).shape
    (8, 16)
    """

    _module_class: ClassVar[type[nn.Module]] = _MaskedTokens
    _loss_parts: ClassVar[tuple[str, ...]] = ("view_a", "view_b")
    _format: ClassVar[PretrainedFormat] = PretrainedFormat("neurosig-tfm-embedder", 1, "TFM embedder")

    def __init__(
        self, tokenizer: Any = None, *, depth: int = 4, n_heads: int = 8, max_chans: int = 16, drop_prob: float = 0.2,
        max_epochs: int = 50, batch_size: int = 64, lr: float = 1e-3, weight_decay: float = 1e-5,
        betas: Sequence[float] = (0.9, 0.99), warmup: float | None = None, final_lr: float = 0.0,
        clip_norm: float | None = None, validation: float | None = None, patience: int | None = None,
        precision: str = "float32", checkpoint: Any = None, buffer_bytes: int = BUFFER_BYTES, compile: bool = False,
        any_channels: bool = False, on_short: str = "raise", sfreq: float | None = None, ch_names: Any = None,
        info: Any = None, device: str = "auto", random_state: Any = None, verbose: Any = None,
    ):  # fmt: skip
        super().__init__(
            max_epochs=max_epochs, batch_size=batch_size, lr=lr, weight_decay=weight_decay, betas=betas, warmup=warmup,
            final_lr=final_lr, clip_norm=clip_norm, validation=validation, patience=patience, precision=precision,
            checkpoint=checkpoint, buffer_bytes=buffer_bytes, compile=compile, any_channels=any_channels,
            on_short=on_short, sfreq=sfreq, ch_names=ch_names, info=info, device=device, random_state=random_state,
            verbose=verbose,
        )  # fmt: skip
        self.tokenizer = tokenizer
        self.depth = depth
        self.n_heads = n_heads
        self.max_chans = max_chans
        self.drop_prob = drop_prob

    @all_or_nothing
    def fit(self, X: Any, y: Any = None, *, groups: Any = None) -> Self:
        """Pretrain the encoder without labels.

        Parameters
        ----------
        X : array of shape (n, n_channels, n_times), mne.Epochs, SignalDataset, or list of Epochs or SignalDatasets
            Windows, as for `TFMTokenizer`.
        y : None
            Ignored.
        groups : array of shape (n,), or list of such, optional
            What each window belongs to (a person): windows of one group never both train and validate.

        Returns
        -------
        TFMEmbedder
            Itself.

        Raises
        ------
        InputError
            If the signals cannot be learned from.
        UsageError
            If a parameter is wrong, or the sampling rate is not known.
        StorageError
            If the checkpoint is of another training, or the folder holds no tokenizer.
        """
        self.tokenizer_, fitted_here = self._fitted_tokenizer(X, groups)
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
        float32 array of shape (n, emb_size)
            Embeddings.
        """
        check_is_fitted(self)
        module = self.module_
        tokens = self.tokenizer_._over_batches(X, "encode", np.int64, self._known(X, reset=False))
        found = [
            module.embed(torch.from_numpy(tokens[start : start + self.batch_size]).to(self._device)).cpu().numpy()
            for start in range(0, len(tokens), self.batch_size)
        ]
        return np.concatenate(found)

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # embeddings are float32
        return tags

    # -- what the base asks for ---------------------------------------------------------------------------------------

    def _windows(self, X: Any, spec: SignalSpec | None, sfreq: float | None) -> Windows:
        tokenizer = vars(self).get("tokenizer_", self.tokenizer)
        if not isinstance(tokenizer, TFMTokenizer):
            tokenizer = TFMTokenizer(on_short=self.on_short)
        return tokenizer._windows(X, spec, sfreq)

    def _module_config(self, collections: Sequence[Windows]) -> dict[str, Any]:
        theirs = self.tokenizer_._config
        most = max(int(one.X.shape[1]) for one in collections)
        sizes = {name: getattr(self, name) for name in _SIZES}
        return sizes | {
            "n_codes": int(theirs["n_codes"]), "emb_size": int(theirs["emb_size"]),
            "max_chans": max(self.max_chans, most),
        }  # fmt: skip

    def _build(self, config: Mapping[str, Any]) -> nn.Module:
        module: Any = super()._build(config)
        if "tokenizer_" in vars(self):
            module._teacher = [self.tokenizer_.module_]
            module.encoder.start_from_codebook(self.tokenizer_.module_.quantizer.codebook.cpu())
        return module

    def _identity(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return super()._identity(*args, **kwargs) | {"tokenizer": tokenizer_digest(self.tokenizer_)}

    def _fitted_tokenizer(self, X: Any, groups: Any) -> tuple[TFMTokenizer, bool]:
        """The tokenizer, and whether it was fitted here."""
        given = self.tokenizer.estimator if isinstance(self.tokenizer, FrozenEstimator) else self.tokenizer
        if isinstance(given, str | PathLike):
            return TFMTokenizer.from_pretrained(given, device=self.device), False
        if given is None:
            shared: dict[str, Any] = {name: getattr(self, name) for name in _SHARED}
            given = TFMTokenizer(**shared)
        if not isinstance(given, TFMTokenizer):
            raise UsageError(
                f"tokenizer must be a TFMTokenizer, the folder of one, or None, got {type(given).__name__}"
            )
        if given.__sklearn_is_fitted__():
            return given, False
        given = clone(given)
        facts = ("sfreq", "ch_names", "info", "random_state")
        given.set_params(**{name: getattr(self, name) for name in facts if getattr(given, name) is None})
        return given.fit(X, groups=groups), True

    # -- on disk ------------------------------------------------------------------------------------------------------

    def _storable_params(self) -> dict[str, Any]:
        return super()._storable_params() | {"tokenizer": None}

    def _stored(self, scores: Any = None, licence: str | None = None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        config, arrays = super()._stored(scores, licence)
        part, held = self.tokenizer_._stored()
        return config | {_PART: part}, arrays | {f"{_PART}.{name}": value for name, value in held.items()}

    @classmethod
    def _restored(cls, config: Mapping[str, Any], arrays: dict[str, np.ndarray], place: Path, **params: Any) -> Self:
        held = {name: arrays[name] for name in arrays if name.startswith(f"{_PART}.")}
        own = {name: value for name, value in arrays.items() if name not in held}
        if not isinstance(config.get(_PART), Mapping):
            raise StorageError(f"{place / 'config.json'} is damaged: it holds no tokenizer")
        model = super()._restored(config, own, place, **params)
        shared = {"device": params["device"]} if "device" in params else {}
        model.tokenizer_ = TFMTokenizer._restored(
            config[_PART], {name.removeprefix(f"{_PART}."): value for name, value in held.items()}, place, **shared
        )
        return model

    def _card(self, config: Mapping[str, Any]) -> str:
        about = ["## Embeddings", "", f"- {self._config['emb_size']} numbers a window: the mean over its tokens"]
        return learned_card(config, "neurosig.models", "foundation-model", about)

    @staticmethod
    def _get_test_params() -> dict[str, Any]:
        tiny: dict[str, Any] = {
            "n_codes": 64, "emb_size": 16, "freq_depth": 1, "temporal_depth": 1, "decoder_depth": 1, "n_heads": 2,
            "drop_prob": 0.0, "kmeans_init": True, "normalise": False, "on_short": "pad", "max_epochs": 1,
            "batch_size": 512, "sfreq": 128.0, "random_state": 0, "device": "cpu",
        }  # fmt: skip
        return {
            "tokenizer": TFMTokenizer(**tiny), "depth": 1, "n_heads": 2, "drop_prob": 0.0, "max_epochs": 1,
            "batch_size": 512, "sfreq": 128.0, "random_state": 0, "device": "cpu",
        }  # fmt: skip
