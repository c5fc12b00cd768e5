"""The figure of an fMRI file: region traces or a carpet of voxels, movement, connectivity or slices, spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neurosig.loaders.inspect_figure import GRID, INK, QUIET, SIGNAL, WRONG, style

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from neurosig.loaders.inspect_fmri import FmriInspection

__all__ = ["draw_fmri"]

_TRACES, _CARPET, _NAMED = 20, 800, 40


def draw_fmri(found: FmriInspection) -> Figure:
    """Draw an inspected fMRI file.

    Parameters
    ----------
    found : FmriInspection
        As `neurosig.loaders.inspect_fmri.look_into_fmri` gives it.

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot. Left: traces of regions, or a carpet of voxels (vertices, grayordinates), over the
        change from volume to volume; right: connectivity of regions, or slices of the mean volume, or signal-to-noise
        ratios, over the spectrum.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    report = found.report
    figure = Figure(figsize=(12, 8.2), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)  # a figure of its own: pyplot's state is the caller's
    grid = figure.add_gridspec(3, 2, width_ratios=(1.9, 1), height_ratios=(2.2, 1.6, 1.1))
    top = figure.add_subplot(grid[:2, 0])
    regions = report["kind"] == "regions" and len(found.rows) == len(found.names)
    (_traces if regions else _carpet)(top, found)
    _changes(figure.add_subplot(grid[2, 0]), found)
    if regions:
        _connectivity(figure, figure.add_subplot(grid[0, 1]), found)
    elif found.image is not None:
        _slices(figure.add_subplot(grid[0, 1]), found)
    else:
        _noise(figure.add_subplot(grid[0, 1]), found)
    _spectrum(figure.add_subplot(grid[1:, 1]), found)
    count = len(report["problems"])
    rate = "repetition time unknown" if report["t_r"] is None else f"TR {report['t_r']:g} s"
    figure.suptitle(
        f"{report['file']}   ·   {report['format']}, {report['n_rows']} {report['kind']}, {report['n_volumes']} "
        f"volumes, {rate}   ·   {count} problem{'' if count == 1 else 's'}",
        x=0.01,
        ha="left",
        fontsize=11,
        color=INK,
        fontweight="bold",
    )
    return figure


def _times(found: FmriInspection) -> tuple[np.ndarray, str]:
    import numpy as np

    period = found.report["t_r"]
    volumes = np.arange(found.rows.shape[1])
    return (volumes, "volume") if period is None else (volumes * period, "seconds")


def _scaled(rows: np.ndarray) -> np.ndarray:
    """Rows in standard deviations around their mean; those that are not finite or never change are 0."""
    import numpy as np

    sound = np.where(np.isfinite(rows).all(axis=1)[:, np.newaxis], rows, 0.0).astype(float)
    sd = sound.std(axis=1, keepdims=True)
    return (sound - sound.mean(axis=1, keepdims=True)) / np.where(sd > 0, sd, 1.0)


def _flagged(found: FmriInspection) -> set[str]:
    return {name for problem in found.report["problems"] for name in problem["regions"]}


