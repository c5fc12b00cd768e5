import numpy as np
import pandas as pd
import pytest
from moabb.datasets.fake import FakeDataset
from moabb.evaluations import CrossSubjectEvaluation, WithinSessionEvaluation
from moabb.evaluations.splitters import CrossSubjectSplitter, WithinSessionSplitter
from moabb.paradigms import LeftRightImagery
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline

from neurosig.core.errors import InputError, LeakageError, UsageError
from neurosig.evaluation.splits import (
    FOLDS,
    ChronologicalFolds,
    RunFolds,
    check_no_leakage,
    choose_folds,
    cv_arguments,
    make_folds,
    overlapping,
)

# what MOABB 1.7's own code warns of with today's mne and h5py
MOABB_WARNS = [
    "ignore:Montage name 'standard_1005' is deprecated:FutureWarning",
    "ignore:Creating a dataset without passing data or dtype",
]


def make_metadata(subjects=2, sessions=2, runs=3, trials=10, spacing=4.0):
    rows = [
        {"subject": str(s), "session": str(k), "run": str(r), "onset": 2 + spacing * i}
        for s in range(1, subjects + 1) for k in range(sessions) for r in range(runs) for i in range(trials)
    ]  # fmt: skip
    return np.arange(len(rows)) % 2, pd.DataFrame(rows)


def assert_partition(folds, part):
    """Tests of all folds are disjoint and together all trials of the part."""
    assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), part)


@pytest.mark.parametrize("kind", FOLDS)
def test_every_trial_is_tested_once_and_never_trained_on(kind):
    y, metadata = make_metadata()
    folds = make_folds(y, metadata, kind)
    assert_partition(folds, np.arange(len(y)))
    for train, test in folds:
        assert not set(train) & set(test)
        assert check_no_leakage(metadata, train, test, 3.9)


@pytest.mark.parametrize(
    ("kind", "n_folds", "constant", "separate"),
    [
        ("run", 12, ["subject", "session"], "run"),
        ("session", 4, ["subject"], "session"),
        ("subject", 2, [], "subject"),
    ],
)
def test_groups_stay_together(kind, n_folds, constant, separate):
    y, metadata = make_metadata()
    folds = make_folds(y, metadata, kind)
    assert len(folds) == n_folds
    for train, test in folds:
        tested, trained = metadata.iloc[test], metadata.iloc[train]
        assert tested[[*constant, separate]].drop_duplicates().shape[0] == 1
        for name in constant:
            assert set(trained[name]) == set(tested[name])
        assert not set(tested[separate]) & set(trained[separate])
        if kind == "session":
            assert len(test) == 30 and len(train) == 30


def test_several_subjects_a_fold():
    y, metadata = make_metadata(subjects=6, sessions=1, runs=1)
    folds = make_folds(y, metadata, "subject", 3)
    assert len(folds) == 3
    assert all(metadata["subject"].iloc[test].nunique() == 2 for _, test in folds)
    assert_partition(folds, np.arange(60))


def test_positions_not_index_labels():
    y, metadata = make_metadata(1, 1, 2, 4)
    shuffled_index = metadata.set_index(np.array([7, 3, 5, 1, 0, 2, 4, 6]))
    for a, b in zip(make_folds(y, metadata, "run"), make_folds(y, shuffled_index, "run"), strict=True):
        assert_array_equal(a[1], b[1])


def test_chronological_blocks_are_contiguous_and_the_gap_is_kept():
    y, metadata = make_metadata(1, 1, 1, 40)
    for gap in (0, 3):
        for train, test in make_folds(y, metadata, "chronological", 5, gap=gap):
            assert_array_equal(test, np.arange(test[0], test[0] + 8))
            assert np.abs(train[:, None] - test).min() == gap + 1
            inside = int(test[0] > 0) + int(test[-1] < 39)
            assert len(train) == 32 - gap * inside


def test_chronological_blocks_follow_the_onsets():
    y, metadata = make_metadata(1, 1, 1, 20)
    order = np.random.default_rng(0).permutation(20)
    folds = make_folds(y[order], metadata.iloc[order], "chronological", 4)
    onsets = metadata["onset"].to_numpy()[order]
    blocks = [np.sort(onsets[test]) for _, test in folds]
    assert_array_equal(np.concatenate(blocks), np.sort(onsets))


def test_shuffled_folds_are_moabbs_to_the_last_trial():
    y, metadata = make_metadata()
    ours = {tuple(test) for _, test in make_folds(y, metadata, "shuffled", random_state=42)}
    moabb = {tuple(test) for _, test in WithinSessionSplitter(5, random_state=42).split(y, metadata)}
    assert ours == moabb and len(ours) == 20


