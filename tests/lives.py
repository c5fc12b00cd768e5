"""Processes of their own for tests, forked from one that has imported the libraries: a life of theirs is all work.

They know nothing of the process of the tests. Some are killed: where a test says so, they kill themselves at an event
of the file system, not at a moment that a slow or a quick machine would miss.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIBRARIES = [
    "torch", "mne", "moabb.evaluations", "moabb.paradigms", "pyriemann.tangentspace", "pyriemann.classification",
    "sklearn.discriminant_analysis", "sklearn.linear_model", "sklearn.dummy", "skops.io", "matplotlib.pyplot", "rich",
    "neurosig.cli.app", "neurosig.evaluation.benchmark", "neurosig.evaluation.transfer", "neurosig.loaders.eeg",
    "neurosig.loaders.manifest", "neurosig.loaders.moabb_dataset", "neurosig.loaders.simulated",
    "neurosig.preprocessing.cleaning_runs", "neurosig.reports.benchmark", "neurosig.core.persistence",
]  # fmt: skip
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}


def command(args: list[str], cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run ``neurosig`` with these arguments, as a shell would."""
    return _told(_command, ["neurosig", *args], cwd, environment)


def python(code: str, *args: Any, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process that knows nothing of this one."""
    return _told(_python, ["-c", *map(str, args)], cwd, environment, code)


def begin(folder: Path, work: Callable, *args: Any, kill_at: int | None = None, **environment: str) -> Any:
    """Start `work(*args)` in a process whose working folder is `folder`.

    With `kill_at` the process kills itself and its workers at that event below `folder`: as it opens a file there,
    makes, moves or removes one. Whether it came so far, `ended` tells.
    """
    return _start(_live, str(folder), work, args, kill_at, {**os.environ, **environment})


def kill(process: Any) -> bool:
    """Kill a process that `begin` started, and its workers; False where it had come to its end."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return not ended(process)


def ended(process: Any) -> bool:
    """Wait for the end of a process; False where it was killed."""
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), "the process failed: see what it wrote to stderr"
    return process.exitcode == 0


def n_events(folder: Path) -> int:
    """How many events the process counted that came to its end last."""
    return int((folder / "events").read_text())


def _start(target: Callable, *args: Any) -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    process = context.Process(target=target, args=args)
    process.start()
    return process


def _live(folder: str, work: Callable, args: tuple, kill_at: int | None, environment: dict[str, str]) -> None:
    os.setsid()  # a group of its own: its workers die with it
    os.chdir(folder)
    os.environ.clear()
    os.environ |= {"JOBLIB_TEMP_FOLDER": folder, **environment}
    seen = 0

    def note(event: str, details: tuple) -> None:
        nonlocal seen
        if event in EVENTS and str(details[0]).startswith(folder):
            seen += 1
            if seen == kill_at:
                os.killpg(0, signal.SIGKILL)

    sys.addaudithook(note)
    work(*args)
    _leave_no_worker()
    Path("events").write_text(str(seen))


def _told(work: Callable, argv: list[str], cwd: Path, environment: dict[str, str], *args: Any) -> Any:
    """Run `work` to its end; what it printed, what it complained of, and its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / name for name in ("stdout", "stderr")]
        process = _start(_speak, work, argv, str(cwd), {**os.environ, **environment}, places, *args)
        process.join()
        stdout, stderr = (place.read_text(encoding="utf-8") for place in places)
    return subprocess.CompletedProcess(argv, process.exitcode, stdout, stderr)


def _speak(work: Callable, argv: list[str], cwd: str, environment: dict[str, str], places: list[Path], *args) -> None:
    for stream, place in zip((sys.stdout, sys.stderr), places, strict=True):
        with open(place, "wb") as target:
            os.dup2(target.fileno(), stream.fileno())
    os.chdir(cwd)
    os.environ.clear()
    os.environ |= environment
    sys.path[:0] = [cwd, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = list(argv)
    try:
        work(*args)
    except Exception:  # what multiprocessing writes of it is not what Python writes
        traceback.print_exc()
        sys.exit(1)
    finally:
        _leave_no_worker()


def _command() -> None:
    from neurosig.cli.app import main

    main()


def _python(code: str) -> None:
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})


def _leave_no_worker() -> None:
    from joblib.externals.loky import reusable_executor

    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown(wait=True)
