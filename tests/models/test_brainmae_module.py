"""BrainMAE's module: what its formulas promise, runs of different lengths, missing regions, clear refusals."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.runs import padded
from neurosig.models import BrainMAE
from neurosig.models.brainmae_masking import draw_masks
from neurosig.models.brainmae_parts import VARIANTS

SMALL = {"n_chans": 9, "sfreq": 0.5, "segment": 8.0, "n_segments": 5, "emb_size": 12, "n_heads": 2}  # 4 volumes


def _module(variant="sg", *, seed=0, **options):
    """In evaluation mode, float64, with weights that are large enough to matter."""
    torch.manual_seed(seed)
    module = BrainMAE(**{**SMALL, "variant": variant, **options}).double().eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1 or "class" in name:
                parameter.normal_(std=0.4)
    return module


def _runs(n=3, n_times=20, seed=0):
    return torch.randn(n, 9, n_times, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _mask(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5


every = pytest.mark.parametrize("variant", VARIANTS)


# -- invariants of the attention --------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["sg", "ag"])
def test_static_attention_is_a_matrix_of_shares_without_self_loops(variant):
    module = _module(variant)
    with torch.no_grad():
        attention = module.graph_attention()
    assert attention.shape == ((3 if variant == "sg" else 1), 2, 10, 10)
    assert bool((attention.diagonal(dim1=-2, dim2=-1) == 0).all())
    assert bool((attention >= 0).all())
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones_like(attention[..., 0]))


def test_self_loops_are_an_ablation():
    with torch.no_grad():
        attention = _module(self_loops=True).graph_attention()
    assert bool((attention.diagonal(dim1=-2, dim2=-1) > 0).all())
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones_like(attention[..., 0]))
    with pytest.raises(UsageError, match="no static attention"):
        _module("vanilla").graph_attention()


@pytest.mark.parametrize(("variant", "kinds"), [("sg", "sss"), ("ag", "saa"), ("vanilla", "ppp")])
def test_blocks_of_the_variants(variant, kinds):
    """Whether weights depend on the data: never in static blocks."""
    module = _module(variant)
    found = []
    for block in module.state_encoder:
        block.attention.register_forward_hook(
            lambda layer, inputs, _: found.append(layer.weights(*inputs).detach().mean(dim=0))
        )
    with torch.no_grad():
        module.encode(_runs(1, 4))
        module.encode(100 * _runs(1, 4, seed=1))
    assert [block.attention.kind[0] for block in module.state_encoder] == list(kinds)
    assert [torch.equal(a, b) for a, b in zip(found[:3], found[3:], strict=True)] == [kind == "s" for kind in kinds]
    loops = [bool(layer.diagonal(dim1=-2, dim2=-1).any()) for layer in found[:3]]
    assert loops == [variant == "vanilla"] * 3


# -- invariants of the module -----------------------------------------------------------------------------------------


@every
def test_regions_are_known_by_their_embedding_not_by_their_place(variant):
    module, x = _module(variant, n_outputs=2), _runs(n_times=30)
    order = torch.tensor([3, 1, 4, 0, 5, 8, 2, 6, 7])
    mask = _mask((3, 7, 9))
    moved = copy.deepcopy(module)
    with torch.no_grad():
        moved.region_embedding.copy_(module.region_embedding[order])
        wanted, found = module.reconstruct(x, mask), moved.reconstruct(x[:, order], mask[:, :, order])
        torch.testing.assert_close(found.x_hat, wanted.x_hat[:, :, order], atol=1e-5, rtol=0)
        torch.testing.assert_close(moved.embed(x[:, order]), module.embed(x), atol=1e-5, rtol=0)
        torch.testing.assert_close(moved(x[:, order]), module(x), atol=1e-5, rtol=0)
        assert float((module.embed(x[:, order]) - module.embed(x)).abs().max()) > 1e-3


@every
def test_what_is_hidden_influences_nothing(variant):
    module, x, mask = _module(variant), _runs(), _mask((3, 5, 9))
    hidden = mask.transpose(1, 2).repeat_interleave(4, dim=2)
    garbage = torch.where(hidden, 1e6 * torch.randn(x.shape, dtype=x.dtype), x)
    with torch.no_grad():
        assert torch.equal(module.encode(garbage, mask).states, module.encode(x, mask).states)
        assert torch.equal(module.reconstruct(garbage, mask).x_hat, module.reconstruct(x, mask).x_hat)
        assert not torch.allclose(module.encode(garbage).states, module.encode(x).states)


@every
def test_a_mask_stays_in_its_segment_until_the_temporal_encoder(variant):
    module, x = _module(variant), _runs()
    mask = torch.zeros(3, 5, 9, dtype=torch.bool)
    mask[:, 2, :4] = True
    others = [0, 1, 3, 4]
    with torch.no_grad():
        seen, part = module.encode(x), module.encode(x, mask)
    torch.testing.assert_close(part.states[:, others], seen.states[:, others])
    torch.testing.assert_close(part.regions[:, others], seen.regions[:, others])
    assert float((part.states[:, 2] - seen.states[:, 2]).abs().max()) > 1e-3
    assert float((part.contextual[:, others] - seen.contextual[:, others]).abs().amin(dim=(0, 2)).max()) > 0
    assert bool((part.regions[:, 2, :4] == 0).all())


@every
def test_runs_of_different_lengths_in_one_batch(variant):
    """Each run gives what it gives alone: neither another run nor its own end reaches it."""
    module = _module(variant, n_outputs=2)
    runs = [_runs(1, n_times, seed=n_times)[0] for n_times in (47, 20, 9, 5)]  # 11 segments in 3 windows, 5, 2, 1
    x = torch.from_numpy(padded([run.numpy() for run in runs])[0]).double()
    runs = [run.float().double() for run in runs]
    with torch.no_grad():
        together, embedded, logits = module.encode(x), module.embed(x), module(x)
        attended, decoded = module.state_attention(x), module.reconstruct(x)
        for row, run in enumerate(runs):
            alone = module.encode(run[None])
            n_segments = alone.valid.shape[1]
            assert bool(alone.valid.all())
            assert together.valid[row].tolist() == [True] * n_segments + [False] * (11 - n_segments)
            for name in ("states", "contextual", "regions"):
                torch.testing.assert_close(getattr(together, name)[row, :n_segments], getattr(alone, name)[0])
                assert not bool(getattr(together, name)[row, n_segments:].any())
            torch.testing.assert_close(embedded[row], module.embed(run[None])[0])
            torch.testing.assert_close(logits[row], module(run[None])[0])
            torch.testing.assert_close(
                attended[row, ..., :n_segments, :n_segments], module.state_attention(run[None])[0]
            )
            torch.testing.assert_close(decoded.x_hat[row, :n_segments], module.reconstruct(run[None]).x_hat[0])
            assert not bool(decoded.x_hat[row, n_segments:].any())


@every
def test_a_missing_region_is_one_that_is_hidden_throughout(variant):
    module, x = _module(variant), _runs()
    lacking = x.clone()
    lacking[1, [2, 5]] = torch.nan
    mask = torch.zeros(3, 5, 9, dtype=torch.bool)
    mask[1, :, [2, 5]] = True
    with torch.no_grad():
        torch.testing.assert_close(module.encode(lacking).contextual, module.encode(x, mask).contextual)
        found = module.reconstruct(lacking)
        torch.testing.assert_close(found.x_hat, module.reconstruct(x, mask).x_hat)  # and is guessed all the same
    assert torch.equal(found.present, ~mask)
    assert bool(found.x_hat.isfinite().all())


def test_a_gap_within_a_run_costs_its_segment_only():
    module, x = _module(), _runs()
    gap = x.clone()
    gap[0, 3, 9] = torch.nan
    with torch.no_grad():
        found, whole = module.encode(gap), module.encode(x)
    assert (~found.present).nonzero().tolist() == [[0, 2, 3]]
    torch.testing.assert_close(found.states[0, [0, 1, 3, 4]], whole.states[0, [0, 1, 3, 4]])


# -- windows and crops ------------------------------------------------------------------------------------------------


def test_long_runs_are_read_in_windows():
    """10 segments are two windows, whose logits are averaged; volumes that fill no segment do not count."""
    module, x = _module(n_outputs=3), _runs(n_times=43)
    with torch.no_grad():
        halves = module(x[..., :20]), module(x[..., 20:40])
        torch.testing.assert_close(module(x), (halves[0] + halves[1]) / 2)
        torch.testing.assert_close(module(x[..., :28]), (5 * halves[0] + 2 * module(x[..., 20:28])) / 7)
        torch.testing.assert_close(module.embed(x)[:, None], module.encode(x).contextual.mean(dim=1, keepdim=True))
        apart = module.state_attention(x)[..., :5, 5:]
    assert not bool(apart.any())


def test_attention_among_states_is_a_matrix_of_shares():
    module = _module()
    with torch.no_grad():
        attention = module.state_attention(_runs(n_times=31))
    assert attention.shape == (3, 2, 2, 7, 7)
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones_like(attention[..., 0]))


def test_crops_begin_anywhere_and_are_whole_segments():
    module = _module()
    times = torch.arange(27.0)
    x = times.expand(400, 9, 27).clone()
    x[200:, :, 11:] = torch.nan  # runs of 11 volumes have two segments
    found = module.crop(x, torch.Generator().manual_seed(0))
    assert found.shape == (400, 9, 20)
    starts = found[:, 0, 0].long()
    assert starts[:200].unique().tolist() == list(range(8))
    assert starts[200:].unique().tolist() == [0, 1, 2, 3]
    steps = torch.arange(20.0)
    assert torch.equal(found[:200], (starts[:200, None] + steps)[:, None].expand(-1, 9, -1))
    assert torch.equal(found[200:, :, :8], (starts[200:, None] + steps[:8])[:, None].expand(-1, 9, -1))
    assert bool(found[200:, :, 8:].isnan().all())


def test_training_draws_crops_from_the_generator():
    module, x = _module(drop_prob=0.0), _runs(n_times=60)
    losses = [module.training_loss(x, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(losses[0]["total"], losses[1]["total"])
    assert not torch.equal(losses[0]["total"], losses[2]["total"])
    torch.manual_seed(0)
    trained = module.train()(x)
    torch.manual_seed(0)
    cropped = module.crop(x)
    torch.testing.assert_close(trained, module.eval()(cropped))


# -- training ---------------------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("region_embedding", ["learned", "sincos"])
def test_pretraining_reaches_every_parameter(variant, region_embedding):
    token = "sum" if region_embedding == "learned" else "product"
    module = _module(variant, region_embedding=region_embedding, decoder_token=token).train()
    x = _runs(4, 33)
    x[0, 3] = torch.nan
    x[1, :, 14:] = torch.nan
    loss = module.training_loss(x, torch.Generator().manual_seed(0))
    assert set(loss) == {"total", "masked", "unmasked"}
    torch.testing.assert_close(loss["total"], 0.75 * loss["masked"] + 0.25 * loss["unmasked"])
    loss["total"].backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.any()) or name.endswith("to_k.bias"), name  # a softmax knows no constant
    assert ("region_embedding" in dict(module.named_parameters())) == (region_embedding == "learned")


def test_the_loss_is_that_of_the_reconstruction():
    module, x = _module(), _runs(n_times=20)
    loss = module.training_loss(x, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    module.crop(x, generator)
    mask = draw_masks(torch.ones(3, 5, 9, dtype=torch.bool), module.ratios, generator)
    found = module.reconstruct(x, mask)
    errors = (found.x_hat - found.x).square()
    torch.testing.assert_close(loss["masked"], errors[mask].mean())
    torch.testing.assert_close(loss["unmasked"], errors[~mask].mean())


def test_without_masks_it_is_an_autoencoder():
    loss = _module(mask_ratio=None).training_loss(_runs(), torch.Generator().manual_seed(0))
    assert not bool(loss["masked"])
    torch.testing.assert_close(loss["total"], 0.25 * loss["unmasked"])


@every
def test_mixed_precision_stays_near_and_finite(variant):
    torch.manual_seed(0)
    module = BrainMAE(**SMALL, variant=variant, n_outputs=2).eval()
    x = _runs(n_times=40).float()
    x[0, 2] = torch.nan
    with torch.no_grad():
        wanted = module(x), module.training_loss(x, torch.Generator().manual_seed(0))["total"]
        with torch.autocast("cpu", torch.bfloat16):
            found = module(x), module.training_loss(x, torch.Generator().manual_seed(0))["total"]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.float(), other, atol=0.03, rtol=0.03)


# -- sizes, state, cost -----------------------------------------------------------------------------------------------


def _count(*, n, samples, d, ratio, blocks, n_outputs=None, learned=True, products=2):
    """Parameters by the formula: blocks of attention, hidden layer and two norms; projections, embeddings, head."""
    hidden = round(ratio * d)
    block = 4 * (d * d + d) + (d * hidden + hidden) + (hidden * d + d) + 2 * 2 * d
    inputs = samples * d + d + 2 * d + (n * d if learned else 0)
    decoder = (d * d + d) + products * d * d + (d * samples + samples)
    head = 0 if n_outputs is None else 2 * d + d * n_outputs + n_outputs
    return inputs + blocks * block + 3 * 2 * d + decoder + head


@every
def test_number_of_parameters(variant):
    module = BrainMAE(n_chans=100, sfreq=1 / 0.72, variant=variant, n_outputs=2)
    found = sum(parameter.numel() for parameter in module.parameters())
    assert module.samples == 21
    assert found == _count(n=100, samples=21, d=256, ratio=4, blocks=6, n_outputs=2) == 4_909_591 + 256**2
    small = BrainMAE(**SMALL, variant=variant, mlp_ratio=2.5, region_embedding="sincos", decoder_depth=2)
    found = sum(parameter.numel() for parameter in small.parameters())
    assert found == _count(n=9, samples=4, d=12, ratio=2.5, blocks=7, learned=False)
    published = BrainMAE(**SMALL, variant=variant, mlp_ratio=2.5, decoder_token="sum")
    found = sum(parameter.numel() for parameter in published.parameters())
    assert found == _count(n=9, samples=4, d=12, ratio=2.5, blocks=6, products=1)


@pytest.mark.parametrize(
    ("t_r", "samples"), [(0.72, 21), (0.8, 19), (1.0, 15), (1.6, 9), (2.0, 8), (6.0, 3), (10.0, 2)]
)
def test_volumes_of_a_segment_are_rounded_half_up(t_r, samples):
    assert BrainMAE(n_chans=2, sfreq=1 / t_r, emb_size=2, n_heads=1).samples == samples


@every
def test_cost_of_the_state_encoder_is_linear_in_segments(variant):
    module = _module(variant, n_segments=8)

    def operations(n_times):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module._states(*module._segments(_runs(1, n_times)))
        return counter.get_total_flops()

    cost = [operations(4 * n_segments) for n_segments in (4, 8, 16, 32)]
    steps = [(late - early) / 2**i for i, (early, late) in enumerate(pairwise(cost))]
    assert steps[0] > 0
    np.testing.assert_allclose(steps, steps[0])


@pytest.mark.parametrize("variant", ["sg", "ag"])
def test_hidden_regions_cost_nothing(variant):
    module = _module(variant, n_segments=8)
    none, most = torch.zeros(2, 16, 9, dtype=torch.bool), torch.ones(2, 16, 9, dtype=torch.bool)
    most[..., :2] = False
    cost = []
    for mask in (none, most):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module.encode(_runs(2, 64), mask)
        cost.append(counter.get_total_flops())
    assert cost[1] < 0.5 * cost[0]


@every
def test_state_goes_to_another_module(variant):
    module, x = _module(variant, n_outputs=2), _runs()
    other = _module(variant, n_outputs=2, seed=1)
    assert not torch.equal(other(x), module(x))
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(x), module(x))
    assert torch.equal(copy.deepcopy(module)(x), module(x))
    longer = BrainMAE(**{**SMALL, "sfreq": 1.0}, variant=variant, n_outputs=2).double()
    shapes = {name: value.shape for name, value in longer.state_dict().items()}
    assert {name for name, value in module.state_dict().items() if value.shape != shapes[name]} == set(
        BrainMAE.OF_THE_RATE
    )


def test_seed_gives_the_same_weights():
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(BrainMAE(**SMALL).state_dict()["region_embedding"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize(("init_std", "of_weights", "of_embeddings"), [(0.02, 0.02, 0.02), (None, 1 / 8, 0.3)])
def test_start_of_the_weights(init_std, of_weights, of_embeddings):
    torch.manual_seed(0)
    module = BrainMAE(n_chans=50, sfreq=0.5, emb_size=64, n_heads=2, n_outputs=40, init_std=init_std)
    for layer in (module.state_encoder[0].attention.to_q, module.from_region):
        np.testing.assert_allclose(layer.weight.detach().std(), of_weights, rtol=0.05)
    np.testing.assert_allclose(module.final_layer.weight.detach().std(), 0.02, rtol=0.05)
    assert not bool(module.final_layer.bias.any())
    np.testing.assert_allclose(module.region_embedding.detach().std(), of_embeddings, rtol=0.05)


def test_the_start_fills_in_nothing_yet_sees_the_data():
    torch.manual_seed(0)
    module, x = BrainMAE(**SMALL, drop_prob=0.0), _runs(4).float()
    loss = module.training_loss(x, torch.Generator().manual_seed(0))
    loss["total"].backward()
    assert not bool(module.reconstruct(x, _mask((4, 5, 9))).x_hat.any())
    assert bool(module.output_projection.weight.grad.any())  # it can learn
    one, other = module.encode(x).contextual[:2].detach()
    assert float((one - other).std()) > 0.1  # of normalised values: what goes through the network is about the data
    assert bool(BrainMAE(**SMALL, init_std=0.02).reconstruct(x).x_hat.any())


def test_a_product_token_is_the_state_weighed_by_the_region():
    module = _module(decoder_token="product")
    states = torch.randn(3, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = []
    module.decoder[0].register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].detach()))
    module._decode(states)
    e = module.region_embedding
    for state, tokens in zip(states, found[0].unflatten(0, (3, 9)), strict=True):
        u = module.from_state.weight @ state + module.from_state.bias
        wanted = u * (e @ module.region_gate.weight.T) + e @ module.from_region.weight.T
        torch.testing.assert_close(tokens, wanted.detach())
    assert _module(decoder_token="sum").region_gate is None


def test_a_new_head():
    module, x = _module(), _runs()
    assert torch.equal(module(x), module.embed(x))
    assert list(module.head_parameters()) == []
    module.reset_head(4)
    assert module(x).shape == (3, 4)
    assert module.n_outputs == 4
    assert sum(parameter.numel() for parameter in module.head_parameters()) == 2 * 12 + 12 * 4 + 4


def test_similarity_is_the_cosine():
    module = _module()
    with torch.no_grad():
        found = module.region_similarity()
        torch.testing.assert_close(
            found[2, 5], torch.cosine_similarity(module.region_embedding[2], module.region_embedding[5], dim=0)
        )
    torch.testing.assert_close(found.diagonal(), torch.ones(9, dtype=torch.float64))


def test_sincos_embeddings_are_fixed_and_differ():
    module = BrainMAE(**SMALL, region_embedding="sincos")
    wanted = [[np.sin(5 / 10000 ** (2 * i / 12)), np.cos(5 / 10000 ** (2 * i / 12))] for i in range(6)]
    np.testing.assert_allclose(module.region_embedding[5], np.ravel(wanted), atol=1e-6)
    assert not module.region_embedding.requires_grad


def test_gradients_of_the_whole():
    module = _module(n_chans=3, emb_size=4, depth=1, temporal_depth=1, n_outputs=2)
    x = _runs(1, 8)[:, :3].requires_grad_()
    assert torch.autograd.gradcheck(module, (x,))
    mask = torch.tensor([[[True, False, False], [False, False, True]]])
    assert torch.autograd.gradcheck(lambda x: module.reconstruct(x, mask).x_hat, (x,))


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_chans": None}, "needs the regions"),
        ({"sfreq": None}, "and sfreq, which is 1 / TR"),
        ({"variant": "dynamic"}, "variant must be one of sg, ag, vanilla, got 'dynamic'"),
        ({"region_embedding": "fixed"}, "region_embedding must be one of learned, sincos"),
        ({"decoder_token": "cat"}, "decoder_token must be one of product, sum, got 'cat'"),
        ({"depth": 0}, "depth must be a whole number, at least 1, got 0"),
        ({"n_segments": 1.5}, "n_segments must be a whole number, at least 1, got 1.5"),
        ({"emb_size": 9, "n_heads": 3}, "emb_size must be even, got 9"),
        ({"n_heads": 5}, "n_heads must divide emb_size=12, got 5"),
        ({"sfreq": 0.0}, "must be above 0"),
        ({"segment": -1.0}, "must be above 0"),
        ({"sfreq": 1 / 2000}, "holds no volume at a TR of 2000 s; is the TR in ms"),
        ({"mask_ratio": (0.5, 1.0)}, "mask_ratio is a pair of shares"),
        ({"mask_ratio": 0.5}, "mask_ratio is a pair of shares"),
        ({"masked_weight": 1.5}, "masked_weight must be from 0 to 1"),
        ({"init_std": 0.0}, "init_std must be above 0, or None, got 0.0"),
        ({"n_outputs": 0}, "n_outputs must be a whole number"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        BrainMAE(**{**SMALL, **options})


def test_runs_that_are_refused():
    module = _module()
    with pytest.raises(ChannelError, match=r"expected runs of shape \(n, 9, n_times\), got \(3, 8, 20\)"):
        module(_runs()[:, :8])
    with pytest.raises(InputError, match="a segment has 4 volumes, the run 3"):
        module(_runs(n_times=3))
    with pytest.raises(InputError, match="a segment has 4 volumes, the run 3"):
        BrainMAE(**SMALL, n_times=3)
    with pytest.raises(InputError, match=r"expected a bool mask of shape \(3, 5, 9\), got torch.bool \(3, 4, 9\)"):
        module.encode(_runs(), _mask((3, 4, 9)))
    ended = _runs()
    ended[1, :, 3:] = torch.nan
    for call in (module, module.embed, module.training_loss):
        with pytest.raises(InputError, match="no segment in which any region was measured"):
            call(ended)
    with pytest.raises(InputError, match="a segment has 4 volumes, the run 3"):
        module.training_loss(ended[1:2])


def test_regions_come_with_names():
    info = [{"ch_name": name} for name in ("V1", "M1", "PCC")]
    module = BrainMAE(chs_info=info, sfreq=0.5, emb_size=4, n_heads=1)
    assert (module.n_chans, module.ch_names) == (3, ("V1", "M1", "PCC"))
    with pytest.raises(ChannelError, match="chs_info names 3 regions, n_chans is 4"):
        BrainMAE(4, chs_info=info, sfreq=0.5)
