"""What a cleaning tells and leaves behind: few channels, failures half-way, pages that cannot be drawn."""

import logging

import mne
import numpy as np
import pytest

from neurosig.core.errors import StorageError
from neurosig.loaders.discover import discover
from neurosig.loaders.epoch_files import reference_of
from neurosig.loaders.recordings import ReadOptions
from neurosig.preprocessing import cleaning_runs
from neurosig.preprocessing.cleaning import CleaningOptions, clean_raw
from neurosig.preprocessing.cleaning_cohort import find_cohort_outliers
from neurosig.preprocessing.cleaning_runs import preprocess, sources_of
from neurosig.reports.cleaning import write_cohort_report, write_recording_report
from neurosig.reports.cleaning_words import serious_notes

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.set_index")
SITES = ["Fp1", "Fp2", "F3", "F4", "Fz", "C3", "C4", "Cz", "P3", "P4", "Pz", "O1", "O2"]
OPTIONS = CleaningOptions(tmin=0.0, tmax=1.0, steps=("channels",))


def made(names=SITES, seed=0, bad=None, n=2000):
    X = 1e-5 * np.random.default_rng(seed).standard_normal((len(names), n))
    if bad is not None:
        X[bad] *= 30
    raw = mne.io.RawArray(X, mne.create_info(list(names), 100.0, "eeg", verbose="error"), verbose="error")
    return raw.set_annotations(mne.Annotations(np.arange(1.0, n / 100 - 2, 1.5), 0.0, "a"))


def stored(folder, raw, name="sub-1_raw.fif", **how):
    folder.mkdir(exist_ok=True)
    raw.save(folder / name, overwrite=True, verbose="error")
    return sources_of(discover(folder / name, options=ReadOptions(**how)))


def left(folder):
    return sorted(path.name for path in folder.rglob("sub-*") if path.is_file())


# few channels ------------------------------------------------------------------------------------------------------


def test_one_channel_is_no_average_of_itself(tmp_path):
    (outcome,) = preprocess(stored(tmp_path / "in", made(["Cz"])), OPTIONS, tmp_path / "out")
    epochs = mne.read_epochs(outcome.files["epochs"], verbose="error")
    truth = clean_raw(made(["Cz"]), CleaningOptions(tmin=0.0, tmax=1.0, steps=(), reference=None)).epochs
    np.testing.assert_allclose(epochs.get_data(), truth.get_data(), rtol=1e-5, atol=1e-11)
    assert reference_of(epochs.info) != "average" and outcome.record["average_reference"] is False
    told = serious_notes([outcome.record["notes"]])
    assert any("1 EEG channel has no average reference" in note for note in told)
    assert any("1 channel has no others to be compared with" in note for note in told)


@pytest.mark.parametrize(("n", "told"), [(4, True), (5, False)])
def test_an_average_of_few_channels_is_told_of(n, told):
    notes = clean_raw(made(SITES[:n]), OPTIONS).notes
    assert any(note.startswith(f"average reference of {n} EEG channels only") for note in notes) == told


def test_one_trial_has_nothing_to_be_compared_with():
    cleaned = clean_raw(made(n=400), CleaningOptions(tmin=0.0, tmax=1.0, steps=("channels", "epochs")))
    assert len(cleaned.epochs) == 1
    assert any("1 trial has no others" in note for note in serious_notes([cleaned.notes]))


@pytest.mark.parametrize("montage", [None, "standard_1020"])
def test_one_channel_without_a_place_harms_neither_the_cleaning_nor_its_page(tmp_path, montage):
    sources = stored(tmp_path / "in", made([*SITES, "A2-A1"], bad=3), montage=montage)
    (outcome,) = preprocess(sources, OPTIONS, tmp_path / "out", report=write_recording_report)
    assert outcome.error == "" and outcome.files["report"].is_file()
    assert outcome.record["summary"]["channels_interpolated"] == ["F4"]
    assert outcome.record["misc_channels"] == ["A2-A1"]


