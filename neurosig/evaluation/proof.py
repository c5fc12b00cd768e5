"""The proof, before anything is fitted, that the folds of a study let no tested sample into training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.errors import LeakageError
from neurosig.evaluation.arrays import told_name
from neurosig.evaluation.leakage import check_apart, check_no_leakage
from neurosig.evaluation.pooled import PooledRunner
from neurosig.evaluation.splits import overlapping

if TYPE_CHECKING:
    import pandas as pd

    from neurosig.evaluation.study import Study

__all__ = ["check_folds", "needed_gap"]


def needed_gap(study: Study, metadata: pd.DataFrame) -> int:
    """Trials to leave out on each side of a chronological test block, so that none overlaps what is tested."""
    if study.options["folds"] != "chronological" or study.window is None:
        return 0
    gap = overlapping(metadata, study.window)
    if gap:
        length = study.window[1] - study.window[0]
        trials = f"{gap} trial{'' if gap == 1 else 's'}"
        study.caution(
            f"{told_name(study.runner.dataset)}: trials of {length:g} s overlap, so {trials} on each "
            "side of a chronological test block are left out of training"
        )
    return gap


def check_folds(study: Study, metadata: pd.DataFrame, tasks: list[dict[str, Any]]) -> None:
    """Prove for each fold that what is tested was not trained on.

    Shuffled folds that were asked for by name are excused, with a warning in the results.

    Raises
    ------
    LeakageError
        Naming an offending pair of trials.
    """
    disjoint = {"cross_subject": ("subject",), "cross_session": ("session",), "cross_site": ("site", "subject")}.get(
        study.runner.name, ()
    )
    excused = study.options["folds"] == "shuffled" and study.by_name
    for task in {task["cv_ind"]: task for task in tasks}.values():
        train, test, calibration = (np.asarray(task[name]) for name in ("train_idx", "test_idx", "calib_idx"))
        labelled = (task["split_metadata"] or {}).get("calibration_labeled", False)
        if labelled and len(np.intersect1d(calibration, test)):
            raise LeakageError(
                "labelled calibration trials of the target subject are also tested; choose another cs_mode"
            )
        if len(np.intersect1d(train, test)):
            raise LeakageError("a trial is in training and in test; folds must not overlap")
        if isinstance(study.runner, PooledRunner):
            check_apart(metadata, train, test, disjoint)
            continue
        if study.window is None or ("onset" not in metadata and (study.unproven or excused)):
            continue
        try:
            proven = check_no_leakage(metadata, train, test, study.window, disjoint=disjoint)
        except LeakageError as error:
            if not excused:
                raise
            study.caution(f"shuffled folds, asked for by name: {error}")
            return
        if not proven:
            study.unproven = True
            study.caution(
                f"{told_name(study.runner.dataset)}: training and test trials come from the same runs, and without "
                "onsets it cannot be proven that neighbouring trials do not overlap"
            )
