"""From records of finished folds to the two tables that `Results` holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from neurosig.evaluation.chosen import chosen_in_words
from neurosig.evaluation.metrics import REGRESSION, mean_chance_level

__all__ = ["COLUMNS", "FOLD_COLUMNS", "make_tables"]

COLUMNS = (
    # MOABB's
    "score", "time", "samples", "samples_test", "n_classes", "subject", "session", "channels", "n_sessions", "dataset",
    "pipeline",
    # neurosig's
    "evaluation", "paradigm", "folds", "metric", "chance", "chance_upper", "score_sd", "n_folds", "seconds_fit",
    "seconds_score", "peak_memory_mb", "n_parameters", "error", "seed", "version", "tested", "n_subjects",
)  # fmt: skip
FOLD_COLUMNS = (
    "dataset", "subject", "session", "pipeline", "fold", "score", "time", "samples", "samples_test", "n_classes",
    "channels", "chance", "chance_upper", "seconds_fit", "seconds_score", "peak_memory_mb", "n_parameters",
    "error", "test_counts", "chosen",
)  # fmt: skip
_COSTS = ("seconds_fit", "seconds_score", "peak_memory_mb", "n_parameters")


def make_tables(
    records: Iterable[Mapping[str, Any]], common: Mapping[str, Any], average: Any
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tidy table and the table of folds of one dataset.

    Parameters
    ----------
    records : iterable of dict
        One a fold and pipeline: ``subject, pipeline, fold, error``, the costs, and ``results``, a list of MOABB's
        result dictionaries (one a scored session) with ``test_counts`` (trials a class) added; and, where the pipeline
        chose parameters by itself, ``chosen``.
    common : dict
        Columns that are equal in all rows: ``dataset, n_sessions, evaluation, paradigm, folds, metric, seed, version``.
    average : callable or None
        MOABB's mean over the folds of a session; None where each fold is a row.

    Returns
    -------
    table, folds : DataFrame
        With the columns `COLUMNS` and `FOLD_COLUMNS`.
    """
    metric = str(common["metric"])
    scored = [_fold_row(record, result, metric) for record in records for result in record["results"]]
    scored.sort(
        key=lambda row: (row["pipeline_order"], _natural(row["subject"]), _natural(row["session"]), row["fold"])
    )
    groups: dict[Any, list[dict]] = {}
    for row in scored:
        groups.setdefault(_key(row) if average else id(row), []).append(row)
    means = _means(scored, average) if average else {}
    rows = [_row(group, common, means.get(_key(group[0]))) for group in groups.values()]
    for row in scored:
        row |= dict(zip(("chance", "chance_upper"), _chance([row], metric), strict=True))
        row["dataset"] = common["dataset"]
        row["test_counts"] = ", ".join(f"{name} {count}" for name, count in row["test_counts"].items())
    return _frame(rows, COLUMNS), _frame(scored, FOLD_COLUMNS)


def _fold_row(record: Mapping[str, Any], result: Mapping[str, Any], metric: str) -> dict[str, Any]:
    score = result["score"]
    error = record["error"]
    if score is None and not error:
        tested = len(result["test_counts"])
        error = f"the score is undefined: this fold tests trials of {tested} {'class' if tested == 1 else 'classes'}"
        if metric in REGRESSION:
            error = "the score is undefined: the tested numbers, or all predictions of them, are equal"
    return {
        "pipeline_order": record["pipeline_order"],
        "pipeline": record["pipeline"],
        "subject": str(record["subject"]),
        "session": str(result["session"]),
        "fold": record["fold"],
        "score": math.nan if score is None else score,
        "error": error or "",
        "test_counts": result["test_counts"],
        "chance_counts": record.get("people_counts") or result["test_counts"],
        "chance_told": record.get("chance"),
        "n_subjects": record.get("n_subjects", 1),
        "chosen": chosen_in_words(record.get("chosen") or {}),
        "time": _number(result["time"]),
        "samples": result["n_samples"],
        "samples_test": result["n_samples_test"],
        "samples_total": result["n_samples_total"],
        "n_classes": result["n_classes"],
        "channels": result["n_channels"],
        **{name: _number(record[name]) for name in _COSTS},
    }


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["pipeline"], row["subject"], row["session"]


