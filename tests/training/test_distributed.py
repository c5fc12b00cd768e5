"""Two processes train one network: the same split, scale and weights, whatever each of them drew."""

import sys

import lives
import numpy as np
import pytest

from neurosig.core.errors import UsageError
from neurosig.models import NetRegressor
from neurosig.training.distributed import SingleProcess, processes

_NAMES = ("neurorvq tokenizer", "tfm tokenizer", "classifier", "masked patches", "masked tokens")


def train_embedder(**options):
    """A foundation model and its tokenizer, two steps each."""
    from neurosig.models import NeuroRVQEmbedder

    X = np.random.default_rng(1).standard_normal((8, 2, 80)) * 10
    options |= {
        "unit": "uV", "sfreq": 200.0, "ch_names": ["C3", "C4"], "patch_size": 40, "depth": 1, "batch_size": 4,
        "max_epochs": 2, "random_state": 0,
    }  # fmt: skip
    sizes = {"n_codes": 8, "code_dim": 4, "n_levels": 2, "decoder_depth": 1}
    return NeuroRVQEmbedder(tokenizer_params=sizes, **options).fit(X)


def train(rank, folder):
    """One of two processes: meets the other, trains, and writes what it has."""
    import torch

    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 2, 16))
    X[:, 0] += np.arange(40)[:, None] / 10  # whoever trains on others has another scale
    np.random.seed(rank)  # noqa: NPY002 - what random_state=None draws from
    net = NetRegressor("LinearNet", max_epochs=2, batch_size=8, device="accelerate", checkpoint=f"{folder}/kept")
    net.fit(X, X[:, 0, :4].mean(axis=1))
    known = {name: getattr(net, name) for name in ("seed_", "scale_", "signal_sd_", "target_mean_", "target_sd_")}
    weights = {name: value.numpy() for name, value in net.module_.state_dict().items()}
    losses = [[row["train_loss"], row["valid_loss"]] for row in net.history_]
    np.savez(f"{folder}/{rank}.npz", losses=losses, **known, **weights)
    embedder = train_embedder(device="accelerate")
    np.savez(f"{folder}/embedder{rank}.npz", **{k: v.numpy() for k, v in embedder.module_.state_dict().items()})
    torch.distributed.destroy_process_group()


def test_two_processes_train_one_network(tmp_path):
    pytest.importorskip("accelerate")
    common = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}  # whatever the machine's name resolves to
    common |= {"ACCELERATE_USE_CPU": "true", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    pair = [
        lives.begin(tmp_path, train, rank, str(tmp_path), RANK=str(rank), LOCAL_RANK=str(rank), **common)
        for rank in (0, 1)
    ]
    assert [lives.ended(process) for process in pair] == [True, True]
    found = [dict(np.load(tmp_path / f"{rank}.npz")) for rank in (0, 1)]
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name], err_msg=name)
    assert len(list(tmp_path.glob("kept/*"))) == 1
    first, second = (np.load(tmp_path / f"embedder{rank}.npz") for rank in (0, 1))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def _tokenizers():
    from neurosig.tokenizers.neurorvq_module import NeuroRVQTokenizerModule
    from neurosig.tokenizers.tfm_module import TFMTokenizerModule

    residual = NeuroRVQTokenizerModule(
        ["C3", "C4"], patch_size=40, depth=1, decoder_depth=1, n_codes=8, code_dim=4, n_levels=2
    )
    return residual, TFMTokenizerModule(
        emb_size=8, n_codes=8, freq_depth=1, temporal_depth=1, decoder_depth=1, n_heads=2
    )


def _networks():
    """Networks that learn from tokens or classes, and their losses."""
    import torch

    from neurosig.models.neurorvq_encoder import NeuroRVQEncoder
    from neurosig.models.neurorvq_pretraining import NeuroRVQPretraining
    from neurosig.models.tfm_encoder import TFMEncoder

    x = torch.randn(4, 2, 80)
    sizes = {"ch_names": ["C3", "C4"], "patch_size": 40, "depth": 1}
    classifier = NeuroRVQEncoder(n_outputs=2, **sizes)
    pretraining = NeuroRVQPretraining(NeuroRVQEncoder(**sizes), n_levels=2, n_codes=8)
    masked = TFMEncoder(n_outputs=8, n_codes=8, emb_size=8, depth=1, n_heads=2, max_chans=2)
    residual, single = _tokenizers()
    return {
        "neurorvq tokenizer": (residual, lambda: residual.training_loss(x)["total"]),
        "tfm tokenizer": (single, lambda: single.training_loss(torch.randn(4, 2, 400))["total"]),
        "classifier": (classifier, lambda: classifier(x).sum()),
        "masked patches": (pretraining, lambda: pretraining.training_loss((x, residual.encode(x)))["total"]),
        "masked tokens": (masked, lambda: masked.training_loss(torch.randint(8, (4, 2, 6)))["total"]),
    }


@pytest.mark.parametrize("name", _NAMES)
def test_each_parameter_that_announces_a_gradient_gets_one(name):
    # processes that share gradients wait for each of them, and fail at the second step where one does not come
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, loss = _networks()[name]
        loss().backward()
    assert [own for own, p in network.named_parameters() if p.requires_grad and p.grad is None] == []


def test_main_process_has_the_say(monkeypatch):
    class Told(SingleProcess):
        def agreed(self, value):
            if isinstance(value, int):
                return 7  # the seed that the main process drew
            if isinstance(value, tuple):
                scale, target, facts = value
                return 2 * scale, target, {**facts, "target_mean_": 5.0}
            return value

    X = np.random.default_rng(0).standard_normal((30, 2, 8))
    options = {"max_epochs": 1, "device": "cpu"}
    alone = NetRegressor("LinearNet", random_state=0, **options).fit(X, X[:, 0, 0])
    monkeypatch.setattr("neurosig.models.net_base.processes", lambda device: Told())
    monkeypatch.setattr(Told, "world", 1)
    told = NetRegressor("LinearNet", scale=alone.scale_, **options).fit(X, X[:, 0, 0])
    assert told.seed_ == 7
    assert told.scale_ == 2 * alone.scale_
    assert told.target_mean_ == 5.0


def test_processes_that_would_train_alone_are_refused(monkeypatch):
    accelerate = pytest.importorskip("accelerate")

    class Alone:
        device, process_index, num_processes, is_main_process = "cpu", 0, 1, True

    monkeypatch.setattr(accelerate, "Accelerator", Alone)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(UsageError, match=r"2 processes were started, accelerate sees 1.*accelerate launch --cpu --num"):
        processes("auto")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert processes("accelerate").world == 1
