"""Weights of a linear model on functional connectivity, one an edge: which connections it decided by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.base import OneToOneFeatureMixin
from sklearn.pipeline import Pipeline

__all__ = ["edge_weights", "mean_edges"]

_DIGITS = 4


def edge_weights(estimator: Any) -> dict[str, Any] | None:
    """Weights of the edges in a fitted pipeline.

    Parameters
    ----------
    estimator : estimator
        Fitted; a pipeline (or a search around one) of a step that makes edges of runs, such as `FunctionalConnectivity`
        (any that has ``edge_matrices``), steps that keep features one to one, and a linear model of one output.

    Returns
    -------
    dict or None
        ``regions`` (names) and ``weights``: the lower triangle of the matrix of weights with its diagonal, row by row,
        to four digits. None where the pipeline is of another kind.

    Notes
    -----
    A weight is by how much the decision value (or the predicted number) rises with the feature as the model gets it:
    behind a `StandardScaler`, with one standard deviation of the edge. Weights tell what a model uses, not where groups
    differ: correlated edges share, and may cancel, their weights.
    """
    inner = getattr(estimator, "best_estimator_", estimator)
    if not isinstance(inner, Pipeline) or len(inner.steps) < 2:
        return None
    steps = [step for _, step in inner.steps if step is not None and step != "passthrough"]
    first = next((place for place, step in enumerate(steps[:-1]) if hasattr(step, "edge_matrices")), None)
    if first is None or not all(isinstance(step, OneToOneFeatureMixin) for step in steps[first + 1 : -1]):
        return None
    coefficients = getattr(steps[-1], "coef_", None)
    if coefficients is None or np.ndim(coefficients) > 2 or np.atleast_2d(coefficients).shape[0] != 1:
        return None
    try:
        matrix = np.asarray(steps[first].edge_matrices(np.ravel(coefficients)), dtype=float)
    except ValueError:  # another number of features than edges
        return None
    names = getattr(steps[first], "region_names_", None)
    n_regions = len(matrix)
    lower = matrix[np.tril_indices(n_regions)]
    return {
        "regions": [str(name) for name in names] if names is not None else None,
        "weights": [float(f"{value:.{_DIGITS}g}") for value in lower],
    }


def mean_edges(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean weights over the folds of each pipeline.

    Parameters
    ----------
    records : iterable of dict
        Records of folds with ``pipeline`` and, where there are weights, ``edges``.

    Returns
    -------
    dict of str to dict
        Pipeline to ``regions``, ``weights`` (as `edge_weights`, the mean), ``agreement`` (mean correlation of the
        weights of two folds; None for one fold, or where a fold's weights are all the same) and ``n_folds``.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        if record.get("edges"):
            found.setdefault(record["pipeline"], []).append(record["edges"])
    told: dict[str, dict[str, Any]] = {}
    for name, folds in found.items():
        weights = np.array([fold["weights"] for fold in folds])
        agreement = None
        compared = weights[:, _is_edge(weights)]
        if len(folds) > 1 and compared.shape[1] > 1 and (compared.std(axis=1) > 0).all():
            agreement = float(f"{np.corrcoef(compared)[np.triu_indices(len(folds), 1)].mean():.3f}")
        told[name] = {
            "regions": folds[0]["regions"],
            "weights": [float(f"{value:.{_DIGITS}g}") for value in weights.mean(axis=0)],
            "agreement": agreement,
            "n_folds": len(folds),
        }
    return told


def _is_edge(weights: np.ndarray) -> np.ndarray:
    """Which entries of a triangle are edges: the diagonal is not, unless it has weights."""
    rows = int((np.sqrt(8 * weights.shape[1] + 1) - 1) / 2)
    diagonal = np.equal(*np.tril_indices(rows))
    return ~diagonal | weights[:, diagonal].any()
