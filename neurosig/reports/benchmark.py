"""The report of a benchmark: one self-contained HTML page that a researcher can act on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.reports import figures
from neurosig.reports.cards import counted, dataset_card, joined, pipeline_card, plain, words
from neurosig.reports.chosen import chosen_pictures
from neurosig.reports.connectome import connectome_pictures
from neurosig.reports.drawing import metric_label, unit_of
from neurosig.reports.findings import ALPHA, find, glossary, warn
from neurosig.reports.page import figure_svg, write_page

if TYPE_CHECKING:
    import pandas as pd

    from neurosig.evaluation.results import Results

__all__ = ["write_benchmark_report"]

_MOST_NAMED = 4  # datasets whose numbers of subjects are told one by one above the page


def write_benchmark_report(results: Results, path: str | os.PathLike) -> Path:
    """Write the page: headline, ranking, subjects, comparisons, cards, glossary, how to reproduce, and the data.

    Parameters
    ----------
    results : Results
        What `neurosig.benchmark` returned, or `Results.load` read.
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
    meta = results.meta
    table = results.table
    ranking = _ranking(results)
    pairs = _pairs(results)
    panels = []
    for number, dataset in enumerate(dict.fromkeys(table["dataset"])):
        metric = _first(table.loc[table["dataset"] == dataset, "metric"], "score")
        panels.append(_panel(
            f"d{number + 1}", dataset, metric, table[table["dataset"] == dataset],
            ranking[ranking["dataset"] == dataset], pairs[pairs["dataset"] == dataset], meta,
        ))  # fmt: skip
    n_pipelines = table["pipeline"].nunique()
    metrics = list(dict.fromkeys(panel["metric"] for panel in panels))
    return write_page(
        path,
        "benchmark.html.j2",
        kind="Benchmark of decoding pipelines",
        title=f"{counted(n_pipelines, 'pipeline')} on {joined(list(dict.fromkeys(table['dataset'])))}",
        design=_design(meta, table),
        panels=panels,
        combined=_combined(results) if len(panels) > 1 else [],
        remarks=[str(remark) for remark in meta.get("warnings", ())],
        datasets=[dataset_card(card, metrics[0]) for card in meta.get("datasets", ())],
        pipelines=[
            pipeline_card(card)
            | {"pictures": chosen_pictures(card, f"c{number + 1}") + connectome_pictures(card, f"c{number + 1}", meta)}
            for number, card in enumerate(meta.get("pipelines", ()))
        ],
        glossary=[glossary(metric)[0] for metric in metrics[1:]] + glossary(metrics[0], panels[0]["unit"]),
        reproduce=_reproduce(meta, table),
        csv=table.to_csv(index=False, lineterminator="\n"),
    )


def _ranking(results: Results) -> pd.DataFrame:
    """`Results.summary` with, beside each mean, its chance, bound, costs and the reason of a failure; best first."""
    import pandas as pd

    table = results.table
    keys = ["dataset", "pipeline"]
    costs = table.groupby(keys, sort=False).agg(
        chance=("chance", "mean"), chance_upper=("chance_upper", "mean"), seconds=("seconds_fit", "mean"),
        memory=("peak_memory_mb", "max"), parameters=("n_parameters", "max"), error=("error", _reason),
    )  # fmt: skip
    summary = results.summary().reset_index(drop=True)
    kept = summary[[*keys, "mean", "sd", "sd_folds", "n", "ci_low", "ci_high"]]
    ranking = kept.merge(costs.reset_index(), on=keys, how="left")  # in the order of the summary
    order = pd.Categorical(ranking["dataset"], categories=list(dict.fromkeys(table["dataset"])))
    return (
        ranking.assign(_order=order).sort_values("_order", kind="stable").drop(columns="_order").reset_index(drop=True)
    )


def _pairs(results: Results) -> pd.DataFrame:
    import pandas as pd

    columns = [
        "dataset",
        "pipeline_a",
        "pipeline_b",
        "difference",
        "ci_low",
        "ci_high",
        "p",
        "p_corrected",
        "effect_size",
        "n",
    ]
    pairs = results.compare()
    return pairs[columns] if len(pairs) else pd.DataFrame(columns=columns)


def _combined(results: Results) -> list[dict[str, Any]]:
    from neurosig.evaluation.statistics import combine_datasets

    return _records(combine_datasets(results.compare()))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _panel(
    key: str,
    dataset: str,
    metric: str,
    table: pd.DataFrame,
    ranking: pd.DataFrame,
    pairs: pd.DataFrame,
    meta: Mapping[str, Any],
) -> dict[str, Any]:
    notices = warn(table, ranking, meta, metric)
    scored = ranking[ranking["mean"].notna()]
    order = list(scored["pipeline"])
    label = metric_label(metric)
    unit = unit_of(table)
    pictures = []
    if len(scored):
        told = "; ".join(f"{row.pipeline} {row.mean:.3f}" for row in scored.itertuples())
        pictures.append((
            figure_svg(figures.plot_ranking(ranking.assign(unit=unit), metric=metric), name=f"{key}-ranking",
                       description=f"Mean {label} of each pipeline on {dataset}: {told}. They stand in the table."),
            f"Mean and 95 % interval over {unit}s. Dashed: chance. Shaded: what guessing reaches in a single "
            f"{'session' if unit == 'subject' else unit}.",
        ))  # fmt: skip
        pictures.append((
            figure_svg(figures.plot_subjects(table, order=order, metric=metric), name=f"{key}-subjects",
                       description=f"{label} of every {unit} with each pipeline on {dataset}; see the table "
                                   f"of single {unit}s."),
            f"Every {unit}. A thin line follows one {unit} from pipeline to pipeline; lines cross where "
            f"{'people' if unit == 'subject' else f'{unit}s'} differ in which pipeline suits them.",
        ))  # fmt: skip
    costs = scored[scored["seconds"] > 0]
    cost = None
    if len(costs) > 1:
        told = "; ".join(f"{row.pipeline} {row.seconds:.3g} s" for row in costs.itertuples())
        cost = figure_svg(
            figures.plot_time_score(costs, metric=metric),
            name=f"{key}-cost",
            description=f"Mean {label} against seconds per fit on {dataset}: {told}.",
        )
    return {
        "key": key,
        "name": dataset,
        "metric": metric,
        "metric_label": label,
        "finding": find(dataset, ranking, pairs, meta, metric),
        "notices": {
            place: [item for item in notices if item.place == place] for place in ("headline", "ranking", "subjects")
        },
        "rows": _records(ranking),
        "pictures": pictures,
        "cost": cost,
        "matrix": _matrix(order, pairs),
        "names": order,
        "subjects": _subject_rows(table, order),
        "has_sessions": table["session"].nunique() > 1,
        "unit": unit,
    }


