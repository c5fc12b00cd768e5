"""The one place for installations whose parts do not fit each other.

braindecode imports torchaudio, whose wheels hold a compiled part built for one kind of PyTorch (with CUDA, most often).
Beside another kind of PyTorch, ``import braindecode`` then fails, although it needs nothing of that part. torchaudio is
made to run without it: its loader answers False where the library file is absent, and all else is pure Python.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import warnings
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from neurosig.core.errors import NeurosigError
from neurosig.core.files import cache_dir, digest

__all__ = ["CompatibilityWarning", "import_braindecode", "prepare_worker", "torchaudio_status"]

_LOADER = "torchaudio._extension.utils"
_TOLD = "NEUROSIG_TORCHAUDIO_TOLD"
# What a failing import of a compiled extension raises, by platform and by the stage at which it fails
_BROKEN = (OSError, ImportError, RuntimeError, AttributeError)


class CompatibilityWarning(UserWarning):
    """Two installed packages do not fit each other and neurosig works around it."""


def import_braindecode(name: str = "braindecode") -> ModuleType:
    """Import braindecode, around a torchaudio whose compiled part cannot be loaded.

    Parameters
    ----------
    name : str
        The package itself, or a module of it ("braindecode.models").

    Returns
    -------
    module
        That module.

    Raises
    ------
    NeurosigError
        If it cannot be imported for another reason; the message says which.

    Warns
    -----
    CompatibilityWarning
        Once for these versions of the two packages, if torchaudio's compiled part had to be skipped: the cache folder
        and the environment of worker processes remember it. ``neurosig doctor`` says it each time.

    Notes
    -----
    Where everything fits, this is ``import braindecode`` and nothing else. Worker processes start afresh: modules that
    call this function at their top carry it with them, and for foreign code joblib takes
    ``joblib.parallel_config("loky", initializer=prepare_worker)``.
    """
    if "braindecode" not in sys.modules:
        reason = _mend_torchaudio()
        if reason and not _is_told():
            warnings.warn(
                f"torchaudio's compiled part does not fit this PyTorch and is skipped ({reason}); braindecode works "
                "without it. Install the torchaudio built for your PyTorch to be rid of this warning",
                CompatibilityWarning,
                stacklevel=2,
            )
    try:
        with warnings.catch_warnings():
            # braindecode is behind the newest mne, and wfdb, which it imports, behind the newest pandas: nothing that
            # a user of ours could mend
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            return importlib.import_module(name)
    except _BROKEN as error:
        raise NeurosigError(f"braindecode cannot be imported: {_one_line(error)}; reinstall braindecode") from error


def prepare_worker() -> None:
    """Initializer for worker processes that will meet braindecode; says nothing, the main process has done so."""
    with warnings.catch_warnings(), contextlib.suppress(NeurosigError):
        warnings.simplefilter("ignore", CompatibilityWarning)
        import_braindecode()


def torchaudio_status() -> dict[str, Any]:
    """Whether the installed torchaudio fits the installed PyTorch.

    Returns
    -------
    dict
        ``torch`` and ``torchaudio``: versions, None where absent. ``compiled``: "ok", "skipped" (by
        `import_braindecode`, in this process), "broken", or "absent". ``reason``: of a failure, else None. ``advice``:
        what to do about it, else None.
    """
    status: dict[str, Any] = {name: _version(name) for name in ("torch", "torchaudio")}
    status.update(compiled="ok", reason=None, advice=None)
    if status["torch"] is None or status["torchaudio"] is None:
        lacking = "torch" if status["torch"] is None else "torchaudio"
        return {**status, "compiled": "absent", "reason": f"{lacking} is not installed", "advice": f"install {lacking}"}
    reason = _skipped_because() or _import_torchaudio()
    if reason:
        status.update(
            compiled="skipped" if _skipped_because() else "broken",
            reason=reason,
            advice="none needed, neurosig skips that part; or install the torchaudio built for this PyTorch",
        )
    return status


def _is_told() -> bool:
    """Whether someone was told about these two packages; from now on they are."""
    versions = f"{_version('torch')} {_version('torchaudio')}"
    stamp = cache_dir() / "told" / f"torchaudio-{digest(versions)}"
    told = os.environ.get(_TOLD) == versions or stamp.is_file()
    os.environ[_TOLD] = versions  # for worker processes, also where nothing can be written
    with contextlib.suppress(OSError):
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
    return told


def _mend_torchaudio() -> str | None:
    """Make ``import torchaudio`` work; the reason why its compiled part was skipped, None where it was not."""
    if _version("torchaudio") is None:
        return None
    reason = _import_torchaudio()
    if reason:
        _import_torchaudio_without_extension(reason)
    return reason


def _import_torchaudio() -> str | None:
    """Import torchaudio as it is; the reason why that fails, with no trace of the attempt left behind."""
    try:
        importlib.import_module("torchaudio")
    except _BROKEN as error:
        _forget("torchaudio")
        return _one_line(error.__cause__ or error)
    return None


def _import_torchaudio_without_extension(reason: str) -> None:
    package = importlib.util.find_spec("torchaudio")
    if package is None or not package.submodule_search_locations:
        return
    file = Path(next(iter(package.submodule_search_locations)), "_extension", "utils.py")
    spec = importlib.util.spec_from_file_location(_LOADER, file)
    if spec is None or spec.loader is None or not file.is_file():
        return  # another torchaudio than those known; the import of braindecode will say what is wrong
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    loader._load_lib = lambda library: False  # type: ignore[attr-defined]
    loader._skipped_because = reason  # type: ignore[attr-defined]
    sys.modules[_LOADER] = loader  # torchaudio's own `from .utils import _load_lib` finds this one
    try:
        importlib.import_module("torchaudio")
    except _BROKEN:
        _forget("torchaudio")


def _skipped_because() -> str | None:
    return getattr(sys.modules.get(_LOADER), "_skipped_because", None)


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
