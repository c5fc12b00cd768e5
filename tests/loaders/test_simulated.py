"""Simulated EEG, held against closed forms, mne's own forward solution, and the truth recovered from the data."""

import hashlib
import subprocess
import sys

import lives
import mne
import numpy as np
import pytest
from scipy.signal import butter, hilbert, sosfiltfilt, welch

from neurosig.core.errors import UsageError
from neurosig.core.signals import Processing
from neurosig.loaders.simulated import KINDS, default_processing, simulate_eeg, simulate_recordings
from neurosig.loaders.simulation.head import CHANNELS, SOURCES, leadfield, standard_head
from neurosig.loaders.simulation.people import Stream, draw_session, draw_subject, stream
from neurosig.loaders.simulation.waves import band_noise, blink, coloured_noise, rhythm

SFREQ = 128.0


def one(kind="imagery", subject=1, **options):
    """The first recording of one subject."""
    options = {"n_subjects": max(3, subject), "n_sessions": 1, "n_runs": 1, **options}
    return next(simulate_recordings(kind, subjects=[subject], **options))


def microvolts(recording, *names):
    """Data in microvolts of the named channels, or of all."""
    return recording.raw.get_data(picks=list(names) or None) * 1e6


def band(data, low, high, sfreq=SFREQ):
    return sosfiltfilt(butter(4, (low, high), "bandpass", fs=sfreq, output="sos"), data, axis=-1)


def trials_of(data, onsets, start, stop, sfreq=SFREQ):
    """Cut (n_trials, ..., n_times) around onsets in seconds."""
    first = np.round((np.asarray(onsets) + start) * sfreq).astype(int)
    return np.stack([data[..., i : i + round((stop - start) * sfreq)] for i in first])


@pytest.fixture(scope="module")
def clean():
    """Imagery of a strong subject without artifacts: two runs."""
    options = {"n_subjects": 3, "n_sessions": 1, "n_runs": 2, "n_trials": 40, "artifacts": False}
    return list(simulate_recordings("imagery", subjects=[1], **options))


# ---------------------------------------------------------------------------------------------------------- head


def test_leadfield_of_a_homogeneous_sphere_is_the_closed_form():
    """Mosher et al. (1999), eq. 27-30: the potential of a dipole in a homogeneous sphere, on its surface."""
    head = standard_head()
    radius, sigma = head.radius, 0.33
    rng = np.random.default_rng(3)
    unit = rng.normal(size=(40, 3))
    electrodes = head.centre + radius * unit / np.linalg.norm(unit, axis=1, keepdims=True)
    rq = np.array([0.02, 0.03, 0.035])
    r = electrodes - head.centre
    d = r - rq
    dn, rn, qn = np.linalg.norm(d, axis=1), np.linalg.norm(r, axis=1), np.linalg.norm(rq)
    f = dn * (rn * dn + rn**2 - r @ rq)
    c1 = (2 * (d @ rq) / dn**3 + 1 / dn - 1 / rn) / (4 * np.pi * sigma * qn**2)
    c2 = (2 / dn**3 + (dn + rn) / (rn * f)) / (4 * np.pi * sigma * qn**2)
    expected = (c1 - c2 * (r @ rq))[:, None] * rq + c2[:, None] * qn**2 * r
    got = leadfield(head.centre + rq[None], electrodes, skull=False)[:, 0]
    assert np.abs(got - expected).max() < 0.01 * np.abs(expected).max()


def test_topographies_are_those_of_mne_dipoles(clean):
    """Positions, orientations and electrodes of the truth give the truth's maps through `mne.make_forward_dipole`."""
    truth, raw = clean[0].truth, clean[0].raw
    montage = mne.channels.make_dig_montage(
        dict(zip(raw.ch_names, truth["electrodes"], strict=True)), coord_frame="head"
    )
    info = mne.create_info(raw.ch_names, SFREQ, "eeg").set_montage(montage)
    names = [name for name, source in SOURCES.items() if source.skull]
    sources = [truth["sources"][name] for name in names]
    dipoles = mne.Dipole(
        np.arange(len(names)) / 100, np.array([s["position"] for s in sources]), np.full(len(names), 1e-8),
        np.array([s["orientation"] for s in sources]), np.full(len(names), 100.0),
    )  # fmt: skip
    forward, _ = mne.make_forward_dipole(dipoles, standard_head().layered, info)
    field = forward["sol"]["data"]
    maps = np.array([s["topography"] for s in sources]).T
    # the reference takes the same number from every channel, the calibration scales each map
    for column, name in zip(range(len(names)), names, strict=True):
        assert np.corrcoef(field[:, column], maps[:, column])[0, 1] > 0.9999, name


