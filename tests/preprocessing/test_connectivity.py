"""Functional connectivity: numpy's and nilearn's figures, missing regions, what folds may learn, names and matrices."""

import numpy as np
import pandas as pd
import pytest
from nilearn.connectome import ConnectivityMeasure
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.lazy_runs import LazyRuns
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.preprocessing.connectivity import FunctionalConnectivity
from neurosig.preprocessing.connectivity_matrices import complete

NAMES = ["V1", "V2", "MT", "A1", "M1"]


def runs(n=6, n_regions=5, lengths=(60, 80), seed=0):
    """Runs of several lengths whose regions share sources."""
    rng = np.random.default_rng(seed)
    mix = np.eye(n_regions) + 0.5 * rng.standard_normal((n_regions, n_regions))
    return [mix @ rng.standard_normal((n_regions, lengths[i % len(lengths)])) for i in range(n)]


def lower(matrix):
    return matrix[np.tril_indices(len(matrix), -1)]


def test_pearson_is_numpys():
    X = runs()
    got = FunctionalConnectivity("correlation", estimator="empirical").fit_transform(X)
    np.testing.assert_allclose(got, [lower(np.corrcoef(run)) for run in X], rtol=0, atol=1e-14)
    z = FunctionalConnectivity(fisher_z=True).fit_transform(X)
    np.testing.assert_allclose(z, np.arctanh(got), rtol=1e-12)
    raw = FunctionalConnectivity("covariance", standardize=False, discard_diagonal=True).fit_transform(X)
    np.testing.assert_allclose(raw, [lower(np.cov(run, bias=True)) for run in X], rtol=1e-12)


@pytest.mark.parametrize("kind", ["correlation", "partial correlation", "covariance", "precision", "tangent"])
@pytest.mark.parametrize(("name", "estimator"), [("empirical", EmpiricalCovariance()), ("ledoit_wolf", LedoitWolf())])
def test_features_are_nilearns(kind, name, estimator):
    X, new = runs(), runs(3, seed=1)
    ours = FunctionalConnectivity(kind, estimator=name, standardize=False).fit(X)
    bare = kind in ("correlation", "partial correlation")
    theirs = ConnectivityMeasure(
        estimator, kind=kind, vectorize=True, discard_diagonal=bare, standardize=False
    ).fit([run.T for run in X])  # fmt: skip
    expected = theirs.transform([run.T for run in new])
    np.testing.assert_allclose(ours.transform(new), expected, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(ours.inverse_transform(expected), theirs.inverse_transform(expected), rtol=1e-5)
    np.testing.assert_allclose(ours.mean_, theirs.mean_, rtol=1e-4, atol=1e-9)


def test_partial_correlation_is_that_of_residuals():
    run = runs(1)[0]
    got = FunctionalConnectivity("partial correlation", estimator="empirical").fit_transform([run])[0, 0]
    others = np.vstack([run[2:], np.ones(run.shape[1])]).T
    first, second = (run[i] - others @ np.linalg.lstsq(others, run[i], rcond=None)[0] for i in (0, 1))
    assert got == pytest.approx(np.corrcoef(first, second)[0, 1], abs=1e-12)


def test_tangent_vectors_of_one_run_and_of_many_agree_and_turn_back():
    X = runs()
    space = FunctionalConnectivity("tangent", estimator="empirical").fit(X)
    vectors = space.transform(X)
    np.testing.assert_allclose(space.transform(X[2:3]), vectors[2:3], rtol=1e-10)
    back = space.inverse_transform(vectors)
    np.testing.assert_allclose(back[1], np.corrcoef(X[1]) * (1 - 1 / X[1].shape[1]), rtol=1e-7)  # nilearn's bias
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-7)  # the mean's own definition


def test_tangent_learns_from_training_runs_only():
    X = runs(8)
    fitted = FunctionalConnectivity("tangent").fit(X[:6])
    before = fitted.mean_.copy()
    first = fitted.transform(X[6:])
    loud = [run * np.linspace(1, 9, 5)[:, None] + run[::-1] for run in X[6:]]
    fitted.transform(loud)
    np.testing.assert_array_equal(fitted.mean_, before)
    np.testing.assert_array_equal(fitted.transform(X[6:]), first)


