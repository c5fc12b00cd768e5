"""Deep ConvNet: braindecode's class, also with the sizes and constraints of the Keras ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
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
from neurosig.nn.time_space import TimeThenSpace, convolve_time, space_time_convolution

__all__ = ["DeepConvNet"]

_braindecode: Any = import_braindecode("braindecode.models")

_DEEP_PORT = {**NORMS, "filter_length": 5, "pool_time_length": 2, "conv_bias": True, "drop_head": True}
VARIANTS: dict[str, dict[str, Any]] = {
    "original": {
        **NORMS,
        "max_norm": "off",
        "filter_length": 10,
        "pool_time_length": 3,
        "conv_bias": False,
        "drop_head": False,
    },
    "arl": _DEEP_PORT,
    "comparison": _DEEP_PORT,
}


class DeepConvNet(FamilyNetwork, _braindecode.Deep4Net):
    """Deep ConvNet: convolutions in time and space, then three more in time, each with max pooling.

    Parameters
    ----------
    n_chans, n_outputs, n_times, chs_info, input_window_seconds, sfreq
        As in every network of braindecode; `sfreq` is needed where a length is in seconds.
    variant : {"original", "arl", "comparison"}
        What the options that are None stand for. "original": the sizes of [1]_, for 250 Hz, as in braindecode; it takes
        windows from 441 samples on. "arl" and "comparison" (the same network): the Keras port by the authors of EEGNet,
        with shorter kernels and poolings (from 76 samples on), biases, max-norms, and dropout before the classifier.
    n_filters_time, n_filters_spat, n_filters_2, n_filters_3, n_filters_4 : int
        Filters of each convolution.
    filter_length : int or float or None
        Of all four convolutions in time: an int is samples, a float seconds (10; ports 5).
    pool_time_length : int or float or None
        Of the pooling windows, which do not overlap (3; ports 2).
    pool_mode : {"max", "mean"}
        Kind of pooling.
    drop_prob : float
        Dropout before the second, third and fourth convolution.
    drop_head : bool or None
        Dropout also before the classifier.
    conv_bias : bool or None
        Give the convolutions before a batch norm biases, which it takes away again; the published Keras code has them.
    max_norm : {"projection", "forward", "off"} or None
        How filters are kept within their norm, see `EEGNet`; "original" has no bound.
    conv_max_norm, norm_rate : float or None
        Largest norm of a filter of any convolution (2) and of a class's weights (0.5).
    batch_norm_alpha : float
        Momentum of the batch norms, in torch's sense.
    fused : bool
        The first two convolutions as one, and activations after the pooling, which is the same. False: as in the paper.

    Attributes
    ----------
    min_n_times : int
        Shortest window that it takes.

    Raises
    ------
    InputError
        If `n_times` is shorter than the kernels and poolings need; braindecode would shrink the kernels.
    UsageError
        If an option is unknown, or a length is in seconds and `sfreq` is not given.

    Notes
    -----
    Source: Schirrmeister et al. [1]_, fig. 1; port in vlawhern/arl-eegmodels. Weights of the ports load exactly.

    References
    ----------
    .. [1] R. T. Schirrmeister et al., "Deep learning with convolutional neural networks for EEG decoding and
       visualization", Hum. Brain Mapp. 38, 5391-5420, 2017.
    """

    def __init__(
        self,
        n_chans: int | None = None,
        n_outputs: int | None = None,
        n_times: int | None = None,
        *,
        variant: str = "original",
        n_filters_time: int = 25,
        n_filters_spat: int = 25,
        n_filters_2: int = 50,
        n_filters_3: int = 100,
        n_filters_4: int = 200,
        filter_length: float | None = None,
        pool_time_length: float | None = None,
        pool_mode: str = "max",
        drop_prob: float = 0.5,
        drop_head: bool | None = None,
        conv_bias: bool | None = None,
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
        _, _, length, rate = signal_sizes("DeepConvNet", **signal)
        names = {"max_norm": max_norm, "conv_max_norm": conv_max_norm, "norm_rate": norm_rate}
        option = chosen("DeepConvNet", VARIANTS, variant, drop_head=drop_head, conv_bias=conv_bias, **names)
        kernel, window = _deep_sizes(variant, rate, filter_length, pool_time_length)
        sizes: dict[str, Any] = {"filter_length": kernel, "pool_time_length": window}
        self._construct(
            signal,
            length,
            ADVICE,
            sizes,
            final_conv_length=self.head_length(length, **sizes),
            n_filters_time=n_filters_time,
            n_filters_spat=n_filters_spat,
            n_filters_2=n_filters_2,
            n_filters_3=n_filters_3,
            n_filters_4=n_filters_4,
            filter_time_length=kernel,
            filter_length_2=kernel,
            filter_length_3=kernel,
            filter_length_4=kernel,
            pool_time_length=window,
            pool_time_stride=window,
            first_pool_mode=pool_mode,
            later_pool_mode=pool_mode,
            drop_prob=drop_prob,
            batch_norm_alpha=batch_norm_alpha,
        )
        self.fused = fused
        self.conv_bias = bool(option["conv_bias"])
        first: Any = self.get_submodule("conv_time_spat")
        self.conv_time_spat = TimeThenSpace(first.conv_time, first.conv_spat)
        convolutions = ["conv_time_spat.conv_spat", "conv_2", "conv_3", "conv_4"]
        if self.conv_bias:
            for name in convolutions:
                layer = self.get_submodule(name)
                layer.bias = nn.Parameter(torch.zeros(layer.out_channels))
        if option["drop_head"]:
            self.pool_nonlin_4 = nn.Dropout(drop_prob)
        limits = dict.fromkeys(["conv_time_spat.conv_time", *convolutions], option["conv_max_norm"])
        self._limit_norms({**limits, HEAD: option["norm_rate"]}, option["max_norm"])

    @classmethod
    def head_length(
        cls,
        n_times: int,
        *,
        variant: str = "original",
        filter_length: float | None = None,
        pool_time_length: float | None = None,
        sfreq: float | None = None,
        **_: Any,
    ) -> int:
        """How many samples of a window of `n_times` reach the classifier."""
        kernel, window = _deep_sizes(variant, sfreq, filter_length, pool_time_length)
        for _block in range(4):
            n_times = max(0, n_times - kernel + 1) // window
        return n_times

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
        x = self._block(space_time_convolution(x, self.conv_time_spat), "", 1)
        for block in (2, 3, 4):
            x = self.get_submodule(f"drop_{block}")(x)
            x = self._block(convolve_time(x, self.get_submodule(f"conv_{block}")), f"_{block}", block)
        return self.final_layer(x.transpose(2, 3))

    def _block(self, x: torch.Tensor, suffix: str, block: int) -> torch.Tensor:
        """What follows a convolution; the activation rises, so that it may come after the maximum."""
        x = self.get_submodule(f"bnorm{suffix}")(x)
        nonlin = self.get_submodule(f"nonlin_{block}" if block > 1 else "conv_nonlin")
        window = (1, self.pool_time_length)
        x = (
            nonlin(functional.max_pool2d(x, window))
            if self.first_pool_mode == "max"
            else functional.avg_pool2d(nonlin(x), window)
        )
        return self.get_submodule(f"pool_nonlin{suffix}")(x.contiguous())  # dropout as in the plain order

    def _keras_entries(self) -> list[Entry]:
        entries = [*time_space_entries(bias=self.conv_bias), *batch_norm("bnorm")]
        for block in (2, 3, 4):
            entries.append(Entry("conv2d", "kernel", f"conv_{block}.weight", "conv_time_first"))
            if self.conv_bias:
                entries.append(Entry("conv2d", "bias", f"conv_{block}.bias"))
            entries += batch_norm(f"bnorm_{block}")
        return [*entries, *dense_entries()]

    @classmethod
    def _keras_config(cls, layers: dict[str, list[dict[str, np.ndarray]]]) -> dict[str, Any]:
        if {kind: len(group) for kind, group in layers.items()} != {"conv2d": 5, "batch_normalization": 4, "dense": 1}:
            raise InputError(f"not the weights of a Deep ConvNet: {sorted(layers)}")
        config = first_sizes(layers)
        kernel = config.pop("filter_time_length")
        for block in (2, 3, 4):
            _, length, _, config[f"n_filters_{block}"] = layers["conv2d"][block]["kernel"].shape
            if length != kernel:
                raise InputError(f"the kernels of a Deep ConvNet are of one length; got {kernel} and {length}")
        config["conv_bias"] = "bias" in layers["conv2d"][1]
        config["length"] = layers["dense"][0]["kernel"].shape[0] // config["n_filters_4"]
        return {"variant": "arl", "filter_length": kernel, **config}

    @classmethod
    def _braindecode_config(cls, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        if not arrays:
            return {}
        config = first_state(arrays, cls.__name__)
        for block in (2, 3, 4):
            config[f"n_filters_{block}"] = arrays[f"conv_{block}.weight"].shape[0]
        config["filter_length"] = config.pop("filter_time_length")
        return {**config, "conv_bias": "conv_2.bias" in arrays, "length": arrays[f"{HEAD}.weight"].shape[2]}


def _deep_sizes(variant: str, sfreq: float | None, kernel: float | None, window: float | None) -> tuple[int, int]:
    option = chosen("DeepConvNet", VARIANTS, variant, filter_length=kernel, pool_time_length=window)
    found = {name: samples(value, sfreq, name) for name, value in option.items()}
    return found["filter_length"], found["pool_time_length"]
