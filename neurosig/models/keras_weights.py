"""Weights of published Keras networks: their names, their axes, and the way to torch and back.

Keras keeps a convolution kernel as (height, width, in, out), a depthwise one as (height, width, in, multiplier), and a
dense layer as (in, out) over a feature map flattened as (space, time, channel). Layers are numbered in the order of
their making; those of parallel branches lie interleaved in the file and are sorted by that number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from neurosig.core.errors import InputError, UsageError

__all__ = ["Entry", "batch_norm", "fill", "group_layers", "named_arrays", "separable", "spell", "swap_axes"]

_NUMBERED = re.compile(r"(?P<kind>.*?)(?:_(?P<number>\d+))?")
_BATCH_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


class Entry(NamedTuple):
    """One array: the kind of its layer, its name there, the tensor's name here, and how the axes go over.

    ``axes`` is "vector" (as it is), "conv" (out, in, space, time), "conv_time_first" (out, in, time, space),
    "depthwise" (in x multiplier, 1, space, time), "linear" (out, in), or "dense": a convolution over all that is left,
    (out, channel, 1, time) or (out, channel, time, 1). ``multiplier`` is that of a depthwise kernel.
    """

    layer: str
    part: str
    key: str
    axes: str = "vector"
    multiplier: int = 1


def named_arrays(weights: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Name to array, from tensors, arrays, or a list of arrays with its names (``weight_names`` and ``w000``, ...)."""
    if not isinstance(weights, Mapping) and not hasattr(weights, "files"):
        raise UsageError(f"weights map names to arrays; got {type(weights).__name__}")
    if "weight_names" in weights:
        names = [str(name) for name in np.asarray(weights["weight_names"])]
        return {name: np.asarray(weights[f"w{index:03d}"]) for index, name in enumerate(names)}
    return {
        str(name): value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        for name, value in weights.items()
    }


def group_layers(arrays: Mapping[str, np.ndarray]) -> dict[str, list[dict[str, np.ndarray]]]:
    """Layers by kind, each kind in the order of making.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Named "conv2d_3/kernel", with or without a model's name before it and ":0" after it.

    Returns
    -------
    dict of str to list of dict
        "conv2d" to [{"kernel": ..., "bias": ...}, ...].
    """
    numbered: dict[str, dict[int, dict[str, np.ndarray]]] = {}
    for name, array in arrays.items():
        *_, layer, part = ["", *name.split(":")[0].split("/")]
        match = _NUMBERED.fullmatch(layer)
        if not layer or match is None:
            raise InputError(f"a Keras weight is named like 'conv2d_3/kernel'; got {name!r}")
        number = int(match["number"] or 0)
        numbered.setdefault(match["kind"], {}).setdefault(number, {})[part] = array
    return {kind: [layers[number] for number in sorted(layers)] for kind, layers in numbered.items()}


def swap_axes(layers: dict[str, list[dict[str, np.ndarray]]]) -> dict[str, list[dict[str, np.ndarray]]]:
    """Kernels of a network whose maps are (time, space) as those of one with (space, time), or back."""
    return {
        kind: [
            {part: array.swapaxes(0, 1) if array.ndim == 4 else array for part, array in layer.items()}
            for layer in found
        ]
        for kind, found in layers.items()
    }


def separable(key_depth: str, key_point: str) -> list[Entry]:
    """The entries of one separable convolution."""
    return [
        Entry("separable_conv2d", "depthwise_kernel", key_depth, "depthwise"),
        Entry("separable_conv2d", "pointwise_kernel", key_point, "conv"),
    ]


def batch_norm(key: str) -> list[Entry]:
    """The entries of one batch normalisation."""
    return [Entry("batch_normalization", part, f"{key}.{name}") for part, name in _BATCH_NORM.items()]


