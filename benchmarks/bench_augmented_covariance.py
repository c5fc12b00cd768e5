"""Augmented covariances of a grid of orders and lags, and the search over it, beside MOABB, pyriemann and scikit-learn.

Signals are noise in 22 channels, filtered to 8-35 Hz at 250 Hz, in 288 trials of 1001 samples, as many as a recorded
session of BNCI2014-001 has; every second trial follows a little from what was six samples before. Both sides of a row
do the same candidates. The whole takes about an hour: with NEUROSIG_BENCH_SHORT=1 in the environment there are 96
trials, and the rows say so. What the coarse search loses in score is measured on the row's own candidates, and on real
signals, see the notes of `AugmentedCovarianceSearch`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, side

N_TRIALS = 96 if os.environ.get("NEUROSIG_BENCH_SHORT") else 288
N_CHANNELS, N_TIMES = 22, 1001
ORDERS, LAGS = range(1, 11), range(1, 11)
SEARCH_ORDERS, SEARCH_LAGS = (1, 4, 8), (3, 6)
BASELINE_MB = 40  # blocks that are worked on, kernels, and what is imported on the way, whatever the number of trials
MOST_OFF, MOST_LOST = 0.03, 0.01  # of ROC AUC: of one candidate, and of the choice
_HERE = "benchmarks.bench_augmented_covariance"
_IMPORTS = (
    "moabb.pipelines.features", "pyriemann.estimation", "pyriemann.tangentspace", "sklearn.svm",
    "sklearn.model_selection", "neurosig.preprocessing.augmented_search",
)  # fmt: skip


def _signals(scratch: Path) -> None:
    from scipy.signal import butter, lfilter, sosfiltfilt

    rng = np.random.default_rng(0)
    X, mixing = rng.standard_normal((288, N_CHANNELS, N_TIMES)), rng.standard_normal((N_CHANNELS, N_CHANNELS))
    X[1::2] = lfilter([1.0], [1.0, 0, 0, 0, 0, 0, -0.05], X[1::2])
    sos = butter(4, [8, 35], btype="band", fs=250, output="sos")
    X = sosfiltfilt(sos, np.einsum("ij,njt->nit", mixing, X), axis=-1) * 1e-6
    np.save(scratch / "X.npy", X[:N_TRIALS])


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


@side(prepare=_signals, imports=_IMPORTS)
def our_search(scratch: Path) -> dict:
    return _found(_our_search(scratch, "exact"))


@side(prepare=_signals, imports=_IMPORTS)
def our_coarse_search(scratch: Path) -> dict:
    return {"candidates": len(_our_search(scratch, "coarse").cv_results_["params"])}


@side(prepare=_signals, imports=_IMPORTS)
def coarse_loss(scratch: Path) -> dict:
    """What the coarse search's scores and choice are off by; the exact ones are GridSearchCV's, as a row proves."""
    exact, coarse = (_our_search(scratch, precision) for precision in ("exact", "coarse"))
    means = exact.cv_results_["mean_test_score"]
    off = np.abs(coarse.cv_results_["mean_test_score"] - means)
    lost = float(means.max() - means[coarse.best_index_])
    if not (off.max() <= MOST_OFF and lost <= MOST_LOST):
        raise RuntimeError(f"the coarse search is off by {off.max():.4f}, and its choice loses {lost:.4f}")
    return {
        "told": f"ROC AUC of the choice {means[coarse.best_index_]:.4f} instead of {means.max():.4f}; of a candidate "
        f"off by {off.mean():.4f} on average, {off.max():.4f} at most"
    }


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


@side(prepare=_signals, imports=_IMPORTS)
def their_search(scratch: Path) -> dict:
    return _found(_their_search(scratch))


@side(prepare=_signals, imports=_IMPORTS)
def their_search_counted(scratch: Path) -> dict:
    return {"candidates": len(_their_search(scratch).cv_results_["params"])}


def _row(work: str, peer: str, ours: str, theirs: str, at_most: float, **options) -> Row:
    return Row(work, peer, f"{_HERE}:{ours}", f"{_HERE}:{theirs}", at_most, **options)


def _pair_bound(orders: Sequence[int], lags: Sequence[int]) -> float:
    """Megabytes of the signals, their lagged products, and the matrices of the largest pair; with BASELINE_MB."""
    signals = N_TRIALS * N_CHANNELS * N_TIMES
    delays = {d * lag for lag in lags for d in range(max(orders))}
    products = signals + len(delays) * N_TRIALS * N_CHANNELS**2
    pair = N_TRIALS * (max(orders) * N_CHANNELS) ** 2
    return round(BASELINE_MB + 8e-6 * (signals + products + pair))


_SIZE = f"{N_TRIALS} x {N_CHANNELS} x {N_TIMES}"
_GRID = f"augmented covariances, {_SIZE}, orders 1-10 x lags 1-10"
_SEARCH = f"augmented covariance search, {_SIZE}, orders 1, 4, 8 x lags 3, 6 x 6 support vector machines"
_PEER = "MOABB's AugmentedDataset and pyriemann"
ROWS = [
    _row(f"{_GRID}, scm", _PEER, "our_scm", "their_scm", 1 / 5, repeats=1),
    _row(f"{_GRID}, oas", _PEER, "our_oas", "their_oas", 1 / 15, repeats=1),
    _row(
        f"{_GRID}, scm, memory", _PEER, "our_scm", "their_scm", 0.5, measure="peak_mb", repeats=1,
        below=_pair_bound(ORDERS, LAGS),
    ),
    _row(f"{_SEARCH}, same choice and scores", "GridSearchCV", "our_search", "their_search", 1 / 15, repeats=1),
    _row(
        f"{_SEARCH}, memory", "GridSearchCV", "our_search", "their_search", 0.7, measure="peak_mb", repeats=1,
        below=_pair_bound(SEARCH_ORDERS, SEARCH_LAGS),
    ),
    _row(
        f"{_SEARCH}, coarse", "GridSearchCV", "our_coarse_search", "their_search_counted", 1 / 50, repeats=1,
        agree=f"{_HERE}:coarse_loss",
    ),
]  # fmt: skip
