"""Shared fixtures: real data and golden arrays are found through the environment; absence is a stated skip."""

import os
import signal
import sys
from pathlib import Path

import matplotlib
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # lives.py serves the tests of several folders
import lives

matplotlib.use("Agg")
for _name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "PYTHONWARNINGS"):
    os.environ.pop(_name, None)  # the terminal of whoever runs the tests is not the user's


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
    for name in ("PYTHONWARNINGS", "MNE_LOGGING_LEVEL"):  # the command line sets them for its workers
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def cli(tmp_path):
    """Run the command line in a process of its own: ``cli("inspect", path, cwd=...)`` gives a CompletedProcess."""
    return lambda *args, cwd=tmp_path, **env: lives.command(list(map(str, args)), cwd, env)


@pytest.fixture
def n_calls():
    """Count the calls of functions, Python's and C's, that some work takes: no busy machine makes them more."""

    def count(work, *args):
        calls = 0

        def note(frame, event, details):
            nonlocal calls
            calls += event in ("call", "c_call")

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            work(*args)
        finally:
            sys.setprofile(before)
        return calls

    return count


@pytest.fixture
def interruptible():
    """``preexec_fn`` of a process that is to hear Ctrl-C: in a shell's background, tests inherit that it is ignored."""
    return lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
