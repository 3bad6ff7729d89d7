"""The choice of a prior by held-out data.

The scale of the prior matters most if classes are sharp or labels are noisy. The ELBO is a poor guide to it: within the
steps that `fit` makes, the posterior of a network is far from settled, and the ELBO favours a prior that is too narrow.
The log predictive density of held-out data is a better guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import NamedSharding

from deepuq_jax._arguments import check_instance
from deepuq_jax._checks import check_count, check_key, check_scalar, expected
from deepuq_jax._inputs import as_arrays
from deepuq_jax.model.own import check_model
from deepuq_jax.model.precision import checked_compute_dtype
from deepuq_jax.objectives.objective import Objective
from deepuq_jax.objectives.precision import in_precision
from deepuq_jax.prediction.density import log_predictive_density
from deepuq_jax.priors.base import Prior, PriorRule
from deepuq_jax.priors.defaults import LayerDefault
from deepuq_jax.training._checkpoint import Saver
from deepuq_jax.training._data import Arrays
from deepuq_jax.training._plan import make_plan, start_run
from deepuq_jax.training._rows import over_devices, take_rows
from deepuq_jax.training.result import NonFiniteError
from deepuq_jax.updating import with_prior

# The share of the examples that is held out.
HELD_OUT = 0.2
# A score has as many draws as a prediction.
_DRAWS = 50
# The key that divides the data is folded from the caller's with this number, so that no noise is drawn from it.
_DIVISION = 2**31 - 1


class PriorChoice(NamedTuple):
    """Result of `choose_prior`.

    Attributes:
        model: the model, untrained, with the best prior.
        best: the name of the best prior.
        scores: the negative log predictive density of the held-out examples, in nats per example, by the name of the
            prior; infinity if a training with this prior was not finite.
    """

    model: Any
    best: str
    scores: dict[str, float]


def choose_prior(
    model: Any,
    x: Any,
    y: Any,
    *,
    key: Array,
    priors: Mapping[str, Prior | PriorRule | LayerDefault],
    held_out: float = HELD_OUT,
    divisions: int = 1,
    objective: Objective | None = None,
    optimizer: optax.GradientTransformation | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    sharding: NamedSharding | None = None,
    compute_dtype: Any = None,
) -> PriorChoice:
    """Choose a prior by the predictions of held-out examples.

    The model is trained once per prior and division on a part of the examples, as `fit` trains it, and scored on the
    rest. All trainings of a division have the same key, so that their scores differ by the prior alone. Train the
    returned model on all examples.

    Args:
        model: an untrained Bayesian model with a likelihood. It is not modified.
        x, y: the data, arrays with a leading axis.
        key: a key of `jax.random.key`, which selects the held-out examples, orders the rest and draws the noise.
        priors: priors or rules, as `with_prior` takes them, by names of your own. If their numbers are arrays, as in
            `fan_in_gaussian(jnp.asarray(2.0))`, all trainings share a compiled program.
        held_out: share of the examples that is held out.
        divisions: number of random divisions into training and held-out examples; the scores are averages over them.
        objective, optimizer, epochs, batch_size, sharding, compute_dtype: as in `fit`.
    Returns:
        PriorChoice(model, best, scores).
    Raises:
        ValueError, TypeError: an argument is invalid, the model names no likelihood, or there are too few examples.
        NonFiniteError: with each prior, at least one training is not finite.

    >>> import deepuq_jax as dq
    >>> from flax import nnx
    >>> x = jnp.linspace(-1, 1, 64)[:, None]
    >>> model = dq.BayesByBackpropMLP(1, (16,), 1, likelihood=dq.Gaussian(0.1), rngs=nnx.Rngs(0))
    >>> priors = {"narrow": dq.GaussianPrior(sigma=0.01), "wide": dq.GaussianPrior(sigma=1.0)}
    >>> dq.choose_prior(model, x, jnp.sin(3 * x), key=jax.random.key(0), priors=priors, epochs=200).best
    'wide'
    """
    check_model(model)
    check_key(key)
    check_instance("priors", priors, Mapping, "to be a mapping of names to priors")
    if not priors:
        raise ValueError(expected("priors", "to have at least one prior", "none"))
    data = Arrays(as_arrays("x", x), as_arrays("y", y), batch_size, sharding)
    share = float(check_scalar("held_out", held_out))
    size = round(share * data.size) if 0 < share < 1 else 0
    if not 0 < size < data.size:
        what = f"to leave examples on both sides of a division of {data.size}"
        raise ValueError(expected("held_out", what, f"{held_out}"))
    candidates = {name: with_prior(model, prior) for name, prior in priors.items()}
    compute_dtype = checked_compute_dtype(compute_dtype)
    score = partial(_score, objective=objective, optimizer=optimizer, epochs=epochs, compute_dtype=compute_dtype)
    found: dict[str, list[float]] = {name: [] for name in candidates}
    failure = None
    for number in range(check_count("divisions", divisions)):
        division = _divided(data, size, batch_size, jax.random.fold_in(key, number))
        for name, candidate in candidates.items():
            try:
                found[name].append(score(candidate, division))
            except NonFiniteError as error:
                failure = error
                found[name].append(float("inf"))
    scores = {name: float(np.mean(values)) for name, values in found.items()}
    best = min(scores, key=lambda name: scores[name])
    if scores[best] == float("inf") and failure is not None:
        raise failure
    return PriorChoice(candidates[best], best, scores)


class _Division(NamedTuple):
    """A division of the examples.

    Attributes:
        data: to train on.
        held_out: (x, y) to score.
        key: the key of the trainings and the scores.
    """

    data: Arrays
    held_out: tuple[Any, Any]
    key: Array


def _divided(data: Arrays, size: int, batch_size: int | None, key: Array) -> _Division:
    """Hold out a random `size` of the examples."""
    rows = np.asarray(jax.random.permutation(jax.random.fold_in(key, _DIVISION), data.size))
    scored, (x, y) = (_taken((data.x, data.y), np.sort(part)) for part in (rows[:size], rows[size:]))
    return _Division(Arrays(x, y, batch_size, data.sharding), over_devices(scored, data.sharding), key)


def _taken(data: Any, rows: np.ndarray) -> Any:
    if all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(data)):
        return jax.tree.map(lambda leaf: leaf[rows], data)
    return take_rows(data, jnp.asarray(rows))


def _score(
    model: Any,
    division: _Division,
    *,
    objective: Objective | None,
    optimizer: optax.GradientTransformation | None,
    epochs: int | None,
    compute_dtype: Any,
) -> float:
    """Train a model, and return its score in nats per example; the settings are those of `fit`.

    Raises:
        NonFiniteError: a step is not finite.
    """
    data, held_out, key = division
    plan = make_plan(model, data, objective, optimizer, epochs, has_patience=False, earlier=None)
    likelihood = plan.objective.likelihood_for(model)
    plan = plan._replace(objective=in_precision(plan.objective, compute_dtype))
    trained = start_run(model, data, plan).run(key, Saver()).model
    density = log_predictive_density(
        trained,
        *held_out,
        key=key,
        n_samples=_DRAWS,
        log_likelihood=likelihood,
        compute_dtype=compute_dtype,
    )
    return float(np.nan_to_num(-jnp.mean(density), nan=np.inf))
