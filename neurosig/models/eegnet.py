"""EEGNet: braindecode's class, with the padding, kernel lengths and constraints of the published Keras code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mne.utils import use_log_level
from torch import nn

from neurosig.core.compat import import_braindecode
from neurosig.core.errors import InputError, UsageError
from neurosig.models.eegnet_family import FamilyNetwork, chosen, samples, signal_sizes
from neurosig.models.keras_weights import Entry, batch_norm, separable
from neurosig.nn.padding import SameConv2d, padding_of
from neurosig.nn.projected_convolution import can_project, project_and_filter

__all__ = ["EEGNet"]

_braindecode: Any = import_braindecode("braindecode.models")

_ARL = {
    "F1": 8,
    "D": 2,
    "kernel_length": 64,
    "padding": "keras",
    "drop_prob": 0.5,
    "max_norm": "projection",
    "conv_spatial_max_norm": 1.0,
    "norm_rate": 0.25,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "original": _ARL,
    "arl": _ARL,
    "comparison": {**_ARL, "kernel_length": 0.5},
    "braindecode": {**_ARL, "padding": "symmetric", "drop_prob": 0.25, "max_norm": "forward", "norm_rate": None},
}


class EEGNet(FamilyNetwork, _braindecode.EEGNet):
    """EEGNet (v4): filter bank, spatial filters for each of its bands, separable convolution, linear classifier.

    Parameters
    ----------
    n_chans, n_outputs, n_times, chs_info, input_window_seconds, sfreq
        As in every network of braindecode; `sfreq` is needed where a kernel length is in seconds.
    variant : {"original", "arl", "comparison", "braindecode"}
        What the options that are None stand for. "original" and "arl" are the code of the paper's authors. "comparison"
        is that of [2]_: a temporal kernel of half a second. "braindecode": the defaults of braindecode 1.8: symmetric
        padding, dropout 0.25, max-norm of the spatial filters in the forward pass, none of the classifier.
    F1, D, F2 : int or None
        Temporal filters (8); spatial filters for each (2); maps after the separable convolution (F1 * D).
    kernel_length : int or float or None
        Of the temporal convolution: an int is samples, a float seconds (64 samples; "comparison" 0.5 s).
    depthwise_kernel_length : int or float
        Of the separable convolution.
    pool1_kernel_size, pool2_kernel_size : int
        Samples averaged after the spatial and after the separable convolution.
    pool_mode : {"mean", "max"}
        Kind of both poolings.
    padding : {"keras", "symmetric"} or None
        Of the convolutions along time, see `neurosig.nn.padding.padding_of`. They differ for even kernels.
    drop_prob : float or None
        Dropout (0.5; "braindecode" 0.25).
    max_norm : {"projection", "forward", "off"} or None
        "projection": filters are brought back within their norm after each step (`project_`; `NetClassifier` does so,
        `braindecode.EEGClassifier` does not). "forward": the filter used is the stored one scaled to the norm, in each
        forward pass, as in braindecode. "off": no bound.
    conv_spatial_max_norm, norm_rate : float or None
        Largest norm of a spatial filter (1) and of a class's weights in the classifier (0.25).
    batch_norm_momentum, batch_norm_eps : float
        In torch's sense (0.01 is Keras' 0.99).
    final_layer_with_constraint : bool
        Build braindecode's linear classifier in place of its convolution over all that is left; the same function.
    fused : bool
        Filter in space before time, which is the same and takes about an eighth of the products; see
        `neurosig.nn.projected_convolution`. False: in the order of the paper.

    Attributes
    ----------
    min_n_times : int
        Shortest window that it takes.

    Raises
    ------
    InputError
        If `n_times` is too short for the two poolings.
    UsageError
        If an option is unknown, or a length is in seconds and `sfreq` is not given.

    Notes
    -----
    Source: Lawhern et al. [1]_, table 2, and its code (vlawhern/arl-eegmodels). From braindecode 1.8 it differs by the
    options above: braindecode pads K // 2 on both sides, so that with even kernels (64 and 16 by default) maps are one
    sample longer and shifted by one against the published code.

    References
    ----------
    .. [1] V. J. Lawhern, A. J. Solon, N. R. Waytowich, S. M. Gordon, C. P. Hung, B. J. Lance, "EEGNet: a compact
       convolutional neural network for EEG-based brain-computer interfaces", J. Neural Eng. 15, 056013, 2018.
    .. [2] C. M. Köllőd, A. Adolf, K. Iván, G. Márton, I. Ulbert, "Deep comparisons of neural networks from the EEGNet
       family", Electronics 12(12), 2743, 2023; kolcs/bionic_apps.
    """

    fused = False  # while braindecode's constructor measures its output

    def __init__(
        self,
        n_chans: int | None = None,
        n_outputs: int | None = None,
        n_times: int | None = None,
        *,
        variant: str = "original",
        F1: int | None = None,
        D: int | None = None,
        F2: int | None = None,
        kernel_length: float | None = None,
        depthwise_kernel_length: float = 16,
        pool1_kernel_size: int = 4,
        pool2_kernel_size: int = 8,
        pool_mode: str = "mean",
        padding: str | None = None,
        drop_prob: float | None = None,
        max_norm: str | None = None,
        conv_spatial_max_norm: float | None = None,
        norm_rate: float | None = None,
        batch_norm_momentum: float = 0.01,
        batch_norm_eps: float = 1e-3,
        activation: type[nn.Module] = nn.ELU,
        final_layer_with_constraint: bool = False,
        fused: bool = True,
        chs_info: Sequence[Mapping[str, Any]] | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
    ):
        signal: dict[str, Any] = {
            "n_chans": n_chans, "n_outputs": n_outputs, "n_times": n_times, "chs_info": chs_info,
            "input_window_seconds": input_window_seconds, "sfreq": sfreq,
        }  # fmt: skip
        _, _, length, rate = signal_sizes("EEGNet", **signal)
        option = chosen(
            "EEGNet",
            VARIANTS,
            variant,
            F1=F1,
            D=D,
            kernel_length=kernel_length,
            padding=padding,
            drop_prob=drop_prob,
            max_norm=max_norm,
            conv_spatial_max_norm=conv_spatial_max_norm,
            norm_rate=norm_rate,
        )
        for counted in {"F1": option["F1"], "D": option["D"], "F2": 1 if F2 is None else F2}.items():
            if isinstance(counted[1], bool) or not isinstance(counted[1], (int, np.integer)) or counted[1] < 1:
                raise UsageError(f"EEGNet's {counted[0]} is an integer of at least 1; got {counted[1]!r}")
        sizes: dict[str, Any] = {
            "kernel_length": samples(option["kernel_length"], rate),
            "depthwise_kernel_length": samples(depthwise_kernel_length, rate, "depthwise_kernel_length"),
            "pool1_kernel_size": pool1_kernel_size,
            "pool2_kernel_size": pool2_kernel_size,
        }
        padding = option["padding"]
        with use_log_level("ERROR"):  # braindecode warns, through mne, of its own default classifier
            self._construct(
                signal,
                length,
                _ADVICE,
                {"padding": padding, **sizes},
                final_conv_length=self.head_length(length, padding=padding, **sizes),
                pool_mode=pool_mode,
                F1=option["F1"],
                D=option["D"],
                F2=F2,
                activation=activation,
                batch_norm_momentum=batch_norm_momentum,
                batch_norm_eps=batch_norm_eps,
                drop_prob=option["drop_prob"],
                final_layer_with_constraint=final_layer_with_constraint,
                **sizes,
            )
        self.padding = padding
        self.fused = fused
        if padding == "keras":
            for name in ("conv_temporal", "conv_separable_depth"):
                setattr(self, name, _same(getattr(self, name)))
        head = "final_layer.linearconstraint" if final_layer_with_constraint else "final_layer.conv_classifier"
        norm_rate = 0.25 if final_layer_with_constraint and option["norm_rate"] is None else option["norm_rate"]
        self._limit_norms({"conv_spatial": option["conv_spatial_max_norm"], head: norm_rate}, option["max_norm"])

    @classmethod
    def head_length(
        cls,
        n_times: int,
        *,
        variant: str = "original",
        kernel_length: float | None = None,
        depthwise_kernel_length: float = 16,
        pool1_kernel_size: int = 4,
        pool2_kernel_size: int = 8,
        padding: str | None = None,
        sfreq: float | None = None,
        **_: Any,
    ) -> int:
        """How many samples of a window of `n_times` reach the classifier."""
        option = chosen("EEGNet", VARIANTS, variant, kernel_length=kernel_length, padding=padding)
        kernel = samples(option["kernel_length"], sfreq)
        depthwise = samples(depthwise_kernel_length, sfreq, "depthwise_kernel_length")
        maps = n_times + sum(padding_of(kernel, option["padding"])) - kernel + 1
        maps = maps // pool1_kernel_size
        if maps < 1:
            return 0
        return (maps + sum(padding_of(depthwise, option["padding"])) - depthwise + 1) // pool2_kernel_size

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
        if not self.fused or not can_project(x, self.bnorm_temporal):
            return super().forward(x)
        x = project_and_filter(x, self.conv_temporal, self.bnorm_temporal, self.conv_spatial, self.padding)
        x = self.drop_1(self.pool_1(self.elu_1(self.bnorm_1(x))))
        x = self.conv_separable_point(self.conv_separable_depth(x))
        return self.final_layer(self.drop_2(self.pool_2(self.elu_2(self.bnorm_2(x)))))

    def _keras_entries(self) -> list[Entry]:
        if not hasattr(self.final_layer, "conv_classifier"):
            raise UsageError("Keras weights go with final_layer_with_constraint=False")
        return [
            Entry("conv2d", "kernel", "conv_temporal.weight", "conv"),
            *batch_norm("bnorm_temporal"),
            Entry("depthwise_conv2d", "kernel", "conv_spatial.weight", "depthwise", self.D),
            *batch_norm("bnorm_1"),
            *separable("conv_separable_depth.weight", "conv_separable_point.weight"),
            *batch_norm("bnorm_2"),
            Entry("dense", "kernel", "final_layer.conv_classifier.weight", "dense"),
            Entry("dense", "bias", "final_layer.conv_classifier.bias"),
        ]

    @classmethod
    def _keras_config(cls, layers: dict[str, list[dict[str, np.ndarray]]]) -> dict[str, Any]:
        try:
            _, kernel_length, _, n_temporal = layers["conv2d"][0]["kernel"].shape
            n_chans, _, _, depth = layers["depthwise_conv2d"][0]["kernel"].shape
            depthwise = layers["separable_conv2d"][0]["depthwise_kernel"].shape[1]
            n_maps = layers["separable_conv2d"][0]["pointwise_kernel"].shape[3]
            n_features, n_outputs = layers["dense"][0]["kernel"].shape
        except (KeyError, ValueError) as error:
            raise InputError(f"not the weights of an EEGNet: {sorted(layers)}") from error
        return {
            "n_chans": n_chans,
            "n_outputs": n_outputs,
            "F1": n_temporal,
            "D": depth,
            "F2": n_maps,
            "kernel_length": kernel_length,
            "depthwise_kernel_length": depthwise,
            "length": n_features // n_maps,
        }

    @classmethod
    def _braindecode_config(cls, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        if not arrays:
            return {}
        spatial = next((arrays[key] for key in _SPATIAL if key in arrays), None)
        if spatial is None or "conv_temporal.weight" not in arrays:
            raise InputError(f"not a state dict of braindecode's EEGNet: {sorted(arrays)}")
        n_temporal, _, _, kernel_length = arrays["conv_temporal.weight"].shape
        n_maps = arrays["conv_separable_point.weight"].shape[0]
        flat = next((arrays[key] for key in _LINEAR if key in arrays), None)
        head = arrays["final_layer.conv_classifier.weight"] if flat is None else flat
        return {
            "variant": "braindecode",
            "max_norm": "forward" if _SPATIAL[0] in arrays else "projection",
            "n_chans": spatial.shape[2],
            "n_outputs": head.shape[0],
            "F1": n_temporal,
            "D": spatial.shape[0] // n_temporal,
            "F2": n_maps,
            "kernel_length": kernel_length,
            "depthwise_kernel_length": arrays["conv_separable_depth.weight"].shape[3],
            "final_layer_with_constraint": flat is not None,
            "length": head[0].size // n_maps,
        }


_SPATIAL = ("conv_spatial.parametrizations.weight.original", "conv_spatial.weight")
_LINEAR = ("final_layer.linearconstraint.parametrizations.weight.original", "final_layer.linearconstraint.weight")
_ADVICE = "Pass longer windows, or smaller pool1_kernel_size and pool2_kernel_size"


def _same(layer: nn.Conv2d) -> SameConv2d:
    """The same convolution, padded as Keras pads, with the same weight."""
    like = SameConv2d(
        layer.in_channels, layer.out_channels, (1, layer.kernel_size[1]), groups=layer.groups, bias=False, device="meta"
    )
    like.weight = layer.weight
    return like
