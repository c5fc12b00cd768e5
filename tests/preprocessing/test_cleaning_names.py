"""Results of a cleaning and whose they are: nothing is replaced unasked, names do not depend on other files."""

from types import SimpleNamespace

import mne
import numpy as np
import pytest

from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.discover import discover
from neurosig.loaders.recordings import ReadOptions, Recording
from neurosig.preprocessing.cleaning import CleaningOptions
from neurosig.preprocessing.cleaning_runs import preprocess, sources_of, sources_of_dataset

# mne's own reader of metadata, with the next pandas
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.set_index")
NAMES = ["Fp1", "Fp2", "F3", "F4", "Fz", "C3", "C4", "Cz", "P3", "P4", "Pz", "O1", "O2"]
OPTIONS = CleaningOptions(tmin=0.0, tmax=1.0, steps=("channels",))
OTHER = CleaningOptions(tmin=0.0, tmax=1.0, steps=())


def write(path, seed, sfreq=100.0):
    """Noise with an event every two seconds."""
    info = mne.create_info(NAMES, sfreq, "eeg", verbose="error")
    data = 1e-5 * np.random.default_rng(seed).standard_normal((13, int(20 * sfreq)))
    raw = mne.io.RawArray(data, info, verbose="error")
    raw.set_montage("standard_1020", verbose="error")
    raw.set_annotations(mne.Annotations(np.arange(1.0, 18.0, 2.0), 0.0, "a"))
    path.parent.mkdir(exist_ok=True)
    raw.save(path, overwrite=True, verbose="error")
    return path


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def clean(place, out, options=OPTIONS, **how):
    return preprocess(sources_of(discover(place)), options, out, **how)


@pytest.fixture
def files(tmp_path):
    return [write(tmp_path / "in" / f"sub-{i + 1}_raw.fif", i) for i in range(2)]


def test_another_recording_of_the_same_name_replaces_nothing(files, tmp_path):
    out = tmp_path / "out"
    clean(files, out)
    there = tree(out)
    write(files[1], 9)  # another content under the same name: perhaps another person's
    outcomes = clean(files, out)
    assert [outcome.state for outcome in outcomes] == ["skipped", "failed"]
    assert (
        "is of another recording (its content differs), and was left as it is" in outcomes[1].error
        and "--overwrite" in outcomes[1].error
    )
    with pytest.raises(UsageError, match=r"holds 2 recordings .* \(steps channels there, none now\)"):
        clean(files, out, OTHER)
    assert tree(out) == there
    assert [(one.state, one.replaced) for one in clean(files, out, overwrite=True)] == [("cleaned", True)] * 2


def test_how_a_file_is_read_does_not_make_it_another_recording(files, tmp_path):
    states = []
    for line_freq in (50.0, 60.0):
        read = ReadOptions(line_freq=line_freq)
        (outcome,) = preprocess(sources_of(discover(files[0], options=read)), OPTIONS, tmp_path / "out")
        states.append((outcome.state, outcome.replaced))
    assert states == [("cleaned", False), ("cleaned", True)]


def test_names_that_tell_nothing_keep_their_results_when_files_are_added(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    for seed, name in enumerate(["patientB", "patientC"]):
        write(folder / f"{name}_raw.fif", seed)
    labels = [outcome.source.label for outcome in clean(folder, out)]
    assert labels == ["sub-patientB_ses-0_run-0", "sub-patientC_ses-0_run-0"]
    there = tree(out)
    write(folder / "patientA_raw.fif", 5)
    assert {one.source.subject: one.state for one in clean(folder, out)} == {
        "patientA": "cleaned", "patientB": "skipped", "patientC": "skipped"}  # fmt: skip
    assert clean(folder / "patientC_raw.fif", out)[0].state == "skipped"
    assert {path: content for path, content in tree(out).items() if path in there} == there


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("S001R04.fif", "sub-1_ses-0_run-4"),
        ("sub-01_ses-2_task-rest_run-3_eeg.fif", "sub-01_ses-2_task-rest_run-3"),
        ("p300_subject1_run3.fif", "sub-1_ses-0_run-3"),
        ("patientA_raw.fif", "sub-patientA_ses-0_run-0"),
        ("rest eyes-open.fif.gz", "sub-resteyesopen_ses-0_run-0"),
        ("J\u00f6rg.fif", "sub-Jorg_ses-0_run-0"),
    ],
)
def test_labels_come_from_the_entities_of_a_name_or_from_the_name(tmp_path, name, label):
    path = tmp_path / "in" / name
    path.parent.mkdir()
    path.touch()
    (source,) = sources_of(discover(path))
    assert source.label == label and source.file == str(path)


