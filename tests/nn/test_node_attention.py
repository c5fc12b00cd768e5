"""Attention among nodes: against the golden formulas, against a loop over sets, and where nothing is left."""

import numpy as np
import pytest
import torch

from neurosig.core.errors import UsageError
from neurosig.nn.node_attention import NodeAttention, NodeBlock, restricted_softmax
from neurosig.nn.node_sets import NodeSets

N_NODES = 7


@pytest.fixture(scope="module")
def golden(golden_dir):
    with np.load(golden_dir / "brainmae" / "formula_oracle.npz", allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in file}


def _attention(kind, *, self_loops=False, n_heads=2, emb_size=6, seed=0):
    torch.manual_seed(seed)
    return NodeAttention(emb_size, n_heads, kind, self_loops=self_loops).double()


def _with_weights(golden, kind):
    """One head with the golden weights, whose output layer changes nothing."""
    attention = _attention(kind, n_heads=1)
    weights = {f"to_{part}.{name}": golden[f"{letter}{part}"] for part in "qkv" for name, letter in
               (("weight", "W"), ("bias", "b"))}  # fmt: skip
    attention.load_state_dict(weights | {"out.weight": torch.eye(6), "out.bias": torch.zeros(6)})
    return attention


def _sets(seed=0, n_sets=8):
    """Sets of all sizes from one node on; node 0 is always there."""
    keep = torch.zeros(n_sets, N_NODES, dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for row, size in enumerate(torch.randperm(n_sets, generator=generator) % N_NODES):
        keep[row, 1 + torch.randperm(N_NODES - 1, generator=generator)[:size]] = True
    keep[:, 0] = True
    return keep


@pytest.mark.parametrize("kind", ["static", "adaptive"])
def test_golden_formulas(golden, kind):
    attention = _with_weights(golden, kind)
    features, embeddings = golden["H"].flatten(0, 1), golden["E"]
    sets = NodeSets.of(torch.ones(features.shape[:2], dtype=torch.bool))
    with torch.no_grad():
        weights = attention.weights(features.flatten(0, 1), sets, embeddings)[:, 0]
        out = sets.grid(attention(features.flatten(0, 1), sets, embeddings))
    wanted = golden[f"{kind}_attn"]
    wanted = wanted.expand(8, -1, -1) if kind == "static" else wanted.flatten(0, 1)
    torch.testing.assert_close(weights, wanted, atol=1e-10, rtol=0)
    torch.testing.assert_close(out, golden[f"{kind}_out"].flatten(0, 1), atol=1e-10, rtol=0)


def test_golden_logits(golden):
    logits = _with_weights(golden, "static").static_logits(golden["E"])[0].detach()
    assert bool(logits.diagonal().isneginf().all())
    torch.testing.assert_close(logits.fill_diagonal_(0), golden["static_logits"], atol=1e-10, rtol=0)


@pytest.mark.parametrize("self_loops", [False, True])
@pytest.mark.parametrize("scale", [1.0, 4000.0])
@pytest.mark.parametrize("kind", ["static", "adaptive", "plain"])
def test_absent_nodes_take_no_part(kind, scale, self_loops):
    """Each set as a graph of its own, node after node; also where exponentials of all logits would be no numbers."""
    attention = _attention(kind, self_loops=self_loops)
    keep, embeddings = _sets(), torch.randn(N_NODES, 6, dtype=torch.float64)
    grid = torch.randn(*keep.shape, 6, dtype=torch.float64)
    with torch.no_grad():
        attention.to_q.weight *= scale
        logits = attention.static_logits(embeddings).nan_to_num(neginf=0)
        assert (float(logits.amax() - logits.amin()) > 700) == (scale > 1)  # exp(-700) is zero times its weight
        sets = NodeSets.of(keep)
        found = attention(sets.take(grid), sets, embeddings)
        weights = attention.weights(sets.take(grid), sets, embeddings)
        for row, (features, there) in enumerate(zip(grid, keep, strict=True)):
            nodes = there.nonzero()[:, 0].tolist()
            told = {"static": embeddings, "adaptive": features + embeddings, "plain": features}[kind]
            q, k, v = attention.to_q(told), attention.to_k(told), attention.to_v(features)
            for node in nodes:
                others = [other for other in nodes if self_loops or other != node]
                wanted = torch.zeros(6, dtype=torch.float64)
                for head in (slice(0, 3), slice(3, 6)):
                    if others:
                        share = (k[others, head] @ q[node, head] / 3**0.5).softmax(dim=0)
                        wanted[head] = share @ v[others, head]
                        torch.testing.assert_close(weights[row, head.start // 3, node, others], share)
                wanted = attention.out(wanted) if others else wanted
                torch.testing.assert_close(sets.grid(found)[row, node], wanted)
    assert torch.equal(weights.sum(dim=-1) > 0.5, keep[:, None].expand(-1, 2, -1) & (
        self_loops | (keep.sum(dim=1) > 1)[:, None, None]))  # fmt: skip
    assert bool((weights >= 0).all())


@pytest.mark.parametrize("kind", ["static", "adaptive", "plain"])
@pytest.mark.parametrize("full", [False, True])
def test_gradients(kind, full):
    attention = _attention(kind)
    keep = torch.ones(3, N_NODES, dtype=torch.bool) if full else _sets(n_sets=3)
    sets = NodeSets.of(keep)
    x = torch.randn(int(keep.sum()), 6, dtype=torch.float64, requires_grad=True)
    embeddings = torch.randn(N_NODES, 6, dtype=torch.float64, requires_grad=True)
    parameters = list(attention.parameters())
    assert torch.autograd.gradcheck(lambda *values: attention(values[0], sets, values[1]), (x, embeddings, *parameters))


@pytest.mark.parametrize("kind", ["static", "adaptive", "plain"])
def test_a_node_alone_gets_nothing_and_gives_no_nan(kind):
    attention = _attention(kind).float()
    for n_nodes in (1, 3):
        keep = torch.zeros(2, n_nodes, dtype=torch.bool)
        keep[:, 0] = True
        sets = NodeSets.of(keep)
        out = attention(torch.randn(2, 6), sets, torch.randn(n_nodes, 6))
        assert torch.equal(out, torch.zeros(2, 6))
        out.sum().backward()
        assert all(bool(parameter.grad.isfinite().all()) for parameter in attention.parameters()
                   if parameter.grad is not None)  # fmt: skip


def test_softmax_of_half_precision_is_computed_in_float32():
    logits = torch.tensor([[9.0, 1.0], [-torch.inf, 0.0]], dtype=torch.bfloat16)
    found = restricted_softmax(logits, torch.tensor([True, True]))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor([[9.0, 1.0], [-torch.inf, 0.0]]).softmax(dim=-1))
    assert torch.equal(restricted_softmax(logits, torch.tensor([True, False]))[1], torch.zeros(2))
    attention = _attention("static").float()
    with torch.autocast("cpu", torch.bfloat16):
        assert attention.static_logits(torch.randn(4, 6)).dtype == torch.float32


@pytest.mark.parametrize("kind", ["static", "adaptive", "plain"])
def test_half_precision_stays_near(kind):
    torch.manual_seed(0)
    block = NodeBlock(16, 2, kind, self_loops=kind == "plain", drop_prob=0)
    sets = NodeSets.of(_sets())
    x, embeddings = torch.randn(len(sets.nodes), 16), torch.randn(N_NODES, 16)
    with torch.no_grad():
        wanted = block(x, sets, embeddings)
        with torch.autocast("cpu", torch.bfloat16):
            found = block(x, sets, embeddings)
    assert found.dtype == torch.float32  # what goes from block to block is not rounded
    torch.testing.assert_close(found, wanted, atol=0.05, rtol=0)


def test_tokens_go_to_their_places_and_back():
    keep = _sets()
    grid = torch.arange(keep.numel() * 2.0).view(*keep.shape, 2)
    sets = NodeSets.of(keep)
    tokens = sets.take(grid)
    assert torch.equal(sets.grid(tokens), grid * keep[..., None])
    assert torch.equal(tokens[sets.first()], grid[:, 0])
    assert [part.shape[:2] for part in sets.by_size(tokens)] == [torch.Size(group) for group in sets.groups]
    assert [size for _, size in sets.groups] == sorted({int(n) for n in keep.sum(dim=1)})
    whole = NodeSets.of(torch.ones_like(keep))
    assert whole.take(grid).data_ptr() == grid.data_ptr()  # nothing is copied where nothing is absent
    assert torch.equal(whole.take(grid)[whole.first()], grid[:, 0])


def test_refusals():
    with pytest.raises(UsageError, match="n_heads must divide emb_size=6, got 4"):
        NodeAttention(6, 4)
    with pytest.raises(UsageError, match="kind must be one of static, adaptive, plain, got 'dynamic'"):
        NodeAttention(6, 2, "dynamic")
    with pytest.raises(UsageError, match="mlp_ratio must leave a hidden layer, got 0"):
        NodeBlock(6, 2, mlp_ratio=0)
