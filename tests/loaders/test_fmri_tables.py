"""Region tables of every kind, real ones among them, and nilearn's cleaning against a published one."""

import gzip
import logging

import h5py
import numpy as np
import pandas as pd
import pytest
from nilearn import signal
from scipy.io import savemat
from scipy.stats import zscore

from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.fmri_clean import clean_series, kept_volumes, read_confounds
from neurosig.loaders.fmri_tables import read_table

RAW = {"standardize": None, "detrend": False}
SUBJECTS = ("NYU_0050952", "NYU_0051020", "UM_1_0050280")


@pytest.fixture
def table():
    """Forty volumes of three regions, rounded as text is."""
    return np.random.default_rng(0).normal(10, 2, (40, 3)).round(4)


def abide(data_dir, strategy, subject, **options):
    parcels = "ho" if strategy == "ho" else "cc200"
    path = data_dir / "abide" / "1D" / strategy / f"{subject}_rois_{parcels}.1D"
    return read_table(path, t_r=2.0, **options), path


# ------------------------------------------------------------------------------------------------------------- text


@pytest.mark.parametrize("separator", ["\t", ",", ";", " ", "   "])
@pytest.mark.parametrize("header", [["V1", "M1", "S1"], None])
def test_text_of_any_separator(tmp_path, table, separator, header):
    rows = ([header] if header else []) + table.tolist()
    path = tmp_path / "run.txt"
    path.write_text("\n".join(separator.join(map(str, row)) for row in rows) + "\n")
    run = read_table(path, **RAW)
    np.testing.assert_allclose(run.data, table.T, rtol=1e-6)
    assert run.names == tuple(header or ("region_1", "region_2", "region_3"))
    assert run.t_r is None


def test_tables_written_by_pandas(tmp_path, table):
    frame = pd.DataFrame(table, columns=["V1", "M1", "S1"])
    frame.to_csv(tmp_path / "plain.csv", index=False)
    frame.to_csv(tmp_path / "index.csv")
    frame.rename_axis("time").to_csv(tmp_path / "time.tsv.gz", sep="\t")
    pd.DataFrame(table).to_csv(tmp_path / "numbered.csv", index=False)  # 0,1,2 over the columns is no volume
    for name in ("plain.csv", "index.csv", "time.tsv.gz"):
        run = read_table(tmp_path / name, **RAW)
        assert run.names == ("V1", "M1", "S1"), name
        np.testing.assert_allclose(run.data, table.T, rtol=1e-6)
    numbered = read_table(tmp_path / "numbered.csv", **RAW)
    assert (numbered.names, numbered.data.shape) == (("0", "1", "2"), (3, 40))
    np.testing.assert_allclose(read_table(frame, **RAW).data, table.T, rtol=1e-6)


def test_a_region_is_not_taken_for_a_counter(tmp_path, table):
    """A column named time that does not count is data; one that counts under another name is data as well."""
    table[:, 2] = np.arange(40)
    pd.DataFrame(table, columns=["time", "M1", "ramp"]).to_csv(tmp_path / "run.csv", index=False)
    assert read_table(tmp_path / "run.csv", **RAW).names == ("time", "M1", "ramp")


def test_adhd200_files_of_afni(tmp_path, table):
    lines = ["File\tSub-brick\tMean_1\tMean_2\tMean_101"]
    lines += [f"rest_1.nii.gz\t{i}[?]\t" + "\t".join(map(str, row)) for i, row in enumerate(table)]
    (tmp_path / "sfnwmrda_TCs.1D").write_text("\n".join(lines))
    run = read_table(tmp_path / "sfnwmrda_TCs.1D", t_r=2.0, **RAW)
    assert run.names == ("1", "2", "101")
    np.testing.assert_allclose(run.data, table.T, rtol=1e-6)
    assert run.provenance["columns_left_out"] == ["File", "Sub-brick"]


def test_real_abide_files_have_their_names(data_dir):
    run, path = abide(data_dir, "filt_global", "NYU_0051020", **RAW)
    expected = np.loadtxt(path)
    assert run.names == tuple(str(i) for i in range(1, 201))
    assert run.data.shape == (200, 176)  # fewer volumes than regions: the header tells which is which
    np.testing.assert_allclose(run.data, expected.T, rtol=1e-5, atol=1e-5)
    oxford, _ = abide(data_dir, "ho", "NYU_0051020")
    assert oxford.names[:3] == ("10", "11", "12")
    assert len(oxford.names) == 111


