"""What BrainMAE hides, and the loss: against the golden formulas and by counting."""

import numpy as np
import pytest
import torch

from neurosig.core.errors import InputError, UsageError
from neurosig.models.brainmae_masking import draw_masks, reconstruction_loss, steps_of


@pytest.fixture(scope="module")
def golden(golden_dir):
    with np.load(golden_dir / "brainmae" / "formula_oracle.npz", allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in file}


def test_golden_loss(golden):
    loss = reconstruction_loss(golden["Xhat"], golden["X"], golden["mask"])
    for name in ("total", "masked", "unmasked"):
        torch.testing.assert_close(loss[name], golden[f"loss_{name}"], atol=1e-10, rtol=0)


def test_gradient_is_shared_out(golden):
    x_hat = golden["Xhat"].clone().requires_grad_()
    reconstruction_loss(x_hat, golden["X"], golden["mask"], masked_weight=0.75)["total"].backward()
    off, mask = 2 * (golden["Xhat"] - golden["X"]), golden["mask"]
    n_masked, n_unmasked = int(mask.sum()) * 5, int((~mask).sum()) * 5
    torch.testing.assert_close(x_hat.grad[mask], 0.75 / n_masked * off[mask])
    torch.testing.assert_close(x_hat.grad[~mask], 0.25 / n_unmasked * off[~mask])


def test_what_was_not_measured_counts_nowhere(golden):
    x, mask = golden["X"].clone(), golden["mask"]
    present = torch.ones_like(mask)
    present[0, :, 2] = False
    x[0, :, 2] = torch.nan
    x_hat = golden["Xhat"].clone().requires_grad_()
    loss = reconstruction_loss(x_hat, x, mask, present)
    errors = (x_hat - x).square()
    torch.testing.assert_close(loss["masked"], errors[mask & present].mean())
    torch.testing.assert_close(loss["unmasked"], errors[~mask & present].mean())
    loss["total"].backward()
    assert bool(x_hat.grad.isfinite().all())
    assert not bool(x_hat.grad[0, :, 2].any())


def test_a_part_without_entries_is_zero(golden):
    nothing = torch.zeros_like(golden["mask"])
    loss = reconstruction_loss(golden["Xhat"], golden["X"], nothing)
    assert float(loss["masked"]) == 0
    torch.testing.assert_close(loss["total"], 0.25 * loss["unmasked"])
    loss = reconstruction_loss(golden["Xhat"], golden["X"], ~nothing)
    assert float(loss["unmasked"]) == 0
    torch.testing.assert_close(loss["total"], 0.75 * loss["masked"])


def test_ratios_are_uniform_and_counts_are_floors():
    ratios = steps_of((0.0, 0.8))
    np.testing.assert_allclose(ratios, np.arange(17) * 0.05)
    n_regions = 20  # every ratio hides another number of regions
    masks = draw_masks(torch.ones(40, 500, n_regions, dtype=torch.bool), ratios, torch.Generator().manual_seed(0))
    number = masks.sum(dim=-1)
    found = torch.bincount(number.flatten(), minlength=18)
    assert found[17:].sum() == 0
    expected = 40 * 500 / 17
    assert float(((found[:17] - expected) ** 2 / expected).sum()) < 39.3  # chi2, 16 degrees of freedom, p = 0.001
    by_region = masks.float().mean(dim=(0, 1))
    np.testing.assert_allclose(by_region, 0.4, atol=0.02)
    assert not torch.equal(masks[0, 0], masks[0, 1])


@pytest.mark.parametrize("n_regions", [1, 7, 100, 200, 1000])
def test_floor_is_that_of_the_true_ratio(n_regions):
    """Of floating numbers, 0.15 x 20 can be less than 3."""
    for step in range(17):
        masks = draw_masks(torch.ones(2, n_regions, dtype=torch.bool), [steps_of((0.0, 0.8))[step]])
        assert masks.sum(dim=-1).tolist() == [step * n_regions // 20] * 2


def test_missing_regions_are_not_drawn():
    present = torch.rand(6, 50, 30, generator=torch.Generator().manual_seed(0)) < 0.7
    masks = draw_masks(present, (0.5,), torch.Generator().manual_seed(0))
    assert not bool((masks & ~present).any())
    assert torch.equal(masks.sum(dim=-1), present.sum(dim=-1) // 2)
    assert not bool(draw_masks(torch.zeros(2, 5, dtype=torch.bool), (0.5,)).any())


def test_the_generator_draws():
    present = torch.ones(3, 4, 30, dtype=torch.bool)
    first, same, other = (draw_masks(present, (0.5,), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_ranges_of_ratios():
    assert steps_of((0.5, 0.5)) == (0.5,)
    np.testing.assert_allclose(steps_of((0.2, 0.33)), [0.2, 0.25, 0.3])
    for wrong in ((0.5, 0.2), (-0.1, 0.5), (0.0, 1.0), 0.5, (0.1,), ("a", 0.2), (0.1, np.nan)):
        with pytest.raises(UsageError, match="mask_ratio is a pair of shares"):
            steps_of(wrong)
    with pytest.raises(InputError, match=r"for values of shape \(2, 3, 4\), got \(2, 3, 5\) and \(2, 3\)"):
        reconstruction_loss(torch.zeros(2, 3, 5), torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))
