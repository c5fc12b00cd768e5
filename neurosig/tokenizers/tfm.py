"""`TFMTokenizer`: one token for each half second of each channel, learned without labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurosig.core.channels import unit_factor
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.inherited_docs import inherits_documentation
from neurosig.core.registry import register
from neurosig.core.signals import SignalSpec
from neurosig.nn.state_dicts import read_checkpoint
from neurosig.preprocessing.resampling import fourier_resample
from neurosig.tokenizers.base import Tokenizer, Windows
from neurosig.tokenizers.griffin_lim import griffin_lim
from neurosig.tokenizers.quality import check_tokens
from neurosig.tokenizers.tfm_module import TFMTokenizerModule
from neurosig.tokenizers.tfm_signal import FRAME, HOP, N_FREQS, SFREQ, magnitude_spectrum, n_frames
from neurosig.tokenizers.token_axes import Frames
from neurosig.training.batches import BUFFER_BYTES, is_stream

__all__ = ["TFMTokenizer"]

_SIZES = ("n_codes", "emb_size", "freq_depth", "temporal_depth", "decoder_depth")
_MODULE = (
    *_SIZES, "n_heads", "drop_prob", "normalise", "decay", "beta", "straight_through_vq_loss", "restart_dead_codes",
    "kmeans_init", "mean_init",
)  # fmt: skip
_AT_ONCE = 32 << 20  # bytes of signals that are resampled together


@register(kind="tokenizer")
@inherits_documentation
class TFMTokenizer(Tokenizer):
    """TFM-Tokenizer: tokens of time-frequency motifs, each channel on its own.

    Parameters
    ----------
    n_codes : int
        Size of the vocabulary.
    emb_size : int
        Size of an embedding and of a code; a multiple of 8.
    freq_depth, temporal_depth, decoder_depth : int
        Blocks over the frequencies of a frame, over frames, and of the decoder.
    n_heads : int
        Heads of every block.
    drop_prob : float
        Dropout in every block.
    normalise : bool
        Whether each channel of each window is divided by the 0.95 quantile of its amplitude, so that units do not
        matter. False: signals come so already (`QuantileScale`).
    resample : bool
        Whether windows at another rate are brought to 200 Hz, by their Fourier transform, as published. False refuses
        them.
    decay, beta : float
        Of the codebook's moving averages, and weight of the commitment loss.
    straight_through_vq_loss : {"fixed", "reference"}
        The loss of quantization; "reference" is the published one, whose gradient is zero.
    restart_dead_codes : float or None
        Usage under which a code is put to a drawn embedding. None, as published, leaves unused codes alone; most of the
        vocabulary is then never used.
    kmeans_init : bool
        Whether codes begin at the means of clusters of the first batch's embeddings; False, as published, begins with
        random codes.
    mean_init : bool
        Whether the decoder begins at the mean spectrum of the first batch; False, as published, begins near zero. From
        there a short training does not get beyond the mean: spectra are of the order of 10, and while the decoder
        climbs there its last tanh saturates and all embeddings become alike.
    warmup : float or None
        Epochs in which the learning rate rises from zero to `lr`; None takes a tenth of `max_epochs`, as published.
    final_lr : float
        Rate at the end. The published configuration says 5e-3, above `lr`, so that the rate rises for the whole
        training; that is not the default.
    batch_size : int
        Windows in a batch; published with 256.
    on_short : {"raise", "pad"}
        What becomes of windows of less than a second: refused, or repeated until they last one.

    Attributes
    ----------
    vocabulary_size_ : int
        Number of codes.

    See Also
    --------
    TFMTokenizerModule : The network.
    neurosig.models.TFMClassifier : Decides from these tokens.

    Notes
    -----
    Source: Pradeepkumar et al. [1]_. A token stands for one second of one channel, there is one every half second, and
    it depends on the whole window: the same second gets another token in a window of another length. Channels do not
    influence each other, and names mean nothing to it; ``any_channels=True`` takes any.

    Tokens hold the shape of spectra: neither amplitude, which is normalised away, nor phase.

    References
    ----------
    .. [1] Pradeepkumar et al., "Tokenizing single-channel EEG with time-frequency motif learning", ICLR 2026,
       https://arxiv.org/abs/2502.16060

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.tokenizers import TFMTokenizer
    >>> X = np.random.default_rng(0).standard_normal((8, 3, 1000))
    >>> tokenizer = TFMTokenizer(n_codes=32, emb_size=16, max_epochs=1, sfreq=200, random_state=0).fit(X)
    >>> tokenizer.transform(X).shape
    (8, 3, 9)
    """

    token_axes: ClassVar[tuple[str, ...]] = ("window", "channel", "frame")
    embedding_axes: ClassVar[tuple[str, ...]] = ("window", "channel", "frame", "embedding")
    _module_class: ClassVar[type[nn.Module]] = TFMTokenizerModule
    _loss_parts: ClassVar[tuple[str, ...]] = ("reconstruction", "vq")

    def __init__(
        self, *, n_codes: int = 8192, emb_size: int = 64, freq_depth: int = 2, temporal_depth: int = 2,
        decoder_depth: int = 8, n_heads: int = 8, drop_prob: float = 0.2, normalise: bool = True, resample: bool = True,
        decay: float = 0.99, beta: float = 1.0, straight_through_vq_loss: str = "fixed",
        restart_dead_codes: float | None = None, kmeans_init: bool = False, mean_init: bool = False,
        max_epochs: int = 100, batch_size: int = 64, lr: float = 1e-3, weight_decay: float = 1e-5,
        betas: Sequence[float] = (0.9, 0.99), warmup: float | None = None, final_lr: float = 0.0,
        clip_norm: float | None = None,
        validation: float | None = None, patience: int | None = None, precision: str = "float32",
        checkpoint: Any = None, buffer_bytes: int = BUFFER_BYTES, compile: bool = False, any_channels: bool = False,
        on_short: str = "raise", sfreq: float | None = None, ch_names: Any = None, info: Any = None,
        device: str = "auto", random_state: Any = None, verbose: Any = None,
    ):  # fmt: skip
        super().__init__(
            max_epochs=max_epochs, batch_size=batch_size, lr=lr, weight_decay=weight_decay, betas=betas, warmup=warmup,
            final_lr=final_lr, clip_norm=clip_norm, validation=validation, patience=patience, precision=precision,
            checkpoint=checkpoint, buffer_bytes=buffer_bytes, compile=compile, any_channels=any_channels,
            on_short=on_short, sfreq=sfreq, ch_names=ch_names, info=info, device=device, random_state=random_state,
            verbose=verbose,
        )  # fmt: skip
        self.n_codes = n_codes
        self.emb_size = emb_size
        self.freq_depth = freq_depth
        self.temporal_depth = temporal_depth
        self.decoder_depth = decoder_depth
        self.n_heads = n_heads
        self.drop_prob = drop_prob
        self.normalise = normalise
        self.resample = resample
        self.decay = decay
        self.beta = beta
        self.straight_through_vq_loss = straight_through_vq_loss
        self.restart_dead_codes = restart_dead_codes
        self.kmeans_init = kmeans_init
        self.mean_init = mean_init

    @classmethod
    def _get_test_params(cls) -> dict[str, Any]:
        return {
            "n_codes": 16, "emb_size": 16, "freq_depth": 1, "temporal_depth": 1, "decoder_depth": 1, "n_heads": 2,
            "max_epochs": 1, "warmup": 0.0, "batch_size": 512, "on_short": "pad", "sfreq": 128.0, "random_state": 0,
            "device": "cpu",
        }  # fmt: skip

    # -- back to signals ----------------------------------------------------------------------------------------------

    def decode_spectrum(self, tokens: Any) -> np.ndarray:
        """Give the magnitude spectra that tokens stand for.

        Parameters
        ----------
        tokens : array of integers of shape (n, n_channels, n_frames)
            From `transform`. They belong together: a token's spectrum depends on the others of its channel and window.

        Returns
        -------
        float32 array of shape (n, n_channels, 100, n_frames)
            Magnitudes at 0 to 99 Hz under a Hann window of a second, of signals whose 0.95 quantile is 1. They are what
            the network gives; where there is nothing they may lie a little below zero.

        Raises
        ------
        InputError
            If tokens lie outside the vocabulary, or have other axes.
        """
        check_is_fitted(self)
        tokens = check_tokens(tokens, self.vocabulary_size_, self.token_axes)
        if not tokens.size:
            raise InputError(f"expected at least one window, channel and frame, got tokens of shape {tokens.shape}")
        module = self.module_
        found = [module.decode(part).cpu().numpy() for part in torch.from_numpy(tokens).split(max(1, self.batch_size))]
        return np.concatenate(found)

    def inverse_transform(self, tokens: Any, *, n_iter: int = 50, random_state: int = 0) -> np.ndarray:
        """Give signals with the spectra that tokens stand for.

        Tokens hold neither phase nor amplitude. The signals given are some of those that have these magnitudes: phases
        are drawn and then made to fit each other from frame to frame (Griffin and Lim 1984, DOI
        10.1109/TASSP.1984.1164317). So their waves do not lie where those of the original did, and comparing both
        sample by sample means nothing.

        Parameters
        ----------
        tokens : array of integers of shape (n, n_channels, n_frames)
            From `transform`.
        n_iter : int
            Rounds in which phases are made to fit.
        random_state : int
            Seeds the phases: the same number gives the same signals.

        Returns
        -------
        float32 array of shape (n, n_channels, 100 * (n_frames + 1))
            At 200 Hz, at the scale of normalised signals: a 0.95 quantile of about 1, where the reconstruction is good.

        Raises
        ------
        InputError
            If tokens lie outside the vocabulary, or have other axes.
        """
        return griffin_lim(self.decode_spectrum(tokens), n_iter=n_iter, random_state=random_state)

    @property
    def vocabulary_size_(self) -> int:
        """Number of codes that a token chooses among."""
        return int(self._config["n_codes"])

    @property
    def frames_(self) -> Frames:
        """Samples that a token stands for, at 200 Hz."""
        return Frames(FRAME, HOP, SFREQ)

    # -- published weights --------------------------------------------------------------------------------------------

    @classmethod
    def from_reference(cls, weights: str | os.PathLike | Mapping[str, Any], **params: Any) -> Self:
        """Make a fitted tokenizer of published weights.

        Parameters
        ----------
        weights : path-like, or mapping of str to array or tensor
            A published file (``tfm_tokenizer_last.pth``), of which tensors are read and nothing else; or the state.
        **params
            Parameters, but for the sizes, which the weights tell. The published ones are trained on 16 bipolar channels
            of EEG between 0.1 and 75 Hz; any channels are taken unless ``any_channels=False`` is given along with
            `ch_names` or `info`. Arrays need `sfreq`.

        Returns
        -------
        TFMTokenizer
            Fitted.

        Raises
        ------
        InputError
            If tensors are missing, left over, of another shape, or not finite.
        StorageError
            If the file cannot be read, or holds anything but tensors.
        """
        tokenizer = cls(**{"any_channels": True, **params})
        given = {name: getattr(tokenizer, name) for name in _MODULE if name not in _SIZES}
        sizes = {name: params[name] for name in _SIZES if name in params}
        module = TFMTokenizerModule.from_reference(read_checkpoint(weights), **given, **sizes)
        tokenizer.set_params(**{name: module.config[name] for name in _SIZES})
        return tokenizer._take(module, tokenizer._module_config([]))

    def to_reference(self) -> dict[str, torch.Tensor]:
        """Give the weights by their published names: what `from_reference` reads."""
        check_is_fitted(self)
        return self.module_.to_reference()

    # -- what the base asks for ---------------------------------------------------------------------------------------

    def _windows(self, X: Any, spec: SignalSpec | None, sfreq: float | None) -> Windows:
        if self.on_short not in ("raise", "pad"):
            raise UsageError(f"on_short must be 'raise' or 'pad', got {self.on_short!r}")
        if sfreq is None:
            raise UsageError(
                f"{type(self).__name__} needs the sampling rate of the signals: pass sfreq=... (Hz), or mne.Epochs "
                "or a SignalDataset, which tell it"
            )
        fits = abs(sfreq - SFREQ) <= 1e-4 * SFREQ
        if not fits and not self.resample:
            raise UsageError(
                f"{type(self).__name__} works at {SFREQ:g} Hz, the signals are at {sfreq:g} Hz: resample the "
                "recordings, or pass resample=True"
            )
        if is_stream(X):
            if not fits:
                raise UsageError(
                    f"signals on disk must be at {SFREQ:g} Hz to be read in blocks, these are at {sfreq:g} Hz: store "
                    f"them resampled (load_eeg(resample={SFREQ:g})), or pass an array in memory"
                )
            n_frames(int(X.shape[2]))
        else:
            if not fits:
                X = _resampled(X, sfreq)
            if self.on_short == "pad" and X.shape[2] < FRAME:
                X = np.pad(X, ((0, 0), (0, 0), (0, FRAME - X.shape[2])), mode="wrap")
            try:
                n_frames(int(X.shape[2]))
            except InputError as error:
                raise InputError(f"{error}; on_short='pad' repeats windows until they last a second") from None
        return Windows(X, _divisor(spec) if self.normalise else 1.0)

    def _shortest(self) -> float | None:
        return None if self.on_short == "pad" else FRAME / SFREQ

    def _module_config(self, collections: Sequence[Windows]) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _MODULE}

    def _codebooks(self, tokens: np.ndarray) -> Iterator[tuple[dict[str, int], np.ndarray]]:
        yield {"level": 0}, tokens

    def _spectra(self, module: nn.Module, signals: torch.Tensor, channels: Any) -> tuple[torch.Tensor, torch.Tensor]:
        frames = module._frames(signals)  # type: ignore[operator]
        rebuilt = module.decode(module.encode(signals))  # type: ignore[operator]
        return magnitude_spectrum(frames).unflatten(0, signals.shape[:2]), rebuilt.mT

    def _frequencies(self) -> np.ndarray:
        return np.arange(N_FREQS, dtype=float) * SFREQ / FRAME


def _resampled(X: np.ndarray, sfreq: float) -> np.ndarray:
    """Windows at 200 Hz, float32; a part of them at a time."""
    wanted = max(1, round(X.shape[2] * SFREQ / sfreq))
    found = np.empty((*X.shape[:2], wanted), dtype=np.float32)
    step = max(1, _AT_ONCE // max(1, X[0].nbytes))
    for start in range(0, len(X), step):
        found[start : start + step] = fourier_resample(X[start : start + step], sfreq, SFREQ)
    return found


def _divisor(spec: SignalSpec | None) -> float:
    """What brings signals of a known unit to microvolts or femtotesla, where what the normaliser adds is nothing."""
    for target in ("uV", "fT"):
        try:
            return unit_factor(target, "a.u." if spec is None else spec.unit)
        except ChannelError:
            continue
    return 1.0
