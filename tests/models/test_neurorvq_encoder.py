"""What NeuroRVQ's foundation model promises beyond the published code."""

import logging

import numpy as np
import pytest
import torch

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.models import NeuroRVQEncoder
from neurosig.models.neurorvq_pretraining import NeuroRVQPretraining, prediction_losses, random_masks

SMALL = {"patch_size": 40, "depth": 2, "n_heads": 4}
NAMES = ["C3", "Cz", "C4"]


def _encoder(**options):
    generator = torch.Generator().manual_seed(0)
    return NeuroRVQEncoder(**{"ch_names": NAMES, **SMALL, "generator": generator, **options}).eval()


def _windows(n=5, n_times=200, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 3, n_times)).cumsum(axis=-1)).float()


def test_logits_and_embeddings_do_not_depend_on_the_batch():
    x = _windows()
    for encoder, width in ((_encoder(n_outputs=4), 4), (_encoder(), 160)):
        out = encoder(x)
        assert out.shape == (5, width)
        torch.testing.assert_close(out, torch.cat([encoder(x[:2]), encoder(x[2:])]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(encoder.embed(x), encoder(x))


def test_the_flat_readout_is_tied_to_one_window():
    encoder = _encoder(n_outputs=2, n_times=200, readout="flatten")
    assert encoder(_windows()).shape == (5, 2)
    with pytest.raises(InputError, match="expected windows of 3 channels and 200 samples"):
        encoder(_windows(n_times=160))
    with pytest.raises(UsageError, match="readout='flatten' needs n_chans"):
        _encoder(n_outputs=2, readout="flatten")
    with pytest.raises(UsageError, match="readout must be one of mean, flatten"):
        _encoder(readout="first")


def test_channels_are_read_from_the_common_signature():
    chs_info = [{"ch_name": name} for name in NAMES]
    encoder = NeuroRVQEncoder(n_chans=3, n_outputs=2, n_times=200, chs_info=chs_info, sfreq=200.0, **SMALL)
    assert encoder.channels.tolist() == _encoder().channels.tolist()
    with pytest.raises(UsageError, match="takes signals at 200 Hz, got sfreq=250"):
        NeuroRVQEncoder(n_chans=3, n_outputs=2, sfreq=250.0, **SMALL)
    with pytest.raises(ChannelError, match="no position for EMG"):
        NeuroRVQEncoder(n_outputs=2, ch_names=["C3", "EMG"], **SMALL)
    with pytest.raises(UsageError, match="needs to know the channels"):
        NeuroRVQEncoder(n_chans=3, n_outputs=2, **SMALL)(_windows())
    with pytest.raises(InputError, match="NaN or infinity"):
        _encoder()(torch.full((1, 3, 80), torch.inf))


def test_masks_hide_equally_many_and_views_are_symmetric():
    masks = random_masks(6, 15, 0.4, generator=torch.Generator().manual_seed(0))
    assert masks.sum(dim=1).tolist() == [6] * 6
    assert len(masks.unique(dim=0)) > 1
    assert torch.equal(masks, random_masks(6, 15, 0.4, generator=torch.Generator().manual_seed(0)))
    assert random_masks(1, 2, 0.99).sum() == 1
    module = NeuroRVQPretraining(_encoder(), n_levels=2, n_codes=8, generator=torch.Generator().manual_seed(1)).eval()
    with torch.no_grad():
        module.mask_token.normal_(generator=torch.Generator().manual_seed(2))
        x = _windows(6)
        there, back = module(x, masks), module(x, ~masks)
    torch.testing.assert_close(there.logits, back.complement_logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(there.complement_logits, back.logits, rtol=1e-4, atol=1e-5)
    assert there.logits.shape == (8, 36, 8)
    assert there.complement_logits.shape == (8, 54, 8)


def test_heads_learn_the_tokens_of_their_scale_and_level():
    logits = torch.full((8, 4, 5), -20.0)
    tokens = torch.randint(5, (2, 4, 2, 1, 3), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True, False, True], [True, True, False]])
    for head in range(8):
        wanted = tokens[:, head // 2, head % 2, 0][mask]
        logits[head, torch.arange(4), wanted] = 20.0
    assert prediction_losses(logits, tokens, mask).max() < 1e-6
    with pytest.raises(InputError, match="expected tokens of"):
        prediction_losses(logits, tokens, ~mask)


def test_pretraining_learns():
    module = NeuroRVQPretraining(_encoder(), n_levels=2, n_codes=8).train()
    x = _windows(4)
    tokens = torch.arange(3)[:, None].expand(4, 4, 2, 3, 5)  # every channel has its own token
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    generator, history = torch.Generator().manual_seed(0), []
    for _ in range(15):
        optimizer.zero_grad()
        losses = module.training_loss((x, tokens), generator)
        losses["total"].backward()
        optimizer.step()
        history.append(losses["total"].item())
    assert history[0] == pytest.approx(np.log(8), rel=0.05)  # chance
    assert history[-1] < 0.5 * history[0]


@pytest.mark.parametrize(
    ("mask", "message"),
    [(torch.zeros(5, 15), "expected a bool mask"), (torch.zeros(5, 14, dtype=torch.bool), r"shape \(5, 15\)")],
)
def test_masks_that_cannot_be(mask, message):
    module = NeuroRVQPretraining(_encoder(), n_levels=2, n_codes=8)
    with pytest.raises(InputError, match=message):
        module(_windows(), mask)
    with pytest.raises(UsageError, match="ratio must lie between 0 and 1"):
        random_masks(2, 4, 1.0)
    with pytest.raises(InputError, match="at least 2 patches"):
        random_masks(2, 1)


def _rates(encoder, decay, per="tensor"):
    published = encoder.published_names()
    return {published[name]: rate for name, rate in encoder.learning_rates(decay, per).items()}


def test_learning_rates_by_layer():
    encoder = _encoder(n_outputs=3)
    names = list(encoder.to_reference())
    assert list(encoder.published_names().values()) == names
    rates = _rates(encoder, 0.9)
    n = len(names)
    wanted = [1.0 if name.startswith(("fc_norm.", "head.")) else 0.9 ** (n - i) for i, name in enumerate(names)]
    np.testing.assert_allclose([rates[name] for name in names], wanted)
    assert set(encoder.learning_rates(0.9)) == {name for name, _ in encoder.named_parameters()}  # each once
    blocks = _rates(encoder, 0.9, "block")
    assert blocks["head.weight"] == 1
    assert blocks["blocks.1.norm1.weight"] == pytest.approx(0.9)
    assert blocks["blocks.0.attn.proj.bias"] == pytest.approx(0.81)
    assert blocks["patch_embed.conv1_1.weight"] == blocks["cls_token"] == pytest.approx(0.729)
    own = dict(encoder.named_parameters())
    heads = {id(own[name]) for name, rate in encoder.learning_rates(0.9).items() if rate == 1}
    assert heads == {id(p) for p in encoder.head_parameters()}
    with pytest.raises(UsageError, match="per must be"):
        encoder.learning_rates(0.9, "layer")


def test_published_sizes():
    encoder = NeuroRVQEncoder(ch_names=NAMES, n_outputs=2)
    rates = _rates(encoder, 0.975)
    assert len(rates) == 275
    assert min(rates.values()) == rates[next(iter(encoder.published_names().values()))] == pytest.approx(0.975**275)
    backbone = [p.numel() for name, p in encoder.named_parameters() if name.startswith("backbone.")]
    assert (len(backbone), sum(backbone)) == (271, 5_870_688)


def test_weights_of_another_head_start_a_new_one_and_the_log_says_so(caplog):
    state = NeuroRVQPretraining(_encoder(), n_levels=2, n_codes=8).to_reference()
    x = _windows()
    with caplog.at_level(logging.INFO, "neurosig"):
        tuned = NeuroRVQEncoder.from_reference(state, ch_names=NAMES, n_outputs=3)
    assert "belong to another head: mask_token" in caplog.text
    assert "it is new" in caplog.text
    assert tuned(x).shape == (5, 3)
    torch.testing.assert_close(tuned.embed(x), _encoder().embed(x))
    assert NeuroRVQEncoder.from_reference(tuned.to_reference()).n_outputs == 3
    assert NeuroRVQEncoder.from_reference(tuned.to_reference(), n_outputs=5).head.out_features == 5
    assert NeuroRVQEncoder.from_reference(state).head is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("blocks.1.attn.q_bias"), "missing: blocks.1.attn.q_bias"),
        (lambda state: state.update(what=torch.zeros(1)), "left over: what"),
        (lambda state: state.update({"head_pre_3.weight": torch.zeros(2, 40)}), r"head_pre_3.weight: expected shape"),
        (lambda state: state.pop("head_pre_8.bias"), "missing: head_pre_8.bias"),
        (lambda state: state["head_pre_2.weight"].fill_(torch.nan), "head_pre_2.weight is not finite"),
        (lambda state: state["head_pre_5.bias"].fill_(torch.inf), "head_pre_5.bias is not finite"),
        (lambda state: [state.pop(f"head_pre_8.{kind}") for kind in ("weight", "bias")], "for 4 scales, got 7"),
        (lambda state: state.pop("norm_pre.bias"), "missing: norm_pre.bias"),
    ],
)
def test_weights_that_cannot_be(change, message):
    state = NeuroRVQPretraining(_encoder(), n_levels=2, n_codes=8).to_reference()
    change(state)
    with pytest.raises(InputError, match=message):
        NeuroRVQPretraining.from_reference(state)


def test_save_and_load():
    encoder, x = _encoder(n_outputs=2), _windows()
    again = _encoder(n_outputs=2, generator=torch.Generator().manual_seed(5))
    assert not torch.equal(again(x), encoder(x))
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(x), encoder(x))
