"""Names of the published TFM-Tokenizer weights beside ours."""

from __future__ import annotations

import re
from collections.abc import Iterable

from neurosig.nn.state_dicts import Entry

__all__ = ["block_entries", "count_blocks", "tokenizer_entries"]


def block_entries(published: str, ours: str, depth: int) -> list[Entry]:
    """Entries of a stack of linear-attention blocks."""
    entries = []
    for i in range(depth):
        attention, mlp, block = f"{published}.layers.layers.{i}.0", f"{published}.layers.layers.{i}.1", f"{ours}.{i}"
        entries += [
            Entry(f"{attention}.fn.to_{part}.weight", f"{block}.qkv.weight", part=(index, 3))
            for index, part in enumerate("qkv")
        ]
        for theirs, layer in (
            (f"{attention}.fn.to_out", "out"),
            (f"{attention}.norm", "norm_attention"),
            (f"{mlp}.fn.fn.w1", "widen"),
            (f"{mlp}.fn.fn.w2", "narrow"),
            (f"{mlp}.norm", "norm_mlp"),
        ):
            entries += _both(theirs, f"{block}.{layer}")
    return entries


def tokenizer_entries(depths: tuple[int, int, int], patch_size: int, frame: int) -> list[Entry]:
    """Entries of a tokenizer whose stacks of blocks (frequency, time, decoder) are of these depths."""
    entries = []
    for theirs, ours, kernel in (
        ("freq_patch_embedding", "freq_embed", patch_size),
        ("temporal_patch_embedding", "temporal_embed", frame),
    ):
        for i in range(3):
            entries += _both(f"{theirs}.{3 * i}", f"{ours}.linears.{i}", kernel=kernel if i == 0 else 1)
            entries += _both(f"{theirs}.{3 * i + 2}", f"{ours}.norms.{i}")
    entries += block_entries("trans_freq_encoder.transformer", "freq_blocks", depths[0])
    for index, theirs in enumerate(("freq_patch_embedding_2_atten.0", "freq_patch_embedding_2.0")):
        entries += _both(theirs, "gate_value", kernel=patch_size, part=(index, 2))
    entries += block_entries("trans_temporal_encoder.transformer", "temporal_blocks", depths[1])
    entries += [
        Entry("quantizer.embedding.weight", "quantizer.codebook"),
        Entry("quantizer.cluster_size", "quantizer.cluster_size"),
        Entry("quantizer.ema_w", "quantizer.ema_sum"),
    ]
    entries += block_entries("trans_decoder.transformer", "decoder_blocks", depths[2])
    return entries + _both("decoder.0", "head.0") + _both("decoder.2", "head.2")


def count_blocks(names: Iterable[str], published: str) -> int:
    """Blocks of a stack, from the names of its tensors."""
    pattern = re.compile(re.escape(published) + r"\.layers\.layers\.(\d+)\.")
    return 1 + max((int(match[1]) for name in names if (match := pattern.match(name))), default=-1)


def _both(theirs: str, ours: str, *, kernel: int | None = None, part: tuple[int, int] | None = None) -> list[Entry]:
    return [
        Entry(f"{theirs}.weight", f"{ours}.weight", part=part, kernel=kernel),
        Entry(f"{theirs}.bias", f"{ours}.bias", part=part),
    ]
