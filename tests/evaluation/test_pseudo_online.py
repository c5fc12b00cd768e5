"""Pseudo-online evaluation: labels by hand, metrics in closed form, nothing of the future in training."""

from types import SimpleNamespace

import mne
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from neurosig.core.errors import InputError, LeakageError, UsageError
from neurosig.core.signals import Processing
from neurosig.evaluation.leakage import check_no_leakage
from neurosig.evaluation.online_scores import (
    action_scores,
    held_actions,
    information_transfer_rate,
    normalized_mcc,
)
from neurosig.evaluation.pseudo_online import PseudoOnline, pseudo_online
from neurosig.evaluation.windows import sliding_windows
from neurosig.loaders.simulated import simulate_recordings
from neurosig.preprocessing.tangent import FastTangentSpace

TASK = Processing(tmin=0.0, tmax=2.0)


def recording(data, onsets, labels, sfreq=50.0, run="0"):
    raw = mne.io.RawArray(data, mne.create_info(["C3", "C4"], sfreq, "eeg"), verbose="error")
    raw.set_annotations(mne.Annotations(onsets, 0.0, labels))
    return SimpleNamespace(subject="1", session="0", run=run, raw=raw)


def noise(seconds=60, seed=0):
    return 1e-5 * np.random.default_rng(seed).standard_normal((2, int(seconds * 50)))


def bursts(seconds=120, seed=0, run="0"):
    """Left makes the one channel loud for two seconds, right the other; four seconds of silence after each."""
    data = noise(seconds, seed)
    onsets = np.arange(2.0, seconds - 4, 6.0)
    labels = np.where(np.arange(len(onsets)) % 2, "right", "left")
    for onset, label in zip(onsets, labels, strict=True):
        start = round(onset * 50)
        data[int(label == "right"), start : start + 100] *= 10
    return recording(data, onsets, labels, run=run)


class Mean(ClassifierMixin, BaseEstimator):
    """Keeps what it was trained on."""

    fitted_on = None

    def fit(self, X, y):
        type(self).fitted_on, self.classes_ = X.copy(), np.unique(y)
        return self

    def predict(self, X):
        return np.zeros(len(X), int)


def test_metrics():
    assert normalized_mcc([0, 1, 1, 0], [0, 1, 1, 0]) == 1
    assert normalized_mcc([0, 1], [1, 0]) == 0
    assert normalized_mcc([0, 0, 0, 1], [0, 0, 0, 0]) == 0.5
    assert information_transfer_rate(1.0, 4, 2.0) == pytest.approx(60)
    # Wolpaw et al. (2000): two classes at 90 % carry 0.531 bits
    assert information_transfer_rate(0.9, 2, 60.0) == pytest.approx(0.531, abs=1e-3)
    assert information_transfer_rate(0.5, 2, 1.0) == 0
    assert information_transfer_rate(0.1, 2, 1.0) == 0
    with pytest.raises(UsageError, match="2 classes or more"):
        information_transfer_rate(0.5, 1, 1.0)


def test_labels_of_windows():
    cut = sliding_windows([recording(noise(10), [2.0, 6.0], ["left", "right"])], processing=TASK, window=1.0, step=0.5)
    assert cut.X.shape == (19, 2, 50)
    assert cut.info.unit == "uV"
    table = dict(zip(cut.metadata["onset"], zip(cut.y, cut.metadata["overlap"], strict=True), strict=True))
    assert table[1.0] == ("idle", 0.0)
    assert table[1.5] == ("left", 0.5)
    assert table[2.0] == ("left", 1.0)
    assert table[3.0] == ("left", 1.0)
    assert table[4.0] == ("idle", 0.0)
    assert table[6.5] == ("right", 1.0)
    strict = sliding_windows(
        [recording(noise(10), [2.0], ["left"])], processing=TASK, window=1.0, step=0.5, min_overlap=1.0
    )
    assert dict(zip(strict.metadata["onset"], strict.y, strict=True))[1.5] == "idle"


def test_windows_know_their_task():
    two = recording(noise(12), [6.0, 2.0], ["right", "left"])
    delayed = Processing(tmin=0.5, tmax=2.0)
    table = sliding_windows([two], processing=delayed, window=1.0, step=0.5).metadata.set_index("onset")
    assert table.loc[2.0, ["task", "task_start", "task_stop"]].tolist() == [0, 2.5, 4.0]
    assert table.loc[7.0, ["task", "task_start", "task_stop"]].tolist() == [1, 6.5, 8.0]
    assert table.loc[4.0, "task"] == -1
    assert np.isnan(table.loc[4.0, "task_start"])


