"""Simulated fMRI, held against closed forms and the truth recovered from the series."""

import numpy as np
import pytest
from nilearn.glm.first_level import glover_hrf
from scipy.signal import welch
from sklearn.metrics import roc_auc_score

from neurosig import simulate_fmri
from neurosig.core.errors import UsageError
from neurosig.core.runs import check_runs
from neurosig.loaders.simulation.fmri import FmriDesign, draw_person, draw_population, draw_run

QUIET = {"noise": 0.0, "motion": 0.0, "site_effect": 0.0, "standardize": None}


def design(**options):
    defaults = {"n_subjects": 4, "n_sessions": 1, "n_runs": 1, "n_sites": 1, "n_times": 100, "t_r": 2.0,
                "n_regions": 20, "n_networks": 4, "label": "connectivity", "effect": 1.0, "noise": 0.4, "motion": 1.0,
                "site_effect": 1.0, "missing": 0.0, "random_state": 0}  # fmt: skip
    return FmriDesign.checked(**defaults | options)


def correlations(run):
    return np.corrcoef(run)[np.triu_indices(len(run), 1)]


# ------------------------------------------------------------------------------------------------------ what is made


def test_a_dataset_says_what_it_holds():
    data = simulate_fmri(4, 2, 2, 30, n_sites=2, n_regions=12, n_networks=3)
    assert data.X.shape == (16, 12, 30)
    assert data.X.dtype == np.float32
    np.testing.assert_allclose(data.X.std(axis=2, ddof=1), 1, atol=1e-5)
    info = data.info
    assert (info.modality, info.t_r, info.sfreq, info.unit, info.n_channels) == ("fmri", 2.0, 0.5, "z", 12)
    assert len(info.positions) == 12
    assert data.y.tolist() == ["control"] * 4 + ["patient"] * 4 + ["control"] * 4 + ["patient"] * 4
    assert data.metadata["site"].tolist() == ["site-1"] * 8 + ["site-2"] * 8
    assert data.metadata[["subject", "session", "run"]].iloc[-1].tolist() == ["4", "1", "1"]
    assert set(data.truth["recordings"]) == set(data.metadata[["subject", "session", "run"]].itertuples(index=False))
    assert simulate_fmri(2, n_times=10, label=None).y is None


def test_a_run_does_not_depend_on_which_others_are_made():
    everyone = simulate_fmri(6, n_times=40, n_sites=2, standardize=None)
    some = simulate_fmri(6, n_times=40, n_sites=2, subjects=[5, "2"], standardize=None)
    np.testing.assert_array_equal(some.X, everyone.X[[4, 1]])
    assert some.y.tolist() == everyone.y[[4, 1]].tolist()
    longer = simulate_fmri(6, n_runs=2, n_times=40, n_sites=2, standardize=None)
    np.testing.assert_array_equal(longer.X[::2], everyone.X)
    other = simulate_fmri(6, n_times=40, n_sites=2, standardize=None, random_state=1)
    assert np.abs(correlations(np.stack([other.X[0].ravel(), everyone.X[0].ravel()]))) < 0.2


def test_sites_of_different_repetition_times_and_lengths():
    data = simulate_fmri(4, n_sites=2, n_times=[40, 90], t_r=[2.0, 0.8], missing=0.1, random_state=3)
    assert [run.shape for run in data.X] == [(40, 40), (40, 40), (40, 90), (40, 90)]
    assert (data.info.t_r, data.info.sfreq, data.info.n_times) == (None, None, None)
    assert data.metadata["t_r"].tolist() == [2.0, 2.0, 0.8, 0.8]
    assert data.metadata["n_volumes"].tolist() == [40, 40, 90, 90]
    assert len(check_runs(data, allow_missing=True)) == 4


# ------------------------------------------------------------------------------------------------ networks, response


def test_correlations_are_the_closed_form():
    """Regions share their network's signal by their loadings, and other networks' by those networks' correlation."""
    made = design(n_times=6000, noise=0, motion=0, site_effect=0, effect=0)
    population = draw_population(made)
    person = draw_person(made, population, 1)
    data, _ = draw_run(made, population, person, 0, 0)
    share = population.loadings
    expected = np.outer(share, share) * person.correlation[np.ix_(population.networks, population.networks)]
    upper = np.triu_indices(20, 1)
    assert np.abs(correlations(data) - expected[upper]).max() < 0.1  # 6000 volumes leave 0.02 or so
    assert np.corrcoef(correlations(data), expected[upper])[0, 1] > 0.99
    np.testing.assert_allclose(data.std(axis=1), 0.8, rtol=0.1)


