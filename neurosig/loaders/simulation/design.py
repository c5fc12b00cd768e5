"""What a simulation was asked to make, checked before anything is made."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Real
from typing import Any

from neurosig.core.errors import UsageError
from neurosig.loaders.simulation.artifacts import ARTIFACTS
from neurosig.loaders.simulation.head import CHANNELS, standard_head
from neurosig.loaders.simulation.tasks import IMAGERY_CLASSES, TARGET_RATIO, TASKS

__all__ = ["Design", "check_choice", "check_number"]

LOWEST_SFREQ = 100.0  # Hz; the bands of MOABB's paradigms reach 45 Hz


@dataclass(frozen=True)
class Design:
    """The arguments of `neurosig.loaders.simulated.simulate_recordings`, complete and valid."""

    kind: str
    n_subjects: int
    n_sessions: int
    n_runs: int
    n_trials: int
    sfreq: float
    ch_names: tuple[str, ...]
    classes: tuple[str, ...]
    effect: float
    artifacts: tuple[str, ...]
    line_freq: float | None
    seed: int

    @classmethod
    def checked(
        cls, *, kind: Any, n_subjects: Any, n_sessions: Any, n_runs: Any, n_trials: Any, sfreq: Any, ch_names: Any,
        classes: Any, effect: Any, artifacts: Any, line_freq: Any, random_state: Any,
    ) -> Design:  # fmt: skip
        """Fill in what was left open.

        Raises
        ------
        UsageError
            If an argument makes no sense; the message says what would.
        """
        kind = check_choice("kind", kind, tuple(TASKS))
        sfreq = check_number("sfreq", sfreq, LOWEST_SFREQ, "Hz")
        classes = _check_classes(kind, classes, sfreq)
        least = TARGET_RATIO if kind == "p300" else len(classes)
        return cls(
            kind=kind,
            n_subjects=_check_count("n_subjects", n_subjects),
            n_sessions=_check_count("n_sessions", n_sessions),
            n_runs=_check_count("n_runs", n_runs),
            n_trials=TASKS[kind].n_trials if n_trials is None else _check_count("n_trials", n_trials, least),
            sfreq=sfreq,
            ch_names=_check_channels(ch_names),
            classes=classes,
            effect=check_number("effect", effect, 0.0, "(0 leaves nothing to decode, 1 is typical)"),
            artifacts=_check_artifacts(artifacts),
            line_freq=None if line_freq is None else check_number("line_freq", line_freq, 1.0, "Hz, or None"),
            seed=_check_count("random_state", random_state, 0),
        )

    def select(self, subjects: Sequence[int | str] | None) -> list[int]:
        """The numbers of the subjects to make."""
        everyone = range(1, self.n_subjects + 1)
        if subjects is None:
            return list(everyone)
        wanted = _names("subjects", [subjects] if isinstance(subjects, int) else subjects)
        known = {str(number): number for number in everyone}
        unknown = [subject for subject in wanted if subject not in known]
        if unknown or not wanted:
            raise UsageError(
                f"subjects must be among 1 to {self.n_subjects}, got {', '.join(unknown) or 'none'}; "
                "raise n_subjects to have more"
            )
        return [known[subject] for subject in dict.fromkeys(wanted)]


def check_choice(name: str, value: Any, allowed: Sequence[str]) -> str:
    """`value`, where it is one of `allowed`; else a `UsageError` that lists them."""
    if value not in allowed:
        close = get_close_matches(str(value), allowed, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UsageError(f"{name} must be one of {', '.join(allowed)}, got {value!r}{hint}")
    return value


def _check_count(name: str, value: Any, least: int = 1) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise UsageError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return number


def check_number(name: str, value: Any, least: float, unit: str) -> float:
    """A finite number of at least so much, or a UsageError that names it."""
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not math.isfinite(number) or number < least:
        raise UsageError(f"{name} must be a number of at least {least:g} {unit}, got {value!r}")
    return number


def _check_classes(kind: str, classes: Sequence[str] | None, sfreq: float) -> tuple[str, ...]:
    if classes is None:
        return TASKS[kind].classes
    names = _names("classes", classes)
    if len(names) < 2 or len(set(names)) != len(names):
        raise UsageError(f"classes must be at least two different names, got {', '.join(names) or 'none'}")
    if kind == "imagery":
        for name in names:
            check_choice("classes of imagery", name, IMAGERY_CLASSES)
    elif kind == "p300":
        if set(names) != set(TASKS[kind].classes):
            raise UsageError(f"classes of p300 are Target and NonTarget, got {', '.join(names)}; leave classes out")
        return TASKS[kind].classes
    else:
        for name in names:
            try:
                frequency = float(name)
            except ValueError:
                frequency = -1.0
            if not 0 < frequency < sfreq / 2:
                raise UsageError(
                    f"classes of ssvep are stimulus frequencies between 0 and {sfreq / 2:g} Hz as strings, "
                    f"such as '10.0', got {name!r}"
                )
    return names


def _check_channels(ch_names: Sequence[str] | None) -> tuple[str, ...]:
    if ch_names is None:
        return CHANNELS
    names = _names("ch_names", ch_names)
    known = list(standard_head().electrodes)
    if unknown := [name for name in names if name not in known]:
        folded = {name.lower(): name for name in known}
        close = folded.get(unknown[0].lower()) or next(iter(get_close_matches(unknown[0], known, 1)), None)
        hint = f"; did you mean {close}?" if close else ""
        raise UsageError(f"ch_names must be electrodes of mne's standard_1005, got {', '.join(unknown)}{hint}")
    if not names or len(set(names)) != len(names):
        raise UsageError(f"ch_names must be at least one electrode and none twice, got {', '.join(names) or 'none'}")
    return names


def _check_artifacts(artifacts: bool | Iterable[str]) -> tuple[str, ...]:
    if isinstance(artifacts, bool):
        return ARTIFACTS if artifacts else ()
    if not isinstance(artifacts, Iterable):
        raise UsageError(f"artifacts must be True, False or some of {', '.join(ARTIFACTS)}, got {artifacts!r}")
    names = _names("artifacts", artifacts)
    for name in names:
        check_choice("artifacts", name, ARTIFACTS)
    return tuple(name for name in ARTIFACTS if name in names)


def _names(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Iterable):
        raise UsageError(f"{name} must be a list of names, got {value!r}")
    return tuple(map(str, value))
