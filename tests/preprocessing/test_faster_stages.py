"""FASTER's stages as functions: closed forms, scipy, mne-faster itself, known artifacts, and bad input."""

import mne
import numpy as np
import pytest
from scipy import signal, stats

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.loaders.simulated import simulate_recordings
from neurosig.preprocessing.faster import (
    find_bad_channels,
    find_bad_channels_in_epochs,
    find_bad_epochs,
    find_outlier_subjects,
)
from neurosig.preprocessing.faster_metrics import (
    cell_scores,
    derivative_hurst,
    dispersional_hurst,
    robust_log_variance,
    series_scores,
)
from neurosig.preprocessing.faster_outliers import flag_outliers, largest_z
from neurosig.preprocessing.faster_spectrum import bin_powers, power_kernels

mne_faster = pytest.importorskip("mne_faster", reason="mne-faster is the peer of these tests")

SFREQ = 250.0


def make_info(n_eeg=32, n_eog=1, sfreq=SFREQ):
    names = mne.channels.make_standard_montage("biosemi64").ch_names[:n_eeg]
    info = mne.create_info(names + [f"EOG{i}" for i in range(n_eog)], sfreq, ["eeg"] * n_eeg + ["eog"] * n_eog)
    return info.set_montage("biosemi64")


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    sources = rng.laplace(size=(40, 12, 300))
    mixing = rng.standard_normal((33, 12))
    return np.einsum("cs,est->ect", mixing, sources) * 5e-6 + 4e-6 * rng.standard_normal((40, 33, 300))


@pytest.fixture
def epochs(X):
    return mne.EpochsArray(X, make_info(), verbose="error")


