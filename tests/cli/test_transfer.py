"""``neurosig benchmark --protocol transfer`` as a user meets it."""

import json

import pandas as pd
import pytest

SIMULATED = """
name: small
title: A small simulation
paradigm: imagery
source:
  simulated: {kind: imagery, n_subjects: 4, n_sessions: 1, n_runs: 2, n_trials: 10, sfreq: 100, random_state: 0}
events: [left_hand, right_hand]
processing: {tmin: 0.5, tmax: 2.5, fmin: 8, fmax: 30}
folds: run
"""
NETWORK = """
name: Linear
paradigms: [LeftRightImagery]
pipeline:
  - name: NetClassifier
    from: neurosig.models
    parameters: {module: LinearNet, max_epochs: 2, validation: null, stopping: null, random_state: 0}
"""


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "linear.yml").write_text(NETWORK)
    path = tmp_path / "small.yml"
    path.write_text(SIMULATED)
    return path


def test_main_job_then_again_from_the_store(cli, dataset, tmp_path):
    call = ("benchmark", "--protocol", "transfer", "-d", dataset, "-p", "linear.yml,CSP+LDA", "--seeds", "2",
            "--leave-subjects", "2", "--out", "out")  # fmt: skip
    first = cli(*call)
    assert first.returncode == 0, first.stderr
    for text in ("small: run folds, 2 people left out at a time, 2 seeds", "transfer_all", "transfer_head", "direct",
                 "against learning within the person", "accuracy improvement from chance", "normalised",
                 "relative: (score - u) / u", "report: out/report.html", "out/results.csv"):  # fmt: skip
        assert text in first.stdout
    assert "few subjects (n = 4)" in first.stderr
    out = tmp_path / "out"
    table = pd.read_csv(out / "results.csv", keep_default_na=False)
    assert len(table) == 4 * 2 * 2 * (4 + 2)
    assert {path.name for path in out.iterdir()} == {
        "results.csv", "results.json", "statistics.csv", "ranking.csv", "report.html", "store", "pretrained",
    }  # fmt: skip
    assert len(list((out / "pretrained").iterdir())) == 2 * 2
    assert "--protocol transfer" in (out / "report.html").read_text()
    written = {path: path.stat().st_mtime_ns for path in (out / "store").iterdir()}
    second = cli(*call)
    assert second.stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in (out / "store").iterdir()} == written
    again = cli("report", "out", "--out", "again.html")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.html").read_text() == (out / "report.html").read_text()


def test_one_json_object_for_machines(cli, dataset):
    done = cli("benchmark", "--protocol", "transfer", "-d", dataset, "-p", "CSP+LDA", "--leave-subjects", "1",
               "--seeds", "1", "--no-direct", "--subjects", "1-3", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [row["condition"] for row in answer["summary"]] == ["within"] and answer["effects"] == []
    assert answer["protocol"]["groups"] == [["1"], ["2"], ["3"]] and answer["failed"] == []
    assert answer["report"] == "results/report.html"


def test_cleaning_side_by_side_on_a_small_budget(cli, dataset, tmp_path):
    done = cli("benchmark", "--protocol", "transfer", "-d", dataset, "-p", "linear.yml", "--subjects", "1-2", "--seeds",
               "1", "--leave-subjects", "1", "--fine-tune", "head", "--no-direct", "--faster-both", "--max-epochs",
               "1", "--out", "out")  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "out" / "results.csv", keep_default_na=False)
    assert set(table["pipeline"]) == {"Linear", "Linear (FASTER)"}
    assert set(table["condition"]) == {"within", "transfer_head"} and set(table["n_epochs"]) == {1}
    assert "Linear (FASTER)" in done.stdout


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["--protocol", "transfers"], 2, "--protocol must be moabb or transfer"),
    (["--seeds", "2"], 2, "--seeds belongs to --protocol transfer"),
    (["--no-direct"], 2, "--direct belongs to --protocol transfer"),
    (["--protocol", "transfer", "--evaluation", "cross_subject"], 2, "--evaluation belongs to --protocol moabb"),
    (["--protocol", "transfer", "--leave-subjects", "9"], 1, "leaves no one to pretrain on"),
    (["--protocol", "transfer", "--fine-tune", "body"], 2, "fine_tune takes"),
    (["--protocol", "transfer", "--max-epochs", "0"], 2, "max_epochs must be a whole number, 1 or more"),
    (["--protocol", "transfer", "--no-faster", "--faster-both"], 2, "contradict each other"),
    (["--max-epochs", "3"], 2, "--max-epochs belongs to --protocol transfer"),
    (["--protocol", "transfer", "--window", "9", "--leave-subjects", "1"], 2, "longer than a trial"),
    (["--protocol", "transfer", "--dataset", "simulated-imagery"], 2, "one dataset at a time"),
])  # fmt: skip
def test_bad_input_is_one_line(cli, dataset, arguments, code, message):
    done = cli("benchmark", "-d", dataset, "-p", "CSP+LDA", *arguments)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.split()) and "Traceback" not in done.stderr


def test_help_teaches(cli):
    done = cli("benchmark", "--help", COLUMNS="120")
    words = " ".join(done.stdout.replace("│", " ").split())
    for text in ("--protocol", "--leave-subjects", "--fine-tune", "--window-step", "--max-epochs", "Transfer: ",
                 "neurosig benchmark --protocol transfer --dataset"):  # fmt: skip
        assert text in words
