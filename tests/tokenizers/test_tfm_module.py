"""What holds for every TFM-Tokenizer: pure inference, complementary masks, own saving, clear refusals."""

import numpy as np
import pytest
import torch

from neurosig.core.errors import InputError, UsageError
from neurosig.tokenizers import TFMTokenizerModule, tfm_module
from neurosig.tokenizers.tfm_signal import n_frames, quantile_scale, time_frequency_mask

SMALL = {"emb_size": 16, "n_codes": 64, "freq_depth": 1, "temporal_depth": 1, "decoder_depth": 1}


@pytest.fixture
def module():
    torch.manual_seed(0)
    module = TFMTokenizerModule(**SMALL)
    module.quantizer.codebook.normal_()
    return module.eval()


@pytest.fixture
def x():
    walk = np.random.default_rng(0).standard_normal((5, 3, 700)).cumsum(axis=2)
    return quantile_scale(torch.from_numpy(walk).float())


def _state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def _same(module, before):
    return all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("training", [False, True])
def test_inference_changes_nothing_and_does_not_depend_on_the_mode(module, x, training):
    wanted = module.encode(x)
    module.train(training)
    before = _state(module)
    tokens = module.encode(x)
    assert torch.equal(tokens, wanted)
    assert len(tokens.unique()) > 4
    module.decode(tokens)
    module.embed(x)
    assert _same(module, before)
    assert module.training is training and module.quantizer.training is training


@pytest.mark.parametrize("size", [1, 2, 5])
def test_windows_and_channels_are_on_their_own(module, x, size):
    whole = module.encode(x)
    assert torch.equal(torch.cat([module.encode(part) for part in x.split(size)]), whole)
    assert torch.equal(torch.cat([module.encode(part) for part in x.split(size, dim=1)], dim=1), whole)


def test_more_windows_than_a_block_holds(module, x, monkeypatch):
    whole = module.encode(x)
    monkeypatch.setattr(tfm_module, "_FRAMES_AT_ONCE", 13)
    monkeypatch.setattr(tfm_module, "_FRAMES_IN_CACHE", 5)
    assert torch.equal(module.encode(x), whole)


def test_forward_agrees_with_encode_and_decode(module, x):
    with torch.no_grad():
        stages = module(x)
    assert torch.equal(stages.tokens, module.encode(x))
    torch.testing.assert_close(stages.reconstruction, module.decode(stages.tokens))
    torch.testing.assert_close(stages.embeddings.norm(dim=-1), torch.ones(5, 3, 6))
    assert stages.spectrum.shape == stages.reconstruction.shape == (5, 3, 100, 6)
    assert module.token_axes == ("window", "channel", "frame")


def test_a_frozen_tokenizer_stays_as_it_is_in_training(module, x):
    holder = torch.nn.ModuleDict({"tokenizer": module.freeze(), "other": torch.nn.Linear(2, 2)})
    before = _state(module)
    holder.train()
    with torch.no_grad():
        first, second = module(x), module(x)
    assert torch.equal(first.reconstruction, second.reconstruction)  # no dropout either
    assert holder["other"].training and not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert _same(module, before)


def test_saving_and_loading(module, x):
    other = TFMTokenizerModule(**module.config)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.encode(x), module.encode(x))
    other = TFMTokenizerModule.from_reference(module.to_reference())
    assert torch.equal(other.encode(x), module.encode(x))


def test_scaling_inside_makes_the_unit_not_matter(module, x):
    inside = TFMTokenizerModule(**SMALL, normalise=True)
    inside.load_state_dict(module.state_dict())
    assert torch.equal(inside.encode(x * 37), module.encode(quantile_scale(x)))


