"""`benchmark`: what it takes, what it refuses, and what stands beside each score."""

import threading

import numpy as np
import psutil
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from neurosig.core.errors import InputError, LeakageError, UsageError
from neurosig.evaluation.benchmark import benchmark
from neurosig.evaluation.identity import content_digest
from neurosig.evaluation.measure import count_parameters, measured, peak_memory, watch_fit
from neurosig.evaluation.moabb import MoabbRunner
from neurosig.evaluation.tables import COLUMNS, FOLD_COLUMNS


def log_power(X):
    return np.log(np.var(X, axis=-1))


class Failing(ClassifierMixin, BaseEstimator):
    """Fails on the training sets that hold one subject's trials."""

    def __init__(self, above=0.0):
        self.above = above

    def fit(self, X, y):
        if X.std() > self.above:
            raise ValueError("this never\nconverges")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))


class Allocating(ClassifierMixin, BaseEstimator):
    """Needs 60 MB for a moment, and then 5 numbers."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        np.ones(60 * 2**17).sum()
        self.weights_ = np.zeros(5)
        self.counts_ = np.arange(7)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))


def test_every_row_says_what_its_score_is_worth(toy, log_variance_lda):
    results = benchmark({"LogVar+LDA": log_variance_lda}, toy(n_subjects=2, n_sessions=2))
    table = results.table
    assert tuple(table.columns) == COLUMNS
    assert tuple(results.folds.columns) == FOLD_COLUMNS
    assert list(zip(table["subject"], table["session"], strict=True)) == [
        ("1", "0"),
        ("1", "1"),
        ("2", "0"),
        ("2", "1"),
    ]
    assert (table["score"] > 0.7).all()
    assert (table["chance"] == 0.5).all()
    assert table["chance_upper"].between(0.5, 0.9).all()
    assert (table["n_folds"] == 3).all()
    assert (table["samples"] == 24).all() and (table["samples_test"] == 8).all()
    assert set(table["folds"]) == {"run"} and set(table["metric"]) == {"roc_auc"}
    assert (table[["seconds_fit", "seconds_score", "time"]] > 0).all(axis=None)
    for (subject, session), folds in results.folds.groupby(["subject", "session"]):
        row = table[(table["subject"] == subject) & (table["session"] == session)].iloc[0]
        assert row["score"] == pytest.approx(folds["score"].mean(), abs=1e-12)
        assert row["score_sd"] == pytest.approx(folds["score"].std(), abs=1e-12)
    card = results.meta["datasets"][0]
    assert card["classes"] == {"left_hand": 48, "right_hand": 48}
    assert card["subjects"] == 2 and card["channels"] == 3


def test_costs_are_those_of_the_fit(toy):
    table = benchmark({"a": Allocating()}, toy(n_subjects=1)).table
    assert table["n_parameters"].item() == 5
    assert 55 < table["peak_memory_mb"].item() < 90


def test_measuring_changes_neither_class_name_nor_result(toy):
    signals = toy()
    X, y = log_power(signals.X), signals.y
    twin = measured(LogisticRegression(C=0.5))
    assert repr(twin) == "LogisticRegression(C=0.5)" and isinstance(twin, LogisticRegression)
    with watch_fit() as record:
        coef = twin.fit(X, y).coef_
    np.testing.assert_array_equal(coef, LogisticRegression(C=0.5).fit(X, y).coef_)
    assert record.estimator is twin and count_parameters(twin) == 3 + 1
    with peak_memory() as peak:
        np.ones(40 * 2**17).sum()
    assert 35 < peak["megabytes"] < 60


def test_sampled_peak_memory_where_the_system_keeps_no_mark(monkeypatch, tmp_path):
    from neurosig.evaluation import measure

    looked, look = threading.Event(), psutil.Process.memory_info
    monkeypatch.setattr(psutil.Process, "memory_info", lambda self: (look(self), looked.set())[0])
    monkeypatch.setattr(measure, "_CLEAR_REFS", tmp_path / "no" / "such")
    with peak_memory() as peak:
        block = np.ones(60 * 2**17)
        for _ in range(2):  # the second look began when the block was there
            looked.clear()
            looked.wait()
        del block
    assert 50 < peak["megabytes"] < 90


def test_one_failing_pipeline_does_not_stop_the_others(toy, log_variance_lda):
    signals = toy(n_subjects=2)
    limit = signals.X[signals.metadata["subject"] == "1"].std() * 1e6
    signals.X[(signals.metadata["subject"] == "2").to_numpy()] *= 3
    results = benchmark(
        {"bad": Failing(2 * limit), "good": log_variance_lda, "worse": Failing()}, signals, metric="accuracy"
    )
    table = results.table.set_index(["pipeline", "subject"])
    assert table.loc["good", "score"].notna().all()
    assert table.loc["bad"].loc["1", "error"] == "" and table.loc["bad"].loc["1", "score"] == 0.5
    assert np.isnan(table.loc["bad"].loc["2", "score"])
    assert table.loc["bad"].loc["2", "error"] == "ValueError: this never converges"
    assert results.failed["pipeline"].tolist() == ["bad", "worse", "worse"]
    assert any("worse failed in 2 of 2 rows: ValueError: this never converges" in line for line in results.warnings)
    assert results.summary().set_index("pipeline").loc["good", "n"] == 2


def test_a_subject_that_cannot_be_split_is_left_out_and_named(toy, log_variance_lda):
    signals = toy(n_subjects=3)
    signals.y[(signals.metadata["subject"] == "2").to_numpy()] = "left_hand"
    results = benchmark({"a": log_variance_lda}, signals)
    assert results.table.set_index("subject")["score"].notna().to_dict() == {"1": True, "2": False, "3": True}
    reason = "toy, subject 2: one class only (left_hand); decoding needs trials of at least two"
    assert results.failed["error"].tolist() == [reason]
    assert f"left out: {reason}" in results.meta["warnings"]


def test_bad_data_is_said_in_one_line(toy, log_variance_lda):
    one = {"a": log_variance_lda}
    with pytest.raises(
        InputError, match=r"toy, subject 1: one class only \(left_hand\); decoding needs trials of at least two"
    ):
        benchmark(one, toy(n_classes=1))
    with pytest.raises(
        InputError,
        match=r"toy, subject 1: cannot make these folds: .*n_splits=9.*trials a class: left_hand 4, right_hand 4",
    ):
        benchmark(one, toy(n_runs=1), folds="shuffled", n_splits=9)
    with pytest.raises(InputError, match=r"fewer|trials|folds"):
        benchmark(one, toy(n_runs=1), folds="chronological", n_splits=9)
    with pytest.raises(InputError, match=r"run-wise folds need at least two runs in a session, got one"):
        benchmark(one, toy(n_runs=1), folds="run")
    with pytest.raises(InputError, match=r"cross_session needs at least two sessions of each subject, toy has 1"):
        benchmark(one, toy(), "cross_session")
    with pytest.raises(InputError, match=r"cross_subject needs at least two subjects, toy gives 1"):
        benchmark(one, toy(n_subjects=1), "cross_subject")
    unlabelled = toy()
    object.__setattr__(unlabelled, "y", None)
    with pytest.raises(InputError, match=r"toy has no labels to decode"):
        benchmark(one, unlabelled)


def test_bad_options_are_said_in_one_line(toy, log_variance_lda):
    one, signals = {"a": log_variance_lda}, toy()
    for options, message in (
        (
            {"evaluation": "within-session"},
            "evaluation must be one of within_session, .* did you mean 'within_session'",
        ),
        ({"folds": "runs"}, "folds must be one of auto, run, .* did you mean 'run'"),
        ({"evaluation": "cross_subject", "folds": "run"}, "cross_subject takes folds=subject"),
        ({"cs_mode": "train"}, "cs_mode belongs to evaluation='cross_subject'"),
        ({"evaluation": "cross_subject", "cs_mode": "all"}, "cs_mode must be one of train, "),
        ({"n_splits": 1}, "n_splits must be a whole number of folds, 2 or more"),
        ({"folds": "run", "n_splits": 3}, "run-wise folds are one a run"),
        ({"metric": "f1"}, "metric must be one of roc_auc"),
        ({"metric": "r2"}, "the labels of toy are class names, for which the metric is roc_auc"),
        ({"backend": "ray"}, "backend must be one of joblib, dask"),
        ({"random_state": "7"}, "random_state must be a whole number or None"),
        ({"fmin": 8.0}, "trials of a SignalDataset are cut already, got fmin"),
        ({"subjects": ["7"]}, "toy has no subject '7'; it has 1, 2"),
        ({"param_grid": {"b": {}}}, "param_grid names 'b', which is no pipeline; they are a"),
    ):
        with pytest.raises(UsageError, match=message):
            benchmark(one, signals, **options)
    with pytest.raises(UsageError, match=r"pipeline 'a' must be a scikit-learn estimator, got str"):
        benchmark({"a": "CSP"}, signals)
    with pytest.raises(UsageError, match=r"no pipeline given"):
        benchmark({}, signals)
    with pytest.raises(UsageError, match=r"no dataset given"):
        benchmark(one, [])
    with pytest.raises(UsageError, match=r"expected a dataset's name or path, a Manifest, .* got int"):
        benchmark(one, 7)
    with pytest.raises(UsageError, match=r"no dataset is called 'eegmidb'.*did you mean"):
        benchmark(one, "eegmidb")
    with pytest.raises(UsageError, match=r"'CSP"):
        benchmark("CSP+LDDA", signals)


def test_dask_is_asked_for_where_it_is_missing(toy, log_variance_lda, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "distributed" else find(name, *rest)
    )
    with pytest.raises(UsageError, match=r"backend='dask' needs dask.distributed, which is not installed: pip install"):
        benchmark({"a": log_variance_lda}, toy(), backend="dask")


def test_auto_folds_never_shuffle(toy, log_variance_lda):
    one = {"a": log_variance_lda}
    assert set(benchmark(one, toy()).table["folds"]) == {"run"}
    assert set(benchmark(one, toy(n_runs=1, n_trials=40)).table["folds"]) == {"chronological"}
    shuffled = benchmark(one, toy(), folds="shuffled")
    assert any("shuffled folds put neighbouring trials into training and test" in line for line in shuffled.warnings)
    assert set(benchmark(one, toy(), folds="subject").table["evaluation"]) == {"cross_subject"}


@pytest.mark.parametrize("numbers", [False, True])
def test_overlapping_windows_keep_a_gap_or_are_refused(toy, log_variance_lda, monkeypatch, numbers):
    signals = toy(n_runs=1, n_trials=40, numbers=numbers)
    signals.metadata["onset"] = np.tile(np.arange(40) * 0.5, 2)  # windows of 2 s every 0.5 s: 3 begin within each
    given = {"a": make_pipeline(FunctionTransformer(log_power), Ridge()) if numbers else log_variance_lda}
    blocks = benchmark(given, signals, folds="chronological")
    assert "toy: trials of 2 s overlap, so 3 trials on each side" in " ".join(blocks.meta["warnings"])
    assert blocks.folds.sort_values("fold")["samples"].tolist()[::2] == [29, 26, 26, 26, 29]
    shuffled = benchmark(given, signals, folds="shuffled")
    assert any(line.startswith("shuffled folds, asked for by name:") for line in shuffled.meta["warnings"])
    monkeypatch.setattr("neurosig.evaluation.study._decide_folds", lambda *_: ("within_session", "shuffled", []))
    with pytest.raises(LeakageError, match=r"test trial .* lies within 2 s of training trial"):
        benchmark(given, signals)  # recommended by a manifest, say, but not asked for


def test_a_leak_is_caught(toy, log_variance_lda, monkeypatch):
    tasks = MoabbRunner.tasks

    def leaky(self, *args):
        made = tasks(self, *args)
        made[0]["train_idx"] = np.union1d(made[0]["train_idx"], made[0]["test_idx"][:1])
        return made

    monkeypatch.setattr(MoabbRunner, "tasks", leaky)
    with pytest.raises(LeakageError, match=r"in training and in test"):
        benchmark({"a": log_variance_lda}, toy())


class Spy(ClassifierMixin, BaseEstimator):
    """Remembers a fingerprint of what it was fitted on."""

    seen = []  # noqa: RUF012

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        type(self).seen.append((X.tobytes(), y.tobytes()))
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))


@pytest.mark.parametrize("evaluation", ["within_session", "cross_session", "cross_subject"])
def test_labels_of_test_trials_never_reach_a_fit(toy, evaluation):
    def fits(change):
        Spy.seen = []
        signals = toy(n_subjects=2, n_sessions=2, n_runs=2)
        tested = ((signals.metadata[["subject", "session", "run"]] == ["2", "1", "1"]).all(axis=1)).to_numpy()
        if change:  # other labels and other signals in one run, which is tested in some fold of each evaluation
            signals.y[tested] = signals.y[tested][::-1]
            signals.X[tested] *= 100
        benchmark({"spy": Spy()}, signals, evaluation)
        return Spy.seen

    before, after = fits(False), fits(True)
    n_equal = sum(left == right for left, right in zip(before, after, strict=True))
    expected = {"within_session": 7, "cross_session": 3, "cross_subject": 1}[
        evaluation
    ]  # all fits that do not train on it
    assert n_equal == expected


def test_numbers_are_predicted_with_the_same_call(toy):
    signals = toy(n_subjects=4, n_trials=12, numbers=True)
    features = FunctionTransformer(log_power)
    given = {"ridge": make_pipeline(features, Ridge(0.1)), "ols": make_pipeline(features, LinearRegression())}
    results = benchmark(given, signals)
    assert set(results.table["metric"]) == {"r2"} and set(results.table["folds"]) == {"run"}
    assert (results.table["score"] > 0.5).all() and (results.table["chance"] == 0).all()
    pearson = benchmark(given, signals, "cross_subject", metric="pearson")
    assert pearson.table["score"].between(0.8, 1).all()
    X, y = log_power(signals.X * 1e6), signals.y
    train = (signals.metadata["subject"] != "1").to_numpy()
    predicted = LinearRegression().fit(X[train], y[train]).predict(X[~train])
    row = pearson.table[(pearson.table["pipeline"] == "ols") & (pearson.table["subject"] == "1")]
    assert row["score"].item() == pytest.approx(np.corrcoef(predicted, y[~train])[0, 1], abs=1e-9)
    searched = benchmark(given, signals, folds="shuffled", param_grid={"ridge": {"ridge__alpha": [1e-3, 1e3]}})
    assert searched.failed.empty and (searched.table["score"] > 0.5).all()


def test_several_datasets_and_shipped_pipelines_stand_in_one_table(toy):
    from sklearn.pipeline import Pipeline

    results = benchmark(
        ["CSP+LDA", "Chance"], [toy(n_channels=6, name="first"), toy(n_channels=6, seed=5, name="first")]
    )
    assert results.table["dataset"].nunique() == 2
    assert set(results.table["pipeline"]) == {"CSP+LDA", "Chance"}
    cards = {card["name"]: card for card in results.meta["pipelines"]}
    assert cards["CSP+LDA"]["citations"] and any("CSP" in step for step in cards["CSP+LDA"]["steps"])
    assert not isinstance(results.meta["pipelines"][0], Pipeline)


def test_undefined_scores_say_why(toy, log_variance_lda):
    signals = toy(n_subjects=1, n_sessions=2, n_runs=1)
    signals.y[(signals.metadata["session"] == "1").to_numpy()] = "left_hand"
    table = benchmark({"a": log_variance_lda}, signals, "cross_session").table.set_index("session")
    assert table.loc["1", "error"].startswith(
        ("the score is undefined: this fold tests trials of 1 class", "ValueError")
    )


def test_pipelines_warn_in_the_results_instead_of_the_terminal(toy):
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    class Complaining(DummyClassifier):
        def fit(self, X, y):
            warnings.warn("did not converge", ConvergenceWarning, stacklevel=1)
            return super().fit(X, y)

    results = benchmark({"a": Complaining()}, toy(n_subjects=1))
    assert "a: ConvergenceWarning: did not converge (3 folds)" in results.meta["warnings"]


class TestContentDigest:
    def test_equal_content_equal_digest(self):
        grid = np.arange(5000.0)
        left, right = (make_pipeline(FunctionTransformer(log_power), Ridge(alpha=grid.copy())) for _ in range(2))
        assert content_digest(left) == content_digest(right)

    @pytest.mark.parametrize(("left", "right"), [
        (Ridge(1.0), Ridge(2.0)),
        (Ridge(1), Ridge(1.0)),
        (Ridge(), LinearRegression()),
        (Ridge(np.arange(5000.0)), Ridge(np.r_[np.arange(2500.0), 0.5, np.arange(2501.0, 5000)])),
        (FunctionTransformer(log_power), FunctionTransformer(np.log)),
        (make_pipeline(Ridge()), make_pipeline(Ridge(fit_intercept=False))),
        tuple(DummyClassifier(random_state=np.random.RandomState(seed)) for seed in (0, 1)),
    ])  # fmt: skip
    def test_other_content_other_digest(self, left, right):
        assert content_digest(left) != content_digest(right)

    def test_metadata_requests_count(self):
        from sklearn import config_context

        with config_context(enable_metadata_routing=True):
            asking = Ridge().set_fit_request(sample_weight=True)
        assert content_digest(asking) != content_digest(Ridge())

    def test_lambdas_are_refused(self, toy):
        with pytest.raises(UsageError, match=r"pipeline a: a lambda has no content .* define a named function"):
            benchmark({"a": make_pipeline(FunctionTransformer(lambda X: X), Ridge())}, toy())

    def test_what_has_no_content_is_refused(self):
        with pytest.raises(UsageError, match=r"a parameter of type generator has no content"):
            content_digest(Ridge(alpha=(i for i in range(3))), "a")


def test_auto_folds_look_at_all_subjects(toy, log_variance_lda, tmp_path):
    signals = toy(n_subjects=3, n_trials=10)
    last = (signals.metadata["subject"] == "3").to_numpy()
    signals.metadata.loc[last, "run"] = "0"
    results = benchmark({"a": log_variance_lda}, signals, out=tmp_path / "out")
    assert results.failed.empty and set(results.table["folds"]) == {"chronological"}
    people = benchmark({"a": log_variance_lda}, signals, subjects=["1", "2"], out=tmp_path / "out")
    assert set(people.table["folds"]) == {"run"}


def test_train_and_benchmark_choose_the_same_folds(toy, log_variance_lda):
    from neurosig.evaluation.trained import train

    for signals in (toy(), toy(n_runs=1, n_trials=40)):
        signals.metadata["onset"] = np.arange(len(signals.metadata)) * 2.0
        scores = train(signals, make_pipeline(FunctionTransformer(log_power), LogisticRegression())).card["scores"]
        assert scores[0]["folds"] == benchmark({"a": log_variance_lda}, signals).table["folds"].iloc[0]


def test_auto_never_follows_a_manifest_that_asks_for_shuffled_folds():
    from types import SimpleNamespace

    from neurosig.evaluation.splits import recommended_folds

    kinds = {folds: recommended_folds(SimpleNamespace(folds=folds)) for folds in ("shuffled", "run", "subject", None)}
    assert kinds == {"shuffled": "auto", "run": "auto", "subject": "subject", None: "auto"}
    assert recommended_folds(None) == "auto"


def test_a_leak_in_one_subject_stops_everything(toy, log_variance_lda, monkeypatch):
    from neurosig.evaluation import execution

    check = execution.check_folds

    def leak(study, metadata, tasks):
        if metadata["subject"].iloc[0] == "2":
            raise LeakageError("test trial 3 lies within training trial 2")
        return check(study, metadata, tasks)

    monkeypatch.setattr(execution, "check_folds", leak)
    with pytest.raises(LeakageError, match="lies within training trial"):
        benchmark({"a": log_variance_lda}, toy(n_subjects=3))


@pytest.mark.parametrize("n_jobs", [0, 1.5, "2"])
def test_a_number_of_jobs_that_is_none_is_refused(toy, log_variance_lda, n_jobs):
    from neurosig.evaluation.trained import train

    with pytest.raises(UsageError, match="n_jobs must be a number of processes"):
        benchmark({"a": log_variance_lda}, toy(), n_jobs=n_jobs)
    with pytest.raises(UsageError, match="n_jobs must be a number of processes"):
        train(toy(), log_variance_lda, n_jobs=n_jobs)


def test_refused_input_leaves_no_folder(toy, log_variance_lda, tmp_path):
    with pytest.raises(InputError):
        benchmark({"a": log_variance_lda}, toy(n_classes=1), out=tmp_path / "new" / "out")
    with pytest.raises(InputError):
        benchmark({"a": log_variance_lda}, toy(n_runs=1), "cross_session", out=tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError):
        benchmark({"a": log_variance_lda}, toy(n_classes=1), out=tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []


def test_parameters_of_estimators_under_private_names_count():
    from pyriemann.classification import MDM, FgMDM

    factors = np.random.default_rng(0).standard_normal((20, 3, 9))
    X, y = factors @ factors.transpose(0, 2, 1), np.arange(20) % 2
    assert count_parameters(MDM().fit(X, y)) == 2 * 3 * 3
    fitted = FgMDM().fit(X, y)
    assert count_parameters(fitted) >= 2 * 3 * 3 + count_parameters(fitted._fgda._lda) > 2 * 3 * 3
    assert count_parameters(FgMDM()) == 0


def test_trials_left_out_are_counted(toy, log_variance_lda, monkeypatch, tmp_path):
    from neurosig.evaluation.arrays import ArraysDataset

    monkeypatch.setattr(ArraysDataset, "trial_counts", {"1": (25, 24), 2: (24, 24)}, raising=False)
    results = benchmark({"a": log_variance_lda}, toy(), out=tmp_path / "out")
    card = results.meta["datasets"][0]
    assert (card["trials_found"], card["trials_kept"]) == (49, 48)
    assert any(line.startswith("toy: 1 of 49 trials found were left out (2.0%)") for line in results.warnings)
    monkeypatch.setattr(ArraysDataset, "trial_counts", {})  # a repeated run that reads nothing
    (tmp_path / "out" / "results.json").unlink()
    again = benchmark({"a": log_variance_lda}, toy(), out=tmp_path / "out")
    assert again.meta["datasets"][0]["trials_found"] == 49
    monkeypatch.setattr(ArraysDataset, "trial_counts", {"1": (1000, 995), "2": (24, 24)})
    few = benchmark({"a": log_variance_lda}, toy())
    assert not any("left out" in line for line in few.warnings)
