"""Scores of all classifiers on one pair of order and lag, from matrices that they share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurosig.core.errors import InputError
from neurosig.preprocessing.augmented_covariance import (
    covariance_matrices,
    floor_eigenvalues,
    mean_variance,
    resolve_estimator,
    why_singular,
)
from neurosig.preprocessing.fold_maps import FoldMaps, coarse_vectors
from neurosig.preprocessing.lagged_products import LaggedProducts, stacked_length
from neurosig.preprocessing.made_matrices import MadeMatrices, packed_matrices

__all__ = ["PairScores", "SharedKernels", "Task", "View", "fold_views", "made_covariances", "score_pair"]


@dataclass(frozen=True)
class Task:
    """One pair of order and lag, and what is to be scored on it.

    Parameters
    ----------
    order, lag : int
        The pair.
    estimators : list of str
        Estimators of the covariance.
    settings : list of dict
        Parameters of the classifier.
    method, trim, floor, max_size, precision : object
        As in `AugmentedCovarianceSearch`.
    """

    order: int
    lag: int
    estimators: list[str]
    settings: list[dict[str, Any]]
    method: str
    trim: str | int
    floor: float | None
    max_size: str | int | None
    precision: str


@dataclass(frozen=True)
class View:
    """Signals of all trials as some of the folds see them.

    Parameters
    ----------
    products : LaggedProducts
        The signals.
    folds : list of (int, (array, array))
        Position of each fold, with its training and test trials.
    variance : float, optional
        Mean variance of the training trials, of which `floor` is a fraction where a trial is constant. None is that of
        all trials.
    """

    products: LaggedProducts
    folds: list[tuple[int, tuple[np.ndarray, np.ndarray]]]
    variance: float | None = None


@dataclass(frozen=True)
class PairScores:
    """Scores on one pair of order and lag.

    Parameters
    ----------
    scores : array of shape (n_estimators, n_settings, n_folds)
        NaN where there is none.
    problems : list of str
        For each estimator why there is no score, or an empty text.
    centres : list of array
        For each estimator a matrix near the mean of all trials, or None.
    """

    scores: np.ndarray
    problems: list[str]
    centres: list[np.ndarray | None]

    @property
    def best(self) -> float:
        """Highest mean score; minus infinity where there is none."""
        means = self.scores.mean(axis=2)
        return float(np.max(means, where=np.isfinite(means), initial=-np.inf))

    def without_centres(self) -> PairScores:
        """The same scores alone."""
        return replace(self, centres=[None] * len(self.problems))


def fold_views(
    X: np.ndarray, y: np.ndarray, folds: list, delays: list[int], reduction: Any, shortest: int | None
) -> list[View]:
    """Signals as the folds see them: the same for all, unless something is learned on each training part.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels, n_times)
        Signals.
    y : array of shape (n_trials,)
        Labels.
    folds : list of (array, array)
        Training and test trials.
    delays : list of int
        As in `LaggedProducts`.
    reduction : transformer or None
        Learned on each training part.
    shortest : int or None
        Fewest samples of a stacked copy; None where eigenvalues have no floor. Of a trial that is constant in so many,
        the floor is a fraction of the training trials' variance, which is another one in each fold.

    Returns
    -------
    list of View
        One for all folds, or one for each.
    """
    from sklearn.base import clone

    products = LaggedProducts(X, delays) if reduction is None else None
    if products is not None and (shortest is None or not _has_constant(products.X[..., :shortest])):
        return [View(products, list(enumerate(folds)))]
    views = []
    for i, (train, test) in enumerate(folds):
        its = products
        if its is None:
            its = LaggedProducts(clone(reduction).fit(X[train], y[train]).transform(X), delays)
        views.append(View(its, [(i, (train, test))], None if shortest is None else mean_variance(its.X[train])))
    return views


def _has_constant(X: np.ndarray) -> bool:
    """Whether a trial is, to within rounding errors, constant in every channel."""
    return bool(np.any(np.ptp(X, axis=-1).max(axis=1) <= 1e-9 * np.abs(X).max(initial=0.0)))


def score_pair(task: Task, views: list[View], y: np.ndarray, classifier: Any, scorer: Any) -> tuple[Task, PairScores]:
    """Score every setting of the classifier on one pair of order and lag.

    Parameters
    ----------
    task : Task
        What to score.
    views : list of View
        The signals.
    y : array of shape (n_trials,)
        Labels.
    classifier : classifier
        Not fitted; cloned.
    scorer : callable
        ``scorer(fitted, X, y)``.

    Returns
    -------
    task : Task
        What was scored.
    result : PairScores
        The scores.
    """
    n_folds = sum(len(view.folds) for view in views)
    scores = np.full((len(task.estimators), len(task.settings), n_folds), np.nan)
    problems = [""] * len(task.estimators)
    centres: list[np.ndarray | None] = [None] * len(task.estimators)
    for i, estimator in enumerate(task.estimators):
        try:
            for view in views:
                centre = _score_view(task, estimator, view, y, classifier, scorer, scores[i])
                centres[i] = centre if len(views) == 1 else None
        except InputError as error:
            scores[i], problems[i] = np.nan, str(error)
    return task, PairScores(scores, problems, centres)


def _score_view(
    task: Task, estimator: str, view: View, y: np.ndarray, classifier: Any, scorer: Any, scores: np.ndarray
) -> np.ndarray | None:
    """Fill in the scores of a view's folds; a matrix near the mean of its trials, where one is found on the way."""
    from sklearn.svm import SVC

    parts: Iterator[np.ndarray]
    matrices = pair_matrices(task, estimator, view)
    centre = None
    if task.precision == "coarse":
        parts = itertools.repeat(coarse_vectors(matrices))
        del matrices
    else:
        maps = FoldMaps(matrices, [train for _, (train, _) in view.folds])
        parts = maps.vectors(turned=type(classifier) is SVC and not callable(classifier.kernel))
        centre = maps.centre
    for fold, (train, test) in view.folds:
        # no name for the vectors, which would keep one fold's while those of the next are made
        scores[:, fold] = _score_fold(task, next(parts), y, train, test, classifier, scorer)
    return centre


