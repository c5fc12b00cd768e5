"""Region series cleaned by nilearn: confounds, filters, dropped volumes, scaling; missing regions stay missing."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.log import logger
from neurosig.loaders.fmri_run import Run

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = [
    "SLOWEST",
    "UNITS",
    "check_t_r",
    "clean_series",
    "cleaned_run",
    "constant_regions",
    "kept_volumes",
    "read_confounds",
    "settled_t_r",
]

# nilearn's name of a scaling to the unit that it leaves
UNITS: Mapping[str | None, str] = {"zscore_sample": "z", "psc": "psc", None: "a.u."}
SLOWEST, _FASTEST = 20.0, 0.05  # seconds from one volume to the next that no scanner is set to leave


def check_t_r(t_r: Any, source: str) -> float:
    """The repetition time in seconds, where it is one.

    Parameters
    ----------
    t_r : float
        As a person or a header gave it.
    source : str
        What it belongs to, for the message.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    UsageError
        If it is no number, not positive, or so long that it must be milliseconds.
    """
    import math

    try:
        value = float(t_r)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or value <= 0:
        raise UsageError(f"{_of(source)}expected the repetition time t_r in seconds, a positive number, got {t_r!r}")
    if value > SLOWEST:
        raise UsageError(
            f"{_of(source)}t_r is in seconds, {value:g} s is no repetition time; milliseconds? Then "
            f"t_r={value / 1000:g}"
        )
    if value < _FASTEST:
        raise UsageError(f"{_of(source)}t_r is in seconds, {value:g} s is shorter than any scanner's repetition time")
    return value


def _of(source: str) -> str:
    return "" if source == "t_r" else f"{source}: "


def settled_t_r(given: float | None, stated: Any, source: str, where: str) -> Any:
    """The repetition time that holds: what the user says; a warning tells where the file says otherwise.

    Parameters
    ----------
    given : float or None
        Seconds, by the user; checked.
    stated : object
        What the file says, as it says it; None where it says nothing.
    source, where : str
        The file's name, and what of it says `stated`, for the warning.

    Returns
    -------
    object
        `given`, or else `stated` as it came.
    """
    if given is None or stated is None:
        return stated if given is None else given
    try:
        differs, told = not abs(given - float(stated)) <= 1e-3, f"{float(stated):g} s"
    except (TypeError, ValueError):
        differs, told = True, repr(stated)
    if differs:
        warnings.warn(f"{source}: t_r={given:g} s is used as you said, {where} says {told}", stacklevel=3)
    return given


def kept_volumes(sample_mask: Any, n_volumes: int, source: str = "sample_mask") -> tuple[int, ...] | None:
    """Numbers of the volumes that a sample mask keeps.

    Parameters
    ----------
    sample_mask : None, array of bool of shape (n_volumes,), or array of int
        True, or the number, of each volume to keep.
    n_volumes : int
        Volumes of the run.
    source : str
        What the mask belongs to, for the message.

    Returns
    -------
    tuple of int, or None
        In order; None where all volumes are kept.

    Raises
    ------
    InputError
        If the mask is of another length, or names volumes that are not there, twice, or none.
    """
    import numpy as np

    if sample_mask is None:
        return None
    mask = np.asarray(sample_mask)
    if mask.dtype == bool:
        if mask.shape != (n_volumes,):
            raise InputError(f"{source}: expected one True or False a volume, {n_volumes}, got shape {mask.shape}")
        mask = np.flatnonzero(mask)
    if mask.ndim != 1 or (mask.size and mask.dtype.kind not in "iu"):
        raise InputError(f"{source}: expected volume numbers or one True or False a volume, got {mask.dtype} of shape "
                         f"{mask.shape}")  # fmt: skip
    kept = np.unique(mask)
    if not len(kept):
        raise InputError(f"{source}: no volume is kept; loosen the thresholds that drop volumes")
    if len(kept) != len(mask) or kept[0] < 0 or kept[-1] >= n_volumes:
        raise InputError(
            f"{source}: expected each of the volumes 0 to {n_volumes - 1} at most once, got {len(mask)} numbers from "
            f"{kept[0]} to {kept[-1]}"
        )
    return None if len(kept) == n_volumes else tuple(kept.tolist())


def read_confounds(confounds: Any, n_volumes: int, source: str = "confounds") -> pd.DataFrame | None:
    """Confounds as a table of one row a volume.

    Parameters
    ----------
    confounds : None, DataFrame, array of shape (n_volumes, n_confounds) or (n_volumes,), dict, str or Path
        A file is read as text with a header where its first line is not numbers.
    n_volumes : int
        Volumes of the run.
    source : str
        What the confounds belong to, for the message.

    Returns
    -------
    DataFrame or None
        Columns of numbers. What a derivative lacks in the first volume (n/a) is taken from the second.

    Raises
    ------
    InputError
        If there is no such file, its length is another, a column holds no numbers or lacks some later on.
    """
    import numpy as np
    import pandas as pd

    if confounds is None:
        return None
    if isinstance(confounds, str | Path):
        table = _confounds_file(Path(confounds))
        source = Path(confounds).name
    else:
        table = pd.DataFrame(confounds).copy()
    table.columns = [str(name) for name in table.columns]
    if len(table) != n_volumes:
        raise InputError(
            f"{source}: expected one row of confounds a volume, {n_volumes}, got {len(table)}; the file belongs to "
            "another run, or volumes were dropped from one of the two"
        )
    table = table.apply(pd.to_numeric, errors="coerce").astype(float)
    filled = [str(name) for name in table.columns[table.iloc[:1].isna().all() & ~table.isna().all()]]
    if strange := [name for name in filled if not re.search(r"deriv|dvars|displacement|_diff|rmsd", name)]:
        warnings.warn(
            f"{source}: {listed(strange)} lack the first volume, where the value of the second is taken", stacklevel=3
        )
    table.iloc[:1] = table.iloc[:2].bfill().iloc[:1]
    bad = table.columns[~np.isfinite(table.to_numpy()).all(axis=0)]
    if len(bad):
        raise InputError(f"{source}: confounds must be finite numbers, these columns are not: {listed(bad)}")
    return table.reset_index(drop=True)


def _confounds_file(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise InputError(f"{path}: no such file of confounds; pass confounds=None to clean without")
    try:
        with path.open(encoding="utf-8-sig") as stream:
            words = stream.readline().replace(",", " ").split()
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            numbers = []
        return pd.read_csv(
            path, sep="," if path.suffix == ".csv" else r"\t" if path.suffix == ".tsv" else r"\s+",
            header=None if numbers else 0, na_values=["n/a"], encoding="utf-8-sig", engine="python",
        )  # fmt: skip
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(
            f"{path.name} cannot be read as a table of confounds: {' '.join(str(error).split())}"
        ) from error


def clean_series(
    series: np.ndarray,
    t_r: float | None,
    *,
    confounds: pd.DataFrame | None = None,
    kept: Sequence[int] | None = None,
    standardize: str | None = "zscore_sample",
    detrend: bool = False,
    low_pass: float | None = None,
    high_pass: float | None = None,
    source: str = "series",
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """Clean region series with `nilearn.signal.clean`.

    Parameters
    ----------
    series : array of shape (n_regions, n_volumes)
        As measured; a region that is missing is NaN throughout.
    t_r : float or None
        Repetition time in seconds; only filters need it.
    confounds : DataFrame of n_volumes rows, optional
        As from `read_confounds`; regressed out.
    kept : sequence of int, optional
        Volumes to keep, as from `kept_volumes`; filters run over the others by interpolation.
    standardize : {"zscore_sample", "psc", None}
        Scaling of each region: to standard deviation 1 (ddof 1), to percent of its mean, or none.
    detrend : bool
        Whether a straight line is removed from each region.
    low_pass, high_pass : float, optional
        Edges in Hz of a Butterworth filter.
    source : str
        What the series belong to, for the messages.
    names : sequence of str, optional
        Of the regions, for the messages.

    Returns
    -------
    float32 array of shape (n_regions, n_kept)
        Missing regions are NaN, constant ones zero after standardising.

    Raises
    ------
    UsageError
        If options are unknown, do not fit the repetition time, or would high-pass twice.
    """
    import numpy as np
    from nilearn import signal

    if standardize not in UNITS:
        raise UsageError(f"standardize must be 'zscore_sample', 'psc' or None, got {standardize!r}")
    for name, edge in (("low_pass", low_pass), ("high_pass", high_pass)):
        if edge is None:
            continue
        if t_r is None:
            raise UsageError(
                f"{source}: {name} needs the repetition time, which the file does not say; pass t_r=seconds"
            )
        if not 0 < edge < 0.5 / t_r:
            raise UsageError(
                f"{source}: {name} must lie between 0 and {0.5 / t_r:g} Hz, half the volume rate at t_r={t_r:g} s, "
                f"got {edge!r}"
            )
    if low_pass is not None and high_pass is not None and not high_pass < low_pass:
        raise UsageError(f"{source}: high_pass must lie below low_pass, got {high_pass:g} and {low_pass:g} Hz")
    if high_pass is not None and confounds is not None:
        cosines = [name for name in confounds.columns if name.startswith(("cosine", "drift"))]
        if cosines:
            raise UsageError(
                f"{source}: high_pass={high_pass:g} Hz and the confounds {listed(cosines)} both take slow drifts away; "
                "leave out one of them"
            )
    finite = np.isfinite(series)
    seen = finite if kept is None else finite[:, list(kept)]
    there = seen.all(axis=1)
    partly = ~there & seen.any(axis=1)
    if partly.any():
        wrong = [str(place) if names is None else names[place] for place in np.flatnonzero(partly).tolist()]
        raise InputError(
            f"{source}: regions {listed(wrong)} have NaN or inf in some volumes; repair the file, or leave these "
            "volumes out: load_fmri(sample_mask=...)"
        )
    n_kept = series.shape[1] if kept is None else len(kept)
    if confounds is not None and confounds.shape[1] >= n_kept - 1:
        chosen = confounds.to_numpy() if kept is None else confounds.to_numpy()[list(kept)]
        rank = int(np.linalg.matrix_rank(chosen - chosen.mean(axis=0)))
        if rank >= n_kept - 1:
            raise InputError(
                f"{source}: {confounds.shape[1]} confounds leave nothing of {n_kept} volumes; regress out fewer of them"
            )
    cleaned = np.full((len(series), n_kept), np.nan, dtype=np.float32)
    if not there.any():
        return cleaned
    filtered = low_pass is not None or high_pass is not None
    if not (filtered or detrend or standardize or confounds is not None):
        cleaned[there] = series[there] if kept is None else series[there][:, list(kept)]
        return cleaned
    still = constant_regions(series, kept)
    whole = np.where(finite[there], series[there], 0.0).T.astype(float)
    mask = None if kept is None else np.asarray(kept)
    if mask is not None and filtered:
        whole, confounds, mask = _interpolated(whole, confounds, mask)
    with warnings.catch_warnings():
        # what nilearn says of constant regions is said by whoever loads them, by name
        warnings.filterwarnings("ignore", message=".*(divide by zero|invalid value|psc standardization).*")
        try:
            done = signal.clean(
                whole, detrend=detrend, standardize=standardize, sample_mask=mask, confounds=confounds,
                filter="butterworth" if filtered else False, low_pass=low_pass, high_pass=high_pass, t_r=t_r,
            )  # fmt: skip
        except ValueError as error:
            if "padlen" not in str(error):
                raise
            raise InputError(
                f"{source}: {len(whole)} volumes are too few for a filter (low_pass, high_pass): leave it out, or take "
                "longer runs"
            ) from error
    cleaned[there] = done.T
    if standardize:
        # regression and filters leave rounding errors of them, which would be scaled up to noise
        cleaned[still] = 0.0
    return cleaned


def constant_regions(series: np.ndarray, kept: Sequence[int] | None = None) -> np.ndarray:
    """Which regions have one value throughout, up to rounding.

    Parameters
    ----------
    series : array of shape (n_regions, n_volumes)
        As measured; a region that is missing is NaN throughout, and none of them.
    kept : sequence of int, optional
        Volumes to look at; all by default.

    Returns
    -------
    bool array of shape (n_regions,)
    """
    import numpy as np

    seen = series if kept is None else series[:, list(kept)]
    low, high = seen.min(axis=1), seen.max(axis=1)
    with np.errstate(invalid="ignore"):
        return high - low <= 1e-12 * np.maximum(np.abs(low), np.abs(high))


def _interpolated(
    volumes: np.ndarray, confounds: pd.DataFrame | None, kept: np.ndarray
) -> tuple[np.ndarray, pd.DataFrame | None, np.ndarray]:
    """Volumes from the first to the last that is kept, with cubic splines over those dropped between them.

    It is what nilearn's clean does before it filters. But nilearn 0.14 leaves a dropped volume as it is where its
    mirror image in time is dropped too, and gives the wrong volumes where that is so at both ends of the run.
    """
    import numpy as np
    import pandas as pd
    from scipy.interpolate import CubicSpline

    first, last = int(kept[0]), int(kept[-1])
    times = np.arange(first, last + 1)
    dropped = ~np.isin(times, kept)

    def fill(values: np.ndarray) -> np.ndarray:
        values = np.array(values[first : last + 1], dtype=float)
        if dropped.any():
            values[dropped] = CubicSpline(kept, values[~dropped])(times[dropped])
        return values

    if confounds is not None:
        confounds = pd.DataFrame(fill(confounds.to_numpy()), columns=confounds.columns)
    return fill(volumes), confounds, kept - first


def cleaned_run(
    series: np.ndarray,
    t_r: float | None,
    names: Sequence[str] | None,
    *,
    file: str,
    atlas: str | None = None,
    positions: np.ndarray | None = None,
    confounds: Any = None,
    sample_mask: Any = None,
    standardize: str | None = "zscore_sample",
    detrend: bool = False,
    low_pass: float | None = None,
    high_pass: float | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Run:
    """Series as a file holds them to a `Run`: cleaned, with what was done, and missing and constant regions told.

    Parameters
    ----------
    series : array of shape (n_regions, n_volumes)
        As measured; a region that is missing is NaN throughout.
    t_r : float or None
        Repetition time in seconds.
    names : sequence of str, or None
        Region names.
    file : str
        Name of the file.
    atlas : str, optional
        Name of the parcellation.
    positions : array of shape (n_regions, 3), optional
        Region centres in metres.
    confounds, sample_mask
        As `read_confounds` and `kept_volumes` take them.
    standardize, detrend, low_pass, high_pass
        As `clean_series` takes them.
    provenance : dict, optional
        What the reader did, JSON-like; what is done here is added.

    Returns
    -------
    Run
    """
    import nilearn
    import numpy as np

    series = np.asarray(series)
    n_volumes = series.shape[1]
    where = Path(confounds).name if isinstance(confounds, str | Path) else None
    table = read_confounds(confounds, n_volumes, f"confounds of {file}")
    kept = kept_volumes(sample_mask, n_volumes, f"sample_mask of {file}")
    data = clean_series(
        series, t_r, confounds=table, kept=kept, standardize=standardize, detrend=detrend, low_pass=low_pass,
        high_pass=high_pass, source=file, names=names,
    )  # fmt: skip
    done = {
        **(provenance or {}),
        "nilearn": nilearn.__version__,
        "standardize": standardize,
        "detrend": detrend,
        "low_pass": low_pass,
        "high_pass": high_pass,
        "confounds": None if table is None else {"file": where, "columns": list(table.columns)},
    }
    run = Run(
        data=data, t_r=t_r, names=names, atlas=atlas, positions=positions, n_volumes=n_volumes, kept=kept,
        unit=UNITS[standardize], file=file, provenance=done,
    )  # fmt: skip
    if run.missing:
        logger.info("%s: %d of %d regions were not measured (kept as NaN): %s", file, len(run.missing),
                       len(run.names or ()), listed(run.missing))  # fmt: skip
    constant = constant_regions(series, kept)
    still = [name for name, one in zip(run.names or (), constant, strict=True) if one]
    if still:
        logger.info("%s: %d regions have one value throughout: %s", file, len(still), listed(still))
        done["constant"] = still
    return run
