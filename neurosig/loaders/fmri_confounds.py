"""Confounds of a run: chosen from fMRIPrep's table by a strategy (nilearn), or given; and the volumes they drop."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import InputError, UsageError
from neurosig.core.log import logger
from neurosig.loaders.fmri_clean import kept_volumes, read_confounds

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["STRATEGIES", "RunConfounds", "confound_table_of", "is_fmriprep", "run_confounds", "split_by_run"]

STRATEGIES = ("simple", "scrubbing", "compcor", "ica_aroma")
_FMRIPREP = re.compile(
    r"(_desc-(preproc|smoothAROMAnonaggr|optcom)_bold\.nii(\.gz)?|_bold\.dtseries\.nii|_hemi-[LR](_[^.]*)?_bold\.func\.gii)$"
)
_TABLES = ("_desc-confounds_timeseries.tsv", "_desc-confounds_regressors.tsv")


@dataclass(frozen=True)
class RunConfounds:
    """What is regressed out of one run.

    Parameters
    ----------
    table : DataFrame of n_volumes rows, or None
        The regressors.
    kept : tuple of int or None
        Volumes to keep; None keeps all.
    told : dict
        JSON-like, for the provenance.
    """

    table: pd.DataFrame | None = None
    kept: tuple[int, ...] | None = None
    told: Mapping[str, Any] = field(default_factory=dict)


def is_fmriprep(path: Path | None) -> bool:
    """Whether a file is called as fMRIPrep calls its preprocessed runs."""
    return path is not None and _FMRIPREP.search(path.name) is not None


def confound_table_of(path: Path) -> Path | None:
    """The table of confounds that fMRIPrep wrote beside a run, or None."""
    parts = [part for part in path.name.split("_") if "-" in part and not part.startswith(("desc-", "hemi-"))]
    # the table has the entities of the run without those of its space
    found = [
        place
        for end in _TABLES
        for place in path.parent.glob(f"*{end}")
        if set(place.name[: -len(end)].split("_")) <= set(parts) and place.name.split("_")[0] == parts[0]
    ] if parts else []  # fmt: skip
    return max(found, key=lambda place: len(place.name.split("_")), default=None)


def run_confounds(
    confounds: Any,
    path: Path | None,
    n_volumes: int,
    *,
    sample_mask: Any = None,
    high_pass: float | None = None,
    needed: bool = False,
) -> RunConfounds:
    """Confounds and kept volumes of one run.

    Parameters
    ----------
    confounds : "auto", None, str, dict, Path, DataFrame or array
        "auto": those of "simple" where fMRIPrep's table lies beside the run (without its slow cosines where `high_pass`
        does their work), none elsewhere. A strategy of nilearn's ("simple", "scrubbing", "compcor", "ica_aroma"), or a
        dict of what `nilearn.interfaces.fmriprep.load_confounds` takes. Else a table or its file.
    path : Path or None
        File of the run; of two hemispheres, the left.
    n_volumes : int
        Volumes of the run.
    sample_mask : array, optional
        Volumes to keep; those that a strategy drops are dropped too.
    high_pass : float, optional
        Edge of the filter that the series will pass.
    needed : bool
        With "auto", refuse a run of fMRIPrep without a table, instead of doing without.

    Returns
    -------
    RunConfounds

    Raises
    ------
    InputError
        The table is missing, lacks columns, or has another length than the run.
    UsageError
        The strategy is unknown, or would high-pass a second time.
    """
    name = "the run" if path is None else path.name
    kept = kept_volumes(sample_mask, n_volumes, f"sample_mask of {name}")
    if isinstance(confounds, str) and confounds == "auto":
        if not is_fmriprep(path) or path is None:
            return RunConfounds(kept=kept)
        if confound_table_of(path) is None:
            if needed:
                raise InputError(_no_table(path))
            logger.info("%s; none are removed", _no_table(path))
            return RunConfounds(kept=kept, told={"absent": True})
        strategy = ("motion", "wm_csf") if high_pass is not None else ("high_pass", "motion", "wm_csf")
        return _of_fmriprep({"strategy": strategy, "motion": "full", "wm_csf": "basic"}, "auto", path, n_volumes, kept)
    if (isinstance(confounds, str) and confounds in STRATEGIES) or isinstance(confounds, Mapping):
        if path is None or confound_table_of(path) is None:
            raise InputError(_no_table(path or Path("image")) + "; pass confounds=None to clean without")
        if isinstance(confounds, str):
            found = _of_fmriprep({"denoise_strategy": confounds}, confounds, path, n_volumes, kept)
        else:
            found = _of_fmriprep(dict(confounds), "own", path, n_volumes, kept)
        if high_pass is not None and found.table is not None:
            _refuse_two(found.table, high_pass, confounds)
        return found
    if isinstance(confounds, str) and not Path(confounds).suffix:
        raise UsageError(
            f"confounds must be 'auto', None, {', '.join(map(repr, STRATEGIES))}, a dict, a table or its file; "
            f"got {confounds!r}"
        )
    table = read_confounds(confounds, n_volumes, f"confounds of {name}")
    if table is None:
        return RunConfounds(kept=kept)
    file = Path(confounds).name if isinstance(confounds, str | Path) else None
    return RunConfounds(table, kept, {"file": file, "columns": list(table.columns)})


def split_by_run(value: Any, n_runs: int, what: str) -> list[Any]:
    """What belongs to each run: of a list one item a run, of anything else the same for all.

    Parameters
    ----------
    value : object
        ``confounds`` or ``sample_mask`` as a user gives them.
    n_runs : int
        Number of runs.
    what : str
        The parameter's name.

    Returns
    -------
    list of n_runs objects

    Raises
    ------
    UsageError
        A list is of another length, or one run's table or mask is given for several.
    """
    single = isinstance(value, list | tuple) and value and all(isinstance(item, int | float) for item in value)
    if isinstance(value, list | tuple) and not single:
        if len(value) != n_runs:
            raise UsageError(f"{what} must have one entry for each of {n_runs} runs, got {len(value)}")
        return list(value)
    shared = value is None or (isinstance(value, Mapping)) or (isinstance(value, str) and not Path(value).suffix)
    if n_runs > 1 and not shared:
        raise UsageError(f"{what} is that of one run, and there are {n_runs}; pass a list of one a run")
    return [value] * n_runs


def _of_fmriprep(
    options: dict[str, Any], strategy: str, path: Path, n_volumes: int, kept: tuple[int, ...] | None
) -> RunConfounds:
    from nilearn.interfaces import fmriprep

    load = fmriprep.load_confounds_strategy if "denoise_strategy" in options else fmriprep.load_confounds
    # nilearn looks at the name only, and knows volumes that are compressed
    files: Any = f"{path}.gz" if path.name.endswith("_bold.nii") else str(path)
    if "_hemi-" in path.name:  # nilearn wants both sides
        files = [str(path.with_name(path.name.replace(f"_hemi-{a}_", f"_hemi-{b}_"))) for a, b in ("RL", "LR")]
    try:
        table, mask = load(files, **options)
    except TypeError as error:
        raise UsageError(f"confounds takes what nilearn's load_confounds takes: {error}") from error
    except (ValueError, OSError, KeyError) as error:
        raise InputError(f"{path.name}: confounds {strategy!r}: {' '.join(str(error).split())}") from error
    beside = confound_table_of(path)
    if table is not None:
        table = read_confounds(table, n_volumes, beside.name if beside else f"confounds of {path.name}")
    if mask is not None:
        dropped = set(range(n_volumes)) - set(map(int, mask))
        left = [i for i in (kept or range(n_volumes)) if i not in dropped]
        kept = kept_volumes(left, n_volumes, f"{path.name}, scrubbed")
    empty = table is None or table.shape[1] == 0
    told = {
        "file": None if beside is None else beside.name,
        "strategy": strategy,
        "options": {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()},
        "columns": [] if empty else list(table.columns),
    }
    return RunConfounds(None if empty else table, kept, told)


def _refuse_two(table: pd.DataFrame, high_pass: float, confounds: Any) -> None:
    if any(str(column).startswith("cosine") for column in table.columns):
        raise UsageError(
            f"high_pass={high_pass:g} Hz and the cosines of confounds={confounds!r} both take slow drifts away; leave "
            "high_pass out, or pass a dict of load_confounds' options whose strategy has no 'high_pass'"
        )


def _no_table(path: Path) -> str:
    return f"{path.name}: no table of confounds beside it (*{_TABLES[0]})"
