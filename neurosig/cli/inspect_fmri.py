"""``neurosig inspect`` of fMRI: volumes, surfaces, grayordinates and tables of region series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_OPTIONS = ("t_r", "atlas", "orientation", "min_coverage")
_SHOWN = 12  # regions and events listed before the text says how many more there are


def command(
    file: Path, options: dict[str, Any], eeg_only: dict[str, Any], json_: bool, figure: Path | None, every_region: bool
) -> None:
    """Look into an fMRI file and show what is there.

    Parameters
    ----------
    file : Path
        The file.
    options : dict
        Those of `_OPTIONS` that were given, as `neurosig.loaders.inspect_fmri.inspect_fmri` takes them.
    eeg_only : dict of str to object
        Options of the command that say nothing of fMRI; a given one is refused by its name.
    json_ : bool
        Print the report as JSON.
    figure : Path or None
        Where to draw.
    every_region : bool
        List all regions.
    """
    from neurosig.cli import console
    from neurosig.cli.inspect import save_figure
    from neurosig.core.errors import UsageError
    from neurosig.loaders.inspect_fmri import look_into_fmri
    from neurosig.loaders.inspect_fmri_figure import draw_fmri

    if given := [name for name, value in eeg_only.items() if value is not None]:
        raise UsageError(f"{', '.join(given)}: for EEG and MEG, {file.name} is fMRI; its rate is given by --t-r")
    if unknown := [name for name in options if name not in _OPTIONS]:
        raise UsageError(f"--fmri {unknown[0]}: inspect takes {', '.join(_OPTIONS[2:])}, as nothing is cleaned here")
    if "min_coverage" in options:
        options = {**options, "min_coverage": _number(options["min_coverage"])}
    with console.only_json(json_):
        found = look_into_fmri(file, **options)
        if figure is not None:
            save_figure(draw_fmri(found), figure)
    if json_:
        console.emit_json(found.report)
        return
    _show(found.report, every_region)
    if figure is not None:
        console.say(f"Figure: {figure}")


def _number(text: Any) -> float:
    from neurosig.core.errors import UsageError

    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--fmri min_coverage takes a number from 0 to 1, got {text!r}") from None


def first_run(folder: Path) -> str:
    """The first run of a folder, as an example for a message; nothing where it cannot be told."""
    import warnings

    from neurosig.core.errors import NeurosigError
    from neurosig.loaders.fmri_bids import find_derivatives, is_bids
    from neurosig.loaders.fmri_files import find_runs

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what loading would warn of
            runs = find_derivatives(folder) if is_bids(folder) else find_runs(folder)
    except NeurosigError:
        return ""
    return f", such as {runs[0].path}" if runs and runs[0].path else ""


def _show(report: dict[str, Any], every_region: bool) -> None:
    from neurosig.cli import console
    from neurosig.cli.inspect import size
    from neurosig.cli.wording import as_typed

    console.say(f"{report['file']}  ({report['format']}, {size(report['size_bytes'])})", style="bold")
    rows = [(report["kind"].capitalize(), _rows(report, every_region)), ("Volumes", _volumes(report))]
    rows += [("Values", _values(report)), *_details(report)]
    if report["events"]:
        rows.append(("Events", _events(report["events"])))
    if report["confounds"]:
        told = report["confounds"]
        moved = f", mean displacement {told['mean_fd']:.3g} mm" if "mean_fd" in told else ""
        rows.append(("Confounds", f"{told['n_columns']} columns in {told['file']}{moved}"))
    width = max(len(name) for name, _ in rows) + 1
    for name, text in rows:
        console.say(f"  {name:<{width}} {text}")
    for text in report["notes"]:
        console.say(f"  {'Note':<{width}} {as_typed(text)}", style="dim")
    if not report["problems"]:
        console.say("No problems found.", style="green")
        return
    console.say(f"Problems found: {len(report['problems'])}", style="bold yellow")
    for problem in report["problems"]:
        regions = problem["regions"]
        told = "" if problem["kind"] == "duplicate" or not regions else f": {_listed(regions)}"
        console.say(f"  ! {as_typed(problem['message'])}{told}", style="yellow")


def _rows(report: dict[str, Any], every_region: bool) -> str:
    names = report["names"]
    if not names:
        return str(report["n_rows"])
    return f"{report['n_rows']}: {', '.join(names) if every_region else _listed(names)}"


def _volumes(report: dict[str, Any]) -> str:
    if report["t_r"] is None:
        return f"{report['n_volumes']}, repetition time unknown"
    minutes, seconds = divmod(report["duration"], 60)
    clock = f" ({minutes:.0f} min {seconds:.0f} s)" if minutes else ""
    return f"{report['n_volumes']}, one every {report['t_r']:g} s, {report['duration']:g} s{clock}"


def _values(report: dict[str, Any]) -> str:
    values = report["values"]
    if values["median"] is None:
        return "none that is finite"
    noise = "" if values["tsnr"] is None else f", signal to noise over time {values['tsnr']:.3g}"
    return (
        f"{values['min']:.4g} to {values['max']:.4g}, median {values['median']:.4g}, standard deviation over time "
        f"{values['sd']:.3g}{noise}"
    )


def _details(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What only this format has."""
    told = report["details"]
    rows = []
    if "shape" in told:
        shape, voxel = (" × ".join(f"{value:g}" for value in told[key]) for key in ("shape", "voxel_mm"))
        rows.append(("Image", f"{shape} voxels of {voxel} mm, {told['orientation']}, space {told['space']}, "
                     f"stored as {told['stored_as']}"))  # fmt: skip
    if "mask" in told:
        rows.append(("Mask", f"{told['voxels_in_mask']} voxels ({told['mask']})"))
    if "structures" in told:
        rows.append(("Parts", ", ".join(f"{name} {count}" for name, count in told["structures"].items())))
    if told.get("atlas"):
        rows.append(("Atlas", str(told["atlas"])))
    if "n_runs" in told:
        low, high = told["n_volumes"]
        lengths = f"{low}" if low == high else f"{low} to {high}"
        periods = "" if told["t_r"] is None else f", TR {', '.join(f'{value:g}' for value in told['t_r'])} s"
        sites = f", {told['sites']} sites" if told.get("sites") else ""
        rows.append(("Runs", f"{told['n_runs']} of {told['n_subjects']} subjects, {lengths} volumes{periods}{sites}"))
        if told["labels"]:
            rows.append(("Labels", _events(told["labels"])))
    return rows


def _events(counts: dict[str, int]) -> str:
    shown = [f"{name} × {count}" for name, count in list(counts.items())[:_SHOWN]]
    more = f" and {len(counts) - _SHOWN} more kinds" if len(counts) > _SHOWN else ""
    return ", ".join(shown) + more


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
