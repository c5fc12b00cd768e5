"""How far a channel is from the reference electrode, and what of a score that explains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurosig.core.channel_names import listed
from neurosig.core.errors import ChannelError

if TYPE_CHECKING:
    import mne

__all__ = ["reference_angles", "remove_quadratic"]


def reference_angles(info: mne.Info, picks: np.ndarray, reference: str | bool) -> np.ndarray:
    """Angles between channels and the reference electrode, seen from the origin.

    Parameters
    ----------
    info : mne.Info
        Holds the positions.
    picks : array of int
        Channels.
    reference : str or True
        Name of the reference channel; True takes the position that each channel's ``loc[3:6]`` gives.

    Returns
    -------
    array of shape (n_picks,)
        Angles in radians.

    Raises
    ------
    ChannelError
        If a position is missing.
    """
    locs = np.array([info["chs"][pick]["loc"][:6] for pick in picks])
    here, there = locs[:, :3].copy(), locs[:, 3:].copy()
    if isinstance(reference, str):
        if reference not in info["ch_names"]:
            raise ChannelError(f"the reference channel {reference!r} is not among the channels")
        there[:] = info["chs"][info["ch_names"].index(reference)]["loc"][:3]
    for positions, whose in ((here, "the channels"), (there, "the reference")):
        missing = ~np.isfinite(positions).all(axis=1) | (positions == 0).all(axis=1)
        if missing.any():
            names = listed([info["ch_names"][picks[i]] for i in np.flatnonzero(missing)])
            raise ChannelError(
                f"the correction for the distance to the reference needs the position of {whose}, missing for {names}; "
                "set a montage or pass reference=None"
            )
        positions /= np.linalg.norm(positions, axis=1, keepdims=True)
    return np.arccos(np.clip((here * there).sum(axis=1), -1.0, 1.0))


def remove_quadratic(scores: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Take a quadratic in the distance to the reference out of scores.

    Parameters
    ----------
    scores : array of shape (..., n_channels)
        Scores; those that are not finite stay and do not count in the fit.
    angles : array of shape (n_channels,)
        Angular distances.

    Returns
    -------
    array of shape (..., n_channels)
        What remains.
    """
    rows = np.atleast_2d(scores).astype(np.float64)
    design = np.vander(angles, 3)
    for row in rows:
        finite = np.isfinite(row)
        if finite.any():
            row[finite] -= design[finite] @ np.linalg.lstsq(design[finite], row[finite], rcond=None)[0]
    return rows.reshape(scores.shape)
