"""Folds of whole people: scores are scikit-learn's, nobody is on both sides, and all that is odd is told."""

import pickle
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, mean_absolute_error, r2_score, roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosig.core.errors import InputError, LeakageError, UsageError
from neurosig.core.lazy_runs import LazyRuns
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.evaluation.benchmark import benchmark
from neurosig.evaluation.cohort_folds import site_folds, subject_folds
from neurosig.evaluation.pooled import MetadataScorer, PooledRunner, routed
from neurosig.evaluation.request import check_options, open_datasets
from neurosig.evaluation.results import Results
from neurosig.evaluation.study import make_studies


class Connectivity(TransformerMixin, BaseEstimator):
    """Correlations of all pairs of regions; runs may differ in length."""

    def fit(self, X, y=None):
        self.n_features_in_ = len(X[0])
        return self

    def transform(self, X):
        pairs = np.tril_indices(len(X[0]), -1)
        return np.stack([np.corrcoef(run)[pairs] for run in X])


class Nosy(ClassifierMixin, BaseEstimator):
    """Asks for people, sites and repetition times, and writes down what it is told."""

    __metadata_request__fit: ClassVar = {"subjects": True, "sites": True, "t_r": True, "groups": True}
    __metadata_request__predict: ClassVar = {"sites": True, "t_r": True}
    told: ClassVar = []

    def fit(self, X, y, subjects=None, sites=None, t_r=None, groups=None):
        self.classes_ = np.unique(y)
        Nosy.told.append(("fit", len(X), subjects, sites, t_r, groups))
        return self

    def predict(self, X, sites=None, t_r=None):
        Nosy.told.append(("predict", len(X), sites, t_r))
        return np.zeros(len(X), dtype=int)


def cohort(n=24, n_runs=1, ragged=True, n_sites=3, seed=0, numbers=False, strength=0.6, n_regions=4):
    """People of two groups (or of many ages) whose first two regions go together in one of them."""
    rng = np.random.default_rng(seed)
    rows, runs, y = [], [], []
    for person in rng.permutation(n):
        value = person / n if numbers else float(person % 2)
        for run in range(n_runs):
            n_times = 30 + 5 * (person % 3) if ragged else 30
            series = rng.standard_normal((n_regions, n_times))
            series[1] += strength * value * series[0]
            runs.append(series.astype(np.float32))
            y.append(20 + 40 * value if numbers else ["control", "patient"][person % 2])
            rows.append((f"p{person}", "0", str(run), f"S{(person // 2) % n_sites}", 1.5 + 0.5 * (person % 3)))
    table = pd.DataFrame(rows, columns=["subject", "session", "run", "site", "t_r"])
    info = SignalSpec("fmri", tuple(f"R{i}" for i in range(n_regions)), unit="z")
    return SignalDataset(runs if ragged else np.stack(runs), np.array(y), table, info, name="cohort")


def decoder():
    return make_pipeline(Connectivity(), StandardScaler(), LogisticRegression())


def lean(signals, **options):
    return benchmark({"FC+LR": decoder()}, signals, progress=False, **options)


@pytest.mark.parametrize("ragged", [True, False])
@pytest.mark.parametrize("kind", ["subject", "site"])
def test_scores_are_those_of_scikit_learn_on_the_same_folds(kind, ragged):
    signals = cohort(n_runs=2, ragged=ragged)
    results = lean(signals, folds=kind)
    folds = site_folds(signals.y, signals.metadata) if kind == "site" else subject_folds(signals.y, signals.metadata)
    values = cross_val_predict(decoder(), signals.X, signals.y, cv=folds, method="decision_function")
    expected = [roc_auc_score(signals.y[test] == "patient", values[test]) for _, test in folds]
    assert results.table["score"].tolist() == pytest.approx(expected, abs=1e-12)
    assert len(set(expected)) > 1
    assert results.table["samples_test"].tolist() == [len(test) for _, test in folds]
    names = ["S0", "S1", "S2"] if kind == "site" else [f"fold {i}" for i in range(1, 6)]
    assert results.table["subject"].tolist() == names
    assert set(results.table["tested"]) == {"site" if kind == "site" else "fold"}
    assert set(results.table["evaluation"]) == {f"cross_{kind}"}
    assert results.summary()["mean"].item() == pytest.approx(np.mean(expected))
    assert results.summary()["n"].item() == 24 == results.table["n_subjects"].sum()


