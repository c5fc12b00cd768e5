"""``neurosig report`` builds the page again, and says in one line what is wrong with a folder."""

import json

import pytest


@pytest.fixture
def folder(tmp_path, results):
    return results.save(tmp_path / "results")


def test_page_is_written_into_the_folder(cli, folder):
    done = cli("report", folder)
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout
    assert "TS + LR leads" in (folder / "report.html").read_text(encoding="utf-8")


def test_json_and_out(cli, folder, tmp_path):
    done = cli("report", folder, "--out", tmp_path / "deep" / "page.html", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["rows"] == 144 and answer["report"].endswith("page.html") and not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere", "found nothing at"), ("a_file", "found a file at"), ("empty", "holds no results")],
)
def test_a_folder_without_results_is_refused_in_one_line(cli, tmp_path, name, message):
    (tmp_path / "a_file").write_text("x")
    (tmp_path / "empty").mkdir()
    done = cli("report", tmp_path / name)
    assert done.returncode == 1 and message in " ".join(done.stderr.split()) and "Traceback" not in done.stderr


def test_out_that_is_a_folder_is_wrong_use(cli, folder, tmp_path):
    done = cli("report", folder, "--out", tmp_path)
    assert done.returncode == 2 and "is a folder; add a file name" in done.stderr


def test_damaged_results_are_refused(cli, folder):
    (folder / "results.csv").write_text("score\n1.0\n")
    done = cli("report", folder)
    assert done.returncode == 1 and "run the benchmark again" in done.stderr and not (folder / "report.html").exists()
