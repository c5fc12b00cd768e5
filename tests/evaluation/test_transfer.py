"""Transfer studies: who learns from whom, that nobody is tested on what was learned, and that fits are kept."""

import json
import os
import sys
import time

import lives
import numpy as np
import pandas as pd
import pytest
from joblib.externals.loky import get_reusable_executor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline

from neurosig.core.errors import InputError, LeakageError, StorageError, UsageError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.evaluation.store import FoldStore
from neurosig.evaluation.transfer import TransferStudy
from neurosig.evaluation.transfer_data import Windows, leave_out
from neurosig.evaluation.transfer_results import TransferResults

# A network small enough to be known by heart, in a module of its own so that other processes can import it.
# The last sample of a trial's last channel is the trial's number: the log says which trials were seen.
MODULE = '''
import json, os, signal
from pathlib import Path
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin

def trials(X):
    return sorted(set(np.round(X[:, -1, -1]).astype(int).tolist()))

class Logistic(ClassifierMixin, BaseEstimator):
    """Softmax regression on log variances, by gradient descent from random or pretrained weights.

    With more than FITS lines in its log, a fit never ends."""
    def __init__(self, log=None, n_iter=40, lr=0.5, stop=None, fail=None, pretrained=None, trainable="all",
                 random_state=None):
        self.log, self.n_iter, self.lr, self.stop, self.fail = log, n_iter, lr, stop, fail
        self.pretrained, self.trainable, self.random_state = pretrained, trainable, random_state
    def _features(self, X):
        return np.log(np.var(X[:, :-1], axis=-1) + 1e-30)
    def fit(self, X, y, *, groups=None):
        start = None if self.pretrained is None else Path(self.pretrained).parent.name
        if self.log is not None:
            line = {"fit": trials(X), "n": len(X), "seed": self.random_state, "start": start, "how": self.trainable,
                    "groups": None if groups is None else np.asarray(groups).tolist()}
            with open(self.log, "a") as stream:
                stream.write(json.dumps(line) + "\\n")
        if self.stop is not None and len(Path(self.log).read_text().splitlines()) > self.stop:
            raise KeyboardInterrupt
        while "FITS" in os.environ and len(Path(self.log).read_text().splitlines()) > int(os.environ["FITS"]):
            signal.pause()
        if self.fail is not None and len(X) > self.fail:
            raise ValueError("too much for me")
        F = self._features(X)
        self.classes_ = np.unique(y)
        Y = (np.asarray(y)[:, None] == self.classes_).astype(float)
        if self.pretrained is None:
            rng = np.random.default_rng(self.random_state)
            self.mean_ = F.mean(0)
            W, b = rng.normal(0, 0.3, (F.shape[1], Y.shape[1])), np.zeros(Y.shape[1])
        else:
            stored = np.load(Path(self.pretrained) / "weights.npz")
            self.mean_, W, b = stored["mean"], stored["W"].copy(), stored["b"].copy()
        for _ in range(self.n_iter):
            Z = (F - self.mean_) @ W + b
            P = np.exp(Z - Z.max(1, keepdims=True))
            G = (P / P.sum(1, keepdims=True) - Y) / len(F)
            if self.trainable == "all":
                W -= self.lr * (F - self.mean_).T @ G
            b -= self.lr * G.sum(0)
        self.W_, self.b_ = W, b
        return self
    def predict_proba(self, X):
        if self.log is not None:
            with open(self.log + ".tested", "a") as stream:
                stream.write(json.dumps(trials(X)) + "\\n")
        Z = (self._features(X) - self.mean_) @ self.W_ + self.b_
        P = np.exp(Z - Z.max(1, keepdims=True))
        return P / P.sum(1, keepdims=True)
    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(1)]
    def save_pretrained(self, folder):
        Path(folder).mkdir(parents=True)
        np.savez(Path(folder) / "weights.npz", mean=self.mean_, W=self.W_, b=self.b_, classes=self.classes_)
    @classmethod
    def from_pretrained(cls, folder):
        stored, new = np.load(Path(folder) / "weights.npz"), cls()
        new.mean_, new.W_, new.b_, new.classes_ = (stored[name] for name in ("mean", "W", "b", "classes"))
        return new

class Variances(TransformerMixin, BaseEstimator):
    """Log variance of every channel but the last."""
    def fit(self, X, y=None):
        return self
    def transform(self, X):
        return np.log(np.var(X[:, :-1], axis=-1))
    def __sklearn_is_fitted__(self):
        return True

def life(out, n_jobs):
    """A study as a user's script makes it."""
    import pandas as pd
    from neurosig import SignalDataset, SignalSpec
    from neurosig.evaluation import TransferStudy
    stored = np.load("toy.npz")
    metadata = pd.DataFrame(stored["rows"], columns=["subject", "session", "run"])
    info = SignalSpec("eeg", tuple(f"E{i}" for i in range(stored["X"].shape[1])), sfreq=20.0, unit="a.u.")
    signals = SignalDataset(stored["X"], stored["y"], metadata, info, name="toy")
    study = TransferStudy({"net": Logistic(log="fits.log")}, leave_subjects=2, seeds=2, out=out, n_jobs=n_jobs)
    study.run(signals, progress=False)
'''
TIMES = ["seconds_fit", "seconds_pretraining"]


