"""Layers on positive definite matrices, against closed forms, pyriemann, scipy and finite differences."""

import pickle

import numpy as np
import pytest
import scipy.linalg
import torch
from torch.autograd import gradcheck

from neurosig.core.errors import UsageError
from neurosig.nn.spd import BiMap, LogEig, ReEig, log_spd, rectify_eigenvalues, upper_vector


def with_eigenvalues(*values, seed=0):
    rng = np.random.default_rng(seed)
    frame = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    return torch.from_numpy((frame * np.array(values)) @ frame.T)


SPECTRA = {
    "distinct": (0.2, 0.7, 1.5, 3.0),
    "repeated": (0.5, 0.5, 2.0, 2.0),
    "identity": (1.0, 1.0, 1.0, 1.0),
    "nearly equal": (1.0, 1.0 + 1e-9, 1.0 + 1e-4, 1.0 + 2e-3),
    "wide": (1e-3, 0.03, 1.0, 30.0),
    "below the floor": (-0.4, 1e-6, 0.3, 2.0),
    "twice below": (0.002, 0.002, 0.4, 0.4),
}
FLOOR = 0.01


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("function", [rectify_eigenvalues, log_spd])
def test_gradients_equal_finite_differences(function, spectrum):
    # the wide spectrum lies above its floor, else finite differences step over the kink at 1e-3
    floor = 1e-4 if spectrum == "wide" else FLOOR
    X = torch.stack([with_eigenvalues(*SPECTRA[spectrum], seed=s) for s in (0, 1)]).requires_grad_()
    assert gradcheck(lambda x: function(x, floor), (X,), eps=1e-7, atol=1e-5, rtol=1e-4)


def test_derivative_of_the_logarithm_equals_the_exact_frechet_derivative():
    # logm of [[X, E], [0, X]] holds the derivative in direction E in its upper right block
    for spectrum in ("distinct", "repeated", "nearly equal", "wide"):
        X = with_eigenvalues(*SPECTRA[spectrum])
        E = with_eigenvalues(-1.0, 0.5, 2.0, 0.1, seed=3)
        _, along = torch.autograd.functional.vjp(lambda x: log_spd(x, 1e-8), X, E)
        block = scipy.linalg.logm(np.block([[X.numpy(), E.numpy()], [np.zeros((4, 4)), X.numpy()]]))[:4, 4:]
        np.testing.assert_allclose(along.numpy(), block, rtol=1e-8, atol=1e-8 * np.abs(block).max())


def test_close_eigenvalues_lose_no_digit():
    # the slope between 1 and 1 + h is log1p(h) / h; the plain quotient of differences has no digit left at 1e-14
    for h in (1e-14, 1e-10, 1e-6, 1.9e-3, 2.1e-3, 0.1, 1.9, 2.1, 1e6):
        X = torch.diag(torch.tensor([1.0, 1.0 + h], dtype=torch.float64)).requires_grad_()
        log_spd(X, 1e-9)[0, 1].backward()
        exact = np.log1p((1.0 + h) - 1.0) / ((1.0 + h) - 1.0)
        np.testing.assert_allclose(X.grad[0, 1].item() * 2, exact, rtol=1e-14)


def test_logarithm_equals_scipy_and_pyriemann():
    pyriemann = pytest.importorskip("pyriemann.geometry.base")
    X = torch.stack([with_eigenvalues(*SPECTRA[s]) for s in ("distinct", "repeated", "identity", "wide")])
    ours = log_spd(X, 1e-9).numpy()
    np.testing.assert_allclose(ours, pyriemann.logm(X.numpy()), rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours, [scipy.linalg.logm(x) for x in X.numpy()], rtol=0, atol=1e-11)


def test_floor_holds_and_leaves_the_rest():
    X = with_eigenvalues(-0.4, 1e-6, 0.3, 2.0)
    values = np.linalg.eigvalsh(ReEig(FLOOR)(X).numpy())
    np.testing.assert_allclose(values, [FLOOR, FLOOR, 0.3, 2.0], rtol=1e-12)
    fine = with_eigenvalues(0.2, 0.7, 1.5)
    torch.testing.assert_close(ReEig(FLOOR)(fine), fine, rtol=0, atol=1e-14)


def test_logeig_is_reeig_and_logarithm_in_one_with_its_gradient():
    X = torch.stack([with_eigenvalues(*values) for values in SPECTRA.values()])
    one, two = X.clone().requires_grad_(), X.clone().requires_grad_()
    weight = torch.linspace(-1, 1, 10, dtype=torch.float64)
    in_one = LogEig(FLOOR)(one)
    in_two = LogEig(1e-12)(ReEig(FLOOR)(two))
    torch.testing.assert_close(in_one, in_two, rtol=0, atol=1e-11)
    (in_one @ weight).sum().backward()
    (in_two @ weight).sum().backward()
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-9, atol=1e-9)


