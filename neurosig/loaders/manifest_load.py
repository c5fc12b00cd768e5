"""From a manifest to trials, whatever its recordings come from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import UsageError
from neurosig.core.log import progress as show_progress

if TYPE_CHECKING:
    import numpy as np

    from neurosig.core.signals import SignalDataset
    from neurosig.loaders.manifest import Manifest
    from neurosig.loaders.simulated import SimulatedRecording

__all__ = ["load_manifest"]


def load_manifest(
    manifest: Manifest, *, memmap: str | Path | None = None, progress: bool | None = None
) -> SignalDataset:
    """Cut a manifest's recordings into trials (see `Manifest.load`)."""
    import dataclasses

    if manifest.modality == "fmri":
        from neurosig.loaders.manifest_fmri import load_runs

        if memmap is not None:
            raise UsageError(f"memmap is for trials of one length, {manifest.name} is fMRI; load it without")
        return load_runs(manifest, progress=progress)
    if manifest.kind == "files":
        from neurosig.loaders.epochs import load_recordings

        dataset = load_recordings(
            manifest.recordings(), manifest.event_names, manifest.processing, memmap=memmap, progress=progress
        )
        return dataclasses.replace(dataset, name=manifest.name)
    if memmap is not None:
        raise UsageError(f"memmap is for recordings in files, {manifest.name} is {manifest.kind}; load it without")
    return _from_moabb(manifest) if manifest.kind == "moabb" else _simulated(manifest, progress)


def _simulated(manifest: Manifest, progress: bool | None) -> SignalDataset:
    import mne
    import numpy as np
    import pandas as pd

    from neurosig.core.signals import SignalDataset, SignalSpec
    from neurosig.loaders.epochs import cut_epochs, process_raw

    signals, labels, tables = [], [], []
    rows: list[dict[str, Any]] = []
    truths: dict[tuple[str, str, str], dict[str, Any]] = {}
    info: mne.Info | None = None
    for item in show_progress(manifest.simulations(), desc="simulate", unit="run", show=progress):
        epochs = cut_epochs(process_raw(item.raw, manifest.processing), manifest.event_names, manifest.processing)
        names = {code: name for name, code in epochs.event_id.items()}
        signals.append(epochs.get_data(picks="data", copy=False))
        labels += [names[code] for code in epochs.events[:, 2]]
        onsets = (epochs.events[:, 0] - item.raw.first_samp) / item.raw.info["sfreq"]
        place = {"subject": item.subject, "session": item.session, "run": item.run}
        tables.append(pd.DataFrame({**place, "onset": onsets}))
        rows += [place | {"trial": number} | item.truth["trials"][number] for number in _trial_numbers(item, onsets)]
        truths[item.subject, item.session, item.run] = item.truth
        info = epochs.copy().pick("data").info
    X = np.concatenate(signals)
    spec = SignalSpec.from_mne(
        info,
        tmin=manifest.processing.tmin,
        n_times=X.shape[-1],
        montage=manifest.montage,
        line_freq=manifest.line_freq,
        processing=manifest.processing,
    )
    table = pd.concat(tables, ignore_index=True).assign(event=labels, file="")
    made = manifest.source.simulated  # type: ignore[union-attr]
    truth = {
        "kind": made.kind,
        "random_state": made.random_state,
        "effect": made.effect,
        "trials": pd.DataFrame(rows),
        "recordings": truths,
    }
    return SignalDataset(X, np.array(labels), table, spec, name=manifest.name, truth=truth)


def _trial_numbers(item: SimulatedRecording, onsets: np.ndarray) -> list[int]:
    """Which of the recording's trials these are, by their onsets: some events may not have been asked for."""
    import numpy as np

    every = np.array([trial["onset"] for trial in item.truth["trials"]])
    return [int(np.abs(every - onset).argmin()) for onset in onsets]


def _from_moabb(manifest: Manifest) -> SignalDataset:
    import dataclasses
    import warnings

    import moabb.paradigms

    from neurosig.core.signals import SignalDataset

    dataset: Any = manifest.as_moabb()
    cut = manifest.processing
    start = dataset.interval[0]  # MOABB's tmin and tmax count from there
    baseline = None
    if cut.baseline is not None:  # MOABB has no open ends
        ends = zip(cut.baseline, (cut.tmin, cut.tmax), strict=True)
        baseline = tuple((edge if given is None else given) - start for given, edge in ends)
    kinds = {"imagery": "MotorImagery", "p300": "P300", "ssvep": "SSVEP"}
    options: dict[str, Any] = {"n_classes": len(dataset.event_id)} if manifest.paradigm != "p300" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MOABB announces its defaults
        paradigm = getattr(moabb.paradigms, kinds[manifest.paradigm or "imagery"])(
            events=list(dataset.event_id) if manifest.paradigm != "p300" else ["Target", "NonTarget"],
            fmin=cut.fmin,
            fmax=cut.fmax,
            tmin=cut.tmin - start,
            tmax=cut.tmax - start,
            resample=cut.resample,
            baseline=baseline,
            channels=None if cut.picks is None else list(cut.picks),
            **options,
        )
        epochs, labels, table = paradigm.get_data(dataset, dataset.subject_list, return_epochs=True)
    loaded = SignalDataset.from_epochs(epochs, name=manifest.name, montage=manifest.montage, processing=cut)
    return dataclasses.replace(
        loaded, y=labels.astype(str), metadata=table.astype({"subject": str}).reset_index(drop=True)
    )
