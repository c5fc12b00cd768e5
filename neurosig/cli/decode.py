"""``neurosig decode``: a trained pipeline applied to new recordings."""

from __future__ import annotations

import contextlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from neurosig.cli import fmri_options
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
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for decoded.csv, decoded.json, report.html; 'decoded' by default (with --json: none).",
        ),
    ] = None,
    on_missing: Annotated[OnMissing, typer.Option(help="What to do about missing channels.")] = OnMissing.refuse,
    resample: Annotated[bool, typer.Option("--resample", help="Resample recordings of another rate.")] = False,
    unit: Annotated[str | None, typer.Option(help="Unit of the numbers where a file does not say: V, mV, uV.")] = None,
    sfreq: Annotated[float | None, typer.Option(help="Sampling rate in Hz where a file does not say.")] = None,
    atlas: fmri_options.Atlas = None,
    t_r: fmri_options.RepetitionTime = None,
    confounds: fmri_options.Confounds = None,
    fmri: fmri_options.More = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Apply a trained pipeline to new recordings.

    Recordings are filtered and cut as in training; channels are matched by name and brought to
    the order and unit of training, or refused with the reason. Without --events and --window,
    windows of the trained length are decoded, each overlapping the next by half.

    Of fMRI, a model trained on whole runs answers once a run; regions are matched by name, runs of another
    repetition time are refused unless --resample is given. Where the training was on images, the same
    atlas is needed (--atlas).

    \b
    Examples:
      neurosig decode --model model/ new.edf --out decoded/
      neurosig decode --model model/ new.edf --window 2 --step 0.5 --out decoded/
      neurosig decode --model model/ new.edf --events left=T1,right=T2 --json
      neurosig decode --model model/ sub-07_task-rest_desc-preproc_bold.nii.gz --atlas schaefer.nii.gz
    """  # \b keeps the lines of the examples apart
    from neurosig.cli import console

    if step is not None and window is None:
        _wrong("--step belongs to --window; give both")
    if events is not None and window is not None:
        _wrong("--events and --window exclude each other; give one of them")
    if out is None and not json_:
        out = Path("decoded")
        if (out / "decoded.csv").exists():
            console.warn(f"{out} holds the answers of an earlier call, which are replaced; --out names another folder")
    with console.only_json(json_), _place(out):
        decoded = _decode(recordings, model, events, window, step, on_missing.value, resample, {
            "unit": unit, "sfreq": sfreq, **(fmri_options.fmri_options(atlas, t_r, confounds, None, fmri) or {}),
        })  # fmt: skip
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
    read: dict[str, Any],
) -> Any:
    from neurosig.evaluation.trained import TrainedPipeline

    trained = TrainedPipeline.load(model)
    return trained.decode(
        recordings,
        events=events if events == "training" else parse_events(events),
        windows=None if window is None else (window, window / 2 if step is None else step),
        read=read,
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
        said = _answer(decoded, entry) if decoded.report.get("mode") == "runs" else f"{entry['n_windows']} decoded"
        console.say(f"{Path(entry['file']).name}: {_length(entry)}{said}; {entry['mapping']}")
    for text in decoded.report["warnings"]:
        console.warn(text)
    counts = decoded.table["predicted"].value_counts()
    console.say("predicted: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    if decoded.accuracy is not None:
        what = "labels" if decoded.report.get("mode") == "runs" else "events"
        console.say(f"as the {what} say: {decoded.accuracy:.1%} of {int(decoded.table['correct'].notna().sum())}")
    for name, path in files.items():
        console.say(f"{name + ':':8}{path}")


def _answer(decoded: Any, entry: dict[str, Any]) -> str:
    """What the model says of a run, or of the runs of one file."""
    rows = decoded.table[decoded.table["file"] == entry["file"]]
    if len(rows) != 1:
        counts = rows["predicted"].value_counts()
        return f"{len(rows)} runs, " + ", ".join(f"{name} {count}" for name, count in counts.items())
    row = rows.iloc[0]
    prefix, word = {"probability": ("p_", "probability"), "score": ("score_", "score")}.get(decoded.kind, ("", ""))
    number = f" ({word} {row[prefix + row['predicted']]:.2f})" if prefix else ""
    label = row.get("event")
    told = f", label {label}" if isinstance(label, str) else ""
    return f"{row['predicted']}{number}{told}"


def _length(entry: dict[str, Any]) -> str:
    """How long a recording is, and its rate, as far as they are known (tables of region series need not say)."""
    if entry["sfreq"] is None:
        return ""
    rate = f"repetition time {entry['t_r']:g} s" if entry.get("t_r") else f"{entry['sfreq']:g} Hz"
    return f"{entry['seconds']:.1f} s at {rate}, "
