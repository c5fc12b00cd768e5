"""Independent components, found fast: whitened once, solved roughly on few samples, finished on all."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.log import logger
from neurosig.preprocessing.faster_signals import Recorded

if TYPE_CHECKING:
    import mne

__all__ = ["ICA_METHODS", "Decomposition", "apply_matrix", "average_reference", "component_count", "fit_decomposition"]

ICA_METHODS = ("fastica", "infomax", "picard")
SAMPLES_PER_WEIGHT = 25  # the paper's k: samples for each of the n * n weights
_ROUGH_SAMPLES = 5  # the same for the first, rough solution that the full one starts from
_ROUGH_ITERATIONS, _FULL_ITERATIONS = 200, 40
_BLOCK = 4096  # samples that stay in the cache with their sources


@dataclass(frozen=True)
class Decomposition:
    """Signals as a mixture of independent components: ``sources = unmixing @ (signals - mean)``.

    Parameters
    ----------
    ch_names : tuple of str
        Channels it was fitted on.
    mean : array of shape (n_channels,)
        What is taken off before.
    unmixing : array of shape (n_components, n_channels)
        From signals to sources.
    mixing : array of shape (n_channels, n_components)
        From sources to signals in the reference that they were recorded in: what to take off with a component.
    maps : array of shape (n_components, n_channels)
        The components' maps, in units in which channel types are comparable.
    average_reference : bool
        Whether the EEG channels are re-referenced to their average before.
    """

    ch_names: tuple[str, ...]
    mean: np.ndarray
    unmixing: np.ndarray
    mixing: np.ndarray
    maps: np.ndarray
    average_reference: bool = False

    @classmethod
    def from_mne(cls, ica: mne.preprocessing.ICA) -> Decomposition:
        """Take over a fitted `mne.preprocessing.ICA`.

        Parameters
        ----------
        ica : mne.preprocessing.ICA
            Fitted, without a noise covariance.

        Returns
        -------
        Decomposition
            The same decomposition as two matrices.

        Raises
        ------
        InputError
            If `ica` is not fitted.
        UsageError
            If it was fitted with a noise covariance.
        """
        if getattr(ica, "unmixing_matrix_", None) is None:
            raise InputError("the ICA is not fitted; call its fit with the epochs first")
        if ica.noise_cov is not None:
            raise UsageError("expected an ICA without a noise covariance; fit one with noise_cov=None")
        n = ica.n_components_
        scale = np.asarray(ica.pre_whitener_, dtype=np.float64).reshape(-1)
        rotation = ica.pca_components_[:n]
        mean = np.zeros(len(scale)) if ica.pca_mean_ is None else ica.pca_mean_
        maps = ica.mixing_matrix_.T @ rotation
        return cls(
            tuple(ica.ch_names),
            mean * scale,
            ica.unmixing_matrix_ @ rotation / scale,
            (maps * scale).T,
            maps,
        )

    def removal(self, components: np.ndarray, ch_types: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """What takes components out of signals, in the reference that they were recorded in.

        Parameters
        ----------
        components : array of int
            Which.
        ch_types : sequence of str
            Types of the decomposition's channels.

        Returns
        -------
        matrix : array of shape (n_channels, n_channels)
            What signals are multiplied by.
        offset : array of shape (n_channels,)
            What is added then.
        """
        forward = self.unmixing[components]
        if self.average_reference:
            forward = forward @ average_reference(ch_types)
        mixing = self.mixing[:, components]
        return np.eye(len(mixing)) - mixing @ forward, mixing @ (self.unmixing[components] @ self.mean)

    def sources(self, signals: Recorded, epochs: np.ndarray | None = None) -> np.ndarray:
        """Activity of the components.

        Parameters
        ----------
        signals : Recorded
            Signals that hold the decomposition's channels.
        epochs : array of int, optional
            Only these.

        Returns
        -------
        array of shape (n_components, n_epochs * n_times)
            Sources of all epochs laid end to end.

        Raises
        ------
        ChannelError
            If a channel is missing.
        """
        place = {name: i for i, name in enumerate(signals.ch_names)}
        missing = [name for name in self.ch_names if name not in place]
        if missing:
            raise ChannelError(f"the components were fitted on channels that are not there: {', '.join(missing)}")
        picks = np.array([place[name] for name in self.ch_names])
        unmixing = self.unmixing
        if self.average_reference:
            unmixing = unmixing @ average_reference([signals.ch_types[i] for i in picks])
        chosen = range(len(signals.X)) if epochs is None else epochs
        n_times = signals.X.shape[2]
        found = np.empty((len(unmixing), len(chosen), n_times))
        offset = (self.unmixing @ self.mean)[:, np.newaxis]
        for i, epoch in enumerate(chosen):
            np.subtract(unmixing @ signals.X[epoch, picks].astype(np.float64, copy=False), offset, out=found[:, i])
        return found.reshape(len(unmixing), -1)


def apply_matrix(matrix: np.ndarray, offset: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Multiply every epoch by a matrix and add an offset.

    Parameters
    ----------
    matrix : array of shape (n_channels, n_channels)
        The matrix.
    offset : array of shape (n_channels,)
        The offset.
    X : array of shape (n_epochs, n_channels, n_times)
        Signals.

    Returns
    -------
    array of shape (n_epochs, n_channels, n_times)
        The result, in the precision of X.
    """
    return np.matmul(matrix.astype(X.dtype), X) + offset[:, np.newaxis].astype(X.dtype)


