"""Fetching files: resumed where they stopped, checked against their sums, never half done under their own name."""

from __future__ import annotations

import errno
import lzma
import os
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from neurosig.core.channel_names import listed
from neurosig.core.errors import ChecksumError, DownloadError, ManifestError, StorageError, UsageError
from neurosig.core.files import atomic_path, check_writable, sha256_file
from neurosig.core.log import logger
from neurosig.loaders.content import cache_dir, find_file
from neurosig.loaders.manifest_files import SUMS, fault_of, listed_sums
from neurosig.loaders.manifest_schema import Archive, FileEntry, FilesSource, safe_join

if TYPE_CHECKING:
    from neurosig.loaders.manifest import Manifest

__all__ = ["download_file", "extract_archive", "fetch_manifest"]

_CHUNK = 1 << 14  # bytes; what a broken connection can cost
_RETRIES = 4
_TIMEOUT = (10, 60)  # seconds to connect, seconds of silence
_MAX_SUMS = 50_000_000  # bytes of a publisher's list of sums
_MAX_EXPANSION = 200  # unpacked bytes to an archive's byte
# what the standard library raises on broken archives, besides OSError without a number
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, RuntimeError, ValueError)


def fetch_manifest(
    manifest: Manifest,
    dest: str | Path | None = None,
    *,
    progress: bool | None = True,
    subjects: Iterable[str] | None = None,
) -> Path:
    """Fetch a manifest's files (see `Manifest.fetch`)."""
    chosen = manifest.replace(subjects=_listed_subjects(manifest, subjects)) if manifest.kind != "files" else manifest
    if manifest.kind == "simulated":
        logger.info("%s is simulated: there is nothing to fetch", manifest.name)
        return cache_dir()
    if manifest.kind == "moabb":
        return _fetch_moabb(chosen, dest)
    source = manifest.source
    assert isinstance(source, FilesSource)  # for the type checker: the kind says so
    folder = Path(dest) if dest is not None else cache_dir() / manifest.name
    entries = _entries(manifest, subjects)
    if dest is None and manifest.present and _all_in(manifest.folder, entries):
        folder = manifest.folder
    if not manifest.fetchable:
        if _all_in(manifest.folder, entries):
            _refuse_faults(manifest, entries, manifest.folder, {})
            return manifest.folder
        raise DownloadError(
            f"{manifest.name} cannot be fetched: {source.derived or 'its manifest gives no addresses'}; put the "
            f"files in {folder} "
            "or pass --data FOLDER that holds them"
        )
    sums = _publisher_sums(manifest, entries, folder, progress)
    missing = [entry for entry in entries if not _is_there(folder, entry, entry.sha256 or sums.get(entry.path))]
    if not missing:
        return folder
    check_writable(folder)
    if source.archives:
        for archive in source.archives:
            _fetch_archive(archive, folder, progress)
        _refuse_faults(manifest, entries, folder, sums)
        return folder
    for number, entry in enumerate(missing, 1):
        if entry.url is None:
            raise DownloadError(f"{entry.path} has no address in the manifest of {manifest.name}; put it in {folder}")
        target = safe_join(folder, entry.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        expected = entry.sha256 or sums.get(entry.path)
        if expected is None:
            logger.warning("%s: no sum is known for %s, its content is taken as it comes", manifest.name, entry.path)
        download_file(
            entry.url,
            target,
            sha256=expected,
            size=entry.size,
            progress=progress,
            folder=folder,
            label=f"{number}/{len(missing)} {entry.path}",
        )
    return folder


def download_file(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    limit: int | None = None,
    progress: bool | None = None,
    folder: Path | None = None,
    label: str | None = None,
) -> Path:
    """Download one file.

    What has come so far stands in ``NAME.part`` and is continued by the next call, if a sum can prove the whole. A
    file of the wrong content is refused and kept as ``NAME.bad``.

    Parameters
    ----------
    url : str
        An http or https address.
    target : Path
        Where the file goes.
    sha256 : str, optional
        What its content must be.
    size : int, optional
        How many bytes it has; a longer or shorter file is refused.
    limit : int, optional
        How many bytes it has at most, where its size is not known.
    progress : bool, optional
        Show a progress bar; None shows it on a terminal only.
    folder : Path, optional
        Folder to name in advice.
    label : str, optional
        Text before the bar.

    Raises
    ------
    DownloadError
        Offline, refused by the server, or interrupted too often.
    ChecksumError
        The content is another than promised.
    StorageError
        The disk is full, or the place cannot be written.
    """
    import requests

    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"only http and https addresses are fetched, got {url!r}")
    part = target.with_name(f"{target.name}.part")
    if sha256 is None:
        part.unlink(missing_ok=True)  # nothing could prove that old and new pieces belong together
    session = requests.Session()
    session.headers.update({"User-Agent": "neurosig", "Accept-Encoding": "identity"})
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _append(
                session, url, part, most=size if limit is None else limit, progress=progress, label=label or target.name
            )
            break
        except DownloadError:
            raise
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            gained = (part.stat().st_size if part.exists() else 0) > before
            failures = 0 if gained else failures + 1
            if failures >= _RETRIES:
                raise DownloadError(_unreachable(url, part, folder or target.parent, error)) from error
            logger.info("%s: interrupted (%s), trying again", target.name, type(error).__name__)
            time.sleep(min(0.2 * 2**failures, 5.0))
        except _BusyError as error:
            failures += 1
            if failures >= _RETRIES:
                raise DownloadError(f"the server answers {error} for {url}; try again later") from error
            time.sleep(min(0.2 * 2**failures, 5.0))
        except requests.RequestException as error:
            raise DownloadError(f"cannot fetch {url}: {' '.join(str(error).split())}") from error
        except OSError as error:
            raise _storage_error(part, error) from error
    if fault := _fault(part, sha256, size, limit):
        raise ChecksumError(
            f"{target.name} from {url} is not what the manifest promises: {fault}; it is "
            f"kept as {_put_aside(part, target)} and not used; fetch again, or report it if it happens twice"
        )
    part.replace(target)
    return target


