"""``neurosig report``: write the page of a finished or interrupted benchmark again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    results: Annotated[Path, typer.Argument(help="Folder that `neurosig benchmark --out` wrote.")],
    out: Annotated[Path | None, typer.Option(help="HTML file to write; by default report.html in that folder.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Build the HTML report of a benchmark from its results folder.

    \b
    Examples:
      neurosig report results/
      neurosig report results/ --out supplement.html --open
    """
    from neurosig.cli.console import emit_json, say
    from neurosig.core.errors import InputError, UsageError
    from neurosig.evaluation.results import Results
    from neurosig.evaluation.transfer_results import TransferResults, is_transfer

    if not results.is_dir():
        found = "a file" if results.exists() else "nothing"
        raise InputError(f"expected a folder written by `neurosig benchmark --out`, found {found} at {results}")
    if out is not None and out.is_dir():
        raise UsageError(f"--out names the HTML file to write, {out} is a folder; add a file name")
    loaded: Results | TransferResults
    loaded = TransferResults.load(results) if is_transfer(results) else Results.load(results)
    page = loaded.report(results / "report.html" if out is None else out)
    if json_:
        emit_json({"report": page, "rows": len(loaded.table)})
    else:
        say(f"Report: {page}")
    if open_:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
