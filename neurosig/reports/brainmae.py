"""Figures of what BrainMAE has learned: regions, attention, states, representations, reconstructions."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.errors import InputError
from neurosig.reports.connectome import plot_connectome
from neurosig.reports.drawing import COLOURS, FONT, house_style, short
from neurosig.reports.page import format_p

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from neurosig.models.brainmae_findings import (
        GraphAttention,
        Reconstruction,
        RegionSimilarity,
        RepresentationPCA,
        StateAttention,
    )

__all__ = [
    "plot_graph_attention", "plot_reconstruction", "plot_region_layout", "plot_region_similarity",
    "plot_representation", "plot_state_attention",
]  # fmt: skip

_WIDTH = 5.0  # inches, as all drawings of the reports
_NAMED = 30  # regions whose names fit beside a matrix
_HUES = ("score", "against", "chance", "muted", "ink")
_MARKS = ("o", "s", "^", "D", "v")
_RUNS = 40  # rows of runs that can be told apart


def plot_region_similarity(found: RegionSimilarity) -> Figure:
    """Draw the similarities of the embeddings of regions, networks side by side.

    Parameters
    ----------
    found : RegionSimilarity
        What `region_similarity` of an estimator of BrainMAE gives.

    Returns
    -------
    Figure
        The matrix, with lines between networks; below, what was tested.
    """
    order = sorted(range(len(found.names)), key=lambda i: (found.networks[i] is None, str(found.networks[i])))
    networks = [found.networks[i] for i in order]
    edges = [0, *(i for i in range(1, len(order)) if networks[i] != networks[i - 1]), len(order)]
    with _style(grid=False):
        figure, ax = _axes(5.0)
        matrix = found.matrix[np.ix_(order, order)]
        image = _matrix(ax, matrix, float(np.abs(matrix - np.diag(np.diag(matrix))).max()))
        for edge in edges[1:-1]:
            for draw in (ax.axvline, ax.axhline):
                draw(edge - 0.5, color=COLOURS["ink"], lw=0.6)
        middles = [(a + b - 1) / 2 for a, b in itertools.pairwise(edges)]
        labels = [short(str(networks[a]), 12) if networks[a] is not None else "no network" for a in edges[:-1]]
        ax.set_yticks(middles, labels)
        ax.set_xticks(middles, labels, rotation=60, ha="right")
        ax.tick_params(length=0, labelsize=FONT - 2)
        _bar(figure, ax, image, "cosine similarity of embeddings")
        ax.set_title(
            f"within networks {found.within:.2f}, between {found.between:.2f}, p {format_p(found.p)}", loc="left",
            fontsize=FONT, parse_math=False,
        )  # fmt: skip
    return figure


def plot_region_layout(found: RegionSimilarity, *, random_state: Any = 0) -> Figure:
    """Draw regions in a plane where those of similar embeddings lie close together (t-SNE).

    Parameters
    ----------
    found : RegionSimilarity
        What `region_similarity` of an estimator of BrainMAE gives.
    random_state : int, RandomState or None
        Of t-SNE.

    Returns
    -------
    Figure
        A mark for each region, by network. Only what lies close together means something, not distances or axes.
    """
    places = found.layout(random_state)
    kinds = list(dict.fromkeys(found.networks))
    with _style(grid=False):
        figure, ax = _axes(3.6)
        for i, kind in enumerate(kinds):
            rows = [name == kind for name in found.networks]
            ax.plot(
                *places[rows].T, _MARKS[(i // len(_HUES)) % len(_MARKS)], ms=5, mew=0, alpha=0.85,
                color=COLOURS["grid" if kind is None else _HUES[i % len(_HUES)]],
                label="no network" if kind is None else short(str(kind), 18),
            )  # fmt: skip
        ax.set(xticks=[], yticks=[])
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=FONT - 2, handletextpad=0.2)
    return figure


def plot_graph_attention(found: GraphAttention, positions: Any = None, *, n_edges: int = 60) -> Figure:
    """Draw the mean static attention between regions.

    Parameters
    ----------
    found : GraphAttention
        What `graph_attention` of an estimator of BrainMAE gives.
    positions : array of shape (n_regions, 3), optional
        Where regions lie, in metres: a `SignalSpec`'s ``positions``. With them it is drawn in a glass brain by nilearn.
    n_edges : int
        The strongest connections that are drawn there.

    Returns
    -------
    Figure
        The glass brain, of attention in excess of an even share, both directions averaged; or the matrix, whose rows
        attend to its columns.
    """
    mean = found.mean()
    if positions is not None:
        excess = (mean + mean.T) / 2 * len(mean) - 1
        np.fill_diagonal(excess, 0)
        return plot_connectome(np.clip(excess, 0, None), 1e3 * np.asarray(positions, dtype=float), n_edges=n_edges)
    with _style(grid=False):
        figure, ax = _axes(4.6)
        image = ax.imshow(mean, cmap="Blues", vmin=0, interpolation="nearest")
        _name_regions(ax, found.names)
        ax.set(xlabel="attended to", ylabel="attends")
        _bar(figure, ax, image, "mean attention over blocks and heads")
    return figure


def plot_state_attention(found: StateAttention, blocks: Sequence[Any] | None = None) -> Figure:
    """Draw how much the segments of runs are attended to.

    Parameters
    ----------
    found : StateAttention
        What `state_attention` of an estimator of BrainMAE gives.
    blocks : sequence of length n_segments, optional
        The block of a task in which each segment lies; None where in none. They are shaded.

    Returns
    -------
    Figure
        A line for each run (40 of them at most), and the mean over all.
    """
    received = 100 * found.received
    if blocks is not None and len(blocks) != received.shape[1]:
        raise InputError(f"expected a block for each of {received.shape[1]} segments, got {len(blocks)}")
    with _style():
        figure, ax = _axes(2.6)
        step = float(found.onset[1] - found.onset[0]) if len(found.onset) > 1 else 1.0
        if blocks is not None:
            for onset, block in zip(found.onset, blocks, strict=True):
                if block is not None:
                    ax.axvspan(onset, onset + step, color=COLOURS["band"], lw=0, zorder=0)
        middle = found.onset + step / 2
        for row in received[:_RUNS]:
            ax.plot(middle, row, color=COLOURS["grid"], lw=0.8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of segments that no run has
            ax.plot(middle, np.nanmean(received, axis=0), color=COLOURS["score"], lw=2)
        ax.set(xlabel="seconds into the run", ylabel="attention received (%)", xlim=(0, found.onset[-1] + step))
        ax.set_ylim(bottom=0)
    return figure


def plot_representation(found: RepresentationPCA, y: Any = None) -> Figure:
    """Draw runs by the first two principal components of their embeddings.

    Parameters
    ----------
    found : RepresentationPCA
        What `representation_pca` of an estimator of BrainMAE gives, of two components at least.
    y : array of shape (n_runs,), optional
        Classes, told apart by colour and mark; or numbers of more than 5 values, by shade.

    Returns
    -------
    Figure
        A mark for each run.
    """
    if found.scores.shape[1] < 2:
        raise InputError("expected two components at least, got 1: representation_pca(X, n_components=2)")
    labels = np.array(["runs"] * len(found.scores)) if y is None else np.asarray(y)
    if len(labels) != len(found.scores):
        raise InputError(f"expected a label for each of {len(found.scores)} runs, got {len(labels)}")
    with _style():
        figure, ax = _axes(3.4)
        first, second = found.scores[:, 0], found.scores[:, 1]
        if labels.dtype.kind in "fiu" and len(np.unique(labels)) > len(_HUES):
            marks = ax.scatter(first, second, c=labels, cmap="viridis", s=22, lw=0)
            _bar(figure, ax, marks, "target")
        else:
            for i, name in enumerate(np.unique(labels)):
                rows = labels == name
                ax.plot(
                    first[rows], second[rows], _MARKS[i % len(_MARKS)], ms=5, mew=0, alpha=0.8,
                    color=COLOURS[_HUES[i % len(_HUES)]], label=short(str(name), 18),
                )  # fmt: skip
            if y is not None:
                ax.legend(frameon=False, fontsize=FONT - 1, handletextpad=0.2)
        share = 100 * found.explained
        ax.set(xlabel=f"component 1 ({share[0]:.0f} % of variance)", ylabel=f"component 2 ({share[1]:.0f} %)")
    return figure


def plot_reconstruction(found: Reconstruction) -> Figure:
    """Draw how well each region is filled in where it was hidden.

    Parameters
    ----------
    found : Reconstruction
        What `reconstruction` of a `BrainMAEEmbedder` gives.

    Returns
    -------
    Figure
        In a glass brain by nilearn, where regions have positions; else a row a region where they are few, or ranked.
    """
    if found.positions is not None and np.isfinite(found.masked).any():
        return _brain(found)
    order = np.argsort(-np.nan_to_num(found.masked, nan=-np.inf), kind="stable")
    few = len(order) <= _NAMED
    with _style():
        figure, ax = _axes(0.9 + 0.17 * len(order) if few else 2.8)
        places = np.arange(len(order))
        for values, hue, label in ((found.unmasked, "grid", "visible"), (found.masked, "score", "hidden")):
            ax.plot(*((values[order], places) if few else (places, values[order])), "o", ms=4, mew=0,
                    color=COLOURS["muted" if hue == "grid" else hue], label=label)  # fmt: skip
        if few:
            ax.set_yticks(places, [short(found.names[i], 24) for i in order])
            ax.invert_yaxis()
            ax.set_xlabel("R²")
            ax.tick_params(axis="y", length=0, labelsize=FONT - 2)
            ax.axvline(0, color=COLOURS["chance"], lw=1, ls=(0, (4, 3)))
        else:
            ax.set(xlabel="regions, best first", ylabel="R²")
            ax.axhline(0, color=COLOURS["chance"], lw=1, ls=(0, (4, 3)))
        ax.legend(frameon=False, fontsize=FONT - 1, handletextpad=0.2)
        ax.set_title(_totals(found), loc="left", fontsize=FONT)
    return figure


def _brain(found: Reconstruction) -> Figure:
    """R² of hidden regions in a glass brain."""
    from matplotlib.figure import Figure

    shown = np.isfinite(found.masked)
    with _style(grid=False), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nilearn and matplotlib, on axes of their own making
        from nilearn import plotting

        figure = Figure(figsize=(_WIDTH, 2.3))
        assert found.positions is not None
        plotting.plot_markers(
            found.masked[shown], 1e3 * found.positions[shown], figure=figure, axes=(0, 0, 1, 0.86), display_mode="lzr",
            node_size=28, node_cmap="viridis", node_vmin=0.0,  # below it there is nothing to tell apart
            node_vmax=max(0.05, float(found.masked[shown].max())), annotate=False, colorbar=True,
        )  # fmt: skip
        figure.text(0.02, 0.93, _totals(found), fontsize=FONT)
    return figure


def _totals(found: Reconstruction) -> str:
    hidden = "" if np.isnan(found.masked_total) else f"R² {found.masked_total:.2f} where hidden, "
    return f"{hidden}{found.unmasked_total:.2f} where visible ({100 * found.mask_ratio:.0f} % hidden)"


# -- shared -----------------------------------------------------------------------------------------------------------


def _style(grid: bool = True) -> Any:
    import matplotlib as mpl

    style: Any = {**house_style(), "axes.grid": grid}
    return mpl.rc_context(style)


def _axes(height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    # Figure, not pyplot: nothing global is touched, and no window or backend is needed
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _matrix(ax: Axes, matrix: np.ndarray, reach: float) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    # red is positive, as in nilearn's figures of correlations
    colours = LinearSegmentedColormap.from_list("signed", [COLOURS["score"], COLOURS["paper"], COLOURS["against"]])
    reach = reach or 1.0
    return ax.imshow(matrix, cmap=colours, vmin=-reach, vmax=reach, interpolation="nearest")


def _bar(figure: Figure, ax: Axes, drawn: Any, label: str) -> None:
    bar = figure.colorbar(drawn, ax=ax, shrink=0.8)
    bar.outline.set_visible(False)
    bar.set_label(label)


def _name_regions(ax: Axes, names: Sequence[str]) -> None:
    if len(names) > _NAMED:
        ax.set(xticks=[], yticks=[])
        return
    places = range(len(names))
    labels = [short(name, 16) for name in names]
    ax.set_yticks(places, labels)
    ax.set_xticks(places, labels, rotation=90)
    ax.tick_params(length=0, labelsize=FONT - 3)
