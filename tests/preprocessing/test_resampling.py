"""The Fourier resampler against closed forms and a published implementation's arrays."""

import mne
import numpy as np
import pytest

from neurosig.core.errors import UsageError
from neurosig.preprocessing.resampling import FourierResample, fourier_resample
from neurosig.preprocessing.scaling import QuantileScale


def test_parity_with_the_published_preprocessing(golden_dir):
    with np.load(golden_dir / "tfm_tokenizer" / "preprocessing_losses.npz", allow_pickle=False) as file:
        raw, wanted, scaled = (file[f"f64/{name}"] for name in ("raw_256hz", "resampled_200hz", "normalised"))
    found = FourierResample(200.0, sfreq=256.0).fit_transform(raw[None])[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    np.testing.assert_allclose(QuantileScale(eps=1e-8).fit_transform(found[None])[0], scaled, rtol=1e-9)


@pytest.mark.parametrize(("sfreq", "target"), [(256, 200), (128, 200), (100, 200), (250, 200), (200, 512)])
def test_whole_waves_stay_waves(sfreq, target):
    def waves(rate):
        t = np.arange(2 * rate) / rate
        return np.stack([np.sin(2 * np.pi * 7 * t), 3 + np.cos(2 * np.pi * 20.5 * t)])[None]

    np.testing.assert_allclose(fourier_resample(waves(sfreq), sfreq, target), waves(target), atol=1e-10)


def test_frequencies_beyond_the_lower_rate_are_gone():
    t = np.arange(1000) / 1000
    X = (np.sin(2 * np.pi * 10 * t) + np.sin(2 * np.pi * 180 * t))[None, None]
    found = FourierResample(200.0, sfreq=1000.0).fit_transform(X)
    np.testing.assert_allclose(found[0, 0], np.sin(2 * np.pi * 10 * np.arange(200) / 200), atol=1e-10)


def test_rate_of_epochs_is_known_and_another_refused():
    X = np.random.default_rng(0).standard_normal((3, 2, 250)) * 1e-5
    epochs = mne.EpochsArray(X, mne.create_info(2, 250.0, "eeg"), verbose=False)
    ours = FourierResample(200.0).fit(epochs)
    assert ours.transform(epochs).shape == (3, 2, 200)
    with pytest.raises(ValueError, match="250"):
        FourierResample(200.0, sfreq=256.0).fit(epochs)


def test_float32_stays():
    X = np.ones((2, 2, 128), dtype=np.float32)
    assert FourierResample(100.0, sfreq=128.0).fit_transform(X).dtype == np.float32


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (FourierResample(200.0), "needs the rate of the signals: pass sfreq="),
        (FourierResample(0.0, sfreq=100.0), "target must be a rate above 0 Hz, got 0.0"),
        (FourierResample(200.0, sfreq=-1.0), "sfreq must be a rate above 0 Hz, got -1.0"),
    ],
)
def test_wrong_parameters_are_named_at_fit(estimator, message):
    with pytest.raises(UsageError, match=message):
        estimator.fit(np.ones((2, 2, 50)))
