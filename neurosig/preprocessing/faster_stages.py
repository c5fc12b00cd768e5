"""FASTER's first two stages: channels that are bad throughout, and bad epochs."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError
from neurosig.preprocessing.faster_judged import check_judge_in, faint_channels, in_average, mean_signal
from neurosig.preprocessing.faster_metrics import cell_scores, channel_scores, dead_channels, finite_cells
from neurosig.preprocessing.faster_outliers import Outliers, Rule
from neurosig.preprocessing.faster_signals import (
    Recorded,
    computable,
    correct_for_reference,
    need_channels,
    tell_skipped,
)

if TYPE_CHECKING:
    import mne

    from neurosig.core.signals import SignalSpec

__all__ = ["bad_channels", "bad_epochs", "epoch_scores_by_type", "find_bad_channels", "find_bad_epochs"]

_AVERAGES = 3  # a channel that is found bad is taken out of the average that the others are judged in


def find_bad_channels(
    epochs: Any,
    *,
    variant: str = "mended",
    threshold: float | Mapping[str, float] = 3.0,
    metrics: Sequence[str] | None = None,
    max_iter: int | None = None,
    reference: str | bool | None = None,
    bads: Sequence[str] | None = None,
    info: SignalSpec | mne.Info | None = None,
    sfreq: float | None = None,
    ch_names: Sequence[str] | None = None,
    few: str = "warn",
    judge_in: str = "auto",
) -> Outliers:
    """Stage 1 of FASTER: channels that are outliers over the whole recording.

    Parameters
    ----------
    epochs : mne.BaseEpochs, mne.io.BaseRaw or array of shape (n_epochs, n_channels, n_times)
        Signals, any unit. They are laid end to end; a recording that was not cut is one epoch, annotated parts
        included.
    variant : {"mended", "paper", "mne"}
        The authors' formulas with their and mne-faster's faults mended; the authors' program; mne-faster.
    threshold : float or dict of str to float
        Standard deviations from the mean beyond which a channel is bad, for all or by metric or stage.
    metrics : sequence of {"variance", "correlation", "hurst", "drift", "kurtosis", "line_noise"}, optional
        Which to use. By default the first three, for "mended" with the fourth, for "mne" all but that.
    max_iter : int, optional
        Rounds; channels found in one do not count in the next. By default three for "mended", else one.
    reference : str, True or None
        With one reference electrode: its name (a channel, or a site of the 10-05 system), or True to take its position
        from the channels' ``loc[3:6]``. What a quadratic in the angle to it explains is taken out of variance and
        correlation ("mne": of all metrics).
    bads : sequence of str, optional
        Channels known to be bad: left out of the statistics and part of the decision. By default those that the epochs
        mark; "mne" takes part in all.
    info : SignalSpec or mne.Info, optional
        Describes the channels of an array.
    sfreq : float, optional
        Sampling rate in Hz of an array.
    ch_names : sequence of str, optional
        Names of an array's channels.
    few : {"warn", "ignore"}
        What to do where there are too few channels for the threshold ever to be passed (fewer than 11 for 3).
    judge_in : {"auto", "average", "recorded"}
        Reference in which EEG channels are compared: the average of the good ones, or that of the recording. "auto" is
        the average for "mended", where there are sixteen EEG channels and no `reference`, else that of the recording.

    Returns
    -------
    Outliers
        Scores, z-scores and flags of each channel. ``bads`` are names; those known to be bad are flagged as "marked".

    Raises
    ------
    UsageError
        If an option is unknown, or the average is asked for beside a `reference`.
    InputError
        If the signals are no epochs, or no channel is left to compare.

    Notes
    -----
    Channels are compared within their type. Channels that are constant or hold NaN are flagged as "dead" and left out
    of the statistics, where one of them makes mne-faster blind for correlation, kurtosis and the Hurst exponent; the
    other two variants keep the published behaviour, and warn of NaN. Epochs in which no channel holds numbers are left
    out; they are the second stage's. "paper" leaves channels of zeros out of the correlations, and gives them the mean,
    as the authors do with a reference.

    "mended" measures the variance by the median distance from the median, and on a logarithmic scale: blinks, which
    take a tenth of the time, do not make the frontal channels bad, and a noisy channel does not hide a dead one.
    "drift" is the same of means over a quarter of a second. "mended" looks three times, the published programs once.

    An electrode near the reference electrode carries little and is no worse for that. The paper [1]_ takes the distance
    to the reference out of the scores, for which its place must be known. Where it is not, "mended" compares channels
    in their average, from which, as in [2]_, those that are found bad are left out, up to three times. In that
    reference a channel without contact shows what the others share: one with less than an eighth of the usual amplitude
    in the reference of the recording is flagged as "faint".

    References
    ----------
    .. [1] Nolan, Whelan & Reilly, "FASTER: Fully Automated Statistical Thresholding for EEG artifact Rejection",
       Journal of Neuroscience Methods 192, 152-162, 2010.
    .. [2] Bigdely-Shamlo, Mullen, Kothe, Su & Robbins, "The PREP pipeline: standardized preprocessing for large-scale
       EEG analysis", Frontiers in Neuroinformatics 9, 16, 2015.
    """
    rule = Rule.make("channels", variant, threshold, metrics, max_iter, few)
    check_judge_in(judge_in, reference)
    found = bad_channels(Recorded.read(epochs, info, sfreq, ch_names, continuous=True), rule, reference, bads, judge_in)
    tell_skipped([found])
    return found


def bad_channels(
    signals: Recorded,
    rule: Rule,
    reference: str | bool | None = None,
    bads: Sequence[str] | None = None,
    judge_in: str = "auto",
) -> Outliers:
    """Stage 1 on signals that were read; see `find_bad_channels`."""
    picks = signals.picks()
    need_channels(picks, signals)
    known = (() if rule.variant == "mne" else signals.bads) if bads is None else tuple(bads)
    marked = np.array([signals.ch_names[i] in known for i in picks])
    X, finite = signals.X, finite_cells(signals.X, picks)
    if rule.published:
        _warn_of_holes([signals.ch_names[i] for i in picks[~finite.all(axis=0) & ~marked]])
    elif finite.any() and not finite.any(axis=1).all():
        X = X[finite.any(axis=1)]
    empty = np.array([signals.ch_names[i] in signals.empty for i in picks])
    dead = empty if rule.published else empty | dead_channels(X, picks)
    valid = ~marked & ~dead
    if not valid.any():
        raise InputError(
            f"none of {len(picks)} channels carries a signal: {int(dead.sum())} are constant or hold NaN, "
            f"{int(marked.sum())} were marked bad; check the recording"
        )
    groups = signals.groups(picks)
    metrics, skipped = computable(rule, signals.sfreq, signals.X.shape[2])
    eeg = np.array([signals.ch_types[i] == "eeg" for i in picks])
    averaged = in_average(judge_in, rule, reference, int((valid & eeg).sum()))
    faint = faint_channels(X, picks, valid & eeg) if averaged else np.zeros(len(picks), dtype=bool)

    def score(counted: np.ndarray | None) -> dict[str, np.ndarray]:
        off = None if counted is None else mean_signal(X, picks[counted])
        scores = channel_scores(
            X, picks, metrics, variant=rule.variant, sfreq=signals.sfreq, groups=groups, alive=valid & ~faint,
            reference=off, referred=eeg,
        )  # fmt: skip
        correct_for_reference(scores, signals, picks, reference, rule)
        return scores

    def judge(scores: Mapping[str, np.ndarray], rule: Rule) -> Outliers:
        return rule.judge(
            [signals.ch_names[i] for i in picks],
            scores,
            groups,
            valid=valid & ~faint,
            dead=None if rule.published and not empty.any() else dead,
            marked=marked,
            faint=faint,
            skipped=skipped,
            picks=picks,
        )

    counted = valid & eeg & ~faint
    scores = score(counted if averaged else None)
    silent = dataclasses.replace(rule, few="ignore")
    for _ in range(_AVERAGES - 1 if averaged else 0):
        good = counted & ~judge(scores, silent).bad
        if good.sum() < 2 or good.sum() == counted.sum():
            break
        counted = good
        scores = score(counted)
    return judge(scores, rule)


def _warn_of_holes(names: list[str]) -> None:
    if names:
        what = "holds" if len(names) == 1 else "hold"
        warnings.warn(
            f"{listed(names)} {what} NaN or infinite values, which make metrics find nothing, as published; mend the "
            "signals or take variant='mended'",
            UserWarning,
            stacklevel=4,
        )


def find_bad_epochs(
    epochs: Any,
    *,
    variant: str = "mended",
    threshold: float | Mapping[str, float] = 3.0,
    metrics: Sequence[str] | None = None,
    max_iter: int | None = None,
    bads: Sequence[str] | None = None,
    info: SignalSpec | mne.Info | None = None,
    sfreq: float | None = None,
    ch_names: Sequence[str] | None = None,
    few: str = "warn",
) -> Outliers:
    """Stage 2 of FASTER: epochs that are outliers.

    Parameters
    ----------
    epochs : mne.BaseEpochs or array of shape (n_epochs, n_channels, n_times)
        Signals, any unit.
    variant : {"mended", "paper", "mne"}
        The authors' formulas with faults mended; the authors' program; mne-faster, in whose deviation offsets of
        opposite sign on different channels cancel.
    threshold : float or dict of str to float
        Standard deviations from the mean beyond which an epoch is bad, for all or by metric or stage.
    metrics : sequence of {"amplitude", "variance", "deviation"}, optional
        Which to use; by default all. Range, variance, and distance of an epoch's mean from the channel's mean, averaged
        over channels.
    max_iter : int, optional
        Rounds; epochs found in one do not count in the next. By default three for "mended", else one.
    bads : sequence of str, optional
        Channels that are left out; by default those that the epochs mark.
    info : SignalSpec or mne.Info, optional
        Describes the channels of an array.
    sfreq : float, optional
        Sampling rate in Hz of an array; not used here.
    ch_names : sequence of str, optional
        Names of an array's channels.
    few : {"warn", "ignore"}
        What to do where there are too few epochs for the threshold ever to be passed.

    Returns
    -------
    Outliers
        Scores, z-scores and flags of each epoch. ``bads`` are their numbers. With channels of several types, scores are
        named "metric:type".

    Raises
    ------
    UsageError
        If an option is unknown.
    InputError
        If the signals are no epochs, or no channel is left.
    """
    rule = Rule.make("epochs", variant, threshold, metrics, max_iter, few)
    return bad_epochs(Recorded.read(epochs, info, sfreq, ch_names), rule, bads)


def bad_epochs(
    signals: Recorded,
    rule: Rule,
    bads: Sequence[str] | None = None,
    cells: Mapping[str, np.ndarray] | None = None,
) -> Outliers:
    """Stage 2 on signals that were read, from their statistics where they are known; see `find_bad_epochs`."""
    picks = signals.picks(exclude=signals.bads if bads is None else bads)
    need_channels(picks, signals)
    if cells is None:
        cells = cell_scores(signals.X, picks, {"squares", "amplitude"})
    named = epoch_scores_by_type(signals, picks, cells, rule)
    broad = Rule(
        rule.stage,
        rule.variant,
        tuple(named),
        {m: rule.threshold[m.split(":")[0]] for m in named},
        rule.max_iter,
        rule.few,
    )
    broken = np.zeros(len(signals.X), dtype=bool) if rule.published else ~np.isfinite(cells["mean"]).any(axis=1)
    return broad.judge(range(len(signals.X)), named, valid=~broken, dead=None if rule.published else broken)


def epoch_scores_by_type(
    signals: Recorded,
    picks: np.ndarray,
    cells: Mapping[str, np.ndarray],
    rule: Rule,
    channel_means: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Metrics of epochs, "metric:type" where there are channels of several types; `channel_means` as in `bad_cells`."""
    groups = signals.groups(picks)
    named = {}
    for group in groups:
        values = _epoch_scores(cells, group, rule, signals.X.shape[2], channel_means)
        suffix = f":{signals.ch_types[picks[group[0]]]}" if len(groups) > 1 else ""
        named.update({f"{metric}{suffix}": value for metric, value in values.items()})
    return named


def _epoch_scores(
    cells: Mapping[str, np.ndarray],
    group: np.ndarray,
    rule: Rule,
    n_times: int,
    channel_means: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Metrics of epochs: statistics of their channels, averaged over a group of channels."""
    mean = cells["mean"][:, group]
    usual = mean.mean(axis=0) if channel_means is None else channel_means[group]
    over: Callable[..., np.ndarray] = np.mean
    if not rule.published and not np.isfinite(mean).all():
        usual = _finite_mean(mean, axis=0) if channel_means is None else usual
        over = _finite_mean
    scores = {}
    for metric in rule.metrics:
        if metric == "amplitude":
            values = cells["amplitude"][:, group]
        elif metric == "variance":
            values = cells["squares"][:, group] / max(n_times - rule.ddof, 1)
        else:
            values = mean - usual
            values = values if rule.variant == "mne" else np.abs(values)
        scores[metric] = over(values, axis=1)
    return scores


def _finite_mean(values: np.ndarray, axis: int) -> np.ndarray:
    finite = np.isfinite(values)
    return np.where(finite, values, 0.0).sum(axis=axis) / np.maximum(finite.sum(axis=axis), 1)
