"""fMRI: loading beside a loop written with nilearn, and BrainMAE beside torch's own transformer of its width and depth.

Weights are random; runs are those of a small machine. The peers have no dropout and neither has BrainMAE here: torch's
attention is several times slower with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.harness import Row, side

EMB_SIZE, N_HEADS, DEPTH, SAMPLES = 64, 4, 3, 8
N_RUNS, SHAPE, N_VOLUMES, N_REGIONS = 20, (30, 36, 30), 150, 100


# -- BrainMAE ---------------------------------------------------------------------------------------------------------


def _brainmae(n_regions: int, variant: str = "sg"):
    import torch

    from neurosig.models.brainmae import BrainMAE

    torch.set_num_threads(1)
    torch.manual_seed(0)
    return BrainMAE(
        n_chans=n_regions, sfreq=0.5, segment=2.0 * SAMPLES, emb_size=EMB_SIZE, n_heads=N_HEADS, depth=DEPTH,
        drop_prob=0.0, variant=variant,
    )  # fmt: skip


def _plain(n_regions: int):
    """A class token and regions with learned positions, through torch's encoder: what a first version would be."""
    import torch
    from torch import nn

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(
                EMB_SIZE, N_HEADS, 4 * EMB_SIZE, 0.0, "gelu", batch_first=True, norm_first=True
            )
            self.encoder = nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False)
            self.inputs, self.outputs = nn.Linear(SAMPLES, EMB_SIZE), nn.Linear(EMB_SIZE, SAMPLES)
            self.token = nn.Parameter(0.02 * torch.randn(EMB_SIZE))
            self.positions = nn.Parameter(0.02 * torch.randn(1 + n_regions, EMB_SIZE))

        def states(self, x):
            tokens = self.inputs(x.unflatten(2, (-1, SAMPLES)).transpose(1, 2).flatten(0, 1))
            tokens = torch.cat([self.token.expand(len(tokens), 1, -1), tokens], dim=1) + self.positions
            return self.encoder(tokens)

        def training_loss(self, x, generator):
            wanted = x.unflatten(2, (-1, SAMPLES)).transpose(1, 2).flatten(0, 1)
            hidden = torch.rand(wanted.shape[:2], generator=generator) < 0.4
            kept = wanted.masked_fill(hidden[..., None], 0).unflatten(0, (len(x), -1)).transpose(1, 2).flatten(2)
            errors = (self.outputs(self.states(kept)[:, 1:]) - wanted).square().mean(dim=-1)
            return {"total": 0.75 * errors[hidden].mean() + 0.25 * errors[~hidden].mean()}

    torch.set_num_threads(1)
    torch.manual_seed(0)
    return Plain()


def _runs(n: int, n_regions: int, n_segments: int):
    import torch

    return torch.randn(n, n_regions, n_segments * SAMPLES, generator=torch.Generator().manual_seed(0))


def encode(scratch: Path, *, n_regions: int, n_segments: int, variant: str) -> Iterator[None]:
    """States of segments, 3 times."""
    import torch

    module = _plain(n_regions) if variant == "plain" else _brainmae(n_regions, variant)
    module.eval()
    x = _runs(1, n_regions, n_segments)

    def states():
        return module.states(x)[:, 0] if variant == "plain" else module._states(*module._segments(x))[0][0]

    with torch.no_grad():
        states()
        yield
        for _ in range(3):
            found = states()
    return {"width": found.shape[1], "finite": bool(found.isfinite().all())}


def pretrain(scratch: Path, *, ours: bool) -> Iterator[None]:
    """Two steps of pretraining on 8 runs of 20 segments; BrainMAE with its decoder and temporal encoder."""
    import torch

    module = _brainmae(200) if ours else _plain(200)
    x, generator = _runs(8, 200, 20), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    yield
    for _ in range(2):
        optimizer.zero_grad()
        total = module.training_loss(x, generator)["total"]
        total.backward()
        optimizer.step()
    return {"finite": bool(total.isfinite()), "shown": {"last loss": float(total.detach())}}


# -- loading ----------------------------------------------------------------------------------------------------------


