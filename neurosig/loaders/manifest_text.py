"""A manifest in words."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from neurosig.loaders.manifest_schema import FilesSource, MoabbSource, SimulatedSource

if TYPE_CHECKING:
    from neurosig.loaders.manifest import Manifest

__all__ = ["describe", "size"]

_FOLDS = {
    "auto": "by run where there are several, else blocks in the order of recording",
    "chronological": "blocks in the order of recording",
}


def size(manifest: Manifest) -> str:
    """How many subjects and recordings, stated and there."""
    if not isinstance(manifest.source, FilesSource):
        return f"{len(manifest.subject_list)} subjects"
    entries = manifest.source.entries
    if not manifest.present:
        subjects = {entry.subject for entry in entries}
        return (
            f"{len(entries)} files"
            if "*" in subjects
            else f"{len(subjects)} subjects, {len(entries)} files; none is here"
        )
    recordings = manifest.recordings()
    here = len({recording.path for recording in recordings})
    return f"{len(manifest.subject_list)} subjects, {len(recordings)} recordings here ({here} of {len(entries)} files)"


def describe(manifest: Manifest) -> str:
    """The text of `Manifest.describe`."""
    cut = manifest.processing
    band = (
        f"{cut.fmin or 0:g}-{cut.fmax:g} Hz"
        if cut.fmax
        else "no filter"
        if cut.fmin is None
        else f"from {cut.fmin:g} Hz"
    )
    rows = {
        "what": f"{manifest.modality}, {manifest.paradigm or 'no paradigm'}",
        "size": size(manifest),
        "people": f"those of {', '.join(manifest.same_people)} too" if manifest.same_people else "",
        "events": ", ".join(manifest.events or ()) or "as in the recordings",
        "trials": f"{cut.tmin:g} to {cut.tmax:g} s after the event, {band}"
        + (f", {cut.resample:g} Hz" if cut.resample else ""),
        "folds": _FOLDS.get(manifest.folds, f"by {manifest.folds}"),
        "source": _source(manifest),
        "licence": manifest.licence + ("; for local evaluation only" if manifest.local_evaluation_only else ""),
        "cite": " ".join(filter(None, (manifest.citation, f"doi:{manifest.doi}" if manifest.doi else ""))),
        "notes": manifest.notes,
    }
    lines = [f"{manifest.name}: {manifest.title}"]
    if manifest.description:
        lines += ["", *textwrap.wrap(manifest.description, 96)]
    lines.append("")
    lines += [_row(key, text) for key, text in rows.items() if text]
    lines += [_row("careful", text) for text in manifest.warnings]
    return "\n".join(lines)


def _row(key: str, text: str) -> str:
    return textwrap.fill(
        f"{key:<9}{text}", 96, subsequent_indent=" " * 9, break_long_words=False, break_on_hyphens=False
    )


def _source(manifest: Manifest) -> str:
    source = manifest.source
    if isinstance(source, MoabbSource):
        return f"moabb.datasets.{source.moabb}, downloaded by moabb"
    if isinstance(source, SimulatedSource):
        return "made on demand, nothing to download"
    if source.derived:
        return (
            f"{source.derived}; in {manifest.folder}" if manifest.present else f"{source.derived}; pass --data FOLDER"
        )
    where = f"{source.base_url or (source.archives[0].url if source.archives else 'local files')}"
    return f"{where}; in {manifest.folder}" if manifest.present else f"{where}; neurosig datasets fetch {manifest.name}"
