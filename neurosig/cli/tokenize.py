"""``neurosig tokenize``: recordings in, a store of their tokens out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from neurosig.cli.options import parse_names, too_short
from neurosig.cli.recording_options import (
    Data,
    KeepBad,
    OnNan,
    Picks,
    Recordings,
    SamplingRate,
    Step,
    Subjects,
    Unit,
)

__all__ = ["command"]

_HELP = """Turn recordings into tokens, by a tokenizer that was learned before.

Recordings are cut into windows and read a block at a time: a night takes no more memory than a minute. Finished ones
are skipped when the same command is given again, also after Ctrl-C or a power cut; one that fails does not stop the
others. A store holds tokens of one tokenizer, window and step; others are refused. Windows that touch spans called
BAD... are left out, and so is the last one where the recording ends within it. The label of a window is the event that
lasts for at least half of it; in datasets of trials, the event of the trial.

\b
Examples:
  neurosig tokenize recordings/ --tokenizer tokenizer/ --out tokens/
  neurosig tokenize S001R04.edf night.vhdr --tokenizer tokenizer/ --out tokens/ --window 5 --step 2.5
  neurosig tokenize eegmmidb --subjects 1-3 --tokenizer tokenizer/ --out tokens/ --jobs 2
  neurosig tokenize recordings/ --tokenizer tokenizer/ --out tokens/ --report tokens.html

\b
What is written to --out is a Zarr group, with a group a recording. From Python:
  from neurosig.tokenizers import TokenStore
  store = TokenStore("tokens/")
  store.to_frame()           a row a window: recording, subject, start, label
  store.tokens(name)         its tokens, int64
"""
_SHOWN = 10


def command(
    recordings: Recordings,
    tokenizer: Annotated[str, typer.Option("--tokenizer", "-t", metavar="FOLDER", help="What neurosig pretrain made.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="STORE", help="Folder for the tokens.")],
    window: Annotated[
        float | None,
        typer.Option("--window", metavar="S", help="Length of a window.  [default: as the tokenizer learned, else 10]"),
    ] = None,
    step: Step = None,
    picks: Picks = None,
    subjects: Subjects = None,
    data: Data = None,
    unit: Unit = None,
    sfreq: SamplingRate = None,
    keep_bad: KeepBad = False,
    on_nan: OnNan = "raise",
    resample: Annotated[
        bool, typer.Option("--resample", help="Resample windows for a tokenizer that would refuse their rate.")
    ] = False,
    on_unknown: Annotated[
        str | None,
        typer.Option("--on-unknown", metavar="WHAT", help="Channels that a tokenizer does not know: raise or drop."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", metavar="N", help="Windows computed at once.  [default: the tokenizer's]")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", metavar="N", help="Recordings tokenized at once; -1 uses all cores.")
    ] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make what is there again, whosever it is.")] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Also write a page on what the tokens of a sample are worth."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Tokenize, and say what came out."""
    from neurosig.cli import console
    from neurosig.core.errors import UsageError

    changes = {
        "device": device, "batch_size": batch, "resample": True if resample else None, "on_unknown": on_unknown,
    }  # fmt: skip
    if report is not None and report.is_dir():
        raise UsageError(f"--report names the HTML file to write, {report} is a folder; add a file name")
    with console.only_json(json_):
        done, store = _tokenize(
            recordings, tokenizer, out, changes, {"data": data, "subjects": parse_names(subjects)},
            {"unit": unit, "sfreq": sfreq}, report,
            window=window, step=step, picks=parse_names(picks), skip_bad=not keep_bad, on_nan=on_nan, n_jobs=jobs,
            overwrite=overwrite, progress=not json_,
        )  # fmt: skip
    if json_:
        console.emit_json(_answer(done, store) | ({} if report is None else {"report": str(report)}))
    else:
        _show(done, store)
        if report is not None:
            console.say(f"report: {report}")
    if any(one.state == "failed" for one in done):
        raise typer.Exit(1)


command.__doc__ = _HELP


