"""BrainMAE: a masked autoencoder of region series that knows the regions by learned embeddings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.models.brainmae_masking import draw_masks, reconstruction_loss, steps_of
from neurosig.models.brainmae_parts import (
    HEAD_STD,
    REGION_STD,
    BrainMAEReconstruction,
    BrainMAEStates,
    check_options,
    cropped,
    initialise,
    sinusoids,
    too_short,
)
from neurosig.nn.node_attention import NodeAttention, NodeBlock
from neurosig.nn.node_sets import NodeSets

__all__ = ["BrainMAE", "BrainMAEReconstruction", "BrainMAEStates"]


class BrainMAE(nn.Module):
    """Region-aware masked autoencoder of region series.

    Parameters
    ----------
    n_chans : int, optional
        Regions; read from `chs_info` where that is given.
    n_outputs : int, optional
        Outputs of the head. Without it there is none, and calls give embeddings.
    n_times : int, optional
        Volumes of a run; runs of other lengths are taken as well.
    chs_info : list of dict, optional
        Regions in their order, with ``"ch_name"``: an embedding belongs to a name.
    input_window_seconds : float, optional
        Duration of a run; `n_times` where that is not given.
    sfreq : float
        Volumes per second, ``1 / TR``.
    segment : float
        Seconds of a segment. It has ``floor(segment * sfreq + 0.5)`` volumes.
    n_segments : int
        Segments that the temporal encoder sees together.
    emb_size, n_heads : int
        Size of embeddings, and heads of each attention.
    depth, temporal_depth, decoder_depth : int
        Blocks of the state encoder, of the temporal encoder and of the decoder.
    mlp_ratio : float
        Width of hidden layers, in `emb_size`.
    drop_prob : float
        Dropout of what a block adds.
    variant : {"sg", "ag", "vanilla"}
        How the state encoder attends. "sg": by the embeddings of the regions alone, the same in every segment; "ag": a
        first block likewise, the others by features and embeddings; "vanilla": by features, to which embeddings are
        added at the input, and which attend to themselves.
    region_embedding : {"learned", "sincos"}
        Whether embeddings are learned, or fixed sines and cosines of a region's place.
    self_loops : bool
        Whether regions attend to themselves in "sg" and "ag".
    mask_ratio : pair of float, or None
        Lowest and highest share of regions that is hidden in a segment during pretraining, drawn for each segment in
        steps of 0.05; None hides nothing.
    masked_weight : float
        Weight of the error in hidden regions; that in visible ones has what is left.
    decoder_token : {"product", "sum"}
        How the decoder is told for which region it fills in which state. "sum": linear maps of both, added, as
        published. "product", ours: before that the map of the state is multiplied, entry by entry, by another map of
        the region. What a region does is, to begin with, the state weighed by what the region is; in a sum a block has
        to find such products by its hidden layer, and learns several times slower.
    init_std : float or None
        Standard deviation of weights and embeddings at the start. None lets learning begin at once. Regions differ:
        their embeddings are of size 0.3 (of the class token 1), weights of ``in_features ** -0.5``. And there is no
        noise to unlearn, in the course of which the network would lose its sight of the data: zeros in the layer that
        gives the series and in what blocks add, but for attention in the state encoder. From small embeddings and
        weights, as 0.02, it fills in the mean over all regions for hundreds of steps.

    Attributes
    ----------
    samples : int
        Volumes of a segment.
    region_embedding : parameter or buffer of shape (n_chans, emb_size)
        Of the regions.
    final_layer : nn.Linear or None
        The head.

    Raises
    ------
    UsageError
        If a size or an option is impossible, or regions or rate are not given.
    InputError
        If runs are shorter than a segment.

    Notes
    -----
    Input is (n, n_chans, n_times), each region z-scored over its run. NaN is what was not measured: a whole row is a
    region that the run lacks, a tail is a run that ended before others. A region takes part in those segments in which
    it was measured throughout; volumes that do not fill a segment are left out. Neither hidden regions nor missing ones
    are replaced by anything: they are not in the sequence.

    Runs longer than `n_segments` are read in consecutive windows of so many segments. Their outputs are averaged, a
    window counting by its segments. In training mode one window of each run is read, which begins anywhere.

    Source: Yang et al. [1]_. The authors' code is not public; sizes are ours where the paper names none.

    References
    ----------
    .. [1] Yang et al., "BrainMAE: a region-aware self-supervised learning framework for brain signals", 2024,
       https://arxiv.org/abs/2406.17086

    Examples
    --------
    >>> import torch
    >>> from neurosig.models import BrainMAE
    >>> module = BrainMAE(n_chans=10, n_outputs=2, sfreq=0.5, emb_size=16, n_heads=2)
    >>> module(torch.randn(3, 10, 200)).shape
    torch.Size([3, 2])
    """

    region_embedding: torch.Tensor
    positions: torch.Tensor
    #: Parameters whose shapes depend on the volumes of a segment, and with them on the TR.
    OF_THE_RATE = ("input_projection.weight", "output_projection.weight", "output_projection.bias")
    unit_free = True  # z-scores

    def __init__(
        self,
        n_chans: int | None = None,
        n_outputs: int | None = None,
        n_times: int | None = None,
        chs_info: Sequence[Mapping[str, Any]] | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        *,
        segment: float = 15.0,
        n_segments: int = 20,
        emb_size: int = 256,
        n_heads: int = 8,
        depth: int = 3,
        temporal_depth: int = 2,
        decoder_depth: int = 1,
        mlp_ratio: float = 4.0,
        drop_prob: float = 0.1,
        variant: str = "sg",
        region_embedding: str = "learned",
        self_loops: bool = False,
        mask_ratio: Sequence[float] | None = (0.0, 0.8),
        masked_weight: float = 0.75,
        decoder_token: str = "product",
        init_std: float | None = None,
    ):
        super().__init__()
        self.ch_names = None if chs_info is None else tuple(str(channel["ch_name"]) for channel in chs_info)
        if n_chans is None and self.ch_names is not None:
            n_chans = len(self.ch_names)
        if n_chans is None or sfreq is None:
            raise UsageError("BrainMAE needs the regions, n_chans or chs_info, and sfreq, which is 1 / TR")
        if self.ch_names is not None and len(self.ch_names) != n_chans:
            raise ChannelError(f"chs_info names {len(self.ch_names)} regions, n_chans is {n_chans}")
        check_options(
            {"variant": variant, "region_embedding": region_embedding, "decoder_token": decoder_token},
            {
                "n_chans": n_chans, "n_segments": n_segments, "emb_size": emb_size, "depth": depth,
                "temporal_depth": temporal_depth, "decoder_depth": decoder_depth,
            },
        )  # fmt: skip
        if not (sfreq > 0 and segment > 0 and math.isfinite(sfreq * segment)):
            raise UsageError(f"segment (s) and sfreq (1 / TR) must be above 0, got {segment!r} and {sfreq!r}")
        if init_std is not None and (isinstance(init_std, bool | str) or not 0 < init_std < math.inf):
            raise UsageError(f"init_std must be above 0, or None, got {init_std!r}")
        if not 0 <= masked_weight <= 1 or not 0 <= drop_prob < 1:
            raise UsageError(
                f"masked_weight must be from 0 to 1, drop_prob below 1, got {masked_weight!r} and {drop_prob!r}"
            )
        self.ratios = None if mask_ratio is None else steps_of(mask_ratio)
        self.samples = math.floor(segment * sfreq + 0.5)
        if self.samples < 1:
            raise UsageError(f"a segment of {segment:g} s holds no volume at a TR of {1 / sfreq:g} s; is the TR in ms?")
        if n_times is None and input_window_seconds is not None:
            n_times = round(input_window_seconds * sfreq)
        if n_times is not None and n_times < self.samples:
            raise InputError(too_short(n_times, self.samples))
        self.n_chans, self.n_outputs, self.n_times, self.sfreq = n_chans, n_outputs, n_times, float(sfreq)
        self.segment, self.n_segments, self.emb_size = float(segment), n_segments, emb_size
        self.variant, self.masked_weight = variant, masked_weight

        self.input_projection = nn.Linear(self.samples, emb_size)
        if region_embedding == "learned":
            self.region_embedding = nn.Parameter(torch.empty(n_chans, emb_size))
        else:
            self.register_buffer("region_embedding", sinusoids(n_chans, emb_size))
        self.class_token = nn.Parameter(torch.empty(emb_size))
        self.class_embedding = nn.Parameter(torch.empty(emb_size))
        loops = variant == "vanilla" or bool(self_loops)
        kinds = {"sg": ["static"] * depth, "ag": ["static", *["adaptive"] * (depth - 1)], "vanilla": ["plain"] * depth}
        options: dict[str, Any] = {"mlp_ratio": mlp_ratio, "drop_prob": drop_prob}
        self.state_encoder = nn.ModuleList(
            NodeBlock(emb_size, n_heads, kind, self_loops=loops, **options) for kind in kinds[variant]
        )
        self.state_norm = nn.LayerNorm(emb_size)
        self.register_buffer("positions", sinusoids(n_segments, emb_size), persistent=False)
        self.temporal_encoder = nn.ModuleList(NodeBlock(emb_size, n_heads, **options) for _ in range(temporal_depth))
        self.temporal_norm = nn.LayerNorm(emb_size)
        self.from_state = nn.Linear(emb_size, emb_size)
        self.from_region = nn.Linear(emb_size, emb_size, bias=False)
        self.region_gate = nn.Linear(emb_size, emb_size, bias=False) if decoder_token == "product" else None
        self.decoder = nn.ModuleList(NodeBlock(emb_size, n_heads, **options) for _ in range(decoder_depth))
        self.decoder_norm = nn.LayerNorm(emb_size)
        self.output_projection = nn.Linear(emb_size, self.samples)
        self.head_norm: nn.LayerNorm | None = None
        self.final_layer: nn.Linear | None = None
        self.init_std = init_std
        for part in self.modules():
            initialise(part, init_std)
        for embedding, std in (
            (self.region_embedding, REGION_STD),
            (self.class_token, 1.0),
            (self.class_embedding, 1.0),
        ):
            if isinstance(embedding, nn.Parameter):
                nn.init.normal_(embedding, std=std if init_std is None else init_std)
        if init_std is None:
            self._begin_quietly()
        if n_outputs is not None:
            self.reset_head(n_outputs)

    # -- runs in, answers out -----------------------------------------------------------------------------------------

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of runs, or their embeddings where there is no head.

        Parameters
        ----------
        x : tensor of shape (n, n_chans, n_times)
            Z-scores, NaN where nothing was measured.

        Returns
        -------
        tensor of shape (n, n_outputs), or (n, emb_size)
        """
        if self.training:
            x = self.crop(x)
        segments, present = self._segments(x)
        contextual = self._contextual(self._states(segments, present)[0], present.any(dim=-1))
        return self._over_windows(contextual, present.any(dim=-1), head=True)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Embeddings of whole runs, the mean of their contextual states: (n, emb_size)."""
        segments, present = self._segments(x)
        valid = present.any(dim=-1)
        return self._over_windows(self._contextual(self._states(segments, present)[0], valid), valid, head=False)

    def encode(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> BrainMAEStates:
        """States of runs, segment by segment.

        Parameters
        ----------
        x : tensor of shape (n, n_chans, n_times)
            As for `forward`.
        mask : bool tensor of shape (n, n_segments, n_chans), optional
            True where a region is hidden in a segment; `n_segments` is that of the runs.

        Returns
        -------
        BrainMAEStates
        """
        segments, present = self._segments(x)
        states, regions = self._states(segments, self._seen(present, mask), present.any(dim=-1), regions=True)
        valid = present.any(dim=-1)
        return BrainMAEStates(states, self._contextual(states, valid), regions, valid, present)

    def reconstruct(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> BrainMAEReconstruction:
        """Reconstruct runs from what is visible of them.

        Parameters
        ----------
        x : tensor of shape (n, n_chans, n_times)
            As for `forward`.
        mask : bool tensor of shape (n, n_segments, n_chans), optional
            As for `encode`; None hides nothing.

        Returns
        -------
        BrainMAEReconstruction
        """
        segments, present = self._segments(x)
        valid = present.any(dim=-1)
        states = self._states(segments, self._seen(present, mask), valid)[0]
        decoded = self._decode(self._contextual(states, valid)[valid])
        x_hat = torch.zeros_like(segments, dtype=decoded.dtype).masked_scatter(valid[..., None, None], decoded)
        mask = torch.zeros_like(present) if mask is None else mask & present
        return BrainMAEReconstruction(x_hat, segments, mask, present)

    def training_loss(self, batch: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """The objective of pretraining, on a random window of each run under random masks.

        Parameters
        ----------
        batch : tensor of shape (n, n_chans, n_times)
            As for `forward`.
        generator : torch.Generator, optional
            Draws windows and masks; of the CPU. None is torch's global one.

        Returns
        -------
        dict of str to tensor of shape ()
            "total", "masked" and "unmasked", see `reconstruction_loss`.
        """
        segments, present = self._segments(self.crop(batch, generator))
        valid = present.any(dim=-1)
        mask = torch.zeros_like(present) if self.ratios is None else draw_masks(present, self.ratios, generator)
        states = self._states(segments, present & ~mask, valid)[0]
        x_hat = self._decode(self._contextual(states, valid)[valid])
        return reconstruction_loss(x_hat, segments[valid], mask[valid], present[valid], self.masked_weight)

    def crop(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """A window of at most `n_segments` segments of each run, which begins anywhere in it.

        Parameters
        ----------
        x : tensor of shape (n, n_chans, n_times)
            As for `forward`.
        generator : torch.Generator, optional
            Draws the beginnings; of the CPU. None is torch's global one.

        Returns
        -------
        tensor of shape (n, n_chans, whole segments)
            NaN after the end of runs that are shorter than the longest.
        """
        self._check(x)
        return cropped(x, self.samples, self.n_segments, generator)

    # -- looking inside -----------------------------------------------------------------------------------------------

    def graph_attention(self) -> torch.Tensor:
        """Static attention, (n_blocks, n_heads, 1 + n_chans, 1 + n_chans): rows receive; the class token comes first.

        Returns
        -------
        tensor
            One matrix for each head of each block that attends by embeddings alone: all of "sg", the first of "ag".

        Raises
        ------
        UsageError
            If the variant has no such block.
        """
        layers = [layer for layer in map(_attention, self.state_encoder) if layer.kind == "static"]
        if not layers:
            raise UsageError("variant='vanilla' has no static attention, it depends on the data")
        nodes = self._nodes()
        return torch.stack([layer.static_logits(nodes).softmax(dim=-1) for layer in layers])

    def state_attention(self, x: torch.Tensor) -> torch.Tensor:
        """Attention of the temporal encoder among segments.

        Parameters
        ----------
        x : tensor of shape (n, n_chans, n_times)
            As for `forward`.

        Returns
        -------
        tensor of shape (n, temporal_depth, n_heads, n_segments, n_segments)
            Rows receive and sum to 1, but for segments that are not valid, which have zeros; segments of different
            windows do not attend to each other. Its mean over blocks, heads and valid rows is what a state is attended.
        """
        segments, present = self._segments(x)
        valid = present.any(dim=-1)
        found: list[torch.Tensor] = []
        self._contextual(self._states(segments, present)[0], valid, found)
        n, n_all = valid.shape
        weights = torch.stack(found, dim=1)  # windows, blocks, heads, segments, segments
        n_windows = weights.shape[0] // n
        whole = weights.new_zeros(n, *weights.shape[1:3], n_windows, self._width(n_all), n_windows, self._width(n_all))
        for window, part in enumerate(weights.unflatten(0, (n, n_windows)).unbind(dim=1)):
            whole[:, :, :, window, :, window] = part
        return whole.flatten(5, 6).flatten(3, 4)[..., :n_all, :n_all]

    def region_similarity(self) -> torch.Tensor:
        """Cosine similarity of the embeddings of regions, (n_chans, n_chans)."""
        unit = functional.normalize(self.region_embedding, dim=1)
        return unit @ unit.T

    # -- heads --------------------------------------------------------------------------------------------------------

    def reset_head(self, n_outputs: int) -> None:
        """Give the module a new head of so many outputs."""
        if isinstance(n_outputs, bool) or int(n_outputs) != n_outputs or n_outputs < 1:
            raise UsageError(f"n_outputs must be a whole number, at least 1, got {n_outputs!r}")
        like = self.class_token
        self.n_outputs = int(n_outputs)
        self.head_norm = nn.LayerNorm(self.emb_size).to(like)
        self.final_layer = nn.Linear(self.emb_size, self.n_outputs).to(like)
        initialise(self.final_layer, HEAD_STD)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the head, which alone are trained in a linear probe."""
        for part in (self.head_norm, self.final_layer):
            if part is not None:
                yield from part.parameters()

    # -- stages -------------------------------------------------------------------------------------------------------

    def _begin_quietly(self) -> None:
        """Nothing is added to what the class token gathers, nothing filled in, until something is learned."""
        blocks = [*self.state_encoder, *self.temporal_encoder, *self.decoder]
        silent: list[Any] = [block.narrow for block in blocks]
        silent += [_attention(block).out for block in (*self.temporal_encoder, *self.decoder)]
        for layer in (*silent, self.output_projection):
            nn.init.zeros_(layer.weight)

    def _check(self, x: torch.Tensor) -> None:
        if x.ndim != 3 or x.shape[1] != self.n_chans:
            raise ChannelError(f"expected runs of shape (n, {self.n_chans}, n_times), got {tuple(x.shape)}")
        if x.shape[2] < self.samples:
            raise InputError(too_short(x.shape[2], self.samples))

    def _segments(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whole segments (n, n_segments, n_chans, samples), and which of them were measured throughout."""
        self._check(x)
        n_segments = x.shape[2] // self.samples
        x = x[..., : n_segments * self.samples].unflatten(2, (n_segments, self.samples)).transpose(1, 2)
        present = ~x.isnan().any(dim=-1)
        if not bool(present.any(dim=(1, 2)).all()):
            raise InputError("a run has no segment in which any region was measured")
        return x, present

    def _seen(self, present: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        if mask is None:
            return present
        if mask.dtype != torch.bool or mask.shape != present.shape:
            raise InputError(
                f"expected a bool mask of shape {tuple(present.shape)}, got {mask.dtype} {tuple(mask.shape)}"
            )
        return present & ~mask

    def _nodes(self) -> torch.Tensor:
        """Embeddings of the class token and of the regions."""
        return torch.cat([self.class_embedding[None], self.region_embedding])

    def _states(
        self, segments: torch.Tensor, seen: torch.Tensor, valid: torch.Tensor | None = None, *, regions: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Transient states (n, n_segments, emb_size), zeros where not valid; and, if wanted, tokens of the regions."""
        valid = seen.any(dim=-1) if valid is None else valid
        keep = functional.pad(seen[valid], (1, 0), value=True)
        sets = NodeSets.of(keep)
        nodes = self._nodes()
        # a row of zeros goes before the regions of a segment: the place of the class token
        values = sets.take(functional.pad(segments[valid], (0, 0, 1, 0)))
        tokens = torch.where((sets.nodes == 0)[:, None], self.class_token, self.input_projection(values))
        if self.variant == "vanilla":
            tokens = tokens + functional.embedding(sets.nodes, nodes)
        for block in self.state_encoder:
            tokens = block(tokens, sets, nodes)
        tokens = self.state_norm(tokens)
        if regions:
            grid = sets.grid(tokens)
            whole = grid.new_zeros(*valid.shape, *grid.shape[1:])
            whole[valid] = grid
            return whole[:, :, 0], whole[:, :, 1:]
        found = tokens.index_select(0, sets.first())
        return found.new_zeros(*valid.shape, self.emb_size).masked_scatter(valid[..., None], found), tokens

    def _width(self, n_all: int) -> int:
        """Segments of a window among so many."""
        return min(self.n_segments, n_all)

    def _windows(self, value: torch.Tensor) -> torch.Tensor:
        """Segments in windows, the last filled up with zeros: (n, n_segments, ...) -> (n, n_windows, width, ...)."""
        n_all = value.shape[1]
        width = self._width(n_all)
        lacking = -n_all % width
        if lacking:
            value = torch.cat([value, value.new_zeros(len(value), lacking, *value.shape[2:])], dim=1)
        return value.unflatten(1, (-1, width))

    def _contextual(
        self, states: torch.Tensor, valid: torch.Tensor, weights: list[torch.Tensor] | None = None
    ) -> torch.Tensor:
        """States after the temporal encoder, (n, n_segments, emb_size), zeros where not valid."""
        windows = self._windows(states)
        sets = NodeSets.of(self._windows(valid).flatten(0, 1))
        tokens = sets.take(windows.flatten(0, 1)) + self.positions[sets.nodes]
        for block in self.temporal_encoder:
            if weights is not None:
                weights.append(block.attend_to(tokens, sets))  # type: ignore[operator]
            tokens = block(tokens, sets)
        found = sets.grid(self.temporal_norm(tokens)).unflatten(0, windows.shape[:2])
        return found.flatten(1, 2)[:, : states.shape[1]]

    def _over_windows(self, contextual: torch.Tensor, valid: torch.Tensor, *, head: bool) -> torch.Tensor:
        """Mean over valid segments of each window, through the head, then over windows by their valid segments."""
        number = self._windows(valid).sum(dim=-1)[..., None]
        means = self._windows(contextual).sum(dim=2) / number.clamp(min=1)
        if head and self.head_norm is not None and self.final_layer is not None:
            means = self.final_layer(self.head_norm(means))
        return (means * number).sum(dim=1) / number.sum(dim=1)

    def _decode(self, contextual: torch.Tensor) -> torch.Tensor:
        """Contextual states to the series of all regions: (n_states, emb_size) -> (n_states, n_chans, samples)."""
        tokens = self.from_state(contextual)[:, None]
        if self.region_gate is not None:
            tokens = tokens * self.region_gate(self.region_embedding)
        tokens = tokens + self.from_region(self.region_embedding)
        sets = NodeSets.of(torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))
        flat = tokens.flatten(0, 1)
        for block in self.decoder:
            flat = block(flat, sets)
        return self.output_projection(self.decoder_norm(flat)).unflatten(0, tokens.shape[:2])


def _attention(block: nn.Module) -> NodeAttention:
    return block.attention  # type: ignore[return-value]
