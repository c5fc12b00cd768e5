"""Channels that are bad before FASTER looks: marked so, or without numbers. They count nowhere and are told apart."""

import mne
import numpy as np
import pytest

from neurosig.core.errors import InputError
from neurosig.preprocessing.cleaning import CleaningOptions, clean_epochs
from neurosig.preprocessing.cleaning_records import _stage
from neurosig.preprocessing.faster import FASTER, find_bad_channels, find_outlier_subjects
from neurosig.reports.cleaning import _reasons

SFREQ, N_EPOCHS, N_EEG, N_TIMES = 200.0, 30, 16, 100
NAMES = mne.channels.make_standard_montage("biosemi64").ch_names[: 4 * N_EEG : 4]
STEPS = ("channels", "epochs")


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    sources = np.einsum("cs,est->ect", rng.standard_normal((N_EEG, 6)), rng.laplace(size=(N_EPOCHS, 6, N_TIMES)))
    return 1e-5 * sources + 5e-6 * rng.standard_normal((N_EPOCHS, N_EEG, N_TIMES))


def made_epochs(X, bads=()):
    info = mne.create_info(NAMES, SFREQ, "eeg").set_montage("biosemi64")
    info["bads"] = list(bads)
    return mne.EpochsArray(X, info, verbose="error")


# -- marked -----------------------------------------------------------------------------------------------------------


def test_a_marked_channel_is_not_said_to_carry_no_signal(X):
    X[:, 5] = 0.0
    found = find_bad_channels(made_epochs(X, [NAMES[2]]))
    assert found.by_metric["marked"] == [NAMES[2]]
    assert found.by_metric["dead"] == [NAMES[5]]
    assert found.bads == [NAMES[2], NAMES[5]]
    assert "marked" not in find_bad_channels(made_epochs(X)).by_metric


@pytest.mark.parametrize("variant", ["mended", "paper", "mne"])
def test_the_report_names_what_was_marked_apart_from_what_was_found(X, variant):
    X[:, 3] *= 30
    faster = FASTER(variant, steps=STEPS).fit(made_epochs(X, [NAMES[2]]))
    assert faster.bad_channels_ == [NAMES[2], NAMES[3]]
    assert faster.report_["marked_bad"] == [NAMES[2]]


@pytest.mark.parametrize(("variant", "steps"), [("mended", STEPS), ("mne", STEPS), ("mended", ("epochs",))])
def test_the_page_says_that_a_channel_was_marked(X, variant, steps):
    options = CleaningOptions(variant=variant, steps=steps)
    cleaned = clean_epochs(made_epochs(X, [NAMES[2]]), options)
    assert cleaned.marked == (NAMES[2],) and cleaned.interpolated == (NAMES[2],)
    rows = _reasons({name: _stage(stage) for name, stage in cleaned.found.items()}, cleaned.marked)
    assert [row["why"] for row in rows if row["what"] == f"Channel {NAMES[2]}"] == ["marked bad"]


# -- without numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["mended", "paper", "mne"])
@pytest.mark.parametrize("steps", [STEPS, ("epochs",), ("channels", "epochs", "components")])
def test_a_channel_of_nan_is_bad_and_blinds_nothing(X, variant, steps):
    options = {"variant": variant, "steps": steps, "eog_proxy": NAMES[0], "few": "ignore"}
    empty = X.copy()
    empty[:, 4] = np.nan
    faster = FASTER(**options).fit(made_epochs(empty))
    assert faster.bad_channels_ == [NAMES[4]] and faster.report_["marked_bad"] == []
    # what it held, had it been marked and held numbers, plays no part
    marked = FASTER(**options).fit(made_epochs(np.where(np.isfinite(empty), empty, 0.0), [NAMES[4]]))
    expected = marked.transform(made_epochs(X))
    assert expected[:, 4].std() > 1e-6
    np.testing.assert_allclose(faster.transform(made_epochs(empty)), expected, atol=1e-9 * np.abs(expected).max())
    np.testing.assert_array_equal(faster.epoch_weights(made_epochs(empty)), marked.epoch_weights(made_epochs(X)))


