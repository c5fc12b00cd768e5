"""Connectivity of one run of region series: a symmetric matrix, and its edges as a vector with names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.covariance import OAS, EmpiricalCovariance, LedoitWolf

from neurosig.core.channel_names import listed
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.runs import checked_runs
from neurosig.core.signals import SignalDataset

__all__ = [
    "ESTIMATORS",
    "KINDS",
    "check_choice",
    "checked_series",
    "complete",
    "connectivity_matrix",
    "edge_names",
    "edges",
    "fisher_z",
    "from_edges",
    "measured_regions",
    "region_names",
]

KINDS = ("correlation", "partial correlation", "tangent", "covariance", "precision")
INVERTED = ("partial correlation", "tangent", "precision")  # kinds that need a regular covariance
ESTIMATORS = {"empirical": EmpiricalCovariance, "ledoit_wolf": LedoitWolf, "oas": OAS}
MISSING = ("raise", "mean", "nan")

# Identical series correlate at 1, whose Fisher z is infinite: 1 - 1e-12 gives 14.2, far above any measured one
_HIGHEST_CORRELATION = 1 - 1e-12


def connectivity_matrix(run: np.ndarray, kind: str, estimator: str, standardize: bool = True) -> np.ndarray:
    """Connectivity of the regions of one run, by nilearn's `ConnectivityMeasure`.

    Parameters
    ----------
    run : array of shape (n_regions, n_times)
        Finite series. Regions that are NaN throughout, or constant, count as not measured.
    kind : {"correlation", "partial correlation", "covariance", "precision", "tangent"}
        What to compute; "tangent" gives the covariance, which is projected later.
    estimator : {"empirical", "ledoit_wolf", "oas"}
        Of the covariance.
    standardize : bool
        Whether to z-score each region's series first.

    Returns
    -------
    float64 array of shape (n_regions, n_regions)
        NaN in rows and columns of regions that were not measured. A run of one volume gives the identity.

    Raises
    ------
    InputError
        If the matrix has to be inverted and the run is too short for that.
    """
    from nilearn.connectome import ConnectivityMeasure

    n_regions, n_times = run.shape
    if n_times == 1:  # an array of two axes, see `checked_series`
        return np.eye(n_regions)
    there = measured_regions(run)
    matrix = np.full((n_regions, n_regions), np.nan)
    if not there.any():
        return matrix
    if kind in INVERTED and estimator == "empirical" and n_times <= there.sum():
        raise InputError(
            f"expected more volumes than regions, as {kind} by the empirical covariance needs, got {n_times} volumes "
            f"of {there.sum()} regions; take estimator='ledoit_wolf'"
        )
    series = np.array(run[there].T, dtype=np.float64)
    if standardize:
        series -= series.mean(axis=0)
        series /= series.std(axis=0, ddof=1)
    measure = ConnectivityMeasure(
        cov_estimator=ESTIMATORS[estimator](store_precision=False),
        kind="covariance" if kind == "tangent" else kind,
        standardize=False,
    )
    matrix[np.ix_(there, there)] = measure.fit_transform([series])[0]
    return matrix


def measured_regions(run: np.ndarray) -> np.ndarray:
    """Which regions have a series that moves: neither NaN nor constant.

    Parameters
    ----------
    run : array of shape (n_regions, n_times)
        Series, NaN throughout where a region is missing.

    Returns
    -------
    bool array of shape (n_regions,)
    """
    return run.max(axis=1) > run.min(axis=1)


def complete(matrix: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Covariance with regions that were not measured filled in, as the reference predicts them from the others.

    Parameters
    ----------
    matrix : array of shape (n_regions, n_regions)
        Covariance, NaN in rows and columns of missing regions.
    reference : array of shape (n_regions, n_regions)
        Positive definite.

    Returns
    -------
    array of shape (n_regions, n_regions)
        Positive definite. Regression of missing on measured regions and its residual covariance are the reference's.
    """
    there = ~np.isnan(matrix.diagonal())
    if there.all():
        return matrix
    known, unknown = np.ix_(there, there), np.ix_(~there, ~there)
    weights = np.linalg.solve(reference[known], reference[np.ix_(there, ~there)]).T
    filled = np.empty_like(matrix)
    filled[known] = matrix[known]
    filled[np.ix_(~there, there)] = weights @ matrix[known]
    filled[np.ix_(there, ~there)] = filled[np.ix_(~there, there)].T
    residual = reference[unknown] - weights @ reference[np.ix_(there, ~there)]
    filled[unknown] = weights @ matrix[known] @ weights.T + residual
    return (filled + filled.T) / 2


