"""``neurosig datasets``: which datasets are known, what is in them, get them, check them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from neurosig.loaders.manifest import Manifest

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Known datasets: list, show, fetch, verify.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
_Data = Annotated[
    Path | None, typer.Option("--data", help="Folder that holds the files [default: NEUROSIG_DATA, else the cache].")
]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="A dataset's name, or a manifest file (.yml).")]


@app.command("list")
def list_(
    json_: _Json = False,
    paradigm: Annotated[str | None, typer.Option(help="Only imagery, p300, ssvep or fmri.")] = None,
    here: Annotated[bool, typer.Option("--here", help="Only datasets that can be used without a download.")] = False,
) -> None:
    """List the known datasets.

    \b
    Examples:
      neurosig datasets list
      neurosig datasets list --here
      neurosig datasets list --paradigm p300 --json
      neurosig datasets list --paradigm fmri
    """
    from neurosig.cli import console
    from neurosig.core.errors import UsageError
    from neurosig.loaders.manifest import list_manifests, read_manifest

    if paradigm not in (None, "imagery", "p300", "ssvep", "fmri"):
        raise UsageError(f"--paradigm is imagery, p300, ssvep or fmri, got {paradigm!r}")
    manifests = [read_manifest(name) for name in list_manifests()]
    chosen = [item for item in manifests if paradigm in (None, item.paradigm or item.modality)]
    # sooner usable ones first: what is simulated or here, then what can be fetched, then what moabb fetches
    chosen.sort(key=lambda item: (_state(item)[0], item.paradigm or "", item.name.lower()))
    if here:
        chosen = [item for item in chosen if _state(item)[1] in ("here", "simulated")]
    if json_:
        console.emit_json({"datasets": [_summary(item) for item in chosen]})
        return
    rows = [(item.name, item.paradigm or item.modality, _count(item), _state(item)[1], item.title) for item in chosen]
    console.show_table(("name", "paradigm", "subjects", "where", "what"), rows, right=("subjects",))
    console.say("More about one: neurosig datasets show NAME")


@app.command()
def show(name: _Name, data: _Data = None, json_: _Json = False) -> None:
    """Show what a dataset is: origin, licence, events or labels, how trials are cut, folds, cautions.

    \b
    Examples:
      neurosig datasets show eegmmidb
      neurosig datasets show my_lab.yml --data recordings/
      neurosig datasets show abide
    """
    from neurosig.cli import console
    from neurosig.loaders.manifest import read_manifest

    manifest = read_manifest(name, data=data)
    if json_:
        console.emit_json(
            {**_summary(manifest), **manifest.model_dump(mode="json"), "subject_names": manifest.subject_list}
        )
    else:
        console.say(manifest.describe())


@app.command()
def fetch(
    name: _Name,
    dest: Annotated[Path | None, typer.Option("--dest", help="Folder for the files [default: the cache].")] = None,
    subjects: Annotated[str | None, typer.Option(help="Only these subjects, such as 1,4,7-9.")] = None,
    json_: _Json = False,
) -> None:
    """Download a dataset; checks every file, and goes on where an earlier call stopped.

    \b
    Examples:
      neurosig datasets fetch eegmmidb --subjects 1-10
      neurosig datasets fetch muse-p300 --dest data/muse
    """
    from neurosig.cli import console
    from neurosig.cli.options import parse_names
    from neurosig.loaders.manifest import read_manifest

    manifest = read_manifest(name)
    with console.only_json(json_):
        folder = manifest.fetch(dest, progress=None, subjects=parse_names(subjects))
    if json_:
        console.emit_json({"name": manifest.name, "folder": folder, "kind": manifest.kind})
    elif manifest.kind == "simulated":
        console.say(
            f"{manifest.name} is simulated: nothing to fetch. Try: neurosig benchmark --dataset {manifest.name}"
        )
    else:
        console.say(f"{manifest.name} is in {folder}")
        data = "" if dest is None else f" --data {folder}"
        console.say(f"Next: neurosig benchmark --dataset {name}{data} --out results/")


@app.command()
def verify(
    name: Annotated[
        str, typer.Argument(metavar="NAME|PATH", help="A dataset's name, its manifest (.yml), or a folder of it.")
    ],
    data: _Data = None,
    subjects: Annotated[str | None, typer.Option(help="Only these subjects, such as 1,4,7-9.")] = None,
    json_: _Json = False,
) -> None:
    """Check the files of a dataset against their sums; exit code 1 if one is missing or corrupt.

    \b
    Examples:
      neurosig datasets verify eegmmidb --subjects 1-10
      neurosig datasets verify muse-p300 --data data/muse
      neurosig datasets verify data/eegmmidb/
      neurosig datasets verify abide --data data/abide
    """
    from neurosig.cli import console
    from neurosig.cli.options import parse_names
    from neurosig.core.errors import UsageError
    from neurosig.loaders.manifest import open_dataset

    manifest = open_dataset(name, data=data)
    if manifest.kind != "files" or manifest.adhoc:
        known = "its recordings belong to no known dataset" if manifest.adhoc else f"its source is {manifest.kind}"
        raise UsageError(
            f"{name} has no sums to check: {known}; name a dataset of neurosig datasets list, or a manifest file"
        )
    rows = manifest.verify(subjects=parse_names(subjects))
    counts = {state: sum(row.status == state for row in rows) for state in ("ok", "unverified", "missing", "corrupt")}
    if json_:
        files = [{"path": row.path, "subject": row.subject, "status": row.status, "detail": row.detail} for row in rows]
        console.emit_json({"name": manifest.name, "folder": manifest.folder, "counts": counts, "files": files})
    else:
        console.show_table(
            ("file", "subject", "status", "detail"),
            [(r.path, r.subject, r.status, r.detail) for r in rows],
            title=f"{manifest.name} in {manifest.folder}",
        )
        console.say(", ".join(f"{count} {state}" for state, count in counts.items() if count))
        if counts["missing"] and manifest.fetchable:
            console.say(f"Get what is missing: neurosig datasets fetch {manifest.name} --dest {manifest.folder}")
    if any(row.bad for row in rows):
        raise typer.Exit(1)


def _state(manifest: Manifest) -> tuple[int, str]:
    if manifest.kind == "simulated":
        return 0, "simulated"
    if manifest.kind == "moabb":
        return 3, "moabb"
    if manifest.present:
        return 1, "here"
    return 2, "fetch" if manifest.fetchable else "--data"


def _count(manifest: Manifest) -> str:
    """Number of subjects; for a collection that is partly here, how many of how many."""
    total = len({entry.subject for entry in manifest.entries} - {"*"})
    if manifest.kind == "files" and manifest.present and total:
        there = len(manifest.subjects_present)
        return str(total) if there == total else f"{there} of {total}"
    if manifest.kind == "files":
        return str(manifest.subjects if isinstance(manifest.subjects, int) else total or "-")
    return str(len(manifest.subject_list))


def _summary(manifest: Manifest) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "title": manifest.title,
        "modality": manifest.modality,
        "paradigm": manifest.paradigm,
        "where": _state(manifest)[1],
        "subjects": _count(manifest),
        "events": list(manifest.events or ()),
        "folds": manifest.folds,
        "licence": manifest.licence,
        "doi": manifest.doi,
    }
