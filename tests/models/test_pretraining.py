"""Networks on tokens that learn from recordings without labels."""

import mne
import numpy as np
import pytest
import torch

from neurosig.core.errors import UsageError
from neurosig.models import NeuroRVQClassifier, NeuroRVQEmbedder, pretrain_embedder
from neurosig.models.pretraining import EMBEDDERS
from neurosig.tokenizers import NeuroRVQTokenizer, TFMTokenizer

torch.set_num_threads(1)


def recording(seed=0, ch_names=("C3", "Cz", "AUX")):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((len(ch_names), 1600)).cumsum(axis=1)
    X = 1e-5 * (X - X.mean(axis=1, keepdims=True)) / X.std()
    return mne.io.RawArray(X, mne.create_info(list(ch_names), 200.0, "eeg", verbose="error"), verbose="error")


@pytest.fixture(scope="module")
def tokenizer():
    X = np.random.default_rng(0).standard_normal((4, 2, 80)) * 1e-5
    return NeuroRVQTokenizer(
        patch_size=40, n_levels=1, n_codes=4, code_dim=4, depth=1, decoder_depth=1, n_heads=2, max_epochs=1,
        options={"n_filters": 2, "n_groups": 1}, on_unknown="drop", any_channels=True, unit="V", sfreq=200.0,
        ch_names=["C3", "C4"], random_state=0, device="cpu",
    ).fit(X)  # fmt: skip


def test_neurorvq_is_pretrained_on_windows_as_its_tokenizer_takes_them(tokenizer, tmp_path):
    """Channels without a place are dropped as there, windows are as long; a classifier starts from the folder."""
    raws = {"a": recording(), "b": recording(1)}
    made = pretrain_embedder(
        "neurorvq-embedder", raws, tmp_path / "out", tokenizer=tokenizer, step=0.8, max_epochs=1, batch_size=8,
        random_state=0, device="cpu",
    )  # fmt: skip
    assert made.collections.to_dict(orient="records") == [
        {"channels": 2, "windows": 20, "recordings": 2, "subjects": 2}
    ]
    assert made.estimator.n_times_ == 80 and made.failed == {}
    assert [item.name for item in tmp_path.iterdir()] == ["out"]
    again = NeuroRVQEmbedder.from_pretrained(made.folder, device="cpu")
    X = np.random.default_rng(1).standard_normal((4, 2, 80)) * 1e-5
    theirs = {"resample": again.resample, "on_unknown": again.on_unknown, "patch_size": again.patch_size}
    assert theirs == {"resample": True, "on_unknown": "drop", "patch_size": 40}
    classifier = NeuroRVQClassifier(
        made.folder, mode="probe", unit="V", sfreq=200.0, ch_names=["C3", "Cz"], max_epochs=1, validation=None,
        device="cpu", random_state=0,
    )  # fmt: skip
    assert classifier.fit(X, [0, 1, 0, 1]).predict_proba(X).shape == (4, 2)


def test_wrong_use_is_refused_before_anything_is_read(tokenizer, tmp_path):
    for system, given, message in (
        ("tfm", tokenizer, "no system 'tfm' to pretrain; there are neurorvq-embedder, tfm-encoder"),
        ("tfm-encoder", tokenizer, "tokens of a TFMTokenizer, got a NeuroRVQTokenizer"),
        ("tfm-encoder", TFMTokenizer(), "must be fitted"),
    ):
        with pytest.raises(UsageError, match=message):
            pretrain_embedder(system, "nowhere", tmp_path / "out", tokenizer=given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(EMBEDDERS))
def test_every_system_can_be_built_in_every_size(name):
    system = EMBEDDERS[name]
    assert system.sizes["base"] == {} and system.load_tokenizer_class().__name__.endswith("Tokenizer")
    for params in system.sizes.values():
        assert system.load()(any_channels=True, **params).get_params(deep=False).items() >= params.items()
