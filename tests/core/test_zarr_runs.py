"""Runs of different lengths on disk: everything comes back, one run at a time."""

import pickle
import shutil
import weakref

import numpy as np
import pandas as pd
import pytest
import zarr

from neurosig import SignalDataset, SignalSpec, load_fmri
from neurosig.core.errors import InputError, StorageError
from neurosig.core.lazy_runs import LazyRuns
from neurosig.core.zarr_runs import write_runs

LENGTHS = (7, 30, 12, 1, 19)


def runs(dtype=np.float32, n_regions=4):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n_regions, length)).astype(dtype) for length in LENGTHS]


def dataset(X):
    table = pd.DataFrame(
        {
            "subject": list("abcde"), "session": "0", "run": "1", "t_r": [2.0, 2.0, 0.8, 2.0, 2.0],
            "kept": [None, (0, 1, 5), None, None, (np.int64(3), 4)], "age": [31.5, np.nan, 20.0, 40.0, 50.0],
            "site": ["NYU", None, "UM", "UM", "NYU"],
        }
    )  # fmt: skip
    spec = SignalSpec("fmri", ("V1", "M1", "A1", "S1"), unit="z", atlas="four", extra={"fmri": {"nilearn": "0"}})
    return SignalDataset(X, np.array(["x", "y", "x", "y", "x"]), table, spec, name="five")


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_everything_comes_back(tmp_path, dtype, lazy):
    series = runs(dtype)
    series[2][1] = np.nan  # a missing region
    given = dataset(LazyRuns(lambda i: series[i], range(5)) if lazy else series)
    again = SignalDataset.from_zarr(given.to_zarr(tmp_path / "five.zarr"))
    assert isinstance(again.X, LazyRuns)
    for one, other in zip(again.X, series, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == dtype
    pd.testing.assert_frame_equal(again.metadata, given.metadata)
    assert again.info == given.info
    assert again.y.tolist() == given.y.tolist()
    assert again.name == "five"
    assert [run.shape for run in again.load().X] == [(4, length) for length in LENGTHS]
    part = again.subset("site == 'UM'")
    assert isinstance(part.X, LazyRuns)
    np.testing.assert_array_equal(part.X[1], series[3])
    once_more = SignalDataset.from_zarr(part.to_zarr(tmp_path / "two.zarr"))
    np.testing.assert_array_equal(once_more.X[0], series[2])


@pytest.mark.parametrize("lazy", [False, True])
def test_real_runs_come_back(data_dir, tmp_path, lazy):
    files = sorted((data_dir / "abide/1D/filt_global").glob("*.1D"))
    people = {"subject": ["a", "b", "c"]}
    given = load_fmri(files, t_r=2.0, lazy=lazy, labels=["autism", "control", "autism"], metadata=people)
    again = SignalDataset.from_zarr(given.to_zarr(tmp_path / "abide.zarr"))
    assert [run.shape for run in again.X] == [(200, 176), (200, 176), (200, 296)]
    for one, other in zip(again.X, given.X, strict=True):
        np.testing.assert_array_equal(one, other)
    pd.testing.assert_frame_equal(again.metadata, given.metadata, check_dtype=False)
    assert again.info.to_dict() == given.info.to_dict()
    assert again.y.tolist() == given.y.tolist()


def test_one_run_is_in_memory_at_a_time(tmp_path):
    alive = []

    class Counted(np.ndarray):
        pass

    def read(place):
        assert sum(reference() is not None for reference in alive) <= 1  # the last one may still be held
        run = runs()[place].view(Counted)
        alive.append(weakref.ref(run))
        return run

    dataset(LazyRuns(read, range(5))).to_zarr(tmp_path / "five.zarr")
    assert len(alive) == 5  # each was read once


def test_chunks_are_bounded_and_runs_cross_them(tmp_path, monkeypatch):
    monkeypatch.setattr("neurosig.core.zarr_runs._CHUNK", 4 * 4 * 5)  # five volumes
    path = dataset(runs()).to_zarr(tmp_path / "five.zarr")
    store = zarr.open_group(path, mode="r")["runs"]
    assert (store.chunks, store.shape) == ((4, 5), (4, sum(LENGTHS)))
    for one, other in zip(SignalDataset.from_zarr(path).X, runs(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_runs_on_disk_can_be_sent_to_other_processes(tmp_path):
    again = SignalDataset.from_zarr(dataset(runs()).to_zarr(tmp_path / "five.zarr"))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again.X))[1], runs()[1])


def test_a_list_of_two_types_keeps_the_finer_one(tmp_path):
    mixed = [run.astype(np.float64 if place else np.float32) for place, run in enumerate(runs())]
    again = SignalDataset.from_zarr(dataset(mixed).to_zarr(tmp_path / "five.zarr"))
    np.testing.assert_array_equal(again.X[3], mixed[3])


def test_what_cannot_be_stored(tmp_path):
    series = runs()
    series[3] = series[3][:3]
    with pytest.raises(InputError, match=r"run 3 has shape \(3, 1\), expected \(4, n_times\)"):
        dataset(series).to_zarr(tmp_path / "five.zarr")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="at least one run"):
        write_runs(zarr.open_group(tmp_path / "none.zarr", mode="w"), [], 4)


def test_a_damaged_store_is_said(tmp_path):
    path = dataset(runs()).to_zarr(tmp_path / "five.zarr")
    group = zarr.open_group(path, mode="r+")
    group["runs"].resize((4, 10))
    with pytest.raises(StorageError, match="its runs are 69 volumes, the array has 10"):
        SignalDataset.from_zarr(path)
    shutil.rmtree(path / "runs")
    with pytest.raises(StorageError, match="or it is damaged"):
        SignalDataset.from_zarr(path)
