"""``neurosig doctor``: is this installation in order, and if not, what to do."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

_EXTRAS = ("pyxdf", "dask", "skorch")  # used when present, no fault when absent
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "firefox", "microsoft-edge", "xdg-open", "open")
_LOW_DISK, _NO_DISK = 5e9, 2e8  # bytes: a large dataset no longer fits; not even results do


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, whether it is in order, and what to do if not."""

    name: str
    status: str  # "ok", "warn" or "fail"
    found: str
    advice: str = ""


def command(
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Check this installation: versions, GPU, caches, disk, write access.

    Each line is in order (ok), worth knowing (warn) or broken (fail), and says what to do.
    Exits with 1 only if something is broken.

    \b
    Examples:
      neurosig doctor
      neurosig doctor --json > doctor.json
    """  # \b keeps the lines of the examples apart
    from neurosig.cli import console

    with console.only_json(json_):
        checks = examine()
    worst = max((check.status for check in checks), key=("ok", "warn", "fail").index)
    if json_:
        console.emit_json({"status": worst, "checks": [asdict(check) for check in checks]})
    else:
        _show(checks)
    if worst == "fail":
        raise typer.Exit(1)


def examine() -> list[Check]:
    """Run every check; one that itself breaks is reported as such and does not stop the others."""
    groups: list[Callable[[], Iterator[Check]]] = [
        _system,
        _packages,
        _torch,
        _nilearn,
        _threads,
        _folders,
        _caches,
        _disk,
        _browser,
    ]
    checks: list[Check] = []
    for group in groups:
        try:
            checks.extend(group())
        except Exception as error:
            name = group.__name__.strip("_")
            checks.append(Check(name, "warn", f"could not be checked: {type(error).__name__}: {error}"))
    return checks


def _show(checks: list[Check]) -> None:
    from rich.text import Text

    from neurosig.cli import console

    styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    page = console.out()
    width = max(len(check.name) for check in checks)
    for check in checks:
        line = Text.assemble((f"{check.status:4}", styles[check.status]), f"  {check.name:{width}}  {check.found}")
        if check.advice:
            line.append(f"\n{'':{width + 8}}{check.advice}", style="bold" if check.status == "fail" else "dim")
        page.print(line)
    counts = {status: sum(check.status == status for check in checks) for status in styles}
    verdict = "something is broken" if counts["fail"] else "everything that neurosig needs is in order"
    page.print(f"\n{verdict}: {counts['ok']} ok, {counts['warn']} to know, {counts['fail']} broken")


def _system() -> Iterator[Check]:
    from neurosig._version import __version__

    yield Check("neurosig", "ok", f"{__version__} in {Path(__file__).resolve().parents[1]}")
    yield Check("python", "ok", f"{platform.python_version()} ({sys.executable}), {platform.platform(terse=True)}")
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    if encoding == "utf8":
        yield Check("text encoding", "ok", "UTF-8")
    else:
        yield Check(
            "text encoding", "warn", encoding or "unknown", "set PYTHONUTF8=1, else names such as µV may not print"
        )


def _packages() -> Iterator[Check]:
    """Every requirement of neurosig against what is installed."""
    from packaging.requirements import Requirement

    for line in importlib.metadata.requires("neurosig") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(requirement.name, "fail", "not installed", f'pip install "{requirement}"')
            continue
        if requirement.specifier.contains(version, prereleases=True):
            yield Check(requirement.name, "ok", version)
        else:
            advice = f'neurosig needs {requirement.specifier}: pip install "{requirement}"'
            yield Check(requirement.name, "fail", version, advice)
    for name in _EXTRAS:
        try:
            yield Check(name, "ok", f"{importlib.metadata.version(name)} (optional)")
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, "ok", "not installed (optional)")


def _torch() -> Iterator[Check]:
    """Whether torch, torchaudio and braindecode go together, and what they can compute on."""
    from neurosig.core.compat import import_braindecode, torchaudio_status

    yield _torchaudio(torchaudio_status())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it has to say stands in the line above
            import_braindecode()
        yield Check("import braindecode", "ok", "works")
    except Exception as error:
        yield Check(
            "import braindecode",
            "fail",
            f"{type(error).__name__}: {error}".splitlines()[0],
            "install torch, torchaudio and braindecode of one release together",
        )
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(index).total_memory
            yield Check(f"GPU {index}", "ok", f"{torch.cuda.get_device_name(index)}, {_size(memory)}")
    elif torch.backends.mps.is_available():
        yield Check("GPU", "ok", "Apple Metal (mps)")
    else:
        yield Check("GPU", "ok", "none: networks train on the CPU; the Riemannian and linear pipelines need none")


def _nilearn() -> Iterator[Check]:
    """Whether fMRI can be read, and with which atlases if there is no network."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import nibabel  # noqa: F401
            import nilearn.maskers  # noqa: F401
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        yield Check("import nilearn", "fail", reason, 'fMRI is read by it: pip install --upgrade "nilearn" "nibabel"')
        return
    from neurosig.loaders.atlas import OFFLINE

    yield Check("import nilearn", "ok", f"works; atlases without network: {', '.join(OFFLINE)}, and label images")


def _torchaudio(status: Mapping[str, Any]) -> Check:
    found = f"{status['torchaudio'] or 'not installed'} beside torch {status['torch'] or 'not installed'}"
    if status["compiled"] == "ok":
        return Check("torchaudio", "ok", found)
    level = (
        "fail" if status["torch"] is None else "warn"
    )  # without its compiled part all that neurosig needs still works
    return Check("torchaudio", level, f"{found}: {status['reason']}", status["advice"] or "")


def _threads() -> Iterator[Check]:
    """Cores, memory, and the threads that linear algebra would start."""
    import numpy as np  # noqa: F401  threadpoolctl sees only libraries that are loaded
    import psutil
    from threadpoolctl import threadpool_info

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = psutil.virtual_memory()
    yield Check("processor", "ok", f"{cores} cores, {_size(memory.total)} memory, {_size(memory.available)} of it free")
    pools = {f"{pool['internal_api']} {pool['num_threads']}" for pool in threadpool_info()}
    most = max((pool["num_threads"] for pool in threadpool_info()), default=1)
    status, advice = ("ok", "") if most <= cores else ("warn", f"more threads than cores: set OMP_NUM_THREADS={cores}")
    yield Check("BLAS threads", status, ", ".join(sorted(pools)) or "none found", advice)


def _folders() -> Iterator[Check]:
    """Can we write where we would, and are the data where they are said to be."""
    from neurosig.loaders.content import cache_dir

    places = {"working folder": Path.cwd(), "temporary folder": Path(tempfile.gettempdir()), "cache": cache_dir()}
    for name, folder in places.items():
        yield _writable(name, folder)
    named = os.environ.get("NEUROSIG_DATA")
    if not named:
        yield Check("NEUROSIG_DATA", "ok", f"not set: datasets are kept in {cache_dir()}")
    elif Path(named).is_dir():
        collections = sum(1 for entry in Path(named).iterdir() if entry.is_dir())
        yield Check("NEUROSIG_DATA", "ok", f"{named}, {collections} folders")
    else:
        yield Check(
            "NEUROSIG_DATA",
            "fail",
            f"{named} is not a folder",
            "point it at the folder that holds your collections, or unset it",
        )


def _writable(name: str, folder: Path) -> Check:
    from neurosig.core.errors import StorageError
    from neurosig.core.files import check_writable

    existing = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    try:
        check_writable(existing)  # looking must not create what is not there yet
    except StorageError as error:
        status = "warn" if name == "working folder" else "fail"
        return Check(name, status, str(error), "choose another folder for results (--out)" if status == "warn" else "")
    return Check(name, "ok", f"{folder} can be written" + ("" if folder.exists() else " (not made yet)"))


def _caches() -> Iterator[Check]:
    """How much of the disk the caches take."""
    from neurosig.loaders.content import cache_dir

    mne_data = Path(os.environ.get("MNE_DATA") or Path.home() / "mne_data")
    atlases = Path(os.environ.get("NILEARN_DATA") or Path.home() / "nilearn_data")
    places = {"neurosig's cache": cache_dir(), "MNE's and MOABB's data": mne_data, "nilearn's atlases": atlases}
    for name, folder in places.items():
        if not folder.is_dir():
            yield Check(name, "ok", "empty")
            continue
        sizes = [entry.stat().st_size for entry in folder.rglob("*") if entry.is_file() and not entry.is_symlink()]
        yield Check(name, "ok", f"{_size(sum(sizes))} in {len(sizes)} files, {folder}")


def _disk() -> Iterator[Check]:
    """Free space where results and datasets go."""
    from neurosig.loaders.content import cache_dir

    for name, folder in {"working folder": Path.cwd(), "cache": cache_dir()}.items():
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(existing).free
        if free < _NO_DISK:
            yield Check(f"free disk ({name})", "fail", _size(free), f"free space on the disk of {existing}")
        elif free < _LOW_DISK:
            yield Check(
                f"free disk ({name})", "warn", _size(free), "large datasets will not fit; set NEUROSIG_CACHE elsewhere"
            )
        else:
            yield Check(f"free disk ({name})", "ok", _size(free))


def _browser() -> Iterator[Check]:
    """Reports are pages; something must show them."""
    found = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if found:
        yield Check("browser", "ok", found)
    else:
        yield Check(
            "browser", "warn", "none found here", "copy report.html to a computer with a browser: it is one file"
        )


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
