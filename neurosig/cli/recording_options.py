"""Options of the commands that cut recordings into windows, each spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Data", "KeepBad", "OnNan", "Picks", "Recordings", "SamplingRate", "Step", "Subjects", "Unit"]

Recordings = Annotated[
    list[str], typer.Argument(metavar="RECORDINGS...", help="Files, folders, BIDS roots, or names of datasets.")
]
Step = Annotated[
    float | None, typer.Option("--step", metavar="S", help="From one window to the next.  [default: a window]")
]
Picks = Annotated[str | None, typer.Option("--picks", metavar="NAMES", help="Channels to keep, such as C3,Cz,C4.")]
Subjects = Annotated[str | None, typer.Option("--subjects", metavar="1,2,...", help="Only these subjects.")]
Data = Annotated[Path | None, typer.Option("--data", metavar="FOLDER", help="Folder that holds the files of datasets.")]
Unit = Annotated[str | None, typer.Option("--unit", help="Unit of the numbers, where a file does not say: V, mV, uV.")]
SamplingRate = Annotated[
    float | None, typer.Option("--sfreq", metavar="HZ", help="Sampling rate, where a file does not say.")
]
KeepBad = Annotated[bool, typer.Option("--keep-bad", help="Keep windows that touch spans called BAD...")]
OnNan = Annotated[
    str, typer.Option("--on-nan", metavar="WHAT", help="Recordings with NaN: raise, or skip the windows that hold it.")
]
