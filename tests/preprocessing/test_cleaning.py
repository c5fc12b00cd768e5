"""Cleaning of recordings: what was put in is found, nothing else changes, runs resume, bad input is one line."""

import json
import os
import signal
import subprocess
import sys
import tracemalloc
from types import SimpleNamespace

import lives
import mne
import numpy as np
import pytest
from numpy.testing import assert_allclose

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.loaders.discover import discover
from neurosig.loaders.eeg import load_eeg
from neurosig.loaders.manifest import open_dataset, read_manifest
from neurosig.loaders.recordings import ReadOptions, Recording
from neurosig.loaders.simulated import simulate_recordings
from neurosig.preprocessing import cleaning_records
from neurosig.preprocessing.cleaning import CleaningOptions, clean_epochs, clean_raw
from neurosig.preprocessing.cleaning_cohort import earlier_outcomes, made_by_other_software
from neurosig.preprocessing.cleaning_runs import (
    Source,
    find_cohort_outliers,
    preprocess,
    sources_of,
    sources_of_dataset,
)
from neurosig.preprocessing.faster import FASTER
from neurosig.reports.cleaning_words import serious_notes

# mne's own reader of metadata, with the next pandas
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.set_index")
OPTIONS = CleaningOptions(tmin=-0.2, tmax=0.8, eog_proxy=("Fp1", "Fp2"))
NAMES = [
    "Fp1",
    "Fp2",
    "F7",
    "F3",
    "Fz",
    "F4",
    "F8",
    "T7",
    "C3",
    "Cz",
    "C4",
    "T8",
    "P7",
    "P3",
    "Pz",
    "P4",
    "P8",
    "O1",
    "O2",
]


