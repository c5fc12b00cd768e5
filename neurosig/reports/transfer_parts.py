"""Parts of the page of a transfer study: what its tables and lists hold, as plain rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neurosig.evaluation.progress import duration
from neurosig.reports.cards import counted
from neurosig.reports.page import format_number

if TYPE_CHECKING:
    import pandas as pd

    from neurosig.evaluation.transfer_results import TransferResults

__all__ = ["improvements", "networks", "people_blocks", "pretrained", "protocol_facts", "records", "time_facts"]

_DASH = "\N{EN DASH}"
_STOPPING = {"comparison": "as the comparison", "loss": "validation loss"}


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dictionaries."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def improvements(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Improvement from chance, a row a condition and pipeline, with the interval of the relative one."""
    rows = []
    for row in records(summary[summary["mean"].notna()]):
        uniform = row["mean"] - row["improvement_absolute"]
        ends = {f"relative_{end}": (row[f"ci_{end}"] - uniform) / uniform for end in ("low", "high")}
        rows.append({**row, **ends, "uniform": uniform})
    return rows


def people_blocks(results: TransferResults, conditions: list[str], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Scores of single people with their intervals, a table a pipeline."""
    from neurosig.evaluation.transfer_tables import people_scores

    blocks = []
    for name, part in people_scores(results.table).groupby("pipeline", sort=False):
        there = [condition for condition in conditions if condition in set(part["condition"])]
        by_person = part.set_index(["subject", "condition"])
        facts = part.groupby("subject", sort=False)[["chance", "chance_upper", "n_test"]].first()
        rows = [
            {"subject": subject, "scores": [_cell(by_person, subject, condition) for condition in there],
             **facts.loc[subject].to_dict()}
            for subject in facts.index
        ]  # fmt: skip
        blocks.append({"name": name, "conditions": [names[one] for one in there], "rows": rows})
    return blocks


def _cell(by_person: pd.DataFrame, subject: Any, condition: str) -> dict[str, float]:
    if (subject, condition) not in by_person.index:
        return dict.fromkeys(("score", "low", "high"), float("nan"))
    row = by_person.loc[(subject, condition)]
    return {"score": row["score"], "low": row["ci_low"], "high": row["ci_high"]}


def protocol_facts(meta: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What was asked for."""
    protocol = meta.get("protocol") or {}
    groups = protocol.get("groups") or []
    window = protocol.get("window")
    step = protocol.get("window_step") or window
    faster = "no"
    if protocol.get("faster"):
        faster = "without, and fitted in the folds" if protocol.get("faster_both") else "fitted in the folds"
    facts: list[tuple[str, Any]] = [
        ("Folds within a person", str(protocol.get("folds", ""))),
        ("Left out at a time", " | ".join(", ".join(map(str, group)) for group in groups)),
        ("Seeds", _seeds(protocol.get("seeds", ()))),
        ("Fine-tuning", ", ".join(protocol.get("fine_tune", ())) or "none"),
        ("Windows", "none, whole trials" if window is None else f"{window:g} s, every {step:g} s"),
        ("FASTER", faster),
    ]
    if protocol.get("max_epochs"):
        facts.append(("Epochs limited to", str(protocol["max_epochs"])))
    return [(name, value) for name, value in facts if value]


def _seeds(seeds: Sequence[int]) -> str:
    """How many, and which: a lone 0 would read as none."""
    if not seeds:
        return ""
    return f"{len(seeds)} (number{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))})"


def networks(results: TransferResults, conditions: list[str]) -> list[dict[str, Any]]:
    """How each network was set and how long it trained, by condition."""
    protocol = results.meta.get("protocol") or {}
    rows = []
    for card in results.meta.get("pipelines", ()):
        if not card.get("settings"):
            continue
        own = card["settings"]
        part = results.table[results.table["pipeline"] == card["name"]]
        whole = protocol.get("window")
        seconds = whole if own.get("window") is None else own["window"]
        step = protocol.get("window_step") if own.get("window") is None else own.get("window_step")
        parameters = part["n_parameters"].dropna()
        trained = {"within": "within", "pretraining": "direct", "all": "transfer_all", "head": "transfer_head"}
        rows.append({
            "name": card["name"],
            "module": own.get("module"),
            "options": own.get("module_params") or "",
            "parameters": int(parameters.iloc[0]) if len(parameters) else None,
            "training": f"at most {counted(own.get('max_epochs') or 0, 'epoch')}, batch {own.get('batch_size')}, "
                        f"{own.get('optimizer')} {own.get('lr')}",
            "stopping": _stopping(own),
            "windows": "whole trials" if seconds is None else f"{seconds:g} s, every {step or seconds:g} s",
            "trained": [(what, _epochs(part, name)) for what, name in trained.items() if name in conditions],
        })  # fmt: skip
    return rows


def _stopping(own: Mapping[str, Any]) -> str:
    if own.get("stopping") is None or own.get("validation") is None:
        return "after all epochs"
    rule = _STOPPING.get(own["stopping"], own["stopping"])
    return f"{rule}, patience {own.get('patience')}; {own['validation']:g} of the trials validate"


def _epochs(part: pd.DataFrame, condition: str) -> str:
    numbers = part.loc[part["condition"] == condition, "n_epochs"].dropna()
    if not len(numbers):
        return _DASH
    low, high = int(numbers.min()), int(numbers.max())
    return str(low) if low == high else f"{numbers.mean():.0f} ({low} to {high})"


def pretrained(meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Networks that were trained on everyone outside a group: whom they saw, how they do on whom they did not."""
    rows = []
    for one in meta.get("pretrained") or ():
        score = _DASH
        if one.get("mean") is not None:
            spread = "" if one.get("sd") is None else f" ± {format_number(one['sd'])}"
            score = f"{format_number(one['mean'])}{spread}"
        rows.append({**one, "score": score})
    return rows


def time_facts(meta: Mapping[str, Any]) -> list[tuple[str, str]]:
    """When and how long, over all calls of a study that was stopped or repeated."""
    facts: list[tuple[str, str]] = []
    if "seconds_fits" in meta:
        spent = f"{duration(meta['seconds_fits'])} for {meta['n_fits']} fits in all calls"
        facts.append(("Time of fits", f"{spent}; cleaning and testing included"))
    if "created" in meta:
        last = f"begun {meta['created']}"
        if "seconds" in meta:
            last += f", took {duration(meta['seconds'])}"
        if meta.get("n_fits_kept"):
            last += f"; {meta['n_fits_kept']} of {meta['n_fits']} fits were finished before"
        facts.append(("Last call", last))
    if "n_jobs" in meta:
        facts.append(("Jobs at once", str(meta["n_jobs"])))
    return facts
