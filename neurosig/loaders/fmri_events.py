"""Trials of fMRI: runs cut around the events of the tables beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, NoEventsError, UsageError
from neurosig.core.log import logger
from neurosig.core.near_names import did_you_mean
from neurosig.core.signals import Processing, SignalDataset
from neurosig.loaders.fmri_trials import cut_run, read_events_table

__all__ = ["cut_trials", "events_beside", "refuse_unknown"]


def events_beside(path: Path, root: Path | None = None) -> Path | None:
    """The table of events of a run.

    Parameters
    ----------
    path : Path
        File of the run.
    root : Path, optional
        Root of its BIDS dataset: of derivatives, the table lies with the raw data.

    Returns
    -------
    Path or None
        Of BIDS names, the table whose entities all are the run's; of others, the one in the same folder whose name
        (before ``_events``) the run's begins with. The closest, where several fit.
    """
    stem = path.name.split(".")[0]
    parts = set(stem.split("_"))
    folders = [path.parent]
    if root is not None and path.name.startswith("sub-"):
        inside = path.parent.relative_to(root) if path.parent.is_relative_to(root) else Path(path.parent.name)
        folders += [root / inside, root.parent / inside, root.parent.parent / inside]
    for folder in folders:
        found = []
        for place in folder.glob("*_events.tsv"):
            name = place.name.removesuffix("_events.tsv")
            if (set(name.split("_")) <= parts) if path.name.startswith("sub-") else stem.startswith(name):
                found.append(place)
        if found:
            return max(found, key=lambda place: len(place.name))
    return None


def cut_trials(
    dataset: SignalDataset,
    tables: Sequence[Any],
    events: Mapping[str, Any] | Sequence[str] | None,
    tmin: float,
    tmax: float,
    *,
    every: bool = False,
) -> SignalDataset:
    """Trials around the events of each run.

    Parameters
    ----------
    dataset : SignalDataset
        Runs, as `load_fmri` gives them.
    tables : sequence of path or DataFrame
        The events of each run: onset and duration in seconds from the first volume, trial_type.
    events : dict, sequence of str, or None
        Class name to trial type (or a list of them), or the types to take; None takes all.
    tmin, tmax : float
        First and last second of a trial after its onset; both ends are included.
    every : bool
        Whether each of the events must be there, in one of the runs at least.

    Returns
    -------
    SignalDataset
        X of shape (n_trials, n_regions, n_times); y the class names; metadata with onset, duration and event. Trials
        that reach beyond their run, or touch a volume that was dropped, are left out, and a log line says how many.

    Raises
    ------
    NoEventsError
        No run has such events, or (`every`) one of them.
    InputError
        No trial is whole, or repetition times differ between runs.
    """
    import numpy as np
    import pandas as pd

    processing = Processing(tmin, tmax)
    if dataset.info.t_r is None:
        raise InputError("trials need one repetition time for all runs, these differ or have none; pass t_r=seconds")
    parts, rows, labels, lost = [], [], [], 0
    seen: set[str] = set()
    for place, table in enumerate(tables):
        about = dataset.metadata.iloc[place]
        table = table if isinstance(table, pd.DataFrame) else read_events_table(table)
        seen |= set(table["trial_type"])
        named = _named(table["trial_type"], events)
        table = table.assign(event=named)[[name is not None for name in named]]
        if not len(table):
            continue
        cut, whole = cut_run(
            np.asarray(dataset.X[place]), dataset.info.t_r, table["onset"].to_numpy(float), tmin, tmax,
            kept=about["kept"], n_volumes=int(about["n_volumes"]),
        )  # fmt: skip
        lost += int((~whole).sum())
        parts.append(cut)
        chosen = table[whole]
        labels += chosen["event"].tolist()
        row = about.drop(["kept"]).to_dict()
        rows += [
            {**row, "onset": float(one.onset), "duration": float(one.duration), "event": one.trial_type}
            for one in chosen.itertuples()
        ]
    if not parts:
        wanted = "any event" if events is None else listed(list(events))
        raise NoEventsError(f"no run has {wanted}; its events are {listed(sorted(seen)) or 'none'}")
    if every and events is not None:
        refuse_unknown(events, seen)
    if lost:
        logger.warning("%d of %d trials left out: they reach beyond their run, or touch dropped volumes",
                       lost, lost + len(labels))  # fmt: skip
    if not labels:
        raise InputError(
            f"no trial from {tmin:g} to {tmax:g} s is whole: all reach beyond their run, or touch dropped volumes"
        )
    X = np.concatenate(parts)
    spec = dataset.info.replace(n_times=X.shape[2], tmin=tmin, processing=processing)
    return SignalDataset(X, np.array(labels, dtype=str), pd.DataFrame(rows), spec, name=dataset.name)


def refuse_unknown(events: Mapping[str, Any] | Sequence[str], known: Iterable[str]) -> None:
    """Refuse events that no table of events holds: a slip of the pen would lose a class without a word.

    Parameters
    ----------
    events : dict or sequence of str
        Class name to trial type (or a list of them), or the types.
    known : iterable of str
        All trial types that there are.

    Raises
    ------
    NoEventsError
        One of a class's types is not there; the message names all that are.
    """
    known = {str(name) for name in known}
    wanted = events.values() if isinstance(events, Mapping) else events
    types = [str(kind) for kinds in wanted for kind in (kinds if isinstance(kinds, list | tuple | set) else [kinds])]
    if unknown := [kind for kind in dict.fromkeys(types) if kind not in known]:
        hint = did_you_mean(unknown[0], sorted(known)).removeprefix("; ") if len(unknown) == 1 else ""
        raise NoEventsError(
            f"no run has the event {listed(unknown)}; there are {listed(sorted(known), 20) or 'none'}"
            + (f": {hint}" if hint else "")
        )


def _named(types: Any, events: Mapping[str, Any] | Sequence[str] | None) -> list[str | None]:
    """The class of each event, None for those that were not asked for."""
    if events is None:
        return [str(kind) for kind in types]
    if isinstance(events, str):
        raise UsageError(f"events must be a list of names or a dict of name to trial type; write [{events!r}]")
    if not isinstance(events, Mapping):
        events = {str(name): str(name) for name in events}
    classes = {
        str(kind): str(name)
        for name, kinds in events.items()
        for kind in (kinds if isinstance(kinds, list | tuple | set) else [kinds])
    }
    return [classes.get(str(kind)) for kind in types]
