"""Resting fMRI as it arises: networks of neural activity, the haemodynamic response, noise, movement, scanners.

Each network is an Ornstein-Uhlenbeck process on a fine time grid, convolved with nilearn's haemodynamic response and
sampled at the repetition time, so that runs of different repetition times are of the same brain. All variances are
closed forms, not estimated from the draw: what the truth says is what an endless run would show.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from neurosig.core.errors import UsageError
from neurosig.loaders.fmri_clean import check_t_r
from neurosig.loaders.simulation.design import check_choice, check_number

__all__ = ["LABELS", "FmriDesign", "Person", "Population", "bold_filter", "draw_person", "draw_population", "draw_run"]

LABELS = ("connectivity", "autocorrelation", "both")
CLASSES = ("control", "patient")
GRID = 0.2  # s; longest step of the neural time grid
RESPONSE = 32.0  # s; length of the haemodynamic response
TIME_CONSTANT = 3.0  # s; of the networks' activity
BOLD = 0.8  # percent signal change, standard deviation of what neurons cause
NOISE_CONSTANT = 2.0  # s; of the scanner's and the body's noise
RESOLUTION = 1e-4  # percent; coarser than the last bits in which platforms differ
_PURPOSES = {
    name: 100 + i for i, name in enumerate(("population", "site", "person", "neural", "noise", "motion", "gaps"))
}


def stream(seed: int, purpose: str, *key: int) -> np.random.Generator:
    """The random numbers for one purpose, whatever else is drawn before or beside."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_PURPOSES[purpose], *key))))


@dataclass(frozen=True)
class FmriDesign:
    """The arguments of `neurosig.loaders.simulated.simulate_fmri`, complete and valid; times are one a site."""

    n_subjects: int
    n_sessions: int
    n_runs: int
    n_sites: int
    n_times: tuple[int, ...]
    t_r: tuple[float, ...]
    n_regions: int
    n_networks: int
    label: str | None
    effect: float
    noise: float
    motion: float
    site_effect: float
    missing: float
    seed: int

    @classmethod
    def checked(
        cls, *, n_subjects: Any, n_sessions: Any, n_runs: Any, n_sites: Any, n_times: Any, t_r: Any, n_regions: Any,
        n_networks: Any, label: Any, effect: Any, noise: Any, motion: Any, site_effect: Any, missing: Any,
        random_state: Any,
    ) -> FmriDesign:  # fmt: skip
        """Fill in what was left open.

        Raises
        ------
        UsageError
            If an argument makes no sense; the message says what would.
        """
        if label is not None:
            check_choice("label", label, LABELS)
        n_sites = _count("n_sites", n_sites)
        # two networks whose coupling differs, one whose time constant differs
        least = {None: 1, "connectivity": 2, "autocorrelation": 1, "both": 3}[label]
        n_networks = _count("n_networks", n_networks, least)
        missing = check_number("missing", missing, 0.0, "(share of a run's regions)")
        if missing >= 1:
            raise UsageError(f"missing must lie below 1, the share of a run's regions, got {missing:g}")
        return cls(
            n_subjects=_count("n_subjects", n_subjects),
            n_sessions=_count("n_sessions", n_sessions),
            n_runs=_count("n_runs", n_runs),
            n_sites=n_sites,
            n_times=tuple(_count("n_times", value, 2) for value in _each_site("n_times", n_times, n_sites)),
            t_r=tuple(_repetition_time(value) for value in _each_site("t_r", t_r, n_sites)),
            n_regions=_count("n_regions", n_regions, n_networks),
            n_networks=n_networks,
            label=label,
            effect=check_number("effect", effect, 0.0, "(0 leaves nothing to decode, 1 is typical)"),
            noise=check_number("noise", noise, 0.0, "(its standard deviation over that of the signal)"),
            motion=check_number("motion", motion, 0.0, "(0 is none, 1 is typical)"),
            site_effect=check_number("site_effect", site_effect, 0.0, "(0 is none, 1 is typical)"),
            missing=missing,
            seed=_count("random_state", random_state, 0),
        )

    def select(self, subjects: Sequence[int | str] | None) -> list[int]:
        """The numbers of the subjects to make."""
        everyone = range(1, self.n_subjects + 1)
        if subjects is None:
            return list(everyone)
        wanted = [str(subject) for subject in ([subjects] if isinstance(subjects, int | str) else subjects)]
        known = {str(number): number for number in everyone}
        unknown = [subject for subject in wanted if subject not in known]
        if unknown or not wanted:
            raise UsageError(
                f"subjects must be among 1 to {self.n_subjects}, got {', '.join(unknown) or 'none'}; raise n_subjects "
                "to have more"
            )
        return [known[subject] for subject in dict.fromkeys(wanted)]

    def carries(self, kind: str) -> bool:
        """Whether the label is carried by "connectivity" or "autocorrelation"."""
        return self.label in (kind, "both")

    @property
    def coupled(self) -> int:
        """How many networks are coupled: that whose autocorrelation tells the label stands alone."""
        return self.n_networks - self.carries("autocorrelation")


