"""``neurosig benchmark`` as a user meets it."""

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from neurosig.cli.benchmark import _again, _next
from neurosig.evaluation.results import Results

SIMULATED = """
name: small
title: A small simulation
paradigm: imagery
source:
  simulated: {kind: imagery, n_subjects: 2, n_sessions: 1, n_runs: 2, n_trials: 10, sfreq: 100, random_state: 0}
events: [left_hand, right_hand]
processing: {tmin: 0.5, tmax: 2.5, fmin: 8, fmax: 30}
folds: run
"""


def folds(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / "out" / "store").glob("*.json")}


@pytest.fixture
def dataset(tmp_path):
    path = tmp_path / "small.yml"
    path.write_text(SIMULATED)
    return path


def test_main_job_then_again_from_the_store(cli, dataset, tmp_path):
    call = ("benchmark", "--dataset", dataset, "--pipelines", "CSP+LDA,Chance", "--out", "out")
    first = cli(*call)
    assert first.returncode == 0, first.stderr
    for text in (
        "small: within_session, run folds",
        "CSP+LDA",
        "95 % interval",
        "report: out/report.html",
        "out/results.csv",
    ):
        assert text in first.stdout
    assert "next: nothing here is clearly above chance (0.500; the 95 % interval of CSP+LDA begins at" in first.stderr
    assert "few subjects (n = 2)" in first.stderr
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert len(table) == 4 and table["score"].notna().all()
    assert (tmp_path / "out" / "report.html").stat().st_size > 1000
    written = (tmp_path / "out" / "report.html").stat().st_mtime_ns
    stored = folds(tmp_path)
    second = cli(*call)
    assert len(stored) == 8 and folds(tmp_path) == stored  # none was computed again
    assert second.stdout == first.stdout
    assert (tmp_path / "out" / "report.html").stat().st_mtime_ns == written


def test_one_json_object_for_machines(cli, dataset):
    done = cli("benchmark", "-d", dataset, "-p", "Chance", "-o", "out", "--json", "--seed", "3", "--subjects", "2")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ranking"][0]["pipeline"] == "Chance"
    assert answer["seed"] == 3 and answer["failed"] == []
    assert answer["report"] == "out/report.html"


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["--dataset", "no_such_data"], 2, "no dataset is called 'no_such_data'"),
    (["--dataset", "{dataset}", "--pipelines", "CSP+LDD"], 2, "CSP+LDA"),
    (["--dataset", "{dataset}", "--evaluation", "within"], 2, "evaluation must be one of within_session"),
    (["--dataset", "{dataset}", "--evaluation", "cross_session", "-p", "Chance"], 1, "cross_session needs at least"),
    (["--dataset", "{dataset}", "--subjects", "9"], 2, "no subject '9'"),
    (["--dataset", "{dataset}", "--fmin", "30", "--fmax", "8"], 2, "fmax must lie above fmin"),
    (["--dataset", "{dataset}", "--events", "left_hand,tongue"], 2, "no event 'tongue'"),
    (["--dataset", "{dataset}", "--out", "{dataset}/out"], 1, "cannot write"),
    (["--dataset", "{dataset}", "--n-jobs", "0"], 2, "n_jobs must be a number of processes"),
    ([], 2, "--dataset"),
])  # fmt: skip
def test_bad_input_is_one_line(cli, dataset, arguments, code, message):
    done = cli("benchmark", *[str(part).replace("{dataset}", str(dataset)) for part in arguments])
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert sorted(path.name for path in dataset.parent.iterdir()) == ["small.yml"]  # no folder for results either


def mine(tmp_path, name, **modules):
    """A pipeline of the user's own in a package `own`; gives the folder of its file."""
    package, folder = tmp_path / "own", tmp_path / "mine"
    for place in (package, folder):
        place.mkdir()
    (package / "__init__.py").touch()
    for module, source in modules.items():
        (package / f"{module}.py").write_text(source)
    (folder / "own.yml").write_text(
        f"name: {name}\nparadigms: [LeftRightImagery]\npipeline:\n  - {{name: {name}, from: own.estimator}}\n"
    )
    return folder