def test_without_a_word_people_of_one_label_each_are_left_out_whole():
    signals = cohort()
    results = lean(signals)
    assert results.meta["evaluation"] == "cross_subject" and results.meta["folds"] == "subject"
    assert any("folds of whole people" in text for text in results.warnings)
    card = results.meta["datasets"][0]
    assert card["subjects"] == card["runs"] == 24 and card["regions"] == 4
    assert card["sites"] == {"S0": 8, "S1": 8, "S2": 8}
    assert card["volumes"] == "30 to 40" and card["t_r"] == "1.5 to 2.5, by run"


def test_chance_counts_people_and_not_their_runs():
    many, one = (lean(cohort(n_runs=n)).table["chance_upper"].tolist() for n in (3, 1))
    assert many == one


def test_other_scores():
    signals = cohort(n=30)
    folds = subject_folds(signals.y, signals.metadata)
    said = cross_val_predict(decoder(), signals.X, signals.y, cv=folds)
    table = lean(signals, metric="balanced_accuracy").table
    expected = [balanced_accuracy_score(signals.y[test], said[test]) for _, test in folds]
    assert table["score"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["r2", "pearson", "mae"])
def test_numbers_as_labels(metric):
    signals = cohort(n=40, numbers=True, strength=3.0)
    model = make_pipeline(Connectivity(), Ridge())
    results = benchmark({"FC+ridge": model}, signals, folds="subject", metric=metric, progress=False)
    folds = subject_folds(signals.y, signals.metadata)
    said = cross_val_predict(model, signals.X, signals.y, cv=folds)
    score = {"r2": r2_score, "pearson": lambda y, p: np.corrcoef(y, p)[0, 1],
             "mae": lambda y, p: -mean_absolute_error(y, p)}[metric]  # fmt: skip
    expected = [score(signals.y[test], said[test]) for _, test in folds]
    assert results.table["score"].tolist() == pytest.approx(expected)
    assert set(results.table["metric"]) == {"neg_mean_absolute_error" if metric == "mae" else metric}
    if metric == "mae":
        guess = [-np.abs(signals.y[test] - np.median(signals.y[train])).mean() for train, test in folds]
        assert results.table["chance"].tolist() == pytest.approx(guess)
    sites = benchmark({"FC+ridge": model}, signals, folds="site", metric=metric, progress=False)
    assert sites.table["subject"].tolist() == ["S0", "S1", "S2"] and sites.failed.empty


def test_people_of_all_classes_are_scored_one_by_one():
    signals = cohort(n=6, n_runs=4)
    y = np.tile(["rest", "task"], 12)
    signals = SignalDataset(signals.X, y, signals.metadata, signals.info, name="task")
    results = lean(signals, folds="subject")
    assert set(results.table["tested"]) == {"subject"} and set(results.table["n_subjects"]) == {1}
    assert results.table["subject"].tolist() == [f"p{i}" for i in range(6)]
    folds = [(np.flatnonzero(signals.metadata["subject"] != who), np.flatnonzero(signals.metadata["subject"] == who))
             for who in results.table["subject"]]  # fmt: skip
    values = cross_val_predict(decoder(), signals.X, y, cv=folds, method="decision_function")
    expected = [roc_auc_score(y[test] == "task", values[test]) for _, test in folds]
    assert results.table["score"].tolist() == pytest.approx(expected)
    few = lean(signals, folds="subject", n_splits=3)
    assert set(few.table["tested"]) == {"fold"} and set(few.table["n_subjects"]) == {2}


