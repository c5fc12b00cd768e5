"""The report of a cleaned recording: what was removed and why, with signals, spectra and maps."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.reports import cleaning_figures as figures
from neurosig.reports.cleaning_cohort import write_cohort_report
from neurosig.reports.cleaning_words import (
    FEW_TRIALS,
    MANY_CHANNELS,
    METRICS,
    STAGES,
    because,
    count,
    events_in_words,
    lost_in_words,
    options_in_words,
    percent,
    reason,
)
from neurosig.reports.page import figure_svg, write_page

if TYPE_CHECKING:
    from neurosig.preprocessing.cleaning import Cleaned

__all__ = ["write_cohort_report", "write_recording_report"]

_TRIALS_SHOWN, _CHANNELS_SHOWN, _COMPONENTS_SHOWN, _REASONS_SHOWN = 3, 8, 12, 40
_SCALE = {"eeg": (1e6, "µV"), "seeg": (1e6, "µV"), "ecog": (1e6, "µV"), "dbs": (1e6, "µV"), "mag": (1e15, "fT"),
          "grad": (1e13, "fT/cm")}  # fmt: skip


def write_recording_report(cleaned: Cleaned, record: Mapping[str, Any], path: str | os.PathLike) -> Path:
    """Write the page of one recording.

    Parameters
    ----------
    cleaned : Cleaned
        The cleaning, with signals before and after.
    record : dict
        What `neurosig.preprocessing.cleaning_runs` stores of it.
    path : path-like
        The HTML file. It holds no file names, people's names, dates or ages.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    StorageError
        If the place cannot be written.
    """
    summary, stages = record["summary"], record["stages"]
    return write_page(
        path,
        "cleaning.html.j2",
        kind="Cleaning of a recording",
        title=", ".join(
            f"{name} {record[name.lower()]}"
            for name in ("Subject", "session", "task", "run")
            if record.get(name.lower())
        ),
        lede=f"{count(summary['channels'], 'channel')} at {record['sfreq']:g} Hz; {count(summary['trials'], 'trial')}: "
        + ", ".join(f"{each['cut']} × {name}" for name, each in record["events"].items())
        + lost_in_words(summary.get("trials_lost", 0)),
        finding=_finding(record),
        table=_table(record),
        notices=_notices(record),
        reasons=_reasons(stages, summary.get("channels_marked", ()), record.get("dropped", ())),
        shown=_REASONS_SHOWN,
        pictures=_pictures(cleaned, record),
        stage_pictures=_stage_pictures(stages),
        components=_components(cleaned, stages.get("components")),
        settings=[("Events", events_in_words([record])), *options_in_words(record["options"])],
        facts=[
            ("Content", record["content"][:16]),
            ("Versions", [f"{name} {number}" for name, number in record["versions"].items()]),
        ],
        glossary=_glossary(stages),
        json=json.dumps(record, indent=1, ensure_ascii=False),
    )


def _finding(record: Mapping[str, Any]) -> str:
    summary = record["summary"]
    share = 100 * summary["trials_kept"] / summary["trials"]
    parts = [f"{summary['trials_kept']} of {count(summary['trials'], 'trial')} kept ({share:.0f} %)"]
    channels = summary["channels_interpolated"]
    named = f" ({', '.join(channels[:6])}{' ...' if len(channels) > 6 else ''})" if channels else ""
    parts.append(f"{len(channels)} of {count(summary['channels'], 'channel')} interpolated{named}")
    if summary["components"] is not None:
        parts.append(f"{len(summary['components_removed'])} of {count(summary['components'], 'component')} removed")
    if "channels_in_epochs" in record["stages"]:
        rest = percent(summary["cells_interpolated"], summary["cells"])
        parts.append(f"{rest} of good channels in kept trials mended there")
    return "; ".join(parts) + "."


def _table(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    summary = record["summary"]
    rows = []
    for stage in record["stages"]:
        name, unit, what = STAGES[stage]
        removed, total = {
            "channels": (
                len(summary["channels_interpolated"]) + len(summary["channels_left_bad"]),
                summary["channels"],
            ),
            "epochs": (len(record["stages"].get("epochs", {}).get("bad", [])), summary["trials"]),
            "components": (len(summary["components_removed"]), summary["components"]),
            "channels_in_epochs": (summary["cells_interpolated"], summary["cells"]),
        }[stage]
        rows.append((name, f"{removed} of {total} {unit}", what))
    if record["autoreject"] is not None:
        told = record["autoreject"]
        rows.append((
            "autoreject",
            f"{told['trials_dropped']} trials, {told['channels_interpolated_in_trials']} channels of trials",
            "trials dropped and channels interpolated by thresholds learned in cross-validation",
        ))  # fmt: skip
    return rows


def _notices(record: Mapping[str, Any]) -> list[dict[str, str]]:
    summary = record["summary"]
    found = []
    if summary["trials_kept"] < FEW_TRIALS * summary["trials"]:
        found.append({"level": "warning", "title": "Few trials are left.", "text": "Look at the recording before use."})
    bad = len(summary["channels_interpolated"]) + len(summary["channels_left_bad"])
    if bad > MANY_CHANNELS * summary["channels"]:
        text = f"{bad} of {summary['channels']}: interpolated channels add nothing of their own, and lower the rank."
        found.append({"level": "warning", "title": "Many channels are bad.", "text": text})
    return found + [
        {"level": "note", "title": "Note.", "text": note[:1].upper() + note[1:] + "."} for note in record["notes"]
    ]


def _reasons(
    stages: Mapping[str, Any], marked: Iterable[str], dropped: Iterable[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Everything that was removed, the clearest first within its stage."""
    looked_at = stages.get("channels", {}).get("bad", [])
    rows = [
        {"what": f"Channel {name}", "stage": STAGES["channels"][0], "why": reason("marked", None), "z": None}
        for name in marked
        if name not in looked_at
    ]
    for name, stage in stages.items():
        if name == "channels_in_epochs":
            found = [
                (
                    f"{entry['channel']} in trial {entry['trial']}",
                    [(metric, entry["z"].get(metric)) for metric in entry["by"]],
                )
                for entry in stage["bad"]
            ]
        else:
            word = {"channels": "Channel", "epochs": "Trial", "components": "Component IC"}[name]
            more = {each["trial"]: _whose(each) for each in dropped} if name == "epochs" else {}
            found = [(f"{word} {item}{more.get(item, '')}", because(stage, item)) for item in stage["bad"]]
        found.sort(key=lambda entry: -max((abs(z) for _, z in entry[1] if z is not None), default=99))
        rows += [
            {
                "what": what,
                "stage": STAGES[name][0],
                "why": "; ".join(reason(metric, z) for metric, z in why),
                "z": max((abs(z) for _, z in why if z is not None), default=None),
            }
            for what, why in found
        ]
    return rows


