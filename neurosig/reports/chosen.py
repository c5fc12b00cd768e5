"""How often the folds chose each value of a parameter, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from neurosig.reports.drawing import COLOURS, FONT, house_style, row_label, short
from neurosig.reports.page import figure_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["chosen_pictures", "plot_chosen"]

_WIDTH, _ROW = 5.0, 0.26  # inches


def plot_chosen(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Bars of the number of folds in which each value was chosen.

    Parameters
    ----------
    counts : dict of str to dict
        Parameter to value to number of folds, as `neurosig.evaluation.chosen.count_chosen` counts them.

    Returns
    -------
    Figure
        A panel a parameter, a row a value.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    heights = [_ROW * len(values) + 0.4 for values in counts.values()]
    style: Any = house_style()
    with mpl.rc_context(style):
        figure = Figure(figsize=(_WIDTH, sum(heights) + 0.3), layout="constrained")
        axes = figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
        for ax, (name, values) in zip(axes, counts.items(), strict=True):
            ax.barh(range(len(values)), list(values.values()), height=0.62, color=COLOURS["score"], lw=0)
            for y, (value, number) in enumerate(values.items()):
                row_label(ax, y, short(value, 24), str(number))
            ax.set_ylim(len(values) - 0.4, -0.6)
            ax.set_yticks([])
            ax.grid(visible=False, axis="y")
            ax.set_title(short(name, 60), loc="left", fontsize=FONT, parse_math=False)
        axes[-1].set_xlabel("Folds")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
    return figure


def chosen_pictures(card: Mapping[str, Any], key: str) -> list[tuple[Any, str]]:
    """Drawings and captions of what a pipeline chose, one a dataset.

    Parameters
    ----------
    card : dict
        Of the results' metadata; its ``chosen`` is dataset to what `plot_chosen` takes.
    key : str
        Unique on the page.

    Returns
    -------
    list of (Markup, str)
        Empty where nothing was chosen.
    """
    pictures = []
    for i, (dataset, counts) in enumerate((card.get("chosen") or {}).items()):
        said = "; ".join(
            f"{name} " + ", ".join(f"{value} in {number}" for value, number in values.items())
            for name, values in counts.items()
        )
        svg = figure_svg(plot_chosen(counts), name=f"{key}-{i + 1}", description=f"Chosen in the folds: {said}.")
        pictures.append((svg, f"What it chose in the folds of {dataset}: each bar is a number of folds."))
    return pictures
