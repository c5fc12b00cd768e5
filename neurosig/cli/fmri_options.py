"""Options that say how region series of fMRI are made, shared by the commands that read them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["MORE", "Atlas", "Confounds", "Labels", "More", "RepetitionTime", "fmri_options", "opened"]

# options without an option of their own
MORE = (
    "high_pass", "low_pass", "standardize", "detrend", "smoothing_fwhm", "min_coverage", "task", "space", "table",
    "key", "missing", "orientation", "regions", "unit", "mask", "events_table",
)  # fmt: skip

Atlas = Annotated[
    str | None,
    typer.Option(
        "--atlas", metavar="NAME|FILE", help="fMRI: label image, or power, dosenbach, seitzman, voxels, schaefer100."
    ),
]
RepetitionTime = Annotated[
    float | None, typer.Option("--t-r", metavar="S", help="fMRI: repetition time, where the files do not say.")
]
Confounds = Annotated[
    str | None,
    typer.Option(
        "--confounds", metavar="WHAT", help="fMRI: auto, simple, scrubbing, compcor, ica_aroma (of fMRIPrep) or none."
    ),
]
Labels = Annotated[
    str | None, typer.Option("--labels", metavar="COLUMN", help="fMRI: column of the people's table to be decoded.")
]
More = Annotated[
    list[str] | None,
    typer.Option(
        "--fmri",
        metavar="NAME=VALUE",
        help=f"fMRI: more on how series are made: {', '.join(MORE)}; may be given several times.",
    ),
]


def fmri_options(
    atlas: str | None, t_r: float | None, confounds: str | None, labels: str | None, more: list[str] | None
) -> dict[str, Any] | None:
    """The options as one dictionary, None where none is given; files are those of the working folder.

    Raises
    ------
    UsageError
        A ``--fmri`` without name or value, or one that has an option of its own and is given twice.
    """
    from neurosig.core.errors import UsageError

    found: dict[str, Any] = {"atlas": atlas, "t_r": t_r, "confounds": confounds, "labels": labels}
    found = {name: value for name, value in found.items() if value is not None}
    for pair in more or []:
        name, equals, text = (part.strip() for part in pair.partition("="))
        name = name.replace("-", "_")
        if not (equals and name.isidentifier() and text):
            raise UsageError(f"--fmri takes NAME=VALUE, such as high_pass=0.01, got {pair!r}")
        if name in found:
            raise UsageError(f"{name} is given twice; give it once")
        found[name] = text
    for name in ("atlas", "mask", "table"):
        if name in found and Path(found[name]).is_file():
            found[name] = str(Path(found[name]).absolute())
    return found or None


def opened(
    datasets: list[str], fmri: dict[str, Any] | None, reading: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Datasets as `benchmark` takes them, and what is left to say of their reading: opened where read as fMRI."""
    if fmri is None:
        return list(datasets), reading
    from neurosig.loaders.manifest import open_dataset

    return [open_dataset(one, fmri=fmri, **reading) for one in datasets], {}
