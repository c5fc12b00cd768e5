"""Pretrained parts are not tested on people whom they have seen, unless it is asked for, and then it is said."""

import json

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from neurosig import benchmark
from neurosig.core.errors import LeakageError, StorageError
from neurosig.core.trained_on import as_trained_on, layers_of
from neurosig.evaluation.seen import Part, check_parts, people_of, person_digest, pretrained_parts
from neurosig.evaluation.trained import train


class Tuned(ClassifierMixin, BaseEstimator):
    """Decides by the power of the first channel; carries a part that was trained before, under any of the names."""

    def __init__(self, pretrained=None, tokenizer=None, scale=1.0):
        self.pretrained = pretrained
        self.tokenizer = tokenizer
        self.scale = scale

    def fit(self, X, y):
        self.inner_ = LogisticRegression().fit(self._power(X), y)
        self.classes_ = self.inner_.classes_
        return self

    def predict_proba(self, X):
        return self.inner_.predict_proba(self._power(X))

    def predict(self, X):
        return self.inner_.predict(self._power(X))

    def decision_function(self, X):
        return self.inner_.decision_function(self._power(X))

    def _power(self, X):
        return self.scale * np.log(np.var(X[:, 0], axis=-1))[:, np.newaxis]

    def save_pretrained(self, folder):
        raise NotImplementedError


