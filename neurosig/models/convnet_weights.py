"""What Shallow and Deep ConvNet share: the first two convolutions and the classifier, in published weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from neurosig.core.errors import InputError
from neurosig.models.keras_weights import Entry

__all__ = ["ADVICE", "HEAD", "NORMS", "dense_entries", "first_sizes", "first_state", "time_space_entries"]

NORMS = {"max_norm": "projection", "conv_max_norm": 2.0, "norm_rate": 0.5}
HEAD = "final_layer.conv_classifier"
ADVICE = "Pass longer windows, or shorter kernels and poolings"


def time_space_entries(*, bias: bool) -> list[Entry]:
    """The convolution in time, with bias, and the one in space, with or without."""
    entries = [
        Entry("conv2d", "kernel", "conv_time_spat.conv_time.weight", "conv_time_first"),
        Entry("conv2d", "bias", "conv_time_spat.conv_time.bias"),
        Entry("conv2d", "kernel", "conv_time_spat.conv_spat.weight", "conv_time_first"),
    ]
    return [*entries, Entry("conv2d", "bias", "conv_time_spat.conv_spat.bias")] if bias else entries


def dense_entries() -> list[Entry]:
    """The classifier."""
    return [Entry("dense", "kernel", f"{HEAD}.weight", "dense"), Entry("dense", "bias", f"{HEAD}.bias")]


def first_sizes(layers: dict[str, list[dict[str, np.ndarray]]]) -> dict[str, Any]:
    """What the first two convolutions and the classifier say, in Keras axes."""
    _, length, _, n_time = layers["conv2d"][0]["kernel"].shape
    n_chans, _, _, n_space = layers["conv2d"][1]["kernel"].shape
    return {
        "n_chans": n_chans,
        "n_outputs": layers["dense"][0]["kernel"].shape[1],
        "n_filters_time": n_time,
        "n_filters_spat": n_space,
        "filter_time_length": length,
    }


def first_state(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    """What the first two convolutions and the classifier say, in braindecode's state dict."""
    try:
        n_time, _, length, _ = arrays["conv_time_spat.conv_time.weight"].shape
        n_space, _, _, n_chans = arrays["conv_time_spat.conv_spat.weight"].shape
        n_outputs = arrays[f"{HEAD}.weight"].shape[0]
    except KeyError as error:
        raise InputError(f"not a state dict of braindecode's {name}: it has no {error}") from error
    return {
        "n_chans": n_chans,
        "n_outputs": n_outputs,
        "n_filters_time": n_time,
        "n_filters_spat": n_space,
        "filter_time_length": length,
    }
