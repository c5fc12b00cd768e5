"""Tables of a transfer study against numbers worked out by hand and by other libraries."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from neurosig.core.errors import InputError, UsageError
from neurosig.evaluation.corrections import bonferroni, correct, holm
from neurosig.evaluation.ranking import rank_pipelines
from neurosig.evaluation.transfer_results import TransferResults
from neurosig.evaluation.transfer_rows import CONDITIONS, score

COUNTS = json.dumps({"left": 10, "right": 10})


def make_table(scores, n_folds=2, metric="accuracy", windows=None, kinds=None, counts=COUNTS):
    """A table from {(pipeline, condition): array of (n_subjects, n_seeds)}; folds scatter evenly around each score."""
    rows, kinds = [], kinds or {}
    for (pipeline, condition), values in scores.items():
        for subject, seeds in enumerate(np.atleast_2d(values)):
            for seed, value in enumerate(seeds):
                for fold in range(n_folds):
                    offset = 0.05 * (2 * fold - (n_folds - 1))
                    rows.append({
                        "dataset": "toy", "subject": f"S{subject + 1}", "group": 0, "fold": fold, "n_folds": n_folds,
                        "pipeline": pipeline, "kind": kinds.get(pipeline, "network"), "seed": seed,
                        "condition": condition, "metric": metric,
                        "score": value + offset, "score_windows": np.nan if windows is None else value - 0.1,
                        "n_windows": 0 if windows is None else windows, "chance": 0.5, "chance_upper": 0.7,
                        "n_train": 40, "n_test": 20, "test_counts": counts, "pretrained_on": 4.0, "seconds_fit": 1.0,
                        "seconds_pretraining": 2.0, "n_epochs": 3, "best_epoch": 2, "n_parameters": 10, "error": "",
                    })  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def scores():
    rng = np.random.default_rng(3)
    return {
        (name, condition): np.clip(0.55 + 0.08 * p + 0.05 * c + rng.normal(0, 0.06, (9, 3)), 0.1, 0.9)
        for p, name in enumerate("ABCD")
        for c, condition in enumerate(CONDITIONS)
    }


@pytest.fixture
def results(scores):
    return TransferResults(make_table(scores), {})


def test_two_people_worked_out_by_hand():
    table = make_table({("A", "within"): [[0.6, 0.8], [0.5, 0.5]], ("A", "transfer_all"): [[0.8, 1.0], [0.4, 0.6]]})
    results = TransferResults(table, {})
    row = results.summary().set_index("condition").loc["within"]
    assert row["mean"] == pytest.approx(0.6)  # of 0.7 and 0.5
    assert row["sd_subjects"] == pytest.approx(np.sqrt(2 * 0.1**2))
    assert row["sd_seeds"] == pytest.approx(np.std([0.55, 0.65], ddof=1))  # seeds' means over people
    assert (row["n"], row["n_seeds"], row["n_failed"]) == (2, 2, 0)
    assert row["improvement_relative"] == pytest.approx(0.2)
    assert row["improvement_absolute"] == pytest.approx(0.1)
    assert row["improvement_normalised"] == pytest.approx(0.2)
    assert row["chance"] == 0.5
    # each person's mean over 40 tested trials has sd sqrt(0.25 / 40); two people
    assert row["chance_upper"] == pytest.approx(0.5 + stats.norm.ppf(0.95) * np.sqrt(2 * 0.25 / 40) / 2)
    assert row["n_above"] == 1  # 0.7 lies above binom.ppf(0.95, 40, 0.5) / 40, 0.5 does not
    assert stats.binom.ppf(0.95, 40, 0.5) / 40 < 0.7
    effect = results.effects().iloc[0]
    assert (effect["within"], effect["transfer"]) == (pytest.approx(0.6), pytest.approx(0.7))
    assert effect["effect"] == pytest.approx(0.1)  # of +0.2 and 0
    assert effect["effect_relative"] == pytest.approx((0.2 / 0.7 + 0) / 2)
    assert effect["share_improved"] == 0.5 and effect["n"] == 2
    assert effect["sd_seeds"] == pytest.approx(np.std([(0.2 - 0.1) / 2, (0.2 + 0.1) / 2], ddof=1))


def test_intervals_and_tests_are_scipy_s(results, scores):
    means = {key: values.mean(axis=1) for key, values in scores.items()}
    for row in results.summary().itertuples():
        values = means[row.pipeline, row.condition]
        low, high = stats.t.interval(0.95, 8, values.mean(), stats.sem(values))
        assert (row.mean, row.ci_low, row.ci_high) == (
            pytest.approx(values.mean()), pytest.approx(low), pytest.approx(min(high, 1)))  # fmt: skip
    effects = results.effects()
    assert len(effects) == 4 * 3
    p = []
    for row in effects.itertuples():
        difference = (means[row.pipeline, row.condition] - means[row.pipeline, "within"]).round(12)
        p.append(stats.wilcoxon(difference, method="exact").pvalue)
        low, high = stats.t.interval(0.95, 8, difference.mean(), stats.sem(difference))
        assert (row.effect, row.effect_sd) == (pytest.approx(difference.mean()), pytest.approx(difference.std(ddof=1)))
        assert (row.ci_low, row.ci_high) == (pytest.approx(low), pytest.approx(high))
        assert row.p_wilcoxon == pytest.approx(p[-1]) and row.share_improved == (difference > 0).mean()
    np.testing.assert_allclose(effects["p_wilcoxon_corrected"], multipletests(p, method="holm")[1])
    np.testing.assert_allclose(
        results.effects(correction="bonferroni")["p_wilcoxon_corrected"], multipletests(p, method="bonferroni")[1]
    )
    pairs = results.compare()
    for condition in CONDITIONS:
        rows = pairs[pairs["condition"] == condition]
        p = [
            stats.wilcoxon((means[row.pipeline_a, condition] - means[row.pipeline_b, condition]).round(12)).pvalue
            for row in rows.itertuples()
        ]
        assert len(rows) == 6 and (rows["difference"] >= 0).all()
        np.testing.assert_allclose(rows["p_wilcoxon"], p)
        np.testing.assert_allclose(rows["p_wilcoxon_corrected"], multipletests(p, method="holm")[1])


def test_ranks_are_scipy_s_and_demsar_s(results, scores):
    found = results.rankings()
    assert list(found) == list(CONDITIONS)
    for condition, ranking in found.items():
        values = np.column_stack([scores[name, condition].mean(axis=1) for name in "ABCD"])
        ranks = stats.rankdata(-values.round(12), axis=1).mean(axis=0)
        assert dict(ranking.mean_ranks) == {name: pytest.approx(rank) for name, rank in zip("ABCD", ranks, strict=True)}
        assert list(ranking.mean_ranks) == sorted(ranking.mean_ranks)
        statistic, p = stats.friedmanchisquare(*values.T)
        assert (ranking.statistic, ranking.p, ranking.n) == (pytest.approx(statistic), pytest.approx(p), 9)
    # table 5 of Demšar (2006): q for alpha 0.05
    for k, q in ((2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (10, 3.164)):
        frame = pd.DataFrame(np.random.default_rng(k).random((7, k)))
        critical = rank_pipelines(frame).critical_difference
        assert critical == pytest.approx(q * np.sqrt(k * (k + 1) / (6 * 7)), rel=5e-4)


def test_ties_share_ranks_and_nothing_but_ties_is_no_difference():
    frame = pd.DataFrame({"a": [0.6, 0.6], "b": [0.6, 0.5], "c": [0.4, 0.6]})
    assert dict(rank_pipelines(frame).mean_ranks) == {"a": 1.5, "b": 2.25, "c": 2.25}
    same = rank_pipelines(pd.DataFrame(np.full((5, 3), 0.5), columns=list("abc")))
    assert (same.statistic, same.p) == (0, 1) and set(same.mean_ranks) == {2.0}
    one = rank_pipelines(pd.DataFrame({"a": [0.6, 0.6]}))
    assert np.isnan(one.p) and np.isnan(one.critical_difference)
    with pytest.raises(InputError, match="score of every pipeline"):
        rank_pipelines(pd.DataFrame({"a": [0.5, np.nan], "b": [np.nan, 0.5]}))
    with pytest.raises(UsageError, match="alpha"):
        rank_pipelines(frame, alpha=1.0)


def test_a_person_without_a_fold_counts_nowhere_in_that_condition(scores):
    table = make_table(scores)
    gone = (table["subject"] == "S2") & (table["condition"] == "transfer_all") & (table["pipeline"] == "B")
    table.loc[gone & (table["fold"] == 1) & (table["seed"] == 2), "score"] = np.nan
    results = TransferResults(table, {})
    row = results.summary().set_index(["pipeline", "condition"]).loc[("B", "transfer_all")]
    kept = np.delete(scores["B", "transfer_all"], 1, axis=0)
    assert (row["n"], row["n_failed"]) == (8, 1) and row["mean"] == pytest.approx(kept.mean())
    assert row["sd_seeds"] == pytest.approx(kept.mean(axis=0).std(ddof=1))
    effect = results.effects().set_index(["pipeline", "condition"]).loc[("B", "transfer_all")]
    both = np.delete(scores["B", "transfer_all"] - scores["B", "within"], 1, axis=0)
    assert effect["n"] == 8 and effect["effect"] == pytest.approx(both.mean())
    assert results.rankings()["transfer_all"].n == 8 and results.rankings()["within"].n == 9
    pairs = results.compare()
    touched = (pairs["condition"] == "transfer_all") & ((pairs["pipeline_a"] == "B") | (pairs["pipeline_b"] == "B"))
    assert set(pairs.loc[touched, "n"]) == {8} and set(pairs.loc[~touched, "n"]) == {9}


def test_windows_have_scores_of_their_own(scores):
    results = TransferResults(make_table(scores, windows=60), {})
    difference = results.summary()["mean"] - results.summary("window")["mean"]
    np.testing.assert_allclose(difference, 0.1)
    np.testing.assert_allclose(results.summary()["chance_upper"], results.summary("window")["chance_upper"])
    with pytest.raises(InputError, match="did not cut trials into windows"):
        TransferResults(make_table(scores), {}).summary("window")
    with pytest.raises(UsageError, match="level must be one of trial, window"):
        results.summary("epoch")


def test_pipelines_without_transfer_are_ranked_where_they_are(scores):
    scores |= {("TS", "within"): np.full((9, 3), 0.9), ("TS", "direct"): np.full((9, 3), 0.5)}
    results = TransferResults(make_table(scores), {})
    ranks = results.ranking_table().set_index(["condition", "pipeline"])["mean_rank"]
    assert ranks["within", "TS"] < 2 and ranks["direct", "TS"] == 5
    assert ("transfer_all", "TS") not in ranks.index
    statistics = results.statistics()
    assert set(statistics["test"]) == {"pipelines", "transfer"}
    assert len(statistics) == 10 + 6 + 6 + 10 + 4 * 3 + 1


@pytest.mark.parametrize("p", [[0.01, 0.04, 0.03, 0.5], [0.2], [0.04, np.nan, 0.01], []])
def test_corrections_are_statsmodels(p):
    known = [value for value in p if value == value]
    for method, ours in (("holm", holm), ("bonferroni", bonferroni)):
        expected = multipletests(known, method=method)[1] if known else []
        found = ours(p)
        np.testing.assert_allclose(found[~np.isnan(found)], expected)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(np.asarray(p, dtype=float)))
        np.testing.assert_array_equal(correct(p, method), found)


def test_dummies_are_in_no_family_of_tests():
    """Holm's factors by hand: six people who all gain give 2 / 2**6, five of six with the smallest loss 4 / 2**6."""
    steps = np.arange(1, 7)[:, None] / 100
    most = steps * np.where(steps == steps.min(), -1, 1)
    scores = {
        ("A", "within"): 0.6 + 0 * steps, ("A", "transfer_all"): 0.6 + steps,
        ("B", "within"): 0.5 + 0 * steps, ("B", "transfer_all"): 0.5 + most,
        ("Chance", "within"): 0.4 + steps, ("Chance", "transfer_all"): 0.4 + 0 * steps,
        ("Coin", "within"): 0.4 + most, ("Coin", "transfer_all"): 0.4 + 0 * steps,
    }  # fmt: skip
    dummies = {"Chance": "chance", "Coin": "chance"}
    results = TransferResults(make_table(scores, kinds=dummies), {})
    alone = TransferResults(make_table({key: scores[key] for key in scores if key[0] in "AB"}), {})

    effects = results.effects().set_index("pipeline")
    assert list(effects.index) == ["A", "B"]
    assert effects["p_wilcoxon"].tolist() == [2 / 64, 4 / 64]
    assert effects["p_wilcoxon_corrected"].tolist() == [2 * 2 / 64, 4 / 64]  # two tests, not four
    pd.testing.assert_frame_equal(results.effects(), alone.effects())
    assert set(results.person_effects()["pipeline"]) == {"A", "B"}

    pairs = results.compare()
    assert len(pairs) == 2 * (1 + 4)  # A - B; each of both against each dummy; not one dummy against the other
    there = pairs[pairs["condition"] == "transfer_all"]
    own, chance = (there[there["family"] == family] for family in ("pipelines", "chance"))
    assert own["p_wilcoxon_corrected"].tolist() == [2 / 64]  # one test
    assert chance["p_wilcoxon"].tolist() == [2 / 64] * 4
    assert chance["p_wilcoxon_corrected"].tolist() == [4 * 2 / 64] * 4
    assert chance["p_corrected"].tolist() == [4 * 2 / 64] * 4  # sign flips give the same p

    ranks = results.ranking_table()
    assert set(ranks["pipeline"]) == {"A", "B"} and set(ranks["mean_rank"]) == {1.0, 2.0}
    assert results.statistics()["test"].value_counts().to_dict() == {"pipelines": 2, "chance": 8, "transfer": 2}
    assert set(results.summary()["pipeline"]) == {"A", "B", "Chance", "Coin"}


