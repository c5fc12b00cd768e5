"""Figures of tokens: how often they occur, which tell classes apart, what they look like, how consistent they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.errors import UsageError
from neurosig.reports.drawing import COLOURS, FONT, each, finish_rows, finite, house_style, row_label, short
from neurosig.reports.page import format_p

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from neurosig.tokenizers.motifs import Motif

__all__ = [
    "plot_consistency", "plot_distinctive", "plot_histogram", "plot_motifs", "plot_reconstruction", "plot_usage",
]  # fmt: skip

_WIDTH = 5.0  # inches, as all drawings of these pages
_CLASS_COLOURS = ("score", "against", "chance", "muted", "ink")
_MARKS = ("o", "s", "^", "D", "v")
_TOKENS = 16
_EXAMPLES = 4
_TOP_HZ = 60.0
_ACROSS = 5.8  # inches of the gallery
_COLUMNS = ((0.1, 2.1), (2.68, 1.25), (4.42, 1.25))  # left edge and width of pieces, spectrum, spectrogram


def plot_histogram(shares: pd.DataFrame, *, n: int = _TOKENS) -> Figure:
    """Draw the shares of the most frequent tokens, by class.

    Parameters
    ----------
    shares : DataFrame
        From `neurosig.tokenizers.analysis.token_histogram` with ``normalize=True``, most frequent first.
    n : int
        Tokens to show.

    Returns
    -------
    Figure
        A row for each token, a mark for each class.
    """
    rows = shares.iloc[:n]
    with _style():
        figure, ax = _axes(0.95 + 0.24 * len(rows))
        percent = 100 * rows.to_numpy(dtype=float)
        for y, values in enumerate(percent):
            ax.plot([values.min(), values.max()], [y, y], color=COLOURS["grid"], lw=3, zorder=1)
            row_label(ax, y, f"token {rows.index[y]}", "")
        for column, name in enumerate(rows.columns):
            ax.plot(
                percent[:, column], range(len(rows)), _MARKS[column % len(_MARKS)], ms=5, lw=0, alpha=0.85, mew=0,
                color=COLOURS[_CLASS_COLOURS[column % len(_CLASS_COLOURS)]], label=short(str(name), 18), zorder=3,
            )  # fmt: skip
        ax.set_xlim(left=0)
        finish_rows(ax, len(rows), "share of the tokens of a class (%)")
        ax.set_xlim(left=min(0.0, ax.get_xlim()[0]))
        if len(rows.columns) > 1 or rows.columns[0] != "all":
            ax.legend(loc="lower right", frameon=False, fontsize=FONT - 1, handletextpad=0.2)
    return figure


def plot_distinctive(table: pd.DataFrame, *, n: int = 12) -> Figure:
    """Log odds ratios of the tokens that differ most clearly between classes.

    Parameters
    ----------
    table : DataFrame
        From `neurosig.tokenizers.analysis.distinctive_tokens`.
    n : int
        Rows to show.

    Returns
    -------
    Figure
        A row for each token and class; filled where the corrected test supports it.
    """
    rows = table.iloc[:n]
    classes = sorted(set(table["class"].tolist()), key=str)
    with _style():
        figure, ax = _axes(0.95 + 0.27 * max(len(rows), 1))
        ax.axvline(0, color=COLOURS["muted"], lw=0.9, zorder=1)
        for y, row in enumerate(rows.to_dict("records")):
            colour = COLOURS[_CLASS_COLOURS[classes.index(row["class"]) % len(_CLASS_COLOURS)]]
            ax.plot([0, row["log_odds"]], [y, y], color=colour, lw=2, zorder=2)
            filled = colour if row["distinctive"] else COLOURS["paper"]
            ax.plot(row["log_odds"], y, "o", ms=6, color=colour, mfc=filled, mew=1.4, zorder=3)
            p = format_p(row["p_corrected"])
            told = f"p {p}" if p.startswith("<") else f"p = {p}"
            told = told if finite(row["p_corrected"]) else "no test"
            row_label(ax, y, f"{row['code']} in {short(str(row['class']), 14)}", told)
        reach = max([abs(value) for value in ax.get_xlim()], default=1.0)
        ax.set_xlim(-reach if (rows["log_odds"] < 0).any() else -0.1 * reach, reach)
        finish_rows(ax, len(rows), "log odds against the other classes; filled: supported by the test")
    return figure


def plot_motifs(motifs: Sequence[Motif]) -> Figure:
    """What tokens look like: some pieces, the mean spectrum, and the mean spectrogram.

    Parameters
    ----------
    motifs : sequence of Motif
        From `neurosig.tokenizers.analysis.motifs`.

    Returns
    -------
    Figure
        A row for each token. Left, pieces of signal that got it, drawn at random; middle, their mean spectrum (blue)
        and that of pieces of any token (grey); right, their mean spectrogram over that of pieces of any token.

    Raises
    ------
    UsageError
        If there is none.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    if not motifs:
        raise UsageError("expected at least one motif to draw, got none")
    with _style():
        # placed by hand: a solver of layouts ends in other last digits from time to time, and so do the pages
        height = 1.42 * len(motifs) + 1.2
        figure = Figure(figsize=(_ACROSS, height))
        axes = np.array([
            [figure.add_axes(_place(left, 1.42 * row + 0.3, width, 1.05, height)) for left, width in _COLUMNS]
            for row in range(len(motifs))
        ])  # fmt: skip
        shown = [_below(motif.spectrogram_freqs) for motif in motifs]
        reach = max([float(np.abs(m.spectrogram[rows]).max()) for m, rows in zip(motifs, shown, strict=True)] or [1.0])
        reach = min(max(np.ceil(reach), 1.0), 12.0)
        image = None
        for (left, middle, right), motif in zip(axes, motifs, strict=True):
            _draw_pieces(left, motif)
            _draw_spectrum(middle, motif)
            image = _draw_spectrogram(right, motif, reach)
            left.set_title(f"token {motif.code}  (n = {motif.count})", loc="left", fontsize=FONT, fontweight="bold")
        for ax, title in zip(axes[0, 1:], ("spectrum (dB)", "spectrogram (Hz)"), strict=True):
            ax.set_title(title, loc="left", fontsize=FONT - 1, color=COLOURS["muted"])
        for row in axes[:-1]:
            for ax in row:
                ax.set_xticklabels([])
        axes[-1, 0].set_xlabel("time (s)")
        axes[-1, 1].set_xlabel("frequency (Hz)")
        axes[-1, 2].set_xlabel("time (s)")
        if image is not None:
            ax = figure.add_axes(_place(_COLUMNS[2][0] + 0.05, height - 0.5, _COLUMNS[2][1] - 0.1, 0.09, height))
            bar = figure.colorbar(image, cax=ax, orientation="horizontal")
            bar.set_label("dB over any token", fontsize=FONT - 1.5)
            bar.ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
            bar.outline.set_visible(False)
    return figure


