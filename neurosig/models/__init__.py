"""Networks, one file a system, and the scikit-learn estimators that train them."""

from neurosig.core.lazy import attach

_NAMES = {
    "DeepConvNet": "neurosig.models.deep_convnet",
    "EEGNet": "neurosig.models.eegnet",
    "EEGNetFusion": "neurosig.models.eegnet_fusion",
    "LinearNet": "neurosig.models.linear_net",
    "MIEEGNet": "neurosig.models.mi_eegnet",
    "NetClassifier": "neurosig.models.net",
    "NetRegressor": "neurosig.models.net",
    "PhaseSPDNet": "neurosig.models.phase_spdnet",
    "PhaseSPDNetClassifier": "neurosig.models.phase_spdnet",
    "ShallowConvNet": "neurosig.models.shallow_convnet",
}
__getattr__, __dir__, __all__ = attach(__name__, _NAMES)
