import dataclasses
import tracemalloc
import warnings

import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.maskers import NiftiLabelsMasker
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import neurosig
from neurosig import load_fmri
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.lazy_runs import LazyRuns
from neurosig.loaders.atlas import Atlas
from neurosig.loaders.fmri_read import RunLoader

PEOPLE = "participant_id\tage\tgroup\tsite\nsub-01\t30\tcontrol\tA\nsub-02\t40\tpatient\tB\nsub-03\tn/a\tn/a\tB\n"


@pytest.fixture
def runs(volumes, tmp_path):
    """Files of runs of other lengths."""
    paths = []
    for number, n_times in enumerate((30, 40, 30), 1):
        paths.append(tmp_path / f"sub-0{number}_task-rest_bold.nii.gz")
        nibabel.save(volumes(n_times, seed=number), paths[-1])
    return paths


def test_runs_of_other_lengths(runs, labels_image, three, no_network):
    loaded = load_fmri(runs, atlas=three)
    assert isinstance(loaded.X, list) and [run.shape for run in loaded.X] == [(3, 30), (3, 40), (3, 30)]
    assert loaded.metadata["subject"].tolist() == ["01", "02", "03"] and loaded.y is None
    assert loaded.metadata["n_volumes"].tolist() == [30, 40, 30] and loaded.metadata["kept"].tolist() == [None] * 3
    assert loaded.metadata["t_r"].tolist() == [2.0] * 3 and loaded.metadata["file"].tolist() == [p.name for p in runs]
    info = loaded.info
    assert (info.modality, info.t_r, info.sfreq, info.unit, info.atlas) == ("fmri", 2.0, 0.5, "z", "three")
    assert info.ch_names == ("left", "right", "middle") and len(info.positions) == 3
    masker = NiftiLabelsMasker(labels_image, standardize="zscore_sample", reports=False)
    for run, path in zip(loaded.X, runs, strict=True):
        np.testing.assert_allclose(run, masker.fit_transform(path).T, atol=2e-4)  # nilearn reckons in float32 here
        assert run.dtype == np.float32
    told = info.extra["fmri"]["runs"][1]
    assert told["file"] == runs[1].name and told["masker"]["strategy"] == "mean" and told["confounds"] is None
    assert neurosig.SignalSpec.from_dict(info.to_dict()).digest() == info.digest()  # JSON-like throughout
    assert load_fmri([runs[0], runs[2]], atlas=three).X.shape == (2, 3, 30)


def test_what_one_run_lacks_is_told_once_for_all(runs, atlas):
    with pytest.warns(UserWarning, match="3 of 3 runs lack regions, which are kept as NaN: gone") as caught:
        loaded = load_fmri(runs, atlas=atlas)
    assert len(caught) == 1
    assert all(np.isnan(run[3]).all() and np.isfinite(run[:3]).all() for run in loaded.X)
    checked = neurosig.core.runs.check_runs(loaded, allow_missing=True)
    assert len(checked) == 3


def test_voxels_that_are_not_finite_and_constant_regions_are_warned_of(volumes, labels_image, three):
    data = volumes(20).get_fdata()
    data[1, 0, 0, 4] = np.nan
    data[np.asarray(labels_image.dataobj) == 7] = 5
    with pytest.warns(UserWarning) as caught:
        loaded = load_fmri(volumes(data=data), atlas=three)
    said = " ".join(str(warning.message) for warning in caught)
    assert r"left out of the means (1 voxels): middle" in said
    assert "constant throughout, which are 0 after standardising: right" in said
    assert (loaded.X[0][1] == 0).all() and np.isfinite(loaded.X).all()


