"""FASTER beside mne-faster: detection without components, channels in epochs alone, and with components."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.harness import Row, side

N_EPOCHS, N_CHANNELS, N_TIMES, SFREQ, N_SOURCES = 300, 64, 480, 250.0, 20


def write_epochs(folder: Path) -> None:
    """Laplacian sources mixed onto 64 electrodes and one EOG channel, in noise."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((N_CHANNELS + 1, N_SOURCES))
    sources = rng.laplace(size=(N_EPOCHS, N_SOURCES, N_TIMES))
    noise = rng.standard_normal((N_EPOCHS, N_CHANNELS + 1, N_TIMES))
    np.save(folder / "X.npy", np.einsum("cs,est->ect", mixing, sources) * 5e-6 + noise * 2e-6)
    np.save(folder / "mixing.npy", mixing[:N_CHANNELS])


def _epochs(folder: Path):
    import mne

    mne.set_log_level("ERROR")
    names = mne.channels.make_standard_montage("biosemi64").ch_names
    info = mne.create_info([*names, "EOG1"], SFREQ, ["eeg"] * N_CHANNELS + ["eog"])
    info.set_montage("biosemi64")
    with info._unlock():
        info["highpass"], info["lowpass"] = 0.5, 45.0
    return mne.EpochsArray(np.load(folder / "X.npy"), info, baseline=None)


def _facts(channels, epochs, cells) -> dict:
    return {
        "channels": sorted(channels),
        "epochs": sorted(int(i) for i in epochs),
        "cells": [[i, sorted(names)] for i, names in enumerate(cells) if len(names)],
    }


def _amari(product: np.ndarray) -> float:
    """Amari distance of a square product of unmixing and mixing from a permutation: 0 is perfect, 1 the worst."""
    size = np.abs(product)
    n = len(size)
    rows = (size / size.max(axis=1, keepdims=True)).sum(axis=1) - 1
    columns = (size / size.max(axis=0, keepdims=True)).sum(axis=0) - 1
    return float((rows.sum() + columns.sum()) / (2 * n * (n - 1)))


_IMPORTS = ("mne", "mne_faster", "sklearn", "scipy.stats", "scipy.signal", "neurosig.preprocessing.faster")


@side(prepare=write_epochs, imports=_IMPORTS)
def detect_peer(scratch: Path) -> dict:
    """mne-faster's stages 1, 2 and 4, channels and epochs that were found left out of those that follow."""
    import mne_faster

    epochs = _epochs(scratch)
    channels = mne_faster.find_bad_channels(epochs)
    epochs.info["bads"] = channels
    bad = mne_faster.find_bad_epochs(epochs)
    kept = epochs[[i for i in range(len(epochs)) if i not in bad]]
    return _facts(channels, bad, mne_faster.find_bad_channels_in_epochs(kept))


@side(prepare=write_epochs, imports=_IMPORTS)
def detect_ours(scratch: Path) -> dict:
    """The same with the same formulas."""
    from neurosig.preprocessing.faster import FASTER

    epochs = _epochs(scratch)
    faster = FASTER(variant="mne", steps=("channels", "epochs", "channels_in_epochs")).fit(epochs)
    cells = faster.report_["steps"]["channels_in_epochs"]["bad"]
    return _facts(faster.bad_channels_, faster.bad_epochs_, cells)


@side(prepare=write_epochs, imports=_IMPORTS)
def cells_peer(scratch: Path) -> dict:
    """mne-faster's stage 4."""
    import mne_faster

    return _facts([], [], mne_faster.find_bad_channels_in_epochs(_epochs(scratch)))


@side(prepare=write_epochs, imports=_IMPORTS)
def cells_ours(scratch: Path) -> dict:
    """The same with the same formulas."""
    from neurosig.preprocessing.faster import find_bad_channels_in_epochs

    return _facts([], [], find_bad_channels_in_epochs(_epochs(scratch), variant="mne").bads)


def _components_facts(unmixing: np.ndarray, scratch: Path) -> dict:
    # components beyond the sources hold noise and differ between any two runs: the best one of each source counts
    product = unmixing @ np.load(scratch / "mixing.npy")
    best = np.abs(product).argmax(axis=0)
    return {"sources": len(set(best.tolist())), "shown": {"Amari distance": _amari(product[best])}}


def check_distances(ours: float, theirs: float) -> None:
    """Refuse a decomposition that is farther from the true sources than the other's, by more than a tenth."""
    if not ours <= 1.1 * theirs:
        raise ValueError(f"Amari distance {ours:.4f}, expected at most 1.1 times mne-faster's {theirs:.4f}")


def components_agree(scratch: Path) -> dict:
    """Both sides once, untimed: ours may not be faster by finding the sources less well."""
    write_epochs(scratch)
    found = [run(scratch)["shown"]["Amari distance"] for run in (components_ours, components_peer)]
    check_distances(*found)
    return {"told": "at most 1.1 times theirs"}


@side(prepare=write_epochs, imports=_IMPORTS)
def components_peer(scratch: Path) -> dict:
    """mne-faster's stages 1 to 4 with the ICA of its run_faster, at 200 iterations."""
    import mne
    import mne_faster

    from neurosig.preprocessing.faster_ica import Decomposition

    epochs = _epochs(scratch)
    epochs.info["bads"] = mne_faster.find_bad_channels(epochs)
    bad = mne_faster.find_bad_epochs(epochs)
    kept = epochs[[i for i in range(len(epochs)) if i not in bad]]
    n_components = len(mne.pick_types(kept.info, eeg=True, exclude="bads"))
    ica = mne.preprocessing.ICA(n_components, random_state=0, max_iter=200).fit(kept, picks="eeg")
    ica.exclude = mne_faster.find_bad_components(ica, kept)
    mne_faster.find_bad_channels_in_epochs(ica.apply(kept))
    unmixing = np.zeros((n_components, N_CHANNELS))
    unmixing[:, [epochs.ch_names.index(name) for name in ica.ch_names]] = Decomposition.from_mne(ica).unmixing
    return _components_facts(unmixing, scratch)


@side(prepare=write_epochs, imports=_IMPORTS)
def components_ours(scratch: Path) -> dict:
    """All steps with the same formulas."""
    from neurosig.preprocessing.faster import FASTER

    faster = FASTER(variant="mne").fit(_epochs(scratch))
    return _components_facts(faster.unmixing_[:, :N_CHANNELS], scratch)


_SIZE = f"{N_EPOCHS} x {N_CHANNELS} x {N_TIMES}"
ROWS = [
    Row(
        work=f"FASTER detection without components, {_SIZE}, reading included, same flags",
        peer="mne-faster",
        ours="benchmarks.bench_faster:detect_ours",
        theirs="benchmarks.bench_faster:detect_peer",
        at_most=1 / 6,
        repeats=5,
    ),
    Row(
        work=f"FASTER's channels in epochs alone, {_SIZE}, reading included, same flags",
        peer="mne-faster",
        ours="benchmarks.bench_faster:cells_ours",
        theirs="benchmarks.bench_faster:cells_peer",
        at_most=1 / 8,
        repeats=5,
    ),
    Row(
        work=f"FASTER with components, {_SIZE}, sources recovered alike",
        peer="mne-faster",
        ours="benchmarks.bench_faster:components_ours",
        theirs="benchmarks.bench_faster:components_peer",
        at_most=1 / 3,
        repeats=2,
        agree="benchmarks.bench_faster:components_agree",
    ),
]
