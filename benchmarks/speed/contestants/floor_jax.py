"""The floor of JAX: the network without uncertainty, in three call styles."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.speed.contestant import FLOOR, Contestant, Predictor, Setting, Trainer
from benchmarks.speed.contestants import jax_parts as parts
from benchmarks.speed.workloads import Predict, Train

PACKAGE, MODULE = FLOOR, "jax"


def _step(work: Train, setting: Setting) -> Any:
    def loss_of(weights, x, y, key):
        return -parts.log_likelihood(work.network, parts.forward(weights, x, setting), y)

    return parts.step_of(loss_of)


def _start(work: Train) -> Any:
    weights = parts.means(work.network)
    return weights, parts.OPTIMIZER.init(weights)


def _train_scanned(work: Train, setting: Setting) -> Trainer:
    return parts.scanned(parts.epoch_of(_step(work, setting), work), _start(work), work)


def _train_call(work: Train, setting: Setting) -> Trainer:
    return parts.loop(jax.jit(_step(work, setting)), _start(work), work)


def _train_flat(work: Train, setting: Setting) -> Trainer:
    leaves, treedef = jax.tree.flatten(_start(work))

    @partial(jax.jit, donate_argnums=0)
    def step(leaves, x, y, key):
        state, loss = _step(work, setting)(jax.tree.unflatten(treedef, leaves), x, y, key)
        return jax.tree.leaves(state), loss

    return parts.loop(step, leaves, work)


def _predict(work: Predict, setting: Setting) -> Predictor:
    weights, x = parts.means(work.network), parts.inputs(work)

    @jax.jit
    def passes(weights, x):
        def add(total, i):
            # The inputs change with each pass; otherwise the compiler would run one pass for all.
            return total + parts.forward(weights, x * (1 + 1e-6 * i), setting), None

        total = jax.lax.scan(add, jnp.zeros((len(x), work.network.outputs)), jnp.arange(float(work.draws)))[0]
        return total / work.draws, jnp.zeros_like(total)

    return lambda: passes(weights, x)


def contestants() -> list[Contestant]:
    """A floor for each style."""
    return [
        Contestant(FLOOR, "JAX, scanned", "jax", "scanned", _train_scanned, _predict),
        Contestant(FLOOR, "JAX, one call per step", "jax", "call", _train_call),
        Contestant(FLOOR, "JAX, one call per step, flat donated state", "jax", "flat", _train_flat),
    ]
