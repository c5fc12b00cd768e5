"""In which reference FASTER's first stage judges channels: that of the recording, or the average of the good ones.

An electrode beside the reference electrode carries little, since the two see nearly the same. FASTER takes the distance
to the reference out of the scores where its place is known; in most files it is not, and the average of the good
channels favours no place. A channel without contact, however, then shows the average itself, with its sign turned, and
looks like the others: so what is faint is looked for in the reference of the recording.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurosig.core.errors import UsageError
from neurosig.preprocessing.faster_metrics import robust_log_variance
from neurosig.preprocessing.faster_outliers import Rule

__all__ = ["JUDGE_IN", "check_judge_in", "faint_channels", "in_average", "mean_signal"]

JUDGE_IN = ("auto", "average", "recorded")
FEWEST_FOR_AVERAGE = 16  # EEG channels; the average of fewer is no neutral reference, and one bad channel is much of it
# Electrodes beside the reference keep about half of the usual amplitude (EEGMMIDB), those without contact far less
_FAINT = 0.125


def check_judge_in(judge_in: str, reference: Any = None) -> None:
    """Refuse a word that is none of `JUDGE_IN`, and the average beside a correction for the distance to the reference.

    Raises
    ------
    UsageError
        With what may be given.
    """
    if judge_in not in JUDGE_IN:
        raise UsageError(f"judge_in must be one of {', '.join(map(repr, JUDGE_IN))}, got {judge_in!r}")
    if judge_in == "average" and reference not in (None, False):
        raise UsageError(
            "in average reference there is no distance to the reference electrode to correct for: give its position, "
            "or judge_in='average', one of the two"
        )


def in_average(judge_in: str, rule: Rule, reference: Any, n_eeg: int) -> bool:
    """Whether channels are judged in average reference.

    Parameters
    ----------
    judge_in : {"auto", "average", "recorded"}
        What is asked for; "auto" is the average for "mended", from sixteen good EEG channels on and where the scores
        are not corrected for the distance to the reference.
    rule : Rule
        The stage.
    reference : str, True or None
        The reference electrode of that correction.
    n_eeg : int
        EEG channels that carry a signal.

    Returns
    -------
    bool
        True for the average.
    """
    if judge_in == "auto":
        return not rule.published and reference in (None, False) and n_eeg >= FEWEST_FOR_AVERAGE
    return judge_in == "average" and n_eeg > 1


def mean_signal(X: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Mean over some channels, without a copy of them.

    Parameters
    ----------
    X : array of shape (n_epochs, n_channels, n_times)
        Signals.
    channels : array of int
        Which; one at least.

    Returns
    -------
    array of shape (n_epochs, n_times)
        The mean, float64.
    """
    total = np.zeros((X.shape[0], X.shape[2]))
    for channel in channels:
        total += X[:, channel]
    return total / len(channels)


def faint_channels(X: np.ndarray, picks: np.ndarray, compared: np.ndarray) -> np.ndarray:
    """Channels whose amplitude in the reference of the recording is less than an eighth of the others'.

    Parameters
    ----------
    X : array of shape (n_epochs, n_channels, n_times)
        Signals as recorded.
    picks : array of int of shape (n_picks,)
        Channels.
    compared : array of bool of shape (n_picks,)
        Those that are compared with each other.

    Returns
    -------
    array of bool of shape (n_picks,)
        The faint ones: their median distance from the median is below an eighth of its median over channels.
    """
    found = np.zeros(len(picks), dtype=bool)
    places = np.flatnonzero(compared)
    if len(places) > 1:
        size = np.array([robust_log_variance(X[:, channel].reshape(-1)) for channel in picks[places]], dtype=float)
        found[places] = size < np.median(size) + 2 * np.log(_FAINT)
    return found