def write_runs(folder: Path, *, n_runs: int = N_RUNS) -> None:
    """Compressed runs of a small brain, and an atlas of boxes on the same grid."""
    import nibabel
    import numpy as np

    rng = np.random.default_rng(0)
    affine = np.diag([6.0, 6.0, 6.0, 1.0])
    affine[:3, 3] = [-90, -126, -72]
    boxes = np.zeros(SHAPE, dtype=np.int16)
    x, y, z = (np.minimum(axis * n // size, n - 1) for axis, n, size in
               zip(np.indices(SHAPE), (5, 5, 4), SHAPE, strict=True))  # fmt: skip
    boxes[:] = 1 + x + 5 * y + 25 * z
    nibabel.save(nibabel.Nifti1Image(boxes, affine), folder / "atlas.nii.gz")
    for run in range(n_runs):
        data = 1000 + 50 * rng.standard_normal((*SHAPE, N_VOLUMES), dtype=np.float32)
        image = nibabel.Nifti1Image(data.astype(np.int16), affine)
        image.header.set_zooms((6.0, 6.0, 6.0, 2.0))
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, folder / f"sub-{run:02d}_task-rest_bold.nii.gz")


def load_ours(scratch: Path) -> dict:
    import numpy as np

    from neurosig.loaders.fmri import load_fmri

    files = sorted(scratch.glob("sub-*_bold.nii.gz"))
    X = load_fmri(files, atlas=scratch / "atlas.nii.gz", progress=False).X
    return _told(np.asarray(X))


def load_by_hand(scratch: Path) -> dict:
    import numpy as np
    from nilearn.maskers import NiftiLabelsMasker

    files = sorted(scratch.glob("sub-*_bold.nii.gz"))
    masker = NiftiLabelsMasker(scratch / "atlas.nii.gz", standardize="zscore_sample", t_r=2.0).fit()
    return _told(np.stack([masker.transform(file).T.astype(np.float32) for file in files]))


def _told(X) -> dict:
    return {"a region": X[0, -1, :4].round(3).tolist(), "shown": {"runs": len(X)}}


# -- rows -------------------------------------------------------------------------------------------------------------

_IMPORTS = ("torch", "torch._dynamo", "neurosig.models.brainmae")
_LOADING = ("nibabel", "nilearn.maskers", "neurosig.loaders.fmri", "neurosig.loaders.fmri_volumes")
ROWS = []


def _named(name: str, function, imports, prepare=None) -> str:
    globals()[name] = side(imports=imports, prepare=prepare)(function)
    return f"benchmarks.bench_fmri:{name}"


def _encoded(n_regions: int, n_segments: int, variant: str) -> str:
    name = f"encode_{variant}_{n_regions}_{n_segments}"
    return _named(name, partial(encode, n_regions=n_regions, n_segments=n_segments, variant=variant), _IMPORTS)


ROWS += [
    Row(
        work=f"BrainMAE: 40 segments of {_n} regions encoded, 3 times",
        peer="torch's TransformerEncoder of the same width and depth",
        ours=_encoded(_n, 40, "sg"),
        theirs=_encoded(_n, 40, "plain"),
        at_most=1.0,
    )
    for _n in (100, 200, 400)
]
ROWS += [
    Row(
        work=f"BrainMAE: 640 segments of 100 regions encoded, 3 times, {_variant}",
        peer="a quarter of the segments, by the same",
        ours=_encoded(100, 640, _variant),
        theirs=_encoded(100, 160, _variant),
        at_most=4.4,
    )
    for _variant in ("sg", "ag")
]
ROWS.append(
    Row(
        work="BrainMAE: 2 steps of pretraining on 8 runs of 200 regions x 20 segments",
        peer="torch's TransformerEncoder of the same width and depth, without decoder or temporal encoder",
        ours=_named("pretrain_ours", partial(pretrain, ours=True), _IMPORTS),
        theirs=_named("pretrain_theirs", partial(pretrain, ours=False), _IMPORTS),
        at_most=1.0,
    )
)
_OURS = _named("load_20", partial(load_ours), _LOADING, write_runs)
_BY_HAND = _named("load_20_by_hand", partial(load_by_hand), _LOADING, write_runs)
ROWS += [
    Row(
        work=f"{N_RUNS} NIfTI runs of {N_VOLUMES} volumes into {N_REGIONS} regions",
        peer="a loop over the files, written with nilearn",
        ours=_OURS,
        theirs=_BY_HAND,
        at_most=_at_most,
        measure=_measure,
    )
    for _measure, _at_most in (("seconds", 1.05), ("peak_mb", 1.15))  # the loop holds the volumes of one run
]
_MANY, _FEW = (
    _named(f"load_{_n}_runs", partial(load_ours), _LOADING, partial(write_runs, n_runs=_n)) for _n in (40, 10)
)
ROWS.append(
    Row(
        work=f"40 NIfTI runs of {N_VOLUMES} volumes into {N_REGIONS} regions",
        peer="10 of them, by the same",
        ours=_MANY,
        theirs=_FEW,
        at_most=1.15,
        measure="peak_mb",
        repeats=1,
    )
)