def test_units_do_not_matter():
    X = runs()
    scaled = [run * np.array([1, 10, 100, 0.1, 5])[:, None] + 1000 for run in X]
    for kind in ("correlation", "partial correlation", "tangent", "precision"):
        one, other = (FunctionalConnectivity(kind).fit_transform(Z) for Z in (X, scaled))
        np.testing.assert_allclose(one, other, atol=1e-8, err_msg=kind)


def with_missing():
    X = runs()
    X[1], X[4] = X[1].copy(), X[4].copy()
    X[1][2] = np.nan
    X[4][0] = 7.25
    return X


def test_missing_regions_are_refused_by_default():
    X = with_missing()
    with pytest.raises(InputError, match=r"run 1 lacks regions 2 \(NaN"):
        FunctionalConnectivity().fit(X)
    X[1] = X[0]
    with pytest.raises(InputError, match=r"run 4 is constant in regions 0.*missing='mean'"):
        FunctionalConnectivity().fit(X)


def test_missing_edges_are_the_training_mean():
    X = with_missing()
    whole = [X[i] for i in (0, 2, 3, 5)]
    names = FunctionalConnectivity().fit(whole).get_feature_names_out().tolist()
    plain = FunctionalConnectivity().fit_transform(whole)
    for missing in ("mean", "nan"):
        fitted = FunctionalConnectivity(missing=missing).fit(whole)
        got = fitted.transform([X[1]])[0]
        lost = np.array(["region_3" in name for name in names])
        np.testing.assert_allclose(got[~lost], lower(np.corrcoef(X[1]))[~lost], atol=1e-14)
        np.testing.assert_allclose(got[lost], plain.mean(axis=0)[lost] if missing == "mean" else np.nan)
    # the mean of an edge is that of the training runs that have it
    fitted = FunctionalConnectivity(missing="mean").fit(X)
    edge = names.index("region_1~region_3")
    assert fitted.edge_means_[edge] == pytest.approx(plain[:, edge].mean(), rel=1e-12)
    assert np.isfinite(fitted.transform(X)).all()


def test_missing_regions_in_the_tangent_space_follow_the_training_mean():
    X = with_missing()
    fitted = FunctionalConnectivity("tangent", estimator="ledoit_wolf", missing="mean").fit(X)
    whole = FunctionalConnectivity("tangent", estimator="ledoit_wolf").fit([X[i] for i in (0, 2, 3, 5)])
    np.testing.assert_allclose(fitted.mean_, whole.mean_)
    assert np.isfinite(fitted.transform(X)).all()
    lost = FunctionalConnectivity("tangent", estimator="ledoit_wolf", missing="nan").fit(X).transform(X)
    assert np.isnan(lost).sum() == 2 * 5  # the region's edges, and itself
    none = [run.copy() for run in X]
    for run in none:
        run[3] = np.nan
    with pytest.raises(InputError, match="at least one training run that has all regions"):
        FunctionalConnectivity("tangent", missing="mean").fit(none)
    with pytest.raises(InputError, match=r"no training run has the regions region_4; drop them"):
        FunctionalConnectivity(missing="mean").fit(none)


def test_completed_covariance_is_the_references_where_the_rest_agrees():
    reference = np.cov(runs(1)[0])
    matrix = reference.copy()
    matrix[2] = matrix[:, 2] = np.nan
    np.testing.assert_allclose(complete(matrix, reference), reference, rtol=1e-10)
    matrix *= 4  # regression of the lost region stays, and so does what the others do not explain
    filled = complete(matrix, reference)
    assert np.linalg.eigvalsh(filled).min() > 0
    rest = [0, 1, 3, 4]
    slope = np.linalg.solve(reference[np.ix_(rest, rest)], reference[rest, 2])
    np.testing.assert_allclose(np.linalg.solve(filled[np.ix_(rest, rest)], filled[rest, 2]), slope, rtol=1e-9)


