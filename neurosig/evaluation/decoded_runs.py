"""Applying a pipeline that was trained on fMRI to new runs: regions mapped by name, repetition times compared."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import config_context

from neurosig.core.channel_names import listed
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.evaluation.cohort_folds import repetition_times
from neurosig.evaluation.known_labels import labels_of_runs
from neurosig.evaluation.pooled import asked, is_ragged, routed

if TYPE_CHECKING:
    import pandas as pd

    from neurosig.evaluation.trained import TrainedPipeline

__all__ = ["decode_runs", "map_regions"]

_SAME_TIME = 1e-3  # seconds that repetition times may differ by
_POLICIES = ("raise", "drop")


def decode_runs(
    trained: TrainedPipeline,
    recordings: Any,
    *,
    events: str | Sequence[str] | Mapping[str, Any] | None = None,
    windows: tuple[float, float] | None = None,
    read: Any = None,
    on_missing: str = "raise",
    on_sfreq: str = "raise",
) -> tuple[pd.DataFrame, list[dict[str, Any]], list[str]]:
    """Decode runs of region series, see `neurosig.evaluation.trained.TrainedPipeline.decode`.

    A pipeline that was trained on whole runs answers once a run. One that was trained on trials answers at `events`, or
    in windows of the trained length.

    Parameters
    ----------
    trained : TrainedPipeline
        Trained on fMRI.
    recordings : path, name of a dataset, or list of them
        What `open_dataset` takes.
    events : list, dict or "training", optional
        Trials at the events of tables beside the runs.
    windows : (float, float), optional
        Length and step in seconds, for pipelines trained on trials.
    read : dict, optional
        Fields of `neurosig.loaders.manifest_schema.FmriFields`; what it leaves out is as in training, but for the
        repetition time, which runs must say. ``regions="training"`` gives tables without names the regions of training.
    on_missing : {"raise", "drop"}
        Regions of training that a run lacks: refused, or NaN.
    on_sfreq : {"raise", "resample"}
        A repetition time that no run of training had: refused, or resampled to the nearest of those, along straight
        lines.

    Returns
    -------
    table : DataFrame
        Without the columns of the answer's words: ``file``, ``onset``, ``duration`` and those of `decode_recordings`.
    about : list of dict
        What is told of each recording.
    warnings : list of str

    Raises
    ------
    ChannelError, InputError, UsageError
        See `TrainedPipeline.decode`.
    """
    if on_missing not in _POLICIES:
        raise UsageError(
            f"regions that a run lacks cannot be interpolated: on_missing is raise or drop, got {on_missing!r}"
        )
    spec = trained.spec
    whole = spec.processing is None
    if whole and (events is not None or windows is not None):
        raise UsageError(
            "this model was trained on whole runs, so it has one answer for each: leave events and windows out"
        )
    items = [recordings] if isinstance(recordings, str | Path) else list(recordings)
    if not items:
        raise UsageError("no recordings to decode were given")
    tables, about, known = [], [], set()
    for item in items:
        dataset, manifest = _opened(trained, item, events, read)
        known |= _people_of_training(trained, dataset)
        X, mapping = map_regions(dataset.X, dataset.info, spec, on_missing, dataset.name)
        X, metadata, resampled = _at_trained_times(
            X, dataset.metadata, _times_of_training(trained), on_sfreq, dataset.name
        )
        seconds = [run.shape[-1] * t_r for run, t_r in zip(X, repetition_times(metadata), strict=True)]
        names = None
        if not whole and events is None:
            X, metadata = _windows(X, metadata, spec, windows)
        elif not whole:
            names = metadata["event"].astype(str).tolist()
        table = _answers(trained, X, metadata, spec, whole)
        if whole:
            _add_labels(table, trained, dataset, manifest)
        if names is not None:
            table.insert(3, "event", names)
            if set(names) <= set(trained.classes):
                table.insert(4, "correct", table["predicted"].to_numpy() == np.asarray(names))
        tables.append(table)
        about += _told(dataset, table, seconds, mapping, resampled)
    import pandas as pd

    return pd.concat(tables, ignore_index=True), about, _warnings(trained, about, known)


def map_regions(
    X: Any, have: SignalSpec, want: SignalSpec, on_missing: str = "raise", name: str = "the run"
) -> tuple[Any, dict[str, list[str]]]:
    """Runs with the regions of another specification, in its order, by name.

    Parameters
    ----------
    X : array of shape (n_runs, n_regions, n_times), or sequence of (n_regions, n_times)
        Runs.
    have, want : SignalSpec
        Their regions, and those that are wanted.
    on_missing : {"raise", "drop"}
        What becomes of regions that are not there: refused, or NaN.
    name : str
        What the runs are called, for messages.

    Returns
    -------
    X : array or list of arrays
        Those runs.
    mapping : dict of str to list of str
        Regions ``missing`` and ``unused``.

    Raises
    ------
    ChannelError
        If a region is missing and must not be, or units differ.
    """
    place = {region: at for at, region in enumerate(have.ch_names)}
    missing = [region for region in want.ch_names if region not in place]
    unused = sorted(set(have.ch_names) - set(want.ch_names))
    if missing and (on_missing == "raise" or len(missing) == len(want.ch_names)):
        raise ChannelError(
            f"{name}: regions {listed(missing, 6)} of training are missing; it has {listed(have.ch_names, 6)}. "
            + _how_to_match(have, want)
        )
    if have.unit != want.unit:
        raise ChannelError(
            f"{name}: expected region series in {want.unit!r}, as in training, got {have.unit!r}; standardise them "
            "alike"
        )
    mapping = {"missing": missing, "unused": unused}
    if have.ch_names == want.ch_names:
        return X, mapping
    index = np.array([place.get(region, -1) for region in want.ch_names])

    def mapped(run: np.ndarray) -> np.ndarray:
        taken = np.asarray(run, dtype=np.float32)[np.maximum(index, 0)]
        taken[index < 0] = np.nan
        return taken

    runs = [mapped(run) for run in X]
    return (runs if is_ragged(X) else np.stack(runs)), mapping


def _how_to_match(have: SignalSpec, want: SignalSpec) -> str:
    """What to do about regions that are called otherwise than in training."""
    if have.atlas is not None:
        return f"Read it with the atlas of training, {want.atlas or 'which it does not name'} (atlas=FILE)"
    if not all(re.fullmatch(r"region_\d+", name) for name in have.ch_names):
        return "A table's regions are called as its header says: call them as in training"
    if len(have.ch_names) == len(want.ch_names):
        return "It does not name its regions; if they are those of training, in that order, say regions='training'"
    return f"It does not name its {len(have.ch_names)} regions, the training had {len(want.ch_names)}: add a header"


def _opened(trained: TrainedPipeline, item: Any, events: Any, read: Any) -> tuple[SignalDataset, Any]:
    """The runs behind a path, read as those of training where nobody says otherwise; labels are not needed.

    Returns the runs, and the manifest that knows their labels.
    """
    from neurosig.loaders.manifest import open_dataset

    spec = trained.spec
    remembered = dict((trained.card.get("read") or {}).get("fmri") or {})
    remembered.pop("t_r", None)  # what was said of the runs of training says nothing of these
    stated = {key: value for key, value in dict(read or {}).items() if value is not None}
    if stated.get("regions") == "training":
        stated["regions"] = list(spec.ch_names)
    for option in stated:
        if option in ("unit", "sfreq"):
            raise UsageError(f"{option} is for EEG and MEG; runs of fMRI take t_r")
    if not isinstance(item, str | Path):
        raise UsageError(f"runs to decode are paths or names of datasets, got {type(item).__name__}")
    known = stated if _is_simulated(item) else {**remembered, **stated}  # made runs are not read from anywhere
    atlas = known.get("atlas")
    if atlas is not None and "atlas" not in stated and Path(atlas).suffix:
        raise UsageError(f"this model was trained with the atlas {atlas}: pass it, atlas=FILE")
    cut: dict[str, Any] = {}
    if events is not None and spec.processing is not None:
        cut = {"tmin": spec.processing.tmin, "tmax": spec.processing.tmax}
    if events == "training":  # a run may lack some of them, so they are no slip of the pen
        manifest = open_dataset(item, fmri=known, **cut).replace(events={name: name for name in trained.classes})
    else:
        manifest = open_dataset(item, events=events, fmri=known, **cut)
    known_of = manifest
    if events is None:
        manifest = manifest.unlabelled()
    with warnings.catch_warnings():  # it is asked for below, where the model needs it
        warnings.filterwarnings("ignore", message=".*not say the repetition time")
        dataset = manifest.load()
    if dataset.info.modality != "fmri":
        raise InputError(f"{item}: this model was trained on fMRI, that is {dataset.info.modality}")
    return dataset, known_of


def _is_simulated(item: str | Path) -> bool:
    from neurosig.loaders.manifest import list_manifests, read_manifest

    return str(item) in list_manifests() and read_manifest(item).kind == "simulated"


def _times_of_training(trained: TrainedPipeline) -> list[float]:
    """Repetition times of the runs of training in seconds; none where the model does not say them."""
    told = trained.card.get("dataset", {}).get("t_r")
    if told:
        return [float(value) for value in told]
    return [] if trained.spec.t_r is None else [trained.spec.t_r]


def _at_trained_times(
    X: Any, metadata: pd.DataFrame, trained: Sequence[float], on_sfreq: str, name: str
) -> tuple[Any, pd.DataFrame, list[float]]:
    """Runs at a repetition time of training, where these are known."""
    if not trained:
        return X, metadata, []
    times, usual = repetition_times(metadata), np.array(sorted(trained))
    said = " or ".join(f"{value:g}" for value in usual)
    if (unsaid := np.isnan(times)).any():
        files = sorted(set(metadata["file"].astype(str)[unsaid]))
        does = "does" if len(files) == 1 else "do"
        raise InputError(
            f"{listed(files, 3)} {does} not say the repetition time (that of training was {said} s); pass t_r=seconds"
        )
    # the nearest of training as a ratio: from 1 s it is nearer to 0.8 s than to 2 s
    nearest = usual[np.abs(np.log(times[:, None] / usual)).argmin(axis=1)]
    other = np.abs(times - nearest) > _SAME_TIME
    if not other.any():
        return X, metadata, []
    if on_sfreq != "resample":
        got = listed([f"{value:g}" for value in sorted(set(times[other].tolist()))], 4)
        raise ChannelError(
            f"{name}: expected a repetition time of {said} s, as in training, got {got} s; resample the runs or allow "
            "it (on_sfreq='resample')"
        )
    runs = [
        _resampled(np.asarray(run), old, new) if differs else np.asarray(run)
        for run, old, new, differs in zip(X, times, nearest, other, strict=True)
    ]
    even = len({run.shape for run in runs}) == 1 and not is_ragged(X)
    return np.stack(runs) if even else runs, metadata.assign(t_r=nearest), sorted(set(times[other].tolist()))


def _resampled(run: np.ndarray, old: float, new: float) -> np.ndarray:
    """A run at another repetition time, along straight lines between volumes."""
    seconds = np.arange(run.shape[1]) * old
    wanted = np.arange(int(seconds[-1] / new + 1e-9) + 1) * new
    return np.stack([np.interp(wanted, seconds, row) for row in run]).astype(np.float32)


def _windows(
    X: Any, metadata: pd.DataFrame, spec: SignalSpec, windows: tuple[float, float] | None
) -> tuple[np.ndarray, pd.DataFrame]:
    """Windows of runs, as many volumes long as the trials of training."""
    import pandas as pd

    assert spec.n_times is not None and spec.t_r is not None  # for the type checker: trials have both
    length, t_r = spec.n_times, spec.t_r
    step = max(1, length // 2) if windows is None else max(1, round(windows[1] / t_r))
    if windows is not None and round(windows[0] / t_r) != length:
        raise InputError(
            f"this pipeline takes windows of {length} volumes ({length * t_r:g} s), got {windows[0]:g} s; leave the "
            "window out, or train on that length"
        )
    pieces, rows = [], []
    for run, about in zip(X, metadata.to_dict(orient="records"), strict=True):
        if run.shape[1] < length:
            raise InputError(
                f"{about['file']} has {run.shape[1]} volumes, too few for one window of {length}; a longer run is "
                "needed"
            )
        for start in range(0, run.shape[1] - length + 1, step):
            pieces.append(np.asarray(run[:, start : start + length]))
            rows.append({**about, "onset": start * t_r})
    return np.stack(pieces), pd.DataFrame(rows)


def _answers(trained: TrainedPipeline, X: Any, metadata: pd.DataFrame, spec: SignalSpec, whole: bool) -> pd.DataFrame:
    import pandas as pd

    known = routed(metadata)
    method = {"probability": "predict_proba", "score": "decision_function"}.get(trained.kind, "predict")
    try:
        with config_context(enable_metadata_routing=True):
            numbers = trained.predict_proba(X, **asked(trained.pipeline, method, known, slice(None)))
    except (ChannelError, InputError) as error:
        raise type(error)(f"{listed(sorted(set(metadata['file'].astype(str))), 3)}: {error}") from error
    except (ValueError, IndexError) as error:
        raise InputError(f"the pipeline cannot take these runs: {' '.join(str(error).split())}") from error
    times = repetition_times(metadata)
    onset = np.zeros(len(metadata)) if whole else metadata["onset"].to_numpy(dtype=float)
    table = pd.DataFrame(
        {
            "file": metadata["file"].astype(str).to_numpy(), "onset": onset,
            "duration": [run.shape[-1] * t_r for run, t_r in zip(X, times, strict=True)],
            "predicted": np.asarray(trained.classes)[numbers.argmax(axis=1)],
        }
    )  # fmt: skip
    if trained.kind != "label":
        prefix = "p_" if trained.kind == "probability" else "score_"
        for place, label in enumerate(trained.classes):
            table[f"{prefix}{label}"] = numbers[:, place]
    return table


def _add_labels(table: pd.DataFrame, trained: TrainedPipeline, dataset: SignalDataset, manifest: Any) -> None:
    """Beside the answers about whole runs, the labels of their people, where a table tells them."""
    column = (trained.card.get("read") or {}).get("labels")
    labels = labels_of_runs(dataset, manifest, column, trained.classes)
    if labels is None:
        return
    known = np.array([label is not None for label in labels])
    right = np.full(len(labels), None, dtype=object)
    right[known] = table["predicted"].to_numpy()[known] == labels[known]
    table["event"] = labels
    table["correct"] = right.astype(bool) if known.all() else right


def _told(
    dataset: SignalDataset, table: pd.DataFrame, seconds: Sequence[float], mapping: Mapping[str, list[str]],
    resampled: Sequence[float],
) -> list[dict[str, Any]]:  # fmt: skip
    """What is said of each file."""
    n_regions = dataset.info.n_channels
    words = [f"{n_regions - len(mapping['unused'])} of {n_regions} regions by name"]
    words += [f"{len(mapping['missing'])} missing"] if mapping["missing"] else []
    words += [f"resampled from t_r {listed([f'{t_r:g}' for t_r in resampled], 3)} s"] if resampled else []
    rows: dict[str, dict[str, Any]] = {}
    times = repetition_times(dataset.metadata)
    for about, length, stated in zip(dataset.metadata.to_dict(orient="records"), seconds, times, strict=True):
        t_r = None if np.isnan(stated) else float(stated)
        file = str(about["file"])
        rows[file] = {
            "file": file, "seconds": None if t_r is None else max(length, rows.get(file, {}).get("seconds") or 0.0),
            "t_r": t_r, "sfreq": None if t_r is None else 1 / t_r, "n_windows": int((table["file"] == file).sum()),
            "n_left_out": 0, "mapping": "; ".join(words),
            "channels": {"interpolated": [], "dropped": list(mapping["missing"]), "ignored": list(mapping["unused"])},
        }  # fmt: skip
    return list(rows.values())


def _people_of_training(trained: TrainedPipeline, dataset: SignalDataset) -> set[str]:
    """People of these runs who were trained on, as far as names of datasets tell."""
    from neurosig.loaders.same_people import same_people

    card = trained.card.get("dataset", {})
    if not same_people(dataset.name) & same_people(str(card.get("name"))):
        return set()
    return set(dataset.metadata["subject"].astype(str)) & set(map(str, card.get("subjects", ())))


def _named_like(trained: TrainedPipeline, about: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Files whose names hold the name of a person of training; numbers such as 01 are names of many."""
    people = [str(name) for name in trained.card.get("dataset", {}).get("subjects", ()) if len(str(name)) > 3]
    found = {}
    for entry in about:
        words = set(re.findall(r"[A-Za-z0-9]+", entry["file"]))
        for person in people:
            # every word of the name is asked for before the costlier look at their order
            if words.issuperset(re.findall(r"[A-Za-z0-9]+", person)) and re.search(
                rf"(?<![A-Za-z0-9]){re.escape(person)}(?![A-Za-z0-9])", entry["file"]
            ):
                found[entry["file"]] = person
                break
    return found