def make_raw(seed=0, n_seconds=80, names=NAMES, sfreq=128.0, located=True, eog=False):
    """Smooth fields over the head in pink noise, an event every two seconds."""
    rng = np.random.default_rng(seed)
    n = int(n_seconds * sfreq)
    freqs = np.maximum(np.fft.rfftfreq(n, 1 / sfreq), 1.0)
    waves = np.fft.irfft(np.fft.rfft(rng.standard_normal((12, n))) / freqs, n)
    data = rng.standard_normal((len(names), 12)) @ waves
    data = 1e-5 * data / data.std(axis=1, keepdims=True) + 5e-7 * rng.standard_normal(data.shape)
    types = ["eeg"] * len(names)
    if eog:
        data, names, types = np.vstack([data, 3e-5 * waves[:1] / waves[0].std()]), [*names, "EOG"], [*types, "eog"]
    info = mne.create_info(list(names), sfreq, types, verbose="error")
    raw = mne.io.RawArray(data, info, verbose="error")
    if located:
        raw.set_montage("standard_1020", verbose="error")
    onsets = np.arange(1.0, n_seconds - 1.5, 2.0)
    raw.set_annotations(mne.Annotations(onsets, 0.0, ["a", "b"] * (len(onsets) // 2) + ["a"] * (len(onsets) % 2)))
    return raw


def write(raw, path):
    raw.save(path, overwrite=True, verbose="error")
    return path


def spoil_header(raw):
    raw.set_meas_date(1_000_000_000)
    raw.info["subject_info"] = {
        "his_id": "PATIENT77",
        "last_name": "Mustermann",
        "first_name": "Dorothea",
        "birthday": None,
        "sex": 2,
    }
    raw.info["experimenter"] = "Experimenter Smith"
    return raw


# one recording -----------------------------------------------------------------------------------------------------


def test_a_noisy_channel_a_swinging_trial_and_a_popping_electrode_are_found():
    raw = make_raw()
    sfreq = raw.info["sfreq"]
    rng = np.random.default_rng(1)
    raw._data[NAMES.index("T8")] += 8e-5 * rng.standard_normal(raw.n_times)
    swing = slice(int(21.0 * sfreq), int(21.7 * sfreq))  # trial 10
    raw._data[:, swing] += 3e-4 * np.sin(np.linspace(0, 6 * np.pi, swing.stop - swing.start))
    raw._data[NAMES.index("Pz"), int(31.3 * sfreq) : int(31.6 * sfreq)] += 2e-4  # trial 15
    steps = ("channels", "epochs", "channels_in_epochs")
    cleaned = clean_raw(raw, CleaningOptions(tmin=-0.2, tmax=0.8, steps=steps, max_iter=1))
    assert cleaned.found["channels"].bads == ["T8"] and cleaned.interpolated == ("T8",)
    assert 10 not in cleaned.kept and 15 in cleaned.kept
    assert cleaned.cells[list(cleaned.kept).index(15), NAMES.index("Pz")]
    assert cleaned.epochs.metadata["trial"].tolist() == cleaned.kept.tolist()
    assert sum(kept for _, kept in cleaned.event_counts.values()) == len(cleaned.epochs)
    assert sum(cut for cut, _ in cleaned.event_counts.values()) == len(cleaned.before)
    # the interpolated channel carries what its neighbours do, not its own noise
    assert cleaned.epochs.get_data("T8").std() < 3e-5
    assert_allclose(cleaned.epochs.get_data("eeg").mean(axis=1), 0, atol=1e-18)


def test_without_steps_only_filter_window_and_reference_remain():
    raw = make_raw()
    truth = raw.copy().filter(0.5, 40.0, method="iir", verbose="error")
    events, ids = mne.events_from_annotations(truth, verbose="error")
    expected = mne.Epochs(truth, events, ids, -0.2, 0.8, baseline=None, preload=True, verbose="error")
    expected.set_eeg_reference("average", verbose="error")
    cleaned = clean_raw(raw, CleaningOptions(steps=()))
    assert_allclose(cleaned.epochs.get_data(), expected.get_data(), atol=1e-15)
    assert_allclose(cleaned.before, expected.get_data(), atol=1e-15)


def test_blinks_leave_with_their_component_and_the_rest_stays():
    (recording,) = simulate_recordings("imagery", 1, 1, 1, 30, artifacts=["blinks"], random_state=2)
    (pure,) = simulate_recordings("imagery", 1, 1, 1, 30, artifacts=False, random_state=2)
    # with the threshold of channels out of reach, frontal sites are not taken for bad because of the blinks
    options = CleaningOptions(
        tmin=-0.5,
        tmax=3.5,
        threshold={"channels": 20.0, "epochs": 20.0, "channels_in_epochs": 20.0},
        eog_proxy=("Fp1",),
    )
    cleaned = clean_raw(recording.raw, options)
    untouched = clean_raw(pure.raw, CleaningOptions(tmin=-0.5, tmax=3.5, steps=()))
    assert len(cleaned.found["components"].bads) >= 1
    clean, truth = cleaned.epochs.get_data(), untouched.epochs.get_data()
    names = cleaned.ch_names
    front, back = names.index("Fp1"), names.index("Oz")
    residual = (clean[:, front] - truth[:, front]).std() / (cleaned.before[:, front] - truth[:, front]).std()
    assert residual < 0.5  # most of what the blinks added is gone
    assert np.corrcoef(clean[:, back].ravel(), truth[:, back].ravel())[0, 1] > 0.95


def test_the_same_seed_gives_the_same_signals_and_the_caller_keeps_his():
    raw = make_raw(eog=True)
    events, ids = mne.events_from_annotations(raw, verbose="error")
    epochs = mne.Epochs(raw, events, ids, -0.2, 0.8, baseline=None, preload=True, verbose="error")
    before = epochs.get_data(copy=True)
    first, second = (clean_epochs(epochs, OPTIONS).epochs.get_data() for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(epochs.get_data(), before) and epochs.info["bads"] == []


def test_eog_channels_serve_the_components_and_are_kept():
    cleaned = clean_raw(make_raw(eog=True), CleaningOptions())
    assert "eog_correlation" in cleaned.found["components"].z
    assert cleaned.epochs.get_channel_types()[-1] == "eog" and "EOG" not in cleaned.ch_names


def test_marked_bad_channels_are_interpolated():
    raw = make_raw()
    raw.info["bads"] = ["Cz"]
    cleaned = clean_raw(raw, OPTIONS)
    assert "Cz" in cleaned.interpolated and cleaned.epochs.info["bads"] == []


@pytest.mark.parametrize(("value", "told"), [(0.0, None), (np.nan, "Cz held no numbers")])
def test_a_dead_channel_is_filled_and_does_not_blind_the_others(value, told):
    raw = make_raw()
    raw._data[NAMES.index("Cz")] = value
    raw._data[NAMES.index("T8")] *= 12
    cleaned = clean_raw(raw, OPTIONS)
    assert set(cleaned.interpolated) == {"Cz", "T8"}
    assert np.isfinite(cleaned.epochs.get_data()).all() and cleaned.epochs.get_data("Cz").std() > 1e-6
    assert told is None or any(told in note for note in cleaned.notes)


@pytest.mark.parametrize("steps", [(), ("epochs",), ("channels", "epochs")])
@pytest.mark.parametrize("located", [True, False])
def test_a_channel_without_numbers_counts_nowhere_whatever_steps_are_taken(steps, located):
    """As if it had been marked bad: above all not in the average reference, as a signal of zeros."""
    names = NAMES if located else [f"X{i}" for i in range(len(NAMES))]
    raw, marked = (make_raw(names=names, located=located) for _ in range(2))
    raw._data[9] = np.nan
    marked.info["bads"] = [names[9]]
    options = CleaningOptions(steps=steps, threshold=20.0)
    cleaned, expected = clean_raw(raw, options), clean_raw(marked, options)
    others = [name for name in names if name != names[9]]
    assert_allclose(cleaned.epochs.get_data(others), expected.epochs.get_data(others), atol=1e-15)
    assert cleaned.marked == (names[9],) and cleaned.epochs.info["bads"] == ([] if located else [names[9]])
    assert cleaned.interpolated == ((names[9],) if located else ())
    if located:
        assert_allclose(cleaned.epochs.get_data(names[9]), expected.epochs.get_data(names[9]), atol=1e-15)
    (note,) = [note for note in serious_notes([cleaned.notes]) if "held no numbers" in note]
    assert note.startswith(f"{names[9]} held no numbers (NaN)")


def test_an_eye_channel_without_numbers_stays_marked():
    raw = make_raw(eog=True)
    raw._data[-1] = np.nan
    raw._data[NAMES.index("T8")] *= 12
    cleaned = clean_raw(raw, CleaningOptions(steps=("channels",)))
    assert cleaned.epochs.info["bads"] == ["EOG"] and cleaned.interpolated == ("T8",)


def test_nan_in_part_of_a_channel_drops_the_trials_that_touch_it_where_asked(tmp_path):
    raw = make_raw()
    raw._data[3, int(21.2 * 128) : int(21.3 * 128)] = np.nan
    (source,) = sources_of([Recording(write(raw, tmp_path / "sub-1_raw.fif"), options=ReadOptions(on_nan="annotate"))])
    cleaned = clean_raw(source.read(), CleaningOptions(steps=()), source.on_nan)
    whole = clean_raw(make_raw(), CleaningOptions(steps=()))
    assert len(cleaned.epochs) == len(whole.epochs) - 1
    assert np.isfinite(cleaned.epochs.get_data()).all()
    (outcome,) = preprocess([source], CleaningOptions(steps=()), tmp_path / "out")
    assert outcome.state == "cleaned" and outcome.record["summary"]["trials"] == len(cleaned.epochs)


def test_nan_in_part_of_a_channel_is_refused():
    raw = make_raw()
    raw._data[3, 100:120] = np.nan
    with pytest.raises(InputError, match="NaN"):
        clean_raw(raw, OPTIONS)


def test_few_channels_are_told_of():
    cleaned = clean_raw(make_raw(names=["TP9", "AF7", "AF8", "TP10"]), CleaningOptions())
    assert any("4 channels cannot have a z-score beyond 1.50" in note for note in cleaned.notes)
    assert cleaned.interpolated == ()


def test_unknown_positions_are_told_of():
    raw = make_raw(located=False)
    raw._data[4] *= 15
    cleaned = clean_raw(raw, OPTIONS)
    assert "Fz" in cleaned.interpolated  # by the names of the 10-05 system
    raw = make_raw(located=False)
    raw._data[4] *= 15
    raw.rename_channels({name: f"Site {name}" for name in raw.ch_names if name not in ("Fp1", "Fp2")})
    cleaned = clean_raw(raw, OPTIONS)
    assert cleaned.interpolated == () and "Site Fz" in cleaned.epochs.info["bads"]
    assert any("electrode positions are not known" in note for note in cleaned.notes)


def test_average_referenced_data_lose_a_rank_not_the_cleaning():
    raw = make_raw()
    raw._data[NAMES.index("T8")] *= 12
    raw.set_eeg_reference("average", verbose="error")
    cleaned = clean_raw(raw, OPTIONS)
    assert "T8" in cleaned.interpolated
    assert cleaned.decomposition is not None and np.isfinite(cleaned.decomposition.mixing).all()
    assert np.isfinite(cleaned.epochs.get_data()).all()


def test_one_epoch_is_enough():
    raw = make_raw(n_seconds=6)
    raw.annotations.delete([1])
    cleaned = clean_raw(raw, CleaningOptions(tmin=0.0, tmax=2.0))
    assert len(cleaned.epochs) == 1


def test_a_low_rate_works():
    cleaned = clean_raw(make_raw(sfreq=100.0), CleaningOptions(variant="mne"))
    assert sum("line noise" in note for note in cleaned.notes) == 1
    assert len(cleaned.notes) == len(set(cleaned.notes))


@pytest.mark.slow
def test_autoreject_cleans_what_is_left():
    pytest.importorskip("autoreject", reason="autoreject is not installed")
    cleaned = clean_raw(make_raw(), CleaningOptions(autoreject=True, steps=("channels",)))
    assert set(cleaned.autoreject) == {"trials_dropped", "channels_interpolated_in_trials"}
    assert len(cleaned.epochs) == len(cleaned.kept) == len(cleaned.cells)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": ("chanels",)}, "steps are channels, epochs, components, channels_in_epochs, got 'chanels'"),
        ({"variant": "best"}, "variant must be one of mended, paper, mne, got 'best'"),
        ({"ica": "jade"}, "ica must be one of"),
        ({"reference": "mean"}, "reference must be 'average', names of channels or None"),
        ({"threshold": -1.0}, "threshold must be a positive number"),
        ({"threshold": {"chanels": 3.0}}, "threshold must be given by metric or stage"),
        ({"tmin": 1.0, "tmax": 0.5}, "tmax must lie after tmin"),
        ({"fmin": 40.0, "fmax": 1.0}, "fmax must lie above fmin"),
        ({"notch": -50.0}, "notch must be the mains frequency"),
        ({"resample": 0.0}, "resample must be a positive rate"),
        ({"max_iter": 0}, "max_iter must be a whole number"),
        ({"reference": ()}, "or None, got no name"),
        ({"baseline": (5.0, 6.0)}, "baseline must lie within the trial, -0.2 to 0.8 s"),
        ({"baseline": (0.0, -0.1)}, "baseline must lie within the trial, -0.2 to 0.8 s"),
        ({"baseline": (None, 0.9)}, "got -0.2 to 0.9 s"),
        ({"baseline": (float("nan"), 0.1)}, "baseline must lie within the trial"),
    ],
)
def test_wrong_options_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        CleaningOptions(**change)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (CleaningOptions(fmax=80.0), InputError, "the band must end below 64 Hz"),
        (CleaningOptions(events=("c",)), InputError, "none of the events c"),
        (CleaningOptions(eog=("EOG",)), ChannelError, "the EOG channel 'EOG' is not there"),
        (CleaningOptions(reference=("M1",)), ChannelError, "the reference 'M1' is not among the EEG channels"),
        (CleaningOptions(tmin=-500.0), InputError, "no trial from tmin=-500"),
    ],
)
def test_what_does_not_fit_the_recording_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        clean_raw(make_raw(n_seconds=20), options)


