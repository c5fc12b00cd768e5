"""FASTER at its edges: silent reference channels, epochs of NaN, other rates, too little to judge by, odd options."""

import json
import re
import warnings

import mne
import numpy as np
import pytest

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.preprocessing.cleaning import CleaningOptions, clean_epochs
from neurosig.preprocessing.faster import FASTER, find_bad_channels, find_bad_components, find_outlier_subjects
from neurosig.preprocessing.faster_ica import fit_decomposition
from neurosig.preprocessing.faster_signals import Recorded
from neurosig.preprocessing.faster_stages import find_bad_epochs
from neurosig.preprocessing.interpolation import Interpolator

SFREQ, N_EPOCHS, N_EEG, N_TIMES = 200.0, 30, 16, 200
NAMES = mne.channels.make_standard_montage("biosemi64").ch_names[: 4 * N_EEG : 4]
CELLS = ("channels", "epochs", "channels_in_epochs")


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    sources = np.einsum("cs,est->ect", rng.standard_normal((N_EEG, 6)), rng.laplace(size=(N_EPOCHS, 6, N_TIMES)))
    return 1e-5 * sources + 5e-6 * rng.standard_normal((N_EPOCHS, N_EEG, N_TIMES))


def made_epochs(X, sfreq=SFREQ):
    info = mne.create_info(NAMES, sfreq, "eeg").set_montage("biosemi64")
    return mne.EpochsArray(X, info, verbose="error")


@pytest.fixture
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# -- channels and epochs without a signal ---------------------------------------------------------------------------