def _fault(part: Path, sha256: str | None, size: int | None, limit: int | None) -> str:
    have = part.stat().st_size
    if size is not None and have != size:
        return f"expected {size} bytes, got {'more' if have > size else have}"
    if limit is not None and have > limit:
        return f"expected at most {limit} bytes, got more"
    if sha256 is not None and (found := sha256_file(part)) != sha256:
        return f"expected SHA-256 {sha256[:16]}…, got {found[:16]}…"
    return ""


def _put_aside(path: Path, target: Path | None = None) -> Path:
    """Rename a file of the wrong content to ``NAME.bad``."""
    target = path if target is None else target
    try:
        return path.replace(target.with_name(f"{target.name}.bad"))
    except OSError as error:
        raise _storage_error(path, error) from error


class _BusyError(Exception):
    """The server may do better later."""


def _append(session: Any, url: str, part: Path, *, most: int | None, progress: bool | None, label: str) -> None:
    """Get what is missing of `part`; returns when the whole body has come."""
    from tqdm.auto import tqdm

    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        status = answer.status_code
        if status == 416:
            # the piece is already whole (its sum will tell), or longer than the file: then begin again
            if answer.headers.get("Content-Range", "").rpartition("/")[2] != str(have):
                part.unlink()
                raise _BusyError("416 to an unusable piece, which was removed")
            return
        if status in (408, 425, 429) or status >= 500:
            raise _BusyError(str(status))
        if status not in (200, 206):
            raise DownloadError(
                f"the server answers {status} {answer.reason} for {url}; the file may have moved: check the manifest"
            )
        start = have if status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-") else 0
        if status == 206 and start != have:
            part.unlink()
            raise _BusyError("206 with another range than asked for")
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else most
        disable = None if progress is None else not progress
        with (
            part.open("ab" if start else "wb") as stream,
            tqdm(
                total=total, initial=start, unit="B", unit_scale=True, desc=label, disable=disable, leave=False
            ) as bar,
        ):
            for block in answer.iter_content(_CHUNK):
                stream.write(block)
                bar.update(len(block))
                start += len(block)
                if most is not None and start > most:
                    break  # more than promised: it will be refused, and the disk need not hold it all


