"""What a pipeline file says, and the pipeline that is built from it."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import ManifestError, UsageError
from neurosig.core.files import digest
from neurosig.core.near_names import did_you_mean

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = ["PipelineSpec", "broken", "kind_of", "nearest"]

_ANY = inspect.Parameter.VAR_KEYWORD
# the functions that get pyriemann's **kwds, by the name of the estimator
_COVARIANCES = {
    "corr": "numpy.corrcoef",
    "cov": "numpy.cov",
    "lwf": "sklearn.covariance.ledoit_wolf",
    "mcd": "sklearn.covariance.fast_mcd",
    "oas": "sklearn.covariance.oas",
    "hub": "covariance_mest",
    "stu": "covariance_mest",
    "tyl": "covariance_mest",
    "sch": "covariance_sch",
    "scm": "covariance_scm",
}
_GIVEN = {name: {"m_estimator"} for name in ("hub", "stu", "tyl")}  # set by pyriemann itself


@dataclass(frozen=True)
class PipelineSpec:
    """What a pipeline file says; nothing it names has been imported.

    Parameters
    ----------
    name : str
        The pipeline's name in tables.
    paradigms : tuple of str
        MOABB paradigm classes it is made for.
    pipeline : tuple of dict
        The steps, each with ``name`` (class), ``from`` (module) and ``parameters``.
    param_grid : dict or list of dict, or None
        What a search nested in each training part tries.
    group : str
        Named group, "" if the file names none.
    citations : tuple of str
        Links or texts to cite.
    description : str
        One line.
    file : pathlib.Path or None
        Where it was read.
    versions : dict of str to str
        Versions of the packages that it names; for a package whose source is not installed, such as a checkout, a
        digest of all of it, and of what it imports that is not installed either.
    """

    name: str
    paradigms: tuple[str, ...]
    pipeline: tuple[Mapping[str, Any], ...]
    param_grid: Any = None
    group: str = ""
    citations: tuple[str, ...] = ()
    description: str = ""
    file: Path | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Digest of what is computed: steps, parameters, search and package versions; not of name or description."""
        return digest([dict(step) for step in self.pipeline], self.param_grid, dict(self.versions))

    @property
    def n_candidates(self) -> int:
        """Number of parameter settings a search would try; 1 without a search."""
        grids = self.param_grid if isinstance(self.param_grid, list) else [self.param_grid or {}]
        return sum(prod(len(values) for values in grid.values()) for grid in grids)

    @property
    def steps_text(self) -> str:
        """The steps in one line, ``Covariances(estimator='oas') > LogisticRegression()``."""
        calls = []
        for step in self.pipeline:
            arguments = ", ".join(f"{key}={value!r}" for key, value in step["parameters"].items())
            calls.append(f"{step['name']}({arguments})")
        return " > ".join(calls)

    def build(self) -> Pipeline:
        """Import the classes and make a fresh, unfitted pipeline.

        Returns
        -------
        sklearn.pipeline.Pipeline
            With the parameters that MOABB gives it. The search of `param_grid` is left to the evaluation, as in MOABB;
            its parameter names are checked here.

        Raises
        ------
        ManifestError
            If a module, class or parameter does not exist (nearest names are given), or a class is no scikit-learn
            estimator: such a class is never instantiated.
        """
        from sklearn.pipeline import make_pipeline

        estimators = [self._build_step(step) for step in self.pipeline]
        pipeline = make_pipeline(*estimators)
        known = pipeline.get_params()
        grids = self.param_grid if isinstance(self.param_grid, list) else [self.param_grid or {}]
        for name in (name for grid in grids for name in grid):
            if name not in known:
                raise self._error(f"param_grid: no parameter {name!r} in this pipeline{nearest(name, known)}", name)
        return pipeline

    def _build_step(self, step: Mapping[str, Any]) -> Any:
        from sklearn.base import BaseEstimator

        estimator = self._find_class(step, BaseEstimator, "a scikit-learn estimator")
        parameters = dict(step["parameters"])
        if callbacks := parameters.get("callbacks"):
            parameters["callbacks"] = [self._build_callback(entry) for entry in callbacks]
        return self._create(estimator, step["name"], parameters)

    def _build_callback(self, step: Mapping[str, Any]) -> Any:
        from skorch.callbacks import Callback

        callback = self._find_class(step, Callback, "a skorch callback")
        return self._create(callback, step["name"], dict(step["parameters"]))

    def _find_class(self, step: Mapping[str, Any], base: type, what: str) -> type:
        name, source = step["name"], step["from"]
        try:
            module = importlib.import_module(source)
        except Exception as error:  # whatever an import may raise
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise self._error(f"step {name}: module {source!r} cannot be imported ({reason})", source) from error
        found = getattr(module, name, None)
        if found is None:
            offered = [key for key in dir(module) if inspect.isclass(value := getattr(module, key, None))
                       and issubclass(value, base)]  # fmt: skip
            raise self._error(f"module {source!r} has no class {name!r}{nearest(name, offered)}", name)
        if not (inspect.isclass(found) and issubclass(found, base)):
            raise self._error(f"{source}.{name} is not {what}; a step names a class derived from {base.__name__}", name)
        return found

    def _create(self, cls: type, name: str, parameters: dict[str, Any]) -> Any:
        arguments = inspect.signature(cls).parameters
        extra = [key for key in parameters if key not in arguments or arguments[key].kind is _ANY]
        if not any(argument.kind is _ANY for argument in arguments.values()):
            for unknown in extra:
                raise self._error(f"step {name} has no parameter {unknown!r}{nearest(unknown, arguments)}", unknown)
        try:
            made = cls(**parameters)
        except Exception as error:
            raise self._error(f"step {name} cannot be made: {error}".splitlines()[0], name) from error
        if extra:
            self._check_extra(cls, made, name, extra)
        if hasattr(made, "check_options"):  # what an estimator of ours can say before it has seen any signals
            try:
                made.check_options()
            except UsageError as error:
                words = re.findall(r"'([^']+)'", str(error))
                word = next((word for word in words if self._line_of(word) is not None), name)
                raise self._error(f"step {name}: {error}", word) from error
        return made

    def _check_extra(self, cls: type, made: Any, name: str, extra: list[str]) -> None:
        """A class with ``**kwargs`` swallows misspelt names: take only those that mean something to it."""
        known = {
            key
            for base in cls.__mro__
            if "__init__" in vars(base) and base is not object
            for key, argument in inspect.signature(vars(base)["__init__"]).parameters.items()
            if argument.kind not in (_ANY, inspect.Parameter.VAR_POSITIONAL) and key != "self"
        }
        if hasattr(made, "get_params"):
            known |= set(made.get_params(deep=False))  # some, such as skorch's, report what came in by **kwargs
        options, of = _options(cls, made)
        for unknown in extra:
            if unknown not in known | options:
                takes = f"; {of} takes {', '.join(sorted(options)) or 'no options'}" if of else ""
                near = nearest(unknown, known | options)
                raise self._error(f"step {name} has no parameter {unknown!r}{near or takes}", unknown)

    def _error(self, message: str, word: str) -> ManifestError:
        return broken(self.file, self._line_of(word), message)

    def _line_of(self, word: str) -> int | None:
        """Number of the first line of the file that holds a word."""
        if self.file is None or not self.file.is_file():
            return None
        lines = self.file.read_text(encoding="utf-8", errors="replace").splitlines()
        pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
        return next((i for i, text in enumerate(lines, 1) if pattern.search(text.split("#")[0])), None)


