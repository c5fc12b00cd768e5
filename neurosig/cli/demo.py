"""``neurosig demo``: the main job on simulated recordings, so that everything can be seen to work in a minute."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from neurosig.evaluation.results import Results

_DATASET = "simulated-imagery"
_PIPELINES = ("Chance", "LogVar+LDA", "CSP+LDA", "MDM", "FgMDM", "TS+LR")  # of every kind one that is quick


def command(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("neurosig-demo"),
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Compare six decoders on simulated motor imagery, in less than a minute.

    Nothing is downloaded: people imagining movements of the left and the right hand are
    simulated from a model of the head. What is left behind is what a benchmark on real
    recordings leaves: a table, and a report for the browser. A second run takes the finished
    folds from there.

    \b
    Examples:
      neurosig demo
      neurosig demo --out elsewhere/
    """  # \b keeps the lines of the examples apart
    from neurosig.cli import console
    from neurosig.cli.benchmark import check_scored

    # matrices this small are slower on several threads: three times the work on two cores; read when numpy is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    command_line = shlex.join(["neurosig", "demo", "--out", str(out)])
    if not json_:
        console.note("simulating people and comparing six decoders on them: about a minute")
    with console.only_json(json_):
        results = _run(out, json_, command_line)
        report = out / "report.html"
        if not report.exists():
            results.report(report)
    ways = _next_commands(results, out)
    if json_:
        answer = {
            "ranking": results.summary(),
            "failed": results.failed,
            "table": out / "results.csv",
            "report": report,
        }
        console.emit_json({**answer, "next": ways})
    else:
        _show(results, report, ways)
    check_scored(results)


def _run(out: Path, quiet: bool, command_line: str) -> Results:
    from neurosig.evaluation.benchmark import benchmark

    return benchmark(list(_PIPELINES), _DATASET, out=out, progress=False if quiet else None, command=command_line)


def _next_commands(results: Results, out: Path) -> list[str]:
    """What to try next: every line works as it stands."""
    from neurosig.cli import console

    ranked = [name for name in results.summary()["pipeline"] if name != "Chance"]
    name = console.program()
    train = [name, "train", "--dataset", _DATASET, "--pipeline", ranked[0], "--out", str(out / "model")]
    compare = [name, "benchmark", "--dataset", _DATASET, "--pipelines", ",".join(ranked[:2])]
    compare += ["--evaluation", "cross_subject", "--out", str(out / "new-people")]
    return [shlex.join(train), shlex.join(compare), shlex.join([name, "datasets", "list"])]


def _show(results: Results, report: Path, ways: list[str]) -> None:
    from neurosig.cli import console

    rows: list[list[Any]] = [
        [row.pipeline, f"{row.mean:.3f}", f"{row.ci_low:.3f} to {row.ci_high:.3f}", row.n, f"{row.chance:.3f}"]
        for row in results.summary().itertuples()
    ]
    metric = str(results.table["metric"].iloc[0])
    console.show_table(
        ["pipeline", metric, "95 % interval", "people", "chance"],
        rows,
        right=[metric, "people", "chance"],
        title="How well each decoder tells left from right hand, within a session, on runs it has not seen",
    )
    for line in results.warnings:
        console.note(f"note: {line}")
    console.say(f"report: {report.resolve()}  (open it in a browser)")
    console.say(f"table:  {report.resolve().parent / 'results.csv'}")
    console.say("\nWhat to try next:")
    for way in ways:
        console.say(f"  {way}")
    name = console.program()
    console.say(f"With recordings of your own: {name} inspect FILE, then {name} benchmark --dataset FOLDER")
