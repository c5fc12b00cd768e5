"""What spoils a recording: blinks, eye movements, muscle, movement, electrode pops, bad channels, mains."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurosig.loaders.simulation.people import Session, Subject
from neurosig.loaders.simulation.waves import band_noise, blink, coloured_noise, smooth_step

__all__ = ["ARTIFACTS", "add_bad_channels", "add_line_noise", "draw_artifacts"]

ARTIFACTS = ("blinks", "saccades", "muscle", "movement", "pops", "bad_channels", "line")
FLAT_NOISE_UV = 0.04  # what an amplifier shows on an input that is not connected


def draw_artifacts(
    rng: np.random.Generator, kinds: tuple[str, ...], subject: Subject, session: Session, n_times: int, sfreq: float
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Artifacts that come and go.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness; each kind takes its own child stream, so that leaving one out does not move the others.
    kinds : tuple of str
        Which of `ARTIFACTS` to make.
    subject, session : Subject, Session
        Whose head and cap.
    n_times, sfreq : int, float
        Samples in the recording, and in a second.

    Returns
    -------
    data : array of shape (n_channels, n_times)
        Their sum in volts.
    log : list of dict
        One entry an artifact: ``kind, onset, duration`` (seconds), ``amplitude_uv``, ``channels`` (where it is
        strongest first), sorted by onset.
    """
    data = np.zeros((len(session.ch_names), n_times))
    log: list[dict[str, Any]] = []
    makers = {"blinks": _blinks, "saccades": _saccades, "muscle": _muscle, "movement": _movement, "pops": _pops}
    for child, (kind, make) in zip(rng.spawn(len(makers)), makers.items(), strict=True):
        if kind in kinds:
            make(child, subject, session, data, sfreq, log)
    return data, sorted(log, key=lambda entry: entry["onset"])


def add_bad_channels(rng: np.random.Generator, session: Session, data: np.ndarray, sfreq: float) -> None:
    """Spoil the session's bad channels in `data` (n_channels, n_times), volts, in place."""
    n_times = data.shape[1]
    for name, child in zip(session.bad_channels, rng.spawn(len(session.bad_channels)), strict=True):
        row = session.ch_names.index(name)
        kind = session.bad_channels[name]
        if kind == "flat":
            data[row] = FLAT_NOISE_UV * 1e-6 * child.standard_normal(n_times)
        elif kind == "noisy":
            data[row] += 1e-6 * child.uniform(30, 60) * coloured_noise(child, 1, n_times, sfreq, 0.4)[0]
        else:
            walk = coloured_noise(child, 1, n_times, sfreq, 2.5, knee=0.05)[0]
            data[row] += 1e-6 * child.uniform(80, 160) * walk


def add_line_noise(rng: np.random.Generator, data: np.ndarray, sfreq: float, line_freq: float) -> dict[str, Any]:
    """Add mains hum and its first harmonics below Nyquist to `data` (n_channels, n_times), volts, in place.

    Returns
    -------
    dict
        ``frequencies`` in Hz and ``amplitude_uv`` of the fundamental in each channel.
    """
    n_channels, n_times = data.shape
    time = np.arange(n_times) / sfreq
    amplitude = np.exp(rng.normal(np.log(1.5), 0.5, n_channels))
    phase = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.3, n_channels)
    frequencies = []
    for harmonic, share in ((1, 1.0), (2, 0.25), (3, 0.35)):
        shift = rng.uniform(0, 2 * np.pi)
        frequency = harmonic * line_freq
        if frequency >= sfreq / 2:
            break
        frequencies.append(frequency)
        turn = np.outer(np.cos(harmonic * phase + shift), np.cos(2 * np.pi * frequency * time))
        turn -= np.outer(np.sin(harmonic * phase + shift), np.sin(2 * np.pi * frequency * time))
        data += 1e-6 * share * amplitude[:, None] * turn
    return {"frequencies": frequencies, "amplitude_uv": amplitude}


def _onsets(rng, rate, seconds, refractory):
    """Random onsets at `rate` a minute, at least `refractory` seconds apart."""
    onsets: list[float] = []
    now = 0.5
    while True:
        now += refractory + rng.exponential(max(60.0 / rate - refractory, 0.1))
        if now > seconds - 1.0:
            return onsets
        onsets.append(now)


