"""The list of everything that can be fitted, from which the catalogue and the common tests are made."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from neurosig.core.errors import UsageError

__all__ = ["KINDS", "CatalogueRow", "all_estimators", "catalogue", "kind_of", "register"]

KINDS = ("preprocessor", "tokenizer", "model")

# Modules that define estimators, as text: core imports nothing of what builds on it until it is asked to list it
_MODULES = (
    "neurosig.models.brainmae_classifier",
    "neurosig.models.brainmae_embedder",
    "neurosig.models.net_classifier",
    "neurosig.models.net_regressor",
    "neurosig.models.neurorvq",
    "neurosig.models.neurorvq_embedder",
    "neurosig.models.phase_spdnet",
    "neurosig.models.tfm",
    "neurosig.preprocessing.alignment",
    "neurosig.preprocessing.augmented_covariance",
    "neurosig.preprocessing.augmented_search",
    "neurosig.preprocessing.connectivity",
    "neurosig.preprocessing.dynamic_connectivity",
    "neurosig.preprocessing.faster",
    "neurosig.preprocessing.harmonisation",
    "neurosig.preprocessing.mean_pattern",
    "neurosig.preprocessing.resampling",
    "neurosig.preprocessing.scaling",
    "neurosig.preprocessing.siegel",
    "neurosig.preprocessing.spatial_reduction",
    "neurosig.preprocessing.stacking",
    "neurosig.preprocessing.tangent",
    "neurosig.tokenizers.features",
    "neurosig.tokenizers.neurorvq",
    "neurosig.tokenizers.tfm",
)

_registered: dict[str, tuple[type, str]] = {}

C = TypeVar("C", bound=type)


@overload
def register(cls: C) -> C: ...
@overload
def register(*, kind: str) -> Callable[[C], C]: ...
def register(cls: Any = None, *, kind: str | None = None) -> Any:
    """Class decorator that adds an estimator to the registry.

    Parameters
    ----------
    cls : type
        The estimator class (when used without brackets).
    kind : {"preprocessor", "tokenizer", "model"}, optional
        What it is; by default a "tokenizer" where it tells its ``codebook_usage``, a "model" where it predicts, else a
        "preprocessor".

    Returns
    -------
    type
        The class itself.

    Raises
    ------
    UsageError
        If `kind` is unknown, or another class of that name is registered.
    """
    if kind is not None and kind not in KINDS:
        raise UsageError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")

    def add(cls: C) -> C:
        known = _registered.get(cls.__name__)
        if known is not None and (known[0].__module__, known[0].__qualname__) != (cls.__module__, cls.__qualname__):
            raise UsageError(f"an estimator named {cls.__name__} is registered already, by {known[0].__module__}")
        _registered[cls.__name__] = (cls, kind or _guess_kind(cls))
        return cls

    return add if cls is None else add(cls)


def all_estimators(kind: str | None = None) -> list[tuple[str, type]]:
    """All estimators of neurosig.

    Parameters
    ----------
    kind : {"preprocessor", "tokenizer", "model"}, optional
        Only these.

    Returns
    -------
    list of (str, type)
        Name and class, sorted by name. A class whose defaults are slow offers ``_get_test_params()``: parameters, or a
        list of them, that are quick to fit.

    Raises
    ------
    UsageError
        If `kind` is unknown.
    """
    if kind is not None and kind not in KINDS:
        raise UsageError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    for module in _MODULES:
        importlib.import_module(module)
    return sorted((name, cls) for name, (cls, its) in _registered.items() if kind in (None, its))


def kind_of(cls: type) -> str:
    """Kind of a registered estimator class."""
    try:
        return _registered[cls.__name__][1]
    except KeyError:
        raise UsageError(f"{cls.__name__} is not registered; decorate the class with registry.register") from None


@dataclass(frozen=True)
class CatalogueRow:
    """One estimator in the catalogue.

    Parameters
    ----------
    name, kind : str
        Class name, and one of `KINDS`.
    summary : str
        First line of its docstring.
    module : str
        Where it is imported from.
    pipelines : tuple of str
        Names of the shipped pipelines that use it.
    """

    name: str
    kind: str
    summary: str
    module: str
    pipelines: tuple[str, ...]


def catalogue() -> list[CatalogueRow]:
    """All estimators with what they are for; the README's table is made of it.

    Returns
    -------
    list of CatalogueRow
        Sorted by kind, in the order of the way of the data, then by name.
    """
    users = _pipeline_users()
    rows = [
        CatalogueRow(
            name=name,
            kind=kind_of(cls),
            summary=(cls.__doc__ or "").strip().split("\n")[0].rstrip("."),
            module=cls.__module__,
            pipelines=tuple(sorted(users.get(name, ()))),
        )
        for name, cls in all_estimators()
    ]
    return sorted(rows, key=lambda row: (KINDS.index(row.kind), row.name))


def _guess_kind(cls: type) -> str:
    if hasattr(cls, "codebook_usage"):
        return "tokenizer"
    return "model" if hasattr(cls, "predict") else "preprocessor"


def _pipeline_users() -> dict[str, set[str]]:
    """Names of the shipped pipelines that have a step of ours, by class name."""
    import yaml

    from neurosig.core.files import resource_dir

    users: dict[str, set[str]] = {}
    for file in sorted(resource_dir("pipelines").rglob("*.yml")):
        described = yaml.safe_load(file.read_text(encoding="utf-8"))
        for step in described.get("pipeline", ()):
            if str(step.get("from", "")).split(".")[0] == "neurosig":
                users.setdefault(step["name"], set()).add(described["name"])
    return users
