"""TFM-Tokenizer: one token for each half second of one channel, from its spectrum and its course."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional

from neurosig.core.errors import InputError, UsageError
from neurosig.nn.freed_memory import keep_freed_memory
from neurosig.nn.linear_attention import LinearAttentionBlock
from neurosig.nn.quantize import Quantized, VectorQuantizer, sync_sum
from neurosig.nn.state_dicts import check_state, from_published, read_state, shape_of, to_published
from neurosig.tokenizers.tfm_layout import count_blocks, tokenizer_entries
from neurosig.tokenizers.tfm_signal import (
    FRAME,
    N_FREQS,
    SFREQ,
    cut_frames,
    magnitude_spectrum,
    n_frames,
    quantile_scale,
    time_frequency_mask,
)  # fmt: skip

__all__ = ["TFMLosses", "TFMStages", "TFMTokenizerModule"]

_PATCH = 5  # frequencies of a patch
_GROUP = 4  # channels of a group normalisation's group, in layers as wide as an embedding; others have as many groups
_FRAMES_AT_ONCE = 4096  # of an inference, so that memory does not grow with the recording
_FRAMES_IN_CACHE = 128  # of the path over frequencies, on a CPU, so that what it computes stays in a core's cache


@dataclass(frozen=True)
class TFMStages:
    """Every intermediate of a pass, in order; C channels, N frames, E the size of an embedding.

    Parameters
    ----------
    spectrum : tensor of shape (n, C, 100, N)
        Magnitudes, after masking.
    freq_patches, freq_encoded : tensor of shape (n, C, N, 20, E)
        Patches of five frequencies, embedded; and after the blocks over them.
    gate : tensor of shape (n, C, N, E / 8, 4)
        Of the aggregation over patches, between 0 and 1.
    freq_features, temporal_features : tensor of shape (n, C, N, E / 2)
        The two paths.
    encoded : tensor of shape (n, C, N, E)
        After the blocks over frames.
    embeddings : tensor of shape (n, C, N, E)
        The same with unit norm: what is quantized.
    quantized : Quantized
        Codes, tokens and losses.
    tokens : int64 tensor of shape (n, C, N)
        The tokens.
    reconstruction : tensor of shape (n, C, 100, N)
        Magnitudes decoded from the codes.
    """

    spectrum: torch.Tensor
    freq_patches: torch.Tensor
    freq_encoded: torch.Tensor
    gate: torch.Tensor
    freq_features: torch.Tensor
    temporal_features: torch.Tensor
    encoded: torch.Tensor
    embeddings: torch.Tensor
    quantized: Quantized
    tokens: torch.Tensor
    reconstruction: torch.Tensor


@dataclass(frozen=True)
class TFMLosses:
    """The objective of the two masked views.

    Parameters
    ----------
    total : tensor of shape ()
        Sum of all that follow.
    reconstruction, vq : tuple of two tensors of shape ()
        Of the view that keeps the mask, and of its complement.
    tokens : int64 tensor of shape (2, n, C, N)
        The tokens of both views.
    """

    total: torch.Tensor
    reconstruction: tuple[torch.Tensor, torch.Tensor]
    vq: tuple[torch.Tensor, torch.Tensor]
    tokens: torch.Tensor


class TFMTokenizerModule(nn.Module):
    """Auto-encoder of single-channel signals at 200 Hz through a codebook of time-frequency motifs.

    Parameters
    ----------
    emb_size : int
        Size of an embedding and of a code; a multiple of 8.
    n_codes : int
        Size of the codebook.
    freq_depth, temporal_depth, decoder_depth : int
        Blocks over the patches of a frame, over frames, and of the decoder.
    n_heads : int
        Heads of every block.
    drop_prob : float
        Dropout in every block.
    normalise : bool
        Whether signals are divided by the 0.95 quantile of their amplitude first. False: they come so already.
    sfreq : float
        Sampling rate of the signals, in Hz. Only 200 is possible: kernels and spectrum are made for it.
    decay, beta, straight_through_vq_loss, restart_dead_codes, kmeans_init
        Of the codebook, see `VectorQuantizer`. ``straight_through_vq_loss="reference"`` is the published loss, whose
        gradient is zero; ``restart_dead_codes`` and ``kmeans_init`` are not in the published code.
    mean_init : bool
        Whether the decoder begins at the mean spectrum of the first training batch. Not in the published code.

    Attributes
    ----------
    config : dict
        The options.
    quantizer : VectorQuantizer
        The codebook.
    token_axes : tuple of str
        Names of the axes of tokens.

    Raises
    ------
    UsageError
        If a size is impossible.

    Notes
    -----
    Source: Pradeepkumar et al. [1]_ and its code (Jathurshan0330/TFM-Tokenizer). A frame is one second, every half
    second. The spectrum of each frame goes through its own blocks; the samples through a convolution; both are joined
    and go through blocks over the frames of the window. So a token depends on the whole window: the same second gets
    another token in a window of another length, and windows of one length belong to one model.

    What differs: the commitment loss reaches the encoder (unless asked otherwise), and in training the temporal path,
    which no mask touches, is computed once for both views.

    References
    ----------
    .. [1] Pradeepkumar et al., "Tokenizing single-channel EEG with time-frequency motif learning", ICLR 2026,
       https://arxiv.org/abs/2502.16060
    """

    token_axes = ("window", "channel", "frame")

    def __init__(
        self,
        *,
        emb_size: int = 64,
        n_codes: int = 8192,
        freq_depth: int = 2,
        temporal_depth: int = 2,
        decoder_depth: int = 8,
        n_heads: int = 8,
        drop_prob: float = 0.2,
        normalise: bool = False,
        sfreq: float = SFREQ,
        decay: float = 0.99,
        beta: float = 1.0,
        straight_through_vq_loss: str = "fixed",
        restart_dead_codes: float | None = None,
        kmeans_init: bool = False,
        mean_init: bool = False,
    ):
        self.config: dict[str, Any] = {
            name: value for name, value in locals().items() if name not in ("self", "__class__")
        }
        super().__init__()
        if sfreq != SFREQ:
            raise UsageError(
                f"the TFM-Tokenizer takes signals at {SFREQ:g} Hz, got sfreq={sfreq!r}: resample them first"
            )
        if emb_size < 8 or emb_size % 8:
            raise UsageError(f"emb_size must be a multiple of 8, got {emb_size!r}")
        if min(freq_depth, temporal_depth, decoder_depth) < 0:
            raise UsageError("freq_depth, temporal_depth and decoder_depth must not be negative")
        half = emb_size // 2

        def blocks(depth: int) -> nn.Sequential:
            return nn.Sequential(*(LinearAttentionBlock(emb_size, n_heads, drop_prob=drop_prob) for _ in range(depth)))

        self.normalise, self.mean_init = normalise, mean_init
        self.frozen = False
        self.freq_embed = _PatchEmbedding(_PATCH, (emb_size, emb_size, emb_size))
        self.freq_blocks = blocks(freq_depth)
        # gate and value side by side: as many channels each as give half an embedding over the groups of five patches
        self.gate_value = nn.Linear(_PATCH * emb_size, 2 * half // (N_FREQS // _PATCH**2))
        self.temporal_embed = _PatchEmbedding(FRAME, (emb_size, emb_size, half))
        self.temporal_blocks = blocks(temporal_depth)
        self.quantizer = VectorQuantizer(
            n_codes, emb_size, decay=decay, beta=beta, straight_through_vq_loss=straight_through_vq_loss,
            restart_dead_codes=restart_dead_codes, kmeans_init=kmeans_init,
        )  # fmt: skip
        self.decoder_blocks = blocks(decoder_depth)
        self.head = nn.Sequential(nn.Linear(emb_size, emb_size), nn.Tanh(), nn.Linear(emb_size, N_FREQS))

    # -- from signals to tokens and back ------------------------------------------------------------------------------

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens of windows; nothing of the module changes, in whatever mode it is.

        Parameters
        ----------
        x : tensor of shape (n, n_channels, n_times)
            Signals at 200 Hz, at least one second. Windows and channels do not influence each other.

        Returns
        -------
        int64 tensor of shape (n, n_channels, n_frames)
            Between 0 and ``n_codes - 1``.

        Raises
        ------
        InputError
            If the signals are of another rank, empty, too short, or not finite.
        """
        return self.quantizer.encode(self.embed(x))

    @torch.no_grad()
    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Embeddings before quantization, of unit norm; otherwise as `encode`.

        Parameters
        ----------
        x : tensor of shape (n, n_channels, n_times)
            Signals.

        Returns
        -------
        tensor of shape (n, n_channels, n_frames, emb_size)
            The embeddings.
        """
        n, n_channels, frames = self._check(x)
        device = self.quantizer.codebook.device
        signals = x.reshape(n * n_channels, 1, -1)
        at_once = max(1, _FRAMES_AT_ONCE // frames)
        found = []
        if device.type == "cpu":
            keep_freed_memory()
        with _evaluating(self):
            for block in signals.split(at_once):
                if not block.sum().isfinite() and not block.isfinite().all():  # a sum is one pass, and may overflow
                    raise InputError("expected finite signals, got NaN or inf: drop or repair those windows")
                found.append(self._embeddings(block.to(device)))
        return torch.cat(found).unflatten(0, (n, n_channels))

    @torch.no_grad()
    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Magnitude spectra that tokens stand for; nothing of the module changes.

        Parameters
        ----------
        tokens : int64 tensor of shape (n, n_channels, n_frames)
            From `encode`.

        Returns
        -------
        tensor of shape (n, n_channels, 100, n_frames)
            Magnitudes as of `magnitude_spectrum`. They hold no phase.

        Raises
        ------
        InputError
            If tokens have another rank or lie outside the vocabulary.
        """
        if tokens.ndim != 3:
            raise InputError(f"expected tokens of shape (n, n_channels, n_frames), got {tuple(tokens.shape)}")
        with _evaluating(self):
            codes = self.quantizer.decode(tokens.to(self.quantizer.codebook.device))
            return self._spectra(codes.flatten(0, 1)).unflatten(0, tokens.shape[:2])

    def forward(self, x: torch.Tensor, keep: torch.Tensor | None = None) -> TFMStages:
        """All stages of a pass, for gradients and for looking inside; in training mode it moves the codebook.

        Parameters
        ----------
        x : tensor of shape (n, n_channels, n_times)
            Signals at 200 Hz.
        keep : bool tensor of shape (100, n_frames), or None
            What of the spectrum is seen.

        Returns
        -------
        TFMStages
            With the axes of `x`.
        """
        shape = self._check(x)
        frames = self._frames(x)
        spectrum = magnitude_spectrum(frames).to(frames.dtype)
        if keep is not None:
            spectrum = spectrum * keep.T.to(spectrum)
        patches, encoded, gate, freq = self._frequency(spectrum)
        temporal = self.temporal_embed(frames)
        joined = self.temporal_blocks(torch.cat([freq, temporal], dim=-1))
        embeddings = functional.normalize(joined, dim=-1)
        quantized = self.quantizer(embeddings.unflatten(0, shape[:2]))

        def named(value: torch.Tensor) -> torch.Tensor:
            return value.unflatten(0, shape[:2])

        return TFMStages(
            spectrum=named(spectrum).mT,
            freq_patches=named(patches.unflatten(0, (-1, shape[2]))),
            freq_encoded=named(encoded.unflatten(0, (-1, shape[2]))),
            gate=named(gate.unflatten(0, (-1, shape[2]))),
            freq_features=named(freq),
            temporal_features=named(temporal),
            encoded=named(joined),
            embeddings=named(embeddings),
            quantized=quantized,
            tokens=quantized.indices,
            reconstruction=named(self._spectra(quantized.values.flatten(0, 1))),
        )

    # -- training -----------------------------------------------------------------------------------------------------

    def masked_losses(self, x: torch.Tensor, keep: torch.Tensor) -> TFMLosses:
        """The objective for a given mask.

        Parameters
        ----------
        x : tensor of shape (n, n_channels, n_times)
            Signals at 200 Hz.
        keep : bool tensor of shape (100, n_frames)
            What the first view sees; the second sees the rest. Both are to give the whole spectrum.

        Returns
        -------
        TFMLosses
            In training mode each view has moved the codebook, the first before the second.

        Raises
        ------
        InputError
            If the mask does not fit the windows.
        """
        shape = self._check(x)
        if keep.shape != (N_FREQS, shape[2]):
            raise InputError(
                f"expected a mask of shape {(N_FREQS, shape[2])} for these windows, got {tuple(keep.shape)}"
            )
        frames = self._frames(x)
        spectrum = magnitude_spectrum(frames).to(frames.dtype)
        if self.training and self.mean_init and not self.quantizer.cluster_size.any():  # no batch has come before
            self._begin_at_mean(spectrum)
        seen = keep.T.to(spectrum)
        freq = self._frequency(torch.cat([spectrum * seen, spectrum * (1 - seen)]))[3]
        temporal = self.temporal_embed(frames)
        joined = torch.cat([freq, temporal.repeat(2, 1, 1)], dim=-1)
        embeddings = functional.normalize(self.temporal_blocks(joined), dim=-1)
        first, second = (self.quantizer(view) for view in embeddings.chunk(2))
        spectra = self.head(self.decoder_blocks(torch.cat([first.values, second.values])))
        reconstruction = [functional.mse_loss(view, spectrum) for view in spectra.chunk(2)]
        total = reconstruction[0] + reconstruction[1] + first.loss + second.loss
        tokens = torch.stack([first.indices, second.indices]).unflatten(1, shape[:2])
        return TFMLosses(total, (reconstruction[0], reconstruction[1]), (first.loss, second.loss), tokens)

    def training_loss(
        self, batch: torch.Tensor | Sequence[torch.Tensor], generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """The objective under a random mask.

        Parameters
        ----------
        batch : tensor of shape (n, n_channels, n_times), or sequence of such
            Signals. Windows of several lengths come as several tensors, whose losses are added, as published.
        generator : torch.Generator or None
            Draws the masks, one for each tensor; all of its windows and channels share it, as published.

        Returns
        -------
        dict of str to tensor of shape ()
            "total", and its parts "reconstruction" and "vq".
        """
        parts = [batch] if isinstance(batch, torch.Tensor) else list(batch)
        losses = []
        for x in parts:
            keep = time_frequency_mask(self._check(x)[2], generator=generator)
            losses.append(self.masked_losses(x, keep.to(x.device)))
        if not losses:
            raise InputError("expected at least one batch of windows, got none")
        return {
            "total": torch.stack([loss.total for loss in losses]).sum(),
            "reconstruction": torch.stack([part.detach() for loss in losses for part in loss.reconstruction]).sum(),
            "vq": torch.stack([part.detach() for loss in losses for part in loss.vq]).sum(),
        }

    def freeze(self) -> Self:
        """Make it a fixed part of something else: no gradients, evaluation mode for good, a codebook that stays.

        Returns
        -------
        TFMTokenizerModule
            Itself. ``train()`` of it, or of what holds it, changes nothing.
        """
        self.frozen = True
        self.quantizer.freeze()
        return self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode; once frozen it stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    # -- published weights --------------------------------------------------------------------------------------------

    @classmethod
    def from_reference(cls, state_dict: Mapping[str, Any], **config: Any) -> TFMTokenizerModule:
        """Build the tokenizer that published weights belong to, and load them.

        Parameters
        ----------
        state_dict : mapping of str to array or tensor
            By the published names.
        **config
            What shapes do not tell: `n_heads`, `drop_prob`, `normalise` and the options of the codebook.

        Returns
        -------
        TFMTokenizerModule
            In evaluation mode.

        Raises
        ------
        InputError
            If tensors are missing, left over, of another shape, or not finite.
        """
        name = cls.__name__
        given = read_state(state_dict, name)
        n_codes, emb_size = shape_of(given, "quantizer.embedding.weight", 2, name)
        stacks = ("trans_freq_encoder.transformer", "trans_temporal_encoder.transformer", "trans_decoder.transformer")
        depths = [count_blocks(given, stack) for stack in stacks]
        names = ("n_codes", "emb_size", "freq_depth", "temporal_depth", "decoder_depth")
        sizes: dict[str, Any] = dict(zip(names, (n_codes, emb_size, *depths), strict=True))
        if clash := sorted(set(sizes) & set(config)):
            raise UsageError(f"{', '.join(clash)} are read off the weights; leave them out")
        module = cls(**sizes, **config)
        check_state(given, module.to_reference(), name)
        state = from_published(given, module._entries())
        if module.quantizer.kmeans_init:
            state["quantizer.started"] = torch.tensor(True)
        module.load_state_dict(state)
        return module.eval()

    def to_reference(self) -> dict[str, torch.Tensor]:
        """The weights under their published names: what `from_reference` reads."""
        return to_published(self.state_dict(), self._entries())

    def _entries(self) -> list[Any]:
        depths = (len(self.freq_blocks), len(self.temporal_blocks), len(self.decoder_blocks))
        return tokenizer_entries(depths, _PATCH, FRAME)

    # -- parts --------------------------------------------------------------------------------------------------------

    def _check(self, x: torch.Tensor) -> tuple[int, int, int]:
        """Windows, channels and frames of signals, or a refusal."""
        if x.ndim != 3 or not x.is_floating_point():
            raise InputError(
                f"expected signals of shape (n, n_channels, n_times) as floats, got {tuple(x.shape)} of {x.dtype}"
            )
        if not x.shape[0] or not x.shape[1]:
            raise InputError(f"expected at least one window and one channel, got signals of shape {tuple(x.shape)}")
        return x.shape[0], x.shape[1], n_frames(x.shape[2])

    def _frames(self, x: torch.Tensor) -> torch.Tensor:
        """(n, n_channels, n_times) -> (n * n_channels, n_frames, 200), scaled if so chosen, in the weights' type."""
        x = x.flatten(0, 1).to(self.quantizer.codebook)
        return cut_frames(quantile_scale(x) if self.normalise else x).contiguous()

    def _frequency(self, spectrum: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """(s, N, 100) -> patches and encoded (s * N, 20, E), gate (s * N, E / 8, 4), features (s, N, E / 2)."""
        patches = self.freq_embed(spectrum.reshape(-1, N_FREQS // _PATCH, _PATCH))
        encoded = self.freq_blocks(patches)
        gate, value = self.gate_value(encoded.unflatten(1, (-1, _PATCH)).flatten(2)).mT.chunk(2, dim=1)
        gate = gate.sigmoid()
        features = (gate * value).flatten(1).unflatten(0, spectrum.shape[:2])
        return patches, encoded, gate, features

    def _embeddings(self, x: torch.Tensor) -> torch.Tensor:
        frames = self._frames(x)
        spectrum = magnitude_spectrum(frames).to(frames.dtype).flatten(0, 1).unsqueeze(0)
        size = _FRAMES_IN_CACHE if x.device.type == "cpu" else spectrum.shape[1]
        freq = torch.cat([self._frequency(block)[3] for block in spectrum.split(size, dim=1)], dim=1)
        freq = freq.view(*frames.shape[:2], -1)
        joined = self.temporal_blocks(torch.cat([freq, self.temporal_embed(frames)], dim=-1))
        return functional.normalize(joined, dim=-1)

    @torch.no_grad()
    def _begin_at_mean(self, spectrum: torch.Tensor) -> None:
        """Let the decoder give the mean of spectra (s, N, 100) of all processes, whatever the codes.

        Magnitudes are around 10, and the tanh before the last layer is bounded: a decoder that has to climb there from
        zero saturates it, after which no gradient comes back to the encoder and all embeddings become one.
        """
        rows = spectrum.flatten(0, 1)
        total = sync_sum(torch.cat([rows.sum(dim=0), rows.new_tensor([len(rows)])]))
        bias: Any = self.head[2].bias
        bias.copy_(total[:-1] / total[-1])

    def _spectra(self, codes: torch.Tensor) -> torch.Tensor:
        """(s, N, E) -> (s, 100, N)."""
        return self.head(self.decoder_blocks(codes)).mT


class _PatchEmbedding(nn.Module):
    """Three linear layers over patches, each followed by GELU and group normalisation over all patches together."""

    def __init__(self, patch_size: int, sizes: tuple[int, int, int]):
        super().__init__()
        self.linears = nn.ModuleList(
            nn.Linear(n_in, n_out) for n_in, n_out in zip((patch_size, *sizes[:-1]), sizes, strict=True)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(sizes[0] // _GROUP, size) for size in sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, patches, patch_size) -> (batch, patches, size)."""
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = _group_norm(norm, functional.gelu(linear(x)))
        return x


def _group_norm(norm: Any, x: torch.Tensor) -> torch.Tensor:
    """Group normalisation of (batch, patches, size): torch's takes twice the time where the groups come last."""
    x = x.to(norm.weight.dtype)
    groups = (norm.num_groups, -1)
    mean, square = (power.mean(dim=1).unflatten(1, groups).mean(dim=2, keepdim=True) for power in (x, x.square()))
    factor = (square.addcmul(mean, mean, value=-1).clamp(min=0) + norm.eps).rsqrt() * norm.weight.view(groups)
    offset = norm.bias.view(groups) - mean * factor
    return torch.addcmul(offset.flatten(1).unsqueeze(1), x, factor.flatten(1).unsqueeze(1))


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """In evaluation mode for a while."""
    training = module.training
    if not training:
        yield
        return
    module.eval()
    try:
        yield
    finally:
        module.train(training)
