"""Which fMRI runs a path stands for: files of volumes, surfaces, grayordinates or tables, and whose they are."""

from __future__ import annotations

import dataclasses
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.log import logger
from neurosig.loaders.discover import entities, natural
from neurosig.loaders.fmri_collection import is_collection
from neurosig.loaders.fmri_tables import TABLES
from neurosig.loaders.tasks import task_of

__all__ = ["KINDS", "RunFile", "find_runs", "is_series", "kind_of", "order_of", "runs_of", "told_apart"]

KINDS = {
    "nifti": "NIfTI (.nii, .nii.gz)",
    "cifti": "CIFTI (.dtseries.nii, .ptseries.nii)",
    "gifti": "GIFTI (.func.gii, both hemispheres)",
    "table": f"tables ({', '.join(TABLES)})",
    "collection": "collections of runs (.npz)",
}
_HEMI = re.compile(r"(hemi-|(?:^|(?<=[._]))(?=[lr]h[._])|(?<=[._])(?=[LR][._]))([LRlr])(h?)(?=[._])")
_NOT_SERIES = re.compile(
    r"(_events|_confounds|_regressors|_channels|_electrodes|_scans|_sessions|_beh|_motion|_stim|_physio|_dseg|_mask|"
    r"desc-confounds_timeseries)\.|"
    r"^(participants|phenotyp)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class RunFile:
    """The file, or the two hemispheres' files, of one run.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    files : tuple
        One path (or object in memory); of GIFTI left and right, either may be None.
    subject, session, run : str
        Whose it is.
    task, space : str, optional
        As the name says.
    """

    kind: str
    files: tuple[Any, ...]
    subject: str = "1"
    session: str = "0"
    run: str = "0"
    task: str | None = None
    space: str | None = None

    @property
    def path(self) -> Path | None:
        """The (first) file; None for an object in memory."""
        first = next(file for file in self.files if file is not None)
        return first if isinstance(first, Path) else None

    @property
    def name(self) -> str:
        """What to call it."""
        return "a run in memory" if self.path is None else self.path.name


def kind_of(path: Path) -> str | None:
    """The kind of fMRI file by its name (and content, of ``.npz``), one of `KINDS`; None for others."""
    name = path.name.lower()
    if name.endswith((".dtseries.nii", ".ptseries.nii")):
        return "cifti"
    if name.endswith((".nii", ".nii.gz", ".img", ".hdr")):
        # other CIFTI files are no series
        return None if re.search(r"\.(dlabel|dscalar|dconn|pconn|pscalar|plabel)\.nii$", name) else "nifti"
    if name.endswith((".func.gii", ".gii")):
        return None if name.endswith((".label.gii", ".surf.gii", ".shape.gii")) else "gifti"
    if name.endswith(TABLES):
        return "collection" if name.endswith(".npz") and path.is_file() and is_collection(path) else "table"
    return None


def is_series(path: Path) -> bool:
    """Whether a file may hold series by its name, and no events, confounds, masks or people."""
    return not _NOT_SERIES.search(path.name)


def find_runs(path: Any, *, named: bool = False) -> list[RunFile]:
    """List the runs of a file, several files, a folder that is no BIDS dataset, or objects in memory.

    Parameters
    ----------
    path : str, Path, image, array, DataFrame, or list of them
        Of a folder, all files of the one kind that there is most of; images of a single volume are left aside. Files of
        two hemispheres belong together by their names (``hemi-L``, ``lh.``, ``.L.``), or as a pair (left, right).
    named : bool
        Whether the caller knows whose they are: names then need not tell runs apart.

    Returns
    -------
    list of RunFile
        In the order of a list, else sorted by subject, session, task and run, which come from BIDS entities and names
        like ``subject1_session2_run3``; files whose names tell nothing are runs of one subject, and a warning says so.

    Raises
    ------
    InputError
        Nothing is there, a file is of no known kind, or two would be the same run.
    """
    if isinstance(path, str | os.PathLike):
        place = Path(path)
        if not place.exists():
            raise InputError(f"no such file or folder: {place}; check the path")
        found = runs_of(_of_folder(place) if place.is_dir() else [place])
        found = sorted(found if named else _numbered(found), key=order_of)
    elif not isinstance(path, list | tuple):
        found = [RunFile(_kind_of_object(path), (path,))]
    else:
        if not len(path):
            raise InputError("no runs: the list of files is empty")
        found = _of_list(path)
        found = found if named else _numbered(found)
    return found if named else told_apart(found)


def told_apart(found: Sequence[RunFile]) -> list[RunFile]:
    """Runs of one subject, session and number told apart by their task, as far as that and other entities differ.

    Parameters
    ----------
    found : sequence of RunFile
        All runs.

    Returns
    -------
    list of RunFile
        Where several are the same, all of these have task, acquisition, direction and echo before their number.

    Raises
    ------
    InputError
        Two still are the same.
    """
    count = Counter((item.subject, item.session, item.run) for item in found)
    found = [
        dataclasses.replace(item, run=_label(item)) if count[item.subject, item.session, item.run] > 1 else item
        for item in found
    ]
    seen: dict[tuple[str, str, str], RunFile] = {}
    for item in found:
        key = (item.subject, item.session, item.run)
        if key in seen:
            raise InputError(
                f"{seen[key].name} and {item.name} are both subject {key[0]}, session {key[1]}, run {key[2]}: they "
                "would be mixed up; give one version of each run (choose task or space), or state whose they are "
                "(metadata)"
            )
        seen[key] = item
    return found


def _label(item: RunFile) -> str:
    """What tells a run of a BIDS name from others of its number, before the number."""
    parts = {} if item.path is None else dict(part.split("-", 1) for part in item.path.name.split("_") if "-" in part)
    told = [item.task, *(parts.get(key) for key in ("acq", "ce", "dir", "rec", "echo"))]
    return "_".join([part for part in told if part] + ([] if item.run == "0" and any(told) else [item.run]))


def _of_list(items: Sequence[Any]) -> list[RunFile]:
    paths = [isinstance(item, str | os.PathLike) for item in items]
    if all(paths):
        files = [Path(item) for item in items]
        if absent := [str(file) for file in files if not file.exists()]:
            raise InputError(f"no such file: {listed(absent, 3)}; check the paths")
        return runs_of(files)
    found = []
    for item in items:
        if isinstance(item, str | os.PathLike):
            found += runs_of([Path(item)])
        elif isinstance(item, tuple) and len(item) == 2:
            pair = tuple(None if side is None else Path(side) for side in item)
            known = next(side for side in pair if side is not None)
            found.append(_with_entities(RunFile("gifti", pair), known))
        else:
            found.append(RunFile(_kind_of_object(item), (item,)))
    return found


def _kind_of_object(item: Any) -> str:
    if type(item).__name__ == "Cifti2Image":
        return "cifti"
    if hasattr(item, "dataobj"):
        return "nifti"
    if hasattr(item, "shape") or hasattr(item, "columns"):
        return "table"
    raise UsageError(f"expected files, images or tables of fMRI, got {type(item).__name__}")


def runs_of(files: Iterable[Path]) -> list[RunFile]:
    """Runs of files as their names tell, hemispheres joined."""
    found: list[RunFile] = []
    halves: dict[str, int] = {}
    for path in files:
        kind = kind_of(path)
        if kind is None:
            raise InputError(f"{path.name} is no fMRI series by its name; expected {'; '.join(KINDS.values())}")
        if kind != "gifti":
            found.append(_with_entities(RunFile(kind, (path,)), path))
            continue
        match = _HEMI.search(path.name)
        if match is None:
            raise InputError(
                f"{path.name}: the name does not tell the hemisphere (hemi-L, lh., .L.); pass (left, right)"
            )
        both = str(path.parent / (path.name[: match.start(2)] + "*" + path.name[match.end(2) :]))
        side = 0 if match[2].upper() == "L" else 1
        if both not in halves:
            halves[both] = len(found)
            found.append(_with_entities(RunFile("gifti", (None, None)), path))
        place = halves[both]
        pair = list(found[place].files)
        pair[side] = path
        found[place] = dataclasses.replace(found[place], files=tuple(pair))
    return found


def _with_entities(item: RunFile, path: Path) -> RunFile:
    named = entities(path)
    space = re.search(r"_space-([A-Za-z0-9]+)", path.name)
    return dataclasses.replace(
        item,
        subject=named.get("subject", "1"),
        session=named.get("session", "0"),
        run=named.get("run", "0"),
        task=task_of(path),
        space=space[1] if space else None,
    )


def _numbered(found: list[RunFile]) -> list[RunFile]:
    """Files whose names tell nothing get the run numbers 0, 1, ... of one subject."""
    unnamed = [i for i, item in enumerate(found) if item.path is None or not entities(item.path)]
    if len(unnamed) > 1:
        if found[unnamed[0]].path is not None:
            warnings.warn(
                f"{found[unnamed[0]].name} and {len(unnamed) - 1} other names tell no subject or run: they are taken "
                "as runs of one subject; if they are people, pass metadata={'subject': [...]}, or name the files "
                "sub-01_run-1_...",
                stacklevel=4,
            )
        for run, place in enumerate(unnamed):
            found[place] = dataclasses.replace(found[place], run=str(run))
    return found


def _of_folder(folder: Path) -> list[Path]:
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and is_series(path)
    ]
    kinds: dict[str, list[Path]] = {}
    for path in files:
        kind = kind_of(path)
        if kind is not None and (kind != "nifti" or _has_volumes(path)):
            kinds.setdefault(kind, []).append(path)
    if not kinds:
        raise InputError(
            f"no fMRI runs in {folder}; expected {'; '.join(KINDS.values())}, or a BIDS derivatives dataset"
        )
    chosen = max(kinds, key=lambda kind: len(kinds[kind]))
    if len(kinds) > 1:
        aside = ", ".join(f"{len(paths)} {kind}" for kind, paths in kinds.items() if kind != chosen)
        logger.warning("%s: took %d files of %s, left aside %s; give the files themselves to choose",
                       folder, len(kinds[chosen]), KINDS[chosen], aside)  # fmt: skip
    return kinds[chosen]


def _has_volumes(path: Path) -> bool:
    """Whether an image has more than one volume; one that cannot be read is told later."""
    import nibabel

    try:
        shape = nibabel.load(path).shape  # type: ignore[attr-defined]
    except Exception:  # damaged files fail in a dozen ways
        return True
    return len(shape) == 4 and shape[3] > 1


def order_of(item: RunFile) -> tuple[tuple[int, int, str], ...]:
    """Key that sorts runs by subject, session, task and run, numbers as numbers."""
    return tuple(map(natural, (item.subject, item.session, item.task or "", item.run)))
