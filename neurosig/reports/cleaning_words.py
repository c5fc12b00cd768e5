"""The words of the cleaning reports: what each stage and metric means, and the options in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "FEW_TRIALS", "MANY_CHANNELS", "METRICS", "STAGES", "STATES", "because", "count", "events_in_words",
    "lost_in_words", "options_in_words", "percent", "reason", "serious_notes",
]  # fmt: skip

STATES = {"skipped": "done earlier"}  # what an outcome is called in files that are read without this program
FEW_TRIALS, MANY_CHANNELS = 0.6, 0.2  # beyond these a recording is worth a look by eye
_NAMED = 3  # recordings that a warning names
_SERIOUS = (
    "cannot have a z-score", "positions are not known", "stay marked bad", "no place in the montage",
    "held no numbers", "no others to be compared with", "blinks may stay", "average reference", "cleaned before",
    "reference electrode may be near", "could not be drawn",
)  # fmt: skip

# stage: name, unit of what is counted, what is compared
STAGES = {
    "channels": ("Bad channels", "channels", "each channel against the others, over all trials"),
    "epochs": ("Bad trials", "trials", "each trial against the others, averaged over good channels"),
    "components": ("Artifact components", "components", "each independent component against the others"),
    "channels_in_epochs": ("Bad channels of single trials", "channels of trials",
                           "each channel against the others in the same trial"),
    "subjects": ("Outlier subjects", "subjects", "each subject's average against the others'"),
}  # fmt: skip

METRICS = {
    "variance": ("Variance", "how strongly the signal varies; high for noise and drifts, low for a dead electrode"),
    "correlation": ("Correlation", "mean correlation with the other channels; low where an electrode has lost contact"),
    "hurst": ("Hurst exponent", "how much a signal resembles itself over time; EEG lies near 0.7, white noise at 0.5"),
    "drift": ("Slow waves", "how strongly means over a quarter of a second vary; high where an electrode drifts"),
    "amplitude": ("Amplitude range", "highest less lowest value; high for movements and pops"),
    "deviation": ("Deviation", "distance of the mean from the channel's usual mean; high for drifts and jumps"),
    "eog_correlation": ("EOG correlation", "correlation with the channel that records the eyes"),
    "kurtosis": ("Kurtosis", "how peaked the values are; of a component's map, high where it sits at one electrode"),
    "spectral_slope": ("Spectral slope", "how power falls around the upper edge of the band; muscles fall less"),
    "median_gradient": ("Median gradient", "usual step between neighbouring samples; high for muscles and noise"),
    "line_noise": ("Line noise", "power at 50 and 60 Hz"),
    "eog": ("Largest EOG", "largest deflection of the eye channels in the average"),
    "dead": ("No signal", "constant, or without numbers"),
    "faint": ("Faint", "less than an eighth of the others' amplitude in the reference of the recording: no contact"),
    "marked": ("Marked bad", "marked before the cleaning, in the recording or as there were no numbers"),
}


def because(stage: Mapping[str, Any], item: Any) -> list[tuple[str, float | None]]:
    """Metrics by which an item was found, with its z-scores (None for those without one), the clearest first."""
    place = list(stage["items"]).index(item)
    found: list[tuple[str, float | None]] = []
    for metric, items in stage["by_metric"].items():
        if item not in items:
            continue
        values = stage["z"].get(metric)
        if values is None:
            found.append((metric, None))
            continue
        rows = values if isinstance(values[0], list) else [values]
        at = [row[place] for row in rows if row[place] is not None]
        found.append((metric, max(at, key=abs) if at else None))
    return sorted(found, key=lambda entry: -abs(entry[1]) if entry[1] is not None else -99)


def count(n: int, noun: str) -> str:
    """``count(2, "trial")`` is "2 trials"."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def lost_in_words(n: int) -> str:
    """Trials that were not even cut, as the end of a sentence; empty where there are none."""
    touch = "it touches" if n == 1 else "they touch"
    return f"; {n} more not looked at: {touch} NaN or a span marked bad" if n else ""


def percent(part: int, total: int) -> str:
    """A share in percent with one decimal."""
    return f"{100 * part / max(total, 1):.1f} %"


def reason(metric: str, z: float | None) -> str:
    """A metric and its z-score in words."""
    name, _, kind = metric.partition(":")
    words = METRICS[name][0].lower() if name in METRICS else name
    words = words.replace("eog", "EOG").replace("hurst", "Hurst") + (f" ({kind})" if kind else "")
    return words if z is None else f"{words} z = {z:+.1f}".replace("-", "\N{MINUS SIGN}")


