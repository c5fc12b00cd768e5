"""When a score counts as better than guessing, and when two scores count as equal: one rule for tables and reports.

A mean is above chance where its whole interval is. Where there is no interval, of one subject or fold, it has to exceed
the bound that guessing rarely does on as many trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["above_chance", "best_first", "chance_verdict", "tied_with_first"]

_SHOWN = 0.0005  # scores are shown with three decimals: less than this reads as no difference
_EXACT = 1e-9  # for errors in the unit of the labels, whose size says nothing


def chance_verdict(row: Mapping[str, Any] | pd.Series) -> str:
    """How a mean score compares with guessing.

    Parameters
    ----------
    row : mapping or Series
        ``mean`` and ``chance``; where known, ``ci_low`` and ``chance_upper``, as in `neurosig.evaluation.summarize`.

    Returns
    -------
    {"above", "open", "not above", "unknown"}
        "above": the whole interval lies above chance; without an interval, the mean lies above the bound of guessing.
        "open": the mean is above chance, and that is all. "unknown": there is no mean, or no chance level.
    """
    mean, chance = _number(row.get("mean")), _number(row.get("chance"))
    if mean is None or chance is None:
        return "unknown"
    if mean <= chance:
        return "not above"
    low, upper = _number(row.get("ci_low")), _number(row.get("chance_upper"))
    if low is not None:
        return "above" if low > chance else "open"
    if upper is not None:
        return "above" if mean > upper else "open"
    return "open"


def above_chance(row: Mapping[str, Any] | pd.Series) -> bool:
    """Whether `chance_verdict` is "above"."""
    return chance_verdict(row) == "above"


def best_first(rows: pd.DataFrame, metric: str | None = None) -> pd.DataFrame:
    """Rows of one ranking by falling mean; among equal ones, the pipeline of fewest parameters, then of shortest fit.

    Parameters
    ----------
    rows : DataFrame
        With the column ``mean``; where known, ``n_parameters`` and ``seconds_fit``.
    metric : str, optional
        Name of the score: errors in the unit of the labels are equal only where they are the same.

    Returns
    -------
    DataFrame
        The same rows; those without a mean last, in the order in which they came.
    """
    rows = rows.sort_values("mean", ascending=False, na_position="last", kind="stable")
    group = _groups(rows["mean"].to_numpy(dtype=float), metric)
    keys = [rows[name].to_numpy(dtype=float) for name in ("seconds_fit", "n_parameters") if name in rows]
    failed = np.isnan(rows["mean"].to_numpy(dtype=float))
    keys = [np.where(failed, 0.0, np.where(np.isnan(key), np.inf, key)) for key in keys]
    return rows.iloc[np.lexsort([*keys, group])]


def tied_with_first(means: Any, metric: str | None = None) -> int:
    """How many of the means, best first, are equal to the first, itself included; 0 where there is none."""
    means = np.asarray(means, dtype=float)
    means = means[~np.isnan(means)]
    return int((np.abs(means - means.max()) < _tolerance(metric)).sum()) if len(means) else 0


def _groups(means: np.ndarray, metric: str | None) -> np.ndarray:
    """Number of the group of equal means that each of the falling means is in; what is missing is in the last."""
    groups = np.zeros(len(means), dtype=int)
    number, best = 0, means[0] if len(means) else np.nan
    for place, mean in enumerate(means):
        if np.isnan(mean) != np.isnan(best) or best - mean >= _tolerance(metric):
            number, best = number + 1, mean
        groups[place] = number
    return groups


def _tolerance(metric: str | None) -> float:
    return _EXACT if metric == "neg_mean_absolute_error" else _SHOWN


def _number(value: Any) -> float | None:
    """What is known, as a number."""
    return None if value is None or value != value else float(value)
