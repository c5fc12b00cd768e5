"""
Load a recording and look at it
===============================

A data scientist's first minute: get trials as arrays, see where they came from, and look at the recording they were cut
from. The recordings are simulated here, so the script needs no network and knows the truth; for a file of your own,
``neurosig.load_eeg("recording.edf", events=["left_hand", "right_hand"], tmin=0.5, tmax=3.5)`` gives the same object.

Run it as ``python plot_01_load.py [FOLDER]``: the figures are saved where a folder is named.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import mne
import numpy as np

from neurosig import simulate_eeg
from neurosig.loaders import simulate_recordings

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else None


def save(figure, name):
    """Save a figure where a folder was named."""
    if FOLDER is not None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        figure.savefig(FOLDER / name, dpi=120, bbox_inches="tight")
    plt.close(figure)


# %%
# Trials as arrays: ``X`` in volts, (trials, channels, times), ``y`` the event names, one row of metadata a trial.

data = simulate_eeg("imagery", n_subjects=2, n_sessions=1, n_runs=2, n_trials=20, random_state=0)
print(data)
print(data.metadata.head(3).to_string())
print(f"{data.info.sfreq:g} Hz, {data.info.n_channels} channels, unit {data.info.unit}")
print(data.metadata.groupby(["subject", "event"]).size().to_string())

# %%
# Some of them: a pandas query over subject, session, run, and the label as ``y``.

first = data.subset("subject == '1' and y == 'left_hand'")
print(f"left hand of subject 1: {first.X.shape}")

# %%
# The recording itself is an `mne.io.Raw`; all of mne works on it. Blinks stand out at Fp1, alpha at Oz.

recording = next(simulate_recordings("imagery", n_subjects=2, n_sessions=1, n_runs=2, random_state=0))
shown = ["Fp1", "Fz", "C3", "Cz", "C4", "Pz", "Oz", "T7"]
signal, times = recording.raw.get_data(picks=shown, tmin=20, tmax=32, return_times=True)
figure, axis = plt.subplots(figsize=(9, 4.5), layout="constrained")
offsets = -100 * np.arange(len(shown))
axis.plot(times, (signal - signal.mean(axis=1, keepdims=True)).T * 1e6 + offsets, color="0.2", linewidth=0.6)
axis.set(yticks=offsets, yticklabels=shown, xlabel="time (s)", title="12 s of the recording; channels are 100 µV apart")
for onset, label in zip(recording.raw.annotations.onset, recording.raw.annotations.description, strict=True):
    if 20 < onset < 32:
        axis.axvline(onset, color="tab:blue", linestyle=":")
        axis.text(onset, 80, label, color="tab:blue", fontsize=8)
save(figure, "recording.png")

# %%
# Its spectrum: a 1/f background, the mu and alpha rhythms near 10 Hz, mains at 50 Hz.

spectrum = recording.raw.compute_psd(fmin=1, fmax=60, n_fft=512, verbose="error")
figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
for name in ("C3", "Oz", "T7"):
    axis.semilogy(spectrum.freqs, spectrum.get_data(picks=name)[0] * 1e12, label=name)
axis.set(xlabel="frequency (Hz)", ylabel="power (µV²/Hz)", title="Power spectral density")
axis.legend()
save(figure, "spectrum.png")

# %%
# What distinguishes the classes: imagining a hand lowers the rhythm over the opposite hemisphere. The difference of the
# log-variances (trials are filtered to 8-32 Hz) is a map that every motor-imagery decoder reads.

one = data.subset("subject == '1'")
log_variance = np.log(one.X.var(axis=-1))
contrast = log_variance[one.y == "left_hand"].mean(axis=0) - log_variance[one.y == "right_hand"].mean(axis=0)
figure, axis = plt.subplots(figsize=(4, 4), layout="constrained")
mne.viz.plot_topomap(contrast, one.info.to_mne(), axes=axis, show=False)
axis.set_title("log-variance, left minus right hand")
save(figure, "contrast.png")
c3, c4 = (contrast[one.info.ch_names.index(name)] for name in ("C3", "C4"))
print(f"left minus right hand: {c3:+.2f} at C3, {c4:+.2f} at C4")

# %%
# Simulated data know the truth: what was put in stands beside what comes out.

truth = recording.truth
person = truth["subject"]
print(f"subject 1 loses {person['erd_depth']:.0%} of a mu rhythm at {person['mu_peak']:.1f} Hz in imagery")
print(f"bad channels: {truth['bad_channels'] or 'none'}; bad trials: {truth['bad_epochs']}")
