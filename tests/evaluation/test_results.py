"""`Results`: kept whole on disk, summarised, compared, drawn."""

import json

import numpy as np
import pandas as pd
import pytest

from neurosig.core.errors import InputError, StorageError
from neurosig.evaluation.benchmark import benchmark
from neurosig.evaluation.cautions import cautions
from neurosig.evaluation.results import Results, stored_run_key


@pytest.fixture
def results(toy, log_variance_lda):
    from sklearn.dummy import DummyClassifier

    return benchmark({"LogVar+LDA": log_variance_lda, "Chance": DummyClassifier()}, toy(n_subjects=4))


def test_what_is_saved_is_read_back_to_the_last_digit(results, tmp_path):
    results.table.loc[0, ["score", "error"]] = [np.nan, 'ValueError: "odd", text']
    results.table.loc[1, "score"] = 0.1 + 0.2
    results.save(tmp_path)
    again = Results.load(tmp_path)
    pd.testing.assert_frame_equal(results.table, again.table, check_dtype=False, check_exact=True)
    pd.testing.assert_frame_equal(results.folds, again.folds, check_dtype=False, check_exact=True)
    assert again.meta == json.loads(json.dumps(results.meta))
    assert again.table["subject"].tolist() == results.table["subject"].tolist()  # names stay names, "01" is not 1


def test_damage_is_noticed(results, tmp_path):
    with pytest.raises(StorageError, match=r"holds no results: expected results.json"):
        Results.load(tmp_path)
    results.save(tmp_path)
    assert stored_run_key(tmp_path) == results.meta["run_key"]
    table = tmp_path / "results.csv"
    table.write_text(table.read_text().replace("0.5", "0.6", 1))
    with pytest.raises(
        StorageError, match=r"results.csv is not the file that results.json beside it describes; run the benchmark"
    ):
        Results.load(tmp_path)
    table.unlink()
    with pytest.raises(StorageError, match=r"cannot read .*results.csv"):
        Results.load(tmp_path)
    (tmp_path / "results.json").write_text("{")
    assert stored_run_key(tmp_path) is None


def test_a_report_of_other_results_does_not_stay(results, tmp_path):
    results.save(tmp_path)
    report = tmp_path / "report.html"
    report.write_text("of these")
    results.save(tmp_path)
    assert report.exists()
    results.table.loc[0, "score"] = 0.123
    results.save(tmp_path)
    assert not report.exists()


def test_a_place_that_cannot_be_written_is_told_before_any_work(toy, log_variance_lda, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"is a file, not a folder|a file of that name is in the way"):
        benchmark({"a": log_variance_lda}, toy(), out=tmp_path / "file" / "out")


def test_ranking_and_comparison_are_over_subjects(results):
    ranking = results.summary()
    assert ranking["pipeline"].tolist() == ["LogVar+LDA", "Chance"]
    by_subject = results.table[results.table["pipeline"] == "LogVar+LDA"].groupby("subject")["score"].mean()
    assert ranking["mean"].iloc[0] == pytest.approx(by_subject.mean())
    assert ranking["n"].iloc[0] == 4
    assert results.compare()["n"].tolist() == [4]
    assert results.compare()["family"].tolist() == ["chance"]
    for card in results.meta["pipelines"]:  # as results stored by an earlier version have it
        del card["kind"]
    assert results.compare()["family"].tolist() == ["chance"]


def test_the_figure_shows_every_subject(results):
    axes = results.plot().axes[0]
    shown = [text.get_text() for text in axes.texts]
    assert shown.index("LogVar+LDA") < shown.index("Chance") and "ROC AUC" in axes.get_xlabel()
    drawn = np.concatenate([line.get_xdata() for line in axes.lines if line.get_marker() == "o"])
    np.testing.assert_allclose(np.sort(drawn), np.sort(results.table["score"]))
    results.table["score"] = np.nan
    with pytest.raises(InputError, match=r"no score to draw: all 8 rows failed; see Results.failed"):
        results.plot()


def test_shown_in_a_notebook(results):
    assert repr(results) == "<Results: 2 pipelines, 1 dataset, 4 subjects>"
    html = results._repr_html_()
    assert "&lt;Results" in html and "LogVar+LDA" in html


@pytest.mark.parametrize(("n_subjects", "told"), [(1, True), (40, False)])
def test_scores_below_chance_are_judged_against_all_that_were_looked_at(n_subjects, told):
    from scipy import stats

    n = 45
    upper = 0.5 + stats.norm.ppf(0.95) * 0.5 / np.sqrt(n)  # accuracy of guessing on 45 trials
    table = pd.DataFrame({
        "dataset": "d", "pipeline": "TS+LR", "subject": [str(i) for i in range(n_subjects)], "score": 0.5,
        "chance": 0.5, "chance_upper": upper, "folds": "run", "error": "",
    })  # fmt: skip
    table.loc[0, "score"] = 0.35  # p = 0.022: one look of one, and nothing of 40
    lines = [line for line in cautions(table, {}) if "guessing" in line]
    assert len(lines) == told
    if told:
        assert lines[0].startswith("d: TS+LR: subject 0 scored below what guessing gives")
        assert "in equal numbers" in lines[0] and "swapped" not in lines[0]
    table.loc[0, "score"] = 0.2  # p < 1e-4
    assert any("subject 0 scored below" in line for line in cautions(table, {}))
