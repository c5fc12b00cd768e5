"""Classifiers are kept from numbers and regressors from classes, before anything is fitted."""

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from neurosig.core.errors import UsageError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.evaluation.benchmark import benchmark
from neurosig.evaluation.label_kinds import pipelines_for

BOTH = {"lr": make_pipeline(PCA(), LogisticRegression()), "ridge": make_pipeline(PCA(), Ridge()), "own": object()}


@pytest.mark.parametrize(("y", "out"), [(np.array([1.5, 2.0]), "lr"), (np.array(["a", "b"]), "ridge")])
def test_what_does_not_fit_is_left_out_of_files_and_refused_of_objects(y, out):
    kept, told = pipelines_for(y, BOTH, "people", chosen=False)
    assert set(kept) == set(BOTH) - {out}
    assert len(told) == 1 and told[0].endswith(f": {out}; left out")
    with pytest.raises(UsageError, match=rf"the labels of people are .*: {out}; take a "):
        pipelines_for(y, BOTH, "people")
    with pytest.raises(UsageError, match=out):
        pipelines_for(y, {out: BOTH[out]}, "people", chosen=False)
    assert pipelines_for(None, BOTH, "people") == (BOTH, [])


def test_a_benchmark_says_so_at_once():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"subject": list("abcdef"), "session": "0", "run": "0"})
    info = SignalSpec("fmri", ("V1", "V2"), t_r=2.0, sfreq=0.5)
    numbers = SignalDataset(rng.standard_normal((6, 2, 20)), rng.standard_normal(6), table, info, name="people")
    with pytest.raises(UsageError, match="the labels of people are numbers, which regressors learn"):
        benchmark({"lr": LogisticRegression()}, numbers, folds="subject", n_splits=2)
