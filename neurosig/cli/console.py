"""What every command shares: answers on standard output (text, or one JSON object), remarks on standard error."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "answered",
    "emit_json",
    "err",
    "jsonable",
    "note",
    "only_json",
    "out",
    "program",
    "say",
    "show_table",
    "warn",
]


answered: set[str] = set()  # holds "json" once the one object of this run is written


def out() -> Console:
    """Console on standard output: colours on a terminal only, ``NO_COLOR`` and ``COLUMNS`` honoured."""
    from rich.console import Console

    return Console(highlight=False, markup=False, soft_wrap=True)


def err() -> Console:
    """Console on standard error, as `out`."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def program() -> str:
    """How to call this program from here: by its name where that is on the PATH, else the way it was called."""
    called = Path(sys.argv[0])
    found = shutil.which("neurosig")
    if called.name != "neurosig" or not called.exists() or (found and Path(found).samefile(called)):
        return "neurosig"
    with contextlib.suppress(ValueError):
        return str(called.absolute().relative_to(Path.cwd()))
    return str(called)


def say(text: str = "", style: str | None = None) -> None:
    """Write one line of the answer to standard output."""
    out().print(text, style=style)


def note(text: str) -> None:
    """Write a remark to standard error, where it does not mix with the answer."""
    err().print(text, style="dim")


def warn(text: str) -> None:
    """Write a warning to standard error, on one line, with its advice as it is typed here."""
    from neurosig.cli.wording import as_typed

    err().print(f"warning: {as_typed(' '.join(str(text).split()))}", style="yellow")


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None, right: Sequence[str] = ()
) -> None:
    """Print a table on standard output.

    Parameters
    ----------
    columns : sequence of str
        Heads of the columns.
    rows : iterable of sequences
        Cells; numbers are shown as they print, None as a dash.
    title : str, optional
        Line above the table.
    right : sequence of str
        Columns set flush right (numbers).
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(Text(column), justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("-" if cell is None else str(cell)) for cell in row))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 120  # in a file or a pipe there is no window to fit into
    console.print(table)


def jsonable(value: Any) -> Any:
    """`value` as plain JSON types: arrays as lists, paths as text, not-a-number and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return jsonable(value.to_dict(orient="records"))
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Iterable):
        return [jsonable(item) for item in value]
    return str(value)


def emit_json(answer: Any) -> None:
    """Write the command's whole answer as one JSON object, alone on standard output."""
    answered.add("json")
    sys.stdout.write(json.dumps(jsonable(answer), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def only_json(enabled: bool = True) -> Iterator[None]:
    """While work is done, keep what libraries print off standard output, so that it holds the JSON object alone."""
    if not enabled:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield
