"""Keeping fitted pipelines and arrays on disk, in formats that cannot run code when they are read back.

A pipeline is a folder: ``pipeline.skops`` (the fitted objects), ``config.json`` (what it was trained on, versions,
checksum) and, where given, ``README.md`` (the model card). Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import platform
import re
import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from neurosig._version import __version__
from neurosig.core.errors import ChecksumError, InputError, StorageError, UsageError
from neurosig.core.files import atomic_path
from neurosig.core.log import logger
from neurosig.core.signals import SignalSpec

if TYPE_CHECKING:
    import os

    import numpy as np

__all__ = ["load_arrays", "load_pipeline", "save_arrays", "save_pipeline"]

FORMAT = "neurosig-pipeline"
FORMAT_VERSION = 1

# A type of a stored file is trusted if it is defined inside one of these packages and is an estimator ...
_PACKAGES = ("sklearn", "numpy", "scipy", "mne", "pyriemann", "moabb", "neurosig")
# ... or is one of these, read and found to do nothing but hold parameters, split, or score
_ALSO_TRUSTED = frozenset(
    {
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.metrics._scorer._Scorer",
        "sklearn.metrics._scorer._MultimetricScorer",
        "sklearn.metrics._classification.accuracy_score",
        "sklearn.metrics._classification.balanced_accuracy_score",
        "sklearn.metrics._classification.f1_score",
        "sklearn.metrics._classification.cohen_kappa_score",
        "sklearn.metrics._ranking.roc_auc_score",
        "sklearn.metrics._regression.r2_score",
        "sklearn.model_selection._split.GroupKFold",
        "sklearn.model_selection._split.KFold",
        "sklearn.model_selection._split.LeaveOneGroupOut",
        "sklearn.model_selection._split.LeaveOneOut",
        "sklearn.model_selection._split.ShuffleSplit",
        "sklearn.model_selection._split.StratifiedGroupKFold",
        "sklearn.model_selection._split.StratifiedKFold",
        "sklearn.model_selection._split.StratifiedShuffleSplit",
        "sklearn.utils._bunch.Bunch",
        "numpy.random.mtrand.RandomState",
        "numpy.random._generator.Generator",
        "neurosig.core.signals.SignalSpec",
    }
)
# Modules of trusted packages that do things when they are imported
_NOT_IMPORTED = frozenset({"tests", "conftest", "__main__", "setup"})
_TYPE_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")

_LIBRARIES = ("scikit-learn", "numpy", "scipy", "mne", "pyriemann", "moabb", "skops")


def save_pipeline(
    pipeline: Any,
    path: str | os.PathLike,
    *,
    spec: SignalSpec | None = None,
    card: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Store a fitted pipeline in a folder, in one step: nothing half-written is ever seen.

    Parameters
    ----------
    pipeline : estimator
        Any scikit-learn estimator or pipeline of estimators from scikit-learn, mne, pyriemann, moabb or neurosig.
    path : path-like
        The folder. One that `save_pipeline` wrote before is replaced; any other that is not empty is left alone.
    spec : SignalSpec, optional
        What signals the pipeline was trained on.
    card : str, optional
        The model card, Markdown.
    extra : dict, optional
        Anything else to keep in ``config.json`` under "extra", JSON-like.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UsageError
        If `pipeline` is no estimator.
    InputError
        If it holds objects that `load_pipeline` would refuse, so that they are named now and not when it is needed.
    StorageError
        If the folder is in use for something else, or cannot be written.
    """
    from skops import io as skops_io

    if not (hasattr(pipeline, "fit") and hasattr(pipeline, "get_params")):
        raise UsageError(f"expected a scikit-learn estimator or pipeline to save, got {type(pipeline).__name__}")
    target = Path(path)
    _check_replaceable(target)
    with atomic_path(target) as folder:
        folder.mkdir()
        try:
            data = skops_io.dumps(pipeline)
        except Exception as error:  # skops and an object's own __getstate__ raise whatever they like
            raise InputError(f"cannot save {type(pipeline).__name__}: {_one_line(error)}") from error
        _trusted_types(data, "cannot save the pipeline")
        (folder / "pipeline.skops").write_bytes(data)
        config = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "neurosig": __version__,
            "python": platform.python_version(),
            "libraries": _versions(),
            "sha256": hashlib.sha256(data).hexdigest(),
            "spec": None if spec is None else spec.to_dict(),
            "extra": dict(extra or {}),
        }
        try:
            text = json.dumps(config, indent=2, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"the spec and extra of a saved pipeline must be JSON-like: {error}") from error
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")
        if card is not None:
            (folder / "README.md").write_text(card, encoding="utf-8")
    return target


@overload
def load_pipeline(path: str | os.PathLike, *, with_spec: Literal[False] = False) -> Any: ...
@overload
def load_pipeline(
    path: str | os.PathLike, *, with_spec: Literal[True]
) -> tuple[Any, SignalSpec | None, dict[str, Any]]: ...
def load_pipeline(path: str | os.PathLike, *, with_spec: bool = False) -> Any:
    """Read back what `save_pipeline` stored, without running any code that the file brings along.

    Parameters
    ----------
    path : path-like
        The folder.
    with_spec : bool
        Whether to return what else is kept with the pipeline.

    Returns
    -------
    estimator, or (estimator, SignalSpec or None, dict)
        The fitted pipeline; with `with_spec` also the signals it was trained on, and the whole ``config.json``.

    Raises
    ------
    StorageError
        If the folder is not there, not a saved pipeline, or damaged.
    ChecksumError
        If ``pipeline.skops`` is not the file that ``config.json`` describes.
    InputError
        If the file holds types that are not trusted; they are named.

    Notes
    -----
    The checksum finds accidents; safety rests on the types. A type is trusted if skops trusts it by itself, or if its
    name lies inside scikit-learn, numpy, scipy, mne, pyriemann, moabb or neurosig *and* it is an estimator class
    defined under exactly that name, or one of a short list of splitters and scorers. Names are judged before anything
    is imported.
    """
    from skops import io as skops_io

    folder = Path(path)
    config = _read_config(folder)
    stored = folder / "pipeline.skops"
    try:
        data = stored.read_bytes()  # once: what is checked is what is loaded
    except OSError as error:
        raise StorageError(f"cannot read {stored}: {error.strerror}; save the pipeline again") from error
    if hashlib.sha256(data).hexdigest() != config.get("sha256"):
        raise ChecksumError(
            f"{stored} is not the file that config.json describes (SHA-256 differs): it is damaged or was exchanged; "
            "get the folder again from where it came"
        )
    trusted = _trusted_types(data, f"refusing to load {stored}")
    _warn_about_versions(folder, config.get("libraries") or {})
    try:
        pipeline = skops_io.loads(data, trusted=trusted)
    except Exception as error:  # a hostile file can make any constructor raise anything
        raise StorageError(
            f"cannot read {stored}: {_one_line(error)}; it may need the library versions in config.json"
        ) from error
    if not with_spec:
        return pipeline
    spec = None if config.get("spec") is None else SignalSpec.from_dict(config["spec"])
    return pipeline, spec, config


