"""What a benchmark's tables say in words: the headline, what not to conclude, and the warnings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neurosig.evaluation.cards import dummies_of
from neurosig.evaluation.cautions import FEW_FOLDS, FEW_SUBJECTS, IMBALANCE
from neurosig.evaluation.verdict import above_chance, chance_verdict, tied_with_first
from neurosig.reports.drawing import metric_label, unit_of
from neurosig.reports.page import format_number, format_p

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ALPHA", "Finding", "Notice", "against_chance", "find", "glossary", "imbalance", "warn"]

ALPHA = 0.05


@dataclass(frozen=True)
class Finding:
    """The headline of one dataset: a sentence, what supports it, and what not to conclude from it."""

    dataset: str
    sentence: str
    support: tuple[str, ...]
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class Notice:
    """A warning and the part of the page it belongs to (`place`); `level` is "note" or "warning"."""

    place: str
    level: str
    title: str
    text: str


def find(dataset: str, summary: pd.DataFrame, pairs: pd.DataFrame, meta: Mapping[str, Any], metric: str) -> Finding:
    """Say which pipeline leads on a dataset, by how much, whether that is supported, and what not to conclude.

    Parameters
    ----------
    dataset : str
        Name of the dataset.
    summary : DataFrame
        Its rows of the ranking, best first; failed pipelines have no mean.
    pairs : DataFrame
        Its paired comparisons.
    meta : dict
        The results' metadata.
    metric : str
        Name of the score.
    """
    scored = summary[summary["mean"].notna()]
    label = metric_label(metric)
    if scored.empty:
        return Finding(
            dataset,
            f"None of the {len(summary)} pipelines could be scored on {dataset}."
            if len(summary) > 1
            else f"{summary['pipeline'].iloc[0]}, the only pipeline, could not be scored on {dataset}.",
            (f"The {'reasons stand' if len(summary) > 1 else 'reason stands'} in the ranking below.",),
            ("Nothing can be concluded about any pipeline.",),
        )
    leader = scored.iloc[0]
    n = int(leader["n"])
    score = f"{label} {format_number(leader['mean'])}{_interval(leader)}, n = {_count(n, 'subject')}"
    support = [against_chance(leader)] if _known(leader["chance"]) else []
    if len(scored) == 1:
        sentence = f"{leader['pipeline']} reaches {score}; no other pipeline could be compared with it."
        if len(summary) == 1:
            sentence = f"{leader['pipeline']}, the only pipeline, reaches {score}."
        return Finding(dataset, sentence, tuple(support), _caveats(meta, n, compared=False))
    if (n_tied := tied_with_first(scored["mean"], metric)) > 1:
        sentence = _tie(scored, n_tied, score)
        support += [_behind(scored, pairs, n_tied)] if n_tied < len(scored) else []
        return Finding(dataset, sentence, tuple(support), _caveats(meta, n, compared=True))
    second = scored.iloc[1]
    gap = leader["mean"] - second["mean"]
    sentence = f"{leader['pipeline']} leads with {score}, {format_number(gap)} above {second['pipeline']}"
    row = _pair(pairs, leader["pipeline"], second["pipeline"])
    supported = row is not None and _known(row["p_corrected"]) and row["p_corrected"] < ALPHA
    if row is None or not _known(row["p_corrected"]):
        sentence += "; there are too few subjects for a paired test, so whether this difference is real stays open."
    else:
        verdict = "supported" if supported else "not supported"
        span = _interval(row, sign=True)
        sentence += (
            f"; that difference is {verdict} by the paired test (corrected p {_equals(row['p_corrected'])}, "
            f"n = {int(row['n'])}{span})."
        )
        support.append(_equals_of(scored, pairs, leader["pipeline"]))
    return Finding(dataset, sentence, tuple(support), _caveats(meta, n, compared=True, supported=supported))


def warn(table: pd.DataFrame, summary: pd.DataFrame, meta: Mapping[str, Any], metric: str) -> list[Notice]:
    """All warnings about one dataset's results, each with the part of the page where it matters.

    Parameters
    ----------
    table : DataFrame
        Tidy results, a row per subject, session and pipeline.
    summary : DataFrame
        The ranking.
    meta : dict
        The results' metadata.
    metric : str
        Name of the score.
    """
    notices: list[Notice] = []
    scored = table[table["score"].notna()]
    unit = unit_of(table)
    n = scored["subject"].nunique()
    if unit != "subject":
        notices += _of_folds(unit, n)
    elif n == 1:
        notices.append(
            Notice(
                "headline",
                "warning",
                "One subject.",
                "There is no spread over subjects, hence no interval and "
                "no test: these scores describe one person and cannot rank pipelines.",
            )
        )
    elif 1 < n < FEW_SUBJECTS:
        smallest = 2 / 2**n
        power = (
            f"A paired permutation test over {n} subjects cannot give p below {smallest:.3f} before correction. "
            if smallest > ALPHA / 10
            else ""
        )
        notices.append(
            Notice(
                "headline",
                "warning",
                f"Few subjects (n = {n}).",
                f"{power}Intervals are wide and the order may change with other subjects.",
            )
        )
    if "shuffled" in set(table.get("folds", ())):
        notices.append(
            Notice(
                "headline",
                "warning",
                "Shuffled folds.",
                "Neighbouring trials of one run lie in training and in "
                "test; slow drifts then help the decoder and scores come out too high. Prefer run-wise folds.",
            )
        )
    notices += _failures(table)
    notices += _weak_pipelines(summary[~summary["pipeline"].isin(dummies_of(meta))])
    leaders = summary[summary["mean"].notna()]
    if len(leaders):
        leader = leaders.iloc[0]
        notices += _weak_subjects(scored[scored["pipeline"] == leader["pipeline"]], leader, unit)
    return notices


def imbalance(counts: Mapping[str, float], metric: str) -> Notice | None:
    """A warning where one class is much more frequent than another, in words that fit the metric."""
    values = [value for value in counts.values() if value]
    if len(values) < 2 or max(values) / min(values) < IMBALANCE:
        return None
    ratio = f"The most frequent class has {max(values) / min(values):.1f} times as many trials as the rarest."
    meaning = (
        "Always naming the frequent class already scores "
        f"{format_number(max(values) / sum(values))}: read accuracy against that."
        if metric == "accuracy"
        else f"{metric_label(metric)} does not reward naming the frequent class."
    )
    return Notice(
        "datasets", "warning" if metric == "accuracy" else "note", "Classes are unbalanced.", f"{ratio} {meaning}"
    )


def glossary(metric: str, unit: str = "subject") -> list[tuple[str, str]]:
    """One line per term of the page, for a reader who does not do statistics every day.

    Parameters
    ----------
    metric : str
        Name of the score.
    unit : {"subject", "fold", "site"}
        What a score is of.
    """
    meanings = {
        "accuracy": "the share of trials named correctly",
        "balanced_accuracy": "the share of trials named correctly, averaged over classes: a rare class counts as much",
        "roc_auc": "how often a trial of one class gets a higher value than one of the other; 0.5 is guessing",
    }
    return [
        (
            metric_label(metric),
            meanings.get(metric, "how well the predictions agree with the labels; higher is better"),
        ),
        ("Pipeline", "all steps from the signal to the decision, learned anew in every fold"),
        ("Fold", "one split into trials to learn from and trials to test on; a test trial is never learned from"),
        ("n", "number of subjects; trials of one person are not independent, so they do not add to it"),
        *(_OF_SUBJECTS if unit == "subject" else _of_units(unit)),
        ("Chance", "what a decoder that ignores the signals scores on average"),
        (
            "Chance bound",
            "what such a decoder exceeds only 5 % of the time in one session, given its number of trials"
            if unit == "subject"
            else f"what such a decoder exceeds only 5 % of the time in one {unit}, given its number of people",
        ),
        (
            "Corrected p",
            "probability of a difference at least this large if the pipelines were equal, made stricter for the "
            "number of pairs looked at (Holm); pairs with a dummy, which ignores the signals, count by themselves",
        ),
        *([_EFFECT_SIZE] if unit == "subject" else []),
    ]


_EFFECT_SIZE = (
    "Effect size",
    "the mean paired difference in units of its standard deviation; 0.2 is small, 0.8 large",
)


_OF_SUBJECTS = [
    ("SD", "standard deviation over subjects: how much people differ; where it says so, over one person's folds"),
    ("95 % interval (CI)", "where the mean over subjects plausibly lies, given this sample of people"),
    ("Paired test", "compares two pipelines subject by subject, so that differences between people cancel"),
]


def _of_units(unit: str) -> list[tuple[str, str]]:
    return [
        ("SD", f"standard deviation over {unit}s, each of which is scored by all its people together"),
        (
            "95 % interval (CI)",
            f"where the score of such a pipeline plausibly lies; wider than the spread over {unit}s alone would have "
            "it, because their models share most of what they learned from (Nadeau and Bengio's correction)",
        ),
        ("Paired test", f"compares two pipelines {unit} by {unit}, corrected in the same way"),
    ]


def _of_folds(unit: str, n: int) -> Iterable[Notice]:
    if n == 1:
        yield Notice(
            "headline", "warning", f"One {unit}.", f"There is no spread over {unit}s, hence no interval and no test."
        )
    elif 1 < n < FEW_FOLDS:
        yield Notice(
            "headline", "warning", f"Few {unit}s ({n}).", f"Intervals and tests rest on the spread over {n} scores."
        )


def _failures(table: pd.DataFrame) -> Iterable[Notice]:
    failed = table[table["score"].isna()]
    for pipeline, rows in failed.groupby("pipeline", sort=False):
        total = (table["pipeline"] == pipeline).sum()
        every = (
            "everywhere"
            if len(rows) == total
            else f"in {len(rows)} of {total} sessions; its mean is over the others only"
        )
        reasons = list(dict.fromkeys(str(reason) for reason in rows["error"] if reason)) or ["no reason was recorded"]
        more = f" (and {_count(len(reasons) - 1, 'other reason')})" if len(reasons) > 1 else ""
        yield Notice("ranking", "warning", f"{pipeline} failed {every}.", f"{reasons[0]}{more}")


def _weak_pipelines(summary: pd.DataFrame) -> Iterable[Notice]:
    for _, row in summary.iterrows():
        verdict = chance_verdict(row)
        if verdict == "not above":
            yield Notice(
                "ranking",
                "note",
                f"{row['pipeline']} is not above chance.",
                f"Its mean of {format_number(row['mean'])} lies at or below {format_number(row['chance'])}.",
            )
        elif verdict == "open":
            yield Notice(
                "ranking",
                "note",
                f"{row['pipeline']} is not clearly above chance.",
                f"Its mean of {format_number(row['mean'])} lies above {format_number(row['chance'])}, but "
                f"{_reaching(row)}.",
            )


def _reaching(row: Any) -> str:
    """Why a mean above chance is not enough."""
    if _known(row.get("ci_low")):
        return f"its interval begins at {format_number(row['ci_low'])}"
    if _known(row.get("chance_upper")):
        return f"guessing may reach {format_number(row['chance_upper'])} on so few trials"
    return "there is no interval to judge it by"


def _weak_subjects(rows: pd.DataFrame, leader: pd.Series, unit: str = "subject") -> Iterable[Notice]:
    pipeline = leader["pipeline"]
    one = "session" if unit == "subject" else unit
    mean = (
        f" Few trials make that bound high: the mean over all {unit}s is above chance nevertheless."
        if above_chance(leader)
        else ""
    )
    people = rows.groupby("subject", sort=False)[["score", "chance", "chance_upper"]].mean()
    n = len(people)
    inside = people[people["score"] <= people["chance_upper"]]
    if len(inside):
        yield Notice(
            "subjects",
            "note",
            f"{len(inside)} of {_count(n, unit)} within chance{' when looked at alone' if mean else ''}.",
            f"With {pipeline}, {f'this {unit} does' if len(inside) == 1 else f'these {unit}s do'} not exceed the "
            f"chance bound of a single {one}: {_names(inside.index)}.{mean}",
        )
    below = people[people["score"] < 2 * people["chance"] - people["chance_upper"]]
    if len(below):
        yield Notice(
            "subjects",
            "warning",
            f"{_count(len(below), unit)} clearly below chance.",
            f"{_names(below.index)}: on few trials a decoder that learned nothing can land this low, because the "
            "classes left for training mirror those held out; it is no evidence of signal. Check the labels if it "
            "recurs.",
        )


def against_chance(leader: pd.Series, name: str = "the leader") -> str:
    """How a mean, with its interval, compares with guessing, in a sentence."""
    verdict = chance_verdict(leader)
    interval = _known(leader.get("ci_low"))
    clear = "and its whole interval is above it" if interval else "beyond what guessing may reach"
    said = {
        "above": f"is above chance, {clear}",
        "open": f"is not clearly above chance: {'its interval reaches it' if interval else _reaching(leader)}",
    }.get(verdict, "is not above chance")
    return f"Guessing scores {format_number(leader['chance'])}: {name} {said}."


def _tie(scored: pd.DataFrame, n_tied: int, score: str) -> str:
    """That several pipelines share the first place, and why one of them is named first."""
    names = list(scored["pipeline"].iloc[:n_tied])
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{listed} are equal: {names[0]}, the {_simplest(scored.iloc[:n_tied])} of them, has {score}."


def _simplest(tied: pd.DataFrame) -> str:
    for column, word in (("parameters", "smallest"), ("seconds", "quickest to fit")):
        if column in tied and _known(tied[column].iloc[0]) and tied[column].iloc[0] < tied[column].iloc[1]:
            return word
    return "first"


def _behind(scored: pd.DataFrame, pairs: pd.DataFrame, n_tied: int) -> str:
    """What the first pipeline of a tie leaves behind."""
    first, next_one = scored.iloc[0], scored.iloc[n_tied]
    row = _pair(pairs, first["pipeline"], next_one["pipeline"])
    p = None if row is None else row["p_corrected"]
    verdict = (
        "" if p is None or p != p else f", which is {'supported' if p < ALPHA else 'not supported'} by the paired test"
    )
    gap = format_number(first["mean"] - next_one["mean"])
    return f"{next_one['pipeline']} follows, {gap} below{verdict}."


def _equals_of(scored: pd.DataFrame, pairs: pd.DataFrame, leader: str) -> str:
    others = [name for name in scored["pipeline"] if name != leader]
    open_ = []
    for name in others:
        row = _pair(pairs, leader, name)
        if row is None or not _known(row["p_corrected"]) or row["p_corrected"] >= ALPHA:
            open_.append(name)
    if not open_:
        return "Its lead over every other pipeline is supported."
    if len(open_) == len(others):
        return "Its lead over no other pipeline is supported: all remain candidates."
    return f"Not told apart from it at p < {ALPHA}: {', '.join(open_)}."


def _caveats(meta: Mapping[str, Any], n: int, *, compared: bool, supported: bool = False) -> tuple[str, ...]:
    lines = {
        "within_session": "Training and test come from one session of one person: nothing is said about a new day "
        "or a new person.",
        "cross_session": "Training and test are other days of the same people: nothing is said about a new person.",
        "cross_subject": "Test subjects were not learned from, but share its equipment, task and kind of people.",
        "cross_site": "Test sites were not learned from, but other sites may differ more than these from one another.",
    }
    caveats = [lines[kind]] if (kind := meta.get("evaluation")) in lines else []
    caveats.append(
        f"The interval speaks of people like these {n}, not of {_others(meta)}."
        if n > 1
        else "One person says nothing about others."
    )
    if compared and not supported:
        caveats.append("“Not supported” does not mean equal: this comparison can miss a real difference.")
    if compared:
        caveats.append("A leader picked after looking is flattered by luck; confirm its score on data not used here.")
    return tuple(caveats)


def _others(meta: Mapping[str, Any]) -> str:
    if any(card.get("modality") == "fmri" for card in meta.get("datasets", ())):
        if meta.get("evaluation") == "cross_site":
            return "other conditions, other tasks or other kinds of scanners"
        return "other conditions, other tasks or other scanners"
    return "patients, other tasks or other devices"


def _pair(pairs: pd.DataFrame, first: str, second: str) -> dict[str, Any] | None:
    for a, b, sign in ((first, second, 1), (second, first, -1)):
        rows = pairs[(pairs["pipeline_a"] == a) & (pairs["pipeline_b"] == b)]
        if len(rows):
            row: dict[str, Any] = rows.iloc[0].to_dict()
            if sign < 0:
                row["difference"], row["ci_low"], row["ci_high"] = -row["difference"], -row["ci_high"], -row["ci_low"]
                row["effect_size"] = -row["effect_size"]
            return row
    return None


def _interval(row: Any, sign: bool = False) -> str:
    if not (_known(row["ci_low"]) and _known(row["ci_high"])):
        return ""
    inside = f"95 % CI {format_number(row['ci_low'], sign=sign)} to {format_number(row['ci_high'], sign=sign)}"
    return f", {inside}" if sign else f" ({inside})"


def _equals(p: float) -> str:
    text = format_p(p)
    return text if text.startswith("<") else f"= {text}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _names(values: Iterable[Any], most: int = 12) -> str:
    names = [str(value) for value in values]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _known(value: Any) -> bool:
    return value is not None and value == value
