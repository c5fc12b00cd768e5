"""Pipelines that end in a network: told apart, seeded, stored after pretraining, and started from what is stored."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, clone

from neurosig.core.errors import LeakageError, StorageError, UsageError
from neurosig.core.files import atomic_path

__all__ = [
    "check_fine_tune", "check_not_pretrained", "check_unseen", "fit", "is_network", "is_saved", "kind_of", "last_step",
    "load_pretrained", "save_pretrained", "seeded", "settings", "start_from", "takes_seed", "told", "with_epochs",
]  # fmt: skip

_NETWORK, _STEPS, _SEEN = "network", "steps", "trained_on.json"
_SETTINGS = (
    "module", "module_params", "max_epochs", "batch_size", "lr", "optimizer", "weight_decay", "schedule", "validation",
    "warmup", "final_lr", "betas", "stopping", "patience", "class_weight", "clip_norm", "precision", "ema", "scale",
    "window", "window_step", "vote", "augmentation",
)  # fmt: skip


def last_step(pipeline: Any) -> Any:
    """The estimator that decides: the pipeline's last step, or the estimator itself."""
    return pipeline.steps[-1][1] if _steps(pipeline) else pipeline


def is_network(pipeline: Any) -> bool:
    """Whether a pipeline's last step can start from pretrained weights (parameters ``pretrained, trainable``)."""
    last = last_step(pipeline)
    return hasattr(last, "get_params") and {"pretrained", "trainable"} <= set(last.get_params(deep=False))


def kind_of(pipeline: Any) -> str:
    """What decides: a "network", "chance" (a dummy of scikit-learn, which ignores the signals), or "classical".

    A network need not be one that a study can train on with the person's trials, as `is_network` asks.
    """
    if is_network(pipeline) or _learns_in_epochs(pipeline):
        return "network"
    dummy = any(cls.__module__ == "sklearn.dummy" for cls in type(last_step(pipeline)).__mro__)
    return "chance" if dummy else "classical"


def with_epochs(pipeline: Any, max_epochs: int | None) -> Any:
    """The pipeline, or a copy whose network trains for at most so many epochs."""
    if max_epochs is None or not _learns_in_epochs(pipeline):
        return pipeline
    copy = clone(pipeline)
    last_step(copy).set_params(max_epochs=max_epochs)
    return copy


def settings(pipeline: Any) -> dict[str, Any] | None:
    """How a network is trained, JSON-like, as far as its parameters say so; None for what is no network."""
    if kind_of(pipeline) != "network":
        return None
    given = last_step(pipeline).get_params(deep=False)
    plain = (str, int, float, bool, type(None))
    return {name: value if isinstance(value := given[name], plain) else " ".join(repr(value).split())
            for name in _SETTINGS if name in given}  # fmt: skip


def takes_seed(pipeline: Any) -> bool:
    """Whether anything in a pipeline has a ``random_state``; what has none gives the same for every seed."""
    return any(_is_seed(name) for name in pipeline.get_params())


def seeded(pipeline: Any, seed: int) -> Any:
    """An unfitted copy in which every ``random_state`` is `seed`."""
    copy = clone(pipeline)
    return copy.set_params(**{name: seed for name in copy.get_params() if _is_seed(name)})


def fit(pipeline: Any, X: Any, y: np.ndarray, groups: np.ndarray | None) -> Any:
    """Fit, telling the last step which windows belong to one trial, where it asks for ``groups``."""
    last = last_step(pipeline)
    if groups is None or "groups" not in inspect.signature(last.fit).parameters:
        return pipeline.fit(X, y)
    name = f"{pipeline.steps[-1][0]}__groups" if _steps(pipeline) else "groups"
    return pipeline.fit(X, y, **{name: groups})


def check_not_pretrained(name: str, pipeline: Any) -> None:
    """Refuse a network that brings weights of its own: nobody can prove whom they have seen.

    Raises
    ------
    LeakageError
        If any ``pretrained`` is set.
    """
    for parameter, value in pipeline.get_params().items():
        if parameter.rpartition("__")[2] == "pretrained" and value is not None:
            raise LeakageError(
                f"pipeline {name!r} brings pretrained weights ({parameter}), which may have seen the people that are "
                "tested here; leave them out: the study pretrains on the others itself"
            )