def _warnings(trained: TrainedPipeline, about: Sequence[Mapping[str, Any]], known: set[str]) -> list[str]:
    found = []
    if known:
        found.append(
            f"{len(known)} of these people were trained on ({listed(sorted(known), 3)}): answers on their runs are no "
            "test of the model"
        )
    seen = sorted({entry["file"] for entry in about} & set(trained.card.get("dataset", {}).get("files", ())))
    alike = _named_like(trained, about)
    if alike and not known:
        file, person = next(iter(alike.items()))
        more = f", and {len(alike) - 1} more" if len(alike) > 1 else ""
        found.append(
            f"{file} bears the name of {person}, who was trained on{more}: if it is this person, the answer is no test "
            "of the model"
        )
    elif seen and not known:
        found.append(
            f"a run called {seen[0]} was trained on: if it is this one, its answer here is no test of the model"
        )
    if not _times_of_training(trained):
        found.append("the model does not say the repetition time of its training: that of these runs is not compared")
    if trained.kind == "score":
        found.append("the classifier gives no probabilities: its scores are not calibrated")
    elif trained.kind == "label":
        found.append("the classifier gives neither probabilities nor scores: only the predicted class is known")
    if missing := sorted({name for entry in about for name in entry["channels"]["dropped"]}):
        found.append(f"regions of training that were not there: {listed(missing, 12)}")
    return found