def edges(matrices: np.ndarray, discard_diagonal: bool) -> np.ndarray:
    """Lower triangles of symmetric matrices as vectors.

    Parameters
    ----------
    matrices : array of shape (..., n_regions, n_regions)
        Symmetric.
    discard_diagonal : bool
        Whether to leave the diagonal out; else it is divided by the square root of 2, as nilearn does.

    Returns
    -------
    array of shape (..., n_edges)
    """
    from nilearn.connectome import sym_matrix_to_vec

    return sym_matrix_to_vec(matrices, discard_diagonal=discard_diagonal)


def from_edges(values: Any, n_regions: int, discard_diagonal: bool, diagonal: float = 0.0) -> np.ndarray:
    """Symmetric matrices from vectors of edges; undoes `edges`.

    Parameters
    ----------
    values : array of shape (..., n_edges)
        One number an edge, of any meaning.
    n_regions : int
        Rows of a matrix.
    discard_diagonal : bool
        Whether the vectors lack the diagonal.
    diagonal : float
        What stands on it then.

    Returns
    -------
    array of shape (..., n_regions, n_regions)

    Raises
    ------
    InputError
        If there is another number of edges.
    """
    from nilearn.connectome import vec_to_sym_matrix

    values = np.asarray(values, dtype=np.float64)
    n_edges = n_regions * (n_regions + (-1 if discard_diagonal else 1)) // 2
    if values.ndim == 0 or values.shape[-1] != n_edges:
        raise InputError(f"expected {n_edges} edges between {n_regions} regions, got shape {values.shape}")
    if not discard_diagonal:
        return vec_to_sym_matrix(values)
    filled = np.full((*values.shape[:-1], n_regions), diagonal / np.sqrt(2))  # nilearn multiplies it by that
    return vec_to_sym_matrix(values, diagonal=filled)


def edge_names(names: Sequence[str], discard_diagonal: bool) -> list[str]:
    """Names "A~B" of edges, in the order of `edges`.

    Parameters
    ----------
    names : sequence of str
        Of the regions.
    discard_diagonal : bool
        Whether the diagonal ("A~A") is left out.

    Returns
    -------
    list of str
    """
    last = 0 if discard_diagonal else 1
    return [f"{names[column]}~{names[row]}" for row in range(len(names)) for column in range(row + last)]


def fisher_z(correlations: np.ndarray) -> np.ndarray:
    """Fisher's z of correlations, finite at 1 and -1 also (14.2)."""
    return np.arctanh(np.clip(correlations, -_HIGHEST_CORRELATION, _HIGHEST_CORRELATION))


