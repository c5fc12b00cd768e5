"""The card of a trained pipeline: what a person must know before trusting it, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neurosig.core.channel_names import listed
from neurosig.core.signals import SignalSpec
from neurosig.evaluation.verdict import chance_verdict

__all__ = ["model_card", "score_sentence"]

_MOST_NAMED = 30  # people, or regions; config.json names all of them
_METRICS = {"roc_auc": "AUC", "accuracy": "accuracy"}


def score_sentence(score: Mapping[str, Any]) -> str:
    """One entry of the estimated scores as a sentence with n, spread and chance."""
    spread = "" if score["sd"] is None else f" ± {score['sd']:.3f} (sd over {score['n_scores']} scores)"
    what = "runs" if score["question"] in ("new people", "new sites") and "ci_low" in score else "trials"
    line = (
        f"{score['question']}: {_METRICS.get(score['metric'], score['metric'])} {score['mean']:.3f}{spread}, "
        f"{score['n_folds']} {score['folds']}-wise folds, {score['n_trials']} {what}; "
    )
    verdict = chance_verdict(score)
    if score.get("ci_low") is not None:  # the rule of benchmarks, by the same interval
        said = {"above": "above it", "open": "which reaches it"}.get(verdict, "not above it")
        span = f"{score['ci_low']:.3f} to {score['ci_high']:.3f}"
        return f"{line}chance {score['chance']:.3f}, 95 % interval {span}, {said}"
    said = "above" if verdict == "above" else "not above"
    return f"{line}chance {score['chance']:.3f}, {said} its 95 % bound {score['chance_upper']:.3f}"


def model_card(card: Mapping[str, Any], spec: SignalSpec, classes: Sequence[str]) -> str:
    """The model card.

    Parameters
    ----------
    card : dict
        As in `neurosig.TrainedPipeline`.
    spec : SignalSpec
        What the pipeline expects.
    classes : sequence of str
        Names of the classes.

    Returns
    -------
    str
        Markdown.
    """
    data, pipeline = card.get("dataset", {}), card.get("pipeline", {})
    lines = [f"# {pipeline.get('name', 'Pipeline')} trained on {data.get('name', 'unnamed data')}", ""]
    if pipeline.get("description"):
        lines += [pipeline["description"], ""]
    lines += ["## What score to expect", ""]
    if scores := card.get("scores"):
        lines += [f"- {score_sentence(score)}" for score in scores]
        what = _unit(spec)
        lines += [
            "",
            f"Each was measured on {what} that the pipeline had not seen, before the final fit on all {what}.",
        ]
    else:
        lines.append("Not estimated: the pipeline was fitted without cross-validation. Do not rely on it.")
    lines += [f"- Warning: {text}" for text in card.get("warnings", ())]
    lines += ["", "## What it was trained on", ""]
    for name, value in (
        ("Data", data.get("title") or data.get("name")),
        ("Licence", data.get("licence")),
        ("Citation", data.get("citation")),
        ("DOI", data.get("doi")),
        ("Content", data.get("identity")),
    ):
        if value:
            lines.append(f"- {name}: {value}")
    if data:
        counts = ", ".join(f"{count} {name}" for name, count in data["trials_per_class"].items())
        who = listed(data["subjects"], _MOST_NAMED)
        people = f"{len(data['subjects'])} subject{'' if len(data['subjects']) == 1 else 's'}"
        lines.append(f"- {_unit(spec).capitalize()}: {data['n_trials']} ({counts}) of {people}: {who}")
    lines += [f"- Warning: {text}" for text in data.get("warnings", ())]
    lines += [
        "",
        "## What it expects",
        "",
        *(_of_runs(spec, card) if spec.modality == "fmri" else _expectations(spec)),
        f"- Classes, in the order of the probabilities: {', '.join(classes)}",
    ]
    lines += ["", "## How it was made", "", f"- Pipeline: {pipeline.get('steps', 'unknown')}"]
    lines += [f"- {_training_sentence(network)}" for network in card.get("networks", ())]
    lines += [f"- Started from: {name} ({where})" for where, name in (card.get("pretrained") or {}).items()]
    lines += [f"- Reference: {text}" for text in pipeline.get("citations", ())]
    lines.append(f"- Seed: {card.get('seed')}")
    lines.append("- Versions: " + ", ".join(f"{name} {version}" for name, version in card.get("versions", {}).items()))
    lines += ["", "## How to use it", "", "    neurosig decode --model THIS_FOLDER RECORDING --out decoded/", ""]
    return "\n".join(lines)


def _unit(spec: SignalSpec) -> str:
    """What is decoded at a time."""
    return "runs" if spec.modality == "fmri" and spec.processing is None else "trials"


def _training_sentence(network: Mapping[str, Any]) -> str:
    """How a network was trained: weights, epochs, what the kept epoch reached."""
    losses = [
        f"{what} {network[name]:.3g}"
        for name, what in (
            ("train_loss", "training loss"), ("valid_loss", "validation loss"),
            ("valid_accuracy", "validation accuracy"),
        )
        if name in network
    ]  # fmt: skip
    epochs = f"{network['epochs']} epoch{'' if network['epochs'] == 1 else 's'}"
    kept = f", weights of epoch {network['best_epoch']}" if network["best_epoch"] else ""
    reached = f" ({', '.join(losses)})" if losses else ""
    stopped = f"; {network['stopped']}" if network["stopped"] else ""
    return f"Network {network['name']}: {network['weights']:,} weights, {epochs}{kept}{reached}{stopped}"


def _expectations(spec: SignalSpec) -> list[str]:
    lines = [f"- {spec.n_channels} {spec.modality.upper()} channels: {', '.join(spec.ch_names)}"]
    if spec.sfreq:
        lines.append(f"- Sampling rate: {spec.sfreq:g} Hz; unit: {spec.unit}; {spec.n_times} samples a trial")
    if spec.processing is not None:
        low, high = spec.processing.fmin, spec.processing.fmax
        band = (
            "no filter"
            if low is None and high is None
            else f"{low or 0:g} to {'the end' if high is None else f'{high:g}'} Hz"
        )
        lines.append(f"- Trials: {spec.processing.tmin:g} to {spec.processing.tmax:g} s around the event, {band}")
    return lines


_SCALED = {
    "z": "each region in z-scores over its run", "psc": "in percent signal change", "a.u.": "not standardised",
}  # fmt: skip
_CLEANED = {
    "confounds": "confounds {}", "high_pass": "high-pass at {} Hz", "low_pass": "low-pass at {} Hz",
    "detrend": "linear trends removed: {}", "smoothing_fwhm": "smoothed by {} mm",
}  # fmt: skip


def _of_runs(spec: SignalSpec, card: Mapping[str, Any]) -> list[str]:
    """What a model of fMRI expects: regions, repetition time, how series were made, how long they were."""
    data, reading = card.get("dataset", {}), (card.get("read") or {}).get("fmri") or {}
    times = data.get("t_r") or ([spec.t_r] if spec.t_r else [])
    made = [text.format(reading[name]) for name, text in _CLEANED.items() if reading.get(name) not in (None, "auto")]
    if band := _band(spec):
        made = [part for part in made if "-pass" not in part] + [band]
    lines = [
        f"- {spec.n_channels} regions, matched by name: {listed(spec.ch_names, _MOST_NAMED)}",
        f"- Atlas: {spec.atlas or 'not stated'}",
        f"- Repetition time: {' or '.join(f'{t_r:g}' for t_r in times) + ' s' if times else 'not stated'}",
        f"- Series: {_SCALED.get(spec.unit, spec.unit)} (unit {spec.unit}){''.join(f', {part}' for part in made)}",
    ]
    if spec.n_times:
        lines.append(f"- Length: {_unit(spec)} of {spec.n_times} volumes")
    elif data.get("volumes"):
        lines.append(f"- Length: runs of {data['volumes'][0]} to {data['volumes'][1]} volumes")
    if spec.processing is not None:
        lines.append(f"- Trials: {spec.processing.tmin:g} to {spec.processing.tmax:g} s around the event")
    return lines


def _band(spec: SignalSpec) -> str:
    """The filter that series went through, as far as it is known."""
    edges = [
        f"{name} at {value:g} Hz" for name, value in (("high-pass", spec.highpass), ("low-pass", spec.lowpass)) if value
    ]
    return ", ".join(edges)
