"""The report of a transfer study: one self-contained HTML page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.reports.cards import counted, dataset_card, joined, pipeline_card, plain, words
from neurosig.reports.drawing import metric_label
from neurosig.reports.findings import ALPHA
from neurosig.reports.page import figure_svg, format_number, format_p, write_page
from neurosig.reports.transfer_figures import CONDITIONS, plot_conditions, plot_effects, plot_people, plot_ranks

if TYPE_CHECKING:
    import pandas as pd

    from neurosig.evaluation.transfer_results import TransferResults

__all__ = ["write_transfer_report"]

_MEANING = {
    "within": "learned from the person's own training trials of the fold, tested on the fold's other trials",
    "transfer_all": "a network trained on everyone outside the person's group, then all its layers trained on with the "
    "person's own training trials",
    "transfer_head": "the same network, of which only the last layer is trained on",
    "direct": "learned from everyone outside the person's group, and from no label of the person; where FASTER is "
    "fitted in the folds, tested trials are cleaned by what it learned from the person's own training trials",
}


def write_transfer_report(results: TransferResults, path: str | os.PathLike) -> Path:
    """Write the page: findings, ranking, effects of transfer, comparisons, persons, protocol, and the data.

    Parameters
    ----------
    results : TransferResults
        What `TransferStudy.run` returned, or `TransferResults.load` read.
    path : path-like
        The HTML file. Equal results give an equal file.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    StorageError
        If the place cannot be written.
    """
    meta, table = results.meta, results.table
    metric = str(table["metric"].iloc[0])
    scored = bool(table["score"].notna().any())
    summary = results.summary() if scored else None
    effects = results.effects() if scored else None
    people = results.table["subject"].nunique()
    conditions = [name for name in CONDITIONS if name in set(table["condition"])]
    card = meta.get("dataset") or {"name": table["dataset"].iloc[0]}
    return write_page(
        path,
        "transfer.html.j2",
        kind="Transfer study",
        title=f"{counted(table['pipeline'].nunique(), 'pipeline')} within people and transferred, on {card['name']}",
        design=[
            joined([CONDITIONS[name] for name in conditions]),
            f"{card['folds']} folds" if card.get("folds") else "",
            metric_label(metric),
            f"n = {counted(people, 'subject')}",
            counted(table["seed"].nunique(), "seed"),
        ],
        metric_label=metric_label(metric),
        findings=_findings(summary, effects, metric) if scored else ["Nothing could be scored; reasons stand below."],
        caveats=_caveats(table, meta),
        remarks=results.warnings,
        conditions=[
            {"key": name, "name": CONDITIONS[name], "meaning": _MEANING[name], "rows": _rows(summary, name),
             "windows": _window_means(results, name)}
            for name in conditions
        ] if scored else [],
        has_windows=results.has_windows,
        ranks=_ranks(results) if scored else [],
        effects=_records(effects) if scored else [],
        pairs=_pairs(results) if scored else [],
        names=CONDITIONS,
        alpha=ALPHA,
        pictures=_pictures(results, summary, metric) if scored else {},
        people=_people(results, conditions) if scored else [],
        failed=_records(results.failed.head(20)),
        protocol=_protocol(meta),
        dataset=dataset_card(dict(card), metric),
        pipelines=[pipeline_card(one) for one in meta.get("pipelines", ())],
        glossary=_glossary(metric),
        reproduce={
            "command": meta.get("command") or "",
            "facts": [(words(key), plain(meta[key])) for key in ("created", "seconds", "n_jobs") if key in meta],
            "versions": [(str(name), str(number)) for name, number in (meta.get("versions") or {}).items()],
            "columns": list(table.columns),
        },
        csv=table.to_csv(index=False, lineterminator="\n"),
    )  # fmt: skip


def _findings(summary: pd.DataFrame, effects: pd.DataFrame, metric: str) -> list[str]:
    """Who leads in each condition, and what transfer brought whom."""
    lines = []
    label = metric_label(metric)
    for condition in CONDITIONS:
        rows = summary[(summary["condition"] == condition) & summary["mean"].notna()]
        if len(rows):
            first = rows.iloc[0]
            above = "above" if first["mean"] > first["chance_upper"] else "not above"
            line = (
                f"{CONDITIONS[condition]}: {first['pipeline']} is first with {label} {format_number(first['mean'])} "
                f"(n = {int(first['n'])}), {above} the bound of chance ({format_number(first['chance_upper'])})"
            )
            if len(rows) > 1:
                second = rows.iloc[1]
                line += f"; {second['pipeline']} follows {format_number(first['mean'] - second['mean'])} below"
            lines.append(line + ".")
    for way in ("transfer_all", "transfer_head", "direct"):
        rows = effects[effects["condition"] == way]
        if not len(rows):
            continue
        told = []
        for row in rows.itertuples():
            supported = row.p_wilcoxon_corrected < ALPHA
            told.append(f"{row.pipeline} {format_number(row.effect, 3, True)}{' (supported)' if supported else ''}")
        n_supported = int((rows["p_wilcoxon_corrected"] < ALPHA).sum())
        lines.append(
            f"{CONDITIONS[way]} against within: {'; '.join(told)}. "
            + (
                f"{n_supported} of {len(rows)} differences are supported by the paired test."
                if n_supported
                else "No difference is supported by the paired test."
            )
        )
    return lines


def _caveats(table: pd.DataFrame, meta: Mapping[str, Any]) -> list[str]:
    n, seeds = table["subject"].nunique(), table["seed"].nunique()
    protocol = meta.get("protocol") or {}
    others = table["pretrained_on"].dropna()
    lines = [
        f"{counted(n, 'subject')} and {counted(seeds, 'seed')}: a difference that is not supported is not shown to be "
        "none; the intervals say how large it may be.",
        "How long networks are trained, and on how much data, decides as much as which network it is: this ranking is "
        "one of these settings.",
    ]
    if len(others):
        fewest, most = int(others.min()), int(others.max())
        span = str(most) if fewest == most else f"{fewest} to {most}"
        lines.append(f"Pretraining saw {span} other people; more may bring more.")
    if len(protocol.get("seeds", ())) > 1:
        lines.append("Seeds are repetitions of training, not people: they enter no test.")
    return lines


def _rows(summary: pd.DataFrame, condition: str) -> list[dict[str, Any]]:
    return _records(summary[summary["condition"] == condition])


def _window_means(results: TransferResults, condition: str) -> dict[str, float]:
    if not results.has_windows:
        return {}
    summary = results.summary("window")
    rows = summary[summary["condition"] == condition]
    return dict(zip(rows["pipeline"], rows["mean"], strict=True))


def _ranks(results: TransferResults) -> list[dict[str, Any]]:
    """Conditions in which two pipelines or more can be ranked."""
    found = []
    for condition, ranking in results.rankings().items():
        if len(ranking.mean_ranks) < 2:
            continue
        told = f"n = {counted(ranking.n, 'subject')}"
        if ranking.p == ranking.p:
            told += f"; Friedman's χ² {format_number(ranking.statistic, 2)}, p {_equals(ranking.p)}"
        if ranking.critical_difference == ranking.critical_difference:
            told += f"; mean ranks {format_number(ranking.critical_difference, 2)} apart differ (Nemenyi, 0.05)"
        rows = [{"pipeline": name, "rank": rank} for name, rank in ranking.mean_ranks.items()]
        found.append({"name": CONDITIONS[condition], "told": told, "rows": rows})
    return found


def _pairs(results: TransferResults) -> list[dict[str, Any]]:
    pairs = results.compare()
    return [
        {"name": CONDITIONS[condition], "rows": _records(rows)}
        for condition, rows in pairs.groupby("condition", sort=False)
    ]


def _pictures(results: TransferResults, summary: pd.DataFrame, metric: str) -> dict[str, Any]:
    from neurosig.evaluation.transfer_tables import people_scores

    label = metric_label(metric)
    pictures = {
        "ranking": figure_svg(
            plot_conditions(summary, metric=metric), name="conditions",
            description=f"Mean {label} of each pipeline in each condition with its interval; the numbers stand in the "
                        "tables.",
        )
    }  # fmt: skip
    ranks = results.ranking_table()
    several = ranks[ranks.groupby("condition")["pipeline"].transform("size") > 1]
    if len(several):
        pictures["ranks"] = figure_svg(
            plot_ranks(several), name="ranks",
            description="Mean rank of each pipeline over people, by condition; they stand in the text.",
        )  # fmt: skip
    effects = results.person_effects()
    if len(effects):
        pictures["effects"] = figure_svg(
            plot_effects(effects, metric=metric), name="effects",
            description=f"Effect of transfer on {label}: mean with interval and every person, by condition.",
        )  # fmt: skip
    scores = people_scores(results.table)
    several_conditions = scores.groupby("pipeline", sort=False)["condition"].transform("nunique") > 1
    shown = scores[several_conditions & scores["score"].notna()]
    if len(shown):
        pictures["people"] = figure_svg(
            plot_people(shown, metric=metric), name="people",
            description=f"{label} of every person in each condition, a panel a pipeline.",
        )  # fmt: skip
    return pictures


def _people(results: TransferResults, conditions: list[str]) -> list[dict[str, Any]]:
    """Scores of single people, a table a pipeline."""
    from neurosig.evaluation.transfer_tables import people_scores

    scores = people_scores(results.table)
    blocks = []
    for name, part in scores.groupby("pipeline", sort=False):
        there = [condition for condition in conditions if condition in set(part["condition"])]
        wide = part.pivot(index="subject", columns="condition", values="score")
        facts = part.groupby("subject", sort=False)[["chance", "chance_upper"]].first()
        rows = [
            {"subject": subject, "scores": [wide.loc[subject, condition] for condition in there],
             **facts.loc[subject].to_dict()}
            for subject in facts.index
        ]  # fmt: skip
        blocks.append({"name": name, "conditions": [CONDITIONS[one] for one in there], "rows": rows})
    return blocks


def _protocol(meta: Mapping[str, Any]) -> list[tuple[str, Any]]:
    protocol = meta.get("protocol") or {}
    groups = protocol.get("groups") or []
    window = protocol.get("window")
    step = protocol.get("window_step") or window
    facts: list[tuple[str, Any]] = [
        ("Folds within a person", str(protocol.get("folds", ""))),
        ("Left out at a time", " | ".join(", ".join(map(str, group)) for group in groups)),
        ("Seeds", ", ".join(map(str, protocol.get("seeds", ())))),
        ("Fine-tuning", ", ".join(protocol.get("fine_tune", ())) or "none"),
        ("Windows", "none, whole trials" if window is None else f"{window:g} s, every {step:g} s"),
        ("FASTER", "fitted in the folds" if protocol.get("faster") else "no"),
    ]
    return [(name, value) for name, value in facts if value]


def _glossary(metric: str) -> list[tuple[str, str]]:
    from neurosig.reports.findings import glossary

    conditions = [(CONDITIONS[name], f"{text[0].upper()}{text[1:]}.") for name, text in _MEANING.items()]
    return [
        glossary(metric)[0],
        *conditions,
        ("Chance (bound)", "What a decoder that ignores the signals is expected to score, and what it exceeds in one "
         "of twenty such studies. For single windows the bound is that of trials: windows of one trial are one look."),
        ("SD over people, over seeds", "How much people differ (seeds averaged), and how much the mean over people "
         "changes from one training to the next."),
        ("Improvement over chance", "(score − chance) / chance, with chance one in the number of classes; 0.75 with "
         "two classes is +50 %. Normalised: (score − chance) / (1 − chance), 1 for a perfect score."),
        ("Effect of transfer", "A person's score with what was learned from others minus that without."),
        ("Corrected p", "Wilcoxon's signed-rank test over people, two-sided, corrected by Holm's method: for the pairs "
         "of a condition, or for all comparisons against within."),
        ("Mean rank", "Each person ranks the pipelines, 1 is best; ties share a rank."),
    ]  # fmt: skip


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _equals(p: float) -> str:
    text = format_p(p)
    return text if text.startswith("<") else f"= {text}"
