"""`NeuroRVQTokenizer`: NeuroRVQ's tokenizer with its training and all that signals need before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurosig.core.channel_names import listed
from neurosig.core.channels import unit_factor
from neurosig.core.errors import InputError, UsageError
from neurosig.core.inherited_docs import inherits_documentation
from neurosig.core.nested_options import NestedOptions
from neurosig.core.registry import register
from neurosig.core.signals import SignalSpec
from neurosig.nn.state_dicts import read_checkpoint
from neurosig.tokenizers.base import Tokenizer, Windows
from neurosig.tokenizers.neurorvq_channels import spatial_positions
from neurosig.tokenizers.neurorvq_config import NEURORVQ_CONFIGS, BackboneConfig, neurorvq_config
from neurosig.tokenizers.neurorvq_module import NeuroRVQTokenizerModule
from neurosig.tokenizers.neurorvq_spectrum import AmplitudeStatistics
from neurosig.tokenizers.neurorvq_windows import Conditioning
from neurosig.tokenizers.quality import check_tokens
from neurosig.tokenizers.token_axes import Frames
from neurosig.training.batches import BUFFER_BYTES

__all__ = ["CONDITIONS", "NeuroRVQTokenizer", "backbone_options", "chosen_sizes", "conditioning_of", "settled"]

# What is done to signals, unless it is said otherwise
CONDITIONS: dict[str, Any] = {
    "unit": None, "filter": False, "clip": "auto", "resample": False, "remainder": "trim", "on_unknown": "raise",
    "on_short": "raise",
}  # fmt: skip

# Options of the module that have no parameter of their own
_OPTIONS = (
    "sfreq", "kernels_1", "kernels_2", "pool_1", "pool_2", "n_filters", "n_groups", "mlp_ratio", "layer_scale",
    "n_positions", "n_slots", "decay", "beta",
)  # fmt: skip
_OF_BACKBONE = tuple(name for name in _OPTIONS if name in BackboneConfig.__dataclass_fields__)


@register(kind="tokenizer")
@inherits_documentation
class NeuroRVQTokenizer(NestedOptions, Tokenizer):
    """Tokenize windows at several scales, each patch by residual codes, and rebuild them from amplitude and phase.

    Parameters
    ----------
    kind : {"eeg", "ecg", "emg", "ppg"}
        Kind of signal. It decides rate, patch, kernels and levels, where these are not given (`neurorvq_config`), and
        how channels are told apart: those of EEG by their names, those of the others by their place.
    patch_size : int, optional
        Samples of a patch at the module's rate; None is the kind's: a second of EEG.
    n_levels : int, optional
        Residual levels of a scale; None is the kind's: 8 of EEG.
    n_codes, code_dim : int
        Codes of a level, and their length.
    depth, decoder_depth : int
        Transformer blocks of encoder and decoder.
    n_heads : int
        Attention heads of a block.
    kmeans_init : bool
        Whether the codes start from k-means of the first batch.
    restart_dead_codes : float, optional
        Codes whose averaged count falls below this number start anew; None, as published, never does.
    options : dict, optional
        The module's other sizes: ``sfreq`` (its rate), ``kernels_1, kernels_2, pool_1, pool_2, n_filters, n_groups,
        mlp_ratio, layer_scale, n_positions, n_slots, decay, beta``. Each can be set by a name of its own
        (``options__decay``).
    unit : str, optional
        Unit of arrays that come without `info`: "V" or "uV". Epochs, datasets and `info` tell theirs. Signals of other
        kinds than EEG may be in "a.u.": they are taken as they are.
    filter : bool
        Whether windows are filtered as the published example filters recordings: notches at 50, 60 and 100 Hz, 0.5 to
        44.5 Hz. It takes windows of at least 4 s, two periods of the lower edge. Off by default, since whoever filters
        recordings before cutting windows has no transients at their edges.
    clip : "auto", float or None
        Microvolts beyond which signals are cut off; "auto" is 500 for EEG, as published, and none for other kinds.
    resample : bool
        Whether windows at another rate than the module's are resampled; they are refused else.
    remainder : {"trim", "pad", "raise"}
        What becomes of samples that are no whole patch: the oldest are left out, zeros are put before them, or the
        windows are refused.
    on_unknown : {"raise", "drop"}
        What becomes of channels whose names are not among the 104 that the system knows (`NEURORVQ_CHANNELS`).
    any_channels : bool
        Whether a fitted tokenizer takes windows with other channels than those it was fitted on: Epochs and datasets,
        which bring their names. One that was fitted on several collections, or has published weights, always does.
    on_short : {"raise", "pad"}
        What becomes of windows shorter than a patch: refused, or filled up with zeros.

    See Also
    --------
    neurosig.models.NeuroRVQEmbedder : Learns to predict these tokens where patches are hidden.
    neurosig.models.NeuroRVQClassifier : Classifies trials.

    Notes
    -----
    Tokens are (window, scale, level, channel, patch). All patches of a window are seen together, so that the tokens of
    a channel depend on the channels beside it. A flat channel gets tokens like any other.

    Tokens do not tell how loud a window was: `inverse_transform` takes what `statistics` gives, or the averages of
    the training. `reconstruction_report` decodes with what `statistics` gives: its errors are smaller than tokens alone
    allow. The settings by which the published tokenizer was trained are not known: the defaults of `lr`, `betas`
    and `warmup` are ours.

    Windows may have 256 patches a channel at most (the length of the time table). The published example also keeps to
    256 patches a window, over all channels; weights trained so have not seen more.

    References
    ----------
    .. [1] "NeuroRVQ: Multi-scale EEG tokenization for generative large brainwave models",
       https://arxiv.org/abs/2510.13068; KonstantinosBarmpas/NeuroRVQ

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.tokenizers import NeuroRVQTokenizer
    >>> X = np.random.default_rng(0).standard_normal((8, 2, 400)) * 1e-5
    >>> tokenizer = NeuroRVQTokenizer(
    ...     unit="V", sfreq=200.0, ch_names=["C3", "C4"], patch_size=40, n_codes=16, code_dim=8, depth=1,
    ...     decoder_depth=1, max_epochs=1, random_state=0, device="cpu",
    ... ).fit(X)
    >>> tokenizer.transform(X).shape
    (8, 4, 8, 2, 10)
    >>> tokenizer.inverse_transform(tokenizer.transform(X), tokenizer.statistics(X)).shape
    (8, 2, 400)
    """

    token_axes: ClassVar[tuple[str, ...]] = ("window", "scale", "level", "channel", "patch")
    beside_tokens: ClassVar[str | None] = "how loud it is: mean and standard deviation of its logarithmic amplitudes"
    embedding_axes: ClassVar[tuple[str, ...]] = ("window", "scale", "channel", "patch", "feature")
    _module_class: ClassVar[type[nn.Module]] = NeuroRVQTokenizerModule
    _loss_parts: ClassVar[tuple[str, ...]] = ("code", "amplitude", "phase", "signal")
    _nested: ClassVar[Mapping[str, str]] = {"options": "options"}

    def __init__(
        self, kind: str = "eeg", *, patch_size: int | None = None, n_levels: int | None = None, n_codes: int = 8192,
        code_dim: int = 128, depth: int = 12, decoder_depth: int = 3, n_heads: int = 10, kmeans_init: bool = True,
        restart_dead_codes: float | None = None, options: Mapping[str, Any] | None = None, unit: str | None = None,
        filter: bool = False, clip: Any = "auto", resample: bool = False, remainder: str = "trim",
        on_unknown: str = "raise", max_epochs: int = 100, batch_size: int = 32, lr: float = 2e-4,
        weight_decay: float = 1e-4, betas: Sequence[float] = (0.9, 0.99), warmup: float | None = None,
        final_lr: float = 0.0, clip_norm: float | None = 3.0, validation: float | None = None,
        patience: int | None = None, precision: str = "float32", checkpoint: Any = None,
        buffer_bytes: int = BUFFER_BYTES, compile: bool = False, any_channels: bool = False, on_short: str = "raise",
        sfreq: float | None = None, ch_names: Any = None, info: Any = None, device: str = "auto",
        random_state: Any = None, verbose: Any = None,
    ):  # fmt: skip
        super().__init__(
            max_epochs=max_epochs, batch_size=batch_size, lr=lr, weight_decay=weight_decay, betas=betas, warmup=warmup,
            final_lr=final_lr, clip_norm=clip_norm, validation=validation, patience=patience, precision=precision,
            checkpoint=checkpoint, buffer_bytes=buffer_bytes, compile=compile, any_channels=any_channels,
            on_short=on_short, sfreq=sfreq, ch_names=ch_names, info=info, device=device, random_state=random_state,
            verbose=verbose,
        )  # fmt: skip
        self.kind = kind
        self.patch_size = patch_size
        self.n_levels = n_levels
        self.n_codes = n_codes
        self.code_dim = code_dim
        self.depth = depth
        self.decoder_depth = decoder_depth
        self.n_heads = n_heads
        self.kmeans_init = kmeans_init
        self.restart_dead_codes = restart_dead_codes
        self.options = options
        self.unit = unit
        self.filter = filter
        self.clip = clip
        self.resample = resample
        self.remainder = remainder
        self.on_unknown = on_unknown

    # -- what the base asks for ---------------------------------------------------------------------------------------

    def _known_options(self, holder: str) -> Mapping[str, Any] | None:
        return dict.fromkeys(_OPTIONS)

    def _conditioning(self) -> Conditioning:
        params = self.get_params(deep=False)
        return conditioning_of(self, params, params)

    def _channels_kept(self, ch_names: Sequence[str]) -> Sequence[int]:
        return self._conditioning().kept(ch_names)

    def _windows(self, X: Any, spec: SignalSpec | None, sfreq: float | None) -> Windows:
        done = self._conditioning()(X, spec, sfreq)
        return Windows(done.X, done.divisor, list(done.channels.positions))

    def _shortest(self) -> float | None:
        done = self._conditioning()
        return None if self.on_short == "pad" else done.patch_size / done.sfreq

    def _module_config(self, collections: Sequence[Windows]) -> dict[str, Any]:
        sizes = chosen_sizes(self, _OPTIONS, max(len(one.channels) for one in collections))
        own = ("n_codes", "code_dim", "depth", "decoder_depth", "n_heads", "kmeans_init", "restart_dead_codes")
        return sizes | {name: getattr(self, name) for name in own}

    def _codebooks(self, tokens: np.ndarray) -> Iterator[tuple[dict[str, int], np.ndarray]]:
        for scale in range(tokens.shape[1]):
            for level in range(tokens.shape[2]):
                yield {"scale": scale, "level": level}, tokens[:, scale, level]

    def _spectra(self, module: Any, signals: torch.Tensor, channels: Any) -> tuple[torch.Tensor, torch.Tensor]:
        rebuilt = module.decode(module.encode(signals, channels), module.statistics(signals), channels)
        size = module.config.patch_size
        first, second = (torch.fft.rfft(x.unflatten(2, (-1, size))) for x in (signals, rebuilt))
        return first, second

    def _frequencies(self) -> np.ndarray:
        config = self.module_.config
        return np.fft.rfftfreq(config.patch_size, 1 / config.sfreq)

    @property
    def vocabulary_size_(self) -> int:
        """Codes of a level."""
        check_is_fitted(self)
        return int(self.module_.n_codes)

    @property
    def frames_(self) -> Frames:
        """Samples that a token stands for, at the module's rate."""
        config = self.module_.config
        return Frames(config.patch_size, config.patch_size, config.sfreq)

    @property
    def unit_(self) -> str:
        """Unit of what `inverse_transform` gives: that of the signals fitted on, else `unit`, else microvolts."""
        check_is_fitted(self)
        told = None if self.spec_ is None or self.spec_.unit == "a.u." else self.spec_.unit
        return told or self.unit or "uV"

    # -- back to signals ----------------------------------------------------------------------------------------------

    def statistics(self, X: Any) -> np.ndarray:
        """Give what tokens do not tell of windows: how loud they are.

        Parameters
        ----------
        X : array of shape (n, n_channels, n_times), mne.Epochs or SignalDataset
            Windows, as for `transform`.

        Returns
        -------
        float32 array of shape (n, 2)
            Mean and standard deviation of the logarithmic amplitudes of each window, log(1 + amplitude in microvolts)
            of the Fourier transform of its patches.
        """
        found = []
        for signals, _ in self._run(X):
            told = self.module_.statistics(signals)
            found.append(torch.stack([told.mean, told.std], dim=1).cpu().numpy())
        return np.concatenate(found)

    def inverse_transform(self, tokens: Any, statistics: Any = None, *, ch_names: Any = None) -> np.ndarray:
        """Give the signals that tokens stand for.

        Parameters
        ----------
        tokens : int array of shape (n, n_scales, n_levels, n_channels, n_patches)
            Tokens. Fewer levels, from the first, give coarser signals.
        statistics : array of shape (n, 2), optional
            What `statistics` gave for the windows. None takes the averages over the training, with which all windows
            are alike in loudness; published weights hold none.
        ch_names : list of str, optional
            Channels of the tokens, where they are others than those fitted on.

        Returns
        -------
        float32 array of shape (n, n_channels, n_times)
            In `unit_`, at the module's rate, of whole patches; of the channels that were not dropped.

        Raises
        ------
        InputError
            If these are no tokens of this tokenizer, or statistics are needed or of another shape.
        ChannelError
            If channels are unknown, or are not as many as those of the tokens.
        """
        check_is_fitted(self)
        module = self.module_
        tokens = check_tokens(tokens, self.vocabulary_size_, self.token_axes)
        rows = self._rows_of_tokens(ch_names, tokens.shape[3])
        told = None if statistics is None else np.asarray(statistics, dtype=np.float32)
        if told is not None and (told.shape != (len(tokens), 2) or not np.isfinite(told).all()):
            raise InputError(
                f"expected finite statistics of shape ({len(tokens)}, 2), as statistics() gives them, got {told.shape}"
            )
        unit = self.unit_
        factor = 1.0 if unit == "a.u." else unit_factor("uV", unit)
        found = []
        for start in range(0, len(tokens), self.batch_size):
            piece = slice(start, start + self.batch_size)
            stats = None
            if told is not None:
                mean, std = torch.from_numpy(told[piece].copy()).to(self._device).unbind(dim=1)
                stats = AmplitudeStatistics(mean, std)
            codes = torch.from_numpy(np.ascontiguousarray(tokens[piece])).to(self._device)
            found.append(module.decode(codes, stats, rows).cpu().numpy() * np.float32(factor))
        return np.concatenate(found)

    def _rows_of_tokens(self, ch_names: Any, n_channels: int) -> list[int]:
        if self.kind != "eeg":
            return list(range(n_channels))
        if ch_names is not None:
            return list(spatial_positions(ch_names))
        if self.spec_ is None:
            raise UsageError("which channels these tokens are of is not known; pass ch_names=[...]")
        return list(self._conditioning().channels(self.spec_, n_channels).positions)

    # -- published weights --------------------------------------------------------------------------------------------

    @classmethod
    def from_reference(cls, source: Any, **params: Any) -> Self:
        """Make a fitted tokenizer of published weights.

        Parameters
        ----------
        source : mapping of str to array or tensor, or path-like
            The state dict, or the file that holds it; of a file only tensors are read.
        **params
            Parameters, as of the class: `ch_names` and `unit` where arrays are going to be tokenized, and what shapes
            do not tell (``options={"sfreq": 1000.0}``). Sizes are read off the weights.

        Returns
        -------
        NeuroRVQTokenizer
            Fitted. It takes any channels that it knows. As the files hold no amplitudes of their training,
            `inverse_transform` needs `statistics`.

        Raises
        ------
        InputError
            If tensors are missing, unknown or of another shape, not finite, or codes are not of length one.
        StorageError
            If the file cannot be read, or holds other things than tensors.
        """
        state = read_checkpoint(source)
        given = dict(params.get("options") or {})
        rate = neurorvq_config(params.get("kind", "eeg"), n_channels=1).get("sfreq", BackboneConfig.sfreq)
        module = NeuroRVQTokenizerModule.from_reference(state, **({"sfreq": rate} | given))
        read: dict[str, Any] = {
            "patch_size": module.config.patch_size, "depth": module.config.depth, "n_heads": module.config.n_heads,
            "n_levels": module.n_levels, "n_codes": module.n_codes, "code_dim": module.code_dim,
            "decoder_depth": module.decoder_depth,
        }  # fmt: skip
        for name, value in read.items():
            if params.get(name) not in (value, None):
                raise UsageError(f"{name}={params[name]!r} was given, the weights have {value}; leave it out")
        options = given | backbone_options(module.config)
        tokenizer = cls(**({"any_channels": True} | params | read | {"options": options}))
        config = options | read | {name: getattr(tokenizer, name) for name in ("kmeans_init", "restart_dead_codes")}
        return tokenizer._take(module, config)

    def to_reference(self) -> dict[str, torch.Tensor]:
        """Give the weights by their published names: what `from_reference` reads."""
        check_is_fitted(self)
        return self.module_.to_reference()

    @staticmethod
    def _get_test_params() -> dict[str, Any]:
        # channels by place, as scikit-learn's checks have no names; at 128 Hz, so that windows are resampled
        return {
            "kind": "ecg", "unit": "V", "sfreq": 128.0, "resample": True, "on_short": "pad", "n_levels": 2,
            "n_codes": 8, "code_dim": 4, "depth": 1, "decoder_depth": 1, "n_heads": 2, "max_epochs": 1,
            "options": {"n_filters": 2, "n_groups": 1}, "batch_size": 512, "random_state": 0, "device": "cpu",
        }  # fmt: skip