def decisions(predicted, *, runs=None, onsets=None):
    """Windows of 1 s every 0.5 s; a task "left" at 2 to 4 s, and one "right" at 6 to 8 s of each run of 20 windows."""
    n = len(predicted)
    onset = np.arange(n) * 0.5 if onsets is None else np.asarray(onsets, float)
    share = [np.clip(np.minimum(onset + 1, stop) - np.maximum(onset, stop - 2), 0, None) for stop in (4, 8)]
    task = np.select([s >= 0.5 for s in share], [0, 1], -1)
    return pd.DataFrame({
        "subject": "1", "session": "0", "run": "0" if runs is None else runs, "file": "f", "onset": onset,
        "overlap": np.maximum(*share), "task": task, "task_start": np.choose(task + 1, [np.nan, 2.0, 6.0]),
        "event": np.choose(task + 1, ["idle", "left", "right"]), "predicted": predicted,
    })  # fmt: skip


def test_actions_by_hand():
    predicted = np.full(20, "idle", dtype=object)
    predicted[[0, 1]] = "left"  # one action before all tasks
    predicted[[4, 5]] = "left"  # 2.0 s: the right one, known at 3.0 s
    predicted[[8, 9]] = "left", "right"  # 4.0 and 4.5 s: two in idle
    predicted[[12, 13]] = "left", "right"  # within the second task the wrong class comes first
    table = decisions(predicted).assign(action=predicted)
    assert (table["overlap"] == 0).sum() == 10
    found = action_scores(table, window=1.0, step=0.5)
    assert found == {
        "n_tasks": 2, "detected": 0.5, "confused": 0.5, "carried": 0, "latency": 1.0, "idle_acting": 0.4,
        "false_positives": pytest.approx(3 / (5 / 60)), "idle_minutes": pytest.approx(5 / 60),
    }  # fmt: skip
    silent = action_scores(table.assign(action="idle"), window=1.0, step=0.5)
    assert (silent["detected"], silent["false_positives"]) == (0, 0)
    assert np.isnan(silent["latency"])


def test_an_action_that_goes_on_starts_once_in_each_recording_and_answers_nothing():
    table = pd.concat([decisions(["left"] * 20, runs=run) for run in ("0", "1")], ignore_index=True)
    found = action_scores(table.assign(action="left"), window=1.0, step=0.5)
    assert found["n_tasks"] == 4
    assert (found["detected"], found["confused"], found["carried"], found["idle_acting"]) == (0, 0, 1, 1)
    assert found["false_positives"] * found["idle_minutes"] == pytest.approx(2)
    broken = decisions(["left"] * 4, onsets=[0, 0.5, 9.0, 9.5])  # windows between were left out
    found = action_scores(broken.assign(action="left"), window=1.0, step=0.5)
    assert found["false_positives"] * found["idle_minutes"] == pytest.approx(2)


def test_steps_longer_than_the_window_are_told_once(caplog):
    two = [recording(noise(10, seed), [2.0], ["left"]) for seed in range(2)]
    sliding_windows(two, processing=TASK, window=1.0, step=1.0)
    assert not caplog.messages
    cut = sliding_windows(two, processing=TASK, window=1.0, step=1.5)
    assert caplog.messages == ["step=1.5 s is longer than window=1 s: the samples between two windows are never used"]
    assert np.unique(np.diff(cut.metadata["onset"])).tolist() == [-9.0, 1.5]


