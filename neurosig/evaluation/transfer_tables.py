"""Tables of a transfer study: means with their spreads, effects of transfer, paired tests, ranks.

The subject is the unit. A person's score in a condition is the mean over folds, then over seeds; how much seeds differ
is told apart from how much people do.

Pipelines of the kind "chance" (scikit-learn's dummies) ignore the signals. They are summarised as all others, but have
no rank, no effect of transfer and no place in the families of tests that p values are corrected for: what differs from
a dummy is a question of its own, with a family of its own in `compare_pipelines`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from neurosig.core.errors import InputError, UsageError
from neurosig.evaluation.corrections import correct
from neurosig.evaluation.metrics import (
    ChanceLevel,
    chance_level,
    improvement_over_chance,
    mean_chance_level,
    transfer_effect,
)
from neurosig.evaluation.ranking import Ranking, rank_pipelines
from neurosig.evaluation.statistics import compare, summarize
from neurosig.evaluation.transfer_rows import CONDITIONS

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "chance_of", "compare_conditions", "compare_pipelines", "dummy_names", "effects", "people_scores",
    "person_effects", "person_scores", "rankings", "summarize_conditions", "wilson_interval",
]  # fmt: skip

LEVELS = {"trial": "score", "window": "score_windows"}
_BY = ["dataset", "pipeline", "condition"]
_KINDS = ("relative", "absolute", "normalised")


def person_scores(table: pd.DataFrame, level: str = "trial") -> pd.DataFrame:
    """One row a person, pipeline, condition and seed: the mean over folds.

    Parameters
    ----------
    table : DataFrame
        `TransferResults.table`.
    level : {"trial", "window"}
        Score of whole trials, or of single windows.

    Returns
    -------
    DataFrame
        ``dataset, pipeline, condition, subject, seed, score, chance, chance_upper, n_test, metric``. Where a fold has
        no score the person has none. Chance and its bound are those of all the person's tested trials; windows of one
        trial are no independent looks, so that the bound for windows is that of the trials.
    """
    import pandas as pd

    if level not in LEVELS:
        raise UsageError(f"level must be one of {', '.join(LEVELS)}, got {level!r}")
    if level == "window" and not table["n_windows"].any():
        raise InputError("this study did not cut trials into windows; use level='trial', or give the study window=...")
    column = LEVELS[level]
    rows = []
    chances: dict[tuple[str, ...], tuple[float, float]] = {}
    for key, part in table.groupby([*_BY, "subject", "seed"], sort=False, observed=True):
        scores = part[column].to_numpy(dtype=float)
        counts = tuple(part["test_counts"])
        metric = str(part["metric"].iloc[0])
        if counts not in chances:
            found = chance_level(_pooled(counts), metric)
            chances[counts] = found.level, found.upper
        row = dict(zip([*_BY, "subject", "seed"], key, strict=True))
        row |= {"score": scores.mean(), "chance": chances[counts][0], "chance_upper": chances[counts][1]}
        rows.append({**row, "n_test": int(part["n_test"].sum()), "metric": metric})
    return pd.DataFrame(rows)


def people_scores(table: pd.DataFrame, level: str = "trial") -> pd.DataFrame:
    """One row a person, pipeline and condition: the mean over folds and seeds; a seed without a score leaves none.

    Returns
    -------
    DataFrame
        ``dataset, pipeline, condition, subject, score, chance, chance_upper, metric, n_test`` (trials) and ``ci_low,
        ci_high``: Wilson's 95 % interval of a share of so many trials, NaN where the score is no share.
    """
    rows = person_scores(table, level).groupby([*_BY, "subject"], sort=False, observed=True)
    mean = rows[["score", "chance", "chance_upper"]].agg(lambda values: values.mean(skipna=False))
    people = mean.join(rows[["metric", "n_test"]].first()).reset_index()
    low, high = wilson_interval(people["score"].to_numpy(dtype=float), people["n_test"].to_numpy(dtype=float))
    share = (people["metric"] == "accuracy").to_numpy()
    return people.assign(ci_low=np.where(share, low, np.nan), ci_high=np.where(share, high, np.nan))


def summarize_conditions(table: pd.DataFrame, level: str = "trial", confidence: float = 0.95) -> pd.DataFrame:
    """Mean score of each pipeline in each condition, with what it is worth.

    Returns
    -------
    DataFrame
        One row a pipeline and condition, best first within a condition: ``dataset, pipeline, condition, mean,
        sd_subjects`` (over people, seeds averaged), ``sd_seeds`` (over seeds, of the mean over people), ``n`` (people),
        ``n_seeds``, ``n_failed`` (people without a score in every fold and seed), ``ci_low, ci_high`` (Student's t over
        people), ``chance, chance_upper`` (of the mean over people), ``n_above`` (people above their own bound),
        ``improvement_relative, improvement_absolute, improvement_normalised`` (of the mean, over one in
        the number of classes) and ``note``. ``sd_seeds`` is NaN where every seed gives each person the same score.
    """
    people = person_scores(table, level)
    summary = summarize(people_scores(table, level), by=_BY, confidence=confidence).rename(
        columns={"sd": "sd_subjects"}
    )
    summary = summary.drop(columns=["sd_folds", "n_sessions"])
    extra = {key: _extra(part, table) for key, part in people.groupby(_BY, sort=False, observed=True)}
    rows = [extra[row.dataset, row.pipeline, row.condition] for row in summary.itertuples()]
    for name in ("sd_seeds", "n_seeds", "chance", "chance_upper", "n_above"):
        summary[name] = [row[name] for row in rows]
    for kind in _KINDS:
        summary[f"improvement_{kind}"] = [
            improvement_over_chance(mean, chance, kind) if mean == mean else np.nan
            for mean, chance in zip(summary["mean"], [row["uniform"] for row in rows], strict=True)
        ]
    columns = [
        *_BY, "mean", "sd_subjects", "sd_seeds", "n", "n_seeds", "n_failed", "ci_low", "ci_high", "chance",
        "chance_upper", "n_above", *(f"improvement_{kind}" for kind in _KINDS), "note",
    ]  # fmt: skip
    place = summary.assign(place=summary["condition"].map(CONDITIONS.index)).sort_values(
        ["place", "mean"], ascending=[True, False], kind="stable", na_position="last"
    )
    return place[columns].reset_index(drop=True)


def person_effects(table: pd.DataFrame, level: str = "trial") -> pd.DataFrame:
    """What each condition brought each person, against learning from that person alone.

    Returns
    -------
    DataFrame
        ``dataset, pipeline, condition, subject, within, transfer, effect`` (the difference) and ``effect_relative``;
        seeds averaged. People without both scores are left out, and so are dummies: they learn from nobody.
    """
    import pandas as pd

    blocks = []
    people = _without_dummies(people_scores(table, level), table)
    for (dataset, pipeline), rows in people.groupby(["dataset", "pipeline"], sort=False):
        wide = rows.set_index(["subject", "condition"])["score"].unstack("condition").reindex(rows["subject"].unique())
        for condition in _others(rows["condition"]):
            both = wide[["within", condition]].dropna()
            if not len(both):
                continue
            found = transfer_effect(both["within"].to_numpy(), both[condition].to_numpy())
            blocks.append(pd.DataFrame({
                "dataset": dataset, "pipeline": pipeline, "condition": condition, "subject": both.index,
                "within": both["within"].to_numpy(), "transfer": both[condition].to_numpy(), "effect": found.absolute,
                "effect_relative": found.relative,
            }))  # fmt: skip
    columns = ["dataset", "pipeline", "condition", "subject", "within", "transfer", "effect", "effect_relative"]
    return pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=columns)


def effects(table: pd.DataFrame, level: str = "trial", correction: str = "holm") -> pd.DataFrame:
    """Effect of transfer: each condition minus learning from the person alone, over people.

    Returns
    -------
    DataFrame
        One row a pipeline that is no dummy, and condition: ``within, transfer`` (means), ``effect, effect_sd`` (over
        people), ``effect_relative`` (mean of the people's own), ``share_improved, n, sd_seeds`` (over seeds, of the
        mean effect), and of `compare_conditions` ``ci_low, ci_high, p_wilcoxon, p_wilcoxon_corrected, p_minimum,
        rank_biserial, note``.
    """
    import pandas as pd

    people = person_effects(table, level)
    tests = compare_conditions(table, level, correction).set_index(_BY)
    by_seed = _effects_by_seed(person_scores(table, level))
    rows = []
    for key, part in people.groupby(_BY, sort=False):
        found = transfer_effect(part["within"].to_numpy(), part["transfer"].to_numpy())
        relative = found.relative[np.isfinite(found.relative)]
        test = tests.loc[key]
        rows.append({
            **dict(zip(_BY, key, strict=True)), "within": part["within"].mean(), "transfer": part["transfer"].mean(),
            "effect": found.mean, "effect_sd": found.sd,
            "effect_relative": relative.mean() if len(relative) else np.nan,
            "share_improved": found.share_improved, "n": found.n, "sd_seeds": by_seed.get(key, np.nan),
            **{name: test[name] for name in ("ci_low", "ci_high", "p_wilcoxon", "p_wilcoxon_corrected", "p_minimum",
                                             "rank_biserial", "note")},
        })  # fmt: skip
    return pd.DataFrame(rows, columns=None if rows else [*_BY, "within", "transfer", "effect", "effect_sd"])


def compare_pipelines(table: pd.DataFrame, level: str = "trial", correction: str = "holm") -> pd.DataFrame:
    """All pairs of pipelines within each condition, and each pipeline against the dummies, paired over people.

    Returns
    -------
    DataFrame
        As `neurosig.evaluation.statistics.compare`, with the columns ``condition`` and ``family``: "pipelines" are
        pairs without a dummy, "chance" pairs of a pipeline and a dummy. p values are corrected for the pairs of one
        condition and family, so that a dummy makes no comparison of pipelines harder. Two dummies are not compared.
    """
    people = people_scores(table, level).rename(columns={"condition": "evaluation"})
    pairs = compare(people, correction=correction, dummies=dummy_names(table))
    return pairs.rename(columns={"evaluation": "condition"})


def compare_conditions(table: pd.DataFrame, level: str = "trial", correction: str = "holm") -> pd.DataFrame:
    """Each condition against learning from the person alone, for each pipeline, paired over people.

    Returns
    -------
    DataFrame
        One row a pipeline and condition with ``n, mean_within, mean_condition, difference`` (condition minus within),
        ``ci_low, ci_high``, ``p`` (sign flips), ``p_corrected``, ``p_wilcoxon``, ``p_wilcoxon_corrected``,
        ``p_minimum, effect_size, rank_biserial`` and ``note``. All these tests are one family for the correction;
        dummies are not among them.
    """
    import pandas as pd

    people = _without_dummies(people_scores(table, level), table)
    rows = []
    for (dataset, pipeline), part in people.groupby(["dataset", "pipeline"], sort=False):
        for condition in _others(part["condition"]):
            pair = part[part["condition"].isin(["within", condition])].drop(columns=["pipeline", "dataset"])
            tested = compare(pair.rename(columns={"condition": "pipeline"}))
            if len(tested):
                rows.append(_against_within(tested.iloc[0], dataset, pipeline, condition))
    columns = [
        *_BY, "n", "mean_within", "mean_condition", "difference", "ci_low", "ci_high", "p", "p_corrected", "p_wilcoxon",
        "p_wilcoxon_corrected", "p_minimum", "effect_size", "rank_biserial", "note",
    ]  # fmt: skip
    result = pd.DataFrame(rows, columns=[name for name in columns if not name.endswith("_corrected")])
    for name in ("p", "p_wilcoxon"):
        result[f"{name}_corrected"] = correct(result[name].astype(float), correction)
    return result[columns]


def rankings(table: pd.DataFrame, level: str = "trial", alpha: float = 0.05) -> dict[str, Ranking]:
    """Ranks of the pipelines over people, by condition; see `neurosig.evaluation.ranking.rank_pipelines`.

    Dummies are not ranked: that something differs from guessing would pass for a difference between pipelines.
    Conditions in which no person has a score of every pipeline that takes part are left out.
    """
    people = _without_dummies(people_scores(table, level), table)
    found = {}
    for condition in [name for name in CONDITIONS if name in set(people["condition"])]:
        part = people[people["condition"] == condition]
        scores = part.set_index(["dataset", "subject", "pipeline"])["score"].unstack("pipeline")
        scores = scores.dropna(axis=1, how="all")
        if scores.shape[1] and len(scores.dropna()):
            found[condition] = rank_pipelines(scores, alpha)
    return found


def wilson_interval(share: np.ndarray, n: np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of a share of `n` independent trials.

    References
    ----------
    Wilson (1927), Probable inference, the law of succession, and statistical inference, J. Am. Stat. Assoc. 22,
    209-212.
    """
    from scipy import stats

    z = stats.norm.ppf((1 + confidence) / 2)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half


