"""Preprocessors: scikit-learn transformers from signals to signals."""

from neurosig.core.lazy import attach

_NAMES = {
    "AugmentedCovarianceSearch": "neurosig.preprocessing.augmented_search",
    "AugmentedCovariances": "neurosig.preprocessing.augmented_covariance",
    "AugmentedDataset": "neurosig.preprocessing.stacking",
    "BlockToeplitzSiegel": "neurosig.preprocessing.siegel",
    "ClipScale": "neurosig.preprocessing.scaling",
    "DynamicConnectivity": "neurosig.preprocessing.dynamic_connectivity",
    "FASTER": "neurosig.preprocessing.faster",
    "FastTangentSpace": "neurosig.preprocessing.tangent",
    "FourierResample": "neurosig.preprocessing.resampling",
    "FunctionalConnectivity": "neurosig.preprocessing.connectivity",
    "MeanPattern": "neurosig.preprocessing.mean_pattern",
    "QuantileScale": "neurosig.preprocessing.scaling",
    "Recentering": "neurosig.preprocessing.alignment",
    "SiteHarmonizer": "neurosig.preprocessing.harmonisation",
    "SpatialReduction": "neurosig.preprocessing.spatial_reduction",
    "augmented_covariances": "neurosig.preprocessing.lagged_products",
    "find_bad_channels": "neurosig.preprocessing.faster_stages",
    "find_bad_channels_in_epochs": "neurosig.preprocessing.faster_cells",
    "find_bad_components": "neurosig.preprocessing.faster_components",
    "find_bad_epochs": "neurosig.preprocessing.faster_stages",
    "find_outlier_subjects": "neurosig.preprocessing.faster_subjects",
    "mean_riemann": "neurosig.preprocessing.riemann",
    "select_embedding": "neurosig.preprocessing.embedding",
    "tangent_space": "neurosig.preprocessing.riemann",
}
__getattr__, __dir__, __all__ = attach(__name__, _NAMES)
