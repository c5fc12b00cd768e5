"""The EEGNet family: training and inference beside braindecode, or beside the plain order of operations.

Both sides of a training begin with the same weights, take the same batches with the same optimizer, and are shown to
reach the same loss before they are timed.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, side

# ours, its options, braindecode's class or None (then the peer is ours with fused=False); promises: fit, inference;
# trials and windows, fewer where the peer is the plain order, which takes minutes
CASES = (
    ("EEGNet", {"variant": "braindecode"}, "EEGNet", 1 / 1.5, 1 / 3, 288, 10_000),
    ("ShallowConvNet", {}, "ShallowFBCSPNet", 1 / 1.05, 1 / 1.2, 288, 10_000),
    ("DeepConvNet", {}, "Deep4Net", 1 / 1.05, 1 / 1.2, 288, 10_000),
    ("EEGNetFusion", {}, None, 1 / 1.05, 1 / 1.2, 32, 512),
    ("MIEEGNet", {"sfreq": 250.0}, None, 1 / 1.05, 1 / 1.2, 32, 512),
)
EPOCHS = 20
SAME_EXACTLY = 1e-3  # of the first epoch's loss
BATCH, N_CHANS, N_TIMES, N_CLASSES = 64, 22, 1001, 4
N_PREDICTED = 2_000


def write_trials(folder: Path, *, n: int) -> None:
    """Noise, with a wave of 10 Hz in another channel for each class."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, N_CHANS, N_TIMES), dtype=np.float32)
    y = np.arange(n) % N_CLASSES
    phases = rng.uniform(0, 2 * np.pi, (n, 1))
    X[np.arange(n), 5 * y] += np.sin(2 * np.pi * 10 * np.arange(N_TIMES) / 250 + phases).astype(np.float32)
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)


def _classes(name: str, theirs: str | None):
    """Our class and the peer's; where there is no peer, ours is computed in the plain order."""
    import neurosig.models as models
    from neurosig.core.compat import import_braindecode

    ours = getattr(models, name)
    return ours, ours if theirs is None else getattr(import_braindecode("braindecode.models"), theirs)


def _started(case: tuple, *, ours: bool, seed: int, dropout: bool):
    """Class or network of one side, and its options: both sides begin with the weights that the peer draws."""
    import inspect

    import torch

    torch.set_num_threads(1)
    name, options, theirs, *_ = case
    cls, peer = _classes(name, theirs)
    sizes = {"n_chans": N_CHANS, "n_outputs": N_CLASSES, "n_times": N_TIMES}
    quiet = {} if dropout else {"drop_prob": 0.0}
    torch.manual_seed(seed)
    start = peer(**sizes, **({} if theirs else {**options, "fused": False}), **quiet)
    if not ours:
        return start, {}
    weights = start.state_dict()

    class Started(cls):
        def __init__(self, *args, **given):
            super().__init__(*args, **given)
            self.load_state_dict(weights)

    Started.__signature__ = inspect.signature(cls)  # what is told of the signals goes by it
    return Started, {**options, **quiet, "fused": True}


class _Order:
    """The order in which `NetClassifier` takes the trials, for the peer's loader."""

    def __init__(self, n: int, seed: int):
        import torch

        self.n, self.generator = n, torch.Generator().manual_seed(seed)

    def __iter__(self):
        import torch

        return iter(torch.randperm(self.n, generator=self.generator).tolist())

    def __len__(self) -> int:
        return self.n


def _losses(scratch: Path, case: tuple, *, ours: bool, seed: int = 0, dropout: bool = True) -> list[float]:
    """Training loss of every epoch. Weights at the start, batches and optimizer are the same on both sides."""
    import torch

    X, y = np.load(scratch / "X.npy"), np.load(scratch / "y.npy")
    module, options = _started(case, ours=ours, seed=seed, dropout=dropout)
    if ours:
        from neurosig.models import NetClassifier

        net = NetClassifier(
            module, options, max_epochs=EPOCHS, batch_size=BATCH, lr=1e-3, optimizer="Adam", validation=None,
            scale=None, max_norm=False, device="cpu", random_state=seed,
        ).fit(X, y)  # fmt: skip
        return [row["train_loss"] for row in net.history_]
    from neurosig.core.compat import import_braindecode
    from neurosig.training.device import draw_seed

    net = import_braindecode("braindecode").EEGClassifier(
        module, max_epochs=EPOCHS, batch_size=BATCH, lr=1e-3, optimizer=torch.optim.Adam, train_split=None,
        criterion=torch.nn.CrossEntropyLoss, iterator_train__shuffle=False, iterator_train__drop_last=False,
        iterator_train__sampler=_Order(len(X), draw_seed(seed)), classes=list(range(N_CLASSES)), verbose=0,
    )  # fmt: skip
    torch.manual_seed(draw_seed(seed))  # of the dropout
    return [float(loss) for loss in net.fit(X, y).history[:, "train_loss"]]


def _fit(scratch: Path, *, case: tuple, ours: bool) -> dict:
    """Train with dropout, as the defaults are."""
    return {"shown": {"final loss": _losses(scratch, case, ours=ours)[-1]}}


def _agree(scratch: Path, *, case: tuple) -> dict:
    """Prove that both sides learn the same without dropout: the loss of each epoch, in parts of the first one's.

    Adam divides by the size of a gradient, so that rounding shows in losses that have fallen to a ten-thousandth.
    With dropout, which the timed trainings have, the two draw other masks, so that nothing is claimed of single losses.
    """
    mine, theirs = (np.array(_losses(scratch, case, ours=ours, dropout=False)) for ours in (True, False))
    apart = float(np.max(np.abs(mine - theirs)) / theirs[0])
    if not apart <= SAME_EXACTLY:
        raise RuntimeError(f"{case[0]} without dropout: losses differ by {apart:.2g}, more than {SAME_EXACTLY:g}")
    return {"told": f"without dropout losses of all {EPOCHS} epochs equal to {apart:.1g} of the first"}


