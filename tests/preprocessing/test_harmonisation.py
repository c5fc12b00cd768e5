"""ComBat: simulated effects of sites come off, the paper's equations by hand, labels stay out of what is applied."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosig.core.errors import InputError, UsageError
from neurosig.core.persistence import load_pipeline, save_pipeline
from neurosig.preprocessing.harmonisation import SiteHarmonizer, site_effects

SITES = np.repeat(["NYU", "UCLA", "UM"], [60, 40, 30])


def simulated(seed=0, n_features=60):
    """Features without any effect of sites, the same seen by scanners, the effects, and ages that matter."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(8, 40, len(SITES))
    clean = 5 + rng.standard_normal((len(SITES), n_features)) * 2 + 0.1 * age[:, None]
    shift = {name: rng.normal(1, 1, n_features) for name in np.unique(SITES)}
    spread = {name: rng.uniform(0.5, 2, n_features) for name in np.unique(SITES)}
    expected = 5 + 0.1 * age[:, None]
    seen = expected + np.stack([(row - e) * spread[s] + 2 * shift[s] for row, e, s in
                                zip(clean, expected, SITES, strict=True)])  # fmt: skip
    return clean, seen, age


def gaps(X):
    """Largest difference of the means of sites, and ratio of their spreads, averaged over features."""
    means = np.stack([X[name == SITES].mean(axis=0) for name in np.unique(SITES)])
    sds = np.stack([X[name == SITES].std(axis=0) for name in np.unique(SITES)])
    return np.ptp(means, axis=0).mean(), (sds.max(axis=0) / sds.min(axis=0)).mean()


def test_effects_of_sites_come_off_and_age_stays():
    clean, seen, age = simulated()
    fitted = SiteHarmonizer().fit(seen, sites=SITES, covariates=age[:, None])
    got = fitted.transform(seen, sites=SITES, covariates=age[:, None])
    before, after, ideal = gaps(seen), gaps(got), gaps(clean)
    assert before[0] > 3
    assert before[1] > 1.8
    assert after[0] < ideal[0] * 1.2  # no more than chance leaves between samples of one population
    assert after[1] < ideal[1] * 1.1
    np.testing.assert_allclose(fitted.coef_.mean(), 0.1, atol=0.02)
    slope = np.polyfit(age, got.mean(axis=1), 1)[0]
    assert slope == pytest.approx(0.1, abs=0.02)


def test_estimates_follow_the_papers_equations():
    """Johnson et al. 2007, equations 3.1 and 3.2, feature by feature until they no longer move."""
    Z = np.random.default_rng(1).standard_normal((12, 7)) * np.linspace(0.5, 2, 7) + np.linspace(-1, 2, 7)
    n = len(Z)
    gamma_hat = [np.mean(Z[:, g]) for g in range(7)]
    delta_hat = [sum((z - gamma_hat[g]) ** 2 for z in Z[:, g]) / (n - 1) for g in range(7)]
    gamma_bar = sum(gamma_hat) / 7
    tau2 = sum((value - gamma_bar) ** 2 for value in gamma_hat) / 6
    v_bar = sum(delta_hat) / 7
    s2 = sum((value - v_bar) ** 2 for value in delta_hat) / 6
    lam, theta = (v_bar**2 + 2 * s2) / s2, (v_bar**3 + v_bar * s2) / s2
    mean, variance = site_effects(Z)
    for g in range(7):
        gamma, delta = gamma_hat[g], delta_hat[g]
        for _ in range(500):
            gamma = (n * tau2 * gamma_hat[g] + delta * gamma_bar) / (n * tau2 + delta)
            delta = (theta + 0.5 * sum((z - gamma) ** 2 for z in Z[:, g])) / (n / 2 + lam - 1)
        assert mean[g] == pytest.approx(gamma, abs=1e-5)
        assert variance[g] == pytest.approx(delta, abs=1e-5)


def test_without_shrinkage_means_and_spreads_of_sites_are_equal():
    _, seen, _ = simulated()
    got = SiteHarmonizer(shrink=False).fit_transform(seen, sites=SITES)
    means = [got[name == SITES].mean(axis=0) for name in np.unique(SITES)]
    sds = [got[name == SITES].std(axis=0, ddof=1) for name in np.unique(SITES)]
    np.testing.assert_allclose(means, [seen.mean(axis=0)] * 3, rtol=1e-9)
    np.testing.assert_allclose(sds, [sds[0]] * 3, rtol=1e-9)
    shifted = SiteHarmonizer(shrink=False, scale=False).fit_transform(seen, sites=SITES)
    own = [np.ptp(seen[name == SITES] - shifted[name == SITES], axis=0).max() for name in np.unique(SITES)]
    assert max(own) < 1e-9  # one constant a site and feature


