"""Losses beside their formulas, where these can be computed, and where they cannot."""

import pytest
import torch
from torch.nn import functional

from neurosig.nn.losses import focal_loss


def test_focal_loss_is_its_formula():
    logits, y = torch.linspace(-5, 5, 21, dtype=torch.float64), torch.arange(21) % 2
    p = logits.sigmoid()
    wanted = torch.where(y == 1, -0.8 * (1 - p) ** 0.7 * p.log(), -0.2 * p**0.7 * (1 - p).log()).mean()
    torch.testing.assert_close(focal_loss(logits, y), wanted)


def test_without_focus_it_is_half_the_cross_entropy():
    logits, y = torch.randn(20), torch.arange(20) % 2
    wanted = functional.binary_cross_entropy_with_logits(logits, y.float()) / 2
    torch.testing.assert_close(focal_loss(logits, y, alpha=0.5, gamma=0.0), wanted)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_focal_loss_of_large_logits(size):
    logits = torch.tensor([size, -size, size, -size], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([1, 1, 0, 0]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx((0.8 + 0.2) * size / 4, rel=1e-5)
    torch.testing.assert_close(logits.grad, torch.tensor([0.0, -0.2, 0.05, 0.0]))


def test_gradients():
    logits = torch.randn(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: focal_loss(z, torch.tensor([0, 1, 1, 0, 1, 0])), logits)
