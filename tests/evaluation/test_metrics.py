import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.metrics import roc_auc_score

from neurosig.core.errors import InputError, UsageError
from neurosig.evaluation.metrics import chance_level, improvement_over_chance, mean_chance_level, transfer_effect


@pytest.mark.parametrize(("n", "k"), [(20, 2), (40, 2), (100, 2), (45, 3), (288, 4), (500, 8)])
@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001])
def test_accuracy_bound_is_the_binomial_quantile(n, k, alpha):
    y = np.arange(n) % k
    chance = chance_level(y, "accuracy", alpha)
    majority = np.bincount(y).max() / n
    assert chance.level == majority
    assert_allclose(chance.uniform, 1 / k)
    correct = round(chance.upper * n)
    # chance exceeds the bound at most with alpha, and would exceed the next lower one more often
    assert stats.binom.sf(correct, n, majority) <= alpha < stats.binom.sf(correct - 1, n, majority)


def test_published_table_of_chance_levels():
    # Combrisson & Jerbi (2015): 40 trials, 2 classes, p < 0.05 needs 62.5 % or, in their strict reading, above it
    assert_allclose(chance_level([0, 1] * 20).upper, 0.625)
    assert_allclose(chance_level([0, 1] * 50).upper, 0.58)


def test_accuracy_of_unequal_classes_is_judged_by_the_largest():
    chance = chance_level({"target": 20, "other": 80})
    assert (chance.level, chance.uniform) == (0.8, 0.5)
    assert chance.upper > 0.8


@pytest.mark.parametrize(("n1", "n2"), [(3, 4), (5, 5), (7, 8), (20, 25), (50, 50), (2, 40)])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_auc_bound_is_the_exact_mann_whitney_quantile(n1, n2, alpha):
    chance = chance_level({"a": n1, "b": n2}, "roc_auc", alpha)
    assert chance.method == "Mann-Whitney, exact"
    statistic = round(chance.upper * n1 * n2)

    def exceeds(u):  # P(U > u), from scipy's exact distribution: samples that have exactly U = u + 1
        return 0.0 if u >= n1 * n2 else stats.mannwhitneyu(*_samples(n1, n2, u + 1), alternative="greater",
                                                           method="exact").pvalue  # fmt: skip

    assert exceeds(statistic) <= alpha < exceeds(statistic - 1)


def _samples(n1, n2, u):
    """Two samples without ties for which U of the first is `u`."""
    x = []
    for _ in range(n1):
        wins = min(u, n2)
        u -= wins
        x.append(wins)
    ordered = sorted(x)
    return [wins + 0.5 + 1e-3 * i for i, wins in enumerate(ordered)], [i + 1 for i in range(n2)]


def test_normal_and_exact_auc_bounds_meet():
    exact, normal = chance_level({0: 50, 1: 50}, "roc_auc"), chance_level({0: 50, 1: 51}, "roc_auc")
    assert (exact.method, normal.method) == ("Mann-Whitney, exact", "normal")
    assert_allclose(exact.upper, normal.upper, atol=2e-3)


def auc_of_noise(rng, n_runs, n1=21, n2=24):
    """ROC AUC of `n_runs` decoders that ignore the signals, from the rank sum."""
    ranks = rng.random((n_runs, n1 + n2)).argsort(axis=1).argsort(axis=1) + 1
    return (ranks[:, :n1].sum(axis=1) - n1 * (n1 + 1) / 2) / (n1 * n2)


def test_auc_of_noise_is_the_auc():
    scores = np.random.default_rng(5).random((1, 45))
    expected = roc_auc_score([1] * 21 + [0] * 24, scores[0])
    assert_allclose(auc_of_noise(np.random.default_rng(5), 1), expected)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "roc_auc"])
