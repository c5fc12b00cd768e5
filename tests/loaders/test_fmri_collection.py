"""Several runs in one ``.npz``: read as they were written, refused with a reason where they do not go together."""

import numpy as np
import pytest

from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.fmri_collection import is_collection, read_collection


@pytest.fixture
def write(tmp_path):
    """Write three stacked runs of 5, 7 and 6 volumes and 4 regions, with some arrays changed or (None) left out."""

    def made(name="runs.npz", **changes):
        rng = np.random.default_rng(0)
        arrays = {
            "X": rng.integers(-90, 90, (18, 4)).astype(np.int8),
            "length": np.array([5, 7, 6]),
            "scale": np.float32(0.04),
            "y": np.array([1, 0, 1]),
            "class_names": np.array(["control", "patient"]),
            "file_id": np.array(["a1", "b2", "c3"]),
            "site": np.array(["X", "X", "Y"]),
            "tr": np.array([2.0, 2.0, 3.0], dtype=np.float32),
        }
        arrays = {key: value for key, value in {**arrays, **changes}.items() if value is not None}
        np.savez_compressed(tmp_path / name, **arrays)
        return tmp_path / name, arrays

    return made


def test_stacked_runs_are_cut_and_scaled(write):
    path, arrays = write()
    held = read_collection(path)
    starts = np.cumsum([0, 5, 7, 6])
    for place, run in enumerate(held.X):
        expected = arrays["X"][starts[place] : starts[place + 1]].astype(float) * 0.04
        assert run.dtype == np.float32
        assert run.flags.c_contiguous
        np.testing.assert_allclose(run, expected.T, rtol=1e-6)
    assert held.y.tolist() == ["patient", "control", "patient"]
    assert held.subjects == ["a1", "b2", "c3"]
    assert held.columns == {"site": ["X", "X", "Y"]}
    assert held.t_r.tolist() == [2.0, 2.0, 3.0]
    assert held.names == ["region_1", "region_2", "region_3", "region_4"]


def test_a_part_keeps_what_belongs_to_each_run(write):
    held = read_collection(write()[0]).take([2, 0])
    assert (held.subjects, held.y.tolist(), held.columns["site"]) == (["c3", "a1"], ["patient"] * 2, ["Y", "X"])
    assert [run.shape[1] for run in held.X] == [6, 5]


@pytest.mark.parametrize("orientation", ["rows_are_volumes", "rows_are_regions"])
def test_three_axes(write, orientation):
    X = np.random.default_rng(1).standard_normal((2, 9, 5)).astype(np.float32)
    stored = X if orientation == "rows_are_volumes" else X.transpose(0, 2, 1)
    path, _ = write(X=stored, length=None, y=None, class_names=None, file_id=None, site=None, tr=1.5, scale=None)
    held = read_collection(path, orientation=orientation, names=list("abcde"))
    np.testing.assert_array_equal(np.stack(held.X), X.transpose(0, 2, 1))
    assert (held.y, held.subjects, held.names, held.t_r.tolist()) == (None, ["1", "2"], list("abcde"), [1.5, 1.5])


def test_whose_runs_they_are_is_told_without_reading_them(write):
    held = read_collection(write()[0], series=False)
    assert held.subjects == ["a1", "b2", "c3"]
    assert [run.shape for run in held.X] == [(0, 5), (0, 7), (0, 6)]


def test_numbers_as_labels(write):
    assert read_collection(write(y=np.array([1.5, 2.5, 3.0]), class_names=None)[0]).y.dtype.kind == "f"


def test_what_is_a_collection(write, tmp_path):
    assert is_collection(write()[0])
    assert is_collection(write("three.npz", X=np.zeros((2, 6, 3)), length=None)[0])
    assert not is_collection(write("one.npz", X=np.zeros((6, 3)), length=None)[0])
    assert not is_collection(write("eeg.npz", X=np.zeros((2, 3, 6)), length=None, sfreq=100.0)[0])
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 and no more")
    assert not is_collection(tmp_path / "torn.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": np.array([5, 7, 7])}, "sum to 19 volumes, X has 18"),
        ({"X": np.zeros((3, 4, 9)), "length": None}, "fewer volumes than regions if time comes first"),
        ({"X": np.zeros(18)}, "expected X of shape"),
        ({"X": np.array([["a"] * 4] * 18)}, "expected numbers under 'X'"),
        ({"y": np.array([0, 1, 2])}, "positions in 'class_names' \\(0 to 1\\)"),
        ({"y": np.array([0, 1])}, "one label for each of 3 runs"),
        ({"file_id": np.array(["a", "b"])}, "one subject for each of 3 runs"),
        ({"tr": np.array([2000.0, 2000.0, 3000.0])}, r"milliseconds\? Then t_r=2; pass t_r=seconds"),
        ({"tr": np.array([2.0, 0.0, 3.0])}, "a positive number, got 0.0; pass t_r=seconds"),
        ({"tr": np.array([2.0, 3.0])}, "one for each of 3 runs, got 2"),
        ({"region_names": np.array(["a", "b"])}, "one name for each of 4 regions, got 2"),
    ],
)
def test_what_does_not_go_together_is_refused(write, changes, message):
    with pytest.raises(InputError, match=message):
        read_collection(write(**changes)[0])


def test_another_repetition_time_is_not_overruled_silently(write):
    with pytest.raises(InputError, match=r"says repetition times of 2, 3 s, not 2\.5 s"):
        read_collection(write()[0], t_r=2.5)
    assert read_collection(write("no.npz", tr=None)[0], t_r=2.5).t_r.tolist() == [2.5] * 3
    assert read_collection(write("no.npz", tr=None)[0]).t_r is None


def test_a_repetition_time_that_is_none_is_settled_by_the_caller(write):
    path = write(tr=np.array([2000.0, 2000.0, 2000.0]))[0]
    with pytest.warns(UserWarning, match=r"t_r=2 s is used as you said, the file says 2000 s"):
        assert read_collection(path, t_r=2.0).t_r.tolist() == [2.0] * 3
    with pytest.raises(UsageError, match="milliseconds"):
        read_collection(write("no.npz", tr=None)[0], t_r=2000.0)


def test_a_damaged_file(write, tmp_path):
    content = write()[0].read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cannot read .*cut\.npz"):
        read_collection(tmp_path / "cut.npz")
