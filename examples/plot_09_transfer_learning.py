"""
Learn from other people first
=============================

A network that sees thirty trials of one person learns little. What other people's trials teach it first, and what a
person's own trials then add, is a study of its own: the same trials are tested after learning from the person alone,
after learning from others and going on with the person (all layers, or the last one), and directly.

Run it as ``python plot_09_transfer_learning.py [FOLDER]``: figures and report are saved in that folder, or where it is
run.
"""

import sys
from pathlib import Path

from neurosig import load_pipelines, simulate_eeg
from neurosig.evaluation import TransferStudy
from neurosig.models import NetClassifier

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()

# %%
# Simulated people who imagine moving the left or the right hand: eight channels over the hand areas, 128 Hz.

channels = ["FC3", "C3", "CP3", "Cz", "C4", "FC4", "CP4", "Pz"]
data = simulate_eeg("imagery", n_subjects=4, n_sessions=1, n_runs=2, n_trials=20, ch_names=channels, random_state=1)
print(data)

# %%
# A network and two pipelines that need none. Whatever takes a ``random_state`` is trained once for each seed.

pipelines = {
    "ShallowConvNet": NetClassifier("ShallowConvNet", max_epochs=10, batch_size=8, lr=0.002),
    **load_pipelines(names=["TS+LR", "Chance"]),
}
study = TransferStudy(pipelines, leave_subjects=2, seeds=(0, 1))
results = study.run(data)
print(results)

# %%
# Each condition with its spread over people and, apart from it, over seeds. Chance stands beside every score: the bound
# is what guessing exceeds in one of twenty such studies.

columns = ["condition", "pipeline", "mean", "sd_subjects", "sd_seeds", "n", "chance_upper"]
print(results.summary()[columns].round(3).to_string(index=False))

# %%
# What transfer brought, person by person. With four people no test can support a difference: the smallest p that four
# pairs allow is 0.125, and the table says so.

columns = ["pipeline", "condition", "effect", "ci_low", "ci_high", "share_improved", "p_minimum"]
print(results.effects()[columns].round(3).to_string(index=False))
for line in results.warnings:
    print("note:", line)

# %%
# The figures and the page; with ``TransferStudy(..., out=folder)`` finished fits are kept, and a study that was stopped
# goes on where it was.

FOLDER.mkdir(parents=True, exist_ok=True)
for kind in ("ranking", "effects"):
    results.plot(kind).savefig(FOLDER / f"transfer_{kind}.png", dpi=120, bbox_inches="tight", facecolor="white")
    print(f"saved transfer_{kind}.png")
results.report(FOLDER / "transfer.html")
print("saved transfer.html")