def plot_consistency(table: pd.DataFrame) -> Figure:
    """How alike tokens are, against shuffled ones.

    Parameters
    ----------
    table : DataFrame
        Of a `TokenConsistency`.

    Returns
    -------
    Figure
        A row for each question: the value, and the band of what shuffled tokens give.
    """
    from matplotlib.patches import Rectangle

    with _style():
        figure, ax = _axes(0.95 + 0.5 * max(len(table), 1))
        for y, row in enumerate(each(table)):
            width = row.chance_high - row.chance_low
            ax.add_patch(Rectangle((row.chance_low, y - 0.32), width, 0.64, fc=COLOURS["band"], lw=0, zorder=1))
            ax.plot([row.chance] * 2, [y - 0.32, y + 0.32], color=COLOURS["chance"], lw=1.2, ls=(0, (4, 3)), zorder=2)
            ax.plot(row.value, y, "o", ms=6.5, color=COLOURS["score"], zorder=3)
            row_label(ax, y, str(row.Index), f"{row.value:.3f}")
        ax.set_xlim(min(0.0, float(table[["value", "chance_low"]].min().min())) if len(table) else 0.0, 1.0)
        finish_rows(ax, len(table), "dashed, shaded: shuffled tokens, mean and 95 % of them")
    return figure