def _whose(trial: Mapping[str, Any]) -> str:
    """A trial's event and time, in brackets."""
    at = "" if trial["onset"] is None else f", {trial['onset']:.1f} s"
    return f" ({trial['event']}{at})"


def _pictures(cleaned: Cleaned, record: Mapping[str, Any]) -> list[tuple[Any, str]]:
    epochs = cleaned.epochs
    info = epochs.info
    picks = np.array([info["ch_names"].index(name) for name in cleaned.ch_names])
    every = info.get_channel_types()
    types = [every[pick] for pick in picks]  # of the channels that were cleaned, not of others that are passed on
    scale, unit = _SCALE[types[0]]
    alike = np.array([kind == types[0] for kind in types])
    before = scale * cleaned.before[:, alike]
    after = scale * epochs.get_data(picks=picks[alike], copy=False)
    names = [name for name, same in zip(cleaned.ch_names, alike, strict=True) if same]
    trials, channels = _most_changed(before[cleaned.kept], after)
    told = ", ".join(names[i] for i in channels)
    traces = figures.plot_traces(
        before[cleaned.kept][np.ix_(trials, channels)], after[np.ix_(trials, channels)],
        [names[i] for i in channels], [int(cleaned.kept[i]) for i in trials], epochs.times, unit,
    )  # fmt: skip
    freqs, power = _spectra(before, after, float(info["sfreq"]), record["options"])
    found = [
        (
            figure_svg(traces, name="traces", description=f"Signals before and after cleaning in the channels {told}."),
            "The kept trials and the channels that changed most, to the same reference.",
        ),
        (
            figure_svg(figures.plot_spectra(freqs, *power), name="spectra",
                       description="Power spectra of all channels before and after cleaning."),
            f"Line: median over the {len(names)} {types[0].upper()} channels; shade: nine in ten of them. Before: all "
            "trials; after: those kept.",
        ),
    ]  # fmt: skip
    if cleaned.cells.any() or cleaned.interpolated:
        dropped = record["summary"]["trials_dropped"]
        drawing = figures.plot_mended(
            cleaned.cells, cleaned.kept, dropped, [*cleaned.interpolated, *cleaned.not_interpolated], cleaned.ch_names
        )
        found.append((
            figure_svg(drawing, name="mended", description="Channels that were interpolated, by trial; see the table "
                       "of reasons."),
            "Orange rows: bad throughout. Blue: interpolated in single trials. Shaded columns: trials dropped.",
        ))  # fmt: skip
    return found


