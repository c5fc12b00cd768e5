"""The report of a decoding: one page about what a trained pipeline said of new recordings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.evaluation.verdict import above_chance
from neurosig.reports import figures
from neurosig.reports.cleaning_words import count
from neurosig.reports.drawing import metric_label
from neurosig.reports.findings import Notice
from neurosig.reports.page import figure_svg, format_number, write_page

if TYPE_CHECKING:
    import pandas as pd

    from neurosig.evaluation.decoded import Decoded

__all__ = ["write_decode_report"]

_MOST_DRAWN = 6  # recordings with a timeline; more make a page that nobody reads
_MOST_POINTS = 1500
_MOST_RUNS = 200  # answers in the table of the page
_UNSURE = 0.6
_PREFIX = {"probability": "p_", "score": "score_"}


def write_decode_report(decoded: Decoded, path: str | os.PathLike) -> Path:
    """Write the page: what was decoded by which model, the timeline, class counts, channel mapping and caveats.

    Parameters
    ----------
    decoded : Decoded
        What `TrainedPipeline.decode` returned.
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
    table, report = decoded.table, decoded.report
    card = report.get("model", {})
    mode = report.get("mode")
    joined = mode != "events"
    unit = {"events": "trial", "runs": "run"}.get(str(mode), "window")
    counts = table["predicted"].value_counts().reindex(list(decoded.classes), fill_value=0)
    files = list(dict.fromkeys(table["file"]))
    accuracy = _accuracy(decoded)
    pipeline, data = card.get("pipeline", {}), card.get("dataset", {})
    return write_page(
        path,
        "decode.html.j2",
        kind="Decoding of recordings",
        title=f"{len(table)} {unit}{'' if len(table) == 1 else 's'} of {_files(files)}",
        model=" trained on ".join(
            str(part) for part in (pipeline.get("name"), data.get("title") or data.get("name")) if part
        ),
        unit=unit,
        sentence=_sentence(counts, len(table), unit),
        accuracy=accuracy,
        expected=[_expected(score) for score in card.get("scores", ())],
        notices=_notices(decoded, unit),
        counts=[
            (name, int(counts[name]), counts[name] / max(len(table), 1), _mean_number(decoded, name))
            for name in decoded.classes
        ],
        number_name={"probability": "Mean probability where chosen", "score": "Mean score where chosen"}.get(
            decoded.kind
        ),
        classes=list(decoded.classes),
        runs=_runs(decoded) if mode == "runs" else [],
        runs_left_out=max(0, len(table) - _MOST_RUNS),
        answer_name={"probability": "Probability of", "score": "Score of"}.get(decoded.kind),
        timelines=[] if mode == "runs" else _timelines(decoded, files[:_MOST_DRAWN], joined),
        not_drawn=0 if mode == "runs" else len(files) - _MOST_DRAWN,
        recordings=[_recording(entry) for entry in report.get("recordings", ())],
        facts=_facts(card, report),
        csv=table.to_csv(index=False, lineterminator="\n"),
        columns=list(table.columns),
    )


def _runs(decoded: Decoded) -> list[dict[str, Any]]:
    """The answer about each run, with what it rests on and, where it is known, the label."""
    prefix = _PREFIX.get(decoded.kind)
    rows = []
    for row in decoded.table.head(_MOST_RUNS).to_dict("records"):
        label, right = row.get("event"), row.get("correct")
        rows.append({
            "name": Path(str(row["file"])).name, "subject": row.get("subject"), "predicted": row["predicted"],
            "numbers": [] if prefix is None else [row[f"{prefix}{name}"] for name in decoded.classes],
            "label": label if isinstance(label, str) else "", "wrong": right is not None and not right,
        })  # fmt: skip
    return rows


def _sentence(counts: pd.Series, total: int, unit: str) -> str:
    said = ", ".join(
        f"{name} {number} {'time' if number == 1 else 'times'} ({_share(number, total)})"
        for name, number in counts.items()
    )
    return f"The model named {said}, in {total} {unit}{'' if total == 1 else 's'}."


