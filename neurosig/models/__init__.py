"""Networks, one file a system, and the scikit-learn estimators that train them."""

from neurosig.core.lazy import attach

_NAMES = {
    "BrainMAE": "neurosig.models.brainmae",
    "BrainMAEClassifier": "neurosig.models.brainmae_classifier",
    "BrainMAEEmbedder": "neurosig.models.brainmae_embedder",
    "BrainMAERegressor": "neurosig.models.brainmae_classifier",
    "DeepConvNet": "neurosig.models.deep_convnet",
    "EEGNet": "neurosig.models.eegnet",
    "EEGNetFusion": "neurosig.models.eegnet_fusion",
    "LinearNet": "neurosig.models.linear_net",
    "MIEEGNet": "neurosig.models.mi_eegnet",
    "NetClassifier": "neurosig.models.net_classifier",
    "NetRegressor": "neurosig.models.net_regressor",
    "NeuroRVQClassifier": "neurosig.models.neurorvq",
    "NeuroRVQEmbedder": "neurosig.models.neurorvq_embedder",
    "NeuroRVQEncoder": "neurosig.models.neurorvq_encoder",
    "PhaseSPDNet": "neurosig.models.phase_spdnet_module",
    "PhaseSPDNetClassifier": "neurosig.models.phase_spdnet",
    "ShallowConvNet": "neurosig.models.shallow_convnet",
    "TFMBIOT": "neurosig.models.tfm_plugin",
    "TFMClassifier": "neurosig.models.tfm",
    "TFMEmbedder": "neurosig.models.tfm_embedder",
    "TFMEncoder": "neurosig.models.tfm_encoder",
    "TFMLaBraM": "neurosig.models.tfm_plugin",
    "list_networks": "neurosig.models.net_catalogue",
    "pretrain_embedder": "neurosig.models.pretraining",
    "pretrain_on_runs": "neurosig.models.pretraining_runs",
}
__getattr__, __dir__, __all__ = attach(__name__, _NAMES)
