"""Intervals and tests of folds that share training data: against the published formula, and against simulated truth."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from neurosig.evaluation.fold_statistics import corrected_interval, corrected_test, is_of_folds
from neurosig.evaluation.statistics import combine_datasets, compare, summarize

SCORES = {"a": [0.80, 0.74, 0.77, 0.83, 0.71], "b": [0.76, 0.72, 0.70, 0.79, 0.70]}


def table(scores=SCORES, tested="fold", dataset="abide", metric="roc_auc", n_subjects=20):
    rows = [
        {
            "dataset": dataset, "evaluation": "cross_subject", "pipeline": name, "subject": f"fold {place + 1}",
            "session": "", "score": score, "metric": metric, "samples": 80, "samples_test": 20, "chance": 0.5,
            "chance_upper": 0.7, "tested": tested, "n_subjects": n_subjects,
        }
        for name, its in scores.items()
        for place, score in enumerate(its)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_corrected_interval_is_that_of_nadeau_and_bengio():
    a = np.array(SCORES["a"])
    low, high = corrected_interval(a, [80] * 5, [20] * 5)
    half = stats.t.ppf(0.975, 4) * np.sqrt((1 / 5 + 20 / 80) * a.var(ddof=1))
    assert (low, high) == (pytest.approx(a.mean() - half), pytest.approx(a.mean() + half))
    plain = stats.t.interval(0.95, 4, a.mean(), stats.sem(a))
    assert high - low == pytest.approx(1.5 * (plain[1] - plain[0]))  # sqrt(0.45 / 0.2)


def test_the_corrected_test_is_that_of_nadeau_and_bengio():
    difference = np.subtract(SCORES["a"], SCORES["b"])
    p, greater, less = corrected_test(difference, [80] * 5, [20] * 5)
    plain = stats.ttest_1samp(difference, 0).statistic
    assert p == pytest.approx(2 * stats.t.sf(plain / 1.5, 4))
    assert greater == pytest.approx(p / 2) and less == pytest.approx(1 - p / 2)
    assert corrected_test(-difference, [80] * 5, [20] * 5)[0] == pytest.approx(p)


def test_differences_without_spread():
    assert corrected_test([0.0, 0.0, 0.0], [9] * 3, [3] * 3) == (1.0, 0.5, 0.5)
    assert corrected_test([0.1] * 5, [8] * 5, [2] * 5) == (1 / 16, 1 / 32, 31 / 32)
    assert corrected_test([-0.1] * 5, [8] * 5, [2] * 5) == (1 / 16, 31 / 32, 1 / 32)
    assert np.isnan(corrected_test([0.1], [8], [2])).all() and np.isnan(corrected_interval([0.1], [8], [2])).all()


def test_tables_of_folds_are_summarized_as_such():
    row = summarize(table()).iloc[0]
    assert (row["pipeline"], row["n"], row["n_sessions"], row["n_failed"]) == ("a", 100, 5, 0)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(corrected_interval(SCORES["a"], [80] * 5, [20] * 5))
    assert row["sd"] == pytest.approx(np.std(SCORES["a"], ddof=1)) == row["sd_folds"]
    assert "5 folds of 100 people" in row["note"]
    assert is_of_folds(table()) and not is_of_folds(table(tested="subject"))
    assert not is_of_folds(table().drop(columns="tested"))
    wide = summarize(table({"a": [0.5, 1.0, 1.0]})).iloc[0]
    assert wide["ci_high"] == 1.0 and wide["ci_low"] >= 0.0
    single = summarize(table({"a": [0.8]}, tested="site")).iloc[0]
    assert np.isnan(single["ci_low"]) and "one site" in single["note"]


def test_pipelines_are_compared_fold_by_fold():
    row = compare(table()).iloc[0]
    difference = np.subtract(SCORES["a"], SCORES["b"])
    assert (row["pipeline_a"], row["pipeline_b"], row["n"]) == ("a", "b", 100)
    assert row["p"] == pytest.approx(corrected_test(difference, [80] * 5, [20] * 5)[0]) == row["p_corrected"]
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(corrected_interval(difference, [80] * 5, [20] * 5))
    assert np.isnan(row["effect_size"]) and np.isnan(row["p_wilcoxon"])
    lost = compare(table({**SCORES, "b": [0.76, np.nan, 0.70, 0.79, 0.70]})).iloc[0]
    assert lost["n"] == 80 and "1 fold without a score of both left out" in lost["note"]
    assert lost["difference"] == pytest.approx(np.delete(difference, 1).mean())


def test_folds_and_subjects_of_several_datasets_combine():
    rng = np.random.default_rng(0)
    alone = {name: rng.normal(mean, 0.05, 12) for name, mean in (("a", 0.8), ("b", 0.7))}
    both = pd.concat([table(), table(alone, tested="subject", dataset="motor", n_subjects=1)])
    pairs = compare(both)
    row = combine_datasets(pairs).iloc[0]
    assert row["n"] == 112 and row["n_datasets"] == 2
    assert row["effect_size"] == pytest.approx(pairs.loc[pairs["dataset"] == "motor", "effect_size"].item())
    greater = [pairs.loc[pairs["dataset"] == name, "p_greater"].item() for name in ("abide", "motor")]
    expected = stats.combine_pvalues(greater, method="stouffer", weights=np.sqrt([100, 12])).pvalue
    assert row["p"] == pytest.approx(2 * expected)


def simulated(rng, n, p, k, gap):
    """Fold scores of two classifiers of different, equally good features, and what the first one's models are worth."""
    y = np.arange(n) % 2
    X = rng.standard_normal((n, 2 * p)) + gap * (y[:, None] - 0.5)
    order = np.concatenate([rng.permutation(np.flatnonzero(y == label)) for label in (0, 1)])
    fold = np.empty(n, dtype=int)
    fold[order] = np.arange(n) % k
    scores, worth = np.empty((2, k)), np.empty(k)
    for j in range(k):
        train, test = fold != j, fold == j
        for half in (0, 1):
            Z = X[:, half * p : (half + 1) * p]
            centred = Z[train] - Z[train].mean(axis=0)
            w = np.linalg.solve(centred.T @ centred + 10 * np.eye(p), centred.T @ (y[train] - 0.5))
            ranks = stats.rankdata(Z[test] @ w)
            positive = y[test] == 1
            m = positive.sum()
            scores[half, j] = (ranks[positive].sum() - m * (m + 1) / 2) / (m * (len(ranks) - m))
            if half == 0:
                worth[j] = stats.norm.cdf(gap * w.sum() / np.sqrt(2) / np.linalg.norm(w))
    return scores, worth.mean()


def test_simulated_studies_are_judged_rightly():
    rng = np.random.default_rng(0)
    n, k, n_studies = 60, 5, 200
    studies = [simulated(rng, n, 12, k, 0.45) for _ in range(n_studies)]
    truth = np.mean([worth for _, worth in studies])  # what such a pipeline is worth, over training sets
    n_train, n_test = [n - n // k] * k, [n // k] * k
    held = np.mean([low <= truth <= high for low, high in
                    (corrected_interval(scores[0], n_train, n_test) for scores, _ in studies)])  # fmt: skip
    wrong = np.mean([corrected_test(scores[0] - scores[1], n_train, n_test)[0] < 0.05 for scores, _ in studies])
    plain = np.mean([stats.ttest_rel(*scores).pvalue < 0.05 for scores, _ in studies])
    error = np.sqrt(0.05 * 0.95 / n_studies)
    assert held > 0.95 - 3 * error
    assert wrong < 0.05 + 2 * error < plain
