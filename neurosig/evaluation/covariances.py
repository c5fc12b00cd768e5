"""Pipelines that decode from covariances, and what their trials should not have been through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed

if TYPE_CHECKING:
    from neurosig.loaders.manifest import Manifest

__all__ = ["cells_caution", "takes_covariances"]

_OURS = ("Augmented", "BlockToeplitzSiegel", "FastTangentSpace", "PhaseSPDNet", "Recentering")


def takes_covariances(pipeline: Any) -> bool:
    """Whether a pipeline has a step that makes covariances: one of pyriemann's, or of ours that do so."""
    return any(
        type(step).__module__.partition(".")[0] == "pyriemann" or type(step).__name__.startswith(_OURS)
        for step in _estimators(pipeline)
    )


def cells_caution(manifest: Manifest | None, pipelines: Mapping[str, Any]) -> list[str]:
    """One line where channels of single trials were interpolated before and pipelines decode from covariances.

    Parameters
    ----------
    manifest : Manifest or None
        The recordings.
    pipelines : dict of str to estimator
        What is to decode them.

    Returns
    -------
    list of str
        Empty where there is nothing to say.
    """
    from neurosig.loaders.epoch_files import cleaned_by_step

    concerned = [name for name, pipeline in pipelines.items() if takes_covariances(pipeline)]
    if manifest is None or manifest.kind != "files" or not concerned:
        return []
    if not cleaned_by_step(manifest.recordings(), "channels_in_epochs"):
        return []
    return [
        "the cleaning interpolated channels of single trials (step channels_in_epochs), which takes ranks off their "
        f"covariances and lowers scores of {listed(concerned)}: compare with a folder cleaned by neurosig preprocess "
        "--steps channels,epochs,components"
    ]


def _estimators(value: Any) -> Iterator[Any]:
    if hasattr(value, "get_params") and not isinstance(value, type):
        yield value
        yield from _parts(value.get_params(deep=False).values())
    elif isinstance(value, list | tuple):
        yield from _parts(value)


def _parts(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        yield from _estimators(value)