def _share(number: int, total: int) -> str:
    """A share in whole percent, which says 0 or 100 only of none and all."""
    percent = 100 * number / max(total, 1)
    if 0 < number < total and not 1 <= percent <= 99:
        return "< 1 %" if percent < 1 else "> 99 %"
    return f"{percent:.0f} %"


def _accuracy(decoded: Decoded) -> dict[str, Any] | None:
    """Accuracy where the file holds labels, with its interval and what guessing would reach on the same labels."""
    if decoded.accuracy is None:
        return None
    from scipy.stats import binomtest

    known = decoded.table[decoded.table["correct"].notna()]
    n, right = len(known), int(known["correct"].astype(bool).sum())
    interval = binomtest(right, n).proportion_ci(method="wilson")
    counts = {str(name): int(number) for name, number in known["event"].value_counts().items()}
    found = {
        "n": n,
        "right": right,
        "value": right / n,
        "low": interval.low,
        "high": interval.high,
        "counts": counts,
        "chance": None,
        "upper": None,
        "verdict": "",
    }
    if len(counts) > 1:
        from neurosig.evaluation.metrics import chance_level

        chance = chance_level(counts, "accuracy")
        verdict = "more than guessing reaches" if right / n > chance.upper else "no more than guessing can reach"
        found |= {"chance": chance.level, "upper": chance.upper, "verdict": verdict}
    return found


def _expected(score: Mapping[str, Any]) -> str:
    spread = (
        ""
        if score.get("sd") is None
        else f" ± {format_number(score['sd'])} (SD over {count(score['n_scores'], 'score')})"
    )
    interval = score.get("ci_low")
    reach = (
        f"bound {format_number(score['chance_upper'])}"
        if interval is None
        else f"95 % CI {format_number(interval)} to {format_number(score['ci_high'])}"
    )
    return (
        f"{score['question']}: {metric_label(score['metric'])} {format_number(score['mean'])}{spread}, "
        f"{count(score['n_trials'], 'trial' if interval is None else 'run')}; "
        f"chance {format_number(score['chance'])}, {reach}"
    )


def _notices(decoded: Decoded, unit: str) -> list[Notice]:
    found = [Notice("top", "warning", "Note:", f"{text}.") for text in decoded.report.get("warnings", ())]
    card = decoded.report.get("model", {})
    scores = card.get("scores", ())
    if not scores:
        found.append(
            Notice(
                "top",
                "warning",
                "Untested model.",
                "It was fitted without cross-validation: nobody knows how often it is right.",
            )
        )
    elif not any(above_chance(score) for score in scores):
        found.append(
            Notice(
                "top",
                "warning",
                "Model not above chance.",
                "In cross-validation on its own training data it was not "
                "better than guessing allows: do not rely on what it says here.",
            )
        )
    if decoded.kind == "probability":
        columns = [f"p_{name}" for name in decoded.classes]
        unsure = int((decoded.table[columns].max(axis=1) < _UNSURE).sum())
        if unsure:
            found.append(
                Notice(
                    "top",
                    "note",
                    "Undecided:",
                    f"in {unsure} of {count(len(decoded.table), unit)} no class reaches a probability of {_UNSURE}.",
                )
            )
        found.append(
            Notice(
                "top",
                "note",
                "Probabilities",
                "are the classifier's own and were not calibrated on this person; "
                "0.9 need not mean right nine times in ten.",
            )
        )
    if unit == "window":
        found.append(
            Notice(
                "top",
                "note",
                "Every window gets a class,",
                "also where the person did nothing of what the model knows; it has no class for “neither”.",
            )
        )
    return found


def _mean_number(decoded: Decoded, name: str) -> float | None:
    if decoded.kind == "label":
        return None
    column = f"{_PREFIX[decoded.kind]}{name}"
    chosen = decoded.table.loc[decoded.table["predicted"] == name, column]
    return float(chosen.mean()) if len(chosen) else None