def save_arrays(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> Path:
    """Store named arrays in one safetensors file, in one step.

    Parameters
    ----------
    path : path-like
        The file.
    arrays : dict of str to array
        Numbers or booleans of any shape.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If an array is of a type that safetensors does not hold.
    StorageError
        If the file cannot be written.
    """
    import numpy as np
    from safetensors.numpy import save_file

    # safetensors writes the memory as it lies, whatever the strides or the byte order say
    plain = {}
    for name, values in arrays.items():
        values = np.asarray(values)
        if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
            raise InputError(f"expected numbers or booleans in array {name!r}, got {values.dtype}; convert it first")
        native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
        plain[str(name)] = native.reshape(values.shape)
    with atomic_path(path) as temporary:
        save_file(plain, temporary)
    return Path(path)


def load_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read what `save_arrays` stored.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    dict of str to array
        The arrays.

    Raises
    ------
    StorageError
        If the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise StorageError(f"cannot read arrays from {path}: {_one_line(error)}") from error


def _trusted_types(data: bytes, refusal: str) -> list[str]:
    """Names of the types in a skops file that skops itself does not trust; all must pass our rule."""
    from skops import io as skops_io

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # ours are stored uncompressed: what takes little room on disk cannot fill the memory
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
        if packed:
            raise InputError(f"{refusal}: its parts are compressed, which save_pipeline does not do")
        names = skops_io.get_untrusted_types(data=data)
    except InputError:
        raise
    except Exception as error:  # a truncated or hostile archive raises anything
        raise StorageError(f"{refusal}: the file is damaged ({_one_line(error)}); save the pipeline again") from error
    refused = [name for name in names if not _is_trusted(name)]
    if refused:
        raise InputError(
            f"{refusal}: it holds types that are not trusted: {', '.join(sorted(refused))}; "
            f"estimators of {', '.join(_PACKAGES)} are"
        )
    return names


def _is_trusted(name: str) -> bool:
    """Whether a stored type may be built. Judged by name first; only modules of trusted packages are imported."""
    if name in _ALSO_TRUSTED:
        return True
    parts = name.split(".")
    if not _TYPE_NAME.fullmatch(name) or parts[0] not in _PACKAGES or not _NOT_IMPORTED.isdisjoint(parts):
        return False
    try:
        found = getattr(importlib.import_module(".".join(parts[:-1])), parts[-1], None)
    except ImportError:
        return False
    from sklearn.base import BaseEstimator

    # the name must be where the class is defined: "mne.utils.os" reaches a foreign object by a trusted way
    if not isinstance(found, type) or f"{found.__module__}.{found.__qualname__}" != name:
        return False
    return issubclass(found, BaseEstimator)


def _check_replaceable(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise StorageError(f"cannot save a pipeline at {target}: a file is in the way; choose another name")
    if not any(target.iterdir()):
        return
    try:
        _read_config(target)
    except StorageError as error:
        raise StorageError(
            f"cannot save a pipeline at {target}: the folder holds other files; choose a new or empty folder"
        ) from error


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StorageError(
            f"{folder} is not a saved pipeline: it has no config.json; expected a folder that save_pipeline wrote"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError(f"cannot read {folder / 'config.json'}: {_one_line(error)}") from error
    if isinstance(config, dict) and config.get("format") != FORMAT and isinstance(config.get("estimator"), str):
        kind = config["estimator"]
        raise StorageError(
            f"{folder} is not a saved pipeline but a {kind} that save_pretrained wrote: read it in Python by "
            f"{kind}.from_pretrained, or train a pipeline that starts from it (pretrained: {folder})"
        )
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise StorageError(f"{folder} is not a saved pipeline: its config.json was written by something else")
    if config.get("format_version") != FORMAT_VERSION:
        raise StorageError(
            f"{folder} was saved in format {config.get('format_version')!r}, this neurosig {__version__} reads format "
            f"{FORMAT_VERSION}; install the neurosig that wrote it ({config.get('neurosig')})"
        )
    return config


def _versions() -> dict[str, str]:
    return {name: version for name in _LIBRARIES if (version := _version(name))}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _warn_about_versions(folder: Path, saved: Mapping[str, str]) -> None:
    changed = [
        f"{name} {then} (here {now})"
        for name, then in saved.items()
        if name != "skops" and (now := _version(name)) != then and _minor(now) != _minor(then)
    ]
    if changed:
        logger.warning("%s was saved with other versions, results may differ: %s", folder, ", ".join(changed))


def _minor(version: str | None) -> list[str]:
    return str(version).split(".")[:2]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