def test_nothing_but_dummies_has_scores_and_nothing_to_test():
    table = make_table({("Chance", "within"): np.full((3, 1), 0.5), ("Chance", "direct"): np.full((3, 1), 0.5)},
                       kinds={"Chance": "chance"})  # fmt: skip
    results = TransferResults(table, {})
    assert len(results.summary()) == 2
    for frame in (results.effects(), results.compare(), results.ranking_table(), results.statistics()):
        assert len(frame) == 0


def test_improvement_with_four_classes_by_hand():
    counts = json.dumps({"left": 5, "right": 5, "hands": 5, "feet": 5})
    table = make_table({("A", "within"): [[0.4, 0.6], [0.7, 0.8], [0.75, 0.5]]}, counts=counts)
    row = TransferResults(table, {}).summary().iloc[0]
    mean = (0.5 + 0.75 + 0.625) / 3  # 0.625, of which 0.25 is chance
    assert row["chance"] == 0.25
    assert row["improvement_absolute"] == pytest.approx(mean - 0.25) == pytest.approx(0.375)
    assert row["improvement_relative"] == pytest.approx((mean - 0.25) / 0.25) == pytest.approx(1.5)
    assert row["improvement_normalised"] == pytest.approx((mean - 0.25) / 0.75) == pytest.approx(0.5)
    # two seeds, whose means over the three people are 1.85 / 3 and 1.9 / 3
    assert row["sd_seeds"] == pytest.approx(0.05 / 3 / np.sqrt(2))
    assert row["sd_subjects"] == pytest.approx(np.std([0.5, 0.75, 0.625], ddof=1)) == pytest.approx(0.125)