def test_skull_blurs_and_electrodes_face_their_sources():
    head = standard_head()
    position = head.positions(np.array([SOURCES["hand_left"].mni]))
    sites = np.array([head.electrodes[name] for name in ("C3", "C5", "CP5", "T7")])
    spread = [
        np.abs(field[1:]).mean() / np.abs(field[0])
        for field in (leadfield(position, sites, skull=s)[:, 0] @ head.radial(position)[0] for s in (True, False))
    ]
    assert spread[0] > spread[1]


@pytest.mark.parametrize(
    ("source", "electrodes"),
    [
        ("hand_left", {"C3"}), ("hand_right", {"C4"}), ("foot", {"Cz"}), ("visual", {"Oz", "O1", "O2"}),
        ("parietal", {"Pz"}), ("n1_left", {"P7"}), ("n1_right", {"P8"}), ("eyes_vertical", {"Fp1", "Fp2"}),
        ("eye_left", {"F7"}), ("eye_right", {"F8"}), ("muscle_left", {"T7"}), ("muscle_right", {"T8"}),
    ],
)  # fmt: skip
def test_sources_are_largest_over_their_electrodes(source, electrodes):
    for number in range(1, 6):
        session = draw_session(0, draw_subject(0, number), 0, CHANNELS, bad_channels=False)
        field = session.topographies[source]
        assert CHANNELS[int(np.argmax(np.abs(field)))] in electrodes
        assert field[np.argmax(np.abs(field))] > 0
        # one microvolt at the standard electrode; the real one lies some millimetres off
        assert 0.5e-6 < field.max() < 1.6e-6


def test_cap_moves_between_sessions_but_the_person_stays():
    first, second = (
        one(n_sessions=2, n_runs=1, n_trials=2, subject=2),
        list(simulate_recordings(n_subjects=2, n_runs=1, n_trials=2, subjects=[2]))[1],
    )
    moved = np.linalg.norm(first.truth["electrodes"] - second.truth["electrodes"], axis=1)
    assert 0.0005 < np.median(moved) < 0.015
    assert not np.allclose(first.truth["gains"], second.truth["gains"])
    assert np.all(np.abs(first.truth["gains"] - 1) < 0.3)
    assert first.truth["subject"] == second.truth["subject"]
    positions = [r.truth["sources"]["hand_left"]["position"] for r in (first, second)]
    np.testing.assert_array_equal(*positions)
    distance = np.linalg.norm(positions[0] - standard_head().positions(np.array([SOURCES["hand_left"].mni]))[0])
    assert distance < 0.015


