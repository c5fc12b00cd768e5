"""The FASTER transformer: what it learns and leaves alone, its components and its interpolation against mne's."""

import warnings

import mne
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.persistence import load_pipeline, save_pipeline
from neurosig.preprocessing.faster import FASTER, find_bad_components
from neurosig.preprocessing.faster_ica import Decomposition, fit_decomposition
from neurosig.preprocessing.faster_signals import Recorded
from neurosig.preprocessing.interpolation import Interpolator, interpolator, sphere_positions, spline_weights

SFREQ, N_EEG, N_EPOCHS, N_TIMES = 200.0, 24, 60, 200
CELLS = ("channels", "epochs", "channels_in_epochs")


def make_info():
    names = mne.channels.make_standard_montage("biosemi64").ch_names[: 2 * N_EEG : 2]
    info = mne.create_info([*names, "EOG"], SFREQ, ["eeg"] * N_EEG + ["eog"])
    with info._unlock():
        info["highpass"], info["lowpass"] = 0.5, 45.0
    return info.set_montage("biosemi64")


def smooth_sources(rng, n, n_epochs=N_EPOCHS):
    sources = rng.laplace(size=(n_epochs, n, N_TIMES))
    return np.apply_along_axis(np.convolve, 2, sources, np.hanning(7) / 2, mode="same")


@pytest.fixture(scope="module")
def brain():
    """Epochs of 24 electrodes and an EOG channel, without artifacts."""
    rng = np.random.default_rng(0)
    X = np.zeros((N_EPOCHS, N_EEG + 1, N_TIMES))
    X[:, :N_EEG] = 1e-5 * np.einsum("cs,est->ect", rng.standard_normal((N_EEG, 10)), smooth_sources(rng, 10))
    X += 2e-6 * rng.standard_normal(X.shape)
    return X


@pytest.fixture(scope="module")
def blinks():
    """What blinks put onto electrodes and EOG."""
    info = make_info()
    position = np.array([channel["loc"][:3] for channel in info["chs"][:N_EEG]])
    front = np.exp(-(((position - [0, 0.1, 0.0]) / 0.06) ** 2).sum(axis=1))
    wave = np.zeros((N_EPOCHS, N_TIMES))
    rng = np.random.default_rng(1)
    for row in wave[::3]:
        start = rng.integers(20, 120)
        row[start : start + 60] = np.hanning(60)
    return 2e-4 * np.einsum("c,et->ect", np.concatenate([front / front.max(), [1.2]]), wave)


@pytest.fixture
def dirty(brain, blinks):
    """With blinks, a bad channel, a bad epoch, and an electrode that pops once."""
    X = brain + blinks
    X[:, 5] += 3e-4 * np.random.default_rng(2).standard_normal((N_EPOCHS, N_TIMES))
    X[10] *= 8
    X[20, 8] += 1.5e-4 * (np.arange(N_TIMES) > 90)
    return X


def as_epochs(X):
    return mne.EpochsArray(X, make_info(), verbose="error")


def test_finds_and_mends_each_kind_of_artifact(brain, blinks, dirty):
    epochs = as_epochs(dirty)
    faster = FASTER(output_reference=None, random_state=0).fit(epochs)
    assert faster.bad_channels_ == [epochs.ch_names[5]]
    assert faster.bad_epochs_.tolist() == [10]
    assert faster.bad_channels_in_epochs_.mean() < 0.03
    assert len(faster.bad_components_) >= 1
    # the pop of one electrode is a component of its own; without components it is a channel in one epoch
    assert FASTER(steps=CELLS).fit(epochs).bad_channels_in_epochs_[20, 8]
    clean = faster.transform(epochs)
    good = np.setdiff1d(np.arange(N_EPOCHS), [10, 20])
    with_blink = np.intersect1d(np.arange(0, N_EPOCHS, 3), good)

    def frontal_error(X):
        return np.sqrt(np.mean((X[with_blink, :3] - brain[with_blink, :3]) ** 2))

    assert frontal_error(clean) < 0.25 * frontal_error(dirty)
    assert np.abs(clean[20, 8]).max() < 0.5 * np.abs(dirty[20, 8]).max()
    assert clean[good, 5].std() < 0.3 * dirty[good, 5].std()
    np.testing.assert_array_equal(clean[:, N_EEG], dirty[:, N_EEG])  # the EOG is passed on
    eyes = blinks[:, N_EEG].ravel()
    frontal = [0, 1, 2]
    left = [abs(np.corrcoef(clean[:, i].ravel(), eyes)[0, 1]) for i in frontal]
    before = [abs(np.corrcoef(dirty[:, i].ravel(), eyes)[0, 1]) for i in frontal]
    assert max(left) < 0.5 * max(before)


