"""The files of a cleaned recording: their places, their content, and whether finished work is there."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig._version import __version__
from neurosig.core.errors import InputError, NeurosigError
from neurosig.core.files import atomic_path, atomic_write
from neurosig.core.source import source_digest
from neurosig.preprocessing.cleaning import Cleaned, CleaningOptions

if TYPE_CHECKING:
    import mne

    from neurosig.preprocessing.cleaning_sources import Source
    from neurosig.preprocessing.faster_outliers import Outliers

__all__ = [
    "ENDINGS", "Outcome", "Report", "all_there", "files_of", "finished", "held_by_another", "how_read", "record_of",
    "store", "sweep", "versions",
]  # fmt: skip

# what comes after subject, session and run in the names of the files
ENDINGS = {
    "epochs": "_desc-faster_epo.fif", "average": "_desc-faster_ave.fif", "record": "_desc-faster_epo.json",
    "report": "_desc-faster_report.html",
}  # fmt: skip

Report = Callable[[Cleaned, Mapping[str, Any], Path], Any]

_FIF_LIMIT = 1.9e9  # bytes; beyond, mne parts a file in several, which cannot be renamed in one step
_PACKAGES = ("neurosig", "mne", "numpy", "scipy", "scikit-learn")


@dataclass(frozen=True)
class Outcome:
    """What became of one recording.

    Parameters
    ----------
    source : Source
        The recording.
    state : {"cleaned", "skipped", "left out", "failed"}
        Cleaned now; found clean from an earlier call; without events, or any of those asked for; or not possible.
    files : dict of str to Path
        ``epochs``, ``average``, ``record`` and, where one was written, ``report``.
    record : dict
        The content of the JSON file; empty where there is none.
    error : str
        Why it failed or was left out, in one line, without the file's name (`Source.file` has it).
    replaced : bool
        Whether it took the place of an earlier cleaning: of the same recording by other software, or, with
        `overwrite`, of whatever was there.
    trace : str
        Where in the program it failed, if that was by a defect; no page or record holds it.
    """

    source: Source
    state: str
    files: Mapping[str, Path] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    replaced: bool = False
    trace: str = ""


def files_of(source: Source, out: Path, page: bool) -> dict[str, Path]:
    """Where the results of a recording go."""
    folder = out / source.folder
    return {name: folder / (source.label + ending) for name, ending in ENDINGS.items() if page or name != "report"}


def finished(files: Mapping[str, Path], key: str) -> dict[str, Any] | None:
    """The record of finished work with this key whose files are all there, else None."""
    try:
        record = json.loads(files["record"].read_text(encoding="utf-8"))
        if record["key"] == key and all_there(record, files):
            return record
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing there, or a damaged record: the work is done again
    return None


def all_there(record: Mapping[str, Any], files: Mapping[str, Path]) -> bool:
    """Whether all files of a record are there, in the size that it says."""
    try:
        sizes = record["files"]
        return all(path.stat().st_size == sizes[path.name] for name, path in files.items() if name != "record")
    except (OSError, KeyError, TypeError):
        return False


def how_read(source: Source) -> dict[str, Any]:
    """What makes trials of a recording beside the options of its cleaning: events or windows, and channels left out."""
    stated = source.reading().get("options", {})
    return {name: stated.get(name) or None for name in ("events", "window", "drop")}


def held_by_another(files: Mapping[str, Path], whose: str) -> str:
    """Why results that are here may not be replaced by those of the recording `whose`; empty where they may.

    The record says first of all whose it is, so that most damaged ones still do; a damaged one that does not is taken
    for another's.
    """
    try:
        text = files["record"].read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""  # nothing finished: what lies here was left half done
    told = re.match(r'\{\s*"recording": "([0-9a-f]{64})"', text)
    if told is None:
        return "has a record that does not say whose it is"
    return "" if told[1] == whose else "is of another recording (its content differs)"


def sweep(files: Mapping[str, Path]) -> None:
    """Take away what a killed run left half written, or without the record that says it is whole."""
    if not files["record"].exists():
        _discard(files)
    for path in files.values():
        for box in path.parent.glob(f".{path.name}.*.partial"):
            shutil.rmtree(box, ignore_errors=True)


def _discard(files: Mapping[str, Path]) -> None:
    for path in files.values():
        path.unlink(missing_ok=True)


def store(
    cleaned: Cleaned, record: dict[str, Any], files: Mapping[str, Path], report: Report | None
) -> dict[str, Path]:
    """Write what came out, the record last: it says that the work is done.

    Parameters
    ----------
    cleaned : Cleaned
        The cleaning; names and dates are taken out of its header.
    record : dict
        Of it; gets the sizes of the files.
    files : dict of str to Path
        Where.
    report : callable or None
        Draws the page. Where it meets a defect, the trials are stored all the same and the record notes it.

    Returns
    -------
    dict of str to Path
        What was written.

    Raises
    ------
    InputError
        The trials do not fit one file.
    StorageError
        Something could not be written. Nothing is left then that could be taken for a result.
    """
    epochs = cleaned.epochs
    if epochs.get_data(copy=False).nbytes / 2 > _FIF_LIMIT:
        raise InputError("the cleaned trials fill more than one FIF file (2 GB); use a lower rate or shorter trials")
    _anonymise(epochs)
    _tell_origin(epochs, record)
    files["record"].unlink(missing_ok=True)  # an earlier one would vouch for files that are no longer its own
    try:
        return _write(cleaned, record, files, report)
    except BaseException:
        _discard(files)
        raise


def _write(
    cleaned: Cleaned, record: dict[str, Any], files: Mapping[str, Path], report: Report | None
) -> dict[str, Path]:
    import mne

    epochs, written = cleaned.epochs, dict(files)
    with atomic_path(files["epochs"]) as temporary:
        epochs.save(temporary, fmt="single", overwrite=True, verbose="error")
    averages = [epochs[name].average(picks="all") for name in epochs.event_id if len(epochs[name])]
    with atomic_path(files["average"]) as temporary:
        mne.write_evokeds(temporary, averages, overwrite=True, verbose="error")
    if report is not None:
        try:
            report(cleaned, record, files["report"])
        except (NeurosigError, OSError, MemoryError):
            raise
        except Exception as error:  # the page is drawn from what was cleaned well
            told = " ".join(f"{type(error).__name__}: {error}".split())
            record["notes"].append(f"the page could not be drawn ({told}); the same call cleans again and tries it")
            written.pop("report").unlink(missing_ok=True)
    record["files"] = {path.name: path.stat().st_size for name, path in written.items() if name != "record"}
    atomic_write(files["record"], json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return written


def _anonymise(epochs: mne.BaseEpochs) -> None:
    """Take names, dates and ages out of the file's header."""
    import mne

    mne.io.anonymize_info(epochs.info, verbose="error")
    epochs.info.set_meas_date(None)
    epochs.info["subject_info"] = None


