"""Augmented covariances of a grid of orders and lags, and the search over it, beside MOABB, pyriemann and scikit-learn.

Signals are noise in 22 channels, filtered to 8-35 Hz at 250 Hz, in trials of 1001 samples: 96 for the grid, which is a
third of a recorded session, as the time of each side is that of a trial times their number; 115 for the search. Both
sides of a row do the same candidates. What the coarse search loses in score is measured on real signals, see the notes
of `AugmentedCovarianceSearch`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.harness import Row, side

ORDERS, LAGS = range(1, 11), range(1, 11)
SEARCH_ORDERS, SEARCH_LAGS = (1, 4, 8), (3, 6)
_IMPORTS = (
    "moabb.pipelines.features", "pyriemann.estimation", "pyriemann.tangentspace", "sklearn.svm",
    "sklearn.model_selection", "neurosig.preprocessing.augmented_search",
)  # fmt: skip


def _signals(scratch: Path, n_trials: int = 96) -> None:
    from scipy.signal import butter, sosfiltfilt

    rng = np.random.default_rng(0)
    X, mixing = rng.standard_normal((288, 22, 1001)), rng.standard_normal((22, 22))
    sos = butter(4, [8, 35], btype="band", fs=250, output="sos")
    X = sosfiltfilt(sos, np.einsum("ij,njt->nit", mixing, X), axis=-1) * 1e-6
    np.save(scratch / "X.npy", X[:n_trials])


def _few_signals(scratch: Path) -> None:
    _signals(scratch, 115)


def _traces(grid) -> dict[str, str]:
    return {f"{order}, {lag}": f"{np.einsum('nii->', matrices):.9e}" for order, lag, matrices in grid}


def _ours(scratch: Path, estimator: str) -> dict[str, str]:
    from neurosig.preprocessing.lagged_products import augmented_covariance_grid

    return _traces(augmented_covariance_grid(np.load(scratch / "X.npy"), ORDERS, LAGS, estimator, reuse=True))


def _theirs(scratch: Path, estimator: str) -> dict[str, str]:
    from moabb.pipelines.features import AugmentedDataset
    from pyriemann.estimation import Covariances

    X = np.load(scratch / "X.npy")

    def grid():
        for order in ORDERS:
            for lag in LAGS:
                yield order, lag, Covariances(estimator).fit_transform(AugmentedDataset(order, lag).transform(X))

    return _traces(grid())


@side(prepare=_signals, imports=_IMPORTS)
def our_scm(scratch: Path) -> dict[str, str]:
    return _ours(scratch, "scm")


@side(prepare=_signals, imports=_IMPORTS)
def their_scm(scratch: Path) -> dict[str, str]:
    return _theirs(scratch, "scm")


@side(prepare=_signals, imports=_IMPORTS)
def our_oas(scratch: Path) -> dict[str, str]:
    return _ours(scratch, "oas")


@side(prepare=_signals, imports=_IMPORTS)
def their_oas(scratch: Path) -> dict[str, str]:
    return _theirs(scratch, "oas")


def _found(search) -> dict:
    results = search.cv_results_
    scores = [[float(results[f"split{k}_test_score"][i]) for k in range(3)] for i in range(len(results["params"]))]
    return {"best": int(search.best_index_), "scores": scores}


def _our_search(scratch: Path, precision: str):
    from neurosig.preprocessing.augmented_search import AugmentedCovarianceSearch

    X = np.load(scratch / "X.npy")
    search = AugmentedCovarianceSearch(SEARCH_ORDERS, SEARCH_LAGS, precision=precision, random_state=42)
    return search.fit(X, np.arange(len(X)) % 2)


@side(prepare=_few_signals, imports=_IMPORTS)
def our_search(scratch: Path) -> dict:
    return _found(_our_search(scratch, "exact"))


@side(prepare=_few_signals, imports=_IMPORTS)
def our_coarse_search(scratch: Path) -> dict:
    return {"candidates": len(_our_search(scratch, "coarse").cv_results_["params"])}


def _their_search(scratch: Path):
    from moabb.pipelines.features import AugmentedDataset
    from pyriemann.estimation import Covariances
    from pyriemann.tangentspace import TangentSpace
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    X = np.load(scratch / "X.npy")
    pipeline = make_pipeline(AugmentedDataset(), Covariances("cov"), TangentSpace(metric="riemann"), SVC(kernel="rbf"))
    grid = {
        "augmenteddataset__order": SEARCH_ORDERS,
        "augmenteddataset__lag": SEARCH_LAGS,
        "svc__C": [0.5, 1, 1.5],
        "svc__kernel": ["rbf", "linear"],
    }
    cv = StratifiedKFold(3, shuffle=True, random_state=42)
    search = GridSearchCV(pipeline, grid, cv=cv, scoring="roc_auc", return_train_score=True)
    return search.fit(X, np.arange(len(X)) % 2)


@side(prepare=_few_signals, imports=_IMPORTS)
def their_search(scratch: Path) -> dict:
    return _found(_their_search(scratch))


@side(prepare=_few_signals, imports=_IMPORTS)
def their_search_counted(scratch: Path) -> dict:
    return {"candidates": len(_their_search(scratch).cv_results_["params"])}


def _row(work: str, peer: str, ours: str, theirs: str, at_most: float, **options) -> Row:
    here = "benchmarks.bench_augmented_covariance"
    return Row(work, peer, f"{here}:{ours}", f"{here}:{theirs}", at_most, **options)


_GRID = "augmented covariances, 96 x 22 x 1001, orders 1-10 x lags 1-10"
_SEARCH = "augmented covariance search, 115 x 22 x 1001, orders 1, 4, 8 x lags 3, 6 x 6 support vector machines"
_PEER = "MOABB's AugmentedDataset and pyriemann"
ROWS = [
    _row(f"{_GRID}, scm", _PEER, "our_scm", "their_scm", 1 / 5, repeats=2),
    _row(f"{_GRID}, oas", _PEER, "our_oas", "their_oas", 1 / 15, repeats=1),
    _row(f"{_GRID}, scm, memory", _PEER, "our_scm", "their_scm", 0.5, measure="peak_mb", repeats=1),
    _row(f"{_SEARCH}, same choice and scores", "GridSearchCV", "our_search", "their_search", 1 / 15, repeats=1),
    # beside the signals, four times the 28 MB of the largest pair's matrices at most
    _row(
        f"{_SEARCH}, memory", "GridSearchCV", "our_search", "their_search", 0.7, measure="peak_mb", repeats=1, below=160
    ),
    _row(f"{_SEARCH}, coarse", "GridSearchCV", "our_coarse_search", "their_search_counted", 1 / 50, repeats=1),
]
