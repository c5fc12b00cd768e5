"""The search beside scikit-learn's GridSearchCV over MOABB's pipeline, its store, and what it refuses."""

import json
import logging

import numpy as np
import pytest
from moabb.pipelines.features import AugmentedDataset
from pyriemann.estimation import Covariances
from pyriemann.tangentspace import TangentSpace
from scipy.signal import lfilter
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from neurosig.core.errors import InputError, UsageError
from neurosig.preprocessing import augmented_search, made_matrices, search_store
from neurosig.preprocessing.augmented_covariance import AugmentedCovariances
from neurosig.preprocessing.augmented_scores import SharedKernels, Task, View, fold_views, pair_matrices, score_pair
from neurosig.preprocessing.augmented_search import AugmentedCovarianceSearch
from neurosig.preprocessing.fold_maps import FoldMaps, coarse_vectors
from neurosig.preprocessing.lagged_products import LaggedProducts
from neurosig.preprocessing.riemann import check_spd, mean_riemann, tangent_space
from neurosig.preprocessing.spatial_reduction import SpatialReduction

GRID = {"svc__C": [0.5, 1, 1.5], "svc__kernel": ["rbf", "linear"]}


def signals(n_trials=48, n_classes=2, n_channels=4, n_times=200, effect=0.08, seed=0):
    """Classes that differ a little in how each sample follows from the one three before."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_trials) % n_classes
    X = rng.standard_normal((n_trials, n_channels, n_times)) * 1e-5
    for label in range(n_classes):
        X[y == label] = lfilter([1.0], [1.0, -0.4, 0.0, -effect * label], X[y == label])
    return X, y


def moabb_grid(orders, lags, scoring, estimator="cov", cv=None):
    steps = [
        ("augmenteddataset", AugmentedDataset()),
        ("covariances", Covariances(estimator)),
        ("tangentspace", TangentSpace(metric="riemann")),
        ("svc", SVC(kernel="rbf")),
    ]
    grid = {"augmenteddataset__order": orders, "augmenteddataset__lag": lags, **GRID}
    cv = cv or StratifiedKFold(3, shuffle=True, random_state=42)
    return GridSearchCV(Pipeline(steps), grid, scoring=scoring, cv=cv, return_train_score=True)


@pytest.mark.parametrize(
    ("n_classes", "seed", "orders", "lags", "estimator"),
    [
        (2, 0, [1, 2, 4], [1, 3], "cov"),
        (2, 1, [3, 1], [2, 5], "oas"),
        (3, 2, [1, 3], [1, 2], "lwf"),
        (2, 3, [2, 8], [7], "cov"),
    ],
)
def test_same_scores_and_choice_as_moabb_grid(n_classes, seed, orders, lags, estimator):
    X, y = signals(n_classes=n_classes, seed=seed)
    theirs = moabb_grid(orders, lags, "roc_auc" if n_classes == 2 else "accuracy", estimator).fit(X, y)
    ours = AugmentedCovarianceSearch(orders, lags, estimator=estimator, random_state=42).fit(X, y)
    for k in range(3):
        name = f"split{k}_test_score"
        np.testing.assert_array_equal(ours.cv_results_[name], theirs.cv_results_[name])
    for name in ("mean_test_score", "std_test_score", "rank_test_score"):
        np.testing.assert_array_equal(ours.cv_results_[name], theirs.cv_results_[name])
    assert ours.best_index_ == theirs.best_index_
    assert ours.best_score_ == theirs.best_score_
    renamed = {name.split("__")[1]: value for name, value in theirs.best_params_.items()}
    assert {k: v for k, v in ours.best_params_.items() if k != "estimator"} == renamed
    new = signals(n_classes=n_classes, seed=seed + 100)[0]
    np.testing.assert_array_equal(ours.predict(new), theirs.predict(new))
    np.testing.assert_allclose(ours.decision_function(new), theirs.decision_function(new), rtol=1e-5, atol=1e-6)


def test_same_order_of_candidates():
    X, y = signals(n_trials=18)
    theirs = moabb_grid([1, 2], [1, 2], "roc_auc").fit(X, y).cv_results_["params"]
    ours = AugmentedCovarianceSearch([1, 2], [1, 2], random_state=42).fit(X, y).cv_results_["params"]
    renamed = [{name.split("__")[1]: value for name, value in params.items()} for params in theirs]
    assert [{k: v for k, v in params.items() if k != "estimator"} for params in ours] == renamed


def test_coarse_is_near_exact():
    X, y = signals(n_trials=60, effect=0.15)
    exact = AugmentedCovarianceSearch([1, 2, 4], [1, 3], random_state=0).fit(X, y)
    coarse = AugmentedCovarianceSearch([1, 2, 4], [1, 3], random_state=0, precision="coarse").fit(X, y)
    difference = coarse.cv_results_["mean_test_score"] - exact.cv_results_["mean_test_score"]
    assert np.abs(difference).max() < 0.03
    assert abs(difference.mean()) < 0.01


def covariances(n_trials=40, n=12, freedom=40):
    A = np.random.default_rng(0).standard_normal((n_trials, n, freedom)) * (1 + np.arange(n)[:, None])
    return A @ A.swapaxes(1, 2)


def test_coarse_vectors_are_those_at_the_arithmetic_mean():
    matrices = covariances()
    expected = tangent_space(matrices, matrices.mean(axis=0))
    assert np.abs(coarse_vectors(matrices) - expected).max() < 5e-3


@pytest.mark.parametrize("freedom", [14, 40, 400])
def test_vectors_of_a_fold_are_those_at_its_own_mean(freedom):
    matrices = covariances(freedom=freedom)
    # folds of unequal size, some trials in none
    trains = [np.arange(20), np.arange(5, 38), np.arange(0, 40, 3)]
    maps = FoldMaps(matrices, trains)
    turned_alike = [vectors.copy() for vectors in maps.vectors(turned=True)]
    for train, vectors, turned in zip(trains, maps.vectors(), turned_alike, strict=True):
        expected = tangent_space(matrices, mean_riemann(matrices[train], tol=1e-10))
        np.testing.assert_allclose(vectors, expected, atol=2e-6)
        np.testing.assert_allclose(turned @ turned.T, expected @ expected.T, rtol=1e-5, atol=1e-5)
    centre, mean = maps.centre, mean_riemann(matrices)
    assert np.linalg.norm(centre - mean) / np.linalg.norm(mean) < 1e-3


def test_no_test_trial_moves_the_vectors_of_a_fold():
    """They change by no more than the tolerance of the mean when a trial that is not trained on is another."""
    matrices = covariances()
    train, others = np.arange(30), matrices.copy()
    others[30:] = 100 * np.eye(12)
    (one,), (other,) = (list(FoldMaps(some, [train]).vectors()) for some in (matrices, others))
    np.testing.assert_allclose(one[:30], other[:30], atol=2e-6)


@pytest.mark.parametrize(
    "setting",
    [{"kernel": "rbf"}, {"kernel": "rbf", "gamma": "auto"}, {"kernel": "rbf", "gamma": 0.1}, {"kernel": "linear"}],
)
def test_kernels_are_those_of_svc(setting):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, 30)) * rng.uniform(0.1, 3, 30)
    y = (vectors[:, 0] + 0.5 * rng.standard_normal(40) > 0).astype(int)
    train, test = np.arange(30), np.arange(30, 40)
    model = SVC(**setting)
    grams = SharedKernels(vectors, train, test).of(model)
    shared = clone(model).set_params(kernel="precomputed").fit(grams[0], y[train])
    expected = model.fit(vectors[train], y[train]).decision_function(vectors[test])
    np.testing.assert_allclose(shared.decision_function(grams[1]), expected, rtol=1e-10)


def test_every_mean_is_computed_once(monkeypatch):
    from neurosig.preprocessing import fold_maps, riemann

    calls = []
    for module in (fold_maps, riemann):
        real = module.newton_maps
        monkeypatch.setattr(
            module, "newton_maps", lambda *args, real=real, name=module: calls.append(name) or real(*args)
        )
    X, y = signals(n_trials=24)
    AugmentedCovarianceSearch([1, 2], [1, 2, 3], random_state=0).fit(X, y)
    # order 1 once, order 2 at three lags; three folds each, and the last fit
    assert calls == [fold_maps] * (4 * 3) + [riemann]


def traced(work):
    """Peak of what `work` allocates, in bytes."""
    import tracemalloc

    work()  # what is imported and kept on the way
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("options", "times"),
    [
        ({}, 1.0),
        ({"estimator": "lwf", "classifier": KNeighborsClassifier(algorithm="brute")}, 1.0),
        ({"floor": 1e-3}, 1.5),
        ({"precision": "coarse"}, 0.25),
    ],
)
def test_memory_is_no_more_than_the_matrices_of_a_pair(options, times):
    """Beside that: a dozen blocks of matrices of a mebibyte each, in which they are worked on."""
    X, y = signals(n_trials=300, n_channels=10, n_times=300)
    folds = list(StratifiedKFold(3).split(X, y))
    options = {"estimator": "oas", "precision": "exact", "floor": None, "classifier": SVC(), **options}
    views = [View(LaggedProducts(X, range(10)), list(enumerate(folds)))]
    task = Task(10, 1, [options["estimator"]], [{}], "exact", "moabb", options["floor"], None, options["precision"])
    scorer = get_scorer("roc_auc")
    peak = traced(lambda: score_pair(task, views, y, options["classifier"], scorer))
    matrices, block = 8 * 300 * (10 * 10) ** 2, 1 << 20
    assert peak < times * matrices + 12 * block


def test_memory_of_the_last_fit_is_no_more_than_that_either():
    X, y = signals(n_trials=300, n_channels=10, n_times=300)
    search = AugmentedCovarianceSearch([10], [1], estimator="oas", random_state=0)
    search.classes_ = np.unique(y)
    params = {"order": 10, "lag": 1, "estimator": "oas"}
    peak = traced(lambda: search._fitted(search._pipeline(params, "moabb"), X, y, None))
    products = X.nbytes + 10 * 8 * 300 * 10**2
    assert peak < products + 8 * 300 * (10 * 10) ** 2 + 12 * (1 << 20)


@pytest.mark.parametrize("estimator", ["scm", "cov", "oas", "lwf", "sch"])
@pytest.mark.parametrize("method", ["exact", "block_average", "block_toeplitz"])
def test_matrices_made_a_few_at_a_time_are_the_same(estimator, method):
    if method == "block_toeplitz" and estimator in ("lwf", "sch"):
        pytest.skip("not defined")
    X, _ = signals(n_trials=7)
    view = View(LaggedProducts(X, range(4)), [])
    for floor in (None, 0.1):
        task = Task(3, 2, [estimator], [{}], method, "moabb", floor, None, "exact")
        made = pair_matrices(task, estimator, view)
        whole = AugmentedCovariances(3, 2, estimator, method, "moabb", floor).fit_transform(X)
        assert made.shape == whole.shape
        for block in (slice(0, 7), slice(2, 5), slice(6, 7)):
            np.testing.assert_allclose(made[block], whole[block], rtol=1e-12, atol=1e-18)


def test_singular_matrices_are_told_by_their_places_among_all(monkeypatch):
    monkeypatch.setattr(made_matrices, "_BLOCK_BYTES", 1)  # one matrix at a time
    X, y = signals(n_trials=24)
    X[[5, 17]] = 0
    table = AugmentedCovarianceSearch([1, 2], [1], random_state=0)
    with pytest.raises(InputError, match=r"2 of 24 singular \(first: trial 5\).*positions 5, 17"):
        table.fit(X, y)
    made = made_matrices.MadeMatrices(lambda block: np.eye(2)[None] * (np.arange(6) != 4)[block, None, None], 6, 2)
    with pytest.raises(InputError, match=r"zeros in 1 of 6 matrices \(positions 4\)"):
        check_spd(made)


def test_variance_of_vectors_is_numpys():
    vectors = np.random.default_rng(0).standard_normal((30, 50)) + 3
    train = np.arange(0, 30, 2)
    kernels = SharedKernels(vectors, train, np.arange(1, 30, 2))
    assert kernels.variance == pytest.approx(vectors[train].var(), rel=1e-12)


def test_other_classifiers_and_other_kernels():
    X, y = signals(n_trials=30)
    search = AugmentedCovarianceSearch(
        [1, 2], [1], LinearDiscriminantAnalysis(solver="lsqr"), {"shrinkage": [0.1, 0.9]}, random_state=0
    ).fit(X, y)
    assert search.best_params_["shrinkage"] in (0.1, 0.9)
    np.testing.assert_allclose(search.predict_proba(X).sum(axis=1), 1.0)
    ours = AugmentedCovarianceSearch([2], [1], SVC(), {"kernel": ["poly"], "degree": [2]}, random_state=42).fit(X, y)
    theirs = moabb_grid([2], [1], "roc_auc").set_params(param_grid={"svc__kernel": ["poly"], "svc__degree": [2]})
    theirs.estimator.set_params(augmenteddataset__order=2)
    assert ours.best_score_ == pytest.approx(theirs.fit(X, y).best_score_, abs=1e-12)


def test_no_probabilities_from_a_plain_svc():
    assert not hasattr(AugmentedCovarianceSearch(), "predict_proba")
    assert hasattr(AugmentedCovarianceSearch(), "decision_function")
    assert hasattr(AugmentedCovarianceSearch(classifier=SVC(probability=True)), "predict_proba")


def test_singular_pairs_have_no_score_and_a_reason():
    X, y = signals(n_trials=24, n_times=60)
    search = AugmentedCovarianceSearch([1, 4], [2, 12, 20], random_state=0).fit(X, y)
    table = search.cv_results_
    of = {
        (p["order"], p["lag"]): (m, r)
        for p, m, r in zip(table["params"], table["mean_test_score"], table["problem"], strict=True)
    }
    assert np.isnan(of[4, 12][0])
    assert "12 stacked samples are too few for order 4 x 4 channels" in of[4, 12][1]
    assert np.isnan(of[4, 20][0])
    assert "order 4 x lag 20 is too long for trials of 60 samples" in of[4, 20][1]
    assert not np.isnan(of[4, 2][0])
    assert of[4, 2][1] == ""
    assert of[1, 20][0] == of[1, 2][0]
    limited = AugmentedCovarianceSearch([1, 4], [2, 12], estimator="oas", max_size="rank", random_state=0).fit(X, y)
    assert any("larger than max_size, 11" in reason for reason in limited.cv_results_["problem"])
    assert (limited.best_params_["order"], limited.best_params_["lag"]) != (4, 12)


def test_nothing_to_score_is_an_error():
    X, y = signals(n_trials=12, n_times=60)
    with pytest.raises(
        InputError, match="no pair of order and lag can be scored; the first: order 9 x lag 9 is too long"
    ):
        AugmentedCovarianceSearch([9], [9], random_state=0).fit(X, y)
    X -= X.mean(axis=1, keepdims=True)
    with pytest.raises(InputError, match="linearly dependent"):
        AugmentedCovarianceSearch([1, 2], [1], random_state=0).fit(X, y)


def test_average_reference_with_a_remedy():
    X, y = signals(n_trials=24)
    X -= X.mean(axis=1, keepdims=True)
    for options in ({"estimator": "oas"}, {"floor": 1e-6}, {"reduction": SpatialReduction("rank")}):
        search = AugmentedCovarianceSearch([1, 2], [1], random_state=0, **options).fit(X, y)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_[0].filters_.shape == (3, 4)


def test_the_estimator_is_chosen_too():
    X, y = signals(n_trials=24)
    search = AugmentedCovarianceSearch([1, 2], [1], estimator=("cov", "oas"), random_state=0).fit(X, y)
    assert len(search.cv_results_["params"]) == 2 * 2 * 6
    alone = AugmentedCovarianceSearch([1, 2], [1], estimator="oas", random_state=0).fit(X, y)
    mine = [p["estimator"] == "oas" for p in search.cv_results_["params"]]
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"][mine], alone.cv_results_["mean_test_score"])


def test_reduction_learns_on_each_training_part():
    """Scores equal those of the whole pipeline in GridSearchCV."""
    X, y = signals(n_trials=36, n_channels=5)
    steps = Pipeline([("reduction", SpatialReduction("csp", 2)), *moabb_grid([1], [1], "roc_auc").estimator.steps])
    theirs = moabb_grid([1, 3], [2], "roc_auc")
    theirs.estimator = steps
    theirs.fit(X, y)
    ours = AugmentedCovarianceSearch([1, 3], [2], reduction=SpatialReduction("csp", 2), random_state=42).fit(X, y)
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], atol=1e-12)


def test_floor_of_a_constant_trial_is_learned_on_each_training_part():
    X, y = signals(n_trials=24)
    X[::3] *= 1e3  # trials of a fold, so that variances of training parts differ
    X[4] = 3e-5
    X[7, :, 3:] = 2e-5  # constant only in the window of the longer delays
    folds = [(np.setdiff1d(np.arange(24), np.arange(k, 24, 3)), np.arange(k, 24, 3)) for k in range(3)]
    task = Task(3, 2, ["cov"], [{}], "exact", "moabb", 0.1, None, "exact")
    views = fold_views(X, y, folds, [0, 2, 4], None, 194)
    assert len(views) == 3
    for view, (train, _) in zip(views, folds, strict=True):
        expected = AugmentedCovariances(3, 2, "cov", floor=0.1).fit(X[train]).transform(X)
        np.testing.assert_allclose(pair_matrices(task, "cov", view)[:], expected, rtol=1e-9, atol=1e-20)
    assert len(fold_views(X[8:], y[8:], folds, [0], None, 194)) == 1  # where none is constant, work is shared
    assert len(fold_views(X, y, folds, [0], None, None)) == 1
    pipeline = Pipeline(
        [("acm", AugmentedCovariances(estimator="cov", floor=0.1)), ("ts", TangentSpace()), ("svc", SVC())]
    )
    grid = {"acm__order": [1, 3], "acm__lag": [2], **GRID}
    theirs = GridSearchCV(pipeline, grid, scoring="roc_auc", cv=folds).fit(X, y)
    ours = AugmentedCovarianceSearch([1, 3], [2], floor=0.1, cv=folds).fit(X, y)
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], atol=1e-12)


def test_groups_stay_together():
    X, y = signals(n_trials=24)
    groups = np.repeat([0, 1, 2], 8)
    ours = AugmentedCovarianceSearch([1, 2], [1], cv=GroupKFold(3)).fit(X, y, groups=groups)
    theirs = moabb_grid([1, 2], [1], "roc_auc", cv=GroupKFold(3)).fit(X, y, groups=groups)
    np.testing.assert_array_equal(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])


def test_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    X, y = signals(n_trials=24)
    options = {"orders": [1, 2, 3], "lags": [1, 2], "random_state": 0, "store": tmp_path}
    real, done = augmented_search.score_pair, []

    def fails_at_the_third(*args):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(args[0])
        return real(*args)

    monkeypatch.setattr(augmented_search, "score_pair", fails_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        AugmentedCovarianceSearch(**options).fit(X, y)
    assert len(list(tmp_path.glob("*.json"))) == 2
    done.clear()
    monkeypatch.setattr(augmented_search, "score_pair", lambda *args: done.append(args[0]) or real(*args))
    resumed = AugmentedCovarianceSearch(**options).fit(X, y)
    assert len(done) == 5 - 2
    fresh = AugmentedCovarianceSearch(**{**options, "store": None}).fit(X, y)
    np.testing.assert_array_equal(resumed.cv_results_["mean_test_score"], fresh.cv_results_["mean_test_score"])
    done.clear()
    AugmentedCovarianceSearch(**options).fit(X, y)
    assert done == []


def test_store_is_keyed_by_content(tmp_path):
    X, y = signals(n_trials=24)
    options = {"orders": [2], "lags": [1], "random_state": 0, "store": tmp_path}
    AugmentedCovarianceSearch(**options).fit(X, y)
    settings = [
        {"random_state": 1}, {"estimator": "oas"}, {"scoring": "accuracy"}, {"classifier": SVC(shrinking=False)},
        {"floor": 1e-9}, {"precision": "coarse"}, {"trim": "edge"}, {"reduction": SpatialReduction("pca", 2)},
    ]  # fmt: skip
    changes = [({}, X * 2, y), ({}, X, 1 - y), *[(setting, X, y) for setting in settings]]
    for i, (change, X_changed, y_changed) in enumerate(changes):
        AugmentedCovarianceSearch(**{**options, **change}).fit(X_changed, y_changed)
        assert len(list(tmp_path.glob("*.json"))) == i + 2
    damaged = sorted(tmp_path.glob("*.json"))
    for path in damaged:
        path.write_text(path.read_text()[:20])
    AugmentedCovarianceSearch(**options).fit(X, y)
    assert sum("scores" in path.read_text() for path in damaged) == 1
    with pytest.raises(UsageError, match="pass scoring as a name"):
        AugmentedCovarianceSearch(**{**options, "scoring": lambda model, X, y: 0.5}).fit(X, y)


@pytest.mark.parametrize("cv", [3, np.int64(2), StratifiedKFold(3, shuffle=True)])
def test_store_is_refused_where_folds_are_shuffled_anew(tmp_path, cv):
    X, y = signals(n_trials=12)
    with pytest.raises(UsageError, match="no random_state, which shuffle anew each time: pass random_state=0"):
        AugmentedCovarianceSearch([1], [1], cv=cv, store=tmp_path).fit(X, y)
    assert not list(tmp_path.iterdir())
    AugmentedCovarianceSearch([1], [1], cv=StratifiedKFold(3), store=tmp_path).fit(X, y)
    AugmentedCovarianceSearch([1], [1], cv=StratifiedKFold(3), store=tmp_path).fit(X, y)
    assert len(list(tmp_path.iterdir())) == 1


def test_store_is_keyed_by_the_code_too(tmp_path, monkeypatch):
    X, y = signals(n_trials=12)
    for i, source in enumerate(["one", "other", None]):
        monkeypatch.setattr(search_store, "source_digest", lambda name, source=source: source)
        AugmentedCovarianceSearch([1], [1], store=tmp_path, random_state=0).fit(X, y)
        assert len(list(tmp_path.iterdir())) == i + 1


def test_score_is_by_the_metric_of_the_search():
    X, y = signals(n_trials=24)
    new, labels = signals(n_trials=30, seed=5)
    ours = AugmentedCovarianceSearch([1, 2], [1], random_state=42).fit(X, y)
    theirs = moabb_grid([1, 2], [1], "roc_auc").fit(X, y)
    assert ours.score(new, labels) == theirs.score(new, labels)
    weights = np.arange(30.0)
    by_hand = get_scorer("roc_auc")(theirs.best_estimator_, new, labels, sample_weight=weights)
    assert ours.score(new, labels, sample_weight=weights) == pytest.approx(by_hand, abs=1e-12)
    plain = AugmentedCovarianceSearch([1], [1], scoring="accuracy", random_state=0).fit(X, y)
    assert plain.score(new, labels) == np.mean(plain.predict(new) == labels)


def test_chosen_parameters_are_plain_numbers():
    X, y = signals(n_trials=12)
    grid = {"C": np.array([0.5, 1.0]), "kernel": np.array(["linear"])}
    search = AugmentedCovarianceSearch(np.arange(1, 3), np.arange(1, 3), param_grid=grid, random_state=0).fit(X, y)
    assert [type(search.best_params_[name]) for name in ("order", "lag", "C", "kernel")] == [int, int, float, str]
    assert json.loads(json.dumps(search.cv_results_["params"])) == search.cv_results_["params"]


def test_scores_without_a_value_are_kept(tmp_path):
    X, y = signals(n_trials=24, n_times=60)
    options = {"orders": [1, 4], "lags": [12], "random_state": 0, "store": tmp_path}
    first = AugmentedCovarianceSearch(**options).fit(X, y).cv_results_
    assert any(json.loads(path.read_text())["problems"] != [""] for path in tmp_path.glob("*.json"))
    again = AugmentedCovarianceSearch(**options).fit(X, y).cv_results_
    np.testing.assert_array_equal(first["mean_test_score"], again["mean_test_score"])
    assert first["problem"] == again["problem"]


def test_says_how_many_pairs_have_no_score(caplog):
    X, y = signals(n_trials=24, n_times=60)
    with caplog.at_level(logging.INFO, logger="neurosig"):
        AugmentedCovarianceSearch([1, 4], [12], random_state=0).fit(X, y)
    assert "1 pairs of order and lag have no score, the first: " in caplog.text


def test_common_length_and_methods():
    X, y = signals(n_trials=24)
    for options in ({"trim": "common"}, {"trim": "edge"}, {"method": "block_toeplitz"}, {"method": "block_average"}):
        search = AugmentedCovarianceSearch([1, 3], [2], random_state=0, **options).fit(X, y)
        assert np.isfinite(search.best_score_)
    search = AugmentedCovarianceSearch([1, 3], [2, 5], trim="common", random_state=0).fit(X, y)
    assert search.best_estimator_["covariances"].trim == 200 - 15
    for trim in ("moabb", "common"):  # 200 samples, of which either would leave none
        whole = AugmentedCovarianceSearch(
            [5], [40], estimator="oas", method="block_toeplitz", trim=trim, random_state=0
        )
        assert np.isfinite(whole.fit(X, y).best_score_)


def test_runs_in_a_pipeline_with_signals_of_epochs():
    import mne

    X, y = signals(n_trials=24)
    epochs = mne.EpochsArray(X, mne.create_info(4, 160.0, "eeg"), verbose=False)
    model = Pipeline([("search", AugmentedCovarianceSearch([1, 2], [1], random_state=0))]).fit(epochs, y)
    assert model.score(epochs, y) > 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"orders": []}, r"orders must be a list of whole numbers, got \[\]"),
        ({"lags": 3}, "lags must be a list of whole numbers, got 3"),
        ({"lags": [0]}, "lag must be a whole number of at least 1, got 0"),
        ({"precision": "fast"}, "precision must be one of 'exact', 'coarse', got 'fast'"),
        ({"method": "stack"}, "method must be one of"),
        ({"estimator": ["cov", "mcd"]}, "estimator must be one of"),
        ({"max_size": "all"}, "max_size must be 'rank', a whole number or None, got 'all'"),
        ({"floor": "a"}, "floor must lie between 0 and 1"),
        ({"n_jobs": 0}, "n_jobs must be a whole number other than 0, or None, got 0"),
        ({"n_jobs": "all"}, "n_jobs must be a whole number other than 0, or None, got 'all'"),
        ({"reduction": "pca"}, "reduction must be a transformer, such as .*, got 'pca'"),
        ({"cv": 30}, "cv=30 folds need at least that many trials of each class"),
    ],
)
def test_options_are_checked(options, message):
    X, y = signals(n_trials=24)
    with pytest.raises(UsageError, match=message):
        AugmentedCovarianceSearch(**options).fit(X, y)


def test_labels_are_checked():
    X, y = signals(n_trials=24)
    with pytest.raises(UsageError, match="expected as many labels as trials, got 23 labels for 24 trials"):
        AugmentedCovarianceSearch().fit(X, y[1:])
    with pytest.raises(UsageError, match=r"at least two classes, got one class: 0$"):
        AugmentedCovarianceSearch().fit(X, np.zeros(24, int))
