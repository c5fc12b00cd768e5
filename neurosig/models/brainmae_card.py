"""Model cards of what BrainMAE learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neurosig.core.channel_names import listed
from neurosig.tokenizers.learned_storage import _people

__all__ = ["brainmae_card"]


def brainmae_card(config: Mapping[str, Any], about: str, network: Mapping[str, Any]) -> str:
    """The model card of an estimator of BrainMAE, Markdown.

    Parameters
    ----------
    config : dict
        What stands in ``config.json``; and whom it has seen, under ``trained_on``.
    about : str
        What comes out.
    network : dict
        Options of the network.

    Returns
    -------
    str
        The card.
    """
    params, fitted, spec, runs = config["params"], config["fitted"], config["spec"] or {}, config["runs"]
    licence, name, names = config.get("licence"), config["estimator"], runs["region_names_"]
    regions = f"{network['n_chans']}" + (f" ({listed(names)})" if names else ", without names")
    lines = [
        "---", "library_name: neurosig", f"license: {licence or 'unknown'}", "tags: [fmri, brainmae, neurosig]", "---",
        "", f"# {name}, trained with neurosig", "",
        f"{fitted['n_parameters_']:,} parameters. Reads with `neurosig.models.{name}.from_pretrained`.",
        "", about, "", "## Runs", "",
        f"- regions: {regions}",
        f"- atlas: {spec.get('atlas') or 'not stated'}",
        f"- TR: the network works at {runs['t_r_']:g} s; other runs are resampled along straight lines",
        *(f"- {n} runs fitted on were resampled from {rate} s" for rate, n in runs["resampled_"].items()),
        f"- {'each region in z-scores over its run' if params['standardize'] == 'run' else 'series as they are'}; "
        f"unit {spec.get('unit') or 'not stated'}",
        "", "## Network", "",
        f"- variant {network['variant']}, {network['region_embedding']} region embeddings, self-loops "
        f"{'on' if network['self_loops'] else 'off'}, depth {network['depth']}, emb_size {network['emb_size']}",
        f"- segments of {network['segment']:g} s, windows of {network['n_segments']} of them",
        *_training(config), *_people(config.get("trained_on")),
    ]  # fmt: skip
    scores = config["scores"]
    lines += ["", "## Scores", ""]
    lines += [f"- {key}: {value}" for key, value in scores.items()] if scores else ["None were given."]
    versions = ", ".join(f"{key} {version}" for key, version in config["versions"].items())
    terms = licence or "Not stated: add that of the training data."
    return "\n".join([*lines, "", "## Licence", "", terms, "", f"Written with {versions}.", ""])


def _training(config: Mapping[str, Any]) -> list[str]:
    params, fitted = config["params"], config["fitted"]
    lines = ["", "## Training", ""]
    if not fitted["best_epoch_"]:
        return [*lines, f"- {fitted['stopped_']}"]
    last = fitted["history_"][fitted["best_epoch_"] - 1]
    held = config.get("held_back") or []
    judged = (
        [f"- held back from them, to judge each epoch (valid_ below): {len(held)} people, {listed(held, 12)}"]
        if held
        else ["- nobody was held back: how well this carries to other people is not known"]
        if params.get("validation") is None
        else []
    )
    return [
        *lines,
        f"- {fitted['n_windows_']} runs, {len(fitted['history_'])} epochs of batches of {params['batch_size']}, "
        f"lr {params['lr']:g}; weights of epoch {fitted['best_epoch_']}; {fitted['stopped_']}",
        *judged,
        f"- seed {fitted['seed_']} (random_state {params['random_state']})",
        *(f"- {key} {value:.4g}" for key, value in last.items() if key.startswith(("train_", "valid_"))),
    ]
