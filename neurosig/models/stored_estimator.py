"""Which estimator a folder holds, whoever asks."""

from __future__ import annotations

import json
from pathlib import Path

from neurosig.core.pretrained import CONFIG

__all__ = ["estimator_in"]


def estimator_in(folder: Path) -> str | None:
    """Class of the estimator that neurosig stored in a folder; None where it stored none, or it cannot be read."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(config, dict) or not str(config.get("format")).startswith("neurosig-"):
        return None
    name = config.get("estimator")
    return name if isinstance(name, str) and name.isidentifier() else None
