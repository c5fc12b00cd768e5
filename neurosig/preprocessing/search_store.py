"""Scores of a search on disk, under keys that hold the content of everything they depend on, the code included."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from neurosig._version import __version__
from neurosig.core.errors import UsageError
from neurosig.core.files import atomic_write, check_writable, digest
from neurosig.core.source import source_digest
from neurosig.preprocessing.augmented_scores import PairScores, Task

__all__ = ["SearchStore"]


class SearchStore:
    """A folder with one small JSON file for each pair of order and lag.

    Parameters
    ----------
    folder : Path
        Created if need be.
    content : list
        What all pairs of one search have in common: arrays, estimators, JSON-like values.

    Raises
    ------
    StorageError
        If nothing can be written there.
    UsageError
        If an estimator has parameters that are not JSON-like, whose content has no key.
    """

    def __init__(self, folder: Path, content: list):
        self.folder = check_writable(folder)
        self.common = [__version__, source_digest("neurosig"), [_content(part) for part in content]]

    def read(self, task: Task) -> PairScores | None:
        """Scores of a pair, or None where there are none that can be read."""
        try:
            stored = json.loads(self._path(task).read_text(encoding="utf-8"))
            scores = np.array(stored["scores"], dtype=float)  # null becomes NaN
            problems = [str(problem) for problem in stored["problems"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        right = scores.ndim == 3 and scores.shape[:2] == (len(task.estimators), len(task.settings))
        known = PairScores(scores, problems, [None] * len(problems))
        return known if right and len(problems) == len(task.estimators) else None

    def write(self, task: Task, result: PairScores) -> None:
        """Keep the scores of a pair."""
        scores = result.scores.astype(object)
        scores[np.isnan(result.scores)] = None
        content = {"order": task.order, "lag": task.lag, "scores": scores.tolist(), "problems": result.problems}
        atomic_write(self._path(task), json.dumps(content))

    def _path(self, task: Task) -> Path:
        return self.folder / f"{digest(self.common, _content(asdict(task)), length=24)}.json"


def _content(part: Any) -> Any:
    """JSON-like text of what a key depends on; arrays by a digest of their content."""
    if isinstance(part, np.ndarray):
        part = np.ascontiguousarray(part)
        return [str(part.dtype), list(part.shape), hashlib.sha256(part.tobytes()).hexdigest()]
    if isinstance(part, np.generic):
        return part.item()
    if isinstance(part, dict):
        return {str(name): _content(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [_content(value) for value in part]
    if hasattr(part, "get_params"):
        return [f"{type(part).__module__}.{type(part).__qualname__}", _content(part.get_params())]
    if part is None or isinstance(part, str | int | float | bool):
        return part
    raise UsageError(
        f"store needs a key for all that scores depend on; {type(part).__name__} has none: leave store out"
    )
