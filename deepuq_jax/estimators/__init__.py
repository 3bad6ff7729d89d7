"""Forward estimators, one a file: plain functions, given to a layer as ``estimator=``."""

from deepuq_jax.estimators.weight_sampling import weight_sampling

__all__ = ["weight_sampling"]
