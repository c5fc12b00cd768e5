"""Trainings that are killed, refused or interrupted, and trainings on more data than memory may hold."""

import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from neurosig.core.errors import StorageError, UsageError
from neurosig.models import LinearNet, NetClassifier
from neurosig.training import batches, trial_data
from neurosig.training.callbacks import Scores
from neurosig.training.checkpoint import Checkpoint
from neurosig.training.device import set_random_states

torch.set_num_threads(1)  # sums are those of another process
pytestmark = pytest.mark.filterwarnings("ignore::neurosig.core.compat.CompatibilityWarning")


def study():
    """A training with all the state there is: schedule, average, augmentation, dropout, batch norm, best weights."""
    rng = np.random.default_rng(0)
    options = {"filter_time_length": 5, "pool_time_length": 9, "pool_time_stride": 3}
    net = NetClassifier("ShallowFBCSPNet", options, max_epochs=6, ema=0.9, schedule="one_cycle", batch_size=16,
                        augmentation=["TimeReverse"], random_state=3, device="cpu")  # fmt: skip
    return net, rng.standard_normal((40, 3, 120)), np.tile(["a", "b"], 20)


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from test_net_resume import Checkpoint, study

write = Checkpoint.on_epoch_end

def write_and_die(self, net, **kwargs):
    write(self, net, **kwargs)
    if len(self.rows) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoint.on_epoch_end = write_and_die
net, X, y = study()
net.set_params(checkpoint=sys.argv[2]).fit(X, y)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_training_ends_in_the_same_bits(tmp_path, monkeypatch):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", KILLED, str(Path(__file__).parent), str(tmp_path)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    net, X, y = study()
    whole = net.fit(X, y)
    begun = []
    count = Scores.on_epoch_begin
    monkeypatch.setattr(Scores, "on_epoch_begin", lambda self, net, **kw: (begun.append(1), count(self, net, **kw))[1])
    resumed = clone(net).set_params(checkpoint=tmp_path).fit(X, y)
    assert len(begun) == 4
    assert len(resumed.history_) == 6
    for name, value in whole.module_.state_dict().items():
        assert torch.equal(value, resumed.module_.state_dict()[name]), name


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((30, 2, 20)), np.tile([0, 1, 2], 10)


def net(folder, **options):
    return NetClassifier(
        "LinearNet", **{"max_epochs": 4, "checkpoint": folder, "random_state": 0, "device": "cpu", **options}
    )