def _matrix(order: list[str], pairs: pd.DataFrame) -> list[tuple[str, list[dict[str, Any] | None]]]:
    """Rows of the comparison matrix: the row's score minus the column's, with how strongly to tint the cell."""
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    known = pairs["difference"].abs().dropna()
    largest = max(known.max(), 1e-12) if len(known) else 1.0
    for row in _records(pairs):
        for first, second, sign in (
            (row["pipeline_a"], row["pipeline_b"], 1),
            (row["pipeline_b"], row["pipeline_a"], -1),
        ):
            if row["difference"] != row["difference"]:
                continue
            difference = sign * row["difference"]
            cells[first, second] = {
                "difference": difference,
                "p": row["p_corrected"],
                "effect": sign * row["effect_size"],
                "supported": row["p_corrected"] < ALPHA,
                "role": "score" if difference >= 0 else "against",
                "tint": round(4 + 38 * abs(difference) / largest),
            }
    return [
        (first, [None if first == second else cells.get((first, second), {}) for second in order]) for first in order
    ]


def _subject_rows(table: pd.DataFrame, order: list[str]) -> list[dict[str, Any]]:
    wide = table.pivot_table(
        index=["subject", "session"], columns="pipeline", values="score", aggfunc="mean", sort=False
    )
    wide = wide.reindex(columns=order)
    counts = ["samples", "n_subjects"] if unit_of(table) != "subject" else ["samples"]
    facts = table.groupby(["subject", "session"], sort=False)[["chance", "chance_upper", *counts]].mean()
    return [
        {
            "subject": subject,
            "session": session,
            "scores": [None if value != value else float(value) for value in wide.loc[(subject, session)]]
            if (subject, session) in wide.index else [None] * len(order),
            **facts.loc[(subject, session)].to_dict(),
        }
        for subject, session in facts.index
    ]  # fmt: skip


def _design(meta: Mapping[str, Any], table: pd.DataFrame) -> list[str]:
    evaluation = {
        "within_session": "Within-session evaluation: each pipeline learns and is tested in the same session",
        "cross_session": "Cross-session evaluation: each pipeline learns from a person's other sessions",
        "cross_subject": "Cross-subject evaluation: each pipeline learns from other people",
        "cross_site": "Cross-site evaluation: each pipeline learns from the people of other sites",
    }.get(str(meta.get("evaluation")), str(meta.get("evaluation", "")).replace("_", " "))
    folds = joined([str(kind) for kind in dict.fromkeys(table["folds"].dropna())]) if "folds" in table else ""
    return [
        evaluation,
        f"{folds} folds" if folds else "",
        joined([metric_label(metric) for metric in dict.fromkeys(table["metric"].dropna())]),
        _n_subjects(table),
    ]


def _n_subjects(table: pd.DataFrame) -> str:
    """How many people there are, told per dataset: people of different datasets make no common sample."""
    people = {str(name): _people(rows) for name, rows in table.groupby("dataset", sort=False)}
    if len(people) > _MOST_NAMED:
        return f"n = {min(people.values())} to {max(people.values())} subjects in each of {len(people)} datasets"
    if len(people) > 1:
        return "n = " + ", ".join(f"{counted(n, 'subject')} ({name})" for name, n in people.items())
    return f"n = {counted(sum(people.values()), 'subject')}"


def _people(table: pd.DataFrame) -> int:
    if unit_of(table) == "subject":
        return int(table["subject"].nunique())
    return int(table.groupby("pipeline")["n_subjects"].sum().max())


def _reproduce(meta: Mapping[str, Any], table: pd.DataFrame) -> dict[str, Any]:
    versions = meta.get("versions") or {}
    told = {"datasets", "pipelines", "warnings", "versions", "command", "evaluation", "folds", "regions"}
    return {
        "command": meta.get("command") or "",
        "facts": [(words(key), plain(value)) for key, value in meta.items() if key not in told and plain(value) != ""],
        "versions": [(str(name), str(number)) for name, number in versions.items()],
        "columns": list(table.columns),
    }


def _reason(errors: pd.Series) -> str:
    return next((str(error) for error in errors.dropna() if error), "")


def _first(values: pd.Series, default: Any = None) -> Any:
    known = values.dropna()
    return known.iloc[0] if len(known) else default
