"""Folders of what was trained: ``config.json``, ``model.safetensors`` and the model card, ``README.md``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig._version import __version__
from neurosig.core.errors import StorageError, UsageError
from neurosig.core.files import atomic_path
from neurosig.core.persistence import load_arrays, save_arrays

if TYPE_CHECKING:
    import numpy as np

__all__ = ["CARD", "CONFIG", "WEIGHTS", "PretrainedFormat"]

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


@dataclass(frozen=True)
class PretrainedFormat:
    """One kind of such folders.

    Parameters
    ----------
    name : str
        What stands under "format" in ``config.json``.
    version : int
        And under "format_version".
    what : str
        What such a folder holds, in words: "network".
    """

    name: str
    version: int
    what: str

    def write(
        self, folder: str | os.PathLike, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], card: str
    ) -> Path:
        """Write a folder in one step; one of this format is replaced, any other is left alone.

        Parameters
        ----------
        folder : path-like
            Where.
        config : dict
            JSON-like; format and version are added.
        arrays : dict of str to array
            The weights.
        card : str
            The model card, Markdown.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        StorageError
            If the folder holds something else, or cannot be written.
        UsageError
            If the configuration is not JSON-like.
        """
        target = Path(folder)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            try:
                self.read_config(target)
            except StorageError as error:
                raise StorageError(
                    f"cannot save a {self.what} at {target}: other files are in the way; choose a new or empty folder"
                ) from error
        try:
            text = json.dumps({"format": self.name, "format_version": self.version, **config}, indent=2)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"cannot save {config.get('estimator', 'this')}: a parameter is not plain text, numbers or lists "
                f"({error})"
            ) from error
        with atomic_path(target) as place:
            place.mkdir()
            (place / CONFIG).write_text(text + "\n", encoding="utf-8")
            save_arrays(place / WEIGHTS, arrays)
            (place / CARD).write_text(card, encoding="utf-8")
        return target

    def read_config(self, folder: str | os.PathLike) -> dict[str, Any]:
        """The configuration of a folder.

        Raises
        ------
        StorageError
            If there is none, or it is damaged, or of another format or version.
        """
        folder = Path(folder)
        path = folder / CONFIG
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise StorageError(f"{folder} is not a saved {self.what}: it has no {CONFIG}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise StorageError(f"cannot read {path}: {' '.join(str(error).split())[:200]}") from error
        if not isinstance(config, dict) or config.get("format") != self.name:
            raise StorageError(f"{folder} is not a saved {self.what}: its {CONFIG} was written by something else")
        if config.get("format_version") != self.version:
            raise StorageError(
                f"{folder} was saved in format {config.get('format_version')!r}, this neurosig {__version__} reads "
                f"format {self.version}; install the neurosig that wrote it"
            )
        return config

    def read_arrays(self, folder: str | os.PathLike) -> dict[str, np.ndarray]:
        """The weights of a folder."""
        return load_arrays(Path(folder) / WEIGHTS)

    def check_estimator(self, folder: str | os.PathLike, config: Mapping[str, Any], name: str) -> None:
        """Refuse a folder of another class.

        Raises
        ------
        StorageError
            Naming both.
        """
        if config.get("estimator") != name:
            raise StorageError(f"{folder} holds a {config.get('estimator')}, not a {name}; read it with that class")
