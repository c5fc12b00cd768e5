"""BrainMAE pretrained on datasets of fMRI and stored; what cannot be learned is refused before any work."""

import numpy as np
import pytest

from neurosig.core.errors import StorageError, UsageError
from neurosig.models.brainmae_embedder import BrainMAEEmbedder
from neurosig.models.pretraining_runs import RUN_SYSTEMS, check_run_system, pretrain_on_runs

TINY = {
    "emb_size": 8, "n_heads": 2, "depth": 1, "temporal_depth": 1, "segment": 8.0, "n_segments": 2, "max_epochs": 2,
    "batch_size": 4, "device": "cpu", "random_state": 0,
}  # fmt: skip


@pytest.fixture
def runs(tmp_path):
    """Six people, runs of 12 to 17 volumes of three regions."""
    lengths = np.arange(12, 18)
    path = tmp_path / "people.npz"
    np.savez(
        path, X=np.random.default_rng(0).standard_normal((lengths.sum(), 3)), length=lengths, tr=2.0,
        subject=np.array([f"p{i}" for i in range(6)]), y=np.array([0, 1, 0, 1, 0, 1]), class_names=np.array(["a", "b"]),
    )  # fmt: skip
    return path


def test_what_was_learned_is_stored_with_whom_it_has_seen(runs, tmp_path):
    made = pretrain_on_runs(
        "brainmae", runs, tmp_path / "out", subjects=["p0", "p2", "p3", "p5"], validation=0.25, **TINY
    )
    assert made.collections.to_dict(orient="records") == [
        {"dataset": "people", "regions": 3, "atlas": None, "runs": 4, "subjects": 4, "volumes": 12 + 14 + 15 + 17}
    ]
    stored = BrainMAEEmbedder.from_pretrained(tmp_path / "out")
    assert sorted(stored.trained_on_["subjects"]) == ["p0", "p2", "p3", "p5"]
    assert stored.trained_on_["dataset"] == "people"
    new = [np.random.default_rng(1).standard_normal((3, 14))]
    np.testing.assert_array_equal(stored.transform(new), made.estimator.transform(new))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "people.npz"]  # nothing unfinished is left
    with pytest.raises(StorageError, match="holds a BrainMAE embedder already"):
        check_run_system("brainmae", tmp_path / "out", {})


def test_the_same_seed_gives_the_same_network(runs, tmp_path):
    first, second = (pretrain_on_runs("brainmae", runs, tmp_path / name, **TINY) for name in ("a", "b"))
    new = [np.random.default_rng(2).standard_normal((3, 12))]
    np.testing.assert_array_equal(first.estimator.transform(new), second.estimator.transform(new))


@pytest.mark.parametrize(
    ("system", "size", "params", "message"),
    [
        ("brainmea", "base", {}, "no system 'brainmea' to pretrain on fMRI; there are brainmae"),
        ("brainmae", "large", {}, "no size 'large'; it has base, small"),
        ("brainmae", "base", {"emb_siez": 8}, "BrainMAEEmbedder has no parameter 'emb_siez'"),
    ],
)
def test_wrong_requests(tmp_path, system, size, params, message):
    with pytest.raises(UsageError, match=message):
        check_run_system(system, tmp_path / "out", params, size=size)


def test_sizes_are_parameters(tmp_path):
    for size in RUN_SYSTEMS["brainmae"].sizes:
        estimator, _ = check_run_system("brainmae", tmp_path / "out", {"lr": 3e-4}, size=size)
        assert estimator.lr == 3e-4
    assert estimator.emb_size == 64


def test_datasets_that_are_no_fmri(runs, tmp_path):
    with pytest.raises(UsageError, match="eegmat is eeg, this network learns from fMRI"):
        pretrain_on_runs("brainmae", [runs, "eegmat"], tmp_path / "out", **TINY)
    with pytest.raises(UsageError, match="no run of subject p9; there are p0, p1"):
        pretrain_on_runs("brainmae", runs, tmp_path / "out", subjects=["p9"], **TINY)
