"""What the subject does and how the brain answers: motor imagery, visual oddball (P300), flicker (SSVEP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurosig.loaders.simulation.people import Subject
from neurosig.loaders.simulation.waves import rhythm, smooth_step

__all__ = ["TASKS", "Schedule", "Task", "brain_activity", "draw_schedule"]


@dataclass(frozen=True)
class Task:
    """Timing of one kind of experiment.

    Parameters
    ----------
    classes : tuple of str
        Event names, as in MOABB's datasets.
    n_trials : int
        Trials in a run unless asked otherwise.
    duration : float
        Seconds that a trial's event lasts.
    interval : (float, float)
        Shortest and longest time from one event to the next, in seconds.
    lead : float
        Quiet seconds before the first event and after the last one's end.
    """

    classes: tuple[str, ...]
    n_trials: int
    duration: float
    interval: tuple[float, float]
    lead: float = 3.0


TASKS: Mapping[str, Task] = {
    "imagery": Task(("left_hand", "right_hand"), 20, 4.0, (6.0, 7.0)),
    "p300": Task(("Target", "NonTarget"), 120, 0.1, (0.45, 0.55)),
    "ssvep": Task(("10.0", "12.0", "15.0"), 21, 4.0, (5.5, 6.5)),
}
IMAGERY_CLASSES = ("left_hand", "right_hand", "feet")
TARGET_RATIO = 6  # one stimulus in six is a target
AREAS = ("hand_left", "hand_right", "foot")
# the hand areas opposite to and on the side of the imagined hand
_CONTRA_IPSI = {"left_hand": ("hand_right", "hand_left"), "right_hand": ("hand_left", "hand_right")}


@dataclass(frozen=True)
class Schedule:
    """The events of one run.

    Parameters
    ----------
    onsets : array of shape (n_trials,)
        Seconds from the start of the recording, on samples.
    labels : list of str
        Event names.
    n_times : int
        Samples in the recording.
    sfreq : float
        Sampling rate in Hz.
    """

    onsets: np.ndarray
    labels: list[str]
    n_times: int
    sfreq: float

    @property
    def times(self) -> np.ndarray:
        """Seconds of each sample, (n_times,)."""
        return np.arange(self.n_times) / self.sfreq


def draw_schedule(rng: np.random.Generator, kind: str, classes: Sequence[str], n_trials: int, sfreq: float) -> Schedule:
    """Balanced classes in random order (for an oddball: one target in six), with jittered intervals."""
    task = TASKS[kind]
    steps = rng.uniform(*task.interval, n_trials)
    onsets = task.lead + np.concatenate([[0.0], np.cumsum(steps[:-1])])
    onsets = np.round(onsets * sfreq) / sfreq
    if kind == "p300":
        targets = max(1, round(n_trials / TARGET_RATIO))
        labels = ["Target"] * targets + ["NonTarget"] * (n_trials - targets)
    else:
        labels = [classes[i % len(classes)] for i in range(n_trials)]
    labels = [labels[i] for i in rng.permutation(n_trials)]
    n_times = int(np.ceil((onsets[-1] + max(task.duration, 1.0) + task.lead) * sfreq))
    return Schedule(onsets, labels, n_times, sfreq)


def brain_activity(
    rng: np.random.Generator, kind: str, subject: Subject, schedule: Schedule, effect: float, rhythm_gain: float
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Time courses of the sources, in microvolts at each source's own electrode.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    kind : {"imagery", "p300", "ssvep"}
        The task.
    subject : Subject
        Who does it.
    schedule : Schedule
        The events.
    effect : float
        Factor on everything that differs between classes; 0 leaves nothing to decode.
    rhythm_gain : float
        Factor on the amplitude of the rhythms.

    Returns
    -------
    activity : dict of str to array of shape (n_times,)
        One entry a source.
    trials : list of dict
        What was done in each trial.
    """
    # the rhythms are drawn first and in every task, the task's own numbers after them
    sensorimotor = _sensorimotor_rhythms(rng, subject, schedule)
    activity = _posterior_alpha(rng, subject, schedule)
    respond = {"imagery": _imagery, "p300": _oddball, "ssvep": _flicker}[kind]
    evoked, power, trials = respond(rng, subject, schedule, effect)
    for (area, band), wave in sensorimotor.items():
        envelope = np.sqrt(np.maximum(power.get((area, band), 1.0), 0.0))
        activity[area] = activity.get(area, 0.0) + envelope * wave
    activity = {name: rhythm_gain * wave for name, wave in activity.items()}
    for name, wave in evoked.items():
        activity[name] = activity.get(name, 0.0) + wave
    return activity, trials


def _sensorimotor_rhythms(rng, subject, schedule):
    """Mu and beta of both hand areas and the foot area, at rest: {(area, band): wave in uV}."""
    size = (3, schedule.n_times, schedule.sfreq)
    mu = rhythm(rng, *size, subject.mu_peak, 0.9)
    beta = rhythm(rng, *size, subject.beta_peak, 1.8)
    foot = float(np.mean(subject.mu_uv)), float(np.mean(subject.beta_uv))
    waves = {}
    for i, area in enumerate(AREAS):
        mu_uv = (*subject.mu_uv, 0.6 * foot[0])[i]
        beta_uv = (*subject.beta_uv, foot[1])[i]
        # mu is arch-shaped: it carries a phase-locked harmonic at twice its frequency
        arch = np.real(mu[i] ** 2 / np.maximum(np.abs(mu[i]), 1e-12))
        waves[area, "mu"] = mu_uv * (mu[i].real + 0.2 * arch)
        waves[area, "beta"] = beta_uv * beta[i].real
    return waves


