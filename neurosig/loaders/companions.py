"""The files that a recording is made of: its samples, markers, later parts, and the BIDS files that speak of it."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from neurosig.core.errors import InputError

__all__ = ["companions"]

# what BIDS files other than recordings are called; of "eeg" and its like only the .json beside or above a recording
_SIDECARS = {"channels", "coordsystem", "electrodes", "events", "headshape", "markers", "optodes", "physio", "stim"}
_DATATYPES = {"eeg", "ieeg", "meg", "nirs"}
_ROOT_DEPTH = 4  # folders from a recording up to its BIDS root: datatype, session, subject, root
_HEADER_BYTES = 1_000_000  # of a text header; the names stand at its beginning
_REF_FILE_NAME = 118  # FIF tag: the file that goes on where this one ends


def companions(paths: Iterable[Path]) -> list[Path]:
    """Recordings' files and all the files that reading them may depend on, sorted.

    These are the files beside a recording that share its stem, those that its header names (BrainVision's samples and
    markers, Persyst's samples, EEGLAB's ``.fdt``, the later parts of a split FIF file), and every BIDS sidecar from the
    root downwards that can apply: one whose entities contradict none of the recording's (the inheritance principle).
    Rather one file too many than one too few: what is left out could change without anybody noticing.

    Raises
    ------
    InputError
        A header cannot be read.
    """
    folders: dict[Path, _Folder] = {}

    def look(folder: Path) -> _Folder:
        if folder not in folders:
            folders[folder] = _Folder(folder)
        return folders[folder]

    every: set[Path] = set()
    for path in paths:
        every.add(path)
        if not path.parent.is_dir():
            continue
        if not path.is_dir():
            every.update(look(path.parent).by_stem.get(_stem(path.name), ()))
            every.update(_parts(path, look))
        if path.name.startswith("sub-"):
            for folder in _levels(path):
                every.update(look(folder).sidecars_of(path.name))
    return sorted(every)


class _Folder:
    """The files of one folder, listed once."""

    def __init__(self, folder: Path):
        self.by_stem: dict[str, list[Path]] = {}
        self.by_suffix: dict[str, list[Path]] = {}
        self._sidecars: dict[str | None, list[tuple[dict[str, str], Path]]] = {}  # by subject
        for item in folder.iterdir():
            if not item.is_file():
                continue
            self.by_stem.setdefault(_stem(item.name), []).append(item)
            self.by_suffix.setdefault(item.suffix.lower(), []).append(item)
            if _is_sidecar(item.name):
                stated = _entities(item.name)
                self._sidecars.setdefault(stated.get("sub"), []).append((stated, item))

    def sidecars_of(self, name: str) -> Iterator[Path]:
        """Sidecars that do not contradict a recording's name."""
        own = _entities(name)
        for subject in {own.get("sub"), None}:
            for stated, item in self._sidecars.get(subject, ()):
                if all(own.get(key, value) == value for key, value in stated.items()):
                    yield item


def _stem(name: str) -> str:
    """What companions share: all before the first dot, and in BIDS names all before the last underscore of that."""
    stem = name.split(".")[0]
    return stem.rpartition("_")[0] if stem.startswith("sub-") else stem


def _entities(name: str) -> dict[str, str]:
    parts = (part.partition("-") for part in name.split(".")[0].split("_"))
    return {key: value for key, dash, value in parts if dash and key != "split"}


def _is_sidecar(name: str) -> bool:
    suffix = name.split(".")[0].rpartition("_")[2]
    return suffix in _SIDECARS or (suffix in _DATATYPES and name.endswith(".json"))


def _levels(path: Path) -> list[Path]:
    """The recording's folder and those above it up to the BIDS root; the folder alone outside of BIDS."""
    above = list(path.parents)[:_ROOT_DEPTH]
    root = next((n for n, folder in enumerate(above) if (folder / "dataset_description.json").is_file()), 0)
    return above[: root + 1]


def _parts(path: Path, look: Callable[[Path], _Folder]) -> list[Path]:
    """Existing files that a recording's own header names."""
    name = path.name.lower()
    try:
        if name.endswith((".vhdr", ".ahdr", ".lay")):
            found = [path.parent / other for other in _named_in_header(path)]
        elif name.endswith(".set"):
            # the name stands within a MATLAB structure: all samples of the folder are taken instead of parsing that
            found = look(path.parent).by_suffix.get(".fdt", [])
        elif name.endswith((".fif", ".fif.gz")):
            found = _fif_parts(path, look(path.parent))
        else:
            found = []
        return [item for item in found if item.is_file()]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}; fetch it again") from error


def _named_in_header(path: Path) -> list[str]:
    """Values of DataFile, MarkerFile (BrainVision; ``$b`` is the header's own stem) and File (Persyst)."""
    with path.open("rb") as stream:
        text = stream.read(_HEADER_BYTES).decode("utf-8", errors="replace")
    names = re.findall(r"^[ \t]*(?:DataFile|MarkerFile|File)[ \t]*=[ \t]*(.+?)[ \t]*\r?$", text, re.MULTILINE | re.I)
    return [name.replace("$b", path.stem) for name in names if "\0" not in name]


def _fif_parts(path: Path, folder: _Folder) -> list[Path]:
    """The parts of a split FIF file: those named as mne and Neuromag name them, and those that the files name."""
    whole = _fif_stem(path.name)
    candidates = folder.by_suffix.get(".fif", []) + folder.by_suffix.get(".gz", [])
    found = {item for item in candidates if re.fullmatch(rf"{re.escape(whole)}(-\d+)?", _fif_stem(item.name))}
    waiting = {path, *found}
    while waiting:
        part = waiting.pop()
        for name in _fif_references(part) if part.suffix.lower() == ".fif" else ():
            other = path.parent / name
            if other not in found and other.is_file():
                found.add(other)
                waiting.add(other)
    return sorted(found)


def _fif_stem(name: str) -> str:
    return re.sub(r"_split-\d+|\.fif(\.gz)?$", "", name, flags=re.IGNORECASE)


def _fif_references(path: Path) -> Iterator[str]:
    """Names of the files that a FIF file refers to: a walk over the heads of its tags."""
    size = path.stat().st_size
    place = 0
    with path.open("rb") as stream:
        while 0 <= place <= size - 16:
            stream.seek(place)
            kind, _, length, following = struct.unpack(">iIii", stream.read(16))
            if kind == _REF_FILE_NAME and 0 < length < 4096:
                yield stream.read(length).decode("latin-1").replace("\0", "").strip()
            if length < 0 or following < 0 or 0 < following <= place:
                return  # the last tag, or a damaged file: reading it will tell
            place = following or place + 16 + length