def test_steps_are_told_people_sites_and_repetition_times():
    signals = cohort(n=12, n_runs=2)
    Nosy.told.clear()
    benchmark({"nosy": make_pipeline(Connectivity(), Nosy())}, signals, folds="site", metric="accuracy", progress=False)
    table = signals.metadata
    assert len(Nosy.told) == 6
    for site, fitted, predicted in zip(("S0", "S1", "S2"), Nosy.told[::2], Nosy.told[1::2], strict=True):
        train, test = table[table["site"] != site], table[table["site"] == site]
        for told, column in zip(fitted[2:], ("subject", "site", "t_r", "subject"), strict=True):
            assert told.tolist() == train[column].tolist()
        assert predicted[2].tolist() == test["site"].tolist() and predicted[3].tolist() == test["t_r"].tolist()


def test_what_is_not_known_is_not_told():
    table = cohort(n=4).metadata
    assert set(routed(table)) == {"subjects", "groups", "sites", "t_r"}
    assert set(routed(table.assign(site=["S0", None, "S1", "S1"], t_r=[2.0, np.nan, 2, 2]))) == {"subjects", "groups"}


def test_searches_keep_people_together_and_know_sites():
    signals = cohort(n=18, n_runs=2, strength=1.0)
    Nosy.told.clear()
    model = make_pipeline(Connectivity(), Nosy())
    grid = {"nosy": {"connectivity": [Connectivity(), "passthrough"]}}
    benchmark({"nosy": model}, signals, folds="subject", n_splits=2, metric="accuracy", param_grid=grid, progress=False)
    fits = [told for told in Nosy.told if told[0] == "fit"]
    assert len(fits) == 2 * (2 * 3 + 1)  # two folds of two candidates in three inner folds, and the refit
    for told in fits:
        assert len(told[2]) == 2 * len(set(told[2].tolist()))  # both runs of a person, or none
        assert len(told[3]) == len(told[2])
    assert all(told[2] is not None for told in Nosy.told if told[0] == "predict")


def test_a_site_of_one_class_is_told_and_left_out():
    signals = cohort(n=30)
    y = np.where(signals.metadata["site"] == "S1", "control", signals.y)
    signals = SignalDataset(signals.X, y, signals.metadata, signals.info, name="cohort")
    results = lean(signals, folds="site")
    assert results.table["subject"].tolist() == ["S0", "S2"] and results.failed.empty
    told = [text for text in results.warnings if "S1" in text]
    assert len(told) == 1 and "site S1 holds control only (10 runs), where roc_auc is not defined" in told[0]
    assert results.table["samples"].tolist() == [20, 20]  # its people are learned from
    both = lean(signals, folds="site", metric="accuracy")
    assert both.table["subject"].tolist() == ["S0", "S1", "S2"] and both.failed.empty
    labels = np.where(signals.metadata["site"] == "S0", "patient", "control")
    alone = SignalDataset(signals.X, labels, signals.metadata, signals.info, name="cohort")
    with pytest.raises(InputError, match="without site S0 there is nobody of class patient"):
        lean(alone, folds="site")
    four = cohort(n=40, n_sites=4)
    labels = np.where(four.metadata["site"].isin(["S0", "S1"]), "patient", "control")
    with pytest.raises(InputError, match=r"no site holds runs of every class.*roc_auc is defined in none"):
        lean(SignalDataset(four.X, labels, four.metadata, four.info, name="cohort"), folds="site")


def test_finished_folds_are_not_run_again_and_remarks_are_kept(tmp_path, monkeypatch):
    signals = cohort(n=30)
    y = np.where(signals.metadata["site"] == "S1", "control", signals.y)
    signals = SignalDataset(signals.X, y, signals.metadata, signals.info, name="cohort")
    first = lean(signals, folds="site", out=tmp_path / "out")
    (tmp_path / "out" / "results.json").unlink()  # as after a kill between the last fold and the tables
    lost = sorted((tmp_path / "out" / "store").glob("*.json"))[0]
    lost.unlink()
    fits = []
    monkeypatch.setattr(LogisticRegression, "fit", _counted(LogisticRegression.fit, fits))
    again = lean(signals, folds="site", out=tmp_path / "out")
    assert len(fits) == 1
    timed = ["time", "seconds_fit", "seconds_score", "peak_memory_mb"]
    pd.testing.assert_frame_equal(again.table.drop(columns=timed), first.table.drop(columns=timed))
    assert again.warnings == first.warnings
    assert lean(signals, folds="site", out=tmp_path / "out").table.equals(Results.load(tmp_path / "out").table)
    assert len(fits) == 1
    changed = [run.copy() for run in signals.X]
    changed[-1][0, 0] += 1
    lean(SignalDataset(changed, y, signals.metadata, signals.info, name="cohort"), folds="site", out=tmp_path / "out")
    assert len(fits) == 3
    elsewhere = signals.metadata.assign(site=signals.metadata["site"].replace("S2", "S3"))
    lean(SignalDataset(signals.X, y, elsewhere, signals.info, name="cohort"), folds="site", out=tmp_path / "out")
    assert len(fits) == 5


