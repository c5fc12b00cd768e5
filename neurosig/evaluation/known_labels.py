"""Labels of runs that are decoded, where the tables that come with them tell: what the answers can be held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.errors import NeurosigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from neurosig.core.signals import SignalDataset

__all__ = ["labels_of_runs"]

_WHICH = ("file", "subject", "session", "run")


def labels_of_runs(
    dataset: SignalDataset, manifest: Any, column: str | None, classes: Sequence[str]
) -> np.ndarray | None:
    """The label of each run, None where it is not known or no class of the model.

    Parameters
    ----------
    dataset : SignalDataset
        The runs, read without labels.
    manifest : Manifest
        What they were read from.
    column : str or None
        Column of the people's table that the model was trained to tell.
    classes : sequence of str
        The model's.

    Returns
    -------
    object array of shape (n_runs,) or None
        None where no run has a label.
    """
    found: list[Any] = [None] * len(dataset)
    if column is not None and column in dataset.metadata:
        found = dataset.metadata[column].tolist()
    else:
        try:
            labelled = manifest.load() if _may_know(manifest, classes) else None
        except NeurosigError:  # answers need no labels
            return None
        if labelled is not None and labelled.y is not None:
            known = dict(zip(_keys(labelled), np.asarray(labelled.y).tolist(), strict=True))
            found = [known.get(key) for key in _keys(dataset)]
    labels = np.array([str(label) if str(label) in classes else None for label in found], dtype=object)
    return labels if any(label is not None for label in labels) else None


def _may_know(manifest: Any, classes: Sequence[str]) -> bool:
    """Whether labels are told by the dataset itself, or stand beside the series: images are not read once more."""
    from neurosig.loaders.fmri_files import kind_of

    if set(manifest.event_names or ()) == set(classes):
        return True
    if manifest.kind != "files" or manifest.event_names:
        return False
    return {kind_of(recording.path) for recording in manifest.recordings()} == {"collection"}


def _keys(dataset: SignalDataset) -> list[tuple[str, ...]]:
    """What tells the runs of a dataset from one another."""
    return list(zip(*(dataset.metadata[name].astype(str) for name in _WHICH), strict=True))
