"""``neurosig doctor``: what is in order, what is not, and the exit code."""

import importlib.metadata
import json
import re
import shutil

import pytest

from neurosig.cli import doctor

pytestmark = pytest.mark.xdist_group("doctor")  # one worker prepares what they share


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """One run of the whole command, with a cache that holds ten kilobytes."""
    import os
    import subprocess
    import sys

    cache = tmp_path_factory.mktemp("cache")
    (cache / "x").write_bytes(b"0" * 10_000)
    done = subprocess.run(
        [sys.executable, "-m", "neurosig", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "NEUROSIG_CACHE": str(cache), "MNE_DATA": str(cache / "none")},
        cwd=cache,
    )
    return done, cache


def found(done, name):
    return next(check for check in json.loads(done.stdout)["checks"] if check["name"] == name)


def test_json_holds_every_check(checked):
    done, cache = checked
    answer = json.loads(done.stdout)
    assert done.returncode == (1 if answer["status"] == "fail" else 0)
    assert {check["status"] for check in answer["checks"]} <= {"ok", "warn", "fail"}
    names = {check["name"] for check in answer["checks"]}
    assert names >= {
        "neurosig",
        "python",
        "torch",
        "torchaudio",
        "import braindecode",
        "BLAS threads",
        "working folder",
        "cache",
        "neurosig's cache",
        "free disk (cache)",
        "browser",
        "NEUROSIG_DATA",
        "moabb",
    }
    assert found(done, "numpy")["found"] == importlib.metadata.version("numpy")
    # the file that this test wrote, and the stamp of a warning given once where torchaudio does not fit
    assert re.fullmatch(rf"10 kB in [12] files?, {re.escape(str(cache))}", found(done, "neurosig's cache")["found"])
    assert found(done, "MNE's and MOABB's data")["found"] == "empty"


def test_a_check_that_is_not_in_order_says_what_to_do(checked):
    for check in json.loads(checked[0].stdout)["checks"]:
        if check["status"] != "ok":
            assert check["advice"] or "could not be checked" in check["found"]


def test_text_and_exit_1_where_something_is_broken(cli):
    done = cli("doctor", NEUROSIG_DATA="/nowhere/at/all")
    assert done.returncode == 1
    assert "fail  NEUROSIG_DATA" in done.stdout
    assert "/nowhere/at/all is not a folder" in done.stdout
    assert "point it at the folder that holds your collections" in done.stdout
    assert "something is broken" in done.stdout


def test_a_full_disk_and_a_small_one(monkeypatch):
    usage = type(shutil.disk_usage("."))
    for free, status in ((1e8, "fail"), (2e9, "warn"), (1e11, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda place, free=free: usage(10**12, 0, int(free)))
        assert {check.status for check in doctor._disk()} == {status}


def test_missing_and_old_packages(monkeypatch):
    versions = {"numpy": "1.0", "typer": "99"}

    def version(name):
        if name in versions:
            return versions[name]
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    lines = ["numpy>=2.0", "typer>=0.15", "scipy>=1.13", "pytest>=8; extra == 'dev'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    checks = {check.name: check for check in doctor._packages()}
    assert (checks["numpy"].status, checks["typer"].status, checks["scipy"].status) == ("fail", "ok", "fail")
    assert checks["numpy"].advice == 'neurosig needs >=2.0: pip install "numpy>=2.0"'
    assert checks["scipy"].advice == 'pip install "scipy>=1.13"'
    assert "pytest" not in checks


@pytest.mark.parametrize(
    ("status", "level"),
    [
        ({"torch": "2.5", "torchaudio": "2.5", "compiled": "ok", "reason": None, "advice": None}, "ok"),
        ({"torch": "2.5", "torchaudio": "2.4", "compiled": "broken", "reason": "no libc10", "advice": "match"}, "warn"),
        ({"torch": None, "torchaudio": None, "compiled": "absent", "reason": "no torch", "advice": "install"}, "fail"),
    ],
)
def test_torchaudio_beside_torch(status, level):
    check = doctor._torchaudio(status)
    assert check.status == level
    assert level == "ok" or (status["reason"] in check.found and check.advice == status["advice"])


def test_more_blas_threads_than_cores(monkeypatch):
    import threadpoolctl

    pool = {"internal_api": "openblas", "num_threads": 4096}
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: [pool])
    check = next(check for check in doctor._threads() if check.name == "BLAS threads")
    assert check.status == "warn"
    assert "OMP_NUM_THREADS" in check.advice


def test_no_browser(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    [check] = doctor._browser()
    assert (check.status, check.found) == ("warn", "none found here")


def test_a_check_that_breaks_does_not_stop_the_others(monkeypatch):
    def _disk():
        raise RuntimeError("odd file system")
        yield

    monkeypatch.setattr(doctor, "_disk", _disk)
    monkeypatch.setattr(doctor, "_torch", lambda: iter(()))
    checks = doctor.examine()
    assert doctor.Check("disk", "warn", "could not be checked: RuntimeError: odd file system") in checks
    assert any(check.name == "browser" for check in checks)


def test_sizes_are_for_people():
    assert [doctor._size(n) for n in (0, 999, 1500, 2.5e6, 3e9, 4.2e12)] == [
        "0 B",
        "999 B",
        "2 kB",
        "2 MB",
        "3 GB",
        "4.2 TB",
    ]
