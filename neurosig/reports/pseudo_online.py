"""The report of a pseudo-online evaluation: what a decoder that runs all the time would have done, and how well."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import UsageError
from neurosig.reports.cards import words
from neurosig.reports.cleaning_words import count
from neurosig.reports.drawing import COLOURS, finish_rows, finite, panels, row_label
from neurosig.reports.findings import Notice
from neurosig.reports.page import figure_svg, format_number, format_seconds, write_page

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from neurosig.evaluation.pseudo_online import PseudoOnline

__all__ = ["plot_actions", "write_pseudo_online_report"]

_MOST_DRAWN = 6  # recordings; more make a page that nobody reads
_CLASS_COLOURS = ("score", "against", "chance", "muted")
_FEW_TASKS = 30


def plot_actions(result: PseudoOnline, pipeline: str | None = None, *, files: list[str] | None = None) -> Figure:
    """Tasks and actions over the time of each recording, a colour a class; idle time is left empty.

    Parameters
    ----------
    result : PseudoOnline
        What `pseudo_online` returned.
    pipeline : str, optional
        Which decoder; None is the one with the best score.
    files : list of str, optional
        Only these recordings, by the column ``recording`` that `recordings_of` makes; None is the first six.

    Returns
    -------
    Figure
        A panel a recording. An action is drawn where the window that led to it ends.

    Raises
    ------
    UsageError
        If there is no such pipeline.
    """
    names = list(dict.fromkeys(result.table["pipeline"]))
    if pipeline is None:
        pipeline = best_pipeline(result)
    if pipeline not in names:
        raise UsageError(f"no pipeline {pipeline!r} in these results; there are {', '.join(names)}")
    rows = recordings_of(result)
    rows = rows[rows["pipeline"] == pipeline]
    shown = list(dict.fromkeys(rows["dataset"])) if files is None else files
    rows = rows[rows["dataset"].isin(shown[:_MOST_DRAWN])]
    window, step, idle = (result.about[name] for name in ("window", "step", "idle"))
    classes = sorted(set(rows["event"]) | set(rows["action"]) - {idle})
    classes = [name for name in classes if name != idle]
    colours = {name: COLOURS[_CLASS_COLOURS[i % len(_CLASS_COLOURS)]] for i, name in enumerate(classes)}

    def draw(ax: Axes, part: pd.DataFrame) -> None:
        for name in classes:
            tasks = part[part["event"] == name][["task_start", "task_stop"]].drop_duplicates()
            spans = [(row.task_start, row.task_stop - row.task_start) for row in tasks.itertuples()]
            ax.broken_barh(spans, (-0.3, 0.6), fc=colours[name], lw=0)
            ends = part.loc[part["action"] == name, "onset"] + window
            ax.broken_barh([(end, step) for end in ends], (0.7, 0.6), fc=colours[name], lw=0)
        row_label(ax, 0, "Task", "")
        row_label(ax, 1, "Action", "")
        ax.set_xlim(part["onset"].min(), part["onset"].max() + window + step)
        finish_rows(ax, 2, "Time in the recording (s)")
        handles = [_patch(colours[name], name) for name in classes]
        ax.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(handles) or 1, frameon=False)

    return panels(rows, draw, lambda _: 1.6)


def best_pipeline(result: PseudoOnline) -> str:
    """The pipeline with the highest mean score; the first of equals."""
    return str(result.table.groupby("pipeline", sort=False)["score"].mean().idxmax())


def recordings_of(result: PseudoOnline) -> pd.DataFrame:
    """The windows with one more column, ``dataset``, that tells recordings apart in words."""
    windows = result.windows
    several = windows.groupby("file")[["subject", "session", "run"]].nunique().gt(1).any(axis=None)
    said = windows["file"].astype(str)
    if several:  # simulated recordings of one person share a file name
        said = said + ", session " + windows["session"].astype(str) + ", run " + windows["run"].astype(str)
    return windows.assign(dataset=said)


def write_pseudo_online_report(result: PseudoOnline, path: str | os.PathLike) -> Path:
    """Write the page: scores of all decoders, what the best one did over time, and how windows were made.

    Parameters
    ----------
    result : PseudoOnline
        What `pseudo_online` returned.
    path : path-like
        The HTML file. Equal input gives an equal file.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    StorageError
        If the place cannot be written.
    """
    summary, about = result.summary(), result.about
    best = best_pipeline(result)
    leader = summary[summary["pipeline"] == best].iloc[0].to_dict()
    rows = recordings_of(result)
    drawn = []
    files = list(dict.fromkeys(rows["dataset"]))
    for i, file in enumerate(files[:_MOST_DRAWN]):
        svg = figure_svg(
            plot_actions(result, best, files=[file]),
            name=f"a{i + 1}",
            description=f"Tasks and the actions of {best} over the time of {file}.",
        )
        caption = "An action stands where the window that led to it ends. Empty: idle."
        drawn.append((file, svg, caption))
    return write_page(
        path,
        "pseudo_online.html.j2",
        kind="Pseudo-online evaluation",
        title=f"Decoding all the time: {about['dataset']}",
        sentences=_sentences(leader, about, result.table),
        notices=_notices(result, leader),
        summary=summary.to_dict("records"),
        people=result.table.to_dict("records"),
        best=best,
        pictures=drawn,
        not_drawn=len(files) - len(drawn),
        facts=_facts(about),
        glossary=_GLOSSARY,
        csv=result.windows.to_csv(index=False),
        columns=list(result.windows.columns),
    )


def _sentences(leader: Mapping[str, Any], about: Mapping[str, Any], table: pd.DataFrame) -> list[str]:
    said = [
        f"{leader['pipeline']} scores a normalised MCC of {format_number(leader['mean'])} over "
        f"{count(int(leader['n']), 'subject')}; a decoder that never acts, or guesses, scores 0.5."
    ]
    tasks = table.loc[table["pipeline"] == leader["pipeline"], "n_tasks"].sum()
    if tasks:
        late = f", {format_seconds(leader['latency'])} after the task began" if leader["detected"] else ""
        said.append(
            f"Of {count(int(tasks), 'task')} it answered {leader['detected']:.0%} with the right action first{late}, "
            f"and {leader['confused']:.0%} with a wrong one."
        )
    if tasks and leader["carried"]:
        said.append(f"{leader['carried']:.0%} of the tasks began while an earlier action still went on.")
    if finite(leader["false_positives"]):
        said.append(
            f"While nothing was meant, it began {format_number(leader['false_positives'], 1)} actions a minute, and "
            f"acted for {leader['idle_acting']:.0%} of the time."
        )
    return said


def _notices(result: PseudoOnline, leader: Mapping[str, Any]) -> list[Notice]:
    notices = []
    if not result.about["causal"]:
        text = "Signals were filtered forward and backward: each window holds some of its future, as none can online."
        notices.append(Notice("score", "warning", "The filter was not causal.", text))
    low = leader["ci_low"]
    if not finite(low):
        notices.append(Notice("score", "note", "One subject.", "Nothing here tells of other people."))
    elif low <= 0.5:
        text = f"The 95 % interval over subjects of {leader['pipeline']} reaches {format_number(low)}."
        notices.append(Notice("score", "warning", "Not above what guessing scores.", text))
    sessions = result.table[result.table["pipeline"] == leader["pipeline"]]
    tasks, minutes = sessions["n_tasks"].min(), sessions["idle_minutes"].min()
    if tasks < _FEW_TASKS:
        text = (
            f"A session has as few as {count(int(tasks), 'task')} and {format_number(minutes, 1)} minutes outside "
            "tasks to test on: shares, latencies and rates are rough."
        )
        notices.append(Notice("score", "note", "Few tasks.", text))
    return notices


def _facts(about: Mapping[str, Any]) -> list[tuple[str, Any]]:
    said = {
        "Window": f"{about['window']:g} s, every {about['step']:g} s",
        "Acts": "on each decision" if about["hold"] == 1 else f"on {about['hold']} equal decisions in a row",
        "Filter": "forward only" if about["causal"] else "zero-phase",
        "A window belongs to a task": f"if {about['min_overlap']:.0%} of it or more lie in the task",
        "Trained on": f"the first {about['train_fraction']:.0%} of each session",
        "Windows": listed([f"{name} {number}" for name, number in about["windows_per_class"].items()]),
    }
    options = {words(name): value for name, value in about["processing"].items() if value is not None}
    return [*said.items(), *((name, str(value)) for name, value in options.items())]


def _patch(colour: str, label: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(fc=colour, lw=0, label=label)


_GLOSSARY = [
    (
        "Normalised MCC",
        "(MCC + 1) / 2 over all windows and classes, idle included: 0.5 is guessing, 1 is faultless",
    ),
    ("Balanced accuracy", "the share of windows decided correctly, averaged over classes, idle among them"),
    (
        "ITR",
        "information transfer rate by Wolpaw's formula, in bits a minute, from the balanced accuracy and the signal an "
        "action takes: a window, and a step for each further decision that must agree",
    ),
    ("Detected", "share of tasks in which the first action that begins is the right one"),
    ("Confused", "share of tasks in which the first action that begins is another class's"),
    ("Carried over", "share of tasks that begin while an earlier action goes on, which is no answer to them"),
    ("Latency", "median time from the start of a detected task to the end of the window that was acted on"),
    ("False positives", "actions that begin outside all tasks, a minute of such time"),
    ("Idle time acting", "share of the time outside all tasks in which the system acts"),
]
