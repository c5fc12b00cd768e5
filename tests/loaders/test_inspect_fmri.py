"""What fMRI files are told to hold, and which of their faults are found."""

import json

import matplotlib.pyplot as plt
import nibabel
import numpy as np
import pandas as pd
import pytest
import surfaces

from neurosig import simulate_fmri
from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.inspect_fmri import inspect_fmri, look_into_fmri
from neurosig.loaders.inspect_fmri_figure import draw_fmri
from neurosig.loaders.inspect_fmri_scan import scan_series

REAL = [
    "haxby_mini/run001_bold_25mm.nii.gz",
    "haxby_mini/run002_bold_1slice.nii.gz",
    "nifti_small/functional.nii",
    "nifti_small/example4d.nii.gz",
    "abide/1D/ho/UM_1_0050280_rois_ho.1D",
    "abide/abide_cc200_filt_global.npz",
]


def kinds(report):
    return {problem["kind"] for problem in report["problems"]}


def problem(report, kind):
    return next(entry for entry in report["problems"] if entry["kind"] == kind)


@pytest.fixture(scope="module")
def series():
    """Two hundred volumes of twelve regions, around 1000."""
    data = simulate_fmri(1, n_times=200, n_regions=12, n_networks=3, motion=0, standardize=None, label=None)
    return 1000 + 10 * data.X[0].T


@pytest.fixture
def save(tmp_path, series):
    """Write a table, some of whose columns or rows are changed; gives its path."""

    def write(change=None, name="run.tsv"):
        table = pd.DataFrame(series, columns=[f"R{i}" for i in range(12)])
        if change is not None:
            change(table)
        table.to_csv(tmp_path / name, sep="\t", index=False, na_rep="n/a")
        return tmp_path / name

    return write


@pytest.fixture
def volume(tmp_path):
    """Write a run of a ball-shaped brain; gives its path."""

    def write(name="sub-01_task-rest_bold.nii.gz", change=None, t_r=2.0, n_volumes=70, unit="sec"):
        rng = np.random.default_rng(0)
        place = np.indices((14, 14, 14)) - 6.5
        data = np.where((place**2).sum(axis=0) < 30, 900.0, 20.0)[..., None] + rng.normal(0, 5, (14, 14, 14, n_volumes))
        if change is not None:
            change(data)
        image = nibabel.Nifti1Image(data.astype(np.float32), np.diag([3, 3, 3, 1]))
        image.header.set_xyzt_units("mm", unit)
        image.header.set_zooms((3, 3, 3, t_r))
        image.to_filename(tmp_path / name)
        return tmp_path / name

    return write


# --------------------------------------------------------------------------------------------------------------- told


@pytest.mark.parametrize("file", REAL)
def test_real_files_can_be_told_and_drawn(data_dir, file):
    found = look_into_fmri(data_dir / file)
    json.dumps(found.report)
    figure = draw_fmri(found)
    assert len(figure.axes) >= 4
    assert not plt.get_fignums()


def test_what_real_files_hold(data_dir):
    haxby = inspect_fmri(data_dir / REAL[0])
    assert (haxby["t_r"], haxby["n_volumes"], haxby["details"]["voxel_mm"]) == (2.5, 121, [25.0, 25.0, 25.0])
    assert sum(haxby["events"].values()) == 8
    assert problem(inspect_fmri(data_dir / REAL[3]), "t_r")["message"].endswith("Then pass t_r=2")
    oxford = inspect_fmri(data_dir / REAL[4], t_r=2.0)
    assert problem(oxford, "constant")["regions"] == ["3455", "3701"]  # this subject's images do not reach them
    abide = inspect_fmri(data_dir / REAL[5])["details"]
    assert (abide["n_runs"], abide["n_volumes"], abide["sites"]) == (318, [116, 296], 5)


def test_a_clean_table(save, series):
    report = inspect_fmri(save(), t_r=2.0)
    assert report["problems"] == []
    assert (report["format"], report["kind"]) == ("table (.tsv)", "regions")
    assert (report["n_rows"], report["n_volumes"]) == (12, 200)
    assert (report["t_r"], report["duration"]) == (2.0, 400.0)
    assert report["values"]["median"] == pytest.approx(np.median(series), rel=1e-4)
    expected = np.median(series.mean(axis=0) / series.std(axis=0))
    assert report["values"]["tsnr"] == pytest.approx(expected, rel=1e-4)


def test_faults_of_a_table_are_found(save):
    def spoil(table):
        table["R1"] = np.nan
        table["R2"] = 3.0
        table["R4"] = table["R3"]
        table.loc[120, "R5":] += 300.0
        table.loc[:2, "R5":] += 200.0

    report = inspect_fmri(save(spoil))
    assert kinds(report) == {"t_r", "missing", "constant", "duplicate", "spikes", "settling"}
    assert problem(report, "missing")["regions"] == ["R1"]
    assert problem(report, "constant")["regions"] == ["R2"]
    assert problem(report, "duplicate")["regions"] == ["R3", "R4"]
    assert {120, 121} <= set(report["spikes"])
    assert "the first 3 volumes" in problem(report, "settling")["message"]


