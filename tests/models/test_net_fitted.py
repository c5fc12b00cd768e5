"""A fitted network stays what it is: parameters set later, fits that fail, what it was told of the signals."""

import copy
import logging
import pickle

import mne
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from torch import nn

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.signals import SignalSpec
from neurosig.models import NetClassifier, NetRegressor, PhaseSPDNetClassifier
from neurosig.models.net_module import build_module, resolve_module

RNG = np.random.default_rng(0)
Y = np.tile(["feet", "hand"], 10)
X = RNG.standard_normal((20, 4, 64)) * 1e-5
QUICK = {"max_epochs": 1, "validation": None, "random_state": 0, "device": "cpu"}
SPEC = SignalSpec("eeg", ("C3", "Cz", "C4", "Pz"), sfreq=100.0, unit="uV")


class Plain(nn.Module):
    """One layer behind as many filters as asked for; says itself what helps against short windows."""

    min_n_times = 10
    advice = "record for longer"

    def __init__(self, n_chans=None, n_outputs=None, n_times=None, width=3):
        super().__init__()
        self.first = nn.Linear(n_chans * n_times, width)
        self.last = nn.Linear(width, n_outputs)

    def forward(self, x):
        return self.last(self.first(x.flatten(1)))


def plain(**options):
    return NetClassifier(Plain, **QUICK).set_params(**options)


def copies(fitted, folder):
    yield copy.deepcopy(fitted)
    yield pickle.loads(pickle.dumps(fitted))
    yield NetClassifier.from_pretrained(fitted.save_pretrained(folder), module=Plain)


def test_parameters_set_after_the_fit_leave_it_alone(tmp_path):
    fitted = plain(module__width=5, sfreq=100.0).fit(X, Y)
    expected = fitted.predict_proba(X), fitted.decision_function(X)
    for number, kept in enumerate([fitted, *copies(fitted, tmp_path / "before")]):
        kept.set_params(module__width=2, window=0.32, window_step=0.1)
        for again in (kept, *copies(kept, tmp_path / f"after{number}")):
            np.testing.assert_array_equal(again.predict_proba(X), expected[0])
            np.testing.assert_array_equal(again.decision_function(X), expected[1])
        kept.set_params(module="LinearNet", module_params=None)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(kept)).predict_proba(X), expected[0])
    assert fitted.fit(X, Y).window_ == 32 and type(fitted.module_).__name__ == "LinearNet"  # the next fit takes them


def test_options_changed_in_place_leave_the_fit_alone():
    options = {"width": 5}
    fitted = NetClassifier(Plain, options, **QUICK).fit(X, Y)
    expected = fitted.predict_proba(X)
    options["width"] = 2
    np.testing.assert_array_equal(copy.deepcopy(fitted).predict_proba(X), expected)


def test_decisions_go_by_the_windows_of_the_fit():
    fitted = plain(window=0.32, sfreq=100.0).fit(X, Y)
    expected = fitted.decision_function(X)
    np.testing.assert_array_equal(fitted.set_params(window=None).decision_function(X), expected)


BAD = [
    {"lr": -1.0},
    {"module__width": "wide"},
    {"window": 9.0, "sfreq": 100.0},
    {"class_weight": {"tongue": 2.0}},
]


@pytest.mark.parametrize("wrong", BAD)
def test_a_first_fit_that_fails_leaves_nothing(wrong):
    estimator = plain(**wrong)
    before = set(vars(estimator))
    with pytest.raises((InputError, UsageError)):
        estimator.fit(X, Y)
    assert set(vars(estimator)) == before
    for call in (estimator.predict, estimator.predict_proba, estimator.decision_function):
        with pytest.raises(NotFittedError):
            call(X)


@pytest.mark.parametrize("wrong", BAD)
def test_a_refit_that_fails_leaves_the_fit_before(wrong):
    fitted = plain(info=SPEC).fit(X, Y)
    expected = fitted.predict_proba(X)
    fitted.set_params(info=None, **wrong)
    with pytest.raises((InputError, UsageError)):
        fitted.fit(X[:, :3], Y)
    assert (fitted.n_features_in_, fitted.spec_.ch_names, fitted.sfreq_) == (4, SPEC.ch_names, 100.0)
    np.testing.assert_array_equal(fitted.predict_proba(X), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X), expected)


