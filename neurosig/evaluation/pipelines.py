"""Pipelines from YAML files in MOABB's format: read safely, described before anything is imported, built fresh.

A file names one pipeline::

    name: TS+LR
    group: riemann                  # ours, MOABB ignores it
    description: Tangent space and logistic regression.
    paradigms: [LeftRightImagery]
    citations: [https://doi.org/10.1016/j.neucom.2012.12.039]
    pipeline:
      - name: Covariances
        from: pyriemann.estimation
        parameters: {estimator: oas}
      - ...
    param_grid:                     # optional: a search over these is nested in every training part
      covariances__estimator: [oas, lwf]

A folder means its ``*.yml``, as in MOABB; sub-folders are not read. The exhaustive searches that come with neurosig
stand in such a sub-folder, ``grid``: they take hours a subject and run only when asked for by group, by name or by
path.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import importlib.metadata
import importlib.util
import keyword
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import UsageError
from neurosig.core.files import resource_dir
from neurosig.evaluation.identity import module_digest
from neurosig.evaluation.pipeline_spec import PipelineSpec, broken, kind_of, nearest

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = ["FMRI", "PARADIGMS", "PipelineSpec", "fitting", "load_pipelines", "read_pipeline_specs"]

# MOABB's paradigm classes, listed here because reading a file must not import MOABB (a test compares the two).
PARADIGMS = (
    "CVEP", "FilterBankCVEP", "FilterBankFixedIntervalWindowsProcessing", "FilterBankLeftRightImagery",
    "FilterBankMotorImagery", "FilterBankSSVEP", "FixedIntervalWindowsProcessing", "Imagery", "LeftRightImagery",
    "MotorImagery", "P300", "RestingStateToP300Adapter", "SSVEP", "SpeechImagery",
)  # fmt: skip
FMRI = "fMRI"  # ours, beside MOABB's: runs of region series, of one length or of several
_KINDS = {
    "imagery": ("LeftRightImagery", "MotorImagery"),
    "p300": ("P300",),
    "ssvep": ("SSVEP", "FilterBankSSVEP"),
    "cvep": ("CVEP",),
    "fmri": (FMRI,),
}
_KEYS = ("name", "paradigms", "pipeline", "param_grid", "citations", "group", "description")
_STEP_KEYS = ("name", "from", "parameters")
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "PyYAML", "skimage": "scikit-image"}
_MAX_BYTES = 1_000_000
_MAX_NODES = 20_000


def read_pipeline_specs(
    folder_or_files: str | os.PathLike | Iterable[str | os.PathLike] | None = None,
    *,
    groups: str | Sequence[str] | None = None,
    names: str | Sequence[str] | None = None,
    paradigm: str | None = None,
) -> list[PipelineSpec]:
    """Read pipeline files without importing anything they name, nor scikit-learn or MOABB.

    Parameters
    ----------
    folder_or_files : path or list of paths, optional
        A folder (its ``*.yml``; Python files, which MOABB would run, are not), one file, or several of either; None is
        the folder that comes with neurosig.
    groups, names : str or list of str, optional
        Keep only these groups or pipelines. Asking by group or name also looks into the sub-folders.
    paradigm : str, optional
        Keep only what is made for this MOABB paradigm class, or for a kind: "imagery", "p300", "ssvep", "cvep".

    Returns
    -------
    list of PipelineSpec
        In the order of the file names.

    Raises
    ------
    ManifestError
        A broken file, named with line and reason; two pipelines of one name for one paradigm.
    UsageError
        No such path, group, name or paradigm; nothing left.
    """
    wanted_groups, wanted_names = _as_tuple(groups), _as_tuple(names)
    wanted_paradigms = _wanted_paradigms(paradigm)
    files = _files(folder_or_files, deep=bool(wanted_groups or wanted_names))
    specs = [_read(file) for file in files]
    _check_duplicates(specs)
    specs = _joined(specs)
    _check_asked("group", wanted_groups, {spec.group for spec in specs if spec.group})
    _check_asked("pipeline", wanted_names, {spec.name for spec in specs})
    kept = [
        spec
        for spec in specs
        if (not wanted_groups or spec.group in wanted_groups) and (not wanted_names or spec.name in wanted_names)
    ]
    if not kept:
        raise UsageError(f"none of {', '.join(wanted_names)} is of group {' or '.join(wanted_groups)}; leave one out")
    return fitting(kept, paradigm) if wanted_paradigms else kept


def fitting(specs: Sequence[PipelineSpec], paradigm: str | None) -> list[PipelineSpec]:
    """Those of `specs` that are made for a MOABB paradigm class or a kind of paradigm; None fits all.

    Raises
    ------
    UsageError
        None is; the message says what they are made for, and which of the shipped pipelines would do.
    """
    wanted = set(_wanted_paradigms(paradigm))
    if kept := [spec for spec in specs if not wanted or wanted & set(spec.paradigms)]:
        return kept
    if len(specs) <= 3:
        made = " and ".join(f"{spec.name} is made for {', '.join(spec.paradigms)}" for spec in specs)
    else:
        offered = sorted({name for spec in specs for name in spec.paradigms})
        made = f"the {len(specs)} pipelines asked for are made for {', '.join(offered)}"
    shipped = [spec.name for spec in read_pipeline_specs() if wanted & set(spec.paradigms) and spec.group != "baseline"]
    hint = f"; try {', '.join(shipped[:4])}{', ...' if len(shipped) > 4 else ''}" if shipped else ""
    raise UsageError(f"{made}, not for {paradigm}{hint}")


def load_pipelines(
    folder_or_files: str | os.PathLike | Iterable[str | os.PathLike] | None = None,
    *,
    groups: str | Sequence[str] | None = None,
    names: str | Sequence[str] | None = None,
    paradigm: str | None = None,
) -> dict[str, Pipeline]:
    """Fresh scikit-learn pipelines by name, from files in MOABB's format.

    Parameters
    ----------
    folder_or_files : path or list of paths, optional
        What to read; None is the folder that comes with neurosig.
    groups, names : str or list of str, optional
        Keep only these groups or pipelines, see `read_pipeline_specs`.
    paradigm : str, optional
        Keep only what is made for this paradigm.

    Returns
    -------
    dict of str to sklearn.pipeline.Pipeline
        Unfitted, new objects at each call. A file's ``param_grid`` is not applied here: see `PipelineSpec.param_grid`.

    Raises
    ------
    ManifestError, UsageError
        As `read_pipeline_specs` and `PipelineSpec.build`; also if two pipelines have one name.

    Examples
    --------
    >>> from neurosig import load_pipelines
    >>> sorted(load_pipelines(groups="baseline"))
    ['CSP+LDA', 'Chance', 'LogVar+LDA']
    """
    pipelines: dict[str, Pipeline] = {}
    for spec in read_pipeline_specs(folder_or_files, groups=groups, names=names, paradigm=paradigm):
        if spec.name in pipelines:
            raise broken(spec.file, None, f"a second pipeline is called {spec.name!r}; rename it or pass paradigm=...")
        pipelines[spec.name] = spec.build()
    return pipelines


def _files(source: Any, *, deep: bool) -> list[Path]:
    if source is None:
        source = resource_dir("pipelines")
    if not isinstance(source, str | os.PathLike):
        return [file for entry in source for file in _files(entry, deep=deep)]
    path = Path(source)
    if path.is_dir():
        if found := sorted(path.rglob("*.yml") if deep else path.glob("*.yml")):
            return found
        hint = "; rename .yaml to .yml, as MOABB wants it" if any(path.glob("*.yaml")) else ""
        raise UsageError(f"expected a folder of pipeline files, {path} holds no .yml file{hint}")
    if path.suffix == ".py":
        raise UsageError(f"{path}: Python files are not run; import the pipeline and pass the object to benchmark()")
    if not path.is_file():
        raise UsageError(
            f"no such pipeline file or folder: {path}; leave it out for the pipelines that travel with neurosig, "
            "or give their names"
        )
    return [path]


def _read(file: Path) -> PipelineSpec:
    from neurosig.core.yaml import load_yaml

    content, line = load_yaml(file, max_bytes=_MAX_BYTES, max_nodes=_MAX_NODES)
    if not isinstance(content, dict):
        raise broken(file, 1, f"expected a mapping with name, paradigms and pipeline, got {kind_of(content)}")
    for key in content:
        if key not in _KEYS:
            raise broken(file, line(key), f"unknown key {key!r}{nearest(str(key), _KEYS)}")
    for key in ("name", "paradigms", "pipeline"):
        if key not in content:
            raise broken(file, 1, f"the key {key!r} is missing; a pipeline file has name, paradigms and pipeline")
    for key in ("name", "group", "description"):
        if key in content and not (isinstance(content[key], str) and content[key].strip()):
            raise broken(file, line(key), f"{key} must be a text, got {kind_of(content[key])}")
    for key in ("name", "group"):
        if (text := content.get(key, "")) != text.strip() or not text.isprintable():
            raise broken(file, line(key), f"{key} must be one line of plain text, got {text[:40]!r}")
    paradigms = _texts(file, line, content, "paradigms")
    for index, name in enumerate(paradigms):
        if name not in (*PARADIGMS, FMRI):
            near = nearest(name, (*PARADIGMS, FMRI))
            raise broken(file, line("paradigms", index), f"unknown MOABB paradigm {name!r}{near}")
    if not (isinstance(content["pipeline"], list) and content["pipeline"]):
        raise broken(file, line("pipeline"), f"pipeline must be a list of steps, got {kind_of(content['pipeline'])}")
    steps = tuple(_step(file, line, ("pipeline", i), step) for i, step in enumerate(content["pipeline"]))
    _check_grid(file, line, content.get("param_grid"), steps)
    return PipelineSpec(
        name=content["name"],
        paradigms=tuple(paradigms),
        pipeline=steps,
        param_grid=content.get("param_grid"),
        group=content.get("group", ""),
        citations=tuple(_texts(file, line, content, "citations")) if "citations" in content else (),
        description=" ".join(content.get("description", "").split()),
        file=file,
        versions=_versions(steps),
    )


def _step(file: Path, line: Any, path: tuple, step: Any) -> dict[str, Any]:
    at = line(*path)
    if not isinstance(step, dict):
        raise broken(file, at, f"a step must be a mapping with name, from and parameters, got {kind_of(step)}")
    for key in step:
        if key not in _STEP_KEYS:
            raise broken(file, line(*path, key), f"unknown key {key!r} in a step{nearest(str(key), _STEP_KEYS)}")
    for key in ("name", "from"):
        if not isinstance(step.get(key), str):
            raise broken(file, at, f"a step needs {key!r}: the class is 'name', its module is 'from'")
    name, module = step["name"], step["from"]
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise broken(file, line(*path, "name"), f"name must be a public class name, got {name!r}")
    _check_module(file, line(*path, "from"), module)
    parameters = {} if step.get("parameters") is None else step["parameters"]
    if not isinstance(parameters, dict):
        raise broken(file, line(*path, "parameters"), f"parameters must be a mapping, got {kind_of(parameters)}")
    for key, value in parameters.items():
        where = (*path, "parameters", key)
        if key == "optimizer":
            raise broken(file, line(*where), "MOABB reads 'optimizer' as Keras objects, which are not supported here")
        _check_plain(file, line(*where), key, value)
    if parameters.get("callbacks"):
        callbacks = parameters["callbacks"]
        if not isinstance(callbacks, list):
            raise broken(file, line(*path, "parameters", "callbacks"), "callbacks must be a list of steps")
        inner = (*path, "parameters", "callbacks")
        parameters = {**parameters, "callbacks": [_step(file, line, (*inner, i), cb) for i, cb in enumerate(callbacks)]}
    return {"name": name, "from": module, "parameters": parameters}


def _check_module(file: Path, line: int | None, module: str) -> None:
    parts = module.split(".")
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        raise broken(file, line, f"from must be a module like sklearn.svm, got {module!r}")
    if parts[0] in sys.stdlib_module_names or parts[0] == "__main__":
        raise broken(file, line, f"module {module!r} belongs to Python itself, holds no estimators and is not imported")
    try:
        found = importlib.util.find_spec(parts[0])
    except (ImportError, ValueError):
        found = None
    if found is None:
        near = nearest(parts[0], importlib.metadata.packages_distributions())
        raise broken(file, line, f"package {parts[0]!r} is not installed{near or '; install it or correct the name'}")


def _check_plain(file: Path, line: int | None, key: str, value: Any) -> None:
    """MOABB's digests and ours are defined for plain values only."""
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise broken(file, line, f"parameter {key!r}: keys must be text, got {name!r}")
            _check_plain(file, line, key, item)
    elif isinstance(value, list):
        for item in value:
            _check_plain(file, line, key, item)
    elif not (value is None or isinstance(value, str | int | float | bool)):
        raise broken(file, line, f"parameter {key!r} takes numbers, texts, lists and mappings, got {kind_of(value)}")


