"""Folders of what was trained: ``config.json``, ``model.safetensors``, a model card, whom it has seen."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig._version import __version__
from neurosig.core.errors import ChecksumError, StorageError, UsageError
from neurosig.core.files import atomic_path
from neurosig.core.persistence import load_arrays, save_arrays
from neurosig.core.trained_on import SEEN, as_trained_on

if TYPE_CHECKING:
    import numpy as np

__all__ = ["CARD", "CONFIG", "WEIGHTS", "PretrainedFormat", "check_params"]

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
    unsummed : bool
        Whether there are folders of earlier versions that do not say the SHA-256 of their weights.
    """

    name: str
    version: int
    what: str
    unsummed: bool = False

    def write(
        self,
        folder: str | os.PathLike,
        config: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
        card: str,
        trained_on: Any = None,
    ) -> Path:
        """Write a folder in one step; one of this format is replaced, any other is left alone.

        Parameters
        ----------
        folder : path-like
            Where.
        config : dict
            JSON-like; format, version and the SHA-256 of the weights are added.
        arrays : dict of str to array
            The weights.
        card : str
            The model card, Markdown.
        trained_on : dict or sequence of str, optional
            Whom the weights have seen, see `neurosig.core.trained_on.as_trained_on`; None where it is not known.

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
        seen = as_trained_on(trained_on)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            try:
                self.read_config(target)
            except StorageError as error:
                raise StorageError(
                    f"cannot save a {self.what} at {target}: other files are in the way; choose a new or empty folder"
                ) from error
        try:
            text = json.dumps({"format": self.name, "format_version": self.version, **config})
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"cannot save {config.get('estimator', 'this')}: a parameter is not plain text, numbers or lists "
                f"({error})"
            ) from error
        with atomic_path(target) as place:
            place.mkdir()
            save_arrays(place / WEIGHTS, arrays)
            content = {**json.loads(text), "sha256": _sha256(place / WEIGHTS)}
            (place / CONFIG).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            (place / CARD).write_text(card, encoding="utf-8")
            if seen is not None:
                (place / SEEN).write_text(json.dumps(seen, indent=1) + "\n", encoding="utf-8")
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
        if isinstance(config, dict) and config.get("format") != self.name and isinstance(config.get("estimator"), str):
            kind = config["estimator"]
            start = f", or start another estimator from it, pretrained={str(folder)!r}" if "Embedder" in kind else ""
            raise StorageError(
                f"{folder} is not a saved {self.what}: it holds a {kind}; read it by {kind}.from_pretrained{start}"
            )
        if not isinstance(config, dict) or config.get("format") != self.name:
            raise StorageError(f"{folder} is not a saved {self.what}: its {CONFIG} was written by something else")
        if config.get("format_version") != self.version:
            raise StorageError(
                f"{folder} was saved in format {config.get('format_version')!r}, this neurosig {__version__} reads "
                f"format {self.version}; install the neurosig that wrote it"
            )
        return config

    def read_arrays(self, folder: str | os.PathLike) -> dict[str, np.ndarray]:
        """The weights of a folder.

        Raises
        ------
        StorageError
            If they are missing, or cannot be read.
        ChecksumError
            If they are not those that were written, or it is not said which these were (but see `unsummed`).
        """
        path = Path(folder) / WEIGHTS
        written = self.read_config(folder).get("sha256")
        if written is None and not self.unsummed:
            raise ChecksumError(
                f"{Path(folder) / CONFIG} was altered after it was saved: it does not say the SHA-256 of the weights; "
                "get the folder again from where it came, or train anew"
            )
        if written is not None and path.is_file() and _sha256(path) != written:
            raise ChecksumError(
                f"{path} was altered or damaged after it was saved: its SHA-256 is not the one in {CONFIG}; get the "
                "folder again from where it came, or train anew"
            )
        return load_arrays(path)

    def check_estimator(self, folder: str | os.PathLike, config: Mapping[str, Any], name: str) -> None:
        """Refuse a folder of another class.

        Raises
        ------
        StorageError
            Naming both.
        """
        if config.get("estimator") != name:
            raise StorageError(f"{folder} holds a {config.get('estimator')}, not a {name}; read it with that class")


def check_params(cls: Any, params: Mapping[str, Any]) -> None:
    """Refuse parameters that an estimator does not have, before its folder is blamed for them.

    Parameters
    ----------
    cls : type
        A scikit-learn estimator.
    params : dict
        What its parameters are to be set to.

    Raises
    ------
    UsageError
        With the nearest names.
    """
    known = cls._get_param_names()
    for name in params:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known)}"
            raise UsageError(f"{cls.__name__} has no parameter {name!r}; {hint}")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
