"""Bayesian networks as estimators of scikit-learn.

The package needs scikit-learn, which importing `deepuq_jax` alone does not.
"""

try:
    from sklearn.utils.validation import validate_data as _  # noqa: F401
except ImportError as _error:
    raise ImportError(
        "deepuq_jax.sklearn needs scikit-learn 1.6 or later: pip install 'deepuq-jax[sklearn]'."
    ) from _error

from deepuq_jax.sklearn.classifier import VIClassifier
from deepuq_jax.sklearn.regressor import VIRegressor

__all__ = ["VIClassifier", "VIRegressor"]
