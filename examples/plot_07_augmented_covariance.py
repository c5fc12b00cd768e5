"""
Decode from covariances over time
=================================

The covariance of a trial tells how strong the channels are and how they go together, but not in which order: shuffling
the samples changes nothing. The augmented covariance also holds each channel together with itself a moment later. How
many moments (`order`) and how far apart (`lag`) is chosen on training trials: by cross-validation, or without labels.

Run it as ``python plot_07_augmented_covariance.py [FOLDER]``: the figures are saved in that folder, or where it is run.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from pyriemann.tangentspace import TangentSpace
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from neurosig import simulate_eeg
from neurosig.preprocessing import AugmentedCovariances, AugmentedCovarianceSearch, SpatialReduction, select_embedding

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()


def save(figure, name):
    """Save a figure and say so."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / name, dpi=120, bbox_inches="tight")
    print("saved", name)
    plt.close(figure)


# %%
# Trials of one simulated subject who imagines moving the left or the right hand.

data = simulate_eeg("imagery", n_subjects=1, n_sessions=1, n_runs=4, n_trials=20, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(data.X, data.y, test_size=0.5, stratify=data.y, random_state=0)
print(f"{len(X_train)} training trials of {X_train.shape[1]} channels and {X_train.shape[2]} samples")

# %%
# Ordinary covariances are those of order 1.


def decoder(**options):
    """Covariances, tangent space, linear support vector machine."""
    return make_pipeline(AugmentedCovariances(estimator="oas", **options), TangentSpace(), SVC(kernel="linear"))


scores = {"order 1": decoder().fit(X_train, y_train).score(X_test, y_test)}

# %%
# Without labels: each method looks at the training trials for how far ahead a signal says something new.

for method in ("autocorrelation", "ami_cao", "mdop"):
    chosen = select_embedding(X_train, method, max_order=3)
    print(f"{method}: order {chosen.order}, lag {chosen.lag}")
    scores[method] = decoder(order=chosen.order, lag=chosen.lag).fit(X_train, y_train).score(X_test, y_test)

# %%
# With labels: the published search. Many channels make large matrices, so that their number is reduced first, inside
# every fold; ``precision="coarse"`` takes the tangent vectors of all inner folds at one reference.

search = AugmentedCovarianceSearch(
    orders=[1, 2, 3],
    lags=[2, 4, 6, 8],
    estimator="oas",
    reduction=SpatialReduction("pca", 8),
    precision="coarse",
    random_state=0,
).fit(X_train, y_train)
print("chosen:", search.best_params_)
scores["search"] = np.mean(search.predict(X_test) == y_test)  # score() gives the ROC AUC that it searched by
for name, score in scores.items():
    print(f"{name}: accuracy {score:.3f}, {round(score * len(y_test))} of {len(y_test)} trials")

# %%
# One test trial is a step of 1 in 40: methods that differ by one or two trials here do not differ. Which is better is a
# question for many people and the comparisons of ``neurosig benchmark``.


# %%
# The inner score of every order and lag, the best classifier of each. Order 1 looks at no later moment, so that
# its lags are all the same; what was not tried would be grey.

table = np.full((len(search.lags), len(search.orders)), np.nan)
for params, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
    at = search.lags.index(params["lag"]), search.orders.index(params["order"])
    table[at] = np.fmax(table[at], score)
figure, axis = plt.subplots(figsize=(5, 4), layout="constrained")
axis.set_facecolor("0.9")
image = axis.imshow(table, origin="lower", cmap="viridis", aspect="auto")
middle = np.nanmean([np.nanmin(table), np.nanmax(table)])
for (row, column), score in np.ndenumerate(table):
    if np.isfinite(score):
        axis.text(column, row, f"{score:.3f}", ha="center", va="center", color="w" if score < middle else "k")
axis.set(xticks=range(3), xticklabels=search.orders, yticks=range(4), yticklabels=search.lags)
axis.set(xlabel="order", ylabel="lag (samples)", title="ROC AUC over the inner folds")
figure.colorbar(image)
save(figure, "order_and_lag.png")

# %%
# What the matrix holds: blocks of covariances now, and with each later moment.

matrix = AugmentedCovariances(order=3, lag=4, estimator="cov").fit_transform(X_test[:, :6])[0]
figure, axis = plt.subplots(figsize=(4.5, 4), layout="constrained")
limit = np.abs(matrix).max()
axis.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
for edge in (5.5, 11.5):
    axis.axhline(edge, color="0.3", linewidth=0.8)
    axis.axvline(edge, color="0.3", linewidth=0.8)
axis.set(xticks=[2.5, 8.5, 14.5], yticks=[2.5, 8.5, 14.5], title="6 channels, order 3")
axis.set(xticklabels=["t", "t + 4", "t + 8"], yticklabels=["t", "t + 4", "t + 8"])
save(figure, "augmented_covariance.png")
