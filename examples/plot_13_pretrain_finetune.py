"""
Pretrain and fine-tune
======================

Recordings without labels are plenty, trials with labels are few. A tokenizer learns from the former; a classifier on
its tokens is then trained on the latter. Here both are simulated: bursts of 10 or 20 Hz in noise, and over C3 the fast
ones are more frequent during a task. A result on so few people shows how it is done, not what it is worth.

Run it as ``python plot_13_pretrain_finetune.py [FOLDER]``: the figure is saved in that folder, or where it is run.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosig import SignalDataset, SignalSpec, benchmark
from neurosig.core.errors import LeakageError
from neurosig.models import TFMClassifier
from neurosig.tokenizers import TFMTokenizer, TokenFeatures

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()


def simulate(people, seed):
    """Windows of two seconds, at rest and during the task."""
    rng = np.random.default_rng(seed)
    times = np.arange(400) / 200
    X, y, who = [], [], []
    for person in people:
        slow, fast = 10 + rng.uniform(-1, 1), 20 + rng.uniform(-2, 2)
        for window in range(24):
            task = window % 2
            signals = np.cumsum(rng.standard_normal((3, len(times))), axis=1)
            signals = signals / signals.std(axis=1, keepdims=True)
            for channel in range(3):
                often = 0.5 if channel else (0.85 if task else 0.15)
                rate = fast if rng.random() < often else slow
                envelope = np.exp(-0.5 * ((times - rng.uniform(0.5, 1.5)) / 0.5) ** 2)
                signals[channel] += 2.5 * envelope * np.sin(2 * np.pi * rate * times + rng.uniform(0, 2 * np.pi))
            X.append(1e-5 * signals)
            y.append("task" if task else "rest")
            who.append(person)
    table = pd.DataFrame({"subject": who, "session": "0", "run": "0"})
    info = SignalSpec("eeg", ("C3", "Cz", "C4"), sfreq=200.0, unit="V")
    return SignalDataset(np.array(X), np.array(y), table, info, name="laboratory")


# %%
# Pretrain, without a look at the labels, and store. ``neurosig pretrain`` does the same for files and datasets of any
# size. The folder says whom the tokenizer has seen.

unlabelled = simulate([f"P{i}" for i in range(8)], seed=0)
small = {
    "n_codes": 64, "emb_size": 32, "freq_depth": 1, "temporal_depth": 1, "decoder_depth": 1, "drop_prob": 0.0,
    "kmeans_init": True, "restart_dead_codes": 1.0, "decay": 0.9, "beta": 0.25, "lr": 2e-3, "batch_size": 32,
    "max_epochs": 12,
}  # fmt: skip
tokenizer = TFMTokenizer(**small, random_state=0).fit(unlabelled)
folder = tokenizer.save_pretrained(Path(tempfile.mkdtemp()) / "tokenizer")
print(f"{tokenizer.n_windows_} windows of {len(tokenizer.trained_on_['subjects'])} people learned from")
usage = tokenizer.codebook_usage(unlabelled).iloc[0]
print(f"{usage['n_used']:.0f} of {usage['n_codes']:.0f} codes are used")

# %%
# Fine-tune on the trials of four other people, test on four more. ``mode="probe"`` would train the last layer alone;
# the tokenizer is never changed.

labelled = simulate([f"Q{i}" for i in range(8)], seed=1)
tested = labelled.metadata["subject"].isin([f"Q{i}" for i in range(4, 8)]).to_numpy()
train, test = labelled.subset(np.flatnonzero(~tested)), labelled.subset(np.flatnonzero(tested))
shared = {
    "encoder_params": {"depth": 1, "n_heads": 4, "drop_prob": 0.1}, "max_epochs": 20, "lr": 5e-3, "batch_size": 16,
    "validation": None,
}  # fmt: skip
facts = {"info": labelled.info, "random_state": 0}
tuned = TFMClassifier(str(folder), **shared, **facts).fit(train.X, train.y)

# %%
# Is it worth it? Ask a linear model of pooled embeddings, which has little to learn; and the same classifier whose
# tokenizer has seen the labelled trials only.

probe = make_pipeline(TokenFeatures(str(folder), info=labelled.info), StandardScaler(), LogisticRegression(C=0.1))
alone = TFMClassifier(tokenizer_params=small, **shared, **facts)
scores = {
    "pretrained, fine-tuned": tuned.score(test.X, test.y),
    "pretrained, linear probe": probe.fit(train.X, train.y).score(test.X, test.y),
    "labelled trials only": alone.fit(train.X, train.y).score(test.X, test.y),
}
for name, score in scores.items():
    print(f"{name}: {score:.2f} of {len(test)} trials right")

figure, axis = plt.subplots(figsize=(6, 2.4), layout="constrained")
axis.barh(list(scores), list(scores.values()), color="0.6")
axis.axvline(0.5, color="black", linestyle=":")
axis.set(xlim=(0, 1), xlabel="share of trials right, chance dotted", title="Four people, whom nothing has seen")
FOLDER.mkdir(parents=True, exist_ok=True)
figure.savefig(FOLDER / "finetuned.png", dpi=120, bbox_inches="tight")
print("saved finetuned.png")

# %%
# What is stored knows both: the people that its tokenizer has seen, and those that are told of its training. A
# benchmark refuses to test on any of them, because scores would come out too high.

told = {"dataset": labelled.name, "subjects": sorted(set(train.metadata["subject"])), "before": [tokenizer.trained_on_]}
stored = tuned.save_pretrained(folder.parent / "classifier", trained_on=told)
try:
    benchmark({"tuned": TFMClassifier(str(stored))}, simulate(["Q0", "P3", "R1"], seed=2), evaluation="cross_subject")
except LeakageError as error:
    print(f"refused: {str(error).replace(str(stored), 'the classifier')}")
