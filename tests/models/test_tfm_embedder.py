"""`TFMEmbedder`: masked token prediction of recordings without labels, and what starts from it."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from neurosig.core.errors import StorageError, UsageError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.models import NeuroRVQEmbedder, TFMClassifier, TFMEmbedder
from neurosig.tokenizers import NeuroRVQTokenizer, TFMTokenizer

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore::neurosig.core.compat.CompatibilityWarning")

ENCODER = {"depth": 1, "n_heads": 2, "sfreq": 200.0, "random_state": 0, "device": "cpu", "batch_size": 16}


def waves(n=24, n_channels=2, seed=0):
    """Windows of two seconds, by turns with strong waves of 6 and of 40 Hz in all of them, and noise."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    waves = 10 * np.sin(2 * np.pi * np.outer([6, 40], np.arange(400)) / 200)
    return (rng.standard_normal((n, n_channels, 400)) + waves[y][:, None]).astype(np.float32), y


@pytest.fixture(scope="module")
def tokenizer():
    """Of two codes, put by hand to where the windows of each kind lie."""
    X, y = waves()
    made = TFMTokenizer(
        n_codes=2, emb_size=16, freq_depth=1, temporal_depth=1, decoder_depth=1, n_heads=2, max_epochs=1, batch_size=8,
        lr=1e-6, any_channels=True, sfreq=200.0, random_state=0, device="cpu",
    ).fit(X)  # fmt: skip
    latents = made.embed(X)
    for kind in (0, 1):
        made.module_.quantizer.codebook[kind] = torch.from_numpy(latents[y == kind].mean(axis=(0, 1, 2)))
    return made


@pytest.fixture(scope="module")
def embedder(tokenizer):
    params = ENCODER | {"drop_prob": 0.0, "lr": 0.02, "warmup": 0, "max_epochs": 25, "validation": 0.25}
    return TFMEmbedder(tokenizer, **params).fit(waves()[0])


def test_hidden_tokens_are_told_from_those_around_them(embedder):
    """A token tells which kind of window this is, and so the others: without that a view's loss is log(2) at best."""
    X, y = waves()
    tokens = embedder.tokenizer_.transform(X)
    assert np.mean(tokens == y[:, None, None]) > 0.9
    best = embedder.history_[embedder.best_epoch_ - 1]
    assert best["valid_loss"] == pytest.approx(best["valid_view_a"] + best["valid_view_b"], rel=1e-5)
    assert best["valid_loss"] < 0.75 * 2 * math.log(2) < embedder.history_[0]["train_loss"]
    assert embedder.n_windows_ == 24 and len(embedder.history_) == 25


def test_embeddings_are_means_over_the_tokens_of_the_last_block(embedder):
    X, _ = waves(seed=1)
    found = embedder.transform(X)
    tokens = torch.from_numpy(embedder.tokenizer_.transform(X))
    with torch.no_grad():
        expected = embedder.module_.encoder.stages(tokens).blocks[-1][:, 1:].mean(dim=1)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-6)
    assert found.dtype == np.float32 and len(embedder.get_feature_names_out()) == found.shape[1] == 16


def test_stored_and_read_back_it_is_the_same_with_its_tokenizer(embedder, tmp_path):
    X = waves(seed=1)[0]
    embedder.save_pretrained(tmp_path / "e")
    again = TFMEmbedder.from_pretrained(tmp_path / "e", device="cpu")
    np.testing.assert_array_equal(again.transform(X), embedder.transform(X))
    np.testing.assert_array_equal(again.tokenizer_.transform(X), embedder.tokenizer_.transform(X))
    assert "TFMEmbedder" in (tmp_path / "e" / "README.md").read_text()
    with pytest.raises(StorageError, match="is not a saved tokenizer"):
        TFMTokenizer.from_pretrained(tmp_path / "e")


@pytest.mark.parametrize("how", ["estimator", "frozen", "folder"])
def test_a_classifier_starts_from_it(embedder, tmp_path, how):
    """A probe, which trains the last layer alone, keeps every other weight as it was pretrained."""
    X, y = waves()
    given = {
        "estimator": lambda: embedder, "frozen": lambda: FrozenEstimator(embedder),
        "folder": lambda: embedder.save_pretrained(tmp_path / "e"),
    }[how]()  # fmt: skip
    options = {"max_epochs": 2, "validation": None, "sfreq": 200, "random_state": 0, "device": "cpu"}
    net = TFMClassifier(given, "probe", **options).fit(X, y)
    np.testing.assert_array_equal(net.tokenizer_.transform(X), embedder.tokenizer_.transform(X))
    assert net.net_.module_.final_layer.out_features == 2
    pretrained, now = embedder.module_.encoder.state_dict(), net.net_.module_.state_dict()
    assert set(pretrained) == set(now)
    for name, value in pretrained.items():
        if not name.startswith("final_layer"):
            torch.testing.assert_close(now[name].cpu(), value, rtol=0, atol=0)
    assert net.classes_.tolist() == [0, 1] and net.predict_proba(X).shape == (24, 2)


def test_what_a_classifier_asks_of_it_is_checked(embedder, tokenizer):
    X, y = waves(n_channels=20)
    options = {"max_epochs": 1, "validation": None, "sfreq": 200, "device": "cpu"}
    with pytest.raises(ValueError, match="knows 16 channels, these trials have 20"):
        TFMClassifier(embedder, **options).fit(X, y)
    with pytest.raises(UsageError, match="made with another depth"):
        TFMClassifier(embedder, encoder_params={"depth": 3}, **options).fit(*waves())
    with pytest.raises(UsageError, match="is not fitted"):
        TFMClassifier(clone(embedder), **options).fit(*waves())
    with pytest.raises(UsageError, match="tokenizer must be a TFMTokenizer"):
        TFMEmbedder(NeuroRVQTokenizer(), **ENCODER).fit(X)


def test_collections_may_differ_in_channels_and_whom_the_tokenizer_saw_is_kept(tokenizer):
    def collection(n_channels, who):
        X = waves(8, n_channels)[0]
        spec = SignalSpec("eeg", tuple(f"C{i + 1}" for i in range(n_channels)), sfreq=200.0, unit="uV")
        table = pd.DataFrame({"subject": [who] * 8, "session": "0", "run": "0"})
        return SignalDataset(X, None, table, spec, name=who)

    learned = copy.copy(tokenizer)
    learned.trained_on_ = {"subjects": ["7"], "data": [], "dataset": "x", "before": []}
    found = TFMEmbedder(learned, max_epochs=1, max_chans=2, **ENCODER).fit([collection(2, "a"), collection(3, "b")])
    assert found._config["max_chans"] == 3
    assert "'7'" in repr(found.trained_on_) and "'a'" in repr(found.trained_on_)
    assert found.transform(collection(3, "c")).shape == (8, 16)


def test_neurorvq_drops_channels_as_its_tokenizer_does_before_it_is_fitted():
    teacher = NeuroRVQTokenizer(on_unknown="drop")
    assert NeuroRVQEmbedder(on_unknown="drop")._channels_kept(["C3", "AUX", "Cz"]) == (0, 2)
    assert list(NeuroRVQEmbedder(teacher)._channels_kept(["C3", "AUX"])) == [0, 1]  # not fitted: not known yet
    assert teacher._channels_kept(["AUX", "Cz"]) == (1,)
