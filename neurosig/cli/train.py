"""``neurosig train``: a pipeline fitted on a dataset, stored to be used, with an honest score beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from neurosig.cli import fmri_options
from neurosig.cli.options import choose_events, parse_names


def command(
    dataset: Annotated[
        str, typer.Option("--dataset", "-d", help="Name of a dataset, a manifest (.yml), or recordings.")
    ],
    pipeline: Annotated[str, typer.Option("--pipeline", "-p", help="Name of a pipeline, or its YAML file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.")],
    data: Annotated[Path | None, typer.Option(help="Folder that holds the dataset's files.")] = None,
    subjects: Annotated[str | None, typer.Option(help="Use these subjects only, such as 1,3,7-9.")] = None,
    events: Annotated[str | None, typer.Option(help="Events to tell apart, such as left=T1,right=T2.")] = None,
    fmin: Annotated[float | None, typer.Option(help="Lower edge of the band in Hz.")] = None,
    fmax: Annotated[float | None, typer.Option(help="Upper edge of the band in Hz.")] = None,
    tmin: Annotated[float | None, typer.Option(help="First second of a trial, relative to its event.")] = None,
    tmax: Annotated[float | None, typer.Option(help="Last second of a trial.")] = None,
    resample: Annotated[float | None, typer.Option(help="New sampling rate in Hz.")] = None,
    atlas: fmri_options.Atlas = None,
    t_r: fmri_options.RepetitionTime = None,
    confounds: fmri_options.Confounds = None,
    labels: fmri_options.Labels = None,
    fmri: fmri_options.More = None,
    cv: Annotated[bool, typer.Option("--cv/--no-cv", help="Estimate the score before the final fit.")] = True,
    folds: Annotated[str, typer.Option(help="auto, run, chronological, session, subject, site or shuffled.")] = "auto",
    n_splits: Annotated[
        int | None, typer.Option("--n-splits", help="Number of folds, where there is a choice.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of whatever is drawn.")] = 42,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Folds evaluated at once.")] = 1,
    allow_seen: Annotated[
        bool,
        typer.Option("--allow-seen", help="Estimate the score even on people whom a pretrained part of it has seen."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model that lies there.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Fit a pipeline on a dataset and store it for `neurosig decode`.

    The score to expect is estimated by cross-validation first: with the folds that the dataset
    recommends and, if there are several people, on people left out. The model folder holds the
    pipeline (pipeline.skops), what signals it expects (config.json) and a model card (README.md).

    \b
    Examples:
      neurosig train --dataset simulated-imagery --pipeline TS+LR --out model/
      neurosig train -d recordings/ -p CSP+LDA --events left=T1,right=T2 --fmin 8 --fmax 32 -o model/
      neurosig train -d abide --data recordings/ -p FC+LR -o model/
    """  # \b keeps the lines of the examples apart
    from neurosig.cli import console

    _check_free(out, overwrite)
    processing = {"fmin": fmin, "fmax": fmax, "tmin": tmin, "tmax": tmax, "resample": resample}
    estimate = {
        "folds": folds if cv else None, "n_splits": n_splits, "random_state": seed, "n_jobs": jobs,
        "allow_seen": allow_seen, "show_progress": not json_,
    }  # fmt: skip
    with console.only_json(json_):
        answer = _train(
            dataset, pipeline, out, data, parse_names(subjects), choose_events(events), estimate, processing,
            fmri_options.fmri_options(atlas, t_r, confounds, labels, fmri),
        )  # fmt: skip
    if json_:
        console.emit_json(answer)
    else:
        _show(answer)


def _check_free(out: Path, overwrite: bool) -> None:
    """Fail before the work, not after it, where the model cannot be stored."""
    from neurosig.core.errors import StorageError
    from neurosig.core.files import check_writable

    if out.is_file():
        raise StorageError(f"cannot store a model in {out}: it is a file; choose a folder")
    model_there = (out / "pipeline.skops").is_file()
    if model_there and not overwrite:
        raise StorageError(f"{out} holds a model already; choose another folder, or pass --overwrite to replace it")
    if out.is_dir() and any(out.iterdir()) and not model_there:
        raise StorageError(f"cannot store a model in {out}: the folder holds other files; choose a new or empty folder")
    made = [place for place in (out.parent, *out.parent.parents) if not place.exists()]
    check_writable(out.parent)
    for place in made:  # nothing is left behind if the training fails
        place.rmdir()


def _train(
    dataset: str, pipeline: str, out: Path, data: Path | None, subjects: list[str] | None, events: Any,
    estimate: dict[str, Any], processing: dict[str, Any], fmri: dict[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    from neurosig.evaluation.trained import find_pipeline, train
    from neurosig.loaders.manifest import open_dataset

    spec = find_pipeline(pipeline)  # a mistyped name is found before the data are read
    manifest = open_dataset(dataset, data=data, events=events, fmri=fmri)
    trained = train(manifest, spec, subjects=subjects, **estimate, **processing)
    trained.save(out)
    return {"model": str(out), "classes": list(trained.classes), "spec": trained.spec.to_dict(), **trained.card}


def _show(answer: dict[str, Any]) -> None:
    from neurosig.cli import console
    from neurosig.evaluation.model_card import score_sentence
    from neurosig.evaluation.verdict import above_chance

    data = answer["dataset"]
    several = "" if len(data["subjects"]) == 1 else "s"
    whole = answer["spec"]["modality"] == "fmri" and answer["spec"]["processing"] is None
    console.say(
        f"{answer['pipeline']['name']} trained on {data['name']}: {data['n_trials']} {'runs' if whole else 'trials'}, "
        f"{len(data['subjects'])} subject{several}, classes {', '.join(answer['classes'])}"
    )
    for text in answer.get("warnings", ()):
        console.warn(text)
    for score in answer["scores"]:
        console.say(f"  {score_sentence(score)}")
        if not above_chance(score):
            console.warn("this score could be chance: do not rely on the model")
    if not answer["scores"]:
        console.warn("the score was not estimated (--no-cv): do not rely on the model")
    console.say(f"model:  {answer['model']} (card: {Path(answer['model']) / 'README.md'})")
    console.say(f"next:   {console.program()} decode --model {answer['model']} RECORDING --out decoded/")
