"""Features of tokens are what they are said to be, and a pretrained tokenizer stays as it is."""

import weakref

import numpy as np
import pandas as pd
import pytest
from peak_tokenizer import rhythms
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosig.core.errors import ChannelError, InputError, StorageError, UsageError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.evaluation.identity import content_digest
from neurosig.evaluation.pipelines import load_pipelines
from neurosig.evaluation.signal_facts import with_signal_facts
from neurosig.tokenizers import NeuroRVQTokenizer, TFMTokenizer, TokenFeatures
from neurosig.tokenizers.analysis import split_codebooks

SMALL = {**TFMTokenizer._get_test_params(), "sfreq": 200.0, "kmeans_init": True}
INFO = SignalSpec("eeg", ("C3", "Cz", "C4"), sfreq=200.0, unit="uV")


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rhythms(rng.choice([8, 20, 45], (16, 3)), n_times=500)


@pytest.fixture(scope="module")
def tokenizer(X):
    return TFMTokenizer(**SMALL).fit(X)


@pytest.fixture(scope="module")
def residual(X):
    return NeuroRVQTokenizer(
        info=INFO, patch_size=40, n_codes=8, code_dim=4, n_levels=2, depth=1, decoder_depth=1, max_epochs=1,
        random_state=0, device="cpu",
    ).fit(X)  # fmt: skip


def state(tokenizer):
    return {name: value.clone() for name, value in tokenizer.module_.state_dict().items()}


def assert_same_state(tokenizer, before):
    now = tokenizer.module_.state_dict()
    assert all(bool((now[name] == value).all()) for name, value in before.items())


def test_histogram_is_the_share_of_each_token(X, tokenizer):
    features = TokenFeatures(tokenizer, kind="histogram", sfreq=200.0).fit(X[:10])
    found = features.transform(X)
    tokens = tokenizer.transform(X)
    assert found.dtype == np.float32 and found.shape == (16, len(features.codes_))
    for (_, channel, code), values, name in zip(
        features.codes_, found.T, features.get_feature_names_out(), strict=True
    ):
        np.testing.assert_allclose(values, (tokens[:, channel] == code).mean(axis=-1), atol=1e-6)
        assert name == f"channel{channel}_token{code}"
    seen = {(channel, code) for channel in range(3) for code in np.unique(tokens[:10, channel]).tolist()}
    assert {tuple(row[1:]) for row in features.codes_.tolist()} == seen
    np.testing.assert_allclose(found[:10].sum(axis=1), 3, atol=1e-5)


def test_histogram_over_all_channels_and_codebooks(X, residual):
    features = TokenFeatures(residual, kind="histogram", per_channel=False, min_count=20, max_codes=3, sfreq=200.0).fit(
        X
    )
    tokens = residual.transform(X)
    books = list(split_codebooks(tokens, residual))
    found = features.transform(X)
    for (book, channel, code), values, name in zip(
        features.codes_, found.T, features.get_feature_names_out(), strict=True
    ):
        named, mine = books[book]
        assert channel == -1 and name == f"scale{named['scale']}_level{named['level']}_token{code}"
        np.testing.assert_allclose(values, (mine == code).mean(axis=(1, 2)), atol=1e-6)
    for book, (_, mine) in enumerate(books):
        counts = np.bincount(mine.ravel(), minlength=8)
        most = {int(code) for code in np.argsort(-counts, kind="stable")[:3] if counts[code] >= 20}
        assert set(features.codes_[features.codes_[:, 0] == book, 2].tolist()) == most


@pytest.mark.parametrize("pool", ["mean", "mean_std", "max", "none"])
def test_embeddings_are_pooled_over_frames(X, tokenizer, pool):
    features = TokenFeatures(tokenizer, pool=pool, sfreq=200.0).fit(X)
    latents = tokenizer.embed(X)  # (n, channels, frames, size)
    expected = {
        "mean": [latents.mean(axis=2)],
        "mean_std": [latents.mean(axis=2), latents.std(axis=2)],
        "max": [latents.max(axis=2)],
        "none": [latents[:, :, i] for i in range(latents.shape[2])],
    }[pool]
    found = features.transform(X)
    np.testing.assert_allclose(found, np.concatenate([part.reshape(16, -1) for part in expected], axis=1), atol=1e-6)
    names = features.get_feature_names_out()
    assert names[0] == f"channel0_embedding0_{'frame0' if pool == 'none' else pool.split('_')[0]}"
    assert len(set(names)) == found.shape[1]
    if pool == "none":
        with pytest.raises(InputError, match="as long as those fitted on"):
            features.transform(X[..., :300])
    else:
        assert features.transform(X[..., :300]).shape == found.shape