def checked_series(X: Any, estimator: Any, *, reset: bool, missing: str) -> Iterator[np.ndarray]:
    """Runs that connectivity can be computed of, one after the other.

    Parameters
    ----------
    X : array of shape (n_runs, n_regions, n_times), sequence of arrays (n_regions, n_times), or SignalDataset
        The runs. An array of two axes is one volume a run, whose connectivity is said to be nil: scikit-learn's own
        checks hand over such.
    estimator : estimator
        Whom the check is made for.
    reset : bool
        Whether it is being fitted.
    missing : {"raise", "mean", "nan"}
        Whether regions that were not measured are refused ("raise").

    Yields
    ------
    array of shape (n_regions, n_times)

    Raises
    ------
    InputError
        If a run has one volume only, regions are missing (or constant) and may not be, or there is only one region.
    ChannelError
        If regions are others than those that the estimator was fitted on.
    """
    check_choice("missing", missing, MISSING)
    if not reset and isinstance(X, SignalDataset) and hasattr(estimator, "region_names_"):
        _compare_names(estimator, X.info.ch_names)
    one_volume_each = _is_table(X)
    if one_volume_each:
        warnings.warn(
            f"{type(estimator).__name__} takes an array of two axes as one volume a run, which has no connectivity; "
            "give a single run as run[None], of shape (1, n_regions, n_times)",
            stacklevel=2,
        )
    runs = checked_runs(X, estimator=estimator, reset=reset, allow_missing=missing != "raise")
    for place, run in enumerate(_with_advice(runs, missing)):
        if len(run) < 2:
            raise InputError("expected two regions or more to connect, got n_features = 1")
        if not one_volume_each:
            _check_moves(run, place, missing)
        yield run


def _with_advice(runs: Iterator[np.ndarray], missing: str) -> Iterator[np.ndarray]:
    """The runs; where one is refused for what is NaN, it is said what estimators of connectivity can do about it."""
    try:
        yield from runs
    except InputError as error:
        if missing != "raise" or "NaN" not in str(error):
            raise
        raise InputError(
            f"{error}. Regions that are NaN throughout a run are taken by missing='mean' (their edges are the mean of "
            "the training runs) or missing='nan'"
        ) from error


def region_names(X: Any, ch_names: Sequence[str] | None, estimator: Any) -> list[str]:
    """Names of the regions: as told, else the data set's or the table's, else numbers from 1.

    Parameters
    ----------
    X : array, sequence or SignalDataset
        What the estimator is being fitted on.
    ch_names : sequence of str or None
        As told.
    estimator : estimator
        Its ``n_features_in_`` is set already.

    Returns
    -------
    list of str

    Raises
    ------
    ChannelError
        If there is not one name a region, or two are the same.
    """
    n_regions = estimator.n_features_in_
    if ch_names is not None:
        names = [str(name) for name in ch_names]
    elif isinstance(X, SignalDataset):
        names = list(X.info.ch_names)
    elif hasattr(estimator, "feature_names_in_"):
        names = [str(name) for name in estimator.feature_names_in_]
    else:
        names = [f"region_{i + 1}" for i in range(n_regions)]
    if len(names) != n_regions:
        raise ChannelError(f"expected ch_names to name {n_regions} regions, got {len(names)} names")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ChannelError(f"expected unique region names, these occur more than once: {listed(twice)}")
    return names


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Refuse an option that is none of the choices."""
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def _check_moves(run: np.ndarray, place: int, missing: str) -> None:
    if run.shape[1] < 2:
        raise InputError(f"expected runs of two volumes or more, run {place} has {run.shape[1]}")
    there = measured_regions(run)
    if missing == "raise" and not there.all():
        raise InputError(
            f"run {place} is constant in regions {listed(map(str, np.flatnonzero(~there)))}, whose connectivity is "
            "not defined; drop them from all runs, or take missing='mean'"
        )
    if there.sum() < 2:
        raise InputError(f"expected two regions or more that were measured, run {place} has {there.sum()}")


def _compare_names(estimator: Any, names: Sequence[str]) -> None:
    fitted = estimator.region_names_
    if list(names) == fitted or not getattr(estimator, "_knows_names", False):
        return
    other = [name for name in names if name not in fitted]
    what = f"it has {listed(other)}" if other else "they come in another order"
    raise ChannelError(
        f"expected the regions that {type(estimator).__name__} was fitted on, {what}; "
        "map_channels makes series fit by region name"
    )


def _is_table(X: Any) -> bool:
    """Whether X has two axes."""
    if isinstance(X, SignalDataset) or hasattr(X, "get_data"):
        return False
    if isinstance(X, Sequence) and len(X):
        return not hasattr(X[0], "get_data") and np.ndim(X[0]) == 1
    return (X if hasattr(X, "ndim") else np.asarray(X)).ndim == 2