def test_fmriprep_with_one_run_without_confounds(fmriprep, three, no_network):
    root = fmriprep({"01": {"spikes": (20,)}, "02": {"confounds": None}, "03": {}}, PEOPLE)
    with pytest.warns(UserWarning, match=r"1 runs skipped: sub-02_.*no table of confounds beside it"):
        loaded = load_fmri(root, atlas=three, confounds="scrubbing")
    assert loaded.metadata["subject"].tolist() == ["01", "03"]
    (skipped,) = loaded.info.extra["fmri"]["skipped"]
    assert skipped["subject"] == "02" and "confounds" in skipped["reason"]
    kept = loaded.metadata["kept"].tolist()
    assert 20 not in kept[0] and len(kept[0]) == 59 == loaded.X[0].shape[1] and kept[1] is None
    assert loaded.metadata["n_volumes"].tolist() == [60, 60]
    assert loaded.metadata["site"].tolist() == ["A", "B"] and loaded.metadata["age"].tolist()[0] == 30
    told = loaded.info.extra["fmri"]["runs"][0]["confounds"]
    assert told["strategy"] == "scrubbing" and "trans_x" in told["columns"]
    with pytest.raises(InputError, match="no table of confounds"):
        load_fmri(root, atlas=three, on_error="raise")
    assert len(load_fmri(root, atlas=three, confounds=None)) == 3


def test_files_of_fmriprep_without_a_table_are_told(fmriprep, three):
    (file,) = fmriprep({"01": {"confounds": None}}).rglob("*_bold.nii.gz")
    with pytest.warns(UserWarning, match="1 of 1 runs are fMRIPrep's and have no table of confounds beside them"):
        loaded = load_fmri(file, atlas=three)
    np.testing.assert_array_equal(loaded.X, load_fmri(file, atlas=three, confounds=None).X)


def test_more_confounds_than_volumes(runs, three):
    tables = np.random.default_rng(0).standard_normal((30, 40))
    with pytest.raises(InputError, match="40 confounds leave nothing of 30 volumes"):
        load_fmri(runs[0], atlas=three, confounds=tables)
    assert load_fmri(runs[0], atlas=three, confounds=tables[:, :5].repeat(8, axis=1)).X.shape == (1, 3, 30)


def test_all_runs_unusable(fmriprep, three):
    root = fmriprep({"01": {"confounds": None}})
    with pytest.raises(InputError, match=r"none of 1 runs can be used: sub-01.*no table of confounds"):
        load_fmri(root, atlas=three)


def test_confounds_of_another_length_are_a_reason(fmriprep, three):
    root = fmriprep({"01": {"confounds": 59}, "02": {}})
    with pytest.warns(UserWarning, match="expected one row of confounds a volume, 60, got 59"):
        assert len(load_fmri(root, atlas=three)) == 1


def test_labels_of_participants(fmriprep, three):
    root = fmriprep({"01": {}, "02": {}, "03": {}}, PEOPLE)
    with pytest.warns(UserWarning, match="1 of 3 runs have no label and are left out: subjects 03"):
        loaded = load_fmri(root, atlas=three, labels="group")
    assert loaded.y.tolist() == ["control", "patient"] and loaded.metadata["subject"].tolist() == ["01", "02"]
    assert loaded.info.extra["fmri"]["skipped"][0]["reason"] == "no label"
    assert load_fmri(root, atlas=three, labels=["x", "y", "x"]).y.tolist() == ["x", "y", "x"]
    by_name = load_fmri(root, atlas=three, labels={"sub-01": 0.5, "02": 1.5, "03": 2.5})
    assert by_name.y.tolist() == [0.5, 1.5, 2.5]
    with pytest.raises(UsageError, match="no column 'grup': did you mean group"):
        load_fmri(root, atlas=three, labels="grup")
    with pytest.raises(UsageError, match="labels must be one for each of 3 runs, got 2"):
        load_fmri(root, atlas=three, labels=["x", "y"])