def test_an_edited_helper_of_an_own_pipeline_is_seen(cli, dataset, tmp_path):
    estimator = (
        "from sklearn.dummy import DummyClassifier\nfrom own.helper import sign\n"
        "class Own(DummyClassifier):\n"
        "    def predict_proba(self, X):\n"
        "        p = super().predict_proba(X)\n"
        "        p[:, 1] = sign() * X.var(axis=(1, 2))\n        return p\n"
    )
    folder = mine(tmp_path, "Own", estimator=estimator, helper="def sign():\n    return 1\n")
    call = ("benchmark", "-d", dataset, "-p", folder, "-o", "out", "--json")
    first, same = (json.loads(cli(*call, PYTHONPATH=str(tmp_path)).stdout)["ranking"][0]["mean"] for _ in range(2))
    (tmp_path / "own" / "helper.py").write_text("def sign():\n    return -1\n")
    edited = json.loads(cli(*call, PYTHONPATH=str(tmp_path)).stdout)["ranking"][0]["mean"]
    assert first == same and first != 0.5
    assert edited == pytest.approx(1 - first)


def test_nothing_scored_is_a_failure(cli, dataset, tmp_path):
    estimator = (
        "from sklearn.dummy import DummyClassifier\n"
        "class Bad(DummyClassifier):\n    def fit(self, X, y):\n        raise RuntimeError('no convergence')\n"
    )
    folder = mine(tmp_path, "Bad", estimator=estimator)
    call = ("benchmark", "-d", dataset, "-p", folder, "-o", "out")
    for more in ((), ("--json",)):
        done = cli(*call, *more, PYTHONPATH=str(tmp_path))
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1] == (
            "error: nothing was scored: every pipeline failed everywhere; Bad: RuntimeError: no convergence"
        )
    assert len(json.loads(done.stdout)["failed"]) == 2
    assert pd.read_csv(tmp_path / "out" / "results.csv")["score"].isna().all()


def test_what_is_next(results):
    """A command that reads the same recordings again, and never one that trains what ignores them."""
    read_as = ["--dataset", "my folder/", "--events", "left_hand=T1,right_hand=T2"]
    found = results({"Chance": 0.5, "TS+LR": 0.7}, n_subjects=1)
    assert _next(found, "neurosig", read_as) == (
        "next: neurosig train --dataset 'my folder/' --events left_hand=T1,right_hand=T2 --pipeline TS+LR --out model/"
    )
    assert _next(results({"Chance": 0.7, "TS+LR": 0.65}, n_subjects=1), "neurosig", []).endswith(
        "train --pipeline TS+LR --out model/"
    )
    found.meta["pipelines"] = [{"name": "TS+LR", "path": "my own/ts.yml"}]  # what does not come with neurosig
    assert _next(found, "neurosig", []).endswith("train --pipeline 'my own/ts.yml' --out model/")
    assert "--evaluation cross_subject" in _next(results({"TS+LR": 0.7}), "neurosig", read_as)
    assert "nothing here does better than guessing" in _next(results({"Chance": 0.5, "TS+LR": 0.4}), "neurosig", [])
    blind = results({"Chance": 0.5, "FC+LR": 0.4})
    blind.meta["datasets"][0]["modality"] = "fmri"
    assert "--tmin" not in (said := _next(blind, "neurosig", [])) and "--confounds" in said
    open_ = _next(results({"Chance": 0.5, "TS+LR": 0.55}, n_subjects=1), "neurosig", [])
    assert "nothing here is clearly above chance (0.500; guessing may reach 0.600 here, TS+LR has 0.550)" in open_
    wide = results({"FC+LR": 0.55}, n_subjects=2)
    wide.table["score"] = [0.1, 1.0]  # a mean above chance, with an interval from 0 to 1
    assert "the 95 % interval of FC+LR begins at 0.000" in (said := _next(wide, "neurosig", [])) and "--out" not in said
    equal = results({"Dynamic FC+LR": 1.0, "FC+LR": 1.0}, n_subjects=1)
    equal.table["seconds_fit"] = [0.671, 0.087]
    assert _next(equal, "neurosig", []).endswith("train --pipeline FC+LR --out model/")  # of equal ones the quickest
    numbers = results({"FC+Ridge": 0.7}, n_subjects=1)
    numbers.table["metric"] = "r2"
    assert "load_pipelines(names='FC+Ridge')" in (said := _next(numbers, "neurosig", [])) and "train " not in said
    assert "compare pipelines that look at the signals" in _next(results({"Chance": 0.5}), "neurosig", [])


