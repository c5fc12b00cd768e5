"""Runs of region series, whose lengths may differ: checked, and filled up to one array where that is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import ChannelError, InputError
from neurosig.core.joined_epochs import epochs_in
from neurosig.core.signals import SignalDataset
from neurosig.core.validation import check_signals

if TYPE_CHECKING:
    import numpy as np

__all__ = ["check_runs", "checked_runs", "missing_regions", "padded"]


def check_runs(
    X: Any,
    *,
    estimator: Any = None,
    reset: bool = True,
    min_times: int = 1,
    allow_missing: bool = False,
) -> list[np.ndarray]:
    """Check runs of region series and give them one by one.

    Parameters
    ----------
    X : array of shape (n_runs, n_regions, n_times), sequence of arrays (n_regions, n_times), or SignalDataset
        Runs, of one length or of several. An array of two axes is taken as (n_runs, n_regions), one volume each, so
        that scikit-learn's own checks run. Never written to.
    estimator : estimator, optional
        Whom the check is made for: its ``n_features_in_`` (number of regions) is set, or compared.
    reset : bool
        Whether `estimator` is being fitted (True) or used (False).
    min_times : int
        Fewest volumes of a run that are accepted.
    allow_missing : bool
        Whether a region may be NaN for a whole run (a parcel outside the field of view). NaN in part of a run is
        refused always.

    Returns
    -------
    list of array of shape (n_regions, n_times)
        Float32 where that is what came, else float64; views where the type need not change.

    Raises
    ------
    InputError
        If there is no run, a run has the wrong rank, holds no numbers, is too short, or is not finite.
    ChannelError
        If runs differ in their number of regions, or from what `estimator` was fitted on.
    """
    return list(checked_runs(X, estimator=estimator, reset=reset, min_times=min_times, allow_missing=allow_missing))


def checked_runs(
    X: Any,
    *,
    estimator: Any = None,
    reset: bool = True,
    min_times: int = 1,
    allow_missing: bool = False,
) -> Iterator[np.ndarray]:
    """Check runs one after the other, as `check_runs` does: of runs that are read from disk, memory holds one.

    Parameters
    ----------
    X : array of shape (n_runs, n_regions, n_times), sequence of arrays (n_regions, n_times), or SignalDataset
        As there.
    estimator : estimator, optional
        As there; it is told the number of regions when the first run is taken.
    reset, min_times, allow_missing
        As there.

    Yields
    ------
    array of shape (n_regions, n_times)

    Raises
    ------
    InputError, ChannelError
        As there, when the run in question is taken.
    """
    import numpy as np

    if isinstance(X, SignalDataset):
        X = X.X
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = list(X)  # runs of different lengths, as NumPy keeps them
    if not _is_list_of_runs(X):
        array = np.asarray(X) if allow_missing and epochs_in(X) is None else None
        if array is None or array.ndim != 3 or not _has_missing(array):
            yield from check_signals(X, estimator=estimator, reset=reset, ensure_min_times=min_times)
            return
        X = array
    n_runs, n_regions = 0, -1
    for place, run in enumerate(X):
        run = _run(run, place)
        if place == 0:
            n_regions = len(run)
            _compare_regions(estimator, n_regions, reset)
        elif len(run) != n_regions:
            raise ChannelError(
                f"expected runs with the same regions, run 0 has {n_regions} and run {place} has {len(run)}; load them "
                "with one atlas, which keeps regions that a run lacks by name"
            )
        if run.shape[1] < min_times:
            raise InputError(f"expected runs of at least {min_times} volumes, run {place} has {run.shape[1]}")
        _check_finite(run, place, allow_missing)
        n_runs += 1
        yield run
    if not n_runs:
        raise InputError("expected at least one run of shape (n_regions, n_times), got an empty list")


def missing_regions(run: np.ndarray) -> np.ndarray:
    """Which regions a run lacks.

    Parameters
    ----------
    run : array of shape (..., n_regions, n_times)
        Series, NaN where a region is missing.

    Returns
    -------
    bool array of shape (..., n_regions)
    """
    import numpy as np

    return np.isnan(run).all(axis=-1)


def padded(runs: Sequence[np.ndarray], n_times: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Runs of different lengths as one array, filled up with NaN.

    Parameters
    ----------
    runs : sequence of array of shape (n_regions, n_times)
        As from `check_runs`.
    n_times : int, optional
        Length of the array; the longest run's by default.

    Returns
    -------
    X : float32 array of shape (n_runs, n_regions, n_times)
        The series, NaN after the end of a run.
    lengths : int array of shape (n_runs,)
        Volumes of each run.

    Raises
    ------
    InputError
        If a run is longer than `n_times`.
    """
    import numpy as np

    lengths = np.array([run.shape[1] for run in runs])
    if n_times is not None and lengths.max() > n_times:
        raise InputError(f"expected runs of at most {n_times} volumes, run {lengths.argmax()} has {lengths.max()}")
    X = np.full((len(runs), len(runs[0]), n_times or lengths.max()), np.nan, dtype=np.float32)
    for place, run in enumerate(runs):
        X[place, :, : run.shape[1]] = run
    return X, lengths


def _is_list_of_runs(X: Any) -> bool:
    """Whether X is a sequence whose items are runs, not an array or a plain nested list of numbers."""
    if hasattr(X, "shape") or hasattr(X, "get_data") or not isinstance(X, Sequence) or isinstance(X, str):
        return False
    return len(X) == 0 or getattr(X[0], "ndim", None) == 2


def _run(run: Any, place: int) -> np.ndarray:
    import numpy as np

    run = np.asarray(run)
    if run.ndim != 2:
        raise InputError(f"expected runs of shape (n_regions, n_times), run {place} has shape {run.shape}")
    if not len(run):
        raise InputError(f"expected runs of shape (n_regions, n_times), run {place} has no region")
    if run.dtype.kind not in "fiub":
        raise InputError(f"expected numbers, run {place} holds {run.dtype}")
    return run if run.dtype in (np.float32, np.float64) else run.astype(np.float64)


def _has_missing(X: np.ndarray) -> bool:
    import numpy as np

    return X.dtype.kind == "f" and bool(np.isnan(X).any())


def _compare_regions(estimator: Any, n_regions: int, reset: bool) -> None:
    if estimator is None:
        return
    if reset:
        estimator.n_features_in_ = n_regions
        if hasattr(estimator, "feature_names_in_"):  # of a data frame that it was fitted on before
            del estimator.feature_names_in_
        return
    fitted = getattr(estimator, "n_features_in_", n_regions)
    if n_regions != fitted:
        raise ChannelError(
            f"expected {fitted} regions, as {type(estimator).__name__} was fitted on, got {n_regions}; "
            "map_channels makes series fit by region name"
        )


def _check_finite(run: np.ndarray, place: int, allow_missing: bool) -> None:
    import numpy as np

    bad = ~np.isfinite(run)
    if not bad.any():
        return
    whole = np.isnan(run).all(axis=1)
    partly = np.flatnonzero(bad.any(axis=1) & ~whole)
    if len(partly):
        raise InputError(
            f"expected finite series, run {place} has NaN or inf in part of regions {listed(map(str, partly))}; "
            "drop these volumes (a sample mask) or repair them"
        )
    if not allow_missing:
        raise InputError(
            f"expected finite series, run {place} lacks regions {listed(map(str, np.flatnonzero(whole)))} (NaN "
            "throughout); drop them from all runs, or fill them in (sklearn.impute works on features made of them)"
        )
    if whole.all():
        raise InputError(f"run {place} lacks all regions: is its atlas in the space of the image?")