def test_attributes_and_report_describe_what_was_done(dirty):
    import json

    faster = FASTER().fit(as_epochs(dirty))
    report = json.loads(json.dumps(faster.report_, allow_nan=False))
    assert list(report["steps"]) == list(faster.metrics_) == list(faster.steps)
    assert report["steps"]["epochs"]["bad"] == [10]
    assert report["n_components"] == faster.mixing_.shape[1] == min(int(np.sqrt(59 * N_TIMES / 25)), N_EEG - 2)
    scores = faster.metrics_["channels"]["scores"]["variance"]
    assert scores.shape == (N_EEG,) and np.argmax(scores) == 5
    np.testing.assert_allclose(faster.unmixing_ @ faster.mixing_, np.eye(faster.mixing_.shape[1]), atol=1e-6)


def test_transform_keeps_epochs_and_clean_drops_them(dirty):
    epochs = as_epochs(dirty)
    before = epochs.get_data().copy()
    faster = FASTER().fit(epochs)
    assert faster.transform(epochs).shape == dirty.shape
    weights = faster.epoch_weights(epochs)
    np.testing.assert_array_equal(np.flatnonzero(weights == 0), faster.bad_epochs_)
    kept, y = faster.clean(epochs, np.arange(N_EPOCHS))
    assert len(kept) == N_EPOCHS - 1 and 10 not in y
    assert kept.drop_log[10] == ("FASTER",) and kept.info["bads"] == []
    assert kept.info["custom_ref_applied"]
    np.testing.assert_allclose(kept.get_data(), faster.transform(epochs)[weights > 0], atol=1e-18)
    array = faster.clean(dirty)
    np.testing.assert_allclose(array, kept.get_data(), atol=1e-18)
    np.testing.assert_array_equal(epochs.get_data(), before)
    assert epochs.info["bads"] == []


def test_new_epochs_are_judged_by_the_training_epochs(brain):
    faster = FASTER(steps=("epochs",)).fit(brain[:40, :N_EEG])
    new = brain[40:, :N_EEG].copy()
    new[3] += 2e-4
    new[4] *= 6
    assert np.flatnonzero(faster.epoch_weights(new) == 0).tolist() == [3, 4]
    alone = [faster.epoch_weights(new[i : i + 1])[0] for i in range(len(new))]
    np.testing.assert_array_equal(alone, faster.epoch_weights(new))
    without = FASTER(steps=("channels",), interpolation="mean", sfreq=SFREQ).fit(brain[:40, :N_EEG])
    np.testing.assert_array_equal(without.epoch_weights(new), 1.0)


def test_what_is_learned_does_not_depend_on_the_test_epochs(dirty):
    faster = FASTER().fit(as_epochs(dirty[:40]))
    learned = {name: np.copy(value) for name, value in vars(faster).items() if isinstance(value, np.ndarray)}
    test = dirty[40:].copy()
    test[:, 2] = 1e-3 * np.random.default_rng(0).standard_normal((20, N_TIMES))
    faster.transform(as_epochs(test))
    for name, value in learned.items():
        np.testing.assert_array_equal(getattr(faster, name), value)


def test_bad_channels_in_new_epochs(dirty):
    faster = FASTER(steps=CELLS).fit(as_epochs(dirty))
    found = faster.bad_channels_in(as_epochs(dirty))
    kept = np.setdiff1d(np.arange(N_EPOCHS), faster.bad_epochs_)
    np.testing.assert_array_equal(found[kept], faster.bad_channels_in_epochs_[kept])
    assert not FASTER(steps=("channels",)).fit(as_epochs(dirty)).bad_channels_in(dirty).any()


