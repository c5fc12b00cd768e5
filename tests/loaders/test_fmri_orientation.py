"""Which way tables lie, by their numbers: real series of either way, and what must not be taken for time."""

import numpy as np
import pytest

from neurosig.core.errors import InputError
from neurosig.loaders.fmri import load_fmri
from neurosig.loaders.fmri_orientation import smoothness
from neurosig.loaders.fmri_tables import read_table

RAW = {"standardize": None}


def smooth(n_times=60, n_regions=80, seed=0, carry=0.8):
    """Series that carry part of the volume before, of independent regions."""
    rng = np.random.default_rng(seed)
    series = rng.standard_normal((n_times, n_regions))
    for volume in range(1, n_times):
        series[volume] += carry * series[volume - 1]
    return series


def test_real_series_lie_as_they_lie(data_dir):
    path = data_dir / "abide/1D/filt_global/NYU_0050952_rois_cc200.1D"
    series = np.loadtxt(path)
    assert series.shape == (176, 200)
    assert smoothness(series).orientation == "rows_are_volumes"
    assert smoothness(series.T).orientation == "rows_are_regions"
    same = smoothness(series * np.linspace(1, 50, 200) + np.linspace(0, 900, 200))  # units and levels of regions
    assert same.down == pytest.approx(smoothness(series).down, abs=0.05)


def test_no_real_series_of_many_people_is_taken_for_its_transpose(data_dir):
    with np.load(data_dir / "abide/abide_cc200_filt_global.npz") as stored:
        X, ends = stored["X"], np.cumsum(stored["length"])
    for end, length in list(zip(ends, stored_lengths(ends), strict=True))[::40]:
        assert smoothness(X[end - length : end].astype(float)).orientation == "rows_are_volumes"


def stored_lengths(ends):
    return np.diff(ends, prepend=0)


def test_neighbours_that_are_alike_in_pairs_are_not_time():
    """Left and right beside each other: half of the neighbours go together, the others do not."""
    pairs = np.repeat(smooth(200, 45, carry=0.1), 2, axis=1)
    pairs += 0.5 * np.random.default_rng(1).standard_normal(pairs.shape)
    neighbours = [np.corrcoef(pairs[:, i], pairs[:, i + 1])[0, 1] for i in range(89)]
    assert np.mean(neighbours) > 0.35  # what a mean over neighbours would be misled by
    assert smoothness(pairs).orientation is None


@pytest.mark.parametrize("shape", [(20, 30), (40, 40), (200, 10), (12, 12)])
def test_noise_tells_nothing(shape):
    rng = np.random.default_rng(0)
    assert {smoothness(rng.standard_normal(shape)).orientation for _ in range(50)} == {None}


def test_volumes_that_moved_do_not_decide():
    series = np.random.default_rng(0).standard_normal((100, 12))
    series[:3, 5:] += 200.0
    series[60, 4:] -= 500.0
    assert smoothness(series).orientation is None


def test_too_little_to_tell():
    assert smoothness(smooth(9, 30)) is None
    constant = np.ones((40, 40))
    assert smoothness(constant) is None
    holed = smooth()
    holed[3, 5], holed[:, 7] = np.nan, np.nan
    assert smoothness(holed).orientation == "rows_are_volumes"


def test_a_transposed_table_is_read_the_right_way_and_told(tmp_path):
    series = smooth(60, 80)
    np.save(tmp_path / "turned.npy", series.T)  # 80 rows, 60 columns: by its shape 80 volumes
    np.save(tmp_path / "upright.npy", series)  # fewer rows than columns: by its shape nothing can be told
    with pytest.warns(UserWarning, match=r"turned\.npy: 80 × 60 without names: rows are regions by their smoothness"):
        turned = load_fmri(tmp_path / "turned.npy", t_r=2.0, **RAW)
    with pytest.warns(UserWarning, match=r"rows are volumes by.*if not, say orientation='rows_are_regions'"):
        upright = load_fmri(tmp_path / "upright.npy", t_r=2.0, **RAW)
    np.testing.assert_allclose(turned.X[0], series.T, rtol=1e-5)
    np.testing.assert_array_equal(turned.X, upright.X)


def test_what_is_said_holds_and_is_doubted(tmp_path):
    series = smooth(60, 80)
    with pytest.warns(UserWarning, match="rows are volumes as you said, but the other axis is the smooth one"):
        said = load_fmri(series.T, t_r=2.0, orientation="rows_are_volumes", **RAW)
    assert said.X.shape == (1, 60, 80)
    assert "orientation" not in read_table(series, t_r=2.0, orientation="rows_are_volumes").provenance
    names = [f"R{i}" for i in range(60)]
    assert "by their names, but" in read_table(series.T, names=names).provenance["orientation"]["told"]


def test_where_nothing_is_clear_the_shape_decides():
    noise = np.random.default_rng(0).standard_normal((40, 30))
    assert read_table(noise, **RAW).data.shape == (30, 40)
    with pytest.raises(InputError, match="is it transposed"):
        read_table(noise.T)


def test_runs_of_a_collection_that_lie_on_their_side(tmp_path):
    runs = np.stack([smooth(60, 40, seed) for seed in range(3)])
    np.savez(tmp_path / "runs.npz", X=runs, t_r=2.0)
    load_fmri(tmp_path / "runs.npz")
    np.savez(tmp_path / "turned.npz", X=np.stack([smooth(40, 60, seed).T for seed in range(3)]), t_r=2.0)
    with pytest.warns(UserWarning, match=r"turned\.npz: .*Then say orientation='rows_are_regions'"):
        load_fmri(tmp_path / "turned.npz")
