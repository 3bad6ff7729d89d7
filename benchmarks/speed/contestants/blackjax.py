"""blackjax: `meanfield_vi`, which evaluates the KL at the drawn weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.speed.contestant import Contestant, Predictor, Setting, Trainer, load
from benchmarks.speed.contestants import jax_parts as parts
from benchmarks.speed.workloads import PRIOR_SIGMA, Network, Predict, Train

PACKAGE = MODULE = "blackjax"


def _vi() -> Any:
    return load("blackjax.vi.meanfield_vi")


def _start(network: Network) -> Any:
    """A state at the common start; `init` alone would set the means to zero."""
    mu, rho = parts.means(network), parts.log_sigmas(network)
    return _vi().init(mu, parts.OPTIMIZER)._replace(mu=mu, rho=rho)


def _log_prior(weights: Any) -> jax.Array:
    def of_tensor(w: jax.Array) -> jax.Array:
        return jnp.sum(-0.5 * jnp.square(w / PRIOR_SIGMA) - np.log(PRIOR_SIGMA * np.sqrt(2 * np.pi)))

    return sum(map(of_tensor, jax.tree.leaves(weights)), start=jnp.zeros(()))


def _step(work: Train, setting: Setting) -> Any:
    network, vi = work.network, _vi()

    def step(state, x, y, key):
        def log_density(weights):
            outputs = parts.forward(weights, x, setting)
            return network.num_data * parts.log_likelihood(network, outputs, y) + _log_prior(weights)

        # The density changes with the batch, so call the step function; the algorithm object holds a fixed density.
        state, info = vi.step(key, state, log_density, parts.OPTIMIZER, num_samples=work.mc_samples)
        return state, info.elbo / network.num_data

    return step


def _train_call(work: Train, setting: Setting) -> Trainer:
    return parts.loop(jax.jit(_step(work, setting)), _start(work.network), work)


def _train_scanned(work: Train, setting: Setting) -> Trainer:
    return parts.scanned(parts.epoch_of(_step(work, setting), work), _start(work.network), work)


def _predict(work: Predict, setting: Setting) -> Predictor:
    network, vi, x, keys = work.network, _vi(), parts.inputs(work), parts.key_cycle()
    state = _start(network)

    @jax.jit
    def predict(state, key, x):
        def of_draw(weights):
            return parts.prediction_of(network, parts.forward(weights, x, setting))

        draws = parts.over_draws(of_draw, vi.sample(key, state, work.draws), network)
        return draws.mean(axis=0), jnp.var(draws, axis=0)

    return lambda: predict(state, next(keys), x)


def contestants() -> list[Contestant]:
    """One call per step, and scanned."""
    return [
        Contestant(PACKAGE, "meanfield_vi, one call per step", "jax", "call", _train_call, kl="sampled"),
        Contestant(PACKAGE, "meanfield_vi, scanned", "jax", "scanned", _train_scanned, kl="sampled"),
        Contestant(PACKAGE, "meanfield_vi, jitted", "jax", "scanned", predict=_predict),
    ]