def test_a_montage_without_these_names_is_not_asked_for_again(tmp_path):
    names = [f"E{i}" for i in range(13)]
    assert any("give --montage" in note for note in clean_raw(made(names, bad=3), OPTIONS).notes)
    notes = clean_raw(made(names, bad=3), OPTIONS, montage="standard_1005").notes
    assert any("of the names E0, E1" in note and "are in the montage standard_1005" in note for note in notes)
    assert not any("give --montage" in note for note in notes)


def test_blinks_that_may_stay_are_told_of_with_what_to_give():
    options = CleaningOptions(tmin=0.0, tmax=1.0, steps=("components",))
    (told,) = [note for note in serious_notes([clean_raw(made(), options).notes]) if "blinks may stay" in note]
    assert "give --eog-proxy Fp1,Fp2" in told
    (other,) = [note for note in clean_raw(made(SITES[2:]), options).notes if "blinks may stay" in note]
    assert "Fp1" not in other
    raw = made()
    raw.info["bads"] = ["Fp1"]
    notes = clean_raw(raw, CleaningOptions(tmin=0.0, tmax=1.0, steps=("components",), eog_proxy=("Fp1",))).notes
    assert any("Fp1, named in place of EOG, is bad itself" in note for note in notes)


def test_trials_that_touch_nan_are_counted(tmp_path):
    raw = made()
    raw._data[1, 500:510] = np.nan  # within the trial at 4 s, and at the edge of none other
    (outcome,) = preprocess(stored(tmp_path / "in", raw, on_nan="annotate"), OPTIONS, tmp_path / "out")
    summary = outcome.record["summary"]
    assert summary["trials_lost"] >= 1 and summary["trials"] + summary["trials_lost"] == len(raw.annotations)


def test_cells_are_those_of_good_channels_in_kept_trials(tmp_path):
    options = CleaningOptions(tmin=0.0, tmax=1.0, steps=("channels", "epochs", "channels_in_epochs"))
    (outcome,) = preprocess(stored(tmp_path / "in", made(bad=3)), options, tmp_path / "out")
    summary = outcome.record["summary"]
    assert summary["channels_interpolated"] == ["F4"]
    assert summary["cells"] == summary["trials_kept"] * (len(SITES) - 1)


def test_dropped_trials_are_named_with_event_and_time(tmp_path):
    raw = made()
    raw._data[:, 550:600] *= 40  # within the trial at 5.5 s
    options = CleaningOptions(tmin=0.0, tmax=1.0, steps=("epochs",))
    (outcome,) = preprocess(stored(tmp_path / "in", raw), options, tmp_path / "out", report=write_recording_report)
    assert outcome.record["dropped"] == [{"trial": 3, "event": "a", "onset": 5.5}]
    assert "Trial 3 (a, 5.5 s)" in outcome.files["report"].read_text()


def test_a_second_cleaning_is_told_of(tmp_path):
    (outcome,) = preprocess(stored(tmp_path / "in", made()), OPTIONS, tmp_path / "out")
    (again,) = preprocess(sources_of(discover(outcome.files["epochs"])), OPTIONS, tmp_path / "twice")
    assert any("cleaned before, by neurosig preprocess" in note for note in serious_notes([again.record["notes"]]))
    assert not any("cleaned before" in note for note in outcome.record["notes"])


# failures ----------------------------------------------------------------------------------------------------------


def test_a_page_that_cannot_be_drawn_does_not_fail_the_cleaning(tmp_path):
    def draw(cleaned, record, path):
        path.write_text("half a page")
        raise RuntimeError("no ink")

    sources = stored(tmp_path / "in", made())
    (outcome,) = preprocess(sources, OPTIONS, tmp_path / "out", report=draw)
    assert outcome.state == "cleaned" and "report" not in outcome.files
    assert any("could not be drawn (RuntimeError: no ink)" in note for note in serious_notes([outcome.record["notes"]]))
    assert not list((tmp_path / "out").rglob("*.html")) and len(left(tmp_path / "out")) == 3
    write_cohort_report([outcome], OPTIONS, tmp_path / "out")
    (again,) = preprocess(sources, OPTIONS, tmp_path / "out", report=write_recording_report)
    assert again.state == "cleaned" and again.files["report"].is_file()


