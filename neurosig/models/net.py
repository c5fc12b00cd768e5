"""Any network as an ordinary scikit-learn estimator: `NetClassifier` and `NetRegressor`, where they were first."""

from neurosig.models.net_classifier import NetClassifier
from neurosig.models.net_regressor import NetRegressor

__all__ = ["NetClassifier", "NetRegressor"]
