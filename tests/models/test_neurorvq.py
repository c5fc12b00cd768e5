"""NeuroRVQ's foundation model as estimators: masked pretraining, embeddings, fine-tuning in three ways."""

import lives
import mne
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_score

from neurosig.core.errors import ChannelError, ChecksumError, InputError, StorageError, UsageError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.core.trained_on import layers_of
from neurosig.models import NetClassifier, NeuroRVQClassifier, NeuroRVQEmbedder, NeuroRVQEncoder
from neurosig.tokenizers import NeuroRVQTokenizer
from neurosig.training.checkpoint import Checkpoint
from neurosig.training.schedules import warmup_linear

torch.set_num_threads(1)  # sums are those of another process

NAMES = ["C3", "Cz", "C4"]
SIGNALS = {"unit": "uV", "sfreq": 200.0, "ch_names": NAMES, "device": "cpu", "random_state": 0}
SMALL = {"patch_size": 40, "depth": 1, "n_heads": 2, "options": {"n_filters": 2, "n_groups": 1}}
CODES = {"n_levels": 2, "n_codes": 16, "code_dim": 8, "decoder_depth": 1, "max_epochs": 1}


def _windows(n=12, n_channels=3, n_times=200, seed=0):
    """Microvolts; windows of odd number swing at 20 Hz, the others at 10 Hz."""
    rng = np.random.default_rng(seed)
    times, freq = np.arange(n_times) / 200, np.where(np.arange(n) % 2, 20.0, 10.0)[:, None, None]
    waves = np.sin(2 * np.pi * freq * times + 6 * rng.random((n, n_channels, 1)))
    return (20 * waves + 3 * rng.standard_normal((n, n_channels, n_times))).astype(np.float32)


def _epochs(X, names=NAMES):
    return mne.EpochsArray(X * 1e-6, mne.create_info(list(names), 200.0, "eeg"), verbose=False)


def _embedder(tokenizer=None, **options):
    return NeuroRVQEmbedder(tokenizer, **{**SIGNALS, **SMALL, "max_epochs": 2, **options})


def _classifier(pretrained=None, **options):
    return NeuroRVQClassifier(pretrained, **{**SIGNALS, **SMALL, "max_epochs": 2, **options})


def _same_weights(one, two):
    state = two.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


@pytest.fixture(scope="module")
def tokenizer():
    return NeuroRVQTokenizer(**SIGNALS, **SMALL, **CODES).fit(_windows())


@pytest.fixture(scope="module")
def embedder(tokenizer):
    return _embedder(tokenizer).fit(_windows())


# pretraining --------------------------------------------------------------------------------------------------------


def test_the_masked_loss_goes_down_and_the_same_seed_gives_the_same_bits(tokenizer):
    X = _windows(24)
    before = {name: value.clone() for name, value in tokenizer.module_.state_dict().items()}
    options = {"max_epochs": 14, "batch_size": 8, "lr": 1e-2, "validation": 0.25}
    one, two = (_embedder(tokenizer, **options).fit(X) for _ in range(2))
    first, last = one.history_[0], one.history_[-1]
    assert {"train_masked", "train_complement", "valid_loss"} <= set(first)
    assert abs(first["train_masked"] - np.log(16)) < 0.3  # at first all codes are alike
    assert last["train_loss"] < 0.9 * first["train_loss"]
    assert _same_weights(one.module_, two.module_)
    assert all(torch.equal(value, before[name]) for name, value in tokenizer.module_.state_dict().items())
    assert one.tokenizer_ is tokenizer


