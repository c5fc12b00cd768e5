"""Which connections a linear model decided by: a glass brain where regions have places, and the matrix of weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import InputError
from neurosig.reports.drawing import COLOURS, FONT, house_style, short
from neurosig.reports.page import figure_svg

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

__all__ = ["connectome_pictures", "matrix_of", "plot_connectome", "plot_edge_matrix", "strongest"]

_WIDTH = 5.0  # inches, as all drawings of the reports
_DRAWN = 60  # edges on the glass brain; more cover one another
_NAMED = 30  # regions whose names fit beside a matrix
_LISTED = 5


def matrix_of(weights: Sequence[float]) -> np.ndarray:
    """The symmetric matrix of weights from its lower triangle, as results hold it.

    Parameters
    ----------
    weights : sequence of float
        Lower triangle with the diagonal, row by row.

    Returns
    -------
    array of shape (n_regions, n_regions)
    """
    import numpy as np

    n_regions = int((np.sqrt(8 * len(weights) + 1) - 1) / 2)
    if n_regions * (n_regions + 1) // 2 != len(weights):
        raise InputError(f"expected the lower triangle of a matrix, got {len(weights)} weights")
    matrix = np.zeros((n_regions, n_regions))
    matrix[np.tril_indices(n_regions)] = weights
    return matrix + np.tril(matrix, -1).T


def strongest(matrix: np.ndarray, n: int) -> list[tuple[int, int]]:
    """Places of the `n` edges of largest absolute weight off the diagonal, largest first; edges of no weight never."""
    import numpy as np

    rows, columns = np.tril_indices(len(matrix), -1)
    values = np.abs(matrix[rows, columns])
    order = np.argsort(-values, kind="stable")[:n]
    return [(int(rows[i]), int(columns[i])) for i in order if values[i] > 0]


def plot_connectome(matrix: Any, positions: Any, *, n_edges: int = _DRAWN) -> Figure:
    """The strongest connections in a glass brain, by nilearn.

    Parameters
    ----------
    matrix : array of shape (n_regions, n_regions)
        Symmetric weights.
    positions : array of shape (n_regions, 3)
        Region centres, MNI millimetres.
    n_edges : int
        How many connections are drawn: those of largest absolute weight. Regions that none of them touches are left
        out.

    Returns
    -------
    Figure
        Seen from the left, from above and from the right. Blue connections have positive weights, vermilion ones
        negative weights.

    Raises
    ------
    InputError
        If there is not one position a region, or no weight differs from zero.
    """
    import matplotlib as mpl
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    matrix, positions = np.asarray(matrix, dtype=float), np.asarray(positions, dtype=float)
    if positions.shape != (len(matrix), 3):
        raise InputError(f"expected positions of shape ({len(matrix)}, 3), got {positions.shape}")
    drawn = strongest(matrix, n_edges)
    if not drawn:
        raise InputError("no connection has a weight; there is nothing to draw")
    kept = sorted({place for pair in drawn for place in pair})
    shown = np.zeros_like(matrix)
    for row, column in drawn:
        shown[row, column] = shown[column, row] = matrix[row, column]
    shown = shown[np.ix_(kept, kept)]
    reach = float(np.abs(shown).max())
    colours = LinearSegmentedColormap.from_list("weights", [COLOURS["against"], COLOURS["grid"], COLOURS["score"]])
    style: Any = house_style()
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nilearn and matplotlib, on axes of their own making
        from nilearn import plotting

        figure = Figure(figsize=(_WIDTH, 1.9))
        plotting.plot_connectome(
            shown, positions[kept], figure=figure, axes=(0, 0, 1, 1), display_mode="lzr", node_size=9,
            node_color=COLOURS["ink"], edge_cmap=colours, edge_vmin=-reach, edge_vmax=reach, edge_threshold=None,
            annotate=False, edge_kwargs={"linewidth": 1.2}, alpha=0.5,
        )  # fmt: skip
        for ax in figure.axes:
            for artist in ax.get_children():
                artist.set_gid(None)  # nilearn's outlines bear names that one page may hold once only
    return figure


def plot_edge_matrix(matrix: Any, names: Sequence[str] | None = None) -> Figure:
    """Weights of all connections as a matrix, by nilearn.

    Parameters
    ----------
    matrix : array of shape (n_regions, n_regions)
        Symmetric weights.
    names : sequence of str, optional
        Of the regions; they are written where they are 30 at most.

    Returns
    -------
    Figure
    """
    import matplotlib as mpl
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    matrix = np.asarray(matrix, dtype=float)
    n_regions = len(matrix)
    reach = float(np.abs(matrix).max()) or 1.0
    colours = LinearSegmentedColormap.from_list("weights", [COLOURS["against"], COLOURS["paper"], COLOURS["score"]])
    named = names is not None and n_regions <= _NAMED
    style: Any = house_style()
    with mpl.rc_context({**style, "axes.grid": False}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nilearn, on layouts that it would set itself
        from nilearn import plotting

        figure = Figure(figsize=(_WIDTH, 4.2))
        FigureCanvasAgg(figure)  # nilearn measures the labels to make room for them
        ax = figure.subplots()
        image = plotting.plot_matrix(
            matrix, axes=ax, cmap=colours, vmin=-reach, vmax=reach, colorbar=False,
            labels=[short(str(name), 14) for name in names] if named and names is not None else None,
        )  # fmt: skip
        bar = figure.colorbar(image, ax=ax, shrink=0.7)
        bar.outline.set_visible(False)
        bar.set_label("Weight")
        ax.tick_params(labelsize=FONT - 3, length=0)
        if not named:
            ax.set_xlabel(f"Regions 1 to {n_regions}")
            ax.set_xticks([])
            ax.set_yticks([])
    return figure


def connectome_pictures(card: Mapping[str, Any], key: str, meta: Mapping[str, Any]) -> list[tuple[Any, str]]:
    """Drawings and captions of the weights of a pipeline, one or two a dataset.

    Parameters
    ----------
    card : dict
        Of the results' metadata; its ``edges`` is dataset to what `neurosig.evaluation.edge_weights.mean_edges` gives.
    key : str
        Unique on the page.
    meta : dict
        The results' metadata: ``regions`` is dataset to ``names`` and ``positions`` (millimetres, or None) of its
        regions, and the cards of ``datasets`` name the classes.

    Returns
    -------
    list of (Markup, str)
        Empty where the pipeline is no linear model on connectivity.
    """
    import numpy as np

    pictures = []
    for place, (dataset, found) in enumerate((card.get("edges") or {}).items()):
        matrix = matrix_of(found["weights"])
        if not strongest(matrix, 1):
            continue
        about = (meta.get("regions") or {}).get(dataset, {})
        names = found.get("regions") or about.get("names") or [str(i + 1) for i in range(len(matrix))]
        largest = [f"{names[row]} with {names[column]} {matrix[row, column]:+.3g}"
                   for row, column in strongest(matrix, _LISTED)]  # fmt: skip
        said = f"Largest weights: {'; '.join(largest)}."
        agreement = found.get("agreement")
        folds = f"mean of {found['n_folds']} folds" if found["n_folds"] > 1 else "one fold"
        if agreement is not None:
            folds += f", whose weights correlate with {agreement:.2f} on average"
        meaning = (
            f"Weights of connections in {dataset} ({folds}). Blue: a stronger connection speaks for "
            f"{_spoken_for(dataset, meta)}, vermilion: against it. Weights tell what the model uses, not where groups "
            "differ."
        )
        positions = about.get("positions")
        located = positions is not None and len(positions) == len(matrix) and np.isfinite(positions).all()
        if located:
            n_drawn = len(strongest(matrix, _DRAWN))
            svg = figure_svg(plot_connectome(matrix, positions), name=f"{key}-g{place + 1}", description=said)
            pictures.append((svg, f"{meaning} The {n_drawn} largest are drawn, from the left, above and right."))
        svg = figure_svg(plot_edge_matrix(matrix, names), name=f"{key}-e{place + 1}", description=said)
        pictures.append((svg, f"All weights. {said}" if located else f"{meaning} {said}"))
    return pictures


def _spoken_for(dataset: str, meta: Mapping[str, Any]) -> str:
    """What a positive decision value means: the second of two classes in order, as scikit-learn codes them."""
    cards = [card for card in meta.get("datasets", ()) if card.get("name") == dataset]
    classes = sorted(cards[0].get("classes") or {}) if cards else []
    return f"“{classes[1]}”" if len(classes) == 2 else "a larger number"