def _posterior_alpha(rng, subject, schedule):
    """Alpha of three posterior sources that share half of their power."""
    waves = rhythm(rng, 4, schedule.n_times, schedule.sfreq, subject.alpha_peak, 0.7).real
    names = ("alpha_left", "alpha_right", "alpha_medial")
    shares = (1.0, 1.0, 0.7)
    return {
        name: share * subject.alpha_uv * np.sqrt(0.5) * (waves[3] + waves[i])
        for i, (name, share) in enumerate(zip(names, shares, strict=True))
    }


def _imagery(rng, subject, schedule, effect):
    """Power of mu and beta relative to rest: desynchronisation during imagery, beta rebound after it."""
    time = schedule.times
    power = {(area, band): np.ones(len(time)) for area in AREAS for band in ("mu", "beta")}
    end = TASKS["imagery"].duration
    trials = []
    for onset, label in zip(schedule.onsets, schedule.labels, strict=True):
        effort = float(np.clip(rng.normal(1.0, 0.25), 0.0, 1.4))
        if rng.uniform() < 0.05:  # a lapse of attention
            effort = 0.0
        depth = float(np.clip(effect * effort * subject.erd_depth, 0.0, 0.95))
        if label == "feet":
            loss = {"foot": depth, "hand_left": -0.3 * depth, "hand_right": -0.3 * depth}
        else:
            contra, ipsi = _CONTRA_IPSI[label]
            loss = {contra: depth, ipsi: depth * (1.0 - subject.laterality)}
        span = slice(*np.searchsorted(time, (onset, onset + end + 2.5)))
        since = time[span] - onset
        course = smooth_step(since, subject.erd_onset + 0.15, 0.08) * smooth_step(-since, -(end + 0.3), 0.12)
        rebound = np.exp(-0.5 * ((since - end - 1.1) / 0.35) ** 2) * subject.beta_rebound * min(effect, 1.0) * effort
        for area, amount in loss.items():
            power[area, "mu"][span] -= amount * course
            power[area, "beta"][span] += (rebound if amount > 0 else 0.0) - 0.8 * amount * course
        trials.append({"effort": effort, "erd": {area: float(amount) for area, amount in loss.items()}})
    return {}, power, trials


def _bump(time, latency, width):
    return np.exp(-0.5 * ((time - latency) / width) ** 2)


def _oddball(rng, subject, schedule, effect):
    """N1 and P2 to every stimulus, a P300 to targets."""
    names = ("n1_left", "n1_right", "visual", "vertex", "parietal")
    evoked = {name: np.zeros(schedule.n_times) for name in names}
    trials = []
    for onset, label in zip(schedule.onsets, schedule.labels, strict=True):
        size = float(np.exp(rng.normal(-0.02, 0.2)))
        latency = float(subject.p300_latency + rng.normal(0, 0.02))
        p300 = effect * subject.p300_uv * size if label == "Target" else 0.0
        start = round(onset * schedule.sfreq)
        since = np.arange(min(int(1.1 * schedule.sfreq), schedule.n_times - start)) / schedule.sfreq
        span = slice(start, start + len(since))
        evoked["visual"][span] += 2.0 * size * _bump(since, 0.10, 0.018)
        for side in ("n1_left", "n1_right"):
            evoked[side][span] += subject.n1_uv * size * _bump(since, 0.165, 0.022)
        evoked["vertex"][span] += 2.5 * size * _bump(since, 0.225, 0.03)
        # the P300 rises faster than it falls
        width = np.where(since < latency, 0.055, 0.09)
        evoked["parietal"][span] += p300 * _bump(since, latency, width)
        trials.append({"p300_uv": p300, "p300_latency": latency})
    return evoked, {}, trials


def _flicker(rng, subject, schedule, effect):
    """A response at the stimulus frequency and two harmonics, phase-locked to the stimulus."""
    evoked = {"visual": np.zeros(schedule.n_times)}
    time = schedule.times
    end = TASKS["ssvep"].duration
    trials = []
    for onset, label in zip(schedule.onsets, schedule.labels, strict=True):
        frequency = float(label)
        size = float(effect * np.exp(rng.normal(-0.02, 0.2)))
        since = time - onset - subject.ssvep_delay
        course = smooth_step(since, 0.1, 0.03) * smooth_step(-since, -end, 0.03)
        wave = sum(
            uv * np.cos(2 * np.pi * harmonic * frequency * since)
            for harmonic, uv in enumerate(subject.ssvep_uv, start=1)
            if harmonic * frequency < schedule.sfreq / 2
        )
        evoked["visual"] += size * course * wave
        trials.append({"frequency": frequency, "ssvep_uv": size * subject.ssvep_uv[0]})
    return evoked, {}, trials