def test_hcp_node_series_and_netmats(tmp_path):
    rng = np.random.default_rng(1)
    series = rng.normal(size=(60, 5))
    np.savetxt(tmp_path / "100307.txt", series, fmt="%.6f")
    np.testing.assert_allclose(read_table(tmp_path / "100307.txt", **RAW).data, series.T, atol=1e-6)
    np.savetxt(tmp_path / "netmat.txt", np.corrcoef(series.T))
    with pytest.raises(InputError, match="symmetric matrix of 5 × 5"):
        read_table(tmp_path / "netmat.txt")
    with pytest.raises(InputError, match="symmetric matrix"):
        read_table(np.corrcoef(series.T), names=list("abcde"))


# --------------------------------------------------------------------------------------------------- NumPy and MATLAB


def test_numpy_files(tmp_path, table):
    np.save(tmp_path / "run.npy", table)
    np.savez(tmp_path / "run.npz", timeseries=table, mask=np.eye(3), t_r=0.8, region_names=np.array(["a", "b", "c"]))
    np.testing.assert_allclose(read_table(tmp_path / "run.npy", **RAW).data, table.T, rtol=1e-6)
    run = read_table(tmp_path / "run.npz", **RAW)
    assert (run.names, run.t_r) == (("a", "b", "c"), 0.8)
    np.testing.assert_allclose(run.data, table.T, rtol=1e-6)
    with pytest.warns(UserWarning, match=r"t_r=2 s is used as you said, the file says 0\.8 s"):
        assert read_table(tmp_path / "run.npz", t_r=2.0).t_r == 2.0


def test_matlab_files(tmp_path, table):
    names = np.array(["V1", "M1", "S1"], dtype=object)
    savemat(tmp_path / "old.mat", {"ROISignals": table, "names": names, "TR": 1.5})
    old = read_table(tmp_path / "old.mat", **RAW)
    assert (old.names, old.t_r) == (("V1", "M1", "S1"), 1.5)
    np.testing.assert_allclose(old.data, table.T, rtol=1e-6)
    path = tmp_path / "new.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["data"] = table.T  # MATLAB stores columns first
        file["TR"] = np.array([[1.5]])
    with path.open("r+b") as stream:  # the text MATLAB puts before the HDF5 content
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + (0x0200).to_bytes(2, "little") + b"IM")
    new = read_table(path, **RAW)
    np.testing.assert_allclose(new.data, table.T, rtol=1e-6)
    assert new.t_r == 1.5


def test_which_of_several_arrays(tmp_path, table):
    np.savez(tmp_path / "two.npz", first=table, second=table + 1)
    with pytest.raises(InputError, match="several tables: first, second; choose one by variable="):
        read_table(tmp_path / "two.npz")
    np.testing.assert_allclose(read_table(tmp_path / "two.npz", variable="second", **RAW).data, table.T + 1, rtol=1e-6)
    with pytest.raises(UsageError, match=r"no variable 'secnd'; did you mean second\?"):
        read_table(tmp_path / "two.npz", variable="secnd")
    np.savez(tmp_path / "many.npz", X=np.zeros((4, 5, 6)))
    with pytest.raises(InputError, match=r"expected one run.*X of shape \(4, 5, 6\)"):
        read_table(tmp_path / "many.npz")


def test_a_stored_run_comes_back(tmp_path, table):
    run = read_table(table, t_r=2.0, names=["a", "b", "c"], sample_mask=np.arange(5, 40))
    back = read_table(run.save(tmp_path / "run.npz"))
    assert (back.names, back.kept, back.unit, back.t_r) == (run.names, run.kept, "z", 2.0)
    np.testing.assert_array_equal(back.data, run.data)
    assert read_table(tmp_path / "run.npz", t_r=1.0).t_r == 1.0
    with pytest.raises(UsageError, match="drop volumes before storing"):
        read_table(tmp_path / "run.npz", sample_mask=[1, 2])
    with pytest.raises(UsageError, match="filter before storing"):
        read_table(tmp_path / "run.npz", low_pass=0.1)
    raw = read_table(table, t_r=2.0, **RAW).save(tmp_path / "raw.npz")
    np.testing.assert_allclose(read_table(raw).data, zscore(table.T, axis=1, ddof=1), atol=1e-5)
    assert (read_table(raw).unit, read_table(raw, standardize=None).unit) == ("z", "a.u.")


# ------------------------------------------------------------------------------------------------------- orientation


