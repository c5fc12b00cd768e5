"""What one pass over the series of an fMRI file finds, and what of it is a problem."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Content", "measures_of", "problem", "problems_of", "scan_series", "spikes_of", "told_beside", "values_of"]

_ROWS = 3000  # voxels, vertices or regions that are looked at closely; all are counted
_FAR = 3.0  # times the spread between quartiles: Tukey's far-out values
_SETTLING = 5  # volumes at the beginning in which magnetisation may still settle
_GROUPS = 5  # regions of equal series are told group by group up to here
_SHORT = 120.0  # s; connectivity of less is mostly noise


@dataclass
class Content:
    """What was read from a file, before it is judged."""

    format: str
    kind: str  # "regions", "voxels", "vertices", "grayordinates"
    blocks: Iterable[np.ndarray]  # (some rows, n_volumes), one after the other
    n_rows: int
    t_r: float | None = None
    names: list[str] = field(default_factory=list)
    image: Any = None
    details: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)


def scan_series(blocks: Iterable[np.ndarray], n_rows: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Look at all rows, in pieces, and keep some.

    Parameters
    ----------
    blocks : iterable of array of shape (some rows, n_volumes)
        The series, one piece after the other.
    n_rows : int
        Rows of all.

    Returns
    -------
    rows : float32 array of shape (n_kept, n_volumes)
        Evenly spread ones.
    found : dict of str to array of shape (n_rows,)
        ``bad`` (how many values are not finite), ``constant`` (whether the row never changes).
    """
    import numpy as np

    keep = np.unique(np.linspace(0, n_rows - 1, min(_ROWS, n_rows)).astype(int))
    kept, bad, constant = [], [], []
    start = 0
    for block in blocks:
        here = keep[(keep >= start) & (keep < start + len(block))] - start
        kept.append(np.asarray(block[here], dtype=np.float32))
        bad.append((~np.isfinite(block)).sum(axis=1))
        constant.append(np.fmin.reduce(block, axis=1) == np.fmax.reduce(block, axis=1))
        start += len(block)
    return np.concatenate(kept), {"bad": np.concatenate(bad), "constant": np.concatenate(constant)}


