"""
Train a network
===============

A convolutional network is an estimator like any other: it is fitted, scored and cross-validated. What is particular to
networks, when to stop, how fast to learn, how to make much of few trials, are its parameters.

Run it as ``python plot_08_train_network.py [FOLDER]``: the figures are saved in that folder, or where it is run.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from pyriemann.estimation import Covariances
from pyriemann.tangentspace import TangentSpace
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from neurosig import simulate_eeg
from neurosig.models import NetClassifier

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()


def save(figure, name):
    """Save a figure and say so."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / name, dpi=120, bbox_inches="tight")
    print("saved", name)
    plt.close(figure)


# %%
# Trials of one simulated subject who imagines moving the left or the right hand. The last run is for testing: runs stay
# whole, because neighbouring trials resemble each other.

channels = ["F3", "F4", "T7", "C3", "Cz", "C4", "T8", "P3", "Pz", "P4"]
data = simulate_eeg("imagery", 1, 1, n_runs=4, n_trials=30, ch_names=channels, random_state=0)
train, test = data.subset("run != '3'"), data.subset("run == '3'")
print(f"{len(train)} trials to train on, {len(test)} to test on, {data.info.n_channels} channels")

# %%
# ShallowConvNet by name. A fifth of the training trials is set aside to tell when to stop; the weights of the best
# epoch are kept. Signals come in volts: they are divided by the standard deviation of the training part.

network = NetClassifier("ShallowConvNet", max_epochs=8, lr=2e-3, batch_size=16, info=data.info, random_state=0)
network.fit(train.X, train.y)
print(f"{network.n_parameters_} parameters, {len(network.history_)} epochs, the best was {network.best_epoch_}")
print(f"ShallowConvNet: accuracy {network.score(test.X, test.y):.2f}")

# %%
# How it learned.

epochs = np.arange(1, len(network.history_) + 1)
figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
for key, label in (("train_loss", "training"), ("valid_loss", "validation")):
    axis.plot(epochs, [row[key] for row in network.history_], label=label)
axis.axvline(network.best_epoch_, color="0.5", linestyle=":", label="kept")
axis.set(xlabel="epoch", ylabel="cross-entropy", title="ShallowConvNet on 72 trials")
axis.legend()
save(figure, "learning.png")

# %%
# Is a network worth it? With so few trials, ask a decoder that has two parameters to choose.

riemannian = make_pipeline(Covariances("oas"), TangentSpace(), LogisticRegression()).fit(train.X, train.y)
print(f"TS+LR: accuracy {riemannian.score(test.X, test.y):.2f}")

# %%
# A fitted network is kept as plain numbers and text, with the signals it was trained on, and says the same when it is
# read back. ``network.export("network.onnx")`` writes it for programs that know nothing of Python.

folder = Path(tempfile.mkdtemp()) / "network"
network.save_pretrained(folder)
again = NetClassifier.from_pretrained(folder)
print(sorted(path.name for path in folder.iterdir()), np.array_equal(again.predict(test.X), network.predict(test.X)))
program = network.export(folder.parent / "network.pt2")
print(f"{program.name}: {program.stat().st_size / 1000:.0f} kB")