def test_people_who_are_not_in_the_table(fmriprep, three):
    root = fmriprep({"01": {}, "99": {}}, PEOPLE)
    with pytest.warns(UserWarning, match="does not name the subjects 99"):
        loaded = load_fmri(root, atlas=three)
    assert loaded.metadata["site"].tolist()[0] == "A" and pd.isna(loaded.metadata["site"][1])


def test_bids_root_with_derivatives(fmriprep, three, tmp_path):
    fmriprep({"01": {}, "02": {}}, PEOPLE)
    (tmp_path / "dataset_description.json").write_text("{}")
    loaded = load_fmri(tmp_path, atlas=three, subjects=["02"])
    assert loaded.metadata["subject"].tolist() == ["02"] and loaded.metadata["site"].tolist() == ["B"]


def test_damaged_runs(fmriprep, three):
    root = fmriprep({"01": {}, "02": {}})
    path = next(root.glob("sub-01/func/*.nii.gz"))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.warns(UserWarning, match="damaged, cut short"):
        assert load_fmri(root, atlas=three).metadata["subject"].tolist() == ["02"]
    with pytest.raises(InputError, match="damaged, cut short"):
        load_fmri(path, atlas=three, confounds=None)


def test_lazy_reads_one_run_at_a_time(fmriprep, three, monkeypatch):
    root = fmriprep({"01": {"spikes": (9,)}, "02": {"n_times": 50}, "03": {}}, PEOPLE)
    eager = load_fmri(root, atlas=three, confounds="scrubbing")
    reads = []
    before = RunLoader.load
    monkeypatch.setattr(RunLoader, "load", lambda self, item: reads.append(item.file.subject) or before(self, item))
    lazy = load_fmri(root, atlas=three, confounds="scrubbing", lazy=True)
    assert isinstance(lazy.X, LazyRuns) and reads == []
    columns = list(eager.metadata)
    assert lazy.metadata[columns].equals(eager.metadata[columns])
    assert dataclasses.replace(lazy.info, extra={}) == dataclasses.replace(eager.info, extra={})
    np.testing.assert_array_equal(lazy.X[1], eager.X[1])
    assert reads == ["02"]
    for one, other in zip(lazy.subset("site == 'B'").load().X, eager.X[1:], strict=True):
        np.testing.assert_array_equal(one, other)


def test_memory_holds_one_run_of_volumes(volumes, tmp_path, three):
    image = volumes(300)
    paths = [tmp_path / f"sub-{number}_bold.nii" for number in range(4)]
    nibabel.save(image, paths[0])
    for path in paths[1:]:
        path.write_bytes(paths[0].read_bytes())
    one_run = 10 * 11 * 9 * 300 * 4
    load_fmri(paths[:1], atlas=three)  # imports are not counted
    tracemalloc.start()
    try:
        load_fmri(paths[:1], atlas=three)
        _, alone = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        load_fmri(paths, atlas=three)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - alone < one_run / 2  # three runs more, and not even one more in memory


