"""Batch norms whose running statistics a training has not moved to where the signals are."""

from __future__ import annotations

import inspect

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from neurosig.core.log import logger

__all__ = ["tell_unsettled"]

_SETTLED = 2.0  # steps times momentum; an eighth of where the statistics began is left then


def tell_unsettled(module: nn.Module, n_steps: int) -> None:
    """Warn, in the log, of batch norms whose statistics still hold much of where they began.

    Parameters
    ----------
    module : nn.Module
        A network that was trained from the beginning.
    n_steps : int
        Training steps that it has seen.

    Notes
    -----
    Statistics begin at mean 0 and variance 1, and a step of momentum m keeps 1 - m of them: after n steps
    (1 - m)^n, nearly exp(-n m), is left. Layers that keep no statistics, or average over all steps, have nothing left.
    """
    momenta = [
        layer.momentum
        for layer in module.modules()
        if isinstance(layer, _NormBase) and layer.track_running_stats and layer.momentum is not None
    ]
    slow = min(momenta, default=0.0)
    if not 0 < slow * n_steps < _SETTLED:
        return
    options = [name for name in inspect.signature(type(module)).parameters if "momentum" in name]
    larger = f", or module_params={{{options[0]!r}: 0.1}}" if options and slow < 0.1 else ""
    logger.warning(
        "%s predicts with statistics of its batch norms that have not settled: %d training steps at momentum %g leave "
        "%.0f%% of where they began, and the network may be at chance; train for %d steps or more (max_epochs, or a "
        "smaller batch_size)%s",
        type(module).__name__, n_steps, slow, 100 * (1 - slow) ** n_steps, -(-_SETTLED // slow), larger,
    )  # fmt: skip
