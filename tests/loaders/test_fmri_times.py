"""Repetition times of tables: from whom they come, and what is told where sources differ or say nothing."""

import json

import numpy as np
import pandas as pd
import pytest

from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.fmri import load_fmri
from neurosig.loaders.fmri_tables import read_table
from neurosig.loaders.manifest import open_dataset


@pytest.fixture
def study(tmp_path):
    """Three people's runs as BIDS names them."""
    rng = np.random.default_rng(0)
    for person in ("01", "02", "03"):
        frame = pd.DataFrame(rng.standard_normal((30, 3)), columns=["V1", "V2", "M1"])
        frame.to_csv(tmp_path / f"sub-{person}_task-rest_timeseries.tsv", sep="\t", index=False)
    return tmp_path


def runs_of(study):
    return sorted(study.glob("*.tsv"))


def times(dataset):
    return dataset.metadata["t_r"].tolist()


def test_one_a_run(study):
    loaded = load_fmri(runs_of(study), t_r=[2, 2.5, 2])
    assert times(loaded) == [2.0, 2.5, 2.0]
    assert loaded.info.t_r is None
    assert times(load_fmri(runs_of(study), metadata={"t_r": [2, 2.5, 3]})) == [2.0, 2.5, 3.0]
    with pytest.raises(UsageError, match="t_r must be one number, or one for each of 3 runs, got 2"):
        load_fmri(runs_of(study), t_r=[2, 2.5])
    with pytest.raises(UsageError, match=r"t_r of sub-02_task-rest_timeseries\.tsv: .*milliseconds\? Then t_r=2\.5"):
        load_fmri(runs_of(study), t_r=[2, 2500, 2])


def test_filters_go_by_the_run_that_they_are_for(study):
    """Half of the highest frequency is another edge at another repetition time."""
    both = load_fmri(runs_of(study)[:2], t_r=[1.0, 2.0], low_pass=0.1)
    for run, path, t_r in zip(both.X, runs_of(study)[:2], (1.0, 2.0), strict=True):
        np.testing.assert_array_equal(run, read_table(path, t_r=t_r, low_pass=0.1).data)


def test_a_column_of_the_table_of_people(study):
    people = pd.DataFrame(
        {"participant_id": ["sub-01", "sub-02", "sub-03"], "t_r": [2.0, 2.5, np.nan], "dx": list("aba")}
    )
    people.to_csv(study / "participants.tsv", sep="\t", index=False, na_rep="n/a")
    with pytest.warns(UserWarning, match=r"1 of 3 runs do not say the repetition time \(sub-03"):
        loaded = load_fmri(study, labels="dx")
    assert times(loaded)[:2] == [2.0, 2.5] and np.isnan(times(loaded)[2])
    assert loaded.y.tolist() == ["a", "b", "a"]
    with pytest.warns(UserWarning, match=r"t_r=2 s is used as you said, the runs' table says 2\.5 s"):
        assert times(load_fmri(study, t_r=2.0)) == [2.0] * 3
    people.assign(t_r=[2.0, 2.5, 3.0]).to_csv(study / "participants.tsv", sep="\t", index=False)
    assert times(open_dataset(study, fmri={"labels": "dx"}).load()) == [2.0, 2.5, 3.0]
    people.assign(t_r=[2000, 2500, 3000]).to_csv(study / "participants.tsv", sep="\t", index=False)
    with pytest.raises(UsageError, match=r"column 't_r' of participants\.tsv: .*milliseconds\? Then t_r=2"):
        open_dataset(study, fmri={"labels": "dx"}).load()


def test_the_json_file_beside_a_table(study):
    for place, seconds in (("sub-01_task-rest_timeseries", 2.0), ("task-rest_timeseries", 3.0)):
        (study / f"{place}.json").write_text(json.dumps({"RepetitionTime": seconds}))
    assert times(load_fmri(study)) == [2.0, 3.0, 3.0]  # its own goes before the one for all
    assert times(open_dataset(study).load()) == [2.0, 3.0, 3.0]
    with pytest.warns(UserWarning, match=r"t_r=3 s is used as you said, its JSON file says 2 s"):
        load_fmri(study, t_r=3.0)
    (study / "sub-01_task-rest_timeseries.json").write_text(json.dumps({"RepetitionTime": 2500}))
    with pytest.raises(
        InputError, match=r"sub-01_.* \(RepetitionTime of its JSON file\).*milliseconds\? Then t_r=2\.5"
    ):
        load_fmri(study)


def test_a_file_and_its_json_that_differ(tmp_path):
    np.savez(tmp_path / "run.npz", X=np.random.default_rng(0).standard_normal((40, 3)), TR=2.0)
    (tmp_path / "run.json").write_text('{"RepetitionTime": 2.0}')
    assert read_table(tmp_path / "run.npz").t_r == 2.0
    (tmp_path / "run.json").write_text('{"RepetitionTime": 3.0}')
    with pytest.raises(InputError, match="the file says a repetition time of 2 s, its JSON file 3 s; pass t_r=seconds"):
        read_table(tmp_path / "run.npz")


def test_what_nobody_says_is_told_once(study):
    with pytest.warns(UserWarning, match="3 of 3 runs do not say the repetition time") as told:
        assert times(load_fmri(study)) == [None] * 3
    assert len(told) == 1
    np.savez(study / "runs.npz", X=np.random.default_rng(0).standard_normal((60, 3)), length=[30, 30])
    with pytest.warns(UserWarning, match="runs: 2 of 2 runs do not say the repetition time"):
        open_dataset(study / "runs.npz").load()


def test_runs_that_are_kept_know_their_repetition_time(study, tmp_path):
    kept = {"memory": tmp_path / "kept", "low_pass": 0.1}
    first = load_fmri(runs_of(study), t_r=[2, 2, 2], **kept)
    again = load_fmri(runs_of(study), t_r=[2, 1, 2], **kept)
    np.testing.assert_array_equal(again.X[0], first.X[0])
    assert times(again) == [2.0, 1.0, 2.0] and not np.allclose(again.X[1], first.X[1])


def test_times_of_a_collection(tmp_path):
    np.savez(tmp_path / "runs.npz", X=np.random.default_rng(0).standard_normal((60, 3)), length=[30, 30])
    assert times(load_fmri(tmp_path / "runs.npz", t_r=[2.0, 3.0])) == [2.0, 3.0]
    assert times(load_fmri(tmp_path / "runs.npz", metadata={"t_r": [2.0, 3.0]})) == [2.0, 3.0]
    with pytest.raises(InputError, match="one for each of 2 runs, got 3"):
        load_fmri(tmp_path / "runs.npz", t_r=[2.0, 3.0, 2.0])
