import json
from pathlib import Path

import mne
import numpy as np
import pytest

from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.discover import bids_root_of, discover, entities, told_as
from neurosig.loaders.recordings import Recording


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("S001R04.edf", {"subject": "1", "run": "4"}),
        ("sub-01_ses-b_task-x_run-2_eeg.vhdr", {"subject": "01", "session": "b", "run": "2"}),
        ("sub-ab_task-rest_eeg.set", {"subject": "ab"}),
        ("visual_p300_subject1_session2_run3.csv.gz", {"subject": "1", "session": "2", "run": "3"}),
        ("Subject00_1.edf", {"subject": "0", "run": "1"}),
        ("S007_mi.npz", {"subject": "7"}),
        ("test.edf", {}),
        ("sensors12.edf", {}),
        ("proband001_run04.edf", {"subject": "1", "run": "4"}),
        ("participant-12_session2_hands_r3.edf", {"subject": "12", "session": "2", "run": "3"}),
        ("VP07_eeg_run2.vhdr", {"subject": "7", "run": "2"}),
        ("patient3.edf", {"subject": "3"}),
        ("hands_run2.edf", {"run": "2"}),
        ("car2.edf", {}),
    ],
)
def test_names_tell_subject_session_and_run(tmp_path, name, found):
    assert entities(tmp_path / "folder" / name) == found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("sub-01/run04.edf", {"subject": "01", "run": "4"}),
        ("proband3/session2/run1.edf", {"subject": "3", "session": "2", "run": "1"}),
        ("sub-01/sub-02_run-1_eeg.edf", {"subject": "02", "run": "1"}),
        ("subtle7/run1.edf", {"run": "1"}),
    ],
)
def test_folders_tell_what_names_leave_open(tmp_path, path, found):
    assert entities(tmp_path / path) == found


def test_how_files_were_taken_is_said():
    def taken(*places):
        return told_as([Recording(Path(f"{number}.edf"), *place) for number, place in enumerate(places)])

    assert taken(*((s, "0", r) for s in "12" for r in "123")) == "6 files taken as 2 subjects, 3 runs each"
    assert taken(("1", "0", "1"), ("2", "0", "1"), ("2", "0", "2")) == "3 files taken as 2 subjects, 1 to 2 runs each"
    assert taken(("1", "0", "1"), ("1", "1", "1")) == "2 files taken as 1 subject, 2 sessions, 1 run each"


def test_numbers_that_are_not_understood_are_warned_of(tmp_path, make_raw, save):
    for name in ("anna003_raw", "anna017_raw"):
        save(make_raw(seconds=2), f"box/{name}.fif")
    with pytest.warns(UserWarning, match=r"numbers in anna003_raw.fif, anna017_raw.fif were not understood: 2 files"):
        assert {item.subject for item in discover(tmp_path / "box")} == {"1"}
    for name in ("hands_run1_raw", "hands_run2_raw"):
        save(make_raw(seconds=2), f"runs/{name}.fif")
    assert [item.run for item in discover(tmp_path / "runs")] == ["1", "2"]


def test_real_folders(data_dir):
    runs = discover(data_dir / "eegmmidb/edf")
    assert [(item.subject, item.run) for item in runs] == [
        ("1", "1"),
        ("1", "2"),
        ("1", "4"),
        ("1", "6"),
        ("1", "8"),
        ("1", "12"),
        ("2", "4"),
        ("2", "8"),
        ("2", "12"),
    ]
    assert len(discover(data_dir / "eegmmidb/epochs")) == 36
    assert len({item.subject for item in discover(data_dir / "eegmat/eegmat_125hz.npz")}) == 16


def test_bids_root_and_file_inside_it(data_dir):
    (item,) = discover(data_dir / "ieeg_hfo")
    assert (item.subject, item.session, item.run) == ("01", "interictalsleep", "01")
    assert bids_root_of(item.path) == data_dir / "ieeg_hfo"
    (same,) = discover(item.path)
    assert same == item


def test_bids_entities_choose(tmp_path, make_raw):
    import mne_bids

    for subject in ("01", "02"):
        for task in ("rest", "hands"):
            raw = make_raw(events={"left": [1, 3], "right": [2]})
            raw.info["line_freq"] = 50
            place = mne_bids.BIDSPath(subject=subject, task=task, run="1", datatype="eeg", root=tmp_path / "bids")
            mne_bids.write_raw_bids(raw, place, allow_preload=True, format="BrainVision", verbose="error")
    chosen = discover(tmp_path / "bids", bids={"task": "hands", "subject": ["02"]})
    assert [item.subject for item in chosen] == ["02"]
    with pytest.raises(
        InputError, match=r"no recordings in the BIDS dataset .* for task=sleep; its subjects are 01, 02"
    ):
        discover(tmp_path / "bids", bids={"task": "sleep"})
    with pytest.raises(UsageError, match=r"bids takes .*, got colour"):
        discover(tmp_path / "bids", bids={"colour": "red"})
    with pytest.raises(InputError, match="are both subject 01, session 0, run 1"):
        discover(tmp_path / "bids")
    every = discover(tmp_path / "bids", by_task=True)
    assert [(item.subject, item.task) for item in every] == [
        ("01", "hands"), ("01", "rest"), ("02", "hands"), ("02", "rest")]  # fmt: skip


