"""Network estimators: what they learn from, what they refuse, how they are kept."""

import json
import pickle

import mne
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from torch import nn

from neurosig.core.errors import ChannelError, InputError, StorageError, UsageError
from neurosig.core.persistence import load_pipeline, save_pipeline
from neurosig.models import LinearNet, NetClassifier, NetRegressor
from neurosig.models.net_module import build_module, resolve_module
from neurosig.training.trial_data import signal_sd, validation_split

pytestmark = pytest.mark.filterwarnings("ignore::neurosig.core.compat.CompatibilityWarning")

RNG = np.random.default_rng(0)
Y = np.tile(["feet", "hand", "tongue"], 20)
X = RNG.standard_normal((60, 4, 50)) * 1e-5
X[Y == "hand", 0] += 1e-5
X[Y == "tongue", 1] += 1e-5


class SmallNet(nn.Module):
    """A convolution of 9 taps, batch norm, a linear layer; constrains its weights."""

    def __init__(self, n_chans=None, n_outputs=None, n_times=None, width=3):
        super().__init__()
        self.conv = nn.Conv1d(n_chans, width, 9)
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.3)
        self.last = nn.Linear(width * (n_times - 8), n_outputs)

    def forward(self, x):
        return self.last(self.drop(torch.relu(self.norm(self.conv(x)))).flatten(1))

    def project_(self):
        self.last.weight.clamp_(-0.01, 0.01)


class Overflowing(SmallNet):
    """Gives inf from the second training batch on."""

    def __init__(self, n_chans=None, n_outputs=None, n_times=None):
        super().__init__(n_chans, n_outputs, n_times)
        self.steps = 0

    def forward(self, x):
        self.steps += self.training
        return super().forward(x) * (1.0 if self.steps < 2 else np.inf)


def linear(**options):
    return NetClassifier("LinearNet", **{"max_epochs": 15, "lr": 0.01, "random_state": 0, "device": "cpu", **options})


def small(**options):
    return NetClassifier(SmallNet, **{"max_epochs": 4, "lr": 0.01, "random_state": 0, "device": "cpu", **options})


def same_weights(first, second):
    a, b = first.module_.state_dict(), second.module_.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_learns_what_is_there():
    fitted = linear(max_epochs=40).fit(X, Y)
    assert fitted.score(X, Y) > 0.95
    assert list(fitted.classes_) == ["feet", "hand", "tongue"]
    assert fitted.n_parameters_ == 3 * (200 + 1)
    assert [row["epoch"] for row in fitted.history_] == list(range(1, len(fitted.history_) + 1))
    best = min(fitted.history_, key=lambda row: row["valid_loss"])
    assert fitted.best_epoch_ == best["epoch"]


def test_unit_does_not_matter_and_one_number_scales():
    volts, micro = linear().fit(X, Y), linear().fit(X * 1e6, Y)
    np.testing.assert_allclose(volts.predict_proba(X), micro.predict_proba(X * 1e6), rtol=1e-4)
    assert micro.scale_ == pytest.approx(1e6 * volts.scale_, rel=1e-6)
    assert linear(scale=2e-5).fit(X, Y).scale_ == 2e-5
    assert linear(scale=None).fit(X, Y).scale_ == 1.0
    with pytest.raises(UsageError, match="scale must be"):
        linear(scale="robust").fit(X, Y)


def test_scale_is_of_the_training_part_only():
    fitted = linear().fit(X, Y)
    codes = np.unique(Y, return_inverse=True)[1]
    train, valid = validation_split(codes, np.arange(60), None, 0.2, classes=True, random_state=fitted.seed_)
    assert len(valid) == 12
    assert fitted.scale_ == pytest.approx(X[train].std(), rel=1e-6)
    louder = X.copy()
    louder[valid] *= 100
    assert linear().fit(louder, Y).scale_ == fitted.scale_
    weight = np.arange(60) % 4
    assert signal_sd(X, np.arange(60), weight) == pytest.approx(X.repeat(weight, axis=0).std(), rel=1e-6)


