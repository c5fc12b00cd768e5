"""The channel contract: signals meet what a fitted object was trained on by name, or are refused with the reason.

Nothing is padded, dropped, reordered or rescaled in silence: `map_channels` returns a `ChannelReport` of what it did.
"""

from __future__ import annotations

import dataclasses
import difflib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import ChannelMatch, canonical_name, listed, match_channels
from neurosig.core.errors import ChannelError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from neurosig.core.signals import SignalSpec

__all__ = [
    "ChannelMatch", "ChannelReport", "canonical_name", "map_channels", "match_channels", "montage_name", "unit_factor",
]  # fmt: skip

_UNITS = {
    "V": ("V", 1.0), "MV": ("V", 1e-3), "UV": ("V", 1e-6), "NV": ("V", 1e-9),
    "T": ("T", 1.0), "PT": ("T", 1e-12), "FT": ("T", 1e-15),
}  # fmt: skip


def unit_factor(have: str, want: str) -> float:
    """What numbers in the unit `have` are multiplied by to be in the unit `want`.

    Parameters
    ----------
    have, want : str
        "V", "mV", "uV" (or "µV"), "nV", "T", "pT", "fT"; any other unit converts to itself only.

    Returns
    -------
    float
        The factor.

    Raises
    ------
    ChannelError
        If the two do not measure the same.
    """
    if have == want:
        return 1.0
    # NFKC makes one letter of the micro sign and the Greek mu; upper-casing would make a capital Mu of it
    kind = [_UNITS.get(unicodedata.normalize("NFKC", unit).replace("\u03bc", "u").upper()) for unit in (have, want)]
    if kind[0] is None or kind[1] is None or kind[0][0] != kind[1][0]:
        raise ChannelError(f"expected signals in {want!r}, got {have!r}, which does not convert; rescale the data")
    return kind[0][1] / kind[1][1] if kind[0][1] >= kind[1][1] else 1.0 / (kind[1][1] / kind[0][1])


