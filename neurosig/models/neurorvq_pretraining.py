"""Masked pretraining of NeuroRVQ's foundation model: predict the tokens of hidden patches, each patch hidden once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional

from neurosig.core.errors import InputError, UsageError
from neurosig.models.neurorvq_encoder import NeuroRVQEncoder
from neurosig.nn.head_losses import mean_cross_entropy
from neurosig.nn.state_dicts import read_state
from neurosig.tokenizers.neurorvq_weights import Entry, linear_entries, read_arrays, shape_of, write_arrays

__all__ = ["MaskedPrediction", "NeuroRVQPretraining", "prediction_losses", "random_masks"]


@dataclass(frozen=True)
class MaskedPrediction:
    """Predictions for hidden patches, in the order of windows and patches.

    Parameters
    ----------
    logits : tensor of shape (n_scales * n_levels, n_hidden, n_codes)
        For the patches that the mask hides: all levels of the first scale, then those of the second, and so on.
    complement_logits : tensor of shape (n_scales * n_levels, n_shown, n_codes)
        For the others, which the second view hides.
    """

    logits: torch.Tensor
    complement_logits: torch.Tensor


def random_masks(
    n: int, n_patches: int, ratio: float = 0.5, *, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Masks that hide the same number of patches in every window.

    Parameters
    ----------
    n, n_patches : int
        Windows, and patches of one.
    ratio : float
        Share that is hidden; at least one patch is hidden and one is shown.
    generator : torch.Generator, optional
        Draws them; None is torch's global one.

    Returns
    -------
    bool tensor of shape (n, n_patches)
    """
    if not 0 < ratio < 1:
        raise UsageError(f"ratio must lie between 0 and 1, got {ratio!r}")
    if n_patches < 2:
        raise InputError(f"masking needs at least 2 patches a window, got {n_patches}")
    hidden = min(max(1, round(ratio * n_patches)), n_patches - 1)
    device = "cpu" if generator is None else generator.device
    order = torch.rand(n, n_patches, generator=generator, device=device).argsort(dim=1)
    return order < hidden


