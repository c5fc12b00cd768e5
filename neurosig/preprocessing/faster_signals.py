"""What FASTER works on: signals with the names, types, positions and rate of their channels, and what they allow."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.channel_names import listed
from neurosig.core.channels import canonical_name, montage_name
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.joined_epochs import joined_epochs
from neurosig.core.signals import SignalSpec
from neurosig.preprocessing.faster_outliers import Outliers, Rule, refuse_without_metrics
from neurosig.preprocessing.faster_reference import reference_angles, remove_quadratic
from neurosig.preprocessing.faster_spectrum import line_noise_problem

if TYPE_CHECKING:
    import mne

__all__ = [
    "DATA_TYPES", "DRIFT_SECONDS", "NO_RATE", "Recorded", "channels_of", "computable", "correct_for_reference",
    "located", "need_channels", "same_rate", "spelled", "stand_in", "standard_info", "tell_skipped",
]  # fmt: skip

DATA_TYPES = ("eeg", "mag", "grad", "seeg", "ecog", "dbs")
NO_RATE = "the sampling rate is not known; pass sfreq"
DRIFT_SECONDS = 0.25  # the metric "drift" looks at means over this time
# By how far an electrode's distance to the reference explains these in the authors' program; mne-faster: all metrics
_CORRECTED = ("variance", "correlation")


@dataclass(frozen=True)
class Recorded:
    """Signals with what is known about their channels.

    Parameters
    ----------
    X : array of shape (n_epochs, n_channels, n_times)
        Signals, any unit; not copied.
    ch_names, ch_types : tuple of str
        Names and mne's types of the channels.
    sfreq : float or None
        Sampling rate in Hz.
    info : mne.Info or None
        Where positions and filters are read off.
    bads : tuple of str
        Channels that are known to be bad.
    empty : tuple of str
        Channels that held no numbers, of which `X` has zeros; as bad as those.
    holes : array of bool of shape (n_epochs, n_channels), optional
        Where `X` has zeros in place of what was no number.
    """

    X: np.ndarray
    ch_names: tuple[str, ...]
    ch_types: tuple[str, ...]
    sfreq: float | None = None
    info: mne.Info | None = None
    bads: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    holes: np.ndarray | None = None

    @classmethod
    def read(
        cls,
        signals: Any,
        info: SignalSpec | mne.Info | None = None,
        sfreq: float | None = None,
        ch_names: Sequence[str] | None = None,
        eog: str | int | Sequence[str | int] | None = None,
        continuous: bool = False,
    ) -> Recorded:
        """Read epochs or an array.

        Parameters
        ----------
        signals : mne.BaseEpochs, mne.io.BaseRaw or array of shape (n_epochs, n_channels, n_times)
            Signals.
        info : SignalSpec or mne.Info, optional
            For arrays: names, types, positions and rate.
        sfreq : float, optional
            For arrays without `info`: sampling rate in Hz.
        ch_names : sequence of str, optional
            For arrays without `info`: names of the channels; those of the 10-05 system have known positions.
        eog : str, int or sequence of them, optional
            Names or positions of channels that are EOG, whatever their type says.
        continuous : bool
            Whether a recording that was not cut is taken as one epoch.

        Returns
        -------
        Recorded
            The signals.

        Raises
        ------
        UsageError
            If the rate is none, or is not that of the epochs or `info`.
        InputError
            If the array is not of three axes, or empty, or a continuous recording is not asked for.
        ChannelError
            If names do not fit the array, or an EOG channel is not there.
        """
        import mne

        if sfreq is not None and not (isinstance(sfreq, Real) and 0 < sfreq < np.inf):
            raise UsageError(f"sfreq must be a positive rate in Hz, got {sfreq!r}")
        bads: tuple[str, ...] = ()
        described = info
        signals = joined_epochs(signals)
        if isinstance(signals, mne.BaseEpochs):
            X, described = signals.get_data(copy=False), signals.info
        elif isinstance(signals, mne.io.BaseRaw):
            if not continuous:
                raise InputError("expected epochs, got a continuous recording; cut it (mne.make_fixed_length_epochs)")
            X, described = signals.get_data()[np.newaxis], signals.info
        else:
            X = np.asarray(signals)
            if X.ndim != 3 or X.dtype.kind not in "fiub":
                raise InputError(
                    "expected epochs or numbers of shape (n_epochs, n_channels, n_times), got "
                    f"{X.dtype} of shape {X.shape}"
                )
        if 0 in X.shape:
            raise InputError(f"expected at least one epoch, channel and sample, got shape {X.shape}")
        found, rate = _as_info(described, sfreq)
        if found is None:
            names = tuple(str(i) for i in range(X.shape[1])) if ch_names is None else tuple(map(str, ch_names))
            types = ("eeg",) * len(names)
            if len(names) == X.shape[1] and ch_names is not None:
                found = standard_info(names, sfreq)
        else:
            names, types, bads = tuple(found["ch_names"]), tuple(found.get_channel_types()), tuple(found["bads"])
            if sfreq is not None and rate is not None and not same_rate(sfreq, rate):
                raise UsageError(f"sfreq is {sfreq:g} Hz, but the signals' info says {rate:g} Hz; leave sfreq out")
            sfreq = rate
        if len(names) != X.shape[1]:
            raise ChannelError(f"expected one name for each of {X.shape[1]} channels, got {len(names)}")
        if len(set(names)) != len(names):
            raise ChannelError("channel names must be unique")
        marked = {_position(channel, names) for channel in channels_of(eog)}
        types = tuple("eog" if i in marked else kind for i, kind in enumerate(types))
        return cls(X, names, types, sfreq, found, bads)

    def picks(self, exclude: Iterable[str] = ()) -> np.ndarray:
        """Positions of the channels that are brain signals, without some."""
        left_out = set(exclude)
        found = [
            i
            for i, (name, kind) in enumerate(zip(self.ch_names, self.ch_types, strict=True))
            if kind in DATA_TYPES and name not in left_out
        ]
        return np.array(found, dtype=int)

    def groups(self, picks: np.ndarray) -> list[np.ndarray]:
        """Positions in `picks` of the channels of each type."""
        types = [self.ch_types[i] for i in picks]
        return [np.flatnonzero([kind == this for kind in types]) for this in dict.fromkeys(types)]

    def eog(self) -> list[int]:
        """Positions of the EOG channels."""
        return [i for i, kind in enumerate(self.ch_types) if kind == "eog"]

    def angles(self, picks: np.ndarray, reference: str | bool | np.ndarray | None) -> np.ndarray | None:
        """Angular distances of the EEG channels of `picks` to the reference, or None where it is not asked for."""
        if reference is None or reference is False or isinstance(reference, np.ndarray):
            return None if reference is False else reference
        if self.info is None:
            raise ChannelError("the correction for the distance to the reference needs positions; pass info")
        return reference_angles(self.info, np.array([i for i in picks if self.ch_types[i] == "eeg"]), reference)


def _as_info(info: Any, sfreq: float | None) -> tuple[mne.Info | None, float | None]:
    """What describes the channels as an `mne.Info`, and the rate, which a `SignalSpec` need not know."""
    if not isinstance(info, SignalSpec):
        return info, None if info is None else float(info["sfreq"])
    rate = sfreq if info.sfreq is None else info.sfreq
    return info.replace(sfreq=1.0 if rate is None else float(rate)).to_mne(), rate  # an mne.Info has one always


def standard_info(ch_names: Sequence[str], sfreq: float | None) -> mne.Info | None:
    """An `mne.Info` of EEG channels with the positions of the 10-05 system, None if a name is not of that system."""
    import mne

    info = mne.create_info(list(ch_names), 1.0 if sfreq is None else sfreq, "eeg", verbose="error")
    info = located(info)
    return info if all(_has_place(channel) for channel in info["chs"]) else None


def located(info: mne.Info) -> mne.Info:
    """The info with 10-05 positions by name, in any spelling ("Fc5."), if no EEG channel has a position; else as is."""
    import mne

    eeg = [i for i, kind in enumerate(info.get_channel_types()) if kind == "eeg"]
    if not eeg or info["dig"] or any(_has_place(info["chs"][i]) for i in eeg):
        return info
    places = mne.channels.make_standard_montage(montage_name("standard_1005"))
    by_name = {canonical_name(name): name for name in places.ch_names}
    known = {info["ch_names"][i]: by_name.get(canonical_name(info["ch_names"][i])) for i in eeg}
    known = {name: site for name, site in known.items() if site is not None}
    if not known or len(set(known.values())) < len(known):  # two names of one place say nothing
        return info
    renamed = places.copy()
    renamed.rename_channels({site: f"site {site}" for site in places.ch_names})
    renamed.rename_channels({f"site {site}": name for name, site in known.items()})
    return info.copy().set_montage(renamed, on_missing="ignore", verbose="error")


def _has_place(channel: Any) -> bool:
    place = channel["loc"][:3]
    return bool(np.isfinite(place).all() and (place != 0).any())


def same_rate(a: float, b: float) -> bool:
    """Whether two sampling rates are one, but for the rounding of file formats."""
    return abs(a - b) <= 1e-4 * b


def channels_of(given: str | int | Sequence[Any] | None) -> tuple[Any, ...]:
    """Channels as a tuple, one that was given without a list too."""
    return () if given is None else (given,) if isinstance(given, str | int | np.integer) else tuple(given)


def spelled(name: str, ch_names: Sequence[str], what: str) -> str:
    """A channel as the signals spell it, from a name in any spelling ("fp1" is "Fp1").

    Parameters
    ----------
    name : str
        What was given.
    ch_names : sequence of str
        The channels.
    what : str
        What to call it in an error, such as "the EOG channel 'VEOG'".

    Returns
    -------
    str
        One of `ch_names`.

    Raises
    ------
    ChannelError
        It is none of them.
    """
    if name in ch_names:
        return name
    wanted = canonical_name(name)
    for there in ch_names:
        if canonical_name(there) == wanted:
            return there
    raise ChannelError(f"{what} is not among the channels {listed(ch_names)}")


def stand_in(name: object) -> str:
    """What to call a channel in place of EOG in an error."""
    return f"the channel {name!r}, named to stand in for the EOG,"


def _position(channel: str | int, names: tuple[str, ...]) -> int:
    if isinstance(channel, str):
        return names.index(spelled(channel, names, f"the EOG channel {channel!r}"))
    if not -len(names) <= channel < len(names):
        raise ChannelError(f"the EOG channel {channel} is not one of {len(names)} channels")
    return int(channel) % len(names)


def need_channels(picks: np.ndarray, signals: Recorded) -> None:
    """Refuse to look at no channel at all."""
    if not len(picks):
        raise InputError(
            f"none of {len(signals.ch_names)} channels is left to look at; expected channels of type "
            f"{', '.join(DATA_TYPES)} that are not marked bad"
        )


def computable(rule: Rule, sfreq: float | None, n_times: int | None = None) -> tuple[list[str], dict[str, str]]:
    """Metrics that the signals allow, and why the others do not."""
    skipped = {}
    if "line_noise" in rule.metrics:
        problem = line_noise_problem(sfreq)
        if problem is not None:
            skipped["line_noise"] = problem
    if "median_gradient" in rule.metrics and n_times == 1:
        skipped["median_gradient"] = "an epoch is one sample"
    if "drift" in rule.metrics:
        if sfreq is None:
            skipped["drift"] = NO_RATE
        elif n_times is not None and n_times < round(DRIFT_SECONDS * sfreq):
            skipped["drift"] = f"an epoch is shorter than {DRIFT_SECONDS:g} s"
    metrics = [metric for metric in rule.metrics if metric not in skipped]
    refuse_without_metrics(rule, metrics, skipped)
    return metrics, skipped


def tell_skipped(stages: Iterable[Outliers], every: bool = False) -> None:
    """Warn of metrics that cannot be had; called by what users call.

    Parameters
    ----------
    stages : iterable of Outliers
        What was found.
    every : bool
        Whether to tell, beside the line noise, of what was left out for want of a rate or of an EOG channel.
    """
    stages = list(stages)
    if every:
        _tell_missing(stages)
    missed = [stage for stage in stages if "line_noise" in stage.skipped]
    if missed:
        where = ", ".join(stage.stage.replace("_", " ") for stage in missed)
        warnings.warn(f"line noise is left out: {missed[0].skipped['line_noise']} ({where})", UserWarning, stacklevel=3)


def _tell_missing(stages: Iterable[Outliers]) -> None:
    without_rate: dict[str, None] = {}
    parts = []
    for stage in stages:
        for metric, why in stage.skipped.items():
            if metric == "eog_correlation":
                told = why.replace("; name one as eog", "; pass eog")
                parts.append(f"EOG correlation is left out: {told}")
            elif why == NO_RATE and metric != "line_noise":
                without_rate[metric.replace("_", " ")] = None
    if without_rate:
        are = "is" if len(without_rate) == 1 else "are"
        parts.insert(0, f"{' and '.join(without_rate)} {are} left out: {NO_RATE} or info")
    if parts:
        warnings.warn("; ".join(parts), UserWarning, stacklevel=4)


def correct_for_reference(
    scores: dict[str, np.ndarray],
    signals: Recorded,
    picks: np.ndarray,
    reference: str | bool | np.ndarray | None,
    rule: Rule,
) -> None:
    """Take out of EEG scores, in place, what the distance to the reference explains."""
    # Only EEG has a reference: mne-faster applies the angles of all types to the scores of one, and fails
    angles = signals.angles(picks, reference)
    if angles is None:
        return
    eeg = np.array([signals.ch_types[i] == "eeg" for i in picks])
    for metric in scores if rule.variant == "mne" else set(scores) & set(_CORRECTED):
        scores[metric][..., eeg] = remove_quadratic(scores[metric][..., eeg], angles)
