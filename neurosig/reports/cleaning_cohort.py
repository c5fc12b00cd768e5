"""The report of a cohort: how much was removed from each recording, which channels and subjects stand out."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.files import atomic_write
from neurosig.preprocessing.faster_rounds import largest_z
from neurosig.reports import cleaning_figures as figures
from neurosig.reports.cleaning_words import (
    FEW_TRIALS,
    MANY_CHANNELS,
    METRICS,
    STATES,
    because,
    count,
    events_in_words,
    options_in_words,
    percent,
    reason,
    serious_notes,
)
from neurosig.reports.page import figure_svg, write_page

if TYPE_CHECKING:
    from neurosig.preprocessing.cleaning import CleaningOptions
    from neurosig.preprocessing.cleaning_runs import Outcome
    from neurosig.preprocessing.faster_outliers import Outliers

__all__ = ["write_cohort_report"]


def write_cohort_report(
    outcomes: Sequence[Outcome],
    options: CleaningOptions,
    out: str | os.PathLike,
    *,
    outliers: Outliers | None = None,
    note: str = "",
    remarks: Sequence[str] = (),
) -> dict[str, Path]:
    """Write the page of all recordings, the same for machines, and a table.

    Parameters
    ----------
    outcomes : sequence of Outcome
        From `preprocess`, and from `earlier_outcomes` what earlier calls left in the folder.
    options : CleaningOptions
        How the recordings were cleaned.
    out : path-like
        Folder of the results; the pages of single recordings are linked relative to it.
    outliers : Outliers, optional
        From `find_cohort_outliers`.
    note : str
        What it said.
    remarks : sequence of str
        What else a reader should know, one sentence each.

    Returns
    -------
    dict of str to Path
        ``report`` (cleaning.html), ``record`` (cleaning.json) and ``table`` (cleaning.csv).

    Raises
    ------
    StorageError
        If the folder cannot be written.
    """
    out = Path(out)
    rows = [_row(outcome, out) for outcome in outcomes]
    done = [row for row in rows if row["state"] in ("cleaned", "skipped")]
    failed = [row for row in rows if row["state"] == "failed"]
    left_out = [row for row in rows if row["state"] == "left out"]
    stage = None if outliers is None else json.loads(json.dumps(outliers.to_dict(), default=_plain))
    subjects = list(dict.fromkeys(row["subject"] for row in done))
    counts = Counter(name for row in done for name in row["names"])
    records = [outcome.record for outcome in outcomes if outcome.record]
    filled = Counter(name for each in records for name in each["summary"]["channels_interpolated"])
    record = {
        "recordings": [
            {key: value for key, value in row.items() if key not in ("label", "names")}
            | {"state": STATES.get(row["state"], row["state"])}
            for row in rows
        ],
        "outlier_subjects": stage,
        "outlier_subjects_note": note,
        "remarks": list(remarks),
        "options": options.to_dict(),
        "events": events_in_words(records),
        "channels_bad": dict(sorted(counts.items())),
        "channels_interpolated": dict(sorted(filled.items())),
    }
    csv = _csv(rows)
    page = write_page(
        out / "cleaning.html",
        "cleaning_cohort.html.j2",
        kind="Cleaning of many recordings",
        title=f"{count(len(done), 'recording')} of {count(len(subjects), 'subject')}, cleaned",
        finding=_cohort_finding(done, failed, left_out, outliers),
        notices=_cohort_notices(done, failed, note, outliers, remarks),
        rows=done,
        failed=failed,
        left_out=left_out,
        pictures=_cohort_pictures(done, counts, stage),
        outliers=_outlier_rows(stage),
        settings=[("Events", events_in_words(records) or "none"), *options_in_words(options.to_dict())],
        glossary=_glossary(stage),
        csv=csv,
    )
    return {
        "report": page,
        "record": atomic_write(out / "cleaning.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n"),
        "table": atomic_write(out / "cleaning.csv", csv),
    }


def _row(outcome: Outcome, out: Path) -> dict[str, Any]:
    source = outcome.source
    row: dict[str, Any] = {
        "label": source.label.replace("_", " "),
        "subject": source.subject, "session": source.session, "task": source.task, "run": source.run,
        "state": outcome.state, "error": outcome.error, "names": [],
    }  # fmt: skip
    if not outcome.record:
        return row
    summary = outcome.record["summary"]
    bad = [*summary["channels_interpolated"], *summary["channels_left_bad"]]
    removed = None if summary["components"] is None else len(summary["components_removed"])
    return row | {
        "names": bad,
        "trials": summary["trials"],
        "trials_kept": summary["trials_kept"],
        "channels": summary["channels"],
        "channels_bad": len(bad),
        "components": summary["components"],
        "components_removed": removed,
        "dropped_percent": 100 - 100 * summary["trials_kept"] / summary["trials"],
        "channels_percent": 100 * len(bad) / summary["channels"],
        "components_percent": None if removed is None else 100 * removed / summary["components"],
        "cells_percent": 100 * summary["cells_interpolated"] / max(summary["cells"], 1),
        "notes": list(outcome.record["notes"]),
        "bad_channels": bad,
        "files": {name: path.relative_to(out).as_posix() for name, path in outcome.files.items()},
    }


def _cohort_finding(
    done: Sequence[Mapping[str, Any]],
    failed: Sequence[Mapping[str, Any]],
    left_out: Sequence[Mapping[str, Any]],
    outliers: Outliers | None,
) -> str:
    if not done:
        return f"None of {count(len(failed) + len(left_out), 'recording')} could be cleaned."
    kept, cut = sum(row["trials_kept"] for row in done), sum(row["trials"] for row in done)
    bad, channels = sum(row["channels_bad"] for row in done), sum(row["channels"] for row in done)
    parts = [
        f"{kept} of {count(cut, 'trial')} kept ({percent(kept, cut)})",
        f"{percent(bad, channels)} of channels bad",
    ]
    components = sum(row["components"] or 0 for row in done)
    if components:
        removed = sum(row["components_removed"] or 0 for row in done)
        parts.append(f"{percent(removed, components)} of components removed")
    if outliers is not None:
        named = ", ".join(map(str, outliers.bads))
        none = "no outlier among the subjects"
        if not _can_find(outliers):
            none = f"outlier subjects not tested ({len(outliers.items)} are too few)"
        parts.append(f"outlier subjects: {named}" if named else none)
    if left_out:
        parts.append(f"{count(len(left_out), 'recording')} left out, without events to cut around")
    if failed:
        parts.append(f"{count(len(failed), 'recording')} failed")
    return "; ".join(parts) + "."


def _cohort_notices(
    done: Sequence[Mapping[str, Any]],
    failed: Sequence[Mapping[str, Any]],
    note: str,
    outliers: Outliers | None,
    remarks: Sequence[str],
) -> list[dict[str, str]]:
    found = []
    if failed:
        text = "They are listed below with the reason. The same command tries them again and skips what is done."
        found.append({"level": "warning", "title": f"{count(len(failed), 'recording')} failed.", "text": text})
    look = [
        row["label"]
        for row in done
        if row["trials_kept"] < FEW_TRIALS * row["trials"] or row["channels_bad"] > MANY_CHANNELS * row["channels"]
    ]
    if look:
        more = f" and {len(look) - 8} more" if len(look) > 8 else ""
        text = f"Under {FEW_TRIALS:.0%} of trials kept or over {MANY_CHANNELS:.0%} of channels bad: "
        text += f"{', '.join(look[:8])}{more}."
        found.append({"level": "warning", "title": "Worth a look by eye.", "text": text})
    title = "Not all could be looked at or mended."
    serious = serious_notes([row["notes"] for row in done], [row["label"] for row in done])
    found += [{"level": "warning", "title": title, "text": f"{text}."} for text in serious]
    found += [{"level": "warning", "title": "Careful.", "text": f"{text[:1].upper()}{text[1:]}."} for text in remarks]
    if note:
        title = "Outlier subjects." if outliers is not None else "Outlier subjects were not looked for."
        found.append({"level": "note", "title": title, "text": note[:1].upper() + note[1:] + "."})
    return found


def _can_find(outliers: Outliers) -> bool:
    """Whether any of so few subjects could have been beyond a threshold."""
    ddof = 1  # of "mended" and "paper"; "mne" reaches less far
    return any(largest_z(len(outliers.items), ddof) > outliers.threshold[metric] for metric in outliers.scores)


_MEASURES = (
    ("dropped_percent", "Trials dropped"), ("channels_percent", "Channels bad"),
    ("components_percent", "Components removed"), ("cells_percent", "Channels mended in single trials"),
)  # fmt: skip


def _cohort_pictures(
    done: Sequence[Mapping[str, Any]], counts: Mapping[str, int], stage: Mapping[str, Any] | None
) -> list[tuple[Any, str]]:
    found = []
    if done:
        found.append((
            figure_svg(figures.plot_cohort(done, _MEASURES), name="cohort",
                       description="How much was removed from each recording; the numbers stand in the table."),
            "How much was removed from each recording.",
        ))  # fmt: skip
    if counts:
        told = ", ".join(f"{name} {n}" for name, n in Counter(counts).most_common(8))
        found.append((
            figure_svg(figures.plot_channel_rates(counts, len(done)), name="channels",
                       description=f"How often each channel was bad: {told}."),
            "A channel that is bad in many recordings points to its electrode or the amplifier; neighbours with little "
            "signal point to a reference electrode beside them.",
        ))  # fmt: skip
    if stage is not None:
        bad = ", ".join(map(str, stage["bad"])) or "none"
        found.append((
            figure_svg(figures.plot_z(stage, "subject"), name="subjects",
                       description=f"z-scores of the subjects' averages; beyond a threshold: {bad}."),
            "Each subject's average over cleaned trials, compared with the others'.",
        ))  # fmt: skip
    return found


def _outlier_rows(stage: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if stage is None:
        return []
    return [(str(item), "; ".join(reason(metric, z) for metric, z in because(stage, item))) for item in stage["bad"]]


def _glossary(stage: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    names = dict.fromkeys(name.split(":")[0] for name in (stage or {}).get("z", {}))
    return [METRICS[name] for name in names if name in METRICS]


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    import pandas as pd

    columns = [
        "subject", "session", "task", "run", "state", "trials", "trials_kept", "channels", "channels_bad", "components",
        "components_removed", "dropped_percent", "channels_percent", "components_percent", "cells_percent",
        "bad_channels", "error",
    ]  # fmt: skip
    told = [
        {**row, "bad_channels": " ".join(row["names"]), "state": STATES.get(row["state"], row["state"])} for row in rows
    ]
    table = pd.DataFrame(told).reindex(columns=columns)
    whole = ["trials", "trials_kept", "channels", "channels_bad", "components", "components_removed"]
    table[whole] = table[whole].astype("Int64")
    return table.to_csv(index=False, lineterminator="\n", float_format="%.3f")


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
