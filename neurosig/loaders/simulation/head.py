"""A head to simulate in: mne's packaged fsaverage, a spherical volume conductor, standard electrodes.

Positions inside the head are given in MNI millimetres and brought to mne's head coordinates with fsaverage's own
transform. Two spheres are fitted to the standard electrodes: a three-shell one (brain, skull, scalp; Berg and Scherg's
approximation as in mne) for what happens in the brain, and a homogeneous one for eyes and muscles, which have no skull
between them and the electrodes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import mne

__all__ = ["CHANNELS", "REFERENCE", "SOURCES", "Head", "Source", "leadfield", "standard_head"]

# A 28-electrode 10-20 cap that covers eyes, motor, parietal and occipital areas.
CHANNELS = (
    "Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "FC5", "FC1", "FC2", "FC6", "T7", "C3", "Cz", "C4", "T8",
    "CP5", "CP1", "CP2", "CP6", "P7", "P3", "Pz", "P4", "P8", "O1", "Oz", "O2",
)  # fmt: skip
REFERENCE = ("M1", "M2")  # linked mastoids
# Sources are laid on mne's inner-skull surface drawn in by this much: about where gyral crowns lie.
CORTEX_DEPTH = 0.012  # m
CORTEX_FLOOR = -0.03  # m, MNI z; below it the inner skull encloses brain stem and cerebellum


@dataclass(frozen=True)
class Source:
    """A patch of tissue that acts as one current dipole.

    Parameters
    ----------
    mni : tuple of float
        Position in MNI millimetres.
    tangential : tuple of float
        MNI direction that is added to the outward radial direction to give the dipole's orientation, so that
        (0, 0, 0) is a radial dipole (a gyral crown) and a long vector a tangential one (a sulcal wall).
    electrode : str
        The electrode whose potential calibrates the source: amplitudes are stated in microvolts there.
    skull : bool
        Whether the skull lies between it and the electrodes.
    """

    mni: tuple[float, float, float]
    electrode: str
    tangential: tuple[float, float, float] = (0.0, 0.0, 0.0)
    skull: bool = True


# Hand knobs and foot area of the primary sensorimotor cortex, early visual, temporo-occipital (N1), parietal (P3b) and
# vertex positions follow the usual MNI coordinates; eyes are the centres of the globes; muscles lie under the scalp.
SOURCES: Mapping[str, Source] = {
    "hand_left": Source((-38, -24, 56), "C3", (0.0, 0.3, 0.0)),
    "hand_right": Source((38, -24, 56), "C4", (0.0, 0.3, 0.0)),
    "foot": Source((0, -26, 68), "Cz"),
    "alpha_left": Source((-26, -82, 18), "O1", (0.0, 0.0, 0.3)),
    "alpha_right": Source((26, -82, 18), "O2", (0.0, 0.0, 0.3)),
    "alpha_medial": Source((0, -72, 36), "Pz"),
    "visual": Source((0, -92, 4), "Oz"),
    "n1_left": Source((-46, -70, -4), "P7"),
    "n1_right": Source((46, -70, -4), "P8"),
    "vertex": Source((0, -12, 66), "Cz"),
    "parietal": Source((0, -58, 52), "Pz"),
    "eyes_vertical": Source((0, 60, -34), "Fp1", (0.0, -0.6, 3.0), skull=False),
    "eye_left": Source((-33, 60, -36), "F7", (-5.0, 0.0, 0.0), skull=False),
    "eye_right": Source((33, 60, -36), "F8", (-5.0, 0.0, 0.0), skull=False),
    "muscle_left": Source((-66, -8, 4), "T7", skull=False),
    "muscle_right": Source((66, -10, 4), "T8", skull=False),
    "muscle_front": Source((-24, 66, 6), "Fp1", skull=False),
    "muscle_neck": Source((31, -92, -10), "O2", skull=False),
}


@dataclass(frozen=True)
class Head:
    """The standard head.

    Parameters
    ----------
    montage : mne.channels.DigMontage
        mne's standard 10-05 montage.
    electrodes : dict of str to array of shape (3,)
        Positions of mne's standard_1005 electrodes, metres, head coordinates.
    layered, homogeneous : mne.bem.ConductorModel
        Volume conductors with and without skull.
    mri_to_head : array of shape (4, 4)
        fsaverage MRI (MNI) to head coordinates.
    cortex : array of shape (n_points, 3)
        Evenly spread positions at the depth of the cortex, metres, head coordinates.
    """

    montage: mne.channels.DigMontage
    electrodes: Mapping[str, np.ndarray]
    layered: mne.bem.ConductorModel
    homogeneous: mne.bem.ConductorModel
    mri_to_head: np.ndarray
    cortex: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        """Centre of the spheres, metres, head coordinates."""
        return np.asarray(self.layered["r0"], dtype=float)

    @property
    def radius(self) -> float:
        """Radius of the scalp sphere in metres."""
        return float(self.layered["layers"][-1]["rad"])

    def positions(self, mni: np.ndarray) -> np.ndarray:
        """MNI millimetres (n, 3) to head coordinates in metres (n, 3)."""
        return np.asarray(mni, dtype=float) / 1000 @ self.mri_to_head[:3, :3].T + self.mri_to_head[:3, 3]

    def radial(self, positions: np.ndarray) -> np.ndarray:
        """Outward unit vectors (n, 3) at `positions` (n, 3)."""
        outward = positions - self.centre
        return outward / np.linalg.norm(outward, axis=1, keepdims=True)


@functools.cache
def standard_head() -> Head:
    """The standard head; made once a process (about 0.4 s), from files that ship inside mne."""
    from pathlib import Path

    import mne

    from neurosig.loaders.sensors import standard_montage

    montage = standard_montage("standard_1005")
    named = mne.create_info(list(montage.ch_names), 1.0, "eeg", verbose=False).set_montage(montage, verbose=False)
    electrodes = {channel["ch_name"]: np.array(channel["loc"][:3], dtype=float) for channel in named["chs"]}
    # the spheres are fitted to the 10-20 cap: the outermost 10-05 positions run down to cheeks and neck
    fitted = _info({name: electrodes[name] for name in CHANNELS})
    layered = mne.make_sphere_model("auto", "auto", fitted, verbose=False)
    homogeneous = mne.make_sphere_model(
        "auto", "auto", fitted, relative_radii=(0.99, 1.0), sigmas=(0.33, 0.33), verbose=False
    )
    packaged = Path(mne.__file__).parent / "data" / "fsaverage"
    head_to_mri = mne.read_trans(packaged / "fsaverage-trans.fif", verbose=False)["trans"]
    mri_to_head = np.linalg.inv(head_to_mri)
    skull = mne.read_bem_surfaces(packaged / "fsaverage-inner_skull-bem.fif", verbose=False)[0]
    # a subdivided icosahedron lists the vertices of the coarser one first: 162 evenly spread points
    points, normals = skull["rr"][:162], skull["nn"][:162]
    inside = points - CORTEX_DEPTH * normals
    inside = inside[inside[:, 2] > CORTEX_FLOOR]
    cortex = inside @ mri_to_head[:3, :3].T + mri_to_head[:3, 3]
    return Head(montage, electrodes, layered, homogeneous, mri_to_head, cortex)


def leadfield(positions: np.ndarray, electrodes: np.ndarray, *, skull: bool = True) -> np.ndarray:
    """Potentials of unit dipoles at electrodes, from mne's spherical forward solution.

    Parameters
    ----------
    positions : array of shape (n_sources, 3)
        Dipoles, metres, head coordinates. Those outside the innermost shell are drawn in radially to just within it.
    electrodes : array of shape (n_electrodes, 3)
        Electrodes, metres, head coordinates.
    skull : bool
        Whether the skull lies between dipoles and electrodes.

    Returns
    -------
    array of shape (n_electrodes, n_sources, 3)
        Volts per ampere-metre along x, y and z, against infinity.
    """
    import mne

    head = standard_head()
    sphere = head.layered if skull else head.homogeneous
    limit = 0.98 * float(sphere["layers"][0]["rad"])
    offset = np.asarray(positions, dtype=float) - head.centre
    distance = np.linalg.norm(offset, axis=1, keepdims=True)
    inside = head.centre + offset * np.minimum(1.0, limit / np.maximum(distance, 1e-9))
    grid = {"rr": inside, "nn": head.radial(inside)}
    space = mne.setup_volume_source_space(pos=grid, sphere_units="m", verbose=False)
    info = _info({f"E{i}": position for i, position in enumerate(electrodes)})
    forward = mne.make_forward_solution(
        info, None, space, sphere, meg=False, eeg=True, mindist=0.0, n_jobs=1, verbose=False
    )
    return np.asarray(forward["sol"]["data"], dtype=float).reshape(len(electrodes), len(inside), 3)


def _info(electrodes: Mapping[str, Sequence[float] | np.ndarray]) -> mne.Info:
    import mne

    montage = mne.channels.make_dig_montage(dict(electrodes), coord_frame="head")
    return mne.create_info(list(electrodes), 1.0, "eeg", verbose=False).set_montage(montage, verbose=False)
