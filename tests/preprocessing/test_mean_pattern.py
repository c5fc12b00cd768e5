"""Mean patterns of trials: the mean by hand, regions that trials lack."""

import numpy as np
import pytest

from neurosig import simulate_fmri
from neurosig.core.errors import InputError, UsageError
from neurosig.preprocessing import MeanPattern


@pytest.fixture
def trials():
    return np.random.default_rng(0).standard_normal((5, 3, 7))


def test_is_the_mean(trials):
    np.testing.assert_allclose(MeanPattern().fit_transform(trials), trials.mean(axis=2), rtol=1e-12)
    ragged = [trials[0], trials[1, :, :4]]
    expected = [trials[0].mean(axis=1), trials[1, :, :4].mean(axis=1)]
    np.testing.assert_allclose(MeanPattern().fit(trials).transform(ragged), expected, rtol=1e-12)


def test_names_are_those_of_the_regions():
    rest = simulate_fmri(n_subjects=2, n_regions=6, n_times=20, random_state=0)
    assert MeanPattern().fit(rest).get_feature_names_out().tolist() == list(rest.info.ch_names)
    assert MeanPattern().fit(np.ones((2, 2, 3))).get_feature_names_out().tolist() == ["region_1", "region_2"]


def test_missing_regions(trials):
    lacking = trials.copy()
    lacking[0, 1] = np.nan
    with pytest.raises(InputError, match="NaN"):
        MeanPattern().fit(lacking)
    filled = MeanPattern(missing="mean").fit_transform(lacking)
    assert filled[0, 1] == pytest.approx(trials[1:, 1].mean())
    assert np.isnan(MeanPattern(missing="nan").fit_transform(lacking)[0, 1])
    lacking[:, 1] = np.nan
    with pytest.raises(InputError, match="no training trial has the regions region_2"):
        MeanPattern(missing="mean").fit(lacking)
    with pytest.raises(UsageError, match="missing must be"):
        MeanPattern(missing="drop").fit(trials)
