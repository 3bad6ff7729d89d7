"""Forward estimators, which a layer takes as ``estimator=``."""

from deepuq_jax.estimators.flipout import flipout
from deepuq_jax.estimators.local_reparameterization import (
    approximate_local_reparameterization,
    local_reparameterization,
)
from deepuq_jax.estimators.weight_sampling import weight_sampling

__all__ = ["approximate_local_reparameterization", "flipout", "local_reparameterization", "weight_sampling"]
