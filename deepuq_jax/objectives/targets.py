"""The likelihood that scores a model, and checks of targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import Array

from deepuq_jax._checks import expected, is_concrete
from deepuq_jax.likelihoods import Categorical
from deepuq_jax.likelihoods.base import Likelihood, as_likelihood
from deepuq_jax.model.own import as_model

Score = Callable[[Any, Any], Array]


def resolve_likelihood(model: Any, log_likelihood: Any) -> Likelihood:
    """Resolve the likelihood that scores a model in nats.

    It is `log_likelihood`; if that is None, the model's likelihood.

    Raises:
        ValueError: `log_likelihood` is None, and the model has no likelihood.
    """
    if log_likelihood is not None:
        return as_likelihood(log_likelihood, "log_likelihood")
    named = as_model(model).named_likelihood()
    if named is None:
        message = expected("likelihood", "to be named by the model or as log_likelihood", "none")
        raise ValueError(f"{message} {CHOICES}")
    return named


CHOICES = (
    "Choose Categorical() or Bernoulli() for labels; Gaussian(sigma), HomoscedasticGaussian(), "
    "HeteroscedasticGaussian(), StudentT() or LogNormal() for real targets; Poisson() or NegativeBinomial() for "
    "counts; as in BayesByBackpropMLP(..., likelihood=Categorical()) or ELBO(log_likelihood=Categorical())."
)


def documented_likelihood(model: Any) -> Likelihood:
    """Return the model's likelihood, or `Categorical()`.

    That is the default of `vi_elbo_step`, as in Deep-UQ.
    """
    return as_model(model).named_likelihood() or Categorical()


def check_targets(model: Any, x: Any, y: Any, score: Score) -> None:
    """Check targets against the shapes of the model's outputs.

    The outputs are not computed. The range of concrete labels is checked too, so call this function outside of `jit`:
    inside, every label is a tracer.

    Args:
        model, x, y: as in an objective.
        score: a function of (outputs, y) that checks its arguments.
    """
    if any(is_concrete(leaf) for leaf in jax.tree.leaves(y)):
        # The key stands for the key of training, which dropout may need.
        jax.eval_shape(lambda: score(as_model(model).call_with_state(x, key=jax.random.key(0))[0], y))
