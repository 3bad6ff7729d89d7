"""Priors over weights, one a file."""

from deepuq_jax.priors.gaussian import GaussianPrior

__all__ = ["GaussianPrior"]
