"""Spans of a recording whose amplitude no brain explains, marked so that no trial is cut from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neurosig.core.errors import InputError
from neurosig.core.log import logger

if TYPE_CHECKING:
    import mne

__all__ = ["BAND", "WINDOW", "mark_swings"]

WINDOW = 1.0  # seconds
BAND = (1.0, 40.0)  # Hz: slow drifts and muscle noise are the decoder's business, jumps and blinks of a headset are not


def mark_swings(raw: mne.io.BaseRaw, limit_uv: float) -> int:
    """Mark the spans in which an EEG channel swings more than a limit within one second.

    The rule looks at one second of the signal at a time and at no event or label, so that it may be applied before
    folds are made. Trials that touch a marked span are dropped by mne and MOABB.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Loaded; annotations named ``BAD_amplitude`` are added to it, its data are left as they are.
    limit_uv : float
        Largest peak-to-peak amplitude in microvolts, after a zero-phase 1-40 Hz band-pass (4th-order Butterworth).

    Returns
    -------
    int
        Number of marked spans.

    Raises
    ------
    InputError
        If the recording has no EEG channel, or its rate is too low for the band.
    """
    import mne
    import numpy as np
    from scipy.ndimage import maximum_filter1d, minimum_filter1d

    picks = mne.pick_types(raw.info, eeg=True, exclude="bads")
    sfreq = raw.info["sfreq"]
    if not len(picks) or sfreq <= 2 * BAND[1]:
        raise InputError(
            f"reject_uv needs EEG channels sampled above {2 * BAND[1]:g} Hz, got {len(picks)} channels at {sfreq:g} "
            "Hz; leave reject_uv out"
        )
    width = round(WINDOW * sfreq) | 1  # odd, so that the window is centred on its sample
    bad = np.zeros(raw.n_times, bool)
    for pick in picks:  # one channel at a time: memory stays that of the recording
        channel = raw.copy().pick([raw.ch_names[pick]], verbose="error").filter(*BAND, method="iir", verbose="error")
        signal = channel.get_data(verbose="error")[0] * 1e6
        bad |= maximum_filter1d(signal, width) - minimum_filter1d(signal, width) > limit_uv
    spans = np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]]).astype(np.int8))).reshape(-1, 2)
    spans[:, 1] = np.minimum(spans[:, 1], raw.n_times - 1)  # mne warns of spans that reach past the last sample
    if len(spans):
        start = raw.first_time if raw.annotations.orig_time is not None else 0.0
        raw.annotations.append(start + spans[:, 0] / sfreq, np.diff(spans)[:, 0] / sfreq, "BAD_amplitude")
        logger.info("%d spans, %.1f s in all, swing more than %g uV", len(spans), bad.sum() / sfreq, limit_uv)
    return len(spans)