# --------------------------------------------------------------------------------------------------------- waves


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_coloured_noise_has_its_slope_and_unit_variance(exponent):
    noise = coloured_noise(np.random.default_rng(0), 40, 4096, SFREQ, exponent)
    assert noise.shape == (40, 4096)
    assert np.mean(noise**2) == pytest.approx(1.0, rel=0.08)
    frequencies, power = welch(noise, SFREQ, nperseg=1024)
    keep = (frequencies > 2) & (frequencies < 50)
    slope = np.polyfit(np.log(frequencies[keep]), np.log(power.mean(axis=0)[keep]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.07)


def test_rhythm_is_analytic_narrow_and_of_unit_variance():
    wave = rhythm(np.random.default_rng(1), 30, 8192, SFREQ, 11.0, 0.9)
    assert np.mean(wave.real**2) == pytest.approx(1.0, rel=0.1)
    frequencies, power = welch(wave.real, SFREQ, nperseg=1024)
    assert frequencies[np.argmax(power.mean(axis=0))] == pytest.approx(11.0, abs=0.3)
    inner = slice(1000, -1000)
    np.testing.assert_allclose(hilbert(wave.real, axis=-1)[:, inner].imag, wave.imag[:, inner], atol=0.15)


def test_band_noise_stays_in_its_band():
    frequencies, power = welch(band_noise(np.random.default_rng(2), 20, 4096, SFREQ, 20, 50), SFREQ, nperseg=512)
    inside = (frequencies >= 18) & (frequencies <= 52)
    assert power[:, inside].sum() > 0.97 * power.sum()


def test_blink_rises_faster_than_it_falls():
    wave = blink(65, SFREQ, 0.4)
    peak = int(np.argmax(wave))
    assert wave.max() == pytest.approx(1.0, abs=0.01)
    assert wave[0] == 0 and wave[-1] == pytest.approx(0.0, abs=1e-9)
    assert 0.05 < peak / SFREQ < 0.2
    half = np.flatnonzero(wave > 0.5)
    assert peak - half[0] < half[-1] - peak


# -------------------------------------------------------------------------------------------------------- people


def test_subjects_vary_and_some_have_no_control():
    subjects = [draw_subject(0, number) for number in range(1, 11)]
    skills = np.array([subject.skill for subject in subjects])
    assert (skills < 0.2).any() and (skills > 0.8).any()
    depths = np.array([subject.erd_depth for subject in subjects])
    assert depths[skills < 0.1].max(initial=0.0) == 0.0
    assert np.all(np.diff(depths[np.argsort(skills)]) >= 0)
    assert np.ptp([subject.mu_peak for subject in subjects]) > 1.0
    # any five subjects of any seed hold a weak one
    for seed in range(20):
        assert min(draw_subject(seed, number).skill for number in range(1, 6)) < 0.24


def test_streams_are_apart():
    draws = {
        stream(seed, purpose, subject, session, run).integers(2**62)
        for seed in (0, 1) for purpose in Stream for subject in (1, 2) for session in (0, 1) for run in (0, 1)
    }  # fmt: skip
    assert len(draws) == 2 * len(Stream) * 8


# ------------------------------------------------------------------------------------------------- motor imagery


def source_power(recordings, name, low, high):
    """Power of a source over time by an LCMV beamformer that is given the true topography."""
    sources = []
    for recording in recordings:
        data = band(microvolts(recording), low, high)
        covariance = np.cov(data)
        topography = recording.truth["gains"] * recording.truth["sources"][name]["topography"] * 1e6
        weights = np.linalg.solve(covariance, topography)
        sources.append(np.abs(hilbert(weights @ data / (weights @ topography))) ** 2)
    return sources


def erd(recordings, power, label):
    """One minus power during imagery over power before the cue, and the truth of it, over the trials of a label."""
    during, before = [], []
    for recording, course in zip(recordings, power, strict=True):
        onsets = [trial["onset"] for trial in recording.truth["trials"] if trial["label"] == label]
        during.append(trials_of(course, onsets, 1.2, 3.8))
        before.append(trials_of(course, onsets, -1.3, 0.0))
    return 1 - np.concatenate(during).mean() / np.concatenate(before).mean()


@pytest.mark.parametrize("area", ["hand_left", "hand_right"])
@pytest.mark.parametrize("label", ["left_hand", "right_hand"])
def test_desynchronisation_has_the_size_of_the_truth(clean, area, label):
    peak = clean[0].truth["subject"]["mu_peak"]
    power = source_power(clean, area, peak - 2, peak + 2)
    trials = [trial for recording in clean for trial in recording.truth["trials"] if trial["label"] == label]
    expected = np.mean([trial["erd"][area] for trial in trials])
    contralateral = label.split("_")[0] not in area
    assert expected > 0.5 if contralateral else expected < 0.4
    assert erd(clean, power, label) == pytest.approx(expected, abs=0.16)


def test_desynchronisation_lateralises_on_the_scalp(clean):
    peak = clean[0].truth["subject"]["mu_peak"]
    asymmetry = {}
    for label in ("left_hand", "right_hand"):
        values = []
        for recording in clean:
            onsets = [trial["onset"] for trial in recording.truth["trials"] if trial["label"] == label]
            power = band(microvolts(recording, "C3", "C4"), peak - 1.5, peak + 1.5) ** 2
            c3, c4 = np.log(trials_of(power, onsets, 1, 4).mean(axis=(0, 2)))
            values.append(c3 - c4)
        asymmetry[label] = np.mean(values)
    # the left hand empties C4 and leaves C3 with more, the right hand the other way round
    assert asymmetry["left_hand"] > asymmetry["right_hand"] + 0.5


def test_desynchronisation_begins_after_the_cue_and_beta_rebounds(clean):
    truth = clean[0].truth["subject"]
    power = source_power(clean, "hand_left", truth["mu_peak"] - 2, truth["mu_peak"] + 2)
    onsets = [[t["onset"] for t in r.truth["trials"] if t["label"] == "right_hand"] for r in clean]
    course = np.concatenate([trials_of(p, o, -1, 5.5) for p, o in zip(power, onsets, strict=True)]).mean(axis=0)
    at = np.arange(len(course)) / SFREQ - 1
    rest, low = course[at < 0].mean(), course[(at > 1.5) & (at < 3.5)].mean()
    begun = at[np.flatnonzero(course < (rest + low) / 2)[0]]
    assert begun == pytest.approx(truth["erd_onset"] + 0.15, abs=0.35)
    assert course[(at > 5) & (at < 5.4)].mean() > (rest + low) / 2
    beta = source_power(clean, "hand_left", truth["beta_peak"] - 4, truth["beta_peak"] + 4)
    course = np.concatenate([trials_of(p, o, -1, 5.5) for p, o in zip(beta, onsets, strict=True)]).mean(axis=0)
    assert course[(at > 4.8) & (at < 5.4)].mean() > course[at < 0].mean()


def test_feet_desynchronise_the_vertex():
    recording = one(classes=("left_hand", "feet"), n_trials=40, artifacts=False)
    peak = recording.truth["subject"]["mu_peak"]
    power = source_power([recording], "foot", peak - 2, peak + 2)
    assert erd([recording], power, "feet") > 0.4
    assert abs(erd([recording], power, "left_hand")) < 0.3
    assert set(recording.raw.annotations.description) == {"left_hand", "feet"}


def auc(data, names=("TS+LR", "CSP+LDA")):
    """ROC AUC of pipelines within each session: {subject: array of (n_sessions, n_pipelines)}."""
    from pyriemann.estimation import Covariances
    from pyriemann.spatialfilters import CSP
    from pyriemann.tangentspace import TangentSpace
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline

    pipelines = {
        "TS+LR": make_pipeline(Covariances("oas"), TangentSpace(), LogisticRegression()),
        "CSP+LDA": make_pipeline(Covariances("oas"), CSP(nfilter=6), LinearDiscriminantAnalysis()),
    }
    folds = StratifiedKFold(5, shuffle=True, random_state=42)
    scores = {}
    for (subject, _), rows in data.metadata.groupby(["subject", "session"]):
        X, y = data.X[rows.index] * 1e6, data.y[rows.index]
        row = [cross_val_score(pipelines[name], X, y, cv=folds, scoring="roc_auc").mean() for name in names]
        scores.setdefault(subject, []).append(row)
    return {subject: np.array(rows) for subject, rows in scores.items()}


def test_default_difficulty_and_the_weak_subject():
    data = simulate_eeg(n_subjects=4)
    scores = auc(data)
    skill = {key[0]: truth["subject"]["skill"] for key, truth in data.truth["recordings"].items()}
    mean = {subject: rows.mean(axis=0) for subject, rows in scores.items()}
    tangent, csp = np.mean(list(mean.values()), axis=0)
    assert 0.78 < tangent < 0.92
    assert tangent - 0.12 < csp < tangent
    weak, strong = min(skill, key=skill.get), max(skill, key=skill.get)
    assert skill[weak] < 0.2 and mean[weak][0] < 0.65
    assert mean[strong][0] > 0.9


def test_without_effect_nothing_can_be_decoded():
    scores = auc(simulate_eeg(n_subjects=5, effect=0), ["TS+LR"])
    values = np.concatenate([rows[:, 0] for rows in scores.values()])
    # standard deviation of the AUC of 20 against 20 trials under the null (Mann-Whitney), for the mean of ten
    sd = np.sqrt((20 + 20 + 1) / (12 * 20 * 20)) / np.sqrt(len(values))
    assert abs(values.mean() - 0.5) < 3 * sd


# ---------------------------------------------------------------------------------------------- P300 and SSVEP


def test_p300_peaks_at_pz_at_the_subjects_latency():
    for subject in (1, 2):
        recording = one("p300", subject=subject, n_trials=360, artifacts=False)
        labels = np.array([trial["label"] for trial in recording.truth["trials"]])
        onsets = np.array([trial["onset"] for trial in recording.truth["trials"]])
        data = band(microvolts(recording), 0.5, 12)
        difference = trials_of(data, onsets[labels == "Target"], 0, 0.8).mean(axis=0)
        difference -= trials_of(data, onsets[labels == "NonTarget"], 0, 0.8).mean(axis=0)
        names = recording.raw.ch_names
        truth = recording.truth["subject"]
        peak = np.argmax(difference[names.index("Pz")])
        assert peak / SFREQ == pytest.approx(truth["p300_latency"], abs=0.05)
        assert names[int(np.argmax(difference[:, peak]))] in ("Pz", "CP1", "CP2", "P3", "P4")
        assert difference[names.index("Pz"), peak] == pytest.approx(truth["p300_uv"], rel=0.35)
        assert np.mean(labels == "Target") == pytest.approx(1 / 6)
        # both kinds of stimulus evoke an N1 over temporo-occipital sites
        evoked = trials_of(data, onsets, 0, 0.3).mean(axis=0)
        n1 = evoked[names.index("P7")]
        assert np.argmin(n1) / SFREQ == pytest.approx(0.165, abs=0.025)
        assert n1.min() < -1.0


def test_p300_without_effect_targets_are_like_the_others():
    data = simulate_eeg("p300", 1, 1, 2, effect=0, artifacts=False)
    target = data.y == "Target"
    pz = data.X[:, data.info.ch_names.index("Pz")].mean(axis=-1)
    spread = pz.std() * np.sqrt(1 / target.sum() + 1 / (~target).sum())
    assert abs(pz[target].mean() - pz[~target].mean()) < 3.5 * spread
    assert all(trial["p300_uv"] == 0 for trial in data.truth["recordings"]["1", "0", "0"]["trials"])


def spectrum_of_average(recording, label):
    """Frequencies (0.25 Hz apart) and amplitudes in uV at Oz of the average over a label's trials."""
    onsets = [trial["onset"] for trial in recording.truth["trials"] if trial["label"] == label]
    average = trials_of(microvolts(recording, "Oz")[0], onsets, 0.0, 4.0).mean(axis=0)
    return np.fft.rfftfreq(len(average), 1 / SFREQ), 2 * np.abs(np.fft.rfft(average)) / len(average)


@pytest.mark.parametrize("label", ["10.0", "12.0", "15.0"])
def test_ssvep_stands_out_at_the_stimulus_frequency_and_its_harmonic(label):
    recording = one("ssvep", n_trials=30, artifacts=False)
    frequencies, amplitude = spectrum_of_average(recording, label)
    for harmonic, least in ((1, 2.5), (2, 2.0)):
        at = np.argmin(np.abs(frequencies - harmonic * float(label)))
        around = np.r_[amplitude[at - 6 : at - 1], amplitude[at + 2 : at + 7]]
        assert amplitude[at] > least * around.mean()
    # the response is phase-locked: the average keeps the amplitude of the single trials
    at = np.argmin(np.abs(frequencies - float(label)))
    sizes = [trial["ssvep_uv"] for trial in recording.truth["trials"] if trial["label"] == label]
    oz = recording.truth["sources"]["visual"]["topography"][recording.raw.ch_names.index("Oz")] * 1e6
    assert amplitude[at] == pytest.approx(np.mean(sizes) * oz, rel=0.35)


def test_ssvep_without_effect_has_no_response():
    recording = one("ssvep", n_trials=30, artifacts=False, effect=0)
    frequencies, amplitude = spectrum_of_average(recording, "15.0")
    at = np.argmin(np.abs(frequencies - 15.0))
    assert amplitude[at] < 3 * np.r_[amplitude[at - 6 : at - 1], amplitude[at + 2 : at + 7]].mean()


# ------------------------------------------------------------------------------------- background and artifacts


def test_background_follows_the_subjects_slope():
    for subject in (1, 2, 3):
        recording = one(subject=subject, n_trials=40, artifacts=False)
        frequencies, power = welch(microvolts(recording), SFREQ, nperseg=512)
        # white sensor noise of known size lies under it; rhythms stand between 7 and 30 Hz
        floor = recording.truth["noise_uv"] ** 2 / (SFREQ / 2)
        power = (power - floor[:, None]) / recording.truth["gains"][:, None] ** 2
        keep = ((frequencies >= 1.5) & (frequencies <= 6)) | ((frequencies >= 34) & (frequencies <= 50))
        slope = np.polyfit(np.log(frequencies[keep]), np.log(power.mean(axis=0)[keep]), 1)[0]
        assert slope == pytest.approx(-recording.truth["subject"]["exponent"], abs=0.12)


def test_alpha_is_posterior(clean):
    alpha = clean[0].truth["subject"]["alpha_peak"]
    frequencies, power = welch(microvolts(clean[0]), SFREQ, nperseg=512)
    at = np.argmin(np.abs(frequencies - alpha))
    names = clean[0].raw.ch_names
    assert names[int(np.argmax(power[:, at]))] in ("O1", "O2", "Oz", "Pz", "P3", "P4")
    assert power[names.index("Oz"), at] > 5 * power[names.index("Fp1"), at]


def test_spatial_covariance_is_smooth(clean):
    data = band(microvolts(clean[0]), 1, 6)
    correlation = np.corrcoef(data)
    positions = np.array([channel["loc"][:3] for channel in clean[0].raw.info["chs"]])
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    upper = np.triu_indices(len(data), 1)
    near, far = distance[upper] < 0.05, distance[upper] > 0.12
    assert correlation[upper][near].mean() > 0.5
    assert correlation[upper][near].mean() > correlation[upper][far].mean() + 0.3
    assert np.linalg.matrix_rank(np.cov(microvolts(clean[0]))) == len(data)


def test_amplitudes_are_volts_of_a_real_recording():
    from neurosig.core.validation import check_plausible_units

    for kind in KINDS:
        recording = one(kind, n_trials=6, artifacts=False)
        rms = microvolts(recording).std(axis=1)
        assert rms.min() > 4 and rms.max() < 50
        check_plausible_units(recording.raw.get_data(), "V", "eeg")
        # 10 nV steps
        steps = recording.raw.get_data() / 1e-8
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)


