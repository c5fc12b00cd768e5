"""
Load an fMRI run
================

From a run as fMRIPrep leaves it to series of named regions: confounds regressed out, volumes with too much motion left
out, a region that the image does not show kept by name. The run is simulated here and written to a folder laid out as
fMRIPrep does, so the script needs no network and knows what it put in. For data of your own,
``neurosig.load_fmri("derivatives/fmriprep", atlas="schaefer200", task="rest")`` gives the same object.

Run it as ``python plot_14_load_fmri.py [FOLDER]``: the figures are saved where a folder is named.
"""

import json
import sys
import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel
import numpy as np
import pandas as pd
from nilearn.plotting import plot_matrix

from neurosig import Atlas, load_fmri
from neurosig.preprocessing import FunctionalConnectivity

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else None
T_R, N_VOLUMES = 2.0, 180
NAMES = ["visual left", "visual right", "motor left", "motor right", "default front", "default back", "below the image"]


def save(figure, name):
    """Save a figure where a folder was named."""
    if FOLDER is not None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        figure.savefig(FOLDER / name, dpi=120, bbox_inches="tight")
    plt.close(figure)


# %%
# An atlas: an image with one number a region, and names. Its last region lies below the slices that were scanned.

rng = np.random.default_rng(0)
shape = (18, 20, 12)
labels = np.zeros(shape, dtype=np.int16)
corners = [(3, 2, 6), (12, 2, 6), (3, 9, 9), (12, 9, 9), (7, 15, 5), (7, 4, 9), (7, 9, 0)]
for number, (x, y, z) in enumerate(corners, 1):
    labels[x : x + 3, y : y + 3, z : z + 3] = number
affine = np.diag([8.0, 8.0, 8.0, 1.0])
affine[:3, 3] = -72, -100, -50
atlas = Atlas.from_files(nibabel.Nifti1Image(labels, affine), NAMES, name="seven blocks")
print(atlas)

# %%
# A run: three networks of two regions each, drifts, and a head that moves now and then.

time = np.arange(N_VOLUMES) * T_R
slow = np.exp(-np.arange(12) * T_R / 6)
networks = np.stack([np.convolve(rng.standard_normal(N_VOLUMES), slow)[:N_VOLUMES] for _ in range(3)])
networks /= networks.std(axis=1, keepdims=True)
motion = 0.05 * np.cumsum(rng.standard_normal((N_VOLUMES, 6)), axis=0) / 5
motion[[60, 61, 130]] += 1.5
volumes = 1000 + 15 * rng.standard_normal((*shape, N_VOLUMES))
volumes += 20 * np.sin(2 * np.pi * time / 300) + 25 * motion[:, 0]
for number in range(1, 7):
    volumes[labels == number] += 10 * networks[(number - 1) // 2]
volumes[:, :, :3] = 0  # not scanned

root = Path(tempfile.mkdtemp())
folder = root / "sub-01" / "func"
folder.mkdir(parents=True)
stem = "sub-01_task-rest"
image = nibabel.Nifti1Image(volumes.astype(np.float32), affine)
image.header.set_zooms((8, 8, 8, T_R))
image.header.set_xyzt_units("mm", "sec")
nibabel.save(image, folder / f"{stem}_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz")
sidecar = {"RepetitionTime": T_R, "TaskName": "rest"}
(folder / f"{stem}_space-MNI152NLin6Asym_desc-preproc_bold.json").write_text(json.dumps(sidecar))
(root / "dataset_description.json").write_text(
    json.dumps({"Name": "example", "BIDSVersion": "1.8.0", "DatasetType": "derivative"})
)
measured = dict(zip(["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"], motion.T, strict=True))
measured |= {"csf": volumes[:2].mean(axis=(0, 1, 2)), "white_matter": volumes[-2:].mean(axis=(0, 1, 2))}
confounds = pd.DataFrame(measured)
for name in measured:
    confounds[f"{name}_derivative1"] = confounds[name].diff()
    confounds[f"{name}_power2"] = confounds[name] ** 2
    confounds[f"{name}_derivative1_power2"] = confounds[f"{name}_derivative1"] ** 2
confounds["framewise_displacement"] = np.abs(np.diff(motion, axis=0, prepend=motion[:1])).sum(axis=1)
confounds["std_dvars"] = 1.0
for i in range(3):
    confounds[f"cosine0{i}"] = np.cos(np.pi * (i + 1) * (np.arange(N_VOLUMES) + 0.5) / N_VOLUMES)
confounds.to_csv(folder / f"{stem}_desc-confounds_timeseries.tsv", sep="\t", na_rep="n/a", index=False)
(folder / f"{stem}_desc-confounds_timeseries.json").write_text("{}")

# %%
# Load it twice: as it is, and with what fMRIPrep knows of motion and drifts. "scrubbing" also drops volumes; which are
# left is in the metadata, so that events and spectra can be put right. A warning tells of the region that is lacking.

with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    plain = load_fmri(root, atlas=atlas, confounds=None, min_coverage=0.1, name="example")
    clean = load_fmri(root, atlas=atlas, confounds="scrubbing", min_coverage=0.1, name="example")
for text in sorted({str(warning.message) for warning in told}):
    print("warning:", text)
print(clean)
row = clean.metadata.iloc[0]
print(f"repetition time {row['t_r']:g} s, {row['n_volumes']} volumes recorded, {len(row['kept'])} kept")
dropped = sorted(set(range(N_VOLUMES)) - set(row["kept"]))
print(f"dropped: {dropped}; the head moved at 60, 61 and 130")

# %%
# Regions have names, and one that the image does not show is there all the same: NaN throughout.

series = dict(zip(clean.info.ch_names, clean.X[0], strict=True))
print(f"{len(series)} regions; missing: {[name for name, its in series.items() if np.isnan(its).all()]}")

# %%
# Were confounds taken out? Each region should follow its network, and nothing else.


def agreement(data, kept):
    """Correlation of each region with the network that was put into it."""
    return np.array([np.corrcoef(data.X[0][i], networks[i // 2][kept])[0, 1] for i in range(6)])


before, after = agreement(plain, np.arange(N_VOLUMES)), agreement(clean, np.array(row["kept"]))
print(f"correlation with the truth: {before.mean():.2f} before, {after.mean():.2f} after")

figure, axis = plt.subplots(figsize=(8, 3.5), layout="constrained")
for i in range(6):
    axis.plot(time, plain.X[0][i] - 6 * i, color="0.7", linewidth=0.8)
    axis.plot(time[list(row["kept"])], clean.X[0][i] - 6 * i, color="tab:blue", linewidth=0.8)
axis.set(yticks=-6 * np.arange(6), yticklabels=NAMES[:6], xlabel="time (s)", title="as recorded (grey), cleaned (blue)")
save(figure, "series.png")

# %%
# How the regions go together. Edges of the missing region are NaN; ``missing="mean"`` fills them in for a model.

connectivity = FunctionalConnectivity(missing="nan").fit(clean)
edges = dict(zip(connectivity.get_feature_names_out(), connectivity.transform(clean)[0], strict=True))
strongest = sorted((name for name in edges if np.isfinite(edges[name])), key=lambda name: -edges[name])[:3]
print("strongest:", ", ".join(f"{name} ({edges[name]:.2f})" for name in strongest))
figure, axis = plt.subplots(figsize=(5, 4.5), layout="constrained")
plot_matrix(connectivity.mean_[:6, :6], labels=NAMES[:6], vmin=-1, vmax=1, axes=axis, tri="lower")
save(figure, "connectivity.png")