def _counted(fit, fits):
    def counted(self, X, y):
        fits.append(len(X))
        return fit(self, X, y)

    return counted


def test_runs_on_disk_are_read_once():
    signals, read = cohort(n=12), []

    def give(place):
        read.append(place)
        return signals.X[place]

    on_disk = SignalDataset(LazyRuns(give, range(12)), signals.y, signals.metadata, signals.info, name="cohort")
    table = lean(on_disk, folds="site").table
    assert table["score"].tolist() == lean(signals, folds="site").table["score"].tolist()
    assert sorted(read) == list(range(12))


def test_folds_travel_to_workers():
    signals = cohort()
    with parallel_config("threading"):
        both = lean(signals, folds="site", n_jobs=2).table["score"].tolist()
    assert both == lean(signals, folds="site").table["score"].tolist()
    [entry] = open_datasets(signals, data=None, events=None, subjects=None, processing={})
    options = check_options("cross_site", "site", None, None, 42, None, "joblib")
    grid = {"FC": {"logisticregression__C": [0.1, 1.0]}}
    [study] = make_studies(entry, options, {"FC": decoder()}, grid, None, {})
    unit = study.runner.units[0]
    data = study.runner.load(unit, {})
    for task in study.runner.tasks(unit, data, study.pipelines, grid):
        sent = pickle.loads(pickle.dumps(task))
        assert PooledRunner.evaluate(data, sent)[0]["score"] == PooledRunner.evaluate(data, task)[0]["score"]


def test_the_same_run_under_two_names_is_refused():
    signals = cohort(n=20)
    runs = list(signals.X)
    twin = next(i for i in range(1, 20) if signals.metadata["site"][i] != signals.metadata["site"][0])
    runs[twin] = runs[0].copy()
    double = SignalDataset(runs, signals.y, signals.metadata, signals.info, name="cohort")
    with pytest.raises(LeakageError, match="hold the very same run"):
        lean(double, folds="site")


def test_a_fitted_part_that_has_seen_the_people_is_refused():
    from sklearn.frozen import FrozenEstimator

    signals = cohort(n=12)
    fitted = decoder().fit(signals.X, signals.y)
    seen = FrozenEstimator(fitted)
    fitted.trained_on_ = {"subjects": [], "data": [], "dataset": None, "before": []}
    from neurosig.evaluation.seen import people_of

    people = people_of(signals.X, signals.y, signals.metadata)
    fitted.trained_on_["data"] = [people["p3"]]
    with pytest.raises(LeakageError, match="was trained on subject p3"):
        benchmark({"seen": seen}, signals, folds="subject", progress=False)
    again = people_of(list(np.stack([signals.X[0][:, :30]] * 2)), ["a", "a"], signals.metadata[:2].assign(subject="x"))
    array = people_of(np.stack([signals.X[0][:, :30]] * 2), ["a", "a"], signals.metadata[:2].assign(subject="x"))
    assert again == array


@pytest.mark.parametrize(("options", "match"), [
    ({"folds": "site", "n_splits": 3}, "one a site; leave n_splits out"),
    ({"folds": "run"}, "runs of different lengths"),
    ({"evaluation": "cross_subject", "cs_mode": "train_and_target_unlabeled_full"}, "test several people at once"),
    ({"folds": "subject", "metric": "r2"}, "labels of cohort are class names"),
    ({"folds": "subject", "n_splits": 40}, "40 folds need as many subjects, got 24"),
    ({"folds": "sites"}, "did you mean 'site'"),
])  # fmt: skip
def test_options_that_do_not_fit_are_refused(options, match):
    with pytest.raises((UsageError, InputError), match=match):
        lean(cohort(), **options)


