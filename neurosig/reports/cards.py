"""Cards of datasets and pipelines as every report shows them, and words around numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neurosig.reports.findings import imbalance

__all__ = ["counted", "dataset_card", "joined", "pipeline_card", "plain", "words"]


def dataset_card(card: dict[str, Any], metric: str) -> dict[str, Any]:
    """What a page says about a dataset; `card` is of the results' metadata."""
    counts: Mapping[str, int] = card.get("classes") or {}
    skipped = {"name", "title", "description", "citation", "doi", "notes", "warnings", "classes"}
    facts = [(words(key), plain(value)) for key, value in card.items() if key not in skipped and plain(value) != ""]
    if counts:
        facts.insert(0, ("Tested per class", [f"{name} {number}" for name, number in counts.items()]))
    notes = [str(note) for key in ("notes", "warnings") for note in _listed(card.get(key))]
    return {
        "name": card.get("title") or card.get("name", "dataset"),
        "description": card.get("description") or "",
        "facts": facts,
        "citation": _listed(card.get("citation")),
        "doi": card.get("doi") or "",
        "notes": notes,
        "imbalance": imbalance(counts, metric),
    }


def pipeline_card(card: dict[str, Any]) -> dict[str, Any]:
    """What a page says about a pipeline; `card` is of the results' metadata."""
    skipped = {"name", "description", "steps", "citations", "chosen", "edges"}
    return {
        "name": card.get("name", "pipeline"),
        "description": card.get("description") or "",
        "steps": "\n".join(_listed(card.get("steps"))),
        "facts": [
            (words(key), plain(value)) for key, value in card.items() if key not in skipped and plain(value) != ""
        ],
        "citations": _listed(card.get("citations")),
    }


def plain(value: Any) -> Any:
    """A value of a card as text or a list of texts; nothing where there is nothing to say."""
    if value is None or value == "" or value == [] or value == {}:
        return ""
    if isinstance(value, Mapping):
        return [f"{key}: {item}" for key, item in value.items() if item is not None]
    if isinstance(value, list | tuple):
        return [str(item) for item in value]
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def words(key: str) -> str:
    """A key of a card as a reader writes it."""
    known = {
        "sfreq": "Sampling rate (Hz)", "n_jobs": "Jobs at once",
        "seconds": "Run time (s)", "run_key": "Digest of the run", "cs_mode": "Cross-subject mode", "created": "Begun",
        "t_r": "Repetition time (s)", "sites": "Subjects by site",
        "param_grid": "Parameters searched", "code": "Name in MOABB", "identity": "Digest of the data",
    }  # fmt: skip
    return known.get(key, key.replace("_", " ").capitalize())


def counted(n: int, noun: str) -> str:
    """A number with its noun: "3 subjects"."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def joined(names: list[str]) -> str:
    """Names in a row: "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""


def _listed(value: Any) -> list[Any]:
    return [] if not value else list(value) if isinstance(value, list | tuple) else [value]
