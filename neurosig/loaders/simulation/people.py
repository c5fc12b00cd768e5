"""Who is recorded: what differs between subjects, and between sessions of one subject."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurosig.loaders.simulation.head import CHANNELS, REFERENCE, SOURCES, leadfield, standard_head

__all__ = ["Session", "Stream", "Subject", "draw_session", "draw_subject", "stream"]

BAD_CHANNEL_KINDS = ("flat", "noisy", "drift")
BAD_CHANNEL_RISK = 0.06  # at the rim of the cap


class Stream(enum.IntEnum):
    """What random numbers are drawn for; each has its own stream, so that one never shifts another's."""

    SUBJECT = 0
    SESSION = 1
    SCHEDULE = 2
    ACTIVITY = 3
    BACKGROUND = 4
    ARTIFACTS = 5
    POPULATION = 6


def stream(seed: int, purpose: Stream, subject: int = 0, session: int = 0, run: int = 0) -> np.random.Generator:
    """The random numbers for one purpose in one recording, whatever else is drawn before or beside."""
    key = (int(purpose), subject, session, run)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


@dataclass(frozen=True)
class Subject:
    """What is particular to one subject. Amplitudes are microvolts at the source's own electrode."""

    number: int
    skill: float  # 0 to 1: control over the task's brain response; below 0.2 a non-responder
    mu_peak: float  # Hz
    beta_peak: float  # Hz
    alpha_peak: float  # Hz
    mu_uv: tuple[float, float]  # rms, left and right hand area
    beta_uv: tuple[float, float]  # rms
    alpha_uv: float  # rms
    erd_depth: float  # fraction of mu power lost contralaterally during imagery
    laterality: float  # 1: nothing is lost ipsilaterally, 0: as much as contralaterally
    erd_onset: float  # s after the cue
    beta_rebound: float  # gain in beta power after imagery, as a fraction
    background_uv: float  # rms over the cap
    exponent: float  # of the 1/f power spectrum
    p300_latency: float  # s
    p300_uv: float  # peak
    n1_uv: float  # peak, negative
    ssvep_uv: tuple[float, float, float]  # amplitude of the fundamental and two harmonics
    ssvep_delay: float  # s
    blink_rate: float  # a minute
    blink_uv: float  # peak
    muscle_rate: float  # a minute
    source_shift_mm: Mapping[str, tuple[float, float, float]]  # MNI

    def to_dict(self) -> dict[str, Any]:
        """The parameters as a dictionary."""
        return dataclasses.asdict(self)


def draw_subject(seed: int, number: int) -> Subject:
    """The subject of that number: the same whichever others are simulated."""
    rng = stream(seed, Stream.SUBJECT, number)
    # Skill follows a golden-ratio sequence from a random start: any few subjects in a row cover weak and strong
    # ones evenly, which independent draws do not promise in so small a sample.
    start = stream(seed, Stream.POPULATION).uniform()
    skill = float((start + number * 0.6180339887498949) % 1.0)
    control = float(np.clip((skill - 0.1) / 0.5, 0.0, 1.0)) ** 0.7
    mu = rng.uniform(5.0, 8.5)
    fundamental = 1.0 + 3.5 * control
    return Subject(
        number=number,
        skill=skill,
        mu_peak=float(rng.uniform(9.0, 12.5)),
        beta_peak=float(rng.uniform(18.0, 23.0)),
        alpha_peak=float(rng.uniform(8.8, 11.2)),
        mu_uv=(float(mu * rng.uniform(0.85, 1.15)), float(mu * rng.uniform(0.85, 1.15))),
        beta_uv=(float(0.4 * mu * rng.uniform(0.85, 1.15)), float(0.4 * mu * rng.uniform(0.85, 1.15))),
        alpha_uv=float(rng.uniform(4.0, 10.0)),
        erd_depth=0.85 * control,
        laterality=float(rng.uniform(0.55, 0.9)),
        erd_onset=float(rng.uniform(0.4, 0.7)),
        beta_rebound=float(rng.uniform(0.2, 0.6)) * control,
        background_uv=float(rng.uniform(8.0, 12.0)),
        exponent=float(rng.uniform(1.0, 1.5)),
        p300_latency=float(rng.uniform(0.31, 0.44)),
        p300_uv=5.0 + 9.0 * control,
        n1_uv=-float(rng.uniform(2.5, 5.0)),
        ssvep_uv=(fundamental, fundamental * float(rng.uniform(0.3, 0.6)), fundamental * float(rng.uniform(0.1, 0.3))),
        ssvep_delay=float(rng.uniform(0.1, 0.16)),
        blink_rate=float(rng.uniform(8.0, 18.0)),
        blink_uv=float(rng.uniform(110.0, 200.0)),
        muscle_rate=float(rng.uniform(0.5, 2.5)),
        source_shift_mm={name: tuple(rng.normal(0, 3.0, 3).tolist()) for name in SOURCES},
    )