@pytest.mark.parametrize("variant", ["mended", "paper", "mne"])
def test_arrays_with_names_of_the_10_05_system_like_epochs(dirty, variant):
    epochs = as_epochs(dirty)
    epochs.set_montage(mne.channels.make_standard_montage(montage_1005()), verbose="error")
    described = clone(FASTER(variant=variant, steps=CELLS, sfreq=SFREQ, ch_names=epochs.ch_names[:N_EEG]))
    expected = FASTER(variant=variant, steps=CELLS).fit(epochs)
    eeg = dirty[:, :N_EEG]
    ours = described.fit(eeg)
    assert ours.bad_channels_ == expected.bad_channels_
    np.testing.assert_array_equal(ours.bad_channels_in_epochs_, expected.bad_channels_in_epochs_[:, :N_EEG])
    theirs = expected.transform(epochs)[:, :N_EEG]
    np.testing.assert_allclose(ours.transform(eeg), theirs, atol=1e-3 * theirs.std())


def montage_1005():
    known = mne.channels.get_builtin_montages()
    return "colin27_1005" if "colin27_1005" in known else "standard_1005"


def test_single_precision_stays_and_unit_does_not_matter(dirty):
    faster = FASTER(info=make_info())
    double = faster.fit(dirty)
    expected = double.transform(dirty)
    single = clone(faster).fit(dirty.astype(np.float32))
    assert single.bad_channels_ == double.bad_channels_
    assert single.transform(dirty.astype(np.float32)).dtype == np.float32
    unit = 2.0**20  # exact in floating point: Gaussian components, which never settle, go the same way
    other = clone(faster).fit(dirty * unit)
    np.testing.assert_array_equal(other.bad_components_, double.bad_components_)
    np.testing.assert_allclose(other.transform(dirty * unit) / unit, expected, rtol=1e-6, atol=1e-6 * expected.std())


@pytest.mark.parametrize("method", ["fastica", "picard", "infomax"])
def test_same_seed_same_result(dirty, method):
    if method == "picard":
        pytest.importorskip("picard", reason="python-picard is an optional dependency")
    X = dirty[:20]
    options = {"info": make_info(), "ica": method, "n_components": 6, "few": "ignore"}
    one, two = (FASTER(**options).fit(X) for _ in range(2))
    np.testing.assert_array_equal(one.unmixing_, two.unmixing_)
    np.testing.assert_array_equal(one.transform(X), two.transform(X))


def test_average_reference_comes_last_and_can_be_left_out(dirty):
    epochs = as_epochs(dirty)
    clean = FASTER().fit_transform(epochs)[:, :N_EEG]
    np.testing.assert_allclose(clean.mean(axis=1), 0, atol=1e-9 * np.abs(clean).max())
    kept = FASTER(output_reference=None).fit_transform(epochs)[:, :N_EEG]
    np.testing.assert_allclose(kept - kept.mean(axis=1, keepdims=True), clean, atol=1e-9 * np.abs(clean).max())


def test_stored_and_read_back(dirty, tmp_path):
    faster = FASTER(sfreq=SFREQ, ch_names=make_info()["ch_names"][:N_EEG], eog_proxy="Fp1").fit(dirty[:, :N_EEG])
    again = load_pipeline(save_pipeline(faster, tmp_path / "faster"))
    np.testing.assert_array_equal(again.transform(dirty[:, :N_EEG]), faster.transform(dirty[:, :N_EEG]))


