"""Sizes of NeuroRVQ by kind of signal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from neurosig.core.errors import UsageError

__all__ = ["NEURORVQ_CONFIGS", "BackboneConfig", "neurorvq_config"]


@dataclass(frozen=True)
class BackboneConfig:
    """Sizes of the multi-scale encoder; the defaults are those published for EEG.

    Parameters
    ----------
    sfreq : float
        Sampling rate in Hz.
    patch_size : int
        Samples of a patch.
    kernels_1, kernels_2 : tuple of int
        Length of the first and of the second convolution of each scale.
    pool_1, pool_2 : int
        Samples averaged after either.
    n_filters : int
        Filters of either.
    n_groups : int
        Groups of the group normalisation.
    depth, n_heads : int
        Transformer blocks, and attention heads of each.
    mlp_ratio : float
        Width of the hidden layer of a block over its own.
    layer_scale : float
        Start of the factors on what a block adds; 0 has none.
    n_positions : int
        Rows of the spatial table.
    n_slots : int
        Rows of the time table, the largest number of patches of a channel.
    """

    sfreq: float = 200.0
    patch_size: int = 200
    kernels_1: tuple[int, ...] = (21, 15, 9, 5)
    kernels_2: tuple[int, ...] = (9, 7, 5, 3)
    pool_1: int = 2
    pool_2: int = 4
    n_filters: int = 8
    n_groups: int = 4
    depth: int = 12
    n_heads: int = 10
    mlp_ratio: float = 4.0
    layer_scale: float = 0.0
    n_positions: int = 105
    n_slots: int = 256

    def __post_init__(self):
        object.__setattr__(self, "kernels_1", tuple(self.kernels_1))  # JSON gives lists
        object.__setattr__(self, "kernels_2", tuple(self.kernels_2))
        counts = (
            "patch_size",
            "pool_1",
            "pool_2",
            "n_filters",
            "n_groups",
            "depth",
            "n_heads",
            "n_positions",
            "n_slots",
        )
        for name in counts:
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if not self.kernels_1 or len(self.kernels_1) != len(self.kernels_2):
            raise UsageError(
                f"kernels_1 and kernels_2 need one length a scale each, got {self.kernels_1} and {self.kernels_2}"
            )
        if self.n_filters % self.n_groups:
            raise UsageError(f"n_groups must divide n_filters, got {self.n_groups} and {self.n_filters}")
        lengths = {self.pooled(*kernels) for kernels in zip(self.kernels_1, self.kernels_2, strict=True)}
        if len(lengths) > 1 or min(lengths) < 1:
            raise UsageError(
                f"patches of {self.patch_size} samples are pooled to {sorted(lengths)}: one length is needed"
            )
        if self.embed_dim % self.n_heads:
            raise UsageError(f"n_heads must divide the width {self.embed_dim}, got {self.n_heads}")

    def pooled(self, kernel_1: int, kernel_2: int) -> int:
        """Samples of a patch that are left after both convolutions and poolings."""
        first = (self.patch_size + 2 * (kernel_1 // 2) - kernel_1 + 1) // self.pool_1
        return (first + 2 * (kernel_2 // 2) - kernel_2 + 1) // self.pool_2

    @property
    def n_scales(self) -> int:
        """Number of branches."""
        return len(self.kernels_1)

    @property
    def embed_dim(self) -> int:
        """Width of a patch after the convolutions: samples left times filters."""
        return self.n_filters * self.pooled(self.kernels_1[0], self.kernels_2[0])

    def replace(self, **changes: Any) -> BackboneConfig:
        """A copy with some sizes changed."""
        return replace(self, **changes)


# Later published versions, by their sizes: sampling rate, patch, slots, kernels, levels of the quantizers. How many
# channels ECG and PPG have, and the width of the network where it does not follow from the patch, is not known
NEURORVQ_CONFIGS: dict[str, dict[str, Any]] = {
    "eeg": {},
    "ecg": {"patch_size": 40, "n_slots": 600, "n_positions": None},
    "emg": {
        "sfreq": 1000.0,
        "kernels_1": (51, 17, 8, 5),
        "kernels_2": (25, 9, 4, 3),
        "n_positions": 17,
        "n_levels": 16,
    },
    "ppg": {
        "sfreq": 100.0,
        "patch_size": 80,
        "n_slots": 12,
        "kernels_1": (41, 31, 17, 9),
        "kernels_2": (17, 13, 9, 5),
        "n_positions": None,
    },
}


def neurorvq_config(kind: str = "eeg", *, n_channels: int | None = None, **changes: Any) -> dict[str, Any]:
    """Keyword arguments of `NeuroRVQTokenizerModule` for a kind of signal.

    Parameters
    ----------
    kind : {"eeg", "ecg", "emg", "ppg"}
        Kind of signal.
    n_channels : int, optional
        Channels that get a row of their own in the spatial table; needed for "ecg" and "ppg".
    **changes
        Sizes to change.

    Returns
    -------
    dict

    Raises
    ------
    UsageError
        If the kind is unknown or the number of channels is missing.

    Examples
    --------
    >>> from neurosig.tokenizers.neurorvq_config import neurorvq_config
    >>> neurorvq_config("ecg", n_channels=12)
    {'patch_size': 40, 'n_slots': 600, 'n_positions': 13}
    """
    if kind not in NEURORVQ_CONFIGS:
        raise UsageError(f"kind must be one of {', '.join(NEURORVQ_CONFIGS)}, got {kind!r}")
    sizes = dict(NEURORVQ_CONFIGS[kind])
    if n_channels is not None:
        sizes["n_positions"] = n_channels + 1  # one row more than channels, as published
    sizes |= changes
    if "n_positions" in sizes and sizes["n_positions"] is None:
        raise UsageError(f"pass n_channels for {kind!r}: how many the published model has is not known")
    return sizes