def test_scores_of_noise_exceed_the_bound_as_often_as_promised(metric):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [24, 21])
    chance = chance_level(y, metric)
    n_runs = 5000
    if metric == "roc_auc":
        scores = auc_of_noise(rng, n_runs)
    elif metric == "balanced_accuracy":
        right = rng.integers(0, 2, (n_runs, 45)) == y
        scores = (right[:, :24].mean(axis=1) + right[:, 24:].mean(axis=1)) / 2
    else:
        scores = (rng.random((n_runs, 45)) < chance.level).mean(axis=1)
    above = (scores > chance.upper).sum()
    # never more than alpha (upper 99.9 % limit of the simulation); discrete scores stay below it
    assert above <= stats.binom.ppf(0.999, n_runs, 0.05 if metric != "balanced_accuracy" else 0.06)
    assert above > stats.binom.ppf(0.001, n_runs, 0.025)


def test_mean_over_subjects_has_the_variance_of_independent_scores():
    rng = np.random.default_rng(1)
    subjects = [{0: 20, 1: 25}] * 12
    chance = mean_chance_level(subjects, "roc_auc")
    means = np.mean([auc_of_noise(rng, 5000, 20, 25) for _ in subjects], axis=0)
    assert_allclose([means.mean(), means.std()], [0.5, chance.sd], rtol=0.04)
    assert_allclose((means > chance.upper).mean(), 0.05, atol=0.01)
    assert chance.upper < chance_level(subjects[0], "roc_auc").upper
    assert chance.n_trials == 12 * 45
    assert mean_chance_level(subjects[:1], "roc_auc") == chance_level(subjects[0], "roc_auc")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: chance_level([1, 1, 1]), InputError, "at least two classes, got 1"),
        (lambda: chance_level({"a": 3, "b": -1}), InputError, "must not be negative"),
        (lambda: chance_level([0, 1, 2], "roc_auc"), InputError, "is for two classes, got 3"),
        (lambda: chance_level([0, 1], "f1"), UsageError, "metric must be one of accuracy"),
        (lambda: chance_level([0, 1], alpha=1), UsageError, "alpha must lie between 0 and 1"),
        (lambda: mean_chance_level([]), InputError, "at least one set of labels"),
        (lambda: improvement_over_chance(0.7, 0.0), UsageError, "between 0 and 1, got 0"),
        (lambda: improvement_over_chance(0.7, 0.5, "log"), UsageError, "kind must be one of relative"),
        (lambda: transfer_effect([0.5], [0.5, 0.6]), InputError, "one score a subject in both"),
        (lambda: transfer_effect([], []), InputError, "one score a subject in both"),
        (lambda: transfer_effect([np.nan], [0.5]), InputError, "leave failed subjects out"),
        (lambda: transfer_effect({"1": 0.5}, {"2": 0.5}), InputError, "only one of them has: 1, 2"),
    ],
)
def test_wrong_calls_say_what_to_do(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_improvement_follows_its_definitions():
    assert_allclose(improvement_over_chance(0.75, 0.25), 2.0)
    assert_allclose(improvement_over_chance(0.75, 0.25, "absolute"), 0.5)
    assert_allclose(improvement_over_chance(0.75, 0.25, "normalised"), 2 / 3)
    both = improvement_over_chance([0.5, 1.0], [0.5, 0.25], "normalised")
    assert_allclose(both, [0.0, 1.0])
    assert improvement_over_chance(0.8, chance_level([0, 1] * 10), "absolute") == pytest.approx(0.3)


def test_transfer_effect_matches_subjects_by_name():
    within = pd.Series({"s1": 0.5, "s2": 0.8, "s3": 0.6})
    transfer = {"s3": 0.9, "s1": 0.6, "s2": 0.7}
    effect = transfer_effect(within, transfer)
    assert_allclose(effect.absolute, [0.1, -0.1, 0.3])
    assert_allclose(effect.relative, [0.2, -0.125, 0.5])
    assert_allclose([effect.mean, effect.sd, effect.share_improved], [0.1, 0.2, 2 / 3])
    assert np.isnan(transfer_effect([0.5], [0.6]).sd)


def test_rounding_is_no_improvement():
    before = np.full(4, 0.3)
    found = transfer_effect(before, np.array([0.1 + 0.2, 0.1 + 0.2, 0.4, 0.2]))
    assert found.share_improved == 0.25
