"""Recentring: known mixtures of people are undone, labels are not needed, MOABB hands it what it asks for."""

import doctest
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
from sklearn.pipeline import make_pipeline

from neurosig.core.errors import ChannelError, UsageError
from neurosig.evaluation.fold import collected
from neurosig.preprocessing import alignment
from neurosig.preprocessing.alignment import Recentering, UnalignedWarning
from neurosig.preprocessing.riemann import mean_riemann
from neurosig.preprocessing.tangent import FastTangentSpace, as_covariances


def people(n_people=6, n_trials=30, seed=0):
    """The same two classes in everybody, seen through a mixture of channels of each one's own."""
    rng = np.random.default_rng(seed)
    y = np.tile(np.arange(n_trials) % 2, n_people)
    subjects = np.repeat([f"s{i}" for i in range(n_people)], n_trials)
    X = rng.standard_normal((n_people * n_trials, 4, 120))
    X[y == 1, 0] *= 1.5
    base = rng.standard_normal((4, 4))
    for i in range(n_people):
        X[subjects == f"s{i}"] = (base + 0.7 * rng.standard_normal((4, 4))) @ X[subjects == f"s{i}"]
    return X * 1e-6, y, subjects


def test_everybody_is_centred():
    X, _, subjects = people()
    aligned = Recentering(estimator="cov").fit_transform(X, subjects=subjects)
    for name in np.unique(subjects):
        center = mean_riemann(as_covariances(aligned[subjects == name], "cov"))
        np.testing.assert_allclose(center, np.eye(4), atol=1e-6)


def test_a_mixture_of_a_persons_channels_does_not_matter():
    X, _, subjects = people()
    covs = as_covariances(X, "cov")
    mix = np.random.default_rng(5).standard_normal((4, 4))
    mixed = covs.copy()
    its = subjects == "s2"
    mixed[its] = mix @ covs[its] @ mix.T
    mixed = (mixed + mixed.swapaxes(1, 2)) / 2
    one, other = (Recentering().fit_transform(c, subjects=subjects)[its] for c in (covs, mixed))
    # up to a rotation: eigenvalues are the same
    np.testing.assert_allclose(np.linalg.eigvalsh(one), np.linalg.eigvalsh(other), rtol=1e-5)


def test_trials_and_their_covariances_move_alike():
    X, _, subjects = people(n_people=2)
    trials = Recentering(estimator="cov").fit(X, subjects=subjects)
    matrices = Recentering().fit(as_covariances(X, "cov"), subjects=subjects)
    moved = as_covariances(trials.transform(X, subjects=subjects), "cov")
    np.testing.assert_allclose(moved, matrices.transform(as_covariances(X, "cov"), subjects=subjects), atol=1e-10)


def test_new_people():
    X, _, subjects = people(n_people=3)
    train, test = X[subjects != "s2"], X[subjects == "s2"]
    names = subjects[subjects != "s2"]
    target = Recentering(estimator="cov").fit(train, subjects=names, X_target_unlabeled=test)
    batch = Recentering("batch", estimator="cov").fit(train, subjects=names)
    np.testing.assert_allclose(target.transform(test), batch.transform(test), rtol=1e-6)
    np.testing.assert_allclose(batch.transform(test, subjects=subjects[subjects == "s2"]), batch.transform(test))
    fixed = Recentering("train", estimator="cov").fit(train, subjects=names, X_target_unlabeled=test)
    np.testing.assert_allclose(fixed.new_center_, mean_riemann(as_covariances(train, "cov")))
    np.testing.assert_allclose(Recentering(estimator="cov").fit(train, subjects=names).new_center_, fixed.new_center_)
    # people from training keep their own centre
    own = target.transform(train, subjects=names)
    np.testing.assert_allclose(own, Recentering(estimator="cov").fit_transform(train, subjects=names))


def test_falling_back_to_the_training_mean_is_said():
    X, _, subjects = people(n_people=3)
    known, test = subjects != "s2", X[subjects == "s2"]
    untold = Recentering(estimator="cov").fit(X[known], subjects=subjects[known])
    with pytest.warns(UnalignedWarning, match="trials of nobody named are moved .*X_target_unlabeled=.*subjects="):
        moved = untold.transform(test)
    np.testing.assert_array_equal(moved, Recentering("train", estimator="cov").fit(X[known]).transform(test))
    with pytest.warns(UnalignedWarning, match="trials of s2, who were not in training, are moved"):
        untold.transform(X, subjects=subjects)
    with collected() as lines:  # as evaluations tell it, to its end: what to do
        untold.transform(test)
    assert "cs_mode" in lines[0] and lines[0].endswith("or new='train' if this is what you want")
    # nothing to say where each has a centre, or the mean of all is asked for, or there is but one person
    untold.transform(X[known], subjects=subjects[known])
    Recentering(estimator="cov").fit(X[known], subjects=subjects[known], X_target_unlabeled=test).transform(test)
    Recentering("batch", estimator="cov").fit(X[known], subjects=subjects[known]).transform(test)
    Recentering("train", estimator="cov").fit(X[known], subjects=subjects[known]).transform(test)
    Recentering(estimator="cov").fit(X[known]).transform(test)


