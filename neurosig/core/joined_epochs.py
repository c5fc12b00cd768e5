"""Lists of mne's Epochs of one trial each, which is what scikit-learn's folds make of Epochs: joined here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import ChannelError, InputError

if TYPE_CHECKING:
    import mne

__all__ = ["epochs_in", "is_fold", "joined_epochs"]


def epochs_in(X: Any) -> mne.BaseEpochs | None:
    """The Epochs that tell channels, rate and times of signals.

    Parameters
    ----------
    X : object
        Signals of any kind.

    Returns
    -------
    mne.BaseEpochs or None
        `X` itself where it is Epochs, the first of a list of Epochs, None for all else.

    Raises
    ------
    ChannelError
        If the Epochs of a list have not all the same channels.
    InputError
        If they have not all the same rate and times.
    """
    found = sys.modules.get("mne")  # whoever holds Epochs has imported mne: no need to do so here
    if found is None or isinstance(X, found.BaseEpochs):
        return None if found is None else X
    if not _all_epochs(X):
        return None
    first = X[0]
    names, rate, times = first.ch_names, first.info["sfreq"], (len(first.times), first.tmin)
    for i, part in enumerate(X):
        if part.ch_names != names:
            raise ChannelError(f"expected Epochs of the same channels, number {i} of the list has others; reorder them")
        if part.info["sfreq"] != rate or (len(part.times), part.tmin) != times:
            raise InputError(
                f"expected Epochs of the same rate and times, number {i} of the list has others; cut alike"
            )
    return first


def is_fold(X: Any) -> bool:
    """Whether signals are a list of Epochs of one trial each: a fold; longer ones are collections of their own."""
    return _all_epochs(X) and all(len(part.events) == 1 for part in X)


def joined_epochs(X: Any) -> Any:
    """Signals as they are, but Epochs for a list of Epochs.

    Parameters
    ----------
    X : object
        Signals of any kind.

    Returns
    -------
    object
        Of a list of Epochs, Epochs of all their trials in its order, with channels, positions, filters, bad channels,
        times, event names and metadata; anything else is given back.

    Raises
    ------
    ChannelError, InputError
        If the Epochs of a list do not fit together (see `epochs_in`).
    """
    first = epochs_in(X)
    if first is None or first is X:
        return X
    import mne
    import numpy as np

    events = np.concatenate([part.events for part in X])
    if len(np.unique(events[:, 0])) < len(events):  # a trial drawn twice, or the events of several recordings
        events[:, 0] = np.arange(len(events))
    names: dict[str, int] = {}
    for part in X:
        names.update(part.event_id)
    tables = [part.metadata for part in X if part.metadata is not None]
    table = sys.modules["pandas"].concat(tables, ignore_index=True) if len(tables) == len(X) else None
    data = np.concatenate([part.get_data(copy=False) for part in X])
    return mne.EpochsArray(data, first.info, events, first.tmin, names, proj=False, metadata=table, verbose="error")


def _all_epochs(X: Any) -> bool:
    found = sys.modules.get("mne")
    listed = found is not None and isinstance(X, list | tuple) and bool(X)
    return listed and all(isinstance(part, found.BaseEpochs) for part in X)  # type: ignore[union-attr]