def test_in_a_pipeline_under_cross_validation(dirty):
    y = np.arange(N_EPOCHS) % 2
    X = dirty[:, :N_EEG].copy()
    X[y == 1, 3] *= 2
    log_power = mne.decoding.Vectorizer()
    faster = FASTER(steps=("channels", "channels_in_epochs"), interpolation="mean", output_reference=None)
    pipeline = make_pipeline(faster, log_power, LogisticRegression(max_iter=5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the few iterations
        assert cross_val_score(pipeline, X, y, cv=2).shape == (2,)


def test_channels_marked_bad_are_mended_too(dirty):
    epochs = as_epochs(dirty)
    epochs.info["bads"] = [epochs.ch_names[2]]
    faster = FASTER(steps=("channels",)).fit(epochs)
    assert faster.bad_channels_ == [epochs.ch_names[2], epochs.ch_names[5]]
    peer = epochs.copy()
    peer.info["bads"] = faster.bad_channels_
    peer.interpolate_bads(verbose="error").set_eeg_reference("average", verbose="error")
    np.testing.assert_allclose(faster.transform(epochs), peer.get_data(), atol=1e-5 * np.abs(dirty[:, :5]).max())
    kept = FASTER(steps=("channels",), interpolation=None).fit(epochs).clean(epochs)
    assert kept.info["bads"] == faster.bad_channels_


def test_without_positions_the_mean_stands_in_and_this_is_said(dirty):
    X = dirty[:, :N_EEG]
    with pytest.warns(UserWarning, match="no positions for eeg channels, so bad ones become the mean of the good ones"):
        faster = FASTER(steps=("channels",), output_reference=None).fit(X)
    others = np.setdiff1d(np.arange(N_EEG), [5])
    np.testing.assert_allclose(faster.transform(X)[:, 5], X[:, others].mean(axis=1))
    with pytest.raises(ChannelError, match="needs their positions; set a montage"):
        FASTER(steps=("channels",), interpolation="spline").fit(X)


def test_few_channels_low_rate_one_epoch(brain):
    with pytest.warns(UserWarning, match="at least 11 channels"):
        FASTER(steps=("channels",), interpolation="mean").fit(brain[:, :8])
    low = {"interpolation": "mean", "sfreq": 100.0, "steps": CELLS}
    with pytest.warns(UserWarning, match="line noise is left out"):
        FASTER(variant="mne", **low).fit(brain[:, :N_EEG])
    one = FASTER(interpolation="mean", few="ignore", sfreq=SFREQ).fit(brain[:1, :N_EEG])
    assert one.bad_epochs_.size == 0
    assert one.transform(brain[:1, :N_EEG]).shape == (1, N_EEG, N_TIMES)


def test_dead_channels_are_mended_and_nan_is_refused(brain):
    X = brain[:, :N_EEG].copy()
    X[:, 4] = 0.0
    faster = FASTER(interpolation="mean", sfreq=SFREQ, eog_proxy="0").fit(X)
    assert faster.metrics_["channels"]["flags"]["dead"].nonzero()[0].tolist() == [4]
    assert "4" in faster.bad_channels_
    assert np.abs(faster.transform(X)[:, 4]).max() > 0
    X[:, 4, :50] = np.nan
    with pytest.raises(InputError, match=r"got NaN in 60 of 60 trials .*channels 4\).*mark the channels bad"):
        FASTER().fit(X)
    with pytest.raises(InputError, match="none of 24 channels carries a signal"):
        FASTER(interpolation="mean").fit(np.zeros_like(X))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": ("channels", "wash")}, "steps and the keys of metrics must be some of channels, epochs"),
        ({"steps": "channels"}, "steps and the keys"),
        ({"variant": "x"}, "variant must be one of"),
        ({"ica": "jade"}, "ica must be one of 'fastica', 'infomax', 'picard', got 'jade'"),
        ({"n_components": 0}, "n_components must be a whole number"),
        ({"interpolation": "magic"}, "interpolation must be one of"),
        ({"output_reference": "Cz"}, "output_reference must be 'average' or None"),
        ({"eog": ["VEOG"]}, "the EOG channel 'VEOG' is not among the channels"),
        ({"eog_proxy": ["VEOG"]}, "'VEOG', named to stand in for the EOG, is not among the channels"),
        ({"sfreq": -1.0}, "sfreq must be a positive rate"),
    ],
)
def test_options_that_make_no_sense(brain, options, message):
    options = {"interpolation": "mean", "sfreq": SFREQ} | options
    with pytest.raises((UsageError, ChannelError), match=message):
        FASTER(**options).fit(brain[:, :N_EEG])


