"""Scores of decoders that decide all the time: of single decisions, and of the actions that a user would see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from neurosig.core.errors import UsageError

__all__ = ["action_scores", "check_hold", "held_actions", "information_transfer_rate", "normalized_mcc"]

_RECORDING = ["subject", "session", "run", "file"]


def normalized_mcc(y_true: Any, y_pred: Any) -> float:
    """Matthews correlation coefficient, moved to 0 .. 1.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_windows,)
        True and predicted classes.

    Returns
    -------
    float
        (MCC + 1) / 2: 0.5 for guessing and for a decoder that always says the same, whatever the share of the classes.
    """
    from sklearn.metrics import matthews_corrcoef

    return float((matthews_corrcoef(y_true, y_pred) + 1) / 2)


def information_transfer_rate(accuracy: float, n_classes: int, seconds: float) -> float:
    """Wolpaw's information transfer rate.

    Parameters
    ----------
    accuracy : float
        Share of right decisions, 0 to 1.
    n_classes : int
        Number of classes, 2 or more.
    seconds : float
        Length of signal that a decision takes.

    Returns
    -------
    float
        Bits a minute; zero at or below the accuracy of guessing. The formula takes all classes to be equally frequent.
    """
    if n_classes < 2 or not seconds > 0 or not 0 <= accuracy <= 1:
        raise UsageError(
            f"expected 2 classes or more, positive seconds, an accuracy from 0 to 1, got {n_classes}, {seconds} and "
            f"{accuracy}"
        )
    if accuracy <= 1 / n_classes:
        return 0.0
    bits = np.log2(n_classes)
    if accuracy < 1:
        bits += accuracy * np.log2(accuracy) + (1 - accuracy) * np.log2((1 - accuracy) / (n_classes - 1))
    return float(bits * 60 / seconds)


def held_actions(windows: pd.DataFrame, hold: int, step: float, idle: str = "idle") -> np.ndarray:
    """What a system does that acts on a decision only once it was made several times in a row.

    Parameters
    ----------
    windows : DataFrame
        One row a window, in order of time within each recording: ``subject, session, run, file, onset`` in seconds, and
        ``predicted``.
    hold : int
        Equal decisions in a row that make an action; 1 acts on each.
    step : float
        Time from one window to the next in seconds. Where windows are missing between two, the count starts anew.
    idle : str
        Name of the class that is no action.

    Returns
    -------
    array of str of shape (n_windows,)
        The class acted on at each window, or `idle`.
    """
    check_hold(hold)
    predicted = windows["predicted"].to_numpy(dtype=object)
    fresh = _breaks(windows, step)
    fresh[1:] |= predicted[1:] != predicted[:-1]
    position = np.arange(len(windows))
    since = position - np.maximum.accumulate(np.where(fresh, position, 0)) if len(position) else position
    return np.where(since + 1 >= hold, predicted, idle).astype(str)


def check_hold(hold: int) -> None:
    """Raise a UsageError unless `hold` is a whole number of decisions of at least 1."""
    if isinstance(hold, bool) or not isinstance(hold, int | np.integer) or hold < 1:
        raise UsageError(f"hold must be a whole number of decisions of at least 1, got {hold!r}")


def action_scores(windows: pd.DataFrame, *, window: float, step: float, idle: str = "idle") -> dict[str, float]:
    """How many tasks are answered, how soon, and how often the system acts when nothing was meant.

    Parameters
    ----------
    windows : DataFrame
        One row a window, in order of time within each recording: ``subject, session, run, file, onset, overlap, event,
        task, task_start`` as `sliding_windows` gives them, and ``action``, the class acted on or `idle`.
    window, step : float
        Length of a window, and time from one to the next, in seconds.
    idle : str
        Name of the class that is no action.

    Returns
    -------
    dict of str to float
        ``n_tasks``; ``detected``, the share of tasks to which the first answer is the right one; ``confused``, the
        share to which it is another class's; ``carried``, the share that begin while an action goes on that began
        before; ``latency``, the median time in seconds from the start of a detected task to the end of the window in
        which its answer began, when it can be known at the earliest; ``false_positives``, the actions that start in a
        window outside all tasks, a minute of such windows; ``idle_acting``, the share of such windows in which the
        system acts; and ``idle_minutes``, how many minutes these are. NaN where there is nothing to count.

    Notes
    -----
    Only an action that starts in a window that holds some of the task is an answer to it. One that began earlier is
    none, however long it goes on: a decoder that never rests detects nothing, and its one false positive a recording
    is to be read beside ``idle_acting``, which is 1.
    """
    action = windows["action"].to_numpy(dtype=object)
    start = _breaks(windows, step)
    start[1:] |= action[1:] != action[:-1]
    position = np.arange(len(windows))
    began = np.maximum.accumulate(np.where(start, position, 0)) if len(windows) else position
    acts = action != idle
    start &= acts
    outside = windows["overlap"].to_numpy() <= 0
    minutes = outside.sum() * step / 60
    task, known = windows["task"].to_numpy(), windows["onset"].to_numpy(dtype=float)[began] + window
    # a window may hold the beginning of a task and too little of it to have its label
    reaches = (task[began] < 0) & (known > windows["task_start"].to_numpy(dtype=float))
    answers = acts & ((task[began] == task) | reaches)
    acting = windows.assign(known=known, answers=answers)[(task >= 0) & acts]
    key = [*_RECORDING, "task"]
    n_tasks = len(windows.loc[task >= 0, key].drop_duplicates())
    first = acting[acting["answers"]].groupby(key, sort=False).first()
    right = first[first["action"] == first["event"]]
    latency = right["known"] - right["task_start"]
    return {
        "n_tasks": float(n_tasks),
        "detected": len(right) / n_tasks if n_tasks else np.nan,
        "confused": (len(first) - len(right)) / n_tasks if n_tasks else np.nan,
        "carried": len(acting.loc[~acting["answers"], key].drop_duplicates()) / n_tasks if n_tasks else np.nan,
        "latency": float(latency.median()) if len(right) else np.nan,
        "false_positives": float((start & outside).sum() / minutes) if minutes else np.nan,
        "idle_acting": float(acts[outside].mean()) if minutes else np.nan,
        "idle_minutes": float(minutes),
    }


def _breaks(windows: pd.DataFrame, step: float) -> np.ndarray:
    """Where a window does not follow the one before it: another recording, or windows missing between."""
    number = windows.groupby([name for name in _RECORDING if name in windows], sort=False, dropna=False).ngroup()
    fresh = np.ones(len(windows), dtype=bool)
    onset = windows["onset"].to_numpy(dtype=float)
    fresh[1:] = (np.diff(number.to_numpy()) != 0) | (np.diff(onset) > 1.5 * step)
    return fresh
