"""Masked token prediction: what the encoder of TFM tokens learns before it is told of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurosig.core.files import digest
from neurosig.models.tfm_encoder import TFMEncoder
from neurosig.training.batches import Batches, Trials
from neurosig.training.checkpoint import software
from neurosig.training.device import seeded
from neurosig.training.nets import TrainingRecord, train_network
from neurosig.training.self_supervised import SelfSupervised, own_loss
from neurosig.training.settings import TrainingSettings
from neurosig.training.trial_data import content_digest

__all__ = ["learn_masked_tokens"]

_PARTS = ("view_a", "view_b")


def learn_masked_tokens(
    encoder: TFMEncoder,
    tokens: np.ndarray,
    *,
    max_epochs: int,
    batch_size: int = 64,
    lr: float = 1e-3,
    weight_decay: float = 1e-5,
    final_lr: float = 0.0,
    seed: int = 0,
    device: torch.device | None = None,
    checkpoint: Any = None,
    show_progress: bool = False,
) -> TrainingRecord:
    """Train an encoder, in place, to tell hidden tokens from those around them.

    Parameters
    ----------
    encoder : TFMEncoder
        Of any outputs. Its classifier gives way to one of the vocabulary, which is left in its place.
    tokens : int64 array of shape (n, n_channels, n_frames)
        Of windows without labels.
    max_epochs, batch_size : int
        Passes over the tokens, and windows in a batch; published with 50 and 512.
    lr, weight_decay, final_lr : float
        Of AdamW; the rate rises in the first tenth of the epochs and falls along half a cosine to `final_lr`. The
        published one rises, to 5e-3.
    seed : int
        Of the order of windows, the masks and dropout.
    device : torch.device, optional
        Where; by default the processor.
    checkpoint : path-like, optional
        Folder of states, as in `NetClassifier`.
    show_progress : bool
        Whether progress is shown, see `TrainingSettings`.

    Returns
    -------
    TrainingRecord
        History: train_loss is the sum of the losses of both views, whose chance level is ``2 log(n_codes)``.
    """
    identity, folder = None, None
    if checkpoint is not None:
        start = content_digest(np.concatenate([v.detach().cpu().ravel() for v in encoder.state_dict().values()])[None])
        identity = {
            "task": "masked tokens", "data": content_digest(np.asarray(tokens)), "start": start, "seed": seed,
            "settings": [max_epochs, batch_size, lr, weight_decay, final_lr], "software": software(type(encoder)),
        }  # fmt: skip
        folder = str(Path(checkpoint) / digest(identity))
    settings = TrainingSettings(
        max_epochs=max_epochs, batch_size=batch_size, lr=lr, weight_decay=weight_decay, betas=(0.9, 0.99),
        schedule="warmup_cosine", warmup=max_epochs / 10, final_lr=final_lr, stopping=None, patience=None, seed=seed,
        checkpoint=folder, show_progress=show_progress,
    )  # fmt: skip
    n = len(tokens)
    with seeded(seed, torch.device("cpu") if device is None else device):
        encoder.reset_head(encoder.n_codes)
        learner = SelfSupervised(encoder, seed, _PARTS)
        batches = Batches(
            Trials(np.asarray(tokens, dtype=np.float32)), torch.zeros(n), np.arange(n), batch_size=batch_size,
            device=device, generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        return train_network(
            learner, batches, None, settings, loss=own_loss, device=device, identity=identity, parts=_PARTS
        )
