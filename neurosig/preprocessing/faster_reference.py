"""How far a channel is from the reference electrode, and what of a score that explains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurosig.core.channel_names import canonical_name, listed
from neurosig.core.channels import montage_name
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
        Name of the reference channel, or of a site of the 10-05 system ("A2", "FCz") where it is none of the channels;
        True takes the position that each channel's ``loc[3:6]`` gives.

    Returns
    -------
    array of shape (n_picks,)
        Angles in radians.

    Raises
    ------
    ChannelError
        If a position is missing, or a name is neither a channel nor a site.
    """
    locs = np.array([info["chs"][pick]["loc"][:6] for pick in picks])
    here, there = locs[:, :3].copy(), locs[:, 3:].copy()
    if isinstance(reference, str):
        there[:] = _place(info, reference)
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


def _place(info: mne.Info, name: str) -> np.ndarray:
    """Position of a channel by its name, in any spelling, or of a site of the 10-05 system, in the head's frame."""
    import mne

    spelled = [name] if name in info["ch_names"] else info["ch_names"]
    for place, other in enumerate(info["ch_names"]):
        if other in spelled and canonical_name(other) == canonical_name(name):
            return info["chs"][place]["loc"][:3]
    montage = mne.channels.make_standard_montage(montage_name("standard_1005"))
    sites = {canonical_name(site): site for site in montage.ch_names}
    if (site := sites.get(canonical_name(name))) is None:
        raise ChannelError(f"the reference {name!r} is neither among the channels nor a site of the 10-05 system")
    alone = mne.create_info([site], 1.0, "eeg", verbose="error").set_montage(montage, verbose="error")
    return alone["chs"][0]["loc"][:3]


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