# -- the rule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ddof", [0, 1])
def test_z_scores_are_scipys(ddof):
    scores = np.random.default_rng(0).standard_normal((5, 20))
    z, flags = flag_outliers(scores, 1.5, ddof=ddof)
    np.testing.assert_allclose(z, stats.zscore(scores, axis=1, ddof=ddof))
    np.testing.assert_array_equal(flags, np.abs(z) > 1.5)


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("n", [2, 5, 10, 11, 26])
def test_one_item_against_equal_others_has_the_largest_z(n, ddof):
    scores = np.zeros(n)
    scores[n // 2] = 7.0
    np.testing.assert_allclose(flag_outliers(scores, ddof=ddof)[0].max(), largest_z(n, ddof))


def test_rounds_find_what_a_worse_item_hides():
    scores = np.concatenate([np.random.default_rng(1).uniform(-1, 1, 30), [8.0, 1000.0]])
    assert np.flatnonzero(flag_outliers(scores)[1]).tolist() == [31]
    assert np.flatnonzero(flag_outliers(scores, max_iter=3)[1]).tolist() == [30, 31]


def test_scores_that_are_not_defined_take_the_mean_or_blind_the_metric():
    scores = np.concatenate([np.random.default_rng(1).standard_normal(30), [50.0, np.nan]])
    z, flags = flag_outliers(scores)
    assert flags[30] and abs(z[31]) < 1e-12
    assert not flag_outliers(scores, impute=False)[1].any()


def test_equal_scores_are_no_outliers():
    assert not flag_outliers(np.full(20, 0.1) + 1e-18)[1].any()


# -- the metrics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("segment", "step"), [(256, None), (250, 125), (255, 128)])
def test_powers_of_single_bins_are_welchs(segment, step):
    x = np.random.default_rng(0).standard_normal((3, 2000)) + 5.0
    overlap = 0 if step is None else segment - step
    _, power = signal.welch(x, SFREQ, nperseg=segment, noverlap=overlap)
    bins = [0, 1, 50, segment // 2]
    ours = bin_powers(x, power_kernels(segment, SFREQ, bins), step)
    np.testing.assert_allclose(ours, power[:, bins], rtol=1e-9, atol=1e-12)


def test_derivative_hurst_is_mne_fasters():
    x = np.random.default_rng(0).standard_normal((4, 500)).cumsum(axis=1)
    np.testing.assert_allclose(derivative_hurst(x), mne_faster.faster.hurst(x), rtol=1e-10)


@pytest.mark.parametrize("n", [999, 100_000])
def test_robust_variance_is_that_of_gaussian_noise_and_blind_to_blinks(n):
    rng = np.random.default_rng(0)
    x = 3.0 * rng.standard_normal((2, n))
    x[1] = x[0]
    x[1, : n // 10] += 100.0  # a tenth of the time
    plain, blinking = robust_log_variance(x)
    assert abs(plain - np.log(9.0)) < 0.25  # the median of a thousand values
    assert 0 < blinking - plain < 0.5 < 4 < np.log(x[1].var()) - plain
    still = np.zeros((1, 1000))
    still[0, :100] = rng.standard_normal(100)
    assert np.isfinite(robust_log_variance(still)).all() and robust_log_variance(still)[0] < -20


def test_dispersional_hurst_of_white_noise_is_a_half():
    x = np.random.default_rng(0).standard_normal((50, 2**14))
    assert abs(dispersional_hurst(x).mean() - 0.5) < 0.03
    assert dispersional_hurst(x.cumsum(axis=1)).mean() > 0.9


def test_statistics_of_cells_are_numpys():
    X = np.random.default_rng(0).standard_normal((6, 5, 101)).astype(np.float32)
    picks = np.array([0, 2, 4])
    found = cell_scores(X, picks, {"squares", "amplitude", "median_gradient"})
    x = X[:, picks].astype(float)
    np.testing.assert_allclose(found["mean"], x.mean(axis=2), atol=1e-12)
    np.testing.assert_allclose(found["squares"], x.var(axis=2) * 101)
    np.testing.assert_allclose(found["amplitude"], np.ptp(x, axis=2))
    for n_times in (101, 100):  # an odd and an even number of differences
        found = cell_scores(X[..., :n_times], picks, {"median_gradient"})
        expected = np.median(np.abs(np.diff(x[..., :n_times])), axis=2)
        np.testing.assert_allclose(found["median_gradient"], expected)
        found = cell_scores(X[..., :n_times], picks, {"median_gradient"}, signed_gradient=True)
        np.testing.assert_allclose(found["median_gradient"], np.median(np.diff(x[..., :n_times]), axis=2), atol=1e-12)


def test_kurtosis_is_scipys():
    x = np.random.default_rng(0).laplace(size=(4, 999))
    ours = series_scores(x, {"kurtosis"}, variant="mne", sfreq=None)
    np.testing.assert_allclose(ours["kurtosis"], stats.kurtosis(x, axis=1))


# -- mne-faster itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_iter", [1, 4])
@pytest.mark.parametrize("corrected", [False, True])
def test_same_flags_as_mne_faster(X, max_iter, corrected):
    X[:, 4] *= 5
    X[3] += 1e-4
    X[7, 2, 100] += 1e-3
    X[9, 6] += 3e-4 * np.sin(2 * np.pi * 50 * np.arange(300) / SFREQ)
    epochs = mne.EpochsArray(X, make_info(), verbose="error")
    for channel in epochs.info["chs"]:
        channel["loc"][3:6] = (0.0, -0.08, 0.06)
    peer = {"max_iter": max_iter, "thres": 2.5, "return_by_metric": True}
    ours = {"max_iter": max_iter, "threshold": 2.5, "variant": "mne"}
    correction = ({"eeg_ref_corr": corrected}, {"reference": corrected})
    assert find_bad_channels(epochs, **ours, **correction[1]).by_metric == mne_faster.find_bad_channels(
        epochs, **peer, **correction[0]
    )
    epochs.info["bads"] = ["F1"]
    assert find_bad_epochs(epochs, **ours).by_metric == mne_faster.find_bad_epochs(epochs, **peer)
    theirs = mne_faster.find_bad_channels_in_epochs(epochs, **peer, **correction[0])
    assert find_bad_channels_in_epochs(epochs, **ours, **correction[1]).by_metric == theirs
    assert any(map(any, theirs.values()))


# -- faults that are mended, and kept on request ----------------------------------------------------------------------


def test_a_dead_channel_does_not_blind_the_others(X):
    X[:, 5] += 2e-3 * (np.random.default_rng(0).random((40, 300)) > 0.999)  # an outlier by its kurtosis
    alive = mne.EpochsArray(X, make_info(), verbose="error")
    assert find_bad_channels(alive, variant="mne", metrics=["kurtosis"]).bads == [alive.ch_names[5]]
    X[:, 9] = 0.0
    epochs = mne.EpochsArray(X, make_info(), verbose="error")
    published = find_bad_channels(epochs, variant="mne", metrics=["kurtosis", "hurst", "correlation"])
    assert published.bads == []
    assert all(np.isnan(published.z[metric]).all() for metric in published.z)
    mended = find_bad_channels(epochs, metrics=["kurtosis"])
    assert mended.bads == [epochs.ch_names[5], epochs.ch_names[9]]
    assert mended.by_metric["dead"] == [epochs.ch_names[9]]


def test_offsets_of_opposite_sign_do_not_cancel(X):
    X[6, :16] += 5e-4
    X[6, 16:32] -= 5e-4
    epochs = mne.EpochsArray(X, make_info(), verbose="error")
    assert find_bad_epochs(epochs, variant="mne").bads == []
    assert find_bad_epochs(epochs).bads == find_bad_epochs(epochs, variant="paper").bads == [6]


def test_blinks_do_not_make_frontal_channels_bad_and_a_noisy_one_does_not_hide_a_dead_one(X):
    rng = np.random.default_rng(5)
    X = X[:, :32] / X[:, :32].std(axis=(0, 2))[:, None]
    blink = np.zeros((40, 300))
    blink[::4, 100:170] = 30 * np.hanning(70)  # six percent of the time
    X[:, :2] += blink[:, None]
    X[:, 9] += 20 * rng.standard_normal((40, 300))
    X[:, 20] *= 0.01
    bad = ["9", "20"]
    assert find_bad_channels(X, sfreq=SFREQ, metrics=["variance"]).bads == bad
    published = {n: find_bad_channels(X, variant="paper", metrics=["variance"], max_iter=n).bads for n in (1, 3)}
    assert "20" not in published[1] and {"0", "1"} < set(published[3])


def test_a_drift_no_larger_than_the_rhythms_is_found(X):
    smooth = signal.sosfiltfilt(signal.butter(2, 8, btype="high", fs=SFREQ, output="sos"), X[:, :32], axis=-1)
    smooth /= smooth.std(axis=(0, 2))[:, None]
    time = np.arange(300) / SFREQ
    phase = np.random.default_rng(2).uniform(0, 2 * np.pi, (40, 1))
    smooth[:, 12] += np.sin(2 * np.pi * 0.8 * time + phase)
    assert "12" in find_bad_channels(smooth, sfreq=SFREQ, metrics=["drift"]).bads
    told = find_bad_channels(smooth)  # of unknown rate
    assert "drift" not in told.scores and "sampling rate" in told.skipped["drift"]


def test_a_channel_that_always_carries_more_is_not_bad_in_every_epoch(X):
    X = X[:, :32] / X[:, :32].std(axis=(0, 2))[:, None]
    X[:, 3] *= 4
    X[7, 9] *= 6
    mended = find_bad_channels_in_epochs(X, metrics=["variance", "amplitude"])
    published = find_bad_channels_in_epochs(X, variant="paper", metrics=["variance", "amplitude"])
    assert published.bad[:, 3].mean() > 0.9 and mended.bad[:, 3].mean() < 0.1
    assert mended.bad[7, 9]


def test_a_signed_gradient_misses_high_frequency_noise(X):
    smooth = signal.sosfiltfilt(signal.butter(4, 12, fs=SFREQ, output="sos"), X, axis=-1)
    smooth[:, 7] += 1.5e-5 * np.random.default_rng(0).standard_normal((40, 300))
    found = {
        variant: find_bad_channels_in_epochs(smooth, variant=variant, metrics=["median_gradient"]).bad[:, 7].mean()
        for variant in ("mended", "paper")
    }
    assert found["mended"] == 1.0
    assert found["paper"] < 0.8


def test_a_threshold_that_cannot_be_passed_is_told(X):
    told = (
        r"stage channels: 10 channels cannot have a z-score beyond 2\.85, so the threshold 3 finds nothing by "
        "variance, correlation, hurst; at least 11 channels"
    )
    with pytest.warns(UserWarning, match=told):
        find_bad_channels(X[:, :10])
    with pytest.warns(UserWarning, match=r"the threshold 9 finds nothing by hurst; at least 83"):
        find_bad_channels(X[:, :26], threshold={"hurst": 9.0})
    with pytest.warns(UserWarning, match="at least 27 channels"):
        find_bad_channels(X[:, :26], threshold=5, variant="mne", sfreq=SFREQ)
    find_bad_channels(X[:, :11])
    find_bad_channels(X[:, :4], few="ignore")


def test_channels_are_compared_within_their_type(X):
    types = ["eeg"] * 11 + ["mag"] * 11 + ["grad"] * 11
    X = X / X.std(axis=(0, 2))[:, None] * np.repeat([1.0, 1e-7, 1e-5], 11)[:, None]
    X[:, [3, 14, 25]] *= 10  # one of each
    info = mne.create_info(33, SFREQ, types)
    epochs = mne.EpochsArray(X, info, verbose="error")
    found = find_bad_channels(epochs, metrics=["variance"])
    assert found.bads == ["3", "14", "25"]
    alone = find_bad_channels(epochs.copy().pick("mag"), metrics=["variance"])
    np.testing.assert_allclose(found.z["variance"][11:22], alone.z["variance"])
    assert set(find_bad_epochs(epochs).scores) == {
        f"{metric}:{kind}" for metric in ("amplitude", "variance", "deviation") for kind in ("eeg", "mag", "grad")
    }


# -- input ------------------------------------------------------------------------------------------------------------


def test_unit_and_single_precision_do_not_matter(X):
    X[:, 4] *= 6
    X[3] *= 4
    for find in (find_bad_channels, find_bad_epochs, find_bad_channels_in_epochs):
        volts = find(X)
        np.testing.assert_array_equal(find(X * 1e6).bad, volts.bad)
        np.testing.assert_array_equal(find(X.astype(np.float32)).bad, volts.bad)
        assert volts.bad.any()


def test_arrays_like_epochs_and_nothing_is_written(X, epochs):
    eeg = np.ascontiguousarray(X[:, :32])
    eeg.flags.writeable = False
    info = mne.pick_info(epochs.info, range(32))
    for find in (find_bad_channels, find_bad_epochs, find_bad_channels_in_epochs):
        for variant in ("mended", "paper", "mne"):
            expected = find(epochs, variant=variant)
            for found in (
                find(eeg, variant=variant, info=info),
                find(eeg, variant=variant, sfreq=SFREQ, ch_names=info["ch_names"]),
            ):
                assert found.bads == expected.bads
                for metric, scores in expected.scores.items():
                    np.testing.assert_array_equal(found.scores[metric], scores)


def test_marked_channels_take_no_part(X):
    X[:, 2] *= 1000
    X[:, 5] *= 6
    epochs = mne.EpochsArray(X, make_info(), verbose="error")
    assert find_bad_channels(epochs, metrics=["variance"], max_iter=1).bads == [epochs.ch_names[2]]
    epochs.info["bads"] = [epochs.ch_names[2]]
    assert find_bad_channels(epochs, metrics=["variance"], max_iter=1).bads == [epochs.ch_names[i] for i in (2, 5)]
    assert not find_bad_channels_in_epochs(epochs).bad[:, 2].any()


def test_a_channel_of_nan_is_dead(X):
    X[:, 3] = np.nan
    X[5, 8] = np.nan
    assert find_bad_channels(X).by_metric["dead"] == ["3", "8"]
    assert np.isfinite(find_bad_epochs(X).scores["variance"]).all()
    found = find_bad_channels_in_epochs(X, bads=["3"])
    assert found.flags["dead"].sum() == 1 and found.flags["dead"][5, 8]


def test_a_channel_that_is_constant_in_one_epoch_is_dead_there(X):
    X[5, 8] = 1e-5
    assert np.argwhere(find_bad_channels_in_epochs(X).flags["dead"]).tolist() == [[5, 8]]


def test_no_channel_with_a_signal_is_refused():
    with pytest.raises(InputError, match="none of 12 channels carries a signal: 12 are constant"):
        find_bad_channels(np.zeros((4, 12, 100)))


def test_low_rates_leave_the_line_noise_out_and_say_so(X):
    info = make_info(32, 1, sfreq=100.0)
    epochs = mne.EpochsArray(X, info, verbose="error")
    for find in (find_bad_channels, find_bad_channels_in_epochs):
        with pytest.warns(UserWarning, match="line noise is left out: 60 Hz needs a sampling rate of at least 120 Hz"):
            found = find(epochs, variant="mne")
        assert "line_noise" not in found.scores and "line_noise" in found.skipped
        with pytest.raises(UsageError, match=r"none of the metrics of channels.*60 Hz needs"):
            find(epochs, metrics=["line_noise"])


def test_one_epoch_has_nothing_to_be_compared_with(X):
    assert find_bad_epochs(X[:1]).bads == []
    assert find_bad_channels_in_epochs(X[:1]).bad.shape == (1, 33)
    assert find_bad_channels(X[:1]).bad.shape == (33,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "original"}, "variant must be one of 'mended', 'paper', 'mne'"),
        ({"threshold": 0}, "threshold must be a positive number"),
        ({"threshold": {"variance": "3"}}, "threshold must be a positive number"),
        ({"threshold": {"beauty": 3}}, "threshold must be given by metric or stage, got 'beauty'"),
        ({"metrics": ["beauty"]}, "metrics of channels are variance, .*, got 'beauty'"),
        ({"max_iter": 0}, "max_iter must be a whole number"),
        ({"few": "perhaps"}, "few must be one of"),
    ],
)
def test_options_that_make_no_sense(X, options, message):
    with pytest.raises(UsageError, match=message):
        find_bad_channels(X, **options)


