"""Recordings in: files of every format mne reads, BIDS roots, streams, manifests of datasets, simulated recordings."""

from neurosig.core.lazy import attach

_NAMES = {
    "Atlas": "neurosig.loaders.atlas",
    "Manifest": "neurosig.loaders.manifest",
    "Recording": "neurosig.loaders.recordings",
    "ReadOptions": "neurosig.loaders.recordings",
    "SignalDataset": "neurosig.core.signals",
    "discover": "neurosig.loaders.discover",
    "inspect_fmri": "neurosig.loaders.inspect_fmri",
    "inspect_recording": "neurosig.loaders.inspect",
    "list_manifests": "neurosig.loaders.manifest",
    "load_eeg": "neurosig.loaders.eeg",
    "load_fmri": "neurosig.loaders.fmri",
    "open_dataset": "neurosig.loaders.manifest",
    "read_manifest": "neurosig.loaders.manifest",
    "read_recording": "neurosig.loaders.recordings",
    "register": "neurosig.loaders.moabb_dataset",
    "simulate_eeg": "neurosig.loaders.simulated",
    "simulate_fmri": "neurosig.loaders.simulated",
    "simulate_recordings": "neurosig.loaders.simulated",
}
__getattr__, __dir__, __all__ = attach(__name__, _NAMES)
