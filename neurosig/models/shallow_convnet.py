"""Shallow ConvNet: braindecode's class, also with the sizes and constraints of the Keras ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from neurosig.core.compat import import_braindecode
from neurosig.core.errors import InputError
from neurosig.models.convnet_weights import (
    ADVICE,
    HEAD,
    NORMS,
    dense_entries,
    first_sizes,
    first_state,
    time_space_entries,
)
from neurosig.models.eegnet_family import FamilyNetwork, chosen, samples, signal_sizes
from neurosig.models.keras_weights import Entry, batch_norm
from neurosig.nn.time_space import ClippedLog, TimeThenSpace, mean_pool_time, space_time_convolution

__all__ = ["ShallowConvNet"]

_braindecode: Any = import_braindecode("braindecode.models")

_SHALLOW_PORT = {
    **NORMS,
    "filter_time_length": 13,
    "pool_time_length": 35,
    "pool_time_stride": 7,
    "pool_mode": "mean",
    "log_range": (1e-7, 1e4),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "original": {
        **NORMS,
        "max_norm": "off",
        "filter_time_length": 25,
        "pool_time_length": 75,
        "pool_time_stride": 15,
        "pool_mode": "mean",
        "log_range": (1e-6, None),
    },
    "arl": _SHALLOW_PORT,
    "comparison": {**_SHALLOW_PORT, "pool_mode": "max"},
}


class ShallowConvNet(FamilyNetwork, _braindecode.ShallowFBCSPNet):
    """Shallow ConvNet: one convolution in time, one in space, then the logarithm of the mean power.

    Parameters
    ----------
    n_chans, n_outputs, n_times, chs_info, input_window_seconds, sfreq
        As in every network of braindecode; `sfreq` is needed where a length is in seconds.
    variant : {"original", "arl", "comparison"}
        What the options that are None stand for. "original": the sizes of [1]_, for 250 Hz, as in braindecode. "arl":
        the Keras port by the authors of EEGNet, for 128 Hz, with max-norms. "comparison": that of [2]_, which pools by
        the **maximum**; the network ranked there is not the original.
    n_filters_time, n_filters_spat : int
        Filters in time and in space.
    filter_time_length, pool_time_length, pool_time_stride : int or float or None
        Of the convolution in time, of a pooling window, and between the starts of two. An int is samples, a float
        seconds. "original" 25, 75, 15; else 13, 35, 7.
    pool_mode : {"mean", "max"} or None
        Kind of pooling.
    drop_prob : float
        Dropout before the classifier.
    max_norm : {"projection", "forward", "off"} or None
        How filters are kept within their norm, see `EEGNet`; "original" has no bound.
    conv_max_norm, norm_rate : float or None
        Largest norm of a filter of either convolution (2) and of a class's weights (0.5).
    batch_norm_alpha : float
        Momentum of the batch norm, in torch's sense.
    fused : bool
        Both convolutions as one. False: one after the other.

    Attributes
    ----------
    min_n_times : int
        Shortest window that it takes.

    Raises
    ------
    InputError
        If `n_times` is shorter than kernel and pooling need.
    UsageError
        If an option is unknown, or a length is in seconds and `sfreq` is not given.

    Notes
    -----
    Source: Schirrmeister et al. [1]_; ports in vlawhern/arl-eegmodels and kolcs/bionic_apps [2]_. The ports clip the
    power to [1e-7, 1e4] before the logarithm, braindecode to at least 1e-6; the variants keep each. Weights of the
    ports load exactly (``from_reference``, with the variant they come from).

    References
    ----------
    .. [1] R. T. Schirrmeister et al., "Deep learning with convolutional neural networks for EEG decoding and
       visualization", Hum. Brain Mapp. 38, 5391-5420, 2017.
    .. [2] C. M. Köllőd et al., "Deep comparisons of neural networks from the EEGNet family", Electronics 12(12), 2743,
       2023; kolcs/bionic_apps.
    """

    def __init__(
        self,
        n_chans: int | None = None,
        n_outputs: int | None = None,
        n_times: int | None = None,
        *,
        variant: str = "original",
        n_filters_time: int = 40,
        n_filters_spat: int = 40,
        filter_time_length: float | None = None,
        pool_time_length: float | None = None,
        pool_time_stride: float | None = None,
        pool_mode: str | None = None,
        drop_prob: float = 0.5,
        max_norm: str | None = None,
        conv_max_norm: float | None = None,
        norm_rate: float | None = None,
        batch_norm_alpha: float = 0.1,
        fused: bool = True,
        chs_info: Sequence[Mapping[str, Any]] | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
    ):
        signal: dict[str, Any] = {
            "n_chans": n_chans, "n_outputs": n_outputs, "n_times": n_times, "chs_info": chs_info,
            "input_window_seconds": input_window_seconds, "sfreq": sfreq,
        }  # fmt: skip
        _, _, length, rate = signal_sizes("ShallowConvNet", **signal)
        names = {"pool_mode": pool_mode, "max_norm": max_norm, "conv_max_norm": conv_max_norm, "norm_rate": norm_rate}
        lengths = (filter_time_length, pool_time_length, pool_time_stride)
        option = chosen("ShallowConvNet", VARIANTS, variant, log_range=None, **names)
        sizes = _shallow_sizes(variant, rate, *lengths)
        self._construct(
            signal,
            length,
            ADVICE,
            sizes,
            n_filters_time=n_filters_time,
            n_filters_spat=n_filters_spat,
            final_conv_length=self.head_length(length, **sizes),
            pool_mode=option["pool_mode"],
            batch_norm_alpha=batch_norm_alpha,
            drop_prob=drop_prob,
            **sizes,
        )
        self.fused = fused
        first: Any = self.get_submodule("conv_time_spat")
        self.conv_time_spat = TimeThenSpace(first.conv_time, first.conv_spat)
        self.pool_nonlin_exp = ClippedLog(*option["log_range"])
        limits = {"conv_time_spat.conv_time": option["conv_max_norm"], HEAD: option["norm_rate"]}
        limits["conv_time_spat.conv_spat"] = option["conv_max_norm"]
        self._limit_norms(limits, option["max_norm"])

    @classmethod
    def head_length(
        cls,
        n_times: int,
        *,
        variant: str = "original",
        filter_time_length: float | None = None,
        pool_time_length: float | None = None,
        pool_time_stride: float | None = None,
        sfreq: float | None = None,
        **_: Any,
    ) -> int:
        """How many samples of a window of `n_times` reach the classifier."""
        sizes = _shallow_sizes(variant, sfreq, filter_time_length, pool_time_length, pool_time_stride)
        left = n_times - sizes["filter_time_length"] + 1 - sizes["pool_time_length"]
        return left // sizes["pool_time_stride"] + 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Windows to logits.

        Parameters
        ----------
        x : Tensor, shape (batch, n_chans, n_times)

        Returns
        -------
        Tensor, shape (batch, n_outputs)
        """
        x = self._check_input(x)
        if not self.fused:
            return super().forward(x)
        x = self.bnorm(space_time_convolution(x, self.conv_time_spat))
        x = self.conv_nonlin_exp(x)
        if self.pool_mode == "mean":
            x = mean_pool_time(x, self.pool_time_length, self.pool_time_stride)
        else:
            x = functional.max_pool2d(x, (1, self.pool_time_length), (1, self.pool_time_stride))
        x = self.pool_nonlin_exp(x).contiguous()  # dropout as in the plain order
        return self.final_layer(self.drop(x).transpose(2, 3))

    def _keras_entries(self) -> list[Entry]:
        return [
            *time_space_entries(bias=False),
            *batch_norm("bnorm"),
            *dense_entries(),
        ]

    @classmethod
    def _keras_config(cls, layers: dict[str, list[dict[str, np.ndarray]]]) -> dict[str, Any]:
        if {kind: len(group) for kind, group in layers.items()} != {"conv2d": 2, "batch_normalization": 1, "dense": 1}:
            raise InputError(f"not the weights of a Shallow ConvNet: {sorted(layers)}")
        config = first_sizes(layers)
        config["length"] = layers["dense"][0]["kernel"].shape[0] // config["n_filters_spat"]
        return {"variant": "arl", **config}

    @classmethod
    def _braindecode_config(cls, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        if not arrays:
            return {}
        config = first_state(arrays, cls.__name__)
        return {**config, "length": arrays[f"{HEAD}.weight"].shape[2]}


def _shallow_sizes(variant: str, sfreq: float | None, *lengths: float | None) -> dict[str, Any]:
    names = ("filter_time_length", "pool_time_length", "pool_time_stride")
    option = chosen("ShallowConvNet", VARIANTS, variant, **dict(zip(names, lengths, strict=True)))
    return {name: samples(value, sfreq, name) for name, value in option.items()}
