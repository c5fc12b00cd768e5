"""The proof that a split lets no test data into training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.errors import LeakageError, UsageError
from neurosig.core.log import logger

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_apart", "check_no_leakage"]


def check_no_leakage(
    metadata: pd.DataFrame,
    train: Any,
    test: Any,
    window: float | tuple[float, float],
    *,
    disjoint: str | Sequence[str] = (),
) -> bool:
    """Prove that no test sample lies within a training trial.

    Two trials of one recording (same file, subject, session and run) overlap if their spans share more than their end
    points. Trials of different recordings share no samples.

    Parameters
    ----------
    metadata : pandas.DataFrame
        With the columns subject, session, run and, for the proof, ``onset`` in seconds; ``file`` is used if there.
    train, test : array-like of int
        Positions of the trials.
    window : float or (float, float)
        Length of a trial in seconds, or its first and last second relative to the onset.
    disjoint : str or sequence of str
        Columns whose values must not be shared either: ``"subject"`` for cross-subject folds.

    Returns
    -------
    bool
        True if proven. False, with a logged warning, if it cannot be decided because trials of one recording are on
        both sides and the metadata hold no onsets.

    Raises
    ------
    LeakageError
        Naming an offending pair.
    """
    train, test = np.asarray(train, int), np.asarray(test, int)
    length = float(window) if np.isscalar(window) else float(window[1]) - float(window[0])  # type: ignore[index, arg-type]
    if not length >= 0:
        raise UsageError(f"window must be a length in seconds or (first, last) seconds, got {window!r}")
    if len(both := np.intersect1d(train, test)):
        raise LeakageError(f"{len(both)} trials (first {both[0]}) are in training and in test; folds must not overlap")
    check_apart(metadata, train, test, [disjoint] if isinstance(disjoint, str) else disjoint)
    columns = [name for name in ("file", "subject", "session", "run") if name in metadata]
    recording = metadata.groupby(columns, sort=False, dropna=False).ngroup().to_numpy()
    mixed = np.intersect1d(recording[train], recording[test])
    if not len(mixed):
        return True
    if "onset" not in metadata:
        logger.warning(
            "cannot prove that training and test trials do not overlap: they share recordings and the metadata hold no "
            "onsets; use run-wise folds, or a loader that gives onsets"
        )
        return False
    onset = metadata["onset"].to_numpy(dtype=float)
    for number in mixed:
        inside = train[recording[train] == number]
        inside = inside[np.argsort(onset[inside], kind="stable")]
        outside = test[recording[test] == number]
        right = np.searchsorted(onset[inside], onset[outside])
        for neighbour in (np.clip(right - 1, 0, None), np.clip(right, None, len(inside) - 1)):
            apart = np.abs(onset[inside[neighbour]] - onset[outside])
            if len(bad := np.flatnonzero(apart < length - 1e-9)):
                pair = inside[neighbour[bad[0]]], outside[bad[0]]
                raise LeakageError(_overlap_message(metadata, *pair, length, len(bad)))
    return True


def check_apart(metadata: pd.DataFrame, train: np.ndarray, test: np.ndarray, columns: Sequence[str]) -> None:
    """Prove that no subject, session or site is on both sides of a fold.

    Parameters
    ----------
    metadata : pandas.DataFrame
        With these columns; an empty entry is no name.
    train, test : int array
        Positions.
    columns : sequence of str
        Whose values must not be shared.

    Raises
    ------
    LeakageError
        Naming what is shared.
    """
    for column in columns:
        values = metadata[column].to_numpy()
        shared = {value for value in set(values[train]) & set(values[test]) if value is not None and value != ""}
        if shared:
            first = min(shared, key=str)
            raise LeakageError(f'{column} {first} is in training and in test; use folds="{column}"')


def _overlap_message(metadata: pd.DataFrame, train: int, test: int, length: float, count: int) -> str:
    row = metadata.iloc[test]
    where = ", ".join(f"{name} {row[name]}" for name in ("subject", "session", "run"))
    other = metadata["onset"].iloc[train]
    times = f"{row['onset']:g} s lies within {length:g} s of training trial {train} at {other:g} s"
    return (
        f"test trial {test} ({where}) at {times} ({count} such trials in this fold); use run-wise folds, "
        f'folds="chronological" with a gap of at least one window, or windows that do not overlap'
    )