def test_the_example_of_routing_runs_and_aligns():
    assert doctest.testmod(alignment).failed == 0
    X, y, subjects = people()
    scores = {}
    for new in ("batch", "train"):
        decoder = make_pipeline(Recentering(new), FastTangentSpace(), LogisticRegression(max_iter=1000))
        with config_context(enable_metadata_routing=True):
            told = {"subjects": subjects, "groups": subjects}
            scores[new] = cross_val_score(decoder, X, y, cv=LeaveOneGroupOut(), params=told).mean()
    assert scores["batch"] > scores["train"] + 0.05


def test_routed_names_reach_the_scored_trials():
    """Runs left out: each person is moved by the centre that was learned from their own other runs."""
    X, y, subjects = people()
    runs = np.arange(len(y)) % 3
    decoder = make_pipeline(Recentering(), FastTangentSpace(), LogisticRegression(max_iter=1000))
    with config_context(enable_metadata_routing=True):
        told = {"subjects": subjects, "groups": runs}
        scores = cross_val_score(decoder, X, y, cv=LeaveOneGroupOut(), params=told)  # and nothing warns
    expected = []
    for train, test in LeaveOneGroupOut().split(X, y, runs):
        move = Recentering().fit(X[train], subjects=subjects[train])
        model = make_pipeline(FastTangentSpace(), LogisticRegression(max_iter=1000))
        model.fit(move.transform(X[train], subjects=subjects[train]), y[train])
        expected.append(model.score(move.transform(X[test], subjects=subjects[test]), y[test]))
    np.testing.assert_allclose(scores, expected)


def test_recentring_lets_a_decoder_cross_people():
    X, y, subjects = people()
    plain, aligned = [], []
    for train, test in LeaveOneGroupOut().split(X, y, subjects):
        model = make_pipeline(FastTangentSpace(), LogisticRegression(max_iter=1000))
        plain.append(model.fit(X[train], y[train]).score(X[test], y[test]))
        with config_context(enable_metadata_routing=True):
            model = make_pipeline(Recentering(), FastTangentSpace(), LogisticRegression(max_iter=1000))
            model.fit(X[train], y[train], subjects=subjects[train], X_target_unlabeled=X[test])
        aligned.append(model.score(X[test], y[test]))
    assert np.mean(aligned) > np.mean(plain) + 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Montage name:FutureWarning")  # of MOABB's own fake dataset
@pytest.mark.filterwarnings("ignore:Creating a dataset without:Warning")  # of MOABB's own store
@pytest.mark.filterwarnings("ignore:trials of nobody named:neurosig.preprocessing.alignment.UnalignedWarning")
@pytest.mark.parametrize("mode", ["train", "train_and_target_unlabeled_full", "train_and_target_unlabeled_50p"])
def test_moabb_hands_over_people_and_target_trials(mode, tmp_path, monkeypatch):
    from moabb.datasets.fake import FakeDataset
    from moabb.evaluations import CrossSubjectEvaluation
    from moabb.paradigms import LeftRightImagery

    from neurosig.evaluation.pipelines import load_pipelines

    seen = []
    original = Recentering._fit

    def spy(self, X, subjects, target):
        seen.append((None if subjects is None else len(np.unique(subjects)), target is not None))
        return original(self, X, subjects, target)

    monkeypatch.setattr(Recentering, "_fit", spy)
    dataset = FakeDataset(["left_hand", "right_hand"], n_subjects=3, n_sessions=1, n_runs=1, seed=0)
    evaluation = CrossSubjectEvaluation(
        paradigm=LeftRightImagery(), datasets=[dataset], hdf5_path=str(tmp_path), overwrite=True, cs_mode=mode
    )
    table = evaluation.process(load_pipelines(names=["Recentering+TS+LR"]))
    assert len(table) == 3
    assert seen
    assert all(told == (2, mode != "train") for told in seen)


@pytest.mark.slow
def test_people_doing_arithmetic_are_told_apart_better(data_dir):
    from neurosig.loaders.manifest import open_dataset

    dataset = open_dataset("eegmat", data=data_dir).load()
    X, y = dataset.X * 1e6, dataset.y
    subjects = dataset.metadata["subject"].to_numpy()
    plain, aligned = [], []
    for train, test in LeaveOneGroupOut().split(X, y, subjects):
        model = make_pipeline(FastTangentSpace(), LogisticRegression(max_iter=1000))
        plain.append(model.fit(X[train], y[train]).score(X[test], y[test]))
        move = Recentering().fit(X[train], subjects=subjects[train], X_target_unlabeled=X[test])
        moved = move.transform(X[train], subjects=subjects[train])
        aligned.append(model.fit(moved, y[train]).score(move.transform(X[test]), y[test]))
    assert np.mean(plain) < 0.79
    assert np.mean(aligned) > 0.83


def test_bad_input():
    X, _, subjects = people(n_people=2)
    with pytest.raises(UsageError, match="new must be one of"):
        Recentering("mean").fit(X)
    with pytest.raises(UsageError, match="estimator must be one of"):
        Recentering(estimator="none").fit(X)
    with pytest.raises(UsageError, match="one name a trial"):
        Recentering().fit(X, subjects=subjects[:3])
    with pytest.raises(ChannelError, match="transform_input"):
        Recentering().fit(X, X_target_unlabeled=X[:, :3])


def test_the_example_in_the_pipelines_readme_runs():
    text = (Path(__file__).parents[2] / "pipelines" / "README.md").read_text(encoding="utf-8")
    (code,) = (part for part in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "recentering__new" in part)
    names = {}
    exec(code, names)
    assert len(names["scores"]) == 3
    assert np.isfinite(names["scores"]).all()