def _note(log, session, kind, start, wave, topography, amplitude, sfreq):
    strongest = np.argsort(-np.abs(topography), kind="stable")[:4]
    log.append(
        {
            "kind": kind,
            "onset": start / sfreq,
            "duration": len(wave) / sfreq,
            "amplitude_uv": float(amplitude),
            "channels": [session.ch_names[i] for i in strongest],
        }
    )


def _add(data, start, topography, wave):
    stop = min(start + len(wave), data.shape[1])
    data[:, start:stop] += np.outer(topography, wave[: stop - start])


def _blinks(rng, subject, session, data, sfreq, log):
    topography = session.topographies["eyes_vertical"]
    for onset in _onsets(rng, subject.blink_rate, data.shape[1] / sfreq, 0.8):
        duration = rng.uniform(0.25, 0.4)
        amplitude = subject.blink_uv * np.exp(rng.normal(0, 0.15))
        wave = amplitude * blink(int(duration * sfreq) + 1, sfreq, duration)
        start = int(onset * sfreq)
        _add(data, start, topography, wave)
        _note(log, session, "blink", start, wave, topography, amplitude, sfreq)


def _saccades(rng, subject, session, data, sfreq, log):
    """Gaze jumps to the side and back; both eyes turn together, so left and right frontal sites are opposite."""
    topography = session.topographies["eye_left"] - session.topographies["eye_right"]
    for onset in _onsets(rng, 0.6 * subject.blink_rate, data.shape[1] / sfreq, 1.5):
        held = rng.uniform(0.3, 1.2)
        amplitude = rng.choice([-1, 1]) * rng.uniform(12, 45)
        time = np.arange(int((held + 0.3) * sfreq)) / sfreq
        wave = amplitude * smooth_step(time, 0.05, 0.006) * smooth_step(-time, -(held + 0.1), 0.006)
        start = int(onset * sfreq)
        _add(data, start, topography, wave)
        _note(log, session, "saccade", start, wave, topography, abs(amplitude), sfreq)


def _muscle(rng, subject, session, data, sfreq, log):
    names = ("muscle_left", "muscle_right", "muscle_front", "muscle_neck")
    top = min(60.0, 0.45 * sfreq)
    for onset in _onsets(rng, subject.muscle_rate, data.shape[1] / sfreq, 2.0):
        topography = session.topographies[names[rng.choice(4, p=(0.35, 0.35, 0.15, 0.15))]]
        duration = rng.uniform(0.4, 1.5)
        amplitude = np.exp(rng.normal(np.log(12), 0.4))
        n = int(duration * sfreq)
        wave = amplitude * band_noise(rng, 1, n, sfreq, min(20.0, 0.5 * top), top)[0] * np.hanning(n)
        start = int(onset * sfreq)
        _add(data, start, topography, wave)
        _note(log, session, "muscle", start, wave, topography, amplitude, sfreq)


def _movement(rng, subject, session, data, sfreq, log):
    """The head or a cable moves: a slow swing over many electrodes."""
    rate = 0.35
    for onset in _onsets(rng, rate, data.shape[1] / sfreq, 5.0):
        amplitude = rng.uniform(100, 250)
        n = int(rng.uniform(0.8, 1.8) * sfreq)
        topography = 1e-6 * rng.normal(0.6, 0.5, len(session.ch_names))
        wave = amplitude * coloured_noise(rng, 1, n, sfreq, 2.5, knee=1.0)[0] * np.hanning(n)
        start = int(onset * sfreq)
        _add(data, start, topography, wave)
        _note(log, session, "movement", start, wave, topography, amplitude, sfreq)


def _pops(rng, subject, session, data, sfreq, log):
    """An electrode slips: its offset jumps and the amplifier's high-pass brings it back."""
    rate = 0.35
    for onset in _onsets(rng, rate, data.shape[1] / sfreq, 5.0):
        row = int(rng.integers(len(session.ch_names)))
        amplitude = rng.choice([-1, 1]) * rng.uniform(100, 300)
        wave = amplitude * np.exp(-np.arange(int(1.5 * sfreq)) / sfreq / 0.3)
        topography = np.zeros(len(session.ch_names))
        topography[row] = 1e-6
        start = int(onset * sfreq)
        _add(data, start, topography, wave)
        _note(log, session, "pop", start, wave, topography, abs(amplitude), sfreq)
        log[-1]["channels"] = [session.ch_names[row]]
