"""A training step as a pure function.

The function neither jits nor donates, so the caller decides about both.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from deepuq_jax._checks import check_optimizer
from deepuq_jax.functional.gaussian import at_least_float32, total
from deepuq_jax.model.structure import combine
from deepuq_jax.objectives.objective import Objective, as_objective
from deepuq_jax.training.state import TrainState, check_opt_state, check_state
from deepuq_jax.types import ELBOTerms


def train_step(
    state: TrainState,
    x: Any,
    y: Any,
    *,
    key: Array,
    objective: Objective,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, ELBOTerms]:
    """Take an optimizer step on an objective.

    The step differentiates and optimises only the trained parameters. It writes back carried state that the model
    updates, such as BatchNorm statistics. If the loss, the gradient or the learning rate is not finite, the step
    changes no parameter, optimizer state or carried state, and `bad_step` records the first such step. (If the
    arithmetic of the optimizer overflows on a finite gradient, the next step detects it.)

    Args:
        state: the state from `TrainState.create` or from the previous step.
        x, y: a batch.
        key: the key of this step; use a new key for each step.
        objective: `ELBO(num_data=N)`, `DocumentedELBO(num_batches=B)`, or any callable
            (model, x, y, *, key, step) -> (loss, ELBOTerms).
        optimizer: the optimizer that `state` was created with. Optax's extra arguments hold the loss, its gradient, the
            loss as a function of the parameters, the objective and the step, so `optax.lbfgs()`, `reduce_on_plateau`
            and `natural_gradient()` work.
    Returns:
        (the next state, ELBOTerms that include the loss).

    >>> import deepuq_jax as dq
    >>> from flax import nnx
    >>> adam, objective = optax.adam(1e-2), dq.ELBO(num_data=8)
    >>> model = dq.BayesByBackpropMLP(2, (8,), 3, likelihood=dq.Categorical(), rngs=nnx.Rngs(0))
    >>> state = TrainState.create(model, adam)
    >>> x, y, key = jnp.ones((8, 2)), jnp.zeros(8, int), jax.random.key(0)
    >>> step = jax.jit(lambda state, key: train_step(state, x, y, key=key, objective=objective, optimizer=adam))
    >>> state, terms = step(state, key)
    >>> int(state.step), bool(terms.loss > 0)
    (1, True)
    """
    check_state(state)
    check_optimizer("optimizer", optimizer)
    score, own_optimizer = as_objective(objective), optax.with_extra_args_support(optimizer)

    def loss_of(params: Any) -> tuple[Array, ELBOTerms]:
        return score(combine(params, state.rest), x, y, key=key, step=state.step)

    (loss, terms), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)

    def value_of(params: Any, *, objective: Any = None, step: Any = None) -> Array:
        # Optax requires its extra arguments by name.
        del objective, step
        return loss_of(params)[0]

    def update(grads: Any, params: Any, opt_state: Any) -> tuple[Any, Any]:
        # Line searches evaluate the loss again, at the same noise; natural gradients need the units of the objective.
        extra = {"value": loss, "grad": grads, "value_fn": value_of}
        extra |= {"objective": score, "step": state.step}
        try:
            updates, opt_state = own_optimizer.update(grads, opt_state, params, **extra)
        except Exception:
            check_opt_state(optimizer, params, opt_state)
            raise
        return optax.apply_updates(params, updates), opt_state

    def keep(grads: Any, params: Any, opt_state: Any) -> tuple[Any, Any]:
        del grads
        return params, opt_state

    probe = _first_rows(update(grads, state.params, state.opt_state)[0])
    is_good = jnp.isfinite(loss) & _all_finite(grads) & _all_finite(probe)
    # In a branch, unlike in a selection, the optimizer overwrites its moments in place, without a copy of the old
    # moments.
    params, opt_state = jax.lax.cond(is_good, update, keep, grads, state.params, state.opt_state)
    after = state.rest.with_state(terms.state).carried
    carried = jax.tree.map(lambda new, old: jnp.where(is_good, new, old), after, state.carried)
    bad_step = jnp.where(is_good | (state.bad_step >= 0), state.bad_step, state.step)
    state = TrainState(params, carried, opt_state, state.step + 1, bad_step, state.structure)
    return state, terms._replace(state=None)


def _all_finite(tree: Any) -> Array:
    """Whether every entry is finite.

    If an entry is not finite, neither is the sum of the entries. Computed as a product with ones, the sum takes a
    quarter of the time of `all(isfinite)`.
    """
    sums = jax.tree.map(lambda leaf: total(at_least_float32(leaf)), tree)
    return jnp.isfinite(jax.tree.reduce(jnp.add, sums))


def _first_rows(tree: Any) -> Any:
    """Take the first row of every tensor.

    A NaN learning rate shows in every row, so the first row suffices, and XLA computes no other row of the update.
    """
    return jax.tree.map(lambda leaf: leaf[:1] if leaf.ndim else leaf, tree)
