"""Simulated EEG and fMRI with known truth: motor imagery, P300 and SSVEP from a forward model, resting networks.

An EEG recording is made the way a real one arises. Dipoles in mne's packaged head carry the task's response, the
resting rhythms and a 1/f background; a spherical forward solution brings them to electrodes that lie a little
differently in each session; then come eyes, muscles, movement, mains, bad electrodes and the amplifier. What was put in
is handed out beside the data as the truth. How fMRI runs are made is said in `neurosig.loaders.simulation.fmri`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import UsageError
from neurosig.core.signals import BANDS, Processing, SignalDataset, SignalSpec

if TYPE_CHECKING:
    import mne
    import numpy as np

    from neurosig.loaders.simulation.design import Design
    from neurosig.loaders.simulation.people import Session, Subject
    from neurosig.loaders.simulation.tasks import Schedule

__all__ = ["KINDS", "SimulatedRecording", "default_processing", "simulate_eeg", "simulate_fmri", "simulate_recordings"]

KINDS = ("imagery", "p300", "ssvep")
_WINDOWS = {"imagery": (0.5, 3.5), "p300": (0.0, 0.8), "ssvep": (0.5, 3.5)}  # seconds after the event
_PROCESSING = {kind: Processing(*_WINDOWS[kind], fmin=low, fmax=high) for kind, (low, high) in BANDS.items()}
RESOLUTION = 1e-8  # V; the amplifier's least significant bit


@dataclass(frozen=True)
class SimulatedRecording:
    """One run of one simulated subject.

    Parameters
    ----------
    subject, session, run : str
        Which one; subjects count from "1", sessions and runs from "0".
    raw : mne.io.RawArray
        The recording: EEG in volts against linked mastoids, standard electrode positions, one annotation an event.
    truth : dict
        What was put in:

        - ``subject``: the subject's parameters (peak frequencies, depth of desynchronisation, latencies, ...);
        - ``trials``: one dict a trial with its onset, label, what the brain did, the artifacts that fall into it and
          whether it is ``bad`` (movement or an electrode pop); ``bad_epochs``: the numbers of the bad ones;
        - ``bad_channels``: name to "flat", "noisy" or "drift";
        - ``artifacts``: kind, onset, duration (s), amplitude (uV) and strongest channels of each;
        - ``line``: mains frequencies and amplitudes (uV), or None;
        - ``sources``: name to ``position`` and ``orientation`` (m, head coordinates), ``topography`` (V at each channel
          for 1 uV at the source's own electrode) and ``activity`` (uV over time; None for eyes and muscles);
        - ``background``: mixing matrix (n_channels, n_dipoles) of the cortical 1/f noise;
        - ``electrodes`` (n_channels, 3): where they really lay; ``gains`` and ``noise_uv`` of the channels.
    """

    subject: str
    session: str
    run: str
    raw: mne.io.RawArray
    truth: dict[str, Any]


def default_processing(kind: str) -> Processing:
    """How `simulate_eeg` cuts trials of a kind: MOABB's window and band for that paradigm."""
    if kind not in KINDS:
        raise UsageError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    return _PROCESSING[kind]


def simulate_recordings(
    kind: str = "imagery",
    n_subjects: int = 3,
    n_sessions: int = 2,
    n_runs: int = 2,
    n_trials: int | None = None,
    *,
    subjects: Sequence[int | str] | None = None,
    sfreq: float = 128.0,
    ch_names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    effect: float = 1.0,
    artifacts: bool | Iterable[str] = True,
    line_freq: float | None = 50.0,
    random_state: int = 0,
) -> Iterator[SimulatedRecording]:
    """Simulate continuous recordings, one at a time.

    A recording depends on `random_state`, its subject, session and run, and on how it is asked to look, but not on
    which others are made: subject 2 alone is subject 2 of all.

    Parameters
    ----------
    kind : {"imagery", "p300", "ssvep"}
        Imagined movement (desynchronised mu and beta rhythms over the opposite hand area), a visual oddball (a
        parietal P300 to targets, one stimulus in six), or flicker (occipital responses at the stimulus frequency).
    n_subjects, n_sessions, n_runs : int
        How many subjects, sessions of each and runs of each session.
    n_trials : int, optional
        Trials (stimuli) in a run; None is 20 for imagery, 120 for P300 and 21 for SSVEP.
    subjects : sequence of int or str, optional
        Make only these of the `n_subjects` (numbers from 1); None makes all.
    sfreq : float
        Sampling rate in Hz, at least 100.
    ch_names : sequence of str, optional
        Electrodes of mne's standard_1005 montage; None is a 28-channel 10-20 cap.
    classes : sequence of str, optional
        Event names. Imagery: two or three of left_hand, right_hand, feet (None: the hands). SSVEP: stimulus
        frequencies as strings (None: "10.0", "12.0", "15.0"). P300: Target and NonTarget, fixed.
    effect : float
        Factor on everything that differs between classes: 1 is a typical sample with strong and weak subjects, 0
        leaves nothing to decode.
    artifacts : bool or iterable of str
        True for all, False for none, or some of blinks, saccades, muscle, movement, pops, bad_channels, line. The
        brain signals under them stay the same.
    line_freq : float or None
        Mains frequency in Hz; None for no mains.
    random_state : int
        Seed.

    Yields
    ------
    SimulatedRecording
        Subject by subject, session by session, run by run.

    Raises
    ------
    UsageError
        If an argument makes no sense; the message says what would.

    Notes
    -----
    Values are rounded to 10 nV, an amplifier's resolution, so that the last bits of a platform's floating point do
    not reach the data.
    """
    from neurosig.loaders.simulation.design import Design

    design = Design.checked(
        kind=kind, n_subjects=n_subjects, n_sessions=n_sessions, n_runs=n_runs, n_trials=n_trials, sfreq=sfreq,
        ch_names=ch_names, classes=classes, effect=effect, artifacts=artifacts, line_freq=line_freq,
        random_state=random_state,
    )  # fmt: skip
    return _recordings(design, design.select(subjects))


def simulate_eeg(
    kind: str = "imagery",
    n_subjects: int = 3,
    n_sessions: int = 2,
    n_runs: int = 2,
    n_trials: int | None = None,
    *,
    subjects: Sequence[int | str] | None = None,
    sfreq: float = 128.0,
    ch_names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    effect: float = 1.0,
    artifacts: bool | Iterable[str] = True,
    line_freq: float | None = 50.0,
    random_state: int = 0,
    processing: Processing | None = None,
) -> SignalDataset:
    """Simulate recordings and cut them into trials.

    Parameters
    ----------
    kind : {"imagery", "p300", "ssvep"}
        Imagined movement (desynchronised mu and beta rhythms over the opposite hand area), a visual oddball (a
        parietal P300 to targets, one stimulus in six), or flicker (occipital responses at the stimulus frequency).
    n_subjects, n_sessions, n_runs : int
        How many subjects, sessions of each and runs of each session.
    n_trials : int, optional
        Trials (stimuli) in a run; None is 20 for imagery, 120 for P300 and 21 for SSVEP.
    subjects : sequence of int or str, optional
        Make only these of the `n_subjects` (numbers from 1); None makes all.
    sfreq : float
        Sampling rate in Hz, at least 100.
    ch_names : sequence of str, optional
        Electrodes of mne's standard_1005 montage; None is a 28-channel 10-20 cap.
    classes : sequence of str, optional
        Event names. Imagery: two or three of left_hand, right_hand, feet (None: the hands). SSVEP: stimulus
        frequencies as strings (None: "10.0", "12.0", "15.0"). P300: Target and NonTarget, fixed.
    effect : float
        Factor on everything that differs between classes: 1 is a typical sample with strong and weak subjects, 0
        leaves nothing to decode.
    artifacts : bool or iterable of str
        True for all, False for none, or some of blinks, saccades, muscle, movement, pops, bad_channels, line. The
        brain signals under them stay the same.
    line_freq : float or None
        Mains frequency in Hz; None for no mains.
    random_state : int
        Seed.
    processing : Processing, optional
        Band and window of the trials; None is MOABB's for the kind (`default_processing`).

    Returns
    -------
    SignalDataset
        ``X`` in volts, (n_trials, n_channels, n_times); ``y`` the event names; ``truth`` with ``trials`` (a DataFrame,
        one row a trial of ``X``) and ``recordings`` ({(subject, session, run): `SimulatedRecording.truth`}).

    Raises
    ------
    UsageError
        If an argument makes no sense; the message says what would.

    Examples
    --------
    >>> from neurosig.loaders import simulate_eeg
    >>> data = simulate_eeg(n_subjects=1, n_sessions=1, n_runs=1)
    >>> data.X.shape
    (20, 28, 385)
    """
    import numpy as np
    import pandas as pd

    from neurosig.loaders.epochs import cut_epochs, process_raw

    processing = processing or default_processing(kind)
    recordings = simulate_recordings(
        kind, n_subjects, n_sessions, n_runs, n_trials, subjects=subjects, sfreq=sfreq, ch_names=ch_names,
        classes=classes, effect=effect, artifacts=artifacts, line_freq=line_freq, random_state=random_state,
    )  # fmt: skip
    signals: list[np.ndarray] = []
    rows: list[dict[str, Any]] = []
    truths: dict[tuple[str, ...], dict[str, Any]] = {}
    spec: SignalSpec | None = None
    for recording in recordings:
        epochs = cut_epochs(process_raw(recording.raw, processing), None, processing)
        signals.append(epochs.get_data(copy=False))
        key = {"subject": recording.subject, "session": recording.session, "run": recording.run}
        # `selection` counts events in time order, as the truth counts trials
        rows.extend(key | {"trial": number} | recording.truth["trials"][number] for number in epochs.selection.tolist())
        truths[tuple(key.values())] = recording.truth
        spec = spec or SignalSpec.from_mne(
            epochs.info, montage="standard_1005", reference="linked mastoids", n_times=len(epochs.times),
            tmin=float(epochs.tmin), processing=processing,
        )  # fmt: skip
    assert spec is not None  # for the type checker: there is at least one recording
    trials = pd.DataFrame(rows)
    metadata = trials[["subject", "session", "run", "onset"]].assign(event=trials["label"])
    return SignalDataset(
        np.concatenate(signals),
        trials["label"].to_numpy(dtype=str),
        metadata,
        spec,
        name=f"simulated-{kind}",
        truth={"kind": kind, "random_state": random_state, "effect": effect, "trials": trials, "recordings": truths},
    )


def simulate_fmri(
    n_subjects: int = 20,
    n_sessions: int = 1,
    n_runs: int = 1,
    n_times: int | Sequence[int] = 200,
    *,
    t_r: float | Sequence[float] = 2.0,
    n_sites: int = 1,
    n_regions: int = 40,
    n_networks: int = 5,
    subjects: Sequence[int | str] | None = None,
    label: str | None = "connectivity",
    effect: float = 1.0,
    noise: float = 0.4,
    motion: float = 1.0,
    site_effect: float = 1.0,
    missing: float = 0.0,
    standardize: str | None = "zscore_sample",
    random_state: int = 0,
) -> SignalDataset:
    """Simulate resting fMRI of patients and controls: regions of latent networks, and what blurs them.

    A run depends on `random_state`, its subject, session and run, and on how it is asked to look, but not on which
    others are made.

    Parameters
    ----------
    n_subjects, n_sessions, n_runs : int
        How many subjects, sessions of each and runs of each session.
    n_times : int or sequence of int
        Volumes of a run; one for all, or one for each site.
    t_r : float or sequence of float
        Repetition time in seconds; one for all, or one for each site.
    n_sites : int
        Where subjects are measured; each site has as many patients as controls.
    n_regions, n_networks : int
        Regions, and latent networks that they divide among themselves.
    subjects : sequence of int or str, optional
        Make only these of the `n_subjects` (numbers from 1); None makes all.
    label : {"connectivity", "autocorrelation", "both", None}
        What tells patients from controls: how the first two networks are coupled, how slow the last network's activity
        is (which leaves correlations as they are), or both; None for no labels.
    effect : float
        Factor on everything that differs between classes: 1 is typical, 0 leaves nothing to decode.
    noise : float
        Standard deviation of the noise relative to the signal's.
    motion, site_effect : float
        Factors on head movement and on what scanners add; 1 is typical, 0 is none.
    missing : float
        Share of a run's regions that were not measured (NaN).
    standardize : {"zscore_sample", "psc", None}
        "zscore_sample" brings each region of a run to mean 0 and standard deviation 1; the others leave it in percent
        signal change.
    random_state : int
        Seed.

    Returns
    -------
    SignalDataset
        ``X`` of shape (n_runs, n_regions, n_times), or a list of (n_regions, n_times) where lengths differ; ``y``
        "control" and "patient"; metadata with ``site``, ``t_r`` (s), ``n_volumes``, ``kept``, ``age`` (years),
        ``mean_fd`` (mm) and ``score`` (how far a person's effect goes: a target for regression); ``truth`` with
        ``networks`` (of each region), ``loadings``, ``correlation`` (of the networks), ``label_networks``,
        ``subjects`` and ``recordings`` ({(subject, session, run): network_series, confounds, fd, missing}).

    Raises
    ------
    UsageError
        If an argument makes no sense; the message says what would.

    Examples
    --------
    >>> from neurosig.loaders import simulate_fmri
    >>> data = simulate_fmri(n_subjects=4, n_sites=2, t_r=[2.0, 0.8], n_times=[60, 150])
    >>> [run.shape for run in data.X]
    [(40, 60), (40, 60), (40, 150), (40, 150)]
    """
    import dataclasses

    import numpy as np
    import pandas as pd

    from neurosig.loaders.fmri_clean import UNITS
    from neurosig.loaders.simulation.fmri import FmriDesign, draw_person, draw_population, draw_run

    if standardize not in UNITS:
        raise UsageError(f"standardize must be 'zscore_sample', 'psc' or None, got {standardize!r}")
    design = FmriDesign.checked(
        n_subjects=n_subjects, n_sessions=n_sessions, n_runs=n_runs, n_sites=n_sites, n_times=n_times, t_r=t_r,
        n_regions=n_regions, n_networks=n_networks, label=label, effect=effect, noise=noise, motion=motion,
        site_effect=site_effect, missing=missing, random_state=random_state,
    )  # fmt: skip
    population = draw_population(design)
    people = [draw_person(design, population, number) for number in design.select(subjects)]
    signals: list[np.ndarray] = []
    rows: list[dict[str, Any]] = []
    truths: dict[tuple[str, ...], dict[str, Any]] = {}
    for person in people:
        for session in range(design.n_sessions):
            for run in range(design.n_runs):
                data, truth = draw_run(design, population, person, session, run)
                if standardize == "zscore_sample":
                    data = (data - data.mean(axis=1, keepdims=True)) / data.std(axis=1, ddof=1, keepdims=True)
                signals.append(data.astype(np.float32))
                key = {"subject": str(person.number), "session": str(session), "run": str(run)}
                truths[tuple(key.values())] = truth
                rows.append(
                    key
                    | {"file": f"sub-{person.number}_ses-{session}_run-{run}", "site": f"site-{person.site + 1}"}
                    | {"t_r": design.t_r[person.site], "n_volumes": design.n_times[person.site], "kept": None}
                    | {"age": person.age, "mean_fd": float(truth["fd"].mean()), "score": person.score}
                )
    periods, lengths = {row["t_r"] for row in rows}, {row["n_volumes"] for row in rows}
    names = [f"net{network + 1}_{i + 1:03d}" for i, network in enumerate(population.networks)]
    period = periods.pop() if len(periods) == 1 else None
    spec = SignalSpec(
        modality="fmri", ch_names=tuple(names), sfreq=None if period is None else 1 / period, t_r=period,
        unit="z" if standardize == "zscore_sample" else "psc", n_times=min(lengths) if len(lengths) == 1 else None,
        atlas=f"simulated-{n_regions}", positions=tuple(map(tuple, population.positions.tolist())),
        extra={"fmri": {"simulated": {"random_state": design.seed, "standardize": standardize}}},
    )  # fmt: skip
    pair = tuple(range(2)) if design.carries("connectivity") else None
    runs_each = design.n_sessions * design.n_runs
    alone = design.n_networks - 1 if design.carries("autocorrelation") else None
    return SignalDataset(
        np.stack(signals) if len(lengths) == 1 else signals,
        None if label is None else np.array([person.label for person in people for _ in range(runs_each)]),
        pd.DataFrame(rows),
        spec,
        name="simulated-fmri",
        truth={
            "kind": "fmri",
            "random_state": random_state,
            "effect": effect,
            "networks": population.networks,
            "loadings": population.loadings,
            "correlation": population.correlation,
            "label_networks": {"connectivity": pair, "autocorrelation": alone},
            "subjects": {str(person.number): dataclasses.asdict(person) for person in people},
            "recordings": truths,
        },
    )


def _recordings(design: Design, subjects: list[int]) -> Iterator[SimulatedRecording]:
    from neurosig.loaders.simulation.people import draw_session, draw_subject

    for number in subjects:
        subject = draw_subject(design.seed, number)
        for session_number in range(design.n_sessions):
            session = draw_session(
                design.seed, subject, session_number, design.ch_names, "bad_channels" in design.artifacts
            )
            for run in range(design.n_runs):
                yield _record(design, subject, session, session_number, run)


def _record(design: Design, subject: Subject, session: Session, session_number: int, run: int) -> SimulatedRecording:
    import numpy as np

    from neurosig.loaders.simulation.artifacts import add_bad_channels, add_line_noise, draw_artifacts
    from neurosig.loaders.simulation.people import Stream, stream
    from neurosig.loaders.simulation.tasks import brain_activity, draw_schedule
    from neurosig.loaders.simulation.waves import coloured_noise

    def numbers(purpose: Stream) -> np.random.Generator:
        return stream(design.seed, purpose, subject.number, session_number, run)

    schedule = draw_schedule(numbers(Stream.SCHEDULE), design.kind, design.classes, design.n_trials, design.sfreq)
    activity, trials = brain_activity(
        numbers(Stream.ACTIVITY), design.kind, subject, schedule, design.effect, session.rhythm_gain
    )
    data = sum(np.outer(session.topographies[name], wave) for name, wave in activity.items())
    rng = numbers(Stream.BACKGROUND)
    dipoles = coloured_noise(rng, session.background.shape[1], schedule.n_times, design.sfreq, subject.exponent)
    data += subject.background_uv * (session.background @ dipoles)
    sensor = 1e-6 * session.noise_uv[:, None] * rng.standard_normal(data.shape)

    transient, poor_contact, mains = numbers(Stream.ARTIFACTS).spawn(3)
    passing, log = draw_artifacts(transient, design.artifacts, subject, session, schedule.n_times, design.sfreq)
    data = session.gains[:, None] * (data + passing) + sensor
    line = None
    if "line" in design.artifacts and design.line_freq is not None:
        line = add_line_noise(mains, data, design.sfreq, design.line_freq)
    add_bad_channels(poor_contact, session, data, design.sfreq)
    data = np.round(data / RESOLUTION) * RESOLUTION

    trials = _describe_trials(design.kind, schedule, trials, log)
    truth = {
        "subject": subject.to_dict(),
        "trials": trials,
        "bad_epochs": [number for number, trial in enumerate(trials) if trial["bad"]],
        "bad_channels": dict(session.bad_channels),
        "artifacts": log,
        "line": line,
        "sources": {
            name: {
                "position": session.source_positions[name],
                "orientation": session.source_orientations[name],
                "topography": session.topographies[name],
                "activity": activity[name].astype(np.float32) if name in activity else None,
            }
            for name in session.topographies
        },
        "background": session.background,
        "electrodes": session.electrodes,
        "gains": session.gains,
        "noise_uv": session.noise_uv,
    }
    raw = _raw(design, subject.number, schedule, data)
    return SimulatedRecording(str(subject.number), str(session_number), str(run), raw, truth)


def _raw(design: Design, number: int, schedule: Schedule, data: np.ndarray) -> mne.io.RawArray:
    import mne

    from neurosig.loaders.simulation.head import standard_head
    from neurosig.loaders.simulation.tasks import TASKS

    info = mne.create_info(list(design.ch_names), design.sfreq, "eeg", verbose=False)
    info.set_montage(standard_head().montage, verbose=False)
    info["line_freq"] = design.line_freq
    info["subject_info"] = {"his_id": f"simulated-{number}"}
    raw = mne.io.RawArray(data, info, verbose=False)
    raw.set_annotations(mne.Annotations(schedule.onsets, TASKS[design.kind].duration, schedule.labels), verbose=False)
    return raw


def _describe_trials(
    kind: str, schedule: Schedule, trials: list[dict[str, Any]], log: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """One dict a trial; a trial is bad where movement or an electrode pop falls into it."""
    from neurosig.loaders.simulation.tasks import TASKS

    length = max(TASKS[kind].duration, 0.8)
    described = []
    for onset, label, trial in zip(schedule.onsets.tolist(), schedule.labels, trials, strict=True):
        within = sorted({e["kind"] for e in log if e["onset"] < onset + length and e["onset"] + e["duration"] > onset})
        bad = not {"movement", "pop"}.isdisjoint(within)
        described.append({"onset": onset, "label": label, **trial, "artifacts": within, "bad": bad})
    return described
