"""Weights of a trained network put into a new one, after its contract about the signals has been checked."""

from __future__ import annotations

import os
import warnings
from typing import Any, NamedTuple

import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurosig.core.channel_names import listed
from neurosig.core.errors import ChannelError, UsageError
from neurosig.core.hub import local_folder
from neurosig.core.log import logger
from neurosig.core.signals import SignalSpec
from neurosig.models.net_module import head_of, module_path
from neurosig.models.net_storage import stored_module
from neurosig.training.trial_data import compare_specs

__all__ = ["Start", "check_source", "copy_weights", "fitted_network", "inherited_facts"]


class Start(NamedTuple):
    """A trained network that another training starts from, and what its weights go with.

    Parameters
    ----------
    module : nn.Module
        The network.
    scale : float
        What its signals were divided by.
    classes : list or None
        Labels that it tells apart.
    target : (float, float) or None
        Mean and standard deviation by which its targets were standardised.
    name : str
        What messages call it.
    """

    module: nn.Module
    scale: float
    classes: list[Any] | None
    target: tuple[float, float] | None
    name: str

    @classmethod
    def of(cls, estimator: Any, name: str) -> Start:
        """What a fitted estimator knows."""
        classes = getattr(estimator, "classes_", None)
        target = (estimator.target_mean_, estimator.target_sd_) if hasattr(estimator, "target_mean_") else None
        return cls(
            estimator.module_, float(estimator.scale_), None if classes is None else classes.tolist(), target, name
        )


def check_source(
    source: Any, cls: type[nn.Module], shape: tuple[int, int], spec: SignalSpec | None, sfreq: float | None
) -> None:
    """Check the contract between a fitted estimator and the training that is to start from it.

    Parameters
    ----------
    source : estimator
        Fitted.
    cls : type
        The network that is going to be trained.
    shape : tuple of int
        Channels and samples of the windows at hand.
    spec : SignalSpec or None
        What is known about them.
    sfreq : float or None
        Their sampling rate in Hz, where known.

    Raises
    ------
    UsageError
        If its network is another.
    ChannelError
        If channels, window or sampling rate differ.
    """
    trained = type(source.module_)
    if trained is not cls:
        raise UsageError(
            f"pretrained holds the weights of {trained.__name__}, this network is {cls.__name__}; give the same module"
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


def inherited_facts(
    source: Any, n_channels: int, spec: SignalSpec | None, sfreq: float | None
) -> tuple[SignalSpec | None, float | None]:
    """What is taken to be true of signals of which nothing is known: that they are those of the pretrained network.

    Parameters
    ----------
    source : estimator
        Fitted.
    n_channels : int
        Of the signals at hand.
    spec, sfreq : SignalSpec or None, float or None
        What is known about them.

    Returns
    -------
    SignalSpec or None, float or None
        What is known, else what the source knows, where it has as many channels and no other sampling rate. The log
        says what was taken over, as nobody has checked it.
    """
    theirs = source.spec_
    if theirs is not None and spec is None and theirs.n_channels == n_channels:
        if sfreq is None or theirs.sfreq is None or abs(theirs.sfreq - sfreq) <= 1e-4 * sfreq:
            logger.info(
                "nothing says which channels these are: taken to be the pretrained network's, %s in %s%s; pass info=..."
                " or fit on mne.Epochs, to have it checked",
                listed(theirs.ch_names), theirs.unit, "" if theirs.sfreq is None else f" at {theirs.sfreq:g} Hz",
            )  # fmt: skip
            return theirs, theirs.sfreq if sfreq is None else sfreq
    elif spec is None and sfreq is None and source.sfreq_ is not None and source.n_features_in_ == n_channels:
        logger.info("no sampling rate is known: taken to be the pretrained network's, %g Hz", source.sfreq_)
        return None, source.sfreq_
    return spec, sfreq


def copy_weights(module: nn.Module, start: Start, classes: list[Any] | None) -> None:
    """Copy weights into a module; what has a row for each class stays new where labels, or their number, are others.

    Parameters
    ----------
    module : nn.Module
        What is going to be trained, of the class of ``start.module``.
    start : Start
        Where the weights come from.
    classes : list or None
        Labels that `module` is to tell apart, in order; None where it predicts numbers.

    Raises
    ------
    UsageError
        If the weights are those of other options, or it is not certain which layer is the last.
    """
    state, own = start.module.state_dict(), module.state_dict()
    differing = {name for name in {*state, *own} if name not in state or name not in own
                 or state[name].shape != own[name].shape}  # fmt: skip
    others = classes != start.classes
    head = set(map(id, head_of(module))) if differing or others else set()
    head_names = {name for name, parameter in module.named_parameters() if id(parameter) in head}
    rows = {name for name in differing if name in state and name in own and _is_row_a_class(
        state[name], own[name], len(start.classes or ()), len(classes or ()))}  # fmt: skip
    # rows outside the head are side classifiers, as MSVTNet has for its branches
    if strangers := sorted(differing - head_names - rows):
        raise UsageError(
            f"the pretrained weights do not fit {type(module).__name__} with these module_params: {strangers[0]} "
            "differs; give the module_params that it was trained with"
        )
    fresh = differing
    if others and not differing:
        # of a head of several layers, what has a row for each class; the rest of it is not about labels
        fresh = {name for name in head_names if own[name].shape[:1] == (len(classes or ()),)} or head_names
        warnings.warn(
            f"{start.name} tells {listed(map(str, start.classes or ()))} apart, these trials are of "
            f"{listed(map(str, classes or ()))}: the last layer is new",
            stacklevel=2,
        )
    elif fresh:
        logger.info("%s has another number of classes: the last layer is new", start.name)
    device = next(iter(own.values())).device
    kept = {name: own[name] if name in fresh else value.to(device) for name, value in state.items()}
    with torch.no_grad():
        module.load_state_dict({name: kept.get(name, own[name]) for name in own})


def _is_row_a_class(before: torch.Tensor, now: torch.Tensor, n_before: int, n_now: int) -> bool:
    """Whether two weights differ in the number of classes and in nothing else."""
    return n_before != n_now and (before.shape, now.shape) == (
        (n_before, *before.shape[1:]),
        (n_now, *before.shape[1:]),
    )


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
