"""The state of training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from deepuq_jax._checks import check_optimizer, expected
from deepuq_jax.model.held_scales import combine, with_held_scales
from deepuq_jax.model.structure import Rest, Structure, partition, refuse_tied
from deepuq_jax.training.natural_gradient import NaturalGradient


def check_opt_state(optimizer: optax.GradientTransformation, params: Any, opt_state: Any) -> None:
    """Require the state of this optimizer for these parameters.

    Raises:
        ValueError: the state belongs to another optimizer.
    """
    own, found = (jax.tree.structure(tree) for tree in (jax.eval_shape(optimizer.init, params), opt_state))
    if own != found:
        what = "to be the optimizer that the state was created with, since its own state has another structure"
        raise ValueError(expected("optimizer", what, f"a state {found}"))


# Unlike `_pytree.register`, this registration of JAX flattens the fields without calling Python.
@partial(
    jax.tree_util.register_dataclass,
    data_fields=("params", "carried", "opt_state", "step", "bad_step"),
    meta_fields=("structure",),
)
@dataclass(frozen=True)
class TrainState:
    """The state that a training step reads and writes.

    It is a pytree of arrays in plain containers and the model's static structure. Passing it through a compiled call
    costs no more than passing the parameters of plain optax.

    Attributes:
        params: the trained parameters, as `partition` returns them. Under `natural_gradient` they hold standard
            deviations ("held_scale.value") in place of rho, and a gradient with respect to these is the derivative with
            respect to log sigma.
        carried: the arrays of the model that are not trained.
        opt_state: the state of the optax optimizer, for `params` alone.
        step: number of steps so far, int32.
        bad_step: the first step whose loss or update was not finite, so that it was not applied; -1 if there is none.
        structure: the static part of the model.
    """

    params: Any
    carried: Any
    opt_state: Any
    step: Array
    bad_step: Array
    structure: Structure | None

    @classmethod
    def create(cls, model: Any, optimizer: optax.GradientTransformation) -> TrainState:
        """Create the state before the first step.

        Args:
            model: a Bayesian model; its arrays are shared, not copied.
            optimizer: any optax optimizer.
        Raises:
            ValueError: two paths reach the same module, which would be trained as two modules.

        >>> import deepuq_jax as dq
        >>> from flax import nnx
        >>> state = TrainState.create(dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0)), optax.adam(1e-3))
        >>> int(state.step), state.model(jnp.ones((3, 2))).shape
        (0, (3, 1))
        """
        check_optimizer("optimizer", optimizer)
        refuse_tied(model)
        is_natural = isinstance(optimizer, NaturalGradient)
        # In the copy, the posteriors hold what natural gradients change: sigma instead of rho.
        params, rest = partition(with_held_scales(model) if is_natural else model)
        params = optimizer.start(params) if is_natural else params
        step, bad_step = jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32)
        return cls(params, rest.carried, optimizer.init(params), step, bad_step, rest.structure)

    @property
    def rest(self) -> Rest:
        """The second argument of `combine`."""
        return Rest(self.carried, self.structure)

    @property
    def model(self) -> Any:
        """The model, combined from parameters and the rest."""
        return combine(self.params, self.rest)


def check_state(state: Any) -> None:
    """Require a state of training.

    Raises:
        TypeError: `state` is something else, such as a model.
    """
    if not isinstance(state, TrainState):
        what = "to be a TrainState, as in TrainState.create(model, optimizer)"
        raise TypeError(expected("state", what, type(state).__name__))
