"""Sets of nodes of which some are absent, as one sequence of tokens that holds none of the absent ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["NodeSets"]


@dataclass(frozen=True)
class NodeSets:
    """Which nodes of a batch of sets are there, and the order in which their tokens stand in one sequence.

    Parameters
    ----------
    keep : bool tensor of shape (n_sets, n_nodes)
        Which nodes of each set are there.
    nodes : int64 tensor of shape (n_tokens,)
        Node of each token.
    source : int64 tensor of shape (n_tokens,), or None
        Place of each token in the flattened grid of sets and nodes; None where every node is there, so that tokens
        stand as in the grid.
    groups : tuple of (int, int)
        Tokens are sorted by the size of their set: number of sets, and nodes of each, of one size after another.

    Notes
    -----
    Layers that work token by token cost as much as there are tokens; attention runs once for each size, on sets that
    are all full. Nothing is padded, hence nothing has to be masked, and an absent value cannot be read.
    """

    keep: torch.Tensor
    nodes: torch.Tensor
    source: torch.Tensor | None
    groups: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, keep: torch.Tensor) -> NodeSets:
        """The sets of a bool tensor (n_sets, n_nodes)."""
        n_sets, n_nodes = keep.shape
        if bool(keep.all()):
            nodes = torch.arange(n_nodes, device=keep.device).repeat(n_sets)
            return cls(keep, nodes, None, ((n_sets, n_nodes),))
        sizes, order = keep.sum(dim=1).sort(stable=True)
        place, nodes = keep[order].nonzero(as_tuple=True)
        found, number = sizes.unique_consecutive(return_counts=True)
        groups = tuple((n, size) for size, n in zip(found.tolist(), number.tolist(), strict=True) if size)
        return cls(keep, nodes, order[place] * n_nodes + nodes, groups)

    def take(self, grid: torch.Tensor) -> torch.Tensor:
        """Tokens of a grid: (n_sets, n_nodes, ...) -> (n_tokens, ...)."""
        flat = grid.flatten(0, 1)
        return flat if self.source is None else flat.index_select(0, self.source)

    def grid(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens in their places, zeros elsewhere: (n_tokens, ...) -> (n_sets, n_nodes, ...)."""
        if self.source is not None:
            empty = tokens.new_zeros((self.keep.numel(), *tokens.shape[1:]))
            tokens = empty.index_copy(0, self.source, tokens)
        return tokens.unflatten(0, tuple(self.keep.shape))

    def first(self) -> torch.Tensor:
        """Place among the tokens of the first of each set, in the order of the sets; each holds a node: (n_sets,)."""
        sizes, order = self.keep.sum(dim=1).sort(stable=True)
        return torch.empty_like(order).scatter(0, order, sizes.cumsum(0) - sizes)

    def by_size(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """Views of tokens, (n_sets, size, ...) for each size."""
        parts = tokens.split([n * size for n, size in self.groups])
        return [part.unflatten(0, group) for part, group in zip(parts, self.groups, strict=True)]
