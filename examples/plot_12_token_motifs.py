"""
What tokens look like
=====================

A tokenizer turns pieces of signal into numbers. Which pieces get which number, and does any number tell two conditions
apart? The signals are made here, so that we know the answer: bursts of 10 or 20 Hz in noise, and over one channel the
fast ones are more frequent during a task.

Run it as ``python plot_12_token_motifs.py [FOLDER]``: figures and report are saved in that folder, or where it is run.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from neurosig import SignalDataset, SignalSpec
from neurosig.reports import token_report
from neurosig.reports.tokens_figures import plot_distinctive, plot_motifs
from neurosig.tokenizers import NeuroRVQTokenizer, distinctive_tokens, motifs, take_codebook

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()


def save(figure, name):
    """Save a figure and say so."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / name, dpi=120, bbox_inches="tight", facecolor="white")
    print("saved", name)


# %%
# Windows of four seconds of several people, each with a rhythm of his own. Bursts over C3 are slow at rest and fast
# during the task; those over Cz and C4 do not care.


def simulate(n_people, seed):
    """Windows of some people, half of them of each condition."""
    rng = np.random.default_rng(seed)
    times = np.arange(800) / 200
    X, y, people = [], [], []
    for person in range(n_people):
        slow, fast = 10 + rng.uniform(-1, 1), 20 + rng.uniform(-2, 2)
        for window in range(20):
            task = window % 2
            signals = np.cumsum(rng.standard_normal((3, len(times))), axis=1)
            signals = signals / signals.std(axis=1, keepdims=True)
            for channel in range(3):
                often = 0.5 if channel else (0.9 if task else 0.1)
                rate = fast if rng.random() < often else slow
                envelope = np.exp(-0.5 * ((times - rng.uniform(1, 3)) / 0.8) ** 2)
                signals[channel] += 2.5 * envelope * np.sin(2 * np.pi * rate * times + rng.uniform(0, 2 * np.pi))
            X.append(1e-5 * signals)
            y.append("task" if task else "rest")
            people.append(f"{seed}-{person}")
    metadata = pd.DataFrame({"subject": people, "session": "0", "run": "0"})
    info = SignalSpec("eeg", ("C3", "Cz", "C4"), sfreq=200.0, unit="V")
    return SignalDataset(np.array(X), np.array(y), metadata, info, name="bursts")


# %%
# A small tokenizer learns from four people, without labels; all that follows is about ten others. Tokens of NeuroRVQ
# stand for patches (here of 0.4 s) at several scales and levels; we look at one of its codebooks.

tokenizer = NeuroRVQTokenizer(
    patch_size=80, n_codes=16, code_dim=16, n_levels=2, depth=1, decoder_depth=1, max_epochs=3, random_state=0
).fit(simulate(4, seed=0))
data = simulate(10, seed=1)
tokens = tokenizer.transform(data)
print(dict(zip(tokenizer.token_axes, tokens.shape, strict=True)))
codebook = {"scale": 2, "level": 0}
chosen = take_codebook(tokens, tokenizer, **codebook)

# %%
# Which tokens differ between rest and task, channel by channel? The test is over people, because windows of one person
# are not independent, and corrected for the number of tokens.

people = data.metadata["subject"].to_numpy()
for channel, name in enumerate(data.info.ch_names):
    table = distinctive_tokens(chosen[:, [channel]], data.y, groups=people)
    found = table[table["distinctive"]]
    told = [f"{row['code']} in {row['class']} (p = {row['p_corrected']:.3f})" for row in found.to_dict("records")]
    print(f"{name}: {', '.join(told) or 'none'}")

table = distinctive_tokens(chosen[:, [0]], data.y, groups=people)
save(plot_distinctive(table), "distinctive.png")

# %%
# And what do the clearest ones look like? That of the task should have its power near 20 Hz, that of rest near 10 Hz.

clearest = table.drop_duplicates("class")
shown = motifs(tokenizer, data, clearest["code"].tolist(), y=data.y, groups=people, codebook=codebook)
for name, motif in zip(clearest["class"], shown, strict=True):
    peak = motif.freqs[(motif.spectrum / motif.reference).argmax()]
    print(f"token {motif.code}, more frequent in {name}: most over other tokens at {peak:.0f} Hz")
save(plot_motifs(shown), "motifs.png")

# %%
# All of it on one page, with consistency across people, use of the codebooks and errors of reconstruction.

print("saved", token_report(tokenizer, data, path=FOLDER / "tokens.html", codebook=codebook).name)