def prediction_losses(logits: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each head.

    Parameters
    ----------
    logits : tensor of shape (n_scales * n_levels, n_hidden, n_codes)
        Predictions for the patches where `mask` is True.
    tokens : int64 tensor of shape (n, n_scales, n_levels, channels, n_patches)
        Tokens of all patches.
    mask : bool tensor of shape (n, channels * n_patches)
        What is predicted.

    Returns
    -------
    tensor of shape (n_scales * n_levels,)
    """
    wanted = tokens.flatten(1, 2).flatten(2).transpose(0, 1)[:, mask]
    if wanted.shape != logits.shape[:2]:
        raise InputError(f"expected tokens of {tuple(logits.shape[:2])} heads and patches, got {tuple(wanted.shape)}")
    losses = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
    return losses.view(wanted.shape).mean(dim=1)


class NeuroRVQPretraining(nn.Module):
    """A foundation model with its mask token and one head for each scale and residual level.

    Parameters
    ----------
    encoder : NeuroRVQEncoder
        Whose backbone is trained.
    n_levels, n_codes : int
        Of the tokenizer.
    mask_ratio : float
        Share of patches that the first view hides; the second hides the others. The published ratio is not known.
    generator : torch.Generator, optional
        Draws the weights of the heads.

    Attributes
    ----------
    heads, head_biases : parameter of shape (n_scales, n_levels, n_codes, embed_dim), and without the last axis
        Linear heads: the published 1 to 8 read the first scale, 9 to 16 the second, and so on.

    Notes
    -----
    Hidden patches are replaced after the convolutions, whose normalisation has seen them, by one mask token for all
    scales. Both views pass the encoder as one batch, after one convolution. In training the logits of one head are held
    at a time: all of them would be gigabytes.
    """

    def __init__(
        self,
        encoder: NeuroRVQEncoder,
        *,
        n_levels: int = 8,
        n_codes: int = 8192,
        mask_ratio: float = 0.5,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        dim, n_scales = encoder.config.embed_dim, encoder.config.n_scales
        self.encoder, self.n_levels, self.n_codes, self.mask_ratio = encoder, n_levels, n_codes, mask_ratio
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.norm_pre = nn.LayerNorm(dim)
        self.heads = nn.Parameter(torch.zeros(n_scales, n_levels, n_codes, dim))
        self.head_biases = nn.Parameter(torch.zeros(n_scales, n_levels, n_codes))
        with torch.no_grad():
            for start in (self.mask_token, self.heads):
                nn.init.trunc_normal_(start, std=0.02, generator=generator)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, channels: Any = None) -> MaskedPrediction:
        """Predict the tokens of hidden patches, in both views.

        Parameters
        ----------
        x : tensor of shape (n, channels, times)
            Windows, of whole patches.
        mask : bool tensor of shape (n, channels * n_patches)
            True where the first view hides a patch, channel after channel.
        channels : sequence of str, or of int, optional
            As in `NeuroRVQEncoder.forward`.

        Returns
        -------
        MaskedPrediction
        """
        first, second = self._views(x, mask, channels)
        return MaskedPrediction(self._logits(first), self._logits(second))

    def _views(self, x: torch.Tensor, mask: torch.Tensor, channels: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Encoded patches that the first view hides, and those that the second does: (n_scales, n_hidden, dim)."""
        backbone = self.encoder.backbone
        rows = self.encoder.rows(x, channels)
        features = backbone.convolve(x)
        if mask.dtype != torch.bool or mask.shape != features.shape[1:3]:
            raise InputError(
                f"expected a bool mask of shape {tuple(features.shape[1:3])}, got {mask.dtype} {tuple(mask.shape)}"
            )
        views = [torch.where(hidden[:, :, None], self.mask_token, features) for hidden in (mask, ~mask)]
        encoded = backbone.transform(torch.cat(views, dim=1), rows)
        first, second = encoded.chunk(2, dim=1)
        return first[:, mask], second[:, ~mask]

    def training_loss(
        self, batch: tuple[torch.Tensor, torch.Tensor], generator: torch.Generator | None = None, channels: Any = None
    ) -> dict[str, torch.Tensor]:
        """Losses of a batch under random masks.

        Parameters
        ----------
        batch : pair of tensors
            Windows (n, channels, times), and their tokens.
        generator : torch.Generator, optional
            Draws the masks.
        channels : sequence of str, or of int, optional
            As in `NeuroRVQEncoder.forward`.

        Returns
        -------
        dict of str to tensor of shape ()
            Total; masked and complement, the mean cross-entropy over heads of either view, whose mean is the total.
        """
        x, tokens = batch
        n_patches = x.shape[1] * (x.shape[2] // self.encoder.config.patch_size)
        mask = random_masks(len(x), n_patches, self.mask_ratio, generator=generator).to(x.device)
        first, second = self._views(x, mask, channels)
        wanted = tokens.flatten(1, 2).flatten(2).transpose(0, 1)
        masked, complement = (
            mean_cross_entropy(self.norm_pre(encoded), self.heads, self.head_biases, wanted[:, hidden])
            for encoded, hidden in ((first, mask), (second, ~mask))
        )
        return {"total": (masked + complement) / 2, "masked": masked, "complement": complement}

    @classmethod
    def from_reference(cls, state_dict: Mapping[str, Any], **config: Any) -> Self:
        """Build encoder and heads from published pretraining weights.

        Parameters
        ----------
        state_dict : mapping of str to array or tensor
            With `mask_token`, `norm_pre` and `head_pre_1` onwards.
        **config
            As in `NeuroRVQEncoder.from_reference`, and `mask_ratio`.

        Returns
        -------
        NeuroRVQPretraining
            In evaluation mode.

        Raises
        ------
        InputError
            If tensors are missing, unknown, of another shape, or not finite.
        """
        state = read_state(state_dict, "NeuroRVQ")
        ratio = config.pop("mask_ratio", 0.5)
        encoder = NeuroRVQEncoder.from_reference(state, **config)
        n_heads = len({name.split(".")[0] for name in state if name.startswith("head_pre_")})
        n_scales = encoder.config.n_scales
        if not n_heads or n_heads % n_scales:
            raise InputError(f"expected pretraining heads head_pre_1, ... for {n_scales} scales, got {n_heads}")
        n_codes = shape_of(state, "head_pre_1.weight")[0]
        module = cls(encoder, n_levels=n_heads // n_scales, n_codes=n_codes, mask_ratio=ratio)
        names = module._head_names()
        for name in names:
            for kind, shape in (("weight", (n_codes, encoder.config.embed_dim)), ("bias", (n_codes,))):
                if shape_of(state, f"{name}.{kind}") != shape:
                    raise InputError(f"{name}.{kind}: expected shape {shape}, got {shape_of(state, f'{name}.{kind}')}")
                if not bool(state[f"{name}.{kind}"].isfinite().all()):
                    raise InputError(f"not the weights of NeuroRVQ: {name}.{kind} is not finite")
        read_arrays(module, state, module._entries(), unused=state)  # the encoder has refused unknown names
        with torch.no_grad():
            for kind, target in (("weight", module.heads), ("bias", module.head_biases)):
                for name, part in zip(names, target.flatten(0, 1), strict=True):
                    part.copy_(state[f"{name}.{kind}"])
        return module.eval()

    def to_reference(self) -> dict[str, torch.Tensor]:
        """Weights in the published layout, copies on the CPU."""
        own = write_arrays(self, self._entries())
        ordered = {}
        for name, value in self.encoder.to_reference().items():
            if not name.startswith(("fc_norm", "head.")):
                ordered[name] = value
            if name == "time_embed":
                ordered["mask_token"] = own.pop("mask_token")
        ordered |= own
        for name, weight, bias in zip(
            self._head_names(), self.heads.flatten(0, 1), self.head_biases.flatten(0, 1), strict=True
        ):
            ordered[f"{name}.weight"] = weight.detach().cpu().clone()
            ordered[f"{name}.bias"] = bias.detach().cpu().clone()
        return ordered

    def _logits(self, x: torch.Tensor) -> torch.Tensor:
        """(n_scales, n_hidden, dim) -> (heads, n_hidden, n_codes)."""
        x = self.norm_pre(x)[:, None]
        return (x @ self.heads.transpose(-1, -2) + self.head_biases[:, :, None]).flatten(0, 1)

    def _head_names(self) -> list[str]:
        return [f"head_pre_{i + 1}" for i in range(self.heads.shape[0] * self.n_levels)]

    def _entries(self) -> list[Entry]:
        return [Entry("mask_token", "mask_token"), *linear_entries("norm_pre", "norm_pre")]
