"""Whether pipelines are for the labels at hand: classifiers for classes, regressors for numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from neurosig.core.errors import UsageError

__all__ = ["pipelines_for"]


def pipelines_for(
    y: Any, pipelines: Mapping[str, Any], dataset: str, *, chosen: bool = True
) -> tuple[dict[str, Any], list[str]]:
    """The pipelines that can learn such labels.

    Parameters
    ----------
    y : array of shape (n_trials,), or None
        Labels: of float where they are numbers to predict.
    pipelines : dict of str to estimator
        By name. Those that do not tell what they are (no scikit-learn tags) are kept.
    dataset : str
        Its name, for messages.
    chosen : bool
        Whether each was given as an object: then one that does not fit is refused. Those of files, of which a folder
        may hold both kinds, are left out, as long as one fits.

    Returns
    -------
    pipelines : dict of str to estimator
        Those that fit.
    told : list of str
        What was left out, and why.

    Raises
    ------
    UsageError
        None fits, or one that was given as an object does not.
    """
    if y is None:
        return dict(pipelines), []
    numbers = np.asarray(y).dtype.kind == "f"
    wrong = "classifier" if numbers else "regressor"
    unfit = [name for name, pipeline in pipelines.items() if _kind(pipeline) == wrong]
    if not unfit:
        return dict(pipelines), []
    labels, needed = ("numbers", "regressors") if numbers else ("class names", "classifiers")
    reason = f"the labels of {dataset} are {labels}, which {needed} learn, and these are {wrong}s: {', '.join(unfit)}"
    if chosen or len(unfit) == len(pipelines):
        other = (
            "a regressor (for runs of fMRI: FC+Ridge or BrainMAE regression), or another column of labels"
            if numbers
            else "a classifier, or labels that are numbers"
        )
        raise UsageError(f"{reason}; take {other}")
    return {name: pipeline for name, pipeline in pipelines.items() if name not in unfit}, [f"{reason}; left out"]


def _kind(pipeline: Any) -> str | None:
    from sklearn.utils import get_tags

    try:
        return get_tags(pipeline).estimator_type
    except Exception:  # whatever an object that is none of scikit-learn's, or half of one, fails with
        return None
