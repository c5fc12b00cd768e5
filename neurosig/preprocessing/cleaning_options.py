"""How recordings are cleaned: one frozen set of options, checked before any work begins."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neurosig.core.errors import UsageError
from neurosig.core.signals import Processing
from neurosig.preprocessing.faster_course import STEPS
from neurosig.preprocessing.faster_ica import ICA_METHODS
from neurosig.preprocessing.faster_judged import check_judge_in
from neurosig.preprocessing.faster_outliers import VARIANTS, Rule

__all__ = ["CleaningOptions"]


@dataclass(frozen=True)
class CleaningOptions:
    """How recordings are cleaned; everything here is part of what makes two cleanings the same.

    Parameters
    ----------
    events : tuple of str, optional
        Names of the events to cut trials around; None takes all.
    tmin, tmax : float
        First and last second of a trial, relative to its event.
    fmin, fmax : float or None
        Band in Hz (zero-phase Butterworth, as the loaders filter); None leaves that side open. Blinks and drifts must
        be in the data to be recognised: keep `fmin` at 1 Hz or below.
    notch : float, optional
        Mains frequency in Hz to take out, with its harmonics.
    baseline : (float or None, float or None), optional
        Span in seconds whose mean is taken off each trial, before and again after the cleaning; within the trial.
    resample : float, optional
        New sampling rate in Hz, after cutting.
    steps : tuple of {"channels", "epochs", "components", "channels_in_epochs"}
        Stages of FASTER to run, always in this order.
    variant : {"mended", "paper", "mne"}
        Whose formulas, see `find_bad_channels`.
    threshold : float or dict of str to float
        Standard deviations beyond which something is bad; for all, or by stage or metric.
    max_iter : int, optional
        Rounds of outlier detection in each stage; by default three in the first three of "mended", else one.
    ica : {"fastica", "infomax", "picard"}
        How components are found.
    eog : tuple of str
        EOG channels, beside those that are so by type.
    eog_proxy : tuple of str
        EEG channels that stand in where there is no EOG channel, such as "Fp1", in any spelling; all must be there.
    average_first : bool
        Judge channels of single trials in average reference, as the authors' program does. By default, as in `FASTER`,
        the average serves the components, and these are judged in the reference of the recording.
    judge_in : {"auto", "average", "recorded"}
        Reference in which channels are compared over all trials, see `find_bad_channels`: "auto" is the average for
        "mended" with sixteen EEG channels and no `reference_position`, else that of the recording.
    reference_position : str, optional
        The electrode that the recording refers to, a channel or a site of the 10-05 system such as "A2": the effect of
        the distance to it is taken out of the scores.
    reference : "average", tuple of str, or None
        Reference of the cleaned EEG; None keeps that of the recording (with `average_first`, the average).
    autoreject : bool
        Run autoreject on what FASTER leaves (needs the package autoreject).
    random_state : int
        Seed of components and of autoreject.

    Raises
    ------
    UsageError
        If an option is unknown or makes no sense.
    """

    events: tuple[str, ...] | None = None
    tmin: float = -0.2
    tmax: float = 0.8
    fmin: float | None = 0.5
    fmax: float | None = 40.0
    notch: float | None = None
    baseline: tuple[float | None, float | None] | None = None
    resample: float | None = None
    steps: tuple[str, ...] = STEPS
    variant: str = "mended"
    threshold: float | Mapping[str, float] = 3.0
    max_iter: int | None = None
    ica: str = "fastica"
    eog: tuple[str, ...] = ()
    eog_proxy: tuple[str, ...] = ()
    average_first: bool = False
    reference: str | tuple[str, ...] | None = "average"
    autoreject: bool = False
    random_state: int = 0
    judge_in: str = "auto"
    reference_position: str | None = None

    def __post_init__(self):
        for name in ("steps", "eog", "eog_proxy"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if unknown := [step for step in self.steps if step not in STEPS]:
            raise UsageError(f"steps are {', '.join(STEPS)}, got {unknown[0]!r}")
        if self.variant not in VARIANTS:
            raise UsageError(f"variant must be one of {', '.join(VARIANTS)}, got {self.variant!r}")
        if self.ica not in ICA_METHODS:
            raise UsageError(f"ica must be one of {', '.join(ICA_METHODS)}, got {self.ica!r}")
        check_judge_in(self.judge_in, self.reference_position)
        if isinstance(self.reference, str) and self.reference != "average":
            raise UsageError(f"reference must be 'average', names of channels or None, got {self.reference!r}")
        if self.reference is not None and not len(self.reference):
            raise UsageError("reference must be 'average', names of channels or None, got no name")
        if self.notch is not None and not self.notch > 0:
            raise UsageError(f"notch must be the mains frequency in Hz, such as 50, got {self.notch}")
        if self.resample is not None and not self.resample > 0:
            raise UsageError(f"resample must be a positive rate in Hz, got {self.resample}")
        if self.autoreject and importlib.util.find_spec("autoreject") is None:
            raise UsageError("autoreject needs the package autoreject: pip install 'neurosig[clean]'")
        self.processing  # noqa: B018 - checks the window and the band
        self._check_baseline()
        for step in STEPS:
            self.rule(step)

    def _check_baseline(self) -> None:
        if self.baseline is None:
            return
        if len(self.baseline) != 2:
            raise UsageError(f"baseline must be two numbers of seconds, got {self.baseline!r}")
        low, high = self.baseline
        first, last = self.tmin if low is None else low, self.tmax if high is None else high
        if not self.tmin <= first <= last <= self.tmax:
            raise UsageError(
                f"baseline must lie within the trial, {self.tmin:g} to {self.tmax:g} s, and end after it begins, got "
                f"{first:g} to {last:g} s"
            )

    def rule(self, step: str) -> Rule:
        """How a stage flags."""
        return Rule.make(step, self.variant, self.threshold, None, self.max_iter)

    @property
    def processing(self) -> Processing:
        """Band and window as the loaders take them."""
        return Processing(
            tmin=self.tmin, tmax=self.tmax, fmin=self.fmin, fmax=self.fmax, resample=self.resample,
            baseline=self.baseline,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The options as a JSON-like dictionary."""
        found = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
