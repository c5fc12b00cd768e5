"""The report of a transfer study: one self-contained HTML page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.evaluation.transfer_tables import dummy_names
from neurosig.evaluation.verdict import above_chance, tied_with_first
from neurosig.reports.cards import counted, dataset_card, joined, pipeline_card
from neurosig.reports.drawing import metric_label
from neurosig.reports.findings import ALPHA, against_chance
from neurosig.reports.page import figure_svg, format_number, format_p, write_page
from neurosig.reports.transfer_figures import CONDITIONS, plot_conditions, plot_effects, plot_people, plot_ranks
from neurosig.reports.transfer_parts import (
    improvements,
    networks,
    people_blocks,
    pretrained,
    protocol_facts,
    records,
    time_facts,
)

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
    """Write the page: findings, scores, improvement from chance, ranks, effects of transfer, comparisons, and the data.

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
    windows = results.summary("window") if scored and results.has_windows else None
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
        findings=_findings(summary, effects, metric, dummy_names(table))
        if scored else ["Nothing could be scored; reasons stand below."],
        caveats=_caveats(table, meta),
        remarks=results.warnings,
        conditions=[
            {"key": name, "name": CONDITIONS[name], "meaning": _MEANING[name], "rows": _rows(summary, name),
             "windows": [] if windows is None else _rows(windows, name)}
            for name in conditions
        ] if scored else [],
        improvements=improvements(summary) if scored else [],
        ranks=_ranks(results) if scored else [],
        effects=records(effects) if scored else [],
        pairs=_pairs(results) if scored else [],
        dummies=sorted(dummy_names(table)),
        names=CONDITIONS,
        alpha=ALPHA,
        pictures=_pictures(results, summary, metric) if scored else {},
        people=people_blocks(results, conditions, CONDITIONS) if scored else [],
        failed=records(results.failed.head(20)),
        protocol=protocol_facts(meta),
        networks=networks(results, conditions),
        pretrained=pretrained(meta),
        dataset=dataset_card(dict(card), metric),
        pipelines=[
            pipeline_card({key: value for key, value in one.items() if key != "settings"})
            for one in meta.get("pipelines", ())
        ],
        glossary=_glossary(metric),
        reproduce={
            "command": meta.get("command") or "",
            "facts": time_facts(meta),
            "versions": [(str(name), str(number)) for name, number in (meta.get("versions") or {}).items()],
            "columns": list(table.columns),
        },
        csv=table.to_csv(index=False, lineterminator="\n"),
    )  # fmt: skip


def _leader(condition: str, rows: pd.DataFrame, dummies: set[str], label: str) -> str:
    """Who scores best in a condition, and how that compares with guessing; nobody leads where nobody competes."""
    own = rows[~rows["pipeline"].isin(dummies)]
    first = (own if len(own) else rows).iloc[0]
    interval = ""
    if first["ci_low"] == first["ci_low"]:
        interval = f"95 % CI {format_number(first['ci_low'])} to {format_number(first['ci_high'])}, "
    score = f"{label} {format_number(first['mean'])} ({interval}n = {int(first['n'])})"
    if len(own) < 2:
        alone = ", the only pipeline," if len(rows) == 1 else ", the only pipeline beside guessing," if len(own) else ""
        line = f"{condition}: {first['pipeline']}{alone} reaches {score}"
    elif (n_tied := tied_with_first(own["mean"])) > 1:
        line = f"{condition}: {joined(list(own['pipeline'].iloc[:n_tied]))} are equal: {first['pipeline']} has {score}"
    else:
        second = own.iloc[1]
        gap = first["mean"] - second["mean"]
        word = "leads with" if gap > 0 and above_chance(first) else "has the highest mean,"
        line = f"{condition}: {first['pipeline']} {word} {score}, {format_number(gap)} above {second['pipeline']}"
    return f"{line}. {against_chance(first, 'it')}"


def _findings(summary: pd.DataFrame, effects: pd.DataFrame, metric: str, dummies: set[str]) -> list[str]:
    """Who leads in each condition, and what transfer brought whom."""
    lines = []
    label = metric.replace("_", " ")
    for condition in CONDITIONS:
        rows = summary[(summary["condition"] == condition) & summary["mean"].notna()]
        if len(rows):
            lines.append(_leader(CONDITIONS[condition], rows, dummies, label))
    for way in ("transfer_all", "transfer_head", "direct"):
        rows = effects[effects["condition"] == way]
        if not len(rows):
            continue
        told = []
        for row in rows.itertuples():
            supported = row.p_wilcoxon_corrected < ALPHA
            told.append(f"{row.pipeline} {format_number(row.effect, 3, True)}{' (supported)' if supported else ''}")
        lines.append(f"{CONDITIONS[way]} against within: {'; '.join(told)}.")
    if len(effects) and (effects["p_minimum"] >= ALPHA).all():
        lines.append("With so few people no paired test can support a difference, however large.")
    elif len(effects):
        n_supported = int((effects["p_wilcoxon_corrected"] < ALPHA).sum())
        lines.append(
            f"{n_supported} of these {len(effects)} differences {'is' if n_supported == 1 else 'are'} supported by the "
            "paired test, corrected for their number."
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
    return records(summary[summary["condition"] == condition])


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
    """Comparisons by family of tests: pairs of pipelines in each condition, then pipelines against dummies."""
    pairs = results.compare()
    return [
        {"name": CONDITIONS[condition] + (", against guessing" if family == "chance" else ""), "rows": records(rows)}
        for family in ("pipelines", "chance")
        for condition, rows in pairs[pairs["family"] == family].groupby("condition", sort=False)
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
    scores = scores[~scores["pipeline"].isin(dummy_names(results.table))]
    several_conditions = scores.groupby("pipeline", sort=False)["condition"].transform("nunique") > 1
    shown = scores[several_conditions & scores["score"].notna()]
    if len(shown):
        pictures["people"] = figure_svg(
            plot_people(shown, metric=metric), name="people",
            description=f"{label} of every person in each condition, a panel a pipeline.",
        )  # fmt: skip
    return pictures


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
        ("Accuracy improvement from chance", "How far a score lies above u, one in the number of classes, which is not "
         "the chance of the other tables: relative, absolute and normalised, as explained at the table."),
        ("Effect of transfer", "A person's score with what was learned from others minus that without."),
        ("Corrected p", "Wilcoxon's signed-rank test over people, two-sided, corrected by Holm's method in one family "
         "of tests: the pairs of pipelines in a condition; the pipelines against guessing in a condition; or all "
         "comparisons of transfer against within. Dummies, which ignore the signals, are in the second family only."),
        ("Mean rank", "Each person ranks the pipelines, 1 is best; ties share a rank. Dummies are not ranked."),
    ]  # fmt: skip


def _equals(p: float) -> str:
    text = format_p(p)
    return text if text.startswith("<") else f"= {text}"
