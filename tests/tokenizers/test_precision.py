"""Reduced precision: what is rounded, how much of it comes out, and that only who asks for it gets it."""

import shutil
import sys

import numpy as np
import pytest
import torch

from neurosig.core.errors import UsageError
from neurosig.models import NeuroRVQEmbedder
from neurosig.nn.linear_attention import LinearAttentionBlock
from neurosig.tokenizers import NeuroRVQTokenizer, TFMTokenizer
from neurosig.tokenizers.tokenize import tokenizer_digest

CHANNELS = ["C3", "Cz", "C4"]
SHARED = {"sfreq": 200.0, "ch_names": CHANNELS, "max_epochs": 2, "batch_size": 8, "random_state": 0, "device": "cpu"}
SIZES = {
    NeuroRVQTokenizer: {
        "unit": "uV", "patch_size": 40, "n_codes": 16, "code_dim": 8, "n_levels": 2, "depth": 2, "decoder_depth": 1
    },
    TFMTokenizer: {"n_codes": 16, "emb_size": 16, "kmeans_init": True},
}  # fmt: skip
# 8 binary digits of a product are 0.4 %; through a few layers several times that, of the size of what comes out
TOLERANCE = 0.03


def _new(kind, **options):
    return kind(**{**SHARED, **SIZES[kind], **options})


@pytest.fixture(scope="module")
def X():
    return (20 * np.random.default_rng(0).standard_normal((16, 3, 400))).astype(np.float32)


@pytest.fixture(scope="module", params=[NeuroRVQTokenizer, TFMTokenizer], ids=lambda kind: kind.__name__)
def pair(request, X):
    """One tokenizer, to be used in float32 and in bfloat16."""
    full = _new(request.param).fit(X)
    half = _new(request.param)
    half.__dict__.update(vars(full) | {"precision": "bfloat16"})
    return full, half


def _off(found, wanted):
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def test_embeddings_of_half_the_digits(pair, X):
    full, half = pair
    if isinstance(full, TFMTokenizer):
        found, wanted = half.embed(X), full.embed(X)
    else:  # its embeddings are sums of codes, which jump: what the codes are chosen by does not
        rows, signals = torch.arange(3), torch.from_numpy(X)
        with torch.no_grad():
            wanted = full.module_._project(full.module_.encoder(signals, rows)).numpy()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = full.module_._project(full.module_.encoder(signals, rows))
        assert found.dtype == torch.float32
        found = found.numpy()
    assert 0 < _off(found, wanted) < TOLERANCE


def test_tokens_of_half_the_digits_are_the_same_or_nearly_as_near(pair, X):
    full, half = pair
    ours, theirs = full.transform(X), half.transform(X)
    if isinstance(full, TFMTokenizer):
        book, latents = full.module_.quantizer.codebook, torch.from_numpy(full.embed(X))
    else:  # the first level of the first scale
        book, ours, theirs = full.module_.quantizers[0].levels[0].codebook, ours[:, 0, 0], theirs[:, 0, 0]
        with torch.no_grad():
            latents = full.module_._project(full.module_.encoder(torch.from_numpy(X), torch.arange(3)))[0]
        latents = torch.nn.functional.normalize(latents, dim=-1).unflatten(1, ours.shape[1:])
    assert (ours == theirs).mean() > 0.8
    near, further = ((latents - book[torch.from_numpy(tokens)]).norm(dim=-1) for tokens in (ours, theirs))
    assert float((further - near).max()) < 2 * TOLERANCE * float(latents.norm(dim=-1).mean())


def test_only_who_asks_for_it_gets_it(pair, X):
    full, half = pair
    rounded, exact = half.reconstruction_report(X), full.reconstruction_report(X)
    assert np.isfinite(rounded.loc["all", "nmse"]) and rounded.loc["all", "nmse"] != exact.loc["all", "nmse"]
    assert tokenizer_digest(half) != tokenizer_digest(full)  # tokens of one are not those of the other
    half.set_params(precision="half")
    with pytest.raises(UsageError, match="precision must be one of 'float32', 'bfloat16', 'float16', got 'half'"):
        half.transform(X)
    half.set_params(precision="bfloat16")


def test_both_learn_in_half_the_digits(pair, X):
    found = _new(type(pair[0]), precision="bfloat16").fit(X)
    losses, wanted = ([row["train_loss"] for row in one.history_] for one in (found, pair[0]))
    np.testing.assert_allclose(losses, wanted, rtol=TOLERANCE)
    assert all(value.dtype != torch.bfloat16 for value in found.module_.state_dict().values())


def test_a_foundation_model_learns_and_embeds_in_half_the_digits(X):
    tokenizer = _new(NeuroRVQTokenizer).fit(X)
    full, half = (
        NeuroRVQEmbedder(tokenizer, depth=2, precision=precision, **SHARED | {"unit": "uV"}).fit(X)
        for precision in ("float32", "bfloat16")
    )
    losses, wanted = ([row["train_loss"] for row in one.history_] for one in (half, full))
    np.testing.assert_allclose(losses, wanted, rtol=TOLERANCE)
    full.module_.load_state_dict(half.module_.state_dict())
    assert 0 < _off(half.transform(X), full.transform(X)) < TOLERANCE


def test_what_goes_from_block_to_block_keeps_its_digits():
    torch.manual_seed(0)
    block = LinearAttentionBlock(16, 2, drop_prob=0.0).eval()
    for layer in (block.out, block.narrow):  # so that the block adds nothing
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    x = torch.randn(2, 5, 16)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(block(x), x)
        assert block(x.bfloat16()).dtype == torch.float32


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("c++") is None, reason="there is no C++ compiler")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="torch.compile is tried on Linux")
def test_compiled_training_is_the_same_training(X):
    # one tokenizer, as a minute goes by in the compiler; without dropout, as it draws other units
    sizes = {"freq_depth": 1, "temporal_depth": 1, "decoder_depth": 1, "drop_prob": 0.0}
    plain, compiled = (_new(TFMTokenizer, compile=chosen, **sizes).fit(X) for chosen in (False, True))
    losses, wanted = ([row["train_loss"] for row in one.history_] for one in (compiled, plain))
    np.testing.assert_allclose(losses, wanted, rtol=1e-3)