def test_a_short_run_and_a_table_on_its_side(save, tmp_path, series):
    np.save(tmp_path / "side.npy", series.T[:, :50])
    report = inspect_fmri(tmp_path / "side.npy", t_r=2.0)  # its rows are smooth: time runs along them
    assert kinds(report) == {"short"}
    assert report["n_rows"] == 12
    assert "12 × 50 without names: rows are regions by their smoothness" in report["notes"][0]
    assert inspect_fmri(tmp_path / "side.npy", t_r=2.0, orientation="rows_are_regions")["notes"] == []
    wrong = inspect_fmri(tmp_path / "side.npy", t_r=2.0, orientation="rows_are_volumes")
    assert "is it transposed? Then say orientation='rows_are_regions'" in problem(wrong, "orientation")["message"]
    with pytest.raises(InputError, match="is it transposed"):
        np.save(tmp_path / "noise.npy", np.random.default_rng(0).standard_normal((12, 50)))
        inspect_fmri(tmp_path / "noise.npy")


def test_a_volume_without_and_with_an_atlas(volume):
    path = volume()
    report = inspect_fmri(path)
    assert "mask" in report["details"]
    assert report["details"]["mask"].startswith("brain")
    ball = ((np.indices((14, 14, 14)) - 6.5) ** 2).sum(axis=0) < 30
    assert abs(report["n_rows"] - ball.sum()) < 0.25 * ball.sum()  # nilearn's mask is opened, its edges are round
    assert report["values"]["tsnr"] == pytest.approx(900 / 5, rel=0.1)
    labels = np.zeros((14, 14, 14), np.int32)
    labels[4:7], labels[7:10] = 1, 2
    atlas = path.with_name("atlas.nii.gz")
    nibabel.Nifti1Image(labels, np.diag([3, 3, 3, 1])).to_filename(atlas)
    regions = look_into_fmri(path, atlas=atlas)
    assert (regions.report["kind"], regions.report["n_rows"]) == ("regions", 2)
    data = nibabel.load(path).get_fdata()
    np.testing.assert_allclose(regions.rows[0], data[4:7].mean(axis=(0, 1, 2)), rtol=1e-4)


def test_faults_of_a_volume_are_found(volume):
    def spoil(data):
        data[6, 6, 6, 4] = np.nan
        data[7, 7, 7] = 900.0

    path = volume(change=spoil, t_r=2000.0)
    path.with_name("sub-01_task-rest_events.tsv").write_text("onset\tduration\ttrial_type\n0\t1\tface\n9\t1\thouse\n")
    report = inspect_fmri(path)
    assert {"t_r", "nan", "constant"} <= kinds(report)
    assert problem(report, "nan")["message"].startswith("1 of ")
    assert report["events"] == {"face": 1, "house": 1}
    assert report["t_r"] is None
    given = inspect_fmri(path, t_r=2.0)
    assert given["t_r"] == 2.0
    assert "t_r" not in kinds(given)


def test_milliseconds_that_say_so_are_seconds(volume):
    assert inspect_fmri(volume(t_r=800.0, unit="msec"))["t_r"] == pytest.approx(0.8)


def test_confounds_of_fmriprep_are_told(volume):
    path = volume("sub-01_task-rest_space-MNI_desc-preproc_bold.nii.gz")
    moved = np.zeros(70)
    moved[10:30] = 1.0
    table = pd.DataFrame({"framewise_displacement": moved, "csf": 0.0})
    beside = path.with_name("sub-01_task-rest_desc-confounds_timeseries.tsv")
    table.to_csv(beside, sep="\t", index=False)
    report = inspect_fmri(path)
    mean = pytest.approx(2 / 7, 1e-4)
    assert report["confounds"] == {"file": beside.name, "n_columns": 2, "n_rows": 70, "mean_fd": mean}
    assert problem(report, "movement")["message"].startswith("29% of the volumes")
    table.iloc[:60].to_csv(beside, sep="\t", index=False)
    assert "has 60 rows, the run 70 volumes" in problem(inspect_fmri(path), "confounds")["message"]


