"""The figure of an explanation: where on the head and when in the trial a network found what it decided by."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.channel_names import canonical_name, listed
from neurosig.core.channels import montage_name
from neurosig.core.errors import UsageError
from neurosig.reports.drawing import COLOURS, FONT, house_style, short

if TYPE_CHECKING:
    import mne
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from neurosig.models.explanation import Explanation

__all__ = ["plot_explanation"]

_WIDTH = 5.0  # inches, as all drawings of these pages
_BARS = 40  # of the time course
_ROWS_OF_CHANNELS = 10
_FEW = 5  # trials; a mean over fewer tells of these trials, not of the class


def plot_explanation(explanation: Explanation, *, only_correct: bool = False) -> Figure:
    """Contributions of channels and moments to each class, averaged over trials.

    Parameters
    ----------
    explanation : Explanation
        Of one or several classes.
    only_correct : bool
        Whether to leave out trials that were decoded wrongly (needs an explanation with true labels).

    Returns
    -------
    Figure
        A row for each class that was explained. Left, the mean contribution of each channel as a map of the head, or as
        bars where positions are not known or not on the head; right, that of each moment. Blue (positive) speaks for
        the class of the row, vermilion (negative) against it. All rows share their scales. Titles say over how many
        trials the mean is taken, and where they are too few (below 5) to be more than single trials. Occlusion of whole
        channels says nothing of moments, and that of moments nothing of channels: then there is one drawing a row.

    Raises
    ------
    UsageError
        If `only_correct` is asked for without labels, or leaves nothing.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    kept = _kept(explanation, only_correct)
    targets = explanation.targets[kept]
    groups = {name: kept[targets == name] for name in np.unique(targets).tolist()}
    channels = {name: explanation.channel_contributions[rows].mean(axis=0) for name, rows in groups.items()}
    edges, moments = _moments(explanation, groups)
    info, reason = _located(explanation)
    n_channels = explanation.attributions.shape[1]
    height = 1.75 if info is not None else 0.8 + 0.17 * min(n_channels, _ROWS_OF_CHANNELS)
    where, when, what = _told_apart(explanation)
    style: Any = house_style()
    with mpl.rc_context(style):
        figure = Figure(figsize=(_WIDTH, height * len(groups) + 1.2), layout="constrained")
        widths = (1, 1.5) if where and when else None
        axes = figure.subplots(len(groups), where + when, squeeze=False, width_ratios=widths)
        reach = max(float(np.abs(values).max()) for values in channels.values()) or 1.0
        for row, name in zip(axes, groups, strict=True):
            left, right = row[0], row[-1]
            if where and info is None:
                _draw_bars(left, channels[name], explanation.ch_names, reach)
            elif where:
                image = _draw_map(left, channels[name], info, reach)
            if when:
                _draw_course(right, edges, moments[name], max(float(np.abs(m).max()) for m in moments.values()) or 1.0)
            n = len(groups[name])
            title = "output" if explanation.is_regression else short(str(name), 22)
            told = f"n = {n}" if where and when else _trials(n)
            right.set_title(f"{title}  ({told})", loc="left", fontsize=FONT, fontweight="bold", parse_math=False)
            if where and when:
                left.set_title(_trials(n), loc="left", fontsize=FONT - 1, color=COLOURS["muted"])
        unit = _unit(explanation)
        if where and info is None:
            axes[-1, 0].set_xlabel(f"{unit} per channel\n{_meaning(explanation)}", fontsize=FONT - 2)
            if n_channels > _ROWS_OF_CHANNELS:
                reason += f" The {_ROWS_OF_CHANNELS} strongest channels of {n_channels} are shown."
            figure.supxlabel(textwrap.fill(reason, 62), fontsize=FONT - 1.5, color=COLOURS["muted"])
        elif where:
            bar = figure.colorbar(image, ax=axes[:, 0], location="bottom", shrink=0.85, aspect=22, pad=0.0)
            bar.set_label(f"{unit} per channel\n{_meaning(explanation)}", fontsize=FONT - 2)
            bar.ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
            bar.outline.set_visible(False)
        if when:
            timed = explanation.info is not None and explanation.info.sfreq is not None
            width = f"{edges[1] - edges[0]:.2g} s" if timed else f"{edges[1] - edges[0]:g} samples"
            label = f"{'Time (s)' if timed else 'Sample'}; {unit.lower()} per {width}"
            axes[-1, -1].set_xlabel(label if where else f"{label}\n{_meaning(explanation)}")
        figure.suptitle(f"Contributions by {_method(explanation.method)}{what}", fontsize=FONT, color=COLOURS["muted"])
    return figure


def _told_apart(explanation: Explanation) -> tuple[bool, bool, str]:
    """Whether the method tells channels apart, whether moments, and what it covers in words."""
    covered = explanation.parameters.get("by") if explanation.method == "occlusion" else None
    if covered == "channel":
        return True, False, " of channels, each over the whole trial"
    if covered == "time":
        return False, True, " of moments, in all channels at once"
    return True, True, ""


