"""What NeuroRVQ's tokenizer promises beyond the published code: purity, decoding, sizes, channels, refusals."""

import math

import numpy as np
import pytest
import torch

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.tokenizers import NEURORVQ_CHANNELS, NeuroRVQTokenizerModule
from neurosig.tokenizers.neurorvq_channels import known_channels, temporal_positions
from neurosig.tokenizers.neurorvq_config import BackboneConfig, neurorvq_config
from neurosig.tokenizers.neurorvq_spectrum import (
    AmplitudeStatistics,
    SpectrumTargets,
    phase_loss,
    signal_of_spectrum,
    spectrum_targets,
)

SMALL = {"patch_size": 40, "depth": 1, "decoder_depth": 1, "n_codes": 16, "code_dim": 8, "n_levels": 3, "n_heads": 4}


def _module(ch_names=("C3", "Cz", "C4"), **options):
    generator = torch.Generator().manual_seed(0)
    return NeuroRVQTokenizerModule(ch_names, **{**SMALL, **options}, generator=generator).eval()


def _windows(n=5, n_channels=3, n_times=200, seed=0):
    noise = np.random.default_rng(seed).standard_normal((n, n_channels, n_times)).cumsum(axis=-1)
    return torch.from_numpy(noise).float()


@pytest.fixture(scope="module")
def module():
    return _module()


def test_tokens_do_not_depend_on_the_batch_and_change_nothing(module):
    x = _windows()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    tokens = module.encode(x)
    assert tokens.shape == (5, 4, 3, 3, 5)
    assert tokens.dtype == torch.int64
    assert len(module.token_axes) == tokens.ndim
    assert torch.equal(tokens, torch.cat([module.encode(x[:2]), module.encode(x[2:])]))
    assert torch.equal(tokens, module.encode(x))
    module(x)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_decode_is_the_forward_reconstruction(module):
    x = _windows()
    out = module(x)
    decoded = module.decode(out.tokens, module.statistics(x))
    torch.testing.assert_close(decoded, out.signal.detach(), rtol=1e-4, atol=1e-4)
    assert decoded.shape == x.shape
    coarse = module.decode(out.tokens[:, :, :1], module.statistics(x))
    assert coarse.shape == x.shape
    assert not torch.allclose(coarse, decoded)


def test_without_statistics_those_of_training_serve(module):
    x = _windows()
    tokens = module.encode(x)
    with pytest.raises(InputError, match="pass stats"):
        module.decode(tokens)
    trained = _module()
    trained.train()(x[:2])
    trained(x[2:])
    kept = trained.eval().statistics(x)
    assert int(trained.n_windows) == 5
    torch.testing.assert_close(trained.amplitude_mean, kept.mean.mean())
    torch.testing.assert_close(trained.amplitude_std, kept.std.mean())
    tokens = trained.encode(x)
    same = AmplitudeStatistics(kept.mean.mean().expand(5), kept.std.mean().expand(5))
    torch.testing.assert_close(trained.decode(tokens), trained.decode(tokens, same), rtol=1e-4, atol=1e-4)


def test_training_lowers_every_part_but_a_frozen_module_stays():
    module = _module(n_codes=32).train()
    x = _windows(4)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    history = []
    for _ in range(8):
        optimizer.zero_grad()
        losses = module.training_loss(x, torch.Generator().manual_seed(0))
        losses["total"].backward()
        optimizer.step()
        history.append(losses["total"].item())
    assert set(losses) == {"total", "code", "amplitude", "phase", "signal"}
    assert math.isclose(sum(losses[name].item() for name in losses if name != "total"), history[-1], rel_tol=1e-5)
    assert history[-1] < 0.95 * history[0]
    assert all(bool(level.started) for one in module.quantizers for level in one.levels)
    before = {name: value.clone() for name, value in module.freeze().state_dict().items()}
    module.train()(x)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_save_and_load_and_published_layout_give_the_same_tokens(tmp_path):
    module, x = _module(), _windows()
    module.train()(x)
    tokens = module.eval().encode(x)
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    again = _module(restart_dead_codes=0.1)
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(again.eval().encode(x), tokens)
    back = NeuroRVQTokenizerModule.from_reference(module.to_reference(), ch_names=["C3", "Cz", "C4"])
    assert torch.equal(back.encode(x), tokens)
    assert back.config == module.config


