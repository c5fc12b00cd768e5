"""
Pretrain BrainMAE and fine-tune it
==================================

Runs of resting fMRI without labels are plenty, patients are few. BrainMAE learns from the former to fill in regions
that are hidden from it; what it has learned is then fine-tuned to tell patients from controls. Runs are simulated, from
two scanners with different repetition times, and what tells patients apart is planted: their fluctuations are faster,
in all regions. A result on so few people, of so small a network, shows how it is done, not what it is worth.

Run it as ``python plot_17_pretrain_brainmae.py [FOLDER]``: the figures are saved where a folder is named.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosig import simulate_fmri
from neurosig.models import BrainMAEClassifier, BrainMAEEmbedder
from neurosig.preprocessing import FunctionalConnectivity

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else None


def save(figure, name):
    """Save a figure where a folder was named."""
    if FOLDER is not None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        figure.savefig(FOLDER / name, dpi=120, bbox_inches="tight")
    plt.close(figure)


# %%
# Pretrain, without a look at labels. Runs may be of any length; those of the second scanner are resampled to the
# repetition time of most, and the model says so. A fifth of the people judges after each epoch, and the weights of the
# best epoch are kept.

brain = {"n_regions": 20, "n_networks": 4, "label": None}
unlabelled = simulate_fmri(30, n_sites=2, t_r=[2.0, 1.5], n_times=[120, 160], **brain, random_state=0)
small = {"segment": 10.0, "n_segments": 10, "emb_size": 32, "n_heads": 4, "depth": 1, "temporal_depth": 1}
training = {"max_epochs": 40, "lr": 0.01, "batch_size": 4, "random_state": 0}
embedder = BrainMAEEmbedder(**small, **training, validation=0.2).fit(unlabelled)
print(f"works at TR {embedder.t_r_:g} s; resampled: {embedder.resampled_}; {embedder.n_parameters_:,} weights")
print(f"{len(embedder.trained_on_['subjects'])} people learned from, weights of epoch {embedder.best_epoch_}")
folder = embedder.save_pretrained(Path(tempfile.mkdtemp()) / "brainmae")

history = embedder.history_
figure, axis = plt.subplots(figsize=(5, 2.6), layout="constrained")
for name, label in (("valid_masked", "hidden regions"), ("valid_unmasked", "visible regions")):
    axis.plot([row["epoch"] for row in history], [row[name] for row in history], label=label)
axis.set(xlabel="epoch", ylabel="squared error of z-scores", title="People who are not trained on; 1 is the mean")
axis.legend(frameon=False)
save(figure, "pretraining.png")

# %%
# Fine-tune, on other people. The folder knows regions by name, and the repetition time that it was trained at: other
# runs are resampled (``on_tr_mismatch``), other orders of regions sorted, missing ones refused or masked
# (``on_missing``).

measured = simulate_fmri(48, n_times=120, t_r=2.0, **brain, random_state=1)
numbers = measured.metadata["subject"].astype(int).to_numpy()
ill = numbers % 2 == 1
X = np.where(ill[:, np.newaxis, np.newaxis], np.diff(measured.X, axis=2, prepend=0), measured.X)
labelled = replace(measured, X=X, y=np.where(ill, "patient", "control"))
train, test = labelled.subset(numbers <= 24), labelled.subset(numbers > 24)
shared = {"max_epochs": 30, "lr": 3e-3, "batch_size": 4, "validation": None, "random_state": 0}
models = {
    "fine-tuned": BrainMAEClassifier(folder, **shared),
    "linear probe": BrainMAEClassifier(folder, "probe", **shared),
    "from scratch": BrainMAEClassifier(**small, **shared),
}
scores = {name: model.fit(train).score(test, test.y) for name, model in models.items()}

# %%
# What a reviewer asks for first: correlations between regions, and a linear model.

connectome = make_pipeline(FunctionalConnectivity(), StandardScaler(), LogisticRegression(C=1e-3, max_iter=1000))
scores["correlations + logistic regression"] = connectome.fit(train.X, train.y).score(test.X, test.y)
for name, score in scores.items():
    print(f"{name}: {score:.2f} of {len(test)} people right")

figure, axis = plt.subplots(figsize=(6, 2.2), layout="constrained")
axis.barh(list(scores), list(scores.values()), color="0.6")
axis.axvline(np.mean(test.y == train.y[0]), color="black", linestyle=":")
axis.set(xlim=(0, 1), xlabel="share of people right, chance dotted", title="People whom no model has seen")
save(figure, "finetuned.png")

# %%
# The fine-tuned model keeps regions, atlas, repetition time and people, and reads back anywhere. Its card says so.

stored = models["fine-tuned"].save_pretrained(folder.parent / "classifier", licence="cc0-1.0")
again = BrainMAEClassifier.from_pretrained(stored)
assert np.array_equal(again.predict(test), models["fine-tuned"].predict(test))
print("\n".join((stored / "README.md").read_text().splitlines()[8:24]))