def _options(cls: type, made: Any) -> tuple[set[str], str]:
    """Names that pyriemann's ``**kwds`` pass on to the chosen covariance estimator or kernel, and what that is called.

    Which function stands behind a name is in no signature, hence the table.
    """
    if cls.__module__ != "pyriemann.estimation":
        return set(), ""
    if cls.__name__ == "Kernels":
        from sklearn.metrics.pairwise import KERNEL_PARAMS

        return set(KERNEL_PARAMS.get(made.metric, ())), f"metric {made.metric!r}"
    chosen = getattr(made, "estimator", None)
    if callable(chosen):
        function = chosen
    elif chosen in _COVARIANCES:
        function = _covariance_function(_COVARIANCES[chosen])
    else:
        return set(), ""
    what = f"estimator {chosen!r}" if isinstance(chosen, str) else "its estimator"
    return set(list(inspect.signature(function).parameters)[1:]) - _GIVEN.get(str(chosen), set()), what


def _covariance_function(name: str) -> Any:
    from pyriemann.estimation import covariances

    module, _, function = name.rpartition(".")  # pyriemann's own functions have moved between its versions
    return getattr(importlib.import_module(module or covariances.__module__), function)


def nearest(word: str, offered: Iterable[str]) -> str:
    """``; did you mean ...?`` with what resembles `word`, or nothing."""
    return did_you_mean(word, map(str, offered))


def kind_of(value: Any) -> str:
    """What `value` is, for a message: "a list", "the text 'x'"."""
    if value is None:
        return "nothing"
    return {"dict": "a mapping", "list": "a list", "str": f"the text {str(value)[:40]!r}"}.get(
        type(value).__name__, f"the {type(value).__name__} {str(value)[:40]}"
    )


def broken(file: Path | None, line: int | None, message: str) -> ManifestError:
    """An error that begins with the file and the line."""
    from neurosig.core.yaml import place

    return ManifestError(f"{place(file, line)}{message}")