def test_an_unknown_correction_is_refused(results):
    with pytest.raises(UsageError, match="correction must be one of holm, bonferroni, got 'fdr'"):
        results.compare(correction="fdr")


def test_scores_are_scikit_learn_s():
    from sklearn.metrics import accuracy_score, balanced_accuracy_score

    rng = np.random.default_rng(0)
    y, decided = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    assert score(y, decided, "accuracy") == pytest.approx(accuracy_score(y, decided))
    assert score(y, decided, "balanced_accuracy") == pytest.approx(balanced_accuracy_score(y, decided))


@pytest.mark.parametrize("moved", [False, True])
def test_cleaning_that_changed_nothing_is_told(scores, moved):
    scores = {(name, "within"): scores["A", "within"].copy() for name in ("A", "A (FASTER)")}
    scores["A (FASTER)", "within"][0, 0] += 0.05 * moved
    lines = TransferResults(make_table(scores), {"protocol": {"faster_both": True}}).warnings
    assert any("FASTER changed no score of A:" in line for line in lines) is not moved


def test_few_people_and_few_seeds_are_told(scores):
    few = {key: values[:3, :1] for key, values in scores.items()}
    told = " ".join(TransferResults(make_table(few), {"protocol": {"groups": [["S1"], ["S2"], ["S3"]]}}).warnings)
    for text in ("few subjects (n = 3)", "gives a p below 0.25", "one seed", "pretrained on 2 people only"):
        assert text in told
    table = make_table(few).assign(kind="classical")
    told = " ".join(TransferResults(table, {"protocol": {"groups": [["S1"], ["S2"], ["S3"]]}}).warnings)
    assert "few subjects (n = 3)" in told and "network" not in told
