"""FASTER's fourth stage: channels that are bad in single epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.preprocessing.faster_metrics import cell_scores, dead_cells
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

__all__ = ["bad_cells", "cell_statistics", "find_bad_channels_in_epochs", "usual_cells"]

_FEWEST_EPOCHS = 5  # from which a channel's median over epochs says what is usual
# Blinks and rhythms make these differ between good channels; a high gradient in every epoch is noise
_RELATIVE = ("variance", "amplitude", "deviation")


def find_bad_channels_in_epochs(
    epochs: Any,
    *,
    variant: str = "mended",
    threshold: float | Mapping[str, float] = 3.0,
    metrics: Sequence[str] | None = None,
    max_iter: int = 1,
    reference: str | bool | None = None,
    bads: Sequence[str] | None = None,
    info: SignalSpec | mne.Info | None = None,
    sfreq: float | None = None,
    ch_names: Sequence[str] | None = None,
    few: str = "warn",
) -> Outliers:
    """Stage 4 of FASTER: channels that are outliers among the channels of one epoch.

    Parameters
    ----------
    epochs : mne.BaseEpochs or array of shape (n_epochs, n_channels, n_times)
        Signals, any unit.
    variant : {"mended", "paper", "mne"}
        The authors' formulas with faults mended (the median gradient is that of absolute differences: the median of
        signed ones is close to zero whatever the channel holds); the authors' program; mne-faster.
    threshold : float or dict of str to float
        Standard deviations from the mean beyond which a channel is bad, for all or by metric or stage.
    metrics : sequence of {"variance", "median_gradient", "amplitude", "deviation", "line_noise"}, optional
        Which to use. By default the first four, for "mne" all.
    max_iter : int
        Rounds; channels found in one do not count in the next.
    reference : str, True or None
        As in `find_bad_channels`; applied for "mne" to all metrics, else to the variance.
    bads : sequence of str, optional
        Channels that are left out; by default those that the epochs mark.
    info : SignalSpec or mne.Info, optional
        Describes the channels of an array.
    sfreq : float, optional
        Sampling rate in Hz of an array.
    ch_names : sequence of str, optional
        Names of an array's channels.
    few : {"warn", "ignore"}
        What to do where there are too few channels for the threshold ever to be passed.

    Returns
    -------
    Outliers
        Scores, z-scores and flags of shape (n_epochs, n_channels); ``bad`` is the mask to interpolate by.

    Raises
    ------
    UsageError
        If an option is unknown.
    InputError
        If the signals are no epochs, or no channel is left.

    Notes
    -----
    "mended" divides variance, amplitude and deviation by the channel's own median over epochs, where there are five
    epochs at least: a channel that always carries more than others, over the eyes or over a strong rhythm, is not bad
    for that.
    """
    rule = Rule.make("channels_in_epochs", variant, threshold, metrics, max_iter, few)
    found = bad_cells(Recorded.read(epochs, info, sfreq, ch_names), rule, reference, bads)
    tell_skipped([found])
    return found


def bad_cells(
    signals: Recorded,
    rule: Rule,
    reference: str | bool | np.ndarray | None = None,
    bads: Sequence[str] | None = None,
    cells: Mapping[str, np.ndarray] | None = None,
    usual: Mapping[str, np.ndarray] | None = None,
) -> Outliers:
    """Stage 4 on signals that were read.

    See `find_bad_channels_in_epochs`. `cells` are statistics of the good channels where they are known already, and
    `usual` what `usual_cells` says of other epochs of theirs; by default that of these epochs.
    """
    every = signals.picks()
    picks = signals.picks(exclude=signals.bads if bads is None else bads)
    need_channels(picks, signals)
    n_times = signals.X.shape[2]
    metrics, skipped = computable(rule, signals.sfreq, n_times)
    if cells is None:
        cells = cell_scores(
            signals.X, picks, cell_statistics(metrics), signed_gradient=rule.variant == "paper", sfreq=signals.sfreq
        )
    if usual is None:
        usual = usual_cells(cells, rule, metrics, n_times)
    place = np.searchsorted(every, picks)
    scores = {}
    for metric in metrics:
        values = _cell_metric(metric, cells, rule, n_times, usual["mean"])
        if metric in usual:
            values = values / usual[metric]
        scores[metric] = np.full((len(signals.X), len(every)), np.nan)
        scores[metric][:, place] = values
    dead = np.zeros((len(signals.X), len(every)), dtype=bool)
    valid = np.zeros_like(dead)
    valid[:, place] = True
    if not rule.published:
        dead[:, place] = dead_cells(cells, n_times)
        valid &= ~dead
    correct_for_reference(scores, signals, every, reference, rule)
    return rule.judge(
        [signals.ch_names[i] for i in every],
        scores,
        signals.groups(every),
        valid=valid,
        dead=None if rule.published else dead,
        skipped=skipped,
        picks=every,
    )


def usual_cells(
    cells: Mapping[str, np.ndarray], rule: Rule, metrics: Sequence[str], n_times: int
) -> dict[str, np.ndarray]:
    """What is usual in each channel: its mean, and for "mended" the median over epochs of three metrics.

    Parameters
    ----------
    cells : dict of str to array of shape (n_epochs, n_picks)
        From `cell_scores`.
    rule : Rule
        Stage 4.
    metrics : sequence of str
        Metrics that can be computed.
    n_times : int
        Samples in an epoch.

    Returns
    -------
    dict of str to array of shape (n_picks,)
        "mean", and by metric where there are epochs enough to know. A channel that is still in most epochs takes the
        median over channels.
    """
    usual = {"mean": cells["mean"].mean(axis=0)}
    if rule.published or len(cells["mean"]) < _FEWEST_EPOCHS:
        return usual
    for metric in (metric for metric in metrics if metric in _RELATIVE):
        levels = np.median(_cell_metric(metric, cells, rule, n_times, usual["mean"]), axis=0)
        known = np.isfinite(levels) & (levels > 0)
        if known.any():
            usual[metric] = np.where(known, levels, np.median(levels[known]))
    return usual


def cell_statistics(metrics: Iterable[str]) -> set[str]:
    """What `cell_scores` has to compute for these metrics of channels in epochs."""
    return {"squares", *(metric for metric in metrics if metric not in ("variance", "deviation"))}


def _cell_metric(
    metric: str, cells: Mapping[str, np.ndarray], rule: Rule, n_times: int, means: np.ndarray
) -> np.ndarray:
    if metric == "variance":
        return cells["squares"] / max(n_times - rule.ddof, 1)
    if metric == "deviation":
        off = cells["mean"] - means
        return off if rule.variant == "mne" else np.abs(off)
    return cells[metric]
