"""The benchmark page: its structure, its numbers, its words; and that hostile or poor results do not break it."""

import base64
import io
import itertools
import re

import numpy as np
import pandas as pd
import pytest
from outline import Outline

from neurosig.core.errors import StorageError
from neurosig.reports.benchmark import write_benchmark_report


@pytest.fixture
def write(tmp_path):
    def page(results):
        return write_benchmark_report(results, tmp_path / "report.html").read_text(encoding="utf-8")

    return page


def test_page_is_well_formed_and_ordered(write, results):
    text = write(results)
    page = Outline(text)
    assert page.unordered == [] and page.stack == []
    assert len(page.ids) == len(set(page.ids))
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    figures = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(figures) == 3 and all(attrs["role"] == "img" and "ROC AUC" in attrs["aria-label"] for attrs in figures)
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")
    assert len(text) < 400_000


def test_page_asks_for_nothing_from_outside(write, results):
    text = write(results)
    page = Outline(text)
    for tag, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
    assert not re.search(r"@import|url\((?!#)", text)
    (policy,) = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")


def test_ranking_numbers_are_the_summary_s(write, results):
    ranking = Outline(write(results)).tables[0]
    expected = results.summary().dropna(subset="mean").sort_values("mean", ascending=False)
    assert [row[0] for row in ranking[1:]] == [*expected["pipeline"], "XdawnCov + TS + SVM"]
    for cells, row in zip(ranking[1:], expected.itertuples(), strict=False):
        assert cells[1] == f"{row.mean:.3f}"
        assert cells[2] == f"{row.ci_low:.3f} to {row.ci_high:.3f}"
        assert cells[3] == f"{row.sd:.3f}"
        assert cells[4] == str(row.n)
        assert cells[5] == "0.500 (0.605)"


def test_subject_scores_are_the_table_s(write, results):
    rows = Outline(write(results)).tables[2]
    head = rows[0]
    assert len(rows) == 1 + 12 * 2
    for cells in rows[1:]:
        here = results.table[(results.table["subject"] == cells[0]) & (results.table["session"] == cells[1])]
        scores = here.set_index("pipeline")["score"]
        for name, cell in zip(head[2:7], cells[2:7], strict=True):
            assert cell == f"{scores[name]:.3f}"


def test_matrix_is_antisymmetric_and_holds_the_comparisons(write, results):
    matrix = Outline(write(results)).tables[1]
    names = [row[0].split(". ", 1)[1] for row in matrix[1:]]
    for pair in results.compare().dropna(subset="difference").itertuples():
        i, j = names.index(pair.pipeline_a) + 1, names.index(pair.pipeline_b) + 1
        for (row, column), sign in (((i, j), 1), ((j, i), -1)):
            expected = f"{sign * pair.difference:+.3f}".replace("-", "−")
            assert matrix[row][column].startswith(expected)


def test_download_holds_the_whole_table(write, results):
    (link,) = [link for link in Outline(write(results)).links if link.startswith("data:text/csv")]
    read = pd.read_csv(
        io.BytesIO(base64.b64decode(link.split(",")[1])), dtype={"subject": str, "session": str, "version": str}
    )
    assert list(read.columns) == list(results.table.columns)
    np.testing.assert_allclose(read["score"], results.table["score"], rtol=1e-12)


def test_n_counts_subjects_everywhere(write, results):
    words = Outline(write(results)).words
    assert set(re.findall(r"n = (\d+)", words)) == {"12"}


def test_headline_says_who_leads_and_whether_it_is_supported(write, make):
    page = Outline(write(make(strength={"Strong": 0.3, "Weak": 0.1})))
    assert "Strong leads with ROC AUC" in page.words and "is supported by the paired test" in page.words
    assert "Its lead over every other pipeline is supported." in page.words
    page = Outline(write(make(strength={"One": 0.2, "Other": 0.2})))
    assert "is not supported by the paired test" in page.words
    assert "does not mean equal" in page.words
    assert "nothing is said about a new day" in page.words


def test_a_tie_is_told_as_one_and_the_simplest_stands_first(write, make):
    results = make(strength={"Slow": 0.3, "Small": 0.3, "Worse": 0.1})
    scores = results.table.loc[results.table["pipeline"] == "Slow", "score"].to_numpy()
    small = results.table["pipeline"] == "Small"
    results.table.loc[small, "score"] = scores
    results.table.loc[small, "n_parameters"] = 1
    page = Outline(write(results))
    assert "Small and Slow are equal: Small, the smallest of them, has ROC AUC" in page.words
    assert "leads" not in page.words and "0.000 above" not in page.words
    assert re.search(r"Worse follows, 0\.\d+ below, which is supported by the paired test\.", page.words)
    assert [row[0] for row in page.tables[0][1:]] == ["Small", "Slow", "Worse"]


