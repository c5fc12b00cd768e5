"""A manifest's YAML against its schema: errors are one line with the file, the line, the field and the reason."""

from __future__ import annotations

import dataclasses
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from neurosig.core.errors import ManifestError
from neurosig.core.signals import Processing
from neurosig.core.yaml import Lines
from neurosig.loaders.manifest_schema import (
    Archive,
    FileEntry,
    FilePattern,
    FilesSource,
    FmriFields,
    FmriSimulation,
    ReadFields,
    Simulation,
)

__all__ = ["validate"]

# pydantic's names, for models and for dataclasses
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_MISSING = ("missing", "missing_argument")


def validate(model: type[BaseModel], data: Any, lines: Lines, path: str | Path) -> Any:
    """Build `model` from `data`; the error is one line with file, line, field and reason."""
    if not isinstance(data, dict):
        raise ManifestError(f"{path}: expected a mapping of fields such as 'name:' and 'source:', got {_kind(data)}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # a misspelt field is both unknown and missing: the misspelling is the better news
        problems = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] not in _UNKNOWN)
        first, told = problems[0], 1
        fields = _in_file(first["loc"], lines)
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] in _UNKNOWN:
            known = _known_fields(model, fields)
            near = get_close_matches(str(fields[-1]), known, 1)
            reason = f"unknown field; {f'did you mean {near[0]}? ' if near else ''}known here are {', '.join(known)}"
        elif first["type"] in _MISSING:
            missing = [".".join(map(str, _in_file(p["loc"], lines))) for p in problems if p["type"] in _MISSING]
            reason = "this field is required"
            if len(missing) > 1:
                reason += f"; missing are {', '.join(missing)}"
            told = len(missing)
        more = f" (and {len(problems) - told} more)" if len(problems) > told else ""
        what = ".".join(map(str, fields)) or "manifest"
        raise ManifestError(
            f"{path}, line {lines(*fields)}: {what}: {_one_line(reason)}{more}; fields and examples: "
            "data_manifests/README.md"
        ) from None


def _in_file(location: tuple[Any, ...], lines: Lines) -> list[Any]:
    """The way to a field as the file has it, without what only the schema knows."""
    parts = [part for part in location if part not in ("[key]",)]
    if parts[:1] == ["source"]:
        del parts[1:2]  # which kind of source it is taken for: not in the file
    return [part for n, part in enumerate(parts, 1) if n == len(parts) or lines.has(*parts[:n])]


def _known_fields(model: type[BaseModel], fields: list[Any]) -> list[str]:
    places: dict[str, type[BaseModel]] = {
        "source": FilesSource,
        "files": FileEntry,
        "patterns": FilePattern,
        "read": ReadFields,
        "fmri": FmriFields,
        "archives": Archive,
    }
    parents = [part for part in fields[:-1] if isinstance(part, str)]
    if parents[:1] == ["processing"]:
        return [field.name for field in dataclasses.fields(Processing)]
    if parents[-1:] == ["simulated"]:
        return list(dict.fromkeys([*Simulation.model_fields, *FmriSimulation.model_fields]))
    return list(places.get(parents[-1], model).model_fields if parents else model.model_fields)


def _kind(data: Any) -> str:
    return (
        "nothing"
        if data is None
        else {"list": "a list", "str": "a line of text"}.get(type(data).__name__, "something else")
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
