"""`TFMClassifier` and the networks that take TFM tokens: published weights, what is trained and what not, storage."""

import lives
import mne
import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_score
from torch.nn import functional

from neurosig.core.errors import ChannelError, InputError, StorageError, UsageError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.core.trained_on import as_trained_on, layers_of
from neurosig.models import TFMBIOT, NetClassifier, TFMClassifier, TFMEncoder, TFMLaBraM
from neurosig.models.tfm_losses import TokenClassLoss
from neurosig.models.tfm_mtp import learn_masked_tokens
from neurosig.nn.losses import focal_loss
from neurosig.tokenizers import NeuroRVQTokenizer, TFMTokenizer, TFMTokenizerModule
from neurosig.training.checkpoint import Checkpoint

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore::neurosig.core.compat.CompatibilityWarning")

TINY = {
    "n_codes": 16, "emb_size": 16, "freq_depth": 1, "temporal_depth": 1, "decoder_depth": 1, "n_heads": 2,
    "max_epochs": 1, "batch_size": 16, "kmeans_init": True,
}  # fmt: skip
ENCODER = {"depth": 1, "n_heads": 2}


def waves(n=24, n_channels=2, n_times=400, seed=0):
    """Noise; in the second class with a strong wave of 20 Hz."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    wave = 3 * np.sin(2 * np.pi * 20 * np.arange(n_times) / 200)
    return (rng.standard_normal((n, n_channels, n_times)) + y[:, None, None] * wave).astype(np.float32), y


def classifier(**kwargs):
    defaults = {"tokenizer_params": TINY, "encoder_params": ENCODER, "max_epochs": 3, "validation": None, "sfreq": 200,
                "lr": 0.01, "random_state": 0, "device": "cpu"}  # fmt: skip
    if "pretrained" in kwargs:
        del defaults["tokenizer_params"], defaults["encoder_params"]
    return TFMClassifier(**{**defaults, **kwargs})


@pytest.fixture(scope="module")
def fitted():
    return classifier().fit(*waves())


@pytest.fixture(scope="module")
def tokenizer():
    return TFMTokenizer(**TINY, sfreq=200.0, random_state=0, device="cpu", any_channels=True).fit(waves()[0])


def load(golden_dir, name):
    with np.load(golden_dir / "tfm_tokenizer" / f"{name}.npz", allow_pickle=False) as file:
        golden = dict(file)
    for key in {key.rsplit(".", 1)[0] for key in golden if key.startswith("sd_sparse/")}:
        dense = np.zeros(golden[f"{key}.shape"], dtype=np.float32)
        dense[golden[f"{key}.rows"]] = golden[f"{key}.values"]
        golden[key.replace("sd_sparse/", "sd/") + ".weight"] = dense
    return golden


def under(golden, prefix="sd/"):
    return {key.removeprefix(prefix): value for key, value in golden.items() if key.startswith(prefix)}


class TestPublishedWeights:
    @pytest.mark.parametrize("name", ["published_encoder_TUEV_multi", "published_encoder_TUEV_single"])
    def test_logits_of_the_published_encoders(self, golden_dir, name):
        golden = load(golden_dir, name)
        other = TFMTokenizerModule(freq_depth=0, temporal_depth=0, decoder_depth=0).to_reference()  # not published here
        window = (golden["ids"].shape[2] + 1) / 2
        names = ["SPSW", "GPED", "PLED", "EYEM", "ARTF", "BCKG"]
        model = TFMClassifier.from_reference(under(golden), other, window=window, device="cpu")
        found = model.net_.decision_function(golden["ids"])
        np.testing.assert_allclose(found, golden["logits"], atol=2e-5)
        assert model.n_features_in_ == 16
        assert model.classes_.tolist() == list(range(6))
        named = TFMClassifier.from_reference(under(golden), other, window=window, classes=names, device="cpu")
        order = np.argsort(names)
        np.testing.assert_allclose(named.net_.decision_function(golden["ids"]), found[:, order], atol=1e-5)
        wanted = [names[i] for i in golden["logits"].argmax(axis=1)]
        assert named.net_.predict(golden["ids"]).tolist() == wanted
        four = TFMClassifier.from_reference(under(golden), other, window=window, n_channels=4, device="cpu")
        np.testing.assert_allclose(four.net_.decision_function(golden["ids"][:, :4]), golden["logits_C4"], atol=2e-5)

    @pytest.fixture
    def small(self, golden_dir):
        return under(load(golden_dir, "encoder_small")), load(golden_dir, "tokenizer_small")

    def test_signals_go_through_tokenizer_and_encoder(self, small):
        encoder, golden = small
        x = golden["input"]
        params = {"tokenizer_params": {"normalise": False}, "device": "cpu", "sfreq": 200.0}
        model = TFMClassifier.from_reference(
            encoder, under(golden), window=(golden["stft"].shape[-1] + 1) / 2, n_channels=x.shape[1], **params
        )
        ids = torch.from_numpy(golden["out/indices"].reshape(len(x), x.shape[1], -1))
        with torch.no_grad():
            wanted = TFMEncoder.from_reference(encoder)(ids)
        np.testing.assert_allclose(model.decision_function(x), wanted, atol=1e-5)
        np.testing.assert_allclose(model.predict_proba(x), wanted.softmax(dim=1), atol=1e-5)
        with pytest.raises(ChannelError, match=r"tokens a channel.*cut them alike"):
            model.predict(np.concatenate([x, x], axis=2))

    def test_one_output_is_the_difference_of_two(self, small):
        encoder, golden = small
        encoder = {**encoder, "classification_head.weight": encoder["classification_head.weight"][:1],
                   "classification_head.bias": encoder["classification_head.bias"][:1]}  # fmt: skip
        x = golden["input"]
        model = TFMClassifier.from_reference(
            encoder, under(golden), window=(golden["stft"].shape[-1] + 1) / 2, n_channels=x.shape[1], loss="bce",
            tokenizer_params={"normalise": False}, classes=["none", "seizure"], device="cpu", sfreq=200.0,
        )  # fmt: skip
        ids = torch.from_numpy(golden["out/indices"].reshape(len(x), x.shape[1], -1))
        with torch.no_grad():
            logit = TFMEncoder.from_reference(encoder)(ids)[:, 0]
        np.testing.assert_allclose(model.decision_function(x), logit, atol=1e-5)
        np.testing.assert_allclose(model.predict_proba(x)[:, 1], logit.sigmoid(), atol=1e-5)

    def test_fine_tuning_goes_on_from_them(self, small):
        encoder, golden = small
        model = TFMClassifier.from_reference(encoder, under(golden), window=2, n_channels=2, sfreq=200, device="cpu")
        probe = classifier(pretrained=FrozenEstimator(model), mode="probe", max_epochs=1).fit(*waves())
        for name, value in model.net_.module_.state_dict().items():
            now = probe.net_.module_.state_dict()[name]
            assert name.startswith("final_layer") or torch.equal(now, value), name
        with pytest.raises(ChannelError, match=r"knows .* channels, these trials have 40"):
            classifier(pretrained=model).fit(*waves(n_channels=40))
        with pytest.raises(UsageError, match="made with another depth"):
            classifier(pretrained=model, encoder_params={"depth": 7}).fit(*waves())

    def test_what_does_not_belong_together_is_refused(self, small, golden_dir):
        encoder, golden = small
        other = under(load(golden_dir, "tokenizer_2x2x8_k256"))
        with pytest.raises(InputError, match="trained on 128 tokens, this tokenizer has 256"):
            TFMClassifier.from_reference(encoder, other, window=5)
        with pytest.raises(InputError, match="classes apart, got"):
            TFMClassifier.from_reference(encoder, under(golden), window=5, classes=["a"])
        with pytest.raises(UsageError, match=r"window must be 1 s or more and n_channels 1 to"):
            TFMClassifier.from_reference(encoder, under(golden), window=0.5)


class TestTraining:
    def test_it_tells_waves_from_noise(self):
        X, y = waves(64)
        longer = {**TINY, "max_epochs": 5, "drop_prob": 0.0}
        model = classifier(tokenizer_params=longer, max_epochs=20, batch_size=16).fit(X[:48], y[:48])
        assert model.score(X[48:], y[48:]) >= 0.8
        assert len(model.net_.history_) == 20

    def test_labels_do_not_reach_the_tokenizer(self, fitted):
        X, y = waves()
        other = classifier().fit(X, 1 - y)
        np.testing.assert_array_equal(other.tokenizer_.transform(X), fitted.tokenizer_.transform(X))

    def test_a_pretrained_tokenizer_stays(self, tokenizer):
        before = {name: value.clone() for name, value in tokenizer.module_.state_dict().items()}
        model = classifier(pretrained=FrozenEstimator(tokenizer), mtp_epochs=1)
        clone(model).fit(*waves())
        for name, value in tokenizer.module_.state_dict().items():
            assert torch.equal(value, before[name])

    def test_embeddings_of_tokens_start_from_the_codes(self, tokenizer):
        model = classifier(pretrained=tokenizer, mode="probe", max_epochs=1).fit(*waves())
        embedding = model.net_.module_.token_embedding.weight
        np.testing.assert_array_equal(embedding[:-1].detach().numpy(), tokenizer.module_.quantizer.codebook.numpy())
        assert not embedding[-1].any()

    def test_a_probe_trains_the_last_layer_alone(self, tokenizer):
        begun = classifier(pretrained=tokenizer, mode="probe", max_epochs=1).fit(*waves()).net_.module_.state_dict()
        probe = classifier(pretrained=tokenizer, mode="probe", max_epochs=5).fit(*waves()).net_.module_.state_dict()
        full = classifier(pretrained=tokenizer, max_epochs=5).fit(*waves()).net_.module_.state_dict()
        moved = {name for name in begun if not torch.equal(begun[name], probe[name])}
        assert moved == {"final_layer.weight", "final_layer.bias"}
        assert not torch.equal(full["blocks.0.qkv.weight"], begun["blocks.0.qkv.weight"])

    def test_masked_tokens_are_learned_before(self):
        tokens = np.tile(np.arange(4), (32, 2, 2))  # the same in each window: what is hidden can be known
        with torch.random.fork_rng():  # whatever tests ran before
            torch.manual_seed(0)
            encoder = TFMEncoder(n_outputs=2, n_codes=8, emb_size=16, depth=1, n_heads=2, drop_prob=0.0)
        record = learn_masked_tokens(encoder, tokens, max_epochs=30, batch_size=16, lr=0.02)
        assert record.history[-1]["train_loss"] < 0.5 * 2 * np.log(8)
        last = record.history[-1]
        assert last["train_loss"] == pytest.approx(last["train_view_a"] + last["train_view_b"], rel=1e-4)
        model = classifier(mtp_epochs=2).fit(*waves())
        assert len(model.mtp_history_) == 2

    def test_the_same_seed_gives_the_same_bits(self, fitted):
        X, y = waves()
        again = clone(fitted).fit(X, y)
        np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
        other = clone(fitted).set_params(random_state=1).fit(X, y)
        assert (other.predict_proba(X) != fitted.predict_proba(X)).any()

    def test_killed_training_ends_in_the_same_bits(self, tmp_path, monkeypatch):
        X, y = waves()
        whole = classifier(mtp_epochs=2).fit(X, y)
        write, left = Checkpoint.on_epoch_end, [2]  # killed in masked token prediction, then in the last training

        def write_and_stop(self, net, **kwargs):
            write(self, net, **kwargs)
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

        model = classifier(mtp_epochs=2, checkpoint=tmp_path)
        monkeypatch.setattr(Checkpoint, "on_epoch_end", write_and_stop)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                model.fit(X, y)
            left[0] = 2
        left[0] = -1
        np.testing.assert_array_equal(model.fit(X, y).predict_proba(X), whole.predict_proba(X))

    def test_trials_on_disk_give_what_trials_in_memory_give(self, fitted, tmp_path):
        X, y = waves()
        store = zarr.create_array(tmp_path / "X.zarr", shape=X.shape, chunks=(24, *X.shape[1:]), dtype=X.dtype)
        store[:] = X
        from_disk = clone(fitted).fit(store, y)
        np.testing.assert_array_equal(from_disk.predict_proba(store), fitted.predict_proba(X))

    def test_channels_may_be_more_than_published(self, tokenizer):
        X, y = waves(8, n_channels=20)
        model = classifier(pretrained=tokenizer, max_epochs=1).fit(X, y)
        assert model.net_.module_.max_chans == 20

    def test_options_are_searched_by_name_and_cross_validated(self, tokenizer):
        X, y = waves(16)
        model = classifier(pretrained=FrozenEstimator(tokenizer), max_epochs=1)
        model.set_params(options__clip_norm=1.0, encoder__depth=2)
        assert model.get_params()["encoder__depth"] == 2
        assert cross_val_score(model, X, y, cv=2).shape == (2,)

    @pytest.mark.parametrize("loss", ["bce", "focal"])
    def test_losses_for_two_classes(self, tokenizer, loss):
        X, y = waves(12)
        model = classifier(pretrained=tokenizer, loss=loss, max_epochs=1).fit(X, y)
        assert model.net_.module_.class_loss.kind == loss
        with pytest.raises(UsageError, match="tells two classes apart, here are 3"):
            classifier(pretrained=tokenizer, loss=loss, max_epochs=1).fit(X, np.arange(12) % 3)


class TestLosses:
    def test_they_are_the_published_ones_on_the_difference(self):
        rng = torch.Generator().manual_seed(0)
        outputs, y = torch.randn(9, 2, generator=rng), torch.arange(9) % 2
        one = outputs[:, 1] - outputs[:, 0]
        np.testing.assert_allclose(TokenClassLoss("focal")(outputs, y).mean(), focal_loss(one, y))
        wanted = torch.nn.functional.softplus(torch.where(y == 1, -1, 1) * one)  # minus the logarithm of p
        np.testing.assert_allclose(TokenClassLoss("bce")(outputs, y), wanted, rtol=1e-6)
        log_p = outputs.log_softmax(dim=1)
        wanted = -(0.9 * log_p[torch.arange(len(y)), y] + 0.1 * log_p.mean(dim=1)).mean()
        np.testing.assert_allclose(TokenClassLoss("cross_entropy")(outputs, y).mean(), wanted, rtol=1e-6)
        # without smoothing the cross-entropy of two outputs is the binary one of their difference
        smooth = TokenClassLoss("cross_entropy", smoothing=0.0)(outputs, y)
        np.testing.assert_allclose(smooth, TokenClassLoss("bce")(outputs, y), rtol=1e-5)

    def test_extreme_logits_have_finite_losses_and_gradients(self):
        for kind in ("cross_entropy", "bce", "focal"):
            outputs = torch.tensor([[0.0, 500.0], [500.0, 0.0]], requires_grad=True)
            loss = TokenClassLoss(kind)(outputs, torch.tensor([0, 1]))
            loss.sum().backward()
            assert torch.isfinite(loss).all()
            assert torch.isfinite(outputs.grad).all()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"kind": "hinge"}, "loss must be one of"),
            ({"kind": "bce", "smoothing": 2}, "label_smoothing must lie between 0 and 1, got 2"),
            ({"kind": "focal", "alpha": "x"}, "focal_alpha must lie"),
            ({"kind": "focal", "gamma": -1}, "focal_gamma must be a number not below 0"),
        ],
    )
    def test_wrong_options_are_named(self, options, message):
        with pytest.raises(UsageError, match=message):
            TokenClassLoss(**options)


class TestRefusals:
    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"mode": "half"}, "mode must be one of 'full', 'probe', got 'half'"),
            ({"encoder": "EEGNet"}, "encoder must be one of"),
            ({"loss": "mse"}, "loss must be one of"),
            ({"mtp_epochs": -1}, "mtp_epochs must be a whole number not below 0"),
            ({"encoder": "TFMBIOT", "mtp_epochs": 1}, "are for encoder='TFMEncoder'"),
            ({"options": {"lr": 1}}, "options set lr, a parameter of its own"),
            ({"options": {"nonsense": 1}}, "options has no nonsense"),
            ({"tokenizer_params": {"nonsense": 1}}, "tokenizer_params has no nonsense"),
            ({"encoder_params": {"n_codes": 5}}, "encoder_params set n_codes"),
            ({"sfreq": None}, "needs the sampling rate of the signals: pass sfreq="),
            ({"pretrained": 3}, "pretrained must be a fitted TFMTokenizer, TFMEmbedder or TFMClassifier"),
            ({"pretrained": TFMTokenizer()}, "is not fitted; scikit-learn's clone"),
        ],
    )
    def test_wrong_parameters_are_named(self, params, message):
        with pytest.raises(UsageError, match=message):
            classifier(**params).fit(*waves(8))

    def test_a_pretrained_tokenizer_takes_no_parameters(self, tokenizer):
        with pytest.raises(UsageError, match="leave them out with pretrained="):
            classifier(pretrained=tokenizer, tokenizer_params={"n_codes": 4}).fit(*waves(8))

    def test_windows_over_the_cap_of_positions_are_refused(self, tokenizer):
        X = np.random.default_rng(0).standard_normal((4, 1, 200 * 502)).astype(np.float32)
        with pytest.raises((InputError, UsageError), match="at most 1000 frames, got 1003"):
            classifier(pretrained=tokenizer, max_epochs=1).fit(X, np.arange(4) % 2)

    def test_targets_are_counted_before_anything_is_learned(self):
        with pytest.raises(InputError, match="got 8 trials and 7 targets"):
            classifier().fit(waves(8)[0], np.arange(7) % 2)
        with pytest.raises(InputError, match="one class only"):
            classifier(max_epochs=1).fit(waves(8)[0], np.zeros(8))

    def test_other_channels_are_refused_by_name(self):
        X, y = waves(8)
        X = X * 1e-5

        def epochs(names, sfreq=200.0, X=X):
            return mne.EpochsArray(X, mne.create_info(names, sfreq, "eeg"), verbose=False)

        model = classifier(max_epochs=1, sfreq=None).fit(epochs(["C3", "C4"]), y)
        with pytest.raises(ChannelError, match="lacking C4, unknown Cz"):
            model.predict(epochs(["C3", "Cz"]))
        with pytest.raises(ChannelError, match="expected 2 channels"):
            model.predict(X[:, :1])
        np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(epochs(["C3", "C4"])))
        folds = [epochs(["C3", "C4"])[i] for i in range(3)]  # what scikit-learn makes of Epochs
        np.testing.assert_array_equal(model.predict_proba(folds), model.predict_proba(X[:3]))
        fast = epochs(["C3", "C4"], 400.0, np.repeat(X, 2, axis=2))
        assert model.predict(fast).shape == (8,)  # resampled by the tokenizer


class TestKeeping:
    @pytest.mark.parametrize("encoder", ["TFMEncoder", "TFMBIOT"])
    def test_save_and_load(self, encoder, tokenizer, tmp_path):
        X, y = waves(12)
        small = {} if encoder == "TFMEncoder" else {"emb_size": 16, "n_heads": 2, "depth": 1}
        labels = np.array(["rest", "wave"])[y]
        model = classifier(pretrained=tokenizer, encoder=encoder, encoder_params=small, max_epochs=1).fit(X, labels)
        folder = model.save_pretrained(tmp_path / "model", licence="mit", scores={"accuracy": 0.5})
        back = TFMClassifier.from_pretrained(folder, device="cpu")
        np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))
        assert back.predict(X).tolist() == model.predict(X).tolist()
        assert back.get_params()["max_epochs"] == 1
        assert not hasattr(back, "trained_on_")
        model.save_pretrained(folder, trained_on=["S1"], licence="mit")
        assert TFMClassifier.from_pretrained(folder).trained_on_["subjects"] == ["S1"]
        card = (folder / "README.md").read_text()
        assert "neurosig.models.TFMClassifier.from_pretrained" in card
        assert "classes: rest, wave" in card
        assert "# Its tokenizer" in card

    def test_whom_the_pretrained_parts_have_seen_it_has_seen(self, tokenizer, tmp_path):
        earlier = clone(tokenizer).fit(waves()[0])
        earlier.trained_on_ = as_trained_on({"subjects": ["ann"], "dataset": "lab"})
        first = classifier(pretrained=earlier, max_epochs=1).fit(*waves())
        folder = first.save_pretrained(tmp_path / "first")
        second = classifier(pretrained=str(folder), max_epochs=1).fit(*waves())
        for model in (first, second):
            told = list(layers_of(model.trained_on_))
            assert told[-1]["subjects"] == ["ann"] and None in told  # whose these arrays are is not known

    def test_a_rate_is_not_taken_from_the_tokenizer(self, tokenizer):
        with pytest.raises(UsageError, match="TFMClassifier needs the sampling rate of the signals: pass sfreq="):
            classifier(pretrained=tokenizer, sfreq=None).fit(*waves())

    def test_a_fresh_process_decides_alike(self, fitted, tmp_path):
        X, _ = waves()
        fitted.save_pretrained(tmp_path / "model")
        np.save(tmp_path / "X.npy", X)
        np.save(tmp_path / "expected.npy", fitted.predict_proba(X))
        code = (
            "import numpy as np; from neurosig.models import TFMClassifier;"
            "m = TFMClassifier.from_pretrained('model', device='cpu');"
            "np.testing.assert_array_equal(m.predict_proba(np.load('X.npy')), np.load('expected.npy'))"
        )
        done = lives.python(code, cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    def test_training_starts_from_folders(self, fitted, tokenizer, tmp_path):
        fitted.save_pretrained(tmp_path / "classifier")
        tokenizer.save_pretrained(tmp_path / "tokenizer")
        X, y = waves(8)
        for folder in ("classifier", "tokenizer"):
            model = classifier(pretrained=str(tmp_path / folder), max_epochs=1).fit(X, y)
            assert model.tokenizer_.vocabulary_size_ == 16
        with pytest.raises(StorageError, match="is not a saved"):
            classifier(pretrained=str(tmp_path)).fit(X, y)


PLUGINS = [
    (TFMBIOT, {"emb_size": 16, "n_heads": 2, "depth": 1}),
    (TFMLaBraM, {"emb_size": 16, "n_heads": 2, "depth": 2}),
]


@pytest.mark.parametrize(("cls", "sizes"), PLUGINS, ids=lambda value: getattr(value, "__name__", ""))
class TestPlugins:
    def test_shapes_and_gradients(self, cls, sizes):
        module = cls(3, 4, 5, n_codes=7, **sizes)
        tokens = torch.randint(0, 7, (6, 3, 5), generator=torch.Generator().manual_seed(0))
        outputs = module(tokens)
        assert outputs.shape == (6, 4)
        functional.cross_entropy(outputs, torch.arange(6) % 4).backward()
        unused = [name for name, p in module.named_parameters() if p.grad is None]
        assert unused == []
        used = module.token_embedding.weight.grad.abs().sum(dim=1) > 0
        assert used.tolist() == [bool((tokens == code).any()) for code in range(7)]

    def test_tokens_as_floats_are_the_same_tokens(self, cls, sizes):
        module = cls(2, 3, 4, n_codes=9, **sizes).eval()
        tokens = torch.randint(0, 9, (5, 2, 4), generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(module(tokens.float()), module(tokens), rtol=0, atol=0)
        with pytest.raises(InputError, match=r"got signals of torch\.float32"):
            module(tokens + 0.5)
        with pytest.raises(InputError, match="between 0 and 8, got 9"):
            module(torch.full((1, 2, 4), 9))
        with pytest.raises(ChannelError, match="made for 2 channels, got 3"):
            module(torch.zeros(1, 3, 4, dtype=torch.int64))

    def test_order_of_channels_and_frames_matters_and_of_windows_does_not(self, cls, sizes):
        module = cls(2, 3, 4, n_codes=9, **sizes).eval()
        with torch.no_grad():
            module.final_layer.apply(lambda layer: hasattr(layer, "weight") and layer.weight.normal_())
            tokens = torch.randint(0, 9, (5, 2, 4), generator=torch.Generator().manual_seed(2))
            found = module(tokens)
            torch.testing.assert_close(module(tokens.flip(0)), found.flip(0))
            for axis in (1, 2):
                assert not torch.allclose(module(tokens.flip(axis)), found, atol=1e-4)

    def test_net_classifier_trains_it_on_tokens(self, cls, sizes):
        rng = np.random.default_rng(0)
        y = np.arange(40) % 2
        tokens = rng.integers(0, 6, (40, 2, 4)) + 6 * y[:, None, None]  # each class has words of its own
        net = NetClassifier(cls.__name__, {"n_codes": 12, **sizes}, scale=None, max_epochs=12, lr=0.01, batch_size=10,
                            validation=None, random_state=0, device="cpu")  # fmt: skip
        assert net.fit(tokens, y).score(tokens, y) == 1.0
        assert net.history_[0]["train_loss"] > net.history_[-1]["train_loss"]

    def test_signals_are_decided_through_tokens(self, cls, sizes, tokenizer):
        X, y = waves(12)
        model = classifier(pretrained=tokenizer, encoder=cls.__name__, encoder_params=sizes, max_epochs=1).fit(X, y)
        assert type(model.net_.module_) is cls
        assert model.predict_proba(X).shape == (12, 2)
        with pytest.raises(UsageError, match=r"gives encoder=.* its tokenizer only"):
            classifier(pretrained=model, encoder=cls.__name__).fit(X, y)


def same_weights(plugin, whole, skip):
    """Weights of braindecode's network in the plug-in, all but those of the embedding that is replaced."""
    state = plugin.state_dict()
    shared = {name.removeprefix("encoder."): value for name, value in whole.state_dict().items()}
    state |= {name: shared[name] for name in state if name in shared and name not in skip}
    plugin.load_state_dict(state)
    assert set(state) - set(shared) == {"token_embedding.weight"}


