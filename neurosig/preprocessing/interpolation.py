"""Bad channels made of good ones: weights depend on positions only and are kept for each set of bad channels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from neurosig.core.errors import ChannelError, UsageError

if TYPE_CHECKING:
    import mne

__all__ = ["METHODS", "Interpolator", "interpolator", "sphere_positions", "spline_weights"]

METHODS = ("auto", "spline", "mean")
_STIFFNESS, _LEGENDRE_TERMS, _RIDGE = 4, 50, 1e-5  # Perrin et al. 1989; the ridge is mne's
_FEWEST_GOOD = {"spline": 4, "mean": 1}
_HEAD_CENTRE = (0.0, 0.0, 0.04)  # metres, where there are no digitised points to fit a sphere to
_SPHERICAL = ("eeg",)
_FIELDS = ("mag", "grad")


def spline_weights(positions: np.ndarray, bad: Sequence[int]) -> np.ndarray:
    """Spherical-spline weights of the good channels for each bad one.

    Parameters
    ----------
    positions : array of shape (n_channels, 3)
        Electrode positions relative to the centre of the sphere.
    bad : sequence of int
        Bad channels.

    Returns
    -------
    array of shape (n_bad, n_good)
        Weights, good channels in their order.
    """
    return _spline_weights(_spline_kernel(positions), np.asarray(bad, dtype=int))


def sphere_positions(info: mne.Info, picks: Sequence[int]) -> np.ndarray | None:
    """Positions of EEG channels relative to the centre of the sphere that fits the head, as mne interpolates by.

    Parameters
    ----------
    info : mne.Info
        Holds the positions.
    picks : sequence of int
        EEG channels.

    Returns
    -------
    array of shape (n_picks, 3), or None
        In metres; None if a channel has no position of its own.
    """
    import mne

    positions = np.array([info["chs"][i]["loc"][:3] for i in picks])
    if not np.isfinite(positions).all() or (positions == 0).all(axis=1).any():
        return None
    if len(np.unique(positions, axis=0)) < len(positions) or len(positions) < 4:
        return None
    points = info["dig"] or ()
    if not points or not all(np.isfinite(point["r"]).all() for point in points):
        # none were digitised, or a channel without a place left a point without one: the positions are the points
        names = [info["ch_names"][i] for i in picks]
        info = mne.create_info(names, 1.0, "eeg", verbose="error")
        montage = mne.channels.make_dig_montage(dict(zip(names, positions, strict=True)), coord_frame="head")
        info.set_montage(montage, verbose="error")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a head that is larger or farther off than usual
        _, centre, _ = mne.bem.fit_sphere_to_headshape(info, units="m", verbose="error")
    return positions - centre


class Interpolator:
    """Replaces bad channels by what the good ones of their type say.

    Parameters
    ----------
    ch_types : sequence of str
        mne's channel types; channels of types other than data are never touched.
    positions : array of shape (n_channels, 3), optional
        Of EEG channels, relative to the centre of the head; NaN for the others.
    info : str, optional
        The channels' `mne.Info` as JSON, for MEG sensors, whose fields are mapped by mne.
    method : {"auto", "spline", "mean"}
        "spline" is spherical splines for EEG and minimum-norm field mapping for MEG, from sensors of the same type;
        "mean" is the mean of the good channels; "auto" is the first where there are positions, else the second.

    Raises
    ------
    ChannelError
        If `method` is "spline" and positions are missing.
    UsageError
        If `method` is unknown.
    """

    def __init__(
        self,
        ch_types: Sequence[str],
        positions: np.ndarray | None = None,
        info: str | None = None,
        method: str = "auto",
    ):
        if method not in METHODS:
            raise UsageError(f"interpolation must be one of {', '.join(map(repr, METHODS))} or None, got {method!r}")
        self._info = info
        self._weights: dict[tuple[int, ...], list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
        self._groups: list[tuple[str, np.ndarray]] = []
        self._kernels: dict[str, np.ndarray] = {}
        self.by_mean: tuple[str, ...] = ()
        types = np.array(ch_types)
        for kind in dict.fromkeys(ch_types):
            if kind in ("eog", "misc", "stim", "ecg", "emg", "resp", "bio"):
                continue
            group = np.flatnonzero(types == kind)
            how = method
            if how != "mean":
                how = self._spline_or_mean(kind, group, positions, method)
            if how == "mean" and method == "auto":
                self.by_mean += (kind,)
            self._groups.append((how, group))

    def _spline_or_mean(self, kind: str, group: np.ndarray, positions: np.ndarray | None, method: str) -> str:
        if kind in _SPHERICAL and positions is not None and np.isfinite(positions[group]).all():
            self._kernels["spline"] = _spline_kernel(positions[group])
            return "spline"
        if kind in _FIELDS and self._info is not None and _are_located(_read_info(self._info), group):
            return "fields"
        if method == "spline":
            raise ChannelError(
                f"interpolating {len(group)} {kind} channels needs their positions; set a montage, pass info or names "
                "of the 10-05 system, or choose interpolation='mean'"
            )
        return "mean"

    def __call__(self, X: np.ndarray, bad: np.ndarray) -> np.ndarray:
        """Interpolate in place.

        Parameters
        ----------
        X : array of shape (n_epochs, n_channels, n_times)
            Signals, changed.
        bad : array of bool of shape (n_epochs, n_channels)
            What to replace.

        Returns
        -------
        array of bool of shape (n_epochs, n_channels)
            What was left as it is, because too few good channels of its type remain.
        """
        left = bad.copy()
        for epoch in np.flatnonzero(bad.any(axis=1)):
            for targets, sources, weights in self._plan(tuple(np.flatnonzero(bad[epoch]).tolist())):
                X[epoch, targets] = weights @ X[epoch, sources]
                left[epoch, targets] = False
        return left

    def _plan(self, bad: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        if bad not in self._weights:
            self._weights[bad] = []
            for method, group in self._groups:
                is_bad = np.isin(group, bad)
                targets, sources = group[is_bad], group[~is_bad]
                if not len(targets) or len(sources) < _FEWEST_GOOD.get(method, 4):
                    continue
                if method == "spline":
                    weights = _spline_weights(self._kernels["spline"], np.flatnonzero(is_bad))
                elif method == "fields":
                    weights = self._field_weights(targets, sources)
                else:
                    weights = np.full((len(targets), len(sources)), 1 / len(sources))
                self._weights[bad].append((targets, sources, weights))
        return self._weights[bad]

    def _field_weights(self, targets: np.ndarray, sources: np.ndarray) -> np.ndarray:
        import mne

        # mne maps from sensors of both types, also from those that are bad or have no positions
        group = np.union1d(targets, sources)
        info = mne.pick_info(_read_info(self._info), group)
        with info._unlock():
            info["projs"] = []
        rows, columns = np.searchsorted(group, targets), np.searchsorted(group, sources)
        info["bads"] = [info["ch_names"][i] for i in rows]
        unit = mne.EvokedArray(np.eye(len(group)), info, verbose="error")
        origin = "auto" if info["dig"] else _HEAD_CENTRE
        # of unit vectors: the weights themselves
        unit.interpolate_bads(reset_bads=False, origin=origin, verbose="error")
        return unit.data[np.ix_(rows, columns)]


@lru_cache(maxsize=16)
def _interpolator(types: tuple[str, ...], positions: bytes | None, info: str | None, method: str) -> Interpolator:
    array = None if positions is None else np.frombuffer(positions).reshape(-1, 3)
    return Interpolator(types, array, info, method)


def interpolator(ch_types: Sequence[str], positions: np.ndarray | None, info: str | None, method: str) -> Interpolator:
    """The interpolator of these channels, with the weights that were computed before.

    Parameters
    ----------
    ch_types, positions, info, method
        As for `Interpolator`.

    Returns
    -------
    Interpolator
        One and the same for the same arguments.
    """
    data = None if positions is None else np.ascontiguousarray(positions, dtype=np.float64).tobytes()
    return _interpolator(tuple(ch_types), data, info, method)


def _read_info(text: str | None) -> mne.Info:
    import json

    import mne

    return mne.Info.from_json_dict(json.loads(text or "{}"))


def _are_located(info: mne.Info, picks: np.ndarray) -> bool:
    """Whether each sensor has a position of its own; gradiometers of one place differ in their directions."""
    places = np.array([info["chs"][i]["loc"][:12] for i in picks])
    known = np.isfinite(places).all() and (places[:, :3] != 0).any(axis=1).all()
    return bool(known) and len(np.unique(places, axis=0)) == len(places)


def _spline_kernel(positions: np.ndarray) -> np.ndarray:
    unit = positions / np.linalg.norm(positions, axis=1, keepdims=True)
    n = np.arange(1, _LEGENDRE_TERMS + 1)
    factors = (2 * n + 1) / (n**_STIFFNESS * (n + 1.0) ** _STIFFNESS * 4 * np.pi)
    return np.polynomial.legendre.legval(np.clip(unit @ unit.T, -1.0, 1.0), np.concatenate([[0.0], factors]))


def _spline_weights(kernel: np.ndarray, bad: np.ndarray) -> np.ndarray:
    good = np.setdiff1d(np.arange(len(kernel)), bad)
    system = np.ones((len(good) + 1, len(good) + 1))
    system[:-1, :-1] = kernel[np.ix_(good, good)]
    system[np.arange(len(good)), np.arange(len(good))] += _RIDGE
    system[-1, -1] = 0.0
    target = np.ones((len(good) + 1, len(bad)))
    target[:-1] = kernel[np.ix_(good, bad)]
    return np.linalg.solve(system, target)[:-1].T  # the system is symmetric
