"""``neurosig pretrain``: tokenizers, and networks on their tokens, learned from unlabelled recordings."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from neurosig.cli import fmri_options
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

_HELP = """Learn a tokenizer, or a network on its tokens, from recordings, without labels.

Recordings are cut into windows at the tokenizer's rate; they may be of several collections, with channels and rates of
their own. A share of the subjects is held back: after each epoch the loss on their windows tells whether to go on, and
the weights of the best epoch are kept. After Ctrl-C or a power cut the same command goes on after the last recording
that was cut, or the last epoch: until it is done, windows and checkpoint lie in FOLDER.unfinished. Memory holds a few
windows, the disk holds them all. Recordings that the system would refuse are left out, and told.

\b
SYSTEM is one of
  tfm        TFM-Tokenizer: half seconds of single channels, by their spectra; sizes base, small
  neurorvq   NeuroRVQ: patches of channels with known names, at four scales; sizes base, small
or, with --tokenizer, a network that learns to predict hidden tokens of one:
  neurorvq-embedder   NeuroRVQ's foundation model, on its tokens; sizes base, small
  tfm-encoder         the encoder of TFM tokens; sizes base, small
or, of runs of fMRI, which are taken whole:
  brainmae   BrainMAE: segments of region series, of which hidden regions are filled in; sizes base, small
"base" is the published size (of brainmae ours, as none is published); "small" is ours, for a few hours of recordings
and a processor without a graphics card.
Recordings are learned from as they are: filter them before, where they drift or hum (neurosig preprocess recordings/
--window 5 --out cleaned/ does, and cleans them), and tokenize such as were treated alike.

