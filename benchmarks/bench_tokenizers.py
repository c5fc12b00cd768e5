"""Tokenizers beside a plain way of computing the same: layer for layer as their papers write it.

Sizes are the published ones, weights are random; both sides have the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.harness import Row, side

BATCH, N_CODES, N_CHANNELS = 64, 8192, 64


def _plain_tfm(state: dict):
    """The TFM-Tokenizer of a published state, as it is described: convolutions, attention by heads, one-hot codes."""
    import torch
    from torch.nn import functional

    def norm(x, name, groups):
        return functional.group_norm(x, groups, state[f"{name}.weight"], state[f"{name}.bias"])

    def conv(x, name, stride=1):
        return functional.conv1d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride)

    def embed(x, name, stride):
        for i in range(3):
            x = norm(functional.gelu(conv(x, f"{name}.{3 * i}", stride if i == 0 else 1)), f"{name}.{3 * i + 2}", 16)
        return x.transpose(1, 2)

    def block(x, name, train):
        def layer_norm(x, part):
            return functional.layer_norm(x, x.shape[-1:], state[f"{name}.{part}.weight"], state[f"{name}.{part}.bias"])

        h = layer_norm(x, "0.norm")
        q, k, v = (
            functional.linear(h, state[f"{name}.0.fn.to_{part}.weight"]).unflatten(-1, (8, -1)).transpose(1, 2)
            for part in "qkv"
        )
        q, k = q.softmax(dim=-1) * q.shape[-1] ** -0.5, k.softmax(dim=-2)
        context = torch.einsum("bhnd,bhne->bhde", k, v)
        h = torch.einsum("bhnd,bhde->bhne", q, context).transpose(1, 2).flatten(2)
        h = functional.linear(h, state[f"{name}.0.fn.to_out.weight"], state[f"{name}.0.fn.to_out.bias"])
        x = x + functional.dropout(h, 0.2, train)
        h = functional.gelu(functional.linear(layer_norm(x, "1.norm"), *_both(f"{name}.1.fn.fn.w1")))
        return x + functional.linear(h, *_both(f"{name}.1.fn.fn.w2"))

    def _both(name):
        return state[f"{name}.weight"], state[f"{name}.bias"]

    def stack(x, name, depth, train=False):
        for i in range(depth):
            x = block(x, f"{name}.layers.layers.{i}", train)
        return x

    def spectrum(x):
        window = torch.hann_window(200)
        return torch.stft(x, 200, 100, 200, window, center=False, return_complex=True).abs()[:, :100]

    def encode(x, spectrum, train=False):
        n, _, frames = spectrum.shape
        h = embed(spectrum.transpose(1, 2).reshape(n * frames, 1, -1), "freq_patch_embedding", 5)
        h = stack(h, "trans_freq_encoder.transformer", 2, train).transpose(1, 2)
        gate = conv(h, "freq_patch_embedding_2_atten.0", 5).sigmoid()
        freq = (gate * conv(h, "freq_patch_embedding_2.0", 5)).flatten(1).view(n, frames, -1)
        h = torch.cat([freq, embed(x[:, None], "temporal_patch_embedding", 100)], dim=-1)
        return functional.normalize(stack(h, "trans_temporal_encoder.transformer", 2, train), dim=-1)

    def nearest(z):
        flat, codes = z.flatten(0, -2), state["quantizer.embedding.weight"]
        squares = flat.square().sum(dim=1, keepdim=True) + codes.square().sum(dim=1)
        return (squares - 2 * flat @ codes.t()).argmin(dim=1)

    def quantize(z, train=False):
        flat, indices = z.flatten(0, -2), nearest(z)
        one_hot = torch.zeros(len(flat), N_CODES).scatter_(1, indices[:, None], 1)
        q = (one_hot @ state["quantizer.embedding.weight"]).view_as(z)
        if train:
            with torch.no_grad():
                size = state["quantizer.cluster_size"] * 0.99 + 0.01 * one_hot.sum(dim=0)
                total = state["quantizer.ema_w"] * 0.99 + 0.01 * one_hot.t() @ flat
                n = size.sum()
                state["quantizer.cluster_size"], state["quantizer.ema_w"] = size, total
                smoothed = (size + 1e-5) / (n + N_CODES * 1e-5) * n
                state["quantizer.embedding.weight"] = total / smoothed[:, None]
        q = z + (q - z).detach()
        loss = functional.mse_loss(q, z.detach()) + functional.mse_loss(q.detach(), z)
        return q, loss, indices.view(z.shape[:-1])

    def decode(q, train=False):
        h = stack(q, "trans_decoder.transformer", 8, train)
        return functional.linear(functional.linear(h, *_both("decoder.0")).tanh(), *_both("decoder.2")).transpose(1, 2)

    def tokenize(x):
        return quantize(encode(x, spectrum(x)))[2]

    def masked_loss(x, keep):
        target, total = spectrum(x), 0
        for seen in (keep, 1 - keep):
            q, loss, _ = quantize(encode(x, target * seen, train=True), train=True)
            total = total + functional.mse_loss(decode(q, train=True), target) + loss
        return total

    def classify(tokens):
        h = functional.embedding(tokens, state["eeg_token_embedding.weight"])
        h = h + state["channel_embed.weight"][: tokens.shape[1], None]
        h = (h + state["temporal_pos_embed.pe"][0, : tokens.shape[2]]).flatten(1, 2)
        h = stack(torch.cat([state["cls_token"].expand(len(h), -1, -1), h], dim=1), "LAT", 4)
        return functional.linear(h[:, 0], *_both("classification_head"))

    return tokenize, masked_loss, classify


def _signals(n_times: int):
    """Random walks and waves, scaled as the tokenizer takes them."""
    import torch

    from neurosig.tokenizers.tfm_signal import quantile_scale

    generator = torch.Generator().manual_seed(0)
    walk = torch.randn(BATCH, n_times, generator=generator).cumsum(dim=1)
    waves = torch.sin(torch.arange(n_times) / 200 * 6.283 * torch.linspace(4, 30, BATCH)[:, None])
    return quantile_scale(walk - walk.mean(dim=1, keepdim=True) + 5 * waves)


def _tfm_module():
    """The published size, with a codebook from embeddings, so that tokens differ."""
    import torch

    from neurosig.tokenizers import TFMTokenizerModule

    torch.manual_seed(0)
    module = TFMTokenizerModule().eval()
    module.quantizer.codebook.normal_().div_(module.quantizer.codebook.norm(dim=1, keepdim=True))
    module.quantizer.ema_sum.copy_(module.quantizer.codebook)
    return module


def tfm_tokenize(scratch: Path, *, n_times: int, ours: bool) -> Iterator[None]:
    import torch

    torch.set_num_threads(1)
    module, x = _tfm_module(), _signals(n_times)
    with torch.no_grad():
        function = (lambda x: module.encode(x[:, None])[:, 0]) if ours else _plain_tfm(module.to_reference())[0]
        function(x)
        yield
        for _ in range(10):
            tokens = function(x)
    return {"tokens": list(tokens.shape), "sum": int(tokens.sum()), "used": len(tokens.unique())}


def tfm_train(scratch: Path, *, ours: bool) -> Iterator[None]:
    import torch

    from neurosig.tokenizers.tfm_signal import time_frequency_mask

    torch.set_num_threads(1)
    module, x = _tfm_module(), _signals(1000)
    keep = time_frequency_mask(9, generator=torch.Generator().manual_seed(0))
    if ours:
        module.train()
        parameters, loss = list(module.parameters()), lambda: module.masked_losses(x[:, None], keep).total
    else:
        state = module.to_reference()
        parameters = [state[name].requires_grad_() for name in state if not name.startswith("quantizer.")]
        masked_loss = _plain_tfm(state)[1]
        loss = partial(masked_loss, x, keep.float())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-5, betas=(0.9, 0.99))
    losses = []
    yield
    for _ in range(5):
        optimizer.zero_grad()
        total = loss()
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    return {"falls": losses[-1] < losses[0], "shown": {"last loss": losses[-1]}}


def tfm_encode(scratch: Path, *, n_frames: int, ours: bool) -> Iterator[None]:
    import torch

    from neurosig.models.tfm_encoder import TFMEncoder

    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = TFMEncoder(n_outputs=6).eval()
    tokens = torch.randint(N_CODES, (16, 16, n_frames), generator=torch.Generator().manual_seed(0))
    function = module if ours else _plain_tfm(module.to_reference())[2]
    with torch.no_grad():
        function(tokens)
        yield
        for _ in range(20):
            logits = function(tokens)
    return {"shape": list(logits.shape), "classes": logits.argmax(dim=1).tolist()}


def _recording(scratch: Path, *, minutes: int) -> None:
    """64 channels at 200 Hz in a file, and a tokenizer of the published size."""
    import mne
    import numpy as np

    from neurosig.tokenizers import TFMTokenizer

    rng = np.random.default_rng(0)
    names = [f"E{i}" for i in range(N_CHANNELS)]
    data = np.empty((N_CHANNELS, minutes * 60 * 200))
    for minute in np.split(data, minutes, axis=1):  # so that recordings of any length begin alike
        minute[:] = 1e-5 * rng.standard_normal(minute.shape, dtype=np.float32)
    raw = mne.io.RawArray(data, mne.create_info(names, 200.0, "eeg", verbose="error"), verbose="error")
    raw.save(scratch / "recording_raw.fif", verbose="error")
    TFMTokenizer.from_reference(_tfm_module().to_reference()).save_pretrained(scratch / "tokenizer")


def tfm_recording(scratch: Path) -> dict:
    import torch

    from neurosig.tokenizers import TokenStore, load_tokenizer, tokenize_recordings

    torch.set_num_threads(1)
    tokenizer = load_tokenizer(scratch / "tokenizer", device="cpu")
    (one,) = tokenize_recordings(tokenizer, scratch / "recording_raw.fif", scratch / "tokens", window=10.0)
    if one.state != "tokenized":
        raise RuntimeError(one.error)
    tokens = TokenStore(scratch / "tokens").tokens("sub-recording_ses-0_run-0", slice(0, 6))
    return {"first minute": [list(tokens.shape), int(tokens.sum())], "shown": {"windows": one.n_windows}}


_IMPORTS = ("torch", "torch._dynamo", "neurosig.models.tfm_encoder", "neurosig.tokenizers.tfm_module")
_CASES = (
    ("tokenize_1000", partial(tfm_tokenize, n_times=1000), f"tokens of {BATCH} x 1000, 10 times", 1 / 2),
    ("tokenize_2000", partial(tfm_tokenize, n_times=2000), f"tokens of {BATCH} x 2000, 10 times", 1 / 2),
    ("train", tfm_train, f"5 training steps on {BATCH} x 1000", 1 / 1.05),
    ("encode_9", partial(tfm_encode, n_frames=9), "encoder on 16 x 16 x 9 tokens, 20 times", 1 / 1.3),
    ("encode_19", partial(tfm_encode, n_frames=19), "encoder on 16 x 16 x 19 tokens, 20 times", 1 / 1.3),
)
ROWS = []
for _name, _function, _work, _at_most in _CASES:
    for _side in ("ours", "theirs"):
        globals()[f"{_side}_tfm_{_name}"] = side(imports=_IMPORTS)(partial(_function, ours=_side == "ours"))
    ROWS.append(
        Row(
            work=f"TFM: {_work}",
            peer="the plain order of operations",
            ours=f"benchmarks.bench_tokenizers:ours_tfm_{_name}",
            theirs=f"benchmarks.bench_tokenizers:theirs_tfm_{_name}",
            at_most=_at_most,
        )
    )

# an hour beside a quarter of it: memory stays, and the time is that of four quarters
for _minutes in (60, 15):
    globals()[f"tfm_recording_{_minutes}"] = side(
        prepare=partial(_recording, minutes=_minutes), imports=(*_IMPORTS, "mne", "zarr", "neurosig.tokenizers.tfm")
    )(partial(tfm_recording))
for _measure, _at_most, _below in (("peak_mb", 1.15, 1500.0), ("seconds", 4.4, None)):
    ROWS.append(
        Row(
            work=f"TFM: an hour of {N_CHANNELS} channels at 200 Hz, tokenized from a file",
            peer="a quarter of an hour, by the same",
            ours="benchmarks.bench_tokenizers:tfm_recording_60",
            theirs="benchmarks.bench_tokenizers:tfm_recording_15",
            at_most=_at_most,
            measure=_measure,
            repeats=1,
            below=_below,
        )
    )