def test_shrinkage_draws_small_sites_most():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((40, 100)) + rng.normal(2, 0.3, 100)
    few, many = site_effects(Z[:4]), site_effects(Z)
    kept = [np.std(shrunk[0]) / np.std(rows.mean(axis=0)) for shrunk, rows in ((few, Z[:4]), (many, Z))]
    assert kept[0] < kept[1] < 1
    mean, variance = site_effects(Z, scale=False)
    width = Z.mean(axis=0).var(ddof=1)
    expected = (40 * width * Z.mean(axis=0) + Z.mean()) / (40 * width + 1)
    np.testing.assert_allclose(mean, expected)
    np.testing.assert_array_equal(variance, 1)


@pytest.mark.parametrize(("ours", "theirs"), [({}, {}), ({"shrink": False}, {"eb": False})])
def test_results_are_neurocombats(ours, theirs, capsys):
    neurocombat = pytest.importorskip("neuroCombat", reason="the reference implementation is not installed")
    _, seen, age = simulated()
    table = pd.DataFrame({"site": SITES, "age": age, "sex": np.tile(["f", "m"], 65)})
    expected = neurocombat.neuroCombat(
        seen.T, table, "site", continuous_cols=["age"], categorical_cols=["sex"], **theirs
    )["data"].T  # fmt: skip
    got = SiteHarmonizer(**ours).fit_transform(seen, sites=SITES, covariates=table[["age", "sex"]])
    np.testing.assert_allclose(got, expected, atol=1e-4)  # it stops iterating at a change of 1e-4


def test_labels_are_protected_in_fit_and_unknown_in_transform():
    rng = np.random.default_rng(0)
    site = np.repeat(["a", "b"], 100)
    y = (rng.random(200) < np.where(site == "a", 0.8, 0.2)).astype(int)  # the sites have unlike shares of patients
    X = rng.standard_normal((200, 30)) + 1.5 * y[:, None] + np.where(site == "b", 4.0, 0.0)[:, None]
    blind = SiteHarmonizer().fit(X, y, sites=site)
    fair = SiteHarmonizer(protect_label=True).fit(X, y, sites=site)
    difference = [
        np.mean(got[y == 1].mean(axis=0) - got[y == 0].mean(axis=0))
        for got in (fitted.transform(X, sites=site) for fitted in (blind, fair))
    ]
    assert difference[0] < 1.2
    assert difference[1] == pytest.approx(1.5, abs=0.15)
    np.testing.assert_array_equal(
        SiteHarmonizer(protect_label=True).fit_transform(X, y, sites=site), fair.transform(X, sites=site)
    )
    np.testing.assert_array_equal(
        blind.transform(X, sites=site), SiteHarmonizer().fit(X, 1 - y, sites=site).transform(X, sites=site)
    )
    with pytest.raises(UsageError, match="protect_label=True needs the labels"):
        SiteHarmonizer(protect_label=True).fit(X, sites=site)


def test_test_runs_change_nothing_that_was_learned():
    _, seen, _ = simulated()
    fitted = SiteHarmonizer().fit(seen[::2], sites=SITES[::2])
    one = fitted.transform(seen[1::2], sites=SITES[1::2])
    np.testing.assert_allclose(fitted.transform(seen[1:2], sites=SITES[1:2]), one[:1])
    wild = seen[1::2].copy()
    wild[5:] *= 100
    np.testing.assert_array_equal(fitted.transform(wild, sites=SITES[1::2])[:5], one[:5])


