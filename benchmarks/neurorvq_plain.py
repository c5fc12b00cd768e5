"""NeuroRVQ in the plain order of its specification: scale after scale, distances to all codes, one-hot products.

The baseline of the measurements. It reads the weights of `NeuroRVQTokenizerModule` and `NeuroRVQEncoder` and must give
the same tokens, losses and codebooks.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def attention(x, attn):
    """Softmax of all products, written out."""
    n, length, dim = x.shape
    bias = torch.cat([attn.q_bias, torch.zeros_like(attn.q_bias), attn.v_bias])
    qkv = functional.linear(x, attn.qkv.weight, bias).reshape(n, length, 3, attn.n_heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = attn.q_norm(qkv[0]), attn.k_norm(qkv[1]), qkv[2]
    weights = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
    return attn.proj((weights @ v).transpose(1, 2).reshape(n, length, dim))


def block(x, layer):
    added = attention(layer.norm1(x), layer.attn)
    x = x + (added if layer.gamma_1 is None else layer.gamma_1 * added)
    added = layer.mlp.fc2(functional.gelu(layer.mlp.fc1(layer.norm2(x))))
    return x + (added if layer.gamma_2 is None else layer.gamma_2 * added)


def transformer(features, part, rows):
    """One scale: (n, n_patches, dim) -> the same."""
    n, length, _ = features.shape
    n_patches = length // len(rows)
    spatial = part.pos_embed[rows.repeat_interleave(n_patches)]
    slots = torch.arange(len(part.time_embed) - n_patches, len(part.time_embed)).repeat(len(rows))
    x = torch.cat([part.cls_token.expand(n, -1, -1), features], dim=1)
    x = x + torch.cat([part.pos_embed[:1], spatial])
    x = torch.cat([x[:, :1], x[:, 1:] + part.time_embed[slots]], dim=1)
    for layer in part.blocks:
        x = block(x, layer)
    return x[:, 1:]


def convolve(cut, branch):
    x = functional.gelu(branch.norm1(branch.conv1(cut[:, None])))
    x = functional.avg_pool2d(x, (1, branch.pool_1))
    x = functional.gelu(branch.norm2(branch.conv2(x)))
    x = functional.avg_pool2d(x, (1, branch.pool_2))
    return x.permute(0, 2, 3, 1).flatten(2)


def encode(x, encoder, rows):
    """Features of each scale, before its norm."""
    cut = x.reshape(len(x), -1, encoder.config.patch_size)
    return [transformer(convolve(cut, branch), encoder, rows) for branch in encoder.branches]


def quantize_level(r, level, training):
    """One level; the statistic moves in every mode, the codes in training."""
    z = functional.normalize(r, dim=-1)
    flat, codes = z.reshape(-1, z.shape[-1]), level.codebook
    distances = flat.square().sum(dim=1, keepdim=True) + codes.square().sum(dim=1) - 2 * (flat @ codes.T)
    indices = distances.argmin(dim=1)
    onehot = functional.one_hot(indices, len(codes)).to(z.dtype)
    chosen = (onehot @ codes).reshape(z.shape)
    with torch.no_grad():
        counts = onehot.sum(dim=0)
        level.usage.mul_(level.decay).add_(counts, alpha=1 - level.decay)
        if training:
            sums = onehot.T @ flat
            hit = counts > 0
            mean = functional.normalize(sums / counts.masked_fill(~hit, 1.0)[:, None], dim=1)
            target = torch.where(hit[:, None], mean, codes)
            moved = functional.normalize(level.decay * codes + (1 - level.decay) * target, dim=1)
    q = z + (chosen - z).detach()
    loss = functional.mse_loss(chosen.detach(), z)
    if training:
        codes.copy_(moved)
    return q, indices.reshape(z.shape[:-1]), loss


def quantize(r, quantizer, training):
    out, indices, losses = 0.0, [], []
    for level in quantizer.levels:
        q, found, loss = quantize_level(r, level, training)
        r = r - q
        losses.append(loss + quantizer.residual_weight * functional.mse_loss(q, r.detach()))
        out = out + q
        indices.append(found)
    return out, torch.stack(indices), torch.stack(losses).mean()


def tokenize(x, module, rows, *, training=False):
    """Quantized vectors, tokens and loss of each scale."""
    results = []
    for scale, features in enumerate(encode(x, module.encoder, rows)):
        encoded = module.encoder.fc_norm[scale](features)
        results.append(quantize(module.projections[scale](encoded), module.quantizers[scale], training))
    quantized, tokens, losses = zip(*results, strict=True)
    return quantized, torch.stack(tokens), sum(losses)


def z_score(x):
    var, mean = torch.var_mean(x, dim=(1, 2), keepdim=True)
    return (x - mean) / var.clamp(min=1e-8).sqrt(), mean, var.clamp(min=1e-8).sqrt()


def reconstruct(x, module, rows, *, training=False):
    """Reconstruction (patches, z-scored) and the total loss."""
    quantized, tokens, code_loss = tokenize(x, module, rows, training=training)
    decoded = [
        module.decoder.fc_norm[s](transformer(module.decoder_inputs[s](q), module.decoder, rows))
        for s, q in enumerate(quantized)
    ]
    features = torch.cat(decoded, dim=-1)
    amplitude, sine, cosine = (module.heads[name](features) for name in ("amplitude", "sine", "cosine"))
    cut = x.reshape(len(x), -1, module.config.patch_size)
    spectrum = torch.fft.fft(cut)
    wanted, mean, std = z_score(torch.log1p(spectrum.abs()))
    angle = spectrum.angle()
    size = torch.expm1(amplitude * std + mean)
    rebuilt = torch.fft.ifft(torch.complex(size * cosine, size * sine)).real
    similarity = functional.cosine_similarity(
        torch.stack([cosine, sine], -1), torch.stack([angle.cos(), angle.sin()], -1), dim=-1
    )
    phase = 1 - similarity.mean() + 0.1 * (sine.square() + cosine.square() - 1).square().mean()
    signal = functional.mse_loss(z_score(rebuilt)[0], z_score(cut)[0])
    total = code_loss + functional.mse_loss(amplitude, wanted) + phase + signal
    return z_score(rebuilt)[0], tokens, total


def classify(x, encoder, rows):
    """Logits of the foundation model."""
    features = torch.cat(encode(x, encoder.backbone, rows), dim=-1)
    return encoder.head(encoder.fc_norm(features.mean(dim=1)))
