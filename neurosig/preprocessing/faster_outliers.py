"""FASTER's rule for outliers, the result that every stage hands back, and what the variants differ in."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurosig.core.channel_names import listed
from neurosig.core.errors import UsageError
from neurosig.preprocessing.faster_rounds import flag_outliers, largest_z, last_round

__all__ = ["VARIANTS", "Outliers", "Rule", "flag_outliers", "largest_z", "last_round", "refuse_without_metrics"]

VARIANTS = ("mended", "paper", "mne")
FEW = ("warn", "ignore")
STAGES = ("channels", "epochs", "components", "channels_in_epochs", "subjects")

_PAPER = {
    "channels": ("variance", "correlation", "hurst"),
    "epochs": ("amplitude", "variance", "deviation"),
    "components": ("eog_correlation", "kurtosis", "spectral_slope", "hurst", "median_gradient"),
    "channels_in_epochs": ("variance", "median_gradient", "amplitude", "deviation"),
    "subjects": ("deviation", "variance", "amplitude", "eog"),
}
_EXTRA = {
    "channels": ("kurtosis", "line_noise"),
    "components": ("line_noise",),
    "channels_in_epochs": ("line_noise",),
}
# What the paper's metrics cannot see: after a high-pass, a drift is no larger than the brain's own rhythms
_MENDED = {"channels": ("drift",)}
# "mended" looks again for what the worst item hides; within one epoch that finds little but the brain's own differences
_ROUNDS = {"channels": 3, "epochs": 3, "components": 3}


@dataclass(frozen=True)
class Outliers:
    """What one stage of FASTER found.

    Parameters
    ----------
    stage : {"channels", "epochs", "components", "channels_in_epochs", "subjects"}
        The stage.
    items : tuple of str or tuple of int
        What the last axis of the arrays below runs over: names of channels, or numbers of epochs, components, subjects.
    scores, z, flags : dict of str to array
        The value, its z-score, and whether it lies beyond the threshold, of each item in each metric: shape (n_items,),
        for channels in epochs (n_epochs, n_items). Channels that were left out have a score of NaN. With several EOG
        channels, "eog_correlation" of the variant "mne" has one row for each. ``flags`` may have further rows, for
        channels without a score: "dead", for those without a signal, "marked", for those that were known to be bad, and
        "faint", for those with less than an eighth of the usual amplitude.
    bad : array of bool
        The united decision, of the shape of one metric's flags.
    threshold : dict of str to float
        Threshold of each metric.
    skipped : dict of str to str
        Metrics that could not be computed, and why.
    picks : array of int
        Where the items are on the channel axis of the signals (for epochs, components and subjects: their numbers).
    """

    stage: str
    items: tuple[Any, ...]
    scores: Mapping[str, np.ndarray]
    z: Mapping[str, np.ndarray]
    flags: Mapping[str, np.ndarray]
    bad: np.ndarray
    threshold: Mapping[str, float]
    skipped: Mapping[str, str] = field(default_factory=dict)
    picks: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))

    @property
    def bads(self) -> list[Any]:
        """Bad items: names or numbers; for channels in epochs a list of names for each epoch."""
        if self.bad.ndim == 2:
            return [[self.items[i] for i in np.flatnonzero(row)] for row in self.bad]
        return [self.items[i] for i in np.flatnonzero(self.bad)]

    @property
    def by_metric(self) -> dict[str, list[Any]]:
        """Bad items by metric; a metric with several rows (one an EOG channel) unites them."""
        found = {}
        for metric, flags in self.flags.items():
            if self.bad.ndim == 2:
                found[metric] = [[self.items[i] for i in np.flatnonzero(row)] for row in flags]
            else:
                found[metric] = [self.items[i] for i in np.flatnonzero(np.atleast_2d(flags).any(axis=0))]
        return found

    def to_dict(self) -> dict[str, Any]:
        """The result as a JSON-like dictionary; NaN is None."""
        return {
            "stage": self.stage,
            "items": list(self.items),
            "bad": self.bads,
            "by_metric": self.by_metric,
            "scores": {metric: _listed(values) for metric, values in self.scores.items()},
            "z": {metric: _listed(values) for metric, values in self.z.items()},
            "threshold": dict(self.threshold),
            "skipped": dict(self.skipped),
        }


@dataclass(frozen=True)
class Rule:
    """How scores become flags: one stage's metrics, thresholds and z-score.

    Parameters
    ----------
    stage, variant : str
        Which stage, by whose formulas.
    metrics : tuple of str
        Metrics to compute.
    threshold : dict of str to float
        Threshold of each.
    max_iter : int
        Rounds of flagging; items found in one round do not count in the next.
    few : {"warn", "ignore"}
        What to do where there are too few items for the threshold ever to be passed.
    """

    stage: str
    variant: str
    metrics: tuple[str, ...]
    threshold: Mapping[str, float]
    max_iter: int = 1
    few: str = "warn"

    @classmethod
    def make(
        cls,
        stage: str,
        variant: str,
        threshold: float | Mapping[str, float],
        metrics: Sequence[str] | None = None,
        max_iter: int | None = None,
        few: str = "warn",
    ) -> Rule:
        """Check the options of a stage.

        Parameters
        ----------
        stage, variant : str
            Which stage, by whose formulas.
        threshold : float or dict of str to float
            One number for all, or by metric or stage ("default" for those not named, else 3).
        metrics : sequence of str, optional
            Metrics to compute; by default the variant's own.
        max_iter : int, optional
            Rounds of flagging; by default three in the first three stages of "mended", else one, as published.
        few : {"warn", "ignore"}
            What to do where the threshold can never be passed.

        Returns
        -------
        Rule
            The rule.

        Raises
        ------
        UsageError
            If an option is unknown or no number that makes sense.
        """
        if variant not in VARIANTS:
            raise UsageError(f"variant must be one of {', '.join(map(repr, VARIANTS))}, got {variant!r}")
        if few not in FEW:
            raise UsageError(f"few must be one of {', '.join(map(repr, FEW))}, got {few!r}")
        if max_iter is None:
            max_iter = _ROUNDS.get(stage, 1) if variant == "mended" else 1
        if not (isinstance(max_iter, int | np.integer) and max_iter >= 1):
            raise UsageError(f"max_iter must be a whole number of at least 1, got {max_iter!r}")
        published = _PAPER[stage] + _EXTRA.get(stage, ())
        known = published + _MENDED.get(stage, ())
        if metrics is None:
            usual = {"mended": _PAPER[stage] + _MENDED.get(stage, ()), "paper": _PAPER[stage], "mne": published}
            chosen = usual[variant]
        else:
            chosen = tuple(dict.fromkeys([metrics] if isinstance(metrics, str) else metrics))
            unknown = [metric for metric in chosen if metric not in known]
            if unknown or not chosen:
                raise UsageError(f"metrics of {stage} are {', '.join(known)}, got {', '.join(map(repr, unknown))}")
        return cls(stage, variant, chosen, _thresholds(threshold, stage, chosen), max_iter, few)

    @property
    def ddof(self) -> int:
        """Degrees of freedom taken off in variances and standard deviations."""
        return 0 if self.variant == "mne" else 1

    @property
    def published(self) -> bool:
        """Whether a published program is repeated with its faults."""
        return self.variant != "mended"

    def judge(
        self,
        items: Sequence[Any],
        scores: Mapping[str, np.ndarray],
        groups: Sequence[np.ndarray] | None = None,
        *,
        valid: np.ndarray | None = None,
        dead: np.ndarray | None = None,
        marked: np.ndarray | None = None,
        faint: np.ndarray | None = None,
        skipped: Mapping[str, str] | None = None,
        picks: np.ndarray | None = None,
    ) -> Outliers:
        """Flag items by their scores.

        Parameters
        ----------
        items : sequence
            Names or numbers of the items.
        scores : dict of str to array of shape (..., n_items)
            Scores by metric.
        groups : sequence of array of int, optional
            Items that are compared with each other (channels of one type); by default all.
        valid : array of bool, optional
            Items that take part, shape (n_items,) or that of the scores.
        dead : array of bool, optional
            Items that are bad without a score, as they carry no signal.
        marked : array of bool, optional
            Items that were known to be bad; a row of their own where there are any.
        faint : array of bool, optional
            Items that are bad without a score, as they carry far less than the others; a row where there are any.
        skipped : dict of str to str, optional
            Metrics that could not be computed, and why.
        picks : array of int, optional
            Where the items are on the axis of channels.

        Returns
        -------
        Outliers
            The result.
        """
        n_items = len(items)
        groups = [np.arange(n_items)] if groups is None else groups
        z, flags, skipped = {}, {}, dict(skipped or {})
        for metric, values in scores.items():
            z[metric] = np.zeros(values.shape)
            flags[metric] = np.zeros(values.shape, dtype=bool)
            for group in groups:
                z[metric][..., group], flags[metric][..., group] = flag_outliers(
                    values[..., group],
                    self.threshold[metric],
                    ddof=self.ddof,
                    max_iter=self.max_iter,
                    valid=None if valid is None else valid[..., group],
                    impute=self.variant != "mne",
                )
        if dead is not None:
            flags["dead"] = dead
        if marked is not None and marked.any():
            flags["marked"] = marked
        if faint is not None and faint.any():
            flags["faint"] = faint
        shape = next((f.shape for metric, f in flags.items() if metric != "eog_correlation"), (n_items,))
        bad = np.zeros(shape, dtype=bool)
        for metric, found in flags.items():
            bad |= found.any(axis=0) if metric == "eog_correlation" and found.ndim > len(shape) else found
        if self.few == "warn":
            self._warn_if_it_cannot_fire(groups, valid, set(scores))
        return Outliers(
            self.stage, tuple(items), scores, z, flags, bad, dict(self.threshold), skipped,
            np.arange(n_items) if picks is None else picks,
        )  # fmt: skip

    def _warn_if_it_cannot_fire(
        self, groups: Sequence[np.ndarray], valid: np.ndarray | None, computed: set[str]
    ) -> None:
        what = self.stage.split("_")[0]
        for group in groups:
            n = len(group) if valid is None else int(valid[..., group].sum(axis=-1).max(initial=0))
            at_most = largest_z(n, self.ddof)
            idle = {
                name.split(":")[0]: value
                for name, value in self.threshold.items()
                if at_most <= value and name in computed
            }
            # one item has nothing to be compared with, which surprises nobody
            if n < 2 or not idle:
                continue
            lowest = min(idle.values())
            needed = next((m for m in range(n, 10**6) if largest_z(m, self.ddof) > lowest), 10**6)
            names = listed([name.replace("_", " ").replace("eog", "EOG") for name in idle])
            if len(set(idle.values())) == 1:
                told = f"the threshold {lowest:g} finds nothing by {names}"
            else:
                named = [f"{name.replace('_', ' ')} ({value:g})" for name, value in idle.items()]
                told = f"the thresholds of {listed(named)} find nothing"
            warnings.warn(
                f"stage {self.stage.replace('_', ' ')}: {n} {what} cannot have a z-score beyond "
                f"{at_most:.2f}, so {told}; at least {needed} {what} or a lower threshold are needed",
                UserWarning,
                stacklevel=4,
            )


def refuse_without_metrics(rule: Rule, metrics: Iterable[str], skipped: Mapping[str, str]) -> None:
    """Refuse a stage whose metrics can none of them be computed.

    Parameters
    ----------
    rule : Rule
        The stage.
    metrics : iterable of str
        Metrics that can be computed.
    skipped : dict of str to str
        Those that cannot, and why.

    Raises
    ------
    UsageError
        If there is no metric.
    """
    if not list(metrics):
        reasons = "; ".join(f"{metric}: {reason}" for metric, reason in skipped.items())
        raise UsageError(f"none of the metrics of {rule.stage} can be computed ({reasons}); name others")


def _thresholds(threshold: Any, stage: str, metrics: tuple[str, ...]) -> dict[str, float]:
    if isinstance(threshold, Mapping):
        every = {metric for table in (_PAPER, _EXTRA, _MENDED) for names in table.values() for metric in names}
        unknown = [key for key in threshold if key not in (*STAGES, *every, "default")]
        if unknown:
            raise UsageError(f"threshold must be given by metric or stage, got {', '.join(map(repr, unknown))}")
        common = threshold.get(stage, threshold.get("default", 3.0))
        values = {metric: threshold.get(metric, common) for metric in metrics}
    else:
        values = dict.fromkeys(metrics, threshold)
    for value in values.values():
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not value > 0:
            raise UsageError(f"threshold must be a positive number of standard deviations, got {value!r}")
    return {metric: float(value) for metric, value in values.items()}


def _listed(values: np.ndarray) -> list[Any]:
    found = values.astype(object)
    found[~np.isfinite(values)] = None
    return found.tolist()