@pytest.fixture
def no_work(monkeypatch):
    def work(*_args, **_kwargs):
        raise AssertionError("the cleaning began")

    for name in ("_filter", "take_steps"):
        monkeypatch.setattr(f"neurosig.preprocessing.cleaning.{name}", work)


def test_a_reference_that_is_not_there_is_refused_before_the_work(no_work):
    with pytest.raises(ChannelError, match="the reference 'M1' is not among the EEG channels"):
        clean_raw(make_raw(n_seconds=20), CleaningOptions(reference=("M1", "M2")))
    with pytest.raises(ChannelError, match="the reference 'Fp1' is not among the EEG channels"):
        clean_raw(make_raw(n_seconds=20), CleaningOptions(reference=("Fp1",), eog=("Fp1",)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": [f"E{i}" for i in range(8)], "located": False}, "autoreject needs the positions of the electrodes"),
        ({"names": ["Fz", "Cz", "Pz"]}, "autoreject needs at least 4 good EEG channels, got 3"),
    ],
)
def test_what_autoreject_wants_is_said_before_the_work_and_by_itself(no_work, change, message):
    pytest.importorskip("autoreject", reason="autoreject is not installed")
    with pytest.raises(InputError) as caught:
        clean_raw(make_raw(**change), CleaningOptions(autoreject=True))
    assert message in str(caught.value) and "trials" not in str(caught.value)


