"""The published names of NeuroRVQ's weights, and the way of arrays to modules and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from neurosig.core.errors import InputError
from neurosig.nn import state_dicts
from neurosig.nn.state_dicts import Entry, check_state, from_published, to_published
from neurosig.tokenizers.neurorvq_config import BackboneConfig

__all__ = ["Entry", "backbone_entries", "backbone_sizes", "linear_entries", "read_arrays", "shape_of", "write_arrays"]

_NORM = ("weight", "bias")
_BLOCK = (
    "norm1.weight", "norm1.bias", "attn.q_bias", "attn.v_bias", "attn.qkv.weight", "attn.q_norm.weight",
    "attn.q_norm.bias", "attn.k_norm.weight", "attn.k_norm.bias", "attn.proj.weight", "attn.proj.bias",
    "norm2.weight", "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias",
)  # fmt: skip


def linear_entries(published: str, ours: str, trailing: tuple[int, ...] = ()) -> list[Entry]:
    """Weight and bias of a layer."""
    return [
        Entry(f"{published}.weight", f"{ours}.weight", trailing=trailing),
        Entry(f"{published}.bias", f"{ours}.bias"),
    ]


def backbone_entries(
    published: str, ours: str, *, n_scales: int, depth: int, layer_scale: bool, inputs: Iterable[Entry]
) -> list[Entry]:
    """Tables, blocks and norms of a `MultiScaleTransformer` under two prefixes, around the entries of its input."""
    entries = [Entry(f"{published}{name}", f"{ours}{name}") for name in ("cls_token", "pos_embed", "time_embed")]
    entries += inputs
    names = (("gamma_1", "gamma_2") if layer_scale else ()) + _BLOCK
    for i in range(depth):
        entries += [Entry(f"{published}blocks.{i}.{name}", f"{ours}blocks.{i}.{name}") for name in names]
    for scale in range(n_scales):
        entries += linear_entries(f"{published}fc_norm_{scale + 1}", f"{ours}fc_norm.{scale}")
    return entries


def encoder_inputs(published: str, ours: str, n_scales: int) -> list[Entry]:
    """The convolutions of a `MultiScaleEncoder`."""
    entries = []
    for step in (1, 2):
        for scale in range(n_scales):
            for kind in ("conv", "norm"):
                entries += linear_entries(
                    f"{published}patch_embed.{kind}{step}_{scale + 1}", f"{ours}branches.{scale}.{kind}{step}"
                )
    return entries


def shape_of(arrays: Mapping[str, Any], name: str, rank: int | None = None) -> tuple[int, ...]:
    """Shape of an array that must be there, and have so many axes."""
    return state_dicts.shape_of(arrays, name, rank, "NeuroRVQ")


def backbone_sizes(arrays: Mapping[str, Any], prefix: str = "", **given: Any) -> BackboneConfig:
    """Sizes of an encoder, read off the shapes of its weights; what they do not tell is given, or as published."""
    n_scales = _count(arrays, prefix + "patch_embed.conv1_{}.weight", 1)
    depth = _count(arrays, prefix + "blocks.{}.norm1.weight", 0)
    if not n_scales or not depth:
        missing = f"{prefix}patch_embed.conv1_1.weight" if not n_scales else f"{prefix}blocks.0.norm1.weight"
        raise InputError(f"not the weights of NeuroRVQ: there is no {missing}")
    n_positions, dim = shape_of(arrays, prefix + "pos_embed", 2)
    n_filters = shape_of(arrays, prefix + "patch_embed.conv1_1.weight")[0]
    pools = {"pool_1": BackboneConfig.pool_1, "pool_2": BackboneConfig.pool_2} | given
    sizes = {
        "patch_size": dim // n_filters * pools["pool_1"] * pools["pool_2"],
        "kernels_1": _kernels(arrays, prefix, 1, n_scales),
        "kernels_2": _kernels(arrays, prefix, 2, n_scales),
        "n_filters": n_filters,
        "depth": depth,
        "n_heads": dim // shape_of(arrays, prefix + "blocks.0.attn.q_norm.weight")[0],
        "mlp_ratio": shape_of(arrays, prefix + "blocks.0.mlp.fc1.weight")[0] / dim,
        "layer_scale": 1e-5 if prefix + "blocks.0.gamma_1" in arrays else 0.0,
        "n_positions": n_positions,
        "n_slots": shape_of(arrays, prefix + "time_embed")[0],
    }
    return BackboneConfig(**(sizes | given))


def read_arrays(
    module: nn.Module, arrays: Mapping[str, torch.Tensor], entries: Iterable[Entry], *, unused: Iterable[str] = ()
) -> None:
    """Put published arrays into a module.

    Parameters
    ----------
    module : nn.Module
        Takes the tensors over, without copying them; it may be on the meta device.
    arrays : mapping of str to tensor
        Published, as `read_state` gives them.
    entries : iterable of Entry
        What must be there.
    unused : iterable of str
        Published names that may be there and are not read here.

    Raises
    ------
    InputError
        If tensors are missing, of another shape, not finite, or not known.
    """
    entries, unused = list(entries), set(unused)
    state = module.state_dict()
    expected = to_published(state, entries)
    given = {name: value for name, value in arrays.items() if name in expected or name not in unused}
    check_state(given, expected, "NeuroRVQ")
    loaded = {name: value.to(state[name].dtype) for name, value in from_published(given, entries).items()}
    module.load_state_dict(loaded, strict=False, assign=True)


def write_arrays(module: nn.Module, entries: Iterable[Entry]) -> dict[str, torch.Tensor]:
    """Weights of a module under their published names, in the published order; copies on the CPU."""
    published = to_published(module.state_dict(), entries)
    return {name: (value.float() if value.dtype == torch.bool else value).cpu() for name, value in published.items()}


def _count(arrays: Mapping[str, Any], pattern: str, start: int) -> int:
    n = 0
    while pattern.format(start + n) in arrays:
        n += 1
    return n


def _kernels(arrays: Mapping[str, Any], prefix: str, step: int, n_scales: int) -> tuple[int, ...]:
    names = [f"{prefix}patch_embed.conv{step}_{scale + 1}.weight" for scale in range(n_scales)]
    return tuple(shape_of(arrays, name)[-1] for name in names)
