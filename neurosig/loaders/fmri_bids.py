"""BIDS derivatives of fMRI, such as fMRIPrep's: which runs they hold, and what participants.tsv tells of the people."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError
from neurosig.loaders.fmri_files import RunFile, kind_of, order_of, runs_of, told_apart
from neurosig.loaders.fmri_people import read_people

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["find_derivatives", "is_bids", "participants"]

# what a run of derivatives is called, best first: preprocessed volumes, grayordinates, surfaces, region series
_ENDINGS = (
    ("nifti", "desc-preproc_bold", "nii*"),
    ("cifti", "bold", "?tseries.nii"),
    ("gifti", "bold", "func.gii"),
    ("table", "timeseries", "tsv"),
    ("nifti", "bold", "nii*"),
)


def is_bids(folder: Path) -> bool:
    """Whether a folder is the root of a BIDS dataset, raw or of derivatives."""
    if not folder.is_dir():
        return False
    return (folder / "dataset_description.json").is_file() or any(folder.glob("sub-*/**/func"))


def find_derivatives(
    root: str | Path,
    *,
    task: str | Sequence[str] | None = None,
    space: str | None = None,
    subjects: str | Sequence[str] | None = None,
    sessions: str | Sequence[str] | None = None,
    kind: str | None = None,
) -> list[RunFile]:
    """List the preprocessed runs of a BIDS derivatives dataset.

    Parameters
    ----------
    root : str or Path
        Root of the derivatives, or a dataset that has one pipeline of fMRI under ``derivatives/``.
    task, subjects, sessions : str or sequence of str, optional
        Keep those only; with or without ``sub-`` and ``ses-``.
    space : str, optional
        Keep the runs of this space; needed where there are several.
    kind : {"nifti", "cifti", "gifti", "table"}, optional
        Files to take; by default the first of these that there are.

    Returns
    -------
    list of RunFile
        Sorted by subject, session, task and run.

    Raises
    ------
    InputError
        There is no run of that kind, or runs come in several spaces.
    """
    from nilearn.interfaces.bids import get_bids_files

    root = Path(root)
    for place in _places(root):
        for known, tag, ending in _ENDINGS:
            if kind not in (None, known):
                continue
            files = [
                Path(file)
                for file in get_bids_files(place, file_tag=f"*{tag}", file_type=ending, modality_folder="func")
            ]
            files = [file for file in files if kind_of(file) == known and "desc-confounds" not in file.name]
            if files:
                if known == "nifti" and tag == "bold":
                    warnings.warn(
                        f"{place} holds raw runs, no preprocessed ones: nobody aligned them to the space of an atlas",
                        stacklevel=3,
                    )
                return _chosen(place, files, task, space, subjects, sessions)
    raise InputError(
        f"no preprocessed fMRI in {root}: expected sub-*/[ses-*/]func/*_desc-preproc_bold.nii.gz (fMRIPrep), "
        "*_bold.dtseries.nii, *_bold.func.gii or *_timeseries.tsv, there or in derivatives/"
    )


def participants(root: str | Path) -> pd.DataFrame | None:
    """The table of people of a dataset, or of the dataset that its derivatives lie in.

    Parameters
    ----------
    root : str or Path
        Root of the dataset or of its derivatives.

    Returns
    -------
    DataFrame or None
        Indexed by the subject, without ``sub-``; n/a is NaN.

    Raises
    ------
    InputError
        The table has no column participant_id, or a person twice.
    """
    root = Path(root)
    places = [root, *list(root.resolve().parents)[:2]] if "derivatives" in root.resolve().parts[-3:] else [root]
    if root.resolve().parent.name != "derivatives" and root.resolve().name != "derivatives" and len(places) == 1:
        places.append(root.resolve().parent)  # derivatives beside participants.tsv
    for folder in places:
        if (table := folder / "participants.tsv").is_file():
            return read_people(table, "participant_id")
    return None


def _places(root: Path) -> list[Path]:
    """The root itself, then the pipelines in its derivatives."""
    below = root / "derivatives"
    folders = sorted(folder for folder in below.iterdir() if folder.is_dir()) if below.is_dir() else []
    # fMRIPrep's own folder before those of programs that went on from it
    return [
        root,
        *([below] if folders else []),
        *sorted(folders, key=lambda folder: "fmriprep" not in folder.name.lower()),
    ]


def _chosen(root: Path, files: list[Path], task: Any, space: str | None, subjects: Any, sessions: Any) -> list[RunFile]:
    found = runs_of(files)
    for what, wanted, prefix in (("task", task, "task-"), ("subject", subjects, "sub-"), ("session", sessions, "ses-")):
        if wanted is None:
            continue
        names = [str(name).removeprefix(prefix) for name in ([wanted] if isinstance(wanted, str | int) else wanted)]
        there = sorted({str(getattr(item, what)) for item in found})
        if absent := [name for name in names if name not in there]:
            raise InputError(f"{root} has no run of {what} {listed(absent)}; there are {listed(there)}")
        found = [item for item in found if getattr(item, what) in names]
    spaces = sorted({item.space or "native" for item in found})
    if space is not None:
        if space not in spaces:
            raise InputError(f"{root} has no run in space {space!r}; there are {listed(spaces)}")
        found = [item for item in found if (item.space or "native") == space]
    elif len(spaces) > 1:
        raise InputError(f"{root} has its runs in several spaces, {listed(spaces)}; choose one by space=")
    found.sort(key=order_of)
    return told_apart(found)
