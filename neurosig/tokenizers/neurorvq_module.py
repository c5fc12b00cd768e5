"""NeuroRVQ's tokenizer: windows to codes at several scales and residual levels, and back by way of the spectrum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional

from neurosig.core.errors import InputError, UsageError
from neurosig.nn.freed_memory import keep_freed_memory
from neurosig.nn.residual_quantize import ResidualQuantizer
from neurosig.nn.state_dicts import read_state
from neurosig.tokenizers.neurorvq_backbone import (
    MultiScaleEncoder,
    MultiScaleTransformer,
    channel_rows,
    initialise_weights,
    patches,
)
from neurosig.tokenizers.neurorvq_config import BackboneConfig
from neurosig.tokenizers.neurorvq_layout import (
    check_unused,
    tokenizer_entries,
    tokenizer_sizes,
    unused_names,
    with_unused,
)
from neurosig.tokenizers.neurorvq_output import NeuroRVQOutput, reconstruction_losses
from neurosig.tokenizers.neurorvq_spectrum import (
    AmplitudeStatistics,
    signal_of_spectrum,
    spectrum_targets,
    z_scored,
)
from neurosig.tokenizers.neurorvq_weights import Entry, read_arrays, write_arrays

__all__ = ["NeuroRVQTokenizerModule"]

_PATCHES_AT_ONCE = 4096  # of an inference, so that memory does not grow with the number of windows


class NeuroRVQTokenizerModule(nn.Module):
    """Tokenizer of NeuroRVQ: multi-scale encoder, residual quantizers, and a decoder of amplitude and phase.

    Parameters
    ----------
    ch_names : sequence of str, or of int, optional
        Channels of the windows, where calls do not say: names of `NEURORVQ_CHANNELS` in any usual spelling, or rows of
        the spatial table.
    sfreq, patch_size, kernels_1, kernels_2, pool_1, pool_2, n_filters, n_groups, n_heads, mlp_ratio, layer_scale
        Sizes, see `BackboneConfig`.
    n_positions, n_slots : int
        Sizes, see `BackboneConfig`; for other signals than EEG, `neurorvq_config` gives them.
    depth, decoder_depth : int
        Transformer blocks of encoder and decoder.
    n_levels : int
        Residual levels of a scale.
    n_codes, code_dim : int
        Codes of a level, and their length.
    decay, beta, kmeans_init, restart_dead_codes
        Of the codebooks, see `ResidualQuantizer`.
    generator : torch.Generator, optional
        Draws weights and codes; None is torch's global one.

    Attributes
    ----------
    token_axes : tuple of str
        Names of the axes of tokens: n, scale, level, channel, patch.
    quantizers : nn.ModuleList of ResidualQuantizer
        One a scale.
    amplitude_mean, amplitude_std : buffer of shape ()
        Mean, over the windows seen in training, of the statistics that decoding needs.
    n_windows : int64 buffer of shape ()
        Number of these windows; 0 after `from_reference`, as the published files do not hold such statistics.

    Notes
    -----
    Input is EEG in microvolts at `sfreq`, clipped at 500, of whole patches (`neurosig.preprocessing.neurorvq` makes it
    so); the encoder does not normalise windows.

    Tokens do not tell how loud a window was: the decoder predicts log amplitudes that are standardised over the window.
    `decode` therefore takes the window's own statistics, or falls back on the means kept from training, with which a
    signal has the average loudness.

    What differs from the published code [1]_: evaluation changes nothing, codes can be decoded, the losses are
    returned, all scales pass the shared blocks as one batch, and codes are looked up instead of multiplied with
    one-hot matrices. Numbers are the same.

    References
    ----------
    .. [1] "NeuroRVQ: Multi-scale EEG tokenization for generative large brainwave models",
       https://arxiv.org/abs/2510.13068; KonstantinosBarmpas/NeuroRVQ

    Examples
    --------
    >>> import torch
    >>> from neurosig.tokenizers.neurorvq_module import NeuroRVQTokenizerModule
    >>> module = NeuroRVQTokenizerModule(["C3", "C4"], patch_size=40, depth=1, n_codes=16, code_dim=8).eval()
    >>> module.encode(torch.randn(3, 2, 200)).shape
    torch.Size([3, 4, 8, 2, 5])
    """

    token_axes = ("window", "scale", "level", "channel", "patch")
    quantizers: Any
    amplitude_mean: torch.Tensor
    amplitude_std: torch.Tensor
    n_windows: torch.Tensor

    def __init__(
        self,
        ch_names: Sequence[str] | Sequence[int] | None = None,
        *,
        sfreq: float = 200.0,
        patch_size: int = 200,
        kernels_1: Sequence[int] = (21, 15, 9, 5),
        kernels_2: Sequence[int] = (9, 7, 5, 3),
        pool_1: int = 2,
        pool_2: int = 4,
        n_filters: int = 8,
        n_groups: int = 4,
        depth: int = 12,
        decoder_depth: int = 3,
        n_heads: int = 10,
        mlp_ratio: float = 4.0,
        layer_scale: float = 0.0,
        n_positions: int = 105,
        n_slots: int = 256,
        n_levels: int = 8,
        n_codes: int = 8192,
        code_dim: int = 128,
        decay: float = 0.99,
        beta: float = 1.0,
        kmeans_init: bool = True,
        restart_dead_codes: float | None = None,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        if decoder_depth < 1:
            raise UsageError(f"decoder_depth must be at least 1, got {decoder_depth!r}")
        config = BackboneConfig(
            sfreq=sfreq, patch_size=patch_size, kernels_1=tuple(kernels_1), kernels_2=tuple(kernels_2), pool_1=pool_1,
            pool_2=pool_2, n_filters=n_filters, n_groups=n_groups, depth=depth, n_heads=n_heads, mlp_ratio=mlp_ratio,
            layer_scale=layer_scale, n_positions=n_positions, n_slots=n_slots,
        )  # fmt: skip
        self.config, self.decoder_depth = config, decoder_depth
        self.n_scales, self.n_levels, self.n_codes, self.code_dim = config.n_scales, n_levels, n_codes, code_dim
        self.channels = None if ch_names is None else channel_rows(ch_names, len(ch_names), n_positions)
        scales, dim = range(config.n_scales), config.embed_dim
        self.encoder = MultiScaleEncoder(config)
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, code_dim)) for _ in scales
        )
        self.decoder_inputs = nn.ModuleList(nn.Linear(code_dim, dim) for _ in scales)
        self.decoder = MultiScaleTransformer(config.replace(layer_scale=0.0), decoder_depth)
        self.heads = nn.ModuleDict(
            {
                "amplitude": self._head(nn.GELU(), nn.Identity()),
                "sine": self._head(nn.Tanh(), nn.Tanh()),
                "cosine": self._head(nn.Tanh(), nn.Tanh()),
            }
        )
        for part in (self.encoder, self.projections, self.decoder_inputs, self.decoder, self.heads):
            initialise_weights(part, getattr(part, "blocks", ()), generator)
        self.quantizers = nn.ModuleList(
            ResidualQuantizer(
                n_levels, n_codes, code_dim, decay=decay, beta=beta, kmeans_init=kmeans_init,
                restart_dead_codes=restart_dead_codes,
            )
            for _ in scales
        )  # fmt: skip
        if generator is not None:
            for level in (level for quantizer in self.quantizers for level in quantizer.levels):
                level.codebook.copy_(functional.normalize(torch.randn(n_codes, code_dim, generator=generator), dim=1))
        self.register_buffer("amplitude_mean", torch.zeros(()))
        self.register_buffer("amplitude_std", torch.ones(()))
        self.register_buffer("n_windows", torch.zeros((), dtype=torch.int64))
        self._unused: dict[str, torch.Tensor] = {}

    def forward(self, x: torch.Tensor, channels: Any = None) -> NeuroRVQOutput:
        """Tokens, reconstruction, losses, and every stage between; in training mode the codebooks move.

        Parameters
        ----------
        x : tensor of shape (n, channels, times)
            Windows, of whole patches.
        channels : sequence of str, or of int, optional
            Names, or rows of the spatial table; None: those of `ch_names`.

        Returns
        -------
        NeuroRVQOutput

        Raises
        ------
        InputError
            If windows are not whole patches, longer than the time table, or not finite.
        ChannelError
            If a channel is unknown or their number does not fit.
        """
        rows = self._rows(x, channels)
        convolved = self.encoder.convolve(x)
        encoded = self.encoder.normalise(self.encoder.transform(convolved, rows))
        projected = self._project(encoded)
        coded = [quantizer(vectors) for quantizer, vectors in zip(self.quantizers, projected, strict=True)]
        quantized = torch.stack([one.values for one in coded])
        predicted = self._predict(quantized, rows)
        original = patches(x, self.config.patch_size)
        targets = spectrum_targets(original)
        rebuilt = signal_of_spectrum(*predicted, targets.statistics)
        scores, target_scores = z_scored(rebuilt)[0], z_scored(original)[0]
        if self.training:
            self._keep(targets.statistics)
        return NeuroRVQOutput(
            convolved=convolved,
            encoded=encoded,
            projected=projected,
            quantized=quantized,
            tokens=self._by_window(torch.stack([one.indices for one in coded]), len(rows)),
            usage=torch.stack([one.usage for one in coded]),
            amplitude=predicted[0],
            sine=predicted[1],
            cosine=predicted[2],
            targets=targets,
            patches=rebuilt,
            signal=rebuilt.reshape(x.shape),
            scores=scores,
            target_scores=target_scores,
            losses=reconstruction_losses(
                torch.stack([one.loss for one in coded]).sum(), predicted, targets, scores, target_scores
            ),
        )

    @torch.no_grad()
    def encode(self, x: torch.Tensor, channels: Any = None) -> torch.Tensor:
        """Tokens of windows; nothing changes.

        Parameters
        ----------
        x, channels
            As in `forward`.

        Returns
        -------
        int64 tensor of shape (n, n_scales, n_levels, channels, n_patches)
        """
        rows = self._rows(x, channels)
        windows = max(1, _PATCHES_AT_ONCE * self.config.patch_size // (x.shape[1] * x.shape[2]))
        parts = []
        for part in x.split(windows):
            projected = self._project(self.encoder(part, rows))
            found = [quantizer.encode(vectors) for quantizer, vectors in zip(self.quantizers, projected, strict=True)]
            parts.append(self._by_window(torch.stack(found), len(rows)))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @torch.no_grad()
    def embed(self, x: torch.Tensor, channels: Any = None) -> torch.Tensor:
        """Quantized vectors (sums of the codes) of windows: tensor (n, n_scales, channels, n_patches, code_dim)."""
        return self.decode_vectors(self.encode(x, channels))

    def decode_vectors(self, tokens: torch.Tensor) -> torch.Tensor:
        """Sums of the codes that tokens name.

        Parameters
        ----------
        tokens : int64 tensor of shape (n, n_scales, n_levels, channels, n_patches)
            Fewer levels, from the first, are taken too, for a coarser signal.

        Returns
        -------
        tensor of shape (n, n_scales, channels, n_patches, code_dim)
        """
        if tokens.ndim != 5 or tokens.shape[1] != self.n_scales or not 1 <= tokens.shape[2] <= self.n_levels:
            raise InputError(
                f"expected tokens of shape (n, {self.n_scales} scales, {self.n_levels} levels, channels, patches), "
                f"got {tuple(tokens.shape)}"
            )
        by_scale = tokens.permute(1, 2, 0, 3, 4)
        decoded = [quantizer.decode(one) for quantizer, one in zip(self.quantizers, by_scale, strict=True)]
        return torch.stack(decoded, dim=1)

    @torch.no_grad()
    def decode(
        self, tokens: torch.Tensor, stats: AmplitudeStatistics | None = None, channels: Any = None
    ) -> torch.Tensor:
        """Signal from tokens.

        Parameters
        ----------
        tokens : int64 tensor of shape (n, n_scales, n_levels, channels, n_patches)
            Tokens.
        stats : AmplitudeStatistics, optional
            Mean and standard deviation of the logarithmic amplitudes of each window, as `statistics` gives them. None
            takes the means kept from training.
        channels : sequence of str, or of int, optional
            As in `forward`.

        Returns
        -------
        tensor of shape (n, channels, times)
            In the unit of the training windows.

        Raises
        ------
        InputError
            If tokens are out of range or of the wrong shape, or there are no statistics.
        """
        vectors = self.decode_vectors(tokens)
        n, _, n_channels, n_patches, _ = vectors.shape
        rows = self._channel_rows(channels, n_channels)
        predicted = self._predict(vectors.transpose(0, 1).flatten(2, 3), rows)
        if stats is None:
            if not int(self.n_windows):
                raise InputError(
                    "tokens do not tell the amplitude of a window, and this module has kept none from a training; "
                    "pass stats=module.statistics(x), or AmplitudeStatistics(mean, std)"
                )
            stats = AmplitudeStatistics(self.amplitude_mean.expand(n), self.amplitude_std.expand(n))
        for value in (stats.mean, stats.std):
            if value.shape != (n,):
                raise InputError(f"expected statistics of shape ({n},), one a window, got {tuple(value.shape)}")
        rebuilt = signal_of_spectrum(*predicted, stats)
        return rebuilt.reshape(n, n_channels, n_patches * self.config.patch_size)

    def statistics(self, x: torch.Tensor) -> AmplitudeStatistics:
        """Statistics of windows (n, channels, times) that `decode` needs beside their tokens."""
        return spectrum_targets(patches(x, self.config.patch_size)).statistics

    def training_loss(
        self, batch: torch.Tensor, generator: torch.Generator | None = None, channels: Any = None
    ) -> dict[str, torch.Tensor]:
        """Losses of a batch of windows.

        Parameters
        ----------
        batch : tensor of shape (n, channels, times)
            Windows.
        generator : torch.Generator, optional
            Draws the start of the codebooks, in the first call of a training.
        channels : sequence of str, or of int, optional
            As in `forward`.

        Returns
        -------
        dict of str to tensor of shape ()
            Total, code, amplitude, phase, signal.
        """
        levels = [level for quantizer in self.quantizers for level in quantizer.levels]
        for level in levels:
            level.generator = generator
        losses = self(batch, channels).losses
        for level in levels:  # a generator that stayed could not be pickled
            level.generator = None
        parts = {name: getattr(losses, name) for name in ("code", "amplitude", "phase", "signal")}
        return {"total": losses.total, **parts}

    def freeze(self) -> Self:
        """Keep weights and codebooks as they are, whatever mode is set later; the module itself, in evaluation."""
        for quantizer in self.quantizers:
            for level in quantizer.levels:
                level.freeze()
        self._frozen = True
        return self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode; once frozen it stays in evaluation mode."""
        return super().train(mode and not getattr(self, "_frozen", False))

    @classmethod
    def from_reference(cls, state_dict: Mapping[str, Any], **config: Any) -> Self:
        """Build the module from published weights.

        Parameters
        ----------
        state_dict : mapping of str to array or tensor
            As published: 505 tensors for EEG.
        **config
            What shapes do not tell, and `ch_names`: for instance `sfreq`, `pool_1`, `n_groups`.

        Returns
        -------
        NeuroRVQTokenizerModule
            In evaluation mode. Tensors that the published code never reads (`embedding.embed_avg`,
            `embedding.cluster_size`) are kept aside for `to_reference`, and are not saved with the module.

        Raises
        ------
        InputError
            If tensors are missing, unknown or of another shape, not finite, or codes are not of length one.
        """
        state = read_state(state_dict, "NeuroRVQ")
        sizes = tokenizer_sizes(state, config)
        with torch.device("meta"):  # the weights come from the file: none are drawn
            module = cls(**(sizes | config))
        unused = unused_names(module.n_scales, module.n_levels)
        read_arrays(module, state, module._entries(), unused=unused)
        module._unused = {name: state[name] for name in unused if name in state}
        check_unused(module._unused, module.n_codes, module.code_dim)
        for name, start in (("amplitude_mean", 0.0), ("amplitude_std", 1.0), ("n_windows", 0)):
            setattr(module, name, torch.tensor(start))
        module._check_codes()
        return module.eval()

    def to_reference(self) -> dict[str, torch.Tensor]:
        """Weights in the published layout, copies on the CPU.

        Returns
        -------
        dict of str to tensor
            The tensors that nothing reads are those of `from_reference`; else the codes, and zeros.
        """
        return with_unused(write_arrays(self, self._entries()), self._unused)

    def _head(self, between: nn.Module, last: nn.Module) -> nn.Sequential:
        dim = self.config.embed_dim
        layers = (nn.Linear(self.n_scales * dim, dim), between, nn.Linear(dim, self.config.patch_size), last)
        return nn.Sequential(*layers)

    def _rows(self, x: torch.Tensor, channels: Any) -> torch.Tensor:
        patches(x, self.config.patch_size)
        if x.device.type == "cpu":
            keep_freed_memory()
        if not bool(torch.isfinite(x).all()):
            raise InputError("the windows hold NaN or infinity; interpolate or leave out what is missing")
        return self._channel_rows(channels, x.shape[1])

    def _channel_rows(self, channels: Any, n_channels: int) -> torch.Tensor:
        channels = self.channels if channels is None else channels
        if channels is None:
            raise UsageError("NeuroRVQ needs to know the channels: pass channels=[...], or ch_names to the module")
        rows = channel_rows(channels, n_channels, self.config.n_positions)
        return rows.to(self.encoder.pos_embed.device)

    def _project(self, encoded: torch.Tensor) -> torch.Tensor:
        projected = torch.stack([project(scale) for project, scale in zip(self.projections, encoded, strict=True)])
        return projected.to(self.amplitude_mean.dtype)  # residuals are differences, which half the digits would blur

    def _predict(self, quantized: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(n_scales, n, n_patches, code_dim) -> amplitude, sine, cosine (n, n_patches, size)."""
        inputs = torch.stack([layer(scale) for layer, scale in zip(self.decoder_inputs, quantized, strict=True)])
        decoded = self.decoder.normalise(self.decoder.transform(inputs, rows))
        features = decoded.permute(1, 2, 0, 3).flatten(2)
        heads: Any = self.heads
        found = (heads[name](features).to(self.amplitude_mean.dtype) for name in ("amplitude", "sine", "cosine"))
        amplitude, sine, cosine = found  # Fourier transforms take no half precision
        return amplitude, sine, cosine

    def _by_window(self, indices: torch.Tensor, n_channels: int) -> torch.Tensor:
        """(n_scales, n_levels, n, channels * n_patches) -> tokens."""
        return indices.permute(2, 0, 1, 3).unflatten(3, (n_channels, -1)).contiguous()

    @torch.no_grad()
    def _keep(self, statistics: AmplitudeStatistics) -> None:
        self.n_windows += len(statistics.mean)
        for kept, new in ((self.amplitude_mean, statistics.mean), (self.amplitude_std, statistics.std)):
            kept += (new - kept).sum() / self.n_windows

    def _entries(self) -> list[Entry]:
        return tokenizer_entries(self.config, decoder_depth=self.decoder_depth, n_levels=self.n_levels)

    def _check_codes(self) -> None:
        for scale, quantizer in enumerate(self.quantizers):
            for i, level in enumerate(quantizer.levels):
                length = level.codebook.norm(dim=1)
                if bool(level.started) and bool(((length - 1).abs() > 1e-3).any()):
                    raise InputError(
                        f"quantize_{scale + 1}.layers.{i}.embedding.weight: expected codes of length one, got lengths "
                        f"{float(length.min()):.3g} to {float(length.max()):.3g}"
                    )
