"""What a reader of a cleaning should be told, in the words of the command line: what was not looked at, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from neurosig.core.channel_names import canonical_name, listed
from neurosig.preprocessing.faster_course import Course
from neurosig.preprocessing.faster_outliers import Outliers
from neurosig.preprocessing.faster_signals import DATA_TYPES

if TYPE_CHECKING:
    import mne

__all__ = ["NO_PLACES", "average_note", "near_reference", "nothing_to_compare", "skipped_notes", "without_places"]

NO_PLACES = "electrode positions are not known, so bad channels were not interpolated"
_FEW_IN_AVERAGE = 5  # EEG channels: of fewer, each is a fifth and more of their average
_BESIDE = np.deg2rad(45)  # two electrodes within this angle, seen from the middle of the head, lie beside each other


def skipped_notes(found: Mapping[str, Outliers], info: mne.Info, named: Sequence[str]) -> list[str]:
    """Metrics that could not be had.

    Parameters
    ----------
    found : dict of str to Outliers
        By stage.
    info : mne.Info
        Of the trials.
    named : sequence of str
        Channels that were to stand in for EOG.

    Returns
    -------
    list of str
        One sentence for each metric.
    """
    notes = []
    for metric, reason in {key: value for stage in found.values() for key, value in stage.skipped.items()}.items():
        if metric != "eog_correlation":
            notes.append(f"{metric.replace('_', ' ')} was not looked at: {reason}")
        elif named:
            notes.append(f"EOG correlation was not looked at, so blinks may stay: {reason}")
        else:
            by_site = {canonical_name(name): name for name in info["ch_names"]}
            near = [by_site[site] for site in ("Fp1", "Fp2", "AF7", "AF8") if site in by_site][:2]
            names = ",".join(near) if near else "NAMES (channels near the eyes)"
            notes.append(
                "EOG correlation was not looked at, so blinks may stay: there is no EOG channel; "
                f"give --eog-proxy {names}"
            )
    return notes


def average_note(n: int) -> str:
    """What to know of an average reference of `n` EEG channels; empty where there is nothing to say."""
    if n == 1:
        return "1 EEG channel has no average reference: it stays in the reference of the recording"
    if n < _FEW_IN_AVERAGE:
        return (
            f"average reference of {n} EEG channels only: a good part of each is taken off with it; --reference none "
            "keeps that of the recording"
        )
    return ""


def nothing_to_compare(course: Course, kinds: Sequence[str], n_trials: int) -> list[str]:
    """Stages that could find nothing, as there is one item only and nothing to compare it with."""
    notes = []
    n_channels = sum(kind in DATA_TYPES for kind in kinds)
    if n_channels == 1 and {"channels", "channels_in_epochs"} & set(course.found):
        notes.append("1 channel has no others to be compared with: whether it is bad was not looked at")
    if n_trials == 1 and "epochs" in course.found:
        notes.append("1 trial has no others to be compared with: whether it is bad was not looked at")
    return notes


def near_reference(found: Outliers | None, info: mne.Info) -> str:
    """Whether the bad channels look like good ones beside the reference electrode.

    Parameters
    ----------
    found : Outliers or None
        The first stage.
    info : mne.Info
        Holds the positions.

    Returns
    -------
    str
        What to try, where two channels or more were flagged for little variance alone and lie beside each other; else
        empty.
    """
    if found is None or "variance" not in found.z:
        return ""
    known = [flags for row, flags in found.flags.items() if row in ("dead", "marked", "faint")]
    judged = found.bad & ~np.any([np.zeros_like(found.bad), *known], axis=0)
    low = np.flatnonzero(judged & found.flags["variance"] & (found.z["variance"] < 0))
    if len(low) < 2 or 2 * len(low) <= judged.sum():
        return ""
    names = [found.items[i] for i in low]
    places = np.array([info["chs"][info["ch_names"].index(name)]["loc"][:3] for name in names])
    lengths = np.linalg.norm(places, axis=1)
    if not np.isfinite(places).all() or not lengths.all():
        return ""
    angles = np.arccos(np.clip(places @ places.T / np.outer(lengths, lengths), -1, 1))
    if np.sort(angles, axis=1)[:, 1].max() > _BESIDE:
        return ""
    return (
        f"{listed(names)} were found bad for little signal and lie beside each other: the reference electrode may be "
        "near; compare channels with --judge-in average, or say where it was with --reference-position"
    )


def without_places(notes: Sequence[str], info: mne.Info, montage: str | None) -> list[str]:
    """Notes of a recording that was read with a montage: to ask for one again would not help."""
    if montage is None or not any(note.startswith(NO_PLACES) for note in notes):
        return list(notes)
    eeg = [name for name, kind in zip(info["ch_names"], info.get_channel_types(), strict=True) if kind == "eeg"]
    told = f"{NO_PLACES}; of the names {listed(eeg)} too few are in the montage {montage}: give the one they are of"
    return [told if note.startswith(NO_PLACES) else note for note in notes]
