"""Weights of connections as drawings, and the page of folds over people and sites."""

import re

import numpy as np
import pandas as pd
import pytest
from outline import Outline
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from neurosig.core.errors import InputError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.evaluation.benchmark import benchmark
from neurosig.evaluation.results import Results
from neurosig.preprocessing.connectivity import FunctionalConnectivity
from neurosig.reports.benchmark import write_benchmark_report
from neurosig.reports.connectome import connectome_pictures, matrix_of, plot_connectome, plot_edge_matrix, strongest

PLACES = np.array([[-40, 20, 10], [40, 20, 10], [-30, -60, 30], [30, -60, 30], [0, 50, 0], [0, -20, 60]], dtype=float)


@pytest.fixture(scope="module")
def found():
    """A study of 24 people at three sites, regions 0 and 1 of whom go together in patients."""
    rng = np.random.default_rng(0)
    rows, runs, y = [], [], []
    for person in range(24):
        run = rng.standard_normal((6, 40 + person))
        run[1] += 0.5 * (person % 2) * run[0]
        runs.append(run)
        y.append(["control", "patient"][person % 2])
        rows.append((f"p{person}", "0", "0", f"SITE{(person // 2) % 3}", 2.0))
    table = pd.DataFrame(rows, columns=["subject", "session", "run", "site", "t_r"])
    info = SignalSpec("fmri", tuple("ABCDEF"), unit="z", atlas="toy", positions=tuple(map(tuple, PLACES / 1000)))
    signals = SignalDataset(runs, np.array(y), table, info, name="cohort")
    given = {"FC+LR": make_pipeline(FunctionalConnectivity(), LogisticRegression()), "dummy": DummyClassifier()}
    return benchmark(given, signals, folds="site", progress=False)


def test_a_triangle_becomes_its_matrix():
    matrix = matrix_of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    np.testing.assert_array_equal(matrix, [[1, 2, 4], [2, 3, 5], [4, 5, 6]])
    with pytest.raises(InputError, match="got 5 weights"):
        matrix_of([1.0] * 5)


def test_the_strongest_edges_come_first():
    matrix = matrix_of([9.0, -3.0, 9.0, 2.0, 0.0, 9.0])
    assert strongest(matrix, 5) == [(1, 0), (2, 0)]
    assert strongest(matrix, 1) == [(1, 0)]


def test_the_matrix_is_drawn_with_its_weights_and_names():
    rng = np.random.default_rng(0)
    matrix = matrix_of(rng.standard_normal(21))
    figure = plot_edge_matrix(matrix, list("ABCDEF"))
    ax = figure.axes[0]
    np.testing.assert_allclose(ax.images[0].get_array(), matrix)
    assert [label.get_text() for label in ax.get_yticklabels()] == list("ABCDEF")
    low, high = ax.images[0].get_clim()
    assert high == -low == pytest.approx(np.abs(matrix).max())
    many = plot_edge_matrix(np.eye(40), [str(i) for i in range(40)])
    assert len(many.axes[0].get_yticks()) == 0 and "1 to 40" in many.axes[0].get_xlabel()


def test_the_glass_brain_shows_the_strongest_connections():
    matrix = matrix_of(np.arange(21.0) - 10)
    figure = plot_connectome(matrix, PLACES, n_edges=3)
    lines = [line for ax in figure.axes for line in ax.lines]
    assert len(figure.axes) >= 3 and lines
    with pytest.raises(InputError, match=r"positions of shape \(6, 3\), got \(5, 3\)"):
        plot_connectome(matrix, PLACES[:5])
    with pytest.raises(InputError, match="no connection has a weight"):
        plot_connectome(np.eye(6), PLACES)


def test_the_page_tells_sites_and_draws_the_connections(found, tmp_path):
    text = write_benchmark_report(found, tmp_path / "report.html").read_text(encoding="utf-8")
    page = Outline(text)
    assert page.unordered == [] and page.stack == [] and len(page.ids) == len(set(page.ids))
    words = " ".join(re.sub(r"<svg.*?</svg>|<[^>]+>", " ", text, flags=re.DOTALL).split())
    assert "Cross-site evaluation" in words and "n = 24 subjects" in words
    assert "ROC AUC of every site (3 rows)" in words and "Single sites" in words and "Single subjects" not in words
    assert "Few sites (3)" in words and "One subject" not in words
    assert "Subjects by site" in words and "SITE0: 8" in words and "Repetition time (s)" in words
    assert "41 to 63" not in words and "40 to 63" in words  # volumes
    scores = next(table for table in page.tables if table[0][0] == "Site")
    for cells, row in zip(scores[1:], found.table[found.table["pipeline"] == "FC+LR"].itertuples(), strict=True):
        assert cells[:2] == [row.subject, f"{row.score:.3f}"] and cells[-1] == "8"
    drawn = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg" and "weights" in attrs["aria-label"]]
    assert len(drawn) == 2 and all("B with A +" in label for label in drawn)  # the brain, and the matrix
    assert "speaks for “patient”" in words and "mean of 3 folds" in words


def test_weights_are_kept_with_the_results(found, tmp_path):
    back = Results.load(found.save(tmp_path))
    card = next(card for card in back.meta["pipelines"] if card["name"] == "FC+LR")
    assert back.meta["regions"]["cohort"]["names"] == list("ABCDEF")
    np.testing.assert_allclose(back.meta["regions"]["cohort"]["positions"], PLACES)
    assert strongest(matrix_of(card["edges"]["cohort"]["weights"]), 1) == [(1, 0)]
    pd.testing.assert_frame_equal(back.table, found.table)
    assert back.compare()["n"].item() == 24
    assert repr(back) == "<Results: 2 pipelines, 1 dataset, 3 sites of several people>"


def test_without_places_there_is_the_matrix_alone():
    edges = {"regions": None, "weights": [0.0, 1.0, 0.0], "agreement": None, "n_folds": 1}
    pictures = connectome_pictures({"edges": {"d": edges}}, "c1", {})
    assert len(pictures) == 1 and "2 with 1 +1" in pictures[0][1] and "one fold" in pictures[0][1]
    still = {"regions": None, "weights": [1.0, 0.0, 1.0], "agreement": None, "n_folds": 1}
    assert connectome_pictures({"edges": {"d": still}}, "c1", {}) == []
    assert connectome_pictures({}, "c1", {}) == []
