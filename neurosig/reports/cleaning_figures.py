"""Figures of a cleaning: z-scores with their thresholds, what was mended when, signals and spectra before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.reports.drawing import COLOURS, FONT, finish_rows, house_style, place_labels, row_label

if TYPE_CHECKING:
    import mne
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "plot_channel_rates",
    "plot_cohort",
    "plot_components",
    "plot_mended",
    "plot_spectra",
    "plot_traces",
    "plot_z",
]

_WIDTH = 5.0  # inches, as all drawings of these pages
_ROWS_OF_CHANNELS = 24
_LABELS_A_ROW = 4


def plot_z(stage: Mapping[str, Any], label: str) -> Figure:
    """z-scores of all items in each metric, those beyond the threshold named.

    Parameters
    ----------
    stage : dict
        A stage of a cleaning's record: ``items, z, by_metric, threshold``.
    label : str
        What an item is, for the axis: "channel", "trial".

    Returns
    -------
    Figure
        A row for each metric.
    """
    metrics = list(stage["z"])
    items = list(stage["items"])
    with _figure(0.75 + 0.5 * len(metrics)) as (figure, ax):
        points = []
        for y, metric in enumerate(metrics):
            z = np.atleast_2d(np.array(stage["z"][metric], dtype=float))
            z = z[
                np.abs(np.nan_to_num(z)).argmax(axis=0), np.arange(z.shape[1])
            ]  # of several EOG channels, the clearest
            beyond = np.isin(items, stage["by_metric"].get(metric, []))
            limit = stage["threshold"][metric]
            for side in (-limit, limit):
                ax.plot([side] * 2, [y - 0.16, y + 0.3], color=COLOURS["chance"], lw=1.1, ls=(0, (4, 3)), zorder=1)
            known = np.isfinite(z)
            ax.plot(z[known & ~beyond], np.full((known & ~beyond).sum(), y), "o", ms=4.2, alpha=0.45, mew=0,
                    color=COLOURS["muted"], zorder=2)  # fmt: skip
            ax.plot(
                z[known & beyond], np.full((known & beyond).sum(), y), "D", ms=5.2, color=COLOURS["against"], zorder=3
            )
            worst = sorted(np.flatnonzero(known & beyond), key=lambda i: -abs(z[i]))[:_LABELS_A_ROW]
            points += [(float(z[i]), float(y), _item(items[i], label)) for i in worst]
            n = int(beyond.sum())
            row_label(ax, y, _words(metric), f"{n} beyond" if n else "")
        low, high = ax.get_xlim()
        low, high = min(low, -3.4), max(high, 3.4)
        ax.set_xlim(low - 0.04 * (high - low), high + 0.12 * (high - low))  # names stand to the right of their marks
        finish_rows(ax, len(metrics), f"z-score, one mark per {label}; dashed: threshold")
        place_labels(ax, points)
    return figure


def plot_mended(
    cells: np.ndarray, trials: np.ndarray, dropped: Sequence[int], bad: Sequence[str], names: Sequence[str]
) -> Figure:
    """Which channels were interpolated in which trials.

    Parameters
    ----------
    cells : array of bool of shape (n_kept, n_channels)
        Channels interpolated in single trials.
    trials : array of int of shape (n_kept,)
        Numbers of the trials that were kept.
    dropped : sequence of int
        Numbers of those that were not.
    bad, names : sequence of str
        Channels that are bad everywhere, and all channels.

    Returns
    -------
    Figure
        A row for each channel in which anything was done, most often mended first.
    """
    counts = cells.sum(axis=0) + np.isin(names, list(bad)) * (len(cells) + 1)
    order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
    rows, left = order[:_ROWS_OF_CHANNELS], order[_ROWS_OF_CHANNELS:]
    n_trials = len(trials) + len(dropped)
    height = 0.9 + 0.2 * max(len(rows), 3)
    from matplotlib import ticker

    with _figure(height) as (figure, ax):
        for trial in dropped:
            ax.axvspan(trial - 0.5, trial + 0.5, color=COLOURS["band"], lw=0, zorder=0.5)
        for y, i in enumerate(rows):
            if names[i] in bad:
                ax.barh(y, n_trials, left=-0.5, height=0.62, color=COLOURS["against"], alpha=0.55, lw=0, zorder=2)
                continue
            spans = [(trial - 0.5, 1.0) for trial in trials[cells[:, i]]]
            ax.broken_barh(spans, (y - 0.36, 0.72), color=COLOURS["score"], lw=0, zorder=3)
        ax.set_yticks(range(len(rows)), [names[i] for i in rows], fontsize=FONT - 1)
        ax.tick_params(axis="y", length=0)
        ax.grid(False)
        ax.set_ylim(max(len(rows), 3) - 0.4, -0.6)
        ax.set_xlim(-0.5, n_trials - 0.5)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        more = f"; {len(left)} more channels mended in fewer trials" if left else ""
        ax.set_xlabel(f"trial, in the order of the recording{more}")
    return figure


def plot_traces(
    before: np.ndarray, after: np.ndarray, names: Sequence[str], trials: Sequence[int], times: np.ndarray, unit: str
) -> Figure:
    """A few channels of a few trials, before and after.

    Parameters
    ----------
    before, after : array of shape (n_trials, n_channels, n_times)
        Signals in `unit`.
    names : sequence of str
        Channels.
    trials : sequence of int
        Numbers of the trials.
    times : array of shape (n_times,)
        Seconds from the event.
    unit : str
        Unit of the signals.

    Returns
    -------
    Figure
        Trials side by side, channels one above the other.
    """
    n_trials, n_channels, n_times = before.shape
    step = max(1, n_times // 160)
    before, after = (x[..., ::step] - np.median(x, axis=-1, keepdims=True) for x in (before, after))
    spacing = float(max(np.percentile(np.abs(before), 99), 5 * after.std(), 1e-30)) * 1.3
    with _figure(0.8 + 0.46 * n_channels) as (figure, ax):
        width, gap = times[-1] - times[0], 0.06 * (times[-1] - times[0])
        clock = times[::step] - times[0]
        for column in range(n_trials):
            start = column * (width + gap)
            for row in range(n_channels):
                y = -row * spacing
                # a spike is drawn up to the middle of the neighbours' rows, which shows that it leaves its own
                for signal, colour, lw in ((before, "against", 0.9), (after, "score", 1.1)):
                    wave = np.clip(signal[column, row], -1.4 * spacing, 1.4 * spacing)
                    ax.plot(start + clock, y + wave, color=COLOURS[colour], lw=lw, zorder=2 + (colour == "score"))
            ax.text(start + width / 2, 1.45 * spacing, f"trial {trials[column]}", ha="center", va="bottom",
                    color=COLOURS["muted"], fontsize=FONT - 1)  # fmt: skip
        bar = _round_down(spacing)
        end = n_trials * (width + gap)
        ax.plot(
            [end, end], [-spacing * (n_channels - 1), -spacing * (n_channels - 1) + bar], color=COLOURS["ink"], lw=2
        )
        ax.text(end, -spacing * (n_channels - 0.25), f"{bar:g} {unit}", ha="right", va="top", fontsize=FONT - 1)
        ax.set_yticks([-row * spacing for row in range(n_channels)], names, fontsize=FONT - 1)
        ax.tick_params(axis="y", length=0)
        ax.set_xticks([])
        ax.grid(False)
        ax.spines["bottom"].set_visible(False)
        ax.set_ylim(-spacing * (n_channels + 0.3), 1.7 * spacing)
        ax.set_xlabel(f"{width:.2g} s of each trial")
        _legend(ax)
    return figure


def plot_spectra(freqs: np.ndarray, before: np.ndarray, after: np.ndarray) -> Figure:
    """Spectra of all channels before and after: median over channels, and the span of nine in ten of them.

    Parameters
    ----------
    freqs : array of shape (n_freqs,)
        Frequencies in Hz.
    before, after : array of shape (n_channels, n_freqs)
        Power in dB.

    Returns
    -------
    Figure
        One panel.
    """
    with _figure(2.9) as (figure, ax):
        for power, colour in ((before, "against"), (after, "score")):
            low, middle, high = np.percentile(power, [5, 50, 95], axis=0)
            ax.fill_between(freqs, low, high, color=COLOURS[colour], alpha=0.16, lw=0)
            ax.plot(freqs, middle, color=COLOURS[colour], lw=1.6)
        ax.set_xlabel("frequency (Hz)")
        ax.set_ylabel("power (dB, 1 µV²/Hz)")
        ax.set_xlim(freqs[0], freqs[-1])
        _legend(ax)
    return figure


def plot_components(maps: np.ndarray, info: mne.Info, numbers: Sequence[int]) -> Figure:
    """Scalp maps of components.

    Parameters
    ----------
    maps : array of shape (n_components, n_channels)
        Maps.
    info : mne.Info
        The channels, with positions, all of one type.
    numbers : sequence of int
        Numbers of the components.

    Returns
    -------
    Figure
        Up to four maps in a row.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from mne.viz import plot_topomap

    columns = 4
    rows = -(-len(maps) // columns)
    style: Any = house_style()
    with mpl.rc_context(style):
        figure = Figure(figsize=(_WIDTH, 1.5 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax in axes[len(maps) :]:
            ax.axis("off")
        for ax, weights, number in zip(axes, maps, numbers, strict=False):
            largest = np.abs(weights).max()
            plot_topomap(weights / largest, info, axes=ax, show=False, contours=4, vlim=(-1, 1), cmap="RdBu_r", res=64)
            ax.set_title(f"IC {number}", fontsize=FONT)
    return figure


def plot_cohort(rows: Sequence[Mapping[str, Any]], measures: Sequence[tuple[str, str]]) -> Figure:
    """How much was removed from each recording.

    Parameters
    ----------
    rows : sequence of dict
        One a recording: ``label`` and a share in percent for each measure (None where it does not apply).
    measures : sequence of (str, str)
        Key and words of each measure.

    Returns
    -------
    Figure
        A row for each measure, a dot for each recording; the most affected are named.
    """
    with _figure(0.75 + 0.52 * len(measures)) as (figure, ax):
        points, marks = [], []
        for y, (key, words) in enumerate(measures):
            known = [(row[key], row["label"]) for row in rows if row[key] is not None]
            values = [value for value, _ in known]
            if not values:
                row_label(ax, y, words, "not done", colour="muted")
                continue
            ax.plot(values, [y] * len(values), "o", ms=5, alpha=0.55, mew=0, color=COLOURS["score"], zorder=3)
            ax.plot([np.median(values)] * 2, [y - 0.2, y + 0.2], color=COLOURS["ink"], lw=2, zorder=4)
            row_label(ax, y, words, f"median {np.median(values):.1f} %")
            marks += [(value, y) for value in [*values, float(np.median(values))]]
            value, label = max(known)
            if len(known) > 2 and value > np.median(values):
                points.append((float(value), float(y), label))
        ax.set_xlim(left=0)
        finish_rows(ax, len(measures), "percent, one dot per recording, bar: median")
        ax.set_xlim(left=min(0, ax.get_xlim()[0]))
        place_labels(ax, points, marks)
    return figure


def plot_channel_rates(counts: Mapping[str, int], n: int) -> Figure:
    """In how many recordings each channel was bad, most often first.

    Parameters
    ----------
    counts : dict of str to int
        Recordings in which a channel was bad.
    n : int
        Recordings.

    Returns
    -------
    Figure
        A bar for each channel.
    """
    from matplotlib import ticker

    shown = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_ROWS_OF_CHANNELS]
    with _figure(0.75 + 0.24 * len(shown)) as (figure, ax):
        ax.barh(range(len(shown)), [count for _, count in shown], height=0.62, color=COLOURS["score"], zorder=2)
        ax.set_yticks(range(len(shown)), [name for name, _ in shown], fontsize=FONT - 1)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
        ax.set_ylim(len(shown) - 0.4, -0.6)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        ax.set_xlabel(f"recordings in which the channel was bad, of {n}")
    return figure


@contextmanager
def _figure(height: float) -> Iterator[tuple[Figure, Axes]]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = house_style()
    with mpl.rc_context(style):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        yield figure, figure.subplots()


def _legend(ax: Any) -> None:
    """Before and after as coloured words above the drawing: read sooner than a box."""
    for x, word, colour in ((0.0, "before", "against"), (0.14, "after", "score")):
        ax.text(x, 1.02, word, transform=ax.transAxes, ha="left", va="bottom", fontweight="bold", color=COLOURS[colour])


def _item(item: Any, label: str) -> str:
    return f"IC {item}" if label == "component" else str(item)


def _words(metric: str) -> str:
    known = {"eog_correlation": "EOG correlation", "hurst": "Hurst exponent", "amplitude": "amplitude range"}
    name, _, kind = metric.partition(":")
    return known.get(name, name.replace("_", " ")) + (f" ({kind})" if kind else "")


def _round_down(value: float) -> float:
    power = 10 ** np.floor(np.log10(value))
    return float(max(step for step in (1, 2, 5) if step * power <= value) * power)