def artifact_alone(kind, **options):
    """What one kind of artifact adds (uV), its log, and the recording."""
    bare, spoilt = one(artifacts=False, **options), one(artifacts=[kind], **options)
    return microvolts(spoilt) - microvolts(bare), spoilt.truth["artifacts"], spoilt


@pytest.mark.parametrize("kind", ["blinks", "saccades", "muscle", "movement", "pops"])
def test_artifacts_are_where_the_log_says_and_nowhere_else(kind):
    added, log, recording = artifact_alone(kind, n_trials=40)
    assert log and {entry["kind"] + "s" for entry in log} & {kind, kind + "s"}
    inside = np.zeros(added.shape[1], bool)
    for entry in log:
        start = round(entry["onset"] * SFREQ)
        stop = start + round(entry["duration"] * SFREQ)
        inside[start:stop] = True
        part = np.abs(added[:, start:stop]).max(axis=1)
        assert recording.raw.ch_names[int(np.argmax(part))] in entry["channels"]
        assert 0.25 * entry["amplitude_uv"] < part.max() < 5 * entry["amplitude_uv"]
    np.testing.assert_allclose(added[:, ~inside], 0, atol=0.02)
    assert np.all(np.diff([entry["onset"] for entry in log]) >= 0)


def test_blinks_are_frontal_and_of_the_right_size():
    added, log, recording = artifact_alone("blinks", n_trials=40)
    names = recording.raw.ch_names
    onsets = [entry["onset"] for entry in log if entry["onset"] < added.shape[1] / SFREQ - 1]
    peak = trials_of(added, onsets, 0, 0.5).mean(axis=0).max(axis=1)
    assert {names[i] for i in np.argsort(-peak)[:2]} == {"Fp1", "Fp2"}
    assert 80 < peak.max() < 260
    assert peak[names.index("Oz")] < 0.15 * peak.max()
    minutes = added.shape[1] / SFREQ / 60
    assert 4 < len(log) / minutes < 25