def _check_grid(file: Path, line: Any, grid: Any, steps: Sequence[Mapping[str, Any]]) -> None:
    if grid is None:
        return
    step_names = {step["name"].lower() for step in steps}
    for one in grid if isinstance(grid, list) else [grid]:
        if not (isinstance(one, dict) and one):
            raise broken(file, line("param_grid"), f"param_grid must map step__parameter to values, got {kind_of(one)}")
        for key, values in one.items():
            at = line("param_grid", key)
            step = str(key).split("__")[0].split("-")[0]
            if "__" not in str(key) or step not in step_names:
                near = nearest(step, step_names)
                raise broken(file, at, f"param_grid: {key!r} names no step (classname__parameter, small letters){near}")
            if not (isinstance(values, list) and values):
                raise broken(file, at, f"param_grid: {key!r} needs a list of values, got {kind_of(values)}")
            _check_plain(file, at, str(key), values)


def _texts(file: Path, line: Any, content: Mapping[str, Any], key: str) -> list[str]:
    value = content[key]
    value = [value] if isinstance(value, str) and key == "citations" else value
    if not (isinstance(value, list) and value and all(isinstance(item, str) for item in value)):
        raise broken(file, line(key), f"{key} must be a list of texts, got {kind_of(value)}")
    return value


def _check_duplicates(specs: Sequence[PipelineSpec]) -> None:
    seen: dict[tuple[str, str], Path | None] = {}
    for spec in specs:
        for paradigm in spec.paradigms:
            other = seen.setdefault((spec.name, paradigm), spec.file)
            if other is not spec.file:
                raise broken(spec.file, None, f"{other} also names a pipeline {spec.name!r} for {paradigm}; rename one")