@dataclass(frozen=True)
class ChannelReport:
    """What `map_channels` did to make signals fit a specification.

    Parameters
    ----------
    ch_names : tuple of str
        Channels of the result, in the wanted spelling and order.
    renamed : dict of str to str
        The data's name to the wanted name, where they differ.
    reordered : bool
        Whether the order changed.
    interpolated, dropped : tuple of str
        Wanted channels that the data lack: estimated from the others, or left out of the result.
    ignored : tuple of str
        Channels of the data that were not wanted.
    scale : float
        Factor between the two units.
    unit : (str, str)
        Unit of the data and of the result.
    sfreq : (float or None, float or None)
        Sampling rate of the data and of the result in Hz.
    cropped : int
        Samples cut off the end of every window.
    notes : tuple of str
        Differences that are nobody's to mend: filters, reference, start of the window.
    """

    ch_names: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)
    reordered: bool = False
    interpolated: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    scale: float = 1.0
    unit: tuple[str, str] = ("V", "V")
    sfreq: tuple[float | None, float | None] = (None, None)
    cropped: int = 0
    notes: tuple[str, ...] = ()

    @property
    def resampled(self) -> bool:
        """Whether the sampling rate was changed."""
        return _rates_differ(*self.sfreq)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a JSON-like dictionary."""
        fields = dataclasses.asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}

    def __str__(self) -> str:
        """One line: what was done, in the order of interest."""
        done = [
            (self.dropped, f"left out (absent in the data): {listed(self.dropped)}"),
            (self.interpolated, f"interpolated: {listed(self.interpolated)}"),
            (self.renamed, "renamed: " + listed([f"{old} -> {new}" for old, new in self.renamed.items()])),
            (self.reordered, "reordered"),
            (self.ignored, f"ignored: {listed(self.ignored)}"),
            (self.scale != 1.0, f"{self.unit[0]} -> {self.unit[1]} (times {self.scale:g})"),
            (self.resampled, "resampled {:g} -> {:g} Hz".format(*self.sfreq) if self.resampled else ""),
            (self.cropped, f"{self.cropped} sample{'s' * (self.cropped > 1)} cut off the end of each window"),
            *((True, note) for note in self.notes),
        ]
        return f"{len(self.ch_names)} channels; " + ("; ".join(text for flag, text in done if flag) or "as they came")


def map_channels(
    X: np.ndarray,
    have: SignalSpec,
    want: SignalSpec,
    *,
    on_missing: str = "raise",
    on_sfreq: str = "raise",
) -> tuple[np.ndarray, ChannelReport]:
    """Make signals fit a specification: channels by name and order, unit, sampling rate, window length.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels, n_times)
        The signals that `have` describes. Never written to; returned as it is where nothing has to change.
    have, want : SignalSpec
        How they were measured, and how they are needed.
    on_missing : {"raise", "interpolate", "drop"}
        What to do about wanted channels that the data lack. "interpolate" estimates them by spherical splines (EEG)
        at the positions of `want`, or else of its montage, or else of the 10-05 system; "drop" returns the channels
        that were found.
    on_sfreq : {"raise", "resample"}
        What to do about another sampling rate.

    Returns
    -------
    X : array of shape (n_trials, n_wanted, n_times)
        The signals, dtype kept where it is a float.
    report : ChannelReport
        All that was done.

    Raises
    ------
    ChannelError
        If the signals cannot be made to fit within the two policies; the message names the channels that differ and
        the nearest names in the data.
    UsageError
        If a policy is unknown.

    Notes
    -----
    Windows must have ``want.n_times`` samples. One sample more is cut off (both ends of a window are included, as in
    mne and MOABB, and others leave out the last). Polyphase resampling keeps the time of the first sample and may
    reach past the last one; that surplus is cut off as well.
    """
    _check_choice("on_missing", on_missing, ("raise", "interpolate", "drop"))
    _check_choice("on_sfreq", on_sfreq, ("raise", "resample"))
    if getattr(X, "ndim", 0) != 3 or X.shape[1] != have.n_channels:
        came = getattr(X, "shape", type(X).__name__)
        raise ChannelError(f"expected signals of shape (n_trials, {have.n_channels} channels, n_times), got {came}")
    if have.modality != want.modality:
        raise ChannelError(
            f"expected {want.modality} signals, got {have.modality}; use an object trained on {have.modality}"
        )
    match = match_channels(have.ch_names, want.ch_names, modality=want.modality)
    if (match.missing and on_missing == "raise") or len(match.missing) == want.n_channels:
        raise ChannelError(_mismatch_text(match, have, want))
    scale = unit_factor(have.unit, want.unit)
    resample = _rates_differ(have.sfreq, want.sfreq)
    if resample and on_sfreq == "raise":
        raise ChannelError(
            f"expected a sampling rate of {want.sfreq:g} Hz, got {have.sfreq:g} Hz; "
            "resample the data or pass on_sfreq='resample'"
        )

    interpolate = bool(match.missing) and on_missing == "interpolate"
    found = [i for i in match.index if i is not None]
    signals = _interpolate(X, have, want, match) if interpolate else _take(X, found)
    if scale != 1.0:
        signals = signals * (signals.dtype.type(scale) if signals.dtype.kind == "f" else scale)
    surplus = 1
    if resample and have.sfreq and want.sfreq:
        signals, surplus = _resample(signals, have.sfreq, want.sfreq)
    cropped = 0
    if want.n_times is not None and signals.shape[-1] != want.n_times:
        cropped = signals.shape[-1] - want.n_times
        if not 0 < cropped <= surplus:
            raise ChannelError(
                f"expected windows of {want.n_times} samples, got {signals.shape[-1]}; cut the windows as in training "
                f"({_window_text(want)})"
            )
        signals = signals[..., : want.n_times]

    report = ChannelReport(
        ch_names=want.ch_names if interpolate else tuple(n for n in want.ch_names if n not in match.missing),
        renamed=match.renamed,
        reordered=found != sorted(found),
        interpolated=match.missing if interpolate else (),
        dropped=() if interpolate else match.missing,
        ignored=match.extra,
        scale=scale,
        unit=(have.unit, want.unit),
        sfreq=(have.sfreq, want.sfreq if resample else have.sfreq),
        cropped=cropped,
        notes=_notes(have, want),
    )
    return signals, report


def _take(X: np.ndarray, index: list[int]) -> np.ndarray:
    # a slice keeps a memory map lazy, where one will do
    if index == list(range(X.shape[1])):
        return X
    if index == list(range(index[0], index[0] + len(index))):
        return X[:, index[0] : index[0] + len(index)]
    return X[:, index]


def _interpolate(X: np.ndarray, have: SignalSpec, want: SignalSpec, match: ChannelMatch) -> np.ndarray:
    """Wanted channels of X, the missing ones by mne's spherical splines from every channel of known position."""
    import mne
    import numpy as np

    if want.modality != "eeg":
        raise ChannelError(
            f"cannot interpolate {listed(match.missing)}: spherical splines are for scalp EEG, this is "
            f"{want.modality}; pass on_missing='drop' or supply the channels"
        )
    positions, source = _positions(want)
    wanted = {name: positions.get(canonical_name(name)) for name in want.ch_names}
    if unknown := [name for name in match.missing if wanted[name] is None]:
        raise ChannelError(
            f"cannot interpolate {listed(unknown)}: no position in {source}; give the SignalSpec positions or "
            "pass on_missing='drop'"
        )
    # unwanted channels of the data help, where they are located; wanted ones without a position merely do not help
    located: dict[str, Any] = {}
    rows: list[int] = []
    for name, i in zip(want.ch_names, match.index, strict=True):
        if i is not None and wanted[name] is not None:
            located[name] = wanted[name]
            rows.append(i)
    for name in match.extra:
        place = positions.get(canonical_name(name))
        if place is not None and name not in wanted:
            located[name] = place
            rows.append(have.ch_names.index(name))
    if len(located) < max(4, len(match.missing)):
        raise ChannelError(
            f"cannot interpolate {len(match.missing)} channels ({listed(match.missing)}) from {len(located)} of known "
            f"position in {source}; at least {max(4, len(match.missing))} are needed"
        )
    names = [*located, *match.missing]
    info = mne.create_info(names, have.sfreq or 1.0, "eeg", verbose=False)
    places = {**located, **{name: wanted[name] for name in match.missing}}
    # only distances on the fitted sphere count, so that any frame will do; "head" needs no fiducials
    info.set_montage(mne.channels.make_dig_montage(places, coord_frame="head"), verbose=False)
    # splines are linear in the signals: unit impulses give the weights, whatever the number of trials
    impulses = np.vstack([np.eye(len(located)), np.zeros((len(match.missing), len(located)))])
    info["bads"] = list(match.missing)
    raw = mne.io.RawArray(impulses, info, verbose=False).interpolate_bads(origin=_origin(places), verbose=False)
    weights = raw.get_data()[len(located) :].astype(np.result_type(X.dtype, np.float32), copy=False)
    result = np.empty((X.shape[0], want.n_channels, X.shape[2]), dtype=weights.dtype)
    missing = np.array([i is None for i in match.index])
    kept: list[int] = [i for i in match.index if i is not None]
    result[:, ~missing] = X[:, kept]
    result[:, missing] = np.einsum("mc,nct->nmt", weights, X[:, rows], optimize=True)
    return result