def test_too_few_trials_for_autoreject_are_said_before_the_work(monkeypatch):
    pytest.importorskip("autoreject", reason="autoreject is not installed")
    monkeypatch.setattr("neurosig.preprocessing.cleaning.take_steps", None)
    with pytest.raises(InputError, match="autoreject needs at least 10 trials, got 8;"):
        clean_raw(make_raw(n_seconds=18), CleaningOptions(autoreject=True))


@pytest.mark.parametrize("variant", ["mended", "mne"])
@pytest.mark.parametrize("average_first", [False, True])
def test_a_recording_and_the_estimator_take_the_same_course(variant, average_first):
    """The same trials and options: the same channels, trials, components, cells, and signals."""
    raw = make_raw(n_seconds=120)
    raw._data[NAMES.index("T8")] *= 12
    raw._data[NAMES.index("Pz"), int(31.3 * 128) : int(31.6 * 128)] += 2e-4
    events, ids = mne.events_from_annotations(raw, verbose="error")
    epochs = mne.Epochs(raw, events, ids, -0.2, 0.8, baseline=None, preload=True, verbose="error")
    # a lower threshold finds something in every stage
    options = {"variant": variant, "threshold": {"components": 2.0, "default": 3.0}, "eog_proxy": ("Fp1", "Fp2")}
    how = {"average_first": True} if average_first else {}
    cleaned = clean_epochs(epochs, CleaningOptions(**options, **how))
    faster = FASTER(**options, **how).fit(epochs)
    assert list(cleaned.interpolated) == faster.bad_channels_ and "T8" in cleaned.interpolated
    assert np.array_equal(np.setdiff1d(np.arange(len(epochs)), cleaned.kept), faster.bad_epochs_)
    assert np.array_equal(np.flatnonzero(cleaned.found["components"].bad), faster.bad_components_)
    assert np.array_equal(cleaned.cells, faster.bad_channels_in_epochs_[cleaned.kept]) and cleaned.cells.any()
    assert variant == "mne" or len(faster.bad_components_)
    expected = faster.transform(epochs[cleaned.kept])
    assert_allclose(cleaned.epochs.get_data(), expected, atol=1e-9 * np.abs(expected).max())


