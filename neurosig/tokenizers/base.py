"""What all tokenizers are: estimators that learn a codebook, give int64 tokens, and tell how good these are."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurosig.core.errors import InputError, UsageError
from neurosig.core.joined_epochs import joined_epochs
from neurosig.core.pretrained import PretrainedFormat
from neurosig.tokenizers.learned_storage import learned_card
from neurosig.tokenizers.learning import SelfSupervisedEstimator, Windows, brings_facts
from neurosig.tokenizers.quality import band_errors, check_tokens, count_flat, usage_table
from neurosig.training.batches import is_stream
from neurosig.training.nets import full_precision, products_in

__all__ = ["FORMAT", "Tokenizer", "Windows", "tokenizer_card"]

_TENTH = 0.1  # share by which windows may be longer or shorter without a word: cutting and whole patches do as much
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
    #: What the reconstruction that is reported on is told of a window beside its tokens; nothing as a rule.
    beside_tokens: ClassVar[str | None] = None
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

        Warns
        -----
        UserWarning
            If windows last longer or shorter than those fitted on, or channels are constant.
        """
        X = joined_epochs(X)
        known = self._known(X, reset=False)
        tokens = self._tokens(X, known)
        self._warn_of_length(int(known[0].shape[2]), known[2])
        if n_flat := count_flat(known[0]):
            warnings.warn(
                f"{n_flat} of {known[0].shape[0] * known[0].shape[1]} channels of windows are constant: their tokens "
                "stand for no signal; leave such channels or windows out",
                stacklevel=2,
            )
        return tokens

    def _tokens(self, X: Any, known: Any = None) -> np.ndarray:
        """What `transform` gives, without a word on the windows."""
        return _as_table(X, self._over_batches(X, "encode", np.int64, known))

    def _warn_of_length(self, n_times: int, sfreq: float | None, stacklevel: int = 3) -> None:
        """Warn of windows that last longer or shorter than those fitted on."""
        own, rate = getattr(self, "n_times_", None), self.sfreq_
        if own is None or rate is None or sfreq is None:
            return
        seconds = (n_times / sfreq, own / rate)
        if abs(seconds[0] - seconds[1]) > _TENTH * seconds[1]:
            warnings.warn(
                f"windows of {seconds[0]:.4g} s are tokenized by a {type(self).__name__} that was fitted on windows of "
                f"{seconds[1]:.4g} s: a token depends on its whole window, and may mean something else there",
                stacklevel=stacklevel,
            )

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
            Windows, or the int64 tokens that `transform` made of them.

        Returns
        -------
        DataFrame
            See `neurosig.tokenizers.quality.usage_table`.

        Raises
        ------
        InputError
            If they are integers of another type, which may be either.
        """
        check_is_fitted(self)
        integers = isinstance(X, np.ndarray) and X.dtype.kind in "iu" and X.ndim == len(self.token_axes)
        if integers and X.dtype != np.int64:
            raise InputError(
                f"{X.dtype} may be tokens or signals: give tokens as int64, as transform makes them, and signals as "
                "floats (X.astype('float32'))"
            )
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
            See `neurosig.tokenizers.quality.band_errors`. `attrs` say under "beside_tokens" what the reconstruction was
            told of each window beside its tokens (`beside_tokens`); without that it is worse.
        """

        def pieces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for signals, channels in self._run(X):
                with torch.no_grad(), products_in(self.precision, self._device):
                    pair = self._spectra(self.module_, signals, channels)
                yield full_precision(pair[0]).cpu().numpy(), full_precision(pair[1]).cpu().numpy()

        table = band_errors(pieces(), self._frequencies(), bands)
        table.attrs["beside_tokens"] = self.beside_tokens
        return table

    @property
    def _n_features_out(self) -> int:
        """Tokens of a window like those fitted on."""
        if not hasattr(self, "n_features_in_"):
            raise UsageError(
                f"this {type(self).__name__} was fitted on no one set of channels, so that its tokens have no names of "
                "columns"
            )
        zeros = np.zeros((1, self.n_features_in_, self.n_times_), dtype=np.float32)
        return int(np.prod(self._over_batches(zeros, "encode", np.int64).shape[1:]))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the tokens of a window like those fitted on, side by side: columns for an array of two axes.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        array of str
            Names.

        Raises
        ------
        UsageError
            If it was fitted on several collections, or elsewhere.
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
