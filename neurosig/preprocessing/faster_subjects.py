"""FASTER's fifth stage: subjects whose average does not belong into a grand average."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.preprocessing.faster_outliers import Outliers, Rule, refuse_without_metrics
from neurosig.preprocessing.faster_signals import DATA_TYPES

__all__ = ["find_outlier_subjects"]


def find_outlier_subjects(
    subjects: Any,
    *,
    eog: Any = None,
    variant: str = "mended",
    threshold: float | Mapping[str, float] = 3.0,
    metrics: Sequence[str] | None = None,
    max_iter: int = 1,
    trim: float = 0.0,
    names: Sequence[Any] | None = None,
    few: str = "warn",
) -> Outliers:
    """Stage 5 of FASTER: subjects whose average is an outlier, left out of a grand average.

    Parameters
    ----------
    subjects : sequence of mne.BaseEpochs, mne.Evoked or arrays, or array of shape (n_subjects, n_channels, n_times)
        One entry a subject: clean epochs, shape (n_epochs, n_channels, n_times), which are averaged, or their average,
        shape (n_channels, n_times). Channels and times are the same for all; EOG channels of epochs and evoked data are
        taken out and used as such. Channels that are marked bad in any of them count in none, with a warning.
    eog : sequence of arrays of shape (n_eog, n_times), optional
        Average of the EOG channels of each subject, where `subjects` are arrays.
    variant : {"mended", "paper", "mne"}
        All the same here, as mne-faster has no such stage, but that "mne" uses mne-faster's standard deviation.
    threshold : float or dict of str to float
        Standard deviations from the mean beyond which a subject is an outlier, for all or by metric or stage.
    metrics : sequence of {"deviation", "variance", "amplitude", "eog"}, optional
        Which to use; by default all, "eog" where there are EOG channels.
    max_iter : int
        Rounds; subjects found in one do not count in the next.
    trim : float
        Part of the epochs cut off at each end in the average, 0 for the plain mean.
    names : sequence, optional
        Names of the subjects; by default their numbers.
    few : {"warn", "ignore"}
        What to do where there are too few subjects for the threshold ever to be passed.

    Returns
    -------
    Outliers
        Scores, z-scores and flags of each subject. With channels of several types, scores but that of the EOG are named
        "metric:type".

    Raises
    ------
    UsageError
        If an option is unknown, `trim` is not in [0, 0.5), or there are more or fewer names than subjects.
    InputError
        If the subjects' averages differ in shape or in types of channels, are not finite, or no channel is left.
    """
    rule = Rule.make("subjects", variant, threshold, metrics, max_iter, few)
    if not 0 <= trim < 0.5:
        raise UsageError(f"trim must be a part of at least 0 and below 0.5, got {trim!r}")
    subjects = list(subjects)
    bads = _marked(subjects)
    averages, eyes, kinds = [], [], []
    for subject in subjects:
        average, eye, types = _average(subject, trim, bads)
        averages.append(average)
        eyes.append(eye)
        kinds.append(types)
    if eog is not None:
        eyes = [np.asarray(eye, dtype=np.float64) for eye in eog]
    shapes = sorted({average.shape for average in averages})
    if len(shapes) != 1:
        found = ", ".join(map(str, shapes)) if shapes else "no subjects"
        raise InputError(
            f"expected averages of one shape (n_channels, n_times), got {found}; equalise channels and times"
        )
    if not averages[0].shape[0]:
        raise InputError(
            f"no channel is left to compare subjects by; expected channels of type {', '.join(DATA_TYPES)} that are "
            "marked bad in no subject"
        )
    known = sorted({types for types in kinds if types is not None})
    if len(known) > 1:
        raise InputError("the subjects' channels differ in type or order; give all the same channels in one order")
    if len(eyes) != len(averages):
        raise InputError(f"expected the EOG of each of {len(averages)} subjects, got {len(eyes)}")
    if names is not None and len(names) != len(averages):
        raise UsageError(f"expected {len(averages)} names of subjects, got {len(names)}")
    stack = np.stack(averages)
    if not np.isfinite(stack).all():
        where = np.flatnonzero(~np.isfinite(stack).all(axis=(1, 2))).tolist()
        raise InputError(
            f"expected finite averages, got NaN or inf in subjects {', '.join(map(str, where))}; clean them"
        )
    every_type = np.array(known[0] if known else ["eeg"] * stack.shape[1])
    skipped = {}
    scores = {}
    for metric in rule.metrics:
        if metric == "eog":
            if all(eye.size for eye in eyes):
                scores[metric] = np.array([np.abs(eye).max() for eye in eyes])
            else:
                skipped[metric] = "there are no EOG channels"
            continue
        # volts and teslas have no mean
        for kind in dict.fromkeys(every_type.tolist()):
            name = metric if (every_type == kind).all() else f"{metric}:{kind}"
            scores[name] = _score(metric, stack[:, every_type == kind])
    refuse_without_metrics(rule, scores, skipped)
    thresholds = {name: rule.threshold[name.split(":")[0]] for name in (*scores, *skipped)}
    broad = dataclasses.replace(rule, threshold=thresholds)
    if bads:
        warnings.warn(
            f"{listed(bads)} {'is' if len(bads) == 1 else 'are'} marked bad in some of the subjects, and left out of "
            "their comparison",
            UserWarning,
            stacklevel=2,
        )
    return broad.judge(range(len(stack)) if names is None else list(names), scores, skipped=skipped)


def _score(metric: str, stack: np.ndarray) -> np.ndarray:
    """One metric of averages of shape (n_subjects, n_channels, n_times), over channels of one type."""
    if metric == "variance":
        return stack.var(axis=2, ddof=min(1, stack.shape[2] - 1)).mean(axis=1)
    if metric == "amplitude":
        return np.ptp(stack, axis=2).mean(axis=1)
    means = stack.mean(axis=2)
    return np.abs(means - means.mean(axis=0)).mean(axis=1)


def _marked(subjects: Sequence[Any]) -> list[str]:
    """Channels that are marked bad in any subject: an average in which they stood for the head would be of noise."""
    import mne

    found = (subject.info["bads"] for subject in subjects if isinstance(subject, mne.Evoked | mne.BaseEpochs))
    return list(dict.fromkeys(name for bads in found for name in bads))


def _average(subject: Any, trim: float, bads: Sequence[str]) -> tuple[np.ndarray, np.ndarray, tuple[str, ...] | None]:
    """Average of the data channels and of the EOG channels, and the types of the former where they are known."""
    import mne
    from scipy.stats import trim_mean

    if isinstance(subject, mne.Evoked):
        data, info = subject.get_data(), subject.info
    elif isinstance(subject, mne.BaseEpochs):
        data, info = subject.get_data(copy=False), subject.info
    else:
        data, info = np.asarray(subject, dtype=np.float64), None
    if data.ndim == 3 and len(data):
        data = trim_mean(data, trim, axis=0) if trim else data.mean(axis=0)
    if data.ndim != 2:
        raise InputError(f"expected epochs or an average of two axes for each subject, got shape {np.shape(data)}")
    if info is None:
        return data, np.zeros((0, data.shape[1])), None
    types = np.array(info.get_channel_types())
    good = ~np.isin(info["ch_names"], list(bads))
    picks = good & np.isin(types, DATA_TYPES)
    return data[picks], data[good & (types == "eog")], tuple(types[picks].tolist())
