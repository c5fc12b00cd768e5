"""``neurosig decode``: a trained pipeline applied to new recordings."""

from __future__ import annotations

import contextlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from neurosig.cli.options import parse_events


class OnMissing(StrEnum):
    """What to do when a channel of the training data is not in the recording."""

    refuse = "raise"
    interpolate = "interpolate"
    drop = "drop"


def command(
    recordings: Annotated[
        list[Path], typer.Argument(help="Recordings: files, or folders of them.", show_default=False)
    ],
    model: Annotated[Path, typer.Option("--model", "-m", help="Folder that neurosig train made.")],
    events: Annotated[
        str | None,
        typer.Option(help="Decode at these events, such as left=T1,right=T2; 'training': those of training."),
    ] = None,
    window: Annotated[float | None, typer.Option(help="Decode sliding windows of this many seconds.")] = None,
    step: Annotated[
        float | None, typer.Option(help="Seconds from one window to the next; half a window by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for decoded.csv, decoded.json, report.html.")
    ] = None,
    on_missing: Annotated[OnMissing, typer.Option(help="What to do about missing channels.")] = OnMissing.refuse,
    resample: Annotated[bool, typer.Option("--resample", help="Resample recordings of another rate.")] = False,
    unit: Annotated[str | None, typer.Option(help="Unit of the numbers where a file does not say: V, mV, uV.")] = None,
    sfreq: Annotated[float | None, typer.Option(help="Sampling rate in Hz where a file does not say.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Apply a trained pipeline to new recordings.

    Recordings are filtered and cut as in training; channels are matched by name and brought to
    the order and unit of training, or refused with the reason. Without --events and --window,
    windows of the trained length are decoded, each overlapping the next by half.

    \b
    Examples:
      neurosig decode --model model/ new.edf --out decoded/
      neurosig decode --model model/ new.edf --window 2 --step 0.5 --out decoded/
      neurosig decode --model model/ new.edf --events left=T1,right=T2 --json
    """  # \b keeps the lines of the examples apart
    from neurosig.cli import console

    if step is not None and window is None:
        _wrong("--step belongs to --window; give both")
    if events is not None and window is not None:
        _wrong("--events and --window exclude each other; give one of them")
    if out is None and not json_:
        out = Path("decoded")
    with console.only_json(json_), _place(out):
        decoded = _decode(recordings, model, events, window, step, on_missing.value, resample, unit, sfreq)
        files = {} if out is None else _store(decoded, out)
    if json_:
        console.emit_json({**decoded.to_dict(), "files": files})
    else:
        _show(decoded, files)


def _place(out: Path | None) -> Any:
    """Fail before the work, not after it, where the answer cannot be stored."""
    from neurosig.evaluation.folders import folder_for_results

    return contextlib.nullcontext() if out is None else folder_for_results(out)


def _wrong(message: str) -> None:
    from neurosig.core.errors import UsageError

    raise UsageError(message)


def _decode(
    recordings: list[Path],
    model: Path,
    events: str | None,
    window: float | None,
    step: float | None,
    on_missing: str,
    resample: bool,
    unit: str | None,
    sfreq: float | None,
) -> Any:
    from neurosig.evaluation.trained import TrainedPipeline

    trained = TrainedPipeline.load(model)
    return trained.decode(
        recordings,
        events=events if events == "training" else parse_events(events),
        windows=None if window is None else (window, window / 2 if step is None else step),
        read={"unit": unit, "sfreq": sfreq},
        on_missing=on_missing,
        on_sfreq="resample" if resample else "raise",
    )


def _store(decoded: Any, out: Path) -> dict[str, Path]:
    from neurosig.reports.decode import write_decode_report

    files = decoded.save(out)
    files["report"] = Path(write_decode_report(decoded, out / "report.html"))
    return files


def _show(decoded: Any, files: dict[str, Path]) -> None:
    from neurosig.cli import console

    for entry in decoded.report["recordings"]:
        console.say(
            f"{Path(entry['file']).name}: {entry['seconds']:.1f} s at {entry['sfreq']:g} Hz, "
            f"{entry['n_windows']} decoded; {entry['mapping']}"
        )
    for text in decoded.report["warnings"]:
        console.warn(text)
    counts = decoded.table["predicted"].value_counts()
    console.say("predicted: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    if decoded.accuracy is not None:
        console.say(f"as the events say: {decoded.accuracy:.1%} of {int(decoded.table['correct'].notna().sum())}")
    for name, path in files.items():
        console.say(f"{name + ':':8}{path}")
