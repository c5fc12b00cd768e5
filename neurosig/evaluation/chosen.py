"""What pipelines chose by themselves in each fold: parameters found by a search, order and lag read off the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from sklearn.pipeline import Pipeline

__all__ = ["chosen_in_words", "chosen_parameters", "count_chosen"]


def chosen_parameters(estimator: Any) -> dict[str, str]:
    """Parameters that a fitted pipeline chose.

    Parameters
    ----------
    estimator : estimator
        Fitted; a pipeline, or a search around one, is looked into.

    Returns
    -------
    dict of str to str
        Name to value, of every estimator with ``best_params_``: scikit-learn's searches and neurosig's estimators.
        Estimators as values are told by their class.
    """
    found: dict[str, str] = {}
    best = getattr(estimator, "best_params_", None)
    if isinstance(best, Mapping):
        found |= {str(name): _told(value) for name, value in best.items()}
    inner = getattr(estimator, "best_estimator_", estimator)
    if isinstance(inner, Pipeline):  # "steps" of other estimators are something else
        for _, step in inner.steps:
            found |= chosen_parameters(step)
    return found


def chosen_in_words(chosen: Mapping[str, str]) -> str:
    """The parameters of one fold as text, such as "order 4, lag 8"."""
    return ", ".join(f"{name} {value}" for name, value in chosen.items())


def count_chosen(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, int]]]:
    """How often each value was chosen over the folds.

    Parameters
    ----------
    records : iterable of dict
        Records of folds, with ``pipeline`` and, where something was chosen, ``chosen``.

    Returns
    -------
    dict of str to dict
        Pipeline to parameter to value to number of folds; values in order, numbers by size.
    """
    counts: dict[str, dict[str, Counter]] = {}
    for record in records:
        for name, value in (record.get("chosen") or {}).items():
            counts.setdefault(record["pipeline"], {}).setdefault(name, Counter())[value] += 1
    return {
        pipeline: {name: dict(sorted(values.items(), key=_by_size)) for name, values in parameters.items()}
        for pipeline, parameters in counts.items()
    }


def _by_size(item: tuple[str, int]) -> tuple[bool, float, str]:
    try:
        return False, float(item[0]), ""
    except ValueError:
        return True, 0.0, item[0]


def _told(value: Any) -> str:
    if callable(getattr(value, "get_params", None)):
        return type(value).__name__
    return f"{value:g}" if isinstance(value, float) else str(value)
