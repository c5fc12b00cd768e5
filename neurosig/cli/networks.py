"""``neurosig networks``: which networks a pipeline may name, and which of them can be built."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    build: Annotated[bool, typer.Option("--try", help="Build each one and say why where it fails (a minute).")] = False,
    channels: Annotated[str | None, typer.Option(help="Build for these channels, such as C3,Cz,C4 [22].")] = None,
    sfreq: Annotated[float | None, typer.Option(help="Build for this sampling rate, in Hz [250].")] = None,
    seconds: Annotated[float | None, typer.Option(help="Build for windows of this length [4].")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """List the networks that NetClassifier knows by name: ours, then braindecode's.

    A name goes into a pipeline file as `module: NAME`, its options as `module_params`.

    \b
    Examples:
      neurosig networks
      neurosig networks --try --channels C3,Cz,C4 --sfreq 128 --seconds 3
    """  # \b keeps the lines of the examples apart
    from dataclasses import asdict

    from neurosig.cli import console
    from neurosig.core.errors import UsageError
    from neurosig.models.net_catalogue import CHANNELS, N_TIMES, SFREQ, network_rows, signals_like, without_place

    given = {"--channels": channels, "--sfreq": sfreq, "--seconds": seconds}
    if (unused := [name for name, value in given.items() if value is not None]) and not build:
        raise UsageError(f"{unused[0]} says what networks are built for; add --try to build them, or leave it out")
    sfreq = SFREQ if sfreq is None else sfreq
    seconds = N_TIMES / SFREQ if seconds is None else seconds
    if not 0 < sfreq < float("inf") or not 0 < seconds * sfreq < float("inf"):
        raise UsageError(f"--sfreq and --seconds must be above 0, got {sfreq:g} and {seconds:g}")
    names = list(CHANNELS) if channels is None else [name.strip() for name in channels.split(",") if name.strip()]
    info = signals_like(names, sfreq) if build else None
    if info is not None and (strangers := without_place(info)):
        console.warn(
            f"no position is known for {', '.join(strangers)} (the 10-05 system has no such name): networks that go by "
            "positions are tried without"
        )
    with console.only_json(json_):
        rows = list(network_rows(info, n_times=round(seconds * sfreq), build=build))
    if json_:
        console.emit_json({"networks": [asdict(row) for row in rows]})
        return
    if build:
        told = {True: "yes", False: "no", None: "?"}
        shown = [(row.name, row.package, told[row.builds], row.n_parameters or "", row.note) for row in rows]
        console.show_table(("name", "package", "builds", "weights", "why not"), shown, right=("weights",))
    else:
        console.show_table(("name", "package", "what"), [(row.name, row.package, row.summary) for row in rows])
    console.say(f"{len(rows)} networks; a pipeline file names one as module: NAME")
