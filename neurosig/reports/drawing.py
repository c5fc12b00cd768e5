"""What all figures share: colours with a role, panels, labelled rows, the band of chance, labels that keep apart."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS", "FONT", "draw_chance", "each", "finish_rows", "finite", "house_style", "metric_label", "panels",
    "place_labels", "row_label", "short", "unit_of",
]  # fmt: skip

COLOURS = {
    "ink": "#17212b",
    "muted": "#5b6774",
    "grid": "#d9dee4",
    "paper": "#fefefe",
    "band": "#efe9db",
    "chance": "#8a6a1f",
    "score": "#0067a5",  # blue and vermilion differ for every kind of colour vision, and in grey
    "against": "#c8500b",
}

_WIDTH = 5.0  # inches; at 10 pt the text stays legible when a phone shrinks the drawing to 3.5 inches
FONT = 10
_LABEL = 20  # characters in a line of a row's name, of which there are two at most
_METRICS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "roc_auc": "ROC AUC",
    "f1": "F1",
    "kappa": "Cohen's kappa",
    "r2": "R²",
    "pearson": "Pearson's r",
    "neg_mean_absolute_error": "Mean absolute error, negative",
}


def metric_label(metric: str | None) -> str:
    """A metric's name as a reader writes it: ``roc_auc`` is "ROC AUC"."""
    return _METRICS.get(str(metric), "Score" if metric is None else str(metric).replace("_", " "))


