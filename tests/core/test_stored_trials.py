"""Trials on disk that scikit-learn's tools can pick from."""

import pickle

import numpy as np
import pytest
import zarr
from sklearn.model_selection import KFold, cross_val_score

from neurosig.core import StoredTrials
from neurosig.core.errors import InputError
from neurosig.models import NetClassifier
from neurosig.training.batches import is_stream, read_stream

RNG = np.random.default_rng(0)
Y = np.tile([0, 1], 20)
X = RNG.standard_normal((40, 2, 16)).astype(np.float32)
X[Y == 1, 0] += 1.0


@pytest.fixture(params=["zarr", "memory map"])
def stored(request, tmp_path):
    if request.param == "zarr":
        array = zarr.create_array(tmp_path / "x.zarr", shape=X.shape, chunks=(8, 2, 16), dtype="float32")
        array[:] = X
        return array
    np.save(tmp_path / "x.npy", X)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


@pytest.mark.parametrize(
    "index",
    [slice(3, 9), np.array([5, 2, 2, 31]), np.array([7, 8, 9]), Y == 1, slice(None, None, -3), (np.array([4, 1]), ...)],
)
def test_what_is_picked_stays_on_disk_and_is_what_numpy_picks(stored, index):
    picked = StoredTrials(stored)[index]
    assert isinstance(picked, StoredTrials) and is_stream(picked)
    np.testing.assert_array_equal(np.asarray(picked), X[index])
    np.testing.assert_array_equal(np.asarray(picked[1:][0]), X[index][1])
    assert picked.shape == X[index].shape and len(picked) == len(X[index])
    np.testing.assert_array_equal(read_stream(picked, np.array([0, 1])).numpy(), X[index][:2])
    np.testing.assert_array_equal(picked.oindex[np.array([1])], X[index][[1]])


def test_picking_reads_nothing():
    class Unread:
        shape, dtype = (10, 2, 3), np.dtype("float32")

    assert StoredTrials(Unread())[np.array([3, 1]), ...][1:].rows.tolist() == [1]


def test_folds_on_disk_score_as_folds_in_memory(stored):
    network = NetClassifier("LinearNet", max_epochs=3, lr=0.05, random_state=0, device="cpu")
    folds = KFold(2, shuffle=True, random_state=0)
    on_disk = cross_val_score(network, StoredTrials(stored), Y, cv=folds)
    assert on_disk.tolist() == cross_val_score(network, X, Y, cv=folds).tolist()


def test_a_process_of_its_own_gets_them_too(stored):
    trials = StoredTrials(stored)[10:14]
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(trials))), X[10:14])


def test_other_axes_are_picked_in_memory_and_other_shapes_refused(stored):
    np.testing.assert_array_equal(StoredTrials(stored)[2:5, 1], X[2:5, 1])
    with pytest.raises(ValueError, match="without reading"):
        np.asarray(StoredTrials(stored), copy=False)
    with pytest.raises(InputError, match="n_trials, n_channels, n_times"):
        StoredTrials(np.zeros((3, 2)))
