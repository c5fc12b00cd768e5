"""
Turn recordings into tokens
===========================

A tokenizer learns, without labels, a vocabulary of what short stretches of EEG look like; then any recording becomes a
sequence of whole numbers. Here a small TFM-Tokenizer learns from simulated recordings and tokenizes one that it has not
seen. Learning in earnest takes hours of recordings: ``neurosig pretrain tfm recordings/ --out tokenizer/``.

Run it as ``python plot_11_tokenize.py [FOLDER]``: the figures are saved in that folder, or where it is run.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import mne
import numpy as np

from neurosig.loaders.simulated import simulate_recordings
from neurosig.tokenizers import TokenStore, load_tokenizer, pretrain_tokenizer, tokenize_recordings

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()


def save(figure, name):
    """Save a figure and say so."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / name, dpi=120, bbox_inches="tight")
    print("saved", name)
    plt.close(figure)


# %%
# Three simulated people are learned from, a fourth is left out.

channels = ["F3", "F4", "C3", "Cz", "C4", "P3", "P4"]
people = {
    f"person-{item.subject}": item.raw.filter(0.5, 60.0, verbose="error")
    for item in simulate_recordings("imagery", 4, 1, n_runs=1, n_trials=10, ch_names=channels, random_state=0)
}
unseen = people.pop("person-4")
work = Path(tempfile.mkdtemp())

# %%
# Learn. One person in three is held back to judge each epoch. The published size has 8192 codes and is trained for a
# hundred epochs; "small" with fewer codes will do to see how it goes. Codes that nobody uses are started anew, which
# the published training does not do.

made = pretrain_tokenizer(
    "tfm", people, work / "tokenizer", size="small", window=4.0, n_codes=64, emb_size=16, kmeans_init=True,
    restart_dead_codes=0.1, max_epochs=6, batch_size=8, lr=3e-3, validation=0.34, random_state=0, device="cpu",
)  # fmt: skip
for row in made.tokenizer.history_:
    print(f"epoch {row['epoch']}: loss {row['train_loss']:.2f}, of the person held back {row['valid_loss']:.2f}")
print(made.usage[["n_codes", "n_used", "perplexity"]].round(1).to_string(index=False))

# %%
# Tokenize. Recordings are read a block at a time, so that a night fits into memory like a minute; what is there is
# skipped when the same is asked again. Recordings may also be files, folders, or names of datasets.

tokenizer = load_tokenizer(work / "tokenizer")
for state in ("first", "second"):
    (done,) = tokenize_recordings(tokenizer, {"person-4": unseen}, work / "tokens")
    print(f"{state} call: {done.state}, {done.n_windows} windows, {done.seconds_left:.1f} s left at the end")

store = TokenStore(work / "tokens")
tokens = store.tokens("person-4")
print(store.facts.token_axes, tokens.shape, tokens.dtype)
print(store.to_frame().head(3).to_string(index=False))

# %%
# How often each code is used, and the tokens of half a minute.

figure, axes = plt.subplots(2, 1, figsize=(8, 5), layout="constrained")
counts = np.sort(np.bincount(tokens.ravel(), minlength=tokenizer.vocabulary_size_))[::-1]
axes[0].bar(np.arange(len(counts)), counts, width=1.0)
axes[0].set(xlabel="code, by its use", ylabel="tokens", title=f"{(counts > 0).sum()} of {len(counts)} codes are used")
sequence = tokens[:8].swapaxes(0, 1).reshape(len(channels), -1)
image = axes[1].imshow(sequence, aspect="auto", interpolation="nearest", cmap="turbo")
axes[1].set(xlabel="frame (one every half second)", title="tokens of a person never seen")
axes[1].set_yticks(range(len(channels)), channels)
figure.colorbar(image, ax=axes[1], label="token")
save(figure, "tokens.png")

# %%
# What is lost? Tokens hold the shape of spectra, neither phase nor amplitude. The error is that of the squared spectra,
# relative to their power: 0 would be perfect, 1 is what silence would reach.

windows = mne.make_fixed_length_epochs(unseen, duration=4.0, preload=True, verbose="error")
print(tokenizer.reconstruction_report(windows)[["nmse", "correlation"]].round(2).to_string())

# %%
# And back: signals that have the spectra which the tokens stand for. Their waves lie elsewhere than those of the
# original.

rebuilt = tokenizer.inverse_transform(tokens[:1])[0, 3]
original = windows.get_data(copy=False)[0, 3]
figure, axes = plt.subplots(2, 1, figsize=(8, 4), layout="constrained", sharex=True)
axes[0].plot(windows.times, original * 1e6)
axes[0].set(ylabel="microvolts", title="Cz, four seconds")
axes[1].plot(np.arange(len(rebuilt)) / 200, rebuilt, color="C1")
axes[1].set(xlabel="seconds", ylabel="a.u.", title="from its seven tokens: " + " ".join(map(str, tokens[0, 3])))
save(figure, "rebuilt.png")
