"""What `FASTER` keeps of the training epochs, and how other epochs are read, judged and cleaned by it."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Collection, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator

from neurosig.core.channel_names import listed
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.joined_epochs import joined_epochs
from neurosig.core.log import logger
from neurosig.core.validation import check_signals
from neurosig.preprocessing.faster_cells import bad_cells
from neurosig.preprocessing.faster_course import STEPS, Course
from neurosig.preprocessing.faster_holes import without_holes
from neurosig.preprocessing.faster_ica import apply_matrix, average_reference
from neurosig.preprocessing.faster_outliers import Outliers, Rule, last_round
from neurosig.preprocessing.faster_signals import DATA_TYPES, Recorded, located, same_rate
from neurosig.preprocessing.interpolation import METHODS, Interpolator, interpolator, sphere_positions

if TYPE_CHECKING:
    import mne

    from neurosig.core.signals import SignalSpec

__all__ = ["Learned"]


FEWEST_PLACED = 4  # electrodes that a sphere is fitted to


def _all_placed(info: mne.Info, picks: Sequence[int]) -> bool:
    places = np.array([info["chs"][i]["loc"][:3] for i in picks])
    return bool(np.isfinite(places).all() and (places != 0).any(axis=1).all())


class Learned(BaseEstimator):
    """The part of `FASTER` that holds what was learned; its parameters and attributes are explained there."""

    variant: str
    threshold: float | Mapping[str, float]
    steps: Sequence[str]
    metrics: Mapping[str, Sequence[str]] | None
    info: SignalSpec | mne.Info | None
    sfreq: float | None
    ch_names: Sequence[str] | None
    eog: str | int | Sequence[str | int] | None
    interpolation: str | None
    output_reference: str | None
    rounds: int | None
    few: str
    average_first: bool
    ch_names_: list[str]
    ch_types_: list[str]
    sfreq_: float | None
    bad_channels_: list[str]
    bad_components_: np.ndarray
    bad_channels_in_epochs_: np.ndarray
    channel_means_: np.ndarray
    channel_levels_: dict[str, np.ndarray]
    reference_angles_: np.ndarray | None
    positions_: np.ndarray | None
    meg_info_: str | None

    def _rules(self) -> dict[str, Rule]:
        if self.interpolation is not None and self.interpolation not in METHODS:
            raise UsageError(
                f"interpolation must be one of {', '.join(map(repr, METHODS))} or None, got {self.interpolation!r}"
            )
        if self.output_reference not in ("average", None):
            raise UsageError(f"output_reference must be 'average' or None, got {self.output_reference!r}")
        unknown = [step for step in (*self.steps, *(self.metrics or {})) if step not in STEPS]
        if isinstance(self.steps, str) or unknown or not len(self.steps):
            raise UsageError(f"steps and the keys of metrics must be some of {', '.join(STEPS)}, got {self.steps!r}")
        whole = isinstance(self.rounds, int | np.integer) and not isinstance(self.rounds, bool)
        if self.rounds is not None and not (whole and self.rounds >= 1):
            raise UsageError(f"rounds must be a whole number of at least 1, or None, got {self.rounds!r}")
        metrics = self.metrics or {}
        return {
            step: Rule.make(step, self.variant, self.threshold, metrics.get(step), self.rounds, self.few)
            for step in STEPS
            if step in self.steps
        }

    def _read(self, X: Any, reset: bool) -> tuple[Recorded, bool]:
        """The signals, and whether they came as a table of one sample an epoch."""
        import mne

        if isinstance(X, mne.io.BaseRaw):
            raise InputError("expected epochs, got a continuous recording; cut it (mne.make_fixed_length_epochs)")
        X = joined_epochs(X)
        is_epochs = isinstance(X, mne.BaseEpochs)
        names, marked = self._known(X, reset)
        array, holes = without_holes(X.get_data(copy=False) if is_epochs else X, names, marked)
        array = check_signals(array, estimator=self, reset=reset, ensure_3d=False)
        two_axes = array.ndim == 2
        if two_axes:
            named = names is not None and len(names) != array.shape[1]
            # half a second of samples or more, and a rate, are one epoch that lost its axis: one sample has no rate
            timed = isinstance(self.sfreq, Real) and 2 * array.shape[1] >= self.sfreq
            if reset and (named or timed):
                channels = f" with {len(names)} channels" if named and names is not None else ""
                raise InputError(
                    f"expected signals of shape (n_epochs, n_channels, n_times){channels}, got shape "
                    f"{array.shape}, which counts as {array.shape[0]} epochs of {array.shape[1]} channels and one "
                    "sample; a single epoch is X[np.newaxis]"
                )
            array = array[..., np.newaxis]
        if reset:
            described = (X.info, None) if is_epochs else (self.info, self.ch_names)
            found = Recorded.read(array, described[0], self.sfreq, described[1], self.eog)
            if holes is not None:
                empty = np.flatnonzero(holes.all(axis=0) & ~array.any(axis=(0, 2)))
                found = dataclasses.replace(found, empty=tuple(found.ch_names[i] for i in empty))
            return found, two_axes
        if is_epochs and list(X.ch_names) != self.ch_names_:
            different = [f"{a} for {b}" for a, b in zip(X.ch_names, self.ch_names_, strict=True) if a != b]
            raise ChannelError(f"expected the channels of the training epochs, got {listed(different)}; reorder them")
        if is_epochs and self.sfreq_ is not None and not same_rate(rate := float(X.info["sfreq"]), self.sfreq_):
            raise InputError(
                f"expected the {self.sfreq_:g} Hz of the training epochs, got {rate:g} Hz; resample the epochs"
            )
        if holes is not None:
            self._fill_new_holes(array, holes)
        return Recorded(array, tuple(self.ch_names_), tuple(self.ch_types_), self.sfreq_, holes=holes), two_axes

    def _known(self, X: Any, reset: bool) -> tuple[Sequence[str] | None, Collection[str]]:
        """Names of the channels, as far as they are known before the signals are read, and those marked bad."""
        import mne

        described = X.info if isinstance(X, mne.BaseEpochs) else self.info if reset else None
        marked = set(described["bads"]) if isinstance(described, mne.Info) else set()
        if not reset:
            return self.ch_names_, marked | set(self.bad_channels_)
        if isinstance(described, mne.Info):
            return described["ch_names"], marked
        return (self.ch_names if described is None else described.ch_names), marked

    def _fill_new_holes(self, array: np.ndarray, holes: np.ndarray) -> None:
        """Interpolate, in place, channels without numbers that were good in the training epochs.

        Before all else: what takes components out reads them.
        """
        old = np.isin(self.ch_names_, self.bad_channels_)
        brain = np.isin(self.ch_types_, DATA_TYPES)
        new = holes & ~old & brain
        if not new.any():
            return
        left = new
        if self.interpolation is not None:
            filled = array.copy()
            left = self._interpolator()(filled, new | old) & new
            array[new] = filled[new]
        if left.any():
            names = [self.ch_names_[i] for i in np.flatnonzero(left.any(axis=0))]
            raise InputError(
                f"{listed(names)} {'holds' if len(names) == 1 else 'hold'} no numbers, but "
                f"{'was' if len(names) == 1 else 'were'} good in the training epochs, and cannot be interpolated; drop "
                "these epochs, or fit on epochs in which such channels are marked bad"
            )

    def _keep_geometry(self, signals: Recorded) -> None:
        """Positions as plain numbers, so that the fitted object can be stored."""
        self.positions_, self.meg_info_ = None, None
        eeg = [i for i, kind in enumerate(self.ch_types_) if kind == "eeg"]
        if signals.info is not None and self.interpolation in ("auto", "spline"):
            found = sphere_positions(located(signals.info), eeg) if eeg else None
            if found is not None:
                self.positions_ = np.full((len(self.ch_names_), 3), np.nan)
                self.positions_[eeg] = found
            if {"mag", "grad"} & set(self.ch_types_):
                self.meg_info_ = json.dumps(signals.info.to_json_dict())
        if self.interpolation is None or not {"channels", "channels_in_epochs"} & set(self.steps):
            return
        few = self._too_few_placed(signals, eeg)
        by_mean = tuple(kind for kind in self._interpolator().by_mean if not (few and kind == "eeg"))
        if by_mean:
            warnings.warn(
                f"there are no positions for {' and '.join(by_mean)} channels, so bad ones become the mean of the good "
                "ones; give epochs with a montage, info, or names of the 10-05 system, or say interpolation='mean'",
                UserWarning,
                stacklevel=3,
            )

    def _too_few_placed(self, signals: Recorded, eeg: Sequence[int]) -> bool:
        """Whether there are positions, but too few of them for splines; said, where splines were to be had."""
        if signals.info is None or self.positions_ is not None or not 0 < len(eeg) < FEWEST_PLACED:
            return False
        if self.interpolation == "mean" or not _all_placed(located(signals.info), eeg):
            return False
        are = "channels are" if len(eeg) > 1 else "channel is"
        told = f"{len(eeg)} EEG {are} too few for splines, which take at least {FEWEST_PLACED}"
        if self.interpolation == "spline":
            raise ChannelError(f"{told}; choose interpolation='mean' or None")
        warnings.warn(
            f"{told}, so bad ones become the mean of the good ones; say interpolation='mean' or None",
            UserWarning,
            stacklevel=4,
        )
        return True

    def _interpolator(self) -> Interpolator:
        return interpolator(self.ch_types_, self.positions_, self.meg_info_, self.interpolation or "mean")

    def _keep_usual_epochs(self, course: Course) -> None:
        """Mean and spread of the training epochs' scores in the last round of `fit`, by which new epochs are judged."""
        self.usual_epochs_: dict[str, list[float]] = {}
        self.epoch_levels_ = np.zeros(len(self.ch_names_))
        self.epoch_levels_[course.good] = course.epoch_levels
        found = course.found.get("epochs")
        if found is None or len(found.bad) < 2:
            return
        rule = self._rules()["epochs"]
        for name, values in found.scores.items():
            threshold = rule.threshold[name.split(":")[0]]
            self.usual_epochs_[name] = list(last_round(values, threshold, ddof=rule.ddof, max_iter=rule.max_iter))

    def _keep_components(self, course: Course) -> None:
        """The decomposition on all channels, and what takes its bad components out."""
        n_channels, good, found = len(self.ch_names_), course.good, course.decomposition
        self.bad_components_ = course.removed
        self.cleaning_, self.offset_ = np.eye(n_channels), np.zeros(n_channels)
        self.mixing_, self.unmixing_ = np.zeros((n_channels, 0)), np.zeros((0, n_channels))
        if found is None:
            return
        types = [self.ch_types_[i] for i in good]
        self.mixing_ = np.zeros((n_channels, len(found.unmixing)))
        self.unmixing_ = np.zeros((len(found.unmixing), n_channels))
        self.mixing_[good] = found.mixing
        self.unmixing_[:, good] = (
            found.unmixing @ average_reference(types) if found.average_reference else found.unmixing
        )
        self.cleaning_[np.ix_(good, good)], self.offset_[good] = found.removal(course.removed, types)

    def _tell(self) -> None:
        """What a user should know of the fit, now rather than after the scores."""
        if cells := int(self.bad_channels_in_epochs_.any(axis=1).sum()):
            logger.info(
                "FASTER: %d of %d epochs get channels of their own interpolated; before decoding from covariances, "
                "leave 'channels_in_epochs' out of steps",
                cells,
                len(self.bad_channels_in_epochs_),
            )
        # mean of the good ones, in the average of all: nothing is left of such a channel
        if self.output_reference != "average" or self.interpolation in (None, "mean"):
            return  # who asks for the mean by name has it
        if "eeg" not in self._interpolator().by_mean:
            return
        kinds = dict(zip(self.ch_names_, self.ch_types_, strict=True))
        if zeros := [name for name in self.bad_channels_ if kinds[name] == "eeg"]:
            warnings.warn(
                f"{listed(zeros)} became the mean of the good channels, which is zero in average reference; give "
                "positions, or drop such channels",
                UserWarning,
                stacklevel=3,
            )

    def _without_components(self, X: np.ndarray) -> np.ndarray:
        """Signals without the bad components, in a new array."""
        if self.average_first:
            X = X.copy()
            self._rereference(X, [name not in self.bad_channels_ for name in self.ch_names_])
        if len(self.bad_components_):
            return apply_matrix(self.cleaning_, self.offset_, X)
        return X if self.average_first else X.copy()

    def _bad_cells(self, clean: np.ndarray, rule: Rule) -> Outliers:
        signals = Recorded(clean, tuple(self.ch_names_), tuple(self.ch_types_), self.sfreq_)
        good = signals.picks(exclude=self.bad_channels_)
        usual = {"mean": self.channel_means_[good]}
        usual |= {metric: values[good] for metric, values in self.channel_levels_.items()}
        return bad_cells(signals, rule, self.reference_angles_, self.bad_channels_, usual=usual)

    def _cleaned(self, signals: Recorded) -> np.ndarray:
        clean = self._without_components(signals.X)
        bad = np.zeros(clean.shape[:2], dtype=bool)
        rule = self._rules().get("channels_in_epochs")
        if rule is not None:
            found = self._bad_cells(clean, dataclasses.replace(rule, few="ignore"))  # `fit` said so
            bad[:, found.picks] = found.bad
        if self.interpolation is not None:
            bad[:, [self.ch_names_.index(name) for name in self.bad_channels_]] = True
            left = self._interpolator()(clean, bad)
            if left.any():
                logger.info("%d channels in epochs were left, as too few good ones remain", int(left.sum()))
        else:
            left = np.ones_like(bad)
        if signals.holes is not None:  # what stays as it was is no signal of zeros
            old = np.isin(self.ch_names_, self.bad_channels_)
            clean[signals.holes & (left & old | ~np.isin(self.ch_types_, DATA_TYPES))] = np.nan
        return clean

    def _rereference(self, clean: np.ndarray, counted: Any = True) -> None:
        """Average reference, in place; channels that stay bad do not count in the average."""
        eeg = np.array([kind == "eeg" for kind in self.ch_types_])
        counted = eeg & counted
        if self.interpolation is None:
            counted &= [name not in self.bad_channels_ for name in self.ch_names_]
        if counted.sum() > 1:
            clean[:, eeg] -= clean[:, counted].mean(axis=1, keepdims=True)
