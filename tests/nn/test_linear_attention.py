"""The linear-attention block beside explicit loops over heads and positions."""

import pytest
import torch
from torch.nn import functional

from neurosig.core.errors import UsageError
from neurosig.nn import linear_attention
from neurosig.nn.linear_attention import LinearAttentionBlock


def _block(emb_size=12, n_heads=3, **options):
    torch.manual_seed(0)
    return LinearAttentionBlock(emb_size, n_heads, **options).double().eval()


def _explicit(block, x):
    """Head by head, key by key."""
    emb_size, n_heads = x.shape[-1], block.n_heads
    size = emb_size // n_heads
    h = functional.layer_norm(x, (emb_size,), block.norm_attention.weight, block.norm_attention.bias, eps=1e-5)
    attended = torch.zeros_like(x)
    for b in range(len(x)):
        q, k, v = h[b] @ block.qkv.weight[:emb_size].T, *(h[b] @ w.T for w in block.qkv.weight[emb_size:].chunk(2))
        for head in range(n_heads):
            own = slice(head * size, (head + 1) * size)
            queries = torch.stack([row.exp() / row.exp().sum() for row in q[:, own]]) / size**0.5
            keys = k[:, own].exp() / k[:, own].exp().sum(dim=0)
            context = sum(torch.outer(keys[i], v[i, own]) for i in range(x.shape[1]))
            attended[b, :, own] = queries @ context
    x = x + attended @ block.out.weight.T + block.out.bias
    h = functional.layer_norm(x, (emb_size,), block.norm_mlp.weight, block.norm_mlp.bias, eps=1e-5)
    h = h @ block.widen.weight.T + block.widen.bias
    return x + (h * torch.distributions.Normal(0.0, 1.0).cdf(h)) @ block.narrow.weight.T + block.narrow.bias


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize(("n_heads", "length"), [(1, 4), (3, 7), (12, 1)])
def test_both_ways_of_computing_are_the_definition(monkeypatch, dense, n_heads, length):
    monkeypatch.setattr(linear_attention, "_DENSE", 128 if dense else 0)
    block = _block(n_heads=n_heads)
    x = torch.randn(2, length, 12, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(block(x), _explicit(block, x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dense", [True, False])
def test_gradients(monkeypatch, dense):
    monkeypatch.setattr(linear_attention, "_DENSE", 128 if dense else 0)
    block = _block(4, 2)
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: torch.func.functional_call(block, {"qkv.weight": w}, (x,)),
                                    (x, block.qkv.weight), fast_mode=True)  # fmt: skip


def test_extreme_numbers_stay_finite():
    block = _block().float()
    with torch.no_grad():
        block.qkv.weight *= 1e4
        assert block(torch.randn(2, 5, 12) * 100).isfinite().all()


def test_positions_do_not_matter_and_windows_do_not_mix():
    block, x = _block(), torch.randn(3, 6, 12, dtype=torch.float64)
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    with torch.no_grad():
        torch.testing.assert_close(block(x[:, order]), block(x)[:, order])
        torch.testing.assert_close(block(x[1:2]), block(x)[1:2])


def test_dropout_is_of_what_the_attention_adds():
    block, x = _block(drop_prob=1.0).train(), torch.randn(1, 4, 12, dtype=torch.float64)
    wanted = x + block.narrow(functional.gelu(block.widen(block.norm_mlp(x))))
    torch.testing.assert_close(block(x), wanted)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(UsageError, match="n_heads must divide emb_size=10, got 4"):
        LinearAttentionBlock(10, 4)