def test_names_and_layout_go_together():
    X = np.stack(runs(lengths=(60,)))
    info = SignalSpec("fmri", NAMES, t_r=2.0, sfreq=0.5, unit="z")
    table = pd.DataFrame({"subject": list("abcdef"), "session": "0", "run": "0"})
    data = SignalDataset(X, None, table, info)
    fitted = FunctionalConnectivity().fit(data)
    names = fitted.get_feature_names_out()
    assert names[:3].tolist() == ["V1~V2", "V1~MT", "V2~MT"]
    matrix = fitted.inverse_transform(fitted.transform(data))[0]
    features = fitted.transform(data)[0]
    for name, value in zip(names, features, strict=True):
        one, other = (NAMES.index(part) for part in name.split("~"))
        assert matrix[one, other] == matrix[other, one] == value
    np.testing.assert_allclose(matrix.diagonal(), 1)
    assert fitted.edge_matrices(features)[1, 1] == 0
    assert FunctionalConnectivity("covariance", ch_names=NAMES).fit(X).get_feature_names_out()[2] == "V2~V2"
    turned = SignalDataset(X, None, table, info.replace(ch_names=NAMES[::-1]))
    with pytest.raises(ChannelError, match="they come in another order"):
        fitted.transform(turned)
    other = SignalDataset(X, None, table, info.replace(ch_names=["IPL", *NAMES[1:]]))
    with pytest.raises(ChannelError, match="it has IPL"):
        fitted.transform(other)


def test_works_in_a_pipeline_with_folds_over_a_list():
    X, y = runs(12), np.arange(12) % 2
    for i in np.flatnonzero(y):
        X[i][0] += X[i][1] * 3
    decoder = make_pipeline(FunctionalConnectivity("tangent"), LogisticRegression())
    assert cross_val_score(decoder, X, y, cv=3).mean() > 0.9


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kind": "coherence"}, UsageError, "kind must be one of 'correlation'"),
        ({"estimator": "lw"}, UsageError, "estimator must be one of 'auto'"),
        ({"missing": "drop"}, UsageError, "missing must be one of 'raise'"),
        ({"kind": "tangent", "fisher_z": True}, UsageError, "fisher_z is for kinds"),
        ({"ch_names": NAMES[:4]}, ChannelError, "expected ch_names to name 5 regions, got 4"),
        ({"ch_names": [*NAMES[:4], "V1"]}, ChannelError, "more than once: V1"),
    ],
)
def test_wrong_options_are_told(options, error, message):
    with pytest.raises(error, match=message):
        FunctionalConnectivity(**options).fit(runs())


def test_runs_that_are_too_short_are_told():
    with pytest.raises(InputError, match=r"got 5 volumes of 5 regions; take estimator='ledoit_wolf'"):
        FunctionalConnectivity("partial correlation", estimator="empirical").fit(runs(lengths=(5,)))
    with pytest.raises(InputError, match="run 0 has 1"):
        FunctionalConnectivity().fit(runs(lengths=(1,)))
    with pytest.raises(ChannelError, match="same regions, run 0 has 5 and run 1 has 4"):
        FunctionalConnectivity().fit([*runs(1), runs(1)[0][:4]])
    tangent = FunctionalConnectivity("tangent", discard_diagonal=True).fit(runs())
    with pytest.raises(InputError, match="diagonal of tangent was discarded"):
        tangent.inverse_transform(tangent.transform(runs()))
    with pytest.raises(InputError, match="expected 10 edges between 5 regions"):
        FunctionalConnectivity().fit(runs()).inverse_transform(np.zeros((2, 9)))


def test_runs_on_disk_are_read_one_after_the_other():
    X, reads = runs(), []

    def read(place):
        reads.append(place)
        return X[place]

    lazy = LazyRuns(read, range(len(X)))
    for kind in ("correlation", "tangent"):
        got = FunctionalConnectivity(kind).fit_transform(lazy)
        np.testing.assert_array_equal(got, FunctionalConnectivity(kind).fit_transform(X))
    # in their order, with a look at the first to see what they are
    assert [place for place in reads if place] == [1, 2, 3, 4, 5] * 2


def test_a_single_run_and_missing_regions_are_told():
    runs = np.random.default_rng(0).standard_normal((3, 4, 50))
    with pytest.warns(UserWarning, match=r"array of two axes as one volume a run.*give a single run as run\[None\]"):
        FunctionalConnectivity().fit(runs[0])
    lacking = runs.copy()
    lacking[0, 1] = np.nan
    for X in (lacking, list(lacking)):
        with pytest.raises(InputError, match="NaN throughout a run are taken by missing='mean'"):
            FunctionalConnectivity().fit(X)
