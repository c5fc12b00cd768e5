"""Batches hold every window once, in memory as from disk."""

import numpy as np
import pytest
import torch
import zarr

from neurosig.training import batches as under_test
from neurosig.training.batches import Batches, Trials, is_stream

X = np.arange(23 * 2 * 10, dtype=np.float32).reshape(23, 2, 10)
Y = torch.arange(23)


def windows_of(batches):
    return [(x.numpy().tobytes(), int(y)) for batch, target in batches for x, y in zip(batch, target.y, strict=True)]


def stores(folder):
    saved = np.memmap(folder / "x.dat", dtype=np.float32, mode="w+", shape=X.shape)
    saved[:] = X
    saved.flush()
    yield np.memmap(folder / "x.dat", dtype=np.float32, mode="r", shape=X.shape)
    yield zarr.create_array(str(folder / "x.zarr"), data=X, chunks=(4, 2, 10))


@pytest.mark.parametrize(("window", "step"), [(None, None), (4, 3), (5, 5)])
def test_every_window_comes_once(window, step, tmp_path, monkeypatch):
    index = np.delete(np.arange(23), [0, 7, 8])
    starts = range(0, 10 - (window or 10) + 1, step or 10)
    expected = sorted(
        (np.ascontiguousarray(X[i, :, s : s + (window or 10)]).tobytes(), i) for i in index for s in starts
    )
    monkeypatch.setattr(under_test, "BUFFER_BYTES", 6 * X[0].nbytes)
    monkeypatch.setattr(under_test, "BLOCK_BYTES", 2 * X[0].nbytes)
    for source in (X, *stores(tmp_path)):
        generator = torch.Generator().manual_seed(0)
        batches = Batches(Trials(source, window, step), Y, index, batch_size=6, generator=generator)
        first, second = windows_of(batches), windows_of(batches)
        assert sorted(first) == sorted(second) == expected
        assert first != second
        sizes = [len(batch) for batch, _ in batches]
        assert len(sizes) == len(batches)
        assert 1 not in sizes
        plain = Batches(Trials(source, window, step), Y, index, batch_size=6)
        assert sorted(windows_of(plain)) == expected
        assert [y for _, y in windows_of(plain)] == sorted(y for _, y in expected)


def test_from_disk_as_in_memory_where_one_buffer_holds_all(tmp_path):
    for source in stores(tmp_path):
        assert is_stream(source)
        orders = [
            windows_of(
                Batches(Trials(x, 4, 2), Y, np.arange(23), batch_size=5, generator=torch.Generator().manual_seed(3))
            )
            for x in (X, source)
        ]
        assert orders[0] == orders[1]


def test_a_single_window_joins_the_batch_before():
    assert [len(x) for x, _ in Batches(Trials(X), Y, np.arange(21), batch_size=5)] == [5, 5, 5, 6]
    assert [len(x) for x, _ in Batches(Trials(X), Y, np.arange(1), batch_size=5)] == [1]


def test_scaling_leaves_the_signals_alone():
    before = X.copy()
    X.flags.writeable = False
    (x, _), *_ = Batches(Trials(X), Y, np.arange(4), batch_size=4, scale=2.0)
    np.testing.assert_array_equal(x.numpy(), before[:4] / 2)
    np.testing.assert_array_equal(X, before)


def test_devices_share_each_batch():
    parts = [windows_of(Batches(Trials(X), Y, np.arange(23), batch_size=6, rank=rank, world=2)) for rank in (0, 1)]
    assert sorted(parts[0] + parts[1]) == sorted(windows_of(Batches(Trials(X), Y, np.arange(23), batch_size=6)))
