"""The fold store: one small JSON a finished fold, named by a digest of everything that its scores depend on.

A fold is written in one step at the moment it is done, by the process that did it. So a run that is killed loses only
the folds in flight, and a run that is repeated finds the others.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neurosig.core.files import atomic_write, check_writable

__all__ = ["FoldStore"]

_STALE_SECONDS = 3600


class FoldStore:
    """Finished folds in a folder.

    Parameters
    ----------
    folder : path
        Created by `open`. Several processes may write to one folder: equal names hold equal scores.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def open(self) -> FoldStore:
        """Create the folder, prove that it can be written, and sweep up what a killed run left behind."""
        check_writable(self.folder)
        for partial in self.folder.glob(".*.partial"):
            with contextlib.suppress(OSError):
                if time.time() - partial.stat().st_mtime > _STALE_SECONDS:  # a younger one may be of a running process
                    shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
        return self

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.glob("*.json"))

    def get(self, key: str) -> dict[str, Any] | None:
        """The fold stored under `key`; None where there is none, where it is damaged, or where it failed."""
        try:
            record = json.loads((self.folder / f"{key}.json").read_text())
        except (OSError, ValueError):
            return None
        if not isinstance(record, dict) or record.get("key") != key or record.get("error"):
            return None
        return record

    def kind_of_folds(self, key: str) -> str | None:
        """What "auto" was found to be for the data of a key; see `keep_kind_of_folds`."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return (self.folder / "auto" / key).read_text(encoding="utf-8") or None
        return None

    def keep_kind_of_folds(self, key: str, kind: str) -> None:
        """Keep what "auto" was found to be, so that a repeated run need not read all data for it."""
        atomic_write(self.folder / "auto" / key, kind)

    def put(self, record: Mapping[str, Any]) -> None:
        """Store a finished fold under ``record["key"]``.

        Raises
        ------
        StorageError
            If the disk is full or the folder cannot be written.
        """
        target = self.folder / f"{record['key']}.json"
        text = json.dumps(without_nan(record), allow_nan=False)
        partial = self.folder / f".{target.name}.{os.getpid()}-{threading.get_ident()}.partial"
        try:
            # Not synchronised with the disk, which can take as long as a fit: the rename alone survives a kill, and
            # what a power cut leaves empty or torn is no JSON, so that `get` finds nothing and the fold runs again.
            partial.write_text(text)
            os.replace(partial, target)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()
            atomic_write(target, text)  # says what is wrong


def without_nan(value: Any) -> Any:
    """JSON has no NaN: replace it by None, inside dictionaries and lists too."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