def test_failed_fits_of_the_other_estimators():
    regressor = NetRegressor("LinearNet", **QUICK).fit(X, X[:, 0, 0])
    expected = regressor.predict(X)
    with pytest.raises(UsageError):
        regressor.set_params(lr=-1.0).fit(X[:, :3], 100 + X[:, 0, 0])
    np.testing.assert_array_equal(regressor.predict(X), expected)
    with pytest.raises(NotFittedError):
        NetRegressor("LinearNet", **QUICK).predict(X)
    phase = PhaseSPDNetClassifier(options={"lr": -1.0}, device="cpu")
    with pytest.raises(UsageError):
        phase.fit(X, Y)
    with pytest.raises(NotFittedError):
        phase.predict(X)


def test_interrupted_fits_leave_the_fit_before(monkeypatch):
    fitted = plain().fit(X, Y)
    expected = fitted.predict_proba(X)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("neurosig.models.net_base.train_network", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(X[:, :3], Y)
    np.testing.assert_array_equal(fitted.predict_proba(X), expected)


# too short windows ----------------------------------------------------------------------------------------------------


def refusal(name, n_times, **params):
    with pytest.raises(InputError) as refused:
        build_module(resolve_module(name), params, n_chans=4, n_outputs=2, n_times=n_times, sfreq=250.0)
    return str(refused.value)


def test_short_windows_are_refused_in_the_networks_own_words():
    assert refusal("MIEEGNet", 4).endswith("Pass longer windows")  # it has no kernel or pool to choose
    assert "pool1_kernel_size" in refusal("EEGNet", 4)
    assert refusal(Plain, 4).endswith("at least 10 samples, got 4; record for longer")


def test_only_options_that_help_are_named():
    pytest.importorskip("braindecode")
    told = refusal("SincShallowNet", 54)
    assert "at least 55 samples, got 54" in told and told.endswith("or a smaller pool_size in module_params")
    sizes = {"n_chans": 4, "n_outputs": 2, "n_times": 54, "sfreq": 250.0}
    assert build_module(resolve_module("SincShallowNet"), {"pool_size": 27}, **sizes) is not None
    assert refusal("HybridNet", 500).endswith("give longer windows")  # its kernels are fixed


# what is known of the signals -----------------------------------------------------------------------------------------


def epochs(sfreq=100.0, ch_names=SPEC.ch_names):
    info = mne.create_info(list(ch_names), sfreq, "eeg")
    return mne.EpochsArray(X, info, verbose="error")


@pytest.mark.parametrize(
    "info, told",
    [
        (SPEC.replace(unit="V", sfreq=250.0), "at 250 Hz, they are at 100 Hz"),
        (SPEC.replace(unit="V", ch_names=("F3", "Cz", "C4", "Pz")), "F3.*C3"),
        (SPEC, "in uV, they are in V"),
        (mne.create_info(["C4", "Cz", "C3", "Pz"], 100.0, "eeg"), "C4, Cz, C3, Pz, they have C3, Cz, C4, Pz"),
    ],
)
def test_info_that_contradicts_epochs_is_refused(info, told):
    with pytest.raises(UsageError, match=f"info contradicts the Epochs: .*{told}"):
        plain(info=info).fit(epochs(), Y)


def test_info_that_says_the_same_as_epochs_is_taken():
    for info in (SPEC.replace(unit="V"), epochs().info, SPEC.replace(unit="V", sfreq=None)):
        assert plain(info=info).fit(epochs(), Y).sfreq_ == 100.0


@pytest.fixture
def source():
    return plain(info=SPEC).fit(X, Y)


def test_what_a_pretrained_network_knows_is_taken_over(source, caplog):
    with caplog.at_level(logging.INFO, logger="neurosig"):
        tuned = plain(pretrained=source).fit(X, Y)
    assert tuned.spec_ == source.spec_ and tuned.sfreq_ == 100.0
    assert "taken to be the pretrained network's, C3, Cz, C4, Pz in uV at 100 Hz" in caplog.text
    volts = mne.EpochsArray(1e-6 * X, epochs().info, verbose="error")  # which are converted
    np.testing.assert_allclose(tuned.predict_proba(volts), tuned.predict_proba(X), rtol=1e-4)
    assert plain(pretrained=source, window=0.64).fit(X, Y).window_ == 64  # seconds mean something


def test_nothing_is_taken_over_where_something_is_known(source, caplog):
    renamed = SPEC.replace(unit="a.u.")
    with caplog.at_level(logging.INFO, logger="neurosig"):
        assert plain(pretrained=source, info=renamed).fit(X, Y).spec_.unit == "a.u."
    assert "taken to be" not in caplog.text
    with pytest.raises(ChannelError, match="100 Hz, got 250 Hz"):
        plain(pretrained=source, sfreq=250.0).fit(X, Y)
    with pytest.raises(ChannelError, match="takes 4 channels"):
        plain(pretrained=source).fit(X[:, :3], Y)


def test_a_rate_alone_is_taken_over(caplog):
    source = plain(sfreq=100.0).fit(X, Y)
    with caplog.at_level(logging.INFO, logger="neurosig"):
        tuned = plain(pretrained=source).fit(X, Y)
    assert (tuned.sfreq_, tuned.spec_) == (100.0, None) and "100 Hz" in caplog.text


# windows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"window": "a"}, {"window": True}, {"window": 0.3, "window_step": "b"},
                                   {"window": float("nan")}, {"window": -1}])  # fmt: skip
