import numpy as np
import pandas as pd
import pytest
from moabb.analysis import meta_analysis
from numpy.testing import assert_allclose
from scipy import stats
from statsmodels.stats.multitest import multipletests

from neurosig.core.errors import InputError, UsageError
from neurosig.evaluation.statistics import combine_datasets, compare, holm, summarize


def make_table(scores, dataset="D", sessions=1):
    """One row per subject, session and pipeline from {pipeline: scores of subjects}."""
    rows = [
        {"dataset": dataset, "evaluation": "within_session", "subject": str(i), "session": str(k), "pipeline": name,
         "score": float(score)}
        for name, values in scores.items() for i, score in enumerate(values) for k in range(sessions)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_interval_is_student_t_over_subjects(rng):
    scores = rng.uniform(0.5, 0.9, 9)
    row = summarize(make_table({"p": scores})).iloc[0]
    low, high = stats.t.interval(0.95, 8, scores.mean(), stats.sem(scores))
    assert_allclose([row["mean"], row.sd, row.ci_low, row.ci_high], [scores.mean(), scores.std(ddof=1), low, high])
    assert (row.n, row.n_sessions, row.n_failed, row.note) == (9, 9, 0, "")


def test_sessions_of_a_subject_are_one_observation(rng):
    scores = {"a": rng.uniform(0.5, 0.9, 8), "b": rng.uniform(0.5, 0.9, 8)}
    once, thrice = make_table(scores), make_table(scores, sessions=3)
    columns = ["mean", "sd", "n", "ci_low", "ci_high"]
    pd.testing.assert_frame_equal(summarize(once)[columns], summarize(thrice)[columns])
    assert summarize(thrice)["n_sessions"].tolist() == [24, 24]
    pd.testing.assert_frame_equal(compare(once), compare(thrice))


def test_dummies_have_a_family_of_their_own():
    """Six subjects who all gain: p is 2 / 2**6; Holm's factors are the numbers of pairs, by hand."""
    steps = np.arange(1, 7) / 100
    scores = {"a": 0.8 + 3 * steps, "b": 0.7 + steps, "guess": 0.4 + 0 * steps, "coin": 0.3 + 0 * steps}
    one, other = make_table(scores), make_table(scores).assign(dataset="another")
    pairs = compare(pd.concat([one, other]), dummies=["guess", "coin"])
    assert pairs["family"].value_counts().to_dict() == {"pipelines": 2, "chance": 8}  # no dummy against a dummy
    for column in ("p_corrected", "p_wilcoxon_corrected"):
        assert_allclose(pairs[column], np.where(pairs["family"] == "pipelines", 1, 4) * 2 / 64)
    alone = compare(one[one["pipeline"].isin(["a", "b"])])
    own = pairs[(pairs["family"] == "pipelines") & (pairs["dataset"] == one["dataset"].iloc[0])]
    pd.testing.assert_frame_equal(own.reset_index(drop=True), alone)
    joined = combine_datasets(pairs).set_index("family")
    assert joined.loc["pipelines", "p_corrected"] == joined.loc["pipelines", "p"]
    assert_allclose(joined.loc["chance", "p_corrected"], 4 * joined.loc["chance", "p"].max())
    assert compare(one[one["pipeline"] == "coin"], dummies=["coin"]).empty


def test_a_subject_with_more_sessions_weighs_no_more():
    table = pd.DataFrame(
        {"subject": ["1", "1", "1", "2"], "session": list("0120"), "pipeline": "p", "score": [1.0, 1.0, 1.0, 0.0]}
    )
    assert summarize(table)["mean"].item() == 0.5


def test_one_subject_has_no_interval_and_says_why():
    row = summarize(make_table({"p": [0.7]})).iloc[0]
    assert row["mean"] == 0.7 and row.n == 1
    assert np.isnan([row.sd, row.ci_low, row.ci_high]).all()
    assert row.note == "one subject: no spread and no interval over subjects"


def test_interval_of_a_bounded_score_stays_within_its_bounds():
    table = make_table({"p": [0.4, 1.0, 1.0]})
    assert summarize(table)["ci_high"].item() > 1
    assert summarize(table.assign(metric="roc_auc"))["ci_high"].item() == 1
    assert summarize(table.assign(metric="r2"))["ci_high"].item() == 1  # which R2 cannot exceed either
    assert summarize(table.assign(metric="mine"))["ci_high"].item() > 1


def test_failed_rows_are_counted_not_averaged():
    table = make_table({"good": [0.8, 0.6, 0.7], "broken": [np.nan, np.nan, np.nan]})
    table.loc[1, "score"] = np.nan
    table["score_sd"], table["chance"] = 0.1, 0.5
    result = summarize(table).set_index("pipeline")
    assert result.loc["good", ["n", "n_failed"]].tolist() == [2, 1]
    assert result.loc["good", "mean"] == pytest.approx(0.75)
    assert result.loc["good", ["sd_folds", "chance"]].tolist() == [0.1, 0.5]
    assert result.loc["broken", "n"] == 0 and np.isnan(result.loc["broken", "mean"])
    assert "no score" in result.loc["broken", "note"] and "3 failed" in result.loc["broken", "note"]
    pair = compare(table).iloc[0]
    assert pair.n == 0 and np.isnan([pair.p, pair.p_corrected, pair.difference]).all()
    assert pair.note.startswith("0 subjects scored with both: no test is possible")


def test_same_subject_number_in_two_datasets_is_two_people():
    table = pd.concat([make_table({"p": [0.6, 0.7]}, "D"), make_table({"p": [0.8, 0.9]}, "E")])
    assert summarize(table, by=["pipeline"])["n"].item() == 4
    assert summarize(table)["n"].tolist() == [2, 2]


@pytest.mark.parametrize("n", [2, 5, 8, 12])
def test_sign_flip_test_is_scipys_exact_permutation_test(rng, n):
    a, b = rng.uniform(0.6, 1.0, n), rng.uniform(0.5, 0.9, n)
    pair = compare(make_table({"a": a, "b": b})).iloc[0]
    a, b = (a, b) if pair.pipeline_a == "a" else (b, a)
    expected = stats.permutation_test((a, b), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples",
                                      vectorized=True, n_resamples=np.inf).pvalue  # fmt: skip
    assert_allclose(pair.p, expected)
    assert_allclose(pair.p_wilcoxon, stats.wilcoxon(a, b, method="exact").pvalue)
    low, high = stats.ttest_rel(a, b).confidence_interval()
    assert_allclose([pair.difference, pair.ci_low, pair.ci_high], [np.mean(a - b), low, high])
    assert_allclose(pair.effect_size, stats.ttest_rel(a, b).statistic / np.sqrt(n))
    assert_allclose(pair.p_minimum, 2 / 2**n)


def test_few_subjects_cannot_be_significant_and_it_is_said():
    pair = compare(make_table({"a": [0.9] * 4, "b": [0.5, 0.51, 0.52, 0.53]})).iloc[0]
    assert pair.p == pair.p_minimum == 0.125
    assert "only 4 subjects: p cannot be below 0.125" in pair.note


def test_sampled_test_agrees_with_the_t_test_and_repeats(rng):
    base = rng.normal(0.7, 0.1, 40)
    table = make_table({"a": base + rng.normal(0.012, 0.04, 40), "b": base})
    pair = compare(table).iloc[0]
    wide = table.pivot(index="subject", columns="pipeline", values="score")
    assert_allclose(pair.p, stats.ttest_rel(wide["a"], wide["b"]).pvalue, atol=0.02)
    assert compare(table).equals(compare(table))
    assert compare(table, random_state=1)["p"].item() != pair.p
    assert pair.p_minimum == 2 / 10_000


def test_hedges_correction_removes_the_bias(rng):
    draws = rng.normal(0.5, 1.0, (4000, 6))
    plain = draws.mean(axis=1) / draws.std(axis=1, ddof=1)
    pair = compare(make_table({"a": draws[0], "b": np.zeros(6)})).iloc[0]
    factor = pair.effect_size_hedges / pair.effect_size
    assert_allclose(factor, 1 - 3 / (4 * 5 - 1), rtol=3e-3)  # Hedges' own approximation
    assert_allclose(plain.mean() * factor, 0.5, atol=3 * plain.std() / np.sqrt(4000))
    assert plain.mean() > 0.55


def test_rank_biserial_by_hand_and_zeros():
    a = np.array([0.7, 0.8, 0.5, 0.9, 0.6])
    b = np.array([0.6, 0.6, 0.8, 0.5, 0.6])
    pair = compare(make_table({"a": a, "b": b})).iloc[0]
    # differences .1 .2 -.3 .4 0: ranks of the four that moved 1 2 3 4, of which 3 against
    assert_allclose(pair.rank_biserial, (1 + 2 - 3 + 4) / 10)
    same = compare(make_table({"a": a, "b": a})).iloc[0]
    assert (same.p, same.p_wilcoxon, same.difference) == (1.0, 1.0, 0.0)
    assert np.isnan(same.effect_size)


def test_tied_differences_use_the_enumerated_wilcoxon_test():
    a, b = np.array([0.7, 0.8, 0.6, 0.9, 0.4, 0.7]), np.array([0.6, 0.7, 0.5, 0.7, 0.5, 0.5])
    pair = compare(make_table({"a": a, "b": b})).iloc[0]
    ranks = np.array([2.5, 2.5, 2.5, 5.5, -2.5, 5.5])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1)
    null = np.abs(ranks) @ signs
    assert_allclose(pair.p_wilcoxon, (np.abs(null) >= abs(ranks.sum())).mean())


