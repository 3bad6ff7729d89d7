"""The recipe for every regression set.

Networks have a hidden layer of 50 ReLUs. Splits with the same kind of noise train in one compiled program, by `vmap`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

import deepuq_jax as dq
from benchmarks.accuracy.networks import PointNetwork, perceptron
from benchmarks.accuracy.uci_score import Draws
from benchmarks.accuracy.uci_splits import Splits

HIDDEN = 50
LIKELIHOODS = {"homoscedastic": dq.HomoscedasticGaussian(), "heteroscedastic": dq.HeteroscedasticGaussian()}


@dataclass(frozen=True)
class Plan:
    """Settings shared by every set and every model.

    Attributes:
        steps: number of steps of the optimizer, rounded to whole epochs.
        batch_size: the batch size for fewer than 4,000 rows; from there on, it grows with the data, up to 256.
        learning_rate: the learning rate of Adam at the start; it falls to 0 as a cosine.
        sigma_init: posterior standard deviation at the start.
        draws: number of draws of the posterior in a prediction.
        members: number of networks in the ensemble.
    """

    steps: int = 8_000
    batch_size: int = 32
    learning_rate: float = 1e-2
    sigma_init: float = 0.02
    draws: int = 200
    members: int = 5

    def batch(self, rows: int) -> int:
        """The batch size for this many rows."""
        grown = self.batch_size * max(1, rows // 2_000)
        return min(rows, max(self.batch_size, min(256, grown)))

    def epochs(self, rows: int) -> int:
        """The number of passes over this many rows."""
        return max(1, round(self.steps / self.steps_per_epoch(rows)))

    def steps_per_epoch(self, rows: int) -> int:
        """The number of batches; the last of them may be smaller."""
        return -(-rows // self.batch(rows))


@dataclass(frozen=True)
class Bayesian:
    """A choice for the Bayesian network.

    Attributes:
        noise: "homoscedastic" or "heteroscedastic"; both are learned.
        kl_weight: the final weight of the KL in the objective; 1 gives the ELBO.
        warm_up: share of the steps over which that weight rises from 0.
        prior_scale: the prior of a layer's weights has standard deviation prior_scale / sqrt(fan_in).
    """

    noise: str
    kl_weight: float
    warm_up: float
    prior_scale: float = 2.0


@dataclass(frozen=True)
class Point:
    """A choice for the deterministic network.

    Attributes:
        noise: as in `Bayesian`.
        weight_decay: decoupled weight decay, as in AdamW.
    """

    noise: str
    weight_decay: float


NOISES = tuple(LIKELIHOODS)
BAYESIAN_SPACE = tuple(Bayesian(*row) for row in product(NOISES, (1.0, 0.5), (0.5, 0.9)))
POINT_SPACE = tuple(Point(*row) for row in product(NOISES, (0.0, 0.3)))


def bayesian_model(choice: Any, noise: str, inputs: int, plan: Plan, rngs: nnx.Rngs) -> nnx.Module:
    """The Bayesian network; each prior scales with the fan-in."""
    outputs = 2 if noise == "heteroscedastic" else 1

    def layer(fan_in: int, fan_out: int) -> dq.BayesianLinear:
        prior = dq.GaussianPrior(sigma=choice["prior_scale"] / np.sqrt(fan_in))
        return dq.BayesianLinear(fan_in, fan_out, prior=prior, sigma_init=plan.sigma_init, rngs=rngs)

    members = [layer(inputs, HIDDEN), nnx.relu, layer(HIDDEN, outputs)]
    last = [] if noise == "heteroscedastic" else [dq.LearnedNoise(1)]
    return dq.Sequential(*members, *last, likelihood=LIKELIHOODS[noise])


def point_model(choice: Any, noise: str, inputs: int, plan: Plan, rngs: nnx.Rngs) -> nnx.Module:
    """The same network without a posterior."""
    outputs = 2 if noise == "heteroscedastic" else 1
    last = [] if noise == "heteroscedastic" else [dq.LearnedNoise(1)]
    return PointNetwork(perceptron((inputs, HIDDEN, outputs), *last, rngs=rngs), LIKELIHOODS[noise])


MODELS = {Bayesian: bayesian_model, Point: point_model}


def train(choice: Any, x: Array, y: Array, key: Array, *, kind: type, noise: str, plan: Plan) -> Any:
    """Train a network on a split.

    The function is pure, so `vmap` can map it over splits, choices and seeds.

    Args:
        choice: the numbers of a `Bayesian` or a `Point`, keyed by name; they may be traced.
        x, y: [n, d] and [n, 1], standardized.
        key: draws the initial weights, the order of the data and the noise.
        kind, noise, plan: static.
    Returns:
        The trained model.
    """
    model_key, train_key = jax.random.split(key)
    model = MODELS[kind](choice, noise, x.shape[1], plan, nnx.Rngs(model_key))
    epochs = plan.epochs(len(x))
    steps = epochs * plan.steps_per_epoch(len(x))
    schedule = optax.cosine_decay_schedule(plan.learning_rate, steps)
    optimizer = optax.adamw(schedule, weight_decay=choice.get("weight_decay", 0.0))
    objective = dq.ELBO()
    if kind is Bayesian:
        # `schedules.linear` checks plain numbers, but these differ between splits and may be traced.
        rise = dq.schedules.Linear(choice["warm_up"] * steps, choice["kl_weight"])
        objective = dq.ELBO(kl_weight=rise)

    def epoch(state: dq.TrainState, i: Array) -> tuple[dq.TrainState, None]:
        epoch_key = jax.random.fold_in(train_key, i)
        state, _ = dq.train_epoch(
            state, x, y, key=epoch_key, objective=objective, optimizer=optimizer, batch_size=plan.batch(len(x))
        )
        return state, None

    return jax.lax.scan(epoch, dq.TrainState.create(model, optimizer), jnp.arange(epochs))[0].model


def predict(model: Any, x: Array, key: Array, draws: int) -> tuple[Array, Array]:
    """Predictive means and noise variances at draws of the weights.

    Returns:
        Means and variances, standardized, [draws, n] each.
    """
    likelihood = model.likelihood

    def at_draw(key):
        mean, var = likelihood.moments(dq.draw(model, key=key)(x))
        return mean[:, 0], var[:, 0]

    return jax.lax.map(at_draw, jax.random.split(key, draws))


@partial(jax.jit, static_argnames=("kind", "noise", "plan"))
def _program(choices, x, y, held_x, keys, *, kind, noise, plan):
    """Train and predict every split: [splits, draws, m]."""

    def of_split(choice, x, y, held_x, key):
        if kind is Bayesian:
            train_key, predict_key = jax.random.split(key)
            model = train(choice, x, y, train_key, kind=kind, noise=noise, plan=plan)
            return predict(model, held_x, predict_key, plan.draws)

        def member(key):
            model = train(choice, x, y, key, kind=kind, noise=noise, plan=plan)
            mean, var = model.likelihood.moments(model(held_x))
            return mean[:, 0], var[:, 0]

        return jax.vmap(member)(jax.random.split(key, plan.members))

    return jax.vmap(of_split)(choices, x, y, held_x, keys)


def run(choices: list[Any], splits: Splits, *, seed: int, plan: Plan) -> list[Draws]:
    """Train each split by its own choice.

    Splits that share a kind of noise train in a single compiled program.

    Returns:
        The draws of each split (ensemble members for a `Point`), in the target's own units.
    """
    keys = jax.random.split(jax.random.key(seed), len(choices))
    results: list[Any] = [None] * len(choices)
    for noise in NOISES:
        rows = np.array([i for i, choice in enumerate(choices) if choice.noise == noise], int)
        if not rows.size:
            continue
        some = splits.take(rows)
        numbers = [{k: v for k, v in asdict(choices[i]).items() if k != "noise"} for i in rows]
        stacked = {name: jnp.asarray([row[name] for row in numbers]) for name in numbers[0]}
        kind = type(choices[rows[0]])
        mean, var = _program(stacked, some.x, some.y, some.held_x, keys[rows], kind=kind, noise=noise, plan=plan)
        for place, i in enumerate(rows):
            results[i] = in_own_units(mean[place], var[place], splits, i)
    return results


def in_own_units(mean: Any, var: Any, splits: Splits, i: int) -> Draws:
    """Convert standardized draws of split i to the target's units."""
    scale = splits.y_std[i]
    return Draws(np.asarray(mean, np.float64) * scale + splits.y_mean[i], np.asarray(var, np.float64) * scale**2)