def test_an_all_zero_channel_is_left_out_of_the_authors_correlation_and_takes_the_mean(X):
    alone = find_bad_channels(X, variant="paper")
    found = find_bad_channels(np.insert(X, 5, 0.0, axis=1), variant="paper")
    others = np.arange(N_EEG + 1) != 5
    np.testing.assert_allclose(found.scores["correlation"][others], alone.scores["correlation"])
    assert found.z["correlation"][5] == pytest.approx(0.0, abs=1e-9)
    # the mean takes part, as in the authors' program: one more item of no deviation
    scale = np.sqrt(N_EEG / (N_EEG - 1))
    np.testing.assert_allclose(found.z["correlation"][others], scale * alone.z["correlation"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_epoch_of_nan_does_not_make_every_channel_dead(X, value):
    X[:, 3] *= 20
    expected = find_bad_channels(np.delete(X, 7, axis=0), sfreq=SFREQ)
    X[7] = value
    found = find_bad_channels(X, sfreq=SFREQ)
    assert found.bads == expected.bads == ["3"]
    for metric, scores in expected.scores.items():
        np.testing.assert_array_equal(found.scores[metric], scores)
    assert find_bad_epochs(X).by_metric["dead"] == [7]


@pytest.mark.parametrize("variant", ["paper", "mne"])
def test_published_variants_say_that_nan_blinds_them(X, variant):
    X[:, 2] = np.nan
    with pytest.warns(UserWarning, match=r"2 holds NaN or infinite values.*variant='mended'"):
        assert find_bad_channels(X, variant=variant, sfreq=SFREQ).bads == []


def test_signals_of_nan_alone_are_refused(X):
    with pytest.raises(InputError, match="none of 16 channels carries a signal"):
        find_bad_channels(np.full_like(X, np.nan))


# -- what it is given -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["mended", "paper", "mne"])
def test_a_continuous_recording_is_one_long_epoch(X, variant):
    X[:, 3] *= 20
    raw = mne.io.RawArray(np.concatenate(list(X), axis=1), made_epochs(X).info, verbose="error")
    found = find_bad_channels(raw, variant=variant)
    expected = find_bad_channels(raw.get_data()[np.newaxis], variant=variant, info=raw.info)
    assert found.bads == expected.bads and NAMES[3] in found.bads
    for metric, scores in expected.scores.items():
        np.testing.assert_array_equal(found.scores[metric], scores)


@pytest.mark.parametrize("use", [find_bad_epochs, FASTER().fit])
def test_a_continuous_recording_has_no_epochs_to_judge(X, use):
    raw = mne.io.RawArray(X[0], made_epochs(X).info, verbose="error")
    with pytest.raises(InputError, match="epochs"):
        use(raw)


def test_epochs_of_another_rate_are_refused(X):
    fitted = FASTER(steps=CELLS).fit(made_epochs(X))
    for use in (fitted.transform, fitted.epoch_weights, fitted.clean, fitted.bad_channels_in):
        with pytest.raises(InputError, match=r"200 Hz.*100 Hz.*resample"):
            use(made_epochs(X, 100.0))
    unaware = FASTER(steps=CELLS, interpolation="mean", ch_names=NAMES, few="ignore").fit(X)
    assert unaware.transform(made_epochs(X, 100.0)).shape == X.shape  # no rate was known


def test_a_rate_that_contradicts_the_epochs_is_refused(X):
    with pytest.raises(UsageError, match=r"sfreq is 1000 Hz.*100 Hz"):
        FASTER(sfreq=1000.0).fit(made_epochs(X, 100.0))
    with pytest.raises(UsageError, match=r"sfreq is 1000 Hz.*200 Hz"):
        find_bad_channels(X, sfreq=1000.0, info=made_epochs(X).info)
    FASTER(sfreq=SFREQ, steps=CELLS).fit(made_epochs(X))


@pytest.mark.parametrize("sfreq", [-1, 0, np.nan, np.inf, "200"])
@pytest.mark.parametrize("names", [None, NAMES])
def test_a_rate_that_is_none_is_refused(X, sfreq, names):
    with pytest.raises(UsageError, match="sfreq must be a positive rate in Hz, got"):
        find_bad_channels(X, sfreq=sfreq, ch_names=names)


def test_one_eog_channel_may_be_named_without_a_list(X):
    epochs = made_epochs(X)
    alone, listed = (FASTER(eog=eog, few="ignore").fit(epochs) for eog in (NAMES[0], [NAMES[0]]))
    assert alone.ch_types_ == listed.ch_types_ == ["eog"] + ["eeg"] * (N_EEG - 1)
    assert FASTER(eog=0, few="ignore").fit(epochs).ch_types_ == listed.ch_types_
    names = (NAMES[0], [NAMES[0]])
    alone, listed = (FASTER(eog_proxy=proxy, few="ignore").fit(epochs) for proxy in names)
    found = [fitted.metrics_["components"]["scores"]["eog_correlation"] for fitted in (alone, listed)]
    np.testing.assert_array_equal(*found)
    ica = fit_decomposition(Recorded.read(epochs), n_components=5)
    found = [find_bad_components(ica, epochs, eog_proxy=proxy, few="ignore") for proxy in names]
    np.testing.assert_array_equal(*[each.scores["eog_correlation"] for each in found])


@pytest.mark.parametrize("n", [11, 13])
def test_names_of_subjects_are_as_many_as_the_subjects(n):
    subjects = np.random.default_rng(0).standard_normal((12, 4, 50))
    subjects[11] *= 20
    with pytest.raises(UsageError, match=f"expected 12 names of subjects, got {n}"):
        find_outlier_subjects(subjects, names=[f"s{i}" for i in range(n)])
    assert find_outlier_subjects(subjects, names=[f"s{i}" for i in range(12)]).bads == ["s11"]


# -- what is said ---------------------------------------------------------------------------------------------------


def test_each_threshold_that_cannot_be_passed_is_named(X):
    with pytest.warns(UserWarning, match=r"thresholds of correlation \(5\), hurst \(9\) find nothing") as told:
        find_bad_channels(X, variant="paper", threshold={"variance": 2.0, "correlation": 5.0, "hurst": 9.0})
    assert len(told) == 1


def test_line_noise_is_told_of_once(X):
    epochs = made_epochs(X, 100.0)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fitted = FASTER("mne", few="ignore").fit(epochs)
    lines = [str(entry.message) for entry in told if "line noise" in str(entry.message)]
    assert len(lines) == 1
    assert "channels, components, channels in epochs" in lines[0]
    steps = ("channels", "components", "channels_in_epochs")
    assert all("line_noise" in fitted.report_["steps"][step]["skipped"] for step in steps)


def test_line_noise_is_noted_once_in_what_the_command_says(X):
    notes = clean_epochs(made_epochs(X, 100.0), CleaningOptions(variant="mne")).notes
    assert sum("line noise" in note.lower() for note in notes) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {},
            "drift and spectral slope are left out: .* pass sfreq or info; EOG correlation is left out: .* pass eog",
        ),
        ({"sfreq": SFREQ}, "^EOG correlation is left out: there are no EOG channels; pass eog or eog_proxy$"),
        ({"eog": 0}, "^drift and spectral slope are left out: the sampling rate is not known; pass sfreq or info$"),
        ({"sfreq": SFREQ, "eog_proxy": "3"}, None),
        ({"few": "ignore"}, None),
        ({"metrics": {"channels": ["variance"], "components": ["hurst"]}}, None),
    ],
)
def test_what_is_left_out_is_told_once_with_what_to_pass(X, options, told):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        FASTER(**{"interpolation": "mean", "n_components": 12, **options}).fit(X)
    assert len(said) == (told is not None)
    if told is not None:
        assert re.search(told, str(said[0].message))


