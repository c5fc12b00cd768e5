"""Pretrained parts of pipelines, and the proof that they have seen nobody who is tested.

A part is whatever stands under a parameter ``pretrained`` or ``tokenizer``, at any depth, and is trained already: the
folder (or the Hub's name) of weights, or a fitted estimator; and every `sklearn.frozen.FrozenEstimator`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.errors import LeakageError, NeurosigError
from neurosig.core.files import digest
from neurosig.core.trained_on import as_trained_on, joined, layers_of, read_trained_on
from neurosig.evaluation.identity import array_digest
from neurosig.loaders.same_people import same_people

if TYPE_CHECKING:
    import pandas as pd

    from neurosig.evaluation.study import Study

__all__ = [
    "Part", "check_parts", "check_recorded", "check_study", "file_contents", "note_trained_on", "people_of",
    "person_digest", "pretrained_parts",
]  # fmt: skip

_NAMES = ("pretrained", "tokenizer")
_TIMES = ("session", "run", "onset")
_SHOWN = 6
_HELD = ("tokenizer_", "estimator_", "best_estimator_", "estimator")  # the last is that of what is frozen


@dataclass(frozen=True)
class Part:
    """Something in a pipeline that is trained already.

    Parameters
    ----------
    parameter : str
        Where it stands.
    name : str
        The folder, or the class.
    trained_on : dict or None
        Whom it has seen, see `neurosig.core.trained_on.as_trained_on`; None where it is not known.
    content : str or None
        Digest of its weights; None where they cannot be had.
    """

    parameter: str
    name: str
    trained_on: Mapping[str, Any] | None
    content: str | None


def pretrained_parts(pipeline: Any, grid: Any = None) -> list[Part]:
    """What of a pipeline is trained before it is fitted.

    Parameters
    ----------
    pipeline : estimator
        Not fitted: parameters that are estimators count as its clone holds them.
    grid : dict or list of dict, optional
        What a search over it tries.

    Returns
    -------
    list of Part

    Raises
    ------
    StorageError
        If a folder says in a damaged file whom its weights have seen.
    """
    from sklearn.base import clone
    from sklearn.frozen import FrozenEstimator

    if isinstance(pipeline, FrozenEstimator):
        return [part] if (part := _part("as it is", pipeline)) is not None else []
    tried = list(_tried(grid or getattr(pipeline, "param_grid", None)))
    if not any(_may_be(name, value) for name, value in [*pipeline.get_params(deep=True).items(), *tried]):
        return []
    parts: dict[str, Part] = {}
    given = [*clone(pipeline).get_params(deep=True).items(), *tried]
    for name, value in given:
        inside = any(name.startswith(f"{part.parameter}__") for part in parts.values())
        if _may_be(name, value) and not inside and (part := _part(name, value)) is not None:
            parts[digest(part.parameter, part.name, part.content)] = part
    return list(parts.values())


def check_parts(
    pipeline: str, parts: Sequence[Part], people: Mapping[str, str | None], dataset: str | None, allow: bool, way: str,
    kin: Iterable[str] = (),
) -> list[str]:  # fmt: skip
    """Refuse parts that have seen people who are tested.

    Parameters
    ----------
    pipeline : str
        Its name.
    parts : sequence of Part
        What of it is pretrained.
    people : dict of str to (str or None)
        Those who are tested, and the digest of what was recorded of them where it is known.
    dataset : str or None
        The name of the dataset that their names are of.
    allow : bool
        Say it instead.
    way : str
        How it is allowed, for the message.
    kin : iterable of str
        Datasets of the same people (`neurosig.loaders.same_people`) that the dataset's own manifest names.

    Returns
    -------
    list of str
        What is to be kept in mind with the scores.

    Raises
    ------
    LeakageError
        Naming the people.
    """
    lines = []
    names = frozenset() if dataset is None or not parts else same_people(dataset, kin)
    for part in parts:
        seen, namesakes, unplaced = _seen(part.trained_on, people, names)
        where = f"{part.name} ({part.parameter})"
        if seen and not allow:
            raise LeakageError(
                f"pipeline {pipeline!r}: {where} was trained on subject{'s' * (len(seen) > 1)} {_some(seen)}, tested "
                f"here, whose scores would come out too high; test it on nobody that it has seen, or {way}"
            )
        if seen:
            lines.append(
                f"{pipeline}: {where} was trained on subject{'s' * (len(seen) > 1)} {_some(seen)}, tested here as was "
                "asked for: scores come out too high"
            )
        if namesakes:
            lines.append(
                f"{pipeline}: {where} was trained on people of another dataset who are called {_some(namesakes)} as "
                "well; if they are the same people, scores come out too high"
            )
        if unplaced:
            lines.append(
                f"{pipeline}: {where} was trained on people called {_some(unplaced)}, as some tested here are; whether "
                "they are the same is not known, as one of the datasets is not named; if they are, scores come out too "
                "high"
            )
        if any(layer is None for layer in layers_of(part.trained_on)):
            lines.append(
                f"{pipeline}: whom {where} was trained on is unknown; if on people who are tested here, scores come "
                "out too high"
            )
    return lines


def check_study(study: Study, dataset: str, allow: bool, kin: Iterable[str] = ()) -> None:
    """Find the pretrained parts of a study's pipelines; refuse, or tell of, those that have seen its subjects.

    Keys of folds take the parts' content along, and whether this was allowed.

    Raises
    ------
    LeakageError
        As `check_parts`.
    """
    study.pretrained = {}
    for name, pipeline in study.pipelines.items():
        if parts := pretrained_parts(pipeline, study.param_grid.get(name)):
            study.pretrained[name] = parts
    study.tested = {"dataset": dataset, "allow": allow, "kin": tuple(kin)}
    study.digests = {
        name: digest(found, [part.content for part in study.pretrained[name]], allow)
        if name in study.pretrained
        else found
        for name, found in study.digests.items()
    }
    _check(study, {str(subject): None for subject in study.runner.dataset.subject_list})


def check_recorded(study: Study, data: tuple[Any, np.ndarray, pd.DataFrame]) -> None:
    """The same by what was recorded, which knows people again whatever they are called.

    Raises
    ------
    LeakageError
        As `check_parts`.
    """
    told = [part.trained_on for parts in study.pretrained.values() for part in parts]
    if any(layer and layer["data"] for one in told for layer in layers_of(one)):
        _check(study, people_of(*data))


def people_of(X: Any, y: np.ndarray, metadata: pd.DataFrame) -> dict[str, str | None]:
    """The subjects of trials, and the digest of each one's."""
    ragged = not hasattr(X, "shape") and not hasattr(X, "get_data")
    X = X if ragged else np.asarray(X.get_data(copy=False) if hasattr(X, "get_data") else X)
    who = metadata["subject"].astype(str).to_numpy()
    found: dict[str, str | None] = {}
    for subject in dict.fromkeys(who.tolist()):
        rows = np.flatnonzero(who == subject)
        its = [X[row] for row in rows] if ragged else X if len(rows) == len(X) else X[rows]
        found[subject] = person_digest(its, np.asarray(y)[rows], metadata.iloc[rows])
    return found


