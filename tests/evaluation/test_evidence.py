"""What is decoded from real recordings, in the range that others report for them."""

import shutil

import moabb
import pytest

from neurosig.core.files import resource_dir
from neurosig.evaluation.benchmark import benchmark
from neurosig.loaders.moabb_dataset import register

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]


@pytest.mark.parametrize(("dataset", "pipeline", "subjects", "folds", "least"), [
    ("eegmmidb-trials", "TS+LR", None, "run", 0.72),
    ("eegmat", "TS+LR", None, "subject", 0.75),
    ("muse-p300", "XdawnCov+TS+LR", ["1"], "run", 0.75),
    ("muse-n170", "XdawnCov+TS+LR", None, "run", 0.70),
])  # fmt: skip
def test_real_recordings_are_decoded(data_dir, dataset, pipeline, subjects, folds, least):
    results = benchmark([pipeline], dataset, subjects=subjects, data=data_dir)
    assert results.failed.empty
    assert set(results.table["folds"]) == {folds} and set(results.table["metric"]) == {"roc_auc"}
    assert results.table.groupby("subject")["score"].mean().mean() >= least


def test_moabb_runs_the_shipped_folder_on_a_registered_dataset(data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(resource_dir("pipelines"), tmp_path / "pipelines")
    codes = register("muse-n170")
    try:
        table = moabb.benchmark(
            pipelines=str(tmp_path / "pipelines"),
            evaluations=["WithinSession"],
            paradigms=["P300"],
            include_datasets=codes,
            results=str(tmp_path / "results"),
            output=str(tmp_path / "out"),
            n_jobs=1,
            plot=False,
        )
    finally:
        delattr(moabb.datasets, codes[0].replace("-", "_"))
        moabb.datasets.utils._init_dataset()
    assert set(table["dataset"]) == set(codes)
    best = table.groupby("pipeline")["score"].mean()
    assert {"XdawnCov+TS+LR", "Chance"} <= set(best.index) and best["XdawnCov+TS+LR"] > 0.6
    assert best["Chance"] == 0.5