def test_signals_that_make_no_sense(X, epochs):
    with pytest.raises(InputError, match=r"shape \(n_epochs, n_channels, n_times\), got float64 of shape \(33, 300\)"):
        find_bad_channels(X[0])
    with pytest.raises(InputError, match="at least one epoch"):
        find_bad_epochs(X[:0])
    with pytest.raises(ChannelError, match="one name for each of 33 channels, got 2"):
        find_bad_channels(X, ch_names=["Cz", "Pz"])
    with pytest.raises(InputError, match="none of 33 channels is left"):
        find_bad_epochs(X, bads=[str(i) for i in range(33)])
    with pytest.raises(ChannelError, match="position of the reference, missing for"):
        find_bad_channels(mne.EpochsArray(X[:, :32], make_info(32, 0), verbose="error"), reference=True)
    with pytest.raises(ChannelError, match="needs positions"):
        find_bad_channels(X, reference=True)


def test_thresholds_by_metric_and_stage(X):
    found = find_bad_channels(X, threshold={"channels": 4, "variance": 2.5})
    assert found.threshold == {"variance": 2.5, "correlation": 4.0, "hurst": 4.0, "drift": 4.0}
    assert find_bad_channels(X, threshold={"drift": 5}, sfreq=SFREQ).threshold["drift"] == 5.0


