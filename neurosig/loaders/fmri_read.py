"""One run after the other: which reader, with which confounds; kept on disk where that is asked for."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import InputError, NeurosigError, StorageError, UsageError
from neurosig.core.files import digest, sha256_file
from neurosig.core.log import logger
from neurosig.loaders.atlas import Atlas
from neurosig.loaders.fmri_clean import cleaned_run
from neurosig.loaders.fmri_confounds import STRATEGIES, RunConfounds, confound_table_of, is_fmriprep, run_confounds
from neurosig.loaders.fmri_files import RunFile
from neurosig.loaders.fmri_images import repetition_time, run_image, sidecar
from neurosig.loaders.fmri_run import Run
from neurosig.loaders.fmri_volumes import VolumeReader

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["RunItem", "RunLoader"]

_VERSION = 2  # of what is kept on disk: rises when the same call gives other series


@dataclass(frozen=True, eq=False)
class RunItem:
    """A run to read.

    Parameters
    ----------
    file : RunFile
        Where it is.
    confounds, sample_mask : object
        As `load_fmri` takes them, for this run.
    t_r : float, optional
        Repetition time of this run in seconds, where runs are told theirs one by one.
    """

    file: RunFile
    confounds: Any = "auto"
    sample_mask: Any = None
    t_r: float | None = None


@dataclass(eq=False)
class RunLoader:
    """Reads runs of one kind with one set of options; `load_fmri` tells what they are."""

    kind: str
    atlas: Any = None
    t_r: Any = None  # seconds; of collections also one a run
    standardize: str | None = "zscore_sample"
    detrend: bool = False
    low_pass: float | None = None
    high_pass: float | None = None
    smoothing_fwhm: float | None = None
    mask: Any = None
    strategy: str = "mean"
    min_coverage: float = 0.5
    min_volumes: int = 2
    names: tuple[str, ...] | None = None
    orientation: str | None = None
    variable: str | None = None
    mesh: Any = None
    needs_confounds: bool = False
    memory: Path | None = None
    _volumes: VolumeReader | None = field(default=None, init=False)

    def __post_init__(self):
        only = {
            "nifti": ("smoothing_fwhm", "mask"),
            "table": ("names", "orientation", "variable"),
            "gifti": ("mesh",),
        }
        for kind, options in only.items():
            for option in options:
                fits = kind == self.kind or (self.kind == "collection" and option in ("names", "orientation"))
                if getattr(self, option) is not None and not fits:
                    raise UsageError(f"{option} is for {kind} files, these are {self.kind}")
        if self.kind == "nifti":
            if self.atlas is None:
                raise UsageError(
                    "volumes need an atlas: pass atlas='power' (no network needed), 'schaefer200', a label image, or "
                    "Atlas.from_mask(...) for single voxels"
                )
            self.atlas = Atlas.resolve(self.atlas)
            self._volumes = VolumeReader(
                self.atlas,
                smoothing_fwhm=self.smoothing_fwhm,
                mask=self.mask,
                strategy=self.strategy,
                min_coverage=self.min_coverage,
            )
        if self.kind == "gifti" and (not isinstance(self.atlas, tuple | list) or len(self.atlas) != 2):
            raise UsageError("surfaces need atlas=(left, right): label files (.label.gii, .annot) of both hemispheres")

    def array(self, item: RunItem) -> np.ndarray:
        """Series of a run, (n_regions, n_times)."""
        return self.load(item).data

    def load(self, item: RunItem) -> Run:
        """Read a run, or take what was kept of it."""
        place = None if self.memory is None else self._place(item)
        if place is not None and place.is_file():
            try:
                return Run.load(place)
            except StorageError as error:
                logger.warning("%s; it is made anew", error)
        run = self._loaded(item)
        if place is not None:
            run.save(place)
        return run

    def head(self, item: RunItem) -> Run:
        """What is known of a run without its volumes: of NIfTI the header and confounds; others are read.

        Returns
        -------
        Run
            Of NIfTI with zeros for series that were not looked at.
        """
        import numpy as np

        if self.kind != "nifti" or self._volumes is None:
            return self.load(item)
        image, path, shape = run_image(item.file.files[0])
        found = self._confounds(item, shape[3])
        atlas = self._volumes.atlas
        n_times = self._check_length(len(found.kept or range(shape[3])), shape[3], item.file.name)
        unit = {"zscore_sample": "z", "psc": "psc", None: "a.u."}[self.standardize]
        return Run(
            data=np.zeros((len(atlas), n_times), dtype=np.float32), t_r=repetition_time(image, path, self._t_r(item)),
            names=atlas.names, atlas=atlas.name, positions=atlas.positions, n_volumes=shape[3], kept=found.kept,
            unit=unit, file=item.file.name, provenance={"reader": "nifti", "confounds": dict(found.told) or None},
        )  # fmt: skip

    def _loaded(self, item: RunItem) -> Run:
        file = item.file
        try:
            run = self._read(item)
        except NeurosigError:
            raise
        except (ValueError, ArithmeticError) as error:  # nilearn and scipy, of series too short for a filter, say
            raise InputError(f"{file.name}: {' '.join(str(error).split())}") from error
        self._check_length(run.data.shape[1], run.n_volumes or 0, file.name)
        return run.replace(subject=file.subject, session=file.session, run=file.run, task=file.task)

    def _read(self, item: RunItem) -> Run:
        file, source = item.file, item.file.files[0]
        cleaning: dict[str, Any] = {
            "standardize": self.standardize,
            "detrend": self.detrend,
            "low_pass": self.low_pass,
            "high_pass": self.high_pass,
        }
        if self._volumes is not None:
            n_volumes = run_image(source)[2][3]
            found = self._confounds(item, n_volumes)
            self._check_length(len(found.kept or range(n_volumes)), n_volumes, file.name)
            run = self._volumes.read(
                source, t_r=self._t_r(item), sample_mask=found.kept, confounds=found.table, **cleaning
            )
            return _told(run, found)
        if self.kind == "cifti":
            from neurosig.loaders.fmri_cifti import open_cifti, read_cifti

            found = self._confounds(item, int(open_cifti(source)[0].shape[0]))
            run = read_cifti(
                source, atlas=self.atlas, t_r=self._t_r(item), confounds=found.table, sample_mask=found.kept, **cleaning
            )
            return _told(run, found)
        if self.kind == "gifti":
            from neurosig.loaders.fmri_surface import read_gifti, surface_series

            known = next(side for side in file.files if side is not None)
            # the length is in the data; they are read twice only where confounds have to be compared with it
            length = surface_series(known).shape[1] if self._chooses(item) else None
            found = self._confounds(item, length)
            run = read_gifti(
                *file.files, atlas=self.atlas, t_r=self._t_r(item), mesh=self.mesh, confounds=found.table,
                sample_mask=item.sample_mask if length is None else found.kept, **cleaning,
            )  # fmt: skip
            return _told(run, found)
        from neurosig.loaders.fmri_tables import read_table

        if isinstance(item.confounds, Mapping) or item.confounds in STRATEGIES:
            raise UsageError(f"confounds={item.confounds!r} chooses from fMRIPrep's table; tables of regions have none")
        given = None if isinstance(item.confounds, str) and item.confounds == "auto" else item.confounds
        return read_table(
            source, t_r=self._t_r(item), names=self.names, orientation=self.orientation, variable=self.variable,
            atlas=self.atlas, confounds=given, sample_mask=item.sample_mask, **cleaning,
        )  # fmt: skip

    def _t_r(self, item: RunItem) -> float | None:
        return self.t_r if item.t_r is None else item.t_r

    def _chooses(self, item: RunItem) -> bool:
        """Whether confounds of a run are looked for beside it."""
        if item.confounds is None:
            return False
        return not (isinstance(item.confounds, str) and item.confounds == "auto") or is_fmriprep(item.file.path)

    def _confounds(self, item: RunItem, n_volumes: int | None) -> RunConfounds:
        if n_volumes is None:
            return RunConfounds()
        return run_confounds(
            item.confounds, item.file.path, n_volumes, sample_mask=item.sample_mask, high_pass=self.high_pass,
            needed=self.needs_confounds,
        )  # fmt: skip

    def _check_length(self, n_times: int, n_volumes: int, name: str) -> int:
        if n_times < self.min_volumes:
            of = f" of {n_volumes}" if n_volumes > n_times else ""
            raise InputError(f"{name}: the run is too short: {n_times}{of} volumes, min_volumes={self.min_volumes}")
        return n_times

    def collection(
        self, files: Sequence[RunFile], confounds: Any, sample_mask: Any
    ) -> tuple[list[Run], pd.DataFrame, np.ndarray | None]:
        """All runs of ``.npz`` files that hold many, with the columns and labels that they bring."""
        import numpy as np
        import pandas as pd

        from neurosig.loaders.fmri_collection import read_collection

        if not (confounds is None or (isinstance(confounds, str) and confounds == "auto")) or sample_mask is not None:
            raise UsageError("confounds and sample_mask are for files of one run; these hold many")
        runs, tables, labels = [], [], []
        for file in files:
            path = Path(file.files[0])
            held = read_collection(path, t_r=self.t_r, names=self.names, orientation=self.orientation)
            for place, series in enumerate(held.X):
                run = cleaned_run(
                    series, None if held.t_r is None else float(held.t_r[place]), held.names,
                    file=f"{path.name}[{place}]", atlas=None if self.atlas is None else str(self.atlas),
                    standardize=self.standardize, detrend=self.detrend, low_pass=self.low_pass,
                    high_pass=self.high_pass, provenance={"reader": "collection"},
                )  # fmt: skip
                self._check_length(run.data.shape[1], run.n_volumes or 0, run.file)
                runs.append(run)
            tables.append(
                pd.DataFrame({"subject": held.subjects, "session": held.sessions, "run": held.runs, **held.columns})
            )
            labels.append(held.y)
        table = pd.concat(tables, ignore_index=True)
        known = [y for y in labels if y is not None]
        if known and len(known) < len(labels):
            raise InputError("some of these files have labels and some have none; load them apart")
        return runs, table, np.concatenate(known) if known else None

    def _place(self, item: RunItem) -> Path:
        """Where the series of a run are kept: by the content of its files and by everything that shapes them."""
        import nilearn
        import numpy as np
        import pandas as pd

        if item.file.path is None:
            raise UsageError("memory keeps runs by their files; these are in memory")

        def content(value: Any) -> Any:
            if isinstance(value, Atlas):
                return value.digest()
            if isinstance(value, str | Path):
                return sha256_file(value) if Path(value).is_file() else str(value)
            if isinstance(value, pd.DataFrame):
                return [list(map(str, value.columns)), np.asarray(value, dtype=float).tolist()]
            if hasattr(value, "dataobj"):
                data = np.ascontiguousarray(np.asanyarray(value.dataobj))
                axes = np.asarray(getattr(value, "affine", 0.0), dtype=float).tolist()
                return [hashlib.sha256(data.tobytes()).hexdigest(), str(data.dtype), list(data.shape), axes]
            if isinstance(value, Mapping):
                return {str(key): content(part) for key, part in value.items()}
            if isinstance(value, list | tuple):
                return [content(part) for part in value]
            if isinstance(value, np.ndarray):
                return value.tolist()
            return value if value is None or isinstance(value, int | float | bool) else str(value)

        beside = confound_table_of(item.file.path) if self._chooses(item) else None
        sources = [None if file is None else content(file) for file in item.file.files]
        settings = {
            entry.name: content(getattr(self, entry.name))
            for entry in dataclasses.fields(self)
            if entry.name not in ("memory", "_volumes")
        }
        told = [content(item.confounds), content(item.sample_mask), content(beside)]
        told += [item.t_r, content(sidecar(item.file.path).get("RepetitionTime"))]
        who = [item.file.name, item.file.subject, item.file.session, item.file.run]
        key = digest(_VERSION, nilearn.__version__, sources, settings, told, who)
        assert self.memory is not None  # for the type checker: asked before
        return self.memory / f"{key}.npz"


def _told(run: Run, found: RunConfounds) -> Run:
    """A run whose provenance tells how its confounds were chosen."""
    return run.replace(provenance={**run.provenance, "confounds": dict(found.told)}) if found.told else run
