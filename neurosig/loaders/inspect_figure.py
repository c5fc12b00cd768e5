"""The figure of a recording: traces, events over time, spectrum, sensor map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neurosig.loaders.events import is_span

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from neurosig.loaders.inspect import Inspection

__all__ = ["GRID", "INK", "QUIET", "SIGNAL", "WRONG", "draw", "style"]

INK, QUIET, GRID, SIGNAL, WRONG = "#1f2933", "#7b8794", "#e4e7eb", "#2b6cb0", "#c0392b"
_COLOURS = ("#d9822b", "#2f855a", "#805ad5", "#c53030", "#2c7a7b", "#97266d", "#4a5568", "#b7791f")
_ROWS, _SECONDS, _KINDS = 20, 10.0, 12
_DATA = ("eeg", "seeg", "ecog", "dbs", "mag", "grad")


def draw(found: Inspection) -> Figure:
    """Draw an inspected recording; see `neurosig.loaders.inspect.inspect_figure`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    report = found.report
    figure = Figure(figsize=(12, 8.2), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)  # a figure of its own: pyplot's state is the caller's
    grid = figure.add_gridspec(
        3, 2, width_ratios=(2.1, 1), height_ratios=(2.2, 2.2, 0.9 + 0.14 * min(_KINDS, len(report["events"])))
    )
    picks = _picks(found)
    _traces(figure.add_subplot(grid[:2, 0]), found, picks)
    _timeline(figure.add_subplot(grid[2, :]), found)
    _spectrum(figure.add_subplot(grid[0, 1]), found, picks)
    _sensors(figure.add_subplot(grid[1, 1]), found, picks)
    kinds = ", ".join(f"{count} {kind}" for kind, count in report["types"].items())
    count = len(report["problems"])
    figure.suptitle(
        f"{report['file']}   ·   {report['format']}, {kinds}, {report['sfreq']:g} Hz, {report['duration']:.1f} s   ·   "
        f"{count} problem{'' if count == 1 else 's'}",
        x=0.01,
        ha="left",
        fontsize=11,
        color=INK,
        fontweight="bold",
    )
    return figure


def _picks(found: Inspection) -> list[int]:
    types = found.raw.get_channel_types()
    first = next((kind for kind in _DATA if kind in types), types[0])
    return [i for i, kind in enumerate(types) if kind == first]


def style(axes: Axes, title: str) -> None:
    """Axes in the look of this package's figures of recordings, with their title."""
    axes.set_title(title, loc="left", fontsize=9.5, color=INK)
    axes.tick_params(labelsize=8, colors=QUIET, length=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)


def _span(axes: Axes, first: float, last: float) -> None:
    """Show this time with a margin, so that an event at either end does not hide under the frame."""
    margin = 0.01 * (last - first)
    axes.set_xlim(first - margin, last + margin)


def _marks(found: Inspection) -> tuple[np.ndarray, list[str]]:
    """Onsets in seconds from the recording's first sample, and names of the events."""
    import numpy as np

    raw = found.raw
    first = raw.first_time if raw.annotations.orig_time is not None else 0.0
    chosen = [i for i, text in enumerate(raw.annotations.description) if not is_span(text)]
    return np.asarray(raw.annotations.onset)[chosen] - first, [str(raw.annotations.description[i]) for i in chosen]


def _colours(found: Inspection) -> dict[str, str]:
    return {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(sorted(found.report["events"]))}


def _unit(found: Inspection, pick: int) -> tuple[str, float]:
    from neurosig.loaders.inspect import SCALES

    unit, scale = SCALES.get(found.raw.get_channel_types()[pick], ("a.u.", 1.0))
    return unit.replace("uV", "µV"), scale


