"""The page of an analysis of tokens: it says what was found, no more, and holds together in a browser."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from browser import browser
from outline import Outline
from peak_tokenizer import PeakTokenizer, rhythms
from test_in_browser import CONTRAST

from neurosig.core.errors import UsageError
from neurosig.reports import token_report, write_token_report
from neurosig.reports import tokens_figures as figures
from neurosig.reports.drawing import COLOURS
from neurosig.tokenizers.analysis import analyse_tokens

pytestmark = pytest.mark.xdist_group("token_report")  # one worker prepares what they share


def recordings(n_people=6, seed=0, effect=True):
    """People with rhythms of 10 to 14 Hz at rest, and in the task, if there is an effect, of 20 to 24 Hz."""
    rng = np.random.default_rng(seed)
    y = np.tile(["rest", "task"], 4 * n_people)
    people = np.repeat([f"person {i}" for i in range(n_people)], 8)
    base = rng.choice([10, 12, 14], (len(y), 2))
    fast = (y == "task")[:, np.newaxis] & (rng.random((len(y), 2)) < 0.8)
    return rhythms(base + 10 * (fast if effect else 0)), y, people


@pytest.fixture(scope="module")
def analysis():
    X, y, people = recordings()
    return analyse_tokens(PeakTokenizer(), X, y, groups=people, n_motifs=5)


@pytest.fixture(scope="module")
def page(analysis, tmp_path_factory):
    return write_token_report(analysis, tmp_path_factory.mktemp("page") / "tokens.html")


def words(path):
    return " ".join(Outline(path.read_text()).words.split())


def report(tmp_path, **options):
    X, y, people = recordings(**options)
    return words(token_report(PeakTokenizer(), X, y, groups=people, path=tmp_path / "tokens.html"))


def test_the_page_says_what_the_reconstruction_was_told(analysis, page, tmp_path):
    assert "It was told" not in words(page)
    table = analysis.reconstruction.copy()
    table.attrs["beside_tokens"] = "how loud it is"
    told = write_token_report(replace(analysis, reconstruction=table), tmp_path / "told.html")
    assert "It was told of each window, which its tokens do not say, how loud it is." in words(told)


def test_the_page_says_what_was_found(analysis, page):
    outline = Outline(page.read_text())
    assert outline.unordered == [] and outline.stack == [] and len(set(outline.ids)) == len(outline.ids)
    text = " ".join(outline.words.split())
    found = analysis.distinctive
    n = found.loc[found["distinctive"], "code"].nunique()
    assert n > 0
    assert (
        f"{n} token{'s' if n > 1 else ''} out of {len(found)}" in text and "over 6 people (corrected p ≤ 0.05)" in text
    )
    assert "48 windows of 6 people, 2 channels, 7 tokens a channel; 24 × rest, 24 × task." in text
    assert "is no decoder" in text and "not independent findings" in text and "fitted on 12 windows" in text
    assert "Few people (n = 6)." in text
    gallery, distinctive, consistency, usage, bands = outline.tables
    assert [row[0] for row in gallery[1:]] == [str(motif.code) for motif in analysis.motifs]
    assert [row[1] for row in gallery[1:]] == [f"{motif.count}" for motif in analysis.motifs]
    assert [row[0] for row in distinctive[1:]] == [str(code) for code in found["code"][:20]]
    assert [row[0] for row in consistency[1:]] == list(analysis.consistency.table.index)
    assert usage[1][1:3] == ["51", str(len(analysis.histogram))]
    assert [row[0] for row in bands[1:]] == ["delta", "theta", "alpha", "beta", "gamma", "all"]
    assert bands[3][2] == "0.25"


def test_motifs_stand_out_at_their_own_frequency(analysis, page):
    for row, motif in zip(Outline(page.read_text()).tables[0][1:], analysis.motifs, strict=True):
        hz, over = re.fullmatch(r"(\d+) Hz \(\+(\d+) dB\)", row[5]).groups()
        assert abs(int(hz) - 2 * motif.code) <= 2 and int(over) >= 3  # a bin is 2 Hz wide


def test_all_numbers_can_be_downloaded(analysis, page):
    link = next(link for link in Outline(page.read_text()).links if link.startswith("data:application/json"))
    record = json.loads(base64.b64decode(link.split(",")[1]))
    assert len(record["distinctive"]) == len(analysis.distinctive)
    assert record["tested"]["n_units"] == 6 and record["about"]["classes"] == {"rest": 24, "task": 24}
    assert sum(row["task"] for row in record["histogram"]) == 24 * 2 * 7


def test_no_effect_is_said_and_not_taken_for_none(tmp_path):
    text = report(tmp_path, effect=False)
    assert re.search(r"no token out of \d+ is shown to differ between the classes over 6 people", text)
    assert "That no difference is shown does not mean that there is none." in text


def test_too_few_people_are_warned_of(tmp_path):
    text = report(tmp_path, n_people=4)
    assert "Too few people (n = 4). The smallest p that they allow is 0.125" in text and "no token out of" in text
    X, y, people = recordings(n_people=1)
    text = words(token_report(PeakTokenizer(), X, y, groups=people, path=tmp_path / "one.html"))
    assert "too few people to test" in text


def test_windows_of_unknown_people_are_warned_of(tmp_path):
    X, y, _ = recordings()
    text = words(token_report(PeakTokenizer(), X, y, path=tmp_path / "tokens.html"))
    assert "Windows were taken for independent." in text and "over 48 windows" in text and "People agree" not in text


def test_without_classes_nothing_is_compared(tmp_path):
    X, _, _ = recordings()
    path = token_report(PeakTokenizer(), X, path=tmp_path / "tokens.html", title="Only <signals>")
    text = words(path)
    assert "without classes, nothing was compared" in text and "Do they differ" not in text and "Only <signals>" in text
    assert "within subjects" not in text


def test_a_token_that_stands_for_most_is_warned_of(tmp_path):
    X, y, people = recordings()
    X[:] = rhythms(np.full((len(y), 2), 10))
    text = words(token_report(PeakTokenizer(), X, y, groups=people, path=tmp_path / "tokens.html"))
    assert "One token stands for most. Token 5 is 100 % of all" in text


def test_several_codebooks_get_a_line_each(analysis, tmp_path):
    rows = [{"scale": s, "level": v, "n_codes": 16, "n_tokens": 9, "n_used": 4, "share_used": 0.25, "n_dead": 12,
             "entropy": 2.0, "perplexity": 4.0 - v} for s in range(4) for v in range(3)]  # fmt: skip
    usage = type(analysis.usage)(rows)
    lines = figures.plot_usage(usage).axes[0].lines
    assert len(lines) == 4 and lines[0].get_ydata().tolist() == [4.0, 3.0, 2.0]
    about = {**analysis.about, "codebook": {"scale": 2, "level": 0}}
    text = words(write_token_report(replace(analysis, usage=usage, about=about), tmp_path / "tokens.html"))
    assert "codebook scale 2, level 0" in text and "Use of the codebooks" in text


def test_figures_show_the_numbers(analysis):
    from matplotlib.colors import to_hex

    ax = figures.plot_histogram(analysis.shares).axes[0]
    marks = {line.get_label(): line.get_xdata() for line in ax.lines if not line.get_label().startswith("_")}
    np.testing.assert_allclose(marks["task"], 100 * analysis.shares["task"][:16])
    ax = figures.plot_distinctive(analysis.distinctive, n=4).axes[0]
    points = [line for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_allclose([line.get_xdata()[0] for line in points], analysis.distinctive["log_odds"][:4])
    filled = [to_hex(line.get_markerfacecolor()) != COLOURS["paper"] for line in points]
    assert filled == analysis.distinctive["distinctive"][:4].tolist()
    figure = figures.plot_motifs(analysis.motifs)
    images = [image for ax in figure.axes for image in ax.images]
    np.testing.assert_allclose(images[0].get_array(), analysis.motifs[0].spectrogram[
        analysis.motifs[0].spectrogram_freqs <= 60])  # fmt: skip
    with pytest.raises(UsageError, match="at least one motif"):
        figures.plot_motifs([])
    ax = figures.plot_reconstruction(analysis.reconstruction).axes[0]
    assert [line.get_xdata()[0] for line in ax.lines[1:]] == pytest.approx([0.25] * 6)


def test_equal_analyses_give_equal_pages(analysis, page, tmp_path):
    assert write_token_report(analysis, tmp_path / "again.html").read_bytes() == page.read_bytes()


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as open_page:
        yield open_page


@pytest.mark.parametrize("width", [320, 1200])
def test_page_renders_fits_and_stays_silent(visit, page, width):
    seen = visit(page, width=width)
    assert seen.complaints == []
    assert seen.requests[0] == page.resolve().as_uri() and all(r.startswith("data:") for r in seen.requests[1:])
    assert seen.overflow() <= 0
    sizes = seen.sizes("figure svg")
    assert len(sizes) == 5 and all(w >= min(width, 375) * 0.8 and h > 90 for w, h in sizes)
    seen.page.close()


@pytest.mark.parametrize("dark", [False, True])
def test_text_contrast_is_at_least_wcag_aa(visit, page, dark):
    seen = visit(page, dark=dark)
    worst = seen.page.evaluate(CONTRAST)
    assert worst["ratio"] >= 4.5, worst
    seen.page.close()