def test_files_whose_names_tell_nothing_are_runs_in_order(tmp_path, make_raw, save):
    files = [save(make_raw(), f"box/{name}_raw.fif") for name in ("b", "a")]
    assert [(item.path.name, item.run) for item in discover(tmp_path / "box")] == [
        ("a_raw.fif", "0"),
        ("b_raw.fif", "1"),
    ]
    assert [(item.path.name, item.run) for item in discover(files)] == [("b_raw.fif", "0"), ("a_raw.fif", "1")]


def test_a_folder_gives_files_of_one_kind_and_says_what_is_left(tmp_path, make_raw, save, caplog):
    for name in ("a_raw.fif", "b_raw.fif", "c-ave.fif"):
        save(make_raw(), f"box/{name}") if "raw" in name else (tmp_path / "box" / name).write_bytes(b"0")
    (tmp_path / "box" / "people.csv").write_text("name\n")
    with caplog.at_level("WARNING", logger="neurosig"):
        assert len(discover(tmp_path / "box")) == 2
    assert "left aside 1 .csv" in caplog.text


def test_nothing_there(tmp_path, make_raw, save):
    with pytest.raises(InputError, match=r"no such file or folder: .*gone; check the path"):
        discover(tmp_path / "gone")
    with pytest.raises(InputError, match=r"no such file: .*gone.edf"):
        discover([tmp_path / "gone.edf"])
    with pytest.raises(InputError, match="the list of files is empty"):
        discover([])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no recordings in .*empty: expected files named"):
        discover(tmp_path / "empty")
    with pytest.raises(UsageError, match=r"has no dataset_description.json"):
        discover(save(make_raw()), bids={"task": "rest"})


def test_two_files_of_one_subject_and_run_are_refused(data_dir):
    with pytest.raises(InputError, match="are both subject 1, session 1, run 1: they would be mixed up"):
        discover(data_dir / "muse")
    found = discover(data_dir / "muse", by_task=True)
    assert len(found) == 30 and [item.run for item in found if item.task == "visualn170"] == ["1", "2", "3", "4"]
    assert {item.task for item in found} == {"visualp300", "visualn170", "visualssvep", "auditoryp300", "auditoryssaep"}


def test_empty_bids_root(tmp_path):
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.8.0"}))
    with pytest.raises(InputError, match="no recordings in the BIDS dataset"):
        discover(tmp_path)


def test_recordings_are_sorted_as_numbers(tmp_path, make_raw, save):
    for run in (10, 2, 1):
        save(make_raw(seconds=2), f"box/subject1_session1_run{run}_raw.fif")
    assert [item.run for item in discover(tmp_path / "box")] == ["1", "2", "10"]


@pytest.mark.parametrize("naming", ["neuromag", "bids"])
@pytest.mark.filterwarnings("ignore:This filename")  # mne's advice on names
def test_later_parts_of_split_fif_are_no_runs_of_their_own(tmp_path, naming):
    """Their trials would be counted twice, once in training and once in the test."""
    info = mne.create_info(["C3", "C4"], 500.0, "eeg")
    raw = mne.io.RawArray(np.random.default_rng(0).standard_normal((2, 400_000)) * 1e-5, info, verbose="error")
    raw.set_annotations(mne.Annotations([10, 20, 700], 0, ["left", "right", "left"]))
    name = {"neuromag": "rec_raw.fif", "bids": "sub-01_task-hands_raw.fif"}[naming]
    raw.save(tmp_path / name, split_size="2MB", buffer_size_sec=10, split_naming=naming, verbose="error")
    files = sorted(tmp_path.glob("*.fif"), key=lambda path: path.name.replace("_raw.fif", "_raw-0.fif"))
    head = tmp_path / ("rec_raw.fif" if naming == "neuromag" else "sub-01_task-hands_split-01_raw.fif")
    assert len(files) > 1 and head in files
    assert [item.path for item in discover(tmp_path)] == [head]
    assert [item.path for item in discover(files)] == [head]
    part = next(path for path in files if path != head)
    assert [item.path for item in discover([part])] == [part]


def test_names_that_only_look_like_a_continuation(tmp_path):
    info = mne.create_info(["C3", "C4"], 100.0, "eeg")
    for name in ("rec_raw.fif", "rec_raw-1.fif"):
        raw = mne.io.RawArray(np.zeros((2, 500)), info, verbose="error")
        raw.save(tmp_path / "temporary_raw.fif", verbose="error")
        (tmp_path / "temporary_raw.fif").rename(tmp_path / name)
    assert len(discover(tmp_path)) == 2


def test_linked_folders_are_looked_into_once(make_raw, save, tmp_path):
    save(make_raw(), "real/sub-1_raw.fif")
    save(make_raw(), "real/.hidden/sub-2_raw.fif")
    given = tmp_path / "given"
    given.mkdir()
    (given / "linked").symlink_to(tmp_path / "real")
    (given / "round").symlink_to(given)
    assert [item.path for item in discover(given)] == [given / "linked" / "sub-1_raw.fif"]
