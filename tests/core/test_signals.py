"""`SignalSpec` and `SignalDataset`: they survive JSON, mne and Zarr, and refuse what does not fit together."""

import json
import os
import shutil
import subprocess
import sys

import mne
import numpy as np
import pandas as pd
import pytest

from neurosig.core.errors import ChannelError, InputError, StorageError, UsageError
from neurosig.core.signals import Processing, SignalDataset, SignalSpec

SPEC = SignalSpec(
    "eeg", ("C3", "Cz", "C4"), sfreq=128.0, unit="V", n_times=20, tmin=0.5, highpass=8.0, lowpass=32.0, line_freq=50.0,
    positions=((0.0, 0.1, 0.2), (0.3, 0.4, 0.5), (0.6, 0.7, 0.8)), reference="average", montage="standard_1005",
    processing=Processing(0.5, 0.65, fmin=8, fmax=32, baseline=(None, 0), picks=("C3", "Cz", "C4")),
    extra={"a": [1, {"b": None}]},
)  # fmt: skip


@pytest.fixture
def dataset():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"subject": list("111222"), "session": "0", "run": list("001101"), "onset": np.arange(6) * 2.5, "file": "a.edf"}
    )
    y = np.array(["left", "right"] * 3)
    return SignalDataset(rng.standard_normal((6, 3, 20)) * 1e-5, y, table, SPEC, name="Six", truth={"a": 1})


def test_spec_survives_json():
    again = SignalSpec.from_dict(json.loads(json.dumps(SPEC.to_dict())))
    assert again.digest() == SPEC.digest()
    assert again.processing == SPEC.processing
    assert again.replace(extra={}) == SPEC.replace(extra={})


def test_spec_digest_is_the_same_in_every_process_and_tells_differences():
    code = (
        "import sys, json; from neurosig.core.signals import SignalSpec;"
        "print(SignalSpec.from_dict(json.loads(sys.stdin.read())).digest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(SPEC.to_dict()), capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert done.stdout.strip() == SPEC.digest()
    others = SPEC.replace(unit="uV"), SPEC.replace(ch_names=("C4", "Cz", "C3"))
    assert len({spec.digest() for spec in (SPEC, *others)}) == 3


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SignalSpec("nirs", ("A",)), UsageError, "modality must be one of eeg, meg, seeg, fmri, got 'nirs'"),
        (lambda: SignalSpec("eeg", ("A", "B", "A")), InputError, "occur more than once: A"),
        (lambda: SignalSpec("eeg", ("A", "B"), ("eeg",)), InputError, "one channel type for each of 2 channels, got 1"),
        (lambda: SignalSpec("eeg", ("A",), positions=((0, 0, 0),) * 2), InputError, "one position for each of 1"),
        (lambda: SignalSpec.from_dict({"modality": "eeg", "colour": 1}), InputError, r"unknown fields .*colour"),
        (lambda: SignalSpec("eeg", ("A",)).to_mne(), InputError, "needs a sampling rate"),
        (lambda: Processing(1.0, 1.0), UsageError, "tmax must lie after tmin"),
        (lambda: Processing(0.0, 1.0, fmin=30, fmax=8), UsageError, "fmax must lie above fmin"),
    ],
)
def test_specs_that_make_no_sense_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_spec_and_mne_info_say_the_same():
    info = SPEC.to_mne()
    assert info.ch_names == list(SPEC.ch_names)
    again = SignalSpec.from_mne(info)
    assert again.ch_names == SPEC.ch_names
    assert again.sfreq == SPEC.sfreq
    np.testing.assert_allclose(again.positions, SPEC.positions, rtol=1e-6)
    assert SignalSpec.from_mne(mne.create_info(["A"], 100.0, "seeg")).modality == "seeg"
    assert SignalSpec.from_mne(mne.create_info(["A"], 100.0, "mag")).unit == "T"
    assert SignalSpec.from_mne(mne.create_info(["A"], 100.0, "eeg")).positions is None


def test_processing_replaces_only_what_is_given():
    first = Processing(0.0, 2.0, fmin=8.0)
    assert first.replace(tmax=3.0, fmin=None) == Processing(0.0, 3.0, fmin=8.0)
    assert json.loads(json.dumps(SPEC.processing.to_dict()))["picks"] == ["C3", "Cz", "C4"]


def test_a_dataset_says_what_it_is(dataset):
    assert len(dataset) == 6
    assert repr(dataset) == "<SignalDataset Six: eeg, 6 × 3 × 20, 2 subjects, 2 labels>"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(5)}, "one label and one metadata row for each of 6 trials, got 5 labels and 6 rows"),
        ({"metadata": pd.DataFrame({"subject": ["1"] * 6})}, "missing: session, run"),
        ({"X": np.zeros((6, 2, 20))}, "X has 2 channels on its second axis, info names 3"),
    ],
)
def test_parts_that_do_not_fit_are_refused(dataset, change, message):
    parts = {"X": dataset.X, "y": dataset.y, "metadata": dataset.metadata, "info": dataset.info, **change}
    with pytest.raises(InputError, match=message):
        SignalDataset(**parts)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("subject == '1'", [0, 1, 2]),
        ("subject == '2' and run != '0'", [3, 5]),
        ("y == 'left'", [0, 2, 4]),
        (np.array([True, False, False, False, False, True]), [0, 5]),
        (np.array([4, 1]), [4, 1]),
        (slice(1, 3), None),
    ],
)
def test_subsets(dataset, query, expected):
    if expected is None:
        query, expected = np.arange(6)[query], [1, 2]
    part = dataset.subset(query)
    np.testing.assert_array_equal(part.X, dataset.X[expected])
    np.testing.assert_array_equal(part.y, dataset.y[expected])
    assert part.metadata["onset"].tolist() == [expected[i] * 2.5 for i in range(len(expected))]
    assert list(part.metadata.index) == list(range(len(expected)))
    assert np.shares_memory(part.X, dataset.X) == (expected in ([0, 1, 2], [1, 2]))