def panels(table: pd.DataFrame, draw: Callable[[Axes, Any], None], height: Callable[[Any], float]) -> Figure:
    """A figure with a panel per dataset; `draw` fills an axes from its rows, `height` gives its inches."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    groups = list(_datasets(table))
    heights = [height(rows) + (0.25 if len(groups) > 1 else 0) for _, rows in groups] or [0.8]
    style: Any = house_style()
    with mpl.rc_context(style):
        # Figure, not pyplot: nothing global is touched, and no window or backend is needed
        figure = Figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
        axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        if not groups:
            axes[0].axis("off")
            axes[0].text(
                0.5,
                0.5,
                "nothing to draw: no pipeline has a score",
                ha="center",
                va="center",
                color=COLOURS["muted"],
                transform=axes[0].transAxes,
            )
        for ax, (name, rows) in zip(axes, groups, strict=False):
            draw(ax, rows)
            if len(groups) > 1:
                ax.set_title(short(str(name), 60), loc="left", fontsize=FONT + 1, fontweight="bold", parse_math=False)
    return figure


def _datasets(table: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    if "dataset" in table:
        for name, rows in table.groupby("dataset", sort=False):
            yield str(name), rows
    elif len(table):
        yield "", table


def house_style() -> dict[str, Any]:
    """Settings of matplotlib that all figures of the reports share."""
    return {
        "font.size": FONT, "font.family": "DejaVu Sans", "axes.labelsize": FONT - 0.5, "xtick.labelsize": FONT - 0.5,
        "ytick.labelsize": FONT - 0.5, "text.color": COLOURS["ink"], "axes.labelcolor": COLOURS["muted"],
        "xtick.color": COLOURS["muted"], "ytick.color": COLOURS["muted"], "axes.edgecolor": COLOURS["grid"],
        "axes.facecolor": "none", "figure.facecolor": "none", "savefig.facecolor": "none", "axes.grid": True,
        "grid.color": COLOURS["grid"], "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.spines.top": False,
        "axes.spines.right": False, "axes.spines.left": False,
    }  # fmt: skip


def draw_chance(ax: Axes, rows: pd.DataFrame) -> None:
    """Behind each row, the chance level as a dashed line in a band as wide as its bound (``chance, chance_upper``)."""
    if "chance" not in rows or not rows["chance"].notna().any():
        return
    from matplotlib.patches import Rectangle

    for y, row in enumerate(each(rows)):
        if not finite(row.chance):
            continue
        bound = row.chance_upper if finite(getattr(row, "chance_upper", math.nan)) else row.chance
        width = bound - row.chance
        ax.add_patch(Rectangle((row.chance - width, y - 0.5), 2 * width, 1.0, fc=COLOURS["band"], lw=0, zorder=0.5))
        ax.plot([row.chance] * 2, [y - 0.5, y + 0.5], color=COLOURS["chance"], lw=1.1, ls=(0, (4, 3)), zorder=1)
    ax.text(
        rows["chance"].mean(), -0.53, "chance", ha="center", va="bottom", color=COLOURS["chance"], fontsize=FONT - 1.5
    )


def row_label(ax: Axes, y: float, left: str, right: str, colour: str = "ink") -> None:
    """Write a name left of the axes, level with row `y`, and a remark right of them: both clear of the marks."""
    name = "\n".join(textwrap.wrap(left, _LABEL, max_lines=2, placeholder="…"))
    for x, gap, text, side, size, role in (
        (0, -5, name, "right", FONT, colour),
        (1, 5, right, "left", FONT - 1, "muted"),
    ):
        ax.annotate(
            text,
            (x, y),
            xytext=(gap, 0),
            xycoords=ax.get_yaxis_transform(),
            textcoords="offset points",
            ha=side,
            va="center",
            fontsize=size,
            linespacing=1.05,
            color=COLOURS[role],
            parse_math=False,
            annotation_clip=False,
        )


def finish_rows(ax: Axes, n: int, label: str) -> None:
    """Close a panel of `n` rows: first row on top, no ticks on the left, a margin on both sides."""
    ax.set_ylim(n - 0.5, -0.95)
    ax.set_yticks([])
    ax.set_xlabel(label)
    low, high = ax.get_xlim()
    ax.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))


def place_labels(ax: Axes, points: list[tuple[float, float, str]], others: Iterable[tuple[float, float]] = ()) -> None:
    """Put each name on the first side of its point where it covers neither the frame, a point nor another name.

    `others` are places of marks without a name that must not be covered either.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    figure: Any = ax.figure
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # settles the layout, so that text extents are true
    renderer = canvas.get_renderer()
    frame = ax.get_window_extent(renderer)
    marks = [ax.transData.transform(place) for place in [point[:2] for point in points] + list(others)]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in marks]
    sides = [(7, 0, "left", "center"), (-7, 0, "right", "center"), (6, 7, "left", "bottom"), (6, -7, "left", "top"),
             (-6, 7, "right", "bottom"), (-6, -7, "right", "top"), (6, 18, "left", "bottom"), (6, -18, "left", "top"),
             (-6, 18, "right", "bottom"), (-6, -18, "right", "top")]  # fmt: skip

    def try_side(label: Any, side: tuple[float, float, str, str]) -> Bbox:
        label.set_position(side[:2])
        label.set_horizontalalignment(side[2])
        label.set_verticalalignment(side[3])
        return label.get_window_extent(renderer)

    for x, y, name in sorted(points, key=lambda point: -point[1]):
        label = ax.annotate(
            name,
            (x, y),
            xytext=(7, 0),
            textcoords="offset points",
            fontsize=FONT - 1,
            color=COLOURS["ink"],
            parse_math=False,
            zorder=5,
        )
        covered = []
        for side in sides:
            box = try_side(label, side)
            inside = box.x0 >= frame.x0 and box.x1 <= frame.x1
            covered.append(sum(box.overlaps(other) for other in taken) + (0 if inside else 3))
        taken.append(try_side(label, sides[covered.index(min(covered))]))


def each(rows: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples; their fields are numbers and text, which the type stubs of pandas cannot know."""
    tuples: Any = rows.itertuples()
    yield from tuples


def unit_of(table: pd.DataFrame) -> str:
    """What a row of a dataset's table is a score of: a "subject", or a "fold" or "site" of several."""
    tested = set(table["tested"].dropna()) if "tested" in table else set()
    return str(next(iter(tested - {"subject"}), "subject"))


def short(text: str, length: int) -> str:
    """The text on one line, cut with an ellipsis after `length` characters."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


def finite(value: Any) -> bool:
    """Whether there is a number: neither None, nor not-a-number, nor infinite."""
    return value is not None and math.isfinite(value)
