"""NeuroRVQ's foundation model: the multi-scale encoder under a classifier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import nn

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.log import logger
from neurosig.nn.state_dicts import read_state
from neurosig.tokenizers.neurorvq_backbone import MultiScaleEncoder, channel_rows, initialise_weights, patches
from neurosig.tokenizers.neurorvq_config import BackboneConfig
from neurosig.tokenizers.neurorvq_weights import (
    Entry,
    backbone_entries,
    backbone_sizes,
    encoder_inputs,
    linear_entries,
    read_arrays,
    shape_of,
    write_arrays,
)

__all__ = ["NeuroRVQEncoder"]

READOUTS = ("mean", "flatten")


class NeuroRVQEncoder(nn.Module):
    """Foundation model of NeuroRVQ: encodes windows at several scales, and classifies them.

    Parameters
    ----------
    n_chans, n_outputs, n_times : int, optional
        Channels, outputs, samples of a window. Without `n_outputs` there is no classifier, and calls give embeddings;
        `n_times` is needed for ``readout="flatten"`` only.
    chs_info : list of dict, optional
        Channels as in ``mne.Info["chs"]``, whose ``"ch_name"`` says where they are.
    input_window_seconds, sfreq : float, optional
        Length of a window and its rate, which must be that of `config_sfreq`.
    ch_names : sequence of str, or of int, optional
        Channels by name (any usual spelling of `NEURORVQ_CHANNELS`), or rows of the spatial table; before `chs_info`.
    readout : {"mean", "flatten"}
        What the classifier reads: the mean over patches, as first published; or all patches one after another, each
        normalised, as later versions do, which ties it to one number of channels and patches.
    patch_size, kernels_1, kernels_2, pool_1, pool_2, n_filters, n_groups, depth, n_heads, mlp_ratio
        Sizes, see `BackboneConfig`.
    n_positions, n_slots
        Sizes, see `BackboneConfig`.
    layer_scale : float
        Start of the factors on what blocks add.
    config_sfreq : float
        Sampling rate of the windows that the sizes are for.
    layer_decay : float or None
        Factor on the learning rate from one layer to that before it, see `learning_rates`; None has one rate for all.
    decay_per : {"tensor", "block"}
        What a layer is, see there.
    generator : torch.Generator, optional
        Draws the weights; None is torch's global one.

    Attributes
    ----------
    backbone : MultiScaleEncoder
        What pretraining gives. Its norms, one a scale, serve the tokenizer: classifier and pretraining read what comes
        before them, as published, and they get no gradient.
    fc_norm, head : nn.Module
        The classifier, where `n_outputs` is given.

    Raises
    ------
    UsageError
        If sizes do not fit each other, or what a readout needs is not given.
    ChannelError
        If a channel is unknown, or their number is not that of the windows.

    See Also
    --------
    NeuroRVQPretraining : Trains the backbone to predict masked tokens.

    Notes
    -----
    Input is EEG in microvolts at 200 Hz, clipped at 500, of whole patches of a second.

    References
    ----------
    .. [1] "NeuroRVQ: Multi-scale EEG tokenization for generative large brainwave models",
       https://arxiv.org/abs/2510.13068; KonstantinosBarmpas/NeuroRVQ

    Examples
    --------
    >>> import torch
    >>> from neurosig.models.neurorvq_encoder import NeuroRVQEncoder
    >>> encoder = NeuroRVQEncoder(ch_names=["C3", "C4"], n_outputs=2, patch_size=40, depth=1)
    >>> encoder(torch.randn(3, 2, 200)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        n_chans: int | None = None,
        n_outputs: int | None = None,
        n_times: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        *,
        ch_names: Sequence[str] | Sequence[int] | None = None,
        readout: str = "mean",
        patch_size: int = 200,
        kernels_1: Sequence[int] = (21, 15, 9, 5),
        kernels_2: Sequence[int] = (9, 7, 5, 3),
        pool_1: int = 2,
        pool_2: int = 4,
        n_filters: int = 8,
        n_groups: int = 4,
        depth: int = 12,
        n_heads: int = 10,
        mlp_ratio: float = 4.0,
        layer_scale: float = 1e-5,
        n_positions: int = 105,
        n_slots: int = 256,
        config_sfreq: float = 200.0,
        layer_decay: float | None = None,
        decay_per: str = "tensor",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        _check_decay(layer_decay, decay_per)
        if readout not in READOUTS:
            raise UsageError(f"readout must be one of {', '.join(READOUTS)}, got {readout!r}")
        if sfreq is not None and abs(sfreq - config_sfreq) > 1e-4 * config_sfreq:
            raise UsageError(f"NeuroRVQ takes signals at {config_sfreq:g} Hz, got sfreq={sfreq:g}; resample them")
        if n_times is None and input_window_seconds is not None:
            n_times = round(config_sfreq * input_window_seconds)
        if ch_names is None and chs_info is not None:
            ch_names = [str(channel["ch_name"]) for channel in chs_info]
        if ch_names is not None:
            n_chans = len(ch_names) if n_chans is None else n_chans
        config = BackboneConfig(
            sfreq=config_sfreq, patch_size=patch_size, kernels_1=tuple(kernels_1), kernels_2=tuple(kernels_2),
            pool_1=pool_1, pool_2=pool_2, n_filters=n_filters, n_groups=n_groups, depth=depth, n_heads=n_heads,
            mlp_ratio=mlp_ratio, layer_scale=layer_scale, n_positions=n_positions, n_slots=n_slots,
        )  # fmt: skip
        self.config, self.readout, self.layer_decay, self.decay_per = config, readout, layer_decay, decay_per
        self.n_chans, self.n_outputs, self.n_times, self.sfreq = n_chans, n_outputs, n_times, config_sfreq
        self.channels = None if ch_names is None else channel_rows(ch_names, n_chans or 0, n_positions)
        self.backbone = MultiScaleEncoder(config)
        self.backbone.fc_norm.requires_grad_(False)  # processes that share gradients wait for each that is announced
        initialise_weights(self.backbone, list(self.backbone.blocks), generator)  # type: ignore[arg-type]
        self.fc_norm: nn.LayerNorm | None = None
        self.head: nn.Linear | None = None
        if n_outputs is not None:
            width = config.n_scales * config.embed_dim
            n_features = width
            if readout == "flatten":
                if n_chans is None or n_times is None:
                    raise UsageError("readout='flatten' needs n_chans (or ch_names, chs_info) and n_times")
                n_features = width * n_chans * (n_times // patch_size)
            self.fc_norm, self.head = nn.LayerNorm(width), nn.Linear(n_features, n_outputs)
            initialise_weights(self.head, (), generator)

    def forward(self, x: torch.Tensor, channels: Any = None) -> torch.Tensor:
        """Windows to logits, or to embeddings where there is no classifier.

        Parameters
        ----------
        x : tensor of shape (n, n_chans, times)
            Windows, of whole patches.
        channels : sequence of str, or of int, optional
            Names, or rows of the spatial table; None: those of the module.

        Returns
        -------
        tensor of shape (n, n_outputs), or (n, n_scales * embed_dim)
        """
        features = self.features(x, channels).permute(1, 2, 0, 3).flatten(2)
        if self.head is None or self.fc_norm is None:
            return features.mean(dim=1)
        if self.readout == "mean":
            return self.head(self.fc_norm(features.mean(dim=1)))
        flat = self.fc_norm(features).flatten(1)
        if flat.shape[1] != self.head.in_features:
            raise InputError(
                f"expected windows of {self.n_chans} channels and {self.n_times} samples, as the classifier was built "
                f"for, got {tuple(x.shape[1:])}"
            )
        return self.head(flat)

    def features(self, x: torch.Tensor, channels: Any = None) -> torch.Tensor:
        """Features of every scale and patch, before the norms of the scales.

        Parameters
        ----------
        x, channels
            As in `forward`.

        Returns
        -------
        tensor of shape (n_scales, n, channels * n_patches, embed_dim)
            Channel after channel.
        """
        return self.backbone.transform(self.backbone.convolve(x), self.rows(x, channels))

    def embed(self, x: torch.Tensor, channels: Any = None) -> torch.Tensor:
        """One vector a window, the mean over patches of all scales: (n, n_scales * embed_dim)."""
        return self.features(x, channels).mean(dim=2).transpose(0, 1).flatten(1)

    def rows(self, x: torch.Tensor, channels: Any = None) -> torch.Tensor:
        """Rows of the spatial table for the channels of windows, which are checked."""
        patches(x, self.config.patch_size)
        if not bool(torch.isfinite(x).all()):
            raise InputError("the windows hold NaN or infinity; interpolate or leave out what is missing")
        channels = self.channels if channels is None else channels
        if channels is None:
            raise UsageError("NeuroRVQ needs to know the channels: pass ch_names or chs_info to the module")
        return channel_rows(channels, x.shape[1], self.config.n_positions).to(self.backbone.pos_embed.device)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the classifier, which alone are trained in a linear probe."""
        for part in (self.fc_norm, self.head):
            if part is not None:
                yield from part.parameters()

    def learning_rates(self, decay: float | None = None, per: str | None = None) -> dict[str, float]:
        """Factors on the learning rate that fall towards the input: what `train_network` reads.

        Parameters
        ----------
        decay : float, optional
            Factor from one layer to that before it; None is `layer_decay`.
        per : {"tensor", "block"}, optional
            "tensor", as published: every parameter tensor is a layer, so that the first of 275 learns at 0.975 to the
            power of 275 (a thousandth) of the rate. "block", as is usual: convolutions and tables are one layer, each
            transformer block is one. None is `decay_per`.

        Returns
        -------
        dict of str to float
            Names of parameters to factors, the classifier's first, which are 1; empty where there is no decay.
        """
        decay = self.layer_decay if decay is None else decay
        per = self.decay_per if per is None else per
        _check_decay(decay, per)
        if decay is None:
            return {}
        names, depth = self.published_names(), self.config.depth
        head, rest = {}, {}
        for index, (ours, published) in enumerate(names.items()):
            if published.startswith(("head.", "fc_norm.")):
                head[ours] = 1.0
            else:
                rest[ours] = decay ** (len(names) - index if per == "tensor" else depth + 1 - _block(published, depth))
        return head | rest

    @classmethod
    def from_reference(cls, state_dict: Mapping[str, Any], **config: Any) -> Self:
        """Build the module from published weights, of pretraining or of fine-tuning.

        Parameters
        ----------
        state_dict : mapping of str to array or tensor
            As published: 271 tensors and those of either kind of head.
        **config
            What shapes do not tell: `ch_names`, `n_outputs`, `readout`, `n_groups` and so on.

        Returns
        -------
        NeuroRVQEncoder
            In evaluation mode. As in the published code, heads are optional: those of pretraining are left out, and the
            classifier is new where the file has none, or one of another number of classes; the log says so. With
            neither a classifier in the file nor `n_outputs`, there is none.

        Raises
        ------
        InputError
            If tensors of the backbone are missing or of another shape, or there are unknown ones.
        """
        state = read_state(state_dict, "NeuroRVQ")
        sizes = {name: config[name] for name in BackboneConfig.__dataclass_fields__ if name in config}
        sizes.pop("sfreq", None)
        backbone = backbone_sizes(state, **sizes)
        fields = {name: getattr(backbone, name) for name in BackboneConfig.__dataclass_fields__ if name != "sfreq"}
        if "head.weight" in state:
            config = {"n_outputs": shape_of(state, "head.weight")[0]} | config
        module = cls(**(fields | config))
        heads = [
            name for name in state if name.startswith(("head.", "fc_norm.", "head_pre_", "norm_pre.", "mask_token"))
        ]
        entries, read = module._entries(head=False), False
        if module.head is not None and "head.weight" in state:
            read = shape_of(state, "head.weight") == tuple(module.head.weight.shape)
            entries = module._entries(head=read)
        if not any(name.startswith("fc_norm_") for name in state):  # files of pretraining have none, nothing reads them
            entries = [entry for entry in entries if not entry.published.startswith("fc_norm_")]
        read_arrays(module, state, entries, unused=heads)
        unread = [name for name in heads if not (read and name.startswith(("head.", "fc_norm.")))]
        if unread:
            logger.info("not read, as they belong to another head: %s", listed(unread))
        if module.head is not None and not read:
            logger.info("the weights hold no classifier of this size: it is new, and has to be trained")
        return module.eval()

    def to_reference(self) -> dict[str, torch.Tensor]:
        """Weights in the published layout, copies on the CPU; the classifier last, where there is one."""
        return write_arrays(self, self._entries(head=self.head is not None))

    def published_names(self) -> dict[str, str]:
        """Published name of each parameter, in the published order: ours -> theirs."""
        return {entry.ours: entry.published for entry in self._entries(head=self.head is not None)}

    def _entries(self, *, head: bool) -> list[Entry]:
        config = self.config
        inputs = encoder_inputs("", "backbone.", config.n_scales)
        entries = backbone_entries(
            "", "backbone.", n_scales=config.n_scales, depth=config.depth, layer_scale=config.layer_scale > 0,
            inputs=inputs,
        )  # fmt: skip
        if head:
            entries += linear_entries("fc_norm", "fc_norm") + linear_entries("head", "head")
        return entries


def _check_decay(decay: float | None, per: str) -> None:
    if per not in ("tensor", "block"):
        raise UsageError(f"per must be 'tensor' or 'block', got {per!r}")
    if decay is not None and (isinstance(decay, bool | str) or not 0 < decay <= 1):
        raise UsageError(f"layer_decay must be a factor above 0, up to 1, or None, got {decay!r}")


def _block(published: str, depth: int) -> int:
    """0 for the input, 1 to depth for the blocks, depth + 1 for norms after them."""
    if published.startswith("blocks."):
        return int(published.split(".")[1]) + 1
    return depth + 1 if published.startswith("fc_norm_") else 0
