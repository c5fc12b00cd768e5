"""Signals as NeuroRVQ takes them: its channels, microvolts, its rate, clipped, whole patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurosig.core.channels import unit_factor
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.log import logger
from neurosig.core.signals import SignalSpec
from neurosig.core.validation import check_plausible_units
from neurosig.preprocessing.neurorvq import filter_signals, whole_patches
from neurosig.preprocessing.resampling import fourier_resample
from neurosig.tokenizers.neurorvq_channels import KnownChannels, known_channels
from neurosig.training.batches import is_stream, read_stream

__all__ = ["ChangedWindows", "Conditioned", "Conditioning"]

_LOWEST = 0.5  # Hz, where the published band-pass begins
_BLOCK = 16 << 20  # bytes of float64 that are worked on at once
_SOME = 64  # windows that settle the unit


@dataclass(frozen=True)
class Conditioned:
    """Windows as the module takes them, but for the unit.

    Parameters
    ----------
    X : array of shape (n, n_kept, n_times), float32, or `ChangedWindows`
        At the module's rate, of whole patches, in their own unit.
    divisor : float
        What they are divided by to be in microvolts.
    channels : KnownChannels
        Which channels these are, and their rows in the spatial table.
    """

    X: Any
    divisor: float
    channels: KnownChannels


@dataclass(frozen=True)
class Conditioning:
    """What is done to signals before NeuroRVQ sees them.

    Parameters
    ----------
    who : str
        Whose signals they are, for messages.
    kind : {"eeg", "ecg", "emg", "ppg"}
        Channels of EEG are found by name, those of the others by position.
    sfreq : float
        The module's rate in Hz.
    patch_size, n_slots : int
        Samples of a patch, and patches of a channel at most.
    n_positions : int or None
        Rows of the spatial table; None where the channels decide.
    unit : str or None
        Of signals that do not tell.
    filter, resample : bool
        Whether they are filtered, and brought to the module's rate.
    clip : "auto", float or None
        Microvolts beyond which they are cut off.
    remainder : {"trim", "pad", "raise"}
        What becomes of samples that are no whole patch.
    on_short : {"raise", "pad"}
        What becomes of windows shorter than a patch.
    on_unknown : {"raise", "drop"}
        What becomes of channels without a row.

    Raises
    ------
    UsageError
        If a value is none of these.
    """

    who: str
    kind: str = "eeg"
    sfreq: float = 200.0
    patch_size: int = 200
    n_slots: int = 256
    n_positions: int | None = 105
    unit: str | None = None
    filter: bool = False
    resample: bool = False
    clip: Any = "auto"
    remainder: str = "trim"
    on_short: str = "raise"
    on_unknown: str = "raise"

    def __post_init__(self):
        for name, options in (
            ("remainder", ("trim", "pad", "raise")), ("on_short", ("raise", "pad")), ("on_unknown", ("raise", "drop")),
        ):  # fmt: skip
            if getattr(self, name) not in options:
                told = " or ".join(map(repr, options))
                raise UsageError(f"{name} must be {told}, got {getattr(self, name)!r}")
        clip = self.clip
        if clip is not None and clip != "auto" and (isinstance(clip, bool | str) or not 0 < clip < np.inf):
            raise UsageError(f"clip must be 'auto', a number of microvolts above 0 or None, got {clip!r}")

    def __call__(self, X: Any, spec: SignalSpec | None, sfreq: float | None) -> Conditioned:
        """Condition checked signals.

        Parameters
        ----------
        X : array of shape (n, n_channels, n_times)
            In memory, a memory map or a Zarr array; the last two stay on disk and are changed as they are read.
        spec : SignalSpec or None
            What is known about them.
        sfreq : float or None
            Their rate in Hz.

        Returns
        -------
        Conditioned

        Raises
        ------
        InputError
            If they are too short, too long, or of an amplitude that no head gives off.
        ChannelError
            If channels are unknown or too many.
        UsageError
            If rate, unit or names must be known and are not, or the rate is another and `resample` is False.
        """
        rate = self._rate(sfreq)
        channels = self.channels(spec, int(X.shape[1]))
        divisor = self._divisor(spec)
        if self.kind == "eeg":
            rows = np.unique(np.linspace(0, int(X.shape[0]) - 1, _SOME).astype(int))
            some = read_stream(X, rows).numpy() if is_stream(X) else X[rows]
            check_plausible_units(some[:, list(channels.kept)], self.unit_of(spec), "eeg")
        n_times, resampled = int(X.shape[2]), abs(rate - self.sfreq) > 1e-4 * self.sfreq
        if self.filter and n_times < 2 / _LOWEST * rate:
            raise InputError(
                f"filter=True needs windows of at least {2 / _LOWEST:g} s, two periods of its lower edge, got "
                f"{n_times / rate:g} s; filter the recordings before windows are cut from them"
            )
        brought = max(1, round(n_times * self.sfreq / rate)) if resampled else n_times
        final = self._length(brought)
        limit = None if self.clip is None or (self.clip == "auto" and self.kind != "eeg") else self.clip
        limit = 500.0 * divisor if limit == "auto" else None if limit is None else limit * divisor
        all_kept = len(channels.kept) == int(X.shape[1])

        def change(block: np.ndarray) -> np.ndarray:
            kept = block if all_kept else block[:, list(channels.kept)]
            if self.filter:
                kept = filter_signals(kept, rate)
            if limit is not None:
                kept = np.clip(kept, -limit, limit)
            if resampled:
                kept = fourier_resample(kept.astype(np.float64), rate, self.sfreq)
            kept = whole_patches(kept, self.patch_size, policy="pad" if brought < self.patch_size else self.remainder)
            return np.ascontiguousarray(kept, dtype=np.float32)

        shape = (int(X.shape[0]), len(channels.kept), final)
        if is_stream(X):
            return Conditioned(ChangedWindows(X, change, shape), divisor, channels)
        beyond = limit is not None and max(float(X.max()), -float(X.min())) > limit
        if all_kept and final == n_times and not (self.filter or resampled or beyond):
            return Conditioned(X, divisor, channels)
        out = np.empty(shape, dtype=np.float32)
        step = max(1, _BLOCK // (8 * int(X.shape[1]) * max(n_times, final)))
        for start in range(0, len(out), step):
            out[start : start + step] = change(X[start : start + step])
        return Conditioned(out, divisor, channels)

    def unit_of(self, spec: SignalSpec | None) -> str:
        """The unit of signals: what they tell, else `unit`."""
        told = None if spec is None or spec.unit == "a.u." else spec.unit
        unit = self.unit if told is None else told
        if unit is None:
            raise UsageError(
                f"{self.who} needs the unit of the signals, as it works in microvolts; pass unit='V' or unit='uV' "
                "(or info=..., Epochs or a SignalDataset, which tell it)"
            )
        return unit

    def _rate(self, sfreq: float | None) -> float:
        if sfreq is None:
            raise UsageError(
                f"{self.who} needs the sampling rate; pass sfreq=... (Hz), or give mne.Epochs "
                "or a SignalDataset, which tell it"
            )
        if abs(sfreq - self.sfreq) > 1e-4 * self.sfreq and not self.resample:
            raise UsageError(
                f"{self.who} takes signals at {self.sfreq:g} Hz, got {sfreq:g} Hz; resample recordings before windows "
                "are cut from them, or pass resample=True (--resample) to have the windows resampled"
            )
        return float(sfreq)

    def _divisor(self, spec: SignalSpec | None) -> float:
        unit = self.unit_of(spec)
        if self.kind != "eeg" and unit == "a.u.":
            return 1.0
        try:
            return unit_factor("uV", unit)
        except ChannelError as error:
            raise UsageError(
                f"{self.who} works in microvolts, the signals are in {unit!r}, which does not convert; "
                "if they are electric potentials all the same, pass unit='V' or the like with arrays"
            ) from error

    def channels(self, spec: SignalSpec | None, n_channels: int) -> KnownChannels:
        """Rows of the channels of signals in the spatial table: by name for EEG, else by place."""
        if self.kind != "eeg":
            if self.n_positions is not None and n_channels >= self.n_positions:
                raise ChannelError(
                    f"{self.who} of kind {self.kind!r} takes at most {self.n_positions - 1} channels, got {n_channels}"
                )
            return KnownChannels(tuple(range(n_channels)), tuple(range(n_channels)))
        if spec is None:
            raise UsageError(
                f"{self.who} needs the names of the channels; pass ch_names=[...], info=..., or give mne.Epochs"
            )
        found = known_channels(spec.ch_names, on_unknown=self.on_unknown)
        if found.unknown:
            logger.warning("%s: channels without a position are left out: %s", self.who, ", ".join(found.unknown))
        return found

    def kept(self, ch_names: Sequence[str]) -> Sequence[int]:
        """Places of the channels that remain where those without a row are dropped; else all."""
        if self.kind != "eeg" or self.on_unknown != "drop":
            return range(len(ch_names))
        return known_channels(ch_names, on_unknown="drop").kept

    def _length(self, n_times: int) -> int:
        """Samples of a window as whole patches."""
        size = self.patch_size
        seconds = f"{size} samples ({size / self.sfreq:g} s at {self.sfreq:g} Hz)"
        rest = n_times % size
        if n_times < size:
            if self.on_short == "raise":
                raise InputError(
                    f"{self.who} takes windows of at least one patch, {seconds}, got {n_times} samples; give longer "
                    "windows, or on_short='pad'"
                )
        elif rest and self.remainder == "raise":
            raise InputError(
                f"expected whole patches of {seconds}, got windows of {n_times} samples; cut them, or pass "
                "remainder='trim' or 'pad'"
            )
        short = bool(rest) and (n_times < size or self.remainder == "pad")
        final = n_times + size - rest if short else n_times - rest
        if final // size > self.n_slots:
            raise InputError(
                f"{self.who} takes at most {self.n_slots} patches a channel "
                f"({self.n_slots * size / self.sfreq:g} s), got {final // size}; cut shorter windows"
            )
        if rest:
            logger.info(
                "%s: windows of %d samples are %s to %d, whole patches", self.who, n_times,
                "filled up" if short else "cut at their start", final,
            )  # fmt: skip
        return final


class ChangedWindows:
    """Windows on disk, changed as they are read; to whoever reads them in blocks they are like a Zarr array.

    Parameters
    ----------
    X : memory map or Zarr array of shape (n, n_channels, n_times)
        The windows.
    change : callable
        From a block of them, float32, to what is to be seen.
    shape : tuple of int
        Of what is to be seen.
    """

    def __init__(self, X: Any, change: Callable[[np.ndarray], np.ndarray], shape: tuple[int, int, int]):
        self._X, self._change = X, change
        self.shape, self.ndim, self.dtype = shape, 3, np.dtype(np.float32)
        self.chunks = (int(X.chunks[0]) if hasattr(X, "chunks") else 1, *shape[1:])

    @property
    def oindex(self) -> ChangedWindows:
        """Itself: rows are picked by position."""
        return self

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        picked = np.atleast_1d(np.arange(self.shape[0])[rows])
        return self._change(read_stream(self._X, picked).numpy())
