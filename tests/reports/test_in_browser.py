"""The pages in a real headless browser: rendered, silent, asking for nothing, fitting a phone, printable."""

import pytest
from browser import browser
from test_decode_report import make_decoded

from neurosig.reports.benchmark import write_benchmark_report
from neurosig.reports.decode import write_decode_report

PHONE = {"width": 375, "height": 812}


pytestmark = pytest.mark.xdist_group("in_browser")  # one worker prepares what they share


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def pages(tmp_path_factory, make_module):
    folder = tmp_path_factory.mktemp("pages")
    long_name = "A_pipeline_with_a_name_that_is_far_too_long_for_any_phone_and_has_no_spaces_to_break_it_at"
    return {
        "benchmark": write_benchmark_report(make_module(), folder / "benchmark.html"),
        "several": write_benchmark_report(make_module(datasets=("Alpha-1", "Beta-2")), folder / "several.html"),
        "long": write_benchmark_report(make_module(rename={"TS + LR": long_name}), folder / "long.html"),
        "failed": write_benchmark_report(make_module(strength={"A": None}), folder / "failed.html"),
        "decode": write_decode_report(make_decoded(), folder / "decode.html"),
    }


@pytest.mark.parametrize("name", ["benchmark", "several", "long", "failed", "decode"])
@pytest.mark.parametrize("width", [320, 375, 1200])
def test_page_renders_fits_and_stays_silent(visit, pages, name, width):
    seen = visit(pages[name], width=width)
    assert seen.complaints == []
    assert seen.requests == [pages[name].resolve().as_uri()]
    assert seen.overflow() <= 0
    assert seen.page.locator("h1").is_visible()
    sizes = seen.sizes("figure svg")
    assert len(sizes) == {"benchmark": 3, "several": 6, "long": 3, "failed": 0, "decode": 1}[name]
    assert all(w >= min(width, 375) * 0.8 and h > 90 for w, h in sizes)
    seen.page.close()


def test_text_is_there_and_readable_on_a_phone(visit, pages):
    seen = visit(pages["benchmark"], **PHONE)
    text = seen.page.inner_text("main")
    assert "TS + LR leads with ROC AUC" in text and "XdawnCov + TS + SVM failed everywhere." in text
    smallest = seen.page.eval_on_selector_all(
        "figure svg text", "items => Math.min(...items.map(item => item.getBoundingClientRect().height))"
    )
    assert smallest > 8  # pixels, rotated labels are taller
    mean, n = (
        seen.page.locator(".ranking tbody tr:first-child td").nth(0),
        seen.page.locator(".ranking tbody tr:first-child td").nth(3),
    )
    assert mean.is_visible() and n.bounding_box()["x"] + n.bounding_box()["width"] <= 375
    seen.page.close()


def test_a_click_sorts_and_a_second_turns_round(visit, pages):
    page = visit(pages["benchmark"]).page

    def first():
        return page.locator(".ranking tbody th").all_inner_texts()

    before = first()
    button = page.locator(".ranking thead button", has_text="Time per fit")
    button.click()
    assert first()[0] == "Always left" and first()[-1] == "XdawnCov + TS + SVM"
    assert page.locator(".ranking th[aria-sort=ascending]").inner_text().startswith("Time per fit")
    button.click()
    assert first()[0] == "CSP + LDA"
    page.locator(".ranking thead button", has_text="Mean").click()
    page.locator(".ranking thead button", has_text="Mean").click()
    assert first() == before
    page.close()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["benchmark", "decode"])
def test_text_contrast_is_at_least_wcag_aa(visit, pages, name, dark):
    seen = visit(pages[name], dark=dark)
    worst = seen.page.evaluate(CONTRAST)
    assert worst["ratio"] >= 4.5, worst
    seen.page.close()


@pytest.mark.parametrize("name", ["benchmark", "decode"])
def test_page_prints(visit, pages, name, tmp_path):
    seen = visit(pages[name])
    printed = seen.page.pdf(path=str(tmp_path / "page.pdf"), prefer_css_page_size=True)
    assert printed.startswith(b"%PDF") and len(printed) > 20_000
    assert seen.complaints == [] and len(seen.requests) == 1
    seen.page.close()


# contrast by WCAG 2.2's formula, of every text against the nearest painted background above it
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255);
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (c) => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
  const behind = (element) => element === null ? [1, 1, 1, 1]
    : over(rgba(getComputedStyle(element).backgroundColor), behind(element.parentElement));
  let worst = {ratio: 99};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest("script, .skip")) continue;
    const style = getComputedStyle(element);
    const ground = behind(element);
    const ink = over(rgba(element.closest("svg") ? style.fill : style.color), ground);
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst.ratio) worst = {ratio, text: walker.currentNode.data.trim(), ink, ground};
  }
  return worst;
}"""
