"""Windows as the first part of a network gives them, where that part learns nothing: computed once a training.

A network may offer ``prepare(x)``, free of weights and of chance, and ``from_prepared(z)``, with
``forward(x) = from_prepared(prepare(x))``. As long as nothing changes the signals from epoch to epoch, what `prepare`
gives is kept, and the epochs run `from_prepared` alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from neurosig.training.batches import Batches, Trials

__all__ = ["PREPARED_BYTES", "LearningPart", "PreparedTrials", "prepare_trials"]

PREPARED_BYTES = 1 << 30  # more is computed anew in each epoch


class LearningPart(nn.Module):
    """A network from what its `prepare` gives; weights and modes are those of the network itself.

    Parameters
    ----------
    network : nn.Module
        With ``from_prepared``.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, prepared: torch.Tensor) -> torch.Tensor:
        """(n_windows, ...) -> (n_windows, n_outputs)."""
        return self.network.from_prepared(prepared)  # type: ignore[operator]


class PreparedTrials(Trials):
    """What `prepare` gave, in the place of the trials: the same windows in the same order.

    Parameters
    ----------
    trials : Trials
        The signals.
    values : tensor of shape (n, n_windows, ...)
        Of every window of the trials that are needed.
    rows : tensor of shape (n_trials,)
        Where in `values` a trial is.
    """

    def __init__(self, trials: Trials, values: torch.Tensor, rows: torch.Tensor):
        vars(self).update(vars(trials))
        self.in_memory = values
        self.rows = rows

    def cut(self, block: torch.Tensor, rows: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
        """Values of windows, given by trial and by window, as one new tensor."""
        return block[self.rows[rows].to(block.device), windows.to(block.device)]


def prepare_trials(
    module: nn.Module, trials: Trials, index: np.ndarray, **options: Any
) -> tuple[Trials, dict[str, Any]] | None:
    """Compute what `prepare` gives of the windows of some trials.

    Parameters
    ----------
    module : nn.Module
        The network, on its device.
    trials : Trials
        The signals.
    index : array of int
        Positions of the trials that are needed.
    **options
        Of `Batches`: ``batch_size, scale, device`` and others.

    Returns
    -------
    trials : PreparedTrials
        Good for the trials of `index`.
    options : dict
        For batches of these: what is prepared has been scaled.

    None where the network has no such part, the signals are on disk, or there would be too much to keep.
    """
    if not hasattr(module, "from_prepared") or trials.in_memory is None or not len(index):
        return None
    batches = Batches(trials, torch.zeros(trials.n_trials), index, **{**options, "weight": None})
    values: torch.Tensor | None = None
    at = 0
    with torch.no_grad():
        for X, _ in batches:
            found = module.prepare(X)  # type: ignore[operator]
            if values is None:
                size = found[0].numel() * found.element_size() * batches.n_items
                if size > PREPARED_BYTES:
                    return None
                kept = trials.in_memory.device
                values = torch.empty(batches.n_items, *found.shape[1:], dtype=found.dtype, device=kept)
            values[at : at + len(found)] = found.to(values.device)
            at += len(found)
    assert values is not None
    rows = torch.zeros(trials.n_trials, dtype=torch.long)
    rows[torch.from_numpy(batches.index)] = torch.arange(len(batches.index))
    whole = values.view(len(batches.index), trials.n_windows, *values.shape[1:])
    return PreparedTrials(trials, whole, rows), {**options, "scale": 1.0}