def chosen_sizes(estimator: Any, allowed: Sequence[str], n_channels: int = 1) -> dict[str, Any]:
    """Sizes by kind and by parameters: keyword arguments of a module, JSON-like.

    Parameters
    ----------
    estimator : estimator
        With `kind`, `patch_size`, `options` and, if it has levels, `n_levels`.
    allowed : sequence of str
        What `options` may hold.
    n_channels : int
        Channels, which decide the size of the spatial table of ECG and PPG.

    Returns
    -------
    dict

    Raises
    ------
    UsageError
        If an option is unknown.
    """
    options = dict(estimator.options or {})
    if unknown := sorted(set(options) - set(allowed)):
        raise UsageError(f"options may hold {', '.join(allowed)}, got {listed(unknown)}")
    for name in ("patch_size", "n_levels"):
        if getattr(estimator, name, None) is not None:
            options[name] = getattr(estimator, name)
    sizes = neurorvq_config(estimator.kind, n_channels=n_channels if _has_open_table(estimator) else None, **options)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in sizes.items()}


def _has_open_table(estimator: Any) -> bool:
    """Whether the channels decide how many rows the spatial table has."""
    return "n_positions" not in (estimator.options or {}) and (
        NEURORVQ_CONFIGS.get(estimator.kind, {}).get("n_positions", 0) is None
    )