@pytest.mark.parametrize("kind", ["run", "chronological"])
def test_moabbs_splitter_makes_the_same_folds(kind):
    y, metadata = make_metadata()
    options = cv_arguments(kind)
    options |= options.pop("cv_kwargs", {})
    moabb = WithinSessionSplitter(random_state=42, **options).split(y, metadata)
    pairs = {(tuple(train), tuple(test)) for train, test in moabb}
    assert pairs == {(tuple(train), tuple(test)) for train, test in make_folds(y, metadata, kind)}


def test_moabbs_cross_subject_splitter_makes_the_same_folds():
    y, metadata = make_metadata(subjects=6, sessions=1, runs=1)
    options = cv_arguments("subject", 3)
    assert issubclass(options["cv_class"], GroupKFold)
    moabb = CrossSubjectSplitter(cv_class=options["cv_class"], **options["cv_kwargs"]).split(y, metadata)
    ours = {(tuple(train), tuple(test)) for train, test in make_folds(y, metadata, "subject", 3)}
    assert {(tuple(train), tuple(test)) for train, test in moabb} == ours


class Recorder(ClassifierMixin, BaseEstimator):
    """Remembers which trials it was trained and tested on: each trial holds its own number."""

    seen: list = []  # noqa: RUF012 - shared on purpose, the evaluation fits clones

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.trained_ = X[:, 0, 0].copy()
        return self

    def predict_proba(self, X):
        Recorder.seen.append((frozenset(self.trained_), frozenset(X[:, 0, 0])))
        return np.tile([0.5, 0.5], (len(X), 1))

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def evaluate_with_moabb(evaluation, tmp_path, **options):
    paradigm = LeftRightImagery(fmin=8, fmax=32)
    dataset = FakeDataset(["left_hand", "right_hand"], n_sessions=2, n_runs=2, n_subjects=2, paradigm="imagery", seed=1)
    X, y, metadata = paradigm.get_data(dataset)
    Recorder.seen = []
    store = {"hdf5_path": str(tmp_path), "overwrite": True}
    run = evaluation(paradigm=paradigm, datasets=[dataset], random_state=42, **store, **options)
    run.process({"recorder": make_pipeline(Recorder())})
    number = {value: i for i, value in enumerate(X[:, 0, 0])}
    assert len(number) == len(X)
    seen = {(frozenset(number[v] for v in a), frozenset(number[v] for v in b)) for a, b in Recorder.seen}
    return seen, y, metadata


@pytest.mark.filterwarnings(*MOABB_WARNS)
@pytest.mark.parametrize("kind", ["run", "chronological", "shuffled"])
def test_moabb_evaluation_really_uses_the_folds(kind, tmp_path):
    seen, y, metadata = evaluate_with_moabb(WithinSessionEvaluation, tmp_path, **cv_arguments(kind))
    ours = {(frozenset(train), frozenset(test)) for train, test in make_folds(y, metadata, kind, random_state=42)}
    assert seen == ours


@pytest.mark.filterwarnings(*MOABB_WARNS)
def test_moabb_cross_subject_evaluation_really_uses_the_folds(tmp_path):
    seen, y, metadata = evaluate_with_moabb(CrossSubjectEvaluation, tmp_path, **cv_arguments("subject", 2))
    trained = {frozenset(train) for train, _ in make_folds(y, metadata, "subject", 2)}
    assert {train for train, _ in seen} == trained  # MOABB scores each session of the test subject on its own


def test_splitters_are_scikit_learns():
    y, metadata = make_metadata(1, 1, 3, 10)
    from sklearn.dummy import DummyClassifier

    X = np.zeros((30, 1))
    for splitter, groups, n in [(RunFolds(), metadata["run"], 3), (ChronologicalFolds(4, gap=1), None, 4)]:
        scores = cross_validate(DummyClassifier(), X, y, cv=splitter, groups=groups)["test_score"]
        assert len(scores) == n == splitter.get_n_splits(X, y, groups)
    assert repr(ChronologicalFolds(3, gap=2)) == "ChronologicalFolds(gap=2, n_splits=3)"


def test_auto_is_run_wise_only_if_every_run_of_every_session_holds_every_class():
    y, metadata = make_metadata()
    assert choose_folds(y, metadata) == "run"
    lacking = y.copy()
    lacking[-10:] = 0
    assert choose_folds(lacking, metadata) == "chronological"
    assert choose_folds(*make_metadata(runs=1)) == "chronological"
    assert len(make_folds(y, metadata)) == 12
    assert len(make_folds(*make_metadata(runs=1, trials=20), "auto", 4)) == 16
    assert "shuffled" not in {choose_folds(*make_metadata(runs=n)) for n in (1, 2, 3)}


