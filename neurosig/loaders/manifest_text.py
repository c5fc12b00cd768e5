"""A manifest in words."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from neurosig.loaders.manifest_schema import FilesSource, MoabbSource, SimulatedSource

if TYPE_CHECKING:
    from neurosig.loaders.manifest import Manifest

__all__ = ["describe", "size"]

_LABELS = "none stated; name a column of the people's table (--labels)"
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
        files = f"{len(entries)} file{'' if len(entries) == 1 else 's'}"
        if "*" not in subjects:
            return f"{len(subjects)} subjects, {files}; none is here"
        return f"{manifest.subjects} subjects in {files}" if isinstance(manifest.subjects, int) else files
    recordings = manifest.recordings()
    here = len({recording.path for recording in recordings})
    return f"{len(manifest.subject_list)} subjects, {len(recordings)} recordings here ({here} of {len(entries)} files)"


def describe(manifest: Manifest) -> str:
    """The text of `Manifest.describe`."""
    fmri = manifest.modality == "fmri"
    rows = {
        "what": "fMRI, region series" if fmri else f"{manifest.modality}, {manifest.paradigm or 'no paradigm'}",
        "size": size(manifest),
        "people": f"those of {', '.join(manifest.same_people)} too" if manifest.same_people else "",
        "labels" if fmri else "events": ", ".join(manifest.events or ())
        or (_LABELS if fmri else "as in the recordings"),
        "trials": _trials(manifest),
        "regions": _regions(manifest),
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


def _trials(manifest: Manifest) -> str:
    cut = manifest.processing
    if cut is None:
        return "none: each run is taken whole"
    text = f"{cut.tmin:g} to {cut.tmax:g} s after the event"
    if manifest.modality == "fmri":
        return text
    band = (
        f"{cut.fmin or 0:g}-{cut.fmax:g} Hz"
        if cut.fmax
        else "no filter"
        if cut.fmin is None
        else f"from {cut.fmin:g} Hz"
    )
    return f"{text}, {band}" + (f", {cut.resample:g} Hz" if cut.resample else "")


def _regions(manifest: Manifest) -> str:
    fmri = manifest.fmri
    if fmri is None:
        return ""
    parts = [fmri.atlas or "as in the files"]
    parts += [f"{name} {value:g} Hz" for name in ("high_pass", "low_pass") if (value := getattr(fmri, name))]
    parts += [f"TR {fmri.t_r:g} s"] if fmri.t_r else []
    return ", ".join([*parts, *([f"standardize {fmri.standardize}"] if fmri.standardize else [])])


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
