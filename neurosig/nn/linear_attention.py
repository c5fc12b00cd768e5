"""Transformer blocks whose attention costs as much as the sequence is long."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from neurosig.core.errors import UsageError

__all__ = ["LinearAttentionBlock"]

_DENSE = 128  # widths up to which one product over all heads, masked, is quicker than one for each head


class LinearAttentionBlock(nn.Module):
    """Linear attention, then two linear layers with a GELU between; both on normalised input and added to it.

    Parameters
    ----------
    emb_size : int
        Entries of a vector.
    n_heads : int
        Heads of the attention; divides `emb_size`.
    expansion : int
        Width of the hidden layer, in `emb_size`.
    drop_prob : float
        Dropout of what the attention adds. There is none elsewhere.

    Notes
    -----
    Queries are normalised by a softmax over each head's entries, keys by one over the sequence; the context of a head
    is the product of keys and values, and is read by the queries (Shen et al. [1]_). There is no position in it.
    Layer for layer the block of the package linear-attention-transformer, as TFM-Tokenizer uses it.

    References
    ----------
    .. [1] Shen et al., "Efficient attention: attention with linear complexities", WACV 2021,
       https://arxiv.org/abs/1812.01243
    """

    same_head: torch.Tensor

    def __init__(self, emb_size: int, n_heads: int = 8, *, expansion: int = 4, drop_prob: float = 0.2):
        super().__init__()
        if n_heads < 1 or emb_size % n_heads:
            raise UsageError(f"n_heads must divide emb_size={emb_size}, got {n_heads!r}")
        self.n_heads = n_heads
        self.norm_attention = nn.LayerNorm(emb_size)
        self.qkv = nn.Linear(emb_size, 3 * emb_size, bias=False)
        self.out = nn.Linear(emb_size, emb_size)
        self.drop = nn.Dropout(drop_prob)
        self.norm_mlp = nn.LayerNorm(emb_size)
        self.widen = nn.Linear(emb_size, expansion * emb_size)
        self.narrow = nn.Linear(expansion * emb_size, emb_size)
        size = emb_size // n_heads
        self.register_buffer("same_head", torch.block_diag(*[torch.ones(size, size)] * n_heads), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, sequence, emb_size) -> (batch, sequence, emb_size)."""
        x = x.to(self.norm_attention.weight.dtype)  # what goes from block to block is not rounded where products are
        x = _sum(self.drop(self.out(self._attend(self.norm_attention(x)))), x)
        return _sum(self.narrow(functional.gelu(self.widen(self.norm_mlp(x)))), x)

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        n, length, emb_size = x.shape
        size = emb_size // self.n_heads
        # three products: of one, the parts would have to be copied apart for the products that follow
        to_q, to_k, to_v = self.qkv.weight.chunk(3)
        # queries with their entries before the positions: torch's softmax is slow over a short last axis
        q = torch.matmul(to_q, x.flatten(0, 1).T).view(self.n_heads, size, -1).softmax(dim=1)
        k = functional.linear(x, to_k).softmax(dim=1)
        v = functional.linear(x, to_v)
        if emb_size <= _DENSE:
            context = torch.bmm(k.mT, v).mul_(self.same_head * size**-0.5)
            return torch.bmm(q.view(emb_size, n, length).permute(1, 2, 0), context)
        k, v = (part.unflatten(-1, (self.n_heads, size)).transpose(1, 2) for part in (k, v))
        context = torch.matmul(k.mT, v) * size**-0.5
        return torch.matmul(q.unflatten(2, (n, length)).permute(2, 0, 3, 1), context).transpose(1, 2).flatten(2)


def _sum(added: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Both together, in the type of `x`."""
    # in place: fresh memory costs more than adding does
    return added.add_(x) if added.dtype == x.dtype else x + added
