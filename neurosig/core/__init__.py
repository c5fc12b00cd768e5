"""What every other part stands on: signals, channel contract, validation, persistence, registry, errors."""

from neurosig.core.lazy import attach

_NAMES = {
    "Processing": "neurosig.core.signals",
    "SignalDataset": "neurosig.core.signals",
    "SignalSpec": "neurosig.core.signals",
    "StoredTrials": "neurosig.core.stored_trials",
    "all_estimators": "neurosig.core.registry",
    "canonical_name": "neurosig.core.channels",
    "check_signals": "neurosig.core.validation",
    "load_pipeline": "neurosig.core.persistence",
    "map_channels": "neurosig.core.channels",
    "match_channels": "neurosig.core.channels",
    "save_pipeline": "neurosig.core.persistence",
}
__getattr__, __dir__, __all__ = attach(__name__, _NAMES)
