"""``neurosig benchmark``: the main job, from recordings to a table and a report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurosig.cli import fmri_options, transfer

if TYPE_CHECKING:
    from neurosig.evaluation.results import Results

__all__ = ["check_scored", "command"]

_HELP = """Compare decoding pipelines on datasets; leave a table and a report that stands alone.

Each pipeline learns from one part of the trials and is scored on another, as MOABB does it and with MOABB's scores.
Every finished fold is stored at once: after Ctrl-C, or a power cut, the same command goes on from there.

\b
Examples:
  neurosig benchmark --dataset simulated-imagery
  neurosig benchmark --dataset eegmmidb --pipelines CSP+LDA,TS+LR --out results/
  neurosig benchmark --dataset recordings/ --events left_hand=T1,right_hand=T2
  neurosig benchmark --dataset eegmmidb --pipelines my_pipelines/ --evaluation cross_subject --n-jobs -1
  neurosig benchmark --protocol transfer --dataset eegmmidb --pipelines EEGNet,TS+LR --leave-subjects 4 --out study/
  neurosig benchmark --dataset abide --data recordings/ --pipelines pipelines/fmri/ --folds site
  neurosig benchmark --dataset derivatives/ --atlas schaefer.nii.gz --labels diagnosis --group fmri

\b
What is written to --out:
  report.html    open it in a browser
  results.csv    a row per subject, session and pipeline; folds.csv, a row per fold
  results.json   how the results were made
  store/         finished folds: a repeated or resumed call takes them from here
