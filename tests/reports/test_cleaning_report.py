"""The pages of a cleaning, in a real browser: rendered, silent, fitting a phone, and telling what was removed."""

import json

import pytest
from browser import browser
from test_in_browser import CONTRAST

from neurosig.loaders.manifest import read_manifest
from neurosig.preprocessing.cleaning import CleaningOptions
from neurosig.preprocessing.cleaning_runs import Outcome, find_cohort_outliers, preprocess, sources_of_dataset
from neurosig.reports.cleaning import write_cohort_report, write_recording_report

pytestmark = pytest.mark.xdist_group("cleaning_report")  # one worker prepares what they share


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory):
    out = tmp_path_factory.mktemp("cleaned")
    options = CleaningOptions(tmin=-0.5, tmax=3.5, eog_proxy=("Fp1", "Fp2"))
    sources = sources_of_dataset(read_manifest("simulated-imagery"), ["1", "2"])[2:5]
    outcomes = preprocess(sources, options, out, report=write_recording_report)
    assert [outcome.error for outcome in outcomes] == ["", "", ""]
    outcomes.append(Outcome(sources[0], "failed", error="<b>the recording</b> is empty (0 bytes)"))
    outliers, note = find_cohort_outliers(outcomes, options)
    return outcomes, write_cohort_report(outcomes, options, out, outliers=outliers, note=note)


@pytest.fixture(scope="module")
def pages(cleaned):
    outcomes, files = cleaned
    return {"recording": outcomes[0].files["report"], "cohort": files["report"]}


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as open_page:
        yield open_page


@pytest.mark.parametrize("name", ["recording", "cohort"])
@pytest.mark.parametrize("width", [320, 1200])
def test_page_renders_fits_and_stays_silent(visit, pages, name, width):
    seen = visit(pages[name], width=width)
    assert seen.complaints == []
    assert seen.requests == [pages[name].resolve().as_uri()] or all(r.startswith("data:") for r in seen.requests[1:])
    assert seen.overflow() <= 0
    sizes = seen.sizes("figure svg")
    assert len(sizes) >= 3 and all(w >= min(width, 375) * 0.8 and h > 60 for w, h in sizes)
    seen.page.close()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["recording", "cohort"])
def test_text_contrast_is_at_least_wcag_aa(visit, pages, name, dark):
    seen = visit(pages[name], dark=dark)
    worst = seen.page.evaluate(CONTRAST)
    assert worst["ratio"] >= 4.5, worst
    seen.page.close()


def test_the_page_tells_what_the_record_holds(visit, cleaned, pages):
    record = cleaned[0][0].record
    summary = record["summary"]
    seen = visit(pages["recording"])
    text = seen.page.inner_text("main")
    assert f"{summary['trials_kept']} of {summary['trials']} trials kept" in text
    for name in summary["channels_interpolated"]:
        assert f"Channel {name}" in text
    for number in summary["components_removed"]:
        assert f"IC {number}" in text
    rows = seen.page.locator("#reasons ~ .scroll tbody tr").count()
    found = len(record["stages"]["channels_in_epochs"]["bad"]) + sum(
        len(record["stages"][stage]["bad"]) for stage in ("channels", "epochs", "components")
    )
    assert rows == min(found, 40) > 0
    seen.page.close()


def test_the_cohort_links_its_recordings_and_names_failures(visit, cleaned, pages):
    seen = visit(pages["cohort"])
    text = seen.page.inner_text("main")
    assert "1 recording failed" in text and "<b>the recording</b> is empty" in text
    assert "2 subjects cannot have a z-score beyond 0.71" in text
    links = seen.page.locator("#recordings ~ .scroll tbody a")
    assert links.count() == 3
    links.first.click()
    assert seen.page.locator("h1").inner_text().startswith("Subject 1, session 1")
    seen.page.close()


def test_the_machine_readable_files(cleaned):
    files = cleaned[1]
    record = json.loads(files["record"].read_text())
    assert [row["state"] for row in record["recordings"]] == ["cleaned"] * 3 + ["failed"]
    assert set(record["outlier_subjects"]["z"]) == {"deviation", "variance", "amplitude"}
    table = files["table"].read_text().splitlines()
    assert len(table) == 5 and table[0].startswith("subject,session,task,run,state,trials,trials_kept")


def test_equal_cleanings_give_equal_pages(cleaned, tmp_path):
    options = CleaningOptions(tmin=-0.5, tmax=3.5, eog_proxy=("Fp1", "Fp2"))
    (again,) = preprocess([cleaned[0][0].source], options, tmp_path, report=write_recording_report)
    assert again.files["report"].read_bytes() == cleaned[0][0].files["report"].read_bytes()
