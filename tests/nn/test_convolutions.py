"""Layers of the EEGNet family beside explicit sums."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from neurosig.core.errors import UsageError
from neurosig.nn.max_norm import MaxNorm, constrain, limit_norm
from neurosig.nn.padding import SameConv2d, padding_of
from neurosig.nn.projected_convolution import can_project, lag_moments, project_and_filter
from neurosig.nn.time_space import ClippedLog, TimeThenSpace, convolve_time, mean_pool_time, space_time_convolution
from neurosig.nn.toeplitz import filter_groups


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _double(rng, *shape):
    return torch.from_numpy(rng.standard_normal(shape))


@pytest.mark.parametrize("length", [1, 2, 7, 16, 25, 64])
def test_same_convolution_is_that_of_keras(rng, length):
    """Output t is the sum over k of w[k] x[t + k - (length - 1) // 2], zeros outside, for even lengths too."""
    x, w = rng.standard_normal(20), rng.standard_normal(length)
    wanted = np.zeros(20)
    for t in range(20):
        for k in range(length):
            place = t + k - (length - 1) // 2
            if 0 <= place < 20:
                wanted[t] += w[k] * x[place]
    layer = SameConv2d(1, 1, (1, length), bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(w).view(1, 1, 1, -1))
        found = layer(torch.from_numpy(x).view(1, 1, 1, -1)).numpy().ravel()
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_padding_of():
    assert padding_of(64, "keras") == (31, 32)
    assert padding_of(64, "symmetric") == (32, 32)
    assert padding_of(25, "keras") == padding_of(25, "symmetric") == (12, 12)
    with pytest.raises(UsageError, match="padding is one of"):
        padding_of(3, "valid")


@pytest.mark.parametrize(("length", "n_times"), [(1, 5), (5, 40), (33, 33), (64, 300), (150, 400)])
def test_filter_groups_is_a_grouped_convolution(rng, length, n_times):
    z, w = _double(rng, 3, 4, 2, n_times).requires_grad_(), _double(rng, 4, length).requires_grad_()
    wanted = functional.conv2d(z, w[:, None, None], groups=4)
    found = filter_groups(z, w)
    np.testing.assert_allclose(found.detach(), wanted.detach(), atol=1e-11)
    weight = _double(rng, *found.shape)
    for ours, theirs in zip(
        torch.autograd.grad((found * weight).sum(), (z, w)),
        torch.autograd.grad((wanted * weight).sum(), (z, w)),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


@pytest.mark.parametrize("padding", ["keras", "symmetric"])
@pytest.mark.parametrize(("length", "n_times"), [(1, 9), (2, 9), (5, 30), (8, 30), (30, 30), (41, 30), (64, 20)])
def test_lag_moments_are_those_of_the_slid_kernel(rng, length, n_times, padding):
    x = _double(rng, 3, 2, n_times) + 4
    slid = functional.pad(x, padding_of(length, padding)).unfold(-1, length, 1).reshape(-1, length)
    moments = lag_moments(x, length, padding)
    assert moments.n_places == len(slid)
    np.testing.assert_allclose(moments.mean, slid.mean(0), atol=1e-12)
    np.testing.assert_allclose(
        moments.covariance, np.cov(slid.numpy().T, bias=True).reshape(length, length), atol=1e-10
    )


def test_lag_moments_of_a_shorter_kernel_lie_within_those_of_a_longer(rng):
    x = _double(rng, 3, 2, 50)
    for length in (1, 6, 13, 20):
        part, whole = lag_moments(x, 20, "keras").of(length, "keras"), lag_moments(x, length, "keras")
        np.testing.assert_allclose(part.mean, whole.mean, atol=1e-12)
        np.testing.assert_allclose(part.covariance, whole.covariance, atol=1e-12)


def test_variance_of_a_filter_that_passes_little(rng):
    """Single precision windows with an offset a thousand times their spread, and a kernel that takes it away."""
    x = torch.from_numpy((rng.standard_normal((8, 4, 500)) + 1000).astype("float32"))
    kernel = torch.tensor([-0.5, 1.0, -0.5], dtype=torch.float64)
    moments = lag_moments(x, 3, "keras")
    wanted = functional.conv1d(functional.pad(x.double().view(-1, 1, 500), (1, 1)), kernel.view(1, 1, 3))
    assert abs(kernel @ moments.covariance @ kernel / wanted.var(correction=0) - 1) < 1e-9


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_between_the_filters(rng, momentum, affine):
    """Options of the batch norm that the networks do not use, as torch has them."""
    torch.manual_seed(0)
    temporal = SameConv2d(1, 3, (1, 8), bias=False).double()
    spatial = nn.Conv2d(3, 6, (4, 1), groups=3, bias=False).double()
    ours, theirs = (nn.BatchNorm2d(3, momentum=momentum, affine=affine).double() for _ in range(2))
    for _ in range(3):
        x = _double(rng, 5, 4, 60)
        found = project_and_filter(x, temporal, ours, spatial, "keras")
        wanted = spatial(theirs(temporal(x.unsqueeze(1))))
        np.testing.assert_allclose(found.detach(), wanted.detach(), atol=1e-11)
    for name, buffer in theirs.named_buffers():
        np.testing.assert_allclose(ours.get_buffer(name), buffer, rtol=1e-10)
    assert not can_project(x.requires_grad_(), ours)
    assert can_project(x, ours.eval())
    assert not can_project(x.bfloat16(), ours)


def test_both_convolutions_as_one(rng):
    torch.manual_seed(0)
    layer = TimeThenSpace(nn.Conv2d(1, 5, (7, 1)), nn.Conv2d(5, 3, (1, 4))).double()
    x = _double(rng, 2, 4, 30)
    wanted = layer(x.transpose(1, 2).unsqueeze(1))
    np.testing.assert_allclose(space_time_convolution(x, layer).detach(), wanted.detach().transpose(2, 3), atol=1e-12)
    after = nn.Conv2d(3, 2, (5, 1)).double()
    found = convolve_time(wanted.transpose(2, 3), after).detach()
    np.testing.assert_allclose(found, after(wanted).detach().transpose(2, 3), atol=1e-12)


@pytest.mark.parametrize(("size", "stride"), [(75, 15), (35, 7), (20, 20), (10, 4), (3, 5)])
def test_mean_pool_time(rng, size, stride):
    for n_times in (75, 100, 143):
        x = rng.standard_normal((2, 3, 1, n_times))
        wanted = [x[..., s : s + size].mean(-1) for s in range(0, n_times - size + 1, stride)]
        found = mean_pool_time(torch.from_numpy(x), size, stride)
        np.testing.assert_allclose(found, np.stack(wanted, axis=-1), atol=1e-12)


def test_clipped_log():
    x = torch.tensor([0.0, 1e-8, 1.0, 1e6])
    np.testing.assert_allclose(ClippedLog(1e-7, 1e4)(x), np.log([1e-7, 1e-7, 1, 1e4]), rtol=1e-6)
    np.testing.assert_allclose(ClippedLog(1e-6)(x), np.log([1e-6, 1e-6, 1, 1e6]), rtol=1e-6)


def test_limit_norm(rng):
    weight = _double(rng, 6, 3, 2, 4) * torch.tensor([0.01, 0.1, 0.3, 1, 2, 5]).view(-1, 1, 1, 1)
    norms = weight.flatten(1).norm(dim=1)
    limited = limit_norm(weight, 1.0)
    np.testing.assert_allclose(limited.flatten(1).norm(dim=1), norms.clamp(max=1), rtol=1e-6)
    assert torch.equal(limited[norms <= 1], weight[norms <= 1])
    assert limited.flatten(1).norm(dim=1).max() <= 1
    np.testing.assert_allclose(limited, weight.renorm(2, 0, 1.0), rtol=1e-6)


def test_constrain_and_free_a_layer():
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.fill_(2.0)
    constrain(layer, 1.0)
    assert layer.weight.norm(dim=1).max() <= 1 + 1e-6
    assert isinstance(layer.parametrizations.weight[0], MaxNorm)
    constrain(layer, None)
    assert list(dict(layer.named_parameters())) == ["bias", "weight"] and layer.weight.norm(dim=1).min() > 3