def fill(module: nn.Module, entries: Sequence[Entry], layers: Mapping[str, list[dict[str, np.ndarray]]]) -> None:
    """Copy Keras arrays into a module, in place.

    Parameters
    ----------
    module : nn.Module
    entries : sequence of Entry
        In the order of making within each kind of layer.
    layers : mapping
        From `group_layers`.

    Raises
    ------
    InputError
        If layers are missing or left over, or a shape does not fit.
    """
    wanted = {kind: len(indices) for kind, indices in _numbers(entries).items()}
    found = {kind: len(group) for kind, group in layers.items()}
    if wanted != found:
        raise InputError(
            f"{type(module).__name__} has the layers {wanted}, these weights {found}: another architecture"
        )
    with torch.no_grad():
        for entry, number in _walk(entries):
            layer, target = layers[entry.layer][number], tensor_of(module, entry.key)
            if entry.part not in layer:
                raise InputError(f"{entry.layer} number {number + 1} has no {entry.part!r}, but {sorted(layer)}")
            value = _to_torch(layer[entry.part], entry.axes, target.shape)
            target.copy_(torch.from_numpy(value).to(target.dtype))


def spell(module: nn.Module, entries: Sequence[Entry]) -> dict[str, np.ndarray]:
    """The weights of a module under Keras names and in Keras axes: what `fill` reads."""
    named = {}
    for entry, number in _walk(entries):
        layer = f"{entry.layer}_{number}" if number else entry.layer
        path, _, part = entry.key.rpartition(".")
        # what the forward pass uses: Keras knows no weight that is scaled to its norm only there
        value = getattr(module.get_submodule(path), part).detach().cpu().numpy()
        named[f"{layer}/{entry.part}"] = np.ascontiguousarray(_to_keras(value, entry.axes, entry.multiplier))
    return named


def tensor_of(module: nn.Module, key: str) -> torch.Tensor:
    """A parameter or buffer by its name; the stored one where a max-norm scales it in the forward pass."""
    path, _, name = key.rpartition(".")
    owner: Any = module.get_submodule(path)
    if hasattr(owner, "parametrizations") and name in owner.parametrizations:
        return owner.parametrizations[name].original
    return getattr(owner, name)


def _numbers(entries: Sequence[Entry]) -> dict[str, list[int]]:
    """For each kind of layer, the index among `entries` at which each layer begins."""
    starts: dict[str, list[int]] = {}
    seen: dict[str, set[str]] = {}
    for index, entry in enumerate(entries):
        parts = seen.setdefault(entry.layer, set())
        if not parts or entry.part in parts:
            starts.setdefault(entry.layer, []).append(index)
            parts.clear()
        parts.add(entry.part)
    return starts


def _walk(entries: Sequence[Entry]) -> Iterator[tuple[Entry, int]]:
    """Each entry with the number of its layer among those of its kind."""
    starts = _numbers(entries)
    for index, entry in enumerate(entries):
        yield entry, sum(start <= index for start in starts[entry.layer]) - 1


def _to_torch(array: np.ndarray, axes: str, shape: Sequence[int]) -> np.ndarray:
    """An array in Keras axes as one in torch axes of the given shape."""
    try:
        if axes == "conv":
            value = array.transpose(3, 2, 0, 1)
        elif axes == "conv_time_first":
            value = array.transpose(3, 2, 1, 0)
        elif axes == "depthwise":
            value = array.transpose(2, 3, 0, 1).reshape(-1, 1, *array.shape[:2])
        elif axes == "linear":
            value = array.T
        elif axes == "dense":
            value = array.reshape(-1, shape[1], array.shape[1]).transpose(2, 1, 0).reshape(tuple(shape))
        else:
            value = array
    except ValueError as error:
        raise InputError(f"an array of shape {array.shape} does not fit a layer of shape {tuple(shape)}") from error
    if tuple(value.shape) != tuple(shape):
        raise InputError(f"an array of shape {array.shape} does not fit a layer of shape {tuple(shape)}")
    return np.array(value, order="C")  # a copy: what comes from a file may be read-only


def _to_keras(value: np.ndarray, axes: str, multiplier: int) -> np.ndarray:
    """Back from `_to_torch`."""
    if axes == "conv":
        return value.transpose(2, 3, 1, 0)
    if axes == "conv_time_first":
        return value.transpose(3, 2, 1, 0)
    if axes == "depthwise":
        return value.reshape(-1, multiplier, *value.shape[2:]).transpose(2, 3, 0, 1)
    if axes == "linear":
        return value.T
    if axes == "dense":
        return value.reshape(*value.shape[:2], -1).transpose(2, 1, 0).reshape(-1, value.shape[0])
    return value
