"""Flax NNX layers, one family a file."""

from deepuq_jax.layers.linear import BayesianLinear
from deepuq_jax.layers.mlp import BayesByBackpropMLP
from deepuq_jax.layers.sequential import Sequential

__all__ = ["BayesByBackpropMLP", "BayesianLinear", "Sequential"]
