"""Figures of a benchmark and of a decoding: tables in, matplotlib figures out.

They are drawn one journal column wide, with each pipeline's name left of its row and its number right of it, so that
the same drawing is read on paper, on a desk and on a phone, and no word lies on a mark. Every colour has a role
(`neurosig.reports.drawing.COLOURS`); a page replaces the roles by its own variables, and so the figures follow a dark
theme.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neurosig.reports.drawing import (
    COLOURS,
    FONT,
    draw_chance,
    each,
    finish_rows,
    finite,
    metric_label,
    panels,
    place_labels,
    row_label,
    short,
    unit_of,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_comparisons", "plot_ranking", "plot_subjects", "plot_time_score", "plot_timeline"]


def plot_ranking(summary: pd.DataFrame, *, metric: str | None = None) -> Figure:
    """Mean score of each pipeline with its 95 % interval over subjects, against chance.

    Parameters
    ----------
    summary : DataFrame
        One row per dataset and pipeline, best first: ``dataset, pipeline, mean, ci_low, ci_high, n, chance,
        chance_upper``. A row without a mean is drawn as failed. ``unit``, if there, says what the mean is over: a
        "subject" (else), "fold" or "site".
    metric : str, optional
        Name of the score, for the axis.

    Returns
    -------
    Figure
        One panel per dataset.
    """

    def draw(ax: Axes, rows: pd.DataFrame) -> None:
        draw_chance(ax, rows)
        for y, row in enumerate(each(rows)):
            if not finite(row.mean):
                row_label(ax, y, str(row.pipeline), "failed", colour="muted")
                continue
            has_interval = finite(row.ci_low) and finite(row.ci_high)
            if has_interval:
                ax.plot(
                    [row.ci_low, row.ci_high], [y, y], color=COLOURS["score"], lw=2.2, solid_capstyle="butt", zorder=3
                )
                for end in (row.ci_low, row.ci_high):
                    ax.plot([end, end], [y - 0.11, y + 0.11], color=COLOURS["score"], lw=1.4, zorder=3)
            ax.plot(row.mean, y, "o", ms=6.5, color=COLOURS["score"], mec=COLOURS["paper"], mew=1.0, zorder=4)
            row_label(ax, y, str(row.pipeline), f"{row.mean:.3f}")
        over = str(rows["unit"].iloc[0]) if "unit" in rows else "subject"
        finish_rows(ax, len(rows), f"{metric_label(metric)}, mean and 95 % interval over {over}s")

    return panels(summary, draw, lambda rows: 0.7 + 0.4 * len(rows))


def plot_subjects(table: pd.DataFrame, *, order: list[str] | None = None, metric: str | None = None) -> Figure:
    """Score of every subject with every pipeline; a thin line follows a subject from pipeline to pipeline.

    Parameters
    ----------
    table : DataFrame
        Tidy results: ``dataset, subject, pipeline, score`` and, for the band, ``chance, chance_upper``; the sessions of
        a subject are averaged.
    order : list of str, optional
        Pipelines from top to bottom; by default from the best mean down.
    metric : str, optional
        Name of the score, for the axis.

    Returns
    -------
    Figure
        One panel per dataset.
    """

    def draw(ax: Axes, rows: pd.DataFrame) -> None:
        scores = rows.pivot_table(index="subject", columns="pipeline", values="score", aggfunc="mean")
        ranked = list(scores.mean().sort_values(ascending=False, kind="stable").index)
        names = [name for name in (order or ranked) if name in scores]
        draw_chance(ax, rows.groupby("pipeline", sort=False).mean(numeric_only=True).reindex(names))
        levels = range(len(names))
        faint = min(0.55, max(0.12, 8 / max(len(scores), 1)))
        for person in scores[names].to_numpy():
            ax.plot(person, levels, color=COLOURS["muted"], lw=0.8, alpha=faint, zorder=2)
        for y, name in enumerate(names):
            values = scores[name].dropna()
            ax.plot(values, [y] * len(values), "o", ms=4.6, color=COLOURS["score"], alpha=0.7, mew=0, zorder=3)
            ax.plot([values.mean()] * 2, [y - 0.2, y + 0.2], color=COLOURS["ink"], lw=2, zorder=4)
            row_label(ax, y, str(name), f"n = {len(values)}")
        finish_rows(ax, len(names), f"{metric_label(metric)}, one dot per {unit_of(rows)}, bar: mean")

    scored = table[table["score"].notna()]
    return panels(scored, draw, lambda rows: 0.7 + 0.44 * rows["pipeline"].nunique())


def plot_comparisons(comparisons: pd.DataFrame, *, order: list[str] | None = None) -> Figure:
    """Paired differences between pipelines as a matrix: the row's score minus the column's.

    Parameters
    ----------
    comparisons : DataFrame
        One row per dataset and pair: ``dataset, pipeline_a, pipeline_b, difference, p_corrected``.
    order : list of str, optional
        Pipelines from best to worst; by default in their order of appearance.

    Returns
    -------
    Figure
        One panel per dataset; a bold number marks a difference supported at a corrected p below 0.05.
    """

    def draw(ax: Axes, rows: pd.DataFrame) -> None:
        found = list(dict.fromkeys([*rows["pipeline_a"], *rows["pipeline_b"]]))
        names = [name for name in (order or found) if name in found]
        place = {name: index for index, name in enumerate(names)}
        largest = max(rows["difference"].abs().max(), 1e-12)
        from matplotlib.patches import Rectangle

        for row in each(rows):
            for first, second, sign in ((row.pipeline_a, row.pipeline_b, 1), (row.pipeline_b, row.pipeline_a, -1)):
                if not finite(row.difference) or first not in place or second not in place:
                    continue
                difference = sign * row.difference
                x, y = place[second], place[first]
                colour = COLOURS["score" if difference >= 0 else "against"]
                strength = 0.5 * abs(difference) / largest
                ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fc=colour, alpha=strength, lw=0))
                supported = finite(row.p_corrected) and row.p_corrected < 0.05
                ax.text(
                    x,
                    y,
                    f"{difference:+.3f}",
                    ha="center",
                    va="center",
                    fontsize=FONT - 2,
                    color=COLOURS["ink"],
                    fontweight="bold" if supported else "normal",
                )
        numbers = range(len(names))
        ax.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5))
        ax.set_xticks(numbers, [str(index + 1) for index in numbers])
        ax.set_yticks(
            numbers, [f"{short(name, 22)}  {index + 1}" for index, name in enumerate(names)], parse_math=False
        )
        ax.tick_params(length=0)
        ax.grid(False)
        ax.set_xlabel("row minus column; bold: corrected p < 0.05")

    def height(rows: pd.DataFrame) -> float:
        return 0.8 + 0.42 * len({*rows["pipeline_a"], *rows["pipeline_b"]})

    return panels(comparisons, draw, height)


def plot_time_score(summary: pd.DataFrame, *, metric: str | None = None) -> Figure:
    """What a score costs: mean score against seconds per fit (logarithmic).

    Parameters
    ----------
    summary : DataFrame
        As for `plot_ranking`, with ``seconds``: mean seconds of one fit.
    metric : str, optional
        Name of the score, for the axis.

    Returns
    -------
    Figure
        One panel per dataset.
    """

    def draw(ax: Axes, rows: pd.DataFrame) -> None:
        import numpy as np
        from matplotlib.ticker import FuncFormatter, NullFormatter

        rows = rows[rows["seconds"] > 0]
        ax.set_xscale("log")
        chance = rows["chance"].mean()
        if finite(chance):
            ax.axhline(chance, color=COLOURS["chance"], lw=1.1, ls=(0, (4, 3)), zorder=1)
        for row in each(rows):
            if finite(row.ci_low) and finite(row.ci_high):
                ax.plot(
                    [row.seconds] * 2, [row.ci_low, row.ci_high], color=COLOURS["score"], lw=1.6, alpha=0.55, zorder=2
                )
            ax.plot(row.seconds, row.mean, "o", ms=6.5, color=COLOURS["score"], mec=COLOURS["paper"], mew=1.0, zorder=3)
        low, high = rows["seconds"].min(), rows["seconds"].max()
        ax.set_xlim(low / 2.2, high * 2.2)
        ax.margins(y=0.12)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel("Seconds per fit (logarithmic)")
        ax.set_ylabel(f"{metric_label(metric)}, mean and 95 % interval")
        bars = [
            (row.seconds, float(height)) for row in each(rows) if finite(row.ci_low) and finite(row.ci_high)
            for height in np.linspace(row.ci_low, row.ci_high, 12)
        ]  # fmt: skip
        place_labels(ax, [(row.seconds, row.mean, short(str(row.pipeline), 26)) for row in each(rows)], bars)
        if finite(chance):
            ax.text(
                0.995,
                chance,
                "chance",
                transform=ax.get_yaxis_transform(),
                ha="right",
                va="bottom",
                color=COLOURS["chance"],
                fontsize=FONT - 1.5,
            )

    return panels(summary[summary["mean"].notna()], draw, lambda rows: 3.4)


def plot_timeline(table: pd.DataFrame, columns: dict[str, str], *, level: float | None, joined: bool) -> Figure:
    """What a decoder says over the time of one recording, a strip for each class.

    Parameters
    ----------
    table : DataFrame
        One row per window or trial: ``onset, duration`` in seconds, a number per class and, where labels are known,
        ``event, correct``: a dot below a strip marks a trial of that class, a cross one that was decoded wrongly.
    columns : dict of str to str
        Class to the column with its number.
    level : float or None
        Value that a decoder without knowledge gives every class; drawn as a dashed line.
    joined : bool
        Whether windows follow each other closely, so that they make a line; single trials stand alone.

    Returns
    -------
    Figure
    """
    import numpy as np

    time = (table["onset"] + table["duration"] / 2).to_numpy(dtype=float)
    order = np.argsort(time, kind="stable")
    unit, scale = ("min", 60.0) if len(time) and time.max() > 180 else ("s", 1.0)
    numbers = table[list(columns.values())].to_numpy(dtype=float)
    low, high = min(0.0, np.nanmin(numbers)), max(1.0 if level is not None else 0.0, np.nanmax(numbers))
    span = max(high - low, 1e-12)

    def draw(ax: Axes, rows: pd.DataFrame) -> None:
        for y, (name, column) in enumerate(columns.items()):

            def place(value: Any, y: int = y) -> Any:
                return y + 0.3 - 0.52 * (np.asarray(value, dtype=float) - low) / span

            x, values = time[order] / scale, rows[column].to_numpy(dtype=float)[order]
            ground = float(place(max(low, 0.0)))
            if joined:
                ax.fill_between(x, place(values), ground, color=COLOURS["score"], alpha=0.25, lw=0)
                ax.plot(x, place(values), color=COLOURS["score"], lw=1.2)
            else:
                # one path for all bars: not-a-number lifts the pen between them
                bars = np.full((len(x), 3, 2), np.nan)
                bars[:, :2, 0] = x[:, None]
                bars[:, 0, 1], bars[:, 1, 1] = ground, place(values)
                ax.plot(*bars.reshape(-1, 2).T, color=COLOURS["score"], lw=1.4, solid_capstyle="butt")
            if level is not None:
                ax.axhline(place(level), color=COLOURS["chance"], lw=0.9, ls=(0, (4, 3)))
            if "correct" in rows:
                of_class = (rows["event"] == name).to_numpy()[order]
                right = (rows["correct"] == True).to_numpy()[order]  # noqa: E712 - the column also holds None
                for chosen, marker, colour in ((of_class & right, "o", "ink"), (of_class & ~right, "x", "against")):
                    ax.plot(
                        x[chosen],
                        [y + 0.38] * chosen.sum(),
                        marker,
                        ms=3,
                        mew=1,
                        clip_on=False,
                        color=COLOURS[colour],
                        mec=COLOURS[colour],
                    )
            row_label(ax, y + 0.04, str(name), f"{low:.2g} to {high:.2g}")
        ax.margins(x=0.01)
        finish_rows(
            ax, len(columns), f"Time in the recording ({unit}), middle of each {'window' if joined else 'trial'}"
        )

    return panels(table.assign(dataset=""), draw, lambda rows: 0.6 + 0.85 * len(columns))
