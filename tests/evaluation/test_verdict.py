"""One rule for "above chance" and for equal scores."""

import numpy as np
import pandas as pd
import pytest

from neurosig.evaluation.statistics import summarize
from neurosig.evaluation.verdict import above_chance, best_first, chance_verdict, tied_with_first


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"mean": 0.7, "chance": 0.5, "ci_low": 0.55, "chance_upper": 0.8}, "above"),  # the interval decides
        ({"mean": 0.55, "chance": 0.5, "ci_low": 0.0}, "open"),
        ({"mean": 0.7, "chance": 0.5, "ci_low": np.nan, "chance_upper": 0.6}, "above"),
        ({"mean": 0.55, "chance": 0.5, "ci_low": np.nan, "chance_upper": 0.6}, "open"),
        ({"mean": 0.55, "chance": 0.5}, "open"),  # nothing to judge it by
        ({"mean": 0.5, "chance": 0.5, "ci_low": 0.5}, "not above"),
        ({"mean": np.nan, "chance": 0.5}, "unknown"),
        ({"mean": 0.5, "chance": None}, "unknown"),
    ],
)
def test_verdict(row, expected):
    assert chance_verdict(row) == chance_verdict(pd.Series(row)) == expected
    assert above_chance(row) is (expected == "above")


def test_equal_scores_are_ordered_by_what_they_cost():
    rows = pd.DataFrame({
        "pipeline": ["slow", "failed", "small", "quick", "best"],
        "mean": [0.8004, np.nan, 0.8, 0.8001, 0.9],
        "n_parameters": [200.0, np.nan, 100.0, 200.0, 900.0],
        "seconds_fit": [0.7, np.nan, 0.5, 0.1, 9.0],
    })  # fmt: skip
    assert list(best_first(rows)["pipeline"]) == ["best", "small", "quick", "slow", "failed"]
    # errors in the unit of the labels: no difference is too small
    by_error = best_first(rows, "neg_mean_absolute_error")
    assert list(by_error["pipeline"]) == ["best", "slow", "quick", "small", "failed"]
    assert tied_with_first([0.8004, 0.8, 0.7]) == 2 and tied_with_first([0.81, 0.8]) == 1
    assert tied_with_first([np.nan]) == 0


def test_summary_puts_the_cheaper_of_equal_pipelines_first():
    table = pd.DataFrame([
        {"dataset": "d", "evaluation": "within_session", "pipeline": name, "subject": who, "session": "0",
         "metric": "roc_auc", "score": 1.0, "n_parameters": n, "seconds_fit": seconds}
        for name, n, seconds in (("a", 500, 0.1), ("b", 100, 0.7), ("c", 100, 0.2)) for who in ("1", "2")
    ])  # fmt: skip
    summary = summarize(table)
    assert list(summary["pipeline"]) == ["c", "b", "a"] and "seconds_fit" not in summary