@dataclass(frozen=True)
class Session:
    """One sitting: how the cap lies and how the amplifier behaves, and the leadfields that follow.

    Parameters
    ----------
    ch_names : tuple of str
        The electrodes.
    electrodes : array of shape (n_channels, 3)
        Where they really lie, metres, head coordinates.
    topographies : dict of str to array of shape (n_channels,)
        Potential in volts of each source when it is +1 uV at its electrode of the standard cap, against
        linked mastoids.
    source_positions : dict of str to array of shape (3,)
        Metres, head coordinates.
    source_orientations : dict of str to array of shape (3,)
        Unit vectors.
    background : array of shape (n_channels, n_dipoles)
        Mixing of independent unit-variance cortical dipoles: volts, for 1 uV rms over the standard cap.
    gains : array of shape (n_channels,)
        Amplifier gains, near 1.
    noise_uv : array of shape (n_channels,)
        White noise of electrode and amplifier, rms.
    rhythm_gain : float
        Factor on the subject's rhythms in this session.
    bad_channels : dict of str to str
        Channel to what is wrong with it: "flat", "noisy" or "drift".
    """

    ch_names: tuple[str, ...]
    electrodes: np.ndarray
    topographies: Mapping[str, np.ndarray]
    source_positions: Mapping[str, np.ndarray]
    source_orientations: Mapping[str, np.ndarray]
    background: np.ndarray
    gains: np.ndarray
    noise_uv: np.ndarray
    rhythm_gain: float
    bad_channels: Mapping[str, str]


def draw_session(seed: int, subject: Subject, session: int, ch_names: tuple[str, ...], bad_channels: bool) -> Session:
    """Place the cap on the subject and solve the forward problem.

    Parameters
    ----------
    seed : int
        Seed of the simulation.
    subject : Subject
        Whose head.
    session : int
        Number of the session, from 0.
    ch_names : tuple of str
        Names of mne's standard_1005 montage.
    bad_channels : bool
        Whether some electrodes lose contact.
    """
    head = standard_head()
    rng = stream(seed, Stream.SESSION, subject.number, session)
    # Everything is drawn for the whole standard montage, so that a channel's fate does not depend on which others are
    # asked for.
    order = {name: i for i, name in enumerate(head.electrodes)}
    rows = [order[name] for name in ch_names]
    turn = rng.normal(0, np.deg2rad(1.5), 3)  # the cap sits askew by some 2.5 mm
    scatter = rng.normal(0, 0.0015, (len(order), 3))
    gains = np.exp(rng.normal(0, 0.05, len(order)))[rows]
    noise_uv = np.exp(rng.normal(np.log(0.8), 0.35, len(order)))[rows]
    rhythm_gain = float(np.exp(rng.normal(0, 0.12)))
    fate = rng.uniform(size=len(order))
    kinds = rng.integers(len(BAD_CHANNEL_KINDS), size=len(order))

    standard = np.array(list(head.electrodes.values()))
    placed = standard + np.cross(turn, standard - head.centre) + scatter
    references = placed[[order[name] for name in REFERENCE]]
    positions, orientations = _place_sources(subject)
    topographies, background = _project(seed, subject, positions, orientations, placed[rows], references)
    bad = {}
    if bad_channels:
        # about one in a session of the default cap; the rim of a cap loses contact most easily
        height = head.radial(standard)[:, 2]
        risk = BAD_CHANNEL_RISK * np.interp(height, (0.2, 0.8), (1.0, 0.15))
        bad = {name: BAD_CHANNEL_KINDS[kinds[i]] for name, i in zip(ch_names, rows, strict=True) if fate[i] < risk[i]}
    return Session(
        ch_names, placed[rows], topographies, positions, orientations, background, gains, noise_uv, rhythm_gain, bad
    )