def test_grayordinates_parcels_and_surfaces(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.normal(100, 5, (40, 28)).astype(np.float32)
    dense = surfaces.dtseries(tmp_path / "a.dtseries.nii", data, surfaces.brain_models(), t_r=0.72)
    report = inspect_fmri(dense)
    assert (report["kind"], report["n_rows"], report["t_r"]) == ("grayordinates", 28, pytest.approx(0.72))
    assert report["details"]["structures"] == {"cortex_left": 15, "cortex_right": 10, "thalamus_left": 3}
    axis = surfaces.brain_models(range(30), range(30))
    labels = surfaces.dlabel(tmp_path / "two.dlabel.nii", [1] * 30 + [2] * 33, {1: "L", 2: "R"}, axis)
    regions = look_into_fmri(dense, atlas=labels)
    assert (regions.report["names"], regions.report["details"]["atlas"]) == (["L", "R"], "two")
    np.testing.assert_allclose(regions.rows[0], data[:, :15].mean(axis=1), rtol=1e-5)
    parcels = inspect_fmri(surfaces.ptseries(tmp_path / "a.ptseries.nii", data[:, :2], ["A", "B"], t_r=720.0))
    assert (parcels["names"], parcels["t_r"]) == (["A", "B"], None)
    assert "milliseconds" in problem(parcels, "t_r")["message"]
    assert parcels["notes"] == []
    surface = look_into_fmri(surfaces.gifti_series(tmp_path / "hemi-L.func.gii", data.T[:, :20]))
    assert (surface.report["kind"], surface.report["n_rows"], surface.report["n_volumes"]) == ("vertices", 28, 20)
    assert kinds(surface.report) == {"t_r"}
    draw_fmri(surface)


def test_a_scan_in_pieces_finds_what_one_in_all_finds(monkeypatch):
    data = np.random.default_rng(0).normal(size=(50, 30)).astype(np.float32)
    data[3, 4], data[7], data[9] = np.nan, np.nan, 2.0
    whole, one = scan_series([data], 50)
    pieces, other = scan_series((data[i : i + 7] for i in range(0, 50, 7)), 50)
    np.testing.assert_array_equal(whole, pieces)
    for name in ("bad", "constant"):
        np.testing.assert_array_equal(one[name], other[name])
    assert one["bad"].tolist() == [1 if i == 3 else 30 if i == 7 else 0 for i in range(50)]
    assert np.flatnonzero(one["constant"]).tolist() == [9]
    monkeypatch.setattr("neurosig.loaders.inspect_fmri_scan._ROWS", 10)
    assert len(scan_series([data], 50)[0]) == 10


def test_the_picture_shows_problem_regions_in_red(save):
    def spoil(table):
        table["R2"] = 3.0

    figure = draw_fmri(look_into_fmri(save(spoil), t_r=2.0))
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert colours.count("#c0392b") == 1
    matrix = next(axes.images[0].get_array() for axes in figure.axes if axes.images)
    assert np.ma.getmaskarray(matrix)[2].all() or np.isnan(np.ma.filled(matrix, np.nan)[2]).all()


# ---------------------------------------------------------------------------------------------------------- bad input


def test_what_cannot_be_inspected(tmp_path, volume, save):
    with pytest.raises(InputError, match="no such file"):
        inspect_fmri(tmp_path / "none.nii.gz")
    with pytest.raises(InputError, match="is a folder"):
        inspect_fmri(tmp_path)
    (tmp_path / "a.edf").write_text("0")
    with pytest.raises(InputError, match="no fMRI series by its name"):
        inspect_fmri(tmp_path / "a.edf")
    path = volume()
    with pytest.raises(InputError, match="orientation: for tables"):
        inspect_fmri(path, orientation="rows_are_volumes")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="damaged"):
        inspect_fmri(path)
    with pytest.raises(UsageError, match="milliseconds"):
        inspect_fmri(save(), t_r=2000)


def test_a_hole_is_a_problem_not_an_error(save):
    def spoil(table):
        table.loc[40, "R3"] = np.nan

    report = inspect_fmri(save(spoil), t_r=2.0)
    assert problem(report, "nan") == {
        "kind": "nan",
        "message": "1 of 12 regions hold NaN or inf in part",
        "regions": ["R3"],
    }
    assert report["n_volumes"] == 200


def test_what_is_no_series_is_said(tmp_path):
    (tmp_path / "run_events.tsv").write_text("onset\tduration\ttrial_type\n1\t2\tface\n")
    with pytest.raises(InputError, match=r"is a table of events .*give the run that it lies beside"):
        inspect_fmri(tmp_path / "run_events.tsv")
    (tmp_path / "people.tsv").write_text("participant_id\tage\nsub-01\t20\n")
    with pytest.raises(InputError, match="is a table of people"):
        inspect_fmri(tmp_path / "people.tsv")


def test_voxels_that_are_too_coarse_are_one_problem(data_dir):
    report = inspect_fmri(data_dir / REAL[0], atlas="power")
    (copies,) = [entry for entry in report["problems"] if entry["kind"] == "duplicate"]
    assert "of 264 regions share their series with others; the image's voxels, of 25 × 25 × 25 mm" in copies["message"]
    assert len(copies["regions"]) > 100
    voxels = inspect_fmri(data_dir / REAL[0], atlas="voxels")
    assert (voxels["n_rows"], voxels["details"]["atlas"]) == (600, "voxels")
