import numpy as np
import pytest

from neurosig.core.errors import ChannelError, InputError, StorageError, UsageError
from neurosig.loaders.fmri_run import Run


@pytest.fixture
def run():
    data = np.random.default_rng(0).standard_normal((3, 5))
    data[1] = np.nan
    return Run(
        data, 2.0, ["a", "b", "c"], atlas="three", positions=np.arange(9).reshape(3, 3) / 1000, n_volumes=8,
        kept=[0, 1, 2, 5, 7], unit="z", file="x.nii.gz", provenance={"confounds": ["trans_x"]}, subject="01",
        task="rest",
    )  # fmt: skip


def test_what_is_stored_comes_back(run, tmp_path):
    again = Run.load(run.save(tmp_path / "sub" / "run.npz"))
    np.testing.assert_array_equal(again.data, run.data)
    np.testing.assert_array_equal(again.positions, run.positions)
    for name in (
        "t_r",
        "names",
        "atlas",
        "n_volumes",
        "kept",
        "unit",
        "file",
        "provenance",
        "subject",
        "session",
        "task",
    ):
        assert getattr(again, name) == getattr(run, name), name
    assert again.data.dtype == np.float32


@pytest.mark.parametrize("damage", [lambda raw: raw[:200], lambda raw: b"", lambda raw: b"no zip"])
def test_damaged_store_is_refused(run, tmp_path, damage):
    path = run.save(tmp_path / "run.npz")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StorageError, match=r"run\.npz"):
        Run.load(path)


def test_other_archives_and_absent_files_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", data=np.zeros((2, 2)))
    for name in ("other.npz", "absent.npz"):
        with pytest.raises(StorageError, match=name):
            Run.load(tmp_path / name)


def test_it_tells_what_it_is(run):
    assert run.missing == ("b",)
    assert repr(run) == "<Run x.nii.gz: 3 regions, 1 missing, 5 of 8 volumes, TR 2 s, in z>"
    spec = run.spec
    assert (spec.modality, spec.sfreq, spec.t_r, spec.unit, spec.atlas) == ("fmri", 0.5, 2.0, "z", "three")
    assert spec.ch_names == ("a", "b", "c") and spec.positions[1] == (0.003, 0.004, 0.005)


def test_regions_by_name(run):
    turned = run.reorder(["c", "a"])
    np.testing.assert_array_equal(turned.data, run.data[[2, 0]])
    np.testing.assert_array_equal(turned.positions, run.positions[[2, 0]])
    with pytest.raises(ChannelError, match="no region named d"):
        run.reorder(["a", "d"])


def test_volumes_that_are_all_kept_are_none():
    assert Run(np.ones((1, 3)), 1.0, n_volumes=3, kept=[0, 1, 2]).kept is None
    assert Run(np.ones((1, 3)), None).n_volumes == 3
    assert Run(np.ones((2, 3)), None).names == ("region_1", "region_2")


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"t_r": 0.0}, InputError, "above 0 s"),
        ({"t_r": float("nan")}, InputError, "above 0 s"),
        ({"names": ["a", "a", "b"]}, InputError, "a twice"),
        ({"names": ["a"]}, InputError, "1 of them"),
        ({"positions": np.zeros((2, 3))}, InputError, r"positions of shape \(3, 3\)"),
        ({"kept": [0, 2, 1, 5, 7]}, InputError, "rising"),
        ({"kept": [0, 1, 2, 5, 8]}, InputError, "below 8"),
        ({"kept": None}, InputError, "kept must say which"),
        ({"n_volumes": None}, InputError, "n_volumes"),
        ({"unit": "zscore"}, UsageError, "unit must be"),
        ({"data": np.zeros(3)}, InputError, "n_regions, n_times"),
        ({"data": np.full((3, 5), "x")}, InputError, "n_regions, n_times"),
        ({"data": np.array([[np.nan, 1, 1, 1, 1]] * 3)}, InputError, "part of the series of a, b, c"),
    ],
)
def test_what_does_not_fit_is_refused(run, changes, error, match):
    with pytest.raises(error, match=match):
        run.replace(**changes)