def test_an_embedding_is_the_mean_over_patches_of_all_scales(embedder):
    X = _windows(seed=1)
    encoder = embedder.module_.encoder
    with torch.no_grad():
        features = encoder.features(torch.from_numpy(X), NAMES).numpy()
    wanted = features.mean(axis=2).transpose(1, 0, 2).reshape(12, -1)
    np.testing.assert_allclose(embedder.transform(X), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(embedder.transform(_epochs(X)), wanted, rtol=1e-4, atol=1e-5)
    assert len(embedder.get_feature_names_out()) == wanted.shape[1] == 40
    embedder.module_.train()
    np.testing.assert_array_equal(embedder.transform(X), embedder.transform(X))


def test_the_tokenizer_may_be_made_here_or_come_from_a_folder(tokenizer, embedder, tmp_path):
    X = _windows()
    from_folder = _embedder(tokenizer.save_pretrained(tmp_path / "tokenizer")).fit(X)
    assert _same_weights(from_folder.module_, embedder.module_)
    given = NeuroRVQTokenizer(**SMALL, **CODES, device="cpu")  # told what the embedder knows, and fitted
    assert _same_weights(_embedder(given).fit(X).module_, embedder.module_)
    assert not given.__sklearn_is_fitted__()
    assert _same_weights(_embedder(tokenizer_params=CODES).fit(X).module_, embedder.module_)
    for wrong, message in (
        ({"tokenizer": tokenizer, "tokenizer_params": CODES}, "leave them or tokenizer out"),
        ({"tokenizer": 3}, "tokenizer must be a NeuroRVQTokenizer"),
        ({"tokenizer": tokenizer, "patch_size": 80}, "patches of 40 samples at 200 Hz, this encoder of 80"),
    ):
        with pytest.raises(UsageError, match=message):
            _embedder(**wrong).fit(X)
    with pytest.raises(InputError, match="expected at least 2 in a window, got n_features=1 channel of 1"):
        _embedder(tokenizer, ch_names=["Cz"]).fit(X[:, :1, :40])


def test_what_is_left_open_is_as_the_tokenizer_has_it(tmp_path):
    X = _windows(n_channels=4, n_times=210)
    facts = {**SIGNALS, "ch_names": [*NAMES, "Nose"]}
    other = {**SMALL, **CODES, "on_unknown": "drop", "resample": True, "clip": 50.0, "remainder": "pad"}
    given = {name: facts[name] for name in ("sfreq", "ch_names", "device", "random_state")}
    embedder = NeuroRVQEmbedder(NeuroRVQTokenizer(**facts, **other).fit(X), max_epochs=1, **given).fit(X)
    assert embedder.module_.encoder.config.embed_dim == 10
    folder = embedder.save_pretrained(tmp_path / "embedder")
    read = NeuroRVQEmbedder.from_pretrained(folder)
    np.testing.assert_array_equal(read.transform(X), embedder.transform(X))
    padded = np.concatenate([np.zeros((12, 4, 30), dtype=np.float32), np.clip(X, -50, 50)], axis=2)
    np.testing.assert_array_equal(read.transform(padded), embedder.transform(X))
    classifier = NeuroRVQClassifier(str(folder), max_epochs=1, **given).fit(X, np.arange(12) % 2)
    np.testing.assert_array_equal(classifier.predict_proba(padded), classifier.predict_proba(X))
    strict = NeuroRVQClassifier(str(folder), max_epochs=1, on_unknown="raise", **given)
    with pytest.raises(ChannelError, match="no position for Nose"):
        strict.fit(X, np.arange(12) % 2)


def test_whom_the_tokenizer_has_seen_the_embedder_has_seen(tmp_path):
    def of(*people):
        facts = pd.DataFrame({"subject": np.repeat(people, 6), "session": "0", "run": "0"})
        told = SignalSpec("eeg", tuple(NAMES), sfreq=200.0, unit="uV")
        return SignalDataset(_windows(6 * len(people)), None, facts, told, name="lab")

    unsaid = {"unit": None, "sfreq": None, "ch_names": None, "max_epochs": 1}
    earlier = NeuroRVQTokenizer(**{**SIGNALS, **SMALL, **CODES, **unsaid}).fit(of("ann"))
    _embedder(earlier, **unsaid).fit(of("bob", "eve")).save_pretrained(tmp_path / "embedder")
    seen = NeuroRVQEmbedder.from_pretrained(tmp_path / "embedder").trained_on_
    assert seen["subjects"] == ["bob", "eve"]
    assert [layer["subjects"] for layer in seen["before"]] == [["ann"]]
    arrays = _embedder(earlier, max_epochs=1).fit(_windows())
    assert arrays.trained_on_["before"] == [None, earlier.trained_on_]
    fewer = {"max_epochs": 1, "sfreq": 200.0, "ch_names": NAMES, "unit": "uV", "device": "cpu", "random_state": 0}
    tuned = NeuroRVQClassifier(str(tmp_path / "embedder"), **fewer).fit(_windows(), np.arange(12) % 2)
    assert [layer and layer["subjects"] for layer in layers_of(tuned.trained_on_)] == [
        [],
        None,
        ["bob", "eve"],
        ["ann"],
    ]


def test_an_interrupted_pretraining_ends_in_the_same_bits(tokenizer, tmp_path, monkeypatch):
    write = Checkpoint.on_epoch_end

    def write_and_stop(self, net, **kwargs):
        write(self, net, **kwargs)
        if len(self.rows) == 2:
            raise KeyboardInterrupt

    options = {"max_epochs": 4, "batch_size": 4, "validation": 0.25}
    whole = _embedder(tokenizer, **options, checkpoint=tmp_path / "whole").fit(_windows())
    monkeypatch.setattr(Checkpoint, "on_epoch_end", write_and_stop)
    stopped = _embedder(tokenizer, **options, checkpoint=tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(_windows())
    monkeypatch.undo()
    assert not stopped.__sklearn_is_fitted__()
    resumed = stopped.fit(_windows())
    assert len(resumed.history_) == 4
    assert _same_weights(resumed.module_, whole.module_)


def test_stored_embeddings_are_the_same_in_a_fresh_process(embedder, tmp_path):
    X = _windows(seed=1)
    folder = embedder.save_pretrained(tmp_path / "embedder")
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "embeddings.npy", embedder.transform(X))
    code = (
        "import numpy as np; from neurosig.models import NeuroRVQEmbedder;"
        "e = NeuroRVQEmbedder.from_pretrained('embedder');"
        "np.testing.assert_array_equal(e.transform(np.load('X.npy')), np.load('embeddings.npy'))"
    )
    done = lives.python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "40 numbers a window" in (folder / "README.md").read_text()
    with pytest.raises(StorageError, match="is not a saved tokenizer"):
        NeuroRVQTokenizer.from_pretrained(folder)


def test_other_montages_are_embedded_on_request(tokenizer):
    X = _windows(n_channels=2, seed=1)
    free = _embedder(tokenizer, any_channels=True, max_epochs=1).fit(_windows())
    with torch.no_grad():
        wanted = free.module_.encoder.embed(torch.from_numpy(X), ["O1", "O2"]).numpy()
    np.testing.assert_allclose(free.transform(_epochs(X, ["O1", "O2"])), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(ChannelError, match="no position for Nose"):
        free.transform(_epochs(X, ["O1", "Nose"]))


@pytest.mark.parametrize("kind", ["pt_sd/", "ft_sd/"])
def test_published_weights_are_read_and_given_back(golden_dir, kind, tmp_path):
    with np.load(golden_dir / "neurorvq" / "fm_small.npz", allow_pickle=False) as file:
        golden = dict(file)
    weights = {name.removeprefix(kind): value for name, value in golden.items() if name.startswith(kind)}
    names, X = golden["channels"].tolist(), golden["input"]
    torch.save({name: torch.from_numpy(value) for name, value in weights.items()}, tmp_path / "fm.pt")
    embedder = NeuroRVQEmbedder.from_reference(tmp_path / "fm.pt", **{**SIGNALS, "ch_names": names}, clip=None)
    encoder = NeuroRVQEncoder.from_reference(weights, ch_names=names, n_outputs=None)
    with torch.no_grad():
        np.testing.assert_array_equal(embedder.transform(X), encoder.embed(torch.from_numpy(X)).numpy())
    back = embedder.to_reference()
    assert {name for name in weights if not name.startswith(("fc_norm.", "head."))} == set(back)
    for name, value in back.items():
        np.testing.assert_array_equal(value, weights[name])
    read = NeuroRVQEmbedder.from_pretrained(embedder.save_pretrained(tmp_path / "kept"))
    np.testing.assert_array_equal(read.transform(X), embedder.transform(X))


# classifying --------------------------------------------------------------------------------------------------------


def test_classes_are_told_apart_in_any_unit(tmp_path):
    X, y = _windows(32), np.tile(["slow", "fast"], 16)
    classifier = _classifier(max_epochs=12, lr=1e-2, batch_size=8).fit(X, y)
    assert classifier.score(_windows(20, seed=1), np.tile(["slow", "fast"], 10)) == 1.0
    probabilities = classifier.predict_proba(X)
    np.testing.assert_allclose(classifier.predict_proba(_epochs(X)), probabilities, atol=1e-4)
    volts = _classifier(unit="V", max_epochs=12, lr=1e-2, batch_size=8).fit(X * 1e-6, y)
    np.testing.assert_allclose(volts.predict_proba(X * 1e-6), probabilities, atol=1e-2)
    disk = np.memmap(tmp_path / "X", dtype=np.float32, mode="w+", shape=(32, 3, 210))
    disk[:, :, 10:] = X  # what is no whole patch, the oldest, is left out
    np.testing.assert_array_equal(classifier.predict_proba(disk), probabilities)
    with pytest.raises(ChannelError, match="expected the channels that NeuroRVQClassifier was fitted on"):
        classifier.predict(_epochs(X, ["C3", "Cz", "C6"]))


def test_a_probe_learns_the_classifier_and_full_training_all(embedder):
    X, y = _windows(), np.arange(12) % 2
    start = embedder.module_.encoder.state_dict()

    def moved(mode, **options):
        fitted = _classifier(embedder, mode=mode, **options).fit(X, y)
        assert fitted.net_.pretrained is None
        state = fitted.net_.module_.backbone.state_dict()
        return {name: float((value - start[f"backbone.{name}"]).abs().max()) for name, value in state.items()}

    assert not any(moved("probe").values())
    full = moved("full")
    assert full["pos_embed"] > 0
    assert full["blocks.0.attn.qkv.weight"] > 0
    decayed = moved("layer_decay", layer_decay=0.5, decay_per="block")
    # Adam's steps are as long as the rate: half of it for the last block, a quarter for what lies before
    assert decayed["blocks.0.mlp.fc2.weight"] == pytest.approx(full["blocks.0.mlp.fc2.weight"] / 2, rel=0.1)
    assert decayed["pos_embed"] == pytest.approx(full["pos_embed"] / 4, rel=0.1)


def test_a_classifier_is_kept_in_a_folder_and_read_back_in_a_fresh_process(embedder, tmp_path):
    X, y = _windows(n_times=210), np.tile(["slow", "fast"], 6)
    facts = {name: SIGNALS[name] for name in ("sfreq", "ch_names", "device", "random_state")}
    params = {"max_epochs": 1, "clip": 30.0, "training": {"checkpoint": tmp_path / "states"}}
    model = NeuroRVQClassifier(FrozenEstimator(embedder), mode="probe", **facts, **params).fit(X, y)
    folder = model.save_pretrained(tmp_path / "model", licence="mit", trained_on=["ann"])
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "probabilities.npy", model.predict_proba(X))
    code = (
        "import numpy as np; from neurosig.models import NeuroRVQClassifier;"
        "m = NeuroRVQClassifier.from_pretrained('model');"
        "np.testing.assert_array_equal(m.predict_proba(np.load('X.npy')), np.load('probabilities.npy'))"
    )
    done = lives.python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    back = NeuroRVQClassifier.from_pretrained(folder, device="cpu")
    assert back.classes_.tolist() == ["fast", "slow"]
    np.testing.assert_array_equal(back.predict_proba(_epochs(X)), model.predict_proba(_epochs(X)))
    assert (back.spec_, back.sfreq_, back.trained_on_["subjects"]) == (model.spec_, 200.0, ["ann"])
    with pytest.raises(ChannelError, match="expected the channels that NeuroRVQClassifier was fitted on"):
        back.predict(_epochs(X, ["C3", "Cz", "C6"]))
    card = (folder / "README.md").read_text()
    assert "neurosig.models.NeuroRVQClassifier.from_pretrained" in card
    assert all(
        line in card
        for line in ("classes: fast, slow", "cut off at 30 microvolts", "refused unless at 200 Hz", "license: mit")
    )
    # it stands on its own: what was the embedder's is its own now
    back.set_params(ch_names=NAMES, mode="full").fit(X, y)
    assert not hasattr(back, "trained_on_")
    shapes = {name: value.shape for name, value in model.net_.module_.state_dict().items()}
    assert {name: value.shape for name, value in back.net_.module_.state_dict().items()} == shapes
    for kind, message in ((NeuroRVQEmbedder, "is not a saved embedder"), (NetClassifier, "is not a saved network")):
        with pytest.raises(StorageError, match=message):
            kind.from_pretrained(folder)
    with pytest.raises(UsageError, match="has no parameter 'depht'; did you mean depth"):
        NeuroRVQClassifier.from_pretrained(folder, depht=3)
    config, weights = folder / "config.json", folder / "model.safetensors"
    config.write_text(config.read_text().replace("_divisor", "divided"))
    with pytest.raises(StorageError, match=r"config.json is damaged or of another version: '_divisor'"):
        NeuroRVQClassifier.from_pretrained(folder)
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(ChecksumError, match="altered or damaged"):
        NeuroRVQClassifier.from_pretrained(folder)


def test_rates_fall_tensor_by_tensor_as_published():
    encoder = NeuroRVQEncoder(ch_names=NAMES, n_outputs=2, patch_size=40, depth=2, layer_decay=0.975)
    rates, names = encoder.learning_rates(), list(encoder.published_names())
    assert set(rates) == dict(encoder.named_parameters()).keys() == set(names)
    assert rates["head.weight"] == rates["fc_norm.bias"] == 1.0
    for index in (0, 1, 50, len(names) - 5):
        assert rates[names[index]] == pytest.approx(0.975 ** (len(names) - index))
    assert NeuroRVQEncoder(ch_names=NAMES, n_outputs=2, patch_size=40, depth=1).learning_rates() == {}
    with pytest.raises(UsageError, match="layer_decay must be a factor above 0"):
        NeuroRVQEncoder(ch_names=NAMES, n_outputs=2, patch_size=40, depth=1, layer_decay=1.5)


def test_the_published_schedule_is_followed():
    X, y = _windows(), np.arange(12) % 2
    classifier = _classifier(max_epochs=5).fit(X, y)
    rates = [row["lr"] for row in classifier.net_.history_]
    np.testing.assert_allclose(rates, [5e-4 * warmup_linear(epoch, 5, 1.0) for epoch in range(5)])
    net = NetClassifier("LinearNet", max_epochs=3, schedule="warmup_cosine", warmup=1.0, final_lr=1e-4,
                        betas=(0.5, 0.9), validation=None, random_state=0, batch_size=4)  # fmt: skip
    assert net.fit(X, y).history_[-1]["lr"] < net.history_[0]["lr"]
    with pytest.raises(UsageError, match="warmup must be at most max_epochs=3"):
        net.set_params(warmup=4.0).fit(X, y)


def test_pretrained_weights_pass_through_folds(embedder, tmp_path):
    X, y = _windows(), np.arange(12) % 2
    folder = embedder.save_pretrained(tmp_path / "embedder")
    frozen, stored = _classifier(FrozenEstimator(embedder)), _classifier(str(folder))
    one, two = (clone(one).fit(X, y).predict_proba(X) for one in (frozen, stored))
    np.testing.assert_array_equal(one, two)
    assert np.isfinite(cross_val_score(frozen, X, y, cv=2)).all()
    sized = _classifier(str(folder), depth=5, patch_size=80).fit(X, y)  # the sizes of the embedder hold
    assert len(sized.net_.module_.backbone.blocks) == 1


def test_all_patches_may_be_read_side_by_side(embedder):
    X, y = _windows(), np.arange(12) % 2
    flat = _classifier(embedder, readout="flatten", training={"precision": "bfloat16"}).fit(X, y)
    assert flat.net_.module_.head.in_features == 3 * 5 * 40
    assert flat.set_params(training__ema=0.5).training == {"precision": "bfloat16", "ema": 0.5}
    with pytest.raises(ChannelError, match="expected trials of 200 samples"):
        flat.predict(X[..., :160])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mode": "probe"}, UsageError, "mode='probe' trains the classifier of a pretrained network"),
        ({"mode": "half"}, UsageError, "mode must be one of 'full', 'probe', 'layer_decay'"),
        ({"pretrained": NeuroRVQEmbedder()}, UsageError, "the pretrained embedder is not fitted"),
        ({"pretrained": NetClassifier()}, UsageError, "pretrained must be a fitted NeuroRVQEmbedder"),
        ({"training": {"lr": 1.0}}, UsageError, "training may set .*got lr"),
        ({"unit": None}, UsageError, "NeuroRVQClassifier needs the unit"),
        ({"unit": "T"}, UsageError, "in 'T', which does not convert"),
        ({"sfreq": 250.0}, UsageError, "takes signals at 200 Hz, got 250 Hz"),
        ({"ch_names": ["C3", "Cz", "Nose"]}, ChannelError, "no position for Nose"),
        ({"patch_size": 400}, InputError, "at least one patch, 400 samples"),
    ],
)
def test_what_does_not_fit_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        _classifier(**options).fit(_windows(), np.arange(12) % 2)


