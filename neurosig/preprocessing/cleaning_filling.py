"""Bad channels of a cleaned recording made of the good ones, and what could not be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurosig.core.channel_names import listed
from neurosig.preprocessing.cleaning_notes import NO_PLACES
from neurosig.preprocessing.faster_signals import DATA_TYPES
from neurosig.preprocessing.interpolation import interpolator, sphere_positions

if TYPE_CHECKING:
    import mne

__all__ = ["fill_bad_channels"]


def fill_bad_channels(
    epochs: mne.BaseEpochs, cells: np.ndarray, notes: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Fill bad channels and bad channels of single epochs, in place.

    Parameters
    ----------
    epochs : mne.BaseEpochs
        Trials; channels in ``info["bads"]`` are filled everywhere, and taken out of it where that could be done.
    cells : array of bool of shape (n_epochs, n_channels)
        Data channels to fill in single epochs; False after where they could not be.
    notes : list of str
        Gets what a reader should know.

    Returns
    -------
    filled, left : tuple of str
        Channels that were filled everywhere, and those that stay bad.
    """
    info = epochs.info
    types = info.get_channel_types()
    picks = [i for i, kind in enumerate(types) if kind in DATA_TYPES]
    names, bads = [info["ch_names"][i] for i in picks], list(info["bads"])
    everywhere = np.isin(names, bads)
    wanted = cells | everywhere
    if not wanted.any():
        return (), ()
    eeg = [i for i, kind in enumerate(types) if kind == "eeg"]
    types = [types[i] for i in picks]
    positions = np.full((len(picks), 3), np.nan)
    if eeg:
        found = sphere_positions(info, eeg)
        if found is not None:
            positions[np.isin(picks, eeg)] = found
    fields = None
    if {"mag", "grad"} & set(types):
        import json

        import mne

        fields = json.dumps(mne.pick_info(info, picks).to_json_dict())
    fill = interpolator(types, positions, fields, "auto")
    data = epochs.get_data(picks=picks, copy=True)
    # the mean of the others would be zero in average reference: such a channel stays as it is, and marked
    fillable = wanted & ~np.isin(types, fill.by_mean)
    left = fill(data, fillable) | (wanted & ~fillable)
    epochs._data[:, picks] = data
    if fill.by_mean:
        notes.append(f"{NO_PLACES}; give --montage, or names of the 10-05 system")
    unfilled = tuple(name for name, mask in zip(names, left.any(axis=0) & everywhere, strict=True) if mask)
    if left[:, ~everywhere].any():
        notes.append("some channels of single epochs were left as they are: they could not be interpolated")
    cells &= ~left
    if unfilled:
        why = "no positions" if fill.by_mean else "too few good channels"
        notes.append(f"{listed(unfilled)} could not be interpolated ({why}) and stay marked bad")
    epochs.info["bads"] = [name for name in bads if name in unfilled or name not in names]
    return tuple(name for name in names if name in bads and name not in unfilled), unfilled
