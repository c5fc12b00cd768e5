"""Parity of NeuroRVQ's tokenizer with the published code, stage by stage; tolerances are those of the golden arrays."""

import zlib

import numpy as np
import pytest
import torch

from neurosig.tokenizers.neurorvq_channels import spatial_positions, temporal_positions
from neurosig.tokenizers.neurorvq_module import NeuroRVQTokenizerModule

FILES = ("tokenizer_small", "tokenizer_patch200_1layer")
SCALES = range(4)


@pytest.fixture(scope="module", params=FILES)
def golden(request, golden_dir):
    with np.load(golden_dir / "neurorvq" / f"{request.param}.npz", allow_pickle=False) as file:
        return dict(file)


def _weights(golden):
    return {name.removeprefix("sd/"): value for name, value in golden.items() if name.startswith("sd/")}


def _close(found, wanted, rtol=1e-5, atol=1e-5):
    np.testing.assert_allclose(np.asarray(found.detach()), wanted, rtol=rtol, atol=atol)


def _signal_close(found, wanted):
    _close(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())  # expm1 amplifies


def _codes(tokens):
    """Ours to (scale, level, window, channel and patch)."""
    return tokens.permute(1, 2, 0, 3, 4).flatten(3)


def _vectors(quantized, n_channels):
    """One scale to (window, dim, channel, patch)."""
    return quantized.transpose(1, 2).unflatten(2, (n_channels, -1))


@pytest.fixture(scope="module")
def run(golden):
    """One differentiated forward pass in evaluation mode."""
    module = NeuroRVQTokenizerModule.from_reference(_weights(golden), ch_names=golden["channels"].tolist())
    out = module(torch.from_numpy(golden["input"]))
    out.losses.total.backward()
    return module, out


def test_positions(golden):
    n_patches = golden["temporal_ix"].shape[1] // len(golden["channels"])
    n_slots = golden["sd/encoder.time_embed"].shape[0]
    wanted = golden["temporal_ix"].reshape(-1, n_patches)
    np.testing.assert_array_equal(wanted, np.broadcast_to(temporal_positions(n_patches, n_slots), wanted.shape))
    rows = np.repeat(spatial_positions(golden["channels"].tolist()), n_patches)
    np.testing.assert_array_equal(golden["spatial_ix"][0], rows)


def test_targets(golden, run):
    targets = run[1].targets
    flat = {name: golden[f"target/{name}"] for name in ("log_amp_std", "sin", "cos")}
    for found, name in ((targets.amplitude, "log_amp_std"), (targets.sine, "sin"), (targets.cosine, "cos")):
        _close(found, flat[name].reshape(found.shape))
    _close(targets.statistics.mean, golden["target/amp_mean"].ravel())
    _close(targets.statistics.std, golden["target/amp_std"].ravel())


@pytest.mark.parametrize("scale", SCALES)
def test_stages(golden, run, scale):
    out, n_channels = run[1], len(golden["channels"])
    _close(out.convolved[scale], golden[f"stage/temporal_conv_{scale + 1}"])
    _close(out.encoded[scale], golden[f"stage/encoder_{scale + 1}"])
    _close(out.projected[scale], golden[f"stage/pre_quant_{scale + 1}"])
    _close(_vectors(out.quantized[scale], n_channels), golden[f"stage/quantized_{scale + 1}"])


def test_tokens(golden, run):
    module, out = run
    np.testing.assert_array_equal(_codes(out.tokens), golden["out/indices"])
    x = torch.from_numpy(golden["input"])
    assert torch.equal(module.encode(x), out.tokens)
    _close(out.usage, golden["out/usage"])
    _close(module.embed(x)[:, 0].flatten(1, 2), golden["get_tokens/quantize_1"])


def test_reconstruction(golden, run):
    module, out = run
    for name, found in (("amp", out.amplitude), ("sin", out.sine), ("cos", out.cosine)):
        _close(found, golden[f"out/rec_{name}"])
    _signal_close(out.patches, golden["out/rec_signal"])
    _close(out.target_scores, golden["forward/std_x"])
    _signal_close(out.scores, golden["forward/std_rec"])
    decoded = module.decode(out.tokens, module.statistics(torch.from_numpy(golden["input"])))
    _signal_close(decoded.reshape(out.patches.shape), golden["out/rec_signal"])


@pytest.mark.parametrize("name", ["amplitude", "phase", "signal", "code", "total"])
def test_losses(golden, run, name):
    np.testing.assert_allclose(getattr(run[1].losses, name).item(), golden[f"loss/{name}"], rtol=1e-5)


