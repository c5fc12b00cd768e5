"""Runs of region series as BrainMAE takes them: by name of the region, at one repetition time, standardised, padded."""

from __future__ import annotations

import functools
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from neurosig.core.channel_names import listed
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.joined_epochs import epochs_in, joined_epochs
from neurosig.core.lazy_runs import LazyRuns
from neurosig.core.runs import check_runs
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.training.batches import is_stream

__all__ = [
    "KnownRuns", "PaddedRuns", "common_t_r", "known_runs", "region_order", "resampled", "said_t_r", "same_t_r",
    "samples_of_segment", "stacked", "standardised",
]  # fmt: skip

_LONGEST = 30.0  # seconds; a repetition time above it was given in milliseconds
_CLOSE = 1e-3  # relative difference of repetition times that counts as none
_EPS = 1e-9
_FLAT = 1e-6  # of the mean: a spread below it is rounding (series come as float32)


# -- one run ----------------------------------------------------------------------------------------------------------


def resampled(run: np.ndarray, t_r: float, new_t_r: float) -> np.ndarray:
    """A run at another repetition time, by straight lines between its volumes.

    Parameters
    ----------
    run : array of shape (n_regions, n_times)
        Series; a region that is NaN throughout stays so.
    t_r, new_t_r : float
        Seconds from one volume to the next, as they are and as they are to be.

    Returns
    -------
    float64 array of shape (n_regions, n_new)
        From the first volume on, as far as the run goes.
    """
    n = run.shape[1]
    if same_t_r(t_r, new_t_r):
        return np.asarray(run, dtype=np.float64)
    at = np.arange(resampled_length(n, t_r, new_t_r)) * (new_t_r / t_r)
    before = np.minimum(at.astype(int), max(n - 2, 0))
    share = at - before
    exact = np.asarray(run, dtype=np.float64)
    return exact[:, before] * (1 - share) + exact[:, np.minimum(before + 1, n - 1)] * share


def resampled_length(n_times: int, t_r: float, new_t_r: float) -> int:
    """Volumes of a run at another repetition time."""
    return n_times if same_t_r(t_r, new_t_r) else math.floor((n_times - 1) * t_r / new_t_r + 1e-6) + 1