@pytest.mark.parametrize("trials", [5, 17])
@pytest.mark.parametrize("length", [1.0, 4.0, 4.1, 9.0])
def test_leakage_is_found_exactly_where_spans_overlap(trials, length):
    rng = np.random.default_rng(0)
    _, metadata = make_metadata(1, 2, 1, trials)
    metadata["onset"] += rng.uniform(-0.5, 0.5, len(metadata)).round(2)
    for _ in range(30):
        test = np.flatnonzero(rng.random(len(metadata)) < 0.3)
        train = np.setdiff1d(np.flatnonzero(rng.random(len(metadata)) < 0.7), test)
        session, onset = metadata["session"].to_numpy(), metadata["onset"].to_numpy()
        overlap = any(session[i] == session[j] and abs(onset[i] - onset[j]) < length for i in train for j in test)
        if overlap:
            with pytest.raises(LeakageError, match="lies within"):
                check_no_leakage(metadata, train, test, (0.5, 0.5 + length))
        else:
            assert check_no_leakage(metadata, train, test, (0.5, 0.5 + length))


def test_leakage_names_the_pair_and_the_cure():
    y, metadata = make_metadata(1, 1, 1, 20, spacing=1.0)
    with pytest.raises(LeakageError) as caught:
        make_folds(y, metadata, "chronological", 4, window=2.0)
    text = str(caught.value)
    # the first block is trials 0 to 4, trial i begins at 2 + i s and lasts for 2 s
    assert "test trial 4 (subject 1, session 0, run 0) at 6 s lies within 2 s of training trial 5 at 7 s" in text
    assert "gap of at least one window" in text and "\n" not in text
    assert len(make_folds(y, metadata, "chronological", 4, gap=1, window=2.0)) == 4


def test_shuffled_overlapping_windows_only_by_name():
    y, metadata = make_metadata(1, 1, 1, 40, spacing=0.5)
    folds = make_folds(y, metadata, "shuffled", window=2.0)
    assert len(folds) == 5
    with pytest.raises(LeakageError):
        check_no_leakage(metadata, *folds[0], 2.0)
    with pytest.raises(LeakageError):  # what "auto" falls back to is checked
        make_folds(y, metadata, "auto", window=2.0)


def test_same_onsets_in_other_runs_or_files_are_no_leak():
    _, metadata = make_metadata(1, 1, 2, 5)
    assert check_no_leakage(metadata, range(5), range(5, 10), 100.0)
    one_run = metadata.assign(run="0")
    with pytest.raises(LeakageError):
        check_no_leakage(one_run, range(5), range(5, 10), 1.0)
    assert check_no_leakage(one_run.assign(file=["a"] * 5 + ["b"] * 5), range(5), range(5, 10), 1.0)


def test_what_cannot_be_proven_is_not_claimed(caplog):
    y, metadata = make_metadata(1, 1, 2, 10)
    without = metadata.drop(columns="onset")
    assert check_no_leakage(without, *make_folds(y, without, "run")[0], 2.0)
    assert not check_no_leakage(without, *make_folds(y, without, "chronological")[0], 2.0)
    assert "cannot prove" in caplog.text


def test_shared_subjects_and_trials_are_refused():
    _, metadata = make_metadata()
    with pytest.raises(LeakageError, match="subject 1 is in training and in test"):
        check_no_leakage(metadata, range(30), range(30, 60), 1.0, disjoint="subject")
    with pytest.raises(LeakageError, match=r"5 trials \(first 5\) are in training and in test"):
        check_no_leakage(metadata, range(10), range(5, 15), 1.0)


def one_class(y, m):
    return np.zeros_like(y), m