def test_a_table_that_may_lie_either_way_is_refused(tmp_path, table):
    np.save(tmp_path / "wide.npy", table.T)
    with pytest.raises(InputError, match=r"3 rows and 40 columns.*transposed.*orientation='rows_are_regions'"):
        read_table(tmp_path / "wide.npy")
    upright = read_table(tmp_path / "wide.npy", orientation="rows_are_regions", **RAW)
    np.testing.assert_allclose(upright.data, table.T, rtol=1e-6)
    assert read_table(tmp_path / "wide.npy", orientation="rows_are_volumes").data.shape == (40, 3)
    with pytest.raises(InputError, match="40 rows and 40 columns"):
        read_table(np.random.default_rng(0).normal(size=(40, 40)))


def test_names_tell_how_a_table_lies(table):
    wide = np.random.default_rng(0).normal(size=(20, 30))
    names = [f"r{i}" for i in range(30)]
    assert read_table(wide, names=names).data.shape == (30, 20)
    with pytest.raises(InputError, match="3 rows and 40 columns, and there are 3 region names: it is transposed"):
        read_table(table.T, names=["a", "b", "c"])
    assert read_table(table.T, names=["a", "b", "c"], orientation="rows_are_regions").names == ("a", "b", "c")
    with pytest.raises(InputError, match="one name for each of 3 regions, got 2"):
        read_table(table, names=["a", "b"])
    with pytest.raises(UsageError, match="orientation must be one of"):
        read_table(table, orientation="upright")


class Parcels:
    """What an atlas tells of its regions."""

    name, names, positions = "three", ("M1", "V2", "V1"), np.eye(3) / 100


def test_series_are_brought_into_the_order_of_an_atlas(table):
    run = read_table(table[:, :2], names=["V1", "M1"], atlas=Parcels(), **RAW)
    assert (run.names, run.missing, run.atlas) == (("M1", "V2", "V1"), ("V2",), "three")
    np.testing.assert_allclose(run.data[[2, 0]], table[:, :2].T, rtol=1e-6)
    np.testing.assert_array_equal(run.positions, Parcels.positions)
    assert read_table(table, atlas=Parcels()).names == Parcels.names
    with pytest.raises(InputError, match="the atlas three has no region M2"):
        read_table(table[:, :2], names=["V1", "M2"], atlas=Parcels())
    with pytest.raises(InputError, match="2 regions without names, the atlas three 3"):
        read_table(table[:, :2], atlas=Parcels())


# --------------------------------------------------------------------------------------------------------- bad input


def test_empty_columns_are_missing_regions_and_told(tmp_path, table, caplog):
    frame = pd.DataFrame(table, columns=["V1", "M1", "S1"])
    frame["M1"] = np.nan
    frame["S1"] = 4.0
    frame.to_csv(tmp_path / "run.tsv", sep="\t", index=False, na_rep="n/a")
    with caplog.at_level(logging.INFO, "neurosig"):
        run = read_table(tmp_path / "run.tsv", detrend=True)
    assert run.missing == ("M1",)
    assert "1 of 3 regions were not measured (kept as NaN): M1" in caplog.text
    assert "1 regions have one value throughout: S1" in caplog.text
    np.testing.assert_array_equal(run.data[2], 0)
    np.testing.assert_allclose(run.data[0], zscore(_detrended(table[:, 0]), ddof=1), atol=1e-5)


def _detrended(series):
    time = np.arange(len(series))
    return series - np.polyval(np.polyfit(time, series, 1), time)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,b\n1,2\n3\n", "expected 2 values in each row, row 2 has 1"),
     ("a,b\n1,2\n3,x\n4,5\n", r"got text in b \('x' in row 2\)"),
     ("a,b\n1,2\n,5\n3,4\n", "NaN or inf in some volumes"),
     ("a,b\n", "a header and no numbers"), ("#a,b\n", "no numbers"), ("", "is empty"),
     ("a,a\n1,2\n3,4\n5,6\n", "a twice")],
)  # fmt: skip
def test_damaged_text(tmp_path, text, message):
    (tmp_path / "run.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "run.csv")


def test_damaged_and_missing_files(tmp_path, table):
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "none.csv")
    for name in ("run.npy", "run.npz", "run.mat", "run.tsv.gz"):
        (tmp_path / name).write_bytes(b"\x00\x01nothing of the kind" * 20)
        with pytest.raises(InputError, match="cannot be read"):
            read_table(tmp_path / name)
    whole = gzip.compress("\n".join("1 2 3" for _ in range(999)).encode(), mtime=0)
    (tmp_path / "cut.tsv.gz").write_bytes(whole[:-9])
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / "cut.tsv.gz")
    (tmp_path / "run.edf").write_text("0")
    with pytest.raises(InputError, match="expected a table of region series"):
        read_table(tmp_path / "run.edf")
    np.save(tmp_path / "words.npy", np.array([["a", "b"]] * 4))
    with pytest.raises(InputError, match="expected one run"):
        read_table(tmp_path / "words.npy")