def save_pretrained(pipeline: Any, folder: Path, seen: Mapping[str, Any]) -> None:
    """Store a fitted pipeline that ends in a network, and whom it has seen, in one step.

    Parameters
    ----------
    pipeline : estimator
        Its network has ``save_pretrained(folder)``; the steps before it are stored by `save_pipeline`.
    folder : Path
        Where.
    seen : dict
        ``subjects`` (names) and ``data`` (their digests), and anything else worth knowing.
    """
    from sklearn.pipeline import Pipeline

    from neurosig.core.persistence import save_pipeline

    with atomic_path(folder) as place:
        place.mkdir()
        network = last_step(pipeline)
        # the folder of the network may be copied without what lies beside it
        takes = "trained_on" in inspect.signature(network.save_pretrained).parameters
        network.save_pretrained(place / _NETWORK, **({"trained_on": seen} if takes else {}))
        if before := _steps(pipeline)[:-1]:
            save_pipeline(Pipeline(before), place / _STEPS)
        (place / _SEEN).write_text(json.dumps(dict(seen), indent=1) + "\n", encoding="utf-8")


def is_saved(folder: Path) -> bool:
    """Whether `save_pretrained` wrote there."""
    return (folder / _SEEN).is_file()


def check_unseen(folder: Path, subjects: Sequence[str], data: Sequence[str]) -> None:
    """Prove that what is pretrained has seen none of these people, neither by name nor by what was recorded.

    Raises
    ------
    LeakageError
        Naming one that it has seen.
    StorageError
        If it is not known whom it has seen.
    """
    try:
        seen = json.loads((folder / _SEEN).read_text(encoding="utf-8"))
        names, digests = set(seen["subjects"]), set(seen["data"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{folder} does not say whom the weights have seen; remove it and run again") from error
    for subject, content in zip(subjects, data, strict=True):
        if subject in names or content in digests:
            raise LeakageError(f"the pretrained weights in {folder} have seen subject {subject}, who is tested here")


def load_pretrained(pipeline: Any, folder: Path) -> Any:
    """What `save_pretrained` stored, fitted and ready to predict."""
    from sklearn.pipeline import Pipeline

    network = type(last_step(pipeline)).from_pretrained(folder / _NETWORK)
    before = _load_steps(folder)
    return Pipeline([*before, (pipeline.steps[-1][0], network)]) if before else network


def start_from(pipeline: Any, folder: Path, trainable: str) -> Any:
    """An unfitted copy whose network starts from stored weights.

    Steps that keep the channels (cleaning, scaling) learn anew from the person's training trials. Others, such as
    spatial filters, stay as they were when the network was pretrained: its weights belong to what they give.

    Parameters
    ----------
    pipeline : estimator
        Unfitted, seeded.
    folder : Path
        What `save_pretrained` wrote.
    trainable : {"all", "head"}
        What is trained on.
    """
    from sklearn.frozen import FrozenEstimator

    copy = clone(pipeline)
    if before := _load_steps(folder):
        kept = [
            (name, new if isinstance(new, OneToOneFeatureMixin | str | None) else FrozenEstimator(old))
            for (name, new), (_, old) in zip(copy.steps[:-1], before, strict=True)
        ]
        copy.steps = [*kept, copy.steps[-1]]
    last_step(copy).set_params(pretrained=str(folder / _NETWORK), trainable=trainable)
    return copy


def told(network: BaseEstimator) -> dict[str, Any]:
    """How a network was trained, as far as it says so: epochs, the best one, weights."""
    if not hasattr(network, "history_"):  # a classifier of tokens, say, whose network is a part of it
        network = getattr(network, "net_", network)
    history = getattr(network, "history_", None)
    return {
        "n_epochs": None if history is None else len(history),
        "best_epoch": _whole(getattr(network, "best_epoch_", None)),
        "n_parameters": _whole(getattr(network, "n_parameters_", None)),
    }


def check_fine_tune(fine_tune: Sequence[str]) -> tuple[str, ...]:
    """The ways of fine-tuning as a tuple.

    Raises
    ------
    UsageError
        If there is no such way.
    """
    ways = (fine_tune,) if isinstance(fine_tune, str) else tuple(fine_tune)
    if unknown := [way for way in ways if way not in ("all", "head")]:
        raise UsageError(f'fine_tune takes "all" (every layer), "head" (the last one) or both, got {unknown[0]!r}')
    return tuple(dict.fromkeys(ways))


def _learns_in_epochs(pipeline: Any) -> bool:
    last = last_step(pipeline)
    return hasattr(last, "get_params") and {"max_epochs", "lr"} <= set(last.get_params(deep=False))


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _is_seed(parameter: str) -> bool:
    return parameter.rpartition("__")[2] == "random_state"


def _steps(pipeline: Any) -> list[tuple[str, Any]]:
    steps = getattr(pipeline, "steps", None)
    return list(steps) if isinstance(steps, list) else []


def _load_steps(folder: Path) -> list[tuple[str, Any]]:
    from neurosig.core.persistence import load_pipeline

    return list(load_pipeline(folder / _STEPS).steps) if (folder / _STEPS).is_dir() else []
