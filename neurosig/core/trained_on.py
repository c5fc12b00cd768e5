"""Whom a trained part has learned from: ``trained_on.json``, beside what was trained."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from neurosig.core.errors import StorageError, UsageError

__all__ = ["SEEN", "as_trained_on", "joined", "layers_of", "note_source", "read_trained_on", "trained_further"]

SEEN = "trained_on.json"
_INSIDE = "network"  # a transfer study keeps the file beside the folder of the weights


def as_trained_on(given: Any) -> dict[str, Any] | None:
    """What is said about the people that something was trained on, in the form in which it is kept.

    Parameters
    ----------
    given : dict, sequence of str, or None
        ``subjects``: their names; ``data``: digests of what was recorded of them; ``dataset``: the name of the dataset
        that the names are of; ``before``: the same of each part that the training started from, None for one of which
        it is not known; and anything else worth knowing, such as ``same_people``: other datasets in which these have
        the same names. A sequence is names alone, of which people of any dataset may be meant. None where it is not
        known.

    Returns
    -------
    dict or None
        JSON-like, with ``subjects``, ``data``, ``dataset`` and ``before``.

    Raises
    ------
    UsageError
        If it is none of these, or not JSON-like.
    """
    if given is None:
        return None
    told = dict(given) if isinstance(given, Mapping) else {"subjects": given}
    lists = {name: told.get(name, ()) for name in ("subjects", "data", "before")}
    if any(isinstance(value, str) or not isinstance(value, Sequence) for value in lists.values()):
        raise UsageError(
            "trained_on must be the names of subjects, or a dict with lists 'subjects' and 'data' (digests), got "
            f"{' '.join(repr(given).split())[:80]}"
        )
    told |= {name: [str(item) for item in lists[name]] for name in ("subjects", "data")}
    told["before"] = [as_trained_on(item) for item in lists["before"]]
    told["dataset"] = None if told.get("dataset") is None else str(told["dataset"])
    try:
        return dict(json.loads(json.dumps(told)))
    except (TypeError, ValueError) as error:
        raise UsageError(f"trained_on must hold plain text, numbers and lists ({error})") from error


def read_trained_on(folder: str | os.PathLike) -> dict[str, Any] | None:
    """What a folder says about the people that its weights were trained on; None if it does not say.

    Raises
    ------
    StorageError
        If the file is there and damaged.
    """
    folder = Path(folder)
    places = [folder, folder.parent] if folder.name == _INSIDE else [folder]
    for path in (place / SEEN for place in places):
        if not path.is_file():
            continue
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found, dict):
                raise UsageError("expected a mapping")
            return as_trained_on(found)
        except (OSError, ValueError, RecursionError) as error:
            raise StorageError(f"{path} is damaged, so that it is not known whom the weights have seen: {error}") from (
                error
            )
    return None


def layers_of(trained_on: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any] | None]:
    """What something was trained on, and what each part that this started from was trained on, to any depth."""
    yield trained_on
    for item in (trained_on or {}).get("before", ()):
        yield from layers_of(item)


def joined(layers: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """What something was trained on that was trained on all of this: None where none of it is known."""
    told = list({json.dumps(layer, sort_keys=True): layer for layer in layers}.values())
    if len(told) == 1:
        return as_trained_on(told[0])
    return as_trained_on({"subjects": [], "before": told}) if told else None


def trained_further(own: Mapping[str, Any] | None, before: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """What something was trained on that started from parts which are trained already.

    Parameters
    ----------
    own : dict or None
        What its own training was on; None where that is not known.
    before : sequence of (dict or None)
        What these parts were trained on.

    Returns
    -------
    dict or None
        None where nothing of it is known.
    """
    if own is None:
        return joined([None, *before])
    return as_trained_on({**own, "before": [*own.get("before", ()), *before]})


def note_source(fitted: Any, source: Any) -> None:
    """Let an estimator's ``trained_on_`` say whom that has seen which its training started from.

    Parameters
    ----------
    fitted : estimator
        With ``trained_on_`` where its own training is known.
    source : estimator or None
        What it started from, if anything.
    """
    if source is None:
        return
    told = trained_further(getattr(fitted, "trained_on_", None), [getattr(source, "trained_on_", None)])
    if told is not None:
        fitted.trained_on_ = told