# many recordings ---------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    return [write(spoil_header(make_raw(i, 30)), folder / f"sub-{i + 1}_ses-1_run-1_raw.fif") for i in range(3)]


def test_results_are_read_back_and_hold_nothing_of_the_person(files, tmp_path):
    (first, *_) = outcomes = preprocess(sources_of(discover(files)), OPTIONS, tmp_path / "out")
    assert [outcome.state for outcome in outcomes] == ["cleaned"] * 3
    assert first.files["epochs"].relative_to(tmp_path / "out").as_posix() == (
        "sub-1/ses-1/eeg/sub-1_ses-1_run-1_desc-faster_epo.fif")  # fmt: skip
    epochs = mne.read_epochs(first.files["epochs"], verbose="error")
    summary = json.loads(first.files["record"].read_text())["summary"]
    assert len(epochs) == summary["trials_kept"] and epochs.event_id == {"a": 1, "b": 2}
    assert epochs.info["meas_date"] is None and epochs.info["subject_info"] is None
    averages = mne.read_evokeds(first.files["average"], verbose="error")
    assert {evoked.comment for evoked in averages} == {"a", "b"}
    assert_allclose(averages[0].data, epochs[averages[0].comment].average().data, atol=1e-9)
    assert json.loads((tmp_path / "out" / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(
                word in content for word in (b"Mustermann", b"Dorothea", b"er Smith", b"PATIENT77", b"_raw.fif")
            ), path


def test_finished_work_is_skipped_and_changed_work_is_done(files, tmp_path):
    out = tmp_path / "out"
    sources = sources_of(discover(files))
    preprocess(sources, OPTIONS, out)
    assert [outcome.state for outcome in preprocess(sources, OPTIONS, out)] == ["skipped"] * 3
    other = CleaningOptions(tmin=-0.2, tmax=0.8, eog_proxy=("Fp1", "Fp2"), threshold=3.5)
    with pytest.raises(
        UsageError, match=r"holds 3 recordings that were .* \(threshold 3 there, 3\.5 now\).*--overwrite"
    ):
        preprocess(sources, other, out)
    again = preprocess(sources[:1], other, out, overwrite=True)
    assert [(outcome.state, outcome.replaced) for outcome in again] == [("cleaned", True)]
    earlier, *counts = earlier_outcomes(out, again, other)
    assert len(earlier) == 0 and counts == [2, 0]
    earlier, others, _ = earlier_outcomes(out, [], OPTIONS)
    assert [outcome.source.subject for outcome in earlier] == ["2", "3"] and others == 1
    assert all(path.is_file() for outcome in earlier for path in outcome.files.values())


def test_other_events_are_other_options(files, tmp_path):
    def sources(events, files=files[:1]):
        return sources_of(discover(files, options=ReadOptions(events=events)))

    options = CleaningOptions(tmin=-0.2, tmax=0.8, steps=("channels",))
    preprocess(sources({"x": "a"}), options, tmp_path / "out")
    with pytest.raises(UsageError, match="events x=a there, x=b now"):
        preprocess(sources({"x": "b"}, files[1:2]), options, tmp_path / "out")
    assert preprocess(sources({"x": "a"}, files[1:2]), options, tmp_path / "out")[0].state == "cleaned"


def test_other_code_is_other_work(files, tmp_path, monkeypatch):
    """The version of a checkout says nothing of its code: what edited code has cleaned is cleaned anew."""
    sources = sources_of(discover(files[:1]))
    options = CleaningOptions(tmin=-0.2, tmax=0.8, steps=("channels",))
    (first,) = preprocess(sources, options, tmp_path / "out")
    assert made_by_other_software([first]) == 0
    monkeypatch.setattr(cleaning_records, "source_digest", lambda name: "another")
    assert made_by_other_software([first]) == 1
    (again,) = preprocess(sources, options, tmp_path / "out")
    assert (again.state, again.replaced) == ("cleaned", True)
    assert again.record["versions"]["neurosig source"] == "another"
    monkeypatch.setattr(cleaning_records, "source_digest", lambda name: None)  # installed: the version says it all
    assert "neurosig source" not in preprocess(sources, options, tmp_path / "out")[0].record["versions"]


def test_a_recording_without_events_is_left_out(files, tmp_path):
    rest = make_raw(9, 30)
    rest.set_annotations(None)
    sources = sources_of(discover([files[0], write(rest, tmp_path / "in" / "sub-8_raw.fif")]))
    options = CleaningOptions(tmin=-0.2, tmax=0.8, steps=("channels",))
    _, left = preprocess(sources, options, tmp_path / "out")
    assert left.state == "left out" and "has no events" in left.error and not left.record
    other = sources_of(discover(files[:1], options=ReadOptions(events={"x": "nothing"})))
    (none,) = preprocess(other, options, tmp_path / "elsewhere")
    assert none.state == "left out" and "has none of the events asked for: x ('nothing')" in none.error


def test_cleaned_trials_are_read_back_by_the_loaders(files, tmp_path):
    """The loop closes: what is written is a dataset, with subjects, classes, reference and filters."""
    raw = make_raw(5, 40)
    raw._data[:, int(5.1 * 128) : int(5.4 * 128)] += 3e-4  # one trial that is rejected
    path = write(raw, tmp_path / "in" / "patientX_raw.fif")
    options = CleaningOptions(tmin=-0.2, tmax=0.8, steps=("channels", "epochs"))
    (outcome,) = preprocess(sources_of([Recording(path)]), options, tmp_path / "out")
    stored = mne.read_epochs(outcome.files["epochs"], verbose="error")
    assert [log for log in stored.drop_log if log] == [("FASTER",)] * len(outcome.record["summary"]["trials_dropped"])
    assert set(stored.metadata["subject"]) == {"patientX"} and list(stored.metadata) == [
        "subject", "session", "run", "onset", "trial"]  # fmt: skip
    loaded = load_eeg(tmp_path / "out")
    assert_allclose(loaded.X, stored.get_data(), rtol=1e-12)
    assert loaded.y.tolist() == [{1: "a", 2: "b"}[code] for code in stored.events[:, 2]]
    assert (loaded.info.reference, loaded.info.highpass, loaded.info.lowpass) == ("average", 0.5, 40.0)
    assert set(loaded.metadata["subject"]) == {"patientX"}
    manifest = open_dataset(tmp_path / "out")
    assert (manifest.processing.tmin, round(manifest.processing.tmax, 2)) == (-26 / 128, 0.8)
    assert "cleaned before the folds were made (neurosig preprocess" in manifest.warnings[0]


@pytest.mark.parametrize("damage", ["cut", "gone", "record"])
def test_damaged_results_are_made_again(files, tmp_path, damage):
    sources = sources_of(discover(files[:1]))
    (outcome,) = preprocess(sources, OPTIONS, tmp_path / "out")
    path = outcome.files["record" if damage == "record" else "epochs"]
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100])
    assert preprocess(sources, OPTIONS, tmp_path / "out")[0].state == "cleaned"