def extract_archive(archive: Path, folder: Path) -> list[Path]:
    """Unpack a zip or tar file; refuses members that lead out of `folder`, links, devices and archives that explode.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ManifestError
        An unsafe member; nothing is unpacked then.
    DownloadError
        Not an archive, or a damaged one.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as box:
                infos = [info for info in box.infolist() if not info.is_dir()]
                links = [info.filename for info in infos if (info.external_attr >> 16) & 0o170000 == 0o120000]
                _check_members(archive, folder, [(info.filename, info.file_size) for info in infos], links)
                return [_unpack(box.open(info), safe_join(folder, info.filename)) for info in infos]
        with tarfile.open(archive) as tar:
            members = [member for member in tar.getmembers() if not member.isdir()]
            odd = [member.name for member in members if not member.isfile()]
            _check_members(archive, folder, [(member.name, member.size) for member in members], odd)
            return [
                _unpack(stream, safe_join(folder, m.name))
                for m in members
                if (stream := tar.extractfile(m)) is not None
            ]
    except (ManifestError, StorageError):
        raise
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise _storage_error(archive, error) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DownloadError(f"{archive} is not a readable zip or tar archive: {reason}; fetch it again") from error


def _check_members(archive: Path, folder: Path, members: list[tuple[str, int]], odd: list[str]) -> None:
    if odd:
        raise ManifestError(f"{archive.name} holds {odd[0]!r}, a link or device: only plain files are unpacked")
    for name, _ in members:
        try:
            safe_join(folder, name)
        except ManifestError as error:
            raise ManifestError(f"{archive.name}: {error}; nothing was unpacked") from None
    total = sum(size for _, size in members)
    if total > max(_MAX_EXPANSION * archive.stat().st_size, 10_000_000):
        raise ManifestError(
            f"{archive.name} would grow to {total / 1e6:.0f} MB, {_MAX_EXPANSION} times its size: refused"
        )


def _unpack(stream: IO[bytes], path: Path) -> Path:
    with stream, atomic_path(path) as temporary, temporary.open("wb") as out:
        shutil.copyfileobj(stream, out)
    return path


def _entries(manifest: Manifest, subjects: Iterable[str] | None) -> list[FileEntry]:
    source = manifest.source
    assert isinstance(source, FilesSource)  # for the type checker: the caller has looked
    wanted = _listed_subjects(manifest, subjects)
    every = (*manifest.entries, *source.also)
    return [entry for entry in every if wanted is None or entry.subject in (*wanted, "*")]


def _listed_subjects(manifest: Manifest, subjects: Iterable[str] | None) -> list[str] | None:
    if subjects is None:
        return None
    wanted = [str(subject) for subject in subjects]
    if isinstance(manifest.source, FilesSource):
        known = list(dict.fromkeys(entry.subject for entry in manifest.entries))
    else:
        known = manifest.subject_list
    if "*" not in known and (unknown := [subject for subject in wanted if subject not in known]):
        raise UsageError(f"{manifest.name} has no subject {unknown[0]!r}; it has {listed(known, 20)}")
    return wanted


def _all_in(folder: Path, entries: list[FileEntry]) -> bool:
    return all(find_file(safe_join(folder, entry.path)) for entry in entries)


def _is_there(folder: Path, entry: FileEntry, sha256: str | None) -> bool:
    """Whether a good copy is there; a bad one is put aside."""
    path = find_file(safe_join(folder, entry.path))
    if path is None:
        return False
    if not (fault := fault_of(path, entry, sha256)):
        return True
    logger.warning(
        "%s does not have the content that the manifest promises (%s); it is kept as %s and fetched again",
        path.name,
        fault,
        _put_aside(path).name,
    )
    return False


def _fetch_archive(archive: Archive, folder: Path, progress: bool | None) -> None:
    """Fetch an archive, unless the right one lies there already, and unpack it."""
    target = safe_join(folder, Path(urlsplit(archive.url).path).name or "archive")
    if target.exists() and archive.sha256 is not None and sha256_file(target) != archive.sha256:
        logger.warning(
            "%s is not the archive that the manifest promises; it is kept as %s and fetched again",
            target.name,
            _put_aside(target).name,
        )
    if not target.exists():
        download_file(archive.url, target, sha256=archive.sha256, progress=progress, folder=folder)
    try:
        extract_archive(target, folder)
    except DownloadError as error:
        raise DownloadError(f"{error} (what came is kept as {_put_aside(target).name})") from error


def _refuse_faults(manifest: Manifest, entries: list[FileEntry], folder: Path, sums: dict[str, str]) -> None:
    """Refuse files that are missing or wrong where nothing is left to fetch; what an archive gave is put aside."""
    for entry in entries:
        path = find_file(safe_join(folder, entry.path))
        if path is None:
            raise DownloadError(
                f"the archive of {manifest.name} does not hold {entry.path}; check its address and the file names in "
                "the manifest"
            )
        if fault := fault_of(path, entry, entry.sha256 or sums.get(entry.path)):
            advice = "put a good copy there"
            if manifest.fetchable:
                advice = f"what came is kept as {_put_aside(path).name} and not used; check the manifest's archive"
            raise ChecksumError(f"{path} is not what the manifest promises: {fault}; {advice}")


def _publisher_sums(
    manifest: Manifest, entries: list[FileEntry], folder: Path, progress: bool | None
) -> dict[str, str]:
    """Sums from the publisher's list, fetched once, where the manifest does not give those of all `entries`."""
    source = manifest.source
    assert isinstance(source, FilesSource)  # for the type checker: the caller has looked
    if source.checksums_url is None or all(entry.sha256 for entry in entries):
        return {}
    if not (folder / SUMS).exists():
        complete = _all_in(folder, entries)
        try:
            check_writable(folder)
            download_file(source.checksums_url, folder / SUMS, limit=_MAX_SUMS, progress=progress, folder=folder)
        except (DownloadError, StorageError) as error:
            if not complete:
                raise
            logger.warning("%s: all files are there, but their sums are not checked: %s", manifest.name, error)
    return listed_sums(manifest, folder)


