"""What is known of the networks that a study pretrained: whom they have seen, and how they do on whom they have not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.files import atomic_write
from neurosig.evaluation.transfer_tables import chance_of, person_scores

if TYPE_CHECKING:
    import pandas as pd

    from neurosig.evaluation.transfer_fits import Fit, Plan

__all__ = ["pretrained_networks", "write_cards"]

_TESTED = {
    "direct": "as it is, no label of the person learned",
    "transfer_all": "all layers trained on with the person's own trials",
    "transfer_head": "the last layer trained on with the person's own trials",
}


def pretrained_networks(
    plan: Plan, records: Iterable[tuple[Fit, Mapping[str, Any]]], table: pd.DataFrame
) -> list[dict[str, Any]]:
    """Every pretrained network with its scores on the people who were left out.

    Parameters
    ----------
    plan : Plan
        What was fitted.
    records : iterable of (Fit, dict)
        What came out.
    table : DataFrame
        Of these records.

    Returns
    -------
    list of dict
        JSON-like: ``pipeline, seed, folder, subjects, left_out, n_train, n_epochs``; ``mean, sd`` (over people; None
        for one), ``n, chance, chance_upper`` of direct transfer; and ``scores``, the same for each condition that was
        tested.
    """
    people = plan.cohort.people
    scores = person_scores(table)
    found = []
    for job, record in records:
        if job.kind != "pretrain" or record["error"] is not None:
            continue
        left_out = [people[place].subject for place in job.tested]
        own = scores[
            (scores["pipeline"] == job.pipeline) & (scores["seed"] == job.seed) & scores["subject"].isin(left_out)
        ]
        tested = {
            condition: _score(rows, table)
            for condition, rows in own[own["condition"].isin(_TESTED)].groupby("condition", sort=False)
        }
        nothing = {"mean": None, "sd": None, "n": 0, "chance": None, "chance_upper": None}
        found.append({
            "pipeline": job.pipeline, "seed": job.seed, "folder": job.key, "left_out": left_out,
            "subjects": [people[place].subject for place in plan.others(job.tested)],
            "n_train": record.get("n_train"), "n_epochs": record.get("n_epochs"),
            **tested.get("direct", nothing), "scores": tested,
        })  # fmt: skip
    return found


def _score(rows: pd.DataFrame, table: pd.DataFrame) -> dict[str, Any]:
    scored = rows[rows["score"].notna()]
    if not len(scored):
        return {"mean": None, "sd": None, "n": 0, "chance": None, "chance_upper": None}
    first = scored.iloc[0]
    tested = table[
        (table["pipeline"] == first["pipeline"]) & (table["seed"] == first["seed"])
        & (table["condition"] == first["condition"]) & table["subject"].isin(scored["subject"])
    ]  # fmt: skip
    chance = chance_of(tested)
    return {
        "mean": float(scored["score"].mean()),
        "sd": float(scored["score"].std(ddof=1)) if len(scored) > 1 else None,
        "n": len(scored),
        "chance": chance.level,
        "chance_upper": chance.upper,
    }


def write_cards(folder: Path, networks: Iterable[Mapping[str, Any]], meta: Mapping[str, Any]) -> None:
    """Write ``README.md`` beside each pretrained network, and its scores into the network's own card.

    Parameters
    ----------
    folder : Path
        Of the pretrained networks.
    networks : iterable of dict
        Of `pretrained_networks`.
    meta : dict
        Of the study: ``dataset, protocol, versions``.

    Raises
    ------
    StorageError
        If the place cannot be written.
    """
    for one in networks:
        place = folder / one["folder"]
        if not place.is_dir():
            continue
        lines = _score_lines(one, meta["protocol"]["metric"])
        _write(place / "README.md", _card(one, meta, lines, _unit_of(place), (place / "steps").is_dir()))
        own = place / "network" / "README.md"
        if own.is_file():
            before, heading, rest = own.read_text(encoding="utf-8").partition("## Scores\n\n")
            _, after, end = rest.partition("\n\n## ")
            if after:  # else a card of another making, which is let alone
                text = "".join([before, heading, "\n".join(lines), after, end])
                _write(own, _with_facts(text, meta["dataset"]))


def _with_facts(card: str, data: Mapping[str, Any]) -> str:
    """A network's own card with the labels that its class numbers stand for, and the licence of the data."""
    numbers = ", ".join(str(number) for number in range(len(data["classes"])))
    card = card.replace(f"- classes: {numbers}\n", f"- classes: {_numbered(data)}\n")
    if data.get("licence"):
        terms = "Not stated: add that of the training data."
        card = card.replace(terms, f"Bound by that of the training data: {data['licence']}")
    return card