def _joined(specs: Sequence[PipelineSpec]) -> list[PipelineSpec]:
    """One entry for files that name the same pipeline for other paradigms: MOABB's folder cannot hold ours."""
    joined: dict[tuple[str, str], PipelineSpec] = {}
    for spec in specs:
        key = (spec.name, spec.digest)
        first = joined.get(key)
        more = () if first is None else first.paradigms
        joined[key] = spec if first is None else dataclasses.replace(first, paradigms=(*more, *spec.paradigms))
    return list(joined.values())


def _check_asked(what: str, asked: Sequence[str], offered: Iterable[str]) -> None:
    offered = sorted(offered)
    for name in asked:
        if name not in offered:
            raise UsageError(f"no {what} {name!r}{nearest(name, offered)}; there are {', '.join(offered) or 'none'}")


def _wanted_paradigms(paradigm: str | None) -> tuple[str, ...]:
    if paradigm is None:
        return ()
    if paradigm in _KINDS:
        return _KINDS[paradigm]
    if paradigm not in (*PARADIGMS, FMRI):
        raise UsageError(f"unknown paradigm {paradigm!r}{nearest(paradigm, [*PARADIGMS, FMRI, *_KINDS])}")
    return (paradigm,)


def _as_tuple(value: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _versions(steps: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """scikit-learn always counts: its Pipeline and search run every file."""
    modules = {"sklearn"}
    for step in steps:
        modules.add(step["from"])
        modules.update(entry["from"] for entry in step["parameters"].get("callbacks") or ())
    versions = {}
    for module in sorted(modules):
        top = module.split(".")[0]
        distribution, version = _distribution(top)
        if version is not None:
            versions[distribution] = version
        # of the whole package: what the module imports counts as well
        source = module_digest(top, installed=version is None)
        if source is not None:
            versions[top if version is None else f"{top} source"] = f"source {source}"
        elif version is None:
            versions[top] = "unknown"
    return versions


@functools.cache
def _distribution(package: str) -> tuple[str, str | None]:
    guess = _DISTRIBUTIONS.get(package, package)
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return guess, importlib.metadata.version(guess)
    # only for packages whose distribution has another name: reading the whole table takes a noticeable moment
    if owners := importlib.metadata.packages_distributions().get(package):
        return owners[0], importlib.metadata.version(owners[0])
    return package, None
