"""What a trained BrainMAE shows of the brain it has learned from: small records, and how they are computed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Agreement", "GraphAttention", "Reconstruction", "RegionSimilarity", "RepresentationPCA", "StateAttention",
    "agreement", "networks_of", "region_similarity",
]  # fmt: skip

# Schaefer et al. 2018 name parcels "7Networks_LH_Vis_1", "17Networks_RH_DefaultA_PFCd_1"
_SCHAEFER = re.compile(r"^(?:\d+Networks_)?(?:LH|RH)_([A-Za-z]+)")


def networks_of(names: Sequence[str]) -> list[str | None]:
    """Networks that the names of Schaefer's parcels tell; None for other names."""
    return [found[1] if (found := _SCHAEFER.match(name)) else None for name in names]


@dataclass(frozen=True)
class RegionSimilarity:
    """How alike the embeddings of regions are, and whether they are more so within networks than between them.

    Parameters
    ----------
    matrix : array of shape (n_regions, n_regions)
        Cosine similarities.
    names : list of str
        The regions.
    networks : list of (str or None)
        Their networks; None for regions that are left out of what follows.
    within, between : float
        Mean similarity of two regions of one network, and of two.
    p : float
        Share of permutations of the networks over the regions, the true order among them, whose difference of the two
        is as large.
    silhouette : float
        Of the regions by network, with one minus the similarity as distance: from -1 to 1.
    n_permutations : int
        How many were drawn.
    null : array of shape (n_permutations,)
        Their differences.
    """

    matrix: np.ndarray
    names: list[str]
    networks: list[str | None]
    within: float
    between: float
    p: float
    silhouette: float
    n_permutations: int
    null: np.ndarray = field(repr=False)

    @property
    def difference(self) -> float:
        """Mean similarity within networks, less that between them."""
        return self.within - self.between

    def layout(self, random_state: Any = 0) -> np.ndarray:
        """Places of the regions in a plane where similar ones lie close together (t-SNE): (n_regions, 2)."""
        from sklearn.manifold import TSNE

        few = min(30.0, max(1.0, (len(self.names) - 1) / 3))
        tsne = TSNE(metric="precomputed", init="random", perplexity=few, random_state=random_state)
        return np.asarray(tsne.fit_transform(_distances(self.matrix)))

    def table(self) -> pd.DataFrame:
        """Mean similarity of each network's regions to each other's, a row and a column a network."""
        import pandas as pd

        labels = np.array([name is not None for name in self.networks])
        names, codes = np.unique([name for name in self.networks if name is not None], return_inverse=True)
        there = self.matrix[np.ix_(labels, labels)]
        member = np.eye(len(names))[codes]
        pairs = member.sum(axis=0)[:, np.newaxis] * member.sum(axis=0) - np.diag(member.sum(axis=0))
        sums = member.T @ (there - np.diag(np.diag(there))) @ member
        means = np.divide(sums, pairs, out=np.full_like(sums, np.nan), where=pairs > 0)
        return pd.DataFrame(means, index=names, columns=names)


@dataclass(frozen=True)
class Agreement:
    """How far the embeddings of two models say the same of the regions.

    Parameters
    ----------
    r : float
        Correlation of their similarities of pairs of regions.
    p : float
        Share of permutations of one model's regions, the true order among them, whose correlation is as high.
    names : list of str
        Regions that both know.
    n_permutations : int
        How many were drawn.
    """

    r: float
    p: float
    names: list[str]
    n_permutations: int


@dataclass(frozen=True)
class GraphAttention:
    """Static attention between regions, which is the same for every run.

    Parameters
    ----------
    weights : array of shape (n_blocks, n_heads, 1 + n_regions, 1 + n_regions)
        Rows receive and sum to 1; the class token comes first.
    names : list of str
        The regions.
    """

    weights: np.ndarray
    names: list[str]

    @property
    def regions(self) -> np.ndarray:
        """Weights between regions, (n_blocks, n_heads, n_regions, n_regions)."""
        return self.weights[:, :, 1:, 1:]

    def mean(self) -> np.ndarray:
        """Mean over blocks and heads of the weights between regions, (n_regions, n_regions)."""
        return np.asarray(self.regions.mean(axis=(0, 1)))


@dataclass(frozen=True)
class StateAttention:
    """How much the states of runs are attended to.

    Parameters
    ----------
    received : array of shape (n_runs, n_segments)
        Mean attention over blocks, heads and attending states, in shares of its window; NaN where a run has no segment.
    onset : array of shape (n_segments,)
        Seconds from the beginning of a run to that of the segment.
    """

    received: np.ndarray
    onset: np.ndarray

    def by_block(self, blocks: Sequence[Any]) -> pd.DataFrame:
        """Mean attention that the blocks of a task receive.

        Parameters
        ----------
        blocks : sequence of length n_segments
            The block of each segment; None leaves it out.

        Returns
        -------
        pandas.DataFrame
            A row a run, a column a block, in the order in which they come.
        """
        import pandas as pd

        blocks = list(blocks)
        if len(blocks) != self.received.shape[1]:
            raise InputError(f"expected a block for each of {self.received.shape[1]} segments, got {len(blocks)}")
        names = list(dict.fromkeys(block for block in blocks if block is not None))
        rows = {}
        for name in names:
            part = self.received[:, [block == name for block in blocks]]
            counted = (~np.isnan(part)).sum(axis=1)
            sums = np.nansum(part, axis=1)
            rows[name] = np.divide(sums, counted, out=np.full(len(part), np.nan), where=counted > 0)
        return pd.DataFrame(rows)


