"""YAML from anywhere: plain values only, bounded in size and expansion, no key twice, and every key knows its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from neurosig.core.errors import ManifestError

__all__ = ["Lines", "load_yaml", "place"]


class Lines:
    """Where the entries of a document stand: ``lines("pipeline", 0, "name")`` is that entry's line in the file.

    For an entry that is not there it is the line of its nearest parent.
    """

    def __init__(self, root: yaml.Node):
        self._root = root

    def __call__(self, *path: Any) -> int:
        """Line of an entry, counted from 1."""
        node, at = self._root, self._root.start_mark.line + 1
        for key in path:
            entry = _child(node, key)
            if entry is None:
                break
            mark, node = entry
            at = mark.line + 1
        return at

    def has(self, *path: Any) -> bool:
        """Whether there is such an entry."""
        node = self._root
        for key in path:
            entry = _child(node, key)
            if entry is None:
                return False
            node = entry[1]
        return True


def load_yaml(file: Path, *, max_bytes: int = 1_000_000, max_nodes: int = 100_000) -> tuple[Any, Lines]:
    """Read one YAML document.

    Parameters
    ----------
    file : pathlib.Path
        What to read.
    max_bytes : int
        Largest file that is looked at.
    max_nodes : int
        Largest number of values once all aliases are written out: a few nested aliases can stand for billions.

    Returns
    -------
    content : object
        Mappings, lists and scalars.
    lines : Lines
        On which line each entry stands.

    Raises
    ------
    ManifestError
        Unreadable or too large a file, malformed YAML, Python tags, an alias bomb, or a key that stands twice.
    """
    try:
        with file.open("rb") as stream:
            raw = stream.read(max_bytes + 1)  # not the size that the file system states: that of a pipe is 0
        if len(raw) > max_bytes:
            raise ManifestError(f"{file}: expected at most {max_bytes:,} bytes of YAML, it has more; wrong file?")
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise ManifestError(f"{file}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{file}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            raise ManifestError(f"{file}: the file is empty")
        _check_nodes(file, root, max_nodes)
        return loader.construct_document(root), Lines(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = (error.problem or error.context or "malformed YAML").replace("\n", " ")
        if "could not determine a constructor" in problem:
            problem = "YAML tags that make Python objects are not allowed; write plain values"
        raise ManifestError(f"{place(file, mark.line + 1 if mark else None)}{problem}") from error
    except yaml.YAMLError as error:
        raise ManifestError(f"{file}: malformed YAML ({' '.join(str(error).split())})") from error
    except ManifestError:
        raise
    except RecursionError as error:
        raise ManifestError(f"{file}: malformed YAML (nested too deeply)") from error
    except ValueError as error:  # an impossible date, say
        raise ManifestError(f"{file}: malformed YAML ({' '.join(str(error).split())})") from error
    finally:
        if loader is not None:
            loader.dispose()


def place(file: Path | None, line: int | None) -> str:
    """``file, line 3:`` as the beginning of a message."""
    if file is None:
        return ""
    return f"{file}: " if line is None else f"{file}, line {line}: "


def _child(node: yaml.Node, key: Any) -> tuple[Any, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value == str(key):
                return name.start_mark, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark, node.value[key]
    return None


def _check_nodes(file: Path, root: yaml.Node, limit: int) -> None:
    """Refuse keys that stand twice, and documents that grow beyond `limit` when aliases are written out."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in open_nodes:
            raise ManifestError(f"{place(file, node.start_mark.line + 1)}an alias refers to itself; write plain values")
        if id(node) in sizes:
            return sizes[id(node)]
        open_nodes.add(id(node))
        total = 1
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for name, value in node.value:
                if isinstance(name, yaml.ScalarNode):
                    if name.value in seen and name.value != "<<":
                        at = place(file, name.start_mark.line + 1)
                        raise ManifestError(f"{at}the key {name.value!r} stands twice; remove one")
                    seen.add(name.value)
                total += size(name) + size(value)
        elif isinstance(node, yaml.SequenceNode):
            total += sum(size(item) for item in node.value)
        open_nodes.discard(id(node))
        if total > limit:
            at = place(file, node.start_mark.line + 1)
            raise ManifestError(f"{at}more than {limit:,} values once aliases are written out; write plain values")
        sizes[id(node)] = total
        return total

    size(root)