def test_groups_stay_on_one_side():
    codes, groups = np.unique(Y, return_inverse=True)[1], np.arange(60) // 6
    for seed in range(5):
        train, valid = validation_split(codes, np.arange(60), groups, 0.2, classes=True, random_state=seed)
        assert not set(groups[train]) & set(groups[valid])
        assert sorted([*train, *valid]) == list(range(60))
        assert len(valid) == 12
        assert set(codes[train]) == set(codes[valid]) == {0, 1, 2}
    train, valid = validation_split(RNG.random(60), np.arange(60), groups, 0.2, classes=False, random_state=0)
    assert not set(groups[train]) & set(groups[valid])


def test_too_few_to_validate_is_said():
    with pytest.warns(UserWarning, match="no validation part: 1 groups are too few"):
        fitted = linear(max_epochs=2).fit(X[:4], ["a", "b", "a", "b"], groups=[1, 1, 1, 1])
    assert len(fitted.history_) == 2
    assert "valid_loss" not in fitted.history_[0]


def test_best_weights_are_restored():
    chance = np.random.default_rng(1).permutation(Y)  # nothing to learn: the validation loss soon rises
    options = {"lr": 0.05, "patience": None, "max_norm": False}
    fitted = small(max_epochs=12, **options).fit(X, chance)
    short = small(max_epochs=fitted.best_epoch_, stopping=None, **options).fit(X, chance)
    assert fitted.best_epoch_ < 12
    assert same_weights(fitted, short)


def test_same_seed_same_bits_and_nobody_else_is_disturbed():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = small().fit(X, Y), small().fit(X, Y)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert same_weights(first, second)
    assert not same_weights(first, small(random_state=1).fit(X, Y))
    state = {name: value.clone() for name, value in first.module_.state_dict().items()}
    np.testing.assert_array_equal(first.predict_proba(X), first.predict_proba(X))
    assert all(torch.equal(value, first.module_.state_dict()[name]) for name, value in state.items())
    assert not first.module_.training


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "cosine"},
        {"schedule": "one_cycle"},
        {"schedule": "plateau"},
        {"clip_norm": 0.1},
        {"precision": "bfloat16"},
        {"ema": 0.9},
        {"class_weight": "balanced"},
        {"class_weight": {"feet": 3.0}},
        {"stopping": "comparison"},
        {"optimizer": "SGD"},
        {"augmentation": ["TimeReverse", {"name": "Mixup", "alpha": 0.3}]},
        {"validation": None},
    ],
    ids=str,
)
def test_every_option_trains(options):
    fitted = small(**options).fit(X, Y)
    assert np.isfinite(fitted.predict_proba(X)).all()
    assert fitted.history_[-1]["train_loss"] < fitted.history_[0]["train_loss"]


def test_schedules_have_their_course():
    rates = {
        name: [row["lr"] for row in linear(schedule=name, max_epochs=8, validation=None).fit(X, Y).history_]
        for name in ("cosine", "one_cycle", None)
    }
    expected = [0.01 * (1 + np.cos(np.pi * epoch / 8)) / 2 for epoch in range(8)]
    np.testing.assert_allclose(rates["cosine"], expected, rtol=1e-6)
    assert set(rates[None]) == {0.01}
    assert max(rates["one_cycle"]) > 10 * rates["one_cycle"][-1]


def test_constraint_is_kept_with_and_without_average():
    for options in ({}, {"ema": 0.5}):
        assert small(**options).fit(X, Y).module_.last.weight.abs().max() <= 0.01
    assert small(max_norm=False).fit(X, Y).module_.last.weight.abs().max() > 0.01


def test_balanced_weights_are_those_of_repeated_trials():
    kept = np.flatnonzero((Y != "tongue") | (np.arange(60) < 30))
    options = {"validation": None, "batch_size": 512, "optimizer": "SGD", "scale": 1e-5}
    weights = np.where(Y[kept] == "tongue", 2.0, 1.0)
    balanced = linear(class_weight="balanced", **options).fit(X[kept], Y[kept])
    weighted = linear(**options).fit(X[kept], Y[kept], sample_weight=weights)
    np.testing.assert_allclose(balanced.predict_proba(X), weighted.predict_proba(X), rtol=1e-4)