def _kept(explanation: Explanation, only_correct: bool) -> np.ndarray:
    if not only_correct:
        return np.arange(len(explanation))
    if explanation.labels is None:
        raise UsageError("only_correct needs true labels; give y to explain()")
    kept = np.flatnonzero(explanation.labels == explanation.predicted)
    if not len(kept):
        raise UsageError("no trial was decoded correctly; nothing to draw with only_correct=True")
    return kept


def _moments(explanation: Explanation, groups: dict[Any, np.ndarray]) -> tuple[np.ndarray, dict[Any, np.ndarray]]:
    """Edges of at most `_BARS` spans of the trial, and the sum of the mean contributions in each."""
    times = explanation.times.astype(float)
    n = len(times)
    starts = np.unique(np.linspace(0, n, min(_BARS, n) + 1).round().astype(int))
    step = times[1] - times[0] if n > 1 else 1.0
    edges = times[0] + starts * step
    course = explanation.time_contributions
    return edges, {name: np.add.reduceat(course[rows].mean(axis=0), starts[:-1]) for name, rows in groups.items()}


def _located(explanation: Explanation) -> tuple[mne.Info | None, str]:
    """Channels with places on the head, or None and why there are none."""
    import mne

    spec = explanation.info
    if spec is None:
        return None, "No map: the channels have no names."
    if spec.modality not in ("eeg", "meg"):
        return None, f"No map: {spec.modality} channels do not lie on the head."
    if len(set(spec.ch_types)) > 1:
        return None, f"No map: channels of several types ({', '.join(sorted(set(spec.ch_types)))})."
    if len(spec.ch_names) < 4:
        return None, "No map: it takes four channels or more."
    spec = spec.replace(sfreq=spec.sfreq or 1.0)
    if spec.positions is not None:
        if len({tuple(np.round(place, 4)) for place in spec.positions}) < len(spec.positions):
            return None, "No map: several channels lie at one place."
        return spec.to_mne(), ""
    if spec.modality != "eeg":
        return None, "No map: sensor positions are not known."
    kind = montage_name(spec.montage or "standard_1005")
    if kind not in mne.channels.get_builtin_montages():
        return None, f"No map: {kind!r} is no montage of mne."
    places = mne.channels.make_standard_montage(kind).get_positions()["ch_pos"]
    by_name = {canonical_name(name): place for name, place in places.items()}
    unplaced = [name for name in spec.ch_names if canonical_name(name) not in by_name]
    if unplaced:
        return None, f"No map: no position is known for {listed(unplaced)}."
    return spec.replace(positions=[by_name[canonical_name(name)] for name in spec.ch_names]).to_mne(), ""


def _draw_map(ax: Axes, values: np.ndarray, info: mne.Info, reach: float) -> Any:
    from matplotlib.colors import LinearSegmentedColormap
    from mne.viz import plot_topomap

    colours = LinearSegmentedColormap.from_list("against-for", [COLOURS["against"], COLOURS["paper"], COLOURS["score"]])
    options = {"vlim": (-reach, reach), "cmap": colours, "contours": 0, "res": 96}
    image, _ = plot_topomap(values, info, axes=ax, show=False, **options)
    return image


def _draw_bars(ax: Axes, values: np.ndarray, names: tuple[str, ...], reach: float) -> None:
    order = np.argsort(-np.abs(values), kind="stable")[:_ROWS_OF_CHANNELS]
    colours = [COLOURS["score" if values[i] >= 0 else "against"] for i in order]
    ax.barh(range(len(order)), values[order], height=0.7, color=colours, zorder=2)
    ax.set_yticks(range(len(order)), [short(names[i], 10) for i in order], fontsize=FONT - 2, parse_math=False)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.set_ylim(len(order) - 0.4, -0.6)
    ax.set_xlim(-1.08 * reach, 1.08 * reach)
    ax.axvline(0, color=COLOURS["muted"], lw=0.8, zorder=3)


def _draw_course(ax: Axes, edges: np.ndarray, values: np.ndarray, reach: float) -> None:
    colours = [COLOURS["score" if value >= 0 else "against"] for value in values]
    ax.bar(edges[:-1], values, width=np.diff(edges), align="edge", color=colours, linewidth=0, zorder=2)
    ax.axhline(0, color=COLOURS["muted"], lw=0.8, zorder=3)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(-1.08 * reach, 1.08 * reach)
    ax.locator_params(axis="y", nbins=5)


def _unit(explanation: Explanation) -> str:
    if explanation.is_regression:
        return "Contribution"
    return "Probability" if explanation.parameters.get("output") == "probability" else "Logit"


def _meaning(explanation: Explanation) -> str:
    """What the colours and signs say, in lines as wide as the map."""
    if explanation.is_regression:
        return "blue (+): raises the output\nvermilion (−): lowers it"
    return "blue (+): for the class\nvermilion (−): against it"


def _trials(n: int) -> str:
    if n >= _FEW:
        return f"n = {n}"
    return f"n = {n}, single trial{'s' if n > 1 else ''}"


def _method(method: str) -> str:
    return method.removeprefix("captum:").replace("_", " ")