def test_embeddings_are_pooled_before_the_next_batch_is_there(X, tokenizer, monkeypatch):
    alive, most = 0, 0
    each_batch = type(tokenizer)._each_batch

    def watched(self, *args):
        nonlocal alive, most
        for values in each_batch(self, *args):
            alive += 1
            most = max(most, alive)
            weakref.finalize(values, gone)
            yield values
            del values

    def gone():
        nonlocal alive
        alive -= 1

    features = TokenFeatures(tokenizer, sfreq=200.0).fit(X)
    whole = features.transform(X)
    monkeypatch.setattr(type(tokenizer), "_each_batch", watched)
    monkeypatch.setattr(tokenizer, "batch_size", 3)
    np.testing.assert_allclose(features.transform(X), whole, atol=1e-6)
    assert most <= 2  # of six: one that is pooled, and one that has just come


def test_embeddings_of_scales(X, residual):
    latents = residual.embed(X)  # (n, scales, channels, patches, size)
    found = TokenFeatures(residual, sfreq=200.0).fit_transform(X)
    np.testing.assert_allclose(found, latents.mean(axis=3).transpose(0, 2, 1, 3).reshape(16, -1), atol=1e-6)
    features = TokenFeatures(residual, per_channel=False, kind="both", sfreq=200.0).fit(X)
    names = features.get_feature_names_out()
    assert names[5] == "scale1_feature1_mean" and names[-1].startswith("scale3_level1_token")
    np.testing.assert_allclose(features.transform(X)[:, 5], latents[:, 1, :, :, 1].mean(axis=(1, 2)), atol=1e-6)


@pytest.mark.parametrize("how", ["fitted", "cloned", "frozen", "folder"])
def test_a_pretrained_tokenizer_is_never_fitted(X, tokenizer, how, tmp_path):
    before = state(tokenizer)
    given = tokenizer
    if how == "frozen":
        given = FrozenEstimator(tokenizer)
    if how == "folder":
        given = str(tokenizer.save_pretrained(tmp_path / "tokenizer"))
    features = TokenFeatures(given, kind="both", device="cpu", sfreq=200.0)
    features = clone(clone(features)) if how == "cloned" else features
    other = rhythms(np.full((8, 3), 30), n_times=500, seed=1)
    features.fit(other)
    assert_same_state(features.tokenizer_, before)
    assert_same_state(tokenizer, before)
    np.testing.assert_allclose(
        features.transform(X), TokenFeatures(tokenizer, kind="both", sfreq=200.0).fit(other).transform(X), atol=1e-6
    )


def test_one_that_is_not_fitted_is_learned_anew_and_left_alone(X):
    given = TFMTokenizer(**{**SMALL, "sfreq": None, "random_state": None})
    features = TokenFeatures(given, sfreq=200.0, random_state=3).fit(X)
    assert not hasattr(given, "n_features_in_") and given.sfreq is None
    assert features.tokenizer_.seed_ == TFMTokenizer(**{**SMALL, "random_state": 3}).fit(X).seed_
    named = TokenFeatures("TFMTokenizer", tokenizer_params={**SMALL, "random_state": 3}).fit(X)
    np.testing.assert_array_equal(named.transform(X), features.transform(X))


def test_labels_play_no_part(X):
    y = np.arange(16) % 2
    features = TokenFeatures("TFMTokenizer", tokenizer_params=SMALL, kind="both")
    np.testing.assert_array_equal(clone(features).fit(X, y).transform(X), clone(features).fit(X).transform(X))


def test_arrays_at_another_rate_are_told_by_their_rate(tokenizer):
    slow = rhythms(np.full((6, 3), 20), n_times=400)[..., ::2]  # 100 Hz
    by_rate = TokenFeatures(tokenizer, sfreq=100.0).fit(slow).transform(slow)
    by_info = TokenFeatures(tokenizer, info=INFO.replace(sfreq=100.0)).fit(slow).transform(slow)
    as_fitted = TokenFeatures(tokenizer, sfreq=200.0).fit(slow).transform(slow)
    np.testing.assert_allclose(by_rate, by_info, atol=1e-5)
    assert np.abs(by_rate - as_fitted).max() > 0.01
    with pytest.raises(UsageError, match=r"TokenFeatures needs the sampling rate of the signals.*sfreq="):
        TokenFeatures(tokenizer).fit(slow)


def test_a_linear_probe_reads_rhythms(tokenizer):
    y = np.tile(["slow", "fast"], 20)
    X = rhythms(np.where(y == "slow", 8, 45)[:, np.newaxis].repeat(3, axis=1), n_times=500, seed=5)
    probe = make_pipeline(TokenFeatures(tokenizer, sfreq=200.0), StandardScaler(), LogisticRegression())
    assert cross_val_score(probe, X, y, cv=4).min() == 1.0


def test_a_benchmark_tells_what_it_knows_and_leaves_the_tokenizer_alone(tokenizer):
    told = with_signal_facts(make_pipeline(TokenFeatures(tokenizer), StandardScaler()), INFO.replace(sfreq=160.0))
    assert told[0].sfreq == 160.0 and told[0].info.ch_names == INFO.ch_names and told[0].tokenizer is tokenizer
    assert tokenizer.sfreq == 200.0 and tokenizer.info is None