def test_one_that_fails_does_not_stop_the_others_nor_tells_its_path(files, tmp_path):
    files[1].write_bytes(b"nothing of the kind")
    outcomes = preprocess(
        sources_of([Recording(path, str(i)) for i, path in enumerate(files)]), OPTIONS, tmp_path / "out"
    )
    assert [outcome.state for outcome in outcomes] == ["cleaned", "failed", "cleaned"]
    assert "the recording" in outcomes[1].error and "raw.fif" not in outcomes[1].error
    assert str(tmp_path) not in outcomes[1].error


def test_parallel_and_serial_give_the_same_files(files, tmp_path):
    sources = sources_of(discover(files))
    one, two = (preprocess(sources, OPTIONS, tmp_path / str(jobs), n_jobs=jobs) for jobs in (1, 2))
    for a, b in zip(one, two, strict=True):
        signals = [mne.read_epochs(each.files["epochs"], verbose="error").get_data() for each in (a, b)]
        assert_allclose(signals[0], signals[1], rtol=1e-4, atol=1e-9)  # threads may add in another order
        assert a.record["summary"] == b.record["summary"]


def test_two_recordings_of_one_name_are_refused(files, tmp_path):
    sources = [Source("a-1", "0", "0", Recording(files[0])), Source("a1", "0", "0", Recording(files[1]))]
    with pytest.raises(UsageError, match="two recordings would be stored as sub-a1_ses-0_run-0"):
        preprocess(sources, OPTIONS, tmp_path / "out")


