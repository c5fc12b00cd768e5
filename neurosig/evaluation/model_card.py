"""The card of a trained pipeline: what a person must know before trusting it, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neurosig.core.signals import SignalSpec

__all__ = ["model_card", "score_sentence"]

_METRICS = {"roc_auc": "AUC", "accuracy": "accuracy"}


def score_sentence(score: Mapping[str, Any]) -> str:
    """One entry of the estimated scores as a sentence with n, spread and chance."""
    spread = "" if score["sd"] is None else f" ± {score['sd']:.3f} (sd over {score['n_scores']} scores)"
    verdict = "above" if score["mean"] > score["chance_upper"] else "not above"
    return (
        f"{score['question']}: {_METRICS.get(score['metric'], score['metric'])} {score['mean']:.3f}{spread}, "
        f"{score['n_folds']} {score['folds']}-wise folds, {score['n_trials']} trials; "
        f"chance {score['chance']:.3f}, {verdict} its 95 % bound {score['chance_upper']:.3f}"
    )


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
        lines += ["", "Each was measured on trials that the pipeline had not seen, before the final fit on all trials."]
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
        who = ", ".join(data["subjects"])
        people = f"{len(data['subjects'])} subject{'' if len(data['subjects']) == 1 else 's'}"
        lines.append(f"- Trials: {data['n_trials']} ({counts}) of {people}: {who}")
    lines += [f"- Warning: {text}" for text in data.get("warnings", ())]
    lines += [
        "",
        "## What it expects",
        "",
        *_expectations(spec),
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