@pytest.mark.parametrize("t_r", [0.8, 2.0])
def test_the_spectrum_is_that_of_the_response(t_r):
    """Power of the networks: that of an Ornstein-Uhlenbeck process, times the response's squared transfer function."""
    made = design(n_times=6000, t_r=t_r, n_regions=5, n_networks=5, label=None, noise=0, motion=0)
    population = draw_population(made)
    _, truth = draw_run(made, population, draw_person(made, population, 1), 0, 0)
    frequencies, power = welch(truth["network_series"], 1 / t_r, nperseg=256)
    step = 0.02  # a far finer grid than the simulation's
    response = glover_hrf(t_r, oversampling=round(t_r / step), time_length=32.0)
    time = np.arange(len(response)) * step

    def spectrum(f):
        transfer = np.abs(np.exp(-2j * np.pi * np.outer(f, time)) @ response) ** 2
        return transfer / (1 + (2 * np.pi * f * 3.0) ** 2)

    fine = np.linspace(0, 1, 1001)
    variance = np.trapezoid(spectrum(fine), fine)
    expected = (spectrum(frequencies) + spectrum(1 / t_r - frequencies)) / variance  # what aliases is little
    band = (frequencies > 0.012) & (frequencies < 0.15)
    ratio = power.mean(axis=0)[band] / expected[band]
    assert abs(np.log(ratio)).mean() < 0.1
    np.testing.assert_allclose(truth["network_series"].var(axis=1), 1, atol=0.1)


def test_networks_are_found_in_the_series():
    data = simulate_fmri(10, n_times=200, n_regions=30)
    network = data.truth["networks"]
    same = (network[:, None] == network)[np.triu_indices(30, 1)]
    mean = np.mean([correlations(run) for run in data.X], axis=0)
    assert roc_auc_score(same, mean) == 1.0
    assert mean[same].mean() > 0.35
    assert abs(mean[~same].mean()) < 0.2


# -------------------------------------------------------------------------------------------------------------- labels


def test_a_label_in_connectivity():
    """The coupling of the first two networks moves by the score, nothing else does; with no effect nothing moves."""
    some, none = design(effect=1.0), design(effect=0.0)
    population = draw_population(some)
    for number in (1, 2):
        one, other = (draw_person(made, population, number) for made in (some, none))
        moved = np.arctanh(one.correlation[0, 1]) - np.arctanh(other.correlation[0, 1])
        assert moved == pytest.approx(0.2 * one.score, abs=0.02)
        np.testing.assert_allclose(one.correlation[2:, 2:], other.correlation[2:, 2:], atol=0.02)
        np.testing.assert_array_equal(one.time_constants, 3.0)
    data = simulate_fmri(40, n_times=200, n_regions=20, n_networks=4)
    network = data.truth["networks"]
    between = [np.corrcoef(run)[np.ix_(network == 0, network == 1)].mean() for run in data.X]
    assert roc_auc_score(data.y == "patient", between) > 0.9
    assert np.corrcoef(between, data.metadata["score"])[0, 1] > 0.7
    assert data.truth["label_networks"] == {"connectivity": (0, 1), "autocorrelation": None}


def test_a_label_in_autocorrelation_leaves_correlations_alone():
    data = simulate_fmri(40, n_times=250, n_regions=20, n_networks=4, label="autocorrelation", motion=0)
    last = data.truth["networks"] == data.truth["label_networks"]["autocorrelation"]
    patient = data.y == "patient"
    slow = [np.mean([np.corrcoef(row[:-1], row[1:])[0, 1] for row in run[last]]) for run in data.X]
    assert roc_auc_score(patient, slow) > 0.85
    within = np.array([correlations(run[last]).mean() for run in data.X])
    assert abs(within[patient].mean() - within[~patient].mean()) < 0.05
    constants = [data.truth["subjects"][subject]["time_constants"][-1] for subject in data.metadata["subject"]]
    np.testing.assert_allclose(constants, 3 * np.exp(0.5 * data.metadata["score"]))
    beyond = np.array([np.abs(np.corrcoef(run)[np.ix_(last, ~last)].mean()) for run in data.X])
    assert beyond.mean() < 0.1  # it stands alone


