"""
Ask a network for its reasons
=============================

A network that is right may be right for the wrong reason. Attributions say how much every channel and every moment
spoke for a decision. The recordings are simulated, so that we know where the reason is: the rhythm over the hemisphere
opposite to the imagined hand.

Run it as ``python plot_10_explain.py [FOLDER]``: the figures are saved in that folder, or where it is run.
"""

import sys
from pathlib import Path

import numpy as np

from neurosig import simulate_eeg
from neurosig.models import NetClassifier
from neurosig.reports.explanation import plot_explanation

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()


def save(figure, name):
    """Save a figure and say so."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / name, dpi=120, bbox_inches="tight", facecolor="white")
    print("saved", name)


# %%
# A network is trained on three runs of a simulated subject and asked about the fourth.

channels = ["F3", "F4", "T7", "C3", "Cz", "C4", "T8", "P3", "Pz", "P4"]
data = simulate_eeg("imagery", 1, 1, n_runs=4, n_trials=30, ch_names=channels, random_state=0)
train, test = data.subset("run != '3'"), data.subset("run == '3'")
network = NetClassifier("ShallowConvNet", max_epochs=8, lr=2e-3, batch_size=16, info=data.info, random_state=0)
network.fit(train.X, train.y)
print(f"accuracy {network.score(test.X, test.y):.2f}")

# %%
# Integrated gradients: the gradient of the class's score, averaged on the way from silence to the trial, times the
# trial. The attributions of a trial sum to the difference between its score and that of silence, up to a residual that
# more steps make smaller.

reasons = network.explain(test.X, test.y, n_steps=20)
print(reasons)
differences = reasons.outputs - reasons.baseline_outputs
print(
    f"residual {np.abs(reasons.residuals).mean():.2f} of a difference of {np.abs(differences).mean():.1f}, on average"
)

# %%
# Blue speaks for the class, vermilion against it; only trials that were decoded correctly.

save(plot_explanation(reasons, only_correct=True), "reasons.png")

# %%
# The same as numbers: the channels with the largest share in the decisions.

table = reasons.to_frame()
share = table.groupby("channel")["importance"].mean().sort_values(ascending=False)
print(share.head(6).round(3).to_string())

# %%
# A second opinion that needs no gradients: cover one channel after the other and watch the score fall.

covered = network.explain(test.X, test.y, method="occlusion", by="channel")
falls = covered.to_frame().groupby("channel")["contribution"].mean().sort_values(ascending=False)
print("largest falls:", ", ".join(falls.index[:6]))

# %%
# A network that is right for the wrong reason: here the subject bites on the side of the hand, and the muscle is seen
# at the temple. The accuracy is high, and the map says why it should not be believed.

rng = np.random.default_rng(0)
names = list(data.info.ch_names)


def with_biting(part):
    """Add the noise of a muscle at T7 (left) or T8 (right), on the side of the imagined hand."""
    X = part.X.copy()
    side = [names.index("T7" if label == "left_hand" else "T8") for label in part.y]
    X[np.arange(len(X)), side] += 10e-6 * rng.standard_normal((len(X), X.shape[-1]))
    return X


fooled = NetClassifier("ShallowConvNet", max_epochs=8, lr=2e-3, batch_size=16, info=data.info, random_state=0)
fooled.fit(with_biting(train), train.y)
X_test = with_biting(test)
print(f"accuracy with biting {fooled.score(X_test, test.y):.2f}")
why = fooled.explain(X_test, test.y, n_steps=20)
save(plot_explanation(why, only_correct=True), "wrong_reasons.png")
share = why.to_frame().groupby("channel")["importance"].mean().sort_values(ascending=False)
print("decided by", ", ".join(share.index[:2]))