def test_other_channels_than_in_training_are_refused(dirty):
    faster = FASTER(steps=("channels",)).fit(as_epochs(dirty))
    epochs = as_epochs(dirty)
    with pytest.raises(ChannelError, match=r"expected the channels of the training epochs, got .* for "):
        faster.transform(epochs.copy().reorder_channels(epochs.ch_names[::-1]))


# -- components -------------------------------------------------------------------------------------------------------


def amari(unmixing, mixing):
    """Amari distance of the product of unmixing and mixing to a permutation: 0 is perfect."""
    p = np.abs(unmixing @ mixing)
    rows = (p / p.max(axis=1, keepdims=True)).sum(axis=1) - 1
    columns = (p / p.max(axis=0)).sum(axis=0) - 1
    return (rows.sum() + columns.sum()) / (2 * len(p) * (len(p) - 1))


@pytest.mark.parametrize("method", ["fastica", "picard", "infomax"])
def test_sources_are_recovered_as_well_as_by_mne(method):
    if method == "picard":
        pytest.importorskip("picard", reason="python-picard is an optional dependency")
    rng = np.random.default_rng(3)
    n = 12
    mixing = rng.standard_normal((n, n))
    X = 1e-5 * np.einsum("cs,est->ect", mixing, rng.laplace(size=(80, n, 250)))
    epochs = mne.EpochsArray(X, mne.create_info(n, 250.0, "eeg"), verbose="error")
    peer = mne.preprocessing.ICA(n, random_state=0, max_iter=200).fit(epochs, verbose="error")
    ours = fit_decomposition(Recorded.read(X), n_components=n, method=method, reference=False)
    theirs = amari(Decomposition.from_mne(peer).unmixing, mixing)
    assert amari(ours.unmixing, mixing) <= 1.1 * theirs + 1e-3
    np.testing.assert_allclose(ours.mixing @ ours.unmixing, np.eye(n), atol=1e-6)


def test_average_referenced_signals_lose_a_rank_not_the_result(brain):
    X = brain[:, :N_EEG] - brain[:, :N_EEG].mean(axis=1, keepdims=True)
    found = fit_decomposition(Recorded.read(X), n_components=N_EEG)
    assert len(found.unmixing) == N_EEG - 1
    np.testing.assert_allclose(found.mixing @ (found.unmixing @ X[0]), X[0], atol=1e-4 * X.std())


def test_the_blink_is_the_component_that_follows_the_eog(brain, blinks):
    epochs = as_epochs(brain + blinks)
    found = fit_decomposition(Recorded.read(epochs), n_components=12)
    for variant in ("mended", "paper", "mne"):
        outliers = find_bad_components(found, epochs, variant=variant, metrics=["eog_correlation"])
        assert len(outliers.bads) == 1
        assert np.abs(np.atleast_2d(outliers.scores["eog_correlation"])[0, outliers.bads[0]]) > 0.9
    no_eog = epochs.copy().pick("eeg")
    skipped = find_bad_components(found, no_eog)
    assert "eog_correlation" in skipped.skipped
    proxy = find_bad_components(found, no_eog, metrics=["eog_correlation"], eog_proxy=[epochs.ch_names[0]])
    assert np.argmax(proxy.scores["eog_correlation"]) == outliers.bads[0]


def test_components_of_what_is_not_there(brain):
    epochs = as_epochs(brain)
    found = fit_decomposition(Recorded.read(epochs), n_components=12)
    with pytest.raises(ChannelError, match="components were fitted on channels that are not there"):
        find_bad_components(found, epochs.copy().drop_channels(epochs.ch_names[:1]))
    with pytest.raises(InputError, match="the ICA is not fitted"):
        find_bad_components(mne.preprocessing.ICA(3), epochs)
    with pytest.raises(InputError, match="got constant"):
        fit_decomposition(Recorded.read(np.zeros((3, 12, 50))))
    with pytest.raises(UsageError, match="band must be two rising frequencies"):
        find_bad_components(found, epochs, band=(40.0, 20.0))