\b
Examples:
  neurosig pretrain tfm recordings/ --out tokenizer/ --size small --epochs 20
  neurosig pretrain tfm eegmmidb eegmat muse/*.csv.gz --out tokenizer/ --window 5 --device cuda
  neurosig pretrain neurorvq eegmmidb --out tokenizer/ --size small --batch 16 --set lr=1e-4 --set patience=5
  neurosig tokenize recordings/ --tokenizer tokenizer/ --out tokens/
  neurosig pretrain tfm-encoder recordings/ --tokenizer tokenizer/ --out encoder/ --epochs 20
  neurosig pretrain brainmae abide --data recordings/ --out brainmae/ --size small --epochs 50
  neurosig pretrain brainmae derivatives/ --atlas power --fmri task=rest --out brainmae/ --set n_segments=10

\b
What is written to --out, for `neurosig tokenize`, from_pretrained, or pretrained= of a classifier:
  config.json, model.safetensors    what was learned; nothing is pickled
  trained_on.json                   whom it has seen: benchmarks refuse to test it on them
  README.md                         its card: data, losses, seed
"""
_LINES, _ROWS = 12, 12  # of the tables of losses and of codebooks


def command(
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="What to learn.", show_default=False)],
    recordings: Recordings,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for what is learned.")],
    tokenizer: Annotated[
        str | None,
        typer.Option("--tokenizer", "-t", metavar="FOLDER", help="Whose tokens a network on tokens learns to predict."),
    ] = None,
    size: Annotated[str, typer.Option("--size", help="How large: base (as published) or small.")] = "base",
    window: Annotated[
        float | None,
        typer.Option("--window", metavar="S", help="Length of a window.  [default: as the tokenizer learned, else 5]"),
    ] = None,
    step: Step = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", help="Passes at most.  [default: the system's]")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", metavar="N", help="Windows in a batch.  [default: the system's]")
    ] = None,
    validation: Annotated[
        float, typer.Option("--validation", metavar="SHARE", help="Share of the subjects held back; 0 holds back none.")
    ] = 0.1,
    picks: Picks = None,
    subjects: Subjects = None,
    data: Data = None,
    unit: Unit = None,
    sfreq: SamplingRate = None,
    keep_bad: KeepBad = False,
    on_nan: OnNan = "raise",
    atlas: fmri_options.Atlas = None,
    t_r: fmri_options.RepetitionTime = None,
    confounds: fmri_options.Confounds = None,
    fmri: fmri_options.More = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any parameter of the estimator; may be given several times."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps or accelerate.")] = "auto",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of all that is drawn.")] = 0,
    licence: Annotated[
        str | None, typer.Option("--licence", metavar="SPDX", help="Licence of the weights, for the card.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what was learned before.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Learn, store, and say how it went."""
    from neurosig.cli import console

    _refuse_finished(out, overwrite)
    params: dict[str, Any] = {
        "max_epochs": epochs, "batch_size": batch, "validation": validation or None, "device": device,
        "random_state": seed, "verbose": not json_,
    }  # fmt: skip
    params = {name: value for name, value in params.items() if value is not None} | _set(set_ or [])
    from neurosig.models.pretraining_runs import RUN_SYSTEMS

    series = fmri_options.fmri_options(atlas, t_r, confounds, None, fmri)
    if system in RUN_SYSTEMS:
        _refuse({
            "--tokenizer": tokenizer, "--window": window, "--step": step, "--picks": picks, "--unit": unit,
            "--sfreq": sfreq, "--keep-bad": keep_bad or None, "--on-nan": None if on_nan == "raise" else on_nan,
        }, f"EEG and MEG, {system} learns from fMRI")  # fmt: skip
        with console.only_json(json_):
            made = _pretrain_on_runs(
                system, recordings, out, size=size, subjects=parse_names(subjects), data=data, fmri=series,
                overwrite=overwrite, licence=licence, progress=not json_, **params,
            )  # fmt: skip
        if json_:
            console.emit_json(_answer_of_runs(made))
        else:
            _show_runs(made)
        return
    _refuse({"--atlas, --t-r, --confounds or --fmri": series}, f"fMRI, {system} learns from EEG or MEG")
    with console.only_json(json_):
        made = _pretrain(
            system, recordings, out, {"data": data, "subjects": parse_names(subjects)}, {"unit": unit, "sfreq": sfreq},
            tokenizer=tokenizer, size=size, window=window, step=step, picks=parse_names(picks), skip_bad=not keep_bad,
            on_nan=on_nan, overwrite=overwrite, licence=licence, progress=not json_, params=params,
        )  # fmt: skip
    if json_:
        console.emit_json(_answer(made))
    elif tokenizer is None:
        _show(made)
    else:
        _show_embedder(made)


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


def _refuse_finished(out: Path, overwrite: bool) -> None:
    """Say at once that the work is done, before what learns is loaded."""
    from neurosig.core.errors import StorageError
    from neurosig.models.stored_estimator import estimator_in

    holds = None if overwrite else estimator_in(out)
    if holds is not None:
        what = "tokenizer" if holds.endswith("Tokenizer") else "network"
        raise StorageError(
            f"{out} holds a {what} already ({holds}): --overwrite makes it anew, another --out leaves it alone"
        )


def _pretrain(
    system: str, recordings: list[str], out: Path, which: dict[str, Any], reading: dict[str, Any], *,
    params: dict[str, Any], tokenizer: str | None, window: float | None, **options: Any,
) -> Any:  # fmt: skip
    from neurosig.core.errors import UsageError
    from neurosig.loaders.recordings import ReadOptions
    from neurosig.models.pretraining import EMBEDDERS, check_embedder, pretrain_embedder
    from neurosig.models.pretraining_runs import RUN_SYSTEMS
    from neurosig.tokenizers.pretraining import SYSTEMS, check_request, pretrain_tokenizer
    from neurosig.tokenizers.token_sources import named_sources

    # before data are read
    shared = {"size": options["size"], "overwrite": options["overwrite"]}
    if system in EMBEDDERS and tokenizer is None:
        raise UsageError(f"{system} learns to predict the tokens of a tokenizer: say which, --tokenizer FOLDER")
    if system in SYSTEMS and tokenizer is not None:
        raise UsageError(f"{system} is a tokenizer itself: leave --tokenizer out")
    if tokenizer is None or system not in EMBEDDERS:
        estimator, _ = check_request(system, out, params, **shared, systems={**SYSTEMS, **EMBEDDERS, **RUN_SYSTEMS})
    else:
        _, _, estimator = check_embedder(system, out, tokenizer, params, **shared)  # windows that its tokenizer takes
    shortest = estimator._shortest() if hasattr(estimator, "_shortest") else None
    if shortest is not None and 0 < (5.0 if window is None else window) < shortest:
        raise UsageError(too_short(5.0 if window is None else window, shortest))
    sources = named_sources(recordings, **which, read=ReadOptions(**reading))
    if tokenizer is not None:
        return pretrain_embedder(system, sources, out, tokenizer=tokenizer, window=window, **options, **params)
    return pretrain_tokenizer(system, sources, out, window=5.0 if window is None else window, **options, **params)


def _refuse(given: dict[str, Any], told: str) -> None:
    """Options that mean nothing to what is going to be learned."""
    from neurosig.core.errors import UsageError

    if wrong := [name for name, value in given.items() if value is not None]:
        raise UsageError(f"{wrong[0]} is for {told}: leave it out")


def _pretrain_on_runs(system: str, recordings: list[str], out: Path, **options: Any) -> Any:
    from neurosig.models.pretraining_runs import pretrain_on_runs

    return pretrain_on_runs(system, recordings, out, **options)


def _answer_of_runs(made: Any) -> dict[str, Any]:
    learned = made.estimator
    return {
        "folder": str(made.folder), "estimator": type(learned).__name__, "n_parameters": learned.n_parameters_,
        "n_runs": learned.n_windows_, "t_r": learned.t_r_, "datasets": made.collections,
        "held_back": list(made.held_back),
        "best_epoch": learned.best_epoch_, "stopped": learned.stopped_, "seconds": learned.seconds_,
        "history": learned.history_, "seed": learned.random_state,
    }  # fmt: skip


def _show_runs(made: Any) -> None:
    from neurosig.cli import console

    learned = made.estimator
    console.say(
        f"{type(learned).__name__}: {learned.n_parameters_:,} weights; {learned.n_windows_} runs at a repetition "
        f"time of {learned.t_r_:g} s"
    )
    for row in made.collections.to_dict(orient="records"):
        several = "" if row["subjects"] == 1 else "s"
        console.say(
            f"  {row['dataset']}: {row['runs']} runs of {row['subjects']} subject{several}, {row['regions']} regions, "
            f"{row['volumes']} volumes"
        )
    _show_held_back(made)
    _show_losses(learned)
    console.say(f"learned: {made.folder} (card: {made.folder / 'README.md'})")
    console.note(f"next: neurosig.models.BrainMAEClassifier(pretrained={str(made.folder)!r}).fit(runs, labels)")


def _answer(made: Any) -> dict[str, Any]:
    learned = made.estimator
    told = {
        "folder": str(made.folder), "estimator": type(learned).__name__, "n_parameters": learned.n_parameters_,
        "window": learned.n_times_ / learned.sfreq_, "n_windows": learned.n_windows_,
        "collections": made.collections, "failed": dict(made.failed),
        "held_back": list(made.held_back), "best_epoch": learned.best_epoch_,
        "stopped": learned.stopped_, "seconds": learned.seconds_, "history": learned.history_,
        "seed": learned.random_state,
    }  # fmt: skip
    if not hasattr(made, "usage"):
        return told
    return told | {
        "tokenizer": str(made.folder), "vocabulary_size": learned.vocabulary_size_,
        "token_axes": list(learned.token_axes), "n_judged": made.n_judged, "usage": made.usage, "bands": made.bands,
    }  # fmt: skip


def _show(made: Any) -> None:
    from neurosig.cli import console

    _show_learned(made, f", {made.tokenizer.vocabulary_size_} codes")
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


def _show_embedder(made: Any) -> None:
    from neurosig.cli import console

    _show_learned(made, "")
    learned = made.estimator
    console.say(f"learned: {made.folder} (card: {made.folder / 'README.md'})")
    decoder = "TFMClassifier" if type(learned).__name__ == "TFMEmbedder" else "NeuroRVQClassifier"
    console.note(f"next: neurosig.models.{decoder}(pretrained={str(made.folder)!r}).fit(epochs, labels)")


def _show_learned(made: Any, codes: str) -> None:
    """What was learned from what, and its losses."""
    from neurosig.cli import console

    learned = made.estimator
    console.say(
        f"{type(learned).__name__}: {learned.n_parameters_:,} weights{codes}; learned from {learned.n_windows_} "
        f"windows of {learned.n_times_ / learned.sfreq_:g} s"
    )
    for row in made.collections.to_dict(orient="records"):
        console.say(
            f"  {row['windows']} windows, {row['channels']} channels, {row['recordings']} recordings of "
            f"{row['subjects']} subject{'' if row['subjects'] == 1 else 's'}"
        )
    _show_held_back(made)
    for name, reason in list(made.failed.items())[:_LINES]:
        console.warn(f"left out: {name}: {reason}")
    _show_losses(learned)


def _show_held_back(made: Any) -> None:
    """Who was not learned from: the validation losses are theirs."""
    from neurosig.cli import console
    from neurosig.core.channel_names import listed

    if made.held_back:
        several = "" if len(made.held_back) == 1 else "s"
        console.say(f"  held back to judge it: subject{several} {listed(list(made.held_back), 12)}")


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
