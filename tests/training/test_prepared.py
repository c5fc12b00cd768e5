"""What a network computes before it learns anything is computed once a training, and changes no result."""

import numpy as np
import pytest
import torch

from neurosig.models import NetClassifier, PhaseSPDNet
from neurosig.training import prepared
from neurosig.training.batches import Batches, Trials
from neurosig.training.prepared import prepare_trials

RNG = np.random.default_rng(0)
Y = np.arange(30) % 2
X = RNG.standard_normal((30, 3, 60)).astype(np.float32)
X[Y == 1, 0, 3:] += X[Y == 1, 0, :-3]


class Doubling(torch.nn.Module):
    """Its first part doubles the signals."""

    def prepare(self, x):
        return 2 * x

    def from_prepared(self, z):
        return z.sum((1, 2))[:, None]


@pytest.mark.parametrize("window", [None, 4])
def test_prepared_batches_are_those_of_the_signals(window):
    signals = np.arange(12 * 2 * 8, dtype=np.float32).reshape(12, 2, 8)
    trials, index = Trials(signals, window, 2), np.array([1, 2, 5, 6, 7, 11])
    weight = torch.arange(12.0)
    found, options = prepare_trials(Doubling(), trials, index, batch_size=4, scale=3.0, weight=weight)
    assert found.in_memory.shape[:2] == (6, 1 if window is None else 3)  # nothing of trials that are not needed
    for part in (index, index[[0, 3, 5]]):
        plain, ready = (
            Batches(source, torch.arange(12), part, generator=torch.Generator().manual_seed(1), **of)
            for source, of in ((trials, {**options, "scale": 3.0}), (found, options))
        )
        assert len(plain) == len(ready)
        for (expected, target), (z, same) in zip(plain, ready, strict=True):
            torch.testing.assert_close(z, 2 * expected, rtol=0, atol=0)
            assert torch.equal(target.y, same.y)
            assert torch.equal(target.weight, same.weight)


def test_nothing_is_prepared_that_cannot_be(tmp_path, monkeypatch):
    np.save(tmp_path / "X.npy", X)
    on_disk = Trials(np.load(tmp_path / "X.npy", mmap_mode="r"))
    options = {"batch_size": 8}
    assert prepare_trials(Doubling(), on_disk, np.arange(30), **options) is None
    assert prepare_trials(torch.nn.Identity(), Trials(X), np.arange(30), **options) is None
    monkeypatch.setattr(prepared, "PREPARED_BYTES", X.nbytes - 1)
    assert prepare_trials(Doubling(), Trials(X), np.arange(30), **options) is None


@pytest.mark.parametrize(
    "options", [{}, {"window": 0.3, "window_step": 0.15}, {"ema": 0.9, "validation": None}], ids=["", "windows", "ema"]
)
def test_covariances_are_computed_once_and_the_network_is_the_same(options, monkeypatch):
    calls = []
    compute = PhaseSPDNet.covariances
    monkeypatch.setattr(PhaseSPDNet, "covariances", lambda self, x: calls.append(len(x)) or compute(self, x))
    fits, numbers = [], []
    for kept in (1 << 30, 0):
        monkeypatch.setattr(prepared, "PREPARED_BYTES", kept)
        net = NetClassifier(
            "PhaseSPDNet", {"order": 2, "lag": 3}, max_epochs=4, batch_size=8, random_state=0, device="cpu", sfreq=100,
            **options,
        )  # fmt: skip
        calls.clear()
        fits.append(net.fit(X, Y, sample_weight=1.0 + Y, groups=np.arange(30) // 3))
        numbers.append(sum(calls))
    n_windows = 1 + (60 - fits[0].window_) // fits[0].window_step_ if fits[0].window_ else 1
    assert numbers[0] == 30 * n_windows + 2  # and the two empty windows on which a new network is tried
    assert numbers[1] >= 4 * 30 * n_windows
    once, again = (net.module_.state_dict() for net in fits)
    for name, value in once.items():
        torch.testing.assert_close(value, again[name], rtol=0, atol=1e-12)
    for first, second in zip(fits[0].history_, fits[1].history_, strict=True):
        assert first["train_loss"] == pytest.approx(second["train_loss"], rel=1e-12)


def test_augmented_signals_are_never_prepared(monkeypatch):
    monkeypatch.setattr("neurosig.models.net_base.prepare_trials", None)
    net = NetClassifier("PhaseSPDNet", {"order": 1}, max_epochs=1, random_state=0, device="cpu")
    net.set_params(augmentation=["TimeReverse"]).fit(X, Y)
    with pytest.raises(TypeError):
        net.set_params(augmentation=None).fit(X, Y)
