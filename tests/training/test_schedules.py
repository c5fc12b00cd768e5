"""Published courses of the learning rate."""

import numpy as np
import pytest
import torch

from neurosig.core.errors import UsageError
from neurosig.training.schedules import follow_rates, warmup_cosine, warmup_linear


@pytest.mark.parametrize(
    ("name", "lr", "final", "n_steps", "warmup"),
    [
        ("f64/lr_schedule_base1e-3_final5e-3_ep6_it7_warm2", 1e-3, 5e-3, 42, 14),
        ("f64/lr_schedule_base1e-3_final1e-5_ep4_it5_warm1", 1e-3, 1e-5, 20, 5),
    ],
)
def test_parity_with_the_published_code(golden_dir, name, lr, final, n_steps, warmup):
    with np.load(golden_dir / "tfm_tokenizer" / "preprocessing_losses.npz", allow_pickle=False) as file:
        np.testing.assert_allclose(warmup_cosine(n_steps, lr, final, warmup), file[name], rtol=1e-9)


def test_closed_form():
    rates = warmup_cosine(9, 1.0, 0.2, warmup=5)
    np.testing.assert_allclose(rates[:5], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(rates[5:], 0.6 + 0.4 * np.cos(np.pi * np.arange(4) / 4))
    assert len(warmup_cosine(3, 1.0, warmup=3)) == 3
    assert len(warmup_cosine(0, 1.0)) == 0


def test_an_optimizer_follows_the_rates():
    rates = warmup_cosine(6, 2e-3, 1e-4, warmup=2)
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 2e-4}]
    optimizer = torch.optim.SGD(groups, lr=2e-3)
    scheduler, seen = follow_rates(optimizer, rates, 2e-3), []
    for _ in range(8):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    wanted = np.concatenate([rates, rates[-1:], rates[-1:]])
    np.testing.assert_allclose(seen, np.stack([wanted, wanted / 10], axis=1), atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, -1.0), "must not be negative, got -1.0 and 0.0"),
        ((5, 1.0, float("nan")), "must not be negative"),
        ((5, 1.0, 0.0, 6), "warmup must lie between 0 and the 5 steps"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        warmup_cosine(*arguments)


def test_no_rate_is_refused():
    with pytest.raises(UsageError, match="at least one learning rate above zero"):
        follow_rates(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0), np.zeros(4), 1.0)


def test_straight_up_and_straight_down():
    factors = [warmup_linear(epoch, 20, 4) for epoch in range(21)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[4] == 1
    assert factors[20] == pytest.approx(0.1)
    np.testing.assert_allclose(np.diff(factors[:5]), 0.225)
    np.testing.assert_allclose(np.diff(factors[4:]), -0.9 / 16)