@dataclass(frozen=True)
class Population:
    """What all subjects share.

    Parameters
    ----------
    networks : array of int of shape (n_regions,)
        The network of each region.
    loadings : array of shape (n_regions,)
        Correlation of a region's neural signal with its network.
    correlation : array of shape (n_networks, n_networks)
        Of the networks, in people between the two classes.
    positions : array of shape (n_regions, 3)
        Metres.
    movement : array of shape (n_regions, 6)
        Percent signal change for a millimetre (or 20 mrad) of movement.
    patterns, gains : array of shape (n_sites, n_regions) and (n_sites,)
        Each scanner's own noise over the regions, and its level of noise relative to the others.
    """

    networks: np.ndarray
    loadings: np.ndarray
    correlation: np.ndarray
    positions: np.ndarray
    movement: np.ndarray
    patterns: np.ndarray
    gains: np.ndarray


@dataclass(frozen=True)
class Person:
    """What is particular to one subject.

    Parameters
    ----------
    number, site : int
        Which, and measured where (from 0).
    label : {"control", "patient"} or None
        The class.
    score : float
        How far the label's effect goes in this person: about 1 in patients, -1 in controls.
    correlation : array of shape (n_networks, n_networks)
        Of this person's networks.
    time_constants : array of shape (n_networks,)
        Of the networks' activity, seconds.
    movement : float
        Restlessness, 1 on average.
    age : float
        Years; tells nothing.
    """

    number: int
    site: int
    label: str | None
    score: float
    correlation: np.ndarray
    time_constants: np.ndarray
    movement: float
    age: float


def draw_population(design: FmriDesign) -> Population:
    """Draw what all subjects of a design share."""
    rng = stream(design.seed, "population")
    networks = np.arange(design.n_regions) * design.n_networks // design.n_regions
    loadings = rng.uniform(0.65, 0.95, design.n_regions)
    factors = rng.normal(0, 0.5, (design.n_networks, 2))
    coupled = factors @ factors.T + np.eye(design.n_networks)
    scale = np.sqrt(np.diag(coupled))
    coupled /= np.outer(scale, scale)
    coupled[design.coupled :] = coupled[:, design.coupled :] = 0
    np.fill_diagonal(coupled, 1)
    movement = 0.1 * rng.normal(size=(design.n_regions, 6)) + 0.1 * rng.normal(size=6)
    sites = [stream(design.seed, "site", site) for site in range(design.n_sites)]
    return Population(
        networks=networks,
        loadings=loadings,
        correlation=coupled,
        positions=_ellipsoid(design.n_regions),
        movement=movement,
        patterns=np.array([rng.normal(size=design.n_regions) for rng in sites]),
        gains=np.array([math.exp(0.3 * design.site_effect * rng.normal()) for rng in sites]),
    )


