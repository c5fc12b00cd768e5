"""Parity of the TFM encoder with the published code and its weights; tolerances are those of the golden arrays."""

import numpy as np
import pytest
import torch

from neurosig.models.tfm_encoder import TFMEncoder
from neurosig.models.tfm_losses import TokenClassLoss
from neurosig.nn.state_dicts import to_published

PUBLISHED = ("published_encoder_TUEV_multi", "published_encoder_TUEV_single")


def _load(golden_dir, name):
    with np.load(golden_dir / "tfm_tokenizer" / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def _under(golden, prefix):
    return {key.removeprefix(prefix): value for key, value in golden.items() if key.startswith(prefix)}


def _close(found, wanted, **tolerance):
    found = np.asarray(torch.as_tensor(found).detach())
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, **{"rtol": 0, "atol": 1e-5, **tolerance})


@pytest.fixture(scope="module")
def small(golden_dir):
    return _load(golden_dir, "encoder_small")


@pytest.fixture(scope="module", params=PUBLISHED)
def published(request, golden_dir):
    """Arrays, with the sparse rows of the token embedding put in their places."""
    golden = _load(golden_dir, request.param)
    for name in {key.rsplit(".", 1)[0] for key in golden if key.startswith("sd_sparse/")}:
        dense = np.zeros(golden[f"{name}.shape"], dtype=np.float32)
        dense[golden[f"{name}.rows"]] = golden[f"{name}.values"]
        golden[name.replace("sd_sparse/", "sd/") + ".weight"] = dense
    return golden


def _tokens(golden, key="ids"):
    return torch.from_numpy(golden[key].astype(np.int64))


def test_every_stage(small):
    with torch.no_grad():
        module = TFMEncoder.from_reference(_under(small, "sd/"))
        stages = module.stages(_tokens(small))
        logits = module(_tokens(small))
    _close(stages.sequence, small["stage/sequence"])
    for i, block in enumerate(stages.blocks):
        _close(block, small[f"stage/block{i}"])
    _close(stages.logits, small["out/logits"])
    _close(logits, small["out/logits"])


def test_names_go_both_ways(small):
    back = TFMEncoder.from_reference(_under(small, "sd/")).to_reference()
    assert sorted(back) == sorted(_under(small, "sd/"))
    for name, value in _under(small, "sd/").items():
        np.testing.assert_allclose(back[name], value, atol=1e-5 if name.endswith(".pe") else 0, rtol=0)


def test_loss_and_gradients_of_classification(small):
    module = TFMEncoder.from_reference(_under(small, "sd/"))
    loss = TokenClassLoss("cross_entropy")(module(_tokens(small)), torch.from_numpy(small["y"]).long()).mean()
    _close(loss, small["out/label_smoothing_ce"], rtol=1e-5, atol=0)
    loss.backward()
    ours = {name: parameter.grad for name, parameter in module.named_parameters()}
    found = to_published(ours, module._entries())
    norms = _under(small, "gradnorm/")
    assert sorted(norms) == sorted(found)
    assert sorted(_under(small, "nograd/")) == ["index"]
    for name, wanted in norms.items():
        _close(found[name].norm(), wanted, rtol=1e-3, atol=0)
    for name, wanted in _under(small, "grad/").items():
        _close(found[name], wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


def test_masked_token_prediction(small):
    module = TFMEncoder.from_reference(_under(small, "mtp_sd/"))
    losses = module.masked_losses(_tokens(small, "mtp/tokens"), torch.from_numpy(small["mtp/mask"]).bool())
    for i, suffix in enumerate(("", "_sym")):
        _close(losses.views[i], small[f"mtp/loss{suffix}"], rtol=1e-5, atol=0)
    _close(losses.total, small["mtp/total"], rtol=1e-5, atol=0)
    keep = torch.from_numpy(small["mtp/mask"]).bool()
    for seen, suffix in ((keep, ""), (~keep, "_sym")):
        hidden = torch.where(seen, _tokens(small, "mtp/tokens"), module.n_codes)
        with torch.no_grad():
            _close(module.predict_tokens(hidden), small[f"mtp/logits{suffix}"])


def test_published_encoders(published):
    module = TFMEncoder.from_reference(_under(published, "sd/"))
    ids = _tokens(published)
    with torch.no_grad():
        stages = module.stages(ids)
        _close(stages.logits, published["logits"], atol=2e-5)
        _close(stages.blocks[-1][:, 0], published["cls_after_LAT"], atol=2e-5)
        _close(module(ids[:, :4]), published["logits_C4"], atol=2e-5)
        _close(module(ids[:, :, :9]), published["logits_T9"], atol=2e-5)
    alive = int((module.token_embedding.weight[:-1].abs().sum(dim=1) > 0).sum())
    assert alive == int(published["n_rows_nonzero"])


def test_published_names_go_both_ways(published):
    back = TFMEncoder.from_reference(_under(published, "sd/")).to_reference()
    for name, value in _under(published, "sd/").items():
        np.testing.assert_array_equal(back[name], value)
    assert len(back) == 59
    assert sum(value.numel() for value in back.values()) == 789_014


def test_the_three_losses(golden_dir):
    golden = _load(golden_dir, "preprocessing_losses")
    logits, y = torch.from_numpy(golden["loss/logits"]), torch.from_numpy(golden["loss/y"])
    outputs = torch.cat([torch.zeros_like(logits), logits], dim=1)  # published is one output, here their difference
    _close(TokenClassLoss("bce")(outputs, y).mean(), golden["loss/bce"], rtol=1e-5, atol=0)
    _close(TokenClassLoss("focal")(outputs, y).mean(), golden["loss/focal_a0.8_g0.7"], rtol=1e-5, atol=0)
    many, classes = torch.from_numpy(golden["loss/mc_logits"]), torch.from_numpy(golden["loss/mc_y"])
    found = TokenClassLoss("cross_entropy")(many, classes.long()).mean()
    _close(found, golden["loss/label_smoothing_0.1"], rtol=1e-5, atol=0)
