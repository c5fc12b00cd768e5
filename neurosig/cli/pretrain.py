"""``neurosig pretrain``: a tokenizer learned from unlabelled recordings."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from neurosig.cli.options import parse_names

__all__ = ["command"]

_HELP = """Learn a tokenizer from recordings, without labels.

Recordings are cut into windows at the tokenizer's rate; they may be of several collections, with channels and rates of
their own. A share of the subjects is held back: after each epoch the loss on their windows tells whether to go on, and
the weights of the best epoch are kept. After Ctrl-C or a power cut the same command goes on after the last epoch: until
it is done, windows and checkpoint lie in FOLDER.unfinished. Memory holds a few windows, the disk holds them all.

\b
SYSTEM is one of
  tfm        TFM-Tokenizer: half seconds of single channels, by their spectra; sizes base, small
  neurorvq   NeuroRVQ: patches of channels with known names, at four scales; sizes base, small
"base" is the published size; "small" is ours, for a few hours of recordings and a processor without a graphics card.
Recordings are learned from as they are: filter them before, where they drift or hum (neurosig preprocess recordings/
--window 5 --out cleaned/ does, and cleans them), and tokenize such as were treated alike.

\b
Examples:
  neurosig pretrain tfm recordings/ --out tokenizer/ --size small --epochs 20
  neurosig pretrain tfm eegmmidb eegmat muse/*.csv.gz --out tokenizer/ --window 5 --device cuda
  neurosig pretrain neurorvq eegmmidb --out tokenizer/ --size small --batch 16 --set lr=1e-4 --set patience=5
  neurosig tokenize recordings/ --tokenizer tokenizer/ --out tokens/

\b
What is written to --out, for `neurosig tokenize` and TOKENIZER.from_pretrained:
  config.json, model.safetensors    the tokenizer; nothing is pickled
  trained_on.json                   whom it has seen: benchmarks refuse to test it on them
  README.md                         its card: data, losses, seed
"""
_LINES, _ROWS = 12, 12  # of the tables of losses and of codebooks


def command(
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="tfm or neurorvq.", show_default=False)],
    recordings: Annotated[
        list[str], typer.Argument(metavar="RECORDINGS...", help="Files, folders, BIDS roots, or names of datasets.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the tokenizer.")],
    size: Annotated[str, typer.Option("--size", help="How large: base (as published) or small.")] = "base",
    window: Annotated[float, typer.Option("--window", metavar="S", help="Length of a window.")] = 5.0,
    step: Annotated[
        float | None, typer.Option("--step", metavar="S", help="From one window to the next.  [default: a window]")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", help="Passes at most.  [default: the system's]")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", metavar="N", help="Windows in a batch.  [default: the system's]")
    ] = None,
    validation: Annotated[
        float, typer.Option("--validation", metavar="SHARE", help="Share of the subjects held back; 0 holds back none.")
    ] = 0.1,
    picks: Annotated[
        str | None, typer.Option("--picks", metavar="NAMES", help="Channels to keep, such as C3,Cz,C4.")
    ] = None,
    subjects: Annotated[str | None, typer.Option("--subjects", metavar="1,2,...", help="Only these subjects.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", help="Folder that holds the files of datasets.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option("--unit", help="Unit of the numbers, where a file does not say: V, mV, uV.")
    ] = None,
    sfreq: Annotated[
        float | None, typer.Option("--sfreq", metavar="HZ", help="Sampling rate, where a file does not say.")
    ] = None,
    keep_bad: Annotated[bool, typer.Option("--keep-bad", help="Keep windows that touch spans called BAD...")] = False,
    on_nan: Annotated[
        str,
        typer.Option("--on-nan", metavar="WHAT", help="Recordings with NaN: raise, or skip the windows that hold it."),
    ] = "raise",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any parameter of the estimator; may be given several times."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps or accelerate.")] = "auto",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of all that is drawn.")] = 0,
    licence: Annotated[
        str | None, typer.Option("--licence", metavar="SPDX", help="Licence of the weights, for the card.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the tokenizer that lies there.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Learn, store, and say how it went."""
    from neurosig.cli import console

    params: dict[str, Any] = {
        "max_epochs": epochs, "batch_size": batch, "validation": validation or None, "device": device,
        "random_state": seed, "verbose": not json_,
    }  # fmt: skip
    params = {name: value for name, value in params.items() if value is not None} | _set(set_ or [])
    with console.only_json(json_):
        made = _pretrain(
            system, recordings, out, {"data": data, "subjects": parse_names(subjects)}, {"unit": unit, "sfreq": sfreq},
            size=size, window=window, step=step, picks=parse_names(picks), skip_bad=not keep_bad, on_nan=on_nan,
            overwrite=overwrite, licence=licence, progress=not json_, params=params,
        )  # fmt: skip
    if json_:
        console.emit_json(_answer(made))
    else:
        _show(made)


command.__doc__ = _HELP


def _set(pairs: list[str]) -> dict[str, Any]:
    """``["lr=1e-4", "validation=none"]`` as parameters; what is no number, list or word for nothing is text."""
    import ast

    from neurosig.core.errors import UsageError

    found: dict[str, Any] = {}
    words = {"none": None, "null": None, "true": True, "false": False}
    for pair in pairs:
        name, equals, text = (part.strip() for part in pair.partition("="))
        if not (equals and name.isidentifier() and text):
            raise UsageError(f"--set takes NAME=VALUE, such as lr=1e-4, got {pair!r}")
        try:
            found[name] = words[text.lower()] if text.lower() in words else ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[name] = text
    return found


def _pretrain(
    system: str, recordings: list[str], out: Path, which: dict[str, Any], reading: dict[str, Any], *,
    params: dict[str, Any], **options: Any,
) -> Any:  # fmt: skip
    from neurosig.loaders.recordings import ReadOptions
    from neurosig.tokenizers.pretraining import check_request, pretrain_tokenizer
    from neurosig.tokenizers.token_sources import named_sources

    # before data are read
    check_request(system, out, params, size=options["size"], overwrite=options["overwrite"])
    sources = named_sources(recordings, **which, read=ReadOptions(**reading))
    return pretrain_tokenizer(system, sources, out, **options, **params)


def _answer(made: Any) -> dict[str, Any]:
    tokenizer = made.tokenizer
    return {
        "tokenizer": str(made.folder), "estimator": type(tokenizer).__name__, "n_parameters": tokenizer.n_parameters_,
        "vocabulary_size": tokenizer.vocabulary_size_, "token_axes": list(tokenizer.token_axes),
        "window": tokenizer.n_times_ / tokenizer.sfreq_, "n_windows": tokenizer.n_windows_,
        "collections": made.collections, "failed": dict(made.failed), "best_epoch": tokenizer.best_epoch_,
        "stopped": tokenizer.stopped_, "seconds": tokenizer.seconds_, "history": tokenizer.history_,
        "n_judged": made.n_judged, "usage": made.usage, "bands": made.bands, "seed": tokenizer.random_state,
    }  # fmt: skip


def _show(made: Any) -> None:
    from neurosig.cli import console

    tokenizer = made.tokenizer
    console.say(
        f"{type(tokenizer).__name__}: {tokenizer.n_parameters_:,} weights, {tokenizer.vocabulary_size_} codes; learned "
        f"from {tokenizer.n_windows_} windows of {tokenizer.n_times_ / tokenizer.sfreq_:g} s"
    )
    for row in made.collections.to_dict(orient="records"):
        console.say(
            f"  {row['windows']} windows, {row['channels']} channels, {row['recordings']} recordings of "
            f"{row['subjects']} subject{'' if row['subjects'] == 1 else 's'}"
        )
    for name, reason in list(made.failed.items())[:_LINES]:
        console.warn(f"left out: {name}: {reason}")
    _show_losses(tokenizer)
    _show_usage(made)
    bands = made.bands[made.bands["band"] != "all"]
    mean = bands.groupby("band", sort=False)[["nmse", "correlation"]].mean()
    several = "" if len(made.collections) == 1 else f", mean of {len(made.collections)} collections"
    console.say(f"reconstruction of the spectra of the same windows{several}", style="bold")
    console.show_table(
        ("band", "squared error", "correlation"),
        [(name, f"{row.nmse:.3f}", f"{row.correlation:.3f}") for name, row in mean.iterrows()],
        right=("squared error", "correlation"),
    )
    console.say(f"tokenizer: {made.folder} (card: {made.folder / 'README.md'})")
    folder = shlex.quote(str(made.folder))
    console.note(f"next: {console.program()} tokenize RECORDINGS --tokenizer {folder} --out tokens/")


def _show_losses(tokenizer: Any) -> None:
    """Losses of some epochs, evenly spread, the kept one among them."""
    from neurosig.cli import console

    rows, best = tokenizer.history_, tokenizer.best_epoch_
    if not rows:
        return
    last = len(rows)
    shown = sorted({1 + round(i * (last - 1) / (_LINES - 1)) for i in range(_LINES)} | {best, last})
    keys = [key for key in rows[-1] if key.startswith(("train_", "valid_"))]
    table = [(epoch, *(f"{rows[epoch - 1][key]:.4g}" for key in keys), "kept" * (epoch == best)) for epoch in shown]
    console.say("losses", style="bold")
    console.show_table(("epoch", *keys, ""), table, right=("epoch", *keys))
    if not any(key.startswith("valid_") for key in keys):
        console.warn("no subject was held back: how well this carries to other people is not known")


def _show_usage(made: Any) -> None:
    from neurosig.cli import console

    names = [name for name in made.usage if name in ("scale", "level")]
    table = made.usage.to_dict(orient="records")
    rows = [
        (*(row[name] for name in names), f"{row['n_used']} of {row['n_codes']}", f"{row['perplexity']:.1f}")
        for row in table[:_ROWS]
    ]
    columns = (*names, "codes used", "perplexity")
    console.say(f"codes used in {made.n_judged} windows of these recordings", style="bold")
    console.show_table(columns, rows, right=columns)
    if len(table) > _ROWS:
        console.say(f"... and {len(table) - _ROWS} more codebooks: see --json")