def standardised(run: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each region in standard deviations about its own mean over the run.

    Parameters
    ----------
    run : float64 array of shape (n_regions, n_times)
        Series.

    Returns
    -------
    array of shape (n_regions, n_times), bool array of shape (n_regions,)
        z-scores (sample standard deviation), and which regions are constant, whose z-scores are zero.
    """
    mean = run.mean(axis=1, keepdims=True)
    centred = run - mean
    sd = np.sqrt((centred**2).sum(axis=1, keepdims=True) / max(run.shape[1] - 1, 1))
    flat = sd <= _FLAT * np.abs(mean)
    return np.where(flat, 0.0, centred) / (sd + _EPS), flat[:, 0] & ~np.isnan(mean[:, 0])


def samples_of_segment(segment: float, sfreq: float) -> int:
    """Volumes in a segment of so many seconds, half of one counting as a whole."""
    return math.floor(segment * sfreq + 0.5)


def same_t_r(one: float, other: float) -> bool:
    """Whether two repetition times are the same but for rounding."""
    return abs(one - other) <= _CLOSE * min(one, other)


def common_t_r(t_r: Sequence[float] | np.ndarray) -> float:
    """The repetition time of most runs; of several as frequent the shortest."""
    groups: Counter[float] = Counter()
    for value in t_r:
        known = next((other for other in groups if same_t_r(other, float(value))), float(value))
        groups[known] += 1
    most = max(groups.values())
    return min(value for value, n in groups.items() if n == most)


def region_order(
    own: Sequence[str] | None, theirs: Sequence[str] | None, *, on_missing: str, on_unknown: str, who: str
) -> np.ndarray | None:
    """Where each region of a model is among those of a run.

    Parameters
    ----------
    own, theirs : sequence of str or None
        Names of the model's regions, and of the run's; None where they are not known.
    on_missing : {"raise", "mask"}
        What becomes of regions that the run lacks.
    on_unknown : {"raise", "drop"}
        What becomes of regions that the model does not know.
    who : str
        The model, for messages.

    Returns
    -------
    int array of shape (n_regions,), or None
        Places in the run, -1 for one that it lacks; None where nothing is to be done.

    Raises
    ------
    ChannelError
        If regions are missing, or unknown, that must not be.
    """
    if own is None or theirs is None or tuple(own) == tuple(theirs):
        return None
    place = {name: i for i, name in enumerate(theirs)}
    order = np.array([place.get(name, -1) for name in own])
    lacking = [name for name in own if name not in place]
    known = set(own)
    strangers = [name for name in theirs if name not in known]
    if len(lacking) == len(own):
        raise ChannelError(
            f"none of the regions of {who} ({listed(list(own)[:5])}, ...) is among these ({listed(list(theirs)[:5])}, "
            "...); load the runs with the same atlas"
        )
    if lacking and on_missing == "raise":
        raise ChannelError(
            f"expected the {len(own)} regions of {who}, these runs lack {listed(lacking)}; on_missing='mask' does "
            "without them, as without masked ones"
        )
    if strangers and on_unknown == "raise":
        raise ChannelError(
            f"these runs have regions that {who} does not know: {listed(strangers)}; on_unknown='drop' leaves them out"
        )
    return order


# -- what is known of runs --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KnownRuns:
    """Checked runs and what is known of them.

    Parameters
    ----------
    runs : sequence of array of shape (n_regions, n_times)
        The series; a list, or something that reads a run when it is asked for it.
    lengths : int array of shape (n_runs,)
        Volumes of each.
    t_r : array of shape (n_runs,), or None
        Repetition time of each in seconds, where it is known.
    spec : SignalSpec or None
        Names of the regions, atlas, positions, where they are known.
    lazy : bool
        Whether runs are read one by one.
    """

    runs: Sequence[np.ndarray]
    lengths: np.ndarray
    t_r: np.ndarray | None
    spec: SignalSpec | None
    lazy: bool = False

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of the regions."""
        return None if self.spec is None else self.spec.ch_names


def known_runs(
    X: Any, *, estimator: Any, reset: bool, t_r: Any = None, spec: SignalSpec | None = None,
    fallback: float | None = None,
) -> KnownRuns:  # fmt: skip
    """Check runs, and find out what is known of them.

    Parameters
    ----------
    X : array of shape (n_runs, n_regions, n_times), sequence of (n_regions, n_times), SignalDataset or mne.Epochs
        Runs, of one length or of several.
    estimator : estimator or None
        Whose ``n_features_in_`` is set, or compared where the runs do not name their regions.
    reset : bool
        Whether it is being fitted.
    t_r : float or array of shape (n_runs,), optional
        Repetition times that the caller was told, in seconds.
    spec : SignalSpec, optional
        What the caller was told of arrays.
    fallback : float, optional
        Repetition time of arrays of which nothing is said.

    Returns
    -------
    KnownRuns
        Not yet in the order, at the rate or in the unit of a model.

    Raises
    ------
    InputError
        If the runs cannot be used.
    ChannelError
        If they differ in their number of regions.
    UsageError
        If a repetition time is none, or contradicts what the runs tell.
    """
    X = joined_epochs(X)
    own: Any = None
    # regions that runs tell by name may come in any number: they are put in order by name afterwards
    judge = None if isinstance(X, SignalDataset) or epochs_in(X) is not None else estimator
    if isinstance(X, SignalDataset):
        spec, own, X = X.info, _dataset_t_r(X), X.X
    elif epochs_in(X) is not None:
        spec = SignalSpec.from_mne(X.info)
        own = None if spec.sfreq is None else 1 / spec.sfreq
    elif spec is not None:
        own = _spec_t_r(spec)
    if reset:
        judge = estimator
    if is_stream(X) and len(X.shape) == 3:
        X = LazyRuns(functools.partial(_row, X), range(int(X.shape[0])))
    lazy = isinstance(X, Sequence) and not isinstance(X, list | tuple | str)
    if lazy:
        if not len(X):
            raise InputError("expected at least one run of shape (n_regions, n_times), got an empty sequence")
        shapes = [_checked_lazily(X, place, judge, reset) for place in range(len(X))]
        n_regions, lengths = shapes[0][0], np.array([shape[1] for shape in shapes])
        if others := [place for place, shape in enumerate(shapes) if shape[0] != n_regions]:
            raise ChannelError(
                f"expected runs with the same regions, run {others[0]} has {shapes[others[0]][0]}, the first "
                f"{n_regions}; load them with one atlas, which keeps regions that a run lacks by name"
            )
        runs: Sequence[np.ndarray] = X
    else:
        runs = check_runs(X, estimator=judge, reset=reset, allow_missing=_lacks_regions(X))
        lengths, n_regions = np.array([run.shape[1] for run in runs]), len(runs[0])
    if spec is not None and spec.n_channels != n_regions:
        raise ChannelError(f"{spec.n_channels} regions are named, the runs have {n_regions}")
    return KnownRuns(runs, lengths, _agreed_t_r(t_r, own, fallback, len(lengths)), spec, lazy)


def _dataset_t_r(data: SignalDataset) -> Any:
    if "t_r" in data.metadata and data.metadata["t_r"].notna().all():
        return data.metadata["t_r"].to_numpy(dtype=float)
    return _spec_t_r(data.info)


def _spec_t_r(spec: SignalSpec) -> float | None:
    return spec.t_r if spec.t_r is not None else None if spec.sfreq is None else 1 / spec.sfreq


def _agreed_t_r(told: Any, own: Any, fallback: float | None, n_runs: int) -> np.ndarray | None:
    """Repetition time of each run: what the runs tell, else what was said, else what they are taken to have."""
    found = [None if value is None else checked_t_r(value, n_runs) for value in (told, own)]
    if found[0] is not None and found[1] is not None:
        differing = [i for i in range(n_runs) if not same_t_r(found[0][i], found[1][i])]
        if differing:
            i = differing[0]
            raise UsageError(
                f"t_r={found[0][i]:g} s was given, run {i} itself tells {found[1][i]:g} s; leave t_r out, or resample"
            )
    chosen = found[1] if found[0] is None else found[0]
    return checked_t_r(fallback, n_runs) if chosen is None and fallback is not None else chosen


def checked_t_r(t_r: Any, n_runs: int) -> np.ndarray:
    """Repetition times as an array, one a run.

    Raises
    ------
    UsageError
        If they are no numbers of seconds.
    InputError
        If there is not one a run.
    """
    try:
        values = np.atleast_1d(np.asarray(t_r, dtype=float))
    except (TypeError, ValueError) as error:
        raise UsageError(f"t_r must be a number of seconds, or one a run, got {t_r!r}") from error
    if isinstance(t_r, bool | str) or values.ndim != 1:
        raise UsageError(f"t_r must be a number of seconds, or one a run, got {t_r!r}")
    if len(values) not in (1, n_runs):
        raise InputError(f"expected one t_r for each of {n_runs} runs, got {len(values)}")
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise UsageError(f"t_r must be a number of seconds above 0, got {float(values[~(values > 0)][0]):g}")
    if (values > _LONGEST).any():
        raise UsageError(
            f"t_r is in seconds, got {float(values.max()):g}: were these milliseconds? give {values.max() / 1000:g}"
        )
    return np.broadcast_to(values, (n_runs,))


def _lacks_regions(X: Any) -> bool:
    """Whether a region is NaN for a whole run; NaN elsewhere is named by the check."""
    if hasattr(X, "get_data"):
        return False
    if not isinstance(X, Sequence):
        X = np.asarray(X)
        if X.ndim != 3 or X.dtype.kind != "f" or not np.isnan(X).any():
            return False
    return any(
        getattr(run, "ndim", 0) == 2 and np.asarray(run).dtype.kind == "f" and np.isnan(run).all(axis=1).any()
        for run in X
    )


def _row(X: Any, place: int) -> np.ndarray:
    """One run of an array on disk."""
    return np.asarray(X[place])


def _checked_lazily(X: Sequence[np.ndarray], place: int, estimator: Any, reset: bool) -> tuple[int, int]:
    run = X[place]
    try:
        check_runs([run], estimator=estimator, reset=reset and place == 0, allow_missing=True)
    except InputError as error:
        raise type(error)(f"run {place}, read alone, where it is run 0: {error}") from error
    return int(run.shape[0]), int(run.shape[1])


# -- many runs as one array -------------------------------------------------------------------------------------------


class PaddedRuns:
    """Runs as a model takes them, prepared when they are asked for: an array that is never whole in memory.

    Parameters
    ----------
    known : KnownRuns
        The runs.
    t_r : float or None
        Repetition time of the model in seconds; None leaves runs as they are.
    order : int array or None
        As `region_order` gives it.
    standardise : bool
        Whether each region is put into z-scores over its run.
    allow_missing : bool
        Whether a run may lack regions (NaN throughout).
    names : sequence of str, optional
        Names of the regions as they come out, for messages.

    Attributes
    ----------
    lengths : int array of shape (n_runs,)
        Volumes of each run, as it comes out.
    shape : tuple of int
        (n_runs, n_regions, longest run).
    flat : dict of int to array of int
        Constant regions of runs that were prepared.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self, known: KnownRuns, t_r: float | None, order: np.ndarray | None, standardise: bool,
        allow_missing: bool = False, names: Sequence[str] | None = None,
    ):  # fmt: skip
        self.known, self.t_r, self.order, self.standardise = known, t_r, order, standardise
        self.allow_missing, self.names = allow_missing, names
        self.lengths = np.array(
            [
                n if t_r is None or known.t_r is None else resampled_length(int(n), float(known.t_r[i]), t_r)
                for i, n in enumerate(known.lengths)
            ]
        )
        n_regions = len(known.runs[0]) if order is None else len(order)
        self.shape = (len(known), n_regions, int(self.lengths.max()))
        self.chunks = (1, *self.shape[1:])
        self.flat: dict[int, np.ndarray] = {}

    @property
    def oindex(self) -> PaddedRuns:
        """Itself: rows are picked by number."""
        return self

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array."""
        return 4 * int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        chosen = np.atleast_1d(np.arange(len(self))[rows])
        found = np.full((len(chosen), *self.shape[1:]), np.nan, dtype=np.float32)
        for place, row in enumerate(chosen.tolist()):
            run = self.run(row)
            found[place, :, : run.shape[1]] = run
        return found

    def run(self, row: int) -> np.ndarray:
        """One run, float64 array of shape (n_regions, n_times): NaN where it lacks a region."""
        run = np.asarray(self.known.runs[row], dtype=np.float64)
        if self.order is not None:
            run = np.where((self.order >= 0)[:, np.newaxis], run[self.order], np.nan)
        lacking = np.isnan(run[:, 0])
        if lacking.any() and not self.allow_missing:
            told = [self.names[i] if self.names is not None else str(i) for i in np.flatnonzero(lacking).tolist()]
            raise InputError(
                f"run {row} lacks regions (NaN throughout): {listed(told)}; on_missing='mask' does without them, or "
                "drop them from all runs"
            )
        if lacking.all():
            raise InputError(f"run {row} lacks all regions of the network; leave it out")
        if self.t_r is not None and self.known.t_r is not None:
            run = resampled(run, float(self.known.t_r[row]), self.t_r)
        if self.standardise:
            run, flat = standardised(run)
            if flat.any():
                self.flat[row] = np.flatnonzero(flat)
        return run


def stacked(runs: PaddedRuns, names: Sequence[str] | None, in_memory: int | None = None) -> Any:
    """All runs as one array, filled up with NaN; or, where they are read one by one and are many, as they are.

    Parameters
    ----------
    runs : PaddedRuns
        The runs.
    names : sequence of str or None
        Names of the regions, for a warning.
    in_memory : int, optional
        Most bytes that runs which are read one by one may take in memory.

    Returns
    -------
    float32 array of shape (n_runs, n_regions, n_times), or PaddedRuns

    Warns
    -----
    UserWarning
        Once, of regions that are constant in some run.
    """
    stays = runs.known.lazy and in_memory is not None and runs.nbytes > in_memory
    found: Any = runs if stays else runs[:]
    if runs.flat:
        regions = sorted({int(i) for flat in runs.flat.values() for i in flat})
        told = listed([names[i] if names is not None else str(i) for i in regions])
        warnings.warn(
            f"{len(runs.flat)} of {len(runs)} runs have constant regions ({told}), which are zeros to the network; is "
            "the atlas in the space of the image, and is the region inside the field of view?",
            UserWarning,
            stacklevel=4,
        )
    return found


def said_t_r(t_r: Any, sfreq: Any) -> float | None:
    """The repetition time that parameters tell, of which one gives seconds and the other Hz.

    Raises
    ------
    UsageError
        If they contradict each other, or one is no number.
    """
    if sfreq is not None and (
        isinstance(sfreq, bool) or not isinstance(sfreq, Real) or not 0 < float(sfreq) < math.inf
    ):
        raise UsageError(f"sfreq must be a number of Hz above 0, or None, got {sfreq!r}")
    if t_r is None:
        return None if sfreq is None else 1 / float(sfreq)
    value = float(checked_t_r(t_r, 1)[0])
    if sfreq is not None and not same_t_r(value, 1 / float(sfreq)):
        raise UsageError(f"t_r={value:g} s and sfreq={sfreq:g} Hz contradict each other; give one of them")
    return value
