"""What `load_fmri` warns of, once for all runs."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from neurosig.core.channel_names import listed
from neurosig.core.log import logger

if TYPE_CHECKING:
    from neurosig.loaders.fmri_run import Run

__all__ = ["tell", "with_files"]


def tell(runs: Sequence[Run], skipped: list[dict[str, str]]) -> None:
    """Say once, of all runs, what is missing, constant, not finite, left out, not said, or taken against its looks.

    Parameters
    ----------
    runs : sequence of Run
        Those that were read.
    skipped : list of dict
        ``file`` and ``reason`` of those that were not.
    """
    what = (
        ("missing", "lack regions, which are kept as NaN"),
        ("constant", "have regions that are constant throughout, which are 0 after standardising"),
        ("not_finite", "hold voxels that are NaN or inf, which are left out of the means"),
    )
    for key, text in what:
        count: Counter[str] = Counter()
        concerned = 0
        for run in runs:
            names = run.missing if key == "missing" else run.provenance.get(key) or ()
            concerned += bool(names)
            if isinstance(names, Mapping):
                count.update(names)
            else:
                count.update(list(names))
        if concerned:
            ordered = [name for name, _ in count.most_common()]
            voxels = f" ({sum(count.values())} voxels)" if key == "not_finite" else ""
            warnings.warn(f"{concerned} of {len(runs)} runs {text}{voxels}: {listed(ordered)}", stacklevel=3)
    _tell_tables(runs)
    absent = [run.file for run in runs if (run.provenance.get("confounds") or {}).get("absent")]
    if absent:
        warnings.warn(
            f"{len(absent)} of {len(runs)} runs are fMRIPrep's and have no table of confounds beside them, nothing was "
            f"regressed out: {listed(absent, 3)}",
            stacklevel=3,
        )
    failed = [entry for entry in skipped if entry["reason"] != "no label"]
    if failed:
        warnings.warn(f"{len(failed)} runs skipped: {listed(with_files(failed), 3)}", stacklevel=3)
    logger.info("%d runs of %d regions", len(runs), len(runs[0].names or ()))


def _tell_tables(runs: Sequence[Run]) -> None:
    """What tables do not say, or how they were taken against their looks."""
    if untimed := [run.file for run in runs if run.t_r is None]:
        which = "the run does" if len(runs) == 1 else f"{len(untimed)} of {len(runs)} runs do"
        warnings.warn(
            f"{which} not say the repetition time ({listed(untimed, 3)}), which filters, windows and networks need; "
            "pass t_r=seconds",
            stacklevel=4,
        )
    turned = [(run.file, told["told"]) for run in runs if (told := run.provenance.get("orientation"))]
    if turned:
        file, text = turned[0]
        more = f" ({len(turned) - 1} more of {len(runs)} runs likewise)" if len(turned) > 1 else ""
        warnings.warn(f"{file}: {text}{more}", stacklevel=4)
    if several := [(run.file, told) for run in runs if (told := run.provenance.get("not_taken"))]:
        file, others = several[0]
        warnings.warn(
            f"{file} holds several tables, {runs[0].provenance.get('variable')} is taken, {listed(others)} not; choose "
            "one by variable=",
            stacklevel=4,
        )


def with_files(failed: Sequence[Mapping[str, str]]) -> list[str]:
    """Reasons with the file that each concerns, which most name themselves."""
    return [
        entry["reason"] if entry["file"] in entry["reason"] else f"{entry['file']}: {entry['reason']}"
        for entry in failed
    ]
