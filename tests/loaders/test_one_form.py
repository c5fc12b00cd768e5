"""Recordings that differ among themselves, in the benchmark: brought to one form, or refused before any work."""

import pickle

import mne
import numpy as np
import pytest

from neurosig.core.errors import ChannelError, InputError
from neurosig.loaders.manifest import open_dataset

pytest.importorskip("moabb")
pytestmark = [
    # moabb and what it imports warn about their own use of numpy, pandas, mne and scikit-learn
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

NAMES = ("C3", "Cz", "C4", "Pz")
CUT = {"tmin": 0.0, "tmax": 1.0, "fmin": 8, "fmax": 30}


@pytest.fixture
def write_run(tmp_path):
    """One run of 16 trials whose classes differ in C3 against C4, with its channels in any order and under any name."""
    folder = tmp_path / "lab"
    folder.mkdir(exist_ok=True)

    def write(subject, run, order=NAMES, sfreq=100.0, bads=(), seconds=50):
        rng = np.random.default_rng([subject, run])
        data = rng.standard_normal((len(NAMES), int(seconds * sfreq))) * 1e-5
        onsets = np.arange(16) * 3.0 + 1
        labels = ["left_hand", "right_hand"] * 8
        for onset, label in zip(onsets, labels, strict=True):
            span = slice(int(onset * sfreq), int((onset + 1) * sfreq))
            data[0 if label == "left_hand" else 2, span] *= 4
        raw = mne.io.RawArray(data, mne.create_info(list(NAMES), sfreq, "eeg"), verbose="error")
        raw.set_annotations(mne.Annotations(onsets, 0.0, labels))
        spare = [name for name in order if name not in NAMES]
        raw.rename_channels(dict(zip([name for name in NAMES if name not in order], spare, strict=True)))
        raw.reorder_channels(list(order)).info["bads"] = list(bads)
        raw.save(folder / f"subject{subject}_run{run}_raw.fif", fmt="double", overwrite=True, verbose="error")
        return folder

    return write


def trials(manifest):
    from moabb.paradigms import LeftRightImagery

    dataset = pickle.loads(pickle.dumps(manifest.as_moabb()))  # as in a worker process
    X, y, _ = LeftRightImagery(fmin=8, fmax=30, resample=manifest.processing.resample).get_data(dataset)
    return X, y, dataset


@pytest.mark.parametrize("where", ["within a subject", "between subjects"])
def test_permuted_channels_are_put_in_order(write_run, where):
    places = [(1, 1), (1, 2), (2, 1), (2, 2)]
    for place in places:
        folder = write_run(*place)
    X, y, _ = trials(open_dataset(folder, **CUT))
    for subject, run in places:
        if (run if where == "within a subject" else subject) == 2:
            write_run(subject, run, ("C4", "C3", "Pz", "Cz"))
    permuted = open_dataset(folder, **CUT)
    again, labels, _ = trials(permuted)
    np.testing.assert_array_equal(again, X)
    np.testing.assert_array_equal(labels, y)
    np.testing.assert_array_equal(again, permuted.load().X * 1e6)


def test_permuted_channels_score_as_unpermuted_ones(write_run):
    from neurosig import benchmark

    scores = []
    for order in (NAMES, ("C4", "C3", "Pz", "Cz")):
        write_run(1, 1)
        folder = write_run(1, 2, order)
        table = benchmark("CSP+LDA", open_dataset(folder, **CUT), folds="run", progress=False).table
        scores.append(table["score"].tolist())
    assert scores[0] == scores[1]
    assert np.mean(scores) > 0.9


@pytest.mark.parametrize("second", [(1, 2), (2, 1)])
def test_different_channels_are_refused_as_load_does(write_run, second):
    write_run(1, 1)
    folder = write_run(*second, ("C4", "C3", "Cz", "Fz"))
    manifest = open_dataset(folder, **CUT)
    with pytest.raises(ChannelError, match=r"channels differ: subject.*lacks Pz and has Fz besides") as told:
        manifest.as_moabb()
    with pytest.raises(ChannelError) as ours:
        manifest.load()
    assert str(told.value) == str(ours.value)
    X, *_ = trials(manifest.replace(picks=("C4", "C3")))
    assert X.shape[1] == 2


def test_bad_in_one_run_is_left_out_of_all(write_run):
    write_run(1, 1)
    X, *_ = trials(open_dataset(write_run(1, 2, bads=["Cz"]), **CUT))
    assert X.shape[1] == 3


def test_picks_in_another_spelling(write_run):
    manifest = open_dataset(write_run(1, 1), **CUT, picks=("c4", "cz"))
    from neurosig import benchmark

    table = benchmark("CSP+LDA", manifest, folds="chronological", progress=False).table
    assert table["channels"].tolist() == [2]
    with pytest.raises(ChannelError, match="picks names channels that the recording does not have: XX"):
        manifest.replace(picks=("XX",)).as_moabb()


def test_mixed_rates(write_run):
    write_run(1, 1, sfreq=250.0)
    folder = write_run(1, 2, sfreq=200.0)
    with pytest.raises(InputError, match=r"sampling rates differ: .* pass resample"):
        open_dataset(folder, **CUT).as_moabb()
    manifest = open_dataset(folder, **CUT, resample=199.0)
    X, *_ = trials(manifest)
    np.testing.assert_array_equal(X, manifest.load().X * 1e6)
    assert len(X) == 32


def test_trials_are_counted(write_run):
    folder = write_run(1, 1, seconds=46.5)  # the last trial sticks out
    X, _, dataset = trials(open_dataset(folder, **CUT))
    assert dataset.trial_counts == {1: (16, 15)}
    assert len(X) == 15


def test_a_broken_file_costs_its_subject_only(write_run):
    write_run(1, 1)
    folder = write_run(2, 1)
    manifest = open_dataset(folder, **CUT)
    path = folder / "subject2_run1_raw.fif"
    path.write_bytes(path.read_bytes()[:200])
    dataset = manifest.as_moabb()
    dataset.get_data([1])
    with pytest.raises(InputError, match=r"subject2_run1_raw\.fif"):
        dataset.get_data([2])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--channels", "XX"], "picks names channels that the recording does not have: XX"),
        (["--fmax", "90"], "the band must end below 50 Hz"),
        (["--tmax", "900"], "no trial from tmin=0 to tmax=900 s fits"),
        ([], "Pz never change(s) over the whole recording"),
    ],
)
def test_benchmark_says_it_in_one_line(cli, write_run, options, text):
    folder = write_run(1, 1)
    if not options:
        raw = mne.io.read_raw_fif(folder / "subject1_run1_raw.fif", preload=True, verbose="error")
        raw._data[3] = 0.0
        raw.save(folder / "subject1_run1_raw.fif", overwrite=True, verbose="error")
    done = cli("benchmark", "-d", folder, "-p", "Chance", "-o", "out", "--tmin", "0", *options)
    assert done.returncode == 1, done.stdout + done.stderr
    assert text in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