def test_labram_with_its_own_patches_as_words_is_labram():
    from braindecode.models import Labram

    whole = Labram(n_times=160, n_chans=2, n_outputs=3, patch_size=40, num_layers=2, num_heads=4).eval()
    X = torch.randn(5, 2, 160, generator=torch.Generator().manual_seed(0))
    plugin = TFMLaBraM(2, 3, 4, ch_names=["C4", "CZ"], n_codes=40, emb_size=40, n_heads=4, depth=2).eval()
    same_weights(plugin, whole, {"temporal_embedding"})
    with torch.no_grad():
        for module in (whole, plugin):  # LaBraM starts with a last layer that is nearly zero
            torch.nn.init.normal_(module.final_layer.weight, generator=torch.Generator().manual_seed(1))
        plugin.temporal_embedding.copy_(whole.temporal_embedding[:, :4])
        plugin.token_embedding.weight.copy_(whole.patch_embed(X).flatten(0, 1))
        found = plugin(torch.arange(40).reshape(5, 2, 4))
        torch.testing.assert_close(found, whole(X, ch_names=["C4", "CZ"]), atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:A window was not provided")  # braindecode does not give one
def test_biot_with_its_own_patches_as_words_is_biot():
    from braindecode.models import BIOT

    whole = BIOT(embed_dim=16, num_heads=2, num_layers=2, n_chans=3, n_outputs=4, n_times=500, sfreq=200).eval()
    X = torch.randn(5, 3, 500, generator=torch.Generator().manual_seed(0))
    plugin = TFMBIOT(3, 4, 4, n_codes=60, emb_size=16, n_heads=2, depth=2).eval()
    same_weights(plugin, whole, set())
    with torch.no_grad():
        words = [whole.encoder.patch_embedding(whole.encoder.stft(X[:, i : i + 1])) for i in range(3)]
        plugin.token_embedding.weight.copy_(torch.stack(words, dim=1).flatten(0, 2))
        found = plugin(torch.arange(60).reshape(5, 3, 4))
        torch.testing.assert_close(found, whole(X), atol=1e-5, rtol=1e-5)


def test_labram_knows_channels_by_name():
    sizes = {"emb_size": 16, "n_heads": 2, "depth": 1}
    module = TFMLaBraM(2, 3, 4, ch_names=["C4", "cz"], n_codes=9, **sizes).eval()
    other = TFMLaBraM(2, 3, 4, ch_names=["CZ", "C4"], n_codes=9, **sizes).eval()
    other.load_state_dict(module.state_dict())
    tokens = torch.randint(0, 9, (5, 2, 4), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(other(tokens.flip(1)), module(tokens))
    with pytest.raises(ChannelError, match="LaBraM knows no channel E7"):
        TFMLaBraM(2, 3, 4, ch_names=["C4", "E7"], **sizes)
    with pytest.raises(ChannelError, match="a name for each of 2 channels, got 1"):
        TFMLaBraM(2, 3, 4, ch_names=["C4"], **sizes)


def test_net_classifier_takes_the_encoder_on_tokens():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    tokens = rng.integers(0, 6, (40, 2, 4)) + 6 * y[:, None, None]
    params = {"n_codes": 12, "emb_size": 16, "n_heads": 2, "depth": 1}
    net = NetClassifier("TFMEncoder", params, scale=None, max_epochs=12, lr=0.01, batch_size=10, validation=None,
                        random_state=0, device="cpu").fit(tokens, y)  # fmt: skip
    assert net.score(tokens, y) == 1.0
    with torch.no_grad():
        wanted = net.module_(torch.from_numpy(tokens))
    np.testing.assert_array_equal(net.decision_function(tokens), (wanted[:, 1] - wanted[:, 0]).numpy())


def _dataset(X, y, sfreq=200.0, names=("C3", "C4"), name="mine"):
    people = pd.DataFrame({"subject": [str(i % 4) for i in range(len(X))], "session": "0", "run": "0"})
    return SignalDataset(X, y, people, SignalSpec("eeg", names, sfreq=sfreq, unit="uV"), name=name)


def test_a_dataset_brings_its_labels_rate_and_people(tokenizer):
    X, y = waves()
    states = np.array(["rest", "task"])[y]
    given = classifier(pretrained=tokenizer, sfreq=None, validation=0.5).fit(_dataset(X, states))
    people = np.arange(len(X)) % 4
    same = classifier(pretrained=tokenizer, validation=0.5).fit(X, states, groups=people)
    np.testing.assert_array_equal(given.predict_proba(_dataset(X, None)), same.predict_proba(X))
    assert given.trained_on_["subjects"] == ["0", "1", "2", "3"] and given.trained_on_["dataset"] == "mine"
    assert not hasattr(same, "trained_on_")
    half = _dataset(X[:, :, ::2], None, sfreq=100.0)  # of the rate that it tells
    assert given.predict(half).shape == (len(X),)
    with pytest.raises(ChannelError, match="fitted on"):
        given.predict(_dataset(X, None, names=("C3", "Pz")))
    with pytest.raises(InputError, match="the dataset holds none"):
        classifier(pretrained=tokenizer).fit(_dataset(X, None))


def test_a_bare_tokenizer_in_a_folder_is_told_to_be_no_more(tokenizer, tmp_path, caplog):
    folder = tokenizer.save_pretrained(tmp_path / "tokenizer")
    classifier(pretrained=folder).fit(*waves())
    assert "holds a tokenizer alone: the encoder starts at random" in caplog.text
    rvq = NeuroRVQTokenizer(**NeuroRVQTokenizer._get_test_params()).fit(waves()[0] * 1e-6)
    other = rvq.save_pretrained(tmp_path / "other")
    with pytest.raises(StorageError, match="holds a NeuroRVQTokenizer; TFMClassifier starts from a TFMTokenizer"):
        classifier(pretrained=other).fit(*waves())
