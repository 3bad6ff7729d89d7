"""Networks by the name of a likelihood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flax import nnx

from deepuq_jax._checks import expected
from deepuq_jax.layers import (
    BayesByBackpropMLP,
    HeteroscedasticBayesByBackpropRegressor,
    HomoscedasticBayesByBackpropRegressor,
    Sequential,
)
from deepuq_jax.layers.homoscedastic import LearnedNoise
from deepuq_jax.layers.options import LayerOptions
from deepuq_jax.layers.student_t_noise import LearnedStudentTNoise
from deepuq_jax.likelihoods import Bernoulli, Categorical, LogNormal, NegativeBinomial, Poisson, StudentT


@dataclass(frozen=True)
class Shape:
    """The settings that shape a network.

    Attributes:
        inputs, targets: numbers of columns of X and y; for more than two classes, `targets` is the number of classes.
        hidden: sizes of the hidden layers.
        activation: name of the activation between layers, or a function.
        prior: a prior, a rule, or None for the default of the layers.
    """

    inputs: int
    targets: int
    hidden: Sequence[int]
    activation: Callable[..., Any] | str
    prior: Any

    @property
    def options(self) -> LayerOptions:
        """Options of the layers; without a prior, each class has its own default."""
        return LayerOptions() if self.prior is None else LayerOptions(prior=self.prior)

    def mlp(self, likelihood: Any, rngs: nnx.Rngs) -> BayesByBackpropMLP:
        """Build an MLP with an output per target."""
        return BayesByBackpropMLP(
            self.inputs,
            self.hidden,
            self.targets,
            activation=self.activation,
            likelihood=likelihood,
            rngs=rngs,
            **self.options,
        )

    def mlp_and(self, noise: Callable[..., Any], likelihood: Any, rngs: nnx.Rngs) -> Sequential:
        """Build an MLP, and a layer that appends noise to its outputs."""
        return Sequential(*self.mlp(likelihood, rngs).layers, noise, likelihood=likelihood)


def _gaussian(shape: Shape, rngs: nnx.Rngs) -> Any:
    return HomoscedasticBayesByBackpropRegressor(
        shape.inputs, shape.hidden, shape.targets, activation=shape.activation, rngs=rngs, **shape.options
    )


def _heteroscedastic(shape: Shape, rngs: nnx.Rngs) -> Any:
    return HeteroscedasticBayesByBackpropRegressor(
        shape.inputs, shape.hidden, shape.targets, activation=shape.activation, rngs=rngs, **shape.options
    )


def _student_t(shape: Shape, rngs: nnx.Rngs) -> Any:
    return shape.mlp_and(LearnedStudentTNoise(shape.targets), StudentT(), rngs)


def _poisson(shape: Shape, rngs: nnx.Rngs) -> Any:
    return shape.mlp(Poisson(), rngs)


def _negative_binomial(shape: Shape, rngs: nnx.Rngs) -> Any:
    return shape.mlp_and(LearnedNoise(shape.targets), NegativeBinomial(), rngs)


def _log_normal(shape: Shape, rngs: nnx.Rngs) -> Any:
    return shape.mlp_and(LearnedNoise(shape.targets), LogNormal(), rngs)


def bernoulli_network(shape: Shape, rngs: nnx.Rngs) -> Any:
    """Build a network with a logit per example."""
    return shape.mlp(Bernoulli(), rngs)


def categorical_network(shape: Shape, rngs: nnx.Rngs) -> Any:
    """Build a network with a logit per class."""
    return shape.mlp(Categorical(), rngs)


Build = Callable[[Shape, nnx.Rngs], Any]

REGRESSIONS: dict[str, Build] = {
    "gaussian": _gaussian,
    "heteroscedastic": _heteroscedastic,
    "student_t": _student_t,
    "poisson": _poisson,
    "negative_binomial": _negative_binomial,
    "log_normal": _log_normal,
}


def regression_network(likelihood: Any) -> Build:
    """Look up the network of a regression.

    Raises:
        ValueError: there is no likelihood of this name.

    >>> regression_network("poisson")(Shape(3, 1, (8,), "relu", None), nnx.Rngs(0)).likelihood
    Poisson()
    """
    if not isinstance(likelihood, str) or likelihood not in REGRESSIONS:
        raise ValueError(expected("likelihood", f"to be one of {', '.join(REGRESSIONS)}", f"{likelihood!r}"))
    return REGRESSIONS[likelihood]
