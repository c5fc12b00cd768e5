"""TFM-Tokenizer's second stage: a small transformer over the tokens of all channels of a window."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from neurosig.core.compat import import_braindecode
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.models.tfm_losses import TokenClassLoss
from neurosig.nn.linear_attention import LinearAttentionBlock
from neurosig.nn.state_dicts import Entry, check_state, from_published, read_state, shape_of, to_published
from neurosig.tokenizers.tfm_layout import block_entries, count_blocks
from neurosig.tokenizers.tfm_module import TFMTokenizerModule

__all__ = ["TFMEncoder", "TFMEncoderStages", "TFMTokenLosses", "token_mask", "whole_numbers"]

_base: Any = import_braindecode("braindecode.models.base")
_MAX_FRAMES = 1000
_POSITIONS = "temporal_pos_embed.pe"


@dataclass(frozen=True)
class TFMEncoderStages:
    """Every intermediate of a pass.

    Parameters
    ----------
    sequence : tensor of shape (n, 1 + n_channels * n_frames, emb_size)
        Class token, then the tokens' embeddings, all frames of the first channel first.
    blocks : tuple of tensor of the same shape
        After each block.
    logits : tensor of shape (n, n_outputs)
        From the class token.
    """

    sequence: torch.Tensor
    blocks: tuple[torch.Tensor, ...]
    logits: torch.Tensor


@dataclass(frozen=True)
class TFMTokenLosses:
    """The objective of masked token prediction.

    Parameters
    ----------
    total : tensor of shape ()
        Sum of both views.
    views : tuple of two tensors of shape ()
        Cross-entropy over what each view does not see, of the view that keeps the mask and of its complement; zero
        where it sees all.
    """

    total: torch.Tensor
    views: tuple[torch.Tensor, torch.Tensor]


def token_mask(shape: Sequence[int], *, ratio: float = 0.5, generator: torch.Generator | None = None) -> torch.Tensor:
    """Random mask of tokens.

    Parameters
    ----------
    shape : sequence of int
        Of the tokens.
    ratio : float
        Probability that a token is hidden.
    generator : torch.Generator or None
        Draws the mask; None is torch's global one.

    Returns
    -------
    bool tensor of that shape
        True where a token is seen.
    """
    if not 0 <= ratio <= 1:
        raise UsageError(f"ratio must lie between 0 and 1, got {ratio!r}")
    device = "cpu" if generator is None else generator.device
    return torch.rand(tuple(shape), generator=generator, device=device) >= ratio


class TFMEncoder(_base.EEGModuleMixin, nn.Module):
    """Linear-attention transformer over the TFM tokens of all channels.

    Parameters
    ----------
    n_chans, n_outputs, n_times, chs_info, input_window_seconds, sfreq
        As in every network of braindecode. Only `n_outputs` is needed: 1 for two classes with a binary loss, `n_codes`
        to predict masked tokens. Windows may have fewer channels and any number of frames.
    n_codes : int
        Vocabulary of the tokens, 0 to ``n_codes - 1``; ``n_codes`` itself stands for a hidden token.
    emb_size : int
        Size of an embedding.
    depth, n_heads : int
        Blocks, and heads of each.
    max_chans : int
        Most channels of a window. A channel is known by its place, not by its name.
    drop_prob, position_drop_prob : float
        Dropout in the blocks, and of what goes into the first.
    loss : {"cross_entropy", "bce", "focal"}
        What `NetClassifier` trains it by: cross-entropy with smoothed labels; for two classes also the binary
        cross-entropy, or the focal loss, of the second class, whose logit is the difference of the two outputs.
    label_smoothing : float
        Share of the target that goes to all classes alike, of "cross_entropy".
    focal_alpha, focal_gamma : float
        Weight of the second class in "focal", and how much less easy examples count.
    tokenizer : TFMTokenizerModule or None
        With one, signals go in as well as tokens. It is frozen.

    Attributes
    ----------
    final_layer : nn.Linear
        The classifier.

    Raises
    ------
    UsageError
        If a size is missing or impossible.
    ChannelError
        If there are more channels than `max_chans`.

    Notes
    -----
    Source: Pradeepkumar et al. [1]_ and its code (Jathurshan0330/TFM-Tokenizer), there TFM_TOKEN_Classifier. Published
    for 16 bipolar channels in a fixed order.

    References
    ----------
    .. [1] Pradeepkumar et al., "Tokenizing single-channel EEG with time-frequency motif learning", ICLR 2026,
       https://arxiv.org/abs/2502.16060
    """

    positions: torch.Tensor
    unit_free = True  # tokens have no unit

    def __init__(
        self,
        n_chans: int | None = None,
        n_outputs: int | None = None,
        n_times: int | None = None,
        *,
        n_codes: int = 8192,
        emb_size: int = 64,
        depth: int = 4,
        n_heads: int = 8,
        max_chans: int = 16,
        drop_prob: float = 0.2,
        position_drop_prob: float = 0.1,
        loss: str = "cross_entropy",
        label_smoothing: float = 0.1,
        focal_alpha: float = 0.8,
        focal_gamma: float = 0.7,
        tokenizer: TFMTokenizerModule | None = None,
        chs_info: Sequence[Mapping[str, Any]] | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
    ):
        if n_outputs is None:
            raise UsageError("TFMEncoder needs n_outputs")
        if n_codes < 1 or emb_size < 2 or emb_size % 2 or depth < 0 or max_chans < 1:
            raise UsageError(
                f"sizes must be positive and emb_size even, got n_codes={n_codes!r}, emb_size={emb_size!r}, "
                f"depth={depth!r}, max_chans={max_chans!r}"
            )
        class_loss = TokenClassLoss(loss, label_smoothing, focal_alpha, focal_gamma)
        if tokenizer is not None and tokenizer.quantizer.n_codes != n_codes:
            raise UsageError(f"the tokenizer has {tokenizer.quantizer.n_codes} codes, but n_codes is {n_codes}")
        channels = n_chans if chs_info is None or n_chans is not None else len(chs_info)
        if channels is not None and channels > max_chans:
            raise ChannelError(_too_many_channels(channels, max_chans))
        super().__init__(
            n_outputs=n_outputs,
            n_chans=n_chans,
            chs_info=chs_info,
            n_times=n_times,
            input_window_seconds=input_window_seconds,
            sfreq=sfreq,
        )
        self.class_loss = class_loss
        self.n_codes, self.emb_size, self.max_chans = n_codes, emb_size, max_chans
        self.token_embedding = nn.Embedding(n_codes + 1, emb_size)
        self.channel_embedding = nn.Embedding(max_chans, emb_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, emb_size))
        self.register_buffer("positions", _sinusoids(_MAX_FRAMES, emb_size), persistent=False)
        self.position_drop = nn.Dropout(position_drop_prob)
        self.blocks = nn.Sequential(
            *(LinearAttentionBlock(emb_size, n_heads, drop_prob=drop_prob) for _ in range(depth))
        )
        self.final_layer = nn.Linear(emb_size, n_outputs)
        self.tokenizer = tokenizer.freeze() if tokenizer is not None else None

    # -- passes -------------------------------------------------------------------------------------------------------

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of windows.

        Parameters
        ----------
        x : int64 tensor of shape (n, n_channels, n_frames), or tensor of shape (n, n_channels, n_times)
            Tokens, of which ``n_codes`` is a hidden one; where there is no tokenizer they may come as floats that are
            whole numbers. Where there is one, floats are signals.

        Returns
        -------
        tensor of shape (n, n_outputs)
            The logits.

        Raises
        ------
        InputError
            If there are too many frames, tokens outside the vocabulary, or signals without a tokenizer.
        ChannelError
            If there are too many channels.
        """
        return self.final_layer(self.blocks(self._sequence(self._tokens(x)))[:, 0])

    def stages(self, x: torch.Tensor) -> TFMEncoderStages:
        """As `forward`, with every intermediate.

        Parameters
        ----------
        x : tensor
            As for `forward`.

        Returns
        -------
        TFMEncoderStages
            In the order of the pass.
        """
        value = sequence = self._sequence(self._tokens(x))
        found = []
        for block in self.blocks:
            value = block(value)
            found.append(value)
        return TFMEncoderStages(sequence, tuple(found), self.final_layer(value[:, 0]))

    def predict_tokens(self, x: torch.Tensor) -> torch.Tensor:
        """Logits at every token, from a model whose outputs are the vocabulary.

        Parameters
        ----------
        x : tensor
            As for `forward`.

        Returns
        -------
        tensor of shape (n, n_channels, n_frames, n_outputs)
            The logits.
        """
        tokens = self._tokens(x)
        return self.final_layer(self.blocks(self._sequence(tokens))[:, 1:]).unflatten(1, tokens.shape[1:])

    # -- masked token prediction --------------------------------------------------------------------------------------

    def masked_losses(self, x: torch.Tensor, keep: torch.Tensor) -> TFMTokenLosses:
        """The objective of masked token prediction for a given mask.

        Parameters
        ----------
        x : tensor
            As for `forward`.
        keep : bool tensor of the shape of the tokens
            What the first view sees; the second sees the rest.

        Returns
        -------
        TFMTokenLosses
            Each view is asked for what it does not see.

        Raises
        ------
        UsageError
            If the outputs are not the vocabulary.
        InputError
            If the mask does not fit.
        """
        if self.final_layer.out_features != self.n_codes:
            raise UsageError(
                f"masked tokens are predicted by n_outputs={self.n_codes}, got {self.final_layer.out_features}"
            )
        tokens = self._tokens(x)
        if keep.shape != tokens.shape:
            raise InputError(f"expected a mask of shape {tuple(tokens.shape)}, got {tuple(keep.shape)}")
        seen = torch.stack([keep.bool(), ~keep.bool()])
        encoded = self.blocks(self._sequence(torch.where(seen, tokens, self.n_codes).flatten(0, 1)))[:, 1:]
        encoded = encoded.unflatten(1, tokens.shape[1:]).unflatten(0, (2, -1))
        views = []
        for view, asked in zip(encoded, ~seen, strict=True):
            logits = self.final_layer(view[asked])  # of a large vocabulary, so only where a token is asked for
            views.append(functional.cross_entropy(logits, tokens[asked]) if asked.any() else logits.sum())
        return TFMTokenLosses(views[0] + views[1], (views[0], views[1]))

    def training_loss(self, batch: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """The objective of masked token prediction under a random mask.

        Parameters
        ----------
        batch : tensor
            As for `forward`.
        generator : torch.Generator or None
            Draws the mask, for each token on its own.

        Returns
        -------
        dict of str to tensor of shape ()
            "total", and its parts "view_a" and "view_b".
        """
        tokens = self._tokens(batch)
        losses = self.masked_losses(tokens, token_mask(tokens.shape, generator=generator).to(tokens.device))
        return {"total": losses.total, "view_a": losses.views[0].detach(), "view_b": losses.views[1].detach()}

    @torch.no_grad()
    def start_from_codebook(self, codebook: torch.Tensor) -> None:
        """Start the embeddings of tokens from the codes they stand for, and that of a hidden token from zero.

        Parameters
        ----------
        codebook : tensor of shape (n_codes, emb_size)
            The tokenizer's.

        Raises
        ------
        InputError
            If it has another shape.
        """
        if codebook.shape != (self.n_codes, self.emb_size):
            raise InputError(
                f"expected a codebook of shape {(self.n_codes, self.emb_size)}, got {tuple(codebook.shape)}"
            )
        self.token_embedding.weight[: self.n_codes] = codebook.to(self.token_embedding.weight)
        self.token_embedding.weight[self.n_codes] = 0

    def reset_head(self, n_outputs: int) -> None:
        """Put a new classifier in the place of the old, such as after masked token prediction.

        Parameters
        ----------
        n_outputs : int
            Its outputs.
        """
        old = self.final_layer.weight
        self.final_layer = nn.Linear(self.emb_size, n_outputs, device=old.device, dtype=old.dtype)
        self._n_outputs = n_outputs

    # -- published weights --------------------------------------------------------------------------------------------

    @classmethod
    def from_reference(cls, state_dict: Mapping[str, Any], **config: Any) -> TFMEncoder:
        """Build the encoder that published weights belong to, and load them.

        Parameters
        ----------
        state_dict : mapping of str to array or tensor
            By the published names. The channels' index and the table of positions may be missing.
        **config
            What shapes do not tell: `n_heads`, dropout, the tokenizer, and braindecode's facts about the signals.

        Returns
        -------
        TFMEncoder
            In evaluation mode.

        Raises
        ------
        InputError
            If tensors are missing, left over, of another shape, or not finite, or the table of positions is another.
        """
        name = cls.__name__
        given = read_state(state_dict, name)
        rows, emb_size = shape_of(given, "eeg_token_embedding.weight", 2, name)
        sizes: dict[str, Any] = {
            "n_codes": rows - 1,
            "emb_size": emb_size,
            "depth": count_blocks(given, "LAT"),
            "max_chans": shape_of(given, "channel_embed.weight", 2, name)[0],
            "n_outputs": shape_of(given, "classification_head.weight", 2, name)[0],
        }
        if clash := sorted(set(sizes) & set(config)):
            raise UsageError(f"{', '.join(clash)} are read off the weights; leave them out")
        module = cls(**sizes, **config)
        wanted = module.to_reference()
        check_state(given, wanted, name, optional=("index", _POSITIONS))
        for fixed in ("index", _POSITIONS):
            if fixed in given and not torch.allclose(given[fixed].double(), wanted[fixed].double(), atol=1e-5):
                raise InputError(f"these are not the weights of a {name}; {fixed} holds other numbers")
        module.load_state_dict(from_published(given, module._entries()), strict=module.tokenizer is None)
        return module.eval()

    def to_reference(self) -> dict[str, torch.Tensor]:
        """The weights under their published names, without the tokenizer's: what `from_reference` reads."""
        found = to_published(self.state_dict(), self._entries())
        return {"index": torch.arange(self.max_chans), _POSITIONS: self.positions[None].clone(), **found}

    def _entries(self) -> list[Entry]:
        return [
            Entry("cls_token", "class_token"),
            Entry("eeg_token_embedding.weight", "token_embedding.weight"),
            Entry("channel_embed.weight", "channel_embedding.weight"),
            *block_entries("LAT", "blocks", len(self.blocks)),
            Entry("classification_head.weight", "final_layer.weight"),
            Entry("classification_head.bias", "final_layer.bias"),
        ]

    # -- parts --------------------------------------------------------------------------------------------------------

    def _tokens(self, x: torch.Tensor) -> torch.Tensor:
        """Checked tokens, from tokens or signals."""
        if x.ndim != 3:
            raise InputError(f"expected tokens (n, n_channels, n_frames) or signals, got {tuple(x.shape)}")
        if x.shape[1] > self.max_chans:
            raise ChannelError(_too_many_channels(x.shape[1], self.max_chans))
        if x.is_floating_point():
            x = whole_numbers(x, type(self).__name__) if self.tokenizer is None else self.tokenizer.encode(x)
        if not x.numel():
            raise InputError(f"expected at least one window, channel and frame, got tokens of shape {tuple(x.shape)}")
        if x.shape[2] > _MAX_FRAMES:
            raise InputError(f"expected at most {_MAX_FRAMES} frames, got {x.shape[2]}: cut shorter windows")
        low, high = int(x.min()), int(x.max())
        if low < 0 or high > self.n_codes:
            raise InputError(
                f"expected tokens between 0 and {self.n_codes - 1}, or {self.n_codes} for a hidden one, got "
                f"{low if low < 0 else high}"
            )
        return x.long()

    def _sequence(self, tokens: torch.Tensor) -> torch.Tensor:
        n, n_channels, n_frames = tokens.shape
        place = self.channel_embedding.weight[:n_channels, None] + self.positions[:n_frames]
        embedded = self.position_drop(self.token_embedding(tokens) + place).flatten(1, 2)
        return torch.cat([self.class_token.expand(n, -1, -1), embedded], dim=1)


def whole_numbers(x: torch.Tensor, who: str) -> torch.Tensor:
    """Tokens that came as floats, which hold integers up to 2^24 exactly.

    Raises
    ------
    InputError
        If a number is not whole: then these are signals.
    """
    tokens = x.long()
    if not torch.equal(tokens.to(x.dtype), x):
        raise InputError(f"expected tokens for {who}, got signals of {x.dtype}: encode them first, or pass tokenizer=")
    return tokens


def _sinusoids(n: int, emb_size: int) -> torch.Tensor:
    """Sines and cosines of falling frequency, in turns: (n, emb_size)."""
    rates = torch.exp(torch.arange(0, emb_size, 2, dtype=torch.float32) * (-math.log(10000.0) / emb_size))
    angles = torch.arange(n, dtype=torch.float32)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def _too_many_channels(n: int, limit: int) -> str:
    return (
        f"TFMEncoder knows {limit} channels, got {n}: choose or combine channels (the published weights are for 16 "
        "bipolar ones), or train with a larger max_chans"
    )
