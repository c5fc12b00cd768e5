"""What a score depends on, as short digests: the pipeline with its parameters and code, the data, the versions.

Nothing here imports a heavy package: the digest of a whole run is known before mne or scikit-learn are loaded.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import importlib.metadata
import os
import sys
import types
from collections.abc import Mapping
from typing import Any

from neurosig.core.errors import UsageError
from neurosig.core.files import digest
from neurosig.core.source import source_digest as _source_digest

__all__ = ["array_digest", "code_digest", "content_digest", "module_digest", "software", "versions"]

_PACKAGES = (
    "neurosig", "moabb", "mne", "scikit-learn", "pyriemann", "braindecode", "skorch", "torch", "nilearn", "numpy",
    "scipy", "pandas", "joblib",
)  # fmt: skip


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python, neurosig and the packages that scores depend on; those not installed are left out."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    from neurosig._version import __version__

    found["neurosig"] = __version__
    return found


@functools.cache
def software() -> dict[str, str]:
    """`versions`, and a digest of neurosig's own source where it is used from a checkout: what keys of scores hold."""
    source = module_digest("neurosig")
    return versions() if source is None else {**versions(), "neurosig source": source}


def array_digest(array: Any) -> str:
    """Digest of an array's type, shape and bytes."""
    import numpy as np

    array = np.asarray(array)
    hasher = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    if array.dtype.hasobject:
        hasher.update("\0".join(map(str, array.ravel().tolist())).encode())
    elif array.size:
        hasher.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()[:16]


def module_digest(name: str, *, installed: bool = False) -> str | None:
    """Digest of the source that defines a module, or None where an installed version number stands for it.

    Code outside site-packages may change without its version changing, so all source files of its top-level package
    are read (or the one file of a plain module), and those of whatever else outside site-packages they import. Nothing
    is imported. `installed` digests the package also where it is installed, for one that has no version number.
    """
    return _source_digest(name.partition(".")[0], installed)


def code_digest(thing: type | types.FunctionType) -> list[str | None]:
    """Name and source of a class or function, for what an installed version number does not cover."""
    name = f"{thing.__module__}.{thing.__qualname__}"
    source = module_digest(thing.__module__)
    if source is None and _is_interactive(thing.__module__):  # typed into a session: only its byte code is there
        source = _bytecode_digest(thing)
    return [name, source]


def _is_interactive(module: str) -> bool:
    return module == "__main__" or module not in sys.modules


def _bytecode_digest(thing: type | types.FunctionType) -> str:
    parts: list[Any] = []

    def walk(code: types.CodeType) -> None:
        parts.append([code.co_code.hex(), list(code.co_names), code.co_argcount])
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                walk(constant)
            else:
                parts.append(repr(constant) if isinstance(constant, int | float | str | bytes | tuple) else "")

    bodies = vars(thing).values() if isinstance(thing, type) else [thing]
    for body in bodies:
        function = getattr(body, "__func__", getattr(body, "fget", body))
        if isinstance(function, types.FunctionType):
            walk(function.__code__)
    return digest(parts)


def content_digest(value: Any, name: str = "pipeline") -> str:
    """Digest of an estimator, or of anything made of estimators, arrays and plain values.

    Of an estimator count its class, its parameters to any depth, its metadata requests, and source that no version
    number stands for; of arrays the bytes; of functions name and source. `name` is for the message.

    Raises
    ------
    UsageError
        If a parameter has no content to compare, such as a lambda.
    """
    return digest(_describe(value, name, ()))


def _describe(value: Any, where: str, above: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return ["float", value.hex()]
    if isinstance(value, bytes | complex | slice | range):
        return [type(value).__name__, repr(value)]
    if isinstance(value, os.PathLike):
        return ["path", os.fspath(value)]
    if isinstance(value, enum.Enum):
        return [*code_digest(type(value)), value.name]
    if id(value) in above:
        return ["cycle", above.index(id(value))]
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return [
            "map",
            sorted(([str(key), _describe(item, where, above)] for key, item in value.items()), key=lambda kv: kv[0]),
        ]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [_describe(item, where, above) for item in value]]
    if isinstance(value, set | frozenset):
        return ["set", sorted(digest(_describe(item, where, above)) for item in value)]
    if isinstance(value, type):
        return ["class", [code_digest(base) for base in value.__mro__ if base is not object]]
    if callable(value) and hasattr(value, "__qualname__"):
        return _describe_function(value, where, above)
    return _describe_object(value, where, above)


def _describe_function(value: Any, where: str, above: tuple[int, ...]) -> Any:
    if "<lambda>" in value.__qualname__:
        raise UsageError(
            f"pipeline {where}: a lambda has no content that a stored result could be keyed by; "
            "define a named function in a module and pass that"
        )
    if isinstance(value, types.MethodType):
        return ["method", value.__qualname__, _describe(value.__self__, where, above)]
    if not isinstance(value, types.FunctionType):
        return ["builtin", f"{getattr(value, '__module__', '')}.{value.__qualname__}"]
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    return ["function", code_digest(value), _describe(cells, where, above), _describe(value.__defaults__, where, above)]


def _describe_object(value: Any, where: str, above: tuple[int, ...]) -> Any:
    kind = [code_digest(base) for base in type(value).__mro__ if base is not object]
    if hasattr(value, "__array__") and hasattr(value, "dtype"):
        tensor = value.detach().cpu() if hasattr(value, "detach") else value
        return ["array", array_digest(tensor)]
    if hasattr(value, "get_state") and hasattr(value, "random_sample"):
        return ["random_state", _describe(value.get_state(legacy=True), where, above)]
    if hasattr(value, "bit_generator"):
        return ["generator", _describe(value.bit_generator.state, where, above)]
    if callable(getattr(value, "get_params", None)):
        parameters = value.get_params(deep=False)
        requests = vars(value).get("_metadata_request")
        described = ["estimator", kind, _describe(parameters, where, above), _describe(requests, where, above)]
        if hasattr(value, "_content_beyond_parameters"):  # such as what a fitted part of it has learned
            described.append(value._content_beyond_parameters())
        return described
    if hasattr(value, "func") and hasattr(value, "keywords"):  # functools.partial
        return ["partial", [_describe(part, where, above) for part in (value.func, value.args, value.keywords)]]
    if hasattr(value, "__dict__"):
        return ["object", kind, _describe(vars(value), where, above)]
    raise UsageError(
        f"pipeline {where}: a parameter of type {type(value).__name__} has no content that a stored result could be "
        "keyed by; use scalars, strings, arrays or estimators"
    )
