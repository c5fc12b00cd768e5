"""TFM tokens in front of other systems: BIOT and LaBraM without their patch embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from neurosig.core.channel_names import listed
from neurosig.core.compat import import_braindecode
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.log import logger
from neurosig.models.tfm_encoder import whole_numbers
from neurosig.models.tfm_losses import TokenClassLoss

__all__ = ["TFMBIOT", "TFMLaBraM", "known_to_labram"]

_biot: Any = import_braindecode("braindecode.models.biot")
_labram: Any = import_braindecode("braindecode.models.labram")
_MAX_FRAMES = 1000  # positions that BIOT knows


class TFMBIOT(nn.Module):
    """BIOT on TFM tokens: an embedding of the token takes the place of the linear layer on the spectrum of a patch.

    Parameters
    ----------
    n_chans, n_outputs, n_times : int
        Channels, classes, and tokens of a channel.
    n_codes : int
        Vocabulary of the tokens.
    emb_size, n_heads, depth : int
        Size of an embedding, heads and layers, as published for BIOT.
    drop_prob, attention_drop_prob : float
        Dropout of embeddings, and in the transformer.
    loss, label_smoothing, focal_alpha, focal_gamma : object
        As in `TFMEncoder`.

    Attributes
    ----------
    token_embedding : nn.Embedding
        What takes the patch embedding's place.
    final_layer : nn.Module
        The classifier.

    Raises
    ------
    UsageError
        If a size is impossible.

    Notes
    -----
    Sources: Pradeepkumar et al. [1]_ put their tokens in front of BIOT and LaBraM; Yang et al. [2]_, in braindecode's
    implementation, of which all but the patch embedding is used. How the paper starts the embeddings of tokens is not
    told in what could be read of it; here they are drawn, and learned with the rest.

    References
    ----------
    .. [1] Pradeepkumar et al., "Tokenizing single-channel EEG with time-frequency motif learning", ICLR 2026,
       https://arxiv.org/abs/2502.16060
    .. [2] Yang et al., "BIOT: Biosignal transformer for cross-data learning in the wild", NeurIPS 2023,
       https://arxiv.org/abs/2305.10351
    """

    unit_free = True  # tokens have no unit

    def __init__(
        self,
        n_chans: int,
        n_outputs: int,
        n_times: int,
        *,
        n_codes: int = 8192,
        emb_size: int = 256,
        n_heads: int = 8,
        depth: int = 4,
        drop_prob: float = 0.5,
        attention_drop_prob: float = 0.2,
        loss: str = "cross_entropy",
        label_smoothing: float = 0.1,
        focal_alpha: float = 0.8,
        focal_gamma: float = 0.7,
    ):
        super().__init__()
        _check_sizes(n_codes, emb_size, n_heads)
        if n_times > _MAX_FRAMES:
            raise InputError(f"expected at most {_MAX_FRAMES} tokens a channel, got {n_times}: cut shorter windows")
        self.class_loss = TokenClassLoss(loss, label_smoothing, focal_alpha, focal_gamma)
        self.n_codes, self.n_chans = n_codes, n_chans
        whole = _biot._BIOTEncoder(
            emb_size=emb_size, num_heads=n_heads, n_chans=n_chans, n_layers=depth, drop_prob=drop_prob,
            attn_dropout=attention_drop_prob, attn_layer_dropout=attention_drop_prob, max_seq_len=n_chans * n_times,
        )  # fmt: skip
        self.token_embedding = nn.Embedding(n_codes, emb_size)
        self.channel_tokens = whole.channel_tokens
        self.positional_encoding = whole.positional_encoding
        self.transformer = whole.transformer
        self.final_layer = _biot._ClassificationHead(emb_size=emb_size, n_outputs=n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of windows.

        Parameters
        ----------
        x : tensor of shape (n, n_channels, n_frames)
            Tokens, int64 or whole numbers as floats.

        Returns
        -------
        tensor of shape (n, n_outputs)
            The logits.

        Raises
        ------
        InputError
            If these are no tokens, or lie outside the vocabulary.
        ChannelError
            If there are more channels than it was made for.
        """
        tokens = _tokens(x, self.n_codes, self.n_chans, type(self).__name__)
        embedded = self.token_embedding(tokens) + self.channel_tokens.weight[: tokens.shape[1], None]
        embedded = self.positional_encoding(embedded.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        return self.final_layer(self.transformer(embedded.flatten(1, 2)).mean(dim=1))


class TFMLaBraM(nn.Module):
    """LaBraM on TFM tokens: an embedding of the token takes the place of the convolutions over a patch.

    Parameters
    ----------
    n_chans, n_outputs, n_times : int
        Channels, classes, and tokens of a channel.
    ch_names : sequence of str or None
        Names of the channels, by which LaBraM finds their embeddings. None takes them by place: the first names of its
        list, whatever the channels are.
    n_codes : int
        Vocabulary of the tokens.
    emb_size, n_heads, depth : int
        Size of an embedding, heads and layers, as published for LaBraM-Base.
    drop_prob, attention_drop_prob : float
        Dropout of embeddings and outputs, and of attention.
    loss, label_smoothing, focal_alpha, focal_gamma : object
        As in `TFMEncoder`.

    Attributes
    ----------
    token_embedding : nn.Embedding
        What takes the patch embedding's place.
    final_layer : nn.Module
        The classifier.

    Raises
    ------
    UsageError
        If a size is impossible.
    ChannelError
        If a channel is none that LaBraM knows, or there are more than it knows.

    Notes
    -----
    Sources: Pradeepkumar et al. [1]_ put their tokens in front of BIOT and LaBraM; Jiang et al. [2]_, in braindecode's
    implementation, of which all but the patch embedding is used. See `TFMBIOT` for what is not known.

    References
    ----------
    .. [1] Pradeepkumar et al., "Tokenizing single-channel EEG with time-frequency motif learning", ICLR 2026,
       https://arxiv.org/abs/2502.16060
    .. [2] Jiang et al., "Large brain model for learning generic representations with tremendous EEG data in BCI",
       ICLR 2024, https://arxiv.org/abs/2405.18765
    """

    unit_free = True  # tokens have no unit
    places: torch.Tensor

    def __init__(
        self,
        n_chans: int,
        n_outputs: int,
        n_times: int,
        *,
        ch_names: Sequence[str] | None = None,
        n_codes: int = 8192,
        emb_size: int = 200,
        n_heads: int = 10,
        depth: int = 12,
        drop_prob: float = 0.0,
        attention_drop_prob: float = 0.0,
        loss: str = "cross_entropy",
        label_smoothing: float = 0.1,
        focal_alpha: float = 0.8,
        focal_gamma: float = 0.7,
    ):
        super().__init__()
        _check_sizes(n_codes, emb_size, n_heads)
        self.class_loss = TokenClassLoss(loss, label_smoothing, focal_alpha, focal_gamma)
        self.n_codes, self.n_chans, self.n_frames = n_codes, n_chans, n_times
        self.register_buffer("places", _places(ch_names, n_chans), persistent=False)
        # a patch for each token; what embeds patches is left behind
        whole = _labram.Labram(
            n_times=emb_size * n_times, n_outputs=n_outputs, n_chans=n_chans, patch_size=emb_size, num_layers=depth,
            num_heads=n_heads, drop_prob=drop_prob, attn_drop_prob=attention_drop_prob,
        )  # fmt: skip
        if whole.embed_dim != emb_size:
            raise UsageError(f"emb_size must be one that LaBraM takes, a multiple of 8, got {emb_size!r}")
        self.token_embedding = nn.Embedding(n_codes, emb_size)
        nn.init.trunc_normal_(self.token_embedding.weight, std=0.02)  # as LaBraM starts all of its embeddings
        self.cls_token, self.position_embedding = whole.cls_token, whole.position_embedding
        # braindecode keeps a row more than there are patches, and never uses it
        self.temporal_embedding = nn.Parameter(whole.temporal_embedding.detach()[:, :n_times].clone())
        self.pos_drop, self.blocks, self.norm = whole.pos_drop, whole.blocks, whole.norm
        self.final_layer = whole.final_layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of windows.

        Parameters
        ----------
        x : tensor of shape (n, n_channels, n_frames)
            Tokens, int64 or whole numbers as floats.

        Returns
        -------
        tensor of shape (n, n_outputs)
            The logits.

        Raises
        ------
        InputError
            If these are no tokens, lie outside the vocabulary, or are not as many as it was made for.
        ChannelError
            If there are other channels than it was made for.
        """
        tokens = _tokens(x, self.n_codes, self.n_chans, type(self).__name__)
        if tokens.shape[1:] != (self.n_chans, self.n_frames):
            raise InputError(f"expected {self.n_frames} tokens of {self.n_chans} channels, got {tuple(tokens.shape)}")
        place = self.position_embedding[0, self.places]
        embedded = self.token_embedding(tokens) + place[1:, None] + self.temporal_embedding[:, None]
        first = (self.cls_token[0] + place[:1]).expand(len(tokens), 1, -1)
        sequence = self.pos_drop(torch.cat([first, embedded.flatten(1, 2)], dim=1))
        for block in self.blocks:
            sequence = block(sequence)
        return self.final_layer(self.norm(sequence)[:, 0])


def known_to_labram(ch_names: Sequence[str]) -> list[str] | None:
    """Names of channels where LaBraM knows all of them; None, and a word in the log, where it does not."""
    known = {name.upper() for name in _labram.LABRAM_CHANNEL_ORDER}
    if unknown := [name for name in ch_names if name.upper() not in known]:
        logger.info("LaBraM knows no channel %s: its embeddings of channels are taken by place", listed(unknown))
        return None
    return list(ch_names)


def _check_sizes(n_codes: int, emb_size: int, n_heads: int) -> None:
    if min(n_codes, emb_size, n_heads) < 1 or emb_size % n_heads:
        raise UsageError(
            f"n_codes, emb_size and n_heads must be above 0 and n_heads divide emb_size, got {n_codes!r}, {emb_size!r} "
            f"and {n_heads!r}"
        )


def _tokens(x: torch.Tensor, n_codes: int, n_chans: int, who: str) -> torch.Tensor:
    """Checked tokens, int64."""
    if x.ndim != 3 or not x.numel():
        raise InputError(f"expected tokens of shape (n, n_channels, n_frames), got {tuple(x.shape)}")
    if x.shape[1] > n_chans:
        raise ChannelError(f"{who} was made for {n_chans} channels, got {x.shape[1]}")
    tokens = whole_numbers(x, who) if x.is_floating_point() else x.long()
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= n_codes:
        raise InputError(f"expected tokens between 0 and {n_codes - 1}, got {low if low < 0 else high}")
    return tokens


def _places(ch_names: Sequence[str] | None, n_chans: int) -> torch.Tensor:
    """Rows of LaBraM's embedding of channels, that of the class token first."""
    known: Mapping[str, int] = {name.upper(): i for i, name in enumerate(_labram.LABRAM_CHANNEL_ORDER)}
    if ch_names is None:
        if n_chans > len(known):
            raise ChannelError(f"LaBraM knows {len(known)} channels, got {n_chans}: choose channels")
        return torch.arange(n_chans + 1)
    if len(ch_names) != n_chans:
        raise ChannelError(f"expected a name for each of {n_chans} channels, got {len(ch_names)}")
    if unknown := [name for name in ch_names if name.upper() not in known]:
        raise ChannelError(f"LaBraM knows no channel {listed(unknown)}; choose channels, or leave ch_names out")
    return torch.tensor([0, *(1 + known[name.upper()] for name in ch_names)])