def test_trainings_share_a_folder(tmp_path, monkeypatch):
    X, y = data()
    others = [
        (net(tmp_path), X, y), (net(tmp_path, lr=0.5), X, y), (net(tmp_path), *data(1)),
        (net(tmp_path), X[:, :, :10], y), (net(tmp_path, random_state=1), X, y), (net(tmp_path), X, y[::-1]),
    ]  # fmt: skip
    losses = [[row["train_loss"] for row in one.fit(*given).history_] for one, *given in others]
    assert len(list(tmp_path.glob("*/training.pt"))) == len(others)
    alone = [
        [row["train_loss"] for row in one.set_params(checkpoint=None).fit(*given).history_] for one, *given in others
    ]
    assert losses == alone
    search = GridSearchCV(net(tmp_path / "search"), {"lr": [0.001, 0.01]}, cv=3, refit=False).fit(X, y)
    assert len(list(tmp_path.glob("search/*/training.pt"))) == 6
    monkeypatch.setattr(Scores, "on_epoch_begin", lambda *args, **kwargs: pytest.fail("an epoch was trained"))
    again = clone(search).fit(X, y)
    np.testing.assert_array_equal(again.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"])


class Grown(LinearNet):
    """A network whose code will be another when the training is taken up again."""

    def __init__(self, n_chans=None, n_outputs=None, n_times=None):
        super().__init__(n_chans, n_outputs, n_times)
        if self.more:
            self.more_weights = torch.nn.Parameter(torch.zeros(3))

    more = False


def test_checkpoint_of_another_architecture_or_damaged(tmp_path, monkeypatch):
    X, y = data()
    once = NetClassifier(Grown, max_epochs=2, checkpoint=tmp_path, random_state=0, device="cpu").fit(X, y)
    monkeypatch.setattr(Grown, "more", True)
    with pytest.raises(StorageError, match=r"checkpoint of another training.*weights was.*give another folder"):
        clone(once).fit(X, y)
    monkeypatch.undo()
    (file,) = tmp_path.glob("*/training.pt")
    file.write_bytes(b"no checkpoint")
    with pytest.raises(StorageError, match=r"cannot read the checkpoint.*remove it to start anew"):
        clone(once).fit(X, y)


def test_finished_training_is_not_done_again(tmp_path, monkeypatch, caplog):
    X, y = data()
    first = net(tmp_path, random_state=None).fit(X, y)
    monkeypatch.setattr(Scores, "on_epoch_begin", lambda *args, **kwargs: pytest.fail("an epoch was trained"))
    assert "going on" not in caplog.text
    again = net(tmp_path, random_state=None).fit(X, y)
    assert again.seed_ == first.seed_
    assert f"going on after epoch {len(first.history_)} from the checkpoint in {tmp_path}" in caplog.text
    assert all(torch.equal(v, again.module_.state_dict()[n]) for n, v in first.module_.state_dict().items())


def test_interrupt_keeps_the_checkpoint(tmp_path, monkeypatch):
    X, y = data()
    expected = net(None).fit(X, y)
    write = Checkpoint.on_epoch_end

    def interrupted(self, net, **kwargs):
        write(self, net, **kwargs)
        if len(self.rows) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "on_epoch_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            net(tmp_path).fit(X, y)
    resumed = net(tmp_path).fit(X, y)
    assert [row["train_loss"] for row in resumed.history_] == [row["train_loss"] for row in expected.history_]
    assert all(torch.equal(v, resumed.module_.state_dict()[n]) for n, v in expected.module_.state_dict().items())


@pytest.mark.parametrize("kind", ["zarr", "memmap"])
def test_many_times_more_than_memory_may_hold(kind, tmp_path, monkeypatch):
    """32 MB of trials: what NumPy takes at any time is a fraction of them, and what PyTorch takes is one buffer."""
    monkeypatch.setattr(trial_data, "_PIECE", 1 << 18)
    together, buffers = batches.Batches._together, []

    def noted(self, blocks, per_trial):
        groups = together(self, blocks, per_trial)
        buffers.append((self.generator is None, max(sum(map(len, group)) for group in groups) * per_trial))
        return groups

    monkeypatch.setattr(batches.Batches, "_together", noted)

    def store(name, n):
        if kind == "zarr":
            X = zarr.create_array(tmp_path / name, shape=(n, 4, 250), dtype="float32", chunks=(50, 4, 250))
        else:
            X = np.memmap(tmp_path / name, "float32", "w+", shape=(n, 4, 250))
        for start in range(0, n, 1000):
            X[start : start + 1000] = np.random.default_rng(start).standard_normal((1000, 4, 250))
        if kind == "zarr":
            return zarr.open_array(tmp_path / name, mode="r")
        return np.memmap(tmp_path / name, "float32", "r", shape=(n, 4, 250))

    def peak(X):
        tracemalloc.start()
        try:
            options = {"max_epochs": 1, "random_state": 0, "device": "cpu", "batch_size": 256,
                       "buffer_bytes": 1 << 20}  # fmt: skip
            net = NetClassifier("LinearNet", **options).fit(X, np.arange(X.shape[0]) % 2)
            assert net.predict(X).shape == X.shape[:1]
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = store("few", 1000), store("many", 8000)
    peak(few)  # what libraries import and keep
    assert peak(many) < 8000 * 4000 / 4
    assert {ordered for ordered, _ in buffers} == {True, False}
    chunk = 50 * 4000  # the least that is read of a Zarr array
    assert all(size <= (max(chunk, 1 << 17) if ordered else 1 << 20) for ordered, size in buffers)


def test_a_buffer_is_a_number_of_bytes():
    X, y = data()
    with pytest.raises(UsageError, match="buffer_bytes must be a whole number of bytes above 0"):
        net(None, buffer_bytes=0).fit(X, y)


def test_checkpoint_of_other_code_is_another(tmp_path, monkeypatch):
    X, y = data()
    net(tmp_path).fit(X, y)
    monkeypatch.setattr(torch, "__version__", "0.0")
    net(tmp_path).fit(X, y)
    assert len(list(tmp_path.glob("*/training.pt"))) == 2


def test_checkpoint_of_another_device_goes_on_and_says_so(tmp_path, caplog):
    X, y = data()
    whole = net(tmp_path).fit(X, y)
    (file,) = tmp_path.glob("*/training.pt")
    state = torch.load(file, weights_only=True)
    state["random"]["cuda"] = state["random"]["cpu"]
    torch.save(state, file)
    again = net(tmp_path).fit(X, y)
    assert again.history_ == whole.history_
    assert "was begun on cuda and goes on on cpu" in caplog.text
    set_random_states(
        {"cpu": torch.get_rng_state()}, torch.device("cuda")
    )  # begun on cpu: that generator is left alone
