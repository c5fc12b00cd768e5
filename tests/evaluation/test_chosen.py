"""What pipelines choose by themselves is kept with each fold, counted, and drawn in the report."""

import numpy as np
import pandas as pd
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from neurosig import Results, benchmark, simulate_eeg
from neurosig.evaluation.chosen import chosen_parameters, count_chosen
from neurosig.preprocessing import AugmentedCovariances, AugmentedCovarianceSearch, FastTangentSpace


def test_parameters_of_searches_and_steps():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 3, 200)), np.arange(20) % 2
    covariances = AugmentedCovariances(select="autocorrelation", estimator="oas")
    inner = make_pipeline(covariances, FastTangentSpace(), LogisticRegression())
    search = GridSearchCV(inner, {"logisticregression__C": [0.1, 1.0]}, cv=2).fit(X, y)
    chosen = chosen_parameters(search)
    assert chosen["logisticregression__C"] == f"{search.best_params_['logisticregression__C']:g}"
    assert int(chosen["order"]) == search.best_estimator_[0].order_
    assert int(chosen["lag"]) == search.best_estimator_[0].lag_
    fixed = make_pipeline(AugmentedCovariances(2, 3), FastTangentSpace(), LogisticRegression()).fit(X, y)
    assert chosen_parameters(fixed) == {}
    models = GridSearchCV(
        make_pipeline(FastTangentSpace(), SVC()), {"svc": [SVC(), LinearDiscriminantAnalysis()]}, cv=2
    )
    assert chosen_parameters(models.fit(X, y))["svc"] in ("SVC", "LinearDiscriminantAnalysis")


def test_counts_are_in_order():
    records = [{"pipeline": "p", "chosen": {"order": str(order), "kernel": "rbf"}} for order in (10, 2, 2, 4)]
    counts = count_chosen([*records, {"pipeline": "q", "chosen": {}}, {"pipeline": "old"}])
    assert counts == {"p": {"order": {"2": 2, "4": 1, "10": 1}, "kernel": {"rbf": 4}}}
    assert list(counts["p"]["order"]) == ["2", "4", "10"]


def test_from_folds_to_the_report(tmp_path):
    data = simulate_eeg(n_subjects=2, n_sessions=1, n_runs=2, n_trials=16, random_state=0)
    search = AugmentedCovarianceSearch((1, 2), (2, 8), estimator="oas", random_state=0)
    pipelines = {"search": search, "plain": make_pipeline(FastTangentSpace(), LogisticRegression())}
    results = benchmark(pipelines, data, folds="run", out=tmp_path, progress=False)
    folds = results.folds.set_index("pipeline")
    assert folds.loc["search", "chosen"].str.match(r"order \d, lag \d, estimator oas, C [\d.]+, kernel \w+").all()
    assert (folds.loc["plain", "chosen"] == "").all()
    cards = {card["name"]: card for card in results.meta["pipelines"]}
    (counts,) = cards["search"]["chosen"].values()
    assert sum(counts["order"].values()) == len(folds.loc["search"]) == 4
    assert "chosen" not in cards["plain"]
    again = Results.load(tmp_path)
    pd.testing.assert_frame_equal(again.folds, results.folds)
    page = again.report(tmp_path / "report.html").read_text()
    assert page.count("What it chose in the folds") == 1
    assert "Chosen in the folds: order" in page
