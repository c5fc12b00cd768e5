"""How NeuroRVQ's foundation model is fine-tuned: learning rates by layer."""

from __future__ import annotations

from typing import Any

from neurosig.core.errors import UsageError
from neurosig.models.neurorvq_encoder import NeuroRVQEncoder

__all__ = ["layer_decay_groups"]


def layer_decay_groups(
    encoder: NeuroRVQEncoder, lr: float = 5e-4, *, decay: float = 0.975, per: str = "tensor", head_only: bool = False
) -> list[dict[str, Any]]:
    """Parameter groups whose learning rate falls towards the input.

    Parameters
    ----------
    encoder : NeuroRVQEncoder
        With a classifier.
    lr : float
        Learning rate of the classifier.
    decay : float
        Factor from one tensor, or one block, to that before it.
    per : {"tensor", "block"}
        What a layer is, see `NeuroRVQEncoder.learning_rates`.
    head_only : bool
        Whether only the classifier is trained; the others get no group.

    Returns
    -------
    list of dict
        ``name``, ``params`` and ``lr``, for an optimizer of torch.
    """
    if encoder.head is None:
        raise UsageError("layer_decay_groups needs an encoder with a classifier; pass n_outputs to it")
    names, parameters = encoder.published_names(), dict(encoder.named_parameters())
    rates, own = encoder.learning_rates(decay, per), set(map(id, encoder.head_parameters()))
    return [
        {"name": published, "params": [parameters[ours]], "lr": lr * rates[ours]}
        for ours, published in names.items()
        if not head_only or id(parameters[ours]) in own
    ]