@pytest.mark.parametrize(
    ("change", "options", "error", "text"),
    [
        (one_class, {}, InputError, r"at least two classes, got one \(0\); check the chosen events"),
        (lambda y, m: (y[:0], m.iloc[:0]), {}, InputError, "at least two classes, got no trials"),
        (
            lambda y, m: (y[:3], m[:3]),
            {"kind": "chronological"},
            InputError,
            "subject 1, session 0: 3 trials are too few for folds that hold every class; add runs or subjects",
        ),
        (lambda y, m: (y[:6], m[:6]), {"kind": "shuffled"}, InputError, "5 trials of every class, got 3 of 0; use at"),
        (
            lambda y, m: (np.sort(y[:20]), m[:20].drop(columns="onset")),
            {"kind": "chronological", "n_splits": 2},
            InputError,
            r"block 1 of 2 \(trials 1 to 10\) has no trial of class 1, .*use fewer folds",
        ),
        (lambda y, m: (np.sort(y[:20]), m[:20]), {"kind": "run"}, InputError, "run 0 has no trial of class 1, but"),
        (lambda y, m: (y[:10], m[:10]), {"kind": "run"}, InputError, "at least two runs in a session, got one"),
        (lambda y, m: (y[:30], m[:30]), {"kind": "session"}, InputError, "at least two sessions, got one"),
        (lambda y, m: (y[:30], m[:30]), {"kind": "subject"}, InputError, "at least two subjects, got one"),
        (lambda y, m: (y, m), {"kind": "subject", "n_splits": 3}, InputError, "3 subject-wise folds need as many"),
        (lambda y, m: (y[:-1], m), {}, InputError, "one label a metadata row, got 119 labels and 120 rows"),
        (lambda y, m: (y, m.drop(columns="run")), {}, InputError, "missing: run"),
        (lambda y, m: (y, m), {"kind": "random"}, UsageError, "folds must be one of auto, run, .* got 'random'"),
        (lambda y, m: (y, m), {"kind": "shuffled", "n_splits": 1}, UsageError, "must be 2 or more, got 1"),
        (lambda y, m: (y, m), {"kind": "run", "gap": 1}, UsageError, 'a gap belongs to folds="chronological"'),
        (lambda y, m: (y, m), {"kind": "chronological", "gap": -1}, UsageError, "number of trials, 0 or more, got -1"),
        (lambda y, m: (y, m), {"kind": "run", "window": (2, 1)}, UsageError, "window must be a length in seconds"),
    ],
)
def test_impossible_folds_say_what_to_do(change, options, error, text):
    y, metadata = change(*make_metadata())
    with pytest.raises(error, match=text) as caught:
        make_folds(y, metadata, **options)
    assert "\n" not in str(caught.value)


def test_run_folds_need_groups():
    with pytest.raises(UsageError, match='pass groups="run"'):
        next(RunFolds().split(np.zeros(4), [0, 1, 0, 1]))


def test_auto_looks_at_every_subject_and_session():
    y, metadata = make_metadata()
    assert choose_folds(y, metadata) == "run"
    last = (metadata[["subject", "session"]] == metadata[["subject", "session"]].iloc[-1]).all(axis=1)
    one_run = metadata.assign(run=metadata["run"].where(~last, metadata["run"].iloc[-1]))
    assert choose_folds(y, one_run) == "chronological"
    silent = y.copy()
    silent[(metadata["subject"] == metadata["subject"].iloc[-1]).to_numpy()] = y[0]
    assert choose_folds(silent, metadata) == "run"  # nobody can be decoded from one class; the others decide
    with pytest.raises(InputError, match="at least two classes"):
        choose_folds(np.repeat(y[:1], len(y)), metadata)


def test_splitters_need_no_labels():
    X = np.zeros((10, 2))
    folds = list(ChronologicalFolds(5).split(X))
    assert [test.tolist() for _, test in folds] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert all(np.array_equal(np.union1d(train, test), np.arange(10)) for train, test in folds)
    assert len(list(RunFolds().split(X, groups=np.arange(10) // 5))) == 2


@pytest.mark.parametrize(("step", "window", "expected"), [(2.0, 2.0, 0), (0.5, 2.0, 3), (0.5, (0.0, 1.2), 2)])
def test_the_gap_that_overlapping_trials_need(step, window, expected):
    metadata = pd.DataFrame({"subject": "1", "session": "0", "run": "0", "onset": np.arange(20) * step})
    assert overlapping(metadata, window) == expected
    assert overlapping(metadata, None) == overlapping(metadata.drop(columns="onset"), window) == 0


def test_a_block_without_a_class_says_what_to_do():
    y = np.repeat(["rest", "task"], 10)
    with pytest.raises(InputError, match=r"block 1 of 5 .* has no trial of class task.*; use fewer folds"):
        list(ChronologicalFolds().split(y, y))


def test_pooled_blocks_keep_the_same_gap():
    from neurosig.evaluation.estimates import pooled_folds

    rows = [(who, "0", "0", 0.5 * i) for who in "ab" for i in range(40)]
    metadata = pd.DataFrame(rows, columns=["subject", "session", "run", "onset"])
    folds = pooled_folds(np.arange(80) % 2, metadata, "chronological", window=2.0)
    assert [len(train) for train, _ in folds] == [2 * n for n in (29, 26, 26, 26, 29)]
