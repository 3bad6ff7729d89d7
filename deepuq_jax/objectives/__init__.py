"""Objectives, which are values that carry their units."""

from deepuq_jax.objectives.documented import DocumentedELBO
from deepuq_jax.objectives.elbo import ELBO

__all__ = ["ELBO", "DocumentedELBO"]
