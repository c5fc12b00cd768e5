"""What stands beside the scores of a benchmark: cards of datasets and pipelines, warnings, the call that made it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neurosig.core.files import resource_dir
from neurosig.core.signals import SignalDataset
from neurosig.evaluation.identity import versions
from neurosig.evaluation.paradigms import metric_name
from neurosig.evaluation.transfer_network import kind_of

if TYPE_CHECKING:
    import pandas as pd

    from neurosig.evaluation.pipelines import PipelineSpec
    from neurosig.evaluation.request import Entry, Options
    from neurosig.evaluation.study import Study

__all__ = [
    "common_columns", "dataset_card", "dummies_of", "fmri_facts", "left_out_trials", "pipeline_card", "python_call",
    "region_places", "run_lengths", "told_by_pipelines",
]  # fmt: skip

_LEFT_OUT = 0.01  # of the trials found


def common_columns(entry: Entry, study: Study) -> dict[str, Any]:
    """Columns that are equal in all rows of a study."""
    paradigm = study.runner.paradigm
    return {
        "dataset": entry.name,
        "n_sessions": study.runner.dataset.n_sessions,
        "evaluation": study.runner.name,
        "paradigm": "arrays" if isinstance(entry.given, SignalDataset) else type(paradigm).__name__,
        "folds": study.options["folds"],
        "metric": metric_name(paradigm),
        "seed": study.options["random_state"],
        "version": versions()["neurosig"],
        "tested": getattr(study.runner, "tested", "subject"),
    }


def dataset_card(entry: Entry, study: Study, folds: pd.DataFrame, records: list[dict[str, Any]]) -> dict[str, Any]:
    """What a report says about a dataset."""
    card: dict[str, Any] = {"name": entry.name}
    if entry.manifest is not None:
        manifest = entry.manifest
        stated = ("title", "description", "modality", "paradigm", "licence", "citation", "doi", "notes")
        card |= {name: getattr(manifest, name) for name in stated}
        card["warnings"] = [_without_taken_advice(text, study.runner.name) for text in manifest.warnings]
        if manifest.processing is not None:
            card["processing"] = manifest.processing.to_dict()
    if isinstance(entry.given, SignalDataset):
        info = entry.given.info
        card |= {"modality": info.modality, "sfreq": info.sfreq, "unit": info.unit}
        if info.modality == "fmri":
            card |= fmri_facts(entry.given, study.runner.dataset.subject_list)
    first = folds["pipeline"].iloc[0]
    classes: dict[str, int] = {}
    for record in records:
        if record["pipeline"] == first:
            for result in record["results"]:
                for name, count in result["test_counts"].items():
                    classes[name] = classes.get(name, 0) + count
    card |= {
        **({"code": study.runner.dataset.code} if card.get("modality") != "fmri" else {}),
        "subjects": _n_subjects(study, folds),
        "sessions": study.runner.dataset.n_sessions,
        "tested_trials": sum(classes.values()),
        **({"channels": int(folds["channels"].max())} if card.get("modality") != "fmri" else {}),
        "identity": entry.identity,
    }
    counts: dict[str, list[int]] = {}
    for record in records:
        counts |= record.get("trial_counts") or {}
    if counts:
        card["trials_found"], card["trials_kept"] = (sum(pair[i] for pair in counts.values()) for i in (0, 1))
    return card if study.runner.regression else {**card, "classes": classes}


def _without_taken_advice(text: str, evaluation: str) -> str:
    """A dataset's warning without its advice to leave sites out, where that is what was done."""
    before, semicolon, advice = text.rpartition("; ")
    return f"{before}." if semicolon and "--folds site" in advice and evaluation == "cross_site" else text


def _n_subjects(study: Study, folds: pd.DataFrame) -> int:
    pooled = getattr(study.runner, "tested", "subject") != "subject"
    return len(study.runner.dataset.subject_list) if pooled else int(folds["subject"].nunique())


def fmri_facts(signals: SignalDataset, subjects: Sequence[Any] | None = None) -> dict[str, Any]:
    """What a report says about runs of region series.

    Parameters
    ----------
    signals : SignalDataset
        Of fMRI.
    subjects : sequence of str, optional
        Only these.

    Returns
    -------
    dict
        ``regions, atlas, t_r`` (seconds), ``runs``, ``volumes`` and ``sites`` (subjects at each), as far as they are
        known. No signals are read.
    """
    table = signals.metadata
    if subjects is not None:
        table = table[table["subject"].isin(list(subjects))]
    info = signals.info
    times = sorted({float(value) for value in table["t_r"].dropna()}) if "t_r" in table else []
    times = times or ([float(info.t_r)] if info.t_r else [])
    facts: dict[str, Any] = {
        "regions": info.n_channels,
        "atlas": info.atlas,
        "t_r": None if not times else f"{times[0]:g}" if len(times) == 1 else f"{times[0]:g} to {times[-1]:g}, by run",
        "runs": len(table),
    }
    lengths = run_lengths(signals, table)
    if lengths:
        few, many = min(lengths), max(lengths)
        facts["volumes"] = f"{few}" if few == many else f"{few} to {many}"
    if "site" in table and table["site"].notna().any():
        counts = table.groupby("site", sort=True)["subject"].nunique()
        facts["sites"] = {str(name): int(n) for name, n in counts.items()}
    return facts


