"""``neurosig inspect``: what is in a recording, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from neurosig.cli import fmri_options

_SHOWN = 12  # channels and events listed before the text says how many more there are


def command(
    file: Annotated[Path, typer.Argument(help="A recording of any format that neurosig reads.", show_default=False)],
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure",
            metavar="OUT.png",
            help="Draw traces, events, spectrum and sensors (of fMRI: series, movement, connectivity) to this file.",
        ),
    ] = None,
    sfreq: Annotated[float | None, typer.Option(help="Sampling rate in Hz, where the file does not say.")] = None,
    unit: Annotated[
        str | None, typer.Option(help="Unit of the numbers, where the file does not say: V, mV, uV.")
    ] = None,
    montage: Annotated[str | None, typer.Option(help="Standard montage of mne to match the channels with.")] = None,
    channels: Annotated[
        bool, typer.Option("--channels", help="List every channel (region), not only the remarkable ones.")
    ] = False,
    atlas: fmri_options.Atlas = None,
    t_r: fmri_options.RepetitionTime = None,
    orientation: Annotated[
        str | None,
        typer.Option(metavar="ROWS", help="Which way a table of regions lies: rows_are_volumes or rows_are_regions."),
    ] = None,
    fmri: Annotated[
        list[str] | None,
        typer.Option(
            "--fmri", metavar="NAME=VALUE", help="fMRI: orientation, min_coverage; may be given several times."
        ),
    ] = None,
) -> None:
    """Show what is in a recording: channels or regions, rate, events, amplitudes, and the problems found.

    \b
    Examples:
      neurosig inspect S001R04.edf
      neurosig inspect sub-01_task-rest_eeg.vhdr --figure look.png
      neurosig inspect stream.csv.gz --sfreq 256 --json
      neurosig inspect sub-01_task-rest_bold.nii.gz --atlas power --figure look.png
      neurosig inspect NYU_0050952_rois_cc200.1D --t-r 2
    """
    from neurosig.cli import console, inspect_fmri
    from neurosig.core.errors import UsageError
    from neurosig.loaders.inspect import look_into
    from neurosig.loaders.recognise_fmri import holds_fmri
    from neurosig.loaders.recordings import ReadOptions

    told = fmri_options.fmri_options(atlas, t_r, None, None, fmri) or {}
    if orientation is not None:
        told = {**told, "orientation": orientation}
    asked = bool(told)
    if file.is_file() and holds_fmri(file, asked):
        eeg_only = {"--sfreq": sfreq, "--unit": unit, "--montage": montage}
        inspect_fmri.command(file, told, eeg_only, json_, figure, channels)
        return
    if file.is_dir() and file.suffix != ".zarr" and holds_fmri(file):
        raise UsageError(f"{file} is a folder of fMRI; inspect one run of it{inspect_fmri.first_run(file)}")
    if asked:
        raise UsageError(f"--atlas, --t-r, --orientation and --fmri are for fMRI, {file.name} is none by its name")
    with console.only_json(json_):
        found = look_into(file, options=ReadOptions(sfreq=sfreq, unit=unit, montage=montage))
        if figure is not None:
            from neurosig.loaders.inspect_figure import draw

            save_figure(draw(found), figure)
    if json_:
        console.emit_json(found.report)
    else:
        _show(found.report, every_channel=channels)
        if figure is not None:
            console.say(f"Figure: {figure}")


def save_figure(drawing: Any, figure: Path) -> None:
    """Write a matplotlib figure to the file that ``--figure`` names.

    Raises
    ------
    UsageError
        The name does not end in a kind of picture.
    """
    from neurosig.core.errors import UsageError
    from neurosig.core.files import atomic_path

    kinds = drawing.canvas.get_supported_filetypes()
    if figure.suffix.lstrip(".").lower() not in kinds:
        raise UsageError(f"--figure takes a file name that ends in .png, .pdf or .svg, got {figure.name!r}")
    with atomic_path(figure) as temporary:
        drawing.savefig(temporary, dpi=150)


def _show(report: dict[str, Any], every_channel: bool) -> None:
    from neurosig.cli import console

    console.say(f"{report['file']}  ({report['format']}, {size(report['size_bytes'])})", style="bold")
    rows = [("Channels", _channels(report)), ("Sampling", _sampling(report))]
    if report["trials"]:
        rows.append(("Trials", _trials(report["trials"])))
    rows += [("Events", _events(report)), ("Amplitude", _amplitude(report)), ("Filters", _filters(report))]
    rows += [("Mains", _mains(report)), ("Positions", _positions(report))]
    if report["spans"]:
        rows.append(("Spans", ", ".join(f"{name} × {count}" for name, count in report["spans"].items())))
    for name, text in rows:
        console.say(f"  {name:<10} {text}")
    for text in report["notes"]:
        console.say(f"  {'Note':<10} {text}", style="dim")
    listed = [channel for channel in report["channels"] if every_channel or channel["flags"]]
    if every_channel:
        console.show_table(
            ("channel", "type", "sd", "min", "max", "unit", "remarks"),
            [
                (
                    c["name"],
                    c["type"],
                    _short(c["sd"]),
                    _short(c["min"]),
                    _short(c["max"]),
                    c["unit"],
                    ", ".join(c["flags"]),
                )
                for c in listed
            ],
            right=("sd", "min", "max"),
        )
    if report["problems"]:
        console.say(f"Problems found: {len(report['problems'])}", style="bold yellow")
        for problem in report["problems"]:
            names = problem["channels"]
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            told = f": {', '.join(names[:_SHOWN])}{more}" if names and problem["kind"] != "duplicate" else ""
            console.say(f"  ! {problem['message']}{told}", style="yellow")
    else:
        console.say("No problems found.", style="green")


def size(count: float) -> str:
    """Bytes in words."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return ""