@pytest.fixture
def standin(tmp_path, monkeypatch):
    """The module `standin`, importable here and in child processes."""
    get_reusable_executor().shutdown(wait=True)  # workers of an earlier test would not know it
    (tmp_path / "standin.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    import neurosig.evaluation.identity as identity

    identity._source_digest.cache_clear()
    sys.modules.pop("standin", None)
    import standin

    yield standin
    sys.modules.pop("standin", None)
    identity._source_digest.cache_clear()


def people(n_people=6, n_runs=3, n_trials=6, gain=1.5, shared=True, n_channels=5, n_times=40, seed=0):
    """Trials whose class is the power of one channel, the same for all or each person's own; the last is a number."""
    rng = np.random.default_rng(seed)
    rows = [(f"S{p + 1}", "0", str(r)) for p in range(n_people) for r in range(n_runs) for _ in range(n_trials)]
    X = rng.standard_normal((len(rows), n_channels + 1, n_times))
    y = np.arange(len(rows)) % 2
    for place, (subject, _, _) in enumerate(rows):
        own = (int(subject[1:]) - 1) % n_channels
        X[place, 0 if shared else own] *= 1 + gain * y[place]
    X[:, -1] = np.arange(len(rows))[:, None]
    metadata = pd.DataFrame(rows, columns=["subject", "session", "run"])
    info = SignalSpec("eeg", tuple(f"E{i}" for i in range(n_channels + 1)), sfreq=20.0, unit="a.u.", n_times=n_times)
    return SignalDataset(X, np.array(["left_hand", "right_hand"])[y], metadata, info, name="toy")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def same(left, right):
    pd.testing.assert_frame_equal(
        left.drop(columns=TIMES), right.drop(columns=TIMES), check_dtype=False, check_exact=True
    )


# who learns from whom -------------------------------------------------------------------------------------------------


def test_all_conditions_are_tested_on_the_same_trials(standin):
    pipelines = {"net": standin.Logistic(), "lda": make_pipeline(standin.Variances(), LinearDiscriminantAnalysis())}
    table = TransferStudy(pipelines, leave_subjects=2, seeds=2).run(people()).table
    assert table["score"].notna().all() and set(table["error"]) == {""}
    assert set(table.loc[table["pipeline"] == "net", "condition"]) == {
        "within", "transfer_all", "transfer_head", "direct"}  # fmt: skip
    assert set(table.loc[table["pipeline"] == "lda", "condition"]) == {"within", "direct"}
    assert len(table) == 6 * 3 * 2 * (4 + 2)
    keys = ["pipeline", "condition", "seed"]
    tested = {
        key: part.sort_values(["subject", "fold"])[["subject", "fold", "n_test", "test_counts"]].to_numpy().tolist()
        for key, part in table.groupby(keys)
    }
    assert all(rows == next(iter(tested.values())) for rows in tested.values())
    assert (table["n_test"] == 6).all() and (table["chance"] == 0.5).all()
    assert set(table.loc[table["condition"] != "within", "pretrained_on"]) == {4}
    assert table.loc[table["condition"] == "within", "pretrained_on"].isna().all()
    assert table.groupby("subject")["group"].first().tolist() == [0, 0, 1, 1, 2, 2]


def test_no_fit_sees_what_it_is_tested_on(standin, tmp_path):
    data = people(n_people=5)
    log = tmp_path / "fits.log"
    TransferStudy({"net": standin.Logistic(log=str(log))}, leave_subjects=2, seeds=(7,), out=tmp_path / "out").run(data)
    subject, run = (data.metadata[name].to_numpy() for name in ("subject", "run"))
    fits = lines(log)
    alone = [fit for fit in fits if fit["start"] is None and len(set(subject[fit["fit"]])) == 1]
    others = [fit for fit in fits if len(set(subject[fit["fit"]])) > 1]
    tuned = [fit for fit in fits if fit["start"] is not None]
    assert (len(alone), len(others), len(tuned)) == (5 * 3, 3, 5 * 3 * 2) and len(fits) == 48
    for fit in alone + tuned:  # two whole runs of one person
        assert len(set(run[fit["fit"]])) == 2 and len(fit["fit"]) == fit["n"] == 12
    assert [sorted(set(subject[fit["fit"]])) for fit in others] == [
        ["S3", "S4", "S5"], ["S1", "S2", "S5"], ["S1", "S2", "S3", "S4"]]  # fmt: skip
    assert all(len(fit["fit"]) == 18 * len(set(subject[fit["fit"]])) for fit in others)
    for fit in tuned:  # from weights that have not seen this person
        seen = json.loads((tmp_path / "out" / "pretrained" / fit["start"] / "trained_on.json").read_text())
        assert subject[fit["fit"][0]] not in seen["subjects"] and subject[fit["fit"][0]] in seen["left_out"]
        assert fit["seed"] == seen["seed"] == 7
    tested = lines(tmp_path / "fits.log.tested")
    assert all(len(trials) == 6 and len(set(run[trials])) == 1 for trials in tested)
    for fit, trials in zip(alone, tested, strict=False):  # each is tested right after its fit
        assert set(fit["fit"]) | set(trials) == set(np.flatnonzero(subject == subject[trials[0]]).tolist())
        assert not set(fit["fit"]) & set(trials)


def test_windows_of_a_trial_stay_together(standin, tmp_path):
    data = people(n_people=3)
    log = tmp_path / "fits.log"
    study = TransferStudy(
        {"net": standin.Logistic(log=str(log))}, leave_subjects=1, seeds=1, window=1.0, window_step=0.5
    )
    table = study.run(data).table
    assert (table["n_windows"] == 6 * 3).all() and table["score_windows"].notna().all()
    for fit in lines(log):
        assert fit["groups"] == np.repeat(np.arange(len(fit["fit"])), 3).tolist()  # 2 s cut to 1 s every half second
        assert fit["n"] == 3 * len(fit["fit"])
    X = np.arange(2 * 3 * 10).reshape(2, 3, 10)
    windows, trial = Windows(4, 3).cut(X)
    assert trial.tolist() == [0, 0, 0, 1, 1, 1]
    for number, start in enumerate((0, 3, 6)):
        np.testing.assert_array_equal(windows[number], X[0, :, start : start + 4])
        np.testing.assert_array_equal(windows[3 + number], X[1, :, start : start + 4])


def test_a_trial_is_decided_by_the_mean_over_its_windows(standin, monkeypatch, tmp_path):
    certain = np.array([[0.9, 0.1], [0.45, 0.55], [0.45, 0.55]])  # two windows say 1, the mean says 0

    def probabilities(self, X):
        return np.tile(certain, (len(X) // 3, 1))

    monkeypatch.setattr(standin.Logistic, "predict_proba", probabilities)
    study = TransferStudy({"net": standin.Logistic()}, leave_subjects=1, seeds=1, window=1.0, window_step=0.5,
                          fine_tune=(), out=tmp_path)  # fmt: skip
    table = study.run(people(n_people=2)).table
    assert (table["score"] == 0.5).all() and (table["score_windows"] == 0.5).all()
    record = json.loads(next((tmp_path / "store").glob("*.json")).read_text())
    if not record["tested"]:
        record = next(
            r for r in map(json.loads, (f.read_text() for f in (tmp_path / "store").glob("*.json"))) if r["tested"]
        )
    assert record["tested"][0]["trials"] == [0] * 6 and record["tested"][0]["windows"] == [[0, 1, 1]] * 6


def test_steps_before_a_network_learn_anew_where_they_keep_the_channels(standin, tmp_path):
    from sklearn.frozen import FrozenEstimator

    from neurosig.evaluation.transfer_network import load_pretrained, save_pretrained, start_from
    from neurosig.preprocessing import SpatialReduction
    from neurosig.preprocessing.faster import FASTER

    data = people(n_people=2, n_channels=11)
    labels = (data.y == "right_hand").astype(int)
    cleaning = FASTER(steps=("channels",), few="ignore", interpolation="mean", sfreq=20.0)
    pipeline = make_pipeline(cleaning, SpatialReduction("pca", 6), standin.Logistic())
    fitted = make_pipeline(cleaning, SpatialReduction("pca", 6), standin.Logistic()).fit(data.X[:18], labels[:18])
    save_pretrained(fitted, tmp_path / "weights", {"subjects": ["S1"], "data": ["x"]})
    loaded = load_pretrained(pipeline, tmp_path / "weights")
    np.testing.assert_array_equal(loaded.predict_proba(data.X[18:]), fitted.predict_proba(data.X[18:]))
    ready = start_from(pipeline, tmp_path / "weights", "head")
    (_, first), (_, second), (_, network) = ready.steps
    assert isinstance(first, FASTER) and not hasattr(first, "bad_channels_")
    assert isinstance(second, FrozenEstimator)
    assert network.trainable == "head" and network.pretrained == str(tmp_path / "weights" / "network")
    ready.fit(data.X[18:], labels[18:])  # the other person: the projection stays
    given = np.random.default_rng(0).standard_normal((3, 12, 40))
    np.testing.assert_array_equal(ready.steps[1][1].transform(given), fitted.steps[1][1].transform(given))
    assert not hasattr(pipeline.steps[-1][1], "W_")


def test_faster_learns_from_training_trials_only(standin, monkeypatch):
    from neurosig.evaluation import transfer_fits
    from neurosig.preprocessing.faster import FASTER
    from neurosig.reports.transfer import _MEANING

    seen = []
    honest = FASTER.fit

    def fit(self, X, y=None):
        seen.append(standin.trials(X))
        return honest(self, X)

    monkeypatch.setattr(FASTER, "fit", fit)
    options = {"steps": ("channels",), "few": "ignore", "interpolation": "mean", "sfreq": 20.0}
    data = people(n_people=3, n_channels=11, seed=5)
    run, subject = data.metadata["run"].to_numpy(), data.metadata["subject"].to_numpy()
    lda = make_pipeline(standin.Variances(), LinearDiscriminantAnalysis())
    used = []
    decide = transfer_fits._decide

    def decided(fitted, plan, place, fold, faster):
        used.append((place, fold))
        return decide(fitted, plan, place, fold, faster)

    monkeypatch.setattr(transfer_fits, "_decide", decided)
    study = TransferStudy({"lda": lda}, leave_subjects=1, seeds=1, faster=options)
    found = study.run(data).table
    # direct too is tested on trials cleaned by the person's own fit of the fold, and the report says so
    assert sorted(used) == sorted(2 * [(place, fold) for place in range(3) for fold in range(3)])
    assert (
        "the person's own training trials" in _MEANING["direct"] and "nothing of the person" not in _MEANING["direct"]
    )
    within, pooled = seen[:9], seen[9:]  # what was learned for a fold serves every fit that asks for it
    assert all(len(set(subject[trials])) == 1 for trials in seen)  # never two people at once
    assert all(len(set(run[trials])) == 2 and len(trials) == 12 for trials in within)
    assert [len(trials) for trials in pooled] == [18] * 3  # those who are learned from, by themselves
    monkeypatch.setattr(FASTER, "fit", honest)
    first = FASTER(**{"variant": "mended", "output_reference": None, **options})
    inside = TransferStudy({"lda": make_pipeline(first, *[step for _, step in lda.steps])}, leave_subjects=1, seeds=1)
    expected = inside.run(data).table
    left, right = (frame.loc[frame["condition"] == "within", "score"] for frame in (found, expected))
    np.testing.assert_array_equal(left, right)


# what it is for -------------------------------------------------------------------------------------------------------


def test_transfer_helps_where_people_share_a_pattern_and_only_there(standin):
    # eight training trials for sixteen channels: too few to learn alone what all people have in common
    few = {"n_people": 12, "n_runs": 3, "n_trials": 4, "gain": 0.3, "n_channels": 16}
    study = TransferStudy({"net": standin.Logistic(n_iter=15)}, leave_subjects=2, seeds=2)
    shared = study.run(people(shared=True, **few)).effects().set_index("condition")
    assert (shared["effect"] > 0.05).all() and (shared["share_improved"] > 0.5).all()
    assert shared.loc["transfer_all", "p_wilcoxon_corrected"] < 0.05
    alone = study.run(people(shared=False, **few))
    effects = alone.effects().set_index("condition")
    assert not ((effects["effect"] > 0) & (effects["p_wilcoxon_corrected"] < 0.05)).any()
    assert abs(effects.loc["transfer_all", "effect"]) < 0.05
    means = alone.summary().set_index("condition")
    assert means.loc["direct", "mean"] < means.loc["direct", "chance_upper"] < means.loc["within", "ci_low"]


def test_seeds_change_networks_and_nothing_else(standin):
    lda = make_pipeline(standin.Variances(), LinearDiscriminantAnalysis())
    pipelines = {"net": standin.Logistic(n_iter=3), "lda": lda}
    data = people(gain=0.3)
    results = TransferStudy(pipelines, leave_subjects=3, seeds=(4, 9)).run(data)
    first, second = (results.table[results.table["seed"] == seed].reset_index(drop=True) for seed in (4, 9))
    lda = first["pipeline"] == "lda"
    same(first[lda].drop(columns="seed"), second[lda].drop(columns="seed"))
    assert (first[~lda]["score"] != second[~lda]["score"]).any()
    summary = results.summary().set_index(["pipeline", "condition"])
    # what no seed changes has no spread over seeds, rather than one of zero
    assert np.isnan(summary.loc[("lda", "within"), "sd_seeds"]) and summary.loc[("net", "within"), "sd_seeds"] > 0
    again = TransferStudy(pipelines, leave_subjects=3, seeds=(4, 9)).run(data)
    same(results.table, again.table)


# finished fits are kept -----------------------------------------------------------------------------------------------


def test_an_interrupted_study_goes_on_and_ends_the_same(standin, tmp_path):
    data = people(n_people=4)
    options = {"leave_subjects": 2, "seeds": 2}

    def study(out, **changes):
        return TransferStudy({"net": standin.Logistic(log=str(tmp_path / f"{out}.log"), **changes)}, out=tmp_path / out,
                             **options)  # fmt: skip

    undisturbed = study("whole").run(data)
    fits = lines(tmp_path / "whole.log")
    assert len(fits) == 2 * (4 * 3 + 2 + 4 * 3 * 2)
    same(study("whole").run(data).table, undisturbed.table)  # everything from the store
    assert len(lines(tmp_path / "whole.log")) == len(fits)
    for folder in (tmp_path / "whole" / "pretrained").iterdir():  # weights lost: only what needs them runs again
        (folder / "trained_on.json").unlink()
    same(study("whole").run(data).table, undisturbed.table)
    assert len(lines(tmp_path / "whole.log")) == len(fits) + 2 * 2
    log = tmp_path / "cut.log"
    for stop in (5, 27, 40):
        # `stop` is part of the key of a fit, so the log alone says when: the environment is no parameter
        os.environ["STOP_AFTER"] = str(stop)
        try:
            with pytest.raises(KeyboardInterrupt):
                _stopping(standin, study("cut")).run(data, progress=False)
        finally:
            del os.environ["STOP_AFTER"]
        assert len(list((tmp_path / "cut" / "store").glob("*.json"))) >= stop - 3
    same(study("cut").run(data).table, undisturbed.table)
    assert len(lines(log)) == len(fits) + 3  # each life lost the fit that it was stopped in, and no other


def _stopping(standin, study):
    """The study with a network that stops the process' work after so many fits, without being another network."""
    honest = standin.Logistic.fit

    def fit(self, X, y, *, groups=None):
        result = honest(self, X, y, groups=groups)
        if len(lines_of(self.log)) > int(os.environ.get("STOP_AFTER", 10**9)):
            raise KeyboardInterrupt
        return result

    standin.Logistic.fit = fit
    run = study.run

    def restored(*args, **kwargs):
        try:
            return run(*args, **kwargs)
        finally:
            standin.Logistic.fit = honest

    study.run = restored
    return study


def lines_of(path):
    with open(path) as stream:
        return stream.read().splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_process_loses_only_the_fits_in_flight(standin, tmp_path, n_jobs):
    data = people(n_people=4)
    np.savez(tmp_path / "toy.npz", X=data.X, y=data.y, rows=data.metadata.to_numpy(dtype=str))
    log = tmp_path / "fits.log"

    def begin(out, **environment):
        return lives.begin(tmp_path, standin.life, out, n_jobs, **environment)

    assert lives.ended(begin("whole"))
    n_fits = len(lines(log))
    log.unlink()
    for enough in (n_fits // 3, 2 * n_fits // 3):
        process = begin("killed", FITS=str(enough))
        while len(lines(log)) <= enough and process.is_alive():
            time.sleep(0.01)
        assert lives.kill(process)  # the last of the lines is that of a fit that never ends
    assert lives.ended(begin("killed"))
    same(TransferResults.load(tmp_path / "killed").table, TransferResults.load(tmp_path / "whole").table)
    assert len(lines(log)) <= n_fits + 2 * n_jobs


def test_jobs_side_by_side_give_the_same(standin):
    data = people(n_people=4)
    options = {"leave_subjects": 2, "seeds": 1}
    one, two = (TransferStudy({"net": standin.Logistic()}, n_jobs=n, **options).run(data) for n in (1, 2))
    same(one.table, two.table)


def test_what_fails_is_told_and_tried_again(standin, tmp_path):
    data = people(n_people=4)
    log = tmp_path / "fits.log"
    pipelines = {"net": standin.Logistic(log=str(log), fail=20), "dummy": DummyClassifier()}
    study = TransferStudy(pipelines, leave_subjects=2, seeds=1, out=tmp_path / "out")
    results = study.run(data)
    failed = results.failed
    assert set(failed["condition"]) == {"transfer_all", "transfer_head", "direct"} and set(failed["pipeline"]) == {
        "net"
    }
    assert set(failed["error"]) == {"pretraining failed: ValueError: too much for me"}
    assert any("net failed in 36 of 48 rows" in line for line in results.warnings)
    summary = results.summary().set_index(["pipeline", "condition"])
    assert summary.loc[("net", "direct"), "n"] == 0 and summary.loc[("net", "direct"), "n_failed"] == 4
    before = len(lines(log))
    study.run(data)
    assert len(lines(log)) == before + 2  # the two pretrainings alone
    same(TransferResults.load(tmp_path / "out").table, results.table)


def test_results_are_read_back_as_they_were(standin, tmp_path):
    results = TransferStudy({"net": standin.Logistic()}, leave_subjects=2, seeds=2, out=tmp_path).run(
        people(n_people=4)
    )
    read = TransferResults.load(tmp_path)
    pd.testing.assert_frame_equal(read.table, results.table, check_dtype=False, check_exact=True)
    assert read.meta == json.loads(json.dumps(results.meta))
    stored = json.loads((tmp_path / "results.json").read_text())
    assert len(stored["summary"]) == 4 and len(stored["effects"]) == 3
    statistics = pd.read_csv(tmp_path / "statistics.csv")
    assert set(statistics["test"]) == {"transfer"} and set(statistics["b"]) == {"within"}
    assert len(pd.read_csv(tmp_path / "ranking.csv")) == 4
    (tmp_path / "results.csv").write_text("changed")
    with pytest.raises(StorageError, match="is not the file that results"):
        TransferResults.load(tmp_path)
    with pytest.raises(StorageError, match="no results of a transfer study"):
        TransferResults.load(tmp_path / "elsewhere")


# refusals -------------------------------------------------------------------------------------------------------------


def test_weights_that_have_seen_a_tested_person_are_refused(standin, tmp_path):
    data = people(n_people=4)
    log = tmp_path / "fits.log"
    study = TransferStudy({"net": standin.Logistic(log=str(log))}, leave_subjects=2, seeds=1, out=tmp_path / "out")
    study.run(data)
    folder = sorted((tmp_path / "out" / "pretrained").iterdir())[0]
    told = json.loads((folder / "trained_on.json").read_text())
    for wrong in ({"subjects": [*told["subjects"], told["left_out"][1]]}, None):
        content = "{}" if wrong is None else json.dumps({**told, **wrong})
        (folder / "trained_on.json").write_text(content)
        for record in (tmp_path / "out" / "store").glob("*.json"):
            if json.loads(record.read_text())["tested"]:
                record.unlink()
        expected = (StorageError, "does not say whom") if wrong is None else (LeakageError, "have seen subject S")
        with pytest.raises(expected[0], match=expected[1]):
            study.run(data)
    with pytest.raises(LeakageError, match="brings pretrained weights"):
        TransferStudy({"net": standin.Logistic(pretrained=str(folder / "network"))})
    with pytest.raises(LeakageError, match="brings pretrained weights"):
        TransferStudy({"net": make_pipeline(standin.Variances(), standin.Logistic(pretrained="somewhere"))})


def test_one_person_under_two_names_is_refused(standin):
    data = people(n_people=4)
    where = data.metadata["subject"].to_numpy()
    data.X[where == "S4"] = data.X[where == "S1"]
    with pytest.raises(LeakageError, match="subjects S1 and S4 have the same signals"):
        TransferStudy({"net": standin.Logistic()}, leave_subjects=1).run(data)


def test_trials_that_overlap_are_refused_in_shuffled_folds(toy):
    data = toy(n_subjects=3, n_runs=2, n_trials=10)  # 2 s every 4 s
    lda = {"lda": make_pipeline(_variances(), LinearDiscriminantAnalysis())}
    study = TransferStudy(lda, leave_subjects=1, seeds=1, folds="shuffled", n_splits=5)
    table = study.run(data).table
    assert (table["n_folds"] == 5).all() and (table["n_test"] == 4).all()
    assert set(table["test_counts"]) == {'{"left_hand": 2, "right_hand": 2}'}
    data.metadata["onset"] /= 4  # 2 s every second
    with pytest.raises(LeakageError, match="lies within 2 s of training trial"):
        study.run(data)


@pytest.mark.parametrize(("runs", "folds"), [(3, "run"), (1, "shuffled")])
def test_folds_follow_the_runs_where_there_are_some(toy, runs, folds):
    lda = {"lda": make_pipeline(_variances(), LinearDiscriminantAnalysis())}
    results = TransferStudy(lda, leave_subjects=1, seeds=1, n_splits=4).run(toy(n_subjects=2, n_runs=runs))
    assert results.meta["protocol"]["folds"] == folds
    assert set(results.table["n_folds"]) == {3 if folds == "run" else 4}
    assert any("folds are shuffled over trials" in line for line in results.warnings) is (folds == "shuffled")


def test_a_manifest_s_word_on_folds_is_followed(tmp_path):
    (tmp_path / "small.yml").write_text("""
name: small
title: A small simulation
paradigm: imagery
source:
  simulated: {kind: imagery, n_subjects: 3, n_sessions: 1, n_runs: 2, n_trials: 10, sfreq: 100, random_state: 0}
events: [left_hand, right_hand]
processing: {tmin: 0.5, tmax: 2.5, fmin: 8, fmax: 30}
folds: chronological
""")
    results = TransferStudy("LogVar+LDA", leave_subjects=1, seeds=1, n_splits=2, window=1.0).run(tmp_path / "small.yml")
    assert results.meta["protocol"]["folds"] == "chronological"
    assert results.meta["dataset"]["sfreq"] == 100
    assert (results.table["n_windows"] == 2 * results.table["n_test"]).all()


def test_who_is_left_out_together():
    assert leave_out(12, 5) == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9), (10, 11)]
    assert leave_out(3, 1) == [(0,), (1,), (2,)]
    with pytest.raises(InputError, match="leaves no one to pretrain on; use leave_subjects of at most 4"):
        leave_out(9, 10)


@pytest.mark.parametrize(("changes", "message"), [
    ({"folds": "runs"}, "folds must be one of auto, run"),
    ({"metric": "roc_auc"}, "metric must be one of accuracy"),
    ({"n_splits": 1}, "n_splits must be a whole number, 2 or more"),
    ({"leave_subjects": 0}, "leave_subjects must be a whole number, 1 or more"),
    ({"seeds": ()}, "seeds must be whole numbers"),
    ({"seeds": (0.5,)}, "seeds must be whole numbers"),
    ({"fine_tune": ("all", "body")}, "fine_tune takes"),
    ({"window": -1.0}, "window must be a positive number"),
    ({"window_step": 0.1}, "give window"),
    ({"n_jobs": 0}, "n_jobs must be"),
    ({"pipelines": {}}, "no pipeline given"),
    ({"pipelines": {"x": LinearDiscriminantAnalysis}}, "must be a scikit-learn estimator"),
])  # fmt: skip
def test_wrong_options_are_told_at_once(changes, message):
    with pytest.raises(UsageError, match=message):
        TransferStudy(**{"pipelines": {"dummy": DummyClassifier()}, **changes})


def test_a_third_is_left_out_where_people_are_few(toy):
    study = TransferStudy({"dummy": DummyClassifier()}, seeds=(0,))
    assert study.run(toy(n_subjects=6)).meta["protocol"]["groups"] == [["1", "2"], ["3", "4"], ["5", "6"]]


def test_data_that_cannot_be_studied_so(toy, tmp_path):
    dummy = {"dummy": DummyClassifier()}
    with pytest.raises(InputError, match="leaves no one to pretrain on"):
        TransferStudy(dummy, leave_subjects=3, out=tmp_path / "out").run(toy(n_subjects=3))
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="longer than a trial"):
        TransferStudy(dummy, leave_subjects=1, window=3.0).run(toy(n_subjects=3))
    with pytest.raises(InputError, match="at least two people"):
        TransferStudy(dummy, leave_subjects=1).run(toy(n_subjects=1))
    with pytest.raises(UsageError, match="labels"):
        TransferStudy(dummy, leave_subjects=1).run(toy(n_subjects=3, numbers=True))
    lacking = toy(n_subjects=4)
    lacking.y[(lacking.metadata["subject"] == "2").to_numpy()] = "left_hand"
    results = TransferStudy(dummy, leave_subjects=1, seeds=1).run(lacking)
    assert results.table["subject"].nunique() == 3
    assert any("subject 2 has no trial of class right_hand" in line for line in results.warnings)


def test_a_store_of_other_trials_is_not_mistaken(standin, tmp_path):
    log = tmp_path / "fits.log"
    study = TransferStudy({"net": standin.Logistic(log=str(log))}, leave_subjects=1, seeds=1, fine_tune="head",
                          out=tmp_path / "out")  # fmt: skip
    study.run(people(n_people=3))
    before = len(lines(log))
    changed = people(n_people=3)
    changed.X[changed.metadata["subject"] == "S3", 0] *= 2
    study.run(changed)
    # within and fine-tuned fits of S3, the two pretrainings that saw it, and what starts from those
    assert len(lines(log)) - before == 3 + 3 + 2 + 2 * 3
    assert len(FoldStore(tmp_path / "out" / "store")) == (9 + 3 + 9 + 3) + (3 + 2 + 3 + 6 + 3)


def _variances():
    from moabb.pipelines.features import LogVariance

    return LogVariance()
