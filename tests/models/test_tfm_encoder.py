"""What holds for every TFM encoder: limits, masks, the tokenizer in front, clear refusals."""

import pytest
import torch
from torch.nn import functional

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.models import TFMEncoder
from neurosig.models.tfm_encoder import token_mask
from neurosig.tokenizers import TFMTokenizerModule

SMALL = {"n_codes": 64, "emb_size": 16, "depth": 1}


@pytest.fixture
def module():
    torch.manual_seed(0)
    return TFMEncoder(n_outputs=3, **SMALL).eval()


@pytest.fixture
def tokens():
    return torch.randint(64, (4, 5, 6), generator=torch.Generator().manual_seed(0))


def test_windows_do_not_mix_and_channels_have_places(module, tokens):
    with torch.no_grad():
        whole = module(tokens)
        torch.testing.assert_close(torch.cat([module(part) for part in tokens.split(1)]), whole)
        assert not torch.allclose(module(tokens.flip(1)), whole)


def test_signals_go_through_a_frozen_tokenizer(tokens):
    tokenizer = TFMTokenizerModule(emb_size=16, n_codes=64, freq_depth=1, temporal_depth=1, decoder_depth=1)
    module = TFMEncoder(n_chans=3, n_outputs=2, n_times=500, sfreq=200.0, tokenizer=tokenizer, **SMALL).eval()
    x = torch.randn(2, 3, 500)
    with torch.no_grad():
        torch.testing.assert_close(module(x), module(tokenizer.encode(x)))
    before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
    module.train()(x).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in tokenizer.state_dict().items())
    assert all(parameter.grad is None for parameter in tokenizer.parameters())
    assert module.class_token.grad is not None
    assert (module.n_chans, module.n_outputs, module.n_times, module.sfreq) == (3, 2, 500, 200.0)


def test_masked_prediction_asks_for_what_is_hidden(tokens):
    torch.manual_seed(0)
    module = TFMEncoder(n_outputs=64, **SMALL).eval()
    keep = token_mask(tokens.shape, generator=torch.Generator().manual_seed(0))
    losses = module.masked_losses(tokens, keep)
    for view, seen in zip(losses.views, (keep, ~keep), strict=True):
        logits = module.predict_tokens(torch.where(seen, tokens, 64))
        torch.testing.assert_close(view, functional.cross_entropy(logits[~seen], tokens[~seen]))
    torch.testing.assert_close(losses.total, losses.views[0] + losses.views[1])
    generator = torch.Generator().manual_seed(0)
    torch.testing.assert_close(module.training_loss(tokens, generator)["total"], losses.total)


def test_a_view_that_sees_all_adds_nothing(tokens):
    module = TFMEncoder(n_outputs=64, **SMALL).eval()
    losses = module.masked_losses(tokens, torch.ones_like(tokens, dtype=torch.bool))
    assert float(losses.views[0].detach()) == 0
    losses.total.backward()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


def test_mask_is_drawn_for_each_token():
    keep = token_mask((50, 16, 9), ratio=0.3, generator=torch.Generator().manual_seed(0))
    assert abs(float(keep.float().mean()) - 0.7) < 0.02
    assert not torch.equal(keep[0], keep[1])
    with pytest.raises(UsageError, match="ratio must lie between 0 and 1, got 2"):
        token_mask((1, 1, 1), ratio=2)


def test_starts_from_the_codebook(module):
    codebook = torch.randn(64, 16)
    module.start_from_codebook(codebook)
    assert torch.equal(module.token_embedding.weight[:64], codebook)
    assert torch.all(module.token_embedding.weight[64] == 0)
    with pytest.raises(InputError, match=r"expected a codebook of shape \(64, 16\), got \(16, 64\)"):
        module.start_from_codebook(codebook.T)


def test_a_new_head_after_pretraining(tokens):
    module = TFMEncoder(n_outputs=64, **SMALL).eval()
    body = {name: value.clone() for name, value in module.state_dict().items() if "final" not in name}
    module.reset_head(1)
    assert module(tokens).shape == (4, 1)
    assert module.n_outputs == 1
    assert all(torch.equal(module.state_dict()[name], value) for name, value in body.items())


def test_limits(module):
    most = torch.zeros(1, 16, 1000, dtype=torch.int64)
    assert module(most[:, :1]).shape == (1, 3)
    with pytest.raises(InputError, match="expected at most 1000 frames, got 1001"):
        module(torch.zeros(1, 1, 1001, dtype=torch.int64))
    with pytest.raises(ChannelError, match="knows 16 channels, got 17"):
        module(torch.zeros(1, 17, 2, dtype=torch.int64))
    with pytest.raises(ChannelError, match="knows 16 channels, got 64"):
        TFMEncoder(n_chans=64, n_outputs=2, **SMALL)
    assert TFMEncoder(n_chans=64, n_outputs=2, max_chans=64, **SMALL).max_chans == 64


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((1, 2, 3), 65), "expected tokens between 0 and 63, or 64 for a hidden one, got 65"),
        (torch.full((1, 2, 3), -1), "got -1"),
        (torch.zeros(2, 3, dtype=torch.int64), r"expected tokens \(n, n_channels, n_frames\) or signals"),
        (torch.full((1, 2, 400), 0.5), "got signals of torch.float32: encode them first, or pass tokenizer="),
        (torch.zeros(0, 2, 3, dtype=torch.int64), "at least one window, channel and frame"),
    ],
)
def test_what_does_not_fit_is_refused(module, x, message):
    with pytest.raises(InputError, match=message):
        module(x)


def test_wrong_sizes_are_named(module, tokens):
    with pytest.raises(UsageError, match="needs n_outputs"):
        TFMEncoder(**SMALL)
    with pytest.raises(UsageError, match="emb_size even"):
        TFMEncoder(n_outputs=2, emb_size=15)
    with pytest.raises(UsageError, match="masked tokens are predicted by n_outputs=64, got 3"):
        module.training_loss(tokens)
    with pytest.raises(UsageError, match="the tokenizer has 32 codes, but n_codes is 64"):
        TFMEncoder(n_outputs=2, tokenizer=TFMTokenizerModule(emb_size=16, n_codes=32), **SMALL)
    with pytest.raises(InputError, match=r"expected a mask of shape \(4, 5, 6\)"):
        TFMEncoder(n_outputs=64, **SMALL).masked_losses(tokens, torch.ones(5, 6))


def test_foreign_weights_are_refused_by_name(module):
    state = module.to_reference()
    state["classification_head.bias"] = torch.zeros(4)
    state["surplus"] = state.pop("cls_token")
    with pytest.raises(InputError) as caught:
        TFMEncoder.from_reference(state)
    for part in ("missing: cls_token", "left over: surplus", "classification_head.bias (4,) instead of (3,)"):
        assert part in str(caught.value)
    state = module.to_reference()
    state["temporal_pos_embed.pe"] = state["temporal_pos_embed.pe"] + 1
    with pytest.raises(InputError, match=r"temporal_pos_embed\.pe holds other numbers"):
        TFMEncoder.from_reference(state)
    with pytest.raises(UsageError, match="n_outputs are read off the weights"):
        TFMEncoder.from_reference(module.to_reference(), n_outputs=3)