@pytest.mark.parametrize("error", [StorageError("the disk is full"), KeyboardInterrupt()])
def test_what_fails_half_way_leaves_nothing_that_looks_finished(tmp_path, error):
    def draw(cleaned, record, path):
        raise error

    sources = stored(tmp_path / "in", made())
    try:
        (outcome,) = preprocess(sources, OPTIONS, tmp_path / "out", report=draw)
        assert outcome.state == "failed" and outcome.error == "the disk is full"
    except KeyboardInterrupt:
        pass
    assert left(tmp_path / "out") == []


def test_what_a_kill_left_is_taken_away_by_the_next_call(tmp_path):
    sources = stored(tmp_path / "in", made())
    (outcome,) = preprocess(sources, OPTIONS, tmp_path / "out")
    outcome.files["record"].unlink()
    (tmp_path / "in" / "sub-1_raw.fif").write_bytes(b"")
    (failed,) = preprocess(sources, OPTIONS, tmp_path / "out")
    assert failed.state == "failed" and left(tmp_path / "out") == []


def test_a_truncated_file_is_said_to_be_damaged(tmp_path):
    sources = stored(tmp_path / "in", made())
    path = tmp_path / "in" / "sub-1_raw.fif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    (outcome,) = preprocess(sources, OPTIONS, tmp_path / "out")
    assert outcome.state == "failed" and "damaged, truncated" in outcome.error
    assert "internal error" not in outcome.error and outcome.trace == ""


def test_a_defect_keeps_its_traceback_for_those_who_ask(tmp_path, monkeypatch):
    def defect(*args, **how):
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(cleaning_runs, "clean_raw", defect)
    (outcome,) = preprocess(stored(tmp_path / "in", made()), OPTIONS, tmp_path / "out")
    assert "internal error: ZeroDivisionError: of ours" in outcome.error
    assert "in defect" in outcome.trace and "Traceback" in outcome.trace


def test_ctrl_c_says_how_many_are_done(tmp_path, monkeypatch, caplog):
    sources = [stored(tmp_path / "in", made(seed=i), f"sub-{i}_raw.fif")[0] for i in (1, 2, 3)]
    clean, calls = cleaning_runs.clean_raw, []

    def stopped(*args, **how):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return clean(*args, **how)

    monkeypatch.setattr(cleaning_runs, "clean_raw", stopped)
    with caplog.at_level(logging.WARNING, logger="neurosig"), pytest.raises(KeyboardInterrupt):
        preprocess(sources, OPTIONS, tmp_path / "out")
    assert "stopped after 2 of 3 recordings" in caplog.text


# the words of the pages ----------------------------------------------------------------------------------------------


def test_warnings_name_their_recordings():
    note = "Cz held no numbers (NaN)"
    labels = [f"sub-{i}" for i in range(6)]
    assert serious_notes([[note], []], labels[:2]) == [f"{note} (1 recording: sub-0)"]
    assert serious_notes([[note]] * 2, labels[:2]) == [f"{note} (all 2 recordings)"]
    (told,) = serious_notes([[note]] * 5 + [[]], labels)
    assert told == f"{note} (5 recordings: sub-0, sub-1, sub-2 and 2 more)"


def test_the_cohort_says_what_was_not_tested_names_its_events_and_counts_bad_channels(tmp_path):
    outcomes = []
    for subject in (1, 2):
        raw = made([f"E{i}" for i in range(13)], seed=subject, bad=3)
        sources = stored(tmp_path / "in", raw, f"sub-{subject}_raw.fif", events={"left": "a"})
        outcomes += preprocess(sources, OPTIONS, tmp_path / "out")
    outliers, note = find_cohort_outliers(outcomes, OPTIONS)
    files = write_cohort_report(outcomes, OPTIONS, tmp_path / "out", outliers=outliers, note=note)
    page, record = files["report"].read_text(), files["record"].read_text()
    assert "outlier subjects not tested (2 are too few)" in page and "no outlier among the subjects" not in page
    assert "left (a)" in page and '"events": "left (a)"' in record
    assert '"channels_bad": {\n  "E3": 2' in record and '"channels_interpolated": {}' in record
    assert "recordings in which the channel was bad" in page
