"""EEGNet Fusion: three EEGNets of different kernel lengths on the same windows, joined before the classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from neurosig.core.compat import import_braindecode
from neurosig.core.errors import InputError, UsageError
from neurosig.models.eegnet_family import FamilyNetwork, chosen, samples, signal_sizes
from neurosig.models.keras_weights import Entry, batch_norm, separable
from neurosig.nn.padding import SameConv2d
from neurosig.nn.projected_convolution import LagMoments, can_project, lag_moments, project_and_filter

__all__ = ["EEGNetFusion"]

_base: Any = import_braindecode("braindecode.models.base")

VARIANTS: dict[str, dict[str, Any]] = {
    "original": {"kernel_lengths": (64, 96, 128), "separable": "time"},
    "comparison": {"kernel_lengths": (0.25, 0.5, 1.0), "separable": "time"},
    "comparison_reference": {"kernel_lengths": (0.25, 0.5, 1.0), "separable": "reference"},
}
_POOLS = (4, 8)


class EEGNetFusion(FamilyNetwork, _base.EEGModuleMixin, nn.Module):
    """Three branches like EEGNet with short, middle and long kernels, joined before one classifier.

    Parameters
    ----------
    n_chans, n_outputs, n_times, chs_info, input_window_seconds, sfreq
        As in every network of braindecode; `sfreq` is needed where a kernel length is in seconds.
    variant : {"original", "comparison", "comparison_reference"}
        What the options that are None stand for. "original": kernels of 64, 96 and 128 samples, for 160 Hz [1]_.
        "comparison": of 0.25, 0.5 and 1 s [2]_. "comparison_reference": with the fault of that code, see `separable`.
    F1 : sequence of int
        Temporal filters of each branch.
    D : int
        Spatial filters for each temporal one.
    kernel_lengths : sequence of int or float or None
        Of the temporal convolution of each branch: an int is samples, a float seconds.
    separable_lengths : sequence of int
        Of the separable convolution of each branch, in samples.
    separable : {"time", "reference"} or None
        "time" (default): the separable convolutions filter along time. "reference": as in the code of [2]_, whose
        kernels lie along the one sample that is left of the space axis: only one of their taps does anything.
    drop_prob : float
        Dropout in each branch.
    max_norm : {"projection", "forward", "off"}
        How filters are kept within their norm, see `EEGNet`.
    conv_spatial_max_norm, norm_rate : float or None
        Largest norm of a spatial filter and of a class's weights; None is no bound.
    batch_norm_momentum, batch_norm_eps : float
        In torch's sense.
    fused : bool
        Filter in space before time, see `neurosig.nn.projected_convolution`. False: in the order of the paper.

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
    Source: Roots et al. [1]_ and its code (rootskar/EEGMotorImagery); kolcs/bionic_apps [2]_. Not in braindecode. The
    first feeds the same windows in three times and lays maps out as (time, space); weights of either load
    (``from_reference``), and those with the fault come with ``separable="reference"``, which is read off the shapes.
    Features are flattened time first, channels last, as in Keras.

    References
    ----------
    .. [1] K. Roots, Y. Muhammad, N. Muhammad, "Fusion convolutional neural network for cross-subject EEG motor imagery
       classification", Computers 9(3), 72, 2020.
    .. [2] C. M. Köllőd et al., "Deep comparisons of neural networks from the EEGNet family", Electronics 12(12), 2743,
       2023; kolcs/bionic_apps.
    """

    _fixed_length = True

    def __init__(
        self,
        n_chans: int | None = None,
        n_outputs: int | None = None,
        n_times: int | None = None,
        *,
        variant: str = "original",
        F1: Sequence[int] = (8, 16, 32),
        D: int = 2,
        kernel_lengths: Sequence[float] | None = None,
        separable_lengths: Sequence[int] = (8, 16, 32),
        separable: str | None = None,
        drop_prob: float = 0.5,
        max_norm: str = "projection",
        conv_spatial_max_norm: float | None = 1.0,
        norm_rate: float | None = 0.25,
        batch_norm_momentum: float = 0.01,
        batch_norm_eps: float = 1e-3,
        fused: bool = True,
        chs_info: Sequence[Mapping[str, Any]] | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
    ):
        signal: dict[str, Any] = {
            "n_chans": n_chans, "n_outputs": n_outputs, "n_times": n_times, "chs_info": chs_info,
            "input_window_seconds": input_window_seconds, "sfreq": sfreq,
        }  # fmt: skip
        channels, outputs, length, rate = signal_sizes("EEGNetFusion", **signal)
        option = chosen("EEGNetFusion", VARIANTS, variant, kernel_lengths=kernel_lengths, separable=separable)
        if option["separable"] not in ("time", "reference"):
            raise UsageError(f"separable is 'time' or 'reference'; got {option['separable']!r}")
        if not len(F1) == len(option["kernel_lengths"]) == len(separable_lengths) >= 1:
            raise UsageError("F1, kernel_lengths and separable_lengths have one entry for each branch")
        kernels = [samples(kernel, rate, "kernel_lengths") for kernel in option["kernel_lengths"]]
        self._construct(signal, length, "Pass longer windows", {})
        self.F1, self.D = tuple(F1), D
        self.fused = fused
        norm: dict[str, Any] = {"momentum": batch_norm_momentum, "eps": batch_norm_eps}
        across = option["separable"] == "reference"
        self.branches: Any = nn.ModuleList(
            _Branch(channels, filters, D, kernel, separable_length, across, drop_prob, norm)
            for filters, kernel, separable_length in zip(F1, kernels, separable_lengths, strict=True)
        )
        self.final_layer = nn.Linear(sum(F1) * D * self.head_length(length), outputs)
        nn.init.xavier_uniform_(self.final_layer.weight)
        nn.init.zeros_(self.final_layer.bias)
        limits = {f"branches.{number}.conv_spatial": conv_spatial_max_norm for number in range(len(kernels))}
        self._limit_norms({**limits, "final_layer": norm_rate}, max_norm)

    @classmethod
    def head_length(cls, n_times: int, **_: Any) -> int:
        """How many samples of a window of `n_times` reach the classifier, from each branch."""
        return n_times // _POOLS[0] // _POOLS[1]

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
        fused = self.fused and can_project(x, self.branches[0].bnorm_temporal)
        moments = None
        if fused and self.branches[0].bnorm_temporal.training:
            moments = lag_moments(x, max(branch.conv_temporal.kernel_size[1] for branch in self.branches), "keras")
        return self.final_layer(torch.cat([branch(x, fused, moments) for branch in self.branches], dim=1))

    def _keras_entries(self) -> list[Entry]:
        entries = []
        for number in range(len(self.branches)):
            name = f"branches.{number}"
            entries += [
                Entry("conv2d", "kernel", f"{name}.conv_temporal.weight", "conv"),
                *batch_norm(f"{name}.bnorm_temporal"),
                Entry("depthwise_conv2d", "kernel", f"{name}.conv_spatial.weight", "depthwise", self.D),
                *batch_norm(f"{name}.bnorm_spatial"),
                *separable(f"{name}.conv_separable_depth.weight", f"{name}.conv_separable_point.weight"),
                *batch_norm(f"{name}.bnorm_separable"),
            ]
        entries.append(Entry("dense", "kernel", "final_layer.weight", "linear"))
        entries.append(Entry("dense", "bias", "final_layer.bias"))
        return entries

    @classmethod
    def _keras_config(cls, layers: dict[str, list[dict[str, np.ndarray]]]) -> dict[str, Any]:
        try:
            temporal = [layer["kernel"].shape for layer in layers["conv2d"]]
            spatial = [layer["kernel"].shape for layer in layers["depthwise_conv2d"]]
            separable_shapes = [layer["depthwise_kernel"].shape for layer in layers["separable_conv2d"]]
            n_features, n_outputs = layers["dense"][0]["kernel"].shape
        except KeyError as error:
            raise InputError(f"not the weights of an EEGNet Fusion: {sorted(layers)}") from error
        across = all(shape[1] == 1 for shape in separable_shapes) and any(shape[0] > 1 for shape in separable_shapes)
        depth = spatial[0][3]
        return {
            "n_chans": spatial[0][0],
            "n_outputs": n_outputs,
            "F1": [shape[3] for shape in temporal],
            "D": depth,
            "kernel_lengths": [shape[1] for shape in temporal],
            "separable_lengths": [shape[0] if across else shape[1] for shape in separable_shapes],
            "separable": "reference" if across else "time",
            "length": n_features // (depth * sum(shape[3] for shape in temporal)),
        }


class _Branch(nn.Module):
    """One EEGNet up to its classifier: windows to features, flattened time first."""

    def __init__(
        self,
        n_chans: int,
        n_filters: int,
        depth: int,
        kernel: int,
        separable_length: int,
        across: bool,
        drop_prob: float,
        norm: dict[str, Any],
    ):
        super().__init__()
        maps = n_filters * depth
        self.conv_temporal = SameConv2d(1, n_filters, (1, kernel), bias=False)
        self.bnorm_temporal = nn.BatchNorm2d(n_filters, **norm)
        self.conv_spatial = nn.Conv2d(n_filters, maps, (n_chans, 1), groups=n_filters, bias=False)
        self.bnorm_spatial = nn.BatchNorm2d(maps, **norm)
        self.pool_spatial = nn.AvgPool2d((1, _POOLS[0]))
        size = (separable_length, 1) if across else (1, separable_length)
        self.conv_separable_depth = SameConv2d(maps, maps, size, groups=maps, bias=False)
        self.conv_separable_point = nn.Conv2d(maps, maps, 1, bias=False)
        self.bnorm_separable = nn.BatchNorm2d(maps, **norm)
        self.pool_separable = nn.AvgPool2d((1, _POOLS[1]))
        self.elu = nn.ELU()
        self.drop = nn.Dropout(drop_prob)
        for layer in self.children():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: torch.Tensor, fused: bool, moments: LagMoments | None) -> torch.Tensor:
        if fused:
            known = moments and moments.of(self.conv_temporal.kernel_size[1], "keras")
            x = project_and_filter(x, self.conv_temporal, self.bnorm_temporal, self.conv_spatial, "keras", known)
        else:
            x = self.conv_spatial(self.bnorm_temporal(self.conv_temporal(x.unsqueeze(1))))
        x = self.drop(self.pool_spatial(self.elu(self.bnorm_spatial(x))))
        x = self.conv_separable_point(self.conv_separable_depth(x))
        x = self.drop(self.pool_separable(self.elu(self.bnorm_separable(x))))
        return x.permute(0, 2, 3, 1).flatten(1)