@pytest.mark.parametrize("rounds", [0, -1, 1.5, True])
def test_rounds_are_called_rounds(X, rounds):
    with pytest.raises(UsageError, match=rf"^rounds must be a whole number of at least 1, or None, got {rounds}$"):
        FASTER(rounds=rounds).fit(X)


@pytest.mark.parametrize("n", [1, 2])
def test_few_channels_with_places_are_not_said_to_have_none(X, n):
    options = {"steps": ("channels",), "sfreq": SFREQ, "ch_names": ["C3", "C4"][:n]}
    few = "2 EEG channels are" if n == 2 else "1 EEG channel is"
    with pytest.warns(UserWarning, match=f"{few} too few for splines, which take at least 4, so bad") as told:
        FASTER(**options).fit(X[:, :n])
    assert not any("no positions" in str(entry.message) for entry in told)
    with pytest.raises(ChannelError, match=f"{few} too few for splines"):
        FASTER(interpolation="spline", **options).fit(X[:, :n])


def test_one_epoch_without_its_axis_is_refused_where_a_rate_was_given(X):
    told = r"expected signals of shape \(n_epochs, n_channels, n_times\), got shape \(16, 200\), .*X\[np.newaxis\]"
    with pytest.raises(InputError, match=told):
        FASTER(steps=("channels",), interpolation="mean", sfreq=SFREQ).fit(X[0])


def test_one_epoch_without_its_axis_is_told_apart_from_wrong_names(X):
    for described in ({"ch_names": NAMES}, {"info": made_epochs(X).info}):
        with pytest.raises(InputError, match=r"with 16 channels, got shape \(16, 200\), which counts as 16 epochs"):
            FASTER(**described).fit(X[0])


# -- a low rate and a low band --------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["mended", "paper", "mne"])
@pytest.mark.parametrize(("sfreq", "lowpass"), [(200.0, 3.0), (8.0, 4.0), (1.0, 0.5), (200.0, 0.0)])
def test_a_low_band_or_rate_leaves_out_at_most_the_slope(X, variant, sfreq, lowpass):
    epochs = made_epochs(X, sfreq)
    with epochs.info._unlock():
        epochs.info["lowpass"] = lowpass
    ica = fit_decomposition(Recorded.read(epochs), n_components=5)
    how = {"variant": variant, "metrics": ["spectral_slope", "kurtosis"], "few": "ignore"}
    found = find_bad_components(ica, epochs, **how)
    if (sfreq == 1.0 and variant != "mne") or (variant == "mne" and lowpass == 0.0):
        assert "fewer than two bins" in found.skipped["spectral_slope"]
        return
    low, high = (0.0, lowpass) if variant == "mne" else (0.0, lowpass + 5.0)
    asked = find_bad_components(ica, epochs, band=(low, high), **how)
    np.testing.assert_array_equal(found.scores["spectral_slope"], asked.scores["spectral_slope"])
    for band in ((-1.0, 9.0), (9.0, 4.0)):
        with pytest.raises(UsageError, match="band must be two rising frequencies"):
            find_bad_components(ica, epochs, band=band, **how)


# -- too few epochs to judge others by ------------------------------------------------------------------------------


def test_two_epochs_judge_no_others(X):
    fitted = FASTER(steps=("epochs",), few="ignore").fit(X[:2])
    X[9] *= 50
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(fitted.epoch_weights(X), 1.0)  # few="ignore"
    with pytest.warns(UserWarning, match="2 training epochs are too few to judge others"):
        weights = fitted.set_params(few="warn").epoch_weights(X)
    np.testing.assert_array_equal(weights, 1.0)


@pytest.mark.parametrize("rounds", [None, 1, 2])
@pytest.mark.parametrize("variant", ["mended", "mne"])
def test_training_epochs_are_judged_as_fit_judged_them(X, variant, rounds):
    """Each outlier hides the next: one round more would find one epoch more."""
    for place, factor in ((3, 2.5), (8, 8.0), (15, 50.0), (22, 500.0)):
        X[place] *= factor
    fitted = FASTER(variant, steps=("epochs",), rounds=rounds).fit(X)
    if variant == "mended":
        assert fitted.bad_epochs_.tolist() == [8, 15, 22][3 - (rounds or 3) :]
    np.testing.assert_array_equal(np.flatnonzero(fitted.epoch_weights(X) == 0), fitted.bad_epochs_)


