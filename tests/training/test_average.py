"""The moving average of weights: its closed form, and what it is worth after few steps."""

import numpy as np
import torch

from neurosig.models import NetClassifier
from neurosig.training.callbacks import WeightAverage


def test_average_is_the_closed_form_of_growing_decays():
    module = torch.nn.BatchNorm1d(2).double()  # weights and buffers
    average = WeightAverage(module, 0.5)
    rng = np.random.default_rng(0)
    values = rng.standard_normal((30, 2))
    for value in values:
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(value))
            module.running_mean.copy_(torch.from_numpy(2 * value))
        average.update(module, False)
    # 2/11, 3/12, ..., and 1/2 from the ninth step on
    decays = [0.0] + [min(0.5, (1 + n) / (10 + n)) for n in range(1, 30)]
    assert decays[7] < 0.5 == decays[8]
    shares = np.array([(1 - d) * np.prod(decays[n + 1 :]) for n, d in enumerate(decays)])
    np.testing.assert_allclose(shares.sum(), 1)
    np.testing.assert_allclose(average.average.weight.detach(), shares @ values, rtol=1e-12)
    np.testing.assert_allclose(average.average.running_mean, 2 * shares @ values, rtol=1e-12)


def test_short_training_with_a_long_average_predicts_as_without():
    rng = np.random.default_rng(0)
    y = np.arange(160) % 2
    X = rng.standard_normal((160, 3, 64)).astype(np.float32)
    X[y == 1, 0] += 2 * np.sin(2 * np.pi * 10 * np.arange(64) / 64)
    scores = []
    for ema in (None, 0.999):
        net = NetClassifier(
            "EEGNet", max_epochs=20, batch_size=32, lr=0.01, ema=ema, validation=None, sfreq=64.0, device="cpu",
            random_state=0,
        ).fit(X[:80], y[:80])  # 60 steps  # fmt: skip
        scores.append(net.score(X[80:], y[80:]))
    assert scores[0] > 0.95
    assert scores[1] > 0.95