"""
_SHOWN_FAILURES = 10


def command(
    dataset: Annotated[
        list[str],
        typer.Option(
            "--dataset",
            "-d",
            metavar="NAME_OR_PATH",
            help="A dataset's name, a recording, a folder or a manifest; give it several times for several datasets.",
        ),
    ],
    pipelines: Annotated[
        str | None,
        typer.Option(
            "--pipelines",
            "-p",
            metavar="FOLDER|FILES|NAMES",
            help="Folders or files of pipelines and names of shipped ones, "
            "separated by commas.  [default: all shipped ones that fit]",
        ),
    ] = None,
    protocol: transfer.Protocol = "moabb",
    evaluation: Annotated[
        str | None,
        typer.Option(
            "--evaluation",
            "-e",
            help="Learn from the same session (within_session), the same person's other sessions (cross_session), "
            "other people (cross_subject), or other sites (cross_site).  [default: within_session]",
        ),
    ] = None,
    folds: Annotated[
        str,
        typer.Option(
            "--folds",
            help="Folds within a session: run (leave one run out), chronological (blocks) or shuffled (MOABB's "
            "default, optimistic); subject, session and site select the cross evaluations. auto: what the dataset asks "
            "for, else run where every session has two runs with every class, else chronological.",
        ),
    ] = "auto",
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where results go, and finished folds stay.")
    ] = Path("results"),
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", help="Folder that holds the files of named datasets.")
    ] = None,
    subjects: Annotated[str | None, typer.Option("--subjects", metavar="1,2,...", help="Only these subjects.")] = None,
    events: Annotated[
        str | None,
        typer.Option(
            "--events", metavar="NAME=CODE,...", help="Events to decode: names, or names with their annotation or code."
        ),
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", metavar="NAME", help="Only pipelines of this group.")
    ] = None,
    fmin: Annotated[float | None, typer.Option("--fmin", metavar="HZ", help="Lower edge of the band.")] = None,
    fmax: Annotated[float | None, typer.Option("--fmax", metavar="HZ", help="Upper edge of the band.")] = None,
    tmin: Annotated[
        float | None, typer.Option("--tmin", metavar="S", help="First second of a trial, relative to its event.")
    ] = None,
    tmax: Annotated[float | None, typer.Option("--tmax", metavar="S", help="Last second of a trial.")] = None,
    resample: Annotated[float | None, typer.Option("--resample", metavar="HZ", help="New sampling rate.")] = None,
    channels: Annotated[
        str | None, typer.Option("--channels", metavar="C3,Cz,...", help="Only these channels.")
    ] = None,
    atlas: fmri_options.Atlas = None,
    t_r: fmri_options.RepetitionTime = None,
    confounds: fmri_options.Confounds = None,
    labels: fmri_options.Labels = None,
    fmri: fmri_options.More = None,
    n_splits: Annotated[
        int | None, typer.Option("--n-splits", metavar="N", help="Number of folds, where there is a choice.")
    ] = None,
    cs_mode: Annotated[
        str | None,
        typer.Option(
            "--cs-mode", metavar="MODE", help="What of the test subject may be used in training (MOABB's modes)."
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="NAME",
            help="roc_auc, accuracy or balanced_accuracy; of numbers r2, pearson or mae.  [default: MOABB's rule]",
        ),
    ] = None,
    n_jobs: Annotated[int, typer.Option("--n-jobs", "-j", metavar="N", help="Processes; -1 uses all cores.")] = 1,
    backend: Annotated[
        str, typer.Option("--backend", help="joblib (this machine) or dask (an existing cluster).")
    ] = "joblib",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of shuffled folds and searches.")] = 42,
    seeds: transfer.Seeds = None,
    leave_subjects: transfer.LeaveSubjects = None,
    fine_tune: transfer.FineTune = None,
    direct: transfer.Direct = None,
    window: transfer.Window = None,
    window_step: transfer.WindowStep = None,
    faster: transfer.Faster = None,
    faster_both: transfer.FasterBoth = None,
    max_epochs: transfer.MaxEpochs = None,
    allow_seen: Annotated[
        bool,
        typer.Option("--allow-seen", help="Also test pretrained parts on people whom they have seen, with a warning."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Compute everything again.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Run the benchmark and say what came out."""
    from neurosig.cli.console import emit_json, only_json
    from neurosig.cli.options import choose_events, parse_names
    from neurosig.evaluation.benchmark import benchmark

    options: dict[str, Any] = {"fmin": fmin, "fmax": fmax, "tmin": tmin, "tmax": tmax, "resample": resample}
    options["picks"] = None if channels is None else [name.strip() for name in channels.split(",") if name.strip()]
    options = {name: value for name, value in options.items() if value is not None}
    series = fmri_options.fmri_options(atlas, t_r, confounds, labels, fmri)
    own: dict[str, Any] = {
        "seeds": seeds, "leave_subjects": leave_subjects, "fine_tune": fine_tune, "direct": direct, "window": window,
        "window_step": window_step, "faster": faster, "faster_both": faster_both, "max_epochs": max_epochs,
    }  # fmt: skip
    if protocol != "moabb":
        theirs = {
            "--allow-seen": allow_seen or None, "--evaluation": evaluation, "--cs-mode": cs_mode,
            "--backend dask": "" if backend == "dask" else None, "--atlas, --labels, ... (fMRI)": series,
        }  # fmt: skip
        transfer.check_protocol(protocol, theirs)
        transfer.run_transfer(
            dataset, _pipelines(pipelines), out=out, json=json, **own,
            options={"folds": folds, "n_splits": n_splits, "metric": metric, "groups": group or None, "n_jobs": n_jobs,
                     "random_state": seed},
            reading={"events": choose_events(events), "subjects": parse_names(subjects), "data": data,
                     "overwrite": overwrite, **options},
        )  # fmt: skip
        return
    transfer.check_protocol(protocol, {f"--{name.replace('_', '-')}": value for name, value in own.items()})
    try:
        with only_json(json):
            told = {"data": data, "events": choose_events(events), **options}
            given, told = fmri_options.opened(dataset, series, told)
            results = benchmark(
                _pipelines(pipelines), given, evaluation or "within_session", folds=folds, n_splits=n_splits,
                cs_mode=cs_mode, metric=metric, groups=group or None, subjects=parse_names(subjects), out=out,
                overwrite=overwrite, n_jobs=n_jobs, backend=backend, random_state=seed, allow_seen=allow_seen,
                progress=not json, command=shlex.join(["neurosig", *sys.argv[1:]]), **told,
            )  # fmt: skip
            report = out / "report.html"
            if not report.exists():
                results.report(report)
    except KeyboardInterrupt:
        _say_stopped(out)
        raise typer.Exit(130) from None
    if json:
        emit_json(_answer(results, out, report))
    else:
        reading = {"data": data, "subjects": subjects, "events": events, "fmin": fmin, "fmax": fmax, "tmin": tmin,
                   "tmax": tmax, "resample": resample}  # fmt: skip
        reading |= {"atlas": atlas, "t-r": t_r, "confounds": confounds, "labels": labels}
        more = [part for pair in fmri or () for part in ("--fmri", pair)]
        _show(results, report, ["--dataset", dataset[0], *_again(reading), *more])
    check_scored(results)


