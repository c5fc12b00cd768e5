"""Matrices that are too many to be kept: made, a few at a time, whenever they are looked at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["MadeMatrices", "blocks_of", "pack", "packed_matrices", "unpack"]

_BLOCK_BYTES = 1 << 20  # what matrices may take that are worked on at a time


class MadeMatrices:
    """Stands for an array of shape (n_matrices, n, n) that is never whole in memory.

    Parameters
    ----------
    make : callable
        ``make(block)`` gives the matrices of a slice, float64, always the same.
    n_matrices, n : int
        How many there are, and their size.
    """

    dtype = np.dtype(np.float64)

    def __init__(self, make: Callable[[slice], np.ndarray], n_matrices: int, n: int):
        self._make = make
        self.shape = (n_matrices, n, n)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, block: slice) -> np.ndarray:
        return self._make(block)


def packed_matrices(matrices: MadeMatrices) -> MadeMatrices:
    """The same, for matrices that take long to make: kept, in half of their memory."""
    n_matrices, n, _ = matrices.shape
    kept = np.empty((n_matrices, n * (n + 1) // 2))
    for block in blocks_of(matrices):
        kept[block] = pack(matrices[block])
    return MadeMatrices(lambda block: unpack(kept[block], n), n_matrices, n)


def blocks_of(matrices: np.ndarray | MadeMatrices) -> list[slice]:
    """Slices of some matrices each, that fit in a cache."""
    n_matrices, n, _ = matrices.shape
    length = max(1, _BLOCK_BYTES // (n * n * matrices.dtype.itemsize))
    return [slice(start, min(start + length, n_matrices)) for start in range(0, n_matrices, length)]


def pack(matrices: np.ndarray) -> np.ndarray:
    """Upper triangles of matrices, row by row: (n_matrices, n * (n + 1) / 2)."""
    n = matrices.shape[-1]
    rows, columns = np.triu_indices(n)
    return np.take(matrices.reshape(-1, n * n), rows * n + columns, axis=1)


def unpack(triangles: np.ndarray, n: int) -> np.ndarray:
    """Symmetric matrices (n_matrices, n, n) from their upper triangles."""
    rows, columns = np.triu_indices(n)
    matrices = np.empty((len(triangles), n, n), triangles.dtype)
    matrices[:, rows, columns] = triangles
    matrices[:, columns, rows] = triangles
    return matrices
