"""Pseudo-online evaluation: sliding windows over whole recordings, an idle class, later data decoded from earlier."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.files import atomic_write
from neurosig.core.log import progress
from neurosig.core.signals import Processing, SignalSpec
from neurosig.evaluation.leakage import check_no_leakage
from neurosig.evaluation.online_scores import (
    action_scores,
    check_hold,
    held_actions,
    information_transfer_rate,
    normalized_mcc,
)
from neurosig.evaluation.seen import check_parts, pretrained_parts
from neurosig.evaluation.signal_facts import with_signal_facts
from neurosig.evaluation.windows import is_number, open_recordings, sliding_windows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PseudoOnline", "pseudo_online"]


@dataclass(frozen=True)
class PseudoOnline:
    """What a pseudo-online evaluation found.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a subject, session and pipeline: MOABB's columns ``score, time, samples, samples_test, n_classes,
        subject, session, channels, n_sessions, dataset, pipeline``, where the score is the normalised MCC; then
        ``metric, nmcc, accuracy, balanced_accuracy, itr`` (bits a minute, from the balanced accuracy and the signal
        that an action takes: a window, and a step more for each further decision of `hold`), ``chance`` (of the score),
        ``idle`` (share of idle among the test windows), and of the actions ``n_tasks, detected, confused, carried,
        latency`` (seconds), ``false_positives`` (a minute), ``idle_acting`` (share of the time) and ``idle_minutes``,
        see `action_scores`.
    windows : pandas.DataFrame
        One row a test window and pipeline: ``subject, session, run, file, onset, overlap, task, task_start, task_stop,
        pipeline, event, predicted, action``. The action is what was predicted, once it was `hold` times in a row.
    about : dict
        JSON-like: how windows were cut, labelled and split.
    """

    table: pd.DataFrame
    windows: pd.DataFrame
    about: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        numbers = [(self.table[name].nunique(), name) for name in ("pipeline", "subject")]
        told = ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for n, name in numbers)
        n_windows = len(self.windows) // max(1, self.table["pipeline"].nunique())
        cut = f" of {self.about['window']:g} s every {self.about['step']:g} s" if "window" in self.about else ""
        return f"<PseudoOnline: {told}, {n_windows} test windows{cut}>"

    def _repr_html_(self) -> str:
        import html

        summary = self.summary().to_html(index=False, float_format="{:.3f}".format, border=0)
        return f"<p>{html.escape(repr(self))}</p>{summary}"

    def summary(self) -> pd.DataFrame:
        """A row a pipeline: the score with its interval over subjects, and the means of the other measures.

        Returns
        -------
        pandas.DataFrame
            ``pipeline, n, mean, ci_low, ci_high`` (of the normalised MCC), and means over subjects of
            ``balanced_accuracy, itr, detected, confused, carried, latency, false_positives, idle_acting``; best first.
        """
        from neurosig.evaluation.statistics import summarize

        rows = summarize(self.table, by=["pipeline"])[["pipeline", "n", "mean", "ci_low", "ci_high"]]
        rows[["ci_low", "ci_high"]] = rows[["ci_low", "ci_high"]].clip(0, 1)
        people = self.table.groupby(["pipeline", "subject"])[list(_MEANS)].mean()
        return rows.merge(people.groupby("pipeline").mean(), left_on="pipeline", right_index=True)

    def with_hold(self, hold: int) -> PseudoOnline:
        """The same decisions, acted on once they were made another number of times in a row; nothing is fitted again.

        Parameters
        ----------
        hold : int
            Equal decisions in a row that make an action.

        Returns
        -------
        PseudoOnline
            With its own scores.
        """
        check_hold(hold)
        parts = []
        table, about = self.table.set_index(_FIT), {**self.about, "hold": hold}
        for key, its in self.windows.groupby(_FIT, sort=False):
            its = its.assign(action=held_actions(its, hold, about["step"], about["idle"]))
            scores = _scores(its, int(table.loc[key, "n_classes"]), about)
            table.loc[key, [*scores, "score"]] = [*scores.values(), scores["nmcc"]]
            parts.append(its)
        windows = pd.concat(parts).sort_index()
        return PseudoOnline(table.reset_index()[self.table.columns], windows, about)

    def plot(self, pipeline: str | None = None) -> Figure:
        """Tasks and actions over the time of each recording.

        Parameters
        ----------
        pipeline : str, optional
            Which decoder; None is the one with the best score.

        Returns
        -------
        matplotlib.figure.Figure
            See `neurosig.reports.pseudo_online.plot_actions`.

        Raises
        ------
        UsageError
            If there is no such pipeline.
        """
        from neurosig.reports.pseudo_online import plot_actions

        return plot_actions(self, pipeline)

    def report(self, path: str | os.PathLike) -> Path:
        """Write the self-contained HTML report.

        Parameters
        ----------
        path : path
            The file.

        Returns
        -------
        Path
            The same.

        Raises
        ------
        StorageError
            If the place cannot be written.
        """
        from neurosig.reports.pseudo_online import write_pseudo_online_report

        return write_pseudo_online_report(self, path)

    def save(self, folder: str | os.PathLike) -> Path:
        """Write ``scores.csv``, ``windows.csv`` and ``about.json`` into a folder.

        Parameters
        ----------
        folder : path
            Created if need be.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        StorageError
            If the place cannot be written.
        """
        folder = Path(folder)
        for name, frame in (("scores.csv", self.table), ("windows.csv", self.windows)):
            atomic_write(folder / name, frame.to_csv(index=False, lineterminator="\n"))
        atomic_write(folder / "about.json", json.dumps(dict(self.about), indent=1, ensure_ascii=False))
        return folder


_MEANS = (
    "balanced_accuracy", "itr", "detected", "confused", "carried", "latency", "false_positives", "idle_acting",
)  # fmt: skip
_FIT = ["subject", "session", "pipeline"]
_WHERE = ["subject", "session", "run", "file", "onset", "overlap", "task", "task_start", "task_stop"]


def pseudo_online(
    pipelines: Any,
    recordings: Any,
    *,
    window: float,
    step: float,
    processing: Processing | None = None,
    events: Sequence[str] | None = None,
    subjects: Iterable[str | int] | None = None,
    train_fraction: float = 0.5,
    min_overlap: float = 0.5,
    causal: bool = True,
    hold: int = 1,
    idle: str = "idle",
    allow_seen: bool = False,
    name: str | None = None,
    show_progress: bool | None = None,
) -> PseudoOnline:
    """Train on the first part of each session's recordings, decode sliding windows over the rest.

    Parameters
    ----------
    pipelines : estimator, dict of str to estimator, or list of str
        What to evaluate; strings are names of shipped pipelines. They get X in microvolts.
    recordings : Manifest, str, Path, or iterable of Recording
        Continuous recordings, in the order in which they were made; a name or path is opened with
        `neurosig.open_dataset`.
    window, step : float
        Length of a window, and time from one to the next, in seconds.
    processing : Processing, optional
        ``tmin`` and ``tmax`` are when, relative to an event, its task lasts; ``fmin``, ``fmax``, ``picks`` and
        ``resample`` apply to the windows. None is the manifest's.
    events : sequence of str, optional
        Names of the events; None is the manifest's, or all that occur.
    subjects : iterable of str or int, optional
        Only these.
    train_fraction : float
        Share of a session's windows that comes first and is trained on. Where a session has several runs, whole runs.
    min_overlap : float
        Part of a window that must lie in a task for the window to have its label, above 0; else it is idle.
    causal : bool
        Filter forward only, as one has to online. False is the zero-phase filter of the offline evaluations, which
        lets the future into every window.
    hold : int
        Equal decisions in a row before the system acts; more mean fewer false actions, and later ones. Scores are those
        of what it does.
    idle : str
        Name of the idle class.
    allow_seen : bool
        Also test pretrained parts on people whom they have seen, see `neurosig.benchmark`; ``about`` says so.
    name : str, optional
        Name of the dataset in the table.
    show_progress : bool, optional
        None shows a bar on terminals only.

    Returns
    -------
    PseudoOnline
        Table, windows, and what was done.

    Raises
    ------
    InputError
        A session's first part lacks a class, or recordings are too short.
    UsageError
        An option is not what it must be.
    LeakageError
        Something pretrained has seen people who are tested.

    Notes
    -----
    After the pseudo-online framework of Carrara and Papadopoulo [1]_: overlapping windows, an explicit idle class, and
    the Matthews correlation coefficient as (MCC + 1) / 2, because idle windows are many and accuracy is high for a
    decoder that never acts. Training windows that lie partly in a task are left out, since their label is a matter of
    definition; test windows are all decoded and counted. Windows that share a sample with a training window are not
    tested (`check_no_leakage` proves it).

    What a user of such a system meets are its actions: `detected`, `latency`, `false_positives` and `idle_acting` in
    the table tell of those. An action that began before a task is no answer to it.

    References
    ----------
    .. [1] Carrara and Papadopoulo, "Pseudo-online framework for BCI evaluation: a MOABB perspective using various MI
       and SSVEP datasets", Journal of Neural Engineering 21, 2024, https://doi.org/10.1088/1741-2552/ad171a
    """
    from sklearn.base import clone

    if not (is_number(train_fraction) and 0 < train_fraction < 1):
        raise UsageError(f"train_fraction must lie between 0 and 1, got {train_fraction!r}")
    check_hold(hold)
    given = _estimators(pipelines)
    name, recordings, events, processing = open_recordings(recordings, events, processing, subjects, name)
    dataset = sliding_windows(
        recordings,
        events=events,
        processing=processing,
        window=window,
        step=step,
        min_overlap=min_overlap,
        causal=causal,
        idle=idle,
        name=name,
        show_progress=show_progress,
    )
    metadata, y, X = dataset.metadata, np.asarray(dataset.y), dataset.X
    people: dict[str, str | None] = dict.fromkeys(metadata["subject"].astype(str))
    told = [
        line
        for label, estimator in given.items()
        for line in check_parts(label, pretrained_parts(estimator), people, name, allow_seen, "pass allow_seen=True")
    ]
    estimators = {label: with_signal_facts(estimator, dataset.info) for label, estimator in given.items()}
    sessions = metadata.groupby(["subject", "session"], sort=False).indices
    rows, decoded = [], []
    jobs = [(key, part, label) for key, part in sessions.items() for label in estimators]
    for (subject, session), part, label in progress(jobs, desc="pseudo-online", unit="fit", show=show_progress):
        train, test = _split(metadata.iloc[part], train_fraction, dataset.info)
        train, test = part[np.intersect1d(train, _clear(metadata, part))], part[test]
        _check_classes(y, train, test, f"subject {subject}, session {session}")
        check_no_leakage(metadata, train, test, window)
        start = time.perf_counter()
        classes, codes = np.unique(y[train], return_inverse=True)
        fitted = clone(estimators[label]).fit(X[train], codes)
        seconds = time.perf_counter() - start
        its = metadata.iloc[test][_WHERE].assign(pipeline=label, event=y[test])
        its["predicted"] = classes[np.asarray(fitted.predict(X[test]), dtype=int)]
        its["action"] = held_actions(its, hold, step, idle)
        scores = _scores(its, len(classes), {"window": window, "step": step, "hold": hold, "idle": idle})
        rows.append(
            {
                "score": scores["nmcc"],
                "time": seconds,
                "samples": len(train),
                "samples_test": len(test),
                "n_classes": len(classes),
                "subject": subject,
                "session": session,
                "channels": X.shape[1],
                "n_sessions": metadata.loc[metadata["subject"] == subject, "session"].nunique(),
                "dataset": name,
                "pipeline": label,
                "metric": "nmcc",
                **scores,
                "chance": 0.5,
                "idle": float(np.mean(y[test] == idle)),
            }
        )
        decoded.append(its)
    about = {
        "dataset": name,
        "window": window,
        "step": step,
        "train_fraction": train_fraction,
        "min_overlap": min_overlap,
        "causal": causal,
        "hold": hold,
        "idle": idle,
        "processing": processing.to_dict(),
        "windows_per_class": {str(k): int(n) for k, n in zip(*np.unique(y, return_counts=True), strict=True)},
        **({"warnings": told} if told else {}),
    }
    return PseudoOnline(pd.DataFrame(rows), pd.concat(decoded, ignore_index=True), about)


def _scores(windows: pd.DataFrame, n_classes: int, about: Mapping[str, Any]) -> dict[str, float]:
    """What the table says of one fit, from its test windows."""
    y, action = windows["event"].to_numpy(), windows["action"].to_numpy()
    balanced = float(np.mean([np.mean(action[y == label] == label) for label in np.unique(y)]))
    window, step = about["window"], about["step"]
    return {
        "nmcc": normalized_mcc(y, action),
        "accuracy": float(np.mean(y == action)),
        "balanced_accuracy": balanced,
        # idle windows are many: from the plain accuracy a decoder that never acts would transfer information
        "itr": information_transfer_rate(balanced, n_classes, window + (about["hold"] - 1) * step),
        **action_scores(windows, window=window, step=step, idle=about["idle"]),
    }


def _estimators(pipelines: Any) -> dict[str, Any]:
    if isinstance(pipelines, Mapping):
        return dict(pipelines)
    if hasattr(pipelines, "fit"):
        return {type(getattr(pipelines, "steps", [(None, pipelines)])[-1][1]).__name__: pipelines}
    from neurosig.evaluation.pipelines import load_pipelines

    return load_pipelines(names=pipelines)


def _clear(metadata: pd.DataFrame, part: np.ndarray) -> np.ndarray:
    """Positions within a session of the windows that lie wholly in a task or wholly outside."""
    overlap = metadata["overlap"].to_numpy()[part]
    return np.flatnonzero((overlap <= 0) | (overlap >= 1 - 1e-9))


def _split(metadata: pd.DataFrame, fraction: float, info: SignalSpec) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the windows to train on and of those to test, by whole runs where there are several."""
    runs = metadata.groupby(["file", "run"], sort=False).ngroup().to_numpy()
    n_runs = runs.max() + 1
    if n_runs > 1:
        first = min(n_runs - 1, max(1, round(fraction * n_runs)))
        return np.flatnonzero(runs < first), np.flatnonzero(runs >= first)
    onset = metadata["onset"].to_numpy()
    border = onset[int(fraction * len(onset))]
    assert info.n_times is not None and info.sfreq is not None  # for the type checker: windows have both
    return np.flatnonzero(onset < border), np.flatnonzero(onset >= border + info.n_times / info.sfreq)


def _check_classes(y: np.ndarray, train: np.ndarray, test: np.ndarray, who: str) -> None:
    there = np.unique(y[train])
    if lacking := sorted(set(y[test].tolist()) - set(there.tolist())):
        raise InputError(
            f"{who}: the windows to train on hold no {listed(lacking)}; raise train_fraction, or use shorter windows, "
            "so that some lie wholly inside a task"
        )
    if len(there) < 2 or not len(test):
        found = listed(there.tolist()) or "none"
        raise InputError(f"{who}: expected windows of at least two classes to train on, and some to test, got {found}")