def _place_sources(subject: Subject) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Where the subject's sources lie (metres, head coordinates) and where they point (unit vectors)."""
    head = standard_head()
    positions, orientations = {}, {}
    for name, source in SOURCES.items():
        position = head.positions(np.array([source.mni]) + subject.source_shift_mm[name])
        direction = head.radial(position)[0] + head.mri_to_head[:3, :3] @ np.array(source.tangential)
        positions[name] = position[0]
        orientations[name] = direction / np.linalg.norm(direction)
    return positions, orientations


def _project(
    seed: int, subject: Subject, positions: Mapping[str, np.ndarray], orientations: Mapping[str, np.ndarray],
    electrodes: np.ndarray, references: np.ndarray,
) -> tuple[dict[str, np.ndarray], np.ndarray]:  # fmt: skip
    """Topographies of the named sources and the mixing of the cortical background, as `Session` holds them.

    Both are scaled at the standard cap, so that amplitudes in microvolts mean the same whichever electrodes there are.
    """
    head = standard_head()
    cap = np.array([head.electrodes[name] for name in (*CHANNELS, *REFERENCE)])
    sites = np.vstack([electrodes, references, cap])
    n = len(electrodes)

    def potentials(points: np.ndarray, directions: np.ndarray, skull: bool) -> tuple[np.ndarray, np.ndarray]:
        field = np.einsum("csx,sx->cs", leadfield(points, sites, skull=skull), directions)
        here = field[:n] - field[n : n + 2].mean(axis=0)
        return here, field[n + 2 : -2] - field[-2:].mean(axis=0)

    topographies: dict[str, np.ndarray] = {}
    inner = [name for name, source in SOURCES.items() if source.skull]
    outer = [name for name, source in SOURCES.items() if not source.skull]
    dipoles = np.vstack([[positions[name] for name in inner], head.cortex])
    directions = np.vstack([[orientations[name] for name in inner], _background_orientations(seed, subject.number)])
    here, there = potentials(dipoles, directions, skull=True)
    background = here[:, len(inner) :] / np.sqrt(np.mean(np.sum(there[:, len(inner) :] ** 2, axis=1)))
    eyes = potentials(
        np.array([positions[name] for name in outer]), np.array([orientations[name] for name in outer]), skull=False
    )
    for names, field, scale in ((inner, here, there), (outer, *eyes)):
        for i, name in enumerate(names):
            topographies[name] = field[:, i] / scale[CHANNELS.index(SOURCES[name].electrode), i] * 1e-6
    return topographies, background * 1e-6


def _background_orientations(seed: int, subject: int) -> np.ndarray:
    """Cortical dipoles point outward on average, tilted at random as the folds go: (n_dipoles, 3)."""
    head = standard_head()
    rng = stream(seed, Stream.SUBJECT, subject, 1)
    direction = head.radial(head.cortex) + rng.normal(0, 0.6, head.cortex.shape)
    return direction / np.linalg.norm(direction, axis=1, keepdims=True)