def test_silent_and_constant_windows_are_finite(module):
    for x in (torch.zeros(2, 3, 200), torch.full((2, 3, 200), 7.0)):
        out = module(x)
        assert torch.isfinite(out.signal).all()
        assert torch.isfinite(out.losses.total)
        assert torch.equal(out.tokens, module.encode(x))


def test_spectrum_there_and_back():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 6, 40)))
    targets = spectrum_targets(x)
    np.testing.assert_allclose(targets.sine, np.sin(np.angle(np.fft.fft(x))), atol=1e-12)
    np.testing.assert_allclose(targets.cosine, np.cos(np.angle(np.fft.fft(x))), atol=1e-12)
    back = signal_of_spectrum(targets.amplitude, targets.sine, targets.cosine, targets.statistics)
    np.testing.assert_allclose(back, x, atol=1e-12)
    assert phase_loss(targets.sine, targets.cosine, targets).item() == pytest.approx(0, abs=1e-12)
    opposite = SpectrumTargets(targets.amplitude, -targets.sine, -targets.cosine, targets.statistics)
    assert phase_loss(targets.sine, targets.cosine, opposite).item() == pytest.approx(2)
    # half the radius: the cosine does not see it, the circle does
    assert phase_loss(targets.sine / 2, targets.cosine / 2, targets).item() == pytest.approx(0.1 * 0.75**2)


@pytest.mark.parametrize(("kind", "n_channels"), [("eeg", None), ("ecg", 12), ("emg", 16), ("ppg", 1)])
def test_configurations(kind, n_channels):
    sizes = neurorvq_config(kind, n_channels=n_channels, depth=1, n_codes=8, code_dim=4)
    module = NeuroRVQTokenizerModule([0, 1] if n_channels != 1 else [0], **sizes).eval()
    levels = 16 if kind == "emg" else 8
    x = _windows(2, 1 if n_channels == 1 else 2, 3 * module.config.patch_size)
    tokens = module.encode(x)
    assert tokens.shape == (2, 4, levels, x.shape[1], 3)
    assert module.decode(tokens, module.statistics(x)).shape == x.shape


def test_configurations_that_cannot_be():
    with pytest.raises(UsageError, match="pass n_channels for 'ecg'"):
        neurorvq_config("ecg")
    with pytest.raises(UsageError, match="kind must be one of eeg, ecg, emg, ppg, got 'meg'"):
        neurorvq_config("meg")
    with pytest.raises(UsageError, match="one length a scale each"):
        BackboneConfig(kernels_1=(3, 5), kernels_2=(3,))
    with pytest.raises(UsageError, match="n_heads must divide the width 200, got 7"):
        BackboneConfig(n_heads=7)
    with pytest.raises(UsageError, match="n_groups must divide n_filters"):
        BackboneConfig(n_filters=6)
    with pytest.raises(UsageError, match="one length is needed"):
        BackboneConfig(patch_size=8, kernels_1=(8, 3), kernels_2=(3, 3), pool_1=1, pool_2=1)


# --- channels ---


def test_the_list_of_channels():
    assert len(NEURORVQ_CHANNELS) == len(set(NEURORVQ_CHANNELS)) == 104
    assert list(NEURORVQ_CHANNELS) == sorted(NEURORVQ_CHANNELS, key=str)  # published in the order of the alphabet
    row = NEURORVQ_CHANNELS.index
    names = ["Fp1", "EEG C3-REF", "Fc5.", "CZ", "p08", "PO8", "P8", "T3", "T7", "EEG T5-LE", "P3-A2"]
    found = known_channels(names)
    wanted = ["fp1", "c3", "fc5", "cz", "p08", "po8", "p8", "t3", "t7", "p7", "p3"]
    assert found.positions[:9] == tuple(row(name) for name in wanted[:9])
    assert found.positions[10] == row("p3")
    assert NEURORVQ_CHANNELS[found.positions[9]] in ("t5", "p7")  # one place, two names


def test_unknown_and_doubled_channels():
    with pytest.raises(ChannelError, match="no position for STI 014, EMG7; rename these channels"):
        known_channels(["C3", "STI 014", "EMG7"])
    found = known_channels(["STI 014", "C3", "EMG7", "Cz"], on_unknown="drop")
    assert found.kept == (1, 3)
    assert found.unknown == ("STI 014", "EMG7")
    with pytest.raises(ChannelError, match="knows none of the channels"):
        known_channels(["X1", "X2"], on_unknown="drop")
    with pytest.raises(ChannelError, match="C3, EEG C3-REF are one channel, c3"):
        known_channels(["C3", "EEG C3-REF"])
    with pytest.raises(UsageError, match="on_unknown must be"):
        known_channels(["C3"], on_unknown="interpolate")