def test_kept_on_disk_by_content(runs, three, tmp_path, monkeypatch, labels_image):
    folder = tmp_path / "kept"
    reads = []
    before = RunLoader._loaded
    monkeypatch.setattr(RunLoader, "_loaded", lambda self, item: reads.append(1) or before(self, item))
    first = load_fmri(runs, atlas=three, memory=folder)
    assert len(reads) == 3 and len(list(folder.glob("*.npz"))) == 3
    again = load_fmri(runs, atlas=three, memory=folder)
    assert len(reads) == 3
    for one, other in zip(first.X, again.X, strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.info.digest() == first.info.digest() and again.metadata.equals(first.metadata)
    load_fmri(runs, atlas=three, memory=folder, detrend=True)
    assert len(reads) == 6  # another setting
    load_fmri(runs, atlas=Atlas.from_files(labels_image, ["a", "b", "c"]), memory=folder)
    assert len(reads) == 9  # another atlas
    runs[0].write_bytes(runs[2].read_bytes())
    load_fmri(runs, atlas=three, memory=folder)
    assert len(reads) == 10  # another file
    next(folder.glob("*.npz")).write_bytes(b"damaged")
    load_fmri(runs, atlas=three, memory=folder, detrend=True)
    load_fmri(runs, atlas=three, memory=folder)


def test_scrubbing_tables_belong_to_what_is_kept(fmriprep, three, tmp_path):
    root = fmriprep({"01": {}})
    first = load_fmri(root, atlas=three, memory=tmp_path / "kept")
    path = next(root.rglob("*confounds_timeseries.tsv"))
    table = pd.read_csv(path, sep="\t")
    table["trans_x"] = np.arange(60) ** 2
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    second = load_fmri(root, atlas=three, memory=tmp_path / "kept")
    assert not np.allclose(first.X, second.X)


def test_several_processes_give_the_same(runs, three):
    import joblib

    with joblib.parallel_config("threading"):
        several = load_fmri(runs, atlas=three, n_jobs=2)
    for one, other in zip(several.X, load_fmri(runs, atlas=three).X, strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_mask_and_table_a_run(runs, three):
    rng = np.random.default_rng(0)
    tables = [rng.standard_normal((n, 2)) for n in (30, 40, 30)]
    loaded = load_fmri(runs, atlas=three, confounds=tables, sample_mask=[None, range(5, 40), np.arange(30) < 20])
    assert [run.shape[1] for run in loaded.X] == [30, 35, 20]
    assert loaded.metadata["kept"].tolist()[1] == tuple(range(5, 40))
    for run, table, kept in zip(loaded.X, tables, (slice(30), slice(5, 40), slice(20)), strict=True):
        still = table[kept] - table[kept].mean(axis=0)
        assert np.abs(run.astype(float) @ still).max() < 1e-4
    with pytest.raises(UsageError, match="that of one run, and there are 3"):
        load_fmri(runs, atlas=three, sample_mask=np.arange(20))


def test_runs_that_are_too_short(runs, volumes, three, tmp_path):
    with pytest.raises(InputError, match=r"sub-01.*too short: 20 of 30 volumes, min_volumes=25"):
        load_fmri(runs[0], atlas=three, sample_mask=np.arange(20), min_volumes=25)
    with pytest.warns(UserWarning, match="2 runs skipped"):
        assert len(load_fmri(runs, atlas=three, min_volumes=35, on_error="skip")) == 1
    with pytest.raises(InputError, match="12 volumes are too few for a filter"):
        load_fmri(volumes(12), atlas=three, low_pass=0.1)  # scipy's filter needs more


def test_repetition_times_that_differ(volumes, three, tmp_path):
    paths = [tmp_path / f"sub-{number}_bold.nii.gz" for number in (1, 2)]
    for path, t_r in zip(paths, (2000, 720), strict=True):
        nibabel.save(volumes(30, t_r=t_r, unit="msec"), path)
    loaded = load_fmri(paths, atlas=three)
    assert loaded.metadata["t_r"].tolist() == [2.0, 0.72]
    assert loaded.info.t_r is None and loaded.info.sfreq is None


def test_amplitude_of_slow_fluctuations(volumes, three):
    # ALFF: the mean amplitude of 0.01 to 0.1 Hz, here of planted sines
    n_times, t_r = 200, 2.0
    times = np.arange(n_times) * t_r
    data = np.full((10, 11, 9, n_times), 100.0) + 3 * np.sin(2 * np.pi * 0.05 * times) + np.sin(2 * np.pi * 0.2 * times)
    loaded = load_fmri(volumes(data=data, dtype=np.float64), atlas=three, standardize=None)
    rate = loaded.info.sfreq
    frequencies = np.fft.rfftfreq(n_times, 1 / rate)
    amplitudes = 2 * np.abs(np.fft.rfft(loaded.X[0])) / n_times
    band = (frequencies >= 0.01) & (frequencies <= 0.1)
    np.testing.assert_allclose(amplitudes[:, band].sum(axis=1), 3.0, rtol=1e-3)
    np.testing.assert_allclose(amplitudes[:, np.isclose(frequencies, 0.2)].ravel(), 1.0, rtol=1e-3)
    filtered = load_fmri(volumes(data=data, dtype=np.float64), atlas=three, standardize=None, low_pass=0.1)
    assert (2 * np.abs(np.fft.rfft(filtered.X[0])) / n_times)[:, np.isclose(frequencies, 0.2)].max() < 0.05


def _from_connectome(runs):
    from nilearn.connectome import ConnectivityMeasure

    measure = ConnectivityMeasure(kind="correlation", vectorize=True, discard_diagonal=True, standardize=None)
    return measure.fit_transform([run.T for run in runs])


def test_series_serve_pipelines_with_groups(volumes, three, tmp_path):
    from sklearn.preprocessing import FunctionTransformer

    rng = np.random.default_rng(0)
    labels = np.asarray(three.image.dataobj)
    paths = []
    for subject in range(8):
        shared = rng.standard_normal(40)
        data = 100 + rng.standard_normal((10, 11, 9, 40))
        data[labels == 3] += 5 * shared
        data[labels == 7] += 5 * (shared if subject % 2 else -shared)
        paths.append(tmp_path / f"sub-{subject}_bold.nii")
        nibabel.save(volumes(data=data), paths[-1])
    loaded = load_fmri(paths, atlas=three, labels=[str(subject % 2) for subject in range(8)])
    pipeline = make_pipeline(FunctionTransformer(_from_connectome), StandardScaler(), LogisticRegression())
    scores = cross_val_score(
        clone(pipeline), loaded.X, loaded.y, groups=loaded.metadata["subject"], cv=LeaveOneGroupOut()
    )
    assert scores.mean() == 1.0


def test_trials_of_real_blocks(data_dir):
    folder = data_dir / "haxby_mini"
    atlas = Atlas.from_mask(folder / "mask_25mm_brain.nii.gz")
    files = sorted(folder.glob("run00[12]_bold_25mm.nii.gz"))
    trials = load_fmri(files, atlas=atlas, tmin=5.0, tmax=22.5)
    assert trials.X.shape == (16, 129, 8) and set(trials.metadata["run"]) == {"1", "2"}
    assert len(set(trials.y)) == 8 and trials.info.processing.tmin == 5.0
    run = load_fmri(files[0], atlas=atlas).X[0]
    # the first block, scissors, begins at 15 s: volumes 8 to 15 are 5 to 22.5 s later
    np.testing.assert_array_equal(trials.X[0], run[:, 8:16])
    pair = load_fmri(files, atlas=atlas, events={"animate": ["cat", "face"], "not": "house"}, tmin=5.0, tmax=22.5)
    assert pair.y.tolist().count("animate") == 4 and pair.y.tolist().count("not") == 2
    cleaned = load_fmri(
        files, atlas=atlas, confounds=[str(file).replace("_25mm.nii.gz", "_moest.txt") for file in files], detrend=True
    )
    motion = np.loadtxt(str(files[0]).replace("_25mm.nii.gz", "_moest.txt"))
    from scipy.signal import detrend

    motion = detrend(motion, axis=0)
    left = cleaned.X[0].astype(float) @ (motion / np.linalg.norm(motion, axis=0))
    assert np.abs(left).max() < 1e-5  # of series whose norm is 11


def test_tables_and_collections(data_dir):
    files = sorted((data_dir / "abide/1D/filt_global").glob("*.1D"))
    people = {"subject": ["a", "b", "c"], "site": ["NYU", "NYU", "UM"], "group": ["x", "y", "x"]}
    loaded = load_fmri(files, t_r=2.0, metadata=people, labels="group")
    assert loaded.metadata["subject"].tolist() == ["a", "b", "c"] and loaded.y.tolist() == ["x", "y", "x"]
    assert loaded.info.n_channels == 200 and len({run.shape[1] for run in loaded.X}) == 2
    with pytest.raises(UsageError, match="chooses from fMRIPrep's table"):
        load_fmri(files[0], confounds="simple")
    with pytest.warns(UserWarning, match="tell no subject or run"):
        load_fmri(files, t_r=2.0)


def test_many_runs_in_one_file(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "all.npz", X=rng.standard_normal((75, 4)), length=[20, 30, 25], subject=["a", "b", "c"],
        y=[0, 1, 1], class_names=["control", "patient"], tr=[2.0, 2.0, 1.5], site=["X", "Y", "Y"],
    )  # fmt: skip
    loaded = load_fmri(tmp_path / "all.npz", standardize="zscore_sample")
    assert [run.shape for run in loaded.X] == [(4, 20), (4, 30), (4, 25)]
    assert loaded.y.tolist() == ["control", "patient", "patient"] and loaded.info.t_r is None
    assert loaded.metadata["subject"].tolist() == ["a", "b", "c"] and loaded.metadata["t_r"].tolist() == [2, 2, 1.5]
    assert load_fmri(tmp_path / "all.npz", labels="site").y.tolist() == ["X", "Y", "Y"]
    np.testing.assert_allclose(loaded.X[1].std(axis=1, ddof=1), 1, rtol=1e-5)


def test_tables_that_lack_regions_keep_their_names(tmp_path):
    rng = np.random.default_rng(0)
    for subject, names in (("1", ["a", "b", "c"]), ("2", ["c", "a"])):
        table = pd.DataFrame(rng.standard_normal((20, len(names))), columns=names)
        table.to_csv(tmp_path / f"sub-{subject}_series.csv", index=False)
    with pytest.warns(UserWarning, match="1 of 2 runs lack regions, which are kept as NaN: b"):
        loaded = load_fmri(tmp_path, t_r=2.0, standardize=None)
    assert loaded.info.ch_names == ("a", "b", "c") and np.isnan(loaded.X[1, 1]).all()
    np.testing.assert_allclose(loaded.X[1, 2], pd.read_csv(tmp_path / "sub-2_series.csv")["c"], rtol=1e-6)
    pd.DataFrame(rng.standard_normal((20, 2)), columns=["a", "z"]).to_csv(tmp_path / "sub-3_series.csv", index=False)
    with pytest.raises(ChannelError, match=r"has regions that .* lacks"):
        load_fmri(tmp_path)


def test_a_transposed_table_is_refused(tmp_path):
    np.save(tmp_path / "sub-1.npy", np.random.default_rng(0).standard_normal((5, 90)))
    with pytest.raises(InputError, match="transposed"):
        load_fmri(tmp_path / "sub-1.npy", t_r=2.0)
    assert load_fmri(tmp_path / "sub-1.npy", t_r=2.0, orientation="rows_are_regions").X.shape == (1, 5, 90)


def test_what_stands_for_standardising(runs, three):
    raw = load_fmri(runs[0], atlas=three, standardize=False)
    assert raw.info.unit == "a.u." and raw.X.mean() > 50
    assert load_fmri(runs[0], atlas=three, standardize=True).info.unit == "z"
    percent = load_fmri(runs[0], atlas=three, standardize="psc")
    means = raw.X.mean(axis=2, keepdims=True)
    np.testing.assert_allclose(percent.X, 100 * (raw.X - means) / means, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"standardize": "zscore"}, UsageError, "standardize must be 'zscore_sample', 'psc' or None"),
        ({"atlas": None}, UsageError, "volumes need an atlas"),
        ({"on_error": "ignore"}, UsageError, "on_error"),
        ({"tmin": 1.0}, UsageError, "trials need tmin and tmax"),
        ({"orientation": "rows_are_volumes"}, UsageError, "orientation is for table files, these are nifti"),
        ({"low_pass": 0.4}, UsageError, r"low_pass must lie between 0 and 0\.25 Hz"),
        ({"min_volumes": 1}, UsageError, "min_volumes"),
        ({"n_jobs": 0}, UsageError, "n_jobs"),
        ({"high_pass": "0.1"}, UsageError, "high_pass must be a number"),
        ({"metadata": {"subject": ["a"]}}, UsageError, "one row for each of 3 runs, got 1"),
        ({"tmin": 0.0, "tmax": 2.0}, InputError, "no table of events"),
        ({"task": "nback"}, InputError, "no run of task nback; the names tell rest"),
        ({"t_r": 2000}, UsageError, "t_r=2$"),
    ],
)
def test_wrong_calls(runs, three, options, error, match):
    with pytest.raises(error, match=match):
        load_fmri(runs, **{"atlas": three, **options})