def test_result_is_json_like(X):
    import json

    X[:, 4] = 0.0
    for found in (find_bad_channels(X), find_bad_epochs(X), find_bad_channels_in_epochs(X, bads=["4"])):
        assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["bad"] == found.bads


# -- subjects ---------------------------------------------------------------------------------------------------------


def test_subjects_as_epochs_evoked_and_averages(epochs):
    rng = np.random.default_rng(0)
    people = []
    for subject in range(14):
        person = epochs.copy()
        person.load_data()
        factor = 6.0 if subject == 11 else 1 + 0.1 * rng.standard_normal()
        people.append(mne.EpochsArray(person.get_data() * factor, epochs.info, verbose="error"))
    found = find_outlier_subjects(people)
    assert found.bads == [11]
    assert find_outlier_subjects([person.average(picks="all") for person in people]).bads == [11]
    averages = np.stack([person.get_data("eeg").mean(axis=0) for person in people])
    bare = find_outlier_subjects(averages, names=[f"S{i}" for i in range(14)])
    assert bare.bads == ["S11"] and bare.skipped == {"eog": "there are no EOG channels"}
    for metric in bare.scores:
        np.testing.assert_allclose(bare.scores[metric], found.scores[metric])


def test_trimmed_averages_are_scipys(X):
    found = find_outlier_subjects([X, 2 * X], trim=0.1, few="ignore")
    expected = np.ptp(stats.trim_mean(X, 0.1, axis=0), axis=1).mean()
    np.testing.assert_allclose(found.scores["amplitude"], [expected, 2 * expected])