def montage_name(kind: str) -> str:
    """The name under which the installed mne keeps a standard montage.

    Parameters
    ----------
    kind : str
        A montage's name. mne 1.13 renamed ``standard_1005``, ``standard_1020``, ... to ``colin27_1005``, ...; either
        name is taken.

    Returns
    -------
    str
        The name to hand to `mne.channels.make_standard_montage`.
    """
    import mne

    known = mne.channels.get_builtin_montages()
    for old, new in (("standard_", "colin27_"), ("colin27_", "standard_")):
        if kind.startswith(old) and kind not in known and (renamed := new + kind.removeprefix(old)) in known:
            return renamed
    return kind


def _positions(spec: SignalSpec) -> tuple[dict[str, Any], str]:
    """Positions by canonical name, and where they come from."""
    import mne

    if spec.positions is not None:
        named = zip(spec.ch_names, spec.positions, strict=True)
        return {canonical_name(name): place for name, place in named}, "the SignalSpec"
    kind = spec.montage or "standard_1005"
    try:
        montage = mne.channels.make_standard_montage(montage_name(kind))
    except (ValueError, RuntimeError, OSError) as error:
        raise ChannelError(f"cannot interpolate: {kind!r} is no montage of mne; give positions") from error
    placed = montage.get_positions()["ch_pos"]
    # a montage may name one place twice (T3 and T7): the two agree, either will do
    return {canonical_name(name): place for name, place in placed.items()}, f"the montage {kind}"