def test_saccades_turn_left_against_right():
    added, _, recording = artifact_alone("saccades", n_trials=40)
    names = recording.raw.ch_names
    assert np.corrcoef(added[names.index("F7")], added[names.index("F8")])[0, 1] < -0.95


def test_muscle_is_fast():
    added, _, _ = artifact_alone("muscle", n_trials=40)
    frequencies, power = welch(added, SFREQ, nperseg=256)
    assert power[:, frequencies > 18].sum() > 0.9 * power.sum()


def test_bad_epochs_are_the_trials_with_movement_or_pops():
    recording = one(n_trials=40, artifacts=["movement", "pops"])
    trials = recording.truth["trials"]
    bad = recording.truth["bad_epochs"]
    assert 0 < len(bad) < 20
    extent = np.ptp(trials_of(microvolts(recording), [t["onset"] for t in trials], 0, 4), axis=-1).max(axis=-1)
    others = np.setdiff1d(np.arange(len(trials)), bad)
    assert np.median(extent[bad]) > 1.5 * np.median(extent[others])
    assert all(trials[i]["bad"] and set(trials[i]["artifacts"]) & {"movement", "pop"} for i in bad)


def test_bad_channels_are_as_bad_as_they_are_called():
    seen = set()
    options = {"n_subjects": 25, "n_sessions": 1, "n_runs": 1, "n_trials": 2}
    spoilt, bare = (simulate_recordings(**options, artifacts=kinds) for kinds in (["bad_channels"], False))
    for recording, sound in zip(spoilt, bare, strict=True):
        names = recording.raw.ch_names
        data, before = microvolts(recording), microvolts(sound)
        good = [i for i, name in enumerate(names) if name not in recording.truth["bad_channels"]]
        typical = np.median(data[good].std(axis=1))
        assert data[good].std(axis=1).min() > 3
        np.testing.assert_array_equal(data[good], before[good])
        for name, kind in recording.truth["bad_channels"].items():
            seen.add(kind)
            channel = data[names.index(name)]
            if kind == "flat":
                assert np.ptp(channel) < 1.0  # mne's usual limit for a flat electrode
            elif kind == "noisy":
                fast = band(data, 20, 60).std(axis=1)
                assert fast[names.index(name)] > 3 * np.median(fast)
            else:
                assert channel.std() > 1.8 * typical
                drift = channel - before[names.index(name)]
                assert band(drift, 5, 60).std() < 0.1 * drift.std()
    assert seen == {"flat", "noisy", "drift"}


