"""The vector quantizer beside brute force, one-hot products and closed forms."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch.nn import functional

from neurosig.core.errors import InputError, UsageError
from neurosig.nn import nearest
from neurosig.nn.nearest import nearest_codes
from neurosig.nn.quantize import VectorQuantizer, codebook_losses, kmeans, look_up, sync_sum


def _normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()


@pytest.mark.parametrize(("n", "n_codes"), [(1, 1), (50, 7), (70, 64), (3000, 640)])
def test_nearest_is_that_of_all_distances(n, n_codes):
    x, codebook = _normal(n, 5), _normal(n_codes, 5, seed=1)
    wanted = torch.cdist(x.double(), codebook.double()).argmin(dim=1)
    assert torch.equal(nearest_codes(x, codebook), wanted)
    found = nearest_codes(x.reshape(1, n, 1, 5), codebook)
    assert found.dtype == torch.int64
    assert torch.equal(found, wanted.reshape(1, n, 1))


@pytest.mark.parametrize("n_codes", [65, 128])
def test_the_first_of_equal_codes(n_codes):
    x = torch.randint(-3, 4, (200, 4), generator=torch.Generator().manual_seed(0)).float()
    codebook = x[:20].repeat(8, 1)[:n_codes]  # small integers, so that all distances are exact
    distances = (x[:, None].double() - codebook.double()).square().sum(-1).numpy()
    np.testing.assert_array_equal(nearest_codes(x, codebook), np.argmin(distances, axis=1))


@pytest.mark.skipif(not nearest._multiplies_integers(), reason="this processor has no products of 8-bit integers")
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e3])
@pytest.mark.parametrize("longer", [0.0, 0.3, 1e4])
def test_rounded_search_is_exact_whatever_the_lengths(size, longer):
    """Codes of one length, of several, and a few of which are far longer, as codes that no vector chose become."""
    codes = functional.normalize(_normal(2048, 16, seed=1), dim=1)
    codes = codes * (1 + longer * _normal(2048, 1, seed=2).abs() * (torch.arange(2048)[:, None] % 3 == 0))
    x = size * functional.normalize(_normal(300, 16), dim=1)
    x[7] = 0
    found = nearest_codes(x, codes, nearest.RoundedCodes(codes))
    distances = torch.cdist(x.double(), codes.double()).square()
    chosen = distances.gather(1, found[:, None])[:, 0]
    # half of a squared distance less the vector's own length is what float32 holds, to a few of its last digits
    held = (x.norm(dim=1) * codes[found].norm(dim=1) + codes[found].square().sum(dim=1)).double()
    assert bool((chosen - distances.amin(dim=1) <= 1e-6 * held).all())


@pytest.mark.skipif(not nearest._multiplies_integers(), reason="this processor has no products of 8-bit integers")
def test_rounded_search_leaves_few_candidates(monkeypatch):
    """Without it the search would be exact too, but slow."""
    monkeypatch.setattr(nearest, "_from_all", None)
    codes = functional.normalize(_normal(4096, 32, seed=1), dim=1) * torch.linspace(0.5, 1, 4096)[:, None]
    x = functional.normalize(_normal(300, 32), dim=1)
    wanted = torch.cdist(x.double(), codes.double()).argmin(dim=1)
    assert torch.equal(nearest_codes(x, codes), wanted)


def test_the_first_of_equal_codes_in_a_rounded_search():
    x = torch.randint(-3, 4, (1200, 4), generator=torch.Generator().manual_seed(0)).float()
    codebook = x[:20].repeat(52, 1)[:1024]
    distances = (x[:, None, :] - codebook[:20]).square().sum(-1).numpy()
    np.testing.assert_array_equal(nearest_codes(x, codebook), np.argmin(distances, axis=1))


def test_kept_rounded_codes_follow_every_change():
    module = VectorQuantizer(4096, 8).eval()
    module.codebook.copy_(_normal(4096, 8))
    x = _normal(64, 8, seed=5)
    first = module.encode(x)
    module.codebook.copy_(module.codebook.flip(0))
    assert torch.equal(module.encode(x), 4095 - first)
    module.train()(x)
    wanted = torch.cdist(x.double(), module.codebook.double()).argmin(dim=1)
    assert torch.equal(module.eval().encode(x), wanted)


def test_autocast_does_not_make_the_search_coarse():
    x, codebook = functional.normalize(_normal(400, 16), dim=-1), functional.normalize(_normal(256, 16, seed=1), dim=-1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = nearest_codes(x, codebook)
    assert torch.equal(found, nearest_codes(x, codebook))


def test_vectors_of_another_length_are_refused():
    with pytest.raises(InputError, match="expected vectors of 4 entries, got 3"):
        nearest_codes(torch.zeros(2, 3), torch.zeros(5, 4))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([0, 8], "expected tokens between 0 and 7, got 8"),
        ([-1, 3], "expected tokens between 0 and 7, got -1"),
        ([0.0, 1.0], "expected tokens as integers, got torch.float32"),
    ],
)
def test_tokens_outside_the_vocabulary_are_refused(tokens, message):
    with pytest.raises(InputError, match=message):
        look_up(torch.tensor(tokens), torch.zeros(8, 2))


def test_decode_is_the_code():
    quantizer = VectorQuantizer(8, 3)
    tokens = torch.tensor([[7, 0], [1, 1]])
    assert torch.equal(quantizer.decode(tokens), quantizer.codebook[tokens])
    assert quantizer.decode(torch.zeros(0, 4, dtype=torch.int64)).shape == (0, 4, 3)


def test_update_is_the_written_formula():
    quantizer = VectorQuantizer(10, 4, decay=0.9).train()
    size, total, codebook = np.zeros(10), quantizer.ema_sum.double().numpy(), quantizer.codebook.double().numpy()
    for seed in range(3):
        x = _normal(30, 4, seed=seed)
        wanted = np.square(x.double().numpy()[:, None] - codebook).sum(-1).argmin(1)
        found = quantizer(x)
        np.testing.assert_array_equal(found.indices, wanted)
        np.testing.assert_allclose(found.values, codebook[wanted], atol=2e-6)  # the codes before the update
        one_hot = np.eye(10)[wanted]
        size = 0.9 * size + 0.1 * one_hot.sum(0)
        total = 0.9 * total + 0.1 * one_hot.T @ x.double().numpy()
        codebook = total / ((size + 1e-5) / (size.sum() + 10e-5) * size.sum())[:, None]
        np.testing.assert_allclose(quantizer.cluster_size, size, rtol=1e-5)
        np.testing.assert_allclose(quantizer.codebook, codebook, rtol=1e-4)


def test_evaluation_changes_nothing_and_frozen_neither():
    quantizer = VectorQuantizer(16, 4, kmeans_init=True, restart_dead_codes=0.1)
    for prepare in (quantizer.eval, quantizer.freeze, quantizer.train):
        prepare()
        before = {name: value.clone() for name, value in quantizer.state_dict().items()}
        quantizer(_normal(40, 4))
        assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())
    assert not quantizer.training


def test_gradients_pass_straight_through():
    x = _normal(20, 4).requires_grad_()
    found = VectorQuantizer(16, 4).eval()(x)
    weight = _normal(20, 4, seed=3)
    (grad,) = torch.autograd.grad((found.values * weight).sum(), x)
    assert torch.equal(grad, weight)


def test_the_two_losses_agree_in_value_and_differ_in_effect():
    x, codes = _normal(20, 4).double().requires_grad_(), _normal(20, 4, seed=1).double()
    mean = float((x - codes).detach().square().mean())
    for variant in ("fixed", "reference"):
        for loss in codebook_losses(x, codes, variant):
            assert float(loss.detach()) == pytest.approx(mean, rel=1e-12)
    gradients = {}
    for variant in ("fixed", "reference"):
        (gradients[variant],) = torch.autograd.grad(sum(codebook_losses(x, codes, variant)), x)
    torch.testing.assert_close(gradients["fixed"], 2 * (x.detach() - codes) / x.numel())
    assert torch.all(gradients["reference"] == 0)


def test_beta_weighs_the_commitment():
    found = VectorQuantizer(16, 4, beta=0.25).eval()(_normal(20, 4))
    assert float(found.loss) == pytest.approx(1.25 * float(found.commitment_loss))


def test_kmeans_is_that_of_scikit_learn():
    x = _normal(300, 3)
    start, _ = kmeans(x, 12, n_iter=0, generator=torch.Generator().manual_seed(0))
    means, counts = kmeans(x, 12, n_iter=5, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings(action="ignore"):  # that it has not converged
        peer = KMeans(12, init=start.numpy(), n_init=1, max_iter=5, tol=0.0).fit(x.numpy())
    np.testing.assert_allclose(means, peer.cluster_centers_, atol=1e-5)
    assert int(counts.sum()) == 300
    with pytest.raises(InputError, match="k-means of 6 codes needs as many vectors, got 5"):
        kmeans(x[:5], 6)


def test_kmeans_start_once_and_survives_saving():
    quantizer = VectorQuantizer(8, 3, kmeans_init=True).train()
    quantizer.generator = torch.Generator().manual_seed(0)
    x = _normal(400, 3)
    error = float(quantizer(x).commitment_loss)
    assert error < 0.5 * float(VectorQuantizer(8, 3).eval()(x).commitment_loss)
    other = VectorQuantizer(8, 3, kmeans_init=True).train()
    other.load_state_dict(quantizer.state_dict())
    assert torch.equal(other(x).indices, quantizer(x).indices)  # not started anew
    torch.testing.assert_close(other.codebook, quantizer.codebook)


def test_kmeans_start_from_fewer_vectors_than_codes():
    quantizer = VectorQuantizer(64, 3, kmeans_init=True).train()
    before, x = quantizer.codebook.clone(), _normal(10, 3)
    found = quantizer(x)
    torch.testing.assert_close(found.values, x)
    assert before.abs().max() <= 1 / 64


def test_dead_codes_restart_at_vectors_of_the_batch():
    x = functional.normalize(_normal(500, 4), dim=-1)
    used = {}
    for threshold in (None, 0.05):
        torch.manual_seed(0)
        quantizer = VectorQuantizer(64, 4, restart_dead_codes=threshold).train()
        quantizer.generator = torch.Generator().manual_seed(1)
        for _ in range(5):
            quantizer(x)
        used[threshold] = len(quantizer.encode(x).unique())
        norms = quantizer.codebook.norm(dim=1)
    assert used[0.05] > 2 * used[None]
    assert norms.max() < 2


class _Processes:
    """Two threads in the place of two processes of torch.distributed."""

    def __init__(self):
        self.barrier, self.tensors, self.rank = threading.Barrier(2), {}, threading.local()

    def all_reduce(self, tensor):
        self.tensors[self.rank.number] = tensor.clone()
        self.barrier.wait()
        tensor.copy_(self.tensors[0] + self.tensors[1])
        self.barrier.wait()

    def broadcast(self, tensor, src):
        self.tensors[self.rank.number] = tensor.clone()
        self.barrier.wait()
        tensor.copy_(self.tensors[src])
        self.barrier.wait()

    def run(self, work):
        def of(rank):
            self.rank.number = rank
            return work(rank)

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(of, range(2)))


@pytest.fixture
def processes(monkeypatch):
    group = _Processes()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", group.all_reduce)
    monkeypatch.setattr(torch.distributed, "broadcast", group.broadcast)
    return group


def test_processes_share_one_codebook(processes, monkeypatch):
    x, parts = _normal(60, 4), [VectorQuantizer(16, 4) for _ in range(2)]
    alone = VectorQuantizer(16, 4)
    for part in parts:
        part.load_state_dict(alone.state_dict())
    processes.run(lambda rank: parts[rank].train()(x.chunk(2)[rank]))
    with monkeypatch.context() as single:
        single.setattr(torch.distributed, "is_initialized", lambda: False)
        alone.train()(x)
    for part in parts:
        torch.testing.assert_close(part.codebook, alone.codebook)
        torch.testing.assert_close(part.cluster_size, alone.cluster_size)


def test_processes_start_and_restart_alike(processes):
    x, parts = _normal(200, 4), []
    for seed in range(2):
        part = VectorQuantizer(16, 4, kmeans_init=True, restart_dead_codes=0.1).train()
        part.generator = torch.Generator().manual_seed(seed)
        parts.append(part)
    processes.run(lambda rank: [parts[rank](x.chunk(2)[rank] + step) for step in range(2)])
    assert torch.equal(parts[0].codebook, parts[1].codebook)


def test_without_processes_the_sum_is_the_tensor():
    x = torch.ones(3)
    assert sync_sum(x) is x


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_codes": 0}, "n_codes and dim must be at least 1"),
        ({"decay": 1.0}, "decay must lie between 0 and 1"),
        ({"beta": -1.0}, "beta must not be negative"),
        ({"eps": 0.0}, "eps must be above 0"),
        ({"straight_through_vq_loss": "paper"}, "is 'fixed' or 'reference', got 'paper'"),
        ({"restart_dead_codes": 0}, "None or a count above 0, got 0"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UsageError, match=message):
        VectorQuantizer(**{"n_codes": 8, "dim": 4, **options})
