"""Whether the files of a stored recording are all there, told without reading them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from neurosig.tokenizers.token_facts import HEAD

__all__ = ["file_sizes", "what_is_wrong"]


def file_sizes(place: Path) -> dict[str, int]:
    """Bytes of each file of a recording but for its head, which is to hold this.

    Parameters
    ----------
    place : Path
        Folder of the recording.

    Returns
    -------
    dict of str to int
        By the path within it.
    """
    files = {path.relative_to(place).as_posix(): path for path in place.rglob("*") if path.is_file()}
    return {name: files[name].stat().st_size for name in sorted(files) if name != HEAD}


def what_is_wrong(place: Path, head: Mapping[str, Any]) -> str | None:
    """Which file of a recording is gone or was cut.

    Parameters
    ----------
    place : Path
        Folder of the recording.
    head : dict
        What it says of itself.

    Returns
    -------
    str or None
        In words; None where nothing is. What was altered within its length is found when it is read, by the sums of
        its chunks.
    """
    sizes = head.get("files")
    try:
        wanted = dict(_least(place, head)) if sizes is None else {name: int(size) for name, size in sizes.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its files cannot be told: {type(error).__name__}: {error}"
    for name, size in wanted.items():
        try:
            there = (place / name).stat().st_size
        except OSError:
            return f"{name} is gone"
        if there != size if sizes is not None else there < size:
            return f"{name} has {there} bytes, not {size}"
    return None


def _least(place: Path, head: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Files that there must be, and a byte of each, where the store is of a version that noted no sizes."""
    for name in ("tokens", "starts", *(["labels"] if head["classes"] else [])):
        about = json.loads((place / name / HEAD).read_text(encoding="utf-8"))
        chunks = about["chunk_grid"]["configuration"]["chunk_shape"]
        grid = [ceil(size / chunk) for size, chunk in zip(about["shape"], chunks, strict=True)]
        for index in np.ndindex(*grid):
            yield "/".join((name, "c", *map(str, index))), 1
