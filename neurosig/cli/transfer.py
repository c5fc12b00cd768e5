"""``neurosig benchmark --protocol transfer``: its options, and what it says."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurosig.core.errors import InputError, UsageError

if TYPE_CHECKING:
    from neurosig.evaluation.transfer_results import TransferResults

__all__ = [
    "Direct", "Faster", "FasterBoth", "FineTune", "LeaveSubjects", "MaxEpochs", "Protocol", "Seeds", "Window",
    "WindowStep", "check_protocol", "run_transfer",
]  # fmt: skip

_SHOWN_FAILURES = 5
_IMPROVEMENT = {
    "relative": "(score - u) / u, u being one in the number of classes (chance, above, is that of naming the most "
    "frequent class); 1 is twice as good as guessing",
    "absolute": "score - u",
    "normalised": "(score - u) / (1 - u); 0 is guessing, 1 is perfect",
}

Protocol = Annotated[
    str,
    typer.Option(
        "--protocol",
        metavar="moabb|transfer",
        help="moabb: one of MOABB's evaluations (--evaluation). transfer: each person alone, and with what was learned "
        "from others: networks are pretrained on everyone outside a group of people, then trained on with each "
        "left-out person's own folds, and also tested as they are.",
    ),
]
Seeds = Annotated[
    int | None, typer.Option("--seeds", metavar="N", help="Transfer: trainings of each network.  [default: 3]"),
]  # fmt: skip
LeaveSubjects = Annotated[
    int | None, typer.Option("--leave-subjects", metavar="N",
                             help="Transfer: people left out of pretraining at a time, in order."
                             "  [default: 10, of fewer than 30 a third]"),
]  # fmt: skip
FineTune = Annotated[
    str | None, typer.Option("--fine-tune", metavar="all,head|none",
                             help="Transfer: what is trained on after pretraining, all layers, the last (head) or both."
                             "  [default: all,head]"),
]  # fmt: skip
Direct = Annotated[
    bool | None, typer.Option("--direct/--no-direct",
                              help="Transfer: also test without fine-tuning.  [default: --direct]"),
]  # fmt: skip
Window = Annotated[
    float | None, typer.Option("--window", metavar="S",
                               help="Transfer: cut trials into windows this long; those of a trial stay together."),
]  # fmt: skip
WindowStep = Annotated[
    float | None, typer.Option("--window-step", metavar="S",
                               help="Transfer: seconds from one window to the next.  [default: the window's length]"),
]  # fmt: skip
Faster = Annotated[
    bool | None, typer.Option("--faster/--no-faster",
                              help="Transfer: clean by FASTER, fitted on training trials in each fold."),
]  # fmt: skip


FasterBoth = Annotated[
    bool | None, typer.Option("--faster-both",
                              help="Transfer: study every pipeline without and with --faster, side by side."),
]  # fmt: skip
MaxEpochs = Annotated[
    int | None, typer.Option("--max-epochs", metavar="N",
                             help="Transfer: at most so many epochs for every network, for a quick look."
                             "  [default: as its pipeline says]"),
]  # fmt: skip


def check_protocol(protocol: str, given: dict[str, Any]) -> None:
    """Refuse options that belong to the other protocol.

    Raises
    ------
    UsageError
        Naming the first one.
    """
    if protocol not in ("moabb", "transfer"):
        raise UsageError(f"--protocol must be moabb or transfer, got {protocol!r}")
    if wrong := [name for name, value in given.items() if value is not None]:
        right = "transfer" if protocol == "moabb" else "moabb"
        raise UsageError(f"{wrong[0]} belongs to --protocol {right}; leave it out")


def run_transfer(
    datasets: list[str],
    pipelines: Any,
    *,
    out: Path,
    json: bool,
    seeds: int | None,
    leave_subjects: int | None,
    fine_tune: str | None,
    direct: bool | None,
    window: float | None,
    window_step: float | None,
    faster: bool | None,
    faster_both: bool | None,
    max_epochs: int | None,
    options: dict[str, Any],
    reading: dict[str, Any],
) -> None:
    """Run a transfer study and say what came out.

    Parameters
    ----------
    options, reading : dict
        Of `TransferStudy` and of its `run`, where they are given.
    """
    from neurosig.cli.console import emit_json, only_json
    from neurosig.evaluation.transfer import TransferStudy

    if faster_both and faster is False:
        raise UsageError("--no-faster and --faster-both contradict each other; give one of them")
    if len(datasets) > 1:
        raise UsageError(f"--protocol transfer studies one dataset at a time, got {len(datasets)}")
    chosen = {
        "seeds": seeds, "leave_subjects": leave_subjects, "fine_tune": _ways(fine_tune), "direct": direct,
        "window": window, "window_step": window_step, "faster": "both" if faster_both else faster,
        "max_epochs": max_epochs, **options,
    }  # fmt: skip
    study = TransferStudy(pipelines, out=out, **{name: value for name, value in chosen.items() if value is not None})
    report = out / "report.html"
    try:
        with only_json(json):
            results = study.run(
                datasets[0],
                progress=not json,
                command=shlex.join(["neurosig", *sys.argv[1:]]),
                **reading,
            )
            results.report(report)
    except KeyboardInterrupt:
        _say_stopped(out)
        raise typer.Exit(130) from None
    scored = bool(results.table["score"].notna().any())
    if json:
        emit_json({
            "summary": results.summary() if scored else [], "effects": results.effects() if scored else [],
            "ranking": results.ranking_table() if scored else [], "failed": results.failed,
            "warnings": results.warnings, "protocol": results.meta["protocol"], "table": out / "results.csv",
            "statistics": out / "statistics.csv", "report": report,
        })  # fmt: skip
    else:
        _show(results, report, scored)
    if not scored:
        first = results.failed.iloc[0]
        raise InputError(f"nothing was scored: every pipeline failed everywhere; {first.pipeline}: {first.error}")


def _ways(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return () if text == "none" else tuple(part.strip() for part in text.split(",") if part.strip())


def _say_stopped(out: Path) -> None:
    from neurosig.cli.console import note

    stored = sum(1 for _ in (out / "store").glob("*.json")) if (out / "store").is_dir() else 0
    note(
        f"stopped: {stored} finished fit{'' if stored == 1 else 's'} in {out / 'store'}; "
        "the same command goes on from there"
    )


def _show(results: TransferResults, report: Path, scored: bool) -> None:
    from neurosig.cli.console import note, say, show_table, warn

    metric = str(results.table["metric"].iloc[0])
    if scored:
        columns = ["condition", "pipeline", metric, "95 % interval", "sd people", "sd seeds", "n", "chance (bound)"]
        summary = results.summary()
        rows = [
            [row.condition, row.pipeline, _number(row.mean), _interval(row.ci_low, row.ci_high, sign=False),
             _number(row.sd_subjects), _number(row.sd_seeds), row.n,
             f"{_number(row.chance)} ({_number(row.chance_upper)})"]
            for row in summary.itertuples()
        ]  # fmt: skip
        protocol = results.meta["protocol"]
        n_seeds = len(protocol["seeds"])
        title = (
            f"{results.table['dataset'].iloc[0]}: {protocol['folds']} folds, {protocol['leave_subjects']} people left "
            f"out at a time, {n_seeds} seed{'' if n_seeds == 1 else 's'}"
        )
        show_table(columns, rows, title=title, right=columns[2:])
        columns = ["condition", "pipeline", *_IMPROVEMENT]
        rows = [
            [row.condition, row.pipeline, *(_number(getattr(row, f"improvement_{kind}"), sign=True)
                                            for kind in _IMPROVEMENT)]
            for row in summary.itertuples()
        ]  # fmt: skip
        show_table(columns, rows, title=f"{metric.replace('_', ' ')} improvement from chance", right=columns[2:])
        for kind, meaning in _IMPROVEMENT.items():
            say(f"{kind}: {meaning}")
        say()
        columns = ["transfer", "pipeline", "effect", "95 % interval", "improved", "n", "corrected p"]
        rows = [
            [row.condition, row.pipeline, _number(row.effect, sign=True),
             _interval(row.ci_low, row.ci_high),
             f"{row.share_improved:.0%}", row.n, _number(row.p_wilcoxon_corrected)]
            for row in results.effects().itertuples()
        ]  # fmt: skip
        if rows:
            show_table(columns, rows, title="against learning within the person", right=columns[2:])
    failed = results.failed
    for row in failed.head(_SHOWN_FAILURES).itertuples():
        warn(f"failed: {row.pipeline}, {row.condition} (subject {row.subject}, seed {row.seed}): {row.error}")
    for line in results.warnings:
        warn(line)
    say(f"report: {report}")
    say(f"table:  {report.parent / 'results.csv'}")
    if not failed.empty:
        note("next: mend what failed and give the same command again; only that runs")


def _interval(low: float, high: float, sign: bool = True) -> str:
    return f"{_number(low, sign)} to {_number(high, sign)}" if low == low else "-"


def _number(value: float, sign: bool = False) -> str:
    return "-" if value != value else f"{value:{'+' if sign else ''}.3f}"
