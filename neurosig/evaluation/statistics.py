"""Statistics of benchmark tables: intervals over subjects, and paired tests between pipelines.

The subject is the unit. Sessions of one subject are averaged before anything is computed, because they are not
independent observations, and folds never enter a test as if they were independent: their training parts overlap.

Where people bear one label each, no score can be had of a person; rows of the table (``tested``) are then folds over
subjects, or sites. For these, intervals and tests are those of Nadeau and Bengio's corrected resampled t test, see
`neurosig.evaluation.fold_statistics`.

Pipelines that ignore the signals (scikit-learn's dummies) have no place in the family of tests that compares pipelines:
what differs from a dummy is a question of its own, with a family of its own in `compare`.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from neurosig.core.errors import InputError, UsageError
from neurosig.evaluation.corrections import correct, holm
from neurosig.evaluation.fold_statistics import compare_folds, is_of_folds, summarize_folds, within_limits
from neurosig.evaluation.verdict import best_first

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["combine_datasets", "compare", "holm", "summarize"]

_EXACT_SUBJECTS = 12  # 2**12 sign flips are enumerated; more subjects are sampled
_GROUPS = ("dataset", "evaluation")
_PAIR_COLUMNS = (
    "pipeline_a", "pipeline_b", "n", "mean_a", "mean_b", "difference", "ci_low", "ci_high", "p", "p_corrected",
    "p_wilcoxon", "p_wilcoxon_corrected", "p_minimum", "p_greater", "p_less", "effect_size",
    "effect_size_hedges", "rank_biserial", "note",
)  # fmt: skip


def summarize(table: pd.DataFrame, by: Sequence[str] | None = None, confidence: float = 0.95) -> pd.DataFrame:
    """Mean score over subjects with its interval.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per subject, session and pipeline, with the columns subject, pipeline and score; where there, also
        dataset, evaluation, session, metric, ``score_sd`` (over folds), ``chance`` and ``chance_upper``. Rows whose
        ``tested`` is "fold" or "site" are scores of several people each.
    by : sequence of str, optional
        What a row of the result stands for; None is those of dataset, evaluation and pipeline that the table has.
    confidence : float
        Of the interval.

    Returns
    -------
    pandas.DataFrame
        The columns of `by`, then ``mean``, ``sd`` (over subjects), ``sd_folds`` (mean of the spread over folds; NaN
        if not known), ``n`` (subjects), ``n_sessions``, ``n_failed`` (rows without a score), ``ci_low``, ``ci_high``
        (Student's t over subjects; NaN for fewer than two, within the metric's limits), ``chance``,
        ``chance_upper`` (means, if the table has them) and ``note`` (why an entry is missing or weak). Ordered by
        falling mean within dataset and evaluation, pipelines that score alike by
        `neurosig.evaluation.verdict.best_first`. Of folds over subjects, or sites, ``mean`` is that over them (each
        counts the same), ``sd`` and ``sd_folds`` are their spread, ``n`` is the number of people tested, and the
        interval is that of `neurosig.evaluation.fold_statistics.corrected_interval`.

    Raises
    ------
    InputError
        Missing columns, an empty table, or infinite scores.
    UsageError
        Confidence outside (0, 1), or a column of `by` that the table lacks.
    """
    import pandas as pd

    _check_confidence(confidence)
    _check_table(table)
    if by is None:
        by = [name for name in (*_GROUPS, "pipeline") if name in table]
    if unknown := [name for name in by if name not in table]:
        names = ", ".join(map(str, table.columns))
        raise UsageError(f"by names columns that the table lacks: {', '.join(unknown)}; it has {names}")
    rows = []
    for key, part in table.groupby(list(by), sort=False, observed=True, dropna=False):
        valid = part[part["score"].notna()]
        if is_of_folds(part):
            rows.append(dict(zip(by, key, strict=True)) | summarize_folds(part, confidence))
            continue
        scores = _subject_means(valid)
        low, high = within_limits(*_t_interval(scores, confidence), part)
        row = dict(zip(by, key, strict=True))
        row |= {
            "mean": scores.mean() if len(scores) else np.nan,
            "sd": scores.std(ddof=1) if len(scores) > 1 else np.nan,
            "sd_folds": valid["score_sd"].mean() if "score_sd" in valid else np.nan,
            "n": len(scores),
            "n_sessions": len(valid.drop_duplicates(_unit(valid, session=True))),
            "n_failed": len(part) - len(valid),
            "ci_low": low,
            "ci_high": high,
        }
        row |= {name: valid[name].mean() for name in ("chance", "chance_upper") if name in valid}
        row["note"] = _summary_note(len(scores), len(part) - len(valid))
        rows.append(row)
    result = pd.DataFrame(rows)
    outer = [name for name in by if name in _GROUPS]
    if "pipeline" not in by:
        ascending = [True] * len(outer) + [False]
        return result.sort_values([*outer, "mean"], ascending=ascending, kind="stable", ignore_index=True)
    return _ranked(result, table, list(by), outer)


def _ranked(result: pd.DataFrame, table: pd.DataFrame, by: list[str], outer: list[str]) -> pd.DataFrame:
    """Rows best first within dataset and evaluation; pipelines that score alike by what they cost."""
    import pandas as pd

    costs = [name for name in ("n_parameters", "seconds_fit") if name in table]
    if costs:
        means = table.groupby(by, sort=False, observed=True, dropna=False)[costs].mean()
        result = result.join(means, on=by)
    metric = str(table["metric"].iloc[0]) if "metric" in table and table["metric"].nunique() == 1 else None
    parts = [part for _, part in result.groupby(outer, dropna=False)] if outer else [result]
    return pd.concat([best_first(part, metric) for part in parts], ignore_index=True).drop(columns=costs)


def compare(
    table: pd.DataFrame,
    *,
    confidence: float = 0.95,
    n_resamples: int = 9999,
    random_state: int = 42,
    correction: str = "holm",
    dummies: Collection[str] = (),
) -> pd.DataFrame:
    """All pairs of pipelines, paired across subjects, and each pipeline against the dummies.

    Parameters
    ----------
    table : pandas.DataFrame
        As for `summarize`.
    confidence : float
        Of the interval of the mean difference.
    n_resamples : int
        Sign flips that are sampled if there are more than 12 subjects; with fewer all are enumerated.
    random_state : int
        Seed of that sampling.
    correction : {"holm", "bonferroni"}
        For the number of pairs of a family.
    dummies : collection of str
        Pipelines that ignore the signals. They are not compared with one another.

    Returns
    -------
    pandas.DataFrame
        One row per data set, evaluation and pair. Columns: dataset and evaluation (if the table has them), ``family``
        ("pipelines" are pairs without a dummy, "chance" those of a pipeline and a dummy), ``pipeline_a``,
        ``pipeline_b`` (a has the higher mean), ``n`` (subjects scored with both), ``mean_a``, ``mean_b``,
        ``difference`` (a - b), ``ci_low``, ``ci_high`` (t interval of the difference), ``p`` (two-sided sign-flip
        permutation test of the mean difference), ``p_corrected`` (over the pairs of that data set, evaluation and
        family, so that a dummy makes no comparison of pipelines harder), ``p_wilcoxon`` (two-sided signed-rank test),
        ``p_wilcoxon_corrected``, ``p_minimum`` (smallest p that n subjects allow), ``p_greater`` and ``p_less``
        (one-sided, what `combine_datasets` takes), ``effect_size`` (Cohen's d_z: mean over sd of the differences),
        ``effect_size_hedges`` (the same without its small-sample bias), ``rank_biserial`` (matched pairs, -1 to 1), and
        ``note``.

    Raises
    ------
    InputError
        As `summarize`; a pipeline named twice for one subject and session is averaged, not refused.

    Notes
    -----
    Subjects and sessions that lack a score of either pipeline are left out of that pair. Differences that are all zero
    give p = 1 and no effect size. Of folds over subjects, or sites, ``p`` is that of the corrected resampled t test
    over those that both pipelines scored (see `neurosig.evaluation.fold_statistics`), ``n`` the people in them; there
    is neither a signed-rank test nor an effect size, as these take units for independent.
    """
    import pandas as pd

    _check_confidence(confidence)
    _check_table(table)
    outer = [name for name in _GROUPS if name in table]
    parts = table.groupby(outer, sort=False, observed=True, dropna=False) if outer else [((), table)]
    blocks = []
    for key, part in parts:
        folds = is_of_folds(part)
        scores = _wide(part)
        means = scores.groupby(level="subject", sort=False).mean().mean().fillna(-np.inf)
        ranked = sorted(scores.columns, key=lambda name: (-means[name], name))
        rows = [
            dict(zip(outer, key, strict=True))
            | {"family": "chance" if {a, b} & set(dummies) else "pipelines"}
            | (
                compare_folds(part, a, b, confidence)
                if folds
                else _compare_pair(scores, a, b, confidence, n_resamples, random_state)
            )
            for a, b in itertools.combinations(ranked, 2)
            if not {a, b} <= set(dummies)
        ]
        if rows:
            blocks.append(pd.DataFrame(rows))
    columns = [*outer, "family", *_PAIR_COLUMNS]
    if not blocks:
        return pd.DataFrame(columns=columns)
    for block in blocks:
        for _, family in block.groupby("family"):
            for name in ("p", "p_wilcoxon"):
                block.loc[family.index, f"{name}_corrected"] = correct(family[name], correction)
    return pd.concat(blocks, ignore_index=True)[columns]


def combine_datasets(pairs: pd.DataFrame) -> pd.DataFrame:
    """Join the comparisons of several data sets, as a meta-analysis does.

    Parameters
    ----------
    pairs : pandas.DataFrame
        What `compare` returned for a table with several data sets.

    Returns
    -------
    pandas.DataFrame
        One row per evaluation and pair: ``family``, ``pipeline_a``, ``pipeline_b`` (the first leads over all),
        ``n_datasets``, ``n`` (subjects), ``difference`` (weighted by n), ``effect_size`` (d_z, weighted by sqrt(n)),
        ``p`` (two-sided; the one-sided p values combined by Stouffer's method with weights sqrt(n), as in MOABB's
        meta-analysis) and ``p_corrected`` (Holm, within a family). Pairs found in one data set only keep that data
        set's one-sided test.

    Raises
    ------
    InputError
        If the table is not one that `compare` makes with a column dataset.
    """
    import pandas as pd
    from scipy import stats

    needed = ("dataset", "pipeline_a", "pipeline_b", "p_greater", "p_less", "n")
    if missing := [name for name in needed if name not in pairs]:
        raise InputError(f"expected what compare() returns for several data sets; missing: {', '.join(missing)}")
    outer = [name for name in ("evaluation", "family") if name in pairs]
    known = _turn_to_one_order(pairs[pairs["p_greater"].notna()])
    rows = []
    for key, part in known.groupby([*outer, "pipeline_a", "pipeline_b"], sort=False, observed=True, dropna=False):
        n = part["n"].to_numpy(dtype=float)
        greater, less = (
            float(stats.combine_pvalues(part[side].to_numpy(dtype=float), method="stouffer", weights=np.sqrt(n)).pvalue)
            for side in ("p_greater", "p_less")
        )
        effects = part["effect_size"].where(part["difference"] != 0, 0.0)  # none where all differences are zero
        known = effects.notna().to_numpy()  # folds over subjects have none
        row = dict(zip([*outer, "pipeline_a", "pipeline_b"], key, strict=True)) | {
            "n_datasets": len(part),
            "n": int(n.sum()),
            "difference": np.average(part["difference"], weights=n),
            "effect_size": np.average(effects[known], weights=np.sqrt(n[known])) if known.any() else np.nan,
            "p": min(1.0, 2 * min(greater, less)),
        }
        if row["difference"] < 0:
            row |= {"pipeline_a": row["pipeline_b"], "pipeline_b": row["pipeline_a"]}
            row |= {"difference": -row["difference"], "effect_size": -row["effect_size"]}
        rows.append(row)
    names = [*outer, "pipeline_a", "pipeline_b", "n_datasets", "n", "difference", "effect_size", "p"]
    result = pd.DataFrame(rows, columns=names)
    families = result.groupby(outer, sort=False, dropna=False)["p"] if outer else result["p"]
    result["p_corrected"] = families.transform(holm) if outer else holm(result["p"])
    return result


def _compare_pair(scores: pd.DataFrame, a: str, b: str, confidence: float, n_resamples: int, seed: int) -> dict:
    both = scores[[a, b]].dropna().groupby(level="subject", sort=False).mean()
    # rounding removes differences that only arise from the order of summation; they would break ties and zeros
    difference = (both[a] - both[b]).round(12).to_numpy()
    n = len(difference)
    p, p_greater, p_less = _sign_flip(difference, n_resamples, seed)
    p_wilcoxon, rank_biserial = _signed_ranks(difference)
    low, high = _t_interval(difference, confidence)
    effect, hedges = _effect(difference)
    return {
        "pipeline_a": a,
        "pipeline_b": b,
        "n": n,
        "mean_a": both[a].mean(),
        "mean_b": both[b].mean(),
        "difference": difference.mean() if n else np.nan,
        "ci_low": low,
        "ci_high": high,
        "p": p,
        "p_greater": p_greater,
        "p_less": p_less,
        "p_wilcoxon": p_wilcoxon,
        "p_minimum": _p_minimum(n, n_resamples),
        "effect_size": effect,
        "effect_size_hedges": hedges,
        "rank_biserial": rank_biserial,
        "note": _pair_note(n, scores.index.get_level_values("subject").nunique() - n),
    }


def _turn_to_one_order(pairs: pd.DataFrame) -> pd.DataFrame:
    """Name each pair in one order: in another data set the other pipeline may lead."""
    turned = pairs.copy()
    wrong = (pairs["pipeline_a"].astype(str) > pairs["pipeline_b"].astype(str)).to_numpy()
    turned.loc[wrong, ["pipeline_a", "pipeline_b"]] = pairs.loc[wrong, ["pipeline_b", "pipeline_a"]].to_numpy()
    turned.loc[wrong, ["difference", "effect_size"]] *= -1
    turned.loc[wrong, ["p_greater", "p_less"]] = pairs.loc[wrong, ["p_less", "p_greater"]].to_numpy()
    return turned


def _sign_flip(difference: np.ndarray, n_resamples: int, seed: int) -> tuple[float, float, float]:
    """P of the mean difference under random signs: two-sided, greater, less."""
    from scipy import stats

    n = len(difference)
    if n < 2:
        return np.nan, np.nan, np.nan
    exact = n <= _EXACT_SUBJECTS
    null = stats.permutation_test(
        (difference,), lambda d, axis: d.mean(axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=np.inf if exact else n_resamples, rng=np.random.default_rng(seed),
    ).null_distribution  # fmt: skip
    observed = difference.mean()
    tolerance = 1e-12 * max(1.0, abs(observed))  # sums in another order differ by rounding
    # sampled signs do not hold the observed arrangement, which belongs to the null distribution as well
    extra = 0 if exact else 1
    total = len(null) + extra
    greater, less = (int((side >= -tolerance).sum()) + extra for side in (null - observed, observed - null))
    # one-sided p of exactly 1 would be infinitely bad news in Stouffer's method: MOABB's bound
    return min(1.0, 2 * min(greater, less) / total), min(greater, total - 1) / total, min(less, total - 1) / total


def _signed_ranks(difference: np.ndarray) -> tuple[float, float]:
    """Wilcoxon's two-sided p (zeros dropped) and the matched-pairs rank-biserial correlation."""
    from scipy import stats

    moved = difference[difference != 0]
    if len(difference) < 2:
        return np.nan, np.nan
    if not len(moved):
        return 1.0, np.nan
    ranks = stats.rankdata(np.abs(moved))
    rank_biserial = float(np.sum(np.sign(moved) * ranks) / ranks.sum())
    if len(np.unique(np.abs(moved))) == len(moved):
        method = "exact" if len(moved) <= 50 else "approx"
        return float(stats.wilcoxon(moved, method=method).pvalue), rank_biserial
    # tied ranks have no table: enumerate the signs where that is possible
    exact = len(moved) <= _EXACT_SUBJECTS
    method = stats.PermutationMethod(n_resamples=np.inf) if exact else "approx"
    return float(stats.wilcoxon(moved, method=method).pvalue), rank_biserial


def _effect(difference: np.ndarray) -> tuple[float, float]:
    """Cohen's d_z and its Hedges-corrected value (the exact factor, with n - 1 degrees of freedom)."""
    from scipy.special import gammaln

    n = len(difference)
    if n < 2 or (sd := difference.std(ddof=1)) < 1e-12:
        return np.nan, np.nan
    effect = float(difference.mean() / sd)
    if n < 3:
        return effect, np.nan
    freedom = n - 1
    correction = np.exp(gammaln(freedom / 2) - gammaln((freedom - 1) / 2)) / np.sqrt(freedom / 2)
    return effect, float(effect * correction)


def _t_interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    from scipy import stats

    values = np.asarray(values, dtype=float)
    n = len(values)
    if n < 2:
        return np.nan, np.nan
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return float(values.mean() - half), float(values.mean() + half)


def _p_minimum(n: int, n_resamples: int) -> float:
    """Smallest two-sided p that all differences of one sign can give."""
    if n < 2:
        return np.nan
    return 2 / 2**n if n <= _EXACT_SUBJECTS else 2 / (n_resamples + 1)


def _summary_note(n: int, n_failed: int) -> str:
    notes = []
    if n == 0:
        notes.append("no score")
    elif n == 1:
        notes.append("one subject: no spread and no interval over subjects")
    elif n < 5:
        notes.append(f"only {n} subjects: the interval rests on little")
    if n_failed:
        notes.append(f"{n_failed} failed")
    return "; ".join(notes)


def _pair_note(n: int, unpaired: int) -> str:
    notes = []
    if n < 2:
        notes.append(f"{n} subjects scored with both: no test is possible")
    elif n < 6:
        notes.append(f"only {n} subjects: p cannot be below {2 / 2**n:.3g}, whatever the difference")
    if unpaired:
        notes.append(f"{unpaired} subjects without a score of both left out")
    return "; ".join(notes)


def _unit(table: pd.DataFrame, *, session: bool = False) -> list[str]:
    """Columns that tell subjects (or sessions) apart: subject 1 of another data set is another subject."""
    names = [*_GROUPS, "subject", *(["session"] if session else [])]
    return [name for name in names if name in table]


def _subject_means(table: pd.DataFrame) -> np.ndarray:
    return table.groupby(_unit(table), sort=False, observed=True, dropna=False)["score"].mean().to_numpy(dtype=float)


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """Subjects (and their sessions) by pipelines; a session counts only for pairs that both scored it."""
    index = ["subject", *(["session"] if "session" in table else [])]
    return table.groupby([*index, "pipeline"], sort=False, observed=True)["score"].mean().unstack("pipeline")


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1, got {confidence}")


def _check_table(table: pd.DataFrame) -> None:
    if missing := [name for name in ("subject", "pipeline", "score") if name not in table]:
        raise InputError(f"a table of scores has the columns subject, pipeline, score; missing: {', '.join(missing)}")
    if not len(table):
        raise InputError("the table of scores is empty; run a benchmark first")
    if np.isinf(table["score"].to_numpy(dtype=float)).any():
        raise InputError("scores must be finite or missing, got infinity")
