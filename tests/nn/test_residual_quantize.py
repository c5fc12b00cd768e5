"""Residual quantizers beside arrays of the published code, brute force, closed forms and an independent library."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.nn import functional

from neurosig.core.errors import InputError, UsageError
from neurosig.nn import nearest
from neurosig.nn.nearest import RoundedCodes, nearest_directions
from neurosig.nn.residual_quantize import (
    ResidualQuantizer,
    UnitVectorQuantizer,
    spherical_kmeans,
)


@pytest.fixture(autouse=True)
def _seeded():
    """Codes are drawn by torch's global generator."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def _normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()


def _units(*shape, seed=0):
    return functional.normalize(_normal(*shape, seed=seed), dim=-1)


def _snapshot(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def _same(state, other):
    return all(torch.equal(state[name], other[name]) for name in state)


# --- nearest directions ---


@pytest.mark.parametrize(("n", "n_codes", "dim"), [(1, 1, 3), (50, 7, 5), (70, 64, 8), (700, 640, 32)])
def test_nearest_is_that_of_all_products(n, n_codes, dim):
    x, codes = _units(n, dim), _units(n_codes, dim, seed=1)
    wanted = (x.double() @ codes.double().T).argmax(dim=1)
    assert torch.equal(nearest_directions(x, codes), wanted)
    assert torch.equal(nearest_directions(x.reshape(1, n, 1, dim), codes), wanted.reshape(1, n, 1))


@pytest.mark.skipif(not nearest._multiplies_integers(), reason="this processor has no products of 8-bit integers")
@pytest.mark.parametrize("spread", [None, 0.3, 0.05])
def test_rounded_search_is_exact_however_close_the_codes(spread):
    codes = _units(2048, 16, seed=1) if spread is None else functional.normalize(
        _units(1, 16) + spread * _normal(2048, 16, seed=2) / 4, dim=1
    )  # fmt: skip
    x = functional.normalize(codes[:300] + 0.1 * _normal(300, 16, seed=3), dim=1)
    exact = (x[:, None] * codes).sum(-1)  # the order of summation of the candidates' own products
    found = nearest_directions(x, codes, RoundedCodes(codes, unit=True))
    assert torch.equal(exact.gather(1, found[:, None])[:, 0], exact.amax(dim=1))


def test_the_first_of_equal_codes():
    codes = _units(20, 8).repeat(13, 1)[:256]
    found = nearest_directions(_units(600, 8, seed=4), codes)
    assert int(found.max()) < 20
    assert torch.equal(found, nearest_directions(_units(600, 8, seed=4), codes, RoundedCodes(codes, unit=True)))


def test_zeros_and_another_length():
    assert nearest_directions(torch.zeros(3, 4), _units(64, 4)).tolist() == [0, 0, 0]
    with pytest.raises(InputError, match="expected vectors of 4 entries, got 3"):
        nearest_directions(torch.zeros(2, 3), torch.zeros(5, 4))


# --- the published code's arrays ---


@pytest.fixture(scope="module")
def unit_arrays(golden_dir):
    with np.load(golden_dir / "neurorvq" / "rvq_unit.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def _published(arrays):
    module = ResidualQuantizer(4, 16, 6, kmeans_init=False)
    for i, level in enumerate(module.levels):
        level.codebook.copy_(torch.from_numpy(arrays[f"w0/{i}"]))
    return module


def _last(z):
    return torch.from_numpy(z).movedim(1, -1)


def test_evaluation_equals_the_published(unit_arrays):
    module = _published(unit_arrays).eval()
    before = _snapshot(module)
    z = torch.from_numpy(unit_arrays["z"]).requires_grad_()
    out = module(z.movedim(1, -1))
    np.testing.assert_allclose(out.values.detach().movedim(-1, 1), unit_arrays["eval/quantized"], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(out.indices.reshape(4, -1), unit_arrays["eval/indices"])
    np.testing.assert_allclose(out.loss.item(), unit_arrays["eval/loss"], rtol=1e-5)
    np.testing.assert_allclose(out.usage, unit_arrays["eval/usage"], rtol=1e-6)
    weights = torch.arange(out.values.numel()).reshape(z.shape) / 100
    (grad,) = torch.autograd.grad((out.values.movedim(-1, 1) * weights).sum(), z, retain_graph=True)
    np.testing.assert_allclose(grad, unit_arrays["eval/grad_of_weighted_sum_wrt_z"], rtol=1e-3, atol=1e-5)
    (grad,) = torch.autograd.grad(out.loss, z)
    np.testing.assert_allclose(grad, unit_arrays["eval/grad_of_loss_wrt_z"], rtol=1e-3, atol=1e-7)
    assert _same(before, module.state_dict())
    assert torch.equal(module.encode(z.movedim(1, -1)), out.indices)
    torch.testing.assert_close(module.decode(out.indices), out.values.detach(), rtol=0, atol=1e-6)


def test_training_moves_codes_as_the_published(unit_arrays):
    module = _published(unit_arrays).train()
    for step in range(3):
        out = module(_last(unit_arrays[f"train{step}/z"]))
        np.testing.assert_allclose(
            out.values.movedim(-1, 1), unit_arrays[f"train{step}/quantized"], rtol=1e-5, atol=1e-5
        )
        np.testing.assert_array_equal(out.indices.reshape(4, -1), unit_arrays[f"train{step}/indices"])
        np.testing.assert_allclose(out.loss.item(), unit_arrays[f"train{step}/loss"], rtol=1e-5)
        for i, level in enumerate(module.levels):
            np.testing.assert_allclose(level.codebook, unit_arrays[f"train{step}/w/{i}"], rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(level.usage, unit_arrays[f"train{step}/cluster_size/{i}"], rtol=1e-4, atol=1e-7)


def test_kmeans_equals_the_published(unit_arrays):
    start = torch.from_numpy(unit_arrays["kmeans/initial_index"])
    means, counts = spherical_kmeans(torch.from_numpy(unit_arrays["kmeans/samples"]), len(start), start=start)
    np.testing.assert_allclose(means, unit_arrays["kmeans/means"], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(counts, unit_arrays["kmeans/bins"])


# --- an independent library ---


def test_classical_mode_is_residual_vq_of_another_library():
    library = pytest.importorskip("vector_quantize_pytorch")
    theirs = library.ResidualVQ(dim=6, num_quantizers=3, codebook_size=16, kmeans_init=False).eval()
    ours = ResidualQuantizer(3, 16, 6, mode="classical", kmeans_init=False).eval()
    for i, level in enumerate(ours.levels):
        level.codebook.copy_(_normal(16, 6, seed=i) / (i + 1))
        theirs.layers[i]._codebook.embed.data.copy_(level.codebook[None])
    x = _normal(2, 40, 6, seed=9)
    values, indices, _ = theirs(x)
    out = ours(x)
    assert torch.equal(out.indices.movedim(0, -1), indices)
    torch.testing.assert_close(out.values, values, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.decode(out.indices), theirs.get_output_from_indices(indices), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(out.residual, x - values, rtol=1e-5, atol=1e-6)


def test_one_level_is_the_cosine_codebook_of_another_library():
    library = pytest.importorskip("vector_quantize_pytorch")
    theirs = library.VectorQuantize(
        dim=6, codebook_size=16, use_cosine_sim=True, decay=0.9, threshold_ema_dead_code=0, kmeans_init=False,
        rotation_trick=False,
    )  # fmt: skip
    ours = UnitVectorQuantizer(16, 6, decay=0.9, kmeans_init=False)
    theirs._codebook.embed.data.copy_(ours.codebook[None])
    theirs.eval(), ours.eval()
    x = _normal(3, 20, 6)
    values, indices, _ = theirs(x)
    out = ours(x)
    assert torch.equal(out.indices, indices)
    torch.testing.assert_close(out.values, values, rtol=1e-5, atol=1e-6)


def test_codes_move_as_those_of_another_library():
    library = pytest.importorskip("vector_quantize_pytorch")
    theirs = library.ResidualVQ(
        dim=6, num_quantizers=2, codebook_size=16, decay=0.9, kmeans_init=False, threshold_ema_dead_code=0,
        rotation_trick=False,
    ).train()  # fmt: skip
    ours = ResidualQuantizer(2, 16, 6, mode="classical", decay=0.9, kmeans_init=False).train()
    for level, layer in zip(ours.levels, theirs.layers, strict=True):
        level.codebook.copy_(_normal(16, 6, seed=1))
        level.cluster_size.fill_(2.0)
        level.ema_sum.copy_(2 * level.codebook)
        book = layer._codebook
        for name, value in (("embed", level.codebook), ("cluster_size", level.cluster_size),
                            ("embed_avg", level.ema_sum)):  # fmt: skip
            getattr(book, name).data.copy_(value[None])
    for step in range(4):
        x = _normal(2, 40, 6, seed=10 + step)
        values, indices, losses = theirs(x)
        out = ours(x)
        assert torch.equal(out.indices.movedim(0, -1), indices)
        torch.testing.assert_close(out.values, values, rtol=1e-5, atol=1e-6)
        # theirs is the commitment loss alone; of the codebook loss the value is the same
        torch.testing.assert_close(out.level_losses / 2, losses.flatten())
        for level, layer in zip(ours.levels, theirs.layers, strict=True):
            book = layer._codebook
            torch.testing.assert_close(level.cluster_size, book.cluster_size[0])
            torch.testing.assert_close(level.ema_sum, book.embed_avg[0], rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(level.codebook, book.embed[0], rtol=1e-5, atol=1e-5)


# --- closed forms and invariants ---


def test_a_direction_is_coded_whatever_its_length_and_the_code_subtracted_whole():
    module = ResidualQuantizer(2, 2, 2, kmeans_init=False).eval()
    for level in module.levels:
        level.codebook.copy_(torch.eye(2))
    out = module(torch.tensor([[5.0, 0.1], [0.1, 0.3]]))
    # (5, .1) - (1, 0) still points along the first code; (.1, .3) - (0, 1) = (.1, -.7) is nearer to the first
    assert out.indices.T.tolist() == [[0, 0], [1, 0]]
    torch.testing.assert_close(out.values, torch.tensor([[2.0, 0.0], [1.0, 1.0]]))
    torch.testing.assert_close(out.residual, torch.tensor([[3.0, 0.1], [-0.9, -0.7]]))


def test_one_update_of_a_code_by_hand():
    level = UnitVectorQuantizer(2, 2, decay=0.9, kmeans_init=False).train()
    level.codebook.copy_(torch.eye(2))
    level(torch.tensor([[3.0, 0.0], [1.0, 1.0 - 1e-3]]))
    target = functional.normalize(functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0 - 1e-3]])).mean(0), dim=0)
    moved = functional.normalize(0.9 * torch.tensor([1.0, 0.0]) + 0.1 * target, dim=0)
    torch.testing.assert_close(level.codebook, torch.stack([moved, torch.tensor([0.0, 1.0])]))
    torch.testing.assert_close(level.usage, torch.tensor([0.2, 0.0]))


@pytest.mark.parametrize("mode", ["direction", "classical"])
def test_inference_and_frozen_training_change_nothing(mode):
    module = ResidualQuantizer(3, 16, 4, mode=mode).eval()
    before, x = _snapshot(module), _normal(50, 4)
    out = module(x)
    assert _same(before, module.state_dict())  # k-means has not run either
    halves = torch.cat([module.encode(x[:7]), module.encode(x[7:])], dim=1)
    assert torch.equal(halves, out.indices)
    assert torch.equal(module.encode(x), out.indices)
    for level in module.levels:
        level.freeze()
    module.train()(x)
    assert _same(before, module.state_dict())


def test_kmeans_starts_at_the_first_training_batch_or_when_asked():
    centres = torch.eye(4)
    x = functional.normalize(centres.repeat(25, 1) + 0.05 * _normal(100, 4), dim=1)
    levels = [UnitVectorQuantizer(4, 4, n_iter=30), UnitVectorQuantizer(4, 4, n_iter=30)]
    assert not any(level.started for level in levels)
    for i, level in enumerate(levels):
        level.generator = torch.Generator().manual_seed(3)
        level.train()(x) if i else level.eval().initialise(x)
        assert bool(level.started)
    # the training call has also moved its codes by one step towards the same means, where they are already
    torch.testing.assert_close(levels[0].codebook, levels[1].codebook, rtol=0, atol=1e-5)
    torch.testing.assert_close(levels[0].codebook.norm(dim=1), torch.ones(4))
    few = UnitVectorQuantizer(64, 4)
    few.initialise(x[:5])  # drawn with repetition
    assert len(few.codebook.unique(dim=0)) <= 5
    with pytest.raises(InputError, match="needs vectors, got none"):
        few.initialise(x[:0])


def test_all_levels_start_on_their_residuals():
    module = ResidualQuantizer(3, 8, 4).eval()
    module.initialise(_normal(200, 4))
    assert all(bool(level.started) for level in module.levels)
    random = ResidualQuantizer(3, 8, 4, kmeans_init=False).eval()
    x = _normal(200, 4)
    assert module(x).loss < random(x).loss


def test_kept_rounded_codes_follow_every_change():
    module = UnitVectorQuantizer(4096, 8, kmeans_init=False).eval()
    x = _units(64, 8, seed=5)
    first = module.encode(x)
    module.codebook.copy_(module.codebook.flip(0))
    assert torch.equal(module.encode(x), 4095 - first)
    module.load_state_dict({**module.state_dict(), "codebook": module.codebook.flip(0)})
    assert torch.equal(module.encode(x), first)
    module.codebook = module.codebook.flip(0)
    assert torch.equal(module.encode(x), 4095 - first)


def test_kept_rounded_codes_are_not_those_of_other_codes_at_the_same_place():
    module = UnitVectorQuantizer(4096, 8, kmeans_init=False).eval()
    memory = module.codebook.numpy().copy()
    x = _units(64, 8, seed=5)
    module.codebook = torch.from_numpy(memory)
    first = module.encode(x)
    memory[:] = memory[::-1].copy()  # as when memory is given back and taken again: torch sees no change
    module.codebook = torch.from_numpy(memory)
    assert torch.equal(module.encode(x), 4095 - first)


def test_codes_of_kmeans_are_not_taken_for_dead():
    x = _units(100, 4)
    plain, restarting = (UnitVectorQuantizer(4, 4, restart_dead_codes=chosen) for chosen in (None, 1.0))
    for level in (plain, restarting):
        level.generator = torch.Generator().manual_seed(3)
        level.train()(x)
    assert float(plain.usage.min()) > 1  # none of them is
    assert float(plain.usage.sum()) == pytest.approx(100)
    torch.testing.assert_close(restarting.usage, plain.usage)
    torch.testing.assert_close(restarting.codebook, plain.codebook)


def test_dead_codes_restart_only_when_asked():
    x = _units(30, 4)
    for threshold, moved in ((None, False), (0.5, True)):
        level = UnitVectorQuantizer(64, 4, kmeans_init=False, restart_dead_codes=threshold).train()
        far = level.codebook.clone()
        level(x)
        unused = torch.bincount(level.eval().encode(x), minlength=64) == 0
        changed = (level.codebook - far).abs().amax(dim=1) > 1e-6
        assert bool((changed & unused).any()) is moved


def test_save_and_load():
    module = ResidualQuantizer(2, 16, 4).train()
    module(_normal(60, 4))
    again = ResidualQuantizer(2, 16, 4)
    again.load_state_dict(module.state_dict())
    x = _normal(20, 4, seed=2)
    assert torch.equal(again.eval().encode(x), module.eval().encode(x))
    assert all(bool(level.started) for level in again.levels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ResidualQuantizer(2, 4, 3, mode="other"), "mode must be 'direction' or 'classical'"),
        (lambda: ResidualQuantizer(0, 4, 3), "n_levels must be at least 1"),
        (lambda: ResidualQuantizer(2, 4, 3, residual_weight=-1), "residual_weight must not be negative"),
        (lambda: UnitVectorQuantizer(0, 3), "n_codes and dim must be at least 1"),
        (lambda: UnitVectorQuantizer(4, 3, decay=1.0), "decay must lie between 0 and 1"),
        (lambda: UnitVectorQuantizer(4, 3, restart_dead_codes=0.0), "restart_dead_codes is None or a count above 0"),
        (lambda: ResidualQuantizer(2, 4, 3, mode="classical").initialise(_normal(9, 3)), "is for mode='direction'"),
    ],
)
def test_wrong_use(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_tokens_that_cannot_be():
    module = ResidualQuantizer(2, 4, 3)
    with pytest.raises(InputError, match="expected tokens between 0 and 3, got 4"):
        module.decode(torch.full((2, 5), 4))
    with pytest.raises(InputError, match="expected tokens of 1 to 2 levels first"):
        module.decode(torch.zeros(3, 5, dtype=torch.int64))
    torch.testing.assert_close(module.decode(torch.zeros(1, 5, dtype=torch.int64))[0], module.levels[0].codebook[0])


def test_two_processes_move_their_codes_as_one(monkeypatch):
    from neurosig.nn import quantize

    x = _normal(40, 4)
    alone = UnitVectorQuantizer(8, 4, kmeans_init=False).train()
    both = [UnitVectorQuantizer(8, 4, kmeans_init=False).train() for _ in range(2)]
    for module in both:
        module.load_state_dict(alone.state_dict())
    alone(x)
    # threads in the place of processes, and a sum that waits for both in the place of the network's
    barrier, shares = threading.Barrier(2), []

    def all_reduce(tensor):
        shares.append(tensor.clone())
        barrier.wait(60)
        tensor.copy_(shares[0] + shares[1])
        return tensor

    for module in (torch.distributed, quantize.torch.distributed):
        monkeypatch.setattr(module, "is_available", lambda: True)
        monkeypatch.setattr(module, "is_initialized", lambda: True)
        monkeypatch.setattr(module, "all_reduce", all_reduce)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda pair: pair[0](pair[1]), zip(both, (x[:15], x[15:]), strict=True)))
    for module in both:
        torch.testing.assert_close(module.codebook, alone.codebook, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(module.usage, alone.usage)
