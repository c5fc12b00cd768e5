"""The loss of many heads beside torch's own cross-entropy, and its gradients beside differences."""

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from neurosig.nn.head_losses import mean_cross_entropy

SIZES = {"n_groups": 2, "n_heads": 3, "n": 7, "n_codes": 5, "dim": 4}


def _parts(dtype=torch.float64, **changed):
    sizes = SIZES | changed
    generator = torch.Generator().manual_seed(0)

    def drawn(*names):
        return torch.randn([sizes[name] for name in names], generator=generator, dtype=dtype).requires_grad_()

    parts = [
        drawn("n_groups", "n", "dim"), drawn("n_groups", "n_heads", "n_codes", "dim"),
        drawn("n_groups", "n_heads", "n_codes"),
    ]  # fmt: skip
    n_heads = sizes["n_groups"] * sizes["n_heads"]
    return parts, torch.randint(sizes["n_codes"], (n_heads, sizes["n"]), generator=generator)


def _all_at_once(x, weights, biases, wanted):
    logits = torch.einsum("gnd,ghcd->ghnc", x, weights) + biases[:, :, None]
    return functional.cross_entropy(logits.flatten(0, 2), wanted.flatten())


def test_value_and_gradients_are_those_of_all_heads_at_once():
    parts, wanted = _parts()
    found, expected = mean_cross_entropy(*parts, wanted), _all_at_once(*parts, wanted)
    torch.testing.assert_close(found, expected)
    for one, other in zip(torch.autograd.grad(3 * found, parts), torch.autograd.grad(3 * expected, parts), strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_are_differences():
    parts, wanted = _parts(n=3, n_heads=2)
    assert torch.autograd.gradcheck(lambda *given: mean_cross_entropy(*given, wanted), parts, fast_mode=True)


@pytest.mark.parametrize("learns", [True, False])
def test_no_more_than_the_logits_of_one_head_are_held(learns):
    parts, wanted = _parts(torch.float32, n=40, n_codes=64)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            largest = max(largest, out.numel() if isinstance(out, torch.Tensor) else 0)
            return out

    with torch.set_grad_enabled(learns), Watch():
        loss = mean_cross_entropy(*parts, wanted)
        if learns:
            loss.backward()
    assert largest == 40 * 64
    assert loss.requires_grad is learns


def test_half_the_digits_give_nearly_the_same():
    parts, wanted = _parts(torch.float32)
    expected = mean_cross_entropy(*parts, wanted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mean_cross_entropy(*parts, wanted)
    assert found.dtype == torch.float32
    # products of numbers with 8 binary digits: errors of a hundredth, of logits of a size of 2
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)
    assert not torch.equal(found, expected)
    for one, other in zip(torch.autograd.grad(found, parts), torch.autograd.grad(expected, parts), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0.02 * float(other.abs().max()))
