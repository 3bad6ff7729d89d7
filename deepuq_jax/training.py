"""Training as pure functions: a state, a step, an epoch. Not jitted, not donating: the caller decides.

A user jits them, scans them, or vmaps them over seeds, splits and priors; `fit` is a thin shell around them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from deepuq_jax._checks import check_batch, check_count, check_key, expected
from deepuq_jax.functional.gaussian import at_least_float32, total
from deepuq_jax.model import refuse_tied, split_params
from deepuq_jax.objective import negative_elbo
from deepuq_jax.types import ELBOTerms


class TrainState(NamedTuple):
    """All that a training step reads and writes; a pytree.

    Attributes:
        model: the Bayesian model.
        opt_state: of the optax optimizer, over the trained parameters alone.
        step: steps taken, int32.
        bad_step: the first step whose loss or update was not finite, and which was therefore not applied; else -1.
    """

    model: Any
    opt_state: Any
    step: Array
    bad_step: Array


def init(model: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step.

    Args:
        model: a Bayesian model.
        optimizer: any optax optimizer.
    Raises:
        ValueError: a module that two paths reach (it would be trained as two).

    >>> import deepuq_jax as dq
    >>> from flax import nnx
    >>> state = init(dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0)), optax.adam(1e-3))
    >>> int(state.step)
    0
    """
    refuse_tied(model)
    params, _, _ = split_params(model)
    return TrainState(model, optimizer.init(params), jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32))


def train_step(
    state: TrainState,
    x: Any,
    y: Any,
    *,
    key: Array,
    optimizer: optax.GradientTransformation,
    num_data: Any,
    log_likelihood: Callable | None = None,
    kl_weight: Any = 1.0,
    mc_samples: int = 1,
    sticking_the_landing: bool = False,
    antithetic: bool = False,
) -> tuple[TrainState, ELBOTerms]:
    """One optimizer step on `negative_elbo`.

    Only `nnx.Param`s are differentiated and optimised; carried state that the model updates (BatchNorm statistics) is
    written back. Where the loss, the gradient or the learning rate is not finite the old state is kept and the step is
    recorded. (An optimizer whose own arithmetic overflows on a finite gradient is found out one step later.)

    Args:
        state: of `init` or of the step before.
        x, y: a batch.
        key: of this step; not used again.
        optimizer: the one that `state` was made with.
        num_data, log_likelihood, mc_samples, sticking_the_landing, antithetic: as in `negative_elbo`.
        kl_weight: a number, traced or not, or a function of the step (`deepuq_jax.schedules`, an optax schedule).
    Returns:
        (the next state, ELBOTerms with the loss in it).

    >>> import deepuq_jax as dq
    >>> from flax import nnx
    >>> adam = optax.adam(1e-2)
    >>> state = init(dq.BayesByBackpropMLP(2, (8,), 3, rngs=nnx.Rngs(0)), adam)
    >>> x, y, key = jnp.ones((8, 2)), jnp.zeros(8, int), jax.random.key(0)
    >>> state, terms = train_step(state, x, y, key=key, optimizer=adam, num_data=8)
    >>> int(state.step), bool(terms.loss > 0)
    (1, True)
    """
    params, carried, merge = split_params(state.model)
    weight = kl_weight(state.step) if callable(kl_weight) else kl_weight

    def loss_of(params):
        return negative_elbo(
            merge(params, carried),
            x,
            y,
            key=key,
            num_data=num_data,
            log_likelihood=log_likelihood,
            kl_weight=weight,
            mc_samples=mc_samples,
            sticking_the_landing=sticking_the_landing,
            antithetic=antithetic,
        )

    (loss, terms), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
    update = lambda grads, params, opt_state: _updated(optimizer, grads, params, opt_state)
    probe = _first_rows(update(grads, params, state.opt_state)[0])
    is_good = jnp.isfinite(loss) & _all_finite(grads) & _all_finite(probe)
    # A branch, not a selection: the optimizer writes over its moments where they are, with no copy of the old ones.
    params, opt_state = jax.lax.cond(
        is_good, update, lambda _, params, opt_state: (params, opt_state), grads, params, state.opt_state
    )
    if terms.state is not None:
        carried = jax.tree.map(lambda new, old: jnp.where(is_good, new, old), terms.state, carried)
    bad_step = jnp.where(is_good | (state.bad_step >= 0), state.bad_step, state.step)
    return TrainState(merge(params, carried), opt_state, state.step + 1, bad_step), terms._replace(state=None)


