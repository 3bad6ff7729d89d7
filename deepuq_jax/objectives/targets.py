"""Which likelihood scores a model, and whether targets fit its outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import Array

from deepuq_jax._checks import is_concrete
from deepuq_jax.likelihoods import Categorical
from deepuq_jax.likelihoods.base import Likelihood, as_likelihood
from deepuq_jax.model.base import as_model

Score = Callable[[Any, Any], Array]


def resolve_likelihood(model: Any, log_likelihood: Any = None) -> Likelihood:
    """The likelihood that was passed, else the model's own, else `Categorical()`."""
    if log_likelihood is not None:
        return as_likelihood(log_likelihood, "log_likelihood")
    return as_model(model).named_likelihood() or Categorical()


def check_targets(model: Any, x: Any, y: Any, score: Score) -> None:
    """Hold targets against the model's outputs without computing them: shapes, and on concrete labels their range.

    Worth a call of its own outside of jit, since inside every label is a tracer.

    Args:
        model, x, y: as in an objective.
        score: a function of (outputs, y) that checks what it is given.
    """
    if any(is_concrete(leaf) for leaf in jax.tree.leaves(y)):
        # With a key, as in training: dropout may need one.
        jax.eval_shape(lambda: score(as_model(model).call_with_state(x, key=jax.random.key(0))[0], y))
