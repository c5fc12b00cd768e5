"""NIfTI images: opened with clear errors, read as they are stored, and their repetition time in seconds."""

from __future__ import annotations

import json
import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import InputError, UsageError
from neurosig.core.log import logger
from neurosig.loaders.fmri_clean import SLOWEST, check_t_r

if TYPE_CHECKING:
    import numpy as np

__all__ = ["image_data", "load_image", "repetition_time", "run_image", "sidecar"]

_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
# of images, and of tables of region series
_ENDING = re.compile(r"\.(nii|nii\.gz|[a-z]+\.nii|func\.gii|gii|1d|(tsv|csv)(\.gz)?|txt|npy|npz|mat)$", re.IGNORECASE)
_CLOSE = 1e-3  # seconds that header and sidecar may differ by


def load_image(image: Any) -> tuple[Any, Path | None]:
    """Open an image; its voxels are read later.

    Parameters
    ----------
    image : str, Path or nibabel image
        The image, or its file.

    Returns
    -------
    image : nibabel image
        With an affine.
    path : Path or None
        Its file, where there is one.

    Raises
    ------
    InputError
        There is no such file, or it is no image of voxels.
    """
    import nibabel

    if not isinstance(image, str | os.PathLike):
        if not (hasattr(image, "dataobj") and hasattr(image, "affine")):
            raise InputError(f"expected a NIfTI image or its path, got {type(image).__name__}")
        name = image.get_filename()
        return image, None if name is None else Path(name)
    path = Path(image)
    if not path.is_file():
        raise InputError(f"no such file: {path}; check the path")
    try:
        found = nibabel.load(path)
    except Exception as error:  # nibabel, gzip and zlib fail in a dozen ways on damaged files
        raise InputError(_damaged(path, error)) from error
    if not hasattr(found, "affine") or not hasattr(found, "dataobj"):
        raise InputError(f"{path.name} is {type(found).__name__}, expected an image of voxels (NIfTI)")
    return found, path


def image_data(image: Any, path: Path | None) -> np.ndarray:
    """All voxels: numbers as stored where they are not scaled, else float32.

    Raises
    ------
    InputError
        The file is damaged or cut short.
    """
    import numpy as np

    where = path or Path(image.get_filename() or "image")
    try:
        proxy = image.dataobj
        slope, inter = getattr(proxy, "slope", 1), getattr(proxy, "inter", 0)
        if (slope != 1 or inter != 0) and proxy.dtype.kind in "iu" and proxy.dtype.itemsize <= 2:
            # nibabel would make float64 of scaled integers: twice the memory, for digits that were never measured
            data = _stored(proxy, where).astype(np.float32)
            data *= np.float32(slope)
            data += np.float32(inter)
        elif slope != 1 or inter != 0:
            data = np.asanyarray(proxy)
        else:
            data = _stored(proxy, where)
    except MemoryError:
        raise
    except Exception as error:
        raise InputError(_damaged(where, error)) from error
    if data.dtype.kind == "f" and data.dtype.itemsize == 2:
        data = data.astype(np.float32)
    if data.dtype.kind not in "fiub":
        raise InputError(
            f"{where.name} holds {data.dtype}, expected real numbers; take the magnitude of complex images"
        )
    return data


class _Pieces:
    """A compressed stream that fills a buffer piece by piece; gzip's own would hold all of it a second time."""

    def __init__(self, stream: Any, size: int = 1 << 20):
        self._stream, self._size = stream, size
        self.seek, self.read = stream.seek, stream.read

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and (count := self._stream.readinto(view[done : done + self._size])):
            done += count
        return done


def _stored(proxy: Any, path: Path) -> np.ndarray:
    """Numbers as stored in a file."""
    import gzip

    import numpy as np
    from nibabel.arrayproxy import ArrayProxy
    from nibabel.volumeutils import array_from_file

    if not isinstance(proxy, ArrayProxy):
        return np.asanyarray(proxy)
    if not (str(proxy.file_like).endswith(".gz") and Path(str(proxy.file_like)).is_file()):
        return np.asarray(proxy.get_unscaled())
    with gzip.open(proxy.file_like) as stream:
        pieces: Any = _Pieces(stream)
        data = array_from_file(proxy.shape, proxy.dtype, pieces, proxy.offset, proxy.order, mmap=False)
        while stream.read(1 << 16):  # to the end, where the checksum is
            pass
    return data


