import numpy as np
import pandas as pd
import pytest

from neurosig.core.errors import InputError, NoEventsError, UsageError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.loaders.fmri_events import cut_trials, events_beside

TABLE = pd.DataFrame({"onset": [4.0, 10.0, 16.0], "duration": 2.0, "trial_type": ["face", "house", "rest"]})


@pytest.fixture
def runs():
    """Two runs of a ramp, 12 volumes of 2 s; volume 6 of the second is dropped."""
    ramp = np.arange(12, dtype=np.float32)[None]
    kept = tuple(i for i in range(12) if i != 6)
    table = pd.DataFrame({"subject": "1", "session": "0", "run": ["0", "1"], "n_volumes": 12, "kept": [None, kept]})
    return SignalDataset([ramp, ramp[:, list(kept)]], None, table, SignalSpec("fmri", ("V1",), t_r=2.0, sfreq=0.5))


def test_volumes_around_events(runs):
    cut = cut_trials(runs, [TABLE, TABLE], None, 0.0, 4.0)
    # onsets 4, 10, 16 s are volumes 2, 5, 8; the trial of volumes 5 to 7 lacks one in the second run
    np.testing.assert_array_equal(cut.X[:, 0], [[2, 3, 4], [5, 6, 7], [8, 9, 10], [2, 3, 4], [8, 9, 10]])
    assert cut.y.tolist() == ["face", "house", "rest", "face", "rest"]
    assert cut.metadata["run"].tolist() == ["0"] * 3 + ["1"] * 2
    assert cut.metadata["onset"].tolist() == [4.0, 10.0, 16.0, 4.0, 16.0]
    assert (cut.info.tmin, cut.info.n_times, cut.info.processing.tmax) == (0.0, 3, 4.0)


def test_classes_by_name(runs):
    assert cut_trials(runs, [TABLE, TABLE], ["house"], 0.0, 2.0).y.tolist() == ["house"]
    grouped = cut_trials(runs, [TABLE, TABLE], {"seen": ["face", "rest"]}, 0.0, 2.0)
    assert set(grouped.y) == {"seen"} and grouped.metadata["event"].tolist() == ["face", "rest"] * 2


def test_trials_beyond_the_run_are_left_out(runs):
    assert len(cut_trials(runs, [TABLE, TABLE], ["rest"], 0.0, 6.0)) == 2
    with pytest.raises(InputError, match="no trial from 0 to 8 s is whole"):
        cut_trials(runs, [TABLE, TABLE], ["rest"], 0.0, 8.0)


def test_wrong_calls(runs):
    with pytest.raises(NoEventsError, match="no run has cat; its events are face, house, rest"):
        cut_trials(runs, [TABLE, TABLE], ["cat"], 0.0, 2.0)
    with pytest.raises(UsageError, match=r"write \['face'\]"):
        cut_trials(runs, [TABLE, TABLE], "face", 0.0, 2.0)
    with pytest.raises(InputError, match="one repetition time"):
        cut_trials(
            SignalDataset(runs.X, None, runs.metadata, SignalSpec("fmri", ("V1",))), [TABLE, TABLE], None, 0.0, 2.0
        )


def test_a_class_that_is_not_there_is_not_lost_without_a_word(runs):
    assert cut_trials(runs, [TABLE, TABLE], ["face", "hous"], 0.0, 2.0).y.tolist() == ["face", "face"]
    with pytest.raises(NoEventsError, match=r"event hous; there are face, house, rest: did you mean house\?"):
        cut_trials(runs, [TABLE, TABLE], ["face", "hous"], 0.0, 2.0, every=True)
    with pytest.raises(NoEventsError, match="event houses"):
        cut_trials(runs, [TABLE, TABLE], {"seen": ["face", "houses"]}, 0.0, 2.0, every=True)


def test_the_table_beside_a_run(tmp_path):
    root = tmp_path / "derivatives" / "fmriprep"
    run = root / "sub-01" / "func" / "sub-01_task-nback_run-1_space-T1w_desc-preproc_bold.nii.gz"
    raw = tmp_path / "sub-01" / "func"
    for folder in (run.parent, raw):
        folder.mkdir(parents=True)
    assert events_beside(run, root) is None
    for name in ("sub-01_task-nback_events.tsv", "sub-01_task-nback_run-1_events.tsv", "sub-01_task-rest_events.tsv"):
        (raw / name).touch()
    assert events_beside(run, root) == raw / "sub-01_task-nback_run-1_events.tsv"
    (tmp_path / "run001_bold_events.tsv").touch()
    assert events_beside(tmp_path / "run001_bold_25mm.nii.gz") == tmp_path / "run001_bold_events.tsv"
    assert events_beside(tmp_path / "run002_bold_25mm.nii.gz") is None
