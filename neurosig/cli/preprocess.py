"""``neurosig preprocess``: recordings in, cleaned trials out, with a page that says what was removed and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from neurosig.cli.options import parse_events, parse_names

__all__ = ["command"]

_HELP = """Clean recordings with FASTER and store their trials; leave a report of what was removed and why.

Each recording is filtered, cut into trials, and cleaned: bad channels, bad trials, artifact components, and bad
channels of single trials, by their z-scores. Finished recordings are skipped when the same command is given again, also
after Ctrl-C or a power cut; one that fails does not stop the others, and one without events to cut around is left out.
Results are named after subject, session and run
(sub-01_ses-1_run-1, S001R04), and after the task where a BIDS name states it or files would be the same without it
(visual_p300_subject1_run1 and visual_n170_subject1_run1); where a file's name tells none of them, after the file,
which is then a subject of its own: a person's name in a file's name would be in the results. Where --out holds another
recording under the same name, this one fails and nothing is changed; where it holds recordings cleaned with other
options, the call is refused.

The folder is a dataset for the other commands: neurosig benchmark --dataset cleaned/. Rejected trials are not in it.
Cleaning sees whole recordings, test trials included, though no labels: to clean within the folds instead, benchmark
the recordings themselves with --group cleaning.

\b
Examples:
  neurosig preprocess recordings/ --out cleaned/ --events left=T1,right=T2 --tmin 0 --tmax 4
  neurosig preprocess S001R04.edf S001R08.edf --out cleaned/ --eog-proxy Fp1,Fp2
  neurosig preprocess --dataset simulated-imagery --out cleaned/ --jobs 4
  neurosig preprocess resting.fif --out cleaned/ --window 2
  neurosig benchmark --dataset cleaned/ --pipelines pipelines/

\b
What is written to --out:
  cleaning.html          all recordings in the folder at a glance; cleaning.json, cleaning.csv
  sub-*/ses-*/eeg/       *_desc-faster_epo.fif   cleaned trials, for mne.read_epochs
                         *_desc-faster_ave.fif   their average for each event
                         *_desc-faster_report.html, *_epo.json   what was removed and why