def run_image(image: Any) -> tuple[Any, Path | None, tuple[int, ...]]:
    """Open an image of one run.

    Returns
    -------
    image, path
        As from `load_image`.
    shape : tuple of int
        Three axes of voxels, and the volumes.

    Raises
    ------
    InputError
        It has no axis of volumes.
    """
    image, path = load_image(image)
    shape = tuple(map(int, image.shape))
    if len(shape) != 4 or shape[3] < 2:
        name = "the image" if path is None else path.name
        raise InputError(
            f"{name}: expected a run of volumes, four axes (x, y, z, time), 2 volumes or more, got an image of {shape}"
        )
    return image, path, shape


def sidecar(path: Path | None) -> dict[str, Any]:
    """What the JSON files of a BIDS image or table tell: its own, and those above it that hold for it."""
    if path is None:
        return {}
    stem = _ENDING.sub("", path.name)
    places = [path.with_name(f"{stem}.json")]
    parts = stem.split("_")
    if path.name.startswith("sub-"):
        for folder in path.parents[:4]:
            for place in sorted(folder.glob(f"*_{parts[-1]}.json"), key=lambda item: -len(item.name)):
                if place not in places and set(place.stem.split("_")[:-1]) <= set(parts[:-1]):
                    places.append(place)
            if (folder / "dataset_description.json").is_file():
                break
    told: dict[str, Any] = {}
    for place in places:
        if not place.is_file():
            continue
        try:
            content = json.loads(place.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise InputError(f"{place} is no JSON: {error}") from error
        if isinstance(content, dict):
            told = content | told  # what is nearer to the image goes before
    return told


def repetition_time(image: Any, path: Path | None, t_r: float | None = None) -> float:
    """Seconds from one volume to the next.

    Parameters
    ----------
    image : nibabel image
        Of four axes.
    path : Path or None
        Its file, beside which a JSON file may state ``RepetitionTime``.
    t_r : float, optional
        What the user says, which settles it; a warning tells where the file says otherwise.

    Raises
    ------
    InputError
        Nothing says it, header and JSON differ by more than 1 ms, or the header's value is none that a scanner has
        (2000, say: milliseconds under the name of seconds).
    UsageError
        `t_r` is not a plausible number of seconds.
    """
    import numpy as np

    name = "image" if path is None else path.name
    unit = image.header.get_xyzt_units()[1] if hasattr(image.header, "get_xyzt_units") else "unknown"
    zoom = float(image.header.get_zooms()[3]) if len(image.header.get_zooms()) > 3 else 0.0
    unstated = unit not in _SECONDS and (unit != "unknown" or zoom == 1.0)  # 1 of no unit is what nobody ever set
    if unstated or not np.isfinite(zoom) or zoom <= 0:
        header = None
    else:
        header = float(np.round(zoom * _SECONDS.get(unit, 1.0), 6))  # float32 in the file
    stated = sidecar(path).get("RepetitionTime")
    if t_r is not None:
        given = check_t_r(t_r, "t_r")
        for source, value in (("its header", header), ("its JSON file", stated)):
            if not isinstance(value, int | float):
                continue
            if min(abs(value - given), abs(value / 1000 - given)) > _CLOSE:
                warnings.warn(f"{name}: t_r={given:g} s is used as you said, {source} says {value:g} s", stacklevel=2)
        return given
    stated = None if stated is None else _plausible(stated, f"{name} (RepetitionTime of its JSON file)")
    if header is not None and header > SLOWEST:
        if stated is not None and abs(header / 1000 - stated) <= _CLOSE:
            logger.info("%s: the header's %g s are milliseconds, as its JSON file tells", name, header)
            return stated
        raise InputError(
            f"{name}: the header gives a repetition time of {zoom:g} (unit {unit}), longer than any scanner's; "
            f"milliseconds? Then pass t_r={zoom / 1000:g}"
        )
    if header is not None and stated is not None and abs(header - stated) > _CLOSE:
        raise InputError(
            f"{name}: the header says a repetition time of {header:g} s, its JSON file {stated:g} s; pass t_r=seconds"
        )
    if header is None and stated is None:
        raise InputError(
            f"{name}: neither the header nor a JSON file beside it says the repetition time; pass t_r=seconds"
        )
    return _plausible(header if stated is None else stated, f"{name} (its header)")


def _plausible(value: Any, source: str) -> float:
    """A repetition time that a file states, where it is one."""
    try:
        return check_t_r(value, source)
    except UsageError as error:
        raise InputError(f"{error}; pass t_r=seconds") from None


def _damaged(path: Path, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{path.name} cannot be read, it is damaged, cut short or no NIfTI image: {reason[:200]}"
