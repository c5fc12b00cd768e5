"""Networks on tokens that learn from recordings without labels: the second stage, after a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from neurosig.core.errors import UsageError
from neurosig.tokenizers.base import Tokenizer
from neurosig.tokenizers.pretraining import (
    Pretrained,
    PretrainingSystem,
    check_request,
    learn_from_recordings,
)
from neurosig.tokenizers.tokenize import load_tokenizer

__all__ = ["EMBEDDERS", "check_embedder", "pretrain_embedder"]

_WINDOW = 5.0  # seconds, where the tokenizer was fitted on nothing of one length

# "base" is the published size
EMBEDDERS: dict[str, PretrainingSystem] = {
    one.name: one
    for one in (
        PretrainingSystem(
            "neurorvq-embedder", "neurosig.models.neurorvq_embedder:NeuroRVQEmbedder", 200.0,
            {"base": {}, "small": {"depth": 4}}, "neurosig.tokenizers.neurorvq:NeuroRVQTokenizer",
        ),
        PretrainingSystem(
            "tfm-encoder", "neurosig.models.tfm_embedder:TFMEmbedder", 200.0,
            {"base": {}, "small": {"depth": 2, "n_heads": 4}}, "neurosig.tokenizers.tfm:TFMTokenizer",
        ),
    )
}  # fmt: skip


def pretrain_embedder(
    system: str,
    recordings: Any,
    out: str | PathLike,
    *,
    tokenizer: Tokenizer | str | PathLike,
    size: str = "base",
    window: float | None = None,
    step: float | None = None,
    picks: Sequence[str] | None = None,
    skip_bad: bool = True,
    on_nan: str = "raise",
    subjects: Sequence[str] | None = None,
    data: str | Path | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    licence: str | None = None,
    **params: Any,
) -> Pretrained:
    """Learn a network on tokens from recordings, without labels, and store it.

    Parameters
    ----------
    system : {"neurorvq-embedder", "tfm-encoder"}
        Which network, of `EMBEDDERS`: the one learns by `NeuroRVQEmbedder`, the other by `TFMEmbedder`.
    recordings, out : object
        As in `neurosig.tokenizers.pretrain_tokenizer`.
    tokenizer : Tokenizer or path-like
        Whose tokens it learns to predict: fitted, or its folder.
    size : str
        One of the system's sizes; "base" is the published one.
    window : float, optional
        Length of a window in seconds; by default that of the windows that the tokenizer learned from, else 5.
    step, picks, skip_bad, on_nan, subjects, data, overwrite, progress, licence : object
        As in `neurosig.tokenizers.pretrain_tokenizer`.
    **params
        Parameters of the estimator (``max_epochs=20``). `validation` holds whole subjects back.

    Returns
    -------
    Pretrained
        The estimator, and a table of its collections. `NeuroRVQClassifier` and `TFMClassifier` start from it, or from
        its folder (``pretrained=``).

    Raises
    ------
    UsageError
        If the system, its size or a parameter is unknown, or the tokenizer is of another system.
    InputError
        If no recording can be used.
    StorageError
        If the tokenizer cannot be read; or `out` holds something else, or such a network and `overwrite` is not said.

    Examples
    --------
    >>> from neurosig.models import TFMClassifier, pretrain_embedder
    >>> made = pretrain_embedder(  # doctest: +SKIP
    ...     "tfm-encoder", "recordings/", "encoder/", tokenizer="tokenizer/", max_epochs=20, validation=0.2
    ... )
    >>> decoder = TFMClassifier("encoder/")  # doctest: +SKIP
    """
    estimator, chosen, teacher = check_embedder(system, out, tokenizer, params, size=size, overwrite=overwrite)
    if window is None:
        n_times, sfreq = getattr(teacher, "n_times_", None), getattr(teacher, "sfreq_", None)
        window = n_times / sfreq if n_times and sfreq else _WINDOW
    return learn_from_recordings(
        estimator, chosen.sfreq, recordings, out, window=window, step=step, picks=picks, skip_bad=skip_bad,
        on_nan=on_nan, subjects=subjects, data=data, overwrite=overwrite, progress=progress, licence=licence,
    )  # fmt: skip


def check_embedder(
    system: str,
    out: str | PathLike,
    tokenizer: Any,
    params: dict[str, Any],
    *,
    size: str = "base",
    overwrite: bool = False,
) -> tuple[Any, PretrainingSystem, Tokenizer]:
    """Refuse what `pretrain_embedder` would refuse whatever the recordings.

    Returns
    -------
    estimator, PretrainingSystem, Tokenizer
        What is going to be fitted, and the tokenizer that it is given.

    Raises
    ------
    UsageError, StorageError
        As there.
    """
    estimator, chosen = check_request(system, out, params, size=size, overwrite=overwrite, systems=EMBEDDERS)
    place = tokenizer if isinstance(tokenizer, str | PathLike) else None
    teacher = tokenizer if place is None else load_tokenizer(place, device=estimator.device)
    wanted = chosen.load_tokenizer_class()
    if not isinstance(teacher, wanted):
        given = type(teacher).__name__
        raise UsageError(f"{system} predicts the tokens of a {wanted.__name__}, got a {given}: give another tokenizer")
    if not teacher.__sklearn_is_fitted__():
        raise UsageError(f"the tokenizer of {system} must be fitted: learn it first (neurosig pretrain)")
    return estimator.set_params(tokenizer=teacher), chosen, teacher