def test_vector_keeps_inner_products():
    A, B = with_eigenvalues(0.2, 0.7, 1.5), with_eigenvalues(1.0, 2.0, 5.0, seed=1)
    torch.testing.assert_close(upper_vector(A) @ upper_vector(B), torch.trace(A @ B))
    assert upper_vector(A)[:3].tolist() == A.diagonal().tolist()


@pytest.mark.parametrize("sizes", [(5, 5), (5, 3), (4, 1), (1, 1)])
def test_bimap_equals_torch_parametrization(sizes):
    n_in, n_out = sizes
    layer = BiMap(n_in, n_out)
    with torch.no_grad():
        layer.skew.copy_(torch.randn(layer.skew.shape, generator=torch.Generator().manual_seed(0)))
    assert layer.skew.numel() == n_in * n_out - n_out * (n_out + 1) // 2  # dimensions of the Stiefel manifold
    linear = torch.nn.Linear(n_out, n_in, bias=False, dtype=torch.float64)
    linear = torch.nn.utils.parametrizations.orthogonal(linear, orthogonal_map="cayley", use_trivialization=True)
    made = linear.parametrizations.weight
    with torch.no_grad():
        made.original.zero_()
        made.original[layer.rows, layer.columns] = layer.skew
        made[0].base.copy_(layer.base)
    torch.testing.assert_close(layer.weight, linear.weight, rtol=0, atol=1e-12)


def test_bimap_gradients_and_congruence():
    torch.manual_seed(0)
    layer = BiMap(4, 2)
    X = with_eigenvalues(0.2, 0.7, 1.5, 3.0)[None].requires_grad_()
    skew = torch.randn(layer.skew.shape, dtype=torch.float64).requires_grad_()
    assert gradcheck(lambda x, a: torch.func.functional_call(layer, {"skew": a}, (x,)), (X, skew))
    weight = layer.weight.detach()
    torch.testing.assert_close(layer(X), weight.T @ X @ weight)


def test_gradient_at_the_start_is_the_riemannian_one():
    torch.manual_seed(1)
    layer = BiMap(5, 2)
    X, D = with_eigenvalues(0.2, 0.7, 1.5, 3.0, 4.0), with_eigenvalues(1.0, 3.0, seed=2)
    (layer(X) * D).sum().backward()
    W = layer.weight.detach()
    euclidean = 2 * X @ W @ D
    riemannian = euclidean - W @ euclidean.T @ W  # canonical metric
    # the step down the gradient of the entries moves W along that of the manifold
    step = 1e-6
    with torch.no_grad():
        layer.skew -= step * layer.skew.grad
        moved = (layer.weight - W) / step
    inside = W.T @ riemannian
    outside = riemannian - W @ inside
    torch.testing.assert_close(W.T @ moved, -inside, rtol=0, atol=1e-4)
    torch.testing.assert_close(moved - W @ (W.T @ moved), -outside, rtol=0, atol=1e-4)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW"])
def test_frame_stays_orthonormal_and_finds_the_leading_subspace(optimizer):
    torch.manual_seed(0)
    layer, X = BiMap(6, 2), with_eigenvalues(0.1, 0.2, 0.3, 0.4, 3.0, 5.0)
    options = {"lr": 0.02} if optimizer == "SGD" else {"lr": 0.05, "weight_decay": 0.0}
    steps = getattr(torch.optim, optimizer)(layer.parameters(), **options)
    for _ in range(400):
        steps.zero_grad()
        (-torch.trace(layer(X))).backward()
        steps.step()
        frame = layer.weight.detach()
        assert torch.dist(frame.T @ frame, torch.eye(2, dtype=torch.float64)) < 1e-12
    assert torch.trace(layer(X)).item() == pytest.approx(8.0, rel=1e-4)  # sum of the largest two eigenvalues


def test_layers_pickle_and_take_float32():
    layer = BiMap(4, 2)
    again = pickle.loads(pickle.dumps(layer))
    assert torch.equal(again.weight, layer.weight)
    X = with_eigenvalues(0.2, 0.7, 1.5, 3.0).float()
    assert layer(X).dtype == LogEig()(X).dtype == torch.float64
    assert torch.equal(layer.half()(X), layer(X))  # cast by a caller, still computed in float64


def test_wrong_options_are_refused():
    with pytest.raises(UsageError, match="n_out must lie between 1 and n_in=3, got 4"):
        BiMap(3, 4)
    for floor in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="floor must be a number above 0"):
            LogEig(floor)


def test_second_derivatives_are_refused_not_wrong():
    X = with_eigenvalues(0.2, 0.7, 1.5).requires_grad_()
    (grad,) = torch.autograd.grad(log_spd(X, FLOOR).square().sum(), X, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
