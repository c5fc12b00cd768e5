"""Networks pretrained on runs of fMRI without labels: datasets read, people held back, the result stored."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from neurosig.core.errors import InputError, UsageError
from neurosig.core.files import check_writable, sweep_unfinished
from neurosig.core.locks import exclusive
from neurosig.core.signals import SignalDataset
from neurosig.tokenizers.pretraining import Pretrained, PretrainingSystem, check_free

__all__ = ["RUN_SYSTEMS", "check_run_system", "pretrain_on_runs"]

# "base" is the size that the estimator has by itself
RUN_SYSTEMS: dict[str, PretrainingSystem] = {
    "brainmae": PretrainingSystem(
        "brainmae", "neurosig.models.brainmae_embedder:BrainMAEEmbedder", 0.0,
        {
            "base": {},
            "small": {"emb_size": 64, "n_heads": 4, "depth": 2, "temporal_depth": 1, "max_epochs": 200},
        },
    ),
}  # fmt: skip


def pretrain_on_runs(
    system: str,
    runs: Any,
    out: str | PathLike,
    *,
    size: str = "base",
    subjects: Sequence[str] | None = None,
    data: str | Path | None = None,
    fmri: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    licence: str | None = None,
    **params: Any,
) -> Pretrained:
    """Learn a network from runs of region series, without labels, and store it.

    The checkpoint lies in ``<out>.unfinished``: a call that was killed goes on when it is made again, after the epoch
    that was finished last. That folder is removed at the end.

    Parameters
    ----------
    system : {"brainmae"}
        Which network, of `RUN_SYSTEMS`: `BrainMAEEmbedder`.
    runs : SignalDataset, str, path, or list of them
        What `neurosig.open_dataset` takes; several datasets may differ in length and repetition time, and in regions as
        far as the estimator's ``on_missing`` and ``on_unknown`` allow.
    out : path-like
        Folder for the network.
    size : str
        One of the system's sizes: "base" is the estimator's own; "small" is for a processor without a graphics card.
    subjects : sequence of str, optional
        Only these.
    data : path-like, optional
        Folder that holds the files of datasets.
    fmri : dict, optional
        How region series are made, see `neurosig.loaders.manifest_schema.FmriFields`.
    overwrite : bool
        Replace the network that lies there.
    progress : bool, optional
        Show progress of reading; None shows it on a terminal.
    licence : str, optional
        Licence of the weights, for the card.
    **params
        Parameters of the estimator (``max_epochs=20``). `validation` holds whole subjects back.

    Returns
    -------
    Pretrained
        The estimator, and a table of its datasets.

    Raises
    ------
    UsageError
        If the system, its size or a parameter is unknown.
    InputError
        If the runs cannot be learned from.
    StorageError
        If `out` holds something else, or a network and `overwrite` is not said.

    Examples
    --------
    >>> from neurosig.models import BrainMAEClassifier, pretrain_on_runs
    >>> made = pretrain_on_runs("brainmae", "derivatives/", "brainmae/", fmri={"atlas": "power"})  # doctest: +SKIP
    >>> decoder = BrainMAEClassifier("brainmae/")  # doctest: +SKIP
    """
    estimator, _ = check_run_system(system, out, params, size=size, overwrite=overwrite)
    target = Path(out)
    work = check_writable(target.with_name(f"{target.name}.unfinished"))
    with exclusive(work, "neurosig pretrain"):
        sweep_unfinished(target)  # one that was killed while it stored
        check_free(target, overwrite, estimator)
        found = _datasets(runs, subjects, data, fmri, progress)
        estimator.set_params(checkpoint=work / "checkpoint")
        estimator.fit(found[0] if len(found) == 1 else found)
        estimator.set_params(checkpoint=None, verbose=None)
        estimator.save_pretrained(target, licence=licence)
        tables = pd.DataFrame([_described(one) for one in found])
    shutil.rmtree(work, ignore_errors=True)
    return Pretrained(estimator, target, tables, {}, tuple(estimator.__dict__.pop("_held_back", ())))


def check_run_system(
    system: str, out: str | PathLike, params: Mapping[str, Any], *, size: str = "base", overwrite: bool = False
) -> tuple[Any, PretrainingSystem]:
    """Refuse what `pretrain_on_runs` would refuse whatever the runs.

    Returns
    -------
    estimator, PretrainingSystem
        What is going to be fitted.

    Raises
    ------
    UsageError, StorageError
        As there.
    """
    if system not in RUN_SYSTEMS:
        raise UsageError(f"there is no system {system!r} to pretrain on fMRI; there are {', '.join(RUN_SYSTEMS)}")
    chosen = RUN_SYSTEMS[system]
    if size not in chosen.sizes:
        raise UsageError(f"{system} has no size {size!r}; it has {', '.join(chosen.sizes)}")
    estimator = chosen.load()()
    known = set(estimator.get_params(deep=True)) - {"sfreq", "ch_names", "info", "checkpoint"}
    if unknown := [name for name in params if name not in known]:
        raise UsageError(
            f"{type(estimator).__name__} has no parameter {unknown[0]!r}; it has {', '.join(sorted(known))}"
        )
    estimator.set_params(**{**chosen.sizes[size], **params})
    check_free(Path(out), overwrite, estimator)
    return estimator, chosen


def _datasets(
    runs: Any,
    subjects: Sequence[str] | None,
    data: str | Path | None,
    fmri: Mapping[str, Any] | None,
    progress: bool | None,
) -> list[SignalDataset]:
    """Every dataset's runs, of the subjects that are asked for; a subject need not be in each."""
    from neurosig.loaders.manifest import open_dataset

    given = [runs] if isinstance(runs, str | PathLike | SignalDataset) else list(runs)
    if not given:
        raise InputError("no runs: the list of datasets is empty")
    found, seen = [], set()
    for one in given:
        if isinstance(one, SignalDataset):
            dataset, name = one, one.name
        else:
            manifest = open_dataset(Path(one) if isinstance(one, PathLike) else one, data=data, fmri=fmri)
            if manifest.modality != "fmri":
                raise UsageError(f"{one} is {manifest.modality}, this network learns from fMRI")
            # people without a label are learned from too
            dataset, name = manifest.unlabelled().load(progress=progress), manifest.name
        if dataset.info.modality != "fmri":
            raise UsageError(f"{name} is {dataset.info.modality}, this network learns from fMRI")
        people = dataset.metadata["subject"].astype(str)
        seen |= set(people)
        if subjects is not None:
            dataset = dataset.subset(people.isin(list(map(str, subjects))).to_numpy())
        if len(dataset):
            found.append(dataset)
    if subjects is not None and (absent := [str(name) for name in subjects if str(name) not in seen]):
        raise UsageError(f"no run of subject {absent[0]}; there are {', '.join(sorted(seen)[:12])}")
    return found


def _described(dataset: SignalDataset) -> dict[str, Any]:
    volumes = dataset.metadata["n_volumes"] if "n_volumes" in dataset.metadata else [len(run[0]) for run in dataset.X]
    return {
        "dataset": dataset.name, "regions": dataset.info.n_channels, "atlas": dataset.info.atlas, "runs": len(dataset),
        "subjects": dataset.metadata["subject"].nunique(), "volumes": int(sum(volumes)),
    }  # fmt: skip