@pytest.mark.parametrize("line_freq", [50.0, 60.0])
def test_mains_are_at_their_frequency(line_freq):
    recording = one(sfreq=256.0, line_freq=line_freq, artifacts=["line"], n_trials=10)
    data = microvolts(recording)
    assert recording.raw.info["line_freq"] == line_freq
    assert recording.truth["line"]["frequencies"] == [line_freq, 2 * line_freq]
    frequencies, power = welch(data, 256.0, nperseg=1024)
    for frequency in (line_freq, 2 * line_freq):
        at = np.argmin(np.abs(frequencies - frequency))
        assert np.median(power[:, at] / power[:, at - 8]) > 5
    # lock-in at the fundamental gives the amplitude that the truth states
    cycle = np.exp(-2j * np.pi * line_freq * np.arange(data.shape[1]) / 256.0)
    measured = 2 * np.abs(data @ cycle) / data.shape[1]
    np.testing.assert_allclose(measured, recording.truth["line"]["amplitude_uv"], atol=0.12)


def test_no_mains():
    for recording in (one(line_freq=None, n_trials=2), one(artifacts=["blinks"], n_trials=2)):
        assert recording.truth["line"] is None
    assert one(line_freq=None, n_trials=2).raw.info["line_freq"] is None


# ---------------------------------------------------------------------------------------------------- determinism


