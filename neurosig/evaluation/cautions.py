"""What to keep in mind when reading a table of scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["cautions"]

FEW_SUBJECTS = 10
FEW_FOLDS = 4
IMBALANCE = 2.0


def cautions(table: pd.DataFrame, meta: Mapping[str, Any]) -> list[str]:
    """One line for each reason to doubt: few subjects, failures, scores below chance, shuffled folds, imbalance.

    Parameters
    ----------
    table : DataFrame
        `Results.table`.
    meta : dict
        `Results.meta`; its dataset cards hold the trials a class.
    """
    lines = []
    for name, rows in table.groupby("dataset", sort=False):
        lines += [f"{name}: {line}" for line in _of_dataset(rows)]
    for card in meta.get("datasets", ()):
        counts = [count for count in (card.get("classes") or {}).values() if count]
        if len(counts) > 1 and max(counts) / min(counts) >= IMBALANCE:
            ratio = max(counts) / min(counts)
            lines.append(
                f"{card['name']}: classes are imbalanced, the most frequent one is {ratio:.1f} times the rarest"
            )
    return lines


def _of_dataset(table: pd.DataFrame) -> Iterator[str]:
    scored = table[table["score"].notna()]
    if "tested" in table and (table["tested"] != "subject").any():
        yield from _of_folds(scored)
        n_subjects = int(scored.groupby("pipeline")["n_subjects"].sum().max()) if len(scored) else 0
    else:
        n_subjects = scored["subject"].nunique()
    if 0 < n_subjects < FEW_SUBJECTS:
        yield f"few subjects (n = {n_subjects}), so intervals are wide and differences between pipelines uncertain"
    failed = table[table["score"].isna()]
    for pipeline, rows in failed.groupby("pipeline", sort=False):
        total = int((table["pipeline"] == pipeline).sum())
        yield f"{pipeline} failed in {len(rows)} of {total} rows: {rows['error'].iloc[0]}"
    yield from _below_chance(scored)
    if "shuffled" in set(table["folds"]):
        yield "shuffled folds put neighbouring trials into training and test: scores come out too high"


def _of_folds(scored: pd.DataFrame) -> Iterator[str]:
    n_folds = scored["subject"].nunique()
    unit = str(scored["tested"].iloc[0]) if len(scored) else "fold"
    if 0 < n_folds < FEW_FOLDS:
        yield (
            f"{n_folds} {unit}{'' if n_folds == 1 else 's'} only: intervals and tests rest on the spread over so few "
            f"scores"
        )


def _below_chance(scored: pd.DataFrame) -> Iterator[str]:
    """Scores that guessing would give in less than 5 % of tables of this size."""
    people = scored.groupby(["pipeline", "subject"], sort=False)[["score", "chance", "chance_upper"]].mean()
    if people.empty:
        return
    normal = NormalDist()
    # chance_upper is the bound of one look at 5 %; the deviation that it stands for gives the bound of all the looks
    deviation = (people["chance_upper"] - people["chance"]) / normal.inv_cdf(0.95)
    lower = people["chance"] + normal.inv_cdf(0.05 / len(people)) * deviation
    for pipeline, found in people[people["score"] < lower].groupby(level="pipeline", sort=False):
        subjects = found.index.get_level_values("subject")
        unit = str(scored["tested"].iloc[0]) if "tested" in scored else "subject"
        names = ", ".join(map(str, subjects))
        yield (
            f"{pipeline}: {unit}{'' if len(subjects) == 1 else 's'} {names} scored below what guessing gives, by more "
            f"than chance explains over the {len(people)} scores looked at; folds that leave out few trials lean that "
            "way, so check first whether each run holds all classes in equal numbers, then whether events are named "
            "alike in all runs"
        )