# -- interpolation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [[3], [0, 7, 20]])
def test_splines_are_mnes(brain, bad):
    epochs = as_epochs(brain).pick("eeg")
    epochs.info["bads"] = [epochs.ch_names[i] for i in bad]
    expected = epochs.copy().interpolate_bads(verbose="error").get_data()
    X = epochs.get_data()
    mask = np.zeros(X.shape[:2], dtype=bool)
    mask[:, bad] = True
    positions = sphere_positions(epochs.info, range(N_EEG))
    assert not Interpolator(["eeg"] * N_EEG, positions)(X, mask).any()
    np.testing.assert_allclose(X, expected, atol=1e-8 * np.abs(expected).max())
    assert spline_weights(positions, bad).shape == (len(bad), N_EEG - len(bad))


def test_magnetometers_are_mapped_as_by_mne():
    rng = np.random.default_rng(0)
    n = 30
    info = mne.create_info([f"MEG{i:03d}" for i in range(n)], 200.0, "mag")
    with info._unlock():
        info["dev_head_t"] = mne.transforms.Transform("meg", "head")
    direction = rng.standard_normal((n, 3))
    direction[:, 2] = np.abs(direction[:, 2])
    for channel, z in zip(info["chs"], direction / np.linalg.norm(direction, axis=1, keepdims=True), strict=True):
        x = np.cross(z, [0.3, 0.5, 0.8])
        x /= np.linalg.norm(x)
        channel["loc"][:] = np.concatenate([0.11 * z + [0, 0, 0.04], x, np.cross(z, x), z])
    epochs = mne.EpochsArray(1e-13 * rng.standard_normal((14, n, 100)), info, verbose="error")
    data = epochs.get_data()
    data[:, 7] *= 30
    epochs = mne.EpochsArray(data, info, verbose="error")
    faster = FASTER(steps=("channels",)).fit(epochs)
    assert faster.bad_channels_ == ["MEG007"]
    epochs.info["bads"] = ["MEG007"]
    expected = epochs.copy().interpolate_bads(verbose="error", origin=(0.0, 0.0, 0.04)).get_data()
    np.testing.assert_allclose(faster.transform(data), expected, atol=1e-6 * np.abs(expected).max())


def test_weights_are_kept_for_each_set_of_bad_channels(brain):
    positions = sphere_positions(make_info(), range(N_EEG))
    one = interpolator(["eeg"] * N_EEG, positions, None, "spline")
    assert one is interpolator(["eeg"] * N_EEG, positions.copy(), None, "spline")
    mask = np.zeros((N_EPOCHS, N_EEG), dtype=bool)
    mask[::2, 3] = mask[1::2, 4] = True
    one(brain[:, :N_EEG].copy(), mask)
    assert set(one._weights) == {(3,), (4,)}


def test_channels_are_left_where_too_few_good_ones_remain(brain):
    X = brain[:, :N_EEG].copy()
    mask = np.zeros((N_EPOCHS, N_EEG), dtype=bool)
    mask[2, :22] = True
    left = Interpolator(["eeg"] * N_EEG, sphere_positions(make_info(), range(N_EEG)))(X, mask)
    np.testing.assert_array_equal(left, mask)
    np.testing.assert_array_equal(X, brain[:, :N_EEG])


def test_epochs_keep_their_names_in_folds(dirty):
    epochs, y = as_epochs(dirty), np.arange(N_EPOCHS) % 2
    power = FunctionTransformer(lambda Z: 1e5 * Z.std(axis=2))
    pipeline = make_pipeline(FASTER(steps=("channels",), eog="EOG"), power, LogisticRegression())
    scores = cross_val_score(pipeline, epochs, y, cv=2, error_score="raise")
    named = pipeline.set_params(faster__info=epochs.info)
    np.testing.assert_array_equal(scores, cross_val_score(named, dirty, y, cv=2))


def test_a_list_of_epochs_is_cleaned_as_the_epochs_are(dirty):
    epochs = as_epochs(dirty)
    fold = [epochs[i] for i in range(len(epochs))]
    faster = FASTER(steps=("channels", "epochs")).fit(fold)
    clean, kept = faster.clean(fold, np.arange(len(epochs)))
    expected = faster.clean(epochs)
    np.testing.assert_array_equal(clean.get_data(), expected.get_data())
    assert clean.ch_names == epochs.ch_names and 10 not in kept
