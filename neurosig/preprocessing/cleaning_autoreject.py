"""autoreject on what FASTER leaves: whether it can run, asked before any work, and what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.errors import InputError
from neurosig.preprocessing.cleaning_options import CleaningOptions
from neurosig.preprocessing.faster_signals import DATA_TYPES
from neurosig.preprocessing.interpolation import sphere_positions

if TYPE_CHECKING:
    import mne

__all__ = ["check_autoreject", "run_autoreject"]

_EPOCHS = 10  # its cross-validation has ten folds
_CHANNELS = 4


def check_autoreject(info: mne.Info, options: CleaningOptions, n_trials: int | None = None, whose: str = "") -> None:
    """Refuse what autoreject cannot do, as far as is known: positions and channels before any work, then the trials.

    Parameters
    ----------
    info : mne.Info
        Of the recording.
    options : CleaningOptions
        How it is cleaned; nothing is checked where autoreject is not asked for.
    n_trials : int, optional
        How many there are, once that is known.
    whose : str
        What to say after a number of trials or channels.

    Raises
    ------
    InputError
        Too few channels or trials, or no positions.
    """
    if not options.autoreject:
        return
    eeg = [i for i, kind in enumerate(info.get_channel_types()) if kind == "eeg"]
    names = [info["ch_names"][i] for i in eeg]
    n_good = len(set(names) - set(info["bads"]) - set(options.eog))
    if n_good < _CHANNELS:
        raise InputError(
            f"autoreject needs at least {_CHANNELS} good EEG channels, got {n_good}{whose}; clean without it"
        )
    if sphere_positions(info, [i for i in eeg if info["ch_names"][i] not in options.eog]) is None:
        raise InputError(
            "autoreject needs the positions of the electrodes, the recording has none or not all; give a montage such "
            "as standard_1005, or clean without it"
        )
    if n_trials is not None and n_trials < _EPOCHS:
        raise InputError(f"autoreject needs at least {_EPOCHS} trials, got {n_trials}{whose}; clean without it")


def run_autoreject(
    epochs: mne.BaseEpochs, options: CleaningOptions
) -> tuple[mne.BaseEpochs, np.ndarray, dict[str, Any]]:
    """Interpolate and drop by thresholds learned in cross-validation.

    Parameters
    ----------
    epochs : mne.BaseEpochs
        What FASTER left.
    options : CleaningOptions
        Its seed is used.

    Returns
    -------
    epochs : mne.BaseEpochs
        What is left.
    chosen : array of int
        Their numbers.
    told : dict
        What was done, for the record.

    Raises
    ------
    InputError
        It cannot run, or drops every trial.
    """
    import autoreject

    check_autoreject(epochs.info, options, len(epochs), " that FASTER left")
    n_channels = sum(kind in DATA_TYPES for kind in epochs.get_channel_types()) - len(epochs.info["bads"])
    most = [n for n in (1, 4, 16, 32) if n < n_channels / 2]
    tool = autoreject.AutoReject(
        n_interpolate=np.array(most), random_state=options.random_state, n_jobs=1, verbose=False
    )
    cleaned, log = tool.fit_transform(epochs, return_log=True)
    chosen = np.flatnonzero(~log.bad_epochs)
    if not len(chosen):
        raise InputError("autoreject dropped every trial that FASTER had left; clean without it")
    told = {
        "trials_dropped": int(log.bad_epochs.sum()),
        "channels_interpolated_in_trials": int((log.labels == 2).sum()),
    }
    return cleaned, chosen, told
