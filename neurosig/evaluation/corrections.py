"""Corrections of p values for the number of tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from neurosig.core.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["bonferroni", "correct", "holm"]


def correct(p: Sequence[float] | np.ndarray | pd.Series, method: str = "holm") -> np.ndarray:
    """Corrected p values.

    Parameters
    ----------
    p : array-like of shape (n_tests,)
        Uncorrected p values of one family of tests.
    method : {"holm", "bonferroni"}
        The correction.

    Raises
    ------
    UsageError
        If there is no such correction.
    """
    methods = {"holm": holm, "bonferroni": bonferroni}
    if method not in methods:
        raise UsageError(f"correction must be one of {', '.join(methods)}, got {method!r}")
    return methods[method](p)


def holm(p: Sequence[float] | np.ndarray | pd.Series) -> np.ndarray:
    """Holm's step-down correction of p values; NaN is passed through and not counted.

    Parameters
    ----------
    p : array-like of shape (n_tests,)
        Uncorrected p values.

    Returns
    -------
    array of shape (n_tests,)
        Corrected p values, at most 1.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 65-70.
    """
    values = np.asarray(p, dtype=float)
    corrected = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return corrected


def bonferroni(p: Sequence[float] | np.ndarray | pd.Series) -> np.ndarray:
    """Each p value times the number of tests, at most 1; NaN is passed through and not counted."""
    values = np.asarray(p, dtype=float)
    return np.minimum(values * np.count_nonzero(~np.isnan(values)), 1.0)
