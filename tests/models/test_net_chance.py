"""Networks that have learned nothing, that answer NaN, that start from another unit, or run elsewhere than asked."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

from neurosig.core.errors import ChecksumError, InputError, UnitWarning, UsageError
from neurosig.models import NetClassifier, NetRegressor
from neurosig.models.net_chance import guessing_loss, is_chance
from neurosig.training.device import device_in_use

RNG = np.random.default_rng(5)
Y = np.tile([0, 1], 30)
X = RNG.standard_normal((60, 3, 32))
X[Y == 1, 0] += 1
QUICK = {"max_epochs": 3, "random_state": 0, "device": "cpu"}
BLIND = r"LinearNet has learned nothing that carries over"


def linear(**options):
    return NetClassifier("LinearNet", **{**QUICK, "lr": 0.01, **options})


def test_guessing_is_what_a_dummy_reaches():
    codes = RNG.integers(0, 3, 50)
    rows = np.arange(10, 50)
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((40, 1)), codes[rows])
    expected = log_loss(codes[rows], dummy.predict_proba(np.zeros((40, 1))))
    assert guessing_loss(codes, rows) == pytest.approx(expected)
    weight = RNG.uniform(1, 2, 50)
    dummy.fit(np.zeros((40, 1)), codes[rows], weight[rows])
    expected = log_loss(codes[rows], dummy.predict_proba(np.zeros((40, 1))), sample_weight=weight[rows])
    assert guessing_loss(codes, rows, weight) == pytest.approx(expected)
    counts = np.bincount(codes[rows], minlength=3)
    assert guessing_loss(codes, rows, None, 1 / counts) == pytest.approx(np.log(3))  # balanced
    values = RNG.standard_normal((50, 1))
    assert guessing_loss(values, rows, classes=False) == pytest.approx(values[rows].var())


def test_a_network_at_chance_says_so(tmp_path):
    with pytest.warns(ConvergenceWarning, match=BLIND):
        blind = linear(lr=1e-12).fit(X * 0, Y)
    assert blind.guessing_loss_ == pytest.approx(np.log(2), rel=1e-3)
    assert "no better than guessing" in (blind.save_pretrained(tmp_path / "blind") / "README.md").read_text()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learned = linear(max_epochs=10).fit(X, Y)
        assert linear(validation=None, lr=1e-12).fit(X * 0, Y).guessing_loss_ is None
    assert not is_chance(learned.history_[learned.best_epoch_ - 1], learned.guessing_loss_)
    card = (learned.save_pretrained(tmp_path / "learned") / "README.md").read_text()
    assert "loss of guessing on the validation trials 0.693" in card and "no better" not in card
    read = NetClassifier.from_pretrained(tmp_path / "learned")
    assert read.guessing_loss_ == learned.guessing_loss_


def test_a_regression_at_chance_says_so():
    with pytest.warns(ConvergenceWarning, match=BLIND):
        NetRegressor("LinearNet", lr=1e-12, **QUICK).fit(X * 0, RNG.standard_normal(60))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NetRegressor("LinearNet", lr=0.02, **{**QUICK, "max_epochs": 30}).fit(X, X[:, 0].mean(axis=1))


def test_answers_that_are_no_numbers_are_refused():
    for fitted in (linear().fit(X, Y), NetRegressor("LinearNet", **QUICK).fit(X, X[:, 0, 0])):
        assert np.isfinite(fitted.predict(X)).all()
        with torch.no_grad():
            next(fitted.module_.parameters()).fill_(float("nan"))
        with pytest.raises(InputError, match="LinearNet answers 60 of 60 windows with numbers that are not finite"):
            fitted.predict(X)


def test_damaged_weights_are_refused(tmp_path):
    folder = linear().fit(X, Y).save_pretrained(tmp_path / "network")
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-4:] = np.float32(np.nan).tobytes()
    path.write_bytes(content)
    with pytest.raises(ChecksumError, match="altered or damaged"):
        NetClassifier.from_pretrained(folder)


def test_starting_from_another_unit_is_told():
    source = linear().fit(X * 10, Y)
    with pytest.warns(UnitWarning, match=r"1e\+06 times smaller than those that the pretrained network was fitted on"):
        linear(pretrained=source).fit(X * 1e-5, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnitWarning)
        linear(pretrained=source).fit(X, Y)


def test_a_parameter_that_does_not_exist_is_no_damage(tmp_path):
    folder = linear().fit(X, Y).save_pretrained(tmp_path / "network")
    with pytest.raises(UsageError, match="no parameter 'devic'; did you mean device"):
        NetClassifier.from_pretrained(folder, devic="cpu")


def test_a_device_that_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("neurosig.training.device.available_devices", lambda: ["cpu"])
    fitted = linear().fit(X, Y)
    expected = fitted.predict_proba(X)
    folder = fitted.save_pretrained(tmp_path / "network")
    with pytest.warns(UserWarning, match="the network runs on cpu: device 'cuda' is not on this machine"):
        read = NetClassifier.from_pretrained(folder, device="cuda")
    with pytest.warns(UserWarning, match="the network runs on cpu: device 'cuda:3' is not on this machine"):
        found = fitted.set_params(device="cuda:3").predict_proba(X)
    np.testing.assert_array_equal(found, expected)
    with warnings.catch_warnings():  # told once
        warnings.simplefilter("error")
        read.predict(X)
        fitted.predict(X)
    with pytest.raises(UsageError, match="'cuda' is not on this machine"):
        linear(device="cuda").fit(X, Y)


def test_a_network_stays_where_it_is_unless_asked(monkeypatch):
    monkeypatch.setattr("neurosig.training.device.available_devices", lambda: ["cpu", "cuda", "cuda:0", "cuda:1"])
    here = torch.device("cuda:1")
    assert device_in_use("auto", here) == here
    assert device_in_use("accelerate", here) == here
    assert device_in_use("cuda", here) == here
    assert device_in_use("cuda:0", here) == torch.device("cuda:0")
    assert device_in_use("cpu", here) == torch.device("cpu")
    with pytest.warns(UserWarning, match="there is no device 'gpu'"):
        assert device_in_use("gpu", here) == here
