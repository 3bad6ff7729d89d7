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
from deepuq_jax.model.held_scales import combine, combine_for_step
from deepuq_jax.model.precision import checked_compute_dtype
from deepuq_jax.objectives.elbo import ELBO
from deepuq_jax.objectives.objective import Objective, as_objective
from deepuq_jax.objectives.precision import in_precision
from deepuq_jax.training._finite import all_finite, starts_finite
from deepuq_jax.training.natural_gradient import NaturalGradient
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
    compute_dtype: Any = None,
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
        compute_dtype: dtype in which the model computes, such as jnp.bfloat16, as in `fit`; the state stays as it is.
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
    # An objective of the user's own may read mu and rho, so it gets the ordinary model.
    checked = as_objective(objective)
    build = combine_for_step if type(checked) is ELBO else combine
    score = in_precision(checked, checked_compute_dtype(compute_dtype))
    own_optimizer = optax.with_extra_args_support(optimizer)

    def loss_of(params: Any) -> tuple[Array, ELBOTerms]:
        return score(build(params, state.rest), x, y, key=key, step=state.step)

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

    old = state.params, state.opt_state
    # XLA on a CPU computes the whole update for its first rows, unless the arguments are cut to them.
    start = optimizer.first_rows(grads, *old) if isinstance(optimizer, NaturalGradient) else (grads, *old)
    is_good = jnp.isfinite(loss) & all_finite(grads) & starts_finite(update(*start)[0])

    def branch() -> tuple[Any, Any]:
        return jax.lax.cond(is_good, update, keep, grads, *old)

    def selection() -> tuple[Any, Any]:
        return jax.tree.map(lambda new, old: jnp.where(is_good, new, old), update(grads, *old), old)

    # On a CPU, in a branch the optimizer overwrites its moments in place, and in a selection it copies them first. On a
    # GPU a selection is part of the kernels of the update, and a branch costs copies (docs/devices.md).
    params, opt_state = jax.lax.platform_dependent(cpu=branch, default=selection)
    after = state.rest.with_state(terms.state).carried
    carried = jax.tree.map(lambda new, old: jnp.where(is_good, new, old), after, state.carried)
    bad_step = jnp.where(is_good | (state.bad_step >= 0), state.bad_step, state.step)
    state = TrainState(params, carried, opt_state, state.step + 1, bad_step, state.structure)
    return state, terms._replace(state=None)
