import numpy as np
import pandas as pd
import pytest

from neurosig import load_eeg
from neurosig.core.errors import UsageError
from neurosig.loaders.recordings import ReadOptions, Recording, read_recording


@pytest.fixture
def moabb_home(tmp_path, monkeypatch):
    """MOABB writes a seed and result folders to mne's data folder on import."""
    monkeypatch.setenv("MNE_DATA", str(tmp_path))


def _as_moabb(raws, event_id, interval):
    """A dataset of MOABB's own kind around the same recordings."""
    from moabb.datasets.base import BaseDataset

    class Wrapped(BaseDataset):
        def __init__(self):
            super().__init__(
                subjects=[1],
                sessions_per_subject=1,
                events=event_id,
                code="Wrapped",
                interval=interval,
                paradigm="imagery",
            )

        def _get_single_subject_data(self, subject):
            return {"0": {str(run): raw.copy() for run, raw in enumerate(raws)}}

        def data_path(self, subject, path=None, force_update=False, update_path=None, verbose=None):
            return []

    return Wrapped()


@pytest.mark.parametrize(
    ("paradigm", "settings"),
    [
        ("left_right", {"fmin": 8, "fmax": 32, "tmin": 0.5, "tmax": 3.5}),
        ("left_right", {"fmin": 8, "fmax": 32, "tmin": 0.5, "tmax": 3.5, "resample": 128, "baseline": (0.0, 0.5)}),
        ("imagery", {"fmin": 4, "fmax": 38, "tmin": 0.0, "tmax": 2.0, "resample": 100, "picks": ("C4", "C3", "Cz")}),
    ],
)
def test_trials_are_those_of_moabb(data_dir, moabb_home, paradigm, settings):
    from moabb.paradigms import LeftRightImagery, MotorImagery

    files = [data_dir / f"eegmmidb/edf/S001R{run:02d}.edf" for run in (4, 8, 12)]
    events = {"left_hand": "T1", "right_hand": "T2"}
    ours = load_eeg(files, events=events, **settings)
    raws = [read_recording(Recording(file, options=ReadOptions(events=events)), preload=True) for file in files]
    dataset = _as_moabb(raws, {"left_hand": 1, "right_hand": 2}, [0, 4])
    keywords = {
        key: settings[key] for key in ("fmin", "fmax", "tmin", "tmax", "resample", "baseline") if key in settings
    }
    keywords["channels"] = list(settings["picks"]) if "picks" in settings else None
    made = (
        LeftRightImagery(**keywords)
        if paradigm == "left_right"
        else MotorImagery(n_classes=2, events=list(events), **keywords)
    )
    X, y, metadata = made.get_data(dataset, [1])
    assert ours.X.shape == X.shape
    np.testing.assert_allclose(ours.X * 1e6, X, rtol=1e-9, atol=1e-9 * np.abs(X).max())
    assert ours.y.tolist() == list(y)
    assert ours.metadata["run"].map({"4": "0", "8": "1", "12": "2"}).tolist() == metadata["run"].tolist()


def test_trial_files_through_moabb_are_filtered_the_same_way(data_dir, moabb_home):
    from moabb.paradigms import LeftRightImagery

    path = data_dir / "eegmmidb/epochs/S003_mi.npz"
    ours = load_eeg(path, tmin=0.5, tmax=3.5, fmin=8, fmax=32)
    dataset = _as_moabb([read_recording(Recording(path))], {"left_hand": 1, "right_hand": 2}, [0, 4])
    X, y, _ = LeftRightImagery(fmin=8, fmax=32, tmin=0.5, tmax=3.5).get_data(dataset, [1])
    assert ours.X.shape == X.shape == (45, 64, 481)
    np.testing.assert_allclose(ours.X * 1e6, X, rtol=1e-9, atol=1e-9 * np.abs(X).max())
    assert ours.y.tolist() == list(y)


def test_what_is_told_about_the_signal(data_dir):
    loaded = load_eeg(
        data_dir / "eegmmidb/edf/S002R04.edf",
        events=["T1", "T2"],
        tmin=0,
        tmax=1,
        fmin=8,
        fmax=32,
        montage="standard_1005",
    )
    info = loaded.info
    assert (info.modality, info.unit, info.sfreq, info.n_times, info.tmin) == ("eeg", "V", 160.0, 161, 0.0)
    assert (info.highpass, info.lowpass, info.montage) == (8.0, 32.0, "standard_1005")
    assert info.processing.fmax == 32
    assert len(info.positions) == 64
    assert loaded.name == "S002R04.edf"


def test_headset_streams(data_dir):
    files = sorted((data_dir / "muse").glob("visual_n170_subject1_*"))
    loaded = load_eeg(files, events={"house": 1, "face": 2}, tmin=0, tmax=0.8, fmin=1, fmax=30)
    markers = np.concatenate([pd.read_csv(file).filter(like="Marker").to_numpy()[:, 0] for file in files])
    assert {name: int((loaded.y == name).sum()) for name in ("house", "face")} == {
        "house": int((markers == 1).sum()),
        "face": int((markers == 2).sum()),
    }
    assert loaded.info.ch_names == ("TP9", "AF7", "AF8", "TP10")


def test_meg_and_intracranial_recordings(data_dir):
    trials = load_eeg(data_dir / "formats/mne_testing/test_elekta_3ch_raw.fif", tmin=0, tmax=0.1)
    assert (trials.info.modality, trials.info.unit, len(trials.info.ch_names)) == ("meg", "T", 3)
    assert len(set(trials.y)) == 8
    ripples = load_eeg(data_dir / "ieeg_hfo", tmin=0, tmax=0.05)
    assert ripples.info.modality == "seeg"


def test_square_and_response_events_of_eeglab(data_dir):
    loaded = load_eeg(data_dir / "formats/mne_testing/test_raw.set", events=["square", "rt"], tmin=0, tmax=0.5)
    assert {name: int((loaded.y == name).sum()) for name in ("square", "rt")} == {"square": 80, "rt": 74}


def test_nan_spans_may_be_left_out(make_raw, save):
    raw = make_raw(events={"left": [1, 9], "right": [5]})
    raw._data[1, 5 * 128 + 10 : 5 * 128 + 20] = np.nan
    with pytest.warns(UserWarning, match="all 2 trials are 'left'"):
        loaded = load_eeg(save(raw), tmin=0, tmax=0.5, fmin=1, fmax=40, on_nan="annotate")
    assert np.isfinite(loaded.X).all()
    np.testing.assert_allclose(loaded.metadata["onset"], [1, 9])


def test_one_class_is_loaded_with_a_warning(recording):
    with pytest.warns(UserWarning, match="all 3 trials are 'left': a decoder needs two classes"):
        loaded = load_eeg(recording, events=["left"], tmin=0, tmax=1)
    assert len(loaded) == 3


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({}, "tmin and tmax are needed"),
        ({"tmin": 0, "tmax": 1, "montag": "x"}, "has no option 'montag'; nearest"),
        ({"window": 4.0}, r"window must be \(length, step\) in seconds, got 4.0; write window=\(4.0, 4.0\)"),
        ({"tmin": 1, "tmax": 0}, "tmax must lie after tmin"),
        ({"tmin": 0, "tmax": 1, "events": "left"}, r"write \['left'\]"),
        ({"tmin": 0, "tmax": 1, "events": []}, "events is empty"),
    ],
)
def test_wrong_calls(recording, keywords, text):
    with pytest.raises(UsageError, match=text):
        load_eeg(recording, **keywords)