def test_what_is_said_of_chance_agrees(write, make):
    """The mean by its interval, and single subjects by their own bound, as two statements that fit together."""
    results = make(strength={"Some": 0.09})
    results.table["chance_upper"] = 0.7
    words = Outline(write(results)).words
    assert "the leader is above chance, and its whole interval is above it" in words
    assert "within chance when looked at alone" in words and "is above chance nevertheless" in words
    results.table["score"] = np.where(results.table["subject"].astype(int) % 2, 0.2, 0.9)
    words = Outline(write(results)).words
    assert "is not clearly above chance: its interval reaches it" in words
    assert "Some is not clearly above chance." in words and "nevertheless" not in words


def test_failures_and_chance_are_told(write, results):
    words = Outline(write(results)).words
    assert "XdawnCov + TS + SVM failed everywhere." in words
    assert "Xdawn needs an event-related response" in words
    assert "Always left is not above chance." in words


def test_partial_failure_says_how_often(write, results):
    broken = (results.table["pipeline"] == "MDM") & (results.table["subject"] == "3")
    results.table.loc[broken, "score"] = np.nan
    results.table.loc[broken, "error"] = "ValueError: covariance is singular"
    words = Outline(write(results)).words
    assert "MDM failed in 2 of 24 sessions" in words and "covariance is singular" in words


def test_shuffled_folds_and_few_subjects_are_warned_of(write, make):
    results = make(n_subjects=4)
    results.table["folds"] = "shuffled"
    words = Outline(write(results)).words
    assert "Shuffled folds." in words and "Few subjects (n = 4)." in words and "below 0.125" in words


def test_unbalanced_classes_are_told_on_the_card(write, make):
    results = make(metric="accuracy")
    results.meta["datasets"][0]["classes"] = {"target": 100, "nontarget": 500}
    words = Outline(write(results)).words
    assert "Classes are unbalanced." in words and "5.0 times" in words and "0.833" in words


def test_subjects_below_chance_are_named(write, make):
    results = make(strength={"A": 0.2, "B": 0.1})
    results.table.loc[results.table["subject"] == "5", "score"] = 0.2
    words = Outline(write(results)).words
    assert "1 subject clearly below chance." in words and "it is no evidence of signal" in words


def test_several_datasets_have_a_panel_each(write, make):
    page = Outline(write(make(datasets=("Alpha-1", "Beta-2"))))
    assert [text for level, text in page.headings if text.startswith("Ranking on")] == [
        "Ranking on Alpha-1",
        "Ranking on Beta-2",
    ]
    assert len(page.ids) == len(set(page.ids))
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 6


def test_one_subject(write, make):
    words = Outline(write(make(n_subjects=1, n_sessions=1))).words
    assert "One subject." in words and "too few subjects for a paired test" in words


def test_single_pipeline(write, make):
    page = Outline(write(make(strength={"Alone": 0.2})))
    assert "Alone, the only pipeline, reaches" in page.words
    assert "Paired comparisons" not in page.words


def test_all_failed(write, make):
    page = Outline(write(make(strength={"A": None, "B": None})))
    assert "None of the 2 pipelines could be scored" in page.words
    assert page.unordered == []


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "$\\frac{a", "a -- b & c's", "]]>"]
)
def test_hostile_names_are_text(write, make, name):
    results = make(rename={"TS + LR": name, "XdawnCov + TS + SVM": name + "2"})
    results.meta["datasets"][0]["title"] = name
    results.meta["command"] = name
    text = write(results)
    page = Outline(text)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not [tag for tag, attrs in page.tags if tag == "img" or any(key.startswith("on") for key in attrs)]
    assert page.unordered == []
    assert name in page.words


def test_equal_results_give_equal_bytes(tmp_path, make):
    pages = [write_benchmark_report(make(), tmp_path / f"{number}.html").read_bytes() for number in range(2)]
    assert pages[0] == pages[1]


def test_results_are_left_as_they_were(write, results):
    before = results.table.copy()
    write(results)
    pd.testing.assert_frame_equal(results.table, before)


def test_unwritable_place_is_one_line(tmp_path, results):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write .* choose another name"):
        write_benchmark_report(results, blocked / "report.html")
    assert list(tmp_path.iterdir()) == [blocked]


def test_a_dummy_is_not_told_that_it_is_at_chance(write, results):
    for card in results.meta["pipelines"]:
        if card["name"] == "Always left":
            card["steps"] = ["DummyClassifier(strategy='prior')"]
    assert "is not above chance." not in Outline(write(results)).words


def test_people_are_counted_per_dataset(write, make):
    words = Outline(write(make(n_subjects=3, datasets=("Alpha-1", "Beta-2")))).words
    assert "n = 3 subjects (Alpha-1), 3 subjects (Beta-2)" in words


def test_one_is_singular(write, make):
    words = Outline(write(make(n_subjects=1, n_sessions=1, strength={"A": 0.2}))).words
    assert "n = 1 subject" in words and "(1 row)" in words
    assert not re.search(r"\b1 (rows|subjects|pipelines|trials|scores)\b", words)
    failed = Outline(write(make(strength={"A": None}))).words
    assert "A, the only pipeline, could not be scored" in failed and "The reason stands" in failed