def _channels(report: dict[str, Any]) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in report["types"].items())
    if report["stim_channels"]:
        stim = report["stim_channels"]
        kinds += f"; stimulus channel {', '.join(stim[:3])}{' ...' if len(stim) > 3 else ''}"
    names = [channel["name"] for channel in report["channels"]]
    shown = ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
    return f"{report['n_channels']} ({kinds}): {shown}"


def _sampling(report: dict[str, Any]) -> str:
    minutes, seconds = divmod(report["duration"], 60)
    clock = f" ({minutes:.0f} min {seconds:.0f} s)" if minutes else ""
    return f"{report['sfreq']:g} Hz, {report['duration']:.2f} s{clock}"


def _trials(trials: dict[str, Any]) -> str:
    return (
        f"{trials['n_trials']} from {trials['tmin']:g} to {trials['tmax']:g} s ({trials['n_times']} samples); "
        f"{trials['n_subjects']} subject{'' if trials['n_subjects'] == 1 else 's'}, "
        f"{trials['n_runs']} recording{'' if trials['n_runs'] == 1 else 's'}"
    )


def _events(report: dict[str, Any]) -> str:
    events = list(report["events"].items())
    if not events:
        return "none"
    more = f" and {len(events) - _SHOWN} more kinds" if len(events) > _SHOWN else ""
    return f"{', '.join(f'{name} × {count}' for name, count in events[:_SHOWN])}{more} ({report['event_source']})"


def _amplitude(report: dict[str, Any]) -> str:
    import statistics

    by_unit: dict[tuple[str, str], list[float]] = {}
    for channel in report["channels"]:
        if channel["unit"] != "as in file" and channel["sd"] is not None:
            by_unit.setdefault((channel["type"], channel["unit"]), []).append(channel["sd"])
    parts = [
        f"{kind} {_short(statistics.median(values))} {unit} ({_short(min(values))} to {_short(max(values))})"
        for (kind, unit), values in by_unit.items()
    ]
    return f"standard deviation, median (range) over channels: {'; '.join(parts)}" if parts else "unknown unit"


def _filters(report: dict[str, Any]) -> str:
    low, high = report["filters"]["highpass"], report["filters"]["lowpass"]
    if low is None and high is None:
        return "not stated"
    told = [
        f"{name} {'not stated' if edge is None else f'{edge:g} Hz as the file says'}"
        for name, edge in (("high-pass", low), ("low-pass", high))
    ]
    return ", ".join(told)


def _mains(report: dict[str, Any]) -> str:
    levels = [f"{level:+.0f} dB at {line} Hz" for line, level in report["line_noise"].items()]
    return (
        f"{', '.join(levels)}, against the neighbouring frequencies"
        if levels
        else "not measurable at this rate or length"
    )


def _positions(report: dict[str, Any]) -> str:
    montage = report["montage"]
    parts = [f"{montage['positions_in_file']} in the file"]
    if montage["name"]:
        total = montage["matched"] + len(montage["unmatched"])
        parts.append(f"{montage['matched']} of {total} EEG names in {montage['name']}")
    return ", ".join(parts)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