def measures_of(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Global mean, and change from volume to volume (root mean square), of rows that are finite: (n_volumes,) each."""
    import numpy as np

    sound = rows[np.isfinite(rows).all(axis=1)].astype(float)
    if not len(sound):
        return {"global": np.zeros(rows.shape[1]), "dvars": np.zeros(rows.shape[1])}
    change = np.diff(sound, axis=1, prepend=sound[:, :1])
    return {"global": sound.mean(axis=0), "dvars": np.sqrt((change**2).mean(axis=0))}


def spikes_of(dvars: np.ndarray) -> list[int]:
    """Volumes that differ from the one before far more than others do."""
    import numpy as np

    if len(dvars) < 30:
        return []
    low, high = np.percentile(dvars[1:], [25, 75])
    return [int(i) for i in np.flatnonzero(dvars > high + _FAR * (high - low)) if high > low and i]


def values_of(rows: np.ndarray) -> dict[str, float | None]:
    """Size of the values: median, sd over time, min, max, and temporal signal-to-noise ratio of raw series."""
    import numpy as np

    finite = rows[np.isfinite(rows)]
    if not finite.size:
        return {"median": None, "sd": None, "min": None, "max": None, "tsnr": None}
    sound = rows[np.isfinite(rows).all(axis=1)].astype(float)
    mean, sd = sound.mean(axis=1), sound.std(axis=1)
    alive = sd > 0
    # a mean of about zero is what detrending, filters and standardising leave: there is nothing to compare noise with
    raw = alive.any() and np.median(mean[alive] / sd[alive]) > 1
    return {
        "median": _short(np.median(finite)),
        "sd": _short(np.median(sd[alive])) if alive.any() else 0.0,
        "min": _short(finite.min()),
        "max": _short(finite.max()),
        "tsnr": _short(np.median(mean[alive] / sd[alive])) if raw else None,
    }


def _short(value: Any) -> float:
    return float(f"{float(value):.6g}")


def told_beside(path: Path, content: Content) -> tuple[dict[str, int], dict[str, Any] | None, Any]:
    """Events, confounds and displacement that files beside the run tell."""
    import pandas as pd

    from neurosig.loaders.fmri_confounds import confound_table_of, is_fmriprep
    from neurosig.loaders.fmri_events import events_beside

    events: dict[str, int] = {}
    confounds, displacement = None, None
    place = events_beside(path)
    if place is not None:
        try:
            table = pd.read_csv(place, sep="\t", encoding="utf-8-sig")
            events = {str(name): int(count) for name, count in table["trial_type"].value_counts(sort=False).items()}
        except (OSError, ValueError, KeyError) as error:
            content.notes.append(f"{place.name} cannot be read as a table of events: {' '.join(str(error).split())}")
    table_path = confound_table_of(path) if is_fmriprep(path) else None
    if table_path is not None:
        try:
            table = pd.read_csv(table_path, sep="\t", na_values=["n/a"])
        except (OSError, ValueError) as error:
            content.problems.append(problem("confounds", f"{table_path.name} cannot be read: {error}"))
        else:
            confounds = {"file": table_path.name, "n_columns": len(table.columns), "n_rows": len(table)}
            if "framewise_displacement" in table:
                displacement = table["framewise_displacement"].fillna(0.0).to_numpy(dtype=float)
                confounds["mean_fd"] = _short(displacement.mean())
    return events, confounds, displacement


def problem(kind: str, message: str, regions: list[str] | None = None) -> dict[str, Any]:
    """One entry of a report's problems."""
    return {"kind": kind, "message": message, "regions": regions or []}


def problems_of(
    content: Content, found: Mapping[str, np.ndarray], rows: np.ndarray, measures: Mapping[str, np.ndarray],
    spikes: list[int], confounds: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Everything that would surprise someone who analysed the run unseen."""
    import numpy as np

    n_volumes = rows.shape[1]
    problems = []
    named = content.kind == "regions"
    total = f"{content.n_rows} {content.kind}"

    def names(which: np.ndarray) -> list[str]:
        return [content.names[i] for i in np.flatnonzero(which)] if named and content.names else []

    gone = found["bad"] == n_volumes
    partly = (found["bad"] > 0) & ~gone
    if gone.any():
        problems.append(
            problem(
                "missing",
                f"{gone.sum()} of {total} were not measured (no value throughout)",
                names(gone),
            )
        )
    if partly.any():
        problems.append(problem("nan", f"{partly.sum()} of {total} hold NaN or inf in part", names(partly)))
    still = found["constant"] & ~gone
    if still.any():
        problems.append(problem("constant", f"{still.sum()} of {total} never change", names(still)))
    if named and len(rows) == content.n_rows:
        problems += _copies(content.names, rows, still | gone, content.details.get("voxel_mm"))
    if spikes:
        shown = listed(map(str, spikes))
        count = "1 volume differs" if len(spikes) == 1 else f"{len(spikes)} volumes differ"
        problems.append(problem("spikes", f"{count} from the one before far more than others do (movement?): {shown}"))
    if settling := _settling(measures["global"]):
        problems.append(
            problem(
                "settling",
                f"the first {settling} volumes are far from the rest: the scanner was not "
                "in its steady state; drop them",
            )
        )
    duration = None if content.t_r is None else n_volumes * content.t_r
    if duration is not None and duration < _SHORT:
        problems.append(problem("short", f"the run lasts {duration:.0f} s; connectivity of so little is mostly noise"))
    if confounds is not None and confounds["n_rows"] != n_volumes:
        problems.append(
            problem("confounds", f"{confounds['file']} has {confounds['n_rows']} rows, the run {n_volumes} volumes")
        )
    moves = measures.get("fd")
    if moves is not None and (moved := float((moves > 0.5).mean())) > 0.2:
        problems.append(problem("movement", f"{moved:.0%} of the volumes moved by more than 0.5 mm"))
    return problems


def _copies(
    names: list[str], rows: np.ndarray, dead: np.ndarray, voxel_mm: list[float] | None = None
) -> list[dict[str, Any]]:
    """Regions with equal series; of many groups one problem, which names them all."""
    groups: dict[bytes, list[str]] = {}
    for name, row, gone in zip(names, rows, dead, strict=True):
        if not gone:
            groups.setdefault(row.tobytes(), []).append(name)
    same = [group for group in groups.values() if len(group) > 1]
    if len(same) <= _GROUPS:
        return [problem("duplicate", f"regions with equal series: {listed(group)}", group) for group in same]
    every = [name for group in same for name in group]
    size = "" if voxel_mm is None else f", of {' × '.join(f'{value:g}' for value in voxel_mm)} mm,"
    why = f"; the image's voxels{size} are too coarse for this atlas" if voxel_mm is not None else ""
    return [problem("duplicate", f"{len(every)} of {len(names)} regions share their series with others{why}", every)]


def _settling(signal: np.ndarray) -> int:
    """How many volumes at the beginning lie far off what comes after."""
    import numpy as np

    if len(signal) < 4 * _SETTLING:
        return 0
    rest = signal[_SETTLING:]
    middle = np.median(rest)
    spread = 1.4826 * np.median(np.abs(rest - middle))
    far = np.abs(signal[:_SETTLING] - middle) > 6 * spread
    return int(np.argmin(far)) if spread > 0 and not far.all() else _SETTLING * int(spread > 0)