def test_a_second_call_into_the_same_folder_is_refused_and_the_first_leaves_no_lock(files, tmp_path):
    """The report is written while the folder is held: there another process asks for it."""
    sources, out, said = sources_of(discover(files[:1])), tmp_path / "out", []
    ask = f"""
from neurosig.loaders.discover import discover
from neurosig.preprocessing import cleaning_runs
from neurosig.preprocessing.cleaning import CleaningOptions
cleaning_runs.preprocess(cleaning_runs.sources_of(discover({str(files[0])!r})), CleaningOptions(), {str(out)!r})
"""

    def page(cleaned, record, path):
        other = lives.python(ask, cwd=tmp_path)
        said.append((other.returncode, other.stderr.strip().splitlines()[-1]))
        path.write_text("page")

    assert preprocess(sources, OPTIONS, out, report=page)[0].state == "cleaned"
    ((code, message),) = said
    assert code == 1 and "another neurosig preprocess is writing to" in message and "choose another folder" in message
    assert not (out / ".lock").exists()
    assert preprocess(sources, OPTIONS, out)[0].state == "skipped"


def test_what_moabb_reads_is_refused_with_what_to_do():
    with pytest.raises(UsageError, match=r"is read by MOABB.*--group cleaning.*or give the downloaded files"):
        sources_of_dataset(read_manifest("BNCI2014_001"))


def test_nothing_to_clean_and_foreign_folders_are_refused(tmp_path, files):
    with pytest.raises(UsageError, match="no recordings to clean"):
        preprocess([], OPTIONS, tmp_path / "out")
    (tmp_path / "bids").mkdir()
    (tmp_path / "bids" / "dataset_description.json").write_text('{"Name": "mine"}')
    with pytest.raises(UsageError, match="is a BIDS dataset of its own"):
        preprocess(sources_of(discover(files)), OPTIONS, tmp_path / "bids")


def test_a_simulated_dataset_has_a_source_for_each_run(tmp_path):
    sources = sources_of_dataset(read_manifest("simulated-imagery"), ["2"])
    assert [(s.subject, s.session, s.run) for s in sources] == [("2", a, b) for a in "01" for b in "01"]
    (made,) = simulate_recordings(
        **{**sources[0].simulated, "n_sessions": 1, "n_runs": 1, "subjects": ["2"]})  # fmt: skip
    assert np.array_equal(sources[0].read().get_data(), made.raw.get_data())


