"""Run two ways of doing one work alternately, each in a process of its own, and report the ratio.

A side is named "module:function"; the function takes a scratch folder, does the work, and may return a dictionary of
facts about the result, which must be equal on both sides; numbers under "shown" may differ and are told in the table.
What is measured is the function's run; of a generator, what comes after its one ``yield``: what is made ready once,
however long the work. Files that it needs are written into the scratch folder by another process before: neither their
time nor their memory counts.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from neurosig.evaluation.measure import peak_memory

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Row:
    """One comparison: ours against a peer.

    Parameters
    ----------
    work : str
        What is done, with its size.
    peer : str
        Who else does it, or what it is compared with.
    ours, theirs : str
        "module:function" of the two sides.
    at_most : float
        Promise: ours / theirs stays at or below this.
    measure : {"seconds", "peak_mb"}
        What is compared.
    repeats : int
        Runs of each side; the best of each is compared.
    below : float or None
        Promise: ours itself stays below this, in seconds or megabytes.
    needs : str or None
        Environment variable that must be set, else the row says so and is left out.
    agree : str or None
        "module:function" that proves, once and untimed, what equal facts cannot say: it raises where the two sides do
        different things, and what it returns under "told" stands in the table.
    """

    work: str
    peer: str
    ours: str
    theirs: str
    at_most: float
    measure: str = "seconds"
    repeats: int = 3
    below: float | None = None
    needs: str | None = None
    agree: str | None = None


def find_side(target: str):
    """The function that "module:function" names."""
    module, name = target.split(":")
    return getattr(importlib.import_module(module), name)


def run_side(target: str) -> dict:
    """Do one side's work in this process; called in a process of its own."""
    function = find_side(target)
    with tempfile.TemporaryDirectory() as scratch:
        if hasattr(function, "prepare"):
            subprocess.run([sys.executable, "-m", "benchmarks", "--prepare", target, scratch], check=True)
        if hasattr(function, "imports"):
            for name in function.imports:
                importlib.import_module(name)
        work = partial(function, Path(scratch))
        if inspect.isgeneratorfunction(function):
            work = partial(_rest, ready := work())
            next(ready)
        gc.collect()  # what imports left behind is no part of the work
        with peak_memory() as memory:
            start = time.perf_counter()
            facts = work()
            seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mb": memory["megabytes"], "facts": facts}


def _rest(generator):
    """What a generator returns that yields no more."""
    try:
        next(generator)
    except StopIteration as done:
        return done.value
    raise RuntimeError("a side yields once, before the work that is measured")


def _in_own_process(target: str) -> dict:
    call = [sys.executable, "-W", "ignore", "-m", "benchmarks", "--side", target]
    done = subprocess.run(call, capture_output=True, text=True, env={**os.environ, **_ONE_THREAD}, check=False)
    if done.returncode:
        raise RuntimeError(f"{target} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def side(*, prepare=None, imports=()):
    """Mark a side with what comes before it: a function that fills the scratch folder, and modules to import."""

    def mark(function):
        if prepare is not None:
            function.prepare = prepare
        function.imports = imports
        return function

    return mark


def compare(row: Row) -> dict:
    """Measure both sides of a row alternately and give the ratio of their best values."""
    if row.needs and not os.environ.get(row.needs):
        return {"work": row.work, "peer": row.peer, "left_out": f"{row.needs} is not set"}
    values: dict[str, list[float]] = {"ours": [], "theirs": []}
    facts, shown = {}, {}
    told = None if row.agree is None else _in_own_process(row.agree)["facts"]["told"]
    for _ in range(row.repeats):
        for name in ("theirs", "ours"):
            measured = _in_own_process(getattr(row, name))
            values[name].append(measured[row.measure])
            facts[name] = measured["facts"]
            shown[name] = (facts[name] or {}).pop("shown", {})
    if facts["ours"] != facts["theirs"]:
        raise RuntimeError(f"{row.work}: the two sides give different results: {facts}")
    ours, theirs = min(values["ours"]), min(values["theirs"])
    return {
        "work": row.work,
        "peer": row.peer,
        "shown": shown,
        "told": told,
        "measure": row.measure,
        "ours": ours,
        "theirs": theirs,
        "ratio": ours / theirs,
        "median_ratio": statistics.median(values["ours"]) / statistics.median(values["theirs"]),
        "at_most": row.at_most,
        "below": row.below,
        "kept": ours / theirs <= row.at_most and (row.below is None or ours < row.below),
    }