def batches_of_epoch(key: Array, size: int, batch_size: int) -> tuple[Array, Array, Array]:
    """The rows of each step of `train_epoch`, and their keys.

    Returns:
        (full batches [steps, batch_size], the remainder, keys [steps + 1], the last of them for the remainder).
    """
    order_key, step_key = jax.random.split(key)
    order = jax.random.permutation(order_key, size)
    steps = size // batch_size
    full, last = order[: steps * batch_size], order[steps * batch_size :]
    return full.reshape(steps, batch_size), last, jax.random.split(step_key, steps + 1)


def _updated(optimizer: optax.GradientTransformation, grads: Any, params: Any, opt_state: Any) -> tuple[Any, Any]:
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def _all_finite(tree: Any) -> Array:
    """Whether every entry is finite, told from their sum, which as a product takes a quarter of `all(isfinite)`."""
    sums = jax.tree.map(lambda leaf: total(at_least_float32(leaf)), tree)
    return jnp.isfinite(jax.tree.reduce(jnp.add, sums))


def _first_rows(tree: Any) -> Any:
    """The first row of every tensor, all that XLA then computes of it: a learning rate that is NaN shows in any."""
    return jax.tree.map(lambda leaf: leaf[:1] if leaf.ndim else leaf, tree)


def train_epoch(
    state: TrainState,
    x: Any,
    y: Any,
    *,
    key: Array,
    batch_size: int,
    optimizer: optax.GradientTransformation,
    num_data: Any = None,
    log_likelihood: Callable | None = None,
    kl_weight: Any = 1.0,
    mc_samples: int = 1,
    sticking_the_landing: bool = False,
    antithetic: bool = False,
) -> tuple[TrainState, ELBOTerms]:
    """One pass over the data in a new order: a scan over the full batches, then one step on the remainder.

    Args:
        state: of `init` or of the epoch before.
        x, y: the whole data, arrays with a leading axis [num_data, ...].
        key: of this epoch: orders the data and draws the noise.
        batch_size: at most the number of examples. No example is left out, none is padded or masked.
        num_data: default the number of examples in `x`.
        optimizer, log_likelihood, kl_weight, mc_samples, sticking_the_landing, antithetic: as in `train_step`.
    Returns:
        (the next state, ELBOTerms of arrays [steps], in the order of the steps).
    Raises:
        ValueError: a batch size above the number of examples, and as `negative_elbo`.

    >>> import deepuq_jax as dq
    >>> from flax import nnx
    >>> adam = optax.adam(1e-2)
    >>> state = init(dq.BayesByBackpropMLP(2, (8,), 3, rngs=nnx.Rngs(0)), adam)
    >>> x, y, key = jnp.ones((10, 2)), jnp.zeros(10, int), jax.random.key(0)
    >>> state, history = train_epoch(state, x, y, key=key, batch_size=4, optimizer=adam)
    >>> history.loss.shape  # batches of 4, 4 and 2
    (3,)
    """
    size = check_batch(x, y)
    check_key(key)
    if check_count("batch_size", batch_size) > size:
        raise ValueError(expected("batch_size", f"to be at most the {size} examples", f"{batch_size}"))
    batches, last_batch, keys = batches_of_epoch(key, size, batch_size)
    options: dict[str, Any] = dict(optimizer=optimizer, num_data=size if num_data is None else num_data)
    options.update(log_likelihood=log_likelihood, kl_weight=kl_weight, mc_samples=mc_samples)
    options.update(sticking_the_landing=sticking_the_landing, antithetic=antithetic)

    def step(state, batch):
        step_key, rows = batch
        take = lambda leaf: jnp.take(leaf, rows, axis=0)
        return train_step(state, jax.tree.map(take, x), jax.tree.map(take, y), key=step_key, **options)

    state, history = jax.lax.scan(step, state, (keys[: len(batches)], batches))
    if last_batch.size:
        state, last = step(state, (keys[-1], last_batch))
        history = jax.tree.map(lambda all, one: jnp.append(all, one), history, last)
    return state, history