@pytest.mark.parametrize(("t_r", "message"), [(0, "positive"), (-1, "positive"), ("x", "positive"), (2000, "t_r=2$"),
                                              (np.nan, "positive"), (0.001, "shorter than any")])  # fmt: skip
def test_repetition_times_that_cannot_be(table, t_r, message):
    with pytest.raises(UsageError, match=message):
        read_table(table, t_r=t_r)


def test_options_that_cannot_be(table):
    with pytest.raises(UsageError, match="high_pass needs the repetition time"):
        read_table(table, high_pass=0.01)
    with pytest.raises(UsageError, match=r"between 0 and 0\.25 Hz"):
        read_table(table, t_r=2.0, low_pass=0.3)
    with pytest.raises(UsageError, match="high_pass must lie below low_pass"):
        read_table(table, t_r=2.0, low_pass=0.01, high_pass=0.1)
    with pytest.raises(UsageError, match="standardize must be"):
        read_table(table, standardize="zscore")


# ----------------------------------------------------------------------------------------------------------- cleaning


def test_sample_masks():
    mask = np.ones(10, bool)
    assert kept_volumes(mask, 10) is None
    mask[3] = False
    assert kept_volumes(mask, 10) == (0, 1, 2, 4, 5, 6, 7, 8, 9)
    assert kept_volumes([5, 2], 10) == (2, 5)
    for wrong in (np.ones(9, bool), [0, 10], [1, 1], [-1], [], [0.5], np.zeros(10, bool)):
        with pytest.raises(InputError, match="sample_mask"):
            kept_volumes(wrong, 10)


def test_confounds_from_anywhere(tmp_path):
    frame = pd.DataFrame({"csf": np.arange(5.0), "csf_derivative1": [np.nan, 1, 1, 1, 1]})
    frame.to_csv(tmp_path / "confounds.tsv", sep="\t", na_rep="n/a", index=False)
    read = read_confounds(tmp_path / "confounds.tsv", 5)
    assert list(read.columns) == ["csf", "csf_derivative1"]
    assert read["csf_derivative1"].tolist() == [1, 1, 1, 1, 1]  # what a derivative lacks is taken from the next
    np.savetxt(tmp_path / "motion.1D", frame[["csf", "csf"]])
    np.testing.assert_array_equal(read_confounds(tmp_path / "motion.1D", 5).to_numpy()[:, 1], frame["csf"])
    assert read_confounds(np.zeros(5), 5).shape == (5, 1)
    assert read_confounds(None, 5) is None
    with pytest.raises(InputError, match="one row of confounds a volume, 6, got 5"):
        read_confounds(frame, 6)
    with pytest.raises(InputError, match="no such file of confounds"):
        read_confounds(tmp_path / "none.tsv", 5)
    frame.loc[3, "csf"] = np.nan
    with pytest.raises(InputError, match="these columns are not: csf"):
        read_confounds(frame, 5)


def test_slow_drifts_are_taken_away_once():
    series = np.random.default_rng(0).normal(size=(2, 60))
    drifts = pd.DataFrame({"cosine00": np.cos(np.linspace(0, np.pi, 60))})
    with pytest.raises(UsageError, match="both take slow drifts away"):
        clean_series(series, 2.0, confounds=drifts, high_pass=0.01)
    assert clean_series(series, 2.0, confounds=drifts).shape == (2, 60)


def test_a_planted_confound_is_gone():
    rng = np.random.default_rng(0)
    confound = rng.normal(size=200)
    series = rng.normal(size=(4, 200)) + 3 * confound
    cleaned = clean_series(series, 2.0, confounds=pd.DataFrame({"motion": confound}), detrend=False)
    assert np.abs([np.corrcoef(row, confound)[0, 1] for row in cleaned]).max() < 1e-6


def test_missing_regions_do_not_touch_the_others():
    series = np.random.default_rng(0).normal(size=(3, 50))
    holed = series.copy()
    holed[1] = np.nan
    whole, rest = clean_series(series, 2.0, low_pass=0.1), clean_series(holed, 2.0, low_pass=0.1)
    assert np.isnan(rest[1]).all()
    np.testing.assert_array_equal(rest[[0, 2]], whole[[0, 2]])