def dummy_names(table: pd.DataFrame) -> set[str]:
    """Pipelines that ignore the signals."""
    return set(table.loc[table["kind"] == "chance", "pipeline"])


def _without_dummies(people: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    return people[~people["pipeline"].isin(dummy_names(table))]


def _extra(people: pd.DataFrame, table: pd.DataFrame) -> dict[str, float]:
    failed = set(people.loc[people["score"].isna(), "subject"])
    scored = people[~people["subject"].isin(failed)]
    seeds = scored.groupby("seed")["score"].mean()
    varied = bool((scored.groupby("subject")["score"].nunique() > 1).any())  # else the seed plays no part
    own = scored.groupby("subject", sort=False)[["score", "chance_upper"]].mean()
    first = people["subject"].isin(own.index) if len(own) else people["subject"].notna()
    key = people.iloc[0]
    tested = table[
        (table["dataset"] == key["dataset"]) & (table["pipeline"] == key["pipeline"])
        & (table["condition"] == key["condition"]) & (table["seed"] == key["seed"])
        & table["subject"].isin(people.loc[first, "subject"])
    ]  # fmt: skip
    chance = chance_of(tested)
    return {
        "sd_seeds": float(seeds.std(ddof=1)) if len(seeds) > 1 and varied else np.nan,
        "n_seeds": people["seed"].nunique(),
        "chance": chance.level,
        "uniform": chance.uniform,
        "chance_upper": chance.upper,
        "n_above": int((own["score"] > own["chance_upper"]).sum()),
    }


def chance_of(tested: pd.DataFrame) -> ChanceLevel:
    """Chance level of the mean over people; `tested` are the rows of one pipeline, condition and seed."""
    parts = [_pooled(tuple(part["test_counts"])) for _, part in tested.groupby("subject", sort=False)]
    return mean_chance_level(parts, str(tested["metric"].iloc[0]))


def _pooled(counts: tuple[str, ...]) -> dict[str, int]:
    total: dict[str, int] = {}
    for text in counts:
        for name, number in json.loads(text).items():
            total[name] = total.get(name, 0) + number
    return total


def _others(conditions: Iterable[str]) -> list[str]:
    """What is there to be compared with learning within a person."""
    there = set(conditions)
    return [name for name in CONDITIONS[1:] if name in there and "within" in there]


def _effects_by_seed(people: pd.DataFrame) -> dict[tuple, float]:
    keys = ["dataset", "pipeline", "seed", "subject"]
    wide = people.set_index([*keys, "condition"])["score"].unstack("condition")
    found = {}
    for condition in _others(wide.columns):
        effect = (wide[condition] - wide["within"]).dropna().groupby(level=["dataset", "pipeline", "seed"]).mean()
        for key, values in effect.groupby(level=["dataset", "pipeline"]):
            found[(*key, condition)] = float(values.std(ddof=1)) if len(values) > 1 else np.nan
    return found


def _against_within(pair: pd.Series, dataset: str, pipeline: str, condition: str) -> dict[str, object]:
    """`compare` puts the higher mean first; here it is always the condition minus learning within."""
    row: dict[str, object] = {"dataset": dataset, "pipeline": pipeline, "condition": condition}
    row |= {name: pair[name] for name in ("n", "p", "p_wilcoxon", "p_minimum", "note")}
    turned = pair["pipeline_a"] == "within"
    sign = -1.0 if turned else 1.0
    row |= {name: sign * pair[name] for name in ("difference", "effect_size", "rank_biserial")}
    low, high = (pair["ci_high"], pair["ci_low"]) if turned else (pair["ci_low"], pair["ci_high"])
    row |= {"ci_low": sign * low, "ci_high": sign * high}
    means = (pair["mean_a"], pair["mean_b"]) if turned else (pair["mean_b"], pair["mean_a"])
    return {**row, "mean_within": means[0], "mean_condition": means[1]}