def _origin(places: Mapping[str, Any]) -> tuple[float, float, float]:
    """Centre of the sphere that fits the electrodes best in the least-squares sense."""
    import numpy as np

    points = np.array(list(places.values()), dtype=float)
    design = np.column_stack([2 * points, np.ones(len(points))])
    x, y, z = np.linalg.lstsq(design, (points**2).sum(axis=1), rcond=None)[0][:3]
    return float(x), float(y), float(z)


def _resample(X: np.ndarray, have: float, want: float) -> tuple[np.ndarray, int]:
    """Resample the last axis; also how many samples may lie past the last one measured."""
    import numpy as np
    from scipy.signal import resample_poly

    ratio = Fraction(want / have).limit_denominator(1000)
    if abs(float(ratio) * have / want - 1) > 1e-5:
        raise ChannelError(f"cannot resample {have:g} Hz to {want:g} Hz: the rates are too far apart")
    X = np.asarray(X, dtype=np.result_type(X.dtype, np.float32))
    # "line" removes the straight line between the ends first: otherwise an offset rings at both ends of the window
    signals = resample_poly(X, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    return signals, max(1, -(-ratio.numerator // ratio.denominator))


def _rates_differ(have: float | None, want: float | None) -> bool:
    # files state rates to a few digits (a header may say 127.998): one part in ten thousand is the same rate
    return have is not None and want is not None and abs(have - want) > 1e-4 * want


def _notes(have: SignalSpec, want: SignalSpec) -> tuple[str, ...]:
    notes = []
    if have.tmin is not None and want.tmin is not None and want.sfreq and abs(have.tmin - want.tmin) > 1 / want.sfreq:
        notes.append(f"windows start at {have.tmin:g} s, at {want.tmin:g} s in training")
    for name, text in (("highpass", "high-pass"), ("lowpass", "low-pass")):
        mine, theirs = getattr(have, name), getattr(want, name)
        if mine is not None and theirs is not None and abs(mine - theirs) > 0.01 * max(mine, theirs):
            notes.append(f"{text} {mine:g} Hz, {theirs:g} Hz in training")
    if have.reference and want.reference and have.reference.casefold() != want.reference.casefold():
        notes.append(f"reference {have.reference}, {want.reference} in training")
    return tuple(notes)


def _mismatch_text(match: ChannelMatch, have: SignalSpec, want: SignalSpec) -> str:
    spelled = {canonical_name(name, have.modality).casefold(): name for name in have.ch_names}
    nearest = {}
    for name in match.missing[:8]:
        close = difflib.get_close_matches(canonical_name(name, want.modality).casefold(), spelled, n=2, cutoff=0.5)
        if close:
            nearest[name] = " or ".join(spelled[key] for key in close)
    hints = [f"{name} ({nearest[name]}?)" if name in nearest else name for name in match.missing]
    found = want.n_channels - len(match.missing)
    text = f"expected {want.n_channels} channels, {found} of them are in the data; missing: {listed(hints)}"
    if match.extra:
        text += f"; in the data but not expected: {listed(match.extra)}"
    policy = " or pass on_missing='interpolate' or 'drop'" if found else ""
    return f"{text}; rename the channels{policy}"


def _window_text(spec: SignalSpec) -> str:
    if spec.processing is not None:
        return f"{spec.processing.tmin:g} to {spec.processing.tmax:g} s around the event"
    if spec.n_times and spec.sfreq:
        return f"{spec.n_times / spec.sfreq:g} s at {spec.sfreq:g} Hz"
    return "same length and rate"


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
