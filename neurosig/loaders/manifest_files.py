"""The files of a manifest: where they are, whether they are what they should be, and whose they are."""

from __future__ import annotations

import dataclasses
import gzip
import os
import re
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.files import sha256_file
from neurosig.loaders.content import content_sums, find_file
from neurosig.loaders.manifest_schema import FileEntry, FilesSource, ManifestFields, safe_join

if TYPE_CHECKING:
    from neurosig.loaders.manifest import Manifest
    from neurosig.loaders.recordings import Recording

__all__ = [
    "SUMS",
    "FileStatus",
    "choose",
    "fault_of",
    "listed_sums",
    "places_in",
    "refuse_copies",
    "relative_names",
    "verify_files",
]

SUMS = "SHA256SUMS.txt"  # the publisher's list of sums, beside the files


@dataclasses.dataclass(frozen=True)
class FileStatus:
    """What `Manifest.verify` found out about one file.

    ``status`` is "ok" (content as promised), "unverified" (there, no sum is known), "missing" or "corrupt".
    """

    path: str
    status: str
    subject: str
    detail: str = ""

    @property
    def bad(self) -> bool:
        """Whether the file is missing or corrupt."""
        return self.status in ("missing", "corrupt")


def verify_files(manifest: Manifest, folder: str | Path | None, subjects: Iterable[str] | None) -> list[FileStatus]:
    """Compare files with their sums (see `Manifest.verify`)."""
    place = manifest.folder if folder is None else _holder(Path(folder), manifest)
    also = manifest.source.also if isinstance(manifest.source, FilesSource) else ()
    stated = list(dict.fromkeys(entry.subject for entry in manifest.entries))
    wanted = [*(stated if subjects is None else choose(subjects, stated, "subject", manifest.name)), "*"]
    sums = listed_sums(manifest, place)
    rows = []
    for entry in (*manifest.entries, *also):
        if entry.subject not in wanted:
            continue
        path = find_file(safe_join(place, entry.path))
        if path is None:
            rows.append(FileStatus(entry.path, "missing", entry.subject))
        elif fault := fault_of(path, entry, expected := entry.sha256 or sums.get(entry.path)):
            rows.append(FileStatus(entry.path, "corrupt", entry.subject, fault))
        elif expected is None:
            rows.append(FileStatus(entry.path, "unverified", entry.subject, "no sum is known for it"))
        else:
            rows.append(FileStatus(entry.path, "ok", entry.subject))
    return rows


def fault_of(path: Path, entry: FileEntry, sha256: str | None) -> str:
    """What is wrong with a file, from its bytes as they are now and not as they are remembered; "" if nothing is."""
    packed = path.suffix == ".gz" and not entry.path.endswith(".gz")  # a gzip in the place of the file
    try:
        if sha256 is not None:
            found = content_sums([path], reread=True)[0] if packed else sha256_file(path)
            return "" if found == sha256 else f"expected {sha256[:12]}…, has {found[:12]}…"
        if entry.size is not None:
            size = _size_inside(path) if packed else path.stat().st_size
            return "" if size == entry.size else f"expected {entry.size} bytes, has {size}"
    except InputError as error:
        return str(error)
    except (OSError, EOFError, zlib.error) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    return ""


def _size_inside(path: Path) -> int:
    with gzip.open(path, "rb") as stream:
        return sum(len(block) for block in iter(lambda: stream.read(1 << 20), b""))


def listed_sums(manifest: Manifest, folder: Path) -> dict[str, str]:
    """Sums from the publisher's list in `folder`, by our path; empty where there is no list."""
    source = manifest.source
    if not isinstance(source, FilesSource) or source.checksums_url is None or not (folder / SUMS).is_file():
        return {}
    listed = {}
    for line in (folder / SUMS).read_text(errors="replace").splitlines():
        total, _, name = line.strip().partition(" ")
        if re.fullmatch(r"[0-9a-fA-F]{64}", total):
            listed[name.strip().lstrip("*").removeprefix("./")] = total.lower()
    base = (source.base_url or "").rstrip("/") + "/"
    names = {entry.path: (entry.url or entry.path).removeprefix(base) for entry in source.entries}
    return {path: listed[name] for path, name in names.items() if name in listed}


def choose(names: Iterable[Any] | str | int, known: list[str], what: str, where: str) -> tuple[str, ...]:
    """`names` as texts, each once; those that are not `known` are refused with a list of those that are."""
    wanted = [str(name) for name in ([names] if isinstance(names, str | int) else names)]
    if not wanted:
        raise UsageError(f"no {what} given for {where}; it has {listed(known, 20)}")
    if unknown := [name for name in wanted if name not in known]:
        raise UsageError(f"{where} has no {what} {unknown[0]!r}; it has {listed(known, 20)}")
    return tuple(dict.fromkeys(wanted))


def places_in(root: Path, manifest: ManifestFields) -> list[Path]:
    """Where a folder may hold the manifest's files: as a folder of collections, as the collection, or itself."""
    local = manifest.source.local if isinstance(manifest.source, FilesSource) else None
    parts = PurePosixPath(local or "").parts
    below = [safe_join(root, "/".join(parts[i:])) for i in range(len(parts))]
    return list(dict.fromkeys([*below, root / manifest.name, root]))


def _holder(root: Path, manifest: Manifest) -> Path:
    if not root.is_dir():
        raise InputError(f"no such folder: {root}; expected the folder that holds the files of {manifest.name}")
    places = places_in(root, manifest)
    return next(
        (place for place in places if any(find_file(safe_join(place, item.path)) for item in manifest.entries)), root
    )


def relative_names(paths: list[Path]) -> list[str]:
    """Files' names from the folder down that all of them are in: equal wherever that folder lies."""
    places = [path.absolute() for path in paths]
    try:
        top = os.path.commonpath([place.parent for place in places])
        names = [place.relative_to(top).as_posix() for place in places]
    except ValueError:  # on several drives
        names = [place.name for place in places]
    return [name.removesuffix(".gz") for name in names]


def refuse_copies(recordings: list[Recording], name: str) -> None:
    """The same content under two subjects is one person counted twice, and a leak between train and test."""
    owners: dict[str, Recording] = {}
    places: dict[tuple[str, str, str], Recording] = {}
    files = list(dict.fromkeys(recording.path for recording in recordings))
    sums = dict(zip(files, content_sums(files), strict=True))
    for recording in recordings:
        first = owners.setdefault(sums[recording.path], recording)
        if first.path != recording.path:
            same = "subjects" if first.subject != recording.subject else "recordings of one subject"
            raise InputError(
                f"{name}: {first.path.name} and {recording.path.name} have the same content, so they are not "
                f"two {same} "
                f"({first.subject} and {recording.subject}); remove one of them"
            )
        place = (recording.subject, recording.session, recording.run)
        other = places.setdefault(place, recording)
        if other is not recording:
            raise InputError(
                f"{name}: {other.path.name} and {recording.path.name} are both subject {place[0]}, session "
                f"{place[1]}, run "
                f"{place[2]}; give them different runs"
            )