def test_the_newest_patch_is_always_the_last_slot():
    assert temporal_positions(3, 10).tolist() == [7, 8, 9]
    with pytest.raises(InputError, match="expected 1 to 10 patches a channel, got 11"):
        temporal_positions(11, 10)


# --- refusals ---


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 3, 39), "at least one patch of 40 samples, got windows of 39"),
        (torch.zeros(2, 3, 90), "expected whole patches of 40 samples, got windows of 90"),
        (torch.zeros(2, 3), r"expected windows of shape \(n, channels, times\), got \(2, 3\)"),
        (torch.zeros(2, 3, 80, dtype=torch.int64), "expected windows as floating-point numbers"),
        (torch.full((2, 3, 80), torch.nan), "NaN or infinity"),
        (torch.zeros(1, 3, 40 * 257), "expected 1 to 256 patches a channel, got 257"),
    ],
)
def test_windows_that_cannot_be(module, x, message):
    for call in (module, module.encode):
        with pytest.raises(InputError, match=message):
            call(x)


def test_channels_that_do_not_fit(module):
    with pytest.raises(ChannelError, match="expected 2 channels, as the windows have, got"):
        module.encode(torch.zeros(1, 2, 80))
    with pytest.raises(ChannelError, match="expected rows of the spatial table, 0 to 104"):
        module.encode(torch.zeros(1, 2, 80), [3, 105])
    with pytest.raises(ChannelError, match="no position for Q1"):
        module.encode(torch.zeros(1, 2, 80), ["C3", "Q1"])
    with pytest.raises(UsageError, match="needs to know the channels"):
        _module(None).encode(torch.zeros(1, 2, 80))


def test_tokens_that_cannot_be(module):
    tokens = module.encode(_windows(2))
    stats = module.statistics(_windows(2))
    with pytest.raises(InputError, match="expected tokens between 0 and 15, got 16"):
        module.decode(torch.full_like(tokens, 16), stats)
    with pytest.raises(InputError, match="expected tokens as integers"):
        module.decode(tokens.float(), stats)
    with pytest.raises(InputError, match=r"expected tokens of shape \(n, 4 scales, 3 levels"):
        module.decode(tokens[0], stats)
    with pytest.raises(InputError, match=r"expected statistics of shape \(2,\)"):
        module.decode(tokens, AmplitudeStatistics(stats.mean[:1], stats.std[:1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("encoder.blocks.0.mlp.fc1.bias"), "missing: encoder.blocks.0.mlp.fc1.bias"),
        (lambda state: state.pop("encoder.pos_embed"), "missing: encoder.pos_embed"),
        (lambda state: state.update({"encoder.pos_embed": torch.zeros(2, 3, 4)}), r"pos_embed has shape \(2, 3, 4\)"),
        (lambda state: state.update(extra=torch.zeros(1)), "left over: extra"),
        (
            lambda state: state.update({"encoder.fc_norm_1.weight": torch.zeros(3)}),
            r"shapes: encoder.fc_norm_1.weight \(3,\) instead of \(40,\)",
        ),
        (lambda state: state["decoder.cls_token"].fill_(torch.nan), "not finite: decoder.cls_token"),
        (
            lambda state: state["quantize_1.layers.0.embedding.embed_avg"].fill_(torch.inf),
            "not finite: quantize_1.layers.0.embedding.embed_avg",
        ),
        (
            lambda state: state.update({"quantize_2.layers.1.embedding.cluster_size": torch.zeros(3)}),
            r"shapes: quantize_2.layers.1.embedding.cluster_size \(3,\) instead of",
        ),
        (
            lambda state: state["quantize_2.layers.1.embedding.weight"].mul_(2),
            "quantize_2.layers.1.embedding.weight: expected codes of length one",
        ),
    ],
)
def test_weights_that_cannot_be(change, message):
    state = _module(kmeans_init=False).to_reference()
    change(state)
    with pytest.raises(InputError, match=message):
        NeuroRVQTokenizerModule.from_reference(state)
