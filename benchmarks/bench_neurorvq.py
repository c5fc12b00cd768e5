"""NeuroRVQ at its published size beside the plain order of its specification (`neurorvq_plain`), one thread."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.harness import Row, side

N_CHANNELS, N_TIMES = 16, 800  # 64 patches a window


def write_weights(folder: Path, *, kind: str) -> None:
    """Random weights, the same for both sides."""
    import torch

    torch.manual_seed(0)
    torch.save(_new(kind).state_dict(), folder / "weights.pt")


def _new(kind: str):
    from neurosig.models import NeuroRVQEncoder
    from neurosig.tokenizers import NeuroRVQTokenizerModule

    if kind == "tokenizer":
        return NeuroRVQTokenizerModule(list(range(N_CHANNELS)), kmeans_init=False)
    return NeuroRVQEncoder(ch_names=list(range(N_CHANNELS)), n_outputs=4)


def _set_up(scratch: Path, kind: str, n: int):
    """The module, windows in the size of microvolts, and rows of their channels."""
    import torch

    torch.set_num_threads(1)
    with torch.device("meta"):
        module = _new(kind)
    module.load_state_dict(torch.load(scratch / "weights.pt", weights_only=True), assign=True)
    rows = torch.arange(N_CHANNELS)
    module.channels = rows
    x = 20 * torch.randn(n, N_CHANNELS, N_TIMES, generator=torch.Generator().manual_seed(1))
    return module.eval(), x, rows


def tokens(scratch: Path, *, ours: bool) -> Iterator[None]:
    """Tokens of 4 windows."""
    import torch

    from benchmarks import neurorvq_plain as plain

    module, x, rows = _set_up(scratch, "tokenizer", 4)

    def tokenize():
        return module.encode(x).permute(1, 2, 0, 3, 4).flatten(3) if ours else plain.tokenize(x, module, rows)[1]

    with torch.no_grad():
        tokenize()
        yield
        for _ in range(6):
            found = tokenize()
    return {"shape": list(found.shape), "sum": int(found.sum()), "used": len(found.unique())}


def rebuilt(scratch: Path, *, ours: bool) -> Iterator[None]:
    """Tokens and reconstruction of 4 windows."""
    import torch

    from benchmarks import neurorvq_plain as plain

    module, x, rows = _set_up(scratch, "tokenizer", 4)

    def rebuild():
        if not ours:
            return plain.reconstruct(x, module, rows)[1:]
        out = module(x)
        return out.tokens.permute(1, 2, 0, 3, 4).flatten(3), out.losses.total

    with torch.no_grad():
        rebuild()
        yield
        for _ in range(6):
            found, total = rebuild()
    return {"sum": int(found.sum()), "loss": round(total.item(), 4)}


def train(scratch: Path, *, ours: bool) -> Iterator[None]:
    """Training steps on one window, codebooks included."""
    import torch

    from benchmarks import neurorvq_plain as plain

    module, x, rows = _set_up(scratch, "tokenizer", 1)
    module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5, weight_decay=1e-4, fused=ours)
    yield
    for _ in range(6):
        optimizer.zero_grad()
        total = module(x).losses.total if ours else plain.reconstruct(x, module, rows, training=True)[2]
        total.backward()
        optimizer.step()
    return {"shown": {"last loss": total.item()}}


def classify(scratch: Path, *, ours: bool) -> Iterator[None]:
    """Logits of 4 windows."""
    import torch

    from benchmarks import neurorvq_plain as plain

    module, x, rows = _set_up(scratch, "encoder", 4)

    def logits():
        return module(x) if ours else plain.classify(x, module, rows)

    with torch.no_grad():
        logits()
        yield
        for _ in range(6):
            found = logits()
    return {"classes": found.argmax(dim=1).tolist()}


def tune(scratch: Path, *, ours: bool) -> Iterator[None]:
    """Fine-tuning steps on 4 windows, all weights."""
    import torch
    from torch.nn import functional

    from benchmarks import neurorvq_plain as plain

    module, x, rows = _set_up(scratch, "encoder", 4)
    module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5, fused=ours)
    yield
    for _ in range(4):
        optimizer.zero_grad()
        logits = module(x) if ours else plain.classify(x, module, rows)
        functional.cross_entropy(logits, torch.arange(4)).backward()
        optimizer.step()
    return {"classes": logits.argmax(dim=1).tolist()}


_IMPORTS = ("torch", "torch._dynamo", "neurosig.models.neurorvq_encoder", "neurosig.tokenizers.neurorvq_module")
_CASES = (
    ("tokens", tokens, "tokenizer", "tokens of 4 windows of 16 x 800, 6 times", 1 / 4),
    ("rebuilt", rebuilt, "tokenizer", "tokens and reconstruction of 4 windows, 6 times", 1 / 3),
    ("train", train, "tokenizer", "6 training steps of the tokenizer on 1 window", 1 / 1.5),
    ("classify", classify, "encoder", "encoder and classifier on 4 windows, 6 times", 1.2),
    ("tune", tune, "encoder", "4 fine-tuning steps on 4 windows", 1.2),
)
ROWS = []
for _name, _function, _kind, _work, _at_most in _CASES:
    for _side in ("ours", "theirs"):
        globals()[f"{_side}_{_name}"] = side(prepare=partial(write_weights, kind=_kind), imports=_IMPORTS)(
            partial(_function, ours=_side == "ours")
        )
    ROWS.append(
        Row(
            work=f"NeuroRVQ: {_work}",
            peer="the plain order of operations",
            ours=f"benchmarks.bench_neurorvq:ours_{_name}",
            theirs=f"benchmarks.bench_neurorvq:theirs_{_name}",
            at_most=_at_most,
        )
    )
