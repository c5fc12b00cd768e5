"""Tangent vectors of many folds of the same covariances, each at the mean of its own training part."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from neurosig.preprocessing.log_maps import LogMaps, as_vectors, inverse_square_root, moved
from neurosig.preprocessing.made_matrices import MadeMatrices, blocks_of
from neurosig.preprocessing.mean_newton import middle, newton_maps
from neurosig.preprocessing.riemann import check_spd
from neurosig.preprocessing.spd_logarithm import congruence, log_spd

__all__ = ["FoldMaps", "coarse_vectors"]

# Scores of folds need no more: tangent vectors then differ from those at the exact mean by less than a millionth
_MEAN_TOL = 1e-6
_COARSE_ERROR = 1e-3  # of a logarithm whose eigenvalues lie between minus two and two or so
_MAX_ITER = 50


class FoldMaps:
    """Covariances of trials, and their tangent vectors at the Riemannian mean of each fold's training part.

    Parameters
    ----------
    covs : array of shape (n_trials, n, n), or MadeMatrices
        Symmetric positive definite matrices.
    trains : sequence of array of int
        Training trials of each fold.

    Attributes
    ----------
    centre : array of shape (n, n)
        Mean of all trials, nearly: a start for the exact one.

    Raises
    ------
    InputError
        If a matrix is not positive definite.

    Notes
    -----
    All trials are decomposed once, at a point near their mean. From there one of Newton's steps, whose curvature is
    that of the fold's training trials, leads so near to the fold's mean that a second decomposition there is the last:
    what is left of the way is followed to first order. The result is the fold's own mean to a relative error of 1e-6:
    nothing of the test trials is in it but rounding. Memory holds the vectors, the same for one fold after the other,
    and eigenvectors in single precision: as much as the covariances take, which themselves need not be kept.
    """

    def __init__(self, covs: np.ndarray | MadeMatrices, trains: Sequence[np.ndarray]):
        covs, self.log_det = check_spd(covs)
        everyone = np.full(len(covs), 1 / len(covs))
        self.weights = [np.bincount(train, minlength=len(covs)) / len(train) for train in trains]
        near = middle(covs, self.log_det, everyone)
        maps = self._maps = LogMaps(covs, near)
        steps = [maps.newton(maps.gradient(weights), weights, goal=4e-3) for weights in self.weights]
        self.starts = [moved(near, step)[0] for step in steps]
        step = maps.newton(maps.gradient(everyone), everyone, goal=4e-3)
        root = np.linalg.inv(moved(near, step)[0])
        self.centre = root @ root.T

    def vectors(self, *, turned: bool = False) -> Iterator[np.ndarray]:
        """Tangent vectors of all trials for one fold after the other.

        Parameters
        ----------
        turned : bool
            Whether all vectors of a fold may be turned alike, which changes no inner product.

        Yields
        ------
        array of shape (n_trials, n * (n + 1) / 2)
            As from `tangent_space`, float64. The next fold's are written over them.
        """
        maps = self._maps
        for weights, start in zip(self.weights, self.starts, strict=True):
            maps.move(start)
            error = newton_maps(maps, self.log_det, weights, _MEAN_TOL, _MAX_ITER)
            if error > _MEAN_TOL:
                warnings.warn(
                    f"the Riemannian mean of a fold is exact to {error:.1g} only; shrink the covariances (estimator "
                    "'oas' or 'lwf') if they are nearly singular",
                    ConvergenceWarning,
                    stacklevel=2,
                )
            maps.forget_frames()  # so that who uses the vectors has their memory
            yield maps.vectors if turned else maps.in_symmetric_frame()


def coarse_vectors(covs: np.ndarray | MadeMatrices) -> np.ndarray:
    """Tangent vectors at the arithmetic mean, in single precision.

    Parameters
    ----------
    covs : array of shape (n_trials, n, n), or MadeMatrices
        Symmetric positive definite matrices.

    Returns
    -------
    array of shape (n_trials, n * (n + 1) / 2)
        As from `tangent_space`, but for errors of a thousandth; float32.
    """
    covs, log_det = check_spd(covs)
    reference = np.zeros(covs.shape[1:])
    for block in blocks_of(covs):
        reference += covs[block].sum(axis=0) / len(covs)
    whitening = inverse_square_root(reference)
    log_det = log_det - np.linalg.slogdet(reference)[1]
    n = len(reference)
    vectors = np.empty((len(covs), n * (n + 1) // 2), np.float32)
    for block in blocks_of(covs):
        # covariances at small lags are too nearly singular to be whitened in single precision
        whitened = congruence(whitening, covs[block]).astype(np.float32)
        vectors[block] = as_vectors(log_spd(whitened, log_det[block], _COARSE_ERROR))
    return vectors