def test_no_effect_leaves_nothing_to_decode():
    data = simulate_fmri(6, n_times=50, label="both", effect=0.0)
    for person in data.truth["subjects"].values():
        np.testing.assert_array_equal(person["time_constants"], 3.0)
    coupling = [draw_person(design(effect=0.0), draw_population(design()), n).correlation[0, 1] for n in range(1, 121)]
    assert abs(np.mean(coupling[0::2]) - np.mean(coupling[1::2])) < 0.06


# ------------------------------------------------------------------------------------------------ movement, sites, gaps


def test_movement_is_told_as_fmriprep_tells_it():
    data = simulate_fmri(4, n_times=300, standardize=None, random_state=2)
    still = simulate_fmri(4, n_times=300, standardize=None, motion=0.0, random_state=2)
    for place, key in enumerate(data.metadata[["subject", "session", "run"]].itertuples(index=False, name=None)):
        table = data.truth["recordings"][key]["confounds"]
        change = table.iloc[:, :6].diff().abs().fillna(0).to_numpy()
        displacement = change[:, :3].sum(axis=1) + 50 * change[:, 3:].sum(axis=1)  # Power et al. (2012)
        np.testing.assert_allclose(table["framewise_displacement"], displacement, atol=1e-12)
        assert data.metadata["mean_fd"][place] == pytest.approx(displacement.mean())
        added = (data.X - still.X)[place]
        regressors = np.column_stack([table.to_numpy(), np.ones(300)])
        left = added - (regressors @ np.linalg.lstsq(regressors, added.T, rcond=None)[0]).T
        assert left.std() < 0.01 * added.std()  # what movement adds is what the table says, but for rounding
        assert not still.truth["recordings"][key]["fd"].any()
    assert 0.03 < data.metadata["mean_fd"].mean() < 0.5


def test_scanners_add_a_pattern_of_their_own():
    made = design(n_sites=2, n_times=4000, motion=0, noise=0.2, n_regions=20)
    population = draw_population(made)
    added = []
    for site in (0, 1):
        person = draw_person(made, population, 2 * site + 1)
        assert person.site == site
        clean = draw_run(design(n_sites=2, n_times=4000, motion=0, noise=0.2, n_regions=20, site_effect=0), population,
                         person, 0, 0)[0]  # fmt: skip
        added.append(draw_run(made, population, person, 0, 0)[0] - clean)
        values, vectors = np.linalg.eigh(np.cov(added[-1]))
        assert values[-1] > 0.99 * values.sum()  # one pattern
        assert abs(np.corrcoef(vectors[:, -1], population.patterns[site])[0, 1]) > 0.99
    assert abs(np.corrcoef(*population.patterns)[0, 1]) < 0.6
    assert population.gains[0] != population.gains[1]


def test_missing_regions():
    data = simulate_fmri(6, n_times=40, missing=0.2, standardize=None)
    whole = simulate_fmri(6, n_times=40, standardize=None)
    gone = np.isnan(data.X).all(axis=2)
    assert 0.1 < gone.mean() < 0.3
    recordings = data.truth["recordings"].values()
    assert [np.flatnonzero(row).tolist() for row in gone] == [truth["missing"] for truth in recordings]
    np.testing.assert_array_equal(data.X[~gone], whole.X[~gone])


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [({"n_subjects": 0}, "n_subjects must be a whole number of at least 1"), ({"n_times": 1.5}, "n_times"),
     ({"t_r": 0}, "t_r must be a number of at least 0.1 seconds"), ({"t_r": [1, 2]}, "one for each of 1 sites, got 2"),
     ({"n_networks": 1}, "n_networks must be a whole number of at least 2"), ({"n_regions": 3}, "n_regions"),
     ({"label": "connectivty"}, "did you mean 'connectivity'"), ({"effect": -1}, "effect"),
     ({"missing": 1.0}, "below 1"), ({"subjects": [99]}, "subjects must be among 1 to 20, got 99"),
     ({"standardize": "z"}, "standardize must be"), ({"noise": np.nan}, "noise"),
     ({"random_state": -1}, "random_state")],
)  # fmt: skip
def test_arguments_that_make_no_sense(options, message):
    with pytest.raises(UsageError, match=message):
        simulate_fmri(**options)