def test_options_of_reading_are_written_as_they_were_given():
    given = {"data": pathlib.Path("d"), "subjects": None, "events": "a=1", "fmin": 8.0, "tmin": -0.25, "resample": None}
    assert _again(given) == ["--data", "d", "--events", "a=1", "--fmin", "8", "--tmin", "-0.25"]


@pytest.fixture
def results():
    def make(scores, n_subjects=2):
        people = [str(i) for i in range(n_subjects)]
        rows = [
            {"dataset": "small", "evaluation": "within_session", "pipeline": name, "subject": person, "session": "0",
             "score": score, "metric": "roc_auc", "chance": 0.5, "chance_upper": 0.6, "error": None}
            for name, score in scores.items() for person in people
        ]  # fmt: skip
        kinds = [{"name": name, "kind": "chance" if name == "Chance" else "classical"} for name in scores]
        meta = {"datasets": [{"name": "small", "subjects": n_subjects}], "evaluation": "within_session"}
        return Results(pd.DataFrame(rows), pd.DataFrame(), {**meta, "pipelines": kinds})

    return make


def test_help_teaches_by_examples(cli):
    shown = cli("benchmark", "--help", COLUMNS="120").stdout
    assert "neurosig benchmark --dataset eegmmidb --pipelines CSP+LDA,TS+LR --out results/" in shown
    for option in ("--evaluation", "--folds", "--n-jobs", "--overwrite", "--json"):
        assert option in shown


def test_ctrl_c_says_what_is_stored_and_resumes(cli, dataset, tmp_path, interruptible):
    module = tmp_path / "slow.py"
    module.write_text(
        "import os, pathlib, signal\nfrom sklearn.dummy import DummyClassifier\n"
        "class Slow(DummyClassifier):\n"
        "    def fit(self, X, y):\n"
        "        while 'STOP' in os.environ and any(pathlib.Path('out/store').glob('*.json')):\n"
        "            pathlib.Path('reached').touch()\n"
        "            signal.pause()\n"
        "        return super().fit(X, y)\n"
    )
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "slow.yml").write_text(
        "name: Slow\nparadigms: [LeftRightImagery]\npipeline:\n  - {name: Slow, from: slow, parameters: {}}\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "STOP": "yes"}
    call = [sys.executable, "-m", "neurosig", "benchmark", "-d", dataset, "-p", folder, "-o", "out"]
    process = subprocess.Popen(
        list(map(str, call)), cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True,
        preexec_fn=interruptible,
    )  # fmt: skip
    store = tmp_path / "out" / "store"
    while not (tmp_path / "reached").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)  # in the middle of the second fold
    stderr = process.communicate(timeout=300)[1]
    assert process.returncode == 130, stderr
    kept = {path.name: path.stat().st_mtime_ns for path in store.glob("*.json")}
    assert len(kept) == 1 and "1 finished fold in out/store" in stderr
    assert "run the same command again to resume" in stderr
    assert "Traceback" not in stderr
    again = cli(*call[3:], PYTHONPATH=str(tmp_path))
    assert again.returncode == 0, again.stderr
    assert all((store / name).stat().st_mtime_ns == stamp for name, stamp in kept.items())
    assert len(list(store.glob("*.json"))) == 4


def test_a_disk_that_fills_up_is_one_line_and_keeps_finished_folds(dataset, tmp_path, monkeypatch, capsys):
    from neurosig.cli.app import main

    out = tmp_path / "out"

    def full(write):
        def fail(self, data, *args, **kwargs):
            if ".json" in self.name and len(list((out / "store").glob("*.json"))) == 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(self, data, *args, **kwargs)

        return fail

    monkeypatch.setattr(pathlib.Path, "write_text", full(pathlib.Path.write_text))
    monkeypatch.setattr(pathlib.Path, "write_bytes", full(pathlib.Path.write_bytes))
    with pytest.raises(SystemExit) as stopped:
        main(["benchmark", "-d", str(dataset), "-p", "Chance", "-o", str(out)])
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: cannot write ") and line.endswith(
        "the disk is full: free space or choose another folder"
    )
    assert [path.suffix for path in (out / "store").iterdir() if path.is_file()] == [".json"]
