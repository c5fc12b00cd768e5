"""Figures show the numbers of their tables, and the drawing in a page is deterministic and follows the theme."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from neurosig.reports import figures
from neurosig.reports.benchmark import _ranking
from neurosig.reports.drawing import COLOURS
from neurosig.reports.page import figure_svg, format_count, format_number, format_p, format_seconds


def texts(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_ranking_draws_means_and_intervals(results):
    ranking = _ranking(results)
    figure = figures.plot_ranking(ranking, metric="roc_auc")
    (ax,) = figure.axes
    means = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(means, ranking["mean"].dropna())
    intervals = {tuple(np.round(line.get_xdata(), 9)) for line in ax.lines}
    for row in ranking.dropna(subset="mean").itertuples():
        assert (round(row.ci_low, 9), round(row.ci_high, 9)) in intervals
    assert "failed" in texts(figure) and ax.get_xlabel().startswith("ROC AUC")


def test_subjects_draws_every_subject_once_per_pipeline(results):
    figure = figures.plot_subjects(results.table)
    people = results.table.groupby(["pipeline", "subject"])["score"].mean().dropna()
    drawn = np.concatenate([line.get_xdata() for line in figure.axes[0].lines if line.get_marker() == "o"])
    np.testing.assert_allclose(np.sort(drawn), np.sort(people))


def test_comparisons_hold_both_signs(results):
    pairs = results.compare().dropna(subset="difference")
    shown = texts(figures.plot_comparisons(pairs))
    assert len(shown) == 2 * len(pairs)
    assert {f"{sign * difference:+.3f}" for difference in pairs["difference"] for sign in (1, -1)} == set(shown)


def test_time_score_labels_do_not_cover_each_other(results):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = figures.plot_time_score(_ranking(results), metric="roc_auc")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [
        text.get_window_extent(canvas.get_renderer()) for text in figure.axes[0].texts if text.get_text() != "chance"
    ]
    assert len(boxes) == 5
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("draw", [figures.plot_ranking, figures.plot_time_score])
def test_several_datasets_are_panels(make, draw):
    figure = draw(_ranking(make(datasets=("Alpha-1", "Beta-2"))))
    assert isinstance(figure, Figure) and [ax.get_title(loc="left") for ax in figure.axes] == ["Alpha-1", "Beta-2"]


def test_nothing_scored_is_said(make):
    results = make(strength={"A": None})
    for figure in (figures.plot_subjects(results.table), figures.plot_time_score(_ranking(results))):
        assert texts(figure) == ["nothing to draw: no pipeline has a score"]


def test_svg_is_deterministic_themed_and_prefixed(results):
    ranking = _ranking(results)
    drawn = [str(figure_svg(figures.plot_ranking(ranking), name="a", description="x")) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert not any(colour in drawn[0] for colour in COLOURS.values())
    assert "var(--score)" in drawn[0] and "<metadata" not in drawn[0] and "<style" not in drawn[0]
    assert all(part.startswith("a-") for part in drawn[0].split(' id="')[1:])


def test_svg_escapes_names_and_description():
    row = {
        "dataset": "d",
        "pipeline": "<script>&",
        "mean": 0.6,
        "ci_low": 0.5,
        "ci_high": 0.7,
        "n": 3,
        "chance": 0.5,
        "chance_upper": 0.6,
    }
    drawn = str(figure_svg(figures.plot_ranking(pd.DataFrame([row])), name="a", description='"><script>'))
    assert "<script" not in drawn and "&lt;script&gt;&amp;" in drawn


def test_global_state_is_untouched(results):
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    figure_svg(figures.plot_ranking(_ranking(results)), name="a", description="x")
    assert dict(mpl.rcParams) == before and plt.get_fignums() == []


@pytest.mark.parametrize(
    ("value", "text"), [(0.71899, "0.719"), (-0.0179, "−0.018"), (float("nan"), "–"), (None, "–"), (1, "1.000")]
)
def test_numbers_have_equal_decimals(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0004, "0.4 ms"),
        (0.021, "21 ms"),
        (0.9996, "1.00 s"),
        (9.876, "9.88 s"),
        (75, "75 s"),
        (720, "12 min"),
        (np.float32(2), "2.00 s"),
    ],
)
def test_seconds_have_a_fitting_unit(value, text):
    assert format_seconds(value) == text


def test_small_p_and_large_counts():
    assert [format_p(0.0004), format_p(0.0312), format_p(np.nan)] == ["< 0.001", "0.031", "–"]
    assert format_count(22303.0) == "22\N{NARROW NO-BREAK SPACE}303"


@pytest.mark.parametrize("draw", ["ranking", "subjects"])
def test_words_lie_outside_the_marks(make, draw):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    results = make(strength={"XdawnCov+TS+LR": 0.5, "A pipeline with a name that is too long for one line": 0.1})
    figure = figures.plot_ranking(_ranking(results)) if draw == "ranking" else figures.plot_subjects(results.table)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (ax,) = figure.axes
    frame = ax.get_window_extent()
    words = [text for text in ax.texts if text.get_text() != "chance"]
    assert len(words) == 4
    for text in words:
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x1 < frame.x0 or box.x0 > frame.x1
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