def settled(estimator: Any, defaults: Mapping[str, Any], source: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Parameters of an estimator, of which those left open are another's, else the defaults.

    Parameters
    ----------
    estimator : estimator
        With these parameters; None leaves one open, and so does "auto" for `clip`.
    defaults : dict
        Names to defaults.
    source : mapping, optional
        What the other has.

    Returns
    -------
    dict
    """
    found = {}
    for name, default in defaults.items():
        own = getattr(estimator, name)
        is_open = own == "auto" if name == "clip" else own is None
        found[name] = (default if source is None else source.get(name, default)) if is_open else own
    return found


def conditioning_of(estimator: Any, sizes: Mapping[str, Any], conditions: Mapping[str, Any]) -> Conditioning:
    """What an estimator of NeuroRVQ does to signals.

    Parameters
    ----------
    estimator : estimator
        Whose name messages say.
    sizes : mapping
        `kind`, `patch_size` and `options`.
    conditions : mapping
        All of `CONDITIONS`.

    Returns
    -------
    Conditioning
    """
    sized = SimpleNamespace(**{name: sizes[name] for name in ("kind", "patch_size", "options")})
    chosen = chosen_sizes(sized, _OPTIONS)
    told = {name: chosen[name] for name in (*_OF_BACKBONE, "patch_size") if name in chosen}
    config = BackboneConfig(**told, n_heads=1)
    return Conditioning(
        type(estimator).__name__, sized.kind, float(config.sfreq), config.patch_size, config.n_slots,
        None if _has_open_table(sized) else config.n_positions, **{name: conditions[name] for name in CONDITIONS},
    )  # fmt: skip


def backbone_options(config: BackboneConfig) -> dict[str, Any]:
    """Sizes of a backbone as `options` hold them, JSON-like."""
    found = {name: getattr(config, name) for name in _OF_BACKBONE}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