def fingerprint(recording):
    return hashlib.sha256(recording.raw.get_data().tobytes()).hexdigest()


def test_a_recording_does_not_depend_on_the_others():
    everyone = list(simulate_recordings(n_subjects=3, n_trials=4))
    assert [(r.subject, r.session, r.run) for r in everyone[:5]] == [
        ("1", "0", "0"), ("1", "0", "1"), ("1", "1", "0"), ("1", "1", "1"), ("2", "0", "0"),
    ]  # fmt: skip
    prints = {(r.subject, r.session, r.run): fingerprint(r) for r in everyone}
    assert len(set(prints.values())) == 12
    alone = {
        (r.subject, r.session, r.run): fingerprint(r)
        for r in simulate_recordings(n_subjects=3, n_trials=4, subjects=["2"])
    }
    assert alone == {key: value for key, value in prints.items() if key[0] == "2"}
    fewer = list(simulate_recordings(n_subjects=2, n_sessions=1, n_runs=1, n_trials=4))
    assert all(fingerprint(r) == prints[r.subject, r.session, r.run] for r in fewer)
    assert fingerprint(one(n_trials=4, random_state=1)) != prints["1", "0", "0"]


@pytest.mark.parametrize("kind", KINDS)
def test_another_process_makes_the_same_bits(kind, tmp_path):
    code = (
        "import hashlib\n"
        "from neurosig.loaders import simulate_recordings\n"
        f"r = next(simulate_recordings({kind!r}, 3, 2, 2, 6, subjects=[2], random_state=7))\n"
        "print(hashlib.sha256(r.raw.get_data().tobytes()).hexdigest())\n"
    )
    result = lives.python(code, cwd=tmp_path)
    here = next(simulate_recordings(kind, 3, 2, 2, 6, subjects=[2], random_state=7))
    assert result.stdout.strip() == fingerprint(here)


def test_channels_asked_for_do_not_change_each_others_fate():
    some = one(ch_names=["C3", "Cz", "FC3"], n_trials=2)
    full = one(n_trials=2)
    assert some.raw.ch_names == ["C3", "Cz", "FC3"]
    for key in ("gains", "noise_uv"):
        assert some.truth[key][0] == full.truth[key][full.raw.ch_names.index("C3")]
    np.testing.assert_allclose(
        some.truth["sources"]["hand_left"]["topography"][0],
        full.truth["sources"]["hand_left"]["topography"][full.raw.ch_names.index("C3")],
    )


# ------------------------------------------------------------------------------------------------------- dataset


@pytest.mark.parametrize(
    ("kind", "shape"), [("imagery", (80, 28, 385)), ("p300", (480, 28, 103)), ("ssvep", (84, 28, 385))]
)
def test_dataset_is_aligned_with_its_truth(kind, shape):
    data = simulate_eeg(kind, 1, random_state=3)
    assert data.X.shape == shape
    assert data.info.unit == "V" and data.info.sfreq == SFREQ and data.info.n_times == shape[-1]
    assert data.info.processing == default_processing(kind)
    assert data.info.tmin == default_processing(kind).tmin
    assert data.info.positions is not None and data.info.line_freq == 50.0
    trials = data.truth["trials"]
    assert len(trials) == len(data.metadata) == shape[0]
    assert trials["label"].tolist() == data.y.tolist() == data.metadata["event"].tolist()
    assert data.metadata[["subject", "session", "run"]].drop_duplicates().shape == (4, 3)
    for row in (0, shape[0] - 1):
        key = tuple(trials.loc[row, ["subject", "session", "run"]])
        assert data.truth["recordings"][key]["trials"][trials.loc[row, "trial"]]["onset"] == trials.loc[row, "onset"]


