"""Memory of loading many recordings one by one, beside loading the largest of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.harness import Row, side

N_FILES, N_CHANNELS, SFREQ = 40, 64, 160.0


def write_recordings(folder: Path) -> None:
    """Forty EDF recordings of 64 channels; the largest lasts four minutes, the others two to three."""
    import mne

    rng = np.random.default_rng(0)
    names = mne.channels.make_standard_montage("biosemi64").ch_names
    for number in range(N_FILES):
        seconds = 240 if number == 0 else int(rng.integers(120, 180))
        data = 1e-5 * rng.standard_normal((N_CHANNELS, int(seconds * SFREQ)))
        raw = mne.io.RawArray(data, mne.create_info(names, SFREQ, "eeg"), verbose="error")
        onsets = np.arange(5.0, seconds - 6, 6.0)
        labels = ["left_hand" if i % 2 else "right_hand" for i in range(len(onsets))]
        raw.set_annotations(mne.Annotations(onsets, 0.0, labels))
        mne.export.export_raw(folder / f"S{number + 1:03d}R01.edf", raw, verbose="error")


def _load(files: list[Path], scratch: Path) -> None:
    from neurosig.loaders.eeg import load_eeg

    load_eeg(files, tmin=0.0, tmax=3.0, fmin=8.0, fmax=32.0, memmap=scratch / "X.npy")


_IMPORTS = ("mne.io", "pandas", "edfio", "scipy.signal", "neurosig.loaders.eeg", "neurosig.loaders.epochs")


@side(prepare=write_recordings, imports=_IMPORTS)
def load_all(scratch: Path) -> None:
    """All forty, into one memory-mapped array."""
    _load(sorted(scratch.glob("*.edf")), scratch)


@side(prepare=write_recordings, imports=_IMPORTS)
def load_largest(scratch: Path) -> None:
    """The largest alone."""
    _load([max(scratch.glob("*.edf"), key=lambda file: file.stat().st_size)], scratch)


ROWS = [
    Row(
        work=f"peak memory of loading {N_FILES} EDF recordings one by one",
        peer="loading the largest of them",
        ours="benchmarks.bench_loading:load_all",
        theirs="benchmarks.bench_loading:load_largest",
        at_most=1.2,
        measure="peak_mb",
        repeats=2,
    )
]
