"""Small recordings with known content, made on the spot."""

import gzip

import mne
import numpy as np
import pytest

SFREQ = 128.0
NAMES = ("Fz", "Cz", "Pz", "Oz")


@pytest.fixture
def make_raw():
    """Noise of 10 uV with events: ``make_raw(seconds=20, events={"left": [1, 5], "right": [3]})``."""

    def make(seconds=20.0, events=None, names=NAMES, sfreq=SFREQ, seed=0, scale=1e-5):
        rng = np.random.default_rng(seed)
        data = rng.standard_normal((len(names), int(seconds * sfreq))) * scale
        raw = mne.io.RawArray(data, mne.create_info(list(names), sfreq, "eeg"), verbose="error")
        pairs = sorted((onset, name) for name, onsets in (events or {}).items() for onset in onsets)
        if pairs:
            raw.set_annotations(mne.Annotations([p[0] for p in pairs], 0.0, [p[1] for p in pairs]))
        return raw

    return make


@pytest.fixture
def save(tmp_path):
    """Write a Raw to a file of the format that the name says; gives the path."""

    def write(raw, name="run_raw.fif"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".fif"):
            raw.save(path, fmt="double", verbose="error")
        else:
            mne.export.export_raw(path, raw, verbose="error")
        return path

    return write


@pytest.fixture
def recording(make_raw, save):
    """A FIF file of 20 s with three left and three right events."""
    return save(make_raw(events={"left": [1, 5, 9], "right": [3, 7, 11]}))


@pytest.fixture
def write_csv(tmp_path):
    """Write text as a CSV stream, compressed where the name says so."""

    def write(text, name="stream.csv"):
        path = tmp_path / name
        if name.endswith(".gz"):
            with gzip.open(path, "wt") as stream:
                stream.write(text)
        else:
            path.write_text(text)
        return path

    return write


@pytest.fixture
def write_trials(tmp_path):
    """Write a trial file with some arrays changed or (None) left out; gives path and arrays."""

    def write(name="trials.npz", **changes):
        rng = np.random.default_rng(1)
        arrays = {
            "X": rng.integers(-60, 60, (8, 4, 256)).astype(np.int16),
            "y": np.array([0, 1] * 4),
            "ch_names": np.array(NAMES),
            "sfreq": np.float32(SFREQ),
            "tmin": np.float32(-0.5),
            "class_names": np.array(["left", "right"]),
            "unit_uV": np.float32(0.1),
        }
        arrays = {key: value for key, value in {**arrays, **changes}.items() if value is not None}
        np.savez_compressed(tmp_path / name, **arrays)
        return tmp_path / name, arrays

    return write
