"""`TFMClassifier` as it is kept, and as it is made of published weights."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from neurosig.core.errors import UsageError
from neurosig.core.pretrained import PretrainedFormat
from neurosig.models.classifier_storage import ClassifierStorage
from neurosig.models.tfm_parts import as_fitted, published_encoder
from neurosig.tokenizers.base import tokenizer_card
from neurosig.tokenizers.learned_storage import LearnedStorage
from neurosig.tokenizers.tfm import TFMTokenizer
from neurosig.training.trial_data import known_spec

__all__ = ["TFMStorage"]


class TFMStorage(ClassifierStorage):
    """The storing half of `TFMClassifier`."""

    _format: ClassVar[PretrainedFormat] = PretrainedFormat("neurosig-tfm-classifier", 1, "TFM classifier")
    _parts: ClassVar[Mapping[str, type[LearnedStorage]]] = {"tokenizer": TFMTokenizer}
    _plain: ClassVar[tuple[str, ...]] = ("n_features_in_", "n_frames_", "sfreq_", "seed_", "mtp_history_")

    @classmethod
    def from_reference(
        cls,
        encoder: str | os.PathLike | Mapping[str, Any],
        tokenizer: str | os.PathLike | Mapping[str, Any],
        *,
        window: float,
        classes: Sequence[Any] | None = None,
        n_channels: int | None = None,
        sfreq: float | None = None,
        **params: Any,
    ) -> Self:
        """Make a fitted classifier of published weights.

        Parameters
        ----------
        encoder, tokenizer : path-like, or mapping of str to array or tensor
            The published files, of which tensors are read and nothing else; or the states. They must belong together.
        window : float
            Seconds of a trial: 5 for TUEV, 10 for TUAB and CHB-MIT.
        classes : sequence, optional
            Labels, in the order of the outputs; numbers from 0, if not given. An encoder of one output tells two
            classes apart; that output is their difference here.
        n_channels : int, optional
            Channels of a trial; as many as the encoder knows, 16, if not given.
        sfreq : float, optional
            Sampling rate of arrays in Hz. Epochs bring theirs.
        **params
            Further parameters; `tokenizer_params` and `encoder_params` hold what weights do not tell (``n_heads``).

        Returns
        -------
        TFMClassifier
            Fitted.

        Raises
        ------
        InputError
            If tensors are missing, left over, of another shape, or not finite; if the two vocabularies differ, or there
            are not as many classes as outputs.
        StorageError
            If a file cannot be read, or holds anything but tensors.
        """
        model: Any = cls(**{**params, "sfreq": sfreq})
        model._check_params()
        shared = {"device": model.device, "sfreq": sfreq, **(model.tokenizer_params or {})}
        model.tokenizer_ = TFMTokenizer.from_reference(tokenizer, **shared)
        module, labels = published_encoder(
            encoder, classes, model.tokenizer_.vocabulary_size_, {**(model.encoder_params or {}), "loss": model.loss}
        )
        model.n_features_in_ = module.max_chans if n_channels is None else int(n_channels)
        model.n_frames_ = round(window * 2) - 1
        if model.n_frames_ < 1 or not 1 <= model.n_features_in_ <= module.max_chans:
            raise UsageError(
                f"window must be 1 s or more and n_channels 1 to {module.max_chans}, got {window!r} and {n_channels!r}"
            )
        options = {name: getattr(module, name) for name in ("n_codes", "emb_size", "max_chans")}
        options |= {"depth": len(module.blocks), "loss": model.loss, **(model.encoder_params or {})}
        form = (model.n_features_in_, model.n_frames_)
        model.net_ = as_fitted(module, options, form, labels, device=model.device, batch_size=model.batch_size)
        model.classes_ = model.net_.classes_
        model.spec_, model.sfreq_ = known_spec(None, model.info, model.ch_names, sfreq)
        model.mtp_history_, model.seed_ = [], 0
        return model

    def _card(self, config: Mapping[str, Any]) -> str:
        """The model card: of the network, then of the tokenizer before it."""
        tokenizer = tokenizer_card(config["tokenizer"]).split("\n---\n", 1)[1].split("## Scores")[0]
        return f"{super()._card(config)}\n# Its tokenizer\n{tokenizer}"