def test_windows_that_are_no_seconds_are_refused(wrong):
    with pytest.raises(UsageError, match=f"{list(wrong)[-1]} must be a number of seconds above 0"):
        plain(sfreq=100.0, **wrong).fit(X, Y)


def test_steps_longer_than_the_window_are_told(caplog):
    plain(sfreq=100.0, window=0.2, window_step=0.3).fit(X, Y)
    assert "window_step=0.3 s is longer than window=0.2 s" in caplog.text


def test_steps_as_long_as_the_window_in_samples_are_not_told(caplog):
    plain(sfreq=100.0, window=0.2, window_step=0.202).fit(X, Y)
    assert "longer than window" not in caplog.text


# batch norms ----------------------------------------------------------------------------------------------------------


class Normed(nn.Module):
    """A constant: its batch norm sees the same mean, 5, at each step."""

    def __init__(self, n_chans=None, n_outputs=None, n_times=None, momentum=0.1, keeps=True):
        super().__init__()
        self.norm = nn.BatchNorm1d(n_chans, momentum=momentum, track_running_stats=keeps)
        self.last = nn.Linear(n_chans, n_outputs)

    def forward(self, x):
        return self.last(self.norm(0 * x + 5).mean(dim=2))


def normed(momentum, **options):
    return NetClassifier(Normed, {"momentum": momentum}, **QUICK).set_params(batch_size=5, **options)


@pytest.mark.parametrize(("momentum", "epochs", "told"), [(0.01, 49, True), (0.01, 50, False), (0.1, 4, True),
                                                          (0.1, 5, False), (None, 1, False)])  # fmt: skip
def test_batch_norms_that_have_not_settled_are_told(caplog, momentum, epochs, told):
    """Four steps an epoch: of the mean that the norm begins with, 0, (1 - momentum) ** steps is left."""
    network = normed(momentum, max_epochs=epochs).fit(X, Y)
    said = [text for text in caplog.messages if "have not settled" in text]
    assert len(said) == told
    if momentum is not None:
        left = (1 - momentum) ** (4 * epochs)
        np.testing.assert_allclose(network.module_.norm.running_mean.numpy(), 5 * (1 - left), rtol=1e-4)
        assert (left > np.exp(-2)) == told
    if told:
        assert f"{4 * epochs} training steps at momentum {momentum:g} leave {100 * left:.0f}%" in said[0]
        assert f"train for {round(2 / momentum)} steps or more (max_epochs, or a smaller batch_size)" in said[0]
        assert ("module_params={'momentum': 0.1}" in said[0]) == (momentum < 0.1)


def test_norms_that_keep_nothing_or_were_trained_before_are_not_told(caplog):
    normed(0.01, module__keeps=False).fit(X, Y)
    source = normed(0.01, max_epochs=60).fit(X, Y)
    normed(0.01, pretrained=source).fit(X, Y)
    NetClassifier("LinearNet", **QUICK).fit(X, Y)
    assert "have not settled" not in caplog.text