def test_files_that_would_collide_are_told_apart_by_task_each_at_its_own_rate(tmp_path):
    """Labels, records, page and table; who stands out is not asked across tasks."""
    import json

    import pandas as pd

    from neurosig.preprocessing.cleaning_cohort import whole_cohort
    from neurosig.preprocessing.cleaning_runs import find_cohort_outliers
    from neurosig.reports.cleaning import write_cohort_report, write_recording_report

    folder, out = tmp_path / "in", tmp_path / "out"
    names = ["visual_p300_subject1_run1", "visual_n170_subject1_run1", "visual_p300_subject2_run1"]
    rates = {"p300": 100.0, "n170": 200.0}
    for seed, name in enumerate(names):
        write(folder / f"{name}_raw.fif", seed, rates[name[7:11]])
    with pytest.raises(InputError, match="are both subject 1"):
        discover(folder)
    (alone,) = clean(folder / f"{names[0]}_raw.fif", out)
    assert alone.source.label == "sub-1_ses-0_run-1"
    sources = sources_of(discover(folder, by_task=True))
    outcomes = preprocess(sources, OPTIONS, out, report=write_recording_report)
    assert [one.source.label for one in outcomes] == [
        "sub-1_ses-0_task-visualn170_run-1",
        "sub-1_ses-0_task-visualp300_run-1",
        "sub-2_ses-0_task-visualp300_run-1",
    ]
    assert [one.state for one in outcomes] == ["cleaned"] * 3
    told = [(one.record["task"], one.record["sfreq"]) for one in outcomes]
    assert told == [("visualn170", 200.0), ("visualp300", 100.0), ("visualp300", 100.0)]
    page = outcomes[0].files["report"].read_text(encoding="utf-8")
    assert "Subject 1, session 0, task visualn170, run 1" in page
    every, remarks = whole_cohort(out, outcomes, OPTIONS)
    assert every == outcomes  # that of the first call is the same recording, which counts once
    assert "1 recording was in the folder under another name too" in remarks[0]
    outliers, note = find_cohort_outliers(every, OPTIONS)
    assert outliers is None and "several tasks (visualn170, visualp300)" in note
    files = write_cohort_report(every, OPTIONS, out, outliers=outliers, note=note)
    assert pd.read_csv(files["table"])["task"].tolist() == ["visualn170", "visualp300", "visualp300"]
    assert json.loads(files["record"].read_text())["recordings"][0]["task"] == "visualn170"
    assert "task-visualn170" in files["report"].read_text(encoding="utf-8")
    (again, *_), _ = whole_cohort(out, outcomes[1:], OPTIONS)  # what an earlier call left keeps its task
    assert again.source.task == "visualn170" and again.state == "skipped"


@pytest.mark.parametrize(
    "names",
    [
        ("mueller_run1", "schmidt_run1"),  # no subject is told: these may be two people
        ("p300_subject1_run1", "subject1_run1"),
        ("subject1_run1_part1", "subject1_run1_part2"),
    ],
)
def test_words_that_may_be_people_or_parts_are_no_tasks(tmp_path, names):
    paths = [tmp_path / f"{name}.fif" for name in names]
    for path in paths:
        path.touch()
    with pytest.raises(InputError, match="they would be mixed up"):
        discover(paths, by_task=True)


def test_names_in_other_scripts_are_told_apart(tmp_path):
    paths = [tmp_path / f"{name}.fif" for name in ("\u60a3\u8005\u4e00", "\u60a3\u8005\u4e8c")]
    for path in paths:
        path.touch()
    labels = [source.label for source in sources_of(discover(paths))]
    assert len(set(labels)) == 2 and all(label.isascii() for label in labels)


def test_what_the_caller_or_a_manifest_states_stands(tmp_path):
    path = tmp_path / "in" / "rest.fif"
    assert sources_of([Recording(path, "7", "1", "2")])[0].label == "sub-7_ses-1_run-2"
    manifest = SimpleNamespace(
        kind="files", name="mine", modality="eeg", recordings=lambda subjects: [Recording(path, "1")]
    )  # fmt: skip
    assert sources_of_dataset(manifest)[0].label == "sub-1_ses-0_run-0"


def test_two_files_of_one_name_are_both_told(tmp_path):
    paths = [write(tmp_path / ward / "rest.fif", i) for i, ward in enumerate(("north", "south"))]
    with pytest.raises(UsageError, match="two recordings would be stored as sub-rest_ses-0_run-0") as caught:
        clean(paths, tmp_path / "out")
    assert all(str(path) in str(caught.value) for path in paths)


def test_a_run_killed_while_it_replaces_leaves_no_record_that_vouches_for_new_files(files, tmp_path):
    """Old record, new trials: of the same size, they would be taken for the old ones."""
    (first,) = clean(files[0], tmp_path / "out")

    def killed(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clean(files[0], tmp_path / "out", OTHER, report=killed, overwrite=True)
    assert not first.files["record"].exists()
    assert clean(files[0], tmp_path / "out")[0].state == "cleaned"


def test_a_record_that_does_not_say_whose_it_is_is_left_to_the_user(files, tmp_path):
    (outcome,) = clean(files[0], tmp_path / "out")
    outcome.files["record"].write_bytes(b"\x00" * 50)
    (again,) = clean(files[0], tmp_path / "out")
    assert again.state == "failed" and "does not say whose it is" in again.error
    assert clean(files[0], tmp_path / "out", overwrite=True)[0].state == "cleaned"


def test_the_folder_of_the_recordings_is_not_one_for_results(files, tmp_path):
    there = tree(tmp_path)
    for out in (tmp_path / "in", tmp_path, tmp_path / "in" / ".." / "in"):
        with pytest.raises(UsageError, match=r"the recording sub-1_raw\.fif lies in the output folder"):
            clean(files, out)
    assert tree(tmp_path) == there


def test_results_below_the_recordings_are_not_taken_for_recordings(files, tmp_path):
    clean(tmp_path / "in", tmp_path / "in" / "clean")
    assert [item.path for item in discover(tmp_path / "in")] == files