def _numbered(data: Mapping[str, Any]) -> str:
    return ", ".join(f"{number} ({name})" for number, name in enumerate(data["classes"]))


def _how_to_use(data: Mapping[str, Any], unit: str | None, before: bool) -> list[str]:
    """Lines that read the network, bring signals to its unit, and turn its numbers into labels."""
    names = ", ".join(map(repr, data["classes"]))
    wanted = "NetClassifier, load_pipeline" if before else "NetClassifier"
    lines = [f"    from neurosig import {wanted}", "", "    network = NetClassifier.from_pretrained('network')"]
    if before:
        lines += ["    X = load_pipeline('steps').transform(X)  # what comes before the network"]
    lines += [
        "    numbers = network.predict(X)",
        f"    labels = [[{names}][number] for number in numbers]",
        "",
        "The network gives class numbers, and `score` takes them: `network.score(X, numbers)`.",
    ]
    if unit:
        told = f"Signals are expected in {unit}"
        told += ": arrays in volts are multiplied by 1e6 first." if unit == "uV" else "."
        lines.append(f"{told} mne.Epochs are converted by the network itself.")
    return lines


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        atomic_write(path, text)


def _unit_of(place: Path) -> str | None:
    """Unit of the signals, as the network's own configuration says."""
    try:
        config = json.loads((place / "network" / "config.json").read_text(encoding="utf-8"))
        return config["spec"]["unit"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _score_lines(one: Mapping[str, Any], metric: str) -> list[str]:
    lines = []
    for condition, words in _TESTED.items():
        score = one["scores"].get(condition)
        if not score or score["mean"] is None:
            continue
        spread = "" if score["sd"] is None else f" ± {score['sd']:.3f} (sd over people)"
        lines.append(
            f"- {words}: {metric.replace('_', ' ')} {score['mean']:.3f}{spread}, n = {score['n']} left-out "
            f"{'person' if score['n'] == 1 else 'people'}; chance {score['chance']:.3f} "
            f"(bound {score['chance_upper']:.3f}): {_verdict(score)}"
        )
    return lines or ["Not tested."]


def _verdict(score: Mapping[str, Any]) -> str:
    """Whether a score lies above what guessing reaches, and whether that holds for other people than these."""
    if not score["mean"] > score["chance_upper"]:
        return "not above what guessing reaches"
    if score["sd"] is None:
        return "above what guessing reaches, in one person"
    from scipy import stats

    low = score["mean"] - stats.t.ppf(0.975, score["n"] - 1) * score["sd"] / score["n"] ** 0.5
    if low > score["chance"]:
        return "above what guessing reaches"
    return "above what guessing reaches in these people, but the 95 % interval of the mean over people reaches chance"


def _card(
    one: Mapping[str, Any], meta: Mapping[str, Any], scores: list[str], unit: str | None = None, before: bool = False
) -> str:
    data, protocol = meta["dataset"], meta["protocol"]
    named: dict[str, Mapping[str, Any]] = {card["name"]: card for card in meta["pipelines"]}
    card = named.get(one["pipeline"], {})
    lines = [f"# {one['pipeline']}, pretrained on {data.get('title') or data['name']}", ""]
    if card.get("description"):
        lines += [card["description"], ""]
    lines += ["## Whom it has seen", ""]
    lines += [
        f"- Learned from all trials of: {', '.join(one['subjects'])}",
        f"- Has not seen: {', '.join(one['left_out'])}. Test it on nobody else of these data.",
        "",
        "## Scores on people whom it has not seen",
        "",
        *scores,
        "",
        "## How it was trained",
        "",
        *(f"- Step: {step}" for step in card.get("steps", ())),
        f"- Trials: {one['n_train']}; epochs: {one['n_epochs']}; seed: {one['seed']}",
    ]
    if protocol["window"] is not None:
        lines.append(f"- Windows: {protocol['window']:g} s, every {protocol['window_step'] or protocol['window']:g} s")
    if card.get("cleaned"):
        lines.append("- Signals cleaned by FASTER, fitted on each person's own trials")
    lines += ["", "## Data", ""]
    known = (("Licence", "licence"), ("Citation", "citation"), ("DOI", "doi"))
    lines += [f"- Name: {data['name']}", *(f"- {words}: {data[key]}" for words, key in known if data.get(key))]
    lines.append(f"- Classes: {_numbered(data)}")
    lines += ["", "## How to use it", "", *_how_to_use(data, unit, before), ""]
    lines += ["Versions: " + ", ".join(f"{name} {number}" for name, number in meta["versions"].items()) + ".", ""]
    return "\n".join(lines)
