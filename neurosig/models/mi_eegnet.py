"""MI-EEGNet: EEGNet's first block, then convolutions of several lengths side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from neurosig.core.compat import import_braindecode
from neurosig.core.errors import InputError
from neurosig.models.eegnet_family import FamilyNetwork, samples, signal_sizes
from neurosig.models.keras_weights import Entry, batch_norm, separable
from neurosig.nn.padding import SameConv2d
from neurosig.nn.projected_convolution import can_project, project_and_filter

__all__ = ["MIEEGNet"]

_base: Any = import_braindecode("braindecode.models.base")


class MIEEGNet(FamilyNetwork, _base.EEGModuleMixin, nn.Module):
    """MI-EEGNet: temporal and spatial filters as in EEGNet, a block of four branches, global average, classifier.

    Parameters
    ----------
    n_chans, n_outputs, n_times, chs_info, input_window_seconds, sfreq
        As in every network of braindecode; `sfreq` is needed where `kernel_length` is in seconds, as by default.
    F1, D, F2 : int
        Temporal filters and width of each branch; spatial filters for each; maps of the last convolution.
    kernel_length : int or float
        Of the temporal convolution: an int is samples, a float seconds.
    branch_lengths : sequence of two int
        Of the separable convolutions of the first and second branch, in samples.
    last_length : int
        Of the last separable convolution, in samples.
    drop_prob : float
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
        Shortest window that it takes: 8 samples.

    Raises
    ------
    InputError
        If `n_times` is too short for the two poolings.
    UsageError
        If `max_norm` is unknown, or a length is in seconds and `sfreq` is not given.

    Notes
    -----
    Source: the code of [2]_ (kolcs/bionic_apps); the text of the first paper [1]_ was not at hand, so its sizes are not
    checked against it. Not in braindecode, whose ``EEGInceptionMI`` is another network. The branch of stride 2 drops
    its last sample where it is longer than the pooled ones, as there. Weights load exactly (``from_reference``).

    References
    ----------
    .. [1] M. Riyad, M. Khalil, A. Adib, "MI-EEGNET: a novel convolutional neural network for motor imagery
       classification", J. Neurosci. Methods 353, 109037, 2021.
    .. [2] C. M. Köllőd et al., "Deep comparisons of neural networks from the EEGNet family", Electronics 12(12), 2743,
       2023; kolcs/bionic_apps.
    """

    def __init__(
        self,
        n_chans: int | None = None,
        n_outputs: int | None = None,
        n_times: int | None = None,
        *,
        F1: int = 64,
        D: int = 2,
        F2: int = 256,
        kernel_length: float = 0.5,
        branch_lengths: Sequence[int] = (7, 9),
        last_length: int = 5,
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
        channels, outputs, length, rate = signal_sizes("MIEEGNet", **signal)
        kernel = samples(kernel_length, rate)
        self._construct(signal, length, "Pass longer windows", {})
        self.D = D
        self.fused = fused
        norm: dict[str, Any] = {"momentum": batch_norm_momentum, "eps": batch_norm_eps}
        maps = F1 * D
        self.conv_temporal = SameConv2d(1, F1, (1, kernel), bias=False)
        self.bnorm_temporal = nn.BatchNorm2d(F1, **norm)
        self.conv_spatial = nn.Conv2d(F1, maps, (channels, 1), groups=F1, bias=False)
        self.bnorm_spatial = nn.BatchNorm2d(maps, **norm)
        self.pool = nn.AvgPool2d((1, 4))
        self.elu = nn.ELU()
        self.drop = nn.Dropout(drop_prob)
        self.branch_a, self.branch_b = (_branch(maps, F1, size, drop_prob, norm) for size in branch_lengths)
        self.branch_c = nn.Sequential(nn.AvgPool2d((1, 2)), nn.Conv2d(maps, F1, 1, bias=False))
        self.branch_d = nn.Conv2d(maps, F1, 1, stride=(1, 2), bias=False)
        self.bnorm_joined = nn.BatchNorm2d(4 * F1, **norm)
        self.conv_last = _separable(4 * F1, F2, last_length)
        self.bnorm_last = nn.BatchNorm2d(F2, **norm)
        self.final_layer = nn.Linear(F2, outputs)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(self.final_layer.bias)
        self._limit_norms({"conv_spatial": conv_spatial_max_norm, "final_layer": norm_rate}, max_norm)

    @classmethod
    def head_length(cls, n_times: int, **_: Any) -> int:
        """How many samples of a window of `n_times` are averaged before the classifier."""
        return n_times // 4 // 2

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
        if self.fused and can_project(x, self.bnorm_temporal):
            x = project_and_filter(x, self.conv_temporal, self.bnorm_temporal, self.conv_spatial, "keras")
        else:
            x = self.conv_spatial(self.bnorm_temporal(self.conv_temporal(x.unsqueeze(1))))
        h = self.drop(self.pool(self.elu(self.bnorm_spatial(x))))
        c = self.branch_c(h)
        joined = torch.cat([self.branch_a(h), self.branch_b(h), c, self.branch_d(h)[..., : c.shape[-1]]], dim=1)
        x = self.conv_last(self.elu(self.bnorm_joined(joined)))
        return self.final_layer(self.drop(self.elu(self.bnorm_last(x))).mean((2, 3)))

    def _keras_entries(self) -> list[Entry]:
        return [
            Entry("conv2d", "kernel", "conv_temporal.weight", "conv"),
            *batch_norm("bnorm_temporal"),
            Entry("depthwise_conv2d", "kernel", "conv_spatial.weight", "depthwise", self.D),
            *batch_norm("bnorm_spatial"),
            Entry("conv2d", "kernel", "branch_a.narrow.weight", "conv"),
            Entry("conv2d", "kernel", "branch_b.narrow.weight", "conv"),
            *separable("branch_a.first.depth.weight", "branch_a.first.point.weight"),
            *separable("branch_a.second.depth.weight", "branch_a.second.point.weight"),
            *separable("branch_b.first.depth.weight", "branch_b.first.point.weight"),
            *separable("branch_b.second.depth.weight", "branch_b.second.point.weight"),
            *batch_norm("branch_a.bnorm"),
            *batch_norm("branch_b.bnorm"),
            Entry("conv2d", "kernel", "branch_c.1.weight", "conv"),
            Entry("conv2d", "kernel", "branch_d.weight", "conv"),
            *batch_norm("bnorm_joined"),
            *separable("conv_last.depth.weight", "conv_last.point.weight"),
            *batch_norm("bnorm_last"),
            Entry("dense", "kernel", "final_layer.weight", "linear"),
            Entry("dense", "bias", "final_layer.bias"),
        ]

    @classmethod
    def _keras_config(cls, layers: dict[str, list[dict[str, np.ndarray]]]) -> dict[str, Any]:
        try:
            _, kernel, _, n_temporal = layers["conv2d"][0]["kernel"].shape
            n_chans, _, _, depth = layers["depthwise_conv2d"][0]["kernel"].shape
            lengths = [layer["depthwise_kernel"].shape[1] for layer in layers["separable_conv2d"]]
            first, _, second, _, last = lengths
            n_maps, n_outputs = layers["dense"][0]["kernel"].shape
        except (KeyError, ValueError) as error:
            raise InputError(f"not the weights of an MI-EEGNet: {sorted(layers)}") from error
        return {
            "n_chans": n_chans,
            "n_outputs": n_outputs,
            "F1": n_temporal,
            "D": depth,
            "F2": n_maps,
            "kernel_length": kernel,
            "branch_lengths": [first, second],
            "last_length": last,
            "length": 1,
        }


def _separable(n_in: int, n_out: int, length: int) -> nn.Sequential:
    layers = nn.Sequential()
    layers.add_module("depth", SameConv2d(n_in, n_in, (1, length), groups=n_in, bias=False))
    layers.add_module("point", nn.Conv2d(n_in, n_out, 1, bias=False))
    return layers


def _branch(n_in: int, width: int, length: int, drop_prob: float, norm: dict[str, Any]) -> nn.Sequential:
    layers = nn.Sequential()
    layers.add_module("narrow", nn.Conv2d(n_in, width, 1, bias=False))
    layers.add_module("first", _separable(width, width, length))
    layers.add_module("bnorm", nn.BatchNorm2d(width, **norm))
    layers.add_module("elu", nn.ELU())
    layers.add_module("drop", nn.Dropout(drop_prob))
    layers.add_module("second", _separable(width, width, length))
    layers.add_module("pool", nn.AvgPool2d((1, 2)))
    return layers
