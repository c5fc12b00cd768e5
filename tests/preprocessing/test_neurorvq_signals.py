"""The conditioning of NeuroRVQ's signals beside the published code, known sinusoids, and its refusals."""

import numpy as np
import pytest

from neurosig.core.errors import InputError, UsageError
from neurosig.preprocessing.neurorvq import condition, filter_signals, whole_patches


@pytest.fixture(scope="module")
def golden(golden_dir):
    with np.load(golden_dir / "neurorvq" / "preprocessing.npz", allow_pickle=False) as file:
        return dict(file)


def test_stages_equal_the_published(golden):
    raw = golden["f64/raw_500hz"]
    np.testing.assert_allclose(filter_signals(raw, 500.0), golden["f64/filtered"], rtol=1e-7, atol=1e-9)
    resampled = condition(raw, 500.0, dtype="float64")
    np.testing.assert_allclose(resampled, golden["f64/resampled_200hz"], rtol=1e-7, atol=1e-9)
    half = condition(raw, 500.0, dtype="float16")
    assert half.dtype == np.float16
    np.testing.assert_array_max_ulp(half, golden["float16"], maxulp=1)
    single = condition(raw, 500.0)
    np.testing.assert_allclose(single, resampled, rtol=1e-6, atol=1e-5)


def test_what_passes_and_what_does_not():
    sfreq, t = 500.0, np.arange(10_000) / 500
    powers = {}
    for f in (0.05, 10, 20, 50, 60, 100, 150):
        out = filter_signals(np.sin(2 * np.pi * f * t), sfreq)[2000:-2000]
        powers[f] = np.mean(out**2) / 0.5
    assert powers[10] == pytest.approx(1, abs=0.01)
    assert powers[20] == pytest.approx((1 + (20 / 44.5) ** 6) ** -2, abs=0.01)  # Butterworth, twice
    assert max(powers[f] for f in (0.05, 50, 60, 100, 150)) < 0.01


def test_clipping_rate_and_length():
    x = 2000 * np.sin(2 * np.pi * 10 * np.arange(5120) / 256)[None]
    out = condition(x, 256.0, dtype="float64")
    assert out.shape == (1, 4000)
    assert 450 < np.abs(out[:, 400:-400]).max() < 750  # resampling rounds the clipped corners
    assert np.abs(condition(x, 256.0, clip=None)).max() > 1900
    assert condition(x[:, :2000], 200.0).shape == (1, 2000)


def test_low_rates_leave_notches_out():
    out = filter_signals(np.random.default_rng(0).standard_normal(500), 80.0)
    assert np.isfinite(out).all()


@pytest.mark.parametrize(("policy", "n", "first"), [("trim", 400, 50), ("pad", 600, 0)])
def test_whole_patches(policy, n, first):
    x = np.arange(1, 451.0)[None]
    out = whole_patches(x, policy=policy)
    assert out.shape == (1, n)
    assert out[0, -1] == 450
    assert out[0, 0] == (x[0, first] if policy == "trim" else 0)
    assert whole_patches(out, policy="raise") is not None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: whole_patches(np.zeros((1, 150))), InputError, "whole patches of 200 samples, got 150"),
        (lambda: whole_patches(np.zeros((1, 250)), policy="raise"), InputError, "got 250"),
        (lambda: whole_patches(np.zeros((1, 250)), policy="cut"), UsageError, "policy must be"),
        (lambda: condition(np.zeros((1, 10)), 200.0), InputError, "at least 22 samples, got 10"),
        (lambda: condition(np.full((1, 500), np.nan), 200.0), InputError, "NaN or infinity"),
        (lambda: condition(np.zeros((1, 500)), 200.0, dtype="int16"), UsageError, "dtype must be"),
        (lambda: condition(np.zeros((1, 500)), 200.0, clip=-1.0), UsageError, "clip must be a positive number"),
        (lambda: filter_signals(np.zeros((1, 500)), 200.0, band=(0.5, 120)), UsageError, "band must lie between"),
        (lambda: filter_signals(np.array([["a"]]), 200.0), InputError, "expected signals as numbers"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
