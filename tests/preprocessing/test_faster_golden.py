"""FASTER's stages against mne-faster's own arrays and against the authors' formulas, on two recordings."""

import mne
import numpy as np
import pytest

from neurosig.preprocessing.faster import (
    find_bad_channels,
    find_bad_channels_in_epochs,
    find_bad_components,
    find_bad_epochs,
    find_outlier_subjects,
)
from neurosig.preprocessing.faster_ica import Decomposition, component_count
from neurosig.preprocessing.faster_signals import Recorded
from neurosig.preprocessing.interpolation import Interpolator, sphere_positions

RECORDINGS = ("faster_sim32", "faster_sim20_ref")
# with 20 channels or 10 components the published threshold cannot be passed, and we say so
FEW = {"few": "ignore"}


pytestmark = pytest.mark.xdist_group("faster_golden")  # one worker prepares what they share


@pytest.fixture(scope="module", params=RECORDINGS)
def golden(request, golden_dir):
    with np.load(golden_dir / "faster" / f"{request.param}.npz") as arrays:
        return dict(arrays)


def make_epochs(golden, data, bads=()):
    info = mne.create_info(golden["ch_names"].tolist(), float(golden["sfreq"]), golden["ch_types"].tolist())
    for channel, loc in zip(info["chs"], golden["loc"], strict=True):
        channel["loc"][:] = loc
    with info._unlock():
        info["highpass"], info["lowpass"] = float(golden["highpass"]), float(golden["lowpass"])
    info["bads"] = list(bads)
    return mne.EpochsArray(data.astype(float), info, tmin=float(golden["tmin"]), baseline=None, verbose="error")


@pytest.fixture(scope="module")
def epochs(golden):
    return make_epochs(golden, golden["data"])


@pytest.fixture(scope="module")
def bads(golden):
    return golden["s1_bad_thr3_any"].tolist()


@pytest.fixture(scope="module")
def kept(golden, bads):
    return make_epochs(golden, golden["data"][golden["s3_kept_epochs"]], bads)


@pytest.fixture(scope="module")
def cleaned(golden, bads):
    return make_epochs(golden, golden["s3_cleaned"], bads)


@pytest.fixture(scope="module")
def decomposition(golden):
    n = golden["s3_ica_mixing_matrix"].shape[0]
    scale = golden["s3_ica_pre_whitener"].ravel()
    rotation = golden["s3_ica_pca_components"][:n]
    maps = golden["s3_ica_mixing_matrix"].T @ rotation
    return Decomposition(
        tuple(golden["s3_ica_ch_names"].tolist()),
        golden["s3_ica_pca_mean"] * scale,
        golden["s3_ica_unmixing_matrix"] @ rotation / scale,
        (maps * scale).T,
        maps,
    )


def assert_close(ours, expected):
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


METRICS = ("variance", "correlation", "hurst", "kurtosis", "line_noise")


def test_channels_as_mne_faster(golden, epochs):
    found = find_bad_channels(epochs, variant="mne")
    for metric in METRICS:
        assert_close(found.scores[metric], golden[f"s1_metric_{metric}"])
        assert sorted(found.by_metric[metric]) == sorted(golden[f"s1_bad_thr3_{metric}"].tolist())
        alone = find_bad_channels(epochs, variant="mne", threshold=5, metrics=[metric], **FEW)
        assert sorted(alone.bads) == sorted(golden[f"s1_bad_thr5_{metric}"].tolist())
    assert sorted(found.bads) == sorted(golden["s1_bad_thr3_any"].tolist())
    repeated = find_bad_channels(epochs, variant="mne", max_iter=3)
    assert sorted(repeated.bads) == sorted(golden["s1_bad_thr3_iter3_any"].tolist())


def test_channels_corrected_for_the_reference_as_mne_faster(golden, epochs):
    if "s1_refcorr_variance" not in golden:
        pytest.skip("this recording has no reference electrode")
    found = find_bad_channels(epochs, variant="mne", reference=True)
    for metric in ("variance", "correlation"):
        assert_close(found.scores[metric], golden[f"s1_refcorr_{metric}"])
    assert sorted(found.bads) == sorted(golden["s1_refcorr_bad_any"].tolist())


def test_channels_by_the_authors_formulas(golden, epochs):
    found = find_bad_channels(epochs, variant="paper")
    for column, metric in enumerate(("correlation", "variance", "hurst")):
        assert_close(found.scores[metric], golden["orig_s1_metrics"][:, column])
        assert_close(found.z[metric], golden["orig_s1_z"][:, column])
    np.testing.assert_array_equal(found.bad, golden["orig_s1_bad"])


def test_epochs_as_mne_faster(golden, epochs, bads):
    found = find_bad_epochs(epochs, variant="mne", bads=bads)
    for metric in ("amplitude", "variance", "deviation"):
        assert_close(found.scores[metric], golden[f"s2_metric_{metric}"])
        assert found.by_metric[metric] == golden[f"s2_bad_{metric}"].tolist()
    assert found.bads == golden["s2_bad_any"].tolist()


def test_epochs_by_the_authors_formulas(golden, epochs, bads):
    found = find_bad_epochs(epochs, variant="paper", bads=bads)
    for column, metric in enumerate(("deviation", "variance", "amplitude")):
        assert_close(found.scores[metric], golden["orig_s2_metrics"][:, column])
        assert_close(found.z[metric], golden["orig_s2_z"][:, column])
    np.testing.assert_array_equal(found.bad, golden["orig_s2_bad"])