def test_a_classifier_takes_a_dataset_with_its_labels():
    X, y = _windows(), np.arange(12) % 2
    people = pd.DataFrame({"subject": [str(i // 4) for i in range(12)], "session": "0", "run": "0"})
    told = SignalSpec("eeg", tuple(NAMES), sfreq=200.0, unit="V")
    dataset = SignalDataset(X * np.float32(1e-6), y, people, told, name="mine")
    bare = {"unit": None, "sfreq": None, "ch_names": None, "validation": 0.4}
    given = _classifier(**bare).fit(dataset)
    same = _classifier(validation=0.4).fit(X, y, groups=people["subject"])
    np.testing.assert_allclose(given.predict_proba(dataset), same.predict_proba(X), atol=1e-4)
    assert given.trained_on_["dataset"] == "mine" and given.classes_.tolist() == [0, 1]
    other = SignalDataset(X, None, people, told.replace(ch_names=("C3", "Cz", "Pz")))
    with pytest.raises(ChannelError, match="fitted on"):
        given.predict(other)
    with pytest.raises(InputError, match="the dataset holds none"):
        _classifier(**bare).fit(SignalDataset(X, None, people, told))


def test_a_folder_of_something_else_is_named(tokenizer, tmp_path):
    folder = tokenizer.save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(StorageError, match=r"holds a NeuroRVQTokenizer; .* pretrain neurorvq-embedder \(with --token"):
        _classifier(folder).fit(_windows(), np.arange(12) % 2)