def _traces(axes: Axes, found: Inspection, picks: list[int]) -> None:
    """Ten seconds from one second before the first event, spread over the channels; problem channels in red."""
    import numpy as np

    raw = found.raw
    sfreq = raw.info["sfreq"]
    rows = [picks[i] for i in np.unique(np.linspace(0, len(picks) - 1, min(_ROWS, len(picks))).astype(int))]
    onsets, names = _marks(found)
    begin = float(np.clip(onsets[0] - 1.0 if len(onsets) else 0.0, 0.0, max(raw.times[-1] - _SECONDS, 0.0)))
    start, stop = int(begin * sfreq), min(raw.n_times, int((begin + _SECONDS) * sfreq) + 1)
    unit, scale = _unit(found, rows[0])
    data = raw.get_data(picks=rows, start=start, stop=stop, verbose="error") * scale
    data = data - np.nanmedian(np.where(np.isfinite(data), data, np.nan), axis=1, keepdims=True) if data.size else data
    spread = (
        np.nanmedian(np.nanstd(np.where(np.isfinite(data), data, np.nan), axis=1)) if np.isfinite(data).any() else 1.0
    )
    step = _round(6.0 * float(spread)) if spread > 0 else 1.0
    times = np.arange(start, stop) / sfreq
    flagged = {
        channel["name"]
        for channel in found.report["channels"]
        if set(channel["flags"]) & {"flat", "clipped", "nan", "duplicate"}
    }
    for row, pick in enumerate(rows):
        colour = WRONG if raw.ch_names[pick] in flagged else SIGNAL
        axes.plot(times, np.clip(data[row], -0.9 * step, 0.9 * step) - row * step, lw=0.6, color=colour)
    colours = _colours(found)
    for onset, name in zip(onsets, names, strict=True):
        if times[0] <= onset <= times[-1]:
            axes.axvline(onset, color=colours.get(name, QUIET), lw=1.0, alpha=0.75, zorder=0)
    axes.set_yticks([-row * step for row in range(len(rows))], [raw.ch_names[pick] for pick in rows])
    axes.set_ylim(-(len(rows) - 0.2) * step, 0.9 * step)
    _span(axes, times[0], max(times[-1], times[0] + 1 / sfreq))
    axes.set_xlabel("seconds", fontsize=8, color=QUIET)
    shown = (
        f"{len(rows)} of {len(picks)} channels"
        if len(rows) < len(picks)
        else f"{len(rows)} channel{'' if len(rows) == 1 else 's'}"
    )
    style(axes, f"Traces: {shown}, {step:g} {unit} between rows")


def _round(value: float) -> float:
    """The nearest 1, 2 or 5 times a power of ten."""
    import math

    power = 10.0 ** math.floor(math.log10(value))
    return min((1 * power, 2 * power, 5 * power, 10 * power), key=lambda nice: abs(math.log(nice / value)))


def _timeline(axes: Axes, found: Inspection) -> None:
    import numpy as np

    onsets, names = _marks(found)
    counts = found.report["events"]
    order = sorted(sorted(counts, key=lambda name: -counts[name])[:_KINDS])
    colours = _colours(found)
    for row, name in enumerate(order):
        at = onsets[[i for i, other in enumerate(names) if other == name]]
        axes.vlines(at, -row - 0.36, -row + 0.36, color=colours[name], lw=1.0)
    for first, last in found.scan.bad_spans[:200]:
        axes.axvspan(first, last, color=WRONG, alpha=0.25, lw=0)
    _span(axes, 0.0, max(float(found.raw.times[-1]), 1e-3))
    laid = " (trials laid end to end)" if found.report["trials"] else ""
    axes.set_xlabel(f"seconds{laid}", fontsize=8, color=QUIET)
    if order:
        axes.set_yticks(-np.arange(len(order)), [f"{_short(name)}  × {counts[name]}" for name in order])
        axes.set_ylim(-len(order) + 0.4, 0.6)
    else:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no events", transform=axes.transAxes, ha="center", va="center", color=QUIET, fontsize=9)
    more = f", the {_KINDS} most frequent of {len(counts)} kinds" if len(counts) > _KINDS else ""
    style(axes, f"Events: {sum(counts.values())}{more}")


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:21]}..."


