"""``neurosig demo``: the main job on simulated recordings, and again from its store."""

import json
import shlex

import pandas as pd
import pytest

pytestmark = pytest.mark.xdist_group("demo")  # one worker prepares what they share


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    import subprocess
    import sys

    place = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "neurosig", "demo"], cwd=place, capture_output=True, text=True, check=False
    )
    return done, place


@pytest.mark.slow
def test_the_demo_leaves_a_ranking_and_a_report(first):
    done, place = first
    assert done.returncode == 0, done.stderr
    out = place / "neurosig-demo"
    assert "TS+LR" in done.stdout
    assert f"report: {out / 'report.html'}" in done.stdout
    assert done.stdout.count("\n  neurosig ") == 3
    table = pd.read_csv(out / "results.csv")
    assert table["pipeline"].nunique() == 6
    assert table["subject"].nunique() == 8
    assert table["error"].isna().all()
    means = table.groupby("pipeline")["score"].mean()
    assert means["Chance"] == pytest.approx(0.5)
    assert means.drop("Chance").min() > 0.6
    assert (out / "report.html").read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")


def folds(place):
    return {path: path.stat().st_mtime_ns for path in (place / "neurosig-demo" / "store").glob("*.json")}


@pytest.mark.slow
def test_a_second_run_is_taken_from_the_store(first, cli):
    _, place = first
    before = (place / "neurosig-demo" / "results.csv").read_bytes()
    stored = folds(place)
    done = cli("demo", "--json", cwd=place)
    assert folds(place) == stored  # none was computed again
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [row["pipeline"] for row in answer["ranking"]][-1] == "Chance"
    assert len(answer["next"]) == 3
    assert (place / "neurosig-demo" / "results.csv").read_bytes() == before


@pytest.mark.slow
def test_what_it_says_to_try_next_works(first, cli):
    done, place = first
    lines = [line.strip() for line in done.stdout.splitlines() if line.startswith("  neurosig ")]
    assert len(lines) == 3
    for line in lines:
        answer = cli(*shlex.split(line)[1:], cwd=place, OMP_NUM_THREADS="1")
        assert answer.returncode == 0, answer.stderr
    assert (place / "neurosig-demo" / "model" / "pipeline.skops").is_file()
    assert (place / "neurosig-demo" / "new-people" / "report.html").is_file()


def test_an_unwritable_place_is_one_line(cli):
    done = cli("demo", "--out", "/proc/nowhere")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: cannot write /proc/nowhere")
    assert "Traceback" not in done.stderr
