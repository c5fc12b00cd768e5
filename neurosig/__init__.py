"""neurosig: recordings of the brain in, decisions that can be trusted out.

Names are imported on first use, so that ``import neurosig`` costs nothing: see `neurosig.__all__`.
"""

from neurosig._version import __version__
from neurosig.core.lazy import attach

_NAMES = {
    "SignalDataset": "neurosig.core.signals",
    "SignalSpec": "neurosig.core.signals",
    "Processing": "neurosig.core.signals",
    "check_signals": "neurosig.core.validation",
    "map_channels": "neurosig.core.channels",
    "save_pipeline": "neurosig.core.persistence",
    "load_pipeline": "neurosig.core.persistence",
    "all_estimators": "neurosig.core.registry",
    "load_eeg": "neurosig.loaders.eeg",
    "load_fmri": "neurosig.loaders.fmri",
    "Atlas": "neurosig.loaders.atlas",
    "read_manifest": "neurosig.loaders.manifest",
    "open_dataset": "neurosig.loaders.manifest",
    "register": "neurosig.loaders.moabb_dataset",
    "simulate_eeg": "neurosig.loaders.simulated",
    "simulate_fmri": "neurosig.loaders.simulated",
    "load_pipelines": "neurosig.evaluation.pipelines",
    "benchmark": "neurosig.evaluation.benchmark",
    "Results": "neurosig.evaluation.results",
    "train": "neurosig.evaluation.trained",
    "TrainedPipeline": "neurosig.evaluation.trained",
    "NetClassifier": "neurosig.models.net_classifier",
    "NetRegressor": "neurosig.models.net_regressor",
    "TransferStudy": "neurosig.evaluation.transfer",
}
__getattr__, __dir__, __all__ = attach(__name__, _NAMES)
__all__ += ["__version__"]
