"""Figures of a transfer study: scores by condition, every person from condition to condition, effects, and ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neurosig.reports.drawing import COLOURS, each, finish_rows, finite, metric_label, panels, row_label
from neurosig.reports.figures import plot_ranking, plot_subjects

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["CONDITIONS", "plot_conditions", "plot_effects", "plot_people", "plot_ranks"]

CONDITIONS = {
    "within": "Within person",
    "transfer_all": "Transfer, all layers",
    "transfer_head": "Transfer, last layer",
    "direct": "Direct transfer",
}


def plot_conditions(summary: pd.DataFrame, *, metric: str | None = None) -> Figure:
    """Mean score of each pipeline with its interval over people, a panel a condition.

    Parameters
    ----------
    summary : DataFrame
        What `TransferResults.summary` gives.
    metric : str, optional
        Name of the score, for the axis.
    """
    return _one_scale(plot_ranking(summary.assign(dataset=summary["condition"].map(CONDITIONS)), metric=metric))


def plot_people(scores: pd.DataFrame, *, metric: str | None = None) -> Figure:
    """Every person's score in each condition, a panel a pipeline; a line follows a person.

    Parameters
    ----------
    scores : DataFrame
        ``pipeline, condition, subject, score, chance, chance_upper``, in the order of panels and rows.
    metric : str, optional
        Name of the score, for the axis.
    """
    named = scores.assign(dataset=scores["pipeline"], pipeline=scores["condition"].map(CONDITIONS))
    order = [CONDITIONS[name] for name in CONDITIONS if name in set(scores["condition"])]
    return _one_scale(plot_subjects(named, order=order, metric=metric))


def plot_effects(effects: pd.DataFrame, *, metric: str | None = None) -> Figure:
    """Mean effect of transfer with its interval, and every person's, a panel a condition.

    Parameters
    ----------
    effects : DataFrame
        What `TransferResults.person_effects` gives.
    metric : str, optional
        Name of the score, for the axis.
    """
    from neurosig.evaluation.statistics import summarize

    def draw(ax: Axes, rows: pd.DataFrame) -> None:
        names = list(dict.fromkeys(rows["pipeline"]))
        ax.axvline(0, color=COLOURS["chance"], lw=1.1, ls=(0, (4, 3)), zorder=1)
        means = summarize(rows.rename(columns={"effect": "score"}), by=["pipeline"]).set_index("pipeline")
        for y, name in enumerate(names):
            values = rows.loc[rows["pipeline"] == name, "effect"]
            row = means.loc[name]
            colour = COLOURS["score" if row["mean"] >= 0 else "against"]
            ax.plot(values, [y + 0.22] * len(values), "o", ms=3.6, color=COLOURS["muted"], alpha=0.5, mew=0, zorder=2)
            if finite(row["ci_low"]):
                ax.plot([row["ci_low"], row["ci_high"]], [y, y], color=colour, lw=2.2, solid_capstyle="butt", zorder=3)
            ax.plot(row["mean"], y, "o", ms=6.5, color=colour, mec=COLOURS["paper"], mew=1.0, zorder=4)
            row_label(ax, y, str(name), f"{row['mean']:+.3f}")
        finish_rows(ax, len(names), f"{metric_label(metric)}, minus that within the person; dots below: every person")

    ordered = effects.sort_values("condition", key=lambda names: names.map(list(CONDITIONS).index), kind="stable")
    named = ordered.assign(dataset=ordered["condition"].map(CONDITIONS))
    return _one_scale(panels(named, draw, lambda rows: 0.7 + 0.5 * rows["pipeline"].nunique()))


def plot_ranks(ranking: pd.DataFrame) -> Figure:
    """Mean rank of each pipeline over people; the bar is as long as the difference that Nemenyi's test takes.

    Parameters
    ----------
    ranking : DataFrame
        What `TransferResults.ranking_table` gives, conditions with two pipelines or more.
    """

    def draw(ax: Axes, rows: pd.DataFrame) -> None:
        critical = rows["critical_difference"].iloc[0]
        for y, row in enumerate(each(rows)):
            if finite(critical):
                ends = [row.mean_rank - critical / 2, row.mean_rank + critical / 2]
                ax.plot(ends, [y, y], color=COLOURS["score"], lw=2.2, alpha=0.55, solid_capstyle="butt", zorder=2)
            ax.plot(row.mean_rank, y, "o", ms=6.5, color=COLOURS["score"], mec=COLOURS["paper"], mew=1.0, zorder=3)
            row_label(ax, y, str(row.pipeline), f"{row.mean_rank:.2f}")
        finish_rows(ax, len(rows), "Mean rank over people, 1 is best")

    named: Any = ranking.assign(dataset=ranking["condition"].map(CONDITIONS))
    return _one_scale(panels(named, draw, lambda rows: 0.7 + 0.4 * len(rows)))


def _one_scale(figure: Figure) -> Figure:
    """Panels that are there to be compared have the same limits."""
    limits = [ax.get_xlim() for ax in figure.axes]
    for ax in figure.axes:
        ax.set_xlim(min(low for low, _ in limits), max(high for _, high in limits))
    return figure