def person_digest(X: Any, y: Any, metadata: pd.DataFrame) -> str:
    """Digest of what was recorded of a person: signals, labels and times, not the name.

    A sequence of runs of one length has the digest of the array that they make.
    """
    times = [[str(value) for value in metadata[name]] for name in _TIMES if name in metadata]
    if hasattr(X, "shape") or len({run.shape for run in X}) == 1:
        return digest(array_digest(np.asarray(X)), [str(label) for label in y], times)
    return digest([array_digest(run) for run in X], [str(label) for label in y], times)


def note_trained_on(fitted: Any, told: Mapping[str, Any]) -> None:
    """Let what can be stored with its weights know whom it has seen.

    Parameters
    ----------
    fitted : estimator
        A fitted pipeline, or a fitted estimator.
    told : dict
        ``subjects``, ``data`` and ``dataset``.
    """
    steps = [step for _, step in getattr(fitted, "steps", [("", fitted)])]
    for step in steps:
        before = [part.trained_on for part in pretrained_parts(step)] if hasattr(step, "get_params") else []
        inner = getattr(step, "tokenizer_", None)
        fresh = [step] if before else [step, inner]
        for one in fresh:
            if hasattr(one, "save_pretrained"):
                one.trained_on_ = as_trained_on({**told, "before": before})


def file_contents(spec: Any) -> list[str]:
    """Digests of the folders of weights that a pipeline file names; nothing that it names is imported."""
    given = [item for step in spec.pipeline for item in step["parameters"].items()] + list(_tried(spec.param_grid))
    return [
        found
        for name, value in given
        if name.rpartition("__")[2] in _NAMES and isinstance(value, str) and (found := _folder_content(Path(value)))
    ]


