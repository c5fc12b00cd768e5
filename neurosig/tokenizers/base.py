"""What all tokenizers are: estimators that learn a codebook, give int64 tokens, and tell how good these are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurosig.core.joined_epochs import joined_epochs
from neurosig.core.pretrained import PretrainedFormat
from neurosig.tokenizers.learned_storage import learned_card
from neurosig.tokenizers.learning import SelfSupervisedEstimator, Windows, brings_facts
from neurosig.tokenizers.quality import band_errors, check_tokens, usage_table
from neurosig.training.batches import is_stream

__all__ = ["FORMAT", "Tokenizer", "Windows", "tokenizer_card"]

FORMAT = PretrainedFormat("neurosig-tokenizer", 1, "tokenizer")


class Tokenizer(SelfSupervisedEstimator):
    """Base of all tokenizers: what they learn without labels is a codebook.

    See Also
    --------
    SelfSupervisedEstimator : Parameters and attributes.
    """

    #: Names of the axes of tokens, the first for the windows.
    token_axes: ClassVar[tuple[str, ...]]
    #: Names of the axes of what `embed` gives.
    embedding_axes: ClassVar[tuple[str, ...]]
    _format: ClassVar[PretrainedFormat] = FORMAT

    # -- what each tokenizer gives ------------------------------------------------------------------------------------

    def _codebooks(self, tokens: np.ndarray) -> Iterator[tuple[dict[str, int], np.ndarray]]:
        """Tokens by codebook, with what names it."""
        raise NotImplementedError

    def _spectra(self, module: nn.Module, signals: torch.Tensor, channels: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Spectra (..., n_freqs) of a batch and of its reconstruction, complex or magnitudes."""
        raise NotImplementedError

    def _frequencies(self) -> np.ndarray:
        """Frequencies of these spectra, in Hz."""
        raise NotImplementedError

    def inverse_transform(self, tokens: Any) -> np.ndarray:
        """Signals from tokens."""
        raise NotImplementedError

    @property
    def vocabulary_size_(self) -> int:
        """Number of codes that a token chooses among."""
        raise NotImplementedError

    # -- from signals to tokens and back ------------------------------------------------------------------------------

    def transform(self, X: Any) -> np.ndarray:
        """Give the tokens of windows; nothing that was learned changes.

        Parameters
        ----------
        X : array of shape (n, n_channels, n_times), mne.Epochs or SignalDataset
            Windows, in the unit and at the rate of those fitted on; Epochs and datasets may be at another. Memory maps
            and Zarr arrays are read in blocks.

        Returns
        -------
        int64 array
            Its axes are `token_axes`. Windows do not influence each other. An array of two axes, (n, n_channels), gives
            two: all tokens of a window side by side.

        Raises
        ------
        InputError
            If windows are too short, not finite, or empty.
        ChannelError
            If channels are others than those fitted on, or unknown.
        """
        X = joined_epochs(X)
        return _as_table(X, self._over_batches(X, "encode", np.int64))

    def embed(self, X: Any) -> np.ndarray:
        """Give the latents of windows, as `transform` gives tokens.

        Parameters
        ----------
        X : array of shape (n, n_channels, n_times), mne.Epochs or SignalDataset
            Windows.

        Returns
        -------
        float32 array
            Its axes are `embedding_axes`.
        """
        return self._over_batches(X, "embed", np.float32)

    def codebook_usage(self, X: Any) -> pd.DataFrame:
        """Tell how much of each codebook is used.

        Parameters
        ----------
        X : array of shape (n, n_channels, n_times), mne.Epochs or SignalDataset; or tokens
            Windows, or the integers that `transform` made of them.

        Returns
        -------
        DataFrame
            See `neurosig.tokenizers.quality.usage_table`.
        """
        check_is_fitted(self)
        integers = isinstance(X, np.ndarray) and X.dtype.kind in "iu" and X.ndim == len(self.token_axes)
        tokens = check_tokens(X, self.vocabulary_size_, self.token_axes) if integers else self.transform(X)
        return usage_table(self._codebooks(tokens), self.vocabulary_size_)

    def reconstruction_report(self, X: Any, bands: Mapping[str, tuple[float, float]] | None = None) -> pd.DataFrame:
        """Tell what is lost from signals to tokens and back, by band.

        Parameters
        ----------
        X : array of shape (n, n_channels, n_times), mne.Epochs or SignalDataset
            Windows, best such as were not fitted on.
        bands : dict of str to (float, float), optional
            Name to edges in Hz; `neurosig.tokenizers.quality.BANDS_HZ` if not given.

        Returns
        -------
        DataFrame
            See `neurosig.tokenizers.quality.band_errors`.
        """

        def pieces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for signals, channels in self._run(X):
                with torch.no_grad():
                    pair = self._spectra(self.module_, signals, channels)
                yield pair[0].cpu().numpy(), pair[1].cpu().numpy()

        return band_errors(pieces(), self._frequencies(), bands)

    @property
    def _n_features_out(self) -> int:
        """Columns of the tokens of an array of two axes."""
        zeros = np.zeros((1, self.n_features_in_, 1), dtype=np.float32)
        return int(np.prod(self._over_batches(zeros, "encode", np.int64).shape[1:]))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the columns of the tokens of an array of two axes.

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
        return np.asarray([f"{name}{i}" for i in range(self._n_features_out)], dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # tokens are int64
        return tags

    def _stored_facts(self) -> dict[str, Any]:
        return {"vocabulary_size": self.vocabulary_size_, "token_axes": list(self.token_axes)}

    def _card(self, config: Mapping[str, Any]) -> str:
        return tokenizer_card(config)


def tokenizer_card(config: Mapping[str, Any]) -> str:
    """The model card of a stored tokenizer, Markdown.

    Parameters
    ----------
    config : dict
        What stands in ``config.json``.

    Returns
    -------
    str
        The card.
    """
    axes = ", ".join(config["token_axes"])
    about = ["## Tokens", "", f"- {config['vocabulary_size']} codes, beside the parameters; axes ({axes})"]
    return learned_card(config, "neurosig.tokenizers", "tokenizer", about)


def _as_table(X: Any, tokens: np.ndarray) -> np.ndarray:
    """Tokens side by side where the signals had two axes."""
    flat = not brings_facts(X) and not is_stream(X) and (X if hasattr(X, "ndim") else np.asarray(X)).ndim == 2
    return tokens.reshape(len(tokens), -1) if flat else tokens