def test_labels_that_do_not_fit_are_refused():
    signals = cohort(n=12)
    y = signals.y.astype(object)
    y[3] = None
    with pytest.raises(InputError, match=f"1 of 12 runs have no label .subjects {signals.metadata['subject'][3]}"):
        lean(SignalDataset(signals.X, y, signals.metadata, signals.info))
    kinds = np.array(["a", "b", "c"] * 4)
    with pytest.raises(UsageError, match="roc_auc is for two classes, dataset has 3"):
        lean(SignalDataset(signals.X, kinds, signals.metadata, signals.info), metric="roc_auc", folds="subject")
    ages = np.arange(12)
    with pytest.raises(UsageError, match=r"give them as y\.astype\(float\)"):
        lean(SignalDataset(signals.X, ages, signals.metadata, signals.info), metric="mae", folds="subject")
    with pytest.raises(InputError, match='need the column "site"'):
        lean(SignalDataset(signals.X, signals.y, signals.metadata.drop(columns="site"), signals.info), folds="site")


def test_a_scorer_of_undefined_scores():
    model = DummyClassifier().fit([[0], [1]], [0, 1])
    with config_context(enable_metadata_routing=True):
        assert np.isnan(MetadataScorer("roc_auc")(model, [[0], [1]], [1, 1]))
    with pytest.raises(InputError, match="neither decision_function nor predict_proba"):
        MetadataScorer("roc_auc")(Nosy(), [[0]], [0])
    assert repr(MetadataScorer("r2")) == "MetadataScorer('r2')"


def test_the_seed_and_the_sites_are_part_of_the_folds():
    signals = cohort(n=40, strength=0.3)
    found = []
    for seed in (1, 2):
        options = check_options("cross_subject", "subject", None, None, seed, None, "joblib")
        [entry] = open_datasets(signals, data=None, events=None, subjects=None, processing={})
        [study] = make_studies(entry, options, {"FC": decoder()}, {}, None, {})
        assert isinstance(study.runner, PooledRunner)
        data = study.runner.load(study.runner.units[0], {})
        tasks = study.runner.tasks(study.runner.units[0], data, study.pipelines, {})
        found.append([tuple(task["test_idx"]) for task in tasks])
    assert found[0] != found[1]
    assert (
        lean(signals, random_state=1).table["score"].tolist() != lean(signals, random_state=2).table["score"].tolist()
    )


def test_only_some_subjects_and_other_kinds_of_recordings():
    signals = cohort(n=24, ragged=False)
    chosen = [f"p{i}" for i in range(12)]
    table = lean(signals, folds="site", subjects=chosen).table
    assert table["n_subjects"].sum() == 12 == table["samples_test"].sum()
    with pytest.raises(UsageError, match="has no subject 'nobody'"):
        lean(signals, folds="site", subjects=["nobody"])
    info = SignalSpec("eeg", signals.info.ch_names, sfreq=20.0, unit="V")
    eeg = SignalDataset(signals.X * 1e-5, signals.y, signals.metadata, info, name="rest")
    assert lean(eeg).table["score"].tolist() == lean(signals).table["score"].tolist()


def test_numbers_that_do_not_vary_have_no_score():
    signals = cohort(n=12, numbers=True)
    y = np.where(signals.metadata["site"] == "S0", 30.0, signals.y)
    signals = SignalDataset(signals.X, y, signals.metadata, signals.info, name="cohort")
    results = benchmark({"ridge": make_pipeline(Connectivity(), Ridge())}, signals, folds="site", progress=False)
    assert results.failed["subject"].tolist() == ["S0"] and "numbers" in results.failed["error"].item()
    assert results.summary()["n_sessions"].item() == 2 and results.summary()["n_failed"].item() == 1