def test_an_outlier_subject_is_found(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    paths = []
    for i in range(12):
        raw = make_raw(i, 24)
        if i == 4:
            raw._data *= 4
        paths.append(write(raw, folder / f"sub-{i + 1}_raw.fif"))
    options = CleaningOptions(steps=("channels",), threshold=2.9)
    outcomes = preprocess(sources_of(discover(paths)), options, tmp_path / "out")
    outliers, _ = find_cohort_outliers(outcomes, options)
    assert outliers.bads == ["5"]
    nothing, why = find_cohort_outliers(outcomes[:1], options)
    assert nothing is None and "no others" in why


def test_channels_that_stay_bad_in_a_recording_count_in_no_subject(tmp_path):
    rng, outcomes = np.random.default_rng(0), []
    for i in range(12):
        info = mne.create_info(["A", "B", "C"], 100.0, "eeg", verbose="error")
        data = 1e-6 * rng.standard_normal((3, 50))
        if i == 4:
            data[1] *= 1000
            info["bads"] = ["B"]
        path = tmp_path / f"{i}_ave.fif"
        mne.write_evokeds(path, [mne.EvokedArray(data, info, nave=5, comment=name) for name in "ab"], verbose="error")
        outcomes.append(
            SimpleNamespace(record={"x": 1}, files={"average": path}, source=SimpleNamespace(subject=str(i), task=None))
        )
    outliers, note = find_cohort_outliers(outcomes, CleaningOptions())
    assert outliers.bads == [] and note == "marked bad in a recording and left out of the comparison: B"
    info["bads"] = ["A", "C"]
    mne.write_evokeds(path, [mne.EvokedArray(data, info)], overwrite=True, verbose="error")
    nothing, why = find_cohort_outliers(outcomes, CleaningOptions())
    assert nothing is None and "every channel is marked bad" in why


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_after_a_kill_the_same_call_goes_on(files, tmp_path):
    """Killed in the middle of writing: what is half written is never taken for a result."""
    script = f"""
import sys
from neurosig.loaders.discover import discover
from neurosig.preprocessing import cleaning_runs
from neurosig.preprocessing.cleaning import CleaningOptions
import mne, signal
files = {[str(path) for path in files]!r}
seen = []
store = mne.write_evokeds
def slow(path, *args, **kwargs):  # the second recording: its epochs are there, its average is half written
    seen.append(path)
    if len(seen) == 2:
        open(path, "wb").write(b"half"); print("now", flush=True); signal.pause()
    store(path, *args, **kwargs)
mne.write_evokeds = slow
options = CleaningOptions(tmin=-0.2, tmax=0.8, eog_proxy=("Fp1", "Fp2"))
cleaning_runs.preprocess(cleaning_runs.sources_of(discover(files)), options, {str(tmp_path / "out")!r})
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ})
    with child:
        assert child.stdout.readline().strip() == b"now"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert list((tmp_path / "out").rglob(".*.partial"))
    outcomes = preprocess(sources_of(discover(files)), OPTIONS, tmp_path / "out")
    assert [outcome.state for outcome in outcomes] == ["skipped", "cleaned", "cleaned"]
    assert not list((tmp_path / "out").rglob(".*.partial"))
    for outcome in outcomes:
        assert len(mne.read_evokeds(outcome.files["average"], verbose="error")) == 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_at_any_moment_the_same_call_goes_on(files, tmp_path):
    """Whatever was reached when a file was opened, moved or removed, the folder is free and its files are whole."""
    sources, generator = sources_of(discover(files[0].parent)), np.random.default_rng(0)
    assert lives.ended(lives.begin(tmp_path, preprocess, sources, OPTIONS, tmp_path / "whole"))
    n_events, out = lives.n_events(tmp_path), tmp_path / "out"
    for _ in range(4):  # together less than one undisturbed life has, so that each of them is killed
        moment = int(n_events * generator.uniform(0.02, 0.23))
        assert not lives.ended(lives.begin(tmp_path, preprocess, sources, OPTIONS, out, kill_at=moment))
    reached = sum(1 for _ in out.rglob("*_epo.json"))
    outcomes = preprocess(sources, OPTIONS, out)
    states = [outcome.state for outcome in outcomes]
    assert states.count("skipped") == reached and states.count("failed") == 0
    assert not list(out.rglob(".*.partial")) and not (out / ".lock").exists()
    for outcome in outcomes:
        assert (
            len(mne.read_epochs(outcome.files["epochs"], verbose="error")) == outcome.record["summary"]["trials_kept"]
        )


def test_memory_does_not_grow_with_the_number_of_recordings(tmp_path):
    """A copy kept of each of nine recordings would be nine recordings more at the peak."""
    raw = make_raw(0, 60)
    first = write(raw, tmp_path / "sub-0_raw.fif")
    for i in range(1, 9):
        (tmp_path / f"sub-{i}_raw.fif").write_bytes(first.read_bytes())

    def peak(n):
        sources = sources_of([Recording(tmp_path / f"sub-{i}_raw.fif", str(i)) for i in range(n)])
        tracemalloc.start()
        try:
            done = preprocess(sources, CleaningOptions(steps=("channels",)), tmp_path / f"out{n}")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            assert [one.state for one in done] == ["cleaned"] * n

    peak(1)  # what libraries import and keep
    few, many = peak(2), peak(9)
    assert many < few + 2 * raw._data.nbytes
