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
        "tensor", as published: every parameter tensor is a layer, so that the first of 275 learns at 0.975 to the power
        of 275 (a thousandth) of `lr`. "block", as is usual: convolutions and tables are one layer, each transformer
        block is one.
    head_only : bool
        Whether only the classifier is trained; the others get no group.

    Returns
    -------
    list of dict
        ``name``, ``params`` and ``lr``, for an optimizer of torch.
    """
    if per not in ("tensor", "block"):
        raise UsageError(f"per must be 'tensor' or 'block', got {per!r}")
    if encoder.head is None:
        raise UsageError("layer_decay_groups needs an encoder with a classifier; pass n_outputs to it")
    names, parameters = encoder.published_names(), dict(encoder.named_parameters())
    depth = encoder.config.depth
    groups = []
    for index, (ours, published) in enumerate(names.items()):
        is_head = published.startswith(("head.", "fc_norm."))
        if head_only and not is_head:
            continue
        if is_head:
            power = 0
        elif per == "tensor":
            power = len(names) - index
        else:
            power = depth + 1 - _block(published, depth)
        groups.append({"name": published, "params": [parameters[ours]], "lr": lr * decay**power})
    return groups


def _block(published: str, depth: int) -> int:
    """0 for the input, 1 to depth for the blocks, depth + 1 for norms after them."""
    if published.startswith("blocks."):
        return int(published.split(".")[1]) + 1
    return depth + 1 if published.startswith("fc_norm_") else 0