def test_several_kinds_at_once(runs, three, tmp_path):
    np.save(tmp_path / "sub-9.npy", np.zeros((9, 2)))
    with pytest.raises(UsageError, match="one kind are loaded at a time, these are nifti, table"):
        load_fmri([runs[0], tmp_path / "sub-9.npy"], atlas=three)


def test_nilearn_s_warnings_are_not_let_through(runs, labels_image):
    # on another grid, with a mask and a region that it takes away: nilearn says each of it
    fine = np.kron(np.asarray(labels_image.dataobj), np.ones((2, 2, 2), int)).astype(np.int16)
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = labels_image.affine[:3, 3] - 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_fmri(runs, atlas=nibabel.Nifti1Image(fine, affine), high_pass=0.02, detrend=True)


def test_voxels_by_name(volumes, tmp_path):
    data = 100 + np.random.default_rng(0).standard_normal((10, 11, 9, 20))
    data[:9] = 7.0  # of what is left, 99 voxels vary
    loaded = load_fmri(volumes(data=data), atlas="voxels", standardize=None)
    assert loaded.info.atlas == "voxels" and loaded.info.ch_names[0] == "voxel_9_0_0"
    np.testing.assert_allclose(loaded.X[0], data[9].reshape(99, 20), rtol=1e-5)
    mask = volumes(1, data=np.arange(990).reshape(10, 11, 9, 1) > 987)
    assert load_fmri(volumes(data=data + 1), atlas="voxels", mask=mask).info.n_channels == 2


