"""Windows that count as trials: the same numbers as copies of them, at the memory of the trials."""

import numpy as np
import pytest
import torch

from neurosig.core.cut_trials import CutTrials
from neurosig.core.errors import InputError
from neurosig.evaluation.transfer_data import Windows
from neurosig.models import LinearNet, NetClassifier
from neurosig.training.batches import Batches, Trials
from neurosig.training.cut_batches import trials_of

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 3, 50))
Y = np.tile([0, 1], 6)
CPU = torch.device("cpu")


@pytest.fixture(params=[(20, 7), (20, 30), (50, 1), (1, 1)])
def both(request):
    """The windows as copies, and as `CutTrials`."""
    copies, trial = Windows(*request.param).cut(X)
    return copies.astype(np.float32), CutTrials(X, *request.param), trial


def test_cut_trials_look_like_the_copies(both):
    copies, cut, trial = both
    assert (cut.shape, cut.ndim, cut.dtype, len(cut)) == (copies.shape, 3, copies.dtype, len(copies))
    assert cut.trials.nbytes == 4 * X.size
    rows = np.array([len(copies) - 1, 0, 0])
    for index in (slice(None), slice(3, 7), rows, trial == 2, 5, -1):
        np.testing.assert_array_equal(cut[index], copies[index])
    np.testing.assert_array_equal(np.asarray(cut), copies)
    cut[rows][:] = 0.0  # a copy
    np.testing.assert_array_equal(cut[:], copies)
    with pytest.raises(IndexError):
        cut[len(cut)]


@pytest.mark.parametrize("window, step", [(None, None), (1, 1), (10, 4)])
def test_batches_are_the_same(both, window, step):
    copies, cut, _ = both
    window = window and min(window, copies.shape[2])
    index = np.flatnonzero(np.arange(len(copies)) % 4 != 3)
    found = []
    for trials in (Trials(copies, window, step), trials_of(cut, window, step, CPU)):
        y = torch.arange(len(copies))
        batches = Batches(trials, y, index, batch_size=5, scale=2.0, generator=torch.Generator().manual_seed(0))
        found.append([(x.clone(), target.y) for x, target in batches])
    assert len(found[0]) == len(found[1]) > 1
    for (x, y), (x_cut, y_cut) in zip(*found, strict=True):
        assert torch.equal(x, x_cut) and torch.equal(y, y_cut)


class PreparedNet(LinearNet):
    """Keeps what its first part gives, see `neurosig.training.prepared`."""

    def prepare(self, x):
        return 2.0 * x

    def from_prepared(self, z):
        return super().forward(z)

    def forward(self, x):
        return self.from_prepared(self.prepare(x))


@pytest.mark.parametrize("options", [{}, {"window": 0.1, "window_step": 0.05, "sfreq": 100.0},
                                     {"module": PreparedNet}, {"augmentation": "TimeReverse"}])  # fmt: skip
def test_networks_learn_the_same(options):
    copies, trial = Windows(20, 7).cut(X)
    given = {"module": "LinearNet", "max_epochs": 3, "batch_size": 16, "random_state": 0, "device": "cpu", **options}
    fitted = [NetClassifier(**given).fit(signals, Y[trial], groups=trial) for signals in (copies, CutTrials(X, 20, 7))]
    losses = [[(row["train_loss"], row["valid_loss"]) for row in net.history_] for net in fitted]
    assert losses[0] == losses[1] and len(losses[0]) == 3
    assert (fitted[0].scale_, fitted[0].signal_sd_) == (fitted[1].scale_, fitted[1].signal_sd_)
    expected = fitted[0].predict_proba(copies)
    np.testing.assert_array_equal(fitted[1].predict_proba(copies), expected)
    np.testing.assert_array_equal(fitted[1].predict_proba(CutTrials(X, 20, 7)), expected)


def test_what_is_no_number_is_refused():
    broken = X.copy()
    broken[3, 1, 5] = np.nan
    with pytest.raises(InputError, match="NaN"):
        NetClassifier("LinearNet", device="cpu").fit(CutTrials(broken, 20, 7), np.tile([0, 1], 30))