def test_subjects_that_do_not_fit(X):
    with pytest.raises(InputError, match="averages of one shape"):
        find_outlier_subjects([X, X[:, :5]])
    with pytest.raises(InputError, match="no subjects"):
        find_outlier_subjects([])
    with pytest.raises(InputError, match="NaN or inf in subjects 1"):
        find_outlier_subjects([X, X * np.nan])
    with pytest.raises(UsageError, match="trim must be"):
        find_outlier_subjects([X], trim=0.5)


# -- known artifacts --------------------------------------------------------------------------------------------------


def test_sensitivity_and_specificity_on_simulated_recordings():
    """Bad electrodes of a forward model, with blinks over the frontal ones."""
    counts = np.zeros((2, 4), dtype=int)
    for recording in simulate_recordings("imagery", n_subjects=6, n_sessions=1, n_runs=1, n_trials=20, sfreq=160.0):
        raw = recording.raw.filter(0.5, 45.0, verbose="error")
        events, names = mne.events_from_annotations(raw, verbose="error")
        epochs = mne.Epochs(raw, events, names, 0.0, 3.0, baseline=None, preload=True, verbose="error")
        truth = set(recording.truth["bad_channels"])
        for row, (variant, rounds) in enumerate([("mended", None), ("mne", 1)]):
            found = set(find_bad_channels(epochs, variant=variant, max_iter=rounds).bads)
            counts[row] += len(found & truth), len(truth), len(found - truth), len(epochs.ch_names) - len(truth)
    sensitivity, specificity = counts[:, 0] / counts[:, 1], 1 - counts[:, 2] / counts[:, 3]
    assert counts[0, 1] >= 5
    assert sensitivity[0] >= 0.8
    assert specificity[0] >= 0.98
    assert sensitivity[0] > sensitivity[1]


def test_movement_in_an_epoch_is_found():
    rng = np.random.default_rng(0)
    hits = false = 0
    for _ in range(20):
        X = 1e-5 * rng.standard_normal((40, 20, 200)).cumsum(axis=2) / 5
        X -= X.mean(axis=2, keepdims=True)
        where = int(rng.integers(40))
        X[where] += 1e-4 * np.outer(rng.standard_normal(20), np.hanning(200))
        found = find_bad_epochs(X).bads
        hits += where in found
        false += len(set(found) - {where})
    assert hits >= 19
    assert false <= 0.02 * 20 * 40