command.__doc__ = _HELP


def check_scored(results: Results) -> None:
    """Fail where there is no score at all, after everything has been said and written.

    Raises
    ------
    InputError
        With the first reason.
    """
    if results.table["score"].isna().all():
        from neurosig.core.errors import InputError

        first = results.failed.iloc[0]
        raise InputError(f"nothing was scored: every pipeline failed everywhere; {first.pipeline}: {first.error}")


def _pipelines(text: str | None) -> list[str] | None:
    """A path as it is (it may hold a comma), else names and paths separated by commas."""
    if text is None or Path(text).exists():
        return None if text is None else [text]
    return [part.strip() for part in text.split(",") if part.strip()]


def _say_stopped(out: Path) -> None:
    from neurosig.cli.console import note

    stored = sum(1 for _ in (out / "store").glob("*.json")) if (out / "store").is_dir() else 0
    note(f"stopped: {stored} finished fold{'' if stored == 1 else 's'} in {out / 'store'}")


def _answer(results: Results, out: Path, report: Path) -> dict[str, Any]:
    return {
        "ranking": results.summary(),
        "failed": results.failed,
        "warnings": results.warnings,
        "evaluation": results.meta["evaluation"],
        "folds": results.meta["folds"],
        "seed": results.meta["seed"],
        "table": out / "results.csv",
        "report": report,
    }


def _again(reading: dict[str, Any]) -> list[str]:
    """Options of reading that were given, as they are written on the command line."""
    given = {name: value for name, value in reading.items() if value is not None}
    return [
        part
        for name, value in given.items()
        for part in (f"--{name}", f"{value:g}" if isinstance(value, float) else str(value))
    ]


def _show(results: Results, report: Path, read_as: list[str]) -> None:
    from neurosig.cli.console import note, program, say, show_table, warn

    ranking = results.summary()
    seconds = results.table.groupby(["dataset", "pipeline"])["seconds_fit"].mean()
    for name in dict.fromkeys(ranking["dataset"]):
        rows = ranking[ranking["dataset"] == name]
        first = results.table[results.table["dataset"] == name].iloc[0]
        cells = [
            [
                row.pipeline,
                _number(row.mean),
                _number(row.sd) if row.sd == row.sd or row.sd_folds != row.sd_folds else f"{row.sd_folds:.3f} (folds)",
                f"{_number(row.ci_low)} to {_number(row.ci_high)}" if row.ci_low == row.ci_low else "-",
                row.n,
                _number(row.chance),
                _time(seconds.get((name, row.pipeline))),
            ]
            for row in rows.itertuples()
        ]
        show_table(
            ["pipeline", first["metric"], "sd", "95 % interval", "subjects", "chance", "fit"],
            cells,
            title=f"{name}: {first['evaluation']}, {first['folds']} folds",
            right=[first["metric"], "sd", "subjects", "chance", "fit"],
        )
    failed = results.failed
    for row in failed.head(_SHOWN_FAILURES).itertuples():
        session = f", session {row.session}" if row.session else ""
        where = f"subject {row.subject}{session}" if row.subject else row.dataset
        warn(f"failed: {row.pipeline} ({where}): {row.error}")
    if len(failed) > _SHOWN_FAILURES:
        warn(f"{len(failed) - _SHOWN_FAILURES} more failures: see the column error of {report.parent / 'results.csv'}")
    for line in results.warnings:
        if " failed in " not in line:
            warn(line)
    say(f"report: {report}")
    say(f"table:  {report.parent / 'results.csv'}")
    if results.table["score"].notna().any():
        note(_next(results, program(), read_as))