"""
_WINDOW_EVENT = "window"


def command(
    context: typer.Context,
    recordings: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RECORDINGS...", help="Files, folders or a BIDS root.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the results.")] = ...,  # type: ignore[assignment]
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", "-d", metavar="NAME", help="A dataset's name or manifest, instead of files."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", help="Folder that holds the dataset's files.")
    ] = None,
    subjects: Annotated[str | None, typer.Option("--subjects", metavar="1,2,...", help="Only these subjects.")] = None,
    events: Annotated[
        str | None, typer.Option("--events", metavar="NAME=CODE,...", help="Events to cut around.  [default: all]")
    ] = None,
    window: Annotated[
        float | None, typer.Option("--window", metavar="S", help="Cut the whole recording into windows of this length.")
    ] = None,
    tmin: Annotated[
        float | None,
        typer.Option("--tmin", metavar="S", help="First second of a trial.  [default: -0.2, or the dataset's]"),
    ] = None,
    tmax: Annotated[
        float | None,
        typer.Option("--tmax", metavar="S", help="Last second of a trial.  [default: 0.8, or the dataset's]"),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="FROM,TO", help="Span in seconds whose mean is removed.")
    ] = None,
    fmin: Annotated[
        float, typer.Option("--fmin", metavar="HZ", help="Lower edge of the band; 0 leaves it open.")
    ] = 0.5,
    fmax: Annotated[
        float, typer.Option("--fmax", metavar="HZ", help="Upper edge of the band; 0 leaves it open.")
    ] = 40.0,
    notch: Annotated[
        float | None, typer.Option("--notch", metavar="HZ", help="Mains frequency to take out, with harmonics.")
    ] = None,
    resample: Annotated[float | None, typer.Option("--resample", metavar="HZ", help="New sampling rate.")] = None,
    variant: Annotated[
        str,
        typer.Option("--variant", help="Formulas: mended (the paper's, faults mended), paper or mne (mne-faster's)."),
    ] = "mended",
    threshold: Annotated[
        str,
        typer.Option(
            "--threshold",
            metavar="Z",
            help="Standard deviations beyond which something is bad: 3, or channels=4,epochs=3.",
        ),
    ] = "3",
    steps: Annotated[
        str,
        typer.Option(
            "--steps", metavar="NAMES", help="Steps to take; before decoding from covariances, leave out the last."
        ),
    ] = "channels,epochs,components,channels_in_epochs",
    max_iter: Annotated[
        int | None,
        typer.Option(
            "--max-iter",
            metavar="N",
            help="Rounds of detection in each step.  [default: 3 in the first three of mended, else 1]",
        ),
    ] = None,
    ica: Annotated[
        str, typer.Option("--ica", help="How components are found: fastica, infomax or picard.")
    ] = "fastica",
    eog: Annotated[str | None, typer.Option("--eog", metavar="NAMES", help="Channels that record the eyes.")] = None,
    eog_proxy: Annotated[
        str | None,
        typer.Option("--eog-proxy", metavar="NAMES", help="EEG channels near the eyes, where there is no EOG."),
    ] = None,
    average_first: Annotated[
        bool,
        typer.Option(
            "--average-first",
            help="Compare channels of single trials, the last step, in average reference.  [default: as recorded]",
        ),
    ] = False,
    judge_in: Annotated[
        str,
        typer.Option(
            "--judge-in",
            metavar="WHAT",
            help="Compare channels, the first step, in average or as recorded; auto: average, from 16 on, for mended.",
        ),
    ] = "auto",
    reference_position: Annotated[
        str | None,
        typer.Option(
            "--reference-position",
            metavar="SITE",
            help="Electrode the recording refers to, such as A2: channels near it are not judged by that.",
        ),
    ] = None,
    reference: Annotated[
        str, typer.Option("--reference", metavar="NAME", help="average, none (as recorded), or channels such as M1,M2.")
    ] = "average",
    autoreject: Annotated[bool, typer.Option("--autoreject", help="Run autoreject on what FASTER leaves.")] = False,
    drop: Annotated[str | None, typer.Option("--drop", metavar="NAMES", help="Channels to leave out.")] = None,
    montage: Annotated[
        str | None,
        typer.Option("--montage", metavar="NAME", help="Standard montage of mne, for files without positions."),
    ] = None,
    unit: Annotated[
        str | None, typer.Option("--unit", help="Unit of the numbers, where the file does not say: V, mV, uV.")
    ] = None,
    sfreq: Annotated[float | None, typer.Option("--sfreq", help="Sampling rate, where the file does not say.")] = None,
    on_nan: Annotated[
        str | None,
        typer.Option(
            "--on-nan",
            metavar="WHAT",
            help="Where samples are NaN or infinite: raise, or annotate, which drops the trials that touch them.  "
            "[default: raise]",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the components.")] = 0,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", metavar="N", help="Recordings cleaned at once; -1 uses all cores.")
    ] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Clean again what is there, whosever it is.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Run the cleaning and say what came out."""
    from neurosig.cli import console
    from neurosig.cli.preprocess_answer import answer, show, told_once

    given = [path for path in recordings or () if path is not None]
    _check_source(given, dataset, data, subjects)
    reading = {"montage": montage, "unit": unit, "sfreq": sfreq, "on_nan": on_nan, "drop": parse_names(drop)}
    with console.only_json(json), told_once():
        sources, defaults = (
            _from_dataset(dataset, data, subjects, events, window, reading)
            if dataset is not None
            else _from_files(given, subjects, events, window, reading)
        )
        if window is not None:
            defaults = {"tmin": 0.0, "tmax": window}
        chosen = {"tmin": tmin, "tmax": tmax}
        options = _options(
            {**defaults, **{name: value for name, value in chosen.items() if value is not None}},
            fmin=fmin or None, fmax=fmax or None, notch=notch, resample=resample, variant=variant,
            threshold=_threshold(threshold), steps=parse_names(steps), max_iter=max_iter, ica=ica,
            eog=parse_names(eog) or (), eog_proxy=parse_names(eog_proxy) or (), reference=_reference(reference),
            average_first=average_first, autoreject=autoreject, random_state=seed, baseline=_baseline(baseline),
            judge_in=judge_in, reference_position=reference_position,
        )  # fmt: skip
        outcomes, cohort, files = _run(sources, options, out, jobs, overwrite, quiet=json)
    if json:
        console.emit_json(answer(outcomes, files))
    else:
        show(outcomes, cohort, files, everything=events is None and window is None and dataset is None)
    if context.find_root().params.get("debug"):
        for outcome in outcomes:
            if outcome.trace:
                typer.echo(outcome.trace, err=True)
    states = {outcome.state for outcome in outcomes}
    if "failed" in states or states == {"left out"}:
        raise typer.Exit(1)


command.__doc__ = _HELP


def _check_source(given: list[Path], dataset: str | None, data: Path | None, subjects: str | None) -> None:
    from neurosig.core.errors import UsageError

    if bool(given) == (dataset is not None):
        raise UsageError("give recordings or --dataset NAME, one of the two (see: neurosig preprocess --help)")
    if data is not None and dataset is None:
        raise UsageError("--data says where a dataset's files are: give --dataset NAME with it")