def _row(group: list[dict], common: Mapping[str, Any], mean: Mapping[str, Any] | None) -> dict[str, Any]:
    first = group[0]
    errors = list(dict.fromkeys(row["error"] for row in group if row["error"]))
    row = {**common, **{name: first[name] for name in ("subject", "session", "pipeline", "channels")}}
    row |= {name: (mean or first)[name] for name in ("score", "time", "samples", "samples_test", "n_classes")}
    scores = [entry["score"] for entry in group]
    if errors:  # a mean over the folds that happened to work is not the score that was asked for
        row["score"] = math.nan
    chance, upper = _chance(group, str(common["metric"]))
    more = f" (and {len(errors) - 1} other errors)" if len(errors) > 1 else ""
    return row | {
        "chance": chance,
        "chance_upper": upper,
        "score_sd": float(np.std(scores, ddof=1)) if len(scores) > 1 and not errors else math.nan,
        "n_folds": len(group),
        "seconds_fit": _over(np.mean, group, "seconds_fit"),
        "seconds_score": _over(np.mean, group, "seconds_score"),
        "peak_memory_mb": _over(np.max, group, "peak_memory_mb"),
        "n_parameters": _over(np.max, group, "n_parameters"),
        "error": f"{errors[0]}{more}" if errors else "",
        "n_subjects": first["n_subjects"],
    }


def _means(scored: list[dict], average: Any) -> dict[tuple[str, str, str], dict[str, Any]]:
    """MOABB's means over folds; its last digit depends on the order of the rows, which is MOABB's here."""
    names = {"samples": "n_samples", "samples_test": "n_samples_test", "samples_total": "n_samples_total"}
    ordered = sorted(scored, key=lambda row: (_natural(row["subject"]), row["fold"], row["pipeline_order"]))
    rows = [{names.get(key, key): value for key, value in row.items() if key != "test_counts"} for row in ordered]
    back = {"n_samples": "samples", "n_samples_test": "samples_test"}
    return {_key(mean): {back.get(key, key): value for key, value in mean.items()} for mean in average(rows)}


def _chance(group: list[dict], metric: str) -> tuple[float, float]:
    """Chance level and its bound for the mean score over parts, given the trials (or people) a class in each."""
    parts = [row["chance_counts"] for row in group]
    if metric in REGRESSION:
        if metric == "neg_mean_absolute_error":
            told = [row["chance_told"] for row in group if row["chance_told"] is not None]
            return float(np.mean(told)) if told else math.nan, math.nan
        n_trials = sum(sum(counts.values()) for counts in parts)
        return 0.0, _pearson_bound(n_trials) if metric == "pearson" else math.nan
    usable = [counts for counts in parts if len(counts) > 1]
    if not usable:
        return math.nan, math.nan
    level = mean_chance_level(usable, metric)
    return float(level.level), float(level.upper)


def _pearson_bound(n: int) -> float:
    from scipy import stats

    if n < 4:
        return math.nan
    t = stats.t.ppf(0.95, n - 2)  # one-sided, as the bounds of the other metrics
    return float(t / math.sqrt(n - 2 + t * t))


def _over(statistic: Any, group: list[dict], name: str) -> float:
    values = [row[name] for row in group if row[name] == row[name]]
    return float(statistic(values)) if values else math.nan


def _number(value: Any) -> float:
    return math.nan if value is None else value


def _natural(text: str) -> tuple[int, int, str]:
    return (0, int(text), text) if text.isdecimal() else (1, 0, text)


def _frame(rows: list[dict], columns: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns))
