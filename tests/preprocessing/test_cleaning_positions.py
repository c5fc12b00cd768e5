"""Channels with and without positions: by name, left as they are, or left out; never written as zeros."""

import warnings

import mne
import numpy as np
import pytest

from neurosig.core.errors import ChannelError
from neurosig.preprocessing.cleaning import CleaningOptions, clean_raw
from neurosig.preprocessing.faster import FASTER
from neurosig.reports.cleaning_words import serious_notes

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.set_index")
DOTTED = ["Fp1.", "Fp2.", "F3..", "F4..", "Fz..", "C3..", "C4..", "Cz..", "P3..", "P4..", "Pz..", "O1..", "Fcz."]
OPTIONS = CleaningOptions(tmin=0.0, tmax=1.0, steps=("channels",))


def recording(names, bad=3):
    X = 1e-5 * np.random.default_rng(0).standard_normal((len(names), 2000))
    X[bad] *= 30
    raw = mne.io.RawArray(X, mne.create_info(names, 100.0, "eeg", verbose="error"), verbose="error")
    return raw.set_annotations(mne.Annotations(np.arange(1.0, 18.0, 1.5), 0.0, "a"))


def spread(cleaned):
    return cleaned.epochs.get_data(copy=False).std(axis=(0, 2))


def test_names_of_the_10_05_system_give_positions():
    cleaned = clean_raw(recording(DOTTED), OPTIONS)
    assert cleaned.interpolated == ("F4..",)
    assert spread(cleaned).min() > 1e-7
    assert not any("positions" in note for note in cleaned.notes)


def test_a_bad_channel_without_position_stays_and_is_marked():
    cleaned = clean_raw(recording([f"E{i}" for i in range(13)]), OPTIONS)
    assert cleaned.interpolated == () and cleaned.not_interpolated == ("E3",)
    assert cleaned.epochs.info["bads"] == ["E3"]
    X = cleaned.epochs.get_data(copy=False)
    assert spread(cleaned).min() > 1e-7
    np.testing.assert_allclose(np.delete(X, 3, axis=1).mean(axis=1), 0.0, atol=1e-18)
    assert any("E3 could not be interpolated" in note for note in serious_notes([cleaned.notes]))


def test_a_pair_without_a_place_is_kept_as_misc_and_named():
    raw = recording([*(name.rstrip(".") for name in DOTTED), "A2-A1"])
    raw.set_montage("standard_1020", on_missing="ignore", verbose="error")
    cleaned = clean_raw(raw, OPTIONS)
    assert cleaned.epochs.get_channel_types(["A2-A1"]) == ["misc"] and cleaned.interpolated == ("F4",)
    assert "A2-A1" not in cleaned.ch_names
    assert len(cleaned.ch_names) == cleaned.before.shape[1] == 12  # "Fcz" has no place here
    assert any(
        "A2-A1 filtered and cut, not cleaned (misc): no place" in note for note in serious_notes([cleaned.notes])
    )
    uncleaned = raw.get_data(["A2-A1"], units=None)  # filtered as the others were, in its own reference
    start = raw.time_as_index(raw.annotations.onset)[cleaned.kept[0]]
    kept = cleaned.epochs.get_data(picks=["A2-A1"])[0, 0]
    np.testing.assert_allclose(kept, uncleaned[0, start : start + len(kept)], rtol=1e-6)


def test_channels_of_other_kinds_are_named():
    raw = recording([*(name.rstrip(".") for name in DOTTED), "ECG"])
    raw.set_channel_types({"ECG": "ecg"}, verbose="error")
    cleaned = clean_raw(raw, OPTIONS)
    assert "ECG" not in cleaned.epochs.ch_names
    assert "not in the result, as neither brain nor eyes: ECG (ecg)" in cleaned.notes


def test_a_proxy_that_is_not_there_is_refused_and_spelling_is_free():
    with pytest.raises(ChannelError, match="'XX' that is to stand in for EOG"):
        clean_raw(recording(DOTTED), CleaningOptions(tmin=0.0, tmax=1.0, eog_proxy=("XX",)))
    clean_raw(recording(DOTTED), CleaningOptions(tmin=0.0, tmax=1.0, steps=("channels",), eog_proxy=("fp1",)))


def test_four_channels_are_not_told_to_be_clean():
    cleaned = clean_raw(recording(["TP9", "AF7", "AF8", "TP10"]), OPTIONS)
    assert any("4 channels cannot have a z-score" in note for note in serious_notes([cleaned.notes]))


@pytest.mark.parametrize(("names", "placed"), [(DOTTED, True), ([f"E{i}" for i in range(13)], False)])
def test_the_estimator_places_by_name_and_warns_once(names, placed):
    raw = recording(names)
    epochs = mne.Epochs(raw, mne.events_from_annotations(raw, verbose="error")[0], tmin=0, tmax=1, baseline=None,
                        preload=True, verbose="error")  # fmt: skip
    faster = FASTER(steps=("channels",))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        faster.fit(epochs)
    assert (faster.positions_ is not None) == placed
    assert len(said) == (0 if placed else 1)
    if not placed:
        assert "zero in average reference" in str(said[0].message) and said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clean = faster.transform(epochs)
    if placed:
        assert clean.std(axis=(0, 2)).min() > 1e-7