def _most_changed(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trials and channels with the largest change; channels in the order of the recording."""
    change = (before - before.mean(axis=-1, keepdims=True)) - (after - after.mean(axis=-1, keepdims=True))
    size = np.sqrt((change**2).mean(axis=-1))
    trials = np.sort(np.argsort(-np.median(size, axis=1), kind="stable")[:_TRIALS_SHOWN])
    channels = np.sort(np.argsort(-size.mean(axis=0), kind="stable")[:_CHANNELS_SHOWN])
    return trials, channels


def _spectra(
    before: np.ndarray, after: np.ndarray, sfreq: float, options: Mapping[str, Any]
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    from scipy.signal import welch

    length = min(before.shape[-1], int(2 * sfreq))
    powers = []
    freqs = np.zeros(0)
    for signals in (before, after):
        freqs, power = welch(signals, sfreq, nperseg=length, axis=-1)
        powers.append(10 * np.log10(np.maximum(power.mean(axis=0), 1e-6)))
    top = min(sfreq / 2, 1.25 * (options["fmax"] or sfreq / 2))
    shown = (freqs >= (options["fmin"] or 0)) & (freqs <= top)
    shown[0] = False
    return freqs[shown], (powers[0][:, shown], powers[1][:, shown])


def _stage_pictures(stages: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    found = []
    for name, stage in stages.items():
        if name == "channels_in_epochs" or len(stage["items"]) < 2:
            continue
        label = {"channels": "channel", "epochs": "trial", "components": "component"}[name]
        bad = ", ".join(map(str, stage["bad"])) or "none"
        found.append((
            STAGES[name][0],
            figure_svg(figures.plot_z(stage, label), name=f"z-{name}",
                       description=f"z-scores of each {label} in each metric; beyond a threshold: {bad}."),
            STAGES[name][2][:1].upper() + STAGES[name][2][1:] + ".",
        ))  # fmt: skip
    return found


def _components(cleaned: Cleaned, stage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if stage is None or cleaned.decomposition is None:
        return None
    removed = list(stage["bad"])
    rows = [(f"IC {item}", "; ".join(reason(metric, z) for metric, z in because(stage, item))) for item in removed]
    picture = None
    if removed:
        import mne

        names = cleaned.decomposition.ch_names
        info = mne.pick_info(cleaned.epochs.info, [cleaned.epochs.ch_names.index(name) for name in names])
        types = info.get_channel_types()
        alike = [i for i, kind in enumerate(types) if kind == types[0]]
        located = np.array([info["chs"][i]["loc"][:3] for i in alike])
        if len(alike) > 3 and np.isfinite(located).all() and len(np.unique(located, axis=0)) == len(alike):
            shown = removed[:_COMPONENTS_SHOWN]
            drawing = figures.plot_components(
                cleaned.decomposition.mixing[np.ix_(alike, shown)].T, mne.pick_info(info, alike), shown
            )
            described = "; ".join(f"{name}: {why}" for name, why in rows[:_COMPONENTS_SHOWN])
            picture = figure_svg(
                drawing, name="components", description=f"Scalp maps of removed components. {described}"
            )
    return {"rows": rows, "picture": picture, "hidden": max(0, len(removed) - _COMPONENTS_SHOWN)}


def _glossary(stages: Mapping[str, Any]) -> list[tuple[str, str]]:
    seen = dict.fromkeys(name.split(":")[0] for stage in stages.values() for name in stage["threshold"])
    words = [METRICS[name] for name in seen if name in METRICS]
    return [
        ("z-score", "how many standard deviations a value lies from the mean of its kind"),
        ("Interpolated", "replaced by what the other electrodes of the head imply (spherical splines)"),
        *words,
    ]  # fmt: skip