def _timelines(decoded: Decoded, files: list[str], joined: bool) -> list[tuple[str, Any, str]]:
    level = 1 / len(decoded.classes) if decoded.kind == "probability" else 0.0 if decoded.kind == "score" else None
    prefix = _PREFIX.get(decoded.kind)
    quantity = {"probability": "Probability", "score": "Decision score"}.get(decoded.kind, "Choice")
    drawn = []
    for number, file in enumerate(files):
        rows = decoded.table[decoded.table["file"] == file].reset_index(drop=True)
        if prefix is None:
            rows = rows.assign(**{f"_{name}": (rows["predicted"] == name).astype(float) for name in decoded.classes})
        columns = {name: f"{prefix or '_'}{name}" for name in decoded.classes}
        averaged = ""
        if len(rows) > _MOST_POINTS:
            every = -(-len(rows) // _MOST_POINTS)
            averaged = (
                f" Each point is the mean of {every} {'windows' if joined else 'trials'}; the download holds all."
            )
            rows = rows[["onset", "duration", *columns.values()]].groupby(rows.index // every).mean()
        told = ", ".join(
            f"{name} {_share(number, len(said))}"
            for said in [decoded.table.loc[decoded.table["file"] == file, "predicted"]]
            for name, number in said.value_counts().items()
        )
        svg = figure_svg(
            figures.plot_timeline(rows, columns, level=level, joined=joined),
            name=f"t{number + 1}",
            description=f"{quantity} of each class over the time of {file}. Named: {told}.",
        )
        marks = (
            " Below a strip, a dot marks a trial of that class, a cross one that was decoded wrongly."
            if "correct" in rows
            else ""
        )
        dashed = " Dashed: no preference." if level is not None else ""
        drawn.append((file, svg, f"{quantity} of each class over time.{dashed}{marks}{averaged}"))
    return drawn


def _recording(entry: Mapping[str, Any]) -> dict[str, Any]:
    channels = entry.get("channels") or {}
    lists = [
        (label, values)
        for key, label in (("interpolated", "Estimated from their neighbours"), ("dropped", "Missing, left out"),
                           ("ignored", "In the file, not used by the model"), ("notes", "Differences to the training"))
        if (values := list(channels.get(key) or ()))
    ]  # fmt: skip
    if renamed := channels.get("renamed"):
        lists.append(("Matched under another name", [f"{old} → {new}" for old, new in renamed.items()]))
    return {"t_r": None, **entry, "name": Path(str(entry.get("file", "recording"))).name, "lists": lists}


def _facts(card: Mapping[str, Any], report: Mapping[str, Any]) -> list[tuple[str, Any]]:
    pipeline, data = card.get("pipeline", {}), card.get("dataset", {})
    window = report.get("window", {})
    step = f", a new one every {window['step']:g} s" if window.get("step") else ""
    processing = [
        f"{key} {value}" for key, value in (report.get("processing") or {}).items() if value not in (None, [])
    ]
    trained = [f"{number} {name}" for name, number in (data.get("trials_per_class") or {}).items()]
    facts = [
        ("Pipeline", pipeline.get("name")),
        ("Steps", pipeline.get("steps")),
        ("Trained on", data.get("title") or data.get("name")),
        ("Subjects", len(data["subjects"]) if data.get("subjects") else None),
        ("Trials", trained),
        ("Data identity", data.get("identity")),
        ("Window", f"{window['length']:g} s{step}" if window.get("length") else None),
        ("Processing", processing),
        ("Seed", card.get("seed")),
        ("Versions", [f"{name} {number}" for name, number in (card.get("versions") or {}).items()]),
    ]
    return [(term, value) for term, value in facts if value not in (None, "", [])]


def _files(files: list[str]) -> str:
    return Path(files[0]).name if len(files) == 1 else f"{len(files)} recordings"
