"""Which pipelines decode from covariances, and what is said of trials that such pipelines should not get."""

import mne
import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from neurosig import load_pipelines, open_dataset
from neurosig.evaluation.covariances import cells_caution, takes_covariances
from neurosig.loaders.epoch_files import set_provenance

STEPS = ("channels", "epochs", "components", "channels_in_epochs")


@pytest.mark.parametrize(
    ("name", "does"),
    [
        ("TS+LR", True), ("MDM", True), ("ACM+TS+SVM", True), ("Recentering+MDM", True), ("FASTER+TS+LR", True),
        ("LogVar+LDA", False), ("Chance", False),
    ],
)  # fmt: skip
def test_pipelines_of_covariances_are_known(name, does):
    (pipeline,) = load_pipelines(names=name).values()
    assert takes_covariances(pipeline) is does
    assert takes_covariances(make_pipeline(pipeline)) is does


@pytest.fixture
def folder(tmp_path):
    def make(steps):
        X = 1e-5 * np.random.default_rng(0).standard_normal((8, 3, 64))
        info = mne.create_info(["C3", "Cz", "C4"], 64.0, "eeg")
        set_provenance(info, "neurosig preprocess", "average", steps)
        events = np.column_stack([np.arange(8) * 100, np.zeros(8, int), np.arange(8) % 2 + 1])
        epochs = mne.EpochsArray(X, info, events, 0.0, {"left_hand": 1, "right_hand": 2}, verbose="error")
        epochs.save(tmp_path / "sub-1_epo.fif", verbose="error")
        return open_dataset(tmp_path)

    return make


@pytest.mark.parametrize(("steps", "told"), [(STEPS, True), (STEPS[:3], False), ((), False)])
def test_interpolated_channels_of_single_trials_are_told(folder, steps, told):
    decoders = {"covs": load_pipelines(names="MDM")["MDM"], "not": make_pipeline(DummyClassifier())}
    manifest = folder(steps)
    lines = cells_caution(manifest, decoders)
    assert bool(lines) is told
    if told:
        assert "lowers scores of covs: compare" in lines[0] and "--steps channels,epochs,components" in lines[0]
    assert cells_caution(manifest, {"not": make_pipeline(LogisticRegression())}) == []
    assert cells_caution(None, decoders) == []