@dataclass(frozen=True)
class RepresentationPCA:
    """Principal components of the embeddings of runs.

    Parameters
    ----------
    scores : array of shape (n_runs, n_components)
        Of each run.
    components : array of shape (n_components, emb_size)
        Directions.
    explained : array of shape (n_components,)
        Share of the variance.
    """

    scores: np.ndarray
    components: np.ndarray
    explained: np.ndarray


@dataclass(frozen=True)
class Reconstruction:
    """How well regions are filled in, 1 minus the share of their variance that is not.

    Parameters
    ----------
    masked, unmasked : array of shape (n_regions,)
        R² of each region where it was hidden and where it was visible; NaN where it never was.
    masked_total, unmasked_total : float
        Over all regions together.
    mask_ratio : float
        Share of the regions that was hidden in a segment.
    names : list of str
        The regions.
    positions : array of shape (n_regions, 3), or None
        Where they lie, in metres.
    """

    masked: np.ndarray
    unmasked: np.ndarray
    masked_total: float
    unmasked_total: float
    mask_ratio: float
    names: list[str]
    positions: np.ndarray | None = None

    def table(self) -> pd.DataFrame:
        """Both, a row a region."""
        import pandas as pd

        return pd.DataFrame({"region": self.names, "masked": self.masked, "unmasked": self.unmasked})


def region_similarity(
    matrix: np.ndarray, names: Sequence[str], networks: Sequence[str | None], n_permutations: int, random_state: Any
) -> RegionSimilarity:
    """Compare similarities within networks to those between them.

    Parameters
    ----------
    matrix : array of shape (n_regions, n_regions)
        Cosine similarities.
    names : sequence of str
        Regions.
    networks : sequence of (str or None)
        Their networks; regions without one are left out.
    n_permutations : int
        Permutations of networks over regions.
    random_state : int, RandomState or None
        Draws them.

    Returns
    -------
    RegionSimilarity

    Raises
    ------
    UsageError
        If there are fewer than two networks, or none of two regions.
    """
    from sklearn.metrics import silhouette_score
    from sklearn.utils import check_random_state

    networks = list(networks)
    if len(networks) != len(names):
        raise InputError(f"expected a network for each of {len(names)} regions, got {len(networks)}")
    there = np.array([name is not None for name in networks])
    kinds, codes = np.unique([name for name in networks if name is not None], return_inverse=True)
    if len(kinds) < 2 or len(kinds) == len(codes):
        raise UsageError(
            f"{len(kinds)} networks are known of {len(names)} regions ({listed(list(names)[:4])}, ...): pass "
            "networks=, one a region, of which some have several regions; Schaefer's names tell them"
        )
    part = np.asarray(matrix, dtype=float)[np.ix_(there, there)]
    rng = check_random_state(random_state)
    true = _within_and_between(part, codes, len(kinds))
    null = np.array(
        [np.subtract(*_within_and_between(part, rng.permutation(codes), len(kinds))) for _ in range(n_permutations)]
    )
    difference = true[0] - true[1]
    return RegionSimilarity(
        np.asarray(matrix), list(names), networks, *true, p=_share(null, difference),
        silhouette=float(silhouette_score(_distances(part), codes, metric="precomputed")),
        n_permutations=int(n_permutations), null=null,
    )  # fmt: skip


def agreement(
    one: np.ndarray, other: np.ndarray, names: Sequence[str], n_permutations: int, random_state: Any
) -> Agreement:
    """Correlate two matrices of similarities of the same regions.

    Parameters
    ----------
    one, other : array of shape (n_regions, n_regions)
        Similarities.
    names : sequence of str
        The regions.
    n_permutations : int
        Permutations of the regions of `other`.
    random_state : int, RandomState or None
        Draws them.

    Returns
    -------
    Agreement
    """
    from sklearn.utils import check_random_state

    upper = np.triu_indices(len(names), k=1)
    rng = check_random_state(random_state)
    r = float(np.corrcoef(one[upper], other[upper])[0, 1])
    null = []
    for _ in range(n_permutations):
        order = rng.permutation(len(names))
        null.append(np.corrcoef(one[upper], other[np.ix_(order, order)][upper])[0, 1])
    return Agreement(r, _share(np.array(null), r), list(names), int(n_permutations))


def _within_and_between(matrix: np.ndarray, codes: np.ndarray, n_kinds: int) -> tuple[float, float]:
    """Mean over pairs of regions of one network, and of two."""
    member = np.eye(n_kinds)[codes]
    within = (np.einsum("ik,ij,jk->", member, matrix, member, optimize=True) - np.trace(matrix)) / 2
    sizes = member.sum(axis=0)
    n_within = (sizes * (sizes - 1)).sum() / 2
    n_pairs = len(codes) * (len(codes) - 1) / 2
    total = (matrix.sum() - np.trace(matrix)) / 2
    return float(within / n_within), float((total - within) / (n_pairs - n_within))


def _share(null: np.ndarray, value: float) -> float:
    return float((1 + np.sum(null >= value - 1e-12)) / (1 + len(null)))


def _distances(matrix: np.ndarray) -> np.ndarray:
    found = np.clip(1 - np.asarray(matrix, dtype=float), 0, None)
    np.fill_diagonal(found, 0)
    return (found + found.T) / 2
