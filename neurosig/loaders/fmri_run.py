"""One fMRI run: the series of its regions and how they came about. Every reader of fMRI files gives one."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.channel_names import listed
from neurosig.core.errors import ChannelError, InputError, StorageError, UsageError
from neurosig.core.files import atomic_path
from neurosig.core.runs import missing_regions
from neurosig.core.signals import SignalSpec

if TYPE_CHECKING:
    import numpy as np

__all__ = ["UNITS", "Run"]

UNITS = ("z", "psc", "a.u.")


@dataclass(frozen=True, eq=False)
class Run:
    """Series of the regions of one run.

    Parameters
    ----------
    data : array of shape (n_regions, n_times)
        The series, kept as float32; NaN throughout where a region was not measured.
    t_r : float or None
        Repetition time in seconds; None where the file does not say (functional GIFTI, tables).
    names : sequence of str
        Unique region names, in the order of `data`'s first axis; None numbers them ("region_1", ...).
    atlas : str, optional
        Name of the parcellation.
    positions : array of shape (n_regions, 3), optional
        Region centres in metres (MNI millimetres / 1000).
    n_volumes : int, optional
        Volumes of the run as recorded; by default those of `data`.
    kept : sequence of int, optional
        Which volumes of the run as recorded are in `data`, in rising order; None where all are.
    unit : {"a.u.", "z", "psc"}
        Raw, standardised, or percent signal change.
    file : str
        Name of the file.
    provenance : dict
        JSON-like: how the series were made (versions, masker parameters, confounds).
    subject, session, run, task : str or None
        Whose they are, where known.

    Raises
    ------
    InputError
        The data are no numbers of two axes, or hold NaN or Inf in part of a region's series; `kept` or `positions` are
        of another length, or the repetition time is not positive.
    """

    data: np.ndarray
    t_r: float | None
    names: Sequence[str] | None = None
    atlas: str | None = None
    positions: Any = None
    n_volumes: int | None = None
    kept: Sequence[int] | None = None
    unit: str = "a.u."
    file: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    subject: str | None = None
    session: str | None = None
    run: str | None = None
    task: str | None = None

    def __post_init__(self):
        import numpy as np

        def put(name, value):
            object.__setattr__(self, name, value)

        where = f"{self.file}: " if self.file else ""
        data = np.asarray(self.data)
        if data.ndim != 2 or 0 in data.shape or data.dtype.kind not in "fiub":
            raise InputError(
                f"{where}expected series of shape (n_regions, n_times), got {data.dtype} of shape {data.shape}"
            )
        put("data", data.astype(np.float32, copy=False))
        put("file", str(self.file))
        n_regions, n_times = data.shape
        names = [f"region_{i}" for i in range(1, n_regions + 1)] if self.names is None else list(map(str, self.names))
        if len(names) != n_regions or len(set(names)) != n_regions:
            twice = sorted({name for name in names if names.count(name) > 1})
            problem = f"{listed(twice)} twice" if twice else f"{len(names)} of them"
            raise InputError(f"{where}expected one name of its own for each of {n_regions} regions, got {problem}")
        put("names", tuple(names))
        if self.t_r is not None:
            if not (np.isfinite(self.t_r) and self.t_r > 0):
                raise InputError(f"{where}expected a repetition time above 0 s, got {self.t_r}; pass t_r in seconds")
            put("t_r", float(self.t_r))
        if self.positions is not None:
            positions = np.asarray(self.positions, dtype=float)
            if positions.shape != (n_regions, 3):
                raise InputError(f"{where}expected positions of shape ({n_regions}, 3), got {positions.shape}")
            put("positions", positions)
        n_volumes = n_times if self.n_volumes is None and self.kept is None else self.n_volumes
        if n_volumes is None:
            raise InputError(f"{where}volumes are left out, so n_volumes of the run as recorded is needed")
        put("n_volumes", int(n_volumes))
        kept = None if self.kept is None else tuple(int(i) for i in self.kept)
        if kept is not None:
            rising = all(a < b for a, b in itertools.pairwise(kept))
            if len(kept) != n_times or not rising or kept[0] < 0 or kept[-1] >= int(n_volumes):
                raise InputError(
                    f"{where}expected kept to hold {n_times} rising volume numbers below {self.n_volumes}, got "
                    f"{len(kept)}: {listed(map(str, kept))}"
                )
            kept = None if n_times == self.n_volumes else kept
        elif n_times != self.n_volumes:
            raise InputError(f"{where}{n_times} of {self.n_volumes} volumes are here, so kept must say which")
        put("kept", kept)
        if self.unit not in UNITS:
            raise UsageError(f"{where}unit must be one of {', '.join(UNITS)}, got {self.unit!r}")
        bad = ~np.isfinite(self.data)
        if bad.any() and (partly := np.flatnonzero(bad.any(axis=1) & ~np.isnan(self.data).all(axis=1))).size:
            raise InputError(
                f"{where}NaN or inf in part of the series of {listed([names[i] for i in partly])}; repair the file, or "
                "leave these volumes out: load_fmri(sample_mask=...)"
            )

    def __repr__(self) -> str:
        n_regions, n_times = self.data.shape
        rate = "unknown TR" if self.t_r is None else f"TR {self.t_r:g} s"
        kept = "" if self.kept is None else f" of {self.n_volumes}"
        lacks = "" if not self.missing else f", {len(self.missing)} missing"
        return f"<Run {self.file}: {n_regions} regions{lacks}, {n_times}{kept} volumes, {rate}, in {self.unit}>"

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the regions that were not measured."""
        return tuple(name for name, gone in zip(self.names or (), missing_regions(self.data), strict=True) if gone)

    @property
    def spec(self) -> SignalSpec:
        """The `SignalSpec` of the run."""
        return SignalSpec(
            modality="fmri",
            ch_names=tuple(self.names or ()),
            sfreq=None if self.t_r is None else 1 / self.t_r,
            unit=self.unit,
            t_r=self.t_r,
            atlas=self.atlas,
            positions=None if self.positions is None else tuple(map(tuple, self.positions.tolist())),
        )

    def replace(self, **changes: Any) -> Run:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def reorder(self, names: Sequence[str]) -> Run:
        """Take regions by name, in this order.

        Parameters
        ----------
        names : sequence of str
            Regions of this run.

        Returns
        -------
        Run

        Raises
        ------
        ChannelError
            If the run has no region of such a name.
        """
        place = {name: i for i, name in enumerate(self.names or ())}
        if unknown := [name for name in names if name not in place]:
            raise ChannelError(
                f"{self.file}: no region named {listed(unknown)}; the run has {listed(map(str, self.names or ()))}"
            )
        index = [place[name] for name in names]
        positions = None if self.positions is None else self.positions[index]
        return self.replace(data=self.data[index], names=tuple(names), positions=positions)

    def save(self, path: str | Path) -> Path:
        """Store as one ``.npz`` file (arrays, and all else as JSON); `Run.load` reads it back.

        Parameters
        ----------
        path : str or Path
            The file; an existing one is replaced in one step.

        Returns
        -------
        Path
            The file.
        """
        import numpy as np

        fields = {
            entry.name: getattr(self, entry.name)
            for entry in dataclasses.fields(self)
            if entry.name not in ("data", "positions")
        }
        arrays = {"data": self.data} | ({} if self.positions is None else {"positions": self.positions})
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, run=np.array(json.dumps(fields)), **arrays)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Read what `save` stored.

        Raises
        ------
        StorageError
            If the file is missing, damaged, or something else.
        """
        import zipfile

        import numpy as np

        try:
            with np.load(path, allow_pickle=False) as stored:
                fields = json.loads(str(stored["run"]))
                return cls(data=stored["data"], positions=stored.get("positions"), **fields)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())
            raise StorageError(f"{path} is no run stored by Run.save, or it is damaged: {reason}") from error