def _spectrum(axes: Axes, found: Inspection, picks: list[int]) -> None:
    import numpy as np

    unit, scale = _unit(found, picks[0])
    frequencies = found.scan.frequencies
    power = found.scan.spectrum[picks] * scale**2
    use = (frequencies > 0) & (frequencies <= min(0.5 * found.raw.info["sfreq"], 150.0))
    power = power[np.isfinite(power).all(axis=1) & (power[:, use] > 0).all(axis=1)] if use.any() else power[:0]
    if len(power):
        axes.semilogy(
            frequencies[use], power[:, use].T, color=SIGNAL, lw=0.5, alpha=max(0.08, min(0.6, 6 / len(power)))
        )
        axes.semilogy(frequencies[use], np.median(power[:, use], axis=0), color=INK, lw=1.4, label="median channel")
        axes.set_xlim(0, frequencies[use][-1])
        axes.legend(fontsize=8, frameon=False, loc="upper right")
        for line in found.report["line_noise"]:
            axes.axvline(float(line), color=QUIET, lw=0.7, ls=":", zorder=0)
    else:
        axes.text(
            0.5,
            0.5,
            "no piece without bad samples\nis long enough",
            transform=axes.transAxes,
            ha="center",
            va="center",
            color=QUIET,
            fontsize=9,
        )
    axes.set_xlabel("Hz", fontsize=8, color=QUIET)
    axes.grid(axis="y", color=GRID, lw=0.6)
    style(axes, f"Spectrum ({unit}²/Hz)")


def _sensors(axes: Axes, found: Inspection, picks: list[int]) -> None:
    """Sensors seen from above; where no place is known, what the recording is and lacks, in words."""
    import numpy as np

    raw = found.raw
    places: dict[str, Any] = {raw.ch_names[i]: raw.info["chs"][i]["loc"][:3] for i in picks}
    places = {name: place for name, place in places.items() if np.isfinite(place).all() and np.any(place)}
    axes.set_axis_off()
    if not places:
        axes.text(
            0.5,
            0.5,
            "sensor places unknown",
            transform=axes.transAxes,
            ha="center",
            va="center",
            color=QUIET,
            fontsize=9,
        )
        axes.set_title("Sensors", loc="left", fontsize=9.5, color=INK)
        return
    points = np.array(list(places.values()))
    flat = _flatten(points)
    radius = 1.1 * np.abs(flat).max()
    wrong = {channel["name"] for channel in found.report["channels"] if channel["flags"]}
    colours = [WRONG if name in wrong else SIGNAL for name in places]
    circle = np.linspace(0, 2 * np.pi, 200)
    axes.plot(radius * np.sin(circle), radius * np.cos(circle), color=QUIET, lw=1)
    nose = np.array([[-0.12, 0.99], [0.0, 1.12], [0.12, 0.99]]) * radius
    axes.plot(*nose.T, color=QUIET, lw=1)
    axes.scatter(flat[:, 0], flat[:, 1], s=14 if len(flat) > 40 else 26, color=colours, zorder=2)
    if len(places) <= 80:
        for (x, y), name in zip(flat, places, strict=True):
            axes.annotate(name, (x, y), (0, 3.5), textcoords="offset points", ha="center", fontsize=5.8, color=INK)
    axes.set_aspect("equal")
    axes.set_title(f"Sensors: {len(places)}, seen from above", loc="left", fontsize=9.5, color=INK)


def _flatten(points: np.ndarray) -> np.ndarray:
    """Azimuthal equidistant projection from the centre of the sensors' sphere."""
    import numpy as np

    system = np.column_stack([2 * points, np.ones(len(points))])
    centre = (
        np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0][:3]
        if len(points) > 8
        else np.array([0, 0, 0.04])
    )
    x, y, z = (points - centre).T
    angle = np.arctan2(np.hypot(x, y), z)
    azimuth = np.arctan2(y, x)
    return np.column_stack([angle * np.cos(azimuth), angle * np.sin(azimuth)])