def _tell_origin(epochs: mne.BaseEpochs, record: Mapping[str, Any]) -> None:
    """Whose the trials are, and what was done to them, in the file itself: it may be moved, and renamed."""
    import mne

    from neurosig.loaders.epoch_files import reference_of, set_provenance

    table = epochs.metadata.drop(columns=["subject", "session", "run"], errors="ignore")
    for place, name in enumerate(("subject", "session", "run")):
        table.insert(place, name, record[name])
    with mne.use_log_level("error"):
        epochs.metadata = table
    options = record["options"]
    others = () if isinstance(options["reference"], str) else options["reference"] or ()
    named = "average" if record["average_reference"] else ", ".join(others) or reference_of(epochs.info)
    reference = named if "eeg" in epochs else None
    set_provenance(epochs.info, f"neurosig preprocess {__version__}", reference, options["steps"])


def record_of(
    source: Source, cleaned: Cleaned, options: CleaningOptions, content: str, software: Mapping[str, str]
) -> dict[str, Any]:
    """What was found and done, for machines."""
    epochs = cleaned.epochs
    info = epochs.info
    n_trials, n_channels = len(cleaned.before), len(cleaned.ch_names)
    components = cleaned.found.get("components")
    kinds = dict(zip(info["ch_names"], info.get_channel_types(), strict=True))
    return {
        "subject": source.subject,
        "session": source.session,
        "run": source.run,
        "task": source.task,
        "content": content,
        "versions": dict(software),
        "options": options.to_dict(),
        "reading": how_read(source),
        "average_reference": cleaned.averaged,
        "sfreq": float(info["sfreq"]),
        "n_times": len(epochs.times),
        "channels": list(cleaned.ch_names),
        "eog_channels": [name for name, kind in kinds.items() if kind == "eog"],
        "misc_channels": [name for name, kind in kinds.items() if kind == "misc"],
        "events": {name: {"cut": cut, "kept": kept} for name, (cut, kept) in cleaned.event_counts.items()},
        "summary": {
            "channels": n_channels,
            "channels_interpolated": list(cleaned.interpolated),
            "channels_left_bad": list(cleaned.not_interpolated),
            "channels_marked": list(cleaned.marked),
            "trials": n_trials,
            "trials_kept": len(cleaned.kept),
            "trials_lost": cleaned.lost,
            "trials_dropped": sorted(set(range(n_trials)) - set(cleaned.kept.tolist())),
            "components": None if components is None else len(components.items),
            "components_removed": [] if components is None else list(components.bads),
            "cells_interpolated": int(cleaned.cells.sum()),
            "cells": len(cleaned.kept) * (n_channels - len(cleaned.interpolated) - len(cleaned.not_interpolated)),
        },
        "dropped": [
            {"trial": trial, "event": event, "onset": onset} for trial, (event, onset) in cleaned.dropped.items()
        ],
        "autoreject": cleaned.autoreject,
        "notes": list(cleaned.notes),
        "stages": {name: _stage(outliers) for name, outliers in cleaned.found.items()},
    }


def _stage(outliers: Outliers) -> dict[str, Any]:
    """A stage as JSON; of single epochs' channels only what was found: all z-scores would fill megabytes."""
    import numpy as np

    if outliers.bad.ndim == 1:
        return _rounded({**outliers.to_dict(), "items": [_native(item) for item in outliers.items]})
    rows = [
        {
            "trial": int(epoch),
            "channel": outliers.items[channel],
            "z": {name: float(z[epoch, channel]) for name, z in outliers.z.items()},
            "by": [name for name, flags in outliers.flags.items() if flags[epoch, channel]],
        }
        for epoch, channel in zip(*np.nonzero(outliers.bad), strict=True)
    ]
    stated = {"stage": outliers.stage, "items": list(outliers.items), "bad": rows}
    return _rounded({**stated, "threshold": dict(outliers.threshold), "skipped": dict(outliers.skipped)})


def _rounded(value: Any) -> Any:
    """JSON-like content with numbers of five digits; not-a-number is None."""
    import math

    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    value = _native(value)
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def _native(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def versions() -> dict[str, str]:
    """Versions of the packages that decide the result, and neurosig's own source where that may change without one."""
    found = {name: __version__ if name == "neurosig" else version(name) for name in _PACKAGES}
    source = source_digest("neurosig")
    return found if source is None else {**found, "neurosig source": source}