def _from_dataset(
    name: str,
    data: Path | None,
    subjects: str | None,
    events: str | None,
    window: float | None,
    reading: dict[str, Any],
) -> tuple[list[Any], dict[str, Any]]:
    from neurosig.core.errors import UsageError
    from neurosig.loaders.manifest import open_dataset
    from neurosig.preprocessing.cleaning_runs import sources_of_dataset

    if window is not None or any(value is not None for value in reading.values()):
        raise UsageError(
            "a dataset's manifest says how its files are read: drop --window, --montage, --unit, --sfreq, --on-nan and "
            "--drop"
        )
    wanted: Any = parse_events(events) if events is not None and "=" in events else parse_names(events)
    manifest = open_dataset(name, data=data, events=wanted)
    sources = sources_of_dataset(manifest, parse_names(subjects))  # which says what cannot be cleaned
    defaults: dict[str, Any] = {"tmin": manifest.processing.tmin, "tmax": manifest.processing.tmax}
    if manifest.events is not None:
        defaults["events"] = tuple(manifest.events)
    return sources, defaults


def _from_files(
    given: list[Path], subjects: str | None, events: str | None, window: float | None, reading: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    from neurosig.core.errors import UsageError
    from neurosig.loaders.discover import discover
    from neurosig.loaders.epoch_files import holds_epochs, trial_span
    from neurosig.loaders.recordings import ReadOptions
    from neurosig.preprocessing.cleaning_runs import sources_of

    named = parse_events(events)
    if window is not None:
        if named is not None:
            raise UsageError("--window cuts the whole recording: drop --events")
        if not window > 0:
            raise UsageError(f"--window is a length in seconds, got {window:g}")
        reading = {**reading, "window": (window, window), "label": _WINDOW_EVENT}
    options = ReadOptions(events=named, **{name: value for name, value in reading.items() if value is not None})
    found = sources_of(discover(given[0] if len(given) == 1 else _all_files(given), options=options, by_task=True))
    wanted = parse_names(subjects)
    if wanted is not None:
        there = list(dict.fromkeys(item.subject for item in found))
        if absent := [name for name in wanted if name not in there]:
            raise UsageError(f"no recording of subject {absent[0]}; there are {', '.join(there[:12])}")
        found = [item for item in found if item.subject in wanted]
    paths = {item.recording.path for item in found if item.recording is not None}
    if window is not None or not all(map(holds_epochs, paths)):
        return found, {}
    spans = [trial_span(path) for path in paths]  # trials that were cut before keep what all have
    return found, {"tmin": max(first for first, _ in spans), "tmax": min(last for _, last in spans)}


def _all_files(given: list[Path]) -> list[Path]:
    """Several paths: folders stand for what is in them."""
    from neurosig.loaders.discover import discover

    files: list[Path] = []
    for path in given:
        files += [item.path for item in discover(path, by_task=True)] if path.is_dir() else [path]
    return list(dict.fromkeys(files))


def _options(fields: dict[str, Any], **others: Any) -> Any:
    from neurosig.preprocessing.cleaning import CleaningOptions

    return CleaningOptions(**{**others, **fields})


def _threshold(text: str) -> float | dict[str, float]:
    from neurosig.core.errors import UsageError

    try:
        if "=" not in text:
            return float(text)
        return {name.strip(): float(value) for name, value in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise UsageError(f"--threshold is a number, or numbers by step (channels=4,epochs=3), got {text!r}") from None


def _baseline(text: str | None) -> tuple[float, float] | None:
    from neurosig.core.errors import UsageError

    if text is None or text == "none":
        return None
    try:
        first, last = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--baseline is two numbers of seconds, such as -0.2,0, got {text!r}") from None
    return first, last


def _reference(text: str) -> str | tuple[str, ...] | None:
    return text if text == "average" else None if text == "none" else tuple(parse_names(text) or ())


def _run(
    sources: list[Any], options: Any, out: Path, jobs: int, overwrite: bool, quiet: bool
) -> tuple[list[Any], dict[str, Any], dict[str, Path]]:
    """What became of the recordings, what else there is to say of the folder, and the files that say it all."""
    from neurosig.preprocessing.cleaning_cohort import whole_cohort
    from neurosig.preprocessing.cleaning_runs import find_cohort_outliers, preprocess
    from neurosig.reports.cleaning import write_cohort_report, write_recording_report

    outcomes = preprocess(
        sources, options, out, n_jobs=jobs, overwrite=overwrite, report=write_recording_report,
        progress=False if quiet else None,
    )  # fmt: skip
    every, remarks = whole_cohort(out, outcomes, options)
    outliers, note = find_cohort_outliers(every, options)
    files = write_cohort_report(every, options, out, outliers=outliers, note=note, remarks=remarks)
    return outcomes, {"earlier": len(every) - len(outcomes), "remarks": remarks}, files
