"""What `TFMClassifier` is made of: encoders that were trained elsewhere, as estimators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from neurosig.core.errors import InputError
from neurosig.models.net_classifier import NetClassifier
from neurosig.models.tfm_encoder import TFMEncoder
from neurosig.nn.state_dicts import read_checkpoint
from neurosig.training.device import resolve_device

__all__ = ["as_fitted", "published_encoder"]


def published_encoder(
    weights: Any, classes: Sequence[Any] | None, n_codes: int, options: Mapping[str, Any]
) -> tuple[TFMEncoder, np.ndarray]:
    """The encoder of published weights, with an output for each class in the order of sorted labels.

    Parameters
    ----------
    weights : path-like, or mapping of str to array or tensor
        File or state.
    classes : sequence or None
        Labels in the order of the published outputs; None numbers them.
    n_codes : int
        Vocabulary of the tokenizer that goes before it.
    options : dict
        Of the encoder, what weights do not tell.

    Returns
    -------
    TFMEncoder, array of shape (n_classes,)
        The encoder and its labels, sorted.

    Raises
    ------
    InputError
        If the vocabularies differ, or there are not as many classes as outputs; and as `TFMEncoder.from_reference`.
    """
    module = TFMEncoder.from_reference(read_checkpoint(weights), **options)
    if module.n_codes != n_codes:
        raise InputError(
            f"the encoder was trained on {module.n_codes} tokens, this tokenizer has {n_codes}: they do not belong "
            "together"
        )
    if module.final_layer.out_features == 1:
        head = module.final_layer.state_dict()
        module.reset_head(2)
        with torch.no_grad():
            for name, value in head.items():
                getattr(module.final_layer, name).copy_(torch.cat([torch.zeros_like(value), value]))
    n_outputs = module.final_layer.out_features
    labels = np.arange(n_outputs) if classes is None else np.asarray(classes)
    if labels.shape != (n_outputs,) or len(np.unique(labels)) != n_outputs:
        raise InputError(f"the encoder tells {n_outputs} classes apart, got {list(labels)}")
    order = np.argsort(labels)
    with torch.no_grad():
        for parameter in module.final_layer.parameters():
            parameter.copy_(parameter[torch.from_numpy(order)].clone())
    return module, labels[order]


def as_fitted(
    module: TFMEncoder, options: Mapping[str, Any], form: Sequence[int], classes: Any, **params: Any
) -> NetClassifier:
    """An estimator as it would be after training: of tokens, with an encoder that was trained elsewhere."""
    net = NetClassifier("TFMEncoder", dict(options), scale=None, **params)
    device = resolve_device(net.device) if params else torch.device("cpu")
    net._network, net._device, net._n_outputs = module.to(device).eval(), device, module.final_layer.out_features
    net._note_built()
    net.n_features_in_, net.n_times_ = map(int, form)
    net.scale_, net.signal_sd_, net.seed_, net.seconds_ = 1.0, 0.0, 0, 0.0
    net.window_ = net.window_step_ = net.spec_ = net.sfreq_ = None
    net.history_, net.best_epoch_, net.stopped_ = [], 0, "trained elsewhere"
    net.n_parameters_ = sum(parameter.numel() for parameter in module.parameters())
    if classes is not None:
        net.classes_ = np.asarray(classes)
    return net
