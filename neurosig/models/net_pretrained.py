"""Weights of a trained network put into a new one, after its contract about the signals has been checked."""

from __future__ import annotations

import os
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurosig.core.errors import ChannelError, UsageError
from neurosig.core.signals import SignalSpec
from neurosig.models.net_data import compare_specs
from neurosig.models.net_hub import local_folder
from neurosig.models.net_module import head_of, module_path
from neurosig.models.net_storage import stored_module

__all__ = ["fitted_network", "start_from"]


def start_from(
    module: nn.Module,
    pretrained: Any,
    kind: type,
    shape: tuple[int, int],
    spec: SignalSpec | None,
    sfreq: float | None,
) -> None:
    """Copy weights into a module; the last layer keeps its own where the number of outputs differs.

    Parameters
    ----------
    module : nn.Module
        What is going to be trained.
    pretrained : estimator, FrozenEstimator, or path-like
        A fitted estimator, or the folder that its ``save_pretrained`` wrote, here or on the Hub ("owner/name").
    kind : type
        Class of the estimator, for reading the folder.
    shape : tuple of int
        Channels and samples of the windows at hand.
    spec : SignalSpec or None
        What is known about them.
    sfreq : float or None
        Their sampling rate in Hz, where known.

    Raises
    ------
    UsageError
        If there is nothing fitted, or its network is another.
    ChannelError
        If channels, window or sampling rate differ.
    """
    source = fitted_network(pretrained, kind, type(module))
    trained = source.module_
    if type(trained) is not type(module):
        raise UsageError(
            f"pretrained holds the weights of {type(trained).__name__}, this network is {type(module).__name__}; "
            "give the same module"
        )
    theirs = (source.n_features_in_, source.window_ or source.n_times_)
    if theirs != shape:
        raise ChannelError(
            f"the pretrained network takes {theirs[0]} channels and windows of {theirs[1]} samples, got {shape[0]} and "
            f"{shape[1]}; map_channels and a window of that length make signals fit"
        )
    if source.spec_ is not None and spec is not None:
        compare_specs(source.spec_, spec, "the pretrained network")
    elif source.sfreq_ is not None and sfreq is not None and abs(source.sfreq_ - sfreq) > 1e-4 * sfreq:
        raise ChannelError(
            f"the pretrained network takes signals at {source.sfreq_:g} Hz, got {sfreq:g} Hz; resample them"
        )
    state, own = trained.state_dict(), module.state_dict()
    differing = {name for name in {*state, *own} if name not in state or name not in own
                 or state[name].shape != own[name].shape}  # fmt: skip
    head = set(map(id, head_of(module))) if differing else set()
    head_names = {name for name, parameter in module.named_parameters() if id(parameter) in head}
    if strangers := sorted(differing - head_names):
        raise UsageError(
            f"the pretrained weights do not fit {type(module).__name__} with these module_params: {strangers[0]} "
            "differs; give the module_params that it was trained with"
        )
    device = next(iter(own.values())).device
    kept = {name: own[name] if name in differing else value.to(device) for name, value in state.items()}
    with torch.no_grad():
        module.load_state_dict({name: kept[name] for name in own})


def fitted_network(pretrained: Any, kind: Any, cls: type[nn.Module]) -> Any:
    """The fitted estimator that `pretrained` stands for, read from its folder where it is one.

    Raises
    ------
    UsageError
        If it is no network estimator, or is not fitted.
    """
    from sklearn.exceptions import NotFittedError
    from sklearn.frozen import FrozenEstimator

    if isinstance(pretrained, FrozenEstimator):
        pretrained = pretrained.estimator
    if isinstance(pretrained, str | os.PathLike):
        pretrained = local_folder(pretrained)
        # a class that is neither ours nor braindecode's is known here, and only its name in the folder
        same = stored_module(pretrained) == module_path(cls)
        return kind.from_pretrained(pretrained, module=cls if same else None)
    if not hasattr(pretrained, "module_params"):
        raise UsageError(
            f"pretrained must be a fitted network estimator or the folder of one, got {type(pretrained).__name__}"
        )
    if isinstance(kind, type) and not isinstance(pretrained, kind):
        raise UsageError(f"pretrained must be a {kind.__name__}, as this estimator is, got {type(pretrained).__name__}")
    try:
        check_is_fitted(pretrained)
    except NotFittedError as error:
        raise UsageError(
            "the pretrained estimator is not fitted; scikit-learn's clone unfits estimators among the parameters: wrap "
            "it in sklearn.frozen.FrozenEstimator, or give the folder that save_pretrained wrote"
        ) from error
    return pretrained
