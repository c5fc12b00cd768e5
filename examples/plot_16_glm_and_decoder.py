"""
A general linear model and decoders of a task run
=================================================

Someone looks at pictures of faces and houses. Where does the response differ, and can a picture's kind be told from one
block? The first is nilearn's general linear model, the second nilearn's decoder on images, and a scikit-learn pipeline
on the trials that `load_fmri` cuts. The runs are simulated and written as NIfTI; where the environment variable
NEUROSIG_DATA names a folder that holds ``haxby_mini/``, eight real runs (one slice of one person) are taken instead.

Run it as ``python plot_16_glm_and_decoder.py [FOLDER]``: the figures are saved where a folder is named.
"""

import os
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel
import numpy as np
import pandas as pd
from nilearn.decoding import Decoder
from nilearn.glm.first_level import FirstLevelModel, compute_regressor
from nilearn.image import concat_imgs, index_img
from nilearn.maskers import NiftiMasker
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from neurosig import Atlas, load_fmri
from neurosig.evaluation import chance_level

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else None
HAXBY = Path(os.environ.get("NEUROSIG_DATA", "")) / "haxby_mini"
KINDS = ["face", "house", "cat", "shoe"]


def save(figure, name):
    """Save a figure where a folder was named."""
    if FOLDER is not None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        figure.savefig(FOLDER / name, dpi=120, bbox_inches="tight")
    plt.close(figure)


def simulate(folder, n_runs=6):
    """Runs of one slice in which each kind of picture drives voxels of its own."""
    rng = np.random.default_rng(0)
    shape, t_r, n_volumes = (20, 24, 1), 2.5, 120
    affine = np.diag([3.5, 3.5, 3.5, 1.0])
    where = {kind: rng.random(shape) < 0.04 for kind in KINDS}
    for run in range(1, n_runs + 1):
        onsets = 15 + 35 * np.arange(8)
        kinds = np.concatenate([rng.permutation(KINDS), rng.permutation(KINDS)])
        events = pd.DataFrame({"onset": onsets, "duration": 22.5, "trial_type": kinds})
        events.to_csv(folder / f"run{run:03d}_bold_events.tsv", sep="\t", index=False)
        volumes = 1000 + 12 * rng.standard_normal((*shape, n_volumes))
        volumes += 10 * np.sin(2 * np.pi * np.arange(n_volumes) / 100 + rng.uniform(0, 6))
        for kind in KINDS:
            of_kind = events[events["trial_type"] == kind]
            condition = np.vstack([of_kind["onset"], of_kind["duration"], np.ones(len(of_kind))])
            response, _ = compute_regressor(condition, "spm", np.arange(n_volumes) * t_r)
            volumes[where[kind]] += 10 * response[:, 0]
        volumes[:2] = volumes[-2:] = 0  # outside the head
        image = nibabel.Nifti1Image(volumes.astype(np.float32), affine)
        image.header.set_zooms((3.5, 3.5, 3.5, t_r))
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, folder / f"run{run:03d}_bold_1slice.nii.gz")
    return folder


# %%
# The runs, and the voxels of the head. A mask is an atlas too: each of its voxels is a region of its own.

folder = HAXBY if HAXBY.is_dir() else simulate(Path(tempfile.mkdtemp()))
runs = sorted(folder.glob("run*_bold_1slice.nii.gz"))
tables = [pd.read_csv(run.with_name(run.name.split("_1slice")[0] + "_events.tsv"), sep="\t") for run in runs]
first = nibabel.load(runs[0])
mean = first.get_fdata().mean(axis=3)
mask = nibabel.Nifti1Image((mean > 0.3 * np.percentile(mean, 98)).astype(np.uint8), first.affine)
t_r = float(first.header.get_zooms()[3])
print(f"{len(runs)} runs of {first.shape[3]} volumes, {t_r:g} s each; {int(mask.get_fdata().sum())} voxels in the head")