def test_a_marked_channel_may_hold_nan_in_part(X):
    holed = X.copy()
    holed[3, 2, 10:20] = np.nan
    faster = FASTER(steps=STEPS).fit(made_epochs(holed, [NAMES[2]]))
    assert faster.metrics_["channels"]["flags"]["marked"].nonzero()[0].tolist() == [2]
    assert not faster.metrics_["channels"]["flags"]["dead"].any()
    clean = FASTER(steps=STEPS).fit(made_epochs(X, [NAMES[2]])).transform(made_epochs(X))
    np.testing.assert_allclose(faster.transform(made_epochs(holed)), clean, atol=1e-12)
    with pytest.raises(InputError, match=rf"NaN in 1 of 30 trials \(positions 3; channels {NAMES[2]}\).*mark the chan"):
        FASTER(steps=STEPS).fit(made_epochs(holed))


def test_a_channel_that_is_left_as_it_is_stays_nan(X):
    X[:, 4] = np.nan
    faster = FASTER(steps=STEPS, interpolation=None, sfreq=SFREQ).fit(X)
    clean = faster.transform(X)
    assert faster.bad_channels_ == ["4"]
    np.testing.assert_array_equal(np.isnan(clean).all(axis=(0, 2)), np.arange(N_EEG) == 4)
    assert np.isfinite(np.delete(clean, 4, axis=1)).all()


def test_a_channel_that_dies_after_the_training_is_interpolated_or_refused(X):
    faster = FASTER(steps=STEPS, output_reference=None).fit(made_epochs(X))
    test = X[:4].copy()
    test[:, 7] = np.nan
    peer = made_epochs(X[:4], [NAMES[7]]).interpolate_bads(verbose="error").get_data()
    np.testing.assert_allclose(faster.transform(made_epochs(test)), peer, atol=1e-6 * np.abs(peer).max())
    with pytest.raises(InputError, match=f"{NAMES[7]} holds no numbers, but was good in the training epochs"):
        FASTER(steps=STEPS, interpolation=None).fit(made_epochs(X)).transform(made_epochs(test))


# -- subjects ---------------------------------------------------------------------------------------------------------


def evokeds(n=12, kinds=("eeg",) * 8):
    rng = np.random.default_rng(0)
    info = mne.create_info([f"C{i}" for i in range(len(kinds))], SFREQ, list(kinds))
    scale = np.array([1e-6 if kind == "eeg" else 1e-13 for kind in kinds])[:, np.newaxis]
    return [mne.EvokedArray(scale * rng.standard_normal((len(kinds), 50)), info.copy()) for _ in range(n)]


def test_types_are_scored_apart_in_the_average_of_subjects():
    kinds = ("eeg",) * 4 + ("mag",) * 4
    people = evokeds(kinds=kinds)
    people[3].data[4:] *= 20  # in teslas, a trillionth of what the volts vary by
    found = find_outlier_subjects(people)
    assert found.bads == [3]
    assert list(found.scores) == [
        f"{metric}:{kind}" for metric in ("deviation", "variance", "amplitude") for kind in ("eeg", "mag")
    ]
    alone = find_outlier_subjects([each.data[4:] for each in people])
    assert list(alone.scores) == ["deviation", "variance", "amplitude"]
    for metric, scores in alone.scores.items():
        np.testing.assert_allclose(found.scores[f"{metric}:mag"], scores)
    with pytest.warns(UserWarning, match="6 subjects cannot have a z-score .* by deviation, variance, amplitude;"):
        find_outlier_subjects(people[:6])
    with pytest.raises(InputError, match="differ in type or order"):
        find_outlier_subjects([*people[:11], *evokeds(1, kinds[::-1])])


def test_marked_channels_count_in_no_subject_and_this_is_said():
    people = evokeds()
    people[3].data[2] *= 1000
    people[3].info["bads"] = ["C2"]
    with pytest.warns(UserWarning, match="C2 is marked bad in some of the subjects, and left out") as told:
        found = find_outlier_subjects(people)
    assert len(told) == 1 and found.bads == []
    expected = find_outlier_subjects([np.delete(each.data, 2, axis=0) for each in people])
    for metric, scores in expected.scores.items():
        np.testing.assert_allclose(found.scores[metric], scores)
    for each in people:
        each.info["bads"] = each.ch_names
    with pytest.raises(InputError, match="no channel is left to compare subjects by"):
        find_outlier_subjects(people)