def _tokenize(
    recordings: list[str], folder: str, out: Path, changes: dict[str, Any], which: dict[str, Any],
    reading: dict[str, Any], report: Path | None, **options: Any,
) -> tuple[list[Any], Any]:  # fmt: skip
    from neurosig.core.errors import UsageError
    from neurosig.loaders.recordings import ReadOptions
    from neurosig.tokenizers.token_sources import named_sources
    from neurosig.tokenizers.token_store import TokenStore
    from neurosig.tokenizers.tokenize import load_tokenizer, tokenize_recordings

    if changes["batch_size"] is not None and changes["batch_size"] < 1:
        raise UsageError(f"--batch must be 1 or more, got {changes['batch_size']}")
    # read with the parameters it was stored with, then told what it knows of what is asked
    tokenizer = load_tokenizer(folder, device=changes.pop("device"))
    known = tokenizer.get_params(deep=False)
    for name, value in changes.items():
        if value is None:
            continue
        if name not in known:
            raise UsageError(f"--{name.replace('_', '-')} means nothing to a {type(tokenizer).__name__}; leave it out")
        tokenizer.set_params(**{name: value})
    shortest = tokenizer._shortest()
    if options["window"] is not None and shortest is not None and 0 < options["window"] < shortest:
        raise UsageError(too_short(options["window"], shortest))
    sources = named_sources(recordings, **which, read=ReadOptions(**reading))
    done = tokenize_recordings(tokenizer, sources, out, **options)
    store = TokenStore(out)
    good = {one.name for one in done if one.state != "failed"}
    if report is not None and good:
        _report(tokenizer, {name: source for name, source in sources.items() if name in good}, store, options, report)
    return done, store


def _report(tokenizer: Any, sources: dict[str, Any], store: Any, options: dict[str, Any], path: Path) -> None:
    """Analyse a sample of the windows that were tokenized."""
    from neurosig.reports.tokens import token_report
    from neurosig.tokenizers.window_sample import sample_windows

    sample = sample_windows(
        sources, tokenizer, window=store.facts.window, step=store.facts.step, picks=options["picks"],
        skip_bad=options["skip_bad"],
    )  # fmt: skip
    there = sum(store.info(name).n_windows for name in sources)
    token_report(tokenizer, sample, path=path, title=f"Tokens of {len(sources)} recordings", n_there=there)


def _answer(done: list[Any], store: Any) -> dict[str, Any]:
    from dataclasses import asdict

    rows = []
    for one in done:
        row = asdict(one)
        if one.state != "failed":
            facts = store.info(one.name)
            row |= {"channels": list(facts.ch_names), "sfreq": facts.sfreq, "classes": list(facts.classes)}
        rows.append(row)
    return {"store": str(store.path), **asdict(store.facts), "recordings": rows}


def _show(done: list[Any], store: Any) -> None:
    from neurosig.cli import console

    states = {state: [one for one in done if one.state == state] for state in ("tokenized", "skipped", "failed")}
    counts = [f"{len(those)} {state}" for state, those in states.items() if those or state == "tokenized"]
    if again := sum(bool(one.repaired) for one in done if one.state == "tokenized"):
        counts[0] += f" ({again} again, as what was stored was damaged)"
    console.say(f"{len(done)} recording{'' if len(done) == 1 else 's'}: {', '.join(counts)}")
    there = [one for one in done if one.state != "failed"]
    rows = [
        (one.name, one.state, one.n_windows, one.n_bad, f"{one.seconds_left:.2f} s", len(store.info(one.name).ch_names))
        for one in there[:_SHOWN]
    ]
    if rows:
        columns = ("recording", "state", "windows", "bad", "left at the end", "channels")
        console.show_table(columns, rows, right=columns[2:])
    if len(there) > _SHOWN:
        console.say(f"... and {len(there) - _SHOWN} more")
    for one in states["failed"][:_SHOWN]:
        console.warn(f"failed: {one.name}: {one.error}")
    if len(states["failed"]) > _SHOWN:
        console.warn(f"{len(states['failed']) - _SHOWN} more failed: see --json")
    facts = store.facts
    console.say(
        f"store: {store.path} ({len(store)} recordings; tokens of {facts.vocabulary_size} codes, axes "
        f"{', '.join(facts.token_axes)}, windows of {facts.window:g} s every {facts.step:g} s)"
    )
    if there:
        console.note(f'next: neurosig.tokenizers.TokenStore({str(store.path)!r}).tokens("{there[0].name}")')