def weights(folder, **told):
    """A folder that says whom its weights have seen."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    if told:
        (folder / "trained_on.json").write_text(json.dumps(told))
    return str(folder)


@pytest.mark.parametrize("name", ["pretrained", "tokenizer"])
def test_a_tested_person_must_not_have_been_seen(toy, tmp_path, name):
    data = toy(n_subjects=3)
    folder = weights(tmp_path / "weights", subjects=["2", "3"], dataset="toy")
    tuned = {"tuned": make_pipeline(Tuned(**{name: folder}))}
    with pytest.raises(LeakageError, match=rf"'tuned': .*weights \(tuned__{name}\) was trained on subjects 2, 3"):
        benchmark(tuned, data)
    with pytest.raises(LeakageError, match="subject 3, tested here"):
        benchmark(tuned, data, subjects=["1", "3"])
    alone = benchmark(tuned, data, subjects=["1"])
    assert not [line for line in alone.meta["warnings"] if "trained on" in line]
    marked = benchmark(tuned, data, allow_seen=True)
    assert any("was trained on subjects 2, 3, tested here as was asked for" in line for line in marked.meta["warnings"])
    card = marked.meta["pipelines"][0]
    assert card["pretrained"] == {f"tuned__{name}": folder} and card["allow_seen"] is True


def test_people_are_known_again_by_what_was_recorded(toy, tmp_path):
    data = toy(n_subjects=2)
    rows = data.metadata["subject"] == "2"
    digest = person_digest(data.X[rows] * 1e6, data.y[rows], data.metadata[rows])  # microvolts, as pipelines get them
    folder = weights(tmp_path / "weights", subjects=["another name"], data=[digest], dataset="another")
    with pytest.raises(LeakageError, match="trained on subject 2, tested here"):
        benchmark({"tuned": Tuned(folder)}, data)
    benchmark({"tuned": Tuned(folder)}, data, subjects=["1"])


def test_people_before_count_and_strangers_with_a_name_are_told(toy, tmp_path):
    data = toy()
    before = weights(tmp_path / "a", subjects=["9"], before=[{"subjects": ["1"], "dataset": "toy"}])
    with pytest.raises(LeakageError, match="subject 1, tested here"):
        benchmark({"tuned": Tuned(before)}, data)
    prefixed = weights(tmp_path / "b", subjects=["toy_2"])
    with pytest.raises(LeakageError, match="subject 2, tested here"):
        benchmark({"tuned": Tuned(prefixed)}, data)
    nameless = weights(tmp_path / "d", subjects=["1", "7"])
    told = benchmark({"tuned": Tuned(nameless)}, data).meta["warnings"]
    assert any(
        "trained on people called 1, as some tested here are; whether they are the same" in line for line in told
    )
    other = weights(tmp_path / "c", subjects=["1", "2"], dataset="other")
    told = benchmark({"tuned": Tuned(other)}, data).meta["warnings"]
    assert any("people of another dataset who are called 1, 2 as well" in line for line in told)


def test_datasets_of_the_same_people_are_one_to_this(tmp_path):
    """What was trained on recordings is not tested on trials that were cut from them, whoever cut them."""
    for trained, tested in [
        ("eegmmidb", "eegmmidb-trials"), ("eegmmidb-trials", "PhysionetMI"), ("PhysionetMotorImagery", "eegmmidb"),
        ("eegmat", "eegmat-edf"), ("Lee2019_MI", "Lee2019-ERP"),
    ]:  # fmt: skip
        for told in ({"subjects": ["1"], "dataset": trained}, {"subjects": [f"{trained}_1"]}):
            (part,) = pretrained_parts(Tuned(weights(tmp_path / "weights", **told)))
            with pytest.raises(LeakageError, match="trained on subject 1, tested here"):
                check_parts("tuned", [part], {"1": None, "2": None}, tested, False, "allow it")
            (line,) = check_parts("tuned", [part], {"1": None}, "Cho2017", False, "") or [""]
            assert ("people of another dataset" in line) == ("dataset" in told)
    part = Part("pretrained", "w", as_trained_on({"subjects": ["1"], "dataset": "mine"}), None)
    with pytest.raises(LeakageError):
        check_parts("tuned", [part], {"1": None}, "cut", False, "allow it", kin=["mine"])


def test_all_that_a_frozen_pipeline_holds_tells_whom_it_has_seen():
    first, inner, last = (LogisticRegression().fit(np.eye(2), [0, 1]) for _ in range(3))
    inner.trained_on_ = as_trained_on({"subjects": ["1"], "dataset": "toy"})
    first.tokenizer_ = inner
    (part,) = pretrained_parts(FrozenEstimator(make_pipeline(first, last)))
    assert list(layers_of(part.trained_on))[1:] == [inner.trained_on_, None]  # the last learned from nobody knows whom
    last.trained_on_ = as_trained_on({"subjects": ["2"], "dataset": "toy"})
    (part,) = pretrained_parts(FrozenEstimator(make_pipeline(FrozenEstimator(first), last)))
    assert list(layers_of(part.trained_on))[1:] == [inner.trained_on_, last.trained_on_]
    with pytest.raises(LeakageError, match="subjects 1, 2, tested"):
        check_parts("p", [part], dict.fromkeys("123"), "toy", False, "allow it")


def test_what_is_not_known_is_said(toy, tmp_path):
    data = toy()
    fitted = FrozenEstimator(LogisticRegression().fit(np.eye(2), [0, 1]))
    for part in (weights(tmp_path / "silent"), fitted):
        told = benchmark({"tuned": Tuned(part)}, data).meta["warnings"]
        assert any("was trained on is unknown" in line for line in told)
    half = weights(tmp_path / "half", subjects=["9"], before=[None])
    assert any("is unknown" in line for line in benchmark({"tuned": Tuned(half)}, data).meta["warnings"])
    (tmp_path / "silent" / "trained_on.json").write_text("[")
    with pytest.raises(StorageError, match="not known whom the weights have seen"):
        benchmark({"tuned": Tuned(str(tmp_path / "silent"))}, data)


def test_what_counts_as_pretrained(tmp_path):
    folder = weights(tmp_path / "weights", subjects=["1"])
    fitted = LogisticRegression().fit(np.eye(2), [0, 1])
    assert pretrained_parts(make_pipeline(Tuned())) == []
    assert pretrained_parts(Tuned(tokenizer="TFMTokenizer")) == []  # by name: learned in the fold
    assert pretrained_parts(Tuned(fitted)) == []  # which every fold's clone unfits
    assert pretrained_parts(Tuned(LogisticRegression())) == []
    (part,) = pretrained_parts(make_pipeline(FrozenEstimator(fitted)))
    assert (part.parameter, part.name, part.trained_on) == ("frozenestimator", "a fitted LogisticRegression", None)
    assert [part.name for part in pretrained_parts(FrozenEstimator(fitted))] == ["a fitted LogisticRegression"]
    fitted.trained_on_ = as_told = {"subjects": ["1"], "data": [], "dataset": None, "before": []}
    (part,) = pretrained_parts(Tuned(FrozenEstimator(fitted)))
    assert part.trained_on == as_told
    grid = {"tuned__pretrained": [None, folder]}
    (part,) = pretrained_parts(make_pipeline(Tuned()), grid)
    assert part.name == folder
    (part,) = pretrained_parts(GridSearchCV(make_pipeline(Tuned()), grid))
    assert part.trained_on["subjects"] == ["1"]


def test_results_are_kept_by_what_the_weights_hold(toy, tmp_path):
    """Other weights in the same folder are another pipeline; what was allowed once is not allowed for good."""
    data = toy()
    folder = weights(tmp_path / "weights", subjects=["1"], dataset="toy")
    tuned, out = {"tuned": Tuned(folder)}, tmp_path / "out"
    benchmark(tuned, data, out=out, allow_seen=True)
    first = set((out / "store").glob("*.json"))
    with pytest.raises(LeakageError):
        benchmark(tuned, data, out=out)
    weights(tmp_path / "weights", subjects=["7"], dataset="toy")
    again = benchmark(tuned, data, out=out)
    assert len(set((out / "store").glob("*.json")) - first) == len(first)
    assert not [line for line in again.meta["warnings"] if "trained on" in line]


def test_training_does_not_estimate_on_people_seen(toy, tmp_path):
    data = toy()
    folder = weights(tmp_path / "weights", subjects=["2"], dataset="toy")
    with pytest.raises(LeakageError, match=r"subject 2, tested here.*--no-cv.*--allow-seen"):
        train(data, Tuned(folder))
    unscored = train(data, Tuned(folder), folds=None)
    assert unscored.card["warnings"] == [] and unscored.card["pretrained"] == {"pretrained": folder}
    allowed = train(data, Tuned(folder), allow_seen=True)
    assert "tested here as was asked for" in allowed.card["warnings"][0]
    told = allowed.pipeline.trained_on_  # what is trained further has seen both
    assert (told["subjects"], told["dataset"], told["before"][0]["subjects"]) == (["1", "2"], "toy", ["2"])


def test_a_person_is_the_same_in_any_company(toy):
    data = toy(n_subjects=3)
    everyone = people_of(data.X, data.y, data.metadata)
    rows = (data.metadata["subject"] == "2").to_numpy()
    assert people_of(data.X[rows], data.y[rows], data.metadata[rows]) == {"2": everyone["2"]}
    assert len(set(everyone.values())) == 3
