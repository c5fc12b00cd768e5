"""Simulated EEG with known truth: motor imagery, P300 and SSVEP recordings from a forward model.

A recording is made the way a real one arises. Dipoles in mne's packaged head carry the task's response, the resting
rhythms and a 1/f background; a spherical forward solution brings them to electrodes that lie a little differently in
each session; then come eyes, muscles, movement, mains, bad electrodes and the amplifier. What was put in is handed out
beside the data as the truth.
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

__all__ = ["KINDS", "SimulatedRecording", "default_processing", "simulate_eeg", "simulate_recordings"]

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
