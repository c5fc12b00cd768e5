"""The one gate for signals: rank, dtype, sizes, finite values, plausible units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.channels import unit_factor
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.joined_epochs import epochs_in, joined_epochs

if TYPE_CHECKING:
    import numpy as np

__all__ = ["check_plausible_units", "check_signals"]

# Median absolute deviation from each channel's median, in V or T: from well below an amplifier's noise to well above
# what a head gives off. Scalp EEG lies near 1e-5 V, depth electrodes near 1e-4 V, magnetometers near 1e-12 T.
_PLAUSIBLE = {"eeg": ("V", 1e-9, 1e-3), "seeg": ("V", 1e-8, 2e-2), "meg": ("T", 1e-16, 1e-8)}
_SMALLER_UNIT = {"V": ("volts", "uV", "microvolts"), "T": ("tesla", "fT", "femtotesla")}


def check_signals(
    X: Any,
    *,
    modality: str | None = None,
    unit: str | None = None,
    sfreq: float | None = None,
    ensure_min_trials: int = 1,
    ensure_min_times: int = 1,
    dtype: Any = "numeric",
    estimator: Any = None,
    reset: bool = True,
    ensure_3d: bool = True,
) -> np.ndarray:
    """Check signals and give them as an array of three axes.

    Parameters
    ----------
    X : array-like of shape (n_trials, n_channels, n_times), or mne.BaseEpochs or a list of them
        Signals; scikit-learn's folds make a list of Epochs. An array of two axes is taken as (n_trials, n_channels) and
        gets a third axis of length one, so that scikit-learn's own checks run on estimators of signals. Never written
        to, and copied only to change its dtype.
    modality : {"eeg", "meg", "seeg", "fmri"}, optional
        With `unit`: implausible amplitudes are refused (see `check_plausible_units`).
    unit : str, optional
        Unit of the numbers in X.
    sfreq : float, optional
        Sampling rate in Hz that the caller relies on; `mne.Epochs` of another rate are refused.
    ensure_min_trials, ensure_min_times : int
        Fewest trials and fewest samples accepted.
    dtype : "numeric", dtype or list of dtype
        "numeric" keeps float32 and float64 and makes float64 of all other numbers. Else as in scikit-learn.
    estimator : estimator, optional
        Whom the check is made for: its ``n_features_in_`` (number of channels) is set, or compared.
    reset : bool
        Whether `estimator` is being fitted (True) or used (False).
    ensure_3d : bool
        Whether to add the third axis to arrays of two.

    Returns
    -------
    array of shape (n_trials, n_channels, n_times)
        The signals, finite floats.

    Raises
    ------
    InputError
        If X has the wrong rank, is empty or too short, holds no numbers, NaN or Inf, or implausible amplitudes.
    ChannelError
        If the number of channels is not the one that `estimator` was fitted on.
    """
    import numpy as np
    from sklearn.utils.validation import check_array, validate_data

    X = _epochs_data(X, sfreq)
    rank = np.ndim(X) if hasattr(X, "shape") else None
    if rank is not None and rank not in (2, 3):
        raise InputError(_rank_text(np.shape(X)))
    if rank == 3 and estimator is not None and not reset:
        fitted = getattr(estimator, "n_features_in_", X.shape[1])
        if X.shape[1] != fitted:
            raise ChannelError(
                f"expected {fitted} channels, as {type(estimator).__name__} was fitted on, got {X.shape[1]}; "
                "map_channels makes signals fit by channel name"
            )
    options = {
        "dtype": [np.float64, np.float32] if isinstance(dtype, str) and dtype == "numeric" else dtype,
        "allow_nd": True,
        "ensure_all_finite": False,  # ours says where
        "ensure_min_samples": ensure_min_trials,
    }
    try:
        if estimator is None:
            X = check_array(X, input_name="X", **options)
        else:
            X = validate_data(estimator, X, reset=reset, **options)
    except ValueError as error:
        raise InputError(" ".join(str(error).split())) from error
    if X.ndim > 3:
        raise InputError(_rank_text(X.shape))
    check_finite(X)
    n_times = X.shape[2] if X.ndim == 3 else 1
    if n_times < ensure_min_times:
        raise InputError(f"expected windows of at least {ensure_min_times} samples, got {n_times}; cut longer windows")
    if modality is not None and unit is not None:
        check_plausible_units(X, unit, modality)
    return X[..., np.newaxis] if ensure_3d and X.ndim == 2 else X


def check_finite(X: np.ndarray) -> None:
    """Refuse NaN and Inf, and say in which trials and channels they are.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels) or (n_trials, n_channels, n_times)
        Signals.

    Raises
    ------
    InputError
        If a value is NaN or Inf.
    """
    import numpy as np

    if X.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(X)):  # one pass without a mask as large as X settles nearly all cases
            return
    trials, channels, kinds = [], set(), set()
    for i, trial in enumerate(X):
        bad = ~np.isfinite(trial)
        if bad.any():
            trials.append(i)
            channels.update(np.flatnonzero(bad.any(axis=-1) if trial.ndim == 2 else bad).tolist())
            kinds.update({"NaN" if np.isnan(value) else "inf" for value in trial[bad][:1000]})
    if trials:
        raise InputError(
            f"expected finite signals, got {' and '.join(sorted(kinds))} in {len(trials)} of {len(X)} trials "
            f"(positions {listed(map(str, trials))}; channels {listed(map(str, sorted(channels)))}); "
            "drop or repair these segments"
        )


def check_plausible_units(X: np.ndarray, unit: str, modality: str) -> None:
    """Refuse amplitudes that no head gives off, nearly always a unit that was mixed up.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels, n_times) or (n_channels, n_times)
        Signals.
    unit : str
        The unit that the numbers are said to be in ("V", "mV", "uV", "T", "fT", ...); "z" and "a.u." are not checked.
    modality : {"eeg", "meg", "seeg", "fmri"}
        Kind of recording; fMRI has no unit and is not checked.

    Raises
    ------
    InputError
        If the typical deviation from a channel's own median is not between 1 nV and 1 mV (EEG), 10 nV and 20 mV
        (sEEG), or 0.1 fT and 10 nT (MEG). An offset does not matter, nor do flat channels and a few artefacts.
    UsageError
        If `unit` measures something else than `modality` does.
    """
    import numpy as np

    if modality not in _PLAUSIBLE or unit in ("z", "a.u."):
        return
    base, low, high = _PLAUSIBLE[modality]
    try:
        factor = unit_factor(unit, base)
    except ChannelError as error:
        raise UsageError(f"unit must be that of {modality}, {base!r} or a part of it, got {unit!r}") from error
    X = np.asarray(X)
    if X.size == 0 or X.ndim < 2 or X.shape[-1] < 2:
        return
    some = X[:: max(1, len(X) // 64)]  # 64 trials settle the unit of any number
    deviation = np.median(np.abs(some - np.median(some, axis=-1, keepdims=True)), axis=-1)
    moving = deviation[deviation > 0]
    if moving.size == 0:
        return
    amplitude = float(np.median(moving)) * factor
    if low <= amplitude <= high:
        return
    name, part, part_name = _SMALLER_UNIT[base]
    text = f"expected {modality} of {low:g} to {high:g} {base}, got a typical amplitude of {amplitude:.2g} {base}"
    if amplitude > high and unit == base:
        raise InputError(f"{text}; looks like {part_name} stored as {name}: pass unit={part!r}")
    if amplitude < low and unit == part:
        raise InputError(f"{text}; looks like {name} taken for {part_name}: pass unit={base!r}")
    raise InputError(f"{text}; check the unit of the data (it was given as {unit!r})")


def _rank_text(shape: tuple[int, ...]) -> str:
    advice = "one trial is X[None], one channel X[:, None]" if len(shape) < 3 else "flatten the axes between"
    return f"expected signals of shape (n_trials, n_channels, n_times), got shape {shape}. Reshape your data: {advice}"


def _epochs_data(X: Any, sfreq: float | None) -> Any:
    epochs = epochs_in(X)
    if epochs is None:
        return X
    if sfreq is not None and abs(epochs.info["sfreq"] - sfreq) > 1e-4 * sfreq:
        raise InputError(f"expected epochs at {sfreq:g} Hz, got {epochs.info['sfreq']:g} Hz; resample them")
    return joined_epochs(X).get_data(copy=False)
