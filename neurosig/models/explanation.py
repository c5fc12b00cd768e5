"""Attributions of a network's outputs to its input, as they are kept, summed up and stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig._version import __version__
from neurosig.core.errors import InputError, StorageError
from neurosig.core.files import atomic_path
from neurosig.core.persistence import load_arrays, save_arrays
from neurosig.core.signals import SignalSpec

if TYPE_CHECKING:
    import os

    import pandas as pd

__all__ = ["Explanation"]

FORMAT = "neurosig-explanation"
FORMAT_VERSION = 1
_ARRAYS = ("attributions", "outputs", "baseline_outputs")
_LABELS = ("targets", "predicted", "labels")


@dataclass(frozen=True, eq=False)
class Explanation:
    """Attributions of a network's outputs to its input.

    Parameters
    ----------
    attributions : array of shape (n_trials, n_channels, n_times)
        What each sample contributed to the output that is explained, in units of that output.
    method : str
        How they were found.
    targets : array of shape (n_trials,)
        The class whose output is explained, of each trial; of a regression 0, its only output.
    predicted : array of shape (n_trials,)
        What the estimator says.
    outputs, baseline_outputs : array of shape (n_trials,)
        The explained output for the trial, and for its baseline.
    labels : array of shape (n_trials,), or None
        True labels, where given.
    info : SignalSpec or None
        Channels, sampling rate and positions, where known.
    parameters : dict
        Options of the method.

    See Also
    --------
    neurosig.reports.explanation.plot_explanation : The figure: maps of the head and time courses of each class.

    Examples
    --------
    >>> from neurosig.core.signals import SignalSpec
    >>> attributions = np.zeros((2, 3, 50))
    >>> attributions[:, 0] = 0.1
    >>> outputs = attributions.sum(axis=(1, 2))
    >>> reasons = Explanation(attributions, "occlusion", targets=np.array(["left", "right"]),
    ...                       predicted=np.array(["left", "left"]), outputs=outputs, baseline_outputs=0 * outputs,
    ...                       info=SignalSpec("eeg", ["C3", "Cz", "C4"], sfreq=100.0))
    >>> reasons
    <Explanation by occlusion: 2 × 3 × 50, targets left, right>
    >>> from neurosig.reports.explanation import plot_explanation
    >>> figure = plot_explanation(reasons)  # and figure.savefig("reasons.png")
    """

    attributions: np.ndarray
    method: str
    targets: np.ndarray
    predicted: np.ndarray
    outputs: np.ndarray
    baseline_outputs: np.ndarray
    labels: np.ndarray | None = None
    info: SignalSpec | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if self.attributions.ndim != 3:
            raise InputError(f"expected attributions of shape (trials, channels, times), got {self.attributions.shape}")
        for name in (*_ARRAYS, *_LABELS):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.attributions):
                raise InputError(f"expected {name} of {len(self.attributions)} trials, got {len(values)}")
        n = self.attributions.shape[1]
        if self.info is not None and self.info.n_channels != n:
            raise InputError(f"info names {self.info.n_channels} channels, the attributions have {n}")

    def __len__(self) -> int:
        return len(self.attributions)

    def __repr__(self) -> str:
        size = " × ".join(map(str, self.attributions.shape))
        return f"<Explanation by {self.method}: {size}, targets {', '.join(map(str, np.unique(self.targets)))}>"

    @property
    def is_regression(self) -> bool:
        """Whether the outputs are predictions of numbers, not scores of classes."""
        return bool(self.parameters.get("regression", False))

    @property
    def ch_names(self) -> tuple[str, ...]:
        """Channel names; their numbers where the estimator did not know them."""
        return tuple(map(str, range(self.attributions.shape[1]))) if self.info is None else self.info.ch_names

    @property
    def times(self) -> np.ndarray:
        """Seconds of each sample from the event; sample numbers where the sampling rate is not known."""
        numbers = np.arange(self.attributions.shape[2])
        if self.info is None or self.info.sfreq is None:
            return numbers
        return numbers / self.info.sfreq + (self.info.tmin or 0.0)

    @property
    def residuals(self) -> np.ndarray:
        """Sum of a trial's attributions minus ``outputs - baseline_outputs``, (n_trials,).

        Integrated gradients and DeepLift promise zero: what is left is the error of the quadrature, to be made smaller
        by more steps. Other methods promise nothing.
        """
        total = self.attributions.sum(axis=(1, 2), dtype=np.float64)
        return total - (self.outputs.astype(np.float64) - self.baseline_outputs)

    @property
    def channel_contributions(self) -> np.ndarray:
        """Signed sum over time, (n_trials, n_channels): what a channel as a whole spoke for (+) or against (-)."""
        return self.attributions.sum(axis=2, dtype=np.float64)

    @property
    def channel_importances(self) -> np.ndarray:
        """Share of a channel in the absolute attributions of a trial, (n_trials, n_channels); each row sums to one."""
        strength = np.abs(self.attributions).sum(axis=2, dtype=np.float64)
        total = strength.sum(axis=1, keepdims=True)
        return np.divide(strength, total, out=np.zeros_like(strength), where=total > 0)

    @property
    def time_contributions(self) -> np.ndarray:
        """Signed sum over channels, (n_trials, n_times)."""
        return self.attributions.sum(axis=1, dtype=np.float64)

    def to_frame(self) -> pd.DataFrame:
        """One row per trial and channel.

        Returns
        -------
        DataFrame
            Columns ``trial, target, predicted, label, channel, contribution, importance``; see `channel_contributions`
            and `channel_importances`.
        """
        import pandas as pd

        n_trials, n_channels = self.attributions.shape[:2]
        labels = [None] * n_trials if self.labels is None else self.labels
        return pd.DataFrame(
            {
                "trial": np.repeat(np.arange(n_trials), n_channels),
                "target": np.repeat(self.targets, n_channels),
                "predicted": np.repeat(self.predicted, n_channels),
                "label": np.repeat(np.asarray(labels), n_channels),
                "channel": np.tile(np.asarray(self.ch_names), n_trials),
                "contribution": self.channel_contributions.ravel(),
                "importance": self.channel_importances.ravel(),
            }
        )

    def save(self, path: str | os.PathLike) -> Path:
        """Store in a folder, in one step: ``attributions.safetensors`` and ``explanation.json``.

        Parameters
        ----------
        path : path-like
            The folder. One that `save` wrote before is replaced; any other that is not empty is left alone.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        StorageError
            If the folder holds something else, or cannot be written.
        """
        target = Path(path)
        if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not _is_ours(target))):
            raise StorageError(
                f"cannot save an explanation at {target}: there is something else; choose a new or empty folder"
            )
        header = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "neurosig": __version__,
            "method": self.method,
            "parameters": dict(self.parameters),
            "info": None if self.info is None else self.info.to_dict(),
            **{
                name: None if getattr(self, name) is None else np.asarray(getattr(self, name)).tolist()
                for name in _LABELS
            },
        }
        with atomic_path(target) as folder:
            folder.mkdir()
            save_arrays(folder / "attributions.safetensors", {name: getattr(self, name) for name in _ARRAYS})
            (folder / "explanation.json").write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")
        return target

    @classmethod
    def load(cls, path: str | os.PathLike) -> Explanation:
        """Read what `save` stored.

        Raises
        ------
        StorageError
            If the folder is not there, is not a saved explanation, or is damaged.
        """
        folder = Path(path)
        try:
            header = json.loads((folder / "explanation.json").read_text(encoding="utf-8"))
            if header["format"] != FORMAT or header["format_version"] != FORMAT_VERSION:
                raise StorageError(f"{folder} is not an explanation that neurosig {__version__} reads")
            arrays = load_arrays(folder / "attributions.safetensors")
            labels: dict[str, Any] = {
                name: None if header[name] is None else np.asarray(header[name]) for name in _LABELS
            }
            info = None if header["info"] is None else SignalSpec.from_dict(header["info"])
            kept = {name: arrays[name] for name in _ARRAYS}
            return cls(method=header["method"], info=info, parameters=header["parameters"], **kept, **labels)
        except StorageError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise StorageError(f"cannot read an explanation from {folder}: {reason}; save it again") from error


def _is_ours(folder: Path) -> bool:
    try:
        return json.loads((folder / "explanation.json").read_text(encoding="utf-8")).get("format") == FORMAT
    except (OSError, ValueError, AttributeError):
        return False
