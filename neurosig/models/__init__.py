"""Networks, one file a system, and the scikit-learn estimators that train them."""

from neurosig.core.lazy import attach

_NAMES = {
    "DeepConvNet": "neurosig.models.deep_convnet",
    "EEGNet": "neurosig.models.eegnet",
    "EEGNetFusion": "neurosig.models.eegnet_fusion",
    "LinearNet": "neurosig.models.linear_net",
    "MIEEGNet": "neurosig.models.mi_eegnet",
    "NetClassifier": "neurosig.models.net_classifier",
    "NetRegressor": "neurosig.models.net_regressor",
    "NeuroRVQEncoder": "neurosig.models.neurorvq_encoder",
    "PhaseSPDNet": "neurosig.models.phase_spdnet_module",
    "PhaseSPDNetClassifier": "neurosig.models.phase_spdnet",
    "ShallowConvNet": "neurosig.models.shallow_convnet",
    "TFMEncoder": "neurosig.models.tfm_encoder",
    "list_networks": "neurosig.models.net_catalogue",
}
__getattr__, __dir__, __all__ = attach(__name__, _NAMES)
