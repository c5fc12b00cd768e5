"""What a network is fitted on: trials checked in memory or piece by piece, their scale, and what validates."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from numbers import Real
from typing import Any

import numpy as np

from neurosig.core.channel_names import canonical_name, listed
from neurosig.core.channels import unit_factor
from neurosig.core.cut_trials import CutTrials
from neurosig.core.errors import ChannelError, InputError, UnitWarning, UsageError
from neurosig.core.joined_epochs import epochs_in
from neurosig.core.signals import SignalSpec
from neurosig.core.validation import check_finite, check_signals
from neurosig.training.batches import is_stream, read_stream

__all__ = [
    "check_amplitude",
    "check_like_fitted",
    "check_names",
    "check_trials",
    "compare_specs",
    "content_digest",
    "known_spec",
    "samples_of",
    "signal_sd",
    "some_sd",
    "validation_split",
]

_PIECE = 8 << 20  # bytes read at once
_EXACT = 1 << 20  # bytes of float64 computed with at once
_SOME = 64  # trials that settle the unit of any number


def check_trials(estimator: Any, X: Any, *, reset: bool) -> Any:
    """Trials as an array of three axes; memory maps and Zarr arrays are checked piece by piece and stay on disk.

    Parameters
    ----------
    estimator : estimator
        Its ``n_features_in_`` is set, or compared.
    X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
        Signals.
    reset : bool
        Whether the estimator is being fitted.

    Returns
    -------
    array of shape (n_trials, n_channels, n_times)
        float32 in memory, or X itself, which `CutTrials` are left as well.
    """
    if not (is_stream(X) or isinstance(X, CutTrials)) or len(X.shape) != 3:
        return check_signals(X[:] if is_stream(X) else X, estimator=estimator, reset=reset, dtype=np.float32)
    if np.dtype(X.dtype).kind not in "fiu":
        raise InputError(f"expected signals of numbers, got {X.dtype}")
    if 0 in X.shape:
        raise InputError(f"expected at least one trial, channel and sample, got shape {tuple(X.shape)}")
    # one trial goes through the gate, for all that does not depend on the values
    check_signals(np.zeros((1, *X.shape[1:]), dtype=np.float32), estimator=estimator, reset=reset)
    for start, piece in _pieces(X):
        try:
            check_finite(piece)
        except InputError as error:
            raise InputError(
                f"in trials {start} to {start + len(piece) - 1}, numbered from the first: {error}"
            ) from error
    return X


def _pieces(X: Any, trials: np.ndarray | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Pieces of the trials as float32 arrays, and where they begin."""
    index = np.arange(int(X.shape[0])) if trials is None else trials
    n = len(index)
    step = max(1, _PIECE // (4 * int(np.prod(X.shape[1:]))))
    if hasattr(X, "chunks") and is_stream(X):
        step = max(1, step // int(X.chunks[0])) * int(X.chunks[0])
    for start in range(0, n, step):
        rows = index[start : start + step]
        yield start, read_stream(X, rows).numpy() if is_stream(X) else np.asarray(X[rows], dtype=np.float32)


def signal_sd(X: Any, trials: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Standard deviation of all samples of all channels of some trials about their mean, exactly 0 where they are flat.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels, n_times)
        Signals, in memory or on disk.
    trials : array of int
        Which, ascending.
    weight : array of shape (n_trials,), optional
        Weights of all trials.

    Returns
    -------
    float
        The standard deviation, in the unit of X.
    """
    means, variances = [], []
    for _, piece in _pieces(X, trials):
        few = max(1, _EXACT // (8 * piece[0].size))
        for start in range(0, len(piece), few):  # float64 copies of a few trials at a time
            exact = piece[start : start + few].astype(np.float64)
            means.append(exact.mean(axis=(1, 2)))
            variances.append(exact.var(axis=(1, 2)))
    mean, variance = np.concatenate(means), np.concatenate(variances)
    share = None if weight is None else weight[trials]
    center = np.average(mean, weights=share)
    spread = float(np.sqrt(np.average(variance + (mean - center) ** 2, weights=share)))
    # rounding leaves signals that are flat with an offset a spread of about 1e-8 times the offset
    return spread if spread > 10 * np.finfo(np.float32).eps * abs(center) else 0.0


def some_sd(X: Any, trials: np.ndarray | None = None) -> float:
    """Standard deviation of 64 trials at most, evenly spread over those given: enough to tell a unit by."""
    trials = np.arange(int(X.shape[0])) if trials is None else trials
    return signal_sd(X, trials[:: max(1, -(-len(trials) // _SOME))])


def check_amplitude(estimator: Any, X: Any, who: str | None = None) -> None:
    """Warn of signals so much larger or smaller than those trained on that their unit must be another.

    Parameters
    ----------
    estimator : estimator
        Fitted, with ``signal_sd_``.
    X : array of shape (n_trials, n_channels, n_times)
        Checked signals.
    who : str, optional
        What the message calls it; the name of its class by default.

    Warns
    -----
    UnitWarning
        If standard deviations differ by a factor of more than a thousand; flat signals say nothing. Python shows a
        warning of the same words once.
    """
    fitted = getattr(estimator, "signal_sd_", 0.0)  # a network stored by an earlier version does not know it
    if not fitted or getattr(estimator.module_, "unit_free", False):
        return
    ratio = some_sd(X) / fitted
    if ratio and not 1e-3 <= ratio <= 1e3:
        told = f"{10.0 ** round(math.log10(ratio if ratio > 1 else 1 / ratio)):.0e} times"
        warnings.warn(
            f"signals are about {told} {'larger' if ratio > 1 else 'smaller'} than those that "
            f"{who or type(estimator).__name__} was fitted on, as if their unit were another; convert them to "
            f"{'that of the training' if estimator.spec_ is None else estimator.spec_.unit}",
            UnitWarning,
            stacklevel=3,
        )


def validation_split(
    y: np.ndarray,
    index: np.ndarray,
    groups: np.ndarray | None,
    share: float | None,
    *,
    classes: bool,
    random_state: int,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Trials to train on and trials to validate on; trials of a group stay on one side, classes are balanced.

    Parameters
    ----------
    y : array of shape (n_trials,)
        Class numbers or values of all trials.
    index : array of int
        Positions of the trials there are.
    groups : array of shape (n_trials,), optional
        What each trial belongs to.
    share : float or None
        Share of the trials that validates; None validates nothing.
    classes : bool
        Whether `y` are class numbers.
    random_state : int
        Seed.

    Returns
    -------
    train, valid : array of int, array of int or None
        Positions, ascending. None where nothing validates, which is also so, with a warning, where trials or
        groups are too few for both sides to be of use.

    Raises
    ------
    UsageError
        If `share` is none, or so large that it is what leaves too little to train on.
    """
    if share is None:
        return index, None
    if isinstance(share, bool | str) or not 0 < share < 1:
        raise UsageError(f"validation must be a share between 0 and 1, or None, got {share!r}")
    target, owners = y[index], None if groups is None else groups[index]
    found = _split(target, owners, share, classes, random_state)
    if found is None:
        of = f"{len(index)} trials" if owners is None else f"{len(np.unique(owners))} groups"
        if share > 0.5 and _split(target, owners, 0.5, classes, random_state) is not None:
            raise UsageError(
                f"validation={share:g} of {of} leaves too few to train on"
                f"{f' {len(np.unique(target))} classes' if classes else ''}; give a smaller share, such as 0.2"
            )
        warnings.warn(
            f"no validation part: {of} are too few; all of them are trained on, up to max_epochs", stacklevel=2
        )
        return index, None
    train, valid = found
    if classes and len(np.unique(target[valid])) < 2 <= len(np.unique(target)):
        warnings.warn(f"all {len(valid)} validation trials are of one class; give a larger share", stacklevel=2)
    return np.sort(index[train]), np.sort(index[valid])


def _split(
    y: np.ndarray, groups: np.ndarray | None, share: float, classes: bool, seed: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Both parts, each of use: all classes among what is trained on; None where there are none such."""
    from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit, StratifiedShuffleSplit

    if groups is not None and len(np.unique(groups)) < 2:
        return None
    if groups is not None and classes:
        found = _grouped(y, groups, share, seed)
    elif groups is not None:
        found = _try_split(GroupShuffleSplit(1, test_size=share, random_state=seed), y, groups)
    else:
        kind = StratifiedShuffleSplit if classes else ShuffleSplit
        found = _try_split(kind(1, test_size=share, random_state=seed), y, None)
    if found is not None and classes and len(np.unique(y[found[0]])) < len(np.unique(y)):
        return None
    return found


def _try_split(split: Any, y: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        train, valid = next(split.split(np.zeros(len(y)), y, groups))
    except ValueError:  # scikit-learn's word for too few
        return None
    return (train, valid) if len(train) and len(valid) else None


def _grouped(y: np.ndarray, groups: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Whole groups, so many as come nearest to the share of each class, one at least; drawn, then filled up one by one.

    None where no group can be spared without a class missing from what is trained on.
    """
    names, owner = np.unique(groups, return_inverse=True)
    labels, code = np.unique(y, return_inverse=True)
    counts = np.zeros((len(names), len(labels)))
    np.add.at(counts, (owner, code), 1)
    wanted, have = share * counts.sum(axis=0), np.zeros(len(labels))
    chosen: list[int] = []
    for group in np.random.RandomState(seed).permutation(len(names)):
        then = have + counts[group]
        left = counts.sum(axis=0) - then
        if np.all(left > 0) and np.abs(then - wanted).sum() < np.abs(have - wanted).sum():
            chosen.append(int(group))
            have = then
    if (
        not chosen
    ):  # every group is too large a part, as with two groups: the one that comes nearest, drawn among equals
        order = np.random.RandomState(seed).permutation(len(names))
        fine = [int(group) for group in order if np.all(counts.sum(axis=0) > counts[group])]
        if not fine:
            return None
        chosen = [min(fine, key=lambda group: float(np.abs(counts[group] - wanted).sum()))]
    valid = np.isin(owner, chosen)
    return np.flatnonzero(~valid), np.flatnonzero(valid)


def _differing(given: SignalSpec, own: SignalSpec) -> str | None:
    """What `compare_specs` finds to be different, in words for a user who gave the one along with the other."""
    try:
        compare_specs(given, own, "")
    except ChannelError:
        pass
    else:
        return None
    names = [[canonical_name(name) for name in spec.ch_names] for spec in (given, own)]
    if names[0] != names[1]:
        return f"it has the channels {listed(given.ch_names)}, they have {listed(own.ch_names)}"
    if given.sfreq and own.sfreq and abs(given.sfreq - own.sfreq) > 1e-4 * given.sfreq:
        return f"it is at {given.sfreq:g} Hz, they are at {own.sfreq:g} Hz"
    return f"it is in {given.unit}, they are in {own.unit}"


def _given_spec(info: Any) -> SignalSpec | None:
    return info if info is None or isinstance(info, SignalSpec) else SignalSpec.from_mne(info)


def known_spec(X: Any, info: Any, ch_names: Any, sfreq: float | None) -> tuple[SignalSpec | None, float | None]:
    """What is known about the signals: of Epochs, else as given; and the sampling rate, which may be all there is.

    Raises
    ------
    UsageError
        If two of them disagree, or one is not what it must be.
    """
    epochs = epochs_in(X)
    spec: SignalSpec | None = None
    if sfreq is not None and (isinstance(sfreq, bool) or not isinstance(sfreq, Real) or not 0 < sfreq < math.inf):
        raise UsageError(f"sfreq must be a number of Hz above 0, or None, got {sfreq!r}")
    if isinstance(ch_names, str):
        raise UsageError(f"ch_names must be a list of names, one a channel, got the text {ch_names!r}")
    if epochs is not None:
        spec = SignalSpec.from_mne(epochs.info, n_times=len(epochs.times), tmin=float(epochs.tmin))
        given = _given_spec(info)
        if given is not None and (differing := _differing(given, spec)):
            raise UsageError(f"info contradicts the Epochs: {differing}; leave info out, Epochs bring their own")
    elif info is not None:
        spec = _given_spec(info)
    elif ch_names is not None:
        spec = SignalSpec("eeg", tuple(ch_names), sfreq=sfreq, unit="a.u.")
    if ch_names is not None and spec is not None and tuple(map(str, ch_names)) != spec.ch_names:
        raise UsageError(
            f"ch_names are {listed(map(str, ch_names))}, the signals' own are {listed(spec.ch_names)}; give one"
        )
    known = None if spec is None else spec.sfreq
    if sfreq is not None and known is not None and abs(sfreq - known) > 1e-4 * known:
        raise UsageError(
            f"sfreq={sfreq:g} Hz was given, the signals are at {known:g} Hz; leave sfreq out or resample them"
        )
    return spec, float(sfreq) if known is None and sfreq is not None else known


def check_names(spec: SignalSpec | None, X: Any, who: str) -> None:
    """Refuse Epochs whose channels are named, or sampled, otherwise than those that were fitted on.

    Raises
    ------
    ChannelError
        Naming the difference.
    """
    epochs = epochs_in(X)
    if spec is not None and epochs is not None:
        compare_specs(spec, SignalSpec.from_mne(epochs.info), who)


def check_like_fitted(estimator: Any, X: Any) -> Any:
    """Trials as a fitted estimator takes them; memory maps and Zarr arrays stay on disk.

    Parameters
    ----------
    estimator : NetClassifier or NetRegressor
        Fitted.
    X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
        Signals. Epochs, which mne keeps in volts or tesla, are converted to the unit of the fit.

    Returns
    -------
    array of shape (n_trials, n_channels, n_times)
        See `check_trials`.

    Raises
    ------
    ChannelError
        If channels, sampling rate, unit or length are others than in the fit.
    InputError
        If X has not three axes.
    """
    who = type(estimator).__name__
    shape = tuple(getattr(X, "shape", ()))
    if len(shape) == 2 and estimator.n_times_ != 1:
        raise InputError(
            f"expected signals of shape (n_trials, n_channels, n_times), got shape {shape}. Reshape your data: one "
            "trial is X[None], one channel X[:, None]"
        )
    factor = _epochs_factor(estimator.spec_, X)
    if factor is None:
        check_names(estimator.spec_, X, who)
    X = check_trials(estimator, X, reset=False)
    if factor is not None:
        X = X * np.float32(factor)
    if X.shape[2] != estimator.n_times_:
        raise ChannelError(
            f"expected trials of {estimator.n_times_} samples, as {who} was fitted on, got {X.shape[2]}; cut or "
            "resample them alike"
        )
    check_amplitude(estimator, X)
    return X


def _epochs_factor(fitted: SignalSpec | None, X: Any) -> float | None:
    """What Epochs are multiplied by to be in the unit of the fit, where nothing else differs; None: nothing to do."""
    epochs = epochs_in(X)
    if fitted is None or epochs is None:
        return None
    now = SignalSpec.from_mne(epochs.info)
    if "a.u." in (fitted.unit, now.unit) or fitted.unit == now.unit:
        return None
    try:
        factor = unit_factor(now.unit, fitted.unit)
        compare_specs(fitted, now.replace(unit=fitted.unit), "")
    except ChannelError:  # said by the check that follows, in its words
        return None
    return factor


def compare_specs(fitted: SignalSpec, now: SignalSpec, who: str) -> None:
    """Refuse signals whose channel names, order, sampling rate or unit (where both are known) are not `fitted`'s."""
    expected, got = ([canonical_name(name) for name in spec.ch_names] for spec in (fitted, now))
    if expected != got:
        if sorted(expected) == sorted(got):
            what = "the same in another order"
        else:
            lacking = [name for name in expected if name not in got]
            strangers = [name for name in got if name not in expected]
            what = f"lacking {listed(lacking) or 'none'}, unknown {listed(strangers) or 'none'}"
        raise ChannelError(
            f"expected the channels that {who} was fitted on, got others ({what}); map_channels makes signals fit"
        )
    if fitted.sfreq and now.sfreq and abs(fitted.sfreq - now.sfreq) > 1e-4 * fitted.sfreq:
        raise ChannelError(
            f"expected signals at {fitted.sfreq:g} Hz, as {who} was fitted on, got {now.sfreq:g} Hz; resample them"
        )
    if fitted.unit != now.unit and "a.u." not in (fitted.unit, now.unit):
        raise ChannelError(f"expected signals in {fitted.unit}, as {who} was fitted on, got {now.unit}; convert them")


def samples_of(name: str, seconds: float | None, sfreq: float | None, n_times: int) -> int | None:
    """Seconds as samples.

    Raises
    ------
    UsageError
        If it is no number of seconds, the sampling rate is not known, or it is less than one sample.
    InputError
        If it is longer than the trial.
    """
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, Real) or not 0 < seconds < math.inf:
        raise UsageError(f"{name} must be a number of seconds above 0, or None, got {seconds!r}")
    if sfreq is None:
        raise UsageError(
            f"{name} is in seconds and the sampling rate is not known; pass sfreq=..., or fit on mne.Epochs"
        )
    samples = round(float(seconds) * sfreq)
    if samples < 1:
        raise UsageError(f"{name} must be at least one sample (1/{sfreq:g} s), got {seconds!r} s")
    if name == "window" and samples > n_times:
        raise InputError(
            f"window={seconds:g} s is {samples} samples at {sfreq:g} Hz, the trials have {n_times}; give a shorter one"
        )
    return samples


def content_digest(X: Any, *arrays: Any) -> str:
    """SHA-256 of signals, read piece by piece, and of other arrays."""
    hasher = hashlib.sha256(repr(tuple(map(int, X.shape))).encode())
    for _, piece in _pieces(X):
        hasher.update(np.ascontiguousarray(piece).data)
    for array in arrays:
        values = np.asarray("none" if array is None else array)
        hasher.update(f"{values.dtype}{values.shape}".encode())
        hasher.update("\0".join(map(str, values.ravel().tolist())).encode())
    return hasher.hexdigest()
