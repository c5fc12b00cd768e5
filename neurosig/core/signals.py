"""What a signal is: `SignalSpec` says how it was measured, `SignalDataset` holds it with its labels and metadata."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import InputError, StorageError, UsageError
from neurosig.core.files import atomic_path, digest
from neurosig.core.lazy_runs import LazyRuns
from neurosig.core.log import logger

if TYPE_CHECKING:
    import mne
    import numpy as np
    import pandas as pd

__all__ = ["BANDS", "MODALITIES", "Processing", "SignalDataset", "SignalSpec"]

MODALITIES = ("eeg", "meg", "seeg", "fmri")

# Hz; what MOABB's paradigms filter by where nobody says otherwise
BANDS = {"imagery": (8.0, 32.0), "p300": (1.0, 24.0), "ssvep": (7.0, 45.0)}


@dataclass(frozen=True)
class Processing:
    """How trials are cut from a continuous recording; the order is filter, cut, baseline, resample.

    It is MOABB's processing, so that data loaded here and data that MOABB hands to a pipeline agree.

    Parameters
    ----------
    tmin, tmax : float
        First and last second of a trial, relative to its event. Both ends are included, as in mne: 2 s at 128 Hz is
        257 samples.
    fmin, fmax : float or None
        Band in Hz (zero-phase 4th-order Butterworth, mne's ``method="iir"``); None leaves that side open.
    resample : float or None
        New sampling rate in Hz, after cutting.
    baseline : (float or None, float or None) or None
        Span in seconds whose mean is removed from each trial.
    picks : tuple of str or None
        Channel names to keep, in this order; None keeps all data channels.
    """

    tmin: float
    tmax: float
    fmin: float | None = None
    fmax: float | None = None
    resample: float | None = None
    baseline: tuple[float | None, float | None] | None = None
    picks: tuple[str, ...] | None = None

    def __post_init__(self):
        for name in ("tmin", "tmax", "fmin", "fmax", "resample"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise UsageError(f"{name} must be a finite number, got {value}")
        for name in ("fmin", "fmax", "resample"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name} must be a positive number of Hz, got {value}")
        if not self.tmax > self.tmin:
            raise UsageError(f"tmax must lie after tmin, got tmin={self.tmin} and tmax={self.tmax} seconds")
        if self.fmin is not None and self.fmax is not None and not self.fmax > self.fmin:
            raise UsageError(f"fmax must lie above fmin, got fmin={self.fmin} and fmax={self.fmax} Hz")
        for name in ("baseline", "picks"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, tuple(value))

    def to_dict(self) -> dict[str, Any]:
        """The fields as a JSON-like dictionary."""
        return _jsonable(dataclasses.asdict(self))

    def replace(self, **changes: Any) -> Processing:
        """A copy with some fields changed; changes that are None are taken as "leave as it is"."""
        return dataclasses.replace(self, **{name: value for name, value in changes.items() if value is not None})


@dataclass(frozen=True)
class SignalSpec:
    """How a signal was measured. Kept with everything that is trained, and compared by the channel contract.

    Parameters
    ----------
    modality : {"eeg", "meg", "seeg", "fmri"}
        Kind of recording.
    ch_names : tuple of str
        Channel or region names, in the order of ``X``'s second axis.
    ch_types : tuple of str
        mne's channel types, one a channel; empty means all "eeg", "mag", "seeg" or "region" by modality.
    sfreq : float or None
        Sampling rate in Hz (for fMRI ``1 / t_r``).
    unit : str
        Unit of ``X``: "V", "uV", "T", "z" (standardised), "psc" (percent signal change) or "a.u.".
    n_times : int or None
        Samples in a window.
    tmin : float or None
        Seconds from the event to the window's first sample.
    t_r : float or None
        fMRI repetition time in seconds.
    montage, atlas, reference : str or None
        Names of the standard montage, the parcellation and the reference.
    positions : tuple of (float, float, float) or None
        Sensor or region positions in metres, head coordinates.
    highpass, lowpass : float or None
        Filters applied so far, in Hz.
    line_freq : float or None
        Mains frequency in Hz.
    processing : Processing or None
        How the trials were cut; what `neurosig decode` repeats on new recordings.
    extra : dict
        Anything else worth keeping, JSON-like (scaler statistics, say).
    """

    modality: str
    ch_names: tuple[str, ...]
    ch_types: tuple[str, ...] = ()
    sfreq: float | None = None
    unit: str = "V"
    n_times: int | None = None
    tmin: float | None = None
    t_r: float | None = None
    montage: str | None = None
    atlas: str | None = None
    reference: str | None = None
    positions: tuple[tuple[float, float, float], ...] | None = None
    highpass: float | None = None
    lowpass: float | None = None
    line_freq: float | None = None
    processing: Processing | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if self.modality not in MODALITIES:
            raise UsageError(f"modality must be one of {', '.join(MODALITIES)}, got {self.modality!r}")
        names = tuple(str(name) for name in self.ch_names)
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise InputError(f"channel names must be unique, these occur more than once: {', '.join(twice)}")
        default = {"eeg": "eeg", "meg": "mag", "seeg": "seeg", "fmri": "region"}[self.modality]
        types = tuple(self.ch_types) or (default,) * len(names)
        if len(types) != len(names):
            raise InputError(f"expected one channel type for each of {len(names)} channels, got {len(types)}")
        object.__setattr__(self, "ch_names", names)
        object.__setattr__(self, "ch_types", types)
        if self.positions is not None:
            object.__setattr__(self, "positions", tuple(tuple(float(v) for v in row) for row in self.positions))
            if len(self.positions) != len(names):
                raise InputError(f"expected one position for each of {len(names)} channels, got {len(self.positions)}")

    def __repr__(self) -> str:
        # one line, also within the parameters of an estimator; `to_dict` has all
        names = list(self.ch_names[:3]) + ["…"] * (len(self.ch_names) > 3)
        rate = "" if self.sfreq is None else f" at {self.sfreq:g} Hz"
        length = "" if self.n_times is None else f", {self.n_times} samples"
        channels = f"{len(self.ch_names)} channels ({', '.join(names)})"
        return f"<SignalSpec: {self.modality}, {channels}{rate} in {self.unit}{length}>"

    @property
    def n_channels(self) -> int:
        """Number of channels or regions."""
        return len(self.ch_names)

    @classmethod
    def from_mne(cls, info: mne.Info, **fields: Any) -> SignalSpec:
        """Read names, types, rate, positions and filters off an `mne.Info`; `fields` adds or overrides."""
        import numpy as np

        types = tuple(info.get_channel_types())
        if "modality" not in fields:
            kinds = set(types)
            fields["modality"] = (
                "meg"
                if kinds & {"mag", "grad"} and "eeg" not in kinds
                else "seeg"
                if kinds & {"seeg", "ecog", "dbs"}
                else "eeg"
            )
        positions = np.array([ch["loc"][:3] for ch in info["chs"]], dtype=float).reshape(-1, 3)
        located = positions.size and np.isfinite(positions).all() and np.any(positions, axis=1).all()
        read = {
            "ch_names": tuple(info["ch_names"]),
            "ch_types": types,
            "sfreq": float(info["sfreq"]),
            "unit": "T" if fields["modality"] == "meg" else "V",
            "positions": tuple(map(tuple, positions.tolist())) if located else None,
            "highpass": float(info["highpass"]),
            "lowpass": float(info["lowpass"]),
            "line_freq": info["line_freq"],
        }
        return cls(**{**read, **fields})

    def to_mne(self) -> mne.Info:
        """An `mne.Info` with these names, types, rate, positions (head coordinates) and filters."""
        import mne
        import numpy as np

        if self.sfreq is None:
            raise InputError("an mne.Info needs a sampling rate, this SignalSpec has none; pass sfreq=...")
        types = ["misc" if kind == "region" else kind for kind in self.ch_types]
        info = mne.create_info(list(self.ch_names), self.sfreq, types, verbose=False)
        with info._unlock():
            info["highpass"] = self.highpass or 0.0
            info["lowpass"] = min(self.sfreq / 2, self.sfreq if self.lowpass is None else self.lowpass)
            if self.positions is not None:
                for channel, position in zip(info["chs"], self.positions, strict=True):
                    channel["loc"][:3] = np.asarray(position)
        return info

    def replace(self, **changes: Any) -> SignalSpec:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a JSON-like dictionary; `from_dict` reads it back."""
        return _jsonable(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> SignalSpec:
        """Rebuild from `to_dict`'s result; unknown fields are refused by name."""
        known = {entry.name for entry in dataclasses.fields(cls)}
        if unknown := sorted(set(fields) - known):
            raise InputError(f"unknown fields in a SignalSpec: {', '.join(unknown)}; it was written by another version")
        fields = dict(fields)
        if fields.get("processing") is not None:
            fields["processing"] = Processing(**fields["processing"])
        return cls(**fields)

    def digest(self) -> str:
        """Short content digest."""
        return digest(self.to_dict())


@dataclass(frozen=True)
class SignalDataset:
    """Signals with their labels, metadata and `SignalSpec`.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels, n_times), list of (n_regions, n_times) arrays, or LazyRuns
        The signals, in `info.unit`. May be memory-mapped or a Zarr array; it is never copied without need.
    y : array of shape (n_trials,), or None
        Labels: class names as strings, or numbers for regression.
    metadata : pandas.DataFrame of n_trials rows
        At least the columns ``subject``, ``session``, ``run`` (strings); loaders add ``onset`` (seconds in the
        recording), ``file`` and ``event``.
    info : SignalSpec
        How the signals were measured.
    name : str
        Short name, for tables and reports.
    truth : dict or None
        What is known about simulated data.
    """

    X: Any
    y: np.ndarray | None
    metadata: pd.DataFrame
    info: SignalSpec
    name: str = "dataset"
    truth: Mapping[str, Any] | None = None

    def __post_init__(self):
        n = len(self)
        if len(self.metadata) != n or (self.y is not None and len(self.y) != n):
            labels = "no labels" if self.y is None else f"{len(self.y)} labels"
            raise InputError(
                f"expected one label and one metadata row for each of {n} trials, got {labels} and "
                f"{len(self.metadata)} rows"
            )
        if missing := [name for name in ("subject", "session", "run") if name not in self.metadata]:
            raise InputError(f"metadata must have the columns subject, session and run; missing: {', '.join(missing)}")
        shape = getattr(self.X, "shape", None)
        if shape is not None and len(shape) > 1 and shape[1] != self.info.n_channels:
            raise InputError(f"X has {shape[1]} channels on its second axis, info names {self.info.n_channels}")

    def __len__(self) -> int:
        # a Zarr array has a shape but no length
        return int(self.X.shape[0]) if hasattr(self.X, "shape") else len(self.X)

    def __repr__(self) -> str:
        shape = getattr(self.X, "shape", None)
        size = " × ".join(map(str, shape)) if shape else self._ragged_size()
        if times := self._repetition_times():
            size += f", t_r {' or '.join(times)} s" if len(times) < 3 else f", t_r {times[0]} to {times[-1]} s"
        classes = "" if self.y is None else f", {len(set(self.y.tolist()))} labels"
        subjects = self.metadata["subject"].nunique()
        return f"<SignalDataset {self.name}: {self.info.modality}, {size}, {subjects} subjects{classes}>"

    def _ragged_size(self) -> str:
        """How many arrays of how many regions and, where no file must be opened for it, of which lengths."""
        kind = "regions" if self.info.modality == "fmri" else "channels"
        size = f"{len(self)} arrays of {self.info.n_channels} {kind}"
        if not isinstance(self.X, list) or not self.X:
            return size
        lengths = sorted({int(run.shape[-1]) for run in self.X})
        span = str(lengths[0]) if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
        return f"{size} and {span} samples"

    def _repetition_times(self) -> list[str]:
        if self.info.modality != "fmri":
            return []
        told = self.metadata["t_r"].dropna() if "t_r" in self.metadata else ()
        times = {float(value) for value in told} or ({self.info.t_r} if self.info.t_r else set())
        return [f"{value:g}" for value in sorted(times)]

    def subset(self, query: str | Any) -> SignalDataset:
        """Some of the trials.

        Parameters
        ----------
        query : str, boolean array or integer array
            A pandas query over the metadata (``"subject == '1' and run != '0'"``; the label is there as ``y``), a mask,
            or positions.

        Returns
        -------
        SignalDataset
            A view where the selection is a slice of consecutive trials, else a copy of those trials only.
        """
        import numpy as np

        if isinstance(query, str):
            table = self.metadata.reset_index(drop=True)
            if self.y is not None:
                table = table.assign(y=self.y)
            try:
                index = table.query(query).index.to_numpy()
            except Exception as error:  # pandas raises a dozen kinds
                columns = ", ".join(map(str, table.columns))
                raise UsageError(f"cannot select trials by {query!r}: {error}; columns are {columns}") from error
        else:
            index = np.arange(len(self))[np.asarray(query)]
        consecutive = len(index) > 0 and np.array_equal(index, np.arange(index[0], index[0] + len(index)))
        take = slice(index[0], index[0] + len(index)) if consecutive else index
        if isinstance(self.X, list):
            signals = [self.X[i] for i in index]
        elif isinstance(self.X, LazyRuns):
            signals = self.X[index]
        else:
            signals = self.X[take] if consecutive or not hasattr(self.X, "oindex") else self.X.oindex[index]
        return dataclasses.replace(
            self,
            X=signals,
            y=None if self.y is None else self.y[index],
            metadata=self.metadata.iloc[index].reset_index(drop=True),
        )

    def load(self, n_jobs: int = 1) -> SignalDataset:
        """Read runs that are still on disk (`LazyRuns`) into memory.

        Parameters
        ----------
        n_jobs : int
            Processes that read at the same time.

        Returns
        -------
        SignalDataset
            The same dataset, X a list of arrays; itself where nothing is on disk.
        """
        if not isinstance(self.X, LazyRuns):
            return self
        return dataclasses.replace(self, X=self.X.load(n_jobs))

    def to_epochs(self) -> mne.EpochsArray:
        """The trials as `mne.EpochsArray` in volts or tesla, metadata attached.

        Returns
        -------
        mne.EpochsArray
            Events are numbered from 1 in the order of the sorted labels.

        Raises
        ------
        ChannelError
            If `info.unit` does not convert to volts or tesla ("z", "a.u."): mne's channels have a unit.
        """
        import mne
        import numpy as np

        from neurosig.core.channels import unit_factor

        if self.info.modality == "fmri":
            scale = 1.0  # regions become mne's "misc" channels, which have no unit
        else:
            scale = unit_factor(self.info.unit, "T" if self.info.modality == "meg" else "V")
        data = np.asarray(self.X, dtype=float) * scale
        labels = np.zeros(len(self), int) if self.y is None else np.unique(self.y, return_inverse=True)[1]
        event_id = {"trial": 1} if self.y is None else {str(name): i + 1 for i, name in enumerate(np.unique(self.y))}
        events = np.column_stack([np.arange(len(self)) * data.shape[-1], np.zeros(len(self), int), labels + 1])
        return mne.EpochsArray(
            data,
            self.info.to_mne(),
            events,
            self.info.tmin or 0.0,
            event_id,
            metadata=self.metadata.copy(),
            verbose=False,
        )

    @classmethod
    def from_epochs(cls, epochs: mne.BaseEpochs, name: str = "epochs", **fields: Any) -> SignalDataset:
        """From `mne.Epochs`; labels are the event names, metadata is completed with subject, session and run "0"."""
        import numpy as np
        import pandas as pd

        names = {code: label for label, code in epochs.event_id.items()}
        table = (
            pd.DataFrame(index=range(len(epochs)))
            if epochs.metadata is None
            else epochs.metadata.reset_index(drop=True)
        )
        for column in ("subject", "session", "run"):
            if column not in table:
                table[column] = "0"
        picked = epochs.copy().pick("data", exclude=())
        spec = SignalSpec.from_mne(picked.info, tmin=float(epochs.tmin), n_times=len(epochs.times), **fields)
        labels = np.array([names[code] for code in epochs.events[:, 2]])
        return cls(picked.get_data(copy=False), labels, table, spec, name=name)

    def to_zarr(self, path: str | Path) -> Path:
        """Store as a Zarr group, written to a temporary name and renamed; `from_zarr` opens it lazily.

        Runs of different lengths are stored one by one, so that memory holds one of them; `LazyRuns` stay on disk.
        Everything is kept but `truth`, which may hold objects of any kind; a warning says so.

        Parameters
        ----------
        path : str or Path
            The folder; an existing one is replaced.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        StorageError
            If the place cannot be written.
        InputError
            If X holds no run, or runs that do not have the regions that `info` names.
        """
        import numpy as np
        import zarr

        from neurosig.core.zarr_runs import write_runs

        if self.truth is not None:
            logger.warning("%s: the truth of simulated data is not stored in Zarr", self.name)
        with atomic_path(path) as temporary:
            group = zarr.open_group(temporary, mode="w")
            lengths = None
            if not hasattr(self.X, "shape"):
                lengths = write_runs(group, self.X, self.info.n_channels)
            else:
                shape = tuple(self.X.shape)
                per_chunk = max(1, int(16e6 // max(1, np.prod(shape[1:]) * np.dtype(self.X.dtype).itemsize)))
                chunks = (min(per_chunk, max(1, shape[0])), *shape[1:])
                store = group.create_array("X", shape=shape, dtype=self.X.dtype, chunks=chunks)
                for start in range(0, shape[0], chunks[0]):
                    store[start : start + chunks[0]] = np.asarray(self.X[start : start + chunks[0]])
            group.attrs["neurosig"] = {
                "version": 1,
                "name": self.name,
                "info": self.info.to_dict(),
                "y": None if self.y is None else np.asarray(self.y).tolist(),
                "metadata": {str(column): _column(self.metadata[column]) for column in self.metadata},
                "lengths": lengths,
            }
        return Path(path)

    @classmethod
    def from_zarr(cls, path: str | Path) -> SignalDataset:
        """Open what `to_zarr` stored; X stays on disk until it is sliced, of runs until one is asked for."""
        import numpy as np
        import pandas as pd
        import zarr

        from neurosig.core.zarr_runs import stored_runs

        try:
            group = zarr.open_group(path, mode="r")
            stored: Any = group.attrs["neurosig"]
            labels = None if stored["y"] is None else np.asarray(stored["y"])
            table = pd.DataFrame({name: _cells(values) for name, values in stored["metadata"].items()})
            lengths = stored.get("lengths")  # stores of earlier versions hold arrays only
            signals = group["X"] if lengths is None else stored_runs(group, lengths)
            return cls(signals, labels, table, SignalSpec.from_dict(stored["info"]), name=stored["name"])
        except (KeyError, TypeError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())
            raise StorageError(
                f"{path} is not a dataset stored by SignalDataset.to_zarr, or it is damaged: {reason}"
            ) from error


def _column(series: pd.Series) -> list[Any]:
    return [_jsonable(value) for value in series.tolist()]


def _cells(values: list[Any]) -> list[Any]:
    """A column as it was before it was JSON, which has no tuples."""
    return [tuple(value) if isinstance(value, list) else value for value in values]


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