def test_a_run_is_no_atlas(runs):
    with pytest.raises(UsageError, match=r"atlas: sub-01_task-rest_bold\.nii\.gz is one of the runs"):
        load_fmri(runs, atlas=runs[0])


def test_labels_that_match_nobody(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{name}_rois.1D" for name in ("NYU_1", "NYU_2", "UM_3")]
    for path in paths:
        np.savetxt(path, rng.standard_normal((30, 4)))
    with pytest.warns(UserWarning, match="tell no subject"), pytest.raises(UsageError) as caught:
        load_fmri(paths, t_r=2.0, labels={"NYU_1": "a", "UM_3": "b"})
    assert "labels name NYU_1, UM_3, the subjects of these runs are 1" in str(caught.value)
    people = {"subject": ["a", "b", "c"]}
    with pytest.warns(UserWarning, match=r"1 of 3 runs have no label and are left out: subjects c \(UM_3_rois\.1D\)"):
        load_fmri(paths, t_r=2.0, labels=["x", "y", None], metadata=people)


def test_one_of_several_arrays_is_told(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "run.npz", ts=rng.standard_normal((40, 6)), raw=rng.standard_normal((40, 6)), net=np.eye(6))
    with pytest.warns(
        UserWarning, match=r"run\.npz holds several tables, ts is taken, raw not; choose one by variable="
    ):
        load_fmri(tmp_path / "run.npz", t_r=2.0)
    load_fmri(tmp_path / "run.npz", t_r=2.0, variable="ts")
