"""Shared parts of the JAX contestants: data, the plain network, loops and scanned epochs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.speed.contestant import Setting, Trainer
from benchmarks.speed.workloads import (
    CONV_PADDING,
    CONV_STRIDE,
    LEARNING_RATE,
    NOISE_SIGMA,
    POSTERIOR_SIGMA,
    Network,
    Predict,
    Train,
)

OPTIMIZER = optax.adam(LEARNING_RATE)
KEYS = 512  # keys are prepared in advance, since making a key per step would add a call
# With fewer weights than this, all draws at once are faster than draws in turn.
FEW_WEIGHTS = 10_000


def means(network: Network) -> list[tuple[jax.Array, jax.Array]]:
    """Posterior means at the start, on the device."""
    return jax.tree.map(jnp.asarray, network.means())


def log_sigmas(network: Network) -> Any:
    """log sigma at the start, in the same tree."""
    return jax.tree.map(lambda mu: jnp.full_like(mu, np.log(POSTERIOR_SIGMA)), means(network))


def forward(weights: Any, x: jax.Array, setting: Setting) -> jax.Array:
    """Outputs [batch, outputs] of the plain network.

    The setting chooses the compute dtype.
    """
    if setting.precision == "bfloat16":
        weights, x = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (weights, x))
    for i, (kernel, bias) in enumerate(weights):
        x = _convolve(x, kernel) if kernel.ndim == 4 else pool(x) @ kernel
        x = x + bias
        if i < len(weights) - 1:
            x = jax.nn.relu(x)
    return x.astype(jnp.float32)


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    strides, padding = (CONV_STRIDE, CONV_STRIDE), [(CONV_PADDING, CONV_PADDING)] * 2
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def pool(x: jax.Array) -> jax.Array:
    """Average [batch, height, width, channels] over positions; leave [batch, features]."""
    return x if x.ndim == 2 else x.mean(axis=(1, 2))


def log_likelihood(network: Network, outputs: jax.Array, y: jax.Array) -> jax.Array:
    """Mean log p(y | x, w) over the batch, nats."""
    if network.is_regression:
        z = (y - outputs) / NOISE_SIGMA
        return jnp.mean(-0.5 * z**2) - np.log(NOISE_SIGMA * np.sqrt(2 * np.pi))
    return -jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, y))


def data(work: Train) -> tuple[jax.Array, jax.Array]:
    """Inputs and targets of an epoch."""
    x, y = work.network.data(work.batch * work.steps)
    return jnp.asarray(x), jnp.asarray(y)


def inputs(work: Predict) -> jax.Array:
    """Inputs of a prediction."""
    return jnp.asarray(work.network.data(work.inputs)[0])


def key_cycle() -> Any:
    """Repeat `KEYS` prepared keys endlessly."""
    return itertools.cycle(list(jax.random.split(jax.random.key(4), KEYS)))


def loop(step: Callable[..., tuple[Any, Any]], state: Any, work: Train) -> Trainer:
    """Train with one call of step(state, x, y, key) -> (state, loss) per step."""
    x, y = data(work)

    def split(rows: jax.Array) -> list[jax.Array]:
        return list(rows.reshape(work.steps, work.batch, *rows.shape[1:]))

    batches, keys = itertools.cycle(zip(split(x), split(y), strict=True)), key_cycle()

    def run(steps: int) -> list[Any]:
        nonlocal state
        losses = []
        for (x, y), key in zip(itertools.islice(batches, steps), keys, strict=False):
            state, loss = step(state, x, y, key)
            losses.append(loss)
        jax.block_until_ready(state)
        return losses

    return run


def scanned(epoch: Callable[..., tuple[Any, Any]], state: Any, work: Train) -> Trainer:
    """Train with one call of epoch(state, key) -> (state, losses) per epoch."""
    keys = key_cycle()

    def run(steps: int) -> Any:
        nonlocal state
        assert steps == work.steps, "the number of steps is compiled in"
        state, losses = epoch(state, next(keys))
        jax.block_until_ready(state)
        return losses

    return run


def step_of(
    loss_of: Callable[..., jax.Array], optimizer: optax.GradientTransformation = OPTIMIZER
) -> Callable[..., tuple[Any, Any]]:
    """A plain step on loss_of(params, x, y, key).

    Returns:
        step(state, x, y, key) -> (state, loss), with state = (params, opt_state).
    """

    def step(state, x, y, key):
        params, opt_state = state
        loss, grads = jax.value_and_grad(loss_of)(params, x, y, key)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    return step


def epoch_of(step: Callable[..., tuple[Any, Any]], work: Train) -> Callable[..., tuple[Any, Any]]:
    """An epoch that, like `deepuq_jax.train_epoch`, shuffles, gathers batches, and scans the steps."""
    x, y = data(work)

    @jax.jit
    def epoch(state, key):
        order_key, step_key = jax.random.split(key)
        order = jax.random.permutation(order_key, len(x)).reshape(work.steps, work.batch)

        def body(state, batch):
            rows, key = batch
            return step(state, x[rows], y[rows], key)

        return jax.lax.scan(body, state, (order, jax.random.split(step_key, work.steps)))

    return epoch


def over_draws(function: Callable[[Any], jax.Array], draws: Any, network: Network) -> jax.Array:
    """Apply a function to each draw: to all at once for a small network, in turn for a large one."""
    if network.size < FEW_WEIGHTS:
        return jax.vmap(function)(draws)
    return jax.lax.map(function, draws)


def prediction_of(network: Network, outputs: jax.Array) -> jax.Array:
    """Return outputs in regression, else class probabilities; predictions are their moments."""
    return outputs if network.is_regression else jax.nn.softmax(outputs, axis=-1)
