"""Starting from trained weights, and scores that do not depend on the batches."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.signals import SignalSpec
from neurosig.models import NetClassifier, NetRegressor
from neurosig.models.net_module import build_module, head_of, resolve_module
from neurosig.training.callbacks import Projection
from neurosig.training.trial_data import compare_specs

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((60, 3, 16)), np.tile([0, 1, 1], 20)
OPTIONS = {"max_epochs": 2, "device": "cpu", "random_state": 0}


@pytest.mark.parametrize("name", ["EEGNeX", "FBCNet", "ATCNet", "EEGITNet", "Deep4Net"])
def test_head_is_all_of_the_final_layer(name):
    module = build_module(resolve_module(name), None, n_chans=8, n_outputs=3, n_times=1000, sfreq=250.0)
    assert {id(p) for p in head_of(module)} == {id(p) for p in module.final_layer.parameters()}


def test_head_of_a_parametrized_layer_holds_its_bias():
    module = nn.Sequential(nn.Linear(4, 4), torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)))
    assert {id(p) for p in head_of(module)} == {id(p) for p in module[1].parameters()}
    with pytest.raises(UsageError, match="not certain"):
        head_of(nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)))


def test_validation_loss_does_not_depend_on_batches():
    losses = []
    for size in (4, 1000):
        network = NetClassifier("LinearNet", class_weight={0: 7.0, 1: 1.0}, batch_size=size, lr=1e-12, **OPTIONS)
        losses.append(network.fit(X, Y).history_[0]["valid_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_pretrained_scale_is_kept():
    source = NetClassifier("LinearNet", **OPTIONS).fit(X, Y)
    tuned = NetClassifier("LinearNet", pretrained=source, trainable="head", **OPTIONS).fit(3 * X, Y)
    assert tuned.scale_ == source.scale_


def test_pretrained_of_another_kind_is_refused():
    source = NetRegressor("LinearNet", **OPTIONS).fit(X, X[:, 0, 0])
    with pytest.raises(UsageError, match="NetClassifier"):
        NetClassifier("LinearNet", pretrained=source, **OPTIONS).fit(X, Y)


def test_units_are_compared():
    volts = SignalSpec("eeg", ("C3", "C4"), sfreq=100.0, unit="V")
    with pytest.raises(ChannelError, match="uV"):
        compare_specs(volts, volts.replace(unit="uV"), "the network")


def test_projection_leaves_frozen_weights():
    class Net(nn.Linear):
        def project_(self):
            self.weight.mul_(0.5)
            self.bias.mul_(0.5)

    module = Net(2, 2)
    module.weight.requires_grad_(False)
    weight, bias = module.weight.detach().clone(), module.bias.detach().clone()
    Projection(module, True).on_batch_end(None, training=True)
    assert torch.equal(module.weight, weight)
    assert torch.equal(module.bias, bias / 2)


@pytest.mark.parametrize("given", [{7: 3.0}, {0: -1.0}, {0: 0.0, 1: 0.0}])
def test_wrong_class_weights_are_refused(given):
    with pytest.raises(UsageError, match="class_weight"):
        NetClassifier("LinearNet", class_weight=given, **OPTIONS).fit(X, Y)


@pytest.mark.parametrize("name", ["Deep4Net", "ATCNet"])
def test_networks_that_shrink_themselves_for_short_windows_are_refused(name):
    X, y = np.random.default_rng(0).standard_normal((20, 4, 100)), np.arange(20) % 2
    network = NetClassifier(name, max_epochs=1, sfreq=125.0, random_state=0)
    with pytest.raises(InputError, match=rf"{name} .* takes windows of at least (\d+) samples, got 100") as refusal:
        network.fit(X, y)
    shortest = int(re.search(r"at least (\d+)", str(refusal.value))[1])
    fitting = np.random.default_rng(0).standard_normal((20, 4, shortest))
    assert network.fit(fitting, y).predict(fitting).shape == (20,)