@pytest.mark.parametrize("hold", [1, 8])
def test_a_decoder_that_never_rests_detects_nothing(hold):
    """20 tasks of 4 s with 4 s of rest before each, windows of 2 s every 0.25 s, always "move"."""
    onset = np.arange(0, 158.1, 0.25)
    start = 8 * (onset // 8) + 4
    inside = np.clip(np.minimum(onset + 2, start + 4) - np.maximum(onset, start), 0, 2) / 2
    task = np.where(inside >= 0.5, onset // 8, -1).astype(int)
    table = pd.DataFrame({
        "subject": "1", "session": "0", "run": "0", "file": "f", "onset": onset, "overlap": inside, "task": task,
        "task_start": np.where(task >= 0, start, np.nan), "event": np.where(task >= 0, "move", "idle"),
        "predicted": "move",
    })  # fmt: skip
    found = action_scores(table.assign(action=held_actions(table, hold, 0.25)), window=2.0, step=0.25)
    resting = (inside == 0).sum()
    assert found["n_tasks"] == 20
    assert found["idle_acting"] == pytest.approx((resting - hold + 1) / resting)
    assert found["carried"] == 1
    assert found["detected"] == 0
    assert np.isnan(found["latency"])
    assert found["false_positives"] * found["idle_minutes"] == pytest.approx(1)


def test_an_answer_starts_in_a_window_that_holds_some_of_the_task():
    onset = np.arange(20) * 0.5 + 0.3  # the window at 1.3 s holds 0.3 s of the task that starts at 2 s
    table = decisions(np.full(20, "idle", dtype=object), onsets=onset)
    position = int(np.flatnonzero(np.isclose(onset, 1.3))[0])
    assert table.loc[position, ["task", "event"]].tolist() == [-1, "idle"]
    action = np.full(20, "idle", dtype=object)
    action[position : position + 3] = "left"
    found = action_scores(table.assign(action=action), window=1.0, step=0.5)
    assert (found["detected"], found["carried"], found["false_positives"]) == (0.5, 0, 0)
    assert found["latency"] == pytest.approx(0.3)
    action[position - 1] = "left"  # half a second before: the window ends before the task begins
    found = action_scores(table.assign(action=action), window=1.0, step=0.5)
    assert (found["detected"], found["carried"]) == (0, 0.5)
    action[position + 2] = "right"  # carried over, and then answered by another action
    found = action_scores(table.assign(action=action), window=1.0, step=0.5)
    assert (found["detected"], found["confused"], found["carried"]) == (0, 0.5, 0.5)


def test_a_decision_that_is_held_takes_longer_to_transfer():
    one = bursts(120)
    result = pseudo_online(Mean(), [one], window=1.0, step=0.5, processing=TASK)
    windows = result.windows.assign(predicted=result.windows["event"])
    perfect = PseudoOnline(result.table, windows, result.about)
    for hold, seconds in ((1, 1.0), (2, 1.5)):
        row = perfect.with_hold(hold).table.iloc[0]
        expected = information_transfer_rate(row["balanced_accuracy"], 3, seconds)
        assert row["itr"] == pytest.approx(expected)
        assert row["itr"] > 0


def test_holding_waits_for_equal_decisions():
    predicted = ["left", "left", "right", "left", "left", "left", "idle", "left", "left", "left"]
    table = decisions(predicted, runs=["0"] * 9 + ["1"])
    assert list(held_actions(table, 1, 0.5)) == predicted
    assert np.flatnonzero(held_actions(table, 2, 0.5) == "left").tolist() == [1, 4, 5, 8]
    assert np.flatnonzero(held_actions(table, 3, 0.5) == "left").tolist() == [5]
    with pytest.raises(UsageError, match="hold must be a whole number"):
        held_actions(table, 0, 0.5)


def test_windows_hold_the_signal_and_skip_bad_spans():
    one = recording(noise(10), [2.0], ["left"])
    one.raw.annotations.append(5.0, 1.0, "BAD_jump")
    cut = sliding_windows([one], processing=TASK, window=1.0, step=0.5)
    onsets = cut.metadata["onset"].to_numpy()
    assert not ((onsets > 4.0) & (onsets < 6.0)).any()
    for X, onset in zip(cut.X, onsets, strict=True):
        start = round(onset * 50)
        np.testing.assert_allclose(X, one.raw.get_data()[:, start : start + 50] * 1e6)


@pytest.mark.parametrize("causal", [True, False])
def test_the_future_reaches_a_window_only_if_asked_for(causal):
    data = noise(20)
    changed = data.copy()
    changed[:, 510:] *= 50  # from 10.2 s on
    band = Processing(tmin=0.0, tmax=2.0, fmin=4.0, fmax=20.0)
    first, second = (
        sliding_windows([recording(d, [2.0], ["left"])], processing=band, window=1.0, step=0.5, causal=causal)
        for d in (data, changed)
    )
    before = first.metadata["onset"].to_numpy() <= 9.0
    same = np.allclose(first.X[before], second.X[before], rtol=1e-9)
    assert same == causal


def test_training_is_earlier_and_shares_no_sample():
    one = bursts()
    result = pseudo_online({"m": Mean()}, [one], window=1.0, step=0.25, processing=TASK)
    cut = sliding_windows([one], processing=TASK, window=1.0, step=0.25)
    tested = result.windows["onset"].to_numpy()
    onsets = cut.metadata["onset"].to_numpy()
    trained = np.flatnonzero([any(np.array_equal(x, seen) for seen in Mean.fitted_on) for x in cut.X])
    assert len(trained) == len(Mean.fitted_on)
    assert onsets[trained].max() + 1.0 <= tested.min()
    check_no_leakage(cut.metadata, trained, np.flatnonzero(onsets >= tested.min()), 1.0)
    # windows half in a task are tested, but not trained on
    assert set(cut.metadata["overlap"].to_numpy()[trained]) == {0.0, 1.0}
    assert len(tested) == (onsets >= tested.min()).sum()


def test_later_runs_are_tested():
    runs = [bursts(seconds=60, seed=i, run=str(i)) for i in range(3)]
    result = pseudo_online(DummyClassifier(), runs, window=1.0, step=0.5, processing=TASK, train_fraction=0.7)
    assert set(result.windows["run"]) == {"2"}


def test_decoders_that_see_and_that_do_not():
    pipelines = {
        "sees": make_pipeline(FastTangentSpace(), LogisticRegression(class_weight="balanced", max_iter=1000)),
        "never acts": DummyClassifier(strategy="most_frequent"),
    }
    table = pseudo_online(pipelines, [bursts(240)], window=1.0, step=0.5, processing=TASK).table.set_index("pipeline")
    assert table.loc["sees", "score"] > 0.85
    assert table.loc["sees", "itr"] > 10
    # idle windows are many: accuracy flatters, the score does not
    assert table.loc["never acts", "accuracy"] > 0.55
    assert table.loc["never acts", "score"] == 0.5
    assert table.loc["never acts", "itr"] == 0
    moabb = {"score", "time", "samples", "samples_test", "n_classes", "subject", "session", "channels", "n_sessions"}
    assert moabb | {"dataset", "pipeline"} <= set(table.reset_index().columns)


def test_holding_trades_false_actions_for_time():
    pipeline = make_pipeline(FastTangentSpace(), LogisticRegression(class_weight="balanced", max_iter=1000))
    options = {"window": 1.0, "step": 0.25, "processing": TASK}
    at_once, held = (pseudo_online({"p": pipeline}, [bursts(240)], hold=hold, **options) for hold in (1, 6))
    first, later = at_once.table.iloc[0], held.table.iloc[0]
    assert first["detected"] > 0.9
    # bursts are so loud that a window tells that holds little of one
    assert 0 < first["latency"] <= 1.5
    assert later["latency"] >= first["latency"] + 0.25
    assert later["false_positives"] <= first["false_positives"]
    again = at_once.with_hold(6)
    pd.testing.assert_frame_equal(again.table.drop(columns="time"), held.table.drop(columns="time"), check_dtype=False)
    pd.testing.assert_frame_equal(again.windows, held.windows)
    assert again.about == held.about


def test_report_figure_and_files(tmp_path):
    pipelines = {
        "sees": make_pipeline(FastTangentSpace(), LogisticRegression(class_weight="balanced", max_iter=1000)),
        "never acts": DummyClassifier(strategy="most_frequent"),
    }
    result = pseudo_online(pipelines, [bursts(120)], window=1.0, step=0.5, processing=TASK)
    summary = result.summary()
    assert (
        repr(result)
        == f"<PseudoOnline: 2 pipelines, 1 subject, {len(result.windows) // 2} test windows of 1 s every 0.5 s>"
    )
    assert "never acts" in result._repr_html_()
    assert list(summary["pipeline"]) == ["sees", "never acts"]
    assert summary["mean"].iloc[0] == result.table["score"].max()
    page = result.report(tmp_path / "page.html").read_text()
    assert page == result.report(tmp_path / "again.html").read_text()
    for said in ("sees scores a normalised MCC", "right action first", "actions a minute", "One subject.", "sub-1"):
        assert said in page
    for said in ("and acted for", "Carried over", "Idle time acting"):
        assert said in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert len(result.plot("never acts").axes) == 1
    with pytest.raises(UsageError, match="no pipeline 'other'"):
        result.plot("other")
    folder = result.save(tmp_path / "out")
    pd.testing.assert_frame_equal(
        pd.read_csv(folder / "scores.csv", dtype={"subject": str, "session": str}), result.table, check_dtype=False
    )
    assert len(pd.read_csv(folder / "windows.csv")) == len(result.windows)


@pytest.mark.usefixtures("data_dir")
def test_recordings_on_disk():
    pipeline = make_pipeline(FastTangentSpace(), LogisticRegression(class_weight="balanced", max_iter=1000))
    result = pseudo_online(pipeline, "eegmmidb", subjects=["2"], window=2.0, step=1.0)
    row = result.table.iloc[0]
    assert (row["n_tasks"], row["n_classes"]) == (15, 3)
    # the third of three runs is tested
    assert set(result.windows["run"]) == {"12"}
    assert row["score"] > 0.55


def test_what_has_seen_a_person_is_not_tested_on_them():
    seen = DummyClassifier().fit(np.zeros((2, 1)), [0, 1])
    recording = bursts(240)
    seen.trained_on_ = {"subjects": [recording.subject], "data": [], "dataset": "own", "before": []}
    pipelines, options = {"p": FrozenEstimator(seen)}, {"window": 1.0, "step": 0.5, "processing": TASK, "name": "own"}
    with pytest.raises(LeakageError, match=r"'p': a fitted DummyClassifier .* was trained on subject .*allow_seen"):
        pseudo_online(pipelines, [recording], **options)
    assert "as was asked for" in pseudo_online(pipelines, [recording], allow_seen=True, **options).about["warnings"][0]


@pytest.mark.usefixtures("data_dir")
def test_cut_trials_are_refused():
    with pytest.raises(InputError, match="holds trials that were cut out"):
        pseudo_online(DummyClassifier(), "bci2-selfpaced", window=0.3, step=0.1)


def test_simulated_people():
    from neurosig.evaluation.statistics import summarize

    recordings = list(simulate_recordings("imagery", n_subjects=2, n_sessions=1, n_runs=2, n_trials=20, random_state=0))
    pipeline = make_pipeline(FastTangentSpace(), LogisticRegression(class_weight="balanced", max_iter=2000))
    band = Processing(tmin=0.5, tmax=3.5, fmin=8.0, fmax=32.0, resample=64.0)
    result = pseudo_online({"TS+LR": pipeline}, recordings, window=1.5, step=0.5, processing=band)
    assert list(result.table["subject"]) == ["1", "2"]
    assert (result.table["n_classes"] == 3).all()
    assert (result.table["score"] > 0.55).all()
    assert summarize(result.table)["mean"].iloc[0] == pytest.approx(result.table["score"].mean())


def test_simulated_people_by_name():
    result = pseudo_online(DummyClassifier(), "simulated-imagery", subjects=["1"], window=1.5, step=1.0)
    assert set(result.table["subject"]) == {"1"}
    assert (result.table["n_classes"] == 3).all()


def test_bad_input():
    one = bursts(60)
    options = {"window": 1.0, "step": 0.5, "processing": TASK}
    with pytest.raises(InputError, match="too short for a window of 90 s"):
        pseudo_online(DummyClassifier(), [one], **{**options, "window": 90.0})
    with pytest.raises(InputError, match="hold no right"):
        pseudo_online(DummyClassifier(), [one], **options, train_fraction=0.08)
    with pytest.raises(InputError, match="list is empty"):
        pseudo_online(DummyClassifier(), [], **options)
    with pytest.raises(UsageError, match="processing says"):
        pseudo_online(DummyClassifier(), [one], window=1.0, step=0.5)
    with pytest.raises(UsageError, match="train_fraction must lie between"):
        pseudo_online(DummyClassifier(), [one], **options, train_fraction=1.0)
    with pytest.raises(UsageError, match="hold must be a whole number"):
        pseudo_online(DummyClassifier(), [one], **options, hold=1.5)
    with pytest.raises(UsageError, match="window and step must be positive"):
        pseudo_online(DummyClassifier(), [one], **{**options, "step": 0.0})
    with pytest.raises(UsageError, match="min_overlap"):
        sliding_windows([one], **options, min_overlap=0.0)
    with pytest.raises(UsageError, match="name of an event"):
        sliding_windows([one], **options, events=["idle"])
    for events in (None, ["right"]):
        with pytest.raises(UsageError, match="'left' is the name of an event; give the idle class another name"):
            sliding_windows([one], **options, events=events, idle="left")
    with pytest.raises(UsageError, match="events: foo not in the recordings, which have left, right"):
        sliding_windows([one], **options, events=["left", "foo"])
    with pytest.raises(UsageError, match=r"events must be a list of names, got 'left'; write \['left'\]"):
        sliding_windows([one], **options, events="left")
    for name in ("window", "step", "min_overlap", "train_fraction"):
        with pytest.raises(UsageError, match=f"{name} .*, got .*'a'"):
            pseudo_online(DummyClassifier(), [one], **{**options, name: "a"})
    other = recording(noise(20), [2.0], ["left"], sfreq=100.0)
    with pytest.raises(InputError, match="50 Hz of the recordings before"):
        sliding_windows([one, other], **options)
