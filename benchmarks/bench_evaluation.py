"""What `benchmark()` costs on top of the same evaluation called through MOABB."""

from __future__ import annotations

import csv
import json
import logging
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import Row, side

PIPELINES = ("CSP+LDA", "TS+LR")
_IMPORTS = (
    "moabb.evaluations", "moabb.paradigms", "mne.decoding", "pyriemann.estimation", "pyriemann.tangentspace",
    "pyriemann.spatialfilters", "neurosig.evaluation.benchmark", "neurosig.loaders.simulated",
    "neurosig.loaders.moabb_dataset",
)  # fmt: skip


def _scores(table) -> dict[str, float]:
    # MOABB's file of results keeps 32 bits; that the scores agree to the last of 64 is shown in the tests
    rounded = table.assign(score=table["score"].astype("float32").astype("float64"))
    return {name: round(score, 9) for name, score in rounded.groupby("pipeline")["score"].mean().items()}


@side(imports=_IMPORTS)
def ours(scratch: Path) -> dict[str, float]:
    """`neurosig.benchmark` with MOABB's folds."""
    from neurosig.evaluation.benchmark import benchmark
    from neurosig.evaluation.pipelines import load_pipelines

    results = benchmark(
        load_pipelines(names=list(PIPELINES)),
        "simulated-imagery",
        folds="shuffled",
        out=scratch / "results",
        random_state=42,
    )
    return _scores(results.table)


@side(imports=_IMPORTS)
def moabb_direct(scratch: Path) -> dict[str, float]:
    """MOABB's `WithinSessionEvaluation` of the same dataset and pipelines."""
    import moabb
    from moabb.evaluations import WithinSessionEvaluation

    from neurosig.evaluation.paradigms import make_paradigm
    from neurosig.evaluation.pipelines import load_pipelines
    from neurosig.loaders.manifest import open_dataset

    moabb.set_log_level("error")
    logging.getLogger("moabb").setLevel(logging.ERROR)
    manifest = open_dataset("simulated-imagery")
    dataset = manifest.as_moabb()
    processing = manifest.processing
    paradigm = make_paradigm(
        dataset, fmin=processing.fmin, fmax=processing.fmax, tmin=processing.tmin, tmax=processing.tmax
    )
    evaluation = WithinSessionEvaluation(paradigm, [dataset], random_state=42, hdf5_path=str(scratch), overwrite=True)
    return _scores(evaluation.process(load_pipelines(names=list(PIPELINES))))


def _command(scratch: Path) -> list[str]:
    return [
        sys.executable, "-m", "neurosig", "benchmark", "--dataset", "simulated-imagery", "--pipelines",
        ",".join(PIPELINES), "--folds", "shuffled", "--out", str(scratch / "results"),
    ]  # fmt: skip


_MOABB_SCRIPT = """
import json, sys, logging
from pathlib import Path
import moabb
moabb.set_log_level("error")
from moabb.evaluations import WithinSessionEvaluation
from neurosig.evaluation.paradigms import make_paradigm
from neurosig.evaluation.pipelines import load_pipelines
from neurosig.loaders.manifest import open_dataset
dataset = open_dataset("simulated-imagery").as_moabb()
paradigm = make_paradigm(dataset)
evaluation = WithinSessionEvaluation(paradigm, [dataset], random_state=42, hdf5_path=sys.argv[1])
table = evaluation.process(load_pipelines(names=["CSP+LDA", "TS+LR"]))
print(json.dumps(sorted(set(table["pipeline"]))))
"""


def _first_command(scratch: Path) -> None:
    subprocess.run(_command(scratch), check=True, capture_output=True)


def _first_script(scratch: Path) -> None:
    subprocess.run([sys.executable, "-c", _MOABB_SCRIPT, str(scratch)], check=True, capture_output=True)


@side(prepare=_first_command)
def second_command(scratch: Path) -> list[str]:
    """The whole command again, interpreter start included; the pipelines that the table holds."""
    subprocess.run(_command(scratch), check=True, capture_output=True)
    with (scratch / "results" / "results.csv").open(newline="") as stream:
        return sorted({row["pipeline"] for row in csv.DictReader(stream)})


@side(prepare=_first_script)
def second_script(scratch: Path) -> list[str]:
    """MOABB called again from a script: its own store of results; the pipelines that it gives."""
    done = subprocess.run(
        [sys.executable, "-c", _MOABB_SCRIPT, str(scratch)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


ROWS = [
    Row(
        work="within-session evaluation of CSP+LDA and TS+LR, simulated-imagery, same scores",
        peer="MOABB's WithinSessionEvaluation",
        ours="benchmarks.bench_evaluation:ours",
        theirs="benchmarks.bench_evaluation:moabb_direct",
        at_most=1.05,
    ),
    Row(
        work="the same command a second time, everything stored",
        peer="MOABB with its stored results",
        ours="benchmarks.bench_evaluation:second_command",
        theirs="benchmarks.bench_evaluation:second_script",
        at_most=1.0,
        below=3.0,
    ),
]
