import numpy as np
import pandas as pd
import pytest
from nilearn.interfaces.fmriprep import load_confounds, load_confounds_strategy

from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.fmri_confounds import confound_table_of, is_fmriprep, run_confounds, split_by_run


@pytest.fixture
def image(fmriprep):
    """A run of fMRIPrep with two volumes of much motion."""
    return next(fmriprep({"01": {"spikes": (20, 40)}}).rglob("*_bold.nii.gz"))


def test_the_table_beside_a_run(image):
    assert is_fmriprep(image) and not is_fmriprep(image.with_name("sub-01_bold.nii.gz")) and not is_fmriprep(None)
    assert confound_table_of(image).name == "sub-01_task-rest_desc-confounds_timeseries.tsv"
    assert confound_table_of(image.with_name("sub-02_task-rest_desc-preproc_bold.nii.gz")) is None
    assert confound_table_of(image.with_name("run001.nii.gz")) is None
    other = image.with_name("sub-01_task-rest_run-2_desc-confounds_timeseries.tsv")
    other.write_text("csf\n")
    assert confound_table_of(image).name == "sub-01_task-rest_desc-confounds_timeseries.tsv"


@pytest.mark.parametrize("strategy", ["simple", "scrubbing"])
def test_strategies_are_nilearn_s(image, strategy):
    table, kept = load_confounds_strategy(str(image), denoise_strategy=strategy)
    found = run_confounds(strategy, image, 60)
    pd.testing.assert_frame_equal(found.table, table.reset_index(drop=True), check_exact=False)
    assert found.kept == (None if kept is None else tuple(kept))
    assert found.told["strategy"] == strategy and found.told["columns"] == list(table.columns)
    assert found.told["file"] == "sub-01_task-rest_desc-confounds_timeseries.tsv"


def test_volumes_that_are_not_compressed_have_their_table_too(image):
    plain = image.with_name(image.name.removesuffix(".gz"))
    pd.testing.assert_frame_equal(run_confounds("auto", plain, 60).table, run_confounds("auto", image, 60).table)


def test_scrubbing_drops_volumes_and_short_pieces(image):
    found = run_confounds("scrubbing", image, 60)
    assert {20, 40}.isdisjoint(found.kept) and len(found.kept) == 58
    kept = run_confounds("scrubbing", image, 60, sample_mask=np.arange(5, 60)).kept
    assert kept == tuple(i for i in found.kept if i >= 5)
    with pytest.raises(InputError, match="no volume is kept"):
        run_confounds("scrubbing", image, 60, sample_mask=[20, 40])


def test_auto_is_simple_and_leaves_slow_drifts_to_a_filter(image):
    found = run_confounds("auto", image, 60)
    assert set(found.table) == set(run_confounds("simple", image, 60).table)
    assert {"cosine00", "cosine01"} < set(found.table)
    filtered = run_confounds("auto", image, 60, high_pass=0.01)
    assert not any(name.startswith("cosine") for name in filtered.table)
    assert set(filtered.table) == {name for name in found.table if not name.startswith("cosine")}


def test_only_one_high_pass(image):
    with pytest.raises(UsageError, match=r"high_pass=0\.01 Hz and the cosines of confounds='simple' both"):
        run_confounds("simple", image, 60, high_pass=0.01)
    found = run_confounds({"strategy": ["motion"], "motion": "basic"}, image, 60, high_pass=0.01)
    assert found.table.shape == (60, 6)


def test_options_of_nilearn(image):
    options = {"strategy": ("wm_csf", "scrub"), "wm_csf": "basic", "scrub": 0, "fd_threshold": 1.0}
    table, kept = load_confounds(str(image), **options)
    found = run_confounds(options, image, 60)
    assert list(found.table) == list(table) and found.kept == tuple(kept)
    with pytest.raises(UsageError, match="takes what nilearn's load_confounds takes"):
        run_confounds({"strategie": ["motion"]}, image, 60)
    with pytest.raises(InputError, match="ica_aroma"):
        run_confounds("ica_aroma", image, 60)


def test_no_table(image):
    table = confound_table_of(image)
    table.unlink()
    found = run_confounds("auto", image, 60)
    assert found.table is None and found.told == {"absent": True}
    for confounds, needed in (("auto", True), ("simple", False), ({"strategy": ["motion"]}, False)):
        with pytest.raises(InputError, match=r"no table of confounds beside it \(\*_desc-confounds_timeseries\.tsv\)"):
            run_confounds(confounds, image, 60, needed=needed)
    with pytest.raises(InputError, match="no such file of confounds"):
        run_confounds(table, image, 60)


def test_another_length(image):
    with pytest.raises(
        InputError, match=r"confounds_timeseries\.tsv: expected one row of confounds a volume, 59, got 60"
    ):
        run_confounds("simple", image, 59)
    with pytest.raises(InputError, match="a volume, 59, got 60"):
        run_confounds(np.zeros((60, 2)), None, 59)


def test_given_tables(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((12, 2))
    table = pd.DataFrame(values, columns=["a", "b"])
    table.to_csv(tmp_path / "own.tsv", sep="\t", index=False)
    np.savetxt(tmp_path / "own.txt", values)
    for confounds in (table, values, tmp_path / "own.tsv", str(tmp_path / "own.txt")):
        found = run_confounds(confounds, tmp_path / "run.nii.gz", 12, sample_mask=np.arange(12) > 3)
        np.testing.assert_allclose(found.table.to_numpy(), values)
        assert found.kept == tuple(range(4, 12))
    assert run_confounds(None, None, 12).table is None
    assert run_confounds("auto", tmp_path / "run.nii.gz", 12).table is None
    with pytest.raises(UsageError, match="confounds must be 'auto', None, 'simple'"):
        run_confounds("simpel", None, 12)


def test_what_belongs_to_each_run():
    assert split_by_run(None, 3, "x") == [None] * 3
    assert split_by_run("auto", 2, "x") == ["auto", "auto"]
    assert split_by_run({"strategy": []}, 2, "x") == [{"strategy": []}] * 2
    assert split_by_run(["a.tsv", None], 2, "x") == ["a.tsv", None]
    assert split_by_run([1, 2, 3], 1, "x") == [[1, 2, 3]]
    with pytest.raises(UsageError, match="one entry for each of 3 runs, got 2"):
        split_by_run(["a.tsv", "b.tsv"], 3, "confounds")
    for one in (np.zeros(3), "a.tsv", [0, 1, 2]):
        with pytest.raises(UsageError, match="that of one run, and there are 2"):
            split_by_run(one, 2, "sample_mask")
