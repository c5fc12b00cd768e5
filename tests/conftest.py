"""Shared fixtures: real data and golden arrays are found through the environment; absence is a stated skip."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")


def _folder(variable):
    place = os.environ.get(variable)
    if not place:
        pytest.skip(f"{variable} is not set: it names the folder of recordings that this test reads")
    return Path(place)


@pytest.fixture(scope="session")
def data_dir():
    """Folder of real recordings (environment variable NEUROSIG_DATA)."""
    return _folder("NEUROSIG_DATA")


@pytest.fixture(scope="session")
def golden_dir():
    """Folder of outputs of published implementations (environment variable NEUROSIG_GOLDEN)."""
    return _folder("NEUROSIG_GOLDEN")


@pytest.fixture(autouse=True)
def private_home(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's caches."""
    home = tmp_path_factory.mktemp("home")
    for name in ("MNE_DATA", "NEUROSIG_CACHE", "_MNE_FAKE_HOME_DIR"):
        monkeypatch.setenv(name, str(home))


@pytest.fixture
def cli(tmp_path):
    """Run the command line in a process of its own: ``cli("inspect", path, cwd=...)`` gives a CompletedProcess."""

    def run(*args, cwd=tmp_path, timeout=300, **env):
        return subprocess.run(
            [sys.executable, "-m", "neurosig", *map(str, args)],
            cwd=cwd,
            # the width of whatever runs the tests is not the user's
            env={**{name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}, **env},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def interruptible():
    """``preexec_fn`` of a process that is to hear Ctrl-C: in a shell's background, tests inherit that it is ignored."""
    return lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
