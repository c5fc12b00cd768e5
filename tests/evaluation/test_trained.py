"""Trained pipelines: honest estimates, storage, and the same answer for the same signals however they are stored."""

import dataclasses
import json

import lives
import mne
import numpy as np
import pandas as pd
import pytest
from scipy.signal import iirfilter, sosfiltfilt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from neurosig.core.channels import map_channels
from neurosig.core.errors import ChannelError, ChecksumError, InputError, StorageError, UsageError
from neurosig.core.signals import SignalDataset
from neurosig.evaluation.estimates import estimate_scores, pooled_folds
from neurosig.evaluation.trained import TrainedPipeline, train
from neurosig.loaders.manifest import open_dataset
from neurosig.loaders.simulated import simulate_eeg, simulate_recordings
from neurosig.models import NeuroRVQClassifier, TFMClassifier

PROCESSING = {"tmin": 0.5, "tmax": 2.5, "fmin": 8.0, "fmax": 32.0}
EVENTS = ["left_hand", "right_hand"]
CHANNELS = ["F3", "F4", "T7", "C3", "Cz", "C4", "T8", "P3", "P4", "O1", "O2"]


pytestmark = pytest.mark.xdist_group("trained")  # one worker prepares what they share


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four recordings of two people, at full precision."""
    place = tmp_path_factory.mktemp("recordings")
    for item in simulate_recordings("imagery", 2, 1, 2, 20, ch_names=CHANNELS):
        name = f"subject{item.subject}_session{item.session}_run{item.run}_raw.fif"
        item.raw.save(place / name, fmt="double", verbose="error")
    return place


@pytest.fixture(scope="module")
def files(folder):
    return sorted(folder.glob("*_raw.fif"))


@pytest.fixture(scope="module")
def trained(folder):
    return train(open_dataset(folder, **PROCESSING), "TS+LR")


@pytest.fixture(scope="module")
def signals(folder, trained):
    """The training trials as the pipeline saw them."""
    data = open_dataset(folder, **PROCESSING).load()
    return map_channels(data.X, data.info, trained.spec)[0], data


def numbers(decoded):
    return decoded.table[[f"p_{name}" for name in decoded.classes]].to_numpy()


@pytest.mark.parametrize("name", ["TFM", "NeuroRVQ"])
def test_classifiers_of_tokens_decode_after_storage_as_before(folder, files, tmp_path, name):
    tiny = {"n_codes": 8, "emb_size": 8, "freq_depth": 1, "temporal_depth": 1, "decoder_depth": 1, "n_heads": 2,
            "max_epochs": 1}  # fmt: skip
    small = {"encoder_params": {"depth": 1, "n_heads": 2}, "mtp_epochs": 1, "max_epochs": 1, "device": "cpu"}
    classifier = {
        "TFM": TFMClassifier(tokenizer_params=tiny, **small),
        "NeuroRVQ": NeuroRVQClassifier(
            patch_size=40,
            depth=1,
            n_heads=2,
            options={"n_filters": 2, "n_groups": 1},
            resample=True,
            max_epochs=1,
            on_unknown="drop",
            device="cpu",
        ),
    }[name]
    model = train(open_dataset(folder, **PROCESSING), classifier, folds=None)
    loaded = TrainedPipeline.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(numbers(loaded.decode(files[0])), numbers(model.decode(files[0])))


def rewrite(file, path, change=None, fmt="double"):
    raw = mne.io.read_raw_fif(file, preload=True, verbose="error")
    raw = raw if change is None else change(raw) or raw
    raw.save(path, fmt=fmt, overwrite=True, verbose="error")
    return path


# ---------------------------------------------------------------------------------------------- training


def test_training_signals_are_what_moabb_would_hand_over(trained, folder):
    from moabb.paradigms import LeftRightImagery

    dataset = open_dataset(folder).as_moabb(events=EVENTS, tmin=0.5, tmax=2.5)
    X, labels, _ = LeftRightImagery(fmin=8, fmax=32, tmin=0, tmax=None).get_data(dataset)
    proba = trained.pipeline.predict_proba(X)
    data = open_dataset(folder, **PROCESSING).load()
    ours = trained.predict_proba(map_channels(data.X, data.info, trained.spec)[0])
    assert trained.spec.unit == "uV"
    assert X.shape[-1] == trained.spec.n_times
    np.testing.assert_allclose(np.sort(proba, axis=0), np.sort(ours, axis=0), rtol=1e-9)
    assert sorted(labels) == sorted(data.y)


def test_estimate_is_sklearns_cross_validation_for_one_person():
    data = simulate_eeg("imagery", 1, 1, 3, 20, ch_names=CHANNELS)
    X, y = data.X * 1e6, np.unique(data.y, return_inverse=True)[1]
    model = make_pipeline(Power(), LogisticRegression())
    [entry] = estimate_scores(model, X, y, data.metadata, kind="run")
    expected = cross_val_score(model, X, y, groups=data.metadata["run"], cv=LeaveOneGroupOut(), scoring="roc_auc")
    assert entry["scores"] == pytest.approx(expected.tolist(), abs=0)
    assert entry["mean"] == pytest.approx(expected.mean())
    assert entry["sd"] == pytest.approx(expected.std(ddof=1))
    assert (entry["n_folds"], entry["n_trials"], entry["chance"]) == (3, 60, 0.5)


def test_several_people_are_also_tested_as_new_people(trained):
    first, second = trained.card["scores"]
    assert (first["question"], first["folds"]) == ("new runs of the same people", "run")
    assert (second["question"], second["folds"], second["n_folds"]) == ("new people", "subject", 2)
    assert first["n_scores"] == 4  # two folds, two people in each


@pytest.mark.parametrize("kind", ["run", "session", "chronological", "shuffled", "subject"])
def test_pooled_folds_test_each_trial_once_and_never_train_on_it(kind):
    rng = np.random.default_rng(0)
    rows = [(s, e, r) for s in "123" for e in "01" for r in ("01" if s == "1" else "012") for _ in range(10)]
    metadata = pd.DataFrame(rows, columns=["subject", "session", "run"])
    y = np.tile([0, 1], len(rows) // 2)
    metadata["onset"] = rng.permutation(len(rows)) * 5.0
    folds = pooled_folds(y, metadata, kind, window=(0, 4))
    tested = np.concatenate([test for _, test in folds])
    assert np.array_equal(np.sort(tested), np.arange(len(y)))
    for train_, test in folds:
        assert not set(train_) & set(test)
        whole = {"run": ["subject", "session", "run"], "session": ["subject", "session"], "subject": ["subject"]}.get(
            kind
        )
        if whole:
            keys = [set(map(tuple, metadata.iloc[part][whole].to_numpy())) for part in (train_, test)]
            assert not keys[0] & keys[1]


def test_estimate_of_noise_is_chance():
    rng = np.random.default_rng(3)
    metadata = pd.DataFrame({"subject": "1", "session": "0", "run": np.repeat(list("01234"), 40)})
    [entry] = estimate_scores(
        make_pipeline(Flat(), LogisticRegression()), rng.standard_normal((200, 4, 1)), np.tile([0, 1], 100), metadata
    )
    assert entry["mean"] < entry["chance_upper"]


def test_without_folds_nothing_is_estimated_and_the_card_says_so(folder, tmp_path):
    model = train(open_dataset(folder, **PROCESSING), "LogVar+LDA", folds=None, subjects=["1"])
    model.save(tmp_path / "model")
    assert model.card["scores"] == []
    assert "Not estimated" in (tmp_path / "model" / "README.md").read_text()
    assert model.card["dataset"]["subjects"] == ["1"]


def test_arguments_in_the_wrong_order_are_named():
    from sklearn.dummy import DummyClassifier

    with pytest.raises(UsageError, match=r"expected the dataset first .* got DummyClassifier; call train\(dataset"):
        train(DummyClassifier(), "simulated-imagery")


def test_folds_that_the_chosen_recordings_cannot_give_are_replaced(files, tmp_path):
    model = train(open_dataset(files[0], **PROCESSING), "LogVar+LDA", n_splits=2)
    assert [entry["folds"] for entry in model.card["scores"]] == ["chronological"]


def test_the_seed_reaches_the_pipeline():
    data = simulate_eeg("imagery", 1, 1, 2, 10, ch_names=CHANNELS)
    model = train(data, make_pipeline(Flat(), LinearSVC()), folds=None, random_state=7)
    assert model.pipeline[-1].random_state == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": None}, "has no labels"),
        ({"y": np.repeat("left", 20)}, "holds one class only .left."),
        ({"y": np.array(["left"] * 19 + ["right"])}, "holds one trial of right only"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(change, message):
    data = simulate_eeg("imagery", 1, 1, 1, 20, ch_names=CHANNELS)
    with pytest.raises(InputError, match=message):
        train(dataclasses.replace(data, **change), "LogVar+LDA")


def test_wrong_calls_are_refused():
    data = simulate_eeg("imagery", 1, 1, 1, 20, ch_names=CHANNELS)
    with pytest.raises(UsageError, match="is cut already, fmin cannot change"):
        train(data, "LogVar+LDA", fmin=4.0)
    with pytest.raises(UsageError, match="no such subject: 9"):
        train(data, "LogVar+LDA", subjects=[9])
    with pytest.raises(UsageError, match=r"TS.LR"):
        train(data, "TS+LX")
    with pytest.raises(UsageError, match="folds must be one of"):
        train(data, "LogVar+LDA", folds="random")


# ---------------------------------------------------------------------------------------------- storage


def test_a_fresh_process_gives_identical_numbers(trained, signals, tmp_path):
    X, _ = signals
    trained.save(tmp_path / "model")
    np.save(tmp_path / "X.npy", X)
    code = (
        "import sys, numpy as np; from neurosig import TrainedPipeline; m = TrainedPipeline.load('model');"
        "np.save('p.npy', m.predict_proba(np.load('X.npy'))); print(','.join(m.predict(np.load('X.npy'))))"
    )
    done = lives.python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "p.npy"), trained.predict_proba(X))
    assert done.stdout.strip().split(",") == trained.predict(X).tolist()
    loaded = TrainedPipeline.load(tmp_path / "model")
    assert (loaded.spec, loaded.classes) == (trained.spec, trained.classes)
    assert loaded.card == json.loads(json.dumps(trained.card))


def test_the_card_tells_what_must_be_known(trained, tmp_path):
    trained.save(tmp_path / "model")
    text = (tmp_path / "model" / "README.md").read_text()
    score = trained.card["scores"][1]
    for part in (
        "new people: AUC",
        f"{score['mean']:.3f} ± {score['sd']:.3f}",
        "chance 0.500",
        "80 (40 left_hand, 40 right_hand)",
        "0.5 to 2.5 s around the event, 8 to 32 Hz",
        "128 Hz; unit: uV; 257 samples",
        "pyriemann",
        "Seed: 42",
    ):
        assert part in text


@pytest.mark.parametrize("name", ["pipeline.skops", "config.json"])
def test_a_folder_that_was_altered_is_refused(trained, tmp_path, name):
    model = trained.save(tmp_path / "model")
    file = model / name
    if name == "config.json":
        file.write_text(file.read_text().replace('"left_hand"', '"xxxx_hand"'))
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    with pytest.raises(ChecksumError, match=r"altered|SHA-256 differs"):
        TrainedPipeline.load(model)


def test_other_folders_are_no_models(trained, tmp_path):
    from neurosig import save_pipeline

    with pytest.raises(StorageError, match="is not a saved pipeline"):
        TrainedPipeline.load(tmp_path)
    save_pipeline(trained.pipeline, tmp_path / "bare")
    with pytest.raises(StorageError, match="does not say what it was trained on"):
        TrainedPipeline.load(tmp_path / "bare")


# ---------------------------------------------------------------------------------------------- decoding events


def test_training_recordings_by_events_give_exactly_the_training_answer(trained, files, signals):
    X, data = signals
    decoded = trained.decode(files, events="training")
    assert np.array_equal(numbers(decoded), trained.pipeline.predict_proba(X))
    assert decoded.table["event"].tolist() == data.y.tolist()
    assert decoded.table["onset"].tolist() == data.metadata["onset"].tolist()
    assert decoded.table["file"].tolist() == data.metadata["file"].tolist()
    assert decoded.accuracy == (trained.pipeline.predict(X) == np.unique(data.y, return_inverse=True)[1]).mean()
    assert "was trained on" in decoded.report["warnings"][0]


def shuffled(raw):
    raw.reorder_channels(np.random.default_rng(0).permutation(raw.ch_names).tolist())


def respelled(raw):
    raw.rename_channels({"T7": "T3", "T8": "t4..", "C3": "c3.", "Cz": "CZ", "F3": "EEG F3-REF"})


def with_more(raw):
    raw.load_data()
    more = mne.io.RawArray(
        1e-4 * np.random.default_rng(1).standard_normal((2, raw.n_times)),
        mne.create_info(["Fz", "Pz"], raw.info["sfreq"], "eeg"),
        first_samp=raw.first_samp,
        verbose="error",
    )
    raw.add_channels([more], force_update_info=True)


def in_microvolts(raw):
    raw.apply_function(lambda x: x * 1e6)


@pytest.mark.parametrize(
    ("change", "told"),
    [(shuffled, "reorder"), (respelled, "T3"), (with_more, "Fz")],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_same_signals_give_the_same_answer(trained, files, tmp_path, change, told):
    expected = trained.decode(files[0], events=EVENTS)
    other = trained.decode(rewrite(files[0], tmp_path / "other_raw.fif", change), events=EVENTS)
    assert np.array_equal(numbers(other), numbers(expected))
    assert told in other.report["recordings"][0]["mapping"]


def with_a_dead_one(raw):
    with_more(raw)
    raw.apply_function(lambda x: 0 * x, picks=["Pz"])


def test_a_dead_channel_that_the_model_does_not_use_does_no_harm(trained, files, tmp_path):
    expected = trained.decode(files[0], events=EVENTS)
    other = trained.decode(rewrite(files[0], tmp_path / "other_raw.fif", with_a_dead_one), events=EVENTS)
    assert np.array_equal(numbers(other), numbers(expected))


def test_microvolts_are_refused_unless_they_are_stated(trained, files, tmp_path):
    file = rewrite(files[0], tmp_path / "other_raw.fif", in_microvolts)
    with pytest.raises(InputError, match=r"other_raw.fif: .*looks like microvolts stored as volts"):
        trained.decode(file, events=EVENTS)
    stated = trained.decode(file, events=EVENTS, read={"unit": "uV"})
    np.testing.assert_allclose(numbers(stated), numbers(trained.decode(files[0], events=EVENTS)), rtol=1e-9)


def test_other_event_names(trained, files, tmp_path):
    file = rewrite(
        files[0],
        tmp_path / "o_raw.fif",
        lambda raw: raw.annotations.rename({"left_hand": "T1", "right_hand": "T2"}) and None,
    )
    expected = trained.decode(files[0], events=EVENTS)
    named = trained.decode(file, events={"left_hand": "T1", "right_hand": "T2"})
    assert named.table["correct"].tolist() == expected.table["correct"].tolist()
    plain = trained.decode(file, events=["T1", "T2"])
    assert "correct" not in plain.table
    assert plain.accuracy is None
    assert np.array_equal(numbers(plain), numbers(expected))


def test_a_missing_channel_is_refused_by_name_or_interpolated(trained, files, tmp_path):
    file = rewrite(files[0], tmp_path / "o_raw.fif", lambda raw: raw.drop_channels(["P3"]))
    with pytest.raises(ChannelError, match=r"o_raw.fif: expected 11 channels, 10 of them are in the data; missing: P3"):
        trained.decode(file, events=EVENTS)
    with pytest.raises(
        ChannelError, match="needs all of its 11 channels, P3 are missing; use on_missing='interpolate'"
    ):
        trained.decode(file, events=EVENTS, on_missing="drop")
    guessed = trained.decode(file, events=EVENTS, on_missing="interpolate")
    assert "channels estimated from their neighbours: P3" in guessed.report["warnings"]
    assert np.isfinite(numbers(guessed)).all()


def test_a_channel_marked_bad_is_missing(trained, files, tmp_path):
    file = rewrite(files[0], tmp_path / "o_raw.fif", lambda raw: raw.info.update(bads=["P3"]))
    with pytest.raises(ChannelError, match=r"missing: P3.*marked bad in the recording: P3"):
        trained.decode(file, events=EVENTS)


def test_another_rate_is_refused_or_resampled_on_request(trained, files, tmp_path):
    file = rewrite(files[0], tmp_path / "o_raw.fif", lambda raw: raw.resample(256, verbose="error"))
    with pytest.raises(ChannelError, match="expected a sampling rate of 128 Hz, got 256 Hz; resample"):
        trained.decode(file, events=EVENTS)
    expected, resampled = (
        trained.decode(files[0], events=EVENTS),
        trained.decode(file, events=EVENTS, on_sfreq="resample"),
    )
    np.testing.assert_allclose(numbers(resampled), numbers(expected), atol=0.02)


# ---------------------------------------------------------------------------------------------- decoding windows


def test_windows_are_slices_of_the_filtered_recording(trained, files):
    decoded = trained.decode(files[0], windows=(2.0, 0.75))
    raw = mne.io.read_raw_fif(files[0], preload=True, verbose="error")
    # independent of mne: the filter that "iir" stands for there, a Butterworth of order 4 run in both directions
    sos = iirfilter(4, [8, 32], btype="bandpass", ftype="butter", output="sos", fs=128)
    padded = mne.filter.estimate_ringing_samples(iirfilter(4, [8, 32], fs=128, output="ba"))
    data = sosfiltfilt(sos, raw.get_data(trained.spec.ch_names), padlen=min(padded, raw.n_times - 1)) * 1e6
    starts = np.arange(0, raw.n_times - 257 + 1, 96)
    X = np.stack([data[:, start : start + 257] for start in starts])
    np.testing.assert_allclose(decoded.table["onset"], starts / 128)
    inside = slice(5, -5)  # the two treat the ends of the recording differently
    np.testing.assert_allclose(numbers(decoded)[inside], trained.predict_proba(X)[inside], atol=1e-4)
    assert set(decoded.table["duration"]) == {2.0}


def test_windows_are_as_long_as_in_training_unless_said_otherwise(trained, files):
    decoded = trained.decode(files[0])
    assert decoded.report["window"] == {"length": 2.0, "step": 1.0}
    assert decoded.report["mode"] == "windows"
    short = trained.decode(files[0], windows=(1.0, 1.0))
    assert any("windows of 1 s, the model was trained on 2 s" in text for text in short.report["warnings"])


def test_a_window_at_an_event_gives_the_events_answer(trained, files):
    event = trained.decode(files[0], events=EVENTS)
    start = event.table["onset"].iloc[3] + 0.5  # trials begin half a second after their event
    window = trained.decode(files[0], windows=(2.0, start))
    assert window.table["onset"].iloc[1] == pytest.approx(start, abs=0.5 / 128)
    np.testing.assert_allclose(numbers(window)[1], numbers(event)[3], rtol=1e-9)


def test_small_batches_change_nothing(trained, files):
    np.testing.assert_allclose(
        numbers(trained.decode(files[0], batch_bytes=1e5)), numbers(trained.decode(files[0])), rtol=1e-12
    )


def test_bad_spans_are_left_out(trained, files, tmp_path):
    file = rewrite(
        files[0], tmp_path / "o_raw.fif", lambda raw: raw.annotations.append(20.0, 5.0, "BAD_moved") and None
    )
    decoded = trained.decode(file, windows=(2.0, 0.5))
    onset = decoded.table["onset"]
    assert not ((onset + 2.0 > 20.0) & (onset < 25.0)).any()
    assert ((onset >= 25.0) | (onset <= 18.0)).all()
    assert any("were left out" in text for text in decoded.report["warnings"])
    everything = trained.decode(files[0], windows=(2.0, 0.5))
    kept = everything.table["onset"].isin(onset)
    assert np.array_equal(numbers(decoded), numbers(everything)[kept]) or np.allclose(
        numbers(decoded), numbers(everything)[kept]
    )


def test_a_fixed_length_pipeline_refuses_other_windows(files):
    data = open_dataset(files[0], resample=32.0, **PROCESSING)
    model = train(data, make_pipeline(Flat(), LogisticRegression(max_iter=50)), folds=None)
    assert model.decode(files[0]).kind == "probability"
    with pytest.raises(InputError, match="takes windows of 2 s only, got 1 s"):
        model.decode(files[0], windows=(1.0, 0.5))


def test_scores_that_are_no_probabilities_are_called_so(files):
    data = open_dataset(files[0], **PROCESSING)
    model = train(data, make_pipeline(Power(), LinearSVC()), folds=None)
    decoded = model.decode(files[0], events=EVENTS)
    assert decoded.kind == "score"
    assert "p_left_hand" not in decoded.table
    signed = decoded.table["score_right_hand"]
    assert (decoded.table["predicted"] == np.where(signed > 0, "right_hand", "left_hand")).all()
    assert "not calibrated" in " ".join(decoded.report["warnings"])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"events": EVENTS, "windows": (2, 1)}, UsageError, "exclude each other"),
        ({"windows": (2, 0)}, UsageError, "both positive seconds"),
        ({"windows": (900, 1)}, InputError, "too short for one window of 900 s"),
        ({"events": ["nothing"]}, InputError, "none of the events asked for: nothing"),
        ({"on_missing": "guess"}, UsageError, "on_missing must be one of"),
    ],
)
def test_wrong_decoding_calls(trained, files, arguments, error, message):
    with pytest.raises(error, match=message):
        trained.decode(files[0], **arguments)


def test_nan_and_truncation_are_refused(trained, files, tmp_path):
    def hole(raw):
        raw._data[3, 500:520] = np.nan

    with pytest.raises(InputError, match="NaN"):
        trained.decode(rewrite(files[0], tmp_path / "nan_raw.fif", hole))
    cut = tmp_path / "cut_raw.fif"
    cut.write_bytes(files[0].read_bytes()[:40_000])
    with pytest.raises(InputError, match=r"cut_raw\.fif"):
        trained.decode(cut)


def test_saved_tables_hold_the_numbers_to_the_last_digit(trained, files, tmp_path):
    decoded = trained.decode(files[0], events=EVENTS)
    paths = decoded.save(tmp_path)
    table = pd.read_csv(paths["csv"])
    assert np.array_equal(table["p_left_hand"], decoded.table["p_left_hand"])
    stored = json.loads(paths["json"].read_text())
    assert [row["predicted"] for row in stored["windows"]] == decoded.table["predicted"].tolist()
    assert stored["windows"][0]["p_left_hand"] == pytest.approx(decoded.table["p_left_hand"].iloc[0], abs=1e-14)


def test_real_recordings_of_another_run(data_dir):
    """PhysioNet's EDF+, dots in the names: train on two runs, decode the third by its annotations."""
    edf = data_dir / "eegmmidb" / "edf"
    events = {"left": "T1", "right": "T2"}
    from neurosig.loaders.epochs import load_recordings
    from neurosig.loaders.manifest import Processing
    from neurosig.loaders.recordings import ReadOptions, Recording

    options = ReadOptions(events=events)
    runs = [Recording(edf / f"S002R{run}.edf", "2", "0", run, options=options) for run in ("04", "08")]
    data = load_recordings(runs, list(events), Processing(0.5, 3.5, 8.0, 32.0))
    assert isinstance(data, SignalDataset)
    model = train(data, "TS+LR")
    decoded = model.decode(edf / "S002R12.edf", events=events)
    assert decoded.accuracy > 0.75  # this person scores 0.98 AUC on these runs
    assert len(decoded) == 15


# ---------------------------------------------------------------------------------------------- small parts


from sklearn.base import BaseEstimator, TransformerMixin  # noqa: E402


class Flat(TransformerMixin, BaseEstimator):
    """One row of numbers a trial."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return np.asarray(X).reshape(len(X), -1)


class Power(Flat):
    """Log variance of each channel."""

    def transform(self, X):
        return np.log(np.asarray(X).var(axis=-1))
