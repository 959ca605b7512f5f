"""The scikit-learn face: the estimators, the only code that takes (n_samples, n_features)."""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"the estimators need scikit-learn ({error}): pip install 'portadnn[sklearn]'"
    ) from error

from portadnn.estimator.classifier import PortaDNNClassifier
from portadnn.estimator.regressor import PortaDNNRegressor

__all__ = ["PortaDNNClassifier", "PortaDNNRegressor"]