@pytest.mark.parametrize("options", [{}, {"low_pass": 0.1}, {"low_pass": 0.1, "high_pass": 0.01, "detrend": True}])
@pytest.mark.parametrize("dropped", [[20, 21], [0, 20, 99]])
def test_what_dropped_volumes_hold_does_not_matter(options, dropped):
    series = np.random.default_rng(0).normal(size=(3, 100))
    kept = [i for i in range(100) if i not in dropped]
    broken = series.copy()
    broken[:, dropped] = np.nan
    with pytest.raises(InputError, match="regions A, B, C have NaN or inf in some volumes"):
        clean_series(broken, 2.0, names=["A", "B", "C"])
    found = clean_series(broken, 2.0, kept=kept, **options)
    assert found.shape == (3, len(kept))
    np.testing.assert_allclose(found, clean_series(series, 2.0, kept=kept, **options), atol=1e-6)


def test_dropped_volumes_are_interpolated_as_nilearn_does():
    """Where no two dropped volumes mirror each other, nilearn's own interpolation is right, and is the same."""
    rng = np.random.default_rng(0)
    series, confound = rng.normal(size=(3, 100)).cumsum(axis=1), rng.normal(size=(100, 1))
    kept = np.array([i for i in range(100) if i not in (0, 20, 21, 50, 98)])
    found = clean_series(series, 2.0, confounds=pd.DataFrame(confound), kept=kept.tolist(), low_pass=0.1, detrend=True)
    expected = signal.clean(
        series.T.copy(), sample_mask=kept.copy(), confounds=confound.copy(), low_pass=0.1, t_r=2.0, detrend=True
    )
    np.testing.assert_allclose(found, expected.T, atol=1e-5)


@pytest.mark.parametrize("dropped", [[], [0, 1], [198, 199], [0, 1, 198, 199], [0, 60, 139, 199]])
def test_kept_volumes_stay_in_their_place(dropped):
    """A slow wave passes a low-pass unchanged, whichever volumes are dropped at either end."""
    wave = np.sin(2 * np.pi * 0.02 * np.arange(200) * 2.0 + 0.3)
    kept = [i for i in range(200) if i not in dropped]
    found = clean_series(wave[np.newaxis], 2.0, kept=kept, low_pass=0.1, standardize=None)[0]
    np.testing.assert_allclose(found[10:-10], wave[kept][10:-10], atol=1e-3)


def agreement(run, published):
    """Mean correlation of the series, and correlation of the connectivity matrices."""
    each = [np.corrcoef(one, other)[0, 1] for one, other in zip(run.data, published.data, strict=True)]
    upper = np.triu_indices(len(run.data), 1)
    mine, theirs = (np.corrcoef(part.data)[upper] for part in (run, published))
    return np.mean(each), np.corrcoef(mine, theirs)[0, 1]


def outside_band(n_volumes, t_r, low, high):
    """Sines and cosines of all frequencies outside a band: regressed out, they leave what an ideal filter leaves."""
    time = np.arange(n_volumes)
    columns = {}
    for k, frequency in enumerate(np.fft.rfftfreq(n_volumes, t_r)):
        if k and not low <= frequency <= high:
            columns[f"cos{k}"] = np.cos(2 * np.pi * k * time / n_volumes)
            if 2 * k < n_volumes:
                columns[f"sin{k}"] = np.sin(2 * np.pi * k * time / n_volumes)
    return pd.DataFrame(columns)


def test_cleaning_agrees_with_what_abide_published(data_dir):
    """Both strategies of the Preprocessed Connectomes Project, band-pass and global signal regression by nilearn.

    The published filter is an ideal one (it was made by a Fourier transform). nilearn's Butterworth filter comes near;
    with the frequencies outside the band as regressors of one fit, it is the same filter.
    """
    found = {"raw": [], "butterworth": [], "ideal": []}
    for subject in SUBJECTS:
        published, _ = abide(data_dir, "filt_global", subject)
        raw, path = abide(data_dir, "nofilt_noglobal", subject)
        mean = np.loadtxt(path).mean(axis=1)
        smooth, _ = abide(data_dir, "nofilt_noglobal", subject, confounds=mean, low_pass=0.1, high_pass=0.01)
        regressors = outside_band(len(mean), 2.0, 0.01, 0.1).assign(mean=mean)
        ideal, _ = abide(data_dir, "nofilt_noglobal", subject, confounds=regressors)
        for name, run in {"raw": raw, "butterworth": smooth, "ideal": ideal}.items():
            found[name].append(agreement(run, published))
        assert smooth.provenance["confounds"]["columns"] == ["0"]
    raw, butterworth, ideal = (np.array(found[name]) for name in ("raw", "butterworth", "ideal"))
    assert raw.max() < 0.8
    assert butterworth[:, 0].min() >= 0.95
    assert butterworth[:, 1].mean() >= 0.97
    assert ideal[:, 0].min() >= 0.95
    assert ideal[:, 1].min() >= 0.97
