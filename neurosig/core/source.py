"""What code there is, as a digest: source outside site-packages may change without its version changing."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
import sysconfig
from pathlib import Path

from neurosig.core.files import digest

__all__ = ["source_digest"]

_SOURCES = (".py", ".so", ".pyd")


@functools.cache
def source_digest(top: str, installed: bool = False) -> str | None:
    """Digest of a top-level package's or module's source, or None where an installed version number stands for it.

    Parameters
    ----------
    top : str
        Its name. All its files count (of neurosig without the layers that no result depends on, cli and reports), and
        those of whatever else outside site-packages they import. Nothing is imported.
    installed : bool
        Digest it also where it is installed.
    """
    if not _source_files(top, installed):
        return None
    found: dict[str, list] = {}
    waiting = [top]
    while waiting:
        name = waiting.pop()
        if name in found or name in sys.stdlib_module_names:
            continue
        contents = [(label, path, path.read_bytes()) for label, path in _source_files(name, installed and name == top)]
        found[name] = [[label, hashlib.sha256(content).hexdigest()] for label, path, content in contents]
        if name != "neurosig":  # which imports nothing but installed packages
            texts = [content for _, path, content in contents if path.suffix == ".py"]
            waiting += {imported for text in texts for imported in _imported(text)}
    return digest(sorted([name, files] for name, files in found.items() if files))


def _source_files(top: str, installed: bool = False) -> list[tuple[str, Path]]:
    """Files of a top-level package or module, each with its place in it; none for what is installed, unless asked."""
    origin, folders = _places(top)
    if not folders and origin is not None:
        return [(origin.name, origin)] if installed or not _is_installed(origin) else []
    files = [
        (path.relative_to(folder).as_posix(), path)
        for folder in folders
        if installed or not _is_installed(folder / "__init__.py")
        for path in folder.rglob("*")
        if path.suffix in _SOURCES
    ]
    if top == "neurosig":  # no estimator can depend on the layers above it
        files = [(label, path) for label, path in files if label.partition("/")[0] not in ("cli", "reports")]
    return sorted(files)


def _places(top: str) -> tuple[Path | None, list[Path]]:
    """The file of a plain module, and the folders of a package (several where it has no ``__init__.py``)."""
    loaded = sys.modules.get(top)
    spec = getattr(loaded, "__spec__", None)
    if spec is None and loaded is None:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return None, []
    origin = getattr(loaded, "__file__", None) or (spec.origin if spec is not None else None)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    file = Path(origin) if origin and Path(origin).suffix in _SOURCES else None
    return file, [Path(folder) for folder in folders]


def _imported(source: bytes) -> set[str]:
    """Top-level packages that a module's source imports."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # whoever imports it is told
        return set()
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names


def _is_installed(path: Path) -> bool:
    places = {sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")}
    return any(part in ("site-packages", "dist-packages") for part in path.parts) or any(
        path.is_relative_to(place) for place in places if place
    )
