"""The channels that NeuroRVQ knows: its 104 names, and positions in its tables of space and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from neurosig.core.channel_names import canonical_name, listed
from neurosig.core.errors import ChannelError, InputError, UsageError

__all__ = ["NEURORVQ_CHANNELS", "KnownChannels", "known_channels", "spatial_positions", "temporal_positions"]

# The order is the row of the spatial table. "p08" is spelled with a zero in the published list, beside "po8" and "p8"
NEURORVQ_CHANNELS: tuple[str, ...] = (
    "a1", "a2", "af3", "af4", "af7", "af8", "afz", "c1", "c2", "c3", "c4", "c5", "c6", "ccp1", "ccp2", "ccp3", "ccp4",
    "ccp5", "ccp6", "ccp7", "ccp8", "cfc1", "cfc2", "cfc3", "cfc4", "cfc5", "cfc6", "cfc7", "cfc8", "cp1", "cp2", "cp3",
    "cp4", "cp5", "cp6", "cpz", "cz", "eog", "f1", "f10", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "fc1", "fc2",
    "fc3", "fc4", "fc5", "fc6", "fcz", "fp1", "fp2", "fpz", "ft7", "ft8", "fz", "iz", "loc", "o1", "o2", "oz", "p08",
    "p1", "p10", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "po1", "po10", "po2", "po3", "po4", "po7", "po8",
    "po9", "poz", "pz", "roc", "sp1", "sp2", "t1", "t10", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9", "tp10", "tp7",
    "tp8", "tp9",
)  # fmt: skip
_ROW = {name: row for row, name in enumerate(NEURORVQ_CHANNELS)}


@dataclass(frozen=True)
class KnownChannels:
    """Which channels of the data have a row in the spatial table.

    Parameters
    ----------
    positions : tuple of int
        Row of each channel that is kept.
    kept : tuple of int
        Place of each of them in the data.
    unknown : tuple of str
        Names that have no row.
    """

    positions: tuple[int, ...]
    kept: tuple[int, ...]
    unknown: tuple[str, ...] = ()


def known_channels(ch_names: Sequence[str], *, on_unknown: str = "raise") -> KnownChannels:
    """Find channels in the list of 104 by name.

    Parameters
    ----------
    ch_names : sequence of str
        Names in the data.
    on_unknown : {"raise", "drop"}
        What becomes of a name that is not in the list. Where it is dropped, `kept` says which channels remain.

    Returns
    -------
    KnownChannels

    Raises
    ------
    ChannelError
        If a name is unknown and `on_unknown` is "raise", if two names are one row, or if none is known.

    Notes
    -----
    A name that stands in the list is its row, whatever its case; others are compared in the one spelling of
    `neurosig.core.channel_names`, so that "EEG Fp1-REF", "Fc5." and "P3-A2" are found. The list holds T3 and T7, T5 and
    P7 and their like as rows of their own: each keeps the row of its own name. The published fine-tuning code drops
    unknown channels without a word.
    """
    if on_unknown not in ("raise", "drop"):
        raise UsageError(f"on_unknown must be 'raise' or 'drop', got {on_unknown!r}")
    rows = [_row(str(name)) for name in ch_names]
    unknown = tuple(str(name) for name, row in zip(ch_names, rows, strict=True) if row is None)
    if unknown and on_unknown == "raise":
        raise ChannelError(
            f"NeuroRVQ has no position for {listed(unknown)}; rename these channels to names of the 10-10 system, "
            "leave them out, or pass on_unknown='drop' (neurosig tokenize: --on-unknown "
            "drop)"
        )
    kept = tuple(i for i, row in enumerate(rows) if row is not None)
    positions = tuple(row for row in rows if row is not None)
    if not positions:
        raise ChannelError(
            f"NeuroRVQ knows none of the channels {listed(map(str, ch_names))}; names like C3 are needed"
        )
    for row in positions:
        same = [str(name) for name, found in zip(ch_names, rows, strict=True) if found == row]
        if len(same) > 1:
            raise ChannelError(
                f"{listed(same)} are one channel, {NEURORVQ_CHANNELS[row]}, to NeuroRVQ; keep one of them"
            )
    return KnownChannels(positions, kept, unknown)


def spatial_positions(ch_names: Sequence[str]) -> tuple[int, ...]:
    """Row of each channel in the spatial table; an unknown name is a ChannelError."""
    return known_channels(ch_names).positions


def temporal_positions(n_patches: int, n_slots: int = 256) -> torch.Tensor:
    """Row of each patch in the time table: the last patch is always the last row.

    Parameters
    ----------
    n_patches : int
        Patches of a channel.
    n_slots : int
        Rows of the table.

    Returns
    -------
    int64 tensor of shape (n_patches,)

    Raises
    ------
    InputError
        If the table is too short.
    """
    if not 1 <= n_patches <= n_slots:
        raise InputError(f"expected 1 to {n_slots} patches a channel, got {n_patches}; cut the windows")
    return torch.arange(n_slots - n_patches, n_slots)


def _row(name: str) -> int | None:
    literal = name.strip().lower()
    # the rules of depth electrodes take prefix, dots and reference words away and leave T3 what it is
    for spelling in (literal, canonical_name(name, "seeg"), canonical_name(name)):
        if (row := _ROW.get(spelling.lower())) is not None:
            return row
    return None
