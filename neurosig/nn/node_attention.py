"""Attention among the nodes of a graph, by embeddings of the nodes, by their features, or by both."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from neurosig.core.errors import UsageError
from neurosig.nn.node_sets import NodeSets

__all__ = ["KINDS", "NodeAttention", "NodeBlock", "restricted_softmax"]

KINDS = ("static", "adaptive", "plain")
_CACHED = 1 << 19  # values of a hidden layer that stay in a processor's cache
_RANGE = {torch.float32: 60.0, torch.float64: 600.0}  # differences of logits whose exponentials are numbers still


class NodeAttention(nn.Module):
    """Multi-head attention among nodes, without or with an edge from a node to itself.

    Parameters
    ----------
    emb_size : int
        Entries of a feature vector, and of a node's embedding.
    n_heads : int
        Heads; divides `emb_size`.
    kind : {"static", "adaptive", "plain"}
        What queries and keys are made of: the embeddings of the nodes, so that the weights do not depend on the data;
        features plus embeddings; features alone.
    self_loops : bool
        Whether a node attends to itself.

    Notes
    -----
    Nodes that are absent take no part. The output of a node that has nobody to attend to is zero.
    """

    def __init__(self, emb_size: int, n_heads: int, kind: str = "static", *, self_loops: bool = False):
        super().__init__()
        if n_heads < 1 or emb_size % n_heads:
            raise UsageError(f"n_heads must divide emb_size={emb_size}, got {n_heads!r}")
        if kind not in KINDS:
            raise UsageError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        self.n_heads, self.kind, self.self_loops = n_heads, kind, self_loops
        self.to_q = nn.Linear(emb_size, emb_size)
        self.to_k = nn.Linear(emb_size, emb_size)
        self.to_v = nn.Linear(emb_size, emb_size)
        self.out = nn.Linear(emb_size, emb_size)

    def forward(self, x: torch.Tensor, sets: NodeSets, embeddings: torch.Tensor | None = None) -> torch.Tensor:
        """Attend within each set.

        Parameters
        ----------
        x : tensor of shape (n_tokens, emb_size)
            Features of the nodes that are there, in the order of `sets`.
        sets : NodeSets
            Which these are.
        embeddings : tensor of shape (n_nodes, emb_size), optional
            Of all nodes; not read by kind "plain".

        Returns
        -------
        tensor of shape (n_tokens, emb_size)
        """
        mixed = self._by_features(x, sets, embeddings) if self.kind != "static" else self._static(x, sets, embeddings)
        out = self.out(mixed)
        n_alone, size = sets.groups[0]
        if size > 1 or self.self_loops:
            return out
        return torch.cat([torch.zeros_like(out[:n_alone]), out[n_alone:]])

    def static_logits(self, embeddings: torch.Tensor | None) -> torch.Tensor:
        """Logits of the static kind, (n_heads, n_nodes, n_nodes), -inf where no edge is; never of half precision."""
        if embeddings is None:
            raise UsageError("static attention needs the embeddings of the nodes")
        with torch.autocast(embeddings.device.type, enabled=False):
            q, k = (
                layer(embeddings).unflatten(-1, (self.n_heads, -1)).transpose(0, 1) for layer in (self.to_q, self.to_k)
            )
            logits = q @ k.mT * q.shape[-1] ** -0.5
        return logits if self.self_loops else logits.masked_fill(_own(logits), -torch.inf)

    def weights(self, x: torch.Tensor, sets: NodeSets, embeddings: torch.Tensor | None = None) -> torch.Tensor:
        """What each node attends to, zero for absent ones: (n_sets, n_heads, n_nodes, n_nodes), rows are the receivers.

        Parameters
        ----------
        x, sets, embeddings
            As for `forward`.

        Returns
        -------
        tensor of shape (n_sets, n_heads, n_nodes, n_nodes)
        """
        if self.kind == "static":
            logits = self.static_logits(embeddings)[None]
        else:
            q, k, _ = (sets.grid(part).unflatten(-1, (self.n_heads, -1)) for part in self._qkv(x, sets, embeddings))
            logits = q.transpose(1, 2) @ k.permute(0, 2, 3, 1)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) * q.shape[-1] ** -0.5
            if not self.self_loops:
                logits = logits.masked_fill(_own(logits), -torch.inf)
        return restricted_softmax(logits, sets.keep[:, None]) * sets.keep[:, None, :, None]

    # -- the two ways -------------------------------------------------------------------------------------------------

    def _static(self, x: torch.Tensor, sets: NodeSets, embeddings: torch.Tensor | None) -> torch.Tensor:
        """One matrix a head serves every set: values of absent nodes are zero, rows are divided by what is left."""
        logits = self.static_logits(embeddings)
        n_nodes = sets.keep.shape[1]
        if n_nodes == 1 and not self.self_loops:
            return torch.zeros_like(x)
        v = sets.grid(functional.linear(x, self.to_v.weight)).unflatten(-1, (self.n_heads, -1))
        if sets.source is None:
            mixed = _mix(logits.softmax(dim=-1), v)
            return sets.take(mixed.flatten(2)) + self.to_v.bias
        known = logits if self.self_loops else logits[:, ~_own(logits)].view(self.n_heads, n_nodes, -1)
        top = known.amax(dim=-1, keepdim=True).detach()
        if bool(top.sub(known.amin(dim=-1, keepdim=True)).amax() > _RANGE[logits.dtype]):
            mixed = restricted_softmax(logits[None], sets.keep[:, None]) @ v.transpose(1, 2)
            mixed = mixed.transpose(1, 2)
        else:
            weights = (logits - top).exp()
            mixed = _mix(weights, v)
            with torch.autocast(x.device.type, enabled=False):
                total = (weights @ sets.keep.T.to(weights.dtype)).permute(2, 1, 0)  # sets, nodes, heads
            mixed = mixed / total.masked_fill(total == 0, 1)[..., None]
        return sets.take(mixed.flatten(2)) + self.to_v.bias

    def _qkv(
        self, x: torch.Tensor, sets: NodeSets, embeddings: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        informed = x
        if self.kind == "adaptive":
            informed = x + functional.embedding(sets.nodes, embeddings)  # type: ignore[arg-type]
        return self.to_q(informed), self.to_k(informed), self.to_v(x)

    def _by_features(self, x: torch.Tensor, sets: NodeSets, embeddings: torch.Tensor | None) -> torch.Tensor:
        q, k, v = (part.unflatten(-1, (self.n_heads, -1)) for part in self._qkv(x, sets, embeddings))
        if x.device.type == "cpu":  # where half precision makes the products of this kernel slower, not faster
            q, k, v = (part.to(torch.promote_types(part.dtype, torch.float32)) for part in (q, k, v))
        found = []
        for one_q, one_k, one_v in zip(sets.by_size(q), sets.by_size(k), sets.by_size(v), strict=True):
            size = one_q.shape[1]
            if size == 1 and not self.self_loops:
                found.append(torch.zeros_like(one_v).flatten(0, 1))
                continue
            edges = None if self.self_loops else ~torch.eye(size, dtype=torch.bool, device=x.device)
            with torch.autocast(x.device.type, enabled=False):
                mixed = functional.scaled_dot_product_attention(
                    one_q.transpose(1, 2), one_k.transpose(1, 2), one_v.transpose(1, 2), attn_mask=edges
                )
            found.append(mixed.transpose(1, 2).flatten(0, 1))
        return torch.cat(found).flatten(1) if len(found) > 1 else found[0].flatten(1)


class NodeBlock(nn.Module):
    """Node attention, then two linear layers with a GELU between; both on normalised input and added to it.

    Parameters
    ----------
    emb_size, n_heads, kind, self_loops
        As in `NodeAttention`.
    mlp_ratio : float
        Width of the hidden layer, in `emb_size`.
    drop_prob : float
        Dropout of what either part adds.
    """

    def __init__(
        self,
        emb_size: int,
        n_heads: int,
        kind: str = "plain",
        *,
        self_loops: bool = True,
        mlp_ratio: float = 4.0,
        drop_prob: float = 0.1,
    ):
        super().__init__()
        hidden = round(mlp_ratio * emb_size)
        if hidden < 1:
            raise UsageError(f"mlp_ratio must leave a hidden layer, got {mlp_ratio!r}")
        self.norm_attention = nn.LayerNorm(emb_size)
        self.attention = NodeAttention(emb_size, n_heads, kind, self_loops=self_loops)
        self.norm_mlp = nn.LayerNorm(emb_size)
        self.widen = nn.Linear(emb_size, hidden)
        self.narrow = nn.Linear(hidden, emb_size)
        self.drop = nn.Dropout(drop_prob)

    def forward(self, x: torch.Tensor, sets: NodeSets, embeddings: torch.Tensor | None = None) -> torch.Tensor:
        """Tokens of `sets`, (n_tokens, emb_size) -> (n_tokens, emb_size)."""
        x = x + self.drop(self.attention(self.norm_attention(x), sets, embeddings))
        rows = max(1, _CACHED // self.widen.out_features)
        if torch.is_grad_enabled() or x.device.type != "cpu" or len(x) <= rows:
            return x + self.drop(self._hidden(x))
        # the hidden layer is by far the largest of all values: written to memory, it makes long runs slower than short
        return x + self.drop(torch.cat([self._hidden(part) for part in x.split(rows)]))

    def _hidden(self, x: torch.Tensor) -> torch.Tensor:
        return self.narrow(functional.gelu(self.widen(self.norm_mlp(x))))

    def attend_to(self, x: torch.Tensor, sets: NodeSets, embeddings: torch.Tensor | None = None) -> torch.Tensor:
        """What the attention of this block weighs: `NodeAttention.weights` of its normalised input."""
        return self.attention.weights(self.norm_attention(x), sets, embeddings)


def restricted_softmax(logits: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Softmax over the last axis among entries that are kept; zeros where none is left.

    Parameters
    ----------
    logits : tensor of shape (..., n)
        -inf where there is no edge. Half precision is computed, and given back, in float32.
    keep : bool tensor of shape (..., n)
        Broadcast against `logits` without its axis before the last.

    Returns
    -------
    tensor of shape (..., n)
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logits = logits.masked_fill(~keep.unsqueeze(-2), -torch.inf)
    empty = logits.isneginf().all(dim=-1, keepdim=True)
    return logits.masked_fill(empty, 0).softmax(dim=-1).masked_fill(empty, 0)


def _own(logits: torch.Tensor) -> torch.Tensor:
    return torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)


def _mix(weights: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Values (n_sets, nodes, n_heads, size) by weights (n_heads, nodes, nodes), one product a head."""
    n_sets, n_nodes, n_heads, size = v.shape
    columns = v.permute(2, 1, 0, 3).reshape(n_heads, n_nodes, n_sets * size)
    return (weights @ columns).unflatten(-1, (n_sets, size)).permute(2, 1, 0, 3)