def pair_matrices(task: Task, estimator: str, view: View) -> MadeMatrices:
    """Covariances of all trials for one pair of order and lag, refused where they are singular or too large."""
    n_channels, n_times = view.products.X.shape[1:]
    length = stacked_length(n_times, task.order, task.lag, task.trim)
    size = task.order * n_channels
    limit = length - 1 if task.max_size == "rank" else task.max_size
    if limit is not None and size > limit:
        raise InputError(f"order {task.order} x {n_channels} channels gives matrices larger than max_size, {limit}")
    matrices = made_covariances(
        view.products, task.order, task.lag, estimator, task.method, task.trim, task.floor, view.variance
    )
    if task.floor is None:
        estimator = resolve_estimator(estimator, length, size)
        if reason := why_singular(matrices, length, task.order, n_channels, estimator):
            raise InputError(reason)
    return matrices


def made_covariances(
    products: LaggedProducts,
    order: int,
    lag: int,
    estimator: str,
    method: str,
    trim: str | int,
    floor: float | None,
    variance: float | None = None,
) -> MadeMatrices:
    """Covariances as `AugmentedCovariances` gives them, made from lagged products whenever they are looked at.

    That takes a small part of the time that an eigendecomposition of them takes. With a floor it does not, so that
    their triangles are kept.
    """
    n_trials, n_channels, n_times = products.X.shape
    size = order * n_channels
    estimator = resolve_estimator(estimator, stacked_length(n_times, order, lag, trim), size)

    def make(block: slice) -> np.ndarray:
        return covariance_matrices(products.select(block), order, lag, estimator, method, trim)

    if floor is None:
        return MadeMatrices(make, n_trials, size)
    if variance is None:
        variance = mean_variance(products.X)
    return packed_matrices(MadeMatrices(lambda block: floor_eigenvalues(make(block), floor, variance), n_trials, size))


def _score_fold(
    task: Task, vectors: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray, classifier: Any, scorer: Any
) -> list[float]:
    from sklearn.base import clone
    from sklearn.svm import SVC

    kernels = SharedKernels(vectors, train, test) if type(classifier) is SVC else None
    scores = []
    for setting in task.settings:
        model = clone(classifier).set_params(**setting)
        if kernels is not None and (grams := kernels.of(model)) is not None:
            model.set_params(kernel="precomputed")
            fitted, held_out = model.fit(grams[0], y[train]), grams[1]
        else:
            fitted, held_out = model.fit(vectors[train], y[train]), vectors[test]
        scores.append(float(scorer(fitted, held_out, y[test])))
    return scores


class SharedKernels:
    """Kernel matrices of one fold, from inner products that are computed once.

    Parameters
    ----------
    vectors : array of shape (n_trials, n_features)
        Features.
    train, test : array of int
        Trials of the fold.
    """

    def __init__(self, vectors: np.ndarray, train: np.ndarray, test: np.ndarray):
        inner = vectors @ vectors.T  # of all, as parts of the vectors would be copies
        norms = np.diagonal(inner)
        self.inner = {"train": inner[np.ix_(train, train)], "test": inner[np.ix_(test, train)]}
        self.norms = {"train": norms[train], "test": norms[test]}
        self.n_features = vectors.shape[1]
        means = vectors.mean(axis=1)[train]
        # within trials, and between their means
        self.variance = float((norms[train] / self.n_features - means**2).mean() + means.var())
        self.grams: dict[tuple[str, float], tuple[np.ndarray, np.ndarray]] = {}

    def of(self, model: Any) -> tuple[np.ndarray, np.ndarray] | None:
        """Matrices of a support vector machine's kernel: training with training, and test with training trials.

        Parameters
        ----------
        model : SVC
            Not fitted.

        Returns
        -------
        (array, array) or None
            None for kernels other than "linear" and "rbf".
        """
        if model.kernel not in ("linear", "rbf"):
            return None
        key = (model.kernel, 0.0 if model.kernel == "linear" else self._gamma(model.gamma))
        if key not in self.grams:
            self.grams[key] = self._gram("train", *key), self._gram("test", *key)
        return self.grams[key]

    def _gamma(self, gamma: str | float) -> float:
        if gamma == "scale":
            return 1.0 / (self.n_features * self.variance) if self.variance != 0 else 1.0
        return 1.0 / self.n_features if gamma == "auto" else float(gamma)

    def _gram(self, part: str, kernel: str, gamma: float) -> np.ndarray:
        if kernel == "linear":
            return self.inner[part]
        distances = self.norms[part][:, None] + self.norms["train"][None] - 2 * self.inner[part]
        return np.exp(-gamma * np.maximum(distances, 0))
