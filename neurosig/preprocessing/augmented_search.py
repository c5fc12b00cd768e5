"""Search over order and lag of augmented covariances, every matrix, mean and tangent vector computed once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from neurosig.core.errors import InputError, UsageError
from neurosig.core.log import progress
from neurosig.core.registry import register
from neurosig.core.validation import check_signals
from neurosig.preprocessing.augmented_covariance import METHODS, AugmentedCovariances, check_floor, trim_of
from neurosig.preprocessing.augmented_scores import PairScores, Task, fold_views, made_covariances, score_pair
from neurosig.preprocessing.lagged_products import LaggedProducts, check_estimator, grid_delays, stacked_length
from neurosig.preprocessing.riemann import mean_and_tangent_vectors
from neurosig.preprocessing.search_results import check_labels, inner_folds, results_table, shuffles_anew
from neurosig.preprocessing.search_store import SearchStore

__all__ = ["AugmentedCovarianceSearch"]

_SVC_GRID: dict[str, Sequence] = {"C": [0.5, 1, 1.5], "kernel": ["rbf", "linear"]}


def _can(method: str) -> Callable[[Any], bool]:
    def check(search: AugmentedCovarianceSearch) -> bool:
        fitted = getattr(search, "best_estimator_", None)
        return hasattr(search._classifier() if fitted is None else fitted, method)

    return check


@register
class AugmentedCovarianceSearch(ClassifierMixin, BaseEstimator):
    """Augmented covariances, tangent space and a classifier; order, lag and the rest chosen by cross-validation.

    Parameters
    ----------
    orders, lags : sequence of int
        The grid of `AugmentedCovariances`. Pairs too long for the trials are left out, and so is order 1 at every lag
        but the first, whose scores it shares. Lags are in samples: of a time in seconds, ``round(time * sfreq)``.
    classifier : classifier, optional
        What learns from tangent vectors; None is ``SVC()``. Where it is an SVC, its kernels are computed once for all
        candidates that share them.
    param_grid : dict of str to sequence, optional
        Parameters of the classifier to choose from; None is that of the publication for an SVC (C of 0.5, 1 and 1.5,
        kernels "rbf" and "linear"), and nothing for other classifiers.
    estimator : str or sequence of str
        As in `AugmentedCovariances`; of several the best is chosen, too.
    method, trim : str
        As in `AugmentedCovariances`; `trim` may be "common" too, which gives all candidates the length of the largest
        order and lag.
    floor : float, optional
        As in `AugmentedCovariances`.
    reduction : transformer, optional
        Learned on each training part before the embedding, such as `SpatialReduction`.
    max_size : "rank", int or None
        Pairs whose matrices are larger than this are left out; "rank" leaves out those with no more stacked samples
        than stacked channels.
    cv : int, splitter or iterable
        Inner folds. An integer gives that many stratified folds, shuffled by `random_state`.
    scoring : str or callable, optional
        None is ROC AUC for two classes and accuracy for more.
    precision : {"exact", "coarse"}
        "exact" gives the scores of scikit-learn's ``GridSearchCV``. "coarse" takes all inner folds' tangent vectors at
        one reference, the arithmetic mean of all training trials, in single precision: no label is used for it, but
        the inner test trials share in it. The final fit is the exact one in both.
    n_jobs : int, optional
        Processes among which pairs of order and lag are divided.
    store : path-like, optional
        Folder in which each pair's scores are kept as they come, so that a search that was interrupted goes on. Its
        keys hold the content of signals, labels, folds and settings, and of neurosig's source where that may change
        without its version. With an integer `cv` it needs a `random_state`: other folds have other scores.
    random_state : int or None
        Of the shuffling, where `cv` is an integer.
    show_progress : bool, optional
        None shows a progress bar on a terminal and in notebooks only; True writes a line now and then elsewhere.

    Attributes
    ----------
    best_params_ : dict
        "order", "lag", "estimator" and the classifier's own; numbers of numpy as Python's.
    best_score_ : float
        Mean score over the inner folds of the best candidate, the first of several that are equal.
    best_index_ : int
        Its position in `cv_results_`.
    best_estimator_ : Pipeline
        Fitted to all training trials.
    cv_results_ : dict of str to list or array
        ``params``, ``split0_test_score`` ..., ``mean_test_score``, ``std_test_score``, ``rank_test_score``, and
        ``problem``: why a candidate has no score.
    classes_ : array
        Labels.
    n_splits_ : int
        Number of inner folds.
    n_features_in_ : int
        Number of channels.
    refit_time_ : float
        Seconds that the final fit took.

    See Also
    --------
    select_embedding : Chooses order and lag without labels.

    Notes
    -----
    The candidates, their order and so the choice among equals are those of ``GridSearchCV`` over MOABB's
    ``AUG_TANG_SVM_grid`` [1]_. That finds every mean anew for every setting of the classifier; here lagged products are
    summed once, the matrices of a pair of order and lag are made once and decomposed once for all folds and once for
    each, and nothing is scored on training trials. Beside the lagged products, a worker holds no more than the matrices
    of one pair would take: a fold's tangent vectors and, while these are found, eigenvectors in single precision. The
    matrices themselves are made from the lagged products, a few at a time, whenever they are needed; with a `floor`,
    which takes longer, their triangles are kept, half as much again. "coarse" holds a quarter of the matrices' memory.

    What "coarse" loses: in 12 people of EEGMMIDB (21 channels, orders 1, 2, 4 at lags 2, 4; one run held out, 36 folds)
    it made the same choice in 81 % of the folds; ROC AUC was 0.710 instead of 0.715 (difference -0.005, 95 % interval
    -0.014 to 0.004; ``python -m benchmarks.study_augmented_covariance --part precision``).

    Candidates whose matrices are singular have a score of NaN, as there, and ``problem`` tells why.

    References
    ----------
    .. [1] Carrara and Papadopoulo, "Classification of BCI-EEG based on augmented covariance matrix", 2023,
       https://arxiv.org/abs/2302.04508

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.preprocessing.augmented_search import AugmentedCovarianceSearch
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.standard_normal((30, 2, 100)), np.arange(30) % 2
    >>> X[y == 1] = np.cumsum(X[y == 1], axis=-1)
    >>> search = AugmentedCovarianceSearch(orders=[1, 2], lags=[1, 2], random_state=0).fit(X, y)
    >>> search.best_score_
    1.0
    """

    def __init__(
        self,
        orders: Sequence[int] = tuple(range(1, 11)),
        lags: Sequence[int] = tuple(range(1, 11)),
        classifier: Any = None,
        param_grid: Mapping[str, Sequence] | None = None,
        estimator: str | Sequence[str] = "cov",
        method: str = "exact",
        trim: str | int = "moabb",
        floor: float | None = None,
        reduction: Any = None,
        max_size: str | int | None = None,
        cv: Any = 3,
        scoring: Any = None,
        precision: str = "exact",
        n_jobs: int | None = None,
        store: Any = None,
        random_state: int | None = None,
        show_progress: bool | None = None,
    ):
        self.orders = orders
        self.lags = lags
        self.classifier = classifier
        self.param_grid = param_grid
        self.estimator = estimator
        self.method = method
        self.trim = trim
        self.floor = floor
        self.reduction = reduction
        self.max_size = max_size
        self.cv = cv
        self.scoring = scoring
        self.precision = precision
        self.n_jobs = n_jobs
        self.store = store
        self.random_state = random_state
        self.show_progress = show_progress

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Search, then fit the best candidate to all trials.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Training signals.
        y : array of shape (n_trials,)
            Labels.
        groups : array of shape (n_trials,), optional
            For splitters that keep groups together.

        Returns
        -------
        AugmentedCovarianceSearch
            Itself.

        Raises
        ------
        UsageError
            If an option is not what it must be.
        InputError
            If no candidate can be scored: trials too short or matrices singular, with the reason.
        """
        self._check_options()
        X = check_signals(X, estimator=self)
        y = check_labels(y, len(X))
        self.classes_ = np.unique(y)
        folds = inner_folds(self.cv, X, y, groups, self.random_state)
        settings = list(ParameterGrid(self._grid()))
        estimators = [self.estimator] if isinstance(self.estimator, str) else list(self.estimator)
        trim = self._trim(X.shape[2])
        tasks, problems = self._tasks(X.shape[2], estimators, settings, trim)
        found = self._score_tasks(tasks, X, y, folds)
        self._collect(found, problems, estimators, settings, len(folds))
        start = time.perf_counter()
        self.best_estimator_ = self._fitted(
            self._pipeline(self.best_params_, trim), X, y, self._near(found, estimators)
        )
        self.refit_time_ = time.perf_counter() - start
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict labels of signals of shape (n_trials, n_channels, n_times), by the best candidate."""
        X = self._signals(X)
        return self.best_estimator_.predict(X)

    @available_if(_can("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Decision values of signals of shape (n_trials, n_channels, n_times), as the classifier gives them."""
        X = self._signals(X)
        return self.best_estimator_.decision_function(X)

    @available_if(_can("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes for signals of shape (n_trials, n_channels, n_times)."""
        X = self._signals(X)
        return self.best_estimator_.predict_proba(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Score of the best candidate by the metric of the search, as ``GridSearchCV`` gives it.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Signals.
        y : array of shape (n_trials,)
            Labels.
        sample_weight : array of shape (n_trials,), optional
            Weights of the trials.

        Returns
        -------
        float
            By `scoring`; of two classes ROC AUC, of more accuracy, where that is None.
        """
        X = self._signals(X)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(self._scorer()(self.best_estimator_, X, y, **weights))

    def _signals(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return check_signals(X, estimator=self, reset=False)

    def _classifier(self) -> Any:
        return SVC() if self.classifier is None else self.classifier

    def _grid(self) -> Mapping[str, Sequence]:
        if self.param_grid is not None:
            return self.param_grid
        return _SVC_GRID if type(self._classifier()) is SVC else {}

    def _check_options(self) -> None:
        for name in ("orders", "lags"):
            if isinstance(getattr(self, name), str | int) or len(list(getattr(self, name))) == 0:
                raise UsageError(f"{name} must be a list of whole numbers, got {getattr(self, name)!r}")
            for value in getattr(self, name):
                stacked_length(10**9, *((value, 1) if name == "orders" else (1, value)))
        for name, options in (("precision", ("exact", "coarse")), ("method", METHODS)):
            if getattr(self, name) not in options:
                raise UsageError(f"{name} must be one of {', '.join(map(repr, options))}, got {getattr(self, name)!r}")
        check_floor(self.floor)
        if self.store is not None and shuffles_anew(self.cv, self.random_state):
            raise UsageError(
                f"store cannot go on with cv={self.cv} and no random_state, which shuffle anew each time: pass "
                "random_state=0, or a splitter that does not shuffle"
            )
        if self.reduction is not None and not (hasattr(self.reduction, "fit") and hasattr(self.reduction, "transform")):
            raise UsageError(f"reduction must be a transformer, such as SpatialReduction(), got {self.reduction!r}")
        jobs = self.n_jobs
        if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int | np.integer) or jobs == 0):
            raise UsageError(f"n_jobs must be a whole number other than 0, or None, got {jobs!r}")
        for estimator in [self.estimator] if isinstance(self.estimator, str) else self.estimator:
            check_estimator(estimator, ("auto",))
        limit = self.max_size
        whole = isinstance(limit, int | np.integer) and not isinstance(limit, bool) and limit > 0
        if not (limit is None or limit == "rank" or whole):
            raise UsageError(f"max_size must be 'rank', a whole number or None, got {self.max_size!r}")

    def _trim(self, n_times: int) -> str | int:
        if trim_of(self.method, self.trim) != "common":
            return trim_of(self.method, self.trim)
        return stacked_length(n_times, max(self.orders), max(self.lags))

    def _tasks(
        self, n_times: int, estimators: list[str], settings: list[dict], trim: str | int
    ) -> tuple[list[Task], dict[tuple[int, int], str]]:
        """Pairs of order and lag that can be scored, and why the others cannot."""
        tasks, problems = [], {}
        for lag in dict.fromkeys(self.lags):
            for order in dict.fromkeys(self.orders):
                if order == 1 and lag != self.lags[0]:
                    continue
                try:
                    stacked_length(n_times, order, lag, trim)
                except InputError as error:
                    problems[order, lag] = str(error)
                    continue
                shared = (self.method, trim, self.floor, self.max_size, self.precision)
                tasks.append(Task(order, lag, estimators, settings, *shared))
        return tasks, problems

    def _score_tasks(self, tasks: list[Task], X: np.ndarray, y: np.ndarray, folds: list) -> dict:
        from joblib import Parallel, delayed

        classifier, scorer = self._classifier(), self._scorer()
        keeper = None if self.store is None else SearchStore(Path(self.store), self._identity(X, y, folds))
        found: dict[tuple[int, int], PairScores] = {}
        todo, best = [], -np.inf
        for task in tasks:
            known = None if keeper is None else keeper.read(task)
            if known is None:
                todo.append(task)
            else:
                found[task.order, task.lag] = known
        if not todo:
            return found
        # the largest first, so that no process is left with one at the end
        todo.sort(key=lambda task: -task.order)
        shortest = min(stacked_length(X.shape[2], task.order, task.lag, task.trim) for task in todo)
        delays = grid_delays(self.orders, self.lags)
        views = fold_views(X, y, folds, delays, self.reduction, None if self.floor is None else shortest)
        parallel = Parallel(n_jobs=self.n_jobs, return_as="generator_unordered", max_nbytes="1M")
        done = parallel(delayed(score_pair)(task, views, y, classifier, scorer) for task in todo)
        for task, result in progress(done, total=len(todo), desc="order x lag", unit="pair", show=self.show_progress):
            best = max(best, result.best)
            # the matrices near the means are many and large: only the best pair's is of use
            found[task.order, task.lag] = result if result.best == best else result.without_centres()
            if keeper is not None:
                keeper.write(task, result)
        return found

    def _scorer(self) -> Any:
        from sklearn.metrics import check_scoring

        scoring = self.scoring
        if scoring is None:
            scoring = "roc_auc" if len(self.classes_) == 2 else "accuracy"
        return check_scoring(self._classifier(), scoring=scoring)

    def _identity(self, X: np.ndarray, y: np.ndarray, folds: list) -> list:
        if not (self.scoring is None or isinstance(self.scoring, str)):
            raise UsageError("store keeps scores by the name of the metric: pass scoring as a name, such as 'roc_auc'")
        objects = [self._classifier(), self.reduction]
        return [X, y.astype(str), *[part for fold in folds for part in fold], objects, self.scoring or "default"]

    def _collect(self, found: dict, problems: dict, estimators: list[str], settings: list[dict], n_folds: int) -> None:
        table = results_table(self.orders, self.lags, found, problems, estimators, settings, n_folds)
        self.best_index_ = int(table["rank_test_score"].argmin())
        self.best_params_ = table["params"][self.best_index_]
        self.best_score_ = float(table["mean_test_score"][self.best_index_])
        self.n_splits_, self.cv_results_ = n_folds, table

    def _pipeline(self, params: Mapping[str, Any], trim: str | int) -> Pipeline:
        from pyriemann.tangentspace import TangentSpace

        own = {name: value for name, value in params.items() if name not in ("order", "lag", "estimator")}
        steps: list[tuple[str, Any]] = [] if self.reduction is None else [("reduction", clone(self.reduction))]
        covariances = AugmentedCovariances(
            params["order"], params["lag"], params["estimator"], self.method, trim, self.floor
        )
        steps += [("covariances", covariances), ("tangentspace", TangentSpace())]
        return Pipeline([*steps, ("classifier", clone(self._classifier()).set_params(**own))])

    def _near(self, found: dict[tuple[int, int], PairScores], estimators: list[str]) -> np.ndarray | None:
        best = self.best_params_
        result = found.get((best["order"], self.lags[0] if best["order"] == 1 else best["lag"]))
        return None if result is None else result.centres[estimators.index(best["estimator"])]

    @staticmethod
    def _fitted(pipeline: Pipeline, X: np.ndarray, y: np.ndarray, near: np.ndarray | None) -> Pipeline:
        *reductions, covariances, tangent, classifier = pipeline.named_steps.values()
        for reduction in reductions:
            X = reduction.fit(X, y).transform(X)
        # the mean that its own fit would come to
        covariances.fit(X, y)
        order, lag, floor = covariances.order, covariances.lag, covariances.floor
        products = LaggedProducts(X, grid_delays([order], [lag]))
        matrices = made_covariances(
            products, order, lag, covariances.estimator, covariances.method, covariances.trim, floor
        )
        tangent.reference_, vectors = mean_and_tangent_vectors(matrices, init=near)
        classifier.fit(vectors, y)
        return pipeline

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # scikit-learn's checks give one sample a trial, from which a covariance cannot tell signs
        tags.classifier_tags.poor_score = True
        return tags

    @staticmethod
    def _get_test_params() -> dict[str, Any]:
        return {"orders": (1,), "lags": (1,), "estimator": "scm", "floor": 1e-3, "cv": 2, "random_state": 0}
