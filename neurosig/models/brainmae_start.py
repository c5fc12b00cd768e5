"""Where the training of BrainMAE on labels starts, a head that is trained alone, and regions that are left out."""

from __future__ import annotations

from os import PathLike
from typing import Any

import torch
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurosig.core.errors import UsageError
from neurosig.core.log import logger
from neurosig.models.brainmae_base import LearnedBrainMAE
from neurosig.models.brainmae_embedder import BrainMAEEmbedder

__all__ = ["Head", "RegionDropout", "pretrained_embedder", "start_from"]


def pretrained_embedder(given: Any) -> BrainMAEEmbedder | None:
    """The embedder that was given, fitted, read from its folder where it is one.

    Raises
    ------
    UsageError
        If it is something else, or not fitted.
    """
    given = given.estimator if isinstance(given, FrozenEstimator) else given
    if given is None:
        return None
    if isinstance(given, str | PathLike):
        return BrainMAEEmbedder.from_pretrained(given, device="cpu")
    if not isinstance(given, BrainMAEEmbedder):
        raise UsageError(
            f"pretrained must be a fitted BrainMAEEmbedder or the folder of one, got {type(given).__name__}"
        )
    try:
        check_is_fitted(given)
    except NotFittedError as error:
        raise UsageError(
            "the pretrained embedder is not fitted; scikit-learn's clone unfits estimators among the parameters: "
            "wrap it in sklearn.frozen.FrozenEstimator, or give the folder that save_pretrained wrote"
        ) from error
    return given


def start_from(module: nn.Module, source: BrainMAEEmbedder, mode: str) -> None:
    """Put pretrained weights into a module; what depends on the volumes of a segment may be new.

    Parameters
    ----------
    module : BrainMAE
        Gets the weights.
    source : BrainMAEEmbedder
        Fitted.
    mode : {"full", "probe", "frozen_embedding"}
        What is going to be trained.

    Raises
    ------
    UsageError
        If the weights do not fit, or what is new would not be trained.
    """
    state, own = source.module_.state_dict(), module.state_dict()
    others = [name for name in state if name in own and state[name].shape != own[name].shape]
    if strangers := [name for name in others if name not in LearnedBrainMAE.OF_THE_RATE]:
        raise UsageError(f"the pretrained weights do not fit this network: {strangers[0]} differs")
    if others and mode == "probe":
        raise UsageError(
            "on_tr_mismatch='reinit' begins anew with the layer that reads segments, which mode='probe' would "
            "never train; give mode='full', or 'resample'"
        )
    kept = {name: value for name, value in state.items() if name in own and name not in others}
    module.load_state_dict({name: kept.get(name, value) for name, value in own.items()})
    if others:
        logger.info("the layer that reads segments is new: a segment has %d volumes now", module.samples)
    if mode == "frozen_embedding":
        module.region_embedding.requires_grad_(False)


class Head(nn.Module):
    """The head of a network, which reads what `window_means` gives.

    Parameters
    ----------
    module : LearnedBrainMAE
        Whose head is trained, in place.
    """

    def __init__(self, module: Any):
        super().__init__()
        self.head_norm, self.final_layer = module.head_norm, module.final_layer

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Mean of the windows' answers, by their segments: (n, n_windows, emb_size + 1) -> (n, n_outputs)."""
        means, number = windows[..., :-1], windows[..., -1:]
        return (self.final_layer(self.head_norm(means)) * number).sum(dim=1) / number.sum(dim=1)


class RegionDropout:
    """Regions that runs lack in a training step: an augmentation of `Batches`.

    Parameters
    ----------
    share : float
        Of the regions, from 0 to below 1.
    """

    def __init__(self, share: float):
        self.share = share

    def __call__(self, X: torch.Tensor, y: Any) -> tuple[torch.Tensor, Any]:
        """Some regions as NaN, which is what is not measured."""
        n_runs, n_regions = X.shape[:2]
        n_dropped = int(self.share * n_regions)
        dropped = torch.rand(n_runs, n_regions).argsort(dim=1) < n_dropped
        lacking = dropped.to(X.device) & ~_all_missing(X, dropped.to(X.device))[:, None]
        return X.masked_fill(lacking[:, :, None], torch.nan), y

    def state_dict(self) -> dict[str, Any]:
        """Nothing: it draws from torch's own generator, whose state is kept with the training."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


def _all_missing(X: torch.Tensor, dropped: torch.Tensor) -> torch.Tensor:
    """Runs that would have no region left, for they lack others anyway."""
    return (X.isnan().all(dim=2) | dropped).all(dim=1)