def draw_person(design: FmriDesign, population: Population, number: int) -> Person:
    """Draw one subject. Classes alternate, and each site has as many of both as can be."""
    rng = stream(design.seed, "person", number)
    patient, site = (number - 1) % 2, (number - 1) // 2 % design.n_sites
    score = (2 * patient - 1) + 0.5 * rng.normal()
    if design.label is None:
        score = 0.0
    size = design.n_networks
    shift = np.zeros((size, size))
    if design.carries("connectivity"):
        shift[0, 1] = 0.2 * design.effect * score
    own = np.triu(0.1 * rng.normal(size=(size, size)), 1)
    own[:, design.coupled :] = 0
    shift = np.triu(shift + own, 1)
    constants = np.full(size, TIME_CONSTANT)
    if design.carries("autocorrelation"):
        constants[-1] *= math.exp(0.5 * design.effect * score)
    return Person(
        number=number,
        site=site,
        label=None if design.label is None else CLASSES[patient],
        score=float(score),
        correlation=_shifted(population.correlation, shift + shift.T),
        time_constants=constants,
        movement=float(np.exp(0.4 * rng.normal() - 0.08)),
        age=float(np.round(rng.uniform(18, 60), 1)),
    )


def _shifted(correlation: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The correlation matrix nearest to this one moved on Fisher's scale."""
    moved = np.tanh(np.arctanh(correlation - np.eye(len(correlation))) + shift)
    np.fill_diagonal(moved, 1)
    values, vectors = np.linalg.eigh(moved)
    moved = (vectors * np.maximum(values, 0.05)) @ vectors.T
    scale = np.sqrt(np.diag(moved))
    return moved / np.outer(scale, scale)


def _ellipsoid(n_regions: int) -> np.ndarray:
    """Places spread evenly over a cortex-sized ellipsoid, from bottom to top: (n_regions, 3) in metres."""
    rank = np.arange(n_regions) + 0.5
    height = 2 * rank / n_regions - 1
    turn = np.pi * (1 + math.sqrt(5)) * rank
    flat = np.sqrt(1 - height**2)
    place = np.column_stack([flat * np.cos(turn), flat * np.sin(turn), height])
    return place * [0.062, 0.08, 0.052] + [0, -0.018, 0.015]


@functools.lru_cache(maxsize=256)
def bold_filter(t_r: float, time_constant: float) -> tuple[np.ndarray, float, int]:
    """From neural activity to the BOLD signal of unit variance.

    Parameters
    ----------
    t_r : float
        Repetition time in seconds.
    time_constant : float
        Of the neural activity, an Ornstein-Uhlenbeck process of unit variance, in seconds.

    Returns
    -------
    response : array of shape (n_steps,)
        nilearn's Glover response on the neural grid, scaled so that the result has variance 1.
    decay : float
        Correlation of neighbouring steps of the activity.
    steps : int
        Steps of the grid in one repetition time.
    """
    from nilearn.glm.first_level import glover_hrf
    from scipy.linalg import toeplitz

    steps = math.ceil(t_r / GRID - 1e-9)
    response = glover_hrf(t_r, oversampling=steps, time_length=RESPONSE)
    decay = math.exp(-t_r / steps / time_constant)
    covariance = toeplitz(decay ** np.arange(len(response)))
    return response / math.sqrt(response @ covariance @ response), decay, steps


def _bold(rng: np.random.Generator, n_signals: int, n_times: int, t_r: float, time_constant: float) -> np.ndarray:
    """BOLD signals of independent neural processes, variance 1: (n_signals, n_times)."""
    from scipy.signal import oaconvolve

    response, decay, steps = bold_filter(t_r, time_constant)
    activity = _autoregressive(rng, n_signals, n_times * steps + len(response) - 1, decay)
    return oaconvolve(activity, response[np.newaxis], mode="valid", axes=1)[:, ::steps]


def _autoregressive(rng: np.random.Generator, n_signals: int, n_times: int, decay: float) -> np.ndarray:
    """Stationary first-order processes of variance 1: (n_signals, n_times)."""
    from scipy.signal import lfilter

    draws = rng.standard_normal((n_signals, n_times))
    draws[:, 1:] *= math.sqrt(1 - decay**2)
    return lfilter([1.0], [1.0, -decay], draws, axis=1)


def draw_run(
    design: FmriDesign, population: Population, person: Person, session: int, run: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Simulate one run.

    Parameters
    ----------
    design : FmriDesign
        What was asked for.
    population, person : Population, Person
        Whose brain, and measured where.
    session, run : int
        Which run; each has its own random numbers.

    Returns
    -------
    data : array of shape (n_regions, n_times)
        Percent signal change, mean 0; NaN throughout where a region is missing.
    truth : dict
        ``network_series`` (n_networks, n_times; unit variance), ``confounds`` (DataFrame named as fMRIPrep does),
        ``fd`` (mm, one a volume), ``missing`` (region numbers).
    """
    import pandas as pd

    key = (person.number, session, run)
    t_r, n_times = design.t_r[person.site], design.n_times[person.site]
    rng = stream(design.seed, "neural", *key)
    size = design.coupled
    series = np.empty((design.n_networks, n_times))
    mixing = np.linalg.cholesky(person.correlation[:size, :size])
    series[:size] = mixing @ _bold(rng, size, n_times, t_r, TIME_CONSTANT)
    if size < design.n_networks:
        series[size:] = _bold(rng, 1, n_times, t_r, float(person.time_constants[-1]))
    own = _bold(rng, design.n_regions, n_times, t_r, TIME_CONSTANT)
    share = population.loadings[:, np.newaxis]
    data = BOLD * (share * series[population.networks] + np.sqrt(1 - share**2) * own)

    rng = stream(design.seed, "noise", *key)
    decay = math.exp(-t_r / NOISE_CONSTANT)
    level = BOLD * design.noise * population.gains[person.site]
    data += level * _autoregressive(rng, design.n_regions, n_times, decay)
    scanner = _autoregressive(rng, 1, n_times, decay)
    data += 0.25 * BOLD * design.site_effect * population.patterns[person.site][:, np.newaxis] * scanner

    moved, displacement = _movement(stream(design.seed, "motion", *key), n_times, t_r, design.motion * person.movement)
    data += population.movement @ (moved * np.array([1, 1, 1, 50, 50, 50])[:, np.newaxis])
    # a sudden move disturbs the volume that it falls into, all regions alike
    data += 0.5 * displacement * population.loadings[:, np.newaxis]
    data -= data.mean(axis=1, keepdims=True)
    data = np.round(data / RESOLUTION) * RESOLUTION

    gone = np.flatnonzero(stream(design.seed, "gaps", *key).uniform(size=design.n_regions) < design.missing)
    gone = gone[: design.n_regions - 1]
    data[gone] = np.nan
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    confounds = pd.DataFrame(moved.T, columns=names).assign(framewise_displacement=displacement)
    return data, {"network_series": series, "confounds": confounds, "fd": displacement, "missing": gone.tolist()}


def _movement(rng: np.random.Generator, n_times: int, t_r: float, amount: float) -> tuple[np.ndarray, np.ndarray]:
    """Head movement (6, n_times; mm and rad) that creeps and now and then jumps, and Power's displacement in mm."""
    steps = 0.012 * math.sqrt(t_r) * rng.standard_normal((6, n_times))
    jumps = rng.uniform(size=n_times) < 0.6 * t_r / 60
    steps += np.where(jumps, 0.36 * rng.standard_normal((6, n_times)), 0.0)
    steps[:, 0] = 0
    moved = amount * np.cumsum(steps, axis=1)
    moved -= moved.mean(axis=1, keepdims=True)
    moved[3:] /= 50  # millimetres on a sphere of 50 mm
    change = np.abs(np.diff(moved, axis=1, prepend=moved[:, :1]))
    return moved, change[:3].sum(axis=0) + 50 * change[3:].sum(axis=0)


def _repetition_time(t_r: Any) -> float:
    return check_t_r(check_number("t_r", t_r, 0.1, "seconds"), "simulate_fmri")


def _each_site(name: str, value: Any, n_sites: int) -> tuple[Any, ...]:
    if isinstance(value, Real) or not isinstance(value, Sequence | np.ndarray) or isinstance(value, str):
        return (value,) * n_sites
    if len(value) != n_sites:
        raise UsageError(f"{name} takes one value, or one for each of {n_sites} sites, got {len(value)}")
    return tuple(value)


def _count(name: str, value: Any, least: int = 1) -> int:
    whole = isinstance(value, Real) and not isinstance(value, bool) and float(value).is_integer()
    if not whole or value < least:
        raise UsageError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return int(value)
