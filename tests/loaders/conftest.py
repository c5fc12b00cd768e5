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


@pytest.fixture
def no_network(monkeypatch):
    """No socket opens."""
    import socket

    def refuse(*args, **kwargs):
        raise OSError("this test needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def volumes():
    """A NIfTI run: ``volumes(n_times=40, t_r=2.0, unit="sec", data=None)``; grid of 4 mm, 10 × 11 × 9 voxels."""
    import nibabel

    def make(n_times=40, t_r=2.0, unit="sec", data=None, seed=0, dtype=np.float32):
        rng = np.random.default_rng(seed)
        if data is None:
            data = 100 + 10 * rng.standard_normal((10, 11, 9, n_times))
        affine = np.diag([4.0, 4.0, 4.0, 1.0])
        affine[:3, 3] = (-20, -24, -16)
        image = nibabel.Nifti1Image(np.asarray(data).astype(dtype), affine)
        image.header.set_zooms((4, 4, 4, t_r))
        image.header.set_xyzt_units("mm", unit)
        return image

    return make


@pytest.fixture
def labels_image(volumes):
    """Label image on the grid of `volumes`: labels 3, 7 and 9."""
    import nibabel

    data = np.zeros((10, 11, 9), np.int16)
    data[1:4] = 9
    data[4:6, :5] = 3
    data[6:9, 5:] = 7
    return nibabel.Nifti1Image(data, volumes(2).affine)


@pytest.fixture
def atlas(labels_image):
    """Three regions, and a fourth that has no voxel."""
    from neurosig.loaders.atlas import Atlas

    return Atlas.from_files(labels_image, {3: "left", 7: "right", 9: "middle", 12: "gone"}, name="four")


@pytest.fixture
def three(labels_image):
    """The three regions that have voxels."""
    from neurosig.loaders.atlas import Atlas

    return Atlas.from_files(labels_image, {3: "left", 7: "right", 9: "middle"}, name="three")


@pytest.fixture
def fmriprep(tmp_path, volumes):
    """A tree as fMRIPrep writes it: ``fmriprep({"01": {}, "02": {"confounds": None}})`` gives its root."""
    import json

    import nibabel
    import pandas as pd

    motion = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]

    def table(n_times, rng, spikes=()):
        columns = {name: rng.standard_normal(n_times) for name in [*motion, "csf", "white_matter"]}
        for name in list(columns):
            columns[f"{name}_derivative1"] = np.r_[np.nan, np.diff(columns[name])]
            columns[f"{name}_power2"] = columns[name] ** 2
            columns[f"{name}_derivative1_power2"] = columns[f"{name}_derivative1"] ** 2
        for order in (1, 2):
            columns[f"cosine{order - 1:02d}"] = np.cos(np.pi * order * (np.arange(n_times) + 0.5) / n_times)
        columns["framewise_displacement"] = np.r_[np.nan, np.full(n_times - 1, 0.1)]
        columns["std_dvars"] = np.r_[np.nan, np.full(n_times - 1, 1.0)]
        for spike in spikes:
            columns["framewise_displacement"][spike] = 2.0
        return pd.DataFrame(columns)

    def make(people, participants=None, root=tmp_path / "derivatives" / "fmriprep"):
        root.mkdir(parents=True)
        (root / "dataset_description.json").write_text(json.dumps({"Name": "fMRIPrep", "BIDSVersion": "1.4.0"}))
        for number, (subject, settings) in enumerate(people.items()):
            rng = np.random.default_rng(number)
            folder = root / f"sub-{subject}" / "func"
            folder.mkdir(parents=True)
            for task in settings.get("tasks", ["rest"]):
                for space in settings.get("spaces", ["MNI152NLin2009cAsym"]):
                    n_times = settings.get("n_times", 60)
                    stem = folder / f"sub-{subject}_task-{task}_space-{space}_desc-preproc_bold"
                    image = settings.get("image") or volumes(n_times, t_r=settings.get("t_r", 2.0), seed=number)
                    nibabel.save(image, f"{stem}.nii.gz")
                    (folder / f"{stem.name}.json").write_text(json.dumps({"RepetitionTime": 2.0}))
                rows = settings.get("confounds", n_times)
                if rows is not None:
                    path = folder / f"sub-{subject}_task-{task}_desc-confounds_timeseries.tsv"
                    table(rows, rng, settings.get("spikes", ())).to_csv(path, sep="\t", index=False, na_rep="n/a")
        if participants is not None:
            (root.parent.parent / "participants.tsv").write_text(participants)
        return root

    return make