def region_places(entry: Entry) -> dict[str, Any]:
    """Names of a dataset's regions and, where known, their places in millimetres."""
    info = entry.given.info
    places = None if info.positions is None else [[round(1000 * value, 2) for value in row] for row in info.positions]
    return {"names": list(info.ch_names), "positions": places}


def run_lengths(signals: SignalDataset, table: pd.DataFrame) -> list[int]:
    """Volumes of each run: of the runs in memory, else what the metadata tell of those that are read as needed."""
    if hasattr(signals.X, "shape"):
        return [int(signals.X.shape[-1])]
    if isinstance(signals.X, list):
        chosen = signals.metadata["subject"].isin(table["subject"]).to_numpy()
        return [int(run.shape[1]) for run, wanted in zip(signals.X, chosen, strict=True) if wanted]
    if "n_volumes" not in table:
        return []
    kept = table["kept"] if "kept" in table else [None] * len(table)
    return [int(n) if some is None else len(some) for n, some in zip(table["n_volumes"], kept, strict=True)]


def left_out_trials(card: Mapping[str, Any]) -> list[str]:
    """A warning where more than one trial in a hundred was left out before decoding; `card` is of a dataset."""
    found, kept = card.get("trials_found", 0), card.get("trials_kept", 0)
    if found - kept <= _LEFT_OUT * found:
        return []
    return [
        f"{card['name']}: {found - kept} of {found} trials found were left out ({(found - kept) / found:.1%}); scores "
        f"are those of the {kept} kept"
    ]


def pipeline_card(name: str, pipeline: Any, grid: Any, spec: PipelineSpec | None) -> dict[str, Any]:
    """What a report says about a pipeline."""
    steps = pipeline.steps if hasattr(pipeline, "steps") else [("", pipeline)]
    card: dict[str, Any] = {"name": name, "steps": [" ".join(repr(step).split()) for _, step in steps]}
    card["kind"] = kind_of(pipeline)
    if grid:
        card["param_grid"] = {str(key): [str(value) for value in values] for key, values in dict(grid).items()}
    if spec is not None:
        card |= {"description": spec.description, "citations": list(spec.citations), "group": spec.group}
        card["file"] = spec.file.name if spec.file is not None else None
        # what comes with neurosig is found by its name, other files are not
        file = spec.file
        shipped = file is None or resource_dir("pipelines").resolve() in file.resolve().parents
        card["path"] = None if file is None or shipped else os.fspath(file)
    return card


def dummies_of(meta: Mapping[str, Any]) -> list[str]:
    """Pipelines of a benchmark (its ``meta``) that ignore the signals and are there to show chance."""
    cards = meta.get("pipelines", ())
    # results stored by an earlier version do not know the kind
    return [str(card.get("name")) for card in cards if card.get("kind", _told_kind(card)) == "chance"]


def _told_kind(card: Mapping[str, Any]) -> str:
    steps = list(card.get("steps") or [""])
    return "chance" if str(steps[-1]).startswith(("DummyClassifier(", "DummyRegressor(")) else ""


def told_by_pipelines(records: list[dict[str, Any]]) -> list[str]:
    """Warnings that pipelines gave while they were fitted, each once, with the number of folds."""
    counts: dict[tuple[str, str], int] = {}
    for record in records:
        for text in record["warnings"]:
            key = (record["pipeline"], text)
            counts[key] = counts.get(key, 0) + 1
    return [f"{name}: {text} ({n} fold{'' if n == 1 else 's'})" for (name, text), n in counts.items()]


def python_call(options: Options, entries: list[Entry], subjects: Any, processing: Mapping[str, Any]) -> str:
    """The call in Python, as far as it can be told from its arguments."""
    names = [entry.name for entry in entries]
    arguments = [f"pipelines, {names[0]!r}" if len(names) == 1 else f"pipelines, {names!r}", repr(options.evaluation)]
    defaults = {"folds": "auto", "n_splits": None, "cs_mode": None, "metric": None, "random_state": 42}
    arguments += [
        f"{key}={getattr(options, key)!r}" for key, value in defaults.items() if getattr(options, key) != value
    ]
    if subjects is not None:
        arguments.append(f"subjects={[str(subject) for subject in subjects]!r}")
    arguments += [f"{key}={value!r}" for key, value in processing.items() if value is not None]
    return f"neurosig.benchmark({', '.join(arguments)})"
