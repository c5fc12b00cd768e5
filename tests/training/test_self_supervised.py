"""Trainings without labels: what their losses draw, several collections an epoch; a network's own loss of classes."""

import numpy as np
import pytest
import torch
from torch import nn

from neurosig.training.batches import Batches, OfCollection, SeveralBatches, Trials, signals_of
from neurosig.training.nets import train_network
from neurosig.training.self_supervised import SelfSupervised, own_loss
from neurosig.training.settings import TrainingSettings


class Masked(nn.Module):
    """Predicts signals from a random part of them; records what it drew and was told."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.drawn, self.told = [], []

    def training_loss(self, batch, generator, channels=None):
        keep = torch.rand(batch.shape[-1], generator=generator) < 0.5
        self.drawn.append(keep.tolist())
        self.told.append(channels)
        error = ((self.weight * batch * keep - batch) ** 2).mean()
        return {"total": error + self.weight.square().sum(), "error": error, "size": self.weight.square().sum()}


def learner(**kwargs):
    return SelfSupervised(Masked(), 3, ("error", "size"), **kwargs)


def test_loss_and_parts_stand_side_by_side():
    found = learner()(torch.ones(2, 1, 8))
    assert found.shape == (1, 3)
    assert found[0, 0] == found[0, 1] + found[0, 2]
    assert own_loss(found, torch.zeros(2)).tolist() == [found[0, 0].item()]
    found[0, 1:].sum()
    own_loss(found, None).sum().backward()  # the parts carry no gradient, the total does


def test_draws_go_on_in_training_and_begin_anew_in_judging():
    module, X = learner(), torch.ones(2, 1, 32)
    for _ in range(2):
        module.train()
        module(X)
        module(X)
        module.eval()
        module(X)
        module(X)
    drawn = module.module.drawn
    train, valid = drawn[0:2] + drawn[4:6], (drawn[2:4], drawn[6:8])
    assert len({tuple(one) for one in train}) == 4
    assert valid[0] == valid[1]


def test_state_of_the_draws_is_part_of_the_weights():
    first, second, X = learner(), learner(), torch.ones(2, 1, 32)
    first(X)
    second.load_state_dict(first.state_dict())
    first(X)
    second(X)
    assert first.module.drawn[-1] == second.module.drawn[-1]
    assert first.module.drawn[-1] != first.module.drawn[0]


def test_each_collection_brings_its_channels():
    module = learner(channels=["two", "three"])
    for number, n_channels in ((0, 2), (1, 3)):
        X = torch.ones(4, n_channels, 8)
        module(OfCollection(X, torch.full((4,), number)))
        assert signals_of(OfCollection(X, torch.zeros(4))) is X
    assert module.module.told == ["two", "three"]


def collections(generator=None, sizes=((5, 2, 8), (3, 4, 16)), batch_size=2):
    found = []
    for i, shape in enumerate(sizes):
        X = np.full(shape, 10.0 * i) + np.arange(shape[0])[:, None, None]
        trials = Trials(X.astype(np.float32))
        index = np.arange(shape[0])
        found.append(Batches(trials, torch.zeros(shape[0]), index, batch_size=batch_size, generator=generator))
    return SeveralBatches(found)


def test_each_batch_is_of_one_collection_and_each_window_comes_once():
    batches = collections(torch.Generator().manual_seed(0))
    found = [X for X, _ in batches]
    assert len(found) == len(batches)
    for X in found:
        assert len(set(X.number.tolist())) == 1
        assert X.signals.shape[1:] == ((2, 8), (4, 16))[int(X.number[0])]
    values = sorted(float(value) for X in found for value in X.signals[:, 0, 0])
    assert values == [0, 1, 2, 3, 4, 10, 11, 12]


def test_order_is_shuffled_anew_and_kept_without_generator():
    shuffled = collections(torch.Generator().manual_seed(1), ((16, 1, 4), (16, 1, 4)))
    orders = [[int(X.number[0]) for X, _ in shuffled] for _ in range(3)]
    assert len({tuple(order) for order in orders}) > 1
    assert all(sum(order) == 8 for order in orders)
    assert [int(X.number[0]) for X, _ in collections()] == sorted(int(X.number[0]) for X, _ in collections())


def test_training_by_the_own_loss_reaches_the_closed_form():
    torch.manual_seed(0)
    X = np.ones((16, 1, 64), dtype=np.float32)
    module = learner()
    batches = Batches(Trials(X), torch.zeros(16), np.arange(16), batch_size=4)
    settings = TrainingSettings(max_epochs=60, lr=0.02, stopping=None, patience=None)
    record = train_network(module, batches, None, settings, loss=own_loss, parts=("error", "size"))
    # half of the samples are seen: mean of (w - 1)^2 / 2 + 1 / 2 + w^2 is least at w = 1 / 3
    assert module.module.weight.item() == pytest.approx(1 / 3, abs=0.05)
    row = record.history[-1]
    assert row["train_loss"] == pytest.approx(row["train_error"] + row["train_size"], rel=1e-4)


class Twice(nn.Module):
    """A network with a loss of its own for classes."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.seen = []

    def forward(self, x):
        return self.linear(x.flatten(1))

    def class_loss(self, outputs, y):
        self.seen.append(y.dtype)
        return 2 * nn.functional.cross_entropy(outputs, y, reduction="none")


def test_a_network_may_bring_the_loss_of_classes():
    X = np.random.default_rng(0).standard_normal((8, 1, 4)).astype(np.float32)
    y = torch.arange(8) % 2
    module = Twice()
    with torch.no_grad():
        wanted = 2 * nn.functional.cross_entropy(module(torch.from_numpy(X)), y).item()
    batches = Batches(Trials(X), y, np.arange(8), batch_size=8)
    record = train_network(module, batches, None, TrainingSettings(max_epochs=1, stopping=None))
    assert record.history[0]["train_loss"] == pytest.approx(wanted, rel=1e-5)
    assert module.seen == [torch.int64]