@pytest.mark.parametrize("name", ["bad", "bad_low"])
def test_components_as_mne_faster(golden, kept, decomposition, name):
    threshold = 3.0 if name == "bad" else float(golden["s3_thres_used"])
    found = find_bad_components(decomposition, kept, variant="mne", threshold=threshold, **FEW)
    assert len(found.scores) == 6
    for metric in found.scores:
        theirs = "power_gradient" if metric == "spectral_slope" else metric
        assert_close(found.scores[metric], golden[f"s3_metric_{theirs}"])
        assert found.by_metric[metric] == sorted(set(golden[f"s3_{name}_{theirs}"].tolist()))
    assert found.bads == golden[f"s3_{name}_any"].tolist()


def test_components_by_the_authors_formulas(golden, kept, decomposition):
    found = find_bad_components(decomposition, kept, variant="paper", **FEW)
    columns = ("median_gradient", "spectral_slope", "kurtosis", "hurst", "eog_correlation")
    for column, metric in enumerate(columns):
        assert_close(found.scores[metric], golden["orig_s3_metrics"][:, column])
        assert_close(found.z[metric], golden["orig_s3_z"][:, column])
    np.testing.assert_array_equal(found.bad, golden["orig_s3_bad"])
    n_samples = len(kept) * len(kept.times)
    assert component_count(n_samples, len(decomposition.ch_names)) == golden["orig_n_pca_rule"]


def test_takes_over_a_fitted_ica(golden, kept, decomposition):
    ica = mne.preprocessing.ICA(5, random_state=0, max_iter=1)
    with pytest.warns(Warning, match="converge"):
        ica.fit(kept, verbose="error")
    ours = Decomposition.from_mne(ica)
    theirs = ica.get_sources(kept).get_data(copy=False).transpose(1, 0, 2).reshape(5, -1)
    assert_close(ours.sources(Recorded.read(kept)), theirs)
    unmixed = ours.mixing @ (ours.unmixing @ np.ones(len(ours.ch_names)))
    scale = ica.pre_whitener_.ravel()
    rotation = ica.pca_components_[:5]
    np.testing.assert_allclose(unmixed, scale * (rotation.T @ (rotation @ (1 / scale))), rtol=1e-8)


def test_channels_in_epochs_as_mne_faster(golden, cleaned):
    found = find_bad_channels_in_epochs(cleaned, variant="mne")
    good = np.array([name not in cleaned.info["bads"] for name in found.items])
    for metric in ("amplitude", "deviation", "variance", "median_gradient", "line_noise"):
        assert_close(found.scores[metric][:, good], golden[f"s4_metric_{metric}"])
        np.testing.assert_array_equal(found.flags[metric], golden[f"s4_bad_{metric}"])
    np.testing.assert_array_equal(found.bad, golden["s4_bad_any"])


def test_channels_in_epochs_by_the_authors_formulas(golden, cleaned):
    found = find_bad_channels_in_epochs(cleaned, variant="paper")
    good = np.array([name not in cleaned.info["bads"] for name in found.items])
    order = ("median_gradient", "variance", "amplitude", "deviation")
    for column, metric in enumerate(order):
        assert_close(found.scores[metric][:, good], golden["orig_s4_metrics"][:, :, column])
    np.testing.assert_array_equal(found.bad, golden["orig_s4_bad"])


def test_interpolates_and_re_references_as_mne(golden, cleaned):
    eeg = np.flatnonzero(golden["ch_types"] == "eeg")
    positions = np.full((len(golden["ch_types"]), 3), np.nan)
    positions[eeg] = sphere_positions(cleaned.info, eeg)
    bad = np.zeros((len(cleaned), len(positions)), dtype=bool)
    bad[:, eeg] = golden["s4_bad_any"]
    marked = [cleaned.ch_names.index(name) for name in cleaned.info["bads"]]
    bad[np.ix_(bad.any(axis=1), marked)] = True
    X = cleaned.get_data()
    assert not Interpolator(golden["ch_types"].tolist(), positions)(X, bad).any()
    expected = golden["s4_interpolated"]
    scale = np.abs(expected).max(axis=(0, 2), keepdims=True)
    np.testing.assert_allclose(X / scale, expected / scale, rtol=1e-5, atol=1e-5)
    final = make_epochs(golden, X, cleaned.info["bads"]).set_eeg_reference("average", verbose="error")
    evoked = final.get_data().mean(axis=0)
    np.testing.assert_allclose(evoked, golden["s4_final_evoked"], atol=1e-5 * np.abs(evoked[eeg]).max())


def test_subjects_by_the_authors_formulas(golden):
    for threshold in (3, 2):
        found = find_outlier_subjects(golden["s5_subjects"], eog=golden["s5_eog"], variant="paper", threshold=threshold)
        for column, metric in enumerate(("deviation", "variance", "amplitude", "eog")):
            assert_close(found.scores[metric], golden["orig_s5_metrics"][:, column])
            assert_close(found.z[metric], golden["orig_s5_z"][:, column])
        np.testing.assert_array_equal(found.bad, golden[f"orig_s5_bad_thr{threshold}"])