def test_enough_epochs_judge_others(X, quiet):
    fitted = FASTER(steps=("epochs",)).fit(X[:12])
    X[20] *= 50
    assert fitted.epoch_weights(X)[20] == 0.0
    assert fitted.set_params(threshold=2.0).epoch_weights(X)[20] == 0.0


# -- MEG without positions ------------------------------------------------------------------------------------------


def meg_info(kinds, located):
    rng = np.random.default_rng(0)
    info = mne.create_info([f"MEG{i:03d}" for i in range(len(kinds))], SFREQ, kinds)
    for channel, where in zip(info["chs"], located, strict=True):
        if where:
            place = rng.standard_normal(3)
            place[2] = abs(place[2])
            frame, _ = np.linalg.qr(np.column_stack([place, rng.standard_normal((3, 2))]))
            axis = place / np.linalg.norm(place)
            channel["loc"][:] = np.concatenate([0.1 * axis + [0, 0, 0.04], frame[:, 1], frame[:, 2], axis])
    with info._unlock():
        info["dev_head_t"] = mne.transforms.Transform("meg", "head")
    return info


@pytest.mark.parametrize("zeros", [False, True])
def test_meg_without_positions_takes_the_mean_and_says_so(zeros):
    n = 12
    info = meg_info(["mag"] * n, [False] * n)
    for channel in info["chs"]:
        channel["loc"][:] = 0.0 if zeros else np.nan
    X = 1e-13 * np.random.default_rng(1).standard_normal((20, n, N_TIMES))
    X[:, 4] *= 30
    epochs = mne.EpochsArray(X, info, verbose="error")
    with pytest.warns(UserWarning, match="no positions for mag channels"):
        fitted = FASTER(steps=("channels",)).fit(epochs)
    assert fitted.bad_channels_ == ["MEG004"]
    np.testing.assert_allclose(fitted.transform(epochs)[:, 4], np.delete(X, 4, axis=1).mean(axis=1))
    with pytest.raises(Exception, match="needs their positions"):
        FASTER(steps=("channels",), interpolation="spline").fit(epochs)


def test_positions_of_one_meg_type_do_not_serve_the_other():
    kinds = ["mag"] * 20 + ["grad"] * 20
    info = meg_info(kinds, [True] * 20 + [False] * 20)
    fill = Interpolator(kinds, None, json.dumps(info.to_json_dict()))
    assert fill.by_mean == ("grad",)
    X = np.random.default_rng(1).standard_normal((1, 40, 5))
    X[0, :20] = X[0, :1]
    bad = np.zeros((1, 40), dtype=bool)
    bad[0, [2, 30]] = True
    filled = X.copy()
    assert not fill(filled, bad).any()
    np.testing.assert_allclose(filled[0, 30], np.delete(X[0, 20:], 10, axis=0).mean(axis=0))
    assert np.isfinite(filled[0, 2]).all()


def test_fields_are_mapped_within_a_type_and_from_good_sensors_only():
    kinds = ["mag", "grad"] * 20
    info = meg_info(kinds, [True] * 40)
    X = np.random.default_rng(1).standard_normal((1, 40, 5))
    bad = np.zeros((1, 40), dtype=bool)
    bad[0, [4, 9]] = True
    filled = X.copy()
    assert not Interpolator(kinds, None, json.dumps(info.to_json_dict()))(filled, bad).any()
    for kind in ("mag", "grad"):
        picks = np.flatnonzero([each == kind for each in kinds])
        part = mne.EpochsArray(X[:, picks], mne.pick_info(info, picks), verbose="error")
        part.info["bads"] = [info["ch_names"][i] for i in (4, 9) if kinds[i] == kind]
        expected = part.interpolate_bads(origin=(0.0, 0.0, 0.04), verbose="error").get_data()
        np.testing.assert_allclose(filled[:, picks], expected, atol=1e-9 * np.abs(expected).max())


def test_gradiometers_of_one_place_are_located():
    kinds = ["grad"] * 20
    info = meg_info(kinds, [True] * 20)
    for first, second in zip(info["chs"][::2], info["chs"][1::2], strict=True):  # planar pairs: turned by 90 degrees
        x, y, z = first["loc"][3:6], first["loc"][6:9], first["loc"][9:]
        second["loc"][:] = np.concatenate([first["loc"][:3], y, -x, z])
    assert Interpolator(kinds, None, json.dumps(info.to_json_dict())).by_mean == ()
    info["chs"][3]["loc"][:] = info["chs"][2]["loc"]
    assert Interpolator(kinds, None, json.dumps(info.to_json_dict())).by_mean == ("grad",)
