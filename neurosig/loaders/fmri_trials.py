"""Trials of an fMRI run: the volumes around each event of a table, as many for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["cut_run", "read_events_table"]

_COLUMNS = ("onset", "duration", "trial_type")


def read_events_table(path: str | Path) -> pd.DataFrame:
    """Read a table of events as BIDS has it (TSV, or CSV).

    Parameters
    ----------
    path : path-like
        A file with the columns ``onset`` (seconds from the first volume) and ``trial_type``.

    Returns
    -------
    DataFrame
        ``onset`` and ``duration`` as numbers, ``trial_type`` as text; rows without a type are left out.

    Raises
    ------
    InputError
        If the file cannot be read, or a column is missing.
    """
    import pandas as pd

    path = Path(path)
    try:
        table = pd.read_csv(path, sep="," if ".csv" in path.name else "\t", na_values=["n/a"], encoding="utf-8-sig")
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a table of events: {' '.join(str(error).split())}") from error
    if missing := [name for name in ("onset", "trial_type") if name not in table]:
        raise InputError(
            f"{path.name}: expected the columns {', '.join(_COLUMNS)}, there is no {missing[0]!r}; it has "
            f"{listed(map(str, table.columns), 8)}"
        )
    if "duration" not in table:
        table["duration"] = 0.0
    table = table.dropna(subset=["trial_type"])
    for name in ("onset", "duration"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    if table["onset"].isna().any():
        raise InputError(f"{path.name}: onsets must be seconds, row {int(table['onset'].isna().argmax()) + 1} has none")
    return table.assign(trial_type=table["trial_type"].astype(str)).reset_index(drop=True)


def cut_run(
    run: np.ndarray,
    t_r: float,
    onsets: Sequence[float] | np.ndarray,
    tmin: float,
    tmax: float,
    *,
    kept: Sequence[int] | None = None,
    n_volumes: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a run around events.

    Parameters
    ----------
    run : array of shape (n_regions, n_times)
        The series; volume i is taken to stand for the time ``i * t_r``.
    t_r : float
        Repetition time in seconds.
    onsets : sequence of float
        Seconds from the first volume of the run as recorded.
    tmin, tmax : float
        First and last second of a trial, relative to its event; both ends are included, as in mne, after rounding to
        whole volumes.
    kept : sequence of int, optional
        Which volumes of the run as recorded `run` holds; None: all.
    n_volumes : int, optional
        Volumes of the run as recorded; those of `run` where all are kept.

    Returns
    -------
    X : array of shape (n_whole, n_regions, n_trial_times)
        Trials that lie in the run with all their volumes.
    whole : bool array of shape (n_events,)
        Which events they belong to.
    """
    import numpy as np

    total = run.shape[1] if n_volumes is None else n_volumes
    place = np.full(total, -1)
    place[np.arange(run.shape[1]) if kept is None else np.asarray(kept)] = np.arange(run.shape[1])
    first, last = round(tmin / t_r), round(tmax / t_r)
    starts = np.round(np.asarray(onsets, dtype=float) / t_r).astype(int)
    wanted = starts[:, None] + np.arange(first, last + 1)
    inside = (wanted >= 0) & (wanted < total)
    found = np.where(inside, place[np.clip(wanted, 0, total - 1)], -1)
    whole = np.asarray((found >= 0).all(axis=1))
    return np.ascontiguousarray(run[:, found[whole]].transpose(1, 0, 2)), whole