def _infer(scratch: Path, *, case: tuple, ours: bool) -> dict:
    """Logits of all windows, read batch by batch."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    name, options, theirs, *_ = case
    cls = _classes(name, theirs)[0 if ours else 1]
    options = {**options, "fused": ours} if ours or theirs is None else {}
    module = cls(n_chans=N_CHANS, n_outputs=N_CLASSES, n_times=N_TIMES, **options).eval()

    def windows(i: int) -> torch.Tensor:
        # mapped anew for each batch: pages of the file that stay mapped would count as memory
        return torch.from_numpy(np.array(np.load(scratch / "X.npy", mmap_mode="r")[i : i + BATCH]))

    with torch.inference_mode():
        n = len(np.load(scratch / "X.npy", mmap_mode="r"))
        logits = torch.cat([module(windows(i)) for i in range(0, n, BATCH)])
    return {"shape": list(logits.shape), "mean": round(float(logits.mean()), 3), "sd": round(float(logits.std()), 3)}


def _write_trained(folder: Path) -> None:
    """EEGNet trained a little, and many trials to tell apart with it."""
    from neurosig.models import NetClassifier

    write_trials(folder, n=N_PREDICTED)
    X, y = (np.load(folder / f"{name}.npy", mmap_mode="r")[:256] for name in "Xy")
    NetClassifier(
        "EEGNet", {"variant": "braindecode"}, max_epochs=5, batch_size=32, validation=None, scale=None, max_norm=False,
        device="cpu", random_state=0,
    ).fit(np.array(X), np.array(y)).save_pretrained(folder / "trained")  # fmt: skip


def _predict(scratch: Path, *, ours: bool) -> dict:
    """Labels of all trials, which are the same on both sides, from the same weights."""
    import torch

    from neurosig.core.persistence import load_arrays

    torch.set_num_threads(1)
    X = np.load(scratch / "X.npy")
    if ours:
        from neurosig.models import NetClassifier

        network = NetClassifier.from_pretrained(scratch / "trained", batch_size=BATCH)
    else:
        from neurosig.core.compat import import_braindecode

        module = import_braindecode("braindecode.models").EEGNet(N_CHANS, N_CLASSES, N_TIMES)
        weights = load_arrays(scratch / "trained" / "model.safetensors")
        module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
        network = import_braindecode("braindecode").EEGClassifier(
            module, batch_size=BATCH, classes=list(range(N_CLASSES)), criterion=torch.nn.CrossEntropyLoss, verbose=0
        ).initialize()  # fmt: skip
    return {"labels": np.bincount(network.predict(X), minlength=N_CLASSES).tolist()}


_IMPORTS = ("torch", "neurosig.models.net", "neurosig.models.eegnet", "braindecode")
_TRAINED_BY = " in EEGClassifier (Adam, lr 1e-3, no drop_last)"
ROWS = []
for _case in CASES:
    _name, _, _theirs, _fit_at_most, _infer_at_most, _n_fit, _n = _case
    _network = f"braindecode's {_theirs}" if _theirs else "the plain order of operations (fused=False)"
    for _work, _function, _trials, _at_most in (
        (f"{_name}: fit of {EPOCHS} epochs on {_n_fit} x {N_CHANS} x {N_TIMES}", _fit, _n_fit, _fit_at_most),
        (f"{_name}: inference on {_n} windows of {N_CHANS} x {N_TIMES}", _infer, _n, _infer_at_most),
    ):
        _prepare = partial(write_trials, n=_trials)
        for _side in ("ours", "theirs"):
            _key = f"{_side}_{_function.__name__[1:]}_{_name}"
            globals()[_key] = side(prepare=_prepare, imports=_IMPORTS)(
                partial(_function, case=_case, ours=_side == "ours")
            )
        if _function is _fit:
            globals()[f"agree_{_name}"] = side(prepare=_prepare, imports=_IMPORTS)(partial(_agree, case=_case))
        for _measure, _limit in (("seconds", _at_most), ("peak_mb", 1.0)):
            ROWS.append(
                Row(
                    work=_work + ("" if _measure == "seconds" else ", memory"),
                    peer=_network + (_TRAINED_BY if _function is _fit else ""),
                    ours=f"benchmarks.bench_networks:ours_{_function.__name__[1:]}_{_name}",
                    theirs=f"benchmarks.bench_networks:theirs_{_function.__name__[1:]}_{_name}",
                    at_most=_limit,
                    measure=_measure,
                    repeats=2 if _measure == "seconds" else 1,
                    agree=f"benchmarks.bench_networks:agree_{_name}"
                    if _function is _fit and _measure == "seconds"
                    else None,
                )
            )

for _side in ("ours", "theirs"):
    globals()[f"{_side}_predict_EEGNet"] = side(prepare=_write_trained, imports=_IMPORTS)(
        partial(_predict, ours=_side == "ours")
    )
ROWS.append(
    Row(
        work=f"EEGNet: predict of {N_PREDICTED} x {N_CHANS} x {N_TIMES} from the same trained weights",
        peer="braindecode's EEGNet in EEGClassifier",
        ours="benchmarks.bench_networks:ours_predict_EEGNet",
        theirs="benchmarks.bench_networks:theirs_predict_EEGNet",
        at_most=1 / 2,
        repeats=2,
    )
)