def _next(results: Results, program: str, read_as: list[str]) -> str:
    """What to do next; `read_as` are the options that read the first dataset once more as it was read here."""
    from neurosig.evaluation.cards import dummies_of
    from neurosig.evaluation.metrics import REGRESSION
    from neurosig.evaluation.verdict import chance_verdict

    meta = results.meta
    if not results.failed.empty:
        return "next: mend what failed and give the same command again; only that runs"
    ranking = results.summary()
    ranking = ranking[(ranking["dataset"] == meta["datasets"][0]["name"]) & ~ranking["pipeline"].isin(dummies_of(meta))]
    if ranking.empty:
        return "next: compare pipelines that look at the signals; without --pipelines all shipped ones that fit run"
    verdicts = {chance_verdict(row) for _, row in ranking.iterrows()}
    if verdicts & {"above", "open"} and "above" not in verdicts:
        best = ranking.iloc[0]
        reach = (
            f"the 95 % interval of {best['pipeline']} begins at {_number(best['ci_low'])}"
            if best["ci_low"] == best["ci_low"]
            else f"guessing may reach {_number(best['chance_upper'])} here, {best['pipeline']} has "
            f"{_number(best['mean'])}"
        )
        return (
            f"next: nothing here is clearly above chance ({_number(best['chance'])}; {reach}): more subjects or runs "
            "would tell; do not train a model to be used on this"
        )
    if "above" not in verdicts:
        if meta["datasets"][0].get("modality") == "fmri":
            return (
                f"next: nothing here does better than guessing: {program} inspect RUN shows what is wrong with one, "
                "--atlas, --confounds and --fmri high_pass=0.01 make the region series otherwise"
            )
        return (
            f"next: nothing here does better than guessing: {program} inspect RECORDING shows what is wrong with one, "
            "--tmin, --tmax, --fmin and --fmax choose another time and band"
        )
    if meta["evaluation"] == "within_session" and meta["datasets"][0]["subjects"] > 1:
        return (
            f"next: {program} benchmark ... --evaluation cross_subject tells how far pipelines carry to people they "
            "have not learned from"
        )
    clear = [chance_verdict(row) == "above" for _, row in ranking.iterrows()]
    name = ranking["pipeline"][clear].iloc[0]  # of equal ones the simplest, which stands first
    metrics = set(results.table["metric"]) if "metric" in results.table else set()
    if metrics & set(REGRESSION):  # train stores classifiers
        return f"next: neurosig.load_pipelines(names={name!r}) gives the pipeline in Python, to be fitted on all runs"
    paths = {card["name"]: card.get("path") for card in meta.get("pipelines", ())}
    best = ["--pipeline", paths.get(name) or name, "--out", "model/"]
    return f"next: {program} {shlex.join(['train', *read_as, *best])}"


def _number(value: float) -> str:
    return f"{value:.3f}" if value == value else "-"


def _time(seconds: float | None) -> str:
    if seconds is None or seconds != seconds:
        return "-"
    return (
        f"{seconds * 1000:.0f} ms"
        if seconds < 1
        else f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds / 60:.1f} min"
    )