def _check(study: Study, people: Mapping[str, str | None]) -> None:
    way = "allow it (allow_seen=True, or --allow-seen), which marks the results"
    for name, parts in study.pretrained.items():
        tested = study.tested
        for line in check_parts(name, parts, people, tested["dataset"], tested["allow"], way, tested["kin"]):
            study.caution(line)


def _seen(
    trained_on: Mapping[str, Any] | None, people: Mapping[str, str | None], names: frozenset[str]
) -> tuple[list[str], list[str], list[str]]:
    """Those of these people whom a part has seen, and those who share a name alone.

    Of the latter first those who share it with somebody of another dataset, then those who share it with somebody of
    whom it is not known which dataset he is of.
    """
    found: dict[str, dict[str, None]] = {"seen": {}, "namesake": {}, "unplaced": {}}
    for subject, content in people.items():
        for layer in layers_of(trained_on):
            if layer is None:
                continue
            own = layer["dataset"]
            theirs = {own, *layer.get("same_people", ())} - {None}
            named = subject in layer["subjects"]
            if (
                (named and theirs & names)
                or content in layer["data"]
                or any(f"{name}_{subject}" in layer["subjects"] for name in names)
            ):
                found["seen"][subject] = None
            elif named:
                found["namesake" if theirs and names else "unplaced"][subject] = None
    seen, *rest = found.values()
    return list(seen), *([name for name in one if name not in seen] for one in rest)  # type: ignore[return-value]


def _may_be(name: str, value: Any) -> bool:
    from sklearn.frozen import FrozenEstimator

    return isinstance(value, FrozenEstimator) or (name.rpartition("__")[2] in _NAMES and value is not None)


def _tried(grid: Any) -> Iterator[tuple[str, Any]]:
    for one in grid if isinstance(grid, list | tuple) else [grid or {}]:
        for name, values in one.items() if isinstance(one, Mapping) else ():
            for value in values if isinstance(values, list | tuple) else ():
                yield str(name), value


def _part(parameter: str, value: Any) -> Part | None:
    """The part that a value stands for; None for what is learned in the fit, such as a tokenizer that is named."""
    from sklearn.frozen import FrozenEstimator

    if isinstance(value, str | os.PathLike):
        folder = _place(value)
        if folder is None:
            return None
        return Part(parameter, os.fspath(value), read_trained_on(folder), _folder_content(folder))
    held = value.estimator if isinstance(value, FrozenEstimator) else value
    if not hasattr(held, "fit") or not _is_fitted(held):
        return None
    return Part(parameter, f"a fitted {type(held).__name__}", _told_by(held), _object_content(held))


def _place(value: str | os.PathLike) -> Path | None:
    """The folder; None for what is no folder, here or on the Hub."""
    from neurosig.core.hub import local_folder

    try:
        folder = local_folder(value)
    except NeurosigError:  # said when it is fitted, in its own words
        return Path(value)
    return folder if folder.exists() or os.sep in os.fspath(value) else None


def _told_by(held: Any) -> dict[str, Any] | None:
    """Whom a fitted estimator has seen, and all that was fitted in it."""
    return joined(_layers_in(held) or [None])


def _layers_in(held: Any) -> list[Mapping[str, Any] | None]:
    """What an estimator says, and what those say that it is made of; None for a pipeline whose last step is silent."""
    found = [own] if (own := getattr(held, "trained_on_", None)) is not None else []
    steps = [step for _, step in getattr(held, "steps", ())]
    beside = [one[1] for one in getattr(held, "transformer_list", ())]
    for one in [*steps, *beside, *(vars(held).get(name) for name in _HELD)]:
        found += _layers_in(one) if hasattr(one, "fit") else []
    silent = steps and own is None and not _layers_in(steps[-1])
    return [*found, None] if silent and found else found


def _is_fitted(held: Any) -> bool:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(held)
    except (NotFittedError, TypeError):
        return False
    return True


def _folder_content(folder: Path) -> str | None:
    """Digest of the files of a folder, names and bytes."""
    import hashlib

    if not folder.is_dir():
        return None
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as stream:
                found.append([path.relative_to(folder).as_posix(), hashlib.file_digest(stream, "sha256").hexdigest()])
    return digest(found)


def _object_content(held: Any) -> str | None:
    import joblib

    try:
        return str(joblib.hash(held))
    except Exception:  # whatever pickling a foreign estimator raises
        return None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