def plot_usage(usage: pd.DataFrame) -> Figure:
    """Perplexity of each codebook over the levels.

    Parameters
    ----------
    usage : DataFrame
        Of `Tokenizer.codebook_usage`, with a column ``level`` and at most one other that names codebooks.

    Returns
    -------
    Figure
        A line for each scale.
    """
    from matplotlib.ticker import MaxNLocator

    names = list(usage.columns[: usage.columns.get_loc("n_codes")])
    by = [name for name in names if name != "level"]
    with _style():
        figure, ax = _axes(2.9)
        parts = list(usage.groupby(by[0])) if by else [("", usage)]
        for i, (name, part) in enumerate(parts):
            colour = COLOURS[_CLASS_COLOURS[i % len(_CLASS_COLOURS)]]
            label = f"{by[0]} {name}" if by else ""
            ax.plot(part["level"], part["perplexity"], "-", marker=_MARKS[i % len(_MARKS)], ms=5, lw=1.5, color=colour,
                    label=label)  # fmt: skip
        ax.set_ylim(bottom=0)
        ax.set_xlabel("level")
        ax.set_ylabel(f"perplexity (of {int(usage['n_codes'].iloc[0])} codes)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if by:
            ax.legend(frameon=False, fontsize=FONT - 1, ncols=2)
    return figure


def plot_reconstruction(report: pd.DataFrame) -> Figure:
    """What is lost from signals to tokens and back, by band.

    Parameters
    ----------
    report : DataFrame
        Of `Tokenizer.reconstruction_report`.

    Returns
    -------
    Figure
        A row for each band; 1 is the error of a reconstruction that is zero throughout.
    """
    rows = report[report["nmse"].notna()]
    with _style():
        figure, ax = _axes(0.95 + 0.34 * max(len(rows), 1))
        top = max(1.25, min(2.0, float(rows["nmse"].max()) if len(rows) else 1.0))
        ax.axvline(1, color=COLOURS["chance"], lw=1.1, ls=(0, (4, 3)), zorder=1)
        ax.text(1, -0.53, "nothing rebuilt", ha="center", va="bottom", color=COLOURS["chance"], fontsize=FONT - 1.5)
        for y, row in enumerate(each(rows)):
            beyond = row.nmse > top
            colour = COLOURS["against" if row.nmse >= 1 else "score"]
            ax.plot(min(row.nmse, top), y, ">" if beyond else "o", ms=6.5, color=colour, zorder=3, clip_on=False)
            row_label(ax, y, str(row.Index), f"{row.nmse:.2f}")
        ax.set_xlim(0, top)
        finish_rows(ax, len(rows), "squared error over power of the band")
    return figure


def _place(left: float, top: float, width: float, height: float, of: float) -> tuple[float, float, float, float]:
    """Inches from the left and from the top as shares of a figure `of` inches high."""
    return left / _ACROSS, 1 - (top + height) / of, width / _ACROSS, height / of


def _draw_pieces(ax: Axes, motif: Motif) -> None:
    pieces = motif.examples[:_EXAMPLES]
    largest = float(np.abs(pieces - pieces.mean(axis=1, keepdims=True)).max() or 1.0)
    spacing = 1.6 * largest
    for row, piece in enumerate(pieces):
        ax.plot(motif.times, piece - piece.mean() - row * spacing, color=COLOURS["ink"], lw=0.8, zorder=2)
    ax.set_xlim(0, len(motif.mean) / motif.sfreq)
    ax.set_ylim(-spacing * (len(pieces) - 1) - 1.05 * largest, 1.05 * largest)
    ax.set_yticks([])
    ax.grid(axis="y", visible=False)


def _draw_spectrum(ax: Axes, motif: Motif) -> None:
    inside = _below(motif.freqs)
    for power, colour, lw in ((motif.reference, "muted", 1.1), (motif.spectrum, "score", 1.6)):
        ax.plot(motif.freqs[inside], 10 * np.log10(np.maximum(power[inside], 1e-12)), color=COLOURS[colour], lw=lw)
    ax.set_xlim(0, min(_TOP_HZ, motif.freqs[-1]))
    ax.locator_params(axis="y", nbins=4)
    ax.tick_params(labelsize=FONT - 2)


def _draw_spectrogram(ax: Axes, motif: Motif, reach: float) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    inside = _below(motif.spectrogram_freqs)
    freqs, times = motif.spectrogram_freqs[inside], motif.spectrogram_times
    step = freqs[1] - freqs[0] if len(freqs) > 1 else 1.0
    width = times[1] - times[0] if len(times) > 1 else 2 * times[0]
    colours = LinearSegmentedColormap.from_list("less-more", [COLOURS["against"], COLOURS["paper"], COLOURS["score"]])
    extent = (times[0] - width / 2, times[-1] + width / 2, freqs[0] - step / 2, freqs[-1] + step / 2)
    image = ax.imshow(
        motif.spectrogram[inside], origin="lower", aspect="auto", extent=extent, cmap=colours, vmin=-reach, vmax=reach,
        interpolation="nearest",
    )  # fmt: skip
    ax.set_xlim(0, len(motif.mean) / motif.sfreq)
    ax.locator_params(axis="y", nbins=4)
    ax.tick_params(labelsize=FONT - 2)
    ax.grid(False)
    return image


def _below(freqs: np.ndarray) -> np.ndarray:
    return freqs <= max(_TOP_HZ, freqs[0])


def _axes(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _style() -> Any:
    import matplotlib as mpl

    return mpl.rc_context(house_style())  # type: ignore[arg-type]
