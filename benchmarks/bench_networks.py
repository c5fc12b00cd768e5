"""The EEGNet family: training and inference beside braindecode, or beside the plain order of operations."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, side

# ours, its options, braindecode's class or None (then the peer is ours with fused=False); promises: fit, inference;
# epochs and windows, fewer where the peer is the plain order, which takes minutes
CASES = (
    ("EEGNet", {"variant": "braindecode"}, "EEGNet", 1 / 1.5, 1 / 3, 20, 10_000),
    ("ShallowConvNet", {}, "ShallowFBCSPNet", 1 / 1.05, 1 / 1.2, 20, 10_000),
    ("DeepConvNet", {}, "Deep4Net", 1 / 1.05, 1 / 1.2, 20, 10_000),
    ("EEGNetFusion", {}, None, 1 / 1.05, 1 / 1.2, 1, 512),
    ("MIEEGNet", {"sfreq": 250.0}, None, 1 / 1.05, 1 / 1.2, 1, 512),
)
BATCH, N_TRIALS, N_CHANS, N_TIMES, N_CLASSES = 64, 288, 22, 1001, 4


def write_trials(folder: Path, *, n: int) -> None:
    """Noise, with a wave of 10 Hz in another channel for each class."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, N_CHANS, N_TIMES), dtype=np.float32)
    y = np.arange(n) % N_CLASSES
    phases = rng.uniform(0, 2 * np.pi, (n, 1))
    X[np.arange(n), 5 * y] += np.sin(2 * np.pi * 10 * np.arange(N_TIMES) / 250 + phases).astype(np.float32)
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)


def _module(name: str, options: dict, theirs: str | None, *, ours: bool):
    """Class and options of one side."""
    import torch

    import neurosig.models as models
    from neurosig.core.compat import import_braindecode

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if ours or theirs is None:
        return getattr(models, name), {**options, "fused": ours}
    return getattr(import_braindecode("braindecode.models"), theirs), {}


def _fit(scratch: Path, *, case: tuple, ours: bool) -> dict:
    """Train from new weights; both sides must have learned what there is to learn."""
    name, options, theirs, _, _, epochs, _ = case
    X, y = np.load(scratch / "X.npy"), np.load(scratch / "y.npy")
    cls, options = _module(name, options, theirs, ours=ours)
    if ours:
        from neurosig.models import NetClassifier

        net = NetClassifier(
            name, options, max_epochs=epochs, batch_size=BATCH, lr=1e-3, optimizer="Adam", validation=None,
            scale=None, max_norm=False, device="cpu", random_state=0,
        ).fit(X, y)  # fmt: skip
        loss = net.history_[-1]["train_loss"]
    else:
        import torch

        from neurosig.core.compat import import_braindecode

        net = import_braindecode("braindecode").EEGClassifier(
            cls, max_epochs=epochs, batch_size=BATCH, lr=1e-3, optimizer=torch.optim.Adam, train_split=None,
            iterator_train__shuffle=True, iterator_train__drop_last=False, classes=list(range(N_CLASSES)), verbose=0,
            **{f"module__{key}": value for key, value in options.items()},
        ).fit(X, y)  # fmt: skip
        loss = net.history[-1, "train_loss"]
    # Shuffles differ, and so do the last digits of the loss. Deep ConvNet hardly begins to learn within twenty epochs
    wanted = 1.7 if epochs == 1 or name == "DeepConvNet" else 0.9
    return {f"final loss below {wanted}": bool(loss < wanted)}


def _infer(scratch: Path, *, case: tuple, ours: bool) -> dict:
    """Logits of all windows, from a memory map, batch by batch."""
    import torch

    name, options, theirs, *_ = case
    cls, options = _module(name, options, theirs, ours=ours)
    module = cls(n_chans=N_CHANS, n_outputs=N_CLASSES, n_times=N_TIMES, **options).eval()
    X = np.load(scratch / "X.npy", mmap_mode="r")
    with torch.inference_mode():
        found = [module(torch.from_numpy(np.array(X[i : i + BATCH]))) for i in range(0, len(X), BATCH)]
    logits = torch.cat(found)
    return {"shape": list(logits.shape), "mean": round(float(logits.mean()), 3), "sd": round(float(logits.std()), 3)}


_IMPORTS = ("torch", "neurosig.models.net", "neurosig.models.eegnet", "braindecode")
ROWS = []
for _case in CASES:
    _name, _, _theirs, _fit_at_most, _infer_at_most, _epochs, _n = _case
    _peer = (
        f"braindecode's {_theirs} in EEGClassifier (Adam, lr 1e-3, no drop_last)"
        if _theirs
        else "the plain order of operations"
    )
    for _work, _function, _trials, _at_most in (
        (f"{_name}: fit of {_epochs} epochs on {N_TRIALS} x {N_CHANS} x {N_TIMES}", _fit, N_TRIALS, _fit_at_most),
        (f"{_name}: inference on {_n} windows of {N_CHANS} x {N_TIMES}", _infer, _n, _infer_at_most),
    ):
        _prepare = partial(write_trials, n=_trials)
        for _side in ("ours", "theirs"):
            _key = f"{_side}_{_function.__name__[1:]}_{_name}"
            globals()[_key] = side(prepare=_prepare, imports=_IMPORTS)(
                partial(_function, case=_case, ours=_side == "ours")
            )
        for _measure, _limit in (("seconds", _at_most), ("peak_mb", 1.0)):
            ROWS.append(
                Row(
                    work=_work + ("" if _measure == "seconds" else ", memory"),
                    peer=_peer,
                    ours=f"benchmarks.bench_networks:ours_{_function.__name__[1:]}_{_name}",
                    theirs=f"benchmarks.bench_networks:theirs_{_function.__name__[1:]}_{_name}",
                    at_most=_limit,
                    measure=_measure,
                    repeats=2 if _measure == "seconds" else 1,
                )
            )