def test_names_alone_are_compared_with_those_fitted_on(X, residual):
    found = TokenFeatures(residual, ch_names=["C3", "Cz", "C4"], sfreq=200.0).fit(X).transform(X)
    np.testing.assert_array_equal(found, TokenFeatures(residual, sfreq=200.0).fit(X).transform(X))
    with pytest.raises(ChannelError, match="expected the channels"):
        TokenFeatures(residual, ch_names=["C4", "Cz", "C3"], sfreq=200.0).fit(X)


def test_stored_results_are_keyed_by_what_a_fitted_tokenizer_has_learned(X, tokenizer, tmp_path):
    other = TFMTokenizer(**{**SMALL, "random_state": 1}).fit(X).set_params(random_state=0)
    assert content_digest(TokenFeatures(tokenizer)) == content_digest(clone(TokenFeatures(tokenizer)))
    assert content_digest(TokenFeatures(tokenizer)) != content_digest(TokenFeatures(other))
    assert content_digest(TokenFeatures(clone(tokenizer))) == content_digest(TokenFeatures(clone(other)))
    of_folder = [
        content_digest(TokenFeatures(str(one.save_pretrained(tmp_path / "tokenizer")))) for one in (tokenizer, other)
    ]
    assert of_folder[0] != of_folder[1]


@pytest.mark.parametrize("name", ["TFM tokens+LR", "NeuroRVQ tokens+LR"])
def test_shipped_pipelines_decode(name):
    pipeline = load_pipelines(names=[name])[name]
    small = pipeline[0].tokenizer_params | {"max_epochs": 1, "n_codes": 64, "decoder_depth": 1}
    pipeline.set_params(tokenfeatures__tokenizer_params=small, tokenfeatures__device="cpu")
    y = np.tile(["left_hand", "right_hand"], 20)
    X = 20 * rhythms(np.where(y == "left_hand", 8, 45)[:, np.newaxis].repeat(3, axis=1), n_times=600, seed=5)
    pipeline = with_signal_facts(pipeline, INFO)
    assert pipeline.fit(X[:24], y[:24]).score(X[24:], y[24:]) >= 0.8  # guessing does so once in a hundred times


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"kind": "tokens"}, UsageError, "kind must be one of embedding, histogram, both"),
        ({"pool": "median"}, UsageError, "pool must be one of"),
        ({"min_count": 0}, UsageError, "min_count and max_codes"),
        ({"tokenizer": 3}, UsageError, "a folder or a Tokenizer, got int"),
        ({"tokenizer": TFMTokenizer(), "tokenizer_params": {"lr": 1.0}}, UsageError, "for a tokenizer that is named"),
        ({"tokenizer": FrozenEstimator(TFMTokenizer())}, UsageError, "frozen tokenizer is not fitted"),
        ({"tokenizer": "."}, StorageError, "not a saved tokenizer"),
    ],
)
def test_wrong_parameters_are_refused(X, params, error, message):
    with pytest.raises(error, match=message):
        TokenFeatures(**params).fit(X)


def test_what_is_too_rare_is_said(X, tokenizer):
    with pytest.raises(InputError, match="no token occurs 10000 times"):
        TokenFeatures(tokenizer, kind="histogram", min_count=10_000, sfreq=200.0).fit(X)


@pytest.mark.parametrize("kind", ["embedding", "histogram"])
def test_features_are_called_by_the_names_of_their_channels(X, tokenizer, kind):
    named = TokenFeatures(tokenizer, kind=kind, info=INFO).fit(X).get_feature_names_out()
    numbered = TokenFeatures(tokenizer, kind=kind, sfreq=200.0).fit(X).get_feature_names_out()
    assert {name.split("_")[0] for name in named} == set(INFO.ch_names)
    numbers = dict(zip(("channel0", "channel1", "channel2"), INFO.ch_names, strict=True))
    assert [name.replace(name[:8], numbers[name[:8]]) for name in numbered] == named.tolist()


def test_arrays_for_a_tokenizer_of_several_collections_are_taken_at_their_rate(X, tokenizer):
    several = TFMTokenizer(**{**SMALL, "sfreq": None}).fit([_dataset_of(X[:8]), _dataset_of(X[8:])])
    several.sfreq_ = 200.0  # as that of pretrain_tokenizer, which cuts all windows alike
    found = TokenFeatures(several, sfreq=200.0).fit_transform(X)
    np.testing.assert_array_equal(found, TokenFeatures(several).fit_transform(_dataset_of(X)))


def _dataset_of(X):
    people = pd.DataFrame({"subject": ["1"] * len(X), "session": "0", "run": "0"})
    return SignalDataset(X.astype(np.float32), None, people, INFO.replace(unit="a.u."))