@pytest.mark.parametrize("n_times", [200, 201, 999, 1000])
def test_quantile_is_numpys(n_times):
    x = np.random.default_rng(1).standard_normal((2, 3, n_times))
    wanted = x / (np.quantile(np.abs(x), 0.95, axis=-1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(quantile_scale(torch.from_numpy(x)), wanted, rtol=1e-12)
    assert torch.all(quantile_scale(torch.zeros(1, n_times)) == 0)


def test_flat_and_silent_channels_have_tokens(module, x):
    x[0, 0], x[0, 1] = 0.0, 1.0
    assert module.encode(x).shape == (5, 3, 6)


@pytest.mark.parametrize(("seconds", "wanted"), [(1, 1), (5, 9), (10, 19), (30, 59)])
def test_tokens_of_a_window(seconds, wanted):
    assert n_frames(200 * seconds) == wanted


def test_mask_hides_half_the_bands_and_half_the_frames():
    keep = time_frequency_mask(9, generator=torch.Generator().manual_seed(0))
    bands = keep.view(20, 5, 9)
    assert torch.equal(bands.any(dim=1), bands.all(dim=1))  # whole bands
    assert int(keep.any(dim=1).sum()) == 50 and int(keep.any(dim=0).sum()) == 5
    assert int(keep.sum()) == 50 * 5
    again = time_frequency_mask(9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(keep, again)
    assert not torch.equal(keep, time_frequency_mask(9, generator=torch.Generator().manual_seed(1)))


def test_the_two_views_share_the_spectrum_out(module, x):
    keep = time_frequency_mask(6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = module(x).spectrum
        seen, rest = module(x, keep).spectrum, module(x, ~keep).spectrum
        losses = module.masked_losses(x, keep)
    torch.testing.assert_close(seen + rest, whole)
    assert torch.all(seen * rest == 0)
    for i, mask in enumerate((keep, ~keep)):
        assert torch.equal(losses.tokens[i], module(x, mask).tokens)


def test_training_learns_and_is_repeatable(x):
    def train(n_steps):
        torch.manual_seed(0)
        module = TFMTokenizerModule(**SMALL).train()
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
        generator, course = torch.Generator().manual_seed(0), []
        for _ in range(n_steps):
            optimizer.zero_grad()
            loss = module.training_loss(x[:2], generator)
            loss["total"].backward()
            optimizer.step()
            course.append(float(loss["total"].detach()))
            assert course[-1] == pytest.approx(float(loss["reconstruction"] + loss["vq"]), rel=1e-5)
        return course

    course = train(12)
    assert course[-1] < 0.9 * course[0]
    assert train(3) == course[:3]


def test_the_decoder_begins_at_the_mean_spectrum_of_the_first_batch(x):
    frames = np.lib.stride_tricks.sliding_window_view(x.numpy(), 200, axis=2)[:, :, ::100]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(200) / 200)
    mean = np.abs(np.fft.rfft(frames * window))[..., :100].mean(axis=(0, 1, 2))
    module = TFMTokenizerModule(**SMALL, kmeans_init=True, mean_init=True)
    module.eval()(x)
    assert module.head[2].bias.abs().max() < 1  # training begins it, looking does not
    module.train().training_loss(x, torch.Generator().manual_seed(0))
    begun = module.head[2].bias.detach().clone()
    np.testing.assert_allclose(begun, mean, rtol=1e-4)
    module.training_loss(2 * x, torch.Generator().manual_seed(0))
    assert torch.equal(module.head[2].bias, begun)
    resumed = TFMTokenizerModule(**module.config).train()
    resumed.load_state_dict(module.state_dict())
    resumed.training_loss(2 * x, torch.Generator().manual_seed(0))
    assert torch.equal(resumed.head[2].bias, begun)


def test_windows_of_two_lengths_add_up(module, x):
    generator = torch.Generator().manual_seed(0)
    both = module.training_loss([x, x[:, :, :400]], generator)
    generator.manual_seed(0)
    parts = [module.training_loss(part, generator)["total"] for part in (x, x[:, :, :400])]
    torch.testing.assert_close(both["total"], sum(parts))


@pytest.mark.parametrize("method", ["encode", "forward"])
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 199), "a token takes one second, 200 samples at 200 Hz; got windows of 199"),
        ((3, 400), r"expected signals of shape \(n, n_channels, n_times\)"),
        ((0, 3, 400), "at least one window and one channel"),
        ((2, 0, 400), "at least one window and one channel"),
    ],
)
def test_signals_that_do_not_fit_are_refused(module, method, shape, message):
    with pytest.raises(InputError, match=message):
        getattr(module, method)(torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_signals_that_are_not_finite_are_refused(module, x, value):
    x[3, 1, 50] = value
    with pytest.raises(InputError, match="expected finite signals, got NaN or inf"):
        module.encode(x)


def test_whole_numbers_are_not_taken_for_signals(module):
    with pytest.raises(InputError, match="as floats"):
        module.encode(torch.zeros(1, 1, 400, dtype=torch.int64))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.full((1, 2, 3), 64), "expected tokens between 0 and 63, got 64"),
        (torch.full((1, 2, 3), -1), "expected tokens between 0 and 63, got -1"),
        (torch.zeros(2, 3, dtype=torch.int64), r"expected tokens of shape \(n, n_channels, n_frames\)"),
        (torch.zeros(1, 2, 3), "expected tokens as integers"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(module, tokens, message):
    with pytest.raises(InputError, match=message):
        module.decode(tokens)


def test_a_mask_of_another_length_is_refused(module, x):
    with pytest.raises(InputError, match=r"expected a mask of shape \(100, 6\)"):
        module.masked_losses(x, torch.ones(100, 9, dtype=torch.bool))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sfreq": 250.0}, "takes signals at 200 Hz, got sfreq=250.0: resample them first"),
        ({"emb_size": 20}, "emb_size must be a multiple of 8, got 20"),
        ({"decoder_depth": -1}, "must not be negative"),
        ({"n_heads": 3}, "n_heads must divide emb_size=16, got 3"),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(UsageError, match=message):
        TFMTokenizerModule(**{**SMALL, **options})


def test_foreign_weights_are_refused_by_name(module):
    state = module.to_reference()
    del state["decoder.0.bias"]
    state["freq_patch_embedding.0.weight"] = torch.zeros(16, 1, 7)
    state["surplus"] = torch.zeros(1)
    with pytest.raises(InputError) as caught:
        TFMTokenizerModule.from_reference(state)
    for part in ("missing: decoder.0.bias", "left over: surplus", "freq_patch_embedding.0.weight (16, 1, 7) instead"):
        assert part in str(caught.value)
    with pytest.raises(InputError, match=r"missing: quantizer\.embedding\.weight"):
        TFMTokenizerModule.from_reference({"a": torch.zeros(1)})
    with pytest.raises(UsageError, match="emb_size are read off the weights"):
        TFMTokenizerModule.from_reference(module.to_reference(), emb_size=16)