def test_sites_that_were_not_in_training():
    _, seen, _ = simulated()
    train, test = SITES != "UM", SITES == "UM"
    with pytest.raises(InputError, match="does not know the sites UM; it learned NYU, UCLA"):
        SiteHarmonizer().fit(seen[train], sites=SITES[train]).transform(seen[test], sites=SITES[test])
    with pytest.raises(InputError, match="was told no sites; it learned NYU"):
        SiteHarmonizer().fit(seen[train], sites=SITES[train]).transform(seen[test])
    kept = SiteHarmonizer(unseen="keep").fit(seen[train], sites=SITES[train])
    np.testing.assert_allclose(kept.transform(seen[test], sites=SITES[test]), seen[test])
    batch = SiteHarmonizer(unseen="batch").fit(seen[train], sites=SITES[train])
    both = np.vstack([batch.transform(seen[i], sites=SITES[i]) for i in (train, test)])
    assert gaps(both)[0] < 0.3 * gaps(seen)[0]
    with pytest.raises(InputError, match="two runs or more of site 'UM'"):
        batch.transform(seen[test][:1], sites=SITES[test][:1])


def test_folds_hand_over_the_sites():
    rng = np.random.default_rng(3)
    site = np.repeat(["a", "b", "c"], 60)
    y = rng.integers(0, 2, 180)
    X = rng.standard_normal((180, 25)) + 0.4 * y[:, None] + 6 * rng.standard_normal((3, 25))[np.repeat([0, 1, 2], 60)]
    told = {"sites": site, "groups": site}
    with config_context(enable_metadata_routing=True):
        scores = [
            cross_val_score(
                make_pipeline(step, LogisticRegression()), X, y, cv=LeaveOneGroupOut(), params=params
            ).mean()
            for step, params in ((SiteHarmonizer(unseen="batch"), told), (StandardScaler(), {"groups": site}))
        ]
    assert scores[0] > scores[1] + 0.1


def test_what_cannot_be_learned_is_told():
    _, seen, age = simulated()
    with pytest.raises(InputError, match="two runs or more of every site, got one of lone"):
        SiteHarmonizer().fit(seen, sites=np.r_[["lone"], SITES[1:]])
    with pytest.raises(InputError, match="cannot be told from the sites"):
        SiteHarmonizer().fit(seen, sites=SITES, covariates=(SITES == "UM")[:, None].astype(float))
    with pytest.raises(UsageError, match=r"one name a run \(130\), got shape \(129,\)"):
        SiteHarmonizer().fit(seen, sites=SITES[1:])
    with pytest.raises(UsageError, match="unseen must be one of"):
        SiteHarmonizer(unseen="drop").fit(seen, sites=SITES)
    table = pd.DataFrame({"age": age, "sex": np.tile(["f", "m"], 65)})
    fitted = SiteHarmonizer().fit(seen, sites=SITES, covariates=table)
    with pytest.raises(UsageError, match="was fitted with covariates, got none"):
        fitted.transform(seen, sites=SITES)
    with pytest.raises(UsageError, match="expected covariates age, sex of 130 runs, got sex, age"):
        fitted.transform(seen, sites=SITES, covariates=table[["sex", "age"]])
    with pytest.raises(InputError, match="covariate sex has values that were not in training: x"):
        fitted.transform(seen, sites=SITES, covariates=table.assign(sex="x"))
    with pytest.raises(InputError, match="covariates without gaps, age"):
        fitted.transform(seen, sites=SITES, covariates=table.assign(age=np.nan))
    with pytest.warns(UserWarning, match="was told no sites and changes nothing"):
        np.testing.assert_array_equal(SiteHarmonizer().fit_transform(seen), seen)
    for missing in (None, np.nan):  # which are no name of a site
        with pytest.raises(InputError, match=r"the site of every run, 1 have none .* run 3"):
            SiteHarmonizer().fit(seen, sites=[missing if place == 3 else name for place, name in enumerate(SITES)])


def test_features_that_do_not_move_stay():
    _, seen, _ = simulated()
    seen[:, 3] = 1.0
    got = SiteHarmonizer().fit_transform(seen, sites=SITES)
    np.testing.assert_array_equal(got[:, 3], 1.0)
    assert np.isfinite(got).all()


def test_what_was_learned_is_stored(tmp_path):
    _, seen, age = simulated()
    table = pd.DataFrame({"age": age, "sex": np.tile(["f", "m"], 65)})
    fitted = SiteHarmonizer().fit(seen, sites=SITES, covariates=table)
    stored = load_pipeline(save_pipeline(fitted, tmp_path / "model"))
    got, expected = (each.transform(seen, sites=SITES, covariates=table) for each in (stored, fitted))
    np.testing.assert_array_equal(got, expected)
