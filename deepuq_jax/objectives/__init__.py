"""Objectives, values that carry their units: one family per file."""

from deepuq_jax.objectives.documented import DocumentedELBO
from deepuq_jax.objectives.elbo import ELBO

__all__ = ["ELBO", "DocumentedELBO"]