def average_reference(ch_types: Sequence[str]) -> np.ndarray:
    """Matrix that re-references the EEG channels to their average and leaves the others.

    Parameters
    ----------
    ch_types : sequence of str
        Types of the channels.

    Returns
    -------
    array of shape (n_channels, n_channels)
        The matrix.
    """
    eeg = np.array([kind == "eeg" for kind in ch_types], dtype=np.float64)
    return np.eye(len(eeg)) - np.outer(eeg, eeg) / max(eeg.sum(), 1.0)


def component_count(n_samples: int, n_good: int) -> int:
    """The paper's number of components: as many as the samples can settle.

    Parameters
    ----------
    n_samples : int
        Samples in all epochs together.
    n_good : int
        Channels that were not interpolated.

    Returns
    -------
    int
        ``min(sqrt(n_samples / 25), n_good - 1)``, at least one.
    """
    return max(1, min(int(np.sqrt(n_samples / SAMPLES_PER_WEIGHT)), n_good - 1))


def fit_decomposition(
    signals: Recorded,
    *,
    n_components: int | None = None,
    method: str = "fastica",
    random_state: Any = 0,
    bads: Sequence[str] = (),
    epochs: np.ndarray | None = None,
    reference: bool = True,
) -> Decomposition:
    """Fit independent components: whiten once, solve roughly on few samples, finish on all.

    Parameters
    ----------
    signals : Recorded
        Signals.
    n_components : int, optional
        Number of components; by default the paper's rule. Never more than the rank of the signals.
    method : {"fastica", "infomax", "picard"}
        Symmetric FastICA in single precision; mne's extended Infomax, which is the paper's and slow; Picard, which
        needs the package python-picard.
    random_state : int, RandomState or None
        Seed of the first guess.
    bads : sequence of str
        Channels that are left out.
    epochs : array of int, optional
        Epochs to fit on; by default all.
    reference : bool
        Whether EEG channels are re-referenced to their average first, as the paper does.

    Returns
    -------
    Decomposition
        Components in the order of the variance that they explain, each map's largest value positive.

    Raises
    ------
    UsageError
        If an option is unknown, or Picard is not installed.
    InputError
        If the signals are constant.
    """
    if method not in ICA_METHODS:
        raise UsageError(f"ica must be one of {', '.join(map(repr, ICA_METHODS))}, got {method!r}")
    if n_components is not None and not (isinstance(n_components, int | np.integer) and n_components >= 1):
        raise UsageError(f"n_components must be a whole number of at least 1 or None, got {n_components!r}")
    picks = signals.picks(exclude=bads)
    types = [signals.ch_types[i] for i in picks]
    chosen = np.arange(len(signals.X)) if epochs is None else np.asarray(epochs)
    n_samples = len(chosen) * signals.X.shape[2]
    turn = average_reference(types) if reference else np.eye(len(picks))
    mean, recorded = _moments(signals.X, picks, chosen)
    mean, covariance = turn @ mean, turn @ recorded @ turn.T
    scale = _type_scale(types, covariance)
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    values, vectors = values[::-1], vectors[:, ::-1]
    rank = int((values > 1e-10 * values[0]).sum()) if values[0] > 0 else 0
    if not rank:
        raise InputError("expected signals that vary, got constant ones: there are no components to find")
    n = min(component_count(n_samples, len(picks)) if n_components is None else n_components, rank)
    # signs that do not depend on the order of channels
    vectors = vectors[:, :n] * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(picks))])[:n]
    whitening = (vectors / np.sqrt(values[:n])).T / scale
    white = np.empty((n, n_samples), dtype=np.float32)
    n_times = signals.X.shape[2]
    offset = (whitening @ mean)[:, np.newaxis]
    forward = whitening @ turn
    for i, epoch in enumerate(chosen):
        white[:, i * n_times : (i + 1) * n_times] = forward @ signals.X[epoch, picks].astype(np.float64) - offset
    rotation = _rotate(white, method, random_state) if n > 1 else np.eye(1)
    unmixing = rotation @ whitening
    maps = (np.linalg.pinv(rotation).T * np.sqrt(values[:n])) @ vectors.T
    order = np.argsort(-(maps**2).sum(axis=1), kind="stable")
    sign = np.sign(maps[np.arange(n), np.abs(maps).argmax(axis=1)])[order, np.newaxis]
    maps, unmixing = maps[order] * sign, unmixing[order] * sign
    names = tuple(signals.ch_names[i] for i in picks)
    # what a component adds to the signals as recorded: its map before the average was taken off
    shared = unmixing @ covariance @ unmixing.T  # Infomax leaves its sources correlated
    mixing = np.linalg.solve(shared, unmixing @ turn @ recorded).T
    return Decomposition(names, mean, unmixing, mixing, maps, reference)


