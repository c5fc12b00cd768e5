"""Riemannian mean and tangent map of augmented covariances, beside pyriemann's."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, side

N_TRIALS = 288
# size of the matrices, order and lag of the embedding, channels; and what is promised: ours / theirs
CASES = ((22, 1, 1, 22, 1.0), (88, 4, 5, 22, 0.5), (160, 8, 3, 20, 0.5), (220, 10, 5, 22, 0.5))


def write_covariances(folder: Path, *, order: int, lag: int, channels: int) -> None:
    """Shrunk covariances of noise from 8 to 35 Hz, with delayed copies of itself."""
    import scipy.signal
    from moabb.pipelines.features import AugmentedDataset
    from pyriemann.estimation import Covariances

    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_TRIALS, 22, 1001))
    mixing = rng.standard_normal((22, 22))
    band = scipy.signal.butter(4, [8, 35], btype="band", fs=250, output="sos")
    X = 1e-6 * scipy.signal.sosfiltfilt(band, np.einsum("ij,njt->nit", mixing, X), axis=-1)
    stacked = AugmentedDataset(order, lag).transform(X[:, :channels])
    np.save(folder / "covs.npy", Covariances("oas").fit_transform(stacked))


def _facts(mean: np.ndarray, vectors: np.ndarray) -> dict:
    """The mean's relative error, as the tangent vectors at it have it: at the exact mean their own mean is zero."""
    error = float(np.linalg.norm(vectors.mean(axis=0)) / np.sqrt(len(mean)))
    return {
        "shape": list(vectors.shape),
        "exact to 1e-6": error < 1e-6,
        "norm": f"{np.linalg.norm(vectors):.5e}",
        "shown": {"error of the mean": error},
    }


def _ours(scratch: Path) -> dict:
    from neurosig.preprocessing.riemann import mean_riemann, tangent_space

    covs = np.load(scratch / "covs.npy")
    mean = mean_riemann(covs)
    return _facts(mean, tangent_space(covs, mean))


def _theirs(scratch: Path) -> dict:
    from pyriemann.tangentspace import TangentSpace

    covs = np.load(scratch / "covs.npy")
    space = TangentSpace(metric="riemann").fit(covs)
    return _facts(space.reference_, space.transform(covs))


_OURS, _THEIRS = ("neurosig.preprocessing.riemann",), ("pyriemann.tangentspace",)
ROWS = []
for _size, _order, _lag, _channels, _at_most in CASES:
    _prepare = partial(write_covariances, order=_order, lag=_lag, channels=_channels)
    globals()[f"ours_{_size}"] = side(prepare=_prepare, imports=_OURS)(partial(_ours))
    globals()[f"theirs_{_size}"] = side(prepare=_prepare, imports=_THEIRS)(partial(_theirs))
    ROWS.append(
        Row(
            work=f"Riemannian mean and tangent map of {N_TRIALS} matrices of {_size} x {_size}",
            peer="pyriemann's TangentSpace",
            ours=f"benchmarks.bench_riemann:ours_{_size}",
            theirs=f"benchmarks.bench_riemann:theirs_{_size}",
            at_most=_at_most,
            repeats=2,
        )
    )
