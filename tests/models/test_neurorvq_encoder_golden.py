"""Parity of NeuroRVQ's foundation model with the published code; tolerances are those of the golden arrays."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from neurosig.models.neurorvq_encoder import NeuroRVQEncoder
from neurosig.models.neurorvq_pretraining import NeuroRVQPretraining, prediction_losses


@pytest.fixture(scope="module")
def golden(golden_dir):
    with np.load(golden_dir / "neurorvq" / "fm_small.npz", allow_pickle=False) as file:
        return dict(file)


def _under(golden, prefix):
    return {name.removeprefix(prefix): value for name, value in golden.items() if name.startswith(prefix)}


def _close(found, wanted, rtol=1e-5, atol=1e-5):
    np.testing.assert_allclose(np.asarray(found.detach()), wanted, rtol=rtol, atol=atol)


@pytest.fixture(scope="module")
def tuned(golden):
    """The fine-tuned model, its logits, and the gradient of the weighted cross-entropy."""
    encoder = NeuroRVQEncoder.from_reference(_under(golden, "ft_sd/"), ch_names=golden["channels"].tolist())
    logits = encoder(torch.from_numpy(golden["input"]))
    weight = torch.from_numpy(golden["ft/class_weight"])
    loss = functional.cross_entropy(logits, torch.from_numpy(golden["ft/y"]), weight=weight)
    loss.backward()
    return encoder, logits, loss


def test_logits_and_loss(golden, tuned):
    _, logits, loss = tuned
    _close(logits, golden["ft/logits"])
    np.testing.assert_allclose(loss.item(), golden["ft/loss"], rtol=1e-5)


def test_features(golden, tuned):
    encoder = tuned[0]
    features = encoder.backbone.normalise(encoder.features(torch.from_numpy(golden["input"])))
    for scale in range(4):
        _close(features[scale], golden[f"ft/features_{scale + 1}_fcnorm"])


def test_gradients(golden, tuned):
    encoder = tuned[0]
    parameters = dict(encoder.named_parameters())
    names = encoder.published_names()
    assert set(names) == set(parameters)
    for ours, published in names.items():
        grad = parameters[ours].grad
        if f"ft/nograd/{published}" in golden:
            assert grad is None
            continue
        # biases before a normalisation have no gradient in exact arithmetic: what is left of it is rounding
        np.testing.assert_allclose(grad.norm(), golden[f"ft/gradnorm/{published}"], rtol=1e-3, atol=1e-4)
        if f"ft/grad/{published}" in golden:
            _close(grad, golden[f"ft/grad/{published}"], rtol=1e-3, atol=1e-5)


def test_masked_prediction(golden):
    module = NeuroRVQPretraining.from_reference(_under(golden, "pt_sd/"), ch_names=golden["channels"].tolist())
    mask = torch.from_numpy(golden["pt/mask"])
    out = module(torch.from_numpy(golden["input"]), mask)
    _close(out.logits, golden["pt/logits"])
    _close(out.complement_logits, golden["pt/logits_sym"])
    labels = torch.from_numpy(golden["pt/labels_4_8_B_P"]).permute(2, 0, 1, 3).unflatten(3, (3, -1))
    _close(prediction_losses(out.logits, labels, mask), golden["pt/ce_per_head"])
    _close(prediction_losses(out.complement_logits, labels, ~mask), golden["pt/ce_per_head_sym"])


@pytest.mark.parametrize(("kind", "prefix"), [(NeuroRVQEncoder, "ft_sd/"), (NeuroRVQPretraining, "pt_sd/")])
def test_weights_go_both_ways(golden, kind, prefix):
    weights = _under(golden, prefix)
    back = kind.from_reference(weights).to_reference()
    assert list(back) == list(weights)
    for name, value in weights.items():
        np.testing.assert_array_equal(back[name], value)