def _traces(axes: Axes, found: FmriInspection) -> None:
    """Regions, spread over the atlas; problem regions first and in red."""
    import numpy as np

    wrong = _flagged(found)
    count = min(_TRACES, len(found.names))
    spread = np.unique(np.linspace(0, len(found.names) - 1, count).astype(int)).tolist()
    flagged = [i for i, name in enumerate(found.names) if name in wrong][: count // 2]
    picks = sorted(flagged + [i for i in spread if i not in flagged][: count - len(flagged)])
    times, unit = _times(found)
    rows = _scaled(found.rows[picks])
    for place, (row, pick) in enumerate(zip(rows, picks, strict=True)):
        colour = WRONG if found.names[pick] in wrong else SIGNAL
        axes.plot(times, np.clip(row, -4, 4) - 6 * place, lw=0.7, color=colour)
    _mark_spikes(axes, found, times)
    axes.set_yticks([-6 * place for place in range(len(picks))], [_short(found.names[pick]) for pick in picks])
    axes.set_ylim(-6 * (len(picks) - 0.3), 6 * 0.8)
    _span(axes, times, unit)
    shown = f"{len(picks)} of {len(found.names)} regions" if len(picks) < len(found.names) else f"{len(picks)} regions"
    style(axes, f"Series: {shown}, each in its own standard deviations (6 between rows)")


def _carpet(axes: Axes, found: FmriInspection) -> None:
    """Voxels (vertices, grayordinates) as rows of grey; a stripe down is the whole brain at once."""
    import numpy as np

    rows = _scaled(found.rows)
    keep = np.unique(np.linspace(0, len(rows) - 1, min(_CARPET, len(rows))).astype(int))
    times, unit = _times(found)
    step = times[1] - times[0] if len(times) > 1 else 1.0
    extent = (-step / 2, times[-1] + step / 2, len(keep), 0)
    axes.imshow(rows[keep], aspect="auto", cmap="gray", vmin=-2.5, vmax=2.5, interpolation="nearest", extent=extent)
    axes.set_yticks([])
    axes.set_xlabel(unit, fontsize=8, color=QUIET)
    kind = found.report["kind"]
    style(axes, f"Carpet: {len(keep)} of {found.report['n_rows']} {kind}, ±2.5 standard deviations")


def _changes(axes: Axes, found: FmriInspection) -> None:
    """Change from volume to volume, displacement where it is known, and the global mean."""
    import numpy as np

    times, unit = _times(found)
    dvars = found.measures["dvars"]
    middle = np.median(dvars[1:]) if len(dvars) > 1 else 0.0
    axes.plot(times[1:], dvars[1:] / (middle or 1.0), color=INK, lw=0.9, label="change (DVARS, median 1)")
    level = found.measures["global"]
    axes.plot(times, _scaled(level[np.newaxis])[0], color=SIGNAL, lw=0.8, alpha=0.8, label="global mean (sd)")
    if "fd" in found.measures:
        axes.plot(times, found.measures["fd"], color="#d9822b", lw=0.9, label="displacement (mm)")
    _mark_spikes(axes, found, times)
    axes.legend(fontsize=8, frameon=False, loc="upper right", ncols=3)
    axes.grid(axis="y", color=GRID, lw=0.6)
    _span(axes, times, unit)
    count = len(found.report["spikes"])
    style(axes, f"From volume to volume: {count} far out" if count else "From volume to volume")


def _mark_spikes(axes: Axes, found: FmriInspection, times: np.ndarray) -> None:
    for spike in found.report["spikes"][:200]:
        axes.axvline(times[spike], color=WRONG, lw=0.8, alpha=0.4, zorder=0)


def _span(axes: Axes, times: np.ndarray, unit: str) -> None:
    axes.set_xlim(times[0], max(times[-1], times[0] + 1e-3))
    axes.set_xlabel(unit, fontsize=8, color=QUIET)


def _connectivity(figure: Figure, axes: Axes, found: FmriInspection) -> None:
    import numpy as np

    rows = _scaled(found.rows)
    matrix = rows @ rows.T / rows.shape[1]
    dead = ~rows.any(axis=1)
    matrix[dead] = matrix[:, dead] = np.nan
    np.fill_diagonal(matrix, np.nan)
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_facecolor(GRID)
    figure.colorbar(image, ax=axes, shrink=0.8).ax.tick_params(labelsize=7, colors=QUIET, length=2)
    if len(found.names) <= _NAMED:
        places = np.arange(len(found.names))
        axes.set_yticks(places, [_short(name) for name in found.names])
        axes.set_xticks([])
    style(axes, f"Correlation of {len(found.names)} regions")
    axes.tick_params(labelsize=max(3.5, min(7.0, 150 / len(found.names))))


def _slices(axes: Axes, found: FmriInspection) -> None:
    """The mean volume from three sides, next to each other."""
    import numpy as np

    image = found.image
    parts = [np.take(image, image.shape[axis] // 2, axis=axis).T[::-1] for axis in (0, 1, 2)]
    height = max(part.shape[0] for part in parts)
    padded = [
        np.pad(part, (((height - part.shape[0]) // 2, (height - part.shape[0] + 1) // 2), (1, 1))) for part in parts
    ]
    joined = np.concatenate(padded, axis=1)
    top = np.percentile(joined, 99.5)
    axes.imshow(joined, cmap="gray", vmin=0 if joined.min() >= 0 else None, vmax=top or None, interpolation="nearest")
    axes.set_axis_off()
    zooms = " × ".join(f"{zoom:g}" for zoom in found.report["details"]["voxel_mm"])
    axes.set_title(f"Mean volume, voxels of {zooms} mm", loc="left", fontsize=9.5, color=INK)


def _noise(axes: Axes, found: FmriInspection) -> None:
    """Where there is no volume to show: temporal signal-to-noise ratios, or standard deviations of cleaned series."""
    import numpy as np

    sound = found.rows[np.isfinite(found.rows).all(axis=1)].astype(float)
    sd = sound.std(axis=1)
    alive = sd > 0
    raw = found.report["values"]["tsnr"] is not None
    shown = sound.mean(axis=1)[alive] / sd[alive] if raw else sd[alive]
    axes.hist(shown, bins=40, color=SIGNAL)
    what = "signal-to-noise ratio over time" if raw else "standard deviation over time"
    axes.set_xlabel(what, fontsize=8, color=QUIET)
    style(axes, f"{what.capitalize()} of {len(shown)} {found.report['kind']}")


def _spectrum(axes: Axes, found: FmriInspection) -> None:
    import numpy as np
    from scipy.signal import periodogram

    period: Any = found.report["t_r"]
    rows = _scaled(found.rows)
    rows = rows[rows.any(axis=1)]
    if len(rows):
        frequencies, power = periodogram(rows, 1.0 if period is None else 1 / period, detrend="linear")
        power = power.mean(axis=0)[1:]
        axes.semilogy(frequencies[1:], np.maximum(power, power.max() * 1e-6), color=INK, lw=1.0)
        if period is not None:
            axes.axvspan(0.01, min(0.1, frequencies[-1]), color=SIGNAL, alpha=0.08, lw=0, label="0.01 to 0.1 Hz")
            axes.legend(fontsize=8, frameon=False, loc="upper right")
        axes.set_xlim(0, frequencies[-1])
    axes.set_xlabel("cycles per volume" if period is None else "Hz", fontsize=8, color=QUIET)
    axes.grid(axis="y", color=GRID, lw=0.6)
    style(axes, f"Mean spectrum of {len(rows)} {found.report['kind']}, standardised")


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:16]}…"