def _fetch_moabb(manifest: Manifest, dest: str | Path | None) -> Path:
    import requests

    dataset: Any = manifest.as_moabb()
    paths: list[Any] = []
    try:
        for subject in dataset.subject_list:
            paths += list(dataset.data_path(subject, path=None if dest is None else str(dest)))
    except (requests.RequestException, OSError) as error:
        raise DownloadError(
            f"moabb could not fetch {manifest.name}: {' '.join(str(error).split())[:200]}; connect, or see "
            "moabb's documentation for "
            "where it looks for the files (MNE_DATA)"
        ) from error
    return Path(os.path.commonpath([str(path) for path in paths])) if paths else cache_dir()


def _unreachable(url: str, part: Path, folder: Path, error: Exception) -> str:
    host = urlsplit(url).netloc
    if part.exists() and part.stat().st_size:
        return (
            f"the connection to {host} broke off after {part.stat().st_size} bytes of "
            f"{part.name.removesuffix('.part')}; run the same "
            "command again to go on from there"
        )
    return f"no connection to {host}: connect, or put the files in {folder} and pass --data {folder}"


def _storage_error(path: Path, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"cannot write {path}: the disk is full; free space and run again, it goes on from there")
    return StorageError(f"cannot write {path}: {error.strerror or error}; choose another folder with --dest")
