"""Two processes train one network: the same split, scale and weights, whatever each of them drew."""

import sys

import lives
import numpy as np
import pytest

from neurosig.core.errors import UsageError
from neurosig.models import NetRegressor
from neurosig.training.distributed import SingleProcess, processes


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
