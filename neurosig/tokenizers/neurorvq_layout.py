"""Which tensors a published tokenizer of NeuroRVQ consists of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from neurosig.nn.state_dicts import check_state
from neurosig.tokenizers.neurorvq_config import BackboneConfig
from neurosig.tokenizers.neurorvq_weights import (
    Entry,
    backbone_entries,
    backbone_sizes,
    encoder_inputs,
    linear_entries,
    shape_of,
)

__all__ = ["check_unused", "tokenizer_entries", "tokenizer_sizes", "unused_names", "with_unused"]

_HEADS = {"amplitude": "amplitude", "angle_sin": "sine", "angle_cos": "cosine"}
_UNUSED = ("embedding.cluster_size", "embedding.embed_avg")  # in every level; nothing reads them


def tokenizer_entries(config: BackboneConfig, *, decoder_depth: int, n_levels: int) -> list[Entry]:
    """Every tensor that is read, in the published order."""
    n = config.n_scales
    entries = backbone_entries(
        "encoder.", "encoder.", n_scales=n, depth=config.depth, layer_scale=config.layer_scale > 0,
        inputs=encoder_inputs("encoder.", "encoder.", n),
    )  # fmt: skip
    inputs = []
    for s in range(n):
        inputs += linear_entries(f"decoder.patch_embed_{s + 1}.proj", f"decoder_inputs.{s}", (1, 1))
    entries += backbone_entries(
        "decoder.", "decoder.", n_scales=n, depth=decoder_depth, layer_scale=False, inputs=inputs
    )
    for s in range(n):
        for level in range(n_levels):
            published, ours = f"quantize_{s + 1}.layers.{level}.", f"quantizers.{s}.levels.{level}."
            entries.append(Entry(f"{published}cluster_size", f"{ours}usage"))
            entries.append(Entry(f"{published}embedding.weight", f"{ours}codebook"))
            entries.append(Entry(f"{published}embedding.initted", f"{ours}started", trailing=(1,)))
    for s in range(n):
        for layer in (0, 2):
            entries += linear_entries(f"encode_task_layer_{s + 1}.{layer}", f"projections.{s}.{layer}")
    for published, ours in _HEADS.items():
        for layer in (0, 2):
            entries += linear_entries(f"decode_task_layer_{published}.{layer}", f"heads.{ours}.{layer}")
    return entries


def unused_names(n_scales: int, n_levels: int) -> list[str]:
    """Tensors that published files hold and nothing reads."""
    return [
        f"quantize_{s + 1}.layers.{level}.{name}"
        for s in range(n_scales)
        for level in range(n_levels)
        for name in _UNUSED
    ]


def check_unused(kept: Mapping[str, torch.Tensor], n_codes: int, code_dim: int) -> None:
    """Refuse tensors that nothing reads where they are not finite or of another shape: such a file is damaged."""
    sizes = dict(zip(_UNUSED, ((n_codes,), (n_codes, code_dim)), strict=True))
    expected = {
        name: torch.empty(sizes[unused], device="meta") for name in kept for unused in _UNUSED if name.endswith(unused)
    }
    check_state(kept, expected, "NeuroRVQ")


def with_unused(arrays: Mapping[str, torch.Tensor], kept: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights together with the tensors that nothing reads: those that were kept, else the codes and zeros."""
    complete = {}
    for name, value in arrays.items():
        if name.endswith("embedding.initted"):
            stem = name.removesuffix("embedding.initted")
            codes = arrays[f"{stem}embedding.weight"]
            for unused, start in zip(_UNUSED, (torch.zeros(len(codes)), codes), strict=True):
                complete[stem + unused] = kept.get(stem + unused, start).clone()
        complete[name] = value
    return complete


def tokenizer_sizes(arrays: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the module, read off the shapes; what they do not tell is given, or as published."""
    fields = BackboneConfig.__dataclass_fields__
    sizes = {"patch_size": shape_of(arrays, "decode_task_layer_amplitude.2.weight")[0]}
    backbone = backbone_sizes(arrays, "encoder.", **(sizes | {n: v for n, v in given.items() if n in fields}))
    n_codes, code_dim = shape_of(arrays, "quantize_1.layers.0.embedding.weight", 2)
    return {
        **{name: getattr(backbone, name) for name in fields},
        "decoder_depth": len({name.split(".")[2] for name in arrays if name.startswith("decoder.blocks.")}),
        "n_levels": len({name.split(".")[2] for name in arrays if name.startswith("quantize_1.layers.")}),
        "n_codes": n_codes,
        "code_dim": code_dim,
    }
