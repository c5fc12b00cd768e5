"""
Decode from functional connectivity
===================================

What a reviewer asks for before any network: correlations between regions, and a linear model. Folds keep people
together, or leave out one site at a time; all that is learned (the tangent space's mean, the sites' effects, the
scaling) is learned in the training part. The recordings are simulated, so that the edges that differ are known. Where
the environment variable NEUROSIG_DATA names a folder that holds ``abide/abide_cc200_filt_global.npz``, the same is done
for 318 people of five sites.

Run it as ``python plot_15_connectome.py [FOLDER]``: the figures are saved where a folder is named.
"""

import os
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from nilearn.plotting import plot_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosig import benchmark, load_fmri, load_pipelines, simulate_fmri
from neurosig.preprocessing import FunctionalConnectivity

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else None
ABIDE = Path(os.environ.get("NEUROSIG_DATA", "")) / "abide" / "abide_cc200_filt_global.npz"


def save(figure, name):
    """Save a figure where a folder was named."""
    if FOLDER is not None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        figure.savefig(FOLDER / name, dpi=120, bbox_inches="tight")
    plt.close(figure)


# %%
# Runs of three sites, each with its own repetition time and length: X is a list of (regions, volumes).

data = simulate_fmri(
    n_subjects=90, n_sites=3, n_times=[150, 180, 200], t_r=[2.0, 2.0, 1.5], n_regions=30, effect=0.7, random_state=0
)
print(data)
print(data.metadata.groupby(["site", "t_r", "n_volumes"]).size().to_string())

# %%
# Five descriptions of a run, one linear model: pipelines that come with neurosig. The steps that need sites or
# repetition times ask for them, and the benchmark hands them on with the folds: first people left out (each fold with
# the same share of patients at every site), then sites. It keeps what is done in the folder where it is run.

pipelines = load_pipelines(groups="fmri")
pipelines = {name: pipelines[name] for name in ("FC+LR", "FC-partial+LR", "FC-tangent+LR", "FC+harmonised+LR")}
results = {folds: benchmark(pipelines, data, folds=folds, progress=False) for folds in ("subject", "site")}
for folds, result in results.items():
    for row in result.summary().itertuples():
        print(f"{row.pipeline}, {folds}s left out: AUC {row.mean:.2f} (95 % {row.ci_low:.2f} to {row.ci_high:.2f})")

figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
for shift, color, result in zip((-0.15, 0.15), ("tab:blue", "tab:orange"), results.values(), strict=True):
    for row, name in enumerate(pipelines):
        scores = result.table.loc[result.table["pipeline"] == name, "score"]
        axis.plot(scores, np.full(len(scores), row + shift), "o", color=color, alpha=0.5)
        axis.plot(scores.mean(), row + shift, "|", color=color, markersize=16, markeredgewidth=3)
axis.axvline(0.5, color="0.5", linestyle=":")
axis.set(yticks=range(len(pipelines)), yticklabels=pipelines, xlabel="ROC AUC: people left out (blue), sites (orange)")
axis.invert_yaxis()
save(figure, "scores.png")

# %%
# Which differences are more than chance?

compared = results["subject"].compare()
pairs = compared[compared["family"] == "pipelines"] if "family" in compared else compared
for row in pairs.itertuples():
    print(f"{row.pipeline_a} - {row.pipeline_b}: {row.difference:+.3f}, corrected p {row.p_corrected:.2f}")

# %%
# Which edges decide? Weights of a linear model lie beside each other like the edges: as a matrix they are read at a
# glance. Patients and controls differ between the first network and the second.

fitted = make_pipeline(FunctionalConnectivity(fisher_z=True), StandardScaler(), LogisticRegression(C=0.01))
connectivity, _, model = [step for _, step in fitted.fit(data, data.y).steps]
weights = connectivity.edge_matrices(model.coef_[0])
networks = np.asarray(data.truth["networks"])
between = np.ix_(networks == np.unique(networks)[0], networks == np.unique(networks)[1])
elsewhere = np.abs(weights[np.triu_indices_from(weights, 1)]).mean()
print(f"mean size of a weight: {np.abs(weights[between]).mean():.3f} between those two, {elsewhere:.3f} over all edges")
figure, axis = plt.subplots(figsize=(5, 4.5), layout="constrained")
limit = np.abs(weights).max()
plot_matrix(weights, vmin=-limit, vmax=limit, axes=axis, reorder=False)
axis.set_title("weights of the edges")
save(figure, "weights.png")

# %%
# The same on real people, where there are any.

if ABIDE.is_file():
    abide = load_fmri(ABIDE)
    print(abide)
    for folds in ("subject", "site"):
        result = benchmark({"FC+LR": pipelines["FC+LR"]}, abide, folds=folds, progress=False)
        row = result.summary().iloc[0]
        print(f"autism, {folds}s left out: AUC {row['mean']:.2f} (95 % {row['ci_low']:.2f} to {row['ci_high']:.2f})")
else:
    print("no folder with ABIDE: set NEUROSIG_DATA to run the last part")