def test_gradients(golden, run):
    module, _ = run
    parameters = dict(module.named_parameters())
    names = {entry.published: entry for entry in module._entries() if entry.ours in parameters}
    for published, entry in names.items():
        grad = parameters[entry.ours].grad
        if f"gradnorm/{published}" in golden:
            # below 1e-5 is rounding: biases before a normalisation have no gradient in exact arithmetic
            np.testing.assert_allclose(grad.norm(), golden[f"gradnorm/{published}"], rtol=1e-3, atol=1e-5)
        else:
            assert f"nograd/{published}" in golden
            assert grad is None
        if f"grad/{published}" in golden:
            wanted = golden[f"grad/{published}"]
            _close(grad.reshape(wanted.shape), wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
    without = {name.removeprefix("nograd/") for name in golden if name.startswith("nograd/")}
    assert not without & set(names)


def test_evaluation_changes_nothing_where_the_published_moves_its_counts(golden):
    module = NeuroRVQTokenizerModule.from_reference(_weights(golden), ch_names=golden["channels"].tolist())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    out = module(torch.from_numpy(golden["input"]))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    usage = torch.from_numpy(golden["sd/quantize_1.layers.0.cluster_size"])
    usage = 0.99 * usage + 0.01 * torch.bincount(out.tokens[:, 0, 0].flatten(), minlength=len(usage))
    _close(usage, golden["out/cluster_size_q1_l0_after_eval_forward"])


def test_two_training_steps(golden):
    module = NeuroRVQTokenizerModule.from_reference(_weights(golden), ch_names=golden["channels"].tolist()).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, weight_decay=1e-4)
    x = torch.from_numpy(golden["input"])
    for wanted in golden["train2/loss"]:
        optimizer.zero_grad()
        total = module.training_loss(x)["total"]
        total.backward()
        optimizer.step()
        np.testing.assert_allclose(total.item(), wanted, rtol=1e-4)
    for scale, level in ((1, 0), (1, 7), (4, 0), (4, 7)):
        quantizer = module.quantizers[scale - 1].levels[level]
        _close(quantizer.codebook, golden[f"train2/q{scale}_l{level}/weight"], rtol=1e-4, atol=1e-6)
        _close(quantizer.usage, golden[f"train2/q{scale}_l{level}/cluster_size"], rtol=1e-4, atol=1e-7)


def test_weights_go_both_ways(golden):
    weights = _weights(golden)
    back = NeuroRVQTokenizerModule.from_reference(weights).to_reference()
    assert list(back) == list(weights)
    for name, value in weights.items():
        np.testing.assert_array_equal(back[name], value)


def _formula(name, shape):
    """A weight by its name, see the README of the golden arrays."""
    random = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)  # the arrays' own generator
    base = random.standard_normal(int(np.prod(shape))).reshape(shape)
    if name.endswith(("embedding.weight", "embedding.embed_avg")):
        base /= np.linalg.norm(base, axis=1, keepdims=True)
    elif name.endswith("cluster_size"):
        base = np.zeros(shape)
    elif name.endswith("initted"):
        base = np.ones(shape)
    elif "norm" in name and name.endswith("weight"):
        base = 1 + 0.05 * base
    elif len(shape) == 1:
        base = 0.02 * base
    else:
        table = name.endswith(("pos_embed", "time_embed", "cls_token"))
        base = base / np.sqrt(2500 if table else np.prod(shape[1:]))
    return base.astype(np.float32)


@pytest.fixture(scope="module")
def full(golden_dir):
    """The published configuration; what nothing reads is left out, 33.6 million of its 75.7 million values."""
    with np.load(golden_dir / "neurorvq" / "tokenizer_full_formula_weights.npz", allow_pickle=False) as file:
        golden = dict(file)
    shapes = {
        str(name): tuple(int(n) for n in str(shape).strip("()").split(",") if n.strip())
        for name, shape in zip(golden["param_names"], golden["param_shapes"], strict=True)
    }
    unused = ("embedding.embed_avg", "embedding.cluster_size")
    weights = {name: _formula(name, shape) for name, shape in shapes.items() if not name.endswith(unused)}
    module = NeuroRVQTokenizerModule.from_reference(weights, ch_names=golden["channels"].tolist())
    return golden, shapes, weights["encoder.blocks.0.attn.qkv.weight"], module


def test_full_layout(full):
    golden, shapes, qkv, module = full
    np.testing.assert_allclose(qkv.astype(np.float64).sum(), golden["check/sum_encoder_block0_qkv"], rtol=1e-5)
    unused = ("embedding.embed_avg", "embedding.cluster_size")
    state, entries = module.state_dict(), module._entries()
    assert [entry.published for entry in entries] == [name for name in shapes if not name.endswith(unused)]
    for entry in entries:
        assert tuple(state[entry.ours].shape) + entry.trailing == shapes[entry.published]
    trainable = sum(parameter.numel() for parameter in module.parameters())
    assert trainable == golden["n_parameters_trainable"]
    codebooks = sum(level.codebook.numel() for one in module.quantizers for level in one.levels)
    assert trainable + 2 * codebooks + 32 * 8192 == golden["n_parameters_total"]  # embed_avg and cluster_size


def test_full_configuration(full):
    golden, _, _, module = full
    with torch.no_grad():
        out = module(torch.from_numpy(golden["input"]))
    for scale in (0, 3):
        _close(out.convolved[scale], golden[f"stage/temporal_conv_{scale + 1}"])
        _close(out.encoded[scale], golden[f"stage/encoder_{scale + 1}"])
        _close(out.projected[scale], golden[f"stage/pre_quant_{scale + 1}"])
        _close(_vectors(out.quantized[scale], 4), golden[f"stage/quantized_{scale + 1}"])
    np.testing.assert_array_equal(_codes(out.tokens), golden["out/indices"])
    assert torch.equal(module.encode(torch.from_numpy(golden["input"])), out.tokens)
    _close(out.usage, golden["out/usage"])
    _close(out.targets.amplitude, golden["target/log_amp_std"].reshape(1, 16, 200))
    for name, found in (("amp", out.amplitude), ("sin", out.sine), ("cos", out.cosine)):
        _close(found, golden[f"out/rec_{name}"])
    _signal_close(out.patches, golden["out/rec_signal"])
    for name in ("amplitude", "phase", "signal", "code", "total"):
        np.testing.assert_allclose(getattr(out.losses, name).item(), golden[f"loss/{name}"], rtol=1e-5)