@pytest.mark.parametrize("vote", ["mean", "majority"])
def test_windows_vote(vote):
    fitted = small(sfreq=50, window=0.4, window_step=0.2, vote=vote).fit(X, Y, groups=np.arange(60) // 2)
    assert (fitted.window_, fitted.window_step_, fitted.n_times_) == (20, 10, 50)
    cut = np.stack([X[:, :, start : start + 20] for start in (0, 10, 20, 30)], axis=1)
    with torch.no_grad():
        outputs = fitted.module_(torch.tensor(cut.reshape(240, 4, 20) / fitted.scale_, dtype=torch.float32))
    windows = outputs.softmax(1).numpy().reshape(60, 4, 3)
    expected = windows.mean(axis=1)
    if vote == "majority":
        expected = (np.eye(3)[windows.argmax(2)].sum(axis=1) + expected) / 5
    np.testing.assert_allclose(fitted.predict_proba(X), expected, rtol=1e-4)
    np.testing.assert_array_equal(fitted.decision_function(X).argmax(1), expected.argmax(1))


def test_what_is_wrong_is_said_plainly():
    with pytest.raises(UsageError, match=r"window is in seconds.*pass sfreq"):
        linear(window=0.1).fit(X, Y)
    with pytest.raises(InputError, match="100 samples at 50 Hz"):
        linear(window=2, sfreq=50).fit(X, Y)
    with pytest.raises(UsageError, match=r"did you mean .*LinearNet"):
        NetClassifier("LinerNet").fit(X, Y)
    with pytest.raises(UsageError, match=r"SmallNet has no option 'widht'.*width"):
        small(module_params={"widht": 2}).fit(X, Y)
    with pytest.raises(InputError, match=r"SmallNet.*at least 9 samples, got 5"):
        small().fit(X[:, :, :5], Y)
    with pytest.raises(InputError, match="2 classes, got one class"):
        linear().fit(X, np.zeros(60))
    with pytest.raises(UsageError, match="device 'cuda:77' is not on this machine, which has cpu"):
        linear(device="cuda:77").fit(X, Y)
    with pytest.raises(ChannelError, match="expected 4 channels"):
        linear().fit(X, Y).predict(X[:, :3])
    with pytest.raises(ChannelError, match="trials of 50 samples"):
        linear().fit(X, Y).predict(X[:, :, :40])
    with pytest.raises(InputError, match=r"NaN in 60 of 60 trials"):
        linear().fit(X * np.nan, Y)
    with pytest.raises(InputError, match=r"loss is not finite in epoch 2, training batch 1: try a smaller lr"):
        NetClassifier(Overflowing, max_epochs=4, validation=None, random_state=0, device="cpu").fit(X, Y)
    for name, value in {"lr": 0, "max_epochs": 0, "optimizer": "Adamm", "schedule": "linear", "ema": 1.5}.items():
        with pytest.raises(UsageError, match=name):
            linear(**{name: value}).fit(X, Y)


def test_braindecode_by_name_and_what_it_needs():
    assert resolve_module("Deep4Net").__module__.startswith("braindecode")
    with pytest.raises(UsageError, match=r"pass sfreq=\.\.\. \(Hz\)"):
        NetClassifier("EEGTCNet", max_epochs=1, module_params={}).set_params(module="FBCNet").fit(
            np.tile(X, (1, 1, 10)), Y
        )
    with pytest.raises(InputError, match=r"ShallowFBCSPNet.*at least 99 samples, got 50"):
        NetClassifier("ShallowFBCSPNet").fit(X, Y)
    module = build_module(resolve_module("ShallowFBCSPNet"), None, n_chans=4, n_outputs=2, n_times=99)
    assert module(torch.zeros(3, 4, 99)).shape == (3, 2)


def test_epochs_bring_their_names():
    info = mne.create_info(["C3", "Cz", "C4", "Pz"], 50.0, "eeg")
    epochs = mne.EpochsArray(X, info, verbose=False)
    fitted = linear(window=0.5).fit(epochs, Y)
    assert (fitted.sfreq_, fitted.spec_.ch_names, fitted.window_) == (50.0, ("C3", "Cz", "C4", "Pz"), 25)
    fitted.predict(epochs)
    fold = [epochs[i] for i in range(len(epochs))]  # what scikit-learn's folds make of Epochs
    assert linear(window=0.5).fit(fold, Y).spec_ == fitted.spec_
    np.testing.assert_array_equal(fitted.predict_proba(fold), fitted.predict_proba(epochs))
    with pytest.raises(ChannelError, match="the same in another order"):
        fitted.predict([one.reorder_channels(["Cz", "C3", "C4", "Pz"]) for one in fold])
    with pytest.raises(ChannelError, match="the same in another order"):
        fitted.predict(epochs.copy().reorder_channels(["Cz", "C3", "C4", "Pz"]))
    other = mne.EpochsArray(X, mne.create_info(["C3", "Cz", "C4", "Oz"], 50.0, "eeg"), verbose=False)
    with pytest.raises(ChannelError, match=r"lacking P[zZ], unknown O[zZ]"):
        fitted.predict(other)


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_pretrained_weights_are_where_training_starts(trainable, tmp_path):
    source = small(max_norm=False).fit(X, Y)
    folder = source.save_pretrained(tmp_path / "network")
    two = Y != "feet"
    for pretrained in (folder, FrozenEstimator(source)):
        tuned = clone(small(pretrained=pretrained, trainable=trainable, max_epochs=2)).fit(X[two], Y[two])
        assert tuned.module_.last.out_features == 2
        kept = [torch.equal(v, tuned.module_.state_dict()[n]) for n, v in source.module_.state_dict().items()
                if not n.startswith("last")]  # fmt: skip
        assert all(kept) if trainable == "head" else not all(kept)
    with pytest.raises(ChannelError, match="takes 4 channels and windows of 50 samples, got 4 and 40"):
        small(pretrained=folder).fit(X[:, :, :40], Y)
    with pytest.raises(UsageError, match="FrozenEstimator"):
        clone(small(pretrained=source)).fit(X, Y)
    with pytest.raises(UsageError, match="trainable='head'"):
        small(trainable="head").fit(X, Y)
    with pytest.raises(UsageError, match=r"conv.bias differs; give the module_params"):
        small(pretrained=folder, module_params={"width": 5}).fit(X, Y)
    with pytest.raises(UsageError, match="give the same module"):
        linear(pretrained=FrozenEstimator(source)).fit(X, Y)


def test_warm_start_goes_on():
    fitted = linear(warm_start=True, validation=None, max_epochs=3).fit(X, Y)
    loss = fitted.history_[-1]["train_loss"]
    assert fitted.fit(X, Y).history_[-1]["train_loss"] < loss


def test_kept_in_every_form(tmp_path):
    info = mne.create_info(["C3", "Cz", "C4", "Pz"], 50.0, "eeg")
    fitted = NetClassifier("ShallowFBCSPNet", {"filter_time_length": 5, "pool_time_length": 9, "pool_time_stride": 3},
                           max_epochs=1, random_state=0, device="cpu", info=info).fit(X, Y)  # fmt: skip
    expected = fitted.predict_proba(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X), expected)
    pipeline = linear().fit(X, Y)
    loaded = load_pipeline(save_pipeline(make_pipeline(pipeline), tmp_path / "pipeline"))
    np.testing.assert_array_equal(loaded.predict_proba(X), pipeline.predict_proba(X))
    folder = fitted.save_pretrained(tmp_path / "network", scores={"accuracy": "0.71 ± 0.02"})
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    read = NetClassifier.from_pretrained(folder)
    np.testing.assert_array_equal(read.predict_proba(X), expected)
    assert read.spec_ == fitted.spec_
    assert "accuracy: 0.71 ± 0.02" in (folder / "README.md").read_text()
    with pytest.raises(StorageError, match="holds a NetClassifier"):
        NetRegressor.from_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["params"]["module_params"]["filter_time_length"] = 7
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(StorageError, match="do not fit"):
        NetClassifier.from_pretrained(folder)


def test_in_scikit_learns_tools():
    search = GridSearchCV(make_pipeline(linear(max_epochs=5)), {"netclassifier__lr": [0.001, 0.02]}, cv=2).fit(X, Y)
    assert search.best_params_ == {"netclassifier__lr": 0.02}
    assert cross_validate(linear(), X, Y, cv=3)["test_score"].mean() > 0.6


def test_regressor():
    y = 1000 + 50 * X[:, 0].mean(axis=1) / 1e-6
    fitted = NetRegressor(LinearNet, max_epochs=60, lr=0.01, validation=None, random_state=0).fit(X, y)
    assert fitted.score(X, y) > 0.9
    assert fitted.target_mean_ == pytest.approx(y.mean())
    with pytest.raises(UsageError, match="comparison"):
        NetRegressor(LinearNet, stopping="comparison").fit(X, y)