def _moments(X: np.ndarray, picks: np.ndarray, epochs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance over all samples of some epochs, without a copy of them all."""
    n_times = X.shape[2]
    sums = np.array([X[epoch, picks].sum(axis=-1, dtype=np.float64) for epoch in epochs])
    mean = sums.sum(axis=0) / (n_times * len(epochs))
    covariance = np.zeros((len(picks), len(picks)))
    for epoch in epochs:
        x = X[epoch, picks] - mean[:, np.newaxis]
        covariance += x @ x.T
    return mean, covariance / (n_times * len(epochs))


def _type_scale(types: Sequence[str], covariance: np.ndarray) -> np.ndarray:
    """One number for the channels of each type, so that volts and tesla can be decomposed together."""
    kinds = np.array(types)
    scale = np.ones(len(kinds))
    for kind in dict.fromkeys(types):
        spread = np.sqrt(np.diag(covariance)[kinds == kind].mean())
        scale[kinds == kind] = spread or 1.0
    return scale


def _rotate(white: np.ndarray, method: str, random_state: Any) -> np.ndarray:
    from sklearn.utils import check_random_state

    n, n_samples = white.shape
    random = check_random_state(random_state)
    if method == "infomax":
        from mne.preprocessing import infomax

        seed = int(random.randint(2**31 - 1))
        return infomax(white.T.astype(np.float64), extended=True, random_state=seed, verbose="error")
    start = _decorrelate(random.standard_normal((n, n)))
    stride = max(1, n_samples // (_ROUGH_SAMPLES * n * n))
    solve = _fastica if method == "fastica" else _picard
    if stride > 1:
        start, _ = solve(np.ascontiguousarray(white[:, ::stride]), start, _ROUGH_ITERATIONS)
    rotation, settled = solve(white, start, _FULL_ITERATIONS if stride > 1 else _ROUGH_ITERATIONS)
    if not settled:
        logger.info("%s of %d components did not settle; Gaussian ones never do", method, n)
    return rotation


def _fastica(white: np.ndarray, rotation: np.ndarray, max_iter: int, tol: float = 1e-4) -> tuple[np.ndarray, bool]:
    """Symmetric FastICA with the log-cosh contrast, in single precision but for the orthogonalisation."""
    n, n_samples = white.shape
    for _ in range(max_iter):
        moment = np.zeros((n, n))
        slope = np.zeros(n)
        step = rotation.astype(np.float32)
        for first in range(0, n_samples, _BLOCK):
            z = white[:, first : first + _BLOCK]
            g = np.tanh(step @ z)
            moment += g @ z.T
            slope += np.einsum("it,it->i", g, g)
        update = _decorrelate(moment / n_samples - (1.0 - slope / n_samples)[:, np.newaxis] * rotation)
        change = np.abs(np.abs(np.einsum("ij,ij->i", update, rotation)) - 1.0).max()
        rotation = update
        if change < tol:
            return rotation, True
    return rotation, False


def _picard(white: np.ndarray, rotation: np.ndarray, max_iter: int) -> tuple[np.ndarray, bool]:
    try:
        from picard import picard
    except ImportError as error:
        raise UsageError("ica='picard' needs the package python-picard: pip install 'neurosig[clean]'") from error
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        _, found, _ = picard(
            white.astype(np.float64), ortho=True, extended=True, whiten=False, centering=False, w_init=rotation,
            max_iter=max_iter, tol=1e-6, random_state=0,
        )  # fmt: skip
    return found, not said


def _decorrelate(matrix: np.ndarray) -> np.ndarray:
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    return u @ v