def test_trials_are_cut_where_the_events_are():
    whole = Processing(tmin=-0.5, tmax=1.0)
    data = simulate_eeg(n_subjects=1, n_sessions=1, n_runs=1, artifacts=False, processing=whole)
    recording = one(n_subjects=1, artifacts=False)
    expected = trials_of(recording.raw.get_data(), data.metadata["onset"], -0.5, 1.0)
    np.testing.assert_array_equal(data.X[..., :-1], expected)
    labels = recording.raw.annotations.description
    assert labels.tolist() == data.y.tolist()
    np.testing.assert_allclose(recording.raw.annotations.onset, data.metadata["onset"])


def test_classes_are_balanced():
    for kind, classes in (("imagery", 2), ("ssvep", 3)):
        for recording in simulate_recordings(kind, 1, 1, 2, 12):
            _, counts = np.unique(recording.raw.annotations.description, return_counts=True)
            assert counts.tolist() == [12 // classes] * classes


def test_importing_the_module_is_light():
    heavy = ("mne", "scipy", "sklearn", "pandas", "numpy")
    code = f"import sys, neurosig.loaders.simulated; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "imagry"}, "kind must be one of imagery, p300, ssvep, got 'imagry'; did you mean 'imagery'"),
        ({"kind": None}, "kind must be one of"),
        ({"n_subjects": 0}, "n_subjects must be a whole number of at least 1, got 0"),
        ({"n_subjects": True}, "n_subjects must be a whole number"),
        ({"n_runs": 1.5}, "n_runs must be a whole number of at least 1, got 1.5"),
        ({"n_sessions": "2"}, "n_sessions must be a whole number"),
        ({"n_trials": 1}, "n_trials must be a whole number of at least 2, got 1"),
        ({"kind": "p300", "n_trials": 5}, "n_trials must be a whole number of at least 6, got 5"),
        ({"sfreq": 20}, "sfreq must be a number of at least 100 Hz, got 20"),
        ({"sfreq": float("nan")}, "sfreq must be a number"),
        ({"sfreq": "fast"}, "sfreq must be a number of at least 100 Hz, got 'fast'"),
        ({"effect": -1}, "effect must be a number of at least 0"),
        ({"effect": float("inf")}, "effect must be a number"),
        ({"line_freq": 0}, "line_freq must be a number of at least 1 Hz, or None, got 0"),
        ({"random_state": -1}, "random_state must be a whole number of at least 0, got -1"),
        ({"random_state": None}, "random_state must be a whole number"),
        ({"artifacts": ["blink"]}, "artifacts must be one of blinks, .* did you mean 'blinks'"),
        ({"artifacts": 3}, "artifacts must be True, False or some of blinks, .*, got 3"),
        ({"ch_names": ["C3", "cz"]}, "ch_names must be electrodes of mne's standard_1005, got cz; did you mean Cz"),
        ({"ch_names": []}, "at least one electrode and none twice, got none"),
        ({"ch_names": ["C3", "C3"]}, "at least one electrode and none twice, got C3, C3"),
        ({"ch_names": 3}, "ch_names must be a list of names, got 3"),
        ({"classes": ["left_hand"]}, "classes must be at least two different names, got left_hand"),
        ({"classes": ["left_hand", "tongue"]}, "must be one of left_hand, right_hand, feet, got 'tongue'"),
        ({"kind": "p300", "classes": ["A", "B"]}, "are Target and NonTarget, got A, B; leave classes out"),
        ({"kind": "ssvep", "classes": ["10.0", "left"]}, "stimulus frequencies between 0 and 64 Hz .* got 'left'"),
        ({"kind": "ssvep", "classes": ["10.0", "90"]}, "stimulus frequencies between 0 and 64 Hz .* got '90'"),
        ({"subjects": [4]}, "subjects must be among 1 to 3, got 4; raise n_subjects to have more"),
        ({"subjects": ["a"]}, "subjects must be among 1 to 3, got a"),
        ({"subjects": []}, "subjects must be among 1 to 3, got none"),
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense_are_refused_at_once(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        simulate_recordings(**options)  # refused by the call, not by the first recording
    assert "\n" not in str(caught.value)
    if options.get("kind") != "imagry":
        with pytest.raises(UsageError):
            simulate_eeg(**options)


def test_default_processing_names_the_kinds():
    with pytest.raises(UsageError, match="kind must be one of imagery, p300, ssvep, got 'rest'"):
        default_processing("rest")