def test_an_empty_subset_and_a_wrong_query(dataset):
    assert len(dataset.subset("subject == '9'")) == 0
    with pytest.raises(UsageError, match=r"cannot select trials by 'colour == 1': .*columns are subject, session, run"):
        dataset.subset("colour == 1")


def test_lists_of_runs_of_different_length():
    runs = [np.zeros((2, 5)), np.ones((2, 7))]
    table = pd.DataFrame({"subject": ["1", "2"], "session": "0", "run": "0"})
    dataset = SignalDataset(runs, None, table, SignalSpec("fmri", ("A", "B"), unit="z"))
    assert dataset.subset("subject == '2'").X[0] is runs[1]
    assert "2 arrays" in repr(dataset)


@pytest.mark.parametrize("unit", ["V", "uV"])
def test_to_epochs_and_back(dataset, unit):
    factor = {"V": 1.0, "uV": 1e6}[unit]
    given = SignalDataset(dataset.X * factor, dataset.y, dataset.metadata, SPEC.replace(unit=unit), name="Six")
    epochs = given.to_epochs()
    assert epochs.event_id == {"left": 1, "right": 2}
    assert epochs.tmin == 0.5
    again = SignalDataset.from_epochs(epochs, name="Six")
    np.testing.assert_allclose(again.X, dataset.X, rtol=1e-12)
    np.testing.assert_array_equal(again.y, dataset.y)
    pd.testing.assert_frame_equal(again.metadata[list(dataset.metadata)], dataset.metadata)
    assert again.info.ch_names == SPEC.ch_names
    assert again.info.unit == "V"
    assert again.info.n_times == 20


def test_epochs_without_metadata_get_subject_session_and_run():
    epochs = mne.EpochsArray(np.zeros((2, 1, 10)), mne.create_info(1, 100.0, "eeg"), verbose=False)
    dataset = SignalDataset.from_epochs(epochs)
    assert dataset.metadata.to_dict("list") == {"subject": ["0", "0"], "session": ["0", "0"], "run": ["0", "0"]}


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zarr_keeps_everything_and_reads_lazily(dataset, tmp_path, labels, dtype):
    given = SignalDataset(
        dataset.X.astype(dtype), dataset.y if labels else None, dataset.metadata, dataset.info, name="Six"
    )  # fmt: skip
    path = given.to_zarr(tmp_path / "six.zarr")
    again = SignalDataset.from_zarr(path)
    assert not isinstance(again.X, np.ndarray)
    assert again.X.dtype == dtype
    np.testing.assert_array_equal(again.X[:], given.X)
    assert again.info.digest() == given.info.digest()
    assert again.name == "Six"
    pd.testing.assert_frame_equal(again.metadata, given.metadata, check_dtype=False)
    assert (again.y is None) == (not labels)
    part = again.subset("run == '0'")
    np.testing.assert_array_equal(part.X, given.X[[0, 1, 4]])
    assert [entry.name for entry in tmp_path.iterdir()] == ["six.zarr"]


def test_what_is_no_stored_dataset_is_said(tmp_path):
    import zarr

    zarr.open_group(tmp_path / "other.zarr", mode="w")
    for path in (tmp_path / "nowhere.zarr", tmp_path / "other.zarr"):
        with pytest.raises(StorageError, match=r"is not a dataset stored by SignalDataset.to_zarr"):
            SignalDataset.from_zarr(path)


@pytest.mark.parametrize("unit, modality, volts", [("mV", "eeg", 1e-3), ("nV", "eeg", 1e-9), ("fT", "meg", 1e-15)])
def test_to_epochs_converts_every_unit(unit, modality, volts):
    info = SignalSpec(modality, ("C3", "C4"), sfreq=100.0, unit=unit)
    table = pd.DataFrame({"subject": ["1"], "session": ["0"], "run": ["0"]})
    data = SignalDataset(np.full((1, 2, 10), 3.0), np.array(["a"]), table, info)
    np.testing.assert_allclose(data.to_epochs().get_data(), 3 * volts)


def test_to_epochs_refuses_a_unit_that_does_not_convert():
    table = pd.DataFrame({"subject": ["1"], "session": ["0"], "run": ["0"]})
    info = SignalSpec("eeg", ("C3",), sfreq=100.0, unit="z")
    data = SignalDataset(np.zeros((1, 1, 10)), None, table, info)
    with pytest.raises(ChannelError, match="expected signals in 'V', got 'z'"):
        data.to_epochs()


@pytest.mark.parametrize(
    "change, text",
    [
        ({"tmax": float("inf")}, "tmax must be a finite number"),
        ({"resample": -3.0}, "resample must be a positive number of Hz, got -3"),
        ({"fmin": 0.0}, "fmin must be a positive number of Hz"),
    ],
)
def test_processing_refuses_what_cannot_be_done(change, text):
    with pytest.raises(UsageError, match=text):
        Processing(**{"tmin": 0.0, "tmax": 1.0, **change})


def test_a_damaged_zarr_is_said(tmp_path):
    table = pd.DataFrame({"subject": ["1"], "session": ["0"], "run": ["0"]})
    data = SignalDataset(np.zeros((1, 1, 10)), None, table, SignalSpec("eeg", ("C3",), sfreq=100.0))
    data.to_zarr(tmp_path / "d.zarr")
    shutil.rmtree(tmp_path / "d.zarr" / "X")
    with pytest.raises(StorageError, match="to_zarr, or it is damaged"):
        SignalDataset.from_zarr(tmp_path / "d.zarr")