# %%
# Where do faces and houses differ? The model of all runs at once: a response a kind, drifts, autocorrelated noise.

head = NiftiMasker(mask_img=mask, t_r=t_r, standardize=None, reports=False).fit()
model = FirstLevelModel(t_r=t_r, mask_img=head, high_pass=1 / 128, signal_scaling=False, standardize=None)
model.fit([str(run) for run in runs], events=tables)
z_map = model.compute_contrast(["face - house"] * len(runs), output_type="z_score")
z = np.squeeze(z_map.get_fdata())
print(f"face against house: {np.sum(z > 3.1)} voxels above z = 3.1, {np.sum(z < -3.1)} below -3.1")
figure, axes = plt.subplots(1, 2, figsize=(7, 3.5), layout="constrained")
axes[0].imshow(np.squeeze(mean).T, cmap="gray", origin="lower")
axes[0].set_title("mean of the first run")
image = axes[1].imshow(z.T, cmap="RdBu_r", vmin=-8, vmax=8, origin="lower")
axes[1].set_title("z, face minus house")
figure.colorbar(image, ax=axes[1])
for axis in axes:
    axis.axis("off")
save(figure, "face_house.png")

# %%
# Trials of four kinds, from 5 s after a block's begin, as the response is late. A decoder of their mean in each voxel;
# folds leave one run out, because volumes and blocks of one run resemble each other for other reasons.

trials = load_fmri(runs, atlas=Atlas.from_mask(mask), events=KINDS, tmin=5.0, tmax=25.0, name="pictures")
print(trials)
groups = trials.metadata["run"].to_numpy()
decoder = make_pipeline(
    FunctionTransformer(np.mean, kw_args={"axis": 2}), StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)
)
scores = cross_val_score(decoder, trials.X, trials.y, groups=groups, cv=LeaveOneGroupOut())
hits, n = round(scores.mean() * len(trials)), len(trials)
chance = chance_level(trials.y)
print(f"accuracy {hits / n:.3f}, {hits} of {n} trials; chance {chance.level:.2f}, at most {chance.upper:.2f}")

# %%
# The same question to nilearn's decoder, which takes images: the mean volume of each block. It tells each kind from the
# others, chooses its penalty within each training part, and its weights are images.

blocks, kinds, of_run = [], [], []
for number, (run, table) in enumerate(zip(runs, tables, strict=True)):
    masker = NiftiMasker(mask_img=mask, standardize="zscore_sample", t_r=t_r, reports=False)
    image = masker.inverse_transform(masker.fit_transform(str(run)))
    for row in table[table["trial_type"].isin(KINDS)].itertuples():
        start, stop = (int(np.ceil((row.onset + shift) / t_r)) for shift in (5.0, 25.0))
        block = index_img(image, slice(start, stop + 1))
        blocks.append(nibabel.Nifti1Image(block.get_fdata().mean(axis=3), block.affine))
        kinds.append(row.trial_type)
        of_run.append(number)
nilearns = Decoder(
    estimator="logistic_l2", mask=mask, standardize=None, screening_percentile=100, scoring="accuracy",
    cv=LeaveOneGroupOut(), n_jobs=1,
)  # fmt: skip
nilearns.fit(concat_imgs(blocks), kinds, groups=of_run)
found = {kind: float(np.mean(scores)) for kind, scores in nilearns.cv_scores_.items()}
print("nilearn, one kind against the others:", ", ".join(f"{kind} {score:.2f}" for kind, score in found.items()))
weights = np.squeeze(nilearns.coef_img_["face"].get_fdata())
limit = np.abs(weights).max()
figure, axis = plt.subplots(figsize=(3.5, 3.5), layout="constrained")
axis.imshow(weights.T, cmap="RdBu_r", vmin=-limit, vmax=limit, origin="lower")
axis.set_title("nilearn's weights for faces")
axis.axis("off")
save(figure, "face_weights.png")