def test_type_one_error_stays_within_binomial_bounds(rng):
    n_runs, rejected = 250, 0
    for _ in range(n_runs):
        skewed = rng.exponential(1, (3, 9))  # equal pipelines, not normal
        pairs = compare(make_table(dict(zip("abc", skewed, strict=True))))
        rejected += (pairs["p_corrected"] < 0.05).any()
    assert rejected <= stats.binom.ppf(0.999, n_runs, 0.05)


def test_interval_covers_the_mean_as_often_as_promised(rng):
    n_runs, covered = 400, 0
    for _ in range(n_runs):
        row = summarize(make_table({"p": rng.normal(0.7, 0.1, 6)})).iloc[0]
        covered += row.ci_low < 0.7 < row.ci_high
    assert stats.binom.ppf(0.001, n_runs, 0.95) <= covered <= stats.binom.ppf(0.999, n_runs, 0.95)


def test_holm_is_statsmodels(rng):
    for n in (1, 2, 7, 30):
        p = rng.uniform(0, 0.2, n)
        assert_allclose(holm(p), multipletests(p, method="holm")[1])
    assert_allclose(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    assert len(holm([])) == 0


def test_correction_counts_the_pairs_of_one_dataset_only(rng):
    scores = dict(zip("abc", rng.uniform(0.4, 0.9, (3, 7)), strict=True))
    one = compare(make_table(scores))
    two = compare(pd.concat([make_table(scores), make_table(scores, "E")]))
    assert len(one) == 3 and len(two) == 6
    assert_allclose(two[two["dataset"] == "E"]["p_corrected"], one["p_corrected"])
    assert_allclose(one["p_corrected"], multipletests(one["p"], method="holm")[1])


def test_meta_analysis_is_moabbs(rng):
    sizes = {"D": 7, "E": 10, "F": 5}
    tables, one_sided = [], []
    for name, n in sizes.items():
        base = rng.uniform(0.5, 0.8, n)
        scores = {"a": base + rng.normal(0.03, 0.05, n), "b": base}
        tables.append(make_table(scores, name))
        one_sided.append(meta_analysis.compute_pvals_perm(pd.DataFrame(scores)))
    pairs = compare(pd.concat(tables))
    for row, p in zip(pairs.itertuples(), one_sided, strict=True):
        a, b = ("ab".index(name) for name in (row.pipeline_a, row.pipeline_b))
        assert_allclose([row.p_greater, row.p_less], [p[a, b], p[b, a]])
    joined = combine_datasets(pairs).iloc[0]
    weights = np.array(list(sizes.values()))
    directions = [meta_analysis.combine_pvalues(np.array([p[i] for p in one_sided]), weights) for i in [(0, 1), (1, 0)]]
    assert_allclose(joined.p, min(1, 2 * min(directions)))
    assert (joined.n_datasets, joined.n) == (3, 22)
    sign = 1 if joined.pipeline_a == "a" else -1
    wide = [t.pivot(index="subject", columns="pipeline", values="score") for t in tables]
    assert_allclose(joined.difference, sign * pd.concat(wide).eval("a - b").mean())


def test_missing_scores_leave_the_subject_out_of_that_pair_only():
    table = make_table({"a": np.linspace(0.7, 0.9, 7), "b": np.linspace(0.5, 0.75, 7), "c": [0.4] * 7})
    table.loc[(table["pipeline"] == "b") & (table["subject"] == "3"), "score"] = np.nan
    pairs = compare(table).set_index(["pipeline_a", "pipeline_b"])
    assert pairs.loc[("a", "b"), "n"] == 6 and "1 subjects without a score of both" in pairs.loc[("a", "b"), "note"]
    assert pairs.loc[("a", "c"), "n"] == 7


def test_one_pipeline_gives_an_empty_comparison_with_columns():
    pairs = compare(make_table({"a": [0.5, 0.6]}))
    assert len(pairs) == 0 and {"pipeline_a", "p_corrected", "effect_size"} <= set(pairs.columns)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda t: summarize(t.drop(columns="score")), InputError, "missing: score"),
        (lambda t: compare(t.iloc[:0]), InputError, "is empty; run a benchmark first"),
        (lambda t: summarize(t.assign(score=np.inf)), InputError, "finite or missing, got infinity"),
        (lambda t: summarize(t, by=["montage"]), UsageError, "the table lacks: montage; it has dataset"),
        (lambda t: summarize(t, confidence=95), UsageError, "confidence must lie between 0 and 1, got 95"),
        (lambda t: combine_datasets(compare(t.drop(columns="dataset"))), InputError, "missing: dataset"),
    ],
)
def test_wrong_tables_say_what_to_do(call, error, text):
    with pytest.raises(error, match=text):
        call(make_table({"a": [0.5, 0.6, 0.7], "b": [0.5, 0.5, 0.6]}))