def options_in_words(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Options of a cleaning as terms and what they are."""
    low, high = options["fmin"], options["fmax"]
    reference = options["reference"]
    threshold = options["threshold"]
    eyes = [*options["eog"], *(f"{name} (in place of EOG)" for name in options["eog_proxy"])]
    rows = [
        ("Band", "as recorded" if low is None and high is None else f"{_edge(low)} to {_edge(high)} Hz"),
        ("Mains filter", "none" if options["notch"] is None else f"{options['notch']:g} Hz and its harmonics"),
        ("Trials", f"{options['tmin']:g} to {options['tmax']:g} s around the event"),
        ("Baseline", "none" if options["baseline"] is None else f"{' to '.join(map(_edge, options['baseline']))} s"),
        ("Steps", ", ".join(STAGES[step][0].lower() for step in STAGES if step in options["steps"]) or "none"),
        ("Formulas", {"mended": "the paper's, its faults mended", "paper": "the authors' program",
                      "mne": "mne-faster's"}[options["variant"]]),
        ("Threshold", f"{threshold:g} standard deviations" if not isinstance(threshold, Mapping)
         else ", ".join(f"{name} {value:g}" for name, value in threshold.items())),
        ("Rounds", str(options["max_iter"] or "3 for channels, trials and components, 1 for single trials"
                       if options["variant"] == "mended" else options["max_iter"] or 1)),
        ("Components by", options["ica"]),
        ("Eyes", ", ".join(eyes) or "EOG channels of the recording, where there are any"),
        ("Channels compared in", _judged(options)),
        ("Channels of single trials in", "average reference" if options["average_first"] else "the recorded reference"),
        ("Reference", "as recorded" if reference is None else reference if isinstance(reference, str)
         else ", ".join(reference)),
        ("autoreject", "yes" if options["autoreject"] else "no"),
    ]  # fmt: skip
    if options["resample"] is not None:
        rows.insert(2, ("New rate", f"{options['resample']:g} Hz"))
    return rows


def _edge(value: float | None) -> str:
    return "open" if value is None else f"{value:g}"


def _judged(options: Mapping[str, Any]) -> str:
    if (site := options.get("reference_position")) is not None:
        return f"the recorded reference, less the effect of the distance to {site}"
    judged = options.get("judge_in", "recorded")
    if judged == "auto" and options["variant"] == "mended":
        return "average reference of good channels, where there are sixteen; else the recorded reference"
    return "average reference of good channels" if judged == "average" else "the recorded reference"


def serious_notes(notes: Iterable[Sequence[str]], labels: Iterable[str] | None = None) -> list[str]:
    """Notes of recordings that a summary must not hide: nothing could be found, filled or kept; each once.

    Parameters
    ----------
    notes : iterable of sequence of str
        Of each recording.
    labels : iterable of str, optional
        Their names, of which the first three are told.

    Returns
    -------
    list of str
        The notes, each with the recordings that it is of.
    """
    notes = list(notes)
    names = [""] * len(notes) if labels is None else list(labels)
    found: dict[str, list[str]] = {}
    for each, name in zip(notes, names, strict=True):
        for note in dict.fromkeys(each):
            if any(word in note for word in _SERIOUS):
                found.setdefault(note, []).append(name)
    return [f"{note} ({_whose(whose, len(notes))})" for note, whose in found.items()]


def _whose(names: Sequence[str], n: int) -> str:
    told = count(len(names), "recording")
    if len(names) == n > 1:
        return f"all {told}"
    if not names[0]:
        return told
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{told}: {', '.join(names[:_NAMED])}{more}"


def events_in_words(records: Sequence[Mapping[str, Any]]) -> str:
    """Events that trials were cut around, and what they are called in the files.

    Parameters
    ----------
    records : sequence of dict
        Of recordings that were cleaned alike.

    Returns
    -------
    str
        Such as "left (T1), right (T2)"; empty where nothing was cleaned.
    """
    named: dict[str, str] = {}
    for record in records:
        reading = record.get("reading") or {}
        codes = reading.get("events") or {}
        for name in record["events"]:
            code = codes.get(name, name)
            code = "+".join(map(str, code)) if isinstance(code, list | tuple) else str(code)
            window = reading.get("window")
            what = f" of {window[0]:g} s" if window else "" if code == name else f" ({code})"
            named.setdefault(name, what)
    return ", ".join(name + what for name, what in named.items())
