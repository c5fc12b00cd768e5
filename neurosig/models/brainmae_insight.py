"""Methods by which estimators of BrainMAE show what they have learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from neurosig.core.errors import UsageError
from neurosig.core.signals import SignalSpec
from neurosig.models.brainmae_findings import (
    Agreement,
    GraphAttention,
    Reconstruction,
    RegionSimilarity,
    RepresentationPCA,
    StateAttention,
    agreement,
    networks_of,
    region_similarity,
)
from neurosig.models.brainmae_masking import draw_masks

__all__ = ["Insight", "Reconstructs"]


class Insight:
    """Mixin of fitted estimators with a `BrainMAE` as ``module_``."""

    module_: Any
    spec_: SignalSpec | None
    t_r_: float
    region_names_: list[str] | None
    _config: dict[str, Any]
    _device: torch.device
    _each_batch_of_runs: Callable[..., Iterator[tuple[np.ndarray, Any]]]
    transform: Callable[..., np.ndarray]

    def _names(self) -> list[str]:
        """Names of the regions, or their numbers."""
        known = self.region_names_
        return [f"region {i}" for i in range(self._config["n_chans"])] if known is None else list(known)

    def _similarity(self) -> np.ndarray:
        check_is_fitted(self)
        with torch.no_grad():
            return np.asarray(self.module_.region_similarity().cpu().double().numpy())

    def region_similarity(
        self, networks: Sequence[str | None] | None = None, *, n_permutations: int = 1000, random_state: Any = 0
    ) -> RegionSimilarity:
        """Compare how alike the embeddings of regions are within networks and between them.

        Parameters
        ----------
        networks : sequence of (str or None), optional
            Network of each region, in the order of `region_names_`; None for regions that are left out. By default
            what the names of Schaefer's parcels tell.
        n_permutations : int
            Permutations of networks over regions.
        random_state : int, RandomState or None
            Draws them.

        Returns
        -------
        RegionSimilarity
            Similarities, means within and between, p, silhouette.

        Raises
        ------
        UsageError
            If fewer than two networks are known.
        """
        names = self._names()
        told = networks_of(names) if networks is None else list(networks)
        return region_similarity(self._similarity(), names, told, n_permutations, random_state)

    def agreement(self, other: Any, *, n_permutations: int = 1000, random_state: Any = 0) -> Agreement:
        """Compare the embeddings of regions with those of another fitted estimator of BrainMAE.

        Parameters
        ----------
        other : BrainMAEEmbedder, BrainMAEClassifier or BrainMAERegressor
            Fitted. Regions are matched by name where both know names; sizes may differ.
        n_permutations : int
            Permutations of the regions of `other`.
        random_state : int, RandomState or None
            Draws them.

        Returns
        -------
        Agreement
            Correlation of the similarities of pairs of regions, and its p.

        Raises
        ------
        UsageError
            If fewer than three regions are common.
        """
        if not isinstance(other, Insight):
            raise UsageError(f"agreement is between two fitted estimators of BrainMAE, got {type(other).__name__}")
        one, two = self._similarity(), other._similarity()
        names, theirs = self._names(), other._names()
        place = {name: i for i, name in enumerate(theirs)}
        common = [i for i, name in enumerate(names) if name in place]
        if len(common) < 3:
            raise UsageError(f"expected at least 3 regions that both know by name, got {len(common)}")
        there = [place[names[i]] for i in common]
        return agreement(
            one[np.ix_(common, common)], two[np.ix_(there, there)], [names[i] for i in common], n_permutations,
            random_state,
        )  # fmt: skip

    def graph_attention(self) -> GraphAttention:
        """Give the static attention between regions, which does not depend on data.

        Returns
        -------
        GraphAttention
            A matrix for each head of each block that attends so: all blocks of "sg", the first of "ag".

        Raises
        ------
        UsageError
            If there is no such block.
        """
        check_is_fitted(self)
        with torch.no_grad():
            weights = self.module_.graph_attention().cpu().numpy()
        return GraphAttention(weights, self._names())

    def state_attention(self, X: Any, t_r: Any = None) -> StateAttention:
        """Give how much each segment's state is attended to by the others.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of (n_regions, n_times), or SignalDataset
            Runs.
        t_r : float or array of shape (n_runs,), optional
            Repetition time of arrays, where it is not that of the fit.

        Returns
        -------
        StateAttention
            A row a run, a column a segment.
        """
        check_is_fitted(self)
        rows: list[np.ndarray] = []
        parts: list[np.ndarray] = []
        for index, weights in self._each_batch_of_runs(X, lambda batch: self.module_.state_attention(batch), t_r):
            attending = weights.sum(dim=-1).mean(dim=(1, 2)) > 0.5  # rows of zeros have no segment
            # states attend within their window: the mean is over those that could
            together = weights.mean(dim=(1, 2))
            able = (together > 0).sum(dim=1).clamp(min=1)
            received = torch.where(attending, together.sum(dim=1) / able, torch.nan)
            rows.append(index)
            parts.append(received.float().cpu().numpy())
        longest = max(part.shape[1] for part in parts)
        found = np.full((sum(map(len, rows)), longest), np.nan, dtype=np.float32)
        for index, part in zip(rows, parts, strict=True):
            found[index, : part.shape[1]] = part
        return StateAttention(found, np.arange(longest) * self.module_.samples * self.t_r_)

    def states(
        self, X: Any, t_r: Any = None, *, contextual: bool = False, step: float | None = None
    ) -> np.ndarray | list[np.ndarray]:
        """Give the states of the segments of each run, in time.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of (n_regions, n_times), or SignalDataset
            Runs.
        t_r : float or array of shape (n_runs,), optional
            Repetition time of arrays, where it is not that of the fit.
        contextual : bool
            Whether they have been through the temporal encoder, which puts them in the context of their window. It is
            told their places in it, too: the contextual states of any two runs resemble each other at the same time,
            whatever happened then, so that matching them by time (`neurosig.evaluation.segment_matching`) finds most
            segments of mere noise. The others know nothing but their segment.
        step : float, optional
            Seconds from the beginning of a segment to that of the next, to the nearest volume: of less than a segment,
            segments overlap, and there are more of them. None lets each begin where the one before it ends, which
            contextual states need.

        Returns
        -------
        float32 array of shape (n_runs, emb_size, n_segments), or list of arrays of shape (emb_size, n_segments)
            A list where runs differ in their segments. What is left of a run after its last whole segment has no state.

        Raises
        ------
        UsageError
            If `step` is not above 0, or given with `contextual`.
        """
        check_is_fitted(self)
        volumes = None if step is None else self._volumes_of(step, contextual)

        def of_batch(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            module = self.module_
            return module.states(batch, contextual=contextual, step=volumes), module.measured(batch, volumes)

        found: dict[int, np.ndarray] = {}
        for index, (values, measured) in self._each_batch_of_runs(X, of_batch, t_r):
            n_segments = measured.any(dim=-1).sum(dim=1).tolist()  # a run lacks none before it ends
            for row, one, n in zip(index.tolist(), values.float().cpu().numpy(), n_segments, strict=True):
                found[row] = np.ascontiguousarray(one[:n].T)
        rows = [found[row] for row in range(len(found))]
        return np.stack(rows) if len({one.shape[1] for one in rows}) == 1 else rows

    def _volumes_of(self, step: float, contextual: bool) -> int:
        """Volumes of a step between segments, at least one."""
        if isinstance(step, bool | str) or not 0 < step < math.inf:
            raise UsageError(f"step must be above 0 (seconds), or None, got {step!r}")
        if contextual:
            raise UsageError("contextual states are of segments that follow each other: leave step= out")
        return max(1, math.floor(step / self.t_r_ + 0.5))

    def representation_pca(self, X: Any, n_components: int = 2, t_r: Any = None) -> RepresentationPCA:
        """Give the principal components of the embeddings of runs.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of (n_regions, n_times), or SignalDataset
            Runs.
        n_components : int
            How many.
        t_r : float or array of shape (n_runs,), optional
            Repetition time of arrays, where it is not that of the fit.

        Returns
        -------
        RepresentationPCA
            Scores, directions, shares of the variance.
        """
        from sklearn.decomposition import PCA

        pca = PCA(n_components=n_components, svd_solver="full")
        scores = pca.fit_transform(self.transform(X, t_r=t_r).astype(np.float64))
        return RepresentationPCA(scores, pca.components_, pca.explained_variance_ratio_)


class Reconstructs(Insight):
    """The same for those whose decoder is trained: they tell how well regions are filled in."""

    def reconstruction(
        self, X: Any, *, mask_ratio: float = 0.5, random_state: int = 0, t_r: Any = None
    ) -> Reconstruction:
        """Hide regions in segments of runs, and give how well they are filled in.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of (n_regions, n_times), or SignalDataset
            Runs.
        mask_ratio : float
            Share of the regions that is hidden in each segment, drawn anew for each.
        random_state : int
            Draws them.
        t_r : float or array of shape (n_runs,), optional
            Repetition time of arrays, where it is not that of the fit.

        Returns
        -------
        Reconstruction
            R² of each region, hidden and visible.

        Raises
        ------
        UsageError
            If `mask_ratio` is no share from 0 to below 1.
        """
        check_is_fitted(self)
        if isinstance(mask_ratio, bool | str) or not 0 <= mask_ratio < 1:
            raise UsageError(f"mask_ratio must be a share from 0 to below 1, got {mask_ratio!r}")
        generator = torch.Generator().manual_seed(random_state)

        def sums(batch: torch.Tensor) -> torch.Tensor:
            present = self.module_.measured(batch)
            mask = draw_masks(present, (float(mask_ratio),), generator)
            done = self.module_.reconstruct(batch, mask)
            counted = torch.stack([done.mask, done.present & ~done.mask])[..., None]
            x = torch.where(done.present[..., None], done.x, 0.0).double()
            error = (done.x_hat.double() - x) ** 2
            over = (1, 2, 4)
            parts = [torch.ones_like(x), x, x**2, error]
            return torch.stack([(part * counted).sum(dim=over) for part in parts])  # sums, hidden or not, regions

        total = sum(part.cpu().numpy() for _, part in self._each_batch_of_runs(X, sums, t_r))
        number, first, second, error = np.asarray(total)
        spread = second - np.divide(first**2, number, out=np.zeros_like(first), where=number > 0)
        one = np.divide(error, spread, out=np.full_like(error, np.nan), where=spread > 0)
        hidden, visible = (
            float(1 - e / s) if s > 0 else float("nan")
            for e, s in zip(error.sum(axis=1), spread.sum(axis=1), strict=True)
        )
        positions = None if self.spec_ is None or self.spec_.positions is None else np.array(self.spec_.positions)
        return Reconstruction(1 - one[0], 1 - one[1], hidden, visible, float(mask_ratio), self._names(), positions)
