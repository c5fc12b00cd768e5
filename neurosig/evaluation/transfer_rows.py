"""From the records of fits to the tidy table: one row a person, fold, pipeline, seed and condition."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.evaluation.metrics import chance_level

if TYPE_CHECKING:
    import pandas as pd

    from neurosig.evaluation.transfer_fits import Fit, Plan

__all__ = ["COLUMNS", "CONDITIONS", "make_table", "score", "told_by_fits"]

CONDITIONS = ("within", "transfer_all", "transfer_head", "direct")
COLUMNS = (
    "dataset", "subject", "group", "fold", "n_folds", "pipeline", "kind", "seed", "condition", "metric", "score",
    "score_windows", "chance", "chance_upper", "n_train", "n_test", "n_windows", "test_counts", "pretrained_on",
    "seconds_fit", "seconds_pretraining", "n_epochs", "best_epoch", "n_parameters", "error",
)  # fmt: skip


def make_table(
    dataset: str, plan: Plan, records: Iterable[tuple[Fit, Mapping[str, Any]]], seeds: Sequence[int], metric: str
) -> pd.DataFrame:
    """The table of a study.

    Parameters
    ----------
    dataset : str
        Its name.
    plan : Plan
        What was fitted.
    records : iterable of (Fit, dict)
        What `run_fit` returned, or what is stored.
    seeds : sequence of int
        All seeds; what takes none stands for each of them.
    metric : {"accuracy", "balanced_accuracy"}
        The score.

    Returns
    -------
    DataFrame
        The columns `COLUMNS`. A failed row has a NaN score and its reason in ``error``.
    """
    import pandas as pd

    from neurosig.evaluation.transfer_network import kind_of, takes_seed

    records = list(records)
    pretraining = {job.key: record.get("seconds") for job, record in records if job.kind == "pretrain"}
    group = {place: number for number, places in enumerate(plan.groups) for place in places}
    kinds = {name: kind_of(pipeline) for name, pipeline in plan.pipelines.items()}
    rows = []
    for job, record in records:
        if job.kind == "pretrain":
            continue
        others = None if job.kind == "within" else len(plan.others(plan.groups[group[job.tested[0]]]))
        shared = {
            "dataset": dataset, "pipeline": job.pipeline, "kind": kinds[job.pipeline],
            "condition": job.kind, "metric": metric, "pretrained_on": others, "seconds_fit": record.get("seconds"),
            "seconds_pretraining": pretraining.get(job.weights or ""), "n_train": record.get("n_train"),
            **{name: record.get(name) for name in ("n_epochs", "best_epoch", "n_parameters")},
            "error": record["error"] or "",
        }  # fmt: skip
        decided = {(one["person"], one["fold"]): one for one in record["tested"]}
        for place in job.tested:
            person = plan.cohort.people[place]
            folds = [job.fold] if job.fold is not None else range(len(person.folds))
            for fold in folds:
                y = person.y[person.folds[fold][1]]
                row = {**shared, "subject": person.subject, "group": group[place], "fold": fold}
                row |= {"n_folds": len(person.folds), **_scored(y, decided.get((place, fold)), metric, plan)}
                all_seeds = (job.seed,) if takes_seed(plan.pipelines[job.pipeline]) else seeds
                rows += [{**row, "seed": seed} for seed in all_seeds]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    order = {name: number for number, name in enumerate(plan.pipelines)}
    people = {person.subject: number for number, person in enumerate(plan.cohort.people)}
    keys = [
        table["pipeline"].map(order),
        table["condition"].map(CONDITIONS.index),
        table["seed"],
        table["subject"].map(people),
    ]
    ordered = np.lexsort([table["fold"].to_numpy(), *(key.to_numpy() for key in reversed(keys))])
    return table.iloc[ordered].reset_index(drop=True)


def _scored(y: np.ndarray, decided: Mapping[str, Any] | None, metric: str, plan: Plan) -> dict[str, Any]:
    counts = {name: int((y == code).sum()) for code, name in enumerate(plan.cohort.classes)}
    chance = chance_level(counts, metric)
    cells: dict[str, Any] = {
        "chance": chance.level, "chance_upper": chance.upper, "n_test": len(y),
        "test_counts": json.dumps(counts, ensure_ascii=False),
        "score": np.nan, "score_windows": np.nan, "n_windows": 0,
    }  # fmt: skip
    if decided is None:
        return cells
    cells["score"] = score(y, np.asarray(decided["trials"]), metric)
    if decided["windows"] is not None:
        windows = np.asarray(decided["windows"])
        cells["n_windows"] = int(windows.size)
        cells["score_windows"] = score(np.repeat(y, windows.shape[1]), windows.ravel(), metric)
    return cells


def score(y: np.ndarray, decided: np.ndarray, metric: str) -> float:
    """Share of right decisions, or the mean of that share over classes."""
    right = y == decided
    if metric == "accuracy":
        return float(right.mean())
    return float(np.mean([right[y == code].mean() for code in np.unique(y)]))


def told_by_fits(records: Iterable[tuple[Fit, Mapping[str, Any]]]) -> list[str]:
    """Warnings that were given while fitting, each once, with the number of fits."""
    counts: dict[tuple[str, str], int] = {}
    for job, record in records:
        for text in record["warnings"]:
            counts[job.pipeline, text] = counts.get((job.pipeline, text), 0) + 1
    return [f"{name}: {text} ({n} fit{'' if n == 1 else 's'})" for (name, text), n in counts.items()]
